"""How far responses lie from what a reward model was trained on, in the features its head reads.

Letters: B responses · D features.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.stats.arrays import Floats
from assay.types import Conversation

FITTED_ON = 2_000
"""Most training responses that the distance is fitted on."""


class _Features:
    """A reward model's features in the place of its reward, for the scoring forward."""

    def __init__(self, model: RewardModel):
        self.model = model
        self.renderer = model.renderer
        self.encoder = model.encoder
        self.reward_shape = (model.width,)

    def __call__(self, packed: Any) -> Any:
        return self.model.features(packed)


@dataclass(frozen=True)
class FeatureDistance:
    """Mahalanobis distance from training responses, over √D: about 1 for one of their kind.

    The covariance is shrunk as Ledoit and Wolf (2004) have it; Lee et al. 2018 (arXiv 1807.03888)
    use the distance to find what a network was not trained on.
    """

    model: RewardModel
    mean: Floats  # (D,)
    precision: NDArray[np.float64]  # (D, D)

    @classmethod
    def fit(cls, model: RewardModel, conversations: Sequence[Conversation]) -> FeatureDistance:
        """From responses the model was trained on; those that are too long are left out.

        Raises:
            DataError: If fewer than ten can be read.
        """
        from sklearn.covariance import LedoitWolf

        features = _read(model, conversations[:FITTED_ON])
        known = np.isfinite(features).all(axis=1)
        if known.sum() < 10:
            raise DataError(
                f"{known.sum()} training responses fit the reward model; a distance from them "
                "wants ten or more."
            )
        fitted = LedoitWolf().fit(features[known])
        return cls(model, fitted.location_, fitted.precision_)

    def __call__(self, conversations: Sequence[Conversation]) -> Floats:
        """Distances ``(B,)``, NaN where a conversation is too long."""
        away = _read(self.model, conversations) - self.mean
        squares = np.einsum("bd,de,be->b", away, self.precision, away)
        distances: Floats = np.sqrt(squares / len(self.mean))
        return distances


def _read(model: RewardModel, conversations: Sequence[Conversation]) -> NDArray[np.float64]:
    return score_conversations(_Features(model), conversations, truncation="drop").rewards
