"""Figures of values measured under several seeds on the same items: intervals over both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import CONFIDENCE, Clusters, Floats, codes
from assay.types import Figure

Statistic = Callable[[Floats], Floats]
"""Takes means ``(…, B)`` and gives what follows from them, ``(B,)`` or ``(X, B)``."""

BLOCK = 4_000_000
"""Numbers drawn at once."""


@dataclass(frozen=True)
class CrossedMeans:
    """Means over seeds and items, and B resamples of them.

    ``draws`` resamples both, ``by_cluster`` the items' clusters alone and ``by_seed`` the seeds
    alone; the last axis of each is that of the resamples (of length 1 in ``value``).
    """

    value: Floats
    draws: Floats
    by_cluster: Floats
    by_seed: Floats
    clusters: int
    seeds: int
    n: int

    def __getitem__(self, index: int | tuple[int, ...]) -> CrossedMeans:
        """The same for some of the means, the resamples kept together."""
        value, draws, by_cluster, by_seed = (a[index] for a in self._arrays)
        return replace(self, value=value, draws=draws, by_cluster=by_cluster, by_seed=by_seed)

    @property
    def _arrays(self) -> tuple[Floats, Floats, Floats, Floats]:
        return self.value, self.draws, self.by_cluster, self.by_seed

    def interval(self, statistic: Statistic) -> tuple[Floats, Floats, Floats]:
        """Value, low and high of whatever follows from the means, each ``()`` or ``(X,)``.

        The percentiles are the normal ones of ``±t``, with the degrees of freedom of Satterthwaite
        1946 for the sum of both variances: ``(v_c + v_s)² / (v_c²/(G-1) + v_s²/(R-1))``.
        """
        from scipy.special import ndtr, stdtrit

        value, draws, by_cluster, by_seed = map(statistic, self._arrays)
        over_clusters, over_seeds = by_cluster.var(axis=-1), by_seed.var(axis=-1)
        spread = over_clusters**2 / max(self.clusters - 1, 1)
        spread = spread + over_seeds**2 / max(self.seeds - 1, 1)
        total = (over_clusters + over_seeds) ** 2
        df = np.where(spread > 0, total / np.where(spread > 0, spread, 1.0), self.clusters - 1)
        tail = ndtr(-stdtrit(df, 0.5 + CONFIDENCE / 2))
        rows = draws.reshape(-1, draws.shape[-1])
        ends = [np.quantile(row, [t, 1 - t]) for row, t in zip(rows, np.ravel(tail), strict=True)]
        low, high = (np.reshape([e[i] for e in ends], draws.shape[:-1]) for i in (0, 1))
        return value[..., 0], low, high

    def figure(
        self,
        statistic: Statistic = np.asarray,
        bounds: tuple[float, float] = (-np.inf, np.inf),
    ) -> Figure:
        """The mean, or whatever follows from the means, as a figure on so many items.

        Args:
            bounds: Smallest and largest possible value; the interval stays between them.
        """
        value, low, high = self.interval(statistic)
        low, high = np.clip([low, high], *bounds)
        return Figure(float(value), float(low), float(high), self.n)


def crossed_bootstrap(
    values: ArrayLike, clusters: Clusters = None, resamples: int = 2000, seed: int = 0
) -> CrossedMeans:
    """Means over seeds and items, with a bootstrap over seeds and over clusters of items.

    A resample is ``m + √(G/(G-1)) (m_c - m) + √(R/(R-1)) (m_s - m)``: m the mean, ``m_c`` that of
    clusters drawn with replacement, ``m_s`` that of seeds drawn with replacement. The variances of
    both factors add up (what seeds and items do together is counted in both, on the safe side:
    Owen 2007), and the roots undo the shrinking of a bootstrap of few (Hesterberg
    2015). All means share the draws, so differences of them are paired by item and seed.

    Args:
        values: ``(…, R, n)``, R seeds of n items.
        clusters: The cluster of each item.

    Raises:
        DataError: If there is nothing to average, or a single cluster.
    """
    v = np.asarray(values, dtype=np.float64)
    *_, seeds, n = v.shape
    cluster = codes(clusters, n)
    count = int(cluster.max()) + 1 if n else 0
    if count < 2 or not seeds:
        raise DataError(
            f"An interval over seeds and prompts needs one seed and two prompts or more, "
            f"got {seeds} and {count}."
        )
    rng = np.random.default_rng(seed)
    size = np.bincount(cluster).astype(np.float64)
    order = np.argsort(cluster, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.intp)
    totals = np.add.reduceat(v.mean(axis=-2)[..., order], starts, axis=-1)  # (…, G)
    value = totals.sum(axis=-1, keepdims=True) / n
    parts = []
    for start in range(0, resamples, step := max(1, BLOCK // count)):
        times = _times(rng, count, min(step, resamples - start))  # (B, G)
        parts.append(totals @ times.T / (times @ size))
    by_cluster = np.concatenate(parts, axis=-1)
    by_seed = v.mean(axis=-1) @ _times(rng, seeds, resamples).T / seeds  # (…, B)
    off_cluster = np.sqrt(count / (count - 1)) * (by_cluster - value)
    off_seed = np.sqrt(seeds / max(seeds - 1, 1)) * (by_seed - value)
    return CrossedMeans(
        value=value,
        draws=value + off_cluster + off_seed,
        by_cluster=value + off_cluster,
        by_seed=value + off_seed,
        clusters=count,
        seeds=seeds,
        n=n,
    )


def _times(rng: np.random.Generator, count: int, resamples: int) -> Floats:
    """How often each of so many is drawn, one row a resample."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
