"""verl gets what ``assay score`` gives, by the published contract and by its own reward loop."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stacks
import torch
from plugins_shared import length_reward, query_of

from assay.errors import ConfigError, TrainingError
from assay.rlhf.plugins import verl as module
from assay.rlhf.plugins.verl import (
    AssayRewardManager,
    VerlReward,
    verl_reward,
    verl_reward_manager,
)
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


class Data(list[Any]):
    """As much of a DataProto as a reward manager uses."""

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        return Data(found) if isinstance(key, slice) else found


@pytest.fixture(scope="module")
def reward(reward_run: Path, own_cache: Path) -> VerlReward:
    return verl_reward(reward_run)


@pytest.fixture(scope="module")
def tokenizer(tiny_backbone: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny_backbone)


def item(tokenizer: Any, conversation: Conversation, **info: Any) -> Any:
    """One sample as verl's rollout leaves it: prompts padded left, responses right."""
    prompt, query = query_of(conversation)
    before = tokenizer(prompt, add_special_tokens=False)["input_ids"]
    said = tokenizer(query[len(prompt) :], add_special_tokens=False)["input_ids"]
    left, right = [0] * (80 - len(before)), [0] * (40 - len(said))
    mask = [0] * len(left) + [1] * (len(before) + len(said)) + [0] * len(right)
    return SimpleNamespace(
        batch={
            "prompts": torch.tensor(left + before),
            "responses": torch.tensor(said + right),
            "attention_mask": torch.tensor(mask),
        },
        non_tensor_batch={
            "raw_prompt": np.array([m.to_dict() for m in conversation.prompt], dtype=object),
            "data_source": "assay",
            "reward_model": {"ground_truth": "4"},
            "extra_info": {"question": conversation.prompt[-1].content, **info},
        },
    )


def test_a_score_is_that_of_the_run(
    reward: VerlReward, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    wanted = reward_scorer.score(conversations).reward
    for form in ("text", "messages", "template"):
        for conversation, number in zip(conversations, wanted, strict=True):
            prompt: Any = conversation.prompt[0].content
            if form == "messages":
                prompt = [m.to_dict() for m in conversation.prompt]
            elif form == "template":
                prompt, _ = query_of(conversation)
            answer = reward(
                data_source="assay",
                solution_str=conversation.response_text,
                ground_truth="4",
                extra_info={"question": prompt, "num_turns": 2},
                reward_router_address=None,
            )
            assert answer == {"score": pytest.approx(number, abs=1e-4), "assay_failed": 0.0}
            assert type(answer["score"]) is float


def test_calls_at_a_time_are_the_same(
    reward: VerlReward, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    async def every() -> list[Any]:
        infos = [{"prompt": [m.to_dict() for m in c.prompt]} for c in conversations]
        return await asyncio.gather(
            *(
                reward.compute_score("assay", c.response_text, "4", info)
                for c, info in zip(conversations, infos, strict=True)
            )
        )

    assert inspect.iscoroutinefunction(reward.compute_score)
    found = [answer["score"] for answer in asyncio.run(every())]
    np.testing.assert_allclose(found, reward_scorer.score(conversations).reward, atol=1e-4)


def test_a_prompt_that_is_not_there_is_said(reward: VerlReward) -> None:
    with pytest.raises(
        TrainingError, match="extra_info has no prompt: it has index, split, and raw_prompt, prompt"
    ):
        reward("assay", "clear", "4", {"split": "train", "index": 3})
    with pytest.raises(TrainingError, match="it has nothing, and raw_prompt, prompt"):
        reward("assay", "clear", "4")
    own = verl_reward(length_reward(), prompt_key="task")
    assert own("assay", "four", "4", {"task": "Hi", "question": "No"})["score"] == 4.0
    with pytest.raises(TrainingError, match="it has question, and task was looked for"):
        own("assay", "four", "4", {"question": "Hi"})


def test_failures_stop_or_have_the_number_that_was_given() -> None:
    info = {"question": "Hi"}
    with pytest.raises(TrainingError, match="'length' gave none for response 1 of 1: ValueError"):
        verl_reward(length_reward())("assay", "bad", "4", info)
    skipping = length_reward(on_failure="skip")
    with pytest.raises(ConfigError, match="verl cannot leave a response out"):
        verl_reward(skipping)
    filled = verl_reward(skipping, failed_reward=-1.5)
    assert filled("assay", "bad", "4", info) == {"score": -1.5, "assay_failed": 1.0}
    assert filled("assay", "good", "4", info) == {"score": 4.0, "assay_failed": 0.0}
    assert skipping.failures.total == 1


def test_the_modules_function_takes_the_reward_of_kwargs_or_environment(
    reward_run: Path, reward_scorer: Any, monkeypatch: Any
) -> None:
    conversation = Conversation.of("Hi", "clear")
    wanted = pytest.approx(reward_scorer.score([conversation]).reward[0], abs=1e-4)
    asked = ("assay", "clear", "4", {"question": "Hi"})
    monkeypatch.delenv("ASSAY_REWARD", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable ASSAY_REWARD"):
        asyncio.run(module.compute_score(*asked))
    found = asyncio.run(module.compute_score(*asked, assay_reward=str(reward_run)))
    assert found["score"] == wanted
    monkeypatch.setenv("ASSAY_REWARD", str(reward_run))
    assert asyncio.run(module.compute_score(*asked))["score"] == wanted
    clipped = asyncio.run(module.compute_score(*asked, assay_how={"clip": (50.0, 60.0)}))
    assert clipped["score"] == 50.0


def test_a_manager_reads_the_sample_itself(
    reward_run: Path,
    reward_scorer: Any,
    tokenizer: Any,
    conversations: list[Conversation],
    monkeypatch: Any,
) -> None:
    turns = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Yes?"},
        {"role": "user", "content": "tea"},
    ]
    asked = [*conversations, Conversation.of(turns, "clear")]
    data = [Data([item(tokenizer, c)]) for c in asked]
    monkeypatch.setenv("ASSAY_REWARD", str(reward_run))
    for kind in (verl_reward_manager(reward_run), AssayRewardManager):
        manager = kind(
            SimpleNamespace(), tokenizer, None, reward_router_address=None,
            reward_model_tokenizer=None,
        )  # fmt: skip

        async def every(manager: Any = manager) -> list[Any]:
            return await asyncio.gather(*(manager.run_single(d) for d in data))

        answers = asyncio.run(every())
        found = [a["reward_score"] for a in answers]
        np.testing.assert_allclose(found, reward_scorer.score(asked).reward, atol=1e-4)
        assert all(a["reward_extra_info"] == {"assay_failed": 0.0} for a in answers)


def test_scores_are_placed_at_the_last_token() -> None:
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]])
    batch = {"prompts": mask[:, :2], "responses": torch.ones(2, 3), "attention_mask": mask}
    placed = AssayRewardManager.assemble_rm_scores(SimpleNamespace(batch=batch), [0.5, -2.0])
    assert placed.tolist() == [[0, 0.5, 0], [0, 0, -2.0]]


@pytest.fixture
def reward_loop(monkeypatch: Any) -> Any:
    """verl's own files: the manager's base, the naive manager, and how functions are loaded."""
    stacks.source("verl", "verl/protocol.py")
    managers = "verl.experimental.reward_loop.reward_manager"
    for name in ("verl.utils", "verl.experimental", "verl.experimental.reward_loop", "verl.trainer",
                 "verl.trainer.ppo"):  # fmt: skip
        stacks.stub(monkeypatch, name)
    stacks.stub(monkeypatch, "verl", DataProto=Data)
    stacks.stub(monkeypatch, "omegaconf", DictConfig=dict)
    stacks.stub(monkeypatch, "verl.utils.ray_utils", get_event_loop=asyncio.get_event_loop)
    stacks.stub(
        monkeypatch,
        "verl.utils.reward_score",
        default_compute_score=None,
        get_default_compute_score=lambda _: None,
    )
    stacks.stub(monkeypatch, managers, register=lambda _: lambda kind: kind)
    base = stacks.load(monkeypatch, "verl", f"{managers.replace('.', '/')}/base.py")
    naive = stacks.load(monkeypatch, "verl", f"{managers.replace('.', '/')}/naive.py")
    stacks.load(monkeypatch, "verl", "verl/utils/import_utils.py")
    loading = stacks.load(monkeypatch, "verl", "verl/trainer/ppo/reward.py")
    return SimpleNamespace(base=base, naive=naive, loading=loading)


class Settings(dict[str, Any]):
    """As much of a DictConfig as is used: keys as attributes too."""

    __getattr__ = dict.__getitem__


@pytest.mark.parametrize("how", ["file", "file of a coroutine", "package"])
def test_verls_own_manager_gets_the_rewards_of_the_run(
    how: str,
    reward_loop: Any,
    reward_run: Path,
    reward_scorer: Any,
    tokenizer: Any,
    conversations: list[Conversation],
    tmp_path: Path,
) -> None:
    """``NaiveRewardManager`` and ``get_custom_reward_fn`` as verl ships them."""
    path, kwargs = str(tmp_path / "reward.py"), {}
    if how == "package":
        path, kwargs = "pkg://assay.rlhf.plugins.verl", {"assay_reward": str(reward_run)}
    else:
        ending = ".compute_score" if how != "file" else ""
        Path(path).write_text(
            "from assay.rlhf.plugins.verl import verl_reward\n"
            f"compute_score = verl_reward({str(reward_run)!r}){ending}\n"
        )
    function = {"path": path, "name": "compute_score", "reward_kwargs": kwargs}
    config = Settings(reward=Settings(custom_reward_function=function))
    data = [Data([item(tokenizer, c)]) for c in conversations]

    async def run() -> list[Any]:
        compute_score = reward_loop.loading.get_custom_reward_fn(config)
        manager = reward_loop.naive.NaiveRewardManager(config, tokenizer, compute_score)
        assert manager.is_async_reward_score is (how != "file")
        return await asyncio.gather(*(manager.run_single(d) for d in data))

    answers = asyncio.run(run())
    wanted = reward_scorer.score(conversations).reward
    np.testing.assert_allclose([a["reward_score"] for a in answers], wanted, atol=1e-4)
    assert {tuple(sorted(a["reward_extra_info"])) for a in answers} == {("assay_failed", "score")}


def test_the_manager_has_what_verls_base_has(
    reward_loop: Any, reward_run: Path, tmp_path: Path
) -> None:
    base = reward_loop.base.RewardManagerBase
    naive = reward_loop.naive.NaiveRewardManager
    for name in ("run_single", "assemble_rm_scores", "init_class"):
        theirs, ours = (inspect.signature(getattr(k, name)) for k in (base, AssayRewardManager))
        assert list(theirs.parameters) == list(ours.parameters)
    theirs, ours = (inspect.signature(k.__init__) for k in (naive, AssayRewardManager))
    assert list(theirs.parameters) == list(ours.parameters)
    mask = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]])
    batch = {"prompts": mask[:, :2], "responses": torch.ones(2, 3), "attention_mask": mask}
    data = SimpleNamespace(batch=batch)
    placed = [k.assemble_rm_scores(data, [0.5, -2.0]) for k in (base, AssayRewardManager)]
    assert placed[0].equal(placed[1])
    path = tmp_path / "manager.py"
    path.write_text(
        "from assay.rlhf.plugins.verl import verl_reward_manager\n"
        f"AssayReward = verl_reward_manager({str(reward_run)!r})\n"
    )
    place = Settings(source="importlib", name="AssayReward", module=Settings(path=str(path)))
    config = Settings(reward=Settings(reward_manager=place, custom_reward_function={}))
    manager = reward_loop.loading.load_reward_manager(
        config, None, reward_router_address=None, reward_model_tokenizer=None
    )
    assert isinstance(manager, AssayRewardManager)
