"""Contract: what is wrong with a database is a sentence, and nothing is half written."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from filled import Site, fill_site, make_site, pair
from servers import Server, postgres
from sqlalchemy import insert, select, text

from assay.errors import (
    ConfigError,
    DataError,
    StoreError,
    StoreFullError,
    StoreUnavailableError,
)
from assay.store import changing, desk, drafts, holding
from assay.store import database as databases
from assay.store import tables as t
from assay.store.database import Database, database_url
from assay.store.events import record_event
from assay.store.people import add_annotator, annotators
from assay.store.store import PreferenceStore


def test_a_path_or_a_url_names_a_database(tmp_path: Path) -> None:
    assert database_url("a/b.db").database == "a/b.db"
    assert database_url("sqlite:///b.db").database == "b.db"
    assert database_url("postgresql://me@host/x").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("mysql://host/x", "names a mysql database; a store is a path"),
        ("postgresql://host:port/x", "is no URL that can be read"),
        ("://", "is no URL that can be read"),
        ("/none/such/prefs.db", "the folder /none/such does not exist"),
    ],
)
def test_other_names_are_refused(name: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Database(name)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in Database("postgresql://me:secret@127.0.0.1:1/x").name


def test_a_full_disk_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db", comparisons=200, overlap=3)
    kept = [site.judge().id for _ in range(3)]
    given = site.claimed()
    site.store.write(drafts.save_draft, site.people[0], given.comparison_id, {"raw": "tie"}, 1)
    pages = site.store.read(lambda c: c.execute(text("PRAGMA page_count")).scalar())
    _limit(site, pages)

    def judge_on() -> None:
        for _ in range(200):
            kept.append(site.judge(1, answer={"raw": "tie", "rationale": "word " * 3000}).id)

    with pytest.raises(StoreFullError, match="the disk is full, and nothing of this was stored"):
        judge_on()
    with pytest.raises(StoreFullError):
        site.submit(given, answer={"raw": "tie", "rationale": "word " * 3900})
    assert {row.id for row in site.rows(t.judgments)} == set(kept)
    assert len(site.rows(t.drafts)) == 1
    assert site.store.problems() == []
    _limit(site, 1_000_000)
    assert not site.submit(given).surplus
    assert site.store.problems() == []


def _limit(site: Site, pages: int | None) -> None:
    """Of the one connection that is in the pool."""
    pool = site.store.database.engine.pool
    assert pool.checkedout() == 0  # type: ignore[attr-defined]
    with site.store.database.engine.connect() as connection:
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")


def test_an_import_on_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db", comparisons=1)
    pages = site.store.read(lambda c: c.execute(text("PRAGMA page_count")).scalar())
    _limit(site, pages + 100)
    with pytest.raises(StoreFullError):
        site.store.add_comparisons(
            site.project, (pair(i, extra={"x": "y" * 500}) for i in range(5000)), source="x"
        )
    _limit(site, 1_000_000)
    assert len(site.rows(t.comparisons, t.comparisons.c.is_published)) == 1
    assert site.store.problems() == []


def test_a_store_that_cannot_be_written_says_so_and_can_be_read(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    with site.store.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA query_only = 1")
    with pytest.raises(StoreUnavailableError, match=r"cannot be written \(read-only\)"):
        site.claim()
    assert len(site.ids()) == 4


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write what it likes")
def test_a_file_without_permission_to_write(tmp_path: Path) -> None:
    path = tmp_path / "prefs.db"
    make_site(path).store.close()
    path.chmod(0o400)
    tmp_path.chmod(0o500)
    try:
        with (
            pytest.raises(StoreUnavailableError, match="permissions"),
            PreferenceStore.open(path) as store,
        ):
            store.create_project("new")
    finally:
        tmp_path.chmod(0o700)


def test_what_is_no_database_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "prefs.db"
    path.write_text("pairs, not a database\n" * 50)
    with pytest.raises(StoreError, match="is no SQLite database, or is damaged"):
        PreferenceStore.open(path)
    assert path.read_text().startswith("pairs")
    with pytest.raises(StoreUnavailableError, match="cannot be opened; check its path"):
        PreferenceStore.open(tmp_path)


def test_a_database_held_by_another_process_is_waited_for_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "BUSY_SECONDS", 0)
    site = make_site(tmp_path / "prefs.db")
    with sqlite3.connect(tmp_path / "prefs.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailableError, match="another process held the database"):
            site.claim()
        assert len(site.ids()) == 4  # readers do not wait
        other.execute("ROLLBACK")
    assert site.claim() is not None


def test_what_no_database_stores_is_refused(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    given = site.claimed()
    with pytest.raises(DataError, match="no database stores"):
        site.store.write(holding.flag, site.people[0], given.comparison_id, "half \ud800")
    with pytest.raises(DataError, match="no database stores"):
        site.store.write(
            drafts.save_draft, site.people[0], given.comparison_id, {"x": float("nan")}, 1
        )
    assert site.rows(t.drafts) == site.rows(t.flags) == []


def test_a_clash_that_is_no_race_is_a_sentence(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    row = site.rows(t.annotators)[0]
    with pytest.raises(StoreError, match=r"one like it already \(annotator\."):
        site.store.write(lambda c: c.execute(insert(t.annotators).values(**row._mapping)))


def test_one_state_of_the_data_is_seen(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    with site.store.database.reading() as connection:
        before = len(connection.execute(select(t.annotators.c.id)).all())
        site.store.write(add_annotator, "late")
        assert len(connection.execute(select(t.annotators.c.id)).all()) == before


def test_a_store_in_memory_is_one_for_all_threads() -> None:
    site = make_site(comparisons=30, people_count=6, overlap=6)
    in_threads(6, lambda person: [site.judge(person) for _ in range(10)])
    assert sum(row.filled for row in site.rows(t.comparisons)) == 60
    assert site.store.problems() == []


def in_threads(count: int, work: Any) -> None:
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def test_writers_who_wait_commit_together_and_each_gets_its_own(tmp_path: Path) -> None:
    database = PreferenceStore.open(tmp_path / "prefs.db").database
    commits, together = count_commits(database), threading.Event()

    def first(connection: Any) -> str:
        together.wait(5)
        return add_annotator(connection, "first")

    def one(number: int) -> None:
        if number == 0:
            database.write(first)
        elif number == 5:
            with pytest.raises(ConfigError, match="printable"):
                database.write(lambda c: add_annotator(c, ""))
        else:
            identity = database.write(lambda c: add_annotator(c, f"person {number}"))
            with database.reading() as connection:
                found = {person.id: person.name for person in annotators(connection)}
            assert found[identity] == f"person {number}"

    opener = threading.Timer(0.3, together.set)
    opener.start()
    in_threads(5, one)
    assert commits[0] <= 3  # the first, and those who waited for it
    in_threads(12, lambda number: one(number + 5))
    with database.reading() as connection:
        assert len(annotators(connection)) == 5 + 11


def count_commits(database: Database) -> list[int]:
    from sqlalchemy import event

    commits = [0]

    @event.listens_for(database.engine, "commit")
    def _committed(_connection: Any) -> None:
        commits[0] += 1

    return commits


def test_an_interrupt_while_waiting_does_not_stop_the_others(tmp_path: Path) -> None:
    database = PreferenceStore.open(tmp_path / "prefs.db").database
    writers = database._writers
    writers._is_led = True  # somebody works

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Event", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            database.write(lambda c: add_annotator(c, "gone"))
    assert not writers._jobs
    with writers._lock:
        writers._hand_over()
    database.write(lambda c: add_annotator(c, "next"))
    with database.reading() as connection:
        assert [person.name for person in annotators(connection)] == ["next"]


def test_a_transaction_inside_another_is_a_mistake_and_not_a_standstill(tmp_path: Path) -> None:
    database = PreferenceStore.open(tmp_path / "prefs.db").database
    with pytest.raises(AssertionError, match="cannot wait for another one"):
        database.write(lambda _: database.write(lambda c: add_annotator(c, "x")))
    database.write(lambda c: add_annotator(c, "y"))


def test_too_many_at_once_is_a_sentence(tmp_path: Path) -> None:
    database = PreferenceStore.open(tmp_path / "prefs.db").database
    pool = database.engine.pool
    pool._timeout = 0.01  # type: ignore[attr-defined]
    with ExitStack() as held:
        for _ in range(8 + 64):
            held.enter_context(database.reading())
        with pytest.raises(StoreUnavailableError, match="too many requests"):
            held.enter_context(database.reading())


# --- PostgreSQL ---


def test_a_postgresql_that_is_away_is_a_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "AWAY_SECONDS", 0.2)
    with pytest.raises(StoreUnavailableError, match=r"does not answer .*; check that it runs"):
        PreferenceStore.open("postgresql://assay@127.0.0.1:1/none")


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres() as found:
        yield found


@pytest.mark.medium
def test_postgresql_keeps_every_rule_under_threads(server: Server) -> None:
    """Two tabs of each annotator, on comparisons of which all want the first."""
    with PreferenceStore.open(server.url) as store:
        site = fill_site(store, 20, 5, overlap=3, most_per_annotator=15)

        def work(number: int) -> None:
            with suppress(desk.AccessError):  # enough
                while (given := site.claim(number % 5)) is not None:
                    site.submit(given, number % 5)

        in_threads(10, work)
        c, j = t.comparisons.c, t.judgments.c
        rows = site.rows(t.comparisons, c.project_id == site.project)
        standing = site.rows(t.judgments, j.project_id == site.project, j.withdrawn.is_(None))
        assert max(row.filled for row in rows) <= 3
        assert len({(row.comparison_id, row.annotator_id) for row in standing}) == len(standing)
        assert sum(row.filled for row in rows) == sum(not row.surplus for row in standing) == 60
        assert store.problems() == []


@pytest.mark.medium
def test_the_record_of_events_reads_what_it_sealed(server: Server) -> None:
    """PostgreSQL's JSON has no -0.0, and writes large numbers out."""
    numbers = (-0.0, 0.1, 5e-324, 1e-7, 1e15, 1e16, -1e17, 1.5e300, 2**70, 3.0, -2.5)
    with PreferenceStore.open(server.url) as store:
        site = fill_site(store, 1, 1)
        for number in numbers:
            store.write(record_event, "odd", detail={"a": number, "b": [{"c": number}]})
        store.write(record_event, "odd", detail={"z": "\u00e9\U0001f600", "a": None, "b": True})
        store.write(changing.set_place, site.project, site.ids()[0], -0.0)
        assert store.problems() == []


@pytest.mark.medium
def test_postgresql_refuses_in_sentences(server: Server) -> None:
    with PreferenceStore.open(server.url) as store:
        site = fill_site(store, 2, 2)
        given = site.claimed()
        for reason, value in (("zero \x00", None), ("half \ud800", None)):
            with pytest.raises(DataError):
                store.write(holding.flag, site.people[0], given.comparison_id, reason)
            draft = {"rationale": reason, "value": value}
            with pytest.raises(DataError):
                store.write(drafts.save_draft, site.people[0], given.comparison_id, draft, 1)
        with pytest.raises(ConfigError, match="already"):
            store.write(add_annotator, f"0 of {store.project(site.project).name}".upper())
        with pytest.raises(ConfigError, match="made by pg_dump"):
            store.backup("x")
        done = site.submit(given)
        assert site.submit(given, id=done.id).is_repeat


@pytest.mark.medium
def test_a_connection_that_the_server_closed_is_not_lent(server: Server) -> None:
    psycopg = pytest.importorskip("psycopg")
    with PreferenceStore.open(server.url) as store:
        store.projects()  # leaves a connection in the pool
        with psycopg.connect(server.url, autocommit=True) as other:
            mine = "pid <> pg_backend_pid() AND backend_type = 'client backend'"
            until = time.monotonic() + 20
            others = f"SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE {mine}"
            while other.execute(others).fetchone() != (0,):
                assert time.monotonic() < until
                time.sleep(0.01)
        with store.database.reading() as connection:  # is not tried again
            assert connection.scalar(select(1)) == 1


@pytest.mark.medium
def test_a_read_and_a_write_outlast_a_restart(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(databases, "AWAY_SECONDS", 120.0)  # a busy machine recovers slowly
    with PreferenceStore.open(server.url) as store:
        site = fill_site(store, 3, 2)
        given = site.claimed()
        server.stop("immediate")
        back = threading.Timer(1.0, server.start)
        back.start()
        done = site.submit(given)
        back.join()
        assert site.rows(t.judgments, t.judgments.c.id == done.id)
        server.stop("immediate")
        back = threading.Timer(1.0, server.start)
        back.start()
        assert store.project(site.project).id == site.project
        back.join()
        assert store.problems() == []
