"""OpenRLHF gets what ``assay score`` gives, by the published contract and by its own executor."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import stacks
import torch
from plugins_shared import length_reward, query_of

from assay.errors import ConfigError, DataError, TrainingError
from assay.models.rendering import load_renderer
from assay.rlhf.plugins import openrlhf as module
from assay.rlhf.plugins.openrlhf import OpenRlhfReward, openrlhf_reward
from assay.score.remote import RemoteScorer
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def reward(reward_run: Path, tiny_backbone: Path, own_cache: Path) -> OpenRlhfReward:
    return openrlhf_reward(reward_run, policy=tiny_backbone)


def sent(conversations: list[Conversation]) -> tuple[list[str], list[str], list[str]]:
    prompts, queries = zip(*map(query_of, conversations), strict=True)
    return list(queries), list(prompts), [""] * len(queries)


def test_the_answer_is_what_the_contract_says(
    reward: OpenRlhfReward, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    wanted = reward_scorer.score(conversations).reward
    answer = reward(*sent(conversations), extra=1)
    assert set(answer) == {"rewards", "scores", "extra_logs"}
    for tensor in (answer["rewards"], answer["scores"], *answer["extra_logs"].values()):
        assert isinstance(tensor, torch.Tensor)
        assert tensor.shape == (len(conversations),)
    np.testing.assert_allclose(answer["rewards"], wanted, atol=1e-4)
    np.testing.assert_allclose(answer["scores"], 1 / (1 + np.exp(-wanted)), atol=1e-4)
    assert answer["extra_logs"]["assay_ended"].tolist() == [1.0] * len(conversations)
    assert answer["extra_logs"]["assay_failed"].tolist() == [0.0] * len(conversations)


def test_calls_of_one_in_threads_are_the_same(
    reward: OpenRlhfReward, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    queries, prompts, labels = sent(conversations)

    def one(i: int) -> float:
        answer = reward(queries[i : i + 1], prompts[i : i + 1], labels[i : i + 1])
        return float(answer["rewards"][0])

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(len(queries))))
    np.testing.assert_allclose(found, reward_scorer.score(conversations).reward, atol=1e-4)


def test_empty_lists_are_answered(reward: OpenRlhfReward) -> None:
    assert reward([], [], [])["rewards"].shape == (0,)
    empty = {
        "rewards": [],
        "scores": [],
        "extra_logs": {"assay_failed": [], "assay_ended": []},
    }
    assert reward.handle({"query": [], "prompts": [], "labels": []}) == empty
    assert reward.handle({"query": []}) == empty


def test_a_response_that_did_not_end_is_scored_and_said(
    reward: OpenRlhfReward, reward_scorer: Any
) -> None:
    conversation = Conversation.of("Hi", "clear and")
    prompt, query = query_of(conversation)
    answer = reward([query.removesuffix("<|im_end|>")], [prompt], [""])
    assert answer["extra_logs"]["assay_ended"].tolist() == [0.0]
    wanted = reward_scorer.score([conversation]).reward
    np.testing.assert_allclose(answer["rewards"], wanted, atol=1e-4)


def test_prompts_may_come_as_messages_in_the_labels(reward_run: Path, reward_scorer: Any) -> None:
    by_label = openrlhf_reward(reward_run, prompts_in_labels=True, input_template="Q: {} A:")
    turns = [{"role": "system", "content": "Be kind"}, {"role": "user", "content": "Hi"}]
    wanted = reward_scorer.score([Conversation.of(turns, "clear")]).reward
    for label in (turns, json.dumps(turns)):
        answer = by_label(["Q: whatever A:clear"], ["Q: whatever A:"], [label])
        np.testing.assert_allclose(answer["rewards"], wanted, atol=1e-4)
    with pytest.raises(TrainingError, match=r"A label is 'four'; wanted the prompt's messages"):
        by_label(["Q: whatever A:clear"], ["Q: whatever A:"], ["four"])


def test_failures_stop_or_have_the_number_that_was_given() -> None:
    queries, prompts, labels = sent([Conversation.of("a", "good"), Conversation.of("a", "bad")])
    plain = [q.replace("<|im_end|>", "").partition("assistant\n")[2] for q in queries]
    prompts = ["Say it: "] * 2
    queries = [p + r for p, r in zip(prompts, plain, strict=True)]
    with pytest.raises(TrainingError, match="'length' gave none for response 2 of 2: ValueError"):
        openrlhf_reward(length_reward())(queries, prompts, labels)
    skipping = length_reward(on_failure="skip")
    with pytest.raises(ConfigError, match=r"OpenRLHF cannot leave a response out .* failed_reward"):
        openrlhf_reward(skipping)
    with pytest.raises(ConfigError, match="failed_reward is nan"):
        openrlhf_reward(skipping, failed_reward=float("nan"))
    answer = openrlhf_reward(skipping, failed_reward=-9.0).judge(queries, prompts, labels)
    assert answer["rewards"] == [4.0, -9.0]
    assert answer["extra_logs"]["assay_failed"] == [0.0, 1.0]
    assert skipping.failures.total == 1
    with pytest.raises(DataError, match="2 queries, 1 prompts and 2 labels were sent"):
        openrlhf_reward(length_reward())(queries, prompts[:1], labels)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ([], "has no list of texts 'query'"),
        ({}, "has no list of texts 'query'"),
        ({"query": "a"}, "has no list of texts 'query'"),
        ({"query": [1]}, "has no list of texts 'query'"),
        ({"query": ["a"], "prompts": [1]}, "'prompts' .* are no list of texts"),
        ({"query": ["a"], "prompts": ["a"], "labels": "x"}, "'labels' .* are no list"),
    ],
)
def test_bodies_that_are_none_are_refused(body: Any, said: str) -> None:
    with pytest.raises(DataError, match=said):
        openrlhf_reward(length_reward()).handle(body)


@contextmanager
def served(reward: OpenRlhfReward) -> Any:
    """``/get_reward`` on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            content = json.dumps(reward.handle(body)).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/get_reward"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("contract", [True, False], ids=["rendered", "plain"])
def test_a_remote_scorer_of_the_same_run_gives_its_rewards(
    contract: bool, reward_run: Path, reward_scorer: Any, conversations: list[Conversation]
) -> None:
    how = {} if contract else {"input_template": "{}\n\n"}  # what plain text puts after a prompt
    with served(openrlhf_reward(reward_run, **how)) as url:
        renderer = load_renderer(reward_run) if contract else None
        remote = RemoteScorer(url, renderer=renderer, batch_size=5)
        found = remote.score(conversations).reward
        remote.close()
    np.testing.assert_allclose(found, reward_scorer.score(conversations).reward, atol=1e-4)


def test_the_file_itself_takes_the_reward_of_the_environment(
    reward_run: Path, tiny_backbone: Path, reward_scorer: Any, monkeypatch: Any
) -> None:
    spec = importlib.util.spec_from_file_location("reward_func", str(module.__file__))
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)  # as OpenRLHF loads a file
    monkeypatch.delenv("ASSAY_REWARD", raising=False)
    with pytest.raises(ConfigError, match="set the environment variable ASSAY_REWARD"):
        loaded.reward_func([], [], [])
    monkeypatch.setenv("ASSAY_REWARD", str(reward_run))
    monkeypatch.setenv("ASSAY_POLICY", str(tiny_backbone))
    conversation = Conversation.of("Hi", "clear")
    prompt, query = query_of(conversation)
    answer = loaded.reward_func([query], [prompt], [""])
    wanted = reward_scorer.score([conversation]).reward
    np.testing.assert_allclose(answer["rewards"], wanted, atol=1e-4)


class Engine:
    """Answers every prompt alike, as vLLM does."""

    def __init__(self, tokenizer: Any, text: str):
        self.ids = tokenizer(text, add_special_tokens=False)["input_ids"]

    async def generate(self, prompt_ids: Any, params: Any, multi_modal_data: Any = None) -> Any:
        output = SimpleNamespace(token_ids=self.ids, finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


@pytest.mark.parametrize("by", ["file", "http"])
@pytest.mark.parametrize("room", [256, 22], ids=["whole", "cut"])
def test_openrlhfs_own_executor_gets_the_rewards_of_the_run(
    by: str,
    room: int,
    reward_run: Path,
    reward_scorer: Any,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: Any,
) -> None:
    """``SingleTurnAgentExecutor`` as OpenRLHF ships it, with an engine that answers alike."""
    from transformers import AutoTokenizer

    stacks.source("openrlhf", "openrlhf/utils/agent.py")
    if by == "http":
        pytest.importorskip("aiohttp")
    else:
        stacks.stub(monkeypatch, "aiohttp")
    for name in ("openrlhf", "openrlhf.utils"):
        stacks.stub(monkeypatch, name)
    stacks.stub(monkeypatch, "openrlhf.utils.logging_utils", init_logger=logging.getLogger)
    agent = stacks.load(monkeypatch, "openrlhf", "openrlhf/utils/agent.py")
    file = tmp_path / "reward.py"
    file.write_text(
        "from assay.rlhf.plugins.openrlhf import openrlhf_reward\n"
        f"reward_func = openrlhf_reward({str(reward_run)!r}, policy={str(tiny_backbone)!r})\n"
    )
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    conversations = [Conversation.of(f"Write {n} words about tea", "clear kind") for n in range(6)]
    engine = Engine(tokenizer, "clear kind<|im_end|>")
    params = SimpleNamespace(max_tokens=8, logprobs=None)
    tokens = [len(tokenizer(query_of(c)[0])["input_ids"]) for c in conversations]
    assert (min(tokens) > room - params.max_tokens) is (room == 22)  # whether prompts are cut

    async def run(where: str) -> list[Any]:
        executor = agent.SingleTurnAgentExecutor([where])
        prompts = [query_of(c)[0] for c in conversations]
        calls = [executor.execute(p, "", params, room, tokenizer, engine) for p in prompts]
        return await asyncio.gather(*calls)

    if by == "file":
        outputs = asyncio.run(run(str(file)))
    else:
        with served(openrlhf_reward(reward_run, policy=tiny_backbone)) as url:
            outputs = asyncio.run(run(url))
    wanted = reward_scorer.score(conversations).reward
    for output, reward in zip(outputs, wanted, strict=True):
        # what SamplesGenerator does with it
        assert torch.tensor([output["reward"]]).flatten()[0].item() == pytest.approx(
            reward, abs=1e-4
        )
        assert float(torch.as_tensor(output["extra_logs"]["assay_ended"]).flatten()[0]) == 1.0
        if by == "file":
            assert torch.tensor([output["reward"]]).shape == (1,)
