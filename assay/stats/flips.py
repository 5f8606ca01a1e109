"""Labels that are probably wrong: how often labels are flipped, and which.

Letters: P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import CONFIDENCE, Clusters, Floats, as_pairs, codes, nothing, sigmoid
from assay.stats.estimates import design_effect
from assay.types import Figure

SHARES = (-12.0, 12.0)
"""Bounds of the logit of 2ε."""
SLOPES = (-7.0, 7.0)
"""Bounds of the logarithm of the slope, gaps having mean square 1."""


@dataclass(frozen=True, slots=True)
class FlipModel:
    """Labels by Bradley-Terry on the gaps, a share of them flipped.

    ``P(the label says chosen) = ε + (1 - 2ε) σ(Δ/T)``: symmetric flips of rate ε (Natarajan et al.
    2013) of labels that Bradley-Terry drew at temperature T. The curve levels off at 1 - ε however
    large the gap, which is what tells flips from close calls; psychometrics calls ε the lapse rate
    (Wichmann & Hill 2001). A model that is sure and wrong raises ε as flips do, and gaps that say
    nothing of the labels leave it undetermined.

    Attributes:
        rate: ε, between 0 and ½.
        temperature: T.
    """

    rate: float
    temperature: float

    @classmethod
    def fit(cls, gaps: ArrayLike, probability: ArrayLike | None = None) -> FlipModel:
        """The most probable ε and T; ties say nothing and are left out.

        The prior is Beta(2, 2) on 2ε, worth a pair or so: it keeps ε inside its bounds. Fit it on
        gaps of models that did not see the pairs: others agree with the labels they learned.

        Raises:
            DataError: If there is no pair with a side to take, or all gaps are 0.
        """
        gap, q = as_pairs(gaps, probability)
        judged = q != 0.5
        gap, q = gap[judged], q[judged]
        scale = float(np.sqrt(np.mean(gap**2))) if len(gap) else 0.0
        if scale == 0:
            raise DataError(
                f"A flip rate is fitted on gaps that differ from 0; got {len(gap):,} pairs that "
                "are no ties, and all their gaps are 0."
                if len(gap)
                else "A flip rate is fitted on pairs that are no ties; there are none."
            )
        rate, slope = _most_probable(gap / scale, q)
        return cls(rate, scale / slope)

    def probability(self, gaps: ArrayLike) -> Floats:
        """The calibrated probability that a label says chosen, ``(P,)``."""
        return self.rate + (1 - 2 * self.rate) * self._clean(gaps)

    def wrong(self, gaps: ArrayLike, probability: ArrayLike | None = None) -> Floats:
        """The probability that each label was flipped, ``(P,)``; NaN for a tie.

        Bayes: ``ε σ(-z) / (ε σ(-z) + (1 - ε) σ(z))`` with z the gap over T, towards the side that
        the label takes. Above ½ where ``z < -log((1 - ε)/ε)``: the label contradicts the model, and
        the model is surer than flips are rare.
        """
        gap, q = as_pairs(gaps, probability)
        clean = self._clean(gap * np.sign(q - 0.5))
        flipped = self.rate * (1 - clean)
        found = flipped / (flipped + (1 - self.rate) * clean)
        return np.where(q == 0.5, np.nan, found)

    def _clean(self, gaps: ArrayLike) -> Floats:
        # within ±700 nothing overflows and no probability is 0
        return sigmoid(np.clip(np.asarray(gaps, dtype=np.float64) / self.temperature, -700, 700))


def flip_rate(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """``FlipModel``'s rate with its profile-likelihood interval.

    It holds the ε whose log-likelihood, each with its own best T, is less than that of the estimate
    by at most t²/2: Venzon & Moolgavkar 1988. Pairs of a cluster are not independent, so the
    difference is divided by the design effect of the pairs' differences (Kish 1965), and t has
    G - 1 degrees of freedom. Unlike a bootstrap's it is wide, as it must be, where no gap explains
    a label.
    """
    gap, q = as_pairs(gaps, probability)
    judged = q != 0.5
    if not judged.any() or not np.any(gap[judged]):
        return nothing()
    cluster = codes(clusters, len(gap))[judged]
    gap, q = gap[judged], q[judged]
    x = gap / np.sqrt(np.mean(gap**2))
    rate, slope = _most_probable(x, q)
    best = _log_likelihood(rate, slope, x, q)
    count = len(np.unique(cluster))
    if count == 1:
        return Figure(rate, 0.0, 0.5, len(gap))
    from scipy.optimize import brentq
    from scipy.special import stdtrit

    limit = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) ** 2

    def beyond(other: float) -> float:
        """Above 0 where this rate is outside."""
        apart = best - _log_likelihood(other, _best_slope(other, x, q), x, q)
        return 2 * float(apart.sum()) / design_effect(apart, cluster) - limit

    edge = 1e-6
    low = brentq(beyond, edge, rate, xtol=1e-5) if beyond(edge) > 0 else 0.0
    high = brentq(beyond, rate, 0.5 - edge, xtol=1e-5) if beyond(0.5 - edge) > 0 else 0.5
    return Figure(rate, float(low), float(high), len(gap))


def _log_likelihood(rate: float, slope: float, x: Floats, q: Floats) -> Floats:
    """Of every pair, ``(P,)``."""
    p = sigmoid(slope * x)
    upper, lower = rate + (1 - 2 * rate) * p, rate + (1 - 2 * rate) * (1 - p)
    return np.asarray(q * np.log(upper) + (1 - q) * np.log(lower))


def _best_slope(rate: float, x: Floats, q: Floats) -> float:
    """The most probable slope at a rate."""
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log_slope: -float(_log_likelihood(rate, np.exp(log_slope), x, q).sum()),
        bounds=SLOPES,
        method="bounded",
        options={"xatol": 1e-4},
    )
    return float(np.exp(found.x))


def _most_probable(x: Floats, q: Floats) -> tuple[float, float]:
    """ε and the slope: of two starts, one without flips and one with many, the better end."""
    from scipy.optimize import minimize

    def loss(parameters: Floats) -> tuple[float, Floats]:
        share, slope = float(sigmoid(parameters[:1])[0]), float(np.exp(parameters[1]))  # 2ε, s
        p = sigmoid(slope * x)
        upper, lower = share / 2 + (1 - share) * p, share / 2 + (1 - share) * (1 - p)
        by_upper = (1 - q) / lower - q / upper
        by_share = by_upper @ (0.5 - p)
        by_slope = (by_upper * (1 - share) * p * (1 - p)) @ x
        # the prior is Beta(2, 2) on 2ε
        prior = np.log(share) + np.log1p(-share)
        value = -_log_likelihood(share / 2, slope, x, q).sum() - prior
        by_logit = by_share * share * (1 - share) - (1 - 2 * share)  # the latter the prior's
        return float(value) / len(x), np.array([by_logit, by_slope * slope]) / len(x)

    ends = [
        minimize(loss, np.array([s, 0.0]), jac=True, method="L-BFGS-B", bounds=[SHARES, SLOPES])
        for s in (-4.0, 0.0)
    ]
    best = min(ends, key=lambda end: float(end.fun))
    share, slope = float(sigmoid(best.x[:1])[0]), float(np.exp(best.x[1]))
    return share / 2, slope
