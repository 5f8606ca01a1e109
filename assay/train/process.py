"""Train a process reward model: solutions in, a model and its held-out report out.

Modes, engine, loop and resume are those of outcome models; what differs is that a tree's
conversations are the beginnings of solutions, each with a target of its own.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from assay.configs import TOKEN_BUDGET, Neutral, ProcessTraining
from assay.data.pairs import clusters_of, overlap
from assay.data.solutions import Solutions
from assay.data.step_contract import CLASSES
from assay.errors import ConfigError, DataError
from assay.models.adapters import merge_in_place
from assay.models.backbones import initialise_head, set_checkpointing
from assay.models.process_model import ProcessRewardModel, step_rewards
from assay.models.scoring import forward_groups
from assay.models.step_scoring import Beginnings, beginnings_of
from assay.stats import auc
from assay.stats.steps import JudgedSteps, StepReport, step_report
from assay.train.fit import FitResult, Task, fit
from assay.train.heads import bootstrap_weights
from assay.train.plan import FitSettings
from assay.train.prepare import (
    Progress,
    cached_features,
    check_settings,
    prepare,
    resolve_settings,
)
from assay.train.step_examples import StepEncoding, StepExample, encode_steps
from assay.train.step_tasks import StepFeatureTask, StepTreeTask
from assay.types import Figure


@dataclass(frozen=True)
class ProcessResult:
    """The model (in its best held-out state) and what it does on problems it was not trained on.

    ``length_only`` is the AUC of the number of characters of a step, longer or shorter being better
    as in the training steps.
    """

    model: ProcessRewardModel
    heldout: StepReport
    length_only: Figure
    fit: FitResult
    training: ProcessTraining
    settings: FitSettings
    encoding: StepEncoding
    heldout_encoding: StepEncoding
    shared_prompts: int

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of ``heldout.json``, by their keys."""
        report = self.heldout
        return {
            "auc": report.auc,
            "length_only_auc": self.length_only,
            "accuracy": report.accuracy,
            "nll": report.nll,
            "ece": report.ece,
            "good_share": report.good_share,
        }

    def __str__(self) -> str:
        report = self.heldout
        first = report.first_error
        text = (
            f"held-out steps: AUC {report.auc}; length-only {self.length_only}; "
            f"accuracy {report.accuracy} (commoner label {report.constant['accuracy'].value:.3f}); "
            f"loss {report.nll.value:.3f}; {self.heldout_encoding}"
        )
        if first.f1.n:
            text += f"\nfirst errors: F1 {first.f1}"
        return text


def train_process(
    model: ProcessRewardModel,
    train: Solutions,
    heldout: Solutions,
    training: ProcessTraining | None = None,
    *,
    members: int = 1,
    directory: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> ProcessResult:
    """Train a process model in place.

    Args:
        members: Heads on bootstraps of the problems, frozen mode only: the model's head becomes
            their mean, and a step reward has their standard deviation.
        directory: Where ``metrics.jsonl`` and resume points go; None keeps nothing.
        resume: Go on from the last resume point in ``directory``.
        progress: Called as work gets done.

    Raises:
        DataError: If no judged step is left, or the training steps are all of one kind.
        ConfigError: If settings do not fit each other or the resume point.
        TrainingError: If the loss becomes NaN or infinite.
    """
    training = training or ProcessTraining()
    check_process(training, members)
    if model.steps.classes != CLASSES[training.classes]:
        raise ConfigError(
            f"classes is {training.classes!r} and the model tells "
            f"{len(model.steps.classes)} apart; make it with the same."
        )
    # the network's own head is not read: LoRA leaves it alone
    goes_on = prepare(model, training, train_head=False)
    share = not model.encoder
    renderer = model.step_renderer
    examples, encoding = encode_steps(renderer, train, clusters_of(train), training, share=share)
    held, held_encoding = encode_steps(
        renderer, heldout, clusters_of(heldout), training, share=share
    )
    check_targets(examples)
    settings = resolve_settings(training, examples)
    run = _Run(
        settings=settings,
        directory=directory,
        resume=resume,
        fingerprint={
            **{f.name: getattr(training, f.name) for f in fields(ProcessTraining)},
            **asdict(settings),
            "trackers": None,
            "members": members,
            "backbone": model.backbone_name,
            "data": train.digest,
            "heldout": heldout.digest,
            "contract": [model.contract.digest, model.steps.to_dict()],
            "threads": torch.get_num_threads(),
        },
        progress=progress,
    )
    asked = beginnings_of(model, heldout, model.contract.truncation)
    if training.mode == "frozen":
        result, rewards = _fit_frozen(model, examples, held, asked, training, run, goes_on, members)
    else:
        result, rewards = _fit_trees(model, examples, held, asked, training, run)
    judged = judged_steps(heldout, asked, rewards, training.neutral)
    return ProcessResult(
        model=model,
        heldout=step_report(judged),
        length_only=length_only(train, heldout, training.neutral),
        fit=result,
        training=training,
        settings=settings,
        encoding=encoding,
        heldout_encoding=held_encoding,
        shared_prompts=overlap(train, heldout),
    )


def check_process(training: ProcessTraining, members: int) -> None:
    """Refuse settings that cannot work, whatever the model and the data.

    Raises:
        ConfigError: If a setting is out of its range or does not fit another.
    """
    check_settings(training)
    if members < 1:
        raise ConfigError(f"members is {members}; it is at least 1.")
    if members > 1 and training.mode != "frozen":
        raise ConfigError(
            f"members is for mode frozen, and the mode is {training.mode}; leave it out."
        )


def check_targets(examples: Sequence[StepExample]) -> None:
    """Refuse training steps that all say the same.

    Raises:
        DataError: Saying which.
    """
    bad = np.concatenate([e.targets[:, 0] for e in examples])
    if np.ptp(bad) == 0:
        raise DataError(
            f"All {len(bad):,} judged training steps have the same target "
            f"(bad with probability {bad[0]:g}); a process model learns from good and bad steps."
        )


def judged_steps(
    solutions: Solutions,
    asked: Beginnings,
    rewards: NDArray[np.float64],
    neutral: Neutral,
) -> JudgedSteps:
    """Labels and rewards of solutions, from the rewards of their beginnings.

    A share of right rollouts counts as a label by whether it is at least a half.
    """
    by_solution = [np.full(len(s.steps), np.nan) for s in solutions]
    for (number, step), reward in zip(asked.where, rewards.tolist(), strict=True):
        by_solution[number][step] = reward
    labels = []
    for solution in solutions:
        shares = solution.probabilities or (None,) * len(solution.steps)
        labels.append(
            tuple(
                label if label is not None or p is None else (1 if p >= 0.5 else -1)
                for label, p in zip(solution.labels, shares, strict=True)
            )
        )
    return JudgedSteps(labels, by_solution, clusters_of(solutions), neutral)


def length_only(train: Solutions, heldout: Solutions, neutral: Neutral) -> Figure:
    """AUC of a step's length on held-out steps; its sign is that of the training steps."""
    sides = []
    for solutions in (train, heldout):
        lengths = [np.array([len(step) for step in s.steps], dtype=float) for s in solutions]
        most = max(float(row.max()) for row in lengths) + 1
        labels = [s.labels for s in solutions]
        scaled = [row / most for row in lengths]
        sides.append(JudgedSteps(labels, scaled, clusters_of(solutions), neutral).table)
    length, good, _ = sides[0]
    sign = -1.0 if auc(length, good).value < 0.5 else 1.0
    length, good, problem = sides[1]
    return auc(sign * length, good.astype(float), problem)


@dataclass(frozen=True)
class _Run:
    settings: FitSettings
    directory: Path | None
    resume: bool
    fingerprint: dict[str, Any]
    progress: Progress | None

    def fit(self, task: Task, head: nn.Module, member: int | None = None) -> FitResult:
        def on_step(step: int, total: int, _examples: int, tokens: int) -> None:
            if self.progress:
                stage = "train" if member is None else f"member {member + 1}"
                self.progress(stage, step, total, tokens)

        directory = self.directory
        if directory and member is not None:
            directory = directory / "resume" / f"member-{member}"
        return fit(
            task,
            head,
            self.settings,
            directory=directory,
            resume=self.resume,
            fingerprint={**self.fingerprint, "member": member},
            on_step=on_step,
        )


def _fit_trees(
    model: ProcessRewardModel,
    train: Sequence[StepExample],
    held: Sequence[StepExample],
    asked: Beginnings,
    training: ProcessTraining,
    run: _Run,
) -> tuple[FitResult, NDArray[np.float64]]:
    _freeze_unread(model)
    result = run.fit(StepTreeTask(model, train, held, run.settings.token_budget), model.head)
    if training.gradient_checkpointing:
        set_checkpointing(model.network, False)
        model.eval()
    if model.has_adapters:
        merge_in_place(model)
    rewards = np.empty(len(asked.tokens))
    for indexes, logits in forward_groups(model, asked.tokens, TOKEN_BUDGET):
        rewards[indexes] = step_rewards(torch.from_numpy(logits), model.steps.classes).numpy()
    return result, rewards


def _freeze_unread(model: ProcessRewardModel) -> None:
    """The classifier that transformers put on the network is not read, and so not trained."""
    base = {id(p) for p in model.network.base_model.parameters()}
    for parameter in model.network.parameters():
        if id(parameter) not in base:
            parameter.requires_grad_(False)


def _fit_frozen(
    model: ProcessRewardModel,
    train: Sequence[StepExample],
    held: Sequence[StepExample],
    asked: Beginnings,
    training: ProcessTraining,
    run: _Run,
    goes_on: bool,
    members: int,
) -> tuple[FitResult, NDArray[np.float64]]:
    tokens = [t for e in train for t in e.tokens]
    # every held-out beginning, of which the judged ones are a part
    features = cached_features(model, [*tokens, *asked.tokens], run.progress)
    own, other = features[: len(tokens)], features[len(tokens) :]
    rows = {where: row for row, where in enumerate(asked.where)}
    judged = other[[rows[where] for e in held for where in e.where]]
    mean, spread = own.mean(axis=0), float(2 * own.var(axis=0).mean())
    if not spread > 0:
        raise DataError(
            f"all {len(own):,} training steps have the same features, so there is nothing to "
            "learn; look at the backbone, or keep more of its --layers."
        )
    scale = spread**-0.5
    heads: list[nn.Linear] = []
    results: list[FitResult] = []
    for member in range(members):
        head = _head(model, mean, scale, training.seed + member, goes_on and members == 1)
        drawn = None
        if members > 1:
            drawn = bootstrap_weights([e.cluster for e in train], training.seed + member)
        task = StepFeatureTask(
            head,
            train,
            (own - mean) * scale,
            held,
            (judged - mean) * scale,
            training.l2,
            drawn,
        )
        results.append(run.fit(task, head, member if members > 1 else None))
        heads.append(unscaled(head, mean, scale))
    model.set_heads(heads)
    rewards = np.empty(len(other))
    with torch.no_grad():
        for start in range(0, len(other), 4096):
            part = torch.from_numpy(other[start : start + 4096]).to(model.network.device)
            logits = model.logits_of(part)
            rewards[start : start + 4096] = step_rewards(logits, model.steps.classes).cpu().numpy()
    return results[0], rewards


def _head(
    model: ProcessRewardModel, mean: NDArray[np.float32], scale: float, seed: int, goes_on: bool
) -> nn.Linear:
    """A head for scaled features: a fresh one, or the model's own."""
    head = nn.Linear(len(mean), len(model.steps.classes))
    if not goes_on:
        initialise_head(head, seed)
        return head
    if not isinstance(model.head, nn.Linear):
        raise ConfigError(
            "frozen training goes on from a linear head, and this model has another; "
            "use --mode lora."
        )
    with torch.no_grad():
        weight = model.head.weight.cpu()
        head.weight.copy_(weight / scale)
        bias = 0.0 if model.head.bias is None else model.head.bias.cpu()
        head.bias.copy_(bias + weight @ torch.from_numpy(mean))
    return head


def unscaled(head: nn.Linear, mean: NDArray[np.float32], scale: float) -> nn.Linear:
    """The head that gives on features what the given one gives on ``(features - mean) · scale``."""
    folded = nn.Linear(head.in_features, head.out_features)
    with torch.no_grad():
        weight = head.weight.detach().cpu().double() * scale
        folded.weight.copy_(weight)
        folded.bias.copy_(
            head.bias.detach().cpu().double() - weight @ torch.from_numpy(mean).double()
        )
    return folded
