"""Comparisons as a judge and people judged them: what a judge report is made of.

Letters: N comparisons.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.errors import DataError
from assay.feedback.judges.pairs import PairJudgment, first_is_better
from assay.stats import cluster_mean
from assay.stats.arrays import Floats
from assay.types import Figure

Number = int | float
CERTAIN = 1e-6
"""How near 0 or 1 a probability is taken to be at most, where log-odds are made of it."""


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """Responses i and j of one prompt, what a judge holds of them, and what else is known.

    Everything about the two is in the order of ``judgment.pair``. ``item`` names the comparison:
    judges are compared on the items that both judged. ``prompt`` names its prompt, which intervals
    are over. ``votes`` are people's, one each: 1 for i, 0 for j, ½ a tie; ``human`` is their mean,
    and is given alone where single votes are not known. ``lengths`` are in characters, ``models``
    wrote the responses, ``panel`` is another reference's P(i is better). ``repeats`` are judgments
    by the same judge of the same questions, asked again.
    """

    item: str
    prompt: str
    judgment: PairJudgment
    human: Number | None = None
    votes: tuple[Number, ...] = ()
    lengths: tuple[int, int] | None = None
    models: tuple[str | None, str | None] | None = None
    panel: Number | None = None
    repeats: tuple[PairJudgment, ...] = ()

    def __post_init__(self) -> None:
        shares = {"human": self.human, "panel": self.panel}
        shares |= {f"vote {n}": vote for n, vote in enumerate(self.votes, start=1)}
        for name, share in shares.items():
            if share is not None and not 0 <= share <= 1:
                raise DataError(
                    f"{name} of comparison {self.item!r} is {share:g}; wanted a share from 0 to 1."
                )

    @property
    def share(self) -> Number | None:
        """The share of people's votes for response i, None where nobody was asked."""
        if self.human is not None:
            return self.human
        return sum(self.votes) / len(self.votes) if self.votes else None

    @property
    def probability(self) -> float | None:
        """The judge's P(i is better), rounded so that the mean of 0.7 and 1 - 0.7 is ½."""
        found = self.judgment.probability
        return None if found is None else round(found, 12)

    def by_order(self) -> tuple[float, ...]:
        """P(i is better) by each order alone, in the order asked; none where one failed.

        None either where no order was shown, as of ratings.
        """
        if len(self.judgment.orders) != len(self.judgment.answers):
            return ()
        found = []
        for order, answer in zip(self.judgment.orders, self.judgment.answers, strict=True):
            first = first_is_better(answer)
            if first is None:
                return ()
            found.append(first if order[0] == self.judgment.pair[0] else 1 - first)
        return tuple(found)


def usable(records: Sequence[JudgedComparison]) -> list[JudgedComparison]:
    """Those that the judge gave a probability for."""
    return [r for r in records if r.probability is not None]


def of_people(record: JudgedComparison) -> Number | None:
    """The share of people's votes for response i."""
    return record.share


def of_judge(record: JudgedComparison) -> Number | None:
    """The judge's P(i is better)."""
    return record.probability


def column(
    records: Sequence[JudgedComparison], value: Callable[[JudgedComparison], Number | None]
) -> Floats:
    """A value of each, NaN where there is none, ``(N,)``."""
    found = [value(r) for r in records]
    return np.array([np.nan if v is None else v for v in found], dtype=np.float64)


def prompts(records: Sequence[JudgedComparison]) -> list[str]:
    """The prompt of each: what intervals are over."""
    return [r.prompt for r in records]


def log_odds(probability: Floats) -> Floats:
    """``log p/(1-p)``, of certainty that of ``1 - CERTAIN``; exactly 0 at ½."""
    p = np.clip(probability, CERTAIN, 1 - CERTAIN)
    return np.asarray(np.log(p) - np.log1p(-p), dtype=np.float64)


def preference(share: Floats) -> Floats:
    """1 where a share is above ½, 0 where it is below, ½ at ½: whose side it takes."""
    return np.asarray((1 + np.sign(share - 0.5)) / 2, dtype=np.float64)


def same_side(a: Floats, b: Floats) -> Floats:
    """How far two shares take the same side: 1, 0, and ½ where one alone is even."""
    return 1 - np.abs(preference(a) - preference(b))


def share_of(values: Any, prompt: Any) -> Figure:
    """The mean of shares with its interval over prompts."""
    return cluster_mean(values, prompt, bounds=(0.0, 1.0))


def figures_of(block: Any) -> dict[str, Any]:
    """The figures of a block, by name."""
    found = ((name, getattr(block, name)) for name in block.__dataclass_fields__)
    return {name: value.to_dict() for name, value in found if hasattr(value, "to_dict")}
