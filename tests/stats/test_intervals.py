"""Intervals: parity with scipy and statsmodels, values by hand, coverage."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from numpy.typing import NDArray
from scipy.stats import bootstrap
from scipy.stats import t as student
from statsmodels.stats.proportion import proportion_confint

from assay.errors import DataError
from assay.stats import bootstrap_sums, cluster_bootstrap, cluster_mean, wilson


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (7, 10), (450, 675)])
def test_wilson_equals_statsmodels(successes: int, n: int) -> None:
    figure = wilson(successes, n)
    low, high = proportion_confint(successes, n, method="wilson")
    assert (figure.low, figure.high) == pytest.approx((low, high), abs=1e-12)
    assert (figure.value, figure.n) == (successes / n, n)


def test_wilson_of_nothing_and_of_nonsense() -> None:
    assert math.isnan(wilson(0, 0).value)
    with pytest.raises(DataError, match="between 0 and n=3, got 4"):
        wilson(4, 3)


def test_cluster_mean_by_hand() -> None:
    # mean 0.6; residual sums of the prompts: 0.8, -1.2, 0.4; SE² = 3/2 · (0.64 + 1.44 + 0.16) / 25
    figure = cluster_mean([1, 1, 0, 0, 1], ["a", "a", "b", "b", "c"])
    half = 4.302652729911275 * math.sqrt(1.5 * 2.24) / 5  # t quantile of 2 degrees of freedom
    assert figure.value == pytest.approx(0.6)
    assert (figure.low, figure.high) == pytest.approx((0.6 - half, 0.6 + half))
    assert figure.n == 5


def test_cluster_mean_without_clusters_is_students_interval() -> None:
    v = np.random.default_rng(0).normal(size=17)
    figure = cluster_mean(v)
    low, high = student.interval(0.95, 16, v.mean(), v.std(ddof=1) / math.sqrt(17))
    assert (figure.low, figure.high) == pytest.approx((low, high))


def test_cluster_mean_equals_statsmodels_clustered_error() -> None:
    rng = np.random.default_rng(1)
    clusters = rng.integers(0, 12, size=60)
    v = rng.normal(size=60) + clusters
    figure = cluster_mean(v, clusters)
    fit = sm.OLS(v, np.ones(60)).fit(cov_type="cluster", cov_kwds={"groups": clusters}, use_t=True)
    assert (figure.low, figure.high) == pytest.approx(tuple(fit.conf_int()[0]))


def test_cluster_mean_stays_between_bounds_and_knows_when_it_knows_nothing() -> None:
    assert (
        cluster_mean([1, 1, 1, 0]).high > 1.0 > cluster_mean([1, 1, 1, 0], bounds=(0.0, 1.0)).high
    )
    assert math.isnan(cluster_mean([1, 0], [7, 7]).low)
    assert cluster_mean([1, 0], [7, 7], bounds=(0.0, 1.0)).to_dict() == {
        "value": 0.5,
        "low": 0.0,
        "high": 1.0,
        "n": 2,
    }
    nothing = cluster_mean([])
    assert nothing.n == 0
    assert math.isnan(nothing.value)


def test_the_clustered_interval_covers_where_the_independent_one_does_not() -> None:
    rng = np.random.default_rng(2)
    clusters = np.repeat(np.arange(40), 5)
    covered = np.zeros(2)
    trials = 600
    for _ in range(trials):
        prompts = rng.beta(2, 1, size=40)  # mean accuracy 2/3, pairs of a prompt alike
        correct = (rng.random(200) < prompts[clusters]).astype(float)
        figures = cluster_mean(correct, clusters), cluster_mean(correct)
        covered += [f.low <= 2 / 3 <= f.high for f in figures]
    clustered, independent = covered / trials
    assert 0.925 <= clustered <= 0.975
    assert independent < clustered - 0.05


def test_bootstrap_of_a_mean_agrees_with_scipy_and_with_the_formula() -> None:
    v = np.random.default_rng(3).normal(size=300)
    figure = cluster_bootstrap(v)
    theirs = bootstrap((v,), np.mean, method="percentile", rng=0).confidence_interval
    assert (figure.low, figure.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)
    clusters = np.arange(300) // 3
    formula, resampled = cluster_mean(v, clusters), cluster_bootstrap(v, clusters)
    assert (resampled.low, resampled.high) == pytest.approx((formula.low, formula.high), abs=0.02)


def test_the_interval_of_few_clusters_is_as_wide_as_students() -> None:
    v = np.random.default_rng(16).normal(size=12)
    resampled, formula = cluster_bootstrap(v, resamples=20_000), cluster_mean(v)
    assert resampled.high - resampled.low == pytest.approx(formula.high - formula.low, rel=0.03)


def test_undefined_resamples_are_left_out() -> None:
    def mean_or_nothing(sample: NDArray) -> float:
        return float(sample.mean()) if len(set(sample)) > 1 else math.nan

    figure = cluster_bootstrap([0.0, 1.0, 1.0], statistic=mean_or_nothing, resamples=100)
    assert (figure.low, figure.high) == pytest.approx((1 / 3, 2 / 3))  # never 0, never 1
    assert math.isnan(cluster_bootstrap([1.0, 1.0], statistic=mean_or_nothing).low)


def test_bootstrap_draws_whole_clusters() -> None:
    rows = np.array([[1.0, 10.0], [2.0, 10.0], [3.0, 20.0]])

    def whole(sample: NDArray) -> float:
        assert (sample[:, 0] == 1).sum() == (sample[:, 0] == 2).sum()
        return float(sample[:, 0].sum())

    cluster_bootstrap(rows, [0, 0, 1], whole, resamples=50)


def test_bootstrap_repeats_with_its_seed_and_mirrors_when_basic() -> None:
    v = np.random.default_rng(4).exponential(size=30)
    one, again, other = (cluster_bootstrap(v, seed=s) for s in (0, 0, 1))
    assert one == again
    assert one != other
    basic = cluster_bootstrap(v, kind="basic")
    assert basic.low == pytest.approx(2 * one.value - one.high)
    assert basic.high == pytest.approx(2 * one.value - one.low)


def test_bootstrap_of_nothing_or_of_one_cluster_has_no_interval() -> None:
    assert cluster_bootstrap([]).n == 0
    lone = cluster_bootstrap([1.0, 2.0], [0, 0])
    assert lone.value == 1.5
    assert math.isnan(lone.low)


def test_bootstrap_of_sums_is_the_bootstrap_of_clusters() -> None:
    rng = np.random.default_rng(3)
    values = rng.normal(size=(60, 2)) + 1
    cluster = rng.integers(25, size=60)

    def ratio(rows: NDArray[np.float64]) -> float:
        return float(rows[:, 0].sum() / rows[:, 1].sum())

    wanted = cluster_bootstrap(values, cluster, ratio, resamples=4000, seed=0)
    groups = np.unique(cluster, return_inverse=True)[1]
    sums = np.stack([np.bincount(groups, column) for column in values.T], axis=1)
    (found, mean) = bootstrap_sums(
        sums, lambda total: np.stack([total[:, 0] / total[:, 1], total[:, 0]], axis=1), 4000, seed=1
    )
    width = wanted.high - wanted.low
    assert found == pytest.approx((wanted.low, wanted.high), abs=0.05 * width)
    assert mean[0] < sums[:, 0].sum() < mean[1]


def test_bootstrap_of_sums_comes_in_blocks_and_leaves_out_what_is_undefined() -> None:
    sums = np.concatenate([np.ones((3_000, 1)), np.zeros((3_000, 1))])
    (low, high), nothing = bootstrap_sums(
        sums,
        lambda total: np.stack([total[:, 0], np.full(len(total), np.nan)], axis=1),
        resamples=1500,  # more than one block of so many clusters
    )
    assert low < 3000 < high
    assert high - low == pytest.approx(2 * 1.96 * math.sqrt(6000) / 2, rel=0.1)
    assert all(map(math.isnan, nothing))
    (single,) = bootstrap_sums([[1.0]], lambda total: total, resamples=10)
    assert all(map(math.isnan, single))
