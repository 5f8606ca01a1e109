"""From a row of any format to comparisons for the store: its responses, what was judged, the rest.

The readers for training give a preference; these keep who judged, in which order, when, how clearly
and why, and the models of the responses. Fields that say nothing to us go to ``extra``.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from assay.formats import rows as training
from assay.formats.fields import (
    IDENTICAL,
    Row,
    RowError,
    is_transcript,
    name,
    number,
    prompt,
    required,
    response,
    shown,
    text,
    turns,
)
from assay.formats.fields import labels as common_fields
from assay.formats.pairs import explicit_pair, implicit_conversations, implicit_texts
from assay.formats.prompts import KEYS as PROMPT_KEYS
from assay.formats.ratings import HELPSTEER, compare_rated, helpsteer_rating, vote_shares
from assay.formats.solutions import solution_shapes
from assay.formats.steps import join_steps
from assay.store.presets import PRESETS, VERSION
from assay.store.records import Kind, NewComparison, NewJudgment, NewResponse
from assay.types import Comparison, Message, Messages, Solution

MOST_RESPONSES = 26
MOST_NAME = 80


@dataclass(frozen=True, slots=True)
class Part:
    """A row that is one of several to a comparison: neighbours of the same key are joined."""

    key: Hashable
    row: Row
    join: Callable[[Sequence[Row]], NewComparison]
    once: Hashable = None
    """What one row of a comparison has, such as its annotator: a second begins another one."""


Parsed = Sequence[NewComparison | Part]


# --- small things ---------------------------------------------------------------------------------


def beside(row: Row, *used: Iterable[str] | str) -> dict[str, Any]:
    """The fields of a row that no reader took, without empty ones."""
    taken: set[str] = set()
    for keys in used:
        taken |= {keys} if isinstance(keys, str) else set(keys)
    return {str(k): v for k, v in row.items() if k not in taken and v is not None}


def said_by(messages: str) -> Messages:
    """A text as a response."""
    return (Message("assistant", messages),)


def time_ms(value: object) -> int | None:
    """Milliseconds since 1970 from ISO 8601, seconds or milliseconds; None where it is no time."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    if isinstance(value, str):
        try:
            return time_ms(datetime.fromisoformat(value.strip()))
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    found = value if abs(value) > 1e11 else value * 1000
    return round(found) if 0 <= found < 4e13 else None


def annotator_in(row: Row, *keys: str) -> str | None:
    """Who judged, by the first of these fields that says it."""
    for key in keys or ("annotator",):
        said = name(row, key)
        if said is None or not said.strip():
            continue
        said = said.strip()
        if len(said) > MOST_NAME or not said.isprintable():
            raise RowError(
                f"'{key}' must be a name of at most {MOST_NAME} printable characters, not "
                f"{shown(said)}",
                "bad annotator",
            )
        return said
    return None


def pair_answer(choice: int | None, strength: float, **more: Any) -> dict[str, Any]:
    """An answer to a pair that names responses by number."""
    clear = 0.0 if choice is None else float(strength)
    return {"kind": "pair", "choice": choice, "strength": clear, **more}


def graded(choice: int | None, strength: float, first: int, preset: str) -> dict[str, Any]:
    """An answer on a scale, with the point that was picked where the scale has it.

    Args:
        first: The response shown first.
    """
    side = 0 if choice is None else -1 if choice == first else 1
    points = PRESETS[preset].points
    found = next((p for p in points if p.side == side and abs(p.strength - strength) < 1e-9), None)
    if found is None:
        return pair_answer(choice, strength)
    return pair_answer(
        choice, strength, preset=preset, preset_version=VERSION, raw=found.id
    )  # fmt: skip


def by_share(share: float, strength: float | None = None) -> dict[str, Any]:
    """An answer from P(the first is better)."""
    choice = None if share == 0.5 else 0 if share > 0.5 else 1
    return pair_answer(choice, abs(2 * share - 1) if strength is None else strength)


def comparison(
    asked: Messages,
    responses: Sequence[NewResponse],
    judgments: Sequence[NewJudgment] = (),
    **fields: Any,
) -> NewComparison:
    """A pair or a ranking, by the number of responses."""
    kind: Kind = "pair" if len(responses) == 2 else "ranking"
    return NewComparison(
        asked, tuple(responses), kind=kind, judgments=tuple(judgments), **fields
    )  # fmt: skip


def _models(row: Row, *keys: str) -> list[str | None]:
    return [name(row, key) for key in keys]


def _tools(row: Row) -> Any:
    return common_fields(row)["tools"] if row.get("tools") else None


def _answered(
    parsed: Comparison, models: Sequence[str | None], judgments: Sequence[NewJudgment], extra: Any
) -> NewComparison:
    responses = [
        NewResponse(said, model=model) for said, model in zip(parsed.responses, models, strict=True)
    ]
    return comparison(parsed.prompt, responses, judgments, extra=extra, tools=parsed.tools)


# --- chosen and rejected --------------------------------------------------------------------------

_PAIR = ("prompt", "chosen", "rejected", "probability", "tie", "annotator", "first_shown", "tools",
         "chosen_model", "rejected_model")  # fmt: skip


def _chosen(parse: Callable[[Row], Comparison]) -> Callable[[Row], Parsed]:
    """TRL, HH, OpenRLHF, RewardBench: the response called better is number 0."""

    def parsed(row: Row) -> Parsed:
        found = parse(row)
        (preference,) = found.preferences
        used = set(_PAIR)
        strength: float | None = None
        if row.get("probability") is None and not row.get("tie") and row.get("margin") is not None:
            margin = number(row, "margin", 0.0)
            strength = margin if 0 <= margin <= 1 else None  # else of another scale
        if strength is not None or row.get("margin") == abs(2 * preference.probability - 1):
            used.add("margin")
        if strength is None:
            strength = abs(2 * preference.probability - 1)
        tied = preference.probability == 0.5
        judgment = NewJudgment(
            pair_answer(None if tied else preference.chosen, strength),
            annotator_in(row),
            shown=None if found.first_shown is None else (found.first_shown, 1 - found.first_shown),
        )
        models = _models(row, "chosen_model", "rejected_model")
        return [_answered(found, models, [judgment], beside(row, used))]

    return parsed


# --- ratings and votes of published sets ----------------------------------------------------------


def _signed(row: Row, key: str) -> tuple[int | None, float]:
    """A strength from -3 (the first much better) to 3."""
    value = number(row, key, 0.0, low=-3.0, high=3.0)
    return (None if value == 0 else 0 if value < 0 else 1), abs(value) / 3


def _helpsteer_pair(parse: Callable[[Row], Comparison], key: str) -> Callable[[Row], Parsed]:
    sides = ("response_1", "response_2") if key == "preference_strength" else (
        "response1", "response2")  # fmt: skip

    def parsed(row: Row) -> Parsed:
        found = parse(row)
        apart = row.get("individual_preference")
        judgments = []
        for place, said in enumerate(apart if isinstance(apart, list) else (), start=1):
            if not isinstance(said, Mapping) or said.get("score") is None:
                continue
            judgments.append(_helpsteer_judgment(said, "score", f"#{place}"))
        if not judgments:
            judgments = [_helpsteer_judgment(row, key, None)]
        used = {"prompt", "context", *sides, key, "individual_preference", "annotator", "tools",
                "model_1", "model_2", "preference_statement", "ratings", "dimensions", "strength",
                "acceptability"}  # fmt: skip
        return [_answered(found, _models(row, "model_1", "model_2"), judgments, beside(row, used))]

    return parsed


def _helpsteer_judgment(said: Row, key: str, unnamed: str | None) -> NewJudgment:
    choice, strength = _signed(said, key)
    answer = graded(choice, strength, 0, "helpsteer")
    exact = said.get("strength")
    if isinstance(exact, int | float) and not isinstance(exact, bool) and choice is not None:
        answer = pair_answer(choice, float(exact))
    reason = said.get("reasoning") or said.get("preference_statement")
    if isinstance(reason, str) and reason.strip():
        answer["rationale"] = reason
    dimensions = _rated_dimensions(said.get("ratings"))
    for label, value in (said.get("dimensions") or {}).items():
        if value is not None:
            side, how = _signed({label: value}, label)
            dimensions[label] = graded(side, how, 0, "helpsteer")
            for gone in ("kind", "preset", "preset_version"):
                dimensions[label].pop(gone, None)
    if dimensions:
        answer["dimensions"] = dimensions
    accepted = said.get("acceptability")
    if isinstance(accepted, list):
        answer["acceptability"] = {str(i): v for i, v in enumerate(accepted) if v is not None}
    order = _order(said.get("display_order"), 2)
    if "raw" in answer and order is not None:
        answer |= graded(choice, strength, order[0], "helpsteer")
    return NewJudgment(answer, annotator_in(said) or unnamed, shown=order)


def _rated_dimensions(ratings: object) -> dict[str, Any]:
    """One object of numbers a response, turned to one object of responses a dimension."""
    if not isinstance(ratings, Sequence) or isinstance(ratings, str):
        return {}
    found: dict[str, Any] = {}
    for i, rated in enumerate(ratings):
        for label, value in (rated or {}).items() if isinstance(rated, Mapping) else ():
            if isinstance(value, int | float) and not isinstance(value, bool):
                found.setdefault(str(label), {"ratings": {}})["ratings"][str(i)] = value
    return found


def _order(value: object, count: int) -> tuple[int, ...] | None:
    if value is None:
        return None
    wanted = {str(i) for i in range(count)}
    if isinstance(value, list | tuple) and len(value) == count and set(map(str, value)) == wanted:
        return tuple(int(i) for i in value)
    raise RowError(
        f"'display_order' must list the indexes of responses, 0 to {count - 1}, once each, not "
        f"{shown(value)}",
        "bad 'display_order'",
    )


def _helpsteer_rated(row: Row) -> Parsed:
    rated = helpsteer_rating(row)
    return [Part(("helpsteer", rated.prompt), row, _join_rated)]


def _join_rated(rows: Sequence[Row]) -> NewComparison:
    rated = [helpsteer_rating(row) for row in rows]
    if len(rated) < 2:
        raise RowError("the prompt has a single rated response", "single rated response")
    found = compare_rated(rated)
    answer = _ranked(found, [r.score for r in rated])
    dimensions = _rated_dimensions([r.ratings for r in rated])
    used = ("prompt", "response", *HELPSTEER, "annotator")
    return _answered(
        found,
        [name(row, "model") for row in rows],
        [NewJudgment({**answer, "dimensions": dimensions}, annotator_in(rows[0]))],
        {**beside(rows[0], used, "model")},
    )


def _ranked(found: Comparison, scores: Sequence[float]) -> dict[str, Any]:
    """An answer from scores: a choice of two, or groups."""
    if len(scores) == 2:
        share = 0.5 + 0.5 * ((scores[0] > scores[1]) - (scores[0] < scores[1]))
        return by_share(share)
    assert found.ranking is not None
    return {"kind": "ranking", "groups": [list(g) for g in found.ranking], "unranked": []}


def _ultrafeedback(row: Row) -> Parsed:
    parse = next(s.parse for s in training.SHAPES if s.name == "UltraFeedback")
    found = parse(row)
    assert isinstance(found, Comparison)
    completions = row["completions"]
    overall = all(c.get("overall_score") is not None for c in completions)
    key = "overall_score" if overall else "fine-grained_score"
    answer = _ranked(found, [float(c[key]) for c in completions])
    dimensions = _rated_dimensions(found.ratings)
    if dimensions:
        answer["dimensions"] = dimensions
    rationales = _aspects(completions)
    responses = [
        NewResponse(
            said,
            model=name(c, "model"),
            provenance=beside(c, "response", "model", "annotations")
            | ({"rationales": why} if why else {}),
        )
        for said, c, why in zip(found.responses, completions, rationales, strict=True)
    ]
    extra = beside(row, "instruction", "completions", "models", "annotator", "tools")
    if found.subset is not None and "subset" not in extra:
        extra["subset"] = found.subset  # what this format calls the source
        del extra["source"]
    judgment = NewJudgment(answer, annotator_in(row), source="model" if "principle" in
                           completions[0] or "custom_system_prompt" in completions[0]
                           else "imported")  # fmt: skip
    return [comparison(found.prompt, responses, [judgment], extra=extra)]


def _aspects(completions: Sequence[Row]) -> list[dict[str, str]]:
    """The annotator's reasons by aspect."""
    return [
        {
            str(label): str(said["Rationale"])
            for label, said in (c.get("annotations") or {}).items()
            if isinstance(said, Mapping) and said.get("Rationale")
        }
        for c in completions
    ]


def _pandalm(row: Row) -> Parsed:
    parse = next(s.parse for s in training.SHAPES if s.name == "PandaLM")
    found = parse(row)
    assert isinstance(found, Comparison)
    judgments = [
        NewJudgment(by_share(share), f"#{place}")
        for place, share in enumerate(vote_shares(row), start=1)
    ]
    used = ("instruction", "input", "response_1", "response_2", "votes", "tools")
    return [_answered(found, [None, None], judgments, beside(row, used))]


_TULU = {
    "a-is-better": (0, 1.0), "a-is-slightly-better": (0, 0.5), "tie": (None, 0.0),
    "b-is-slightly-better": (1, 0.5), "b-is-better": (1, 1.0),
}  # fmt: skip


def _tulu(row: Row) -> Parsed:
    parse = next(s.parse for s in training.SHAPES if s.name == "Tülu evaluation")
    found = parse(row)
    assert isinstance(found, Comparison)
    choice, strength = _TULU[row["preference"]]
    answer = pair_answer(choice, strength, raw=str(row["preference"]))
    accepted = {
        str(place): {"yes": "good", "no": "bad"}[row[key]]
        for place, key in enumerate(("a_acceptable", "b_acceptable"))
        if row.get(key) in ("yes", "no")
    }
    if accepted:
        answer["acceptability"] = accepted
    judgment = NewJudgment(
        answer, annotator_in(row, "evaluator", "annotator"), shown=(0, 1),
        submitted=time_ms(row.get("timestamp")),
    )  # fmt: skip
    used = ("prompt", "completion_a", "completion_b", "preference", "a_acceptable", "b_acceptable",
            "evaluator", "model_a", "model_b", "timestamp", "tools")  # fmt: skip
    return [_answered(found, _models(row, "model_a", "model_b"), [judgment], beside(row, used))]


# --- Arena votes, and any row with two or more columns of responses -------------------------------

_SIDES = {
    **dict.fromkeys(("a", "1", "first", "left", "model_a", "model_1", "response_a", "response_1",
                     "completion_a", "answer_a", "a>b", "a>>b"), 0),
    **dict.fromkeys(("b", "2", "second", "right", "model_b", "model_2", "response_b", "response_2",
                     "completion_b", "answer_b", "b>a", "b>>a"), 1),
    **dict.fromkeys(("tie", "neither", "equal", "same", "draw", "both", "a=b", "tie (bothbad)",
                     "bothbad", "both_bad", "both bad", "tie (inconsistent)"), None),
}  # fmt: skip
_BOTH_BAD = ("tie (bothbad)", "bothbad", "both_bad", "both bad")
UNKNOWN_MODEL = re.compile(r"unknown-[12]\Z")
_COLUMNS = re.compile(
    r"(?P<stem>response|completion|answer|output|generation|conversation)"
    r"[ _-]?(?P<at>[a-z]|\d{1,2})\Z",
    re.I,
)


def response_columns(row: Row) -> list[str]:
    """Columns that hold responses, in order: response_1, response_2, or completion_a, …."""
    found: dict[str, list[tuple[int, str]]] = {}
    for key in row:
        match = _COLUMNS.match(key) if isinstance(key, str) else None
        if match:
            at = match["at"].lower()
            found.setdefault(match["stem"].lower(), []).append(
                (int(at) if at.isdecimal() else ord(at) - 96, key)
            )
    best = max(found.values(), key=len, default=[])
    return [key for _, key in sorted(best)] if len(best) > 1 else []


def has_columns(row: Row) -> bool:
    """Whether a row has two or more columns of responses."""
    return bool(response_columns(row))


def winner_of(value: object, key: str) -> int | None:
    """The number of the better of two responses, None for a tie, from what files call them."""
    said = str(value).strip().lower()
    if said not in _SIDES:
        raise RowError(
            f"'{key}' is {shown(value)}; wanted which of two responses is better: model_a, "
            "model_b or tie (or 1, 2, A, B, left, right)",
            f"bad '{key}'",
        )
    return _SIDES[said]


def columns(row: Row) -> Parsed:
    """Arena votes with texts, and tables with a column for each response."""
    keys = response_columns(row)
    is_conversations = keys[0].lower().startswith("conversation")
    sides = [turns(required(row, key), key, "user" if is_conversations else "assistant")
             for key in keys]  # fmt: skip
    used: set[str] = {*keys, "tools"}
    if is_conversations:
        asked = implicit_conversations({"chosen": row[keys[0]], "rejected": row[keys[1]]}).prompt
        sides = [side[len(asked) :] for side in sides]
    else:
        asked = _asked(row, used)
    responses = [response(said, key) for said, key in zip(sides, keys, strict=True)]
    models = _column_models(row, len(keys), used)
    judgments = [] if len(keys) != 2 else _column_judgments(row, used)
    if is_conversations:
        used |= {"question_id", "turn"}
    extra = beside(row, used)
    if is_conversations and "id" not in extra and row.get("question_id") is not None:
        extra["id"] = str(row["question_id"])
    return [
        comparison(
            asked,
            [NewResponse(r, model=m) for r, m in zip(responses, models, strict=True)],
            judgments,
            extra=extra,
            tools=_tools(row),
        )
    ]


def _asked(row: Row, used: set[str]) -> Messages:
    key = next((k for k in PROMPT_KEYS if row.get(k) not in (None, "", [])), None)
    if key is None:
        raise RowError(
            f"the prompt is missing; it stands in one of {', '.join(map(repr, PROMPT_KEYS))}",
            "missing 'prompt'",
        )
    used.add(key)
    given = row[key]
    if isinstance(given, list) and given and all(isinstance(turn, str) for turn in given):
        given = "\n\n".join(given)  # the LMSYS sets list the user's turns
    if key == "instruction" and row.get("input"):
        used.add("input")
        return (Message("user", f"{text(given, key)}\n\n{text(row['input'], 'input')}"),)
    return prompt({key: given}, key)


def _column_models(row: Row, count: int, used: set[str]) -> list[str | None]:
    for keys in ([f"model_{chr(97 + i)}" for i in range(count)],
                 [f"model_{i + 1}" for i in range(count)]):  # fmt: skip
        if any(key in row for key in keys):
            used |= set(keys)
            found = _models(row, *keys)
            return [None if m and UNKNOWN_MODEL.match(m) else m for m in found]
    listed = row.get("models")
    if (
        isinstance(listed, list)
        and len(listed) == count
        and all(isinstance(m, str) for m in listed)
    ):
        used.add("models")
        return list(listed)
    return [None] * count


_WINNER_KEYS = ("winner", "choice", "preferred", "preference", "better", "chosen_side")


def _column_judgments(row: Row, used: set[str]) -> list[NewJudgment]:
    key = next((k for k in _WINNER_KEYS if row.get(k) not in (None, "")), None)
    flags = ("winner_model_a", "winner_model_b", "winner_tie")
    if key is None and any(row.get(k) for k in flags):
        said: object = ("model_a", "model_b", "tie")[[bool(row.get(k)) for k in flags].index(True)]
        used |= set(flags)
    elif key is None:
        return []
    else:
        said = row[key]
        used.add(key)
    choice = winner_of(said, key or "winner")
    exact = row.get("strength")
    strength = 1.0
    if isinstance(exact, int | float) and not isinstance(exact, bool) and 0 <= exact <= 1:
        strength = float(exact)
        used.add("strength")
    is_bad = str(said).strip().lower() in _BOTH_BAD
    if is_bad:
        answer = pair_answer(None, 0.0, preset="arena", preset_version=VERSION, raw="both-bad",
                             acceptability={"0": "bad", "1": "bad"})  # fmt: skip
    else:
        answer = graded(choice, strength if choice is not None else 0.0, 0, "arena")
    at = next((k for k in ("tstamp", "timestamp", "submitted", "created_at")
               if time_ms(row.get(k)) is not None), None)  # fmt: skip
    who = next((k for k in ("judge", "annotator", "judge_hash", "evaluator") if row.get(k)), None)
    used |= {k for k in (at, who) if k}
    return [
        NewJudgment(
            answer,
            annotator_in(row, who) if who else None,
            shown=(0, 1),
            submitted=time_ms(row[at]) if at else None,
        )
    ]


def votes_alone(row: Row) -> Parsed:
    """Votes without texts, which nobody can judge again."""
    raise RowError(
        "the row is a vote on two models without their responses; a comparison to judge needs "
        "their texts ('conversation_a' and 'conversation_b', or 'prompt' and 'response_a', …)",
        "no texts",
    )


# --- Assay's flat table ---------------------------------------------------------------------------


def is_flat(row: Row) -> bool:
    """Whether a row is one of Assay's own table: a judgment a row."""
    return row.get("kind") in ("pair", "ranking")


def flat(row: Row) -> Parsed:
    """A row of Assay's table; the judgments of a comparison stand in neighbouring rows."""
    about = ("id", "subset", "kind", "language", "prompt", "tools", "extra", *response_columns(row),
             *(key for key in row if str(key).startswith("model_")))  # fmt: skip
    key = json.dumps([(one, row.get(one)) for one in about], default=str)
    return [Part(("flat", key), row, _join_flat, once=row.get("annotator"))]


def _join_flat(rows: Sequence[Row]) -> NewComparison:
    first = rows[0]
    keys = response_columns(first)
    count = len(keys)
    responses = [
        NewResponse(
            response(turns(required(first, key), key, "assistant"), key),
            model=name(first, f"model_{i}"),
        )
        for i, key in enumerate(keys, start=1)
    ]
    judgments = [_flat_judgment(row, count) for row in rows if row.get("choice") is not None
                 or row.get("ranking") is not None]  # fmt: skip
    extra = first.get("extra")
    identity = {k: first[k] for k in ("id", "subset") if first.get(k) is not None}
    return NewComparison(
        prompt(first), tuple(responses), kind=first["kind"], judgments=tuple(judgments),
        extra=identity | (dict(extra) if isinstance(extra, Mapping) else {}), tools=_tools(first),
        language=name(first, "language"),
    )  # fmt: skip


def _flat_judgment(row: Row, count: int) -> NewJudgment:
    """Places in the table count from 1, as its columns do."""

    def places(key: str) -> Any:
        value = row.get(key)
        if isinstance(value, str):
            value = [part.split("=") for part in value.split(">")]
        return value

    def index(value: object, key: str) -> int:
        if str(value).strip().isdecimal() and 1 <= int(str(value)) <= count:
            return int(str(value)) - 1
        raise RowError(f"'{key}' must name a response, 1 to {count}, not {shown(value)}",
                       f"bad '{key}'")  # fmt: skip

    answer: dict[str, Any]
    if row["kind"] == "ranking":
        groups = [[index(i, "ranking") for i in group] for group in places("ranking")]
        answer = ranking_answer(groups, count)
    else:
        said = row.get("choice")
        choice = None if str(said).strip().lower() == "tie" else index(said, "choice")
        answer = pair_answer(choice, number(row, "strength", 1.0, low=0.0, high=1.0))
        if row.get("preset") in PRESETS:
            answer |= {"preset": row["preset"], "preset_version": VERSION}
        if row.get("raw") is not None:
            answer["raw"] = str(row["raw"])
    accepted = {
        str(i): row[f"acceptability_{i + 1}"]
        for i in range(count)
        if row.get(f"acceptability_{i + 1}")
    }
    if accepted:
        answer["acceptability"] = accepted
    dimensions = row.get("dimensions")
    if isinstance(dimensions, Mapping):
        answer["dimensions"] = dimensions_in(dimensions)
    if isinstance(row.get("reasons"), list):
        answer["reasons"] = list(row["reasons"])
    if row.get("rationale") is not None:
        answer["rationale"] = str(row["rationale"])
    order = row.get("display_order")
    return NewJudgment(
        answer,
        annotator_in(row),
        shown=None if order is None else
        _order([index(i, "display_order") for i in str(order).split()], count),
        submitted=time_ms(row.get("submitted")),
        active_ms=whole(row, "active_ms"),
    )  # fmt: skip


def whole(row: Row, key: str) -> int:
    """A whole number of at least 0, or 0."""
    return round(number(row, key, 0.0, low=0.0, high=2.0**31 - 1))


def ranking_answer(groups: Sequence[Sequence[int]], count: int) -> dict[str, Any]:
    """An answer to a ranking from groups of numbers, checked."""
    flat_ = [i for group in groups for i in group]
    strange = [i for i in flat_ if isinstance(i, bool) or not isinstance(i, int)
               or not 0 <= i < count]  # fmt: skip
    if strange or len(set(flat_)) < len(flat_) or len(flat_) < 2 or not all(groups):
        raise RowError(
            f"'ranking' must name two or more of {count} responses once each, not {shown(groups)}",
            "bad ranking",
        )
    return {
        "kind": "ranking",
        "groups": [list(group) for group in groups],
        "unranked": [i for i in range(count) if i not in flat_],
    }


def dimensions_in(value: Mapping[str, Any]) -> dict[str, Any]:
    """Dimensions as they are written, with ratings by response in place of lists."""
    found: dict[str, Any] = {}
    for label, said in value.items():
        if not isinstance(said, Mapping):
            continue
        kept = {k: v for k, v in said.items() if v is not None or k == "choice"}
        ratings = kept.get("ratings")
        if isinstance(ratings, list):
            kept["ratings"] = {str(i): v for i, v in enumerate(ratings) if v is not None}
        if "ratings" in kept:
            kept.pop("choice", None)  # a table of both kinds has every column
        found[str(label)] = kept
    return found


# --- labelled responses (KTO) ---------------------------------------------------------------------


def labelled(row: Row) -> Parsed:
    """TRL's unpaired rows: neighbours with one prompt are responses to compare."""
    if not isinstance(row.get("label"), bool):
        raise RowError(f"'label' must be true or false, not {shown(row.get('label'))}",
                       "wrong type")  # fmt: skip
    asked = prompt(row)
    said = response(turns(required(row, "completion"), "completion", "assistant"), "completion")
    key = ("kto", asked, name(row, "id"), name(row, "subset"))
    return [Part(key, row, _join_labelled, once=(said, annotator_in(row)))]


def _join_labelled(rows: Sequence[Row]) -> NewComparison:
    texts: dict[Messages, int] = {}
    labels: dict[str | None, dict[int, bool]] = {}
    models: dict[int, str | None] = {}
    for row in rows:
        said = response(turns(row["completion"], "completion", "assistant"), "completion")
        at = texts.setdefault(said, len(texts))
        labels.setdefault(annotator_in(row), {})[at] = row["label"]
        models.setdefault(at, name(row, "model"))
    if len(texts) < 2:
        raise RowError(
            "the prompt has a single labelled response, and a comparison has two or more",
            "single labelled response",
        )
    judgments = []
    alone: dict[str, dict[int, bool]] = {}  # labels that say of no two responses which is better
    for who, said_of in labels.items():
        if len(said_of) == len(texts) and len(set(said_of.values())) == 2:
            groups = [[i for i, good in sorted(said_of.items()) if good is wanted]
                      for wanted in (True, False)]  # fmt: skip
            answer = (
                pair_answer(groups[0][0], 1.0) if len(texts) == 2
                else ranking_answer(groups, len(texts))
            )  # fmt: skip
            answer["acceptability"] = {
                str(i): "good" if good else "bad" for i, good in said_of.items()
            }
            judgments.append(NewJudgment(answer, who))
        else:
            alone[who or ""] = said_of
    kept = [{who: said_of[i] for who, said_of in alone.items() if i in said_of}
            for i in range(len(texts))]  # fmt: skip
    responses = [
        NewResponse(said, model=models[i], provenance={"labels": kept[i]} if kept[i] else {})
        for said, i in texts.items()
    ]
    used = ("prompt", "completion", "label", "annotator", "model", "tools")
    return comparison(
        prompt(rows[0]), responses, judgments, extra=beside(rows[0], used), tools=_tools(rows[0])
    )


# --- solutions ------------------------------------------------------------------------------------

_FIRST_ERROR = ("ProcessBench", "BIG-Bench-Mistake", "StepVerify", "MR-GSM8K")
_SOLUTION_USED = ("prompt", "problem", "question", "input", "instruction", "modified_question",
                  "steps", "completions", "modified_process", "model_output_steps", "response",
                  "solutions", "labels", "first_error", "mistake_index", "error_steps", "annotator",
                  "model_output_solution_first_error_step")  # fmt: skip


def steps_response(steps: Sequence[Mapping[str, Any]], **fields: Any) -> NewResponse:
    """A solution as a response."""
    joined = join_steps([str(step["text"]) for step in steps])
    return NewResponse(said_by(joined), steps=tuple(steps), **fields)


def _solutions(shape: Any) -> Callable[[Row], Parsed]:
    def parsed(row: Row) -> Parsed:
        by_first = shape.name in _FIRST_ERROR or (
            row.get("first_error") is not None and row.get("labels") is None
        )
        return [_solution(row, found, by_first) for found in shape.parse(row)]

    return parsed


def _solution(row: Row, found: Solution, by_first: bool) -> NewComparison:
    judgments = []
    if any(label is not None for label in found.labels):
        answer: dict[str, Any] = {"kind": "steps", "mode": "per-step", "labels": list(found.labels)}
        if by_first:
            answer |= {"mode": "first-error", "first_error": found.first_error}
        judgments.append(NewJudgment(answer, annotator_in({"annotator": found.annotator})))
    used: tuple[str, ...] = _SOLUTION_USED
    if isinstance(row.get("label"), int | str) and not isinstance(row.get("label"), bool):
        used = (*used, "label")  # ProcessBench, Math-Shepherd
    extra = beside(row, used)
    known = {"id": found.id, "subset": found.subset, "answer": found.answer}
    extra |= {k: v for k, v in known.items() if v is not None}
    if found.correct is not None:
        extra["correct"] = found.correct
    response_ = steps_response([{"text": step} for step in found.steps])
    return NewComparison(
        found.prompt, (response_,), kind="steps", judgments=tuple(judgments), extra=extra
    )


def prm800k(row: Row) -> Parsed:
    """A raw record of PRM800K: candidates stay candidates, the accepted and written ones known."""
    parse = next(s.parse for s in solution_shapes() if s.name == "PRM800K")
    checked = {**row, "is_quality_control_question": False, "is_initial_screening_question": False}
    parse(checked)  # raises what is wrong with the row
    label, question = row["label"], row["question"]
    steps, answer, origin = prm_answer(label["steps"])
    origin |= {k: v for k, v in label.items() if k != "steps" and v is not None}
    judgment = NewJudgment(
        answer | ({"origin": origin} if origin else {}), annotator_in(row, "labeler"),
        submitted=time_ms(row.get("timestamp")),
        active_ms=min(whole(label, "total_time"), 2**31 - 1)
        if isinstance(label.get("total_time"), int | float) else 0,
    )  # fmt: skip
    extra = beside(row, "label", "question", "labeler", "timestamp")
    about = beside(question, "problem")
    has_label = any(x is not None for x in answer["labels"]) or any(
        x is not None for labels in answer.get("alternatives", ()) for x in labels
    )
    return [
        NewComparison(
            prompt({"prompt": question["problem"]}),
            (steps_response(steps),),
            kind="steps",
            judgments=(judgment,) if has_label or answer.get("written") else (),
            extra=extra | ({"question": about} if about else {}),
        )
    ]


def prm_answer(
    given: Sequence[Row],
) -> tuple[list[dict[str, Any]], dict[str, Any], dict[str, Any]]:
    """Steps with alternatives, the answer, and what has no place in an answer."""
    steps: list[dict[str, Any]] = []
    labels: list[int | None] = []
    others: list[list[int | None]] = []
    chosen: list[int | None] = []
    written: dict[str, str] = {}
    flags: list[list[Any]] = []
    unmade: list[int] = []
    for at, step in enumerate(given):
        candidates = list(step.get("completions") or ())
        human = step.get("human_completion")
        said = human.get("text") if isinstance(human, Mapping) else human
        if said is not None:
            written[str(at)] = str(said)
        if not candidates:
            unmade.append(at)
            candidates = [{"text": said, "rating": None}]
        texts = [str(c["text"]) for c in candidates]
        steps.append({"text": texts[0]} | ({"alternatives": texts[1:]} if texts[1:] else {}))
        labels.append(candidates[0].get("rating"))
        others.append([c.get("rating") for c in candidates[1:]])
        chosen.append(step.get("chosen_completion"))
        flags.append([c.get("flagged") for c in candidates])
    answer: dict[str, Any] = {
        "kind": "steps", "mode": "per-step", "labels": labels, "chosen": chosen
    }  # fmt: skip
    if any(others):
        answer["alternatives"] = others
    if written:
        answer["written"] = written
    if any(row and row[0] for row in flags):
        answer["flagged"] = [bool(row[0]) for row in flags]
    origin: dict[str, Any] = {}
    if any(flag for row in flags for flag in row[1:]):
        origin["flagged"] = flags
    if unmade:
        origin["unmade"] = unmade
    return steps, answer, origin


def prm800k_step(row: Row) -> Parsed:
    """One candidate a row: neighbours of one solution are joined to it."""
    text(required(row, "problem"), "problem")
    text(required(row, "step"), "step")
    if row.get("rating") is not None and row["rating"] not in (-1, 0, 1):
        raise RowError(f"'rating' is {shown(row['rating'])}; wanted 1, 0, -1 or null",
                       "bad 'rating'")  # fmt: skip
    return [Part(("prm", row["problem"]), row, _join_candidates)]


def continues(rows: Sequence[Row], row: Row) -> bool:
    """Whether a candidate belongs to the solution of the ones before it."""
    last, now = list(rows[-1].get("prefix") or ()), list(row.get("prefix") or ())
    if now == last:
        return True
    here = [r["step"] for r in rows if list(r.get("prefix") or ()) == last]
    return len(now) == len(last) + 1 and now[:-1] == last and now[-1] in here


def _join_candidates(rows: Sequence[Row]) -> NewComparison:
    start = list(rows[0].get("prefix") or ())
    given: list[dict[str, Any]] = [
        {"completions": [{"text": step, "rating": None}], "chosen_completion": 0} for step in start
    ]
    by_place: dict[int, list[Row]] = {}
    for row in rows:
        by_place.setdefault(len(row.get("prefix") or ()), []).append(row)
    for found in by_place.values():
        model = [r for r in found if not r.get("human_written")]
        human = next((r["step"] for r in found if r.get("human_written")), None)
        preferred = [i for i, r in enumerate(model) if r.get("preferred")]
        given.append({
            "completions": [{"text": r["step"], "rating": r.get("rating")} for r in model],
            "human_completion": human,
            "chosen_completion": preferred[0] if preferred else None,
        })  # fmt: skip
    steps, answer, origin = prm_answer(given)
    if len(start):
        origin["from_step"] = len(start)
    used = ("problem", "prefix", "step", "rating", "preferred", "human_written", "is_solution",
            "error_reason", "answer")  # fmt: skip
    extra = beside(rows[0], used)
    if any(r.get("is_solution") for r in rows):
        extra["correct"] = True
    answers = [r["answer"] for r in rows if r.get("answer") is not None]
    if answers:
        extra["answer"] = answers[-1]
    judgment = NewJudgment(answer | ({"origin": origin} if origin else {}))
    return NewComparison(
        prompt({"prompt": rows[0]["problem"]}), (steps_response(steps),), kind="steps",
        judgments=(judgment,), extra=extra,
    )  # fmt: skip


def checked(new: NewComparison) -> NewComparison:
    """The comparison, if the store can take it.

    Raises:
        RowError: If it cannot.
    """
    count = len(new.responses)
    if new.kind != "steps" and not 2 <= count <= MOST_RESPONSES:
        raise RowError(
            f"the row has {count} responses; a comparison has 2 to {MOST_RESPONSES}",
            "too few responses" if count < 2 else "too many responses",
        )
    if new.kind == "steps" and (count != 1 or not new.responses[0].steps):
        raise RowError("a solution is one response in steps", "no steps")
    if new.kind == "pair" and count != 2:
        raise RowError(f"a pair has two responses, and the row has {count}", "not a pair")
    if new.language is not None and len(new.language) > 35:
        raise RowError(
            f"'language' must be a tag such as 'de', not {shown(new.language)}", "bad 'language'"
        )
    if any(a.messages == b.messages for a, b in combinations(new.responses, 2)):
        raise RowError("two of the responses are the same; there is nothing to compare", IDENTICAL)
    standing = [j.annotator.lower() for j in new.judgments if j.annotator and not j.withdrawn]
    if len(set(standing)) < len(standing):
        who = next(one for one in standing if standing.count(one) > 1)
        raise RowError(
            f"the row has two judgments by {who!r}; an annotator judges a comparison once",
            "two judgments by one annotator",
        )
    return _storable(new)


def _storable(new: NewComparison) -> NewComparison:
    """The comparison with nothing in it that a database cannot hold."""
    sides = (new.prompt, *(r.messages for r in new.responses))
    loose = {
        "extra": new.extra, "tools": new.tools, "expected": new.expected,
        "answers": [j.answer for j in new.judgments],
        "provenance": [r.provenance for r in new.responses],
        "messages": [m.extra for side in sides for m in side if m.extra],
        "steps": [r.steps for r in new.responses if r.steps],
        "models": [r.model for r in new.responses if r.model],
    }  # fmt: skip
    try:
        said = json.dumps(loose, ensure_ascii=False, allow_nan=False, default=_plain)
        said.encode()
    except UnicodeEncodeError as error:
        raise RowError("a field holds half a character", "broken text") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"a field cannot be stored as JSON ({error})", "not JSON") from error
    if any("\x00" in m.content for side in sides for m in side) or (
        "\\u0000" in said and _has_zero(loose)
    ):
        raise RowError(
            "a text holds the zero character, which no database stores", "zero character"
        )
    made = json.loads(said)
    return replace(
        new,
        extra=made["extra"],
        tools=made["tools"],
        expected=made["expected"],
        judgments=tuple(
            replace(j, answer=_unsaid(a, j, len(new.responses)))
            for j, a in zip(new.judgments, made["answers"], strict=True)
        ),
        responses=tuple(
            replace(r, provenance=p) for r, p in zip(new.responses, made["provenance"], strict=True)
        ),
    )


def _unsaid(answer: dict[str, Any], judgment: NewJudgment, count: int) -> dict[str, Any]:
    """The answer, with a note of what the row did not say and the store must fill in."""
    unsaid: dict[str, Any] = {}
    if judgment.shown is None and count > 1:
        unsaid["unordered"] = True
    if judgment.submitted is None:
        unsaid["undated"] = True
    return {**answer, "origin": {**answer.get("origin", {}), **unsaid}} if unsaid else answer


def _has_zero(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_has_zero(k) or _has_zero(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(map(_has_zero, value))


def _plain(value: object) -> Any:
    """What Parquet has and JSON has not."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)


def is_hh(row: Row) -> bool:
    """Whether two transcripts are given without a prompt."""
    return "prompt" not in row and is_transcript(row["chosen"])


CHOSEN_READERS = {
    "prompt": _chosen(explicit_pair),
    "conversations": _chosen(implicit_conversations),
    "texts": _chosen(implicit_texts),
}
HELPSTEER2 = _helpsteer_pair(
    next(s.parse for s in training.SHAPES if s.name == "HelpSteer2 preference"),  # type: ignore[arg-type]
    "preference_strength",
)
HELPSTEER3 = _helpsteer_pair(
    next(s.parse for s in training.SHAPES if s.name == "HelpSteer3 preference"),  # type: ignore[arg-type]
    "overall_preference",
)
helpsteer_rated, ultrafeedback, pandalm, tulu, solutions = (
    _helpsteer_rated, _ultrafeedback, _pandalm, _tulu, _solutions,
)  # fmt: skip
