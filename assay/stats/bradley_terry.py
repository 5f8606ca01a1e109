"""Strengths of competitors from who was preferred to whom, with intervals over clusters.

Letters: K competitors · M meetings of two of them · G clusters.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import CONFIDENCE, Clusters, Floats, codes, sigmoid

STEPS = 100
TOLERANCE = 1e-10


@dataclass(frozen=True)
class BradleyTerry:
    """Fitted strengths ``(K,)`` in log-odds, each group's mean at 0.

    ``group`` numbers the parts of the graph of meetings that hang together; strengths of different
    groups cannot be compared. ``is_helped`` says of which competitors the strength is finite only
    because one tie was added to each two that met: somebody in their group won, or lost, all.
    """

    strength: Floats
    low: Floats
    high: Floats
    group: NDArray[np.int64]
    is_helped: NDArray[np.bool_]

    @property
    def is_connected(self) -> bool:
        """Whether every competitor can be compared with every other."""
        return len(np.unique(self.group)) <= 1


def fit_bradley_terry(
    first: ArrayLike, second: ArrayLike, won: ArrayLike, count: int, clusters: Clusters = None
) -> BradleyTerry:
    """Strengths by maximum likelihood: ``P(first is preferred) = σ(strength₁ - strength₂)``.

    Bradley & Terry 1952; a tie is half a win of both. The intervals are Student's with the sandwich
    covariance ``H⁻¹ (Σ g gᵀ) H⁻¹ G/(G-1)`` of the clusters' scores g.

    Args:
        first: ``(M,)`` numbers of competitors below ``count``.
        won: ``(M,)`` what the first got: 1, ½ or 0.

    Raises:
        DataError: If a number is none of a competitor, or one meets itself.
    """
    a, b = np.asarray(first, dtype=np.int64), np.asarray(second, dtype=np.int64)
    y = np.asarray(won, dtype=np.float64)
    if len(a) and (min(a.min(), b.min()) < 0 or max(a.max(), b.max()) >= count):
        raise DataError(f"Competitors must be numbered from 0 to {count - 1}.")
    if (a == b).any():
        raise DataError("A competitor cannot meet itself.")
    wins = np.zeros((count, count))
    np.add.at(wins, (a, b), y)
    np.add.at(wins, (b, a), 1 - y)
    group = _components(wins + wins.T, "weak")
    ties, is_helped = _help(wins, group)
    strength = _fit(wins + ties, group)
    width = _widths(a, b, y, strength, wins + ties, group, codes(clusters, len(a)))
    return BradleyTerry(strength, strength - width, strength + width, group, is_helped)


def _components(edges: Floats, connection: str) -> NDArray[np.int64]:
    from scipy.sparse.csgraph import connected_components

    return np.asarray(connected_components(edges, connection=connection)[1], dtype=np.int64)


def _help(wins: Floats, group: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
    """Half a win each way for each two that met in a group where the likelihood has no maximum."""
    strong = _components(wins, "strong")
    torn = [g for g in np.unique(group) if len(np.unique(strong[group == g])) > 1]
    is_helped = np.isin(group, torn)
    met = (wins + wins.T > 0) & is_helped[:, None] & is_helped[None, :]
    return np.where(met, 0.5, 0.0), is_helped


def _fit(wins: Floats, group: NDArray[np.int64]) -> Floats:
    """Newton's method, each step halved until the likelihood rises."""
    theta = np.zeros(len(wins))
    value = _likelihood(theta, wins)
    for _ in range(STEPS):
        gradient, hessian = _slopes(theta, wins)
        step = np.linalg.lstsq(hessian, gradient, rcond=None)[0]
        size = 1.0
        while (new := _likelihood(theta + size * step, wins)) < value and size > 1e-8:
            size /= 2
        theta, value = theta + size * step, new
        if np.abs(size * step).max(initial=0.0) < TOLERANCE:
            break
    return theta - _group_means(theta, group)


def _likelihood(theta: Floats, wins: Floats) -> float:
    gap = theta[:, None] - theta[None, :]
    return float(-(wins * np.logaddexp(0.0, -gap)).sum())


def _slopes(theta: Floats, wins: Floats) -> tuple[Floats, Floats]:
    """The gradient of the log-likelihood, and its negative Hessian."""
    p = sigmoid(theta[:, None] - theta[None, :])
    met = wins + wins.T
    gradient = (wins - met * p).sum(axis=1)
    weight = met * p * (1 - p)
    return gradient, np.diag(weight.sum(axis=1)) - weight


def _group_means(theta: Floats, group: NDArray[np.int64]) -> Floats:
    return (np.bincount(group, theta) / np.bincount(group))[group] if len(theta) else theta


def _widths(
    a: NDArray[np.int64],
    b: NDArray[np.int64],
    y: Floats,
    theta: Floats,
    wins: Floats,
    group: NDArray[np.int64],
    cluster: NDArray[np.int64],
) -> Floats:
    """Half the widths of the intervals; ``nan`` for a competitor alone, or with one cluster."""
    from scipy.sparse import coo_array
    from scipy.special import stdtrit

    clusters = int(cluster.max(initial=-1)) + 1
    if clusters < 2:
        return np.full(len(theta), np.nan)
    left = y - sigmoid(theta[a] - theta[b])
    rows = np.concatenate([cluster, cluster])
    scores = coo_array(
        (np.concatenate([left, -left]), (rows, np.concatenate([a, b]))), (clusters, len(theta))
    ).tocsr()
    meat = np.asarray((scores.T @ scores).todense()) * clusters / (clusters - 1)
    bread = np.linalg.pinv(_slopes(theta, wins)[1], hermitian=True)
    variance = np.diag(bread @ meat @ bread).copy()
    variance[np.bincount(group)[group] < 2] = np.nan
    return np.asarray(
        stdtrit(clusters - 1, 0.5 + CONFIDENCE / 2) * np.sqrt(np.maximum(variance, 0.0))
    )
