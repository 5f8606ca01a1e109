"""Logs of policies with a known curve of gold, for the tests of what reads them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

PROMPTS = 16


def gao(alpha: float, beta: float) -> Callable[[np.ndarray], np.ndarray]:
    """``d (α - β log d)``, 0 at 0."""

    def curve(d: np.ndarray) -> np.ndarray:
        return np.where(d > 0, d * (alpha - beta * np.log(np.maximum(d, 1e-12))), 0.0)

    return curve


def rows_of(
    gold: Callable[[np.ndarray], np.ndarray] | None = None,
    *,
    proxy: Callable[[np.ndarray], np.ndarray] = lambda d: 1.5 * d,
    audit: Callable[[np.ndarray], np.ndarray] | None = None,
    steps: int = 120,
    farthest: float = 4.0,
    noise: float = 0.1,
    seed: int = 0,
    baseline: int = 8,
    raised: Mapping[int, list[str]] | None = None,
) -> list[dict[str, Any]]:
    """The rows of a run: KL grows evenly from 0 to ``farthest²`` nats, every figure has noise."""
    rng = np.random.default_rng(seed)
    d = np.concatenate([np.zeros(baseline), np.sqrt(np.linspace(0, farthest**2, steps))])
    number = [0] * baseline + list(range(1, steps + 1))
    curves = {"gold": gold, "proxy": proxy, "audit": audit}
    values = {
        name: 5.0 + curve(d) + noise * rng.normal(size=len(d))
        for name, curve in curves.items()
        if curve is not None
    }
    rows = []
    for i, step in enumerate(number):
        row: dict[str, Any] = {"step": step, "objective/kl": float(d[i] ** 2), "n/prompts": PROMPTS}
        for name, line in values.items():
            row[f"objective/{name}"] = float(line[i])
            # so that prompts' means deviate by 1: figures are in the units of the curve
            row[f"objective/{name}_error"] = 1 / PROMPTS**0.5
        if step and raised and step in raised:
            row["raised"] = raised[step]
        rows.append(row)
    return rows


def write_run(directory: Path, rows: list[dict[str, Any]], seed: int | None = 0) -> Path:
    """A run directory with those rows and, if it has a seed, a configuration."""
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    if seed is not None:
        (directory / "config.toml").write_text(f"steps = {len(rows)}\nseed = {seed}\n")
    return directory
