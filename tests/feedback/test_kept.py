"""Values that are kept: files from before go on, foreign ones are left alone, nobody loses any."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import threading
import zlib
from pathlib import Path
from typing import Any

import pytest

from assay.errors import DataError
from assay.feedback.cache import ReplyCache
from assay.feedback.kept import Kept


def made(path: Path, *statements: str, rows: Any = ()) -> Path:
    """A database as somebody else, or an earlier version, left it."""
    database = sqlite3.connect(path)
    for statement in statements:
        database.execute(statement)
    for statement, values in rows:
        database.execute(statement, values)
    database.commit()
    database.close()
    return path


def test_what_is_kept_is_read_again_and_the_first_stays(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "kept.sqlite"
    kept = Kept(path, "rollouts")
    assert kept.read(["a"]) == {}
    assert "a" not in kept
    assert len(kept) == 0
    kept.write({})
    assert not path.exists()  # made when there is something to keep
    kept.write({"a": [1, None], "b": "ü"})
    kept.write({"a": "later"})
    assert kept.read(["b", "c", "a"]) == {"b": "ü", "a": [1, None]}
    assert "a" in kept
    kept.close()
    assert Kept(path, "rollouts").read(["a"]) == {"a": [1, None]}
    nowhere = Kept(None, "rollouts")
    nowhere.write({"a": 1})
    assert nowhere.read(["a"]) == {}


def test_files_of_earlier_versions_go_on(tmp_path: Path) -> None:
    """Values as plain JSON in a table with a row number, without a mark and without a log."""
    path = made(
        tmp_path / "old.sqlite",
        "CREATE TABLE answers (key TEXT PRIMARY KEY, value TEXT)",
        rows=[("INSERT INTO answers VALUES (?, ?)", ("a", json.dumps({"p": [0.5, "é"]})))],
    )
    kept = Kept(path, "answers")
    assert kept.read(["a", "b"]) == {"a": {"p": [0.5, "é"]}}
    kept.write({"a": "not again", "b": 2})
    assert kept.read(["a", "b"]) == {"a": {"p": [0.5, "é"]}, "b": 2}
    kept.close()
    assert len(Kept(path, "answers")) == 2
    replies = made(
        tmp_path / "replies.sqlite",
        f"PRAGMA application_id = {0x41535259}",
        "CREATE TABLE replies (key TEXT PRIMARY KEY, reply BLOB NOT NULL) WITHOUT ROWID",
        rows=[("INSERT INTO replies VALUES (?, ?)", ("a", zlib.compress(b'{"id": 1}')))],
    )
    cache = ReplyCache(replies)
    cache.put("b", {"id": 2})
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == ({"id": 1}, {"id": 2}, None)
    assert (cache.hits, cache.misses) == (2, 1)
    cache.close()


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE prefs (a)",
        "CREATE TABLE answers (number, text)",
        "CREATE TABLE answers (key, value, more)",
        "CREATE TABLE answers (key, other)",
        "CREATE TABLE rollouts (key TEXT PRIMARY KEY, value TEXT)",
    ],
)
def test_databases_of_something_else_are_left_as_they_are(tmp_path: Path, statement: str) -> None:
    path = made(tmp_path / "other.db", statement)
    before = path.read_bytes()
    kept = Kept(path, "answers")
    for act in (lambda: kept.read(["a"]), lambda: kept.write({"a": 1}), lambda: len(kept)):
        with pytest.raises(DataError, match=r"other\.db is a database of something else"):
            act()
    assert path.read_bytes() == before


def test_a_value_that_is_none_is_named_with_its_file(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    kept = Kept(path, "answers")
    kept.write({"a": 1})
    for value in ("x'0011'", "'no json'", "7"):
        kept._run(f"UPDATE answers SET value = {value}", ())
        with pytest.raises(DataError, match=r"kept\.sqlite is damaged, or none of answers .* anew"):
            kept.read(["a"])
    kept.close()
    with pytest.raises(DataError, match="cannot be used for answers"):
        kept.write({"b": 1})
    path.write_bytes(b"no database, and long enough for one to be looked for in it\n" * 50)
    with pytest.raises(DataError, match="is damaged"):
        Kept(path, "answers").read(["a"])


def test_threads_and_writers_beside_each_other_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    shared, other = Kept(path, "answers"), Kept(path, "answers")

    def work(kept: Kept, number: int) -> None:
        for i in range(25):
            kept.write({f"{number} {i} {part}": i for part in "ab"})
            assert kept.read([f"{number} {i} a"]) == {f"{number} {i} a": i}

    threads = [
        threading.Thread(target=work, args=(kept, number))
        for number, kept in enumerate((shared, shared, other))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(shared) == len(other) == 150


def test_a_write_that_fails_keeps_nothing_and_the_next_goes_on(tmp_path: Path) -> None:
    kept = Kept(tmp_path / "kept.sqlite", "answers")
    kept.write({"a": 1})
    kept._run("CREATE TRIGGER no BEFORE INSERT ON answers WHEN new.key = 'bad' BEGIN "
              "SELECT RAISE(ABORT, 'no'); END", ())  # fmt: skip
    with pytest.raises(DataError, match="answers"):
        kept.write({"b": 2, "bad": 3})
    assert kept.read(["a", "b", "bad"]) == {"a": 1}
    kept.write({"b": 2})
    assert kept.read(["b"]) == {"b": 2}


def test_nothing_is_left_open_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "kept.sqlite"
    code = f"""
from pathlib import Path
from assay.feedback.kept import Kept
kept = Kept(Path({str(path)!r}), "answers")
kept.write({{"a": 1}})
"""
    subprocess.run([sys.executable, "-W", "error", "-c", code], check=True)
    assert [file.name for file in tmp_path.iterdir()] == ["kept.sqlite"]  # no log beside it
