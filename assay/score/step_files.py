"""``assay score`` of solutions: rows in, the same rows with step rewards out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.configs import Score
from assay.errors import ContractError, DataError
from assay.formats.files import numbering, read_rows, write_rows
from assay.formats.solutions import SolutionReader, is_solution_row
from assay.formats.tally import Tally
from assay.stats.reduce import reduce_steps
from assay.types import Solution, StepScores, as_lists, json_number

if TYPE_CHECKING:
    from assay.progress import Report
    from assay.score.process import ProcessScorer

WINDOW = 64
"""Rows scored at a time."""


@dataclass(frozen=True)
class ScoredSolutions:
    """What was scored, and how many steps were cut (their reward is null)."""

    output: str
    rows: int
    solutions: int
    steps: int
    cut: int
    verified: bool

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        text = (
            f"{self.steps:,} steps of {self.solutions:,} solutions in {self.rows:,} rows scored to "
            f"{self.output}; cut: {self.cut:,} steps beyond the longest solution"
        )
        return text if self.verified else f"{text}; the contract was inferred and is unverified"


def score_solutions(scorer: ProcessScorer, config: Score) -> ScoredSolutions:
    """Add to every row ``step_rewards`` and their reduction ``rewards``, one of each a solution.

    Of an ensemble, ``step_reward_std`` besides.

    Raises:
        DataError: If a row holds no solution.
        ContractError: If a solution is too long and the policy is ``error``.
    """
    from assay.progress import progress_bars

    totals = {"rows": 0, "solutions": 0, "steps": 0, "cut": 0}
    with progress_bars() as progress:
        write_rows(config.output, _rows(scorer, config, totals, progress))
    return ScoredSolutions(str(config.output), **totals, verified=scorer.contract.verified)


def _rows(
    scorer: ProcessScorer, config: Score, totals: dict[str, int], progress: Report
) -> Iterator[dict[str, Any]]:
    rows = iter(read_rows(str(config.input)))
    unit = numbering(config.input)
    reader = SolutionReader(str(config.input), unit, "error", Tally())
    while window := list(islice(rows, WINDOW)):
        groups = [[s for _, s in reader.solutions([row])] for row in window]
        for (line, _), group in zip(window, groups, strict=True):
            if not group:
                raise DataError(f"{config.input} {unit} {line}: the row holds no solution.")
        scores = _scored(scorer, groups, [line for line, _ in window], f"{config.input} {unit}")
        totals["rows"] += len(window)
        totals["cut"] += scores.cut
        done = 0
        for (_, row), group in zip(window, groups, strict=True):
            own = slice(done, done + len(group))
            totals["solutions"] += len(group)
            totals["steps"] += sum(len(s.steps) for s in group)
            std = None if scores.std is None else scores.std[own]
            yield {**row, **columns(StepScores(scores.rewards[own], std), scorer.reduction)}
            done = own.stop
        progress("score", totals["solutions"], totals["solutions"], 0)
    if not totals["rows"]:
        raise DataError(f"{config.input} holds no rows; there is nothing to score.")


def _scored(
    scorer: ProcessScorer, groups: Sequence[Sequence[Solution]], lines: Sequence[int], place: str
) -> StepScores:
    """The window at once; if a solution is refused, the error names its row."""
    try:
        return scorer.score_steps([s for group in groups for s in group])
    except ContractError:
        for group, line in zip(groups, lines, strict=True):
            try:
                scorer.score_steps(group)
            except ContractError as error:
                raise ContractError(f"{place} {line}: {error}") from error
        raise


def columns(scores: StepScores, reduction: str) -> dict[str, Any]:
    """Step rewards and their reduction as JSON has them, one a solution; null where cut."""
    found: dict[str, Any] = {
        "step_rewards": as_lists(scores.rewards),
        "rewards": [json_number(float(r)) for r in reduce_steps(scores.rewards, reduction)],
    }
    if scores.std is not None:
        found["step_reward_std"] = as_lists(scores.std)
    return found


def holds_solutions(source: Path) -> bool:
    """Whether the first row of a file is a solution in steps, not a prompt with responses."""
    first = next(iter(read_rows(str(source))), None)
    return first is not None and "chosen" not in first[1] and is_solution_row(first[1])
