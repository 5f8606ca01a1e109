"""What the stages of reinforcement learning hand on to each other.

Letters: B responses of a step · T tokens of a response.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data.contract import Ids
from assay.stats.arrays import Floats
from assay.types import Conversation, Message, Messages


@dataclass(frozen=True, slots=True)
class Spoken:
    """What a policy said in one step: B responses, in the order of their prompts.

    ``logprobs`` are the policy's, of the tokens it drew, at the temperature it drew them at;
    ``reference`` the reference policy's of the same tokens. Both have the token that ended a
    response, which ``texts`` lacks.
    """

    prompts: tuple[Messages, ...]
    texts: tuple[str, ...]
    ids: tuple[Ids, ...]  # (T,) each
    logprobs: tuple[Floats, ...]  # (T,) each
    reference: tuple[Floats, ...]  # (T,) each
    ended: NDArray[np.bool_]  # (B,) by themselves or at a stop string, not for want of room

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def conversations(self) -> list[Conversation]:
        """What a scorer is given."""
        return conversations_of(self.prompts, self.texts)


@dataclass(frozen=True, slots=True)
class Judged:
    """What is said of the B responses of a step.

    ``proxy`` is the raw reward that is optimised, before a missing end, a normalisation or the KL
    penalty change it. The others are watched and not optimised: ``std`` over an ensemble's members,
    ``audit`` a held-out reward model's reward, ``gold`` the truth where there is one, ``distance``
    from the reward model's training features. NaN where one could not be had.
    """

    proxy: Floats  # (B,)
    std: Floats | None = None  # (B,)
    audit: Floats | None = None  # (B,)
    gold: Floats | None = None  # (B,)
    distance: Floats | None = None  # (B,)


def conversations_of(prompts: Sequence[Messages], texts: Sequence[str]) -> list[Conversation]:
    """Prompts with one response each, as a scorer reads them."""
    return [
        Conversation(prompt, (Message("assistant", text),))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
