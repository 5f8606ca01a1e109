"""Quota, turn and withdrawal of a comparison that is being worked on."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from managed import Managed, managed_site
from servers import postgres
from sqlalchemy import Connection, select, text

from assay.errors import ConfigError
from assay.store import changing, comparisons, submitting
from assay.store import tables as t
from assay.store.desk import AccessError
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
    given = site.store.read(comparisons.stored, site.project, comparison)
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


def judgments(site: Managed, comparison: str) -> list[tuple[str, bool]]:
    """Who judged it, and whether it was more than wanted, the first first."""
    roles = {identity: role for role, identity in site.people.items()}
    rows = site.store.read(lambda c: c.execute(
        select(t.judgments).where(t.judgments.c.comparison_id == comparison)
        .order_by(t.judgments.c.submitted, t.judgments.c.id)
    ).all())  # fmt: skip
    return [(roles[row.annotator_id], row.surplus) for row in rows]


def filled(site: Managed, comparison: str) -> tuple[int, int]:
    """Judgments that count, and those that are wanted."""
    rows = site.store.read(lambda c: c.execute(
        select(t.comparisons).where(t.comparisons.c.id == comparison)
    ).one())  # fmt: skip
    return rows.filled, rows.overlap


def test_a_raised_quota_counts_surplus_judgments_first(site):
    first = site.comparisons()[0]
    site.store.write(changing.set_overlap, site.project, first, 1)
    for role in ("annotator", "second", "reviewer"):
        submit(site, role, first)
    assert judgments(site, first) == [("annotator", False), ("second", True), ("reviewer", True)]
    site.store.write(changing.set_overlap, site.project, first, 2)
    assert judgments(site, first) == [("annotator", False), ("second", False), ("reviewer", True)]
    assert (filled(site, first), slots(site, first)) == ((2, 2), [(True, True)] * 2)
    site.store.write(changing.set_overlap, site.project, first, 4)
    assert [surplus for _, surplus in judgments(site, first)] == [False] * 3
    assert (filled(site, first), slots(site, first)[3]) == ((3, 4), (False, False))
    assert submit(site, "second", first) is False  # anew, in the slot that it got
    assert filled(site, first) == (3, 4)
    assert site.store.read(events_of, first)[-1] == {"overlap": 4, "counted": 1}


def events_of(connection: Connection, comparison: str) -> list[dict[str, object]]:
    """What is recorded of its quota, the first first."""
    found = connection.scalars(
        select(t.events.c.detail)
        .where(t.events.c.subject == comparison, t.events.c.action == "comparison.changed")
        .order_by(t.events.c.seq)
    )
    return list(found)


def test_all_quotas_are_changed_and_no_judgment_is_lost(site, monkeypatch):
    monkeypatch.setattr(changing, "AT_ONCE", 2)
    monkeypatch.setattr(changing, "MANY", 1)
    ids = site.comparisons()
    work = ids[:6]
    change = partial(changing.set_every_overlap, site.store.database, site.project)
    before = [filled(site, identity)[1] for identity in work]
    assert change(3) == sum(overlap != 3 for overlap in before) > 0
    assert change(3) == 0
    assert {filled(site, identity) for identity in work} == {(0, 3)}
    for role in ("annotator", "second"):
        submit(site, role, work[0])
    site.store.write(changing.withdraw, site.project, [work[1]])
    assert change(1) == len(work)
    assert [filled(site, identity) for identity in work] == [(2, 2)] + [(0, 1)] * 5
    assert submit(site, "reviewer", work[0])
    assert change(3) == len(work)
    assert [filled(site, identity) for identity in work] == [(3, 3)] + [(0, 3)] * 5
    assert slots(site, work[1]) == []
    assert slots(site, ids[6]) == []  # gold
    for overlap in (0, 101):
        with pytest.raises(ConfigError, match=f"1 to 100, not {overlap}"):
            change(overlap)


def test_who_holds_a_withdrawn_comparison_may_end_it(site):
    first, second = site.comparisons()[:2]
    site.store.write(changing.set_overlap, site.project, first, 3)
    site.judge("annotator")
    held = site.store.claim(site.project, site.people["second"])
    assert held is not None
    assert held.comparison_id == first
    assert site.store.write(changing.withdraw, site.project, [first, second, first]) == 2
    assert site.store.write(changing.withdraw, site.project, [first]) == 0
    assert (slots(site, first), slots(site, second)) == ([(True, True), (True, False)], [])
    again = site.store.claim(site.project, site.people["second"])
    assert again is not None
    assert again.comparison_id == first
    assert submit(site, "second", first) is False
    assert submit(site, "reviewer", first)  # never had it: kept, and not counted
    assert filled(site, first) == (2, 3)


def test_fewer_judgments_of_a_withdrawn_comparison_take_it_from_who_holds_it(site):
    first = site.comparisons()[0]
    site.store.write(changing.set_overlap, site.project, first, 2)
    for role in ("annotator", "second"):
        held = site.store.claim(site.project, site.people[role])
        assert held is not None
        assert held.comparison_id == first
    site.store.write(changing.withdraw, site.project, [first])
    site.store.write(changing.set_overlap, site.project, first, 1)
    assert sorted(submit(site, role, first) for role in ("annotator", "second")) == [False, True]
    assert filled(site, first) == (1, 1)


def test_a_withdrawn_comparison_is_given_out_again_when_restored(site):
    first = site.comparisons()[0]
    site.judge("annotator")
    site.store.write(changing.withdraw, site.project, [first])
    assert slots(site, first) == [(True, True)]
    site.store.write(changing.set_overlap, site.project, first, 3)
    assert slots(site, first) == [(True, True)]
    assert submit(site, "second", first)
    site.store.write(changing.restore, site.project, first)
    site.store.write(changing.restore, site.project, first)
    assert judgments(site, first) == [("annotator", False), ("second", False)]
    assert (filled(site, first), len(slots(site, first))) == ((2, 3), 3)


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
        with pytest.raises(AccessError, match="no such comparison"):
            site.store.write(work, site.project, theirs, *more)
    mine = site.comparisons()[0]
    with pytest.raises(AccessError, match="no such comparison"):
        site.store.write(changing.withdraw, site.project, [mine, theirs])
    assert slots(site, mine) != []
    assert site.store.read(comparisons.stored, site.project, theirs) is None
    gold = site.comparisons()[6]
    with pytest.raises(ConfigError, match="for everybody"):
        site.store.write(changing.set_overlap, site.project, gold, 2)
    site.store.write(changing.restore, site.project, gold)
    assert slots(site, gold) == []


# --- at the same moment, on PostgreSQL ------------------------------------------------------------


@pytest.fixture(scope="module")
def served_site() -> Iterator[Managed]:
    with postgres() as server:
        made = managed_site(server.url)
        yield made
        assert made.store.problems() == []
        made.store.close()


def beside(site: Managed, first: Callable[[Connection], Any], then: Callable[[], Any]) -> Any:
    """Run ``first``, begin ``then`` on another connection, and commit when that one waits."""
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    engine = site.store.database.engine
    with engine.connect() as connection, ThreadPoolExecutor(1) as pool:
        first(connection)
        later = pool.submit(then)
        until = time.monotonic() + 20
        while not later.done() and not site.store.read(lambda c: c.scalar(waiting)):
            assert time.monotonic() < until
            time.sleep(0.01)
        connection.commit()
        return later.result(20)


def judged_once(site: Managed, number: int) -> tuple[str, Callable[..., Any]]:
    """A comparison whose quota of one is met, and what another annotator submits to it."""
    chosen = site.comparisons()[number]
    site.store.write(changing.set_overlap, site.project, chosen, 1)
    assert submit(site, "annotator", chosen) is False
    given = site.store.read(comparisons.stored, site.project, chosen)
    assert given is not None
    return chosen, partial(
        submitting.submit, annotator_id=site.people["second"], judgment_id=new_id(),
        comparison_id=chosen, answer={"raw": "tie"}, shown=[r.id for r in given.responses],
    )  # fmt: skip


def test_a_quota_that_is_raised_while_a_judgment_is_stored_counts_it(served_site):
    site = served_site
    chosen, submitted = judged_once(site, 0)
    beside(
        site,
        lambda c: submitted(c),
        lambda: site.store.write(changing.set_overlap, site.project, chosen, 2),
    )
    assert judgments(site, chosen) == [("annotator", False), ("second", False)]
    assert (filled(site, chosen), slots(site, chosen)) == ((2, 2), [(True, True)] * 2)


def test_a_judgment_that_is_stored_while_a_quota_is_raised_counts(served_site):
    site = served_site
    chosen, submitted = judged_once(site, 1)
    said = beside(
        site,
        lambda c: changing.set_overlap(c, site.project, chosen, 2),
        lambda: site.store.write(lambda c: submitted(c)),
    )
    assert not said.surplus
    assert judgments(site, chosen) == [("annotator", False), ("second", False)]
    assert (filled(site, chosen), slots(site, chosen)) == ((2, 2), [(True, True)] * 2)


def test_a_judgment_that_is_stored_while_all_quotas_are_raised_counts(served_site):
    site = served_site
    chosen, submitted = judged_once(site, 2)
    raised = partial(changing._next_quotas, project_id=site.project, overlap=3, after=0,
                     actor_id=None)  # fmt: skip
    said = beside(site, raised, lambda: site.store.write(lambda c: submitted(c)))
    assert not said.surplus
    assert (filled(site, chosen), slots(site, chosen)) == (
        (2, 3), [(True, True)] * 2 + [(False, False)],
    )  # fmt: skip
