"""Length: the baseline beside sklearn, the correlation beside scipy."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import pearsonr, spearmanr
from sklearn.linear_model import LogisticRegression

from assay.errors import DataError
from assay.stats import LengthBaseline, accuracy, reward_length_correlation


def test_length_baseline_equals_sklearn_without_intercept() -> None:
    rng = np.random.default_rng(11)
    difference = rng.normal(size=400) * 200
    labels = (rng.random(400) < 1 / (1 + np.exp(0.004 * difference))).astype(float)
    ours = LengthBaseline.fit(difference, labels)
    theirs = LogisticRegression(C=np.inf, fit_intercept=False, tol=1e-10)
    theirs.fit(difference[:, None] / 200, labels)
    assert ours.weight == pytest.approx(theirs.coef_[0, 0] / 200, rel=1e-4)
    assert ours.weight < 0  # shorter was better, and it found out
    assert accuracy(ours.predict(difference), labels).low > 0.5


@given(st.lists(st.integers(-500, 500), min_size=1, max_size=30))
def test_length_baseline_is_symmetric_and_never_infinite(differences: list[int]) -> None:
    q = np.where(np.arange(len(differences)) % 3 == 0, 1.0, 0.25)
    x = np.array(differences, dtype=float)
    one, other = LengthBaseline.fit(x, q), LengthBaseline.fit(-x, 1 - q)
    assert np.isfinite(one.weight)
    assert one.weight == pytest.approx(other.weight, abs=1e-9)


def test_length_baseline_of_equal_lengths_or_of_nothing() -> None:
    assert accuracy(LengthBaseline.fit([0, 0]).predict([0.0, 0.0])).value == 0.5
    with pytest.raises(DataError, match="training pairs, but there are none"):
        LengthBaseline.fit([])


def test_length_correlation_is_within_prompts() -> None:
    rng = np.random.default_rng(12)
    prompts = np.repeat(np.arange(50), 4)
    base = rng.normal(size=50)[prompts] * 10  # prompts that draw long, high-scored answers
    length = base + rng.normal(size=200)
    reward = base - length + base + 0.5 * rng.normal(size=200)
    assert np.corrcoef(reward, length)[0, 1] > 0.9
    for method in ("pearson", "spearman"):
        figure = reward_length_correlation(reward, length, prompts, method, resamples=200)
        assert figure.low < figure.value < figure.high < -0.7
        assert figure.n == 200


def test_length_correlation_equals_scipy_on_centred_values() -> None:
    rng = np.random.default_rng(13)
    reward, length = rng.normal(size=(2, 30, 4))
    prompts = np.repeat(np.arange(30), 4)
    centred = [(x - x.mean(axis=1, keepdims=True)).ravel() for x in (reward, length)]
    for method, theirs in (("pearson", pearsonr), ("spearman", spearmanr)):
        ours = reward_length_correlation(reward.ravel(), length.ravel(), prompts, method, 10)
        assert ours.value == pytest.approx(theirs(*centred).statistic)


def test_length_correlation_leaves_lone_responses_out_and_knows_constants() -> None:
    figure = reward_length_correlation(
        [1, 2, 9, 4], [10, 20, 5, 7], ["a", "a", "b", "c"], resamples=10
    )
    assert figure.n == 2
    assert figure.value == pytest.approx(1)
    constant = reward_length_correlation(
        [0.1, 0.1, 0.3, 0.3], [1, 2, 1, 2], [0, 0, 1, 1], "pearson", 10
    )
    assert math.isnan(constant.value)
    assert math.isnan(constant.low)
    assert reward_length_correlation([], [], []).n == 0
