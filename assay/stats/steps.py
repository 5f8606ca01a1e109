"""Figures of step rewards against step labels: told apart, called right, calibrated, first errors.

A step reward is P(the step is right), NaN where the solution was cut before the step. Intervals are
over problems. Letters: S steps of a solution · B solutions · N judged steps of all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import Neutral
from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, codes
from assay.stats.auc import auc
from assay.stats.calibration import ece
from assay.stats.estimates import estimate_mean, jackknife_of_sums
from assay.stats.first_errors import (
    UNKNOWN,
    FirstErrorFigures,
    FirstErrors,
    Labels,
    bounded,
    check_labels,
    check_neutral,
    first_error_baselines,
    labelled_first_errors,
)
from assay.stats.intervals import cluster_mean
from assay.stats.pairs import preference_nll
from assay.stats.reduce import StepRewards, check_rewards
from assay.stats.step_counts import THRESHOLD, f1, first_error, negative_f1
from assay.types import Figure

SATURATED = 1e-7
"""How near to 0 or 1 a step reward is taken to be: float32 knows no probability nearer to 1."""


@dataclass(frozen=True)
class JudgedSteps:
    """Labels and rewards of the steps of B solutions, and the problem of each solution.

    Raises:
        DataError: If a solution has other numbers of labels and rewards, or one of them is not
            what it should be.
    """

    labels: Sequence[Labels]
    rewards: StepRewards
    problems: Clusters = None
    neutral: Neutral = "good"

    def __post_init__(self) -> None:
        check_neutral(self.neutral)
        check_rewards(self.rewards)
        if len(self.labels) != len(self.rewards):
            raise DataError(
                f"Got labels of {len(self.labels):,} solutions and rewards of "
                f"{len(self.rewards):,}; there must be both for each."
            )
        for place, (labels, rewards) in enumerate(zip(self.labels, self.rewards, strict=True)):
            if len(labels) != len(rewards):
                raise DataError(
                    f"Solution {place + 1} has {len(labels)} labels and {len(rewards)} rewards; "
                    "every step has both (None where not judged, NaN where cut)."
                )
            check_labels(labels, place)

    @cached_property
    def problem(self) -> NDArray[np.intp]:
        """The number of each solution's problem, ``(B,)``."""
        return codes(self.problems, len(self.rewards))

    @cached_property
    def first_errors(self) -> NDArray[np.intp]:
        """Index of the first error as labelled, ``SOUND`` or ``UNKNOWN``, ``(B,)``."""
        return labelled_first_errors(self.labels, self.neutral)

    @cached_property
    def is_cut(self) -> NDArray[np.bool_]:
        """Whether a solution has a step without a reward, ``(B,)``."""
        return np.array([np.isnan(r).any() for r in self.rewards], dtype=np.bool_)

    @cached_property
    def whole(self) -> list[int]:
        """The solutions whose first error is known and whose steps all have rewards."""
        return np.flatnonzero((self.first_errors != UNKNOWN) & ~self.is_cut).tolist()

    @cached_property
    def table(self) -> tuple[Floats, NDArray[np.bool_], NDArray[np.intp]]:
        """Reward, goodness and problem of the judged steps that have a reward, ``(N,)`` each."""
        rewards = np.concatenate([*self.rewards, np.zeros(0)])
        label = np.array(
            [np.nan if x is None else x for each in self.labels for x in each], dtype=np.float64
        )
        problem = np.repeat(self.problem, [len(r) for r in self.rewards])
        used = ~np.isnan(label) & ~np.isnan(rewards)
        if self.neutral == "skip":
            used &= label != 0
        good = label >= (1 if self.neutral == "bad" else 0)
        return rewards[used], good[used], problem[used]

    def named(self, threshold: float = THRESHOLD) -> FirstErrors:
        """Whether the first step below a threshold is the first error, of the whole solutions."""
        first = self.first_errors[self.whole]
        said = np.array([first_error(self.rewards[i].tolist(), threshold) for i in self.whole])
        match = (said == first).astype(np.float64)
        return FirstErrors(first >= 0, match, self.problem[self.whole])

    def baselines(self) -> dict[str, FirstErrors]:
        """What answers that look at no step reach on the same solutions."""
        counts = [len(self.rewards[i]) for i in self.whole]
        return first_error_baselines(
            self.first_errors[self.whole], counts, self.problem[self.whole]
        )


@dataclass(frozen=True)
class StepReport:
    """Every figure of steps and first errors, beside what costs nothing, and what was left out.

    ``constant`` is one answer for all steps: the commoner label (``accuracy``), the share of good
    steps (``nll``), every step called good (``f1``, ``negative_f1``); it knows the share.
    """

    auc: Figure
    accuracy: Figure
    nll: Figure
    ece: Figure
    f1: Figure
    negative_f1: Figure
    good_share: Figure
    constant: Mapping[str, Figure]
    first_error: FirstErrorFigures
    baselines: Mapping[str, FirstErrorFigures]
    threshold: float
    neutral: Neutral
    solutions: int
    steps: int
    neutral_steps: int
    unjudged_steps: int
    cut_steps: int
    """Steps without a reward, judged or not."""
    unknown_solutions: int
    """Of which nobody judged where the first error is."""
    cut_solutions: int
    """Of the others, those with a step without a reward."""

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``."""
        return {name: _plain(value) for name, value in vars(self).items()}


def step_report(
    judged: JudgedSteps, threshold: float = THRESHOLD, resamples: int = 500, seed: int = 0
) -> StepReport:
    """All figures of labelled and rewarded steps.

    AUC by DeLong's error over problems, accuracy, F1 and first errors at the threshold, the
    negative log-likelihood ``-log p`` of the label, the calibration error of ``ece`` with ``p`` as
    the probability that the step is good. Steps not judged or without a reward are left out of
    figures of steps, solutions not whole out of those of first errors; both are counted.

    Args:
        threshold: The reward from which a step is called right; ``best_threshold`` finds one on
            other solutions.
        resamples: Of the calibration error's bootstrap.
    """
    reward, good, problem = judged.table
    clipped = np.clip(reward, SATURATED, 1 - SATURATED)
    gaps, label = np.log(clipped) - np.log1p(-clipped), good.astype(np.float64)
    called = reward >= threshold
    rows = _sides(called, good)
    labels = [x for each in judged.labels for x in each]
    unknown = judged.first_errors == UNKNOWN
    return StepReport(
        auc=auc(reward, label, problem),
        accuracy=cluster_mean((called == good).astype(np.float64), problem, (0.0, 1.0)),
        nll=preference_nll(gaps, label, problem),
        ece=ece(gaps, label, problem, resamples=resamples, seed=seed),
        f1=bounded(jackknife_of_sums(rows, f1, problem.tolist())),
        negative_f1=bounded(jackknife_of_sums(rows, negative_f1, problem.tolist())),
        good_share=cluster_mean(label, problem, (0.0, 1.0)),
        constant=_constant(good, problem),
        first_error=judged.named(threshold).figures(),
        baselines={name: found.figures() for name, found in judged.baselines().items()},
        threshold=threshold,
        neutral=judged.neutral,
        solutions=len(judged.rewards),
        steps=len(reward),
        neutral_steps=labels.count(0),
        unjudged_steps=labels.count(None),
        cut_steps=sum(int(np.isnan(r).sum()) for r in judged.rewards),
        unknown_solutions=int(unknown.sum()),
        cut_solutions=int((judged.is_cut & ~unknown).sum()),
    )


def _sides(called: NDArray[np.bool_], good: NDArray[np.bool_]) -> Floats:
    """True and false positives, true and false negatives, one row a step, ``(N, 4)``."""
    sides = (called & good, called & ~good, ~called & ~good, ~called & good)
    return np.stack(sides, axis=1).astype(np.float64)


def _constant(good: NDArray[np.bool_], problem: NDArray[np.intp]) -> dict[str, Figure]:
    label = good.astype(np.float64)
    common = label if 2 * good.sum() >= len(good) else 1 - label
    pairs = np.stack([label, 1 - label], axis=1)
    rows = _sides(np.ones_like(good), good)
    entropy = jackknife_of_sums(pairs, _entropy, problem.tolist())
    return {
        "accuracy": bounded(estimate_mean(common, problem)),
        "nll": entropy.figure(),
        "f1": bounded(jackknife_of_sums(rows, f1, problem.tolist())),
        "negative_f1": bounded(jackknife_of_sums(rows, negative_f1, problem.tolist())),
    }


def _entropy(sums: Floats) -> Floats:
    from scipy.special import entr

    return np.asarray(entr(sums / sums.sum(axis=-1, keepdims=True)).sum(axis=-1))


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(part) for name, part in value.items()}
    return value.to_dict() if isinstance(value, Figure | FirstErrorFigures) else value
