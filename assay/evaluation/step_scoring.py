"""Step rewards of solutions for an evaluation: scored and kept in windows, or read from a file.

The journal is that of suites: read back only for the same solutions, model and truncation, and gone
when the evaluation is done. Knows nothing of models: a ``StepScorer`` in, step rewards out.

Letters: S steps of a solution · B solutions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.errors import DataError
from assay.evaluation.scoring import JOURNAL, WINDOW
from assay.formats.assay_solutions import to_row
from assay.formats.files import numbering, read_rows
from assay.formats.journal import Journal
from assay.formats.storage import canonical, digest_of_bytes
from assay.stats.arrays import Floats
from assay.types import Solution, StepScorer, StepScores, as_lists

if TYPE_CHECKING:
    from assay.progress import Report

REWARDS, STDS = "step_rewards", "step_reward_std"
"""Fields of saved step rewards and of their standard deviations, as ``assay score`` writes them."""


@dataclass(frozen=True)
class ScoredSteps:
    """Step rewards of B solutions, in order, NaN where cut, and what truncation did.

    ``truncated`` counts the steps of each that were read behind a prompt without its beginning.
    """

    rewards: tuple[Floats, ...]  # (S,) each
    std: tuple[Floats, ...] | None
    truncated: tuple[int, ...]

    @property
    def cut(self) -> int:
        """How many steps have no reward."""
        return sum(int(np.isnan(rewards).sum()) for rewards in self.rewards)

    def part(self, indexes: Sequence[int]) -> ScoredSteps:
        """The solutions at these positions, in this order."""
        return ScoredSteps(
            tuple(self.rewards[i] for i in indexes),
            None if self.std is None else tuple(self.std[i] for i in indexes),
            tuple(self.truncated[i] for i in indexes),
        )


class KnownSteps:
    """Step rewards that are there already, as a ``StepScorer`` of the same solutions.

    A solution is known by being that object, not by its content: two that say the same may have
    been rewarded by different people.
    """

    def __init__(self, solutions: Sequence[Solution], rewards: Sequence[Floats]):
        self._solutions = list(solutions)  # held, so that no other object can get their ids
        self._rewards = {id(s): r for s, r in zip(solutions, rewards, strict=True)}

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        """The rewards of any of the solutions, in the order asked for."""
        return StepScores(tuple(self._rewards[id(solution)] for solution in solutions))


def score_solutions(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    directory: Path | None = None,
    model_digest: str = "",
    progress: Report | None = None,
) -> ScoredSteps:
    """Step rewards of all solutions.

    Args:
        directory: Where the journal is kept; what it holds already is not scored again.
        model_digest: What tells the scorer from others; the journal is bound to it.

    Raises:
        ConfigError: If the journal there is of other solutions, another model or truncation.
        DataError: If the scorer's rewards do not fit the solutions.
    """
    journal = None
    if directory:
        texts = digest_of_bytes(canonical(to_row(solution)) for solution in solutions)
        identity = {"suite": texts, "model or truncation": model_digest}
        journal = Journal(directory / JOURNAL, identity, "an unfinished evaluation")
    windows = journal.parts() if journal else []
    done = sum(len(window["rewards"]) for window in windows)
    while done < len(solutions):
        part = solutions[done : done + WINDOW]
        window = _score(scorer, part, done)
        if journal:
            journal.append(window)
        windows.append(window)
        done += len(part)
        if progress:
            progress("score", done, len(solutions), 0)
    return _collected(windows)


def _score(scorer: StepScorer, solutions: Sequence[Solution], done: int) -> dict[str, Any]:
    """A line of the journal: the step rewards of each solution, null where cut."""
    scores = scorer.score_steps(solutions)
    if len(scores.rewards) != len(solutions):
        raise DataError(
            f"The scorer gave the step rewards of {len(scores.rewards)} solutions for "
            f"{len(solutions)}; wanted those of each."
        )
    for number, (solution, rewards) in enumerate(
        zip(solutions, scores.rewards, strict=True), start=done + 1
    ):
        if np.shape(rewards) != (len(solution.steps),):
            raise DataError(
                f"The scorer gave rewards of shape {np.shape(rewards)} for the "
                f"{len(solution.steps)} steps of solution {number}; wanted one a step."
            )
    window: dict[str, Any] = {
        "rewards": as_lists(scores.rewards),
        "truncated": list(scores.truncated) or [0] * len(solutions),
    }
    if scores.std is not None:
        window["stds"] = as_lists(scores.std)
    return window


def _collected(windows: Sequence[Mapping[str, Any]]) -> ScoredSteps:
    rewards = _arrays([r for window in windows for r in window["rewards"]])
    known = bool(windows) and all("stds" in window for window in windows)
    stds = _arrays([s for window in windows for s in window["stds"]]) if known else None
    return ScoredSteps(rewards, stds, tuple(n for window in windows for n in window["truncated"]))


def _arrays(rows: Sequence[Sequence[float | None]]) -> tuple[Floats, ...]:
    return tuple(np.array(row, dtype=np.float64) for row in rows)  # null becomes NaN


@dataclass(frozen=True, slots=True)
class _SavedSteps:
    where: str
    id: str | None
    rewards: Floats
    std: Floats | None


def read_step_rewards(paths: Sequence[str | Path], solutions: Sequence[Solution]) -> ScoredSteps:
    """Saved rewards of the steps of these solutions, in their order: a row for one, or for several.

    Rows are those of ``scores.jsonl``, or of solutions that ``assay score`` has scored. Null is a
    step that was cut.

    Raises:
        DataError: With the place, if there are rewards of other solutions or of other numbers of
            steps, or one is no probability.
    """
    saved = [row for path in paths for row in _saved(str(path))]
    names = ", ".join(map(str, paths))
    if len(saved) != len(solutions):
        raise DataError(
            f"{names} has the step rewards of {len(saved):,} solutions where {len(solutions):,} "
            "are evaluated; wanted one of each, in the same order."
        )
    for number, (row, solution) in enumerate(zip(saved, solutions, strict=True), start=1):
        if None not in (row.id, solution.id) and row.id != solution.id:
            raise DataError(
                f"{row.where} has the step rewards of {row.id!r}, but solution {number} is "
                f"{solution.id!r}; wanted the same order."
            )
        if len(row.rewards) != len(solution.steps):
            raise DataError(
                f"{row.where} has {len(row.rewards)} step rewards, but solution "
                f"{solution.id or number} has {len(solution.steps)} steps; wanted one a step."
            )
    rewards = tuple(row.rewards for row in saved)
    std = tuple(row.std for row in saved if row.std is not None)
    return ScoredSteps(rewards, std if len(std) == len(saved) else None, (0,) * len(saved))


def _saved(path: str) -> Iterator[_SavedSteps]:
    unit = numbering(path)
    for number, row in read_rows(path):
        where = f"{path} {unit} {number}"
        if not isinstance(row.get(REWARDS), list):
            raise DataError(
                f"{where} has no list {REWARDS!r}; wanted the reward of every step, as assay score "
                f"writes them. It has {', '.join(map(repr, row))}."
            )
        groups = _groups(row[REWARDS])
        stds = row.get(STDS)
        deviations = _groups(stds) if isinstance(stds, list) else [None] * len(groups)
        if len(deviations) != len(groups):
            raise DataError(f"{where}: {STDS!r} and {REWARDS!r} are of different solutions.")
        # a row of several solutions has their ids nowhere
        id = str(row["id"]) if len(groups) == 1 and row.get("id") is not None else None
        for group, deviation in zip(groups, deviations, strict=True):
            rewards = _numbers(group, where, "reward")
            std = None if deviation is None else _numbers(deviation, where, "deviation")
            if std is not None and len(std) != len(rewards):
                raise DataError(f"{where} has {len(rewards)} step rewards and {len(std)} {STDS!r}.")
            yield _SavedSteps(where, id, rewards, std)


def _groups(values: list[Any]) -> list[list[Any]]:
    """Lists of one entry a step, one a solution; a flat list is of one solution."""
    return values if values and all(isinstance(v, list) for v in values) else [values]


def _numbers(values: Sequence[Any], where: str, name: str) -> Floats:
    """Shares, which the rewards are and the deviations of such cannot exceed; null becomes NaN."""
    for step, value in enumerate(values, start=1):
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if value is not None and not (is_number and 0 <= value <= 1):
            raise DataError(
                f"{where}: step {step} has {name} {value!r}; wanted a probability, between 0 and "
                "1, or null where the step was cut."
            )
    return np.array(values, dtype=np.float64)
