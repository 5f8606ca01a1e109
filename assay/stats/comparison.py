"""Tests between models and between subsets, and what a number of items can tell apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, as_pairs, codes, correct_share, finite, same_length
from assay.stats.estimates import Estimate

Indexes = NDArray[np.intp]


def mcnemar(gaps_a: ArrayLike, gaps_b: ArrayLike, probability: ArrayLike | None = None) -> float:
    """Two-sided p-value of the hypothesis that A and B are right equally often.

    The exact test of McNemar 1947 on the pairs where one alone is right: binomial with ½. It takes
    pairs as independent; where prompts have several pairs, use :func:`accuracy_difference`. Equal
    rewards are not right.
    """
    only_a, only_b = _discordant(gaps_a, gaps_b, probability)
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def mcnemar_mid_p(
    gaps_a: ArrayLike, gaps_b: ArrayLike, probability: ArrayLike | None = None
) -> float:
    """McNemar's test with the mid-p value, which is less conservative than the exact one.

    The exact p minus the probability of what was observed: Fagerland, Lydersen & Laake 2013.
    """
    only_a, only_b = _discordant(gaps_a, gaps_b, probability)
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binom

    fewer, total = min(only_a, only_b), only_a + only_b
    return float(2 * binom.cdf(fewer, total, 0.5) - binom.pmf(fewer, total, 0.5))


def _discordant(
    gaps_a: ArrayLike, gaps_b: ArrayLike, probability: ArrayLike | None
) -> tuple[int, int]:
    """Pairs that A alone gets right, and B alone."""
    a, q = as_pairs(gaps_a, probability, "gaps_a")
    b, _ = as_pairs(gaps_b, probability, "gaps_b")
    same_length(gaps_a=a, gaps_b=b)
    judged = q != 0.5
    right_a, right_b = (correct_share(gap, q)[judged] == 1 for gap in (a, b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    return only_a, only_b


def t_test(estimate: Estimate) -> float:
    """Two-sided p-value of the hypothesis that the estimated quantity is 0: clustered t test.

    1 where value and error are both 0, 0 where the error alone is, ``nan`` where it is unknown.
    """
    if np.isnan(estimate.error) or np.isnan(estimate.value):
        return float("nan")
    if estimate.error == 0:
        return 1.0 if estimate.value == 0 else 0.0
    from scipy.special import stdtr

    return float(2 * stdtr(estimate.df, -abs(estimate.value) / estimate.error))


def paired_bootstrap_p(
    differences: ArrayLike, clusters: Clusters = None, resamples: int = 9999, seed: int = 0
) -> float:
    """Two-sided p-value of the hypothesis that paired differences have mean 0.

    Whole clusters are drawn with replacement, and the p-value is the share of resamples whose
    studentised mean is as far from the observed mean as that is from 0: Davison & Hinkley 1997,
    §4.4. One is added to both counts, so that p is never 0.
    """
    d = finite("differences", differences)
    if not len(d):
        return float("nan")
    cluster = codes(clusters, len(d))
    total = np.bincount(cluster, d).astype(np.float64)
    size = np.bincount(cluster).astype(np.float64)
    count = len(total)
    mean, spread = _studentised(total[None], size[None])
    if spread[0] == 0:
        return 1.0 if mean[0] == 0 else 1 / (resamples + 1)
    observed = abs(mean[0]) / spread[0]
    rng = np.random.default_rng(seed)
    extreme, done = 0, 0
    block = max(1, 2_000_000 // count)
    while done < resamples:
        drawn = rng.integers(count, size=(min(block, resamples - done), count))
        means, spreads = _studentised(total[drawn], size[drawn])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(means - mean[0]) / spreads
        # a resample without spread tells nothing; it counts as extreme, on the safe side
        extreme += int(np.sum(~(t < observed)))
        done += len(drawn)
    return (extreme + 1) / (resamples + 1)


def _studentised(total: Floats, size: Floats) -> tuple[Floats, Floats]:
    """Means and clustered standard errors of rows of cluster totals and sizes."""
    n = size.sum(axis=1)
    mean = total.sum(axis=1) / n
    residual = total - mean[:, None] * size
    count = total.shape[1]
    factor = count / max(count - 1, 1)
    return mean, np.sqrt(factor * (residual**2).sum(axis=1)) / n


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values adjusted for their number by Holm 1979: the family-wise error rate stays at α.

    The i-th smallest of m times ``m + 1 - i``, never less than the one before, at most 1; a ``nan``
    counts among the m and stays ``nan``.
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p)  # nan comes last
    adjusted = np.empty_like(p)
    adjusted[order] = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return [float(x) for x in np.minimum(adjusted, 1)]


def minimum_detectable_difference(
    n: int, discordance: float, power: float = 0.8, alpha: float = 0.05
) -> float:
    """The smallest difference in accuracy that a paired comparison on n items shows.

    The d that solves ``n = (z_{1-α/2} √ψ + z_power √(ψ - d²))² / d²``: Connor 1987, for McNemar's
    test. At most ψ, the discordance; ``nan`` where even that needs more items.

    Args:
        discordance: ψ, the share of items on which one model alone is right.
    """
    if not 0 < discordance <= 1 or n < 1:
        raise DataError(
            f"Wanted one item or more and a discordance in (0, 1], got n={n} and {discordance:g}."
        )
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z_alpha, z_power = float(ndtri(1 - alpha / 2)), float(ndtri(power))

    def lacking(d: float) -> float:
        inside = max(discordance - d**2, 0.0)
        return float((z_alpha * discordance**0.5 + z_power * inside**0.5) ** 2 / d**2 - n)

    if lacking(discordance) > 0:
        return float("nan")
    found: float = brentq(lacking, 1e-9, discordance)
    return found


def permutation_p(
    values_a: ArrayLike,
    values_b: ArrayLike,
    clusters_a: Clusters = None,
    clusters_b: Clusters = None,
    resamples: int = 9999,
    seed: int = 0,
) -> float:
    """Two-sided p-value of the hypothesis that two sets of items have the same mean.

    Whole clusters change sides: scipy's ``permutation_test`` of the studentised difference, which
    keeps its level where the clusters of one set are larger or more alike (Janssen 1997).
    """
    a, b = finite("values_a", values_a), finite("values_b", values_b)
    if not len(a) or not len(b):
        return float("nan")
    from scipy.stats import permutation_test

    group_a, group_b = codes(clusters_a, len(a)), codes(clusters_b, len(b))
    total = np.concatenate([np.bincount(group_a, a), np.bincount(group_b, b)])
    size = np.concatenate([np.bincount(group_a), np.bincount(group_b)]).astype(np.float64)
    first = int(group_a.max()) + 1

    def difference(a: Indexes, b: Indexes, axis: int) -> Floats:
        assert axis == -1
        (mean_a, error_a), (mean_b, error_b) = (
            _studentised(total[side], size[side]) for side in map(np.atleast_2d, (a, b))
        )
        # rounding must not pass for a difference where nothing varies
        t: Floats = (mean_a - mean_b) / (np.hypot(error_a, error_b) + 1e-12)
        return t.reshape(a.shape[:-1])

    everything = np.arange(len(total))
    found = permutation_test(
        (everything[:first], everything[first:]),
        difference,
        vectorized=True,
        n_resamples=resamples,
        batch=256,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
