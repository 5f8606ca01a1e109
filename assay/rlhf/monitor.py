"""The watch over a policy that is optimised against a reward: does it game it?

The training loop hands over what the policy said and what is said of it; the monitor knows nothing
of policies, rewards and optimisers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from assay.errors import ConfigError, DataError
from assay.rlhf.alarms import Alarms, EarlyStop, Notice, Z
from assay.rlhf.notes import notes_of_baseline, notes_of_step
from assay.rlhf.panel import Panel
from assay.rlhf.records import Judged, Spoken
from assay.rlhf.rules import Base, Levels, alarm_points, drift_points
from assay.rlhf.signals import KEYS, Point, Signals, figures, signals
from assay.types import Figure

if TYPE_CHECKING:
    from assay.train.resume import MetricsLog

PAGE = "monitor.html"
RATIO = "response/length_ratio"
MOST_STEPS = 200_000
"""The simulation behind the alarms takes minutes beyond."""


@dataclass(frozen=True, kw_only=True)
class Monitoring:
    """How a run of reinforcement learning is watched."""

    steps: int = 1000
    """Steps of the run; false-alarm rates are those of a run of this length."""
    window: int = 8
    """Steps of the reference policy before training, the baseline."""
    rate: float = 0.05
    """Probability of a false alarm in the whole run, all alarms together."""
    warning_rate: float = 0.05
    """Probability that the run warns of a drift that is within its level."""
    tolerance: float = 0.1
    """What audit, gold or proxy may fall freely, in deviations of the reference's responses."""
    match: float = 0.1
    """What the audit must gain for each deviation that the proxy gains, in its own deviations."""
    shortest: int = 3
    """Steps in a row that an alarm or a warning rests on, at least."""
    levels: Levels = field(default_factory=Levels)
    """From where on a drift is worth a warning."""
    evaluation_steps: int = 10
    """Steps whose audits are averaged into one evaluation."""
    stop_patience: int = 10
    """Evaluations in which the audit's lower bound may fail to improve; 0: only alarms stop."""
    stop_on_alarm: bool = True
    """Whether an alarm asks the loop to stop."""
    panel: int = 4
    """Prompts whose responses are kept, before and now."""
    page_every: int = 10
    """Steps between two writings of the page; it is also written when something is raised."""

    def __post_init__(self) -> None:
        for name in ("steps", "window", "shortest", "evaluation_steps", "page_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be 1 or more.")
        for name in ("panel", "stop_patience", "tolerance", "match"):
            if not getattr(self, name) >= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be below 0.")
        for name in ("rate", "warning_rate"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must be between 0 and 1.")
        if self.steps > MOST_STEPS:
            raise ConfigError(
                f"steps is {self.steps:,}, more than the {MOST_STEPS:,} that alarms can be set "
                "for; hand the monitor every tenth step and divide steps by ten."
            )


@dataclass(frozen=True, slots=True)
class Observation:
    """What the monitor says of a step."""

    step: int
    figures: dict[str, float]
    """Flat names to numbers, as in metrics.jsonl; the loop's own are among them."""
    alarms: tuple[Notice, ...]
    """Newly raised."""
    warnings: tuple[Notice, ...]
    """Newly raised."""
    notes: tuple[Notice, ...]
    """What cannot be tested and why; each is said once."""
    improved: bool
    """An evaluation ended here and is the best so far: a state worth keeping."""
    stop: bool
    """Whether to stop now."""
    reason: str
    """Why to stop, in words; empty otherwise."""
    best_step: int | None
    """The step to go back to: the best audit's, else the one before an alarm; 0: the reference."""


class OveroptimizationMonitor:
    """Watches a run: hand it the reference policy's steps, then every step of the training.

    ``metrics.jsonl`` and the page ``monitor.html`` are written into the directory, if there is one.
    The monitor is as good as its audit: a reward model of other data or another backbone, which
    training never sees.
    """

    def __init__(self, settings: Monitoring | None = None, directory: str | Path | None = None):
        self.settings = settings or Monitoring()
        self.directory = None if directory is None else Path(directory)
        self.base: Base | None = None
        self.notices: list[Notice] = []
        self.panel = Panel(self.settings.panel)
        self.early = EarlyStop(self.settings.stop_patience)
        self.step = 0
        self._batches: list[tuple[Signals, dict[str, float]]] = []
        self._base_rows: list[dict[str, float]] = []
        self.alarms: Alarms | None = None
        self._audits: list[Point] = []
        self._counts = {"single_prompt": 0, "silent": 0}
        self._log: MetricsLog | None = None

    # --- what the loop calls --------------------------------------------------------------------

    def baseline(self, spoken: Spoken, judged: Judged) -> None:
        """Take a step of the reference policy, before training.

        Raises:
            DataError: If training has begun, or what was said and judged do not fit each other.
        """
        if self.base is not None:
            raise DataError("The baseline ended with the first observe(); begin a new monitor.")
        found = signals(spoken, judged)
        self._batches.append((found, figures(found, spoken.ids)))
        self.panel.begin(spoken, judged)

    def observe(
        self,
        step: int,
        spoken: Spoken,
        judged: Judged,
        extra: Mapping[str, float] | None = None,
    ) -> Observation:
        """Take a step of the training, log it, and say what it raises.

        Args:
            step: From 1, rising.
            extra: Figures of the loop, logged beside the monitor's own.

        Raises:
            DataError: Without a baseline, if the step does not follow the last one, if what was
                said and judged do not fit each other, or if ``extra`` uses a name of the monitor's.
        """
        if step <= self.step:
            raise DataError(f"Step {step} came after step {self.step}; steps begin at 1 and rise.")
        found = signals(spoken, judged)
        measured = figures(found, spoken.ids)
        _add(measured, extra or {})
        notes = self._begin() if self.alarms is None else []
        assert self.base is not None
        assert self.alarms is not None
        length = self.base.summaries.get("length")
        if length is not None and length.mean > 0:
            measured[RATIO] = measured[KEYS["length"]] / length.mean
        of_drift = drift_points(found, self.base)
        raised = self.alarms.observe(
            step, alarm_points(found, self.base, self.settings.match), of_drift
        )
        audit = of_drift.get("audit")
        self._counts["single_prompt"] += not of_drift
        silent = "audit" in self.base.summaries and audit is None
        self._counts["silent"] = self._counts["silent"] + 1 if silent else 0
        improved = self._evaluate(step, audit)
        self.step = step
        self.panel.show(step, spoken, judged)
        notes += self._new_notes(step, found)
        self.notices += [*notes, *raised]
        observation = self._observation(measured, [*notes, *raised], improved)
        self._write(observation)
        return observation

    def show(self, step: int, spoken: Spoken, judged: Judged) -> int:
        """Take responses to the panel's prompts alone; how many of its prompts were among them.

        For prompts that training does not draw. They are shown and not counted.
        """
        return self.panel.show(step, spoken, judged)

    def write_page(self, path: str | Path | None = None) -> Path:
        """Write the page now.

        Raises:
            ConfigError: Without a path where the monitor has no directory.
            DataError: Before the first observe().
        """
        from assay.rlhf.monitor_page import monitor_page

        if self.base is None:
            raise DataError("The monitor has nothing to show before the first observe().")
        if path is None and self.directory is None:
            raise ConfigError("This monitor has no directory; name a path for its page.")
        return monitor_page(self, path or Path(str(self.directory)) / PAGE)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, the baseline's first (as step 0)."""
        return self._base_rows if self._log is None else self._log.rows

    @property
    def single_prompts(self) -> int:
        """Steps with one prompt, which entered no alarm."""
        return self._counts["single_prompt"]

    # --- state ----------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that later steps depend on, as JSON.

        Raises:
            DataError: Before the first observe(): the baseline is then measured again.
        """
        if self.base is None or self.alarms is None:
            raise DataError("The monitor has no state before the first observe().")
        return {
            "settings": asdict(self.settings),
            "step": self.step,
            "base": self.base.to_dict(),
            "base_rows": self._base_rows,
            "alarms": self.alarms.state(),
            "early": self.early.state(),
            "audits": [asdict(p) for p in self._audits],
            "panel": self.panel.state(),
            "counts": dict(self._counts),
            "notices": [_plain(asdict(notice)) for notice in self.notices],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; lines of metrics.jsonl after its step are cut off.

        Raises:
            ConfigError: If it was saved with other settings.
        """
        own = json.loads(json.dumps(asdict(self.settings)))
        for name, value in own.items():
            if state["settings"].get(name) != value:
                raise ConfigError(
                    f"The monitor's state was saved with {name} = {state['settings'].get(name)!r} "
                    f"and this run has {value!r}; resume with the same settings."
                )
        self.base = Base.from_dict(state["base"])
        self._base_rows = [dict(row) for row in state["base_rows"]]
        self.alarms = self._make_alarms([])
        self.alarms.restore(state["alarms"])
        self.early.restore(state["early"])
        self.panel.restore(state["panel"])
        self._audits = [Point(**each) for each in state["audits"]]
        self._counts = dict(state["counts"])
        self.notices = [
            Notice(**{**each, "p": math.nan if each["p"] is None else each["p"]})
            for each in state["notices"]
        ]
        self.step = state["step"]
        self._open_log()

    # --- the parts of a step --------------------------------------------------------------------

    def _begin(self) -> list[Notice]:
        """End the baseline; what can be said of it."""
        batches = [batch for batch, _ in self._batches]
        self.base = Base.of(batches)
        self._base_rows = [_row(0, row) for _, row in self._batches]
        seeds = [alarm_points(batch, self.base, self.settings.match) for batch in batches]
        self.alarms = self._make_alarms(seeds)
        self._batches = []
        audit = self.base.summaries.get("audit")
        if audit is not None:
            half = Z * audit.variance**0.5
            self.early.observe(0, Figure(audit.mean, audit.mean - half, audit.mean + half, audit.n))
        self._open_log()
        return notes_of_baseline(self.alarms.untested, len(batches), self.settings.window)

    def _make_alarms(self, seeds: list[dict[str, Point]]) -> Alarms:
        s = self.settings
        assert self.base is not None
        return Alarms(
            self.base, seeds, s.levels, steps=s.steps, rate=s.rate, warning_rate=s.warning_rate,
            tolerance=s.tolerance, match=s.match, shortest=s.shortest,
        )  # fmt: skip

    def _new_notes(self, step: int, found: Signals) -> list[Notice]:
        """What is to be said of a step and was not said before."""
        assert self.base is not None
        is_late = "audit" in found.of_responses and "audit" not in self.base.summaries
        said = {notice.name for notice in self.notices}
        notes = notes_of_step(step, self.settings.steps, is_late, self._counts)
        return [note for note in notes if note.name not in said]

    def _evaluate(self, step: int, audit: Point | None) -> bool:
        """Average the audits of some steps into an evaluation; whether it is the best so far."""
        if audit is None:
            return False
        self._audits.append(audit)
        count = len(self._audits)
        if count < self.settings.evaluation_steps:
            return False
        mean = sum(p.mean for p in self._audits) / count
        half = Z * sum(p.variance for p in self._audits) ** 0.5 / count
        n = sum(p.n for p in self._audits)
        self._audits = []
        return self.early.observe(step, Figure(mean, mean - half, mean + half, n))

    def _observation(
        self, measured: dict[str, float], new: list[Notice], improved: bool
    ) -> Observation:
        alarms = [n for n in self.notices if n.kind == "alarm"]
        reason = ""
        if alarms and self.settings.stop_on_alarm:
            reason = alarms[0].text
        elif self.early.stop:
            reason = (
                "The audit's lower bound has not improved for "
                f"{self.early.waited * self.settings.evaluation_steps} audited steps, since step "
                f"{self.early.best_step}."
            )
        best = self.early.best_step
        if best is None and alarms:
            best = alarms[0].go_back
        return Observation(
            self.step,
            measured,
            tuple(n for n in new if n.kind == "alarm"),
            tuple(n for n in new if n.kind == "warning"),
            tuple(n for n in new if n.kind == "note"),
            improved,
            bool(reason),
            reason,
            best,
        )

    # --- files ----------------------------------------------------------------------------------

    def _open_log(self) -> None:
        from assay.train.resume import MetricsLog, Progress

        self._log = MetricsLog(self.directory, Progress(step=self.step))
        if not self._log.rows:
            for row in self._base_rows:
                self._log.write(row)

    def _write(self, seen: Observation) -> None:
        assert self._log is not None
        row = _row(seen.step, seen.figures)
        names = [n.name for n in (*seen.alarms, *seen.warnings)]
        self._log.write({**row, "raised": names} if names else row)
        due = seen.step % self.settings.page_every == 0 or bool(names) or seen.stop
        if self.directory is not None and due:
            self.write_page()


def _add(measured: dict[str, float], extra: Mapping[str, float]) -> None:
    """The loop's figures beside the monitor's; what is no number is counted as missing."""
    both = sorted((measured.keys() | {RATIO}) & extra.keys())
    if both:
        raise DataError(
            f"extra has {', '.join(both)}, which the monitor measures itself; use other names."
        )
    for name, value in extra.items():
        if math.isfinite(value):
            measured[name] = float(value)
        else:
            measured[f"missing/{name}"] = 1.0


def _row(step: int, measured: Mapping[str, float]) -> dict[str, Any]:
    return {"step": step, **{name: float(f"{v:.7g}") for name, v in measured.items()}}


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """With null in place of nan, which JSON lacks."""
    return {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in value.items()}
