"""The loss of implicit process rewards: by hand, and against torch."""

import math

import pytest
import torch

from assay.train.losses.steps import implicit_outcome_loss


def test_by_hand() -> None:
    """With beta 0.5, log-ratios of 2 and -2 are rewards of 1 and -1."""
    losses = implicit_outcome_loss(
        torch.tensor([2.0, 2.0, -2.0]), torch.tensor([1.0, 0.0, 0.0]), beta=0.5
    )
    wrong, right = math.log(1 + math.e), math.log(1 + math.exp(-1))
    assert losses.tolist() == pytest.approx([right, wrong, right])


def test_it_is_torchs_cross_entropy_of_the_reward() -> None:
    generator = torch.Generator().manual_seed(0)
    ratio, correct = torch.randn(64, generator=generator) * 30, torch.rand(64, generator=generator)
    wanted = torch.nn.functional.binary_cross_entropy_with_logits(
        0.05 * ratio, correct, reduction="none"
    )
    torch.testing.assert_close(implicit_outcome_loss(ratio, correct), wanted)


def test_its_gradient_is_finite_and_raises_the_odds_of_right_responses() -> None:
    ratio = torch.tensor([0.0, 0.0, 1e6, -1e6], requires_grad=True)
    implicit_outcome_loss(ratio, torch.tensor([1.0, 0.0, 0.0, 1.0])).sum().backward()
    assert ratio.grad is not None
    torch.testing.assert_close(ratio.grad, 0.05 * torch.tensor([-0.5, 0.5, 1.0, -1.0]))
