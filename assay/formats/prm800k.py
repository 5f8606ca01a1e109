"""PRM800K (Lightman et al. 2023): the raw records of both phases, and one step a row.

A record of openai/prm800k holds, step by step, the candidates that were rated, and which of them,
or a step written by the annotator, the solution went on with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.formats.fields import Row, RowError, flag, items, name, shown, text
from assay.formats.solution_fields import (
    NotTaken,
    answer_of,
    asked,
    mapping,
    solution,
    steps_of,
    yes_or_no,
)
from assay.formats.step_labels import label
from assay.types import Solution

ANSWER_MARK = "# Answer\n"
"""What stands before the answer in the last step."""


@dataclass(frozen=True)
class _Rated:
    """A candidate step and its rating."""

    text: str
    rating: int | None


def prm800k(row: Row) -> Sequence[Solution]:
    """A raw record: the chain that was accepted, then every other candidate after its prefix.

    In the chain each step has its own rating; a step that the annotator wrote was not rated. Where
    nothing was accepted at the last step, its first candidate, which the model went on with, ends
    the chain. The prefix of another candidate has no labels, so that each rating is there once.
    The answer is right where labelling ended with "solution".
    """
    for key in ("is_quality_control_question", "is_initial_screening_question"):
        if flag(row, key):
            raise NotTaken(key.removeprefix("is_").replace("_", " "))
    judged = mapping(row, "label")
    chain, others = _chain(items(judged, "steps", least=0))
    if not chain:
        raise NotTaken("no steps")
    question = asked(mapping(row, "question"), "problem")
    finished = name(judged, "finish_reason") == "solution"
    annotator = name(row, "labeler")

    def as_solution(steps: Sequence[_Rated], correct: bool | None = None) -> Solution:
        return solution(
            row,
            question,
            [step.text for step in steps],
            tuple(step.rating for step in steps),
            answer=_answer(steps[-1].text),
            correct=correct,
            annotator=annotator,
        )

    found = [as_solution(chain, True if finished else None)]
    for place, other in others:
        prefix = [_Rated(step.text, None) for step in chain[:place]]
        found.append(as_solution([*prefix, other]))
    return found


def prm800k_step(row: Row) -> Sequence[Solution]:
    """One candidate a row: ``problem``, ``prefix`` (accepted steps), ``step`` and its ``rating``.

    The prefix has no labels: each of its steps has a row of its own.
    """
    prefix = steps_of(row, "prefix") if row.get("prefix") else ()
    last = _text(row, "step", "the step")
    rating = label(row["rating"], "rating", "the step")
    record = solution(
        row,
        asked(row, "problem"),
        (*prefix, last),
        (*(None,) * len(prefix), rating),
        answer=answer_of(row),
        correct=True if yes_or_no(row, "is_solution") else None,
    )
    return (record,)


def _chain(steps: Sequence[Any]) -> tuple[list[_Rated], list[tuple[int, _Rated]]]:
    """The accepted steps, and the other candidates with the number of steps before each."""
    chain: list[_Rated] = []
    others: list[tuple[int, _Rated]] = []
    for place, step in enumerate(steps):
        candidates = _candidates(step, place)
        written = step.get("human_completion")
        chosen = _chosen(step, len(candidates), place)
        if chosen is None and written is None and place < len(steps) - 1:
            raise RowError(
                f"nothing was accepted at step {place + 1} of {len(steps)}: "
                "'chosen_completion' and 'human_completion' are both null",
                "no accepted step",
            )
        if chosen is None and written is not None:
            chain.append(_Rated(_written(written, place), None))
        elif candidates:
            chosen = chosen or 0
            chain.append(candidates[chosen])
        others += [(place, other) for i, other in enumerate(candidates) if i != chosen]
    return chain, others


def _candidates(step: object, place: int) -> list[_Rated]:
    if not isinstance(step, dict):
        raise RowError(f"step {place + 1} must be an object, not {shown(step)}", "wrong type")
    found = []
    for number, candidate in enumerate(step.get("completions") or (), start=1):
        where = f"completion {number} of step {place + 1}"
        if not isinstance(candidate, dict):
            raise RowError(f"{where} must be an object, not {shown(candidate)}", "wrong type")
        rating = label(candidate.get("rating"), "rating", where)
        found.append(_Rated(_text(candidate, "text", where), rating))
    return found


def _chosen(step: Row, count: int, place: int) -> int | None:
    chosen = step.get("chosen_completion")
    if chosen is None:
        return None
    if isinstance(chosen, bool) or not isinstance(chosen, int) or chosen not in range(count):
        raise RowError(
            f"'chosen_completion' of step {place + 1} is {shown(chosen)}; wanted the index of one "
            f"of its {count} completions, or null",
            "bad 'chosen_completion'",
        )
    return chosen


def _written(written: object, place: int) -> str:
    where = f"the human completion of step {place + 1}"
    return _text(written if isinstance(written, dict) else {"text": written}, "text", where)


def _text(row: Row, key: str, where: str) -> str:
    value = row.get(key)
    if isinstance(value, str) and not value.strip():
        raise RowError(f"{where} is blank; every step says something", "blank step")
    return text(value, key)


def _answer(step: str) -> str | None:
    return step.partition(ANSWER_MARK)[2].strip() or None
