"""The verbs ``assay import`` and ``assay export``: files into the store, and out of it."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from assay.configs import Export, Import
from assay.errors import StoreError, require_extra
from assay.formats.progress import track

if TYPE_CHECKING:
    from assay.store.exporting import Exported
    from assay.store.importing import Imported
    from assay.store.incoming import Incoming
    from assay.store.store import PreferenceStore

PACKAGES = ("sqlalchemy", "alembic")


@dataclass(frozen=True, slots=True)
class Taken:
    """What an import took in, and what became of the rows."""

    project: str
    imported: Imported
    report: Incoming

    def __str__(self) -> str:
        gone = ", ".join(f"{n:,} {why}" for why, n in self.report.left_out.items())
        text = f"{self.imported} in project {self.project!r}, from {self.report.rows:,} rows"
        return f"{text}; left out: {gone}" if gone else text

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "project": self.project,
            "import": self.imported.id,
            "rows": self.report.rows,
            "comparisons": self.imported.comparisons,
            "responses": self.imported.responses,
            "judgments": self.imported.judgments,
            "leaks": self.imported.leaks,
            "formats": list(self.report.formats),
            "left_out": dict(self.report.left_out),
            "examples": [
                {"where": one.where, "reason": one.reason} for one in self.report.examples
            ],
        }


def run_import(config: Import) -> Taken:
    """Take a file into a project.

    Raises:
        AssayError: With one sentence; nothing of the file is kept then.
    """
    return take_in(config)


def take_in(config: Import, *, source: str | None = None, digest: str | None = None) -> Taken:
    """Take a file into a project.

    Args:
        source: What the store records it is from. Default: the file.
        digest: Of what is taken: what was taken into the project under it before is not again.

    Raises:
        AssayError: With one sentence; nothing of the file is kept then.
    """
    require_extra("collect", "assay import", PACKAGES)
    from assay.store.ids import digest_id
    from assay.store.incoming import new_comparisons
    from assay.store.store import PreferenceStore

    reading = new_comparisons(
        config.file,
        kind=config.kind,
        format=config.format,
        overlap=config.overlap,
        purpose=config.purpose,
        on_bad_row=config.on_bad_row,
        shuffle_seed=config.shuffle_seed,
        language=config.language,
        judgments=not config.without_judgments,
        limit=config.limit,
        name=source,
    )
    with PreferenceStore.open(config.db, create=config.create) as store:
        name, project_id, is_new = _project(store, config)
        try:
            imported = store.add_comparisons(
                project_id,
                track(reading, f"importing {source or config.file}"),
                source=source or config.file,
                format=config.format,
                counts=reading.counts,
                import_id=None if digest is None else digest_id(f"{project_id} {digest}"),
            )
        except BaseException:
            if is_new:
                store.write(_drop, project_id)
            raise
        finally:
            reading.close()
        return Taken(name, imported, reading.report)


def _project(store: PreferenceStore, config: Import) -> tuple[str, str, bool]:
    try:
        found = store.project_named(config.project)
    except StoreError as error:
        if not config.create or (config.project is None and store.projects()):
            advice = " Pass --create to make it." if config.project is not None else ""
            raise StoreError(f"{error}{advice}") from error
        name = config.project or "preferences"
        return name, store.create_project(name), True
    return found.name, found.id, False


def _drop(connection: Any, project_id: str) -> None:
    """Take back a project that was made for an import that failed; nothing else is in it."""
    from sqlalchemy import delete

    from assay.store import tables as t

    connection.execute(delete(t.rubrics).where(t.rubrics.c.project_id == project_id))
    connection.execute(delete(t.projects).where(t.projects.c.id == project_id))


def run_export(config: Export) -> Exported:
    """Write a project's judgments to a file.

    Raises:
        AssayError: With one sentence; the file is then as it was.
    """
    require_extra("collect", "assay export", PACKAGES)
    from assay.store.exporting import Choices, checked_format, export
    from assay.store.store import PreferenceStore

    checked_format(config.output, config.format)
    choices = Choices(
        per=config.per, ties=config.ties, decisions=config.decisions, surplus=config.surplus,
        names=config.names, items=config.items, unjudged=config.unjudged, formulas=config.formulas,
    )  # fmt: skip
    with PreferenceStore.open(config.db, create=False) as store:
        project = store.project_named(config.project)
        return export(
            store, project.id, config.output, config.format, choices=choices,
            progress=_counter(),
        )  # fmt: skip


def _counter() -> Callable[[int], None] | None:
    """Shows a count on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        return None
    return lambda count: print(f"\r{count:,} comparisons read", end="\r", file=sys.stderr)
