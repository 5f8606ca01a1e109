"""Scoring a suite: every response once, in windows that are kept, so that a killed run goes on.

The journal (``scoring.jsonl`` in the evaluation's directory) begins with what is scored by what; it
is read back only for the same suite, model and truncation, and is gone when the evaluation is done.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.errors import DataError
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.formats.journal import Journal
from assay.types import Scorer, json_number

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
    identity = {"suite": digest(suite.items), "model or truncation": model_digest}
    journal = None
    if directory:
        journal = Journal(directory / JOURNAL, identity, "an unfinished evaluation")
    windows = journal.parts() if journal else []
    done = sum(len(window["rewards"]) for window in windows)
    while done < len(suite.items):
        window = _score(scorer, suite.items[done : done + WINDOW])
        if journal:
            journal.append(window)
        windows.append(window)
        done += len(window["rewards"])
        if progress:
            progress("score", done, len(suite.items), 0)
    return _collected(suite.items, windows)


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


def _score(scorer: Scorer, items: Sequence[Item]) -> dict[str, Any]:
    """A line of the journal: the rewards of each item (None if dropped), and how many were cut."""
    conversations = [item.conversations() for item in items]
    flat = [c for group in conversations for c in group]
    # items of one ranking share responses: each is scored once
    keys = [repr(c) for c in flat]
    once = dict(zip(keys, flat, strict=True))
    scores = scorer.score(list(once.values()))
    rewards = np.asarray(scores.reward, dtype=np.float64)
    if rewards.shape != (len(once),):
        raise DataError(
            f"The scorer gave rewards of shape {rewards.shape} for {len(once)} conversations; "
            "wanted one reward each."
        )
    stds = np.zeros(len(once)) if scores.std is None else np.asarray(scores.std, dtype=np.float64)
    reward_of = dict(zip(once, zip(rewards.tolist(), stds.tolist(), strict=True), strict=True))
    of_keys = iter(keys)
    window: dict[str, Any] = {"rewards": [], "truncated": int(scores.truncated)}
    if scores.std is not None:
        window["stds"] = []
    for item, group in zip(items, conversations, strict=True):
        mine = [reward_of[key] for key in islice(of_keys, len(group))]
        if any(math.isinf(reward) for reward, _ in mine):
            raise DataError(f"The scorer gave item {item.id!r} an infinite reward.")
        window["rewards"].append([json_number(reward) for reward, _ in mine])
        if scores.std is not None:
            window["stds"].append([json_number(std) for _, std in mine])
    return window


def _collected(items: Sequence[Item], windows: Sequence[Mapping[str, Any]]) -> ScoredSuite:
    rows = [rewards for window in windows for rewards in window["rewards"]]
    nothing: list[None] = [None] * len(rows)
    deviations = [s for w in windows for s in w.get("stds", nothing[: len(w["rewards"])])]
    scored = tuple(
        ScoredItem(
            id=item.id,
            subset=item.subset,
            rewards=tuple(rewards),
            correct=item.correct,
            cluster=item.cluster,
            lengths=lengths_of(item),
            tags=item.tags,
            stds=tuple(stds) if stds is not None else None,
        )
        for item, rewards, stds in zip(items, rows, deviations, strict=True)
        if None not in rewards
    )
    return ScoredSuite(
        scored,
        truncated=sum(window["truncated"] for window in windows),
        dropped_responses=sum(rewards.count(None) for rewards in rows),
        dropped_items=len(items) - len(scored),
    )
