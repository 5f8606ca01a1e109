"""Tiny policies of the architectures that generation is tested on, built in memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tiny import ARCHITECTURES
from transformers import AutoConfig, AutoModelForCausalLM

from assay.models.backbones import load_tokenizer
from assay.models.policy import Policy


def tiny_policy(name: str, tokenizer_at: Path, seed: int = 0, **changes: Any) -> Policy:
    """A random causal language model with the byte tokenizer; its samples are gibberish."""
    tokenizer: Any = load_tokenizer(str(tokenizer_at))
    settings = {
        **ARCHITECTURES[name],
        "vocab_size": len(tokenizer),
        "eos_token_id": tokenizer.eos_token_id,
        "bos_token_id": tokenizer.bos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    for dropout in ("dropout", "attention_dropout", "embd_pdrop", "resid_pdrop", "attn_pdrop"):
        settings[dropout] = 0.0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = AutoConfig.for_model(name, **{**settings, **changes})
        network = AutoModelForCausalLM.from_config(config).float()
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0.0, 0.15)
    return Policy.of(network, tokenizer, name=f"tiny {name}")
