"""Command lines that must fail or succeed, and scaling studies made in memory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.configs import RewardTraining, Scaling
from assay.evaluation.scaling_curves import Measured, curves
from assay.evaluation.scaling_points import ModelSize, Point
from assay.evaluation.scaling_study import ScalingStudy

SIZES = (128, 256, 512, 1024, 2048)


def _simulated(
    *truths: Callable[[float], float],
    seed: int = 0,
    sizes: tuple[int, ...] = SIZES,
    seeds: int = 5,
    prompts: int = 200,
    names: tuple[str, ...] = (),
) -> Measured:
    from scipy.special import ndtri

    rng = np.random.default_rng(seed)
    each = 3
    pairs = prompts * each
    shape = (len(truths), len(sizes), seeds, pairs)
    # parts of a normal of variance 1, so that the share right is as wanted
    prompt = np.repeat(rng.normal(size=prompts), each) * np.sqrt(0.25)
    pair = rng.normal(size=pairs) * np.sqrt(0.45)
    noise = rng.normal(size=shape) * np.sqrt(0.3)
    drift = rng.normal(size=(seeds, 1)) * 0.01
    wanted = np.array([[truth(n) for n in sizes] for truth in truths])
    return Measured(
        models=names or tuple(f"model {i}" for i in range(len(truths))),
        parameters=tuple(range(1, len(truths) + 1)),
        sizes=sizes,
        gaps=ndtri(wanted)[..., None, None] + drift + prompt + pair + noise,
        length_only_gaps=np.broadcast_to(np.where(np.arange(pairs) % 2, 1.0, -1.0), shape),
        pairs=np.broadcast_to(np.array(sizes, float)[None, :, None], shape[:-1]),
        seconds=np.ones(shape[:-1]),
        probability=np.ones(pairs),
        clusters=np.repeat(np.arange(prompts), each),
    )


@pytest.fixture(scope="session")
def simulated() -> Callable[..., Measured]:
    """``simulated(*truths, seed, sizes, seeds, prompts, names)``: accuracy by size of each model.

    Prompts and pairs are hard or easy for all points alike, and each point has noise of its own, as
    trained models agree in part. Some seeds are a little better.
    """
    return _simulated


@pytest.fixture(scope="session")
def made_study() -> Callable[..., ScalingStudy]:
    """``made_study(names, truths, out)``: a study of simulated models, with its record."""

    def make(
        names: tuple[str, ...], truths: tuple[Callable[[float], float], ...], **changes: Any
    ) -> ScalingStudy:
        measured = _simulated(*truths, names=names, **changes)
        config = Scaling(data=("made",), out=Path("made"), sizes=measured.sizes)
        figure = {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
        points = [
            Point(name, None, size, seed, size, size, 1, "w",
                  dict.fromkeys(("accuracy", "nll", "length_only_accuracy"), figure), 1.0, [], [])
            for name in names
            for size in measured.sizes
            for seed in config.seeds
        ]  # fmt: skip
        facts = {"digest": "d", "pairs": 600, "prompts": 200, "loaded": "r", "dropped": {"m": "0"}}
        return ScalingStudy.of(
            config,
            RewardTraining(),
            [ModelSize(name, None, name) for name in names],
            {"train": facts, "heldout": facts},
            0,
            curves(measured, resamples=200),
            points,
        )

    return make


@pytest.fixture
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


@pytest.fixture
def assay_says(
    process_state: None, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str]]:
    """Runs a command line that must fail; gives its exit code and its one sentence."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        said = [
            line
            for line in captured.err.replace("\r", "\n").splitlines()
            if line.strip() and "it/s]" not in line
        ]
        assert captured.out == ""
        assert len(said) == 1, said
        return code, said[0]

    return run


@pytest.fixture
def assay_prints(process_state: None, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must succeed; gives what it prints."""

    def run(*arguments: object) -> str:
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        return captured.out

    return run
