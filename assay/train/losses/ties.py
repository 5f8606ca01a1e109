"""Losses of pairs that may be ties, by models in which a tie is an outcome of its own.

Letters: P preferences (pairs).
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.train.losses.precision import wide

TIE = 0.5
"""The soft label that says tie. Any other is a mixture of the two sides winning."""


def rao_kupper(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    log_threshold: Float[Tensor, ""] | Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """Negative log-likelihood where a response wins only by more than a threshold.

    ``P(chosen) = σ(Δ - h)``, ``P(rejected) = σ(-Δ - h)`` and
    ``P(tie) = (θ² - 1) σ(Δ - h) σ(-Δ - h)`` with ``h = log θ``: Rao & Kupper 1967. At ``θ = 1``
    there are no ties and it is the Bradley-Terry loss.

    Args:
        log_threshold: ``h``, of all pairs or of each; 0 or more, and ties need more than 0.
        probability: ``q``; exactly 0.5 is a tie.
    """
    gap, h = wide(chosen) - wide(rejected), wide(log_threshold)
    win, loss = logsigmoid(gap - h), logsigmoid(-gap - h)
    # log(θ² - 1) without overflow; the clamp keeps the gradient finite where there are no ties
    double = (2 * h).clamp(min=torch.finfo(h.dtype).tiny)
    tie = double + torch.log(-torch.expm1(-double)) + win + loss
    return _by_outcome(win, loss, tie, probability)


def davidson(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    log_tie: Float[Tensor, ""] | Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """Negative log-likelihood where a tie is as likely as the sides' geometric mean says.

    ``P(chosen) ∝ e^{r_c}``, ``P(rejected) ∝ e^{r_r}``, ``P(tie) ∝ ν e^{(r_c + r_r)/2}``: Davidson
    1970. At ``ν = 0`` it is the Bradley-Terry loss; among pairs that are no ties
    ``P(chosen) = σ(Δ)`` whatever ν is.

    Args:
        log_tie: ``log ν``, of all pairs or of each.
        probability: ``q``; exactly 0.5 is a tie.
    """
    gap = wide(chosen) - wide(rejected)
    sides = torch.stack([gap / 2, -gap / 2, wide(log_tie).expand_as(gap)])  # (3, P)
    win, loss, tie = sides.log_softmax(dim=0)
    return _by_outcome(win, loss, tie, probability)


def _by_outcome(
    win: Float[Tensor, "P"],
    loss: Float[Tensor, "P"],
    tie: Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None,
) -> Float[Tensor, "P"]:
    """Minus the log-probability of what was said."""
    if probability is None:
        return -win
    q = wide(probability)
    return -torch.where(q == TIE, tie, q * win + (1 - q) * loss)
