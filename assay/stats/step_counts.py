"""Numbers of step models that follow from counts: F1 of steps, PRMScore, ProcessBench's F1.

A step is called right where its reward reaches a threshold; right is the positive side. Letters: G
groups of solutions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

THRESHOLD = 0.5
"""The probability from which a step is called right."""

Counts = NDArray[np.float64]


def first_error(rewards: Sequence[float], threshold: float = THRESHOLD) -> int:
    """Index of the first step below the threshold, -1 if there is none."""
    return next((i for i, reward in enumerate(rewards) if reward < threshold), -1)


def processbench_f1(counts: Counts) -> Counts:
    """``2 a b / (a + b)``: a of the solutions with an error whose first is named, b of the others.

    The harmonic mean of two accuracies, not the F1 of a classifier: ProcessBench, §3.3. It is 0
    where both are, and undefined (``nan``) where the solutions are all of one kind.

    Args:
        counts: Solutions with an error, of them found, without, of them passed, ``(G, 4)``.
    """
    wrong, found, sound, passed = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        a, b = found / wrong, passed / sound
        return np.where(np.isfinite(a + b) & (a + b == 0), 0.0, 2 * a * b / (a + b))


def f1(counts: Counts) -> Counts:
    """F1 of right steps, ``2 TP / (2 TP + FP + FN)``; ``nan`` where there is nothing to count.

    Args:
        counts: True positive, false positive, true negative, false negative steps, ``(G, 4)``.
    """
    tp, fp, _, fn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return _over(2 * tp, 2 * tp + fp + fn)


def negative_f1(counts: Counts) -> Counts:
    """F1 of wrong steps, ``2 TN / (2 TN + FN + FP)``, from the counts of :func:`f1`."""
    _, fp, tn, fn = np.moveaxis(np.asarray(counts, dtype=np.float64), -1, 0)
    return _over(2 * tn, 2 * tn + fn + fp)


def prm_score(counts: Counts) -> Counts:
    """``½ F1 + ½ negative F1`` of steps: PRMBench's PRMScore, from the counts of :func:`f1`."""
    return np.asarray(0.5 * f1(counts) + 0.5 * negative_f1(counts))


def _over(part: ArrayLike, whole: ArrayLike) -> Counts:
    p, w = np.asarray(part), np.asarray(whole)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(w > 0, p / w, np.nan)
