"""Aggregators by hand and in their limits; standards bring members to one scale."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from assay.errors import ConfigError, DataError
from assay.stats import Aggregator, Standards

R = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0], [-3.0, 5.0, 1.0]])
REWARDS = arrays(np.float64, (7, 4), elements=st.floats(-50, 50))


def test_each_aggregator_by_hand() -> None:
    assert Aggregator("mean")(R) == pytest.approx([3, 0, 1])
    assert Aggregator("median")(R) == pytest.approx([2, 0, 1])
    assert Aggregator("worst-case")(R) == pytest.approx([1, 0, -3])
    # variances of (1, 2, 6): 14/3 with ddof 0, 7 with ddof 1; of (-3, 5, 1): 32/3 and 16
    assert Aggregator("mean-std", 2.0)(R) == pytest.approx(
        [3 - 2 * (14 / 3) ** 0.5, 0, 1 - 2 * (32 / 3) ** 0.5]
    )
    assert Aggregator("mean-std", 1.0, ddof=1)(R) == pytest.approx([3 - 7**0.5, 0, 1 - 4])
    assert Aggregator("mean-variance", 0.5)(R) == pytest.approx([3 - 7 / 3, 0, 1 - 16 / 3])
    assert Aggregator("mean-variance", 0.5, ddof=1)(R) == pytest.approx([3 - 3.5, 0, 1 - 8])
    wanted = [-2 * np.log(np.mean(np.exp(-row / 2))) for row in R]
    assert Aggregator("entropic", 2.0)(R) == pytest.approx(wanted)


@given(REWARDS)
def test_the_entropic_one_tends_to_the_mean_and_to_the_worst_case(rewards: np.ndarray) -> None:
    assert Aggregator("entropic", 1e7)(rewards) == pytest.approx(rewards.mean(axis=1), abs=1e-3)
    assert Aggregator("entropic", 1e-4)(rewards) == pytest.approx(rewards.min(axis=1), abs=1e-3)
    between = Aggregator("entropic", 3.0)(rewards)
    assert (between <= rewards.mean(axis=1) + 1e-9).all()
    assert (between >= rewards.min(axis=1) - 1e-9).all()


@given(arrays(np.float64, (5, 4), elements=st.floats(-0.05, 0.05)))
def test_the_entropic_one_is_mean_less_variance_to_second_order(rewards: np.ndarray) -> None:
    second = Aggregator("mean-variance", 0.5)(rewards)
    assert Aggregator("entropic", 1.0)(rewards) == pytest.approx(second, abs=2e-4)


def test_the_entropic_one_does_not_overflow() -> None:
    assert Aggregator("entropic", 1e-3)([[-1e6, 1e6]]) == pytest.approx([-1e6 + 1e-3 * np.log(2)])


@given(REWARDS, st.floats(-20, 20))
def test_every_aggregator_moves_with_its_members(rewards: np.ndarray, shift: float) -> None:
    for name in ("mean", "median", "worst-case", "mean-std", "mean-variance", "entropic"):
        how = Aggregator(name)
        assert how(rewards + shift) == pytest.approx(how(rewards) + shift, abs=1e-6)
        assert how(rewards[:, :1]) == pytest.approx(rewards[:, 0])  # one member is its reward
        assert np.isnan(how(np.full((1, 3), np.nan))).all()


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"name": "average"}, "'average' is unknown; use one of mean, median, worst-case"),
        ({"name": "mean-std", "strength": -1.0}, "strength is -1.0; it is a number of 0 or more"),
        ({"name": "entropic", "strength": 0.0}, "use worst-case"),
        ({"ddof": 2}, "ddof is 2; it is 0 or 1"),
    ],
)
def test_settings_that_cannot_be_are_named(settings: dict, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Aggregator(**settings)


def test_an_aggregator_says_what_it_is() -> None:
    assert str(Aggregator("mean-std", 0.5)) == "mean-std 0.5"
    assert str(Aggregator("median", 0.5)) == "median"


def test_standards_bring_members_to_one_scale_and_keep_that_of_gaps() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(size=500)
    raw = np.stack([true * 3 + 10, true * 1 - 4, true * 2], axis=1)
    standards = Standards.fit(raw)
    same = standards.apply(raw)
    assert np.ptp(same, axis=1).max() < 1e-9
    assert same.mean() == pytest.approx(0, abs=1e-9)
    assert same[:, 0].std() == pytest.approx(np.mean([3, 1, 2]) * true.std())
    # a member alone keeps its gaps
    alone = Standards.fit(raw[:, :1])
    assert np.diff(alone.apply(raw[:, :1])[:, 0]) == pytest.approx(np.diff(raw[:, 0]))


def test_standards_refuse_members_that_say_nothing() -> None:
    with pytest.raises(DataError, match=r"Member 2 of 2 rewards all 3 reference responses alike"):
        Standards.fit([[1.0, 5.0], [2.0, 5.0], [3.0, 5.0]])
    with pytest.raises(DataError, match="two or more reference responses"):
        Standards.fit([[1.0, 5.0]])
