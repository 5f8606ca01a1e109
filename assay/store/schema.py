"""The version of a database's schema, and bringing it up to date."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, insert, inspect, select, text

from assay.errors import StoreError
from assay.store import tables as t
from assay.store.database import Database
from assay.store.events import START

LOCK = 0x6173736179
"""Of PostgreSQL: one process migrates at a time."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's configuration, without a file."""
    found = Config()
    found.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    found.attributes["connection"] = connection
    return found


def versions() -> list[str]:
    """All versions, oldest first."""
    script = ScriptDirectory.from_config(config())
    return [revision.revision for revision in script.walk_revisions()][::-1]


def version(connection: Connection) -> str | None:
    """That of a database; None where it is empty."""
    return MigrationContext.configure(connection).get_current_revision()


def upgrade(database: Database, to: str = "head") -> tuple[str | None, str]:
    """Bring a database to a version, in one transaction; the version before, and now.

    Raises:
        StoreError: If it is newer than this Assay knows, or holds tables that are not Assay's.
    """

    def work(connection: Connection) -> tuple[str | None, str]:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        before = checked_version(connection, database.name)
        command.upgrade(config(connection), to)
        if connection.execute(select(t.chain.c.id)).one_or_none() is None:
            connection.execute(insert(t.chain).values(id=1, seq=0, digest=START))
        after = version(connection)
        assert after is not None
        return before, after

    with database.reading() as connection:
        before = checked_version(connection, database.name)
    if before is not None and before == (versions()[-1] if to == "head" else to):
        return before, before
    return database.write(work)


def checked_version(connection: Connection, name: str) -> str | None:
    """The version of a database that this Assay can open or upgrade.

    Raises:
        StoreError: If it is another's, or newer.
    """
    found: Any = version(connection)
    known = versions()
    if found is None:
        others = sorted(set(inspect(connection).get_table_names()) - {"alembic_version"})
        if others:
            raise StoreError(
                f"{name} holds tables that are not Assay's ({', '.join(others[:5])}); name a new "
                "file or an empty database."
            )
        return None
    if found not in known:
        raise StoreError(
            f"{name} has schema {found} but this assay knows up to {known[-1]}; upgrade assay or "
            "open it with the version that wrote it."
        )
    return str(found)
