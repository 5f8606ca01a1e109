"""The verb ``assay train ensemble``: files in, a run directory with all members out."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.atomic import write_json, write_text
from assay.bundled import HELDOUT
from assay.configs import TrainEnsemble
from assay.errors import ConfigError
from assay.train.run import TrainedRun, check_out, load_data, watched

if TYPE_CHECKING:
    from assay.data.pairs import PreferencePairs
    from assay.models.reward_model import RewardModel
    from assay.progress import Report
    from assay.train.ensemble import EnsembleResult


def run(config: TrainEnsemble) -> TrainedRun | None:
    """Load, split, train all members, save and report; None on the other processes.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    import torch

    from assay.train.ensemble import check_ensemble, train_ensemble

    if config.threads:
        torch.set_num_threads(config.threads)
    check_out(config)
    check_ensemble(config, len(config.backbone))
    train, heldout = load_data(config)
    shifted, where = _shifted(config, train)
    models = [_starting_model(config, name) for name in config.backbone]

    def work(progress: Report | None) -> EnsembleResult:
        return train_ensemble(
            models,
            train,
            heldout,
            config,
            shifted=shifted,
            directory=config.out,
            resume=config.resume,
            progress=progress,
        )

    result = watched(config.out, work)
    if result is None:
        return None
    return save_run(config, result, train, heldout, where)


def _starting_model(config: TrainEnsemble, name: str) -> RewardModel:
    from assay.models.reward_model import RewardModel

    return RewardModel.from_backbone(
        name,
        max_length=config.max_length,
        truncation=config.truncation,
        engine=config.engine,
        seed=config.seed,
    )


def _shifted(config: TrainEnsemble, train: PreferencePairs) -> tuple[PreferencePairs | None, str]:
    """Pairs unlike the training data, and what they are; none where the default is its kind."""
    from assay.data.pairs import PreferencePairs, overlap

    if config.shifted:
        pairs = PreferencePairs.load(config.shifted, on_bad_row=config.on_bad_row)
        shared = overlap(train, pairs)
        if shared:
            raise ConfigError(
                f"{shared:,} prompts of --shifted are in the training data; name pairs unlike it."
            )
        return pairs, ", ".join(Path(name).name for name in config.shifted)
    pairs = PreferencePairs.load(HELDOUT)
    if _is_bundled(train):
        return None, ""
    return pairs, "the bundled everyday questions"


def _is_bundled(train: PreferencePairs) -> bool:
    from assay.bundled import TRAIN
    from assay.data.pairs import PreferencePairs, overlap

    return overlap(train, PreferencePairs.load(TRAIN)) > 0


def save_run(
    config: TrainEnsemble,
    result: EnsembleResult,
    train: PreferencePairs,
    heldout: PreferencePairs,
    shifted: str,
) -> TrainedRun:
    """Write the ensemble, its average if asked for, the records, the page and the card."""
    from assay.models.checkpoint import save_model, write_manifest
    from assay.models.ensemble_checkpoint import Ensemble, average_of, save_ensemble
    from assay.toml import resolved_toml
    from assay.train.ensemble_page import ensemble_card, ensemble_page
    from assay.train.resume import clear_resume

    out = config.out
    record: dict[str, Any] = {
        "heldout": result.report.to_dict(),
        "data": {
            "train": {"digest": train.digest, "report": str(train.report)},
            "heldout": {"digest": heldout.digest, "report": str(heldout.report)},
            "shifted": shifted or None,
            "dropped": {
                "train": str(result.encoding),
                "heldout": str(result.report.heldout.encoding),
            },
        },
        "training": {
            "diversity": config.diversity,
            "members": result.members,
            "mode": config.mode,
            "loss": config.loss,
            "seed": config.seed,
            "seconds": sum(f.seconds for f in result.fits),
        },
    }
    ensemble = Ensemble(result.parts, result.standards, result.aggregator)
    save_ensemble(ensemble, out, record)
    if config.weight_average:
        save_model(average_of(ensemble), out / "average")
    write_text(out / "config.toml", resolved_toml(config))
    write_json(out / "heldout.json", result.report.to_dict())
    ensemble_page(result.report, config, shifted, out / "report.html")
    write_text(out / "README.md", ensemble_card(result.report, config, shifted))
    write_manifest(out)
    clear_resume(out)
    for member in (out / "members").glob("*"):
        clear_resume(member)
    text = f"{train.report}\n{result}\nwritten to {out}"
    if config.weight_average:
        text += f"; the weight average to {out / 'average'}"
    return TrainedRun(out, result.report.heldout.figures, text, json.loads(json.dumps(record)))
