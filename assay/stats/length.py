"""What length alone decides, and how far rewards follow it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from assay.errors import DataError
from assay.stats.arrays import Clusters, Floats, as_pairs, codes, finite, same_length
from assay.stats.correlation import pearson, spearman
from assay.stats.intervals import cluster_bootstrap
from assay.stats.logistic import logistic_slope
from assay.types import Figure


@dataclass(frozen=True, slots=True)
class LengthBaseline:
    """What the lengths alone would decide: ``gap = weight × (chosen length - rejected length)``.

    A logistic regression of the preference on the length difference, without an intercept, so that
    swapping the sides only turns the sign. Fitted on training pairs: it finds out by itself whether
    longer or shorter is better there.
    """

    weight: float

    @classmethod
    def fit(
        cls, length_differences: ArrayLike, probability: ArrayLike | None = None
    ) -> LengthBaseline:
        """The weight of least loss on training pairs."""
        difference, q = as_pairs(length_differences, probability, "length_differences")
        if not len(difference):
            raise DataError(
                "The length-only baseline is fitted on training pairs, but there are none."
            )
        scale = float(np.sqrt(np.mean(difference**2)))
        if scale == 0:
            return cls(0.0)
        # bounded: lengths that decide every pair would send the weight to infinity
        return cls(logistic_slope(difference / scale, q, -50.0, 50.0) / scale)

    def predict(self, length_differences: ArrayLike) -> Floats:
        """Gaps that :func:`accuracy` and the others take."""
        return self.weight * finite("length_differences", length_differences)


def reward_length_correlation(
    rewards: ArrayLike,
    lengths: ArrayLike,
    clusters: Clusters,
    method: Literal["pearson", "spearman"] = "spearman",
    resamples: int = 2000,
    seed: int = 0,
) -> Figure:
    """Correlation of reward and length among the responses of the same prompt.

    Both are centred within each prompt first, so prompts that draw long answers, or high rewards,
    say nothing. Spearman's is Pearson's on the ranks of the centred values. Prompts with one
    response are left out of ``n``. ``nan`` where either does not vary.

    Args:
        clusters: The prompt of each response.
    """
    reward, length = finite("rewards", rewards), finite("lengths", lengths)
    same_length(rewards=reward, lengths=length)
    cluster = codes(clusters, len(reward))
    size = np.bincount(cluster)
    rows = np.stack(
        [x - (np.bincount(cluster, x) / size)[cluster] for x in (reward, length)], axis=1
    )
    shared = size[cluster] > 1

    correlation = spearman if method == "spearman" else pearson
    return cluster_bootstrap(rows[shared], cluster[shared], correlation, resamples, seed)
