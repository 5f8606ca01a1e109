"""Advantages, divergences and losses against their definitions and published constants."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assay.errors import ConfigError
from assay.rlhf.advantages import gae, grpo, rloo, token_rewards, whiten
from assay.rlhf.kl import ESTIMATORS, KLControl, k1, k2, k3
from assay.rlhf.losses import policy_loss, value_loss

NUMBERS = st.floats(-5, 5, width=32)


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, 9).flatmap(lambda n: st.tuples(*[arrays(np.float64, n, elements=NUMBERS)] * 2)),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_gae_is_its_definition(
    given_: tuple[np.ndarray, np.ndarray], gamma: float, lam: float
) -> None:
    rewards, values = given_
    total = len(rewards)
    after = np.append(values, 0.0)
    deltas = [rewards[t] + gamma * after[t + 1] - values[t] for t in range(total)]
    wanted = [
        sum((gamma * lam) ** ahead * deltas[t + ahead] for ahead in range(total - t))
        for t in range(total)
    ]
    np.testing.assert_allclose(gae(rewards, values, gamma, lam), wanted, atol=1e-9)


def test_without_discount_the_returns_are_what_is_still_to_come() -> None:
    rewards, values = np.array([1.0, -2.0, 3.0]), np.array([0.3, 0.1, -4.0])
    np.testing.assert_allclose(gae(rewards, values, 1.0, 1.0) + values, [2.0, 1.0, 3.0])


def test_whitening_gives_the_published_constants() -> None:
    # "The N Implementation Details of RLHF with PPO": rewards from 1.2 to 2.0 in three rows
    rows = [np.array([1.2, 1.3, 1.4]), np.array([1.5, 1.6, 1.7]), np.array([1.8, 1.9, 2.0])]
    kept = np.concatenate(whiten(rows, shift_mean=False))
    np.testing.assert_allclose(kept[:3], [0.0508, 0.4381, 0.8254], atol=1e-4)
    shifted = np.concatenate(whiten(rows))
    np.testing.assert_allclose(shifted[:3], [-1.5492, -1.1619, -0.7746], atol=1e-4)
    assert shifted.var() == pytest.approx(1.0, abs=1e-6)


def test_the_score_is_at_the_last_token_and_the_penalty_at_every_one() -> None:
    found = token_rewards(5.0, np.array([0.1, -0.2, 0.3]), 0.5)
    np.testing.assert_allclose(found, [-0.05, 0.1, 4.85])


@settings(max_examples=40, deadline=None)
@given(
    st.tuples(st.integers(1, 4), st.integers(2, 5)).flatmap(
        lambda shape: arrays(np.float64, shape, elements=NUMBERS)
    )
)
def test_leaving_one_out_is_its_definition(scores: np.ndarray) -> None:
    k = scores.shape[1]
    wanted = [[row[i] - np.delete(row, i).mean() for i in range(k)] for row in scores]
    np.testing.assert_allclose(rloo(scores), wanted, atol=1e-9)
    np.testing.assert_allclose(rloo(scores), k / (k - 1) * grpo(scores, scale=False), atol=1e-9)


def test_one_left_out_counts_for_nobody() -> None:
    scores = np.array([[1.0, np.nan, 4.0], [2.0, np.nan, np.nan]])
    found = rloo(scores)
    np.testing.assert_allclose(found[0, [0, 2]], [-3.0, 3.0])
    assert np.isnan(found[0, 1])
    assert np.isnan(found[1]).all()
    assert np.isnan(grpo(scores)[1]).all()


def test_grpo_divides_by_the_sample_deviation() -> None:
    found = grpo(np.array([[1.0, 2.0, 3.0], [5.0, 5.0, 5.0]]))
    np.testing.assert_allclose(found[0], np.array([-1, 0, 1]) / (1 + 1e-4))
    np.testing.assert_allclose(found[1], 0.0)


def test_one_sample_has_nothing_to_be_compared_with() -> None:
    for advantages in (rloo, grpo):
        with pytest.raises(ConfigError, match="two or more samples"):
            advantages(np.ones((3, 1)))


@pytest.mark.parametrize("distance", [0.1, 1.0])
def test_estimates_of_the_divergence_against_the_exact_one(distance: float) -> None:
    generator = np.random.default_rng(0)
    drawn = generator.normal(0.0, 1.0, 400_000)
    ours, theirs = -(drawn**2) / 2, -((drawn - distance) ** 2) / 2
    exact = distance**2 / 2
    means = {name: float(f(ours, theirs).mean()) for name, f in ESTIMATORS.items()}
    deviations = {name: float(f(ours, theirs).std()) for name, f in ESTIMATORS.items()}
    assert means["k1"] == pytest.approx(exact, rel=0.04)
    assert means["k3"] == pytest.approx(exact, rel=0.04)
    # Schulman's table: k2 is 0.25 % off at a small distance, and 25 % at a distance of 1
    assert means["k2"] / exact - 1 == pytest.approx(0.25 * distance**2, abs=0.02)
    assert deviations["k1"] / exact == pytest.approx(2 / distance, rel=0.02)
    assert deviations["k3"] < deviations["k1"]


def test_the_exact_divergence_of_two_categorical_policies() -> None:
    ours, theirs = np.array([0.7, 0.2, 0.1]), np.array([0.4, 0.4, 0.2])
    a, b = np.log(ours), np.log(theirs)
    exact = float((ours * (a - b)).sum())
    assert float((ours * k1(a, b)).sum()) == pytest.approx(exact)
    assert float((ours * k3(a, b)).sum()) == pytest.approx(exact)
    assert (k3(a, b) >= 0).all()
    assert float((ours * k2(a, b)).sum()) != pytest.approx(exact, rel=1e-3)


def test_an_adaptive_coefficient_follows_the_published_rule() -> None:
    control = KLControl(0.1, target=6.0, horizon=1000.0)
    assert control.after(6.0, 64).beta == pytest.approx(0.1)
    assert control.after(12.0, 64).beta == pytest.approx(0.1 * (1 + 0.2 * 64 / 1000))
    assert control.after(0.0, 64).beta == pytest.approx(0.1 * (1 - 0.2 * 64 / 1000))
    assert control.after(6.6, 64).beta == pytest.approx(0.1 * (1 + 0.1 * 64 / 1000))
    assert KLControl(0.1).after(99.0, 64).beta == 0.1


def test_a_coefficient_that_cannot_work_is_refused() -> None:
    for control, said in (
        (KLControl(-1.0), "kl_coef is -1"),
        (KLControl(0.1, target=0.0), "kl_target is 0"),
        (KLControl(0.0, target=5.0), "can never grow"),
        (KLControl(0.1, target=5.0, horizon=0.0), "kl_horizon is 0"),
    ):
        with pytest.raises(ConfigError, match=said):
            control.check()


def test_the_clipped_losses_are_their_definitions() -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, advantages, returns = (torch.randn(50, generator=generator) for _ in range(4))
    ratio = (new - old).exp()
    pairs = [
        max(float(-a * r), float(-a * min(max(float(r), 0.8), 1.2)))
        for a, r in zip(advantages, ratio, strict=True)
    ]
    torch.testing.assert_close(policy_loss(new, old, advantages), torch.tensor(pairs))
    values = [
        0.5
        * max(
            float(v - r) ** 2, (min(max(float(v), float(o) - 0.2), float(o) + 0.2) - float(r)) ** 2
        )
        for v, o, r in zip(new, old, returns, strict=True)
    ]
    torch.testing.assert_close(value_loss(new, old, returns), torch.tensor(values))


def test_the_first_update_is_reinforce() -> None:
    old = torch.tensor([-0.5, -2.0, -1.0])
    new = old.clone().requires_grad_()
    advantages = torch.tensor([1.0, -3.0, 0.5])
    policy_loss(new, old, advantages).sum().backward()
    torch.testing.assert_close(new.grad, -advantages)


def test_the_policy_gradient_is_that_of_the_expected_reward() -> None:
    """All sequences of 3 tokens from 5, weighted by their probability, instead of samples."""
    vocabulary, length = 5, 3
    generator = torch.Generator().manual_seed(0)
    logits = [
        torch.randn(vocabulary**t, vocabulary, generator=generator).requires_grad_()
        for t in range(length)
    ]
    rewards = torch.randn(vocabulary**length, generator=generator)
    sequences = torch.cartesian_prod(*[torch.arange(vocabulary)] * length)

    def said() -> torch.Tensor:
        columns, prefix = [], torch.zeros(len(sequences), dtype=torch.long)
        for t in range(length):
            table = torch.log_softmax(logits[t], -1)
            columns.append(table[prefix, sequences[:, t]])
            prefix = prefix * vocabulary + sequences[:, t]
        return torch.stack(columns, 1)  # (B, T)

    exact = torch.autograd.grad((said().sum(1).exp() * rewards).sum(), logits)
    logprobs = said()
    old = logprobs.detach()
    chance = old.sum(1).exp()
    baseline = (chance * rewards).sum()
    by_token = policy_loss(logprobs, old, (rewards - baseline)[:, None].expand(-1, length))
    whole = policy_loss(logprobs.sum(1), old.sum(1), rewards - baseline)
    for loss in ((by_token.sum(1) * chance).sum(), (whole * chance).sum()):
        found = torch.autograd.grad(loss, logits, retain_graph=True)
        for ours, wanted in zip(found, exact, strict=True):
            torch.testing.assert_close(-ours, wanted, atol=1e-6, rtol=1e-5)
