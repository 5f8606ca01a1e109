"""Figures with their intervals: accuracy, likelihood, calibration, baselines, comparisons.

NumPy in, ``Figure`` out; knows nothing of models or files. Letters: n values (pairs or responses).

``gaps`` are rewards of chosen minus rejected. ``probability`` is the soft label P(chosen is
better), 1 where it is left out; 0.5 is a tie. ``clusters`` names the prompt of each value (any
hashable that sorts); values of one prompt are not independent, so intervals are over prompts. Left
out, each value is its own cluster. With nothing to measure a figure is ``nan`` with ``n`` 0, and
with a single cluster its interval is ``nan``, or the whole range where the range is known.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.types import Figure

Floats = NDArray[np.float64]
Clusters = Sequence[int] | Sequence[str] | NDArray[np.generic] | None

CONFIDENCE = 0.95
"""Level of every interval."""


def wilson(successes: int | float, n: int) -> Figure:
    """Share of successes among n independent trials, with Wilson's score interval.

    ``(p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n)``. Wilson 1927. Stays inside [0, 1] and
    keeps a width at 0 and 1.
    """
    if not 0 <= successes <= n:
        raise DataError(f"successes must lie between 0 and n={n}, got {successes:g}.")
    if n == 0:
        return _nothing()
    from scipy.special import ndtri

    z = float(ndtri(0.5 + CONFIDENCE / 2))
    share = successes / n
    centre = share + z**2 / (2 * n)
    half = z * np.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    scale = 1 + z**2 / n
    return Figure(
        float(share),
        max(0.0, float((centre - half) / scale)),
        min(1.0, float((centre + half) / scale)),
        n,
    )


def cluster_mean(
    values: ArrayLike, clusters: Clusters = None, bounds: tuple[float, float] | None = None
) -> Figure:
    """Mean of values with an interval over independent clusters.

    ``SE² = G/(G-1) n⁻² Σ_g (Σ_{i∈g} (v_i - v̄))²``, the clustered error of Miller 2024 (arXiv
    2411.00640) with the small-sample factor for G clusters, times the t quantile of G - 1 degrees
    of freedom. One value a cluster gives Student's interval.

    Args:
        bounds: Smallest and largest possible value; the interval is clipped to them.
    """
    v = _finite("values", values)
    if not len(v):
        return _nothing()
    low, high = bounds or (-np.inf, np.inf)
    mean = float(v.mean())
    cluster = _codes(clusters, len(v))
    count = int(cluster.max()) + 1
    if count == 1:
        return Figure(mean, *(bounds or (np.nan, np.nan)), len(v))
    from scipy.special import stdtrit

    residual = np.bincount(cluster, v - mean)
    error = np.sqrt(count / (count - 1) * np.sum(residual**2)) / len(v)
    half = float(stdtrit(count - 1, 0.5 + CONFIDENCE / 2)) * error
    return Figure(mean, float(max(low, mean - half)), float(min(high, mean + half)), len(v))


def cluster_bootstrap(
    values: ArrayLike,
    clusters: Clusters = None,
    statistic: Callable[[Floats], float] = np.mean,
    resamples: int = 2000,
    seed: int = 0,
    kind: Literal["percentile", "basic"] = "percentile",
) -> Figure:
    """Any statistic of rows of values, with a bootstrap interval over clusters.

    Whole clusters are drawn with replacement. Efron & Tibshirani 1993, ch. 13; basic: Davison &
    Hinkley 1997, eq. 5.6. Resamples where the statistic is undefined (``nan``) are left out.

    Args:
        values: Shape (n,) or (n, m); the statistic gets the resampled rows.
        kind: ``percentile`` of the resamples, or ``basic``, which reflects them about the value and
            so undoes the bias of a statistic that resampling inflates, like a calibration error.
    """
    v = np.asarray(values, dtype=np.float64)
    if not len(v):
        return _nothing()
    cluster = _codes(clusters, len(v))
    count = int(cluster.max()) + 1
    value = float(statistic(v))
    rng = np.random.default_rng(seed)
    rows = np.arange(len(v))
    draws = np.empty(resamples)
    for i in range(resamples):
        times = np.bincount(rng.integers(count, size=count), minlength=count)
        draws[i] = statistic(v[np.repeat(rows, times[cluster])])
    draws = draws[np.isfinite(draws)]
    if count == 1 or not len(draws) or np.isnan(value):
        return Figure(value, np.nan, np.nan, len(v))
    low, high = np.quantile(draws, [0.5 - CONFIDENCE / 2, 0.5 + CONFIDENCE / 2])
    if kind == "basic":
        low, high = 2 * value - high, 2 * value - low
    return Figure(value, float(low), float(high), len(v))


def accuracy(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Share of pairs whose better response has the higher reward; equal rewards count half.

    A soft label above 0.5 says that chosen is better, one below that rejected is. Pairs labelled a
    tie have no better response and are left out: ``n`` counts the others. The interval is
    clustered; where all clusters agree, and the clustered one has no width, it is Wilson's over the
    clusters.
    """
    gap, q = _pairs(gaps, probability)
    judged = q != 0.5
    correct = _correct(gap, q)[judged]
    cluster = _codes(clusters, len(gap))[judged]
    figure = cluster_mean(correct, cluster, bounds=(0.0, 1.0))
    if figure.low == figure.high:
        count = len(np.unique(cluster))
        by_cluster = wilson(figure.value * count, count)
        return Figure(figure.value, by_cluster.low, by_cluster.high, figure.n)
    return figure


def preference_nll(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Mean Bradley-Terry loss ``-q log σ(Δ) - (1-q) log σ(-Δ)``; a coin has log 2."""
    gap, q = _pairs(gaps, probability)
    loss = q * np.logaddexp(0, -gap) + (1 - q) * np.logaddexp(0, gap)
    return cluster_mean(loss, clusters)


def brier(
    gaps: ArrayLike, probability: ArrayLike | None = None, clusters: Clusters = None
) -> Figure:
    """Mean squared error ``(σ(Δ) - q)²`` of the prediction (Brier 1950); a coin has 0.25."""
    gap, q = _pairs(gaps, probability)
    return cluster_mean((_sigmoid(gap) - q) ** 2, clusters, bounds=(0.0, 1.0))


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """Pairs of similar confidence: what the model claims of them and how often it is right."""

    confidence: float
    accuracy: float
    n: int


def reliability_bins(
    gaps: ArrayLike, probability: ArrayLike | None = None, bins: int = 10
) -> list[ReliabilityBin]:
    """Bins of equal mass, least confident first.

    Confidence is ``max(p, 1-p)`` with ``p = σ(Δ)``, so which side is called chosen does not matter.
    Being right is the label's probability of the side that the model prefers (half for equal
    rewards), so that ties and vote shares count as what they are. Equal confidences share a bin.
    """
    gap, q = _pairs(gaps, probability)
    return _bins(_confidence(gap), _expected_correct(gap, q), bins)


def ece(
    gaps: ArrayLike,
    probability: ArrayLike | None = None,
    clusters: Clusters = None,
    bins: int = 10,
    resamples: int = 2000,
    seed: int = 0,
) -> Figure:
    """Expected calibration error over bins of equal mass, in [0, 1].

    ``Σ_b (n_b/n) |accuracy_b - confidence_b|``: Naeini et al. 2015, with the equal-mass bins of
    Nixon et al. 2019 and confidence as in :func:`reliability_bins`. Sampling noise pushes it up, in
    small sets by some hundredths, so its interval is the basic bootstrap one, which undoes part of
    that; even so a perfectly calibrated model is not always given an interval that holds 0.
    """
    gap, q = _pairs(gaps, probability)
    rows = np.stack([_confidence(gap), _expected_correct(gap, q)], axis=1)

    def error(sample: Floats) -> float:
        found = _bins(sample[:, 0], sample[:, 1], bins)
        return sum(b.n * abs(b.accuracy - b.confidence) for b in found) / len(sample)

    figure = cluster_bootstrap(rows, clusters, error, resamples, seed, kind="basic")
    # undoing the bias can leave the value itself outside; an interval that does so helps nobody
    low, high = np.clip([figure.low, figure.high], 0, 1)
    return Figure(
        figure.value, float(min(low, figure.value)), float(max(high, figure.value)), figure.n
    )


def fit_temperature(gaps: ArrayLike, probability: ArrayLike | None = None) -> float:
    """The temperature T that minimises the likelihood loss of ``gaps / T``, between 0.01 and 100.

    Guo et al. 2017. One number, so it changes no decision. Fit it on other pairs than those whose
    calibration is reported.
    """
    gap, q = _pairs(gaps, probability)
    if not len(gap):
        raise DataError("A temperature is fitted on pairs, but there are none.")
    return 1 / _logistic_slope(gap, q, 0.01, 100.0)


@dataclass(frozen=True, slots=True)
class LengthBaseline:
    """What the lengths alone would decide: ``gap = weight × (chosen length - rejected length)``.

    A logistic regression of the preference on the length difference, without an intercept, so that
    swapping the sides only turns the sign. Fitted on training pairs: it finds out by itself whether
    longer or shorter is better there.
    """

    weight: float

    @classmethod
    def fit(
        cls, length_differences: ArrayLike, probability: ArrayLike | None = None
    ) -> LengthBaseline:
        """The weight of least loss on training pairs."""
        difference, q = _pairs(length_differences, probability, "length_differences")
        if not len(difference):
            raise DataError(
                "The length-only baseline is fitted on training pairs, but there are none."
            )
        scale = float(np.sqrt(np.mean(difference**2)))
        if scale == 0:
            return cls(0.0)
        # bounded: lengths that decide every pair would send the weight to infinity
        return cls(_logistic_slope(difference / scale, q, -50.0, 50.0) / scale)

    def predict(self, length_differences: ArrayLike) -> Floats:
        """Gaps that :func:`accuracy` and the others take."""
        return self.weight * _finite("length_differences", length_differences)


def reward_length_correlation(
    rewards: ArrayLike,
    lengths: ArrayLike,
    clusters: Clusters,
    method: Literal["pearson", "spearman"] = "spearman",
    resamples: int = 2000,
    seed: int = 0,
) -> Figure:
    """Correlation of reward and length among the responses of the same prompt.

    Both are centred within each prompt first, so prompts that draw long answers, or high rewards,
    say nothing. Spearman's is Pearson's on the ranks of the centred values. Prompts with one
    response are left out of ``n``. ``nan`` where either does not vary.

    Args:
        clusters: The prompt of each response.
    """
    reward, length = _finite("rewards", rewards), _finite("lengths", lengths)
    _same_length(rewards=reward, lengths=length)
    cluster = _codes(clusters, len(reward))
    size = np.bincount(cluster)
    rows = np.stack(
        [x - (np.bincount(cluster, x) / size)[cluster] for x in (reward, length)], axis=1
    )
    shared = size[cluster] > 1

    def correlation(sample: Floats) -> float:
        if method == "spearman":
            from scipy.stats import rankdata

            sample = rankdata(sample, axis=0)
        x, y = (sample - sample.mean(axis=0)).T
        spread = np.sqrt((x @ x) * (y @ y))
        # rounding leaves a constant column a spread of some 1e-16 of its size
        return float(np.clip(x @ y / spread, -1, 1)) if spread > 1e-12 else np.nan

    return cluster_bootstrap(rows[shared], cluster[shared], correlation, resamples, seed)


def accuracy_difference(
    gaps_a: ArrayLike,
    gaps_b: ArrayLike,
    probability: ArrayLike | None = None,
    clusters: Clusters = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Figure:
    """Accuracy of A minus accuracy of B on the same pairs, with a paired bootstrap interval."""
    a, q = _pairs(gaps_a, probability, "gaps_a")
    b, _ = _pairs(gaps_b, probability, "gaps_b")
    _same_length(gaps_a=a, gaps_b=b)
    judged = q != 0.5
    difference = (_correct(a, q) - _correct(b, q))[judged]
    cluster = _codes(clusters, len(a))[judged]
    return cluster_bootstrap(difference, cluster, resamples=resamples, seed=seed)


def mcnemar(gaps_a: ArrayLike, gaps_b: ArrayLike, probability: ArrayLike | None = None) -> float:
    """Two-sided p-value of the hypothesis that A and B are right equally often.

    The exact test of McNemar 1947 on the pairs where one alone is right: binomial with ½. It takes
    pairs as independent; where prompts have several pairs, use :func:`accuracy_difference`. Equal
    rewards are not right.
    """
    a, q = _pairs(gaps_a, probability, "gaps_a")
    b, _ = _pairs(gaps_b, probability, "gaps_b")
    _same_length(gaps_a=a, gaps_b=b)
    judged = q != 0.5
    right_a, right_b = (_correct(gap, q)[judged] == 1 for gap in (a, b))
    only_a, only_b = int(np.sum(right_a & ~right_b)), int(np.sum(right_b & ~right_a))
    if only_a + only_b == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(only_a, only_a + only_b, 0.5).pvalue)


def _correct(gap: Floats, q: Floats) -> Floats:
    """1 where reward and label prefer the same side, ½ at equal rewards, 0 elsewhere."""
    return (1 + np.sign(gap) * np.sign(q - 0.5)) / 2


def _expected_correct(gap: Floats, q: Floats) -> Floats:
    """The label's probability of the side that the reward prefers."""
    return np.where(gap > 0, q, np.where(gap < 0, 1 - q, 0.5))


def _confidence(gap: Floats) -> Floats:
    return _sigmoid(np.abs(gap))


def _sigmoid(x: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -x))


def _bins(confidence: Floats, correct: Floats, bins: int) -> list[ReliabilityBin]:
    rank = np.searchsorted(np.sort(confidence), confidence, side="left")
    index = rank * bins // max(len(confidence), 1)
    count = np.bincount(index, minlength=bins)
    confidences = np.bincount(index, confidence, minlength=bins)
    corrects = np.bincount(index, correct, minlength=bins)
    return [
        ReliabilityBin(
            float(confidences[b] / count[b]), float(corrects[b] / count[b]), int(count[b])
        )
        for b in np.flatnonzero(count)
    ]


def _logistic_slope(x: Floats, q: Floats, low: float, high: float) -> float:
    """The slope w between low and high that minimises the logistic loss of ``w x`` against q."""

    def derivative(w: float) -> float:
        return float(np.mean((_sigmoid(w * x) - q) * x))  # rises with w: the loss is convex

    if derivative(low) >= 0:
        return low
    if derivative(high) <= 0:
        return high
    from scipy.optimize import brentq

    return float(brentq(derivative, low, high, xtol=1e-12))


def _pairs(
    gaps: ArrayLike, probability: ArrayLike | None, name: str = "gaps"
) -> tuple[Floats, Floats]:
    gap = _finite(name, gaps)
    q = np.ones_like(gap) if probability is None else _finite("probability", probability)
    _same_length(**{name: gap, "probability": q})
    if len(q) and not (q.min() >= 0 and q.max() <= 1):
        raise DataError(f"probability must lie between 0 and 1, got {q.min():g} to {q.max():g}.")
    return gap, q


def _finite(name: str, values: ArrayLike) -> Floats:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1:
        raise DataError(f"{name} must have one dimension, got shape {v.shape}.")
    bad = np.flatnonzero(~np.isfinite(v))
    if len(bad):
        raise DataError(
            f"{name} must be finite, but {len(bad):,} of {len(v):,} are not (first at {bad[0]})."
        )
    return v


def _same_length(**arrays: Floats) -> None:
    if len({len(v) for v in arrays.values()}) > 1:
        counts = " and ".join(f"{len(v):,} {name}" for name, v in arrays.items())
        raise DataError(f"Got {counts}; there must be one of each for every pair or response.")


def _codes(clusters: Clusters, n: int) -> NDArray[np.intp]:
    """Clusters as 0 … G-1."""
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        raise DataError(f"Got {len(clusters):,} clusters for {n:,} values; each value has one.")
    return np.unique(np.asarray(clusters), return_inverse=True)[1]


def _nothing() -> Figure:
    return Figure(np.nan, np.nan, np.nan, 0)
