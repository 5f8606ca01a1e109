"""Responses labelled good or bad by themselves: cross-entropy, or KTO's utility.

Letters: R responses · B comparisons.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from assay.errors import ConfigError
from assay.train.batch import per_response
from assay.train.encode import Example
from assay.train.losses import binary, kto
from assay.train.objectives.base import Objective, Readings
from assay.types import LABEL

LabelLoss = Literal["binary", "kto"]


class Labels(Objective):
    """Labelled responses around a point: binary's threshold, or KTO's reference.

    The point is the reward that a response is compared with for want of another. binary learns it
    as its intercept; KTO's follows the mean reward of the training responses.
    """

    def __init__(self, loss: LabelLoss, good_weight: float, bad_weight: float):
        super().__init__({"point": torch.zeros(())})
        self.loss = loss
        self.weights = good_weight, bad_weight

    @classmethod
    def of(
        cls,
        loss: LabelLoss,
        examples: Sequence[Example],
        good_weight: float,
        bad_weight: float,
    ) -> "Labels":
        """For labelled training responses.

        Raises:
            ConfigError: If one has no label, or all have the same.
        """
        labels = labels_of(examples)
        missing = int(np.isnan(labels).sum())
        if missing:
            raise ConfigError(
                f"loss {loss} needs a label on every response, and {missing:,} of {len(labels):,} "
                "training responses have none; train on rows with 'completion' and 'label', or "
                "use --loss bradley-terry."
            )
        if labels.min() == labels.max():
            raise ConfigError(
                f"loss {loss} needs good and bad responses, and all {len(labels):,} training "
                f"responses are labelled {'good' if labels[0] else 'bad'}."
            )
        return cls(loss, good_weight, bad_weight)

    def takes(self, example: Example) -> bool:
        """Whether all its responses are labelled."""
        return not np.isnan(labels_of([example])).any()

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Mean loss of each comparison's responses (of one response, mostly)."""
        labels = torch.from_numpy(labels_of(examples)).to(rewards)
        point, (good, bad) = self.scalars["point"], self.weights
        if self.loss == "kto":
            losses = kto(rewards, labels, point.detach(), good, bad)
        else:
            losses = binary(rewards, labels, point) * torch.where(labels > 0.5, good, bad)
        return per_response(losses, examples)

    def penalty(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Tensor:
        """What keeps KTO's reference at the mean reward; it moves nothing else."""
        if self.loss == "binary":
            return rewards.new_zeros(())
        return per_response((rewards.detach() - self.scalars["point"]).square() / 2, examples)

    def shift_rewards(self, shift: float) -> None:
        """Move the point with the rewards."""
        with torch.no_grad():
            self.scalars["point"] += shift

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """The point."""
        name = "threshold" if self.loss == "binary" else "reference"
        return {name: float(self.scalars["point"].detach())}


def labels_of(examples: Sequence[Example]) -> NDArray[np.float64]:
    """The label of every response, laid end to end; NaN where there is none."""
    return np.array(
        [
            rated.get(LABEL, np.nan)
            for e in examples
            for rated in e.ratings or ({},) * len(e.lengths)
        ],
        dtype=np.float64,
    )
