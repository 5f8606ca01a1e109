"""A language model that answers: its network, its tokenizer, and how it is asked.

Loads any causal language model that transformers loads. Knows nothing of sampling.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import nn

from assay.data.contract import (
    Ids,
    apply_template,
    end_of_response,
    freeze_dates,
    plain_template,
    tokenizer_digest,
)
from assay.errors import BackboneError, ContractError
from assay.models.backbones import (
    default_device,
    load_config,
    load_tokenizer,
    longest_context,
    resolve_backbone,
    weights_digest,
)
from assay.types import Messages

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True, eq=False)
class Policy:
    """A causal language model ready to answer.

    ``template`` renders messages; it is the tokenizer's own with today's date frozen, or a plain
    one where there is none. ``end_ids`` are the tokens that end a response: those the model's
    generation config and tokenizer call EOS, and the one the template puts after a response.
    """

    network: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    template: str
    end_ids: frozenset[int]
    name: str = "policy"

    @classmethod
    def of(
        cls,
        network: "PreTrainedModel",
        tokenizer: "PreTrainedTokenizerBase",
        *,
        name: str = "policy",
    ) -> "Policy":
        """From a network and a tokenizer at hand; the network is put into evaluation mode.

        Raises:
            ContractError: If nothing ends a response: no template, EOS or separator token.
        """
        template: Any = tokenizer.chat_template
        if isinstance(template, dict):
            template = template.get("default")
        template, _ = freeze_dates(template or plain_template(tokenizer))
        return cls(
            network.eval(), tokenizer, template, _end_ids(network, tokenizer, template), name
        )

    @classmethod
    def load(cls, name: str, *, device: torch.device | None = None) -> "Policy":
        """A packaged backbone by its name, a directory or a hub name; safetensors, fp32.

        Raises:
            BackboneError: If there is none of that name, or it cannot generate.
        """
        location = resolve_backbone(name)
        network = _load_causal(location).to(device or default_device())  # type: ignore[arg-type]
        return cls.of(network, load_tokenizer(location), name=name)

    def save(self, directory: str | Path) -> Path:
        """Write a directory that ``load`` and transformers read, whole or not at all.

        Raises:
            CheckpointError: If a weight is NaN or infinite; nothing is written then.
        """
        from assay.models.checkpoint import write_run

        network: Any = self.network

        def write(staging: Path) -> None:
            network.save_pretrained(staging)
            if network.can_generate():
                network.generation_config.save_pretrained(staging)
            self.tokenizer.save_pretrained(staging)

        return write_run(Path(directory), network.state_dict(), write)

    @property
    def device(self) -> torch.device:
        """Where the network's weights are."""
        return next(self.network.parameters()).device

    @property
    def context(self) -> int | None:
        """Most tokens of prompt and response together, where the model's config says so."""
        return longest_context(self.network.config)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of what decides the samples: weights, template, tokenizer, end tokens."""
        parts = (
            weights_digest(self.network),
            self.template,
            tokenizer_digest(self.tokenizer),
            str(sorted(self.end_ids)),
        )
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def prompt_ids(self, prompt: Messages, begun: str = "", tools: Sequence[Any] = ()) -> Ids:
        """Token ids of a prompt with the response's header, and the response as far as it goes.

        Args:
            begun: The beginning of the response, to be continued.

        Raises:
            ContractError: If the template refuses the prompt.
        """
        text = apply_template(
            self.tokenizer, self.template, prompt, tools or None, generation_prompt=True
        )
        ids = self.tokenizer(text + begun, add_special_tokens=False)["input_ids"]
        return np.asarray(ids, dtype=np.int32)

    def text(self, ids: Sequence[int]) -> str:
        """Tokens as text, special tokens and all."""
        return str(
            self.tokenizer.decode(
                list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
            )
        )


def _end_ids(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", template: str
) -> frozenset[int]:
    found: set[int] = set()
    for config in (getattr(network, "generation_config", None), network.config):
        eos = getattr(config, "eos_token_id", None)
        found |= {
            int(i) for i in (eos if isinstance(eos, list | tuple) else [eos]) if i is not None
        }
    if tokenizer.eos_token_id is not None:
        found.add(int(tokenizer.eos_token_id))
    end = tokenizer(end_of_response(tokenizer, template)[0], add_special_tokens=False)["input_ids"]
    if len(end) == 1:
        found.add(int(end[0]))
    if not found:
        raise ContractError(
            "Neither the model nor its tokenizer names a token that ends a response; "
            "set eos_token_id in generation_config.json."
        )
    return frozenset(found)


def _load_causal(location: str) -> "PreTrainedModel":
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_MASKED_LM_MAPPING

    config = load_config(location)
    if type(config) in MODEL_FOR_MASKED_LM_MAPPING and not getattr(config, "is_decoder", False):
        raise BackboneError(
            f"{location} is a {config.model_type}, which reads in both directions and cannot "
            "generate; a policy is a causal language model."
        )
    try:
        loaded: Any = AutoModelForCausalLM.from_pretrained(
            location,
            config=config,
            dtype=torch.float32,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise BackboneError(f"{location} could not be loaded as a policy: {reason}") from error
    network, loading = loaded
    if missing := sorted(loading["missing_keys"]):
        raise BackboneError(
            f"{location} lacks {len(missing)} of a policy's weights, {missing[0]} for one; "
            "it is no whole causal language model."
        )
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    return network  # type: ignore[no-any-return]
