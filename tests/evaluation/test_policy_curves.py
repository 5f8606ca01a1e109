"""Recovery: curves of policies find the peak, the loss and the alarm that logs were made with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_logs import gao, rows_of

from assay.errors import DataError
from assay.evaluation.policy_curves import PolicyCurve, policy_curve
from assay.evaluation.policy_runs import PolicyRun, run_of_rows
from assay.evaluation.policy_settings import setting_difference

Curve = Callable[[np.ndarray], np.ndarray]
HACKED = gao(1.2, 0.6)  # turns at √KL = e, with a gold of 1.631; at √KL = 5 it is 1.172
END = float(HACKED(np.array([5.0]))[0])


def run_of(gold: Curve | None = HACKED, *, seed: int = 0, **rest: Any) -> PolicyRun:
    """A run as its log has it."""
    rows = rows_of(gold, seed=seed, **{"farthest": 5.0, **rest})
    return run_of_rows(rows, Path(f"run{seed}"), "made", seed)


def curve_of(
    count: int = 3, gold: Curve | None = HACKED, measure: str = "gold", **rest: Any
) -> PolicyCurve:
    return policy_curve([run_of(gold, seed=i, **rest) for i in range(count)], measure, {})


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_gold_that_falls_is_shown_to_fall_from_where_it_turns(count: int) -> None:
    curve = curve_of(count)
    assert curve.over == ("runs" if count >= 3 else "steps")
    assert curve.falls
    assert 1.8 < curve.d[curve.peak] < 3.6
    assert curve.at(curve.peak).value == pytest.approx(1.63, abs=0.15)
    assert curve.end.low < END + 0.1
    assert curve.end.high > END - 0.1
    assert curve.end_d == pytest.approx(4.87, abs=0.05)  # the mean over the last tenth
    assert curve.loss.value == pytest.approx(1.63 - END, abs=0.2)
    assert curve.retention.value == pytest.approx(END / 1.63, abs=0.1)
    assert curve.proxy_after.low > 0
    assert curve.fit is not None
    assert curve.fit.peak_d is not None
    assert curve.fit.peak_d.value == pytest.approx(np.e, rel=0.15)


def test_the_area_is_that_under_the_curve() -> None:
    curve = curve_of(noise=0.02)
    # by hand: ∫ d (α - β log d) = ½ D² (α - β log D + β/2)
    wanted = 0.5 * 25 * (1.2 - 0.6 * np.log(5) + 0.3)
    assert curve.reach == pytest.approx(5.0)
    assert curve.area.value == pytest.approx(wanted, rel=0.02)


def test_the_bands_hold_the_curve_that_made_the_logs() -> None:
    held: list[bool] = []
    for seed in range(25):
        runs = [run_of(seed=seed * 10 + i, noise=0.3) for i in range(3)]
        curve = policy_curve(runs, "gold", {})
        # a part's mean gold is not quite the gold at its mean √KL; the first parts are curved most
        truth = HACKED(np.array(curve.d))
        line = curve.lines["gold"]
        inside = (np.array(line.low) <= truth) & (truth <= np.array(line.high))
        held += inside[3:].tolist()
    assert np.mean(held) == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize("count", [1, 4])
def test_noise_on_a_plateau_is_not_called_a_fall(count: int) -> None:
    def plateau(d: np.ndarray) -> np.ndarray:
        return np.minimum(d, 1.0)

    said = sum(
        policy_curve(
            [run_of(plateau, seed=100 * s + i, noise=0.4) for i in range(count)], "gold", {}
        ).falls
        for s in range(40)
    )
    assert said <= 4  # one side of 95 %: 1 expected


@given(seed=st.integers(0, 1000), scale=st.floats(0.1, 10), shift=st.floats(-20, 20))
@settings(max_examples=15)
def test_neither_the_unit_nor_the_zero_of_gold_changes_the_answer(
    seed: int, scale: float, shift: float
) -> None:
    runs = [run_of(seed=seed + i) for i in range(3)]
    other = [changed(run, lambda v: v * scale + shift) for run in runs]
    one, two = policy_curve(runs, "gold", {}), policy_curve(other, "gold", {"gold": scale})
    assert one.peak == two.peak
    assert two.loss.low == pytest.approx(one.loss.low, rel=1e-6, abs=1e-9)
    assert two.area.value == pytest.approx(one.area.value, rel=1e-6, abs=1e-9)


def changed(run: PolicyRun, change: Callable[[Any], Any]) -> PolicyRun:
    """A run with other gold."""

    def of(lines: Mapping[str, Any]) -> dict[str, Any]:
        return {**lines, "gold": change(lines["gold"])}

    return replace(run, lines=of(run.lines), reference=of(run.reference))


def test_the_audit_can_stand_for_gold() -> None:
    curve = curve_of(gold=None, audit=HACKED, measure="audit")
    assert curve.falls
    assert "gold" not in curve.lines
    assert curve.at(curve.peak) == curve.at(curve.peak, "audit")


def test_parts_that_too_few_runs_reach_are_left_out_and_counted() -> None:
    runs = [run_of(seed=0), run_of(seed=1), run_of(seed=2, farthest=2.0)]
    curve = policy_curve(runs, "gold", {})
    assert curve.d[-1] < 2.2
    assert curve.runs_in == (3,) * len(curve.d)
    assert curve.reach == pytest.approx(2.0)
    assert curve.left_out == sum(int((run.d >= curve_edge(curve)).sum()) for run in runs)
    assert curve.fit is not None
    assert curve.fit.d_max == pytest.approx(5.0)  # the fit has them


def curve_edge(curve: PolicyCurve) -> float:
    """The end of the last part that is drawn: parts are twelfths of 5."""
    return (int(curve.d[-1] / (5 / 12)) + 1) * 5 / 12


def test_steps_without_an_audit_take_no_gold_away() -> None:
    rows = rows_of(HACKED, audit=HACKED, farthest=5.0)
    for row in rows:
        if row["step"] % 4:
            del row["objective/audit"]
    run = run_of_rows(rows, Path("a"), "made")
    curve = policy_curve([run], "gold", {})
    assert curve.fit is not None
    assert curve.fit.steps == int((run.d >= 0.3).sum())
    assert set(curve.lines) == {"gold", "proxy", "audit"}


# --- alarms ---------------------------------------------------------------------------------------


def test_alarms_say_how_much_gold_there_was() -> None:
    runs = [
        run_of(seed=0, raised={100: ["gold falls"]}),
        run_of(seed=1, raised={20: ["longer"]}),
        run_of(seed=2, raised={90: ["unmatched", "longer"], 95: ["gold falls"]}),
    ]
    alarms = policy_curve(runs, "gold", {}).alarms
    assert alarms is not None
    assert alarms.steps == (100, None, 90)
    assert alarms.count == 2
    assert alarms.names == ("gold falls", "unmatched")
    assert alarms.d == pytest.approx((5 * (99 / 119) ** 0.5 + 5 * (89 / 119) ** 0.5) / 2, rel=1e-3)
    truth = HACKED(5 * (np.array([94.5, 84.5]) / 119) ** 0.5).mean()
    assert alarms.gold.low < truth < alarms.gold.high
    assert alarms.kept.value == pytest.approx(truth / 1.631, abs=0.08)


def test_without_alarms_there_is_nothing_to_say() -> None:
    assert curve_of().alarms is None


# --- settings -------------------------------------------------------------------------------------


def test_a_stronger_penalty_lies_on_the_same_curve_at_another_place() -> None:
    """Gao et al. 2023: the KL penalty is early stopping."""
    weak, strong = curve_of(4), curve_of(4, farthest=2.7)
    found = setting_difference(strong, weak)
    assert (found.pairs, found.unpaired) == (4, 0)
    assert found.end.low > 0.2
    assert found.reach == pytest.approx(2.7)
    assert found.equal.low < 0 < found.equal.high
    assert abs(found.equal.value) < 0.1


def test_another_reward_lies_on_another_curve() -> None:
    found = setting_difference(curve_of(3, gao(1.2, 0.2)), curve_of(3))
    assert found.equal.low > 0
    # by hand: the mean of 0.4 d log d up to 5
    assert found.equal.value == pytest.approx(0.4 * 5 * (np.log(5) / 2 - 0.25), abs=0.1)


def test_what_a_seed_adds_to_both_settings_cancels_in_pairs() -> None:
    def with_luck(curve: Curve, luck: float) -> Curve:
        return lambda d: curve(d) + luck * (d > 0)

    lucks = np.random.default_rng(0).normal(size=4)
    one, other = (
        policy_curve(
            [run_of(with_luck(c, luck), seed=i, noise=0.05) for i, luck in enumerate(lucks)],
            "gold",
            {},
        )
        for c in (gao(1.2, 0.4), HACKED)
    )
    found = setting_difference(one, other)
    assert found.pairs == 4
    assert found.end.high - found.end.low < 0.3
    assert one.end.high - one.end.low > 1.0


@pytest.mark.parametrize(
    ("seeds", "pairs", "unpaired"),
    [((0, 1, 2), 3, 0), ((5, 6, 7), 0, 0), ((0, 1, 9), 0, 0), ((0, 1, 2, 9), 3, 1)],
)
def test_runs_are_paired_by_seed_where_enough_match(
    seeds: tuple[int, ...], pairs: int, unpaired: int
) -> None:
    other = policy_curve([run_of(seed=seed) for seed in seeds], "gold", {})
    found = setting_difference(curve_of(), other)
    assert (found.pairs, found.unpaired) == (pairs, unpaired)
    assert found.end.low <= 0 <= found.end.high


# --- what is no curve -----------------------------------------------------------------------------


def test_a_policy_that_stayed_at_its_reference_has_no_curve() -> None:
    with pytest.raises(DataError, match=r"stayed within √KL = 0\.03 of their reference"):
        curve_of(farthest=0.03)


def test_runs_without_a_common_part_have_no_curve() -> None:
    near = [run_of(seed=i, farthest=0.4) for i in range(2)]
    jumped = run_of(seed=3)
    apart = replace(jumped, d=jumped.d + 4.5)
    with pytest.raises(DataError, match="share no part of the range"):
        policy_curve([*near, apart], "gold", {})
