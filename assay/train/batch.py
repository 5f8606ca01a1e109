"""Rewards of comparisons laid out by preference: what every pairwise loss is given.

Letters: P preferences · B comparisons · R responses.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from assay.train.encode import Example, PairIndex, pair_index
from assay.train.losses import per_example


@dataclass(frozen=True)
class PairBatch:
    """Rewards of both sides of all preferences of B comparisons, and what was said of them."""

    chosen: Float[Tensor, "P"]
    rejected: Float[Tensor, "P"]
    probability: Float[Tensor, "P"]
    weight: Float[Tensor, "P"]
    example: Int[Tensor, "P"]
    index: PairIndex
    size: int

    @property
    def margin(self) -> Float[Tensor, "P"]:
        """The asked-for distance of each preference."""
        return torch.from_numpy(self.index.margin).to(self.chosen.device)

    def gaps(self, values: Float[Tensor, "R"]) -> Float[Tensor, "P"]:
        """Chosen minus rejected of one value a response."""
        chosen, rejected = _sides(values, self.index)
        return chosen - rejected

    def mean(self, losses: Float[Tensor, "P"]) -> Float[Tensor, "B"]:
        """Weighted mean of each comparison's losses; 0 for one without preferences.

        The loop multiplies by the comparison's weight, which is its preferences' mean weight.
        """
        total = per_example(self.weight, self.example, self.size).clamp(min=1e-12)
        return per_example(losses * self.weight, self.example, self.size) / total


def pair_batch(rewards: Float[Tensor, "R"], examples: Sequence[Example]) -> PairBatch:
    """The preferences of comparisons, from the rewards of all their responses laid end to end."""
    index = pair_index(examples)
    device = rewards.device
    chosen, rejected = _sides(rewards, index)
    return PairBatch(
        chosen=chosen,
        rejected=rejected,
        probability=torch.from_numpy(index.probability).to(device),
        weight=torch.tensor([p.weight for e in examples for p in e.preferences], device=device),
        example=torch.from_numpy(index.example).to(device),
        index=index,
        size=len(examples),
    )


def _sides(values: Tensor, index: PairIndex) -> tuple[Tensor, Tensor]:
    device = values.device
    chosen, rejected = (torch.from_numpy(i).to(device) for i in (index.chosen, index.rejected))
    return values[chosen], values[rejected]


def per_response(losses: Float[Tensor, "R"], examples: Sequence[Example]) -> Float[Tensor, "B"]:
    """Mean loss of each comparison's responses, which are laid end to end."""
    counts = torch.tensor([len(e.lengths) for e in examples], device=losses.device)
    owner = torch.repeat_interleave(torch.arange(len(examples), device=losses.device), counts)
    return per_example(losses, owner, len(examples))
