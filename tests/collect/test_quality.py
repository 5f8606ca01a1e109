from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import krippendorff
import numpy as np
import pytest
from scipy.stats import spearmanr
from sqlalchemy import update

from assay.collect import figures, readings
from assay.collect import quality as q
from assay.collect.quality import quality
from assay.data.audit.answers import Answers
from assay.data.audit.figures import Undefined
from assay.store import people, review
from assay.store import tables as t
from assay.store.records import Dimension, NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import Figure, as_messages

sys.path.insert(0, str(Path(__file__).parent))
from review_shared import START, choose, judged_project, pair, project, responses, say


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason for a page without figures."""
    monkeypatch.setattr(figures, "PATIENCE_SECONDS", 600.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreferenceStore]:
    with PreferenceStore.open(tmp_path / "prefs.db") as opened:
        yield opened


def ranking(prompt: str, count: int) -> NewComparison:
    return NewComparison(
        as_messages(prompt, "user"),
        tuple(NewResponse(as_messages(f"r{i}", "assistant"), model=f"m{i}") for i in range(count)),
        kind="ranking",
    )


def solution(prompt: str, count: int) -> NewComparison:
    steps = tuple({"text": f"step {i}"} for i in range(count))
    return NewComparison(
        as_messages(prompt, "user"),
        (NewResponse(as_messages("done", "assistant"), steps=steps),),
        kind="steps",
    )


def asked(found: q.Quality, name: str) -> q.Asked:
    return next(a for a in found.questions if a.name == name)


def value(outcome: Figure | Undefined | None) -> float:
    assert isinstance(outcome, Figure), outcome
    return outcome.value


# --- agreement ------------------------------------------------------------------------------------


@pytest.mark.medium
def test_alpha_of_sides_and_strengths_is_that_of_the_package(store: PreferenceStore) -> None:
    rng = random.Random(3)
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], ["x", "y"]) for i in range(12)])
    sides = np.full((3, 12), np.nan)
    graded = np.full((3, 12), np.nan)
    size = {"much": 1.0, "better": 2 / 3, "slightly": 1 / 3}
    for column, place in enumerate(responses(store, made).values()):
        number, (lead, other) = column + 1, place[1]
        row_of = SimpleNamespace(number=number, lead=lead, shown=[other, lead])
        sign = 1 if readings.first_side(row_of) == lead else -1
        for row, who in enumerate(ids.values()):
            if rng.random() < 0.15:
                continue
            side, grade = rng.choice([0, 0, 1, -1]), rng.choice(list(size))
            choose(store, made, place, who, side, grade, rng.randrange(2))
            sides[row, column] = 0 if side < 0 else sign if side == 0 else -sign
            graded[row, column] = sides[row, column] * size[grade]
    found = store.read(quality, made)
    expected = krippendorff.alpha(reliability_data=sides, level_of_measurement="nominal")
    assert value(asked(found, "chosen").coefficient) == pytest.approx(expected)
    expected = krippendorff.alpha(reliability_data=graded, level_of_measurement="ordinal")
    assert value(asked(found, "strength").coefficient) == pytest.approx(expected)
    interval = asked(found, "chosen").coefficient
    assert isinstance(interval, Figure)
    assert interval.low < interval.value < interval.high
    assert interval.n == int((np.isfinite(sides).sum(axis=0) >= 2).sum())


@pytest.mark.medium
def test_dimensions_acceptability_and_steps_each_have_their_alpha(store: PreferenceStore) -> None:
    rubric = Rubric(
        dimensions=(
            Dimension(name="safety"),
            Dimension(name="clarity", scale="absolute", points=5),
        )
    )
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(4)]
                        + [solution("S", 4)], rubric=rubric)  # fmt: skip
    places = list(responses(store, made).values())
    # of two annotators: first-better or tie in safety, and ratings of a and b
    said = {
        "ann": [("first-better", 5, 2), ("tie", 4, 1), ("second-much", 3, 3), ("tie", 1, 5)],
        "ben": [("first-better", 5, 3), ("tie", 4, 1), ("second-much", 3, 2), ("tie", 2, 5)],
    }
    for who, lines in said.items():
        for (comparison_id, listed), (raw, a, b) in zip(places, lines, strict=False):
            answer = {
                "raw": raw,
                "acceptability": {listed[0]: "good", listed[1]: "bad" if b < 3 else "ok"},
                "dimensions": {"safety": raw, "clarity": {listed[0]: a, listed[1]: b}},
            }
            say(store, made, comparison_id, ids[who], answer, listed)
    for who, labels in (("ann", [1, 1, -1, None]), ("ben", [1, 0, -1, 1])):
        store.write(lambda c: c.execute(update(t.rubrics).values(body=Rubric().to_dict())))
        say(store, made, places[4][0], ids[who], {"labels": labels}, places[4][1])
    found = store.read(quality, made)
    assert value(asked(found, "dimension:safety").coefficient) == 1.0
    table = [[5, 2, 4, 1, 3, 3, 1, 5], [5, 3, 4, 1, 3, 2, 2, 5]]
    expected = krippendorff.alpha(reliability_data=table, level_of_measurement="ordinal")
    assert value(asked(found, "dimension:clarity").coefficient) == pytest.approx(expected)
    accepted = [[2, 0, 2, 0, 2, 1, 2, 1], [2, 1, 2, 0, 2, 0, 2, 1]]
    expected = krippendorff.alpha(reliability_data=accepted, level_of_measurement="ordinal")
    assert value(asked(found, "acceptability").coefficient) == pytest.approx(expected)
    labels = np.array([[1, 1, -1, np.nan], [1, 0, -1, 1]])
    expected = krippendorff.alpha(reliability_data=labels, level_of_measurement="ordinal")
    assert value(asked(found, "steps").coefficient) == pytest.approx(expected)


def test_half_of_the_comparisons_are_turned_round_and_always_the_same_half() -> None:
    def row(number: int) -> SimpleNamespace:
        return SimpleNamespace(number=number, lead="a", shown=["b", "a"])

    turned = [readings.first_side(row(number)) == "b" for number in range(1000)]
    assert 450 < sum(turned) < 550
    assert turned == [readings.first_side(row(number)) == "b" for number in range(1000)]
    alone = SimpleNamespace(number=1, lead="a", shown=["a"])
    assert readings.first_side(alone) == "a"


def test_ac1_by_hand() -> None:
    # four items, two annotators: three agree on 1, one is split; π(1) = 7/8, π(-1) = 1/8
    answers = Answers(
        np.array([0, 0, 1, 1, 2, 2, 3, 3]), np.array([0, 1] * 4),
        np.array([1.0, 1, 1, 1, 1, 1, 1, -1]), np.array([0, 0, 1, 1, 2, 2, 3, 3]),
    )  # fmt: skip
    chance = 7 / 8 * 1 / 8 * 2
    assert value(q.ac1(answers)) == pytest.approx((0.75 - chance) / (1 - chance))
    same = Answers(answers.item, answers.annotator, np.ones(8), answers.cluster)
    assert isinstance(q.ac1(same), Undefined)


def test_kendalls_w_by_hand_and_by_spearman() -> None:
    # Siegel's layout: rank sums 3, 6, 9 of three judges who agree: S = 18, W = 12 * 18 / (9 * 24)
    assert readings.kendall_w([[0, 1, 2]] * 3) == pytest.approx(1.0)
    rows = [[1, 2, 3, 4, 5], [2, 1, 3, 5, 4], [5, 4, 3, 2, 1]]
    mean = np.mean([spearmanr(a, b)[0] for a, b in combinations(rows, 2)])
    assert readings.kendall_w(rows) == pytest.approx((2 * mean + 1) / 3)
    # ties by hand: ranks (1.5, 1.5, 3) and (1, 2, 3): sums 2.5, 3.5, 6; S = 6.5; T = 6
    assert readings.kendall_w([[0, 0, 1], [0, 1, 2]]) == pytest.approx(12 * 6.5 / (4 * 24 - 2 * 6))
    assert readings.kendall_w([[0, 0], [0, 0]]) is None
    assert readings.kendall_w([[0], [0]]) is None


def test_rankings_have_w_and_the_same_best(store: PreferenceStore) -> None:
    made, ids = project(store, [ranking("Q", 3), ranking("R", 3)])
    (first, a), (second, b) = responses(store, made).values()
    say(store, made, first, ids["ann"], {"groups": [[a[0]], [a[1]], [a[2]]]}, a)
    say(store, made, first, ids["ben"], {"groups": [[a[0]], [a[2]], [a[1]]]}, a[::-1])
    say(store, made, second, ids["ann"], {"groups": [[b[0]], [b[1]]]}, b)  # alone
    found = asked(store.read(quality, made), "rankings")
    # sums 2, 5, 5: S = 6, W = 12 * 6 / (4 * 24)
    assert value(found.coefficient) == pytest.approx(0.75)
    assert value(found.raw) == 1.0
    assert (found.items, found.judgments) == (1, 2)


@pytest.mark.medium
def test_what_cannot_be_computed_says_why(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ids = project(store, [pair("Q", ["a", "b"], [None, None])])
    (place,) = responses(store, made).values()
    assert store.read(quality, made).questions == ()
    choose(store, made, place, ids["ann"], 0)
    alone = asked(store.read(quality, made), "chosen").coefficient
    assert isinstance(alone, Undefined)
    assert "needs two" in alone.why
    monkeypatch.setattr("assay.errors.find_spec", lambda _: None)
    without = asked(store.read(quality, made), "chosen").coefficient
    assert isinstance(without, Undefined)
    assert "pip install 'assay[audit]'" in without.why


def test_a_random_part_stands_for_very_many_items(monkeypatch: pytest.MonkeyPatch) -> None:
    item = np.repeat(np.arange(50), 2)
    answers = Answers(item, np.tile([0, 1], 50), np.tile([1.0, -1.0], 50), item)
    assert q.some(answers) is answers
    monkeypatch.setattr(q, "MOST_ITEMS", 20)
    part = q.some(answers)
    assert len(part) == 40
    assert len(np.unique(part.item)) == 20
    found = q._asked("chosen", "nominal", answers, ("a", "b"), 0)
    assert (found.items, found.part_of) == (20, 50)


# --- annotators and drift -------------------------------------------------------------------------


@pytest.mark.medium
def test_an_annotators_figures_by_hand(store: PreferenceStore) -> None:
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(4)])
    places = list(responses(store, made).values())
    for number, place in enumerate(places):
        choose(store, made, place, ids["ann"], 0, first=0, active_ms=1000 * (number + 1))
        choose(store, made, place, ids["ben"], 0 if number < 3 else 1, first=number % 2)
        choose(store, made, place, ids["cat"], -1, first=0)
    found = store.read(quality, made)
    ann, cat = found.person(ids["ann"]), found.person(ids["cat"])
    assert ann is not None
    assert cat is not None
    assert (ann.judgments, ann.active_ms, ann.median_ms) == (4, 10_000, 2500.0)
    assert ann.audit is not None
    assert cat.audit is not None
    assert value(ann.audit.first_shown) == 1.0  # always the first shown
    assert value(ann.audit.agreement) == pytest.approx(3 / 8)  # 3 of ben's 4, none of cat's 4
    assert value(cat.audit.ties) == 1.0
    assert value(cat.audit.agreement) == 0.0
    assert isinstance(cat.audit.first_shown, Undefined)
    assert "always the first shown" in ann.audit.notes


def test_days_are_apart_and_imported_judgments_are_not_work(store: PreferenceStore) -> None:
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(3)])
    places = list(responses(store, made).values())
    day = people.DAY_MS
    start = START // day * day
    choose(store, made, places[0], ids["ann"], 0, first=0, submitted=start, active_ms=5)
    choose(store, made, places[0], ids["ben"], 0, first=1, submitted=start + 10, active_ms=5)
    choose(store, made, places[1], ids["ann"], 0, submitted=start + day)
    choose(store, made, places[1], ids["ben"], 1, submitted=start + 2 * day)
    choose(store, made, places[2], ids["cat"], 1, submitted=start, source="imported")
    periods = store.read(quality, made).periods
    assert [(p.start, p.judgments, p.annotators) for p in periods] == [
        (start, 2, 2), (start + day, 1, 1), (start + 2 * day, 1, 1),
    ]  # fmt: skip
    assert value(periods[0].agreement) == 1.0
    assert value(periods[0].first_shown) == 0.5
    assert value(periods[1].agreement) == 0.0
    assert periods[0].active_ms == 10


def test_very_many_days_become_weeks_from_monday(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(q, "MOST_DAYS", 2)
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(3)])
    monday = 1_699_833_600_000  # 2023-11-13, a Monday
    for place, days in zip(responses(store, made).values(), (0, 6, 7), strict=True):
        choose(store, made, place, ids["ann"], 0, submitted=monday + days * people.DAY_MS)
    found = store.read(quality, made)
    assert found.by_week
    assert [(p.start, p.judgments) for p in found.periods] == [
        (monday, 2), (monday + 7 * people.DAY_MS, 1),
    ]  # fmt: skip


# --- disputes -------------------------------------------------------------------------------------


def test_the_largest_disagreement_comes_first_and_agreement_is_no_dispute(
    store: PreferenceStore,
) -> None:
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(5)])
    said: list[list[tuple[int, str]]] = [
        [(0, "much"), (0, "slightly")],  # the same side: no dispute
        [(0, "better"), (-1, "better")],  # a tie against a side: ½
        [(0, "slightly"), (1, "slightly")],  # opposite: 1, weakly
        [(0, "much"), (1, "much")],  # opposite: 1, strongly
        [(0, "much"), (0, "much"), (1, "much")],  # two of three pairs of judgments: 2/3
    ]
    for place, answers in zip(responses(store, made).values(), said, strict=True):
        for who, (side, grade) in zip(ids.values(), answers, strict=False):
            choose(store, made, place, who, side, grade, first=side % 2)
    found = store.read(quality, made).disputes
    assert [(d.number, d.disagreement, d.judgments) for d in found] == [
        (4, 1.0, 2), (3, 1.0, 2), (5, pytest.approx(2 / 3), 3), (2, 0.5, 2),
    ]  # fmt: skip


@pytest.mark.medium
def test_imported_judgments_need_not_say_how_clearly(store: PreferenceStore) -> None:
    made, ids = project(store, [pair("Q", ["a", "b"], ["m", "n"])])
    (place,) = responses(store, made).values()
    for who, side in (("ann", 0), ("ben", 1)):
        identity = choose(store, made, place, ids[who], side, source="imported")
        answer = {"kind": "pair", "choice": place[1][side]}
        store.write(lambda c, i=identity, a=answer: c.execute(
            update(t.judgments).where(t.judgments.c.id == i).values(answer=a)
        ))  # fmt: skip
    found = store.read(quality, made)
    assert isinstance(asked(found, "chosen").raw, Figure)
    assert [q.name for q in found.questions] == ["chosen"]
    assert [(d.disagreement, d.spread) for d in found.disputes] == [(1.0, 1.0)]


def test_disagreement_of_rankings_and_steps() -> None:
    def ranked(*groups: str) -> dict[str, Any]:
        return {"kind": "ranking", "groups": [list(group) for group in groups]}

    assert readings.disagreement([ranked("a", "b", "c"), ranked("c", "b", "a")], "a")[0] == 1.0
    assert readings.disagreement([ranked("a", "b", "c"), ranked("a", "c", "b")], "a")[0] == (
        pytest.approx(1 / 3)
    )
    assert readings.disagreement([ranked("ab"), ranked("a", "b")], "a")[0] == 0.5
    assert readings.disagreement([ranked("a", "b"), ranked("c", "d")], "a") == (0.0, 0.0)

    def steps(*labels: int | None) -> dict[str, Any]:
        return {"kind": "steps", "labels": labels}

    assert readings.disagreement([steps(1, 1, None), steps(1, -1, 1)], "a")[0] == 0.5
    assert readings.disagreement([steps(1, 0), steps(1, 1)], "a")[0] == 0.25


def test_steps_in_dispute_and_surplus_are_counted(store: PreferenceStore) -> None:
    made, ids = project(store, [solution("S", 2)])
    (place,) = responses(store, made).values()
    for who, labels in (("ann", [1, 1]), ("ben", [1, -1])):
        say(store, made, place[0], ids[who], {"labels": labels}, place[1])
    store.write(lambda c: c.execute(
        update(t.judgments).where(t.judgments.c.annotator_id == ids["ben"]).values(surplus=True)
    ))  # fmt: skip
    found = store.read(quality, made)
    assert [d.disagreement for d in found.disputes] == [0.5]
    assert found.surplus == 1


# --- models ---------------------------------------------------------------------------------------


@pytest.mark.medium
def test_the_leaderboard_recovers_known_strengths(store: PreferenceStore) -> None:
    made, _ = judged_project(store, 150, seed=5)
    board = store.read(quality, made).leaderboard
    truth = {"alpha-chat": 1.0, "beta-chat": 0.0, "gamma-chat": -1.0}
    assert [s.model for s in board] == list(truth)
    for standing in board:
        # a tenth are ties, which pull towards the middle: 0.9 of the log-odds, nearly
        assert standing.strength.low < 0.87 * truth[standing.model] < standing.strength.high
    assert {s.group for s in board} == {0}


def test_shares_won_by_hand_and_rankings_count_every_two(store: PreferenceStore) -> None:
    made, ids = project(store, [ranking("Q", 3), pair("R", ["a", "b"], ["m0", "m1"])])
    (first, a), second = responses(store, made).values()
    say(store, made, first, ids["ann"], {"groups": [[a[0]], [a[1], a[2]]]}, a)
    choose(store, made, second, ids["ann"], -1)
    board = {s.model: s for s in store.read(quality, made).leaderboard}
    assert board["m0"].share.value == pytest.approx(2.5 / 3)  # beat m1 and m2, tied with m1
    assert board["m1"].share.value == pytest.approx(1 / 3)
    assert board["m2"].share.value == pytest.approx(0.25)
    assert (board["m0"].share.n, board["m0"].strength.n) == (3, 2)


def test_models_that_never_met_are_of_different_groups(store: PreferenceStore) -> None:
    rows = [
        pair("Q", ["a", "b"], ["m1", "m2"]), pair("R", ["a", "b"], ["m1", "m2"]),
        pair("S", ["a", "b"], ["m3", "m4"]), pair("T", ["a", "b"], ["m1", "m1"]),
        pair("U", ["a", "b"], ["m1", None]),
    ]  # fmt: skip
    made, ids = project(store, rows)
    for place in responses(store, made).values():
        choose(store, made, place, ids["ann"], 0)
    board = store.read(quality, made).leaderboard
    assert {s.model: s.group for s in board} == {"m1": 0, "m2": 0, "m3": 1, "m4": 1} or {
        s.model: s.group for s in board
    } == {"m1": 1, "m2": 1, "m3": 0, "m4": 0}
    assert all(s.is_helped for s in board)


# --- symmetries -----------------------------------------------------------------------------------


def _figures(found: q.Quality) -> Any:
    return (
        [(a.name, a.coefficient, a.raw, a.ac1) for a in found.questions],
        found.periods, found.disputes, found.leaderboard,
        [(p.id, p.judgments, p.audit and p.audit.agreement) for p in found.people],
    )  # fmt: skip


@pytest.mark.medium
def test_annotators_names_are_nothing_to_the_figures(store: PreferenceStore) -> None:
    made, ids = judged_project(store, 15)
    before = _figures(store.read(quality, made))

    def swap(c: Any) -> None:
        for who, name in (
            (ids["ann"], "~"),
            (ids["ben"], "ann of tea"),
            (ids["ann"], "ben of tea"),
        ):
            c.execute(update(t.annotators).where(t.annotators.c.id == who).values(name=name))

    store.write(swap)
    assert _figures(store.read(quality, made)) == before


@pytest.mark.medium
def test_mirrored_pages_give_the_same_figures_but_for_the_first_shown(
    store: PreferenceStore,
) -> None:
    found = []
    for name, first in (("one", 0), ("two", 1)):
        rng = random.Random(9)
        made, ids = project(
            store, [pair(f"Q{i}", ["a", "b"], ["x", "y"]) for i in range(12)], name=name
        )
        for place in responses(store, made).values():
            for who in ids.values():
                choose(store, made, place, who, rng.choice([0, 0, 1, -1]), first=first)
        found.append(store.read(quality, made))
    for a, b in zip(found[0].questions, found[1].questions, strict=True):
        assert value(a.coefficient) == pytest.approx(value(b.coefficient))
    for a, b in zip(found[0].people, found[1].people, strict=True):
        assert a.audit is not None
        assert b.audit is not None
        assert value(a.audit.first_shown) == pytest.approx(1 - value(b.audit.first_shown))


def test_gold_items_and_withdrawn_judgments_are_no_evidence(store: PreferenceStore) -> None:
    gold = pair("G", ["a", "b"], ["m", "n"], purpose="gold", expected={"choice": 0})
    made, ids = project(store, [gold, pair("Q", ["a", "b"], ["m", "n"])])
    first, second = responses(store, made).values()
    choose(store, made, first, ids["ann"], 0, is_correct=True)
    choose(store, made, first, ids["ben"], 1, is_correct=False)
    taken_back = choose(store, made, second, ids["ann"], 0)
    store.write(lambda c: c.execute(
        update(t.judgments).where(t.judgments.c.id == taken_back).values(withdrawn=START)
    ))  # fmt: skip
    found = store.read(quality, made)
    assert found.questions == ()
    assert found.disputes == ()
    assert found.leaderboard == ()
    assert found.judgments == 2  # but time was spent on them
    assert [p.checks.of("gold") is not None for p in found.people] == [True, True]


# --- what was computed, and when ------------------------------------------------------------------


def _wait(known: figures.Figures, project_id: str) -> None:
    import time

    until = time.monotonic() + 60
    while known.is_running(project_id) and time.monotonic() < until:
        time.sleep(0.01)


def test_figures_are_made_once_until_something_is_judged(store: PreferenceStore) -> None:
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(2)])
    first, second = responses(store, made).values()
    choose(store, made, first, ids["ann"], 0)
    known = figures.figures_of(store)
    assert known is figures.figures_of(store)
    one = known.of(store, made)
    assert one is not None
    assert known.of(store, made) is one
    choose(store, made, second, ids["ann"], 0)
    two = known.of(store, made)
    assert two is not None
    assert (one.judgments, two.judgments) == (1, 2)


def test_very_many_judgments_are_counted_beside_the_page(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(2)])
    places = list(responses(store, made).values())
    choose(store, made, places[0], ids["ann"], 0)
    monkeypatch.setattr(figures, "SMALL", 0)
    monkeypatch.setattr(figures, "IMPATIENCE_SECONDS", 0.0)
    known = figures.Figures()
    assert known.of(store, made) is None
    _wait(known, made)
    one = known.of(store, made)
    assert one is not None
    choose(store, made, places[1], ids["ann"], 0)
    monkeypatch.setattr(figures, "AT_MOST_SHARE", 10_000)
    assert known.of(store, made) is one  # new enough for what it cost
    monkeypatch.setattr(figures, "AT_MOST_SHARE", 0)
    assert known.of(store, made) is one  # the old ones, while newer are made
    _wait(known, made)
    newer = known.of(store, made)
    assert newer is not None
    assert newer.judgments == 2


def test_a_failure_is_told_and_tried_again(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ids = project(store, [pair("Q", ["a", "b"], [None, None])])
    choose(store, made, next(iter(responses(store, made).values())), ids["ann"], 0)
    known = figures.Figures()

    def broken(*_: object) -> None:
        raise RuntimeError("no")

    with monkeypatch.context() as patched:
        patched.setattr(figures, "computed", broken)
        with pytest.raises(RuntimeError, match="no"):
            known.of(store, made)
    assert known.of(store, made) is not None


def test_a_project_of_nobody_has_no_figures(store: PreferenceStore) -> None:
    found = store.read(quality, store.create_project("empty", ProjectSettings()))
    assert (found.judgments, found.people, found.periods, found.leaderboard) == (0, (), (), ())
    assert found.person("x") is None
    assert store.read(review.names, []) == {}
    assert readings.read([]).meetings({}).names == ()
