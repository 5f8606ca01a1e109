"""Candidates into a project of the preference store, all of them or none, and the same but once."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from assay.configs import Generate, Import
from assay.errors import ConfigError, DataError, require_extra
from assay.formats.files import write_rows
from assay.store.transfer import PACKAGES, take_in


def check_store(config: Generate, wanted: int) -> None:
    """Refuse what could not be taken in at the end, before anything is paid for.

    Args:
        wanted: Responses wanted of each prompt.

    Raises:
        AssayError: If there is no such store or project, or a comparison could not hold so many.
    """
    assert config.db is not None
    require_extra("collect", "assay generate --db", PACKAGES)
    from assay.store.rows_parts import MOST_RESPONSES
    from assay.store.store import PreferenceStore

    if not 2 <= wanted <= MOST_RESPONSES or config.duplicates == "keep":
        raise ConfigError(
            f"{wanted} responses a prompt were wanted, duplicates {config.duplicates}; the store "
            f"takes 2 to {MOST_RESPONSES} different ones in a comparison."
        )
    if not config.create:
        with PreferenceStore.open(config.db, create=False) as store:
            store.project_named(config.project)


def into_store(config: Generate, rows: Iterable[Mapping[str, Any]], source: str) -> str:
    """Take rows into the store; the sentence that says what came of it.

    Args:
        rows: Each with two responses or more.
        source: What the store records they are from.

    Raises:
        AssayError: With one sentence, if there is no row among others; nothing is kept then.
    """
    assert config.db is not None
    with TemporaryDirectory(prefix="assay-generate-") as folder:
        # an import that waits for samples would be taken for dead
        path = Path(folder) / "responses.jsonl"
        if not write_rows(path, rows):
            raise DataError(
                "No prompt got two different responses, so that there is no comparison to take "
                f"into {config.db}; raise --samples, --attempts or --temperature."
            )
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        taken = take_in(
            Import(
                file=str(path), db=config.db, project=config.project, create=config.create,
                format="assay",
            ),
            source=source, digest=digest,
        )  # fmt: skip
    if taken.imported.is_repeat:
        return f"{taken.imported} in project {taken.project!r} before, which are not added again"
    return str(taken)
