"""Intervals over seeds and prompts: both variances, paired draws, few seeds, nothing to measure."""

from __future__ import annotations

import numpy as np
import pytest

from assay.errors import DataError
from assay.stats import cluster_mean, crossed_bootstrap, estimate_mean


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_means_are_those_of_all_seeds_and_items_whatever_the_clusters(
    rng: np.random.Generator,
) -> None:
    values = rng.normal(size=(2, 3, 4, 50))
    found = crossed_bootstrap(values, rng.integers(7, size=50), resamples=10)
    np.testing.assert_allclose(found.value[..., 0], values.mean(axis=(-1, -2)))
    assert found.draws.shape == found.by_seed.shape == found.by_cluster.shape == (2, 3, 10)
    assert (found.clusters, found.seeds, found.n) == (7, 4, 50)


def test_with_one_seed_it_is_the_interval_over_clusters(rng: np.random.Generator) -> None:
    clusters = rng.integers(60, size=200)
    values = rng.normal(size=60)[clusters] + rng.normal(size=200)
    found = crossed_bootstrap(values[None], clusters, resamples=20_000)
    assert found.by_seed == pytest.approx(found.value[0])
    assert found.draws.std() == pytest.approx(estimate_mean(values, clusters).error, rel=0.03)
    ours, known = found.figure(), cluster_mean(values, clusters)
    assert ours.value == pytest.approx(known.value)
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=0.02)
    assert ours.n == 200


def test_where_items_are_alike_it_is_students_interval_over_seeds() -> None:
    seeds = np.array([0.1, 0.5, 0.4, 0.9])
    found = crossed_bootstrap(np.tile(seeds[:, None], (1, 30)), resamples=20_000)
    assert found.by_cluster == pytest.approx(0.475)
    assert found.draws.std() == pytest.approx(seeds.std(ddof=1) / 2, rel=0.03)
    figure = found.figure()
    # three degrees of freedom ask for nearly the whole range of the resamples
    normal = np.quantile(found.draws, [0.025, 0.975])
    assert figure.low < normal[0]
    assert figure.high > normal[1]


def test_both_variances_add_up(rng: np.random.Generator) -> None:
    values = rng.normal(size=(6, 1)) + 3 * rng.normal(size=40)
    found = crossed_bootstrap(values, resamples=20_000)
    parts = found.by_cluster.var() + found.by_seed.var()
    assert found.draws.var() == pytest.approx(parts, rel=0.05)
    expected = values.mean(1).var(ddof=1) / 6 + values.mean(0).var(ddof=1) / 40
    assert parts == pytest.approx(expected, rel=0.05)


def test_differences_are_paired(rng: np.random.Generator) -> None:
    one = rng.normal(size=(3, 40))
    found = crossed_bootstrap(np.stack([one, one + 0.25]), resamples=50)
    figure = found.figure(lambda means: means[1] - means[0])
    assert (figure.value, figure.low, figure.high) == pytest.approx((0.25, 0.25, 0.25))
    assert found[1].figure().value == pytest.approx(one.mean() + 0.25)


def test_an_interval_of_several_things_at_once_is_that_of_each(rng: np.random.Generator) -> None:
    found = crossed_bootstrap(rng.normal(size=(2, 3, 40)), resamples=200)
    value, low, high = found.interval(lambda means: means)
    for i in range(2):
        figure = found[i].figure()
        assert (value[i], low[i], high[i]) == (figure.value, figure.low, figure.high)


def test_bounds_hold_the_interval(rng: np.random.Generator) -> None:
    values = rng.random((2, 20)) < 0.95
    figure = crossed_bootstrap(values, resamples=500).figure(bounds=(0.0, 1.0))
    assert 0 < figure.low < figure.value < figure.high <= 1


def test_the_same_seed_draws_the_same(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = rng.normal(size=(2, 30))
    first, same, other = (crossed_bootstrap(values, resamples=40, seed=s) for s in (0, 0, 1))
    assert (first.draws == same.draws).all()
    assert (first.draws != other.draws).any()
    monkeypatch.setattr("assay.stats.crossed.BLOCK", 90)  # three resamples at once
    assert crossed_bootstrap(values, resamples=40).draws.shape == (40,)


def test_the_interval_holds_the_truth_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for trial in range(300):
        seed, prompt = rng.normal(size=(5, 1)) * 0.1, rng.normal(size=60) * 0.7
        clusters = np.repeat(np.arange(60), 3)
        values = seed + prompt[clusters] + rng.normal(size=(5, 180)) * 0.5
        figure = crossed_bootstrap(values, clusters, resamples=400, seed=trial).figure()
        held += figure.low <= 0 <= figure.high
    assert 0.92 <= held / 300 <= 0.985


@pytest.mark.parametrize(
    ("values", "clusters"),
    [(np.zeros((2, 3)), ["a", "a", "a"]), (np.zeros((0, 3)), None), (np.zeros((2, 0)), None)],
    ids=["one prompt", "no seed", "no item"],
)
def test_too_little_for_an_interval_is_said(values: np.ndarray, clusters: list[str] | None) -> None:
    with pytest.raises(DataError, match="needs one seed and two prompts or more, got"):
        crossed_bootstrap(values, clusters)
