"""Power laws: known curves come back, scipy agrees, bounds hold, and ignorance is admitted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import DataError
from assay.evaluation.power_law import (
    HIGHEST_EXPONENT,
    LOWEST_EXPONENT,
    fit_power_law,
    predict,
    r_squared,
    undetermined,
)
from assay.types import Figure

SIZES = np.array([128.0, 256, 512, 1024, 2048])


def law(a: float, b: float, c: float, n: np.ndarray = SIZES) -> np.ndarray:
    return a - b * n**-c


@given(st.floats(0.55, 0.99), st.floats(0.02, 0.3), st.floats(0.05, 1.9))
@settings(max_examples=30)
def test_a_known_curve_comes_back(a: float, start: float, c: float) -> None:
    b = start * 128**c  # the curve begins `start` below its ceiling
    found = fit_power_law(SIZES, law(a, b, c))
    assert found.shape == (3, 1)
    np.testing.assert_allclose([predict(found, n)[0] for n in SIZES], law(a, b, c), atol=1e-5)
    np.testing.assert_allclose(found[0], a, atol=2e-3)
    np.testing.assert_allclose(found[2], c, rtol=0.02)
    assert predict(found, 4096)[0] == pytest.approx(law(a, b, c, np.array(4096.0)), abs=2e-4)


def test_a_curve_that_falls_comes_back_too() -> None:
    found = fit_power_law(SIZES, law(0.6, -2.0, 0.6))
    np.testing.assert_allclose(found[:, 0], [0.6, -2.0, 0.6], rtol=1e-3)


@pytest.mark.medium
def test_scipys_bounded_least_squares_finds_nothing_better() -> None:
    from scipy.optimize import least_squares

    rng = np.random.default_rng(0)
    weights = 1 / np.array([0.03, 0.02, 0.02, 0.01, 0.01]) ** 2
    noisy = law(0.78, 1.1, 0.4)[:, None] + rng.normal(size=(5, 40)) / np.sqrt(weights)[:, None]
    ours = fit_power_law(SIZES, noisy, weights)

    def residuals(p: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.sqrt(weights) * (p[0] - p[1] * (SIZES / 128) ** -p[2] - y)

    bounds = ([0.5, -np.inf, LOWEST_EXPONENT], [1.0, np.inf, HIGHEST_EXPONENT])
    for i, y in enumerate(noisy.T):
        starts = [(a, b, c) for a in (0.6, 0.9) for b in (-0.1, 0.1) for c in (0.05, 0.5, 1.5)]
        theirs = min(
            (least_squares(residuals, s, bounds=bounds, args=(y,)) for s in starts),
            key=lambda fit: fit.cost,
        )
        a, b, c = ours[:, i]
        cost = 0.5 * float(np.sum(residuals(np.array([a, b * 128**-c, c]), y) ** 2))
        assert cost <= theirs.cost * (1 + 1e-6) + 1e-9
        if cost > theirs.cost * (1 - 1e-6):  # where both are at the same bottom
            assert predict(ours, 4096)[i] == pytest.approx(
                theirs.x[0] - theirs.x[1] * (4096 / 128) ** -theirs.x[2], abs=1e-3
            )


def test_many_fits_at_once_are_the_fits_one_by_one() -> None:
    rows = np.stack([law(0.7, 2.0, 0.7), law(0.9, 1.0, 0.3)], axis=1)
    both = fit_power_law(SIZES, rows)
    for i in range(2):
        assert (both[:, i] == fit_power_law(SIZES, rows[:, i])[:, 0]).all()


def test_sizes_may_come_in_any_order_and_weights_of_any_scale() -> None:
    y = law(0.7, 2.0, 0.7) + np.array([0.01, -0.01, 0.0, 0.01, 0.0])
    w = np.array([1.0, 2, 3, 4, 5])
    order = [3, 0, 4, 1, 2]
    first = fit_power_law(SIZES, y, w)
    np.testing.assert_allclose(fit_power_law(SIZES[order], y[order], 100 * w[order]), first)


def test_a_point_of_no_weight_has_no_say() -> None:
    y = law(0.8, 1.5, 0.5)
    y[1] += 0.2
    found = fit_power_law(SIZES, y, [1, 1e-9, 1, 1, 1])
    np.testing.assert_allclose(found[:, 0], [0.8, 1.5, 0.5], rtol=1e-3)


def test_the_ceiling_stays_between_chance_and_one() -> None:
    rising = fit_power_law(SIZES, 0.5 + 0.08 * np.log2(SIZES / 128))
    assert rising[0, 0] == 1.0
    below = fit_power_law(SIZES, np.full(5, 0.4) + np.array([0, 0.01, 0, 0.01, 0]))
    assert below[0, 0] == 0.5


def test_what_levels_off_at_once_has_its_exponent_at_the_bound() -> None:
    step = fit_power_law(SIZES, [0.6, 0.7, 0.7, 0.7, 0.7])
    assert step[2, 0] == HIGHEST_EXPONENT


def test_too_few_sizes_are_refused() -> None:
    with pytest.raises(DataError, match="has 3 parameters, got 2 sizes"):
        fit_power_law([1, 2], [0.5, 0.6])


def test_r_squared_by_hand() -> None:
    flat = np.array([[0.6], [0.0], [1.0]])
    # mean 0.6, residuals and deviations are the same: nothing is explained
    assert r_squared([1, 2], [0.5, 0.7], [1, 1], flat) == pytest.approx(0.0)
    exact = fit_power_law(SIZES, law(0.8, 1.5, 0.5))
    assert r_squared(SIZES, law(0.8, 1.5, 0.5), np.ones(5), exact) == pytest.approx(1.0)
    # weights 3 and 1: mean 0.55, 3 × 0.05² + 0.15² = 0.03 in all, 3 × 0.1² + 0.1² = 0.04 left
    assert r_squared([1, 2], [0.5, 0.7], [3, 1], flat) == pytest.approx(1 - 0.04 / 0.03)
    assert np.isnan(r_squared([1, 2], [0.6, 0.6], [1, 1], flat))


RISES = Figure(0.1, 0.05, 0.15, 100)


@pytest.mark.parametrize(
    ("count", "exponent", "rise", "said"),
    [
        (4, 0.5, RISES, ()),
        (3, 0.5, RISES, ("3 sizes for 3 parameters",)),
        (5, 0.5, Figure(0.02, -0.01, 0.05, 100), ("the curve is flat: from the smallest",)),
        (5, 0.5, Figure(-0.1, -0.2, -0.05, 100), ("the curve falls: from the smallest",)),
        (5, 2.0, RISES, ("c is at its bound 2: it levels off",)),
        (5, 0.01, RISES, ("c is at its bound 0.01: it does not",)),
        (2, 2.0, Figure(0.02, 0.0, 0.05, 100), ("2 sizes", "the curve is flat")),
    ],
)
def test_what_the_data_cannot_tell_is_said(
    count: int, exponent: float, rise: Figure, said: tuple[str, ...]
) -> None:
    found = undetermined(SIZES[:count].tolist(), exponent, rise)
    assert len(found) == len(said)
    for reason, start in zip(found, said, strict=True):
        assert reason.startswith(start)
