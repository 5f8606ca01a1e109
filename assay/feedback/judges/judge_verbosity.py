"""Does a judge follow length: against people, and with length held fixed.

Pure functions of judged comparisons. Lengths are in characters. Letters: N comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.feedback.judges.judge_agreement import right_share
from assay.feedback.judges.judged import (
    JudgedComparison,
    column,
    figures_of,
    log_odds,
    of_judge,
    of_people,
    preference,
    prompts,
    share_of,
    usable,
)
from assay.stats import Estimate, cluster_mean, jackknife_of_sums
from assay.stats.arrays import Floats, codes, sigmoid
from assay.types import Figure

THIRDS = 3
MOST = 30.0
"""A coefficient beyond this says that the data are told apart without error: there is no fit."""


@dataclass(frozen=True)
class Third:
    """Comparisons of a third of the differences in length; the longer is so many times as long."""

    shortest_ratio: float
    longest_ratio: float
    accuracy: Measured
    prefers_longer: Figure

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        ratios = {"shortest_ratio": self.shortest_ratio, "longest_ratio": self.longest_ratio}
        return {**ratios, **figures_of(self)}


@dataclass(frozen=True)
class Verbosity:
    """Does the judge prefer what is longer more than people do.

    ``judge`` and ``people`` are how often each prefers the longer response (even: half), and
    ``excess`` is the difference where both said something. ``balanced_accuracy`` is the agreement
    with length held fixed: the mean of the accuracy where people prefer the longer response and
    where they prefer the shorter; a judge that always takes the longer has ½. ``judgment`` and
    ``length`` are a and b of ``P(people prefer i) = σ(a logit p + b ln(length_i / length_j))``: b
    below 0 says that the judge overrates length, above 0 that people like it better still.
    """

    judge: Figure
    people: Measured
    excess: Measured
    balanced_accuracy: Measured
    judgment: Measured
    length: Measured
    thirds: tuple[Third, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {**figures_of(self), "thirds": [third.to_dict() for third in self.thirds]}


def verbosity(records: Sequence[JudgedComparison]) -> Verbosity | Undefined:
    """What length does, of comparisons with responses of different lengths."""
    unlike = [r for r in usable(records) if r.lengths is not None and _ratio(r)]
    if not unlike:
        return Undefined("no comparison has responses whose lengths are known and differ.")
    judged = _prefers_longer(unlike, column(unlike, of_judge))
    labelled = [r for r in unlike if r.share is not None]
    none = Undefined("no comparison of responses of different lengths was judged by people.")
    people: Measured = none
    excess: Measured = none
    control: tuple[Measured, Measured] = (none, none)
    if labelled:
        theirs = _prefers_longer(labelled, column(labelled, of_people))
        judge = _prefers_longer(labelled, column(labelled, of_judge))
        prompt = prompts(labelled)
        people = share_of(theirs, prompt)
        excess = cluster_mean(judge - theirs, prompt, bounds=(-1.0, 1.0))
        control = _controlled(labelled)
    return Verbosity(
        share_of(judged, prompts(unlike)),
        people,
        excess,
        _balanced(labelled) if labelled else none,
        *control,
        tuple(_thirds(unlike)),
    )


def _ratio(record: JudgedComparison) -> float:
    """``ln(length_i / length_j)``, an empty response taken as one character."""
    assert record.lengths is not None
    return float(np.log(max(record.lengths[0], 1) / max(record.lengths[1], 1)))


def _prefers_longer(records: Sequence[JudgedComparison], share: Floats) -> Floats:
    side = preference(share)
    return np.where(column(records, _ratio) > 0, side, 1 - side)


def _balanced(labelled: Sequence[JudgedComparison]) -> Measured:
    right, longer = right_share(labelled), _prefers_longer(labelled, column(labelled, of_people))
    groups = [(longer == side).astype(np.float64) for side in (1.0, 0.0)]
    if not all(group.sum() for group in groups):
        return Undefined("people prefer the longer response always, or never.")
    columns = [x for group in groups for x in (np.nan_to_num(right) * group, group)]

    def mean(sums: Floats) -> Floats:
        with np.errstate(divide="ignore", invalid="ignore"):
            each = sums[..., 0] / sums[..., 1], sums[..., 2] / sums[..., 3]
        # without the only prompt of a group the other group is all there is
        return np.asarray(np.nanmean(np.stack(each), axis=0), dtype=np.float64)

    rows = np.stack(columns, axis=1)
    found = jackknife_of_sums(rows, mean, prompts(labelled))
    count = int(groups[0].sum() + groups[1].sum())
    return Estimate(found.value, found.error, found.df, count).figure((0.0, 1.0))


def _controlled(labelled: Sequence[JudgedComparison]) -> tuple[Measured, Measured]:
    """The a and b of people's preference on the judge's log-odds and the log ratio of lengths."""
    x = np.stack([log_odds(column(labelled, of_judge)), column(labelled, _ratio)], axis=1)
    found = logistic_fit(x, column(labelled, of_people), codes(prompts(labelled), len(labelled)))
    if isinstance(found, Undefined):
        return found, found
    return found[0], found[1]


def logistic_fit(x: Floats, q: Floats, cluster: NDArray[np.intp]) -> list[Figure] | Undefined:
    """Coefficients of ``P = σ(x w)`` without an intercept, with intervals over clusters.

    Newton's method on the likelihood of shares q; the errors are the sandwich
    ``H⁻¹ (Σ_g s_g s_gᵀ) H⁻¹ G/(G-m)`` of clusters' scores s (Liang & Zeger 1986), with G - m
    degrees of freedom. Without an intercept, swapping the sides changes nothing.

    Args:
        x: ``(N, m)``.
        q: Shares, ``(N,)``.
        cluster: ``(N,)``.
    """
    weights = np.zeros(x.shape[1])
    count = int(cluster.max()) + 1
    separated = Undefined("judge and length together tell people's choices without error.")
    for _ in range(100):
        p = sigmoid(x @ weights)
        hessian = (x * (p * (1 - p))[:, None]).T @ x
        if np.linalg.cond(hessian) > 1e12:
            return Undefined("judge and length do not vary apart from each other.")
        step = np.linalg.solve(hessian, x.T @ (q - p))
        weights = weights + step
        if np.abs(weights * x.std(axis=0)).max() > MOST:
            return separated
        if np.abs(step).max() < 1e-9:
            break
    else:
        return separated
    freedom = count - x.shape[1]
    if freedom < 1:
        return Undefined(f"{count:,} prompts are too few for {x.shape[1]} weights.")
    score = np.zeros((count, x.shape[1]))
    np.add.at(score, cluster, x * (q - p)[:, None])
    inverse = np.linalg.inv(hessian)
    errors = np.sqrt(np.diag(inverse @ score.T @ score @ inverse) * count / freedom)
    return [
        Estimate(float(w), float(e), float(freedom), len(q)).figure()
        for w, e in zip(weights, errors, strict=True)
    ]


def _thirds(unlike: Sequence[JudgedComparison]) -> list[Third]:
    """Accuracy where responses are about as long, where they differ, and where they differ most."""
    size = np.abs(column(unlike, _ratio))
    rank = np.searchsorted(np.sort(size), size, side="left") * THIRDS // len(size)
    found = []
    for third in np.unique(rank):
        own = [r for r, k in zip(unlike, rank, strict=True) if k == third]
        ratios = np.exp(size[rank == third])
        right = right_share([r for r in own if r.share is not None])
        decided = ~np.isnan(right)
        prompt = np.array([r.prompt for r in own if r.share is not None])
        found.append(
            Third(
                float(ratios.min()),
                float(ratios.max()),
                share_of(right[decided], prompt[decided])
                if decided.any()
                else Undefined("people decided none of these."),
                share_of(_prefers_longer(own, column(own, of_judge)), prompts(own)),
            )
        )
    return found
