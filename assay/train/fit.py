"""The one training loop: steps over micro-batches filled to a token budget, on accelerate.

Each step is one of ``updates``. The loop knows nothing of rewards: a ``Task`` gives losses.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from torch import nn

from assay.errors import ConfigError
from assay.train.plan import FitSettings, learning_rate, parameter_groups, steps_of
from assay.train.resume import EvaluationRow, MetricsLog, Progress, ResumePoints
from assay.train.updates import Losses, Updates

OnStep = Callable[[int, int, int, int], None]
"""Called with (step, total, examples, tokens) after every step."""


@runtime_checkable
class Task(Losses, Protocol):
    """What is trained: examples with costs and weights, and their losses."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""
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
        self.plan = steps_of(len(task.costs), settings)
        self.accelerator = _accelerator(settings, directory)
        self.updates = Updates(
            task.module,
            parameter_groups(task.module, head, settings, scalars),
            self.accelerator,
            token_budget=settings.token_budget,
            max_grad_norm=settings.max_grad_norm,
            precision=settings.precision,
        )
        optimizer = self.updates.optimizer
        if settings.trackers:
            self.accelerator.init_trackers("assay")
        self.progress = Progress()
        if resume and directory is not None:
            self.progress = ResumePoints(task.module, optimizer, directory, fingerprint).load()
        # only the first process writes; the others keep their best state in memory
        own = directory if self.accelerator.is_main_process else None
        self.points = ResumePoints(task.module, optimizer, own, fingerprint)
        self.log = MetricsLog(own, self.progress)

    def step(self, examples: Sequence[int]) -> dict[str, float]:
        """One optimiser step over examples, spread over processes and cut to the token budget.

        Raises:
            TrainingError: If the loss or the gradient is NaN or infinite.
        """
        factor = learning_rate(self.progress.step, len(self.plan), self.settings)
        where = f"step {self.progress.step + 1} of {len(self.plan)}"
        loss, norm = self.updates.step(self.task, examples, factor, where)
        self.progress.step += 1
        self.progress.final_loss = loss
        return {
            "train/loss": loss,
            "train/lr": self.settings.lr * factor,
            "train/gradient_norm": norm,
        }

    def evaluate(self) -> None:
        """Held-out figures now; the state is kept if it is the best so far."""
        accelerator = self.accelerator
        share = self.task.evaluate(
            self.updates.module, accelerator.process_index, accelerator.num_processes
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
