"""Figures of pairs: values by hand, clustering, symmetry of the two sides."""

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from assay.stats import (
    accuracy,
    accuracy_difference,
    brier,
    cluster_mean,
    ece,
    preference_nll,
    wilson,
)

Gaps = Callable[..., tuple[NDArray, NDArray]]

gap_lists = st.lists(st.floats(-20, 20), min_size=1, max_size=40)


def test_accuracy_by_hand() -> None:
    # right, wrong, equal rewards, tie label (left out), a label for the other side
    gaps = [1.0, -1.0, 0.0, 5.0, -0.5]
    figure = accuracy(gaps, [1.0, 0.9, 0.6, 0.5, 0.2])
    assert figure.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert figure.n == 4


def test_accuracy_is_clustered_by_prompt(bernoulli_gaps: Gaps) -> None:
    gaps, labels = bernoulli_gaps(60, 5)
    clusters = np.arange(60) // 3
    correct = (np.sign(gaps) == np.sign(labels - 0.5)).astype(float)
    assert accuracy(gaps, labels, clusters) == cluster_mean(correct, clusters, (0.0, 1.0))


def test_a_perfect_accuracy_still_has_an_interval() -> None:
    figure = accuracy([1.0] * 12, clusters=np.arange(12) // 2)
    assert figure.value == 1.0
    assert figure.low == pytest.approx(wilson(6, 6).low)
    assert (figure.high, figure.n) == (1.0, 12)


def test_accuracy_of_ties_alone_is_undefined() -> None:
    figure = accuracy([1.0, 2.0], [0.5, 0.5])
    assert figure.n == 0
    assert math.isnan(figure.value)


@given(gap_lists, st.data())
def test_swapping_chosen_and_rejected_changes_no_figure(
    gaps: list[float], data: st.DataObject
) -> None:
    q = data.draw(
        st.lists(st.sampled_from([0, 0.25, 0.5, 1]), min_size=len(gaps), max_size=len(gaps))
    )
    g, p = np.array(gaps), np.array(q)
    for measure in (accuracy, preference_nll, brier):
        one, other = measure(g, p), measure(-g, 1 - p)
        assert list(one.to_dict().values()) == pytest.approx(
            list(other.to_dict().values()), nan_ok=True
        )
    one, other = ece(g, p, resamples=20), ece(-g, 1 - p, resamples=20)
    assert one.value == pytest.approx(other.value, abs=1e-12)


def test_nll_and_brier_by_hand() -> None:
    gap = math.log(3)  # a predicted preference of 3/4
    assert preference_nll([gap, gap], [1, 0.5]).value == pytest.approx(
        (-math.log(0.75) - (math.log(0.75) + math.log(0.25)) / 2) / 2
    )
    assert brier([gap, gap], [1, 0.5]).value == pytest.approx((0.25**2 + 0.25**2) / 2)
    assert preference_nll([0.0]).value == pytest.approx(math.log(2))
    assert preference_nll([-1e4, 1e4]).value == pytest.approx(5e3)


def test_accuracy_difference_is_paired(bernoulli_gaps: Gaps) -> None:
    truth, labels = bernoulli_gaps(400, 14)
    noise = np.random.default_rng(15).normal(size=400)
    clusters = np.arange(400) // 2
    better, worse = truth, truth + 3 * noise
    figure = accuracy_difference(better, worse, labels, clusters)
    assert figure.value == pytest.approx(
        accuracy(better, labels).value - accuracy(worse, labels).value
    )
    assert figure.low > 0
    mirrored = accuracy_difference(worse, better, labels, clusters)
    assert mirrored.value == pytest.approx(-figure.value)
    same = accuracy_difference(better, better, labels, clusters)
    assert (same.value, same.low, same.high) == (0, 0, 0)
