"""The reward model: a transformers classifier with one output, its contract and its engine.

One forward serves training, scoring and best-of-n: packed trees in, one raw reward per response
out. Knows nothing of losses, files of preferences or training loops.

Letters: R responses of a row · D hidden width.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.configs import Pooling, Truncation
from assay.data.contract import Renderer, make_contract
from assay.data.trees import PackedTrees
from assay.errors import BackboneError
from assay.models import attention
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import (
    check_context,
    default_device,
    head_of,
    initialise_head,
    load_network,
    load_tokenizer,
    not_finite,
    resolve_backbone,
)

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class RewardModel(BackboneModel):
    """A backbone with a reward head, and the contract by which it scores.

    Attributes:
        pooled_head: The head of a pooling that no sequence classifier of transformers reads; None
            for the standard one.
    """

    def __init__(
        self,
        network: "PreTrainedModel",
        renderer: Renderer,
        *,
        backbone: str,
        engine: str = "padded",
        pooled_head: nn.Linear | None = None,
    ):
        super().__init__(network, renderer, backbone=backbone, engine=engine)
        self.pooled_head = pooled_head

    @classmethod
    def from_backbone(
        cls,
        name: str,
        *,
        max_length: int = 1024,
        truncation: Truncation = "drop",
        engine: str = "auto",
        seed: int = 0,
    ) -> "RewardModel":
        """A reward model with a fresh head on a backbone: a packaged or hub name, or a directory.

        Args:
            engine: ``auto`` probes the tree engine against the padded forward once and takes it
                where both agree.

        Raises:
            BackboneError: If the backbone is missing or of a kind that cannot be used.
            ContractError: If its tokenizer cannot end a response.
            ConfigError: If ``max_length`` is more than the backbone can read.
        """
        location = resolve_backbone(name)
        tokenizer = load_tokenizer(location)
        contract = make_contract(tokenizer, max_length=max_length, truncation=truncation)
        attention.register()
        pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
        network = load_network(location, pad_token_id=pad_id, attention="eager", seed=seed)
        check_context(network.config, max_length, name)
        initialise_head(head_of(network), seed)
        bad = not_finite(network.state_dict())
        if bad:
            raise BackboneError(
                f"{name}: weight {bad} holds NaN or infinite values; get the backbone again."
            )
        model = cls(network, Renderer(contract, tokenizer), backbone=name)
        if model.encoder:
            model.set_pooling("first")
        from assay.models.probe import choose_engine

        model.to(default_device())
        model.set_engine(choose_engine(model, engine))
        return model

    def save(self, directory: str | Path, record: Mapping[str, Any] | None = None) -> Path:
        """Write model, contract, golden conversations and manifest (see ``models.checkpoint``)."""
        from assay.models.checkpoint import save_model

        return save_model(self, directory, record)

    @classmethod
    def load(cls, directory: str | Path, *, engine: str = "auto") -> "RewardModel":
        """A saved reward model (see ``models.checkpoint``)."""
        from assay.models.checkpoint import load_model

        return load_model(directory, engine=engine)

    def set_pooling(self, pooling: Pooling | str) -> None:
        """Say which states the head reads, and make the head for it."""
        self.set_contract(pooling=pooling)
        if pooling in ("mean", "last+mean"):
            width = head_of(self.network).in_features * (2 if pooling == "last+mean" else 1)
            self.pooled_head = nn.Linear(width, 1, bias=False)
        else:
            self.pooled_head = None

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """One number a response."""
        return ()

    @property
    def is_standard(self) -> bool:
        """Whether plain transformers reads the same reward from the saved directory."""
        return self.pooled_head is None

    @property
    def head(self) -> nn.Linear:
        """The layer whose output is the reward."""
        return self.pooled_head if self.pooled_head is not None else head_of(self.network)

    @property
    def width(self) -> int:
        """How many numbers the head reads."""
        return self.head.in_features

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R"]:
        """Raw rewards of all responses of packed trees, in order, float32."""
        return self.reward_of(self.features(packed))

    def reward_of(self, features: Float[Tensor, "R D"]) -> Float[Tensor, "R"]:
        """The head's output on pooled features, in float32 whatever the backbone's precision."""
        head = self._callable_head()
        features = features.to(self.network.device)
        with torch.autocast(features.device.type, enabled=False):
            rewards: Tensor = head(features.float()).squeeze(-1).float()
        return rewards

    def _callable_head(self) -> nn.Module:
        if self.pooled_head is not None:
            return self.pooled_head
        # by attribute, not head_of(): peft wraps the head in a module that chooses the trained copy
        network: Any = self.network
        head: nn.Module
        if hasattr(network, "score"):
            head = network.score
        else:
            head = getattr(network.classifier, "out_proj", network.classifier)
        return head
