"""Value: losses of comparisons by hand, and the same through trees, packed or not, and features."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from fitting import textless
from torch import nn

from assay.models.features import FeatureCache
from assay.models.reward_model import RewardModel
from assay.train.encode import encode, pair_index
from assay.train.tasks import (
    LEARNT_GAP,
    FeatureTask,
    HeldoutGaps,
    LossSettings,
    TreeTask,
    example_losses,
    ranking_of,
)
from assay.types import Comparison, Preference, as_messages

pytestmark = pytest.mark.usefixtures("own_cache")


def softplus(x):
    return math.log1p(math.exp(x))


def losses(rewards, *examples, name="bradley-terry", **settings):
    return example_losses(torch.tensor(rewards), examples, LossSettings(name, **settings)).tolist()


def test_a_pair_costs_what_bradley_and_terry_say():
    assert losses([1.0, -0.5], textless()) == pytest.approx([softplus(-1.5)])
    soft = textless(Preference(1, 0, probability=0.75))
    assert losses([1.0, -0.5], soft) == pytest.approx(
        [0.75 * softplus(1.5) + 0.25 * softplus(-1.5)]
    )


def test_the_margin_is_subtracted_or_multiplies():
    strong = textless(Preference(0, 1, margin=2.0))
    assert losses([1.0, -0.5], strong, name="margin") == pytest.approx([softplus(0.5)])
    assert losses([1.0, -0.5], strong, name="scaled") == pytest.approx([2 * softplus(-1.5)])
    assert losses([1.0, -0.5], strong) == pytest.approx([softplus(-1.5)])


def test_smoothing_moves_mass_and_centring_adds_the_square_of_the_sum():
    smoothed = 0.9 * softplus(-1.5) + 0.1 * softplus(1.5)
    assert losses([1.0, -0.5], textless(), label_smoothing=0.1) == pytest.approx([smoothed])
    centred = softplus(-1.5) + 0.3 * 0.5**2
    assert losses([1.0, -0.5], textless(), centering=0.3) == pytest.approx([centred])


def test_a_ranking_is_the_mean_over_its_pairs_so_no_prompt_weighs_more_for_its_responses():
    three = textless(
        Preference(2, 0), Preference(2, 1), Preference(0, 1), count=3, ranking=((2,), (0,), (1,))
    )
    r = [0.2, -0.4, 1.0]
    mean = (softplus(r[0] - r[2]) + softplus(r[1] - r[2]) + softplus(r[1] - r[0])) / 3
    assert losses(r, three) == pytest.approx([mean])
    together = losses([*r, 0.5, 0.1], three, textless())
    assert together == pytest.approx([mean, softplus(-0.4)])


def test_preferences_weigh_within_their_comparison():
    weighted = textless(Preference(0, 1, weight=3.0), Preference(0, 2, weight=1.0), count=3)
    r = [0.2, -0.4, 1.0]
    wanted = (3 * softplus(-0.6) + softplus(0.8)) / 4  # times the example's weight, 2, in the loop
    assert losses(r, weighted) == pytest.approx([wanted])
    assert weighted.weight == 2.0
    nothing = textless(Preference(0, 1, weight=0.0))
    assert losses([1.0, 0.0], nothing) == [0.0]


def test_plackett_luce_reads_the_ranking_whatever_the_order_of_the_responses():
    ranked = textless(Preference(2, 0), count=3, ranking=((2,), (0,), (1,)))
    r = [0.2, -0.4, 1.0]
    first = math.log(sum(math.exp(x) for x in r)) - r[2]
    second = math.log(math.exp(r[0]) + math.exp(r[1])) - r[0]
    got = losses([0.5, 0.1, *r], textless(), ranked, name="plackett-luce")
    assert got == pytest.approx([softplus(-0.4), first + second])


def test_a_pair_is_a_ranking_of_two():
    assert ranking_of(textless(Preference(1, 0))) == ((1,), (0,))
    assert ranking_of(textless(Preference(1, 0, probability=0.5))) == ((1, 0),)
    assert ranking_of(textless(ranking=((0, 1),))) == ((0, 1),)
    tie = textless(Preference(0, 1, probability=0.5))
    assert losses([1.0, 0.0], tie, name="plackett-luce") == pytest.approx(losses([1.0, 0.0], tie))


def test_heldout_figures_by_hand():
    examples = [textless(), textless(Preference(1, 0), cluster=1)]
    gaps = HeldoutGaps(np.array([1.0, -0.5, 0.25, 0.0]), pair_index(examples))
    assert gaps.gaps.tolist() == [1.5, -0.25]
    row = gaps.row()
    assert row["heldout/loss"] == pytest.approx((softplus(-1.5) + softplus(0.25)) / 2)
    assert row["heldout/accuracy"] == 0.5
    assert row["heldout/gap"] == pytest.approx(0.625)


def test_losses_for_flipped_labels_by_hand():
    # gap 1.5, a fifth flipped: Bradley-Terry less a line of slope 0.2 / 0.6
    corrected = losses([1.0, -0.5], textless(), name="noise-corrected", noise_rate=0.2)
    assert corrected == pytest.approx([softplus(-1.5) - 1.5 / 3])
    soft = textless(Preference(0, 1, probability=0.75))
    symmetric = 0.75 / (1 + math.exp(1.5)) + 0.25 / (1 + math.exp(-1.5))
    assert losses([1.0, -0.5], soft, name="symmetric") == pytest.approx([symmetric])


def test_a_pair_is_learnt_when_its_gap_is_wide_enough():
    rewards = torch.tensor([LEARNT_GAP + 1, 0.0, LEARNT_GAP - 1, 0.0], requires_grad=True)
    settings = LossSettings("noise-corrected", noise_rate=0.3)
    total = example_losses(rewards, [textless(), textless(cluster=1)], settings).sum()
    (slopes,) = torch.autograd.grad(total, rewards)
    assert slopes[0] == 0
    assert slopes[2] < 0


def test_losses_for_flipped_labels_choose_the_best_state_themselves():
    head = nn.Linear(1, 1, bias=False)
    features = np.array([[1.0], [-0.5]], dtype=np.float32)
    for name in ("symmetric", "noise-corrected", "margin"):
        settings = LossSettings(name, noise_rate=0.2, centering=9.0)
        task = FeatureTask(head, [textless()], features, [textless()], features, settings)
        row = task.summarise([np.array([1.0, -0.5])])
        if name == "margin":
            assert row["heldout/loss"] == pytest.approx(softplus(-1.5))
            continue
        assert row["heldout/nll"] == pytest.approx(softplus(-1.5))
        own = losses([1.0, -0.5], textless(), name=name, noise_rate=0.2)
        assert row["heldout/loss"] == pytest.approx(own[0])


# --- through a backbone ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tiny_backbone, own_cache):
    return RewardModel.from_backbone(str(tiny_backbone), max_length=256)


@pytest.fixture(scope="module")
def examples(model, gold_pairs):
    pairs = [
        Comparison(
            as_messages(row["prompt"], "user"),
            (as_messages(row["chosen"], "assistant"), as_messages(row["rejected"], "assistant")),
            (Preference(0, 1, weight=1.0 + i % 2),),
        )
        for i, row in enumerate(gold_pairs(6))
    ]
    ranked = Comparison(
        as_messages("Write three words", "user"),
        tuple(
            as_messages(text, "assistant")
            for text in ("kind", "rude and vague", "the rain", "calm")
        ),
        tuple(Preference(a, b) for a, b in ((3, 0), (3, 2), (3, 1), (0, 2), (0, 1), (2, 1))),
        ranking=((3,), (0,), (2,), (1,)),
    )
    found, _ = encode(model.renderer, [*pairs, ranked], range(7), share=True)
    return found


def gradients(model, loss):
    model.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def task_of(model, examples, name="bradley-terry"):
    return TreeTask(model, examples, examples, LossSettings(name), 2048)


@pytest.mark.parametrize("name", ["bradley-terry", "plackett-luce"])
def test_packing_comparisons_of_any_k_together_changes_neither_loss_nor_gradient(
    model, examples, name
):
    task = task_of(model, examples, name)
    weights = torch.tensor(task.weights)
    packed = task.losses(model, range(len(examples)))
    whole = gradients(model, (packed * weights).sum())
    alone = [task.losses(model, [i]) for i in range(len(examples))]
    parts = gradients(model, (torch.cat(alone) * weights).sum())
    torch.testing.assert_close(torch.cat(alone), packed, rtol=1e-5, atol=1e-6)
    for key, gradient in whole.items():
        assert (parts[key] - gradient).norm() <= 1e-4 * gradient.norm() + 1e-7, key


def test_shares_of_the_heldout_data_add_up_to_all_of_it(model, examples):
    task = TreeTask(model, examples, examples, LossSettings(), token_budget=120)
    whole = task.evaluate(model, 0, 1)
    shares = [task.evaluate(model, rank, 3) for rank in range(3)]
    assert all(shares)
    together = [result for share in shares for result in share]
    assert sorted(together) == sorted(whole)
    assert task.summarise(together) == task.summarise(whole)
    assert all(len(rewards) == len(examples[i].lengths) for i, rewards in whole)


def test_cached_features_give_the_losses_of_the_whole_forward(model, examples):
    tokens = [t for e in examples for t in e.tokens]
    features = FeatureCache.of(model).get(model, tokens, token_budget=300)
    head = nn.Linear(features.shape[1], 1, bias=False)
    head.weight.data.copy_(model.head.weight.data)
    trees = task_of(model, examples)
    cached = FeatureTask(head, examples, features, examples, features, LossSettings())
    with torch.no_grad():
        wanted = trees.losses(model, range(len(examples)))
        got = cached.losses(head, range(len(examples)))
        some = cached.losses(head, [6, 2])
    torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(some, wanted[[6, 2]], rtol=1e-5, atol=1e-6)
    assert cached.weights == trees.weights
    assert cached.costs == [2] * 6 + [4]
    assert cached.evaluate(head, 1, 2) == []
    row = cached.summarise(cached.evaluate(head, 0, 1))
    assert row == pytest.approx(trees.summarise(trees.evaluate(model, 0, 1)), rel=1e-5)
