"""Does gold fall while the proxy rises, and what holds it? Best-of-n in simulated worlds.

A response is 24 features, the first of them length-like: gold likes it up to a point. Proxies are
Assay's own heads, linear in the features and fitted to pairs of which a quarter is flipped, so they
cannot know that point. Under *shift* candidates vary in length four times as much as the pairs did;
in the *control* they are drawn as the pairs were. Every seed draws its own gold, pairs, flips and
candidates; intervals are Student's over seeds.

Proxies that differ in the number of pairs alone are also given units that could express gold's
turn, and pairs that reach a little farther; they are fitted exactly, not by Assay's loop.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter, process_time
from typing import Any, NamedTuple

import numpy as np
import torch
from common import Recorded, main, table, write_record
from numpy.random import Generator
from numpy.typing import NDArray

from assay.data.contract import Tokens
from assay.data.trees import build_tree
from assay.errors import ConfigError
from assay.evaluation.best_of_n import best_of_n_kl
from assay.evaluation.gold_fit import fit_gold
from assay.evaluation.overoptimization import loss_after_peak
from assay.evaluation.selection import Candidates, Selector, selected
from assay.stats import Standards, cluster_mean
from assay.train.encode import Example
from assay.train.fit import fit
from assay.train.heads import HeadPlan, Heads, HeadsTask, bootstrap_weights
from assay.train.plan import FitSettings
from assay.train.reward import gap_scale
from assay.train.tasks import LossSettings
from assay.types import Figure, Preference

Floats = NDArray[np.float64]
Features = NDArray[np.float32]

FEATURES = 24
HIDDEN = 32
UNITS = 128
"""ReLU units of the proxies that are not linear."""
HELDOUT = 500
EPOCHS, STEPS = 30, 16
"""Passes over the pairs, and steps in each."""
PAIR_LENGTH, FARTHER, SHIFTED_LENGTH = 0.5, 0.75, 2.0
"""Standard deviation of the length-like feature in the pairs, in pairs that reach farther, and in
shifted candidates."""
BEFOREHAND = 1.0
"""λ of mean - λ variance, in members of deviation 1, as in the published table; chosen before."""
SHOWN = (4, 64, 1024, 4096)


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Worlds in which a misspecified proxy meets a shift, and one in which it does not."""

    seeds: int = 8
    """Worlds, each with its own gold, pairs, flips and candidates."""
    pairs: int = 2000
    """Pairs that members are fitted to."""
    sizes: tuple[int, ...] = (500, 2000, 8000)
    """Pairs of the proxies that differ in their data alone."""
    flips: float = 0.25
    """Share of the labels that are flipped."""
    members: int = 5
    """Members of each ensemble."""
    prompts: int = 60
    """Prompts to select for."""
    samples: int = 8192
    """Candidates of each prompt."""
    max_n: int = 4096
    """Largest n."""
    strengths: tuple[float, ...] = (0.5, 1.0, 2.0, 4.0)
    """λ of mean - λ variance, in members of deviation 1."""
    l2: float = 0.03
    """L2 penalty of the heads, a tenth of Assay's default for hundreds of features."""
    default_l2: float = 0.3
    """Assay's default, for one more ensemble."""


class Ensemble(NamedTuple):
    """What an ensemble's members differ in, besides their seed."""

    name: str
    bootstrap: bool = False
    subsets: bool = False
    with_length: bool = False
    """Whether every subset has the length-like feature."""
    default_l2: bool = False


ENSEMBLES = (
    Ensemble("seeds alone"),
    Ensemble("bootstraps", bootstrap=True),
    Ensemble("halves of the features", bootstrap=True, subsets=True),
    Ensemble("halves, all with length", bootstrap=True, subsets=True, with_length=True),
    Ensemble("seeds alone, l2 0.3", default_l2=True),
)
KINDS = ("linear", "ReLU units", "ReLU units, pairs reach farther")
"""Proxies that differ in the number of pairs alone; the first two see the same pairs."""
ON_CANDIDATES = (ENSEMBLES[1], ENSEMBLES[2])
"""Ensembles measured on members standardised on the candidates too."""


def run(settings: Settings) -> None:
    """Simulate, print the tables and write the record."""
    _check(settings)
    started = perf_counter()
    grid = tuple(2**i for i in range(settings.max_n.bit_length()))
    worlds = []
    for seed in range(settings.seeds):
        worlds.append(world(seed, settings, grid))
        print(f"seed {seed}: {perf_counter() - started:,.0f} s", file=sys.stderr, flush=True)
    measured = {
        key: Measured(
            np.stack([w.found[key].gains for w in worlds]),
            np.array([w.found[key].lost for w in worlds]),
        )
        for key in worlds[0].found
    }
    results = {
        "n": list(grid),
        "rows": {" | ".join(key): summary(m, grid) for key, m in measured.items()},
        "members_reading_length": {
            e.name: [w.reading_length[e.name] for w in worlds] for e in ENSEMBLES
        },
        "accuracy": {
            e.name: rounded(cluster_mean([w.accuracy[e.name] for w in worlds])) for e in ENSEMBLES
        },
        "claims": claims(measured, grid, settings),
    }
    report(results, settings)
    seconds = {"seconds": perf_counter() - started, "processor_seconds": process_time()}
    write_record("overoptimization", settings, {**results, **seconds})


def _check(settings: Settings) -> None:
    if settings.seeds < 2 or settings.max_n < 64 or settings.max_n & (settings.max_n - 1):
        raise ConfigError("--seeds is 2 or more, and --max-n a power of two from 64 on.")
    if BEFOREHAND not in settings.strengths or settings.max_n > settings.samples:
        raise ConfigError(f"--strengths holds {BEFOREHAND:g}, and --samples is at least --max-n.")


# --- a world --------------------------------------------------------------------------------------

Key = tuple[str, str, str]
"""Setting, ensemble, selector."""


class Measured(NamedTuple):
    """Gold gains over n, ``(S, G)``, and what is lost after the peak, ``(S,)``, of S worlds.

    The loss is measured in each world on prompts that did not choose the peak. Of one world the
    axis S is missing.
    """

    gains: Floats
    lost: Any


class Outcome(NamedTuple):
    """What one world gave, and how many members of each ensemble look at length there.

    ``accuracy`` is that of single members, on pairs as those they were fitted to, without flips.
    """

    found: dict[Key, Measured]
    reading_length: dict[str, int]
    accuracy: dict[str, float]


class World:
    """A gold reward, and responses as features; each kind of draw has a stream of its own."""

    def __init__(self, seed: int):
        gold, units, self.pairs_rng, self.farther_rng, self.shift_rng, self.control_rng = (
            np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(6)
        )
        self.inner = gold.normal(size=(FEATURES, HIDDEN)) / FEATURES**0.5
        self.inner[0] = 0.0  # length counts in its own term alone
        self.outer = gold.normal(size=HIDDEN) / HIDDEN**0.5
        self.units = (units.normal(size=(FEATURES, UNITS)) / FEATURES**0.5).astype(np.float32)
        # units look at length as much as at all else together, as far apart as the pairs' lengths
        self.units[0] = units.normal(size=UNITS)
        self.offsets = units.normal(size=UNITS, scale=PAIR_LENGTH).astype(np.float32)

    def gold(self, x: Features) -> Floats:
        """``tanh(x W) v + 0.6 l - 0.25 max(l, 0)²``: more length is better up to l = 1.2."""
        length = x[..., 0].astype(np.float64)
        rest = np.tanh(x @ self.inner.astype(np.float32)) @ self.outer.astype(np.float32)
        value: Floats = rest + 0.6 * length - 0.25 * np.maximum(length, 0) ** 2
        return value

    def with_units(self, x: Features) -> Features:
        """The features, and ReLU units of them."""
        hidden = np.maximum(x @ self.units + self.offsets, 0)
        return np.concatenate([x, hidden.astype(np.float32)], axis=-1)

    def pairs(self, count: int, flips: float, farther: bool = False) -> tuple[Features, Features]:
        """Chosen and rejected, the better one chosen but for the flips, ``(N, D)`` each."""
        rng, length = (self.farther_rng, FARTHER) if farther else (self.pairs_rng, PAIR_LENGTH)
        first, second = (responses(rng, (count,), length) for _ in range(2))
        better = self.gold(first) > self.gold(second)
        better ^= rng.random(count) < flips
        return (
            np.where(better[:, None], first, second),
            np.where(better[:, None], second, first),
        )


def responses(rng: Generator, shape: tuple[int, ...], length: float) -> Features:
    """Responses whose length-like feature has this deviation, all other features 1."""
    x = rng.standard_normal((*shape, FEATURES), dtype=np.float32)
    x[..., 0] *= length
    return x


def world(seed: int, settings: Settings, grid: Sequence[int]) -> Outcome:
    """Gold gains over n of every setting, ensemble and selector in one world."""
    made = World(seed)
    pairs = made.pairs(settings.pairs + HELDOUT, settings.flips)
    plan = ensemble_plan(seed, settings)
    heads = train(pairs, plan, seed)
    reference = np.concatenate([side[: settings.pairs] for side in pairs]) @ heads.T
    found: dict[Key, Measured] = {}
    accuracy: dict[str, float] = {}
    for setting, rng, length in (
        ("shift", made.shift_rng, SHIFTED_LENGTH),
        ("control", made.control_rng, PAIR_LENGTH),
    ):
        x = responses(rng, (settings.prompts, settings.samples), length)
        gold = made.gold(x)
        rewards = x @ heads.T
        for number, ensemble in enumerate(ENSEMBLES):
            own = slice(number * settings.members, (number + 1) * settings.members)
            if setting == "control":
                accuracy[ensemble.name] = pair_accuracy(rewards[..., own], gold)
            scales = {"": reference[:, own]}
            if setting == "shift" and ensemble in ON_CANDIDATES:
                scales[", on candidates"] = rewards[..., own].reshape(-1, settings.members)
            for scale, of in scales.items():
                candidates = Candidates(standardised(rewards[..., own], of), gold)
                for selector in selectors(settings):
                    key = (setting, ensemble.name + scale, str(selector))
                    found[key] = measure(candidates, selector, grid)
        if setting == "shift":
            found |= by_size(made, settings, x, gold, grid)
    reading = plan.mask[:, 0].reshape(len(ENSEMBLES), settings.members).sum(axis=1)
    names = [ensemble.name for ensemble in ENSEMBLES]
    return Outcome(found, dict(zip(names, reading.tolist(), strict=True)), accuracy)


def pair_accuracy(rewards: Features, gold: Floats) -> float:
    """Share of neighbouring candidates that a member orders as gold does, mean over members."""
    ahead = gold[:, ::2] > gold[:, 1::2]
    return float(((rewards[:, ::2] > rewards[:, 1::2]) == ahead[..., None]).mean())


def by_size(
    made: World, settings: Settings, x: Features, gold: Floats, grid: Sequence[int]
) -> dict[Key, Measured]:
    """Gold by single heads that differ in the number of pairs, for each kind of proxy."""
    most = max(settings.sizes)
    heads = []
    for farther, kinds in ((False, KINDS[:2]), (True, KINDS[2:])):
        chosen, rejected = made.pairs(most, settings.flips, farther)
        gaps = (made.with_units(chosen) - made.with_units(rejected)).astype(np.float64)
        for kind in kinds:
            linear = kind == KINDS[0]
            width = FEATURES if linear else FEATURES + UNITS
            # six times as many features share the penalty's work
            l2 = settings.l2 * (1.0 if linear else 0.1)
            heads += [
                np.pad(exact_head(gaps[:size, :width], l2), (0, FEATURES + UNITS - width))
                for size in settings.sizes
            ]
    rewards = np.stack([made.with_units(prompt) @ np.stack(heads).T for prompt in x])
    names = [(kind, f"{size:,} pairs") for kind in KINDS for size in settings.sizes]
    return {
        ("shift", *name): measure(
            Candidates(rewards[..., number : number + 1], gold), Selector(), grid
        )
        for number, name in enumerate(names)
    }


def measure(candidates: Candidates, selector: Selector, grid: Sequence[int]) -> Measured:
    """Mean gold over the prompts for each n, and what is lost after its peak."""
    gains = selected(candidates, selector, grid)["gold"]
    return Measured(gains.mean(axis=0), loss_after_peak(gains).value)


def standardised(rewards: Features, reference: Features) -> Floats:
    """Members of mean 0 and deviation 1 on reference responses, so that λ has a meaning."""
    standards = Standards.fit(reference)
    return standards.apply(rewards) / standards.scale


def selectors(settings: Settings) -> Iterator[Selector]:
    """Single members, the mean, the worst case, and mean less variance for each strength."""
    yield from map(Selector.parse, ("single", "mean", "worst-case"))
    yield from (Selector.parse(f"mean-variance:{s}") for s in settings.strengths)


# --- proxies --------------------------------------------------------------------------------------


def ensemble_plan(seed: int, settings: Settings) -> HeadPlan:
    """All members of all ensembles as heads of one fit."""
    rng = np.random.default_rng([seed, 1])
    masks, weights, l2 = [], [], []
    for ensemble in ENSEMBLES:
        for member in range(settings.members):
            mask = np.ones(FEATURES, dtype=np.bool_)
            if ensemble.subsets:
                mask[:] = False
                mask[rng.choice(FEATURES, FEATURES // 2, replace=False)] = True
                mask[0] |= ensemble.with_length
            masks.append(mask)
            weights.append(
                bootstrap_weights(range(settings.pairs), seed * 1000 + member)
                if ensemble.bootstrap
                else np.ones(settings.pairs, dtype=np.float32)
            )
            l2.append(settings.default_l2 if ensemble.default_l2 else settings.l2)
    seeds = tuple(range(settings.members)) * len(ENSEMBLES)
    return HeadPlan(
        np.array(masks), np.stack(weights, axis=1), np.array(l2, dtype=np.float32), seeds
    )


def exact_head(gaps: Floats, l2: float) -> Floats:
    """The head at the optimum of ``train``'s loss, by Newton's method, ``(D,)``.

    ``mean log(1 + exp(-wᵀδ)) + l2/2 |w|²`` on gaps of mean square 1. The steps of ``train`` leave
    heads on many correlated units far from it.
    """
    scale = float(np.mean(gaps**2)) ** -0.5
    delta = gaps * scale
    w = np.zeros(gaps.shape[1])
    for _ in range(30):
        wrong = 1 / (1 + np.exp(delta @ w))
        gradient = l2 * w - delta.T @ wrong / len(delta)
        curvature = (delta * (wrong * (1 - wrong))[:, None]).T @ delta / len(delta)
        step = np.linalg.solve(curvature + l2 * np.eye(len(w)), gradient)
        w -= step
        if np.abs(step).max() < 1e-8:
            break
    head: Floats = w * scale
    return head


def train(pairs: tuple[Features, Features], plan: HeadPlan, seed: int) -> Features:
    """The heads of a plan by Assay's own loop, ``(M, D)`` on unscaled features.

    The last pairs choose the best state.
    """
    features = np.stack(pairs, axis=1).reshape(2 * len(pairs[0]), -1)
    count = len(pairs[0]) - HELDOUT
    examples = comparisons(len(pairs[0]))
    scale = np.float32(gap_scale(features[: 2 * count], examples[:count]))
    heads = Heads(plan.mask, plan.seeds)
    task = HeadsTask(
        heads,
        plan,
        examples[:count],
        features[: 2 * count] * scale,
        examples[count:],
        features[2 * count :] * scale,
        LossSettings(),
    )
    batch = max(1, count // STEPS)
    fit(
        task,
        heads,
        FitSettings(
            epochs=EPOCHS,
            batch_size=batch,
            token_budget=1 << 30,
            lr=1e-2,
            head_lr_multiplier=1.0,
            weight_decay=0.0,
            warmup_fraction=0.05,
            schedule="cosine",
            max_grad_norm=len(plan.seeds) ** 0.5,
            eval_every=5 * -(-count // batch),
            save_every=1 << 30,
            log_every=1 << 30,
            seed=seed,
            precision="fp32",
        ),
    )
    found: Features = (heads.weight * heads.mask).detach().numpy() * scale
    return found


def comparisons(count: int) -> list[Example]:
    """Pairs as the heads' task takes them; their texts do not matter, for features are given."""
    tokens = tuple(Tokens(np.array([0, own], dtype=np.int32), 1) for own in (1, 2))
    tree = build_tree(list(tokens))
    better = (Preference(0, 1),)
    return [Example(tree, tokens, better, None, (1, 1), cluster=i) for i in range(count)]


# --- what is made of it ---------------------------------------------------------------------------


def summary(measured: Measured, grid: Sequence[int]) -> dict[str, Any]:
    """Gold over seeds: the curve, its peak, what is lost after it, and the fit of each seed."""
    gains = measured.gains
    kl = [best_of_n_kl(n) for n in grid]
    alpha, beta = fit_gold(kl, gains).T
    left = gains - np.sqrt(kl) * (alpha[:, None] - beta[:, None] * np.sqrt(kl))
    spread = np.sum((gains - gains.mean(axis=1, keepdims=True)) ** 2, axis=1)
    lost = cluster_mean(measured.lost)
    # a fit with β > 0 turns somewhere; that says something where gold is seen to fall
    turns = lost.low > 0 and bool(((alpha > 0) & (beta > 0)).all())
    line = [rounded(cluster_mean(column)) for column in gains.T]
    return {
        "gold": {key: [figure[key] for figure in line] for key in ("value", "low", "high")},
        "end_by_seed": [round(x, 4) for x in gains[:, -1].tolist()],
        "peak_n": grid[int(gains.mean(axis=0).argmax())],
        "lost_after_peak": rounded(lost),
        "alpha": rounded(cluster_mean(alpha)),
        "beta": rounded(cluster_mean(beta)),
        "r_squared": rounded(cluster_mean(1 - np.sum(left**2, axis=1) / spread)),
        "fit_peak_kl": rounded(cluster_mean((alpha / (2 * beta)) ** 2)) if turns else None,
    }


def rounded(figure: Figure) -> dict[str, float | int | None]:
    """A figure to four decimals, as the record keeps it."""
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in figure.to_dict().items()}


class Claim(NamedTuple):
    """What was published or expected, and a paired difference over seeds that shows it or not."""

    says: str
    figure: Figure
    holds: bool

    def to_dict(self) -> dict[str, Any]:
        """For the record."""
        return {"says": self.says, "figure": rounded(self.figure), "holds": self.holds}


def claims(
    measured: Mapping[Key, Measured], grid: Sequence[int], settings: Settings
) -> list[dict[str, Any]]:
    """The patterns looked for, each with the figure that decides it, at the largest n."""
    pessimistic = ("worst-case", f"mean-variance {BEFOREHAND:g}")
    same, boot, halves, shared, _ = (e.name for e in ENSEMBLES)
    found: list[Claim] = []

    def end(*key: str) -> Floats:
        return measured[key[0], key[1], key[2]].gains[:, -1]

    def above(text: str, difference: Floats) -> None:
        figure = cluster_mean(difference)
        found.append(Claim(text, figure, figure.low > 0))

    def equal(text: str, difference: Floats) -> None:
        figure = cluster_mean(difference)
        found.append(Claim(text, figure, figure.low <= 0 <= figure.high))

    def falls(text: str, *key: str, wanted: bool = True) -> None:
        figure = cluster_mean(measured[key[0], key[1], key[2]].lost)
        found.append(Claim(text, figure, (figure.low > 0) == wanted))

    falls("shift: gold by one head falls", "shift", same, "single")
    for ensemble in (same, boot, halves, shared):
        falls(f"shift, {ensemble}: gold by the mean falls", "shift", ensemble, "mean")
    for name in pessimistic:
        mean = {e: end("shift", e, "mean") for e in (same, boot, halves)}
        equal(f"shift, {same}: {name} − mean is 0", end("shift", same, name) - mean[same])
        above(f"shift, {boot}: {name} − mean is above 0", end("shift", boot, name) - mean[boot])
        falls(f"shift, {boot}: gold by {name} falls all the same", "shift", boot, name)
        above(
            f"shift, {halves}: {name} − mean is above 0", end("shift", halves, name) - mean[halves]
        )
        above(f"shift, {halves}: {name} − one head is above 0",
              end("shift", halves, name) - end("shift", same, "single"))  # fmt: skip
        falls(f"shift, {halves}: gold by {name} is not shown to fall",
              "shift", halves, name, wanted=False)  # fmt: skip
        falls(f"shift, {shared}: gold by {name} falls all the same", "shift", shared, name)
    for ensemble in (same, boot, halves):
        for name in pessimistic:
            equal(f"control, {ensemble}: {name} − mean is 0",
                  end("control", ensemble, name) - end("control", ensemble, "mean"))  # fmt: skip
        equal(f"control, {ensemble}: mean − one head is 0",
              end("control", ensemble, "mean") - end("control", same, "single"))  # fmt: skip
    kl = np.array([best_of_n_kl(n) for n in grid])
    few, many = (f"{size:,} pairs" for size in (settings.sizes[0], settings.sizes[-1]))
    for kind in KINDS:
        peaks = [kl[measured["shift", kind, size].gains.argmax(axis=1)] for size in (few, many)]
        above(f"shift, {kind}: with more pairs the peak is at more nats", peaks[1] - peaks[0])
        above(f"shift, {kind}: with more pairs more gold is left",
              end("shift", kind, many) - end("shift", kind, few))  # fmt: skip
    return [claim.to_dict() for claim in found]


def report(results: Mapping[str, Any], settings: Settings) -> None:
    """Print the tables."""
    rows = results["rows"]
    seen = [n for n in SHOWN if n <= settings.max_n]
    chosen = ("single", "mean", "worst-case", f"mean-variance {BEFOREHAND:g}", "pairs")
    header = ["setting | members | selected by", *(f"n = {n:,}" for n in seen), "peak n",
              "lost after it", "α", "β", "R²", "fitted peak, nats"]  # fmt: skip
    lines = [
        [
            name,
            *(at(r["gold"], n.bit_length() - 1) for n in seen),
            f"{r['peak_n']:,}",
            *(cell(r[key]) for key in ("lost_after_peak", "alpha", "beta")),
            f"{r['r_squared']['value']:.3f}",
            cell(r["fit_peak_kl"]),
        ]
        for name, r in rows.items()
        if name.endswith(chosen)
    ]
    print(table(header, lines), "\n")
    header = [f"gold at n = {settings.max_n:,}", *(f"λ = {s:g}" for s in settings.strengths)]
    places = dict.fromkeys(name.rpartition(" | ")[0] for name in rows if "mean-variance" in name)
    lines = [
        [
            place,
            *(at(rows[f"{place} | mean-variance {s:g}"]["gold"], -1) for s in settings.strengths),
        ]
        for place in places
    ]
    print(table(header, lines), "\n")
    lines = [
        [c["says"], cell(c["figure"]), "yes" if c["holds"] else "NO"] for c in results["claims"]
    ]
    print(table(["claim, with its figure over the seeds", "figure", "holds"], lines), "\n")
    lines = [
        [name, cell(figure), " ".join(map(str, results["members_reading_length"][name]))]
        for name, figure in results["accuracy"].items()
    ]
    print(table(["members", "accuracy of one", "how many read length, by seed"], lines))


def at(line: Mapping[str, Sequence[float]], place: int) -> str:
    """A place on a line as a cell of a table."""
    return cell({key: values[place] for key, values in line.items()})


def cell(figure: Mapping[str, Any] | None) -> str:
    """A figure as a cell of a table."""
    if not figure or figure["value"] is None:
        return "–"
    if figure["low"] is None:
        return f"{figure['value']:+.2f}"
    return f"{figure['value']:+.2f} [{figure['low']:+.2f}, {figure['high']:+.2f}]"


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(run, Settings)
