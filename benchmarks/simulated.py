"""Comparisons whose truth is known, with features in place of text, and a head trained on them.

Letters: P pairs · D features · R responses (2 P, chosen and rejected or first and second in turns).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from assay.configs import RewardTraining
from assay.data.trees import Tree
from assay.models.backbones import initialise_head
from assay.train.encode import Example
from assay.train.fit import fit
from assay.train.objectives import Objective, make_objective
from assay.train.reward import gap_scale, resolve
from assay.train.tasks import FeatureTask, LossSettings, readings_of
from assay.types import Preference

Floats = NDArray[np.float64]


class Part(NamedTuple):
    """Comparisons and the features of all their responses, laid end to end."""

    examples: Sequence[Example]
    features: NDArray[np.float32]


class Head(NamedTuple):
    """A trained head, and what its loss learnt besides."""

    weight: Floats
    learnt: dict[str, Any]


def pair(
    preference: Preference,
    cluster: int,
    lengths: tuple[int, int] = (1, 1),
    annotator: str | None = None,
    first_shown: int | None = None,
) -> Example:
    """A comparison of two responses that have no tokens."""
    return Example(
        tree=Tree((), (), (), ()),
        tokens=(),
        preferences=(preference,),
        ranking=None,
        lengths=lengths,
        cluster=cluster,
        annotator=annotator,
        first_shown=first_shown,
    )


def train_head(
    train: Part,
    heldout: Part,
    training: RewardTraining,
    prepare: Callable[[Objective], None] = lambda objective: None,
) -> Head:
    """Train a head as ``assay train reward --mode frozen`` does on a backbone's features.

    Args:
        prepare: Called with the loss's objective, if it has one, before the training.
    """
    settings = resolve(training, train.examples)
    mean = train.features.mean(0)
    scale = gap_scale(train.features, train.examples)
    features = [((part.features - mean) * scale).astype(np.float32) for part in (train, heldout)]
    head = nn.Linear(train.features.shape[1], 1, bias=False)
    initialise_head(head, training.seed)
    objective = make_objective(training, train.examples, head.in_features)
    if objective:
        prepare(objective)
    loss = LossSettings(
        training.loss, training.label_smoothing, training.centering, training.noise_rate or 0.0
    )
    task = FeatureTask(
        head,
        train.examples,
        features[0],
        heldout.examples,
        features[1],
        loss,
        training.l2,
        objective,
    )
    heads = nn.ModuleList([head, *([objective.heads] if objective and objective.heads else [])])
    fit(task, heads, settings, scalars=objective and objective.scalars)
    learnt = {}
    if task.learner and objective:
        readings = [
            readings_of(part.examples, task.learner.numbers(torch.from_numpy(scaled)))
            for part, scaled in zip((train, heldout), features, strict=True)
        ]
        objective.finish(readings[0])
        task.learner.reduce()
        learnt = objective.record(*readings)
    return Head(head.weight.detach().double().numpy()[0] * scale, learnt)
