"""Tiny networks of the architectures the engine is tested on, built in memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
)

from assay.data.contract import Contract, Renderer, Tokens
from assay.data.trees import PackedTrees, build_tree, pack
from assay.models.reward_model import RewardModel

VOCABULARY = 97
_BASE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "max_position_embeddings": 128,
    "pad_token_id": 0,
}
_GROUPED = {"num_key_value_heads": 2}
_NARROW = {"head_dim": 8, "sliding_window": 8, "query_pre_attn_scalar": 8}

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": {**_BASE, **_GROUPED},
    "qwen2": {**_BASE, **_GROUPED},
    "qwen3": {**_BASE, **_GROUPED, "head_dim": 8},
    "gemma2": {**_BASE, **_GROUPED, **_NARROW, "attn_logit_softcapping": 5.0},
    "gemma3_text": {**_BASE, **_GROUPED, **_NARROW},
    "mistral": {**_BASE, **_GROUPED, "sliding_window": 8},
    "phi3": {**_BASE, **_GROUPED, "sliding_window": None},
    "gpt_neox": _BASE,
    "opt": {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "ffn_dim": 64,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "max_position_embeddings": 128,
        "word_embed_proj_dim": 32,
        "pad_token_id": 0,
    },
    "gpt2": {
        "vocab_size": VOCABULARY,
        "n_embd": 32,
        "n_layer": 3,
        "n_head": 4,
        "n_positions": 128,
        "pad_token_id": 0,
    },
    "bert": {**_BASE, "type_vocab_size": 2},
    "roberta": {**_BASE, "type_vocab_size": 1, "pad_token_id": 1},
    "distilbert": {
        "vocab_size": VOCABULARY,
        "dim": 32,
        "hidden_dim": 64,
        "n_layers": 3,
        "n_heads": 4,
        "max_position_embeddings": 128,
        "pad_token_id": 0,
    },
    "electra": {**_BASE, "embedding_size": 16, "type_vocab_size": 2},
}
"""Soft-capping is set to bite, and the sliding windows (8) are shorter than most prompts."""

ENCODERS = ("bert", "roberta", "distilbert", "electra")


def tiny_network(name: str, seed: int = 0, **changes: Any) -> Any:
    """A random network with one output, dropout off, weights so wide that differences show."""
    config = AutoConfig.for_model(
        name, **{**ARCHITECTURES.get(name, {}), "num_labels": 1, **changes}
    )
    for key in (
        "dropout",
        "hidden_dropout_prob",
        "attention_probs_dropout_prob",
        "embd_pdrop",
        "resid_pdrop",
        "attn_pdrop",
        "attention_dropout",
        "seq_classif_dropout",
        "classifier_dropout",
    ):
        if getattr(config, key, None):
            setattr(config, key, 0.0)
    torch.manual_seed(seed)
    network = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager")
    return _spread(network)


def tiny_reward_model(name: str, engine: str = "padded", **changes: Any) -> RewardModel:
    """A reward model on ``tiny_network``, with a contract but no tokenizer: it reads token ids."""
    network = tiny_network(name, **changes)
    pad = network.config.pad_token_id
    contract = Contract(
        chat_template="",
        template_source="plain",
        end_of_response="<end>",
        end_of_response_id=2,
        pad_token="<pad>",
        max_length=120,
        pooling="first" if name in ENCODERS else "last",
    )
    tokenizer = SimpleNamespace(convert_tokens_to_ids=lambda _: pad, all_special_ids=[])
    return RewardModel(network, Renderer(contract, tokenizer), backbone=name, engine=engine)


def random_pack(
    shapes: Sequence[tuple[int, Sequence[int]]], seed: int, *, share: bool
) -> PackedTrees:
    """Trees of random tokens, each of a prompt's length and its responses'."""
    generator = np.random.default_rng(seed)
    trees = []
    for prompt, rests in shapes:
        shared = generator.integers(3, VOCABULARY, prompt)
        paths = [np.concatenate([shared, generator.integers(3, VOCABULARY, r)]) for r in rests]
        tokens = [Tokens(path.astype(np.int32), prompt) for path in paths]
        trees.append(build_tree(tokens, share=share))
    return pack(trees)


def save_backbone(directory: Path, name: str, tokenizer: Any, seed: int = 0) -> Path:
    """Write a random backbone as its maker ships it: no sequence classifier, its own tokenizer."""
    changes = {
        "vocab_size": len(tokenizer),
        "pad_token_id": tokenizer.pad_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
    }
    longer = {"n_positions": 512} if name == "gpt2" else {"max_position_embeddings": 512}
    config = AutoConfig.for_model(name, **{**ARCHITECTURES[name], **changes, **longer})
    kind = AutoModel if name in ENCODERS else AutoModelForCausalLM
    torch.manual_seed(seed)
    _spread(kind.from_config(config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def _spread(network: Any) -> Any:
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0.0, 0.15)
    return network.float().eval()
