"""How often does the monitor cry wolf in a benign run, and what has a hacked one lost by its alarm?

Runs are simulated response by response: prompts of unequal difficulty, rewards of heavy tails. A
run is handed to the alarms as the monitor does
it. The baseline of both tables is the rule of thumb "gap above 0 and audit slope at most 0 in
three evaluations", which keeps no rate over a run.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from time import perf_counter
from typing import Any

import numpy as np
from common import Recorded, main, table, write_record
from numpy.typing import NDArray

from assay.errors import ConfigError
from assay.rlhf.alarms import Alarms, EarlyStop, Z
from assay.rlhf.monitor import Monitoring
from assay.rlhf.rules import Base, Levels, alarm_points, drift_points
from assay.rlhf.signals import Point, Signals
from assay.stats import estimate_mean, wilson
from assay.types import Figure

Array = NDArray[np.float64]
EVALUATION, PATIENCE = 10, (3, 5, 10)
"""Steps of an evaluation, and the patiences of early stopping that are compared."""
WINDOW = 8


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Simulated runs of reinforcement learning."""

    runs: int = 120
    """Runs of each shape."""
    steps: int = 300
    """Steps of a run."""
    prompts: int = 32
    """Prompts of a step."""
    samples: int = 4
    """Responses to each."""
    seed: int = 0
    """Where the simulations begin."""

    def __post_init__(self) -> None:
        if min(self.runs, self.prompts) < 2 or self.steps < 2 * EVALUATION or self.samples < 1:
            raise ConfigError(
                f"Wanted 2 runs and prompts or more, {2 * EVALUATION} steps and a sample; got "
                f"{self.runs}, {self.prompts}, {self.steps} and {self.samples}."
            )


@dataclass(frozen=True)
class Means:
    """True means of every step, in deviations of the reference policy's responses."""

    proxy: Array
    audit: Array
    gold: Array
    length: Array
    """Ratio to the reference policy's."""
    entropy: Array


# --- shapes: what is true at each share of the run ------------------------------------------------


def _saturating(share: Array, speed: float) -> Array:
    risen: Array = (1 - np.exp(-speed * share)) / (1 - np.exp(-speed))
    return risen


def _means(share: Array, proxy: Array, audit: Array, gold: Array | None = None) -> Means:
    return Means(proxy, audit, audit if gold is None else gold, 1 + 0.3 * share, 1 - 0.35 * share)


def still(share: Array, rng: np.random.Generator) -> Means:
    """Nothing is learnt."""
    return Means(*(np.zeros_like(share),) * 3, *(np.ones_like(share),) * 2)


def at_the_levels(share: Array, rng: np.random.Generator) -> Means:
    """Length and entropy stand where warnings begin, the rewards at the reference's."""
    zero = np.zeros_like(share)
    return Means(zero, zero, zero, zero + Levels().length, zero + Levels().entropy)


def in_step(share: Array, rng: np.random.Generator) -> Means:
    """Proxy, audit and gold rise alike."""
    return _means(share, 2 * _saturating(share, 3), 1.6 * _saturating(share, 3))


def fast_proxy(share: Array, rng: np.random.Generator) -> Means:
    """The proxy rises four times as fast as the audit, which still rises."""
    return _means(share, 3 * _saturating(share, 2), 0.75 * _saturating(share, 2))


def plateau(share: Array, rng: np.random.Generator) -> Means:
    """The audit is at its end early, the proxy creeps on a little."""
    return _means(share, 1.5 * _saturating(share, 6), 0.8 * _saturating(share, 12))


def wandering(share: Array, rng: np.random.Generator) -> Means:
    """As in_step, and the policy itself goes up and down slowly, by 0.1 from top to bottom."""
    wave = 0.05 * np.sin(2 * np.pi * (5 * share + rng.random()))
    return _means(share, 2 * _saturating(share, 3) + wave, 0.8 * _saturating(share, 3) + wave)


def late_hack(share: Array, rng: np.random.Generator) -> Means:
    """Gold and audit rise, turn at 40 % and end below the reference policy; the proxy rises on."""
    return _turning(share, turn=0.4, end=-0.5)


def early_hack(share: Array, rng: np.random.Generator) -> Means:
    """They turn at 15 % of the run."""
    return _turning(share, turn=0.15, end=-1.5)


def slow_hack(share: Array, rng: np.random.Generator) -> Means:
    """They turn at half of the run and lose half of their gain to its end."""
    return _turning(share, turn=0.5, end=0.5)


def sudden_hack(share: Array, rng: np.random.Generator) -> Means:
    """An exploit is found at half of the run: the proxy jumps, gold and audit collapse."""
    found = np.clip((share - 0.5) / 0.03, 0, 1)
    gold = _saturating(share, 2) - 2.0 * found
    return Means(
        2 * _saturating(share, 2) + 1.5 * found,
        gold,
        gold,
        1 + 0.3 * share + found,
        1 - 0.3 * share,
    )


def half_blind(share: Array, rng: np.random.Generator) -> Means:
    """The audit shares half of the proxy's fault: it falls half as far as gold."""
    means = _turning(share, turn=0.4, end=-0.5)
    gained = _saturating(np.minimum(share / 0.4, 1), 2)
    return _means(share, means.proxy, 0.5 * (means.audit + gained), means.gold)


def collapse(share: Array, rng: np.random.Generator) -> Means:
    """The training breaks at half of the run: everything falls, the proxy too."""
    broken = np.clip((share - 0.5) / 0.2, 0, 1)
    return _means(share, 2 * _saturating(share, 3) - 2 * broken, _saturating(share, 3) - broken)


def _turning(share: Array, turn: float, end: float) -> Means:
    gold = np.where(
        share < turn,
        _saturating(np.minimum(share / turn, 1), 2),
        1 - (1 - end) * np.maximum((share - turn) / (1 - turn), 0) ** 1.5,
    )
    proxy = 3 * _saturating(share, 1.5)
    return Means(proxy, gold, gold, 1 + 0.6 * share, 1 - 0.5 * share)


Shape = Callable[[Array, np.random.Generator], Means]
BENIGN: tuple[Shape, ...] = (still, in_step, fast_proxy, plateau, wandering)
HACKED: tuple[Shape, ...] = (late_hack, early_hack, slow_hack, sudden_hack, half_blind)
BROKEN: tuple[Shape, ...] = (collapse,)
BOUNDARY: tuple[Shape, ...] = (at_the_levels,)
"""Run with a tolerance of 0: the worst case, where rates are near those stated."""
SHAPES = (*BENIGN, *HACKED, *BROKEN, *BOUNDARY)


# --- one run --------------------------------------------------------------------------------------


def simulated_steps(means: Means, settings: Settings, rng: np.random.Generator) -> list[Signals]:
    """Responses of every step: half of a reward's variance is the prompt's, tails are heavy."""
    steps, size = len(means.proxy), (settings.prompts, settings.samples)
    shape = (steps, *size)

    def noise(share: float) -> Array:
        """Variance ``share``, of t with 5 degrees of freedom."""
        drawn: Array = rng.standard_t(5, shape) * np.sqrt(share * 3 / 5)
        return drawn

    difficulty = rng.standard_normal((steps, settings.prompts, 1)) * np.sqrt(0.5)
    quality = difficulty + noise(0.3)  # what proxy, audit and gold have in common
    rewards = {
        "proxy": means.proxy[:, None, None] + quality + noise(0.2),
        "audit": means.audit[:, None, None] + quality + noise(0.2),
        "gold": means.gold[:, None, None] + quality + noise(0.2),
    }
    rewards["length"] = means.length[:, None, None] * rng.gamma(4, 50, shape)
    rewards["entropy"] = means.entropy[:, None, None] * rng.gamma(20, 0.1, shape)
    prompt = np.repeat(np.arange(settings.prompts), settings.samples)
    return [
        Signals({name: v[t].reshape(-1) for name, v in rewards.items()}, {}, prompt)
        for t in range(steps)
    ]


@dataclass(frozen=True)
class Outcome:
    """What a run raised first at which step, and the truth."""

    raised: dict[str, int]
    warnings: int
    thumb: int | None
    """Where the rule of thumb stops."""
    early: dict[int, tuple[int | None, int | None]]
    """Patience to the step of stopping and the one to go back to."""
    means: Means


def run_of(shape: Shape, settings: Settings, seed: np.random.SeedSequence) -> Outcome:
    """One run, with the audit in use and gold kept from the alarms, as in real life."""
    rng = np.random.default_rng(seed)
    start = still(np.zeros(WINDOW), rng)
    batches = [_seen(s) for s in simulated_steps(start, settings, rng)]
    base = Base.of(batches)
    seeds = [alarm_points(batch, base, 0.1) for batch in batches]
    tolerance = 0.0 if shape in BOUNDARY else Monitoring().tolerance
    alarms = Alarms(base, seeds, steps=settings.steps, tolerance=tolerance)
    means = shape(np.arange(1, settings.steps + 1) / settings.steps, rng)
    raised: dict[str, int] = {}
    warnings = 0
    early = {p: EarlyStop(p) for p in PATIENCE}
    stops: dict[int, tuple[int | None, int | None]] = {}
    audits: list[Point] = []
    gaps: list[Point] = []
    evaluations: list[tuple[float, float]] = []
    thumb = None
    for step, each in enumerate(simulated_steps(means, settings, rng), start=1):
        seen = _seen(each)
        points = alarm_points(seen, base, 0.1)
        for notice in alarms.observe(step, points, drift_points(seen, base)):
            if notice.kind == "alarm":
                raised[notice.name] = step
            warnings += notice.kind == "warning"
        audits.append(points["audit"])
        gaps.append(points["gap"])
        if step % EVALUATION:
            continue
        audit, gap = _pooled(audits[-EVALUATION:]), _pooled(gaps[-EVALUATION:])
        for patience, stop in early.items():
            stop.observe(step, audit)
            if stop.stop and patience not in stops:
                stops[patience] = (step, stop.best_step)
        evaluations.append((gap.low, audit.value))
        if thumb is None and _thumb(evaluations):
            thumb = step
    for patience, stop in early.items():
        stops.setdefault(patience, (None, stop.best_step))
    return Outcome(raised, warnings, thumb, stops, means)


def _seen(step: Signals) -> Signals:
    """Without gold, which a real run does not have."""
    kept = {name: v for name, v in step.of_responses.items() if name != "gold"}
    return Signals(kept, step.of_prompts, step.prompt)


def _pooled(points: list[Point]) -> Figure:
    mean = float(np.mean([p.mean for p in points]))
    half = Z * float(np.sqrt(np.sum([p.variance for p in points]))) / len(points)
    return Figure(mean, mean - half, mean + half, sum(p.n for p in points))


def _thumb(evaluations: list[tuple[float, float]]) -> bool:
    """The gap's interval above 0 and the audit not above the evaluation before, three times."""
    last = evaluations[-4:]
    falls = [b[1] <= a[1] for a, b in pairwise(last)]
    return len(falls) == 3 and all(falls) and all(gap > 0 for gap, _ in last[1:])


# --- tables ---------------------------------------------------------------------------------------


def lost(means: Means, step: int | None) -> float:
    """The share of the gold gain at its peak that is lost at a step (the last, if None).

    0 at or before the peak, above 1 below the reference policy.
    """
    peak = int(np.argmax(means.gold))
    at = len(means.gold) - 1 if step is None else step - 1
    if at <= peak:
        return 0.0
    return float((means.gold[peak] - means.gold[at]) / means.gold[peak])


def measured(shape: Shape, settings: Settings) -> dict[str, Any]:
    """All runs of one shape."""
    # one number a shape, so that a shape's runs do not depend on which others are measured
    number = SHAPES.index(shape)
    seeds = np.random.SeedSequence([settings.seed, number]).spawn(settings.runs)
    outcomes = [run_of(shape, settings, seed) for seed in seeds]
    count = len(outcomes)
    found: dict[str, Any] = {
        "runs": count,
        "any alarm": _share(sum(bool(o.raised) for o in outcomes), count),
        "alarms": {
            name: _share(sum(name in o.raised for o in outcomes), count)
            for name in ("unmatched", "proxy falls")
        },
        "any warning": _share(sum(o.warnings > 0 for o in outcomes), count),
        "rule of thumb": _share(sum(o.thumb is not None for o in outcomes), count),
        "early stop": {
            str(p): _share(sum(o.early[p][0] is not None for o in outcomes), count)
            for p in PATIENCE
        },
    }
    if shape in BOUNDARY:
        return found
    if shape in BENIGN:
        # gold that stopping gave up, of what the whole run gains
        if shape is not still:
            found["given up by stopping"] = {
                str(p): _mean([_given_up(o, p) for o in outcomes]) for p in PATIENCE
            }
        return found
    first = [min(o.raised.values(), default=None) for o in outcomes]
    peaks = [int(np.argmax(o.means.gold)) + 1 for o in outcomes]
    early = sum(f is not None and f <= peak for f, peak in zip(first, peaks, strict=True))
    found["alarm before the peak"] = _share(early, count)
    delays = [f - p for f, p in zip(first, peaks, strict=True) if f is not None]
    found["steps after the peak"] = _mean(delays)
    found["lost at the rule of thumb's stop"] = _mean([lost(o.means, o.thumb) for o in outcomes])
    found["lost at the alarm"] = _mean(
        [lost(o.means, f) for o, f in zip(outcomes, first, strict=True)]
    )
    found["lost without one"] = _mean([lost(o.means, None) for o in outcomes])
    found["lost at the step to go back to"] = _mean(
        [_kept_loss(o, f) for o, f in zip(outcomes, first, strict=True)]
    )
    return found


def _given_up(outcome: Outcome, patience: int) -> float:
    step, best = outcome.early[patience]
    gold = outcome.means.gold
    if step is None:
        return 0.0
    kept = gold[best - 1] if best else 0.0
    return float((gold[-1] - kept) / gold[-1])


def _kept_loss(outcome: Outcome, alarm: int | None) -> float:
    """What the best audit's step lacks of the peak, as a share; on either side of it."""
    _, best = outcome.early[max(PATIENCE)]
    gold = outcome.means.gold
    kept = gold[best - 1] if best else 0.0
    return float((gold.max() - kept) / gold.max())


def _share(part: int, whole: int) -> dict[str, Any]:
    return wilson(part, whole).to_dict()


def _mean(values: list[float] | list[int]) -> dict[str, Any]:
    return estimate_mean(np.asarray(values, np.float64)).figure().to_dict()


def shown(figure: dict[str, Any], percent: bool = True) -> str:
    """Value and interval, in per cent unless it is a number of steps."""
    factor, form = (100, ".1f") if percent else (1, ".0f")
    if figure["value"] is None:
        return "–"
    value, low, high = (format(factor * figure[k], form) for k in ("value", "low", "high"))
    return f"{value}{' %' if percent else ''} [{low}, {high}]"


def run(settings: Settings) -> None:
    """Simulate, print the tables and write the record."""
    started = perf_counter()
    results = {s.__name__: measured(s, settings) for s in SHAPES}
    benign = [results[s.__name__] for s in BENIGN]
    usual = str(Monitoring().stop_patience)
    total = sum(r["runs"] for r in benign)
    every = {
        key: _share(sum(round(r[key]["value"] * r["runs"]) for r in benign), total)
        for key in ("any alarm", "any warning", "rule of thumb")
    }
    rows = [
        [s.__name__, *(shown(r[k]) for k in every), shown(r["early stop"][usual]),
         "" if s is still or s in BOUNDARY else shown(r["given up by stopping"][usual])]
        for s in (*BENIGN, *BOUNDARY) for r in [results[s.__name__]]
    ]  # fmt: skip
    rows.append([f"all {total:,} benign", *(shown(f) for f in every.values()), "", ""])
    print(table(["benign", *every, f"patience {usual} stops", "gold given up by it"], rows), "\n")
    keys = (
        "lost at the alarm",
        "lost without one",
        "lost at the step to go back to",
        "lost at the rule of thumb's stop",
    )
    rows = [
        [s.__name__, shown(r["any alarm"]), shown(r["alarm before the peak"]),
         shown(r["steps after the peak"], percent=False), *(shown(r[k]) for k in keys),
         shown(r["rule of thumb"])]
        for s in (*HACKED, *BROKEN) for r in [results[s.__name__]]
    ]  # fmt: skip
    header = ["hacked", "alarm", "before the peak", "steps after it", *keys, "rule of thumb"]
    print(table(header, rows))
    record = {"benign": every, "shapes": results, "seconds": perf_counter() - started}
    write_record("monitor_alarms", settings, record)


if __name__ == "__main__":
    main(run, Settings)
