"""Recovery: labelled responses give the reward's direction and the point between good and bad."""

import numpy as np
import pytest
import torch

from assay.configs import RewardTraining
from assay.errors import ConfigError
from assay.train.encode import EncodeReport, Example
from assay.train.labelled import labelled_report, labelled_row
from assay.train.losses import binary, kto
from assay.train.objectives.base import Readings
from assay.train.objectives.labels import Labels, labels_of
from assay.types import LABEL, Preference

GOLD = np.array([1.5, -1.0, 0.5, 0.0])
NOTHING_DROPPED = EncodeReport(0, 0, 0, 0, 0, 0, 0, 0)
NOTHING = np.zeros(1, dtype=np.int32)


def labelled(simulated, label, cluster, length=5):
    example = simulated.pair(Preference(0, 1), cluster)
    return Example(
        tree=example.tree,
        tokens=(),
        preferences=(),
        ranking=None,
        lengths=(length,),
        cluster=cluster,
        ratings=({LABEL: float(label)},) if label is not None else None,
    )


def simulate(simulated, count, seed):
    generator = np.random.default_rng(seed)
    features = generator.normal(size=(count, 4))
    good = generator.random(count) < 1 / (1 + np.exp(-(features @ GOLD - 0.7)))
    examples = [labelled(simulated, g, n) for n, g in enumerate(good)]
    return simulated.Part(examples, features.astype(np.float32))


@pytest.mark.parametrize("loss", ["binary", "kto"])
@pytest.mark.medium
def test_the_reward_and_its_point_are_recovered(simulated, loss):
    train, heldout = simulate(simulated, 1200, 0), simulate(simulated, 300, 1)
    training = RewardTraining(loss=loss, epochs=12, lr=2e-2, l2=0.0)
    head = simulated.train_head(train, heldout, training)
    assert np.corrcoef(head.weight, GOLD)[0, 1] > 0.97
    rewards = (train.features - train.features.mean(0)) @ head.weight
    if loss == "binary":
        np.testing.assert_allclose(head.weight, GOLD, atol=0.3)
        shift = train.features.mean(0) @ GOLD
        assert head.learnt["threshold"] == pytest.approx(0.7 - shift, abs=0.25)
    else:
        assert head.learnt["reference"] == pytest.approx(rewards.mean(), abs=0.1)


def test_losses_by_hand(simulated):
    examples = [labelled(simulated, y, n) for n, y in enumerate((1, 0))]
    rewards, nothing = torch.tensor([0.5, 0.2]), torch.zeros(2, 0)
    labels, point = torch.tensor([1.0, 0.0]), torch.tensor(0.3)
    for loss, formula in (("binary", binary), ("kto", kto)):
        objective = Labels.of(loss, examples, 2.0, 0.5)
        with torch.no_grad():
            objective.scalars["point"].fill_(0.3)
        wanted = formula(rewards, labels, point) * torch.tensor([2.0, 0.5])
        torch.testing.assert_close(objective.losses(rewards, nothing, examples), wanted)
        penalty = objective.penalty(rewards, nothing, examples)
        follows = (rewards - 0.3) ** 2 / 2
        torch.testing.assert_close(penalty, follows if loss == "kto" else torch.zeros(()))
        objective.shift_rewards(1.0)
        assert float(objective.scalars["point"].detach()) == pytest.approx(1.3)


def test_no_gradient_flows_through_ktos_reference(simulated):
    examples = [labelled(simulated, y, n) for n, y in enumerate((1, 0))]
    objective = Labels.of("kto", examples, 1.0, 1.0)
    rewards = torch.tensor([0.5, 0.2], requires_grad=True)
    losses = objective.losses(rewards, torch.zeros(2, 0), examples)
    (gradient,) = torch.autograd.grad(
        losses.sum(), [objective.scalars["point"]], allow_unused=True, retain_graph=True
    )
    assert gradient is None
    penalty = objective.penalty(rewards, torch.zeros(2, 0), examples)
    assert torch.autograd.grad(penalty.sum(), rewards, allow_unused=True)[0] is None


def test_labels_that_tell_nothing_are_refused(simulated):
    some = [labelled(simulated, 1, 0), labelled(simulated, None, 1)]
    with pytest.raises(ConfigError, match="needs a label on every response, and 1 of 2 training"):
        Labels.of("binary", some, 1.0, 1.0)
    pairs = [simulated.pair(Preference(0, 1), 0)]
    with pytest.raises(ConfigError, match="and 2 of 2 training responses have none"):
        Labels.of("kto", pairs, 1.0, 1.0)
    for label, word in ((1, "good"), (0, "bad")):
        same = [labelled(simulated, label, n) for n in range(3)]
        with pytest.raises(ConfigError, match=f"all 3 training responses are labelled {word}"):
            Labels.of("binary", same, 1.0, 1.0)
    assert np.isnan(labels_of(pairs)).all()
    assert not Labels("binary", 1.0, 1.0).takes(pairs[0])


# --- held-out figures -----------------------------------------------------------------------------


def test_heldout_figures_by_hand(simulated):
    # good rewards 2, 0; bad ones 1, -1: three of four pairs in order
    examples = [
        labelled(simulated, y, n // 2, length)
        for n, (y, length) in enumerate(((1, 9), (0, 5), (1, 8), (0, 4)))
    ]
    rewards = np.array([2.0, 1.0, 0.0, -1.0])
    readings = Readings(examples, rewards, np.zeros((4, 0)))
    assert labelled_row(readings) == {"heldout/accuracy": 0.75, "heldout/gap": 1.0}
    report = labelled_report(readings, examples, NOTHING_DROPPED, point=0.5)
    assert report.figures["accuracy"].value == 0.75
    assert report.figures["accuracy"].n == 4
    # every good response is longer than every bad one
    assert report.length_only_accuracy.value == 1.0
    assert report.figures["gap"].value == pytest.approx(1.0)
    above = np.array([1.5, 0.5, -0.5, -1.5])
    losses = np.log1p(np.exp(-np.array([1.5, -0.5, -0.5, 1.5])))
    assert report.figures["nll"].value == pytest.approx(losses.mean())
    np.testing.assert_allclose(report.gaps, above * [1, -1, 1, -1])
    assert (report.unit, report.prompts, report.ties) == ("responses", 2, 0)
    assert report.to_dict()["accuracy"]["value"] == 0.75


def test_the_gaps_interval_is_welchs_where_every_response_has_a_prompt_of_its_own(simulated):
    generator = np.random.default_rng(0)
    labels = np.repeat([1, 0], [40, 60])
    rewards = generator.normal(size=100) + labels
    examples = [labelled(simulated, y, n) for n, y in enumerate(labels)]
    readings = Readings(examples, rewards, np.zeros((100, 0)))
    report = labelled_report(readings, examples, NOTHING_DROPPED, 0.0)
    figure = report.figures["gap"]
    good, bad = rewards[:40], rewards[40:]
    error = np.sqrt(good.var() / 40 + bad.var() / 60)
    assert (figure.high - figure.low) / 2 / 1.984 == pytest.approx(error, rel=0.01)
