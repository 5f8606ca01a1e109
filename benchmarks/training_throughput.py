"""How fast and in how much memory does full fine-tuning go, against TRL's RewardTrainer?

Every system runs in a process of its own, in turns. All see the same pairs as the same token ids in
the same order, start from the same weights and head, and take the same optimiser steps; the losses
of the first step and the token counts are compared, so a difference in the work is an error.
"""

from __future__ import annotations

import math
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from common import (
    Recorded,
    Skip,
    answer,
    cores,
    find_data,
    is_worker,
    main,
    run_worker,
    shown,
    spread,
    table,
    write_record,
)

from assay.errors import ConfigError, DataError, TrainingError

if TYPE_CHECKING:
    from assay.configs import RewardTraining

System = Literal["trl-default", "trl-best", "assay"]
NEVER = 10**9
LOSS_TOLERANCE = 1e-3
"""Relative, for the first step's loss: before any update the systems differ by rounding alone."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Full fine-tuning in fp32: pairs per second and peak memory, TRL against Assay."""

    data: Path | None = None
    """Preference pairs. Default: hh_helpful.jsonl.gz in the directory ASSAY_DATA."""
    backbone: str = "smollm2-135m"
    """A backbone name or directory."""
    pairs: int = 48
    """Train on the first so many pairs that fit max_length."""
    max_length: int = 1024
    """Longest conversation in tokens."""
    batch_size: int = 8
    """Pairs per optimiser step."""
    trl_batch: int = 2
    """Pairs per forward pass of trl-best; it accumulates up to batch_size."""
    lr: float = 2e-5
    """Learning rate, constant."""
    repeats: int = 3
    """Runs of each system."""
    threads: int = cores()
    """CPU threads. Default: all cores."""
    systems: tuple[System, ...] = ("trl-default", "trl-best", "assay")
    """What to run."""


def run(settings: Settings) -> None:
    """Run the systems in turns, compare, print the table and write the record."""
    check(settings)
    data = find_data(settings.data, "hh_helpful.jsonl.gz")
    job = {**asdict(settings), "data": str(data), "out": ""}
    job |= run_worker(__file__, "prepare", job)
    print(
        f"{settings.pairs} pairs ({job['skipped']} before them do not fit "
        f"{settings.max_length:,} tokens), {job['conversation_tokens']:,} tokens",
        file=sys.stderr,
    )
    runs: dict[str, list[dict[str, Any]]] = {system: [] for system in settings.systems}
    for repeat in range(settings.repeats):
        for system in settings.systems:
            done = run_worker(__file__, system, job)
            runs[system].append(done)
            print(
                f"repeat {repeat + 1} {system}: {done['pairs_per_second']:.3f} pairs/s, "
                f"{done['peak_memory_bytes'] / 1e9:.2f} GB",
                file=sys.stderr,
            )
        check_same_work({system: done[-1] for system, done in runs.items()})
    comparison = compare(runs)
    print(systems_table(runs))
    if comparison:
        print("\n" + comparison_table(comparison))
    write_record(
        "training_throughput",
        replace(settings, data=data),
        {
            "skipped_too_long": job["skipped"],
            "conversation_tokens": job["conversation_tokens"],
            "runs": runs,
            "summary": {system: summary(done) for system, done in runs.items()},
            "assay_over": comparison,
        },
    )


def check(settings: Settings) -> None:
    """Refuse settings that leave nothing to time or compare.

    Raises:
        ConfigError: If they do.
        Skip: If TRL is asked for and not installed.
    """
    if settings.pairs < 2 * settings.batch_size or settings.pairs % settings.batch_size:
        raise ConfigError(
            f"--pairs {settings.pairs} is not two or more whole steps of --batch-size "
            f"{settings.batch_size}; the first step is not timed, and the others must be whole."
        )
    if settings.batch_size % settings.trl_batch:
        raise ConfigError(
            f"--trl-batch {settings.trl_batch} does not divide --batch-size {settings.batch_size}."
        )
    if any(s != "assay" for s in settings.systems) and find_spec("trl") is None:
        raise Skip(
            "TRL is not installed; run: pip install -c constraints.txt -e '.[bench]', "
            "or measure Assay alone with --systems assay."
        )


# --- what runs in a process of its own ------------------------------------------------------------


def prepare(job: dict[str, Any]) -> dict[str, Any]:
    """The pairs that fit, as rows, and the order in which Assay's loop takes them.

    Also converts the backbone and probes the engine, which are kept: no timed process has to.
    """
    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.train.encode import encode
    from assay.train.plan import steps_of
    from assay.train.reward import resolve

    model = RewardModel.from_backbone(job["backbone"], max_length=job["max_length"])
    rows: list[dict[str, Any]] = []
    skipped = tokens = 0
    for comparison in PreferencePairs.load(job["data"]).comparisons:
        if len(rows) == job["pairs"]:
            break
        pair = comparison.pairs()[0]
        lengths = [
            len(t.ids) for t in model.renderer.tokenise(pair.to_comparison().conversations())
        ]
        if max(lengths) > job["max_length"]:
            skipped += 1
            continue
        tokens += sum(lengths)
        sides = {"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected}
        rows.append({side: [m.to_dict() for m in ms] for side, ms in sides.items()})
    if len(rows) < job["pairs"]:
        raise DataError(
            f"{Path(job['data']).name} has {len(rows):,} pairs within {job['max_length']:,} tokens "
            f"where {job['pairs']:,} were wanted; lower --pairs or raise --max-length."
        )
    pairs = PreferencePairs.load(rows, deduplicate=False)
    examples, _ = encode(
        model.renderer, pairs.comparisons, range(len(rows)), share=not model.encoder
    )
    plan = steps_of(len(rows), resolve(training(job), examples))
    return {
        "rows": rows,
        "order": [i for step in plan for i in step],
        "skipped": skipped,
        "conversation_tokens": tokens,
    }


def training(job: Mapping[str, Any]) -> RewardTraining:
    """Assay's settings, everything that is not speed as TRL has it."""
    from assay.configs import RewardTraining

    return RewardTraining(
        mode="full",
        epochs=1,
        batch_size=job["batch_size"],
        lr=job["lr"],
        head_lr_multiplier=1.0,
        weight_decay=0.0,
        warmup_fraction=0.0,
        schedule="constant",
        max_grad_norm=1.0,
    )


def train_assay(job: dict[str, Any]) -> dict[str, Any]:
    """One epoch of Assay's loop, without evaluation and saving."""
    import torch

    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.train.encode import encode
    from assay.train.fit import fit
    from assay.train.resume import EvaluationRow
    from assay.train.reward import resolve
    from assay.train.tasks import LossSettings, TreeTask

    class Unevaluated(TreeTask):
        def evaluate(self, *_: Any) -> list[Any]:
            return []

        def summarise(self, _: list[Any]) -> EvaluationRow:
            return {"heldout/loss": math.inf}  # never better, so no best state is kept either

    torch.set_num_threads(job["threads"])
    model = RewardModel.from_backbone(job["backbone"], max_length=job["max_length"])
    pairs = PreferencePairs.load(job["rows"], deduplicate=False)
    examples, _ = encode(
        model.renderer, pairs.comparisons, range(len(pairs)), share=not model.encoder
    )
    settings = replace(resolve(training(job), examples), eval_every=NEVER, save_every=NEVER)
    task = Unevaluated(model, examples, [], LossSettings(), settings.token_budget)
    ends: list[float] = []
    result = fit(task, model.head, settings, on_step=lambda *_: ends.append(time.perf_counter()))
    return {
        **speed(ends, job["batch_size"]),
        "conversation_tokens": sum(len(t.ids) for e in examples for t in e.tokens),
        "forward_tokens": sum(task.costs),
        "losses": [row["train/loss"] for row in result.rows if "train/loss" in row],
        "engine": model.engine,
        "token_budget": settings.token_budget,
    }


def train_trl(job: dict[str, Any], *, batch: int, **options: Any) -> dict[str, Any]:
    """One epoch of TRL's RewardTrainer on the same token ids, without evaluation and saving.

    Args:
        batch: Pairs per forward pass.
        options: What else its configuration has besides defaults.
    """
    import torch
    from datasets import Dataset
    from transformers import TrainerCallback

    from assay.data.contract import make_contract
    from assay.models.backbones import (
        head_of,
        initialise_head,
        load_network,
        load_tokenizer,
        resolve_backbone,
    )

    trl: Any = import_module("trl")  # an extra, and without types
    torch.set_num_threads(job["threads"])
    location = resolve_backbone(job["backbone"])
    tokenizer = load_tokenizer(location)
    make_contract(tokenizer, max_length=job["max_length"])  # gives it the contract's template
    pad_id: Any = tokenizer.convert_tokens_to_ids(str(tokenizer.pad_token))
    # transformers' AutoModelForSequenceClassification with num_labels=1
    network = load_network(location, pad_token_id=pad_id, attention="sdpa")
    initialise_head(head_of(network), 0)
    ends: list[float] = []
    losses: list[torch.Tensor] = []
    counts = {"conversation_tokens": 0, "forward_tokens": 0}

    class Clock(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder:
        trainer = trl.RewardTrainer(
            model=network,
            processing_class=tokenizer,
            train_dataset=Dataset.from_list([job["rows"][i] for i in job["order"]]),
            callbacks=[Clock()],
            args=trl.RewardConfig(
                output_dir=folder,
                per_device_train_batch_size=batch,
                gradient_accumulation_steps=job["batch_size"] // batch,
                num_train_epochs=1,
                train_sampling_strategy="sequential",  # the rows are in the order of Assay's loop
                max_length=job["max_length"],
                learning_rate=job["lr"],
                lr_scheduler_type="constant",
                bf16=False,
                use_cpu=True,
                eval_strategy="no",
                save_strategy="no",
                logging_strategy="no",
                report_to="none",
                disable_tqdm=True,
                **options,
            ),
        )
        step = trainer.training_step

        def counted(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
            counts["conversation_tokens"] += int(inputs["attention_mask"].sum())
            counts["forward_tokens"] += inputs["input_ids"].numel()
            loss = step(model, inputs, *rest, **more)
            losses.append(loss.detach())
            return loss

        trainer.training_step = counted
        trainer.train()
    passes = job["batch_size"] // batch
    return {
        **speed(ends, job["batch_size"]),
        **counts,
        "losses": [float(sum(losses[i : i + passes])) for i in range(0, len(losses), passes)],
        "gradient_checkpointing": bool(trainer.args.gradient_checkpointing),
        "batch": batch,
    }


def speed(ends: Sequence[float], batch_size: int) -> dict[str, Any]:
    """Pairs per second from the end of the first step to the end of the last, and peak memory."""
    import resource

    seconds = ends[-1] - ends[0]
    unit = 1 if sys.platform == "darwin" else 1024
    return {
        "pairs_per_second": (len(ends) - 1) * batch_size / seconds,
        "step_seconds": [b - a for a, b in pairwise(ends)],
        "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit,
    }


TASKS = {
    "prepare": prepare,
    "assay": train_assay,
    "trl-default": lambda job: train_trl(job, batch=job["batch_size"]),
    "trl-best": lambda job: train_trl(job, batch=job["trl_batch"], gradient_checkpointing=False),
}


# --- comparison -----------------------------------------------------------------------------------


def check_same_work(runs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse to compare systems that did not see the same tokens or start from the same loss.

    Raises:
        TrainingError: If they did not.
    """
    (first, wanted), *others = runs.items()
    for system, got in others:
        if got["conversation_tokens"] != wanted["conversation_tokens"]:
            raise TrainingError(
                f"{first} read {wanted['conversation_tokens']:,} tokens and {system} "
                f"{got['conversation_tokens']:,}; they must train on the same conversations."
            )
        a, b = wanted["losses"][0], got["losses"][0]
        if not math.isclose(a, b, rel_tol=LOSS_TOLERANCE):
            raise TrainingError(
                f"The first loss is {a:.6f} in {first} and {b:.6f} in {system}; "
                "they must start from the same weights on the same pairs."
            )


def compare(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Assay over each other system, repeat by repeat."""
    ours = runs.get("assay", ())
    return {
        system: {
            name: {"repeats": ratios, **spread(ratios)}
            for name, key in (("speed", "pairs_per_second"), ("memory", "peak_memory_bytes"))
            for ratios in [[a[key] / b[key] for a, b in zip(ours, theirs, strict=True)]]
        }
        for system, theirs in runs.items()
        if ours and system != "assay"
    }


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Spread of speed and peak memory over the repeats."""
    return {
        key: spread([run[key] for run in runs]) for key in ("pairs_per_second", "peak_memory_bytes")
    }


def systems_table(runs: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """What each system did."""
    rows = [
        [
            system,
            shown([run["pairs_per_second"] for run in done]),
            shown([run["peak_memory_bytes"] / 1e9 for run in done], 2, " GB"),
            f"{done[0]['forward_tokens']:,}",
            f"{done[0]['losses'][0]:.4f} → {done[0]['losses'][-1]:.4f}",
        ]
        for system, done in runs.items()
    ]
    return table(
        ["system", "pairs/s", "peak memory", "tokens computed", "loss, first → last"], rows
    )


def comparison_table(comparison: Mapping[str, Mapping[str, Any]]) -> str:
    """Assay's ratios to each baseline."""
    rows = [
        [
            f"Assay over {system}",
            shown(r["speed"]["repeats"], 2, "×"),
            shown(r["memory"]["repeats"], 2, "×"),
        ]
        for system, r in comparison.items()
    ]
    return table(["ratio", "pairs/s", "peak memory"], rows)


if __name__ == "__main__":
    if is_worker(sys.argv):
        answer(TASKS)
    else:
        main(run, Settings)
