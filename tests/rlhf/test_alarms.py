"""Alarms over whole runs: rare where a policy improves, certain where it games its reward."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from assay.errors import ConfigError, DataError
from assay.rlhf.alarms import Alarms, EarlyStop, Notice
from assay.rlhf.rules import Base, Levels, alarm_points, drift_points, rules
from assay.rlhf.signals import Point, Signals, signals
from assay.types import Figure

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    return import_module("monitor_alarms")


def runs(script: ModuleType, shape: str, count: int, steps: int = 60) -> list[Any]:
    chosen = script.Settings(runs=count, steps=steps, prompts=12, samples=2)
    seeds = np.random.SeedSequence(5).spawn(count)
    return [script.run_of(getattr(script, shape), chosen, seed) for seed in seeds]


BENIGN = ["still", "in_step", "fast_proxy", "plateau", "wandering"]


@pytest.mark.parametrize("shape", BENIGN)
def test_benign_runs_raise_nothing(script: ModuleType, shape: str) -> None:
    outcomes = runs(script, shape, 3)
    # at a rate of 5 % two of three have a probability of 0.007
    assert sum(bool(o.raised) for o in outcomes) <= 1
    assert sum(o.warnings > 0 for o in outcomes) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [*BENIGN, "at_the_levels"])
def test_rates_are_those_stated_over_many_runs(script: ModuleType, shape: str) -> None:
    """Also in the worst case: no tolerance is left and every level is just reached."""
    outcomes = runs(script, shape, 60, steps=100)
    # of 60 runs 5 % are 3; more than 9 have a probability of 0.001
    assert sum(bool(o.raised) for o in outcomes) <= 9
    assert sum(o.warnings > 0 for o in outcomes) <= 9


@pytest.mark.slow
def test_rates_hold_for_rewards_of_0_and_1() -> None:
    """With rare ones, whose errors are far from normal, and no tolerance."""

    def falls(rng: np.random.Generator) -> bool:
        def drawn() -> Signals:
            ease = np.repeat(rng.beta(0.2, 1.8, 16), 4)
            right = (rng.random(64) < ease).astype(np.float64)
            return Signals({"proxy": right}, {}, np.repeat(np.arange(16), 4))

        batches = [drawn() for _ in range(8)]
        base = Base.of(batches)
        seeds = [alarm_points(b, base, 0.1) for b in batches]
        alarms = Alarms(base, seeds, steps=60, tolerance=0.0)
        return any(alarms.observe(t, alarm_points(drawn(), base, 0.1), {}) for t in range(1, 61))

    streams = np.random.SeedSequence(11).spawn(100)
    # of 100 runs 5 % are 5; more than 12 have a probability of 0.002
    assert sum(falls(np.random.default_rng(s)) for s in streams) <= 12


@pytest.mark.parametrize("shape", ["late_hack", "early_hack", "sudden_hack"])
def test_hacked_runs_are_found_after_their_peak(script: ModuleType, shape: str) -> None:
    for outcome in runs(script, shape, 2, steps=100):
        gold = outcome.means.gold
        found = outcome.raised["unmatched"]
        assert int(np.argmax(gold)) + 1 < found < len(gold)
        lost = script.lost(outcome.means, found)
        assert lost == pytest.approx((gold.max() - gold[found - 1]) / gold.max())
        assert lost > 0


def test_a_broken_training_is_no_gaming(script: ModuleType) -> None:
    for outcome in runs(script, "collapse", 2, steps=100):
        assert "proxy falls" in outcome.raised
        assert "unmatched" not in outcome.raised


def test_the_benchmark_records_both_kinds_of_runs(script: ModuleType, tmp_path: Path) -> None:
    script.run(script.Settings(runs=2, steps=20, prompts=4, samples=2, out=tmp_path))
    record = json.loads((tmp_path / "monitor_alarms.json").read_text())
    assert set(record["shapes"]) == {shape.__name__ for shape in script.SHAPES}
    assert record["benign"]["any alarm"]["n"] == 10
    assert record["shapes"]["late_hack"]["lost without one"]["value"] == pytest.approx(1.5)
    with pytest.raises(ConfigError, match="20 steps"):
        script.Settings(steps=5)


# --- points and the baseline ----------------------------------------------------------------------


def batch(**values: list[float]) -> Signals:
    """Two responses to each prompt."""
    arrays = {name: np.array(v) for name, v in values.items()}
    count = len(next(iter(arrays.values())))
    return Signals(arrays, {}, np.repeat(np.arange(count // 2), 2))


def test_rewards_are_measured_in_deviations_of_the_reference() -> None:
    first = batch(proxy=[0.0, 2.0, 0.0, 2.0], audit=[0.0, 4.0, 0.0, 4.0])
    base = Base.of([first, first])
    scale = math.sqrt(8 / 7)  # eight values, each 1 from the mean
    assert base.summaries["proxy"].std == pytest.approx(scale)
    later = batch(proxy=[3.0, 3.0, 5.0, 5.0], audit=[2.0, 2.0, 2.0, math.nan])
    points = alarm_points(later, base, match=0.5)
    assert points["proxy"].mean == pytest.approx(3 / scale)
    # prompts at 3 and 5 about 4: SE² = 2 · (2² + 2²) / 4² = 1, in deviations
    assert points["proxy"].variance == pytest.approx(1 / scale**2)
    # of the three responses with an audit, which is at the mean: proxy 2, 2 and 4
    assert points["gap"].mean == pytest.approx((2 + 2 + 4) / 3 / scale)
    assert points["gap"].n == 3
    assert points["matched"].mean == pytest.approx(-0.5 * points["gap"].mean)
    # responses that are all alike are no certain knowledge
    assert points["audit"].variance == pytest.approx(0.01 / 3)


def test_a_baseline_that_cannot_serve_is_refused() -> None:
    with pytest.raises(DataError, match="no baseline"):
        Base.of([])
    with pytest.raises(DataError, match="1 prompt"):
        Base.of([batch(proxy=[1.0, 2.0])])
    with pytest.raises(DataError, match="No proxy reward"):
        Base.of([batch(proxy=[math.nan] * 4, length=[1.0, 2.0, 3.0, 4.0])])


def test_a_signal_that_part_of_the_baseline_lacks_rests_on_the_rest() -> None:
    audited = batch(proxy=[0.0, 2.0, 0.0, 2.0], audit=[0.0, 4.0, 0.0, 4.0])
    bare = batch(proxy=[0.0, 2.0, 0.0, 2.0])
    for batches in ([audited, bare], [bare, audited]):
        base = Base.of(batches)
        assert base.summaries["audit"].n == 4
        assert base.summaries["proxy"].n == 8
        assert "audit" not in alarm_points(bare, base, 0.1)


def test_a_baseline_survives_json(policy: Any) -> None:
    base = Base.of([signals(*policy.step()) for _ in range(3)])
    assert Base.from_dict(json.loads(json.dumps(base.to_dict()))) == base


def test_levels_are_where_the_table_says(policy: Any) -> None:
    base = Base.of([signals(*policy.step()) for _ in range(3)])
    mean = {name: s.mean for name, s in base.summaries.items()}
    found = {r.name: r for r in rules(base, Levels())}
    assert found["longer"].level == pytest.approx(1.5 * mean["length"])
    assert found["shorter"].level == pytest.approx(mean["length"] / 1.5)
    assert found["entropy"].level == pytest.approx(mean["entropy"] / 2)
    assert found["far away"].level == 50
    assert found["unended"].level == pytest.approx(min(0.95, mean["ended"] - 0.05))
    assert found["repetition"].level == pytest.approx(mean["repetition"] + 0.05)
    # no response of the reference has a list: half of one in ten is the level
    assert found["more list lines"].level == pytest.approx(0.05)
    # there is nothing to fall below, no ensemble and no distance
    assert not {"fewer list lines", "disagreement", "distance"} & found.keys()


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("length", 1.0, "above 1"), ("entropy", 1.5, "below 1"), ("kl", -1.0, "above 0")],
)
def test_levels_that_cannot_work_are_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(ConfigError, match=f"levels.{name} .*{said}"):
        Levels(**{name: value})


# --- raising --------------------------------------------------------------------------------------


def steady(mean: float = 0.0) -> Point:
    return Point(mean, 0.01, 32)


@pytest.fixture
def alarms(policy: Any) -> Alarms:
    batches = [signals(*policy.step()) for _ in range(4)]
    base = Base.of(batches)
    return Alarms(base, [alarm_points(b, base, 0.1) for b in batches], steps=60)


def raised_by(alarms: Alarms, count: int, **rewards: tuple[float, float]) -> list[Notice]:
    """Notices of steps whose rewards go from one value to another."""
    found = []
    for step in range(1, count + 1):
        share = step / count
        at = {name: a + (b - a) * share for name, (a, b) in rewards.items()}
        at["gap"] = at["proxy"] - at["audit"]
        at["matched"] = at["audit"] - 0.1 * at["proxy"]
        points = {name: steady(value) for name, value in at.items()}
        found += alarms.observe(step, points, {})
    return found


def test_a_proxy_that_outruns_a_rising_audit_is_no_alarm(alarms: Alarms) -> None:
    assert not raised_by(alarms, 40, proxy=(0, 3), audit=(0, 0.6), gold=(0, 0.6))


def test_a_proxy_without_any_gain_of_the_audit_is_one_in_the_end(alarms: Alarms) -> None:
    (notice,) = raised_by(alarms, 60, proxy=(0, 8), audit=(0, 0), gold=(0, 0))
    assert notice.name == "unmatched"
    assert notice.step > 20


def test_an_alarm_says_what_fell_and_what_to_do_and_only_once(alarms: Alarms) -> None:
    notices = raised_by(alarms, 40, proxy=(0, 3), audit=(0, -3), gold=(0, 0.1))
    (notice,) = [n for n in notices if n.kind == "alarm"]
    assert notice.name == "unmatched"
    assert "The audit does not follow the proxy" in notice.text
    assert "Stop and go back" in notice.advice
    assert notice.p <= 0.05
    assert notice.go_back is not None
    assert notice.go_back < notice.step


def test_an_audit_that_falls_with_the_proxy_is_not_called_gaming(alarms: Alarms) -> None:
    notices = raised_by(alarms, 40, proxy=(0, -3), audit=(0, -3), gold=(0, 0))
    assert [n.name for n in notices] == ["proxy falls"]
    assert "broken training" in notices[0].advice


def test_gold_that_falls_is_an_alarm_of_its_own(alarms: Alarms) -> None:
    notices = raised_by(alarms, 40, proxy=(0, 1), audit=(0, 1), gold=(0, -3))
    assert [n.name for n in notices] == ["gold falls"]


def test_what_holm_rejects_later_is_said_only_while_it_is_so(alarms: Alarms) -> None:
    def points(proxy: float, gold: float) -> dict[str, Point]:
        return {"proxy": steady(proxy), "gold": steady(gold)}

    # as if gold had fallen and come back: with two alarms left its p-value is not enough
    alarms.p["gold falls"] = 0.03
    found = [n for t in range(1, 31) for n in alarms.observe(t, points(-t / 10, 0.0), {})]
    # now it is the last one left and Holm rejects it, but it does not lie below any more
    alarms.p["unmatched"] = 0.001
    found += alarms.observe(31, points(-3.1, 0.0), {})
    assert [n.name for n in found] == ["proxy falls"]


def test_without_an_audit_nothing_is_said_of_it(policy: Any) -> None:
    policy.has_audit = False
    batches = [signals(*policy.step()) for _ in range(3)]
    base = Base.of(batches)
    alarms = Alarms(base, [alarm_points(b, base, 0.1) for b in batches], steps=60)
    assert alarms.untested == ["unmatched"]
    raised = alarms.observe(1, alarm_points(batches[0], base, 0.1), drift_points(batches[0], base))
    assert raised == []


def test_alarms_with_another_share_of_steps_missing_still_work(alarms: Alarms) -> None:
    found = []
    for step in range(1, 41):
        points = {"proxy": steady(step / 10)}
        if step % 2:  # an audit every other step
            points |= {"gap": steady(step / 5), "matched": steady(-step / 10)}
        found += alarms.observe(step, points, {})
    assert [n.name for n in found] == ["unmatched"]


# --- early stopping -------------------------------------------------------------------------------


def evaluation(low: float) -> Figure:
    return Figure(low + 1, low, low + 2, 10)


def test_early_stopping_waits_for_the_lower_bound() -> None:
    stop = EarlyStop(patience=2)
    lows = [0.0, -1.0, -1.0, -1.0, 0.5, 0.4, 0.6, 0.6, 0.1]
    steps = range(0, 90, 10)
    seen = [
        (stop.observe(s, evaluation(low)), stop.stop) for s, low in zip(steps, lows, strict=True)
    ]
    improved = [step for step, (better, _) in zip(steps, seen, strict=True) if better]
    assert improved == [0, 40, 60]
    # a slow start does not count; 0.6 again is no improvement, and 0.1 is the second such
    assert [stopped for _, stopped in seen] == [False] * 8 + [True]
    assert stop.best_step == 60


def test_early_stopping_without_patience_or_interval() -> None:
    stop = EarlyStop(patience=0)
    for step, low in enumerate([1.0, 0.0, 0.0, 0.0]):
        stop.observe(step, evaluation(low))
    assert not stop.stop
    assert not stop.observe(9, replace(evaluation(5.0), low=math.nan))
    other = EarlyStop(patience=0)
    other.restore(json.loads(json.dumps(stop.state())))
    assert other == stop
    fresh = EarlyStop(patience=3)
    fresh.restore(json.loads(json.dumps(EarlyStop(patience=3).state())))
    assert fresh == EarlyStop(patience=3)
