"""TRL's trainers get the rewards that ``assay score`` gives, and None where one failed."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from plugins_shared import by_length, length_reward, query_of

from assay.errors import ConfigError, TrainingError
from assay.rlhf.functions import FunctionScorer
from assay.rlhf.plugins.trl import TrlReward, trl_reward
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


def chat(conversation: Conversation) -> tuple[list[Any], list[Any]]:
    return ([m.to_dict() for m in c] for c in (conversation.prompt, conversation.response))  # type: ignore[return-value]


def test_texts_and_messages_get_the_rewards_of_the_run(
    reward_run: Path, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    reward = trl_reward(reward_run)
    wanted = reward_scorer.score(conversations).reward
    prompts, completions = zip(*map(chat, conversations), strict=True)
    by_messages = reward(prompts=list(prompts), completions=list(completions), completion_ids=[])
    texts = [c.prompt[0].content for c in conversations]
    responses = [c.response_text for c in conversations]
    by_text = reward(prompts=texts, completions=responses, trainer_state=None, answer=["4"])
    rendered = [query_of(c)[0] for c in conversations]
    by_template = reward(prompts=rendered, completions=responses)
    for found in (by_messages, by_text, by_template):
        np.testing.assert_allclose(np.array(found, dtype=float), wanted, atol=1e-4)
    assert all(type(r) is float for r in by_messages)
    alone = [reward(prompts=[p], completions=[r])[0] for p, r in zip(texts, responses, strict=True)]
    np.testing.assert_allclose(np.array(alone, dtype=float), wanted, atol=1e-4)
    assert reward(prompts=[], completions=[]) == []


def test_it_has_the_name_that_trl_logs() -> None:
    assert trl_reward(length_reward()).__name__ == "assay_reward"
    assert trl_reward(length_reward(), name="helpful").__name__ == "helpful"


def test_failures_are_none_and_counted_or_stop() -> None:
    counted: list[Any] = []
    reward = trl_reward(length_reward(on_failure="skip"))
    found = reward(
        prompts=["a", "b", "<|im_start|>x"],
        completions=["good", "bad", "good"],
        log_metric=lambda *metric: counted.append(metric),
    )
    assert found == [4.0, None, None]
    assert counted == [("assay/failed_rewards", 2.0)]
    assert reward.served.reward.failures.counts == {"error": 2}
    with pytest.raises(TrainingError, match="'length' gave none for response 2 of 2: ValueError"):
        trl_reward(length_reward())(prompts=["a", "b"], completions=["good", "bad"])
    with pytest.raises(TrainingError, match=r"'length' gave none for response 1 of 1: The prompt"):
        trl_reward(length_reward())(prompts=["<|im_start|>x"], completions=["good"])


def test_tools_of_a_column_reach_the_conversation() -> None:
    seen: list[Conversation] = []

    class Seeing(FunctionScorer):
        def score(self, conversations: Any) -> Any:
            seen.extend(conversations)
            return super().score(conversations)

    reward = trl_reward(Seeing(by_length))
    tools = [[{"name": "f"}], '[{"name": "g"}]', None]
    reward(prompts=["a"] * 3, completions=["b"] * 3, tools=tools)
    assert [c.tools for c in seen] == [({"name": "f"},), ({"name": "g"},), None]
    with pytest.raises(TrainingError, match=r"The column 'tools' holds '\{', which is no JSON"):
        reward(prompts=["a"], completions=["b"], tools=["{"])


def test_settings_of_a_reward_that_is_made_already_are_refused() -> None:
    with pytest.raises(ConfigError, match="clip is for rewards that are named by text"):
        trl_reward(length_reward(), clip=(0.0, 1.0))


def test_calls_of_many_threads_get_their_own_rewards() -> None:
    reward = trl_reward(length_reward(on_failure="skip"))
    found: dict[int, Any] = {}

    def call(n: int) -> None:
        text = "bad" if n % 5 == 0 else "x" * n
        found[n] = reward(prompts=["a", "b"], completions=[text, "y"])

    threads = [threading.Thread(target=call, args=(n,)) for n in range(1, 25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {n: [None if n % 5 == 0 else float(n), 1.0] for n in range(1, 25)}


@pytest.mark.medium
@pytest.mark.parametrize("algorithm", ["GRPO", "RLOO"])
@pytest.mark.parametrize("form", ["messages", "text"])
def test_a_real_trainer_optimises_the_rewards_of_the_run(
    algorithm: str,
    form: str,
    reward_run: Path,
    reward_scorer: Any,
    tiny_backbone: Path,
    tmp_path: Path,
) -> None:
    """One step on CPU with a tiny policy; what TRL saw is scored again by ``load_scorer``."""
    trl = pytest.importorskip("trl")
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer

    asked: list[tuple[list[Any], list[Any], list[Any]]] = []

    class Watched(TrlReward):
        def __call__(self, prompts: Any, completions: Any, **columns: Any) -> Any:
            rewards = super().__call__(prompts, completions, **columns)
            rewards = [None if len(asked) == 0 and i == 1 else r for i, r in enumerate(rewards)]
            asked.append((list(prompts), list(completions), rewards))
            return rewards

    questions = ["Write about tea", "the rain", "some words", "maps"]
    rows = questions if form == "text" else [[{"role": "user", "content": q}] for q in questions]
    config = getattr(trl, f"{algorithm}Config")(
        output_dir=str(tmp_path),
        per_device_train_batch_size=4,
        num_generations=4,
        max_completion_length=8,
        max_steps=2,
        learning_rate=1e-3,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    trainer = getattr(trl, f"{algorithm}Trainer")(
        model=AutoModelForCausalLM.from_pretrained(tiny_backbone),
        processing_class=AutoTokenizer.from_pretrained(tiny_backbone),
        reward_funcs=Watched(trl_reward(reward_run, on_failure="skip").served, "assay"),
        args=config,
        train_dataset=Dataset.from_dict({"prompt": rows, "answer": ["4"] * 4}),
    )
    before = [p.detach().clone() for p in trainer.model.parameters()]
    trainer.train()
    assert len(asked) == 2
    for prompts, completions, rewards in asked:
        again = reward_scorer.score(
            [Conversation.of(p, c) for p, c in zip(prompts, completions, strict=True)]
        ).reward
        for reward, wanted in zip(rewards, again, strict=True):
            assert reward is None or reward == pytest.approx(wanted, abs=1e-4)
    assert asked[0][2][1] is None
    logged = [entry for entry in trainer.state.log_history if "rewards/assay/mean" in entry]
    first = [r for r in asked[0][2] if r is not None]
    assert logged[0]["rewards/assay/mean"] == pytest.approx(np.mean(first), abs=1e-4)
    assert logged[0]["assay/failed_rewards"] == 0
    after = list(trainer.model.parameters())
    assert any(not a.equal(b) for a, b in zip(before, after, strict=True))
