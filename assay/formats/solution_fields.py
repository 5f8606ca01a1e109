"""Fields of a row that holds a solution, checked, and the record made of them.

Each function raises ``RowError`` saying what was wanted and what came; the reader adds the place.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.formats.fields import Row, RowError, name, number, prompt, required, shown, text
from assay.formats.step_labels import Labels, check_count
from assay.types import Messages, Solution


class NotTaken(Exception):
    """A row that is as it should be but is no solution to learn from, and why: it is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def asked(row: Row, key: str) -> Messages:
    """The prompt a solution answers."""
    try:
        return prompt(row, key)
    except RowError as error:
        if error.reason != "empty text":
            raise
        raise RowError(
            f"'{key}' is empty; every solution answers a prompt", "empty text"
        ) from error


def steps_of(row: Row, key: str = "steps") -> tuple[str, ...]:
    """The steps of a solution, none of them blank."""
    value = required(row, key)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RowError(f"'{key}' must be a list of texts, not {shown(value)}", "wrong type")
    if not value:
        raise RowError(f"'{key}' has no steps; a solution has one or more", "no steps")
    for place, step in enumerate(value, start=1):
        if isinstance(step, str) and not step.strip():
            raise RowError(
                f"step {place} of {len(value)} in '{key}' is blank; every step says something",
                "blank step",
            )
        if not isinstance(step, str):
            raise RowError(
                f"'{key}' must be a list of texts, but step {place} is {shown(step)}", "wrong type"
            )
    text("\n".join(value), key)  # all at once: a file may have millions of steps
    return tuple(value)


def mapping(row: Row, key: str) -> Row:
    """A field that holds named fields."""
    value = required(row, key)
    if not isinstance(value, dict):
        raise RowError(
            f"'{key}' must be an object with named fields, not {shown(value)}", "wrong type"
        )
    return value


def yes_or_no(row: Row, key: str) -> bool | None:
    """True or false, or None where the field is missing or null."""
    value = row.get(key)
    if value is not None and not isinstance(value, bool):
        raise RowError(f"'{key}' must be true, false or null, not {shown(value)}", "wrong type")
    return value


def answer_of(row: Row, key: str = "answer") -> str | None:
    """A final answer as text, given as text or as a number, or None."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise RowError(f"'{key}' must be text or a number, not {shown(value)}", "wrong type")
    return str(value)


def solution(
    row: Row, asked: Messages, steps: Sequence[str], labels: Labels, **fields: Any
) -> Solution:
    """The record, with what every format may carry besides.

    Args:
        fields: By ``Solution``'s names, in place of what the row has under them.
    """
    check_count(labels, len(steps), "labels")
    common = {
        "id": name(row, "id"),
        "subset": name(row, "subset"),
        "annotator": name(row, "annotator"),
        "weight": number(row, "weight", 1.0, low=0.0),
    }
    return Solution(prompt=asked, steps=tuple(steps), labels=labels, **{**common, **fields})
