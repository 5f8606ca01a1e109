"""Dawid-Skene and MACE recover simulated annotators; trivial data are not fitted, and why."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from assay.data.audit import reliability as module
from assay.data.audit.answers import Answers
from assay.data.audit.reliability import Fit, fit_reliability, reliability
from assay.types import Figure

RIGHT = (0.95, 0.85, 0.75, 0.65)
"""How often each simulated annotator is right."""


def simulated(items: int = 500, spammer: bool = False, seed: int = 0) -> tuple[Answers, np.ndarray]:
    """Answers 1 or -1 of annotators who err by chance; a spammer says 1 in nine of ten."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([-1.0, 1.0], items)
    rows = [np.where(rng.random(items) < p, truth, -truth) for p in RIGHT]
    if spammer:
        rows.append(np.where(rng.random(items) < 0.9, 1.0, -1.0))
    values = np.array(rows)
    # annotators are met in another order than that of their numbers, and so are answers
    item, annotator = np.meshgrid(np.arange(items), np.arange(len(rows))[::-1], indexing="ij")
    answers = Answers(
        item.ravel(), annotator.ravel(), values[annotator.ravel(), item.ravel()], item.ravel()
    )
    return answers, truth


def means(fit: Fit, name: str, count: int) -> list[float]:
    values = getattr(fit, name)
    return [float(values[fit.answers.annotator == a].mean()) for a in range(count)]


@pytest.fixture(autouse=True, scope="module")
def one_start() -> Iterator[None]:
    """MACE from one start: more give the same here, and take longer."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "RESTARTS", 1)
        yield


@pytest.fixture(scope="module")
def fitted() -> Fit:
    fit = fit_reliability(simulated()[0])
    assert isinstance(fit, Fit)
    return fit


def test_dawid_skene_recovers_how_often_each_is_right(fitted: Fit) -> None:
    answers, truth = simulated()
    is_right = np.equal(answers.value, truth[answers.item])
    shares = [float(is_right[answers.annotator == a].mean()) for a in range(4)]
    assert means(fitted, "is_true", 4) == pytest.approx(shares, abs=0.03)


def test_mace_recovers_who_answers_at_random(fitted: Fit) -> None:
    # right in p: meant in 2p - 1 where a guess is right in half
    assert means(fitted, "is_meant", 4) == pytest.approx([2 * p - 1 for p in RIGHT], abs=0.12)
    fit = fit_reliability(simulated(spammer=True)[0])
    assert isinstance(fit, Fit)
    meant = means(fit, "is_meant", 5)
    assert meant[4] < 0.15
    assert meant[0] > 0.8


def test_the_labels_are_the_true_ones_more_often_than_the_majority(fitted: Fit) -> None:
    answers, truth = simulated()
    signs = np.unique(fitted.answers.item, return_inverse=True)[1]
    best = fitted.posterior.argmax(axis=1)[signs]
    # an answer agrees with the likeliest label where its own column is the largest
    agrees = fitted.is_true > 0.5
    right = np.equal(answers.value, truth[answers.item])
    assert np.mean(agrees == right) > 0.93
    assert best.shape == agrees.shape


def test_a_habit_for_one_side_does_not_pass_for_knowledge(monkeypatch: pytest.MonkeyPatch) -> None:
    """All prefer what is listed first in 80 %: without turning sides the prior would be 0.8."""
    monkeypatch.setattr(module, "MACE_STEPS", 5)
    monkeypatch.setattr(module, "DAWID_SKENE_STEPS", 5)
    rng = np.random.default_rng(1)
    values = np.where(rng.random((4, 400)) < 0.8, 1.0, -1.0)
    item = np.tile(np.arange(400), 4)
    answers = Answers(item, np.repeat(np.arange(4), 400), values.ravel(), item)
    fit = fit_reliability(answers)
    assert isinstance(fit, Fit)
    assert fit.posterior.mean(axis=0).max() < 0.62


def test_what_is_said_of_all_labels(fitted: Fit) -> None:
    told = reliability(fitted)
    assert (told.judgments, told.items, told.sampled, told.why) == (2000, 500, False, None)
    assert isinstance(told.changed, Figure)
    assert isinstance(told.entropy, Figure)
    assert 0 <= told.changed.value < 0.1  # a majority of two against two is no other label
    assert 0 < told.entropy.value < np.log(2)
    assert told.to_dict()["fitted_on_judgments"] == 2000


@pytest.mark.parametrize(
    ("values", "items", "why"),
    [
        ([1.0, -1.0], [0, 1], "no item was judged by two annotators."),
        ([0.0, 0.0], [0, 0], "all judgments are the same."),
    ],
)
def test_trivial_data_are_not_fitted(values: list[float], items: list[int], why: str) -> None:
    item = np.array(items)
    answers = Answers(item, np.arange(2), np.array(values), item)
    assert fit_reliability(answers) == why
    assert reliability(why).to_dict()["why_not"] == why


def test_too_many_judgments_are_sampled_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MACE_STEPS", 5)
    monkeypatch.setattr(module, "DAWID_SKENE_STEPS", 5)
    monkeypatch.setattr(module, "MOST_JUDGMENTS", 100)
    fit = fit_reliability(simulated(items=200)[0])
    assert isinstance(fit, Fit)
    assert len(fit.answers) == 100
    assert len(fit.posterior) == 25
    assert reliability(fit).sampled


def test_the_same_seed_gives_the_same_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MACE_STEPS", 5)
    monkeypatch.setattr(module, "DAWID_SKENE_STEPS", 5)
    answers = simulated(items=60)[0]
    one, again = (fit_reliability(answers, seed=3) for _ in range(2))
    assert isinstance(one, Fit)
    assert isinstance(again, Fit)
    assert one.is_meant.tolist() == again.is_meant.tolist()
    assert one.is_true.tolist() == again.is_true.tolist()
