"""A project as one of its annotators meets it, and what they have of a comparison.

Functions here run inside a transaction of the store. Statements of every request are made once: to
make one takes far longer than to run it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Row, bindparam, exists, or_, select

from assay.errors import StoreError
from assay.store import tables as t
from assay.store.records import ProjectSettings, Rubric


class AccessError(StoreError):
    """The annotator may not do this, or not any more. ``code`` says why in a word."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Desk:
    """A project as one of its annotators meets it."""

    project_id: str
    annotator_id: str
    settings: ProjectSettings
    languages: tuple[str, ...]
    cursor: float


PROJECT: BindParameter[str] = bindparam("project")
ANNOTATOR: BindParameter[str] = bindparam("annotator")
COMPARISON: BindParameter[str] = bindparam("comparison")
_DESK = (
    select(
        t.projects.c.settings, t.projects.c.is_paused, t.memberships.c.state,
        t.memberships.c.cursor, t.annotators.c.languages, t.annotators.c.is_active,
    )
    .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
    .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
    .where(t.projects.c.id == PROJECT, t.annotators.c.id == ANNOTATOR)
)  # fmt: skip
_DESK_LOCKED = _DESK.with_for_update(of=t.memberships, key_share=True)


def desk(
    connection: Connection, project_id: str, annotator_id: str, *, locked: bool = False
) -> Desk:
    """The desk of an active annotator.

    Args:
        locked: Whether the annotator's other requests at this desk wait until the commit.

    Raises:
        AccessError: If they are no member, blocked or inactive, or the project is paused.
    """
    key = {"project": project_id, "annotator": annotator_id}
    row = connection.execute(_DESK_LOCKED if locked else _DESK, key).one_or_none()
    if row is None or not row.is_active:
        raise AccessError("not-a-member", "You are not a member of this project.")
    if row.is_paused:
        raise AccessError("paused", "This project is paused; what you have done is safe.")
    if row.state == "blocked":
        raise AccessError("blocked", "A reviewer must look at your answers before you go on.")
    settings = ProjectSettings.from_dict(row.settings)
    return Desk(project_id, annotator_id, settings, tuple(row.languages), row.cursor)


_CASE = (
    select(
        t.comparisons, t.projects.c.settings.label("project_settings"),
        t.memberships.c.cursor, t.annotators.c.languages,
    )
    .join(t.projects, t.projects.c.id == t.comparisons.c.project_id)
    .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
    .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
    .where(
        t.comparisons.c.id == COMPARISON, t.comparisons.c.is_published,
        t.annotators.c.id == ANNOTATOR, t.annotators.c.is_active,
    )
)  # fmt: skip


_CASE_LOCKED = _CASE.with_for_update(of=t.comparisons, key_share=True)


def case_of(
    connection: Connection, comparison_id: str, annotator_id: str, *, locked: bool = False
) -> tuple[Row[Any], Desk]:
    """A comparison, and a member's desk, also a blocked one's or in a pause: work done is taken.

    Args:
        locked: Whether others who change the comparison or judge it wait until the commit.
    """
    key = {"comparison": comparison_id, "annotator": annotator_id}
    row = connection.execute(_CASE_LOCKED if locked else _CASE, key).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    settings = ProjectSettings.from_dict(row.project_settings)
    return row, Desk(row.project_id, annotator_id, settings, tuple(row.languages), row.cursor)


def published(connection: Connection, comparison_id: str) -> Row[Any]:
    """A comparison by id.

    Raises:
        AccessError: If there is none such, or its import goes on.
    """
    row = connection.execute(
        select(t.comparisons).where(
            t.comparisons.c.id == comparison_id, t.comparisons.c.is_published
        )
    ).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    return row


_STANDING = select(t.judgments).where(
    t.judgments.c.comparison_id == COMPARISON,
    t.judgments.c.annotator_id == ANNOTATOR,
    t.judgments.c.withdrawn.is_(None),
)
_STANDING_LOCKED = _STANDING.with_for_update()


def standing_judgment(
    connection: Connection, comparison_id: str, annotator_id: str, *, locked: bool = False
) -> Row[Any] | None:
    """An annotator's judgment of a comparison that was not withdrawn."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return connection.execute(_STANDING_LOCKED if locked else _STANDING, key).one_or_none()


_MET = select(or_(*(
    exists().where(place.c.comparison_id == COMPARISON, place.c.annotator_id == ANNOTATOR)
    for place in (t.slots, t.judgments, t.drafts)
)))  # fmt: skip


def has_met(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    """Whether an annotator has a slot, a judgment or a draft of a comparison."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return bool(connection.scalar(_MET, key))


@dataclass(frozen=True, slots=True)
class RubricVersion:
    """A rubric with its id."""

    id: str
    rubric: Rubric


_RUBRIC = (
    select(t.rubrics.c.id, t.rubrics.c.body)
    .where(t.rubrics.c.project_id == PROJECT)
    .order_by(t.rubrics.c.version.desc())
    .limit(1)
)
_RUBRIC_NAMED = _RUBRIC.where(t.rubrics.c.id == bindparam("rubric"))


def rubric_of(
    connection: Connection, project_id: str, rubric_id: str | None = None
) -> RubricVersion:
    """A version of a project's rubric, by default the latest.

    Raises:
        AccessError: If the project has no such version.
    """
    query, key = _RUBRIC, {"project": project_id}
    if rubric_id is not None:
        query, key = _RUBRIC_NAMED, key | {"rubric": rubric_id}
    row = connection.execute(query, key).one_or_none()
    if row is None:
        raise AccessError("no-rubric", "The project has no such rubric.")
    return RubricVersion(row.id, Rubric.from_dict(row.body))
