"""Lists for those who run a site or a project: projects, people, members, imports, the record.

Every list goes on from a key, the last one shown; see :mod:`assay.store.comparisons` for those of
comparisons. Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, func, select

from assay.store import tables as t
from assay.store.events import Event, as_event
from assay.store.people import Annotator, Member, as_annotator
from assay.store.records import Page, Role

PAGE = 50


@dataclass(frozen=True, slots=True)
class ImportLine:
    """An import, with what it counted."""

    id: str
    source: str
    format: str
    counts: Mapping[str, int]
    state: str
    created: int


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A project as a list shows it, with the asker's role in it."""

    id: str
    name: str
    role: Role
    is_paused: bool
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


def projects(
    connection: Connection,
    annotator_id: str,
    *,
    every: bool = False,
    after: str | None = None,
    limit: int = PAGE,
) -> Page[ProjectLine]:
    """The projects that a person is in, by id (the first made first); or every one."""
    p, m = t.projects.c, t.memberships.c
    mine = (m.project_id == p.id) & (m.annotator_id == annotator_id)
    query = select(p.id, p.name, func.coalesce(m.role, "admin"), p.is_paused, p.created)
    query = query.join(t.memberships, mine, isouter=every)
    if after is not None:
        query = query.where(p.id > after)
    rows = [ProjectLine(*row) for row in connection.execute(query.order_by(p.id).limit(limit + 1))]
    return Page(rows[:limit], rows[limit - 1].id if len(rows) > limit else None)


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
    found = [as_annotator(row) for row in rows[:limit]]
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
        (Member(row.id, row.name, cast("Role", row.role), row.state), as_annotator(row))
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
    found = [Recorded(as_event(row), row.name, row.about) for row in rows[:limit]]
    return Page(found, str(found[-1].event.seq) if len(rows) > limit else None)


def events_after(
    connection: Connection, project_id: str | None, after: int = 0, limit: int = PAGE
) -> Page[Event]:
    """Entries of a project, or of the whole site, in order, from the first after a number."""
    e = t.events.c
    query = select(t.events).where(e.seq > after)
    if project_id is not None:
        query = query.where(e.project_id == project_id)
    rows = list(map(as_event, connection.execute(query.order_by(e.seq).limit(limit + 1))))
    return Page(rows[:limit], str(rows[limit - 1].seq) if len(rows) > limit else None)


def every_event(connection: Connection, project_id: str) -> Iterator[dict[str, Any]]:
    """All entries of a project as JSON, the first first, with the seals that bind them."""
    rows = connection.execution_options(yield_per=1000).execute(
        select(t.events).where(t.events.c.project_id == project_id).order_by(t.events.c.seq)
    )
    for row in rows:
        yield dict(row._mapping)
