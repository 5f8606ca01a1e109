"""A reward for TRL's GRPO and RLOO trainers (``reward_funcs``); tried with TRL 1.16.0.

A trainer is given an object, not the model: on its model path TRL tokenises by itself, without the
scoring contract. TRL is not imported here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import ContractError
from assay.rlhf.plugins.reading import as_conversation
from assay.rlhf.plugins.serving import ServedReward, served
from assay.rlhf.rewards import Reward
from assay.types import Conversation, Scorer


class TrlReward:
    """``f(prompts, completions, **columns) -> list[float | None]``, safe to call from threads.

    A completion whose reward failed is None, and moves nothing in TRL's update; with several reward
    functions TRL sums those that are there, so keep Assay's parts in one reward.
    """

    def __init__(self, served_reward: ServedReward, name: str = "assay_reward"):
        self.served = served_reward
        self.__name__ = name  # what TRL logs it as

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        *,
        tools: Sequence[Any] | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        **_columns: Any,
    ) -> list[float | None]:
        """Rewards of completions, in order.

        Args:
            prompts: Texts, or lists of messages.
            completions: Likewise.
            tools: The data set's column of that name, JSON text or lists; None where it has none.
            log_metric: TRL's, given how many rewards failed.

        Raises:
            TrainingError: If a reward cannot be had and ``on_failure`` is ``error``.
        """
        columns = tools if tools is not None else [None] * len(prompts)
        makers = [
            partial(self._conversation, p, c, t)
            for p, c, t in zip(prompts, completions, columns, strict=True)
        ]
        rewards = self.served.rewards(makers)
        if log_metric is not None:
            log_metric("assay/failed_rewards", float(np.isnan(rewards).sum()))
        return [None if np.isnan(r) else float(r) for r in rewards]

    def _conversation(self, prompt: Any, completion: Any, tools: Any) -> Conversation:
        if isinstance(prompt, str):
            prompt = [m.to_dict() for m in self.served.reader.prompt(prompt)]
        return as_conversation(prompt, completion, _tools(tools))


def trl_reward(
    reward: str | Path | Reward | Scorer, *, name: str = "assay_reward", **how: Any
) -> TrlReward:
    """A reward function for TRL: ``GRPOTrainer(reward_funcs=trl_reward("runs/a"), …)``.

    Args:
        reward: A specification (a run, say), a reward, or a scorer.
        name: What TRL logs it as.
        how: As ``served`` and ``load_reward`` take it: ``policy``, ``on_failure``, ``clip``, ….

    Raises:
        AssayError: If it cannot be loaded.
    """
    return TrlReward(served(reward, **how), name)


def _tools(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value) or None
    except ValueError as error:
        raise ContractError(
            f"The column 'tools' holds {value[:40]!r}, which is no JSON; wanted a list of tools."
        ) from error
