"""Noise-aware pair losses: values by hand, expectations by enumeration, symmetries, gradients."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assay.train.losses import (
    annotator_bradley_terry,
    bradley_terry,
    noise_corrected,
    smooth,
    symmetric,
)

rewards = st.floats(-30, 30)
probabilities = st.floats(0, 1)
rates = st.floats(0, 0.45)
logits = st.floats(-6, 6)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


# --- noise_corrected ------------------------------------------------------------------------------


def test_noise_corrected_by_hand() -> None:
    # gap 1, flipped with probability 0.2
    right, wrong = math.log(1 + math.exp(-1)), math.log(1 + math.e)
    expected = (0.8 * right - 0.2 * wrong) / 0.6
    torch.testing.assert_close(noise_corrected(t(1.5), t(0.5), 0.2), t(expected))


@given(rewards, rewards, rates, probabilities)
def test_its_mean_over_flipped_labels_is_the_loss_of_the_true_one(
    chosen: float, rejected: float, rate: float, q: float
) -> None:
    seen = noise_corrected(t(chosen), t(rejected), rate, t(q))
    flipped = noise_corrected(t(chosen), t(rejected), rate, t(1 - q))
    mean = (1 - rate) * seen + rate * flipped
    clean = bradley_terry(t(chosen), t(rejected), t(q))
    torch.testing.assert_close(mean, clean, rtol=1e-9, atol=1e-9)


def test_the_mean_over_every_pattern_of_flips_is_the_mean_loss_of_the_clean_labels() -> None:
    generator = torch.Generator().manual_seed(0)
    chosen, rejected = torch.randn(2, 6, generator=generator, dtype=torch.float64)
    rate, expected = 0.3, t(0.0)
    for pattern in range(2**6):
        flips = torch.tensor([pattern >> i & 1 for i in range(6)], dtype=torch.float64)
        chance = torch.prod(torch.where(flips == 1, rate, 1 - rate))
        expected = expected + chance * noise_corrected(chosen, rejected, rate, 1 - flips).mean()
    torch.testing.assert_close(expected, bradley_terry(chosen, rejected).mean()[None])


@given(rewards, rewards, rates)
def test_it_is_bradley_terry_less_a_straight_line(
    chosen: float, rejected: float, rate: float
) -> None:
    # Natarajan's formula, written down as it stands
    right, wrong = (bradley_terry(t(a), t(b)) for a, b in ((chosen, rejected), (rejected, chosen)))
    textbook = ((1 - rate) * right - rate * wrong) / (1 - 2 * rate)
    torch.testing.assert_close(
        noise_corrected(t(chosen), t(rejected), rate), textbook, rtol=1e-9, atol=1e-9
    )


def test_without_noise_it_is_bradley_terry_and_smoothing_undoes_it() -> None:
    chosen, rejected, q = t(2, -1, 0.5), t(1, 1, 0.5), t(1, 0.7, 0.5)
    torch.testing.assert_close(
        noise_corrected(chosen, rejected, 0.0, q), bradley_terry(chosen, rejected, q)
    )
    # a label smoothed by the noise rate and corrected for it is the label again
    corrected = noise_corrected(chosen, rejected, 0.2, smooth(q, 0.2))
    torch.testing.assert_close(corrected, bradley_terry(chosen, rejected, q))


def test_below_the_floor_there_is_no_gradient() -> None:
    chosen = t(50.0, 0.5).requires_grad_()
    losses = noise_corrected(chosen, t(0, 0), 0.2, floor=-1.0)
    assert losses[0] == -1.0
    (gradient,) = torch.autograd.grad(losses.sum(), chosen)
    assert gradient[0] == 0
    assert gradient[1] < 0


# --- symmetric ------------------------------------------------------------------------------------


def test_symmetric_by_hand() -> None:
    torch.testing.assert_close(symmetric(t(1.0), t(0.0)), t(sigmoid(-1)))
    soft = symmetric(t(1.0), t(0.0), t(0.75))
    torch.testing.assert_close(soft, t(0.75 * sigmoid(-1) + 0.25 * sigmoid(1)))


@given(rewards, rewards, rates)
def test_symmetric_losses_of_a_label_and_its_opposite_add_up_to_one(
    chosen: float, rejected: float, rate: float
) -> None:
    right, wrong = symmetric(t(chosen), t(rejected)), symmetric(t(rejected), t(chosen))
    torch.testing.assert_close(right + wrong, t(1.0))
    # so flipped labels only shrink the loss and shift it: the order of any two models stays
    mean = (1 - rate) * right + rate * wrong
    torch.testing.assert_close(mean, (1 - 2 * rate) * right + rate)


# --- annotators -----------------------------------------------------------------------------------


def test_annotator_bradley_terry_by_hand() -> None:
    # right with probability 3/4, first response preferred by 0.5, gap 1
    loss = annotator_bradley_terry(t(1), t(0), t(math.log(3)), t(0.5))
    expected = -math.log(0.75 * sigmoid(1.5) + 0.25 * sigmoid(-1.5))
    torch.testing.assert_close(loss, t(expected))


@given(rewards, rewards, logits, st.floats(-3, 3))
def test_both_answers_of_an_annotator_have_probability_one(
    chosen: float, rejected: float, a: float, n: float
) -> None:
    one = annotator_bradley_terry(t(chosen), t(rejected), t(a), t(n))
    other = annotator_bradley_terry(t(rejected), t(chosen), t(a), t(-n))
    torch.testing.assert_close(torch.exp(-one) + torch.exp(-other), t(1.0))


@given(rewards, rewards, logits, st.floats(-3, 3), probabilities)
def test_an_adversary_is_a_reliable_annotator_of_the_opposite(
    chosen: float, rejected: float, a: float, n: float, q: float
) -> None:
    one = annotator_bradley_terry(t(chosen), t(rejected), t(a), t(n), t(q))
    other = annotator_bradley_terry(t(chosen), t(rejected), t(-a), t(n), t(1 - q))
    torch.testing.assert_close(one, other)
    swapped = annotator_bradley_terry(t(rejected), t(chosen), t(a), t(-n), t(1 - q))
    torch.testing.assert_close(one, swapped)


def test_a_perfect_annotator_is_bradley_terry_and_a_coin_teaches_nothing() -> None:
    chosen, rejected = t(1, -2).requires_grad_(), t(0, 1)
    perfect = annotator_bradley_terry(chosen, rejected, t(60, 60))
    torch.testing.assert_close(perfect, bradley_terry(chosen, rejected))
    coin = annotator_bradley_terry(chosen, rejected, t(0, 0))
    torch.testing.assert_close(coin, t(math.log(2), math.log(2)))
    (gradient,) = torch.autograd.grad(coin.sum(), chosen)
    torch.testing.assert_close(gradient, t(0, 0))


def test_reliability_is_the_smoothing_that_was_measured() -> None:
    # P(label) = η σ(Δ) + (1 - η) σ(-Δ): at the best Δ for certain labels σ(Δ) = 1
    a = t(math.log(4))
    wide_gap = annotator_bradley_terry(t(200.0), t(0.0), a)
    torch.testing.assert_close(wide_gap, t(-math.log(0.8)))


# --- all of them ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("gap", [-1e4, 1e4])
def test_huge_gaps_stay_finite_in_value_and_gradient(dtype: torch.dtype, gap: float) -> None:
    chosen = torch.tensor([gap, gap], dtype=dtype, requires_grad=True)
    logit = torch.tensor([2.0, -50.0], requires_grad=True)
    rejected, q = torch.zeros(2, dtype=dtype), torch.tensor([1.0, 0.3])
    losses = torch.stack(
        [
            noise_corrected(chosen, rejected, 0.4, q),
            noise_corrected(chosen, rejected, 0.4, floor=-1.0),
            symmetric(chosen, rejected, q),
            symmetric(chosen, rejected),
            annotator_bradley_terry(chosen, rejected, logit, q, q),
            annotator_bradley_terry(chosen, rejected, logit),
        ]
    )
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    for gradient in torch.autograd.grad(losses.sum(), (chosen, logit)):
        assert torch.isfinite(gradient).all()


def test_gradients_agree_with_finite_differences() -> None:
    generator = torch.Generator().manual_seed(2)
    chosen, rejected, a, n, q = torch.rand(5, 5, dtype=torch.float64, generator=generator)
    both = chosen.requires_grad_(), rejected.requires_grad_()
    assert torch.autograd.gradcheck(lambda c, r: noise_corrected(c, r, 0.2, q), both)
    assert torch.autograd.gradcheck(lambda c, r: symmetric(c, r, q), both)
    assert torch.autograd.gradcheck(
        lambda c, r, a, n: annotator_bradley_terry(c, r, a, n, q),
        (*both, a.requires_grad_(), n.requires_grad_()),
    )
