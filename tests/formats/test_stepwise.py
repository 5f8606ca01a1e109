"""Math-Shepherd, TRL's stepwise rows and GSM8K's model solutions, by hand."""

from __future__ import annotations

from typing import Any

import pytest

SHEPHERD = {
    "input": "How many legs have 3 cats? Step 1: A cat has 4. ки\nStep 2: 3 + 4 = 7. ки",
    "label": "How many legs have 3 cats? Step 1: A cat has 4. +\nStep 2: 3 + 4 = 7. -",
    "task": "GSM8K",
}
STEPWISE = {"prompt": "2 + 2?", "completions": ["Two and two.", "So 5."], "labels": [True, False]}
SAMPLED = {
    "id": "test-0",
    "question": "How many legs have 3 cats?",
    "ground_truth": "12",
    "solutions": [
        {"model": "small", "is_correct": False, "solution": "A cat has 4.\n3 + 4 = 7.\nA: 7"},
        {"model": "large", "is_correct": True, "text": "3 * 4 = <<3*4=12>>12\n#### 12"},
        {"text": "I do not know"},
    ],
}


def test_math_shepherd(one_solution: Any) -> None:
    solution = one_solution(SHEPHERD)
    assert solution.prompt[0].content == "How many legs have 3 cats?"
    assert solution.steps == ("Step 1: A cat has 4.", "Step 2: 3 + 4 = 7.")
    assert (solution.labels, solution.subset) == ((1, -1), "GSM8K")


def test_question_of_math_shepherd_may_name_its_own_first_step(one_solution: Any) -> None:
    row = {key: f"Step 1: of a plan. {value}" for key, value in SHEPHERD.items()}
    solution = one_solution(row)
    assert solution.prompt[0].content == "Step 1: of a plan. How many legs have 3 cats?"
    assert solution.steps[0] == "Step 1: A cat has 4."


def test_trl_rows(one_solution: Any) -> None:
    solution = one_solution(STEPWISE)
    assert (solution.steps, solution.labels) == (("Two and two.", "So 5."), (1, -1))


def test_model_solutions_are_one_solution_each(read_solutions: Any) -> None:
    found, tally = read_solutions(SAMPLED)
    assert [s.steps for s in found] == [
        ("A cat has 4.", "3 + 4 = 7.", "A: 7"),
        ("3 * 4 = <<3*4=12>>12", "#### 12"),
        ("I do not know",),
    ]
    assert [s.correct for s in found] == [False, True, None]
    assert [s.answer for s in found] == ["7", "12", None]
    assert [s.id for s in found] == ["test-0-small", "test-0-large", "test-0-3"]
    assert [s.subset for s in found] == ["small", "large", None]
    assert all(label is None for s in found for label in s.labels)
    assert tally.formats == {"GSM8K model solutions": 1}


@pytest.mark.parametrize(
    ("good", "change", "message"),
    [
        (
            SHEPHERD,
            {"label": SHEPHERD["label"].replace("-", "?")},
            "'label' has \"?\" in the place of tag 2; wanted + or -",
        ),
        (SHEPHERD, {"label": "+"}, "'label' has \"\" in the place of tag 1; wanted + or -"),
        (
            SHEPHERD,
            {"input": SHEPHERD["input"] + " more"},
            "'input' goes on after its last tag 'ки'",
        ),
        (
            SHEPHERD,
            {"input": "Q ки\nStep 1: a ки", "label": "Q +\nStep 1: a +"},
            "'input' has no 'Step 1:' before its first tag 'ки'; there the steps begin",
        ),
        (
            SHEPHERD,
            {"input": " Step 1: a ки", "label": " Step 1: a +"},
            "'input' has no question before 'Step 1:'",
        ),
        (
            SHEPHERD,
            {"input": "Q Step 1: a ки ки", "label": "Q Step 1: a + +"},
            "step 2 of 2 in 'input' is blank; every step says something",
        ),
        (
            STEPWISE,
            {"labels": [True, 0]},
            "'labels' holds 0 at step 2; beside 'completions' wanted true or false (1, 0 and -1 "
            "go beside 'steps')",
        ),
        (STEPWISE, {"labels": [True]}, "'labels' has 1 entries for 2 steps; wanted one a step"),
        (SAMPLED, {"solutions": ["a"]}, 'solution 1 must be an object, not "a"'),
        (SAMPLED, {"solutions": [{"text": " "}]}, "solution 1 is blank and has no steps"),
        (SAMPLED, {"solutions": [{"model": "small"}]}, "'text' must be text, not null"),
    ],
)
def test_bad_rows_say_what_is_wrong(refuses: Any, good: Any, change: Any, message: str) -> None:
    refuses(good, {**good, **change}, message)
