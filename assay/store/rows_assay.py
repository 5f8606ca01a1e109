"""Assay's own form of a comparison with its judgments, both ways: nothing of the store is lost.

The readers for training take the same rows: ``prompt``, ``responses`` and ``judgments``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from assay.formats.fields import Row, RowError, items, name, number, prompt, response, shown, turns
from assay.formats.steps import join_steps
from assay.store import rows_columns, rows_parts
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.store.whole import Said, Whole, Written
from assay.types import Message

KINDS = ("pair", "ranking", "steps")
PURPOSES = ("work", "screening", "training", "gold", "attention")
_ROW = ("id", "kind", "purpose", "expected", "overlap", "place", "language", "prompt", "tools",
        "responses", "judgments", "preferences", "decision", "flags", "extra")  # fmt: skip
_STEPS = ("mode", "labels", "first_error", "flagged", "alternatives", "chosen", "written")
_SOURCES = {"human": "imported", "model": "model", "verifier": "verifier"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(ms: int | None) -> str | None:
    """A time as ISO 8601 in UTC, to the millisecond."""
    if ms is None:
        return None
    moment = _EPOCH + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _without_none(row: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if value is not None}


# --- out ------------------------------------------------------------------------------------------


def row_out(whole: Whole) -> dict[str, Any]:
    """The row of a comparison."""
    extra = dict(whole.extra)
    decision = extra.pop("decision", None) if _is_ours(extra.get("decision")) else None
    flags = extra.pop("flags", None) if _is_ours(extra.get("flags")) else None
    if whole.decision is not None:
        decision = judgment_out(whole.decision, len(whole.responses))
        del decision["id"]
        decision["note"] = whole.decision_note
    if whole.flags:
        flags = [_without_none({**f, "at": iso(f["at"]), "resolved": iso(f["resolved"])})
                 for f in whole.flags]  # fmt: skip
    row = {
        "id": extra.pop("id", None) or whole.id,
        **{k: v for k, v in extra.items() if k not in _ROW},
        "kind": whole.kind,
        "purpose": None if whole.purpose == "work" else whole.purpose,
        "expected": None if whole.expected is None
        else answer_out(whole.expected, len(whole.responses)),
        "overlap": whole.overlap if whole.purpose == "work" else None,
        "place": None if whole.place == whole.number else whole.place,
        "language": whole.language,
        "prompt": [m.to_dict() for m in whole.prompt],
        "tools": [dict(tool) for tool in whole.tools] if whole.tools else None,
        "responses": [_response_out(said) for said in whole.responses],
        "judgments": [judgment_out(said, len(whole.responses)) for said in whole.judgments],
        "decision": decision,
        "flags": flags,
        "extra": {k: v for k, v in extra.items() if k in _ROW} or None,
    }  # fmt: skip
    return _without_none(row)


def _is_ours(value: object) -> bool:
    """Whether a field was written by ``row_out``, and is no stranger's of that name."""
    first = value[0] if isinstance(value, list) and value else value
    return (
        isinstance(first, Mapping)
        and "annotator" in first
        and bool({"submitted", "at"} & set(first))
    )


def _response_out(said: Written) -> dict[str, Any]:
    return _without_none({
        "id": said.id, "messages": [m.to_dict() for m in said.messages],
        "steps": None if said.steps is None else [dict(step) for step in said.steps],
        "model": said.model, "author": said.author, "provenance": dict(said.provenance) or None,
    })  # fmt: skip


def judgment_out(said: Said, count: int) -> dict[str, Any]:
    """The row of a judgment."""
    return {
        **_without_none({"id": said.id, "annotator": said.annotator, "kind": said.kind}),
        **answer_out(said.answer, count),
        **_without_none({
            "display_order": None if said.order is None else list(said.order),
            "started": iso(said.started), "submitted": iso(said.submitted),
            "active_ms": said.active_ms or None, "surplus": said.surplus or None,
            "withdrawn": iso(said.withdrawn), "rubric": said.rubric,
            "is_correct": said.is_correct,
        }),
    }  # fmt: skip


def answer_out(answer: Mapping[str, Any], count: int) -> dict[str, Any]:
    """An answer, with lists by response in place of objects."""
    row = {k: v for k, v in answer.items() if k not in ("kind", "groups", "unranked")}
    if "groups" in answer:
        row["ranking"] = [list(group) for group in answer["groups"]]
    if answer.get("acceptability"):
        row["acceptability"] = [answer["acceptability"].get(i) for i in range(count)]
    if answer.get("dimensions"):
        row["dimensions"] = {
            label: {**said, "ratings": [said["ratings"].get(i) for i in range(count)]}
            if "ratings" in said else dict(said)
            for label, said in answer["dimensions"].items()
        }  # fmt: skip
    return row


# --- in -------------------------------------------------------------------------------------------


def row_in(row: Row) -> rows_parts.Parsed:
    """A row with a prompt and responses; of judgments, decisions and the rest what there is."""
    responses = [_response_in(item, at) for at, item in enumerate(items(row, "responses"))]
    count = len(responses)
    given = row.get("judgments")
    judged = items(row, "judgments", least=0) if given is not None else ()
    kind = _kind(row, responses)
    extra = rows_parts.beside(row, _ROW)
    nested = row.get("extra")
    if isinstance(nested, Mapping):
        extra |= nested
    elif nested is not None:
        extra["extra"] = nested
    for key in ("id", "decision", "flags"):
        if row.get(key) is not None:
            extra[key] = row[key]
    judgments = [judgment_in(j, kind, count, at) for at, j in enumerate(judged)]
    if row.get("preferences") is not None and not judgments:
        judgments = _from_preferences(row, count, extra)
    purpose: Any = row.get("purpose") if row.get("purpose") in PURPOSES else "work"
    if row.get("purpose") is not None and row.get("purpose") not in PURPOSES:
        extra["purpose"] = row["purpose"]
    return [
        NewComparison(
            prompt(row) if row.get("prompt") not in (None, []) or kind != "steps" else (),
            tuple(responses),
            kind=kind,  # type: ignore[arg-type]
            purpose=purpose,
            overlap=_whole_number(row, "overlap"),
            place=None if row.get("place") is None else number(row, "place", 0.0),
            language=name(row, "language"),
            expected=expected_in(row, kind, count, extra),
            extra=extra,
            tools=rows_parts.tools_in(row),
            judgments=tuple(judgments),
        )
    ]


def _whole_number(row: Row, key: str) -> int | None:
    if row.get(key) is None:
        return None
    value = number(row, key, 1.0, low=1.0, high=100.0)
    if not value.is_integer():
        raise RowError(f"'{key}' must be a whole number, not {shown(row[key])}", f"bad '{key}'")
    return int(value)


def _kind(row: Row, responses: Sequence[NewResponse]) -> str:
    if row.get("kind") in KINDS:
        return str(row["kind"])
    if len(responses) == 1 and responses[0].steps:
        return "steps"
    return "pair" if len(responses) == 2 else "ranking"


def _response_in(item: object, at: int) -> NewResponse:
    key = f"responses[{at}]"
    if not isinstance(item, Mapping):
        return NewResponse(response(turns(item, key, "assistant"), key))
    steps = item.get("steps")
    if steps is not None:
        return _solution_in(item, steps, key)
    at_key = next(
        (k for k in ("messages", "text", "content", "output", "response", "completion", "answer")
         if item.get(k) is not None), None,
    )  # fmt: skip
    if at_key is None:
        raise RowError(f"'{key}' has neither 'text' nor 'messages'", "missing 'text'")
    messages = response(turns(item[at_key], key, "assistant"), key)
    return NewResponse(messages, model=_model(item), provenance=_provenance(item, at_key))


def _model(item: Row) -> str | None:
    found = name(item, "model" if item.get("model") is not None else "generator")
    said = item.get("provenance")
    return name(said, "model") if found is None and isinstance(said, Mapping) else found


def _provenance(item: Row, *used: str) -> dict[str, Any]:
    found = rows_parts.beside(item, used, "model" if item.get("model") is not None else "generator",
                     "provenance", "steps")  # fmt: skip
    kept = item.get("provenance")
    return {**found, **(kept if isinstance(kept, Mapping) else {})}


def _solution_in(item: Row, steps: object, key: str) -> NewResponse:
    if not isinstance(steps, list) or not steps:
        raise RowError(f"'{key}' has no steps; a solution has one or more", "no steps")
    found: list[dict[str, Any]] = []
    for at, step in enumerate(steps, start=1):
        said = step.get("text") if isinstance(step, Mapping) else step
        others = (step.get("alternatives") or []) if isinstance(step, Mapping) else []
        if not isinstance(said, str) or not said.strip():
            raise RowError(f"step {at} of '{key}' must be a text that is not blank, not "
                           f"{shown(said)}", "bad step")  # fmt: skip
        if not isinstance(others, list) or not all(isinstance(o, str) for o in others):
            raise RowError(f"the alternatives to step {at} of '{key}' must be texts", "bad step")
        found.append({"text": said} | ({"alternatives": others} if others else {}))
    messages = (
        turns(item["messages"], key, "assistant") if item.get("messages") is not None
        else (Message("assistant", join_steps([str(s["text"]) for s in found])),)
    )  # fmt: skip
    return NewResponse(
        messages, tuple(found), _model(item), provenance=_provenance(item, "messages", "text")
    )


def judgment_in(row: object, kind: str, count: int, at: int = 0) -> NewJudgment:
    """A judgment from its row."""
    if not isinstance(row, Mapping):
        raise RowError(f"'judgments' must hold objects, not {shown(row)}", "wrong type")
    answer = answer_in(row, kind, count)
    origin = dict(row["origin"]) if isinstance(row.get("origin"), Mapping) else {}
    for key in ("id", "rubric", "is_correct"):
        if row.get(key) is not None:
            origin[key] = row[key]
    if origin:
        answer["origin"] = origin
    order = rows_parts.order_in(row.get("display_order"), count)
    if order is None and isinstance(row.get("first_shown"), int) and count == 2:
        first = int(row["first_shown"])
        order = (first, 1 - first)
    times = {}
    for key in ("started", "submitted", "withdrawn"):
        value = row.get(key)
        times[key] = rows_parts.time_ms(value)
        if value is not None and times[key] is None:
            raise RowError(f"'{key}' of a judgment must be a time such as 2026-01-31T12:00:00Z, "
                           f"not {shown(value)}", f"bad '{key}'")  # fmt: skip
    if row.get("submitted") is None:
        times["submitted"] = rows_parts.time_ms(row.get("timestamp"))
    return NewJudgment(
        answer,
        rows_parts.annotator_in(row),
        source=_SOURCES.get(str(row.get("kind")), "imported"),  # type: ignore[arg-type]
        shown=order,
        active_ms=rows_parts.whole(row, "active_ms"),
        surplus=bool(row.get("surplus")),
        **times,
    )


def answer_in(row: Row, kind: str, count: int) -> dict[str, Any]:
    """An answer from the fields of a judgment."""
    answer: dict[str, Any]
    if kind == "steps":
        answer = {"kind": "steps"} | {
            k: row[k] for k in _STEPS if k in row and (row[k] is not None or k == "first_error")
        }
        if not isinstance(answer.get("labels"), list):
            raise RowError("a judgment of a solution must have 'labels', one a step",
                           "missing 'labels'")  # fmt: skip
        answer.setdefault("mode", "per-step")
        if answer["mode"] == "per-step" and answer.get("first_error", 0) is None:
            del answer["first_error"]
    elif row.get("ranking") is not None:
        groups = [list(g) if isinstance(g, list | tuple) else [g] for g in items(row, "ranking")]
        answer = rows_parts.ranking_answer(groups, count)
        if kind == "pair":
            answer = rows_parts.pair_answer(None if len(groups) == 1 else groups[0][0], 1.0)
    elif "choice" in row:
        answer = _choice_in(row, kind, count)
    else:
        raise RowError("a judgment has neither 'ranking' nor 'choice'", "missing 'ranking'")
    return answer | _common_in(row)


def _choice_in(row: Row, kind: str, count: int) -> dict[str, Any]:
    choice = row["choice"]
    if choice is not None and (
        isinstance(choice, bool) or not isinstance(choice, int) or not 0 <= choice < count
    ):
        raise RowError(
            f"'choice' must be the index of a response, 0 to {count - 1}, or null, not "
            f"{shown(choice)}", "bad 'choice'",
        )  # fmt: skip
    if kind == "ranking":
        rest = [i for i in range(count) if i != choice]
        return rows_parts.ranking_answer([rest] if choice is None else [[choice], rest], count)
    strength = number(row, "strength", 1.0, low=0.0)
    answer = rows_parts.pair_answer(choice, min(strength, 1.0))
    if strength > 1:  # of a scale that is not ours: kept, as how clear it was cannot be told
        answer["origin"] = {"strength": strength}
    for key in ("preset", "preset_version", "raw"):
        if row.get(key) is not None:
            answer[key] = row[key]
    return answer


def _common_in(row: Row) -> dict[str, Any]:
    found: dict[str, Any] = {}
    accepted = row.get("acceptability")
    if isinstance(accepted, list):
        accepted = {str(i): value for i, value in enumerate(accepted)}
    if isinstance(accepted, Mapping):
        kept = {str(i): value for i, value in accepted.items() if value is not None}
        strange = [v for v in kept.values() if v not in ("good", "ok", "bad")]
        if strange:
            raise RowError(f"'acceptability' is good, ok or bad, not {shown(strange[0])}",
                           "bad 'acceptability'")  # fmt: skip
        if kept:
            found["acceptability"] = kept
    if isinstance(row.get("dimensions"), Mapping):
        dimensions = rows_parts.dimensions_in(row["dimensions"])
        if dimensions:
            found["dimensions"] = dimensions
    if isinstance(row.get("reasons"), list) and row["reasons"]:
        found["reasons"] = [str(reason) for reason in row["reasons"]]
    said = row.get("rationale")
    if said is not None:
        if not isinstance(said, str):
            raise RowError(f"'rationale' must be text, not {shown(said)}", "wrong type")
        found["rationale"] = said
    return found


def _from_preferences(row: Row, count: int, extra: dict[str, Any]) -> list[NewJudgment]:
    """What became of judgments elsewhere, as one judgment; kept as it is where it is none."""
    preferences = row["preferences"]
    if row.get("ranking") is not None:
        del extra["ranking"]
        return [judgment_in({**row, "id": None}, "ranking" if count > 2 else "pair", count)]
    if count == 2 and isinstance(preferences, list) and len(preferences) == 1:
        said = preferences[0]
        share = number(said, "probability", 1.0, low=0.0, high=1.0)
        if said.get("chosen") not in (0, 1) or said.get("rejected") not in (0, 1):
            raise RowError("'preferences' must name responses 0 and 1", "bad index")
        share = share if said["chosen"] == 0 else 1 - share
        return [NewJudgment(rows_parts.by_share(share), rows_parts.annotator_in(row))]
    if preferences:
        extra["preferences"] = preferences
    return []


def expected_in(row: Row, kind: str, count: int, extra: dict[str, Any]) -> dict[str, Any] | None:
    """What an item that is not work is to be answered with.

    An object as the store has it, or the number of the best response, or step labels.
    """
    value = row.get("expected")
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | Mapping | list | str):
        raise RowError(f"'expected' must be the number of a response, labels, or an object, not "
                       f"{shown(value)}", "bad 'expected'")  # fmt: skip
    if isinstance(value, str):
        value = rows_columns.winner_of(value, "expected") if kind == "pair" else value
        value = {"choice": value} if kind == "pair" else value
    if isinstance(value, list) and kind == "steps":
        value = {"labels": value}
    if isinstance(value, int):
        key = "first_error" if kind == "steps" else "choice" if kind == "pair" else "best"
        value = {key: value}
    if not isinstance(value, Mapping):
        raise RowError(f"'expected' is {shown(value)}; wanted an object with 'choice', 'best' or "
                       "'labels'", "bad 'expected'")  # fmt: skip
    found = (
        {k: value[k] for k in ("labels", "first_error") if k in value} if kind == "steps" else {}
    )
    for key in ("choice", "best"):
        if key in value and kind != "steps":
            at = value[key]
            if at is not None and (
                isinstance(at, bool) or not isinstance(at, int) or not 0 <= at < count
            ):
                raise RowError(f"'expected' names response {shown(at)}, and there are {count} from "
                               "0 on", "bad 'expected'")  # fmt: skip
            found[key] = at
    found |= {k: v for k, v in _common_in(value).items() if k == "acceptability"}
    if not found:
        raise RowError("'expected' says nothing; give 'choice', 'best', 'acceptability' or "
                       "'labels'", "bad 'expected'")  # fmt: skip
    return found


def expected_from(new: NewComparison) -> dict[str, Any]:
    """What an item is to be answered with, from the preference that came with it.

    Raises:
        RowError: If none did.
    """
    if not new.judgments:
        raise RowError(
            "the row says no expected answer; give it in a field 'expected', or a preference",
            "no expected answer",
        )
    answer = new.judgments[0].answer
    if new.kind == "pair":
        return {"choice": answer["choice"]}
    if new.kind == "ranking":
        return {"best": answer["groups"][0][0]}
    return {"labels": list(answer["labels"])}
