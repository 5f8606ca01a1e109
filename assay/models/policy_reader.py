"""What a policy says of given responses: the log-probability of every token, with gradients.

Samples of a prompt share it in one packed tree, and nothing is padded; the plain padded forward
gives the same and is there to check it. Knows nothing of sampling, rewards or losses.

Letters: T tokens of a row · N response tokens of a row · D hidden width · R responses.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor, nn

from assay.data.contract import Ids, Tokens
from assay.data.trees import PackedTrees
from assay.models import attention
from assay.models.adapters import lora_network
from assay.models.attention import ENGINE, TreeLayout
from assay.models.backbone_model import pad_right
from assay.models.policy import Policy

TOLERANCE = 1e-3
"""Most that the two forwards' log-probabilities may differ by before the plain one is used."""


@dataclass(frozen=True, slots=True)
class TokenReading:
    """Of the N response tokens of a packed row, response after response.

    ``states`` are those that each token was predicted from: what a value head reads.
    """

    logprobs: Float[Tensor, "N"]
    states: Float[Tensor, "N D"]


def response_tokens(prompt: Ids, response: Ids) -> Tokens:
    """A response after its prompt, as trees are built of it."""
    return Tokens(np.concatenate([prompt, response]).astype(np.int32), len(prompt))


class PolicyReader(nn.Module):
    """A policy under training, and its reference: the same network before it.

    With LoRA the reference is the network with its adapters off; trained in full it is a frozen
    copy. Log-probabilities are those at the temperature that is sampled at.

    Attributes:
        network: The policy's own network, with adapters inside where there are any.
        engine: ``tree`` or ``padded``; ``auto`` until the first row is read.
        why: Why the padded forward is used, where it had to be.
    """

    def __init__(
        self,
        policy: Policy,
        *,
        temperature: float = 1.0,
        lora_rank: int | None = 16,
        lora_alpha: int = 32,
        seed: int = 0,
        engine: str = "auto",
        train: bool = True,
    ):
        """Make the policy's network trainable.

        Args:
            lora_rank: Of the adapters on all linear layers; None trains every weight.
            engine: ``auto`` takes the tree where it agrees with the padded forward on the first
                row that is read.
            train: False leaves the network as it is: it is its own reference.
        """
        super().__init__()
        self.network: Any = policy.network
        object.__setattr__(self, "policy", policy)
        object.__setattr__(self, "adapted", None)
        object.__setattr__(self, "_frozen", None)
        self.temperature = temperature
        self.engine = engine
        self.why = ""
        attention.register()
        self._plain = str(self.network.config._attn_implementation)
        if not train:
            object.__setattr__(self, "_frozen", self.network)
        elif lora_rank is None:
            frozen = copy.deepcopy(self.network)
            frozen.requires_grad_(False)
            object.__setattr__(self, "_frozen", frozen)
            self.network.requires_grad_(True)
        else:
            adapted = lora_network(
                self.network, rank=lora_rank, alpha=lora_alpha, seed=seed, task="CAUSAL_LM"
            )
            object.__setattr__(self, "adapted", adapted)
        self.eval()

    policy: Policy
    adapted: Any
    """peft's view of the network while it carries LoRA adapters, else None."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.policy.device

    def forward(self, packed: PackedTrees, temperature: float | None = None) -> TokenReading:
        """Log-probabilities and states of all response tokens, with gradients.

        Args:
            temperature: Default: the one that is sampled at.

        Raises:
            EngineError: If the tree engine cannot do what the network asks for.
        """
        return self._read(self.network, packed, temperature)

    @torch.no_grad()
    def reference(self, packed: PackedTrees) -> Float[Tensor, "N"]:
        """The reference policy's log-probabilities of the same tokens."""
        if self.adapted is None:
            frozen: Any = getattr(self, "_frozen")  # noqa: B009 - outside nn.Module's registry
            return self._read(frozen, packed).logprobs
        with self.adapted.disable_adapter():
            return self._read(self.network, packed).logprobs

    def check_engine(self, packed: PackedTrees) -> None:
        """Use the padded forward from now on where the tree engine does not give the same."""
        if self.engine == "padded":
            return
        self.engine = "tree"
        try:
            with torch.no_grad():
                tree = self._read(self.network, packed).logprobs
            self.engine = "padded"
            with torch.no_grad():
                plain = self._read(self.network, packed).logprobs
            difference = float((tree - plain).abs().max())
        except Exception as error:  # whatever a network's own code raises: the plain one remains
            self.engine, self.why = "padded", str(error).partition("\n")[0]
            return
        if difference <= TOLERANCE:
            self.engine = "tree"
        else:
            self.why = f"log-probabilities differ by {difference:.1e}"

    def _read(
        self, network: Any, packed: PackedTrees, temperature: float | None = None
    ) -> TokenReading:
        if self.engine == "auto":
            self.check_engine(packed)
        forward = self._tree if self.engine == "tree" else self._padded
        logits, states = forward(network, packed)
        logits = logits.float() / (temperature or self.temperature)
        taken = logits.gather(1, _response_ids(packed).to(logits.device)[:, None])[:, 0]
        return TokenReading(taken - torch.logsumexp(logits, 1), states)

    def _tree(self, network: Any, packed: PackedTrees) -> tuple[Tensor, Tensor]:
        device = self.device
        before = torch.from_numpy(np.concatenate(packed.predictor_index())).to(device)
        with _attention(network, ENGINE), _states(network) as states:
            logits = network(
                input_ids=torch.from_numpy(packed.input_ids).long()[None].to(device),
                position_ids=torch.from_numpy(packed.position_ids).long()[None].to(device),
                tree=TreeLayout.of(packed, causal=True),
                use_cache=False,
                logits_to_keep=before,
            ).logits[0]
        return logits, states[0][0]

    def _padded(self, network: Any, packed: PackedTrees) -> tuple[Tensor, Tensor]:
        device = self.device
        paths = [path for tree in packed.trees for path in tree.paths()]
        ids, mask = pad_right(paths, 0)
        with _attention(network, self._plain), _states(network) as states:
            logits = network(
                input_ids=ids.to(device), attention_mask=mask.to(device), use_cache=False
            ).logits
        rows = list(enumerate(packed.predictor_slices()))
        return (
            torch.cat([logits[r, span] for r, span in rows]),
            torch.cat([states[0][r, span] for r, span in rows]),
        )

    def trained(self) -> dict[str, nn.Parameter]:
        """What training changes, by name."""
        return {name: p for name, p in self.named_parameters() if p.requires_grad}

    def merged(self) -> Policy:
        """The policy as it is now, adapters merged into a copy of its weights (fp32)."""
        network = copy.deepcopy(self.network if self.adapted is None else self.adapted)
        if self.adapted is not None:
            network = network.merge_and_unload()
        old = self.policy
        return Policy(network.eval(), old.tokenizer, old.template, old.end_ids, old.name)


@contextmanager
def _attention(network: Any, name: str) -> Iterator[None]:
    """The network with this attention, and then with the one it had."""
    had = str(network.config._attn_implementation)
    if had == name:
        yield
        return
    network.set_attn_implementation(name)
    try:
        yield
    finally:
        network.set_attn_implementation(had)


@contextmanager
def _states(network: Any) -> Iterator[list[Tensor]]:
    """What the network's last layer reads, once its forward has run."""
    found: list[Tensor] = []

    def keep(_module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        found.append(arguments[0])

    handle = network.get_output_embeddings().register_forward_pre_hook(keep)
    try:
        yield found
    finally:
        handle.remove()


def _response_ids(packed: PackedTrees) -> Int[Tensor, "N"]:
    ids: NDArray[np.int64] = packed.input_ids.astype(np.int64)
    return torch.from_numpy(np.concatenate([ids[index] for index in packed.response_index()]))
