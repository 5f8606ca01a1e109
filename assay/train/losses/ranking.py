"""The loss of whole rankings: Plackett-Luce, with ties.

Letters: B examples (comparisons) · K responses of one example · S stages.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations, groupby
from math import comb

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from assay.errors import DataError
from assay.train.losses.precision import wide

LARGEST_TIE = 12
"""Most responses in one tie of a Plackett-Luce ranking: its 2^12 - 1 subsets are summed over."""


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
    values = wide(rewards).masked_fill(~mask, 0.0)  # padding may hold anything, even NaN
    present = mask.tolist()
    groups = [list(range(len(row))) for row in present] if group is None else group.tolist()
    stages = [
        (example, subset, weight)
        for example, row in enumerate(present)
        for subset, weight in _stages(groups[example], row)
    ]
    owner = torch.tensor([e for e, _, _ in stages], dtype=torch.long, device=values.device)  # (S,)
    weight = torch.tensor(
        [w for _, _, w in stages], dtype=values.dtype, device=values.device
    )  # (S,)
    standing = torch.zeros(len(stages), values.shape[1], dtype=torch.bool)  # (S, K)
    places = [(s, k) for s, (_, subset, _) in enumerate(stages) for k in subset]
    standing[tuple(torch.tensor(places, dtype=torch.long).view(-1, 2).T)] = True
    contenders = values[owner].masked_fill(~standing.to(values.device), -torch.inf)  # (S, K)
    normaliser = weight * contenders.logsumexp(dim=1)  # (S,)
    return values.new_zeros(values.shape[0]).index_add(0, owner, normaliser) - values.sum(dim=1)


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
