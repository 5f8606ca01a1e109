"""Quota, turn and withdrawal of a comparison that is being worked on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from managed import Managed, managed_site
from sqlalchemy import select

from assay.errors import ConfigError, StoreError
from assay.store import changing, comparisons, listing
from assay.store import tables as t
from assay.store.ids import new_id

pytestmark = pytest.mark.medium


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Managed]:
    made = managed_site(str(tmp_path / "prefs.db"))
    yield made
    assert made.store.problems() == []
    made.store.close()


def slots(site: Managed, comparison: str) -> list[tuple[bool, bool]]:
    """Of each slot, whether it is held or filled, and whether it is filled."""
    rows = site.store.read(lambda c: c.execute(
        select(t.slots).where(t.slots.c.comparison_id == comparison).order_by(t.slots.c.k)
    ).all())  # fmt: skip
    return [(row.annotator_id is not None, row.judgment_id is not None) for row in rows]


def submit(site: Managed, role: str, comparison: str) -> bool:
    """Judge it; whether it was more than wanted."""
    given = site.store.read(listing.comparison, site.project, comparison)
    assert given is not None
    shown = [r.id for r in given.responses]
    said = site.store.submit(site.people[role], new_id(), comparison, {"raw": "tie"}, shown=shown)
    return said.surplus


def test_fewer_judgments_take_the_free_slots_first(site):
    first = site.comparisons()[0]
    site.store.write(changing.set_overlap, site.project, first, 4)
    assert slots(site, first) == [(False, False)] * 4
    assert site.judge("annotator")[0] == first
    held = site.store.claim(site.project, site.people["second"])
    assert held is not None
    assert held.comparison_id == first
    site.store.write(changing.set_overlap, site.project, first, 2)
    assert sorted(slots(site, first)) == [(True, False), (True, True)]
    site.store.write(changing.set_overlap, site.project, first, 1)
    assert slots(site, first) == [(True, True)]
    assert submit(site, "second", first)  # kept, though not wanted any more
    with pytest.raises(ConfigError, match="has 1 judgments"):
        site.store.write(changing.set_overlap, site.project, first, 0)
    site.store.write(changing.set_overlap, site.project, first, 2)
    assert len(slots(site, first)) == 2
    assert not submit(site, "reviewer", first)


def test_a_withdrawn_comparison_is_given_out_again_when_restored(site):
    first = site.comparisons()[0]
    site.judge("annotator")
    held = site.store.claim(site.project, site.people["second"])
    assert held is not None
    assert site.store.write(comparisons.withdraw, site.project, first)
    assert slots(site, first) == [(True, True)]
    site.store.write(changing.set_overlap, site.project, first, 3)
    assert slots(site, first) == [(True, True)]
    assert submit(site, "second", first)
    site.store.write(changing.restore, site.project, first)
    site.store.write(changing.restore, site.project, first)
    assert len(slots(site, first)) == 3


def test_an_earlier_turn_is_taken_next_by_all(site):
    site.judge("annotator")
    site.judge("annotator")
    last = site.comparisons()[5]
    site.store.write(changing.set_place, site.project, last, 0.5)
    for role in ("annotator", "second"):
        given = site.store.claim(site.project, site.people[role])
        assert given is not None
        assert given.comparison_id == last
    with pytest.raises(ConfigError, match="place must be"):
        site.store.write(changing.set_place, site.project, last, float("inf"))


def test_a_comparison_of_another_project_is_not_there(site):
    theirs = site.comparisons(site.other)[0]
    for work, more in (
        (changing.restore, ()), (changing.set_overlap, (2,)), (changing.set_place, (1.0,)),
    ):  # fmt: skip
        with pytest.raises(StoreError, match="no such comparison"):
            site.store.write(work, site.project, theirs, *more)
    assert site.store.read(listing.comparison, site.project, theirs) is None
    gold = site.comparisons()[6]
    with pytest.raises(ConfigError, match="for everybody"):
        site.store.write(changing.set_overlap, site.project, gold, 2)
    site.store.write(changing.restore, site.project, gold)
    assert slots(site, gold) == []
