"""The verb ``assay scaling``: the same training at several data sizes, models and seeds.

Every point is a training of its own on prompts drawn by its seed, smaller sizes within larger ones,
and is measured on the same held-out pairs. Finished points are lines of ``points.jsonl``, which are
not trained again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from assay.configs import SINGLE_LOSSES, RewardTraining, Scaling
from assay.errors import ConfigError, DataError
from assay.evaluation.scaling_curves import curves
from assay.evaluation.scaling_points import measured, models_of, readable, train_points
from assay.evaluation.scaling_study import POINTS, ScalingStudy
from assay.formats.journal import Journal

if TYPE_CHECKING:
    from assay.data.pairs import PreferencePairs

SMALLEST = 128
"""About the smallest of the default sizes."""
FEWEST_PROMPTS = 10
"""Held-out prompts below which an interval over them means little."""
MOST_MODELS = 6
"""As many as the chart can tell apart without colour."""


def run(config: Scaling) -> ScalingStudy:
    """The verb ``assay scaling``; run again, it goes on and trains no finished point twice.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    _check(config)
    training = _settings(config)
    import torch

    from assay.data.pairs import overlap
    from assay.progress import progress_bars
    from assay.train.reward import check_training
    from assay.train.run import load_split

    check_training(training)
    if config.threads:
        torch.set_num_threads(config.threads)
    models, renderers = models_of(config)
    train, heldout = load_split(config, config.split_seed, training.loss)
    train, train_dropped = readable(train, renderers)
    heldout, heldout_dropped = readable(heldout, renderers)
    config = replace(config, sizes=config.sizes or ladder(len(train)))
    _check_data(config, train, heldout)
    journal = Journal(config.out / POINTS, identity(config, training, train, heldout), "a study")
    with progress_bars() as progress:
        points = train_points(config, training, models, train, heldout, journal, progress)
    return ScalingStudy.of(
        config,
        training,
        models,
        {"train": _facts(train, train_dropped), "heldout": _facts(heldout, heldout_dropped)},
        overlap(train, heldout),
        curves(measured(config, models, points, heldout)),
        points,
    ).save()


def _settings(config: Scaling) -> RewardTraining:
    """The training's settings, the same at every point but for layers and seed."""
    from assay.toml import read_toml

    values = read_toml(config.training, RewardTraining) if config.training else {}
    for name, flag in (("mode", "--mode"), ("layers", "--layers"), ("seed", "--seeds")):
        if name in values:
            raise ConfigError(
                f"{config.training} sets '{name}', for which a study has {flag}; leave it out."
            )
    training = RewardTraining(**values, mode=config.mode)
    if training.loss in SINGLE_LOSSES:
        raise ConfigError(
            f"a study measures accuracy on pairs, and loss {training.loss} takes single responses; "
            "use a loss of pairs."
        )
    return training


def _check(config: Scaling) -> None:
    if config.out.exists() and not config.out.is_dir():
        raise ConfigError(f"--out {config.out} is a file; name a directory for the study.")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise ConfigError("assay scaling runs as one process; start it without accelerate launch.")
    if config.mode != "frozen" and config.layers:
        raise ConfigError(
            f"--layers is for mode frozen, and the mode is {config.mode}; leave it out."
        )
    for name in ("backbones", "layers", "sizes", "seeds"):
        values: tuple[object, ...] = getattr(config, name)
        if len(set(values)) < len(values):
            raise ConfigError(f"--{name} names one twice: {' '.join(map(str, values))}.")
        if not values and name in ("backbones", "seeds"):
            raise ConfigError(f"--{name} is empty; name one or more.")
    models = len(config.backbones) * max(len(config.layers), 1)
    if models > MOST_MODELS:
        raise ConfigError(
            f"{models} models were asked for (backbones × layers); one study compares up to "
            f"{MOST_MODELS}."
        )
    if len(config.sizes) == 1:
        raise ConfigError(
            f"one size ({config.sizes[0]:,}) shows no scaling; name two or more, "
            "and four or more for a fit."
        )
    if any(after < before for before, after in pairwise(config.sizes)):
        raise ConfigError(f"--sizes must rise; got {' '.join(map(str, config.sizes))}.")
    if config.sizes and config.sizes[0] < 2:
        raise ConfigError(f"--sizes begin at 2 pairs; got {config.sizes[0]}.")


def ladder(total: int) -> tuple[int, ...]:
    """All the pairs, halved again and again down to about 128, smallest first."""
    sizes = [total]
    while sizes[-1] / 2 >= SMALLEST / 2**0.5:
        sizes.append(round(sizes[-1] / 2))
    return tuple(sizes[::-1])


def _check_data(config: Scaling, train: PreferencePairs, heldout: PreferencePairs) -> None:
    sizes = config.sizes
    if sizes[-1] > len(train):
        raise ConfigError(
            f"--sizes asks for {sizes[-1]:,} pairs, and there are {len(train):,} to train on; "
            "lower it or give more --data."
        )
    if len(sizes) == 1:
        raise ConfigError(
            f"{len(train):,} training pairs are too few for the default sizes; name smaller "
            "--sizes."
        )
    prompts = len(set(heldout.prompt_keys()))
    if prompts < FEWEST_PROMPTS:
        raise DataError(
            f"the held-out data has {prompts} prompts, and intervals over prompts need "
            f"{FEWEST_PROMPTS}; raise --heldout-fraction or give more --heldout."
        )
    if all(pair.is_tie for pair in heldout.pairs()):
        raise DataError("all held-out pairs are ties; accuracy needs pairs with a better response.")
    for seed in config.seeds:
        counts = [len(train.nested(size, seed)) for size in sizes]
        for (size, larger), (count, more) in zip(pairwise(sizes), pairwise(counts), strict=True):
            if count == more:
                raise ConfigError(
                    f"sizes {size:,} and {larger:,} draw the same prompts with seed {seed}, for "
                    "prompts are taken whole; name sizes farther apart."
                )


def identity(
    config: Scaling, training: RewardTraining, train: PreferencePairs, heldout: PreferencePairs
) -> dict[str, Any]:
    """What all points of a study share: points of another are not mixed in."""
    apart = ("mode", "seed", "layers", "trackers")
    return {
        "training data": train.digest,
        "held-out data": heldout.digest,
        "mode": config.mode,
        "max_length": config.max_length,
        "truncation": config.truncation,
        "training settings": {
            f.name: getattr(training, f.name) for f in fields(RewardTraining) if f.name not in apart
        },
    }


def _facts(pairs: PreferencePairs, dropped: Mapping[str, str]) -> dict[str, Any]:
    return {
        "digest": pairs.digest,
        "pairs": len(pairs),
        "prompts": len(set(pairs.prompt_keys())),
        "loaded": str(pairs.report),
        "dropped": dict(dropped),
    }
