"""Responses rated on attributes: a head each, or quantiles of one; reduced to one reward.

Letters: R responses · A attributes · Q quantiles · B comparisons.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import softplus

from assay.errors import ConfigError
from assay.stats import estimate_mean
from assay.train.batch import pair_batch, per_response
from assay.train.encode import Example
from assay.train.losses import bradley_terry, pinball, regression
from assay.train.objectives.base import Objective, Readings
from assay.types import LABEL


@dataclass(frozen=True)
class Scale:
    """Where the ratings of an attribute lie in the training data; heads predict in these units."""

    mean: float
    spread: float
    count: int


class Attributes(Objective):
    """Regression on every attribute; the reward is a combination of their predictions.

    The combination's weights are given, or learnt as non-negative ones from the preferences by the
    Bradley-Terry loss, through which no gradient reaches the predictions.
    """

    def __init__(self, width: int, scales: dict[str, Scale], weights: Sequence[float] | None):
        learnt = {"combination": torch.full((len(scales),), _INVERSE_SOFTPLUS_OF_ONE)}
        super().__init__({} if weights else learnt, _zero_heads(width, len(scales)))
        self.scales = scales
        self.given = weights

    @classmethod
    def of(
        cls,
        width: int,
        examples: Sequence[Example],
        attributes: Sequence[str],
        weights: Sequence[float],
    ) -> "Attributes":
        """For the attributes named, or for all there are.

        Raises:
            ConfigError: If one is missing or never varies, or weights are to be learnt without
                preferences.
        """
        scales = scales_of(examples, attributes)
        if weights and len(weights) != len(scales):
            raise ConfigError(
                f"attribute_weights has {len(weights)} numbers for {len(scales)} attributes "
                f"({', '.join(scales)}); give one each, in this order."
            )
        if not weights and not any(e.preferences for e in examples):
            raise ConfigError(
                "loss regression learns how attributes make a reward from prompts with two or more "
                "rated responses, and the training data has none; give --attribute-weights."
            )
        return cls(width, scales, tuple(weights) or None)

    def takes(self, example: Example) -> bool:
        """Whether any response is rated."""
        return bool(example.ratings) and any(
            name in rated for rated in example.ratings or () for name in self.scales
        )

    def combination(self) -> Float[Tensor, "A"]:
        """Weights of the standardised predictions."""
        if self.given is None:
            return softplus(self.scalars["combination"])
        assert self.heads is not None
        spreads = [scale.spread for scale in self.scales.values()]
        return self.heads.weight.new_tensor(np.multiply(self.given, spreads).tolist())

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R A"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Squared error of standardised ratings, and what preferences say of the weights."""
        ratings = torch.from_numpy(ratings_of(examples, self.scales)).to(outputs)
        losses = per_response(regression(outputs, ratings, ~ratings.isnan()), examples)
        if self.given is not None:
            return losses
        pairs = pair_batch(rewards, examples)
        return losses + pairs.mean(bradley_terry(pairs.chosen, pairs.rejected, pairs.probability))

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """Each attribute's weight, its training ratings, and the held-out error."""
        ratings = ratings_of(heldout.examples, self.scales)
        clusters = np.repeat(
            [e.cluster for e in heldout.examples], [len(e.lengths) for e in heldout.examples]
        )
        combination = self.combination().detach().cpu().numpy()
        attributes = {}
        for at, (name, scale) in enumerate(self.scales.items()):
            there = ~np.isnan(ratings[:, at])
            error = (heldout.outputs[there, at] - ratings[there, at]) ** 2
            attributes[name] = {
                "weight": float(combination[at]) / scale.spread,
                "weight_per_standard_deviation": float(combination[at]),
                "mean": scale.mean,
                "standard_deviation": scale.spread,
                "training_ratings": scale.count,
                # of 1, the variance of the training ratings
                "heldout_squared_error": estimate_mean(error, clusters[there]).figure().to_dict(),
            }
        return {"learnt": self.given is None, "attributes": attributes}


class Quantiles(Objective):
    """Quantiles of one attribute's rating; the reward is the mean of the lower ones, or of all."""

    def __init__(
        self, width: int, attribute: str, scale: Scale, quantiles: Sequence[float], tail: float
    ):
        super().__init__({}, _zero_heads(width, len(quantiles)))
        self.attribute = attribute
        self.scales = {attribute: scale}
        self.quantiles = tuple(quantiles)
        self.tail = tail

    @classmethod
    def of(
        cls,
        width: int,
        examples: Sequence[Example],
        attributes: Sequence[str],
        quantiles: Sequence[float],
        tail: float,
    ) -> "Quantiles":
        """For the attribute named, or the only one there is.

        Raises:
            ConfigError: If it is missing, never varies, or is one of several.
        """
        scales = scales_of(examples, attributes)
        if len(scales) > 1:
            raise ConfigError(
                f"loss quantile takes one attribute, and there are {', '.join(scales)}; "
                "name one with --attributes."
            )
        ((name, scale),) = scales.items()
        return cls(width, name, scale, quantiles, tail)

    def takes(self, example: Example) -> bool:
        """Whether any response is rated."""
        return any(self.attribute in rated for rated in example.ratings or ())

    def combination(self) -> Float[Tensor, "Q"]:
        """Equal weights on the quantiles up to the tail, in units of the rating."""
        assert self.heads is not None
        used = [float(tau <= self.tail + 1e-9) for tau in self.quantiles]
        spread = self.scales[self.attribute].spread
        return self.heads.weight.new_tensor([spread * u / sum(used) for u in used])

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R Q"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Pinball loss of the standardised rating, averaged over rated responses."""
        rating = torch.from_numpy(ratings_of(examples, self.scales)[:, 0]).to(outputs)
        losses = pinball(outputs, rating.nan_to_num(), outputs.new_tensor(self.quantiles))
        there = (~rating.isnan()).to(losses)
        share = per_response(there, examples)
        return per_response(losses * there, examples) / share.clamp(min=1e-12)

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """The quantiles, and how often held-out ratings lie below each."""
        rating = ratings_of(heldout.examples, self.scales)[:, 0]
        clusters = np.repeat(
            [e.cluster for e in heldout.examples], [len(e.lengths) for e in heldout.examples]
        )
        there = ~np.isnan(rating)
        below = (rating[:, None] <= heldout.outputs)[there].astype(np.float64)
        scale = self.scales[self.attribute]
        return {
            "attribute": self.attribute,
            "mean": scale.mean,
            "standard_deviation": scale.spread,
            "training_ratings": scale.count,
            "tail": self.tail,
            "share_of_heldout_ratings_below": {
                f"{tau:g}": estimate_mean(below[:, at], clusters[there])
                .figure(bounds=(0.0, 1.0))
                .to_dict()
                for at, tau in enumerate(self.quantiles)
            },
        }


def scales_of(examples: Sequence[Example], wanted: Sequence[str]) -> dict[str, Scale]:
    """The attributes of training ratings and where they lie; all, in order, where none is named.

    Raises:
        ConfigError: If there are no ratings, a named attribute is missing, or one never varies.
    """
    found = {name: None for e in examples for rated in e.ratings or () for name in rated}
    found.pop(LABEL, None)
    names = list(wanted) or list(found)
    if not found:
        raise ConfigError(
            "the training data holds no ratings; a loss on ratings takes HelpSteer or "
            "UltraFeedback rows, or comparisons with 'ratings'."
        )
    missing = [name for name in names if name not in found]
    if missing:
        raise ConfigError(
            f"attribute '{missing[0]}' is in no training rating; there are {', '.join(found)}."
        )
    scales = {}
    for name in names:
        values = [rated[name] for e in examples for rated in e.ratings or () if name in rated]
        spread = float(np.std(values))
        if spread == 0:
            raise ConfigError(
                f"attribute '{name}' is {values[0]:g} in all {len(values):,} training ratings, so "
                "there is nothing to learn; leave it out with --attributes."
            )
        scales[name] = Scale(float(np.mean(values)), spread, len(values))
    return scales


def ratings_of(examples: Sequence[Example], scales: dict[str, Scale]) -> NDArray[np.float64]:
    """Standardised ratings ``(R, A)`` of all responses, laid end to end; NaN where not rated."""
    return np.array(
        [
            [
                (rated.get(name, np.nan) - scale.mean) / scale.spread
                for name, scale in scales.items()
            ]
            for e in examples
            for rated in e.ratings or ({},) * len(e.lengths)
        ],
        dtype=np.float64,
    )


_INVERSE_SOFTPLUS_OF_ONE = float(np.log(np.e - 1))


def _zero_heads(width: int, count: int) -> nn.Linear:
    heads = nn.Linear(width, count)
    with torch.no_grad():
        heads.weight.zero_()
        heads.bias.zero_()
    return heads
