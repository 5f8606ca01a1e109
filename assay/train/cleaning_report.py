"""What cleaning would change: counts for every action, figures, and the labels to look at.

Letters: P preferences · M members.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from assay.configs import Cleaning, CleaningAction
from assay.stats import LengthBaseline, accuracy, ece, flip_rate, preference_nll
from assay.train.cleaning import Cleaned, LabelCheck, default_threshold, suspects
from assay.train.encode import EncodeReport, PairIndex, pair_index
from assay.types import Figure, LoadReport

Floats = NDArray[np.float64]

BINS = 20
"""Bars of the histogram of the probability of being wrong."""
LISTED = 100
"""Most suspicious labels that are listed."""


@dataclass(frozen=True)
class Change:
    """What an action would change, with its suspects: labels, comparisons that lose all of them.

    ``expected_wrong`` is the expected number of wrong labels afterwards, by the labels' own
    probabilities; None for the actions that leave a label in part.
    """

    action: CleaningAction
    threshold: float | None
    share: float | None
    labels: int
    emptied: int
    expected_wrong: float | None
    remaining: int


@dataclass(frozen=True)
class Suspicious:
    """A label to look at: which comparison (from 1), which of its preferences, and why."""

    comparison: int
    id: str | None
    chosen: int
    rejected: int
    probability_wrong: float
    gap: float
    std: float


@dataclass(frozen=True)
class CleaningReport:
    """What was found and what was done.

    ``figures`` has ``accuracy`` (of out-of-fold gaps against the labels as they are),
    ``length_only_accuracy`` (fitted out of fold too), ``nll`` and ``ece`` of the calibrated
    out-of-fold probabilities, and ``flip_rate``, each with a 95 % interval over prompts.
    ``counts`` says what became of the labels, ``changes`` what every action would do.
    """

    action: CleaningAction
    figures: Mapping[str, Figure]
    temperature: float
    counts: Mapping[str, int]
    changes: Sequence[Change]
    histogram: Sequence[int]
    suspicious: Sequence[Suspicious]
    expected_wrong: float
    emptied: int
    rankings_given_up: int
    comparisons: int
    prompts: int
    members: int
    folds: int
    rounds: int
    loaded: LoadReport
    encoding: EncodeReport
    digest: str

    def to_dict(self) -> dict[str, Any]:
        """As written in the report's JSON."""
        return {
            "action": self.action,
            **{name: figure.to_dict() for name, figure in self.figures.items()},
            "temperature": self.temperature,
            "counts": dict(self.counts),
            "expected_wrong": self.expected_wrong,
            "comparisons_emptied": self.emptied,
            "rankings_given_up": self.rankings_given_up,
            "changes": [asdict(change) for change in self.changes],
            "histogram": {
                "edges": np.linspace(0, 1, BINS + 1).round(10).tolist(),
                "labels": list(self.histogram),
            },
            "suspicious": [asdict(found) for found in self.suspicious],
            "comparisons": self.comparisons,
            "prompts": self.prompts,
            "members": self.members,
            "folds": self.folds,
            "rounds": self.rounds,
            "loaded": str(self.loaded),
            "encoding": str(self.encoding),
            "data_sha256": self.digest,
        }

    def __str__(self) -> str:
        figures = self.figures
        done = ", ".join(f"{n:,} {name}" for name, n in self.counts.items() if n)
        lines = [
            str(self.loaded),
            f"{self.encoding}",
            f"out-of-fold accuracy {figures['accuracy']} pairs of {self.prompts:,} prompts, "
            f"length-only {figures['length_only_accuracy'].value:.3f}",
            f"flip rate {figures['flip_rate']} labels; about {self.expected_wrong:,.0f} are wrong",
            f"{self.action}: {done}",
        ]
        if self.emptied:
            lines.append(f"{self.emptied:,} comparisons lost all labels and are left out")
        if self.rankings_given_up:
            lines.append(f"{self.rankings_given_up:,} rankings became preferences")
        return "\n".join(lines)


def cleaning_report(cleaned: Cleaned, cleaning: Cleaning, resamples: int = 500) -> CleaningReport:
    """All figures and counts of a cleaning."""
    check = cleaned.check
    index = pair_index(check.examples)
    emptied, given_up = _lost(cleaned)
    actions: list[CleaningAction] = [a for a in get_args(CleaningAction) if a != "report"]
    return CleaningReport(
        action=cleaned.action,
        figures=out_of_fold_figures(check, index, resamples, cleaning.seed),
        temperature=check.flips.temperature,
        counts=_counts(cleaned),
        changes=[_change(check, replace(cleaning, action=action)) for action in actions],
        histogram=_histogram(check.wrong),
        suspicious=_suspicious(cleaned, index),
        expected_wrong=float(np.nansum(check.wrong)),
        emptied=emptied,
        rankings_given_up=given_up,
        comparisons=len(cleaned.pairs.comparisons),
        prompts=len(set(index.cluster.tolist())),
        members=check.cross.gaps.shape[1],
        folds=cleaning.folds,
        rounds=cleaning.rounds,
        loaded=cleaned.pairs.report,
        encoding=check.encoding,
        digest=cleaned.pairs.digest,
    )


def out_of_fold_figures(
    check: LabelCheck, index: PairIndex, resamples: int, seed: int
) -> dict[str, Figure]:
    """Figures of the out-of-fold gaps against the labels as they are."""
    q, cluster = index.probability.astype(np.float64), index.cluster
    mean = check.cross.gaps.mean(axis=1)
    said = check.flips.probability(mean)
    calibrated = np.log(said) - np.log1p(-said)
    return {
        "accuracy": accuracy(mean, q, cluster),
        "length_only_accuracy": accuracy(_by_length(check, index, q), q, cluster),
        "nll": preference_nll(calibrated, q, cluster),
        "ece": ece(calibrated, q, cluster, resamples=resamples, seed=seed),
        "flip_rate": flip_rate(mean, q, cluster),
    }


def _by_length(check: LabelCheck, index: PairIndex, q: Floats) -> Floats:
    """Gaps by length alone, each fold's by a baseline fitted on the others."""
    fold = check.cross.fold[:, 0][index.example]
    gaps = np.zeros(len(q))
    for k in np.unique(fold):
        inside = fold != k
        baseline = LengthBaseline.fit(index.length_difference[inside], q[inside])
        gaps[~inside] = baseline.predict(index.length_difference[~inside])
    return gaps


def _counts(cleaned: Cleaned) -> dict[str, int]:
    check = cleaned.check
    sided = int(check.sided.sum())
    done = 0 if cleaned.action == "report" else int(cleaned.suspect.sum())
    named: dict[str, int] = {} if cleaned.action == "report" else {cleaned.action: done}
    return {
        "keep": sided - done,
        **named,
        "tie": len(check.wrong) - sided,
        "unread": len(cleaned.pairs) - len(check.wrong),
    }


def _lost(cleaned: Cleaned) -> tuple[int, int]:
    """Comparisons that lose all labels, and rankings that are given up."""
    ranked = [c.ranking is not None for c in cleaned.pairs.comparisons]
    kept = given_up = 0
    for row in cleaned.rows():
        kept += 1
        given_up += "ranking" in row["cleaned"]
    return len(ranked) - kept, given_up


def _change(check: LabelCheck, cleaning: Cleaning) -> Change:
    action, chosen = cleaning.action, suspects(check.wrong, cleaning)
    wrong = np.nan_to_num(check.wrong, nan=0.0)
    expected = None
    if action == "flip":
        expected = float(np.where(chosen, 1 - wrong, wrong).sum())
    if action == "drop":
        expected = float(wrong[~chosen].sum())
    threshold = cleaning.threshold
    if threshold is None and cleaning.share is None:
        threshold = default_threshold(action)
    gone = chosen if action == "drop" else np.zeros_like(chosen)
    left: Counter[int] = Counter(check.comparison[~gone].tolist())
    return Change(
        action=action,
        threshold=threshold,
        share=cleaning.share,
        labels=int(chosen.sum()),
        emptied=len(set(check.comparison.tolist())) - len(left),
        expected_wrong=expected,
        remaining=int((~gone).sum()),
    )


def _histogram(wrong: Floats) -> list[int]:
    counts, _ = np.histogram(wrong[~np.isnan(wrong)], bins=BINS, range=(0.0, 1.0))
    return [int(n) for n in counts]


def _suspicious(cleaned: Cleaned, index: PairIndex) -> list[Suspicious]:
    check, comparisons = cleaned.check, cleaned.pairs.comparisons
    order = np.argsort(-np.nan_to_num(check.wrong, nan=-1.0), kind="stable")
    found = []
    for row in order[: min(LISTED, int(check.sided.sum()))].tolist():
        number = int(check.comparison[row])
        comparison = comparisons[number]
        label = comparison.preferences[int(check.place[row])]
        found.append(
            Suspicious(
                comparison=number + 1,
                id=comparison.id,
                chosen=label.chosen,
                rejected=label.rejected,
                probability_wrong=float(check.wrong[row]),
                gap=float(check.gap[row]),
                std=float(check.std[row]),
            )
        )
    return found
