"""Reductions by hand, the length bias that a product must have, lowest steps, cut steps."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from assay.errors import ConfigError, DataError
from assay.stats.reduce import (
    REDUCTIONS,
    length_bias,
    length_biases,
    lowest_is_last,
    reduce_steps,
    reward_by_step,
)

TWO = [np.array([0.5, 0.8, 0.25]), np.array([0.9])]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("product", [0.1, 0.9]),
        ("log-product", [math.log(0.1), math.log(0.9)]),
        ("min", [0.25, 0.9]),
        ("mean", [1.55 / 3, 0.9]),
        ("last", [0.25, 0.9]),
    ],
)
def test_reductions_by_hand(how, wanted: list[float]) -> None:
    assert reduce_steps(TWO, how) == pytest.approx(wanted)


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=12), st.floats(1e-6, 1))
def test_reductions_are_ordered_and_one_more_step_never_helps_a_product(
    steps: list[float], more: float
) -> None:
    product, log, lowest, mean, _ = (reduce_steps([np.array(steps)], h)[0] for h in REDUCTIONS)
    assert product <= lowest * (1 + 1e-12)
    assert lowest <= mean * (1 + 1e-12)
    assert log == pytest.approx(math.log(math.prod(steps)), abs=1e-9)
    for how in ("product", "log-product", "min"):
        longer, shorter = reduce_steps([np.array([*steps, more]), np.array(steps)], how)
        assert longer <= shorter


def test_a_step_of_nothing_leaves_the_others_their_say() -> None:
    worse, better = reduce_steps([np.array([0.0, 0.1]), np.array([0.0, 0.9])], "log-product")
    assert math.isfinite(worse)
    assert worse < better
    assert reduce_steps([np.array([0.0, 0.5])], "product")[0] == pytest.approx(0.5e-12)


@pytest.mark.parametrize("how", REDUCTIONS)
def test_a_solution_that_was_cut_has_no_reward(how) -> None:
    cut, whole = reduce_steps([np.array([0.9, np.nan]), np.array([0.5, 0.5])], how)
    assert math.isnan(cut)
    assert math.isfinite(whole)
    assert reduce_steps([], how).shape == (0,)


# --- length ---------------------------------------------------------------------------------------


def same_steps(seed: int = 0, count: int = 300) -> list[np.ndarray]:
    """Every step of the same worth, whatever the solution's length."""
    rng = np.random.default_rng(seed)
    return [rng.uniform(0.6, 1.0, size=rng.integers(2, 12)) for _ in range(count)]


def test_products_are_biased_by_length_where_means_and_lasts_are_not() -> None:
    found = length_biases(same_steps(), resamples=200)
    assert tuple(found) == REDUCTIONS
    assert found["product"].high < -0.8
    assert found["log-product"] == found["product"]  # of the same order
    assert found["min"].high < -0.2
    for how in ("mean", "last"):
        assert found[how].low < 0 < found[how].high


def test_the_bias_is_spearmans_and_leaves_out_what_has_no_reward() -> None:
    rng = np.random.default_rng(3)
    reduced, counts = rng.random(60), rng.integers(1, 6, size=60)
    wanted = spearmanr(reduced, counts).statistic
    figure = length_bias(reduced, counts, resamples=50)
    assert figure.value == pytest.approx(wanted)
    unknown = length_bias([*reduced, np.nan], [*counts, 99], resamples=50)
    assert (unknown.value, unknown.n) == (pytest.approx(wanted), 60)
    assert length_bias([np.nan], [3]).n == 0
    assert math.isnan(length_bias([0.1, 0.2], [3, 3], resamples=20).value)


def test_solutions_of_one_problem_widen_the_interval() -> None:
    rng = np.random.default_rng(4)
    once = np.stack([rng.random(30), rng.integers(1, 9, size=30)])
    many = np.repeat(once, 8, axis=1)
    alone = length_bias(once[0], once[1], resamples=400)
    copied = length_bias(many[0], many[1], np.repeat(np.arange(30), 8), resamples=400)
    naive = length_bias(many[0], many[1], resamples=400)
    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.2)
    assert naive.high - naive.low < 0.6 * (copied.high - copied.low)


# --- where the lowest step is ---------------------------------------------------------------------


def test_lowest_is_last_by_hand() -> None:
    steps = [
        np.array([0.9, 0.8, 0.1]),
        np.array([0.2, 0.8]),
        np.array([0.4, 0.7, 0.4, 0.4]),  # the last of three lowest
        np.array([0.3]),
        np.array([0.3, np.nan]),
    ]
    found = lowest_is_last(steps)
    assert found.share.value == pytest.approx((1 + 0 + 1 / 3) / 3)
    assert found.chance.value == pytest.approx((1 / 3 + 1 / 2 + 1 / 4) / 3)
    assert found.excess.value == pytest.approx(found.share.value - found.chance.value)
    assert (found.share.n, found.single, found.cut) == (3, 1, 1)
    assert found.to_dict()["share"]["n"] == 3


def test_alike_places_show_no_excess_and_low_ends_do() -> None:
    steps = same_steps(5, 600)
    found = lowest_is_last(steps)
    assert found.excess.low < 0 < found.excess.high
    outcome = [np.append(r[:-1], r[-1] - 0.4) for r in steps]
    assert lowest_is_last(outcome).excess.low > 0.4
    assert lowest_is_last([np.array([0.5])]).share.n == 0


def test_rewards_by_step_are_means_over_the_solutions_that_have_it() -> None:
    steps = [np.array([0.2, 0.4, 0.9]), np.array([0.6, np.nan]), np.array([0.7])]
    found = reward_by_step(steps)
    assert [f.value for f in found] == pytest.approx([0.5, 0.4, 0.9])
    assert [f.n for f in found] == [3, 1, 1]
    assert len(reward_by_step(steps, most=2)) == 2
    assert reward_by_step([]) == []
    # two solutions of one problem are one
    alike = reward_by_step([np.array([0.2]), np.array([0.4])], ["a", "a"])
    assert (alike[0].low, alike[0].high) == (0, 1)


@pytest.mark.parametrize(
    ("rewards", "sentence"),
    [
        ([np.array([0.5]), np.array([0.2, 1.2])], "Step 2 of solution 2 has reward 1.2"),
        ([np.array([-0.1])], "Step 1 of solution 1 has reward -0.1"),
        ([np.array([])], r"Solution 1 has step rewards of shape \(0,\)"),
        ([np.array([[0.5]])], r"shape \(1, 1\)"),
    ],
)
def test_what_are_no_step_rewards_is_said(rewards, sentence: str) -> None:
    for call in (lambda r: reduce_steps(r, "min"), lowest_is_last, reward_by_step):
        with pytest.raises(DataError, match=sentence):
            call(rewards)


def test_an_unknown_reduction_is_refused() -> None:
    with pytest.raises(ConfigError, match="reduction 'max' is unknown; use one of product"):
        reduce_steps(TWO, "max")
