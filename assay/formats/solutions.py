"""From raw rows to solutions: which format a file has, what a row says, what was left out.

A file holds one format, recognised by its keys. Bad rows stop the reading or are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from assay.configs import AfterError, OnBadRow
from assay.errors import DataError
from assay.formats.assay_solutions import assay_solution
from assay.formats.fields import Row, RowError
from assay.formats.first_errors import (
    bigbench_mistake,
    mr_gsm8k,
    prmbench,
    processbench,
    stepverify,
)
from assay.formats.prm800k import prm800k, prm800k_step
from assay.formats.shapes import Recogniser, Shape
from assay.formats.solution_fields import NotTaken
from assay.formats.stepwise import gsm8k_solutions, is_tagged, math_shepherd, trl_stepwise
from assay.formats.tally import Tally
from assay.types import Solution

SolutionShape = Shape[Sequence[Solution]]


def solution_shapes(after_error: AfterError = "unjudged") -> tuple[SolutionShape, ...]:
    """The accepted formats.

    Args:
        after_error: What the steps after a first wrong one are, where a row names only that one.
    """

    def by_rule(parse: Callable[..., Sequence[Solution]]) -> Callable[[Row], Sequence[Solution]]:
        return partial(parse, after_error=after_error)

    return (
        Shape("PRM800K", ("question", "label"), prm800k, _is_record),
        Shape("PRM800K steps", ("problem", "prefix", "step", "rating"), prm800k_step),
        Shape("Math-Shepherd", ("input", "label"), math_shepherd, is_tagged),
        Shape("BIG-Bench-Mistake", ("input", "steps", "mistake_index"), by_rule(bigbench_mistake)),
        Shape(
            "ProcessBench",
            ("problem", "steps", "final_answer_correct", "label"),
            by_rule(processbench),
        ),
        Shape("PRMBench", ("modified_question", "modified_process", "error_steps"), prmbench),
        Shape("StepVerify", ("problem", "steps", "first_error"), by_rule(stepverify)),
        Shape(
            "MR-GSM8K",
            ("question", "model_output_steps", "model_output_solution_first_error_step"),
            by_rule(mr_gsm8k),
        ),
        Shape("GSM8K model solutions", ("question", "solutions"), gsm8k_solutions),
        Shape("TRL stepwise", ("prompt", "completions", "labels"), trl_stepwise),
        Shape("Assay solution", ("prompt", "steps"), by_rule(assay_solution)),
        Shape("Assay solution", ("prompt", "response"), by_rule(assay_solution)),
    )


def is_solution_row(row: Row) -> bool:
    """Whether a row is a solution in steps, and not a prompt with responses."""
    return "responses" not in row and any(shape.fits(row) for shape in solution_shapes())


class SolutionReader:
    """Turns the rows of one source into solutions with their places; counts what it drops.

    Args:
        source: What messages call the source: a file name.
        unit: What row numbers count: "line" or "row".
        on_bad_row: "error" raises a DataError at the first bad row; "skip" counts it.
        tally: Where the counts go; several sources may share one.
        after_error: What the steps after a first wrong one are, where a row names only that one.
    """

    def __init__(
        self,
        source: str,
        unit: str,
        on_bad_row: OnBadRow,
        tally: Tally,
        after_error: AfterError = "unjudged",
    ) -> None:
        shapes = solution_shapes(after_error)
        self._recogniser = Recogniser(source, unit, on_bad_row, tally, shapes, _unknown)
        self._source = source
        self._unit = unit
        self._tally = tally

    def bad_line(self, number: int, error: DataError) -> None:
        """Deal with a line that is no row at all, as ``read_rows`` reports it."""
        self._recogniser.bad_line(number, error)

    def solutions(self, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[str, Solution]]:
        """Each solution with the place of its row, in the order of the rows."""
        before = self._tally.rows
        for number, row in rows:
            self._tally.rows += 1
            place = self._recogniser.place(number)
            for solution in self._parsed(number, row):
                yield place, solution
        if self._tally.rows == before:
            raise DataError(
                f"{self._source} is empty; a file of solutions has one or more in each "
                f"{self._unit}."
            )

    def _parsed(self, number: int, row: Row) -> Sequence[Solution]:
        try:
            shape = self._recogniser.shape_for(number, row)
            found = shape.parse(row)
            self._tally.formats[shape.name] += 1
            return found
        except NotTaken as error:
            self._tally.drop(self._recogniser.place(number), error.reason)
        except RowError as error:
            self._recogniser.reject(number, error)
        return ()


def _is_record(row: Row) -> bool:
    return isinstance(row["question"], dict) and isinstance(row["label"], dict)


def _unknown(row: Row) -> RowError:
    if "chosen" in row or "rejected" in row:
        return RowError(
            "the row is of a preference pair; a solution has 'prompt' and 'steps'",
            "preference pair",
        )
    if "steps" in row:
        return RowError(
            "'prompt' is missing; a solution has 'prompt' and 'steps'", "missing 'prompt'"
        )
    if "prompt" in row:
        return RowError(
            "the row has 'prompt' but neither 'steps' nor 'response'; a solution has one of them",
            "no steps",
        )
    keys = ", ".join(repr(str(key)) for key in row) or "none"
    return RowError(
        f"its keys ({keys}) fit no format of solutions; 'prompt' and 'steps' do", "unknown format"
    )
