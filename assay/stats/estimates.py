"""Values with standard errors, which can be averaged over the parts of a suite."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import CONFIDENCE, Clusters, Floats, codes, finite
from assay.types import Figure


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value, its standard error, the error's degrees of freedom, and the number of values."""

    value: float
    error: float
    df: float
    n: int

    def figure(self, bounds: tuple[float, float] | None = None) -> Figure:
        """The value with its 95 % interval, by the t distribution.

        Between bounds it is Wilson's interval for as many values as would have this error: Dean &
        Pagano 2015. Near a bound ``value ± t error`` holds the truth far too seldom.

        Args:
            bounds: Smallest and largest possible value. The interval is between them, keeps a width
                at them, and is the whole range where the error is unknown.
        """
        if np.isnan(self.error):
            return Figure(self.value, *(bounds or (np.nan, np.nan)), self.n)
        from scipy.special import stdtrit

        t = float(stdtrit(self.df, 0.5 + CONFIDENCE / 2))
        if bounds is None:
            half = t * self.error
            return Figure(self.value, self.value - half, self.value + half, self.n)
        lowest, width = bounds[0], bounds[1] - bounds[0]
        share = (self.value - lowest) / width
        if 0 < share < 1:
            ratio = (t * self.error / width) ** 2 / (share * (1 - share))
        else:  # no error shows at a bound; the clusters count, as many independent values
            ratio = float(stdtrit(np.inf, 0.5 + CONFIDENCE / 2)) ** 2 / (self.df + 1)
        low, high = wilson_bounds(min(max(share, 0.0), 1.0), ratio)
        return Figure(self.value, lowest + width * low, lowest + width * high, self.n)


def wilson_bounds(share: float, ratio: float) -> tuple[float, float]:
    """Wilson's score interval for a share, ``ratio`` being z²/n.

    ``(p + r/2 ± √(r p(1-p) + r²/4)) / (1 + r)``. Wilson 1927.
    """
    centre = share + ratio / 2
    half = float(np.sqrt(ratio * share * (1 - share) + ratio**2 / 4))
    scale = 1 + ratio
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def estimate_mean(values: ArrayLike, clusters: Clusters = None) -> Estimate:
    """Mean of values with its error over independent clusters.

    ``SE² = G/(G-1) n⁻² Σ_g (Σ_{i∈g} (v_i - v̄))²``, the clustered error of Miller 2024 (arXiv
    2411.00640) with the small-sample factor for G clusters, and G - 1 degrees of freedom. The error
    of a single cluster is ``nan``.
    """
    v = finite("values", values)
    if not len(v):
        return Estimate(np.nan, np.nan, 0.0, 0)
    mean = float(v.mean())
    cluster = codes(clusters, len(v))
    count = int(cluster.max()) + 1
    if count == 1:
        return Estimate(mean, np.nan, 0.0, len(v))
    residual = np.bincount(cluster, v - mean)
    error = float(np.sqrt(count / (count - 1) * np.sum(residual**2)) / len(v))
    return Estimate(mean, error, float(count - 1), len(v))


def design_effect(values: ArrayLike, clusters: Clusters = None) -> float:
    """How many dependent values tell as much about their mean as one independent value does.

    The variance of the mean over clusters, by that of as many independent values, at least 1: Kish
    1965; n values are worth ``n / design_effect`` independent ones. Where nothing shows how
    alike the values of a cluster are (they do not vary, or there is one cluster) they are taken to
    be all the same: ``n / G``.
    """
    v = finite("values", values)
    if not len(v):
        return float("nan")
    clustered, independent = estimate_mean(v, clusters).error, estimate_mean(v).error
    if np.isnan(clustered) or independent == 0:
        return len(v) / (int(codes(clusters, len(v)).max()) + 1)
    return max(1.0, (clustered / independent) ** 2)


def jackknife(
    statistic: Callable[[list[int]], float], clusters: Sequence[int] | Sequence[str]
) -> Estimate:
    """Any statistic of rows, with its delete-one-cluster jackknife error.

    ``SE² = (G-1)/G Σ_g (θ_(g) - mean θ_(·))²`` with θ_(g) the statistic without cluster g: Efron &
    Tibshirani 1993, eq. 11.5. For smooth statistics; not for quantiles.

    Args:
        statistic: Takes the indexes of the rows that are kept.
        clusters: The cluster of each row.
    """
    everything = list(range(len(clusters)))
    if not everything:
        return Estimate(np.nan, np.nan, 0.0, 0)
    value = float(statistic(everything))
    cluster = codes(clusters, len(clusters))
    count = int(cluster.max()) + 1
    if count == 1:
        return Estimate(value, np.nan, 0.0, len(clusters))
    without = np.array([statistic(np.flatnonzero(cluster != g).tolist()) for g in range(count)])
    return Estimate(value, _delete_one_error(without), float(count - 1), len(clusters))


def jackknife_of_sums(
    rows: ArrayLike, function: Callable[[Floats], Floats], clusters: Sequence[int] | Sequence[str]
) -> Estimate:
    """A function of the sums of rows with its jackknife error: :func:`jackknife` in one pass.

    Args:
        rows: What each row adds to the sums, ``(n, m)``.
        function: From sums ``(..., m)`` to numbers ``(...)``.
        clusters: The cluster of each row.
    """
    r = np.asarray(rows, dtype=np.float64)
    if not len(r):
        return Estimate(np.nan, np.nan, 0.0, 0)
    total = r.sum(axis=0)
    value = float(function(total))
    cluster = codes(clusters, len(r))
    count = int(cluster.max()) + 1
    if count == 1:
        return Estimate(value, np.nan, 0.0, len(r))
    own = np.zeros((count, r.shape[1]))
    np.add.at(own, cluster, r)
    return Estimate(value, _delete_one_error(function(total - own)), float(count - 1), len(r))


def _delete_one_error(without: Floats) -> float:
    """The jackknife's error from the statistic without each of the clusters."""
    count = len(without)
    return float(np.sqrt((count - 1) / count * np.sum((without - without.mean()) ** 2)))


def combine(estimates: Sequence[Estimate], weights: Sequence[float] | None = None) -> Estimate:
    """Weighted mean of independent estimates (a macro average where the weights are equal).

    ``SE² = Σ w_k² SE_k² / (Σ w_k)²`` with the degrees of freedom of Welch 1947 and Satterthwaite
    1946: ``(Σ a_k)² / Σ a_k²/df_k`` with ``a_k = w_k² SE_k²``.

    Raises:
        DataError: If there is nothing to combine, or the weights do not fit.
    """
    w = np.ones(len(estimates)) if weights is None else finite("weights", weights)
    if not len(estimates) or len(w) != len(estimates) or (w < 0).any() or not w.sum():
        raise DataError(
            f"Got {len(w)} weights for {len(estimates)} estimates; wanted one each, not negative "
            "and not all 0."
        )
    share = w / w.sum()
    value = float(np.sum(share * [e.value for e in estimates]))
    parts = share**2 * np.array([e.error for e in estimates]) ** 2
    n = sum(e.n for e in estimates)
    if np.isnan(parts).any():
        return Estimate(value, np.nan, 0.0, n)
    freedom = np.array([e.df for e in estimates])
    spread = np.sum(parts**2 / np.maximum(freedom, 1))
    df = float(parts.sum() ** 2 / spread) if spread else float(freedom.sum())
    return Estimate(value, float(np.sqrt(parts.sum())), df, n)
