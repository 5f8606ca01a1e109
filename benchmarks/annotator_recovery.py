"""Are annotators' reliabilities found from their judgments alone, and what is that worth?

Simulated raters of known reliability judge pairs of responses whose gold reward is known; a head is
trained on their judgments taken one by one, by majority vote, by the share of votes, with the
annotator-aware loss, and with the true reliabilities told.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from common import Recorded, interval, main, table, write_record
from numpy.random import Generator
from scipy.stats import spearmanr
from simulated import Floats, Head, Part, pair, train_head

from assay.configs import LossName, RewardTraining
from assay.train.encode import Example
from assay.train.objectives import Objective
from assay.train.objectives.annotators import Annotators
from assay.types import Preference

LEVELS = (0.95, 0.8, 0.6, 0.3)
"""Reliabilities of the raters: a good one, a fair one, nearly a coin, an adversary."""
HELDOUT = 4000
"""Pairs that show how often the head finds the better response by the gold reward."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Simulated raters, and heads trained on what they say."""

    pairs: int = 800
    """Pairs that are judged; half as many more are held out for the choice of the best state."""
    judgments: int = 3
    """Judgments of each pair, by different raters."""
    raters: int = 5
    """Raters of each reliability."""
    features: int = 32
    """Width of the features; the gold reward is linear in them."""
    position_bias: float = 0.0
    """Gap that being shown first is worth, to half of the raters; to the others minus that."""
    seeds: int = 10
    """Simulations."""
    epochs: int = 20
    """Passes over the judgments."""


@dataclass(frozen=True)
class World:
    """What is true, and what the raters say of it."""

    gold: Floats  # (D,)
    reliability: dict[str, float]
    bias: dict[str, float]


def run(settings: Settings) -> None:
    """Simulate, train, print the tables and write the record."""
    runs = []
    for seed in range(settings.seeds):
        runs.append(simulate(settings, seed))
        print(f"seed {seed}: {runs[-1]['accuracy']}", file=sys.stderr)
    systems = list(runs[0]["accuracy"])
    rows = []
    for name in systems:
        values = [r["accuracy"][name] for r in runs]
        over = [r["accuracy"]["annotator-aware"] - r["accuracy"][name] for r in runs]
        rows.append([name, interval(values), "" if name == "annotator-aware" else interval(over)])
    print(table(["trained on", "accuracy by the gold reward", "annotator-aware over it"], rows))
    print("\nrank correlation", interval([r["rank_correlation"] for r in runs]))
    print("mean absolute error", interval([r["absolute_error"] for r in runs]))
    print("true reliability within its interval", interval([r["coverage"] for r in runs]))
    write_record("annotator_recovery", settings, {"runs": runs})


def simulate(settings: Settings, seed: int) -> dict[str, Any]:
    """One world: accuracy of every system by the gold reward, and how well raters are found out."""
    generator = np.random.default_rng([seed, 20131])
    world = make_world(settings, generator)
    train = judged(settings, world, settings.pairs, generator)
    heldout = judged(settings, world, settings.pairs // 2, generator)
    gaps = generator.normal(size=(HELDOUT, settings.features))
    heads = {
        "judgments one by one": trained(settings, train, heldout),
        "majority vote": trained(settings, voted(train, hard=True), voted(heldout, hard=True)),
        "share of votes": trained(settings, voted(train, hard=False), voted(heldout, hard=False)),
        "annotator-aware": trained(settings, train, heldout, "annotator"),
        "reliabilities told": trained(settings, train, heldout, "annotator", tell(world)),
    }
    found = {
        row["annotator"]: row["reliability"]
        for row in heads["annotator-aware"].learnt["annotators"]
    }
    true = np.array([world.reliability[name] for name in found])
    values = np.array([figure["value"] for figure in found.values()])
    inside = [f["low"] <= world.reliability[n] <= f["high"] for n, f in found.items()]
    return {
        "seed": seed,
        "accuracy": {
            name: float(np.mean((gaps @ head.weight > 0) == (gaps @ world.gold > 0)))
            for name, head in heads.items()
        },
        "rank_correlation": float(spearmanr(true, values).statistic),
        "absolute_error": float(np.abs(true - values).mean()),
        "coverage": float(np.mean(inside)),
        "annotators": {name: [world.reliability[name], found[name]] for name in found},
    }


def make_world(settings: Settings, generator: Generator) -> World:
    """A gold reward whose gaps have a standard deviation of 3, and raters."""
    direction = generator.normal(size=settings.features)
    gold = 3 * direction / np.linalg.norm(direction)
    names = [f"{level}-{n}" for level in LEVELS for n in range(settings.raters)]
    return World(
        gold,
        {name: float(name.split("-")[0]) for name in names},
        {name: settings.position_bias * (-1) ** at for at, name in enumerate(names)},
    )


def judged(settings: Settings, world: World, count: int, generator: Generator) -> Part:
    """Pairs with judgments by different raters, one comparison a judgment.

    The better side is drawn from the gold reward by Bradley-Terry, shifted by the rater's bias
    towards what is shown first; the rater says it with their reliability, and else the other.
    """
    examples: list[Example] = []
    features: list[Floats] = []
    names = list(world.reliability)
    for number in range(count):
        # features of unit variance in their difference
        sides = generator.normal(scale=0.5**0.5, size=(2, settings.features))
        gap = (sides[0] - sides[1]) @ world.gold
        for who in generator.permutation(len(names))[: settings.judgments]:
            name, first = names[who], int(generator.integers(2))
            shifted = gap + world.bias[name] * (1 if first == 0 else -1)
            better = int(generator.random() > 1 / (1 + np.exp(-shifted)))
            says = better if generator.random() < world.reliability[name] else 1 - better
            preference = Preference(says, 1 - says)
            examples.append(pair(preference, number, annotator=name, first_shown=first))
            features.append(sides)
    return Part(examples, np.concatenate(features).astype(np.float32))


def voted(part: Part, hard: bool) -> Part:
    """One comparison a pair: what most judgments say, or the share of them that says so."""
    votes: dict[int, list[int]] = {}
    for at, example in enumerate(part.examples):
        votes.setdefault(example.cluster, []).append(at)
    examples, rows = [], []
    for cluster, places in votes.items():
        share = np.mean([part.examples[at].preferences[0].chosen == 0 for at in places])
        label = 0.5 + np.sign(share - 0.5) / 2 if hard else share
        chosen = int(label < 0.5)
        preference = Preference(chosen, 1 - chosen, float(max(label, 1 - label)))
        examples.append(pair(preference, cluster))
        rows += [2 * places[0], 2 * places[0] + 1]
    return Part(examples, part.features[rows])


def tell(world: World) -> Callable[[Objective], None]:
    """What fixes the reliabilities of the annotator-aware loss at the true ones: a bound."""

    def prepare(objective: Objective) -> None:
        assert isinstance(objective, Annotators)
        eta = torch.tensor([world.reliability[name] for name in objective.counts])
        with torch.no_grad():
            objective.scalars["reliability"].copy_(torch.logit(eta))
        objective.scalars["reliability"].requires_grad_(False)

    return prepare


def trained(
    settings: Settings,
    train: Part,
    heldout: Part,
    loss: LossName = "bradley-terry",
    prepare: Callable[[Objective], None] = lambda objective: None,
) -> Head:
    """A head trained on these comparisons."""
    training = RewardTraining(
        loss=loss, epochs=settings.epochs, lr=2e-2, l2=1e-3, eval_every=len(train.examples) // 64
    )
    return train_head(train, heldout, training, prepare)


if __name__ == "__main__":
    main(run, Settings)
