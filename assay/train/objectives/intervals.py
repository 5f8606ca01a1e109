"""95 % intervals of an objective's parameters, with the rewards taken as they are.

Letters: n judgments · F parameters.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from assay.types import Figure

Floats = NDArray[np.float64]
Z = 1.959963984540054
"""Half a 95 % interval in standard errors."""


def standard_errors(scores: Floats, prior: Floats) -> Floats:
    """Standard errors ``(F,)`` from the log-likelihood's slopes.

    The root of the diagonal of ``(Σ_i s_i s_iᵀ + P)⁻¹``: the information of n judgments as the sum
    of their scores' outer products (Berndt et al. 1974), and a Gaussian prior's precision. The
    rewards' own uncertainty is not in it.

    Args:
        scores: ``s_i``, the slopes of each judgment's log-probability, ``(n, F)``.
        prior: The precision the prior adds to each parameter, ``(F,)``.
    """
    information = scores.T @ scores + np.diag(prior)
    return np.sqrt(np.diag(np.linalg.pinv(information)))


def figure(
    value: float, error: float, n: int, transform: Callable[[float], float] = lambda x: x
) -> Figure:
    """A parameter with its interval, both through an increasing transform."""
    low, high = transform(value - Z * error), transform(value + Z * error)
    return Figure(transform(value), low, high, n)
