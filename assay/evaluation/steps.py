"""ProcessBench and PRMBench: how models that reward every step are counted.

A step reward is the probability that the step is right; below the threshold the step is called
wrong. An item's ``rewards`` and ``correct`` have one entry a step, and its tag ``threshold`` says
where the threshold was found on other solutions; else it is ½. From the source of
QwenLM/ProcessBench (``code/run_eval_prm_rlhflow.py``) and ssmisya/PRMBench
(``mr_eval/tasks/prmtest_classified``). Counts from step rewards alone; knows nothing of models.

Letters: S steps of an item · G groups of items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from assay.errors import DataError
from assay.evaluation.suite import Measure, ScoredItem, SubsetSpec, SuiteSpec
from assay.stats.step_counts import (
    THRESHOLD,
    f1,
    first_error,
    negative_f1,
    prm_score,
    processbench_f1,
)
from assay.types import Figure

TUNED = "threshold"
"""The tag of an item with the threshold that was found for it."""


def threshold_of(item: ScoredItem) -> float:
    """The reward from which a step of the item is called right."""
    return float(item.tags.get(TUNED, THRESHOLD))


def first_errors(item: ScoredItem) -> tuple[int, int]:
    """Index of the first wrong step as labelled and as predicted, -1 for none."""
    labelled = next((i for i, ok in enumerate(item.correct) if not ok), -1)
    return labelled, first_error(item.rewards, threshold_of(item))


def match_counts(item: ScoredItem) -> tuple[float, ...]:
    """(with an error, of them found, without, of them passed): 0 or 1 each."""
    labelled, predicted = first_errors(item)
    match, wrong = float(labelled == predicted), float(labelled >= 0)
    return wrong, wrong * match, 1 - wrong, (1 - wrong) * match


def step_counts(item: ScoredItem) -> tuple[float, ...]:
    """(true positive, false positive, true negative, false negative) steps; right is positive."""
    called = np.asarray(item.rewards) >= threshold_of(item)
    right = np.asarray(item.correct)
    sides = (called & right, called & ~right, ~called & ~right, ~called & right)
    return tuple(float(side.sum()) for side in sides)


_AT = "a step whose reward is the threshold is called right"
PROCESSBENCH_F1 = Measure("F1", _AT, counts=match_counts, of_counts=processbench_f1, of_steps=True)
PRM_SCORE = Measure("PRMScore", _AT, counts=step_counts, of_counts=prm_score, of_steps=True)
STEP_F1 = Measure("F1", _AT, counts=step_counts, of_counts=f1, of_steps=True)

PROCESSBENCH = SuiteSpec(
    name="processbench",
    title="ProcessBench",
    measure=PROCESSBENCH_F1,
    subsets={
        "gsm8k": SubsetSpec(PROCESSBENCH_F1, 400),
        "math": SubsetSpec(PROCESSBENCH_F1, 1000),
        "olympiadbench": SubsetSpec(PROCESSBENCH_F1, 1000),
        "omnimath": SubsetSpec(PROCESSBENCH_F1, 1000),
    },
    hub="Qwen/ProcessBench",
    note="F1 is the harmonic mean of two accuracies: the first error named, and sound solutions "
    "passed. The total is the mean of the four.",
)

KINDS = {
    "Simplicity": ("redundency", "circular"),
    "Soundness": ("counterfactual", "step_contradiction", "domain_inconsistency", "confidence"),
    "Sensitivity": ("missing_condition", "deception", "multi_solutions"),
}
"""PRMBench's kinds of error by what they test, spelled as upstream."""

PRMBENCH = SuiteSpec(
    name="prmbench",
    title="PRMBench",
    measure=PRM_SCORE,
    subsets={
        kind: SubsetSpec(STEP_F1 if kind == "multi_solutions" else PRM_SCORE, weight=1.0)
        for kinds in KINDS.values()
        for kind in kinds
    },
    sections=KINDS,
    overall=PRM_SCORE,
    hub="hitsmy/PRMBench_Preview",
    note="PRMScore is ½ F1 + ½ negative F1 of steps; multi_solutions has no wrong step and counts "
    "by F1 alone; the total pools the steps of all kinds, as upstream. Where nothing can be "
    "counted upstream puts -1; here it is missing.",
)


def step_figures(scored: Sequence[ScoredItem], spec: SuiteSpec) -> dict[str, dict[str, Figure]]:
    """What a step suite's number is made of, by subset, with intervals over clusters.

    ``error_accuracy`` and ``sound_accuracy`` (the first error named, sound solutions passed), and
    of the steps ``f1`` and ``negative_f1``.
    """
    from assay.evaluation.results import grouped, subset_order
    from assay.stats import estimate_mean, jackknife_of_sums

    found: dict[str, dict[str, Figure]] = {}
    groups = grouped(scored)
    for name in subset_order(spec, groups):
        items = groups[name]
        parts: dict[str, Figure] = {}
        for key, wrong in (("error_accuracy", True), ("sound_accuracy", False)):
            mine = [item for item in items if (not all(item.correct)) is wrong]
            hits = [float(a == b) for a, b in map(first_errors, mine)]
            estimate = estimate_mean(hits, [item.cluster for item in mine])
            parts[key] = estimate.figure((0.0, 1.0))
        sums = np.array([step_counts(item) for item in items])
        clusters = [item.cluster for item in items]
        for key, function in (("f1", f1), ("negative_f1", negative_f1)):
            parts[key] = jackknife_of_sums(sums, function, clusters).figure()
        found[name] = parts
    return found


def thresholds(scored: Sequence[ScoredItem]) -> dict[str, float]:
    """The threshold of each subset.

    Raises:
        DataError: If the items of a subset have several.
    """
    found: dict[str, float] = {}
    for item in scored:
        threshold = threshold_of(item)
        if found.setdefault(item.subset, threshold) != threshold:
            raise DataError(
                f"Item {item.id!r} of {item.subset} has threshold {threshold:g}, and those before "
                f"it {found[item.subset]:g}; a subset is counted at one."
            )
    return found


def check_steps(item: ScoredItem, where: str) -> None:
    """Refuse a solution that cannot be counted: its rewards are probabilities, one a step.

    Raises:
        DataError: With the place and what is wrong.
    """
    if not item.rewards or len(item.correct) != len(item.rewards):
        raise DataError(
            f"{where}: item {item.id!r} has {len(item.rewards)} step rewards and "
            f"{len(item.correct)} marks; wanted one of each for every step."
        )
    for number, reward in enumerate(item.rewards, start=1):
        if not 0 <= reward <= 1:
            raise DataError(
                f"{where}: step {number} of item {item.id!r} has reward {reward:g}; wanted the "
                "probability that it is right, between 0 and 1."
            )
    try:
        is_share = 0 <= threshold_of(item) <= 1
    except (TypeError, ValueError):
        is_share = False
    if not is_share:
        raise DataError(
            f"{where}: item {item.id!r} has threshold {item.tags[TUNED]!r}; wanted a probability, "
            "between 0 and 1."
        )


STEP_SUITES: Mapping[str, SuiteSpec] = {s.name: s for s in (PROCESSBENCH, PRMBENCH)}
"""The suites whose rewards are of steps."""
