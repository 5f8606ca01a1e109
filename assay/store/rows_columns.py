"""Arena votes, and any row with two or more columns of responses."""

from __future__ import annotations

import re

from assay.formats.fields import Row, RowError, prompt, required, response, shown, text, turns
from assay.formats.pairs import implicit_conversations
from assay.formats.prompts import KEYS as PROMPT_KEYS
from assay.store.presets import VERSION
from assay.store.records import NewJudgment, NewResponse
from assay.store.rows_parts import (
    Parsed,
    annotator_in,
    beside,
    comparison,
    graded,
    models_in,
    pair_answer,
    time_ms,
    tools_in,
)
from assay.types import Message, Messages

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
            tools=tools_in(row),
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
            found = models_in(row, *keys)
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
