"""Labels of steps: what may stand in a row, and what the index of the first wrong step says.

A step label is 1 good, 0 neutral, -1 bad, None not judged. Each function raises ``RowError``
saying what was wanted and what came; the reader adds the place.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Any

from assay.configs import AfterError
from assay.formats.fields import RowError, shown

Labels = tuple[int | None, ...]

GOOD, NEUTRAL, BAD = 1, 0, -1
LABEL_NAMES = {GOOD: "good", NEUTRAL: "neutral", BAD: "bad", None: "not judged"}


def labels_of_first_error(
    first: int | None, steps: int, after_error: AfterError = "unjudged"
) -> Labels:
    """Labels ``(S,)`` from the index of the first wrong step, None where no step is wrong.

    The steps before it are good, it is bad, and those after it are not judged: nobody says whether
    what follows from a wrong step is right. ``after_error="bad"`` calls them bad as well.
    """
    if first is None:
        return (GOOD,) * steps
    rest = BAD if after_error == "bad" else None
    return (*(GOOD,) * first, BAD, *(rest,) * (steps - first - 1))


def first_error(value: object, steps: int, key: str, start: int = 0) -> int | None:
    """The index of the first wrong step, counted in the row from ``start``; -1 and None say none.

    Raises:
        RowError: If there is no such step.
    """
    if value is None or (isinstance(value, int) and value == -1):
        return None
    if not _is_whole(value) or value not in range(start, start + steps):
        raise RowError(
            f"'{key}' is {shown(value)}; wanted the index of the first wrong of {steps} steps, "
            f"from {start} to {start + steps - 1}, or -1",
            f"bad '{key}'",
        )
    assert isinstance(value, int)
    return value - start


def labels_to_first_error(label: object, steps: int) -> tuple[bool, ...]:
    """Marks of steps from the index of the first wrong one (-1: none): wrong from there on.

    Raises:
        RowError: If there is no such step.
    """
    if not _is_whole(label) or label not in range(-1, steps):
        raise RowError(
            f"'label' is {label!r}; wanted the index of the first wrong of {steps} steps, or -1",
            "bad 'label'",
        )
    assert isinstance(label, int)
    return tuple(label < 0 or i < label for i in range(steps))


def marks_of_error_steps(errors: Sequence[Any], steps: int) -> tuple[bool, ...]:
    """Marks of steps from the numbers of the wrong ones, counted from 1.

    Raises:
        RowError: If a number names no step.
    """
    strange = [e for e in errors if not _is_whole(e) or e not in range(1, steps + 1)]
    if strange:
        raise RowError(
            f"'error_steps' holds {strange[0]!r}; wanted numbers from 1 to {steps}",
            "bad 'error_steps'",
        )
    return tuple(i + 1 not in errors for i in range(steps))


def labels_of_marks(marks: Sequence[bool]) -> Labels:
    """Labels from whether each step is right: good or bad."""
    return tuple(GOOD if mark else BAD for mark in marks)


def label(value: object, key: str, place: str) -> int | None:
    """One step label: 1, 0, -1, or None where the step was not judged.

    Args:
        place: Which step, in words.
    """
    if value is None or (_is_whole(value) and value in (GOOD, NEUTRAL, BAD)):
        assert value is None or isinstance(value, int)
        return value
    if isinstance(value, bool):
        why = "booleans are TRL's, in rows with 'completions'; write 1 and -1"
    elif value == -100:
        why = "null marks a step that was not judged"
    elif isinstance(value, float):
        why = "labels are whole numbers, and shares go in 'probabilities'"
    else:
        why = "labels are 1 good, 0 neutral, -1 bad, and null not judged"
    raise RowError(f"'{key}' holds {shown(value)} at {place}; {why}", f"bad '{key}'")


def labels(values: Sequence[Any], key: str = "labels") -> Labels:
    """Step labels of Assay's own rows, ``(S,)``."""
    return tuple(
        label(value, key, f"step {number}") for number, value in enumerate(values, start=1)
    )


def probabilities(values: Sequence[Any], key: str = "probabilities") -> tuple[float | None, ...]:
    """P(the step is right) for each step, ``(S,)``, None where it is not known."""
    for number, value in enumerate(values, start=1):
        if value is not None and not _is_share(value):
            raise RowError(
                f"'{key}' holds {shown(value)} at step {number}; wanted the probability that the "
                "step is right, between 0 and 1, or null",
                f"bad '{key}'",
            )
    return tuple(None if value is None else float(value) for value in values)


def check_count(values: Sequence[Any], steps: int, key: str) -> None:
    """Refuse a list that is longer or shorter than the steps."""
    if len(values) != steps:
        raise RowError(
            f"'{key}' has {len(values)} entries for {steps} steps; wanted one a step",
            f"as many '{key}' as steps",
        )


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_share(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return 0 <= float(value) <= 1  # not a number is neither
