"""What PPO expects before every token: a head on the policy's states, or a reward model's copy.

Letters: N response tokens of a row · D hidden width.
"""

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.data.contract import tokenizer_digest
from assay.data.trees import PackedTrees
from assay.errors import ConfigError
from assay.models.adapters import add_lora
from assay.models.policy import Policy
from assay.models.policy_reader import TokenReading
from assay.models.reward_model import RewardModel


class HeadValues(nn.Module):
    """A linear head on the states that the policy predicts from; zeros to begin with.

    The policy's own weights learn from its loss too (Ziegler et al. 2019).
    """

    def __init__(self, width: int):
        super().__init__()
        self.head = nn.Linear(width, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, packed: PackedTrees, reading: TokenReading) -> Float[Tensor, "N"]:
        """The value before every response token."""
        return self.head(reading.states.float())[:, 0]  # type: ignore[no-any-return]


class RewardModelValues(nn.Module):
    """A copy of a reward model with adapters of its own, read before every token.

    As Stiennon et al. 2020 and Ouyang et al. 2022 begin: what it says of a whole response is what
    it expects of one not finished.
    """

    def __init__(
        self,
        model: RewardModel,
        policy: Policy,
        *,
        lora_rank: int | None,
        lora_alpha: int,
        seed: int,
    ):
        """Copy the model.

        Raises:
            ConfigError: If it does not read the policy's tokens, or its head does not read the last
                token alone.
        """
        super().__init__()
        if tokenizer_digest(model.renderer.tokenizer) != tokenizer_digest(policy.tokenizer):
            raise ConfigError(
                f"{model.backbone_name} and {policy.name} have different tokenizers, so the reward "
                "model cannot begin as the value model; take value zero."
            )
        if model.encoder or model.contract.pooling != "last":
            raise ConfigError(
                f"{model.backbone_name} reads {model.contract.pooling!r} states, not there "
                "before the end; take value zero, or a reward model that reads the last token."
            )
        self.model = copy.deepcopy(model)
        self.model.requires_grad_(True)
        if lora_rank is not None:
            add_lora(self.model, rank=lora_rank, alpha=lora_alpha, seed=seed)

    def forward(self, packed: PackedTrees, reading: TokenReading) -> Float[Tensor, "N"]:
        """The value before every response token."""
        states = self.model.states(packed)
        device = states.device
        if self.model.engine == "padded":
            spans = enumerate(packed.predictor_slices())
            before = torch.cat([states[row, span] for row, span in spans])
        else:
            before = states[torch.from_numpy(np.concatenate(packed.predictor_index())).to(device)]
        return self.model.reward_of(before)


class ActorCritic(nn.Module):
    """A policy's reader and what it is valued by, as one module for the optimiser."""

    def __init__(self, reader: Any, values: nn.Module | None = None):
        super().__init__()
        self.reader = reader
        self.values = values

    def forward(
        self, packed: PackedTrees, temperature: float | None = None
    ) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"] | None]:
        """Log-probabilities of all response tokens, and the values before them."""
        reading = self.reader(packed, temperature)
        values = self.values(packed, reading) if self.values is not None else None
        return reading.logprobs, values
