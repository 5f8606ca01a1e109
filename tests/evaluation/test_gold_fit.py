"""Recovery: the fit finds α and β that made a curve, and says so where there is no turn."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.evaluation.best_of_n import best_of_n_kl, prompt_draws
from assay.evaluation.gold_fit import (
    FARTHEST,
    fit_gold,
    gold_fit,
    n_of_kl,
    percentiles,
    policy_gold_fit,
)
from assay.evaluation.overoptimization import geometric_grid

KL = [best_of_n_kl(n) for n in geometric_grid(1024)]
D = np.sqrt(KL)


def curves(alpha: float, beta: float, spread: float, prompts: int = 50, seed: int = 0):
    """Gains of prompts that have an α and a β of their own."""
    rng = np.random.default_rng(seed)
    a = rng.normal(alpha, spread, (prompts, 1))
    b = rng.normal(beta, spread / 4, (prompts, 1))
    return D * (a - b * D)


def test_an_exact_curve_gives_its_numbers_and_its_peak() -> None:
    fit = gold_fit(KL, curves(1.2, 0.4, 0.0), prompt_draws(50, 200, 0))
    assert fit is not None
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((1.2, 0.4))
    assert fit.r_squared == pytest.approx(1.0)
    # by hand: d* = 1.2 / 0.8 = 1.5, at 2.25 nats; R* = 1.44 / 1.6
    assert fit.peak_kl is not None
    assert fit.peak_gold is not None
    assert (fit.peak_kl.value, fit.peak_gold.value) == pytest.approx((2.25, 0.9))
    assert fit(2.25) == pytest.approx(0.9)
    assert fit(0.0) == 0.0
    grid = np.linspace(0, 9, 901)
    assert grid[np.argmax([fit(kl) for kl in grid])] == pytest.approx(2.25, abs=0.01)


def test_several_curves_are_fitted_at_once() -> None:
    made = np.stack([D * (1.0 - 0.2 * D), D * (0.5 + 0.1 * D)])
    assert fit_gold(KL, made) == pytest.approx(np.array([[1.0, 0.2], [0.5, -0.1]]))


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held = np.zeros(3)
    runs = 200
    for run in range(runs):
        fit = gold_fit(KL, curves(1.2, 0.4, 0.3, seed=run), prompt_draws(50, 300, run))
        assert fit is not None
        assert fit.peak_kl is not None
        truths = (1.2, 0.4, 2.25)
        found = (fit.alpha, fit.beta, fit.peak_kl)
        held += [f.low <= t <= f.high for f, t in zip(found, truths, strict=True)]
    assert held / runs == pytest.approx(np.full(3, 0.95), abs=0.04)


@pytest.mark.parametrize(("alpha", "beta"), [(1.0, 0.0), (1.0, -0.3), (-0.5, 0.2)])
def test_a_curve_that_does_not_turn_has_no_peak(alpha: float, beta: float) -> None:
    fit = gold_fit(KL, curves(alpha, beta, 0.2), prompt_draws(50, 200, 0))
    assert fit is not None
    assert fit.peak_kl is None
    assert fit.peak_gold is None
    assert json.loads(json.dumps(fit.to_dict()))["peak_kl"] is None


def test_two_numbers_are_not_fitted_to_two_points() -> None:
    times = prompt_draws(50, 10, 0)
    assert gold_fit([0.0, 0.2, 0.4], curves(1, 0.1, 0.1)[:, :3], times) is None
    assert gold_fit([0.0, 0.2, 0.4, 0.6], curves(1, 0.1, 0.1)[:, :4], times) is not None


def test_a_flat_curve_has_no_r_squared() -> None:
    fit = gold_fit(KL, np.zeros((5, len(KL))), prompt_draws(5, 10, 0))
    assert fit is not None
    assert fit.to_dict()["r_squared"] is None


@pytest.mark.parametrize("n", [1.5, 2, 7, 32, 4096, 1e9])
def test_n_of_kl_undoes_kl_of_n(n: float) -> None:
    assert n_of_kl(best_of_n_kl(n)) == pytest.approx(n, rel=1e-6)


def test_n_of_no_and_of_endless_kl() -> None:
    assert n_of_kl(0.0) == n_of_kl(-1.0) == 1.0
    assert n_of_kl(40.0) == float("inf")


def test_an_interval_that_nothing_bounds_is_open() -> None:
    figure = percentiles(1.0, np.array([1.0, 2.0, np.inf, np.inf, np.nan]), 100)
    assert figure.low == pytest.approx(1.0, abs=0.1)
    assert np.isnan(figure.high)
    assert np.isnan(percentiles(1.0, np.array([np.nan]), 100).low)
    assert np.isnan(percentiles(np.nan, np.array([1.0]), 100).high)


# --- policies trained by RL -----------------------------------------------------------------------

ALPHA, BETA = 1.2, 0.6
PEAK = float(np.exp(ALPHA / BETA - 1))  # e = 2.718, with a gold of 0.6 e = 1.631


def path(
    rng: np.random.Generator,
    alpha: float = ALPHA,
    beta: float = BETA,
    steps: int = 80,
    farthest: float = 5.0,
    noise: float = 0.3,
) -> tuple[np.ndarray, np.ndarray]:
    """√KL and gold of a run whose KL grows evenly."""
    d = np.sqrt(np.linspace(0, farthest**2, steps))
    slope = alpha - beta * np.log(np.maximum(d, 1e-12))
    return d, d * slope + noise * rng.normal(size=steps)


@given(
    alpha=st.floats(-1, 3),
    beta=st.floats(0.1, 2),
    farthest=st.floats(1.0, 10.0),
    steps=st.integers(30, 200),
)
def test_an_exact_curve_of_rl_gives_its_numbers(
    alpha: float, beta: float, farthest: float, steps: int
) -> None:
    d, gold = path(np.random.default_rng(0), alpha, beta, steps, farthest, noise=0.0)
    fit = policy_gold_fit([d], [gold])
    assert fit is not None
    assert (fit.alpha.value, fit.beta.value) == pytest.approx((alpha, beta), rel=1e-6, abs=1e-6)
    assert fit.d_max == pytest.approx(farthest)
    peak = np.exp(alpha / beta - 1)
    if np.log(peak) < FARTHEST:
        assert fit.peak_d is not None
        assert fit.peak_gold is not None
        assert fit.peak_d.value == pytest.approx(peak, rel=1e-4)
        assert fit.peak_gold.value == pytest.approx(beta * peak, rel=1e-4)
        assert fit.peak_in_range == (fit.d_min <= fit.peak_d.value <= farthest)
    assert fit(0.0) == 0.0
    assert fit(1.0) == pytest.approx(alpha, abs=1e-6)


@given(seed=st.integers(0, 10_000), shift=st.floats(-2, 2), scale=st.floats(0.1, 10))
@settings(max_examples=30)
def test_gold_in_other_units_is_fitted_in_those_units(
    seed: int, shift: float, scale: float
) -> None:
    """Property: α, β and R* scale with gold, d* does not, and adding two golds adds their fits."""
    rng = np.random.default_rng(seed)
    (d, one), (_, other) = path(rng), path(rng, shift, 0.2)
    fits = [policy_gold_fit([d], [g]) for g in (one, other, one * scale, one + other)]
    first, second, scaled, both = (fit for fit in fits if fit is not None)
    assert scaled.alpha.value == pytest.approx(scale * first.alpha.value)
    assert scaled.beta.low == pytest.approx(scale * first.beta.low)
    assert both.alpha.value == pytest.approx(first.alpha.value + second.alpha.value)
    if first.peak_d is not None and scaled.peak_d is not None and scaled.peak_gold is not None:
        assert scaled.peak_d.value == pytest.approx(first.peak_d.value)
        assert first.peak_gold is not None
        assert scaled.peak_gold.value == pytest.approx(scale * first.peak_gold.value)


@pytest.mark.parametrize(("runs", "spread"), [(1, 0.0), (2, 0.0), (4, 0.15)])
def test_intervals_of_rl_hold_the_truth_as_often_as_they_say(runs: int, spread: float) -> None:
    """Over steps with a noisy reference, and over runs that differ in their curve."""
    held, count = np.zeros(4), 200
    truths = (ALPHA, BETA, PEAK, BETA * PEAK)
    for seed in range(count):
        rng = np.random.default_rng(seed)
        made = [
            path(rng, ALPHA + spread * rng.normal(), BETA + spread / 4 * rng.normal())
            for _ in range(runs)
        ]
        error = 0.3 / 8**0.5
        gold = [g - error * rng.normal() for _, g in made]
        fit = policy_gold_fit([d for d, _ in made], gold, [error] * runs)
        assert fit is not None
        assert fit.over == ("runs" if runs > 2 else "steps")
        found = (fit.alpha, fit.beta, fit.peak_d, fit.peak_gold)
        held += [f is not None and f.low <= t <= f.high for f, t in zip(found, truths, strict=True)]
    share = held / count
    assert share.min() > 0.9
    assert share.max() < 0.995  # not so wide that they hold everything


def test_blocks_keep_intervals_honest_where_neighbouring_steps_share_their_noise() -> None:
    held, count = 0, 200
    for seed in range(count):
        rng = np.random.default_rng(seed)
        d, gold = path(rng, steps=200, noise=0.0)
        noise = rng.normal(size=200)
        for t in range(1, 200):
            noise[t] = 0.6 * noise[t - 1] + 0.8 * noise[t]
        fit = policy_gold_fit([d], [gold + 0.3 * noise])
        assert fit is not None
        held += fit.alpha.low <= ALPHA <= fit.alpha.high
    assert held / count == pytest.approx(0.94, abs=0.05)


def test_the_error_of_the_reference_widens_the_intervals_of_one_run() -> None:
    d, gold = path(np.random.default_rng(1))
    sure, unsure = policy_gold_fit([d], [gold], [0.0]), policy_gold_fit([d], [gold], [0.5])
    assert sure is not None
    assert unsure is not None
    assert unsure.alpha.value == sure.alpha.value
    assert unsure.alpha.high - unsure.alpha.low > 2 * (sure.alpha.high - sure.alpha.low)


def test_steps_near_the_reference_are_left_out() -> None:
    d, gold = path(np.random.default_rng(0), steps=200, noise=0.0)
    spoilt = np.where(d < 1.0, gold + 5, gold)  # steps that the form does not describe
    fit = policy_gold_fit([d], [spoilt], d_min=1.0)
    assert fit is not None
    assert fit.steps == np.sum(d >= 1.0)
    assert fit.alpha.value == pytest.approx(ALPHA)
    wrong = policy_gold_fit([d], [spoilt], d_min=0.0)
    assert wrong is not None
    assert abs(wrong.alpha.value - ALPHA) > 0.1


@pytest.mark.parametrize("beta", [0.0, -0.3])
def test_a_policy_whose_gold_does_not_turn_has_no_peak(beta: float) -> None:
    fit = policy_gold_fit(*[[x] for x in path(np.random.default_rng(0), 1.0, beta)])
    assert fit is not None
    assert fit.peak_d is None
    assert not fit.peak_in_range
    written = json.loads(json.dumps(fit.to_dict()))
    assert written["peak_sqrt_kl"] is None
    assert written["over"] == "steps"


def test_a_peak_beyond_the_farthest_step_is_not_in_range() -> None:
    fit = policy_gold_fit(*[[x] for x in path(np.random.default_rng(0), farthest=2.0, noise=0.01)])
    assert fit is not None
    assert fit.peak_d is not None
    assert fit.peak_d.value == pytest.approx(PEAK, rel=0.1)
    assert not fit.peak_in_range


def test_what_cannot_be_fitted_gives_nothing() -> None:
    d = np.linspace(0, 0.2, 50)
    assert policy_gold_fit([d], [d]) is None  # nothing beyond d_min
    at_one_place = np.full(50, 2.0)
    assert policy_gold_fit([at_one_place], [at_one_place]) is None
    few = np.linspace(1, 2, 9)
    assert policy_gold_fit([few], [few]) is None
