"""Rows of published rating sets: UltraFeedback, HelpSteer 1 to 3, PandaLM, Tülu, labelled rows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.formats.comparisons import from_scores
from assay.formats.fields import (
    IDENTICAL,
    Row,
    RowError,
    flag,
    items,
    labels,
    name,
    number,
    prompt,
    required,
    response,
    shown,
    text,
    turns,
)
from assay.formats.pairs import preferred
from assay.types import LABEL, Comparison, Message, Messages

HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
"""The attributes of HelpSteer 1 and 2, each rated from 0 to 4."""

_HELPSTEER_TURN = "<extra_id_1>"


def ultrafeedback(row: Row) -> Comparison:
    """UltraFeedback: completions ranked by ``overall_score``, else by ``fine-grained_score``."""
    completions = items(row, "completions", least=2)
    if not all(isinstance(c, Mapping) for c in completions):
        raise RowError(f"'completions' must hold objects, not {shown(completions)}", "wrong type")
    ratings = tuple(_annotations(c) for c in completions)
    responses = [_answer(c, "response") for c in completions]
    has_overall = all(c.get("overall_score") is not None for c in completions)
    key = "overall_score" if has_overall else "fine-grained_score"
    scores = [_score(c, key) for c in completions]
    return from_scores(
        prompt(row, "instruction"),
        responses,
        scores,
        ratings=ratings if any(ratings) else None,
        **labels(row, subset="source"),
    )


def helpsteer2_preference(row: Row) -> Comparison:
    """HelpSteer2's preference rows: strength from -3 (response 1 much better) to 3, 0 a tie."""
    sides = _answer(row, "response_1"), _answer(row, "response_2")
    return _signed(row, _helpsteer_prompt(row), sides, "preference_strength", labels(row))


def helpsteer3_preference(row: Row) -> Comparison:
    """HelpSteer3's preference rows: a context of messages and the same scale."""
    sides = _answer(row, "response1"), _answer(row, "response2")
    return _signed(
        row, prompt(row, "context"), sides, "overall_preference", labels(row, subset="domain")
    )


def pandalm(row: Row) -> Comparison:
    """PandaLM: votes 1 or 2 for the better response, 0 for a tie; their share is the label."""
    votes = vote_shares(row)
    return _pandalm(row, sum(votes) / len(votes), labels(row))


def pandalm_apart(row: Row) -> list[Comparison]:
    """The same row as one comparison a vote: the n-th vote of every row is annotator n's."""
    return [
        _pandalm(row, vote, {**labels(row), "annotator": str(place)})
        for place, vote in enumerate(vote_shares(row), start=1)
    ]


def _pandalm(row: Row, probability: float, fields: dict[str, Any]) -> Comparison:
    sides = _answer(row, "response_1"), _answer(row, "response_2")
    asked = text(required(row, "instruction"), "instruction")
    given = row.get("input") or ""
    if given:
        asked = f"{asked}\n\n{text(given, 'input')}"
    return _two(row, (Message("user", asked),), sides, probability, 0.0, fields)


def vote_shares(row: Row) -> list[float]:
    """PandaLM's votes: 1 for the first response, 0 for the second, a half for a tie."""
    votes = items(row, "votes")
    if any(isinstance(v, bool) or v not in (0, 1, 2) for v in votes):
        raise RowError(f"'votes' must be 0 (a tie), 1 or 2 each, not {shown(votes)}", "bad 'votes'")
    return [{0: 0.5, 1: 1.0, 2: 0.0}[v] for v in votes]


_TULU_PREFERENCES = {
    "a-is-better": (1.0, 2.0),
    "a-is-slightly-better": (1.0, 1.0),
    "tie": (0.5, 0.0),
    "b-is-slightly-better": (0.0, 1.0),
    "b-is-better": (0.0, 2.0),
}


def tulu(row: Row) -> Comparison:
    """Tülu's human evaluation: five points from ``a-is-better`` to ``b-is-better``.

    The margin is 2, or 1 where the one is slightly better; ``evaluator`` is the annotator.
    """
    sides = _answer(row, "completion_a"), _answer(row, "completion_b")
    probability, strength = tulu_preference(row)
    fields = labels(row) | {"id": name(row, "instance_id"), "annotator": name(row, "evaluator")}
    return _two(row, prompt(row), sides, probability, strength, fields)


def tulu_preference(row: Row) -> tuple[float, float]:
    """1 where a Tülu row prefers the first, 0 the second, a half for a tie; and how clearly."""
    said = required(row, "preference")
    if said not in _TULU_PREFERENCES:
        raise RowError(
            f"'preference' must be one of {', '.join(_TULU_PREFERENCES)}, not {shown(said)}",
            "bad 'preference'",
        )
    return _TULU_PREFERENCES[said]


@dataclass(frozen=True)
class Rated:
    """One response with its rating, to be compared with its neighbours of the same prompt."""

    prompt: Messages
    response: Messages
    score: float
    ratings: Mapping[str, float]
    labels: Mapping[str, Any]


def helpsteer_rating(row: Row) -> Rated:
    """HelpSteer and HelpSteer2 attribute rows: one response with its five ratings."""
    return Rated(
        prompt=_helpsteer_prompt(row),
        response=_answer(row, "response"),
        score=_score(row, "helpfulness"),
        ratings={key: number(row, key, 0.0) for key in HELPSTEER if row.get(key) is not None},
        labels=labels(row),
    )


def compare_rated(rated: Sequence[Rated]) -> Comparison:
    """Two or more rated responses to one prompt, ranked by rating; one alone has its rating."""
    first = rated[0]
    responses, ratings = tuple(r.response for r in rated), tuple(r.ratings for r in rated)
    if len(rated) == 1:
        return Comparison(first.prompt, responses, (), ratings=ratings, **first.labels)
    return from_scores(
        first.prompt, responses, [r.score for r in rated], ratings=ratings, **first.labels
    )


def labelled(row: Row) -> Comparison:
    """TRL's unpaired rows, as for KTO: one completion with a label, true for a good one."""
    required(row, "label")
    rating = {LABEL: float(flag(row, "label"))}
    answer = _answer(row, "completion")
    return Comparison(prompt(row), (answer,), (), ratings=(rating,), **labels(row))


def _annotations(completion: Mapping[str, Any]) -> dict[str, float]:
    """UltraFeedback's ratings by aspect, written as text; what is no number was not rated."""
    found = completion.get("annotations")
    ratings = {}
    for label, aspect in found.items() if isinstance(found, Mapping) else ():
        value = str(aspect.get("Rating") if isinstance(aspect, Mapping) else aspect)
        if re.fullmatch(r"\d+(\.\d+)?", value):
            ratings[str(label)] = float(value)
    return ratings


def _signed(
    row: Row, asked: Messages, sides: tuple[Messages, Messages], key: str, fields: dict[str, Any]
) -> Comparison:
    required(row, key)
    strength = number(row, key, 0.0, low=-3.0, high=3.0)
    probability = 0.5 if strength == 0 else float(strength < 0)
    return _two(row, asked, sides, probability, abs(strength), fields)


def _two(
    row: Row,
    asked: Messages,
    sides: tuple[Messages, Messages],
    probability: float,
    margin: float,
    fields: dict[str, Any],
) -> Comparison:
    if sides[0] == sides[1]:
        raise RowError(
            "the two responses are the same; every pair needs two different ones",
            IDENTICAL,
        )
    preference = preferred(0, 1, probability, margin, number(row, "weight", 1.0, low=0.0))
    return Comparison(prompt=asked, responses=sides, preferences=(preference,), **fields)


def _answer(row: Row, key: str) -> Messages:
    return response(turns(required(row, key), key, "assistant"), key)


def _score(row: Row, key: str) -> float:
    required(row, key)
    return number(row, key, 0.0)


def _helpsteer_prompt(row: Row) -> Messages:
    r"""The prompt's turns, joined as ``first\n<extra_id_1>Assistant\nreply\n<extra_id_1>User…``."""
    value = text(required(row, "prompt"), "prompt")
    first, *later = value.split(_HELPSTEER_TURN)
    messages = [{"role": "user", "content": first.strip() if later else first}]
    for turn in later:
        role, _, content = turn.partition("\n")
        messages.append({"role": role.strip().lower(), "content": content.strip()})
    return turns(messages, "prompt", "user")
