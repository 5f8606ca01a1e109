"""The form that gold takes under best-of-n, ``R(d) = d (α - β d)``, fitted to a measured curve.

``d`` is the root of the KL divergence, as in Gao et al. 2023.

Letters: P prompts · G values of n · B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from assay.evaluation.best_of_n import Floats, best_of_n_kl
from assay.stats.intervals import bootstrap_tail
from assay.types import Figure, json_number

FEWEST_POINTS = 3
"""Values of n above 1 that a fit of two numbers wants."""


@dataclass(frozen=True)
class GoldFit:
    """``R(d) = d (α - β d)`` with ``d = √KL``: Gao et al. 2023 (arXiv 2210.10760), best-of-n.

    The peak is at ``d* = α/2β``, so at a KL of ``d*²`` nats, with ``R* = α²/4β``. It is None where
    the intervals of α and β do not lie above 0: the fit then shows no turn.
    """

    alpha: Figure
    beta: Figure
    r_squared: float
    peak_kl: Figure | None
    peak_gold: Figure | None

    def __call__(self, kl: float) -> float:
        """The fitted gold at so many nats."""
        d = float(np.sqrt(kl))
        return d * (self.alpha.value - self.beta.value * d)

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "alpha": self.alpha.to_dict(),
            "beta": self.beta.to_dict(),
            "r_squared": json_number(self.r_squared),
            "peak_kl": self.peak_kl.to_dict() if self.peak_kl else None,
            "peak_gold": self.peak_gold.to_dict() if self.peak_gold else None,
        }


def fit_gold(kl: ArrayLike, gains: ArrayLike) -> Floats:
    """α and β by least squares, for each curve of gains, ``(..., G)`` to ``(..., 2)``.

    The values of n weigh alike. ``R(0) = 0``: there is no intercept.
    """
    d = np.sqrt(np.asarray(kl, dtype=np.float64))
    solve: Floats = np.linalg.pinv(np.stack([d, -(d**2)], axis=1))  # (2, G)
    found: Floats = np.asarray(gains, dtype=np.float64) @ solve.T
    return found


def gold_fit(kl: ArrayLike, gains: Floats, times: Floats) -> GoldFit | None:
    """The fit to the mean over prompts, with bootstrap intervals; None for too few values of n.

    R² is of the mean curve, about its mean.

    Args:
        gains: Gold less that at n = 1, ``(P, G)``.
        times: How often each resample drew each prompt, ``(B, P)``.
    """
    d = np.sqrt(np.asarray(kl, dtype=np.float64))
    if np.sum(d > 0) < FEWEST_POINTS:
        return None
    prompts = len(gains)
    mean = gains.mean(axis=0)
    found, draws = fit_gold(kl, mean), fit_gold(kl, times @ gains / prompts)
    alpha, beta = (percentiles(found[i], draws[:, i], prompts) for i in (0, 1))
    left = mean - d * (found[0] - found[1] * d)
    spread = float(np.sum((mean - mean.mean()) ** 2))
    r_squared = 1 - float(np.sum(left**2)) / spread if spread > 0 else float("nan")
    if not (alpha.low > 0 and beta.low > 0):
        return GoldFit(alpha, beta, r_squared, None, None)
    kl_of, gold_of = _peak(found)
    kls, golds = _peak(draws)
    return GoldFit(
        alpha,
        beta,
        r_squared,
        percentiles(float(kl_of), kls, prompts),
        percentiles(float(gold_of), golds, prompts),
    )


def _peak(found: Floats) -> tuple[Floats, Floats]:
    """``(α/2β)²`` and ``α²/4β``; where β is not above 0 nothing turns, and both are infinite."""
    alpha, beta = found[..., 0], np.maximum(found[..., 1], 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray((alpha / (2 * beta)) ** 2), np.asarray(alpha**2 / (4 * beta))


def percentiles(value: float, draws: Floats, prompts: int) -> Figure:
    """A value with the percentiles of its resamples; those that are ``nan`` are left out.

    An infinite end of the interval becomes ``nan``: nothing bounds it.
    """
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return Figure(float(value), np.nan, np.nan, prompts)
    tail = bootstrap_tail(prompts)
    with np.errstate(invalid="ignore"):  # between two that are infinite
        low, high = np.quantile(known, [tail, 1 - tail])
    ends = [float(x) if np.isfinite(x) else np.nan for x in (low, high)]
    return Figure(float(value), ends[0], ends[1], prompts)


def n_of_kl(kl: float) -> float:
    """The n whose best-of-n is so many nats away, between whole numbers; infinite from 30 on."""
    if kl <= 0:
        return 1.0
    if kl >= 30:
        return float("inf")
    from scipy.optimize import brentq

    # KL is log n - 1 + 1/n, so log n lies between KL and KL + 1
    return float(np.exp(brentq(lambda x: best_of_n_kl(np.exp(x)) - kl, kl, kl + 1)))
