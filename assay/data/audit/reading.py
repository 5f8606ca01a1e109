"""From rows of any accepted format to the arrays of an audit, in one pass.

What stays in memory is some hundred bytes a judgment; texts go to a temporary file.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from assay.configs import OnBadRow
from assay.data.audit.judgments import Evidence, Ints, Items, Judgments, Ratings
from assay.data.audit.texts import TextStore, normalise
from assay.data.pairs import Source, opened, sources_of
from assay.errors import ConfigError, DataError
from assay.formats.judged import JudgedComparison, Judgment, from_comparison
from assay.formats.prompts import prompt_text
from assay.formats.rows import Tally
from assay.formats.votes import VOTE_SHAPES
from assay.types import Comparison, Messages


def load_evidence(
    source: Source, on_bad_row: OnBadRow = "skip", limit: int | None = None
) -> Evidence:
    """Read preference data or votes of any accepted format for an audit.

    Raises:
        DataError: If nothing is left, or a row is bad and ``on_bad_row`` is "error".
    """
    if limit is not None and limit < 1:
        raise ConfigError(
            f"limit must be at least 1, not {limit}; leave it out to read everything."
        )
    tally, builder = Tally(), _Builder()
    for found in islice(_read(source, on_bad_row, tally, builder.sources), limit):
        builder.add(*found)
    return builder.built(tally)


def _read(
    source: Source, on_bad_row: OnBadRow, tally: Tally, names: list[str]
) -> Iterator[tuple[int, JudgedComparison]]:
    for one in sources_of(source):
        names.append(str(one) if isinstance(one, str | Path) else "the given data")
        reader, rows = opened(one, on_bad_row, tally, VOTE_SHAPES)
        for number, found in reader.numbered(rows):
            # rated responses come joined as a comparison
            yield number, from_comparison(found) if isinstance(found, Comparison) else found


@dataclass
class _Numbers:
    """Numbers given to keys as they first appear."""

    known: dict[Any, int] = field(default_factory=dict)

    def of(self, key: Any) -> int:
        return self.known.setdefault(key, len(self.known))


@dataclass
class _Side:
    """One response while an item is made of it: its text, its node, and what it is known by."""

    text: int
    node: int
    key: bytes
    name: str


class _Builder:
    """Puts judged comparisons into columns, one after the other."""

    def __init__(self) -> None:
        self.texts = TextStore()
        self.sources: list[str] = []
        self.unusable: Counter[str] = Counter()
        self.identical = 0
        self.recorded = False
        self._annotators, self._clusters, self._prompts = _Numbers(), _Numbers(), _Numbers()
        self._items, self._nodes, self._rated = _Numbers(), _Numbers(), _Numbers()
        self._item_columns = [array("q") for _ in range(6)]
        self._first_keys: list[bytes] = []
        self._columns = [array("q") for _ in range(6)]
        self._strength = array("d")
        self._source, self._row, self._prompt, self._prompt_key, self._responses = (
            array("q") for _ in range(5)
        )
        self._ratings: dict[str, tuple[_Numbers, list[array[int]]]] = {}

    def add(self, row: int, judged: JudgedComparison) -> None:
        """Take in one comparison."""
        self._source.append(len(self.sources) - 1)
        self._row.append(row)
        asked = prompt_text(judged.prompt) if judged.prompt is not None else None
        key = (
            _key("prompt", normalise(asked)) if asked is not None else _key("name", judged.id or "")
        )
        self._prompt.append(-1 if asked is None else self.texts.add(asked))
        self._prompt_key.append(self._prompts.of(key))
        cluster = self._clusters.of(_key("cluster", judged.cluster) if judged.cluster else key)
        if judged.unusable:
            self.unusable[judged.unusable] += 1
        sides = self._sides(judged, key)
        self._responses.extend(side.text for side in sides if side.text >= 0)
        for judgment in judged.judgments:
            self._judge(judged, judgment, sides, key, cluster)
        for rating in judged.ratings:
            side = sides[rating.response]
            answers, columns = self._ratings.setdefault(
                rating.question, (_Numbers(), [array("q") for _ in range(4)])
            )
            values = (
                self._rated.of((judged.id, side.key)),
                self._annotator(rating.annotator),
                answers.of(rating.value),
                cluster,
            )
            for column, value in zip(columns, values, strict=True):
                column.append(value)

    def _sides(self, judged: JudgedComparison, key: bytes) -> list[_Side]:
        sides = []
        for at in range(max(len(judged.responses), len(judged.names))):
            name = judged.names[at] if judged.names else ""
            text = _response_text(judged.responses[at]) if judged.responses else name
            node = _key(key, normalise(text))
            number = self.texts.add(text) if judged.responses else -1
            sides.append(_Side(number, self._nodes.of(node), _key(key, name or text), name or text))
        return sides

    def _judge(
        self,
        judged: JudgedComparison,
        judgment: Judgment,
        sides: Sequence[_Side],
        prompt: bytes,
        cluster: int,
    ) -> None:
        annotator = self._annotator(judgment.annotator)
        place = {index: at for at, index in enumerate(judgment.order or ())}
        self.recorded |= judgment.order_is_recorded
        for (i, j), verdict in judgment.verdicts.items():
            value = int(np.sign(2 * verdict.share - 1))
            shown = int(np.sign(place[j] - place[i])) if i in place and j in place else 0
            is_in_order = judgment.order is not None and not judged.names
            # an id says that rows of the same texts were asked separately
            named = _key("id", judged.id) if judged.id else prompt
            item, sign = self._item(named, sides[i], sides[j], is_in_order, cluster)
            row = len(self._row) - 1
            values = (item, annotator, sign * value, sign * shown, judgment.inconsistent, row)
            for column, entry in zip(self._columns, values, strict=True):
                column.append(int(entry))
            self._strength.append(np.nan if verdict.strength is None else verdict.strength)
            self.identical += sides[i].node == sides[j].node

    def _item(
        self, named: bytes, one: _Side, other: _Side, is_in_order: bool, cluster: int
    ) -> tuple[int, int]:
        """An item's number, and 1 if its first side is ``one``, -1 if it is the other."""
        item = self._items.of(_key(named, *sorted((one.key, other.key))))
        if item == len(self._first_keys):
            first, second = one, other
            if not is_in_order and other.name < one.name:
                first, second = other, one
            self._first_keys.append(first.key)
            prompt = self._prompt_key[-1]
            values = (prompt, first.text, second.text, first.node, second.node, cluster)
            for column, value in zip(self._item_columns, values, strict=True):
                column.append(value)
        return item, 1 if self._first_keys[item] == one.key else -1

    def _annotator(self, name: str | None) -> int:
        return -1 if name is None else self._annotators.of(name)

    def built(self, tally: Tally) -> Evidence:
        """The columns as arrays."""
        if not self._strength:
            gone = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped.items())
            raise DataError(
                f"none of the {tally.rows:,} rows gave a judgment; dropped: {gone or 'none'}."
            )
        item, annotator, value, shown, inconsistent, comparison = map(_ints, self._columns)
        judgments = Judgments(
            item,
            annotator,
            value,
            np.array(self._strength),
            shown,
            inconsistent.astype(np.bool_),
            comparison,
        )
        report = tally.report(
            comparisons=len(self._row),
            pairs=len(item),
            ties=int(np.sum(value == 0)),
            contradictions=0,
        )
        return Evidence(
            texts=self.texts,
            items=Items(*map(_ints, self._item_columns)),
            judgments=judgments,
            ratings=tuple(
                Ratings(question, tuple(answers.known), *map(_ints, columns))
                for question, (answers, columns) in self._ratings.items()
            ),
            annotators=tuple(self._annotators.known),
            sources=tuple(self.sources),
            source=_ints(self._source),
            row=_ints(self._row),
            prompts=_ints(self._prompt),
            prompt_keys=_ints(self._prompt_key),
            responses=_ints(self._responses),
            unusable=dict(self.unusable),
            identical=self.identical,
            is_order_recorded=self.recorded,
            report=report,
        )


def _ints(column: array[int]) -> Ints:
    return np.array(column, dtype=np.int64)


def _key(*parts: str | bytes) -> bytes:
    sha = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part if isinstance(part, bytes) else part.encode("utf-8", "replace")
        sha.update(len(raw).to_bytes(8, "big") + raw)
    return sha.digest()


def _response_text(response: Messages) -> str:
    return "\n".join(m.content for m in response)
