"""Solutions are kept where two labellings name the same first error; the others are counted."""

from __future__ import annotations

import pytest

from assay.errors import DataError
from assay.feedback.consensus import consensus
from assay.types import Message, Solution

ASKED = (Message("user", "?"),)


def labelled(*labels: int | None, prompt: str = "?") -> Solution:
    steps = tuple(f"step {i}" for i in range(len(labels)))
    return Solution((Message("user", prompt),), steps, labels)


CASES = [
    ((1, 1, 1), (1, 0, 1), "kept"),
    ((1, -1, None), (1, -1, -1), "kept"),
    ((-1, 1, 1), (-1, None, None), "kept"),
    ((1, -1, None), (1, 1, -1), "disagreed"),
    ((1, -1, None), (1, 1, 1), "disagreed"),
    ((1, None, 1), (1, 1, 1), "unjudged"),
    ((None, None, None), (None, None, None), "unjudged"),
]


def test_each_solution_is_kept_or_counted_by_its_reason() -> None:
    first = [labelled(*a, prompt=str(i)) for i, (a, _, _) in enumerate(CASES)]
    second = [labelled(*b, prompt=str(i)) for i, (_, b, _) in enumerate(CASES)]
    found = consensus(first, second)
    assert found.kept == tuple(first[:3])
    assert (found.disagreed, found.unjudged) == (2, 2)
    other = consensus(second, first)
    assert [s.prompt for s in other.kept] == [s.prompt for s in found.kept]
    assert str(found) == (
        "3 of 7 solutions kept; dropped: 2 with another first error, "
        "2 that a labelling does not judge"
    )


def test_labellings_of_other_solutions_are_refused() -> None:
    with pytest.raises(DataError, match="One labelling has 1 solutions and the other 2"):
        consensus([labelled(1)], [labelled(1)] * 2)
    with pytest.raises(DataError, match="Solution 2 differs between the two labellings"):
        consensus([labelled(1)] * 2, [labelled(1), labelled(1, prompt="other")])
