"""Over-optimisation in best-of-n: what becomes of gold as the proxy is selected for harder.

Pure functions of rewards; knows nothing of models or files.

Letters: P prompts · G values of n · B resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from assay.errors import ConfigError
from assay.evaluation.best_of_n import RESAMPLES, Floats, Line, band, best_of_n_kl, prompt_draws
from assay.evaluation.gold_fit import GoldFit, gold_fit, percentiles
from assay.evaluation.selection import Candidates, Selector, selected
from assay.stats import cluster_mean
from assay.stats.intervals import bootstrap_tail
from assay.types import Figure

FOLDS = 10
"""Parts of the prompts, each measured at the peak that the others show."""


@dataclass(frozen=True)
class GoldCurve:
    """What best-of-n by one selector gives for each n: gold, proxy, and what is watched.

    ``gold`` and ``proxy`` are gains over a candidate drawn at random (n = 1), each in its own
    standard deviations among the candidates of a prompt. ``disagreement`` is the members' standard
    deviation on the candidate picked, ``length`` its length.

    ``loss`` is the peak's gold less that at the last n, measured on prompts that did not choose the
    peak; where its interval lies above 0 gold falls. ``retention`` is gold at the last n over gold
    at the peak, ``nan`` where the peak is at n = 1.
    """

    selector: str
    n: tuple[int, ...]
    lines: dict[str, Line]
    peak: int
    """The place of the highest mean gold on the grid."""
    loss: Figure
    retention: Figure
    fit: GoldFit | None
    prompts: int
    ends: tuple[float, ...] = field(repr=False)
    """Gold of each prompt at the last n, to compare selectors prompt by prompt."""

    @property
    def kl(self) -> tuple[float, ...]:
        """Nats of each n."""
        return tuple(map(best_of_n_kl, self.n))

    @property
    def falls(self) -> bool:
        """Whether gold is shown to fall after its peak."""
        return self.loss.low > 0

    def at(self, place: int, line: str = "gold") -> Figure:
        """A line at a place on the grid."""
        found = self.lines[line]
        return Figure(found.value[place], found.low[place], found.high[place], self.prompts)

    def minus(self, other: GoldCurve) -> Figure:
        """Gold at the last n less that of another selector, prompt by prompt."""
        return cluster_mean(np.subtract(self.ends, other.ends))

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "lines": {name: line.to_dict() for name, line in self.lines.items()},
            "peak": {
                "n": self.n[self.peak],
                "kl": self.kl[self.peak],
                "gold": self.at(self.peak).to_dict(),
            },
            "end": self.at(-1).to_dict(),
            "loss": self.loss.to_dict(),
            "retention": self.retention.to_dict(),
            "falls": self.falls,
            "fit": self.fit.to_dict() if self.fit else None,
        }


def geometric_grid(most: int) -> tuple[int, ...]:
    """Values of n from 1 to the most, two to a doubling (1, 2, 3, 4, 6, 8, 11 …)."""
    halves = np.arange(int(2 * np.log2(most)) + 1) / 2
    return tuple(sorted({*np.round(2**halves).astype(int).tolist(), 1, most}))


def gold_curve(
    candidates: Candidates,
    selector: Selector,
    n: Sequence[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> GoldCurve:
    """Gold and proxy of best-of-n, with bands from a bootstrap over prompts.

    Each n is estimated from all N candidates (``expected_best``). Resamples are the same for every
    selector.

    Args:
        n: Rising, from 1. Default: a geometric grid up to N.

    Raises:
        ConfigError: If n is no such grid.
        DataError: If the selector rewards all candidates of every prompt alike.
    """
    grid = geometric_grid(candidates.samples) if n is None else tuple(n)
    if grid[:1] != (1,) or any(a >= b for a, b in pairwise(grid)):
        raise ConfigError(f"n must rise from 1; got {', '.join(map(str, grid)) or 'nothing'}.")
    if grid[-1] > candidates.samples:
        raise ConfigError(
            f"n goes up to {grid[-1]:,}, and there are {candidates.samples:,} candidates a prompt."
        )
    values = selected(candidates, selector, grid)
    prompts = candidates.count
    times = prompt_draws(prompts, resamples, seed)
    tail = bootstrap_tail(prompts)
    gains = values["gold"]
    peak = int(gains.mean(axis=0).argmax())
    return GoldCurve(
        selector=str(selector),
        n=grid,
        lines={name: band(value, times, tail) for name, value in values.items()},
        peak=peak,
        loss=loss_after_peak(gains, seed),
        retention=_retention(gains, times),
        fit=gold_fit([best_of_n_kl(k) for k in grid], gains, times),
        prompts=prompts,
        ends=tuple(gains[:, -1].tolist()),
    )


def loss_after_peak(gains: Floats, seed: int = 0) -> Figure:
    """What gold loses from its peak to the last n, the peak chosen by other prompts.

    The highest of many noisy means is too high, and what follows it then seems to fall. So each
    tenth of the prompts is measured at the n where the mean of the other nine is highest; the
    losses are averaged, with Student's interval. It is below 0 where noise hides that gold rises.

    Args:
        gains: ``(P, G)``.
    """
    prompts = len(gains)
    order = np.random.default_rng(seed).permutation(prompts)
    losses = np.empty(prompts)
    for part in np.array_split(order, min(FOLDS, prompts)):
        others = np.delete(gains, part, axis=0).mean(axis=0)
        losses[part] = gains[part, int(others.argmax())] - gains[part, -1]
    return cluster_mean(losses)


def _retention(gains: Floats, times: Floats) -> Figure:
    """Gold at the last n over gold at the peak; each resample has its own peak."""

    def ratio(mean: Floats) -> Floats:
        highest = mean.max(axis=-1)
        found: Floats = np.where(
            highest > 0, mean[..., -1] / np.where(highest > 0, highest, 1.0), np.nan
        )
        return found

    value = float(ratio(gains.mean(axis=0)))
    return percentiles(value, ratio(times @ gains / len(gains)), len(gains))
