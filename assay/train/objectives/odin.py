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
    """Two heads on the same features; their sum explains the preferences (Chen et al. 2024).

    ``BT(Δ_Q + s Δ_L) + λ_L [ρ(Δ_Q, δ)² + 1 - ρ(Δ_L, δ)²] + λ_O |w_Q · w_L|`` with the length
    difference δ; ``r_Q`` is what remains. ``docs/theory.md`` says what differs from the paper and
    why. ``1 - ρ(Δ_L, δ)²`` is the squared error of a regression of δ, the only thing ``r_L``
    learns. ``ρ(Δ_Q, δ)²`` has the gradient ``2 ρ ∇ρ``; the ρ in front, and the spread of the gaps
    in it, are estimates that are trained along.
    """

    def __init__(self, width: int, length_scale: float, length_weight: float, orthogonality: float):
        heads = nn.Linear(width, 1, bias=False)
        with torch.no_grad():
            heads.weight.zero_()
        scalars = {
            "slope": torch.zeros(()),
            "correlation": torch.zeros(()),
            "log_spread": torch.zeros(()),
        }
        super().__init__(scalars, heads)
        self.length_scale = length_scale
        self.length_weight = length_weight
        self.orthogonality = orthogonality

    @classmethod
    def of(
        cls,
        width: int,
        examples: Sequence[Example],
        length_weight: float,
        orthogonality: float,
    ) -> "Odin":
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
        scale = float(np.sqrt(np.mean(differences**2)))
        return cls(width, scale, length_weight, orthogonality)

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R 1"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Bradley-Terry loss of the two heads' sum."""
        by_length = self.scalars["slope"] * outputs[:, 0].detach()
        both = pair_batch(rewards + by_length, examples)
        return both.mean(bradley_terry(both.chosen, both.rejected, both.probability))

    def penalty(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R 1"],
        examples: Sequence[Example],
        head: nn.Module,
    ) -> Tensor:
        """What ties one head to length, the other away from it, and their weights apart."""
        pairs = pair_batch(rewards, examples)
        length = self._lengths(pairs)
        correlation, log_spread = self.scalars["correlation"], self.scalars["log_spread"]
        product = pairs.gaps(rewards) * length / log_spread.detach().exp()
        decorrelation = 2 * correlation.detach() * product
        regression = (length - pairs.gaps(outputs[:, 0])).square() / 2
        spread = pairs.gaps(rewards).detach().square() * torch.exp(-2 * log_spread) / 2
        estimates = (correlation - product.detach()).square() / 2 + log_spread + spread
        assert self.heads is not None
        overlap = (_weight(head) * self.heads.weight).sum().abs()
        length_terms = self.length_weight * decorrelation + regression + estimates
        return pairs.mean(length_terms) + self.orthogonality * overlap

    def heldout(self, readings: Readings) -> EvaluationRow:
        """Loss of the sum, and what correlation is left in the reward, as training weighs them."""
        row = super().heldout(readings)
        left = gap_correlation(readings.rewards, pair_index(readings.examples))
        if "heldout/loss" in row and np.isfinite(left):
            row["heldout/loss"] += self.length_weight * left**2
            row["heldout/length_correlation"] = left
        return row

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """What the discarded head had to do with length, on held-out responses."""
        lengths = [n for e in heldout.examples for n in e.lengths]
        clusters = [e.cluster for e in heldout.examples for _ in e.lengths]
        figure = reward_length_correlation(heldout.outputs[:, 0], lengths, clusters)
        return {"length_head_length_correlation": figure.to_dict()}

    def _lengths(self, pairs: PairBatch) -> Float[Tensor, "P"]:
        lengths = torch.from_numpy(pairs.index.length_difference / self.length_scale)
        return lengths.to(pairs.chosen)


def _weight(head: nn.Module) -> Tensor:
    weight: Any = head.weight
    return weight  # type: ignore[no-any-return]


def gap_correlation(rewards: NDArray[np.float64], index: PairIndex) -> float:
    """Correlation of gaps with length differences, about 0; NaN where either never varies.

    ``Σ Δ Δlen / √(Σ Δ² Σ Δlen²)``: which side is called chosen makes no difference.
    """
    gaps, lengths = rewards[index.chosen] - rewards[index.rejected], index.length_difference
    spread = float(np.sqrt((gaps @ gaps) * (lengths @ lengths)))
    return float(gaps @ lengths) / spread if spread > 0 else float("nan")
