"""What does an ensemble gain on held-out pairs, by the kind of its diversity?

Frozen heads on public human preferences, several splits. Every kind is trained by
``train_ensemble`` on the same pairs; features come from the cache after the first split.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import Recorded, cores, find_data, main, table, write_record

from assay.bundled import HELDOUT
from assay.configs import EnsembleTraining
from assay.data.pairs import PreferencePairs
from assay.models.reward_model import RewardModel
from assay.stats import estimate_mean
from assay.train.ensemble import EnsembleResult, train_ensemble
from assay.types import Figure

SMOL = "smollm2-135m"
MAX_LENGTH = 512
"""What all backbones can read."""


@dataclass(frozen=True)
class Kind:
    """A way of making members differ."""

    backbones: tuple[str, ...]
    training: EnsembleTraining


def kinds(members: int) -> dict[str, Kind]:
    """The kinds compared; a single model is the first member of ``same seeds``."""
    heads = EnsembleTraining(members=members, diversity="heads", bootstrap=False)
    backbones = EnsembleTraining(diversity="backbones", pooling="mean")
    return {
        "heads, seeds alone": Kind((SMOL,), heads),
        "heads, bootstraps": Kind((SMOL,), EnsembleTraining(members=members, diversity="heads")),
        "layers and poolings": Kind((SMOL,), EnsembleTraining(members=members, diversity="layers")),
        "backbones (SmolLM2, Gemma 3, MiniLM; mean states)": Kind(
            (SMOL, "gemma3-270m", "minilm-l6"), backbones
        ),
    }


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Ensembles of frozen heads on one preference file."""

    data: Path | None = None
    """A preference file. Default: hh_harmless.jsonl.gz in ASSAY_DATA."""
    limit: int | None = None
    """Use only the first so many comparisons."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the split (20 % of the prompts held out) and of the members."""
    members: int = 5
    """Members, but for backbones."""
    name: str = "hh_harmless"
    """Name in the record."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


FIGURES: dict[str, Callable[[EnsembleResult], float]] = {
    "accuracy": lambda r: r.report.heldout.accuracy.value,
    "nll": lambda r: r.report.heldout.figures["nll"].value,
    "ece": lambda r: r.report.heldout.figures["ece"].value,
    "members_accuracy": lambda r: _mean(r, "accuracy"),
    "members_nll": lambda r: _mean(r, "nll"),
    "members_ece": lambda r: _mean(r, "ece"),
    "nll_less_members": lambda r: r.report.against_members["nll"].value,
    "disagreement": lambda r: r.report.diversity["heldout"].disagreement.value,
    "error_correlation": lambda r: r.report.diversity["heldout"].error_correlation.value,
    "shifted_disagreement": lambda r: r.report.diversity["shifted"].disagreement.value,
    "shifted_error_correlation": lambda r: r.report.diversity["shifted"].error_correlation.value,
    "doubt_error_correlation": lambda r: r.report.uncertainty.error_correlation.value,
    "rejection_gain": lambda r: r.report.uncertainty.rejection.gain.value,
}


def _mean(result: EnsembleResult, key: str) -> float:
    return float(np.mean([m.figures[key].value for m in result.report.members]))


def run(settings: Settings) -> None:
    """Train every kind on every split, print the table and write the record."""
    torch.set_num_threads(settings.threads)
    path = find_data(settings.data, "hh_harmless.jsonl.gz")
    pairs = PreferencePairs.load(str(path), limit=settings.limit)
    shifted = PreferencePairs.load(HELDOUT)
    runs: dict[str, list[dict[str, Any]]] = {}
    for seed in settings.seeds:
        train, heldout = pairs.split(heldout=0.2, by="prompt", seed=seed)
        for name, kind in kinds(settings.members).items():
            models = [RewardModel.from_backbone(b, max_length=MAX_LENGTH) for b in kind.backbones]
            training = _seeded(kind.training, seed)
            result = train_ensemble(models, train, heldout, training, shifted=shifted)
            row = {key: figure(result) for key, figure in FIGURES.items()}
            row["ece_less_members"] = row["ece"] - row["members_ece"]
            runs.setdefault(name, []).append(
                {"seed": seed, **row, "report": result.report.to_dict()}
            )
            if name == "heads, seeds alone":
                first = result.report.members[0].figures
                single = {key: first[key].value for key in ("accuracy", "nll", "ece")}
                runs.setdefault("single model", []).append({"seed": seed, **single})
            print(f"seed {seed}, {name}: {result.report.heldout.accuracy}", flush=True)
    means = {name: over_seeds(rows) for name, rows in runs.items()}
    columns = ("accuracy", "nll", "nll_less_members", "ece", "ece_less_members", "disagreement",
               "error_correlation", "doubt_error_correlation", "rejection_gain")  # fmt: skip
    rows = [
        (name, *(text(figures[c]) if c in figures else "" for c in columns))
        for name, figures in means.items()
    ]
    print(table(("kind", *columns), rows))
    record = {
        "pairs": len(pairs),
        "means": {n: {k: f.to_dict() for k, f in m.items()} for n, m in means.items()},
        "runs": runs,
    }
    write_record(f"ensembles_{settings.name}", settings, record)


def _seeded(training: EnsembleTraining, seed: int) -> EnsembleTraining:
    from dataclasses import replace

    return replace(training, seed=seed)


def over_seeds(rows: list[dict[str, Any]]) -> dict[str, Figure]:
    """Means over the splits with Student's interval: a rough one, for the splits share pairs."""
    keys = [k for k, v in rows[0].items() if isinstance(v, float)]
    return {key: estimate_mean([row[key] for row in rows]).figure() for key in keys}


def text(figure: Figure) -> str:
    """A mean with its interval."""
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


if __name__ == "__main__":
    main(run, Settings)
