"""Last-layer Laplace: the posterior of a linear reward head, in closed form.

Letters: P pairs · B responses · D features.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import Floats, finite, same_length, sigmoid


@dataclass(frozen=True)
class LastLayerLaplace:
    """A Gaussian about the trained head, and the mean features that a reward is measured from.

    ``factor`` is the lower Cholesky factor L of the Hessian ``H = Σ w p (1 - p) δ δᵀ + λ I`` of the
    penalised Bradley-Terry loss, δ being a pair's difference of features and ``p = σ(wᵀδ)``;
    the covariance of the head is ``H⁻¹`` (MacKay 1992; for reward models Yang et al. 2024, arXiv
    2402.13210).
    """

    factor: Floats  # (D, D)
    mean: Floats  # (D,)

    @classmethod
    def fit(
        cls,
        differences: ArrayLike,
        gaps: ArrayLike,
        precision: float,
        weights: ArrayLike | None = None,
        mean: ArrayLike | None = None,
    ) -> LastLayerLaplace:
        """From training pairs.

        Args:
            differences: Chosen minus rejected features, ``(P, D)``.
            gaps: The head's gaps of the same pairs.
            precision: λ, that of the Gaussian prior: the L2 penalty on the sum of losses.
            weights: Of the pairs. Default: 1.
            mean: Features of an average response, from which rewards are measured. Default: 0.

        Raises:
            DataError: If the Hessian is singular: no prior, and fewer pairs than features.
        """
        delta, gap = np.asarray(differences, dtype=np.float64), finite("gaps", gaps)
        weight = np.ones_like(gap) if weights is None else finite("weights", weights)
        same_length(differences=delta, gaps=gap, weights=weight)
        p = sigmoid(gap)
        hessian = (delta * (weight * p * (1 - p))[:, None]).T @ delta
        hessian[np.diag_indices_from(hessian)] += precision
        scale = float(np.diag(hessian).max(initial=0.0))
        try:
            factor = np.linalg.cholesky(hessian)
        except np.linalg.LinAlgError:
            factor = np.zeros_like(hessian)
        # positive in name only: rounding decides the smallest directions
        if not scale or float(np.diag(factor).min()) ** 2 <= 1e-12 * scale:
            raise DataError(
                f"The Hessian of {len(gap):,} pairs in {delta.shape[1]:,} features with prior "
                f"precision {precision:g} is singular, so variances are infinite; raise --l2."
            )
        middle = np.zeros(delta.shape[1]) if mean is None else finite("mean", mean)
        return cls(np.asarray(factor, dtype=np.float64), middle)

    def variance(self, differences: ArrayLike) -> Floats:
        """``δᵀ H⁻¹ δ``: variance of the reward difference of each pair, ``(P, D)`` to ``(P,)``."""
        from scipy.linalg import solve_triangular

        delta = np.atleast_2d(np.asarray(differences, dtype=np.float64))
        half = solve_triangular(self.factor, delta.T, lower=True)
        return np.asarray((half**2).sum(axis=0))

    def std(self, features: ArrayLike) -> Floats:
        """Standard deviation of each reward less that of an average response, ``(B,)``."""
        return np.sqrt(self.variance(np.asarray(features, dtype=np.float64) - self.mean))

    def probability(self, gaps: ArrayLike, differences: ArrayLike) -> Floats:
        """Predictive probability that chosen is better: ``σ(Δ / √(1 + π v / 8))``.

        The logistic's integral over a Gaussian of variance v, as MacKay 1992, eq. 10 has it; nearer
        to ½ than ``σ(Δ)``.
        """
        gap = finite("gaps", gaps)
        return sigmoid(gap / np.sqrt(1 + np.pi * self.variance(differences) / 8))
