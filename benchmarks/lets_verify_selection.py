"""What ``lets_verify.py`` measures of selection: right answers and sound reasoning, by method.

NumPy in, numbers out; knows nothing of models. Intervals are over problems, those of all seeds
together; a seed's problems, policy and models are its own.

Letters: N samples of a problem.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from arithmetic import Problem, answer_of, is_complete, judged
from numpy.typing import NDArray

from assay.stats import auc, cluster_mean
from assay.stats.reduce import lowest_is_last, reduce_steps
from assay.stats.sampled import MAJORITY, SampledSolutions, SelectionCurves, selection_curves
from assay.stats.steps import JudgedSteps

SCORES = ("PRM", "PRM min", "ORM")
PAIRS = (
    ("PRM", "ORM"),
    ("ORM", MAJORITY),
    ("PRM", MAJORITY),
    ("PRM weighted", "ORM weighted"),
    ("PRM weighted", MAJORITY),
)
"""Differences that are asked for."""

Figures = dict[str, Any]


@dataclass(frozen=True)
class Sampled:
    """The samples of one problem, for one m: what is true of each, and what the models say."""

    seed: int
    problem: Problem
    labels: list[tuple[int | None, ...]]  # (N,)
    right: NDArray[np.bool_]  # (N,)
    sound: NDArray[np.bool_]  # (N,)
    answers: list[str | None]  # (N,)
    rewards: list[NDArray[np.float64]]  # (N,)
    outcome: NDArray[np.float64]  # (N,)

    @property
    def name(self) -> str:
        """Tells it from the problems of all seeds."""
        return f"{self.seed}: {self.problem.text}"

    @property
    def scores(self) -> dict[str, NDArray[np.float64]]:
        """The numbers that select, by name."""
        return {
            "PRM": reduce_steps(self.rewards, "product"),
            "PRM min": reduce_steps(self.rewards, "min"),
            "ORM": self.outcome,
        }

    @property
    def finished(self) -> dict[str, NDArray[np.float64]]:
        """The same, and NaN for samples without an answer, which are picked last."""
        answered = np.array([a is not None for a in self.answers])
        return {name: np.where(answered, score, np.nan) for name, score in self.scores.items()}


def sampled_of(world: Mapping[str, Any], m: int) -> list[Sampled]:
    """One world's problems with their samples."""
    found = []
    for problem, texts, rewards, outcome in zip(
        world["problems"],
        world["texts"],
        world["process"]["rewards"],
        world["outcome"][m]["right"],
        strict=True,
    ):
        solutions = [judged(problem, text, m) for text in texts]
        found.append(
            Sampled(
                seed=world["seed"],
                problem=problem,
                labels=[s.labels for s in solutions],
                right=np.array([bool(s.correct) for s in solutions]),
                sound=np.array(
                    [
                        s.first_error is None and is_complete(problem, text)
                        for s, text in zip(solutions, texts, strict=True)
                    ]
                ),
                answers=[
                    answer_of(text, m) if is_complete(problem, text) else None for text in texts
                ],
                rewards=[np.array(r) for r in rewards],
                outcome=np.array(outcome),
            )
        )
    return found


def luck(sampled: Sequence[Sampled]) -> Figures:
    """How often samples are right, sound, and right without being sound; sound by seed too."""

    def share(values: Sequence[NDArray[np.bool_]]) -> Figures:
        clusters = np.repeat(np.arange(len(values)), [len(v) for v in values])
        flat = np.concatenate(values).astype(np.float64)
        return cluster_mean(flat, clusters, (0.0, 1.0)).to_dict()

    return {
        "right": share([s.right for s in sampled]),
        "sound": share([s.sound for s in sampled]),
        "unsound_of_right": share([~s.sound[s.right] for s in sampled]),
        "right_of_unsound": share([s.right[~s.sound] for s in sampled]),
        "by_seed": {
            str(seed): {
                "right": share([s.right for s in sampled if s.seed == seed]),
                "sound": share([s.sound for s in sampled if s.seed == seed]),
            }
            for seed in dict.fromkeys(s.seed for s in sampled)
        },
    }


def selected(sampled: Sequence[Sampled]) -> Figures:
    """Curves of right answers and of sound reasoning, and paired differences at the largest n."""
    curves = selection_curves(
        [SampledSolutions(s.right.tolist(), s.scores, s.answers, s.name) for s in sampled],
        weighted=("PRM", "ORM"),
    )
    sound = selection_curves(
        [SampledSolutions(s.sound.tolist(), s.finished, None, s.name) for s in sampled]
    )
    voted = [voted_sound(s) for s in sampled]
    hard = np.array([s.problem.is_hard for s in sampled])
    seeds = np.array([s.seed for s in sampled])
    return {
        "n": list(curves.n),
        "problems": curves.problems,
        "unanswered": curves.unanswered,
        "curves": {name: [f.to_dict() for f in row] for name, row in curves.curves().items()},
        "differences": {
            f"{a} - {b}": {
                "n": [f.to_dict() for f in curves.difference(a, b)],
                "by_seed": {
                    str(seed): _of(curves, seeds == seed).difference(a, b)[-1].to_dict()
                    for seed in dict.fromkeys(seeds.tolist())
                },
            }
            for a, b in PAIRS
        },
        "parts": {
            name: {method: row[-1].to_dict() for method, row in _of(curves, part).curves().items()}
            for name, part in (
                *((f"seed {seed}", seeds == seed) for seed in dict.fromkeys(seeds.tolist())),
                ("with a hard step", hard),
                ("without", ~hard),
            )
            if part.any()
        },
        "sound": {
            "curves": {name: [f.to_dict() for f in row] for name, row in sound.curves().items()},
            "majority": cluster_mean(voted, bounds=(0.0, 1.0)).to_dict(),
            "PRM - ORM": {
                "n": [f.to_dict() for f in sound.difference("PRM", "ORM")],
                "by_seed": {
                    str(seed): _of(sound, seeds == seed).difference("PRM", "ORM")[-1].to_dict()
                    for seed in dict.fromkeys(seeds.tolist())
                },
            },
        },
    }


def _of(curves: SelectionCurves, kept: NDArray[np.bool_]) -> SelectionCurves:
    """The curves of some of the problems."""
    return replace(curves, values={name: v[kept] for name, v in curves.values.items()})


def voted_sound(sampled: Sampled) -> float:
    """Share of sound ones among the samples with the answer most of all N have; ties share."""
    counts = {a: sampled.answers.count(a) for a in dict.fromkeys(sampled.answers) if a is not None}
    if not counts:
        return 0.0
    most = [a for a, count in counts.items() if count == max(counts.values())]
    answers = np.array(sampled.answers, dtype=object)
    return float(np.mean([sampled.sound[answers == a].mean() for a in most]))


def models(sampled: Sequence[Sampled], found: Sequence[Mapping[str, Any]], m: int) -> Figures:
    """How well the models tell steps, and solutions, apart on the test samples."""
    judged_steps = JudgedSteps(
        [labels for s in sampled for labels in s.labels],
        [rewards for s in sampled for rewards in s.rewards],
        [s.name for s in sampled for _ in s.labels],
    )
    rewards, good, problem = judged_steps.table
    names = [s.name for s in sampled for _ in s.labels]
    right = np.concatenate([s.right for s in sampled]).astype(np.float64)
    sound = np.concatenate([s.sound for s in sampled]).astype(np.float64)
    by = {name: np.concatenate([s.scores[name] for s in sampled]) for name in SCORES}
    return {
        "step_auc": auc(rewards, good.astype(np.float64), problem).to_dict(),
        "right_auc": {name: auc(score, right, names).to_dict() for name, score in by.items()},
        "sound_auc": {name: auc(score, sound, names).to_dict() for name, score in by.items()},
        "first_error_f1": judged_steps.named().figures().f1.to_dict(),
        "lowest_is_last": lowest_is_last([r for s in sampled for r in s.rewards], names).to_dict(),
        "outcome_heldout_auc": [world["outcome"][m]["heldout_auc"] for world in found],
        "process_heldout_auc": [world["process"]["heldout_auc"] for world in found],
    }
