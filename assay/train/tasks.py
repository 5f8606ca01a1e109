"""The two reward-training tasks of the one loop: through the backbone, or on cached features."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.configs import LossName
from assay.data.trees import fill, pack
from assay.models.reward_model import RewardModel
from assay.stats import accuracy, preference_nll
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.losses import (
    bradley_terry,
    centering,
    per_example,
    plackett_luce,
    scaled_bradley_terry,
    smooth,
)
from assay.train.resume import EvaluationRow


@dataclass(frozen=True)
class LossSettings:
    """Which loss, with what smoothing and centring."""

    name: LossName = "bradley-terry"
    label_smoothing: float = 0.0
    centering: float = 0.0


def example_losses(
    rewards: Float[Tensor, "R"], examples: Sequence[Example], settings: LossSettings
) -> Float[Tensor, "B"]:
    """One loss per comparison from the rewards of all their responses laid end to end."""
    index = pair_index(examples)
    device = rewards.device
    chosen = rewards[torch.from_numpy(index.chosen).to(device)]
    rejected = rewards[torch.from_numpy(index.rejected).to(device)]
    example = torch.from_numpy(index.example).to(device)
    weight = torch.tensor([p.weight for e in examples for p in e.preferences], device=device)

    def mean(losses: Tensor) -> Tensor:
        # the loop multiplies by the example's weight, which is its preferences' mean weight
        total = per_example(weight, example, len(examples)).clamp(min=1e-12)
        return per_example(losses * weight, example, len(examples)) / total

    if settings.name == "plackett-luce":
        losses = _listwise(rewards, examples)
    else:
        losses = mean(pairwise(chosen, rejected, index, settings))
    if settings.centering:
        losses = losses + settings.centering * mean(centering(chosen, rejected))
    return losses


def pairwise(
    chosen: Float[Tensor, "P"],
    rejected: Float[Tensor, "P"],
    index: PairIndex,
    settings: LossSettings,
) -> Float[Tensor, "P"]:
    """One loss per pair, of those that look at two rewards alone."""
    probability = torch.from_numpy(index.probability).to(chosen.device)
    margin = torch.from_numpy(index.margin).to(chosen.device)
    if settings.label_smoothing:
        probability = smooth(probability, settings.label_smoothing)
    if settings.name == "margin":
        return bradley_terry(chosen, rejected, probability, margin)
    if settings.name == "scaled":
        return scaled_bradley_terry(chosen, rejected, margin, probability)
    return bradley_terry(chosen, rejected, probability)


def _listwise(rewards: Float[Tensor, "R"], examples: Sequence[Example]) -> Float[Tensor, "B"]:
    longest = max(len(e.lengths) for e in examples)
    places = torch.zeros(len(examples), longest, dtype=torch.long)
    mask = torch.zeros(len(examples), longest, dtype=torch.bool)
    group = torch.zeros(len(examples), longest, dtype=torch.long)
    offset = 0
    for row, e in enumerate(examples):
        order = [
            (response, tie) for tie, members in enumerate(ranking_of(e)) for response in members
        ]
        for column, (response, tie) in enumerate(order):
            places[row, column] = offset + response
            mask[row, column] = True
            group[row, column] = tie
        offset += len(e.lengths)
    device = rewards.device
    return plackett_luce(rewards[places.to(device)], mask.to(device), group.to(device))


def ranking_of(example: Example) -> tuple[tuple[int, ...], ...]:
    """The ranking, or for a single pair what its label says (a tie is one group)."""
    if example.ranking is not None:
        return example.ranking
    (only,) = example.preferences
    if only.probability == 0.5:
        return ((only.chosen, only.rejected),)
    return ((only.chosen,), (only.rejected,))


@dataclass(frozen=True)
class HeldoutGaps:
    """Held-out rewards and what they should say (R responses, P preferences)."""

    rewards: NDArray[np.float64]  # (R,)
    index: PairIndex

    @property
    def gaps(self) -> NDArray[np.float64]:
        """Chosen minus rejected, ``(P,)``."""
        return self.rewards[self.index.chosen] - self.rewards[self.index.rejected]

    def row(self) -> EvaluationRow:
        """What is logged during training."""
        loss = preference_nll(self.gaps, self.index.probability, self.index.cluster)
        share = accuracy(self.gaps, self.index.probability, self.index.cluster)
        return {
            "heldout/loss": loss.value,
            "heldout/accuracy": share.value,
            "heldout/gap": float(self.gaps.mean()),
        }


class TreeTask:
    """Training through the backbone (full, LoRA): trees packed to the token budget."""

    def __init__(
        self,
        model: RewardModel,
        train: Sequence[Example],
        heldout: Sequence[Example],
        loss: LossSettings,
        token_budget: int,
    ):
        self.module: nn.Module = model
        self.model = model
        self.train = train
        self.heldout = heldout
        self.loss = loss
        self.token_budget = token_budget
        self.costs = [e.tree.num_tokens for e in train]
        self.weights = [e.weight for e in train]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Losses of some training comparisons, ``(B,)``."""
        examples = [self.train[i] for i in indexes]
        rewards = module(pack([e.tree for e in examples]))
        return example_losses(rewards, examples, self.loss)

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """(example number, rewards) of this share of the held-out comparisons."""
        results: list[Any] = []
        rows = fill([e.tree.num_tokens for e in self.heldout], self.token_budget)
        for row in rows[share::shares]:
            with torch.no_grad():
                rewards = (
                    self.model(pack([self.heldout[i].tree for i in row])).double().cpu().numpy()
                )
            for i in row:
                count = len(self.heldout[i].lengths)
                results.append((i, rewards[:count].tolist()))
                rewards = rewards[count:]
        return results

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, accuracy and gap."""
        by_example = dict(results)
        rewards = np.concatenate([by_example[i] for i in range(len(self.heldout))])
        return HeldoutGaps(rewards, pair_index(self.heldout)).row()


class FeatureTask:
    """Training a head on cached features: the same losses, a matrix product for a backbone.

    ``l2 / 2 · ‖w‖²`` is added to every loss, and so once to the step's weighted mean.
    """

    def __init__(
        self,
        head: nn.Linear,
        train: Sequence[Example],
        train_features: NDArray[np.float32],  # (responses, D)
        heldout: Sequence[Example],
        heldout_features: NDArray[np.float32],
        loss: LossSettings,
        l2: float = 0.0,
    ):
        self.module: nn.Module = head
        self.train = train
        self.heldout = heldout
        self.loss = loss
        self.l2 = l2
        self.features = torch.from_numpy(train_features)
        self.heldout_features = torch.from_numpy(heldout_features)
        self.starts = np.cumsum([0] + [len(e.lengths) for e in train])
        self.costs = [len(e.lengths) for e in train]
        self.weights = [e.weight for e in train]
        self.index = pair_index(heldout)

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Losses of some training comparisons, ``(B,)``."""
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indexes])
        features = self.features[torch.from_numpy(rows)].to(next(module.parameters()).device)
        losses = example_losses(
            module(features).squeeze(-1), [self.train[i] for i in indexes], self.loss
        )
        squares = sum(p.square().sum() for p in module.parameters())
        return losses + 0.5 * self.l2 * squares

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """All held-out rewards, from the first share alone: they are one matrix product."""
        if share:
            return []
        with torch.no_grad():
            device = next(module.parameters()).device
            return [module(self.heldout_features.to(device)).squeeze(-1).double().cpu().numpy()]

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, accuracy and gap."""
        return HeldoutGaps(results[0], self.index).row()
