"""The one-parameter logistic regression behind temperature and the length baseline."""

from __future__ import annotations

import numpy as np

from assay.stats.arrays import Floats, sigmoid


def logistic_slope(x: Floats, q: Floats, low: float, high: float) -> float:
    """The slope w between low and high that minimises the logistic loss of ``w x`` against q."""

    def derivative(w: float) -> float:
        return float(np.mean((sigmoid(w * x) - q) * x))  # rises with w: the loss is convex

    if derivative(low) >= 0:
        return low
    if derivative(high) <= 0:
        return high
    from scipy.optimize import brentq

    return float(brentq(derivative, low, high, xtol=1e-12))
