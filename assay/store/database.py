"""One way to open a database, and one way to write to it.

SQLite in WAL mode with ``synchronous = FULL``: what a transaction acknowledged is on the disk. Its
writers take turns: a lock in the process, ``BEGIN IMMEDIATE`` between processes. On PostgreSQL
rows are locked, and a transaction that lost a race or its connection is run again.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError

from assay.errors import (
    ConfigError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    require_extra,
)

T = TypeVar("T")

BUSY_SECONDS = 20
"""How long a writer of SQLite waits for another process."""
ATTEMPTS = 5
"""Times that a transaction is tried on PostgreSQL."""
FIRST_WAIT_SECONDS = 0.05
AWAY_SECONDS = 8.0
"""How long a PostgreSQL that is away is waited for before a request fails."""


def now_ms() -> int:
    """Milliseconds since 1970, UTC."""
    return time.time_ns() // 1_000_000


def database_url(name: str) -> URL:
    """The URL of a database from a path or a URL.

    Raises:
        ConfigError: If it is neither SQLite nor PostgreSQL.
    """
    if "://" not in name:
        return URL.create("sqlite", database=str(Path(name).expanduser()))
    url = make_url(name)
    if url.get_backend_name() == "postgresql":
        require_extra("postgres", "A PostgreSQL store", ["psycopg"])
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url
    raise ConfigError(
        f"--db names a {url.get_backend_name()} database; a store is a path (SQLite) or "
        "postgresql://user@host/name."
    )


class Database:
    """An engine with transactions that are safe to repeat."""

    def __init__(self, name: str):
        self.url = database_url(name)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self.url.render_as_string(hide_password=True)
        if self.is_sqlite:
            self.name = self.url.database or ":memory:"
            self._check_folder()
        self._turn = threading.Lock()
        self.engine = _sqlite(self.url) if self.is_sqlite else _postgres(self.url)

    def _check_folder(self) -> None:
        path = self.url.database
        if path and path != ":memory:" and not Path(path).parent.is_dir():
            raise ConfigError(f"--db {path}: the folder {Path(path).parent} does not exist.")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the data."""
        with _translated(self.name), self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run work in a transaction that commits as it returns, and is undone if it raises.

        On PostgreSQL it may be called again from the start: keep effects inside the database.

        Raises:
            StoreFullError: If the disk is full.
            StoreUnavailableError: If the database is away, locked for long or read-only.
        """
        with _translated(self.name):
            if self.is_sqlite:
                with self._turn:
                    return self._once(work)
            return self._again(work)

    def _once(self, work: Callable[[Connection], T]) -> T:
        with self.engine.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                value = work(connection)
                connection.commit()
            except BaseException:
                connection.rollback()
                raise
            return value

    def _again(self, work: Callable[[Connection], T]) -> T:
        wait, until = FIRST_WAIT_SECONDS, time.monotonic() + AWAY_SECONDS
        attempt = 0
        while True:
            attempt += 1
            try:
                return self._once(work)
            except DBAPIError as error:
                lost = _is_lost(error)
                tries_left = time.monotonic() < until if lost else attempt < ATTEMPTS
                if not (lost or _is_race(error)) or not tries_left:
                    raise
            time.sleep(wait)
            wait = min(2 * wait, 1.0)


def _sqlite(url: URL) -> Engine:
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        **({} if url.database in (None, "", ":memory:") else {"pool_size": 8, "max_overflow": 64}),
    )

    @event.listens_for(engine, "connect")
    def _opened(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "foreign_keys = ON",
            f"busy_timeout = {BUSY_SECONDS * 1000}",
            "journal_size_limit = 67108864",
        ):
            try:
                connection.execute(f"PRAGMA {pragma}")
            except sqlite3.OperationalError:
                # a file that cannot be written is opened all the same; the first write says so
                if not pragma.startswith("journal"):
                    raise

    return engine


def _postgres(url: URL) -> Engine:
    return create_engine(
        url, pool_pre_ping=True, pool_size=8, max_overflow=24, connect_args={"connect_timeout": 5}
    )


def _is_lost(error: DBAPIError) -> bool:
    """Whether the connection went away, so that nothing of the transaction was kept.

    A COMMIT whose answer was lost may have been kept: work must know its own repeats by their ids.
    """
    if isinstance(error.orig, sqlite3.Error):
        return False
    state = getattr(error.orig, "sqlstate", None) or ""
    gone = state.startswith(("08", "57P"))
    unsaid = not state and isinstance(error, OperationalError)
    return bool(error.connection_invalidated or gone or unsaid)


def _is_race(error: DBAPIError) -> bool:
    """Serialisation failure, deadlock, lock not available, or two rows of one unique key."""
    return getattr(error.orig, "sqlstate", None) in ("40001", "40P01", "55P03", "23505")


@contextmanager
def _translated(name: str) -> Iterator[None]:
    """Errors of the database as sentences."""
    try:
        yield
    except DBAPIError as error:
        found = _sentence(name, error)
        if found is None:
            raise
        raise found from error


def _sentence(name: str, error: DBAPIError) -> StoreError | None:
    said = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None) or ""
    if ("full" in said and "disk" in said) or state == "53100":
        return StoreFullError(
            f"{name}: the disk is full, and nothing of this was stored; free some space and try "
            "again. What was acknowledged before is safe."
        )
    if "readonly" in said or "read-only" in said or state == "25006":
        return StoreUnavailableError(
            f"{name}: the database cannot be written (read-only); check its owner and permissions, "
            "and those of its folder."
        )
    if "not a database" in said or "malformed" in said:
        return StoreError(f"{name} is no SQLite database, or is damaged; restore it from a backup.")
    if "unable to open" in said:
        return StoreUnavailableError(f"{name} cannot be opened; check its path and permissions.")
    if "locked" in said:
        return StoreUnavailableError(
            f"{name}: another process held the database for {BUSY_SECONDS} seconds; try again."
        )
    if _is_lost(error) or "disk i/o" in said:
        return StoreUnavailableError(
            f"{name}: the database does not answer ({_first_line(error)}); check that it runs."
        )
    return None


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0][:200] if str(error.orig).strip() else "no reason"
