"""Value models: a head of zeros, or a copy of the reward model that reads the policy's tokens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import tiny_policy
from worlds import WORDS, ByText, ask, word_policy

from assay.configs import PPO
from assay.data.trees import build_tree, pack
from assay.errors import ConfigError
from assay.models.generate import generate
from assay.models.policy_reader import PolicyReader, response_tokens
from assay.models.reward_model import RewardModel
from assay.rlhf.loop import train_policy
from assay.rlhf.values import ActorCritic, HeadValues, RewardModelValues

pytestmark = pytest.mark.usefixtures("own_cache")

PPO_SHORT = PPO(
    steps=2, prompts_per_step=2, samples=2, max_new_tokens=4, lora_rank=2, lr=1e-3, value="reward"
)


@pytest.fixture(scope="module")
def reward_model(tiny_backbone: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=256)


@pytest.mark.parametrize("engine", ["tree", "padded"])
def test_a_reward_model_expects_what_it_would_say_of_a_response_that_ends_there(
    engine: str, reward_model: RewardModel, tiny_backbone: Path
) -> None:
    policy = tiny_policy("llama", tiny_backbone)
    prompts = [policy.prompt_ids(ask("Some words")), policy.prompt_ids(ask("tea"))]
    groups = generate(policy, prompts, samples=2, max_new_tokens=6)
    values = RewardModelValues(reward_model, policy, lora_rank=2, lora_alpha=4, seed=0)
    values.model.set_engine(engine)
    module = ActorCritic(PolicyReader(policy, lora_rank=2), values)
    row = pack(
        [
            build_tree([response_tokens(p, g.ids) for g in group])
            for p, group in zip(prompts, groups, strict=True)
        ]
    )
    _, found = module(row)
    assert found is not None
    wanted = []
    for prompt, group in zip(prompts, groups, strict=True):
        for g in group:
            whole = response_tokens(prompt, g.ids)
            for end in range(len(prompt), len(whole.ids)):
                begun = pack([build_tree([type(whole)(whole.ids[:end], len(prompt) - 1)])])
                wanted.append(float(reward_model(begun)))
    np.testing.assert_allclose(found.detach().numpy(), wanted, atol=2e-5)


def test_it_is_trained_beside_the_policy_and_the_reward_model_is_left_alone(
    reward_model: RewardModel, tiny_backbone: Path
) -> None:
    before = {name: p.detach().clone() for name, p in reward_model.named_parameters()}
    policy = tiny_policy("llama", tiny_backbone)
    result = train_policy(
        policy, ByText(len), [ask("tea"), ask("rain")], PPO_SHORT, value_model=reward_model
    )
    assert result.steps == 2
    for name, parameter in reward_model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None


def test_another_tokenizer_cannot_be_the_value_model(reward_model: RewardModel) -> None:
    with pytest.raises(ConfigError, match=r"different tokenizers.*take value zero"):
        train_policy(
            word_policy(WORDS), ByText(len), [ask("yes")], PPO_SHORT, value_model=reward_model
        )


def test_a_reward_model_of_another_tokenizer_rewards_all_the_same(
    reward_scorer: object,
) -> None:
    settings = PPO(steps=2, prompts_per_step=2, samples=2, max_new_tokens=4, lr=1e-3, mode="full")
    result = train_policy(word_policy(WORDS), reward_scorer, [ask("yes"), ask("no")], settings)  # type: ignore[arg-type]
    assert (result.steps, result.left_out) == (2, 0)


def test_a_head_begins_at_zero() -> None:
    policy = word_policy(WORDS)
    module = ActorCritic(PolicyReader(policy, lora_rank=2), HeadValues(16))
    prompt = policy.prompt_ids(ask("yes"))
    (group,) = generate(policy, [prompt], samples=2, max_new_tokens=4)
    _, values = module(pack([build_tree([response_tokens(prompt, g.ids) for g in group])]))
    assert values is not None
    assert float(values.abs().max()) == 0.0
