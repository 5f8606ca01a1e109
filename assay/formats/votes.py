"""Files of votes, and every preference file as one: the individual judgments of each row.

Lenient where a loading for training is strict: a vote on an empty response is a vote, and
``unusable`` says that no pair comes of it. Knows nothing of what judgments are counted for.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from assay.formats.comparisons import (
    Verdict,
    assay_comparison,
    judgments_of,
    responses_of,
    verdicts_of,
)
from assay.formats.fields import Row, RowError, items, name, prompt, required, shown
from assay.formats.judged import JudgedComparison, Judgment, Rating, from_comparison
from assay.formats.ratings import Rated, pandalm, tulu, tulu_preference, vote_shares
from assay.formats.rows import SHAPES, Shape
from assay.types import Comparison, Message, Messages

LISTED = (0, 1)
"""The order of two responses that a file lists as the first and the second."""

_WINNERS = {"model_a": 1.0, "model_b": 0.0, "tie": 0.5, "tie (inconsistent)": 0.5}


def assay_votes(row: Row) -> JudgedComparison:
    """An Assay comparison's judgments.

    ``display_order`` of a judgment lists the indexes of the responses as they were shown; without
    it the order of ``responses`` is taken. Judgments without an annotator are told apart by place.
    """
    assay_comparison(row)  # raises what is wrong with the row
    asked, responses = prompt(row), responses_of(row)
    count = len(responses)
    given = judgments_of(row)
    judgments = [
        Judgment(
            {
                (i, j): verdict
                for (i, j), verdict in verdicts_of(judgment, count).items()
                if responses[i] != responses[j]
            },
            name(judgment, "annotator") or (_numbered(at) if len(given) > 1 else None),
            _display_order(judgment, count),
            order_is_recorded=judgment.get("display_order") is not None,
        )
        for at, judgment in enumerate(given, start=1)
    ]
    return JudgedComparison(asked, responses, tuple(judgments), id=name(row, "id"))


def pandalm_votes(row: Row) -> JudgedComparison:
    """PandaLM: one vote a place, 1 or 2 for the better response, 0 for a tie.

    The n-th votes of all rows are taken to be one annotator's, and ``id`` names the comparison.
    """
    judgments = [
        Judgment({LISTED: Verdict(share)}, _numbered(place), LISTED)
        for place, share in enumerate(vote_shares(row), start=1)
    ]
    return JudgedComparison(
        _instruction(row),
        (_said(row, "response_1"), _said(row, "response_2")),
        tuple(judgments),
        id=name(row, "id") or name(row, "idx"),
        unusable=_why_unusable(pandalm, row),
    )


def tulu_votes(row: Row) -> JudgedComparison:
    """Tülu's human evaluation: a five-point preference and whether each answer is acceptable.

    ``instance_id`` and the two models name the comparison, in whichever order it was shown.
    """
    share, strength = tulu_preference(row)
    evaluator = name(row, "evaluator")
    ratings = [
        Rating(place, "acceptable", str(row[key]), evaluator)
        for place, key in enumerate(("a_acceptable", "b_acceptable"))
        if row.get(key) is not None
    ]
    models = tuple(name(row, key) or "" for key in ("model_a", "model_b"))
    is_named = all(models) and models[0] != models[1]
    return JudgedComparison(
        _as_prompt(row.get("prompt")),
        (_said(row, "completion_a"), _said(row, "completion_b")),
        (Judgment({LISTED: Verdict(share, strength)}, evaluator, LISTED),),
        tuple(ratings),
        id=name(row, "instance_id") if is_named else None,
        names=models if is_named else (),
        unusable=_why_unusable(tulu, row),
    )


def mtbench_votes(row: Row) -> JudgedComparison:
    """MT-Bench: which of two models' answers to a question's turn a judge preferred; no texts.

    ``tie (inconsistent)`` is a tie that stands for two orders which disagreed. The two turns of a
    question are comparisons of their own in one cluster.
    """
    winner = required(row, "winner")
    if winner not in _WINNERS:
        raise RowError(
            f"'winner' must be {', '.join(map(repr, _WINNERS))}, not {shown(winner)}",
            "bad 'winner'",
        )
    models = tuple(str(required(row, key)) for key in ("model_a", "model_b"))
    if models[0] == models[1]:
        raise RowError(f"'model_a' and 'model_b' are both {models[0]!r}", "identical responses")
    question, turn = name(row, "question_id"), name(row, "turn")
    judgment = Judgment(
        {LISTED: Verdict(_WINNERS[winner])},
        name(row, "judge"),
        LISTED,
        inconsistent=winner == "tie (inconsistent)",
    )
    return JudgedComparison(
        None,
        (),
        (judgment,),
        id=f"question {question}" + (f", turn {turn}" if turn else ""),
        cluster=f"question {question}",
        names=models,
    )


def _from(
    parse: Callable[[Row], Comparison | JudgedComparison | Rated], order: tuple[int, ...] | None
) -> Callable[[Row], JudgedComparison | Rated]:
    def parsed(row: Row) -> JudgedComparison | Rated:
        found = parse(row)
        # rated responses are first joined with their neighbours
        return from_comparison(found, order) if isinstance(found, Comparison) else found

    return parsed


_OWN: dict[str, Callable[[Row], JudgedComparison]] = {
    "PandaLM": pandalm_votes,
    "Tülu evaluation": tulu_votes,
}
_LISTED = ("HelpSteer2 preference", "HelpSteer3 preference")


def _voted(shape: Shape) -> Shape:
    if "judgments" in shape.keys:
        return replace(shape, parse=assay_votes)
    order = LISTED if shape.name in _LISTED else None
    return replace(shape, parse=_OWN.get(shape.name) or _from(shape.parse, order))


VOTE_SHAPES = (
    *map(_voted, SHAPES),
    Shape(
        "MT-Bench votes", ("judge", "model_a", "model_b", "question_id", "winner"), mtbench_votes
    ),
)
"""Every preference format, read as judgments, and those that hold nothing else."""


def _numbered(place: int) -> str:
    return f"#{place}"


def _display_order(judgment: Row, count: int) -> tuple[int, ...]:
    if judgment.get("display_order") is None:
        return tuple(range(count))
    order = tuple(items(judgment, "display_order"))
    is_index = all(isinstance(i, int) and not isinstance(i, bool) for i in order)
    if not is_index or len(set(order)) != len(order) or not set(order) <= set(range(count)):
        raise RowError(
            f"'display_order' must list indexes of responses, 0 to {count - 1}, once each, "
            f"not {shown(judgment['display_order'])}",
            "bad 'display_order'",
        )
    return order


def _why_unusable(parse: Callable[[Row], Any], row: Row) -> str | None:
    try:
        parse(row)
    except RowError as error:
        return error.reason
    return None


def _instruction(row: Row) -> Messages:
    parts = [_text(row.get(key)) for key in ("instruction", "input")]
    return (Message("user", "\n\n".join(part for part in parts if part)),)


def _as_prompt(value: object) -> Messages:
    return (Message("user", _text(value)),)


def _said(row: Row, key: str) -> Messages:
    return (Message("assistant", _text(row.get(key))),)


def _text(value: object) -> str:
    """A text as it is, nothing for null, and anything else as JSON spells it."""
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
