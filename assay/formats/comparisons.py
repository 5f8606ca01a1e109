"""Comparisons of K responses: from scores, from judgments, and as Assay writes them itself.

An Assay comparison has ``prompt``, ``responses`` and either ``judgments`` (what annotators said)
or ``preferences`` (what became of it; ``to_row`` writes these, and reading gives the same back).
It may have ``ratings``, one object a response.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from assay.formats.fields import (
    IDENTICAL,
    Row,
    RowError,
    items,
    labels,
    name,
    number,
    prompt,
    required,
    response,
    shown,
    turns,
)
from assay.formats.pairs import preferred
from assay.types import Comparison, Messages, Preference, Ratings

Ranking = tuple[tuple[int, ...], ...]
Pair = tuple[int, int]


@dataclass(frozen=True)
class Verdict:
    """One judgment of two responses: 1 the first is better, 0 the second, 0.5 a tie."""

    share: float
    strength: float | None = None


def assay_comparison(row: Row) -> Comparison:
    """A row with ``prompt``, ``responses`` and ``judgments`` or ``preferences``."""
    if row.get("preferences") is not None:
        return _from_preferences(row, *_sides(row, least=1 if row.get("ratings") else 2))
    asked, responses = _sides(row)
    judgments = judgments_of(row)
    annotators = {name(judgment, "annotator") for judgment in judgments}
    only = annotators.pop() if len(annotators) == 1 else None
    return _from_judgments(row, asked, responses, judgments, name(row, "annotator") or only)


def judgments_apart(row: Row) -> list[Comparison]:
    """The same row as one comparison a judgment, each with its own annotator."""
    asked, responses = _sides(row)
    row_annotator = name(row, "annotator")
    return [
        _from_judgments(row, asked, responses, [judged], name(judged, "annotator") or row_annotator)
        for judged in judgments_of(row)
    ]


def responses_of(row: Row, least: int = 2) -> tuple[Messages, ...]:
    """The responses of an Assay comparison: so many at least."""
    found = enumerate(items(row, "responses", least=least))
    return tuple(_response(item, at) for at, item in found)


def provenance_of(row: Row) -> tuple[Mapping[str, Any], ...] | None:
    """Who wrote each response, and how, as the row's objects have it; None where none says."""
    found = []
    for item in items(row, "responses"):
        said = item.get("provenance") if isinstance(item, Mapping) else None
        # a Parquet column has the fields of every row's
        own = said.items() if isinstance(said, Mapping) else ()
        found.append({key: value for key, value in own if value is not None})
    return tuple(found) if any(found) else None


def response_rows(comparison: Comparison) -> list[dict[str, Any]]:
    """The responses of a comparison as rows have them, each with its provenance if it has any."""
    said = comparison.provenance or ({},) * len(comparison.responses)
    return [
        {"messages": [m.to_dict() for m in response]} | ({"provenance": dict(of)} if of else {})
        for response, of in zip(comparison.responses, said, strict=True)
    ]


def to_row(comparison: Comparison) -> dict[str, Any]:
    """The row Assay writes for a comparison, lossless: ``assay_comparison`` reads it back."""
    row: dict[str, Any] = {
        "id": comparison.id,
        "subset": comparison.subset,
        "annotator": comparison.annotator,
        "prompt": [m.to_dict() for m in comparison.prompt],
        "responses": response_rows(comparison),
        "preferences": [
            {
                "chosen": p.chosen,
                "rejected": p.rejected,
                "probability": p.probability,
                "margin": p.margin,
                "weight": p.weight,
            }
            for p in comparison.preferences
        ],
        "ranking": comparison.ranking and [list(group) for group in comparison.ranking],
        "first_shown": comparison.first_shown,
        "ratings": comparison.ratings and [dict(rated) for rated in comparison.ratings],
        "tools": comparison.tools and [dict(tool) for tool in comparison.tools],
    }
    return {key: value for key, value in row.items() if value is not None}


def from_scores(
    asked: Messages, responses: Sequence[Messages], scores: Sequence[float], **fields: Any
) -> Comparison:
    """A ranking by score, equal scores a tie; a margin is the difference of two scores."""
    order = sorted(set(scores), reverse=True)
    ranking = tuple(tuple(i for i, s in enumerate(scores) if s == score) for score in order)
    verdicts = {
        (i, j): [
            Verdict(
                0.5 + 0.5 * ((scores[i] > scores[j]) - (scores[i] < scores[j])),
                abs(scores[i] - scores[j]),
            )
        ]
        for i, j in combinations(range(len(scores)), 2)
    }
    return _compared(asked, tuple(responses), verdicts, 1.0, ranking, fields)


def identical_pairs(comparison: Comparison) -> int:
    """How many pairs of responses are the same: a preference between them means nothing."""
    return sum(a == b for a, b in combinations(comparison.responses, 2))


def _compared(
    asked: Messages,
    responses: tuple[Messages, ...],
    verdicts: Mapping[Pair, Sequence[Verdict]],
    weight: float,
    ranking: Ranking | None,
    fields: Mapping[str, Any],
) -> Comparison:
    preferences = tuple(
        _soft(i, j, given, weight)
        for (i, j), given in sorted(verdicts.items())
        if responses[i] != responses[j]
    )
    if not preferences:
        raise RowError(
            "the compared responses are the same; every comparison needs two different ones",
            IDENTICAL,
        )
    return Comparison(
        prompt=asked, responses=responses, preferences=preferences, ranking=ranking, **fields
    )


def _soft(i: int, j: int, verdicts: Sequence[Verdict], weight: float) -> Preference:
    probability = sum(v.share for v in verdicts) / len(verdicts)
    signed = [(2 * v.share - 1) * v.strength for v in verdicts if v.strength is not None]
    mean = sum(signed) / len(signed) if signed else 0.0
    # towards the side that won the vote; a minority's louder strengths ask for no distance
    margin = max(0.0, mean if probability >= 0.5 else -mean)
    return preferred(i, j, probability, margin if probability != 0.5 else 0.0, weight)


def _sides(row: Row, least: int = 2) -> tuple[Messages, tuple[Messages, ...]]:
    asked = prompt(row)
    given = enumerate(items(row, "responses", least=least))
    return asked, tuple(_response(item, at) for at, item in given)


def _response(item: object, at: int) -> Messages:
    key = f"responses[{at}]"
    if isinstance(item, Mapping):
        item = item.get("messages") or required({key: item.get("text")}, key)
    return response(turns(item, key, "assistant"), key)


def _from_preferences(row: Row, asked: Messages, responses: tuple[Messages, ...]) -> Comparison:
    preferences = []
    ratings = _ratings(row, len(responses))
    for item in items(row, "preferences", least=0 if ratings else 1):
        if not isinstance(item, Mapping):
            raise RowError(f"'preferences' must hold objects, not {shown(item)}", "wrong type")
        sides = [
            _index(item.get(side), len(responses), f"preferences: {side}")
            for side in ("chosen", "rejected")
        ]
        if responses[sides[0]] == responses[sides[1]]:
            raise RowError("'preferences' compares a response with itself", IDENTICAL)
        probability = number(item, "probability", 1.0, low=0.0, high=1.0)
        weight = number(item, "weight", 1.0, low=0.0)
        preferences.append(
            preferred(sides[0], sides[1], probability, number(item, "margin", 0.0), weight)
        )
    ranking = (
        None if row.get("ranking") is None else _ranking(items(row, "ranking"), len(responses))
    )
    return Comparison(
        prompt=asked,
        responses=responses,
        preferences=tuple(preferences),
        ranking=ranking,
        first_shown=_first_shown(row, len(responses)),
        ratings=ratings,
        provenance=provenance_of(row),
        **labels(row),
    )


def _ratings(row: Row, count: int) -> Ratings | None:
    if row.get("ratings") is None:
        return None
    given = items(row, "ratings")
    if len(given) != count or not all(isinstance(rated, Mapping) for rated in given):
        raise RowError(
            f"'ratings' must hold one object for each of {count} responses, not {shown(given)}",
            "wrong type",
        )
    return tuple(
        {key: number(rated, key, 0.0) for key, value in rated.items() if value is not None}
        for rated in given
    )


def _first_shown(row: Row, count: int) -> int | None:
    value = row.get("first_shown")
    return None if value is None else _index(value, count, "first_shown")


def _from_judgments(
    row: Row,
    asked: Messages,
    responses: tuple[Messages, ...],
    judgments: Sequence[Mapping[str, Any]],
    annotator: str | None,
) -> Comparison:
    verdicts: dict[Pair, list[Verdict]] = {}
    for judgment in judgments:
        for pair, verdict in verdicts_of(judgment, len(responses)).items():
            verdicts.setdefault(pair, []).append(verdict)
    fields = labels(row)
    fields["annotator"] = annotator
    fields["ratings"] = _ratings(row, len(responses))
    fields["provenance"] = provenance_of(row)
    if len(judgments) == 1:
        fields["first_shown"] = _first_shown(judgments[0], len(responses))
    weight = number(row, "weight", 1.0, low=0.0)
    is_ranking = len(judgments) == 1 and judgments[0].get("ranking") is not None
    ranking = _judged(judgments[0], len(responses)) if is_ranking else None
    return _compared(asked, responses, verdicts, weight, ranking, fields)


def judgments_of(row: Row) -> list[Mapping[str, Any]]:
    """The judgments of an Assay comparison that count: neither withdrawn nor surplus."""
    judgments = items(row, "judgments")
    for judgment in judgments:
        if not isinstance(judgment, Mapping):
            raise RowError(f"'judgments' must hold objects, not {shown(judgment)}", "wrong type")
    counted = [j for j in judgments if not j.get("withdrawn") and not j.get("surplus")]
    if not counted:
        raise RowError("every one of the 'judgments' is withdrawn or surplus", "no judgment counts")
    return counted


def verdicts_of(judgment: Mapping[str, Any], count: int) -> dict[Pair, Verdict]:
    """What a judgment of so many responses says of every two that it compares, lower index first.

    A choice says nothing of the responses it passed over; a ranking may leave some out.
    """
    ranking = _judged(judgment, count)
    has_strength = judgment.get("strength") is not None
    strength = number(judgment, "strength", 0.0, low=0.0) if has_strength else None
    tie = Verdict(0.5, 0.0 if has_strength else None)
    are_tied = judgment.get("ranking") is not None or len(ranking) == 1
    place = {i: rank for rank, group in enumerate(ranking) for i in group}
    verdicts = {}
    for i, j in combinations(sorted(place), 2):
        if place[i] != place[j]:
            verdicts[i, j] = Verdict(float(place[i] < place[j]), strength)
        elif are_tied:
            verdicts[i, j] = tie
    return verdicts


def _judged(judgment: Mapping[str, Any], count: int) -> Ranking:
    """A judgment as groups, best first; a choice is the chosen one before all others."""
    if judgment.get("ranking") is not None:
        return _ranking(items(judgment, "ranking"), count)
    if "choice" not in judgment:
        raise RowError("a judgment has neither 'ranking' nor 'choice'", "missing 'ranking'")
    if judgment["choice"] is None:
        return (tuple(range(count)),)
    chosen = _index(judgment["choice"], count, "choice")
    return ((chosen,), tuple(i for i in range(count) if i != chosen))


def _ranking(groups: Sequence[Any], count: int) -> Ranking:
    ranking = tuple(
        tuple(
            _index(i, count, "ranking")
            for i in (group if isinstance(group, list | tuple) else [group])
        )
        for group in groups
    )
    flat = [i for group in ranking for i in group]
    if len(set(flat)) != len(flat) or len(flat) < 2 or not all(ranking):
        raise RowError(
            f"'ranking' must name two or more responses once each, not {shown(groups)}",
            "bad ranking",
        )
    return ranking


def _index(value: object, count: int, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
        raise RowError(
            f"'{key}' must be the index of a response, 0 to {count - 1}, not {shown(value)}",
            "bad index",
        )
    return value
