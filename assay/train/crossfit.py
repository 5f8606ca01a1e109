"""Cross-fitting: gaps of every comparison by heads that never saw its prompt.

K folds of the prompts times M members are the heads of one fit: member m divides the prompts into
folds of its own, and its head k leaves fold k out. Letters: N comparisons · P pairs · R responses ·
M members · K folds · D features.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import logsigmoid

from assay.errors import ConfigError, DataError
from assay.stats import FlipModel
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.fit import FitResult, OnStep, fit
from assay.train.heads import HeadPlan, Heads, HeadsTask, fold_of
from assay.train.plan import FitSettings

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CrossFit:
    """Out-of-fold gaps ``(P, M)``, and the flip model fitted on their means.

    ``fold`` is the fold of each comparison in each member's partition, ``(N, M)``.
    """

    gaps: Floats
    flips: FlipModel
    fold: NDArray[np.int64]
    fits: tuple[FitResult, ...]


def cross_fit(
    examples: Sequence[Example],
    features: NDArray[np.float32],  # (R, D)
    plan: HeadPlan,
    settings: FitSettings,
    *,
    folds: int = 5,
    rounds: int = 2,
    seed: int = 0,
    on_step: OnStep | None = None,
) -> CrossFit:
    """Gaps of every pair by M heads, one a member, that were trained without its prompt.

    The first round trains on the Bradley-Terry loss. Its out-of-fold gaps say how often labels are
    flipped, and each further round goes on with the loss that allows for that
    (``flipped_bradley_terry``), so that no flipped label pulls a head as far as its gap. Of the
    labels a head leaves out it learns that one number; they do not choose its state either, which
    is that of the lowest objective on what the heads do see.

    Args:
        plan: What each member sees and how it weighs comparisons; each becomes as many heads as
            there are folds.
        settings: Of the fit; gradients are not clipped.
        rounds: 1 trains on the Bradley-Terry loss alone.

    Raises:
        ConfigError: If there are fewer than two folds, or no round.
        DataError: If there are fewer prompts than folds, no label with a side to take, or the heads
            learned nothing.
    """
    check_cross_fit(examples, folds, rounds)
    clusters, index = [e.cluster for e in examples], pair_index(examples)
    members = len(plan.mask)
    fold = np.stack([fold_of(clusters, folds, seed + m) for m in range(members)], axis=1)
    whole = leave_out(plan, fold, folds)
    heads = Heads(whole.mask, whole.seeds)
    # the loop clips the norm over all heads together, through which one head would see another's
    # labels
    settings = replace(settings, max_grad_norm=0.0)
    task = FoldsTask(heads, whole, examples, features)
    fits = []
    for _ in range(rounds):
        fits.append(fit(task, heads, settings, on_step=on_step))
        gaps = _out_of_fold(task, index, fold, folds)
        if not np.any(gaps):
            raise DataError(
                f"The heads reward both responses of all {len(gaps):,} pairs alike, for the "
                "features do not vary; look at the data, the backbone and --layers."
            )
        flips = FlipModel.fit(gaps.mean(axis=1), index.probability)
        task.rate = flips.rate
    return CrossFit(gaps, flips, fold, tuple(fits))


def check_cross_fit(examples: Sequence[Example], folds: int, rounds: int) -> None:
    """Refuse what cannot be cross-fitted.

    Raises:
        ConfigError: If there are fewer than two folds, or no round.
        DataError: If there are fewer prompts than folds, or nothing but ties and weights of 0.
    """
    if folds < 2:
        raise ConfigError(f"folds is {folds}; leaving one out takes at least 2.")
    if rounds < 1:
        raise ConfigError(f"rounds is {rounds}; it is at least 1.")
    prompts = len({e.cluster for e in examples})
    if prompts < folds:
        raise DataError(
            f"folds is {folds} and there are {prompts} prompts; every fold needs one: lower "
            "--folds or give more data."
        )
    labels = [p for e in examples for p in e.preferences]
    if not any(p.weight for p in labels if p.probability != 0.5):
        raise DataError(
            f"All {len(labels):,} pairs are ties, which take no side to be wrong about, or weigh "
            "0; give data with preferences."
        )


def leave_out(plan: HeadPlan, fold: NDArray[np.int64], folds: int) -> HeadPlan:
    """A plan of M·K heads from one of M: head ``m K + k`` weighs fold k of member m's by 0.

    The other weights of each head are brought to mean 1 over all comparisons, so that a penalty
    means the same with and without a fold. A bootstrap that drew nothing but the fold is undone.
    """
    columns = []
    for m, own in enumerate(plan.weights.T):
        for k in range(folds):
            inside = fold[:, m] != k
            weight = np.where(inside, own, 0.0)
            weight = weight if weight.any() else inside.astype(np.float64)
            columns.append(weight / weight.mean())
    return HeadPlan(
        mask=np.repeat(plan.mask, folds, axis=0),
        weights=np.stack(columns, axis=1).astype(np.float32),
        l2=np.repeat(plan.l2, folds),
        seeds=tuple(seed for seed in plan.seeds for _ in range(folds)),
    )


class FoldsTask(HeadsTask):
    """Heads that allow for flipped labels, and no held-out comparisons."""

    rate: float = 0.0

    def pair_losses(self, gaps: Float[Tensor, "P"], index: PairIndex) -> Float[Tensor, "P"]:
        """Losses of some pairs by some heads, one gap each."""
        probability = torch.from_numpy(index.probability).to(gaps.device)
        return flipped_bradley_terry(gaps, probability, self.rate)


def flipped_bradley_terry(
    gaps: Float[Tensor, "P"], probability: Float[Tensor, "P"], rate: float
) -> Float[Tensor, "P"]:
    """Bradley-Terry loss of labels of which a share was flipped.

    ``-q log P - (1 - q) log(1 - P)`` with ``P = ε + (1 - 2ε) σ(Δ)``: CrowdBT (Chen et al. 2013)
    with one annotator who is right with probability 1 - ε, and the forward correction of Patrini
    et al. 2017. Its gradient vanishes where a label contradicts a large gap.
    """
    if not rate:
        return -probability * logsigmoid(gaps) - (1 - probability) * logsigmoid(-gaps)
    log_flipped, log_kept = float(np.log(rate)), float(np.log1p(-rate))

    def said(gap: Tensor) -> Tensor:
        return torch.logaddexp(log_kept + logsigmoid(gap), log_flipped + logsigmoid(-gap))

    return -probability * said(gaps) - (1 - probability) * said(-gaps)


def _out_of_fold(task: HeadsTask, index: PairIndex, fold: NDArray[np.int64], folds: int) -> Floats:
    """Of the gaps by all heads those of each pair by the heads that left it out, ``(P, M)``."""
    with torch.no_grad():
        every = task.heads(task.gaps.to(task.heads.weight.device)).double().cpu().numpy()
    head = np.arange(fold.shape[1]) * folds + fold[index.example]
    return np.asarray(np.take_along_axis(every, head, axis=1))
