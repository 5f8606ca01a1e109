"""Values kept in an SQLite file under a digest of what decides them: nothing is done twice.

Several processes may share a file. Knows nothing of what is kept.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import weakref
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from assay.errors import DataError

BUSY_SECONDS = 60.0
"""Longest wait for another process that is writing."""
_APPLICATION = 0x41535259
"""Marks the file as one of ours: ASRY."""
_COLUMNS: tuple[list[str], ...] = ([], ["key", "value"], ["key", "reply"])
"""Of the table, by whichever version it was made; none where it is not made yet."""


class Kept:
    """JSON values by their keys; safe to use from threads.

    What is written is committed before ``write`` returns. A write-ahead log that is not
    synchronised at every commit survives the death of the process, and at worst loses the last
    values with the power. Values are compressed; files from before that hold them as plain JSON
    are read as they are, and go on being used.

    Args:
        path: The file; it is made when the first values are kept, folders too. None keeps nothing.
        name: What is kept, in the plural and one word: rollouts.
    """

    lost = "made anew"
    """What becomes of values whose file is gone."""

    def __init__(self, path: Path | None, name: str) -> None:
        assert name.isidentifier()
        self.path = path
        self.name = name
        self._lock = threading.RLock()
        self._database: sqlite3.Connection | None = None

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are there, by their keys.

        Raises:
            DataError: If the file is none of this kind, or a damaged one.
        """
        if not self._is_there():
            return {}
        found = {}
        for key in keys:
            # a file's columns are called as they were when it was made
            if rows := self._run(f"SELECT * FROM {self.name} WHERE key = ?", (key,)):
                found[key] = self._value(rows[0][1])
        return found

    def write(self, values: Mapping[str, Any]) -> None:
        """Keep values, all of them or, if the process dies, none; what is there already stays.

        Raises:
            DataError: If the file is damaged, or cannot be written.
        """
        if self.path is None or not values:
            return
        rows = [(key, _packed(value)) for key, value in values.items()]
        statement = f"INSERT OR IGNORE INTO {self.name} VALUES (?, ?)"
        database = self._opened()
        try:
            with self._lock:
                database.execute("BEGIN IMMEDIATE")
                try:
                    database.executemany(statement, rows)
                    database.execute("COMMIT")
                except BaseException:
                    database.execute("ROLLBACK")
                    raise
        except sqlite3.Error as error:
            raise self.damaged(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._database is not None:
                self._database.close()

    def __len__(self) -> int:
        if not self._is_there():
            return 0
        return int(self._run(f"SELECT count(*) FROM {self.name}", ())[0][0])

    def __contains__(self, key: str) -> bool:
        if not self._is_there():
            return False
        return bool(self._run(f"SELECT 1 FROM {self.name} WHERE key = ?", (key,)))

    def damaged(self, error: Exception) -> DataError:
        """What is said of a file, or a value in it, that cannot be used."""
        is_damaged = isinstance(error, (sqlite3.DatabaseError, zlib.error, ValueError, TypeError))
        is_away = isinstance(error, (sqlite3.OperationalError, sqlite3.ProgrammingError))
        if is_away or not is_damaged:
            return DataError(f"{self.path} cannot be used for {self.name} ({error}).")
        return DataError(
            f"{self.path} is damaged, or none of {self.name} ({error}); name another file, or move "
            f"it away, and the {self.name} that it held are {self.lost}."
        )

    def _is_there(self) -> bool:
        """Whether there is a file to read, which is open then."""
        if self.path is None or (self._database is None and not self.path.exists()):
            return False
        self._opened()
        return True

    def _opened(self) -> sqlite3.Connection:
        """The connection; the file is made where there is none.

        Raises:
            DataError: If the file is none of ours, or damaged.
        """
        assert self.path is not None
        with self._lock:
            if self._database is None:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    database = sqlite3.connect(
                        self.path,
                        timeout=BUSY_SECONDS,
                        isolation_level=None,
                        check_same_thread=False,
                    )
                except sqlite3.Error as error:
                    raise self.damaged(error) from error
                try:
                    self._prepare(database)
                except BaseException:
                    database.close()
                    raise
                self._database = database
                # whoever keeps values need not think of closing
                weakref.finalize(self, database.close)
            return self._database

    def _prepare(self, database: sqlite3.Connection) -> None:
        try:
            (application,) = database.execute("PRAGMA application_id").fetchone()
            (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({self.name})")]
            # files of before the mark have the one table alone
            is_ours = application == _APPLICATION or (application == 0 and bool(columns))
            if (tables and not is_ours) or columns not in _COLUMNS:
                raise DataError(
                    f"{self.path} is a database of something else; name another file for the "
                    f"{self.name}."
                )
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("PRAGMA synchronous = NORMAL")
            if application != _APPLICATION:
                database.execute(f"PRAGMA application_id = {_APPLICATION}")
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {self.name} "
                "(key TEXT PRIMARY KEY, value BLOB NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise self.damaged(error) from error

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        database = self._opened()
        try:
            with self._lock:
                return database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self.damaged(error) from error

    def _value(self, kept: Any) -> Any:
        try:
            return json.loads(zlib.decompress(kept) if isinstance(kept, bytes) else kept)
        except (zlib.error, ValueError, TypeError) as error:
            raise self.damaged(error) from error


def _packed(value: Any) -> bytes:
    return zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)
