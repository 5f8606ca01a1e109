"""Recovery: an injected length bias goes into the head that is discarded, not into the reward."""

import numpy as np
import pytest
import torch
from torch import nn

from assay.configs import RewardTraining
from assay.errors import ConfigError
from assay.train.encode import pair_index
from assay.train.losses import bradley_terry
from assay.train.objectives.base import CachedScorer, Learner, Readings
from assay.train.objectives.odin import Odin, gap_correlation
from assay.types import Preference

QUALITY, LENGTH = np.eye(8)[0], np.eye(8)[1]


def simulate(simulated, count, seed, bias):
    """Pairs whose labels follow a gold reward and length; four fifths of it shows in features."""
    generator = np.random.default_rng(seed)
    features = generator.normal(scale=0.5**0.5, size=(count, 2, 8))
    unseen = generator.normal(scale=0.5**0.5, size=(count, 2))
    lengths = np.round(200 + 40 * (0.8**0.5 * features @ LENGTH + 0.2**0.5 * unseen)).astype(int)
    gold = 2 * features @ QUALITY
    gaps = np.diff(gold + bias * lengths / 40)[:, 0]
    second = generator.random(count) < 1 / (1 + np.exp(-gaps))
    examples = [
        simulated.pair(Preference(int(s), 1 - int(s)), n, (int(a), int(b)))
        for n, (s, (a, b)) in enumerate(zip(second, lengths, strict=True))
    ]
    rows = features.reshape(2 * count, 8).astype(np.float32)
    return simulated.Part(examples, rows), gold.ravel()


def figures(head, part, gold):
    """Correlation of gaps with lengths, and accuracy by the labels and by the gold reward."""
    index = pair_index(part.examples)
    rewards = part.features @ head.weight
    gaps = rewards[index.chosen] - rewards[index.rejected]
    right = np.sign(gold[index.chosen] - gold[index.rejected])
    return gap_correlation(rewards, index), np.mean(gaps > 0), np.mean(np.sign(gaps) == right)


@pytest.mark.parametrize("bias", [1.0, -1.0])
@pytest.mark.medium
def test_the_reward_forgets_length_and_is_right_more_often(simulated, bias):
    train, truth = simulate(simulated, 1200, 10, bias)
    heldout, _ = simulate(simulated, 300, 11, bias)
    test, gold = simulate(simulated, 3000, 12, bias)
    how = {"epochs": 10, "lr": 3e-2, "l2": 1e-3}
    plain = simulated.train_head(train, heldout, RewardTraining(**how))
    odin = simulated.train_head(train, heldout, RewardTraining(loss="odin", **how))
    before, accuracy_before, gold_before = figures(plain, test, gold)
    after, accuracy_after, gold_after = figures(odin, test, gold)
    assert bias * before > 0.3
    assert abs(after) < 0.05
    assert abs(figures(odin, train, truth)[0]) < 0.05
    assert gold_after > gold_before + 0.05
    assert accuracy_after > accuracy_before - 0.05
    assert odin.learnt["length_head_length_correlation"]["low"] > 0.8


def judged(simulated):
    return [
        simulated.pair(Preference(0, 1), 0, (30, 10)),
        simulated.pair(Preference(1, 0), 1, (10, 50)),
    ]


def test_terms_by_hand(simulated):
    examples = judged(simulated)
    scale = float(np.sqrt((20**2 + 40**2) / 2))
    objective = Odin.of(2, examples, length_weight=0.5)
    assert objective.length_scale == scale
    with torch.no_grad():
        objective.scalars["slope"].fill_(2.0)
    rewards = torch.tensor([1.0, 0.2, 0.5, 0.0], requires_grad=True)
    outputs = torch.tensor([[0.4], [0.1], [0.0], [0.2]], requires_grad=True)
    gaps, by_length = torch.tensor([0.8, -0.5]), torch.tensor([0.3, 0.2])
    losses = objective.losses(rewards, outputs, examples)
    torch.testing.assert_close(losses, bradley_terry(gaps + 2 * by_length, torch.zeros(2)))
    # the preferences teach the length head nothing, nor the slope
    slope = objective.scalars["slope"]
    unused = torch.autograd.grad(losses.sum(), [outputs, slope], allow_unused=True)
    assert unused == (None, None)
    lengths = torch.tensor([20.0, 40.0]) / scale
    wanted = 0.5 * (by_length - lengths) ** 2 / 2 - 2 * gaps * lengths
    penalty = objective.penalty(rewards, outputs, examples)
    torch.testing.assert_close(penalty, wanted)
    # what moves the slope moves nothing else, and is 0 where gaps and lengths are uncorrelated
    moved = torch.autograd.grad(penalty.mean(), [slope, rewards], allow_unused=True)
    torch.testing.assert_close(moved[0], -(gaps * lengths).mean())
    assert moved[1] is None


def test_the_sum_of_the_heads_is_what_the_preferences_see(simulated):
    head = nn.Linear(2, 1, bias=False)
    features = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    objective = Odin.of(2, judged(simulated), 1.0)
    with torch.no_grad():
        objective.scalars["slope"].fill_(0.7)
        objective.heads.weight.fill_(0.5)
    learner = Learner(CachedScorer(head), head, objective, centre=0.0)
    assert head.weight.requires_grad
    rewards, outputs = learner.read(features)
    torch.testing.assert_close(rewards, (head(features) - 0.7 * outputs).squeeze(-1))
    whole = head(features).squeeze(-1)
    plain = bradley_terry(whole[[0, 3]], whole[[1, 2]])
    torch.testing.assert_close(objective.losses(rewards, outputs, judged(simulated)), plain)
    learner.reduce()
    torch.testing.assert_close(head(features).squeeze(-1), rewards)
    # read again, nothing is taken off twice
    torch.testing.assert_close(learner.read(features)[0], rewards)


def test_the_split_leaves_no_correlation_over_the_training_pairs(simulated):
    generator = np.random.default_rng(0)
    examples = [
        simulated.pair(Preference(0, 1), n, (int(a), 50))
        for n, a in enumerate(generator.integers(10, 90, size=40))
    ]
    index = pair_index(examples)
    by_length, whole = generator.normal(size=(2, 80))
    by_length[0::2] += index.length_difference / 20
    objective = Odin.of(1, examples, 1.0)
    with torch.no_grad():
        objective.scalars["slope"].fill_(0.4)
    rewards = whole - 0.4 * by_length
    objective.finish(Readings(examples, rewards, by_length[:, None]))
    slope = float(objective.scalars["slope"].detach())
    assert gap_correlation(whole - slope * by_length, index) == pytest.approx(0, abs=1e-6)
    # a head that says nothing of length takes nothing off
    objective.finish(Readings(examples, whole, np.zeros((80, 1))))
    assert float(objective.scalars["slope"].detach()) == slope


def test_heldout_figures_name_the_correlation_that_is_left(simulated):
    examples = [simulated.pair(Preference(0, 1), n, (20 + n, 10)) for n in range(3)]
    objective = Odin.of(1, examples, 1.0)
    rewards = np.array([1.0, 0, 2.0, 0, 0.5, 0])
    row = objective.heldout(Readings(examples, rewards, np.zeros((6, 1))))
    gaps, lengths = np.array([1.0, 2.0, 0.5]), np.array([10.0, 11.0, 12.0])
    left = (gaps @ lengths) / np.sqrt((gaps @ gaps) * (lengths @ lengths))
    assert row["heldout/length_correlation"] == pytest.approx(left)
    assert row["heldout/loss"] == pytest.approx(np.log1p(np.exp(-gaps)).mean())
    flat = objective.heldout(Readings(examples, np.zeros(6), np.zeros((6, 1))))
    assert flat == {"heldout/loss": pytest.approx(np.log(2))}


def test_pairs_that_are_all_equally_long_are_refused(simulated):
    examples = [simulated.pair(Preference(0, 1), n, (7, 7)) for n in range(4)]
    with pytest.raises(ConfigError, match="both sides of all 4 training pairs are equally long"):
        Odin.of(1, examples, 1.0)
