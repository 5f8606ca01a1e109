"""Is the model right as often as it says: reliability, calibration error, temperature."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, as_pairs, expected_correct, sigmoid
from assay.stats.intervals import cluster_bootstrap
from assay.stats.logistic import logistic_slope
from assay.types import Figure


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs of similar confidence: what the model claims of them and how often it is right."""

    confidence: float
    accuracy: float
    n: int


def reliability_bins(
    gaps: ArrayLike, probability: ArrayLike | None = None, bins: int = 10
) -> list[ReliabilityBin]:
    """Bins of equal mass, least confident first.

    Confidence is ``max(p, 1-p)`` with ``p = σ(Δ)``, so which side is called chosen does not matter.
    Being right is the label's probability of the side that the model prefers (half for equal
    rewards), so that ties and vote shares count as what they are. Equal confidences share a bin.
    """
    gap, q = as_pairs(gaps, probability)
    return _bins(_confidence(gap), expected_correct(gap, q), bins)


def ece(
    gaps: ArrayLike,
    probability: ArrayLike | None = None,
    clusters: Clusters = None,
    bins: int = 10,
    resamples: int = 2000,
    seed: int = 0,
) -> Figure:
    """Expected calibration error over bins of equal mass, in [0, 1].

    ``Σ_b (n_b/n) |accuracy_b - confidence_b|``: Naeini et al. 2015, with the equal-mass bins of
    Nixon et al. 2019 and confidence as in :func:`reliability_bins`. Sampling noise pushes it up, in
    small sets by some hundredths, so its interval is the basic bootstrap one, which undoes part of
    that; even so a perfectly calibrated model is not always given an interval that holds 0.
    """
    gap, q = as_pairs(gaps, probability)
    rows = np.stack([_confidence(gap), expected_correct(gap, q)], axis=1)

    def error(sample: Floats) -> float:
        found = _bins(sample[:, 0], sample[:, 1], bins)
        return sum(b.n * abs(b.accuracy - b.confidence) for b in found) / len(sample)

    figure = cluster_bootstrap(rows, clusters, error, resamples, seed, kind="basic")
    # undoing the bias can leave the value itself outside; an interval that does so helps nobody
    low, high = np.clip([figure.low, figure.high], 0, 1)
    return Figure(
        figure.value, float(min(low, figure.value)), float(max(high, figure.value)), figure.n
    )


def fit_temperature(gaps: ArrayLike, probability: ArrayLike | None = None) -> float:
    """The temperature T that minimises the likelihood loss of ``gaps / T``, between 0.01 and 100.

    Guo et al. 2017. One number, so it changes no decision. Fit it on other pairs than those whose
    calibration is reported.
    """
    gap, q = as_pairs(gaps, probability)
    if not len(gap):
        raise DataError("A temperature is fitted on pairs, but there are none.")
    return 1 / logistic_slope(gap, q, 0.01, 100.0)


def _confidence(gap: Floats) -> Floats:
    return sigmoid(np.abs(gap))


def _bins(confidence: Floats, correct: Floats, bins: int) -> list[ReliabilityBin]:
    rank = np.searchsorted(np.sort(confidence), confidence, side="left")
    index = rank * bins // max(len(confidence), 1)
    count = np.bincount(index, minlength=bins)
    confidences = np.bincount(index, confidence, minlength=bins)
    corrects = np.bincount(index, correct, minlength=bins)
    return [
        ReliabilityBin(
            float(confidences[b] / count[b]), float(corrects[b] / count[b]), int(count[b])
        )
        for b in np.flatnonzero(count)
    ]
