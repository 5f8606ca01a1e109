"""Recovery: annotators are found out by their judgments, and their rewards are better for it."""

import numpy as np
import pytest
import torch

from assay.errors import ConfigError
from assay.train.losses import annotator_bradley_terry
from assay.train.objectives.annotators import Annotators, positions
from assay.train.objectives.base import Readings
from assay.types import Preference

PRIOR = (10.0, 1.0)


@pytest.fixture(scope="module")
def recovery(script):
    return script("annotator_recovery")


@pytest.fixture(scope="module")
def runs(recovery):
    settings = recovery.Settings(pairs=400, raters=3, features=16, epochs=8, seeds=3)
    return [recovery.simulate(settings, seed) for seed in range(settings.seeds)]


@pytest.mark.medium
def test_reliabilities_are_ranked_as_they_are(runs):
    assert np.mean([run["rank_correlation"] for run in runs]) > 0.9
    # not 0.95: the rewards' own uncertainty is not in the intervals
    assert np.mean([run["coverage"] for run in runs]) > 0.8


@pytest.mark.medium
def test_rewards_beat_majority_vote_and_plain_bradley_terry(runs):
    for baseline in ("judgments one by one", "majority vote", "share of votes"):
        gains = [r["accuracy"]["annotator-aware"] - r["accuracy"][baseline] for r in runs]
        assert np.mean(gains) > 0.02, baseline
    lost = [r["accuracy"]["reliabilities told"] - r["accuracy"]["annotator-aware"] for r in runs]
    assert np.mean(lost) < 0.02


@pytest.mark.medium
def test_position_bias_is_found_and_taken_out(recovery):
    settings = recovery.Settings(pairs=400, raters=2, features=4, epochs=12, position_bias=1.5)
    generator = np.random.default_rng(5)
    world = recovery.make_world(settings, generator)
    train, heldout = (recovery.judged(settings, world, n, generator) for n in (400, 80))
    aware = recovery.trained(settings, train, heldout, loss="annotator")
    found = {row["annotator"]: row["position"] for row in aware.learnt["annotators"]}
    reliable = [name for name, eta in world.reliability.items() if eta >= 0.8]
    true = np.array([world.bias[name] for name in reliable])
    values = np.array([found[name]["value"] for name in reliable])
    assert np.corrcoef(true, values)[0, 1] > 0.8
    assert all(found[name]["low"] < found[name]["value"] < found[name]["high"] for name in found)
    # lengths never differ here, so there is no such term
    assert "length" not in aware.learnt["annotators"][0]


def nothing(examples):
    rewards = torch.zeros(2 * len(examples))
    return rewards, rewards[:, None][:, :0], examples


# --- by hand --------------------------------------------------------------------------------------


def judged(simulated):
    return [
        simulated.pair(Preference(0, 1), 0, (30, 10), annotator="ada", first_shown=0),
        simulated.pair(Preference(1, 0), 0, (30, 10), annotator="bob", first_shown=0),
        simulated.pair(Preference(0, 1), 1, (10, 30), annotator="ada", first_shown=1),
        simulated.pair(Preference(0, 1, probability=0.5), 1, (10, 30), annotator="ada"),
    ]


def test_losses_take_each_annotators_own_parameters(simulated):
    examples = judged(simulated)
    objective = Annotators.of(examples, ("position", "length"), PRIOR)
    assert objective.counts == {"ada": 3, "bob": 1}
    assert objective.length_scale == 20.0
    with torch.no_grad():
        objective.scalars["reliability"].copy_(torch.tensor([1.0, -0.5]))
        objective.scalars["nuisance"].copy_(torch.tensor([[0.3, 0.2], [-0.4, 0.1]]))
    stranger = simulated.pair(Preference(0, 1), 2, annotator="new", first_shown=0)
    rewards = torch.tensor([1.0, 0.0] * 5)
    losses = objective.losses(rewards, rewards[:, None][:, :0], [*examples, stranger])
    wanted = annotator_bradley_terry(
        torch.tensor([1.0, 0.0, 1.0, 1.0, 1.0]),
        torch.tensor([0.0, 1.0, 0.0, 0.0, 0.0]),
        torch.tensor([1.0, -0.5, 1.0, 1.0, float(np.log(10))]),
        # position, then length: 20 tokens are one unit
        torch.tensor([0.3 + 0.2, 0.4 - 0.1, -0.3 - 0.2, -0.2, 0.0]),
        torch.tensor([1.0, 1.0, 1.0, 0.5, 1.0]),
    )
    torch.testing.assert_close(losses, wanted)
    assert positions(examples).tolist() == [1.0, -1.0, -1.0, 0.0]


def test_the_prior_is_a_betas_and_counts_once_over_the_data(simulated):
    examples = judged(simulated)
    objective = Annotators.of(examples, ("position",), (4.0, 2.0))
    a = torch.tensor([0.7, -0.2])
    with torch.no_grad():
        objective.scalars["reliability"].copy_(a)
        objective.scalars["nuisance"].copy_(torch.tensor([[0.5], [2.0]]))
    eta = torch.sigmoid(a)
    beta = -(4 * eta.log() + 2 * (1 - eta).log()).sum()
    wanted = (beta + 0.5 * (0.25 + 4.0)) / 4
    torch.testing.assert_close(objective.penalty(*nothing(examples)), wanted)
    # highest at 4 / (4 + 2)
    fresh = Annotators.of(examples, (), (4.0, 2.0))
    torch.testing.assert_close(torch.sigmoid(fresh.scalars["reliability"]), torch.full((2,), 4 / 6))
    fresh.penalty(*nothing(examples)).backward()
    torch.testing.assert_close(fresh.scalars["reliability"].grad, torch.zeros(2))


def test_few_judgments_leave_a_wide_interval(simulated):
    examples = judged(simulated)
    objective = Annotators.of(examples, (), PRIOR)
    readings = Readings(examples, np.tile([2.0, 0.0], 4), np.zeros((8, 0)))
    ada, bob = objective.record(readings, readings)["annotators"]
    assert (ada["reliability"]["n"], bob["reliability"]["n"]) == (3, 1)
    for row in (ada, bob):
        assert row["reliability"]["low"] < 0.75 < 0.95 < row["reliability"]["high"]
    assert objective.record(readings, readings)["length_unit_tokens"] is None


def test_terms_that_never_vary_are_left_out(simulated):
    same = [simulated.pair(Preference(0, 1), n, annotator=a) for n in range(3) for a in "xy"]
    assert Annotators.of(same, ("position", "length"), PRIOR).terms == ()
    shown = [simulated.pair(Preference(0, 1), 9, annotator="x", first_shown=1)]
    assert Annotators.of([*same, *shown], ("position", "length"), PRIOR).terms == ("position",)
    assert Annotators.of([*same, *shown], (), PRIOR).terms == ()


@pytest.mark.parametrize(
    ("names", "probability", "sentence"),
    [
        (["ada", None, "bob"], 1.0, "1 of 3 training comparisons name no annotator"),
        (["ada"] * 3, 1.0, "all 3 training judgments are by 'ada'"),
        (["ada", "bob", "eve"], 1.0, "each of 3 judged one pair"),
        (["ada", "ada", "eve"], 0.5, "all 3 training judgments are ties"),
    ],
)
def test_judgments_that_tell_nothing_of_annotators_are_refused(
    simulated, names, probability, sentence
):
    examples = [
        simulated.pair(Preference(0, 1, probability), n, annotator=name)
        for n, name in enumerate(names)
    ]
    with pytest.raises(ConfigError, match=sentence):
        Annotators.of(examples, ("position",), PRIOR)
