"""What an evaluation suite is: items with right and wrong responses, and how they are counted.

An item is scored once; everything else is counted from ``ScoredItem``, which a line of
``scores.jsonl`` holds, so a suite's figures come from saved scores alone. Knows nothing of models.

Letters: K responses of one item.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.types import Conversation, Messages

ANSWERS = "answers"
"""The tag that holds the final answer of each response, as a JSON list."""


@dataclass(frozen=True, slots=True)
class Item:
    """A prompt of a suite, its K responses, and which of them are right.

    ``cluster`` names what is not independent of it: intervals are over clusters (the prompt).
    ``tags`` carries what a suite's formula needs besides (a style, a kind).
    """

    id: str
    subset: str
    prompt: Messages
    responses: tuple[Messages, ...]
    correct: tuple[bool, ...]
    cluster: str
    tags: Mapping[str, str] = field(default_factory=dict)
    tools: tuple[Mapping[str, Any], ...] | None = None

    def conversations(self) -> list[Conversation]:
        """One conversation a response, in order."""
        return [Conversation(self.prompt, response, self.tools) for response in self.responses]


@dataclass(frozen=True, slots=True)
class ScoredItem:
    """The rewards of an item's responses: one line of ``scores.jsonl``.

    ``lengths`` are the characters of each response, None where saved scores came without texts;
    ``stds`` the rewards' standard deviations, None where the scorer gives none.
    """

    id: str
    subset: str
    rewards: tuple[float, ...]
    correct: tuple[bool, ...]
    cluster: str
    lengths: tuple[int, ...] | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    stds: tuple[float, ...] | None = None

    def to_row(self) -> dict[str, Any]:
        """The line of ``scores.jsonl``."""
        row: dict[str, Any] = {
            "id": self.id,
            "subset": self.subset,
            "rewards": list(self.rewards),
            "correct": list(self.correct),
            "cluster": self.cluster,
        }
        if self.lengths is not None:
            row["lengths"] = list(self.lengths)
        if self.stds is not None:
            row["stds"] = list(self.stds)
        return {**row, "tags": dict(self.tags)} if self.tags else row

    @property
    def right(self) -> list[float]:
        """Rewards of the right responses."""
        return [r for r, ok in zip(self.rewards, self.correct, strict=True) if ok]

    @property
    def wrong(self) -> list[float]:
        """Rewards of the wrong responses."""
        return [r for r, ok in zip(self.rewards, self.correct, strict=True) if not ok]


@dataclass(frozen=True)
class Measure:
    """How the items of a subset become one number.

    Either ``of_item`` gives each item a value and the subset's number is their mean, or
    ``of_subset`` takes all items at once, or ``of_counts`` takes the sums of the items' ``counts``;
    the interval of the latter two is the jackknife's over clusters.
    """

    name: str
    ties: str
    """What equal rewards count, in words: the suite's tie rule."""
    of_item: Callable[[ScoredItem], float] | None = None
    of_subset: Callable[[Sequence[ScoredItem]], float] | None = None
    counts: Callable[[ScoredItem], Sequence[float]] | None = None
    of_counts: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None
    """From sums ``(..., m)`` to numbers ``(...)``."""
    chance: Callable[[ScoredItem], float] | None = None
    """What a scorer of random rewards expects of an item; None where no such number is known."""
    one_correct: bool = False
    """Whether an item must have exactly one right response."""
    of_steps: bool = False
    """Whether rewards are of the steps of a solution: probabilities that each is right."""

    def sums(self, items: Sequence[ScoredItem]) -> NDArray[np.float64]:
        """The counts of each item, ``(n, m)``."""
        assert self.counts is not None
        return np.array([self.counts(item) for item in items], dtype=np.float64)

    def values(self, items: Sequence[ScoredItem]) -> list[float]:
        """One value an item."""
        assert self.of_item is not None
        return [self.of_item(item) for item in items]

    def __call__(self, items: Sequence[ScoredItem]) -> float:
        """The subset's number."""
        if self.of_subset is not None:
            return self.of_subset(items)
        if self.of_counts is not None:
            return float(self.of_counts(self.sums(items).sum(axis=0)))
        return float(np.mean(self.values(items)))


def win_share(item: ScoredItem, tie: float) -> float:
    """Share of (right, wrong) pairs of responses that the rewards order right; a tie counts so."""
    gaps = np.subtract.outer(item.right, item.wrong)
    return float(np.mean((gaps > 0) + tie * (gaps == 0)))


def _half(item: ScoredItem) -> float:
    return 0.5


PAIRS_HALF = Measure("accuracy", "a tie counts ½", lambda item: win_share(item, 0.5), chance=_half)
"""Assay's own accuracy of pairs."""

PAIRS_STRICT = Measure(
    "accuracy", "a tie is wrong", lambda item: win_share(item, 0.0), chance=_half
)
"""RewardBench's accuracy of pairs."""


@dataclass(frozen=True)
class SubsetSpec:
    """A subset: how it is measured, how many items it has when whole, its weight in its section."""

    measure: Measure
    count: int | None = None
    weight: float | None = None
    """Default: the number of items."""


@dataclass(frozen=True)
class SuiteSpec:
    """How a suite is counted: subsets, sections of subsets, and a total over the sections.

    A section is the weighted mean of its subsets, the total the weighted mean of the sections (of
    the subsets where there are none). ``subsets`` is empty for a user's own file: its subsets are
    then those of its rows, each measured by ``measure``.
    """

    name: str
    title: str
    measure: Measure
    subsets: Mapping[str, SubsetSpec] = field(default_factory=dict)
    sections: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    total_weights: Mapping[str, float] | None = None
    """Weight of each section (or subset) in the total. Default: equal."""
    overall: Measure | None = None
    """How the total is counted where it is no mean of sections: over all items at once."""
    hub: str | None = None
    """The data set on the hub, as ``owner/name[:config][@split]``."""
    note: str = ""
    """Oddities of the suite's own code that are reproduced here."""

    def subset(self, name: str) -> SubsetSpec:
        """The specification of a subset.

        Raises:
            DataError: If the suite has no such subset.
        """
        if not self.subsets:
            return SubsetSpec(self.measure)
        if name not in self.subsets:
            raise DataError(
                f"{name!r} is no subset of {self.name}; it has {', '.join(self.subsets)}."
            )
        return self.subsets[name]


@dataclass(frozen=True)
class Suite:
    """A suite with its items, ready to be scored."""

    spec: SuiteSpec
    items: tuple[Item, ...]
    source: str
    """Where the items came from: a hub name or a file."""
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason."""

    @classmethod
    def load(
        cls, name: str | Path, data: str | Path | None = None, limit: int | None = None
    ) -> Suite:
        """A published suite by name, or a user's own file (see ``evaluation.suites``).

        Args:
            data: A file or directory in the suite's published layout, or a hub name. Default: the
                suite's own place on the hub.
            limit: Use the first so many items of each subset.

        Raises:
            DataError: If the suite is unknown, a row is not of its layout, or nothing is left.
        """
        from assay.evaluation.suites import load_suite

        return load_suite(name, data, limit)


def check_item(
    id: str, correct: Sequence[bool], responses: int, where: str, one_correct: bool = False
) -> None:
    """Refuse an item that cannot be counted.

    Args:
        one_correct: The suite's formula wants exactly one right response.

    Raises:
        DataError: With the place and what is wrong.
    """
    right = sum(correct)
    if len(correct) != responses:
        raise DataError(
            f"{where}: item {id!r} has {responses} rewards or responses but {len(correct)} marks."
        )
    if one_correct and right != 1:
        raise DataError(f"{where}: item {id!r} has {right} right responses; wanted exactly one.")
    if right == 0 or right == len(correct):
        raise DataError(
            f"{where}: item {id!r} has {right} right of {len(correct)} responses; "
            "wanted at least one right and one wrong."
        )


def check_rewards(
    id: str, rewards: Sequence[Any], where: str, name: str = "reward"
) -> tuple[float, ...]:
    """Rewards as finite numbers.

    Args:
        name: What they are called in the sentence.

    Raises:
        DataError: With the place, the response and the value of one that is not.
    """
    for number, reward in enumerate(rewards, start=1):
        if isinstance(reward, bool) or not isinstance(reward, int | float):
            raise DataError(
                f"{where}: {name} {number} of item {id!r} is {reward!r}; wanted a number."
            )
        if not np.isfinite(reward):
            raise DataError(
                f"{where}: {name} {number} of item {id!r} is {reward}; wanted a finite number."
            )
    return tuple(map(float, rewards))
