"""Step baselines: they learn what text and length tell, nothing of the same problem, in corners."""

from __future__ import annotations

import numpy as np
import pytest

from assay.evaluation.step_baselines import (
    cross_validated,
    fit_step_length,
    fit_step_text,
    judged_steps,
)
from assay.types import Solution, StepScorer, as_messages


def solution(steps: list[str], labels: list[int | None], problem: str = "?") -> Solution:
    return Solution(as_messages(problem, "user"), tuple(steps), tuple(labels))


def worded(count: int = 30) -> list[Solution]:
    """Steps that say "so" are good, those that say "but" are bad; bad ones are longer."""
    return [
        solution(["so it is", "so", "but it is not what it seems"], [1, 1, -1], f"problem {i}")
        for i in range(count)
    ]


def test_text_and_length_are_learnt() -> None:
    fresh = [solution(["so what", "but why, and why, and why"], [1, -1])]
    for fit in (fit_step_text, fit_step_length):
        scorer = fit(worded())
        assert isinstance(scorer, StepScorer)
        (rewards,) = scorer.score_steps(fresh).rewards
        assert 0 <= rewards[1] < 0.5 < rewards[0] <= 1
    # of texts that differ in their words alone, length tells nothing
    same = [solution(["so so", "no so"], [1, -1])] * 20
    good, bad = fit_step_text(same).score_steps(same).rewards[0]
    assert bad < 0.4 < 0.6 < good
    assert fit_step_length(same).score_steps(same).rewards[0] == pytest.approx([0.5, 0.5])


def test_rewards_come_back_by_solution() -> None:
    solutions = [solution(["so"], [1]), solution([], []), solution(["but", "so"], [-1, 1])]
    rewards = fit_step_text(worded()).score_steps(solutions).rewards
    assert [len(r) for r in rewards] == [1, 0, 2]
    assert rewards[0][0] == rewards[2][1]
    assert fit_step_text(worded()).score_steps([]).rewards == ()


def test_cross_validation_knows_nothing_of_the_same_problem() -> None:
    # every problem has a word of its own that gives its label away
    rng = np.random.default_rng(0)
    labels = [1 if rng.random() < 0.5 else -1 for _ in range(40)]
    solutions = [solution([f"w{i}"], [label], f"p{i}") for i, label in enumerate(labels)] * 2
    problems = [f"p{i}" for i in range(40)] * 2
    rewards = np.array([r[0] for r in cross_validated(fit_step_text, solutions, problems)])
    right = np.array(labels * 2) == 1
    assert np.mean((rewards > 0.5) == right) < 0.7
    inside = np.array([r[0] for r in fit_step_text(solutions).score_steps(solutions).rewards])
    assert np.mean((inside > 0.5) == right) > 0.95


def test_steps_of_one_kind_get_their_share() -> None:
    good = [solution(["a", "b"], [1, 1])]
    assert fit_step_text(good).score_steps(good).rewards[0].tolist() == [1, 1]
    none = [solution(["a", "  "], [None, None])]
    assert fit_step_text(none).score_steps(none).rewards[0].tolist() == [0.5, 0.5]


def test_neutral_steps_are_judged_as_told() -> None:
    one = [solution(["a", "b", "c", "d"], [1, 0, -1, None])]
    assert judged_steps(one) == (["a", "b", "c"], [True, True, False])
    assert judged_steps(one, "bad") == (["a", "b", "c"], [True, False, False])
    assert judged_steps(one, "skip") == (["a", "c"], [True, False])
