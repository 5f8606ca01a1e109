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
    """Means over seeds and items, and B draws of them.

    ``by_cluster`` varies the items' clusters alone, ``by_seed`` the seeds alone, and ``draws``
    both; the last axis of each is that of the draws (of length 1 in ``value``).
    """

    value: Floats
    draws: Floats
    by_cluster: Floats
    by_seed: Floats
    clusters: int
    seeds: int
    n: int

    def __getitem__(self, index: int | tuple[int, ...]) -> CrossedMeans:
        """The same for some of the means, the draws kept together."""
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
        of_clusters, of_seeds = by_cluster.var(axis=-1), by_seed.var(axis=-1)
        spread = of_clusters**2 / max(self.clusters - 1, 1) + of_seeds**2 / max(self.seeds - 1, 1)
        total = (of_clusters + of_seeds) ** 2
        df = np.where(spread > 0, total / np.where(spread > 0, spread, 1.0), self.clusters - 1)
        tail = np.ravel(ndtr(-stdtrit(df, 0.5 + CONFIDENCE / 2)))
        rows = draws.reshape(-1, draws.shape[-1])
        ends = [np.quantile(row, [t, 1 - t]) for row, t in zip(rows, tail, strict=True)]
        low, high = (np.reshape([e[i] for e in ends], draws.shape[:-1]) for i in (0, 1))
        return np.asarray(value[..., 0]), low, high

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
    """Means over seeds and items, with draws that vary both the clusters of items and the seeds.

    A draw is ``m + √(G/(G-1)) (m_c - m) + e``: m the mean, ``m_c`` that of clusters drawn with
    replacement (the root undoes the shrinking of a bootstrap of few: Hesterberg 2015), and e what
    seeds add, Gaussian with the covariance ``V_s - V_cs``, less what is negative in it. ``V_s`` is
    that of the seeds' means, and ``V_cs`` its part that comes from what is peculiar to a seed in a
    cluster, which ``m_c`` varies already: the two-way clustered variance ``V_c + V_s - V_cs`` of
    Cameron, Gelbach & Miller 2011. All means share the draws, so differences of them are paired by
    item and seed.

    Args:
        values: ``(…, R, n)``, R seeds of n items.
        clusters: The cluster of each item.

    Raises:
        DataError: If there is nothing to average, or a single cluster.
    """
    v = np.asarray(values, dtype=np.float64)
    *shape, seeds, n = v.shape
    cluster = codes(clusters, n)
    count = int(cluster.max()) + 1 if n else 0
    if count < 2 or not seeds:
        raise DataError(
            f"An interval over seeds and prompts needs one seed and two prompts or more, "
            f"got {seeds} and {count}."
        )
    rng = np.random.default_rng(seed)
    size = np.bincount(cluster).astype(np.float64)  # (G,)
    starts = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.intp)
    in_order = v[..., np.argsort(cluster, kind="stable")].reshape(-1, seeds, n)
    cells = np.add.reduceat(in_order, starts, axis=-1)  # (M, R, G): M means
    totals = cells.mean(axis=1)  # (M, G)
    value = totals.sum(axis=-1, keepdims=True) / n  # (M, 1)
    parts = []
    for start in range(0, resamples, step := max(1, BLOCK // count)):
        of_each = np.full(count, 1 / count)
        times = rng.multinomial(count, of_each, size=min(step, resamples - start))  # (B, G)
        parts.append(totals @ times.T / (times @ size))
    off_cluster = np.sqrt(count / (count - 1)) * (np.concatenate(parts, axis=-1) - value)
    off_seed = _root(_seed_covariance(cells, size)) @ rng.normal(size=(len(value), resamples))

    def shaped(array: Floats) -> Floats:
        return array.reshape(*shape, -1)

    return CrossedMeans(
        value=shaped(value),
        draws=shaped(value + off_cluster + off_seed),
        by_cluster=shaped(value + off_cluster),
        by_seed=shaped(value + off_seed),
        clusters=count,
        seeds=seeds,
        n=n,
    )


def _seed_covariance(cells: Floats, size: Floats) -> Floats:
    """``V_s - V_cs`` of M means from the totals of cells ``(M, R, G)``: what seeds add."""
    _, seeds, count = cells.shape
    if seeds == 1:
        return np.zeros((len(cells), len(cells)))
    n = size.sum()
    of_seeds = cells.sum(axis=-1) / n  # (M, R)
    off = of_seeds - of_seeds.mean(axis=1, keepdims=True)
    peculiar = cells - cells.mean(axis=1, keepdims=True) - off[..., None] * size
    flat = peculiar.reshape(len(cells), -1)
    factor = count / (count - 1) / (n * n)
    covariance: Floats = (off @ off.T - factor * (flat @ flat.T)) / (seeds * (seeds - 1))
    return covariance


def _root(covariance: Floats) -> Floats:
    """A square root of the part of a symmetric matrix that is not negative."""
    values, vectors = np.linalg.eigh(covariance)
    root: Floats = vectors * np.sqrt(np.maximum(values, 0.0))
    return root
