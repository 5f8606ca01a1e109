"""Value: a learner is its losses, its heads combined into one, and every parameter in use."""

import numpy as np
import pytest
import torch
from torch import nn

from assay.train.batch import pair_batch, per_response
from assay.train.losses import bradley_terry, centering
from assay.train.objectives.base import CachedScorer, Learner, Objective, Readings
from assay.train.objectives.intervals import figure, standard_errors
from assay.types import Preference


class TwoHeads(Objective):
    """A reward of two heads, twice the first less the second; one scalar that is never used."""

    def __init__(self):
        super().__init__({"unused": torch.zeros(())}, nn.Linear(3, 2))

    def combination(self):
        return torch.tensor([2.0, -1.0])

    def losses(self, rewards, outputs, examples):
        pairs = pair_batch(rewards, examples)
        return pairs.mean(bradley_terry(pairs.chosen, pairs.rejected)) + per_response(
            outputs.square().sum(1), examples
        )


@pytest.fixture
def examples(simulated):
    return [simulated.pair(Preference(n % 2, 1 - n % 2), n) for n in range(3)]


@pytest.fixture
def features():
    return torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


def test_a_combination_is_the_reward_and_ends_as_the_head(features, examples):
    head = nn.Linear(3, 1, bias=False)
    learner = Learner(CachedScorer(head), head, TwoHeads(), centre=0.0)
    assert not head.weight.requires_grad
    rewards, outputs = learner.read(features)
    heads = learner.objective.heads
    torch.testing.assert_close(outputs, heads(features))
    torch.testing.assert_close(rewards, 2 * outputs[:, 0] - outputs[:, 1])
    numbers = learner.numbers(features)
    np.testing.assert_allclose(numbers[:, 0], rewards.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(numbers[:, 1:], outputs.detach().numpy(), rtol=1e-6)
    learner.reduce()
    assert head.weight.requires_grad
    # the head has no bias: it adds the same to every reward
    shift = 2 * heads.bias[0] - heads.bias[1]
    torch.testing.assert_close(head(features).squeeze(-1) + shift, rewards)
    torch.testing.assert_close(learner.read(features)[0] + shift, rewards)


def test_a_head_with_a_bias_gets_the_combined_bias(features):
    head = nn.Linear(3, 1)
    learner = Learner(CachedScorer(head), head, TwoHeads(), centre=0.0)
    learner.reduce()
    torch.testing.assert_close(head(features).squeeze(-1), learner.read(features)[0])


def test_preferences_teach_a_combination_nothing_about_its_heads(features, examples):
    head = nn.Linear(3, 1, bias=False)
    learner = Learner(CachedScorer(head), head, TwoHeads(), centre=0.0)
    rewards, _ = learner.read(features)
    assert not rewards.requires_grad


def test_every_parameter_has_a_gradient_and_what_is_unused_a_zero_one(features, examples):
    head = nn.Linear(3, 1, bias=False)
    learner = Learner(CachedScorer(head), head, TwoHeads(), centre=0.0)
    learner(features, examples).sum().backward()
    for name, parameter in learner.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
    assert learner.objective.scalars["unused"].grad == 0


def test_centring_is_added_to_any_objective(features, examples):
    class Plain(Objective):
        def losses(self, rewards, outputs, examples):
            return rewards.new_zeros(len(examples))

    head = nn.Linear(3, 1, bias=False)
    rewards = head(features).squeeze(-1)
    learner = Learner(CachedScorer(head), head, Plain({}), centre=0.5)
    wanted = 0.5 * centering(rewards[0::2], rewards[1::2])
    torch.testing.assert_close(learner(features, examples), wanted)


def test_heldout_loss_is_left_to_the_pairs_where_the_data_lack_what_is_learnt(simulated):
    class Named(Objective):
        def takes(self, example):
            return example.annotator is not None

        def losses(self, rewards, outputs, examples):
            return rewards[::2] * 1.0

    known = [simulated.pair(Preference(0, 1), n, annotator="ada") for n in range(2)]
    unknown = [simulated.pair(Preference(0, 1), 2)]
    rewards = np.array([1.0, 0, 3.0, 0, 5.0, 0])
    none = np.zeros((6, 0))
    assert Named({}).heldout(Readings(known, rewards[:4], none[:4])) == {"heldout/loss": 2.0}
    assert Named({}).heldout(Readings([*known, *unknown], rewards, none)) == {"heldout/loss": 2.0}
    assert Named({}).heldout(Readings(unknown, rewards[4:], none[4:])) == {}


def test_responses_are_averaged_by_comparison(simulated):
    examples = [simulated.pair(Preference(0, 1), n) for n in range(2)]
    means = per_response(torch.tensor([1.0, 3.0, 5.0, 6.0]), examples)
    torch.testing.assert_close(means, torch.tensor([2.0, 5.5]))


def test_standard_errors_are_those_of_a_logistic_regression():
    # the slopes of n coin tosses with probability p: their information is n p (1 - p)
    p, n = 0.3, 1000
    slopes = np.concatenate([np.full(300, 1 - p), np.full(700, -p)])[:, None]
    (error,) = standard_errors(slopes, np.zeros(1))
    assert error == pytest.approx(1 / np.sqrt(n * p * (1 - p)))
    (tighter,) = standard_errors(slopes, np.array([n * p * (1 - p)]))
    assert tighter == pytest.approx(error / np.sqrt(2))
    interval = figure(0.0, 1.0, 7, np.exp)
    assert (interval.low * interval.high, interval.n) == (pytest.approx(1.0), 7)
    # nothing is known of a parameter without judgments or prior
    assert np.isfinite(standard_errors(np.zeros((3, 2)), np.array([1.0, 0.0]))).all()
