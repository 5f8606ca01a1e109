"""What an ensemble does on held-out pairs, beside its members, and how different these are.

Letters: M members · B responses · P pairs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.stats import (
    Aggregator,
    Rejection,
    Standards,
    cluster_mean,
    disagreement,
    error_correlation,
    mean_correlation,
    rejection,
    uncertainty_error_correlation,
)
from assay.train.encode import EncodeReport, Example, pair_index
from assay.train.report import HeldoutReport, heldout_report
from assay.types import Figure

REJECTED = 0.2
"""The share of the most uncertain pairs whose rejection is measured."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class RewardedSet:
    """Comparisons that every member rewarded, and the rewards of their responses ``(B, M)``."""

    examples: list[Example]
    rewards: Floats
    encoding: EncodeReport
    left_out: int
    """Comparisons that some member could not read: too long for it."""


@dataclass(frozen=True)
class Diversity:
    """How different members are on some pairs."""

    disagreement: Figure
    """Share of pairs that two members order differently."""
    error_correlation: Figure
    """Correlation of two members' errors."""
    gap_correlation: Figure
    """Correlation of two members' gaps."""
    spread: Figure
    """Standard deviation of the gap over members, in those of the gap over pairs."""

    def to_dict(self) -> dict[str, Any]:
        """For ``heldout.json``."""
        return {name: getattr(self, name).to_dict() for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class Uncertainty:
    """What disagreement says of errors: of the ensemble, on held-out pairs.

    A pair is uncertain where the members' gaps are far apart for their mean: ``s / |mean gap|``.
    """

    error_correlation: Figure
    rejection: Rejection

    def to_dict(self) -> dict[str, Any]:
        """For ``heldout.json``."""
        return {
            "error_correlation": self.error_correlation.to_dict(),
            "rejected_share": self.rejection.share,
            "accuracy_of_kept": self.rejection.kept.to_dict(),
            "gain": self.rejection.gain.to_dict(),
        }


@dataclass(frozen=True)
class EnsembleReport:
    """The ensemble's held-out report, its members', and their diversity in and out of distribution.

    ``against_members`` has the ensemble's figure less the mean of the members' (``nll``, and
    ``accuracy``), pair by pair: below 0 is better for ``nll``, above for ``accuracy``.
    """

    heldout: HeldoutReport
    members: tuple[HeldoutReport, ...]
    against_members: Mapping[str, Figure]
    diversity: Mapping[str, Diversity]
    uncertainty: Uncertainty
    aggregator: Aggregator
    left_out: int

    def to_dict(self) -> dict[str, Any]:
        """As written in ``heldout.json``: a single model's figures, and ``ensemble``."""
        return {
            **self.heldout.to_dict(),
            "ensemble": {
                "aggregator": str(self.aggregator),
                "members": [
                    {name: figure.to_dict() for name, figure in member.figures.items()}
                    for member in self.members
                ],
                "against_members": {k: f.to_dict() for k, f in self.against_members.items()},
                "diversity": {name: d.to_dict() for name, d in self.diversity.items()},
                "uncertainty": self.uncertainty.to_dict(),
                "left_out_comparisons": self.left_out,
            },
        }

    def __str__(self) -> str:
        accuracies = ", ".join(f"{m.accuracy.value:.3f}" for m in self.members)
        nll, rejected = self.against_members["nll"], self.uncertainty.rejection
        lines = [
            f"ensemble of {len(self.members)} by {self.aggregator}: {self.heldout}",
            f"members' accuracy {accuracies}; nll {nll.value:+.3f} "
            f"[{nll.low:+.3f}, {nll.high:+.3f}] against the members' mean",
            f"without the {rejected.share:.0%} most uncertain pairs accuracy "
            f"{rejected.kept.value:.3f} (gain {rejected.gain.value:+.3f} "
            f"[{rejected.gain.low:+.3f}, {rejected.gain.high:+.3f}])",
            protection(self.diversity),
        ]
        if self.left_out:
            lines.insert(1, f"{self.left_out:,} held-out comparisons are too long for some member")
        return "\n".join(lines)


def ensemble_report(
    sets: Mapping[str, RewardedSet], standards: Standards, aggregator: Aggregator
) -> EnsembleReport:
    """All held-out figures of an ensemble.

    Args:
        sets: ``train`` (the length-only baseline is fitted on it), ``heldout`` and perhaps
            ``shifted``, with members' rewards on one scale.
    """
    train, held = sets["train"], sets["heldout"]

    def report(rewards: Floats) -> HeldoutReport:
        return heldout_report(rewards, held.examples, train.examples, held.encoding)

    whole = report(aggregator(held.rewards))
    members = tuple(report(rewards) for rewards in held.rewards.T)
    gaps, cluster = oriented_gaps(held)
    mean = aggregator_gaps(held, aggregator)
    return EnsembleReport(
        heldout=whole,
        members=members,
        against_members={
            "nll": cluster_mean(_nll(mean) - _nll(gaps).mean(axis=1), cluster),
            "accuracy": cluster_mean(_right(mean) - _right(gaps).mean(axis=1), cluster),
        },
        diversity={name: diversity_of(part) for name, part in sets.items() if name != "train"},
        uncertainty=uncertainty_of(gaps, mean, cluster, aggregator),
        aggregator=aggregator,
        left_out=held.left_out,
    )


def oriented_gaps(part: RewardedSet) -> tuple[Floats, NDArray[np.int64]]:
    """Gaps of every member ``(P, M)``, better response less worse, and prompts; ties left out."""
    index = pair_index(part.examples)
    gaps = part.rewards[index.chosen] - part.rewards[index.rejected]
    side = np.sign(index.probability - 0.5)
    judged = side != 0
    return (gaps * side[:, None])[judged], index.cluster[judged]


def aggregator_gaps(part: RewardedSet, aggregator: Aggregator) -> Floats:
    """Gaps of the aggregated rewards, oriented as ``oriented_gaps``, ``(P,)``."""
    one = RewardedSet(
        part.examples, aggregator(part.rewards)[:, None], part.encoding, part.left_out
    )
    return oriented_gaps(one)[0][:, 0]


def diversity_of(part: RewardedSet) -> Diversity:
    """How different members are on the pairs of a set."""
    gaps, cluster = oriented_gaps(part)
    scale = float(gaps.mean(axis=1).std()) or 1.0
    return Diversity(
        disagreement=disagreement(gaps, cluster),
        error_correlation=error_correlation(gaps, cluster),
        gap_correlation=mean_correlation(gaps, cluster),
        spread=cluster_mean(gaps.std(axis=1) / scale, cluster),
    )


def uncertainty_of(
    gaps: Floats, mean: Floats, cluster: NDArray[np.int64], aggregator: Aggregator
) -> Uncertainty:
    """Whether the members' disagreement warns of the ensemble's errors."""
    doubt = aggregator.std(gaps) / np.maximum(np.abs(mean), 1e-12)
    right = _right(mean)
    return Uncertainty(
        error_correlation=uncertainty_error_correlation(doubt, right, cluster),
        rejection=rejection(doubt, right, REJECTED, cluster),
    )


def protection(diversity: Mapping[str, Diversity]) -> str:
    """The plain sentence of what members' differences protect against."""
    here = diversity["heldout"]
    text = (
        f"Two members order {here.disagreement.value:.1%} of held-out pairs differently and their "
        f"errors correlate at {here.error_correlation.value:.2f}"
    )
    worst = here.error_correlation.value
    away = diversity.get("shifted")
    if away is not None:
        text += (
            f" (on shifted pairs {away.disagreement.value:.1%} and "
            f"{away.error_correlation.value:.2f})"
        )
        worst = float(np.nanmax([worst, away.error_correlation.value]))
    if np.isnan(worst):
        return f"{text}: too few errors to say what that protects against."
    if worst > 0.8:
        return (
            f"{text}: they are nearly one model, so the ensemble steadies chance in training and "
            "protects against little else; where one is fooled, all are."
        )
    if worst > 0.5:
        return (
            f"{text}: they mostly err together, so the ensemble averages out part of each member's "
            "own errors, but shares what all learned from the same data."
        )
    return (
        f"{text}: they err largely apart, so their disagreement warns where one is fooled; what "
        "all learned wrongly from the same labels it does not show."
    )


def _nll(gaps: Floats) -> Floats:
    return np.logaddexp(0, -gaps)


def _right(gaps: Floats) -> Floats:
    return (1 + np.sign(gaps)) / 2
