"""The two process-training tasks of the one loop: through the backbone, or on cached features.

Letters: B examples (trees of judged steps) · N judged steps · D features · C outputs · K classes.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.data.trees import fill, pack
from assay.models.process_model import ProcessRewardModel, class_logits
from assay.stats import auc
from assay.train.losses.steps import step_cross_entropy
from assay.train.resume import EvaluationRow
from assay.train.step_examples import StepExample


class StepTreeTask:
    """Training through the backbone (full, LoRA): trees packed to the token budget."""

    def __init__(
        self,
        model: ProcessRewardModel,
        train: Sequence[StepExample],
        heldout: Sequence[StepExample],
        token_budget: int,
    ):
        self.module: nn.Module = model
        self.model = model
        self.train = train
        self.heldout = heldout
        self.token_budget = token_budget
        self.costs = [e.tree.num_tokens for e in train]
        self.weights = [e.weight for e in train]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Mean loss of the steps of some training examples, ``(B,)``."""
        examples = [self.train[i] for i in indexes]
        return example_losses(module(pack([e.tree for e in examples])), examples)

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """(example number, logits) of this share of the held-out examples."""
        results: list[Any] = []
        rows = fill([e.tree.num_tokens for e in self.heldout], self.token_budget)
        for row in rows[share::shares]:
            with torch.no_grad():
                logits = self.model(pack([self.heldout[i].tree for i in row])).cpu().numpy()
            for i in row:
                count = len(self.heldout[i].tokens)
                results.append((i, logits[:count].tolist()))
                logits = logits[count:]
        return results

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, AUC and accuracy."""
        by_example = dict(results)
        logits = np.concatenate([by_example[i] for i in range(len(self.heldout))])
        return heldout_row(logits, self.heldout)


class StepFeatureTask:
    """Training a head on cached features.

    ``l2 / 2 · ‖w‖²`` is added to every loss, and so once to the step's weighted mean. ``drawn``
    multiplies the weight of each example: how often a bootstrap draws its problem.
    """

    def __init__(
        self,
        head: nn.Linear,
        train: Sequence[StepExample],
        features: NDArray[np.float32],  # (N, D)
        heldout: Sequence[StepExample],
        heldout_features: NDArray[np.float32],
        l2: float = 0.0,
        drawn: NDArray[np.float32] | None = None,
    ):
        self.module: nn.Module = head
        self.train = train
        self.heldout = heldout
        self.l2 = l2
        self.features = torch.from_numpy(features)
        self.heldout_features = torch.from_numpy(heldout_features)
        self.starts = np.cumsum([0] + [len(e.tokens) for e in train])
        self.costs = [len(e.tokens) for e in train]
        times = np.ones(len(train), dtype=np.float32) if drawn is None else drawn
        self.weights = [e.weight * float(n) for e, n in zip(train, times, strict=True)]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Mean loss of the steps of some training examples, and the penalty, ``(B,)``."""
        rows = np.concatenate([np.arange(self.starts[i], self.starts[i + 1]) for i in indexes])
        device = next(module.parameters()).device
        logits = module(self.features[torch.from_numpy(rows)].to(device))
        losses = example_losses(logits, [self.train[i] for i in indexes])
        squares = sum(p.square().sum() for p in module.parameters() if p.ndim > 1)
        return losses + 0.5 * self.l2 * squares

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """All held-out logits, from the first share alone: they are one matrix product."""
        if share:
            return []
        device = next(module.parameters()).device
        with torch.no_grad():
            return [module(self.heldout_features.to(device)).cpu().numpy()]

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out loss, AUC and accuracy."""
        return heldout_row(results[0], self.heldout)


def example_losses(
    logits: Float[Tensor, "N C"], examples: Sequence[StepExample]
) -> Float[Tensor, "B"]:
    """Weighted mean of each example's losses; the loop multiplies by their weights' sum."""
    device = logits.device
    targets = torch.from_numpy(np.concatenate([e.targets for e in examples])).to(device)
    weights = torch.from_numpy(np.concatenate([e.weights for e in examples])).to(device)
    counts = torch.tensor([len(e.tokens) for e in examples], device=device)
    owner = torch.repeat_interleave(torch.arange(len(examples), device=device), counts)
    sums = torch.zeros(len(examples), device=device)
    total = sums.index_add(0, owner, weights).clamp(min=1e-12)
    return sums.index_add(0, owner, step_cross_entropy(logits, targets) * weights) / total


def heldout_row(logits: NDArray[Any], examples: Sequence[StepExample]) -> EvaluationRow:
    """What is logged during training, over steps: mean loss, AUC of good steps, accuracy."""
    targets = np.concatenate([e.targets for e in examples])
    weights = np.concatenate([e.weights for e in examples])
    outputs = torch.as_tensor(np.asarray(logits, dtype=np.float32))
    losses = step_cross_entropy(outputs, torch.from_numpy(targets)).numpy()
    row = {"heldout/loss": float(np.average(losses, weights=weights))}
    good = 1 - torch.softmax(class_logits(outputs), dim=-1)[:, 0].numpy()
    is_good = 1 - targets[:, 0] >= 0.5
    row["heldout/accuracy"] = float(np.mean((good >= 0.5) == is_good))
    if 0 < is_good.sum() < len(is_good):
        row["heldout/auc"] = auc(good, is_good).value
    return row
