"""Comparisons and judgments as they are stored, to list, to read and to stream.

Every list goes on from a key, the last one shown, so that the hundredth page costs what the first
does. Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Connection, Row, Select, and_, case, func, or_, select

from assay.store import tables as t
from assay.store.records import Judged, Kind, Page, Purpose
from assay.types import Messages, as_messages

PAGE = 50
EXCERPT = 140
State = Literal["open", "done", "withdrawn"]
"""Of work: open wants more judgments, done has them. withdrawn is given out no more."""


@dataclass(frozen=True, slots=True)
class Filter:
    """Which comparisons a list is of; None: all."""

    state: State | None = None
    purpose: Purpose | None = None
    kind: Kind | None = None
    language: str | None = None
    import_id: str | None = None
    flagged: bool = False
    """Whether only those with a flag that nobody has resolved."""
    leaked: bool = False
    """Whether only those with a response that may give its model away."""


@dataclass(frozen=True, slots=True)
class Listed:
    """A comparison as a list has it."""

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
class Marks:
    """What a page shows of a comparison in a list besides."""

    flags: int
    """Flags that nobody has resolved."""
    leaks: int
    """Responses that may give their model away."""
    excerpt: str
    """The beginning of what was asked last."""


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response with what annotators never see of it."""

    id: str
    number: int
    """As imported, from 0."""
    messages: Messages
    steps: tuple[Mapping[str, Any], ...] | None
    model: str | None
    leak: str | None
    """Words by which it may give its model away."""
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Flag:
    """What an annotator said is wrong with a comparison."""

    id: str
    annotator: str
    reason: str
    at: int
    resolved: int | None


@dataclass(frozen=True, slots=True)
class StoredComparison:
    """A comparison with all that hangs on it, as those who run the project see it."""

    listed: Listed
    place: float
    source: str | None
    """Of its import."""
    prompt: Messages
    tools: Sequence[Mapping[str, Any]] | None
    responses: tuple[StoredResponse, ...]
    """As imported."""
    expected: Mapping[str, Any] | None
    extra: Mapping[str, Any]
    judgments: tuple[Judged, ...]
    """By time, those that were withdrawn with them."""
    flags: tuple[Flag, ...]
    held: int
    """Annotators who have it open now."""


@dataclass(frozen=True, slots=True)
class Counts:
    """How far a project is. Judgments are those that count, of comparisons that are work."""

    comparisons: int
    done: int
    wanted: int
    judgments: int
    surplus: int
    withdrawn: int


# --- lists ----------------------------------------------------------------------------------------

_LISTED = tuple(
    t.comparisons.c[name]
    for name in (
        "id", "number", "kind", "purpose", "overlap", "filled", "language", "is_withdrawn",
        "import_id", "created",
    )
)  # fmt: skip


def listed(
    connection: Connection,
    project_id: str,
    which: Filter | None = None,
    after: int = 0,
    limit: int = PAGE,
) -> Page[Listed]:
    """Comparisons of a project by their number, from the first one after ``after``; no texts."""
    c = t.comparisons.c
    query = select(*_LISTED).where(c.project_id == project_id, c.is_published, c.number > after)
    query = _filtered(query, which or Filter()).order_by(c.number).limit(limit + 1)
    rows = [Listed(*row) for row in connection.execute(query)]
    return Page(rows[:limit], str(rows[limit - 1].number) if len(rows) > limit else None)


def _filtered(query: Select[Any], which: Filter) -> Select[Any]:
    c = t.comparisons.c
    if which.state == "withdrawn":
        query = query.where(c.is_withdrawn)
    elif which.state is not None:
        query = query.where(~c.is_withdrawn, c.purpose == "work")
        query = query.where(c.filled < c.overlap if which.state == "open" else
                            c.filled == c.overlap)  # fmt: skip
    for column, wanted in (
        (c.purpose, which.purpose), (c.kind, which.kind), (c.language, which.language),
        (c.import_id, which.import_id),
    ):  # fmt: skip
        if wanted is not None:
            query = query.where(column == wanted)
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


def marks(connection: Connection, comparisons: Sequence[Listed]) -> dict[str, Marks]:
    """Flags, leaks and the beginning of the prompt, by comparison."""
    ids = [comparison.id for comparison in comparisons]
    flags, leaks = _by_id(connection, _open_flags(ids)), _by_id(connection, _leaks(ids))
    prompts = _by_id(
        connection,
        select(t.comparisons.c.id, t.prompts.c.messages)
        .join(t.prompts, t.prompts.c.id == t.comparisons.c.prompt_id)
        .where(t.comparisons.c.id.in_(ids)),
    )
    return {
        i: Marks(flags.get(i, 0), leaks.get(i, 0), excerpt(as_messages(prompts[i], "user")))
        for i in ids
    }


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


def _by_id(connection: Connection, query: Select[Any]) -> dict[str, Any]:
    return {row[0]: row[1] for row in connection.execute(query)}


def excerpt(messages: Messages) -> str:
    """The beginning of the last message, on one line."""
    text = " ".join((messages[-1].content if messages else "")[: EXCERPT * 4].split())
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"


# --- one comparison -------------------------------------------------------------------------------


def stored(connection: Connection, project_id: str, comparison_id: str) -> StoredComparison | None:
    """One comparison of the project with all that hangs on it; None where it has none such."""
    c = t.comparisons.c
    row = connection.execute(
        select(
            *_LISTED, c.place, c.expected, c.extra, t.prompts.c.messages, t.prompts.c.tools,
            t.imports.c.source,
        )
        .join(t.prompts, t.prompts.c.id == c.prompt_id)
        .outerjoin(t.imports, t.imports.c.id == c.import_id)
        .where(c.id == comparison_id, c.project_id == project_id, c.is_published)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    judged = connection.execute(
        _judged()
        .where(t.judgments.c.comparison_id == comparison_id)
        .order_by(t.judgments.c.submitted, t.judgments.c.id)
    )
    held = select(func.count()).where(
        t.slots.c.comparison_id == comparison_id, t.slots.c.lease_until.is_not(None)
    )
    return StoredComparison(
        listed=Listed(*row[: len(_LISTED)]),
        place=row.place,
        source=row.source,
        prompt=as_messages(row.messages, "user"),
        tools=row.tools,
        responses=_responses(connection, comparison_id),
        expected=row.expected,
        extra=row.extra,
        judgments=tuple(map(_as_judged, judged)),
        flags=_flags(connection, comparison_id),
        held=int(connection.scalar(held) or 0),
    )


def _responses(connection: Connection, comparison_id: str) -> tuple[StoredResponse, ...]:
    places, r = t.comparison_responses.c, t.responses.c
    rows = connection.execute(
        select(r.id, places.number, r.messages, r.steps, r.model, r.leak, r.provenance)
        .join(t.comparison_responses, places.response_id == r.id)
        .where(places.comparison_id == comparison_id)
        .order_by(places.number)
    )
    return tuple(
        StoredResponse(
            row.id, row.number, as_messages(row.messages, "assistant"),
            None if row.steps is None else tuple(row.steps), row.model, row.leak, row.provenance,
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


# --- judgments ------------------------------------------------------------------------------------


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
