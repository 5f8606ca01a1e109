"""The store as others use it: open it, make a project, fill it, claim, submit, read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, update

from assay.errors import ConfigError, StoreError
from assay.store import assignment, desk, importing, submitting
from assay.store import tables as t
from assay.store.database import Database, now_ms
from assay.store.events import record_event, verify_chain
from assay.store.ids import new_id
from assay.store.people import checked_name
from assay.store.records import (
    Assignment,
    NewComparison,
    ProjectSettings,
    Rubric,
    Submitted,
)
from assay.store.schema import checked_version, upgrade, version

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Project:
    """A project, with the latest version of its rubric."""

    id: str
    name: str
    settings: ProjectSettings
    rubric_id: str
    rubric: Rubric
    rubric_version: int
    is_paused: bool
    created: int


class PreferenceStore:
    """A preference store in a database.

    Example:
        >>> from assay.store.records import NewComparison, NewResponse
        >>> from assay.types import as_messages
        >>> store = PreferenceStore.open(":memory:")
        >>> project = store.create_project("haiku")
        >>> sides = ("An old silent pond", "A pond, old and still")
        >>> pair = NewComparison(
        ...     as_messages("Write a haiku.", "user"),
        ...     tuple(NewResponse(as_messages(side, "assistant")) for side in sides),
        ... )
        >>> print(store.add_comparisons(project, [pair], source="by hand"))
        1 comparisons with 2 responses
    """

    def __init__(self, database: Database):
        self.database = database

    @classmethod
    def open(cls, name: str | Path, *, create: bool = True) -> PreferenceStore:
        """Open a database, made or brought up to date where need be.

        Args:
            name: A path (SQLite) or a URL.
            create: Whether an empty or missing database becomes a store.

        Raises:
            StoreError: If the database is another's, or newer than this Assay.
            StoreUnavailableError: If it cannot be reached or written.
        """
        database = Database(str(name))
        path = database.url.database or ""
        if not create and database.is_sqlite and not Path(path).exists():
            raise StoreError(f"There is no store at {path}.")
        try:
            with database.reading() as connection:
                empty = checked_version(connection, database.name) is None
            if empty and not create:
                raise StoreError(f"{database.name} is empty; it holds no store.")
            upgrade(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    def close(self) -> None:
        """Give all connections back."""
        self.database.close()

    def __enter__(self) -> PreferenceStore:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def write(
        self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one of this room's functions in a transaction: ``store.write(set_role, …)``."""
        return self.database.write(lambda connection: work(connection, *args, **kwargs))

    def read(
        self, work: Callable[Concatenate[Connection, P], T], /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run one of them on one state of the data."""
        return self.database.read(lambda connection: work(connection, *args, **kwargs))

    # --- projects ---------------------------------------------------------------------------------

    def create_project(
        self,
        name: str,
        settings: ProjectSettings | None = None,
        rubric: Rubric | None = None,
        actor_id: str | None = None,
    ) -> str:
        """A new project; its id.

        Raises:
            ConfigError: If the name is taken.
        """
        settings, rubric = settings or ProjectSettings(), rubric or Rubric()
        return self.write(_create_project, new_id(), name, settings, rubric, actor_id)

    def projects(self) -> list[Project]:
        """All projects, by name."""
        return self.read(lambda c: [_project(row) for row in c.execute(_projects())])

    def project(self, project_id: str) -> Project:
        """A project by id.

        Raises:
            StoreError: If there is none such.
        """
        return self.read(project_in, project_id)

    def project_named(self, name: str | None) -> Project:
        """A project by name or id, or the only one.

        Raises:
            StoreError: If there is none such, or several and no name.
        """
        every = self.projects()
        found = [p for p in every if name in (None, p.id) or p.name.lower() == str(name).lower()]
        if len(found) == 1:
            return found[0]
        names = ", ".join(repr(p.name) for p in every) or "none"
        asked = "Name a project" if name is None else f"There is no project {name!r}"
        raise StoreError(f"{asked}; {self.database.name} holds {names}.")

    def change_project(
        self,
        project_id: str,
        *,
        settings: ProjectSettings | None = None,
        rubric: Rubric | None = None,
        is_paused: bool | None = None,
        actor_id: str | None = None,
        check: Callable[[Project], None] | None = None,
    ) -> None:
        """Change settings, pause or go on, or begin a new version of the rubric.

        A new ``overlap`` is for comparisons that come after it; see
        :func:`assay.store.changing.set_every_overlap` for those that are there.

        Args:
            check: Is given the project as it is before the change, while nobody else can change
                it, and raises if that is not what the caller saw.
        """
        self.write(_change_project, project_id, settings, rubric, is_paused, actor_id, check)

    # --- work -------------------------------------------------------------------------------------

    def add_comparisons(
        self, project_id: str, comparisons: Iterable[NewComparison], *, source: str, **more: Any
    ) -> importing.Imported:
        """All of the comparisons or none; see :func:`assay.store.importing.add_comparisons`."""
        return importing.add_comparisons(
            self.database, project_id, comparisons, source=source, **more
        )

    def claim(
        self, project_id: str, annotator_id: str, have: Sequence[str] = ()
    ) -> Assignment | None:
        """See :func:`assay.store.assignment.claim`."""
        return self.write(assignment.claim, project_id, annotator_id, have)

    def submit(
        self,
        annotator_id: str,
        judgment_id: str,
        comparison_id: str,
        answer: Mapping[str, Any],
        *,
        shown: Sequence[str] | None = None,
        active_ms: int = 0,
        rubric_id: str | None = None,
    ) -> Submitted:
        """See :func:`assay.store.submitting.submit`."""
        return self.write(
            submitting.submit, annotator_id, judgment_id, comparison_id, answer,
            shown=shown, active_ms=active_ms, rubric_id=rubric_id,
        )  # fmt: skip

    # --- safety -----------------------------------------------------------------------------------

    def problems(self) -> list[str]:
        """What is wrong with the database, a sentence each: none, if all is well."""
        return self.read(_problems, self.database.is_sqlite)

    def backup(self, path: str | Path) -> None:
        """A copy of the database as it is now, made while it is written to (SQLite).

        Raises:
            ConfigError: If the file exists, or the database is PostgreSQL.
        """
        if not self.database.is_sqlite:
            raise ConfigError("A backup of PostgreSQL is made by pg_dump.")
        if Path(path).exists():
            raise ConfigError(f"{path} exists; name another file for the backup.")
        self.database.copy_to(str(path))


def _projects() -> Any:
    newer = t.rubrics.alias("newer")
    latest = (
        select(func.max(newer.c.version))
        .where(newer.c.project_id == t.projects.c.id)
        .correlate(t.projects)
        .scalar_subquery()
    )
    return (
        select(t.projects, t.rubrics.c.id.label("rubric_id"), t.rubrics.c.body, t.rubrics.c.version)
        .join(t.rubrics, t.rubrics.c.project_id == t.projects.c.id)
        .where(t.rubrics.c.version == latest)
        .order_by(func.lower(t.projects.c.name))
    )


_PROJECT = _projects().where(t.projects.c.id == bindparam("project"))


def project_in(connection: Connection, project_id: str) -> Project:
    """A project by id, inside a transaction; see :meth:`PreferenceStore.project`."""
    found = connection.execute(_PROJECT, {"project": project_id}).one_or_none()
    if found is None:
        raise StoreError("There is no such project.")
    return _project(found)


def _project(row: Row[Any]) -> Project:
    return Project(
        row.id, row.name, ProjectSettings.from_dict(row.settings), row.rubric_id,
        Rubric.from_dict(row.body), row.version, row.is_paused, row.created,
    )  # fmt: skip


def _create_project(
    connection: Connection,
    identity: str,
    name: str,
    settings: ProjectSettings,
    rubric: Rubric,
    actor_id: str | None,
) -> str:
    name = checked_name(name, "A project's name")
    taken = select(t.projects.c.id).where(func.lower(t.projects.c.name) == func.lower(name))
    found = connection.scalar(taken)
    if found == identity:
        return identity  # a commit whose answer was lost
    if found is not None:
        raise ConfigError(f"There is a project {name!r} already; choose another name.")
    now = now_ms()
    connection.execute(
        insert(t.projects).values(id=identity, name=name, settings=settings.to_dict(), created=now)
    )
    _add_rubric(connection, identity, rubric)
    record_event(connection, "project.created", identity, actor_id=actor_id, project_id=identity)
    return identity


def _add_rubric(connection: Connection, project_id: str, rubric: Rubric) -> None:
    last = connection.scalar(
        select(func.max(t.rubrics.c.version)).where(t.rubrics.c.project_id == project_id)
    )
    connection.execute(
        insert(t.rubrics).values(
            id=new_id(), project_id=project_id, version=int(last or 0) + 1,
            body=rubric.to_dict(), created=now_ms(),
        )
    )  # fmt: skip


def _change_project(
    connection: Connection,
    project_id: str,
    settings: ProjectSettings | None,
    rubric: Rubric | None,
    is_paused: bool | None,
    actor_id: str | None,
    check: Callable[[Project], None] | None,
) -> None:
    if check is not None:
        connection.execute(
            select(t.projects.c.id).where(t.projects.c.id == project_id).with_for_update()
        )
        check(project_in(connection, project_id))
    values: dict[str, Any] = {}
    if settings is not None:
        values["settings"] = settings.to_dict()
    if is_paused is not None:
        values["is_paused"] = is_paused
    if values:
        found = connection.execute(
            update(t.projects).where(t.projects.c.id == project_id).values(**values)
        ).rowcount
        if not found:
            raise StoreError("There is no such project.")
    if rubric is not None:
        latest = desk.rubric_of(connection, project_id)
        if latest.rubric != rubric:
            _add_rubric(connection, project_id, rubric)
            values["rubric"] = True
    record_event(connection, "project.changed", project_id, actor_id=actor_id,
                 project_id=project_id, detail={"fields": sorted(values)})  # fmt: skip


def _problems(connection: Connection, is_sqlite: bool) -> list[str]:
    found = []
    if version(connection) is None:
        return ["The database holds no store."]
    if is_sqlite:
        said = [str(row[0]) for row in connection.execute(text("PRAGMA integrity_check"))]
        found += [f"SQLite: {line}" for line in said if line != "ok"]
        loose = connection.execute(text("PRAGMA foreign_key_check")).all()
        found += [f"A row of {row[0]} names one of {row[2]} that is not there." for row in loose]
    found += _miscounted(connection) + _misfilled(connection)
    broken = verify_chain(connection)
    if broken is not None:
        found.append(f"The record of events does not fit at entry {broken}.")
    return found


def _miscounted(connection: Connection) -> list[str]:
    """Comparisons whose number of judgments is not what their judgments and slots say."""
    counted = (
        select(t.judgments.c.comparison_id, func.count().label("n"))
        .where(
            t.judgments.c.withdrawn.is_(None), ~t.judgments.c.surplus,
            t.judgments.c.source == "person",
        )
        .group_by(t.judgments.c.comparison_id)
        .subquery()
    )  # fmt: skip
    slots = (
        select(t.slots.c.comparison_id, func.count(t.slots.c.judgment_id).label("filled"),
               func.count().label("n"))
        .group_by(t.slots.c.comparison_id)
        .subquery()
    )  # fmt: skip
    c = t.comparisons.c
    judged, filled = func.coalesce(counted.c.n, 0), func.coalesce(slots.c.filled, 0)
    places = func.coalesce(slots.c.n, 0)
    is_short = ~c.is_withdrawn & (places != c.overlap)
    rows = connection.execute(
        select(c.number, c.filled, c.overlap, judged.label("judged"), filled.label("slots"),
               places.label("places"))
        .outerjoin(counted, counted.c.comparison_id == c.id)
        .outerjoin(slots, slots.c.comparison_id == c.id)
        .where(
            c.purpose == "work", c.is_published,
            (c.filled != judged) | (c.filled != filled) | is_short,
        )
    )  # fmt: skip
    return [
        f"Comparison {row.number} counts {row.filled} judgments of {row.overlap}, has "
        f"{row.judged}, and {row.slots} filled slots of {row.places}."
        for row in rows
    ]


def _misfilled(connection: Connection) -> list[str]:
    """Slots filled by what is no standing judgment of theirs."""
    j, s = t.judgments.c, t.slots.c
    rows = connection.execute(
        select(s.comparison_id, s.k)
        .outerjoin(t.judgments, (j.id == s.judgment_id) & (j.comparison_id == s.comparison_id)
                   & (j.annotator_id == s.annotator_id) & j.withdrawn.is_(None))
        .where(s.judgment_id.is_not(None), j.id.is_(None))
    )  # fmt: skip
    return [f"Slot {row.k} of comparison {row.comparison_id} has no such judgment." for row in rows]
