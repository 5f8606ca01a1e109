"""What do flipped labels do to a reward head, which are found, and what does cleaning bring back?

Heads are trained by Assay's own loop on features alone: simulated ones with a known gold head, and
those of a real backbone with a gold head put over them. Out-of-fold gaps are ``cross_fit``'s.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any

import numpy as np
from common import Recorded, main, table, write_record
from numpy.random import Generator
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from assay.data.trees import Tree
from assay.stats import FlipModel, cluster_bootstrap, cluster_mean, ece, fit_temperature
from assay.stats.arrays import expected_correct, sigmoid
from assay.train.crossfit import FoldsTask, cross_fit
from assay.train.encode import Example
from assay.train.fit import fit
from assay.train.heads import HeadPlan, Heads, HeadsTask, bootstrap_weights
from assay.train.plan import FitSettings
from assay.types import Figure, Preference

Floats = NDArray[np.float64]

RATES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.45)
SIZES = (500, 2000, 8000)
WIDTH = 24
"""Features of the simulated world of the first table, whose best accuracy is 0.84."""
NOISE_GAP = 3.0
"""Deviation of its gold gaps."""
TEST = 20_000
CALIBRATION = 2000
"""Clean pairs apart on which the temperature is fitted."""
INJECTED = 0.2
"""The flip rate of the second table."""
ACTIONS = ("flip", "smooth", "drop", "down-weight")
FOLDS, MEMBERS = 5, 3


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Flips from 0 to 45 %, then their detection and what cleaning recovers."""

    seeds: int = 5
    """Seeds of each cell of the first table, and of each world on a real backbone."""
    world_seeds: int = 10
    """Seeds of each simulated world of the second table."""
    backbone: str = "smollm2-135m"
    """The backbone whose features of the bundled questions are read; empty leaves it out."""


def run(settings: Settings) -> None:
    """Simulate, print both tables and write the record."""
    started = perf_counter()
    noise = [noise_cell(n, rate, settings.seeds) for n in SIZES for rate in RATES]
    print(noise_table(noise), "\n")
    worlds = [recovery(world, settings.world_seeds) for world in SIMULATED]
    if settings.backbone:
        worlds += [recovery(world, settings.seeds) for world in real_worlds(settings.backbone)]
    print(recovery_table(worlds))
    record = {"noise": noise, "recovery": worlds, "seconds": perf_counter() - started}
    write_record("label_noise", settings, record)


# --- heads on differences of features -------------------------------------------------------------


def comparisons(clusters: Sequence[int], both: bool = False) -> list[Example]:
    """Pairs without text; with ``both``, each pair once more with its label turned round."""
    empty = Tree((), (), (), ())
    labels = (Preference(0, 1), Preference(1, 0)) if both else (Preference(0, 1),)
    return [
        Example(empty, (), (label,), None, (1, 1), cluster)
        for cluster in clusters
        for label in labels
    ]


def responses(differences: Floats, both: bool = False) -> NDArray[np.float32]:
    """Features whose differences are those given, laid end to end."""
    count, width = differences.shape
    features = np.zeros((count, 2 if both else 1, 2, width), dtype=np.float32)
    features[:, :, 0] = differences[:, None]
    return features.reshape(-1, width)


def plan_of(weights: Floats, width: int, l2: float) -> HeadPlan:
    """Heads that see all features and weigh comparisons so, ``(N, M)``, at mean 1."""
    count = weights.shape[1]
    return HeadPlan(
        mask=np.ones((count, width), dtype=np.bool_),
        weights=(weights / weights.mean(axis=0)).astype(np.float32),
        l2=np.full(count, l2, dtype=np.float32),
        seeds=tuple(range(count)),
    )


def trained(differences: Floats, q: Floats, l2: float, settings: FitSettings) -> Floats:
    """Heads of several labellings of the same pairs, ``(P, M)`` of 0 to 1 or NaN, ``(M, D)``.

    A pair stands twice, as it is and turned round, and what a labelling says are the two weights;
    NaN leaves the pair out.
    """
    known = np.nan_to_num(np.stack([q, 1 - q], axis=1), nan=0.0)  # (P, 2, M)
    plan = plan_of(known.reshape(-1, q.shape[1]), differences.shape[1], l2)
    heads = Heads(plan.mask, plan.seeds)
    examples = comparisons(range(len(q)), both=True)
    fit(HeadsTask(heads, plan, examples, responses(differences, both=True)), heads, settings)
    return heads.weight.detach().double().numpy()


def allowing(differences: Floats, rate: float, l2: float, settings: FitSettings) -> Floats:
    """A head trained on flipped labels by the loss that knows their rate, ``(D,)``."""
    plan = plan_of(np.ones((len(differences), 1)), differences.shape[1], l2)
    heads = Heads(plan.mask, plan.seeds)
    task = FoldsTask(heads, plan, comparisons(range(len(differences))), responses(differences))
    for task.rate in (0.0, rate):
        fit(task, heads, settings)
    head: Floats = heads.weight.detach().double().numpy()[0]
    return head


def fit_settings(
    pairs: int, lr: float = 0.05, epochs: int = 30, batch: int | None = None
) -> FitSettings:
    """The loop's settings, by default 16 steps an epoch; no evaluation but at the ends."""
    return FitSettings(
        epochs=epochs, batch_size=batch or -(-pairs // 16), token_budget=1 << 30, lr=lr,
        head_lr_multiplier=1.0, weight_decay=0.0, warmup_fraction=0.05, schedule="cosine",
        max_grad_norm=0.0, eval_every=1 << 30, save_every=1 << 30, log_every=1 << 30, seed=0,
        precision="fp32",
    )  # fmt: skip


# --- flips from 0 to 45 % -------------------------------------------------------------------------


def noise_cell(pairs: int, rate: float, seeds: int) -> dict[str, Any]:
    """Accuracy and calibration against clean labels of heads trained on flipped ones."""
    rows = np.array([noisy_head(pairs, rate, seed) for seed in range(seeds)])
    names = ("accuracy", "ece", "ece_after_temperature", "temperature")
    return {"pairs": pairs, "rate": rate} | {
        name: over_seeds(column) for name, column in zip(names, rows.T, strict=True)
    }


def noisy_head(pairs: int, rate: float, seed: int) -> tuple[float, float, float, float]:
    """One head: accuracy, ECE, ECE after temperature, temperature."""
    rng = np.random.default_rng([seed, pairs, round(100 * rate)])
    gold = unit(rng.normal(size=WIDTH)) * NOISE_GAP

    def drawn(count: int) -> tuple[Floats, Floats]:
        x = rng.normal(size=(count, WIDTH))
        return x, (rng.random(count) < sigmoid(x @ gold)).astype(np.float64)

    (x, y), (test, truth), (apart, clean) = drawn(pairs), drawn(TEST), drawn(CALIBRATION)
    y = np.abs(y - (rng.random(pairs) < rate))
    head = trained(x, y[:, None], 0.001, fit_settings(pairs))[0]
    gaps, temperature = test @ head, fit_temperature(apart @ head, clean)
    right = float(expected_correct(gaps, truth).mean())
    before, after = (ece(g, truth, resamples=2).value for g in (gaps, gaps / temperature))
    return right, before, after, temperature


def noise_table(cells: Sequence[dict[str, Any]]) -> str:
    """Accuracy, ECE and ECE after temperature by size and rate."""
    rows = []
    for n in SIZES:
        own = [c for c in cells if c["pairs"] == n]
        for name, label in (("accuracy", "accuracy"), ("ece", "ECE"),
                            ("ece_after_temperature", "ECE after temperature")):  # fmt: skip
            rows.append([f"{n:,}", label, *(shown(c[name]) for c in own)])
    return table(["pairs", "", *(f"{rate:.0%}" for rate in RATES)], rows)


# --- detection and recovery -----------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Differences of features with clean labels drawn by seed, and held-out ones with their truth.

    ``draw`` gives training differences towards the clean label ``(P, D)`` and prompts, test
    differences, and the probability that the first response of each test pair is better.
    """

    name: str
    draw: Callable[[int], tuple[Floats, NDArray[np.int64], Floats, Floats]]
    l2: float
    settings: FitSettings


def simulated(seed: int, width: int, pairs: int, gap: float) -> Any:
    """Features and gold head both Gaussian; a prompt has two pairs."""
    rng = np.random.default_rng([seed, width, pairs])
    gold = unit(rng.normal(size=width)) * gap
    x, test = rng.normal(size=(pairs, width)), rng.normal(size=(TEST, width))
    return towards_label(x, x @ gold, rng), np.arange(pairs) // 2, test, sigmoid(test @ gold)


def towards_label(x: Floats, gaps: Floats, rng: Generator) -> Floats:
    """Differences turned towards a label that Bradley-Terry draws."""
    return x * np.where(rng.random(len(x)) < sigmoid(gaps), 1.0, -1.0)[:, None]


SIMULATED = tuple(
    World(
        f"simulated, {width} features, {pairs:,} pairs, gold gap {gap:g}",
        partial(simulated, width=width, pairs=pairs, gap=gap),
        0.001,
        fit_settings(pairs),
    )
    for width, pairs, gap in ((16, 2000, 20.0), (24, 2000, 8.0), (24, 2000, 3.0), (100, 1000, 20.0))
)


def real_worlds(backbone: str) -> list[World]:
    """The bundled questions through a backbone: a gold head over its features, and real labels."""
    from assay.bundled import HELDOUT, TRAIN
    from assay.configs import Cleaning
    from assay.data.pairs import PreferencePairs
    from assay.models.backbones import cut_layers
    from assay.models.reward_model import RewardModel
    from assay.models.views import View
    from assay.train.encode import pair_index
    from assay.train.ensemble import encode_pairs
    from assay.train.prepare import FROZEN_LAYERS, cached_features
    from assay.train.reward import gap_scale

    model = RewardModel.from_backbone(backbone)
    total = int(model.network.config.get_text_config().num_hidden_layers)
    view = View(round(FROZEN_LAYERS * total))
    cut_layers(model.network, view.layer)
    parts = []
    scale = 0.0
    for place in (TRAIN, HELDOUT):
        examples, _ = encode_pairs(model, PreferencePairs.load(place))
        features = cached_features(model, [t for e in examples for t in e.tokens], None, [view])
        scale = scale or gap_scale(features, examples)
        index = pair_index(examples)
        difference = (features[index.chosen] - features[index.rejected]).astype(np.float64) * scale
        judged = index.probability != 0.5
        parts.append((difference[judged], index.cluster[judged]))
    (train, prompts), (test, _) = parts
    settings = fit_settings(len(train), lr=1e-3, epochs=60, batch=64)

    def over(seed: int, directions: int, gap: float) -> Any:
        rng = np.random.default_rng([seed, directions])
        _, spread, axes = np.linalg.svd(train, full_matrices=False)
        own = unit(rng.normal(size=directions)) / (spread[:directions] / np.sqrt(len(train)))
        gold = gap * axes[:directions].T @ own
        return towards_label(train, train @ gold, rng), prompts, test, sigmoid(test @ gold)

    def as_labelled(seed: int) -> Any:
        return train, prompts, test, np.ones(len(test))

    default = Cleaning().l2
    draw = partial(over, directions=20, gap=20.0)
    return [
        World(f"{backbone}, gold over 20 directions, L2 {default:g}", draw, default, settings),
        World(f"{backbone}, gold over 20 directions, L2 0.03", draw, 0.03, settings),
        World(f"{backbone}, the bundled labels, L2 {default:g}", as_labelled, default, settings),
    ]


def recovery(world: World, seeds: int) -> dict[str, Any]:
    """Detection and recovery in a world, over seeds."""
    runs = []
    for seed in range(seeds):
        runs.append(recovered(world, seed))
        print(f"{world.name}: seed {seed} done", file=sys.stderr, flush=True)
    columns = {name: np.array([r[name] for r in runs]) for name in runs[0]}
    clean, noisy = columns["clean"], columns["noisy"]
    gains = [name for name in columns if name.startswith(("round", "allowing", "oracle"))]
    return {
        "world": world.name,
        **{n: over_seeds(v) for n, v in columns.items() if n not in gains},
        "recovered": {n: share(clean, noisy, columns[n]).to_dict() for n in gains},
        "accuracy_after": {n: over_seeds(columns[n]) for n in gains},
        "runs": runs,
    }


def recovered(world: World, seed: int) -> dict[str, float]:
    """One seed: accuracy of heads on clean, flipped and cleaned labels, AUC, estimated rates."""
    clean, prompts, test, truth = world.draw(seed)
    rng = np.random.default_rng([seed, 99])
    flipped = rng.random(len(clean)) < INJECTED
    labelled = clean * np.where(flipped, -1.0, 1.0)[:, None]
    as_it_is = np.ones(len(clean))
    labellings = {
        "clean": np.where(flipped, 0.0, 1.0),
        "noisy": as_it_is,
        "oracle drop": np.where(flipped, np.nan, 1.0),
    }
    found: dict[str, float] = {"bayes": float(np.maximum(truth, 1 - truth).mean())}
    examples = comparisons(prompts.tolist())
    draws = [bootstrap_weights(prompts.tolist(), 1000 * seed + m) for m in range(MEMBERS)]
    plan = plan_of(np.stack(draws, axis=1).astype(np.float64), clean.shape[1], world.l2)
    for rounds in (1, 2):
        cross = cross_fit(
            examples, responses(labelled), plan, world.settings,
            folds=FOLDS, rounds=rounds, seed=seed,
        )  # fmt: skip
        mean = cross.gaps.mean(axis=1)
        found[f"auc, round {rounds}"] = float(roc_auc_score(flipped, -mean))
        found[f"rate, round {rounds}"] = cross.flips.rate
        cleaned = cleanings(cross.flips, mean)
        labellings |= {f"round {rounds}, {name}": q for name, q in cleaned.items()}
    weights = {n: w for n, w in labellings.items() if "down-weight" in n}
    plain = {n: q for n, q in labellings.items() if n not in weights}
    heads = dict(
        zip(plain, trained(labelled, np.stack([*plain.values()], axis=1), world.l2,
                           world.settings), strict=True)
    )  # fmt: skip
    heads |= weighted_heads(labelled, weights, world)
    heads["allowing for the rate"] = allowing(labelled, INJECTED, world.l2, world.settings)
    for name, head in heads.items():
        found[name] = float(expected_correct(test @ head, truth).mean())
    return found


def cleanings(flips: FlipModel, gaps: Floats) -> dict[str, Floats]:
    """What ``assay clean`` makes of labels by default, as the probability that the label is right.

    NaN drops a pair; for down-weight it is the weight.
    """
    wrong = flips.wrong(gaps)
    return {
        "flip": np.where(wrong >= 0.5, 0.0, 1.0),
        "smooth": 1 - wrong,
        "drop": np.where(wrong >= 0.5, np.nan, 1.0),
        "down-weight": 1 - wrong,
    }


def weighted_heads(x: Floats, weights: dict[str, Floats], world: World) -> dict[str, Floats]:
    """Heads trained on the labels as they are with weights."""
    plan = plan_of(np.stack([*weights.values()], axis=1), x.shape[1], world.l2)
    heads = Heads(plan.mask, plan.seeds)
    task = HeadsTask(heads, plan, comparisons(range(len(x))), responses(x))
    fit(task, heads, world.settings)
    return dict(zip(weights, heads.weight.detach().double().numpy(), strict=True))


def share(clean: Floats, noisy: Floats, after: Floats) -> Figure:
    """The share of the lost accuracy that came back, a ratio of means over seeds."""

    def ratio(rows: Floats) -> float:
        a, b, c = rows.mean(axis=0)
        return float((c - b) / (a - b)) if a != b else float("nan")

    return cluster_bootstrap(np.stack([clean, noisy, after], axis=1), statistic=ratio)


def recovery_table(worlds: Sequence[dict[str, Any]]) -> str:
    """A row a world."""
    header = ["world", "best", "clean", "flipped", "AUC", "estimated rate",
              *ACTIONS, "flip, one round", "allowing for the rate"]  # fmt: skip
    rows = []
    for world in worlds:
        gains = [f"round 2, {a}" for a in ACTIONS] + ["round 1, flip", "allowing for the rate"]
        rows.append([
            world["world"], *(shown(world[k]) for k in ("bayes", "clean", "noisy")),
            shown(world["auc, round 2"]), shown(world["rate, round 2"]),
            *(shown(world["recovered"][g], 2) for g in gains),
        ])  # fmt: skip
    return table(header, rows)


def unit(v: Floats) -> Floats:
    """The vector of length 1."""
    return np.asarray(v / np.linalg.norm(v))


def over_seeds(values: Floats) -> dict[str, float | int | None]:
    """The mean with its interval over seeds."""
    return cluster_mean(values).to_dict()


def shown(figure: dict[str, Any], digits: int = 3) -> str:
    """A figure with half the width of its interval."""
    value, low, high = figure["value"], figure["low"], figure["high"]
    if low is None or high is None:
        return f"{value:.{digits}f}"
    if digits == 2:
        return f"{value:.2f} [{low:.2f}, {high:.2f}]"
    return f"{value:.{digits}f} ± {(high - low) / 2:.{digits}f}"


if __name__ == "__main__":
    main(run, Settings)
