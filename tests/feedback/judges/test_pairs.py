"""Both orders of a pair: value, symmetry, and that a failure is never a tie."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.feedback.judges.pairs import USABLE, first_is_better, judged_pair
from assay.feedback.judges.records import FAILURES, Answer, failed

BOTH = ((0, 1), (1, 0))
shares = st.floats(0.0, 1.0, allow_nan=False).map(float)


def said(*probabilities):
    return Answer("answered", tuple(float(p) for p in probabilities), "log-probabilities")


def test_the_soft_label_is_the_mean_of_both_orders():
    judged = judged_pair((0, 1), BOTH, (said(0.9, 0.1), said(0.4, 0.6)))
    assert judged.probability == pytest.approx(0.5 * (0.9 + 0.6))
    assert judged.first == pytest.approx(0.5 * (0.9 + 0.4))
    assert (judged.outcome, judged.choice) == ("verdict", 0)
    assert judged.strength == pytest.approx(0.5)


def test_orders_that_name_different_responses_are_inconsistent():
    judged = judged_pair((0, 1), BOTH, (said(0.9, 0.1), said(0.8, 0.2)))
    assert (judged.outcome, judged.choice) == ("inconsistent", None)
    assert judged.probability == pytest.approx(0.55)
    assert judged.first == pytest.approx(0.85)


def test_a_tie_is_one_that_both_orders_say():
    tie = said(0.2, 0.2, 0.6)
    assert judged_pair((0, 1), BOTH, (tie, tie)).outcome == "tie"
    # one order says a tie and the other does not: they do not say the same
    assert judged_pair((0, 1), BOTH, (tie, said(0.9, 0.1, 0.0))).outcome == "inconsistent"
    assert first_is_better(tie) == pytest.approx(0.5)


@settings(deadline=None)
@given(a=shares, b=shares)
def test_turning_the_pair_round_turns_the_label_round(a, b):
    one = judged_pair((0, 1), BOTH, (said(a, 1 - a), said(b, 1 - b)))
    other = judged_pair((0, 1), BOTH, (said(b, 1 - b), said(a, 1 - a)))
    assert one.probability == pytest.approx(1 - other.probability)
    assert one.outcome == other.outcome
    assert one.first == pytest.approx(other.first)


@settings(deadline=None)
@given(reason=st.sampled_from(FAILURES), place=st.integers(0, 1), a=shares)
def test_a_failure_in_any_order_is_that_failure_and_has_no_label(reason, place, a):
    answers = [said(a, 1 - a), said(a, 1 - a)]
    answers[place] = failed(reason, "why")
    judged = judged_pair((0, 1), BOTH, tuple(answers))
    assert judged.outcome == reason
    assert judged.outcome not in USABLE
    assert (judged.probability, judged.choice, judged.strength, judged.first) == (None,) * 4
    assert not judged.is_usable


def test_of_two_failures_the_graver_is_told():
    answers = (failed("unparsable", "x"), failed("http-error", "y"))
    assert judged_pair((0, 1), BOTH, answers).outcome == "http-error"


def test_one_order_has_no_bias_to_tell():
    judged = judged_pair((0, 1), ((1, 0),), (said(0.7, 0.3),))
    assert judged.probability == pytest.approx(0.3)
    assert (judged.choice, judged.first) == (1, None)
