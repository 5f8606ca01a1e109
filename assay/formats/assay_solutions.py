"""Solutions as Assay writes them itself, and reads them from anyone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.configs import AfterError
from assay.formats.fields import Row, RowError, items, shown, text
from assay.formats.solution_fields import answer_of, asked, solution, steps_of, yes_or_no
from assay.formats.step_labels import (
    Labels,
    check_count,
    first_error,
    labels,
    labels_of_first_error,
    probabilities,
)
from assay.formats.steps import split_steps
from assay.types import Solution


def assay_solution(row: Row, after_error: AfterError = "unjudged") -> Sequence[Solution]:
    """A row with ``prompt`` and ``steps``, or a ``response`` that is cut into steps.

    What was judged is in ``labels``, in ``probabilities``, or in ``first_error``: the index of the
    first wrong step, from 0, or -1 or null where no step is wrong. A row without any of the three
    was not judged.
    """
    steps = _steps(row)
    given = _labels(row, steps, after_error)
    shares = _probabilities(row, steps)
    record = solution(
        row,
        asked(row, "prompt"),
        steps,
        given if given is not None else (None,) * len(steps),
        probabilities=shares,
        answer=answer_of(row),
        correct=yes_or_no(row, "correct"),
    )
    return (record,)


def to_row(solution: Solution) -> dict[str, Any]:
    """The row Assay writes for a solution, lossless: ``assay_solution`` reads it back."""
    row: dict[str, Any] = {
        "id": solution.id,
        "subset": solution.subset,
        "annotator": solution.annotator,
        "prompt": [m.to_dict() for m in solution.prompt],
        "steps": list(solution.steps),
        "labels": list(solution.labels),
        "probabilities": solution.probabilities and list(solution.probabilities),
        "answer": solution.answer,
        "correct": solution.correct,
        "weight": solution.weight,
    }
    return {key: value for key, value in row.items() if value is not None}


def _steps(row: Row) -> tuple[str, ...]:
    if row.get("steps") is not None:
        return steps_of(row)
    if row.get("response") is None:
        raise RowError("the row has neither 'steps' nor 'response'", "no steps")
    if isinstance(row["response"], str) and not row["response"].strip():
        raise RowError("'response' is blank and has no steps", "no steps")
    return tuple(split_steps(text(row["response"], "response")))


def _labels(row: Row, steps: Sequence[str], after_error: AfterError) -> Labels | None:
    """The labels, written out or by the first error; None where the row has neither."""
    given = None
    if row.get("labels") is not None:
        values = items(row, "labels", least=0)
        _check_count(row, values, steps, "labels")
        given = labels(values)
    if "first_error" not in row:
        return given
    value = row["first_error"]
    first = first_error(value, len(steps), "first_error")
    if value is None and (given is not None or row.get("probabilities") is not None):
        return given  # a column without a value, not a claim
    if given is None or all(label is None for label in given):
        return labels_of_first_error(first, len(steps), after_error)
    if first != _first_bad(given):
        raise RowError(
            f"'first_error' is {shown(value)}, but by 'labels' it is {shown(_first_bad(given))}; "
            "give one of them",
            "labels against first_error",
        )
    return given


def _probabilities(row: Row, steps: Sequence[str]) -> tuple[float | None, ...] | None:
    if row.get("probabilities") is None:
        return None
    values = items(row, "probabilities", least=0)
    _check_count(row, values, steps, "probabilities")
    return probabilities(values)


def _check_count(row: Row, values: Sequence[Any], steps: Sequence[str], key: str) -> None:
    if row.get("steps") is None and len(values) != len(steps):
        raise RowError(
            f"'{key}' has {len(values)} entries, but 'response' is cut into {len(steps)} steps; "
            "give 'steps' instead",
            f"as many '{key}' as steps",
        )
    check_count(values, len(steps), key)


def _first_bad(given: Labels) -> int | None:
    return next((i for i, label in enumerate(given) if label == -1), None)
