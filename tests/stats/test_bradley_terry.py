from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from assay.errors import DataError
from assay.stats.bradley_terry import fit_bradley_terry


def test_two_competitors_are_the_log_odds_of_the_share_won() -> None:
    first, second = [0] * 10, [1] * 10
    fit = fit_bradley_terry(first, second, [1] * 7 + [0] * 3, 2)
    assert fit.strength[0] - fit.strength[1] == pytest.approx(math.log(7 / 3))
    assert fit.strength.sum() == pytest.approx(0)
    # the variance of a log-odds is 1/(n p q); half of it is each one's, in a pair centred at 0
    z = 2.262157  # Student's t of 9 degrees
    width = 0.5 * z * math.sqrt(1 / (10 * 0.7 * 0.3) * 10 / 9)
    assert fit.high[0] - fit.strength[0] == pytest.approx(width, rel=1e-5)
    assert fit.is_connected
    assert not fit.is_helped.any()


def test_a_tie_is_half_a_win_of_both() -> None:
    ties = fit_bradley_terry([0, 0, 0], [1, 1, 1], [1, 0.5, 0.5], 2)
    halves = fit_bradley_terry([0] * 6, [1] * 6, [1, 1, 1, 1, 0, 0], 2)
    assert ties.strength == pytest.approx(halves.strength)


def test_agrees_with_a_general_optimiser() -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(5, size=400)
    b = (a + rng.integers(1, 5, size=400)) % 5
    truth = np.array([1.0, 0.5, 0.0, -0.5, -1.0])
    won = (rng.random(400) < 1 / (1 + np.exp(truth[b] - truth[a]))).astype(float)

    def loss(theta: np.ndarray) -> float:
        gap = theta[a] - theta[b]
        return float(np.sum(won * np.logaddexp(0, -gap) + (1 - won) * np.logaddexp(0, gap)))

    found = minimize(loss, np.zeros(5), tol=1e-12).x
    fit = fit_bradley_terry(a, b, won, 5)
    assert fit.strength == pytest.approx(found - found.mean(), abs=1e-4)


def test_intervals_hold_the_truth_as_often_as_they_say_though_clusters_repeat_themselves() -> None:
    rng = np.random.default_rng(1)
    truth = np.array([0.6, 0.0, -0.6])
    inside, worlds = 0, 150
    for _ in range(worlds):
        a = np.repeat(rng.integers(3, size=120), 3)
        b = (a + np.repeat(rng.integers(1, 3, size=120), 3)) % 3
        once = rng.random(120) < 1 / (1 + np.exp(truth[b[::3]] - truth[a[::3]]))
        fit = fit_bradley_terry(a, b, np.repeat(once, 3).astype(float), 3,
                                np.repeat(np.arange(120), 3))  # fmt: skip
        inside += int(np.sum((fit.low <= truth) & (truth <= fit.high)))
    assert 0.92 < inside / (3 * worlds) < 0.98


def test_swapping_the_sides_changes_nothing() -> None:
    rng = np.random.default_rng(2)
    a, won = rng.integers(4, size=60), rng.integers(3, size=60) / 2
    b = (a + 1 + rng.integers(3, size=60)) % 4
    here, there = fit_bradley_terry(a, b, won, 4), fit_bradley_terry(b, a, 1 - won, 4)
    assert here.strength == pytest.approx(there.strength)
    assert here.high == pytest.approx(there.high)


def test_groups_that_never_met_are_told_apart_and_centred_each() -> None:
    fit = fit_bradley_terry([0, 0, 2, 2, 2], [1, 1, 3, 3, 3], [1, 0, 1, 0, 0], 4)
    assert not fit.is_connected
    assert len(set(fit.group[:2])) == len(set(fit.group[2:])) == 1
    assert fit.strength[:2].sum() == pytest.approx(0)
    assert fit.strength[2:].sum() == pytest.approx(0)


def test_whoever_wins_all_has_a_finite_strength_and_is_said_to_be_helped() -> None:
    fit = fit_bradley_terry([0, 0, 0], [1, 1, 1], [1, 1, 1], 2)
    assert fit.is_helped.all()
    assert fit.strength[0] - fit.strength[1] == pytest.approx(math.log(3.5 / 0.5))


def test_one_cluster_has_no_interval() -> None:
    fit = fit_bradley_terry([0, 1], [1, 0], [1, 1], 2, [7, 7])
    assert np.isnan(fit.low).all()


def test_nothing_is_nothing() -> None:
    assert len(fit_bradley_terry([], [], [], 0).strength) == 0


@pytest.mark.parametrize(("first", "second"), [([0], [2]), ([1], [1])])
def test_refuses_strangers(first: list[int], second: list[int]) -> None:
    with pytest.raises(DataError, match=r"numbered from 0 to 1|itself"):
        fit_bradley_terry(first, second, [1], 2)
