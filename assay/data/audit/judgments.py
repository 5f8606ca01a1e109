"""Everything an audit reads, as arrays: texts, comparisons, items, and the judgments of them.

An *item* is two responses to one prompt. Judgments of the same two line up whichever was listed
first: the item's first side is the one whose name (a model's) comes first in the alphabet; without
names the one that its first row lists first; and where a row lists the better one first, as pairs
do, the one whose text comes first. Letters: C comparisons · I items · J judgments · R ratings.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.texts import TextStore
from assay.types import LoadReport

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Items:
    """Two responses to one prompt each, the first side and the second. All ``(I,)``.

    ``first`` and ``second`` are numbers of texts, -1 where the file has none. ``node_a`` and
    ``node_b`` number their sides as responses to the prompt, equal where they differ in case and
    white space only. ``cluster`` is what intervals are over, mostly the prompt.
    """

    prompt: Ints
    first: Ints
    second: Ints
    node_a: Ints
    node_b: Ints
    cluster: Ints

    def __len__(self) -> int:
        return len(self.cluster)


@dataclass(frozen=True)
class Judgments:
    """Verdicts on items, in the order read. All ``(J,)``.

    ``value``: 1 the first side is better, -1 the second, 0 a tie. ``strength``: how clearly, NaN
    where unsaid. ``shown``: 1 the first side was shown first, -1 the second, 0 unknown.
    ``annotator`` is -1 where no one is named. ``comparison`` is the row's.
    """

    item: Ints
    annotator: Ints
    value: Ints
    strength: Floats
    shown: Ints
    inconsistent: NDArray[np.bool_]
    comparison: Ints

    def __len__(self) -> int:
        return len(self.item)

    def where(self, chosen: NDArray[Any]) -> Judgments:
        """Those that a mask or positions choose."""
        return Judgments(*(getattr(self, name)[chosen] for name in self.__dataclass_fields__))


@dataclass(frozen=True)
class Ratings:
    """Answers to a question about single responses. All ``(R,)``; ``value`` numbers the answers."""

    question: str
    answers: tuple[str, ...]
    item: Ints
    annotator: Ints
    value: Ints
    cluster: Ints


@dataclass(frozen=True)
class Evidence:
    """What was read, and where each comparison stood."""

    texts: TextStore
    items: Items
    judgments: Judgments
    ratings: tuple[Ratings, ...]
    annotators: tuple[str, ...]
    sources: tuple[str, ...]
    source: Ints  # (C,) which source a comparison is from
    row: Ints  # (C,) the number of its row there
    prompts: Ints  # (C,) the number of its prompt's text, -1 without one
    prompt_keys: Ints  # (C,) equal where prompts are, but for case and white space
    responses: Ints  # numbers of all responses' texts, comparison by comparison
    unusable: Mapping[str, int]
    identical: int
    is_order_recorded: bool
    report: LoadReport

    def pairs(self) -> tuple[Ints, Ints, Ints]:
        """Of each judgment the two nodes, the lower first, and its value in that order.

        Items of the same texts that were asked separately are then one pair.
        """
        items, judgments = self.items, self.judgments
        a, b = items.node_a[judgments.item], items.node_b[judgments.item]
        value = np.where(b < a, -judgments.value, judgments.value)
        return np.minimum(a, b), np.maximum(a, b), value

    @property
    def has_texts(self) -> bool:
        """Whether there are texts, and not names alone."""
        return len(self.texts) > 0

    def place(self, comparison: int) -> tuple[str, int]:
        """The source and row number of a comparison."""
        return self.sources[int(self.source[comparison])], int(self.row[comparison])
