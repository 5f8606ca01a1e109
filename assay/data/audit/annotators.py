"""Who judges how: agreement with the rest, habits, and reliability, one row an annotator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data.audit.answers import Answers, meetings, shared_items
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Floats, Ints
from assay.data.audit.reliability import Fit
from assay.stats import cluster_mean, estimate_mean, holm, t_test
from assay.types import Figure

FEW = 20
"""Shared items below which a figure of one annotator says little."""


@dataclass(frozen=True)
class Annotator:
    """One annotator's row of the table.

    ``agreement`` is with the other judgments of the same items. ``dawid_skene`` is the probability
    that an answer is the true one, ``mace`` that it was not given without looking; both are means
    over the annotator's answers, given the fitted model.
    """

    name: str
    judgments: int
    shared: int
    agreement: Outcome
    ties: Figure
    first_shown: Outcome
    longer: Outcome
    repeated: Outcome
    dawid_skene: Outcome
    mace: Outcome
    p_below: float | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "name": self.name,
            "judgments": self.judgments,
            "shared_items": self.shared,
            "agreement_with_the_rest": self.agreement.to_dict(),
            "ties": self.ties.to_dict(),
            "preferred_first_shown": self.first_shown.to_dict(),
            "preferred_longer": self.longer.to_dict(),
            "agreement_with_self": self.repeated.to_dict(),
            "dawid_skene_accuracy": self.dawid_skene.to_dict(),
            "mace_competence": self.mace.to_dict(),
            "p_agrees_less_than_others": self.p_below,
            "notes": list(self.notes),
        }


def annotator_table(
    evidence: Evidence, answers: Answers, fit: Fit | str, longer: Ints
) -> tuple[Annotator, ...]:
    """A row for every annotator, those with most judgments first.

    Args:
        longer: Of each judgment, 1 where the longer response was preferred, -1 the shorter, 0 where
            neither can be said.
    """
    judgments, cluster = evidence.judgments, evidence.items.cluster
    with_rest = _with_the_rest(answers)
    below = _p_below(answers, with_rest)
    own = _positions(judgments.annotator)
    rows = []
    for number, mine in sorted(own.items(), key=lambda entry: -len(entry[1])):
        item = judgments.item[mine]
        group, value = cluster[item], judgments.value[mine]
        shared = with_rest.get(number)
        agrees: Outcome = Undefined("no item was judged by another annotator too.")
        if shared is not None:
            agrees = cluster_mean(*shared, bounds=(0.0, 1.0))
        first = judgments.shown[mine] * value
        rows.append(
            Annotator(
                name=evidence.annotators[number],
                judgments=len(mine),
                shared=0 if shared is None else len(shared[0]),
                agreement=agrees,
                ties=cluster_mean((value == 0).astype(np.float64), group, bounds=(0.0, 1.0)),
                first_shown=_share(first, group, "the order shown is unknown, or all are ties."),
                longer=_share(longer[mine], group, "no lengths differ, or all are ties."),
                repeated=_with_self(item, value, group),
                dawid_skene=_mean_of(fit, number, "is_true"),
                mace=_mean_of(fit, number, "is_meant"),
                p_below=below.get(number),
                notes=_notes(value, first, 0 if shared is None else len(shared[0])),
            )
        )
    return tuple(rows)


def _positions(annotator: Ints) -> dict[int, Ints]:
    """The positions of each named annotator's entries, in order."""
    order = np.argsort(annotator, kind="stable")
    number, start = np.unique(annotator[order], return_index=True)
    ends = np.append(start, len(order))[1:]
    bounds = zip(number.tolist(), start.tolist(), ends.tolist(), strict=True)
    return {n: order[low:high] for n, low, high in bounds if n >= 0}


def _with_the_rest(answers: Answers) -> dict[int, tuple[Floats, Ints]]:
    """Of each annotator's shared items: the share of the others that agree, and the cluster."""
    shared = answers.where(np.isin(answers.item, shared_items(answers)))
    item = np.unique(shared.item, return_inverse=True)[1]
    domain, answer = np.unique(shared.value, return_inverse=True)
    code = item * max(len(domain), 1) + answer
    alike = np.bincount(code)[code] - 1
    others = np.bincount(item)[item] - 1
    share = alike / np.maximum(others, 1)
    return {
        number: (share[mine], shared.cluster[mine])
        for number, mine in _positions(shared.annotator).items()
    }


def _p_below(answers: Answers, with_rest: dict[int, tuple[Floats, Ints]]) -> dict[int, float]:
    """P-values of an annotator agreeing with the rest as often as those agree among themselves.

    The clustered t test, over items, of the difference between the annotator's agreement and that
    of the other annotators of all items; two-sided, 1 where the difference is upward, adjusted by
    Holm over the annotators with ``FEW`` shared items or more.
    """
    met = meetings(answers)
    same = (met.value_a == met.value_b).astype(np.float64)
    size = int(answers.annotator.max(initial=0)) + 1
    mine, mine_same = (
        np.bincount(met.a, weights, size) + np.bincount(met.b, weights, size)
        for weights in (None, same)
    )
    p_values = {}
    for number, (share, cluster) in with_rest.items():
        others = len(same) - mine[number]
        if len(share) < FEW or not others:
            continue
        usual = (same.sum() - mine_same[number]) / others
        estimate = estimate_mean(share - usual, cluster)
        p_values[number] = t_test(estimate) if estimate.value < 0 else 1.0
    return dict(zip(p_values, holm(list(p_values.values())), strict=True))


def _share(signs: Ints, cluster: Ints, why: str) -> Outcome:
    """The share of positive signs among those that are not 0."""
    told = signs != 0
    if not told.any():
        return Undefined(why)
    return cluster_mean((signs[told] > 0).astype(np.float64), cluster[told], bounds=(0.0, 1.0))


def _with_self(item: Ints, value: Ints, cluster: Ints) -> Outcome:
    """The share of repeated answers to an item that equal the one before."""
    order = np.lexsort((np.arange(len(item)), item))
    again = np.flatnonzero(item[order][1:] == item[order][:-1]) + 1
    if not len(again):
        return Undefined("no item was judged twice by this annotator.")
    same = value[order][again] == value[order][again - 1]
    return cluster_mean(same.astype(np.float64), cluster[order][again], bounds=(0.0, 1.0))


def _mean_of(fit: Fit | str, number: int, name: str) -> Outcome:
    if isinstance(fit, str):
        return Undefined(fit)
    mine = np.flatnonzero(fit.answers.annotator == number)
    if not len(mine):
        return Undefined("no item was judged by another annotator too.")
    values: Floats | None = getattr(fit, name)
    if values is None:
        return Undefined("this model was not fitted.")
    return cluster_mean(values[mine], fit.answers.cluster[mine], bounds=(0.0, 1.0))


def _notes(value: Ints, first: Ints, shared: int) -> tuple[str, ...]:
    notes = []
    if shared < FEW:
        notes.append("few labels")
    if len(value) > 1 and not value.any():
        notes.append("always a tie")
    elif len(value) > 1 and (first == 1).all():
        notes.append("always the first shown")
    elif len(value) > 1 and (first == -1).all():
        notes.append("always the second shown")
    return tuple(notes)
