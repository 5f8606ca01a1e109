"""Losses of pairs: Bradley-Terry on soft labels, and its kin for strengths and noise.

Letters: P preferences (pairs) · B examples (comparisons).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.train.losses.precision import wide


def bradley_terry(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None = None,
    margin: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """Cross-entropy of the soft label that each chosen response beats its rejected one.

    ``-q log σ(Δ - m) - (1 - q) log σ(-(Δ - m))`` with ``Δ = chosen - rejected``. Bradley &
    Terry 1952; the margin is subtracted as in Llama 2, eq. 2. Swapping the two sides, ``q`` for
    ``1 - q`` and ``m`` for ``-m`` changes nothing.

    Args:
        probability: ``q``, that chosen is better: 1 (the default), 0.5 a tie, or a share of votes.
        margin: ``m``, how much better the annotator said it was; larger asks for a wider gap.
            A tie has 0.
    """
    gap = wide(chosen) - wide(rejected)
    if margin is not None:
        gap = gap - wide(margin)
    # logsigmoid, not log(sigmoid): the latter is -inf for large negative gaps.
    if probability is None:
        return -logsigmoid(gap)
    q = wide(probability)
    return -q * logsigmoid(gap) - (1 - q) * logsigmoid(-gap)


def smooth(probability: Float[Tensor, "P"], label_smoothing: float) -> Float[Tensor, "P"]:
    """Soft labels with a share of their mass moved to the other side: ``q(1 - ε) + (1 - q)ε``.

    With ``q = 1`` the loss is smallest at the finite gap ``log((1 - ε)/ε)``. Ties stay ties.
    """
    q = wide(probability)
    return q * (1 - label_smoothing) + (1 - q) * label_smoothing


def scaled_bradley_terry(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    strength: Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """Bradley-Terry loss times the strength of each preference.

    ``-m log σ(Δ)``: HelpSteer2-Preference (Wang et al. 2024), where m is 1, 2 or 3. Strength 0
    means that none was stated, or a tie: such a pair weighs 1, as a slight preference does on that
    scale, because a weight of 0 would erase it. A fraction stays the weight it is.

    Args:
        strength: How much better chosen is, 0 or more.
    """
    given = wide(strength)
    weight = torch.where(given == 0, torch.ones_like(given), given)
    return weight * bradley_terry(chosen, rejected, probability)


def noise_corrected(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    noise_rate: float,
    probability: Float[Tensor, "P"] | None = None,
    floor: float = -float("inf"),
) -> Float[Tensor, "P"]:
    """A loss whose mean over flipped labels is the Bradley-Terry loss of the true ones.

    ``max([(1 - ε) L(Δ) - ε L(-Δ)] / (1 - 2ε), floor)`` with ``L(Δ) = -log σ(Δ)``, where each label
    was flipped with probability ε: Natarajan et al. 2013, lemma 1. Without the floor it equals
    ``L(Δ) - ε/(1 - 2ε) Δ``: as curved as ``L``, and unbounded below, so a model that can memorise
    its labels sends gaps to infinity; the floor stops it, at the price of exactness there.

    Args:
        noise_rate: ε, at least 0 and below 0.5.
        probability: ``q``, as in ``bradley_terry``; the label that was seen.
        floor: Smallest value; below it a pair has no gradient.
    """
    gap = wide(chosen) - wide(rejected)
    q = torch.ones_like(gap) if probability is None else wide(probability)
    slope = noise_rate / (1 - 2 * noise_rate) * (2 * q - 1)
    return (bradley_terry(chosen, rejected, probability) - slope * gap).clamp(min=floor)


def symmetric(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    probability: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """The share of the probability that is on the wrong side: ``q σ(-Δ) + (1 - q) σ(Δ)``.

    ``L(Δ) + L(-Δ) = 1``, and for such losses the best model is the same whatever share of the
    labels, below one half, is flipped: Ghosh, Manwani & Sastry 2015. Pairs that the model is sure
    of, right or wrong, have next to no gradient; σ(Δ) is then no calibrated probability.
    """
    gap = wide(chosen) - wide(rejected)
    if probability is None:
        return torch.sigmoid(-gap)
    q = wide(probability)
    return q * torch.sigmoid(-gap) + (1 - q) * torch.sigmoid(gap)


def annotator_bradley_terry(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    reliability_logit: Float[Tensor, "P"],
    nuisance: Float[Tensor, "P"] | None = None,
    probability: Float[Tensor, "P"] | None = None,
) -> Float[Tensor, "P"]:
    """Negative log-likelihood of judgments by annotators who are right with some probability.

    ``-log[η σ(Δ + n) + (1 - η) σ(-(Δ + n))]`` with ``η = σ(a)``: CrowdBT, Chen et al. 2013, with a
    nuisance term n in the gap for what moves the annotator but not the reward, such as which
    response stood first. (factorBT, Bugakova et al. 2019, mixes the nuisance in instead:
    ``η σ(Δ) + (1 - η) σ(n)``, which no adversary fits.) ``η = 1`` is the Bradley-Terry loss,
    ``η = 1/2`` learns nothing from the judgment, ``η < 1/2`` turns it round.

    Args:
        reliability_logit: ``a`` of each judgment's annotator.
        nuisance: ``n`` of each judgment, in favour of chosen. None means 0.
        probability: ``q``, as in ``bradley_terry``: the mean of the two sides' losses.
    """
    gap = wide(chosen) - wide(rejected)
    if nuisance is not None:
        gap = gap + wide(nuisance)
    a = wide(reliability_logit)
    right, wrong = logsigmoid(a), logsigmoid(-a)

    def loss(gap: Tensor) -> Tensor:
        return -torch.logaddexp(right + logsigmoid(gap), wrong + logsigmoid(-gap))

    if probability is None:
        return loss(gap)
    q = wide(probability)
    return q * loss(gap) + (1 - q) * loss(-gap)


def centering(chosen: Float[Tensor, "P"], rejected: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Penalty ``(chosen + rejected)²`` that keeps rewards near zero.

    Eisenstein et al. 2023, as TRL's ``center_rewards_coefficient`` computes it. Preferences fix
    rewards only up to a constant for each prompt; this fixes the constant, so that rewards compare
    across prompts and models.
    """
    return (wide(chosen) + wide(rejected)) ** 2


def per_example(
    pair_losses: Float[Tensor, "P"], example: Int[Tensor, "P"], num_examples: int
) -> Float[Tensor, "B"]:
    """Mean loss over the pairs of each example; 0 for an example without pairs.

    ``1/C(K,2) Σ`` over the pairs of a ranking of K: InstructGPT, eq. 1. K forwards serve all C(K,2)
    pairs, and a prompt weighs the same whatever its K. For weighted pairs take
    ``per_example(weight * losses, …)`` and add ``per_example(weight, …)`` to the step's weight.

    Args:
        example: Index of the example each pair belongs to, from 0 to ``num_examples - 1``.
    """
    losses = wide(pair_losses)
    total = losses.new_zeros(num_examples).index_add(0, example, losses)
    count = losses.new_zeros(num_examples).index_add(0, example, torch.ones_like(losses))
    return total / count.clamp(min=1)
