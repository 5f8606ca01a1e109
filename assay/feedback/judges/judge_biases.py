"""What else a judge follows than quality: the order shown, chance, and its own model.

Pure functions of judged comparisons. Letters: N comparisons.
"""

from __future__ import annotations

from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.feedback.judges.judged import (
    JudgedComparison,
    column,
    figures_of,
    of_judge,
    of_people,
    preference,
    prompts,
    share_of,
    usable,
)
from assay.feedback.judges.pairs import first_is_better
from assay.stats import cluster_mean
from assay.stats.arrays import Floats
from assay.types import Figure


@dataclass(frozen=True)
class Position:
    """What the order shown does. ``bias`` is the mean P(first shown is better) less ½.

    ``consistent`` is the share of comparisons whose orders say the same. ``prefers_first`` is how
    often the response shown first is ahead, an even answer half; ``in_first_order`` and
    ``in_second_order`` are the same of each order asked.
    """

    consistent: Figure
    bias: Figure
    prefers_first: Figure
    in_first_order: Figure
    in_second_order: Figure

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return figures_of(self)


def position(records: Sequence[JudgedComparison]) -> Position | Undefined:
    """What the order shown does, of comparisons asked in both orders."""
    both = [r for r in usable(records) if r.judgment.first is not None]
    if not both:
        return Undefined("no comparison was asked in both orders.")
    prompt = prompts(both)
    ahead = np.array([_shown_first(r) for r in both])  # (N, 2)
    return Position(
        consistent=share_of([float(r.judgment.outcome != "inconsistent") for r in both], prompt),
        bias=cluster_mean(column(both, lambda r: r.judgment.first) - 0.5, prompt, (-0.5, 0.5)),
        prefers_first=share_of(ahead.mean(axis=1), prompt),
        in_first_order=share_of(ahead[:, 0], prompt),
        in_second_order=share_of(ahead[:, 1], prompt),
    )


def _shown_first(record: JudgedComparison) -> Floats:
    found = [first_is_better(answer) for answer in record.judgment.answers]
    return preference(np.array(found, dtype=np.float64))


@dataclass(frozen=True)
class Stability:
    """The same questions asked again: is the choice the same, and how far p moves (mean |Δp|)."""

    same_choice: Figure
    moved: Figure
    repeats: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**figures_of(self), "repeats": self.repeats}


def stability(records: Sequence[JudgedComparison]) -> Stability | Undefined:
    """How far a judge says the same twice, of comparisons that it was asked again."""
    asked = [
        (r.prompt, r.probability, again.probability)
        for r in usable(records)
        for again in r.repeats
        if again.probability is not None
    ]
    if not asked:
        return Undefined("no question was asked again.")
    prompt = [name for name, _, _ in asked]
    once, again = (np.array([row[k] for row in asked], dtype=np.float64) for k in (1, 2))
    same = preference(once) == preference(again)
    return Stability(
        share_of(same.astype(np.float64), prompt),
        share_of(np.abs(once - again), prompt),
        len(asked),
    )


@dataclass(frozen=True)
class SelfPreference:
    """Does a judge prefer its own model's responses more than its reference does.

    Win rates of the own model's responses against others', even ones half; ``excess`` is the
    judge's less the reference's on the comparisons that both judged, and ``against`` says who the
    reference is.
    """

    judge: Figure
    reference: Measured
    excess: Measured
    against: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**figures_of(self), "against": self.against}


def self_preference(
    records: Sequence[JudgedComparison], own: Container[str]
) -> SelfPreference | Undefined:
    """What a judge does with its own, of comparisons in which exactly one response is its own.

    The reference is people where they judged any of these, else the panel.

    Args:
        own: Names of the models that the judge is.
    """
    mixed = [r for r in usable(records) if r.models is not None and len(_own(r, own)) == 1]
    if not mixed:
        return Undefined("no comparison sets a response of the judge's own model against another.")
    judge = _wins(mixed, column(mixed, of_judge), own)
    columns = {"people": column(mixed, of_people), "panel": column(mixed, lambda r: r.panel)}
    against = next((name for name, c in columns.items() if not np.isnan(c).all()), None)
    whole = share_of(judge, prompts(mixed))
    if against is None:
        none = Undefined("neither people nor a panel judged these.")
        return SelfPreference(whole, none, none, "nobody")
    theirs, there = columns[against], ~np.isnan(columns[against])
    wins, prompt = _wins(mixed, theirs, own), np.array(prompts(mixed))
    return SelfPreference(
        whole,
        share_of(wins[there], prompt[there]),
        cluster_mean((judge - wins)[there], prompt[there], bounds=(-1.0, 1.0)),
        against,
    )


def _own(record: JudgedComparison, own: Container[str]) -> list[int]:
    assert record.models is not None
    return [k for k, name in enumerate(record.models) if name is not None and name in own]


def _wins(records: Sequence[JudgedComparison], share: Floats, own: Container[str]) -> Floats:
    is_first = np.array([_own(r, own) == [0] for r in records])
    return np.where(is_first, preference(share), 1 - preference(share))
