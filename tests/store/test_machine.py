"""Property: whatever annotators do, in any order, the store does as a plain model does."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from filled import Clock, Site, clock_set, fill_site
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from servers import postgres

from assay.errors import ConfigError, StoreUnavailableError
from assay.store import assignment, changing
from assay.store import database as databases
from assay.store import tables as t
from assay.store.assignment import UNDOABLE, AccessError
from assay.store.ids import new_id
from assay.store.store import PreferenceStore

PEOPLE, COMPARISONS, OVERLAP, LEASE = 4, 5, 2, 10 * 60_000
who = st.integers(0, PEOPLE - 1)
which = st.integers(0, COMPARISONS - 1)


@dataclass
class Slot:
    """A place for one judgment."""

    holder: int | None = None
    lease: int | None = None
    claimed: int = 0
    judgment: str | None = None

    def free(self) -> None:
        self.holder = self.lease = None


@dataclass
class Judgment:
    """One that was acknowledged."""

    id: str
    person: int
    comparison: int
    surplus: bool
    at: int
    is_withdrawn: bool = False


@dataclass
class Model:
    """What the store should hold, in lists and sets."""

    slots: list[dict[int, Slot]] = field(
        default_factory=lambda: [{k: Slot() for k in range(OVERLAP)} for _ in range(COMPARISONS)]
    )
    judgments: dict[str, Judgment] = field(default_factory=dict)
    withdrawn: set[int] = field(default_factory=set)
    skipped: set[tuple[int, int]] = field(default_factory=set)
    drafts: set[tuple[int, int]] = field(default_factory=set)
    flags: set[tuple[int, int]] = field(default_factory=set)
    quotas: list[int] = field(default_factory=lambda: [OVERLAP] * COMPARISONS)

    def own(self, person: int, comparison: int) -> Slot | None:
        found = [s for s in self.slots[comparison].values() if s.holder == person]
        assert len(found) <= 1
        return found[0] if found else None

    def standing(self, person: int, comparison: int) -> Judgment | None:
        found = [
            j
            for j in self.judgments.values()
            if (j.person, j.comparison) == (person, comparison) and not j.is_withdrawn
        ]
        assert len(found) <= 1
        return found[0] if found else None

    def let_go(self, comparison: int, k: int) -> None:
        if comparison in self.withdrawn:
            del self.slots[comparison][k]
        else:
            self.slots[comparison][k].free()

    def expire(self, now: int) -> None:
        for comparison, slots in enumerate(self.slots):
            for k, slot in list(slots.items()):
                if slot.lease is not None and slot.lease < now:
                    self.let_go(comparison, k)

    def has_met(self, person: int, comparison: int) -> bool:
        judged = any(
            (j.person, j.comparison) == (person, comparison) for j in self.judgments.values()
        )
        return (
            judged
            or self.own(person, comparison) is not None
            or (person, comparison) in self.drafts
        )

    def offers(self, person: int) -> set[int]:
        """Comparisons with a free slot that the annotator may get."""
        return {
            c
            for c, slots in enumerate(self.slots)
            if any(slot.holder is None for slot in slots.values())
            and self.own(person, c) is None
            and self.standing(person, c) is None
            and (person, c) not in self.skipped
        }

    def first_free(self, comparison: int) -> Slot | None:
        slots = self.slots[comparison]
        return next((slots[k] for k in sorted(slots) if slots[k].holder is None), None)

    def open_slot(self, comparison: int, now: int) -> Slot | None:
        """Free, or else one whose lease has run out."""
        slots = self.slots[comparison]
        late = [
            slots[k]
            for k in sorted(slots)
            if slots[k].lease is not None and (slots[k].lease or 0) < now
        ]
        return self.first_free(comparison) or (late[0] if late else None)

    def set_quota(self, comparison: int, quota: int) -> None:
        """Slots go or come, and free ones take surplus judgments, the first first."""
        slots = self.slots[comparison]
        order = sorted(slots, key=lambda k: (slots[k].judgment is None, slots[k].holder is None, k))
        for k in order[quota:]:
            assert slots[k].judgment is None
            del slots[k]
        self.quotas[comparison] = quota
        if comparison in self.withdrawn:
            return
        while len(slots) < quota:
            k = next(k for k in range(quota + len(slots)) if k not in slots)
            slots[k] = Slot()
        waiting = sorted(
            (
                j
                for j in self.judgments.values()
                if j.comparison == comparison and j.surplus and not j.is_withdrawn
            ),
            key=lambda j: j.at,
        )
        kept = [k for k in order[:quota] if slots[k].holder is None]
        fresh = sorted(set(slots) - set(order[:quota]))
        for k, judgment in zip([*kept, *fresh], waiting, strict=False):
            slots[k] = Slot(judgment.person, None, judgment.at, judgment.id)
            judgment.surplus = False

    def latest(self, person: int) -> list[str]:
        mine = [j for j in self.judgments.values() if j.person == person and not j.is_withdrawn]
        return [j.id for j in sorted(mine, key=lambda j: j.at, reverse=True)[:UNDOABLE]]


def machine(make: Callable[[], Site], clock: Clock, count: list[int], checks_chain: bool) -> Any:
    """The class of a state machine over sites that ``make`` gives."""

    class Machine(RuleBasedStateMachine):
        def __init__(self) -> None:
            super().__init__()
            self.site, self.model = make(), Model()
            self.ids = self.site.ids()
            shown = {i: [] for i in self.ids}  # type: ignore[var-annotated]
            for row in self.site.rows(t.comparison_responses):
                if row.comparison_id in shown:
                    shown[row.comparison_id].append(row.response_id)
            self.shown = shown

        def teardown(self) -> None:
            assert self.site.store.problems() == []

        # --- what annotators do ---

        @rule(person=who)
        def claim(self, person: int) -> None:
            now, model = clock.now, self.model
            given = self.site.claim(person)
            mine = [
                (slot.claimed, c)
                for c in range(COMPARISONS)
                if (slot := model.own(person, c)) and slot.lease is not None and slot.lease >= now
            ]
            got = None if given is None else self.ids.index(given.comparison_id)
            if mine:
                assert got in [c for claimed, c in mine if claimed == min(mine)[0]]
                return
            model.expire(now)
            offers = model.offers(person)
            assert (got is None) == (not offers)
            if got is not None:
                assert got in offers
                slot = model.first_free(got)
                assert slot is not None
                slot.holder, slot.lease, slot.claimed = person, now + LEASE, now

        @rule(person=who, comparison=which)
        def submit(self, person: int, comparison: int) -> None:
            """In time, late, again with another answer, or never claimed at all."""
            now, model, identity = clock.now, self.model, new_id()
            own, earlier = model.own(person, comparison), model.standing(person, comparison)
            slot = own
            if slot is None and comparison not in model.withdrawn:
                slot = model.open_slot(comparison, now)
            done = self._submit(identity, person, comparison)
            assert done.surplus == (slot is None)
            if slot is not None:
                slot.judgment, slot.lease, slot.holder = identity, None, person
            if earlier is not None:
                earlier.is_withdrawn = True
            model.judgments[identity] = Judgment(identity, person, comparison, done.surplus, now)
            model.drafts.discard((person, comparison))

        def _submit(self, identity: str, person: int, comparison: int) -> Any:
            return self.site.store.submit(
                self.site.people[person], identity, self.ids[comparison], {"raw": "tie"},
                shown=self.shown[self.ids[comparison]],
            )  # fmt: skip

        @precondition(lambda self: self.model.judgments)
        @rule(data=st.data())
        def submit_again(self, data: Any) -> None:
            """The same request once more, as after a lost answer."""
            judgment = data.draw(st.sampled_from(list(self.model.judgments.values())))
            done = self._submit(judgment.id, judgment.person, judgment.comparison)
            assert done.is_repeat
            assert done.surplus == judgment.surplus

        @rule(person=who, comparison=which)
        def skip(self, person: int, comparison: int) -> None:
            model, own = self.model, self.model.own(person, comparison)
            held = own is not None and own.judgment is None
            call = (assignment.skip, self.site.people[person], self.ids[comparison], "unclear")
            if not held and (person, comparison) not in model.skipped:
                with pytest.raises(AccessError):
                    self.site.store.write(*call)
                return
            self.site.store.write(*call)
            if held:
                self._let_go(person, comparison)
                model.skipped.add((person, comparison))
                model.drafts.discard((person, comparison))

        def _let_go(self, person: int, comparison: int) -> None:
            slots = self.model.slots[comparison]
            k = next(k for k, slot in slots.items() if slot.holder == person)
            self.model.let_go(comparison, k)

        @rule(person=who, comparison=which)
        def flag(self, person: int, comparison: int) -> None:
            call = (assignment.flag, self.site.people[person], self.ids[comparison], "broken")
            if self.model.has_met(person, comparison):
                self.site.store.write(*call)
                self.model.flags.add((person, comparison))
            else:
                with pytest.raises(AccessError):
                    self.site.store.write(*call)

        @rule(person=who, comparison=which)
        def autosave(self, person: int, comparison: int) -> None:
            person_id, comparison_id = self.site.people[person], self.ids[comparison]
            call = (assignment.save_draft, person_id, comparison_id, {"raw": "tie"}, clock.now)
            if self.model.has_met(person, comparison):
                self.site.store.write(*call)
                self.model.drafts.add((person, comparison))
            else:
                with pytest.raises(AccessError):
                    self.site.store.write(*call)

        @precondition(lambda self: self.model.judgments)
        @rule(data=st.data())
        def undo(self, data: Any) -> None:
            model = self.model
            judgment = data.draw(st.sampled_from(list(model.judgments.values())))
            person, comparison = judgment.person, judgment.comparison
            call = (assignment.undo, self.site.people[person], judgment.id)
            standing = model.standing(person, comparison)
            refused = (
                standing is not None
                if judgment.is_withdrawn
                else judgment.id not in model.latest(person)
            )
            if refused:
                with pytest.raises(AccessError):
                    self.site.store.write(*call)
                return
            self.site.store.write(*call)
            if judgment.is_withdrawn:
                return
            judgment.is_withdrawn = True
            own = model.own(person, comparison)
            if own is not None and own.judgment == judgment.id:
                own.judgment, own.lease, own.claimed = None, clock.now + LEASE, clock.now
            model.drafts.add((person, comparison))

        @rule(person=who, comparison=which)
        def release(self, person: int, comparison: int) -> None:
            own = self.model.own(person, comparison)
            self.site.store.write(
                assignment.release, self.site.people[person], self.ids[comparison]
            )
            if own is not None and own.judgment is None:
                self._let_go(person, comparison)

        @rule(person=who, comparison=which)
        def extend(self, person: int, comparison: int) -> None:
            model, now = self.model, clock.now
            until = self.site.store.write(
                assignment.extend, self.site.people[person], self.ids[comparison]
            )
            slot = model.own(person, comparison)
            if slot is None and (
                (person, comparison) in model.drafts
                and comparison not in model.withdrawn
                and model.standing(person, comparison) is None
            ):
                slot = model.first_free(comparison)
                if slot is not None:
                    slot.holder, slot.claimed = person, now
            elif slot is not None and slot.judgment is not None:
                slot = None
            assert until == (None if slot is None else now + LEASE)
            if slot is not None:
                slot.lease = until

        # --- what others do ---

        @rule(comparison=which)
        def withdraw(self, comparison: int) -> None:
            model = self.model
            call = (changing.withdraw, self.site.project, [self.ids[comparison]])
            assert self.site.store.write(*call) == (comparison not in model.withdrawn)
            model.withdrawn.add(comparison)
            slots = model.slots[comparison]
            for k in [k for k, slot in slots.items() if slot.holder is None]:
                del slots[k]

        @rule(comparison=which)
        def restore(self, comparison: int) -> None:
            model = self.model
            self.site.store.write(changing.restore, self.site.project, self.ids[comparison])
            if comparison in model.withdrawn:
                model.withdrawn.remove(comparison)
                model.set_quota(comparison, model.quotas[comparison])

        @rule(comparison=which, quota=st.integers(1, 3))
        def set_overlap(self, comparison: int, quota: int) -> None:
            model = self.model
            call = (changing.set_overlap, self.site.project, self.ids[comparison], quota)
            if quota < sum(s.judgment is not None for s in model.slots[comparison].values()):
                with pytest.raises(ConfigError):
                    self.site.store.write(*call)
                return
            self.site.store.write(*call)
            model.set_quota(comparison, quota)

        @rule(quota=st.integers(1, 3))
        def set_every_overlap(self, quota: int) -> None:
            model = self.model
            changing.set_every_overlap(self.site.store.database, self.site.project, quota)
            for comparison, had in enumerate(list(model.quotas)):
                slots = model.slots[comparison].values()
                least = max(quota, sum(slot.judgment is not None for slot in slots))
                if least != had:
                    model.set_quota(comparison, least)

        @rule(comparison=which, place=st.floats(-3, 3))
        def put_first(self, comparison: int, place: float) -> None:
            self.site.store.write(
                changing.set_place, self.site.project, self.ids[comparison], place
            )

        @rule(minutes=st.sampled_from([1, 6, 11]))
        def wait(self, minutes: int) -> None:
            clock.forward(minutes)

        # --- what must be so after every step ---

        @invariant()
        def as_the_model_says(self) -> None:
            count[0] += 1
            clock.now += 1  # so that no two steps happen at one time
            model, here = self.model, set(self.ids)
            filled = {row.id: row.filled for row in self.site.rows(t.comparisons) if row.id in here}
            slots = [row for row in self.site.rows(t.slots) if row.comparison_id in here]
            stored = {r.id: r for r in self.site.rows(t.judgments) if r.comparison_id in here}
            for number, identity in enumerate(self.ids):
                rows = {
                    row.k: (row.annotator_id, row.lease_until, row.judgment_id)
                    for row in slots
                    if row.comparison_id == identity
                }
                assert rows == {
                    k: (None if s.holder is None else self.site.people[s.holder], s.lease,
                        s.judgment)
                    for k, s in model.slots[number].items()
                }  # fmt: skip
                counted = [
                    r
                    for r in stored.values()
                    if r.comparison_id == identity and r.withdrawn is None and not r.surplus
                ]
                assert filled[identity] == len(counted) <= model.quotas[number]
                if number not in model.withdrawn:
                    assert len(rows) == model.quotas[number]
                assert len({row.annotator_id for row in counted}) == len(counted)
            assert set(stored) == set(model.judgments)
            for judgment in model.judgments.values():
                assert (stored[judgment.id].withdrawn is not None) == judgment.is_withdrawn
                assert stored[judgment.id].surplus == judgment.surplus
            if checks_chain:
                assert self.site.store.problems() == []

    return Machine


def run(Machine: Any, examples: int, steps: int = 50) -> None:
    run_state_machine_as_test(
        Machine,
        settings=settings(
            max_examples=examples, stateful_step_count=steps, deadline=None, database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )  # fmt: skip


@contextmanager
def copies(folder: Path) -> Iterator[Callable[[], Site]]:
    """New sites, each a copy of one file: to make the schema takes longer than fifty steps."""
    first = fill_site(
        PreferenceStore.open(folder / "first.db"), COMPARISONS, PEOPLE, overlap=OVERLAP,
        lease_minutes=LEASE / 60_000,
    )  # fmt: skip
    first.store.close()
    made: list[Site] = []

    def make() -> Site:
        if made:
            made.pop().store.close()
        path = folder / "copy.db"
        for old in folder.glob("copy.db*"):
            old.unlink()
        shutil.copy(folder / "first.db", path)
        made.append(Site(PreferenceStore.open(path), first.project, first.people))
        return made[0]

    yield make
    for site in made:
        site.store.close()


@pytest.mark.medium
def test_the_store_does_as_the_model(tmp_path: Path) -> None:
    count = [0]
    with clock_set() as clock, copies(tmp_path) as make:
        run(machine(make, clock, count, checks_chain=True), examples=8, steps=40)
    assert count[0] >= 200


@pytest.mark.slow
def test_five_thousand_steps_on_sqlite(tmp_path: Path) -> None:
    count = [0]
    with clock_set() as clock, copies(tmp_path) as make:
        while count[0] < 5000:
            run(machine(make, clock, count, checks_chain=True), examples=120)
    print(f"{count[0]:,} steps")


@pytest.mark.slow
def test_five_thousand_steps_on_postgresql_that_is_stopped_under_load() -> None:
    count, restarts, judged = [0], [0], [0]
    done = threading.Event()
    with (
        pytest.MonkeyPatch.context() as patch,
        postgres() as server,
        clock_set() as clock,
        PreferenceStore.open(server.url) as store,
    ):
        # to recover takes as long as the machine has other things to do
        patch.setattr(databases, "AWAY_SECONDS", 120.0)
        others = fill_site(store, 1000, PEOPLE, overlap=4)

        def load(person: int) -> None:
            while not done.is_set():
                with suppress(StoreUnavailableError, AccessError):
                    given = others.claim(person)
                    if given is None:
                        return
                    others.submit(given, person)
                    judged[0] += 1
                    done.wait(0.05)  # beside the machine, not in its place

        def restart() -> None:
            while not done.wait(8):
                server.stop("immediate")
                server.start()
                restarts[0] += 1

        def make() -> Site:
            return fill_site(
                store, COMPARISONS, PEOPLE, overlap=OVERLAP, lease_minutes=LEASE / 60_000
            )

        threads = [threading.Thread(target=load, args=(i,)) for i in range(PEOPLE)]
        threads.append(threading.Thread(target=restart))
        for thread in threads:
            thread.start()
        try:
            while count[0] < 5000:
                run(machine(make, clock, count, checks_chain=False), examples=40)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert store.problems() == []
    print(f"{count[0]:,} steps, {restarts[0]} restarts, {judged[0]:,} other judgments")
    assert restarts[0] >= 3
    assert judged[0] > 100
