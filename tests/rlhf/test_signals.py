"""Signals of a step against values worked by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataError
from assay.rlhf.records import Judged, Spoken
from assay.rlhf.signals import (
    LOG_RATIO_LIMIT,
    distinct,
    entropy,
    figures,
    kl_k1,
    kl_k3,
    pairwise_distinct,
    point,
    repetition,
    signals,
    spread,
)
from assay.types import Message


def ids(*tokens: int) -> Any:
    return np.array(tokens, np.int32)


def logs(*probabilities: float) -> Any:
    return np.log(np.array(probabilities))


@pytest.fixture
def step() -> tuple[Spoken, Judged]:
    """Two prompts with two responses each."""
    a, b = (Message("user", "a"),), (Message("user", "b"),)
    return (
        Spoken(
            (a, b, a, b),
            ("yes!", "- no", "", "yes!"),
            (ids(1, 2, 3, 4, 5), ids(1, 2, 1, 2, 1, 2), ids(7), ids(1, 2, 3, 4, 5)),
            (logs(*[0.5] * 5), logs(*[0.25] * 6), logs(1.0), logs(*[0.5] * 5)),
            (logs(*[0.25] * 5), logs(*[0.25] * 6), logs(0.5), logs(*[0.5] * 5)),
            np.array([True, True, False, True]),
        ),
        Judged(
            np.array([1.0, 2.0, 3.0, 6.0]),
            audit=np.array([1.0, np.nan, 2.0, np.nan]),
            std=np.array([0.5, 0.5, 0.5, 1.5]),
        ),
    )


def test_kl_by_hand() -> None:
    policy, reference = logs(0.5, 0.5), logs(0.25, 1.0)
    assert kl_k1(policy, reference) == pytest.approx(0.0)  # log 2 − log 2
    # r = ½ and 2: (½ − 1) + log 2 and (2 − 1) − log 2
    assert kl_k3(policy, reference) == pytest.approx(0.5)


def test_k1_and_k3_have_the_same_mean() -> None:
    # expectation over tokens drawn from the policy, by enumeration
    policy, reference = np.array([0.7, 0.2, 0.1]), np.array([0.3, 0.3, 0.4])
    exact = float(np.sum(policy * np.log(policy / reference)))
    for estimate in (kl_k1, kl_k3):
        drawn = [estimate(logs(p), logs(q)) for p, q in zip(policy, reference, strict=True)]
        assert float(policy @ drawn) == pytest.approx(exact)


def test_the_log_ratio_of_k3_is_clamped() -> None:
    far = kl_k3(np.array([-50.0]), np.array([0.0]))
    assert far == pytest.approx(math.expm1(LOG_RATIO_LIMIT) - LOG_RATIO_LIMIT)


@given(st.lists(st.tuples(st.floats(-30, 0), st.floats(-30, 0)), max_size=20))
def test_k3_is_never_negative(pairs: list[tuple[float, float]]) -> None:
    own, other = (np.array([p[i] for p in pairs]) for i in (0, 1))
    assert kl_k3(own, other) >= 0


def test_entropy_repetition_and_distinctness_by_hand() -> None:
    assert entropy(logs(0.5, 0.125)) == pytest.approx(2 * math.log(2))
    assert math.isnan(entropy(logs()))
    # 4-grams 1212, 2121, 1212: one of three was there before
    assert repetition(ids(1, 2, 1, 2, 1, 2)) == pytest.approx(1 / 3)
    assert math.isnan(repetition(ids(1, 2, 3)))
    # two-grams 12 23 | 12 24: three different of four
    assert distinct([ids(1, 2, 3), ids(1, 2, 4)], 2) == pytest.approx(3 / 4)
    assert math.isnan(distinct([ids(1)], 2))
    # {12, 23} and {12, 24}: one of three shared
    assert pairwise_distinct([ids(1, 2, 3), ids(1, 2, 4)]) == pytest.approx(2 / 3)
    assert pairwise_distinct([ids(5), ids(5), ids(6)]) == pytest.approx(2 / 3)
    assert math.isnan(pairwise_distinct([ids(1, 2)]))
    assert spread(np.array([1.0, 3.0, np.nan])) == pytest.approx(math.sqrt(2))
    assert math.isnan(spread(np.array([1.0])))


def test_figures_of_a_step_by_hand(step: tuple[Spoken, Judged]) -> None:
    found = figures(signals(*step), step[0].ids)
    log2 = math.log(2)
    expected = {
        "objective/kl": (5 * log2 + 0 + log2 + 0) / 4,
        "objective/kl_k3": 6 * (log2 - 0.5) / 4,
        "objective/sqrt_kl": math.sqrt(6 * (log2 - 0.5) / 4),
        "objective/proxy": 3.0,
        # prompt a: 1 and 3, prompt b: 2 and 6
        "objective/proxy_std": (math.sqrt(2) + math.sqrt(8)) / 2,
        "objective/audit": 1.5,
        "missing/audit": 2.0,
        "objective/disagreement": 0.75,
        "response/length": 4.25,
        "response/ended": 0.75,
        "response/entropy": (log2 + 2 * log2 + 0 + log2) / 4,
        "response/repetition": 1 / 9,
        "missing/repetition": 1.0,
        "missing/compression": 1.0,
        # tokens 1 2 3 4 5 7 of 17
        "response/distinct_1": 6 / 17,
        "wording/exclamations": 0.5,
        "wording/list_lines": 0.25,
        "n/responses": 4.0,
        "n/prompts": 2.0,
        # prompts' means 2 and 4 about 3: SE² = 2 · (4 + 4) / 16
        "objective/proxy_error": 1.0,
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)
    assert "objective/gold" not in found
    assert all(math.isfinite(v) for v in found.values())


def test_an_error_needs_two_prompts(step: tuple[Spoken, Judged]) -> None:
    found = signals(*step)
    at = point(found, "proxy")
    assert at is not None
    assert (at.mean, at.variance, at.n) == pytest.approx((3.0, 1.0, 4))
    assert point(found, "audit") is None  # both values are of prompt a
    assert "objective/audit_error" not in figures(found, step[0].ids)


def test_the_order_of_responses_does_not_matter(step: tuple[Spoken, Judged]) -> None:
    spoken, judged = step
    order = [3, 1, 0, 2]

    def turned(values: Any) -> Any:
        return None if values is None else type(values)(values[i] for i in order)

    fields = ("prompts", "texts", "ids", "logprobs", "reference")
    other = replace(
        spoken,
        **{name: turned(getattr(spoken, name)) for name in fields},
        ended=spoken.ended[order],
    )
    of_other = Judged(judged.proxy[order], std=judged.std[order], audit=judged.audit[order])  # type: ignore[index]
    assert figures(signals(other, of_other), other.ids) == pytest.approx(
        figures(signals(spoken, judged), spoken.ids)
    )


def test_rewards_that_are_no_numbers_are_counted(step: tuple[Spoken, Judged]) -> None:
    spoken, judged = step
    broken = replace(judged, proxy=np.array([1.0, np.inf, np.nan, 5.0]))
    found = figures(signals(spoken, broken), spoken.ids)
    assert found["objective/proxy"] == 3.0
    assert found["missing/proxy"] == 2.0
    nothing = replace(judged, proxy=np.full(4, np.nan))
    found = figures(signals(spoken, nothing), spoken.ids)
    assert "objective/proxy" not in found
    assert found["missing/proxy"] == 4.0


def test_what_does_not_fit_is_refused(step: tuple[Spoken, Judged]) -> None:
    spoken, judged = step
    with pytest.raises(DataError, match=r"Got 3 of audit for 4 responses"):
        signals(spoken, replace(judged, audit=np.zeros(3)))
    reference = (spoken.reference[0], logs(0.5, 0.5), *spoken.reference[2:])
    with pytest.raises(DataError, match=r"Response 1 has 6 log-probabilities .* and 2"):
        signals(replace(spoken, reference=reference), judged)
    empty = Spoken((), (), (), (), (), np.zeros(0, bool))
    with pytest.raises(DataError, match="no responses"):
        signals(empty, Judged(np.zeros(0)))
