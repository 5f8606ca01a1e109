"""Cross-fitting: no head sees its own prompt, by changing what it must not see."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from fitting import SMALL
from sklearn.metrics import roc_auc_score

from assay.errors import ConfigError, DataError
from assay.train.crossfit import CrossFit, cross_fit, flipped_bradley_terry, leave_out
from assay.train.encode import Example, pair_index
from assay.train.heads import HeadPlan, Heads, HeadsTask, bootstrap_weights
from assay.train.losses import bradley_terry
from assay.types import Preference

SETTINGS = replace(
    SMALL,
    epochs=20,
    batch_size=128,
    token_budget=1 << 30,
    warmup_fraction=0.05,
    eval_every=1000,
    save_every=1000,
    log_every=1000,
)


def plan_of(examples: list[Example], width: int, members: int = 2, l2: float = 0.01) -> HeadPlan:
    clusters = [e.cluster for e in examples]
    weights = [bootstrap_weights(clusters, m) for m in range(members)]
    return HeadPlan(
        mask=np.ones((members, width), dtype=np.bool_),
        weights=np.stack(weights, axis=1),
        l2=np.full(members, l2, dtype=np.float32),
        seeds=tuple(range(members)),
    )


def fitted(examples: list[Example], features: np.ndarray, **changes) -> CrossFit:
    options = {"folds": 3, "rounds": 1, **changes}
    return cross_fit(examples, features, plan_of(examples, features.shape[1]), SETTINGS, **options)


# --- out of fold it is ----------------------------------------------------------------------------


def test_the_labels_of_a_prompt_change_nothing_about_its_own_gaps(made) -> None:
    data = made(120)
    before = fitted(data.examples, data.features)
    # every label of prompt 7 turned round: its heads have not seen them, others have
    turned = [
        replace(e, preferences=tuple(replace(p, chosen=p.rejected, rejected=p.chosen)
                                     for p in e.preferences)) if e.cluster == 7 else e
        for e in data.examples
    ]  # fmt: skip
    after = fitted(turned, data.features)
    own = np.array([e.cluster for e in data.examples]) == 7
    assert own.sum() == 2
    assert np.array_equal(after.gaps[own], -before.gaps[own])
    others = np.abs(after.gaps[~own] - before.gaps[~own])
    assert (others.max(axis=1) > 0).mean() > 0.5
    # the second round learns one number from it
    twice = [fitted(e, data.features, rounds=2).gaps[own] for e in (data.examples, turned)]
    assert twice[1] == pytest.approx(-twice[0], rel=0.2)


def test_labels_that_can_only_be_memorised_are_not(example) -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(200, 300)).astype(np.float32)
    examples = [example(i, i, *[Preference(i % 2, 1 - i % 2)]) for i in range(100)]
    found = fitted(examples, features)
    assert (found.gaps.mean(axis=1) > 0).mean() < 0.65
    heads = Heads(np.ones((1, 300), dtype=np.bool_), (0,))
    # by heads that see them they are
    task = HeadsTask(heads, plan_of(examples, 300, members=1), examples, features)
    seen = torch.linalg.lstsq(task.gaps, torch.ones(100, 1)).solution
    assert ((task.gaps @ seen) > 0).float().mean() == 1.0


def test_each_member_has_folds_of_its_own_and_prompts_stay_together(made) -> None:
    data = made(100)
    found = fitted(data.examples, data.features)
    assert found.fold.shape == (100, 2)
    assert np.array_equal(found.fold[::2], found.fold[1::2])
    assert not np.array_equal(found.fold[:, 0], found.fold[:, 1])
    assert set(found.fold.ravel()) == {0, 1, 2}


def test_a_left_out_fold_weighs_nothing_and_the_rest_one(made) -> None:
    data = made(60)
    plan = plan_of(data.examples, 8)
    fold = np.stack([np.arange(60) // 2 % 3, np.arange(60) // 20], axis=1)
    whole = leave_out(plan, fold, 3)
    assert whole.weights.shape == (60, 6)
    for m in range(2):
        for k in range(3):
            column, out = whole.weights[:, 3 * m + k], fold[:, m] == k
            assert (column[out] == 0).all()
            assert column.mean() == pytest.approx(1)
            own = plan.weights[~out, m]
            assert column[~out] == pytest.approx(own * 60 / own.sum())
    assert whole.seeds == (0, 0, 0, 1, 1, 1)
    # a bootstrap that drew the fold alone would leave a head without data
    alone = replace(plan, weights=np.where(fold == 0, 1.0, 0.0).astype(np.float32))
    assert leave_out(alone, fold, 3).weights[:, 0].sum() == pytest.approx(60)


# --- what it finds --------------------------------------------------------------------------------


def test_flips_are_found_and_a_second_round_finds_more(made) -> None:
    data = made(500, width=12)
    index = pair_index(data.examples)
    assert index.cluster[1] == 0
    once, twice = (fitted(data.examples, data.features, rounds=r) for r in (1, 2))
    areas = [roc_auc_score(data.flipped, -f.gaps.mean(axis=1)) for f in (once, twice)]
    assert areas[0] > 0.85
    assert areas[1] > areas[0]
    assert twice.flips.rate == pytest.approx(0.2, abs=0.05)
    assert len(twice.fits) == 2
    wrong = twice.flips.wrong(twice.gaps.mean(axis=1))
    assert data.flipped[wrong > 0.5].mean() > 0.7


def test_without_flips_few_labels_are_suspected(made) -> None:
    data = made(400, rate=0.0)
    found = fitted(data.examples, data.features, rounds=2)
    wrong = found.flips.wrong(found.gaps.mean(axis=1))
    assert found.flips.rate < 0.03
    assert (wrong > 0.5).mean() < 0.01


# --- the loss -------------------------------------------------------------------------------------


def test_the_loss_that_allows_for_flips_by_hand() -> None:
    gaps = torch.tensor([0.0, np.log(3.0), -np.log(3.0), 40.0, -40.0], dtype=torch.float64)
    certain = torch.ones(5, dtype=torch.float64)
    found = flipped_bradley_terry(gaps, certain, 0.1)
    said = [0.5, 0.1 + 0.8 * 0.75, 0.1 + 0.8 * 0.25, 0.9, 0.1]
    assert found.tolist() == pytest.approx([-np.log(p) for p in said])
    turned = flipped_bradley_terry(-gaps, certain - 1, 0.1)
    assert turned.tolist() == pytest.approx(found.tolist())
    half = flipped_bradley_terry(gaps, certain / 2, 0.1)
    other = flipped_bradley_terry(-gaps, certain, 0.1)
    assert half.tolist() == pytest.approx(((found + other) / 2).tolist())


def test_without_flips_it_is_bradley_terry_and_with_them_its_gradient_fades() -> None:
    gaps = torch.linspace(-9, 9, 19, dtype=torch.float64, requires_grad=True)
    q = torch.rand(19, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    none = torch.zeros_like(gaps)
    torch.testing.assert_close(flipped_bradley_terry(gaps, q, 0.0), bradley_terry(gaps, none, q))
    torch.testing.assert_close(
        flipped_bradley_terry(gaps, q, 1e-12), bradley_terry(gaps, none, q), atol=1e-7, rtol=1e-6
    )
    (gradient,) = torch.autograd.grad(
        flipped_bradley_terry(gaps, torch.ones_like(q), 0.1).sum(), gaps
    )
    assert gradient.abs()[0] < 0.01  # -9: a label that contradicts a sure head pulls no more
    assert gradient.abs().max() < 0.5
    far = torch.tensor([1e4, -1e4], requires_grad=True)
    loss = flipped_bradley_terry(far, torch.ones(2), 0.2).sum()
    (gradient,) = torch.autograd.grad(loss, far)
    assert torch.isfinite(loss)
    assert torch.isfinite(gradient).all()


def test_without_held_out_pairs_the_objective_decides(made) -> None:
    data = made(50)
    heads = Heads(np.ones((2, 8), dtype=np.bool_), (0, 1))
    plan = plan_of(data.examples, 8)
    task = HeadsTask(heads, plan, data.examples, data.features)
    row = task.summarise(task.evaluate(heads, 0, 1))
    weights = heads.weight.detach()
    per_pair = torch.nn.functional.softplus(-(task.gaps @ weights.T))
    by_head = (per_pair * torch.from_numpy(plan.weights)).mean(dim=0)
    wanted = (by_head + 0.005 * weights.square().sum(dim=1)).sum()
    assert row == {"heldout/loss": pytest.approx(float(wanted), rel=1e-5)}
    assert task.evaluate(heads, 1, 2) == []


# --- what is refused ------------------------------------------------------------------------------


def test_what_cannot_be_cross_fitted_is_said(made) -> None:
    data = made(8)
    with pytest.raises(ConfigError, match="folds is 1; leaving one out takes at least 2"):
        fitted(data.examples, data.features, folds=1)
    with pytest.raises(ConfigError, match="rounds is 0; it is at least 1"):
        fitted(data.examples, data.features, rounds=0)
    with pytest.raises(DataError, match="folds is 5 and there are 4 prompts; every fold needs"):
        fitted(data.examples, data.features, folds=5)
    ties = [replace(e, preferences=(Preference(0, 1, 0.5),)) for e in data.examples]
    with pytest.raises(DataError, match="All 8 pairs are ties, which take no side"):
        fitted(ties, data.features)
    light = [replace(e, preferences=(Preference(0, 1, weight=0.0),)) for e in data.examples]
    with pytest.raises(DataError, match="or weigh 0; give data with preferences"):
        fitted(light, data.features)
    with pytest.raises(DataError, match="reward both responses of all 8 pairs alike"):
        fitted(data.examples, np.zeros_like(data.features))
