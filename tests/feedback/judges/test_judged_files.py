"""What a judge wrote is read as it was said, of every task, and what is no such row is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from judged_made import Scripted

from assay.errors import DataError
from assay.feedback.judges.judge_report import judge_report, spent
from assay.feedback.judges.judged_files import comparisons_of, read_judged, without_words
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, Question, failed
from assay.feedback.judges.rows import judged_row
from assay.feedback.judges.tasks import (
    ChoiceTask,
    Judged,
    PairTask,
    RatingTask,
    Task,
    judged_stream,
)
from assay.types import Comparison, Preference, as_messages


def made() -> list[Comparison]:
    return [
        Comparison(
            as_messages(f"prompt {i}", "user"),
            tuple(as_messages(f"good {i} {k}" * (k + 1), "assistant") for k in range(3)),
            (Preference(1, 0, 0.75), Preference(1, 2, 1.0)),
            id=f"c{i}" if i else None,
        )
        for i in range(3)
    ]


def answer(question: Question) -> Answer:
    if "prompt 2" in question.messages[-1].content:
        return failed("refused", "no")
    weights = [0.6] + [0.4 / (len(question.options) - 1)] * (len(question.options) - 1)
    return Answer("answered", tuple(weights), "log-probabilities", cost=0.001)


def judged(task: Task) -> list[Judged]:
    return list(judged_stream(iter(made()), task, Scripted(answer)))


@pytest.mark.parametrize("kind", [PairTask, ChoiceTask, RatingTask])
def test_what_is_read_is_what_was_said(kind: type, tmp_path: Path) -> None:
    said = judged(kind(Questioner(load_pack())))
    path = tmp_path / "judged.jsonl"
    rows = [judged_row(one, "j", {"judge": "j"}) for one in said]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    found = read_judged([path])
    direct = [c for one in said for c in comparisons_of(one)]
    assert len(found) == len(direct) == 9
    for read, told in zip(found, direct, strict=True):
        assert (read.item, read.prompt, read.lengths) == (told.item, told.prompt, told.lengths)
        assert read.human == told.human
        assert read.judgment.outcome == told.judgment.outcome
        assert read.judgment.probability == told.judgment.probability
        assert read.by_order() == told.by_order()
    assert [c.human for c in direct[:3]] == [0.25, None, 1.0]
    assert len({c.item for c in direct}) == 9
    report = judge_report(found, "j", resamples=20)
    assert report.outcomes["refused"] == 3
    assert report.coverage.value == pytest.approx(6 / 9)
    assert report.spent.per_label is None
    json.dumps(report.to_dict(), allow_nan=False)


def test_an_answer_that_is_in_several_pairs_is_paid_once() -> None:
    said = judged(RatingTask(Questioner(load_pack())))[:2]
    records = [c for one in said for c in comparisons_of(without_words(one))]
    found = spent(records)
    assert (found.answers, found.cost) == (6, pytest.approx(0.006))
    assert found.per_label == pytest.approx(0.001)


def test_repeats_are_told_apart_from_what_decided() -> None:
    said = {0: (0.9, 0.1), 1: (0.6, 0.4), 2: (0.2, 0.8)}

    def again(question: Question) -> Answer:
        return Answer("answered", said[question.stream], "log-probabilities")

    task = PairTask(Questioner(load_pack()), repeats=3)
    (one, *_) = judged_stream(iter(made()), task, Scripted(again))
    records = comparisons_of(one)
    assert [r.judgment.first for r in records] == [pytest.approx(0.9)] * 3
    for record in records:
        assert [j.first for j in record.repeats] == [pytest.approx(0.6), pytest.approx(0.2)]
        assert all(j.pair == record.judgment.pair for j in record.repeats)


def test_models_come_with_the_responses_where_they_are_known() -> None:
    one = judged(PairTask(Questioner(load_pack())))[0]
    wrote = ({"model": "me"}, {}, {"model": "you"})
    one = replace(one, comparison=replace(one.comparison, provenance=wrote))
    records = comparisons_of(one)
    assert [r.models for r in records] == [("me", None), ("me", "you"), (None, "you")]


def test_votes_are_kept_apart_where_they_are_known() -> None:
    one = judged(PairTask(Questioner(load_pack())))[0]
    records = comparisons_of(one, {(0, 1): (1.0, 0.0, 0.0)})
    assert [r.votes for r in records] == [(1.0, 0.0, 0.0), (), ()]
    assert [r.share for r in records] == [pytest.approx(1 / 3), None, None]


def test_what_is_no_row_of_a_judge_is_refused_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n", "utf-8")
    with pytest.raises(DataError, match=r"pairs\.jsonl line 1 is no row of a judge"):
        read_judged([path])
