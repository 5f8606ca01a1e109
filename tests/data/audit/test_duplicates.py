"""Repetitions, contradictions, near duplicates and cycles: planted, and all found."""

from __future__ import annotations

from typing import Any

import pytest

from assay.data.audit.duplicates import Duplicates, duplicates
from assay.data.audit.reading import load_evidence
from assay.types import Figure


def found(*rows: dict[str, Any], threshold: float = 0.8) -> Duplicates:
    return duplicates(load_evidence(list(rows)), threshold)


def pair(prompt: str, chosen: str, rejected: str, who: str | None = None, **more: Any) -> Any:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "annotator": who, **more}


def test_repetitions_are_the_same_answer_by_the_same_hand() -> None:
    rows = [
        pair("p", "a", "b"),
        pair(" P ", "A", "b"),  # the same but for case and space
        pair("p", "a", "b", "ada"),  # somebody else
        pair("p", "a", "c"),
        pair("p", "a", "b", tie=True),
    ]
    report = found(*rows)
    assert report.repeated == 1
    assert report.flagged["repeated judgment"].tolist() == [1]
    assert report.contradictions == 0


def test_contradictions_are_by_one_hand_and_disagreements_by_two() -> None:
    rows = [
        pair("p", "a", "b"),
        pair("p", "b", "a"),
        pair("q", "a", "b", "ada"),
        pair("q", "b", "a", "bob"),
        pair("r", "a", "b", "ada"),
        pair("r", "b", "a", "ada"),
        pair("r", "b", "a", "bob"),
        pair("s", "a", "b", "ada"),
        pair("s", "a", "b", "ada", tie=True),
    ]
    report = found(*rows)
    assert report.contradictions == 2  # p, and r by ada
    assert report.disagreements == 1  # q
    assert report.flagged["contradiction"].tolist() == [0, 1, 4, 5]


def test_rows_with_ids_of_their_own_are_still_the_same_texts() -> None:
    vote = {"instruction": "I", "response_1": "x", "response_2": "y"}
    swapped = {"instruction": "I", "response_1": "y", "response_2": "x"}
    report = found({**vote, "id": 1, "votes": [1]}, {**swapped, "id": 2, "votes": [2]},
                   {**swapped, "id": 3, "votes": [1]})  # fmt: skip
    assert report.repeated == 1
    assert report.contradictions == 1


LONG = "Tell me in a few words how a bicycle stays upright when it is ridden slowly"
GOOD = "It stays upright because the rider steers it under the centre of mass again and again"
BAD = "Nobody knows, and whoever says otherwise wants to sell you a bicycle with stabilisers"


def test_near_duplicate_pairs_have_near_prompts_and_near_responses() -> None:
    rows = [
        pair(LONG, GOOD, BAD),
        pair(f"{LONG}, please", f"{GOOD}.", f"{BAD}!"),  # near in all
        pair(f"{LONG}?", f"{BAD}?", f"{GOOD}?"),  # near, and labelled the other way
        pair(f"{LONG}!", GOOD, "Ask a mechanic, for this is beyond me"),  # another response
        pair("Something quite different about the weather", GOOD, BAD),  # another prompt
    ]
    report = found(*rows)
    assert report.near_pairs == 2
    assert report.near_contradictions == 1
    assert report.flagged["near duplicate"].tolist() == [1, 2]
    prompts = report.near_prompts
    assert prompts is not None
    assert (prompts.texts, prompts.clusters, prompts.extra) == (5, 1, 3)
    assert isinstance(prompts.share, Figure)
    assert prompts.share.value == pytest.approx(4 / 5)
    assert prompts.largest == ((4, LONG),)
    assert report.to_dict()["near_duplicate_prompts"]["largest"][0]["texts"] == 4


def test_case_and_space_make_one_text_and_no_near_ones() -> None:
    report = found(pair(LONG, GOOD, BAD), pair(LONG.upper(), GOOD, BAD))
    assert report.near_prompts is not None
    assert (report.near_prompts.texts, report.near_prompts.extra) == (1, 0)
    assert (report.near_pairs, report.repeated) == (0, 1)


def test_texts_under_the_threshold_are_far() -> None:
    rows = [pair(LONG, GOOD, BAD), pair(LONG[:40] + " something else entirely", GOOD, BAD)]
    assert found(*rows).near_pairs == 0
    assert found(*rows, threshold=0.3).near_pairs == 1


def test_a_cycle_is_found_by_its_majority() -> None:
    rows = [pair("p", "a", "b"), pair("p", "b", "c"), pair("p", "c", "a"), pair("p", "c", "a"),
            pair("q", "a", "b"), pair("q", "b", "c"), pair("q", "a", "c"),
            pair("r", "a", "b"), pair("r", "b", "a"), pair("r", "b", "c")]  # fmt: skip
    report = found(*rows)
    assert (report.cycles.prompts, report.cycles.responses) == (1, 3)
    assert isinstance(report.cycles.share, Figure)
    assert (report.cycles.share.value, report.cycles.share.n) == (0.5, 2)  # r cannot have one
    assert report.flagged["cycle"].tolist() == [0, 1, 2, 3]


def test_annotators_may_be_consistent_while_their_majority_is_not() -> None:
    """Condorcet: three rankings, each without a cycle, whose majorities form one."""
    rankings = {"ada": [0, 1, 2], "bob": [1, 2, 0], "eve": [2, 0, 1]}
    judgments = [{"annotator": who, "ranking": ranking} for who, ranking in rankings.items()]
    row = {"prompt": "p", "responses": ["a", "b", "c"], "judgments": judgments}
    report = found(row)
    assert report.cycles.prompts == 1
    assert report.own_cycles.prompts == 0
    assert isinstance(report.own_cycles.share, Figure)
    assert report.own_cycles.share.n == 3  # one prompt by each of three
    own = [pair("p", *s, "ada") for s in (("a", "b"), ("b", "c"), ("c", "a"))]
    report = found(*own, *(pair("p", s, "x", "bob") for s in "ab"))
    assert report.own_cycles.prompts == report.cycles.prompts == 1


def test_a_long_cycle_and_what_hangs_on_it() -> None:
    rows = [pair("p", f"r{i}", f"r{(i + 1) % 6}") for i in range(6)] + [pair("p", "r0", "last")]
    report = found(*rows)
    assert report.cycles.responses == 6
    assert report.flagged["cycle"].tolist() == list(range(6))


def test_cycles_that_cannot_be_say_why() -> None:
    report = found(pair("p", "a", "b"))
    assert report.cycles.share.to_dict()["why"].startswith("no prompt has three compared")
    assert report.own_cycles.share.to_dict()["why"] == "no annotator is named."
    only_case = found(pair("p", "Yes", "yes"))
    assert only_case.cycles.share.to_dict()["why"] == "no two responses differ."
    assert only_case.repeated == only_case.near_pairs == 0
    ties = found(*(pair("p", *s, tie=True) for s in (("a", "b"), ("b", "c"), ("c", "a"))))
    assert ties.cycles.prompts == 0


def test_votes_without_texts_have_cycles_and_no_near_texts() -> None:
    models = ("m", "n"), ("n", "o"), ("o", "m")
    rows = [{"judge": "j", "model_a": a, "model_b": b, "question_id": 1, "winner": "model_a"}
            for a, b in models]  # fmt: skip
    report = found(*rows)
    assert report.cycles.prompts == 1
    assert report.near_prompts is report.near_responses is None
    assert report.near_pairs == 0
