"""How often a step model names the first error of a solution, and what costs nothing reaches.

Letters: S steps of a solution · B solutions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.configs import Neutral
from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, codes, finite, nothing, same_length
from assay.stats.estimates import Estimate, estimate_mean, jackknife_of_sums
from assay.stats.step_counts import processbench_f1
from assay.types import Figure

Labels = Sequence[int | None]
"""Of the S steps of a solution: 1 good, 0 neutral, -1 bad, None not judged."""

SOUND = -1
"""Stands for the index of the first error where there is none."""
UNKNOWN = -2
"""Stands for it where a step before it, or of a solution without one, was not judged."""


def labelled_first_errors(labels: Sequence[Labels], neutral: Neutral = "good") -> NDArray[np.intp]:
    """Index of each solution's first bad step, ``SOUND`` or ``UNKNOWN``, ``(B,)``.

    Steps after the first bad one need no judgment: PRM800K's annotators stopped there.
    """
    bad = (-1, 0) if neutral == "bad" else (-1,)
    return np.array([_first(each, bad) for each in labels], dtype=np.intp)


def _first(labels: Labels, bad: tuple[int, ...]) -> int:
    known = SOUND
    for step, label in enumerate(labels):
        if label in bad:
            return step if known == SOUND else UNKNOWN
        if label is None:
            known = UNKNOWN
    return known


@dataclass(frozen=True)
class FirstErrors:
    """Whether the first error was named: of B solutions, and what follows from it.

    ``is_wrong`` says that a solution has an error, ``match`` how often the answer is right: 1 or 0,
    or the expected share of a random one. Both ``(B,)``.
    """

    is_wrong: NDArray[np.bool_]
    match: Floats
    problems: Clusters = None

    @property
    def f1_estimate(self) -> Estimate:
        """ProcessBench's F1 with its jackknife error over problems."""
        wrong = self.is_wrong.astype(np.float64)
        rows = [wrong, wrong * self.match, 1 - wrong, (1 - wrong) * self.match]
        problems = codes(self.problems, len(self.match)).tolist()
        return jackknife_of_sums(np.stack(rows, axis=1), processbench_f1, problems)

    def figures(self) -> FirstErrorFigures:
        """Everything that is reported of it."""
        cluster = codes(self.problems, len(self.match))
        everything = np.ones_like(self.is_wrong)
        named, passed, accuracy = (
            bounded(estimate_mean(self.match[kind], cluster[kind]))
            for kind in (self.is_wrong, ~self.is_wrong, everything)
        )
        return FirstErrorFigures(named, passed, bounded(self.f1_estimate), accuracy)


@dataclass(frozen=True, slots=True)
class FirstErrorFigures:
    """Solutions with an error whose first is named, sound ones passed, their F1, and both as one.

    ``f1`` is ProcessBench's: the harmonic mean of the first two.
    """

    error_accuracy: Figure
    sound_accuracy: Figure
    f1: Figure
    accuracy: Figure

    def to_dict(self) -> dict[str, dict[str, float | int | None]]:
        """As in ``results.json``."""
        return {
            "error_accuracy": self.error_accuracy.to_dict(),
            "sound_accuracy": self.sound_accuracy.to_dict(),
            "f1": self.f1.to_dict(),
            "accuracy": self.accuracy.to_dict(),
        }


def first_error_baselines(
    labelled: ArrayLike, step_counts: ArrayLike, problems: Clusters = None
) -> dict[str, FirstErrors]:
    """What answers that look at no step reach, exactly: no draws.

    ``never`` passes every solution, ``always-first`` and ``always-last`` name that step of each,
    ``random-step`` names any of the S, which is right in 1/S of the solutions with an error, and
    ``random`` names any or none, which is right in 1/(S + 1) of all.

    Args:
        labelled: Index of the first error, ``SOUND`` where there is none, ``(B,)``.
        step_counts: S of each solution.
    """
    first, steps = finite("labelled", labelled), finite("step_counts", step_counts)
    same_length(labelled=first, step_counts=steps)
    wrong = first >= 0
    matches: Mapping[str, Floats] = {
        "never": (~wrong).astype(np.float64),
        "always-first": (first == 0).astype(np.float64),
        "always-last": (first == steps - 1).astype(np.float64),
        "random-step": wrong / steps,
        "random": 1 / (steps + 1),
    }
    return {name: FirstErrors(wrong, match, problems) for name, match in matches.items()}


def bounded(estimate: Estimate) -> Figure:
    """A share's figure; of nothing, where the value is undefined."""
    return nothing() if np.isnan(estimate.value) else estimate.figure((0.0, 1.0))


def check_neutral(neutral: str) -> None:
    """Refuse another word.

    Raises:
        DataError: With those there are.
    """
    if neutral not in get_args(Neutral):
        raise DataError(
            f"Neutral steps count as {neutral!r}; wanted one of {', '.join(get_args(Neutral))}."
        )


def check_labels(labels: Labels, place: int) -> None:
    """Refuse what is no step label.

    Args:
        place: The index of the solution.

    Raises:
        DataError: With the solution and the step.
    """
    for step, label in enumerate(labels):
        if label not in (1, 0, -1, None):
            raise DataError(
                f"Step {step + 1} of solution {place + 1} has label {label!r}; wanted 1 good, 0 "
                "neutral, -1 bad, or None."
            )
