"""Losses of single responses: labelled good or bad, or rated.

Letters: R responses · A attributes · Q quantiles.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from assay.train.losses.precision import wide


def binary(
    rewards: Float[Tensor, "R"], label: Float[Tensor, "R"], threshold: Float[Tensor, ""]
) -> Float[Tensor, "R"]:
    """Cross-entropy of the label that a response is good.

    ``-y log σ(r - t) - (1 - y) log σ(-(r - t))``: logistic regression, Cox 1958. The threshold t is
    its intercept: a reward means something only next to another, and t is what a response is
    compared with when there is no other.

    Args:
        label: ``y``, the probability that the response is good: 1 good, 0 bad.
    """
    logit, y = wide(rewards) - wide(threshold), wide(label)
    return y * softplus(-logit) + (1 - y) * softplus(logit)


def kto(
    rewards: Float[Tensor, "R"],
    label: Float[Tensor, "R"],
    reference: Float[Tensor, ""],
    good_weight: float = 1.0,
    bad_weight: float = 1.0,
) -> Float[Tensor, "R"]:
    """Loss by a saturating utility of good and bad responses around a reference point.

    ``λ_g σ(z - r)`` for a good response and ``λ_b σ(r - z)`` for a bad one: the loss of KTO
    (Ethayarajh et al. 2024, eq. 8), adapted to a reward model. There r is ``β log π/π_ref`` of a
    policy and z its KL divergence from ``π_ref``; here r is the head's output with ``β = 1`` (the
    head sets its own scale), and z the mean reward of the training responses, through which no
    gradient flows. There is no policy, so there is no KL. A response far on either side has next to
    no gradient: mislabelled ones pull less than in ``binary``.

    Args:
        label: ``y``, the probability that the response is good: 1 good, 0 bad.
        reference: ``z``.
        good_weight: ``λ_g``. Where good and bad are n_g and n_b, KTO's authors keep
            ``λ_g n_g / (λ_b n_b)`` between 1 and 4/3.
        bad_weight: ``λ_b``.
    """
    above, y = wide(rewards) - wide(reference), wide(label)
    good, bad = good_weight * torch.sigmoid(-above), bad_weight * torch.sigmoid(above)
    return y * good + (1 - y) * bad


def regression(
    predictions: Float[Tensor, "R A"], ratings: Float[Tensor, "R A"], mask: Bool[Tensor, "R A"]
) -> Float[Tensor, "R"]:
    """Mean squared error over the attributes a response was rated on; 0 where it was on none.

    ``1/|A_i| Σ_a (ŷ_ia - y_ia)²``: the loss of HelpSteer2's reward models (Wang et al. 2024), which
    rate five attributes, with those that are missing left out.

    Args:
        mask: True where there is a rating; elsewhere ``ratings`` may hold anything, even NaN.
    """
    error = (wide(predictions) - wide(ratings).masked_fill(~mask, 0.0)).masked_fill(~mask, 0.0)
    return error.square().sum(1) / mask.sum(1).clamp(min=1)


def pinball(
    predictions: Float[Tensor, "R Q"], rating: Float[Tensor, "R"], quantiles: Float[Tensor, "Q"]
) -> Float[Tensor, "R"]:
    """Mean over quantiles of the loss that each is smallest for.

    ``1/Q Σ_τ max(τ u, (τ - 1) u)`` with ``u = y - ŷ_τ``: Koenker & Bassett 1978; as a reward head
    in QRM (Dorka 2024). An output is best where a share τ of the ratings lies below it. Nothing
    keeps the outputs of one response in order.

    Args:
        quantiles: ``τ``, between 0 and 1, one an output.
    """
    error = wide(rating)[:, None] - wide(predictions)
    tau = wide(quantiles)
    return torch.maximum(tau * error, (tau - 1) * error).mean(1)
