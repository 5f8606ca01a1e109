"""Rewards and features from one forward: what a reward model says and the states it says it from.

Letters: R responses of a row · M members · D features.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.data.contract import Renderer
from assay.data.trees import PackedTrees
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble
from assay.models.reward_model import RewardModel
from assay.models.views import view_width


class Reading(nn.Module):
    """A part's rewards by every member, beside the features its first member's head reads."""

    def __init__(self, part: RewardModel | HeadEnsemble | TrunkEnsemble):
        super().__init__()
        self.part = part
        self.members = part.reward_shape[0] if part.reward_shape else 1
        trunk = part if isinstance(part, RewardModel) else part.trunk
        self.width = trunk.head.in_features
        if isinstance(part, HeadEnsemble):
            self.width = view_width(trunk, part.views[0])

    @property
    def renderer(self) -> Renderer:
        """The contract with its tokenizer."""
        return self.part.renderer

    @property
    def encoder(self) -> bool:
        """Whether prompts cannot be shared."""
        return self.part.encoder

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """Rewards, then features."""
        return (self.members + self.width,)

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R MD"]:
        """Rewards ``(R, M)`` and features ``(R, D)``, side by side."""
        part = self.part
        if isinstance(part, HeadEnsemble):
            states = part.features(packed).float()
            return torch.cat([states @ part.weights.T, states[:, : self.width]], dim=-1)
        if isinstance(part, TrunkEnsemble):
            return torch.cat([part(packed), part.trunk.features(packed).float()], dim=-1)
        states = part.features(packed)
        return torch.cat([part.reward_of(states)[:, None], states.float()], dim=-1)
