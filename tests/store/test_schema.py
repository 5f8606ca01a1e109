"""Contract: an empty database becomes a store, another's or a newer one is left as it is."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
from filled import make_site
from sqlalchemy import inspect, text

from assay.errors import StoreError
from assay.store import schema
from assay.store.database import Database
from assay.store.schema import upgrade, version, versions
from assay.store.store import PreferenceStore
from assay.store.tables import metadata


def test_an_empty_database_gets_all_tables_and_is_not_made_twice(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "prefs.db"))
    assert upgrade(database) == (None, versions()[-1])
    assert upgrade(database) == (versions()[-1], versions()[-1])
    with database.reading() as connection:
        assert version(connection) == versions()[-1]
        assert set(inspect(connection).get_table_names()) == {
            *metadata.tables, "alembic_version",
        }  # fmt: skip


def test_the_migrations_make_the_tables_that_the_code_names(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with PreferenceStore.open(tmp_path / "prefs.db") as store:
        found = store.read(
            lambda c: compare_metadata(MigrationContext.configure(c), metadata)
        )  # fmt: skip
    assert found == []


def test_a_newer_store_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "prefs.db"
    site = make_site(path)
    site.store.write(lambda c: c.execute(text("UPDATE alembic_version SET version_num = '9999'")))
    site.store.close()
    before = path.read_bytes()
    with pytest.raises(StoreError, match=r"has schema 9999 but this assay knows up to 0"):
        PreferenceStore.open(path)
    assert path.read_bytes() == before


def test_tables_of_others_are_named_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE invoices (id)")
    with pytest.raises(StoreError, match=r"tables that are not Assay's \(invoices\)"):
        PreferenceStore.open(path)
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master").fetchall()
    assert rows == [("invoices",)]


def test_an_upgrade_that_fails_midway_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "prefs.db"

    def upgraded_and_stopped(config: object, to: str) -> None:
        real(config, to)  # type: ignore[arg-type]
        raise KeyboardInterrupt

    real = schema.command.upgrade
    with monkeypatch.context() as patch:
        patch.setattr(schema.command, "upgrade", upgraded_and_stopped)
        with pytest.raises(KeyboardInterrupt):
            PreferenceStore.open(path)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []
    with PreferenceStore.open(path) as store:
        assert store.problems() == []


def test_two_that_open_a_new_store_at_once_make_one(tmp_path: Path) -> None:
    first, second = (Database(str(tmp_path / "prefs.db")) for _ in range(2))
    assert upgrade(first)[0] is None
    assert upgrade(second) == (versions()[-1], versions()[-1])
