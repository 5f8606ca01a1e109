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

    ``draws`` resamples both, ``by_cluster`` the items' clusters alone, ``by_seed`` the seeds alone
    and ``by_cell`` what is peculiar to a seed in a cluster; the last axis of each is that of the
    resamples (of length 1 in ``value``).
    """

    value: Floats
    draws: Floats
    by_cluster: Floats
    by_seed: Floats
    by_cell: Floats
    clusters: int
    seeds: int
    n: int

    def __getitem__(self, index: int | tuple[int, ...]) -> CrossedMeans:
        """The same for some of the means, the resamples kept together."""
        return replace(
            self,
            value=self.value[index],
            draws=self.draws[index],
            by_cluster=self.by_cluster[index],
            by_seed=self.by_seed[index],
            by_cell=self.by_cell[index],
        )

    def interval(self, statistic: Statistic) -> tuple[Floats, Floats, Floats]:
        """Value, low and high of whatever follows from the means, each ``()`` or ``(X,)``.

        Percentiles of ``draws``, drawn in about the value by ``√(v / (v_c + v_s))``: the variance
        is ``v = v_c + max(v_s - v_cs, 0)``, for what is peculiar to the cells is in both (Cameron,
        Gelbach & Miller 2011). The percentiles are the normal ones of ``±t``, with the degrees of
        freedom of Satterthwaite 1946: ``v² / (v_c²/(G-1) + (v - v_c)²/(R-1))``.
        """
        from scipy.special import ndtr, stdtrit

        value = statistic(self.value)[..., 0]
        draws = statistic(self.draws)
        of_clusters, of_seeds, of_cells = (
            statistic(part).var(axis=-1) for part in (self.by_cluster, self.by_seed, self.by_cell)
        )
        own = np.maximum(of_seeds - of_cells, 0.0)
        total, drawn = of_clusters + own, of_clusters + of_seeds
        spread = of_clusters**2 / max(self.clusters - 1, 1) + own**2 / max(self.seeds - 1, 1)
        df = np.where(spread > 0, total**2 / np.where(spread > 0, spread, 1.0), self.clusters - 1)
        factor = np.sqrt(np.where(drawn > 0, total / np.where(drawn > 0, drawn, 1.0), 1.0))
        tail = np.ravel(ndtr(-stdtrit(df, 0.5 + CONFIDENCE / 2)))
        rows = draws.reshape(-1, draws.shape[-1])
        ends = np.array(
            [np.quantile(row, [t, 1 - t]) for row, t in zip(rows, tail, strict=True)]
        ).T.reshape(2, *draws.shape[:-1])
        low, high = (np.asarray(value + factor * (end - value)) for end in ends)
        return np.asarray(value), low, high

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
    clusters drawn with replacement, ``m_s`` that of seeds drawn with replacement. The roots undo
    the shrinking of a bootstrap of few (Hesterberg 2015). All means share the draws, so differences
    of them are paired by item and seed.

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
    size = np.bincount(cluster).astype(np.float64)  # (G,)
    order = np.argsort(cluster, kind="stable")
    starts = np.concatenate([[0], np.cumsum(size)[:-1]]).astype(np.intp)
    cells = np.add.reduceat(v[..., order], starts, axis=-1)  # (…, R, G)
    totals = cells.mean(axis=-2)  # (…, G)
    value = totals.sum(axis=-1, keepdims=True) / n
    of_seeds = cells.sum(axis=-1) / n  # (…, R)
    peculiar = cells - totals[..., None, :] - (of_seeds - value)[..., None] * size
    peculiar = peculiar.reshape(*peculiar.shape[:-2], seeds * count) / (n * seeds)
    parts, odd = [], []
    for start in range(0, resamples, step := max(1, BLOCK // (count * seeds))):
        some = min(step, resamples - start)
        times = _times(rng, count, some)  # (B, G)
        parts.append(totals @ times.T / (times @ size))
        signs = rng.integers(2, size=(some, seeds * count)) * 2.0 - 1.0
        odd.append(peculiar @ signs.T)
    many, several = np.sqrt(count / (count - 1)), np.sqrt(seeds / max(seeds - 1, 1))
    by_cluster = value + many * (np.concatenate(parts, axis=-1) - value)
    by_seed = value + several * (of_seeds @ _times(rng, seeds, resamples).T / seeds - value)
    return CrossedMeans(
        value=value,
        draws=by_cluster + by_seed - value,
        by_cluster=by_cluster,
        by_seed=by_seed,
        by_cell=value + many * several * np.concatenate(odd, axis=-1),
        clusters=count,
        seeds=seeds,
        n=n,
    )


def _times(rng: np.random.Generator, count: int, resamples: int) -> Floats:
    """How often each of so many is drawn, one row a resample."""
    return rng.multinomial(count, np.full(count, 1 / count), size=resamples).astype(np.float64)
