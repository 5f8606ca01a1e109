"""A backbone read by its contract: packed trees in, the states that a head reads out.

What outcome and process reward models share: the network, its contract and its engine. Knows
nothing of heads, losses, files of preferences or training loops.

Letters: T tokens of a row · R responses of a row · D hidden width · N responses.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.configs import Pooling
from assay.data.contract import Contract, Ids, Renderer
from assay.data.trees import PackedTrees
from assay.errors import BackboneError, ConfigError
from assay.models import attention
from assay.models.attention import ENGINE, TreeLayout
from assay.models.backbones import ROBERTAS, is_encoder

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class BackboneModel(nn.Module):
    """A backbone with its contract and engine; what it is read for is said by a subclass's head.

    Attributes:
        network: transformers' own sequence classifier (possibly with LoRA adapters inside).
        renderer: The contract with its tokenizer.
        engine: ``tree`` (shared beginnings, padding-free) or ``padded`` (the plain forward).
    """

    adapted: Any
    """peft's view of the network while it carries LoRA adapters, else None."""

    def __init__(
        self,
        network: "PreTrainedModel",
        renderer: Renderer,
        *,
        backbone: str,
        engine: str = "padded",
    ):
        super().__init__()
        self.network = network
        self.renderer = renderer
        self.backbone_name = backbone
        object.__setattr__(self, "adapted", None)
        self.encoder = is_encoder(network)
        self.engine = ""
        self.provenance: dict[str, Any] = {"backbone": backbone}
        self.set_engine(engine)
        self.eval()

    @property
    def width(self) -> int:
        """D: how many numbers the head reads."""
        raise NotImplementedError

    @property
    def contract(self) -> Contract:
        """How a conversation becomes a number."""
        return self.renderer.contract

    def set_contract(self, **changes: Any) -> None:
        """Change fields of the contract, for instance ``max_length``."""
        from dataclasses import replace

        self.renderer = Renderer(replace(self.contract, **changes), self.renderer.tokenizer)

    @property
    def has_adapters(self) -> bool:
        """Whether LoRA adapters are on the network and not merged yet."""
        return self.adapted is not None

    @property
    def pad_token_id(self) -> int:
        """The id padding is filled with; never the end-of-response token's."""
        pad_id: Any = self.renderer.tokenizer.convert_tokens_to_ids(self.contract.pad_token)
        return int(pad_id)

    def set_engine(self, engine: str) -> None:
        """Use the ``tree`` or the ``padded`` forward.

        Raises:
            ConfigError: If the engine has another name.
        """
        if engine not in ("tree", "padded"):
            raise ConfigError(f"engine {engine!r} is unknown; use 'tree' or 'padded'.")
        if engine == self.engine:
            return
        attention.register()
        # transformers' sdpa leaves soft-capping out: such a backbone is read with its own eager one
        softcap = getattr(self.network.config.get_text_config(), "attn_logit_softcapping", None)
        plain = "eager" if softcap else "sdpa"
        try:
            self.network.set_attn_implementation(ENGINE if engine == "tree" else plain)
        except ValueError:
            self.network.set_attn_implementation("eager")
        self.engine = engine

    def features(self, packed: PackedTrees) -> Float[Tensor, "R D"]:
        """The states the head reads, one row a response (after an encoder's pooler, if any)."""
        return self.pooled(self.states(packed), packed, self.contract.pooling)

    def states(self, packed: PackedTrees) -> Float[Tensor, "*rows D"]:
        """States of all tokens: of a packed row ``(T, D)``, or padded ``(R, L, D)``."""
        return self._padded_states(packed) if self.engine == "padded" else self._tree_states(packed)

    def pooled(
        self, states: Float[Tensor, "*rows D"], packed: PackedTrees, pooling: Pooling | str
    ) -> Float[Tensor, "R P"]:
        """What a head of that pooling reads of states laid out as ``states`` lays them."""
        if self.engine == "padded":
            lengths = [len(path) for tree in packed.trees for path in tree.paths()]
            rows = range(len(lengths))
            last = states[list(rows), [n - 1 for n in lengths]]
            first = states[:, 0]
            spans = [(states[r, packed.starts[r] : n]) for r, n in zip(rows, lengths, strict=True)]
        else:
            device = states.device
            last = states[torch.from_numpy(packed.ends).to(device)]
            first = states[torch.from_numpy(packed.firsts).to(device)]
            spans = []
            if "mean" in pooling:
                spans = [
                    states[torch.from_numpy(index).to(device)] for index in packed.response_index()
                ]
        if pooling == "last":
            return last
        if pooling == "first":
            return self._encoder_features(first)
        mean = torch.stack([span.mean(0) for span in spans])
        return mean if pooling == "mean" else torch.cat([last, mean], -1)

    def _tree_states(self, packed: PackedTrees) -> Float[Tensor, "T D"]:
        device = self.network.device
        positions = torch.from_numpy(packed.position_ids).long() + self._position_offset()
        layout = TreeLayout.of(packed, causal=not self.encoder)
        # peft keeps network's own submodules in place, so this is the adapted backbone too
        output = self.network.base_model(
            input_ids=torch.from_numpy(packed.input_ids).long()[None].to(device),
            position_ids=positions[None].to(device),
            tree=layout,
            **({} if self.encoder else {"use_cache": False}),
        )
        return output.last_hidden_state[0]  # type: ignore[no-any-return]

    def _padded_states(self, packed: PackedTrees) -> Float[Tensor, "R L D"]:
        paths = [path for tree in packed.trees for path in tree.paths()]
        ids, mask = pad_right(paths, self.pad_token_id)
        device = self.network.device
        output = self.network.base_model(
            input_ids=ids.to(device),
            attention_mask=mask.to(device),
            **({} if self.encoder else {"use_cache": False}),
        )
        return output.last_hidden_state  # type: ignore[no-any-return]

    def _position_offset(self) -> int:
        # RoBERTa and its kin count positions from the pad token's id + 1
        config = self.network.config
        return int(config.pad_token_id) + 1 if config.model_type in ROBERTAS else 0

    def _encoder_features(self, first: Float[Tensor, "R D"]) -> Float[Tensor, "R D"]:
        """What the family's own classifier feeds its last layer, from the first token's state."""
        network: Any = self.network
        kind = network.config.model_type
        if kind == "bert":
            return network.bert.pooler(first[:, None])  # type: ignore[no-any-return]
        if kind == "distilbert":
            return torch.relu(network.pre_classifier(first))
        if kind in ROBERTAS or kind == "electra":
            dense = network.classifier.dense(first)
            return torch.tanh(dense) if kind in ROBERTAS else nn.functional.gelu(dense)
        raise BackboneError(
            f"How {type(network).__name__} reads its first token is not known to Assay; "
            "use pooling 'mean' in frozen mode."
        )


def pad_right(
    sequences: Sequence[Ids], pad_id: int, *, left: bool = False
) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, both ``(N, L)``, of sequences padded on the right (or left)."""
    longest = max(len(s) for s in sequences)
    ids = np.full((len(sequences), longest), pad_id, dtype=np.int64)
    mask = np.zeros((len(sequences), longest), dtype=np.int64)
    for row, sequence in enumerate(sequences):
        where = slice(longest - len(sequence), longest) if left else slice(0, len(sequence))
        ids[row, where] = sequence
        mask[row, where] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
