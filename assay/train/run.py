"""The verb ``assay train reward``: files in, a run directory out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from assay.atomic import write_json, write_text
from assay.configs import (
    SINGLE_LOSSES,
    LossName,
    PairTraining,
    TrainEnsemble,
    TrainingRun,
    TrainProcess,
    TrainReward,
)
from assay.errors import ConfigError, TrainingError
from assay.types import Figure

if TYPE_CHECKING:
    from assay.data.pairs import PreferencePairs
    from assay.models.backbone_model import BackboneModel
    from assay.models.reward_model import RewardModel
    from assay.progress import Report
    from assay.train.plan import FitSettings
    from assay.train.process import ProcessResult
    from assay.train.reward import RewardResult

Result = TypeVar("Result")
Run = TypeVar("Run", "TrainReward", "TrainProcess")


@dataclass(frozen=True)
class TrainedRun:
    """A finished run: where it is and what it does on held-out pairs."""

    directory: Path
    figures: Mapping[str, Figure]
    text: str
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {"run": str(self.directory), **self.record}

    def __str__(self) -> str:
        return self.text


def run(config: TrainReward) -> TrainedRun | None:
    """Load, split, train, save and report; None on the other processes of a distributed run.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    import torch

    from assay.train.reward import train_reward

    if config.threads:
        torch.set_num_threads(config.threads)
    check_out(config)
    train, heldout = load_data(config)
    model = _starting_model(config)

    def work(progress: Report | None) -> RewardResult:
        return train_reward(
            model,
            train,
            heldout,
            config,
            directory=config.out,
            resume=config.resume,
            progress=progress,
        )

    result = watched(config.out, work)
    if result is None:
        return None
    return save_run(config.out, result, train, heldout, config)


def watched(out: Path, work: Callable[[Report | None], Result]) -> Result | None:
    """What a training gives, with progress; None on all processes of it but the first.

    Raises:
        TrainingError: If Ctrl-C ends it: the resume points in ``out`` are whole.
    """
    import torch

    from assay.progress import progress_bars

    with interruptible(out), progress_bars() as progress:
        result = work(progress if is_main() else None)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()  # the rest is the first process's work alone
    return result if is_main() else None


@contextmanager
def interruptible(out: Path) -> Iterator[None]:
    """Say what Ctrl-C leaves of a run in ``out``: its resume points are whole.

    Raises:
        TrainingError: In the place of KeyboardInterrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise TrainingError(
            f"Interrupted; the last resume point in {out} is intact. "
            "Go on with the same command and --resume."
        ) from None


def is_finished(directory: Path) -> bool:
    """Whether a run was trained and saved to its end: the resume points go last."""
    return (directory / "manifest.json").exists() and not (directory / "resume").exists()


def check_out(config: TrainingRun) -> None:
    """Refuse a directory that holds a finished run, or an unfinished one without resume.

    Raises:
        ConfigError: With one sentence.
    """
    started = (config.out / "resume").exists()
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the run.")
    if is_finished(config.out):
        raise ConfigError(
            f"--out {config.out} holds a finished run; "
            "name another directory, or go on with --from."
        )
    if started and not config.resume and is_main():
        raise ConfigError(
            f"--out {config.out} holds an unfinished run; "
            "go on with --resume, or name another directory."
        )


def is_main() -> bool:
    """Whether this is the process that reports and writes."""
    import os

    return int(os.environ.get("RANK", "0")) == 0


def load_data(config: TrainReward | TrainEnsemble) -> tuple[PreferencePairs, PreferencePairs]:
    """Training and held-out pairs, by file or split off by prompt."""
    return load_split(config, split_seed(config), config.loss)


def split_seed(config: TrainReward | TrainEnsemble | TrainProcess) -> int:
    """The seed of the split: its own, or the training's."""
    return config.seed if config.split_seed is None else config.split_seed


def load_split(
    config: PairTraining, seed: int, loss: LossName
) -> tuple[PreferencePairs, PreferencePairs]:
    """The same for any verb that trains on pairs, split by a seed, as the loss takes them."""
    from assay.data.pairs import PreferencePairs

    how: Any = {
        "on_bad_row": config.on_bad_row,
        "singles": loss in SINGLE_LOSSES,
        "apart": loss == "annotator",
    }
    pairs = PreferencePairs.load(config.data, limit=config.limit, **how)
    if config.heldout:
        return pairs, PreferencePairs.load(config.heldout, **how)
    return pairs.split(heldout=config.heldout_fraction, by="prompt", seed=seed)


def _starting_model(config: TrainReward) -> RewardModel:
    from assay.models.checkpoint import load_model
    from assay.models.reward_model import RewardModel

    if not config.from_run:
        return RewardModel.from_backbone(
            config.backbone,
            max_length=config.max_length,
            truncation=config.truncation,
            engine=config.engine,
            seed=config.seed,
        )
    model = load_model(config.from_run, engine=config.engine)
    take_over(model, config)
    return model


def take_over(model: BackboneModel, config: TrainReward | TrainProcess) -> None:
    """Make a trained model the start of another run, with that run's limits.

    Raises:
        ConfigError: If ``max_length`` is more than the model's context.
    """
    from assay.models.backbones import check_context

    check_context(model.network.config, config.max_length, str(config.from_run))
    # a contract that was inferred is this model's own once it is trained by it
    model.set_contract(max_length=config.max_length, truncation=config.truncation, verified=True)
    model.provenance = {**model.provenance, "from": config.from_run}


def as_fitted(config: Run, settings: FitSettings) -> Run:
    """The configuration with what was left open as it was settled."""
    return replace(
        config,
        epochs=settings.epochs,
        lr=settings.lr,
        batch_size=settings.batch_size,
        token_budget=config.token_budget if config.mode == "frozen" else settings.token_budget,
        eval_every=settings.eval_every,
        save_every=settings.save_every,
    )


def closing(report: object, result: RewardResult | ProcessResult, out: Path) -> str:
    """What is printed at the end: what was read, what came of it, where it is, what is doubtful."""
    text = "\n".join([str(report), str(result), f"written to {out}"])
    if result.shared_prompts:
        text += (
            f"\nwarning: {result.shared_prompts:,} held-out prompts are also in the training data"
        )
    return text


def save_run(
    out: Path,
    result: RewardResult,
    train: PreferencePairs,
    heldout: PreferencePairs,
    config: TrainReward,
) -> TrainedRun:
    """Write the model, the run's records, the pictures and the model card; the manifest last."""
    from assay.models.checkpoint import save_model, write_manifest
    from assay.models.laplace import save_laplace
    from assay.plots import gap_histogram, report_page, training_curves
    from assay.toml import resolved_toml
    from assay.train.card import model_card
    from assay.train.resume import clear_resume

    report = result.heldout
    resolved = as_fitted(config, result.settings)
    record: dict[str, Any] = {
        "heldout": report.to_dict(),
        "data": {
            "train": {
                "digest": train.digest,
                "pairs": result.encoding.pairs,
                "report": str(train.report),
            },
            "heldout": {
                "digest": heldout.digest,
                "pairs": report.encoding.pairs,
                "report": str(heldout.report),
            },
            "shared_prompts": result.shared_prompts,
            "added_pairs": result.added.pairs if result.added else 0,
            "dropped": {"train": str(result.encoding), "heldout": str(report.encoding)},
        },
        "training": {
            "mode": config.mode,
            "loss": config.loss,
            "seed": config.seed,
            "steps": result.fit.steps,
            "best_step": result.fit.best_step,
            "final_loss": result.fit.final_loss,
            "seconds": result.fit.seconds,
        },
    }
    if result.objective is not None:
        record["objective"] = result.objective
    save_model(result.model, out, record)
    if result.laplace is not None:
        save_laplace(result.laplace, out)
    write_text(out / "config.toml", resolved_toml(resolved))
    write_json(out / "heldout.json", report.to_dict())
    if result.objective is not None:
        write_json(out / "objective.json", result.objective)
    training_curves(result.fit.rows, out / "training.png", report.length_only_accuracy)
    gap_histogram(report.gaps, out / "gaps.png", report.accuracy, report.unit)
    report_page(
        result.fit.rows,
        report.gaps,
        out / "report.png",
        report.accuracy,
        report.length_only_accuracy,
        unit=report.unit,
    )
    write_text(out / "README.md", model_card(result, record))
    write_manifest(out)
    clear_resume(out)
    if config.push_to_hub:
        push(out, config.push_to_hub)
    text = closing(train.report, result, out)
    return TrainedRun(out, report.figures, text, json.loads(json.dumps(record)))


def push(out: Path, repository: str) -> None:
    """Upload a finished run to a hub repository.

    Raises:
        TrainingError: If the hub cannot be reached or refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    try:
        api = HfApi()
        api.create_repo(repository, exist_ok=True)
        api.upload_folder(
            repo_id=repository, folder_path=out, ignore_patterns=["resume/*", "metrics.jsonl"]
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise TrainingError(
            f"The run in {out} is whole, but could not be uploaded to {repository}: "
            f"{str(error).splitlines()[0]}"
        ) from error
