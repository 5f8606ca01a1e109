"""Statistics: values by hand, parity with scipy and statsmodels, coverage, symmetries."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import bootstrap, pearsonr, spearmanr
from scipy.stats import t as student
from sklearn.linear_model import LogisticRegression
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.proportion import proportion_confint

from assay.errors import DataError
from assay.stats import (
    LengthBaseline,
    accuracy,
    accuracy_difference,
    brier,
    cluster_bootstrap,
    cluster_mean,
    ece,
    fit_temperature,
    mcnemar,
    preference_nll,
    reliability_bins,
    reward_length_correlation,
    wilson,
)

gap_lists = st.lists(st.floats(-20, 20), min_size=1, max_size=40)


def bernoulli_gaps(n: int, seed: int, temperature: float = 1.0) -> tuple[NDArray, NDArray]:
    """Gaps and labels drawn from them; a temperature over 1 makes the gaps overconfident."""
    rng = np.random.default_rng(seed)
    gaps = rng.normal(size=n) * 1.5
    labels = (rng.random(n) < 1 / (1 + np.exp(-gaps))).astype(float)
    return gaps * temperature, labels


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


def test_cluster_mean_is_clipped_and_knows_when_it_knows_nothing() -> None:
    assert cluster_mean([1, 1, 1, 0], bounds=(0.0, 1.0)).high == 1.0
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


def test_accuracy_by_hand() -> None:
    # right, wrong, equal rewards, tie label (left out), a label for the other side
    gaps = [1.0, -1.0, 0.0, 5.0, -0.5]
    figure = accuracy(gaps, [1.0, 0.9, 0.6, 0.5, 0.2])
    assert figure.value == pytest.approx((1 + 0 + 0.5 + 1) / 4)
    assert figure.n == 4


def test_accuracy_is_clustered_by_prompt() -> None:
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


def test_reliability_bins_by_hand() -> None:
    low, high = math.log(3 / 2), math.log(9)  # confidence 0.6 and 0.9
    bins = reliability_bins([low, -low, high, -high, high, -high], [1, 1, 1, 0, 1, 1], bins=3)
    assert [b.n for b in bins] == [2, 4]  # equal confidences share a bin
    assert [b.confidence for b in bins] == pytest.approx([0.6, 0.9])
    assert [b.accuracy for b in bins] == pytest.approx([0.5, 0.75])
    gaps = [low, -low, high, -high, high, -high]
    error = ece(gaps, [1, 1, 1, 0, 1, 1], bins=3, resamples=10)
    assert error.value == pytest.approx((2 * 0.1 + 4 * 0.15) / 6)


def test_bins_hold_equal_mass() -> None:
    gaps, labels = bernoulli_gaps(1003, 6)
    assert {b.n for b in reliability_bins(gaps, labels)} == {100, 101}
    assert len(reliability_bins(gaps[:4], labels[:4])) == 4


def test_ece_is_small_when_calibrated_large_when_overconfident_and_mended_by_temperature() -> None:
    calibrated, labels = bernoulli_gaps(4000, 7)
    over = calibrated * 3
    assert ece(calibrated, labels, resamples=100).high < 0.03
    assert ece(over, labels, resamples=100).low > 0.1
    temperature = fit_temperature(over, labels)
    assert temperature == pytest.approx(3, rel=0.1)
    assert ece(over / temperature, labels, resamples=100).high < 0.03


def test_the_ece_interval_holds_the_truth_of_an_overconfident_model() -> None:
    gaps, labels = bernoulli_gaps(400_000, 8, temperature=2.0)
    truth = sum(b.n * abs(b.accuracy - b.confidence) for b in reliability_bins(gaps, labels)) / 4e5
    figures = [ece(*bernoulli_gaps(400, 100 + i, 2.0), resamples=150) for i in range(40)]
    assert sum(f.low <= truth <= f.high for f in figures) >= 33


def test_soft_labels_that_equal_the_prediction_are_perfectly_calibrated() -> None:
    gaps, _ = bernoulli_gaps(50, 9)
    assert ece(gaps, 1 / (1 + np.exp(-gaps)), resamples=10).value == pytest.approx(0, abs=1e-12)


def test_temperature_minimises_the_likelihood_loss_and_stays_in_range() -> None:
    gaps, labels = bernoulli_gaps(500, 10, temperature=0.5)
    best = fit_temperature(gaps, labels)
    loss = preference_nll(gaps / best, labels).value
    assert all(preference_nll(gaps / (best * f), labels).value > loss for f in (0.9, 1.1))
    assert fit_temperature([1.0, 2.0]) == pytest.approx(0.01)  # all right: as sharp as allowed
    assert fit_temperature([-1.0, -2.0]) == pytest.approx(100)  # all wrong: as flat as allowed
    with pytest.raises(DataError, match="there are none"):
        fit_temperature([])


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


def test_accuracy_difference_is_paired() -> None:
    truth, labels = bernoulli_gaps(400, 14)
    noise = np.random.default_rng(15).normal(size=400)
    clusters = np.arange(400) // 2
    better, worse = truth, truth + 3 * noise
    figure = accuracy_difference(better, worse, labels, clusters, resamples=500)
    assert figure.value == pytest.approx(
        accuracy(better, labels).value - accuracy(worse, labels).value
    )
    assert figure.low > 0
    mirrored = accuracy_difference(worse, better, labels, clusters, resamples=500)
    assert mirrored.value == pytest.approx(-figure.value)
    same = accuracy_difference(better, better, labels, clusters, resamples=20)
    assert (same.value, same.low, same.high) == (0, 0, 0)


def test_mcnemar_equals_statsmodels_and_the_binomial_by_hand() -> None:
    a = np.array([1.0] * 5 + [1.0] * 6 + [-1.0] * 1 + [-1.0] * 3)
    b = np.array([1.0] * 5 + [-1.0] * 6 + [1.0] * 1 + [-1.0] * 3)
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(a, b) == pytest.approx(statsmodels_mcnemar([[5, 6], [1, 3]], exact=True).pvalue)
    assert mcnemar(a, a) == 1.0
    assert mcnemar([1.0, 1.0], [-1.0, -1.0], [0.5, 1.0]) == 1.0  # the tie is left out


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda: accuracy([1.0, math.nan]), "gaps must be finite, but 1 of 2 are not (first at 1)"),
        (lambda: accuracy([[1.0]]), "gaps must have one dimension, got shape (1, 1)"),
        (lambda: preference_nll([1.0], [1.5]), "between 0 and 1, got 1.5 to 1.5"),
        (lambda: brier([1.0], [1.0, 0.0]), "Got 1 gaps and 2 probability"),
        (lambda: cluster_mean([1.0, 2.0], [0]), "Got 1 clusters for 2 values"),
        (lambda: mcnemar([1.0], [1.0, 2.0]), "Got 1 gaps_a and 2 gaps_b"),
        (lambda: LengthBaseline(1.0).predict([math.inf]), "length_differences must be finite"),
    ],
)
def test_bad_input_is_refused_in_one_sentence(call, sentence: str) -> None:
    with pytest.raises(DataError) as refusal:
        call()
    assert sentence in str(refusal.value)
