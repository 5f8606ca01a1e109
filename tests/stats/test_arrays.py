"""Arguments that every figure refuses in one sentence."""

import math

import pytest

from assay.errors import DataError
from assay.stats import LengthBaseline, accuracy, brier, cluster_mean, mcnemar, preference_nll


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
