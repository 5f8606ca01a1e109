"""Completers give what was asked in order, whatever else was asked, and say what failed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from policies import tiny_policy
from solver import asked

from assay.feedback.client import Client, Endpoint
from assay.feedback.completers import (
    EndpointCompleter,
    FunctionCompleter,
    PolicyCompleter,
    Writing,
)
from assay.feedback.http import EndpointError
from assay.feedback.rollouts import Prefix, rollout_key
from assay.models.policy import Policy

PREFIXES = [Prefix(asked("tea"), ()), Prefix(asked("tea"), ("one", "two")), Prefix(asked("r"), ())]
SHORT = Writing(max_new_tokens=6, temperature=1.0, separator="\n")


@pytest.fixture(scope="module")
def policy(tiny_backbone: Path) -> Policy:
    return tiny_policy("llama", tiny_backbone)


def test_a_policys_rollouts_depend_on_prefix_and_seed_not_on_the_batch(policy: Policy) -> None:
    completer = PolicyCompleter(policy, SHORT, batch_size=5)
    together = completer(PREFIXES, 3, 0)
    assert [len(r.texts) for r in together] == [3, 3, 3]
    alone = [completer([prefix], 3, 0)[0] for prefix in reversed(PREFIXES)]
    assert alone[::-1] == together
    assert completer(PREFIXES, 3, 1) != together
    assert all(0 < r.response_tokens <= 18 for r in together)
    header = len(policy.prompt_ids(asked("tea"), "one\ntwo\n"))
    assert together[1].prompt_tokens == header


def test_a_prefix_that_leaves_no_room_fails_alone(policy: Policy) -> None:
    long = Prefix(asked("tea " * 200), ())
    found = PolicyCompleter(policy, SHORT)([long, PREFIXES[0]], 1, 0)
    assert found[0].error == "longer than the 128 tokens the policy can read"
    assert found[1].error is None
    assert len(found[1].texts) == 1


def test_identities_hold_what_decides_the_text(policy: Policy, tiny_backbone: Path) -> None:
    one = PolicyCompleter(policy, SHORT).identity
    assert PolicyCompleter(policy, SHORT, batch_size=1).identity == one
    assert PolicyCompleter(policy, replace(SHORT, temperature=0.5)).identity != one
    other = tiny_policy("llama", tiny_backbone, seed=1)
    assert PolicyCompleter(other, SHORT).identity != one
    assert rollout_key(one, PREFIXES[0], 1, 0)


def test_a_function_is_called_with_prompt_steps_count_and_seed() -> None:
    completer = FunctionCompleter(lambda *given: [repr(given)] * given[2], "echo")
    found = completer(PREFIXES[1:2], 2, 5)
    assert found[0].texts == (repr((asked("tea"), ("one", "two"), 2, 5)),) * 2
    assert found[0].ended == (True, True)


@pytest.fixture
def endpoint(server: Any) -> Iterator[Callable[..., EndpointCompleter]]:
    client = Client(Endpoint(base_url=server.url, model="m", retries=1), sleep=lambda _: None)
    yield lambda **settings: EndpointCompleter(client, SHORT, **settings)
    client.close()


def test_an_endpoint_is_asked_to_continue_the_steps(server: Any, chat: Any, endpoint: Any) -> None:
    server.script = [lambda body: chat(*[f"to {len(body['messages'])}"] * body["n"])]
    found = endpoint()(PREFIXES, 2, 0)
    assert [r.texts for r in found] == [("to 1",) * 2, ("to 2",) * 2, ("to 1",) * 2]
    assert found[0].ended == (True, True)
    assert (found[0].prompt_tokens, found[0].response_tokens) == (7, 5)
    begun = next(b for b in server.bodies if len(b["messages"]) == 2)
    assert begun["messages"][1] == {"role": "assistant", "content": "one\ntwo\n"}
    assert begun["continue_final_message"] is True
    assert begun["add_generation_prompt"] is False
    assert (begun["n"], begun["max_tokens"], begun["temperature"]) == (2, 6, 1.0)
    seeds = {body["seed"] for body in server.bodies}
    assert len(seeds) == 3
    assert all(0 <= seed < 2**31 for seed in seeds)
    server.bodies.clear()
    endpoint(asks_to_continue=False)(PREFIXES[1:2], 2, 0)
    assert "continue_final_message" not in server.bodies[0]


def test_a_template_makes_plain_completions(server: Any, endpoint: Any) -> None:
    server.script = [{"choices": [{"text": "three", "finish_reason": "length"}]}]
    completer = endpoint(template=lambda m: f"Q: {m[0].content} A: ", template_name="qa")
    found = completer(PREFIXES[1:2], 1, 0)
    assert server.bodies[0]["prompt"] == "Q: tea A: one\ntwo\n"
    assert (found[0].texts, found[0].ended) == (("three",), (False,))
    assert completer.identity["route"] == "completions qa"
    assert completer.identity != endpoint().identity


def test_a_refused_request_fails_alone_and_too_few_answers_are_a_failure(
    server: Any, chat: Any, endpoint: Any
) -> None:
    def answer(body: dict[str, Any]) -> Any:
        if body["messages"][0]["content"] == "r":
            return 400, {}, b"too long"
        return chat("one") if len(body["messages"]) == 1 else chat("one", "two")

    server.script = [answer]
    few, right, refused = endpoint()(PREFIXES, 2, 0)
    assert few.error == "1 answers came where 2 were asked"
    assert right.texts == ("one", "two")
    assert refused.error is not None
    assert "answered 400: 'too long'" in refused.error


def test_an_endpoint_that_is_gone_is_asked_no_more(server: Any, endpoint: Any) -> None:
    server.script = [(500, {}, b"")]
    many = [Prefix(asked(str(i)), ()) for i in range(40)]
    with pytest.raises(EndpointError, match=r"answered 500 .*tried 2 times"):
        endpoint(concurrency=2)(many, 1, 0)
    assert len(server.paths) < 40
