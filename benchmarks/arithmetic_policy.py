"""A small language model that works out chains of arithmetic, trained from scratch.

A Llama that reads characters. It is trained on chains of somebody with given habits, and goes wrong
as they do. Saved as a plain directory, which policies and reward models load as any backbone.

Letters: B chains · T tokens · S steps of a chain.
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from arithmetic import LETTERS, Habits, Problem, draw_problems, next_step, spoiled
from torch import Tensor, nn

CHARACTERS = f"0123456789{LETTERS}+-*=\n"
PAD, END, UNKNOWN = "<pad>", "<end>", "<unk>"
TEMPLATE = (
    "{% for message in messages %}{{ message['content'] }}"
    "{{ '<end>' if message['role'] == 'assistant' else '\\n' }}{% endfor %}"
)
MAX_LENGTH = 128
MAX_RESPONSE = 96
IGNORED = -100


def new_tokenizer() -> Any:
    """A token for each character; a prompt ends in a new line, a response in a token of its own."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = (PAD, END, UNKNOWN, *CHARACTERS)
    core = Tokenizer(models.WordLevel({t: i for i, t in enumerate(tokens)}, unk_token=UNKNOWN))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=PAD, eos_token=END, unk_token=UNKNOWN
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def new_network(tokenizer: Any, width: int, layers: int, seed: int) -> Any:
    """A Llama with random weights."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=MAX_LENGTH,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def pretrain(
    network: Any,
    tokenizer: Any,
    habits: Habits,
    *,
    steps: int,
    batch_size: int,
    lr: float,
    lengths: tuple[int, int],
    seed: int,
    spoil: float = 0.0,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Next-token cross-entropy on responses, AdamW, linear warm-up and cosine to 0; in place.

    Args:
        habits: Of whoever writes the chains.
        spoil: Share of the results that are replaced by any value. They are not learnt, but what
            those with these habits write after them is.
        on_step: Called with the number of the step just done and its loss.
    """
    rng = np.random.default_rng([seed, steps])
    batches = _batches(tokenizer, habits, steps, batch_size, lengths, rng, spoil)
    train_on(network, batches, steps=steps, lr=lr, on_step=on_step)


def train_on(
    network: Any,
    batches: Iterable[tuple[Tensor, Tensor]],
    *,
    steps: int,
    lr: float,
    on_step: Callable[[int, float], None] = lambda step, loss: None,
) -> None:
    """Next-token cross-entropy on so many batches of tokens and targets, ``(B, T)``; in place."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=lr, weight_decay=0.01)
    warmup = max(1, steps // 20)
    network.train()
    for step, (tokens, targets) in enumerate(batches):
        done = (step - warmup) / max(1, steps - warmup)
        rate = (step + 1) / warmup if step < warmup else 0.5 * (1 + math.cos(math.pi * done))
        for group in optimiser.param_groups:
            group["lr"] = lr * rate
        logits = network(input_ids=tokens, use_cache=False).logits[:, :-1]  # (B, T - 1, V)
        loss = nn.functional.cross_entropy(
            logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=IGNORED
        )
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimiser.step()
        on_step(step + 1, float(loss.detach()))
    network.eval()


def _batches(
    tokenizer: Any,
    habits: Habits,
    count: int,
    size: int,
    lengths: tuple[int, int],
    rng: np.random.Generator,
    spoil: float,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Tokens and targets ``(B, T)``; the chains of a batch have as many steps, for little padding.

    Padding is on the right, where causal attention does not see it.
    """
    pad = tokenizer.pad_token_id
    for _ in range(count):
        steps = int(rng.integers(lengths[0], lengths[1] + 1))
        rows = [
            _row(tokenizer, problem, habits, rng, spoil)
            for problem in draw_problems(size, rng, (steps, steps))
        ]
        longest = max(len(ids) for ids, _ in rows)
        tokens = torch.full((size, longest), pad)
        targets = torch.full((size, longest), IGNORED)
        for place, (ids, learnt) in enumerate(rows):
            tokens[place, : len(ids)] = torch.tensor(ids)
            targets[place, : len(ids)] = torch.tensor(learnt)
        yield tokens, targets


def _row(
    tokenizer: Any, problem: Problem, habits: Habits, rng: np.random.Generator, spoil: float
) -> tuple[list[int], list[int]]:
    """A problem with a chain as tokens, and the same with what is not learnt left out."""
    vocabulary = tokenizer.get_vocab()
    ids = [vocabulary[c] for c in f"{problem.text}\n"]
    learnt = [IGNORED] * len(ids)
    steps: list[str] = []
    for place in range(len(problem.operations)):
        step, kept = next_step(problem, steps, habits, rng), None
        if rng.random() < spoil:
            step = spoiled(step, rng)
            kept = step.index("=") + 1
        steps.append(step)
        is_last = place == len(problem.operations) - 1
        end = tokenizer.eos_token_id if is_last else vocabulary["\n"]
        written = [vocabulary[c] for c in step]
        ids += [*written, end]
        learnt += [*written[:kept], *[IGNORED] * len(written[kept:] if kept else ()), end]
    return ids, learnt


def save(network: Any, tokenizer: Any, directory: Path) -> None:
    """Write a policy's directory, whole or not at all."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory.parent, prefix=f".{directory.name}-") as name:
        staging = Path(name) / directory.name
        network.save_pretrained(staging)
        tokenizer.save_pretrained(staging)
        staging.rename(directory)
