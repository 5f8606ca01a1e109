"""Nothing that was answered is paid twice: across repeats, processes, and a kill."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import ProcessEndpoint, fake_endpoint

from assay.errors import DataError
from assay.feedback.cache import ReplyCache, reply_key
from assay.feedback.client import AsyncClient, Client, Endpoint
from assay.feedback.costs import Budget
from assay.feedback.estimates import Estimate, estimate
from assay.feedback.flow import each
from assay.feedback.http import EndpointError
from assay.types import Message

Made = Callable[..., Client]


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[ReplyCache]:
    made = ReplyCache(tmp_path / "deep" / "replies.sqlite")
    yield made
    made.close()


@pytest.fixture
def made(cache: ReplyCache) -> Iterator[Made]:
    clients: list[Client] = []

    def make(url: str, **settings: Any) -> Client:
        endpoint = Endpoint(base_url=url, model="m", **{"retries": 0, **settings})
        clients.append(Client(endpoint, cache=cache))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_a_reply_is_paid_once_wherever_the_model_is_served(cache: ReplyCache, made: Made) -> None:
    with fake_endpoint() as one, fake_endpoint() as two:
        first = made(one.url)
        paid = first.chat(asked("hi"), temperature=0, logprobs=True, max_tokens=3)
        second = made(two.url)
        kept = second.chat(asked("hi"), temperature=0, logprobs=True, max_tokens=3)
        assert (paid.cached, kept.cached) == (False, True)
        assert kept.choices == paid.choices
        assert kept.choices[0].logprobs is not None
        assert (one.paid["hi"], two.paid["hi"]) == (1, 0)
        assert (first.usage.requests, first.usage.cached) == (1, 0)
        assert (second.usage.requests, second.usage.cached, second.usage.prompt_tokens) == (0, 1, 0)
        assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)
        second.complete("hi", temperature=0, max_tokens=3)  # another route is another question
        assert two.paid["hi"] == 1


def test_repeats_at_a_temperature_are_told_apart_by_their_number(made: Made) -> None:
    with fake_endpoint() as endpoint:
        client = made(endpoint.url)
        for sample in (0, 1, 1, 0, 2):
            client.chat(asked("draw"), sample=sample)
            client.chat(asked("drawn"), sample=sample, temperature=0.7)
            client.chat(asked("seeded"), sample=sample, temperature=0.7, seed=1)
            client.chat(asked("greedy"), sample=sample, temperature=0)
        assert dict(endpoint.paid) == {"draw": 3, "drawn": 3, "seeded": 1, "greedy": 1}


def test_keys_are_canonical_and_tell_everything_apart() -> None:
    body = {"model": "m", "messages": [], "temperature": 0}
    key = reply_key("/chat/completions", body)
    assert key == reply_key("/chat/completions", dict(reversed(body.items())), sample=4)
    others = [
        reply_key("/completions", body),
        reply_key("/chat/completions", body | {"model": "n"}),
        reply_key("/chat/completions", body | {"seed": 1}),
        reply_key("/chat/completions", body | {"response_format": {"type": "json_object"}}),
        reply_key("/chat/completions", body | {"temperature": 1}),
        reply_key("/chat/completions", body | {"temperature": 1}, sample=1),
    ]
    assert len({key, *others}) == 7
    assert len(key) == 64


@pytest.mark.parametrize(
    "mood", ["rate", "error", "page", "truncated", "error-body", "empty", "forbidden", "close"]
)
def test_failures_are_not_kept(cache: ReplyCache, made: Made, mood: str) -> None:
    with fake_endpoint() as endpoint:
        client = made(endpoint.url)
        with pytest.raises(EndpointError):
            client.chat(asked(f"mood:{mood}*1"), temperature=0)
        assert len(cache) == 0
        assert not client.chat(asked(f"mood:{mood}*1"), temperature=0).cached
        assert len(cache) == 1
        assert client.usage.failed == 1


def test_the_same_asked_at_the_same_time_is_paid_once(cache: ReplyCache) -> None:
    with fake_endpoint(latency_seconds=0.05) as endpoint:
        client = AsyncClient(Endpoint(base_url=endpoint.url, model="m"), cache=cache)

        async def work(item: int) -> bool:
            return (await client.chat(asked(f"q{item % 3}"), temperature=0)).cached

        kept = [hit for _, hit in each(range(30), work, 30)]
        client.close()
        assert dict(endpoint.paid) == {"q0": 1, "q1": 1, "q2": 1}
        assert kept.count(False) == 3
        assert not client._asking  # nothing is left behind


def test_the_key_is_not_in_the_file(
    cache: ReplyCache, server: Any, chat: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    server.script = [chat("your key is sk-secret-123")]
    endpoint = Endpoint(base_url=server.url, model="m", key_variable="MY_KEY")
    client = Client(endpoint, cache=cache)
    reply = client.chat(asked("what is my key?"))
    client.close()
    assert reply.choices[0].text == "your key is ***"
    assert len(cache) == 1
    (value,) = [cache.get(reply_key("/chat/completions", body)) for body in server.bodies]
    assert value["choices"][0]["message"]["content"] == "your key is ***"
    assert "secret" not in json.dumps(value)
    for file in cache.path.parent.iterdir():
        assert b"secret" not in file.read_bytes()


KILLED = """
import sys
from assay.feedback.cache import ReplyCache
from assay.feedback.client import AsyncClient, Endpoint
from assay.feedback.flow import each
from assay.types import Message

url, path = sys.argv[1:]
client = AsyncClient(Endpoint(base_url=url, model="m"), cache=ReplyCache(path))
work = lambda i: client.chat((Message("user", f"q{i}"),), temperature=0)
for item, _ in each(range(300), work, 8):
    pass
print("done", flush=True)
"""


@pytest.mark.medium
def test_after_a_kill_no_answered_call_is_paid_again(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    endpoint = ProcessEndpoint("--latency", "0.02")
    try:
        command = [sys.executable, "-c", KILLED, endpoint.url, str(path)]
        job = subprocess.Popen(command)
        while sum(endpoint.totals()["paid"].values()) < 60:
            time.sleep(0.02)
        job.kill()
        job.wait()
        paid = endpoint.totals()["paid"]
        kept = ReplyCache(path)
        keys = {i: reply_key("/chat/completions", _body(f"q{i}")) for i in range(300)}
        answered = {f"q{i}" for i, key in keys.items() if key in kept}
        kept.close()
        assert len(answered) >= 60 - 8 - 1
        assert len(paid) - len(answered) <= 8  # what was in flight
        again = subprocess.run(command, check=True, capture_output=True, text=True)
        assert again.stdout == "done\n"
        counts = endpoint.totals()["paid"]
        assert set(counts) == {f"q{i}" for i in range(300)}
        assert {p for p in answered if counts[p] > 1} == set()
        subprocess.run(command, check=True, capture_output=True)
        assert endpoint.totals()["paid"] == counts  # a whole run out of the cache
    finally:
        endpoint.close()


def _body(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}], "temperature": 0}


@pytest.mark.medium
def test_two_processes_share_a_cache(tmp_path: Path) -> None:
    path = tmp_path / "replies.sqlite"
    endpoint = ProcessEndpoint()
    try:
        command = [sys.executable, "-c", KILLED, endpoint.url, str(path)]
        jobs = [subprocess.Popen(command) for _ in range(2)]
        assert [job.wait(60) for job in jobs] == [0, 0]
        kept = ReplyCache(path)
        assert len(kept) == 300
        kept.close()
    finally:
        endpoint.close()


def test_a_file_that_is_damaged_or_of_something_else_is_said(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.write_bytes(b"no database at all, and long enough to be looked at\n" * 50)
    with pytest.raises(DataError, match=r"text is damaged, .* or move it away"):
        ReplyCache(text)
    other = tmp_path / "other.db"
    database = sqlite3.connect(other)
    database.execute("CREATE TABLE prefs (a)")
    database.commit()
    database.close()
    with pytest.raises(DataError, match="is a database of something else; name another"):
        ReplyCache(other)
    with pytest.raises(DataError, match="cannot be used"):
        ReplyCache(tmp_path)
    torn = ReplyCache(tmp_path / "torn.db")
    torn.put("k", {"a": 1})
    torn.put("k", {"a": 2})
    assert torn.get("k") == {"a": 1}
    torn._run("UPDATE replies SET value = x'0011'", ())
    with pytest.raises(DataError, match=r"torn\.db is damaged"):
        torn.get("k")
    torn.close()
    with pytest.raises(DataError, match="cannot be used"):
        torn.get("k")


def test_an_estimate_is_never_below_what_it_costs(cache: ReplyCache) -> None:
    settings = {"max_tokens": 20, "n": 2, "temperature": 0}
    requests: list[Any] = [(asked(f"question {i}"), settings) for i in range(20)]
    requests.append(("a text", settings))
    with fake_endpoint() as server:
        endpoint = Endpoint(base_url=server.url, model="m", prompt_price=1.0, response_price=2.0)
        before = estimate(endpoint, requests, cache)
        assert (before.requests, before.cached) == (21, 0)
        assert before.response_tokens_at_most == 21 * 40
        budget = Budget(before.cost_at_most or 0.0)  # enough for all of it, by its own word
        client = Client(endpoint, cache=cache, budget=budget)
        for prompt, how in requests[:20]:
            client.chat(prompt, **how)
        client.complete(requests[20][0], **settings)
        client.close()
        assert before.cost_at_most is not None
        assert 0 < client.usage.cost < before.cost_at_most
        assert server.prompt_tokens < before.prompt_tokens
        assert estimate(endpoint, requests, cache) == Estimate(0, 0, 0, 0.0, 21)
    free = Endpoint(base_url="http://h/v1", model="m")
    assert estimate(free, requests * 2).cost_at_most is None
    assert estimate(free, requests * 2).requests == 42
    unbounded = estimate(endpoint, [(asked("hi"), {"sample": 3})])
    assert (unbounded.response_tokens_at_most, unbounded.cost_at_most) == (None, None)
    fresh = [(asked("new"), {**settings, "sample": 0})] * 2
    assert estimate(endpoint, fresh, cache).cached == 1  # equal ones are asked once
