"""Samples of a policy, in batches: the same text whatever a sample is batched with.

Each prompt is read once for all its samples; rows that have ended leave the batch. Padding is on
the left, with explicit positions and mask.

Letters: B rows · T tokens of a response · V vocabulary.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.data.contract import Ids
from assay.errors import ConfigError, DataError
from assay.models.caches import growing_cache
from assay.models.policy import Policy
from assay.models.sampling import choose, uniforms
from assay.progress import Report
from assay.types import Messages

Finish = Literal["eos", "stop", "length"]


@dataclass(frozen=True, slots=True)
class Generation:
    """One sampled response.

    ``text`` lacks the token that ended it, ``ids`` and ``logprobs`` have it. Where a stop string
    ended it, the tokens are those the kept text needs; the last of them may reach into the stop
    string.
    """

    text: str
    ids: Ids  # (T,)
    logprobs: NDArray[np.float32]  # (T,)
    finish: Finish

    @property
    def ended(self) -> bool:
        """Whether it ended by itself or at a stop string, not for want of room."""
        return self.finish != "length"


@dataclass(frozen=True, slots=True)
class _Sampling:
    temperature: float
    top_p: float
    stop: tuple[str, ...]
    keep_stop: bool


@dataclass(slots=True)
class _Row:
    """A response in the making."""

    prompt: int
    sample: int
    uniforms: NDArray[np.float64]
    ids: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)
    finish: Finish | None = None

    @property
    def room(self) -> int:
        return len(self.uniforms)


def generate(
    policy: Policy,
    prompts: Sequence[Ids | Messages],
    *,
    samples: int = 1,
    max_new_tokens: int,
    temperature: float = 1.0,
    top_p: float = 1.0,
    stop: Sequence[str] = (),
    keep_stop: bool = False,
    seed: int = 0,
    streams: Sequence[int] | None = None,
    batch_size: int = 16,
    progress: Report | None = None,
) -> list[list[Generation]]:
    """Sampled responses: a list of ``samples`` for each prompt, in order.

    A response ends at an end token of the policy, at a stop string, after ``max_new_tokens``, or
    where the model's context is full (``finish`` says which; the last two are ``length``).

    Args:
        prompts: Messages, or token ids: those of a response begun are continued.
        temperature: 0 takes the likeliest token each time.
        stop: The response ends before the first of these strings.
        keep_stop: Keep the stop string as the end of the text.
        streams: A number for each prompt in place of its place in the list: with ``seed`` and the
            number of the sample it decides what is drawn, so a prompt of the same number gets the
            same samples in any list.
        batch_size: Most responses in the making at a time.

    Raises:
        ConfigError: If a setting cannot work.
        DataError: If a prompt is empty or leaves no room in the model's context.
    """
    _check(samples, max_new_tokens, temperature, top_p, stop, batch_size)
    if streams is not None and len(streams) != len(prompts):
        raise ConfigError(
            f"{len(streams)} streams were given for {len(prompts)} prompts; give one a prompt."
        )
    ids = [policy.prompt_ids(p) if isinstance(p, tuple) else p for p in prompts]
    rows = [
        _Row(i, k, uniforms(seed, streams[i] if streams is not None else i, k, room))
        for i, room in enumerate(_rooms(policy, ids, max_new_tokens))
        for k in range(samples)
    ]
    sampling = _Sampling(temperature, top_p, tuple(stop), keep_stop)
    found: list[list[Generation | None]] = [[None] * samples for _ in prompts]
    done = 0
    for batch in _batches(rows, ids, batch_size):
        for row in _run(policy, ids, batch, sampling):
            generation = _finished(policy, row, sampling)
            found[row.prompt][row.sample] = generation
            done += 1
            if progress:
                progress("generating", done, len(rows), len(generation.ids))
    return [[g for g in group if g is not None] for group in found]


def _check(
    samples: int,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    stop: Sequence[str],
    batch_size: int,
) -> None:
    for name, value in (
        ("samples", samples),
        ("max_new_tokens", max_new_tokens),
        ("batch_size", batch_size),
    ):
        if value < 1:
            raise ConfigError(f"{name} is {value}; wanted 1 or more.")
    if not 0 <= temperature < float("inf"):
        raise ConfigError(f"temperature is {temperature}; wanted 0 (greedy) or more.")
    if not 0 < top_p <= 1:
        raise ConfigError(f"top_p is {top_p}; wanted more than 0 and at most 1.")
    if isinstance(stop, str) or not all(stop):
        raise ConfigError(f"stop is {stop!r}; wanted a list of strings that are not empty.")


def _rooms(policy: Policy, ids: Sequence[Ids], max_new_tokens: int) -> Iterator[int]:
    """How many tokens each response may have."""
    limit = policy.context
    for number, prompt in enumerate(ids, start=1):
        if not len(prompt):
            raise DataError(f"Prompt {number} has no tokens; a response needs something to follow.")
        room = max_new_tokens if limit is None else min(max_new_tokens, limit - len(prompt))
        if room < 1:
            raise DataError(
                f"Prompt {number} has {len(prompt):,} tokens and {policy.name} can read "
                f"{limit:,}, so there is no room for a response; shorten it."
            )
        yield room


def _batches(rows: Sequence[_Row], ids: Sequence[Ids], size: int) -> Iterator[list[_Row]]:
    """Rows of prompts of like lengths together, so that little is padded."""
    ordered = sorted(rows, key=lambda row: (len(ids[row.prompt]), row.prompt, row.sample))
    for start in range(0, len(ordered), size):
        yield ordered[start : start + size]


@torch.inference_mode()
def _run(
    policy: Policy, ids: Sequence[Ids], rows: list[_Row], sampling: _Sampling
) -> Iterator[_Row]:
    """The batch's rows, each as it ends."""
    cache, logits, mask = _read_prompts(policy, ids, rows)
    for step in range(max(row.room for row in rows)):
        drawn = torch.tensor([row.uniforms[step] for row in rows], device=policy.device)
        tokens, logprobs = choose(logits, drawn, sampling.temperature, sampling.top_p)
        for row, token, logprob in zip(rows, tokens.tolist(), logprobs.tolist(), strict=True):
            row.ids.append(token)
            row.logprobs.append(logprob)
            row.finish = _finish(policy, row, sampling)
        yield from (row for row in rows if row.finish)
        keep = [i for i, row in enumerate(rows) if not row.finish]
        if not keep:
            return
        if len(keep) < len(rows):
            rows = [rows[i] for i in keep]
            index = torch.tensor(keep, device=policy.device)
            cache.reorder_cache(index)
            mask, tokens = mask[index], tokens[index]
        mask = torch.cat([mask, mask.new_ones(len(rows), 1)], dim=1)
        logits = _forward(policy, tokens[:, None], mask, cache)


def _read_prompts(
    policy: Policy, ids: Sequence[Ids], rows: Sequence[_Row]
) -> tuple[Any, Tensor, Tensor]:
    """Cache, logits and mask of each row after its prompt; equal prompts are read once."""
    distinct = list(dict.fromkeys(ids[row.prompt].tobytes() for row in rows))
    place = {key: number for number, key in enumerate(distinct)}
    prompts = [torch.from_numpy(np.frombuffer(key, np.int32).astype(np.int64)) for key in distinct]
    longest = max(len(p) for p in prompts)
    tokens = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for number, prompt in enumerate(prompts):
        tokens[number, longest - len(prompt) :] = prompt
        mask[number, longest - len(prompt) :] = 1
    mask = mask.to(policy.device)
    cache: Any = growing_cache(policy.network.config)
    logits = _forward(policy, tokens.to(policy.device), mask, cache)
    index = torch.tensor([place[ids[row.prompt].tobytes()] for row in rows], device=policy.device)
    cache.reorder_cache(index)
    return cache, logits[index], mask[index]


def _forward(policy: Policy, tokens: Tensor, mask: Tensor, cache: Any) -> Tensor:
    """Logits after the last token, ``(B, V)``; positions count from a row's first real token."""
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -tokens.shape[1] :]
    network: Any = policy.network
    out = network(
        input_ids=tokens,
        attention_mask=mask,
        position_ids=positions,
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    logits: Tensor = out.logits[:, -1]
    return logits


def _finish(policy: Policy, row: _Row, sampling: _Sampling) -> Finish | None:
    if row.ids[-1] in policy.end_ids:
        return "eos"
    if sampling.stop:
        # a stop string of c characters ends in the last token and has at most 4 c bytes, and a
        # byte is at most a token: what was before cannot matter
        tail = 4 * max(map(len, sampling.stop)) + 4
        if any(s in policy.text(row.ids[-tail:]) for s in sampling.stop):
            return "stop"
    return "length" if len(row.ids) == row.room else None


def _finished(policy: Policy, row: _Row, sampling: _Sampling) -> Generation:
    kept = len(row.ids)
    text = policy.text(row.ids[:-1] if row.finish == "eos" else row.ids)
    if row.finish == "stop":
        text = _cut(text, sampling)
        while kept and policy.text(row.ids[: kept - 1]).startswith(text):
            kept -= 1
    assert row.finish is not None
    return Generation(
        text,
        np.array(row.ids[:kept], dtype=np.int32),
        np.array(row.logprobs[:kept], dtype=np.float32),
        row.finish,
    )


def _cut(text: str, sampling: _Sampling) -> str:
    """The text before its first stop string, or up to that string's end."""
    ends = [(at, s) for s in sampling.stop if (at := text.find(s)) >= 0]
    if not ends:
        return text
    at, found = min(ends, key=lambda end: (end[0], -len(end[1])))
    return text[: at + len(found)] if sampling.keep_stop else text[:at]
