"""Best-of-n of fixed samples: against enumeration, by hand, in the limits."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import DataError
from assay.stats.best_of import expected_best, pass_at_n


def by_enumeration(rewards: list[float], values: list[float], n: int) -> float:
    """Mean over all subsets of n of the mean value of its best rewarded."""
    means = []
    for chosen in combinations(range(len(rewards)), n):
        best = max(rewards[i] for i in chosen)
        means.append(np.mean([values[i] for i in chosen if rewards[i] == best]))
    return float(np.mean(means))


few = st.integers(0, 3).map(float)
samples = st.lists(st.tuples(few, st.floats(-2, 2)), min_size=1, max_size=7)


@settings(max_examples=60, deadline=None)
@given(samples)
def test_the_estimator_is_the_mean_over_all_subsets_ties_shared(
    drawn: list[tuple[float, float]],
) -> None:
    rewards, values = [r for r, _ in drawn], [v for _, v in drawn]
    got = expected_best(rewards, values)
    wanted = [by_enumeration(rewards, values, n) for n in range(1, len(drawn) + 1)]
    assert got == pytest.approx(wanted, abs=1e-9)


def test_rows_and_several_values_at_once_are_the_same_as_one_by_one() -> None:
    rng = np.random.default_rng(0)
    rewards = rng.integers(0, 4, size=(5, 9)).astype(float)  # many ties, also between rows
    values = rng.normal(size=(2, 5, 9))
    n = (1, 4, 9)
    got = expected_best(rewards, values, n)
    assert got.shape == (2, 5, 3)
    for kind in range(2):
        for row in range(5):
            whole = expected_best(rewards[row], values[kind, row])
            assert got[kind, row] == pytest.approx(whole[[0, 3, 8]], abs=1e-12)


def test_it_is_what_drawing_n_of_them_gives_on_average() -> None:
    rng = np.random.default_rng(1)
    rewards, values = rng.normal(size=40), rng.normal(size=40)
    draws = np.argsort(rng.random((20_000, 40)), axis=1)[:, :8]  # 8 without replacement
    best = draws[np.arange(20_000), rewards[draws].argmax(axis=1)]
    error = values[best].std() / 20_000**0.5
    assert abs(expected_best(rewards, values, [8])[0] - values[best].mean()) < 4 * error


@pytest.mark.parametrize(
    ("rewards", "values"),
    [((2, 3), (3,)), ((2, 3), (2, 4)), ((3,), (2, 3, 1)), ((1, 2, 3), (1, 2, 3)), ((2, 0), (2, 0))],
)
def test_values_that_are_not_of_the_rewards_are_refused(
    rewards: tuple[int, ...], values: tuple[int, ...]
) -> None:
    with pytest.raises(DataError, match="one value a reward"):
        expected_best(np.zeros(rewards), np.zeros(values))


def test_it_is_exact_for_many_samples() -> None:
    rewards = np.arange(2000.0)
    values = (rewards >= 1990).astype(float)
    # the best of n of 2,000 distinct is among the top ten unless none was drawn
    n = 200
    none = np.prod([(1990 - i) / (2000 - i) for i in range(n)])
    assert expected_best(rewards, values)[n - 1] == pytest.approx(1 - none, abs=1e-9)


@given(st.lists(st.booleans(), min_size=1, max_size=7))
def test_pass_at_n_is_the_share_of_subsets_with_a_right_sample(correct: list[bool]) -> None:
    n = range(1, len(correct) + 1)
    wanted = [np.mean([any(s) for s in combinations(correct, size)]) for size in n]
    assert pass_at_n(sum(correct), len(correct), n) == pytest.approx(wanted, abs=1e-12)


def test_pass_at_n_by_hand() -> None:
    # 1 - C(3, 2) / C(5, 2); one of 1,860, of which 10 are drawn
    assert pass_at_n(2, 5, [2])[0] == pytest.approx(0.7)
    assert pass_at_n(1, 1860, [10])[0] == pytest.approx(10 / 1860)
    assert pass_at_n(0, 5, [1, 5]).tolist() == [0, 0]
    assert pass_at_n(4, 5, [2, 5]) == pytest.approx([1, 1])  # of two, one is right


@pytest.mark.parametrize(
    ("correct", "n", "sentence"),
    [
        (6, [1], "6 of 5 samples are right"),
        (2, [6], "n=6 of 5 samples cannot be drawn"),
        (2, [0, 3], "n=0 of 5 samples cannot be drawn"),
        (2, [], "Wanted whole numbers"),
    ],
)
def test_samples_that_cannot_be_drawn_are_refused(
    correct: int, n: list[int], sentence: str
) -> None:
    with pytest.raises(DataError, match=sentence):
        pass_at_n(correct, 5, n)
