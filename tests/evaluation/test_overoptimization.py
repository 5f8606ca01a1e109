"""Recovery: curves turn where the world makes them turn, and nowhere else."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assay.errors import ConfigError
from assay.evaluation.best_of_n import best_of_n_kl
from assay.evaluation.overoptimization import (
    GoldCurve,
    geometric_grid,
    gold_curve,
    loss_after_peak,
)
from assay.evaluation.overoptimization_answer import answer, peak_of_fit, table_text
from assay.evaluation.selection import Candidates, Selector


def turning(seed: int = 0, prompts: int = 40, samples: int = 512) -> Candidates:
    """Gold falls with the square of what the proxy likes: the best of many is too much of it."""
    rng = np.random.default_rng(seed)
    liked = rng.normal(size=(prompts, samples))
    gold = liked - 0.5 * np.maximum(liked, 0) ** 2 + 0.3 * rng.normal(size=liked.shape)
    return Candidates(liked[..., None], gold)


def rising(seed: int = 0, prompts: int = 40, samples: int = 512) -> Candidates:
    """The proxy is gold with independent noise: regressional Goodhart alone turns nothing."""
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=(prompts, samples))
    return Candidates((gold + rng.normal(size=gold.shape))[..., None], gold)


def falling() -> Candidates:
    """The proxy is gold upside down."""
    c = rising()
    return Candidates(-c.rewards, c.gold)


def test_gold_that_turns_is_found_where_it_turns() -> None:
    curve = gold_curve(turning(), Selector())
    # gold of liked x is highest at x = 1, which is what the best of four to eight has
    assert 2 <= curve.n[curve.peak] <= 8
    assert curve.falls
    assert curve.loss.low > 0.3
    assert curve.retention.value < 0
    proxy = np.array(curve.lines["proxy"].value)
    assert (np.diff(proxy) > 0).all()
    assert answer(curve).startswith(
        f"single: the proxy keeps rising while gold falls after n ≈ {curve.n[curve.peak]}: from +"
    )
    assert answer(curve).endswith("is lost, more than selection had gained.")
    assert curve.fit is not None
    assert curve.fit.peak_kl is not None
    assert best_of_n_kl(2) < curve.fit.peak_kl.value < best_of_n_kl(16)
    said = peak_of_fit(curve.fit, curve)
    assert said.startswith("turns at ")
    assert "does not show" not in said


def test_gold_that_never_turns_says_so() -> None:
    curve = gold_curve(rising(), Selector(), geometric_grid(64))
    assert not curve.falls
    assert curve.n[curve.peak] == 64
    assert curve.retention.value == 1.0
    assert answer(curve).startswith("single: gold rises with the proxy all the way, +")
    # the expected highest of 64 normals is 2.344, and half of the proxy's variance is gold's
    assert curve.at(-1).low < 2.344 * 0.5**0.5 < curve.at(-1).high


def test_gold_that_falls_at_once_says_so() -> None:
    curve = gold_curve(falling(), Selector())
    assert curve.peak == 0
    assert curve.falls
    assert answer(curve).startswith("single: the proxy rises while gold falls from the first")
    assert np.isnan(curve.retention.value)
    assert curve.to_dict()["retention"]["value"] is None


def test_a_plateau_is_not_said_to_fall() -> None:
    rng = np.random.default_rng(4)
    liked = rng.normal(size=(30, 256))
    gold = np.minimum(liked, 0.5) + 2 * rng.normal(size=liked.shape)
    curve = gold_curve(Candidates(liked[..., None], gold), Selector(), seed=1)
    assert curve.n[curve.peak] < 256
    assert not curve.falls
    assert "no fall of gold is shown up to n = 256; it is highest at n = " in answer(curve)


def test_the_loss_does_not_take_noise_for_a_fall() -> None:
    """On a plateau the highest of many means lies above the last; the loss must not."""
    rng = np.random.default_rng(0)
    plateau = np.minimum(np.arange(20) / 5, 1.0)
    naive, found, losses = [], 0, []
    for run in range(300):
        gains = plateau + 0.3 * rng.normal(size=(40, 20)).cumsum(axis=1)
        mean = gains.mean(axis=0)
        naive.append(mean.max() - mean[-1])
        loss = loss_after_peak(gains, run)
        found += loss.low > 0
        losses.append(loss.value)
    assert np.mean(naive) > 0.1
    assert found <= 300 * 0.06
    assert np.mean(losses) <= 0.02


def test_the_loss_is_what_is_lost() -> None:
    rng = np.random.default_rng(1)
    held = 0
    for run in range(200):
        gains = np.array([0.0, 1.0, 0.4]) + 0.3 * rng.normal(size=(25, 3))
        loss = loss_after_peak(gains, run)
        held += loss.low <= 0.6 <= loss.high
    assert held / 200 == pytest.approx(0.95, abs=0.04)
    two = loss_after_peak(np.array([[0.0, 1.0, 0.5], [0.0, 1.2, 0.5]]))
    assert (two.value, two.n) == (pytest.approx(0.6), 2)


def test_retention_is_the_last_over_the_highest() -> None:
    curve = gold_curve(turning(), Selector(), (1, 4, 64))
    gold = curve.lines["gold"].value
    assert curve.retention.value == pytest.approx(gold[-1] / max(gold))
    assert curve.retention.low <= curve.retention.value <= curve.retention.high


def test_bands_hold_the_truth_as_often_as_they_say() -> None:
    truth = gold_curve(turning(99, prompts=4000, samples=64), Selector(), (1, 8, 64))
    held = np.zeros(2)
    for run in range(120):
        curve = gold_curve(turning(run, 12, 64), Selector(), (1, 8, 64), resamples=300, seed=run)
        # gold's own deviation, the unit, differs little from run to run
        held += [curve.at(i).low <= truth.at(i).value <= curve.at(i).high for i in (1, 2)]
    assert held / 120 == pytest.approx(np.full(2, 0.95), abs=0.06)


def test_prompts_said_twice_do_not_narrow_the_band() -> None:
    c = turning(prompts=10)
    names = tuple(map(str, range(10)))
    once = gold_curve(Candidates(c.rewards, c.gold, prompts=names), Selector(), (1, 8, 64))
    twice = gold_curve(
        Candidates(
            np.concatenate([c.rewards] * 2), np.concatenate([c.gold] * 2), prompts=names * 2
        ),
        Selector(),
        (1, 8, 64),
    )
    assert twice.prompts == 10
    assert twice.at(-1) == once.at(-1)
    assert twice.loss == once.loss


def test_selectors_are_compared_prompt_by_prompt() -> None:
    c = turning()
    rng = np.random.default_rng(7)
    rewards = np.concatenate([c.rewards, rng.normal(size=c.rewards.shape)], axis=2)
    both = Candidates(rewards, c.gold)
    first, second = (gold_curve(both, Selector.parse(n)) for n in ("mean", "worst-case"))
    figure = second.minus(first)
    assert figure.value == pytest.approx(second.at(-1).value - first.at(-1).value)
    assert figure.n == 40
    assert first.minus(first).value == 0.0


@pytest.mark.parametrize(
    ("most", "grid"),
    [
        (1, (1,)),
        (2, (1, 2)),
        (5, (1, 2, 3, 4, 5)),
        (16, (1, 2, 3, 4, 6, 8, 11, 16)),
        (20, (1, 2, 3, 4, 6, 8, 11, 16, 20)),
    ],
)
def test_the_grid_is_two_to_a_doubling(most: int, grid: tuple[int, ...]) -> None:
    assert geometric_grid(most) == grid


@pytest.mark.parametrize(
    ("n", "sentence"),
    [
        ((), "n must rise from 1; got nothing"),
        ((2, 4), "n must rise from 1; got 2, 4"),
        ((1, 4, 4), "n must rise from 1; got 1, 4, 4"),
        ((1, 600), "n goes up to 600, and there are 512 candidates"),
    ],
)
def test_other_grids_are_refused(n: tuple[int, ...], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        gold_curve(turning(prompts=2), Selector(), n)


def test_the_record_is_json_and_the_table_has_a_line_a_selector() -> None:
    curves: list[GoldCurve] = [gold_curve(make(), Selector()) for make in (turning, rising)]
    for curve in curves:
        record = json.loads(json.dumps(curve.to_dict(), allow_nan=False))
        assert record["peak"]["n"] == curve.n[curve.peak]
        assert record["peak"]["gold"]["n"] == 40
        assert len(record["lines"]["gold"]["value"]) == len(curve.n)
        assert record["end"] == curve.at(-1).to_dict()
    assert len(table_text(curves).splitlines()) == 4


def test_few_values_of_n_have_no_fit() -> None:
    curve = gold_curve(turning(), Selector(), (1, 2, 4))
    assert curve.fit is None
    assert curve.to_dict()["fit"] is None


def test_a_fitted_peak_that_no_curve_shows_is_called_that() -> None:
    rng = np.random.default_rng(0)
    liked = rng.normal(size=(60, 64))
    gold = liked - 0.12 * np.maximum(liked, 0) ** 2  # turns far beyond the best of 64
    curve = gold_curve(Candidates(liked[..., None], gold), Selector())
    assert not curve.falls
    assert curve.fit is not None
    assert peak_of_fit(curve.fit, curve).endswith("which the measured curve does not show")
    rises = gold_curve(rising(), Selector(), geometric_grid(64))
    assert rises.fit is not None
    assert peak_of_fit(rises.fit, rises) == "no turn"
