"""A few labels of people and many of a judge: means that keep the people's truth.

A judge's own win rate has the judge's bias, however many items it judged. Prediction-powered
inference takes the bias off by the items that people labelled too. Labelled items must be a random
sample of all: those that people were asked about because the judge was unsure are not.

Letters: N items · n of them labelled by people.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, codes, finite, nothing
from assay.stats.estimates import Estimate
from assay.stats.intervals import cluster_mean
from assay.types import Figure


@dataclass(frozen=True, slots=True)
class PredictionPowered:
    """A mean that labels and predictions give together, and the power λ of the predictions."""

    estimate: Estimate
    power: float


def prediction_powered_mean(
    labels: ArrayLike,
    predictions: ArrayLike,
    clusters: Clusters = None,
    power: int | float | None = None,
) -> PredictionPowered:
    """The mean label of N items of which n are labelled and all are predicted.

    ``θ = ȳ_L + λ (f̄_U - f̄_L)``, L the labelled items and U the others, y labels and f predictions.
    λ = 1 is Angelopoulos et al. 2023 (arXiv 2301.09633), λ = 0 the mean of the labels alone, and by
    default λ is the one of least variance, PPI++'s (Angelopoulos, Duchi & Zrnic 2023, arXiv
    2311.01453, ex. 6.1): ``λ = Cov(y, f) / ((1 + n/u) Var f)`` with u = N - n where every item is
    its own cluster. It is not cut off at 0 or 1.

    ``SE² = Σ_g (Y_g - λ F_g)²`` over clusters g: ``Y_g = c_L Σ_{g∩L} (y - ȳ_L) / n`` and
    ``F_g = c_L Σ_{g∩L} (f - f̄_L) / n - c_U Σ_{g∩U} (f - f̄_U) / u``, c² the factor G/(G-1) of each
    part, as :func:`~assay.stats.estimate_mean` has it; a cluster may have items of both parts. λ
    minimises this sum; that it was fitted takes one more degree of freedom off. The degrees of
    freedom are those of Welch 1947 and Satterthwaite 1946.

    The mean meant is that of the population that items come from. Of these N items alone it is
    known somewhat better than the interval says.

    Args:
        labels: ``(N,)``, NaN where there is none.
        predictions: ``(N,)``.
        power: λ; default: the best.

    Raises:
        DataError: If the arrays do not fit each other, or hold what is no number.
    """
    y = np.asarray(labels, dtype=np.float64)
    f = finite("predictions", predictions)
    if y.shape != f.shape or np.isinf(y).any():
        raise DataError(
            f"labels must be one finite number or NaN for each of {len(f):,} predictions, got "
            f"shape {y.shape} with {int(np.isinf(y).sum()):,} infinite."
        )
    cluster = codes(clusters, len(f))
    has_label = ~np.isnan(y)
    count = int(has_label.sum())
    if not count:
        return PredictionPowered(Estimate(np.nan, np.nan, 0.0, 0), 0.0)
    total = int(cluster.max()) + 1
    own, of_labels = _influence(y[has_label], cluster[has_label], total)
    predicted, _ = _influence(f[has_label], cluster[has_label], total)
    others, of_others = _influence(f[~has_label], cluster[~has_label], total)
    if of_labels < 2 or of_others < 2:
        power = 0.0  # nothing beside the labels, or no error of theirs to weigh it by
    slopes = predicted - others
    spread = float(np.sum(slopes**2))
    chosen = (float(np.sum(own * slopes)) / spread if spread else 0.0) if power is None else power
    value = float(y[has_label].mean())
    if chosen:
        value += chosen * (float(f[~has_label].mean()) - float(f[has_label].mean()))
    first, second = own - chosen * predicted, chosen * others
    spent = int(power is None and bool(chosen) and of_labels > 2)
    variance = (
        float(np.sum((first + second) ** 2)) * (of_labels - 1) / max(of_labels - 1 - spent, 1)
    )
    error = float(np.sqrt(variance)) if of_labels > 1 else float("nan")
    freedom = _freedom(
        (float(np.sum(first**2)), of_labels - 1 - spent), (float(np.sum(second**2)), of_others - 1)
    )
    n = len(f) if chosen else count
    return PredictionPowered(Estimate(value, error, freedom, n), float(chosen))


def _influence(values: Floats, cluster: NDArray[np.intp], total: int) -> tuple[Floats, int]:
    """What each of all clusters adds to the error of a mean, and how many clusters there are.

    The sum of squares is the squared error of ``estimate_mean``.
    """
    there = len(np.unique(cluster))
    if there < 2:
        return np.zeros(total), there
    residual = np.bincount(cluster, values - values.mean(), minlength=total)
    return np.sqrt(there / (there - 1)) * residual / len(values), there


def _freedom(*parts: tuple[float, int]) -> float:
    """Degrees of freedom of the sum of independent variances, each with its own."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / max(df, 1) for variance, df in parts)
    return float(total**2 / spread) if spread else float(max(parts[0][1], 0))


@dataclass(frozen=True, slots=True)
class WinRate:
    """How often one side wins, by people and a judge together, and by each alone.

    ``corrected`` is the figure to report. ``bias`` is the judge's win rate less the people's on
    the items that both judged. ``power`` is λ: how far the judge's word counts. ``worth`` is how
    many labels of people alone would give as short an interval, None where that is unknown.
    """

    corrected: Figure
    classical: Figure
    uncorrected: Figure
    bias: Figure
    power: float
    labelled: int
    worth: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "corrected": self.corrected.to_dict(),
            "people_alone": self.classical.to_dict(),
            "judge_alone": self.uncorrected.to_dict(),
            "bias": self.bias.to_dict(),
            "power": self.power,
            "labelled": self.labelled,
            "worth_labels": self.worth,
        }

    def __str__(self) -> str:
        worth = "" if self.worth is None else f", worth {self.worth:,.0f} labels of people alone"
        return (
            f"win rate {self.corrected}: {self.labelled:,} labels of people and a judge "
            f"(λ={self.power:.2f}){worth}\n"
            f"people alone {self.classical}\n"
            f"judge alone {self.uncorrected}, which has the judge's bias of "
            f"{self.bias.value:+.3f} [{self.bias.low:+.3f}, {self.bias.high:+.3f}]"
        )


def win_rate(
    probabilities: ArrayLike,
    human: Sequence[float | None] | Floats,
    clusters: Clusters = None,
    power: int | float | None = None,
) -> WinRate:
    """A win rate from a judge's probabilities of all items and people's labels of some.

    :func:`prediction_powered_mean` of shares: 1 a win, 0 a loss, ½ a tie; intervals are Wilson's
    for a share with this error. Beside it the mean of the labels alone, and the judge's own mean.

    Args:
        probabilities: The judge's P(win) of each item, ``(N,)``.
        human: The share of people's votes that is for a win, None or NaN where nobody was asked.
        power: λ; default: the one of least variance.

    Raises:
        DataError: If something is no share, or there is not one of each for every item.
    """
    f = finite("probabilities", probabilities)
    y = np.array([np.nan if v is None else v for v in human], dtype=np.float64)
    for name, values in (("probabilities", f), ("human", y[~np.isnan(y)])):
        if len(values) and not (values.min() >= 0 and values.max() <= 1):
            raise DataError(
                f"{name} must lie between 0 and 1, got {values.min():g} to {values.max():g}."
            )
    found = prediction_powered_mean(y, f, clusters, power)
    cluster = codes(clusters, len(f))
    labelled = ~np.isnan(y)
    estimate = found.estimate
    if estimate.n:
        value = min(max(estimate.value, 0.0), 1.0)
        corrected = Estimate(value, estimate.error, estimate.df, estimate.n).figure((0.0, 1.0))
    else:
        corrected = nothing()
    return WinRate(
        corrected=corrected,
        classical=cluster_mean(y[labelled], cluster[labelled], bounds=(0.0, 1.0)),
        uncorrected=cluster_mean(f, cluster, bounds=(0.0, 1.0)),
        bias=cluster_mean((f - y)[labelled], cluster[labelled]),
        power=found.power,
        labelled=int(labelled.sum()),
        worth=_worth(y[labelled], cluster[labelled], estimate),
    )


def _worth(labels: Floats, cluster: NDArray[np.intp], found: Estimate) -> float | None:
    """Labels times how much smaller the variance is than that of the labels alone."""
    own, there = _influence(labels, cluster, int(cluster.max(initial=0)) + 1)
    alone = float(np.sum(own**2))
    if there < 2 or not alone or not found.error > 0:
        return None
    return len(labels) * alone / found.error**2
