"""Figures of steps: by hand, against scikit-learn, neutral steps, what is left out, coverage."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from sklearn import metrics

from assay.errors import DataError
from assay.stats.steps import JudgedSteps, step_report


def judged(labels, rewards, **options) -> JudgedSteps:
    return JudgedSteps(labels, [np.array(r, dtype=np.float64) for r in rewards], **options)


def drawn(solutions: int = 150, seed: int = 0, shift: float = 0.3) -> JudgedSteps:
    """Three solutions a problem, of easy and hard problems; a higher reward of good steps."""
    rng = np.random.default_rng(seed)
    labels, rewards = [], []
    hard = np.repeat(rng.uniform(0.1, 0.5, size=solutions // 3), 3)
    for share in hard:
        wrong = rng.random(rng.integers(1, 8)) < share
        labels.append([-1 if w else 1 for w in wrong])
        rewards.append(np.clip(rng.normal(0.6 - shift * wrong, 0.25), 0.01, 0.99))
    return JudgedSteps(labels, rewards, np.repeat(np.arange(solutions // 3), 3))


def test_figures_by_hand() -> None:
    found = step_report(
        judged([(1, 1, -1), (1, -1), (0,)], [(0.9, 0.4, 0.2), (0.8, 0.7), (0.6,)]), resamples=20
    )
    # good 0.9 0.4 0.8 0.6, bad 0.2 0.7: of 8 pairs all but 0.4 and 0.6 against 0.7
    assert found.auc.value == pytest.approx(6 / 8)
    # wrong at 0.5: the good 0.4 and the bad 0.7; TP 3, FP 1, TN 1, FN 1
    assert found.accuracy.value == pytest.approx(4 / 6)
    assert found.f1.value == pytest.approx(6 / 8)
    assert found.negative_f1.value == pytest.approx(1 / 2)
    nll = -np.log([0.9, 0.4, 0.8, 0.8, 0.3, 0.6]).mean()
    assert found.nll.value == pytest.approx(nll)
    assert found.good_share.value == pytest.approx(4 / 6)
    # of two with an error, the first says step 2 and the second none; the third passes
    assert found.first_error.error_accuracy.value == 0
    assert found.first_error.sound_accuracy.value == 1
    assert found.baselines["always-last"].error_accuracy.value == 1
    assert (found.solutions, found.steps, found.neutral_steps, found.threshold) == (3, 6, 1, 0.5)


def test_figures_are_scikit_learns() -> None:
    steps = drawn()
    reward, good, _ = steps.table
    found = step_report(steps, threshold=0.4, resamples=20)
    called = reward >= 0.4
    assert found.auc.value == pytest.approx(metrics.roc_auc_score(good, reward))
    assert found.accuracy.value == pytest.approx(metrics.accuracy_score(good, called))
    assert found.f1.value == pytest.approx(metrics.f1_score(good, called))
    assert found.negative_f1.value == pytest.approx(metrics.f1_score(~good, ~called))
    assert found.nll.value == pytest.approx(metrics.log_loss(good, reward))


def test_constant_answers_are_what_they_reach() -> None:
    found = step_report(drawn(), resamples=20)
    share = found.good_share.value
    assert 0.5 < share < 1
    assert found.constant["accuracy"].value == pytest.approx(share)
    assert found.constant["f1"].value == pytest.approx(2 * share / (1 + share))
    assert found.constant["negative_f1"].value == 0
    entropy = -share * math.log(share) - (1 - share) * math.log(1 - share)
    assert found.constant["nll"].value == pytest.approx(entropy)
    mostly_bad = step_report(judged([(-1, -1, 1)], [(0.5, 0.5, 0.5)]), resamples=20)
    assert mostly_bad.constant["accuracy"].value == pytest.approx(2 / 3)


def test_rewards_drawn_with_their_labels_are_calibrated_and_sharpened_ones_are_not() -> None:
    rng = np.random.default_rng(2)
    p = rng.uniform(0.05, 0.95, size=(400, 5))
    labels = np.where(rng.random(p.shape) < p, 1, -1).tolist()
    honest = step_report(judged(labels, p), resamples=100)
    sharp = step_report(judged(labels, p**4 / (p**4 + (1 - p) ** 4)), resamples=100)
    assert honest.ece.high < 0.06
    assert sharp.ece.low > 0.1
    assert honest.auc.value == pytest.approx(sharp.auc.value)
    assert honest.nll.high < sharp.nll.low


@pytest.mark.parametrize(
    ("neutral", "steps", "good", "named"), [("good", 4, 3, 2), ("bad", 4, 1, 1), ("skip", 2, 1, 2)]
)
def test_neutral_steps_count_as_told(neutral, steps: int, good: int, named: int) -> None:
    # the first error is the last step where neutral is good or skipped
    found = judged([(1, 0, -1), (0,)], [(0.9, 0.8, 0.1), (0.7,)], neutral=neutral)
    report = step_report(found, resamples=20)
    assert report.steps == steps
    assert report.good_share.value == pytest.approx(good / steps)
    assert found.named().match.sum() == {"good": 2, "bad": 0, "skip": 2}[neutral]
    assert found.first_errors[0] == named
    assert (report.neutral, report.neutral_steps) == (neutral, 2)


def test_what_is_left_out_is_counted() -> None:
    nan = math.nan
    steps = judged(
        [(1, -1), (1, None), (1, 1, 1), (None, -1)],
        [(0.9, 0.2), (0.9, 0.9), (0.9, nan, nan), (nan, 0.2)],
    )
    found = step_report(steps, resamples=20)
    assert (found.steps, found.unjudged_steps, found.cut_steps) == (5, 2, 3)
    assert (found.unknown_solutions, found.cut_solutions) == (2, 1)
    assert found.first_error.accuracy.n == 1
    assert found.first_error.error_accuracy.value == 1


def test_of_nothing_judged_there_are_no_figures() -> None:
    for steps in (judged([], []), judged([(None,)], [(0.5,)])):
        found = step_report(steps, resamples=20)
        figures = [found.auc, found.accuracy, found.nll, found.ece, found.f1, found.first_error.f1]
        assert all(math.isnan(f.value) and f.n == 0 for f in figures)
        assert all(math.isnan(f.value) for f in found.constant.values())


def test_a_reward_of_exactly_nothing_costs_what_float32_can_tell() -> None:
    found = step_report(judged([(1,), (-1,)], [(0.0,), (1.0,)]), resamples=20)
    assert found.nll.value == pytest.approx(-math.log(1e-7), rel=1e-6)


def test_intervals_are_over_problems() -> None:
    once = drawn(60, 3)
    copies = JudgedSteps(
        list(once.labels) * 4, list(once.rewards) * 4, np.tile(np.asarray(once.problems), 4)
    )
    few, many = step_report(once, resamples=50), step_report(copies, resamples=50)
    for name in ("auc", "accuracy", "nll", "f1", "negative_f1"):
        one, other = getattr(few, name), getattr(many, name)
        assert (one.low, one.high) == pytest.approx((other.low, other.high)), name
        assert other.n == 4 * one.n


def test_the_auc_interval_holds_the_truth() -> None:
    truth = step_report(drawn(30_000, 99), resamples=1).auc.value
    held = 0
    for seed in range(60):
        steps = drawn(90, seed)
        figure = step_report(steps, resamples=1).auc
        held += figure.low <= truth <= figure.high
    assert 52 <= held <= 60  # 57, give or take three standard deviations


def test_a_report_is_written_with_its_baselines() -> None:
    written = step_report(drawn(30), resamples=20).to_dict()
    assert json.loads(json.dumps(written)) == written
    assert set(written["auc"]) == {"value", "low", "high", "n"}
    assert set(written["baselines"]) == {
        "never", "always-first", "always-last", "random-step", "random",
    }  # fmt: skip
    assert written["baselines"]["never"]["sound_accuracy"]["value"] == 1
    assert written["neutral"] == "good"


@pytest.mark.parametrize(
    ("labels", "rewards", "sentence"),
    [
        ([(1,)], [], "labels of 1 solutions and rewards of 0"),
        ([(1,), (1, 1)], [(0.5,), (0.5,)], "Solution 2 has 2 labels and 1 rewards"),
        ([(1,)], [(1.5,)], "Step 1 of solution 1 has reward 1.5"),
        ([(1,), (1, 3)], [(0.5,), (0.5, 0.5)], "Step 2 of solution 2 has label 3"),
    ],
)
def test_steps_that_do_not_fit_are_refused(labels, rewards, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        judged(labels, rewards)
