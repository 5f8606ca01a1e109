"""Means and other statistics with intervals over independent clusters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import CONFIDENCE, Clusters, Floats, codes, nothing
from assay.stats.estimates import estimate_mean, wilson_bounds
from assay.types import Figure


def wilson(successes: int | float, n: int) -> Figure:
    """Share of successes among n independent trials, with Wilson's score interval.

    :func:`wilson_bounds` with n: Wilson 1927. Stays inside [0, 1] and keeps a width at 0 and 1.
    """
    if not 0 <= successes <= n:
        raise DataError(f"successes must lie between 0 and n={n}, got {successes:g}.")
    if n == 0:
        return nothing()
    from scipy.special import ndtri

    z = float(ndtri(0.5 + CONFIDENCE / 2))
    share = successes / n
    return Figure(float(share), *wilson_bounds(share, z**2 / n), n)


def cluster_mean(
    values: ArrayLike, clusters: Clusters = None, bounds: tuple[float, float] | None = None
) -> Figure:
    """Mean of values with an interval over independent clusters: ``estimate_mean`` as a figure.

    One value a cluster gives Student's interval.

    Args:
        bounds: Smallest and largest possible value; the interval stays between them.
    """
    return estimate_mean(values, clusters).figure(bounds)


def bootstrap_tail(count: int) -> float:
    """The share of resamples of so many clusters that lies below a 95 % interval, 0.025 for many.

    That of the normal below ``-√(G/(G-1)) t_{G-1}``: resamples of few clusters spread too little.
    Hesterberg 2015.
    """
    from scipy.special import ndtr, stdtrit

    t = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2))
    return float(ndtr(-t * np.sqrt(count / (count - 1))))


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Clusters = None,
    statistic: Callable[[Floats], float] = np.mean,
    resamples: int = 2000,
    seed: int = 0,
    kind: Literal["percentile", "basic"] = "percentile",
) -> Figure:
    """Any statistic of rows of values, with a bootstrap interval over clusters.

    Whole clusters are drawn with replacement. Efron & Tibshirani 1993, ch. 13; basic: Davison &
    Hinkley 1997, eq. 5.6. The quantiles are those of :func:`bootstrap_tail`. Resamples where the
    statistic is undefined (``nan``) are left out.

    Args:
        values: Shape (n,) or (n, m); the statistic gets the resampled rows.
        kind: ``percentile`` of the resamples, or ``basic``, which reflects them about the value and
            so undoes the bias of a statistic that resampling inflates, like a calibration error.
    """
    v = np.asarray(values, dtype=np.float64)
    if not len(v):
        return nothing()
    cluster = codes(clusters, len(v))
    count = int(cluster.max()) + 1
    value = float(statistic(v))
    rng = np.random.default_rng(seed)
    rows = np.arange(len(v))
    draws = np.empty(resamples)
    for i in range(resamples):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        draws[i] = statistic(v[np.repeat(rows, times[cluster])])
    low, high = _quantiles(draws, count)
    if np.isnan(value) or np.isnan(low):
        return Figure(value, np.nan, np.nan, len(v))
    if kind == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Figure(value, low, high, len(v))


def bootstrap_sums(
    sums: ArrayLike,
    statistic: Callable[[Floats], Floats],
    resamples: int = 2000,
    seed: int = 0,
) -> list[tuple[float, float]]:
    """Bootstrap intervals of statistics that are functions of sums over clusters, all at once.

    As :func:`cluster_bootstrap` of the same statistics, and fast: a resample is a matrix product,
    so coefficients of agreement of a hundred thousand items take seconds.

    Args:
        sums: Shape (G, m): what each cluster adds to each of m sums.
        statistic: Takes the sums of R resamples, ``(R, m)``, and gives ``(R, k)``; undefined values
            are ``nan`` and left out.

    Returns:
        The k intervals, ``nan`` where there is a single cluster or nothing is defined.
    """
    s = np.asarray(sums, dtype=np.float64)
    count = len(s)
    rng = np.random.default_rng(seed)
    block = max(1, 4_000_000 // max(count, 1))
    draws = []
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = rng.integers(count, size=(rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        draws.append(statistic(times @ s))
    return [_quantiles(column, count) for column in np.concatenate(draws).T]


def _quantiles(draws: Floats, clusters: int) -> tuple[float, float]:
    """The middle of the resampled values that are defined, widened for few clusters."""
    defined = draws[np.isfinite(draws)]
    if clusters < 2 or not len(defined):
        return float("nan"), float("nan")
    tail = bootstrap_tail(clusters)
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
