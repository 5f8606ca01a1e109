"""PRM800K: raw records of both phases by hand, and one step a row."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest


def rated(*candidates: tuple[str, int | None], chosen: int | None = None, human: Any = None) -> Any:
    return {
        "completions": [{"text": t, "rating": r, "flagged": None} for t, r in candidates],
        "human_completion": human,
        "chosen_completion": chosen,
    }


def record(*steps: Any, finish: str = "solution", **fields: Any) -> dict[str, Any]:
    return {
        "labeler": "ada",
        "timestamp": "2022-07-30",
        "generation": None,
        "is_quality_control_question": False,
        "is_initial_screening_question": False,
        "question": {"problem": "2 + 2?", "ground_truth_answer": "4"},
        "label": {"steps": list(steps), "total_time": 1, "finish_reason": finish},
        **fields,
    }


def judged(solutions: Any) -> list[Any]:
    return [(s.steps, s.labels) for s in solutions]


PHASE_1 = record(
    rated(("a", 1), ("b", 0), ("c", -1), chosen=0),
    rated(("d", -1), human={"text": "h", "rating": None, "source": "human"}),
    rated(("So.\n\n# Answer\n\n4", 1), ("e", None), chosen=0),
)


def test_chain_comes_first_and_every_other_candidate_after_its_prefix(read_solutions: Any) -> None:
    found, tally = read_solutions(PHASE_1)
    end = "So.\n\n# Answer\n\n4"
    assert judged(found) == [
        (("a", "h", end), (1, None, 1)),
        (("b",), (0,)),
        (("c",), (-1,)),
        (("a", "d"), (None, -1)),
        (("a", "h", "e"), (None, None, None)),
    ]
    assert [s.correct for s in found] == [True, None, None, None, None]
    assert [s.answer for s in found] == ["4", None, None, None, None]
    assert {s.annotator for s in found} == {"ada"}
    assert found[0].prompt[0].content == "2 + 2?"
    assert tally.formats == {"PRM800K": 1}


def test_every_rating_is_there_once(read_solutions: Any) -> None:
    found, _ = read_solutions(PHASE_1)
    ratings = Counter(
        c["rating"] for step in PHASE_1["label"]["steps"] for c in step["completions"]
    )
    given = Counter(label for s in found for label in s.labels)
    assert {k: given[k] for k in (1, 0, -1)} == {k: ratings[k] for k in (1, 0, -1)}


def test_phase_2_ends_with_the_step_the_model_went_on_with(read_solutions: Any) -> None:
    row = record(rated(("a", 1), chosen=0), rated(("b", -1), ("c", 0)), finish="found_error")
    found, _ = read_solutions(row)
    assert judged(found) == [(("a", "b"), (1, -1)), (("a", "c"), (None, 0))]
    assert [s.correct for s in found] == [None, None]
    assert found[0].first_error == 1


def test_given_up_before_a_candidate(read_solutions: Any) -> None:
    empty = {"completions": None, "human_completion": None, "chosen_completion": None}
    found, _ = read_solutions(record(rated(("a", 1), chosen=0), empty, finish="give_up"))
    assert judged(found) == [(("a",), (1,))]


def test_human_step_may_be_text(read_solutions: Any) -> None:
    found, _ = read_solutions(record(rated(human="h")))
    assert judged(found) == [(("h",), (None,))]


def test_rows_for_control_are_counted_and_left_out(read_solutions: Any) -> None:
    rows = [
        PHASE_1,
        {**PHASE_1, "is_quality_control_question": True},
        {**PHASE_1, "is_initial_screening_question": True},
        record(finish="bad_problem"),
    ]
    found, tally = read_solutions(*rows)
    assert len(found) == 5
    assert tally.rows == 4
    assert tally.dropped == {
        "quality control question": 1,
        "initial screening question": 1,
        "no steps": 1,
    }


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            record(rated(("a", 1)), rated(("b", 1), chosen=0)),
            "nothing was accepted at step 1 of 2: 'chosen_completion' and 'human_completion' are "
            "both null",
        ),
        (
            record(rated(("a", 1), chosen=1)),
            "'chosen_completion' of step 1 is 1; wanted the index of one of its 1 completions, "
            "or null",
        ),
        (
            record(rated(("a", 2), chosen=0)),
            "'rating' holds 2 at completion 1 of step 1; labels are 1 good, 0 neutral, -1 bad, "
            "and null not judged",
        ),
        (
            record(rated(("a", 1), (" ", 1), chosen=0)),
            "completion 2 of step 1 is blank; every step says something",
        ),
        (
            record(rated(human=" ")),
            "the human completion of step 1 is blank; every step says something",
        ),
        (
            record(rated(("a", 1), chosen=0), question="2 + 2?"),
            "'question' must be an object with named fields, not \"2 + 2?\"",
        ),
        (record("a"), 'step 1 must be an object, not "a"'),
        (
            record({"completions": ["a"]}),
            'completion 1 of step 1 must be an object, not "a"',
        ),
        (
            record(rated(("a", 1), chosen=0), question={"problem": " "}),
            "'problem' is empty; every solution answers a prompt",
        ),
    ],
)
def test_bad_records_say_what_is_wrong(refuses: Any, row: Any, message: str) -> None:
    refuses(PHASE_1, row, message)


FLAT = {"problem": "2 + 2?", "prefix": ["a", "b"], "step": "c", "rating": -1, "is_solution": False}


def test_one_step_a_row(one_solution: Any) -> None:
    solution = one_solution(FLAT)
    assert (solution.steps, solution.labels) == (("a", "b", "c"), (None, None, -1))
    assert (solution.answer, solution.correct) == (None, None)
    last = one_solution({**FLAT, "prefix": [], "rating": None, "answer": "4", "is_solution": True})
    assert (last.steps, last.labels, last.answer, last.correct) == (("c",), (None,), "4", True)


def test_bad_flat_rows_say_what_is_wrong(refuses: Any) -> None:
    refuses(FLAT, {**FLAT, "step": ""}, "the step is blank; every step says something")
    refuses(
        FLAT,
        {**FLAT, "prefix": ["a", ""]},
        "step 2 of 2 in 'prefix' is blank; every step says something",
    )
    refuses(
        FLAT,
        {**FLAT, "rating": 0.5},
        "'rating' holds 0.5 at the step; labels are whole numbers, and shares go in "
        "'probabilities'",
    )
