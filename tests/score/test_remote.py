"""Contract: a reward server's numbers come in order, or one sentence says why they do not."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scripted import ScriptedServer, scripted_server

from assay.errors import ConfigError, ContractError
from assay.feedback.http import Answer, EndpointError
from assay.models.rendering import load_renderer
from assay.models.reward_model import RewardModel
from assay.score.remote import RemoteScorer, plain_text, protocol_of
from assay.types import Conversation, Scorer

ANYWHERE = RemoteScorer("http://h/get_reward")
CONVERSATIONS = [Conversation.of("Hi", "x" * n) for n in range(1, 8)]


OPEN: list[RemoteScorer] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as scripted:
        yield scripted


def root(server: ScriptedServer) -> str:
    return server.url.removesuffix("/v1")


def scorer(server: ScriptedServer, protocol: Any = "openrlhf", **how: Any) -> RemoteScorer:
    OPEN.append(RemoteScorer(root(server), protocol=protocol, **{"retries": 0, **how}))
    return OPEN[-1]


def lengths(body: dict[str, Any]) -> dict[str, Any]:
    """Rewards each text by its length, in the protocol it is asked in."""
    texts = body.get("query") or body.get("messages") or body.get("input") or []
    rewards = [float(len(t)) for t in texts]
    if "query" in body:
        return {"rewards": rewards, "scores": rewards, "extra_logs": {}}
    if "messages" in body:
        return {"id": "1", "object": "score.evaluation", "model": "m", "scores": rewards}
    data = [{"index": i, "probs": [r], "num_classes": 1} for i, r in enumerate(rewards)]
    return {"data": data[::-1]}  # order is by index, not by place


@pytest.mark.parametrize(
    ("protocol", "path"),
    [
        ("openrlhf", "/get_reward"),
        ("llamafactory", "/v1/score/evaluation"),
        ("vllm", "/classify"),
    ],
)
def test_rewards_come_in_order_whatever_the_batches(
    server: ScriptedServer, protocol: Any, path: str
) -> None:
    server.script = [lengths]
    whole = scorer(server, protocol).score(CONVERSATIONS)
    assert whole.reward.tolist() == [float(len(plain_text(c).whole)) for c in CONVERSATIONS]
    assert whole.std is None
    assert server.paths == [path]
    cut = scorer(server, protocol, batch_size=2, concurrency=3).score(CONVERSATIONS)
    assert cut.reward.tolist() == whole.reward.tolist()
    assert len(server.paths) == 1 + 4
    assert isinstance(scorer(server, protocol), Scorer)


def test_bodies_are_what_the_protocols_say(server: ScriptedServer) -> None:
    server.script = [lengths]
    two = CONVERSATIONS[:2]
    scorer(server, "openrlhf").score(two)
    scorer(server, "llamafactory").score(two)
    scorer(server, "vllm", model="rm").score(two)
    texts = ["Hi\n\nx", "Hi\n\nxx"]
    assert server.bodies == [
        {"query": texts, "prompts": ["Hi\n\n"] * 2, "labels": ["", ""]},
        {"model": "model", "messages": texts},
        {"input": texts, "use_activation": False, "add_special_tokens": False, "model": "rm"},
    ]


def test_plain_text_of_several_turns_says_who_speaks() -> None:
    turns = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "More"},
    ]
    text = plain_text(Conversation.of(turns, "Yes"))
    assert text.prompt == "user: Hi\n\nassistant: Hello\n\nuser: More\n\nassistant: "
    assert text.whole == text.prompt + "Yes"


def test_a_renderer_writes_what_the_model_was_trained_on(
    server: ScriptedServer, tiny_backbone: Any, own_cache: Any, tmp_path: Any
) -> None:
    server.script = [lengths]
    model = RewardModel.from_backbone(str(tiny_backbone), max_length=64)
    renderer = load_renderer(model.save(tmp_path / "run"))
    scorer(server, renderer=renderer).score([Conversation.of("Hi", "clear")])
    (body,) = server.bodies
    assert body["prompts"] == ["<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"]
    assert body["query"] == [body["prompts"][0] + "clear<|im_end|>"]
    assert body["query"] == [model.renderer.render(Conversation.of("Hi", "clear"))]
    with pytest.raises(ContractError, match="contains the end-of-response token"):
        scorer(server, renderer=renderer).score([Conversation.of("Hi", "a <|im_end|>")])


@pytest.mark.parametrize(
    ("protocol", "answer", "said"),
    [
        ("openrlhf", {"rewards": [1.0, None, 2.0]}, "answered null for conversation 2 of the 3"),
        ("openrlhf", {"rewards": [1.0, float("nan"), 2]}, "answered nan for conversation 2 of"),
        ("openrlhf", {"rewards": [1.0, "2", 3.0]}, "answered '2' for conversation 2 of the 3"),
        ("openrlhf", {"rewards": [True, 1.0, 3.0]}, "answered True for conversation 1 of the 3"),
        ("llamafactory", {"scores": [1.0, 2.0, float("inf")]}, "answered inf for conversation 3"),
        ("openrlhf", {"rewards": [1.0, 2.0]}, "answered 2 rewards where 3 conversations were sent"),
        ("openrlhf", {"scores": [1.0]}, "something else than the protocol openrlhf says: '{"),
        ("openrlhf", {"rewards": None}, "something else than the protocol openrlhf says"),
        ("vllm", {"rewards": [1.0]}, "something else than the protocol vllm says"),
        (
            "vllm",
            {"data": [{"index": i, "probs": [0.1, 0.9]} for i in range(3)]},
            r"answered \[0\.1, 0\.9\] for conversation 1 of the 3 that were sent; wanted a finite",
        ),
        ("vllm", {"error": {"message": "no such model", "code": 404}}, "200 with an error"),
    ],
)
def test_answers_that_are_no_rewards_are_one_sentence(
    server: ScriptedServer, protocol: Any, answer: Any, said: str
) -> None:
    server.script = [answer]
    with pytest.raises(EndpointError, match=said) as error:
        scorer(server, protocol).score(CONVERSATIONS[:3])
    assert str(error.value).startswith(root(server))
    assert "\n" not in str(error.value)


def test_what_may_pass_is_tried_again(server: ScriptedServer) -> None:
    server.script = [(503, {}, b"busy"), None, {"rewards": [2.5]}]
    remote = scorer(server, retries=3)
    remote._client._sleep = lambda _: None
    assert remote.score(CONVERSATIONS[:1]).reward.tolist() == [2.5]
    assert len(server.paths) == 3
    server.script = [(500, {}, b"broken")]
    with pytest.raises(EndpointError, match=r"answered 500: 'broken' \(tried 4 times\)"):
        remote.score(CONVERSATIONS[:1])


def test_a_server_that_hangs_is_given_up_in_time(server: ScriptedServer) -> None:
    released = threading.Event()
    server.script = [lambda _: released.wait(10) and {"rewards": [1.0]}]
    began = time.monotonic()
    try:
        with pytest.raises(EndpointError, match="did not answer in time"):
            scorer(server, timeout_seconds=0.2).score(CONVERSATIONS[:1])
    finally:
        released.set()
    assert time.monotonic() - began < 5


def test_requests_at_a_time_are_bounded(server: ScriptedServer) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        time.sleep(0.02)
        with lock:
            now[0] -= 1
        return lengths(body)

    server.script = [slow]
    many = [Conversation.of("Hi", str(n)) for n in range(12)]
    scorer(server, batch_size=1, concurrency=3).score(many)
    assert 1 < most[0] <= 3


def test_nothing_is_asked_of_nothing(server: ScriptedServer) -> None:
    server.script = [lengths]
    assert scorer(server).score([]).reward.shape == (0,)
    assert server.paths == []


def test_the_key_is_sent_and_in_no_message(
    server: ScriptedServer, monkeypatch: Any, caplog: Any
) -> None:
    monkeypatch.setenv("REWARD_KEY", "secret-9876")
    server.script = [(401, {}, b"bad key secret-9876")]
    with caplog.at_level("DEBUG"), pytest.raises(EndpointError, match=r"bad key \*\*\*") as error:
        scorer(server, key_variable="REWARD_KEY").score(CONVERSATIONS[:1])
    assert server.headers[0]["Authorization"] == "Bearer secret-9876"
    assert "secret-9876" not in str(error.value) + caplog.text
    monkeypatch.delenv("REWARD_KEY")
    with pytest.raises(ConfigError, match="'REWARD_KEY' is not set"):
        scorer(server, key_variable="REWARD_KEY")


@pytest.mark.parametrize(
    ("url", "how", "said"),
    [
        ("http://h:1/score", {}, "protocol of 'h' cannot be told from its route '/score'"),
        ("ftp://h/get_reward", {}, "'h' is no address"),
        ("http://me:pw@h/get_reward", {}, "without user and password"),
        ("http://h/get_reward?key=1", {}, "has a query"),
        ("http://h/get_reward", {"batch_size": 0}, "batch_size 0 and concurrency 4 were given"),
        ("http://h/get_reward", {"retries": -1}, "retries -1 were given"),
    ],
)
def test_settings_that_cannot_work_are_refused(url: str, how: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        RemoteScorer(url, **how)
    assert "pw" not in str(error.value).replace("password", "")


def test_a_route_tells_its_protocol() -> None:
    assert protocol_of("http://h/get_reward") == "openrlhf"
    assert protocol_of("https://h/x/v1/score/evaluation/") == "llamafactory"
    assert RemoteScorer("http://h:8000/classify").url == "http://h:8000/classify"
    assert RemoteScorer("http://h:8000/", protocol="vllm").url == "http://h:8000/classify"
    assert RemoteScorer("http://h/own", protocol="vllm").url == "http://h/own"


@settings(max_examples=20)
@given(batch=st.integers(1, 9), n=st.integers(0, 9), concurrency=st.integers(1, 4))
def test_batches_change_nothing(batch: int, n: int, concurrency: int) -> None:
    ANYWHERE.batch_size, ANYWHERE.concurrency = batch, concurrency
    asked: list[int] = []

    def post(_: str, body: dict[str, Any], read: Any) -> Any:
        asked.append(len(body["query"]))
        return read(Answer("u", json.loads(json.dumps(lengths(body))), ""))

    ANYWHERE._client.post = post  # type: ignore[assignment]
    some = [Conversation.of("Hi", "y" * i) for i in range(n)]
    assert np.array_equal(ANYWHERE.score(some).reward, [4.0 + i for i in range(n)])
    assert sum(asked) == n
    assert max(asked, default=0) <= batch
