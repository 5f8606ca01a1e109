"""Evaluation of anything that rewards steps, on solutions whose steps were judged.

The scorer is asked once. Knows nothing of models: a ``StepScorer`` and solutions in, figures out.

Letters: S steps of a solution · B solutions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.configs import Neutral, Reduction
from assay.errors import DataError
from assay.evaluation.step_baselines import cross_validated, fit_step_length, fit_step_text
from assay.formats.prompts import prompt_text
from assay.stats import auc, combine
from assay.stats.arrays import Floats
from assay.stats.first_errors import SOUND, UNKNOWN, bounded
from assay.stats.reduce import (
    REDUCTIONS,
    LowestIsLast,
    length_bias,
    length_biases,
    lowest_is_last,
    reduce_steps,
    reward_by_step,
)
from assay.stats.step_counts import THRESHOLD
from assay.stats.steps import JudgedSteps, StepReport, step_report
from assay.stats.thresholds import best_threshold
from assay.types import Figure, Solution, StepScorer

UNNAMED = "unnamed"
"""The subset of solutions that name none."""
RESAMPLES = 500


@dataclass(frozen=True)
class StepEvaluation:
    """What a step scorer reaches on judged solutions, beside its baselines.

    ``mean_f1`` is the mean of the subsets' first-error F1, ProcessBench's total; None without two
    subsets. ``sound_auc`` tells solutions without an error from others, and ``correct_auc`` right
    answers from wrong ones, by the reward that each reduction gives. ``sound_length_bias`` is the
    correlation of having no error and the number of steps: what a reduction's may be due to.
    """

    overall: StepReport
    subsets: Mapping[str, StepReport]
    mean_f1: Figure | None
    baselines: Mapping[str, StepReport]
    sound_auc: Mapping[Reduction, Figure]
    correct_auc: Mapping[Reduction, Figure]
    length_bias: Mapping[Reduction, Figure]
    sound_length_bias: Figure
    lowest_is_last: LowestIsLast
    by_step: tuple[Figure, ...]
    problems: int
    tuned_on: int | None = None
    """Solutions that the threshold was found on; None: it was given."""
    shared: Mapping[str, int] | None = None
    """Training and tuning solutions left out because their problem is evaluated."""

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``."""
        return {
            "overall": self.overall.to_dict(),
            "subsets": {name: report.to_dict() for name, report in self.subsets.items()},
            "mean_f1": self.mean_f1.to_dict() if self.mean_f1 else None,
            "baselines": {name: report.to_dict() for name, report in self.baselines.items()},
            "sound_auc": _figures(self.sound_auc),
            "correct_auc": _figures(self.correct_auc),
            "length_bias": _figures(self.length_bias),
            "sound_length_bias": self.sound_length_bias.to_dict(),
            "lowest_is_last": self.lowest_is_last.to_dict(),
            "by_step": [figure.to_dict() for figure in self.by_step],
            "problems": self.problems,
            "tuned_on": self.tuned_on,
            "shared": dict(self.shared or {}),
        }


def evaluate_steps(
    scorer: StepScorer,
    solutions: Sequence[Solution],
    threshold: float = THRESHOLD,
    neutral: Neutral = "good",
    train: Sequence[Solution] | None = None,
    tune: Sequence[Solution] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> StepEvaluation:
    """All figures of a step scorer on judged solutions; intervals over problems (prompts).

    Args:
        threshold: The reward from which a step is called right.
        neutral: What neutral steps count as.
        train: Solutions to fit the baselines on: the text of a step, and its length. Without them
            there is no text baseline, and the length's is cross-validated. Those of problems that
            are evaluated are left out and counted; so are those of ``tune``.
        tune: Solutions to find the threshold on, in place of the one given: by the F1 of first
            errors, or where none of them is sound by the share of first errors named.
        resamples: Of the bootstrap intervals.

    Raises:
        DataError: If there are no solutions, or the scorer did not reward every step of them.
    """
    if not len(solutions):
        raise DataError("A step scorer is evaluated on solutions with judged steps; got none.")
    problems = [prompt_text(solution.prompt) for solution in solutions]
    judged = _judged(scorer, solutions, problems, neutral)
    shared = {}
    tuned_on = None
    if tune is not None:
        tune, shared["tune"] = of_other_problems(tune, problems)
        of_others = [prompt_text(solution.prompt) for solution in tune]
        apart = _judged(scorer, tune, of_others, neutral)
        both = any(apart.first_errors[i] == SOUND for i in apart.whole)
        threshold = best_threshold(apart, "first-error" if both else "error-accuracy")
        tuned_on = len(tune)
    if train is not None:
        train, shared["train"] = of_other_problems(train, problems)
        if not train:
            raise DataError(
                f"Baselines are fitted on solutions of other problems, but all {shared['train']:,} "
                "training solutions are of problems that are evaluated; pass others, or none."
            )

    def report(part: JudgedSteps) -> StepReport:
        return step_report(part, threshold, resamples, seed)

    names = [solution.subset or UNNAMED for solution in solutions]
    parts = {name: _part(judged, names, name) for name in dict.fromkeys(names)}
    if len(parts) < 2:
        parts = {}
    baselines = _baselines(judged, solutions, problems, train, seed)
    reduced = {how: reduce_steps(judged.rewards, how) for how in REDUCTIONS}
    first = judged.first_errors
    sound = np.where(first == UNKNOWN, np.nan, first == SOUND)
    correct = np.array([np.nan if s.correct is None else s.correct for s in solutions], np.float64)
    counts = [len(rewards) for rewards in judged.rewards]
    return StepEvaluation(
        overall=report(judged),
        subsets={name: report(part) for name, part in parts.items()},
        mean_f1=_mean_f1(list(parts.values()), threshold),
        baselines={name: report(part) for name, part in baselines.items()},
        sound_auc={how: _told_apart(r, sound, judged) for how, r in reduced.items()},
        correct_auc={how: _told_apart(r, correct, judged) for how, r in reduced.items()},
        length_bias=length_biases(judged.rewards, judged.problem, resamples, seed),
        sound_length_bias=length_bias(sound, counts, judged.problem, resamples, seed),
        lowest_is_last=lowest_is_last(judged.rewards, judged.problem),
        by_step=tuple(reward_by_step(judged.rewards, judged.problem)),
        problems=len(set(problems)),
        tuned_on=tuned_on,
        shared=shared,
    )


def _judged(
    scorer: StepScorer, solutions: Sequence[Solution], problems: Sequence[str], neutral: Neutral
) -> JudgedSteps:
    rewards = scorer.score_steps(solutions).rewards if len(solutions) else ()
    return JudgedSteps(
        [solution.labels for solution in solutions],
        [np.asarray(r, dtype=np.float64) for r in rewards],
        list(problems),
        neutral,
    )


def of_other_problems(
    solutions: Sequence[Solution], problems: Sequence[str]
) -> tuple[list[Solution], int]:
    """The solutions of problems that are not evaluated, and how many others there are."""
    evaluated = set(problems)
    kept = [s for s in solutions if prompt_text(s.prompt) not in evaluated]
    return kept, len(solutions) - len(kept)


def _part(judged: JudgedSteps, names: Sequence[str], name: str) -> JudgedSteps:
    mine = [i for i, other in enumerate(names) if other == name]
    return replace(
        judged,
        labels=[judged.labels[i] for i in mine],
        rewards=[judged.rewards[i] for i in mine],
        problems=judged.problem[mine],
    )


def _baselines(
    judged: JudgedSteps,
    solutions: Sequence[Solution],
    problems: Sequence[str],
    train: Sequence[Solution] | None,
    seed: int,
) -> dict[str, JudgedSteps]:
    """The same steps with the rewards of baselines; a step that was cut has none either."""
    neutral = judged.neutral
    if train is None:
        found = {
            "length_only": cross_validated(fit_step_length, solutions, problems, neutral, seed=seed)
        }
    else:
        fits: Mapping[str, Callable[..., StepScorer]] = {
            "text_only": fit_step_text,
            "length_only": fit_step_length,
        }
        found = {
            name: fit(train, neutral).score_steps(solutions).rewards for name, fit in fits.items()
        }
    return {
        name: replace(
            judged,
            rewards=[
                np.where(np.isnan(ours), np.nan, theirs)
                for ours, theirs in zip(judged.rewards, rewards, strict=True)
            ],
        )
        for name, rewards in found.items()
    }


def _told_apart(reduced: Floats, good: Floats, judged: JudgedSteps) -> Figure:
    known = ~np.isnan(reduced) & ~np.isnan(good)
    return auc(reduced[known], good[known], judged.problem[known])


def _mean_f1(parts: Sequence[JudgedSteps], threshold: float) -> Figure | None:
    """The mean over subsets; of nothing known where one has solutions of one kind alone."""
    if not parts:
        return None
    return bounded(combine([part.named(threshold).f1_estimate for part in parts]))


def _figures(figures: Mapping[Reduction, Figure]) -> dict[str, Any]:
    return {name: figure.to_dict() for name, figure in figures.items()}
