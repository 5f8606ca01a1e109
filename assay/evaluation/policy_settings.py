"""Settings of RL held against each other: gold at the end, and at equal distance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from assay.evaluation.gold_fit import FEWEST_RUNS
from assay.evaluation.policy_curves import PolicyCurve, end_weights, height_weights
from assay.evaluation.policy_values import Value, difference, mean_of, weigh
from assay.types import Figure


@dataclass(frozen=True)
class SettingDifference:
    """One setting less another: gold at the end, and on average at equal √KL up to ``reach``."""

    setting: str
    other: str
    end: Figure
    equal: Figure
    reach: float
    pairs: int
    """Runs paired by their seed; 0 where they are compared as independent."""
    unpaired: int
    """Runs of both without a partner, left out where others have one."""

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "setting": self.setting,
            "minus": self.other,
            "end": self.end.to_dict(),
            "at_equal_sqrt_kl": {"up_to_sqrt_kl": self.reach, **self.equal.to_dict()},
            "pairs": self.pairs,
            "unpaired": self.unpaired,
        }


def setting_difference(one: PolicyCurve, other: PolicyCurve) -> SettingDifference:
    """Gold of one setting less that of another.

    Runs are paired by their seed where three or more match, or all do; else they are compared as
    independent.
    """
    seeds = [run.seed for run in other.runs]
    pairs = [
        (i, seeds.index(run.seed))
        for i, run in enumerate(one.runs)
        if run.seed is not None and run.seed in seeds
    ]
    unpaired = len(one.runs) + len(other.runs) - 2 * len(pairs)
    if unpaired and len(pairs) < FEWEST_RUNS:
        pairs, unpaired = [], 0
    reach = min(one.reach, other.reach)
    return SettingDifference(
        one.setting,
        other.setting,
        _difference(_ends(one), _ends(other), pairs),
        _difference(_heights(one, reach), _heights(other, reach), pairs),
        reach,
        len(pairs),
        unpaired,
    )


def _ends(curve: PolicyCurve) -> list[Value]:
    return [weigh(gains, end_weights(gains)) for gains in curve.gains]


def _heights(curve: PolicyCurve, reach: float) -> list[Value]:
    """The mean gold of each run up to a √KL."""
    rows = zip(curve.runs, curve.gains, strict=True)
    return [weigh(gains, height_weights(run, gains, reach)) for run, gains in rows]


def _difference(
    one: Sequence[Value], other: Sequence[Value], pairs: Sequence[tuple[int, int]]
) -> Figure:
    if pairs:
        return mean_of([one[i].minus(other[j]) for i, j in pairs]).figure()
    return difference(mean_of(one), mean_of(other))
