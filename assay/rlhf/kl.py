"""Divergence from the reference policy: its estimates from samples, and what holds it.

Pure functions of log-probabilities; knows nothing of models.

Letters: T tokens of a response.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from assay.errors import ConfigError
from assay.stats.arrays import Floats

Estimator = Literal["k1", "k2", "k3"]

CLIP = 0.2
"""Most that one update changes an adaptive coefficient by, relative to its share of the horizon."""


def k1(logprobs: Floats, reference: Floats) -> Floats:
    """``log π − log π_ref`` of tokens drawn from π: unbiased, of either sign.

    The three estimators are those of Schulman 2020, "Approximating KL Divergence".
    """
    return np.subtract(logprobs, reference)


def k2(logprobs: Floats, reference: Floats) -> Floats:
    """``½ (log π − log π_ref)²``: biased, of small variance."""
    return 0.5 * k1(logprobs, reference) ** 2


def k3(logprobs: Floats, reference: Floats, limit: float = np.inf) -> Floats:
    """``(r − 1) − log r`` with ``r = π_ref/π``: unbiased and never negative, with a heavy tail.

    For logging: its gradient as a loss is not that of the divergence.

    Args:
        limit: ``log r`` is clamped to ± this.
    """
    log_ratio = np.clip(np.subtract(reference, logprobs), -limit, limit)
    estimates: Floats = np.expm1(log_ratio) - log_ratio
    return estimates


ESTIMATORS: Mapping[Estimator, Callable[[Floats, Floats], Floats]] = {"k1": k1, "k2": k2, "k3": k3}


@dataclass(frozen=True, slots=True)
class KLControl:
    """The coefficient of the KL penalty, fixed or led to a target.

    The adaptive rule is that of Ziegler et al. 2019 (arXiv 1909.08593, §2.2): after n episodes with
    the mean divergence KL, ``β ← β · (1 + clip(KL/target − 1, ±0.2) · n/horizon)``.

    Attributes:
        beta: β now.
        target: Nats a response; None keeps β as it is.
        horizon: Episodes. The published 10,000 hardly moves β in a short run: there take about a
            tenth of the run's episodes.
    """

    beta: float
    target: float | None = None
    horizon: float = 10_000.0

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: With one sentence.
        """
        if not 0 <= self.beta < float("inf"):
            raise ConfigError(f"kl_coef is {self.beta}; wanted 0 or more.")
        if self.target is None:
            return
        if not 0 < self.target < float("inf"):
            raise ConfigError(f"kl_target is {self.target} nats; wanted more than 0.")
        if self.beta == 0:
            raise ConfigError(
                "kl_coef is 0 and can never grow to reach kl_target; give a kl_coef above 0 to "
                "begin with."
            )
        if not 0 < self.horizon < float("inf"):
            raise ConfigError(f"kl_horizon is {self.horizon} episodes; wanted more than 0.")

    def after(self, kl: float, episodes: int) -> KLControl:
        """The control after so many episodes with a mean divergence of ``kl`` nats."""
        if self.target is None:
            return self
        error = float(np.clip(kl / self.target - 1, -CLIP, CLIP))
        return replace(self, beta=self.beta * (1 + error * episodes / self.horizon))

    def to_dict(self) -> dict[str, Any]:
        """For a resume point."""
        return {"beta": self.beta, "target": self.target, "horizon": self.horizon}
