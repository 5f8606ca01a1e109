"""Published sets that name the first wrong step, or the wrong ones, of a solution.

ProcessBench (QwenLM), PRMBench (ssmisya), BIG-Bench-Mistake (Tyen et al. 2024), StepVerify
(Daheim et al. 2024) and MR-GSM8K (Zeng et al. 2024). Where only the first wrong step is named, the
steps before it are good, it is bad, and the rule ``after_error`` says what the later ones are.
"""

from __future__ import annotations

from collections.abc import Sequence

from assay.configs import AfterError
from assay.formats.fields import Row, RowError, items, name, required, shown, text
from assay.formats.solution_fields import answer_of, asked, solution, steps_of, yes_or_no
from assay.formats.step_labels import (
    Labels,
    first_error,
    labels_of_first_error,
    labels_of_marks,
    labels_to_first_error,
    marks_of_error_steps,
)
from assay.formats.steps import split_steps
from assay.types import Solution

NO_STEP = ("N/A", "", None)
"""How MR-GSM8K says that no step is the first wrong one."""


def processbench(row: Row, after_error: AfterError = "unjudged") -> Sequence[Solution]:
    """``problem``, ``steps``, ``label`` (the first wrong step from 0, or -1), ``id``.

    The subset is what its ids begin with: gsm8k-17.
    """
    steps = steps_of(row)
    marks = labels_to_first_error(required(row, "label"), len(steps))
    first = None if all(marks) else marks.index(False)
    id = name(row, "id")
    record = solution(
        row,
        asked(row, "problem"),
        steps,
        labels_of_first_error(first, len(steps), after_error),
        subset=name(row, "subset") or (id or "").rpartition("-")[0] or None,
        correct=yes_or_no(row, "final_answer_correct"),
    )
    return (record,)


def prmbench(row: Row) -> Sequence[Solution]:
    """``modified_question``, ``modified_process`` and the numbers of its wrong steps, from 1.

    Every step is judged: those that are not among ``error_steps`` are good.
    """
    steps = steps_of(row, "modified_process")
    marks = marks_of_error_steps(items(row, "error_steps", least=0), len(steps))
    record = solution(
        row,
        asked(row, "modified_question"),
        steps,
        labels_of_marks(marks),
        id=name(row, "idx"),
        subset=name(row, "classification"),
    )
    return (record,)


def bigbench_mistake(row: Row, after_error: AfterError = "unjudged") -> Sequence[Solution]:
    """``input``, ``steps``, ``mistake_index`` (from 0, null for none), ``answer``, ``target``.

    The answer is right if it is the target's text.
    """
    steps = steps_of(row)
    first = first_error(row["mistake_index"], len(steps), "mistake_index")
    answer, target = answer_of(row), answer_of(row, "target")
    known = answer is not None and target is not None
    record = solution(
        row,
        asked(row, "input"),
        steps,
        labels_of_first_error(first, len(steps), after_error),
        subset=name(row, "task"),
        answer=answer,
        correct=(answer or "").strip() == (target or "").strip() if known else None,
    )
    return (record,)


def stepverify(row: Row, after_error: AfterError = "unjudged") -> Sequence[Solution]:
    """``problem``, ``steps`` of a student and ``first_error``, from 0."""
    steps = steps_of(row)
    first = first_error(row["first_error"], len(steps), "first_error")
    given = labels_of_first_error(first, len(steps), after_error)
    return (solution(row, asked(row, "problem"), steps, given),)


def mr_gsm8k(row: Row, after_error: AfterError = "unjudged") -> Sequence[Solution]:
    """``question``, ``model_output_steps``, and the first wrong step, from 1, or "N/A".

    A solution that is called wrong without a first wrong step is not judged by step.
    """
    steps = _steps_or_text(row, "model_output_steps")
    answer = row.get("model_output_answer_correctness")
    record = solution(
        row,
        asked(row, "question"),
        steps,
        _mr_labels(row, len(steps), after_error),
        id=name(row, "uuid"),
        subset=name(row, "question_type"),
        correct=None if answer is None else _is_correct(answer, "model_output_answer_correctness"),
    )
    return (record,)


def _mr_labels(row: Row, steps: int, after_error: AfterError) -> Labels:
    key = "model_output_solution_first_error_step"
    value = row[key]
    if isinstance(value, str) and value.strip().isdecimal():
        value = int(value)
    first = None if value in NO_STEP else first_error(value, steps, key, start=1)
    verdict = row.get("model_output_solution_correctness")
    if verdict is None:
        return labels_of_first_error(first, steps, after_error)
    is_correct = _is_correct(verdict, "model_output_solution_correctness")
    if is_correct and first is not None:
        raise RowError(
            f"'{key}' is {shown(row[key])}, but 'model_output_solution_correctness' is "
            f"{shown(verdict)}",
            "correct with a wrong step",
        )
    if not is_correct and first is None:
        return (None,) * steps
    return labels_of_first_error(first, steps, after_error)


def _is_correct(value: object, key: str) -> bool:
    if not isinstance(value, str) or value.strip().lower() not in ("correct", "wrong"):
        raise RowError(f'\'{key}\' is {shown(value)}; wanted "correct" or "wrong"', f"bad '{key}'")
    return value.strip().lower() == "correct"


def _steps_or_text(row: Row, key: str) -> tuple[str, ...]:
    value = required(row, key)
    if not isinstance(value, str):
        return steps_of(row, key)
    if not value.strip():
        raise RowError(f"'{key}' is blank and has no steps", "no steps")
    return tuple(split_steps(text(value, key)))
