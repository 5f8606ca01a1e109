"""What a candidate is selected by, and what the candidate has that is selected.

Pure functions of rewards; knows nothing of models or files.

Letters: R rows · N candidates of a row · P prompts · M members · G values of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np

from assay.configs import AggregatorName
from assay.errors import ConfigError, DataError
from assay.evaluation.best_of_n import Floats
from assay.stats import Aggregator, expected_best
from assay.stats.arrays import codes

SINGLE = "single"
"""Every member selects by itself, and the curves are averaged."""


@dataclass(frozen=True)
class Candidates:
    """Rewards of N candidates of each prompt by every member, ``(R, N, M)``, and gold, ``(R, N)``.

    Rows that name the same prompt count as one prompt. ``lengths`` are watched along, ``(R, N)``.

    Raises:
        DataError: If there are fewer than two prompts or candidates, a number is not finite, or
            gold does not tell the candidates of any prompt apart.
    """

    rewards: Floats
    gold: Floats
    lengths: Floats | None = None
    prompts: Sequence[str] | None = None

    def __post_init__(self) -> None:
        rows = self.rewards.shape[:2]
        others = [self.gold, *([] if self.lengths is None else [self.lengths])]
        if self.rewards.ndim != 3 or any(x.shape != rows for x in others):
            shapes = ", ".join(str(x.shape) for x in (self.rewards, *others))
            raise DataError(
                f"Wanted rewards of rows × candidates × members and gold of rows × candidates, got "
                f"arrays of {shapes}."
            )
        if rows[1] < 2:
            raise DataError(
                f"Selection needs 2 or more candidates of each prompt, and there is {rows[1]}."
            )
        if self.count < 2:
            raise DataError(
                f"An interval is over prompts and needs 2 or more, and there is {self.count}."
            )
        for name, x in (("reward", self.rewards), ("gold reward", self.gold)):
            bad = np.argwhere(~np.isfinite(x))
            if len(bad):
                raise DataError(
                    f"The {name} of candidate {bad[0][1] + 1} in row {bad[0][0] + 1} is not "
                    f"finite ({len(bad):,} such in all)."
                )
        if not self.gold_std > 0:
            raise DataError(
                "Gold is the same for all candidates of every prompt, so there is nothing to "
                "select."
            )

    @property
    def samples(self) -> int:
        """Candidates of each prompt, N."""
        return int(self.rewards.shape[1])

    @property
    def members(self) -> int:
        """Members, M."""
        return int(self.rewards.shape[2])

    @property
    def count(self) -> int:
        """Different prompts, P."""
        return len(self.rewards) if self.prompts is None else len(set(self.prompts))

    @property
    def gold_std(self) -> float:
        """Gold's deviation among the candidates of a prompt, the root of the mean variance."""
        return deviation(self.gold)

    def by_prompt(self, values: Floats) -> Floats:
        """Means over the rows of a prompt, ``(..., R, G)`` to ``(..., P, G)``."""
        if self.prompts is None:
            return values
        prompt = codes(list(self.prompts), len(self.gold))
        share = np.zeros((int(prompt.max()) + 1, len(prompt)))
        share[prompt, np.arange(len(prompt))] = 1 / np.bincount(prompt)[prompt]
        means: Floats = share @ values
        return means


@dataclass(frozen=True)
class Selector:
    """What a candidate is chosen by: an aggregate of the members, or each member by itself."""

    aggregator: Aggregator | None = None

    @classmethod
    def parse(cls, text: str, ddof: int = 0) -> Selector:
        """From ``single``, an aggregator's name, or NAME:STRENGTH.

        Raises:
            ConfigError: If it is none of them.
        """
        name, colon, strength = text.partition(":")
        if name == SINGLE and not colon:
            return cls()
        if name not in get_args(AggregatorName):
            known = ", ".join((SINGLE, *get_args(AggregatorName)))
            raise ConfigError(
                f"aggregator {text!r} is unknown; use NAME or NAME:STRENGTH, {known}."
            )
        try:
            number = float(strength) if colon else 1.0
        except ValueError:
            raise ConfigError(
                f"aggregator {text!r}: the strength {strength!r} is no number; write {name}:1."
            ) from None
        # the names that may be written are Aggregator's own
        return cls(Aggregator(name, number, ddof))

    def rewards(self, members: Floats) -> list[Floats]:
        """The rewards that select, ``(R, N)`` each: one, or those of every member."""
        if self.aggregator is None:
            return list(np.moveaxis(members, -1, 0))
        return [self.aggregator(members)]

    def __str__(self) -> str:
        return SINGLE if self.aggregator is None else str(self.aggregator)


def selected(candidates: Candidates, selector: Selector, n: Sequence[int]) -> dict[str, Floats]:
    """What the candidate picked among n has, by prompt, ``(P, G)`` each; see ``GoldCurve``.

    Raises:
        DataError: If the selector rewards all candidates of every prompt alike.
    """
    std = Aggregator().std(candidates.rewards)
    watched = {"disagreement": std} if candidates.members > 1 else {}
    if candidates.lengths is not None:
        watched["length"] = candidates.lengths
    totals: list[Floats] = []
    rewards = selector.rewards(candidates.rewards)
    for reward in rewards:
        scale = deviation(reward)
        if not scale > 0:
            raise DataError(
                f"{selector} rewards all candidates of every prompt alike; it selects nothing."
            )
        columns = [candidates.gold / candidates.gold_std, reward / scale, *watched.values()]
        totals.append(candidates.by_prompt(expected_best(reward, np.stack(columns), n)))
    gold, proxy, *rest = np.mean(totals, axis=0)
    found = {"gold": gold - gold[:, :1], "proxy": proxy - proxy[:, :1]}
    return {**found, **dict(zip(watched, rest, strict=True))}


def deviation(values: Floats) -> float:
    """Standard deviation within rows: the root of the mean variance, ``(R, N)``."""
    spread = float(np.sqrt(values.var(axis=1).mean()))
    # a constant has a variance of rounding
    return spread if spread > 1e-12 * max(float(np.abs(values).max()), 1e-300) else 0.0
