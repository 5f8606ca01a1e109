"""Losses of single responses: by hand, against torch and numpy, what they are smallest for."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assay.train.losses import binary, bradley_terry, kto, pinball, regression

rewards = st.floats(-30, 30)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# --- binary ---------------------------------------------------------------------------------------


def test_binary_is_torchs_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits, y = torch.randn(64, generator=generator), torch.rand(64, generator=generator)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(logits - 0.7, y, reduction="none")
    torch.testing.assert_close(binary(logits, y, torch.tensor(0.7)), wanted)


@given(rewards, rewards, st.floats(0, 1))
def test_a_threshold_is_the_reward_of_an_opponent(reward: float, other: float, y: float) -> None:
    loss = binary(t(reward), t(y), scalar(other))
    torch.testing.assert_close(loss, bradley_terry(t(reward), t(other), t(y)))


# --- kto ------------------------------------------------------------------------------------------


def test_kto_by_hand() -> None:
    losses = kto(t(2, 2), t(1, 0), scalar(0.5), good_weight=1.5, bad_weight=0.5)
    torch.testing.assert_close(losses, t(1.5 * sigmoid(-1.5), 0.5 * sigmoid(1.5)))


def test_kto_is_the_papers_loss_with_rewards_for_log_ratios() -> None:
    # eq. 8: λ_y - v(x, y), v = λ_g σ(r - z) if desirable, λ_b σ(z - r) if not
    for reward, z, good, bad in ((1.3, 0.2, 1.0, 1.3), (-4.0, 1.0, 2.0, 1.0)):
        desirable = good - good * sigmoid(reward - z)
        undesirable = bad - bad * sigmoid(z - reward)
        losses = kto(t(reward, reward), t(1, 0), scalar(z), good, bad)
        torch.testing.assert_close(losses, t(desirable, undesirable))


@given(rewards, rewards)
def test_kto_pulls_good_responses_up_and_bad_ones_down(reward: float, z: float) -> None:
    r = t(reward, reward).requires_grad_()
    (gradient,) = torch.autograd.grad(kto(r, t(1, 0), scalar(z)).sum(), r, retain_graph=True)
    assert gradient[0] <= 0 <= gradient[1]
    torch.testing.assert_close(gradient[0], -gradient[1])


# --- regression -----------------------------------------------------------------------------------


def test_regression_by_hand_with_what_is_missing_left_out() -> None:
    predictions = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    ratings = torch.tensor([[2.0, math.nan, 5.0], [math.nan] * 3, [1.0, 1.0, 4.0]])
    losses = regression(predictions, ratings, ~ratings.isnan())
    torch.testing.assert_close(losses, torch.tensor([(1 + 4) / 2, 0.0, 3.0]))


def test_what_is_missing_has_no_gradient() -> None:
    predictions = torch.zeros(2, 2, dtype=torch.float64, requires_grad=True)
    ratings = torch.tensor([[1.0, math.nan], [math.nan, math.nan]], dtype=torch.float64)
    (gradient,) = torch.autograd.grad(
        regression(predictions, ratings, ~ratings.isnan()).sum(), predictions
    )
    torch.testing.assert_close(gradient, torch.tensor([[-2.0, 0.0], [0.0, 0.0]]).double())


# --- pinball --------------------------------------------------------------------------------------


def test_pinball_by_hand() -> None:
    # u = 1 - 0 and 1 - 3: 0.9 · 1 and 0.1 · 2, averaged
    losses = pinball(torch.tensor([[0.0, 3.0]]), torch.tensor([1.0]), torch.tensor([0.9, 0.9]))
    torch.testing.assert_close(losses, torch.tensor([(0.9 + 0.2) / 2]))


@given(st.integers(0, 2**31), st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_the_pinball_loss_is_smallest_at_the_quantile(seed: int, tau: float) -> None:
    ratings = np.random.default_rng(seed).normal(size=41)
    quantile = float(np.quantile(ratings, tau, method="inverted_cdf"))

    def loss(at: float) -> float:
        predictions = torch.full((41, 1), at, dtype=torch.float64)
        return float(pinball(predictions, torch.from_numpy(ratings), t(tau)).mean())

    assert all(loss(quantile) <= loss(quantile + step) + 1e-12 for step in (-0.3, -0.01, 0.01, 0.3))


def test_the_median_costs_half_the_absolute_error() -> None:
    generator = torch.Generator().manual_seed(1)
    predictions, ratings = torch.randn(2, 20, generator=generator)
    losses = pinball(predictions[:, None], ratings, torch.tensor([0.5]))
    torch.testing.assert_close(losses, (ratings - predictions).abs() / 2)


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("reward", [-1e4, 1e4])
def test_huge_rewards_stay_finite_in_value_and_gradient(dtype: torch.dtype, reward: float) -> None:
    r = torch.tensor([reward, reward], dtype=dtype, requires_grad=True)
    y, zero = torch.tensor([1.0, 0.3]), torch.tensor(0.0, requires_grad=True)
    mask = torch.tensor([[True], [False]])
    losses = torch.stack(
        [
            binary(r, y, zero),
            kto(r, y, zero),
            regression(r[:, None], y[:, None], mask),
            pinball(r[:, None], y, torch.tensor([0.2])),
        ]
    )
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    for gradient in torch.autograd.grad(losses.sum(), (r, zero)):
        assert torch.isfinite(gradient).all()


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    r = torch.randn(4, dtype=torch.float64, generator=generator).requires_grad_()
    y, point = t(1, 0, 0.3, 1), scalar(0.4).requires_grad_()
    assert torch.autograd.gradcheck(lambda r, z: binary(r, y, z), (r, point))
    assert torch.autograd.gradcheck(lambda r, z: kto(r, y, z, 1.5, 0.7), (r, point))
    heads = torch.randn(4, 3, dtype=torch.float64, generator=generator).requires_grad_()
    ratings = torch.randn(4, 3, dtype=torch.float64, generator=generator)
    mask = torch.rand(4, 3, generator=generator) > 0.4
    assert torch.autograd.gradcheck(lambda h: regression(h, ratings, mask), heads)
    assert torch.autograd.gradcheck(lambda h: pinball(h, ratings[:, 0], t(0.1, 0.5, 0.9)), heads)
