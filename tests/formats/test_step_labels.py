"""Step labels: the first-error rule by hand, and against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.formats.fields import RowError
from assay.formats.step_labels import (
    first_error,
    labels,
    labels_of_first_error,
    labels_of_marks,
    labels_to_first_error,
    marks_of_error_steps,
    probabilities,
)


def test_steps_before_the_first_error_are_good_and_those_after_it_not_judged() -> None:
    assert labels_of_first_error(1, 4) == (1, -1, None, None)
    assert labels_of_first_error(1, 4, "bad") == (1, -1, -1, -1)
    assert labels_of_first_error(0, 2) == (-1, None)
    assert labels_of_first_error(3, 4) == (1, 1, 1, -1)
    assert labels_of_first_error(None, 3) == labels_of_first_error(None, 3, "bad") == (1, 1, 1)


@given(st.integers(1, 20).flatmap(lambda s: st.tuples(st.integers(-1, s - 1), st.just(s))))
def test_rule_bad_agrees_with_the_marks_suites_count_by(case: tuple[int, int]) -> None:
    label, steps = case
    first = first_error(label, steps, "label")
    marks = labels_to_first_error(label, steps)
    assert labels_of_first_error(first, steps, "bad") == labels_of_marks(marks)
    assert marks_of_error_steps([i + 1 for i, ok in enumerate(marks) if not ok], steps) == marks


@pytest.mark.parametrize("value", [None, -1])
def test_no_first_error(value: int | None) -> None:
    assert first_error(value, 3, "label") is None


def test_first_error_may_be_counted_from_one() -> None:
    assert first_error(3, 3, "step", start=1) == 2
    assert first_error(0, 3, "step") == 0


@pytest.mark.parametrize(
    ("value", "start"), [(3, 0), (-2, 0), (True, 0), (1.0, 0), ("1", 0), (0, 1), (4, 1)]
)
def test_first_error_that_names_no_step(value: object, start: int) -> None:
    with pytest.raises(RowError, match=r"^'label' is .*; wanted the index of the first wrong of 3"):
        first_error(value, 3, "label", start)


def test_labels_are_whole_numbers_or_null() -> None:
    assert labels([1, 0, -1, None]) == (1, 0, -1, None)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (True, "booleans are TRL's, in rows with 'completions'; write 1 and -1"),
        (-100, "null marks a step that was not judged"),
        (-100.0, "null marks a step that was not judged"),
        (0.5, "labels are whole numbers, and shares go in 'probabilities'"),
        (1.0, "labels are whole numbers, and shares go in 'probabilities'"),
        (2, "labels are 1 good, 0 neutral, -1 bad, and null not judged"),
        ("+", "labels are 1 good, 0 neutral, -1 bad, and null not judged"),
    ],
)
def test_other_labels_say_what_to_write(value: object, why: str) -> None:
    with pytest.raises(RowError, match=rf"'labels' holds .* at step 2; {why}$"):
        labels([1, value])


def test_probabilities_are_shares_or_null() -> None:
    assert probabilities([0, 0.25, None, 1]) == (0.0, 0.25, None, 1.0)
    for value in (-0.1, 1.5, float("nan"), True, "0.5"):
        with pytest.raises(RowError, match=r"'probabilities' holds .* at step 1; wanted the prob"):
            probabilities([value])
