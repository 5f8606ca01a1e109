"""A reward for OpenRLHF: as the ``reward_func`` of a Python file, or behind ``/get_reward``.

Written to the contract of OpenRLHF 0.11 (``utils/agent.py``, ``cli/serve_rm.py``); its single-turn
executor was run with it on a made-up engine, its trainer was not. OpenRLHF is not imported here.

A query is the text of prompt and response, special tokens and all, in the policy's template; it is
read back into the conversation (see ``reading``), and that is scored by the reward model's own
contract.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import ContractError, DataError
from assay.rlhf.plugins.reading import as_conversation
from assay.rlhf.plugins.serving import (
    FromEnvironment,
    ServedReward,
    need_failed_reward,
    served,
)
from assay.rlhf.rewards import Reward
from assay.stats.arrays import sigmoid
from assay.types import Conversation, Scorer


class OpenRlhfReward:
    """``f(queries, prompts, labels) -> {"rewards", "scores", "extra_logs"}``, safe in threads.

    ``scores`` is σ(reward), between 0 and 1 as dynamic filtering wants it. ``extra_logs`` says
    which rewards failed, and which responses had an end token; without one a response is scored as
    if it had ended there.
    """

    def __init__(self, served_reward: ServedReward, *, prompts_in_labels: bool = False):
        need_failed_reward(served_reward, "OpenRLHF")
        self.served = served_reward
        self.prompts_in_labels = prompts_in_labels

    def __call__(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any
    ) -> dict[str, Any]:
        """Rewards as tensors ``(B,)``, the shape that OpenRLHF's own example has.

        Raises:
            TrainingError: If a reward cannot be had and ``on_failure`` is ``error``. OpenRLHF logs
                it, takes the reward for missing, and fails later.
        """
        import torch

        return {
            key: {k: torch.tensor(v) for k, v in value.items()}
            if isinstance(value, dict)
            else torch.tensor(value)
            for key, value in self.judge(queries, prompts, labels).items()
        }

    def judge(
        self, queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any]
    ) -> dict[str, Any]:
        """The same as lists, as JSON has them.

        Raises:
            DataError: If there are not as many prompts and labels as queries.
            TrainingError: As the call.
        """
        if not len(queries) == len(prompts) == len(labels):
            raise DataError(
                f"{len(queries)} queries, {len(prompts)} prompts and {len(labels)} labels were "
                "sent; wanted one of each for every response."
            )
        ended = np.zeros(len(queries))

        def conversation(number: int) -> Conversation:
            read, ended[number] = self.served.reader.conversation(prompts[number], queries[number])
            if not self.prompts_in_labels:
                return read
            prompt = as_conversation(_messages(labels[number]), "").prompt
            return Conversation(prompt, read.response)

        raw = self.served.rewards([partial(conversation, n) for n in range(len(queries))])
        rewards = self.served.filled(raw) if np.isnan(raw).any() else raw
        return {
            "rewards": rewards.tolist(),
            "scores": sigmoid(rewards).tolist(),
            "extra_logs": {
                "assay_failed": np.isnan(raw).astype(float).tolist(),
                "assay_ended": ended.tolist(),
            },
        }

    def handle(self, body: Any) -> dict[str, Any]:
        """Answer the JSON body of a ``POST /get_reward``; lists may be empty.

        Without ``prompts`` a query is parted at its template's last header of a response.

        Raises:
            DataError: If the body is not what OpenRLHF sends.
            TrainingError: As the call.
        """
        queries = body.get("query") if isinstance(body, Mapping) else None
        if not isinstance(queries, list) or not all(isinstance(q, str) for q in queries):
            raise DataError(
                "A request to /get_reward has no list of texts 'query'; wanted "
                '{"query": [text], "prompts": [text], "labels": [any]}.'
            )
        prompts = body.get("prompts") or [""] * len(queries)
        labels = body.get("labels") or [""] * len(queries)
        if not isinstance(prompts, list) or not all(isinstance(p, str) for p in prompts):
            raise DataError("The 'prompts' of a request to /get_reward are no list of texts.")
        if not isinstance(labels, list):
            raise DataError("The 'labels' of a request to /get_reward are no list.")
        return self.judge(queries, prompts, labels)


def openrlhf_reward(
    reward: str | Path | Reward | Scorer, *, prompts_in_labels: bool = False, **how: Any
) -> OpenRlhfReward:
    """A ``reward_func`` for OpenRLHF, in a file of two lines that ``--reward.remote_url`` names.

    Args:
        reward: A specification (a run, say), a reward, or a scorer.
        prompts_in_labels: Whether ``--data.label_key`` names the column of messages that the
            prompt was made of; nothing is then read back from its text.
        how: As ``served`` and ``load_reward`` take it: ``policy``, ``input_template``,
            ``on_failure``, ``failed_reward``, ….

    Raises:
        AssayError: If it cannot be loaded.
    """
    return OpenRlhfReward(served(reward, **how), prompts_in_labels=prompts_in_labels)


_reward = FromEnvironment(openrlhf_reward)


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **kwargs: Any
) -> dict[str, Any]:
    """What OpenRLHF calls if ``--reward.remote_url`` names this file.

    The reward is that of the environment variable ``ASSAY_REWARD``, and prompts are in the template
    of ``ASSAY_POLICY``.

    Raises:
        ConfigError: If no reward is named.
        TrainingError: If a reward cannot be had.
    """
    found: dict[str, Any] = _reward()(queries, prompts, labels, **kwargs)
    return found


def _messages(label: Any) -> Any:
    if not isinstance(label, str):
        return label
    try:
        return json.loads(label)
    except ValueError as error:
        raise ContractError(
            f"A label is {label[:40]!r}; wanted the prompt's messages, as JSON (prompts_in_labels)."
        ) from error
