"""Is the model as sure as it is right, and what puts that in order.

A ``Calibration`` is fitted on pairs apart from the suite: a temperature, a gain and bias that bring
rewards to mean 0 and deviation 1, and the part of the reward that follows from length. It is kept
in ``calibration.json`` beside the model, and applied only on request: the reward stays raw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.atomic import write_json
from assay.errors import DataError
from assay.evaluation.suite import ScoredItem
from assay.stats import (
    accuracy,
    brier,
    ece,
    fit_temperature,
    preference_nll,
    reliability_bins,
    wilson,
)
from assay.types import Figure

FILE = "calibration.json"
CURVE_POINTS = 50
"""Lengths at which the LOWESS curve is kept; between them it is linear."""
SMOOTHING = 2 / 3
"""Share of the points behind each point of the curve: Cleveland's own default."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """What was fitted, on what.

    ``temperature`` divides gaps before σ. ``gain × reward + bias`` has mean 0 and deviation 1 on
    the fitting responses. ``curve`` is the reward that length explains at ``lengths`` (characters).
    """

    temperature: float
    gain: float
    bias: float
    lengths: tuple[float, ...]
    curve: tuple[float, ...]
    pairs: int
    fitted_on: str

    def length_part(self, lengths: ArrayLike) -> Floats:
        """The reward that length explains, clamped to the ends of what was seen in fitting."""
        at: Floats = np.interp(np.asarray(lengths, dtype=np.float64), self.lengths, self.curve)
        return at

    def to_dict(self) -> dict[str, Any]:
        """As in ``calibration.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: Mapping[str, Any]) -> Calibration:
        """The inverse of ``to_dict``.

        Raises:
            DataError: If a field is missing.
        """
        try:
            return cls(**{**row, "lengths": tuple(row["lengths"]), "curve": tuple(row["curve"])})
        except (KeyError, TypeError) as error:
            raise DataError(f"This is no calibration: {error}.") from error

    def save(self, run: Path) -> Path:
        """Write ``calibration.json`` into a run directory."""
        write_json(run / FILE, self.to_dict())
        return run / FILE

    @classmethod
    def load(cls, run: Path) -> Calibration:
        """Read a run's ``calibration.json``.

        Raises:
            DataError: If there is none, or it is damaged.
        """
        try:
            return cls.from_dict(json.loads((run / FILE).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise DataError(f"{run / FILE} could not be read: {error}.") from error


def fit_calibration(scored: Sequence[ScoredItem], fitted_on: str) -> Calibration:
    """Fit everything on scored pairs that are not those of the report.

    The length curve is LOWESS (Cleveland 1979) of reward on length, as in Huang et al. 2024 (arXiv
    2409.17407).

    Raises:
        DataError: If there are fewer than ten pairs.
    """
    gaps, _ = pair_gaps(scored)
    if len(gaps) < 10:
        raise DataError(
            f"{fitted_on} has {len(gaps)} scored pairs; calibration is fitted on ten or more."
        )
    rewards = np.array([r for item in scored for r in item.rewards])
    lengths = np.array([n for item in scored for n in item.lengths or ()], dtype=np.float64)
    spread = float(rewards.std()) or 1.0
    at, curve = length_curve(rewards, lengths) if len(lengths) == len(rewards) else ((0.0,), (0.0,))
    return Calibration(
        temperature=fit_temperature(gaps),
        gain=1 / spread,
        bias=-float(rewards.mean()) / spread,
        lengths=at,
        curve=curve,
        pairs=len(gaps),
        fitted_on=fitted_on,
    )


def length_curve(rewards: Floats, lengths: Floats) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """LOWESS of reward on length, at quantiles of the lengths, with mean 0."""
    from statsmodels.nonparametric.smoothers_lowess import lowess

    points = np.unique(np.quantile(lengths, np.linspace(0, 1, CURVE_POINTS)))
    if len(points) < 3:
        return (float(lengths.mean()),), (0.0,)
    order = np.argsort(lengths, kind="stable")
    delta = 0.01 * float(np.ptp(lengths))
    smooth = lowess(
        rewards[order], lengths[order], frac=SMOOTHING, it=3, delta=delta, return_sorted=False
    )
    curve = np.interp(points, lengths[order], smooth)
    return tuple(points.tolist()), tuple((curve - smooth.mean()).tolist())


def without_length(scored: Sequence[ScoredItem], calibration: Calibration) -> list[ScoredItem]:
    """The items with the part of each reward that length explains taken off."""
    from dataclasses import replace

    return [
        replace(
            item,
            rewards=tuple(
                (item.rewards - calibration.length_part(np.array(item.lengths))).tolist()
            ),
        )
        for item in scored
    ]


def pair_gaps(scored: Sequence[ScoredItem]) -> tuple[Floats, list[str]]:
    """Gaps of all (right, wrong) pairs of responses, and the cluster of each."""
    gaps, clusters = [], []
    for item in scored:
        for right in item.right:
            for wrong in item.wrong:
                gaps.append(right - wrong)
                clusters.append(item.cluster)
    return np.array(gaps, dtype=np.float64), clusters


def calibration_figures(
    scored: Sequence[ScoredItem], calibration: Calibration | None = None, seed: int = 0
) -> dict[str, Any]:
    """The block ``calibration`` of ``results.json``: ECE, Brier, NLL, bins, after temperature."""
    gaps, clusters = pair_gaps(scored)
    block: dict[str, Any] = {
        "ece": ece(gaps, clusters=clusters, resamples=500, seed=seed).to_dict(),
        "brier": brier(gaps, clusters=clusters).to_dict(),
        "nll": preference_nll(gaps, clusters=clusters).to_dict(),
        "temperature": None,
        "bins": [_bin(b.confidence, b.accuracy, b.n) for b in reliability_bins(gaps)],
    }
    if calibration is not None:
        cooled = gaps / calibration.temperature
        block["temperature"] = {
            "value": calibration.temperature,
            "fitted_on": calibration.fitted_on,
            "n": calibration.pairs,
            "ece": ece(cooled, clusters=clusters, resamples=500, seed=seed).to_dict(),
            "nll": preference_nll(cooled, clusters=clusters).to_dict(),
        }
    return block


def _bin(confidence: float, share: float, n: int) -> dict[str, Any]:
    interval = wilson(share * n, n)
    return {
        "confidence": confidence,
        "accuracy": share,
        "low": interval.low,
        "high": interval.high,
        "n": n,
    }


def calibrated_lengths(scored: Sequence[ScoredItem], calibration: Calibration) -> dict[str, Any]:
    """Accuracy of pairs before and after the length part is taken off, overall and by length."""
    after = without_length(scored, calibration)
    return {
        "fitted_on": calibration.fitted_on,
        "raw": pair_accuracy(scored).to_dict(),
        "calibrated": pair_accuracy(after).to_dict(),
    }


def pair_accuracy(scored: Sequence[ScoredItem]) -> Figure:
    """Accuracy over all (right, wrong) pairs of responses, ties ½, clustered."""
    gaps, clusters = pair_gaps(scored)
    return accuracy(gaps, clusters=clusters)
