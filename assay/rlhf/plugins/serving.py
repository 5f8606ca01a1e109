"""A reward as stacks call it: from many threads, a response or a few at a time.

Calls that come while the reward is at work wait, and are scored together as soon as it is free. A
reward does not depend on what it is scored with, so this changes no number.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from assay.errors import AssayError, ConfigError
from assay.rlhf.plugins.reading import (
    ConversationReader,
    first_line,
    template_of_policy,
    template_of_reward,
)
from assay.rlhf.reward_specs import load_reward
from assay.rlhf.rewards import Reward, single
from assay.stats.arrays import Floats
from assay.types import Conversation, Scorer

REWARD_VARIABLE = "ASSAY_REWARD"
"""Environment variable that names the reward where a stack loads a plug-in by itself."""
POLICY_VARIABLE = "ASSAY_POLICY"
"""Environment variable that names the policy whose chat template prompts are written in."""


@dataclass(eq=False, slots=True)
class _Call:
    conversations: Sequence[Conversation]
    rewards: Floats | None = None
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return self.rewards is not None or self.error is not None


@dataclass(eq=False)
class Gatherer:
    """Scores what waits together, one batch at a time; safe to use from several threads."""

    scorer: Scorer
    _waiting: list[_Call] = field(default_factory=list)
    _list: threading.Lock = field(default_factory=threading.Lock)
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, conversations: Sequence[Conversation]) -> Floats:
        """Rewards ``(B,)``, in order; an error is only that of the call's own conversations."""
        if not conversations:
            return np.zeros(0)
        call = _Call(conversations)
        with self._list:
            self._waiting.append(call)
        with self._turn:
            if not call.is_done:
                with self._list:
                    calls, self._waiting = self._waiting, []
                self._serve(calls)
        if call.error is not None:
            raise call.error
        assert call.rewards is not None
        return call.rewards

    def _serve(self, calls: list[_Call]) -> None:
        try:
            every = self.scorer.score([c for call in calls for c in call.conversations]).reward
        except BaseException as error:
            if len(calls) == 1:
                calls[0].error = error
                return
            for call in calls:
                self._serve([call])
            return
        start = 0
        for call in calls:
            call.rewards = every[start : start + len(call.conversations)]
            start += len(call.conversations)


class ServedReward:
    """A reward with what it needs to be called by a stack.

    Args:
        reader: Takes prompts and responses that are text apart.
        failed_reward: What a failed reward is where the stack knows no missing ones.
    """

    def __init__(
        self, reward: Reward, reader: ConversationReader, *, failed_reward: float | None = None
    ):
        self.reward = reward
        self.reader = reader
        self.failed_reward = failed_reward
        self._gather = Gatherer(reward)

    def rewards(self, makers: Sequence[Callable[[], Conversation]]) -> Floats:
        """Rewards ``(B,)`` of the conversations that functions make, NaN where one failed.

        Raises:
            TrainingError: If a reward cannot be had and the reward's ``on_failure`` is ``error``.
        """
        found = np.full(len(makers), np.nan)
        conversations, kept = [], []
        for number, make in enumerate(makers):
            try:
                conversations.append(make())
                kept.append(number)
            except AssayError as error:
                self.reward.failures.take(
                    self.reward.on_failure,
                    "error",
                    self.reward.name,
                    number,
                    len(makers),
                    first_line(error),
                )
        found[kept] = self._gather(conversations)
        return found

    def filled(self, rewards: Floats) -> Floats:
        """Rewards with ``failed_reward`` where one failed."""
        assert self.failed_reward is not None, "need_failed_reward was not asked"
        return np.where(np.isnan(rewards), self.failed_reward, rewards)


def served(
    reward: str | Path | Reward | Scorer,
    *,
    policy: str | Path | None = None,
    input_template: str | None = None,
    failed_reward: float | None = None,
    **how: Any,
) -> ServedReward:
    """A reward to be called by a stack.

    Args:
        reward: A specification (see ``load_reward``, which takes ``how``), a reward, or a scorer.
        policy: Whose chat template prompts are written in. Default: the reward model's.
        input_template: What plain prompts were put into: ``"Question: {} Answer:"``.
        failed_reward: What a failed reward is where the stack knows no missing ones.

    Raises:
        AssayError: If one of them cannot be loaded.
    """
    if isinstance(reward, (str, Path)):
        loaded = load_reward(reward, **how)
    elif how:
        raise ConfigError(
            f"{', '.join(sorted(how))} is for rewards that are named by text; make the reward with "
            "it instead."
        )
    else:
        loaded = reward if isinstance(reward, Reward) else single(reward)
    template = None
    if policy is not None:
        template = template_of_policy(policy)
    elif input_template is None:
        renderer = next(filter(None, (_renderer(part.scorer) for part in loaded.parts)), None)
        template = template_of_reward(renderer) if renderer is not None else None
    reader = ConversationReader(template, always=policy is not None, input_template=input_template)
    return ServedReward(loaded, reader, failed_reward=failed_reward)


def need_failed_reward(served_reward: ServedReward, stack: str) -> None:
    """Refuse to skip failures in a stack that has no way to leave a response out.

    Raises:
        ConfigError: If failures are skipped and no number stands for them.
    """
    number = served_reward.failed_reward
    if number is not None and not np.isfinite(number):
        raise ConfigError(f"failed_reward is {number:g}; wanted a finite number.")
    if served_reward.reward.on_failure == "skip" and number is None:
        raise ConfigError(
            f"{stack} cannot leave a response out of its update, so on_failure 'skip' needs the "
            "number that stands for a failed reward; give failed_reward, a low one say."
        )


class FromEnvironment:
    """A value made once, on first use, of the reward that environment variables name."""

    def __init__(self, make: Callable[..., Any]):
        self._make = make
        self._made: dict[str, Any] = {}
        self._lock = threading.Lock()

    def __call__(self, reward: str | None = None, **how: Any) -> Any:
        """The value.

        Args:
            reward: Its specification. Default: that of ``ASSAY_REWARD``.

        Raises:
            ConfigError: If neither says it.
        """
        spec = reward or os.environ.get(REWARD_VARIABLE)
        if not spec:
            raise ConfigError(
                f"No reward was named; set the environment variable {REWARD_VARIABLE} to a run, an "
                "address or FILE.py:FUNCTION."
            )
        policy = how.pop("policy", None) or os.environ.get(POLICY_VARIABLE) or None
        key = repr((spec, policy, sorted(how.items())))
        with self._lock:
            if key not in self._made:
                self._made[key] = self._make(spec, policy=policy, **how)
            return self._made[key]


def _renderer(scorer: Scorer) -> Any:
    """How a scorer's model reads conversations; None where it has none."""
    model = getattr(scorer, "model", None)
    if model is None and (ensemble := getattr(scorer, "ensemble", None)) is not None:
        model = ensemble.parts[0]
    return getattr(model, "renderer", None)
