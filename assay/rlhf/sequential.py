"""Tests that are looked at after every step and keep their false-alarm rate over the whole run.

A statistic is the largest of many windows and steps, and its p-value the share of simulated runs
*of the same length* whose largest one is as large: (1 + that number) / (1 + runs), which is valid
for any number of runs (Davison & Hinkley 1997, ch. 4). So a p-value may be read at every step, and
a small one stays small. Short windows are many, and so their largest statistic is larger by chance:
each is made smaller by about that (:func:`penalty`), else long windows would find nothing. Knows
nothing of rewards.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

import numpy as np

from assay.rlhf.signals import Point
from assay.stats.arrays import Floats

DRAWS = 2000
"""Simulated runs behind a p-value."""
LONGEST = 96
"""Steps of the longest window."""
FREEDOM = 20
"""Least degrees of freedom of the error of the shortest window."""
_BLOCK = 500_000


def window_sizes(shortest: int, steps: int, freedom: int) -> tuple[int, ...]:
    """Lengths of the windows: doublings of the shortest, up to a quarter of the run.

    Args:
        shortest: Steps in a row that must agree.
        freedom: Degrees of freedom of one step's error: prompts less one. The shortest window is
            lengthened until its error has ``FREEDOM``.
    """
    size = max(shortest, -(-FREEDOM // max(freedom, 1)))
    sizes = [size]
    while 2 * sizes[-1] <= min(LONGEST, steps // 4):
        sizes.append(2 * sizes[-1])
    return tuple(sizes)


def penalty(steps: int, size: int, sides: int) -> float:
    """About the largest of the windows of one size by chance: ``√(2 log(steps / size))`` a side.

    Dümbgen & Spokoiny 2001. The difference of two windows has two sides, each with 1/√2 of the
    error.
    """
    return float(np.sqrt(2 * sides * np.log(max(steps / size, 1.0))))


@dataclass(frozen=True, slots=True)
class Window:
    """The mean of consecutive steps with its squared error; of a second series beside it, too."""

    last_step: int
    mean: float
    variance: float
    beside: float = 0.0
    beside_variance: float = 0.0


@dataclass(frozen=True, slots=True)
class Drop:
    """How far the last steps lie below the best ones before, in standard errors less a penalty."""

    statistic: float
    size: int
    best: Window
    now: Window


class _Recent:
    """Running sums of a series' means and squared errors, as far back as windows need them."""

    def __init__(self, length: int):
        self.sums: deque[tuple[float, float, float, float]] = deque([(0.0,) * 4], length + 1)
        self.steps: deque[int] = deque([0], length + 1)

    def add(self, step: int, point: Point, beside: Point | None) -> None:
        a, b, c, d = self.sums[-1]
        e, f = (beside.mean, beside.variance) if beside else (0.0, 0.0)
        self.sums.append((a + point.mean, b + point.variance, c + e, d + f))
        self.steps.append(step)

    def window(self, size: int, back: int = 0) -> Window | None:
        """The window of ``size`` steps that ends ``back`` steps ago."""
        if len(self.sums) < size + back + 1:
            return None
        end, start = self.sums[-1 - back], self.sums[-1 - back - size]
        a, b, c, d = (x - y for x, y in zip(end, start, strict=True))
        # differences of running sums: rounding may leave a variance of 0 just below it
        return Window(
            self.steps[-1 - back], a / size, max(b, 0.0) / size**2, c / size, max(d, 0.0) / size**2
        )

    def state(self) -> dict[str, Any]:
        return {"sums": [list(row) for row in self.sums], "steps": list(self.steps)}

    def restore(self, state: dict[str, Any]) -> None:
        self.sums = deque([tuple(row) for row in state["sums"]], self.sums.maxlen)
        self.steps = deque(state["steps"], self.steps.maxlen)


@dataclass
class DropTest:
    """Whether a series has fallen by more than a tolerance from its best window so far.

    ``(best − now − tolerance) / √(v_best + v_now) − penalty`` of windows of each size; best is the
    window with the largest mean that ended before the present one began. The hypothesis is that the
    series' true mean is never more than ``tolerance`` below what it was before, so a series that
    rises, stands still or goes up and down within the tolerance raises nothing: the difference of
    two windows is then at most ``tolerance`` plus that of their errors, whose largest value over
    the run is what :func:`drop_null` simulates.
    """

    sizes: tuple[int, ...]
    steps: int
    """Of the whole run, for the penalty."""
    tolerance: float
    best: dict[int, Window] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._recent = _Recent(2 * max(self.sizes))

    def add(self, step: int, point: Point, beside: Point | None = None) -> list[Drop]:
        """Take one more step; a drop for every size of window that fits twice by now."""
        self._recent.add(step, point, beside)
        found = []
        for size in self.sizes:
            now, past = self._recent.window(size), self._recent.window(size, back=size)
            if now is None or past is None:
                continue
            best = self.best.get(size)
            if best is None or past.mean > best.mean:
                best = self.best[size] = past
            error = np.sqrt(best.variance + now.variance)
            distance = best.mean - now.mean - self.tolerance
            statistic = _ratio(distance, float(error)) - penalty(self.steps, size, 2)
            found.append(Drop(statistic, size, best, now))
        return found

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "recent": self._recent.state(),
            "best": {str(size): asdict(window) for size, window in self.best.items()},
        }

    def restore(self, state: dict[str, Any]) -> None:
        """What :meth:`state` gave."""
        self._recent.restore(state["recent"])
        self.best = {int(size): Window(**window) for size, window in state["best"].items()}


@dataclass
class ShiftTest:
    """Whether a series lies above a level (or below it), which may itself be uncertain.

    ``± (now − level) / √(v_now + v_level) − penalty`` of windows of each size. The hypothesis is
    that the true mean is never beyond the level. :func:`shift_null` simulates it with a certain
    level; an error that all windows share only makes the largest one smaller (Slepian 1962).
    """

    sizes: tuple[int, ...]
    steps: int
    """Of the whole run, for the penalty."""
    level: float
    variance: float
    is_above: bool

    def __post_init__(self) -> None:
        self._recent = _Recent(max(self.sizes))

    def add(self, step: int, point: Point) -> list[tuple[float, int, Window]]:
        """Take one more step; statistic, size and window for every size that fits by now."""
        self._recent.add(step, point, None)
        found = []
        for size in self.sizes:
            now = self._recent.window(size)
            if now is not None:
                distance = now.mean - self.level if self.is_above else self.level - now.mean
                error = float(np.sqrt(now.variance + self.variance))
                statistic = _ratio(distance, error) - penalty(self.steps, size, 1)
                found.append((statistic, size, now))
        return found

    def state(self) -> dict[str, Any]:
        """As JSON."""
        return {"recent": self._recent.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """What :meth:`state` gave."""
        self._recent.restore(state["recent"])


def _ratio(distance: float, error: float) -> float:
    """Distance in errors; beyond every simulated one where it has no error at all."""
    if error > 0:
        return distance / error
    return float("inf") if distance > 0 else float("-inf")


def p_value(statistic: float, null: Floats) -> float:
    """``(1 + #{simulated ≥ statistic}) / (1 + #simulated)`` of sorted simulated statistics."""
    above = len(null) - int(np.searchsorted(null, statistic, side="left"))
    return (1 + above) / (1 + len(null))


@lru_cache(maxsize=32)
def drop_null(steps: int, freedom: int, sizes: tuple[int, ...], draws: int = DRAWS) -> Floats:
    """The largest statistic of :class:`DropTest` in each of so many runs whose mean stands still.

    Means are normal and squared errors ``χ²/freedom`` about the true one; sorted.
    """
    return _maxima(_drop_statistics, 2, steps, freedom, sizes, draws)


@lru_cache(maxsize=32)
def shift_null(steps: int, freedom: int, sizes: tuple[int, ...], draws: int = DRAWS) -> Floats:
    """The largest statistic of :class:`ShiftTest` in each of so many runs at the level; sorted."""
    return _maxima(_shift_statistics, 1, steps, freedom, sizes, draws)


def _maxima(
    statistics: Callable[[Floats, Floats, int], Floats],
    sides: int,
    steps: int,
    freedom: int,
    sizes: Sequence[int],
    draws: int,
) -> Floats:
    rng = np.random.default_rng([steps, freedom])
    rows = max(1, _BLOCK // steps)
    found = []
    for start in range(0, draws, rows):
        shape = (min(rows, draws - start), steps)
        means = np.cumsum(rng.standard_normal(shape), axis=1)
        variances = np.cumsum(rng.chisquare(freedom, shape) / freedom, axis=1)
        largest = np.full(shape[0], -np.inf)
        for size in sizes:
            if size <= steps:
                each = statistics(_windows(means, size), _windows(variances, size) / size, size)
                if each.shape[1]:
                    largest = np.maximum(largest, each.max(axis=1) - penalty(steps, size, sides))
        found.append(largest)
    return np.sort(np.concatenate(found))


def _windows(sums: Floats, size: int) -> Floats:
    """Means of every window, from running sums."""
    before = np.concatenate([np.zeros((len(sums), 1)), sums[:, :-size]], axis=1)
    means: Floats = (sums[:, size - 1 :] - before) / size
    return means


def _shift_statistics(means: Floats, variances: Floats, size: int) -> Floats:
    statistics: Floats = means / np.sqrt(variances)
    return statistics


def _drop_statistics(means: Floats, variances: Floats, size: int) -> Floats:
    best = np.maximum.accumulate(means, axis=1)
    at = np.where(means == best, np.arange(means.shape[1]), 0)
    of_best = np.take_along_axis(variances, np.maximum.accumulate(at, axis=1), axis=1)
    error = np.sqrt(of_best[:, :-size] + variances[:, size:])
    statistics: Floats = (best[:, :-size] - means[:, size:]) / error
    return statistics
