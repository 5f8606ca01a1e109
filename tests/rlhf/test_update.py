"""What an update's loss is, method by method, against its definition token by token."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from worlds import WORDS, ask, word_policy

from assay.configs import PPO, RLOO, PolicyTraining
from assay.data.trees import pack
from assay.models.policy_reader import PolicyReader
from assay.rlhf.advantages import gae, token_rewards
from assay.rlhf.rollouts import Prompts, Read, read, sample
from assay.rlhf.update import StepTask, learning
from assay.rlhf.values import ActorCritic, HeadValues

BETA = 0.1
SHARED = {"samples": 3, "max_new_tokens": 4, "mode": "full"}
METHODS: dict[str, PolicyTraining] = {
    "rloo": RLOO(**SHARED),
    "grpo": RLOO(**SHARED, advantage="grpo"),
    "grpo-unscaled": RLOO(**SHARED, advantage="grpo-unscaled"),
    "ppo": PPO(**SHARED, value_coef=0.3),
}


def scene(settings: PolicyTraining) -> tuple[ActorCritic, Read, np.ndarray]:
    """A policy that has moved since it sampled, from a reference it had left before."""
    module = ActorCritic(
        PolicyReader(word_policy(WORDS), lora_rank=None),
        HeadValues(16) if isinstance(settings, PPO) else None,
    )
    generator = torch.Generator().manual_seed(0)

    def move() -> None:
        with torch.no_grad():
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter += 0.05 * torch.randn(parameter.shape, generator=generator)

    move()
    prompts = Prompts.of(module.reader.policy, [ask("yes"), ask("no yes")])
    spoken, tokens = sample(module.reader.policy, prompts.kept, settings, 0)
    told = read(module, spoken, tokens, 1000)
    move()
    return module, told, np.array([1.0, np.nan, -2.0, 0.5, 3.0, 1.5])


@pytest.mark.parametrize("method", METHODS)
def test_the_loss_is_its_definition(method: str) -> None:
    settings = METHODS[method]
    module, told, scores = scene(settings)
    task = StepTask(told, learning(scores, told, settings, BETA), settings)
    found = task.losses(module, [0, 1]) * torch.tensor(task.weights)
    logprobs, values = module(pack(list(told.trees)))
    sizes = [len(old) for old in told.old]
    said = [part.double() for part in logprobs.split(sizes)]
    kl = [a - b for a, b in zip(told.old, told.reference, strict=True)]
    wanted = [0.0, 0.0]
    if method == "ppo":
        assert values is not None
        assert told.values is not None
        valued = [part.double() for part in values.split(sizes)]
        kept = [i for i in range(6) if np.isfinite(scores[i])]
        raw = {
            i: gae(token_rewards(scores[i], kl[i], BETA), told.values[i], 1.0, 0.95) for i in kept
        }
        every = np.concatenate(list(raw.values()))
        for i in kept:
            white = (raw[i] - every.mean()) / np.sqrt(every.var() + 1e-8)
            for t in range(sizes[i]):
                ratio = float((said[i][t] - told.old[i][t]).exp())
                clipped = min(max(ratio, 0.8), 1.2)
                loss = max(-white[t] * ratio, -white[t] * clipped)
                value, old = float(valued[i][t]), told.values[i][t]
                target = raw[i][t] + old
                near = min(max(value, old - 0.2), old + 0.2)
                loss += 0.3 * 0.5 * max((value - target) ** 2, (near - target) ** 2)
                wanted[i // 3] += loss
        assert task.weights == [sum(sizes[i] for i in kept if i // 3 == p) for p in (0, 1)]
    else:
        whole = scores - BETA * np.array([k.sum() for k in kl])
        for i in range(6):
            own = [j for j in range(3 * (i // 3), 3 * (i // 3) + 3) if np.isfinite(whole[j])]
            if i not in own:
                continue
            others = [whole[j] for j in own if j != i]
            group = [whole[j] for j in own]
            advantage = whole[i] - np.mean(others if method == "rloo" else group)
            if method == "grpo":
                advantage /= np.std(group, ddof=1) + 1e-4
            gaps = said[i].detach().numpy() - told.old[i]
            ratios = np.exp([gaps.sum()] if method == "rloo" else gaps)
            wanted[i // 3] += np.mean(
                np.maximum(-advantage * ratios, -advantage * np.clip(ratios, 0.8, 1.2))
            )
        assert task.weights == [2.0, 3.0]
    assert found.tolist() == pytest.approx(wanted, abs=1e-4)
    assert task.meter.farthest > 1e-3  # the policy has moved, so clips and ratios count


def test_a_prompt_with_one_reward_teaches_nothing_by_comparison() -> None:
    settings = METHODS["rloo"]
    module, told, scores = scene(settings)
    scores[[0, 2]] = [4.0, np.nan]
    task = StepTask(told, learning(scores, told, settings, BETA), settings)
    assert task.weights == [0.0, 3.0]
    assert float(task.losses(module, [0])[0].detach()) == 0.0


def test_rewards_are_whitened_where_that_is_asked_for() -> None:
    settings = replace(METHODS["ppo"], whiten_rewards=True)
    _, told, scores = scene(settings)
    assert told.values is not None
    found = learning(scores, told, settings, BETA)
    kl = [a - b for a, b in zip(told.old, told.reference, strict=True)]
    kept = [i for i in range(6) if np.isfinite(scores[i])]
    plain = [token_rewards(scores[i], kl[i], BETA) for i in kept]
    every = np.concatenate(plain)
    scale = np.sqrt(every.var() + 1e-8)
    for i, rewards in zip(kept, plain, strict=True):
        white = (rewards - every.mean()) / scale + every.mean()
        wanted = gae(white, told.values[i], 1.0, 0.95) + told.values[i]
        assert found.returns is not None
        np.testing.assert_allclose(found.returns[i], wanted, atol=1e-9)
