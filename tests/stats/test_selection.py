"""Selection by hand, D-optimality against brute force, and what copies must do to each method."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataError
from assay.stats import (
    bald,
    d_optimal,
    gaussian_members,
    highest,
    prediction_std,
    spread_out,
)


def entropy(p: float) -> float:
    return 0.0 if p in (0.0, 1.0) else -p * np.log(p) - (1 - p) * np.log(1 - p)


def logit(p: float) -> float:
    return float(np.log(p / (1 - p)))


def test_bald_by_hand() -> None:
    gaps = [
        [logit(0.9), logit(0.1)],
        [logit(0.9), logit(0.9)],
        [0.0, 0.0],
        [logit(0.9), logit(0.5)],
        [800.0, -800.0],
    ]
    wanted = [
        np.log(2) - entropy(0.9),
        0.0,  # agreed, and sure
        0.0,  # agreed, and unsure
        entropy(0.7) - (entropy(0.9) + entropy(0.5)) / 2,
        np.log(2),  # one sure of either side
    ]
    assert bald(gaps) == pytest.approx(wanted, abs=1e-12)
    # three members of weight ½, ¼, ¼ are four of which two are the same
    three = [[1.3, -0.2, 2.0]]
    four = [[1.3, 1.3, -0.2, 2.0]]
    assert bald(three, [0.5, 0.25, 0.25]) == pytest.approx(bald(four))
    assert prediction_std(three, [0.5, 0.25, 0.25]) == pytest.approx(prediction_std(four))


def test_deviation_of_probabilities_by_hand() -> None:
    found = prediction_std([[logit(0.9), logit(0.1)], [2.0, 2.0], [logit(0.9), logit(0.6)]])
    assert found == pytest.approx([0.4, 0.0, 0.15])


@given(st.lists(st.floats(-1000, 1000), min_size=2, max_size=6))
def test_bald_lies_between_nothing_and_one_answer(gaps: list[float]) -> None:
    value = bald([gaps])[0]
    assert 0 <= value <= np.log(2) + 1e-12
    # which response is called first, and the order of members, change nothing
    assert bald([[-g for g in gaps[::-1]]])[0] == pytest.approx(value, abs=1e-9)


def test_gaussian_members_are_the_integral() -> None:
    mean, variance = np.array([0.3, -2.0, 1.0]), np.array([1.5, 4.0, 0.0])
    gaps, weights = gaussian_members(mean, variance)
    assert gaps @ weights == pytest.approx(mean)
    assert ((gaps - mean[:, None]) ** 2) @ weights == pytest.approx(variance, abs=1e-12)
    drawn = mean + np.random.default_rng(0).normal(size=(400_000, 3)) * np.sqrt(variance)
    p = 1 / (1 + np.exp(-drawn))
    each = -p * np.log(p) - (1 - p) * np.log1p(-p)
    sampled = [entropy(p[:, i].mean()) - each[:, i].mean() for i in range(3)]
    assert bald(gaps, weights) == pytest.approx(sampled, abs=2e-3)
    assert prediction_std(gaps, weights) == pytest.approx(p.std(axis=0), abs=2e-3)
    assert bald(gaps, weights)[2] == pytest.approx(0, abs=1e-12)


def test_highest_takes_the_earlier_of_equals_and_all_there_are() -> None:
    picks = highest([0.5, 2.0, 0.5, 1.0], 3)
    assert picks.indexes.tolist() == [1, 3, 0]
    assert picks.scores.tolist() == [2.0, 1.0, 0.5]
    assert len(highest([0.5, 2.0], 9).indexes) == 2


# --- spread out -----------------------------------------------------------------------------------


def test_spreading_out_by_hand() -> None:
    scores = [1.0, 0.99, 0.5, 0.1]
    features = [[0.0], [0.1], [4.0], [100.0]]
    # log 0.99 + log 0.1 = -2.3, log 0.5 + log 4 = 0.69, log 0.1 + log 100 = 2.3
    assert spread_out(scores, features, 4).indexes.tolist() == [0, 3, 2, 1]
    assert spread_out(scores, features, 2).scores.tolist() == [1.0, 0.1]
    # half the weight on distance: -1.16, 0, 0: the nearer, for its score comes first
    half = spread_out(scores, features, 2, diversity=0.4)
    assert half.indexes.tolist() == [0, 2]
    assert spread_out(scores, features, 3, diversity=0.0).indexes.tolist() == [0, 1, 2]


def test_equal_scores_are_farthest_first() -> None:
    features = np.random.default_rng(0).normal(size=(40, 3))
    found = spread_out(np.ones(40), features, 10).indexes
    chosen = [int(found[0])]
    for index in found[1:]:
        nearest = np.linalg.norm(features[:, None] - features[chosen], axis=2).min(axis=1)
        assert index == np.argmax(nearest)
        chosen.append(int(index))


def test_copies_come_last_and_by_their_scores() -> None:
    features = np.array([[0.0], [0.0], [0.0], [5.0], [9.0]])
    found = spread_out([1.0, 0.7, 0.9, 1e-6, 1e-6], features, 5)
    assert found.indexes.tolist() == [0, 4, 3, 2, 1]
    alike = spread_out([0.2, 0.9, 0.5], np.ones((3, 2)), 3)
    assert alike.indexes.tolist() == [1, 2, 0]
    nothing = spread_out([0.0, 0.0, 0.0], [[0.0], [1.0], [5.0]], 3)
    assert nothing.indexes.tolist() == [0, 2, 1]


# --- D-optimality ---------------------------------------------------------------------------------


def log_det(hessian: np.ndarray) -> float:
    sign, value = np.linalg.slogdet(hessian)
    assert sign > 0
    return float(value)


def made(seed: int, pairs: int = 14, width: int = 5):
    rng = np.random.default_rng(seed)
    root = rng.normal(size=(width, width))
    delta = rng.normal(size=(pairs, width)) * rng.uniform(0.2, 3, size=(pairs, 1))
    return delta, rng.uniform(0.02, 0.25, pairs), root @ root.T + 0.3 * np.eye(width)


@pytest.mark.parametrize("seed", range(5))
def test_every_choice_is_the_best_by_brute_force(seed: int) -> None:
    delta, c, hessian = made(seed)
    picks = d_optimal(delta, c, hessian, 10)
    now, left = hessian.copy(), set(range(14))
    for index, gain in zip(picks.indexes.tolist(), picks.scores.tolist(), strict=True):
        gains = {i: log_det(now + c[i] * np.outer(delta[i], delta[i])) - log_det(now) for i in left}
        assert index == max(gains, key=gains.__getitem__)
        assert gain == pytest.approx(gains[index], abs=1e-9)
        now += c[index] * np.outer(delta[index], delta[index])
        left.remove(index)
    assert picks.scores.sum() == pytest.approx(log_det(now) - log_det(hessian))
    assert (np.diff(picks.scores) <= 1e-12).all()  # gains diminish


def test_one_of_a_group_is_chosen() -> None:
    delta, c, hessian = made(7)
    groups = ["a", "a", "b", "b", "c", "c", "c", "d", "d", "d", "d", "e", "e", "e"]
    picks = d_optimal(delta, c, hessian, 99, groups)
    assert sorted(groups[i] for i in picks.indexes) == ["a", "b", "c", "d", "e"]
    first = d_optimal(delta, c, hessian, 1).indexes[0]
    assert picks.indexes[0] == first


def test_a_copy_tells_less_than_something_new() -> None:
    delta = np.array([[2.0, 0.0], [2.0, 0.0], [0.0, 1.5]])
    picks = d_optimal(delta, np.full(3, 0.25), np.eye(2), 3)
    assert picks.indexes.tolist() == [0, 2, 1]
    assert picks.scores[0] == pytest.approx(np.log(2))
    assert picks.scores[2] == pytest.approx(np.log(1.5))


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: bald([[1.0]]), "got 1, wanted 2 or more"),
        (lambda: bald([1.0, 2.0]), "two dimensions"),
        (lambda: bald([[1.0, 2.0]], [1.0]), "Got 1 weights for 2 members"),
        (lambda: bald([[1.0, np.nan]]), "must be finite"),
        (lambda: gaussian_members([0.0], [-1.0]), "A variance is 0 or more; the smallest is -1"),
        (lambda: highest([1.0], 0), "0 pairs were asked for"),
        (lambda: spread_out([-1.0], [[0.0]], 1), "Scores are 0 or more"),
        (lambda: spread_out([1.0], [[0.0], [1.0]], 1), "one of each"),
        (lambda: d_optimal([[1.0]], [0.2], [[0.0]], 1), "is not positive definite"),
        (lambda: d_optimal([[1.0]], [0.2], np.eye(2), 1), "of 2 features and pairs have 1"),
        (lambda: d_optimal([[1.0]], [0.2, 0.1], np.eye(1), 1), "one of each"),
    ],
)
def test_what_cannot_be_chosen_is_said(call, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call()
