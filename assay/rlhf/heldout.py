"""Before and after: what a policy and its reference say to prompts that training never saw.

Letters: B responses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from assay.configs import PolicyTraining
from assay.formats.prompts import prompt_text
from assay.models.policy import Policy
from assay.models.policy_reader import PolicyReader
from assay.rlhf.kl import k1, k3
from assay.rlhf.records import Judged, Spoken
from assay.rlhf.rollouts import Prompts, read, sample
from assay.rlhf.values import ActorCritic
from assay.stats import cluster_mean
from assay.stats.arrays import Floats
from assay.types import Figure

SEED = 4
"""Tells the samples of held-out prompts apart from those of training."""


@dataclass(frozen=True)
class Answers:
    """What one policy says to the held-out prompts, and what is said of it."""

    spoken: Spoken
    judged: Judged

    def length(self) -> Floats:
        """Tokens of each response."""
        return np.array([len(ids) for ids in self.spoken.ids], dtype=np.float64)


@dataclass(frozen=True)
class BeforeAfter:
    """Held-out responses of the reference and of the trained policy, prompt by prompt."""

    before: Answers
    after: Answers

    def figures(self) -> dict[str, Figure]:
        """Means with intervals clustered by prompt; ``gain`` is after less before, paired."""
        clusters = [prompt_text(p) for p in self.before.spoken.prompts]
        found: dict[str, Figure] = {}
        for name, one, other in self._pairs():
            found[f"{name}_before"] = _mean(one, clusters)
            found[f"{name}_after"] = _mean(other, clusters)
            found[f"{name}_gain"] = _mean(other - one, clusters)
        told = list(zip(self.after.spoken.logprobs, self.after.spoken.reference, strict=True))
        found["kl"] = _mean(np.array([k1(a, b).sum() for a, b in told]), clusters)
        found["kl_k3"] = _mean(np.array([k3(a, b).sum() for a, b in told]), clusters)
        return found

    def _pairs(self) -> list[tuple[str, Floats, Floats]]:
        one, other = self.before, self.after
        pairs = [("reward", one.judged.proxy, other.judged.proxy)]
        for name in ("audit", "gold"):
            a, b = getattr(one.judged, name), getattr(other.judged, name)
            if a is not None and b is not None:
                pairs.append((name, a, b))
        pairs.append(("length", one.length(), other.length()))
        ended = [x.spoken.ended.astype(np.float64) for x in (one, other)]
        return [*pairs, ("ended", ended[0], ended[1])]

    def rows(self) -> list[dict[str, Any]]:
        """A row a response, for ``samples.jsonl``."""
        found = []
        for i, prompt in enumerate(self.before.spoken.prompts):
            row: dict[str, Any] = {"prompt": [m.to_dict() for m in prompt]}
            for when, answers in (("before", self.before), ("after", self.after)):
                row[when] = {
                    "response": answers.spoken.texts[i],
                    "reward": _number(answers.judged.proxy[i]),
                    "ended": bool(answers.spoken.ended[i]),
                }
                for name in ("audit", "gold"):
                    values = getattr(answers.judged, name)
                    if values is not None:
                        row[when][name] = _number(values[i])
            found.append(row)
        return found


def _number(x: float) -> float | None:
    return float(x) if np.isfinite(x) else None


def _mean(values: Floats, clusters: Sequence[str]) -> Figure:
    """Over what is known: a response without a reward is left out."""
    known = np.isfinite(values)
    return cluster_mean(values[known], [c for c, k in zip(clusters, known, strict=True) if k])


def answers(
    policy: Policy,
    reference: Policy,
    prompts: Prompts,
    judge: Callable[[Spoken], Judged],
    settings: PolicyTraining,
) -> Answers:
    """A policy's responses to prompts; every policy draws with the same random numbers."""
    spoken, tokens = sample(policy, prompts.kept, settings, settings.seed + SEED)
    module = ActorCritic(PolicyReader(reference, temperature=settings.temperature, train=False))
    told = read(module, spoken, tokens, settings.token_budget)
    spoken = replace(spoken, reference=told.reference)
    return Answers(spoken, judge(spoken))
