"""Implicit rewards: equal models say nothing, sums are those of whole responses, order is free."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from policies import tiny_policy

from assay.configs import TOKEN_BUDGET
from assay.errors import ConfigError, ContractError
from assay.formats.steps import join_steps
from assay.models.backbones import load_tokenizer
from assay.models.policy import Policy
from assay.score.implicit import ImplicitScorer
from assay.types import Message, Solution, StepScorer


def solution(prompt: str, *steps: str) -> Solution:
    return Solution((Message("user", prompt),), steps, (None,) * len(steps))


SOLUTIONS = [
    solution("2 + 3?", "2 and 3", "makes 5.", "so 5"),
    solution("2 + 3?", "tea"),
    solution("Is it odd, or is it even?", "no", "it is even", "with maps", "and words of rain"),
]


@pytest.fixture(scope="module")
def scorer(tiny_backbone: Path) -> ImplicitScorer:
    return ImplicitScorer(
        tiny_policy("llama", tiny_backbone), tiny_policy("llama", tiny_backbone, seed=1)
    )


def test_equal_models_say_nothing(tiny_backbone: Path) -> None:
    policy = tiny_policy("qwen2", tiny_backbone)
    scorer = ImplicitScorer(policy, tiny_policy("qwen2", tiny_backbone), beta=3.0)
    for rewards, whole in zip(scorer.score_steps(SOLUTIONS).rewards, SOLUTIONS, strict=True):
        np.testing.assert_array_equal(rewards, np.full(len(whole.steps), 0.5))


def whole_response(policy: Policy, whole: Solution) -> float:
    """Log-probability of the response, one token at a time from the text before it."""
    prompt = policy.prompt_ids(whole.prompt).tolist()
    ids = policy.prompt_ids(whole.prompt, join_steps(whole.steps)).tolist()
    assert ids[: len(prompt)] == prompt
    total = 0.0
    for place in range(len(prompt), len(ids)):
        with torch.no_grad():
            logits = policy.network(torch.tensor([ids[:place]])).logits[0, -1]
        total += float(torch.log_softmax(logits.double(), -1)[ids[place]])
    return total


def test_steps_sum_to_the_whole_response(scorer: ImplicitScorer) -> None:
    for whole, ratios in zip(SOLUTIONS, scorer.log_ratios(SOLUTIONS), strict=True):
        wanted = whole_response(scorer.policy, whole) - whole_response(scorer.reference, whole)
        assert ratios.sum() == pytest.approx(wanted, abs=1e-4)
        assert len(ratios) == len(whole.steps)


def test_a_step_has_the_reward_of_its_own_tokens(scorer: ImplicitScorer) -> None:
    """By the difference of beginnings: the separator after a step is the step's."""
    whole = SOLUTIONS[0]
    (ratios,) = scorer.log_ratios([whole])
    begun = solution("2 + 3?", "2 and 3", "")
    first = whole_response(scorer.policy, begun) - whole_response(scorer.reference, begun)
    assert ratios[0] == pytest.approx(first, abs=1e-4)
    (rewards,) = scorer.score_steps([whole]).rewards
    np.testing.assert_allclose(rewards, 1 / (1 + np.exp(-0.05 * ratios)))
    assert rewards.std() > 1e-3


@pytest.mark.parametrize("token_budget", [1, 60, TOKEN_BUDGET])
def test_order_and_batches_change_nothing(scorer: ImplicitScorer, token_budget: int) -> None:
    other = ImplicitScorer(scorer.policy, scorer.reference, token_budget=token_budget)
    wanted = scorer.score_steps(SOLUTIONS).rewards
    counts: list[int] = []
    backwards = other.score_steps(SOLUTIONS[::-1], counts.append).rewards[::-1]
    for a, b in zip(wanted, backwards, strict=True):
        np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    assert sum(counts) == 8
    assert (len(counts) > 1) == (token_budget < TOKEN_BUDGET)


def test_what_is_longer_than_the_models_read(tiny_backbone: Path) -> None:
    long = solution("count", *[f"and then {n} of them" for n in range(20)])
    models = [tiny_policy("llama", tiny_backbone, seed=seed) for seed in (0, 1)]
    with pytest.raises(ContractError, match=r"Solution 2 has [\d,]+ tokens where .* read 128"):
        ImplicitScorer(*models).score_steps([SOLUTIONS[0], long])
    scores = ImplicitScorer(*models, truncation="drop").score_steps([SOLUTIONS[0], long])
    kept = np.isfinite(scores.rewards[1])
    assert 0 < kept.sum() < 20
    assert kept[: kept.sum()].all()
    assert scores.cut == 20 - kept.sum()
    begun = solution("count", *long.steps[: kept.sum()])
    again = ImplicitScorer(*models).score_steps([begun]).rewards[0]
    # the last has no separator after it here
    np.testing.assert_allclose(again[:-1], scores.rewards[1][kept][:-1], rtol=0, atol=1e-6)


def test_it_is_a_step_scorer_and_refuses_what_it_cannot_compare(
    scorer: ImplicitScorer, tiny_backbone: Path
) -> None:
    assert isinstance(scorer, StepScorer)
    swapped = ImplicitScorer(scorer.reference, scorer.policy)
    assert len({scorer.digest, swapped.digest}) == 2
    with pytest.raises(ConfigError, match=r"beta is -1\.0"):
        ImplicitScorer(scorer.policy, scorer.reference, beta=-1.0)
    tokenizer = load_tokenizer(str(tiny_backbone))
    tokenizer.add_tokens(["newtoken"])
    other = Policy.of(scorer.reference.network, tokenizer, name="other")
    with pytest.raises(ConfigError, match="tiny llama and other have different tokenizers"):
        ImplicitScorer(scorer.policy, other)
    with pytest.raises(ContractError, match="Solution 1 has no steps"):
        scorer.score_steps([solution("2 + 3?")])
    with pytest.raises(ContractError, match="Step 2 of solution 1 has no token of its own"):
        ImplicitScorer(scorer.policy, scorer.reference, separator="").score_steps(
            [solution("2 + 3?", "a", "", "b")]
        )
    assert scorer.score_steps([]).rewards == ()
