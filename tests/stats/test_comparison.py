"""Tests between models: parity with scipy and statsmodels, values by hand, levels, power."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest, ttest_1samp
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests

from assay.errors import DataError
from assay.stats import (
    Estimate,
    estimate_mean,
    holm,
    mcnemar,
    mcnemar_mid_p,
    minimum_detectable_difference,
    paired_bootstrap_p,
    permutation_p,
    t_test,
)


def gaps_of(both: int, only_a: int, only_b: int) -> tuple[list[float], list[float]]:
    """Gaps of two models by which of them is right."""
    a = [1.0] * both + [1.0] * only_a + [-1.0] * only_b
    b = [1.0] * both + [-1.0] * only_a + [1.0] * only_b
    return a, b


# --- McNemar --------------------------------------------------------------------------------------


def test_mcnemar_equals_statsmodels_and_the_binomial_by_hand() -> None:
    a = np.array([1.0] * 5 + [1.0] * 6 + [-1.0] * 1 + [-1.0] * 3)
    b = np.array([1.0] * 5 + [-1.0] * 6 + [1.0] * 1 + [-1.0] * 3)
    assert mcnemar(a, b) == pytest.approx(2 * (1 + 7) / 2**7)
    assert mcnemar(a, b) == pytest.approx(statsmodels_mcnemar([[5, 6], [1, 3]], exact=True).pvalue)
    assert mcnemar(a, a) == 1.0
    assert mcnemar([1.0, 1.0], [-1.0, -1.0], [0.5, 1.0]) == 1.0  # the tie is left out


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 5))
def test_mcnemar_is_the_binomial_test_of_the_pairs_that_one_model_gets(
    only_a: int, only_b: int, both: int
) -> None:
    a, b = gaps_of(both, only_a, only_b)
    if both + only_a + only_b == 0:
        return
    exact, mid = mcnemar(a, b), mcnemar_mid_p(a, b)
    total = only_a + only_b
    assert exact == pytest.approx(binomtest(only_a, total).pvalue if total else 1)
    assert (exact, mid) == pytest.approx((mcnemar(b, a), mcnemar_mid_p(b, a)))
    # less than the exact one by the probability of what was seen, where the sides differ
    seen = binom.pmf(only_a, total, 0.5) if only_a != only_b else 0
    assert mid == pytest.approx(exact - seen)


def test_mid_p_by_hand() -> None:
    assert mcnemar_mid_p(*gaps_of(5, 6, 1)) == pytest.approx(2 * (1 + 7) / 2**7 - 7 / 2**7)
    assert mcnemar_mid_p(*gaps_of(4, 0, 0)) == 1
    assert mcnemar_mid_p(*gaps_of(0, 1, 1)) == pytest.approx(1)


def test_equal_rewards_are_not_right() -> None:
    assert mcnemar([1.0] * 6, [0.0] * 6) == pytest.approx(2 / 2**6)


# --- t test ---------------------------------------------------------------------------------------


def test_t_test_of_independent_values_is_scipys() -> None:
    v = np.random.default_rng(0).normal(0.3, 1, size=25)
    assert t_test(estimate_mean(v)) == pytest.approx(ttest_1samp(v, 0).pvalue)


def test_t_test_without_spread_or_without_knowledge() -> None:
    assert t_test(Estimate(0.0, 0.0, 3.0, 4)) == 1
    assert t_test(Estimate(0.2, 0.0, 3.0, 4)) == 0
    assert math.isnan(t_test(Estimate(0.2, math.nan, 0.0, 4)))
    assert math.isnan(t_test(estimate_mean([])))


# --- paired bootstrap -----------------------------------------------------------------------------


@pytest.mark.parametrize("shift", [0.0, 0.1, 0.2])
def test_paired_bootstrap_of_normal_differences_agrees_with_the_t_test(shift: float) -> None:
    v = np.random.default_rng(1).normal(shift, 1, size=150)
    assert paired_bootstrap_p(v) == pytest.approx(ttest_1samp(v, 0).pvalue, abs=0.015)


def test_paired_bootstrap_draws_whole_clusters() -> None:
    once = np.random.default_rng(2).normal(0.15, 1, size=100)
    alone = paired_bootstrap_p(once, resamples=999)
    thrice, clusters = np.repeat(once, 3), np.repeat(np.arange(100), 3)
    assert paired_bootstrap_p(thrice, clusters, resamples=999) == alone
    assert paired_bootstrap_p(thrice, resamples=999) < alone / 2  # as if there were 300 prompts


def test_paired_bootstrap_takes_neither_side_and_repeats_with_its_seed() -> None:
    v = np.random.default_rng(3).normal(0.2, 1, size=60)
    p = paired_bootstrap_p(v, resamples=499)
    assert paired_bootstrap_p(-v, resamples=499) == p
    assert paired_bootstrap_p(v * 7, resamples=499) == p
    assert paired_bootstrap_p(v, resamples=499, seed=1) != p


def test_paired_bootstrap_in_blocks_takes_every_resample() -> None:
    # 2,500 clusters: more than one block of resamples, the last one shorter
    v = np.random.default_rng(4).normal(size=2500)
    p = paired_bootstrap_p(v, resamples=999)
    assert p * 1000 == pytest.approx(round(p * 1000))
    assert p == pytest.approx(ttest_1samp(v, 0).pvalue, abs=0.06)


def test_paired_bootstrap_without_spread() -> None:
    assert paired_bootstrap_p([0.0, 0.0, 0.0], resamples=99) == 1
    assert paired_bootstrap_p([1.0, 1.0, 1.0], resamples=99) == pytest.approx(0.01)
    assert math.isnan(paired_bootstrap_p([]))


def test_one_difference_among_many_equal_items_shows_nothing() -> None:
    # most resamples without it, or with it alone, have no spread or as large a t
    assert paired_bootstrap_p([1.0] + [0.0] * 30, resamples=999) > 0.3


# --- several tests --------------------------------------------------------------------------------


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == pytest.approx([1, 1])
    assert holm([]) == []
    assert holm([math.nan, 0.01]) == pytest.approx([math.nan, 0.02], nan_ok=True)


@settings(max_examples=20)  # statsmodels takes its time
@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_equals_statsmodels_and_keeps_the_order(p_values: list[float]) -> None:
    ours = holm(p_values)
    assert ours == pytest.approx(list(multipletests(p_values, method="holm")[1]))
    assert all(p <= adjusted <= 1 for p, adjusted in zip(p_values, ours, strict=True))
    order = np.argsort(p_values)
    assert (np.diff(np.array(ours)[order]) >= 0).all()


# --- what can be told apart -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("discordance", "n", "difference"),
    [
        (0.2, 15_700, 0.01),
        (0.2, 3_900, 0.02),
        (0.2, 1_700, 0.03),
        (0.2, 625, 0.05),
        (0.1, 7_800, 0.01),
        (0.1, 2_000, 0.02),
        (0.1, 869, 0.03),
        (0.1, 311, 0.05),
    ],
)
def test_what_a_number_of_items_can_tell_apart(
    discordance: float, n: int, difference: float
) -> None:
    found = minimum_detectable_difference(n, discordance)
    assert found == pytest.approx(difference, rel=0.015)
    assert minimum_detectable_difference(2 * n, discordance) < found


def test_the_detectable_difference_is_found_in_four_of_five_cases() -> None:
    n, discordance = 625, 0.2
    d = minimum_detectable_difference(n, discordance)
    rng = np.random.default_rng(5)
    differ = rng.binomial(n, discordance, size=20_000)
    only_a = rng.binomial(differ, (discordance + d) / (2 * discordance))
    z = (2 * only_a - differ) / np.sqrt(differ)
    assert np.mean(np.abs(z) > 1.96) == pytest.approx(0.8, abs=0.015)


def test_too_few_items_tell_nothing_and_impossible_ones_are_refused() -> None:
    assert math.isnan(minimum_detectable_difference(10, 0.2))
    for n, discordance in ((0, 0.2), (10, 0.0), (10, 1.5)):
        with pytest.raises(DataError, match=r"one item or more and a discordance in \(0, 1\]"):
            minimum_detectable_difference(n, discordance)


# --- permutation ----------------------------------------------------------------------------------


def test_permutation_counts_all_splits_where_they_are_few() -> None:
    # of the 20 splits of six into halves two are as extreme
    assert permutation_p([0.9, 1.0, 1.1], [0.0, 0.1, 0.2]) == pytest.approx(2 / 20)
    assert permutation_p([0.0, 0.1, 0.2], [0.9, 1.0, 1.1]) == pytest.approx(2 / 20)


def test_permutation_moves_whole_clusters() -> None:
    rng = np.random.default_rng(6)
    a, b = rng.normal(0.6, 1, size=30), rng.normal(size=20)
    alone = permutation_p(a, b, resamples=999)
    twice = [np.repeat(np.arange(n), 2) for n in (30, 20)]
    together = permutation_p(np.repeat(a, 2), np.repeat(b, 2), *twice, resamples=999)
    assert together == pytest.approx(alone)
    assert permutation_p(np.repeat(a, 2), np.repeat(b, 2), resamples=999) < alone / 2


def test_permutation_where_nothing_varies() -> None:
    third = [1 / 3] * 7
    assert permutation_p(third, third[:4], [0, 0, 0, 1, 1, 2, 3], resamples=99) == 1
    assert permutation_p([1.0] * 8, [0.0] * 8, resamples=99) == pytest.approx(2 / 100)
    assert math.isnan(permutation_p([], [1.0]))


def test_permutation_keeps_its_level_where_one_set_has_few_large_clusters() -> None:
    def p(seed: int) -> float:
        rng = np.random.default_rng(seed)
        large = np.repeat(np.arange(15), 12)
        b = rng.normal(size=15)[large]
        return permutation_p(rng.normal(size=120), b, None, large, resamples=99, seed=seed)

    assert np.mean([p(seed) <= 0.1 for seed in range(200)]) == pytest.approx(0.1, abs=0.065)
