"""Rollouts are right, wrong, unfinished or undecided, and only the first two say something."""

from __future__ import annotations

import pytest
from solver import problem

from assay.feedback import tallies
from assay.feedback.rollouts import Prefix, Rollouts
from assay.feedback.tallies import Checker, Tally, default_checker, has_answer, tally_of


def test_whole_responses_are_judged_and_cut_ones_are_not() -> None:
    prefix = Prefix(problem(1, None).prompt, ("so it is", "#### 7"))
    texts = ("", "#### 8", "The answer is 7.0.", "#### 7", "x+1 \\boxed{x+1}")
    rollouts = Rollouts(texts, (True, True, True, False, True))
    seen: list[str] = []

    def check(response: str, answer: str) -> bool | None:
        seen.append(response)
        return None if "boxed" in response else has_answer(response, answer)

    found = tally_of(prefix, "7", rollouts, Checker(check))
    # "" leaves the prefix's own answer; a number marked #### outranks a sentence
    assert found == Tally(right=2, wrong=1, unfinished=1, undecided=1)
    assert all(response.startswith("so it is\n\n#### 7\n\n") for response in seen)
    assert len(seen) == 4
    assert (found.judged, found.share) == (3, pytest.approx(2 / 3))


@pytest.mark.parametrize(
    ("response", "answer", "right"),
    [
        ("#### 1,000", "1000", True),
        ("so 5 in all", "5", True),
        ("#### 5", "3 + 2 = 5\n#### 5", True),
        ("#### 5", "6", False),
        ("I give up", "6", False),
        ("\\boxed{Tuesday}", "tuesday", True),
    ],
)
def test_the_final_answer_is_compared_with_the_reference(
    response: str, answer: str, right: bool
) -> None:
    assert has_answer(response, answer) is right


def test_a_stated_answer_judges_a_whole_solution() -> None:
    checker = default_checker()
    right = problem(2, None)
    for last, known in (("#### 7", True), ("#### 8", False), ("7 apples, say", None)):
        steps = (right.steps[0], last)
        assert checker.stated(type(right)(right.prompt, steps, (None, None), answer="7")) is known


def test_without_algebra_its_questions_are_undecided_and_the_command_is_noted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tallies, "find_spec", lambda _: None)
    checker = default_checker()
    assert checker.check(r"\boxed{x+1}", "1+x") is None
    assert checker.check(r"\boxed{12}", "12.0") is True
    assert checker.note is not None
    assert "pip install 'assay[math]'" in checker.note
