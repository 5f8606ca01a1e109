"""Assay's own solutions: every field, every refusal, and what is written is read back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.formats.assay_solutions import assay_solution, to_row
from assay.types import Message, Solution

ROW = {"prompt": "2 + 2?", "steps": ["Two and two.", "So 4."], "labels": [1, None]}


def test_every_field_of_a_row(one_solution: Any) -> None:
    row = {
        **ROW,
        "probabilities": [0.75, None],
        "answer": 4,
        "correct": True,
        "id": 7,
        "subset": "maths",
        "annotator": "ada",
        "weight": 0.5,
        "model": "ignored",
    }
    assert one_solution(row) == Solution(
        prompt=(Message("user", "2 + 2?"),),
        steps=("Two and two.", "So 4."),
        labels=(1, None),
        probabilities=(0.75, None),
        answer="4",
        correct=True,
        id="7",
        subset="maths",
        annotator="ada",
        weight=0.5,
    )


def test_prompt_may_be_messages(one_solution: Any) -> None:
    turns = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "2 + 2?"}]
    assert one_solution({**ROW, "prompt": turns}).prompt[0] == Message("system", "Be brief.")


def test_unjudged_solution(one_solution: Any) -> None:
    solution = one_solution({"prompt": "Q", "steps": ["a", "b"], "labels": None})
    assert (solution.labels, solution.probabilities, solution.correct) == ((None, None), None, None)


def test_response_is_cut_into_steps(one_solution: Any) -> None:
    solution = one_solution({"prompt": "Q", "response": "a\n\nb", "labels": [1, -1]})
    assert (solution.steps, solution.labels) == (("a", "b"), (1, -1))
    assert one_solution({**ROW, "response": "not used"}).steps == ("Two and two.", "So 4.")
    assert one_solution({"prompt": "Q", "steps": None, "response": "a"}).steps == ("a",)


@pytest.mark.parametrize(
    ("first", "expected", "all_bad"),
    [
        (0, (-1, None, None), (-1, -1, -1)),
        (1, (1, -1, None), (1, -1, -1)),
        (-1, (1, 1, 1), (1, 1, 1)),
        (None, (1, 1, 1), (1, 1, 1)),
    ],
)
def test_first_error_becomes_labels(
    one_solution: Any, first: Any, expected: Any, all_bad: Any
) -> None:
    row = {"prompt": "Q", "steps": ["a", "b", "c"], "first_error": first}
    assert one_solution(row).labels == expected
    assert one_solution(row, after_error="bad").labels == all_bad


def test_first_error_beside_what_was_judged(one_solution: Any) -> None:
    row = {"prompt": "Q", "steps": ["a", "b"], "first_error": None}
    assert one_solution({**row, "labels": [1, 0]}).labels == (1, 0)
    assert one_solution({**row, "probabilities": [0.5, 0.1]}).labels == (None, None)
    assert one_solution({**row, "labels": [0, -1], "first_error": 1}).labels == (0, -1)
    assert one_solution({**row, "labels": [None, None], "first_error": 1}).labels == (1, -1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [1]}, "'labels' has 1 entries for 2 steps; wanted one a step"),
        ({"labels": [1, 1, 1]}, "'labels' has 3 entries for 2 steps; wanted one a step"),
        ({"probabilities": [0.5]}, "'probabilities' has 1 entries for 2 steps; wanted one a step"),
        (
            {"steps": ["a", " "]},
            "step 2 of 2 in 'steps' is blank; every step says something",
        ),
        ({"steps": []}, "'steps' has no steps; a solution has one or more"),
        ({"steps": "a"}, "'steps' must be a list of texts, not \"a\""),
        ({"steps": ["a", 1]}, "'steps' must be a list of texts, but step 2 is 1"),
        ({"steps": ["a", "\ud800"]}, "'steps' holds half a character at position 2"),
        ({"prompt": " "}, "'prompt' is empty; every solution answers a prompt"),
        ({"prompt": 1}, "'prompt' must be text or a list of messages, not 1"),
        ({"prompt": None}, "'prompt' is missing"),
        (
            {"labels": [1, True]},
            "'labels' holds true at step 2; booleans are TRL's, in rows with 'completions'; "
            "write 1 and -1",
        ),
        (
            {"labels": [-100, 1]},
            "'labels' holds -100 at step 1; null marks a step that was not judged",
        ),
        (
            {"labels": [0.5, 1]},
            "'labels' holds 0.5 at step 1; labels are whole numbers, and shares go in "
            "'probabilities'",
        ),
        (
            {"probabilities": [1.5, 1]},
            "'probabilities' holds 1.5 at step 1; wanted the probability that the step is right, "
            "between 0 and 1, or null",
        ),
        (
            {"labels": None, "first_error": 2},
            "'first_error' is 2; wanted the index of the first wrong of 2 steps, from 0 to 1, "
            "or -1",
        ),
        (
            {"first_error": 1},
            "'first_error' is 1, but by 'labels' it is null; give one of them",
        ),
        (
            {"labels": [-1, 1], "first_error": -1},
            "'first_error' is -1, but by 'labels' it is 0; give one of them",
        ),
        (
            {"steps": None, "response": "a\n\nb\n\nc"},
            "'labels' has 2 entries, but 'response' is cut into 3 steps; give 'steps' instead",
        ),
        ({"steps": None}, "the row has neither 'steps' nor 'response'"),
        ({"steps": None, "response": " "}, "'response' is blank and has no steps"),
        ({"correct": "yes"}, "'correct' must be true, false or null, not \"yes\""),
        ({"answer": [4]}, "'answer' must be text or a number, not [4]"),
        ({"weight": -1}, "'weight' must be a finite number of at least 0, not -1"),
    ],
)
def test_bad_rows_say_what_is_wrong(refuses: Any, change: Any, message: str) -> None:
    refuses(ROW, {**ROW, **change}, message)


texts = st.text("ab $\n", min_size=1).filter(str.strip)
shares = st.one_of(st.none(), st.floats(0, 1))


@st.composite
def fields(draw: st.DrawFn) -> dict[str, Any]:
    steps = draw(st.lists(texts, min_size=1, max_size=4))
    size = len(steps)
    sized = {"min_size": size, "max_size": size}
    return {
        "prompt": (Message("user", draw(texts)),),
        "steps": tuple(steps),
        "labels": tuple(draw(st.lists(st.sampled_from([1, 0, -1, None]), **sized))),
        "probabilities": draw(st.one_of(st.none(), st.lists(shares, **sized).map(tuple))),
        "answer": draw(st.one_of(st.none(), texts)),
        "correct": draw(st.sampled_from([True, False, None])),
        "id": draw(st.sampled_from([None, "1"])),
        "subset": draw(st.sampled_from([None, "s"])),
        "annotator": draw(st.sampled_from([None, "ada"])),
        "weight": draw(st.sampled_from([1.0, 0.5])),
    }


@given(fields())
def test_written_solution_is_read_back(drawn: dict[str, Any]) -> None:
    solution = Solution(**drawn)
    assert assay_solution(to_row(solution)) == (solution,)
