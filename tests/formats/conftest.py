"""What tests of solution formats share: rows read as lines of a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from assay.errors import DataError
from assay.formats.solutions import SolutionReader
from assay.formats.tally import Tally
from assay.types import Solution

Row = Mapping[str, Any]
Read = Callable[..., tuple[list[Solution], Tally]]


@pytest.fixture
def read_solutions() -> Read:
    """Reads rows given as lines of a file: the solutions, and the tally."""

    def read(*rows: Row, on_bad_row: Any = "error", after_error: Any = "unjudged") -> Any:
        tally = Tally()
        reader = SolutionReader("f.jsonl", "line", on_bad_row, tally, after_error)
        return [s for _, s in reader.solutions(enumerate(rows, start=1))], tally

    return read


@pytest.fixture
def one_solution(read_solutions: Read) -> Callable[..., Solution]:
    """The one solution of a row."""

    def one(row: Row, **settings: Any) -> Solution:
        (solution,), _ = read_solutions(row, **settings)
        return solution

    return one


@pytest.fixture
def refuses(read_solutions: Read) -> Callable[..., None]:
    """Checks that a row after a good one stops the reading with the message, or is counted once."""

    def check(good: Row, row: Row, message: str) -> None:
        advice = "Fix the line or pass --on-bad-row skip."
        with pytest.raises(DataError) as caught:
            read_solutions(good, row)
        assert str(caught.value) == f"f.jsonl line 2: {message}. {advice}"
        kept, tally = read_solutions(good, row, on_bad_row="skip")
        expected, _ = read_solutions(good)
        assert kept == expected
        assert sum(tally.dropped.values()) == 1
        assert tally.examples[0].where == "f.jsonl line 2"

    return check
