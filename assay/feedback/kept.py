"""Values kept in an SQLite file under a digest of what decides them: nothing is done twice."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from assay.errors import DataError


class Kept:
    """JSON values by their keys.

    Args:
        path: The file; it is made when the first values are kept. None keeps nothing.
        name: What is kept, in the plural and one word: rollouts.
    """

    def __init__(self, path: Path | None, name: str) -> None:
        self.path = path
        self.name = name

    def read(self, keys: Sequence[str]) -> dict[str, Any]:
        """The values that are there, by their keys.

        Raises:
            DataError: If the file is none of this kind, or a damaged one.
        """
        if self.path is None or not self.path.exists():
            return {}
        found = {}
        with self._connected() as connection:
            for key in keys:
                query = f"SELECT value FROM {self.name} WHERE key = ?"
                if row := connection.execute(query, (key,)).fetchone():
                    found[key] = json.loads(row[0])
        return found

    def write(self, values: Mapping[str, Any]) -> None:
        """Keep values, all of them or, if the process dies, none."""
        if self.path is None or not values:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        rows = [(key, json.dumps(value)) for key, value in values.items()]
        with self._connected() as connection:
            connection.executemany(f"INSERT OR IGNORE INTO {self.name} VALUES (?, ?)", rows)

    def damaged(self, error: Exception) -> DataError:
        """What is said of a file that cannot be used."""
        return DataError(
            f"{self.path} cannot be used as a journal of {self.name} ({error}); name another "
            f"file, or delete it and the {self.name} are made anew."
        )

    @contextmanager
    def _connected(self) -> Iterator[sqlite3.Connection]:
        """A connection for one transaction."""
        assert self.path is not None
        assert self.name.isidentifier()
        connection = sqlite3.connect(self.path, timeout=60.0)
        try:
            with connection:
                connection.execute(
                    f"CREATE TABLE IF NOT EXISTS {self.name} (key TEXT PRIMARY KEY, value TEXT)"
                )
                yield connection
        except (sqlite3.Error, ValueError) as error:
            raise self.damaged(error) from error
        finally:
            connection.close()
