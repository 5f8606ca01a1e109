"""Which pairs to label next: what an answer would tell, and how to choose many at once.

Letters: P candidate pairs · M members · D features · C chosen.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, codes, finite, same_length, sigmoid

NEAREST = 1e-9
"""The distance of two candidates that are the same, in typical distances: its logarithm is finite,
so copies come last, and among themselves by their scores."""


@dataclass(frozen=True, slots=True)
class Picks:
    """Chosen candidates, best first, and what each was worth when it was chosen."""

    indexes: NDArray[np.intp]  # (C,)
    scores: Floats  # (C,)


def prediction_std(gaps: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """Standard deviation over members of ``σ(Δ_m)``, the probability each gives, ``(P,)``.

    What Christiano et al. 2017 query by.

    Args:
        gaps: Of every member, ``(P, M)``.
        weights: Of the members, summing to 1. Default: equal.
    """
    gap, weight = _members(gaps, weights)
    p = sigmoid(gap)
    return np.sqrt(np.maximum((p - (p @ weight)[:, None]) ** 2 @ weight, 0.0))


def bald(gaps: ArrayLike, weights: ArrayLike | None = None) -> Floats:
    """What an answer would tell about which member is right, in nats, ``(P,)``.

    ``H[p̄] - Σ w_m H[p_m]`` with ``p_m = σ(Δ_m)`` and ``p̄`` their mean: Houlsby et al. 2011. Between
    0 (members agree, however unsure each is) and log 2 (half of them are sure of either side).

    Args:
        gaps: Of every member, ``(P, M)``.
        weights: Of the members, summing to 1. Default: equal.
    """
    gap, weight = _members(gaps, weights)
    whole = _entropy(sigmoid(gap) @ weight, sigmoid(-gap) @ weight)
    each = _entropy(sigmoid(gap), sigmoid(-gap)) @ weight
    return np.maximum(whole - each, 0.0)  # rounding must not make it negative


def gaussian_members(
    mean: ArrayLike, variance: ArrayLike, nodes: int = 32
) -> tuple[Floats, Floats]:
    """Gaps that stand for Gaussian ones, and their weights: ``(P, M)`` and ``(M,)``.

    Gauss-Hermite nodes ``μ + √v x_m``: sums over these members are integrals over ``N(μ, v)``, the
    gap of a model with a posterior (``LastLayerLaplace``).
    """
    mu, v = finite("mean", mean), finite("variance", variance)
    same_length(mean=mu, variance=v)
    if len(v) and v.min() < 0:
        raise DataError(f"A variance is 0 or more; the smallest is {v.min():g}.")
    x, weight = np.polynomial.hermite_e.hermegauss(nodes)
    return mu[:, None] + np.sqrt(v)[:, None] * x, weight / weight.sum()


def highest(scores: ArrayLike, count: int) -> Picks:
    """The candidates of the highest scores; of equal ones, the earlier."""
    score = finite("scores", scores)
    order = np.argsort(-score, kind="stable")[: _checked(count)]
    return Picks(order, score[order])


def spread_out(scores: ArrayLike, features: ArrayLike, count: int, diversity: float = 1.0) -> Picks:
    """Candidates of high scores that are unlike each other, chosen one by one.

    First the highest score, then always the highest ``log s_i + β log d_i``, where ``d_i`` is the
    distance of i's features to the nearest of those chosen before. Log distances to the nearest are
    what an estimate of entropy adds up (Kozachenko & Leonenko 1987), so this is in the spirit of
    BAL-PM (Melo et al. 2024, arXiv 2406.10023), which adds an entropy of prompts to BALD; neither
    its estimator nor its weights. With equal scores it is farthest-first (Gonzalez 1985).

    Args:
        scores: 0 or more, ``(P,)``.
        features: What distances are measured in (Euclidean), ``(P, D)``.
        diversity: β; 0 is ``highest``.
    """
    score, place = finite("scores", scores), _matrix("features", features)
    same_length(scores=score, features=place)
    if len(score) and score.min() < 0:
        raise DataError(f"Scores are 0 or more; the smallest is {score.min():g}.")
    typical = float(np.sqrt(2 * place.var(axis=0).sum())) if len(place) else 0.0
    value = np.log(np.maximum(score, 1e-300))
    nearest = np.full(len(score), np.inf)
    free = np.ones(len(score), dtype=np.bool_)
    order: list[int] = []
    for _ in range(min(_checked(count), len(score))):
        total = value
        if order and typical > 0:
            total = value + diversity * np.log(np.maximum(nearest / typical, NEAREST))
        best = int(np.argmax(np.where(free, total, -np.inf)))
        order.append(best)
        free[best] = False
        nearest = np.minimum(nearest, np.linalg.norm(place - place[best], axis=1))
    return Picks(np.array(order, dtype=np.intp), score[order])


def d_optimal(
    differences: ArrayLike,
    curvature: ArrayLike,
    hessian: ArrayLike,
    count: int,
    groups: Clusters = None,
) -> Picks:
    """Pairs that tell most about a linear head together, chosen one by one.

    Always the pair that raises ``log det H`` most: with ``H ← H + c δ δᵀ`` that is by
    ``log(1 + c δᵀ H⁻¹ δ)`` (matrix determinant lemma), and ``H⁻¹`` follows by Sherman & Morrison
    1950, so a choice costs P·D operations. Greedy, and so within 1 - 1/e of the best set: log det
    gains diminish (Nemhauser et al. 1978). Fisher information of preferences by the last layer:
    Shen, Sun & Ton 2025, arXiv 2502.04354.

    Args:
        differences: δ, features of one response less the other's, ``(P, D)``.
        curvature: c, ``p(1 - p)`` of each pair with p the model's probability, ``(P,)``.
        hessian: H before any is chosen: the posterior's precision, or a prior's, ``(D, D)``.
        groups: Of each set of candidates with the same number one is chosen at most. Default: each
            stands alone.

    Raises:
        DataError: If the Hessian is not positive definite.
    """
    delta, c = _matrix("differences", differences), finite("curvature", curvature)
    same_length(differences=delta, curvature=c)
    group = codes(groups, len(c))
    inverse = _inverse(np.asarray(hessian, dtype=np.float64))
    if inverse.shape[0] != delta.shape[1]:
        raise DataError(
            f"The Hessian is of {inverse.shape[0]:,} features and pairs have {delta.shape[1]:,}."
        )
    variance = np.einsum("pd,de,pe->p", delta, inverse, delta, optimize=True)
    free = np.ones(len(c), dtype=np.bool_)
    order, gains = [], []
    for _ in range(min(_checked(count), len(np.unique(group)))):
        gain = np.log1p(c * variance)
        best = int(np.argmax(np.where(free, gain, -np.inf)))
        order.append(best)
        gains.append(float(gain[best]))
        free &= group != group[best]
        moved = inverse @ delta[best]
        share = c[best] / (1 + c[best] * variance[best])
        inverse -= share * np.outer(moved, moved)
        variance = np.maximum(variance - share * (delta @ moved) ** 2, 0.0)
    return Picks(np.array(order, dtype=np.intp), np.array(gains))


def _inverse(hessian: Floats) -> Floats:
    from scipy.linalg import cho_factor, cho_solve

    try:
        return np.asarray(cho_solve(cho_factor(hessian, lower=True), np.eye(len(hessian))))
    except np.linalg.LinAlgError as error:
        raise DataError(
            f"The Hessian of {len(hessian):,} features is not positive definite; give a prior "
            "precision above 0."
        ) from error


def _members(gaps: ArrayLike, weights: ArrayLike | None) -> tuple[Floats, Floats]:
    gap = _matrix("gaps", gaps)
    count = gap.shape[1]
    if count < 2:
        raise DataError(f"Members disagree or agree; got {count}, wanted 2 or more.")
    weight = np.full(count, 1 / count) if weights is None else finite("weights", weights)
    if len(weight) != count:
        raise DataError(f"Got {len(weight)} weights for {count} members; each has one.")
    return gap, weight


def _matrix(name: str, values: ArrayLike) -> Floats:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 2:
        raise DataError(f"{name} must have two dimensions, got shape {v.shape}.")
    finite(name, v.ravel())
    return v


def _checked(count: int) -> int:
    if count < 1:
        raise DataError(f"{count} pairs were asked for; wanted 1 or more.")
    return count


def _entropy(p: Floats, rest: Floats) -> Floats:
    """``-p log p - (1-p) log(1-p)`` from both, for one less a number near 1 is inexact."""
    from scipy.special import entr

    return np.asarray(entr(p) + entr(rest))
