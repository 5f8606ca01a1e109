"""The best threshold: against trying every one, by hand, and what none can be found for."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from assay.errors import ConfigError, DataError
from assay.stats.steps import JudgedSteps, step_report
from assay.stats.thresholds import Goal, best_threshold


def number(drawn: list[list[tuple[int, float]]], threshold: float, goal: str) -> float:
    """The goal's number, counted one by one."""
    if goal in ("first-error", "error-accuracy"):
        match: dict[bool, list[bool]] = {True: [], False: []}
        for each in drawn:
            said = next((i for i, (_, reward) in enumerate(each) if reward < threshold), None)
            first = next((i for i, (label, _) in enumerate(each) if label == -1), None)
            match[first is not None].append(said == first)
        a, b = np.mean(match[True]), np.mean(match[False])
        if goal == "error-accuracy":
            return float(a)
        return float(2 * a * b / (a + b)) if a + b else 0.0
    good = np.array([label == 1 for each in drawn for label, _ in each])
    called = np.array([reward >= threshold for each in drawn for _, reward in each])
    positive, negative = f1_score(good, called), f1_score(~good, ~called)
    wanted = {
        "accuracy": np.mean(good == called),
        "f1": positive,
        "negative-f1": negative,
        "prm-score": (positive + negative) / 2,
    }
    return float(wanted[goal])


tenths = st.integers(0, 10).map(lambda k: k / 10)
step = st.tuples(st.sampled_from([1, 1, -1]), tenths)
solutions = st.lists(st.lists(step, min_size=1, max_size=4), min_size=1, max_size=5)


@settings(max_examples=25)
@given(solutions)
@pytest.mark.parametrize("goal", get_args(Goal))
def test_no_other_threshold_is_better(goal, drawn) -> None:
    # a sound and a wrong solution, so that every number is defined
    drawn = [*drawn, [(1, 0.8)], [(-1, 0.3)]]
    steps = JudgedSteps(
        [[label for label, _ in each] for each in drawn],
        [np.array([reward for _, reward in each]) for each in drawn],
    )

    # one in every gap of the tenths
    every = [number(drawn, t, goal) for t in (*np.arange(0, 1, 0.1) + 0.05, 0.0, 1.0)]
    best = number(drawn, best_threshold(steps, goal), goal)
    assert best == pytest.approx(max(every), abs=1e-12)


def test_the_middle_of_the_gap_nearest_to_a_half() -> None:
    labels = [(1, -1), (1, 1)]
    steps = JudgedSteps(labels, [np.array([0.9, 0.1]), np.array([0.8, 0.7])])
    for goal in get_args(Goal):
        assert best_threshold(steps, goal) == pytest.approx(0.4)  # all right from 0.1 to 0.7
    low = JudgedSteps(labels, [np.array([0.03, 0.01]), np.array([0.04, 0.02])])
    assert best_threshold(low) == pytest.approx(0.015)


def test_steps_that_were_cut_or_not_judged_have_no_say() -> None:
    rewards = [np.array([0.9, 0.1]), np.array([0.8, 0.7])]
    steps = JudgedSteps([(1, -1), (1, 1)], rewards)
    more = JudgedSteps(
        [(1, -1), (1, 1), (-1, 1), (None, None)],
        [*rewards, np.array([np.nan, 0.6]), np.array([0.5, 0.45])],
    )
    assert step_report(more, best_threshold(more), resamples=1).first_error.f1.value == 1
    assert 0.1 < best_threshold(more) <= 0.7
    assert best_threshold(steps) == pytest.approx(0.4)


@pytest.mark.parametrize("labels", [[(1, 1)], [(-1, 1)], [(None, None)]])
def test_solutions_of_one_kind_have_no_best_threshold(labels) -> None:
    with pytest.raises(DataError, match="No threshold is best by first-error"):
        best_threshold(JudgedSteps(labels, [np.array([0.2, 0.4])]))


def test_wrong_solutions_alone_have_a_best_threshold_for_their_errors() -> None:
    steps = JudgedSteps([(1, -1), (1, 1, -1)], [np.array([0.4, 0.1]), np.array([0.4, 0.3, 0.2])])
    assert best_threshold(steps, "error-accuracy") == pytest.approx(0.25)
    with pytest.raises(DataError, match="No threshold is best by error-accuracy"):
        best_threshold(JudgedSteps([(1, 1)], [np.array([0.2, 0.4])]), "error-accuracy")


def test_an_unknown_goal_is_refused() -> None:
    with pytest.raises(ConfigError, match="goal 'auc' is unknown; use one of first-error"):
        best_threshold(JudgedSteps([(1,)], [np.array([0.2])]), "auc")
