from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from assay.errors import DataError, StoreError
from assay.store import holding, people, quality, review
from assay.store import tables as t
from assay.store.answers import AnswerError
from assay.store.database import now_ms
from assay.store.desk import AccessError
from assay.store.events import verify_chain
from assay.store.ids import new_id
from assay.store.priority import prioritise, read_order
from assay.store.records import NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages

sys.path.insert(0, str(Path(__file__).parents[1] / "collect"))
from review_shared import START, choose, pair, project, responses, say


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreferenceStore]:
    with PreferenceStore.open(tmp_path / "prefs.db") as opened:
        yield opened


def pairs(count: int) -> list[NewComparison]:
    return [pair(f"Q{i}", [f"a{i}", f"b{i}"], ["m1", "m2"]) for i in range(count)]


# --- counts ---------------------------------------------------------------------------------------


def test_progress_counts_done_begun_held_and_free(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(4), settings=ProjectSettings(overlap=2, shuffle=False))
    for who in ("ann", "ben"):  # both judge the first: done
        found = store.claim(made, ids[who])
        assert found is not None
        store.submit(ids[who], new_id(), found.comparison_id, {"raw": "first-better"})
    found = store.claim(made, ids["ann"])  # the second has one judgment
    assert found is not None
    store.submit(ids["ann"], new_id(), found.comparison_id, {"raw": "tie"})
    store.claim(made, ids["ann"])  # the third is held
    now = store.read(quality.progress, made)
    assert (now.comparisons, now.done, now.in_progress, now.free) == (4, 1, 2, 1)
    assert (now.wanted, now.judged) == (8, 3)


def test_progress_of_nothing_is_all_zero(store: PreferenceStore) -> None:
    now = store.read(quality.progress, store.create_project("empty"))
    assert (now.comparisons, now.done, now.in_progress, now.wanted, now.judged) == (0, 0, 0, 0, 0)


def test_days_begin_at_midnight_utc(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(3))
    midnight = START // people.DAY_MS * people.DAY_MS
    places = list(responses(store, made).values())
    for place, at in zip(places, (midnight - 1, midnight, midnight + 5), strict=True):
        choose(store, made, place, ids["ann"], 0, submitted=at, active_ms=700)
    choose(store, made, places[0], ids["ben"], 0, submitted=midnight, source="imported")
    assert store.read(quality.by_day, made) == [
        (midnight - people.DAY_MS, 1, 700), (midnight, 2, 1400),
    ]  # fmt: skip


def test_checks_are_shares_by_purpose_with_wilsons_interval(store: PreferenceStore) -> None:
    gold = pair("G", ["x", "y"], [None, None], purpose="gold", expected={"choice": 0})
    screens = [
        pair(f"S{i}", ["x", "y"], [None, None], purpose="screening", expected={"choice": 0})
        for i in range(10)
    ]
    made, ids = project(store, [gold, *screens])
    places = list(responses(store, made).values())
    choose(store, made, places[0], ids["ann"], 1, is_correct=False)
    for number, place in enumerate(places[1:]):
        choose(store, made, place, ids["ann"], 0, is_correct=number < 9)
    found = store.read(quality.checks, made)
    assert set(found) == {ids["ann"]}
    screening, missed = found[ids["ann"]].of("screening"), found[ids["ann"]].of("gold")
    assert screening is not None
    assert missed is not None
    # Wilson for 9 of 10, by hand: (0.9 + 1.9208/10 -+ 1.96 sqrt(0.009 + 0.9604/100)) / 1.38416
    assert (screening.value, screening.n) == (0.9, 10)
    assert screening.low == pytest.approx(0.5958, abs=1e-4)
    assert screening.high == pytest.approx(0.9821, abs=1e-4)
    assert (missed.value, missed.n) == (0.0, 1)
    assert found[ids["ann"]].of("attention") is None


def test_leaks_are_counted_and_named(store: PreferenceStore) -> None:
    rows = [pair("Q", ["I am Claude, hello", "hi"], ["m", "n"]), *pairs(1)]
    made, _ = project(store, rows)
    count, found = store.read(quality.leaks, made)
    assert count == 1
    assert (found[0].number, found[0].words) == (1, "I am Claude")


def test_judgments_are_paged_from_the_latest_without_a_gap(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(7))
    for place in responses(store, made).values():
        choose(store, made, place, ids["ann"], 0, submitted=START)  # one time: ids break the tie
    pages, before = [], None
    while page := store.read(quality.judgments_of, made, ids["ann"], 3, before):
        pages.append([line.number for line in page])
        before = (page[-1].submitted, page[-1].id)
    assert pages == [[7, 6, 5], [4, 3, 2], [1]]


def test_openings_are_short(store: PreferenceStore) -> None:
    made, _ = project(store, [pair("word " * 100, ["a", "b"], [None, None])])
    (place,) = responses(store, made).values()
    (said,) = store.read(quality.openings, [place[0]], 20).values()
    assert said == "word word word word…"


# --- decisions ------------------------------------------------------------------------------------


def test_a_decision_is_checked_kept_replaced_and_recorded(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(1))
    (place,) = responses(store, made).values()
    choose(store, made, place, ids["ann"], 0)
    choose(store, made, place, ids["ben"], 1)
    case = store.read(review.case_of, made, place[0], ids["cat"])
    assert case.decision is None
    with pytest.raises(AnswerError, match="no point 'best'"):
        store.write(review.decide, made, place[0], ids["cat"], {"raw": "best"})
    assert store.read(review.decided, made) == set()
    for raw in ("first-much", "second-better"):
        store.write(review.decide, made, place[0], ids["cat"], {"raw": raw}, "looked it up")
    found = store.read(review.case_of, made, place[0], ids["cat"]).decision
    assert found is not None
    assert found.answer["choice"] == case.shown[1]
    assert (found.answer["strength"], found.note) == (pytest.approx(2 / 3), "looked it up")
    assert store.read(review.decided, made) == {place[0]}
    actions = store.read(lambda c: list(c.scalars(
        select(t.events.c.action).where(t.events.c.subject == place[0])
    )))  # fmt: skip
    assert actions == ["comparison.decided"] * 2
    assert store.read(verify_chain) is None


def test_judgments_stay_what_they_were_when_a_reviewer_decides(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(1))
    (place,) = responses(store, made).values()
    assert store.claim(made, ids["ann"]) is not None
    store.submit(ids["ann"], new_id(), place[0], {"raw": "first-better"})

    def rows(c: Any) -> list[Any]:
        return list(c.execute(select(t.judgments)).all())

    before = store.read(rows)
    store.write(review.decide, made, place[0], ids["cat"], {"raw": "tie"})
    assert store.read(rows) == before
    assert store.problems() == []


def test_the_order_shown_is_the_reviewers_own_and_balanced(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(60))
    first = 0
    for comparison_id, listed in responses(store, made).values():
        case = store.read(review.case_of, made, comparison_id, ids["cat"])
        again = store.read(review.case_of, made, comparison_id, ids["cat"])
        assert case.shown == again.shown
        first += case.shown[0] == listed[0]
    assert 15 < first < 45


def test_nothing_of_another_project_is_found(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(1))
    other, _ = project(store, pairs(1), name="other")
    (place,) = responses(store, made).values()
    store.claim(made, ids["ann"])
    flag = store.write(holding.flag, ids["ann"], place[0], "odd")
    for call in (
        (review.case_of, other, place[0], ids["cat"]),
        (review.decide, other, place[0], ids["cat"], {"raw": "tie"}),
        (review.make_gold, other, place[0], ids["cat"]),
        (review.resolve_flag, other, flag, ids["cat"]),
        (review.set_standing, other, ids["ann"], True, ids["cat"]),
        (review.add_note, other, ids["ann"], ids["cat"], "hm"),
    ):
        with pytest.raises(AccessError) as error:
            store.write(call[0], *call[1:])  # type: ignore[arg-type]
        assert error.value.code == "not-found"
    assert store.read(review.flags, other) == []


# --- gold -----------------------------------------------------------------------------------------


def test_a_gold_item_has_the_decision_and_never_goes_to_who_met_the_comparison(
    store: PreferenceStore,
) -> None:
    settings = ProjectSettings(overlap=2, gold_every=2, shuffle=False)
    made, ids = project(store, pairs(6), settings=settings)
    places = responses(store, made)
    found = store.claim(made, ids["ann"])
    assert found is not None
    store.submit(ids["ann"], new_id(), found.comparison_id, {"raw": "first-better"})
    with pytest.raises(StoreError, match="no decision yet"):
        store.write(review.make_gold, made, found.comparison_id, ids["cat"])
    store.write(review.decide, made, found.comparison_id, ids["cat"], {"raw": "first-much"})
    gold = store.write(review.make_gold, made, found.comparison_id, ids["cat"])
    assert store.write(review.make_gold, made, found.comparison_id, ids["cat"]) == gold
    assert store.read(review.case_of, made, found.comparison_id, ids["cat"]).is_gold
    row = store.read(lambda c: c.execute(
        select(t.comparisons).where(t.comparisons.c.id == gold)
    ).one())  # fmt: skip
    assert (row.number, row.purpose, row.overlap) == (7, "gold", 0)
    case = store.read(review.case_of, made, found.comparison_id, ids["cat"])
    assert row.expected == {"choice": case.shown[0]}
    assert responses(store, made)[7][1] == places[1][1]

    def met(who: str) -> set[str]:
        seen = set()
        while (held := store.claim(made, ids[who])) is not None:
            seen.add(held.comparison_id)
            store.submit(ids[who], new_id(), held.comparison_id, {"raw": "first-better"})
        return seen

    assert gold not in met("ann")
    assert gold in met("ben")
    assert store.problems() == []


def test_what_a_decision_expects() -> None:
    assert review.expected_of({"kind": "pair", "choice": "a"}) == {"choice": "a"}
    assert review.expected_of({"kind": "ranking", "groups": [["b"], ["a"]]}) == {"best": "b"}
    steps = {"kind": "steps", "mode": "per-step", "labels": [1, -1]}
    assert review.expected_of(steps) == {"labels": [1, -1]}
    first = {"kind": "steps", "mode": "first-error", "first_error": 1, "labels": [1, -1]}
    assert review.expected_of(first) == {"first_error": 1}
    for tie in ({"kind": "pair", "choice": None}, {"kind": "ranking", "groups": [["a", "b"]]}):
        with pytest.raises(StoreError, match="A tie is no answer to check"):
            review.expected_of(tie)


def test_no_gold_item_takes_a_number_from_an_import_that_runs(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(1))
    (place,) = responses(store, made).values()
    store.write(review.decide, made, place[0], ids["cat"], {"raw": "first-much"})
    store.write(lambda c: c.execute(insert(t.imports).values(
        id=new_id(), project_id=made, source="big.jsonl", format="assay", counts={},
        state="staging", created=now_ms(), touched=now_ms(),
    )))  # fmt: skip
    with pytest.raises(StoreError, match=r"An import of big\.jsonl .* is under way"):
        store.write(review.make_gold, made, place[0], ids["cat"])


# --- flags and annotators -------------------------------------------------------------------------


def test_flags_are_paged_and_resolved_once(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(5), settings=ProjectSettings(overlap=1, prefetch=50))
    flagged, have = [], []
    for number in range(5):
        held = store.claim(made, ids["ann"], have)
        assert held is not None
        have.append(held.comparison_id)
        flagged.append(store.write(holding.flag, ids["ann"], have[-1], f"reason {number}"))
    page = store.read(review.flags, made, True, 3)
    rest = store.read(review.flags, made, True, 3, (page[-1].at, page[-1].id))
    assert [f.id for f in (*page, *rest)] == flagged
    for _ in range(2):
        store.write(review.resolve_flag, made, flagged[0], ids["cat"], "fixed")
    assert [f.id for f in store.read(review.flags, made, False)] == [flagged[0]]
    assert len(store.read(review.flags, made)) == 4
    count = store.read(lambda c: len(c.execute(
        select(t.events.c.seq).where(t.events.c.action == "flag.resolved")
    ).all()))  # fmt: skip
    assert count == 1


def test_blocked_annotators_get_no_work_and_the_record_says_why(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(2))
    store.write(review.set_standing, made, ids["ann"], True, ids["cat"], "answers too fast")
    with pytest.raises(AccessError) as error:
        store.claim(made, ids["ann"])
    assert error.value.code == "blocked"
    store.write(review.add_note, made, ids["ann"], ids["cat"], "wrote to her")
    store.write(review.set_standing, made, ids["ann"], False, ids["cat"])
    assert store.claim(made, ids["ann"]) is not None
    found = store.read(review.remarks, made, ids["ann"])
    assert [(r.action, r.text) for r in found] == [
        ("active", ""), ("noted", "wrote to her"), ("blocked", "answers too fast"),
    ]  # fmt: skip
    assert {r.by for r in found} == {"cat of tea"}
    with pytest.raises(StoreError, match="1 to 2,000 characters"):
        store.write(review.add_note, made, ids["ann"], ids["cat"], "  ")


def test_remarks_are_found_by_their_own_index(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(1))
    plan = store.read(lambda c: c.execute(
        text("EXPLAIN QUERY PLAN SELECT at FROM event WHERE project_id = :p AND subject = :s AND "
             + t.MEMBER_EVENTS), {"p": made, "s": ids["ann"]},
    ).all())  # fmt: skip
    assert "ix_event_member" in str(plan)


# --- the order of work ----------------------------------------------------------------------------


def test_what_is_put_first_is_given_out_first(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(5), settings=ProjectSettings(overlap=1))
    places = {number: place[0] for number, place in responses(store, made).items()}
    first = store.claim(made, ids["ann"])
    assert first is not None
    store.submit(ids["ann"], new_id(), first.comparison_id, {"raw": "tie"})
    assert prioritise(store, made, [places[4], places[1], places[3]]) == 2  # 1 is done
    order = []
    while (held := store.claim(made, ids["ann"])) is not None:
        order.append(held.comparison_id)
        store.submit(ids["ann"], new_id(), held.comparison_id, {"raw": "tie"})
    assert order == [places[4], places[3], places[2], places[5]]
    assert store.problems() == []


def test_the_order_is_read_from_rows_that_name_comparisons(tmp_path: Path) -> None:
    path = tmp_path / "chosen.jsonl"
    path.write_text('{"comparison_id": "b", "prompt": "x"}\n{"comparison_id": "a"}\n')
    assert read_order(path) == ["b", "a"]
    path.write_text('{"comparison_id": "b"}\n{"prompt": "x"}\n')
    with pytest.raises(DataError, match="line 2: 'comparison_id' is null"):
        read_order(path)


def test_prioritise_refuses_strangers_and_changes_nothing(store: PreferenceStore) -> None:
    made, _ = project(store, pairs(2))
    other, _ = project(store, pairs(1), name="other")
    (stranger,) = responses(store, other).values()

    def order(c: Any) -> list[Any]:
        return list(c.execute(select(t.comparisons.c.id, t.comparisons.c.place)).all())

    before = store.read(order)
    with pytest.raises(StoreError, match=r"1 of 1 .* not of this project"):
        prioritise(store, made, [stranger[0]])
    assert store.read(order) == before


def test_an_imported_comparison_comes_after_all_that_were_put_in_order(
    store: PreferenceStore,
) -> None:
    made, ids = project(store, pairs(3), settings=ProjectSettings(overlap=1))
    places = {number: place[0] for number, place in responses(store, made).items()}
    prioritise(store, made, [places[3]])
    store.add_comparisons(made, [pair("new", ["n1", "n2"], [None, None])], source="later")
    last = store.read(lambda c: c.scalar(
        select(t.comparisons.c.number).order_by(t.comparisons.c.place.desc()).limit(1)
    ))  # fmt: skip
    assert last == 4
    held = store.claim(made, ids["ann"])
    assert held is not None
    assert held.comparison_id == places[3]


def test_steps_and_rankings_have_cases_too(store: PreferenceStore) -> None:
    solution = NewComparison(
        as_messages("2+2?", "user"),
        (NewResponse(as_messages("4", "assistant"), steps=({"text": "2+2"}, {"text": "= 4"})),),
        kind="steps",
    )
    ranking = NewComparison(
        as_messages("Q", "user"),
        tuple(NewResponse(as_messages(x, "assistant")) for x in "abc"),
        kind="ranking",
    )
    made, ids = project(store, [solution, ranking], rubric=Rubric())
    first, second = responses(store, made).values()
    say(store, made, first[0], ids["ann"], {"labels": [1, -1]}, first[1])
    case = store.read(review.case_of, made, first[0], ids["cat"])
    assert len(case.steps) == 2
    store.write(review.decide, made, first[0], ids["cat"], {"labels": [1, 1]})
    ranked = store.read(review.case_of, made, second[0], ids["cat"])
    assert ranked.steps == []
    assert sorted(ranked.shown) == sorted(second[1])


def test_withdrawn_comparisons_leave_the_figures(store: PreferenceStore) -> None:
    made, ids = project(store, pairs(2))
    places = list(responses(store, made).values())
    for place in places:
        choose(store, made, place, ids["ann"], 0)
    store.write(lambda c: c.execute(
        update(t.comparisons).where(t.comparisons.c.id == places[0][0]).values(is_withdrawn=True)
    ))  # fmt: skip
    rows = store.read(lambda c: [row.number for row in quality.judged(c, made)])
    assert rows == [2]
    assert store.read(quality.progress, made).comparisons == 1
