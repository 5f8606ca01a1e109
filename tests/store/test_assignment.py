"""Value: who gets what, and what becomes of a judgment; every rule worked by hand."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest
from filled import Clock, Site, clock_set, make_site, pair, ranking, solution

from assay.errors import DataError
from assay.store import assignment, changing, drafts, holding, sheets, undoing
from assay.store import tables as t
from assay.store.desk import AccessError
from assay.store.ids import new_id
from assay.store.people import annotator, change_annotator, set_role, set_state
from assay.store.records import NewComparison, NewResponse, Submitted
from assay.store.sheets import turned
from assay.types import as_messages


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as found:
        yield found


def refused(code: str) -> pytest.RaisesExc[AccessError]:
    return pytest.RaisesExc(AccessError, check=lambda error: error.code == code)


def filled(site: Site) -> list[int]:
    return [row.filled for row in sorted(site.rows(t.comparisons), key=lambda row: row.number)]


# --- claim ---


def test_comparisons_are_given_in_order_and_one_at_a_time_until_judged(clock: Clock) -> None:
    site = make_site(comparisons=3)
    first = site.claimed()
    assert site.number_of(first) == 1
    assert site.claimed().comparison_id == first.comparison_id
    site.submit(first)
    assert [site.number_of(site.claim()), site.number_of(site.claim(1))] == [2, 3]


def test_a_page_may_hold_as_many_as_prefetch_allows(clock: Clock) -> None:
    site = make_site(comparisons=4, prefetch=2)
    first = site.claimed()
    second = site.claimed(have=(first.comparison_id,))
    assert site.number_of(second) == 2
    assert site.claim(have=(first.comparison_id, second.comparison_id)) is None


def test_no_annotator_gets_a_comparison_twice_and_none_more_than_overlap(clock: Clock) -> None:
    site = make_site(comparisons=2, people_count=4, overlap=3)
    seen = [
        [site.number_of(given) for _ in range(2) if (given := judged(site, person))]
        for person in range(4)
    ]
    assert seen == [[1, 2], [1, 2], [1, 2], []]
    assert filled(site) == [3, 3]
    assert site.claim(3) is None
    assert site.store.problems() == []


def judged(site: Site, person: int) -> assignment.Assignment | None:
    given = site.claim(person)
    if given is not None:
        site.submit(given, person)
    return given


def test_a_comparison_goes_to_another_when_its_lease_has_run_out(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    assert site.claim(0) is not None
    assert site.claim(1) is None
    clock.forward(10.1)
    given = site.claim(1)
    assert site.number_of(given) == 1
    assert site.claim(0) is None


def test_work_goes_on_after_the_last_one_claimed_and_then_from_the_front(clock: Clock) -> None:
    site = make_site(comparisons=3, lease_minutes=10)
    site.claim(0)  # 1, left lying
    site.judge(1)  # 2
    clock.forward(11)
    assert site.number_of(site.claim(1)) == 3
    site.submit(site.claimed(1), 1)
    assert site.number_of(site.claim(1)) == 1


def test_places_of_zero_and_below_are_reached_too(clock: Clock) -> None:
    places = (0.0, -2.0, 5.0)
    site = make_site(comparisons=[pair(i, place=place) for i, place in enumerate(places)])
    order = [site.number_of(judged(site, 0)) for _ in range(4)]
    assert order == [2, 1, 3, None]


def test_languages_keep_to_those_who_read_them(clock: Clock) -> None:
    site = make_site(
        comparisons=[pair(1, language="de"), pair(2, language="ar"), pair(3)], people_count=2
    )
    site.store.write(change_annotator, site.people[0], {"languages": ["ar"]})
    assert [site.number_of(judged(site, 0)) for _ in range(3)] == [2, 3, None]
    assert site.number_of(site.claim(1)) == 1


def test_nobody_judges_what_they_wrote(clock: Clock) -> None:
    site = make_site(comparisons=0)
    written = NewComparison(
        as_messages("Q", "user"),
        tuple(
            NewResponse(as_messages(text, "assistant"), author_id=author)
            for text, author in (("mine", site.people[0]), ("other", None))
        ),
    )
    site.store.add_comparisons(site.project, [written], source="made")
    assert site.claim(0) is None
    assert site.number_of(site.claim(1)) == 1


def test_the_share_of_an_annotator_is_exact(clock: Clock) -> None:
    site = make_site(comparisons=5, most_per_annotator=2)
    site.judge()
    first = site.claimed()
    with refused("enough"):  # the one held counts
        site.claim(have=(first.comparison_id,))
    site.submit(first)
    with refused("enough"):
        site.claim()
    assert site.number_of(site.claim(1)) == 3


def test_who_may_not_work_is_told_why(clock: Clock) -> None:
    site = make_site(comparisons=2)
    with refused("not-a-member"):
        site.store.claim(site.project, new_id())
    site.store.write(set_state, site.project, site.people[0], "blocked", None)
    with refused("blocked"):
        site.claim(0)
    site.store.write(change_annotator, site.people[1], {"is_active": False})
    with refused("not-a-member"):
        site.claim(1)
    given = site.claimed(2)
    site.store.change_project(site.project, is_paused=True)
    with refused("paused"):
        site.claim(2)
    assert not site.submit(given, 2).surplus  # what was begun is taken


def test_the_assignment_holds_what_is_to_be_seen(clock: Clock) -> None:
    site = make_site(comparisons=[solution()])
    given = site.claimed()
    assert (given.kind, given.prompt[0].content, given.project_id) == (
        "steps", "Solve it.", site.project,
    )  # fmt: skip
    (response,) = given.responses
    assert response.steps is not None
    assert response.steps[0] == {"text": "step 0", "alternatives": ["another step 0"]}
    assert given.lease_until == clock.now + 30 * 60_000
    assert (given.draft, given.draft_revision, given.feedback) == (None, 0, False)


# --- the order shown ---


def test_sides_are_balanced_over_slots_and_over_blocks_of_four() -> None:
    for k in (0, 1):
        firsts = Counter(turned(["a", "b"], "project", number, k)[0] for number in range(400))
        assert firsts == {"a": 200, "b": 200}
    for number in range(20):
        assert turned(["a", "b"], "p", number, 0) == turned(["a", "b"], "p", number, 1)[::-1]
    firsts = Counter(turned(["a", "b", "c"], "p", 7, k)[0] for k in range(3))
    assert firsts == {"a": 1, "b": 1, "c": 1}


def test_the_order_is_that_of_the_slot_and_is_stored(clock: Clock) -> None:
    site = make_site(comparisons=[pair(i) for i in range(8)], overlap=2, people_count=2)
    for _ in range(8):
        one, other = site.claimed(0), site.claimed(1)
        shown = [response.id for response in one.responses]
        assert [response.id for response in other.responses] == shown[::-1]
        k = site.rows(t.slots, t.slots.c.annotator_id == site.people[0])[0].k
        assert k == 0
        assert site.store.read(sheets.order_shown, one.comparison_id, 0, True) == shown
        done = site.submit(one, 0, "first-much")
        (row,) = site.rows(t.judgments, t.judgments.c.id == done.id)
        assert (row.shown, row.answer["choice"]) == (shown, shown[0])
        site.submit(other, 1)


def test_without_shuffling_the_order_is_that_of_the_import(clock: Clock) -> None:
    site = make_site(comparisons=4, shuffle=False)
    for _ in range(4):
        given = site.claimed()
        assert given.responses[0].messages[0].content.startswith("first")
        site.submit(given)


# --- submit ---


def test_the_same_judgment_again_changes_nothing(clock: Clock) -> None:
    site = make_site(comparisons=1)
    given = site.claimed()
    first = site.submit(given, raw="first-much")
    again = site.submit(given, raw="second-much", id=first.id)
    assert (again.is_repeat, again.surplus) == (True, False)
    (row,) = site.rows(t.judgments)
    assert row.answer["raw"] == "first-much"
    assert filled(site) == [1]


def test_an_id_is_its_annotators_and_its_comparisons(clock: Clock) -> None:
    site = make_site(comparisons=2, overlap=2)
    given = site.claimed(0)
    first = site.submit(given, 0)
    with refused("not-yours"):
        site.submit(site.claimed(1), 1, id=first.id)
    with refused("not-yours"):
        site.submit(site.claimed(0), 0, id=first.id)
    with pytest.raises(DataError, match="must be a UUID"):
        site.submit(site.claimed(0), 0, id="1")


def test_a_late_judgment_fills_the_slot_where_nobody_took_it(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed()
    clock.forward(60)
    assert not site.submit(given).surplus
    assert filled(site) == [1]


def test_a_late_judgment_takes_another_free_slot(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10, overlap=2)
    given = site.claimed(0)
    clock.forward(11)
    site.claim(1)
    assert not site.submit(given, 0).surplus
    assert filled(site) == [1]
    site.submit(site.claimed(1), 1)
    assert filled(site) == [2]
    assert site.store.problems() == []


def test_a_late_judgment_takes_a_slot_that_another_let_run_out(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed(0)
    clock.forward(11)
    other = site.claimed(1)
    clock.forward(11)
    assert not site.submit(given, 0).surplus
    assert site.submit(other, 1).surplus
    assert filled(site) == [1]


def test_a_judgment_too_many_is_kept_as_surplus(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed(0)
    clock.forward(11)
    site.judge(1)
    done = site.submit(given, 0, "first-better")
    assert done.surplus
    assert filled(site) == [1]
    assert len(site.rows(t.judgments)) == 2
    assert site.submit(given, 0, id=done.id).surplus  # and is known again
    assert site.store.problems() == []


def test_another_judgment_of_the_same_replaces_the_first(clock: Clock) -> None:
    site = make_site(comparisons=1, overlap=2)
    given = site.claimed()
    first = site.submit(given, raw="first-much")
    second = site.submit(given, raw="second-much")
    old, new = sorted(site.rows(t.judgments), key=lambda row: row.withdrawn is None)
    assert (old.id, new.id, new.replaces) == (first.id, second.id, first.id)
    assert (filled(site), second.surplus) == ([1], False)
    assert site.claim() is None
    assert site.store.problems() == []


def test_a_replaced_surplus_judgment_counts_where_a_slot_came_free(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed(0)
    clock.forward(11)
    other = site.judge(1)
    assert site.submit(given, 0).surplus
    site.store.write(undoing.undo, site.people[1], other.id)
    clock.forward(11)
    assert not site.submit(given, 0).surplus
    assert filled(site) == [1]
    assert site.store.problems() == []


def test_who_does_not_hold_it_must_say_what_was_shown(clock: Clock) -> None:
    site = make_site(comparisons=1)
    given = site.claimed(0)
    for shown in (None, ["x"], [given.responses[0].id] * 2):
        with refused("not-held"):
            site.submit(given, 1, shown=shown)
    with refused("not-found"):
        site.store.submit(new_id(), new_id(), given.comparison_id, {"raw": "tie"})
    with refused("not-found"):
        site.store.submit(site.people[0], new_id(), new_id(), {"raw": "tie"})


def test_times_and_rubric_are_stored_and_absurd_ones_are_cut(clock: Clock) -> None:
    site = make_site(comparisons=3)
    given = site.claimed()
    started = clock.now
    clock.forward(1)
    done = site.submit(given, active_ms=45_000, rubric_id=given.rubric_id)
    (row,) = site.rows(t.judgments, t.judgments.c.id == done.id)
    assert (row.started, row.submitted, row.active_ms, row.rubric_id) == (
        started, clock.now, 45_000, given.rubric_id,
    )  # fmt: skip
    for active_ms, kept in ((10**30, 2**31 - 1), (-5, 0)):
        done = site.submit(site.claimed(), active_ms=active_ms)
        (row,) = site.rows(t.judgments, t.judgments.c.id == done.id)
        assert row.active_ms == kept
    with pytest.raises(DataError, match="'active_ms' must be a number"):
        drafts.checked_int(float("nan"), "active_ms")
    with refused("no-rubric"):
        site.submit(given, rubric_id=new_id())


# --- drafts, extending, releasing, skipping, flags ---


def save(site: Site, given: assignment.Assignment, revision: int, person: int = 0) -> int:
    return site.store.write(
        drafts.save_draft, site.people[person], given.comparison_id, {"raw": f"{revision}"},
        revision, 10 * revision,
    )  # fmt: skip


def test_a_draft_is_kept_until_the_judgment_and_an_older_one_does_not_win(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed()
    assert [save(site, given, revision) for revision in (2, 5, 3)] == [2, 5, 5]
    clock.forward(20)
    seen = site.claimed()
    assert (seen.draft, seen.draft_revision, seen.active_ms) == ({"raw": "5"}, 5, 50)
    site.submit(seen)
    assert site.rows(t.drafts) == []
    with refused("not-held"):
        save(site, given, 9, person=1)


def test_a_lease_can_be_renewed_and_taken_up_again(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10, overlap=2)
    given = site.claimed(0)
    extend = (holding.extend, site.people[0], given.comparison_id)
    clock.forward(9)
    assert site.store.write(*extend) == clock.now + 10 * 60_000
    clock.forward(9)
    assert site.number_of(site.claim(0)) == 1
    save(site, given, 1)
    clock.forward(11)
    site.claim(1), site.claim(2)  # both slots are others' now
    assert site.store.write(*extend) is None
    site.store.write(holding.release, site.people[2], given.comparison_id)
    assert site.store.write(*extend) == clock.now + 10 * 60_000
    site.submit(given)
    assert site.store.write(*extend) is None


def test_whoever_did_not_begin_cannot_take_it_up_again(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed(0)
    site.store.write(holding.release, site.people[0], given.comparison_id)
    assert site.store.write(holding.extend, site.people[0], given.comparison_id) is None


def test_a_released_comparison_is_free_at_once(clock: Clock) -> None:
    site = make_site(comparisons=1)
    given = site.claimed(0)
    release = (holding.release, site.people[0], given.comparison_id)
    assert [site.store.write(*release), site.store.write(*release)] == [True, False]
    assert site.number_of(site.claim(1)) == 1
    site.judge(1)
    assert not site.store.write(holding.release, site.people[1], given.comparison_id)
    assert filled(site) == [1]


def test_a_skipped_comparison_goes_to_others_and_does_not_come_back(clock: Clock) -> None:
    site = make_site(comparisons=2)
    given = site.claimed(0)
    save(site, given, 1)
    skip = (holding.skip, site.people[0], given.comparison_id, "unclear")
    site.store.write(*skip)
    site.store.write(*skip)  # the answer was lost: a repeat is no error
    assert len(site.rows(t.skips)) == 1
    assert site.rows(t.drafts) == []
    assert site.number_of(site.claim(0)) == 2
    assert site.number_of(site.claim(1)) == 1
    with refused("not-held"):
        site.store.write(holding.skip, site.people[2], given.comparison_id, "")


def test_skipping_can_be_forbidden(clock: Clock) -> None:
    site = make_site(comparisons=1, allow_skip=False)
    given = site.claimed()
    with refused("no-skip"):
        site.store.write(holding.skip, site.people[0], given.comparison_id, "")


def test_a_flag_is_one_however_often_it_is_sent(clock: Clock) -> None:
    site = make_site(comparisons=1)
    given = site.claimed()
    flag = (holding.flag, site.people[0], given.comparison_id)
    first = site.store.write(*flag, "typo")
    assert site.store.write(*flag, "typo") == first
    assert site.store.write(*flag, "and more") != first
    assert len(site.rows(t.flags)) == 2
    with refused("not-held"):
        site.store.write(holding.flag, site.people[1], given.comparison_id, "x")


# --- undo and opened ---


def test_an_undone_judgment_is_withdrawn_and_open_again(clock: Clock) -> None:
    site = make_site(comparisons=2)
    done = site.judge(raw="first-much", active_ms=700)
    clock.forward(1)
    undo = (undoing.undo, site.people[0], done.id)
    given = site.store.write(*undo)
    assert given is not None
    assert (given.comparison_id, given.draft["raw"], given.active_ms) == (
        done.comparison_id, "first-much", 700,
    )  # fmt: skip
    assert given.lease_until == clock.now + 30 * 60_000
    assert filled(site) == [0, 0]
    assert site.store.write(*undo).comparison_id == done.comparison_id  # a repeat
    assert site.number_of(site.claim()) == 1
    again = site.submit(given)
    assert filled(site) == [1, 0]
    with refused("too-late"):  # it was judged anew
        site.store.write(*undo)
    assert again.id != done.id
    assert site.store.problems() == []


def test_only_the_last_ten_of_ones_own_can_be_undone(clock: Clock) -> None:
    site = make_site(comparisons=11)
    first = site.judge()
    for _ in range(10):
        clock.forward(1)
        site.judge()
    with refused("too-late"):
        site.store.write(undoing.undo, site.people[0], first.id)
    with refused("not-yours"):
        site.store.write(undoing.undo, site.people[1], first.id)
    with refused("not-yours"):
        site.store.write(undoing.undo, site.people[0], new_id())


def test_an_undone_surplus_judgment_has_no_lease(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    given = site.claimed(0)
    clock.forward(11)
    site.judge(1)
    done = site.submit(given, 0)
    opened = site.store.write(undoing.undo, site.people[0], done.id)
    assert opened is not None
    assert opened.lease_until is None
    assert filled(site) == [1]
    assert site.store.problems() == []


def test_what_was_judged_can_be_looked_at(clock: Clock) -> None:
    site = make_site(comparisons=1)
    done = site.judge(raw="first-much")
    seen = site.store.read(undoing.opened, site.people[0], done.comparison_id)
    assert seen is not None
    assert (seen.draft["raw"], seen.lease_until, seen.draft_revision) == ("first-much", None, 0)
    assert site.store.read(undoing.opened, site.people[1], done.comparison_id) is None


# --- items whose answer is known ---


def item(number: int, purpose: str) -> NewComparison:
    """One whose first response as imported is the better one."""
    return pair(number, purpose=purpose, expected={"choice": 0})


def answer(site: Site, right: bool, person: int = 0) -> Submitted:
    given = site.claimed(person)
    good = site.rows(
        t.comparison_responses, t.comparison_responses.c.comparison_id == given.comparison_id
    )[0].response_id
    side = "first" if (given.responses[0].id == good) == right else "second"
    return site.submit(given, person, f"{side}-much")


def test_screening_comes_first_then_training_then_work(clock: Clock) -> None:
    site = make_site(comparisons=[pair(1), item(2, "training"), item(3, "screening")])
    given = site.claimed()
    assert (site.number_of(given), given.feedback) == (3, False)
    done = answer(site, right=True)
    assert (done.is_correct, done.expected) == (None, None)  # checks do not give themselves away
    given = site.claimed()
    assert (site.number_of(given), given.feedback) == (2, True)
    done = answer(site, right=False)
    assert done.is_correct is False
    assert done.expected is not None
    assert site.number_of(site.claim()) == 1
    assert site.number_of(site.claim(1)) == 3  # everybody gets them
    assert site.store.problems() == []


def test_who_fails_the_screening_is_blocked(clock: Clock) -> None:
    items = [item(i, "screening") for i in range(3)]
    site = make_site(comparisons=[*items, pair(9)], screening_share=0.6)
    assert [answer(site, right=right).blocked for right in (True, False, False)] == [
        False, False, True,
    ]  # fmt: skip
    with refused("blocked"):
        site.claim()
    assert [answer(site, right, 1).blocked for right in (False, True, True)] == [False] * 3
    assert site.number_of(site.claim(1)) == 4


def test_one_in_so_many_is_gold_at_a_place_that_cannot_be_guessed(clock: Clock) -> None:
    gold = [item(100 + i, "gold") for i in range(10)]
    site = make_site(comparisons=[*(pair(i) for i in range(60)), *gold], gold_every=5)
    kinds = []
    for _ in range(40):
        given = site.claimed()
        kinds.append(site.number_of(given) > 60)
        site.submit(given)
    assert [sum(kinds[i : i + 5]) for i in range(0, 40, 5)] == [1] * 8
    places = {kinds[i : i + 5].index(True) for i in range(0, 40, 5)}
    assert len(places) > 1


def test_who_misses_too_much_gold_is_blocked(clock: Clock) -> None:
    gold = [item(i, "gold") for i in range(9)]
    site = make_site(
        comparisons=[*gold, *(pair(20 + i) for i in range(9))], gold_every=2, gold_share=0.5
    )
    blocked = []
    while not any(blocked):
        clock.forward(1)
        given = site.claimed()
        is_gold = site.number_of(given) <= 9
        done = answer(site, right=False)
        blocked += [done.blocked] if is_gold else []
    assert blocked == [False] * 4 + [True]


def test_an_item_is_answered_once_and_is_not_surplus(clock: Clock) -> None:
    site = make_site(
        comparisons=[item(1, "screening"), pair(2)], lease_minutes=10, screening_share=0
    )
    given = site.claimed()
    clock.forward(11)
    site.claim(1)  # frees what has run out
    done = site.submit(given, 0, "first-much")
    assert not done.surplus
    with refused("answered"):
        site.submit(given, 0, "second-much")
    with refused("no-skip"):
        site.store.write(holding.skip, site.people[0], given.comparison_id, "")
    with refused("too-late"):
        site.store.write(undoing.undo, site.people[0], done.id)
    assert site.number_of(site.claim(0)) == 2


def test_an_item_given_back_does_not_become_work_of_another(clock: Clock) -> None:
    site = make_site(comparisons=[item(1, "screening"), pair(2)], lease_minutes=10)
    answer(site, right=True, person=1)
    given = site.claimed(0)
    site.store.write(holding.release, site.people[0], given.comparison_id)
    assert site.rows(t.slots, t.slots.c.annotator_id.is_(None), t.slots.c.place == 0) == []
    site.claimed(0)
    clock.forward(11)
    assert site.number_of(site.claim(1)) == 2
    assert [site.number_of(judged(site, 1)) for _ in range(2)] == [2, None]
    assert site.number_of(site.claim(0)) == 1  # whoever gave it back gets it again


def test_items_are_withheld_from_those_who_do_not_read_their_language(clock: Clock) -> None:
    site = make_site(
        comparisons=[
            pair(1), pair(2, purpose="screening", expected={"choice": 0}, language="de"),
        ]
    )  # fmt: skip
    site.store.write(change_annotator, site.people[0], {"languages": ["en"]})
    assert site.number_of(site.claim(0)) == 1


# --- what admins do ---


def test_a_withdrawn_comparison_is_given_to_nobody(clock: Clock) -> None:
    site = make_site(comparisons=2, overlap=2, lease_minutes=10)
    held, late = site.claimed(0), site.claimed(1)
    first, _ = site.ids()
    withdraw = (changing.withdraw, site.project, [first, first], site.people[2])
    assert [site.store.write(*withdraw), site.store.write(*withdraw)] == [1, 0]
    assert site.number_of(site.claim(2)) == 2
    assert not site.submit(held, 0).surplus  # who holds it may end it
    clock.forward(11)
    assert site.number_of(site.claim(2)) == 2
    assert site.submit(late, 1).surplus  # freed slots are gone
    assert [row.k for row in site.rows(t.slots, t.slots.c.comparison_id == first)] == [0]
    assert site.store.problems() == []


def test_an_undone_judgment_of_a_withdrawn_one_frees_nothing(clock: Clock) -> None:
    site = make_site(comparisons=1, lease_minutes=10)
    done = site.judge(0)
    site.store.write(changing.withdraw, site.project, site.ids(), site.people[2])
    site.store.write(undoing.undo, site.people[0], done.id)
    site.store.write(holding.release, site.people[0], done.comparison_id)
    assert site.rows(t.slots) == []
    assert site.claim(1) is None
    assert site.store.problems() == []


def test_new_places_are_where_everybody_goes_on(clock: Clock) -> None:
    site = make_site(comparisons=4, overlap=3)
    site.judge(0)
    site.judge(0)
    ids = site.ids()
    site.store.write(changing.move, site.project, {ids[3]: -1.0, ids[0]: -2.0})
    assert [site.number_of(judged(site, 0)) for _ in range(3)] == [4, 3, None]
    assert site.number_of(site.claim(1)) == 1


def test_rankings_and_their_expected_best(clock: Clock) -> None:
    site = make_site(
        comparisons=[ranking(1, purpose="training", expected={"best": 1})], people_count=1
    )
    given = site.claimed()
    expected = site.rows(t.comparisons)[0].expected["best"]
    order = sorted((r.id for r in given.responses), key=lambda i: i != expected)
    done = site.submit(given, answer={"groups": order})
    assert done.is_correct
    assert done.expected == {"best": expected}


def test_whoever_left_the_project_submits_no_more(clock: Clock) -> None:
    site = make_site(comparisons=1)
    given = site.claimed()
    site.store.write(set_role, site.project, site.people[0], None)
    with refused("not-found"):
        site.submit(given)
    assert site.store.read(annotator, site.people[0]) is not None
