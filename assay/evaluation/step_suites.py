"""ProcessBench and PRMBench with their texts: rewarded step by step, counted as from saved scores.

Letters: S steps of a solution · B solutions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from assay.configs import OnBadRow
from assay.data.solutions import Solutions
from assay.errors import DataError
from assay.evaluation.rewardbench import prompt_cluster
from assay.evaluation.scoring import ScoredSuite
from assay.evaluation.step_scoring import ScoredSteps
from assay.evaluation.steps import PRMBENCH, PROCESSBENCH, STEP_SUITES, TUNED
from assay.evaluation.suite import ScoredItem, SuiteSpec
from assay.evaluation.suites import data_files, first_of_subsets, unique_ids
from assay.formats.prompts import prompt_text
from assay.formats.step_labels import BAD
from assay.stats.arrays import Floats
from assay.types import Solution


@dataclass(frozen=True)
class StepSuite:
    """A step suite's solutions: every step judged, each with an id of its own and its subset."""

    spec: SuiteSpec
    solutions: tuple[Solution, ...]
    source: str
    dropped: Mapping[str, int] = field(default_factory=dict)
    """Rows that were left out, by reason."""

    @property
    def problems(self) -> list[str]:
        """What each solution solves, as text."""
        return [prompt_text(solution.prompt) for solution in self.solutions]

    def scored(
        self, steps: ScoredSteps, thresholds: Mapping[str, float] | None = None
    ) -> ScoredSuite:
        """The items with their step rewards; those with a step that was cut are left out.

        Args:
            thresholds: By subset, where they were found on other solutions.
        """
        items = tuple(
            self._item(solution, rewards, thresholds)
            for solution, rewards in zip(self.solutions, steps.rewards, strict=True)
            if not np.isnan(rewards).any()
        )
        dropped = len(self.solutions) - len(items)
        return ScoredSuite(items, sum(steps.truncated), steps.cut, dropped)

    def _item(
        self, solution: Solution, rewards: Floats, thresholds: Mapping[str, float] | None
    ) -> ScoredItem:
        id, subset = solution.id or "", solution.subset or ""
        return ScoredItem(
            id=id,
            subset=subset,
            rewards=tuple(rewards.tolist()),
            correct=tuple(label != BAD for label in solution.labels),
            cluster=self._cluster(solution, id, subset),
            tags={} if thresholds is None else {TUNED: repr(thresholds[subset])},
        )

    def _cluster(self, solution: Solution, id: str, subset: str) -> str:
        # PRMBench's variants of one problem ask different things and share its number
        if self.spec is PRMBENCH:
            return id.removeprefix(f"{subset}_")
        return prompt_cluster(solution.prompt)


def load_step_suite(
    name: str,
    data: str | Path | None = None,
    limit: int | None = None,
    on_bad_row: OnBadRow = "error",
) -> StepSuite:
    """The solutions of ProcessBench or PRMBench.

    Args:
        data: A file or directory in the suite's published layout, or a hub name. Default: the
            suite's own place on the hub.
        limit: Use the first so many solutions of each subset.
        on_bad_row: "error" stops at the first bad row; "skip" counts it and goes on.

    Raises:
        DataError: If a row is not of its layout, its subset not the suite's, or a step not judged.
    """
    spec = STEP_SUITES[name]
    source = str(data) if data is not None else str(spec.hub)
    files = data_files(source)
    if data is None and spec is PROCESSBENCH:
        files = [f"{spec.hub}@{subset}" for subset in spec.subsets]  # there a subset is a split
    # wrong from the first error on, as both suites count
    loaded = Solutions.load(files, deduplicate=False, after_error="bad", on_bad_row=on_bad_row)
    numbered = [replace(s, id=s.id or str(n)) for n, s in enumerate(loaded, start=1)]
    for solution in numbered:
        _check(solution, spec, source)
    solutions = unique_ids(numbered)
    if limit is not None:
        solutions = first_of_subsets(solutions, limit)
    return StepSuite(spec, tuple(solutions), source, dict(loaded.report.dropped))


def _check(solution: Solution, spec: SuiteSpec, source: str) -> None:
    if solution.subset is None:
        raise DataError(
            f"{source}: solution {solution.id!r} names no subset; {spec.title} has "
            f"{', '.join(spec.subsets)}. As a file of solutions it needs none: --suite {source}."
        )
    try:
        spec.subset(solution.subset)
    except DataError as error:
        raise DataError(f"{source}: solution {solution.id!r}: {error}") from error
    if None in solution.labels:
        raise DataError(
            f"{source}: step {solution.labels.index(None) + 1} of solution {solution.id!r} is not "
            f"judged; {spec.title} counts every step. As a file of solutions it may stand: "
            f"--suite {source}."
        )
