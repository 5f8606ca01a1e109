"""Sets that name wrong steps: each format by hand, with both rules for what follows an error."""

from __future__ import annotations

from typing import Any

import pytest

PROCESSBENCH = {
    "id": "gsm8k-17",
    "generator": "some-model",
    "problem": "How many legs have 3 cats?",
    "steps": ["A cat has 4.", "3 + 4 = 7.", "So 7."],
    "final_answer_correct": False,
    "label": 1,
}
PRMBENCH = {
    "original_question": "How many?",
    "modified_question": "How many legs?",
    "original_process": ["x"],
    "modified_process": ["A cat has 4.", "3 + 4 = 7.", "3 * 4 = 12."],
    "modified_steps": [2],
    "error_steps": [2],
    "idx": "circular_p1_0",
    "classification": "circular",
}
MISTAKE = {
    "id": "t-0",
    "task": "tracking",
    "input": "Who has the ball?",
    "steps": ["Ada has it.", "Bob has it."],
    "mistake_index": 1,
    "answer": " (C)",
    "target": "(C)",
}
STUDENT = {
    "id": 4,
    "problem": "How many legs have 3 cats?",
    "reference": "12",
    "steps": ["A cat has 4.", "3 + 4 = 7.", " 7"],
    "first_error": 1,
}
GRADED = {
    "uuid": "u-1",
    "question": "How many legs have 3 cats?",
    "question_type": "original",
    "model_output_steps": ["Step 1: A cat has 4.", "Step 2: 3 + 4 = 7."],
    "model_output_answer_correctness": "wrong",
    "model_output_solution_correctness": "wrong",
    "model_output_solution_first_error_step": 2,
}


def test_processbench(one_solution: Any) -> None:
    solution = one_solution(PROCESSBENCH)
    assert solution.prompt[0].content == "How many legs have 3 cats?"
    assert solution.steps == ("A cat has 4.", "3 + 4 = 7.", "So 7.")
    assert (solution.labels, solution.correct) == ((1, -1, None), False)
    assert (solution.id, solution.subset, solution.first_error) == ("gsm8k-17", "gsm8k", 1)
    assert one_solution(PROCESSBENCH, after_error="bad").labels == (1, -1, -1)
    assert one_solution({**PROCESSBENCH, "label": -1}).labels == (1, 1, 1)
    assert one_solution({**PROCESSBENCH, "id": None}).subset is None


def test_prmbench_judges_every_step(one_solution: Any) -> None:
    solution = one_solution(PRMBENCH)
    assert solution.prompt[0].content == "How many legs?"
    assert solution.labels == (1, -1, 1)
    assert (solution.id, solution.subset) == ("circular_p1_0", "circular")
    assert one_solution({**PRMBENCH, "error_steps": []}).labels == (1, 1, 1)


def test_bigbench_mistake(one_solution: Any) -> None:
    solution = one_solution(MISTAKE)
    assert (solution.labels, solution.correct, solution.answer) == ((1, -1), True, " (C)")
    assert (solution.id, solution.subset) == ("t-0", "tracking")
    sound = one_solution({**MISTAKE, "mistake_index": None, "answer": "(A)"})
    assert (sound.labels, sound.correct) == ((1, 1), False)
    assert one_solution({**MISTAKE, "target": None}).correct is None


def test_stepverify(one_solution: Any) -> None:
    solution = one_solution(STUDENT)
    assert (solution.labels, solution.id) == ((1, -1, None), "4")
    assert solution.steps[2] == " 7"


def test_mr_gsm8k_counts_steps_from_one(one_solution: Any) -> None:
    solution = one_solution(GRADED)
    assert (solution.labels, solution.correct) == ((1, -1), False)
    assert (solution.id, solution.subset) == ("u-1", "original")
    first = "model_output_solution_first_error_step"
    assert one_solution({**GRADED, first: "1"}).labels == (-1, None)
    assert one_solution({**GRADED, first: "1"}, after_error="bad").labels == (-1, -1)


def test_mr_gsm8k_without_a_wrong_step(one_solution: Any) -> None:
    row = {**GRADED, "model_output_solution_first_error_step": "N/A"}
    assert one_solution(row).labels == (None, None)
    assert one_solution({**row, "model_output_solution_correctness": "correct"}).labels == (1, 1)
    assert one_solution({**row, "model_output_solution_correctness": None}).labels == (1, 1)
    assert one_solution({**row, "model_output_answer_correctness": "correct"}).correct is True


def test_mr_gsm8k_may_have_its_steps_as_text(one_solution: Any) -> None:
    row = {**GRADED, "model_output_steps": "Step 1: A cat has 4.\nStep 2: 3 + 4 = 7."}
    assert one_solution(row).steps == tuple(GRADED["model_output_steps"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("good", "change", "message"),
    [
        (
            PROCESSBENCH,
            {"label": 3},
            "'label' is 3; wanted the index of the first wrong of 3 steps, or -1",
        ),
        (PROCESSBENCH, {"label": None}, "'label' is missing"),
        (PRMBENCH, {"error_steps": [0]}, "'error_steps' holds 0; wanted numbers from 1 to 3"),
        (
            MISTAKE,
            {"mistake_index": 2},
            "'mistake_index' is 2; wanted the index of the first wrong of 2 steps, from 0 to 1, "
            "or -1",
        ),
        (
            STUDENT,
            {"first_error": "1"},
            "'first_error' is \"1\"; wanted the index of the first wrong of 3 steps, from 0 to 2, "
            "or -1",
        ),
        (
            GRADED,
            {"model_output_solution_first_error_step": 0},
            "'model_output_solution_first_error_step' is 0; wanted the index of the first wrong "
            "of 2 steps, from 1 to 2, or -1",
        ),
        (
            GRADED,
            {"model_output_solution_correctness": "correct"},
            "'model_output_solution_first_error_step' is 2, but "
            "'model_output_solution_correctness' is \"correct\"",
        ),
        (
            GRADED,
            {"model_output_solution_correctness": True},
            '\'model_output_solution_correctness\' is true; wanted "correct" or "wrong"',
        ),
        (GRADED, {"model_output_steps": " "}, "'model_output_steps' is blank and has no steps"),
    ],
)
def test_bad_rows_say_what_is_wrong(refuses: Any, good: Any, change: Any, message: str) -> None:
    refuses(good, {**good, **change}, message)
