"""Bisection names every first error, with no more probes than it may take."""

from __future__ import annotations

import math

import pytest

from assay.errors import DataError
from assay.feedback.first_error import Search, locate_first_error


@pytest.mark.parametrize("ends_known", [False, True])
@pytest.mark.parametrize("steps", range(1, 65))
def test_every_place_is_found_with_few_probes(steps: int, ends_known: bool) -> None:
    for error in (*range(steps), None):
        probed: list[int] = []

        def is_right(k: int, error: int | None = error, probed: list[int] = probed) -> bool:
            assert 1 <= k <= steps
            probed.append(k)
            return error is None or k <= error

        ends_right = (error is None) if ends_known else None
        found = locate_first_error(is_right, steps, ends_right=ends_right)
        assert found.first_error == error
        assert found.probes == len(probed) == len(set(probed))
        assert found.probes <= math.ceil(math.log2(steps + 1)) <= math.ceil(math.log2(steps)) + 1
        if ends_known:
            assert found.probes <= (math.ceil(math.log2(steps)) if error is not None else 0)


def test_a_search_goes_on_from_what_it_was_told() -> None:
    search = Search.over(7)
    assert search.next_probe == 4
    search = search.told(True)
    assert search.next_probe == 6
    search = search.told(False)
    assert (search.next_probe, search.probes) == (5, 2)
    search = search.told(True)
    assert (search.next_probe, search.first_error, search.probes) == (None, 5, 3)


def test_no_steps_are_refused() -> None:
    with pytest.raises(DataError, match="A solution of 0 steps has no first wrong one"):
        locate_first_error(lambda k: True, 0)
