"""Rollouts are asked once, kept as they come, and given back only for the very same request."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from solver import Solver, asked

from assay.errors import ConfigError, DataError
from assay.feedback.completers import FunctionCompleter
from assay.feedback.http import EndpointError
from assay.feedback.rollouts import Completer, Journal, Prefix, Rollouts, Spent, complete
from assay.feedback.rollouts import rollout_key as key
from assay.types import Message

PREFIXES = [Prefix(asked("easy"), tuple(f"step {i}" for i in range(k))) for k in range(10)]


def run(solver: Completer, path: Path | None, prefixes: list[Prefix] = PREFIXES, n: int = 2):
    spent = Spent()
    found = complete(
        solver, prefixes, n=n, seed=0, journal=Journal(path), spent=spent, batch_size=3
    )
    return found, spent


def test_a_second_run_asks_nothing_and_gives_the_same(tmp_path: Path) -> None:
    path = tmp_path / "new" / "journal.sqlite"
    solver = Solver()
    assert isinstance(solver, Completer)
    first, spent = run(solver, path)
    assert [len(batch) for batch in solver.batches] == [3, 3, 3, 1]
    assert (spent.rollouts, spent.found) == (20, 0)
    assert (spent.prompt_tokens, spent.response_tokens) == (100, 60)
    again = Solver()
    second, spent = run(again, path)
    assert second == first
    assert again.asked == []
    assert (spent.rollouts, spent.found, spent.response_tokens) == (0, 20, 0)


def test_equal_prefixes_are_asked_once_and_nothing_is_kept_without_a_file() -> None:
    solver = Solver()
    found, _ = run(solver, None, [*PREFIXES[:2], PREFIXES[0]])
    assert solver.asked == PREFIXES[:2]
    assert found[0] == found[2]
    run(solver, None, PREFIXES[:1])
    assert len(solver.asked) == 3


@pytest.mark.parametrize("error", [KeyboardInterrupt(), EndpointError("gone", is_gone=True)])
def test_what_stops_the_work_loses_the_batch_under_way(
    tmp_path: Path, error: BaseException
) -> None:
    path = tmp_path / "journal.sqlite"
    with pytest.raises(type(error)):
        run(Solver(breaks_at=2, error=error), path)
    rest = Solver()
    found, spent = run(rest, path)
    assert rest.asked == PREFIXES[6:]
    assert spent.found == 12
    assert found == run(Solver(), None)[0]


def test_a_killed_process_loses_the_batch_under_way(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    script = f"""
import os, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from solver import Solver, asked
from assay.feedback.rollouts import Journal, Prefix, Spent, complete
class Killed(Solver):
    def __call__(self, prefixes, n, seed):
        if len(self.batches) == 2:
            os.kill(os.getpid(), 9)
        return super().__call__(prefixes, n, seed)
prefixes = [Prefix(asked("easy"), tuple(f"step {{i}}" for i in range(k))) for k in range(10)]
complete(Killed(), prefixes, n=2, seed=0, journal=Journal(Path({str(path)!r})), spent=Spent(),
         batch_size=3)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -9
    rest = Solver()
    run(rest, path)
    assert rest.asked == PREFIXES[6:]


def test_failures_are_counted_not_kept_and_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    failing = [Prefix(asked("easy fails"), ("a",)), *PREFIXES[:1]]
    for _ in range(2):
        solver = Solver()
        found, spent = run(solver, path, failing)
        assert found[0] == Rollouts((), (), error="it is too long")
        assert (spent.failed, spent.first_failure) == (1, "it is too long")
        assert failing[0] in solver.asked
    assert solver.asked == failing[:1]


def test_everything_that_decides_a_rollout_is_in_its_key() -> None:
    one = Prefix(asked("a"), ("b",))
    keys = {
        key({"m": 1}, one, 2, 0),
        key({"m": 2}, one, 2, 0),
        key({"m": 1}, one, 3, 0),
        key({"m": 1}, one, 2, 1),
        key({"m": 1}, Prefix(asked("a"), ()), 2, 0),
        key({"m": 1}, Prefix(asked("a"), ("b", "")), 2, 0),
        key({"m": 1}, Prefix(asked("ab"), ("",)), 2, 0),
        key({"m": 1}, Prefix((Message("system", "a"),), ("b",)), 2, 0),
    }
    assert len(keys) == 8
    assert key({"m": 1, "k": 2}, one, 2, 0) == key({"k": 2, "m": 1}, one, 2, 0)


def test_a_completer_that_miscounts_is_refused_before_anything_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    short = FunctionCompleter(lambda prompt, steps, n, seed: ["one"], "short")
    with pytest.raises(ConfigError, match="gave 1 rollouts of a prefix where 2 were asked"):
        run(short, path)
    assert Journal(path).read([key(short.identity, PREFIXES[0], 2, 0)]) == {}


@pytest.mark.parametrize("damage", ["text", "table", "value"])
def test_a_damaged_journal_is_said(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "journal.sqlite"
    run(Solver(), path)
    if damage == "text":
        path.write_text("no database " * 99)
    else:
        with sqlite3.connect(path) as connection:
            connection.execute(
                "ALTER TABLE rollouts RENAME COLUMN value TO other"
                if damage == "table"
                else "UPDATE rollouts SET value = '{'"
            )
        connection.close()
    with pytest.raises(
        DataError, match=r"journal\.sqlite is (damaged, or none of rollouts|a database of)"
    ):
        run(Solver(), path)
