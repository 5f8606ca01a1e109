"""The flip model by hand, against a search, and on labels whose flips are known."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import DataError
from assay.stats import FlipModel, flip_rate


def flipped(n: int, rate: float, temperature: float, seed: int) -> tuple[np.ndarray, ...]:
    """Gaps towards the label, and which labels were flipped."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=n) * 4
    says = rng.random(n) < 1 / (1 + np.exp(-gaps / temperature))
    flip = rng.random(n) < rate
    return np.where(says ^ flip, gaps, -gaps), flip


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.2, 0.4])
@pytest.mark.parametrize("temperature", [0.5, 1.5])
def test_rate_and_temperature_are_recovered(rate: float, temperature: float) -> None:
    gaps, _ = flipped(20_000, rate, temperature, seed=3)
    found = FlipModel.fit(gaps)
    assert found.rate == pytest.approx(rate, abs=0.02)
    assert found.temperature == pytest.approx(temperature, rel=0.3 if rate > 0.3 else 0.1)


def test_the_fit_is_the_most_probable_of_a_search() -> None:
    gaps, _ = flipped(400, 0.2, 1.0, seed=1)

    def loss(rate: float, temperature: float) -> float:
        said = FlipModel(rate, temperature).probability(gaps)
        return float(-np.log(said).sum() - np.log(2 * rate) - np.log(1 - 2 * rate))

    found = FlipModel.fit(gaps)
    least = loss(found.rate, found.temperature)
    grid = [
        loss(rate, temperature)
        for rate in np.linspace(0.01, 0.49, 97)
        for temperature in np.geomspace(0.1, 10, 97)
    ]
    assert least <= min(grid) + 1e-6
    assert least == pytest.approx(min(grid), abs=0.05)


def test_probabilities_by_hand() -> None:
    model = FlipModel(rate=0.2, temperature=2.0)
    gap = 2 * np.log(3)  # σ(gap / 2) = ¾
    assert model.probability([gap, -gap, 0.0]) == pytest.approx([0.65, 0.35, 0.5])
    # flipped and right: 0.2 × ¼ against 0.8 × ¾; the label that rejects: 0.2 × ¾ against 0.8 × ¼
    wrong = model.wrong([gap, -gap, gap, 0.0, gap], [1.0, 1.0, 0.0, 1.0, 0.5])
    assert wrong[:4] == pytest.approx([0.05 / 0.65, 0.15 / 0.35, 0.15 / 0.35, 0.2])
    assert np.isnan(wrong[4])
    limit = -2.0 * np.log(0.8 / 0.2)
    assert model.wrong([limit]) == pytest.approx([0.5])
    assert model.wrong([-1e9, 1e9]) == pytest.approx([1.0, 0.0])


def test_probabilities_of_being_wrong_are_calibrated() -> None:
    gaps, flip = flipped(40_000, 0.2, 1.0, seed=5)
    wrong = FlipModel.fit(gaps).wrong(gaps)
    assert wrong.sum() == pytest.approx(flip.sum(), rel=0.05)
    for low, high in ((0.0, 0.05), (0.05, 0.3), (0.3, 0.7), (0.7, 1.0)):
        inside = (wrong >= low) & (wrong < high)
        assert flip[inside].mean() == pytest.approx(wrong[inside].mean(), abs=0.03)


def test_the_side_that_is_called_chosen_does_not_matter() -> None:
    gaps, _ = flipped(300, 0.2, 1.0, seed=2)
    turned = np.where(np.arange(300) % 2, -gaps, gaps)
    q = np.where(np.arange(300) % 2, 0.0, 1.0)
    one, other = FlipModel.fit(gaps), FlipModel.fit(turned, q)
    assert (one.rate, one.temperature) == pytest.approx((other.rate, other.temperature))
    assert one.wrong(gaps) == pytest.approx(other.wrong(turned, q))


def test_ties_say_nothing() -> None:
    gaps, _ = flipped(200, 0.2, 1.0, seed=4)
    with_ties = FlipModel.fit(np.append(gaps, [5.0, -9.0]), [*np.ones(200), 0.5, 0.5])
    assert with_ties == FlipModel.fit(gaps)


@pytest.mark.parametrize("rate", [0.0, 0.2])
@pytest.mark.medium
def test_the_interval_holds_the_rate(rate: float) -> None:
    held = 0
    for seed in range(100):
        gaps, _ = flipped(400, rate, 1.0, seed=100 + seed)
        figure = flip_rate(gaps)
        held += figure.low <= rate <= figure.high
        assert 0 <= figure.low <= figure.value <= figure.high <= 0.5
    assert held >= 89


def test_copies_of_pairs_tell_nothing_new() -> None:
    gaps, _ = flipped(200, 0.2, 1.0, seed=8)
    once = flip_rate(gaps)
    copied = flip_rate(np.repeat(gaps, 5), clusters=np.repeat(np.arange(200), 5))
    ignored = flip_rate(np.repeat(gaps, 5))
    assert copied.low == pytest.approx(once.low, abs=0.02)
    assert copied.high == pytest.approx(once.high, abs=0.02)
    assert ignored.high - ignored.low < 0.6 * (once.high - once.low)


def test_labels_that_no_gap_explains_leave_the_rate_open() -> None:
    gaps = np.random.default_rng(0).normal(size=400)
    figure = flip_rate(gaps)
    assert figure.low < 0.03
    assert figure.high > 0.45
    one = flip_rate([1.0, -0.5, 2.0], clusters=["a", "a", "a"])
    assert (one.low, one.high) == (0.0, 0.5)
    assert flip_rate([1.0, 0.0], [0.5, 1.0]).n == 0


@pytest.mark.parametrize(
    ("gaps", "probability", "sentence"),
    [
        ([1.0, 2.0], [0.5, 0.5], "on pairs that are no ties; there are none"),
        ([], None, "there are none"),
        ([0.0, 0.0], None, "got 2 pairs that are no ties, and all their gaps are 0"),
    ],
)
def test_what_cannot_be_fitted_is_said(gaps, probability, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        FlipModel.fit(gaps, probability)
