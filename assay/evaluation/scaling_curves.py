"""From what a scaling study measured to curves: figures a size, the fit, and what it predicts.

Pure functions of what the points measured; knows nothing of models or files.

Letters: M models · S sizes · R seeds · P held-out pairs · B resamples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.evaluation.power_law import (
    CHANCE,
    PARAMETERS,
    Floats,
    fit_power_law,
    predict,
    r_squared,
    undetermined,
)
from assay.stats import CrossedMeans, crossed_bootstrap, wilson
from assay.stats.arrays import correct_share, preference_losses
from assay.types import Figure, json_number

CURVE_POINTS = 41
"""Where a fitted curve is drawn, from the smallest size to twice the largest."""


@dataclass(frozen=True)
class Measured:
    """What all points measured on the same held-out pairs.

    ``gaps`` and ``length_only_gaps`` are ``(M, S, R, P)``, ``pairs`` (trained on) and ``seconds``
    ``(M, S, R)``; ``probability`` and ``clusters`` are the held-out pairs' labels and prompts.
    """

    models: tuple[str, ...]
    parameters: tuple[int, ...]
    sizes: tuple[int, ...]
    gaps: Floats
    length_only_gaps: Floats
    pairs: Floats
    seconds: Floats
    probability: Floats
    clusters: NDArray[np.int64]


@dataclass(frozen=True)
class SizeFigures:
    """One model at one size: means over the seeds."""

    size: int
    pairs: float
    accuracy: Figure
    nll: Figure
    length_only_accuracy: Figure
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "size": self.size,
            "pairs": self.pairs,
            "accuracy": self.accuracy.to_dict(),
            "nll": self.nll.to_dict(),
            "length_only_accuracy": self.length_only_accuracy.to_dict(),
            "chance_accuracy": CHANCE,
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class HoldOut:
    """The largest size predicted from the smaller ones; ``error`` is predicted − measured."""

    sizes: int
    pairs: float
    predicted: Figure
    measured: Figure
    error: Figure

    @property
    def missed(self) -> bool:
        """Whether the error is more than noise."""
        return not self.error.low <= 0 <= self.error.high

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "fitted_sizes": self.sizes,
            "pairs": self.pairs,
            "predicted": self.predicted.to_dict(),
            "measured": self.measured.to_dict(),
            "error": self.error.to_dict(),
            "missed": self.missed,
        }


@dataclass(frozen=True)
class Fit:
    """``acc(N) = a - b N^(-c)`` over all sizes, and the curve with its band, (N, value, low, high).

    Where ``undetermined`` says why, the numbers stand for nothing; with too few sizes there are
    none. ``no_ceiling`` says that a alone does: it is at its bound 1, for the curve does not level
    off within these sizes.
    """

    undetermined: tuple[str, ...]
    parameters: tuple[Figure, Figure, Figure] | None = None
    r_squared: float = float("nan")
    curve: tuple[tuple[float, float, float, float], ...] = ()
    doubling: Figure | None = None

    @property
    def no_ceiling(self) -> bool:
        """Whether accuracy rises as if to 1."""
        return self.parameters is not None and self.parameters[0].value >= 1.0

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        a, b, c = (p.to_dict() for p in self.parameters) if self.parameters else (None, None, None)
        return {
            "undetermined": list(self.undetermined),
            "no_ceiling": self.no_ceiling,
            "a": a,
            "b": b,
            "c": c,
            "r_squared": json_number(self.r_squared),
            "curve": [list(point) for point in self.curve],
        }


@dataclass(frozen=True)
class Bigger:
    """The next bigger model at the same, largest size: its accuracy minus this one's.

    ``doubling_minus`` is the predicted gain of doubling the data minus that gain, where the former
    is known.
    """

    model: str
    gain: Figure
    doubling_minus: Figure | None

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        more = self.doubling_minus.to_dict() if self.doubling_minus else None
        return {
            "model": self.model,
            "gain": self.gain.to_dict(),
            "doubling_minus_gain": more,
        }


@dataclass(frozen=True)
class ModelCurve:
    """One model over all sizes: what was measured, the fit, and both ways to a better one."""

    model: str
    parameters: int
    sizes: tuple[SizeFigures, ...]
    fit: Fit
    holdout: HoldOut | None
    last_step: Figure
    bigger: Bigger | None

    @property
    def doubling(self) -> Figure | None:
        """Predicted gain of twice the largest size, None where the fit is undetermined."""
        return self.fit.doubling

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "model": self.model,
            "parameters": self.parameters,
            "sizes": [size.to_dict() for size in self.sizes],
            "fit": self.fit.to_dict(),
            "holdout": self.holdout.to_dict() if self.holdout else None,
            "doubling": self.doubling.to_dict() if self.doubling else None,
            "last_step": self.last_step.to_dict(),
            "bigger": self.bigger.to_dict() if self.bigger else None,
        }


def curves(measured: Measured, resamples: int = 2000, seed: int = 0) -> list[ModelCurve]:
    """The curve of every model, smallest model first.

    All intervals are over held-out prompts and seeds, from the same draws, so that differences of
    sizes and models are paired.
    """
    q = measured.probability
    judged = q != 0.5
    cluster = measured.clusters

    def means(values: Floats, groups: NDArray[np.int64]) -> CrossedMeans:
        return crossed_bootstrap(values, groups, resamples, seed)

    accuracy = means(correct_share(measured.gaps, q)[..., judged], cluster[judged])
    length = means(correct_share(measured.length_only_gaps, q)[..., judged], cluster[judged])
    nll = means(preference_losses(measured.gaps, q), cluster)
    order = np.argsort(measured.parameters, kind="stable").tolist()
    found = []
    for place, m in enumerate(order):
        bigger = order[place + 1] if place + 1 < len(order) else None
        found.append(_curve(measured, accuracy, nll, length, m, bigger))
    return found


def _curve(
    measured: Measured,
    accuracy: CrossedMeans,
    nll: CrossedMeans,
    length: CrossedMeans,
    m: int,
    bigger: int | None,
) -> ModelCurve:
    n = measured.pairs[m].mean(axis=-1)  # (S,)
    sizes = tuple(
        SizeFigures(
            size=size,
            pairs=float(n[s]),
            accuracy=share(accuracy[m, s]),
            nll=nll[m, s].figure(),
            length_only_accuracy=share(length[m, s]),
            seconds=float(measured.seconds[m, s].mean()),
        )
        for s, size in enumerate(measured.sizes)
    )
    ours = accuracy[m]
    fit = fitted(n, ours)
    return ModelCurve(
        model=measured.models[m],
        parameters=measured.parameters[m],
        sizes=sizes,
        fit=fit,
        holdout=hold_out(n, ours),
        last_step=ours.figure(lambda y: y[-1] - y[-2]),
        bigger=None if bigger is None else _bigger(measured, accuracy, n, fit, m, bigger),
    )


def _bigger(
    measured: Measured, accuracy: CrossedMeans, n: Floats, fit: Fit, m: int, bigger: int
) -> Bigger:
    weights = _weights(accuracy[m])

    def gain(y: Floats) -> Floats:
        difference: Floats = y[bigger, -1] - y[m, -1]
        return difference

    def doubling_minus(y: Floats) -> Floats:
        return _doubling(n, fit_power_law(n, y[m], weights)) - gain(y)

    return Bigger(
        model=measured.models[bigger],
        gain=accuracy.figure(gain),
        doubling_minus=accuracy.figure(doubling_minus) if fit.doubling else None,
    )


def fitted(n: Floats, accuracy: CrossedMeans) -> Fit:
    """The power law through one model's sizes ``(S,)``, or why there is none."""
    rise = accuracy.figure(lambda y: y[-1] - y[0])
    if len(n) < PARAMETERS:
        return Fit(undetermined(n.tolist(), 1.0, rise))
    weights = _weights(accuracy)
    grid = np.geomspace(n[0], 2 * n[-1], CURVE_POINTS)

    def everything(y: Floats) -> Floats:
        """a, b, c, the gain of doubling, and the curve, from one fit: ``(4 + X, B)``."""
        parameters = fit_power_law(n, y, weights)
        along = [predict(parameters, float(size)) for size in grid]
        return np.stack([*parameters, _doubling(n, parameters), *along])

    value, low, high = accuracy.interval(everything)
    rows = list(zip(value.tolist(), low.tolist(), high.tolist(), strict=True))
    a, b, c, doubling = (Figure(*row, accuracy.n) for row in rows[:4])
    reasons = undetermined(n.tolist(), c.value, rise)
    return Fit(
        undetermined=reasons,
        parameters=(a, b, c),
        r_squared=r_squared(n, accuracy.value[:, 0], weights, value[:3, None]),
        curve=tuple((size, *row) for size, row in zip(grid.tolist(), rows[4:], strict=True)),
        doubling=None if reasons else doubling,
    )


def hold_out(n: Floats, accuracy: CrossedMeans) -> HoldOut | None:
    """The largest size predicted by a fit to the others; None where fewer than three are left."""
    if len(n) <= PARAMETERS:
        return None
    weights = _weights(accuracy)[:-1]

    def predicted(y: Floats) -> Floats:
        return predict(fit_power_law(n[:-1], y[:-1], weights), float(n[-1]))

    return HoldOut(
        sizes=len(n) - 1,
        pairs=float(n[-1]),
        predicted=accuracy.figure(predicted),
        measured=share(accuracy[-1]),
        error=accuracy.figure(lambda y: predicted(y) - y[-1]),
    )


def share(mean: CrossedMeans) -> Figure:
    """A mean of shares; where all prompts and seeds agree, with Wilson's interval over prompts."""
    figure = mean.figure(bounds=(0.0, 1.0))
    if figure.low < figure.high:
        return figure
    known = wilson(figure.value * mean.clusters, mean.clusters)
    return Figure(figure.value, known.low, known.high, figure.n)


def _weights(accuracy: CrossedMeans) -> Floats:
    """Inverse variances of one model's sizes; at least that of half a pair, for none is exact."""
    least = (0.5 / accuracy.n) ** 2
    weights: Floats = 1 / np.maximum(accuracy.draws.var(axis=-1), least)
    return weights


def _doubling(n: Floats, parameters: Floats) -> Floats:
    """Predicted accuracy at twice the largest size, minus that predicted at it."""
    return predict(parameters, 2 * float(n[-1])) - predict(parameters, float(n[-1]))
