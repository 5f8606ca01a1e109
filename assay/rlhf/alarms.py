"""Alarms and warnings over a whole run, and when to stop.

An *alarm* says that what is really wanted falls. A *warning* says that the policy has drifted from
its reference, as it does when it learns, to where it is worth a look. Each of the two families
keeps its own rate of false ones over a whole run: p-values of :mod:`assay.rlhf.sequential`,
adjusted for the number of the family by Holm 1979. They only fall, so what Holm rejects once stays
rejected, and the last step's rate is the whole run's.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from assay.rlhf.rules import Base, Levels, Rule, rules
from assay.rlhf.sequential import (
    Drop,
    DropTest,
    ShiftTest,
    Window,
    drop_null,
    p_value,
    shift_null,
    window_sizes,
)
from assay.rlhf.signals import Point
from assay.stats.arrays import Floats
from assay.stats.comparison import holm
from assay.types import Figure

Z = 1.959964
"""Standard errors of a 95 % interval."""
Kind = Literal["alarm", "warning", "note"]
UNITS = "standard deviations of the reference policy's responses"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is newly to be said at a step, in plain words, and what to do."""

    kind: Kind
    name: str
    step: int
    text: str
    advice: str = ""
    p: float = math.nan
    """Adjusted for the family; of a note there is none."""
    go_back: int | None = None
    """The last step of the best window before an alarm."""


@dataclass(frozen=True, slots=True)
class _Alarm:
    series: str
    beside: str | None
    needs: str


ALARMS = {
    "unmatched": _Alarm("matched", "gap", "audit"),
    "gold falls": _Alarm("gold", None, "gold"),
    "proxy falls": _Alarm("proxy", None, "proxy"),
}
"""Name of an alarm to the series that must not fall; see docs/monitor.md."""


class Alarms:
    """All alarms and warnings of one run.

    Args:
        base: The reference policy's steps.
        seeds: Their means (:func:`assay.rlhf.rules.alarm_points`), the first steps of every series
            that must not fall.
        steps: Steps of the whole run: the false-alarm rates are those of a run of this length.
        rate: Of a false alarm in the run, all alarms together.
        warning_rate: Likewise of the warnings.
        tolerance: By how many deviations of the reference's responses a series may fall freely.
        shortest: Steps in a row that a finding rests on, at least.
    """

    def __init__(
        self,
        base: Base,
        seeds: Sequence[Mapping[str, Point]],
        levels: Levels | None = None,
        *,
        steps: int,
        rate: float = 0.05,
        warning_rate: float = 0.05,
        tolerance: float = 0.1,
        match: float = 0.1,
        shortest: int = 3,
    ):
        self.base, self.rate, self.warning_rate, self.match = base, rate, warning_rate, match
        self.tolerance = tolerance
        freedom = base.prompts - 1
        self._steps = (steps + base.steps, steps)
        self._freedom = freedom
        self._sizes = window_sizes(shortest, steps, freedom)
        self.drops = {
            name: DropTest(self._sizes, self._steps[0], tolerance)
            for name, alarm in ALARMS.items()
            if alarm.needs in base.summaries
        }
        self.rules: dict[str, Rule] = {r.name: r for r in rules(base, levels or Levels())}
        self.shifts = {
            name: ShiftTest(self._sizes, steps, rule.level, rule.variance, rule.is_above)
            for name, rule in self.rules.items()
        }
        self.p: dict[str, float] = dict.fromkeys([*self.drops, *self.shifts], 1.0)
        self.raised: dict[str, int] = {}
        for seed in seeds:
            for name, test in self.drops.items():
                self._fall(name, test, 0, seed)

    @property
    def untested(self) -> list[str]:
        """Alarms that the baseline has no figures for."""
        return [name for name in ALARMS if name not in self.drops]

    def observe(
        self, step: int, of_alarms: Mapping[str, Point], of_drift: Mapping[str, Point]
    ) -> list[Notice]:
        """What a step raises for the first time, alarms first.

        Args:
            of_alarms: Means as :func:`assay.rlhf.rules.alarm_points` gives them.
            of_drift: Means as :func:`assay.rlhf.rules.drift_points` gives them.
        """
        falls = {}
        for name, test in self.drops.items():
            drop = self._fall(name, test, step, of_alarms)
            if drop is not None and self._lower(name, drop.statistic, self._drop_null(), self.rate):
                falls[name] = drop
        shifted: dict[str, tuple[int, Window]] = {}
        for name, shift in self.shifts.items():
            point = of_drift.get(self.rules[name].signal)
            if point is not None and (found := shift.add(step, point)):
                statistic, size, window = max(found, key=lambda row: row[0])
                if self._lower(name, statistic, self._shift_null(), self.warning_rate):
                    shifted[name] = (size, window)
        alarms = [
            self._alarm(name, step, falls[name], p)
            for name, p in self._rejected(self.drops, self.rate)
            if name in falls
        ]
        warnings = [
            self._warning(name, step, *shifted[name], p)
            for name, p in self._rejected(self.shifts, self.warning_rate)
            if name in shifted
        ]
        for notice in (*alarms, *warnings):
            self.raised[notice.name] = step
        return [*alarms, *warnings]

    def _fall(
        self, name: str, test: DropTest, step: int, points: Mapping[str, Point]
    ) -> Drop | None:
        """The largest drop that an alarm counts, or None."""
        alarm = ALARMS[name]
        point = points.get(alarm.series)
        if point is None:
            return None
        drops = test.add(step, point, points.get(alarm.beside) if alarm.beside else None)
        counted = [d for d in drops if not alarm.beside or self._parted(d)]
        return max(counted, key=lambda d: d.statistic, default=None)

    def _parted(self, drop: Drop) -> bool:
        """Whether the gap's interval is above 0, and above the gap of the best window."""
        best, now = drop.best, drop.now
        grown = now.beside - best.beside - Z * math.sqrt(now.beside_variance + best.beside_variance)
        above = now.beside - Z * math.sqrt(now.beside_variance + self.base.gap_variance)
        return grown > 0 and above > 0

    def _lower(self, name: str, statistic: float, null: Floats, rate: float) -> bool:
        """Take a step's p-value into the run's; whether the step itself says so, too.

        Holm may reject a test when another one's p-value falls, and by then it may be past.
        """
        p = p_value(statistic, null)
        self.p[name] = min(self.p[name], p)
        return p <= rate

    def _rejected(self, family: Mapping[str, object], rate: float) -> list[tuple[str, float]]:
        """Names with adjusted p-values of at most the rate, of those not yet said."""
        names = list(family)
        adjusted = holm([self.p[name] for name in names])
        return [
            (name, p)
            for name, p in zip(names, adjusted, strict=True)
            if p <= rate and name not in self.raised
        ]

    def _drop_null(self) -> Floats:
        return drop_null(self._steps[0], self._freedom, self._sizes)

    def _shift_null(self) -> Floats:
        return shift_null(self._steps[1], self._freedom, self._sizes)

    def _alarm(self, name: str, step: int, drop: Drop, p: float) -> Notice:
        words: Callable[[Drop], str] = {
            "unmatched": self._unmatched,
            "gold falls": lambda d: f"Gold has fallen by {_fallen(d)}",
            "proxy falls": lambda d: f"The proxy itself has fallen by {_fallen(d)}",
        }[name]
        since = f"since its best {drop.size} steps, up to step {drop.best.last_step}"
        text = f"{words(drop)} {since} ({UNITS})."
        return Notice("alarm", name, step, text, ADVICE[name], p, drop.best.last_step)

    def _unmatched(self, drop: Drop) -> str:
        best, now = drop.best, drop.now
        error = Z * math.sqrt(best.beside_variance + now.beside_variance)
        grown = now.beside - best.beside
        return (
            "The audit does not follow the proxy: the gap z(proxy) − z(audit) has grown by "
            f"{grown:.2f} [{grown - error:.2f}, {grown + error:.2f}] to {now.beside:.2f}, and the "
            f"audit less {self.match:g} of the proxy has fallen by {_fallen(drop)}"
        )

    def _warning(self, name: str, step: int, size: int, now: Window, p: float) -> Notice:
        rule = self.rules[name]
        side = "above" if rule.is_above else "below"
        base = self.base.summaries[rule.signal].mean
        text = (
            f"{rule.what[0].upper()}{rule.what[1:]}: {now.mean:.3g} over the last {size} steps, "
            f"{side} {rule.level:.3g}; the reference policy has {base:.3g}."
        )
        return Notice("warning", name, step, text, rule.advice, p)

    def state(self) -> dict[str, Any]:
        """As JSON: everything that the next step depends on."""
        return {
            "drops": {name: test.state() for name, test in self.drops.items()},
            "shifts": {name: test.state() for name, test in self.shifts.items()},
            "p": dict(self.p),
            "raised": dict(self.raised),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` gave, for the same settings and baseline."""
        for name, test in self.drops.items():
            test.restore(state["drops"][name])
        for name, shift in self.shifts.items():
            shift.restore(state["shifts"][name])
        self.p, self.raised = dict(state["p"]), dict(state["raised"])


ADVICE = {
    "unmatched": "Stop and go back; then judge responses of this policy and train the reward model "
    "on them too, or raise kl_coef.",
    "gold falls": "Stop and go back: what is really wanted gets worse.",
    "proxy falls": "This is no gaming but a broken training: lower the learning rate, raise "
    "kl_coef, and look at the value loss and the clip fraction.",
}


def _fallen(drop: Drop) -> str:
    fallen = drop.best.mean - drop.now.mean
    error = Z * math.sqrt(drop.best.variance + drop.now.variance)
    return f"{fallen:.2f} [{fallen - error:.2f}, {fallen + error:.2f}]"


@dataclass
class EarlyStop:
    """Stops when the lower bound of the audit has not improved for some evaluations.

    Waiting begins with the first improvement over the reference policy: until then there is nothing
    to lose but time, and a slow start is not an end.

    Args:
        patience: Evaluations without an improvement; 0 never stops.
    """

    patience: int
    best: float = -math.inf
    best_step: int | None = None
    waited: int = 0
    evaluations: int = 0

    def observe(self, step: int, audit: Figure) -> bool:
        """Take an evaluation; whether it is the best so far. Without an interval it is none."""
        if not math.isfinite(audit.low):
            return False
        self.evaluations += 1
        if audit.low > self.best:
            self.best, self.best_step, self.waited = audit.low, step, 0
            return True
        self.waited += self.best_step != 0
        return False

    @property
    def stop(self) -> bool:
        """Whether patience is at an end."""
        return self.patience > 0 and self.waited >= self.patience

    def state(self) -> dict[str, Any]:
        """As JSON; −∞ is null."""
        state = asdict(self)
        state["best"] = None if self.best == -math.inf else self.best
        return state

    def restore(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state` gave."""
        self.best = -math.inf if state["best"] is None else state["best"]
        self.best_step, self.waited = state["best_step"], state["waited"]
        self.evaluations = state["evaluations"]
