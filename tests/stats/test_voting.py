"""Votes over answers: against enumeration, by hand, shared ties, what does not vote."""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import DataError
from assay.stats.best_of import pass_at_n
from assay.stats.voting import expected_vote

RIGHT = {"a"}


def by_enumeration(answers: list[str | None], weights: list[float], n: int) -> float:
    """Mean over all subsets of n of the share of right answers among those with most votes."""
    shares = []
    for chosen in combinations(range(len(answers)), n):
        votes: dict[str, float] = {}
        for i in chosen:
            answer = answers[i]
            if answer is not None:
                votes[answer] = votes.get(answer, 0.0) + weights[i]
        best = [a for a, v in votes.items() if v == max(votes.values())]
        shares.append(np.mean([a in RIGHT for a in best]) if best else 0.0)
    return float(np.mean(shares))


def marks(answers: list[str | None]) -> list[bool]:
    return [a in RIGHT for a in answers]


answer = st.sampled_from(["a", "b", "c", None])
# eighths add up exactly, so that ties of the second implementation are exact
voter = st.tuples(answer, st.integers(0, 8).map(lambda k: k / 8))


@settings(max_examples=60)
@given(st.lists(voter, min_size=1, max_size=6))
def test_small_votes_are_exact(drawn: list[tuple[str | None, float]]) -> None:
    answers, weights = [a for a, _ in drawn], [w for _, w in drawn]
    n = range(1, len(drawn) + 1)
    found = expected_vote(answers, marks(answers), n, [[1.0] * len(drawn), weights])
    plain = [by_enumeration(answers, [1.0] * len(drawn), size) for size in n]
    weighted = [by_enumeration(answers, weights, size) for size in n]
    assert found == pytest.approx(np.array([plain, weighted]), abs=1e-12)


def test_random_subsets_come_near_the_mean_over_all() -> None:
    rng = np.random.default_rng(0)
    answers = list(rng.choice(["a", "b", "c"], size=11))
    weights = (rng.integers(0, 9, size=11) / 8).tolist()
    assert comb(11, 5) > 400
    wanted = [by_enumeration(answers, w, 5) for w in ([1.0] * 11, weights)]
    error = 0.5 / 400**0.5
    found = expected_vote(answers, marks(answers), [5], [[1.0] * 11, weights], seed=1)
    assert found[:, 0] == pytest.approx(wanted, abs=3.5 * error)
    exact = expected_vote(answers, marks(answers), [5], [[1.0] * 11, weights], subsets=462)
    assert exact[:, 0] == pytest.approx(wanted, abs=1e-12)
    again = expected_vote(answers, marks(answers), [5], [[1.0] * 11, weights], seed=1)
    assert (again == found).all()


def test_one_vote_is_a_random_pick_and_all_votes_are_no_drawing() -> None:
    answers = [*["b"] * 500, *["a"] * 501]
    correct = marks(answers)
    found = expected_vote(answers, correct, [1, 1001], subsets=3)
    assert found[0, 0] == pytest.approx(pass_at_n(501, 1001, [1])[0])
    assert found[0, 1] == 1.0


def test_ties_are_shared_whatever_the_order() -> None:
    for answers in (["a", "b"], ["b", "a"]):
        assert expected_vote(answers, marks(answers), [2])[0, 0] == 0.5
    three = ["b", "a", "c"]
    assert expected_vote(three, marks(three), [3])[0, 0] == pytest.approx(1 / 3)
    # 0.1 + 0.2 is a little more than 0.3, and yet a tie
    tied = ["b", "b", "a"]
    assert expected_vote(tied, marks(tied), [3], [[0.1, 0.2, 0.3]])[0, 0] == 0.5


def test_weights_overrule_the_majority_and_of_nothing_every_answer_has_as_much() -> None:
    answers = ["b", "b", "a"]
    found = expected_vote(answers, marks(answers), [3], [[1, 1, 1], [0.2, 0.3, 0.9], [0, 0, 0]])
    assert found[:, 0].tolist() == [0.0, 1.0, 0.5]


def test_samples_without_an_answer_do_not_vote() -> None:
    answers = [None, None, None, "a"]
    found = expected_vote(answers, marks(answers), [1, 2, 4])
    assert found[0].tolist() == [0.25, 0.5, 1.0]  # as often as the answer is among the drawn
    assert expected_vote([None, None], [False, False], [1, 2]).tolist() == [[0, 0]]


def test_answers_may_be_anything_hashable() -> None:
    assert expected_vote([(1, 2), 3, (1, 2)], [True, False, True], [3])[0, 0] == 1.0


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: expected_vote(["a", "a"], [True, False], [1]), "both right and wrong"),
        (lambda: expected_vote([None, "a"], [True, True], [1]), "without an answer is called"),
        (lambda: expected_vote(["a"], [True, False], [1]), "got 1 and 2"),
        (lambda: expected_vote([], [], [1]), "got 0 and 0"),
        (lambda: expected_vote(["a", "b"], [True, False], [3]), "n goes from 1 to 2"),
        (lambda: expected_vote(["a"], [True], [1], [[-0.1]]), "finite and 0 or more"),
        (lambda: expected_vote(["a"], [True], [1], [[np.nan]]), "finite and 0 or more"),
        (lambda: expected_vote(["a"], [True], [1], [0.5]), r"shape \(1,\) for 1 samples"),
        (lambda: expected_vote(["a"], [True], [1], subsets=0), "0 subsets were asked for"),
    ],
)
def test_what_cannot_be_voted_on_is_said(call, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call()
