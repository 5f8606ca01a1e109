"""Who judges how: agreement with the rest, habits, and reliability by Dawid-Skene and MACE.

The two models are crowd-kit's. Letters: J judgments · A annotators · V answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.agreement import Answers, meetings, shared_items
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Floats, Ints
from assay.stats import cluster_mean, estimate_mean, holm, t_test
from assay.types import Figure

FEW = 20
"""Shared items below which a figure of one annotator says little."""
MOST_JUDGMENTS = 60_000
"""Judgments the two models are fitted on at most; of more, those of a random part of the items."""
RESTARTS = 5
"""Random starts of MACE; the likeliest is kept."""


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


@dataclass(frozen=True)
class Reliability:
    """What the two models say of all judgments, or why they were not fitted."""

    why: str | None
    judgments: int = 0
    items: int = 0
    sampled: bool = False
    changed: Outcome | None = None
    entropy: Outcome | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "why_not": self.why,
            "fitted_on_judgments": self.judgments,
            "fitted_on_items": self.items,
            "is_sample": self.sampled,
            "dawid_skene_differs_from_majority": self.changed and self.changed.to_dict(),
            "mean_label_entropy_nats": self.entropy and self.entropy.to_dict(),
        }


@dataclass(frozen=True)
class Fit:
    """Fitted reliability: posteriors by item ``(U, V)``, and of each judgment ``(J,)``."""

    answers: Answers
    posterior: Floats
    is_true: Floats  # P(the answer is the true one)
    is_meant: Floats  # P(it was not given at random), by MACE
    majority: NDArray[np.bool_]  # (U, V), all answers of the most votes
    cluster: Ints  # (U,)


def fit_reliability(answers: Answers, seed: int = 0) -> Fit | str:
    """Dawid & Skene 1979 and MACE (Hovy et al. 2013) of the items judged by two or more.

    Dawid-Skene: annotator a answers v to an item whose true answer is t with probability
    ``π^a_tv``, fitted by EM from the majority. MACE: with probability ``θ_a`` the true answer, else
    one at random from the annotator's own habit; fitted by variational Bayes.

    Returns:
        The fit, or why there is none.
    """
    shared = answers.where(np.isin(answers.item, shared_items(answers)))
    if not len(shared):
        return "no item was judged by two annotators."
    if len(np.unique(shared.value)) < 2:
        return "all judgments are the same."
    shared = _sample(shared, seed)
    import pandas as pd

    # crowd-kit's MACE mixes up annotators (and answers) unless they are numbered as they appear
    item, worker, label = (
        pd.factorize(column)[0] for column in (shared.item, shared.annotator, shared.value)
    )
    frame = pd.DataFrame({"task": item, "worker": worker, "label": label})
    true_by_label = _dawid_skene(frame)  # (U, V), columns by label
    meant = _mace(frame, seed)
    items = int(item.max()) + 1
    votes = np.zeros((items, int(label.max()) + 1))
    np.add.at(votes, (item, label), 1.0)
    cluster = np.empty(items, dtype=np.int64)
    cluster[item] = shared.cluster
    return Fit(
        answers=shared,
        posterior=true_by_label,
        is_true=true_by_label[item, label],
        is_meant=meant,
        majority=votes == votes.max(axis=1, keepdims=True),
        cluster=cluster,
    )


def _sample(shared: Answers, seed: int) -> Answers:
    if len(shared) <= MOST_JUDGMENTS:
        return shared
    items, count = np.unique(shared.item, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(items))
    kept = items[order[np.cumsum(count[order]) <= MOST_JUDGMENTS]]
    return shared.where(np.isin(shared.item, kept))


def _dawid_skene(frame: Any) -> Floats:
    from crowdkit.aggregation import DawidSkene

    model = DawidSkene(n_iter=100).fit(frame)
    table = model.probas_.reindex(range(int(frame["task"].max()) + 1))
    return np.asarray(table[sorted(table.columns)].fillna(0.0), dtype=np.float64)


def _mace(frame: Any, seed: int) -> Floats:
    """The probability of each judgment that it was not given at random."""
    from crowdkit.aggregation import MACE

    # a generator, not a number: with a number every restart begins at the same point
    random: Any = np.random.RandomState(seed)
    model = MACE(n_restarts=RESTARTS, random_state=random).fit(frame)
    assert model.probas_ is not None
    label_true = np.asarray(model.probas_.reindex(range(int(frame["task"].max()) + 1)))
    worker, label, task = (np.asarray(frame[name]) for name in ("worker", "label", "task"))
    knows = model.spamming_[worker, 1]
    by_chance = model.spamming_[worker, 0] * model.thetas_[worker, label]
    meant = label_true[task, label] * knows / (knows + by_chance)
    return np.asarray(meant, dtype=np.float64)


def reliability(fit: Fit | str, total: int) -> Reliability:
    """What the fit says of the labels as a whole: how many differ from the majority, how sure."""
    if isinstance(fit, str):
        return Reliability(fit)
    best = fit.posterior.argmax(axis=1)
    differs = ~fit.majority[np.arange(len(best)), best]
    p = np.clip(fit.posterior, 1e-12, 1.0)
    return Reliability(
        None,
        judgments=len(fit.answers),
        items=len(best),
        sampled=len(fit.answers) < total,
        changed=cluster_mean(differs.astype(np.float64), fit.cluster, bounds=(0.0, 1.0)),
        entropy=cluster_mean(
            -(p * np.log(p)).sum(axis=1), fit.cluster, bounds=(0.0, float(np.log(p.shape[1])))
        ),
    )


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
    parts = np.split(order, start[1:])
    return {int(n): part for n, part in zip(number, parts, strict=True) if n >= 0}


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
    values: Floats = getattr(fit, name)[mine]
    return cluster_mean(values, fit.answers.cluster[mine], bounds=(0.0, 1.0))


def _notes(value: Ints, first: Ints, shared: int) -> tuple[str, ...]:
    notes = []
    if shared < FEW:
        few = f"{shared:,} shared item{'' if shared == 1 else 's'}"
        notes.append(f"few labels: {few}, too few to tell")
    if len(value) > 1 and not value.any():
        notes.append("always a tie")
    elif len(value) > 1 and (first == 1).all():
        notes.append("always the response shown first")
    elif len(value) > 1 and (first == -1).all():
        notes.append("always the response shown second")
    return tuple(notes)
