"""Losses of step rewards: cross-entropy of steps' labels or shares, or of outcomes alone.

Letters: N judged steps · C outputs · K classes · B responses.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from assay.models.process_model import class_logits
from assay.train.losses.precision import wide
from assay.train.losses.single import binary


def step_cross_entropy(
    logits: Float[Tensor, "N C"], targets: Float[Tensor, "N K"]
) -> Float[Tensor, "N"]:
    """Cross-entropy of each step, ``-Σ_k t_k log softmax(z)_k``, in float32.

    With a share as target, the soft estimation of Wang et al. 2024 (Math-Shepherd), eq. 3 and 4.

    Args:
        logits: One output is the logit of good against bad (K = 2).
        targets: Each row sums to 1.
    """
    return -(targets * torch.log_softmax(class_logits(logits).float(), dim=-1)).sum(dim=-1)


def implicit_outcome_loss(
    log_ratio: Float[Tensor, "B"], correct: Float[Tensor, "B"], beta: float = 0.05
) -> Float[Tensor, "B"]:
    """Cross-entropy of a response's outcome when its reward is a log-ratio of two language models.

    ``-l log σ(r) - (1 - l) log σ(-r)`` with ``r = β log π/π_ref``: the cross-entropy variant of
    Yuan et al. 2024 (arXiv 2412.01981), which needs no pairs. It trains the policy; the reference
    is fixed. The steps of a response then have rewards of their own, see ``score.implicit``.

    Args:
        log_ratio: ``log π(y) - log π_ref(y)`` of each whole response.
        correct: ``l``, the probability that the response is right: 1 right, 0 wrong.
    """
    rewards = beta * wide(log_ratio)
    return binary(rewards, correct, rewards.new_zeros(()))
