"""From scored items to a suite's figures: subsets, sections, total, each beside its baselines.

Pure functions of ``ScoredItem``; knows nothing of models or files.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.errors import DataError
from assay.evaluation.suite import Measure, ScoredItem, SubsetSpec, SuiteSpec
from assay.stats import (
    Estimate,
    combine,
    design_effect,
    estimate_mean,
    jackknife,
    jackknife_of_sums,
    minimum_detectable_difference,
    wilson,
)
from assay.types import Figure, json_number

BASELINES = ("length_only", "text_only")
"""Baselines that answer item by item; chance is a number of the measure."""

DISCORDANCE = 0.2
"""Share of items two models are taken to differ on, for the smallest difference that shows."""


@dataclass(frozen=True)
class Part:
    """A subset, section or total: its figure and what baselines reach on the same items."""

    accuracy: Figure
    baselines: Mapping[str, Figure] = field(default_factory=dict)
    chance: float | None = None
    complete: bool = True
    want: int | None = None
    measure: str = "accuracy"

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``; a baseline that was not available is null."""
        given = {name: self.baselines.get(name) for name in BASELINES}
        return {
            "accuracy": self.accuracy.to_dict(),
            **{f"{name}_accuracy": f.to_dict() if f else None for name, f in given.items()},
            "chance_accuracy": self.chance,
            "complete": self.complete,
            "want": self.want,
            "measure": self.measure,
        }


@dataclass(frozen=True)
class SuiteFigures:
    """Every figure of a suite that comes from rewards alone.

    ``total`` is None unless every subset is there in full: a part is never shown as the whole.
    ``accuracy`` is over all items, None where subsets are measured in different ways.
    """

    spec: SuiteSpec
    subsets: Mapping[str, Part]
    sections: Mapping[str, Part]
    total: Part | None
    accuracy: Part | None
    items: int
    effective_items: int
    responses: int
    ties: int
    missing: Mapping[str, tuple[int, int]]

    @property
    def complete(self) -> bool:
        """Whether every subset is there in full."""
        return not self.missing

    @property
    def detectable(self) -> float:
        """The smallest difference of two models that these items show in four of five cases.

        ``nan`` where items are few, and for step suites: the formula wants right or wrong items.
        """
        if self.spec.measure.of_steps:
            return float("nan")
        return minimum_detectable_difference(self.effective_items, DISCORDANCE)

    def to_dict(self) -> dict[str, Any]:
        """The part of ``results.json`` that these figures make up."""
        overall = self.accuracy or self.total
        heads = overall.to_dict() if overall else Part(_nothing()).to_dict()
        total = self.total.to_dict() if self.total else None
        return {
            "items": self.items,
            "responses": self.responses,
            "rewards_of": "steps" if self.spec.measure.of_steps else "responses",
            "ties": self.ties,
            "complete": self.complete,
            "missing": {name: list(counts) for name, counts in self.missing.items()},
            "total": total and total["accuracy"],
            **{k: v for k, v in heads.items() if k not in ("complete", "want", "measure")},
            "minimum_detectable_difference": json_number(self.detectable),
            "sections": {name: part.to_dict() for name, part in self.sections.items()},
            "subsets": {name: part.to_dict() for name, part in self.subsets.items()},
            "baseline_totals": {
                **{name: total and total[f"{name}_accuracy"] for name in BASELINES},
                "chance": total and total["chance_accuracy"],
            },
        }

    def __str__(self) -> str:
        lines = [self._head(), ""]
        width = max(len(name) for name in (*self.subsets, *self.sections, "all items")) + 2
        baselines = [b for b in BASELINES if any(b in p.baselines for p in self.subsets.values())]
        names = "".join(f"{b.replace('_', '-'):>13}" for b in baselines)
        lines.append(f"{'':{width}}{'accuracy':<32}{names}{'chance':>10}")
        rows = [*self.sections.items(), *self.subsets.items()]
        if self.accuracy and len(self.subsets) > 1:
            rows.append(("all items", self.accuracy))
        for name, part in rows:
            figures = "".join(
                f"{part.baselines[b].value:>13.3f}" if b in part.baselines else f"{'-':>13}"
                for b in baselines
            )
            chance = "-" if part.chance is None else f"{part.chance:.3f}"
            note = "" if part.complete else "  incomplete"
            accuracy = str(part.accuracy)
            lines.append(f"{name:{width}}{accuracy:<32}{figures}{chance:>10}{note}")
        ties = f"{self.ties:,} items with tied rewards ({self.spec.measure.ties})"
        lines += ["", f"{ties}{self._apart()}"]
        return "\n".join(lines)

    def _apart(self) -> str:
        if self.spec.measure.of_steps:
            return ""
        if np.isnan(self.detectable):
            return "; so few items tell no two models apart"
        return f"; another model must differ by about {self.detectable:.3f} to be told apart"

    def _head(self) -> str:
        if self.total:
            return f"{self.spec.title}: {self.total.accuracy}"
        gone = ", ".join(f"{n} {have}/{want}" for n, (have, want) in self.missing.items())
        whole = len(self.spec.subsets) - len(self.missing)
        return (
            f"{self.spec.title}, partial: {whole} of {len(self.spec.subsets)} subsets whole "
            f"(have/want: {gone}); no total"
        )


def figures(
    spec: SuiteSpec,
    scored: Sequence[ScoredItem],
    baselines: Mapping[str, Sequence[ScoredItem]] | None = None,
    chance: Mapping[str, float] | None = None,
) -> SuiteFigures:
    """All figures of a suite.

    Args:
        baselines: The same items with a baseline's rewards, by name.
        chance: What random rewards reach in each subset.

    Raises:
        DataError: If there is nothing scored, or a subset is not the suite's.
    """
    if not scored:
        raise DataError(f"Nothing of {spec.name} was scored; an evaluation needs items.")
    by_subset = grouped(scored)
    specs = {name: spec.subset(name) for name in by_subset}
    order = subset_order(spec, by_subset)
    others = {name: grouped(rows) for name, rows in (baselines or {}).items()}
    estimates = {name: subset_estimate(specs[name].measure, by_subset[name]) for name in order}
    base = {
        b: {name: subset_estimate(specs[name].measure, rows[name]) for name in order}
        for b, rows in others.items()
    }
    missing = missing_subsets(spec, {name: len(rows) for name, rows in by_subset.items()})
    random = chance or {}

    subsets = {
        name: Part(
            accuracy=_subset_figure(specs[name].measure, by_subset[name], estimates[name]),
            baselines={
                b: _subset_figure(specs[name].measure, others[b][name], base[b][name]) for b in base
            },
            chance=random.get(name),
            complete=name not in missing,
            want=specs[name].count,
            measure=specs[name].measure.name,
        )
        for name in order
    }

    def weighted(names: Sequence[str]) -> Part | None:
        there = [name for name in names if name in estimates]
        if not there:
            return None
        weights = [_weight(specs[name], len(by_subset[name])) for name in there]
        return _combined(
            {n: estimates[n] for n in there},
            {b: {n: base[b][n] for n in there} for b in base},
            {n: random[n] for n in there if n in random},
            weights,
            complete=all(name in estimates and name not in missing for name in names),
        )

    sections = {
        name: part for name, members in spec.sections.items() if (part := weighted(members))
    }
    everything = _all_items(spec, specs, scored, baselines or {}, random, by_subset)
    total = None
    if not missing:
        total = everything
        if spec.overall:
            total = Part(
                _subset_figure(spec.overall, scored, subset_estimate(spec.overall, scored))
            )
        elif spec.subsets:
            total = _total(spec, sections, estimates, base, random)
    return SuiteFigures(
        spec=spec,
        subsets=subsets,
        sections=sections,
        total=total,
        accuracy=everything,
        items=len(scored),
        effective_items=effective_items(spec, by_subset),
        responses=sum(len(item.rewards) for item in scored),
        ties=sum(is_tied(item) for item in scored),
        missing=missing,
    )


def subset_order(spec: SuiteSpec, names: Iterable[str]) -> list[str]:
    """Subsets as the suite lists them; those of a user's own file by name."""
    there = set(names)
    return [name for name in spec.subsets if name in there] or sorted(there)


def grouped(scored: Sequence[ScoredItem]) -> dict[str, list[ScoredItem]]:
    """Items by subset, in order of first appearance."""
    groups: dict[str, list[ScoredItem]] = {}
    for item in scored:
        groups.setdefault(item.subset, []).append(item)
    return groups


def is_tied(item: ScoredItem) -> bool:
    """Whether a right and a wrong response (or step) have the same reward."""
    return bool(set(item.right) & set(item.wrong))


def missing_subsets(spec: SuiteSpec, counts: Mapping[str, int]) -> dict[str, tuple[int, int]]:
    """Subsets that are not there in full, with (have, want)."""
    return {
        name: (counts.get(name, 0), subset.count or 1)
        for name, subset in spec.subsets.items()
        if counts.get(name, 0) < (subset.count or 1)
    }


def subset_estimate(measure: Measure, items: Sequence[ScoredItem]) -> Estimate:
    """A subset's number with its standard error over clusters."""
    clusters = [item.cluster for item in items]
    if measure.of_item is not None:
        return estimate_mean(measure.values(items), clusters)
    if measure.of_counts is not None:
        return jackknife_of_sums(measure.sums(items), measure.of_counts, clusters)
    return jackknife(lambda kept: measure([items[i] for i in kept]), clusters)


def effective_items(spec: SuiteSpec, by_subset: Mapping[str, Sequence[ScoredItem]]) -> int:
    """How many independent items would tell as much: their number by their design effect.

    The subsets are fixed, so values are taken from their subset's mean. A subset that is measured
    as a whole has no values of items: each of its clusters counts as one item.
    """
    residuals: list[float] = []
    clusters: list[str] = []
    whole = 0
    for name, items in by_subset.items():
        measure = spec.subset(name).measure
        if measure.of_item is None:
            whole += len({item.cluster for item in items})
            continue
        values = measure.values(items)
        residuals += np.subtract(values, np.mean(values)).tolist()
        clusters += [item.cluster for item in items]
    independent = len(residuals) / design_effect(residuals, clusters) if residuals else 0.0
    return max(1, round(independent + whole))


def _subset_figure(measure: Measure, items: Sequence[ScoredItem], estimate: Estimate) -> Figure:
    if measure.of_item is None:
        # an F1 is a share, the Ties score may be a little more than 1
        return estimate.figure((0.0, 1.0) if measure.of_counts else None)
    figure = estimate.figure((0.0, 1.0))
    if figure.low == figure.high or np.isnan(figure.low):
        # every cluster says the same, so the error is unknown, not zero
        count = len({item.cluster for item in items})
        known = wilson(figure.value * count, count)
        return Figure(figure.value, known.low, known.high, figure.n)
    return figure


def _weight(subset: SubsetSpec, items: int) -> float:
    return float(items if subset.weight is None else subset.weight)


def _combined(
    estimates: Mapping[str, Estimate],
    base: Mapping[str, Mapping[str, Estimate]],
    chance: Mapping[str, float],
    weights: Sequence[float],
    complete: bool = True,
) -> Part:
    figure = combine(list(estimates.values()), weights).figure((0.0, 1.0))
    return Part(
        accuracy=figure,
        baselines={
            b: combine([rows[n] for n in estimates], weights).figure((0.0, 1.0))
            for b, rows in base.items()
        },
        chance=(
            float(np.average([chance[n] for n in estimates], weights=weights))
            if len(chance) == len(estimates)
            else None
        ),
        complete=complete,
    )


def _total(
    spec: SuiteSpec,
    sections: Mapping[str, Part],
    estimates: Mapping[str, Estimate],
    base: Mapping[str, Mapping[str, Estimate]],
    chance: Mapping[str, float],
) -> Part:
    """The weighted mean of the sections, spelled out over subsets (which are independent)."""
    names = list(spec.sections) or list(spec.subsets)
    share = subset_shares(spec, names, {n: e.n for n, e in estimates.items()})
    used = {n: w for n, w in share.items() if w}
    return _combined(
        {n: estimates[n] for n in used},
        {b: {n: rows[n] for n in used} for b, rows in base.items()},
        {n: chance[n] for n in used if n in chance},
        list(used.values()),
    )


def subset_shares(
    spec: SuiteSpec, parts: Sequence[str], counts: Mapping[str, int]
) -> dict[str, float]:
    """The weight of each subset in the weighted mean of parts (sections, or subsets).

    A part's weight is shared by its subsets that are there in proportion to their own weights.
    """
    share = dict.fromkeys(counts, 0.0)
    for name in parts:
        weight = 1.0 if spec.total_weights is None else spec.total_weights[name]
        members = [m for m in spec.sections.get(name, (name,)) if m in counts]
        inside = {m: _weight(spec.subset(m), counts[m]) for m in members}
        for member, value in inside.items():
            share[member] += weight * value / sum(inside.values())
    return share


def _all_items(
    spec: SuiteSpec,
    specs: Mapping[str, SubsetSpec],
    scored: Sequence[ScoredItem],
    baselines: Mapping[str, Sequence[ScoredItem]],
    chance: Mapping[str, float],
    by_subset: Mapping[str, Sequence[ScoredItem]],
) -> Part | None:
    """The mean over all items, where all are measured in one way."""
    measures = {id(subset.measure): subset.measure for subset in specs.values()}
    measure = next(iter(measures.values()))
    if len(measures) > 1 or measure.of_item is None:
        return None

    def figure(items: Sequence[ScoredItem]) -> Figure:
        return _subset_figure(measure, items, subset_estimate(measure, items))

    counts = [len(by_subset[name]) for name in chance]
    return Part(
        accuracy=figure(scored),
        baselines={name: figure(rows) for name, rows in baselines.items()},
        chance=float(np.average(list(chance.values()), weights=counts)) if counts else None,
        measure=measure.name,
    )


def p_text(p: float) -> str:
    """A p-value as people read it; a dash where there is none."""
    if np.isnan(p):
        return "–"
    return "<.001" if p < 0.001 else f"{p:.3f}"


def _nothing() -> Figure:
    return Figure(np.nan, np.nan, np.nan, 0)
