"""The language-model loss that is mixed in: its weight, its texts, and what is cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from worlds import WORDS, ask, word_policy

from assay.configs import RLOO
from assay.data.trees import pack
from assay.errors import DataError
from assay.models.policy_reader import PolicyReader
from assay.rlhf.pretraining import MixedTask, Texts
from assay.rlhf.rollouts import Prompts, read, sample
from assay.rlhf.update import StepTask, learning
from assay.rlhf.values import ActorCritic
from assay.train.updates import Updates

SETTINGS = RLOO(samples=3, max_new_tokens=4, temperature=0.7)
TEXTS = ["yes no yes", "no no no no no", "yes yes"]


@pytest.fixture
def module() -> ActorCritic:
    return ActorCritic(PolicyReader(word_policy(WORDS), temperature=0.7, lora_rank=None))


def task_of(module: ActorCritic) -> StepTask:
    policy = module.reader.policy
    prompts = Prompts.of(policy, [ask("yes"), ask("no yes")])
    spoken, tokens = sample(policy, prompts.kept, SETTINGS, 0)
    told = read(module, spoken, tokens, 1000)
    scores = np.array([float(len(text)) for text in spoken.texts])
    return StepTask(told, learning(scores, told, SETTINGS, 0.1), SETTINGS)


def stepped(module: ActorCritic, task: Any, examples: list[int], weight: float) -> Any:
    """The loss of one update at a rate of 0, and the gradient that it took."""
    trained = [p for p in module.parameters() if p.requires_grad]
    taken: list[torch.Tensor] = []
    updates = Updates(module, [{"params": trained, "lr": 0.0}], Accelerator(), token_budget=30)
    handle = updates.optimizer.optimizer.register_step_pre_hook(
        lambda *_: taken.extend(p.grad.detach().clone() for p in trained)
    )
    loss, _ = updates.step(task, examples, 1.0, "a step", weight)
    handle.remove()
    return loss, taken


def test_the_whole_is_the_loss_and_so_many_times_the_nll_a_token(module: ActorCritic) -> None:
    task = task_of(module)
    prompts = list(range(len(task.costs)))
    weight = sum(task.weights)
    alone, gradient = stepped(module, task, prompts, weight)
    trees = Texts.of(module.reader.policy, TEXTS, 100).drawn(3, [0])
    logprobs, _ = module(pack(trees), 1.0)  # of language at temperature 1, whatever is sampled at
    nll = -logprobs.mean()
    trained = [p for p in module.parameters() if p.requires_grad]
    of_texts = torch.autograd.grad(nll, trained)

    mixed = MixedTask(task, trees, 0.5, weight)
    loss, found = stepped(module, mixed, [*prompts, *range(len(prompts), len(mixed.costs))], weight)
    assert loss == pytest.approx(alone + 0.5 * float(nll.detach()), abs=1e-5)
    for got, one, other in zip(found, gradient, of_texts, strict=True):
        torch.testing.assert_close(got, one + 0.5 * other, atol=1e-5, rtol=1e-4)


def test_texts_are_cut_and_counted_and_one_of_a_token_is_refused(module: ActorCritic) -> None:
    policy = module.reader.policy
    texts = Texts.of(policy, TEXTS, 4)
    assert [len(ids) for ids in texts.ids] == [3, 4, 2]
    assert texts.cut == 1
    assert Texts.of(policy, TEXTS, 3).cut == 1  # one has three tokens and loses nothing
    drawn = texts.drawn(2, [1, 2])
    assert [t.num_tokens for t in drawn] == [t.num_tokens for t in texts.drawn(2, [1, 2])]
    assert len(texts.drawn(7, [0])) == 7
    with pytest.raises(DataError, match="Text 2 of the language-model loss has 1 tokens"):
        Texts.of(policy, ["yes no", "yes"], 100)
