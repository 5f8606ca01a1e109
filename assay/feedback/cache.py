"""Replies that were paid for, kept by what was asked, so that nothing is paid twice.

One SQLite file; several processes may share it. Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.errors import DataError

VERSION = 1
"""Of what a key is made of; another version finds nothing of this one's."""
BUSY_SECONDS = 30.0
"""Longest wait for another process that is writing."""
_APPLICATION = 0x41535259
"""Marks the file as one of ours: ASRY."""


def reply_key(route: str, body: Mapping[str, Any], sample: int = 0) -> str:
    """The name of what is asked: the SHA-256 of its canonical JSON.

    Model, route and the whole body are in it, the address and the key are not: a model's answers
    may be used wherever it is served. ``sample`` tells repeats of one request apart where the
    answer is drawn at random: with a temperature (or none named) and without a seed.
    """
    asked: dict[str, Any] = {"version": VERSION, "route": route, "body": body}
    if body.get("temperature") != 0 and body.get("seed") is None:
        asked["sample"] = sample
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyCache:
    """Usable replies as the endpoint's JSON, by `reply_key`; safe to use from threads.

    A reply is committed before ``put`` returns. A write-ahead log that is not synchronised at every
    commit survives the death of the process, and at worst loses the last replies with the power.

    Args:
        path: Made where there is none, folders too.

    Raises:
        DataError: If the file is none of ours, or damaged.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        self.hits = 0
        self.misses = 0
        self._lock = threading.Lock()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            self._database = sqlite3.connect(
                self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error
        try:
            self._prepare()
        except BaseException:
            self._database.close()
            raise

    def _prepare(self) -> None:
        try:
            (application,) = self._database.execute("PRAGMA application_id").fetchone()
            (tables,) = self._database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            if tables and application != _APPLICATION:
                raise DataError(
                    f"{self.path} is a database of something else; name another file for the "
                    "replies."
                )
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._database.execute(f"PRAGMA application_id = {_APPLICATION}")
            self._database.execute(
                "CREATE TABLE IF NOT EXISTS replies "
                "(key TEXT PRIMARY KEY, reply BLOB NOT NULL) WITHOUT ROWID"
            )
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._database.close()

    def __len__(self) -> int:
        return int(self._run("SELECT count(*) FROM replies", ())[0][0])

    def __contains__(self, key: str) -> bool:
        return bool(self._run("SELECT 1 FROM replies WHERE key = ?", (key,)))

    def get(self, key: str) -> Any:
        """The JSON value of the reply, or None; counted among ``hits`` or ``misses``.

        Raises:
            DataError: If the file is damaged.
        """
        found = self._run("SELECT reply FROM replies WHERE key = ?", (key,))
        if not found:
            self.misses += 1
            return None
        self.hits += 1
        try:
            return json.loads(zlib.decompress(found[0][0]))
        except (zlib.error, ValueError) as error:
            raise self._failed(error) from error

    def put(self, key: str, value: Any) -> None:
        """Keep a reply; one that is there already stays.

        Raises:
            DataError: If the file is damaged, or cannot be written.
        """
        reply = zlib.compress(json.dumps(value, separators=(",", ":")).encode(), 1)
        self._run("INSERT OR IGNORE INTO replies VALUES (?, ?)", (key, reply))

    def _run(self, statement: str, values: tuple[Any, ...]) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _failed(self, error: Exception) -> DataError:
        is_damaged = isinstance(error, (sqlite3.DatabaseError, zlib.error, ValueError))
        is_away = isinstance(error, (sqlite3.OperationalError, sqlite3.ProgrammingError))
        if is_damaged and not is_away:
            return DataError(
                f"The cache of replies {self.path} is damaged ({error}); move it away, and what it "
                "held is asked, and paid, again."
            )
        return DataError(f"The cache of replies {self.path} cannot be used ({error}).")
