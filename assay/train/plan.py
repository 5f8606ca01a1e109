"""The plan of a fit: which examples each step takes, how they are cut, at which learning rate.

Everything follows from the settings and the data, so every process and every resumed run makes the
same plan. Letters: N examples in all.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import nn

from assay.data.trees import fill


@dataclass(frozen=True, kw_only=True)
class FitSettings:
    """Settings of one fit, all resolved."""

    epochs: int
    batch_size: int
    token_budget: int
    lr: float
    head_lr_multiplier: float
    weight_decay: float
    warmup_fraction: float
    schedule: str
    max_grad_norm: float
    eval_every: int
    save_every: int
    log_every: int
    seed: int
    precision: str
    trackers: tuple[str, ...] = ()
    objective_lr: float = 0.0


def steps_of(num_examples: int, settings: FitSettings) -> list[list[int]]:
    """The examples of every optimiser step: each epoch a seeded permutation, cut into batches."""
    steps: list[list[int]] = []
    for epoch in range(settings.epochs):
        order = np.random.default_rng([settings.seed, epoch]).permutation(num_examples)
        steps += [
            order[i : i + settings.batch_size].tolist()
            for i in range(0, num_examples, settings.batch_size)
        ]
    return steps


def micro_batches(
    examples: Sequence[int], costs: Sequence[int], budget: int, rank: int, world: int
) -> list[list[int]]:
    """One process's forward passes of a step; every process gets the same number, some empty.

    The cut into forward passes is the same whatever the number of processes.
    """
    groups = [[examples[i] for i in row] for row in fill([costs[i] for i in examples], budget)]
    groups += [[] for _ in range(-len(groups) % world)]
    return groups[rank::world]


def learning_rate(step: int, total: int, settings: FitSettings) -> float:
    """The learning rate's factor at a step (from 0): linear warm-up, then linear or cosine to 0."""
    warmup = math.ceil(total * settings.warmup_fraction)
    if step < warmup:
        return (step + 1) / warmup
    return rate_factor(step - warmup, total - warmup, settings.schedule)


def rate_factor(step: int, total: int, schedule: str) -> float:
    """What a schedule makes of the learning rate at a step (from 0), without warm-up."""
    if schedule == "constant":
        return 1.0
    progress = step / max(1, total)
    return 1.0 - progress if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * progress))


def parameter_groups(
    module: nn.Module, head: nn.Module, settings: FitSettings, scalars: nn.Module | None = None
) -> list[dict[str, Any]]:
    """AdamW's groups: the head at its own rate, no weight decay on vectors (norms and biases).

    Args:
        scalars: An objective's own parameters, at ``objective_lr`` and without weight decay.
    """
    rates = {id(p): settings.lr * settings.head_lr_multiplier for p in head.parameters()}
    own = {id(p) for p in scalars.parameters()} if scalars else set()
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for parameter in module.parameters():
        if not parameter.requires_grad:
            continue
        is_own = id(parameter) in own
        rate = settings.objective_lr if is_own else rates.get(id(parameter), settings.lr)
        groups.setdefault((rate, parameter.ndim > 1 and not is_own), []).append(parameter)
    return [
        {"params": parameters, "lr": rate, "weight_decay": settings.weight_decay if decays else 0.0}
        for (rate, decays), parameters in groups.items()
    ]
