"""Value: the held-out report by hand, with its baseline, its counts and its nulls."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from fitting import textless

from assay.train.encode import EncodeReport
from assay.train.report import heldout_report
from assay.types import Preference

NOTHING_DROPPED = EncodeReport(6, 6, 0, 0, 0, 0, 40, 256)


def pair(chosen_length, rejected_length, cluster, probability=1.0):
    preference = Preference(0, 1, probability)
    return textless(preference, lengths=(chosen_length, rejected_length), cluster=cluster)


# trained on pairs in which the longer response always wins
TRAIN = [pair(10 + n, 10, n) for n in range(1, 9)]
HELDOUT = [
    pair(12, 4, 0),
    pair(9, 5, 0),
    pair(3, 8, 1),
    pair(7, 7, 1),
    pair(5, 6, 2, probability=0.5),
    pair(20, 8, 2),
]
REWARDS = np.array([1.0, 0.0, 0.5, 1.5, 2.0, 0.0, 0.3, 0.3, 1.0, 0.0, 4.0, 1.0])


@pytest.fixture(scope="module")
def report():
    return heldout_report(REWARDS, HELDOUT, TRAIN, NOTHING_DROPPED)


def test_accuracy_counts_equal_rewards_half_and_leaves_ties_out(report):
    assert report.accuracy.value == pytest.approx((1 + 0 + 1 + 0.5 + 1) / 5)
    assert report.accuracy.n == 5
    assert report.ties == 1


def test_the_length_only_baseline_is_fitted_on_the_training_pairs(report):
    # longer wins in training: right on three held-out pairs, wrong on one, undecided on one
    assert report.length_only_accuracy.value == pytest.approx((1 + 1 + 0 + 0.5 + 1) / 5)
    shorter = [pair(10, 10 + n, n) for n in range(1, 9)]
    other = heldout_report(REWARDS, HELDOUT, shorter, NOTHING_DROPPED)
    assert other.length_only_accuracy.value == pytest.approx((0 + 0 + 1 + 0.5 + 0) / 5)


def test_gap_and_likelihood_by_hand(report):
    gaps = [1.0, -1.0, 2.0, 0.0, 1.0, 3.0]
    assert report.gaps.tolist() == gaps
    assert report.figures["gap"].value == pytest.approx(1.0)
    nll = [math.log1p(math.exp(-gap)) for gap in gaps]
    nll[4] = (math.log1p(math.exp(-1.0)) + math.log1p(math.exp(1.0))) / 2
    assert report.figures["nll"].value == pytest.approx(sum(nll) / 6)


def test_intervals_hold_their_values_and_are_clustered_by_prompt(report):
    for name in ("accuracy", "gap", "nll"):
        figure = report.figures[name]
        assert figure.low < figure.value < figure.high, name
    alone = [replace(e, cluster=i) for i, e in enumerate(HELDOUT)]
    apart = heldout_report(REWARDS, alone, TRAIN, NOTHING_DROPPED)
    assert apart.figures["gap"].value == report.figures["gap"].value
    assert apart.figures["gap"].low != report.figures["gap"].low
    assert (report.prompts, apart.prompts) == (3, 6)


def test_reward_and_length_correlate_when_they_are_the_same():
    lengths = np.array([n for e in HELDOUT for n in e.lengths], dtype=np.float64)
    same = heldout_report(lengths, HELDOUT, TRAIN, NOTHING_DROPPED)
    assert same.figures["reward_length_correlation"].value == pytest.approx(1.0)
    opposite = heldout_report(-lengths, HELDOUT, TRAIN, NOTHING_DROPPED)
    assert opposite.figures["reward_length_correlation"].value == pytest.approx(-1.0)


def test_it_says_the_figures_with_interval_count_baseline_and_what_was_dropped(report):
    text = str(report)
    assert text.startswith(f"accuracy {report.accuracy}")
    assert "n=5 pairs of 3 prompts, length-only 0.700, gap 1.00" in text
    assert text.endswith("0 pairs dropped: longer than 256 tokens")


def test_what_cannot_be_measured_is_null_in_json():
    ties = [pair(5, 5, 0, probability=0.5), pair(6, 6, 1, probability=0.5)]
    report = heldout_report(np.zeros(4), ties, TRAIN, NOTHING_DROPPED)
    saved = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert saved["accuracy"]["value"] is None
    assert saved["reward_length_correlation"]["value"] is None
    assert (saved["tied_pairs"], saved["prompts"], saved["dropped_pairs"]) == (2, 2, 0)
    assert saved["nll"]["value"] == pytest.approx(math.log(2))
