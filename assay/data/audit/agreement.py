"""Do annotators agree: every coefficient on one question, or why there is none.

Letters: J answers · U items judged by two or more · V possible answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from assay.data.audit.answers import Answers, shared_items
from assay.data.audit.coefficients import (
    LEVELS,
    Level,
    PairKappa,
    alphas,
    cohen,
    fleiss,
    item_agreement,
)
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Floats, Ints
from assay.stats import bootstrap_sums, cluster_mean
from assay.types import Figure


@dataclass(frozen=True)
class Agreement:
    """How far annotators agree on one question, and on how much that rests."""

    answers: tuple[float, ...]
    items: int
    judgments: int
    annotators: int
    raw: Outcome
    raw_without_ties: Outcome
    alpha: dict[Level, Outcome]
    fleiss: Outcome
    cohen: Outcome
    pairs: tuple[PairKappa, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "answers": list(self.answers),
            "items_judged_by_two_or_more": self.items,
            "judgments_of_them": self.judgments,
            "annotators": self.annotators,
            "raw": self.raw.to_dict(),
            "raw_without_ties": self.raw_without_ties.to_dict(),
            "alpha": {level: outcome.to_dict() for level, outcome in self.alpha.items()},
            "fleiss_kappa": self.fleiss.to_dict(),
            "cohen_kappa": self.cohen.to_dict(),
            "cohen_pairs": [pair.to_dict() for pair in self.pairs],
        }


def agreement(
    answers: Answers,
    names: Sequence[str],
    resamples: int = 2000,
    seed: int = 0,
    has_ties: bool = True,
) -> Agreement:
    """Every coefficient of agreement, with intervals over clusters; see :func:`alpha` and others.

    Args:
        names: The annotators' names, by number.
        has_ties: Whether 0 on the scale is a tie; then agreement is also counted without ties.
    """
    everyone = np.unique(answers.annotator)
    shared = answers.where(np.isin(answers.item, shared_items(answers)))
    why = _why_undefined(everyone, names, len(shared))
    if why:
        none = Undefined(why)
        return Agreement(
            (), 0, 0, len(everyone), none, none, dict.fromkeys(LEVELS, none), none, none
        )
    domain, counts, cluster = _table(shared)
    raw = _raw(counts, cluster)
    decided = _without_ties(domain, counts, cluster) if has_ties else raw
    sums = partial(bootstrap_sums, resamples=resamples, seed=seed)
    shape = (tuple(map(float, domain)), len(counts), len(shared), len(everyone))
    if len(domain) == 1:
        told = {0.0: "ties"}.get(float(domain[0]), "the same answer")
        none = Undefined(
            f"all {len(shared):,} judgments of shared items are {told}, so chance alone would "
            "agree as well."
        )
        return Agreement(*shape, raw, decided, dict.fromkeys(LEVELS, none), none, none)
    pairs, mean = cohen(shared, domain, names, sums)
    return Agreement(
        *shape,
        raw=raw,
        raw_without_ties=decided,
        alpha=alphas(domain, counts, cluster, sums),
        fleiss=fleiss(counts, cluster, sums),
        cohen=mean,
        pairs=pairs,
    )


def _why_undefined(everyone: Ints, names: Sequence[str], shared: int) -> str | None:
    if not len(everyone):
        return "the data name no annotators, so there is one opinion of each item and no other."
    if len(everyone) == 1:
        return f"there is one annotator, {names[int(everyone[0])]!r}; agreement needs two."
    if not shared:
        return f"no item was judged by two of the {len(everyone):,} annotators."
    return None


def _table(shared: Answers) -> tuple[Floats, Ints, Ints]:
    """The scale ``(V,)``, how often each item got each answer ``(U, V)``, and its cluster."""
    item, position = np.unique(shared.item, return_inverse=True)
    domain, answer = np.unique(shared.value, return_inverse=True)
    size = len(item) * len(domain)
    counts = np.bincount(position * len(domain) + answer, minlength=size)
    cluster = np.empty(len(item), dtype=np.int64)
    cluster[position] = shared.cluster
    return (
        domain,
        counts.reshape(len(item), len(domain)),
        np.unique(cluster, return_inverse=True)[1],
    )


def _raw(counts: Ints, cluster: Ints) -> Figure:
    return cluster_mean(item_agreement(counts), cluster, bounds=(0.0, 1.0))


def _without_ties(domain: Floats, counts: Ints, cluster: Ints) -> Outcome:
    """Raw agreement of the judgments that prefer a side, as to which."""
    sides = np.stack([counts[:, domain < 0].sum(axis=1), counts[:, domain > 0].sum(axis=1)], axis=1)
    decided = sides.sum(axis=1) >= 2
    if not decided.any():
        return Undefined("no item has two judgments that are not ties.")
    return cluster_mean(item_agreement(sides[decided]), cluster[decided], bounds=(0.0, 1.0))
