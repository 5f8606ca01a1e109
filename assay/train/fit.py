"""The one training loop: steps over micro-batches filled to a token budget, on accelerate.

A step's loss is the weighted sum of its examples' losses over the step's whole weight, so nothing
depends on how the step was cut into forward passes or spread over processes. The loop knows nothing
of rewards: a ``Task`` gives losses.

Letters: B examples of a micro-batch · N examples in all.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from assay.errors import ConfigError, TrainingError
from assay.train.plan import FitSettings, learning_rate, micro_batches, parameter_groups, steps_of
from assay.train.resume import EvaluationRow, MetricsLog, Progress, ResumePoints

OnStep = Callable[[int, int, int, int], None]
"""Called with (step, total, examples, tokens) after every step."""


@runtime_checkable
class Task(Protocol):
    """What is trained: examples with costs and weights, and their losses."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
        ...

    @property
    def costs(self) -> Sequence[int]:
        """Tokens of each example, ``(N,)``."""
        ...

    @property
    def weights(self) -> Sequence[float]:
        """Weight of each example's loss, ``(N,)``."""
        ...

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """One loss per example ``(B,)``, with gradients, through ``module``.

        ``module`` may be wrapped for several processes.
        """
        ...

    def evaluate(self, module: nn.Module, share: int, shares: int) -> list[Any]:
        """This process's share of the held-out results, to be gathered."""
        ...

    def summarise(self, results: list[Any]) -> EvaluationRow:
        """Held-out figures from all shares' results; ``heldout/loss`` decides the best state."""
        ...


@dataclass(frozen=True)
class FitResult:
    """How a fit went: the last training loss, the best held-out row and the step it came from."""

    steps: int
    final_loss: float
    best_step: int
    best: EvaluationRow
    rows: list[dict[str, Any]]
    seconds: float


def fit(
    task: Task,
    head: nn.Module,
    settings: FitSettings,
    *,
    directory: Path | None = None,
    resume: bool = False,
    fingerprint: Mapping[str, Any] | None = None,
    on_step: OnStep | None = None,
    scalars: nn.Module | None = None,
) -> FitResult:
    """Train a task's module in place and leave it in its best held-out state.

    Args:
        head: The part trained at ``lr × head_lr_multiplier``.
        directory: Where ``metrics.jsonl`` and resume points go; None keeps nothing.
        resume: Go on from the last resume point in ``directory``, if there is one.
        fingerprint: What must be equal between a resume point and this run (settings, data digest,
            threads).
        scalars: The part trained at ``objective_lr``.

    Raises:
        TrainingError: If a loss or gradient becomes NaN or infinite.
        ConfigError: If the resume point belongs to other settings or data.
    """
    started = time.monotonic()
    loop = _Loop(task, head, settings, directory, resume, fingerprint or {}, scalars)
    total = len(loop.plan)
    if loop.progress.step == 0:
        loop.evaluate()
    meter = _Meter()
    while loop.progress.step < total:
        examples = loop.plan[loop.progress.step]
        figures = loop.step(examples)
        step = loop.progress.step
        tokens = sum(task.costs[i] for i in examples)
        meter.count(len(examples), tokens)
        if on_step:
            on_step(step, total, len(examples), tokens)
        if step % settings.log_every == 0 or step == total:
            loop.record({**figures, **meter.speeds()})
            meter = _Meter()
        if step % settings.eval_every == 0 or step == total:
            loop.evaluate()
            meter = _Meter()
        if directory is not None and (step % settings.save_every == 0 or step == total):
            loop.save()
            meter = _Meter()
    loop.finish()
    progress = loop.progress
    return FitResult(
        steps=total,
        final_loss=progress.final_loss,
        best_step=progress.best_step,
        best=progress.best,
        rows=loop.log.rows,
        seconds=time.monotonic() - started,
    )


class _Loop:
    """The state of one fit and what is done with it: a step, an evaluation, a resume point."""

    def __init__(
        self,
        task: Task,
        head: nn.Module,
        settings: FitSettings,
        directory: Path | None,
        resume: bool,
        fingerprint: Mapping[str, Any],
        scalars: nn.Module | None,
    ):
        self.task = task
        self.settings = settings
        self.weights = np.asarray(task.weights, dtype=np.float64)  # (N,)
        self.plan = steps_of(len(task.costs), settings)
        self.accelerator = _accelerator(settings, directory)
        groups = parameter_groups(task.module, head, settings, scalars)
        self.peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(
            groups, lr=settings.lr, betas=(0.9, 0.999), eps=1e-8, fused=True
        )
        self.module, self.optimizer = self.accelerator.prepare(task.module, optimizer)
        if settings.trackers:
            self.accelerator.init_trackers("assay")
        self.progress = Progress()
        if resume and directory is not None:
            self.progress = ResumePoints(task.module, self.optimizer, directory, fingerprint).load()
        # only the first process writes; the others keep their best state in memory
        own = directory if self.accelerator.is_main_process else None
        self.points = ResumePoints(task.module, self.optimizer, own, fingerprint)
        self.log = MetricsLog(own, self.progress)

    def step(self, examples: Sequence[int]) -> dict[str, float]:
        """One optimiser step over examples, spread over processes and cut to the token budget.

        Raises:
            TrainingError: If the loss or the gradient is NaN or infinite.
        """
        loss = self._backward(examples)
        clip = self.settings.max_grad_norm or math.inf
        norm = float(self.accelerator.clip_grad_norm_(self.task.module.parameters(), clip))
        if not math.isfinite(loss) or not math.isfinite(norm):
            raise TrainingError(
                f"The loss became {loss} with gradient norm {norm} "
                f"at step {self.progress.step + 1} of {len(self.plan)}; "
                "lower --lr or look at the data. The last good checkpoint is untouched."
            )
        factor = learning_rate(self.progress.step, len(self.plan), self.settings)
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.step += 1
        self.progress.final_loss = loss
        return {
            "train/loss": loss,
            "train/lr": self.settings.lr * factor,
            "train/gradient_norm": norm,
        }

    def _backward(self, examples: Sequence[int]) -> float:
        """Gradients of a step's loss, and that loss over all processes."""
        world = self.accelerator.num_processes
        # all weights 0: a step without a loss
        total_weight = float(self.weights[list(examples)].sum()) or 1.0
        shares = micro_batches(
            examples,
            self.task.costs,
            self.settings.token_budget,
            self.accelerator.process_index,
            world,
        )
        # our own autocast: accelerate fixes its precision for the life of the process
        half = self.settings.precision == "bf16"
        autocast = torch.autocast(self.accelerator.device.type, torch.bfloat16, enabled=half)
        step_loss = torch.zeros((), dtype=torch.float64)
        for number, indexes in enumerate(shares):
            last = number == len(shares) - 1
            # an empty share still runs a forward of weight zero: all processes synchronise as often
            used, scale = (indexes, 1.0) if indexes else ([examples[0]], 0.0)
            with nullcontext() if last else self.accelerator.no_sync(self.module):
                with autocast:
                    losses = self.task.losses(self.module, used)
                weights = torch.as_tensor(
                    self.weights[used] * scale, dtype=losses.dtype, device=losses.device
                )
                loss = (losses * weights).sum() / total_weight
                # processes average their gradients, so the sum is multiplied back
                self.accelerator.backward(loss * world)
            step_loss += loss.detach().double().cpu()
        if world > 1:
            step_loss = self.accelerator.reduce(step_loss.to(self.accelerator.device), "sum")
        return float(step_loss)

    def evaluate(self) -> None:
        """Held-out figures now; the state is kept if it is the best so far."""
        accelerator = self.accelerator
        share = self.task.evaluate(
            self.module, accelerator.process_index, accelerator.num_processes
        )
        row = self.task.summarise(_gather(accelerator, share))
        self.record(row)
        if row["heldout/loss"] < self.progress.best.get("heldout/loss", math.inf):
            self.progress.best, self.progress.best_step = row, self.progress.step
            self.points.save_best()

    def record(self, figures: Mapping[str, float]) -> None:
        """Write figures of the present step to metrics.jsonl and the trackers."""
        step = self.progress.step
        epoch = round(step * self.settings.epochs / len(self.plan), 4)
        self.log.write({"step": step, "epoch": epoch, **figures})
        self.accelerator.log(dict(figures), step=step)

    def save(self) -> None:
        """Write a resume point."""
        self.points.save(self.progress)
        self.accelerator.wait_for_everyone()

    def finish(self) -> None:
        """Put the best state back and close the trackers."""
        self.points.load_best(self.progress)
        # not end_training(): it would take the process group from whoever fits next
        for tracker in self.accelerator.trackers:
            tracker.finish()


class _Meter:
    """Examples and tokens since it was made."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.examples = 0
        self.tokens = 0

    def count(self, examples: int, tokens: int) -> None:
        self.examples += examples
        self.tokens += tokens

    def speeds(self) -> dict[str, float]:
        seconds = max(time.monotonic() - self.started, 1e-9)
        return {
            "train/pairs_per_second": self.examples / seconds,
            "train/tokens_per_second": self.tokens / seconds,
        }


def _accelerator(settings: FitSettings, directory: Path | None) -> Any:
    from accelerate import Accelerator

    wanted = list(settings.trackers)
    try:
        accelerator = Accelerator(
            log_with=wanted or None, project_dir=str(directory) if directory else None
        )
    except ValueError as error:
        raise ConfigError(f"trackers {', '.join(wanted)} cannot be used: {error}.") from error
    found = [str(getattr(t, "value", t)) for t in accelerator.log_with]
    missing = [name for name in wanted if name not in found]
    if missing:
        raise ConfigError(
            f"tracker {missing[0]!r} is not installed; "
            "pip install it or leave it out of --trackers."
        )
    return accelerator


def _gather(accelerator: Any, share: list[Any]) -> list[Any]:
    if accelerator.num_processes == 1:
        return share
    from accelerate.utils import gather_object

    return list(gather_object(share))
