"""Train an outcome reward model from a model, preference pairs, held-out pairs and settings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from assay.configs import GAP_LOSSES, RewardTraining
from assay.data.augment import rrm
from assay.data.pairs import PreferencePairs, clusters_of, overlap
from assay.errors import ConfigError, DataError
from assay.models.adapters import merge_in_place
from assay.models.backbones import initialise_head, set_checkpointing
from assay.models.reward_model import RewardModel
from assay.stats import LastLayerLaplace
from assay.train import learnt
from assay.train.checks import check_examples, check_loss
from assay.train.encode import EncodeReport, Example, encode, pair_index
from assay.train.fit import FitResult, Task, fit
from assay.train.labelled import labelled_report
from assay.train.objectives import Objective, Readings, make_objective
from assay.train.plan import FitSettings
from assay.train.prepare import (
    Progress,
    cached_features,
    check_settings,
    prepare,
    resolve_settings,
)
from assay.train.report import HeldoutReport, heldout_report
from assay.train.tasks import FeatureTask, LossSettings, TreeTask, readings_of


@dataclass(frozen=True)
class RewardResult:
    """The model (in its best held-out state), the held-out report and how the fit went.

    ``objective`` is what the loss learnt besides: annotators' reliabilities, weights of attributes.
    ``added`` says what became of pairs added to the training data.
    """

    model: RewardModel
    heldout: HeldoutReport
    fit: FitResult
    training: RewardTraining
    settings: FitSettings
    encoding: EncodeReport
    shared_prompts: int
    objective: Mapping[str, Any] | None = None
    added: EncodeReport | None = None
    laplace: LastLayerLaplace | None = None

    def __str__(self) -> str:
        text = f"{self.heldout}\nbest state at step {self.fit.best_step} of {self.fit.steps}"
        if self.added:
            augment = self.training.augment
            text += f"\n{self.added.pairs:,} training pairs added by {augment}; {self.added}"
        return f"{text}\n{learnt.line(self.objective)}" if self.objective else text


def train_reward(
    model: RewardModel,
    train: PreferencePairs,
    heldout: PreferencePairs,
    training: RewardTraining | None = None,
    *,
    directory: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> RewardResult:
    """Train a reward model on preference pairs or rankings.

    The model is trained in place and left in the state with the lowest held-out loss. In frozen
    mode its backbone is cut to ``training.layers`` first.

    Args:
        directory: Where metrics and resume points go; None keeps none.
        resume: Go on from the resume point in ``directory``.
        progress: Called as work gets done.

    Raises:
        DataError: If no pair is left after the truncation policy.
        ConfigError: If settings do not fit each other or the resume point.
        TrainingError: If the loss becomes NaN or infinite.
    """
    training = training or RewardTraining()
    check_training(training)
    goes_on, width = _prepare(model, training)
    examples, encoding = encode(
        model.renderer, train.comparisons, clusters_of(train), share=not model.encoder
    )
    held, held_encoding = encode(
        model.renderer, heldout.comparisons, clusters_of(heldout), share=not model.encoder
    )
    check_examples(training, examples, held)
    added, added_encoding = _added(model, train, training)
    settings = resolve(training, [*examples, *added])
    fingerprint = {
        **{f.name: getattr(training, f.name) for f in fields(RewardTraining)},
        **asdict(settings),
        "backbone": model.backbone_name,
        "data": train.digest,
        "heldout": heldout.digest,
        "contract": model.contract.digest,
        "threads": torch.get_num_threads(),
    }
    del fingerprint["trackers"]
    loss = LossSettings(
        training.loss, training.label_smoothing, training.centering, training.noise_rate or 0.0
    )
    objective = make_objective(training, examples, width)
    run = _Run(settings, directory, resume, fingerprint, progress, objective)
    everything = [*examples, *added]
    if training.mode == "frozen":
        fitted = _fit_frozen(model, everything, held, loss, training, run, goes_on)
    else:
        fitted = _fit_trees(model, everything, held, loss, training, run)
    result, own, readings, laplace = fitted
    return RewardResult(
        model=model,
        heldout=_report(objective, readings, examples, held_encoding),
        fit=result,
        training=training,
        settings=settings,
        encoding=encoding,
        shared_prompts=overlap(train, heldout),
        laplace=laplace,
        objective={"loss": training.loss, **objective.record(own, readings)} if objective else None,
        added=added_encoding,
    )


def _added(
    model: RewardModel, train: PreferencePairs, training: RewardTraining
) -> tuple[list[Example], EncodeReport | None]:
    """Pairs made from the training data, tokenised."""
    if training.augment == "none":
        return [], None
    comparisons = rrm(train, ratio=training.augment_ratio, seed=training.seed)
    return encode(model.renderer, comparisons, range(len(comparisons)), share=not model.encoder)


def _report(
    objective: Objective | None,
    readings: Readings,
    train: Sequence[Example],
    encoding: EncodeReport,
) -> HeldoutReport:
    if any(e.preferences for e in readings.examples):
        return heldout_report(readings.rewards, readings.examples, train, encoding)
    assert objective is not None
    return labelled_report(readings, train, encoding, float(objective.scalars["point"].detach()))


def check_training(training: RewardTraining) -> None:
    """Refuse settings that cannot work, whatever the model and the data.

    Raises:
        ConfigError: If a setting is out of its range or does not fit another.
    """
    check_loss(training)
    if training.mode != "frozen" and training.pooling != "last":
        raise ConfigError(
            f"pooling is for mode frozen, and the mode is {training.mode}; leave it out."
        )
    if training.laplace and (training.mode != "frozen" or training.loss not in GAP_LOSSES):
        raise ConfigError(
            "laplace is the posterior of a frozen model's head under a loss of gaps; leave it out, "
            "or use --mode frozen and loss bradley-terry, margin or scaled."
        )
    if not training.centering >= 0:
        raise ConfigError(f"centering is {training.centering}; it is 0 or more.")
    check_settings(training)


def _prepare(model: RewardModel, training: RewardTraining) -> tuple[bool, int]:
    """Shape the model for its mode and its pooling.

    Returns:
        Whether the head was trained before and still reads the states it was trained on, and the
        width of these.
    """
    width = model.width  # before LoRA wraps the head
    goes_on = prepare(model, training)
    if training.mode == "frozen" and training.pooling not in ("last", model.contract.pooling):
        model.set_pooling(training.pooling)
        goes_on, width = False, model.width
    return goes_on, width


def resolve(training: RewardTraining, examples: Sequence[Example]) -> FitSettings:
    """Settings with every default decided, once, from the mode and the data.

    Raises:
        ConfigError: If the token budget is smaller than the longest comparison.
    """
    return replace(resolve_settings(training, examples), objective_lr=training.objective_lr)


@dataclass(frozen=True)
class _Run:
    settings: FitSettings
    directory: Path | None
    resume: bool
    fingerprint: dict[str, Any]
    progress: Progress | None
    objective: Objective | None

    def fit(self, task: Task, head: nn.Module) -> FitResult:
        objective = self.objective
        heads = nn.ModuleList([head, *([objective.heads] if objective and objective.heads else [])])

        def on_step(step: int, total: int, _examples: int, tokens: int) -> None:
            if self.progress:
                self.progress("train", step, total, tokens)

        return fit(
            task,
            heads,
            self.settings,
            directory=self.directory,
            resume=self.resume,
            fingerprint=self.fingerprint,
            on_step=on_step,
            scalars=objective and objective.scalars,
        )


_Fitted = tuple[FitResult, Readings | None, Readings, LastLayerLaplace | None]
"""The fit, readings of the training responses where wanted, of the held-out ones, a posterior."""


def _fit_trees(
    model: RewardModel,
    train: Sequence[Example],
    held: Sequence[Example],
    loss: LossSettings,
    training: RewardTraining,
    run: _Run,
) -> _Fitted:
    budget, objective = run.settings.token_budget, run.objective
    task = TreeTask(model, train, held, loss, budget, objective)
    result = run.fit(task, model._callable_head())
    if training.gradient_checkpointing:
        set_checkpointing(model.network, False)
        model.eval()
    own = None
    if objective and objective.needs_training_rewards:
        again = TreeTask(model, (), train, loss, budget, objective)
        own = again.readings(again.evaluate(model, 0, 1))
        objective.finish(own)
    if task.learner:
        task.learner.reduce()
    if model.has_adapters:
        merge_in_place(model)
    readings = task.readings(task.evaluate(model, 0, 1))
    return result, own, readings, None


def _fit_frozen(
    model: RewardModel,
    train: Sequence[Example],
    held: Sequence[Example],
    loss: LossSettings,
    training: RewardTraining,
    run: _Run,
    goes_on: bool,
) -> _Fitted:
    tokens = [t for e in (*train, *held) for t in e.tokens]
    features = cached_features(model, tokens, run.progress)
    split = sum(len(e.lengths) for e in train)
    mean = features[:split].mean(0)
    scale = gap_scale(features[:split], train)
    scaled = (features - mean) * scale
    if not scaled[:split].any():
        raise DataError(
            f"all {split:,} training responses have the same features, so there is nothing to "
            "learn; look at the backbone, or keep more of its --layers."
        )
    head = nn.Linear(features.shape[1], 1, bias=False)
    if goes_on:
        with torch.no_grad():
            head.weight.copy_(model.head.weight.cpu() / scale)
    else:
        initialise_head(head, run.settings.seed)
    task = FeatureTask(
        head, train, scaled[:split], held, scaled[split:], loss, training.l2, run.objective
    )
    result = run.fit(task, head)
    if task.learner is None:
        fold_head(model, head, scale)
        laplace = None
        if training.laplace:
            laplace = _posterior(model, features[:split], train, training.l2 / scale**2)
        return result, None, readings_of(held, _rewards(model, features[split:])), laplace
    learner, objective = task.learner, task.learner.objective
    numbers = learner.numbers(torch.from_numpy(scaled).to(head.weight.device))
    own = readings_of(train, numbers[:split])
    objective.finish(own)
    learner.reduce()
    fold_head(model, head, scale)
    objective.shift_rewards(float(head.weight.detach().cpu().numpy()[0] @ (mean * scale)))
    numbers[split:, 0] = _rewards(model, features[split:])
    return result, own, readings_of(held, numbers[split:]), None


def _rewards(model: RewardModel, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """The model's rewards from unscaled features."""
    with torch.no_grad():
        rewards = model.reward_of(torch.from_numpy(features).to(model.network.device))
        return rewards.double().cpu().numpy()


def _posterior(
    model: RewardModel, features: NDArray[np.float32], train: Sequence[Example], l2: float
) -> LastLayerLaplace:
    """The head's posterior: the loop's mean of losses and penalty, times the examples' weight."""
    index = pair_index(train)
    differences = features[index.chosen].astype(np.float64) - features[index.rejected]
    given = np.array([p.weight for e in train for p in e.preferences])
    of_example = np.array([e.weight for e in train])
    total = np.maximum(np.bincount(index.example, given), 1e-12)
    weights = given * (of_example / total)[index.example]
    head = model.head.weight[0].detach().double().cpu().numpy()
    return LastLayerLaplace.fit(
        differences,
        differences @ head,
        precision=l2 * float(of_example.sum()),
        weights=weights,
        mean=features.mean(axis=0),
    )


def gap_scale(features: NDArray[np.float32], examples: Sequence[Example]) -> float:
    """What to multiply features by so that chosen − rejected has mean square 1 per feature.

    One number for all features: their directions of large spread stay large, and the L2 penalty
    means the same whatever the backbone's scale. Without pairs it is that of any two responses.
    """
    index = pair_index(examples)
    if len(index.chosen):
        square = float(np.mean((features[index.chosen] - features[index.rejected]) ** 2))
    else:
        square = float(2 * features.var(axis=0).mean())
    return 1.0 / math.sqrt(square) if square > 0 else 1.0


def fold_head(model: RewardModel, head: nn.Linear, scale: float) -> None:
    """Put a head trained on scaled features into the model, the scaling folded into its weights.

    The shift is left out: it adds the same to every reward, and the head has no bias.
    """
    with torch.no_grad():
        model.head.weight.copy_(head.weight.to(model.head.weight.device) * scale)
        if model.head.bias is not None:
            model.head.bias.zero_()
