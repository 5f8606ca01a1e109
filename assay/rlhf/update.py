"""What an update learns from: advantages of a step's responses, and their losses token by token.

Letters: P prompts · K samples of a prompt · B = P·K responses · T tokens of a response · N tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from assay.configs import PPO, RLOO, PolicyTraining
from assay.data.trees import pack
from assay.rlhf.advantages import gae, grpo, rloo, token_rewards, whiten
from assay.rlhf.kl import k1
from assay.rlhf.losses import policy_loss, value_loss
from assay.rlhf.rollouts import Read
from assay.stats.arrays import Floats


@dataclass(frozen=True, slots=True)
class Learning:
    """What a step teaches, by response: ``(T,)`` each; NaN advantages are of one left out."""

    advantages: tuple[Floats, ...]
    returns: tuple[Floats, ...] | None


def learning(scores: Floats, read: Read, settings: PolicyTraining, beta: float) -> Learning:
    """Advantages of every token from the scores of the responses, ``(B,)``; NaN leaves one out."""
    kl = [k1(old, reference) for old, reference in zip(read.old, read.reference, strict=True)]
    if isinstance(settings, PPO):
        return _by_token(scores, kl, read, settings, beta)
    assert isinstance(settings, RLOO)
    whole = scores - beta * np.array([float(k.sum()) for k in kl])
    grouped = whole.reshape(-1, settings.samples)
    if settings.advantage == "rloo":
        advantages = rloo(grouped)
    else:
        advantages = grpo(grouped, scale=settings.advantage == "grpo")
    return Learning(
        tuple(np.full(len(k), float(a)) for a, k in zip(advantages.reshape(-1), kl, strict=True)),
        None,
    )


def _by_token(
    scores: Floats, kl: Sequence[Floats], read: Read, settings: PPO, beta: float
) -> Learning:
    assert read.values is not None
    kept = [i for i, score in enumerate(scores) if np.isfinite(score)]
    rewards = {i: token_rewards(float(scores[i]), kl[i], beta) for i in kept}
    if settings.whiten_rewards and kept:
        rewards = dict(zip(kept, whiten([rewards[i] for i in kept], shift_mean=False), strict=True))
    found = {i: gae(rewards[i], read.values[i], settings.gamma, settings.lam) for i in kept}
    nothing = [np.full(len(k), np.nan) for k in kl]
    returns = tuple(
        found[i] + read.values[i] if i in found else nothing[i] for i in range(len(scores))
    )
    if kept:
        found = dict(zip(kept, whiten([found[i] for i in kept]), strict=True))
    return Learning(tuple(found.get(i, nothing[i]) for i in range(len(scores))), returns)


@dataclass
class Meter:
    """What an update saw, over the tokens it learnt from.

    ``clipped`` counts ratios beyond the clip, ``moved`` sums k3 from the policy before the step's
    updates, ``value`` the value loss; ``farthest`` is the largest log-ratio.
    """

    tokens: int = 0
    clipped: float = 0.0
    moved: float = 0.0
    value: float = 0.0
    farthest: float = 0.0

    def __add__(self, other: Meter) -> Meter:
        return Meter(
            self.tokens + other.tokens,
            self.clipped + other.clipped,
            self.moved + other.moved,
            self.value + other.value,
            max(self.farthest, other.farthest),
        )

    def figures(self) -> dict[str, float]:
        """Means over tokens."""
        n = max(self.tokens, 1)
        return {
            "policy/clip_fraction": self.clipped / n,
            "policy/approximate_kl": self.moved / n,
            "value/loss": self.value / n,
        }


@dataclass
class StepTask:
    """A step's prompts as examples of ``Updates``: one tree each, with the loss of its responses.

    The loss is a mean over what the method counts: tokens (PPO), or responses (RLOO, and GRPO with
    a mean over tokens within each).
    """

    read: Read
    learning: Learning
    settings: PolicyTraining
    meter: Meter = field(default_factory=Meter)

    @property
    def costs(self) -> list[int]:
        """Tokens of each prompt's tree, ``(P,)``."""
        return [tree.num_tokens for tree in self.read.trees]

    @cached_property
    def weights(self) -> list[float]:
        """What each prompt's loss counts for: its tokens or responses that are learnt from."""
        kept = self._kept
        found = []
        for group in self._groups:
            own = [i for i in group if kept[i]]
            by_token = isinstance(self.settings, PPO)
            found.append(float(sum(len(self.read.old[i]) if by_token else 1 for i in own)))
        return found

    @cached_property
    def _groups(self) -> list[range]:
        """The numbers of each prompt's responses."""
        starts = np.cumsum([0, *(len(tree.ends) for tree in self.read.trees)])
        return [range(a, b) for a, b in pairwise(starts.tolist())]

    @cached_property
    def _kept(self) -> list[bool]:
        """Which responses are learnt from."""
        return [bool(np.isfinite(a).all()) for a in self.learning.advantages]

    def losses(self, module: nn.Module, indexes: Sequence[int]) -> Tensor:
        """One mean loss a prompt ``(B,)``; 0 for one that nothing is learnt from."""
        logprobs, values = module(pack([self.read.trees[i] for i in indexes]))
        groups, weights, kept = self._groups, self.weights, self._kept
        found, start = [], 0
        for index in indexes:
            own = []
            for response in groups[index]:
                stop = start + len(self.read.old[response])
                if kept[response]:
                    value = None if values is None else values[start:stop]
                    own.append(self._loss(response, logprobs[start:stop], value))
                start = stop
            nothing = logprobs.sum() * 0.0
            found.append(torch.stack(own).sum() / weights[index] if own else nothing)
        return torch.stack(found)

    def _loss(self, response: int, logprobs: Tensor, values: Tensor | None) -> Tensor:
        """The summed loss of a response, by tokens or as a whole."""
        settings = self.settings
        old = torch.as_tensor(self.read.old[response], dtype=logprobs.dtype, device=logprobs.device)
        advantages = torch.as_tensor(self.learning.advantages[response]).to(old)
        self._measure(logprobs.detach(), old)
        if isinstance(settings, PPO):
            assert values is not None
            assert self.learning.returns is not None
            assert self.read.values is not None
            before = torch.as_tensor(self.read.values[response]).to(old)
            returns = torch.as_tensor(self.learning.returns[response]).to(old)
            by_value = value_loss(values, before, returns, settings.value_clip)
            self.meter.value += float(by_value.detach().sum())
            by_policy = policy_loss(logprobs, old, advantages, settings.clip)
            return (by_policy + settings.value_coef * by_value).sum()
        assert isinstance(settings, RLOO)
        if settings.advantage == "rloo":
            whole = policy_loss(
                logprobs.sum()[None], old.sum()[None], advantages[:1], settings.clip
            )
            return whole.sum()
        return policy_loss(logprobs, old, advantages, settings.clip).mean()

    def _measure(self, logprobs: Tensor, old: Tensor) -> None:
        log_ratio = logprobs - old
        ratio = log_ratio.exp()
        meter = self.meter
        meter.tokens += len(old)
        meter.clipped += float(((ratio - 1).abs() > self.settings.clip).sum())
        meter.moved += float((ratio - 1 - log_ratio).sum())
        meter.farthest = max(meter.farthest, float(log_ratio.abs().max()))


def minibatches(prompts: int, settings: PolicyTraining, seed: Sequence[int]) -> list[list[int]]:
    """The prompts of every update of a step: each inner epoch a seeded permutation, cut evenly."""
    found: list[list[int]] = []
    for epoch in range(settings.epochs):
        order = np.random.default_rng([*seed, epoch]).permutation(prompts)
        found += [part.tolist() for part in np.array_split(order, settings.minibatches)]
    return found
