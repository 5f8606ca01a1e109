"""A comparison as an annotator meets it: its form's fields, its answer, its words.

A form names responses by id: ``raw`` is the point of the scale, ``accept.ID`` whether a response is
acceptable, ``dim.N`` and ``dim.N.ID`` a dimension, ``rank.ID`` a place in a ranking, ``step.I``,
``first``, ``alt.I.J``, ``chosen.I``, ``flagged.I`` and ``written.I`` what is said of steps,
``reason`` and ``rationale`` why. The script of the page reads and writes the same fields.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from fastapi import Request
from sqlalchemy import Connection, and_, bindparam, func, or_, select
from starlette.datastructures import FormData

from assay.collect.pages import Words, fragment
from assay.collect.render import Turn, render, shown_steps, turns, with_differences
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.presets import PRESETS
from assay.store.records import Assignment, ProjectSettings

Fields = dict[str, list[str]]
"""Values of a form by field."""
EXCERPT = 160
SCALE = PRESETS["helpsteer"]
"""On which a comparative dimension is judged."""


@dataclass(frozen=True, slots=True)
class ShownResponse:
    """A response on the page."""

    id: str
    label: str
    turns: list[Turn]
    steps: list[dict[str, Any]]
    """Of a solution: ``html``, ``number`` from 1, and ``alternatives`` (HTML)."""
    characters: int


def labels(count: int) -> list[str]:
    """A, B, … for responses in the order shown."""
    return list(ascii_uppercase[:count])


# --- out: the form --------------------------------------------------------------------------------


def task_html(
    request: Request,
    held: Assignment,
    settings: ProjectSettings,
    *,
    fields: Fields | None = None,
    error: str | None = None,
    last: str | None = None,
    judgment_id: str,
    state: Mapping[str, Any],
) -> str:
    """The form of a comparison, filled in with its draft or with ``fields``."""
    responses = shown_responses(held, settings.word_diff)
    return fragment(
        request, "work_task.html", held=held, rubric=held.rubric, settings=settings,
        prompt=turns(held.prompt), responses=responses, preset=PRESETS[held.rubric.preset],
        scale=SCALE, instructions=render(held.rubric.instructions), error=error, last=last,
        fields=fields if fields is not None else fields_of(held.draft or {}, held),
        judgment_id=judgment_id, state=state,
    )  # fmt: skip


def shown_responses(held: Assignment, word_diff: bool) -> list[ShownResponse]:
    """The responses as they are shown, the words that differ marked where that is wanted."""
    texts = [turns(response.messages) for response in held.responses]
    if word_diff and held.kind == "pair" and all(len(side) == 1 for side in texts):
        marked = with_differences(texts[0][0].html, texts[1][0].html)
        texts = [[Turn(side[0].role, html)] for side, html in zip(texts, marked, strict=True)]
    return [
        ShownResponse(
            response.id, label, said, shown_steps(response.steps or ()),
            sum(len(str(m.content)) for m in response.messages),
        )
        for response, label, said in zip(
            held.responses, labels(len(held.responses)), texts, strict=True
        )
    ]  # fmt: skip


def task_state(held: Assignment, user: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the page's script must know of a comparison besides its form."""
    return {
        "comparison_id": held.comparison_id,
        "project_id": held.project_id,
        "kind": held.kind,
        "rubric_id": held.rubric_id,
        "step_mode": held.rubric.step_mode,
        "shown": [response.id for response in held.responses],
        "lease_until": held.lease_until,
        "now": now_ms(),
        "draft": dict(held.draft) if held.draft is not None else None,
        "draft_revision": held.draft_revision,
        "active_ms": held.active_ms,
        "feedback": held.feedback,
        **(user or {}),
    }


def fields_of(answer: Mapping[str, Any], held: Assignment) -> Fields:
    """The fields that say an answer. A draft may be anything: what does not fit is left out."""
    found: Fields = {}

    def put(name: str, value: object) -> None:
        if value is not None and not isinstance(value, Mapping | list):
            found[name] = [str(value)]

    ids = [response.id for response in held.responses]
    put("raw", answer.get("raw"))
    for i, value in _mapping(answer.get("acceptability")).items():
        put(f"accept.{i}", value)
    said = _mapping(answer.get("dimensions"))
    for number, dimension in enumerate(held.rubric.dimensions):
        value = said.get(dimension.name)
        if dimension.scale == "comparative":
            put(f"dim.{number}", value.get("raw") if isinstance(value, Mapping) else value)
            continue
        ratings = _mapping(value).get("ratings", value)
        for i, rating in _mapping(ratings).items():
            put(f"dim.{number}.{i}", rating)
    for place, group in enumerate(_list(answer.get("groups")), start=1):
        for i in [group] if isinstance(group, str) else _list(group):
            if i in ids:
                put(f"rank.{i}", place)
    _step_fields(answer, put)
    found["reason"] = [str(reason) for reason in _list(answer.get("reasons"))]
    put("rationale", answer.get("rationale"))
    return found


def _step_fields(answer: Mapping[str, Any], put: Any) -> None:
    for i, label in enumerate(_list(answer.get("labels"))):
        put(f"step.{i}", label)
    if "first_error" in answer:
        put("first", "none" if answer["first_error"] is None else answer["first_error"])
    for i, flagged in enumerate(_list(answer.get("flagged"))):
        put(f"flagged.{i}", "1" if flagged is True else None)
    for i, said in enumerate(_list(answer.get("alternatives"))):
        for j, label in enumerate(_list(said)):
            put(f"alt.{i}.{j}", label)
    for i, chosen in enumerate(_list(answer.get("chosen"))):
        put(f"chosen.{i}", chosen)
    for number, text in _mapping(answer.get("written")).items():
        put(f"written.{number}", text)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


# --- in: the answer -------------------------------------------------------------------------------


def fields_from(form: FormData) -> Fields:
    """The values of a sent form; texts with the line ends they were typed with."""
    found: Fields = defaultdict(list)
    for name, value in form.multi_items():
        if isinstance(value, str) and value != "":
            found[name].append(value.replace("\r\n", "\n"))
    return dict(found)


def answer_of(fields: Fields, held: Assignment) -> dict[str, Any]:
    """The answer that a form's fields say. Whether it is one is checked by the store."""

    def one(name: str) -> str | None:
        values = fields.get(name)
        return values[-1] if values else None

    ids = [response.id for response in held.responses]
    answer: dict[str, Any] = {}
    if held.kind == "pair":
        answer["raw"] = one("raw")
    elif held.kind == "ranking":
        answer["groups"] = _groups({i: one(f"rank.{i}") for i in ids})
    else:
        answer |= _steps_of(one, held)
    accepted = {i: said for i in ids if (said := one(f"accept.{i}"))}
    if accepted:
        answer["acceptability"] = accepted
    dimensions: dict[str, Any] = {}
    for number, dimension in enumerate(held.rubric.dimensions):
        if dimension.scale == "comparative":
            if raw := one(f"dim.{number}"):
                dimensions[dimension.name] = {"raw": raw}
            continue
        ratings = {i: _whole(said) for i in ids if (said := one(f"dim.{number}.{i}"))}
        if ratings:
            dimensions[dimension.name] = {"ratings": ratings}
    if dimensions:
        answer["dimensions"] = dimensions
    if fields.get("reason"):
        answer["reasons"] = fields["reason"]
    if rationale := one("rationale"):
        answer["rationale"] = rationale
    return answer


def _groups(ranks: Mapping[str, str | None]) -> list[list[str]]:
    """Responses by rank, the best first; gaps between ranks mean nothing."""
    groups: dict[int, list[str]] = defaultdict(list)
    for i, rank in ranks.items():
        place = _whole(rank) if rank else None
        if isinstance(place, int):
            groups[place].append(i)
    return [groups[rank] for rank in sorted(groups)]


def _steps_of(one: Any, held: Assignment) -> dict[str, Any]:
    steps = held.responses[0].steps or ()
    answer: dict[str, Any] = {}
    if held.rubric.step_mode == "first-error":
        first = one("first")
        if first is not None:
            answer["first_error"] = None if first == "none" else _whole(first)
    else:
        answer["labels"] = [_label(one(f"step.{i}")) for i in range(len(steps))]
    flagged = [one(f"flagged.{i}") is not None for i in range(len(steps))]
    if any(flagged):
        answer["flagged"] = flagged
    others = [
        [_label(one(f"alt.{i}.{j}")) for j in range(len(step.get("alternatives") or ()))]
        for i, step in enumerate(steps)
    ]
    if any(label is not None for said in others for label in said):
        answer["alternatives"] = others
    chosen = [_whole(said) if (said := one(f"chosen.{i}")) else None for i in range(len(steps))]
    if any(c is not None for c in chosen):
        answer["chosen"] = chosen
    written = {
        str(i): text for i in range(len(steps) + 1)
        if (text := one(f"written.{i}")) and text.strip()
    }  # fmt: skip
    if written:
        answer["written"] = written
    return answer


def _whole(text: str) -> int | str:
    """A number; what is none goes to the check as it is, which names it."""
    digits = text.removeprefix("-")
    return int(text) if digits.isascii() and digits.isdigit() and len(digits) < 10 else text


def _label(text: str | None) -> int | str | None:
    return None if text is None else _whole(text)


# --- one's own judgments --------------------------------------------------------------------------

_MINE = (
    t.judgments.c.project_id == bindparam("project"),
    t.judgments.c.annotator_id == bindparam("annotator"),
    t.judgments.c.withdrawn.is_(None), t.judgments.c.source == "person",
)  # fmt: skip
"""An annotator's standing judgments in a project; for :func:`_whose`."""
_LATEST_FIRST = (t.judgments.c.submitted.desc(), t.judgments.c.id.desc())


def _whose(project_id: str, annotator_id: str) -> dict[str, str]:
    return {"project": project_id, "annotator": annotator_id}


@dataclass(frozen=True, slots=True)
class Own:
    """A judgment of one's own, as the list of them shows it."""

    id: str
    comparison_id: str
    number: int
    answer: Mapping[str, Any]
    shown: tuple[str, ...]
    rubric_id: str | None
    surplus: bool
    submitted: int
    active_ms: int
    excerpt: str


def own(
    connection: Connection,
    project_id: str,
    annotator_id: str,
    limit: int = 20,
    before: str | None = None,
) -> list[Own]:
    """An annotator's standing judgments in a project, the latest first, from after ``before``."""
    j = t.judgments
    query = (
        select(j, t.comparisons.c.number, t.prompts.c.messages)
        .join(t.comparisons, t.comparisons.c.id == j.c.comparison_id)
        .join(t.prompts, t.prompts.c.id == t.comparisons.c.prompt_id)
        .where(*_MINE)
        .order_by(*_LATEST_FIRST)
        .limit(limit)
    )
    if before is not None:
        last = connection.execute(
            select(j.c.submitted, j.c.id).where(j.c.id == before, j.c.annotator_id == annotator_id)
        ).one_or_none()
        if last is None:
            return []
        query = query.where(
            or_(
                j.c.submitted < last.submitted,
                and_(j.c.submitted == last.submitted, j.c.id < last.id),
            )
        )
    return [
        Own(
            row.id, row.comparison_id, row.number, row.answer, tuple(row.shown), row.rubric_id,
            row.surplus, row.submitted, row.active_ms, _excerpt(row.messages),
        )
        for row in connection.execute(query, _whose(project_id, annotator_id))
    ]  # fmt: skip


_LATEST = select(t.judgments.c.id).where(*_MINE).order_by(*_LATEST_FIRST).limit(1)


def latest(connection: Connection, project_id: str, annotator_id: str) -> str | None:
    """The annotator's last standing judgment in a project: the first of :func:`own`."""
    return connection.scalar(_LATEST, _whose(project_id, annotator_id))


_COUNT = select(func.count()).where(*_MINE)


def own_count(connection: Connection, project_id: str, annotator_id: str) -> int:
    """How many comparisons an annotator has judged in a project."""
    return int(connection.scalar(_COUNT, _whose(project_id, annotator_id)) or 0)


def project_of(connection: Connection, judgment_id: str, annotator_id: str) -> str | None:
    """The project of one of an annotator's judgments."""
    return connection.scalar(
        select(t.judgments.c.project_id).where(
            t.judgments.c.id == judgment_id, t.judgments.c.annotator_id == annotator_id
        )
    )


def held_count(connection: Connection, project_id: str, annotator_id: str) -> int:
    """How many comparisons an annotator holds under a lease that runs."""
    return int(
        connection.scalar(
            select(func.count()).where(
                t.slots.c.annotator_id == annotator_id, t.slots.c.project_id == project_id,
                t.slots.c.judgment_id.is_(None), t.slots.c.lease_until >= now_ms(),
            )
        )
        or 0
    )  # fmt: skip


def _excerpt(messages: Sequence[Mapping[str, Any]]) -> str:
    asked = [m for m in messages if m.get("role") == "user"] or list(messages)
    text = " ".join(str(asked[-1].get("content") or "").split()) if asked else ""
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def summary(words: Words, answer: Mapping[str, Any], shown: Sequence[str]) -> str:
    """An answer in a few words."""
    names = dict(zip(shown, labels(len(shown)), strict=True))
    if answer["kind"] == "pair":
        return point_label(words, answer["preset"], str(answer["raw"]))
    if answer["kind"] == "ranking":
        return " > ".join(
            " = ".join(names.get(i, "?") for i in group) for group in answer["groups"]
        )
    if answer.get("mode") == "first-error":
        first = answer.get("first_error")
        return words("work.first-none") if first is None else words("work.first-at", n=first + 1)
    counted = [answer["labels"].count(value) for value in (1, 0, -1)]
    return words("work.step-counts", good=counted[0], neutral=counted[1], bad=counted[2])


def point_label(words: Words, preset: str, raw: str) -> str:
    """A point of a scale in words."""
    if not PRESETS[preset].slider:
        return words(f"point.{raw}")
    value = int(raw)
    if value == 0:
        return words("point.tie")
    return f"{'A' if value < 0 else 'B'} +{abs(value)}"


def expected_words(words: Words, held: Assignment, expected: Mapping[str, Any]) -> list[str]:
    """What a training item wanted to hear, a sentence each."""
    shown = [response.id for response in held.responses]
    names = dict(zip(shown, labels(len(shown)), strict=True))
    said: list[str] = []
    if "choice" in expected:
        choice = expected["choice"]
        said.append(words("work.expected-tie") if choice is None
                    else words("work.expected-choice", name=names.get(choice, "?")))  # fmt: skip
    if "best" in expected:
        said.append(words("work.expected-best", name=names.get(expected["best"], "?")))
    for i, value in _mapping(expected.get("acceptability")).items():
        said.append(words("work.expected-accept", name=names.get(i, "?"),
                          value=words(f"work.accept-{value}")))  # fmt: skip
    if "first_error" in expected:
        first = expected["first_error"]
        said.append(words("work.first-none") if first is None
                    else words("work.first-at", n=first + 1))  # fmt: skip
    for number, label in enumerate(_list(expected.get("labels")), start=1):
        if label is not None:
            value = words({1: "work.step-good", 0: "work.step-neutral"}.get(label, "work.step-bad"))
            said.append(words("work.expected-step", n=number, value=value))
    if isinstance(expected.get("rationale"), str):
        said.append(expected["rationale"])
    return said
