"""Scoring a suite: every response once, in windows that are kept, so that a killed run goes on.

The journal (``scoring.jsonl`` in the evaluation's directory) begins with what is scored by what; it
is read back only for the same suite, model and truncation, and is gone when the evaluation is done.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.errors import ConfigError, DataError
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.types import Scorer

if TYPE_CHECKING:
    from assay.progress import Report

JOURNAL = "scoring.jsonl"
WINDOW = 128
"""Items scored between two writes of the journal."""


@dataclass(frozen=True)
class ScoredSuite:
    """A suite's items with rewards, in the suite's order, and what truncation did.

    Items with a response that was dropped (its reward is NaN) are left out and counted.
    """

    scored: tuple[ScoredItem, ...]
    truncated: int
    dropped_responses: int
    dropped_items: int


def score_suite(
    scorer: Scorer,
    suite: Suite,
    directory: Path | None = None,
    model_digest: str = "",
    progress: Report | None = None,
) -> ScoredSuite:
    """Rewards of all responses of a suite.

    Args:
        directory: Where the journal is kept; what it holds already is not scored again.
        model_digest: What tells the scorer from others; the journal is bound to it.

    Raises:
        ConfigError: If the journal there is of another suite, model or truncation.
        DataError: If the scorer's rewards do not fit the suite.
    """
    identity = {"suite": digest(suite.items), "model": model_digest}
    journal = _Journal(directory / JOURNAL, identity) if directory else None
    rows = {row["index"]: row for row in journal.rows()} if journal else {}
    left = [i for i in range(len(suite.items)) if i not in rows]
    for window in _windows(left):
        fresh = _score(scorer, suite.items, window)
        if journal:
            journal.append(fresh)
        rows.update((row["index"], row) for row in fresh)
        if progress:
            progress("score", len(rows), len(suite.items), 0)
    return _collected(suite.items, rows)


def digest(items: Sequence[Item]) -> str:
    """SHA-256 of what is scored: ids, subsets, texts and marks."""
    total = hashlib.sha256()
    for item in items:
        texts = [[m.to_dict() for m in c.messages] for c in item.conversations()]
        parts = [item.id, item.subset, item.cluster, list(item.correct), texts, item.tools]
        total.update(json.dumps(parts, ensure_ascii=False, default=dict).encode())
    return total.hexdigest()


def lengths_of(item: Item) -> tuple[int, ...]:
    """Characters of each response."""
    return tuple(len(c.response_text) for c in item.conversations())


def _windows(indexes: Sequence[int]) -> Iterator[Sequence[int]]:
    for start in range(0, len(indexes), WINDOW):
        yield indexes[start : start + WINDOW]


def _score(scorer: Scorer, items: Sequence[Item], window: Sequence[int]) -> list[dict[str, Any]]:
    conversations = [items[i].conversations() for i in window]
    flat = [c for group in conversations for c in group]
    # items of one ranking share responses: each is scored once
    keys = [repr(c) for c in flat]
    once = list(dict(zip(keys, flat, strict=True)).values())
    place = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    where = [place[key] for key in keys]
    scores = scorer.score(once)
    unique = np.asarray(scores.reward, dtype=np.float64)
    if unique.shape != (len(once),):
        raise DataError(
            f"The scorer gave rewards of shape {unique.shape} for {len(once)} conversations; "
            "wanted one reward each."
        )
    rewards = unique[where]
    rows, start = [], 0
    for i, group in zip(window, conversations, strict=True):
        mine = rewards[start : start + len(group)]
        if np.isinf(mine).any():
            raise DataError(f"The scorer gave item {items[i].id!r} an infinite reward.")
        rows.append({"index": i, "rewards": [None if np.isnan(r) else float(r) for r in mine]})
        start += len(group)
    rows[0]["truncated"] = scores.truncated
    return rows


def _collected(items: Sequence[Item], rows: Mapping[int, Mapping[str, Any]]) -> ScoredSuite:
    scored, dropped_items, dropped_responses = [], 0, 0
    for i, item in enumerate(items):
        rewards = rows[i]["rewards"]
        gone = sum(r is None for r in rewards)
        dropped_responses += gone
        dropped_items += gone > 0
        if not gone:
            scored.append(
                ScoredItem(
                    id=item.id,
                    subset=item.subset,
                    rewards=tuple(rewards),
                    correct=item.correct,
                    cluster=item.cluster,
                    lengths=lengths_of(item),
                    tags=item.tags,
                )
            )
    truncated = sum(row.get("truncated", 0) for row in rows.values())
    return ScoredSuite(tuple(scored), truncated, dropped_responses, dropped_items)


class _Journal:
    """An append-only file whose first line says whose it is; a torn last line is cut off."""

    def __init__(self, path: Path, identity: Mapping[str, str]):
        self.path = path
        self.identity = dict(identity)

    def rows(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._write([self.identity])
            return []
        text = self.path.read_bytes()
        whole = text[: text.rfind(b"\n") + 1]
        lines = [json.loads(line) for line in whole.splitlines()]
        if not lines:
            self.path.unlink()
            return self.rows()
        if lines[0] != self.identity:
            raise ConfigError(
                f"{self.path.parent} holds an unfinished evaluation of another suite or model; "
                "name another directory, or delete it."
            )
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        return lines[1:]

    def append(self, rows: Sequence[Mapping[str, Any]]) -> None:
        self._write(rows)

    def _write(self, rows: Sequence[Mapping[str, Any]]) -> None:
        with self.path.open("ab") as file:
            file.write("".join(json.dumps(row) + "\n" for row in rows).encode())
            file.flush()
            os.fsync(file.fileno())
