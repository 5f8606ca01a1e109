"""ODIN: a second head takes what length explains of the preferences, and is thrown away.

Letters: R responses · B comparisons · P preferences.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.errors import ConfigError
from assay.stats import reward_length_correlation
from assay.train.batch import PairBatch, pair_batch
from assay.train.encode import Example, PairIndex, pair_index
from assay.train.losses import bradley_terry
from assay.train.objectives.base import Objective, Readings
from assay.train.resume import EvaluationRow


class Odin(Objective):
    """Two heads on the same features whose sum explains the preferences (Chen et al. 2024).

    ``BT(Δ_Q + s Δ_L) + λ (Δ_L - δ)² / 2`` with the length difference δ; ``r_Q`` is the reward. The
    length head learns length alone. The preferences see only the sum, so that keeping ``Δ_Q`` and δ
    uncorrelated decides nothing but the split, and s is found instead of trained for: the reward
    head is ``r_Q + s r_L``, and s is what leaves ``E[Δ_Q δ] = 0``. It is followed during training
    and computed over all training pairs at the end. ``docs/theory.md`` compares the paper.
    """

    keeps_head = True
    needs_training_rewards = True

    def __init__(self, width: int, length_scale: float, length_weight: float):
        heads = nn.Linear(width, 1, bias=False)
        with torch.no_grad():
            heads.weight.zero_()
        super().__init__({"slope": torch.zeros(())}, heads)
        self.length_scale = length_scale
        self.length_weight = length_weight

    @classmethod
    def of(cls, width: int, examples: Sequence[Example], length_weight: float) -> "Odin":
        """For the lengths of training comparisons.

        Raises:
            ConfigError: If both sides of every pair are equally long.
        """
        differences = pair_index(examples).length_difference
        if not differences.any():
            raise ConfigError(
                f"loss odin takes length out of the reward, and both sides of all "
                f"{len(differences):,} training pairs are equally long; use --loss bradley-terry."
            )
        return cls(width, float(np.sqrt(np.mean(differences**2))), length_weight)

    def combination(self) -> Float[Tensor, "1"]:
        """What the length head adds to the reward head."""
        slope: Tensor = self.scalars["slope"]
        return -slope.detach()[None]

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R 1"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Bradley-Terry loss of the two heads' sum."""
        both = pair_batch(rewards - self.combination() * outputs[:, 0].detach(), examples)
        return both.mean(bradley_terry(both.chosen, both.rejected, both.probability))

    def penalty(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R 1"],
        examples: Sequence[Example],
    ) -> Tensor:
        """What ties one head to length, and moves the slope until the other is free of it."""
        pairs = pair_batch(rewards, examples)
        lengths = self._lengths(pairs)
        regression = (pairs.gaps(outputs[:, 0]) - lengths).square() / 2
        # a slope of the loss that is 0 where gaps and lengths are uncorrelated; it moves s alone
        follow = -self.scalars["slope"] * (pairs.gaps(rewards) * lengths).detach()
        return pairs.mean(self.length_weight * regression + follow)

    def finish(self, train: Readings) -> None:
        """Set the slope so that gaps and lengths of the training pairs are uncorrelated."""
        index = pair_index(train.examples)
        gaps, by_length = (
            values[index.chosen] - values[index.rejected]
            for values in (train.rewards, train.outputs[:, 0])
        )
        explained = float(by_length @ index.length_difference)
        if explained > 0:
            with torch.no_grad():
                self.scalars["slope"] += float(gaps @ index.length_difference) / explained

    def heldout(self, readings: Readings) -> EvaluationRow:
        """Loss of the sum, and the correlation with length that is left in the reward."""
        left = gap_correlation(readings.rewards, pair_index(readings.examples))
        row = super().heldout(readings)
        return {**row, "heldout/length_correlation": left} if np.isfinite(left) else row

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """What the discarded head had to do with length, on held-out responses."""
        lengths = [n for e in heldout.examples for n in e.lengths]
        clusters = [e.cluster for e in heldout.examples for _ in e.lengths]
        figure = reward_length_correlation(heldout.outputs[:, 0], lengths, clusters)
        return {
            "length_head_length_correlation": figure.to_dict(),
            "slope": float(self.scalars["slope"].detach()),
        }

    def _lengths(self, pairs: PairBatch) -> Float[Tensor, "P"]:
        lengths = torch.from_numpy(pairs.index.length_difference / self.length_scale)
        return lengths.to(pairs.chosen)


def gap_correlation(rewards: NDArray[np.float64], index: PairIndex) -> float:
    """Correlation of gaps with length differences, about 0; NaN where either never varies.

    ``Σ Δ δ / √(Σ Δ² Σ δ²)``: which side is called chosen makes no difference.
    """
    gaps, lengths = rewards[index.chosen] - rewards[index.rejected], index.length_difference
    spread = float(np.sqrt((gaps @ gaps) * (lengths @ lengths)))
    return float(gaps @ lengths) / spread if spread > 0 else float("nan")
