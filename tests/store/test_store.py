"""Contract: projects, their rubrics, and what is said when something is wrong with a store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from filled import Site, make_site
from sqlalchemy import delete, insert, text, update

from assay.errors import ConfigError, StoreError
from assay.store import tables as t
from assay.store.ids import new_id
from assay.store.records import ProjectSettings, Rubric
from assay.store.store import PreferenceStore


def test_projects_are_found_by_name_or_id(tmp_path: Path) -> None:
    with PreferenceStore.open(tmp_path / "prefs.db") as store:
        with pytest.raises(StoreError, match=r"Name a project; .* holds none"):
            store.project_named(None)
        one = store.create_project("Äpfel", ProjectSettings(overlap=2))
        assert store.project_named(None).id == one
        two = store.create_project("birnen")
        assert [project.name for project in store.projects()] == ["birnen", "Äpfel"]
        assert store.project_named("äpfel").settings.overlap == 2
        assert store.project_named(two).name == "birnen"
        with pytest.raises(
            StoreError, match=r"There is no project 'x'; .* holds 'birnen', 'Äpfel'"
        ):
            store.project_named("x")
        with pytest.raises(ConfigError, match="There is a project 'ÄPFEL' already"):
            store.create_project("ÄPFEL")
        with pytest.raises(StoreError, match="There is no such project"):
            store.project(new_id())


def test_a_changed_rubric_is_a_new_version_and_judgments_keep_theirs() -> None:
    site = make_site(comparisons=2)
    given = site.claimed()
    site.store.change_project(site.project, rubric=Rubric())  # the same one is no new version
    assert site.store.project(site.project).rubric_version == 1
    site.store.change_project(
        site.project, rubric=Rubric(question="Which?"), settings=ProjectSettings(overlap=5)
    )
    project = site.store.project(site.project)
    assert (project.rubric_version, project.rubric.question) == (2, "Which?")
    assert project.settings.overlap == 5
    site.submit(given, rubric_id=given.rubric_id)
    later = site.judge()
    rows = {row.id: row.rubric_id for row in site.rows(t.judgments)}
    assert rows[later.id] == project.rubric_id
    assert set(rows.values()) == {given.rubric_id, project.rubric_id}
    assert {row.overlap for row in site.rows(t.comparisons)} == {1}
    with pytest.raises(StoreError, match="There is no such project"):
        site.store.change_project(new_id(), is_paused=True)


def test_a_missing_store_is_made_only_when_asked(tmp_path: Path) -> None:
    path = tmp_path / "prefs.db"
    with pytest.raises(StoreError, match="There is no store at"):
        PreferenceStore.open(path, create=False)
    assert not path.exists()
    path.touch()
    with pytest.raises(StoreError, match="is empty; it holds no store"):
        PreferenceStore.open(path, create=False)
    PreferenceStore.open(path).close()
    PreferenceStore.open(path, create=False).close()


def test_a_backup_is_a_store_of_its_own(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    done = site.judge()
    site.store.backup(tmp_path / "copy.db")
    site.judge()
    with PreferenceStore.open(tmp_path / "copy.db", create=False) as copy:
        other = Site(copy, site.project, site.people)
        assert [row.id for row in other.rows(t.judgments)] == [done.id]
        assert copy.problems() == []
    with pytest.raises(ConfigError, match="exists; name another file"):
        site.store.backup(tmp_path / "copy.db")


@pytest.fixture
def judged() -> Site:
    site = make_site(comparisons=2, overlap=2)
    site.judge()
    assert site.store.problems() == []
    return site


def damage(site: Site, *statements: Any) -> list[str]:
    site.store.write(lambda connection: [connection.execute(s) for s in statements])
    return site.store.problems()


def test_a_count_that_is_not_its_judgments_is_found(judged: Site) -> None:
    said = damage(judged, update(t.comparisons).where(t.comparisons.c.number == 1).values(filled=2))
    assert said == ["Comparison 1 counts 2 judgments of 2, has 1, and 1 filled slots of 2."]


def test_a_lost_judgment_is_found(judged: Site) -> None:
    said = damage(judged, delete(t.judgments))
    assert said[0] == "Comparison 1 counts 1 judgments of 2, has 0, and 1 filled slots of 2."
    assert "has no such judgment" in said[1]


def test_a_slot_too_few_or_too_many_is_found(judged: Site) -> None:
    s = t.slots.c
    second = judged.ids()[1]
    assert damage(judged, delete(t.slots).where(s.comparison_id == second, s.k == 1)) == [
        "Comparison 2 counts 0 judgments of 2, has 0, and 0 filled slots of 1."
    ]
    more = [{"comparison_id": second, "k": k, "project_id": judged.project, "place": 1.0}
            for k in (1, 2)]  # fmt: skip
    assert "slots of 3" in damage(judged, insert(t.slots).values(more))[0]


def test_a_slot_with_anothers_judgment_is_found(judged: Site) -> None:
    said = damage(
        judged,
        update(t.slots).where(t.slots.c.judgment_id.is_not(None)).values(
            annotator_id=judged.people[1]
        ),
    )  # fmt: skip
    assert [line.startswith("Slot 0 of comparison") for line in said] == [True]


def test_a_row_that_names_nothing_is_found(tmp_path: Path) -> None:
    site = make_site(tmp_path / "prefs.db")
    with site.store.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.execute(text("UPDATE response SET prompt_id = 'x' WHERE id = (SELECT max(id) "
                                "FROM response)"))  # fmt: skip
        connection.commit()
    assert site.store.problems() == ["A row of response names one of prompt that is not there."]


def test_the_same_person_does_not_fill_two_slots(judged: Site) -> None:
    with pytest.raises(StoreError, match="There is one like it already"):
        damage(
            judged,
            update(t.slots).where(t.slots.c.comparison_id == judged.ids()[0]).values(
                annotator_id=judged.people[0], shown=[]
            ),
        )  # fmt: skip
