"""Numbers of a run that are weighted sums of its steps, with errors, and what several runs say.

Almost all that is said of a curve (a part of it, its end, its loss, its area) weighs the steps of
each run. Over three or more runs its interval is Student's over runs. Of one or two it is over the
steps within them: every step draws prompts and responses anew, so steps differ by independent
noise about the run's own path, and another seed's path may differ by more.

Letters: T steps · R runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.evaluation.best_of_n import Floats
from assay.evaluation.gold_fit import FEWEST_RUNS
from assay.stats.estimates import Estimate, estimate_mean
from assay.types import Figure


@dataclass(frozen=True)
class Gains:
    """A line of one run: each step's figure less the reference's, NaN where a step has none."""

    value: Floats  # (T,)
    noise: float
    """The deviation of a step's figure about the run's path."""
    reference_error: float
    """The standard error of what was subtracted."""

    @property
    def known(self) -> NDArray[np.bool_]:
        """Steps with a figure, ``(T,)``."""
        return ~np.isnan(self.value)


@dataclass(frozen=True)
class Value:
    """A number of one run, the square of its error over the run's steps, and what that rests on."""

    value: float
    variance: float
    df: float
    steps: int

    def minus(self, other: Value) -> Value:
        """The difference of two runs."""
        return Value(
            self.value - other.value,
            self.variance + other.variance,
            self.df + other.df,
            self.steps + other.steps,
        )


def gains_of(values: Floats, reference: Floats | None, scale: float = 1.0) -> Gains:
    """The gains of a run over its reference policy, by a scale.

    The noise is that of neighbouring steps, ``√(Σ (g_{t+1} - g_t)² / 2(T-1))``, which a slow path
    leaves alone: von Neumann 1941.

    Args:
        reference: The figure in each batch of the reference policy; None subtracts nothing.
    """
    found = values[~np.isnan(values)] / scale
    noise = float(np.mean(np.diff(found) ** 2) / 2) ** 0.5 if len(found) > 1 else float("nan")
    if reference is None:
        return Gains(values / scale, noise, 0.0)
    return Gains((values - reference.mean()) / scale, noise, noise / float(np.sqrt(len(reference))))


def weigh(gains: Gains, weights: Floats) -> Value:
    """``Σ w_t g_t`` with ``σ² Σ w² + s² (Σ w)²``, s the error of the reference.

    Args:
        weights: ``(T,)``, 0 where the step has no figure.
    """
    at = weights != 0
    w = weights[at]
    variance = gains.noise**2 * float(np.sum(w**2))
    variance += gains.reference_error**2 * float(w.sum()) ** 2
    freedom = float(max(gains.known.sum() - 1, 1))
    return Value(float(np.sum(w * gains.value[at])), variance, freedom, int(at.sum()))


def mean_of(values: Sequence[Value]) -> Estimate:
    """The mean over runs: with Student's error over three or more, else that over their steps."""
    if len(values) >= FEWEST_RUNS:
        return estimate_mean([v.value for v in values])
    if not values:
        return Estimate(np.nan, np.nan, 0.0, 0)
    error = float(np.sqrt(sum(v.variance for v in values))) / len(values)
    return Estimate(
        float(np.mean([v.value for v in values])),
        error,
        sum(v.df for v in values),
        sum(v.steps for v in values),
    )


def difference(one: Estimate, other: Estimate) -> Figure:
    """Of two independent means, by Welch 1947."""
    parts = np.array([one.error, other.error]) ** 2
    value, n = one.value - other.value, min(one.n, other.n)
    if np.isnan(parts).any():
        return Figure(value, np.nan, np.nan, n)
    spread = float(np.sum(parts**2 / np.maximum([one.df, other.df], 1.0)))
    df = float(parts.sum()) ** 2 / spread if spread else one.df + other.df
    return Estimate(value, float(parts.sum() ** 0.5), df, n).figure()


def ratio_of(gains: Sequence[Gains], above: Sequence[Floats], below: Sequence[Floats]) -> Figure:
    """Mean over runs of one weighted sum by that of another; by the delta method.

    ``ρ = A/B``; its error is that of ``A - ρB`` by B. Undefined where the interval of B reaches 0.
    """
    tops = mean_of([weigh(g, w) for g, w in zip(gains, above, strict=True)])
    bottoms = mean_of([weigh(g, w) for g, w in zip(gains, below, strict=True)])
    if not bottoms.figure().low > 0:
        return Figure(np.nan, np.nan, np.nan, tops.n)
    ratio = tops.value / bottoms.value
    left = mean_of([weigh(g, a - ratio * b) for g, a, b in zip(gains, above, below, strict=True)])
    return Estimate(ratio, left.error / bottoms.value, left.df, left.n).figure()


# --- weights --------------------------------------------------------------------------------------


def even(chosen: NDArray[np.bool_]) -> Floats:
    """Equal weights of the chosen steps, which sum to 1; at least one must be chosen."""
    found: Floats = chosen / chosen.sum()
    return found


def last(known: NDArray[np.bool_], count: int) -> Floats:
    """Equal weights of the last so many steps with a figure."""
    chosen = np.zeros(len(known), dtype=np.bool_)
    chosen[np.flatnonzero(known)[-count:]] = True
    return even(chosen)


def height(d: Floats, known: NDArray[np.bool_], reach: float, parts: int) -> Floats:
    """Weights of the mean gain between the reference and ``d = reach``, every d weighing alike.

    The means of the steps in equal parts of the range, joined by lines from 0 at the reference; the
    sum of the weights is below 1, for at the reference the gain is 0 without any step, and steps at
    ``d = 0`` have no weight.
    """
    width = reach / parts
    place = np.where(known & (d > 0), np.minimum(d / width, 2 * parts).astype(int), -1)
    there = np.unique(place[place >= 0])
    means = np.array([d[place == k].mean() for k in there])
    nodes = np.concatenate([[0.0], means])
    fine = np.linspace(0.0, reach, 50 * parts + 1)
    weights = np.zeros(len(d))
    for row, k in enumerate(there, start=1):
        share = np.trapezoid(np.interp(fine, nodes, np.eye(len(nodes))[row]), fine) / reach
        inside = place == k
        weights[inside] = share / inside.sum()
    return weights
