"""Recovery: tie parameters are found, and with them rewards that ties do not shrink."""

import math

import numpy as np
import pytest
import torch

from assay.configs import RewardTraining
from assay.errors import ConfigError
from assay.train.losses import davidson, rao_kupper
from assay.train.objectives.base import Readings
from assay.train.objectives.ties import Ties
from assay.types import Preference

MODELS = pytest.mark.parametrize("model", ["rao-kupper", "davidson"])
TIE = Preference(0, 1, probability=0.5)


def simulate(simulated, model, parameter, count, seed):
    """Judged pairs of a gold reward by a tie model."""
    generator = np.random.default_rng(seed)
    loss = rao_kupper if model == "rao-kupper" else davidson
    gold = np.array([2.0, -1.0, 0.5, 0.0])
    features = generator.normal(scale=0.5**0.5, size=(2 * count, 4))
    rewards = torch.from_numpy(features @ gold)
    log = torch.tensor(math.log(parameter), dtype=torch.float64)
    chances = [
        torch.exp(-loss(rewards[0::2], rewards[1::2], log, torch.full((count,), q).double()))
        for q in (1.0, 0.0, 0.5)
    ]
    table = torch.stack(chances, 1).numpy()
    said = [generator.choice(3, p=row / row.sum()) for row in table]
    outcomes = (Preference(0, 1), Preference(1, 0), TIE)
    examples = [simulated.pair(outcomes[o], n) for n, o in enumerate(said)]
    return simulated.Part(examples, features.astype(np.float32)), gold


@MODELS
@pytest.mark.medium
def test_the_tie_parameter_and_the_reward_are_recovered(simulated, model):
    truth = 1.8
    train, gold = simulate(simulated, model, truth, 1500, seed=0)
    heldout, _ = simulate(simulated, model, truth, 300, seed=1)
    training = RewardTraining(loss=model, epochs=12, lr=2e-2, l2=0.0)
    head = simulated.train_head(train, heldout, training)
    figure = head.learnt["tie_parameter"]
    assert figure["low"] < truth < figure["high"]
    assert figure["high"] - figure["low"] < 0.5
    assert head.learnt["learnt"]
    assert np.corrcoef(head.weight, gold)[0, 1] > 0.98
    # not only the direction: the scale, which ties as soft labels would shrink
    assert np.linalg.norm(head.weight) == pytest.approx(np.linalg.norm(gold), rel=0.2)
    plain = simulated.train_head(train, heldout, RewardTraining(epochs=12, lr=2e-2, l2=0.0))
    assert np.linalg.norm(plain.weight) < 0.95 * np.linalg.norm(head.weight)


@MODELS
def test_learning_begins_where_equal_rewards_tie_as_often_as_the_data(simulated, model):
    examples = [simulated.pair(TIE if n < 3 else Preference(0, 1), n) for n in range(10)]
    objective = Ties.of(model, None, examples)
    zeros = torch.zeros(20)
    ties = [simulated.pair(TIE, n) for n in range(10)]
    losses = objective.losses(zeros, zeros[:, None][:, :0], ties)
    torch.testing.assert_close(torch.exp(-losses), torch.full((10,), 0.3))


@MODELS
def test_a_given_parameter_is_not_learnt(simulated, model):
    examples = [simulated.pair(Preference(0, 1), n) for n in range(4)]
    objective = Ties.of(model, 2.0, examples)
    assert not list(objective.parameters())
    readings = Readings(examples, np.arange(8.0), np.zeros((8, 0)))
    record = objective.record(readings, readings)
    assert record["tie_parameter"] == pytest.approx({"value": 2, "low": 2, "high": 2, "n": 4})
    assert not record["learnt"]
    assert record["tie_share_at_equal_rewards"] == pytest.approx(
        1 / 3 if model == "rao-kupper" else 1 / 2
    )


@MODELS
def test_data_that_cannot_teach_it_are_refused(simulated, model):
    won = [simulated.pair(Preference(0, 1), n) for n in range(3)]
    with pytest.raises(ConfigError, match="none of the 3 training pairs is a tie; use --loss brad"):
        Ties.of(model, None, won)
    for parameter in (None, 2.0):
        with pytest.raises(ConfigError, match="all 2 training pairs are ties; look at the labels"):
            Ties.of(model, parameter, [simulated.pair(TIE, n) for n in range(2)])
