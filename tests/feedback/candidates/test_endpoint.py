"""Samples of an endpoint that does what it is told: each a request with a seed, paid once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.feedback.cache import ReplyCache
from assay.feedback.candidates.endpoint import EndpointSource, Fields, planned_requests
from assay.feedback.candidates.records import Job, Sample, Setting, Writing, prompt_digest
from assay.feedback.client import AsyncClient, Endpoint
from assay.feedback.estimates import estimate
from assay.feedback.http import EndpointError
from assay.types import Message

WARM = Setting(0, 0.7, 0.9)
Chat = Callable[..., dict[str, Any]]
OPEN: list[AsyncClient] = []


async def _no_wait(_: float) -> None: ...


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def job(text: str, index: int = 0, tools: Any = None) -> Job:
    messages = (Message("user", text),)
    return Job(messages, tools, prompt_digest(messages, tools), WARM, index, 100 + index)


def source(server: Any, cache: Path | None = None, **writing: Any) -> EndpointSource:
    endpoint = Endpoint(base_url=server.url, model="m", retries=1)
    kept = None if cache is None else ReplyCache(cache)
    OPEN.append(AsyncClient(endpoint, cache=kept, sleep=_no_wait))
    return EndpointSource(OPEN[-1], Writing(**{"max_new_tokens": 9, **writing}), in_flight=3)


def refused(*fields: str) -> Callable[[dict[str, Any]], Any]:
    """Answers unless the body has one of the fields."""

    def answer(body: dict[str, Any]) -> Any:
        if any(field in body for field in fields):
            return 400, {"content-type": "application/json"}, b'{"error": {"message": "no"}}'
        choice = {"message": {"role": "assistant", "content": "fine"}, "finish_reason": "stop"}
        return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}

    return answer


def test_every_sample_is_a_request_with_its_own_seed(server: Any, chat: Chat) -> None:
    server.script = [lambda body: chat(f"seed {body['seed']}", model="m-2026")]
    told: list[Sample] = []
    found = source(server, stop=("\n\n",)).write([job("x", n) for n in range(3)], told.append)
    assert [s.text for s in found] == ["seed 100", "seed 101", "seed 102"]
    assert found == told
    assert found[1] == Sample("seed 101", "stop", 7, 5, 101, "m-2026")
    asked = sorted(server.bodies[1:], key=lambda body: body["seed"])
    assert asked[0] == {
        "model": "m",
        "messages": [{"role": "user", "content": "x"}],
        "temperature": 0.7,
        "top_p": 0.9,
        "max_tokens": 9,
        "stop": ["\n\n"],
        "seed": 100,
    }


@pytest.mark.parametrize(
    ("not_taken", "fields"),
    [
        ((), Fields()),
        (("seed",), Fields(seed=False)),
        (("max_tokens",), Fields("max_completion_tokens")),
        (("max_tokens", "seed"), Fields("max_completion_tokens", seed=False)),
    ],
)
def test_it_is_asked_as_it_takes_it(
    server: Any, not_taken: tuple[str, ...], fields: Fields
) -> None:
    server.script = [refused(*not_taken)]
    found = source(server)
    (sample,) = found.write([job("x")], lambda _: None)
    assert found.fields() == fields
    assert (sample.text, sample.seed) == ("fine", 100 if fields.seed else None)
    assert server.bodies[-1][fields.limit] == 9


def test_without_seeds_repeats_are_kept_apart(server: Any, tmp_path: Path, chat: Chat) -> None:
    said = iter(range(100))

    def answer(body: dict[str, Any]) -> Any:
        return refused("seed")(body) if "seed" in body else chat(f"answer {next(said)}")

    server.script = [answer]
    jobs = [job("x", 0), job("x", 1)]
    found = source(server, tmp_path / "c.sqlite").write(jobs, lambda _: None)
    assert found[0].text != found[1].text
    asked = len(server.bodies)
    again = source(server, tmp_path / "c.sqlite").write(jobs, lambda _: None)
    assert [s.text for s in again] == [s.text for s in found]
    assert all(s.cached for s in again)
    assert len(server.bodies) == asked + 1  # what was refused is asked again, and only that


def test_failures_say_their_kind_and_refusals_and_tools_are_told(server: Any, chat: Chat) -> None:
    def answer(body: dict[str, Any]) -> Any:
        said = body["messages"][-1]["content"]
        if said == "bad":
            return 400, {}, b"no"
        if said == "page":
            return 200, {"content-type": "text/html"}, b"<html>busy</html>"
        if said == "no":
            message = {"role": "assistant", "content": None, "refusal": "I will not."}
            return {"choices": [{"message": message, "finish_reason": "stop"}]}
        return chat("fine")

    server.script = [answer]
    tools = ({"type": "function", "function": {"name": "f"}},)
    jobs = [job("bad"), job("page"), job("no"), job("x", tools=tools)]
    found = source(server).write(jobs, lambda _: None)
    assert [s.failed for s in found] == ["http", "page", None, None]
    assert [s.text for s in found] == ["", "", "", "fine"]
    assert found[2].is_refusal
    assert [b["tools"] for b in server.bodies if "tools" in b] == [list(tools)]


def test_an_endpoint_that_answers_nothing_ends_it_with_a_sentence(server: Any) -> None:
    server.script = [(400, {}, b"no")]
    with pytest.raises(EndpointError, match="not even a short one"):
        source(server).write([job("x")], lambda _: None)
    assert len(server.bodies) == 4
    server.script = [(401, {}, b"no")]
    with pytest.raises(EndpointError, match="401"):
        source(server).write([job("x")], lambda _: None)
    assert len(server.bodies) == 5


def test_nothing_more_is_asked_when_the_one_who_counts_has_enough(server: Any, chat: Chat) -> None:
    server.script = [chat("fine")]

    def enough(_: Sample) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        source(server).write([job("x", n) for n in range(500)], enough)
    assert len(server.bodies) < 50


def test_what_is_planned_is_what_is_asked(server: Any, tmp_path: Path, chat: Chat) -> None:
    server.script = [chat("fine")]
    jobs = [job("x", n) for n in range(3)]
    asking = source(server, tmp_path / "c.sqlite")
    cache = asking.client.cache
    assert cache is not None

    def planned() -> tuple[int, int]:
        requests = planned_requests(jobs, asking.writing)
        found = estimate(asking.client.endpoint, requests, cache)
        return found.requests, found.cached

    assert planned() == (3, 0)
    asking.write(jobs[:2], lambda _: None)
    assert planned() == (1, 2)
