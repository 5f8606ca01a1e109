"""A process killed at any moment loses nothing that it was told is stored."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from filled import Site, make_site
from servers import postgres
from sqlalchemy import func, select

from assay.store import importing
from assay.store import tables as t
from assay.store.importing import add_comparisons
from assay.store.store import PreferenceStore

HERE = Path(__file__).parent
MODES = ("judge", "judge", "judge", "import", "migrate")


@contextmanager
def workers(url: str, folder: Path) -> Iterator[Callable[[str, int], int]]:
    """A function that starts a worker of a mode and gives its process."""
    path = os.pathsep.join([str(HERE), str(HERE.parent.parent), os.environ.get("PYTHONPATH", "")])
    with subprocess.Popen(
        [sys.executable, str(HERE / "killed.py"), url, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as parent:  # fmt: skip
        assert parent.stdin is not None
        assert parent.stdout is not None
        source, answers = parent.stdin, parent.stdout

        def start(mode: str, number: int) -> int:
            source.write(f"{mode} {number}\n")
            source.flush()
            return int(answers.readline())

        yield start
        source.close()


def kill_often(url: str, folder: Path, kills: int, seed: int = 0) -> Counter[str]:
    """Three workers at a time; the oldest is killed at some moment, and another begins."""
    draw, log, done = random.Random(seed), folder / "log", Counter[str]()
    log.touch()
    with workers(url, folder) as start:
        modes = [MODES[number % len(MODES)] for number in range(kills)]
        running = [(start(mode, i), mode) for i, mode in enumerate(modes[:3])]
        for number in range(3, kills + 3):
            wait_for_more(log)
            time.sleep(draw.random() * 0.3)
            process, mode = running.pop(0)
            os.kill(process, signal.SIGKILL)
            done[mode] += 1
            if number < kills:
                running.append((start(modes[number], number), modes[number]))
    assert not (folder / "errors").exists(), (folder / "errors").read_text()
    return done


def wait_for_more(log: Path) -> None:
    """Until something was acknowledged: a process that is starting up has nothing to lose."""
    size, until = log.stat().st_size, time.monotonic() + 20
    while log.stat().st_size == size and time.monotonic() < until:
        time.sleep(0.005)


def finish(site: Site) -> None:
    """Judge what is left, so that quotas can be looked at."""
    for person in range(len(site.people)):
        while (given := site.claim(person)) is not None:
            site.submit(given, person)


def check(site: Site, folder: Path) -> Counter[str]:
    """Everything in the log is in the store, once; what was acknowledged, counted."""
    lines = [line.split() for line in (folder / "log").read_text().splitlines()]
    judged = {words[1] for words in lines if words[0] == "judgment"}
    undone = {words[1] for words in lines if words[0] == "undone"}
    stored = Counter(row.id for row in site.rows(t.judgments))
    assert {i: stored[i] for i in judged if stored[i] != 1} == {}
    withdrawn = {row.id for row in site.rows(t.judgments, t.judgments.c.withdrawn.is_not(None))}
    assert undone <= withdrawn
    check_drafts(site, lines)
    for words in lines:
        if words[0] == "imported":
            assert imported(site, int(words[1])) == 60
    for number in imports_seen(site):
        assert imported(site, number) == 60  # all of it or nothing
    for path in (words[1] for words in lines if words[0] == "opened"):
        with PreferenceStore.open(path, create=False) as store:
            assert store.problems() == []
    for path in {words[1] for words in lines if words[0] == "opening"}:
        with PreferenceStore.open(path) as store:  # killed while it was made: made now
            assert store.problems() == []
    return Counter(words[0] for words in lines)


def check_drafts(site: Site, lines: list[list[str]]) -> None:
    """The last draft of what was not judged since is there, or a later one."""
    latest: dict[tuple[str, str], int] = {}
    for words in lines:
        if words[0] == "draft":
            latest[words[1], words[2]] = int(words[3])
    stored = {(row.comparison_id, row.annotator_id): row.revision for row in site.rows(t.drafts)}
    judged = {(row.comparison_id, row.annotator_id) for row in site.rows(t.judgments)}
    for key, revision in latest.items():
        assert key in judged or stored[key] >= revision


def imported(site: Site, number: int) -> int:
    c = t.comparisons.c
    query = select(func.count()).where(c.is_published, c.extra["import"].as_integer() == number)
    return int(site.store.read(lambda connection: connection.scalar(query)) or 0)


def imports_seen(site: Site) -> set[int]:
    c = t.comparisons.c
    query = select(c.extra["import"].as_integer()).where(c.is_published).distinct()
    found = site.store.read(lambda connection: list(connection.scalars(query)))
    return {number for number in found if number is not None}


def killed(url: str, folder: Path, kills: int, comparisons: int) -> None:
    site = make_site(
        url, comparisons, people_count=3, overlap=2, lease_minutes=0.02, prefetch=20
    )  # fmt: skip
    try:
        done = kill_often(url, folder, kills)
        said = check(site, folder)
        time.sleep(1.5)  # the leases of the killed run out
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importing, "STALE_MS", 0)
            add_comparisons(site.store.database, site.project, [], source="nothing")
    except importing.DataError:
        pass  # an import of nothing is refused, and has cleared away what was killed
    finally:
        assert site.store.problems() == []
    assert site.rows(t.imports, t.imports.c.state == "staging") == []
    assert site.rows(t.comparisons, ~t.comparisons.c.is_published) == []
    print(f"kills {dict(done)}, acknowledged {dict(said)}")
    assert said["judgment"] >= kills // 2
    check_quotas(site, comparisons)
    site.store.close()


def check_quotas(site: Site, comparisons: int) -> None:
    """Everything is judged to its end: as often as is wanted, and not once more."""
    finish(site)
    c, j = t.comparisons.c, t.judgments.c
    rows = site.rows(t.comparisons, c.is_published)
    assert [row.number for row in rows if row.filled != row.overlap] == []
    counted = Counter(
        row.comparison_id for row in site.rows(t.judgments, j.withdrawn.is_(None), ~j.surplus)
    )
    assert {row.id: row.overlap for row in rows} == counted
    assert sorted(set(counted.values())) in ([2], [1, 2])
    assert len(rows) >= comparisons
    assert site.store.problems() == []


@pytest.mark.medium
def test_twenty_kills_on_sqlite(tmp_path: Path) -> None:
    killed(str(tmp_path / "prefs.db"), tmp_path, kills=20, comparisons=40)
    with sqlite3.connect(tmp_path / "prefs.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


@pytest.mark.slow
def test_two_hundred_kills_on_sqlite(tmp_path: Path) -> None:
    killed(str(tmp_path / "prefs.db"), tmp_path, kills=200, comparisons=300)


@pytest.mark.slow
def test_kills_on_postgresql(tmp_path: Path) -> None:
    with postgres() as server:
        killed(server.url, tmp_path, kills=40, comparisons=100)
