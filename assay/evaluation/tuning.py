"""The thresholds of a step suite, found on solutions of other problems.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.errors import DataError
from assay.evaluation.step_scoring import ScoredSteps
from assay.evaluation.steps import PRMBENCH, PROCESSBENCH
from assay.evaluation.suite import SuiteSpec
from assay.formats.prompts import prompt_text
from assay.stats.arrays import Floats
from assay.stats.steps import JudgedSteps
from assay.stats.thresholds import Goal, best_threshold
from assay.types import Solution

GOALS: Mapping[str, Goal] = {PROCESSBENCH.name: "first-error", PRMBENCH.name: "prm-score"}
"""What a threshold is tuned for: the suite's own number."""


@dataclass(frozen=True)
class Tuning:
    """The threshold of each subset, and the other problems' solutions it was found on.

    ``own`` names the subsets with a threshold from solutions of their own; the others have the one
    of all solutions. ``left_out`` counts solutions of problems that are evaluated.
    """

    thresholds: Mapping[str, float]
    own: tuple[str, ...]
    source: str
    solutions: int
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``."""
        return {
            "source": self.source,
            "solutions": self.solutions,
            "left_out": self.left_out,
            "subsets": list(self.own),
        }


def tune_thresholds(
    spec: SuiteSpec,
    solutions: Sequence[Solution],
    steps: ScoredSteps,
    source: str,
    left_out: int = 0,
) -> Tuning:
    """The thresholds with the highest number of the suite on these solutions.

    One of all of them, and where the suite's total is the mean of its subsets, one of each subset
    that has right and wrong solutions here.

    Raises:
        DataError: If the number is undefined on all solutions together.
    """
    goal = GOALS[spec.name]
    common = best_threshold(_judged(solutions, steps.rewards), goal)
    own = {} if spec.overall else _own_thresholds(spec, solutions, steps.rewards, goal)
    return Tuning(
        thresholds={name: own.get(name, common) for name in spec.subsets},
        own=tuple(own),
        source=source,
        solutions=len(solutions),
        left_out=left_out,
    )


def _own_thresholds(
    spec: SuiteSpec, solutions: Sequence[Solution], rewards: Sequence[Floats], goal: Goal
) -> dict[str, float]:
    found = {}
    for name in spec.subsets:
        mine = [i for i, solution in enumerate(solutions) if solution.subset == name]
        part = _judged([solutions[i] for i in mine], [rewards[i] for i in mine])
        try:
            found[name] = best_threshold(part, goal)
        except DataError:
            continue  # none here, or of one kind: the threshold of all solutions stands
    return found


def _judged(solutions: Sequence[Solution], rewards: Sequence[Floats]) -> JudgedSteps:
    problems = [prompt_text(solution.prompt) for solution in solutions]
    return JudgedSteps([solution.labels for solution in solutions], list(rewards), problems)
