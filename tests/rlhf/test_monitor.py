"""The monitor over a run: what it says and writes, and that a killed run goes on the same."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.errors import ConfigError, DataError
from assay.rlhf.monitor import Monitoring, Observation, OveroptimizationMonitor
from assay.rlhf.notes import SILENT_STEPS
from assay.rlhf.panel import LONGEST_TEXT
from assay.rlhf.records import Judged, Spoken
from assay.types import Message

SETTINGS = Monitoring(steps=40, window=4, page_every=20, evaluation_steps=4)
Step = tuple[Spoken, Judged]


@dataclass(frozen=True)
class Hacked:
    """A run whose audit falls from the twelfth step on while proxy and length rise."""

    baseline: list[Step]
    steps: list[Step]
    monitor: OveroptimizationMonitor
    seen: list[Observation]
    directory: Path


@pytest.fixture(scope="module")
def hacked(make_policy: Any, tmp_path_factory: pytest.TempPathFactory) -> Hacked:
    policy, directory = make_policy(), tmp_path_factory.mktemp("whole")
    baseline = [policy.step() for _ in range(4)]
    steps = [
        policy.step(t / 12, min(t, 12) / 12 - max(t - 12, 0) / 8, 20 + t, shift=t / 100)
        for t in range(1, 41)
    ]
    monitor = begun(baseline, directory)
    return Hacked(baseline, steps, monitor, observed(monitor, steps), directory)


def begun(baseline: list[Step], directory: Path | None = None) -> OveroptimizationMonitor:
    monitor = OveroptimizationMonitor(SETTINGS, directory)
    for step in baseline:
        monitor.baseline(*step)
    return monitor


def observed(
    monitor: OveroptimizationMonitor, steps: list[Step], first: int = 1
) -> list[Observation]:
    return [monitor.observe(t, *step) for t, step in enumerate(steps, start=first)]


def test_a_hacked_run_is_stopped_and_sent_back(hacked: Hacked) -> None:
    seen = hacked.seen
    first = next(o for o in seen if o.alarms)
    assert first.alarms[0].name == "unmatched"
    assert 12 < first.step < 40
    assert first.stop
    assert first.reason == first.alarms[0].text
    assert first.best_step is not None
    assert 4 <= first.best_step <= 20
    assert not any(o.stop for o in seen[: first.step - 1])
    # stopping is said again, the alarm is not
    assert seen[-1].stop
    assert sum(n.name == "unmatched" for o in seen for n in o.alarms) == 1
    assert any(n.name == "longer" for o in seen for n in o.warnings)
    assert any(o.improved for o in seen[:20])
    assert (hacked.directory / "monitor.html").exists()


def test_every_step_is_a_line_of_metrics(hacked: Hacked, tmp_path: Path) -> None:
    monitor = begun(hacked.baseline, tmp_path)
    extra = {"ppo/clip_fraction": 0.25, "ppo/broken": math.nan}
    seen = monitor.observe(1, *hacked.steps[0], extra)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    rows = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert [row["step"] for row in rows] == [0, 0, 0, 0, 1]
    assert rows[-1]["ppo/clip_fraction"] == 0.25
    assert rows[-1]["missing/ppo/broken"] == 1
    assert "ppo/broken" not in rows[-1]
    tokens = [len(ids) for spoken, _ in hacked.baseline for ids in spoken.ids]
    ratio = seen.figures["response/length"] / np.mean(tokens)
    assert seen.figures["response/length_ratio"] == pytest.approx(ratio)
    for name, value in seen.figures.items():
        assert rows[-1][name] == pytest.approx(value, rel=1e-6)


def test_a_killed_run_goes_on_as_if_it_had_not_stopped(hacked: Hacked, tmp_path: Path) -> None:
    killed = begun(hacked.baseline, tmp_path)
    seen = observed(killed, hacked.steps[:17])
    saved = json.dumps(killed.state(), allow_nan=False)
    observed(killed, hacked.steps[17:20], first=18)  # after the save: these steps are lost
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 21, "half a li')

    resumed = OveroptimizationMonitor(SETTINGS, tmp_path)
    resumed.restore(json.loads(saved))
    seen += observed(resumed, hacked.steps[17:], first=18)
    assert any(o.alarms for o in seen[17:])
    assert seen == hacked.seen
    assert resumed.state() == hacked.monitor.state()
    metrics = [(path / "metrics.jsonl").read_bytes() for path in (hacked.directory, tmp_path)]
    assert metrics[0] == metrics[1]


def test_a_state_of_other_settings_is_refused(hacked: Hacked) -> None:
    with pytest.raises(DataError, match="no state before"):
        begun(hacked.baseline).state()
    other = OveroptimizationMonitor(replace(SETTINGS, rate=0.01))
    with pytest.raises(ConfigError, match=r"rate = 0.05 and this run has 0.01"):
        other.restore(hacked.monitor.state())


def test_without_an_audit_it_is_said_once(policy: Any) -> None:
    policy.has_audit = policy.has_gold = False
    seen = observed(begun([policy.step() for _ in range(4)]), [policy.step() for _ in range(5)])
    assert [n.name for o in seen for n in o.notes] == ["no audit"]
    assert "nothing tells whether the proxy's gain is real" in seen[0].notes[0].text
    assert seen[-1].best_step is None
    assert not seen[-1].stop


def test_what_cannot_be_watched_is_said_once(policy: Any, make_policy: Any) -> None:
    monitor = begun([policy.step()])
    first = monitor.observe(1, *policy.step())
    assert [n.name for n in first.notes] == ["short baseline"]
    alone = make_policy(seed=1, prompts=1)
    assert [n.name for n in monitor.observe(2, *alone.step()).notes] == ["single prompt"]
    assert monitor.observe(3, *alone.step()).notes == ()
    assert monitor.single_prompts == 2
    later = monitor.observe(41, *policy.step())
    assert [n.name for n in later.notes] == ["longer run"]
    policy.has_audit = False
    names = [
        n.name
        for t in range(42, 43 + SILENT_STEPS)
        for n in monitor.observe(t, *policy.step()).notes
    ]
    assert names == ["silent audit"]


def test_an_audit_that_begins_late_is_said(policy: Any) -> None:
    policy.has_audit = False
    monitor = begun([policy.step() for _ in range(4)])
    monitor.observe(1, *policy.step())
    policy.has_audit = True
    assert [n.name for n in monitor.observe(2, *policy.step()).notes] == ["late audit"]


def test_patience_stops_where_the_audit_stands_still(policy: Any) -> None:
    settings = replace(SETTINGS, evaluation_steps=2, stop_patience=2)
    monitor = OveroptimizationMonitor(settings)
    for _ in range(4):
        monitor.baseline(*policy.step())
    seen = [monitor.observe(t, *policy.step(1.0, 1.0 if t <= 4 else 0.9)) for t in range(1, 15)]
    stopped = next(o for o in seen if o.stop)
    assert "has not improved for 4 audited steps" in stopped.reason
    assert stopped.best_step is not None
    assert stopped.step == stopped.best_step + 4


def test_a_run_that_uses_the_monitor_wrongly_is_told(policy: Any) -> None:
    with pytest.raises(DataError, match="no baseline"):
        OveroptimizationMonitor(SETTINGS).observe(1, *policy.step())
    monitor = begun([policy.step() for _ in range(4)])
    with pytest.raises(DataError, match="nothing to show before"):
        monitor.write_page("page.html")
    monitor.observe(3, *policy.step())
    with pytest.raises(DataError, match="Step 3 came after step 3"):
        monitor.observe(3, *policy.step())
    with pytest.raises(DataError, match="baseline ended"):
        monitor.baseline(*policy.step())
    with pytest.raises(DataError, match="extra has objective/kl"):
        monitor.observe(4, *policy.step(), {"objective/kl": 1.0})
    with pytest.raises(ConfigError, match="no directory"):
        monitor.write_page()


def test_a_refused_step_leaves_no_trace(policy: Any) -> None:
    """An error of the caller's is no step: the same step may be handed in again, corrected."""
    monitor = begun([policy.step() for _ in range(4)])
    monitor.observe(1, *policy.step())
    before = monitor.state()
    with pytest.raises(DataError, match="extra has"):
        monitor.observe(2, *policy.step(), {"objective/kl": 1.0})
    assert monitor.state() == before


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 0}, "steps is 0"),
        ({"steps": 10**6}, "every tenth step"),
        ({"rate": 1.0}, "rate is 1.0"),
        ({"warning_rate": 0.0}, "warning_rate is 0.0"),
        ({"tolerance": -0.1}, "tolerance is -0.1"),
        ({"match": math.nan}, "match is nan"),
        ({"panel": -1}, "panel is -1"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Monitoring(**changes)


# --- the panel ------------------------------------------------------------------------------------


def one(prompt: str, text: str, proxy: float) -> Step:
    """Two prompts, the first of them this one."""
    prompts = ((Message("user", prompt),), (Message("user", "other"),))
    tokens = (np.array([1, 2], np.int32),) * 2
    logs = (np.array([-1.0, -2.0]),) * 2
    spoken = Spoken(prompts, (text, "x"), tokens, logs, logs, np.array([True, True]))
    return spoken, Judged(np.array([proxy, 0.0]))


def test_the_panel_has_a_prompt_before_and_now() -> None:
    monitor = OveroptimizationMonitor(replace(SETTINGS, panel=1))
    monitor.baseline(*one("Why?", "Because.", 1.0))
    monitor.observe(1, *one("Why?", "a" * (LONGEST_TEXT + 5), 2.0))
    monitor.observe(2, *one("How?", "So.", 3.0))
    (shown,) = monitor.panel.prompts.values()
    assert shown.prompt == "Why?"
    assert (shown.before.text, shown.before.proxy, shown.before.audit) == ("Because.", 1.0, None)
    assert shown.now is not None
    assert (shown.now.step, shown.now.cut, len(shown.now.text)) == (1, 5, LONGEST_TEXT)
    assert monitor.show(2, *one("Why?", "Now.", 4.0)) == 1
    assert shown.now.text == "Now."
    # shown alone: it is no step
    assert monitor.step == 2
    assert len(monitor.rows) == 3
