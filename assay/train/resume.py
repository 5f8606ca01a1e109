"""Where a fit stands, on disk: metrics, resume points and the best state. No pickles.

A run's ``resume`` directory is private to it: safetensors and JSON, each written whole or not at
all, so a kill at any moment leaves the last point intact.
"""

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.atomic import write_json, written
from assay.errors import ConfigError

EvaluationRow = dict[str, float]


@dataclass
class Progress:
    """Where a fit stands; saved in every resume point."""

    step: int = 0
    final_loss: float = math.nan
    best_step: int = 0
    best: EvaluationRow = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)
    """What else a loop needs to go on; plain JSON."""


class MetricsLog:
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
        """Append one row."""
        self.rows.append(row)
        if self.path is not None:
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")


class ResumePoints:
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
        """Keep the trained weights as they are: the best so far."""
        tensors = {
            name: p.detach().cpu().clone().contiguous() for name, p in self._trained().items()
        }
        if self.directory is None:
            self.best = tensors
            return
        with written(self.directory / "best.safetensors") as temporary:
            save_file(tensors, temporary)

    def load_best(self, progress: Progress) -> None:
        """Put the best weights back, if there was an evaluation."""
        if not progress.best:
            return
        tensors = self.best
        if self.directory is not None:
            tensors = load_file(self.directory / "best.safetensors")
        assert tensors is not None
        _assign(self._trained(), tensors)

    def save(self, progress: Progress) -> None:
        """Write weights, moments, random state and progress, then remove the point before."""
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
            "extra": progress.extra,
            "file": target.name,
            "fingerprint": self.fingerprint,
        }
        write_json(self.directory / "state.json", state)
        for old in self.directory.glob("step-*.safetensors"):
            if old.name != target.name:
                old.unlink()

    def load(self) -> Progress:
        """Go back to the last point; a fresh Progress where there is none.

        Raises:
            ConfigError: If the point was made with other settings or data.
        """
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
        return Progress(
            state["step"],
            state["final_loss"],
            state["best_step"],
            state["best"],
            state.get("extra", {}),
        )


def _assign(parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name].to(parameter.device))


def clear_resume(directory: Path) -> None:
    """Remove the resume points of a finished run."""
    shutil.rmtree(directory / "resume", ignore_errors=True)
