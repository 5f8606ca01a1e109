"""Means of few labels and many predictions: hand formulas, symmetries, and coverage."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assay.errors import DataError
from assay.stats import cluster_mean, estimate_mean, prediction_powered_mean, win_rate

Floats = NDArray[np.float64]


def judged(
    rng: np.random.Generator, n: int, total: int, prompts: int | None = None, bias: float = 0.15
) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Labels (the first n known), a judge that is wrong by a bias, and prompts; the truth is ½."""
    cluster = np.arange(total) if prompts is None else rng.integers(prompts, size=total)
    level = rng.beta(2, 2, total if prompts is None else prompts)[cluster]
    y = (rng.random(total) < level).astype(float)
    f = np.clip(0.4 * y + 0.3 * level + 0.15 * rng.random(total) + bias, 0, 1)
    human = y.copy()
    human[n:] = np.nan
    return human, f, cluster


def test_it_is_the_formula_of_the_papers() -> None:
    y = np.array([1, 0, 1, 1, np.nan, np.nan, np.nan, np.nan, np.nan])
    f = np.array([0.9, 0.2, 0.7, 0.4, 0.6, 0.5, 0.8, 0.1, 0.9])
    known, seen, rest = y[:4], f[:4], f[4:]
    found = prediction_powered_mean(y, f, power=1)
    assert found.estimate.value == pytest.approx(rest.mean() + (known - seen).mean())
    variance = (known - seen).var(ddof=1) / 4 + rest.var(ddof=1) / 5
    assert found.estimate.error == pytest.approx(variance**0.5)
    assert found.estimate.n == 9
    tuned = prediction_powered_mean(y, f)
    cov = np.cov(known, seen)[0, 1]
    best = (cov / 4) / (seen.var(ddof=1) / 4 + rest.var(ddof=1) / 5)
    assert tuned.power == pytest.approx(best)
    variance = (known - best * seen).var(ddof=1) / 4 + best**2 * rest.var(ddof=1) / 5
    assert tuned.estimate.error == pytest.approx((variance * 3 / 2) ** 0.5)
    assert tuned.estimate.value == pytest.approx(known.mean() + best * (rest.mean() - seen.mean()))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 30), st.booleans())
def test_without_power_it_is_the_classical_mean(seed: int, n: int, with_prompts: bool) -> None:
    rng = np.random.default_rng(seed)
    human, f, cluster = judged(rng, n, 60, 20 if with_prompts else None)
    found = prediction_powered_mean(human, f, cluster, power=0).estimate
    wanted = estimate_mean(human[:n], cluster[:n])
    assert found.value == pytest.approx(wanted.value)
    assert found.error == pytest.approx(wanted.error, nan_ok=True)
    assert (found.df, found.n) == (pytest.approx(wanted.df), n)
    rate = win_rate(f, human, cluster, power=0)
    assert (rate.corrected.low, rate.corrected.high) == pytest.approx(
        (rate.classical.low, rate.classical.high)
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.floats(-0.3, 0.3), st.floats(0.5, 2))
def test_a_constant_bias_or_scale_of_the_judge_changes_nothing(
    seed: int, shift: float, scale: float
) -> None:
    human, f, cluster = judged(np.random.default_rng(seed), 20, 80, 30)
    one = prediction_powered_mean(human, f, cluster)
    other = prediction_powered_mean(human, f * scale + shift, cluster)
    assert other.estimate.value == pytest.approx(one.estimate.value)
    assert other.estimate.error == pytest.approx(one.estimate.error)
    assert other.power * scale == pytest.approx(one.power)


@pytest.mark.medium
@pytest.mark.parametrize(("power", "prompts"), [(None, None), (None, 80), (1, 80)])
def test_nineteen_intervals_of_twenty_hold_the_truth_under_a_biased_judge(
    power: int | None, prompts: int | None
) -> None:
    repeats, held, judge_held = 1000, 0, 0
    wide, classical = 0.0, 0.0
    for seed in range(repeats):
        human, f, cluster = judged(np.random.default_rng(seed), 60, 400, prompts)
        found = prediction_powered_mean(human, f, cluster, power).estimate.figure((0.0, 1.0))
        judge, people = estimate_mean(f, cluster), estimate_mean(human[:60], cluster[:60])
        held += found.low <= 0.5 <= found.high
        judge_held += abs(judge.value - 0.5) < 1.96 * judge.error
        wide += found.high - found.low
        classical += 2 * 2.0 * people.error
    # three standard errors of 1,000 repeats are 2.1 points
    assert held / repeats == pytest.approx(0.95, abs=0.021)
    assert judge_held / repeats < 0.5  # the judge's own interval is sure of its bias
    assert wide < 0.75 * classical


@pytest.mark.medium
def test_a_judge_who_knows_nothing_costs_nearly_nothing() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for _ in range(200):
        y = (rng.random(300) < 0.5).astype(float)
        y[40:] = np.nan
        rate = win_rate(rng.random(300), y)
        widths.append(
            (rate.corrected.high - rate.corrected.low) / (rate.classical.high - rate.classical.low)
        )
    assert np.mean(widths) < 1.01
    assert np.max(widths) < 1.03
    # with λ = 1 the same judge makes it wider
    assert win_rate(rng.random(300), y, power=1).worth < 40


def test_a_perfect_judge_is_worth_its_items() -> None:
    rng = np.random.default_rng(0)
    y = (rng.random(1000) < 0.3).astype(float)
    human = y.copy()
    human[100:] = np.nan
    rate = win_rate(y, human)
    assert rate.power == pytest.approx(0.9, abs=0.01)  # u/N: then every item counts alike
    assert rate.worth == pytest.approx(1000, rel=0.1)
    assert rate.bias.value == 0
    assert rate.corrected.value == pytest.approx(y.mean(), abs=0.01)


@pytest.mark.parametrize("known", [0, 1, 2, 5])
def test_few_labels_or_no_others_fall_back_to_the_labels(known: int) -> None:
    f = np.array([0.2, 0.9, 0.4, 0.6, 0.1])
    human = [1.0, 0.0, 1.0, 1.0, 0.0][:known] + [None] * (5 - known)
    rate = win_rate(f, human)
    assert rate.labelled == known
    if known == 0:
        assert np.isnan(rate.corrected.value)
        assert rate.corrected.n == 0
    elif known in (1, 5):
        assert (rate.power, rate.corrected) == (0, rate.classical)
        assert (rate.worth is None) == (known == 1)
    json.dumps(rate.to_dict(), allow_nan=False)
    assert "judge alone" in str(rate)


def test_labels_that_do_not_vary_keep_an_interval() -> None:
    rate = win_rate(np.linspace(0.1, 0.9, 30), [1.0] * 10 + [None] * 20)
    assert rate.corrected == cluster_mean(np.ones(10), bounds=(0.0, 1.0))
    assert rate.corrected.low < 0.8


def test_the_value_stays_a_share() -> None:
    # the judge likes the others far better than those that people labelled
    f = np.array([0.0, 0.1, 0.2, 0.1, *[1.0] * 19, 0.9])
    rate = win_rate(f, [0.6, 0.8, 1.0, 0.9] + [None] * 20, power=1)
    assert (rate.corrected.value, rate.corrected.high) == (1.0, 1.0)
    assert rate.corrected.low < 1


def test_what_is_no_share_is_refused() -> None:
    with pytest.raises(DataError, match=r"human must lie between 0 and 1, got 0 to 2\."):
        win_rate([0.5, 0.5], [2.0, 0.0])
    with pytest.raises(DataError, match="probabilities must lie"):
        win_rate([1.5, 0.5], [1.0, 0.0])
    with pytest.raises(DataError, match="each of 2 predictions, got shape"):
        prediction_powered_mean([1.0], [0.5, 0.5])
    with pytest.raises(DataError, match="1 infinite"):
        prediction_powered_mean([np.inf, 0.0], [0.5, 0.5])
