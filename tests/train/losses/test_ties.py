"""Tie models: the papers' own formulas, probabilities that add up, symmetries, gradients."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from assay.train.losses import bradley_terry, davidson, rao_kupper

rewards = st.floats(-20, 20)


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


Loss = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MODELS = pytest.mark.parametrize("loss", [rao_kupper, davidson])


def textbook_rao_kupper(i: float, j: float, theta: float) -> tuple[float, float, float]:
    """P(i), P(j), P(tie) from strengths, as printed by Rao and Kupper."""
    p, q = math.exp(i), math.exp(j)
    tie = (theta**2 - 1) * p * q / ((p + theta * q) * (theta * p + q))
    return p / (p + theta * q), q / (q + theta * p), tie


def textbook_davidson(i: float, j: float, nu: float) -> tuple[float, float, float]:
    """P(i), P(j), P(tie) from strengths, as printed by Davidson."""
    p, q = math.exp(i), math.exp(j)
    total = p + q + nu * math.sqrt(p * q)
    return p / total, q / total, nu * math.sqrt(p * q) / total


@MODELS
@given(rewards, rewards, st.floats(0.01, 3))
def test_the_three_outcomes_have_the_textbook_probabilities(
    loss: Loss, i: float, j: float, parameter: float
) -> None:
    got = [torch.exp(-loss(t(i), t(j), scalar(parameter), t(q))) for q in (1.0, 0.0, 0.5)]
    textbook = textbook_rao_kupper if loss is rao_kupper else textbook_davidson
    torch.testing.assert_close(torch.cat(got), t(*textbook(i, j, math.exp(parameter))))
    torch.testing.assert_close(sum(got), t(1.0))


@MODELS
@given(rewards, rewards, st.floats(0.01, 3), st.floats(0, 1))
def test_swapping_the_sides_with_their_label_changes_nothing(
    loss: Loss, i: float, j: float, parameter: float, q: float
) -> None:
    one = loss(t(i), t(j), scalar(parameter), t(q))
    # 1 - q is 0.5 for a q that rounds to it, and then it is another outcome
    if (q == 0.5) == (1 - q == 0.5):
        torch.testing.assert_close(loss(t(j), t(i), scalar(parameter), t(1 - q)), one)


@given(rewards, rewards, st.floats(0, 1).filter(lambda q: q != 0.5))
def test_without_ties_both_are_bradley_terry(i: float, j: float, q: float) -> None:
    plain = bradley_terry(t(i), t(j), t(q))
    torch.testing.assert_close(rao_kupper(t(i), t(j), scalar(0.0), t(q)), plain)
    torch.testing.assert_close(davidson(t(i), t(j), scalar(-math.inf), t(q)), plain)
    torch.testing.assert_close(
        rao_kupper(t(i), t(j), scalar(0.0)), bradley_terry(t(i), t(j)), atol=1e-12, rtol=1e-12
    )


@given(rewards, rewards, st.floats(-3, 3))
def test_among_pairs_that_are_no_ties_davidson_is_bradley_terry(
    i: float, j: float, log_tie: float
) -> None:
    win = torch.exp(-davidson(t(i), t(j), scalar(log_tie)))
    loss = torch.exp(-davidson(t(j), t(i), scalar(log_tie)))
    torch.testing.assert_close(-torch.log(win / (win + loss)), bradley_terry(t(i), t(j)))


@MODELS
def test_a_tie_wants_no_gap_and_more_ties(loss: Loss) -> None:
    gap, parameter = t(2.0).requires_grad_(), scalar(0.5).requires_grad_()
    slopes = torch.autograd.grad(loss(gap, t(0), parameter, t(0.5)).sum(), (gap, parameter))
    assert slopes[0] > 0
    assert slopes[1] < 0


@MODELS
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
@pytest.mark.parametrize("gap", [-1e4, 1e4])
@pytest.mark.parametrize("parameter", [-60.0, 0.0, 1e-30, 3.0, 80.0])
def test_huge_gaps_and_any_parameter_stay_finite(
    loss: Loss, dtype: torch.dtype, gap: float, parameter: float
) -> None:
    chosen = torch.tensor([gap, gap, gap], dtype=dtype, requires_grad=True)
    parameter = max(parameter, 0.0) if loss is rao_kupper else parameter
    learnt = torch.tensor(parameter, requires_grad=True)
    losses = loss(chosen, torch.zeros(3, dtype=dtype), learnt, torch.tensor([1.0, 0.5, 0.3]))
    assert losses.dtype == torch.float32
    assert torch.isfinite(losses).all()
    for gradient in torch.autograd.grad(losses.sum(), (chosen, learnt)):
        assert torch.isfinite(gradient).all()


@MODELS
def test_gradients_agree_with_finite_differences(loss: Loss) -> None:
    generator = torch.Generator().manual_seed(2)
    chosen, rejected = torch.randn(2, 4, dtype=torch.float64, generator=generator)
    q = t(1, 0.5, 0.2, 0.5)
    inputs = (chosen.requires_grad_(), rejected.requires_grad_(), scalar(0.7).requires_grad_())
    assert torch.autograd.gradcheck(lambda c, r, p: loss(c, r, p, q), inputs)
