"""Does a judge judge as people do: accuracy, chance-corrected agreement, calibration.

Pure functions of judged comparisons. People's verdict is the majority of their votes, and where
that is even there is none to agree with. Letters: N comparisons · G prompts · V = 3 verdicts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.coefficients import alpha, kappa
from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.feedback.judges.judged import (
    JudgedComparison,
    column,
    log_odds,
    of_judge,
    of_people,
    preference,
    prompts,
    same_side,
    usable,
)
from assay.stats import (
    accuracy,
    bootstrap_sums,
    brier,
    cluster_mean,
    ece,
    fit_temperature,
    preference_nll,
    reliability_bins,
    wilson,
)
from assay.stats.arrays import Floats, codes
from assay.types import Figure

DOMAIN = np.array([-1.0, 0.0, 1.0])
"""Verdicts: the second response, neither, the first."""


@dataclass(frozen=True, slots=True)
class Bin:
    """Pairs of similar confidence, the share of people that agrees, and Wilson's interval of it."""

    confidence: float
    share: float
    low: float
    high: float
    n: int


@dataclass(frozen=True)
class Calibration:
    """Is the judge right as often as it says; and once a temperature is taken off it.

    ``temperatures`` are those of the two halves of the prompts; each was applied to the other half.
    """

    ece: Figure
    brier: Figure
    nll: Figure
    bins: tuple[Bin, ...]
    temperatures: tuple[float, float] | None
    tempered_ece: Measured
    tempered_brier: Measured
    tempered_nll: Measured
    tempered_bins: tuple[Bin, ...]

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        raw = {name: getattr(self, name).to_dict() for name in ("ece", "brier", "nll")}
        after = {name: getattr(self, f"tempered_{name}").to_dict() for name in raw}
        return {
            **raw,
            "bins": [asdict(b) for b in self.bins],
            "temperatures": self.temperatures and list(self.temperatures),
            "after_temperature": {**after, "bins": [asdict(b) for b in self.tempered_bins]},
        }


@dataclass(frozen=True)
class AmongPeople:
    """Does the judge agree with a person as well as another person does.

    Of comparisons with two votes or more; each vote is compared with the judge, and with each of
    the other votes of the same comparison. A tie against a choice counts ½.
    """

    judge: Figure
    people: Figure
    difference: Figure
    votes: int

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "judge_with_a_person": self.judge.to_dict(),
            "a_person_with_another": self.people.to_dict(),
            "difference": self.difference.to_dict(),
            "votes": self.votes,
        }


@dataclass(frozen=True)
class Agreement:
    """How far a judge's verdicts are those of people, and on how much that rests.

    ``accuracy`` is by both orders (or the one that was asked); ``first_order`` and ``second_order``
    by one alone, and ``gain`` is both less the mean of the two: what averaging is worth against
    one order drawn by chance. Where a file lists the better response first, a bias of position
    makes one order alone look good and the other bad; the mean of the two is not fooled.
    """

    items: int
    accuracy: Measured
    first_order: Measured
    second_order: Measured
    gain: Measured
    consistent: Measured
    consistent_share: Measured
    kappa: Measured
    alpha: Measured
    calibration: Calibration | Undefined
    among_people: AmongPeople | Undefined

    @property
    def averaging(self) -> str:
        """Whether both orders are better than one, in words."""
        if isinstance(self.gain, Undefined):
            return f"Whether both orders are better than one is unknown: {self.gain.why}"
        told = f"{self.gain.value:+.3f} [{self.gain.low:+.3f}, {self.gain.high:+.3f}]"
        if self.gain.low > 0:
            return f"Averaging both orders is more accurate than one order, by {told}."
        if self.gain.high < 0:
            return f"Averaging both orders is less accurate than one order, by {told}."
        return f"It is not shown that averaging both orders is more accurate than one: {told}."

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        names = (
            "accuracy", "first_order", "second_order", "gain", "consistent", "consistent_share",
            "kappa", "alpha", "calibration", "among_people",
        )  # fmt: skip
        parts = {name: getattr(self, name).to_dict() for name in names}
        return {"items": self.items, "averaging": self.averaging, **parts}


def agreement_with_people(
    records: Sequence[JudgedComparison], resamples: int = 2000, seed: int = 0
) -> Agreement | Undefined:
    """Every figure of a judge against people, or why there is none.

    Args:
        resamples: Of the bootstraps over prompts (kappa, alpha and calibration error).
    """
    labelled = [r for r in usable(records) if r.share is not None]
    if not labelled:
        return Undefined("no comparison was judged by people and, without failure, by the judge.")
    p = column(labelled, of_judge)
    q = column(labelled, of_people)
    prompt = prompts(labelled)
    decided = int((q != 0.5).sum())
    even = Undefined("people are evenly split on every comparison.")
    none = Undefined("no comparison was asked in both orders.") if decided else even
    first, second, gain = _by_order(labelled) or (none, none, none)
    sure = [r for r in labelled if r.judgment.outcome == "verdict"]
    return Agreement(
        items=decided,
        accuracy=accuracy(log_odds(p), q, prompt) if decided else even,
        first_order=first,
        second_order=second,
        gain=gain,
        consistent=_accuracy(sure, "no verdict of the judge is the same in every order."),
        consistent_share=cluster_mean(
            [float(r.judgment.outcome == "verdict") for r in labelled], prompt, bounds=(0.0, 1.0)
        ),
        **_coefficients(p, q, codes(prompt, len(p)), resamples, seed),
        calibration=calibration(p, q, prompt, resamples, seed),
        among_people=among_people(labelled),
    )


def _accuracy(records: Sequence[JudgedComparison], why: str) -> Measured:
    found = accuracy(
        log_odds(column(records, of_judge)),
        column(records, of_people),
        prompts(records),
    )
    return found if found.n else Undefined(why)


def _by_order(labelled: Sequence[JudgedComparison]) -> tuple[Figure, Figure, Figure] | None:
    """Accuracy of the first and of the second order alone, and what both add to their mean."""
    both = [r for r in labelled if len(r.by_order()) == 2 and r.share != 0.5]
    if not both:
        return None
    q, prompt = column(both, of_people), prompts(both)
    orders = np.array([r.by_order() for r in both])  # (N, 2)
    single = [accuracy(log_odds(orders[:, k]), q, prompt) for k in (0, 1)]
    each = [same_side(p, q) for p in (orders.mean(axis=1).round(12), orders[:, 0], orders[:, 1])]
    gain = cluster_mean(each[0] - (each[1] + each[2]) / 2, prompt, bounds=(-1.0, 1.0))
    return single[0], single[1], gain


def _coefficients(
    p: Floats, q: Floats, cluster: NDArray[np.intp], resamples: int, seed: int
) -> dict[str, Measured]:
    """Cohen's kappa and Krippendorff's nominal alpha of the judge's verdict and the majority's.

    Of what people decided: an even vote is no verdict, and mostly no tie either. Every comparison
    counts in both orders, half each, so that neither depends on which response is listed first: in
    a file that lists the better one first, people would have one answer only.
    """
    decided = q != 0.5
    if not decided.any():
        none: Measured = Undefined("people are evenly split on every comparison.")
        return {"kappa": none, "alpha": none}
    judge, people = (np.sign(x[decided] - 0.5).astype(int) + 1 for x in (p, q))
    cluster = np.unique(cluster[decided], return_inverse=True)[1]
    parts = np.zeros((int(cluster.max()) + 1, 3, 3))
    np.add.at(parts, (cluster, judge, people), 0.5)
    np.add.at(parts, (cluster, 2 - judge, 2 - people), 0.5)
    apart = 1 - np.eye(3)

    def statistic(total: Floats) -> Floats:
        confusion = total.reshape(-1, 3, 3)
        met = confusion + confusion.transpose(0, 2, 1)
        both = [kappa(confusion, apart), alpha(met, DOMAIN, "nominal")]
        return np.stack(both, axis=1)

    flat = parts.reshape(len(parts), -1)
    values = statistic(flat.sum(axis=0)[None])[0].tolist()
    intervals = bootstrap_sums(flat, statistic, resamples, seed)
    found = [
        Figure(value, *interval, int(decided.sum()))
        for value, interval in zip(values, intervals, strict=True)
    ]
    return {"kappa": found[0], "alpha": found[1]}


def calibration(
    p: Floats, q: Floats, prompt: Sequence[str], resamples: int = 2000, seed: int = 0
) -> Calibration:
    """Calibration of probabilities against shares of votes, before and after a temperature.

    The gap is ``log p/(1-p)``. The temperature of each half of the prompts is fitted on the other
    (:func:`~assay.stats.fit_temperature`); prompts are in a half by their digest.
    """
    gap = log_odds(p)
    none = Undefined("a temperature is fitted on other prompts, and there is one.")
    fitted = tempered(gap, q, prompt)
    after: tuple[Measured, Measured, Measured] = (none, none, none)
    temperatures, bins = None, []
    if fitted is not None:
        cool, temperatures = fitted
        after = (
            ece(cool, q, prompt, resamples=resamples, seed=seed),
            brier(cool, q, prompt),
            preference_nll(cool, q, prompt),
        )
        bins = _bins(cool, q)
    return Calibration(
        ece(gap, q, prompt, resamples=resamples, seed=seed),
        brier(gap, q, prompt),
        preference_nll(gap, q, prompt),
        tuple(_bins(gap, q)),
        temperatures,
        *after,
        tuple(bins),
    )


def tempered(
    gap: Floats, q: Floats, prompt: Sequence[str]
) -> tuple[Floats, tuple[float, float]] | None:
    """Gaps over the temperature of the other half of the prompts; None of a single prompt."""
    half = halves(prompt)
    if half.all() or not half.any():
        return None
    of = [fit_temperature(gap[half == k], q[half == k]) for k in (False, True)]
    return np.where(half, gap / of[0], gap / of[1]), (of[0], of[1])


def halves(prompt: Sequence[str]) -> NDArray[np.bool_]:
    """Whether each prompt is in the second half, by its digest: a half is no block of a file."""

    def digest(name: str) -> str:
        return hashlib.sha256(name.encode()).hexdigest()

    place = {name: n % 2 == 1 for n, name in enumerate(sorted(set(prompt), key=digest))}
    return np.array([place[name] for name in prompt], dtype=np.bool_)


def _bins(gap: Floats, q: Floats) -> list[Bin]:
    found = []
    for b in reliability_bins(gap, q):
        share = wilson(min(b.accuracy * b.n, b.n), b.n)
        found.append(Bin(b.confidence, b.accuracy, share.low, share.high, b.n))
    return found


def among_people(records: Sequence[JudgedComparison]) -> AmongPeople | Undefined:
    """The judge with each person, and each person with the others, on the same comparisons."""
    several = [r for r in usable(records) if len(r.votes) > 1]
    if not several:
        return Undefined("no comparison has the votes of two people.")
    judge, people = [], []
    for record in several:
        votes = np.array(record.votes, dtype=np.float64)
        judge.append(float(same_side(np.full(len(votes), record.probability), votes).mean()))
        table = same_side(votes[:, None], votes[None, :])
        people.append(float(_off_diagonal(table).mean()))
    prompt = prompts(several)
    return AmongPeople(
        cluster_mean(judge, prompt, bounds=(0.0, 1.0)),
        cluster_mean(people, prompt, bounds=(0.0, 1.0)),
        cluster_mean(np.subtract(judge, people), prompt, bounds=(-1.0, 1.0)),
        sum(len(r.votes) for r in several),
    )


def _off_diagonal(table: Floats) -> Floats:
    return np.asarray(table[~np.eye(len(table), dtype=np.bool_)], dtype=np.float64)


def right_share(records: Sequence[JudgedComparison]) -> Floats:
    """1 where the judge takes people's side, 0 where the other, ½ where it is even."""
    p, q = column(records, of_judge), column(records, of_people)
    return np.where(preference(q) == 0.5, np.nan, same_side(p, q))
