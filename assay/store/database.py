"""One way to open a database, and one way to write to it.

SQLite in WAL mode with ``synchronous = FULL``: what a transaction acknowledged is on the disk. Its
writers take turns, in the process in order, and with ``BEGIN IMMEDIATE`` between processes. On
PostgreSQL rows are locked, and a transaction that lost a race or its connection is run again.
"""

from __future__ import annotations

import json
import logging
import random
import selectors
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy import exc as sql
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.pool import StaticPool

from assay.errors import (
    AssayError,
    ConfigError,
    DataError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
    require_extra,
)

T = TypeVar("T")
U = TypeVar("U", bound=StoreUnavailableError)
log = logging.getLogger(__name__)

BUSY_SECONDS = 20
"""How long a writer of SQLite waits for another process."""
ATTEMPTS = 5
"""Times that a transaction is tried on PostgreSQL."""
FIRST_WAIT_SECONDS = 0.05
MOST_TOGETHER = 32
"""Transactions of SQLite that are committed as one."""
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
    try:
        url = make_url(name)
    except (sql.ArgumentError, ValueError):
        raise ConfigError(
            "--db is no URL that can be read; a store is a path (SQLite) or "
            "postgresql://user@host/name."
        ) from None
    if url.get_backend_name() == "postgresql":
        require_extra("postgres", "A PostgreSQL store", ["psycopg"])
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite":
        return url
    raise ConfigError(
        f"--db names a {url.get_backend_name()} database; a store is a path (SQLite) or "
        "postgresql://user@host/name."
    )


class _Job:
    """One transaction that waits for its turn, and what came of it."""

    def __init__(self, work: Callable[[Connection], Any]):
        self.work = work
        self.value: Any = None
        self.error: BaseException | None = None
        self.leads = False
        self.event = threading.Event()


class Writers:
    """Writers of one SQLite file: in the order they came, and those who wait commit together.

    A commit waits for the disk, and only one can be made at a time. So whoever has the turn runs
    the work of all who wait, each after the other in one transaction, and commits it once. If any
    of it fails, nothing of it is kept, and each is run in a transaction of its own.
    """

    def __init__(self, once: Callable[[Callable[[Connection], Any]], Any]):
        self._once = once
        self._lock = threading.Lock()
        self._is_led = False
        self._leader: int | None = None
        self._jobs: deque[_Job] = deque()

    def run(self, work: Callable[[Connection], T]) -> T:
        """What work gives, when it is committed."""
        assert self._leader != threading.get_ident(), "a transaction cannot wait for another one"
        job = _Job(work)
        with self._lock:
            self._jobs.append(job)
            job.leads, self._is_led = not self._is_led, True
        try:
            if not job.leads:
                job.event.wait()
        except BaseException:  # an interrupt: the turn must not go to one who left
            with self._lock:
                if job in self._jobs:
                    self._jobs.remove(job)
                if job.leads:
                    self._hand_over()
            raise
        if job.leads:
            self._lead()
        if job.error is not None:
            raise job.error
        value: T = job.value
        return value

    def _lead(self) -> None:
        with self._lock:
            jobs = [self._jobs.popleft() for _ in range(min(MOST_TOGETHER, len(self._jobs)))]
        self._leader = threading.get_ident()
        try:
            self._run(jobs)
        finally:
            self._leader = None
            with self._lock:
                self._hand_over()
            for job in jobs:
                job.event.set()

    def _hand_over(self) -> None:
        if self._jobs:
            self._jobs[0].leads = True
            self._jobs[0].event.set()
        else:
            self._is_led = False

    def _run(self, jobs: Sequence[_Job]) -> None:
        if len(jobs) > 1:
            try:
                values = self._once(lambda connection: [job.work(connection) for job in jobs])
            except Exception:
                log.debug("a shared transaction failed; each is run by itself", exc_info=True)
            else:
                for job, value in zip(jobs, values, strict=True):
                    job.value = value
                return
        for job in jobs:
            try:
                job.value = self._once(job.work)
            except BaseException as error:
                job.error = error


class Database:
    """An engine with transactions that are safe to repeat."""

    def __init__(self, name: str):
        self.url = database_url(name)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.name = self.url.render_as_string(hide_password=True)
        if self.is_sqlite:
            self.name = self.url.database or ":memory:"
            self._check_folder()
        self._is_memory = self.is_sqlite and self.name == ":memory:"
        self._turn = threading.RLock()
        self._writers = Writers(self._once)
        self.engine = _sqlite(self.url, self._is_memory) if self.is_sqlite else _postgres(self.url)
        # a reader of SQLite has one state of the data of itself
        self._reader = self.engine if self.is_sqlite else self.engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )  # fmt: skip

    def _check_folder(self) -> None:
        path = self.url.database
        if path and path != ":memory:" and not Path(path).parent.is_dir():
            raise ConfigError(f"--db {path}: the folder {Path(path).parent} does not exist.")

    def close(self) -> None:
        """Give all connections back."""
        self.engine.dispose()

    def copy_to(self, path: str) -> None:
        """Write a copy of a SQLite database to a new file, while others go on."""
        with _translated(path), self.engine.connect() as connection:
            connection.exec_driver_sql("VACUUM INTO ?", (path,))

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A connection that sees one state of the data."""
        with _translated(self.name), self._reading() as connection:
            yield connection

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run work on one state of the data; again, where PostgreSQL went away meanwhile.

        Raises:
            StoreUnavailableError: If the database is away.
        """

        def once() -> T:
            with self._reading() as connection:
                return work(connection)

        with _translated(self.name):
            return once() if self.is_sqlite else _again(once)

    @contextmanager
    def _reading(self) -> Iterator[Connection]:
        # a database in memory has one connection, which only one can use at a time
        with self._turn if self._is_memory else nullcontext(), self._reader.connect() as connection:
            if self.is_sqlite:
                connection.exec_driver_sql("BEGIN")
            yield connection

    def write(self, work: Callable[[Connection], T]) -> T:
        """Run work in a transaction that commits as it returns, and is undone if it raises.

        It may be called again from the start, on PostgreSQL even after a commit whose answer was
        lost: keep effects inside the database, and let work know its own repeat.

        Raises:
            StoreFullError: If the disk is full.
            StoreUnavailableError: If the database is away, locked for long or read-only.
        """
        with _translated(self.name):
            if self._is_memory:
                with self._turn:
                    return self._once(work)
            if self.is_sqlite:
                return self._writers.run(work)
            return _again(lambda: self._once(work))

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


def _again(once: Callable[[], T]) -> T:
    """What a transaction gives, run anew where it lost a race or its connection."""
    wait, until = FIRST_WAIT_SECONDS, time.monotonic() + AWAY_SECONDS
    attempt = 0
    while True:
        attempt += 1
        try:
            return once()
        except DBAPIError as error:
            lost = _is_lost(error)
            tries_left = time.monotonic() < until if lost else attempt < ATTEMPTS
            if not (lost or _is_race(error)) or not tries_left:
                raise
        time.sleep(wait * random.uniform(0.5, 1.0))  # those who met must not meet again
        wait = min(2 * wait, 1.0)


def _sqlite(url: URL, is_memory: bool) -> Engine:
    pool: dict[str, Any] = {"pool_size": 8, "max_overflow": 64}
    engine = create_engine(
        url,
        connect_args={"check_same_thread": False, "timeout": BUSY_SECONDS},
        json_serializer=_json,
        **({"poolclass": StaticPool} if is_memory else pool),
    )

    @event.listens_for(engine, "connect")
    def _opened(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        # SQLite's own folds the letters of ASCII only: "Ä" would not be found by "ä"
        connection.create_function("lower", 1, _lower, deterministic=True)
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


def _lower(text: object) -> object:
    return text.lower() if isinstance(text, str) else text


def _json(value: object) -> str:
    """As stored: NaN and infinity are no JSON, and PostgreSQL would not take them."""
    return json.dumps(value, allow_nan=False)


def _postgres(url: URL) -> Engine:
    import psycopg

    engine = create_engine(
        url,
        pool_size=8,
        max_overflow=24,
        connect_args={"connect_timeout": 5},
        json_serializer=_json,
    )

    @event.listens_for(engine, "checkout")
    def _lent(connection: Any, _record: Any, _proxy: Any) -> None:
        # a server that went away said so, which stands unread: only then is it asked, for a ping
        # each time (pool_pre_ping) is a quarter of what a short reading asks of the server
        if not _is_quiet(connection):
            try:
                engine.dialect.do_ping(connection)
            except psycopg.Error as error:
                raise sql.InvalidatePoolError("the connection is gone") from error

    return engine


def _is_quiet(connection: Any) -> bool:
    """Whether a connection of PostgreSQL is open and nothing unread has come by it."""
    if connection.closed:
        return False
    with selectors.DefaultSelector() as waiting:
        waiting.register(connection.fileno(), selectors.EVENT_READ)
        return not waiting.select(0)


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
    except sql.TimeoutError as error:
        text = "too many requests at once, all connections are in use; try again."
        raise _away(StoreUnavailableError, name, text) from error
    except (UnicodeEncodeError, OverflowError) as error:
        raise DataError(f"Text or number that no database stores: {error}.") from error
    except sql.StatementError as error:
        found = _sentence(name, error)
        if found is None:
            raise
        raise found from error


def _sentence(name: str, error: sql.StatementError) -> AssayError | None:
    """What an error means to the one who caused it, or can mend it; None for one of our own."""
    if not isinstance(error, DBAPIError):
        known = isinstance(error.orig, ValueError | RecursionError)
        return DataError(f"A value that no database stores: {error.orig}.") if known else None
    return _of_data(error) or _of_state(name, error)


def _of_data(error: DBAPIError) -> AssayError | None:
    """Of values that were given."""
    said = str(error.orig)
    state = getattr(error.orig, "sqlstate", None) or ""
    if isinstance(error, sql.DataError):
        return DataError(f"A value that the database does not store: {_first_line(error)}.")
    if state == "23505" or "UNIQUE constraint" in said:
        diagnosis = getattr(error.orig, "diag", None)
        where = diagnosis.constraint_name if diagnosis else said.rpartition(": ")[2]
        return StoreError(f"There is one like it already ({where}); nothing was changed.")
    if state == "23503" or "FOREIGN KEY constraint" in said:
        return StoreError("It names something that is not in the store; nothing was changed.")
    return None


def _away(kind: type[U], name: str, text: str, why: str = "") -> U:
    """The error, which tells visitors of a site neither the database's name nor why."""
    told = text.format("")
    return kind(f"{name}: {text.format(why)}", told[0].upper() + told[1:])


def _of_state(name: str, error: DBAPIError) -> StoreError | None:
    """Of the database itself."""
    said = str(error.orig).lower()
    state = getattr(error.orig, "sqlstate", None) or ""
    if ("full" in said and "disk" in said) or state == "53100":
        return _away(
            StoreFullError, name,
            "the disk is full, and nothing of this was stored; free some space and try again. What "
            "was acknowledged before is safe.",
        )  # fmt: skip
    if "readonly" in said or "read-only" in said or state == "25006":
        return _away(
            StoreUnavailableError, name,
            "the database cannot be written (read-only); check its owner and permissions, and "
            "those of its folder.",
        )  # fmt: skip
    if "not a database" in said or "malformed" in said:
        return StoreDamagedError(
            f"{name} is no SQLite database, or is damaged; restore it from a backup.",
            "The database is damaged; restore it from a backup.",
        )
    if "unable to open" in said:
        text = "the database cannot be opened; check its path and permissions."
        return _away(StoreUnavailableError, name, text)
    if "locked" in said:
        text = f"another process held the database for {BUSY_SECONDS} seconds; try again."
        return _away(StoreUnavailableError, name, text)
    if _is_lost(error) or "disk i/o" in said:
        text = "the database does not answer{}; check that it runs."
        why = f" ({_first_line(error)})"
        return _away(StoreUnavailableError, name, text, why)
    return None


def _first_line(error: DBAPIError) -> str:
    return str(error.orig).strip().splitlines()[0][:200] if str(error.orig).strip() else "no reason"
