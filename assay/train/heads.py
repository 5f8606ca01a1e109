"""Many heads on cached features in one fit: an ensemble's members, or cross-validation's folds.

Every head sees the same batches; what makes them differ are the features they may look at and the
weight each gives to each training comparison (a bootstrap, a fold left out). With one head, all
features and weights of 1 it is the frozen training of one reward model.

Letters: N comparisons · B of a batch · P pairs · R responses · M heads · D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.stats import accuracy, preference_nll
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.resume import EvaluationRow
from assay.train.tasks import LossSettings, pairwise


class Heads(nn.Module):
    """M linear heads without bias, each looking at its own features."""

    mask: Tensor

    def __init__(self, mask: NDArray[np.bool_], seeds: Sequence[int]):  # (M, D)
        super().__init__()
        self.register_buffer("mask", torch.from_numpy(mask))
        rows = []
        for seen, seed in zip(mask, seeds, strict=True):
            generator = torch.Generator().manual_seed(seed)
            # as one model's head: standard deviation 1/√(d + 1) of the features it looks at
            row = torch.randn(mask.shape[1], generator=generator) * (int(seen.sum()) + 1) ** -0.5
            rows.append(row)
        self.weight = nn.Parameter(torch.stack(rows) * self.mask)

    def forward(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R M"]:
        """Rewards by every head."""
        return features @ (self.weight * self.mask).T


@dataclass(frozen=True)
class HeadPlan:
    """What makes heads differ: features seen ``(M, D)``, weights of comparisons ``(N, M)``, L2."""

    mask: NDArray[np.bool_]
    weights: NDArray[np.float32]
    l2: NDArray[np.float32]  # (M,)
    seeds: tuple[int, ...]


def bootstrap_weights(clusters: Sequence[int], seed: int) -> NDArray[np.float32]:
    """How often each comparison is drawn when its prompts are drawn with replacement, ``(N,)``.

    Whole prompts: comparisons of one prompt are not independent. Efron & Tibshirani 1993, ch. 6.
    """
    names, code = np.unique(np.asarray(clusters), return_inverse=True)
    draws = np.random.default_rng(seed).integers(len(names), size=len(names))
    times = np.bincount(draws, minlength=len(names))
    return times[code].astype(np.float32)


def fold_of(clusters: Sequence[int], folds: int, seed: int) -> NDArray[np.int64]:
    """A fold for each comparison, whole prompts together and folds of equal size, ``(N,)``."""
    names, code = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    fold = np.empty(len(names), dtype=np.int64)
    fold[order] = np.arange(len(names)) % folds
    return fold[code]


class HeadsTask:
    """The fit of many heads on cached features; see ``train.fit.Task``.

    Heads without a bias see a pair as the difference of its responses' features, so only losses of
    the gap can be used. Without held-out comparisons the objective on the training ones decides the
    best state.
    """

    def __init__(
        self,
        heads: Heads,
        plan: HeadPlan,
        train: Sequence[Example],
        train_features: NDArray[np.float32],  # (R, D)
        heldout: Sequence[Example] = (),
        heldout_features: NDArray[np.float32] | None = None,
        loss: LossSettings | None = None,
    ):
        self.module: nn.Module = heads
        self.loss = loss or LossSettings()
        self.pairs = pair_index(train)
        self.gaps = torch.from_numpy(
            train_features[self.pairs.chosen] - train_features[self.pairs.rejected]
        )  # (P, D)
        self.pair_weights = torch.tensor([p.weight for e in train for p in e.preferences])
        self.first_pair = np.cumsum([0] + [len(e.preferences) for e in train])
        self.member_weights = torch.from_numpy(plan.weights)  # (N, M)
        self.l2 = torch.from_numpy(plan.l2)  # (M,)
        self.costs = [len(e.lengths) for e in train]
        self.weights = [e.weight for e in train]
        self.heldout = None
        if heldout_features is not None:
            self.heldout = pair_index(heldout)
            self.heldout_features = torch.from_numpy(heldout_features)

    @property
    def heads(self) -> Heads:
        """What is trained."""
        assert isinstance(self.module, Heads)
        return self.module

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """Losses of some training comparisons, summed over the heads, ``(B,)``."""
        spans = [range(self.first_pair[i], self.first_pair[i + 1]) for i in indexes]
        rows = np.concatenate(spans)
        device = self.heads.weight.device
        example = torch.tensor([b for b, span in enumerate(spans) for _ in span], device=device)
        gaps = module(self.gaps[torch.from_numpy(rows)].to(device))  # (P, M)
        weight = self.pair_weights[torch.from_numpy(rows)].to(device)
        index = self.pairs.rows(np.repeat(rows, gaps.shape[1]))
        losses = self.pair_losses(gaps.reshape(-1), index).view(gaps.shape)
        none = losses.new_zeros(len(indexes), gaps.shape[1])
        by_head = none.index_add(0, example, losses * weight[:, None])  # (B, M)
        total = none[:, 0].index_add(0, example, weight).clamp(min=1e-12)
        by_member = self.member_weights[list(indexes)].to(device)
        weighted = (by_member * by_head).sum(dim=1) / total
        squares = (self.heads.weight * self.heads.mask).square().sum(dim=1)  # (M,)
        return weighted + 0.5 * (self.l2.to(device) * squares).sum()

    def pair_losses(self, gaps: Float[Tensor, "P"], index: PairIndex) -> Float[Tensor, "P"]:
        """Losses of some pairs by some heads, one gap each."""
        return pairwise(gaps, torch.zeros_like(gaps), index, self.loss)

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """All held-out rewards ``(R, M)``, from the first share alone; without any, the objective.

        The objective is the weighted mean of all training losses.
        """
        if share:
            return []
        with torch.no_grad():
            if self.heldout is None:
                losses = self.losses(module, range(len(self.weights))).double().cpu().numpy()
                return [float(losses @ self.weights) / (sum(self.weights) or 1.0)]
            features = self.heldout_features.to(self.heads.weight.device)
            return [module(features).double().cpu().numpy()]

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """The heads' mean held-out loss, which decides the best state; figures of their mean."""
        if self.heldout is None:
            return {"heldout/loss": results[0]}
        rewards, index = results[0], self.heldout
        gaps = rewards[index.chosen] - rewards[index.rejected]  # (P, M)
        losses = [preference_nll(gap, index.probability, index.cluster).value for gap in gaps.T]
        mean = gaps.mean(axis=1)
        return {
            "heldout/loss": float(np.mean(losses)),
            "heldout/accuracy": accuracy(mean, index.probability, index.cluster).value,
            "heldout/gap": float(mean.mean()),
        }
