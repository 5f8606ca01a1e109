"""Property: whatever is changed in the record of events, the check finds where."""

from __future__ import annotations

from typing import Any

import pytest
from filled import Site, make_site
from sqlalchemy import delete, insert, text, update

from assay.errors import StoreError
from assay.store import tables as t
from assay.store.events import record_event, verify_chain
from assay.store.ids import new_id


@pytest.fixture
def site() -> Site:
    site = make_site(comparisons=3, people_count=2, overlap=2)
    for _ in range(3):
        site.judge()
    return site


def execute(site: Site, *statements: Any) -> None:
    site.store.write(lambda connection: [connection.execute(s) for s in statements])


def broken(site: Site) -> int | None:
    return site.store.read(verify_chain)


def test_an_untouched_record_fits(site: Site) -> None:
    assert broken(site) is None
    rows = site.rows(t.events)
    assert [row.seq for row in rows] == list(range(1, len(rows) + 1))
    assert rows[-1].action == "judgment.submitted"
    assert rows[-1].actor_id == site.people[0]


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("at", 5),
        ("actor_id", None),
        ("actor_id", "01a2161f-1a11-7e03-92a3-6f86239d42cc"),
        ("project_id", None),
        ("action", "judgment.withdrawn"),
        ("subject", "another"),
        ("detail", {"surplus": True}),
        ("detail", {}),
        ("previous", "f" * 64),
        ("digest", "e" * 64),
    ],
)
def test_any_changed_field_is_found_where_it_is(site: Site, column: str, value: Any) -> None:
    number = len(site.rows(t.events)) - 1
    execute(site, update(t.events).where(t.events.c.seq == number).values({column: value}))
    assert broken(site) == number
    assert f"does not fit at entry {number}" in site.store.problems()[-1]


def test_a_removed_entry_is_found_wherever_it_was(site: Site) -> None:
    last = len(site.rows(t.events))
    execute(site, delete(t.events).where(t.events.c.seq == last))
    assert broken(site) == last
    execute(site, delete(t.events).where(t.events.c.seq == 2))
    assert broken(site) == 3
    execute(site, delete(t.events))
    assert broken(site) == 1


def test_two_entries_in_each_others_place_are_found(site: Site) -> None:
    def swap(first: int, second: int) -> list[Any]:
        change = update(t.events)
        return [
            change.where(t.events.c.seq == old).values(seq=new)
            for old, new in ((first, -1), (second, first), (-1, second))
        ]

    execute(site, *swap(2, 3))
    assert broken(site) == 2


def test_an_entry_put_in_is_found(site: Site) -> None:
    last = site.rows(t.events)[-1]
    values = {**last._mapping, "seq": last.seq + 1, "digest": "d" * 64}
    execute(site, insert(t.events).values(**values))
    assert broken(site) == last.seq + 1


def test_a_record_without_its_head_is_found_and_not_written_to(site: Site) -> None:
    execute(site, delete(t.chain))
    assert broken(site) == len(site.rows(t.events)) + 1
    with pytest.raises(StoreError, match="head of the record"):
        site.judge(1)
    assert len(site.rows(t.judgments)) == 3  # without its entry, the judgment is not stored


def test_what_is_recorded_is_as_it_will_be_read(site: Site) -> None:
    site.store.write(record_event, "odd", "ü\U0001f600", detail={"a": ("x", None), "b": {1: True}})
    assert broken(site) is None
    assert site.rows(t.events)[-1].detail == {"a": ["x", None], "b": {"1": True}}


def test_hooks_are_noted_for_what_they_want(site: Site) -> None:
    hooks = {
        actions: {
            "id": new_id(), "project_id": site.project, "url": "https://example.org", "secret": "s",
            "actions": list(actions), "is_active": is_active, "created": 1,
        }
        for actions, is_active in (((), True), (("judgment.submitted",), True), (("x",), True),
                                   (("judgment.submitted", "y"), False))
    }  # fmt: skip
    execute(site, insert(t.webhooks).values(list(hooks.values())))
    site.judge(1)
    wanted = {hooks[()]["id"], hooks[("judgment.submitted",)]["id"]}
    rows = site.rows(t.deliveries)
    assert {row.webhook_id for row in rows} == wanted
    assert {row.event_seq for row in rows} == {len(site.rows(t.events))}


def test_a_change_made_past_assay_is_found(tmp_path: Any) -> None:
    site = make_site(tmp_path / "prefs.db", comparisons=1)
    site.judge()
    site.store.write(lambda c: c.execute(text("UPDATE event SET subject = 'x' WHERE seq = 1")))
    assert broken(site) == 1
