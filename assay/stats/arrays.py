"""What every figure does with its arguments: arrays checked, clusters numbered."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.types import Figure

Floats = NDArray[np.float64]
Clusters = Sequence[int] | Sequence[str] | NDArray[np.generic] | None

CONFIDENCE = 0.95
"""Level of every interval."""


def as_pairs(
    gaps: ArrayLike, probability: ArrayLike | None, name: str = "gaps"
) -> tuple[Floats, Floats]:
    """Gaps and soft labels (1 where left out), checked."""
    gap = finite(name, gaps)
    q = np.ones_like(gap) if probability is None else finite("probability", probability)
    same_length(**{name: gap, "probability": q})
    if len(q) and not (q.min() >= 0 and q.max() <= 1):
        raise DataError(f"probability must lie between 0 and 1, got {q.min():g} to {q.max():g}.")
    return gap, q


def finite(name: str, values: ArrayLike) -> Floats:
    """One-dimensional finite numbers, or a sentence that says what came instead."""
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1:
        raise DataError(f"{name} must have one dimension, got shape {v.shape}.")
    bad = np.flatnonzero(~np.isfinite(v))
    if len(bad):
        raise DataError(
            f"{name} must be finite, but {len(bad):,} of {len(v):,} are not (first at {bad[0]})."
        )
    return v


def same_length(**arrays: Floats) -> None:
    """Refuse arrays that do not belong together."""
    if len({len(v) for v in arrays.values()}) > 1:
        counts = " and ".join(f"{len(v):,} {name}" for name, v in arrays.items())
        raise DataError(f"Got {counts}; there must be one of each for every pair or response.")


def codes(clusters: Clusters, n: int) -> NDArray[np.intp]:
    """Clusters as 0 … G-1."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise DataError(f"Got {len(clusters):,} clusters for {n:,} values; each value has one.")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def nothing() -> Figure:
    """The figure of nothing measured."""
    return Figure(np.nan, np.nan, np.nan, 0)


def sigmoid(x: Floats) -> Floats:
    """The logistic function, without overflow."""
    return np.exp(-np.logaddexp(0, -x))


def correct_share(gap: Floats, q: Floats) -> Floats:
    """1 where reward and label prefer the same side, ½ at equal rewards, 0 elsewhere."""
    return (1 + np.sign(gap) * np.sign(q - 0.5)) / 2


def preference_losses(gap: Floats, q: Floats) -> Floats:
    """Bradley-Terry loss of each pair: ``-q log σ(Δ) - (1-q) log σ(-Δ)``."""
    return q * np.logaddexp(0, -gap) + (1 - q) * np.logaddexp(0, gap)


def expected_correct(gap: Floats, q: Floats) -> Floats:
    """The label's probability of the side that the reward prefers."""
    return np.where(gap > 0, q, np.where(gap < 0, 1 - q, 0.5))
