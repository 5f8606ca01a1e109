"""Held-out figures of responses that were labelled good or bad by themselves.

There are no pairs to be right about but those of a good and a bad response, whatever their prompts:
accuracy is the share of these with the good one above (the area under the ROC curve).

Letters: R responses.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from assay.stats import auc, ece, estimate_mean, preference_nll, reward_length_correlation
from assay.train.encode import EncodeReport, Example
from assay.train.objectives.base import Readings
from assay.train.objectives.labels import labels_of
from assay.train.report import HeldoutReport, length_baseline
from assay.train.resume import EvaluationRow
from assay.types import Figure


def labelled_row(readings: Readings) -> EvaluationRow:
    """Held-out accuracy and gap, to be logged during training."""
    labels = labels_of(readings.examples)
    rewards = readings.rewards
    gap = rewards[labels > 0.5].mean() - rewards[labels <= 0.5].mean()
    return {"heldout/accuracy": auc(rewards, labels).value, "heldout/gap": float(gap)}


def labelled_report(
    readings: Readings, train: Sequence[Example], encoding: EncodeReport, point: float
) -> HeldoutReport:
    """All held-out figures of labelled responses.

    Args:
        train: The training responses; they say whether longer or shorter ones are better.
        point: The threshold of binary, or KTO's reference: the reward between good and bad.
    """
    labels, clusters = labels_of(readings.examples), _clusters(readings.examples)
    above = readings.rewards - point
    lengths = np.array([n for e in readings.examples for n in e.lengths], dtype=np.float64)
    by_length = length_baseline(train).predict(lengths)
    figures = {
        "accuracy": auc(readings.rewards, labels, clusters),
        "length_only_accuracy": auc(by_length, labels, clusters),
        "gap": _difference(readings.rewards, labels, clusters),
        "nll": preference_nll(above, labels, clusters),
        "reward_length_correlation": reward_length_correlation(readings.rewards, lengths, clusters),
        "ece": ece(above, labels, clusters),
    }
    signs = np.where(labels > 0.5, 1.0, -1.0)
    return HeldoutReport(
        figures=figures,
        prompts=len(set(clusters)),
        ties=0,
        encoding=encoding,
        gaps=signs * above,
        length_only_gaps=signs * (by_length - by_length.mean()),
        probability=np.ones_like(above),
        unit="responses",
    )


def _difference(
    rewards: NDArray[np.float64], labels: NDArray[np.float64], clusters: Sequence[int]
) -> Figure:
    """Mean reward of good less that of bad responses, with its clustered interval."""
    is_good = labels > 0.5
    mean = np.where(is_good, rewards[is_good].mean(), rewards[~is_good].mean())
    size = np.where(is_good, is_good.sum(), -(~is_good).sum())
    difference = rewards[is_good].mean() - rewards[~is_good].mean()
    return estimate_mean(difference + len(rewards) * (rewards - mean) / size, clusters).figure()


def _clusters(examples: Sequence[Example]) -> list[int]:
    return [e.cluster for e in examples for _ in e.lengths]
