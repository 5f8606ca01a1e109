"""Contract: an import is whole or not there, and nobody sees half of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from filled import Clock, Site, clock_set, make_site, pair, ranking, solution
from sqlalchemy.exc import OperationalError

from assay.errors import DataError, StoreError
from assay.store import importing
from assay.store import tables as t
from assay.store.importing import BATCH, STALE_MS
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.types import as_messages

EVERY = (t.prompts, t.responses, t.comparisons, t.comparison_responses, t.slots, t.judgments,
         t.imports)  # fmt: skip


@pytest.fixture
def clock() -> Iterator[Clock]:
    with clock_set() as found:
        yield found


@pytest.fixture
def site(clock: Clock) -> Site:
    return make_site(comparisons=0, overlap=2)


def take(site: Site, comparisons: Any, **more: Any) -> importing.Imported:
    return site.store.add_comparisons(site.project, comparisons, source="file.jsonl", **more)


def test_everything_of_a_comparison_is_stored(site: Site) -> None:
    new = NewComparison(
        as_messages("Q", "user"),
        (
            NewResponse(as_messages("I am ChatGPT.", "assistant"), model="m1",
                        provenance={"temperature": 1}),
            NewResponse(as_messages("B", "assistant")),
        ),
        overlap=3, place=2.5, language="de", extra={"row": 7}, tools=[{"name": "search"}],
        judgments=(
            NewJudgment({"kind": "pair", "choice": 1, "strength": 1.0, "raw": "first-much"}, "Ann",
                        shown=(1, 0), submitted=1000, active_ms=400),
            NewJudgment({"kind": "pair", "choice": None, "strength": 0.0, "raw": "tie"},
                        source="model"),
        ),
    )  # fmt: skip
    seen: list[int] = []
    done = take(site, [new], counts=lambda: {"left out": 4}, progress=seen.append)
    assert str(done) == (
        "1 comparisons with 2 responses and 2 judgments; 1 responses may name their model"
    )
    assert seen == [1]
    (row,) = site.rows(t.comparisons)
    assert (row.overlap, row.place, row.language, row.extra, row.number, row.expected) == (
        3, 2.5, "de", {"row": 7}, 1, None,
    )  # fmt: skip
    first, second = sorted(site.rows(t.responses), key=lambda row: row.model is None)
    assert (first.model, first.leak, first.provenance) == (
        "m1", "I am ChatGPT", {"temperature": 1},
    )  # fmt: skip
    ann, other = sorted(site.rows(t.judgments), key=lambda row: row.source)
    assert (ann.answer["choice"], ann.shown) == (second.id, [second.id, first.id])
    assert (ann.started, ann.submitted, ann.surplus) == (600, 1000, False)
    assert other.source == "model"
    names = {row.name: row.is_active for row in site.rows(t.annotators)}
    assert (names["Ann"], names["imported 2"]) == (False, False)
    assert len(site.rows(t.slots)) == 3
    (made,) = site.rows(t.imports)
    assert (made.state, made.counts["left out"], made.counts["leaks"]) == ("done", 4, 1)
    assert site.store.problems() == []


def test_equal_prompts_are_stored_once_even_over_batches(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importing, "BATCH", 2)
    new = [replace(pair(1), responses=pair(i).responses) for i in range(5)]
    take(site, new)
    take(site, new[:1])
    assert len(site.rows(t.prompts)) == 1
    assert sorted(row.number for row in site.rows(t.comparisons)) == [1, 2, 3, 4, 5, 6]
    assert {row.prompt_id for row in site.rows(t.responses)} == {site.rows(t.prompts)[0].id}


def test_annotators_are_known_by_name_whatever_its_case(site: Site) -> None:
    for i, name in enumerate(("Änne", "änne", "ÄNNE")):
        said = NewJudgment({"kind": "pair", "choice": 0, "strength": 1.0}, name)
        take(site, [pair(i, judgments=(said,))])
    assert len({row.annotator_id for row in site.rows(t.judgments)}) == 1


def test_a_bad_row_leaves_nothing_of_the_good_ones(site: Site) -> None:
    take(site, [pair(0)])
    before = [site.rows(table) for table in EVERY]
    said = NewJudgment({"kind": "pair", "choice": 0, "strength": 1.0})
    new = [pair(i, judgments=(said,)) for i in range(BATCH + 1)]
    with pytest.raises(DataError, match="comparison 503: a pair has 2 responses, not 3"):
        take(site, [*new, replace(ranking(), kind="pair")])
    assert [site.rows(table) for table in EVERY] == before
    assert site.store.problems() == []


def test_a_stream_that_fails_or_is_empty_leaves_nothing(site: Site) -> None:
    def failing() -> Iterator[NewComparison]:
        yield from (pair(i) for i in range(BATCH))
        raise OSError("the file is gone")

    with pytest.raises(OSError, match="gone"):
        take(site, failing())
    with pytest.raises(DataError, match=r"file\.jsonl holds no comparison"):
        take(site, [])
    assert [len(site.rows(table)) for table in EVERY] == [0] * len(EVERY)


def test_batches_are_seen_by_nobody_until_all_are_there(site: Site) -> None:
    def looking() -> Iterator[NewComparison]:
        for i in range(2 * BATCH):
            yield pair(i)
        assert len(site.rows(t.comparisons)) == 2 * BATCH  # written, yet
        assert site.claim() is None
        assert site.rows(t.slots) == []

    take(site, looking())
    assert site.claim() is not None
    assert len(site.rows(t.slots)) == 4 * BATCH


def half_done(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """An import that is killed after its first batch: it cannot clear up."""

    def killed() -> Iterator[NewComparison]:
        said = NewJudgment({"kind": "pair", "choice": 0, "strength": 1.0})
        yield from (pair(i, judgments=(said,)) for i in range(BATCH))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(importing, "discard", lambda *_: None)
        with pytest.raises(KeyboardInterrupt):
            take(site, killed())


def test_one_that_was_killed_is_cleared_away_by_the_next(
    site: Site, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    half_done(site, monkeypatch)
    with pytest.raises(StoreError, match=r"An import of file.jsonl into this project is under way"):
        take(site, [pair(1)])
    assert len(site.rows(t.comparisons)) == BATCH
    clock.now += STALE_MS + 1
    take(site, [pair(1)])
    assert [len(site.rows(table)) for table in EVERY] == [1, 2, 1, 2, 2, 0, 1]
    assert site.store.problems() == []


def test_an_import_that_was_taken_for_dead_does_not_go_on(site: Site, clock: Clock) -> None:
    def slow() -> Iterator[NewComparison]:
        yield from (pair(i) for i in range(BATCH))
        clock.now += STALE_MS + 1
        take(site, [pair(9999)])
        yield pair(BATCH)

    with pytest.raises(StoreError, match="cleared away"):
        take(site, slow())
    assert len(site.rows(t.comparisons)) == 1


def test_an_import_cleared_away_at_its_very_end_shows_nothing(site: Site, clock: Clock) -> None:
    def counts() -> dict[str, int]:
        clock.now += STALE_MS + 1
        take(site, [pair(9999)])
        return {}

    with pytest.raises(StoreError, match="cleared away"):
        take(site, [pair(1)], counts=counts)
    assert len(site.rows(t.comparisons)) == 1


def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on PostgreSQL: the work runs again though it was kept."""
    once = site.store.database.write

    def twice(work: Any) -> Any:
        once(work)
        return once(work)

    monkeypatch.setattr(site.store.database, "write", twice)
    project = site.store.create_project("twice")
    done = take(site, [pair(i) for i in range(3)])
    given = site.claimed()
    site.submit(given)
    assert done.comparisons == 3
    assert [len(site.rows(table)) for table in (t.comparisons, t.slots, t.judgments)] == [3, 6, 1]
    actions = [row.action for row in site.rows(t.events)]
    assert actions.count("comparisons.imported") == actions.count("judgment.submitted") == 1
    assert site.store.project(project).name == "twice"
    assert site.store.problems() == []


def test_one_that_cannot_clear_up_says_why_it_failed(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unable(*_: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(importing, "discard", unable)
    with pytest.raises(DataError, match="holds no comparison"):
        take(site, [])


def forced(new: NewComparison, **values: str) -> NewComparison:
    """With values that its type forbids, as a program without type checks can give."""
    for name, value in values.items():
        object.__setattr__(new, name, value)
    return new


@pytest.mark.parametrize(
    ("new", "said"),
    [
        (forced(pair(), kind="vote"), "a kind is one of pair, ranking, steps"),
        (forced(pair(), purpose="test"), "a purpose is one of work"),
        (replace(ranking(), responses=ranking(count=27).responses), "2 to 26 responses, not 27"),
        (replace(solution(), responses=pair().responses), "one response in steps"),
        (replace(pair(), prompt=()), "the prompt is empty"),
        (pair(purpose="gold"), "a gold item has an expected answer"),
        (pair(purpose="gold", expected={"choice": 2}), "names response 2; there are 2, from 0"),
        (pair(purpose="gold", expected={"choice": -1}), "names response -1"),
        (pair(purpose="gold", expected={"choice": True}), "names response True"),
        (pair(overlap=0), "the overlap is 1 to 100, not 0"),
        (pair(overlap=101), "the overlap is 1 to 100, not 101"),
        (pair(place=float("nan")), "a place is a number, not nan"),
        (pair(language="x" * 36), "a language is a tag"),
        (replace(pair(), responses=(pair().responses[0],) * 2), "two responses are the same"),
        (pair(extra={"a": ["x\x00"]}), "zero character"),
        (replace(pair(), prompt=as_messages("a\x00", "user")), "zero character"),
        (pair(extra={"a\ud800": 1}), "half a character"),
        (pair(extra={"a": float("nan")}), "no database stores"),
        (pair(extra={"a": {1, 2}}), "holds set"),
        (
            pair(judgments=(NewJudgment({"choice": 0}, "Ann"), NewJudgment({"choice": 0}, "ann"))),
            "an annotator has two judgments",
        ),
        (pair(judgments=(NewJudgment({"choice": 0}, shown=(0, 2)),)), "names response 2"),
        (pair(judgments=(NewJudgment({"choice": 0}, "a" * 81),)), "printable characters"),
    ],
)  # fmt: skip
def test_what_is_no_comparison_is_refused_whole(site: Site, new: NewComparison, said: str) -> None:
    with pytest.raises(Exception, match=said) as caught:
        take(site, [pair(50), new])
    assert isinstance(caught.value, ValueError)
    assert not isinstance(caught.value, OperationalError)
    assert site.rows(t.comparisons) == []


def test_a_backslash_before_a_zero_is_text(site: Site) -> None:
    take(site, [replace(pair(), prompt=as_messages("\\u0000 and \\x00", "user"))])
    assert site.claimed().prompt[0].content == "\\u0000 and \\x00"


def test_every_part_of_an_answer_that_names_responses_is_named() -> None:
    answer = {
        "best": 1, "groups": [[1], [0]], "unranked": [0], "acceptability": {"0": "bad"},
        "dimensions": {"a": {"choice": None}, "b": {"ratings": {0: 3, "1": 2}}},
    }  # fmt: skip
    assert importing.named(answer, ["x", "y"]) == {
        "best": "y", "groups": [["y"], ["x"]], "unranked": ["x"], "acceptability": {"x": "bad"},
        "dimensions": {"a": {"choice": None}, "b": {"ratings": {"x": 3, "y": 2}}},
    }  # fmt: skip


def test_there_must_be_a_project(site: Site) -> None:
    with pytest.raises(StoreError, match="no such project"):
        site.store.add_comparisons("none", [pair()], source="x")
