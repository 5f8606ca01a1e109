"""The two reward-training tasks of the one loop: through the backbone, or on cached features."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
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
from assay.train.batch import pair_batch
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.labelled import labelled_row
from assay.train.losses import (
    bradley_terry,
    centering,
    noise_corrected,
    plackett_luce,
    scaled_bradley_terry,
    smooth,
    symmetric,
)
from assay.train.objectives import CachedScorer, Learner, Objective, Readings
from assay.train.resume import EvaluationRow

LEARNT_GAP = 8.0
"""At this gap the noise-corrected loss, which falls for ever, leaves a pair alone: σ is 0.9997."""

FOR_NOISE: tuple[LossName, ...] = ("noise-corrected", "symmetric")
"""Losses for flipped labels. Held-out labels are flipped too, so the best state is chosen by the
same loss: Bradley-Terry's would choose one whose gaps are as small as the flips make them."""


@dataclass(frozen=True)
class LossSettings:
    """Which loss, with what smoothing, centring and noise rate."""

    name: LossName = "bradley-terry"
    label_smoothing: float = 0.0
    centering: float = 0.0
    noise_rate: float = 0.0


def example_losses(
    rewards: Float[Tensor, "R"], examples: Sequence[Example], settings: LossSettings
) -> Float[Tensor, "B"]:
    """One loss per comparison from the rewards of all their responses laid end to end."""
    pairs = pair_batch(rewards, examples)
    if settings.name == "plackett-luce":
        losses = _listwise(rewards, examples)
    else:
        losses = pairs.mean(pairwise(pairs.chosen, pairs.rejected, pairs.index, settings))
    if settings.centering:
        losses = losses + settings.centering * pairs.mean(centering(pairs.chosen, pairs.rejected))
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
    match settings.name:
        case "margin":
            return bradley_terry(chosen, rejected, probability, margin)
        case "scaled":
            return scaled_bradley_terry(chosen, rejected, margin, probability)
        case "noise-corrected":
            rate = settings.noise_rate
            floor = -LEARNT_GAP * rate / (1 - 2 * rate)
            return noise_corrected(chosen, rejected, rate, probability, floor)
        case "symmetric":
            return symmetric(chosen, rejected, probability)
        case _:
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
        objective: Objective | None = None,
    ):
        self.learner = None
        if objective:
            self.learner = Learner(model, model._callable_head(), objective, loss.centering)
        self.module: nn.Module = self.learner or model
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
        trees = pack([e.tree for e in examples])
        if self.learner:
            losses: Tensor = module(trees, examples)
            return losses
        return example_losses(module(trees), examples, self.loss)

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """(example number, rewards) of this share of the held-out comparisons.

        With an objective each reward is a list, the reward first and then the other outputs.
        """
        results: list[Any] = []
        rows = fill([e.tree.num_tokens for e in self.heldout], self.token_budget)
        for row in rows[share::shares]:
            trees = pack([self.heldout[i].tree for i in row])
            if self.learner:
                numbers = self.learner.numbers(trees)
            else:
                with torch.no_grad():
                    numbers = self.model(trees).double().cpu().numpy()
            for i in row:
                count = len(self.heldout[i].lengths)
                results.append((i, numbers[:count].tolist()))
                numbers = numbers[count:]
        return results

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, accuracy and gap."""
        objective = self.learner.objective if self.learner else None
        return heldout_row(self.readings(results), objective, self.loss)

    def readings(self, results: list[Any]) -> Readings:
        """All held-out rewards and outputs, in order."""
        by_example = dict(results)
        numbers = np.concatenate([by_example[i] for i in range(len(self.heldout))])
        return readings_of(self.heldout, numbers)


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
        objective: Objective | None = None,
    ):
        self.learner = None
        if objective:
            self.learner = Learner(CachedScorer(head), head, objective, loss.centering)
        self.module: nn.Module = self.learner or head
        self.train = train
        self.heldout = heldout
        self.loss = loss
        self.l2 = l2
        self.features = torch.from_numpy(train_features)
        self.heldout_features = torch.from_numpy(heldout_features)
        self.starts = np.cumsum([0] + [len(e.lengths) for e in train])
        self.costs = [len(e.lengths) for e in train]
        self.weights = [e.weight for e in train]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Losses of some training comparisons, ``(B,)``."""
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indexes])
        features = self.features[torch.from_numpy(rows)].to(next(module.parameters()).device)
        examples = [self.train[i] for i in indexes]
        if self.learner:
            losses = module(features, examples)
            heads = [self.learner.head, self.learner.objective.heads or nn.Module()]
            weights = [p for h in heads for p in h.parameters() if p.requires_grad and p.ndim > 1]
        else:
            losses = example_losses(module(features).squeeze(-1), examples, self.loss)
            weights = list(module.parameters())
        squares = sum(p.square().sum() for p in weights)
        return losses + 0.5 * self.l2 * squares  # type: ignore[no-any-return]

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """All held-out rewards, from the first share alone: they are one matrix product."""
        if share:
            return []
        features = self.heldout_features.to(next(module.parameters()).device)
        if self.learner:
            return [self.learner.numbers(features)]
        with torch.no_grad():
            return [module(features).squeeze(-1).double().cpu().numpy()]

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, accuracy and gap."""
        objective = self.learner.objective if self.learner else None
        return heldout_row(readings_of(self.heldout, results[0]), objective, self.loss)


def readings_of(examples: Sequence[Example], numbers: NDArray[np.float64]) -> Readings:
    """From rewards ``(R,)``, or from rewards and other outputs as columns ``(R, 1 + E)``."""
    table = numbers if numbers.ndim == 2 else numbers[:, None]
    return Readings(examples, table[:, 0], table[:, 1:])


def heldout_row(
    readings: Readings, objective: Objective | None, loss: LossSettings
) -> EvaluationRow:
    """What is logged during training.

    Where a loss has a held-out value of its own (an objective's, or one for flipped labels), it
    takes the place of the plain one, which is then ``heldout/nll``.
    """
    index = pair_index(readings.examples)
    if len(index.chosen):
        row = HeldoutGaps(readings.rewards, index).row()
    else:
        row = labelled_row(readings)
    if objective is None and loss.name not in FOR_NOISE:
        return row
    plain = {"heldout/nll": row["heldout/loss"]} if "heldout/loss" in row else {}
    if objective is not None:
        return {**row, **plain, **objective.heldout(readings)}
    alone = replace(loss, centering=0.0)
    losses = example_losses(torch.from_numpy(readings.rewards), readings.examples, alone)
    return {**row, **plain, "heldout/loss": float(losses.mean())}
