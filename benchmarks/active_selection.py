"""Does choosing what to label beat labelling at random?

Simulated comparisons with known features and a known gold head, no backbone: pools of distinct
comparisons, and pools in which half of the rows are copies of a few. Pairs are chosen in rounds, as
``assay select`` chooses them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import numpy as np
from common import Recorded, main, table, write_record
from numpy.random import Generator
from numpy.typing import NDArray

from assay.stats import (
    LastLayerLaplace,
    accuracy,
    bald,
    cluster_mean,
    d_optimal,
    gaussian_members,
    highest,
    prediction_std,
    spread_out,
)
from assay.stats.arrays import sigmoid

Floats = NDArray[np.float64]
Chosen = NDArray[np.intp]

METHODS = ("random", "disagreement", "bald", "bald-diverse", "d-optimal", "bald, posterior")
WIDTH = 32
GAP = 6.0
"""Deviation of the gold gaps of distinct comparisons."""
TOPICS = 16
"""Topics of the pool that has some: a comparison's responses differ in its topic's features."""
PRECISION = 1.0
"""L2 penalty of a head on the sum of its losses."""
MEMBERS = 8
FIRST = 32
"""Labels drawn at random before the first round."""
TEST = 5000


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Accuracy against labels for every method, over seeds of the pool."""

    seeds: int = 20
    """Pools, gold heads and labels; the methods share them."""
    pool: int = 2000
    """Rows that can be labelled."""
    batch: int = 32
    """Labels a round."""
    rounds: int = 7
    """Rounds after the first labels."""


@dataclass(frozen=True)
class Pool:
    """Rows to choose from, and pairs to test on: features of two responses each."""

    first: Floats  # (N, D)
    second: Floats
    test: Floats  # (T, D) differences
    gold: Floats  # (D,)

    @property
    def differences(self) -> Floats:
        """First less second response, ``(N, D)``."""
        return self.first - self.second


def run(settings: Settings) -> None:
    """Simulate, print a table a world and write the record."""
    started = perf_counter()
    worlds = {name: world(make, settings) for name, make in WORLDS.items()}
    for name, found in worlds.items():
        print(f"{name}\n\n{curves(found, settings)}\n")
    record = {"worlds": worlds, "seconds": perf_counter() - started}
    write_record("active_selection", settings, record)


# --- pools ----------------------------------------------------------------------------------------


def distinct(rng: Generator, rows: int) -> Pool:
    """Every comparison is of its own: a prompt's features, and two responses about them."""
    prompt = rng.normal(size=(rows, WIDTH)) * 2
    first, second = (prompt + rng.normal(size=prompt.shape) / np.sqrt(2) for _ in range(2))
    gold = rng.normal(size=WIDTH)
    gold *= GAP / np.linalg.norm(gold)
    return Pool(first, second, rng.normal(size=(TEST, WIDTH)), gold)


def with_copies(rng: Generator, rows: int, copied: int = 10) -> Pool:
    """Half of the rows are copies of a few comparisons, which the test does not favour."""
    pool = distinct(rng, rows)
    source = np.arange(rows)
    source[rows // 2 :] = rng.integers(copied, size=rows - rows // 2)
    order = rng.permutation(rows)
    noise = [1e-3 * rng.normal(size=pool.first.shape) for _ in range(2)]
    first, second = (side[source[order]] + n for side, n in
                     zip((pool.first, pool.second), noise, strict=True))  # fmt: skip
    return Pool(first, second, pool.test, pool.gold)


def with_topics(rng: Generator, rows: int) -> Pool:
    """Prompts of topics, nine in ten of them of two; the test is of all topics alike.

    Responses to a prompt differ mostly in the features of its topic, so that another prompt of a
    topic that is known tells little.
    """
    per_topic = WIDTH // TOPICS
    topic = np.where(rng.random(rows) < 0.9, rng.integers(2, size=rows),
                     rng.integers(TOPICS, size=rows))  # fmt: skip
    place = rng.normal(size=(TOPICS, WIDTH)) * 2

    def within(topics: NDArray[np.int64]) -> Floats:
        """What responses add, mostly in the features of each prompt's topic."""
        own = np.where(np.arange(WIDTH) // per_topic == topics[:, None], 1.0, 0.1)
        return np.asarray(own * rng.normal(size=(len(topics), WIDTH)) * np.sqrt(TOPICS / 2))

    middle = place[topic] + 0.3 * rng.normal(size=(rows, WIDTH))
    first, second = middle + within(topic), middle + within(topic)
    gold = rng.normal(size=WIDTH)
    gold *= GAP / np.linalg.norm(gold)
    test = rng.integers(TOPICS, size=TEST)
    return Pool(first, second, within(test) - within(test), gold)


WORLDS: dict[str, Callable[[Generator, int], Pool]] = {
    "distinct": distinct,
    "copies": with_copies,
    "topics": with_topics,
}


# --- learning and choosing ------------------------------------------------------------------------


def head(x: Floats, weights: Floats, start: Floats) -> Floats:
    """The penalised Bradley-Terry head of differences towards the label, by Newton's method."""
    w = start.copy()
    for _ in range(30):
        p = sigmoid(x @ w)
        gradient = x.T @ (weights * (p - 1)) + PRECISION * w
        curved = x * (weights * p * (1 - p))[:, None]
        step = np.linalg.solve(curved.T @ x + PRECISION * np.eye(len(w)), gradient)
        # full steps overshoot where labels can be separated
        w = w - step / max(1.0, float(np.abs(step).max()))
        if np.abs(step).max() < 1e-6:
            break
    return w


def select(method: str, pool: Pool, left: Chosen, labelled: Floats, count: int,
           rng: Generator) -> Chosen:  # fmt: skip
    """Which of the rows left to label next."""
    if method == "random":
        return rng.choice(len(left), count, replace=False)
    delta = pool.differences[left]
    if method in ("d-optimal", "bald, posterior"):
        w = head(labelled, np.ones(len(labelled)), np.zeros(WIDTH))
        posterior = LastLayerLaplace.fit(labelled, labelled @ w, PRECISION)
        if method == "bald, posterior":
            members = gaussian_members(delta @ w, posterior.variance(delta))
            return highest(bald(*members), count).indexes
        p = sigmoid(delta @ w)
        hessian = posterior.factor @ posterior.factor.T
        return d_optimal(delta, p * (1 - p), hessian, count).indexes
    draws = [rng.multinomial(len(labelled), np.full(len(labelled), 1 / len(labelled)))
             for _ in range(MEMBERS)]  # fmt: skip
    heads = [head(labelled, d.astype(np.float64), np.zeros(WIDTH)) for d in draws]
    gaps = delta @ np.stack(heads, axis=1)
    if method == "disagreement":
        return highest(prediction_std(gaps), count).indexes
    if method == "bald":
        return highest(bald(gaps), count).indexes
    middle = (pool.first[left] + pool.second[left]) / 2
    return spread_out(bald(gaps), middle / middle.std(axis=0), count).indexes


def accuracies(method: str, pool: Pool, labels: Floats, settings: Settings, seed: int) -> Floats:
    """Accuracy against the gold order after each round, the first labels' included."""
    rng = np.random.default_rng([seed, 7])
    left = np.arange(len(pool.first))
    towards = pool.differences * labels[:, None]
    done = rng.permutation(left)[:FIRST]
    truth = (pool.test @ pool.gold > 0).astype(np.float64)
    found = []
    for number in range(settings.rounds + 1):
        w = head(towards[done], np.ones(len(done)), np.zeros(WIDTH))
        found.append(accuracy(pool.test @ w, truth).value)
        if number < settings.rounds:
            left = np.setdiff1d(left, done)
            chosen = select(method, pool, left, towards[done], settings.batch, rng)
            done = np.concatenate([done, left[chosen]])
    return np.array(found)


def world(make: Callable[[Generator, int], Pool], settings: Settings) -> dict[str, Any]:
    """Curves of every method, and their differences to random, over the same pools and labels."""
    runs: dict[str, list[Floats]] = {method: [] for method in METHODS}
    for seed in range(settings.seeds):
        rng = np.random.default_rng([seed, 1])
        pool = make(rng, settings.pool)
        better = rng.random(settings.pool) < sigmoid(pool.differences @ pool.gold)
        labels = np.where(better, 1.0, -1.0)
        for method in METHODS:
            runs[method].append(accuracies(method, pool, labels, settings, seed))
    table_of = {method: np.stack(rows) for method, rows in runs.items()}
    random = table_of["random"]
    return {
        method: {
            "accuracy": [cluster_mean(c).to_dict() for c in found.T],
            "over_random": [cluster_mean(c).to_dict() for c in (found - random).T],
            "mean_over_random": cluster_mean((found - random)[:, 1:].mean(axis=1)).to_dict(),
            "labels_to_match_random": matching(found.mean(axis=0), random.mean(axis=0), settings),
        }
        for method, found in table_of.items()
    }


def matching(found: Floats, random: Floats, settings: Settings) -> int | None:
    """Fewest labels at which the mean curve is where random's ends; None if it never is."""
    there = np.flatnonzero(found >= random[-1])
    return int(FIRST + settings.batch * there[0]) if len(there) else None


def curves(found: dict[str, Any], settings: Settings) -> str:
    """Accuracy at some numbers of labels, with the difference to random at the last."""
    steps = sorted({1, settings.rounds // 2, settings.rounds})
    header = ["method", *(f"{FIRST + settings.batch * s} labels" for s in steps),
              "over random, mean of rounds", "labels to random's last"]  # fmt: skip
    rows = []
    for method in METHODS:
        own = found[method]
        cells = [shown(own["accuracy"][s]) for s in steps]
        gain = "" if method == "random" else shown(own["mean_over_random"], "+")
        rows.append([method, *cells, gain, str(own["labels_to_match_random"])])
    return table(header, rows)


def shown(figure: dict[str, Any], sign: str = "") -> str:
    """A figure with half the width of its interval."""
    return f"{figure['value']:{sign}.3f} ± {(figure['high'] - figure['low']) / 2:.3f}"


if __name__ == "__main__":
    main(run, Settings)
