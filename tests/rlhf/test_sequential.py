"""Sequential tests: the stream equals the simulation, and rates hold over whole runs."""

from __future__ import annotations

import json
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assay.rlhf.sequential import (
    LONGEST,
    DropTest,
    ShiftTest,
    drop_null,
    p_value,
    penalty,
    shift_null,
    window_sizes,
)
from assay.rlhf.signals import Point

SIZES = (3, 6, 12)


def drops(means: NDArray[np.float64], tolerance: float = 0.0) -> list[float]:
    """The largest statistic at every step, with errors of 1."""
    test = DropTest(SIZES, len(means), tolerance)
    found = [test.add(i, Point(float(m), 1.0, 9)) for i, m in enumerate(means, start=1)]
    return [max((d.statistic for d in each), default=-np.inf) for each in found]


def by_definition(means: NDArray[np.float64], size: int) -> float:
    """The largest drop between two windows that do not overlap, by trying all."""
    windows = [float(np.mean(means[i : i + size])) for i in range(len(means) - size + 1)]
    return max(
        max(windows[: i - size + 1]) - windows[i] for i in range(size, len(windows))
    ) / np.sqrt(2 / size) - penalty(len(means), size, 2)


def test_the_statistic_is_that_of_the_definition() -> None:
    means = np.random.default_rng(1).standard_normal(60)
    assert max(drops(means)) == pytest.approx(max(by_definition(means, s) for s in SIZES))


def test_the_simulation_computes_what_the_stream_does() -> None:
    rng = np.random.default_rng([40, 7])
    means, squares = rng.standard_normal((5, 40)), rng.chisquare(7, (5, 40)) / 7
    expected_drops, expected_shifts = [], []
    for row, errors in zip(means, squares, strict=True):
        test = DropTest(SIZES, 40, 0.0)
        shift = ShiftTest(SIZES, 40, 0.0, 0.0, is_above=True)
        points = [Point(m, v, 8) for m, v in zip(row.tolist(), errors.tolist(), strict=True)]
        found = [d.statistic for i, p in enumerate(points) for d in test.add(i, p)]
        expected_drops.append(max(found))
        expected_shifts.append(max(s for i, p in enumerate(points) for s, _, _ in shift.add(i, p)))
    assert drop_null(40, 7, SIZES, 5) == pytest.approx(sorted(expected_drops))
    assert shift_null(40, 7, SIZES, 5) == pytest.approx(sorted(expected_shifts))


@settings(max_examples=50)
@given(st.lists(st.floats(0, 0.5), min_size=30, max_size=30), st.integers(0, 1000))
def test_a_rising_series_falls_less_than_one_that_stands_still(
    rises: list[float], seed: int
) -> None:
    """Step by step, with the same errors: so the simulated rate is an upper bound."""
    noise = np.random.default_rng(seed).standard_normal(30)
    still, rising = drops(noise), drops(noise + np.cumsum(rises))
    assert all(r <= s + 1e-9 for r, s in zip(rising, still, strict=True))


@settings(max_examples=50)
@given(st.lists(st.floats(-0.5, 0.5), min_size=30, max_size=30), st.integers(0, 1000))
def test_falls_within_the_tolerance_count_no_more_than_none(waves: list[float], seed: int) -> None:
    """A mean between −0.5 and 0.5 is never more than 1 below what it was."""
    noise = np.random.default_rng(seed).standard_normal(30)
    still, waving = drops(noise), drops(noise + np.array(waves), tolerance=1.0)
    assert all(w <= s + 1e-9 for w, s in zip(waving, still, strict=True))


@pytest.mark.parametrize("null", [drop_null, shift_null])
def test_rates_hold_over_whole_runs(null: Callable[..., NDArray[np.float64]]) -> None:
    """P-values of fresh runs, at their end: 5 % are at most 0.05, and 20 % at most 0.2."""
    simulated = null(80, 15, SIZES)
    fresh = null(80, 16, SIZES, 1500)  # another stream; one degree of freedom is no difference
    p = np.array([p_value(s, simulated) for s in fresh])
    assert np.mean(p <= 0.05) == pytest.approx(0.05, abs=0.02)
    assert np.mean(p <= 0.2) == pytest.approx(0.2, abs=0.04)


def test_p_values_count_simulated_runs() -> None:
    null = np.array([1.0, 2.0, 3.0])
    assert [p_value(s, null) for s in (0.0, 2.0, 2.5, 9.0)] == [1.0, 0.75, 0.5, 0.25]
    assert p_value(float("inf"), null) == 0.25
    assert p_value(float("-inf"), null) == 1.0


def test_windows_double_up_to_a_quarter_of_the_run() -> None:
    assert window_sizes(3, 100, 63) == (3, 6, 12, 24)
    assert window_sizes(3, 10, 63) == (3,)
    assert window_sizes(3, 100, 3) == (7, 14)  # 7 steps have 21 degrees of freedom
    assert max(window_sizes(3, 100_000, 63)) <= LONGEST


def test_a_shift_is_measured_from_a_level_with_an_error() -> None:
    test = ShiftTest((2,), 2, 10.0, 3.0, is_above=True)
    assert test.add(1, Point(12.0, 2.0, 5)) == []
    ((statistic, size, window),) = test.add(2, Point(16.0, 2.0, 5))
    # mean 14, its squared error (2 + 2) / 4, of the level 3; a window as long as the run
    assert (statistic, size, window.mean) == pytest.approx((4 / 2, 2, 14.0))
    below = ShiftTest((2,), 2, 10.0, 0.0, is_above=False)
    below.add(1, Point(9.0, 0.0, 5))
    assert below.add(2, Point(9.0, 0.0, 5))[0][0] == np.inf  # certain, for nothing varies
    above = ShiftTest((2,), 2, 9.0, 0.0, is_above=True)
    above.add(1, Point(9.0, 0.0, 5))
    assert above.add(2, Point(9.0, 0.0, 5))[0][0] == -np.inf


def test_a_test_goes_on_from_its_state_as_if_it_had_not_stopped() -> None:
    rng = np.random.default_rng(3)
    points = [Point(*row, 9) for row in rng.chisquare(5, (60, 2)).tolist()]
    whole, first, second = (DropTest(SIZES, 60, 0.1) for _ in range(3))
    expected = [whole.add(i, p, points[-1 - i]) for i, p in enumerate(points)]
    found = [first.add(i, p, points[-1 - i]) for i, p in enumerate(points[:35])]
    second.restore(json.loads(json.dumps(first.state())))
    found += [second.add(i, p, points[-1 - i]) for i, p in enumerate(points) if i >= 35]
    assert found == expected
