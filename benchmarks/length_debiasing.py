"""Labels that follow length: which training takes it out of the reward, and at what cost?

Length is injected into labels whose unbiased version is known: of simulated pairs with features in
place of text, and of the bundled everyday questions on a frozen backbone.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from common import Recorded, interval, main, table, write_record
from numpy.random import Generator
from numpy.typing import NDArray
from simulated import Floats, Part, pair, train_head

from assay.bundled import HELDOUT, TRAIN
from assay.configs import RewardTraining
from assay.data.pairs import PreferencePairs
from assay.models.reward_model import RewardModel
from assay.train.encode import pair_index
from assay.train.objectives.odin import gap_correlation
from assay.train.reward import train_reward
from assay.types import Comparison, Preference

GOLD = "Bradley-Terry on the gold order"
SYSTEMS: dict[str, dict[str, Any]] = {
    "Bradley-Terry": {},
    "centring": {"centering": 0.01},
    "ODIN": {"loss": "odin"},
    "RRM": {"augment": "rrm"},
    GOLD: {},
}
TEST_PAIRS = 4000
"""Simulated pairs that figures are measured on."""
Run = dict[str, dict[str, float]]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Pairs whose labels follow length besides what they should."""

    seeds: int = 10
    """Simulations with features in place of text."""
    text_seeds: int = 3
    """Draws of biased labels for the bundled questions; 0 leaves them out."""
    pairs: int = 1500
    """Simulated training pairs."""
    bias: float = 1.0
    """Log-odds that one standard deviation more of length is worth, in simulation."""
    text_bias: float = 1.0
    """The same for the bundled questions, where the better reply is mostly the shorter."""
    gold: float = 2.0
    """Log-odds of the better side of a bundled pair, before length comes in."""
    backbone: str = "smollm2-135m"
    """Of the bundled questions."""
    rrm_ratio: float = 0.5
    """Added pairs for each training pair."""
    limit: int | None = None
    """Use only the first so many bundled questions."""
    epochs: int | None = None
    """Passes over the training pairs. Default: 20 in simulation, Assay's own on text."""


def run(settings: Settings) -> None:
    """Simulate, train, print the tables and write the record."""
    parts = {
        "simulated": [simulated(settings, seed) for seed in range(settings.seeds)],
        "text": [text(settings, seed) for seed in range(settings.text_seeds)],
    }
    for name, runs in parts.items():
        if runs:
            print(f"{name}\n{shown(runs)}\n")
    write_record("length_debiasing", settings, parts)


def shown(runs: Sequence[Run]) -> str:
    """A table: means over seeds with their intervals."""
    header = ["training", "correlation with length", "accuracy by the labels", "by the gold order"]
    rows = [
        [name, *(interval([run[name][key] for run in runs]) for key in runs[0][name])]
        for name in runs[0]
    ]
    return table(header, rows)


# --- features in place of text --------------------------------------------------------------------


def simulated(settings: Settings, seed: int) -> Run:
    """Every system but RRM, which needs prompts, on one simulated world."""
    generator = np.random.default_rng([seed, 240207])
    train, train_gold = world(settings, settings.pairs, generator)
    heldout, heldout_gold = world(settings, settings.pairs // 4, generator)
    test, gold = world(settings, TEST_PAIRS, generator)
    right = np.sign(gold[0::2] - gold[1::2])
    runs = {}
    for name, changes in SYSTEMS.items():
        if name == "RRM":
            continue
        sides = (train, train_gold), (heldout, heldout_gold)
        both = [relabelled(p, g) if name == GOLD else p for p, g in sides]
        epochs = settings.epochs or 20
        training = RewardTraining(epochs=epochs, lr=1e-2, l2=1e-3, eval_every=23, **changes)
        head = train_head(both[0], both[1], training)
        runs[name] = figures(test.features @ head.weight, test, right)
    print(f"seed {seed}: {runs}", file=sys.stderr)
    return runs


def world(settings: Settings, count: int, generator: Generator) -> tuple[Part, Floats]:
    """Pairs and the gold reward of each response.

    The gold reward is one direction of the features; another shows four fifths of the variance of
    the lengths. Labels are Bradley-Terry's with the gold reward plus the bias times length.
    """
    features = generator.normal(scale=0.5**0.5, size=(count, 2, 32))
    unseen = generator.normal(scale=0.5**0.5, size=(count, 2))
    length = 0.8**0.5 * features[..., 1] + 0.2**0.5 * unseen
    gold = 2 * features[..., 0]
    score = gold + settings.bias * length
    second = generator.random(count) < 1 / (1 + np.exp(score[:, 0] - score[:, 1]))
    tokens = np.round(200 + 40 * length).astype(int)
    examples = [
        pair(Preference(int(s), 1 - int(s)), n, (int(a), int(b)))
        for n, (s, (a, b)) in enumerate(zip(second, tokens, strict=True))
    ]
    return Part(examples, features.reshape(2 * count, 32).astype(np.float32)), gold.ravel()


def relabelled(part: Part, gold: Floats) -> Part:
    """The same pairs with the labels that the gold reward's order gives."""
    examples = []
    for at, example in enumerate(part.examples):
        better = int(gold[2 * at + 1] > gold[2 * at])
        preference = Preference(better, 1 - better)
        examples.append(pair(preference, example.cluster, (example.lengths[0], example.lengths[1])))
    return Part(examples, part.features)


def figures(rewards: Floats, part: Part, right: Floats) -> dict[str, float]:
    """Correlation of gaps and length differences; accuracy by the labels and by the gold order."""
    index = pair_index(part.examples)
    gaps = rewards[index.chosen] - rewards[index.rejected]
    by_place = rewards[0::2] - rewards[1::2]
    return {
        "correlation": gap_correlation(rewards, index),
        "accuracy": float(np.mean(gaps > 0)),
        "gold_accuracy": float(np.mean(np.sign(by_place) == right)),
    }


# --- the bundled questions ------------------------------------------------------------------------


def text(settings: Settings, seed: int) -> Run:
    """Every system on the bundled questions with labels drawn anew."""
    generator = np.random.default_rng([seed, 240208])
    train, heldout = (judged_pairs(str(path), settings.limit) for path in (TRAIN, HELDOUT))
    biased = [biased_labels(settings, pairs, generator) for pairs in (train, heldout)]
    runs = {}
    for name, changes in SYSTEMS.items():
        model = RewardModel.from_backbone(settings.backbone)
        ratio: dict[str, Any] = {"augment_ratio": settings.rrm_ratio} if name == "RRM" else {}
        training = RewardTraining(seed=seed, epochs=settings.epochs, **changes, **ratio)
        data = train if name == GOLD else flipped(train, biased[0])
        result = train_reward(model, data, flipped(heldout, biased[1]), training)
        # gaps are of the biased labels' sides: turned, they are of the gold order's
        gold = np.where(biased[1], -result.heldout.gaps, result.heldout.gaps)
        runs[name] = {
            "correlation": result.heldout.figures["reward_length_correlation"].value,
            "accuracy": result.heldout.accuracy.value,
            "gold_accuracy": float(np.mean(gold > 0)),
        }
        print(f"seed {seed}: {name} {runs[name]}", file=sys.stderr)
    return runs


def judged_pairs(path: str, limit: int | None) -> PreferencePairs:
    """The rankings of a file as pairs of their own, better side first, without ties."""
    comparisons = [
        Comparison(c.prompt, (c.responses[p.chosen], c.responses[p.rejected]), (Preference(0, 1),))
        for c in PreferencePairs.load(path, limit=limit).comparisons
        for p in c.preferences
        if p.probability != 0.5
    ]
    return PreferencePairs.from_comparisons(comparisons)


def biased_labels(
    settings: Settings, pairs: PreferencePairs, generator: Generator
) -> NDArray[np.bool_]:
    """Which pairs are turned round, ``P(turned) = σ(-(gold + bias · length difference))``."""
    lengths = np.array(
        [len(words(p.chosen)) - len(words(p.rejected)) for p in pairs.pairs()], dtype=np.float64
    )
    score = settings.gold + settings.text_bias * lengths / lengths.std()
    return np.asarray(generator.random(len(pairs)) < 1 / (1 + np.exp(score)))


def words(messages: Sequence[Any]) -> list[str]:
    """The words of a response."""
    return " ".join(m.content for m in messages).split()


def flipped(pairs: PreferencePairs, turned: NDArray[np.bool_]) -> PreferencePairs:
    """The same pairs, some with the sides' roles changed."""
    labels: Mapping[bool, Preference] = {False: Preference(0, 1), True: Preference(1, 0)}
    comparisons = [
        Comparison(c.prompt, c.responses, (labels[bool(t)],))
        for c, t in zip(pairs.comparisons, turned, strict=True)
    ]
    return PreferencePairs.from_comparisons(comparisons)


if __name__ == "__main__":
    main(run, Settings)
