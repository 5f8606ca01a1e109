"""How different the members of an ensemble are, and what their disagreement is good for.

Letters: P pairs · M members.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, codes, finite, same_length
from assay.stats.correlation import spearman
from assay.stats.estimates import jackknife_of_sums
from assay.stats.intervals import cluster_bootstrap, cluster_mean
from assay.types import Figure


def disagreement(gaps: ArrayLike, clusters: Clusters = None) -> Figure:
    """Share of pairs that two members drawn at random order differently.

    ``2 k (M - k) / (M (M - 1))`` of a pair that k of M members order one way; a gap of 0 is half
    of each. Kuncheva & Whitaker 2003's disagreement measure, averaged over pairs of members.

    Args:
        gaps: Of every member, ``(P, M)``.
    """
    g = _of_members(gaps)
    count = g.shape[1]
    ahead = (np.sign(g).sum(axis=1) + count) / 2
    share = 2 * ahead * (count - ahead) / (count * (count - 1))
    return cluster_mean(share, clusters, bounds=(0.0, 1.0))


def error_correlation(gaps: ArrayLike, clusters: Clusters = None) -> Figure:
    """Correlation of two members' errors, averaged over pairs of members.

    Pearson's correlation of the indicators "orders the pair wrongly" (ϕ; Kuncheva & Whitaker 2003),
    ties half. 1: they err together, and an ensemble is one model. Members that make no errors, or
    nothing else, are left out; ``nan`` where fewer than two are left. Jackknife over clusters.

    Args:
        gaps: Chosen minus rejected of every member, chosen being right, ``(P, M)``.
    """
    wrong = (1 - np.sign(_of_members(gaps))) / 2
    return mean_correlation(wrong, clusters)


def mean_correlation(columns: ArrayLike, clusters: Clusters = None) -> Figure:
    """Pearson's correlation of two columns of ``(P, M)``, averaged over pairs of columns."""
    x = _of_members(columns)
    x = x - x.mean(axis=0)
    x = x / np.maximum(x.std(axis=0), 1e-300)  # for numbers of any size; correlation is unmoved
    first, second = np.triu_indices(x.shape[1], k=1)
    rows = np.concatenate([np.ones((len(x), 1)), x, x**2, x[:, first] * x[:, second]], axis=1)
    members, pairs = x.shape[1], len(first)

    def correlation(sums: Floats) -> Floats:
        n = sums[..., :1]
        mean = sums[..., 1 : 1 + members] / n
        variance = sums[..., 1 + members : 1 + 2 * members] / n - mean**2
        cross = sums[..., -pairs:] / n - mean[..., first] * mean[..., second]
        product = variance[..., first] * variance[..., second]
        known = product > 1e-18
        each = np.where(known, cross / np.sqrt(np.where(known, product, 1.0)), np.nan)
        counted = known.sum(axis=-1)
        return np.where(counted > 0, np.nansum(each, axis=-1) / np.maximum(counted, 1), np.nan)

    # codes: cluster names of any kind become numbers
    return jackknife_of_sums(rows, correlation, codes(clusters, len(x)).tolist()).figure()


def uncertainty_error_correlation(
    uncertainty: ArrayLike,
    correct: ArrayLike,
    clusters: Clusters = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Figure:
    """Spearman's correlation of an uncertainty with being wrong; above 0 it warns of errors.

    ``nan`` where either does not vary.

    Args:
        uncertainty: Of every pair, ``(P,)``.
        correct: 1 right, 0 wrong, ½ a tie, ``(P,)``.
    """
    u, ok = finite("uncertainty", uncertainty), finite("correct", correct)
    same_length(uncertainty=u, correct=ok)

    rows = np.stack([u, 1 - ok], axis=1)
    return cluster_bootstrap(rows, clusters, spearman, resamples, seed)


@dataclass(frozen=True, slots=True)
class Rejection:
    """What rejecting the most uncertain pairs gains: accuracy of those kept, and the difference."""

    share: float
    kept: Figure
    gain: Figure


def rejection(
    uncertainty: ArrayLike,
    correct: ArrayLike,
    share: float = 0.2,
    clusters: Clusters = None,
    resamples: int = 1000,
    seed: int = 0,
) -> Rejection:
    """Accuracy without the most uncertain share of the pairs, and its gain over all of them.

    A point of the accuracy-rejection curve (Nadeem et al. 2009), with bootstrap intervals over
    clusters; equally uncertain pairs at the limit are kept in part, each alike.
    """
    if not 0 < share < 1:
        raise DataError(f"The share to reject is {share}; it lies between 0 and 1.")
    u, ok = finite("uncertainty", uncertainty), finite("correct", correct)
    same_length(uncertainty=u, correct=ok)

    def kept(rows: Floats) -> float:
        limit = np.quantile(rows[:, 0], 1 - share, method="inverted_cdf")
        below, at = rows[:, 0] < limit, rows[:, 0] == limit
        room = (1 - share) * len(rows) - below.sum()
        weight = below + at * (room / at.sum())
        return float(weight @ rows[:, 1] / weight.sum())

    rows = np.stack([u, ok], axis=1)
    of_kept = cluster_bootstrap(rows, clusters, kept, resamples, seed)
    gain = cluster_bootstrap(
        rows, clusters, lambda r: kept(r) - float(r[:, 1].mean()), resamples, seed
    )
    return Rejection(share, of_kept, gain)


def _of_members(columns: ArrayLike) -> Floats:
    x = np.asarray(columns, dtype=np.float64)
    if x.ndim != 2 or x.shape[1] < 2:
        raise DataError(
            f"Diversity is one of several members; got an array of shape {x.shape}, wanted pairs × "
            "two members or more."
        )
    if not np.isfinite(x).all():
        raise DataError("A member's gap is not finite; every member must reward every response.")
    return x
