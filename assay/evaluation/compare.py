"""Two models on one suite: paired differences per subset, p-values, and the items that flipped.

Works from ``scores.jsonl`` alone; knows nothing of models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from assay.atomic import write_json, write_jsonl
from assay.configs import Compare
from assay.errors import ConfigError, DataError
from assay.evaluation.results import (
    grouped,
    missing_subsets,
    p_text,
    subset_estimate,
    subset_order,
    subset_shares,
)
from assay.evaluation.run import SCORES, read_results
from assay.evaluation.saved import read_scores
from assay.evaluation.suite import Measure, ScoredItem, SuiteSpec
from assay.evaluation.suites import suite_spec
from assay.stats import (
    Estimate,
    combine,
    estimate_mean,
    holm,
    jackknife,
    jackknife_of_sums,
    mcnemar,
    paired_bootstrap_p,
    permutation_p,
    t_test,
)
from assay.types import Figure, json_number

PERMUTATIONS = 1999
"""Permutations behind the p-value of a subset against the rest."""
SHOWN = 8
"""Flipped items named in the printed text; all are in ``--json`` and ``flips.jsonl``."""


@dataclass(frozen=True)
class Difference:
    """B minus A on the same items.

    ``p`` is the paired bootstrap's in a subset, and that of the clustered t test in a section or
    the total; ``p_holm`` is it after Holm's correction over the subsets (or sections). ``mcnemar``
    is McNemar's exact p, where every item is right or wrong and stands alone in its cluster.
    ``p_rest`` asks something else: is the difference in this subset another than on the items
    outside it? By permutation, corrected over the subsets.
    """

    a: float
    b: float
    difference: Figure
    p: float
    p_holm: float
    mcnemar: float | None = None
    only_a: int = 0
    only_b: int = 0
    p_rest: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``compare.json``."""
        return {
            "a": self.a,
            "b": self.b,
            "difference": self.difference.to_dict(),
            "p": json_number(self.p),
            "p_holm": json_number(self.p_holm),
            "p_holm_against_the_rest": self.p_rest,
            "mcnemar_p": self.mcnemar,
            "only_a_right": self.only_a,
            "only_b_right": self.only_b,
        }


@dataclass(frozen=True)
class Flip:
    """An item that one model gets right, or more right, than the other."""

    id: str
    subset: str
    a: float
    b: float
    rewards_a: tuple[float, ...]
    rewards_b: tuple[float, ...]
    correct: tuple[bool, ...]

    def to_dict(self) -> dict[str, Any]:
        """A line of ``flips.jsonl``."""
        return {
            "id": self.id,
            "subset": self.subset,
            "a": self.a,
            "b": self.b,
            "rewards_a": list(self.rewards_a),
            "rewards_b": list(self.rewards_b),
            "correct": list(self.correct),
        }


@dataclass(frozen=True)
class ModelComparison:
    """B against A on one suite; differences are B minus A."""

    suite: str
    name_a: str
    name_b: str
    total: Difference | None
    sections: Mapping[str, Difference]
    subsets: Mapping[str, Difference]
    flips: tuple[Flip, ...]
    items: int
    ties: str

    def to_dict(self) -> dict[str, Any]:
        """For ``compare.json``."""
        return {
            "suite": self.suite,
            "a": self.name_a,
            "b": self.name_b,
            "items": self.items,
            "tie_rule": self.ties,
            "total": self.total.to_dict() if self.total else None,
            "sections": {name: d.to_dict() for name, d in self.sections.items()},
            "subsets": {name: d.to_dict() for name, d in self.subsets.items()},
            "flipped": len(self.flips),
        }

    def __str__(self) -> str:
        names = ["total", *self.sections, *self.subsets]
        width = max(map(len, names)) + 2
        lines = [
            f"{self.suite}, {self.items:,} items: B = {self.name_b} minus A = {self.name_a}",
            "",
            f"{'':{width}}{'A':>7}{'B':>7}  {'B - A':<33}{'p':>8}{'p Holm':>8}{'p rest':>8}"
            "  A / B alone right",
        ]
        rows = [("total", self.total)] if self.total else []
        for name, d in [*rows, *self.sections.items(), *self.subsets.items()]:
            flips = f"{d.only_a} / {d.only_b}" if d.only_a + d.only_b else "-"
            lines.append(
                f"{name:{width}}{d.a:>7.3f}{d.b:>7.3f}  {_signed(d.difference):<33}"
                f"{p_text(d.p):>8}{p_text(d.p_holm):>8}"
                f"{'-' if d.p_rest is None else p_text(d.p_rest):>8}  {flips}"
            )
        if not self.total:
            lines.append("the suite is partial: no total")
        lines += ["", f"{len(self.flips):,} items flipped"]
        for flip in self.flips[:SHOWN]:
            better = "B" if flip.b > flip.a else "A"
            lines.append(
                f"  {flip.subset} {flip.id}: {better} better ({flip.a:.2f} to {flip.b:.2f})"
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class ModelComparisons:
    """Each further evaluation against the first; ``p_holm`` corrects over the models' totals.

    It is None where the suite is partial and there is no total.
    """

    pairs: tuple[ModelComparison, ...]
    p_holm: tuple[float | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {
            "comparisons": [
                {
                    **c.to_dict(),
                    "total_p_holm_over_models": p,
                    "flips": [f.to_dict() for f in c.flips],
                }
                for c, p in zip(self.pairs, self.p_holm, strict=True)
            ]
        }

    def __str__(self) -> str:
        text = "\n\n".join(map(str, self.pairs))
        corrected = [
            f"{c.name_b} {p_text(p)}"
            for c, p in zip(self.pairs, self.p_holm, strict=True)
            if p is not None
        ]
        if len(corrected) < 2:
            return text
        over = ", ".join(corrected)
        return f"{text}\n\nagainst {self.pairs[0].name_a}, Holm over models: {over}"


def compare_scores(
    spec: SuiteSpec,
    a: Sequence[ScoredItem],
    b: Sequence[ScoredItem],
    names: tuple[str, str] = ("A", "B"),
    seed: int = 0,
) -> ModelComparison:
    """Paired differences of two models' scores of the same items.

    Raises:
        DataError: If the items are not the same.
    """
    b = _aligned(a, b, names)
    items_a, items_b = grouped(a), grouped(b)
    order = subset_order(spec, items_a)
    measures = {n: spec.subset(n).measure for n in order}
    estimates = {n: _difference(measures[n], items_a[n], items_b[n]) for n in order}
    subsets = _corrected(
        {n: _compare(measures[n], items_a[n], items_b[n], estimates[n], seed) for n in order}
    )
    apart = _against_the_rest(measures, items_a, items_b, seed)
    subsets = {name: replace(d, p_rest=apart.get(name)) for name, d in subsets.items()}
    values = {
        n: (subset_estimate(measures[n], items_a[n]), subset_estimate(measures[n], items_b[n]))
        for n in order
    }

    def weighted(shares: Mapping[str, float]) -> Difference:
        used = [n for n in shares if shares[n]]
        weights = [shares[n] for n in used]
        estimate = combine([estimates[n] for n in used], weights)
        sides = [combine([values[n][side] for n in used], weights).value for side in (0, 1)]
        p = t_test(estimate)
        return Difference(sides[0], sides[1], estimate.figure((-1.0, 1.0)), p, p)

    counts = {n: len(items_a[n]) for n in order}
    sections = {
        name: weighted(subset_shares(spec, [name], counts))
        for name, members in spec.sections.items()
        if any(m in counts for m in members)
    }
    if missing_subsets(spec, counts):
        total = None
    elif spec.subsets and not spec.overall:
        total = weighted(subset_shares(spec, list(spec.sections) or list(spec.subsets), counts))
    else:  # over all items: so of a user's own file, which has no fixed subsets
        measure = spec.overall or spec.measure
        every = _difference(measure, a, b)
        p = t_test(every)
        total = Difference(measure(a), measure(b), every.figure((-1.0, 1.0)), p, p)
    return ModelComparison(
        suite=spec.title,
        name_a=names[0],
        name_b=names[1],
        total=total,
        sections=_corrected(sections),
        subsets=subsets,
        flips=_flips(spec, a, b),
        items=len(a),
        ties=spec.measure.ties,
    )


def _difference(measure: Measure, a: Sequence[ScoredItem], b: Sequence[ScoredItem]) -> Estimate:
    clusters = [item.cluster for item in a]
    if measure.of_item is not None:
        return estimate_mean(np.subtract(measure.values(b), measure.values(a)), clusters)
    of_counts = measure.of_counts
    if of_counts is not None:
        both = np.concatenate([measure.sums(a), measure.sums(b)], axis=1)
        half = both.shape[1] // 2
        return jackknife_of_sums(
            both, lambda sums: of_counts(sums[..., half:]) - of_counts(sums[..., :half]), clusters
        )
    return jackknife(
        lambda kept: measure([b[i] for i in kept]) - measure([a[i] for i in kept]), clusters
    )


def _compare(
    measure: Measure,
    a: Sequence[ScoredItem],
    b: Sequence[ScoredItem],
    estimate: Estimate,
    seed: int,
) -> Difference:
    value_a, value_b = measure(a), measure(b)
    if measure.of_item is None:
        p = t_test(estimate)
        return Difference(value_a, value_b, estimate.figure(), p, p)
    clusters = [item.cluster for item in a]
    before, after = np.array(measure.values(a)), np.array(measure.values(b))
    gap = after - before
    p = paired_bootstrap_p(gap, clusters, seed=seed)
    only_a, only_b = int(np.sum(gap < 0)), int(np.sum(gap > 0))
    decided = np.isin(before, (0.0, 1.0)).all() and np.isin(after, (0.0, 1.0)).all()
    alone = len(set(clusters)) == len(clusters)
    exact = mcnemar(before - 0.5, after - 0.5) if decided and alone else None
    figure = estimate.figure((-1.0, 1.0))
    return Difference(value_a, value_b, figure, p, p, exact, only_a, only_b)


def _against_the_rest(
    measures: Mapping[str, Measure],
    a: Mapping[str, Sequence[ScoredItem]],
    b: Mapping[str, Sequence[ScoredItem]],
    seed: int,
) -> dict[str, float]:
    """Holm-corrected p of each subset's difference being that of all other items."""
    single = [name for name, measure in measures.items() if measure.of_item is not None]
    if len(single) < 2:
        return {}
    gaps = {n: np.subtract(measures[n].values(b[n]), measures[n].values(a[n])) for n in single}
    clusters = {n: [item.cluster for item in a[n]] for n in single}
    p_values = []
    for name in single:
        rest = [n for n in single if n != name]
        p_values.append(
            permutation_p(
                gaps[name],
                np.concatenate([gaps[n] for n in rest]),
                clusters[name],
                [c for n in rest for c in clusters[n]],
                resamples=PERMUTATIONS,
                seed=seed,
            )
        )
    return dict(zip(single, holm(p_values), strict=True))


def _corrected(differences: Mapping[str, Difference]) -> dict[str, Difference]:
    adjusted = holm([d.p for d in differences.values()])
    return {
        name: replace(d, p_holm=p)
        for (name, d), p in zip(differences.items(), adjusted, strict=True)
    }


def _flips(spec: SuiteSpec, a: Sequence[ScoredItem], b: Sequence[ScoredItem]) -> tuple[Flip, ...]:
    """Items whose value differs, largest change of the smallest gap first."""
    found = []
    for x, y in zip(a, b, strict=True):
        value = spec.subset(x.subset).measure.of_item
        if value is None or value(x) == value(y):
            continue
        flip = Flip(x.id, x.subset, value(x), value(y), x.rewards, y.rewards, x.correct)
        found.append((-abs(flip.b - flip.a), x.subset, x.id, flip))
    return tuple(f[-1] for f in sorted(found, key=lambda f: f[:3]))


def _aligned(
    a: Sequence[ScoredItem], b: Sequence[ScoredItem], names: tuple[str, str]
) -> list[ScoredItem]:
    """B's items in A's order."""
    there = {(item.subset, item.id): item for item in b}
    missing = [item for item in a if (item.subset, item.id) not in there]
    if missing or len(a) != len(b):
        example = (
            f" ({missing[0].subset} {missing[0].id!r} is in {names[0]} alone)" if missing else ""
        )
        raise DataError(
            f"{names[0]} has {len(a):,} items and {names[1]} {len(b):,}, "
            f"{len(a) - len(missing):,} of them the same{example}; evaluate both on the same suite."
        )
    rows = [there[(item.subset, item.id)] for item in a]
    for x, y in zip(a, rows, strict=True):
        if x.correct != y.correct:
            raise DataError(
                f"Item {x.id!r} of {x.subset} has other right responses in {names[0]} than in "
                f"{names[1]}; evaluate both on the same suite."
            )
    return rows


def read_evaluation(directory: Path) -> tuple[SuiteSpec, dict[str, Any], list[ScoredItem]]:
    """Specification, results and scored items of a finished evaluation.

    Raises:
        DataError: If the directory holds no finished evaluation.
    """
    results = read_results(directory)
    spec = suite_spec(results["suite"])
    if not (directory / SCORES).is_file():
        raise DataError(f"{directory} has no {SCORES}; make it with assay evaluate.")
    return spec, results, read_scores(directory / SCORES, spec)


def compare(
    directories: Sequence[str | Path], out: str | Path | None = None, seed: int = 0
) -> ModelComparisons:
    """Compare evaluation directories of one suite, each with the first.

    Args:
        out: Directory for ``compare.json``, ``flips.jsonl`` and ``leaderboard.html``.

    Raises:
        ConfigError: If there are fewer than two.
        DataError: If one is no finished evaluation, or of another suite or other items.
    """
    _check_out(out)
    if len(directories) < 2:
        raise ConfigError(
            f"Wanted two or more evaluation directories to compare, got {len(directories)}."
        )
    loaded = [read_evaluation(Path(d)) for d in directories]
    spec = loaded[0][0]
    for (other, _, _), directory in zip(loaded, directories, strict=True):
        if other.name != spec.name:
            raise DataError(
                f"{directory} is an evaluation on {other.name}, {directories[0]} one on "
                f"{spec.name}; only evaluations of one suite can be compared."
            )
    pairs = tuple(
        compare_scores(spec, loaded[0][2], rows, (str(directories[0]), str(directory)), seed)
        for (_, _, rows), directory in zip(loaded[1:], directories[1:], strict=True)
    )
    result = ModelComparisons(pairs, _holm_over_models(pairs))
    if out is not None:
        _write(Path(out), result, [results for _, results, _ in loaded])
    return result


def _holm_over_models(pairs: Sequence[ModelComparison]) -> tuple[float | None, ...]:
    """The totals' p-values corrected; None where there is no total."""
    corrected = iter(holm([c.total.p for c in pairs if c.total]))
    return tuple(next(corrected) if c.total else None for c in pairs)


def _write(out: Path, result: ModelComparisons, results: Sequence[Mapping[str, Any]]) -> None:
    from assay.evaluation.leaderboard import leaderboard_page

    out.mkdir(parents=True, exist_ok=True)
    leaderboard_page(results, out / "leaderboard.html")
    write_jsonl(
        out / "flips.jsonl",
        [{"model": c.name_b, **f.to_dict()} for c in result.pairs for f in c.flips],
    )
    write_json(out / "compare.json", {"comparisons": [c.to_dict() for c in result.pairs]})


def run(config: Compare) -> Any:
    """The verb ``assay compare``: of evaluations, or of judges by the files that they wrote.

    Raises:
        ConfigError: If there are fewer than two, or some are files and some directories.
        DataError: If one is neither.
    """
    files = [path for path in config.directories if path.is_file()]
    if not files:
        return compare(config.directories, config.out, config.seed)
    others = [path for path in config.directories if not path.is_file()]
    if others or len(files) < 2:
        raise ConfigError(
            "Wanted two or more evaluation directories to compare, or two or more files that "
            f"judges wrote, got {len(files)} files and {len(others)} directories or others."
        )
    _check_out(config.out)
    from assay.feedback.judges.compare_files import compare_files

    return compare_files(files, config.out, config.seed)


def _check_out(out: str | Path | None) -> None:
    if out is not None and Path(out).is_file():
        raise ConfigError(f"--out {out} is a file; name a directory for the comparison.")


def _signed(figure: Figure) -> str:
    return f"{figure.value:+.3f} [{figure.low:+.3f}, {figure.high:+.3f}], n={figure.n}"
