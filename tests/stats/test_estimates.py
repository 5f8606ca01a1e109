"""Estimates: values by hand, Wilson's and Welch's formulas from elsewhere, recovery of a design."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student
from scipy.stats import ttest_ind

from assay.errors import DataError
from assay.stats import (
    Estimate,
    accuracy,
    combine,
    design_effect,
    estimate_mean,
    jackknife,
    t_test,
    wilson,
)

SHARE = (0.0, 1.0)


def interval(estimate: Estimate, bounds: tuple[float, float] | None = None) -> tuple[float, float]:
    figure = estimate.figure(bounds)
    assert (figure.value, figure.n) == (estimate.value, estimate.n)
    return figure.low, figure.high


# --- figures --------------------------------------------------------------------------------------


def test_a_figure_without_bounds_is_the_value_and_t_errors_to_each_side() -> None:
    t = student.ppf(0.975, 7)
    assert interval(Estimate(2.0, 0.5, 7.0, 20)) == pytest.approx((2 - t / 2, 2 + t / 2))


@pytest.mark.parametrize(("right", "n"), [(7, 10), (97, 100), (450, 675)])
def test_between_bounds_a_binomial_error_gives_wilsons_interval(right: int, n: int) -> None:
    share = right / n
    estimate = Estimate(share, math.sqrt(share * (1 - share) / n), math.inf, n)
    theirs = wilson(right, n)
    assert interval(estimate, SHARE) == pytest.approx((theirs.low, theirs.high))


@given(st.floats(-0.99, 0.99), st.floats(0.001, 0.5), st.integers(1, 200))
def test_the_ends_between_bounds_are_t_errors_away_by_their_own_error(
    value: float, error: float, df: int
) -> None:
    low, high = interval(Estimate(value, error, float(df), 9), (-1.0, 1.0))
    assert -1 <= low <= value <= high <= 1
    mirrored = interval(Estimate(-value, error, float(df), 9), (-1.0, 1.0))
    assert mirrored == pytest.approx((-high, -low))
    for end in (low, high):
        its_error = error * math.sqrt((1 - end**2) / (1 - value**2))
        assert abs(end - value) == pytest.approx(student.ppf(0.975, df) * its_error, rel=1e-6)


def test_at_a_bound_the_clusters_count() -> None:
    assert interval(Estimate(1.0, 0.0, 5.0, 12), SHARE) == (wilson(6, 6).low, 1.0)
    assert interval(Estimate(-1.0, 0.0, 5.0, 12), (-1.0, 1.0)) == pytest.approx(
        (-1, 2 * wilson(0, 6).high - 1)
    )
    # RewardBench 2's Ties can pass 1 by a little
    assert interval(Estimate(1.01, 0.1, 5.0, 12), SHARE) == (wilson(6, 6).low, 1.0)


def test_two_equal_models_differ_by_nothing_and_an_unknown_error_leaves_the_whole_range() -> None:
    assert interval(Estimate(0.0, 0.0, 9.0, 10), (-1.0, 1.0)) == (0, 0)
    assert interval(Estimate(0.4, math.nan, 0.0, 3), SHARE) == SHARE
    assert all(math.isnan(x) for x in interval(Estimate(0.4, math.nan, 0.0, 3)))


# --- means ----------------------------------------------------------------------------------------


def test_mean_by_hand() -> None:
    # residual sums of the prompts: 0.8, -1.2, 0.4
    found = estimate_mean([1, 1, 0, 0, 1], ["a", "a", "b", "b", "c"])
    assert found.value == pytest.approx(0.6)
    assert found.error == pytest.approx(math.sqrt(1.5 * 2.24) / 5)
    assert (found.df, found.n) == (2, 5)


def test_mean_of_nothing_and_of_one_cluster() -> None:
    nothing, lone = estimate_mean([]), estimate_mean([1.0, 0.0], ["a", "a"])
    assert math.isnan(nothing.value)
    assert nothing.n == 0
    assert (lone.value, lone.n) == (0.5, 2)
    assert math.isnan(lone.error)


@given(st.lists(st.floats(-9, 9), min_size=2, max_size=20), st.randoms())
def test_order_and_names_of_clusters_change_no_error(values: list[float], random) -> None:
    clusters = [i // 2 for i in range(len(values))]
    order = list(range(len(values)))
    random.shuffle(order)
    one = estimate_mean(values, clusters)
    other = estimate_mean([values[i] for i in order], [f"prompt {-clusters[i]}" for i in order])
    assert other.value == pytest.approx(one.value, abs=1e-12)
    assert other.error == pytest.approx(one.error, abs=1e-12, nan_ok=True)


# --- design effect --------------------------------------------------------------------------------


def test_every_item_twice_is_worth_half() -> None:
    once = np.random.default_rng(0).normal(size=50)
    twice, clusters = np.repeat(once, 2), np.repeat(np.arange(50), 2)
    # the n - 1 of the independent variance: (2G - 1)/(G - 1), which goes to 2
    assert design_effect(twice, clusters) == pytest.approx(99 / 49)
    assert design_effect(once) == pytest.approx(1)
    assert estimate_mean(twice, clusters).error == pytest.approx(estimate_mean(once).error)


def test_design_effect_recovers_the_correlation_within_clusters() -> None:
    rng = np.random.default_rng(1)
    correlation, size, count = 0.3, 5, 4000
    shared = rng.normal(size=count).repeat(size) * math.sqrt(correlation)
    v = shared + rng.normal(size=count * size) * math.sqrt(1 - correlation)
    found = design_effect(v, np.arange(count).repeat(size))
    assert found == pytest.approx(1 + (size - 1) * correlation, rel=0.05)  # Kish's formula


def test_values_that_make_up_for_each_other_are_not_worth_more_than_independent_ones() -> None:
    assert design_effect([1, 0, 0, 1, 1, 0], [0, 0, 1, 1, 2, 2]) == 1


def test_where_nothing_shows_the_correlation_a_cluster_is_one_value() -> None:
    assert design_effect([1, 1, 1, 1, 1, 1], [0, 0, 0, 1, 1, 2]) == 2
    assert design_effect([1, 0, 1], ["a", "a", "a"]) == 3
    assert design_effect([0.5]) == 1
    assert math.isnan(design_effect([]))


# --- jackknife ------------------------------------------------------------------------------------


def test_jackknife_of_a_mean_of_equal_clusters_is_the_clustered_error() -> None:
    v = np.random.default_rng(2).normal(size=30)
    clusters = [f"prompt {i // 3}" for i in range(30)]
    ours, formula = (
        jackknife(lambda kept: float(v[kept].mean()), clusters),
        estimate_mean(v, clusters),
    )
    assert ours.error == pytest.approx(formula.error)
    assert (ours.value, ours.df, ours.n) == (pytest.approx(formula.value), formula.df, formula.n)


def test_jackknife_of_a_ratio_agrees_with_its_linearised_error() -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(1, 2, size=400)
    y = 3 * x + rng.normal(size=400)
    ours = jackknife(lambda kept: float(y[kept].mean() / x[kept].mean()), [*map(str, range(400))])
    linear = estimate_mean((y - ours.value * x) / x.mean())
    assert ours.error == pytest.approx(linear.error, rel=0.01)


def test_jackknife_leaves_out_whole_clusters() -> None:
    asked: list[list[int]] = []

    def size(kept: list[int]) -> float:
        asked.append(kept)
        return float(len(kept))

    found = jackknife(size, ["a", "b", "a"])
    assert asked == [[0, 1, 2], [1], [0, 2]]
    assert found.value == 3
    assert found.error == pytest.approx(0.5)  # of 1 and 2: √(½ · ½)


def test_jackknife_of_nothing_and_of_one_cluster() -> None:
    assert math.isnan(jackknife(lambda kept: 1.0, []).value)
    lone = jackknife(lambda kept: 1.0, ["a", "a"])
    assert (lone.value, lone.n) == (1, 2)
    assert math.isnan(lone.error)


# --- combination ----------------------------------------------------------------------------------


def test_combination_of_two_samples_is_welchs_t_test() -> None:
    rng = np.random.default_rng(4)
    a, b = rng.normal(0.4, 1, size=12), rng.normal(0, 3, size=30)
    half = combine([estimate_mean(a), estimate_mean(-b)])  # (mean a - mean b) / 2
    theirs = ttest_ind(a, b, equal_var=False)
    assert half.value == pytest.approx((a.mean() - b.mean()) / 2)
    assert half.df == pytest.approx(theirs.df)
    assert t_test(half) == pytest.approx(theirs.pvalue)
    low, high = theirs.confidence_interval()
    assert interval(half) == pytest.approx((low / 2, high / 2))


def test_weights_by_hand() -> None:
    parts = [Estimate(0.9, 0.03, 10.0, 40), Estimate(0.5, 0.04, 20.0, 60)]
    found = combine(parts, [3.0, 1.0])
    assert found.value == pytest.approx(0.8)
    assert found.error == pytest.approx(math.hypot(0.75 * 0.03, 0.25 * 0.04))
    assert found.n == 100
    assert combine(parts, [1.0, 0.0]).error == pytest.approx(0.03)
    assert combine(parts, [1.0, 0.0]).df == pytest.approx(10)


def test_a_combination_knows_what_it_does_not_know() -> None:
    known, unknown = Estimate(0.9, 0.03, 10.0, 40), Estimate(0.5, math.nan, 0.0, 6)
    assert math.isnan(combine([known, unknown]).error)
    assert combine([known, unknown]).value == pytest.approx(0.7)
    perfect = combine([Estimate(1.0, 0.0, 9.0, 10), Estimate(1.0, 0.0, 19.0, 20)])
    assert (perfect.error, perfect.df) == (0, 28)
    assert interval(perfect, SHARE)[0] == pytest.approx(wilson(29, 29).low)


@pytest.mark.parametrize("weights", [[1.0], [1.0, -1.0], [0.0, 0.0]])
def test_weights_that_do_not_fit_are_refused(weights: list[float]) -> None:
    with pytest.raises(DataError, match="for 2 estimates; wanted one each"):
        combine([Estimate(0.5, 0.1, 3.0, 4)] * 2, weights)


def test_nothing_to_combine_is_refused() -> None:
    with pytest.raises(DataError, match="0 weights for 0 estimates"):
        combine([])


def test_accuracy_and_its_estimate_are_the_same_figure() -> None:
    gaps = np.random.default_rng(5).normal(0.5, 1, size=60)
    clusters = np.arange(60) // 4
    assert accuracy(gaps, clusters=clusters) == estimate_mean(gaps > 0, clusters).figure(SHARE)
