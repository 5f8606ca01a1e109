"""Policies so small that what training should make of them is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from assay.models.policy import Policy
from assay.types import Conversation, Message, Messages, Scores

WORDS = ("yes", "no")

TEMPLATE = "{% for m in messages %}{{ m['content'] }} {% endfor %}"


def word_policy(words: Sequence[str], seed: int = 0, **changes: Any) -> Policy:
    """A random llama that says words; a token of its own, ``<end>``, ends what it says."""
    vocabulary = {word: number for number, word in enumerate(("<end>", *words))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="<end>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<end>")
    tokenizer.chat_template = TEMPLATE
    settings = {
        "vocab_size": len(vocabulary),
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "eos_token_id": 0,
        "bos_token_id": None,
        "pad_token_id": None,
        **changes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **settings))
        with torch.no_grad():
            network.get_output_embeddings().weight.normal_(0.0, 0.3)
    return Policy.of(network.float(), tokenizer, name="words")


def ask(text: str) -> Messages:
    return (Message("user", text),)


def next_word(policy: Policy, prompt: Messages) -> np.ndarray:
    """The policy's probabilities of every first token."""
    network: Any = policy.network
    ids = torch.from_numpy(policy.prompt_ids(prompt).astype(np.int64))[None]
    with torch.no_grad():
        logits = network(ids).logits[0, -1].double()
    return torch.softmax(logits, -1).numpy()


class ByText:
    """A reward that is a function of the response's text."""

    def __init__(self, reward: Callable[[str], float]):
        self.reward = reward
        self.calls = 0

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        self.calls += 1
        return Scores(np.array([float(self.reward(c.response_text)) for c in conversations]))
