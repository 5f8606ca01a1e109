"""Recovery: attributes, their weights and quantiles are found, and reduced to one head."""

import numpy as np
import pytest
import torch

from assay.configs import RewardTraining
from assay.errors import ConfigError
from assay.train.encode import Example
from assay.train.losses import bradley_terry
from assay.train.objectives.base import Readings
from assay.train.objectives.ratings import Attributes, Quantiles, ratings_of, scales_of
from assay.types import LABEL, Preference

HELPFUL, TERSE = np.array([2.0, 0.5, 0.0, 0.0]), np.array([0.0, -0.5, 1.0, 0.0])


FIRST = (Preference(0, 1),)


def rated(simulated, ratings, cluster, preferences=FIRST):
    example = simulated.pair(Preference(0, 1), cluster)
    return Example(
        tree=example.tree,
        tokens=(),
        preferences=preferences,
        ranking=None,
        lengths=(5,) * len(ratings),
        cluster=cluster,
        ratings=tuple(ratings),
    )


def simulate(simulated, count, seed, missing=0.3):
    """Pairs rated on two attributes, with gaps, and preferred by 0.8 helpful + 0.3 terse."""
    generator = np.random.default_rng(seed)
    features = generator.normal(scale=0.5**0.5, size=(count, 2, 4))
    noise = generator.normal(scale=0.3, size=(2, count, 2))
    scores = {"helpful": 3 + features @ HELPFUL + noise[0], "terse": features @ TERSE + noise[1]}
    gold = features @ (0.8 * HELPFUL + 0.3 * TERSE)
    examples = []
    for n in range(count):
        ratings = [
            {k: float(v[n, side]) for k, v in scores.items() if generator.random() > missing}
            for side in (0, 1)
        ]
        better = int(generator.random() > 1 / (1 + np.exp(gold[n, 1] - gold[n, 0])))
        examples.append(rated(simulated, ratings, n, (Preference(better, 1 - better),)))
    return simulated.Part(examples, features.reshape(2 * count, 4).astype(np.float32))


def test_attributes_and_their_weights_are_recovered(simulated):
    train, heldout = simulate(simulated, 800, 0), simulate(simulated, 200, 1)
    training = RewardTraining(loss="regression", epochs=10, lr=3e-2, l2=0.0)
    head = simulated.train_head(train, heldout, training)
    found = head.learnt["attributes"]
    assert list(found) == ["helpful", "terse"]
    assert found["helpful"]["weight"] == pytest.approx(0.8, abs=0.15)
    assert found["terse"]["weight"] == pytest.approx(0.3, abs=0.15)
    assert found["helpful"]["heldout_squared_error"]["high"] < 0.2
    assert found["helpful"]["training_ratings"] == pytest.approx(0.7 * 1600, rel=0.05)
    # one head: the weighted sum of both
    gold = 0.8 * HELPFUL + 0.3 * TERSE
    assert np.corrcoef(head.weight, gold)[0, 1] > 0.99


def test_given_weights_make_the_head_and_may_be_negative(simulated):
    train, heldout = simulate(simulated, 800, 0), simulate(simulated, 200, 1)
    training = RewardTraining(
        loss="regression", attribute_weights=(1.0, -2.0), epochs=10, lr=3e-2, l2=0.0
    )
    head = simulated.train_head(train, heldout, training)
    np.testing.assert_allclose(head.weight, HELPFUL - 2 * TERSE, atol=0.25)
    assert not head.learnt["learnt"]
    assert head.learnt["attributes"]["terse"]["weight"] == pytest.approx(-2.0)


def test_learnt_weights_are_never_negative(simulated):
    examples = [
        rated(simulated, [{"bad": 1.0}, {"bad": 0.0}], n, (Preference(1, 0),)) for n in range(3)
    ]
    objective = Attributes.of(2, examples, (), ())
    with torch.no_grad():
        objective.scalars["combination"].fill_(-50.0)
    assert (objective.combination() >= 0).all()


def test_losses_by_hand(simulated):
    examples = [
        rated(simulated, [{"a": 2.0, "b": 0.0}, {"b": 4.0}], 0),
        rated(simulated, [{}, {}], 1, (Preference(1, 0),)),
        rated(simulated, [{"a": 0.0}], 2, ()),
    ]
    objective = Attributes.of(3, examples, (), ())
    assert {k: (s.mean, s.spread, s.count) for k, s in objective.scales.items()} == {
        "a": (1.0, 1.0, 2),
        "b": (2.0, 2.0, 2),
    }
    ratings = ratings_of(examples, objective.scales)
    nan = np.nan
    wanted = [[1, -1], [nan, 1], [nan, nan], [nan, nan], [-1, nan]]
    np.testing.assert_array_equal(ratings, wanted)
    outputs = torch.tensor([[0.5, 0.0], [9.0, 0.0], [1.0, 1.0], [1.0, 1.0], [0.0, 5.0]])
    rewards = torch.tensor([1.0, 0.0, 2.0, 0.5, 3.0])
    losses = objective.losses(rewards, outputs, examples)
    preferred = bradley_terry(torch.tensor([1.0, 0.5]), torch.tensor([0.0, 2.0]))
    squared = torch.tensor([((0.25 + 1) / 2 + 1) / 2, 0.0, 1.0])
    torch.testing.assert_close(losses, squared + torch.cat([preferred, torch.zeros(1)]))
    assert [objective.takes(e) for e in examples] == [True, False, True]


# --- quantiles ------------------------------------------------------------------------------------


@pytest.mark.medium
def test_quantiles_are_recovered_and_the_reward_is_their_mean(simulated):
    generator = np.random.default_rng(0)
    # the rating's spread grows with the second feature: quantiles fan out along it
    features = generator.normal(size=(1500, 2, 2))
    spread = 1 + 0.5 * np.tanh(features[..., 1])
    score = features[..., 0] + spread * generator.normal(size=(1500, 2))
    examples = [
        rated(simulated, [{"score": float(s)} for s in both], n) for n, both in enumerate(score)
    ]
    rows = features.reshape(3000, 2).astype(np.float32)
    train, heldout = (
        simulated.Part(examples[:1200], rows[:2400]),
        simulated.Part(examples[1200:], rows[2400:]),
    )
    how = {"loss": "quantile", "epochs": 10, "lr": 3e-2, "l2": 0.0}
    whole = simulated.train_head(train, heldout, RewardTraining(**how))
    shares = whole.learnt["share_of_heldout_ratings_below"]
    for tau, figure in shares.items():
        assert figure["value"] == pytest.approx(float(tau), abs=0.06)
    cautious = simulated.train_head(train, heldout, RewardTraining(quantile_tail=0.3, **how))
    # the mean of all quantiles hardly sees the spread; the lower ones dislike it
    assert whole.weight[0] == pytest.approx(1.0, abs=0.15)
    assert abs(whole.weight[1]) < 0.1
    assert cautious.weight[1] < -0.15


def test_the_reward_is_the_mean_of_the_quantiles_up_to_the_tail(simulated):
    examples = [rated(simulated, [{"s": 1.0}, {"s": 5.0}], 0)]
    taus = (0.1, 0.5, 0.9)
    for tail, used in ((1.0, [1, 1, 1]), (0.5, [1, 1, 0]), (0.1, [1, 0, 0])):
        objective = Quantiles.of(2, examples, (), taus, tail)
        wanted = 2.0 * torch.tensor(used) / sum(used)
        torch.testing.assert_close(objective.combination(), wanted)


def test_unrated_responses_do_not_count(simulated):
    examples = [
        rated(simulated, [{"s": 1.0}, {}], 0),
        rated(simulated, [{"s": 5.0}, {"s": 1.0}], 1),
        rated(simulated, [{}], 2, ()),
    ]
    objective = Quantiles.of(2, examples, ("s",), (0.5,), 1.0)
    ratings = ratings_of(examples, objective.scales)[:, 0]
    losses = objective.losses(torch.zeros(5), torch.zeros(5, 1), examples)
    half = np.abs(ratings) / 2
    wanted = [half[0], (half[2] + half[3]) / 2, 0.0]
    torch.testing.assert_close(losses, torch.tensor(wanted).float())
    assert [objective.takes(e) for e in examples] == [True, True, False]


# --- what is refused ------------------------------------------------------------------------------


def test_ratings_that_cannot_be_learnt_are_refused(simulated):
    both = [rated(simulated, [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 2.0}], 0)]
    with pytest.raises(ConfigError, match="attribute 'b' is 2 in all 2 training ratings"):
        scales_of(both, ())
    assert list(scales_of(both, ("a",))) == ["a"]
    with pytest.raises(
        ConfigError, match="attribute 'tone' is in no training rating; there are a, b"
    ):
        scales_of(both, ("tone",))
    for none in ([simulated.pair(Preference(0, 1), 0)], [rated(simulated, [{LABEL: 1.0}], 0, ())]):
        with pytest.raises(ConfigError, match="the training data holds no ratings; a loss on"):
            scales_of(none, ())
    with pytest.raises(ConfigError, match=r"2 numbers for 1 attributes \(a\); give one each"):
        Attributes.of(2, both, ("a",), (1.0, 2.0))
    singles = [rated(simulated, [{"a": float(n)}], n, ()) for n in range(2)]
    with pytest.raises(ConfigError, match="the training data has none; give --attribute-weights"):
        Attributes.of(2, singles, (), ())
    assert Attributes.of(2, singles, (), (1.0,)).given == (1.0,)
    varied = [rated(simulated, [{"a": 1.0, "b": 2.0}, {"a": 3.0, "b": 1.0}], 0)]
    with pytest.raises(ConfigError, match="takes one attribute, and there are a, b; name one with"):
        Quantiles.of(2, varied, (), (0.5,), 1.0)


def test_the_record_counts_what_is_rated(simulated):
    examples = [
        rated(simulated, [{"s": 1.0}, {"s": 3.0}], 0),
        rated(simulated, [{"s": 2.0}, {}], 1),
    ]
    objective = Quantiles.of(2, examples, (), (0.5,), 1.0)
    readings = Readings(examples, np.zeros(4), np.array([[0.0], [0.0], [0.5], [9.0]]))
    record = objective.record(None, readings)
    assert (record["attribute"], record["mean"], record["training_ratings"]) == ("s", 2.0, 3)
    share = record["share_of_heldout_ratings_below"]["0.5"]
    assert (share["value"], share["n"]) == (pytest.approx(2 / 3), 3)
