"""How accurate are trained reward models on prompts they never saw, over seeds of the split?

Runs ``assay train reward`` as a user would, once per split seed.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from common import Recorded, cores, find_data, main, portable, table, write_record

from assay.configs import Mode
from assay.errors import TrainingError


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Held-out accuracy and the length-only baseline over split seeds."""

    data: Path | None = None
    """Preference pairs. Default: hh_harmless.jsonl.gz in the directory ASSAY_DATA."""
    backbone: str = "smollm2-135m"
    """A backbone name or directory."""
    mode: Mode = "frozen"
    """frozen, lora or full."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the held-out split; one run each. The training's own seed stays 0."""
    flags: str = ""
    """More flags of assay train reward, in one text: --flags="--epochs 2 --lr 1e-5"."""
    name: str | None = None
    """The record is accuracy_NAME.json. Default: the data's name and the mode."""
    keep: Path | None = None
    """Keep the runs in this directory. Default: they are deleted."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Train once a seed, print the table and write the record."""
    data = find_data(settings.data, "hh_harmless.jsonl.gz")
    name = settings.name or f"{data.name.partition('.')[0]}_{settings.mode}"
    settings = replace(settings, data=data, name=name)
    with tempfile.TemporaryDirectory() as folder:
        runs = []
        for seed in settings.seeds:
            runs.append(train(settings, seed, settings.keep or Path(folder)))
            print(f"split seed {seed}: {row(runs[-1])[1]}", file=sys.stderr)
    figures = summary(runs)
    print(table(["split seed", "accuracy", "length-only", "wall time"], [row(r) for r in runs]))
    print(f"\nmean accuracy {figures['accuracy']:.3f}, length-only {figures['length_only']:.3f}")
    flags = shlex.join(portable(shlex.split(settings.flags)))
    results = {"summary": figures, "runs": runs}
    write_record(f"accuracy_{name}", replace(settings, flags=flags), results)


def command(settings: Settings, seed: int, folder: Path) -> list[str]:
    """The command line of one run."""
    return [
        *(sys.executable, "-m", "assay", "train", "reward", "--json"),
        *("--data", str(settings.data), "--backbone", settings.backbone, "--mode", settings.mode),
        *("--split-seed", str(seed), "--threads", str(settings.threads)),
        *("--out", str(folder / f"{settings.name}_seed{seed}")),
        *shlex.split(settings.flags),
    ]


def train(settings: Settings, seed: int, folder: Path) -> dict[str, Any]:
    """Train on one split: its held-out figures and the wall time of the whole command.

    Raises:
        TrainingError: If the command fails.
    """
    started = time.perf_counter()
    done = subprocess.run(command(settings, seed, folder), capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise TrainingError(f"Training on split seed {seed} failed: {said}")
    record = json.loads(done.stdout)
    return {
        "split_seed": seed,
        "heldout": record["heldout"],
        "training": record["training"],
        "dropped": record["data"]["dropped"],
        "seconds": seconds,
    }


def summary(runs: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over the seeds of accuracy, length-only accuracy and wall time."""
    return {
        "accuracy": fmean(r["heldout"]["accuracy"]["value"] for r in runs),
        "length_only": fmean(r["heldout"]["length_only_accuracy"]["value"] for r in runs),
        "seconds": fmean(r["seconds"] for r in runs),
    }


def row(run: dict[str, Any]) -> list[str]:
    """One line of the table."""
    accuracy, length = (run["heldout"][k] for k in ("accuracy", "length_only_accuracy"))
    return [
        str(run["split_seed"]),
        "{value:.3f} [{low:.3f}, {high:.3f}], n={n}".format(**accuracy),
        f"{length['value']:.3f}",
        f"{run['seconds'] / 60:.1f} min",
    ]


if __name__ == "__main__":
    main(run, Settings)
