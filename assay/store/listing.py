"""Lists for those who run a project: comparisons, imports, people, members, the record.

Every list goes on from a key, the last one shown, so that the hundredth page costs what the first
does; one row more than asked for says whether there is another page. Functions here run inside a
transaction of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast

from sqlalchemy import Connection, Row, Select, func, select

from assay.store import tables as t
from assay.store.comparisons import State
from assay.store.events import Event
from assay.store.people import Annotator, Member, _annotator
from assay.store.records import Judged, Kind, Purpose, Role
from assay.types import Messages, as_messages

T = TypeVar("T")
PAGE = 50
EXCERPT = 140


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows of a list, and from where it goes on; None at its end."""

    rows: list[T]
    more: str | None


@dataclass(frozen=True, slots=True)
class Line:
    """A comparison in a list."""

    id: str
    number: int
    kind: Kind
    purpose: Purpose
    overlap: int
    filled: int
    is_withdrawn: bool
    flags: int
    """Flags that nobody has resolved."""
    leaks: int
    """Responses that may give their model away."""
    excerpt: str
    """The beginning of what was asked last."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which comparisons a list is of; None: all."""

    state: State | None = None
    purpose: Purpose | None = None
    flagged: bool = False
    leaked: bool = False


@dataclass(frozen=True, slots=True)
class SeenResponse:
    """A response as reviewers see it."""

    id: str
    number: int
    messages: Messages
    steps: tuple[Mapping[str, Any], ...] | None
    model: str | None
    leak: str | None


@dataclass(frozen=True, slots=True)
class Flag:
    """What an annotator said is wrong with a comparison."""

    id: str
    annotator: str
    reason: str
    at: int
    resolved: int | None


@dataclass(frozen=True, slots=True)
class Seen:
    """A comparison with all that belongs to it, as reviewers see it."""

    id: str
    number: int
    kind: Kind
    purpose: Purpose
    overlap: int
    filled: int
    place: float
    language: str | None
    is_withdrawn: bool
    expected: Mapping[str, Any] | None
    source: str | None
    prompt: Messages
    responses: tuple[SeenResponse, ...]
    judgments: tuple[Judged, ...]
    flags: tuple[Flag, ...]
    held: int
    """Annotators who have it open now."""


@dataclass(frozen=True, slots=True)
class ImportLine:
    """An import, with what it counted."""

    id: str
    source: str
    format: str
    counts: Mapping[str, int]
    state: str
    created: int


def has_project(connection: Connection, project_id: str) -> bool:
    """Whether there is such a project."""
    found = connection.scalar(select(t.projects.c.id).where(t.projects.c.id == project_id))
    return found is not None


def has_site_admin(connection: Connection, with_password: bool = False) -> bool:
    """Whether an active person may do everything, and, where asked for, comes in by a password."""
    a = t.annotators.c
    query = select(a.id).where(a.is_site_admin, a.is_active).limit(1)
    if with_password:
        query = query.where(a.password_hash.is_not(None))
    return connection.scalar(query) is not None


# --- comparisons ----------------------------------------------------------------------------------


def comparisons(
    connection: Connection,
    project_id: str,
    which: Filter | None = None,
    after: int = 0,
    limit: int = PAGE,
) -> Page[Line]:
    """Comparisons of a project in the order of their numbers, after a number."""
    c, which = t.comparisons.c, which or Filter()
    query = (
        select(c.id, c.number, c.kind, c.purpose, c.overlap, c.filled, c.is_withdrawn, c.prompt_id)
        .where(c.project_id == project_id, c.is_published, c.number > after)
        .order_by(c.number)
    )
    rows = list(connection.execute(_filtered(query, which).limit(limit + 1)))
    shown = rows[:limit]
    ids = [row.id for row in shown]
    flags, leaks = _counts(connection, _open_flags(ids)), _counts(connection, _leaks(ids))
    excerpts = _excerpts(connection, [row.prompt_id for row in shown])
    lines = [
        Line(
            row.id, row.number, row.kind, row.purpose, row.overlap, row.filled, row.is_withdrawn,
            flags.get(row.id, 0), leaks.get(row.id, 0), excerpts[row.prompt_id],
        )
        for row in shown
    ]  # fmt: skip
    return Page(lines, str(shown[-1].number) if len(rows) > limit else None)


def _filtered(query: Select[Any], which: Filter) -> Select[Any]:
    c = t.comparisons.c
    if which.state == "withdrawn":
        query = query.where(c.is_withdrawn)
    elif which.state is not None:
        query = query.where(~c.is_withdrawn, c.purpose == "work")
        query = query.where(c.filled < c.overlap if which.state == "open" else
                            c.filled == c.overlap)  # fmt: skip
    if which.purpose is not None:
        query = query.where(c.purpose == which.purpose)
    if which.flagged:
        query = query.where(
            c.id.in_(select(t.flags.c.comparison_id).where(t.flags.c.resolved.is_(None)))
        )
    if which.leaked:
        places = t.comparison_responses
        query = query.where(
            c.id.in_(
                select(places.c.comparison_id)
                .join(t.responses, t.responses.c.id == places.c.response_id)
                .where(t.responses.c.leak.is_not(None))
            )
        )
    return query


def _open_flags(ids: Sequence[str]) -> Select[Any]:
    return (
        select(t.flags.c.comparison_id, func.count().label("n"))
        .where(t.flags.c.comparison_id.in_(ids), t.flags.c.resolved.is_(None))
        .group_by(t.flags.c.comparison_id)
    )


def _leaks(ids: Sequence[str]) -> Select[Any]:
    places = t.comparison_responses
    return (
        select(places.c.comparison_id, func.count().label("n"))
        .join(t.responses, t.responses.c.id == places.c.response_id)
        .where(places.c.comparison_id.in_(ids), t.responses.c.leak.is_not(None))
        .group_by(places.c.comparison_id)
    )


def _counts(connection: Connection, query: Select[Any]) -> dict[str, int]:
    return {row[0]: row[1] for row in connection.execute(query)}


def _excerpts(connection: Connection, prompt_ids: Sequence[str]) -> dict[str, str]:
    found = connection.execute(
        select(t.prompts.c.id, t.prompts.c.messages).where(t.prompts.c.id.in_(prompt_ids))
    )
    return {row.id: excerpt(as_messages(row.messages, "user")) for row in found}


def excerpt(messages: Messages) -> str:
    """The beginning of the last message, on one line."""
    text = " ".join((messages[-1].content if messages else "")[: EXCERPT * 4].split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


def comparison(connection: Connection, project_id: str, comparison_id: str) -> Seen | None:
    """A comparison of a project with its responses, judgments and flags; None where it has none."""
    c = t.comparisons
    row = connection.execute(
        select(c, t.prompts.c.messages, t.imports.c.source)
        .join(t.prompts, t.prompts.c.id == c.c.prompt_id)
        .outerjoin(t.imports, t.imports.c.id == c.c.import_id)
        .where(c.c.id == comparison_id, c.c.project_id == project_id, c.c.is_published)
    ).one_or_none()
    if row is None:
        return None
    held = select(func.count()).where(
        t.slots.c.comparison_id == comparison_id, t.slots.c.lease_until.is_not(None)
    )
    return Seen(
        row.id, row.number, row.kind, row.purpose, row.overlap, row.filled, row.place,
        row.language, row.is_withdrawn, row.expected, row.source,
        as_messages(row.messages, "user"), _responses(connection, comparison_id),
        _judgments(connection, comparison_id), _flags(connection, comparison_id),
        int(connection.scalar(held) or 0),
    )  # fmt: skip


def _responses(connection: Connection, comparison_id: str) -> tuple[SeenResponse, ...]:
    places, r = t.comparison_responses, t.responses
    rows = connection.execute(
        select(places.c.number, r.c.id, r.c.messages, r.c.steps, r.c.model, r.c.leak)
        .join(r, r.c.id == places.c.response_id)
        .where(places.c.comparison_id == comparison_id)
        .order_by(places.c.number)
    )
    return tuple(
        SeenResponse(
            row.id, row.number, as_messages(row.messages, "assistant"),
            None if row.steps is None else tuple(row.steps), row.model, row.leak,
        )
        for row in rows
    )  # fmt: skip


def _judgments(connection: Connection, comparison_id: str) -> tuple[Judged, ...]:
    j = t.judgments
    rows = connection.execute(
        select(j, t.annotators.c.name)
        .join(t.annotators, t.annotators.c.id == j.c.annotator_id)
        .where(j.c.comparison_id == comparison_id)
        .order_by(j.c.submitted, j.c.id)
    )
    return tuple(
        Judged(
            row.id, row.comparison_id, row.annotator_id, row.name, row.answer, tuple(row.shown),
            row.surplus, row.source, row.rubric_id, row.started, row.submitted, row.active_ms,
            row.withdrawn, row.is_correct,
        )
        for row in rows
    )  # fmt: skip


def _flags(connection: Connection, comparison_id: str) -> tuple[Flag, ...]:
    f = t.flags
    rows = connection.execute(
        select(f.c.id, t.annotators.c.name, f.c.reason, f.c.at, f.c.resolved)
        .join(t.annotators, t.annotators.c.id == f.c.annotator_id)
        .where(f.c.comparison_id == comparison_id)
        .order_by(f.c.at)
    )
    return tuple(Flag(row.id, row.name, row.reason, row.at, row.resolved) for row in rows)


# --- people and imports --------------------------------------------------------------------------


def people(
    connection: Connection, like: str = "", after: str = "", limit: int = PAGE
) -> Page[Annotator]:
    """People by name, after a name; those whose name holds some letters."""
    name = func.lower(t.annotators.c.name)
    # the database's own lower(): SQLite's leaves letters alone that are not ASCII
    query = select(t.annotators).where(name > func.lower(after)).order_by(name)
    if like:
        held = "".join(f"/{c}" if c in "/%_" else c for c in like)
        query = query.where(name.like(func.lower(f"%{held}%"), escape="/"))
    rows = list(connection.execute(query.limit(limit + 1)))
    found = [_annotator(row) for row in rows[:limit]]
    return Page(found, found[-1].name if len(rows) > limit else None)


def members(
    connection: Connection, project_id: str, after: str = "", limit: int = PAGE
) -> Page[tuple[Member, Annotator]]:
    """Members of a project by name, after a name, each with their account."""
    name, m = func.lower(t.annotators.c.name), t.memberships
    rows = list(
        connection.execute(
            select(t.annotators, m.c.role, m.c.state)
            .join(m, m.c.annotator_id == t.annotators.c.id)
            .where(m.c.project_id == project_id, name > func.lower(after))
            .order_by(name)
            .limit(limit + 1)
        )
    )
    found = [
        (Member(row.id, row.name, cast("Role", row.role), row.state), _annotator(row))
        for row in rows[:limit]
    ]
    return Page(found, found[-1][0].name if len(rows) > limit else None)


def projects_of(connection: Connection, annotator_id: str) -> list[str]:
    """Ids of the projects that a person is a member of."""
    return list(connection.scalars(
        select(t.memberships.c.project_id).where(t.memberships.c.annotator_id == annotator_id)
    ))  # fmt: skip


def has_way_in(connection: Connection, annotator_id: str) -> bool:
    """Whether a person has a password, or comes in by an OpenID provider."""
    a = t.annotators.c
    row = connection.execute(
        select(a.password_hash, a.subject).where(a.id == annotator_id)
    ).one_or_none()
    return row is not None and (row.password_hash is not None or row.subject is not None)


def imports(
    connection: Connection, project_id: str, before: str = "", limit: int = PAGE
) -> Page[ImportLine]:
    """Imports of a project, the latest first, before an id (ids sort by time)."""
    i = t.imports
    query = select(i).where(i.c.project_id == project_id).order_by(i.c.id.desc())
    if before:
        query = query.where(i.c.id < before)
    rows = list(connection.execute(query.limit(limit + 1)))
    found = [
        ImportLine(row.id, row.source, row.format, row.counts, row.state, row.created)
        for row in rows[:limit]
    ]
    return Page(found, found[-1].id if len(rows) > limit else None)


# --- the record -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry of the record, with the names of who did it and of the person it is about."""

    event: Event
    actor: str | None
    about: str | None


def events(
    connection: Connection, project_id: str, before: int | None = None, limit: int = PAGE
) -> Page[Recorded]:
    """Entries of a project, the latest first, before a number."""
    e, about = t.events, t.annotators.alias("about")
    query = (
        select(e, t.annotators.c.name, about.c.name.label("about"))
        .outerjoin(t.annotators, t.annotators.c.id == e.c.actor_id)
        .outerjoin(about, about.c.id == e.c.subject)
        .where(e.c.project_id == project_id)
        .order_by(e.c.project_id.desc(), e.c.seq.desc())
    )
    if before is not None:
        query = query.where(e.c.seq < before)
    rows = list(connection.execute(query.limit(limit + 1)))
    found = [Recorded(_event(row), row.name, row.about) for row in rows[:limit]]
    return Page(found, str(found[-1].event.seq) if len(rows) > limit else None)


def every_event(connection: Connection, project_id: str) -> Iterator[dict[str, Any]]:
    """All entries of a project as JSON, the first first, with the seals that bind them."""
    rows = connection.execution_options(yield_per=1000).execute(
        select(t.events).where(t.events.c.project_id == project_id).order_by(t.events.c.seq)
    )
    for row in rows:
        yield dict(row._mapping)


def _event(row: Row[Any]) -> Event:
    return Event(row.seq, row.at, row.action, row.subject, row.detail, row.actor_id, row.project_id)
