"""Files into a project and out of it, by the store's own readers and writers."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp
from typing import BinaryIO, cast

from assay.collect.uploads import received, shown_name
from assay.errors import ConfigError
from assay.store import exporting, incoming, rows_out
from assay.store.importing import Imported
from assay.store.records import Purpose
from assay.store.store import PreferenceStore
from assay.store.tables import PURPOSES

FILES = (".jsonl", ".parquet", ".csv")
"""How the names of files end that can be taken out here."""


@dataclass(frozen=True, slots=True)
class MadeFile:
    """A file to be sent, in a folder of its own that goes when it was."""

    path: Path

    def clear(self) -> None:
        """Remove file and folder."""
        rmtree(self.path.parent, ignore_errors=True)


def formats_in() -> tuple[str, ...]:
    """Names of the formats that can be imported; they are told apart by themselves, too."""
    return tuple(incoming.FORMATS)


def formats_out() -> tuple[str, ...]:
    """Names of the formats that can be taken out."""
    return tuple(rows_out.FORMATS)


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
    with received(file, name, incoming.SUFFIXES) as path:
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
        raise ConfigError(
            f"The purpose must be one of {', '.join(PURPOSES)}, not {purpose[:60]!r}."
        )
    if format and format not in formats_in():
        raise ConfigError(
            f"The format must be one of {', '.join(formats_in())}, not {format[:60]!r}."
        )
    rows = incoming.new_comparisons(
        path,
        format=format or "auto",
        purpose=cast("Purpose", purpose),
        overlap=overlap,
        name=source,
    )
    return store.add_comparisons(
        project_id, rows, source=source, format=format or "auto", actor_id=actor_id,
        counts=rows.counts, progress=progress,
    )  # fmt: skip


def take_out(store: PreferenceStore, project_id: str, format: str, file: str = "") -> MadeFile:
    """A project's comparisons and judgments as a file.

    Args:
        file: How its name ends. Default: .csv of the format csv, .jsonl of all others.

    Raises:
        AssayError: If there is no such format, or it does not fit such a file.
    """
    suffix = file or (".csv" if format == "csv" else FILES[0])
    if suffix not in FILES:
        raise ConfigError(f"A file must be one of {', '.join(FILES)}, not {suffix[:20]!r}.")
    made = MadeFile(Path(mkdtemp(prefix="assay-export-")) / f"export{suffix}")
    try:
        exporting.export(store, project_id, made.path, format)
    except BaseException:
        made.clear()
        raise
    return made


def file_name(project: str, path: Path) -> str:
    """What a file is called where it is saved: the project's name, in letters that fit anywhere."""
    plain = re.sub(r"[^A-Za-z0-9]+", "-", project).strip("-").lower() or "project"
    return f"{plain}{path.suffix}"
