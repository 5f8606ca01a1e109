"""The forms that gold takes, fitted to measured curves: best-of-n's and that of an RL policy.

``d (α - β d)`` and ``d (α - β log d)``; ``d`` is the root of the KL divergence, as in Gao et al.
2023.

Letters: P prompts · G values of n · B resamples · R runs · T steps · U independent units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from assay.evaluation.best_of_n import Floats, best_of_n_kl
from assay.stats.estimates import Estimate, jackknife_of_sums
from assay.stats.intervals import bootstrap_tail
from assay.types import Figure, json_number

FEWEST_POINTS = 3
"""Values of n above 1 that a fit of two numbers wants."""
D_MIN = 0.3
"""The RL form is fitted from this d on, unless said otherwise."""
FEWEST_STEPS = 10
"""Steps beyond d_min that an RL fit wants of a run."""
FEWEST_RUNS = 3
"""From so many runs on, intervals are over runs; of one or two, over the steps within them."""
FEWEST_BLOCKS = 5
BINS = 12
"""Parts of the range of d, equally wide, that R² is taken over."""
FARTHEST = 20.0
"""log d* beyond this is no peak: nothing is 10⁸ units of √KL away."""

Over = Literal["runs", "steps"]


@dataclass(frozen=True)
class GoldFit:
    """``R(d) = d (α - β d)`` with ``d = √KL``: Gao et al. 2023 (arXiv 2210.10760), best-of-n.

    The peak is at ``d* = α/2β``, so at a KL of ``d*²`` nats, with ``R* = α²/4β``. It is None where
    the intervals of α and β do not lie above 0: the fit then shows no turn.
    """

    alpha: Figure
    beta: Figure
    r_squared: float
    peak_kl: Figure | None
    peak_gold: Figure | None

    def __call__(self, kl: float) -> float:
        """The fitted gold at so many nats."""
        d = float(np.sqrt(kl))
        return d * (self.alpha.value - self.beta.value * d)

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "alpha": self.alpha.to_dict(),
            "beta": self.beta.to_dict(),
            "r_squared": json_number(self.r_squared),
            "peak_kl": self.peak_kl.to_dict() if self.peak_kl else None,
            "peak_gold": self.peak_gold.to_dict() if self.peak_gold else None,
        }


def fit_gold(kl: ArrayLike, gains: ArrayLike) -> Floats:
    """α and β by least squares, for each curve of gains, ``(..., G)`` to ``(..., 2)``.

    The values of n weigh alike. ``R(0) = 0``: there is no intercept.
    """
    d = np.sqrt(np.asarray(kl, dtype=np.float64))
    solve: Floats = np.linalg.pinv(np.stack([d, -(d**2)], axis=1))  # (2, G)
    found: Floats = np.asarray(gains, dtype=np.float64) @ solve.T
    return found


def gold_fit(kl: ArrayLike, gains: Floats, times: Floats) -> GoldFit | None:
    """The fit to the mean over prompts, with bootstrap intervals; None for too few values of n.

    R² is of the mean curve, about its mean.

    Args:
        gains: Gold less that at n = 1, ``(P, G)``.
        times: How often each resample drew each prompt, ``(B, P)``.
    """
    d = np.sqrt(np.asarray(kl, dtype=np.float64))
    if np.sum(d > 0) < FEWEST_POINTS:
        return None
    prompts = len(gains)
    mean = gains.mean(axis=0)
    found, draws = fit_gold(kl, mean), fit_gold(kl, times @ gains / prompts)
    alpha, beta = (percentiles(found[i], draws[:, i], prompts) for i in (0, 1))
    left = mean - d * (found[0] - found[1] * d)
    spread = float(np.sum((mean - mean.mean()) ** 2))
    r_squared = 1 - float(np.sum(left**2)) / spread if spread > 0 else float("nan")
    if not (alpha.low > 0 and beta.low > 0):
        return GoldFit(alpha, beta, r_squared, None, None)
    kl_of, gold_of = _peak(found)
    kls, golds = _peak(draws)
    return GoldFit(
        alpha,
        beta,
        r_squared,
        percentiles(float(kl_of), kls, prompts),
        percentiles(float(gold_of), golds, prompts),
    )


def _peak(found: Floats) -> tuple[Floats, Floats]:
    """``(α/2β)²`` and ``α²/4β``; where β is not above 0 nothing turns, and both are infinite."""
    alpha, beta = found[..., 0], np.maximum(found[..., 1], 0.0)
    with np.errstate(divide="ignore"):
        return np.asarray((alpha / (2 * beta)) ** 2), np.asarray(alpha**2 / (4 * beta))


def percentiles(value: float, draws: Floats, prompts: int) -> Figure:
    """A value with the percentiles of its resamples; those that are ``nan`` are left out.

    An infinite end of the interval becomes ``nan``: nothing bounds it.
    """
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return Figure(float(value), np.nan, np.nan, prompts)
    tail = bootstrap_tail(prompts)
    with np.errstate(invalid="ignore"):  # between two that are infinite
        low, high = np.quantile(known, [tail, 1 - tail])
    ends = [float(x) if np.isfinite(x) else np.nan for x in (low, high)]
    return Figure(float(value), ends[0], ends[1], prompts)


def n_of_kl(kl: float) -> float:
    """The n whose best-of-n is so many nats away, between whole numbers; infinite from 30 on."""
    if kl <= 0:
        return 1.0
    if kl >= 30:
        return float("inf")
    from scipy.optimize import brentq

    # KL is log n - 1 + 1/n, so log n lies between KL and KL + 1
    return float(np.exp(brentq(lambda x: best_of_n_kl(np.exp(x)) - kl, kl, kl + 1)))


# --- policies trained by RL -----------------------------------------------------------------------


@dataclass(frozen=True)
class PolicyGoldFit:
    """``R(d) = d (α - β log d)`` with ``d = √KL``: Gao et al. 2023 (arXiv 2210.10760), RL.

    The peak is at ``d* = e^(α/β - 1)``, with ``R* = β d*``. It is None where the interval of β does
    not lie above 0: the fit then shows no turn. The form's slope is infinite at 0, so it is fitted
    between ``d_min`` and ``d_max`` only, the latter the farthest step there was.
    """

    alpha: Figure
    beta: Figure
    r_squared: float
    peak_d: Figure | None
    peak_gold: Figure | None
    d_min: float
    d_max: float
    steps: int
    """Steps that were fitted."""
    over: Over
    """What intervals are over: independent runs, or blocks of steps within one or two runs, which
    say nothing of what another seed would give."""

    def __call__(self, d: float) -> float:
        """The fitted gold at a root of the KL."""
        return d * (self.alpha.value - self.beta.value * float(np.log(d))) if d > 0 else 0.0

    @property
    def peak_in_range(self) -> bool:
        """Whether the fit turns where steps were measured."""
        return self.peak_d is not None and self.d_min <= self.peak_d.value <= self.d_max

    def to_dict(self) -> dict[str, Any]:
        """For ``results.json``."""
        return {
            "alpha": self.alpha.to_dict(),
            "beta": self.beta.to_dict(),
            "r_squared": json_number(self.r_squared),
            "peak_sqrt_kl": self.peak_d.to_dict() if self.peak_d else None,
            "peak_gold": self.peak_gold.to_dict() if self.peak_gold else None,
            "peak_in_range": self.peak_in_range,
            "min_sqrt_kl": self.d_min,
            "max_sqrt_kl": self.d_max,
            "steps": self.steps,
            "over": self.over,
        }


def policy_gold_fit(
    d: Sequence[ArrayLike],
    gains: Sequence[ArrayLike],
    reference_errors: Sequence[float] | None = None,
    d_min: float = D_MIN,
) -> PolicyGoldFit | None:
    """The RL form by least squares over the steps of all runs that lie at ``d >= d_min``.

    Steps weigh alike. Intervals are Student's from a jackknife that leaves out one unit after the
    other (Efron & Tibshirani 1993, eq. 11.5; of a peak, on the logarithm): a run where there are
    three or more, else a block of about √T consecutive steps, so that what neighbouring steps share
    counts once (Künsch 1989). Blocks share their run's reference, whose error is added. R² is of
    the means of the steps in equal parts of the range of d, about their mean.

    Args:
        d: ``√KL`` of each step, ``(T,)`` for each of the R runs.
        gains: Gold less the reference policy's, likewise.
        reference_errors: The standard error of the reference's gold, one a run; used where
            intervals are over steps, and contained in the spread between runs. Default: 0.

    Returns:
        None where no run has ten steps beyond d_min, or they all lie at one distance.
    """
    errors = [0.0] * len(d) if reference_errors is None else list(reference_errors)
    kept = []
    for each, gain, error in zip(d, gains, errors, strict=True):
        x, y = np.asarray(each, dtype=np.float64), np.asarray(gain, dtype=np.float64)
        far = x >= max(d_min, np.finfo(np.float64).tiny)
        if np.sum(far) >= FEWEST_STEPS:
            kept.append((x[far], y[far], float(error)))
    if not kept:
        return None
    over: Over = "runs" if len(kept) >= FEWEST_RUNS else "steps"
    parts = [_units(x, y, over) for x, y, _ in kept]
    rows = np.concatenate(parts)
    total = rows.sum(axis=0)
    if _determinant(total) <= 1e-6 * total[0] * total[2]:
        return None
    shifts = (
        []
        if over == "runs"
        else [part.sum(axis=0)[5:] * error for part, (_, _, error) in zip(parts, kept, strict=True)]
    )
    alpha, beta, log_peak = (
        _with_reference(rows, shifts, part) for part in (_alpha, _beta, _log_peak)
    )
    x, y = (np.concatenate([run[i] for run in kept]) for i in (0, 1))
    figures = alpha.figure(), beta.figure()
    turns = figures[1].low > 0 and log_peak.value < FARTHEST
    log_gold = _with_reference(rows, shifts, _log_peak_gold) if turns else None
    return PolicyGoldFit(
        alpha=figures[0],
        beta=figures[1],
        r_squared=_r_squared(x, y, alpha.value, beta.value),
        peak_d=_exponential(log_peak) if turns else None,
        peak_gold=_exponential(log_gold) if log_gold else None,
        d_min=d_min,
        d_max=float(x.max()),
        steps=len(x),
        over=over,
    )


def _units(d: Floats, gains: Floats, over: Over) -> Floats:
    """What each unit of a run adds to the normal equations, ``(U, 7)``.

    With ``x = d`` and ``z = -d log d``: the sums of xx, xz, zz, xy, zy, and of x and z, by which a
    shift of the reference changes the fourth and fifth.
    """
    z = -d * np.log(d)
    rows = np.stack([d * d, d * z, z * z, d * gains, z * gains, d, z], axis=1)
    units = 1 if over == "runs" else max(FEWEST_BLOCKS, round(len(d) ** 0.5))
    found: Floats = np.stack([part.sum(axis=0) for part in np.array_split(rows, units)])
    return found


def _determinant(sums: Floats) -> Floats:
    return np.asarray(sums[..., 0] * sums[..., 2] - sums[..., 1] ** 2)


def _alpha(sums: Floats) -> Floats:
    top = sums[..., 2] * sums[..., 3] - sums[..., 1] * sums[..., 4]
    return np.asarray(top / _determinant(sums))


def _beta(sums: Floats) -> Floats:
    top = sums[..., 0] * sums[..., 4] - sums[..., 1] * sums[..., 3]
    return np.asarray(top / _determinant(sums))


def _log_peak(sums: Floats) -> Floats:
    """``log d* = α/β - 1``; nan where nothing turns."""
    beta = _beta(sums)
    return np.asarray(_alpha(sums) / np.where(beta > 0, beta, np.nan) - 1)


def _log_peak_gold(sums: Floats) -> Floats:
    """``log R* = log β + log d*``; nan where nothing turns."""
    beta = _beta(sums)
    return np.asarray(np.log(np.where(beta > 0, beta, np.nan)) + _log_peak(sums))


def _with_reference(rows: Floats, shifts: Sequence[Floats], part: Any) -> Estimate:
    """A part of the fit with its jackknife error, and that of each run's reference added.

    Args:
        shifts: For each run, by how much one standard error of its reference moves the sums.
    """
    found = jackknife_of_sums(rows, part, list(range(len(rows))))
    total = rows.sum(axis=0)
    extra = 0.0
    for shift in shifts:
        up, down = total.copy(), total.copy()
        up[3:5] += shift
        down[3:5] -= shift
        extra += float((part(up) - part(down)) / 2) ** 2
    return Estimate(found.value, float(np.hypot(found.error, extra**0.5)), found.df, found.n)


def _exponential(log: Estimate) -> Figure:
    figure = log.figure()
    value, low, high = (float(np.exp(x)) for x in (figure.value, figure.low, figure.high))
    return Figure(value, low, high, figure.n)


def _r_squared(d: Floats, gains: Floats, alpha: float, beta: float) -> float:
    """Of the means in equal parts of the range, each weighing as many steps as it has."""
    width = (d.max() - d.min()) / BINS
    place = np.minimum(((d - d.min()) / width).astype(int), BINS - 1)
    count = np.bincount(place, minlength=BINS)
    there = count > 0
    fitted = d * (alpha - beta * np.log(d))
    y, f = (np.bincount(place, v, BINS)[there] / count[there] for v in (gains, fitted))
    weight = count[there]
    spread = float(np.sum(weight * (y - np.average(y, weights=weight)) ** 2))
    return 1 - float(np.sum(weight * (y - f) ** 2)) / spread if spread > 0 else float("nan")
