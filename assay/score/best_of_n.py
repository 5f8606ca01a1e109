"""Best-of-n: score n responses to a prompt and take the best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.types import Conversation, Messages, Scorer, as_messages


@dataclass(frozen=True, slots=True)
class Best:
    """The best of a prompt's responses by reward; the first of equals."""

    index: int
    rewards: NDArray[np.float64]  # (N,)
    std: NDArray[np.float64] | None = None  # (N,)


def best_of_n(
    scorer: Scorer, prompts: Sequence[str | Messages], responses: Sequence[Sequence[str | Messages]]
) -> list[Best]:
    """The best response to each prompt.

    Raises:
        DataError: If a prompt has no response, or there are more prompts than lists of responses.
    """
    if len(prompts) != len(responses):
        raise DataError(
            f"{len(prompts)} prompts came with {len(responses)} lists of responses; "
            "give one list a prompt."
        )
    conversations = []
    for number, (prompt, candidates) in enumerate(zip(prompts, responses, strict=True)):
        if not candidates:
            raise DataError(f"Prompt {number + 1} has no responses to choose from.")
        messages = as_messages(prompt, "user")
        conversations += [Conversation(messages, as_messages(c, "assistant")) for c in candidates]
    scores = scorer.score(conversations)
    best, start = [], 0
    for candidates in responses:
        own = slice(start, start + len(candidates))
        std = None if scores.std is None else scores.std[own]
        best.append(pick(scores.reward[own], std))
        start = own.stop
    return best


def pick(rewards: NDArray[np.float64], std: NDArray[np.float64] | None = None) -> Best:
    """The best of one prompt's rewards; NaN (dropped) never wins, -1 says all were dropped."""
    if np.isnan(rewards).all():
        return Best(-1, rewards, std)
    return Best(int(np.nanargmax(rewards)), rewards, std)
