"""The held-out report: every figure with its interval, count and baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.stats import (
    LengthBaseline,
    accuracy,
    cluster_mean,
    ece,
    preference_nll,
    reward_length_correlation,
)
from assay.train.encode import EncodeReport, Example, pair_index
from assay.types import Figure


@dataclass(frozen=True)
class HeldoutReport:
    """What a reward model does on pairs it was not trained on.

    ``figures`` has ``accuracy``, ``length_only_accuracy``, ``gap``, ``nll``,
    ``reward_length_correlation`` and ``ece``, each with a 95 % interval clustered by prompt.
    ``encoding`` says what was dropped. Responses labelled by themselves make pairs of a good and a
    bad one, of any prompts; ``unit`` is then "responses", and ``gaps`` are over or under the
    threshold.
    """

    figures: Mapping[str, Figure]
    prompts: int
    ties: int
    encoding: EncodeReport
    gaps: NDArray[np.float64]
    length_only_gaps: NDArray[np.float64]
    probability: NDArray[np.float64]
    unit: str = "pairs"

    @property
    def accuracy(self) -> Figure:
        """Share of pairs with a positive gap; a gap of 0 counts half, tied labels are left out."""
        return self.figures["accuracy"]

    @property
    def length_only_accuracy(self) -> Figure:
        """The same for a logistic regression on the length difference, fitted on training pairs."""
        return self.figures["length_only_accuracy"]

    def to_dict(self) -> dict[str, object]:
        """As written in ``heldout.json``."""
        return {
            **{name: figure.to_dict() for name, figure in self.figures.items()},
            "prompts": self.prompts,
            "tied_pairs": self.ties,
            "dropped_pairs": self.encoding.dropped_pairs,
            "truncated": self.encoding.truncated,
        }

    def __str__(self) -> str:
        length = self.length_only_accuracy
        return (
            f"accuracy {self.accuracy} {self.unit} of {self.prompts} prompts, "
            f"length-only {length.value:.3f}, gap {self.figures['gap'].value:.2f}, "
            f"nll {self.figures['nll'].value:.3f}, ece {self.figures['ece'].value:.3f}, "
            "reward-length correlation "
            f"{self.figures['reward_length_correlation'].value:+.2f}; {self.encoding}"
        )


def heldout_report(
    rewards: NDArray[np.float64],
    heldout: Sequence[Example],
    train: Sequence[Example],
    encoding: EncodeReport,
) -> HeldoutReport:
    """All held-out figures.

    Args:
        rewards: Of every held-out response, in order.
        train: The training comparisons, on which the length-only baseline is fitted.
    """
    index = pair_index(heldout)
    gaps = rewards[index.chosen] - rewards[index.rejected]
    probability = index.probability.astype(np.float64)
    baseline = length_baseline(train)
    length_only_gaps = baseline.predict(index.length_difference)
    lengths = [n for e in heldout for n in e.lengths]
    response_clusters = [e.cluster for e in heldout for _ in e.lengths]
    figures = {
        "accuracy": accuracy(gaps, probability, index.cluster),
        "length_only_accuracy": accuracy(length_only_gaps, probability, index.cluster),
        "gap": cluster_mean(gaps, index.cluster),
        "nll": preference_nll(gaps, probability, index.cluster),
        "reward_length_correlation": reward_length_correlation(rewards, lengths, response_clusters),
        "ece": ece(gaps, probability, index.cluster),
    }
    return HeldoutReport(
        figures=figures,
        prompts=len(set(index.cluster.tolist())),
        ties=int((probability == 0.5).sum()),
        encoding=encoding,
        gaps=gaps,
        length_only_gaps=length_only_gaps,
        probability=probability,
    )


def length_baseline(train: Sequence[Example]) -> LengthBaseline:
    """What lengths alone say, by the training pairs.

    Without pairs, by whether a response's label (or mean rating) is above the average.
    """
    index = pair_index(train)
    if len(index.chosen):
        return LengthBaseline.fit(index.length_difference, index.probability)
    rated = [
        (length, float(np.mean(list(ratings.values()))))
        for e in train
        for length, ratings in zip(e.lengths, e.ratings or (), strict=False)
        if ratings
    ]
    lengths, goodness = np.array(rated, dtype=np.float64).reshape(-1, 2).T
    return LengthBaseline.fit(lengths - lengths.mean(), np.float64(goodness > goodness.mean()))
