"""The one training loop: steps over micro-batches filled to a token budget, on accelerate.

A step's loss is the weighted sum of its examples' losses over the step's whole weight, so nothing
depends on how the step was cut into forward passes or spread over processes. The loop knows nothing
of rewards: a ``Task`` gives losses. Resume points and the best state are safetensors and JSON,
never pickles.

Letters: B examples of a micro-batch · N examples in all.
"""

import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.atomic import write_json, written
from assay.data.trees import fill
from assay.errors import ConfigError, TrainingError

EvaluationRow = dict[str, float]


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


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of one fit, all resolved."""

    epochs: int
    batch_size: int
    token_budget: int
    lr: float
    head_lr_multiplier: float
    weight_decay: float
    warmup_fraction: float
    schedule: str
    max_grad_norm: float
    eval_every: int
    save_every: int
    log_every: int
    seed: int
    precision: str
    trackers: tuple[str, ...] = ()


@dataclass(frozen=True)
class FitResult:
    """How a fit went: the last training loss, the best held-out row and the step it came from."""

    steps: int
    final_loss: float
    best_step: int
    best: EvaluationRow
    rows: list[dict[str, Any]]
    seconds: float


def steps_of(num_examples: int, settings: FitSettings) -> list[list[int]]:
    """The examples of every optimiser step: each epoch a seeded permutation, cut into batches."""
    steps: list[list[int]] = []
    for epoch in range(settings.epochs):
        order = np.random.default_rng([settings.seed, epoch]).permutation(num_examples)
        steps += [
            order[i : i + settings.batch_size].tolist()
            for i in range(0, num_examples, settings.batch_size)
        ]
    return steps


def micro_batches(
    examples: Sequence[int], costs: Sequence[int], budget: int, rank: int, world: int
) -> list[list[int]]:
    """One process's forward passes of a step; every process gets the same number, some empty.

    The cut into forward passes is the same whatever the number of processes.
    """
    groups = [[examples[i] for i in row] for row in fill([costs[i] for i in examples], budget)]
    groups += [[] for _ in range(-len(groups) % world)]
    return groups[rank::world]


def learning_rate(step: int, total: int, settings: FitSettings) -> float:
    """The learning rate's factor at a step (from 0): linear warm-up, then linear or cosine to 0."""
    warmup = math.ceil(total * settings.warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    if settings.schedule == "constant":
        return 1.0
    progress = (step - warmup) / max(1, total - warmup)
    return (
        1.0 - progress
        if settings.schedule == "linear"
        else 0.5 * (1.0 + math.cos(math.pi * progress))
    )


def parameter_groups(
    module: nn.Module, head: nn.Module, settings: FitSettings
) -> list[dict[str, Any]]:
    """AdamW's groups: the head at its own rate, no weight decay on vectors (norms and biases)."""
    in_head = {id(p) for p in head.parameters()}
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if parameter.requires_grad:
            groups.setdefault((id(parameter) in in_head, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.lr * (settings.head_lr_multiplier if is_head else 1.0),
            "weight_decay": settings.weight_decay if decays else 0.0,
        }
        for (is_head, decays), parameters in groups.items()
    ]


def fit(
    task: Task,
    head: nn.Module,
    settings: FitSettings,
    *,
    directory: Path | None = None,
    resume: bool = False,
    fingerprint: Mapping[str, Any] | None = None,
    on_step: Callable[[int, int, int, int], None] | None = None,
) -> FitResult:
    """Train a task's module in place and leave it in its best held-out state.

    Args:
        head: The part trained at ``lr × head_lr_multiplier``.
        directory: Where ``metrics.jsonl`` and resume points go; None keeps nothing.
        resume: Go on from the last resume point in ``directory``, if there is one.
        fingerprint: What must be equal between a resume point and this run (settings, data digest,
            threads).
        on_step: Called with (step, total, examples, tokens) after every step.

    Raises:
        TrainingError: If a loss or gradient becomes NaN or infinite, or the run is interrupted.
        ConfigError: If the resume point belongs to other settings or data.
    """
    accelerator = _accelerator(settings, directory)
    # our own autocast: accelerate fixes its precision for the life of the process
    autocast = torch.autocast(
        accelerator.device.type, torch.bfloat16, enabled=settings.precision == "bf16"
    )
    module = task.module
    groups = parameter_groups(module, head, settings)
    optimizer = torch.optim.AdamW(
        groups, lr=settings.lr, betas=(0.9, 0.999), eps=1e-8, fused=_can_fuse(groups)
    )
    plan = steps_of(len(task.costs), settings)
    peaks = [group["lr"] for group in groups]
    prepared, optimizer = accelerator.prepare(module, optimizer)
    if settings.trackers:
        accelerator.init_trackers("assay")
    state = _State(
        module, optimizer, directory if accelerator.is_main_process else None, fingerprint or {}
    )
    progress = Progress()
    if resume and directory is not None:
        progress = _State(module, optimizer, directory, fingerprint or {}).load()
    log = _Log(directory if accelerator.is_main_process else None, progress)
    weights = np.asarray(task.weights, dtype=np.float64)
    started = time.monotonic()

    def epoch_at(step: int) -> float:
        return round(step * settings.epochs / len(plan), 4)

    def evaluate(step: int) -> None:
        share = task.evaluate(prepared, accelerator.process_index, accelerator.num_processes)
        row = task.summarise(_gather(accelerator, share))
        log.write({"step": step, "epoch": epoch_at(step), **row})
        accelerator.log(row, step=step)
        if row["heldout/loss"] < progress.best.get("heldout/loss", math.inf):
            progress.best, progress.best_step = row, step
            state.save_best()

    step = progress.step
    if step == 0:
        evaluate(0)
    clock, window = time.monotonic(), [0, 0]
    while step < len(plan):
        examples = plan[step]
        total_weight = float(weights[examples].sum()) or 1.0  # all weights 0: a step without a loss
        shares = micro_batches(
            examples,
            task.costs,
            settings.token_budget,
            accelerator.process_index,
            accelerator.num_processes,
        )
        step_loss = torch.zeros((), dtype=torch.float64)
        for number, indexes in enumerate(shares):
            last = number == len(shares) - 1
            # an empty share still runs a forward of weight zero: all processes synchronise as often
            used, scale = (indexes, 1.0) if indexes else ([examples[0]], 0.0)
            with autocast, _sync_on(accelerator, prepared, last):
                losses = task.losses(prepared, used)
                share_weights = torch.as_tensor(
                    weights[used] * scale, dtype=losses.dtype, device=losses.device
                )
                loss = (losses * share_weights).sum() / total_weight
                # processes average their gradients, so the sum is multiplied back
                accelerator.backward(loss * accelerator.num_processes)
            step_loss += loss.detach().double().cpu()
        step_loss = (
            accelerator.reduce(step_loss.to(accelerator.device), "sum").cpu()
            if accelerator.num_processes > 1
            else step_loss
        )
        norm = accelerator.clip_grad_norm_(module.parameters(), settings.max_grad_norm or math.inf)
        if not math.isfinite(float(step_loss)) or not math.isfinite(float(norm)):
            raise TrainingError(
                f"The loss became {float(step_loss)} with gradient norm {float(norm)} "
                f"at step {step + 1} of {len(plan)}; "
                "lower --lr or look at the data. The last good checkpoint is untouched."
            )
        factor = learning_rate(step, len(plan), settings)
        for group, peak in zip(optimizer.param_groups, peaks, strict=True):
            group["lr"] = peak * factor
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        step += 1
        progress.step, progress.final_loss = step, float(step_loss)
        tokens = sum(task.costs[i] for i in examples)
        window = [window[0] + len(examples), window[1] + tokens]
        if on_step:
            on_step(step, len(plan), len(examples), tokens)
        if step % settings.log_every == 0 or step == len(plan):
            seconds = time.monotonic() - clock
            row = {
                "step": step,
                "epoch": epoch_at(step),
                "train/loss": float(step_loss),
                "train/lr": settings.lr * factor,
                "train/gradient_norm": float(norm),
                "train/pairs_per_second": window[0] / seconds,
                "train/tokens_per_second": window[1] / seconds,
            }
            log.write(row)
            accelerator.log(row, step=step)
            clock, window = time.monotonic(), [0, 0]
        if step % settings.eval_every == 0 or step == len(plan):
            evaluate(step)
            clock = time.monotonic()
        if directory is not None and (step % settings.save_every == 0 or step == len(plan)):
            state.save(progress)
            accelerator.wait_for_everyone()
            clock = time.monotonic()
    state.load_best(progress)
    # not end_training(): it would take the process group from whoever fits next
    for tracker in accelerator.trackers:
        tracker.finish()
    return FitResult(
        steps=len(plan),
        final_loss=progress.final_loss,
        best_step=progress.best_step,
        best=progress.best,
        rows=log.rows,
        seconds=time.monotonic() - started,
    )


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


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    return all(p.is_floating_point() for g in groups for p in g["params"])


def _sync_on(accelerator: Any, module: nn.Module, last: bool) -> Any:
    from contextlib import nullcontext

    return nullcontext() if last else accelerator.no_sync(module)


def _gather(accelerator: Any, share: list[Any]) -> list[Any]:
    if accelerator.num_processes == 1:
        return share
    from accelerate.utils import gather_object

    return list(gather_object(share))


@dataclass
class Progress:
    """Where a fit stands; saved in every resume point."""

    step: int = 0
    final_loss: float = math.nan
    best_step: int = 0
    best: EvaluationRow = field(default_factory=dict)


class _Log:
    """metrics.jsonl: appended as it happens, cut back to the resume point when a run goes on."""

    def __init__(self, directory: Path | None, progress: Progress):
        self.path = directory / "metrics.jsonl" if directory else None
        self.rows: list[dict[str, Any]] = []
        if self.path is None:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if progress.step and self.path.exists():
            for line in self.path.read_text().splitlines():
                try:
                    row = json.loads(line)
                except json.JSONDecodeError:  # the line being written when the run was killed
                    continue
                if row["step"] <= progress.step:
                    self.rows.append(row)
        with written(self.path) as temporary:
            temporary.write_text("".join(json.dumps(row) + "\n" for row in self.rows))

    def write(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


class _State:
    """Resume points and the best state of a run, in its private ``resume`` directory."""

    def __init__(
        self,
        module: nn.Module,
        optimizer: Any,
        directory: Path | None,
        fingerprint: Mapping[str, Any],
    ):
        self.module = module
        self.optimizer = optimizer
        self.directory = directory / "resume" if directory else None
        self.fingerprint = json.loads(json.dumps(fingerprint))
        self.best: dict[str, Tensor] | None = None

    def _trained(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.module.named_parameters() if p.requires_grad}

    def save_best(self) -> None:
        tensors = {
            name: p.detach().cpu().clone().contiguous() for name, p in self._trained().items()
        }
        if self.directory is None:
            self.best = tensors
            return
        with written(self.directory / "best.safetensors") as temporary:
            save_file(tensors, temporary)

    def load_best(self, progress: Progress) -> None:
        if not progress.best:
            return
        if (
            self.directory is None and self.best is None
        ):  # another process than the first keeps none
            return
        tensors = (
            self.best if self.directory is None else load_file(self.directory / "best.safetensors")
        )
        assert tensors is not None
        _assign(self._trained(), tensors)

    def save(self, progress: Progress) -> None:
        if self.directory is None:
            return
        tensors: dict[str, Tensor] = {"rng": torch.get_rng_state()}
        moments = self.optimizer.state
        for name, parameter in self._trained().items():
            tensors[f"weight/{name}"] = parameter.detach().cpu().contiguous()
            for key, value in moments[parameter].items():
                tensors[f"{key}/{name}"] = value.detach().cpu().contiguous()
        target = self.directory / f"step-{progress.step}.safetensors"
        with written(target) as temporary:
            save_file(tensors, temporary)
        state = {
            "step": progress.step,
            "final_loss": progress.final_loss,
            "best_step": progress.best_step,
            "best": progress.best,
            "file": target.name,
            "fingerprint": self.fingerprint,
        }
        write_json(self.directory / "state.json", state)
        for old in self.directory.glob("step-*.safetensors"):
            if old.name != target.name:
                old.unlink()

    def load(self) -> Progress:
        assert self.directory is not None
        path = self.directory / "state.json"
        if not path.exists():
            return Progress()
        state = json.loads(path.read_text())
        for key in self.fingerprint.keys() | state["fingerprint"].keys():
            saved, now = state["fingerprint"].get(key), self.fingerprint.get(key)
            if saved != now:
                raise ConfigError(
                    f"The resume point in {self.directory.parent} was made with {key} = {saved!r} "
                    f"and this run has {now!r}; "
                    "resume with the same settings and data, or choose another --out."
                )
        tensors = load_file(self.directory / state["file"])
        trained = self._trained()
        _assign(trained, {n: tensors[f"weight/{n}"] for n in trained})
        for name, parameter in trained.items():
            keys = [k for k in ("step", "exp_avg", "exp_avg_sq") if f"{k}/{name}" in tensors]
            self.optimizer.state[parameter] = {
                k: tensors[f"{k}/{name}"].to(parameter.device if k != "step" else "cpu")
                for k in keys
            }
        torch.set_rng_state(tensors["rng"])
        return Progress(state["step"], state["final_loss"], state["best_step"], state["best"])


def _assign(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name].to(parameter.device))


def clear_resume(directory: Path) -> None:
    """Remove the resume points of a finished run."""
    shutil.rmtree(directory / "resume", ignore_errors=True)
