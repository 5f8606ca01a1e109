"""Over-optimisation in RL: what becomes of gold as a policy moves away from its reference.

Pure functions of what runs logged; knows nothing of files.

Letters: R runs · T steps · K parts of the range of √KL.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.evaluation.best_of_n import Floats, Line
from assay.evaluation.gold_fit import (
    BINS,
    D_MIN,
    FEWEST_RUNS,
    Over,
    PolicyGoldFit,
    policy_gold_fit,
)
from assay.evaluation.policy_runs import LINES, WATCHED, PolicyRun
from assay.evaluation.policy_values import (
    Gains,
    even,
    gains_of,
    height,
    last,
    mean_of,
    ratio_of,
    weigh,
)
from assay.types import Figure

SHORTEST = 0.05
"""√KL that a setting must reach: below, nothing was optimised."""
LAST = 10
"""The end of a run is its last tenth of steps, five at least."""
BEFORE_ALARM = 10
"""Steps up to the alarm that gold then is averaged over."""


@dataclass(frozen=True)
class AlarmSummary:
    """The monitor's alarms in the runs of a setting."""

    steps: tuple[int | None, ...]
    """Of each run; None without an alarm."""
    names: tuple[str, ...]
    d: float
    """√KL at the alarms, a mean."""
    gold: Figure
    """At the alarms, a mean over the ten steps up to each."""
    kept: Figure
    """Of what the same runs had at the peak."""

    @property
    def count(self) -> int:
        """Runs with an alarm."""
        return sum(step is not None for step in self.steps)

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "steps": list(self.steps),
            "names": list(self.names),
            "sqrt_kl": self.d,
            "gold": self.gold.to_dict(),
            "kept": self.kept.to_dict(),
        }


@dataclass(frozen=True)
class PolicyCurve:
    """Gold, proxy and what is watched along √KL, over the runs of one setting.

    ``measure`` says what stands for gold: gold, or the audit. ``lines`` are means over runs in
    equal parts of the range of √KL, with bands; gold, proxy and audit are gains over the reference
    policy in deviations of its prompts' means. ``loss`` is the peak less the end, the peak chosen
    by other runs (or, of one or two runs, by other steps): above 0 with its interval gold falls.
    ``proxy_after`` is what the proxy gains between the two. ``retention`` is the end by the peak,
    ``area`` the integral of gold over √KL from 0 to ``reach``, which every run came to.
    """

    setting: str
    measure: str
    over: Over
    d: tuple[float, ...]
    runs_in: tuple[int, ...]
    """Runs in each part."""
    lines: Mapping[str, Line]
    peak: int
    end_d: float
    end: Figure
    loss: Figure
    proxy_after: Figure
    retention: Figure
    area: Figure
    reach: float
    fit: PolicyGoldFit | None
    alarms: AlarmSummary | None
    runs: tuple[PolicyRun, ...]
    left_out: int
    """Steps in parts of the range that too few runs came to."""
    gains: tuple[Gains, ...] = field(repr=False, default=())
    """Of the measure, run by run, to compare settings."""

    @property
    def falls(self) -> bool:
        """Whether gold is shown to fall after its peak."""
        return self.loss.low > 0

    def at(self, place: int, line: str | None = None) -> Figure:
        """A line in one part of the range; the measure's unless said otherwise."""
        found = self.lines[line or self.measure]
        return Figure(found.value[place], found.low[place], found.high[place], self.runs_in[place])

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "runs": [
                {"seed": r.seed, "steps": len(r.step), "last_sqrt_kl": float(r.d[-1])}
                for r in self.runs
            ],
            "over": self.over,
            "sqrt_kl": list(self.d),
            "kl": [d**2 for d in self.d],
            "runs_in": list(self.runs_in),
            "steps_left_out": self.left_out,
            "lines": {name: line.to_dict() for name, line in self.lines.items()},
            "peak": {
                "sqrt_kl": self.d[self.peak],
                "kl": self.d[self.peak] ** 2,
                "gold": self.at(self.peak).to_dict(),
            },
            "end": {"sqrt_kl": self.end_d, **self.end.to_dict()},
            "loss": self.loss.to_dict(),
            "proxy_after_peak": self.proxy_after.to_dict(),
            "retention": self.retention.to_dict(),
            "area": {"up_to_sqrt_kl": self.reach, **self.area.to_dict()},
            "falls": self.falls,
            "fit": self.fit.to_dict() if self.fit else None,
            "alarms": self.alarms.to_dict() if self.alarms else None,
        }


@dataclass(frozen=True)
class _Placed:
    """A run with its gains, and the part of the range of √KL that each step lies in."""

    run: PolicyRun
    gains: Mapping[str, Gains]
    place: NDArray[np.intp]  # (T,)

    def inside(self, line: str, part: int) -> NDArray[np.bool_]:
        """The steps in a part that have a figure of the line."""
        found: NDArray[np.bool_] = self.gains[line].known & (self.place == part)
        return found


def policy_curve(
    runs: Sequence[PolicyRun], measure: str, scales: Mapping[str, float], d_min: float = D_MIN
) -> PolicyCurve:
    """The curve of one setting.

    Args:
        measure: gold or audit; every run has it, and the proxy.
        scales: What one unit of each line is, in its own units; others stay as they are.

    Raises:
        DataError: If no run has left its reference, or runs have no part of the range in common.
    """
    farthest = max(float(run.d.max()) for run in runs)
    if farthest < SHORTEST:
        raise DataError(
            f"The policies of setting {runs[0].setting!r} stayed within √KL = {farthest:.3g} of "
            f"their reference; a curve wants {SHORTEST:g} or more. Train longer, or with a higher "
            "learning rate."
        )
    placed = _place(runs, scales, farthest)
    parts = _common_parts(placed, farthest)
    mine = [p.gains[measure] for p in placed]
    peaks, ends = _peak_weights(placed, measure, parts), [end_weights(g) for g in mine]
    lines, runs_in = _lines(placed, parts)
    reach = min(float(run.d[g.known].max()) for run, g in zip(runs, mine, strict=True))
    areas = [reach * height_weights(run, g, reach) for run, g in zip(runs, mine, strict=True)]
    lost = [p - e for p, e in zip(peaks, ends, strict=True)]
    return PolicyCurve(
        setting=runs[0].setting,
        measure=measure,
        over="runs" if len(runs) >= FEWEST_RUNS else "steps",
        d=tuple(_mean_d(placed, measure, part) for part in parts),
        runs_in=runs_in,
        lines=lines,
        peak=int(np.argmax(lines[measure].value)),
        end_d=float(np.mean([np.sum(run.d * w) for run, w in zip(runs, ends, strict=True)])),
        end=_figure(mine, ends),
        loss=_figure(mine, lost),
        proxy_after=_proxy_after([p.gains["proxy"] for p in placed], peaks, ends),
        retention=ratio_of(mine, ends, peaks),
        area=_figure(mine, areas),
        reach=reach,
        fit=policy_gold_fit(
            [run.d[g.known] for run, g in zip(runs, mine, strict=True)],
            [g.value[g.known] for g in mine],
            [g.reference_error for g in mine],
            d_min,
        ),
        alarms=_alarms(runs, mine, peaks),
        runs=tuple(runs),
        left_out=sum(
            int((p.gains[measure].known & ~np.isin(p.place, parts)).sum()) for p in placed
        ),
        gains=tuple(mine),
    )


def end_weights(gains: Gains) -> Floats:
    """Weights of the end of a run, ``(T,)``."""
    return last(gains.known, max(5, int(gains.known.sum()) // LAST))


def height_weights(run: PolicyRun, gains: Gains, reach: float) -> Floats:
    """Weights of a run's mean gain up to a √KL, ``(T,)``."""
    return height(run.d, gains.known, reach, BINS)


def _figure(gains: Sequence[Gains], weights: Sequence[Floats]) -> Figure:
    return mean_of([weigh(g, w) for g, w in zip(gains, weights, strict=True)]).figure()


def _place(
    runs: Sequence[PolicyRun], scales: Mapping[str, float], farthest: float
) -> list[_Placed]:
    """Every run with the lines that all have; what is watched stays as it is."""
    names = [n for n in (*LINES, *WATCHED) if all(n in run.lines for run in runs)]
    return [
        _Placed(
            run,
            {
                n: gains_of(
                    run.lines[n], run.reference[n] if n in LINES else None, scales.get(n, 1.0)
                )
                for n in names
            },
            np.minimum((run.d / (farthest / BINS)).astype(np.intp), BINS - 1),
        )
        for run in runs
    ]


def _common_parts(placed: Sequence[_Placed], farthest: float) -> list[int]:
    """Parts where every line has figures of half the runs, and of three or all."""
    enough = min(len(placed), max(FEWEST_RUNS, (len(placed) + 1) // 2))
    found = [
        part
        for part in range(BINS)
        if all(
            sum(bool(p.inside(line, part).any()) for p in placed) >= enough
            for line in placed[0].gains
        )
    ]
    alone = [p.run for p in placed if not np.isin(p.place, found).any()]
    if not found or alone:
        raise DataError(
            f"The runs of setting {placed[0].run.setting!r} share no part of the range of √KL up "
            f"to {farthest:.3g}; give them settings of their own, NAME=DIR."
        )
    return found


def _lines(
    placed: Sequence[_Placed], parts: Sequence[int]
) -> tuple[dict[str, Line], tuple[int, ...]]:
    """Means over runs in each part with their bands, and how many runs are in each, at least."""
    lines: dict[str, Line] = {}
    counts = [len(placed)] * len(parts)
    for name in placed[0].gains:
        figures = []
        for i, part in enumerate(parts):
            chosen = [(p.gains[name], p.inside(name, part)) for p in placed]
            values = [weigh(gains, even(inside)) for gains, inside in chosen if inside.any()]
            figures.append(mean_of(values).figure())
            counts[i] = min(counts[i], len(values))
        lines[name] = Line(
            tuple(f.value for f in figures),
            tuple(f.low for f in figures),
            tuple(f.high for f in figures),
        )
    return lines, tuple(counts)


def _mean_d(placed: Sequence[_Placed], measure: str, part: int) -> float:
    chosen = [(p.run.d, p.inside(measure, part)) for p in placed]
    return float(np.mean([d[inside].mean() for d, inside in chosen if inside.any()]))


def _peak_weights(placed: Sequence[_Placed], measure: str, parts: Sequence[int]) -> list[Floats]:
    """Weights of each run's gold at a peak that it did not choose by the same steps.

    The highest of many noisy means is too high, and what follows it then seems to fall. So the part
    of the range is where the mean of the other runs is highest; of one or two runs, every other
    step is weighed where the steps between are highest.
    """
    if len(placed) < FEWEST_RUNS:
        return [_peak_by_halves(p, measure, parts) for p in placed]
    table = np.array([[_mean_in(p, measure, part) for part in parts] for p in placed])  # (R, K)
    found = []
    for i, p in enumerate(placed):
        own = np.flatnonzero(~np.isnan(table[i]))
        # every part has three runs or all, so there are others wherever this one is
        others = np.nanmean(np.delete(table, i, axis=0)[:, own], axis=0)
        found.append(even(p.inside(measure, parts[own[int(others.argmax())]])))
    return found


def _mean_in(p: _Placed, measure: str, part: int) -> float:
    """A run's mean in a part, NaN where it has no step there."""
    inside = p.inside(measure, part)
    return float(p.gains[measure].value[inside].mean()) if inside.any() else float("nan")


def _peak_by_halves(p: _Placed, measure: str, parts: Sequence[int]) -> Floats:
    """Half the weight on even steps where odd ones are highest, half the other way round."""
    value, odd = p.gains[measure].value, np.arange(len(p.place)) % 2 == 1
    insides = [p.inside(measure, part) for part in parts]
    weights = np.zeros(len(value))
    for chooses in (odd, ~odd):
        means = [value[_part_of(inside, chooses)].mean() for inside in insides]
        weights += even(_part_of(insides[int(np.argmax(means))], ~chooses)) / 2
    return weights


def _part_of(inside: NDArray[np.bool_], half: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The steps of a half, or all where it has none of them."""
    both = inside & half
    return both if both.any() else inside


def _proxy_after(proxy: Sequence[Gains], peaks: Sequence[Floats], ends: Sequence[Floats]) -> Figure:
    """What the proxy gains from gold's peak to the end, over the steps that have it."""
    values = []
    for gains, peak, end in zip(proxy, peaks, ends, strict=True):
        then, now = (peak != 0) & gains.known, (end != 0) & gains.known
        if then.any() and now.any():
            values.append(weigh(gains, even(now) - even(then)))
    return mean_of(values).figure()


def _alarms(
    runs: Sequence[PolicyRun], gains: Sequence[Gains], peaks: Sequence[Floats]
) -> AlarmSummary | None:
    """None where no run has an alarm."""
    rows = []
    for run, g, peak in zip(runs, gains, peaks, strict=True):
        if run.alarm is not None and (before := g.known & (run.step <= run.alarm)).any():
            rows.append((run, g, last(before, BEFORE_ALARM), peak))
    if not rows:
        return None
    alarmed, mine, weights, at_peak = zip(*rows, strict=True)
    return AlarmSummary(
        steps=tuple(run.alarm for run in runs),
        names=tuple(dict.fromkeys(name for run in alarmed for name in run.alarms)),
        d=float(np.mean([run.d[run.step == run.alarm][0] for run in alarmed])),
        gold=_figure(mine, weights),
        kept=ratio_of(mine, weights, at_peak),
    )
