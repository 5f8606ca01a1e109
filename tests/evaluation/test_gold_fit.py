"""Recovery: the fit finds α and β that made a curve, and says so where there is no turn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assay.evaluation.best_of_n import best_of_n_kl, prompt_draws
from assay.evaluation.gold_fit import fit_gold, gold_fit, n_of_kl, percentiles
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
