"""How many labels are wrong, if two annotators err alike, and what no model can then exceed."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb, sqrt
from typing import Any

import numpy as np

from assay.data.audit.agreement import Agreement
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence
from assay.stats import cluster_mean
from assay.types import Figure


@dataclass(frozen=True)
class Noise:
    """Label noise by agreement and by repeated labels, and the accuracy that it allows."""

    from_agreement: Outcome
    from_repeats: Outcome
    ceiling: Outcome
    least_ceiling: Outcome
    majority_of: int
    majority_ceiling: Outcome

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "flip_rate_from_agreement": self.from_agreement.to_dict(),
            "flip_rate_from_repeated_labels": self.from_repeats.to_dict(),
            "accuracy_ceiling": self.ceiling.to_dict(),
            "accuracy_ceiling_at_least": self.least_ceiling.to_dict(),
            "judgments_of_a_majority": self.majority_of,
            "accuracy_ceiling_of_majority": self.majority_ceiling.to_dict(),
        }


def flip_rate(agreement: float) -> float:
    """The share of wrong labels at which two independent labels agree so often.

    ``a = 1 - 2ε(1-ε)``, so ``ε = (1 - √(2a - 1)) / 2``, if every label is wrong with the same
    probability ε, independently. At a ≤ ½ it is ½: the labels say nothing.
    """
    return (1 - sqrt(max(0.0, 2 * agreement - 1))) / 2


def majority_accuracy(flip: float, count: int) -> float:
    """The probability that the majority of an odd number of such labels is right."""
    return sum(
        comb(count, k) * (1 - flip) ** k * flip ** (count - k)
        for k in range(count // 2 + 1, count + 1)
    )


def noise(evidence: Evidence, agreement: Agreement, judgments_an_item: int) -> Noise:
    """The estimate and its interval, from that of agreement without ties.

    The ceiling is the accuracy against single labels of a model that is always right: ``1 - ε``. If
    some items are harder than others it is lower than that, though never below the agreement a: the
    mean of ``max(q, 1-q)`` over items, q the share of labels for a side, lies between a and
    ``(1 + √(2a - 1)) / 2``, by Jensen's inequality.

    Args:
        judgments_an_item: The usual number of judgments of an item, for the ceiling of majorities.
    """
    without_ties = agreement.raw_without_ties
    flips = _flips(without_ties)
    most = judgments_an_item - (judgments_an_item % 2 == 0)
    majority: Outcome = Undefined("items usually have fewer than three judgments.")
    if isinstance(flips, Undefined):
        majority = flips
    elif most >= 3:
        majority = _mapped(flips, lambda e: majority_accuracy(e, most))
    return Noise(
        from_agreement=flips,
        from_repeats=_flips(_repeats(evidence)),
        ceiling=flips if isinstance(flips, Undefined) else _mapped(flips, lambda e: 1 - e),
        least_ceiling=without_ties if isinstance(flips, Figure) else flips,
        majority_of=most if most >= 3 else 0,
        majority_ceiling=majority,
    )


def _flips(agreement: Outcome) -> Outcome:
    if isinstance(agreement, Undefined):
        return agreement
    if agreement.value <= 0.5:
        return Undefined(
            f"labels agree in {agreement.value:.3f}, no more than chance, which no rate of errors "
            "explains."
        )
    return _mapped(agreement, flip_rate)


def _mapped(figure: Figure, falling: Any) -> Figure:
    """A falling function of a figure."""
    return Figure(
        falling(figure.value),
        falling(figure.high) if np.isfinite(figure.high) else np.nan,
        falling(figure.low) if np.isfinite(figure.low) else np.nan,
        figure.n,
    )


def _repeats(evidence: Evidence) -> Outcome:
    """How often labels of the same two responses by nobody named, or by one annotator, agree."""
    judgments = evidence.judgments
    cluster = evidence.items.cluster[judgments.item]
    a, b, value = evidence.pairs()
    told = (value != 0) & (a != b)
    rows = np.stack([a, b, judgments.annotator])[:, told]
    group = np.unique(rows, axis=1, return_inverse=True)[1].ravel()
    wins = np.bincount(group, value[told] > 0)
    total = np.bincount(group)
    again = total > 1
    if not again.any():
        return Undefined("no two responses were labelled twice by the same hand.")
    losses = total - wins
    agree = (wins * (wins - 1) + losses * (losses - 1)) / np.maximum(total * (total - 1), 1)
    place = np.empty(len(total), dtype=np.int64)
    place[group] = cluster[told]
    return cluster_mean(agree[again], place[again], bounds=(0.0, 1.0))
