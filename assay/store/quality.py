"""What is counted about a project: how far the work is, and the judgments that figures are made of.

Queries alone; coefficients and their intervals are made from them in :mod:`assay.collect.quality`.
Functions here run inside a transaction of the store and change nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, func, select, tuple_

from assay.stats import wilson
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.people import DAY_MS
from assay.types import Figure

PEOPLE = ("person", "imported")
"""Sources of judgments that figures are made of; models and verifiers are no annotators."""
CHECKS = ("screening", "training", "gold", "attention")
"""Purposes of comparisons whose answer is known."""
MOST_LEAKS = 100


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the comparisons for work are; a comparison is done when it has its judgments."""

    comparisons: int
    done: int
    in_progress: int
    """Not done, but with a judgment or in somebody's hands."""
    wanted: int
    """Judgments, of all comparisons."""
    judged: int
    at: int

    @property
    def free(self) -> int:
        """Comparisons that nobody has begun."""
        return self.comparisons - self.done - self.in_progress


def progress(connection: Connection, project_id: str) -> Progress:
    """How far a project is now."""
    c, now = t.comparisons.c, now_ms()
    work = (c.project_id == project_id, c.purpose == "work", c.is_published, ~c.is_withdrawn)
    row = connection.execute(
        select(
            func.count().label("comparisons"),
            func.coalesce(func.sum(c.overlap), 0).label("wanted"),
            func.coalesce(func.sum(c.filled), 0).label("judged"),
            func.coalesce(func.sum(case((c.filled >= c.overlap, 1), else_=0)), 0).label("done"),
            func.coalesce(
                func.sum(case(((c.filled > 0) & (c.filled < c.overlap), 1), else_=0)), 0
            ).label("begun"),
        ).where(*work)
    ).one()
    held = connection.scalar(
        select(func.count(t.slots.c.comparison_id.distinct()))
        .join(t.comparisons, c.id == t.slots.c.comparison_id)
        .where(
            t.slots.c.project_id == project_id, t.slots.c.lease_until >= now, c.filled == 0, *work
        )
    )
    return Progress(
        int(row.comparisons), int(row.done), int(row.begun) + int(held or 0), int(row.wanted),
        int(row.judged), now,
    )  # fmt: skip


def stand(connection: Connection, project_id: str) -> tuple[int, int]:
    """The number of judgments and the time of the last: changed where figures may have changed."""
    row = connection.execute(
        select(func.count(), func.coalesce(func.max(t.judgments.c.submitted), 0)).where(
            t.judgments.c.project_id == project_id
        )
    ).one()
    return int(row[0]), int(row[1])


def by_day(connection: Connection, project_id: str) -> list[tuple[int, int, int]]:
    """Of each day with work: its start, judgments made on the site, and active milliseconds."""
    j = t.judgments.c
    day = (j.submitted // DAY_MS).label("day")
    rows = connection.execute(
        select(day, func.count(), func.sum(j.active_ms))
        .where(j.project_id == project_id, j.withdrawn.is_(None), j.source == "person")
        .group_by(day)
        .order_by(day)
    )
    return [(int(row[0]) * DAY_MS, int(row[1]), int(row[2])) for row in rows]


def judged(connection: Connection, project_id: str) -> Iterator[Row[Any]]:
    """All standing judgments of people, comparison by comparison, as a stream.

    Judgments of withdrawn comparisons are left out. Rows have ``comparison_id``, ``number``,
    ``prompt_id``, ``purpose``, ``lead`` (the response listed first on import), ``annotator_id``,
    ``answer``, ``shown``, ``source``, ``surplus``, ``submitted`` and ``active_ms``.
    """
    c, j, listed = t.comparisons.c, t.judgments.c, t.comparison_responses.c
    query: Any = (
        select(
            c.id.label("comparison_id"), c.number, c.prompt_id, c.purpose,
            listed.response_id.label("lead"),
            j.annotator_id, j.answer, j.shown, j.source, j.surplus, j.submitted, j.active_ms,
        )
        .join(t.judgments, j.comparison_id == c.id)
        .join(t.comparison_responses, (listed.comparison_id == c.id) & (listed.number == 0))
        .where(
            c.project_id == project_id, c.is_published, ~c.is_withdrawn, j.withdrawn.is_(None),
            j.source.in_(PEOPLE),
        )
        .order_by(c.number, j.annotator_id)
    )  # fmt: skip
    yield from connection.execution_options(yield_per=2000).execute(query)


def models(connection: Connection, project_id: str) -> dict[str, str]:
    """Ids of a project's responses to the models that wrote them, where these are known."""
    rows = connection.execute(
        select(t.responses.c.id, t.responses.c.model)
        .join(t.prompts, t.prompts.c.id == t.responses.c.prompt_id)
        .where(t.prompts.c.project_id == project_id, t.responses.c.model.is_not(None))
    )
    return {row.id: row.model for row in rows}


@dataclass(frozen=True, slots=True)
class Checks:
    """What share of the items whose answer is known an annotator got right, by purpose."""

    right: Mapping[str, Figure]

    def of(self, purpose: str) -> Figure | None:
        """The share for a purpose, with Wilson's interval; None where none was answered."""
        return self.right.get(purpose)


def checks(connection: Connection, project_id: str) -> dict[str, Checks]:
    """Annotators' ids to how they did on screening, training, gold and attention items."""
    c, j = t.comparisons.c, t.judgments.c
    rows = connection.execute(
        select(
            j.annotator_id,
            c.purpose,
            func.count().label("n"),
            func.sum(case((j.is_correct, 1), else_=0)).label("right"),
        )
        .join(t.comparisons, c.id == j.comparison_id)
        .where(
            c.project_id == project_id, c.purpose != "work", c.is_published,
            j.withdrawn.is_(None), j.is_correct.is_not(None), j.source == "person",
        )
        .group_by(j.annotator_id, c.purpose)
    ).all()  # fmt: skip
    found: dict[str, dict[str, Figure]] = {}
    for row in rows:
        found.setdefault(row.annotator_id, {})[row.purpose] = wilson(int(row.right), int(row.n))
    return {who: Checks(right) for who, right in found.items()}


@dataclass(frozen=True, slots=True)
class Leak:
    """A response that may give its model away."""

    comparison_id: str
    number: int
    words: str


def leaks(connection: Connection, project_id: str) -> tuple[int, list[Leak]]:
    """How many responses may name their model, and the first ``MOST_LEAKS`` of them."""
    r, c = t.responses.c, t.comparisons.c
    base = (
        select(t.comparisons.c.id, c.number, r.leak)
        .select_from(t.responses)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == r.id)
        .join(t.comparisons, c.id == t.comparison_responses.c.comparison_id)
        .where(c.project_id == project_id, c.is_published, ~c.is_withdrawn, r.leak.is_not(None))
    )
    count = connection.scalar(select(func.count()).select_from(base.subquery()))
    rows = connection.execute(base.order_by(c.number).limit(MOST_LEAKS))
    return int(count or 0), [Leak(row.id, row.number, row.leak) for row in rows]


# --- one annotator --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class JudgmentLine:
    """A judgment in a list."""

    id: str
    comparison_id: str
    number: int
    purpose: str
    answer: Mapping[str, Any]
    shown: tuple[str, ...]
    is_correct: bool | None
    surplus: bool
    submitted: int
    active_ms: int
    withdrawn: int | None


def judgments_of(
    connection: Connection,
    project_id: str,
    annotator_id: str,
    limit: int = 50,
    before: tuple[int, str] | None = None,
) -> list[JudgmentLine]:
    """An annotator's judgments, the latest first.

    Args:
        before: Time and id of the last one on the page before.
    """
    j = t.judgments.c
    query = (
        select(
            j.id, j.comparison_id, t.comparisons.c.number, t.comparisons.c.purpose, j.answer,
            j.shown, j.is_correct, j.surplus, j.submitted, j.active_ms, j.withdrawn,
        )
        .join(t.comparisons, t.comparisons.c.id == j.comparison_id)
        .where(j.project_id == project_id, j.annotator_id == annotator_id)
        .order_by(j.submitted.desc(), j.id.desc())
        .limit(limit)
    )  # fmt: skip
    if before is not None:
        query = query.where(j.submitted <= before[0], tuple_(j.submitted, j.id) < before)
    return [
        JudgmentLine(
            row.id, row.comparison_id, row.number, row.purpose, row.answer, tuple(row.shown),
            row.is_correct, row.surplus, row.submitted, row.active_ms, row.withdrawn,
        )
        for row in connection.execute(query)
    ]  # fmt: skip


def openings(
    connection: Connection, comparison_ids: Sequence[str], most: int = 120
) -> dict[str, str]:
    """The first words of the last message of some comparisons' prompts."""
    rows = connection.execute(
        select(t.comparisons.c.id, t.prompts.c.messages)
        .join(t.prompts, t.prompts.c.id == t.comparisons.c.prompt_id)
        .where(t.comparisons.c.id.in_(list(comparison_ids)))
    )
    found = {}
    for row in rows:
        text = " ".join(str((row.messages or [{}])[-1].get("content", "")).split())
        found[row.id] = text if len(text) <= most else text[: most - 1] + "…"
    return found
