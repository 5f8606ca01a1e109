"""Which labels are likely true, and who gives them: Dawid-Skene and MACE, as crowd-kit has them.

Letters: J judgments · U items · V answers.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.answers import Answers, shared_items
from assay.data.audit.figures import Outcome
from assay.data.audit.judgments import Floats, Ints
from assay.stats import cluster_mean

MOST_JUDGMENTS = 60_000
"""Judgments the two models are fitted on at most; of more, those of a random part of the items."""
RESTARTS = 3
"""Random starts of MACE; the likeliest is kept."""
MACE_STEPS = 50
DAWID_SKENE_STEPS = 100
"""Steps of EM at most; it ends before where it no longer gains."""


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
    is_meant: Floats | None  # P(it was not given at random), by MACE; None where it was not fitted
    majority: NDArray[np.bool_]  # (U, V), all answers of the most votes
    cluster: Ints  # (U,)
    is_sample: bool


def fit_reliability(answers: Answers, seed: int = 0, with_mace: bool = True) -> Fit | str:
    """Dawid & Skene 1979 and MACE (Hovy et al. 2013) of the items judged by two or more.

    Dawid-Skene: annotator a answers v to an item whose true answer is t with probability
    ``π^a_tv``, fitted by EM from the majority. MACE: with probability ``θ_a`` the true answer, else
    one at random from the annotator's own habit; fitted by variational Bayes.

    Args:
        with_mace: Whether MACE is fitted too, which takes most of the time.

    Returns:
        The fit, or why there is none.
    """
    shared = answers.where(np.isin(answers.item, shared_items(answers)))
    if not len(shared):
        return "no item was judged by two annotators."
    if len(np.unique(shared.value)) < 2:
        return "all judgments are the same."
    total = len(shared)
    shared = _turned(_sample(shared, seed), seed)
    import pandas as pd

    # crowd-kit's MACE mixes up annotators (and answers) unless they are numbered as they appear
    item, worker, label = (
        pd.factorize(column)[0] for column in (shared.item, shared.annotator, shared.value)
    )
    frame = pd.DataFrame({"task": item, "worker": worker, "label": label})
    true_by_label = _dawid_skene(frame)  # (U, V), columns by label
    meant = _mace(frame, seed) if with_mace else None
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
        is_sample=len(shared) < total,
    )


def _sample(shared: Answers, seed: int) -> Answers:
    if len(shared) <= MOST_JUDGMENTS:
        return shared
    items, count = np.unique(shared.item, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(items))
    kept = items[order[np.cumsum(count[order]) <= MOST_JUDGMENTS]]
    return shared.where(np.isin(shared.item, kept))


def _turned(answers: Answers, seed: int) -> Answers:
    """Every item's sides in an order drawn by chance, so that neither is better a priori.

    A habit for the side shown first would else pass for knowledge of which side is better.
    """
    item = np.unique(answers.item, return_inverse=True)[1]
    # a stream of its own: simulated data may have been drawn with the same seed
    rng = np.random.default_rng([seed, 1])
    sign = rng.choice([-1.0, 1.0], int(item.max(initial=0)) + 1)
    return replace(answers, value=answers.value * sign[item])


def _dawid_skene(frame: Any) -> Floats:
    from crowdkit.aggregation import DawidSkene

    model = DawidSkene(n_iter=DAWID_SKENE_STEPS).fit(frame)
    assert model.probas_ is not None
    table = model.probas_.reindex(range(int(frame["task"].max()) + 1))
    return np.asarray(table[sorted(table.columns)].fillna(0.0), dtype=np.float64)


def _mace(frame: Any, seed: int) -> Floats:
    """The probability of each judgment that it was not given at random."""
    from crowdkit.aggregation import MACE

    # a generator, not a number: with a number every restart begins at the same point
    random: Any = np.random.RandomState(seed)
    model = MACE(n_restarts=RESTARTS, n_iter=MACE_STEPS, random_state=random).fit(frame)
    assert model.probas_ is not None
    label_true = np.asarray(model.probas_.reindex(range(int(frame["task"].max()) + 1)))
    worker, label, task = (np.asarray(frame[name]) for name in ("worker", "label", "task"))
    knows = model.spamming_[worker, 1]
    by_chance = model.spamming_[worker, 0] * model.thetas_[worker, label]
    meant = label_true[task, label] * knows / (knows + by_chance)
    return np.asarray(meant, dtype=np.float64)


def reliability(fit: Fit | str) -> Reliability:
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
        sampled=fit.is_sample,
        changed=cluster_mean(differs.astype(np.float64), fit.cluster, bounds=(0.0, 1.0)),
        entropy=cluster_mean(
            -(p * np.log(p)).sum(axis=1), fit.cluster, bounds=(0.0, float(np.log(p.shape[1])))
        ),
    )
