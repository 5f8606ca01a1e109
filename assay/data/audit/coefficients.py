"""Coefficients of agreement: Krippendorff's alpha, Fleiss' and Cohen's kappa, with intervals.

The values are those of ``krippendorff``, statsmodels and scikit-learn; the intervals are bootstraps
over clusters of the same formulas, written as functions of sums over them. Letters: U items judged
by two or more · V possible answers · R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from assay.data.audit.answers import Answers, meetings
from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Floats, Ints
from assay.types import Figure

Level = Literal["nominal", "ordinal", "interval"]
LEVELS: tuple[Level, ...] = ("nominal", "ordinal", "interval")
LEAST_SHARED = 10
"""Items two annotators must share for a kappa of their own, unless they are the only two."""
MOST_PAIRS = 30
"""Pairs of annotators that get a kappa, those that share most."""

Bootstrap = Callable[[Floats, Callable[[Floats], Floats]], list[tuple[float, float]]]
"""Takes sums by cluster and a statistic of sums, and gives the intervals."""


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


def item_agreement(counts: Ints) -> Floats:
    """The share of pairs of judgments of an item that agree: Fleiss' P_i."""
    total = counts.sum(axis=1)
    return np.asarray((counts * (counts - 1)).sum(axis=1) / (total * (total - 1)), dtype=np.float64)


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


def alphas(domain: Floats, counts: Ints, cluster: Ints, sums: Bootstrap) -> dict[Level, Outcome]:
    """Krippendorff's alpha at every level, of counts ``(U, V)`` of the answers ``domain``."""
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


def fleiss(counts: Ints, cluster: Ints, sums: Bootstrap) -> Outcome:
    """Fleiss' kappa of the items with the most common number of judgments (Fleiss 1971)."""
    from statsmodels.stats.inter_rater import fleiss_kappa

    sizes = counts.sum(axis=1)
    raters = int(np.bincount(sizes).argmax())
    table, group = counts[sizes == raters], cluster[sizes == raters]
    used = int((table.sum(axis=0) > 0).sum())
    if used < 2:
        return Undefined(f"all items with {raters} judgments have the same answer.")
    parts = np.column_stack([item_agreement(table), table / raters, np.ones(len(table))])

    def statistic(total: Floats) -> Floats:
        items = total[:, -1:]
        with np.errstate(divide="ignore", invalid="ignore"):
            chance = ((total[:, 1:-1] / items) ** 2).sum(axis=1)
            value = (total[:, 0] / items[:, 0] - chance) / (1 - chance)
            return np.asarray(value, dtype=np.float64)[:, None]

    (interval,) = sums(_by_cluster(parts, np.unique(group, return_inverse=True)[1]), statistic)
    return Figure(float(fleiss_kappa(table, method="fleiss")), *interval, len(table))


def _by_cluster(parts: Floats, cluster: Ints) -> Floats:
    """Sums of each column over the clusters."""
    return np.stack([np.bincount(cluster, column) for column in parts.T], axis=1)


def kappa(confusion: Floats, weights: Floats) -> Floats:
    """Cohen's kappa of confusion matrices ``(R, V, V)``: ``1 - Σ w o / Σ w e``, w the disagreement.

    Cohen 1960 and 1968. ``nan`` where chance alone would agree as well.
    """
    total = confusion.sum(axis=(1, 2))
    expected = confusion.sum(axis=2)[:, :, None] * confusion.sum(axis=1)[:, None, :]
    with np.errstate(divide="ignore", invalid="ignore"):
        observed = (confusion * weights).sum(axis=(1, 2)) * total
        return np.asarray(1 - observed / (expected * weights).sum(axis=(1, 2)), dtype=np.float64)


def cohen(
    shared: Answers,
    domain: Floats,
    names: Sequence[str],
    sums: Bootstrap,
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
    nominal = np.ones((size, size)) - np.eye(size)
    place = np.arange(size, dtype=np.float64)
    squared = (place[:, None] - place[None, :]) ** 2
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
    sums: Bootstrap,
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
    sums: Bootstrap,
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
