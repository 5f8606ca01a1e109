"""Accuracy as a power law of data size: fit, prediction, and what the fit cannot tell.

Pure functions of arrays. Letters: S sizes · B fits at once (resamples of a bootstrap).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.types import Figure

Floats = NDArray[np.float64]

LOWEST_EXPONENT, HIGHEST_EXPONENT = 0.01, 2.0
CHANCE = 0.5
"""Accuracy of a coin on pairs; ties count half, so it needs no data to know."""
PARAMETERS = 3
GRID = 60
"""Exponents tried first, in equal steps of their logarithm."""
REFINED, ROUNDS = 15, 4
"""Exponents tried between the best one's neighbours, and how often: to 1e-5 of the exponent."""


def fit_power_law(
    sizes: ArrayLike, accuracies: ArrayLike, weights: ArrayLike | None = None
) -> Floats:
    """The ``a, b, c`` of ``acc(N) = a - b N^(-c)`` with least weighted squares, ``(3, B)``.

    a lies in [0.5, 1] and c in [0.01, 2]; b is free, so that noise about a flat curve falls to both
    sides. For a given c the rest is linear: its solution is exact, and c is searched (variable
    projection: Golub & Pereyra 1973). The form is that of Hestness et al. 2017 (arXiv 1712.00409)
    for learning curves.

    Args:
        sizes: N, ``(S,)``, at least three different ones.
        accuracies: ``(S, B)``, or ``(S,)`` for one fit.
        weights: ``(S,)``, inverse variances. Default: equal.

    Raises:
        DataError: If there are fewer sizes than parameters.
    """
    n = np.asarray(sizes, dtype=np.float64)
    y = np.asarray(accuracies, dtype=np.float64)
    y = y[:, None] if y.ndim == 1 else y
    w = np.ones_like(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if len(np.unique(n)) < PARAMETERS:
        raise DataError(f"A power law has {PARAMETERS} parameters, got {len(n)} sizes.")
    # N over the smallest: powers stay between 0 and 1
    ratio, w = n / n.min(), w / w.sum()
    exponents = np.geomspace(LOWEST_EXPONENT, HIGHEST_EXPONENT, GRID)
    table = np.stack([_linear(ratio, y, w, np.full(y.shape[1], c))[2] for c in exponents])
    step = float(exponents[1] / exponents[0])
    best = exponents[np.argmin(table, axis=0)]  # (B,)
    for _ in range(ROUNDS):
        tried = best * np.geomspace(1 / step, step, REFINED)[:, None]  # (K, B)
        tried = np.clip(tried, LOWEST_EXPONENT, HIGHEST_EXPONENT)
        table = np.stack([_linear(ratio, y, w, row)[2] for row in tried])
        best = np.take_along_axis(tried, np.argmin(table, axis=0)[None], axis=0)[0]
        step = step ** (2 / (REFINED - 1))
    a, b, _ = _linear(ratio, y, w, best)
    return np.stack([a, b * n.min() ** best, best])


def _linear(ratio: Floats, y: Floats, w: Floats, c: Floats) -> tuple[Floats, Floats, Floats]:
    """Best a and b for exponents ``(B,)``, and the weighted squares that are left."""
    x = ratio[:, None] ** -c  # (S, B)
    share = w[:, None]
    mean_x, mean_y = (share * x).sum(0), (share * y).sum(0)
    slope = (share * (x - mean_x) * (y - mean_y)).sum(0) / (share * (x - mean_x) ** 2).sum(0)
    # the squares are convex in (a, b): where a is out of bounds the best one is at its bound
    a = np.clip(mean_y - slope * mean_x, CHANCE, 1.0)
    b = (share * x * (a - y)).sum(0) / (share * x**2).sum(0)
    return a, b, (share * (a - b * x - y) ** 2).sum(0)


def predict(parameters: Floats, size: float | int) -> Floats:
    """``a - b N^(-c)`` at one size, ``(B,)``."""
    a, b, c = parameters
    accuracy: Floats = a - b * float(size) ** -c
    return accuracy


def r_squared(
    sizes: ArrayLike, accuracies: ArrayLike, weights: ArrayLike, parameters: Floats
) -> float:
    """Share of the weighted variance between sizes that one fit explains.

    ``1 - Σ w (y - ŷ)² / Σ w (y - ȳ)²``, ȳ the weighted mean; ``nan`` where y does not vary.
    """
    y, w = np.asarray(accuracies, dtype=np.float64), np.asarray(weights, dtype=np.float64)
    fitted = np.array([predict(parameters, float(n))[0] for n in np.asarray(sizes)])
    total = float(np.sum(w * (y - np.average(y, weights=w)) ** 2))
    return 1 - float(np.sum(w * (y - fitted) ** 2)) / total if total > 0 else float("nan")


def undetermined(sizes: Sequence[float], exponent: float, rise: Figure) -> tuple[str, ...]:
    """Why a fit's numbers would say more than the data do; nothing where they may be read.

    Args:
        exponent: The fitted c.
        rise: Measured accuracy at the largest size minus that at the smallest.
    """
    reasons = []
    if len(sizes) <= PARAMETERS:
        reasons.append(f"{len(sizes)} sizes for {PARAMETERS} parameters")
    if rise.low <= 0:
        fell = rise.high < 0
        reasons.append(
            f"the curve {'falls' if fell else 'is flat'}: from the smallest to the largest size "
            f"accuracy moves by {rise.value:+.3f} [{rise.low:+.3f}, {rise.high:+.3f}]"
        )
    elif exponent >= HIGHEST_EXPONENT * (1 - 1e-3):
        reasons.append(f"c is at its bound {HIGHEST_EXPONENT:g}: it levels off after few sizes")
    elif exponent <= LOWEST_EXPONENT * (1 + 1e-3):
        reasons.append(f"c is at its bound {LOWEST_EXPONENT:g}: it does not level off")
    return tuple(reasons)
