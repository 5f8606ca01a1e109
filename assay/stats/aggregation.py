"""From the rewards of an ensemble's members to one: mean, pessimistic, or in between.

Letters: M members.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import numpy as np
from numpy.typing import ArrayLike

from assay.configs import AggregatorName
from assay.errors import ConfigError, DataError
from assay.stats.arrays import Floats


@dataclass(frozen=True, slots=True)
class Aggregator:
    """How the rewards of members become one, and how far apart they are.

    ``mean``, ``median`` and ``worst-case`` (the lowest member) take no strength. ``mean-std`` is
    ``μ - k s`` and ``mean-variance`` ``μ - λ s²`` (Coste et al. 2024's UWO), ``entropic``
    ``-β log (1/M) Σ exp(-r/β)``, which tends to the mean for β → ∞, to the worst case for β → 0,
    and is ``μ - s²/(2β)`` to second order.

    Args:
        strength: k, λ or β.
        ddof: What is taken off M in the variance: 0 the members' own, 1 the estimate of that of
            the members there could be. One member has 0 either way.
    """

    name: str = "mean"
    strength: float = 1.0
    ddof: int = 0

    def __post_init__(self) -> None:
        if self.name not in get_args(AggregatorName):
            known = ", ".join(get_args(AggregatorName))
            raise ConfigError(f"aggregator {self.name!r} is unknown; use one of {known}.")
        if not np.isfinite(self.strength) or self.strength < 0:
            raise ConfigError(
                f"the aggregator's strength is {self.strength}; it is a number of 0 or more."
            )
        if self.name == "entropic" and self.strength == 0:
            raise ConfigError("entropic with strength 0 is the worst case; use worst-case.")
        if self.ddof not in (0, 1):
            raise ConfigError(f"ddof is {self.ddof}; it is 0 or 1.")

    def __call__(self, rewards: ArrayLike) -> Floats:
        """One reward from those of the members, ``(..., M)`` to ``(...)``; NaN where one is NaN."""
        r = np.asarray(rewards, dtype=np.float64)
        if self.name == "median":
            return np.asarray(np.median(r, axis=-1))
        if self.name == "worst-case":
            return np.asarray(r.min(axis=-1))
        mean = np.asarray(r.mean(axis=-1))
        if self.name == "mean-std":
            return mean - self.strength * self.std(r)
        if self.name == "mean-variance":
            return mean - self.strength * self.std(r) ** 2
        if self.name == "entropic":
            lowest = r.min(axis=-1, keepdims=True)
            # from the lowest member, so that no exponential overflows
            share = np.exp(-(r - lowest) / self.strength).mean(axis=-1)
            return np.asarray(lowest[..., 0] - self.strength * np.log(share))
        return mean

    def std(self, rewards: ArrayLike) -> Floats:
        """Standard deviation over members, ``(..., M)`` to ``(...)``."""
        r = np.asarray(rewards, dtype=np.float64)
        if r.shape[-1] == 1:
            return np.zeros(r.shape[:-1])
        return np.asarray(r.std(axis=-1, ddof=self.ddof))

    def __str__(self) -> str:
        plain = self.name in ("mean", "median", "worst-case")
        return self.name if plain else f"{self.name} {self.strength:g}"


@dataclass(frozen=True, slots=True)
class Standards:
    """What puts the rewards of members on one scale before they are aggregated.

    Each member's rewards lose their mean on reference responses and are divided by their standard
    deviation there; all are then multiplied by the mean of those deviations, so that gaps keep the
    scale that σ(gap) means.
    """

    mean: tuple[float, ...]  # (M,)
    std: tuple[float, ...]  # (M,)

    @classmethod
    def fit(cls, rewards: ArrayLike) -> Standards:
        """From members' rewards of reference responses, ``(B, M)``.

        Raises:
            DataError: If there are too few, or a member rewards all of them alike.
        """
        r = np.asarray(rewards, dtype=np.float64)
        if r.ndim != 2 or len(r) < 2 or not np.isfinite(r).all():
            raise DataError(
                f"Members are standardised on the finite rewards of two or more reference "
                f"responses; got an array of shape {r.shape}."
            )
        mean, std = r.mean(axis=0), r.std(axis=0)
        flat = np.flatnonzero(std <= 1e-12 * np.maximum(np.abs(mean), 1.0))
        if len(flat):
            raise DataError(
                f"Member {flat[0] + 1} of {r.shape[1]} rewards all {len(r):,} reference responses "
                "alike: its features or its labels do not vary; leave it out."
            )
        return cls(tuple(mean.tolist()), tuple(std.tolist()))

    @property
    def scale(self) -> float:
        """The deviation all members are brought to."""
        return float(np.mean(self.std))

    def apply(self, rewards: ArrayLike) -> Floats:
        """Members' raw rewards ``(..., M)`` on one scale."""
        r = np.asarray(rewards, dtype=np.float64)
        standard: Floats = (r - np.array(self.mean)) / np.array(self.std) * self.scale
        return standard
