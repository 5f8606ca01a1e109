"""A reward for verl: as ``compute_score``, or as a reward manager.

Written to the contract of verl 0.9 and 0.10 (``experimental/reward_loop``); verl's own naive
manager was run with it on made-up data, its trainer was not. verl is not imported here.

verl hands ``compute_score`` the response alone. The prompt is looked for in ``extra_info``, where
the data's preprocessing has to put it; the reward manager has it from verl itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from assay.errors import ContractError
from assay.rlhf.plugins.reading import as_conversation
from assay.rlhf.plugins.serving import (
    FromEnvironment,
    ServedReward,
    need_failed_reward,
    served,
)
from assay.rlhf.rewards import Reward
from assay.types import Conversation, Scorer

PROMPT_KEYS = ("raw_prompt", "prompt", "messages", "question")
"""Where in ``extra_info`` a prompt is looked for, in this order."""


class VerlReward:
    """``compute_score(data_source, solution_str, ground_truth, extra_info)``, safe in threads.

    Args:
        prompt_key: Where in ``extra_info`` the prompt is, as text or messages.
    """

    def __init__(self, served_reward: ServedReward, *, prompt_key: str | None = None):
        need_failed_reward(served_reward, "verl")
        self.served = served_reward
        self.keys = (prompt_key,) if prompt_key else PROMPT_KEYS

    def __call__(
        self,
        data_source: Any,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, float]:
        """``{"score", "assay_failed"}`` of one response; the keys are always the same.

        Raises:
            TrainingError: If the reward cannot be had and ``on_failure`` is ``error``.
        """
        return self._scored(partial(self._conversation, solution_str, extra_info))

    async def compute_score(
        self,
        data_source: Any,
        solution_str: str,
        ground_truth: Any,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, float]:
        """The same without holding the event loop up; what is asked at a time is scored together.

        Raises:
            TrainingError: As the call.
        """
        return await asyncio.to_thread(self, data_source, solution_str, ground_truth, extra_info)

    def of(self, prompt: Any, response: str) -> dict[str, float]:
        """The same for a prompt that is known.

        Raises:
            TrainingError: As the call.
        """
        return self._scored(partial(self._made, prompt, response))

    def _scored(self, make: Any) -> dict[str, float]:
        raw = self.served.rewards([make])
        failed = bool(np.isnan(raw[0]))
        score = self.served.filled(raw)[0] if failed else raw[0]
        return {"score": float(score), "assay_failed": float(failed)}

    def _conversation(self, response: str, extra_info: Mapping[str, Any] | None) -> Conversation:
        info = extra_info or {}
        key = next((k for k in self.keys if info.get(k) is not None), None)
        if key is None:
            raise ContractError(
                f"verl's extra_info has no prompt: it has {', '.join(sorted(info)) or 'nothing'}, "
                f"and {', '.join(self.keys)} was looked for; put the prompt there when the data "
                "are prepared, or use the reward manager"
            )
        return self._made(info[key], response)

    def _made(self, prompt: Any, response: str) -> Conversation:
        if isinstance(prompt, str):
            return Conversation(
                self.served.reader.prompt(prompt), as_conversation("", response).response
            )
        return as_conversation(list(prompt), response)


def verl_reward(
    reward: str | Path | Reward | Scorer, *, prompt_key: str | None = None, **how: Any
) -> VerlReward:
    """A ``compute_score`` for verl, in a file of two lines that the configuration names.

    Args:
        reward: A specification (a run, say), a reward, or a scorer.
        prompt_key: Where in ``extra_info`` the prompt is. Default: the first of ``raw_prompt``,
            ``prompt``, ``messages`` and ``question`` that is there.
        how: As ``served`` and ``load_reward`` take it: ``policy``, ``on_failure``,
            ``failed_reward``, ….

    Raises:
        AssayError: If it cannot be loaded.
    """
    return VerlReward(served(reward, **how), prompt_key=prompt_key)


_reward = FromEnvironment(verl_reward)


async def compute_score(
    data_source: Any,
    solution_str: str,
    ground_truth: Any,
    extra_info: Mapping[str, Any] | None = None,
    *,
    assay_reward: str | None = None,
    assay_how: Mapping[str, Any] | None = None,
    **_: Any,
) -> dict[str, float]:
    """What verl calls if ``custom_reward_function.path`` is ``pkg://assay.rlhf.plugins.verl``.

    Args:
        assay_reward: The reward, by verl's ``reward_kwargs``. Default: that of the environment
            variable ``ASSAY_REWARD``.
        assay_how: What ``verl_reward`` takes besides.

    Raises:
        ConfigError: If no reward is named.
        TrainingError: If the reward cannot be had and ``on_failure`` is ``error``.
    """
    reward: VerlReward = await asyncio.to_thread(_reward, assay_reward, **(assay_how or {}))
    return await reward.compute_score(data_source, solution_str, ground_truth, extra_info)


class AssayRewardManager:
    """A reward manager of verl: it has the prompt's messages, so nothing is read back from text.

    Takes the reward of the environment variable ``ASSAY_REWARD``; ``verl_reward_manager`` makes one
    of another reward. Not derived from verl's base class, whose methods it has.
    """

    reward: ClassVar[VerlReward | None] = None

    def __init__(
        self,
        config: Any,
        tokenizer: Any,
        compute_score: Any = None,
        reward_router_address: str | None = None,
        reward_model_tokenizer: Any = None,
    ):
        self.config = config
        self.tokenizer = tokenizer
        self.compute_score = compute_score
        self.reward_router_address = reward_router_address
        self.reward_model_tokenizer = reward_model_tokenizer

    @classmethod
    def init_class(cls, config: Any, tokenizer: Any) -> None:
        """Nothing is shared between instances but the reward."""

    async def run_single(self, data: Any) -> dict[str, Any]:
        """``{"reward_score", "reward_extra_info"}`` of the last sequence of a ``DataProto``.

        Raises:
            TrainingError: If the reward cannot be had and ``on_failure`` is ``error``.
        """
        found = await asyncio.to_thread(self._judge, data[-1:][0])
        return {
            "reward_score": found["score"],
            "reward_extra_info": {"assay_failed": found["assay_failed"]},
        }

    @classmethod
    def assemble_rm_scores(cls, data: Any, scores: Sequence[float]) -> Any:
        """Scores at the last token of each response, zero elsewhere, ``(B, T)``."""
        import torch

        prompts, responses = data.batch["prompts"], data.batch["responses"]
        lengths = data.batch["attention_mask"][:, prompts.size(1) :].sum(dim=1)
        placed = torch.zeros_like(responses, dtype=torch.float32)
        rows = torch.arange(placed.size(0), device=placed.device)
        placed[rows, lengths - 1] = placed.new_tensor(list(scores))
        return placed

    def _judge(self, item: Any) -> dict[str, float]:
        responses = item.batch["responses"]
        count = int(item.batch["attention_mask"][-responses.shape[-1] :].sum())
        text = self.tokenizer.decode(responses[:count], skip_special_tokens=True)
        reward: VerlReward = type(self).reward or _reward()
        return reward.of(item.non_tensor_batch["raw_prompt"], text)


def verl_reward_manager(
    reward: str | Path | Reward | Scorer, **how: Any
) -> type[AssayRewardManager]:
    """A reward manager class of a reward, in a file of two lines that the configuration names.

    Args:
        reward: A specification (a run, say), a reward, or a scorer.
        how: As ``verl_reward`` takes it.

    Raises:
        AssayError: If it cannot be loaded.
    """
    return type("AssayReward", (AssayRewardManager,), {"reward": verl_reward(reward, **how)})
