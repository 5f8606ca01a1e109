"""Value and property: weighted sums of a run's steps, their errors, and areas under a curve."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evaluation.policy_values import (
    Value,
    difference,
    even,
    gains_of,
    height,
    last,
    mean_of,
    ratio_of,
    weigh,
)
from assay.stats.estimates import Estimate


def test_gains_are_over_the_reference_in_its_units() -> None:
    gains = gains_of(np.array([3.0, np.nan, 5.0, 7.0]), np.array([1.0, 3.0]), 2.0)
    assert gains.value[[0, 2, 3]] == pytest.approx([0.5, 1.5, 2.5])
    assert gains.known.tolist() == [True, False, True, True]
    # by hand: neighbours differ by 1 and 1, so σ² = 2/4; the reference is a mean of two
    assert gains.noise == pytest.approx(0.5**0.5)
    assert gains.reference_error == pytest.approx(0.5)


def test_what_is_watched_has_no_reference() -> None:
    gains = gains_of(np.array([3.0, 4.0]), None)
    assert gains.value.tolist() == [3.0, 4.0]
    assert gains.reference_error == 0.0


def test_a_weighted_sum_has_the_error_of_its_steps_and_of_what_was_subtracted() -> None:
    gains = gains_of(np.array([1.0, 2.0, 1.0, 2.0]), np.array([0.0, 0.0]))
    found = weigh(gains, np.array([0.5, 0.5, 0.0, 0.0]))
    assert found.value == 1.5
    # by hand: σ² = 3·1 / (2·3) = ½; ½·(¼ + ¼) + (½/2)·1²
    assert found.variance == pytest.approx(0.25 + 0.25)
    assert (found.df, found.steps) == (3.0, 2)
    apart = weigh(gains, np.array([1.0, -1.0, 0.0, 0.0]))
    assert apart.variance == pytest.approx(1.0)  # the reference cancels


def test_the_noise_of_steps_is_found_about_a_path_that_rises() -> None:
    rng = np.random.default_rng(0)
    values = np.linspace(0, 3, 2000) + 0.2 * rng.normal(size=2000)
    assert gains_of(values, np.zeros(8)).noise == pytest.approx(0.2, rel=0.05)


def test_intervals_over_steps_hold_the_truth_as_often_as_they_say() -> None:
    held, count = 0, 400
    truth = 0.5  # the mean of a path from 0 to 1
    for seed in range(count):
        rng = np.random.default_rng(seed)
        values = np.linspace(0, 1, 40) + 0.3 * rng.normal(size=40)
        gains = gains_of(values, 0.3 * rng.normal(size=8))
        figure = mean_of([weigh(gains, even(np.ones(40, bool)))]).figure()
        held += figure.low <= truth <= figure.high
    assert held / count == pytest.approx(0.95, abs=0.035)


def test_three_runs_are_what_is_independent_and_two_are_not() -> None:
    values = [Value(v, 0.01, 20.0, 5) for v in (1.0, 2.0, 3.0)]
    over_runs = mean_of(values)
    assert (over_runs.value, over_runs.error, over_runs.n) == pytest.approx((2.0, 3**-0.5, 3))
    over_steps = mean_of(values[:2])
    assert over_steps.error == pytest.approx(0.02**0.5 / 2)
    assert (over_steps.df, over_steps.n) == (40.0, 10)
    assert np.isnan(mean_of([]).value)


def test_a_difference_of_two_means_is_welchs() -> None:
    from scipy import stats

    rng = np.random.default_rng(0)
    one, other = rng.normal(1, 1, 5), rng.normal(0, 3, 8)
    found = difference(
        *(Estimate(x.mean(), x.std(ddof=1) / len(x) ** 0.5, len(x) - 1.0, len(x))
          for x in (one, other))
    )  # fmt: skip
    wanted = stats.ttest_ind(one, other, equal_var=False).confidence_interval()
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))
    assert np.isnan(difference(Estimate(1.0, np.nan, 0.0, 1), Estimate(0.0, 1.0, 2.0, 3)).low)


def test_a_ratio_is_known_where_what_it_is_by_is_above_zero() -> None:
    rng = np.random.default_rng(0)
    top, bottom = even(np.arange(40) >= 20), even(np.arange(40) < 20)
    values = np.where(np.arange(40) >= 20, 1.0, 2.0) + 0.05 * rng.normal(size=(4, 40))
    gains = [gains_of(v, np.zeros(4)) for v in values]
    found = ratio_of(gains, [top] * 4, [bottom] * 4)
    assert found.value == pytest.approx(0.5, abs=0.02)
    assert found.low < 0.5 < found.high
    assert found.high - found.low < 0.1
    nothing = [gains_of(v - 2.0, np.zeros(4)) for v in values]
    assert np.isnan(ratio_of(nothing, [top] * 4, [bottom] * 4).value)


def test_the_last_steps_are_those_with_a_figure() -> None:
    assert last(np.array([True, True, False, True, False]), 2).tolist() == [0, 0.5, 0, 0.5, 0]


@given(
    slope=st.floats(-3, 3),
    steps=st.integers(60, 300),
    reach=st.floats(0.2, 1.0),
    power=st.sampled_from([0.5, 1.0]),
)
@settings(max_examples=40)
def test_the_mean_height_of_a_line_is_half_its_end(
    slope: float, steps: int, reach: float, power: float
) -> None:
    """Property: however densely steps lie along √KL, the height is that of the curve."""
    d = np.linspace(0, 1, steps) ** power
    weights = height(d, np.ones(steps, bool), reach, 12)
    assert float(weights @ (slope * d)) == pytest.approx(slope * reach / 2, abs=0.02 * abs(slope))
    nearest = d[(d > 0) & (d // (reach / 12) == d[1] // (reach / 12))].mean()
    # the rest is the reference: a triangle up to the mean of the nearest steps
    assert weights.sum() == pytest.approx(1 - nearest / (2 * reach), abs=1e-3)
    assert not weights[d > 2.2 * reach].any()
