"""Value: answers of every kind in their stored form, and what is refused of them."""

from __future__ import annotations

from typing import Any

import pytest

from assay.store.answers import AnswerError, checked_answer, matches, verdict
from assay.store.records import Dimension, Rubric

PAIR, THREE = ("a", "b"), ("a", "b", "c")
STEPS = ({"text": "one", "alternatives": ["uno"]}, {"text": "two"}, {"text": "three"})


def pair(answer: Any, rubric: Rubric | None = None) -> dict[str, Any]:
    return checked_answer(answer, "pair", PAIR, rubric or Rubric())


def ranking(answer: Any, rubric: Rubric | None = None) -> dict[str, Any]:
    return checked_answer(answer, "ranking", THREE, rubric or Rubric())


def steps(answer: Any, rubric: Rubric | None = None) -> dict[str, Any]:
    return checked_answer(answer, "steps", ("a",), rubric or Rubric(), STEPS)


def test_a_button_means_the_response_that_was_shown_there() -> None:
    said = pair({"raw": "second-better"})
    assert said == {
        "kind": "pair", "choice": "b", "strength": 2 / 3, "preset": "helpsteer",
        "preset_version": 1, "raw": "second-better",
    }  # fmt: skip
    assert verdict(said, "a", "b") == pytest.approx(1 / 6)
    assert verdict(said, "b", "a") == pytest.approx(5 / 6)
    assert checked_answer({"raw": "second-better"}, "pair", ("b", "a"), Rubric())["choice"] == "a"


def test_neither_and_both_bad_choose_nothing() -> None:
    tie = pair({"raw": "tie"})
    assert (tie["choice"], verdict(tie, "a", "b")) == (None, 0.5)
    bad = pair({"raw": "both-bad", "acceptability": {"a": "good"}}, Rubric(preset="arena"))
    assert (bad["choice"], bad["acceptability"]) == (None, {"a": "bad", "b": "bad"})
    slid = pair({"raw": -40}, Rubric(preset="slider"))
    assert (slid["choice"], slid["strength"]) == ("a", 0.4)


def test_a_stored_answer_is_taken_again_as_it_is() -> None:
    said = pair({"raw": "first-much", "acceptability": {"b": "bad"}, "rationale": "Shorter."})
    assert pair(said) == said


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ([], "answer"),
        ({}, "raw"),
        ({"raw": "both-bad"}, "raw"),
        ({"raw": ["tie"]}, "raw"),
        ({"raw": "tie", "kind": "ranking"}, "kind"),
        ({"raw": "tie", "groups": []}, "groups"),
        ({"raw": "first-much", "choice": "b"}, "choice"),
        ({"raw": "first-much", "strength": 0.5}, "strength"),
        ({"raw": "tie", "acceptability": ["a"]}, "acceptability"),
        ({"raw": "tie", "acceptability": {"c": "good"}}, "acceptability"),
        ({"raw": "tie", "acceptability": {"a": "fine"}}, "acceptability"),
        ({"raw": "tie", "dimensions": []}, None),
        ({"raw": "tie", "dimensions": [1]}, "dimensions"),
        ({"raw": "tie", "dimensions": {"tone": "tie"}}, "dimensions"),
        ({"raw": "tie", "reasons": ["none such"]}, "reasons"),
        ({"raw": "tie", "reasons": "x"}, "reasons"),
        ({"raw": "tie", "rationale": 5}, "rationale"),
        ({"raw": "tie", "rationale": "x" * 20_001}, "rationale"),
        ({"raw": "tie", "rationale": "a\x00b"}, "rationale"),
    ],
)
def test_refused_answers_to_a_pair_name_the_part(answer: Any, field: str | None) -> None:
    if field is None:
        assert pair(answer)["choice"] is None  # an empty list says nothing
        return
    with pytest.raises(AnswerError) as caught:
        pair(answer)
    assert caught.value.field == field


def test_a_rationale_can_be_demanded_and_a_reason_will_do() -> None:
    rubric = Rubric(rationale="required", reasons=("facts",))
    with pytest.raises(AnswerError, match="Say why"):
        pair({"raw": "tie", "rationale": "  "}, rubric)
    said = pair({"raw": "tie", "reasons": ["facts", "facts"]}, rubric)
    assert said["reasons"] == ["facts"]
    assert "rationale" not in said


def test_dimensions_are_judged_together_or_each() -> None:
    rubric = Rubric(
        dimensions=(
            Dimension(name="safety"),
            Dimension(name="style", scale="absolute", points=3, required=False),
        )
    )
    said = pair(
        {"raw": "tie", "dimensions": {"safety": "first-much", "style": {"a": 3, "b": 1}}}, rubric
    )
    assert said["dimensions"] == {
        "safety": {"choice": "a", "strength": 1.0, "raw": "first-much"},
        "style": {"ratings": {"a": 3, "b": 1}},
    }
    assert pair(said, rubric) == said
    with pytest.raises(AnswerError, match="Judge 'safety' too"):
        pair({"raw": "tie"}, rubric)
    for value in ({"a": 3}, {"a": 3, "b": 4}, {"a": 3, "b": True}, {"a": 1, "c": 1}, 3):
        with pytest.raises(AnswerError, match="Dimension 'style'"):
            pair({"raw": "tie", "dimensions": {"safety": "tie", "style": value}}, rubric)
    with pytest.raises(AnswerError, match="has no point 'best'"):
        pair({"raw": "tie", "dimensions": {"safety": "best"}}, rubric)


def test_a_ranking_has_groups_and_what_was_left_out() -> None:
    said = ranking({"groups": [["c"], "a"]})
    assert said == {"kind": "ranking", "groups": [["c"], ["a"]], "unranked": ["b"]}
    assert ranking(said) == said
    assert [verdict(said, *two) for two in (("c", "a"), ("a", "c"), ("a", "b"))] == [1.0, 0.0, None]
    assert verdict(ranking({"groups": [["a", "b"], ["c"]]}), "a", "b") == 0.5


@pytest.mark.parametrize(
    "groups",
    [None, "ab", {}, [["a"]], [["a"], ["a"]], [["a"], []], [["a"], ["d"]], [["a"], [["b"]]], [1]],
)
def test_refused_rankings(groups: Any) -> None:
    with pytest.raises(AnswerError) as caught:
        ranking({"groups": groups})
    assert caught.value.field == "groups"


def test_ties_can_be_forbidden() -> None:
    with pytest.raises(AnswerError, match="no ties"):
        ranking({"groups": [["a", "b"], ["c"]]}, Rubric(ranking_ties=False))


def test_every_step_has_a_label_and_null_is_not_neutral() -> None:
    said = steps(
        {
            "labels": [1, None, 0], "flagged": [False, True, False],
            "alternatives": [[-1], [], []], "chosen": [1, None, 0], "written": {"3": "Then."},
        }
    )  # fmt: skip
    assert said["labels"] == [1, None, 0]
    assert (said["alternatives"], said["chosen"], said["written"]) == (
        [[-1], [], []], [1, None, 0], {"3": "Then."},
    )  # fmt: skip
    assert steps(said) == said


def test_the_first_error_gives_the_labels() -> None:
    rubric = Rubric(step_mode="first-error")
    assert steps({"first_error": 1}, rubric)["labels"] == [1, -1, None]
    said = steps({"first_error": None}, rubric)
    assert said["labels"] == [1, 1, 1]
    assert steps(said, rubric) == said
    for answer in (
        {},
        {"first_error": 3},
        {"first_error": True},
        {"first_error": 0, "labels": [1, 1, 1]},
        {"first_error": 0, "mode": "x"},
    ):
        with pytest.raises(AnswerError):
            steps(answer, rubric)


@pytest.mark.parametrize(
    ("answer", "field"),
    [
        ({}, "labels"),
        ({"labels": [1, 1]}, "labels"),
        ({"labels": [1, 1, 2]}, "labels"),
        ({"labels": [1, 1, True]}, "labels"),
        ({"labels": [None, None, None]}, "labels"),
        ({"labels": [1, 1, 1], "flagged": [True]}, "flagged"),
        ({"labels": [1, 1, 1], "alternatives": [[1]]}, "alternatives"),
        ({"labels": [1, 1, 1], "alternatives": [[1, 1], [], []]}, "alternatives"),
        ({"labels": [1, 1, 1], "chosen": [2, 0, 0]}, "chosen"),
        ({"labels": [1, 1, 1], "written": {"4": "x"}}, "written"),
        ({"labels": [1, 1, 1], "written": {"0": " "}}, "written"),
        ({"labels": [1, 1, 1], "written": ["x"]}, "written"),
    ],
)
def test_refused_steps_name_the_part(answer: dict[str, Any], field: str) -> None:
    with pytest.raises(AnswerError) as caught:
        steps(answer)
    assert caught.value.field == field
    assert verdict(steps({"labels": [1, 1, 1]}), "a", "a") is None


def test_an_expectation_is_met_where_it_says_something() -> None:
    said = pair({"raw": "first-much", "acceptability": {"b": "bad"}})
    assert matches(said, {"choice": "a"})
    assert not matches(said, {"choice": "b"})
    assert matches(said, {"acceptability": {"b": "bad"}})
    assert not matches(said, {"acceptability": {"a": "bad"}})
    assert matches(ranking({"groups": [["a", "b"], ["c"]]}), {"best": "b"})
    assert not matches(ranking({"groups": [["a", "b"], ["c"]]}), {"best": "c"})
    judged = steps({"labels": [1, -1, None]})
    assert matches(judged, {"labels": [1, None, None]})
    assert not matches(judged, {"labels": [1, 1, None]})
    assert matches(judged, {"first_error": 1})
    assert not matches(judged, {"first_error": None})
