"""Reading solutions: formats told apart by their keys, and what fits none."""

from __future__ import annotations

from typing import Any

import pytest

from assay.errors import DataError
from assay.formats.solutions import solution_shapes

ROW = {"prompt": "2 + 2?", "steps": ["So 4."]}


def test_a_file_holds_one_format(read_solutions: Any) -> None:
    other = {"prompt": "Q", "completions": ["a"], "labels": [True]}
    with pytest.raises(DataError) as caught:
        read_solutions(ROW, other, on_bad_row="skip")
    assert str(caught.value) == (
        "f.jsonl line 2 reads as 'TRL stepwise', but line 1 as 'Assay solution'; split the file "
        "into one for each format."
    )


def test_rows_with_steps_and_rows_with_a_response_are_one_format(read_solutions: Any) -> None:
    found, tally = read_solutions(ROW, {"prompt": "Q", "response": "a"})
    assert [s.steps for s in found] == [("So 4.",), ("a",)]
    assert tally.formats == {"Assay solution": 2}


def test_a_later_row_without_a_key_says_which(refuses: Any) -> None:
    refuses(
        ROW,
        {"steps": ["a"]},
        "'prompt' is missing; a row of 'Assay solution' has 'prompt', 'steps'",
    )


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"prompt": "Q", "chosen": "a", "rejected": "b"},
            "the row is of a preference pair; a solution has 'prompt' and 'steps'",
        ),
        ({"steps": ["a"]}, "'prompt' is missing; a solution has 'prompt' and 'steps'"),
        (
            {"prompt": "Q", "labels": [1]},
            "the row has 'prompt' but neither 'steps' nor 'response'; a solution has one of them",
        ),
        ({"a": 1}, "its keys ('a') fit no format of solutions; 'prompt' and 'steps' do"),
        ({}, "its keys (none) fit no format of solutions; 'prompt' and 'steps' do"),
        (
            {"input": "no tag", "label": "no tag"},
            "its keys ('input', 'label') fit no format of solutions; 'prompt' and 'steps' do",
        ),
    ],
)
def test_first_row_of_no_format(read_solutions: Any, row: Any, message: str) -> None:
    with pytest.raises(DataError) as caught:
        read_solutions(row)
    assert str(caught.value) == f"f.jsonl line 1: {message}. docs/formats.md lists the formats."


def test_nothing_at_all_is_an_error(read_solutions: Any) -> None:
    with pytest.raises(DataError, match=r"^f.jsonl is empty; a file of solutions has one or more"):
        read_solutions()


def test_formats_are_told_apart_by_their_keys() -> None:
    """No row that has just one format's keys fits an earlier one's."""
    shapes = solution_shapes()
    plain = [shape for shape in shapes if shape.name not in ("PRM800K", "Math-Shepherd")]
    for shape in plain:
        row = dict.fromkeys(shape.keys)
        assert next(s for s in plain if s.fits(row)) == shape
