"""Losses of reward modelling: pure functions of rewards, one value per example.

They know nothing of models or data. Each computes in float32 or wider, whatever comes in, and is
finite in value and gradient for gaps of ±1e4. ``docs/theory.md`` has the formulas and sources.

Letters: P preferences (pairs) · B examples (comparisons) · K responses of one example · S stages.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from math import comb

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.errors import DataError

LARGEST_TIE = 12
"""Most responses in one tie of a Plackett-Luce ranking: its 2^12 - 1 subsets are summed over."""


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
    gap = _wide(chosen) - _wide(rejected)
    if margin is not None:
        gap = gap - _wide(margin)
    # logsigmoid, not log(sigmoid): the latter is -inf for large negative gaps.
    if probability is None:
        return -logsigmoid(gap)
    q = _wide(probability)
    return -q * logsigmoid(gap) - (1 - q) * logsigmoid(-gap)


def smooth(probability: Float[Tensor, "P"], label_smoothing: float) -> Float[Tensor, "P"]:
    """Soft labels with a share of their mass moved to the other side: ``q(1 - ε) + (1 - q)ε``.

    With ``q = 1`` the loss is smallest at the finite gap ``log((1 - ε)/ε)``. Ties stay ties.
    """
    q = _wide(probability)
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
    wide = _wide(strength)
    weight = torch.where(wide == 0, torch.ones_like(wide), wide)
    return weight * bradley_terry(chosen, rejected, probability)


def centering(chosen: Float[Tensor, "P"], rejected: Float[Tensor, "P"]) -> Float[Tensor, "P"]:
    """Penalty ``(chosen + rejected)²`` that keeps rewards near zero.

    Eisenstein et al. 2023, as TRL's ``center_rewards_coefficient`` computes it. Preferences fix
    rewards only up to a constant for each prompt; this fixes the constant, so that rewards compare
    across prompts and models.
    """
    return (_wide(chosen) + _wide(rejected)) ** 2


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
    losses = _wide(pair_losses)
    total = losses.new_zeros(num_examples).index_add(0, example, losses)
    count = losses.new_zeros(num_examples).index_add(0, example, torch.ones_like(losses))
    return total / count.clamp(min=1)


def plackett_luce(
    rewards: Float[Tensor, "B K"],
    mask: Bool[Tensor, "B K"],
    group: Int[Tensor, "B K"] | None = None,
) -> Float[Tensor, "B"]:
    """Negative log-likelihood of each example's ranking, best response first.

    ``Σ_k [logsumexp_{j ≥ k} r_j - r_k]``: Plackett 1975, Luce 1959. At K = 2 it is the
    Bradley-Terry loss.

    Tied responses have no order, so the loss is its mean over all orders of the tie, computed
    exactly: when s of a tie of g still stand, each of its C(g, s) subsets is equally likely to be
    the one. At K = 2 a tie is the Bradley-Terry loss with ``probability`` 0.5.

    Args:
        rewards: Of the responses in ranked order, best first; rows are padded to the longest K.
        mask: True where there is a response, False where there is padding.
        group: Tie group of each response: neighbours with the same number are tied. None means
            no ties.

    Raises:
        DataError: If a tie holds more than ``LARGEST_TIE`` responses.
    """
    wide = _wide(rewards).masked_fill(~mask, 0.0)  # padding may hold anything, even NaN
    present = mask.tolist()
    groups = [list(range(len(row))) for row in present] if group is None else group.tolist()
    stages = [
        (example, subset, weight)
        for example, row in enumerate(present)
        for subset, weight in _stages(groups[example], row)
    ]
    owner = torch.tensor([e for e, _, _ in stages], dtype=torch.long, device=wide.device)  # (S,)
    weight = torch.tensor([w for _, _, w in stages], dtype=wide.dtype, device=wide.device)  # (S,)
    standing = torch.zeros(len(stages), wide.shape[1], dtype=torch.bool)  # (S, K)
    places = [(s, k) for s, (_, subset, _) in enumerate(stages) for k in subset]
    standing[tuple(torch.tensor(places, dtype=torch.long).view(-1, 2).T)] = True
    contenders = wide[owner].masked_fill(~standing.to(wide.device), -torch.inf)  # (S, K)
    normaliser = weight * contenders.logsumexp(dim=1)  # (S,)
    return wide.new_zeros(wide.shape[0]).index_add(0, owner, normaliser) - wide.sum(dim=1)


def _stages(
    group: Sequence[int], present: Sequence[bool]
) -> Iterator[tuple[tuple[int, ...], float]]:
    """Which responses can stand when one place is filled, and how probable that is, last first."""
    later: tuple[int, ...] = ()
    places = [k for k, there in enumerate(present) if there]
    for _, members in groupby(reversed(places), key=lambda k: group[k]):
        tie = tuple(members)
        if len(tie) > LARGEST_TIE:
            raise DataError(
                f"Plackett-Luce takes ties of at most {LARGEST_TIE} responses, but a ranking ties "
                f"{len(tie)}; use the Bradley-Terry loss."
            )
        for size in range(1, len(tie) + 1):
            share = 1 / comb(len(tie), size)
            for subset in combinations(tie, size):
                yield subset + later, share
        later += tie


def _wide(x: Tensor) -> Tensor:
    """float32 from the half precisions; float64 stays, for gradient checks."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
