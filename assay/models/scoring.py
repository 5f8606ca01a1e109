"""The scoring forward: conversations in, raw rewards out, in order, whatever the batching.

Conversations with the same prompt share it; rows are filled to a token budget. Training's
evaluation, golden conversations, ``Scorer``, best-of-n and the server all score through
``score_conversations``.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from assay.configs import TOKEN_BUDGET, Truncation
from assay.data.contract import Renderer, Tokens, common_prefix
from assay.data.trees import PackedTrees, Tree, build_tree, fill, pack
from assay.errors import ContractError
from assay.types import Conversation

WINDOW = 512
"""Conversations tokenised and packed at a time, so that memory does not grow with the input."""


@runtime_checkable
class Rewarding(Protocol):
    """What rewards packed trees: a reward model, or an ensemble on one backbone."""

    @property
    def renderer(self) -> Renderer:
        """The contract with its tokenizer."""
        ...

    @property
    def encoder(self) -> bool:
        """Whether prompts cannot be shared."""
        ...

    @property
    def reward_shape(self) -> tuple[int, ...]:
        """``()``, or ``(M,)`` of an ensemble."""
        ...

    def __call__(self, packed: PackedTrees) -> Tensor:
        """Raw rewards of all responses, in order: ``(R,)`` or ``(R, M)``."""
        ...


@dataclass(frozen=True, slots=True)
class Scored:
    """Rewards in the order given (NaN where one was dropped) and what the truncation policy did."""

    rewards: NDArray[np.float64]  # (B,), of an ensemble (B, M)
    dropped: int
    truncated: int


def score_conversations(
    model: Rewarding,
    conversations: Sequence[Conversation],
    *,
    token_budget: int = TOKEN_BUDGET,
    truncation: Truncation = "error",
    progress: Callable[[int], None] | None = None,
) -> Scored:
    """Raw rewards of conversations.

    Args:
        token_budget: Most tokens in one forward pass; a longer single conversation goes alone.
        truncation: What to do with conversations over the contract's ``max_length``.
        progress: Called with the number of conversations just scored.

    Raises:
        ContractError: If a conversation cannot be tokenised, or is too long and the policy is
            ``error``.
    """
    rewards = np.full((len(conversations), *model.reward_shape), np.nan)
    truncated = 0
    for start in range(0, len(conversations), WINDOW):
        window = conversations[start : start + WINDOW]
        try:
            whole = model.renderer.tokenise(window)
        except ContractError as error:
            raise _locate(model, window, start, error) from error
        tokens = []
        for number, t in enumerate(whole):
            try:
                tokens.append(model.renderer.fit(t, truncation))
            except ContractError as error:
                raise ContractError(f"Conversation {start + number + 1}: {error}") from error
        truncated += sum(1 for t in tokens if t is not None and t.truncated)
        keep = [i for i, t in enumerate(tokens) if t is not None]
        for indexes, values in forward_groups(model, [tokens[i] for i in keep], token_budget):  # type: ignore[misc]
            rewards[[start + keep[i] for i in indexes]] = values
            if progress:
                progress(len(indexes))
    dropped = np.isnan(rewards).any(axis=tuple(range(1, rewards.ndim)))
    return Scored(rewards, int(dropped.sum()), truncated)


def _locate(
    model: Rewarding, window: Sequence[Conversation], start: int, error: ContractError
) -> ContractError:
    """The same error with the number of the conversation that caused it."""
    for number, conversation in enumerate(window):
        try:
            model.renderer.tokenise([conversation])
        except ContractError as found:
            return ContractError(f"Conversation {start + number + 1}: {found}")
    return error


def forward_groups(
    model: Rewarding, tokens: Sequence[Tokens], token_budget: int
) -> Iterator[tuple[list[int], NDArray[np.float64]]]:
    """Indexes and rewards, one forward pass at a time, no gradients."""
    for indexes, packed in pack_groups(tokens, token_budget, share=not model.encoder):
        with torch.inference_mode():
            rewards = model(packed)
        yield indexes, rewards.double().cpu().numpy()


def pack_groups(
    tokens: Sequence[Tokens],
    token_budget: int,
    *,
    share: bool,
    groups: Sequence[list[int]] | None = None,
) -> Iterator[tuple[list[int], PackedTrees]]:
    """Packed rows within a token budget, each with its conversations' indexes in row order.

    Args:
        groups: Indexes of conversations that may share a beginning. Default: of the same prompt.
    """
    members: list[list[int]] = []
    trees: list[Tree] = []
    for group in prompt_groups(tokens) if groups is None else groups:
        for part in within_budget(group, tokens, token_budget):
            members.append(part)
            trees.append(build_tree([tokens[i] for i in part], share=share))
    for row in fill([tree.num_tokens for tree in trees], token_budget):
        yield [i for t in row for i in members[t]], pack([trees[t] for t in row])


def prompt_groups(tokens: Sequence[Tokens]) -> list[list[int]]:
    """Indexes of conversations that have the same prompt tokens, in order of first appearance."""
    groups: dict[bytes, list[int]] = {}
    for index, t in enumerate(tokens):
        groups.setdefault(t.ids[: t.response_start].tobytes(), []).append(index)
    return list(groups.values())


def within_budget(group: list[int], tokens: Sequence[Tokens], budget: int) -> list[list[int]]:
    """A prompt's conversations cut so that each part's tree stays within the budget.

    In the order of their tokens, where each shares most with the one before it.
    """
    parts: list[list[int]] = []
    room = 0
    for index in sorted(group, key=lambda i: tokens[i].ids.astype(">i4").tobytes()):
        ids = tokens[index].ids
        new = len(ids)
        if parts:
            new -= common_prefix([tokens[parts[-1][-1]].ids, ids])
        if not parts or new > room:
            parts.append([])
            room, new = budget, len(ids)
        parts[-1].append(index)
        room -= new
    return parts
