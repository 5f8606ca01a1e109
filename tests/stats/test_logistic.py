"""The slope of a one-parameter logistic regression."""

import numpy as np
import pytest

from assay.stats.logistic import logistic_slope


def test_the_slope_of_one_difference_is_the_log_odds() -> None:
    # three of four are chosen at x = 2: σ(2w) = 3/4
    x, q = np.full(4, 2.0), np.array([1.0, 1.0, 1.0, 0.0])
    assert logistic_slope(x, q, -10.0, 10.0) == pytest.approx(np.log(3) / 2)


def test_the_slope_stays_within_its_range() -> None:
    x = np.array([1.0, -1.0])
    assert logistic_slope(x, np.array([1.0, 0.0]), -5.0, 5.0) == 5
    assert logistic_slope(x, np.array([0.0, 1.0]), -5.0, 5.0) == -5
