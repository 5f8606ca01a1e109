"""The threshold that is best on some solutions, for use on others.

Letters: B solutions · N judged steps of all · C candidate thresholds.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from assay.errors import ConfigError, DataError
from assay.stats.arrays import Floats
from assay.stats.step_counts import f1, negative_f1, prm_score, processbench_f1
from assay.stats.steps import JudgedSteps

Goal = Literal["first-error", "error-accuracy", "accuracy", "f1", "negative-f1", "prm-score"]

_OF_COUNTS = {"f1": f1, "negative-f1": negative_f1, "prm-score": prm_score}


def best_threshold(judged: JudgedSteps, goal: Goal | str = "first-error") -> float:
    """The threshold with the highest number on these solutions; of equal ones the nearest to ½.

    Exact: thresholds between the same two step rewards decide alike, so one of each such gap is
    tried, its middle. Report figures at it on other solutions than these.

    Args:
        goal: ``first-error`` is ProcessBench's F1, ``error-accuracy`` its part over solutions with
            an error, ``prm-score`` PRMBench's; the others of steps.

    Raises:
        ConfigError: If the goal is unknown.
        DataError: If the number is undefined: nothing is judged, or all solutions are of one kind.
    """
    if goal not in get_args(Goal):
        raise ConfigError(f"goal {goal!r} is unknown; use one of {', '.join(get_args(Goal))}.")
    candidates = _candidates(judged)
    if goal == "first-error":
        numbers = processbench_f1(_first_error_counts(judged, candidates))
    elif goal == "error-accuracy":
        wrong, named, _, _ = _first_error_counts(judged, candidates).T
        numbers = named / np.where(wrong > 0, wrong, np.nan)
    else:
        counts = _step_counts(judged, candidates)
        if goal == "accuracy":
            tp, _, tn, _ = counts.T
            numbers = (tp + tn) / np.maximum(counts.sum(axis=1), 1)
        else:
            numbers = _OF_COUNTS[goal](counts)
    if not len(judged.table[0]) or np.isnan(numbers).all():
        raise DataError(
            f"No threshold is best by {goal}: it wants judged steps, right and wrong ones, and got "
            f"{len(judged.table[0]):,} steps of {len(judged.whole):,} wholly judged solutions."
        )
    best = np.flatnonzero(numbers >= np.nanmax(numbers) - 1e-12)
    return float(candidates[best[np.argmin(np.abs(candidates[best] - 0.5))]])


def _candidates(judged: JudgedSteps) -> Floats:
    """0, the middle of every gap between different step rewards, and 1, ``(C,)``."""
    every = np.concatenate([*judged.rewards, np.zeros(0)])
    values = np.unique(every[~np.isnan(every)])
    low, high = values[:-1], values[1:]
    middle = low + (high - low) / 2
    # between neighbouring floats there is nothing; a step is called right from the threshold on
    return np.unique([0.0, *np.where(middle > low, middle, high), 1.0])


def _first_error_counts(judged: JudgedSteps, thresholds: Floats) -> Floats:
    """(with an error, of them named, without, of them passed) at each threshold, ``(C, 4)``.

    The first step below t is k where ``m_k < t <= m_{k-1}``, m being the lowest reward so far: an
    answer is right in one interval of thresholds, so all of them are counted by sorting its ends.
    """
    kinds: tuple[list[tuple[float, float]], ...] = ([], [])
    for i in judged.whole:
        lowest = np.minimum.accumulate(judged.rewards[i])
        first = int(judged.first_errors[i])
        if first < 0:
            kinds[1].append((-np.inf, float(lowest[-1])))
        else:
            before = float(lowest[first - 1]) if first else np.inf
            kinds[0].append((float(lowest[first]), before))
    parts = []
    for ends in kinds:
        low, high = np.sort(np.array(ends, dtype=np.float64).reshape(-1, 2), axis=0).T
        # sorted apart: a count of ends below t needs no pairing
        right = np.searchsorted(low, thresholds) - np.searchsorted(high, thresholds)
        parts += [np.full(len(thresholds), len(ends)), right]
    return np.stack(parts, axis=1).astype(np.float64)


def _step_counts(judged: JudgedSteps, thresholds: Floats) -> Floats:
    """True and false positives, true and false negatives at each threshold, ``(C, 4)``."""
    reward, good, _ = judged.table
    right, wrong = np.sort(reward[good]), np.sort(reward[~good])
    fn: NDArray[np.intp] = np.searchsorted(right, thresholds)
    tn: NDArray[np.intp] = np.searchsorted(wrong, thresholds)
    return np.stack([len(right) - fn, len(wrong) - tn, tn, fn], axis=1).astype(np.float64)
