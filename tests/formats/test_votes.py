"""Judgments one by one: every vote of the published files, which was first, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from assay.errors import DataError
from assay.formats.comparisons import Verdict
from assay.formats.judged import JudgedComparison
from assay.formats.rows import SHAPES, RowReader, Tally
from assay.formats.votes import VOTE_SHAPES
from assay.types import Message

PANDALM = {
    "id": "7",
    "instruction": "Shorten.",
    "input": "It is cold.",
    "response_1": "Cold.",
    "response_2": "Brr.",
    "votes": [1, 0, 2],
}
TULU = {
    "instance_id": "t1",
    "prompt": "Hi",
    "model_a": "m",
    "model_b": "n",
    "completion_a": "Hello.",
    "completion_b": "What?",
    "a_acceptable": "yes",
    "b_acceptable": "no",
    "preference": "a-is-slightly-better",
    "evaluator": "e3",
}
MTBENCH = {
    "judge": "expert_1",
    "model_a": "m",
    "model_b": "n",
    "question_id": 81,
    "turn": 2,
    "winner": "model_b",
}
ASSAY = {
    "prompt": "Which?",
    "responses": ["A.", "B.", "C."],
    "judgments": [
        {"annotator": "ada", "choice": 2, "strength": 2, "display_order": [2, 0, 1]},
        {"ranking": [[1], [0, 2]]},
    ],
}


def read(*rows: dict[str, Any]) -> list[JudgedComparison]:
    reader = RowReader("f.jsonl", "line", "error", Tally(), VOTE_SHAPES)
    found = [judged for _, judged in reader.numbered(enumerate(rows, start=1))]
    assert all(isinstance(judged, JudgedComparison) for judged in found)
    return found  # type: ignore[return-value]


def refused(row: dict[str, Any], match: str) -> None:
    with pytest.raises(DataError, match=match) as caught:
        read(row)
    assert str(caught.value).startswith("f.jsonl line 1: ")


def test_pandalm_has_one_judgment_a_vote() -> None:
    (judged,) = read(PANDALM)
    assert [j.annotator for j in judged.judgments] == ["#1", "#2", "#3"]
    assert [j.verdicts[0, 1].share for j in judged.judgments] == [1.0, 0.5, 0.0]
    assert {j.order for j in judged.judgments} == {(0, 1)}
    assert not any(j.order_is_recorded for j in judged.judgments)
    assert judged.prompt == (Message("user", "Shorten.\n\nIt is cold."),)
    assert (judged.id, judged.unusable) == ("7", None)
    assert read({**PANDALM, "id": None, "idx": 4})[0].id == "4"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"response_2": " "}, "empty text"),
        ({"response_1": None}, "missing 'response_1'"),
        ({"response_1": True}, "wrong type"),
        ({"response_1": "Brr."}, "identical responses"),
        ({"instruction": " "}, "empty text"),
    ],
)
def test_votes_on_a_response_that_trains_nothing_are_votes(
    changes: dict[str, Any], why: str
) -> None:
    (judged,) = read({**PANDALM, **changes})
    assert len(judged.judgments) == 3
    assert judged.unusable == why


def test_a_response_that_is_no_text_reads_as_its_json() -> None:
    (judged,) = read({**PANDALM, "response_1": True, "response_2": None})
    assert [r[0].content for r in judged.responses] == ["true", ""]


@pytest.mark.parametrize("votes", [[], [3], ["1"], [True], None, 1])
def test_votes_that_say_nothing_are_refused(votes: Any) -> None:
    refused({**PANDALM, "votes": votes, "response_1": ""}, r"'votes'")


def test_tulu_is_a_preference_of_five_points_and_two_ratings() -> None:
    (judged,) = read(TULU)
    (judgment,) = judged.judgments
    assert judgment.verdicts == {(0, 1): Verdict(1.0, 1.0)}
    assert (judgment.annotator, judgment.order) == ("e3", (0, 1))
    assert (judged.id, judged.names) == ("t1", ("m", "n"))
    assert [(r.response, r.question, r.value, r.annotator) for r in judged.ratings] == [
        (0, "acceptable", "yes", "e3"),
        (1, "acceptable", "no", "e3"),
    ]
    shares = {
        said: read({**TULU, "preference": said})[0].judgments[0].verdicts[0, 1]
        for said in ("a-is-better", "tie", "b-is-slightly-better", "b-is-better")
    }
    assert shares == {
        "a-is-better": Verdict(1.0, 2.0),
        "tie": Verdict(0.5, 0.0),
        "b-is-slightly-better": Verdict(0.0, 1.0),
        "b-is-better": Verdict(0.0, 2.0),
    }
    refused({**TULU, "preference": "a"}, r"'preference' must be one of a-is-better, .*, not \"a\"")


def test_tulu_rows_without_two_models_are_known_by_their_texts() -> None:
    bare = {k: v for k, v in TULU.items() if k not in ("model_a", "a_acceptable", "prompt")}
    (judged,) = read({**bare, "prompt": None})
    assert (judged.id, judged.names, len(judged.ratings)) == (None, (), 1)
    assert judged.unusable == "missing 'prompt'"
    assert read({**TULU, "completion_b": "Hello."})[0].unusable == "identical responses"


def test_mtbench_names_two_models_and_has_no_texts() -> None:
    (judged,) = read(MTBENCH)
    assert (judged.prompt, judged.responses, judged.names) == (None, (), ("m", "n"))
    assert (judged.id, judged.cluster) == ("question 81, turn 2", "question 81")
    assert judged.judgments[0].verdicts == {(0, 1): Verdict(0.0)}
    assert read({**MTBENCH, "turn": None})[0].id == "question 81"
    tie = read({**MTBENCH, "winner": "tie (inconsistent)"})[0].judgments[0]
    assert (tie.inconsistent, tie.verdicts[0, 1].share) == (True, 0.5)
    assert not read({**MTBENCH, "winner": "tie"})[0].judgments[0].inconsistent
    refused({**MTBENCH, "winner": "n"}, r"'winner' must be 'model_a', .*, not \"n\"")
    refused({**MTBENCH, "model_b": "m"}, r"'model_a' and 'model_b' are both 'm'")
    refused({**MTBENCH, "model_b": None}, r"'model_b' is missing")


def test_assay_judgments_keep_annotator_strength_and_order() -> None:
    (judged,) = read(ASSAY)
    ada, unnamed = judged.judgments
    assert ada.verdicts == {(0, 2): Verdict(0.0, 2.0), (1, 2): Verdict(0.0, 2.0)}
    assert (ada.annotator, ada.order, ada.order_is_recorded) == ("ada", (2, 0, 1), True)
    assert unnamed.verdicts == {
        (0, 1): Verdict(0.0),
        (0, 2): Verdict(0.5),
        (1, 2): Verdict(1.0),
    }
    assert (unnamed.annotator, unnamed.order_is_recorded) == ("#2", False)
    single = {**ASSAY, "judgments": [{"choice": 0}]}
    assert read(single)[0].judgments[0].annotator is None
    same = read({**ASSAY, "responses": ["A.", "B.", "A."]})[0].judgments[1]
    assert set(same.verdicts) == {(0, 1), (1, 2)}


@pytest.mark.parametrize("order", [[0, 0], [3], ["0"], [True], "012", 1])
def test_an_order_that_is_none_is_refused(order: Any) -> None:
    judgment = {"choice": 0, "display_order": order}
    refused({**ASSAY, "judgments": [judgment]}, "'display_order'")


def test_other_formats_hold_one_judgment_a_preference() -> None:
    (pair,) = read({"prompt": "?", "chosen": "a", "rejected": "b", "annotator": "ada"})
    assert pair.judgments[0].verdicts == {(0, 1): Verdict(1.0)}
    assert (pair.judgments[0].annotator, pair.judgments[0].order) == ("ada", None)
    (turned,) = read(
        {"prompt": "?", "chosen": "a", "rejected": "b", "probability": 0.2, "margin": 1}
    )
    assert turned.judgments[0].verdicts == {(0, 1): Verdict(0.0, 1.0)}
    (tie,) = read({"prompt": "?", "chosen": "a", "rejected": "b", "tie": True})
    assert tie.judgments[0].verdicts == {(0, 1): Verdict(0.5, 0.0)}
    helpsteer = {"prompt": "?", "response_1": "a", "response_2": "b", "preference_strength": 2}
    (strong,) = read(helpsteer)
    assert strong.judgments[0].verdicts == {(0, 1): Verdict(0.0, 2.0)}
    assert strong.judgments[0].order == (0, 1)


def test_every_preference_format_can_be_read_as_votes() -> None:
    assert [s.name for s in VOTE_SHAPES] == [*(s.name for s in SHAPES), "MT-Bench votes"]
