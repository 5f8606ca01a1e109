"""Published rows that label every step, or none: Math-Shepherd, TRL's, GSM8K's model solutions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from assay.formats.fields import Row, RowError, items, name, shown, text
from assay.formats.solution_fields import asked, solution, steps_of, yes_or_no
from assay.formats.step_labels import check_count, labels_of_marks
from assay.formats.steps import split_steps
from assay.types import Message, Solution

TAG = "ки"
"""What Math-Shepherd puts after each step."""

_FIRST_STEP = "Step 1:"
_ANSWER = re.compile(r"^(?:A:|####)\s*(.+?)\s*$", re.MULTILINE)


def is_tagged(row: Row) -> bool:
    """Whether the row's ``input`` has Math-Shepherd's tags."""
    return isinstance(row["input"], str) and TAG in row["input"]


def math_shepherd(row: Row) -> Sequence[Solution]:
    """``input``: question and steps, a tag after each; ``label``: the same with + or - for the tag.

    The question ends where the last "Step 1:" before the first tag begins; steps keep their
    numbers. Wang et al. 2024, as in peiyi9979/Math-Shepherd.
    """
    tagged, labelled = text(row["input"], "input"), text(row["label"], "label")
    marks = _marks(tagged, labelled)
    *parts, rest = tagged.split(TAG)
    if rest.strip():
        raise RowError(f"'input' goes on after its last tag {TAG!r}", "text after the last tag")
    question, found, first = parts[0].rpartition(_FIRST_STEP)
    if not found:
        raise RowError(
            f"'input' has no {_FIRST_STEP!r} before its first tag {TAG!r}; there the steps begin",
            "no first step",
        )
    if not question.strip():
        raise RowError(f"'input' has no question before {_FIRST_STEP!r}", "empty text")
    record = solution(
        row,
        (Message("user", question.strip()),),
        steps_of({"input": [part.strip() for part in (found + first, *parts[1:])]}, "input"),
        labels_of_marks(marks),
        subset=name(row, "task"),
    )
    return (record,)


def trl_stepwise(row: Row) -> Sequence[Solution]:
    """``prompt``, ``completions`` (the steps) and ``labels``, true or false for each."""
    steps = steps_of(row, "completions")
    marks = items(row, "labels", least=0)
    check_count(marks, len(steps), "labels")
    for number, mark in enumerate(marks, start=1):
        if not isinstance(mark, bool):
            raise RowError(
                f"'labels' holds {shown(mark)} at step {number}; beside 'completions' wanted true "
                "or false (1, 0 and -1 go beside 'steps')",
                "bad 'labels'",
            )
    return (solution(row, asked(row, "prompt"), steps, labels_of_marks(marks)),)


def gsm8k_solutions(row: Row) -> Sequence[Solution]:
    """``question`` and ``solutions``: objects with ``solution`` (or ``text``) and ``is_correct``.

    One solution each, cut into steps, none of them judged. The answer is what stands after "A:" or
    "####"; the model that wrote it is the subset.
    """
    question, id = asked(row, "question"), name(row, "id")
    found = []
    for place, given in enumerate(items(row, "solutions"), start=1):
        if not isinstance(given, dict):
            raise RowError(f"solution {place} must be an object, not {shown(given)}", "wrong type")
        key = "solution" if "solution" in given else "text"
        if isinstance(given.get(key), str) and not given[key].strip():
            raise RowError(f"solution {place} is blank and has no steps", "no steps")
        steps = split_steps(text(given.get(key), key))
        answers = _ANSWER.findall(given[key])
        model = name(given, "model")
        found.append(
            solution(
                row,
                question,
                steps,
                (None,) * len(steps),
                id=None if id is None else f"{id}-{model or place}",
                subset=model,
                answer=answers[-1] if answers else None,
                correct=yes_or_no(given, "is_correct"),
            )
        )
    return found


def _marks(tagged: str, labelled: str) -> list[bool]:
    """Whether each tag stands for + or -, which is one character shorter."""
    marks = []
    for number, found in enumerate(re.finditer(TAG, tagged)):
        at = found.start() - number * (len(TAG) - 1)
        mark = labelled[at : at + 1]
        if mark not in ("+", "-"):
            raise RowError(
                f"'label' has {shown(mark)} in the place of tag {number + 1}; wanted + or -",
                "bad 'label'",
            )
        marks.append(mark == "+")
    return marks
