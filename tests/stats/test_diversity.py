"""Diversity by hand, against direct counts, and against what independent members must give."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from assay.errors import DataError
from assay.stats import (
    disagreement,
    error_correlation,
    mean_correlation,
    rejection,
    uncertainty_error_correlation,
)


def members(shared: float, pairs: int = 4000, count: int = 5, seed: int = 0) -> np.ndarray:
    """Gaps of members that err by a shared and an own part."""
    rng = np.random.default_rng(seed)
    own = rng.normal(size=(pairs, count))
    return 0.7 + shared * rng.normal(size=(pairs, 1)) + (1 - shared) * own


def test_disagreement_by_hand() -> None:
    gaps = np.array([[1, 1, 1], [1, 1, -1], [-1, -1, -1], [1, -1, 0]])
    # 0, 2 of 3 pairs of members, 0, and with a tie half of each: k = 1.5
    found = disagreement(gaps)
    assert found.value == pytest.approx(np.mean([0, 2 / 3, 0, 2 * 1.5 * 1.5 / 6]))
    assert found.n == 4


def test_error_correlation_is_the_mean_of_the_pairs_of_members() -> None:
    gaps = members(0.5, pairs=300)
    wrong = (gaps < 0).astype(float)
    wanted = np.mean([np.corrcoef(wrong[:, i], wrong[:, j])[0, 1] for i, j in
                      combinations(range(5), 2)])  # fmt: skip
    found = error_correlation(gaps)
    assert found.value == pytest.approx(wanted)
    assert found.low < wanted < found.high


def test_members_that_are_one_model_and_members_that_are_not() -> None:
    same = members(1.0)
    assert disagreement(same).value == 0
    assert error_correlation(same).value == pytest.approx(1)
    apart = members(0.0)
    found = error_correlation(apart)
    assert found.low < 0 < found.high
    p = float((apart > 0).mean())
    assert disagreement(apart).value == pytest.approx(2 * p * (1 - p), abs=0.01)


def test_correlations_where_nothing_varies() -> None:
    right = np.ones((20, 3))
    assert np.isnan(error_correlation(right).value)
    mixed = np.concatenate([members(0.5, 50, 2), np.ones((50, 1))], axis=1)
    two = error_correlation(mixed[:, :2])
    assert error_correlation(mixed).value == pytest.approx(two.value)
    assert mean_correlation(members(1.0, 30) * 1e-8).value == pytest.approx(1)


def test_intervals_of_the_error_correlation_hold_the_truth() -> None:
    truth = error_correlation(members(0.5, 200_000, 3)).value
    held = 0
    for seed in range(200):
        found = error_correlation(members(0.5, 300, 3, seed + 1))
        held += found.low <= truth <= found.high
    assert 180 <= held <= 199


def test_disagreement_warns_of_errors_where_it_should() -> None:
    rng = np.random.default_rng(1)
    hard = rng.random(2000)
    gaps = 1.0 + rng.normal(size=(2000, 5)) * hard[:, None] * 2
    mean = gaps.mean(axis=1)
    right, doubt = (mean > 0).astype(float), gaps.std(axis=1) / np.abs(mean)
    warned = uncertainty_error_correlation(doubt, right)
    assert warned.low > 0
    assert uncertainty_error_correlation(rng.random(2000), right).low < 0
    assert np.isnan(uncertainty_error_correlation(np.ones(50), right[:50]).value)


def test_rejection_by_hand_and_its_gain() -> None:
    doubt = np.arange(10.0)
    right = np.array([1, 1, 1, 1, 1, 1, 1, 0, 0, 0.0])
    found = rejection(doubt, right, 0.2)
    assert found.kept.value == pytest.approx(7 / 8)
    assert found.gain.value == pytest.approx(7 / 8 - 7 / 10)
    # equally uncertain pairs are kept alike: nothing is gained
    flat = rejection(np.ones(10), right, 0.2)
    assert flat.kept.value == pytest.approx(0.7)
    assert flat.gain.value == pytest.approx(0)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: disagreement(np.ones((5, 1))), "two members or more"),
        (lambda: disagreement(np.ones(5)), "two members or more"),
        (lambda: error_correlation([[1.0, np.nan]]), "not finite"),
        (lambda: rejection([1.0], [1.0], 1.0), "between 0 and 1"),
        (lambda: rejection([1.0, 2.0], [1.0]), "one of each"),
    ],
)
def test_what_cannot_be_measured_is_said(call, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        call()
