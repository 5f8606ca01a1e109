"""What reviewers settle: decisions on disputed comparisons, flags, blocked annotators, gold items.

Functions here run inside a transaction of the store. Objects are looked for in a project: one of
another project is not found.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, tuple_, update

from assay.errors import StoreError
from assay.store import tables as t
from assay.store.answers import checked_answer
from assay.store.database import now_ms
from assay.store.desk import AccessError, RubricVersion, rubric_of
from assay.store.events import record_event
from assay.store.ids import new_id
from assay.store.importing import STALE_MS
from assay.store.people import set_state
from assay.store.records import Judged, Kind, Shown
from assay.types import Messages, as_messages

MOST_NOTE = 2000
ADJUDICATED = "adjudicated"
"""Of a gold item's ``extra``: the comparison whose decision it came from."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer settled."""

    annotator_id: str
    annotator: str
    answer: Mapping[str, Any]
    note: str
    decided: int


@dataclass(frozen=True, slots=True)
class Case:
    """A comparison as a reviewer settles it: without the models of its responses."""

    comparison_id: str
    number: int
    kind: Kind
    purpose: str
    prompt: Messages
    responses: tuple[Shown, ...]
    """In the order to show them to this reviewer."""
    judgments: tuple[Judged, ...]
    """In an order that says nothing of who or when."""
    rubric: RubricVersion
    decision: Decision | None
    flags: tuple[str, ...]
    """Reasons of open flags."""
    is_gold: bool
    """Whether a gold item was made of the decision."""

    @property
    def shown(self) -> list[str]:
        """Ids of the responses in the order shown."""
        return [response.id for response in self.responses]

    @property
    def steps(self) -> list[Mapping[str, Any]]:
        """Of a solution."""
        return list(self.responses[0].steps or ()) if self.kind == "steps" else []


def case_of(connection: Connection, project_id: str, comparison_id: str, reviewer_id: str) -> Case:
    """A comparison with all that was said of it.

    The order of the responses is drawn for the comparison and the reviewer, so it is the same when
    they come back and no side is favoured over all.

    Raises:
        AccessError: If the project has no such comparison.
    """
    row = _comparison(connection, project_id, comparison_id)
    messages = connection.scalar(
        select(t.prompts.c.messages).where(t.prompts.c.id == row.prompt_id)
    )
    responses = connection.execute(
        select(t.responses.c.id, t.responses.c.messages, t.responses.c.steps)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
        .where(t.comparison_responses.c.comparison_id == comparison_id)
    ).all()
    j = t.judgments.c
    said = connection.execute(
        select(t.judgments, t.annotators.c.name)
        .join(t.annotators, t.annotators.c.id == j.annotator_id)
        .where(j.comparison_id == comparison_id, j.withdrawn.is_(None), j.project_id.is_not(None))
    ).all()
    flagged = connection.scalars(
        select(t.flags.c.reason)
        .where(t.flags.c.comparison_id == comparison_id, t.flags.c.resolved.is_(None))
        .order_by(t.flags.c.at)
    )
    return Case(
        comparison_id=comparison_id,
        number=row.number,
        kind=row.kind,
        purpose=row.purpose,
        prompt=as_messages(messages or (), "user"),
        responses=tuple(
            Shown(r.id, as_messages(r.messages, "assistant"),
                  tuple(r.steps) if r.steps is not None else None)
            for r in sorted(responses, key=lambda r: _mixed(comparison_id, reviewer_id, r.id))
        ),
        judgments=tuple(
            Judged(
                s.id, comparison_id, s.annotator_id, s.name, s.answer, tuple(s.shown), s.surplus,
                s.source, s.rubric_id, s.started, s.submitted, s.active_ms, s.withdrawn,
                s.is_correct,
            )
            for s in sorted(said, key=lambda s: _mixed(comparison_id, s.annotator_id))
        ),
        rubric=rubric_of(connection, project_id),
        decision=_decision(connection, comparison_id),
        flags=tuple(flagged),
        is_gold=_gold_of(connection, row) is not None,
    )  # fmt: skip


def _mixed(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def _comparison(connection: Connection, project_id: str, comparison_id: str) -> Row[Any]:
    row = connection.execute(
        select(t.comparisons).where(
            t.comparisons.c.id == comparison_id,
            t.comparisons.c.project_id == project_id,
            t.comparisons.c.is_published,
        )
    ).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    return row


def _decision(connection: Connection, comparison_id: str) -> Decision | None:
    row = connection.execute(
        select(t.decisions, t.annotators.c.name)
        .join(t.annotators, t.annotators.c.id == t.decisions.c.annotator_id)
        .where(t.decisions.c.comparison_id == comparison_id)
    ).one_or_none()
    if row is None:
        return None
    return Decision(row.annotator_id, row.name, row.answer, row.note, row.decided)


def decided(connection: Connection, project_id: str) -> set[str]:
    """Ids of a project's comparisons that have a decision."""
    return set(connection.scalars(
        select(t.decisions.c.comparison_id)
        .join(t.comparisons, t.comparisons.c.id == t.decisions.c.comparison_id)
        .where(t.comparisons.c.project_id == project_id)
    ))  # fmt: skip


def decide(
    connection: Connection,
    project_id: str,
    comparison_id: str,
    reviewer_id: str,
    answer: Mapping[str, Any],
    note: str = "",
) -> dict[str, Any]:
    """Settle a comparison, or settle it anew; the answer as stored.

    Raises:
        AccessError: If the project has no such comparison.
        AnswerError: If the answer is not what the comparison asks for.
    """
    case = case_of(connection, project_id, comparison_id, reviewer_id)
    said = checked_answer(answer, case.kind, case.shown, case.rubric.rubric, case.steps)
    values = {"annotator_id": reviewer_id, "answer": said, "note": note[:MOST_NOTE],
              "decided": now_ms()}  # fmt: skip
    key = t.decisions.c.comparison_id == comparison_id
    if case.decision is None:
        connection.execute(insert(t.decisions).values(comparison_id=comparison_id, **values))
    else:
        connection.execute(update(t.decisions).where(key).values(**values))
    record_event(
        connection, "comparison.decided", comparison_id, actor_id=reviewer_id,
        project_id=project_id, detail={"again": case.decision is not None},
    )  # fmt: skip
    return said


# --- gold items -----------------------------------------------------------------------------------


def expected_of(answer: Mapping[str, Any]) -> dict[str, Any]:
    """What an answer expects of others' answers to the same comparison.

    Raises:
        StoreError: If it is a tie, which is no answer to check by.
    """
    if answer["kind"] == "pair" and answer["choice"] is not None:
        return {"choice": answer["choice"]}
    if answer["kind"] == "ranking" and len(answer["groups"][0]) == 1:
        return {"best": answer["groups"][0][0]}
    if answer["kind"] == "steps":
        if answer["mode"] == "first-error":
            return {"first_error": answer["first_error"]}
        return {"labels": answer["labels"]}
    raise StoreError("A tie is no answer to check others by; choose a decision with one best.")


def make_gold(
    connection: Connection, project_id: str, comparison_id: str, actor_id: str | None
) -> str:
    """A gold item with the prompt, the responses and the decision of a comparison; its id.

    It is a comparison of its own, so the judgments stay what they were. Whoever has met the first
    one never gets it. Once is enough: again gives the same id.

    Raises:
        AccessError: If the project has no such comparison.
        StoreError: If it has no decision, or a tie, or an import is under way.
    """
    row = _comparison(connection, project_id, comparison_id)
    decision = _decision(connection, comparison_id)
    if decision is None:
        raise StoreError("There is no decision yet; decide first, then make it a gold item.")
    known = _gold_of(connection, row)
    if known is not None:
        return known
    expected = expected_of(decision.answer)
    number = _next_number(connection, project_id)
    identity = new_id()
    connection.execute(
        insert(t.comparisons).values(
            id=identity, project_id=project_id, prompt_id=row.prompt_id, number=number,
            kind=row.kind, purpose="gold", overlap=0, filled=0, place=float(number),
            language=row.language, expected=expected, extra={ADJUDICATED: comparison_id},
            is_published=True, created=now_ms(),
        )
    )  # fmt: skip
    places = t.comparison_responses
    listed = connection.execute(
        select(places.c.number, places.c.response_id).where(places.c.comparison_id == comparison_id)
    )
    connection.execute(
        insert(places), [{"comparison_id": identity, **place._asdict()} for place in listed]
    )
    _hide(connection, comparison_id, identity)
    record_event(
        connection, "gold.added", identity, actor_id=actor_id, project_id=project_id,
        detail={"comparison": comparison_id},
    )  # fmt: skip
    return identity


def _gold_of(connection: Connection, comparison: Row[Any]) -> str | None:
    rows = connection.execute(
        select(t.comparisons.c.id, t.comparisons.c.extra).where(
            t.comparisons.c.prompt_id == comparison.prompt_id,
            t.comparisons.c.purpose == "gold",
            ~t.comparisons.c.is_withdrawn,
        )
    )
    return next((r.id for r in rows if r.extra.get(ADJUDICATED) == comparison.id), None)


def _next_number(connection: Connection, project_id: str) -> int:
    """The next number of a comparison. An import counts on by itself, so not while one runs."""
    connection.execute(
        select(t.projects.c.id).where(t.projects.c.id == project_id).with_for_update()
    )
    running = connection.scalar(
        select(t.imports.c.source).where(
            t.imports.c.project_id == project_id,
            t.imports.c.state == "staging",
            t.imports.c.touched > now_ms() - STALE_MS,
        )
    )
    if running is not None:
        raise StoreError(
            f"An import of {running} into this project is under way; try again when it is done."
        )
    last = connection.scalar(
        select(func.max(t.comparisons.c.number)).where(t.comparisons.c.project_id == project_id)
    )
    return int(last or 0) + 1


def _hide(connection: Connection, comparison_id: str, gold_id: str) -> None:
    """Never give a gold item to those who met the comparison it came from."""
    met = set()
    for place in (t.slots, t.judgments, t.drafts, t.skips):
        met |= set(connection.scalars(
            select(place.c.annotator_id).where(
                place.c.comparison_id == comparison_id, place.c.annotator_id.is_not(None)
            )
        ))  # fmt: skip
    now = now_ms()
    rows = [
        {"comparison_id": gold_id, "annotator_id": who, "reason": "", "at": now}
        for who in sorted(met)
    ]
    if rows:
        connection.execute(insert(t.skips), rows)


# --- flags ----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Flag:
    """What somebody said is wrong with a comparison."""

    id: str
    comparison_id: str
    number: int
    reason: str
    at: int
    annotator: str
    resolved: int | None


def flags(
    connection: Connection,
    project_id: str,
    is_open: bool = True,
    limit: int = 50,
    after: tuple[int, str] | None = None,
) -> list[Flag]:
    """A project's flags, the oldest first.

    Args:
        after: Time and id of the last one on the page before.
    """
    f = t.flags.c
    query = (
        select(t.flags, t.comparisons.c.number, t.annotators.c.name)
        .join(t.comparisons, t.comparisons.c.id == f.comparison_id)
        .join(t.annotators, t.annotators.c.id == f.annotator_id)
        .where(
            t.comparisons.c.project_id == project_id,
            f.resolved.is_(None) if is_open else f.resolved.is_not(None),
        )
        .order_by(f.at, f.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(f.at, f.id) > after)
    return [
        Flag(row.id, row.comparison_id, row.number, row.reason, row.at, row.name, row.resolved)
        for row in connection.execute(query)
    ]


def resolve_flag(
    connection: Connection, project_id: str, flag_id: str, reviewer_id: str, note: str = ""
) -> None:
    """Say that a flag was looked at; a repeat changes nothing.

    Raises:
        AccessError: If the project has no such flag.
    """
    row = connection.execute(
        select(t.flags.c.id, t.flags.c.resolved)
        .join(t.comparisons, t.comparisons.c.id == t.flags.c.comparison_id)
        .where(t.flags.c.id == flag_id, t.comparisons.c.project_id == project_id)
    ).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such flag.")
    if row.resolved is not None:
        return
    connection.execute(
        update(t.flags)
        .where(t.flags.c.id == flag_id)
        .values(resolved_by=reviewer_id, resolved=now_ms())
    )
    record_event(connection, "flag.resolved", flag_id, actor_id=reviewer_id, project_id=project_id,
                 detail={"note": note[:MOST_NOTE]} if note else {})  # fmt: skip


# --- annotators -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Remark:
    """What was done about an annotator in a project, or noted: blocked, active or noted."""

    at: int
    action: str
    text: str
    by: str | None


def set_standing(
    connection: Connection,
    project_id: str,
    annotator_id: str,
    is_blocked: bool,
    reviewer_id: str,
    reason: str = "",
) -> None:
    """Block an annotator, who then gets no more work, or let them go on.

    Raises:
        AccessError: If they are not a member of the project.
    """
    _check_member(connection, project_id, annotator_id)
    state = "blocked" if is_blocked else "active"
    set_state(connection, project_id, annotator_id, state, reviewer_id, reason[:MOST_NOTE])


def add_note(
    connection: Connection, project_id: str, annotator_id: str, reviewer_id: str, note: str
) -> None:
    """Keep a remark on an annotator, for reviewers.

    Raises:
        AccessError: If they are not a member of the project.
        StoreError: If the note is empty or too long.
    """
    _check_member(connection, project_id, annotator_id)
    if not note.strip() or len(note) > MOST_NOTE:
        raise StoreError(f"A note has 1 to {MOST_NOTE:,} characters.")
    record_event(connection, "member.noted", annotator_id, actor_id=reviewer_id,
                 project_id=project_id, detail={"reason": note.strip()})  # fmt: skip


def _check_member(connection: Connection, project_id: str, annotator_id: str) -> None:
    state = connection.scalar(
        select(t.memberships.c.state).where(
            t.memberships.c.project_id == project_id, t.memberships.c.annotator_id == annotator_id
        )
    )
    if state is None:
        raise AccessError("not-found", "There is no such member of this project.")


def remarks(connection: Connection, project_id: str, annotator_id: str) -> list[Remark]:
    """What was done about an annotator or noted, the latest first."""
    e = t.events.c
    rows = connection.execute(
        select(e.at, e.action, e.detail, t.annotators.c.name)
        .outerjoin(t.annotators, t.annotators.c.id == e.actor_id)
        .where(
            e.project_id == project_id, e.subject == annotator_id,
            text(t.MEMBER_EVENTS),  # as the index has it, so that it is used
        )
        .order_by(e.seq.desc())
        .limit(100)
    )  # fmt: skip
    return [
        Remark(row.at, row.action.split(".")[1], str(row.detail.get("reason", "")), row.name)
        for row in rows
    ]


def names(connection: Connection, annotator_ids: Sequence[str]) -> dict[str, str]:
    """Annotators' names by id."""
    rows = connection.execute(
        select(t.annotators.c.id, t.annotators.c.name).where(
            t.annotators.c.id.in_(list(annotator_ids))
        )
    )
    return {row.id: row.name for row in rows}
