"""Calibration: bins by hand, recovery of a known temperature, coverage."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from assay.errors import DataError
from assay.stats import ece, fit_temperature, preference_nll, reliability_bins

Gaps = Callable[..., tuple[NDArray, NDArray]]


def test_reliability_bins_by_hand() -> None:
    low, high = math.log(3 / 2), math.log(9)  # confidence 0.6 and 0.9
    bins = reliability_bins([low, -low, high, -high, high, -high], [1, 1, 1, 0, 1, 1], bins=3)
    assert [b.n for b in bins] == [2, 4]  # equal confidences share a bin
    assert [b.confidence for b in bins] == pytest.approx([0.6, 0.9])
    assert [b.accuracy for b in bins] == pytest.approx([0.5, 0.75])
    gaps = [low, -low, high, -high, high, -high]
    error = ece(gaps, [1, 1, 1, 0, 1, 1], bins=3, resamples=10)
    assert error.value == pytest.approx((2 * 0.1 + 4 * 0.15) / 6)


def test_bins_hold_equal_mass(bernoulli_gaps: Gaps) -> None:
    gaps, labels = bernoulli_gaps(1003, 6)
    assert {b.n for b in reliability_bins(gaps, labels)} == {100, 101}
    assert len(reliability_bins(gaps[:4], labels[:4])) == 4


def test_ece_is_small_when_calibrated_large_when_overconfident_and_mended_by_temperature(
    bernoulli_gaps: Gaps,
) -> None:
    calibrated, labels = bernoulli_gaps(4000, 7)
    over = calibrated * 3
    assert ece(calibrated, labels, resamples=100).high < 0.03
    assert ece(over, labels, resamples=100).low > 0.1
    temperature = fit_temperature(over, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    assert ece(over / temperature, labels, resamples=100).high < 0.03


def test_the_ece_interval_holds_the_truth_of_an_overconfident_model(bernoulli_gaps: Gaps) -> None:
    gaps, labels = bernoulli_gaps(400_000, 8, temperature=2.0)
    truth = sum(b.n * abs(b.accuracy - b.confidence) for b in reliability_bins(gaps, labels)) / 4e5
    figures = [ece(*bernoulli_gaps(400, 100 + i, 2.0), resamples=150) for i in range(40)]
    assert sum(f.low <= truth <= f.high for f in figures) >= 33


def test_soft_labels_that_equal_the_prediction_are_perfectly_calibrated(
    bernoulli_gaps: Gaps,
) -> None:
    gaps, _ = bernoulli_gaps(50, 9)
    assert ece(gaps, 1 / (1 + np.exp(-gaps)), resamples=10).value == pytest.approx(0, abs=1e-12)


def test_temperature_minimises_the_likelihood_loss_and_stays_in_range(bernoulli_gaps: Gaps) -> None:
    gaps, labels = bernoulli_gaps(500, 10, temperature=0.5)
    best = fit_temperature(gaps, labels)
    loss = preference_nll(gaps / best, labels).value
    assert all(preference_nll(gaps / (best * f), labels).value > loss for f in (0.9, 1.1))
    assert fit_temperature([1.0, 2.0]) == pytest.approx(0.01)  # all right: as sharp as allowed
    assert fit_temperature([-1.0, -2.0]) == pytest.approx(100)  # all wrong: as flat as allowed
    with pytest.raises(DataError, match="there are none"):
        fit_temperature([])
