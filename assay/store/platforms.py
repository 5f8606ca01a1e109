"""Rows of Argilla and Label Studio, both ways.

Argilla: records as ``to_json`` writes them, of version 1 (responses by annotator) and of version 2
(responses by question). Label Studio: tasks with ``data`` and ``annotations``. Both leave the names
of fields and questions to the project, so what is a response is told by its name and kind.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from assay.formats.fields import Row, RowError, is_transcript, response, shown, turns
from assay.formats.prompts import KEYS as PROMPT_KEYS
from assay.formats.prompts import prompt_text
from assay.store import rows_columns, rows_parts
from assay.store.presets import PRESETS, VERSION
from assay.store.records import NewJudgment, NewResponse
from assay.store.rows_assay import answer_out, iso
from assay.store.whole import Said, Whole, Written
from assay.types import Messages

_PROMPT_NAMES = (*PROMPT_KEYS, "chat", "context", "conversation", "messages")
_RESPONSE_NAME = re.compile(
    r"(?:.*[ _-])?(?:response|completion|answer|output|generation|candidate|chosen|rejected|text|"
    r"dialog(?:ue)?)[ _-]?(?:[a-h]|\d{1,2}|left|right)?\Z",
    re.I,
)
_TIES = ("tie", "equal", "same", "neither", "none", "both")


def _fields(fields: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The field of the prompt, and those of the responses in order."""
    asked = next((key for key in _PROMPT_NAMES if fields.get(key)), None)
    if asked is None:
        raise RowError(
            f"no field is a prompt; one of {', '.join(map(repr, _PROMPT_NAMES[:4]))} … is wanted, "
            f"and the fields are {', '.join(map(repr, fields)) or 'none'}",
            "missing prompt",
        )
    sides = [
        k for k, v in fields.items()
        if k != asked and v and _RESPONSE_NAME.match(k) and not k.startswith(asked)
    ]  # fmt: skip
    if len(sides) < 2:
        raise RowError(
            f"{len(sides)} of the fields {', '.join(map(repr, fields))} are responses; name them "
            "response-1, response-2 …",
            "too few responses",
        )
    return asked, sides


def _responses(fields: Mapping[str, Any], sides: Sequence[str], models: Any) -> list[NewResponse]:
    known = (
        models if isinstance(models, list) and len(models) == len(sides) else [None] * len(sides)
    )
    return [
        NewResponse(
            response(turns(fields[key], key, "assistant"), key),
            model=model if isinstance(model, str) else None,
        )
        for key, model in zip(sides, known, strict=True)
    ]


def _which(value: object, sides: Sequence[str]) -> int | None:
    """The response that a value names: by its field, its number from 1, a letter, or a side."""
    said = str(value).strip().lower()
    named = [key.lower() for key in sides]
    if said in named:
        return named.index(said)
    if said in _TIES:
        return None
    if re.fullmatch(r"\d+", said) and 1 <= int(said) <= len(sides):
        return int(said) - 1
    if len(said) == 1 and 0 <= ord(said) - 97 < len(sides):
        return ord(said) - 97
    if len(sides) == 2:
        return rows_columns.winner_of(value, "preference")
    raise RowError(f"{shown(value)} names none of {', '.join(map(repr, sides))}", "bad preference")


def _answer(
    value: object, sides: Sequence[str], more: Mapping[str, Any], order: tuple[int, ...] | None
) -> dict[str, Any]:
    """An answer from a preference or a ranking, and what else was asked."""
    count = len(sides)
    if isinstance(value, list):
        places: dict[int, list[int]] = {}
        for at, item in enumerate(value):
            said = item.get("value") if isinstance(item, Mapping) else item
            rank = item.get("rank") if isinstance(item, Mapping) else None
            which = _which(said, sides)
            if which is not None:
                places.setdefault(at if rank is None else int(rank), []).append(which)
        answer = rows_parts.ranking_answer([places[rank] for rank in sorted(places)], count)
        if count == 2 and more.get("kind") != "ranking":
            groups = answer["groups"]
            answer = rows_parts.pair_answer(None if len(groups) == 1 else groups[0][0], 1.0)
    elif count == 2:
        choice = _which(value, sides)
        answer = rows_parts.pair_answer(choice, 1.0)
    else:
        best = _which(value, sides)
        rest = [i for i in range(count) if i != best]
        answer = rows_parts.ranking_answer([rest] if best is None else [[best], rest], count)
    if answer["kind"] == "pair":
        answer |= _scale(answer["choice"], more, order)
    if isinstance(more.get("rationale"), str) and more["rationale"].strip():
        answer["rationale"] = more["rationale"]
    if isinstance(more.get("reasons"), list) and more["reasons"]:
        answer["reasons"] = [str(reason) for reason in more["reasons"]]
    accepted = {str(i): more[f"acceptability-{i + 1}"] for i in range(count)
                if more.get(f"acceptability-{i + 1}") in ("good", "ok", "bad")}  # fmt: skip
    if accepted:
        answer["acceptability"] = accepted
    dimensions: dict[str, Any] = {}
    for key, rated in more.items():
        match = re.fullmatch(r"(.+)-(\d+)", key)
        if match and isinstance(rated, int) and 1 <= int(match[2]) <= count:
            dimensions.setdefault(match[1], {"ratings": {}})["ratings"][str(int(match[2]) - 1)] = (
                rated
            )
    if dimensions:
        answer["dimensions"] = dimensions
    return answer


def _scale(
    choice: int | None, more: Mapping[str, Any], order: tuple[int, ...] | None
) -> dict[str, Any]:
    """How clearly, where a question of ours says it: ``helpsteer:first-much``, or a number."""
    preset, _, raw = str(more.get("strength") or "").partition(":")
    point = PRESETS[preset].point(raw) if preset in PRESETS and raw else None
    if point is not None:
        return {"strength": point.strength, "preset": preset, "preset_version": VERSION,
                "raw": raw}  # fmt: skip
    try:
        strength = float(preset)
    except ValueError:
        return {}
    return {"strength": strength} if choice is not None and 0 <= strength <= 1 else {}


def _numbers(value: object, count: int) -> tuple[int, ...] | None:
    if value is None or value == "":
        return None
    listed = str(value).split() if isinstance(value, str) else value
    if not isinstance(listed, list):
        return None
    try:
        return rows_parts.order_in([int(i) for i in listed], count)
    except ValueError:
        return None


# --- Argilla --------------------------------------------------------------------------------------


def is_argilla(row: Row) -> bool:
    """Whether this is a record of Argilla."""
    return isinstance(row.get("fields"), Mapping) and (
        row.get("responses") is None or isinstance(row["responses"], Mapping | list)
    )


def argilla(row: Row) -> rows_parts.Parsed:
    """A record; questions are told by what their values are."""
    fields = {k: v for k, v in row["fields"].items() if v is not None}
    asked, sides = _fields(fields)
    metadata = dict(row.get("metadata") or {})
    responses = _responses(fields, sides, _split(metadata.pop("models", None)))
    judgments = []
    for who, values in _by_annotator(row).items():
        found = _argilla_judgment(who, values, sides)
        if found is not None:
            judgments.append(found)
    identity = row.get("external_id") or row.get("id")
    extra: dict[str, Any] = {"id": str(identity)} if identity is not None else {}
    if isinstance(metadata.get("subset"), str):
        extra["subset"] = metadata.pop("subset")
    rest = {k: v for k, v in fields.items() if k not in (asked, *sides)}
    extra |= {k: v for k, v in {"fields": rest, "metadata": metadata,
                                "suggestions": row.get("suggestions")}.items() if v}  # fmt: skip
    messages = turns(fields[asked], asked, "user")
    return [rows_parts.comparison(messages, responses, judgments, extra=extra)]


def _split(value: object) -> Any:
    return value.split(" | ") if isinstance(value, str) else value


def _by_annotator(row: Row) -> dict[str, dict[str, Any]]:
    """Each annotator's values by question; drafts and discarded answers are none."""
    found: dict[str, dict[str, Any]] = {}
    given = row.get("responses") or {}
    if isinstance(given, Mapping):
        for question, answers in given.items():
            for said in answers or ():
                if isinstance(said, Mapping) and said.get("status") in (None, "submitted"):
                    who = str(said.get("user_id") or "")
                    found.setdefault(who, {})[str(question)] = said.get("value")
        return found
    for at, said in enumerate(given):
        if isinstance(said, Mapping) and said.get("status") in (None, "submitted"):
            values = said.get("values") or {}
            found[str(said.get("user_id") or f"#{at + 1}")] = {
                str(q): v.get("value") if isinstance(v, Mapping) else v for q, v in values.items()
            }
    return found


_CHOICES = ("preference", "preferred", "choice", "better", "best", "ranking", "label")


def _argilla_judgment(
    who: str, values: Mapping[str, Any], sides: Sequence[str]
) -> NewJudgment | None:
    key = next((k for k in _CHOICES if values.get(k) is not None), None)
    if key is None:
        key = next((k for k, v in values.items() if isinstance(v, list) and v
                    and isinstance(v[0], Mapping) and "rank" in v[0]), None)  # fmt: skip
    if key is None:
        key = next((k for k, v in values.items()
                    if str(v).strip().lower() in [s.lower() for s in sides]), None)  # fmt: skip
    if key is None:
        return None
    more = {k: v for k, v in values.items() if k != key}
    if "rationale" not in more:
        said = next((v for k, v in more.items() if isinstance(v, str) and k not in ("strength",)
                     and not k.startswith("acceptability") and k not in
                     ("display-order", "submitted")), None)  # fmt: skip
        more["rationale"] = said
    if key == "ranking":
        more["kind"] = "ranking"
    order = _numbers(more.get("display-order"), len(sides))
    return NewJudgment(
        _answer(values[key], sides, more, order),
        rows_parts.annotator_in({"annotator": who or None}),
        shown=order,
        submitted=rows_parts.time_ms(more.get("submitted")),
    )


def argilla_out(whole: Whole, judgments: Sequence[Said]) -> dict[str, Any]:
    """A record of version 2, with a question for each part of an answer."""
    extra = dict(whole.extra)
    metadata = dict(extra.get("metadata") or {}) if isinstance(extra.get("metadata"), dict) else {}
    if any(said.model for said in whole.responses):
        metadata["models"] = [said.model for said in whole.responses]
    if extra.get("subset") is not None:
        metadata["subset"] = extra["subset"]
    answers: dict[str, list[dict[str, Any]]] = {}
    for said in judgments:
        for question, value in _questions(whole, said).items():
            answers.setdefault(question, []).append(
                {"value": value, "user_id": said.annotator, "status": "submitted"}
            )
    return {
        "id": str(extra.get("id") or whole.id),
        "fields": {"prompt": _turns(whole.prompt)} | {
            f"response-{i}": _one(said) for i, said in enumerate(whole.responses, start=1)
        },
        "metadata": metadata,
        "suggestions": {},
        "responses": answers,
        "status": "completed" if answers else "pending",
    }  # fmt: skip


def _turns(messages: Any) -> Any:
    return _as_text(messages, "user")


def _as_text(messages: Messages, role: str) -> Any:
    """A single message's text, where it would be read back as it is; else the messages."""
    if len(messages) == 1 and messages[0].role == role and not messages[0].extra:
        text = messages[0].content
        # text that looks like a list or a transcript would be taken for one
        if not (text.startswith(("[", "{")) or is_transcript(text)):
            return text
    return [m.to_dict() for m in messages]


def _one(said: Written) -> Any:
    return _as_text(said.messages, "assistant")


def _questions(whole: Whole, said: Said) -> dict[str, Any]:
    """An answer as values of questions."""
    answer = said.answer
    found: dict[str, Any] = {}
    if answer["kind"] == "ranking":
        found["ranking"] = [
            {"value": f"response-{i + 1}", "rank": rank}
            for rank, group in enumerate(answer["groups"], start=1)
            for i in group
        ]
    else:
        choice = answer["choice"]
        found["preference"] = "tie" if choice is None else f"response-{choice + 1}"
        known = answer.get("preset") in PRESETS and answer.get("raw") is not None
        if known:
            found["strength"] = f"{answer['preset']}:{answer['raw']}"
        elif answer["strength"] != float(choice is not None):
            found["strength"] = repr(float(answer["strength"]))
    row = answer_out(answer, len(whole.responses))
    for i, value in enumerate(row.get("acceptability") or (), start=1):
        if value is not None:
            found[f"acceptability-{i}"] = value
    for label, judged in (answer.get("dimensions") or {}).items():
        for i, value in (judged.get("ratings") or {}).items():
            if isinstance(value, int):
                found[f"{label}-{i + 1}"] = value
    if answer.get("reasons"):
        found["reasons"] = list(answer["reasons"])
    if answer.get("rationale"):
        found["rationale"] = answer["rationale"]
    if said.order is not None:
        found["display-order"] = " ".join(map(str, said.order))
    if said.submitted is not None:
        found["submitted"] = iso(said.submitted)
    return found


# --- Label Studio ---------------------------------------------------------------------------------


def is_label_studio(row: Row) -> bool:
    """Whether this is a task of Label Studio."""
    return isinstance(row.get("data"), Mapping) and (
        "annotations" in row or "predictions" in row or "completions" in row
    )


def label_studio(row: Row) -> rows_parts.Parsed:
    """A task; cancelled annotations are none."""
    data = {k: v for k, v in row["data"].items() if v is not None}
    asked, sides = _fields(data)
    responses = _responses(data, sides, data.get("models"))
    judgments = []
    for said in row.get("annotations") or row.get("completions") or ():
        if isinstance(said, Mapping) and not said.get("was_cancelled"):
            found = _label_studio_judgment(said, sides)
            if found is not None:
                judgments.append(found)
    identity = data.get("id", row.get("id"))
    extra: dict[str, Any] = {} if identity is None else {"id": str(identity)}
    if data.get("subset") is not None:
        extra["subset"] = data["subset"]
    rest = {k: v for k, v in data.items()
            if k not in (asked, *sides, "models", "subset", "id", "prompt_text")}  # fmt: skip
    extra |= {k: v for k, v in {"data": rest, "meta": row.get("meta")}.items() if v}
    messages = turns(data[asked], asked, "user")
    return [rows_parts.comparison(messages, responses, judgments, extra=extra)]


def _label_studio_judgment(said: Row, sides: Sequence[str]) -> NewJudgment | None:
    value: Any = None
    more: dict[str, Any] = {}
    for part in said.get("result") or ():
        inner = part.get("value") if isinstance(part, Mapping) else None
        if not isinstance(inner, Mapping):
            continue
        question = str(part.get("from_name") or "")
        if "selected" in inner:
            value = inner["selected"]
        elif "ranker" in inner:
            value = _ranked(inner["ranker"])
            more["kind"] = "ranking"
        elif "choices" in inner:
            said_ = inner["choices"]
            chosen = said_[0] if len(said_) == 1 else said_
            if question in _CHOICES and value is None:
                value = chosen
            elif question == "reasons":
                more["reasons"] = said_
            else:
                more[question] = chosen
        elif "rating" in inner:
            more[question] = inner["rating"]
        elif "text" in inner:
            texts = inner["text"]
            more.setdefault(
                question if question in ("strength", "display-order") else "rationale",
                "\n".join(map(str, texts)) if isinstance(texts, list) else str(texts),
            )
    if value is None:
        return None
    who = said.get("completed_by")
    if isinstance(who, Mapping):
        who = who.get("email") or who.get("username") or who.get("id")
    order = _numbers(more.get("display-order"), len(sides))
    lead = said.get("lead_time")
    is_time = isinstance(lead, int | float) and not isinstance(lead, bool) and 0 <= lead < 2e6
    return NewJudgment(
        _answer(value, sides, more, order), rows_parts.annotator_in({"annotator": who}),
        shown=order,
        submitted=rows_parts.time_ms(said.get("created_at")),
        active_ms=round(lead * 1000) if is_time else 0,  # type: ignore[operator]
    )  # fmt: skip


def _ranked(value: object) -> list[Any]:
    """A ranker's answer: a list of ids, or lists of ids by bucket, best first."""
    if isinstance(value, Mapping):
        value = next((v for v in value.values() if isinstance(v, list)), [])
    assert isinstance(value, list)
    found = []
    for rank, item in enumerate(value, start=1):
        for one in item if isinstance(item, list) else [item]:
            found.append({"value": one, "rank": rank})
    return found


def label_studio_out(whole: Whole, judgments: Sequence[Said]) -> dict[str, Any]:
    """A task with its annotations."""
    extra = dict(whole.extra)
    data: dict[str, Any] = {
        "id": str(extra.get("id") or whole.id),
        "prompt": _turns(whole.prompt),
        "prompt_text": prompt_text(whole.prompt),
        **{f"response_{i}": _one(said) for i, said in enumerate(whole.responses, start=1)},
    }
    if any(said.model for said in whole.responses):
        data["models"] = [said.model for said in whole.responses]
    if extra.get("subset") is not None:
        data["subset"] = extra["subset"]
    return {
        "data": data,
        "annotations": [
            {
                "completed_by": {"email": said.annotator},
                "result": _result(whole, said),
                "was_cancelled": False,
                "ground_truth": False,
                "created_at": iso(said.submitted),
                "lead_time": said.active_ms / 1000,
            }
            for said in judgments
        ],
        "predictions": [],
    }


_TYPES = {"reasons": "choices", "strength": "choices"}


def _result(whole: Whole, said: Said) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    inner: dict[str, Any]
    for question, value in _questions(whole, said).items():
        if question == "submitted":
            continue
        if question == "ranking":
            count = max(item["rank"] for item in value)
            ranks = [[v["value"].replace("-", "_") for v in value if v["rank"] == rank]
                     for rank in range(1, count + 1)]  # fmt: skip
            kind, inner = "ranker", {"ranker": ranks}
        elif question == "preference" and value != "tie":
            side = "left" if value == "response-1" else "right"
            kind, inner = "pairwise", {"selected": side}
        elif isinstance(value, int):
            kind, inner = "rating", {"rating": value}
        elif question in ("rationale", "display-order"):
            kind, inner = "textarea", {"text": [value]}
        else:
            kind, inner = "choices", {"choices": value if isinstance(value, list) else [value]}
        found.append({"from_name": question, "to_name": "responses", "type": kind, "value": inner})
    return found
