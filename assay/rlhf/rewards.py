"""What is optimised: a weighted sum of scorers, which is a scorer itself.

Each part may be normalised on the reference policy's responses and made to pay for its doubt; the
sum may be clipped. A reward that cannot be had stops the run with one sentence, or is NaN and
counted, so that its response can be left out of the update.

Letters: B conversations.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import ConfigError, DataError
from assay.rlhf.asking import Failures, OnFailure, ask
from assay.stats.arrays import Floats
from assay.types import Conversation, Scorer, Scores

Penalty = Literal["mean-std", "mean-variance"]


@dataclass(frozen=True, slots=True)
class Normalisation:
    """``reward_gain × reward + reward_bias`` has mean 0 and deviation 1 on ``n`` reference samples.

    Ziegler et al. 2019 (lm-human-preferences, ``normalize_samples``): the samples are responses of
    the reference policy. ``left_out`` of them had no reward.
    """

    reward_gain: float
    reward_bias: float
    n: int
    left_out: int = 0

    @classmethod
    def fit(cls, rewards: ArrayLike) -> Normalisation:
        """From raw rewards of reference responses ``(B,)``; those that are not finite are left out.

        Raises:
            DataError: If fewer than two are finite, or all are alike.
        """
        every = np.asarray(rewards, dtype=np.float64)
        r = every[np.isfinite(every)]
        if len(r) < 2:
            raise DataError(
                f"A reward is normalised on two or more reference responses; of {len(every)} given "
                f"{len(r)} had a finite reward."
            )
        mean, std = float(r.mean()), float(r.std())
        if std <= 1e-12 * max(abs(mean), 1.0):
            raise DataError(
                f"All {len(r):,} reference responses have the reward {mean:g}; a reward that does "
                "not vary cannot be normalised: leave its normalisation out, or the part."
            )
        return cls(1 / std, -mean / std, len(r), len(every) - len(r))


@dataclass(frozen=True, kw_only=True, eq=False)
class Part:
    """One scorer of a reward: ``weight × (gain × r + bias)``, less a penalty for doubt.

    With the deviation ``s`` of the normalised reward, ``mean-std`` takes off ``|weight| k s`` and
    ``mean-variance`` ``|weight| λ s²`` (Coste et al. 2024's UWO), so the sum is pessimistic
    whatever the weight's sign.

    Args:
        name: What messages and logs call it.
        penalty: For a scorer whose ``Scores`` have a ``std``.
        strength: k or λ.
        timeout_seconds: Longest time for a call.
        lock: Held while the scorer works; parts with the same scorer should share it.
    """

    scorer: Scorer
    name: str = "reward"
    weight: float = 1.0
    normalisation: Normalisation | None = None
    penalty: Penalty | None = None
    strength: float = 1.0
    timeout_seconds: float | None = None
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.weight) or self.weight == 0:
            raise ConfigError(
                f"The reward {self.name!r} has the weight {self.weight:g}; wanted a number other "
                "than 0."
            )
        if self.penalty is not None and self.penalty not in get_args(Penalty):
            known = ", ".join(get_args(Penalty))
            raise ConfigError(
                f"The reward {self.name!r} has the penalty {self.penalty!r}; use one of {known}."
            )
        if not np.isfinite(self.strength) or self.strength < 0:
            raise ConfigError(
                f"The reward {self.name!r} has a penalty of strength {self.strength:g}; wanted a "
                "number of 0 or more."
            )
        if self.timeout_seconds is not None and not self.timeout_seconds > 0:
            raise ConfigError(
                f"The reward {self.name!r} has timeout_seconds {self.timeout_seconds:g}; wanted a "
                "number above 0."
            )
        aggregator = getattr(getattr(self.scorer, "aggregator", None), "name", "mean")
        if self.penalty is not None and aggregator not in ("mean", "median"):
            raise ConfigError(
                f"The reward {self.name!r} is aggregated by {aggregator}, and a penalty "
                f"{self.penalty} would take off its doubt twice; use one of the two."
            )

    def contribution(self, scores: Scores) -> tuple[Floats, Floats | None]:
        """What it adds to the sum, and that term's standard deviation, both ``(B,)``.

        Raises:
            ConfigError: If there is a penalty, and the scorer says no standard deviation.
        """
        normal = self.normalisation or Normalisation(1.0, 0.0, 0)
        mean = self.weight * (normal.reward_gain * scores.reward + normal.reward_bias)
        if scores.std is None:
            if self.penalty is not None:
                raise ConfigError(
                    f"The reward {self.name!r} has a penalty {self.penalty}, and its scorer says "
                    "no standard deviation; name an ensemble or a run with --laplace, or leave "
                    "the penalty out."
                )
            return mean, None
        std = normal.reward_gain * scores.std
        doubt = {"mean-std": std, "mean-variance": std**2}.get(self.penalty or "", 0.0 * std)
        return mean - abs(self.weight) * self.strength * doubt, abs(self.weight) * std


@dataclass(frozen=True, kw_only=True, eq=False)
class Reward:
    """A sum of parts as a ``Scorer``; safe to use from several threads.

    ``failures`` counts, over all calls, the rewards that could not be had (``on_failure`` is
    ``skip``); those of the call at hand are NaN.

    Args:
        clip: Lowest and highest value of the sum.
        on_failure: ``error`` stops with one sentence; ``skip`` gives NaN and counts.
    """

    parts: tuple[Part, ...]
    clip: tuple[float, float] | None = None
    on_failure: OnFailure = "error"
    failures: Failures = field(default_factory=Failures)

    def __post_init__(self) -> None:
        names = [part.name for part in self.parts]
        if not names:
            raise ConfigError("A reward has no parts; name a scorer.")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ConfigError(f"The reward {twice[0]!r} is named twice; add its weights up.")
        if self.on_failure not in get_args(OnFailure):
            known = ", ".join(get_args(OnFailure))
            raise ConfigError(f"on_failure is {self.on_failure!r}; use one of {known}.")
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            low, high = self.clip
            raise ConfigError(f"clip is {low:g} to {high:g}; wanted a lower and a higher number.")

    @property
    def name(self) -> str:
        """Weights and names as a specification spells them."""
        only = self.parts[0]
        if len(self.parts) == 1 and only.weight == 1:
            return only.name
        return "+".join(f"{part.weight:g}*{part.name}" for part in self.parts)

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """The sum ``(B,)``, NaN where a part gave no reward and failures are skipped.

        ``std`` takes the parts as independent: √Σ(weight × std)². Parts that say none add none; if
        none says one it is None.

        Raises:
            TrainingError: If a reward cannot be had and ``on_failure`` is ``error``.
            ConfigError: If a part has a penalty, and its scorer says no standard deviation.
        """
        return self.combine(self.by_part(conversations))

    def by_part(self, conversations: Sequence[Conversation]) -> tuple[Scores, ...]:
        """Each part's raw scores, in the order of ``parts``.

        Raises:
            TrainingError: If a reward cannot be had and ``on_failure`` is ``error``.
        """
        return tuple(
            ask(
                part.scorer,
                conversations,
                name=part.name,
                lock=part.lock,
                failures=self.failures,
                on_failure=self.on_failure,
                timeout_seconds=part.timeout_seconds,
            )
            for part in self.parts
        )

    def combine(self, by_part: Sequence[Scores]) -> Scores:
        """The sum of the parts' raw scores.

        Raises:
            ConfigError: If a part has a penalty, and its scorer says no standard deviation.
        """
        terms = [p.contribution(s) for p, s in zip(self.parts, by_part, strict=True)]
        total = np.sum([mean for mean, _ in terms], axis=0)
        if self.clip is not None:
            total = np.clip(total, *self.clip)
        deviations = [std for _, std in terms if std is not None]
        std = np.sqrt(np.sum(np.square(deviations), axis=0)) if deviations else None
        return Scores(total, std, max(scores.truncated for scores in by_part))


def single(scorer: Scorer, *, name: str = "reward", on_failure: OnFailure = "error") -> Reward:
    """One scorer as it is."""
    return Reward(parts=(Part(scorer=scorer, name=name),), on_failure=on_failure)


def fit_normalisation(reward: Reward, reference: Sequence[Conversation]) -> Reward:
    """The reward with each part normalised on responses of the reference policy.

    Failed rewards among them are treated as the reward's policy says, and left out; the new reward
    counts its own failures from 0.

    Raises:
        DataError: Naming the part that has too few rewards, or all alike.
        TrainingError: If a reward cannot be had and ``on_failure`` is ``error``.
    """
    parts = []
    for part, scores in zip(reward.parts, reward.by_part(reference), strict=True):
        try:
            parts.append(replace(part, normalisation=Normalisation.fit(scores.reward)))
        except DataError as error:
            raise DataError(f"The reward {part.name!r} cannot be normalised: {error}") from error
    return replace(reward, parts=tuple(parts), failures=Failures())
