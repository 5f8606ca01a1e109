"""What tests of plug-ins share: rewards by rules, and a policy's texts."""

from __future__ import annotations

from typing import Any

from assay.rlhf.functions import FunctionScorer
from assay.rlhf.rewards import Part, Reward
from assay.types import Conversation


def by_length(prompts: list[str], responses: list[str]) -> list[float]:
    """The response's length; refuses one that is ``bad``."""
    if "bad" in responses:
        raise ValueError("bad response")
    return [float(len(r)) for r in responses]


def length_reward(**how: Any) -> Reward:
    """A reward by a rule."""
    return Reward(parts=(Part(scorer=FunctionScorer(by_length), name="length"),), **how)


def query_of(conversation: Conversation) -> tuple[str, str]:
    """Prompt and query as a ChatML policy has them, special tokens and all."""
    turns = "".join(f"<|im_start|>{m.role}\n{m.content}<|im_end|>\n" for m in conversation.prompt)
    prompt = f"{turns}<|im_start|>assistant\n"
    return prompt, f"{prompt}{conversation.response_text}<|im_end|>"
