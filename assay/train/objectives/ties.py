"""Tie models: how readily annotators call a tie is one parameter, learnt or given."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from assay.errors import ConfigError
from assay.train.batch import pair_batch
from assay.train.encode import Example, pair_index
from assay.train.losses import davidson, rao_kupper
from assay.train.objectives.base import Objective, Readings
from assay.train.objectives.intervals import figure, standard_errors

TieModel = Literal["rao-kupper", "davidson"]


class Ties(Objective):
    """Rao-Kupper or Davidson, with its tie parameter (θ or ν)."""

    needs_training_rewards = True

    def __init__(self, model: TieModel, parameter: float, learnt: bool):
        log = torch.tensor(math.log(parameter)) if parameter else torch.tensor(-math.inf)
        # log θ = softplus(raw) stays positive
        raw = log + torch.log(-torch.expm1(-log)) if model == "rao-kupper" and learnt else log
        super().__init__({"tie": raw} if learnt else {})
        self.model = model
        self.given = None if learnt else float(log)

    @classmethod
    def of(cls, model: TieModel, parameter: float | None, examples: Sequence[Example]) -> "Ties":
        """With a given parameter, or one to learn that begins where equal rewards tie as often.

        Raises:
            ConfigError: If a parameter is to be learnt and no pair is a tie, or every one is.
        """
        probability = pair_index(examples).probability
        ties, pairs = int((probability == 0.5).sum()), len(probability)
        if ties == pairs:
            raise ConfigError(
                f"loss {model} needs pairs with a better side, and all {pairs:,} training pairs "
                "are ties; look at the labels."
            )
        if parameter is not None:
            return cls(model, parameter, learnt=False)
        if not ties:
            raise ConfigError(
                f"loss {model} learns how readily ties are called, and none of the {pairs:,} "
                "training pairs is a tie; use --loss bradley-terry, or give --tie-parameter."
            )
        share = ties / pairs
        at_equal_rewards = 2 * share if model == "davidson" else 1 + share
        return cls(model, at_equal_rewards / (1 - share), learnt=True)

    def log_parameter(self) -> Float[Tensor, ""]:
        """The logarithm of θ or ν."""
        if self.given is not None:
            return torch.tensor(self.given)
        raw = self.scalars["tie"]
        return softplus(raw) if self.model == "rao-kupper" else raw * 1.0

    def losses(
        self,
        rewards: Float[Tensor, "R"],
        outputs: Float[Tensor, "R E"],
        examples: Sequence[Example],
    ) -> Float[Tensor, "B"]:
        """Negative log-likelihood of chosen better, rejected better, or tie."""
        pairs = pair_batch(rewards, examples)
        loss = rao_kupper if self.model == "rao-kupper" else davidson
        parameter = self.log_parameter().to(rewards.device)
        return pairs.mean(loss(pairs.chosen, pairs.rejected, parameter, pairs.probability))

    def record(self, train: Readings | None, heldout: Readings) -> dict[str, Any]:
        """The tie parameter, and how often equal rewards would be called a tie."""
        assert train is not None
        probability = pair_index(train.examples).probability
        value = math.exp(float(self.log_parameter().detach()))
        at_equal = value / (2 + value) if self.model == "davidson" else (value - 1) / (value + 1)
        return {
            "tie_parameter": self._figure(train).to_dict(),
            "learnt": self.given is None,
            "ties": int((probability == 0.5).sum()),
            "pairs": len(probability),
            "tie_share_at_equal_rewards": at_equal,
        }

    def _figure(self, train: Readings) -> Any:
        index = pair_index(train.examples)
        log = float(self.log_parameter().detach())
        if self.given is not None:
            return figure(log, 0.0, len(index.chosen), math.exp)
        gap, q = (
            torch.from_numpy(x).double()
            for x in (
                train.rewards[index.chosen] - train.rewards[index.rejected],
                index.probability,
            )
        )
        # one copy of the parameter a pair, so that each pair's slope comes out alone
        each = torch.full_like(gap, log).requires_grad_()
        loss = rao_kupper if self.model == "rao-kupper" else davidson
        (slopes,) = torch.autograd.grad(loss(gap, torch.zeros_like(gap), each, q).sum(), each)
        (error,) = standard_errors(slopes.numpy()[:, None], np.zeros(1))
        return figure(log, float(error), len(gap), math.exp)
