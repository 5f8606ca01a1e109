"""Rows of prompts with candidates, rewards and gold, each checked as it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.configs import Overoptimization
from assay.errors import ConfigError, DataError
from assay.evaluation.best_of_n import Floats
from assay.evaluation.suite import check_rewards
from assay.formats.files import numbering, read_rows
from assay.score.files import row_conversations
from assay.types import Conversation

Row = Mapping[str, Any]

REWARDS, MEMBERS, GOLD, LENGTHS = "rewards", "member_rewards", "gold", "lengths"


@dataclass(frozen=True)
class CandidateRow:
    """A prompt with N candidates, and what the file says of them."""

    line: int
    prompt: str
    conversations: tuple[Conversation, ...] | None
    rewards: Floats | None  # (N, M), NaN where a candidate was dropped
    gold: Floats | None  # (N,)
    lengths: Floats | None  # (N,)
    count: int


def read_candidates(config: Overoptimization) -> list[CandidateRow]:
    """All rows of the input.

    Raises:
        DataError: With the place, if a row is not what is wanted, or there is none.
        ConfigError: If a run is named for what the rows have.
    """
    unit = numbering(str(config.input))
    rows = [
        parse_row(row, number, f"{config.input} {unit} {number}", config)
        for number, row in read_rows(str(config.input))
    ]
    if not rows:
        raise DataError(f"{config.input} is empty; a curve needs prompts with candidates.")
    _check_members(rows, f"{config.input} {unit}")
    return rows


def parse_row(row: Row, number: int, where: str, config: Overoptimization) -> CandidateRow:
    """A row of the input, checked.

    Raises:
        DataError: With the place.
        ConfigError: If a run is named for what the row has.
    """
    has_texts = "responses" in row or "chosen" in row
    conversations = tuple(row_conversations(row, where)) if has_texts else None
    _check_sources(row, config, conversations, where)
    id = str(row.get("id", number))
    rewards = None if config.run else _rewards(row, id, where)
    gold = None if config.gold else _gold(row, id, where)
    lengths = _lengths(row, conversations, id, where)
    count = _count(
        {"responses": conversations, "rewards": rewards, "gold": gold, "lengths": lengths}, where
    )
    prompt = row.get("prompt")
    name = prompt if isinstance(prompt, str) else json.dumps(prompt or id, ensure_ascii=False)
    return CandidateRow(number, name, conversations, rewards, gold, lengths, count)


def _check_sources(
    row: Row,
    config: Overoptimization,
    conversations: Sequence[Conversation] | None,
    where: str,
) -> None:
    """Refuse a row that lacks rewards or gold nobody scores, or has what a run would score."""
    for flag, keys in (("run", (REWARDS, MEMBERS)), ("gold", (GOLD,))):
        there = [key for key in keys if row.get(key) is not None]
        if getattr(config, flag) and there:
            raise ConfigError(
                f"{where} has {there[0]!r} already; leave --{flag} out, or take it out of the rows."
            )
        if not getattr(config, flag) and not there:
            raise DataError(
                f"{where} has no {' or '.join(map(repr, keys))}: give a list of one a response, "
                f"or name what scores them with --{flag}."
            )
        if getattr(config, flag) and conversations is None:
            raise DataError(
                f"{where} has no 'prompt' with 'responses', which --{flag} would score."
            )


def _count(parts: Mapping[str, Sequence[Any] | Floats | None], where: str) -> int:
    """How many candidates a row has, by all that it says of them."""
    sizes = {name: len(values) for name, values in parts.items() if values is not None}
    if len(set(sizes.values())) > 1:
        counts = ", ".join(f"{count} {name}" for name, count in sizes.items())
        raise DataError(f"{where} has {counts}; there must be one of each for every candidate.")
    count = next(iter(sizes.values()))
    if count < 2:
        raise DataError(f"{where} has {count} candidates; selection needs 2 or more of a prompt.")
    return count


def _rewards(row: Row, id: str, where: str) -> Floats:
    """Rewards of a row, ``(N, M)``, NaN where ``assay score`` dropped a response (null)."""
    if row.get(MEMBERS) is None:
        listed = [[reward] for reward in _list(row, REWARDS, where)]
    else:
        listed = _list(row, MEMBERS, where)
    if any(not isinstance(members, list) or not members for members in listed):
        raise DataError(
            f"{where}: {MEMBERS!r} must hold a list of the members' rewards a response."
        )
    if len({len(members) for members in listed}) > 1:
        raise DataError(f"{where}: responses in {MEMBERS!r} have different numbers of members.")
    return np.array(
        [
            [np.nan] * len(members)
            if members == [None] * len(members)
            else check_rewards(id, members, where)
            for members in listed
        ]
    )


def _lengths(
    row: Row, conversations: Sequence[Conversation] | None, id: str, where: str
) -> Floats | None:
    """Characters of each response, or what the row says they are; None where it says nothing."""
    if conversations is not None:
        return np.array([float(len(c.response_text)) for c in conversations])
    if row.get(LENGTHS) is None:
        return None
    return np.array(check_rewards(id, _list(row, LENGTHS, where), where, "length"))


def _gold(row: Row, id: str, where: str) -> Floats:
    """Gold of a row, ``(N,)``; true and false are 1 and 0."""
    marks = [float(x) if isinstance(x, bool) else x for x in _list(row, GOLD, where)]
    return np.array(check_rewards(id, marks, where, "gold reward"))


def _list(row: Row, key: str, where: str) -> list[Any]:
    if not isinstance(row[key], list):
        raise DataError(f"{where}: {key!r} must be a list of one entry a response.")
    return list(row[key])


def _check_members(rows: Sequence[CandidateRow], place: str) -> None:
    """Refuse rows with different numbers of members."""
    first = rows[0].rewards
    for row in rows:
        if row.rewards is not None and first is not None:
            members, wanted = row.rewards.shape[1], first.shape[1]
            if members != wanted:
                raise DataError(
                    f"{place} {row.line} has rewards by {members} members, and {place} "
                    f"{rows[0].line} by {wanted}; all rows need the same members."
                )


def common_size(rows: Sequence[CandidateRow]) -> int:
    """The number of candidates that most rows have; the larger of equals."""
    times = Counter(row.count for row in rows)
    return max(times, key=lambda size: (times[size], size))
