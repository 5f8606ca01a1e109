"""Answers of annotators to items: at most one each, on a scale.

Letters: J answers · M meetings of two answers to one item.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.figures import Undefined
from assay.data.audit.judgments import Floats, Ints, Judgments, Ratings

MOST_ANSWERS = 21
"""Different strengths that still make a scale."""


@dataclass(frozen=True)
class Answers:
    """At most one answer an annotator and item. All ``(J,)``; ``value`` is on a scale."""

    item: Ints
    annotator: Ints
    value: Floats
    cluster: Ints

    def __len__(self) -> int:
        return len(self.item)

    def where(self, chosen: NDArray[Any]) -> Answers:
        """Those that a mask or positions choose."""
        return Answers(
            self.item[chosen], self.annotator[chosen], self.value[chosen], self.cluster[chosen]
        )


def last_positions(item: Ints, annotator: Ints) -> Ints:
    """Positions of the last answer of every named annotator to every item, in order.

    Who answers twice corrects the first answer: an append-only file of answers says so.
    """
    order = np.lexsort((np.arange(len(item)), annotator, item))
    order = order[annotator[order] >= 0]
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = np.diff(item[order]).astype(np.bool_) | np.diff(annotator[order]).astype(
        np.bool_
    )
    return np.sort(order[is_last])


def choices(judgments: Judgments, cluster: Ints) -> Answers:
    """Which side is better, 1, -1 or 0 for a tie, as answers."""
    last = judgments.where(last_positions(judgments.item, judgments.annotator))
    return Answers(last.item, last.annotator, last.value.astype(np.float64), cluster[last.item])


def strengths(judgments: Judgments, cluster: Ints) -> Answers | Undefined | None:
    """How much better a side is, signed, as answers; None where no one says how much."""
    last = judgments.where(last_positions(judgments.item, judgments.annotator))
    size = np.asarray(np.where(last.value == 0, 0.0, last.strength), dtype=np.float64)
    answers = Answers(last.item, last.annotator, last.value * size, cluster[last.item])
    shared = np.isin(answers.item, shared_items(answers))
    is_clear = (last.value != 0) & shared
    if not is_clear.any() or np.isnan(size[is_clear]).all():
        return None
    lacking = int(np.isnan(size[is_clear]).sum())
    if lacking:
        return Undefined(f"{lacking:,} of {int(is_clear.sum()):,} judgments say no strength.")
    count = len(np.unique(answers.value[shared]))
    if count > MOST_ANSWERS:
        return Undefined(f"{count:,} different strengths are no scale of answers.")
    return answers.where(shared)


def rated(ratings: Ratings) -> Answers:
    """Answers to a question about single responses."""
    last = last_positions(ratings.item, ratings.annotator)
    return Answers(
        ratings.item[last],
        ratings.annotator[last],
        ratings.value[last].astype(np.float64),
        ratings.cluster[last],
    )


def shared_items(answers: Answers) -> Ints:
    """Items with the answers of two annotators or more."""
    item, count = np.unique(answers.item, return_counts=True)
    return item[count >= 2]


@dataclass(frozen=True)
class Meetings:
    """Two annotators' answers to an item both judged, once each. All ``(M,)``; ``a < b``."""

    a: Ints
    b: Ints
    value_a: Floats
    value_b: Floats
    cluster: Ints


def meetings(answers: Answers) -> Meetings:
    """Every two answers to one item."""
    order = np.lexsort((answers.annotator, answers.item))
    item = answers.item[order]
    most = int(np.unique(item, return_counts=True)[1].max(initial=1))
    left, right = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for lag in range(1, most):
        met = np.flatnonzero(item[lag:] == item[:-lag])
        left.append(order[met])
        right.append(order[met + lag])
    i, j = np.concatenate(left), np.concatenate(right)
    return Meetings(
        answers.annotator[i],
        answers.annotator[j],
        answers.value[i],
        answers.value[j],
        answers.cluster[i],
    )
