"""The verb ``assay train process``: solutions in, the run directory of a process model out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from assay.atomic import write_json, write_text
from assay.configs import TrainProcess
from assay.train.run import (
    TrainedRun,
    as_fitted,
    check_out,
    closing,
    split_seed,
    take_over,
    watched,
)

if TYPE_CHECKING:
    from assay.data.solutions import Solutions
    from assay.models.process_model import ProcessRewardModel
    from assay.progress import Report
    from assay.train.process import ProcessResult


def run(config: TrainProcess) -> TrainedRun | None:
    """Load, split, train, save and report; None on the other processes of a distributed run.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    import torch

    from assay.train.process import check_process, train_process

    if config.threads:
        torch.set_num_threads(config.threads)
    check_out(config)
    check_process(config, config.members)
    train, heldout = load_solutions(config)
    model = _starting_model(config)

    def work(progress: Report | None) -> ProcessResult:
        return train_process(
            model,
            train,
            heldout,
            config,
            members=config.members,
            directory=config.out,
            resume=config.resume,
            progress=progress,
        )

    result = watched(config.out, work)
    if result is None:
        return None
    return save_run(config, result, train, heldout)


def load_solutions(config: TrainProcess) -> tuple[Solutions, Solutions]:
    """Training and held-out solutions, by file or split off by prompt."""
    from assay.data.solutions import Solutions

    how: Any = {"on_bad_row": config.on_bad_row, "after_error": config.after_error}
    solutions = Solutions.load(config.data, limit=config.limit, **how)
    if config.heldout:
        return solutions, Solutions.load(config.heldout, **how)
    return solutions.split(config.heldout_fraction, by="prompt", seed=split_seed(config))


def _starting_model(config: TrainProcess) -> ProcessRewardModel:
    from assay.models.process_checkpoint import load_process
    from assay.models.process_model import ProcessRewardModel

    if not config.from_run:
        return ProcessRewardModel.from_backbone(
            config.backbone,
            separator=config.separator,
            read=config.read,
            classes=config.classes,
            max_length=config.max_length,
            truncation=config.truncation,
            engine=config.engine,
            seed=config.seed,
        )
    model = load_process(config.from_run, engine=config.engine)
    take_over(model, config)
    return model


def save_run(
    config: TrainProcess, result: ProcessResult, train: Solutions, heldout: Solutions
) -> TrainedRun:
    """Write the model, the run's records, the picture and the model card; the manifest last."""
    from assay.models.checkpoint import write_manifest
    from assay.models.process_checkpoint import save_process
    from assay.plots import training_curves
    from assay.toml import resolved_toml
    from assay.train.process_card import process_card
    from assay.train.resume import clear_resume

    out = config.out
    resolved = as_fitted(config, result.settings)
    figures = {name: figure.to_dict() for name, figure in result.figures.items()}
    record: dict[str, Any] = {
        "heldout": {**figures, "report": result.heldout.to_dict()},
        "data": {
            "train": {"digest": train.digest, "report": str(train.report)},
            "heldout": {"digest": heldout.digest, "report": str(heldout.report)},
            "shared_prompts": result.shared_prompts,
            "encoded": {"train": str(result.encoding), "heldout": str(result.heldout_encoding)},
            "tokens": result.encoding.tokens,
            "tokens_by_solution": result.encoding.unshared_tokens,
        },
        "training": {
            "mode": config.mode,
            "classes": config.classes,
            "neutral": config.neutral,
            "targets": config.targets,
            "members": config.members,
            "seed": config.seed,
            "steps": result.fit.steps,
            "best_step": result.fit.best_step,
            "final_loss": result.fit.final_loss,
            "seconds": result.fit.seconds,
        },
    }
    save_process(result.model, out, record)
    write_text(out / "config.toml", resolved_toml(resolved))
    write_json(out / "heldout.json", record["heldout"])
    training_curves(result.fit.rows, out / "training.png")
    write_text(out / "README.md", process_card(result, record))
    write_manifest(out)
    clear_resume(out)
    text = closing(train.report, result, out)
    return TrainedRun(out, result.figures, text, json.loads(json.dumps(record)))
