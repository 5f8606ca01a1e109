"""Ensembles that share a backbone: many heads on one, or upper layers of their own above one trunk.

Each is scored like a reward model, with one reward for every member; how these become one is not
its business. Letters: R responses of a row · M members · V views · D hidden width.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.data.contract import Renderer
from assay.data.trees import PackedTrees
from assay.errors import CheckpointError
from assay.models.backbones import layer_list
from assay.models.reward_model import RewardModel
from assay.models.views import View, kept_outputs, view_features


class _OnTrunk(nn.Module):
    """Members that read conversations as one reward model, the trunk, does."""

    def __init__(self, trunk: RewardModel):
        super().__init__()
        self.trunk = trunk

    @property
    def renderer(self) -> Renderer:
        """The contract of all members, with its tokenizer."""
        return self.trunk.renderer

    @property
    def encoder(self) -> bool:
        """Whether prompts cannot be shared."""
        return self.trunk.encoder


class HeadEnsemble(_OnTrunk):
    """Many heads on one frozen backbone: one forward, one matrix product.

    Attributes:
        trunk: A reward model, the first member by itself.
        views: What of the backbone the heads read, side by side.
        weights: One row a member over the features of all views; zero where it does not look.
    """

    weights: Tensor

    def __init__(self, trunk: RewardModel, views: Sequence[View], weights: Float[Tensor, "M VD"]):
        super().__init__(trunk)
        self.views = tuple(views)
        self.register_buffer("weights", weights.detach().float().to(trunk.network.device))

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """One reward a member."""
        return (len(self.weights),)

    def features(self, packed: PackedTrees) -> Float[Tensor, "R VD"]:
        """The states of all views, one row a response."""
        return view_features(self.trunk, packed, self.views)

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R M"]:
        """Raw rewards of every response by every member, float32."""
        return self.features(packed).float() @ self.weights.T


class TrunkEnsemble(_OnTrunk):
    """Members that share their lower layers: the trunk is run once, what is above it M times.

    The first member is ``trunk`` itself; each other one has upper layers and a head of its own.
    With L layers of which k are shared, scoring costs ``1 + (M - 1) (L - k) / L`` of one model.
    """

    def __init__(self, trunk: RewardModel, shared: int, states: Sequence[Mapping[str, Tensor]]):
        """Put further members above a trunk.

        Args:
            shared: How many layers from below are shared.
            states: The weights of each further member, as :func:`upper_state` gives them.

        Raises:
            CheckpointError: If weights do not fit the layers.
        """
        super().__init__(trunk)
        self.shared = shared
        layers = layer_list(trunk.network.base_model)
        self.uppers = nn.ModuleList(
            _with_state(nn.ModuleList([copy.deepcopy(layer) for layer in layers[shared:]]), state)
            for state in states
        )
        self.heads = nn.ModuleList(_head_of(trunk, state) for state in states)
        self.eval()

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """One reward a member."""
        return (1 + len(self.heads),)

    def forward(self, packed: PackedTrees) -> Float[Tensor, "R M"]:
        """Raw rewards of every response by every member, float32."""
        trunk = self.trunk
        layers = layer_list(trunk.network.base_model)
        with kept_outputs(layers, [self.shared]) as outputs:
            rewards = [trunk(packed)]
        for upper, head in zip(self.uppers, self.heads, strict=True):
            assert isinstance(upper, nn.ModuleList)
            with self._replaced(layers, upper, outputs[self.shared]):
                features = trunk.features(packed)
            rewards.append(head(features.float()).squeeze(-1))
        return torch.stack(rewards, dim=-1)

    def states(self) -> list[dict[str, Tensor]]:
        """The weights of each further member, as :func:`upper_state` gives them."""
        return [_state_of(upper, head) for upper, head in zip(self.uppers, self.heads, strict=True)]

    def member(self, number: int) -> RewardModel:
        """A member as a reward model of its own; 0 is the trunk."""
        model = copy.deepcopy(self.trunk)
        if number:
            state = self.states()[number - 1]
            layers = layer_list(model.network.base_model)
            _with_state(nn.ModuleList(list(layers[self.shared :])), state)
            model.head.load_state_dict(_named(state, "head."))
        return model

    @contextmanager
    def _replaced(self, layers: nn.ModuleList, upper: nn.ModuleList, output: Any) -> Iterator[None]:
        """The lower layers give what they gave before, the upper ones are a member's."""
        own = list(layers)
        try:
            for number in range(self.shared):
                layers[number] = _Replay(output)
            for number, layer in enumerate(upper, start=self.shared):
                layers[number] = layer
            yield
        finally:
            for number, layer in enumerate(own):
                layers[number] = layer


class _Replay(nn.Module):
    """Stands for a layer: returns what the last shared layer returned, whatever comes in."""

    def __init__(self, output: Any):
        super().__init__()
        self.output = output

    def forward(self, *arguments: Any, **keywords: Any) -> Any:
        return self.output

    def __getattr__(self, name: str) -> Any:
        # a model may ask a layer of its kind (attention_type) before it calls it
        if name in ("attention_type", "layer_type"):
            return "full_attention"
        return super().__getattr__(name)


def upper_state(model: RewardModel, shared: int) -> dict[str, Tensor]:
    """What a member does not share: its layers above the trunk, and its head."""
    layers = layer_list(model.network.base_model)
    return _state_of(nn.ModuleList(list(layers[shared:])), model.head)


def _state_of(upper: nn.Module, head: nn.Module) -> dict[str, Tensor]:
    named = {
        **{f"layers.{name}": tensor for name, tensor in upper.state_dict().items()},
        **{f"head.{name}": tensor for name, tensor in head.state_dict().items()},
    }
    return {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}


def _named(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The weights under a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in state.items() if n.startswith(prefix)}


def _with_state(layers: nn.ModuleList, state: Mapping[str, Tensor]) -> nn.ModuleList:
    try:
        layers.load_state_dict(_named(state, "layers."))
    except RuntimeError as error:
        reason = str(error).splitlines()[-1].strip()
        raise CheckpointError(f"A member's weights do not fit its backbone: {reason}") from error
    return layers


def _head_of(trunk: RewardModel, state: Mapping[str, Tensor]) -> nn.Linear:
    head = copy.deepcopy(trunk.head)
    head.load_state_dict(_named(state, "head."))
    return head
