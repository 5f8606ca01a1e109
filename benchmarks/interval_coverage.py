"""Do 95 % intervals hold the truth in 95 % of cases, and do p-values keep their level?

Answers to the items of prompts are simulated: prompts have unequal numbers of items, and answers to
one prompt are alike, so items that are taken to be independent are the baseline of each table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from time import perf_counter
from typing import Any

import numpy as np
from common import Recorded, main, table, write_record
from numpy.random import Generator
from numpy.typing import NDArray

from assay.evaluation.rewardbench import ties_score
from assay.evaluation.suite import ScoredItem
from assay.stats import (
    accuracy,
    accuracy_difference,
    cluster_bootstrap,
    combine,
    estimate_mean,
    jackknife,
    mcnemar,
    mcnemar_mid_p,
    paired_bootstrap_p,
    permutation_p,
    t_test,
    wilson,
)
from assay.types import Figure

TOLERANCE = 0.015
"""How far a coverage may be from 0.95, and a share of p-values below α from α."""
ALPHAS = (0.05, 0.01)
PROMPTS = 100
MEAN, ALIKE = 0.7, 0.3
"""Accuracy of the simulated model, and the correlation of its answers to one prompt."""
TIES_PROMPTS = 51
"""RewardBench 2's number."""

Answers = tuple[NDArray[np.float64], NDArray[np.intp]]


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Simulated evaluations whose truth is known."""

    simulations: int = 4000
    """Evaluations of each kind."""
    ties_simulations: int = 1000
    """Evaluations of RewardBench 2's Ties, whose jackknife is slow."""
    ties_truth: int = 100_000
    """Prompts whose Ties score is taken as the true one."""
    resamples: int = 400
    """Resamples of each bootstrap and permutation test; Assay's defaults are 2,000 and more."""
    seed: int = 0
    """Where the simulations begin."""


Simulation = Callable[[np.random.Generator, Settings], float]
"""A p-value, or whether an interval holds the truth."""


def run(settings: Settings) -> None:
    """Simulate, print both tables and write the record."""
    started = perf_counter()
    intervals = {name: coverage(name, settings) for name in INTERVALS}
    tests = {name: level(name, settings) for name in TESTS}
    rows = [
        [name, f"{100 * f['coverage']:.1f} %", str(f["simulations"]), verdict(f["within"])]
        for name, f in intervals.items()
    ]
    print(table(["95 % interval", "holds the truth", "simulations", "95 ± 1.5"], rows), "\n")
    rows = [
        [name, *(f"{100 * f['share'][str(a)]:.1f} %" for a in ALPHAS), verdict(f["within"])]
        for name, f in tests.items()
    ]
    header = ["test where nothing differs", *(f"p ≤ {a}" for a in ALPHAS), "α ± 1.5, exact ≤ α"]
    print(table(header, rows))
    record = {"intervals": intervals, "tests": tests, "seconds": perf_counter() - started}
    write_record("interval_coverage", settings, record)


def coverage(name: str, settings: Settings) -> dict[str, Any]:
    """The share of simulated evaluations whose interval holds the truth."""
    count = settings.ties_simulations if name == TIES else settings.simulations
    draws = simulated(INTERVALS[name], count, settings)
    share = float(np.mean(draws))
    within = None if name in BASELINES else abs(share - 0.95) <= TOLERANCE
    return {"coverage": share, "simulations": count, "within": within}


def level(name: str, settings: Settings) -> dict[str, Any]:
    """The share of p-values at most α where the hypothesis is true."""
    p = simulated(TESTS[name], settings.simulations, settings)
    share = {str(alpha): float(np.mean(p <= alpha)) for alpha in ALPHAS}
    within = None
    if name not in BASELINES:
        # an exact test may be below its level by any amount, but not above
        within = all(
            share[str(a)] <= a if name == EXACT else abs(share[str(a)] - a) <= TOLERANCE
            for a in ALPHAS
        )
    return {"share": share, "simulations": settings.simulations, "within": within}


def simulated(simulate: Simulation, count: int, settings: Settings) -> NDArray[np.float64]:
    """What each of so many simulations gives, each from a stream of its own."""
    streams = np.random.SeedSequence(settings.seed).spawn(count)
    return np.array([simulate(np.random.default_rng(s), settings) for s in streams])


def verdict(within: bool | None) -> str:
    """A cell of the table."""
    return {None: "(baseline)", True: "within", False: "MISSED"}[within]


# --- simulated evaluations ------------------------------------------------------------------------


def answers(
    rng: Generator, prompts: int = PROMPTS, mean: float = MEAN, items: float = 4.0
) -> Answers:
    """1 or 0 for right and wrong, and the prompt of each; ``items`` a prompt on average."""
    return _answer(rng, rng.geometric(1 / items, prompts), mean)


def two_models(rng: Generator, means: tuple[float, float]) -> tuple[Answers, Answers]:
    """Answers of two models to the same items."""
    sizes = rng.geometric(1 / 4, PROMPTS)
    first, second = (_answer(rng, sizes, mean) for mean in means)
    return first, second


def _answer(rng: Generator, sizes: NDArray[np.int64], mean: float) -> Answers:
    prompt = np.repeat(np.arange(len(sizes)), sizes)
    spread = 1 / ALIKE - 1  # beta-binomial: the correlation within a prompt is ALIKE
    ability = rng.beta(mean * spread, (1 - mean) * spread, len(sizes))
    return (rng.random(len(prompt)) < ability[prompt]).astype(np.float64), prompt


def independent_gaps(rng: Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gaps of two equally good models on 300 pairs; on one in five only one of them is right."""
    kind = rng.choice(4, 300, p=[0.6, 0.2, 0.1, 0.1])
    return np.choose(kind, [1.0, -1.0, 1.0, -1.0]), np.choose(kind, [1.0, -1.0, -1.0, 1.0])


def ties_items(rng: Generator, prompts: int) -> list[ScoredItem]:
    """Ties items: prompts of unequal difficulty, each with one right response and with four."""
    found = []
    for prompt in range(prompts):
        ease = rng.normal(1.2, 0.6)
        for kind, right in (("ref", 1), ("tied", 4)):
            rewards = np.concatenate([rng.normal(ease, 0.3, right), rng.normal(0.0, 0.5, 4)])
            correct = (True,) * right + (False,) * 4
            item = ScoredItem(
                f"{kind}:{prompt}", "Ties", tuple(rewards.tolist()), correct, str(prompt)
            )
            found.append(item)
    return found


# --- intervals ------------------------------------------------------------------------------------


def holds(figure: Figure, truth: float) -> bool:
    """Whether the truth is inside."""
    return figure.low <= truth <= figure.high


def of_accuracy(rng: Generator, settings: Settings, clustered: bool = True) -> bool:
    """The accuracy of one model."""
    right, prompt = answers(rng)
    return holds(accuracy(right - 0.5, clusters=prompt if clustered else None), MEAN)


def of_share(rng: Generator, settings: Settings) -> bool:
    """Wilson's interval for 100 independent items."""
    # counts are whole, so coverage swings with the share, ± 1 and more; a suite's is anywhere
    share = rng.uniform(0.5, 1.0)
    return holds(wilson(int(rng.binomial(100, share)), 100), share)


def of_high_accuracy(rng: Generator, settings: Settings) -> bool:
    """The accuracy of a good model on 100 independent items."""
    mean = rng.uniform(0.9, 1.0)
    return holds(accuracy((rng.random(100) < mean) - 0.5), mean)


def of_macro_average(rng: Generator, settings: Settings) -> bool:
    """The mean of five subsets of unequal size and difficulty."""
    means = (0.5, 0.6, 0.7, 0.8, 0.9)
    subsets = [answers(rng, n, mean) for n, mean in zip((20, 30, 40, 60, 100), means, strict=True)]
    estimate = combine([estimate_mean(*subset) for subset in subsets])
    return holds(estimate.figure((0.0, 1.0)), float(np.mean(means)))


def of_harmonic_mean(rng: Generator, settings: Settings) -> bool:
    """The harmonic mean of two accuracies (as ProcessBench's F1), by the jackknife."""
    (first, prompt), (second, _) = two_models(rng, (0.6, 0.8))

    def harmonic(kept: list[int]) -> float:
        rows = np.array(kept)
        a, b = first[rows].mean(), second[rows].mean()
        return float(2 * a * b / (a + b))

    return holds(jackknife(harmonic, prompt.tolist()).figure(), 2 * 0.6 * 0.8 / 1.4)


def of_ties_score(rng: Generator, settings: Settings) -> bool:
    """RewardBench 2's Ties score, by the jackknife over its prompts."""
    items = ties_items(rng, TIES_PROMPTS)
    clusters = [item.cluster for item in items]
    estimate = jackknife(lambda kept: ties_score([items[i] for i in kept]), clusters)
    return holds(estimate.figure(), true_ties_score(settings.ties_truth))


@cache
def true_ties_score(prompts: int) -> float:
    """The Ties score of so many prompts that its own error is nothing."""
    return ties_score(ties_items(np.random.default_rng(1), prompts))


def of_bootstrap(rng: Generator, settings: Settings) -> bool:
    """The accuracy of one model, by the bootstrap over prompts."""
    right, prompt = answers(rng)
    seed = int(rng.integers(2**31))
    return holds(cluster_bootstrap(right, prompt, resamples=settings.resamples, seed=seed), MEAN)


def of_difference(rng: Generator, settings: Settings) -> bool:
    """The difference of two models on the same items."""
    (a, prompt), (b, _) = two_models(rng, (0.75, 0.7))
    return holds(accuracy_difference(a - 0.5, b - 0.5, clusters=prompt), 0.05)


TIES = "jackknife: Ties score, 51 prompts"
INTERVALS: dict[str, Simulation] = {
    "accuracy, items taken as independent": partial(of_accuracy, clustered=False),
    "accuracy, 100 prompts": of_accuracy,
    "Wilson, 100 independent items": of_share,
    "accuracy of 0.9 to 1, 100 independent items": of_high_accuracy,
    "macro average of five subsets": of_macro_average,
    "jackknife: harmonic mean of accuracies": of_harmonic_mean,
    TIES: of_ties_score,
    "bootstrap over 100 prompts": of_bootstrap,
    "paired difference, 100 prompts": of_difference,
}


# --- tests where nothing differs ------------------------------------------------------------------


def of_mcnemar(rng: Generator, settings: Settings, test: Callable[..., float] = mcnemar) -> float:
    """Equally good models on independent pairs."""
    return test(*independent_gaps(rng))


def differences(rng: Generator) -> Answers:
    """Differences of equally good models on the same items."""
    (a, prompt), (b, _) = two_models(rng, (MEAN, MEAN))
    return a - b, prompt


def of_paired_bootstrap(rng: Generator, settings: Settings) -> float:
    """Equally good models on prompts with several items."""
    seed = int(rng.integers(2**31))
    # one less than a round number, so that p can be just α
    return paired_bootstrap_p(*differences(rng), resamples=settings.resamples - 1, seed=seed)


def of_t_test(rng: Generator, settings: Settings, clustered: bool = True) -> float:
    """Equally good models on prompts with several items."""
    values, prompt = differences(rng)
    return t_test(estimate_mean(values, prompt if clustered else None))


def of_permutation(rng: Generator, settings: Settings, items: tuple[float, float]) -> float:
    """Equally hard subsets of 200 and 100 prompts, with so many items a prompt."""
    a, prompts_a = answers(rng, 200, items=items[0])
    b, prompts_b = answers(rng, 100, items=items[1])
    seed = int(rng.integers(2**31))
    return permutation_p(a, b, prompts_a, prompts_b, resamples=settings.resamples - 1, seed=seed)


EXACT = "McNemar, exact"
TESTS: dict[str, Simulation] = {
    "t test, items taken as independent": partial(of_t_test, clustered=False),
    "t test over prompts": of_t_test,
    EXACT: of_mcnemar,
    "McNemar, mid-p": partial(of_mcnemar, test=mcnemar_mid_p),
    "paired bootstrap over prompts": of_paired_bootstrap,
    "permutation, subsets alike": partial(of_permutation, items=(4.0, 4.0)),
    "permutation, one item a prompt against eight": partial(of_permutation, items=(1.0, 8.0)),
}
BASELINES = ("accuracy, items taken as independent", "t test, items taken as independent")


if __name__ == "__main__":
    main(run, Settings)
