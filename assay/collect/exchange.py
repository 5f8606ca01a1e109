"""Files into a project and out of it, by the store's own readers and writers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, BinaryIO

from assay.collect.uploads import received, shown_name
from assay.errors import ConfigError
from assay.store.importing import Imported
from assay.store.store import PreferenceStore
from assay.store.tables import PURPOSES


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file to be sent, in a folder of its own that goes when it was."""

    path: Path

    def clear(self) -> None:
        """Remove file and folder."""
        rmtree(self.path.parent, ignore_errors=True)


def formats_in() -> tuple[str, ...]:
    """Names of the formats that can be imported; they are told apart by themselves, too."""
    return tuple(import_module("assay.store.incoming").FORMATS)


def formats_out() -> tuple[str, ...]:
    """Names of the formats that can be taken out."""
    return tuple(import_module("assay.store.exporting").FORMATS)


def take_in(
    store: PreferenceStore,
    project_id: str,
    file: BinaryIO,
    name: str,
    *,
    format: str = "",
    purpose: str = "work",
    actor_id: str | None = None,
) -> Imported:
    """Import a file that was sent.

    Raises:
        AssayError: If it cannot be read; nothing is kept.
    """
    suffixes = import_module("assay.store.incoming").SUFFIXES
    with received(file, name, suffixes) as path:
        return import_file(
            store, project_id, path, source=shown_name(name), format=format, purpose=purpose,
            actor_id=actor_id,
        )  # fmt: skip


def import_file(
    store: PreferenceStore,
    project_id: str,
    path: str | Path,
    *,
    source: str,
    format: str = "",
    purpose: str = "work",
    overlap: int | None = None,
    actor_id: str | None = None,
    progress: Callable[[int], None] | None = None,
) -> Imported:
    """Import a file or data set, all of it or nothing. A format of "" is found out.

    Raises:
        AssayError: If it cannot be read; nothing is kept.
    """
    if purpose not in PURPOSES:
        raise ConfigError(f"The purpose must be one of {', '.join(PURPOSES)}, not {purpose[:60]!r}.")
    if format and format not in formats_in():
        raise ConfigError(
            f"The format must be one of {', '.join(formats_in())}, not {format[:60]!r}."
        )
    incoming: Any = import_module("assay.store.incoming")
    rows = incoming.new_comparisons(
        path, format=format or "auto", purpose=purpose, overlap=overlap, name=source
    )
    return store.add_comparisons(
        project_id, rows, source=source, format=format or "auto", actor_id=actor_id,
        counts=rows.counts, progress=progress,
    )  # fmt: skip


def take_out(store: PreferenceStore, project_id: str, format: str) -> MadeFile:
    """A project's comparisons and judgments as a file.

    Raises:
        ConfigError: If there is no such format.
    """
    if format not in formats_out():
        raise ConfigError(
            f"The format must be one of {', '.join(formats_out())}, not {format[:60]!r}."
        )
    suffix = {"csv": ".csv", "parquet": ".parquet"}.get(format, ".jsonl")
    made = MadeFile(Path(mkdtemp(prefix="assay-export-")) / f"export{suffix}")
    try:
        exporting: Any = import_module("assay.store.exporting")
        exporting.export(store, project_id, made.path, format)
    except BaseException:
        made.clear()
        raise
    return made


def file_name(project: str, path: Path) -> str:
    """What a file is called where it is saved: the project's name, in letters that fit anywhere."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", project).strip("-").lower() or "project"
    return f"{plain}{path.suffix}"
