"""Comparisons and judgments as they are stored, to list, to read and to stream.

Lists go by key and read no JSON. Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, and_, case, func, or_, select

from assay.store import tables as t
from assay.store.records import Judged, Kind, Purpose, Role

State = Literal["open", "done", "withdrawn"]


@dataclass(frozen=True, slots=True)
class Listed:
    """A comparison as a list shows it."""

    id: str
    number: int
    kind: Kind
    purpose: Purpose
    overlap: int
    filled: int
    """Judgments that count."""
    language: str | None
    is_withdrawn: bool
    import_id: str | None
    created: int


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response with what annotators never see of it."""

    id: str
    messages: Sequence[Mapping[str, Any]]
    steps: Sequence[Mapping[str, Any]] | None
    model: str | None
    leak: str | None
    """Words by which it may give its model away."""
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class StoredComparison:
    """A comparison with all that hangs on it."""

    listed: Listed
    prompt: Sequence[Mapping[str, Any]]
    tools: Sequence[Mapping[str, Any]] | None
    responses: tuple[StoredResponse, ...]
    expected: Mapping[str, Any] | None
    extra: Mapping[str, Any]
    judgments: tuple[Judged, ...]


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a project is. Judgments are those that count, of comparisons that are work."""

    comparisons: int
    done: int
    wanted: int
    judgments: int
    surplus: int
    withdrawn: int


@dataclass(frozen=True, slots=True)
class ProjectLine:
    """A project as a list shows it, with the asker's role in it."""

    id: str
    name: str
    role: Role
    is_paused: bool
    created: int


_LISTED = tuple(
    t.comparisons.c[name]
    for name in (
        "id", "number", "kind", "purpose", "overlap", "filled", "language", "is_withdrawn",
        "import_id", "created",
    )
)  # fmt: skip


def projects(
    connection: Connection,
    annotator_id: str,
    *,
    every: bool = False,
    after: str | None = None,
    limit: int = 100,
) -> list[ProjectLine]:
    """The projects that a person is in, by id (the first made first); or every one."""
    p, m = t.projects.c, t.memberships.c
    mine = (m.project_id == p.id) & (m.annotator_id == annotator_id)
    query = select(p.id, p.name, func.coalesce(m.role, "admin"), p.is_paused, p.created)
    query = query.join(t.memberships, mine, isouter=every)
    if after is not None:
        query = query.where(p.id > after)
    rows = connection.execute(query.order_by(p.id).limit(limit))
    return [ProjectLine(*row) for row in rows]


def events(
    connection: Connection, project_id: str | None, *, after: int = 0, limit: int = 100
) -> list[Row[Any]]:
    """Entries of the record of a project, or of the whole site, from the first after a number."""
    e = t.events.c
    query = select(
        e.seq, e.at, e.action, e.subject, e.detail, e.actor_id, e.project_id, e.digest
    ).where(e.seq > after)
    if project_id is not None:
        query = query.where(e.project_id == project_id)
    return list(connection.execute(query.order_by(e.seq).limit(limit)))


def listed(
    connection: Connection,
    project_id: str,
    *,
    after: int = 0,
    limit: int = 100,
    kind: str | None = None,
    purpose: str | None = None,
    state: State | None = None,
    language: str | None = None,
    import_id: str | None = None,
) -> list[Listed]:
    """Comparisons of a project by their number, from the first one after ``after``.

    Args:
        state: open wants more judgments, done has them, withdrawn is given out no more.
    """
    c = t.comparisons.c
    query = select(*_LISTED).where(c.project_id == project_id, c.number > after, c.is_published)
    for column, wanted in (
        (c.kind, kind), (c.purpose, purpose), (c.language, language), (c.import_id, import_id),
    ):  # fmt: skip
        if wanted is not None:
            query = query.where(column == wanted)
    if state == "withdrawn":
        query = query.where(c.is_withdrawn)
    elif state is not None:
        enough = c.filled >= c.overlap
        query = query.where(~c.is_withdrawn, enough if state == "done" else ~enough)
    rows = connection.execute(query.order_by(c.number).limit(limit))
    return [Listed(*row) for row in rows]


def stored(connection: Connection, project_id: str, comparison_id: str) -> StoredComparison | None:
    """One comparison of the project with its responses and judgments; None where it has none such.

    Responses come as imported. Judgments come by time, those that were withdrawn with them.
    """
    c = t.comparisons.c
    row = connection.execute(
        select(*_LISTED, c.expected, c.extra, t.prompts.c.messages, t.prompts.c.tools)
        .join(t.prompts, t.prompts.c.id == c.prompt_id)
        .where(c.id == comparison_id, c.project_id == project_id, c.is_published)
    ).one_or_none()
    if row is None:
        return None
    r = t.responses.c
    responses = connection.execute(
        select(r.id, r.messages, r.steps, r.model, r.leak, r.provenance)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == r.id)
        .where(t.comparison_responses.c.comparison_id == comparison_id)
        .order_by(t.comparison_responses.c.number)
    )
    judged = connection.execute(
        _judged()
        .where(t.judgments.c.comparison_id == comparison_id)
        .order_by(t.judgments.c.submitted, t.judgments.c.id)
    )
    return StoredComparison(
        Listed(*row[: len(_LISTED)]), row.messages, row.tools,
        tuple(StoredResponse(*response) for response in responses),
        row.expected, row.extra, tuple(map(_as_judged, judged)),
    )  # fmt: skip


def _judged() -> Any:
    j = t.judgments.c
    return select(
        j.id, j.comparison_id, j.annotator_id, t.annotators.c.name.label("annotator"), j.answer,
        j.shown, j.surplus, j.source, j.rubric_id, j.started, j.submitted, j.active_ms,
        j.withdrawn, j.is_correct,
    ).join(t.annotators, t.annotators.c.id == j.annotator_id)  # fmt: skip


def _as_judged(row: Row[Any]) -> Judged:
    return Judged(**{**row._mapping, "shown": tuple(row.shown)})


def judged_since(
    connection: Connection,
    project_id: str,
    *,
    since: int = 0,
    after_id: str = "",
    limit: int = 1000,
    withdrawn: bool = False,
) -> list[Judged]:
    """Judgments by the time they were submitted, and by id where it is the same.

    Args:
        since: Milliseconds since 1970.
        after_id: Of those submitted at ``since``, only the ones after this id.
        withdrawn: Whether those that were withdrawn or replaced come too.
    """
    j = t.judgments.c
    query = _judged().where(
        j.project_id == project_id,
        j.submitted >= since,
        or_(j.submitted > since, and_(j.submitted == since, j.id > after_id)),
    )
    if not withdrawn:
        query = query.where(j.withdrawn.is_(None))
    rows = connection.execute(query.order_by(j.submitted, j.id).limit(limit))
    return [_as_judged(row) for row in rows]


def counts(connection: Connection, project_id: str) -> Counts:
    """How far the project is."""
    c, j = t.comparisons.c, t.judgments.c
    row = connection.execute(
        select(
            func.count(),
            func.coalesce(func.sum(case((c.filled >= c.overlap, 1), else_=0)), 0),
            func.coalesce(func.sum(c.overlap), 0),
            func.coalesce(func.sum(c.filled), 0),
        ).where(
            c.project_id == project_id, c.purpose == "work", c.is_published, ~c.is_withdrawn
        )
    ).one()  # fmt: skip
    withdrawn = connection.scalar(
        select(func.count()).where(c.project_id == project_id, c.is_published, c.is_withdrawn)
    )
    surplus = connection.scalar(
        select(func.count()).where(j.project_id == project_id, j.surplus, j.withdrawn.is_(None))
    )
    comparisons, done, wanted, judgments = (int(value) for value in row)
    return Counts(
        comparisons, done, wanted, judgments, int(surplus or 0), int(withdrawn or 0)
    )  # fmt: skip
