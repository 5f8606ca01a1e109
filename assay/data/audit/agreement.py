"""Do annotators agree: raw agreement, Krippendorff's alpha, Fleiss' and Cohen's kappa.

The values are those of ``krippendorff``, statsmodels and scikit-learn; the intervals are bootstraps
over prompts, all items of a prompt together, of the same formulas written as functions of sums.
Letters: J judgments · U items judged by two or more · V possible answers · R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Floats, Ints, Judgments, Ratings
from assay.stats import bootstrap_sums, cluster_mean
from assay.types import Figure

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
LEAST_SHARED = 10
"""Items two annotators must share for a kappa of their own, unless they are the only two."""
MOST_PAIRS = 30
"""Pairs of annotators that get a kappa, those that share most."""
MOST_ANSWERS = 21
"""Different strengths that still make a scale."""


@dataclass(frozen=True)
class Answers:
    """At most one answer an annotator and item. All ``(J,)``; ``value`` is on a scale."""

    item: Ints
    annotator: Ints
    value: Floats
    cluster: Ints

    def __len__(self) -> int:
        return len(self.item)

    def where(self, chosen: NDArray[Any]) -> Answers:
        """Those that a mask or positions choose."""
        return Answers(
            self.item[chosen], self.annotator[chosen], self.value[chosen], self.cluster[chosen]
        )


@dataclass(frozen=True)
class PairKappa:
    """Two annotators and Cohen's kappa of the items they share."""

    annotators: tuple[str, str]
    kappa: Outcome
    weighted: Outcome
    shared: int

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "annotators": list(self.annotators),
            "kappa": self.kappa.to_dict(),
            "weighted_kappa": self.weighted.to_dict(),
            "shared_items": self.shared,
        }


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


def last_positions(item: Ints, annotator: Ints) -> Ints:
    """Positions of the last answer of every named annotator to every item, in order.

    Who answers twice corrects the first answer: an append-only file of answers says so.
    """
    order = np.lexsort((np.arange(len(item)), annotator, item))
    order = order[annotator[order] >= 0]
    is_last = np.ones(len(order), dtype=np.bool_)
    is_last[:-1] = np.diff(item[order]).astype(np.bool_) | np.diff(annotator[order]).astype(
        np.bool_
    )
    return np.sort(order[is_last])


def choices(judgments: Judgments, cluster: Ints) -> Answers:
    """Which side is better, 1, -1 or 0 for a tie, as answers."""
    last = judgments.where(last_positions(judgments.item, judgments.annotator))
    return Answers(last.item, last.annotator, last.value.astype(np.float64), cluster[last.item])


def strengths(judgments: Judgments, cluster: Ints) -> Answers | Undefined | None:
    """How much better a side is, signed, as answers; None where no one says how much."""
    last = judgments.where(last_positions(judgments.item, judgments.annotator))
    size = np.where(last.value == 0, 0.0, last.strength)
    answers = Answers(last.item, last.annotator, last.value * size, cluster[last.item])
    shared = np.isin(answers.item, shared_items(answers))
    is_clear = (last.value != 0) & shared
    if not is_clear.any() or np.isnan(size[is_clear]).all():
        return None
    lacking = int(np.isnan(size[is_clear]).sum())
    if lacking:
        return Undefined(f"{lacking:,} of {int(is_clear.sum()):,} judgments say no strength.")
    count = len(np.unique(answers.value[shared]))
    if count > MOST_ANSWERS:
        return Undefined(f"{count:,} different strengths are no scale of answers.")
    return answers.where(shared)


def rated(ratings: Ratings) -> Answers:
    """Answers to a question about single responses."""
    last = last_positions(ratings.item, ratings.annotator)
    return Answers(
        ratings.item[last],
        ratings.annotator[last],
        ratings.value[last].astype(np.float64),
        ratings.cluster[last],
    )


def shared_items(answers: Answers) -> Ints:
    """Items with the answers of two annotators or more."""
    item, count = np.unique(answers.item, return_counts=True)
    return item[count >= 2]


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
    pairs, mean = _cohen(shared, domain, names, sums)
    return Agreement(
        *shape,
        raw=raw,
        raw_without_ties=decided,
        alpha=_alphas(domain, counts, cluster, sums),
        fleiss=_fleiss(counts, cluster, sums),
        cohen=mean,
        pairs=pairs,
    )


def _why_undefined(everyone: Ints, names: Sequence[str], shared: int) -> str | None:
    if not len(everyone):
        return "the data name no annotators, so there is one opinion of each item and no other."
    if len(everyone) == 1:
        return f"there is one annotator, {names[int(everyone[0])]!r}; agreement needs two."
    if not shared:
        return (
            f"no item was judged by two of the {len(everyone):,} annotators; "
            "have a part of the items judged twice."
        )
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


def _item_agreement(counts: Ints) -> Floats:
    """The share of pairs of judgments of an item that agree: Fleiss' P_i."""
    total = counts.sum(axis=1)
    return np.asarray((counts * (counts - 1)).sum(axis=1) / (total * (total - 1)), dtype=np.float64)


def _raw(counts: Ints, cluster: Ints) -> Figure:
    return cluster_mean(_item_agreement(counts), cluster, bounds=(0.0, 1.0))


def _without_ties(domain: Floats, counts: Ints, cluster: Ints) -> Outcome:
    """Raw agreement of the judgments that prefer a side, as to which."""
    sides = np.stack([counts[:, domain < 0].sum(axis=1), counts[:, domain > 0].sum(axis=1)], axis=1)
    decided = sides.sum(axis=1) >= 2
    if not decided.any():
        return Undefined("no item has two judgments that are not ties.")
    return cluster_mean(_item_agreement(sides[decided]), cluster[decided], bounds=(0.0, 1.0))


def alpha(o: Floats, domain: Floats, level: Level) -> Floats:
    """Krippendorff's alpha of coincidence matrices ``(R, V, V)``; the package's, many at a time.

    ``α = 1 - Σ o_cd δ_cd / Σ e_cd δ_cd`` with ``e_cd = n_c (n_d - [c = d]) / (n - 1)``, n the
    margins of o; δ is [c ≠ d] (nominal), (c - d)² (interval), or the squared number of judgments
    between c and d, those at the ends half (ordinal). Krippendorff 2004, ch. 11. ``nan`` where
    there is no variation.
    """
    margin = o.sum(axis=2)  # (R, V)
    total = margin.sum(axis=1)[:, None, None]
    diagonal = margin[:, :, None] * np.eye(len(domain))
    expected = margin[:, :, None] * margin[:, None, :] - diagonal
    if level == "nominal":
        distance = 1 - np.eye(len(domain))[None]
    elif level == "interval":
        distance = (domain[:, None] - domain[None, :])[None] ** 2
    else:
        before = np.cumsum(margin, axis=1) - margin / 2  # judgments up to the middle of an answer
        distance = (before[:, :, None] - before[:, None, :]) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (o * distance).sum(axis=(1, 2)) * (total[:, 0, 0] - 1)
        return np.asarray(1 - observed / (expected * distance).sum(axis=(1, 2)), dtype=np.float64)


def _alphas(
    domain: Floats, counts: Ints, cluster: Ints, sums: Callable[..., list[tuple[float, float]]]
) -> dict[Level, Outcome]:
    from krippendorff import alpha as package

    size = len(domain)
    coincidences = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(size)
    coincidences = coincidences / (counts.sum(axis=1) - 1)[:, None, None]
    parts = _by_cluster(coincidences.reshape(len(counts), -1), cluster)

    def statistic(total: Floats) -> Floats:
        o = total.reshape(-1, size, size)
        return np.stack([alpha(o, domain, level) for level in LEVELS], axis=1)

    intervals = sums(parts, statistic)
    return {
        level: Figure(
            float(package(value_counts=counts, value_domain=domain, level_of_measurement=level)),
            *interval,
            len(counts),
        )
        for level, interval in zip(LEVELS, intervals, strict=True)
    }


def _fleiss(counts: Ints, cluster: Ints, sums: Callable[..., list[tuple[float, float]]]) -> Outcome:
    """Fleiss' kappa of the items with the most common number of judgments (Fleiss 1971)."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    sizes = counts.sum(axis=1)
    raters = int(np.bincount(sizes).argmax())
    table, group = counts[sizes == raters], cluster[sizes == raters]
    used = int((table.sum(axis=0) > 0).sum())
    if used < 2:
        return Undefined(f"all items with {raters} judgments have the same answer.")
    parts = np.column_stack([_item_agreement(table), table / raters, np.ones(len(table))])

    def statistic(total: Floats) -> Floats:
        items = total[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = ((total[:, 1:-1] / items) ** 2).sum(axis=1)
            return ((total[:, 0] / items[:, 0] - chance) / (1 - chance))[:, None]

    (interval,) = sums(_by_cluster(parts, np.unique(group, return_inverse=True)[1]), statistic)
    return Figure(float(fleiss_kappa(table, method="fleiss")), *interval, len(table))


def _by_cluster(parts: Floats, cluster: Ints) -> Floats:
    """Sums of each column over the clusters."""
    return np.stack([np.bincount(cluster, column) for column in parts.T], axis=1)


@dataclass(frozen=True)
class Meetings:
    """Two annotators' answers to an item both judged, once each. All ``(M,)``; ``a < b``."""

    a: Ints
    b: Ints
    value_a: Floats
    value_b: Floats
    cluster: Ints


def meetings(answers: Answers) -> Meetings:
    """Every two answers to one item."""
    order = np.lexsort((answers.annotator, answers.item))
    item = answers.item[order]
    most = int(np.unique(item, return_counts=True)[1].max(initial=1))
    left, right = [np.empty(0, dtype=np.int64)], [np.empty(0, dtype=np.int64)]
    for lag in range(1, most):
        met = np.flatnonzero(item[lag:] == item[:-lag])
        left.append(order[met])
        right.append(order[met + lag])
    i, j = np.concatenate(left), np.concatenate(right)
    return Meetings(
        answers.annotator[i],
        answers.annotator[j],
        answers.value[i],
        answers.value[j],
        answers.cluster[i],
    )


def kappa(confusion: Floats, weights: Floats) -> Floats:
    """Cohen's kappa of confusion matrices ``(R, V, V)``: ``1 - Σ w o / Σ w e``, w the disagreement.

    Cohen 1960 and 1968. ``nan`` where chance alone would agree as well.
    """
    total = confusion.sum(axis=(1, 2))
    expected = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (confusion * weights).sum(axis=(1, 2)) * total
        return np.asarray(1 - observed / (expected * weights).sum(axis=(1, 2)), dtype=np.float64)


def _cohen(
    shared: Answers,
    domain: Floats,
    names: Sequence[str],
    sums: Callable[..., list[tuple[float, float]]],
) -> tuple[tuple[PairKappa, ...], Outcome]:
    """Kappa of pairs of annotators, and its mean over them weighted by the items they share."""
    met = meetings(shared)
    pair, count = np.unique(met.a * len(names) + met.b, return_counts=True)
    least = 2 if len(pair) == 1 else LEAST_SHARED
    chosen = np.argsort(-count, kind="stable")[:MOST_PAIRS]
    chosen = chosen[count[chosen] >= least]
    if not len(chosen):
        return (), Undefined(f"no two annotators share {least} items.")
    size = len(domain)
    nominal = 1 - np.eye(size)
    squared = (np.arange(size)[:, None] - np.arange(size)[None, :]) ** 2.0
    code = np.searchsorted(domain, met.value_a) * size + np.searchsorted(domain, met.value_b)
    cluster = np.unique(met.cluster, return_inverse=True)[1]
    clusters = int(cluster.max()) + 1
    parts = np.zeros((clusters, len(chosen), size * size))
    found = []
    for k, number in enumerate(chosen.tolist()):
        mine = met.a * len(names) + met.b == pair[number]
        cells = np.bincount(cluster[mine] * size * size + code[mine], minlength=parts[:, k].size)
        parts[:, k] = cells.reshape(clusters, -1)
        there = parts[parts[:, k].sum(axis=1) > 0, k]
        a, b = divmod(int(pair[number]), len(names))
        values = (met.value_a[mine], met.value_b[mine])
        found.append(
            PairKappa(
                (names[a], names[b]),
                _pair_kappa(values, domain, there, nominal, None, sums),
                _pair_kappa(values, domain, there, squared, "quadratic", sums),
                int(count[number]),
            )
        )
    return tuple(found), _mean_kappa(found, parts, nominal, sums)


def _pair_kappa(
    values: tuple[Floats, Floats],
    domain: Floats,
    parts: Floats,
    weights: Floats,
    kind: str | None,
    sums: Callable[..., list[tuple[float, float]]],
) -> Outcome:
    from sklearn.metrics import cohen_kappa_score

    size = len(domain)
    if np.isnan(kappa(parts.sum(axis=0).reshape(1, size, size), weights)[0]):
        return Undefined("both always give the same answer.")
    whole = [np.searchsorted(domain, value) for value in values]
    value = cohen_kappa_score(*whole, labels=np.arange(size), weights=kind)
    (interval,) = sums(parts, lambda total: kappa(total.reshape(-1, size, size), weights)[:, None])
    return Figure(float(value), *interval, len(whole[0]))


def _mean_kappa(
    pairs: Sequence[PairKappa],
    parts: Floats,
    weights: Floats,
    sums: Callable[..., list[tuple[float, float]]],
) -> Outcome:
    """The mean of kappas weighted by the items they rest on, resampled as a whole."""
    defined = [k for k, pair in enumerate(pairs) if isinstance(pair.kappa, Figure)]
    if not defined:
        return Undefined("of each pair of annotators both always give the same answer.")
    size = len(weights)

    def statistic(total: Floats) -> Floats:
        each = total.reshape(len(total), len(defined), size, size)
        kappas = np.stack([kappa(each[:, k], weights) for k in range(len(defined))], axis=1)
        weight = np.where(np.isnan(kappas), 0.0, each.sum(axis=(2, 3)))
        with np.errstate(divide="ignore", invalid="ignore"):
            mean = (np.nan_to_num(kappas) * weight).sum(axis=1) / weight.sum(axis=1)
        return np.asarray(mean, dtype=np.float64)[:, None]

    kept = parts[:, defined].reshape(len(parts), -1)
    (interval,) = sums(kept, statistic)
    value = float(statistic(kept.sum(axis=0)[None])[0, 0])
    return Figure(value, *interval, int(sum(pairs[k].shared for k in defined)))
