"""The cap holds whatever the endpoint does; what is reserved comes back."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from fake_endpoint import FakeEndpoint, fake_endpoint

from assay.errors import ConfigError
from assay.feedback.client import AsyncClient, Endpoint
from assay.feedback.costs import Budget, tokens_of
from assay.feedback.flow import each
from assay.feedback.http import EndpointError
from assay.types import Message

PRICES: dict[str, Any] = {"prompt_price": 1.0, "response_price": 4.0}


def charged(endpoint: FakeEndpoint) -> float:
    return (endpoint.prompt_tokens * 1.0 + endpoint.response_tokens * 4.0) / 1e6


def ask_all(
    url: str, prompts: Sequence[str], budget: Budget | None, in_flight: int = 64, **settings: Any
) -> tuple[AsyncClient, list[str]]:
    """The client, and what became of every prompt: ``ok`` or the kind of its failure."""
    endpoint = Endpoint(base_url=url, model="m", retries=2, timeout_seconds=0.5, **PRICES)

    async def at_once(seconds: float) -> None:
        await asyncio.sleep(0)

    client = AsyncClient(endpoint, budget=budget, sleep=at_once)

    async def work(prompt: str) -> str:
        try:
            await client.chat((Message("user", prompt),), max_tokens=100, **settings)
        except EndpointError as error:
            return error.kind
        return "ok"

    found = [kind for _, kind in each(prompts, work, in_flight)]
    client.close()
    return client, found


@pytest.mark.medium
@pytest.mark.parametrize("moods", [[], ["truncated", "error", "no-usage", "rate", "empty"]])
def test_the_true_cost_never_passes_the_cap(moods: list[str]) -> None:
    prompts = [f"{i} {'mood:' + moods[i % 5] + '*1' if moods else ''}" for i in range(400)]
    with fake_endpoint() as endpoint:
        budget = Budget(0.05)
        client, found = ask_all(endpoint.url, prompts, budget)
        assert 0 < found.count("ok") < 400
        assert found.count("refused_budget") > 100
        assert charged(endpoint) <= budget.spent + 1e-9
        assert budget.spent <= budget.max_cost
        assert client.usage.cost == pytest.approx(budget.spent)
        assert budget.reserved == 0
        # nearly all of it is used: waiting for what is in flight, not refusing because of it
        assert budget.spent > 0.95 * budget.max_cost


def test_failures_that_are_not_charged_cost_nothing_and_those_that_may_be_do() -> None:
    with fake_endpoint() as endpoint:
        for mood in ("rate", "error", "busy", "forbidden"):
            budget = Budget(1.0)
            ask_all(endpoint.url, [f"mood:{mood}"], budget)
            assert budget.spent == 0, mood
        worst = (tokens_of(_body("mood:no-usage")).prompt_at_most + 400) / 1e6
        for mood, tries in (("no-usage", 1), ("empty", 1), ("hang", 3), ("close", 3)):
            budget = Budget(1.0)
            ask_all(endpoint.url, [f"mood:{mood}"], budget)
            assert budget.spent == pytest.approx(tries * worst, rel=0.05), mood
        budget = Budget(1.0)
        client, found = ask_all(endpoint.url, ["mood:truncated*1"], budget)
        assert found == ["ok"]
        assert endpoint.paid["mood:truncated*1"] == 2
        assert charged(endpoint) > 0
        assert budget.spent > client.usage.response_tokens * 4e-6 + worst * 0.9


def _body(prompt: str) -> dict[str, Any]:
    return {
        "model": "m",
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 100,
    }


def test_who_is_cancelled_is_counted_at_the_worst_case() -> None:
    with fake_endpoint(latency_seconds=5) as endpoint:
        budget = Budget(1.0)
        client = AsyncClient(Endpoint(base_url=endpoint.url, model="m", **PRICES), budget=budget)

        async def cut() -> None:
            asked = asyncio.create_task(client.chat((Message("user", "hi"),), max_tokens=10))
            await asyncio.sleep(0.2)
            assert budget.reserved > 0
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
            await client.aclose()

        asyncio.run(cut())
        assert budget.reserved == 0
        assert budget.spent == pytest.approx(
            (tokens_of(_body("hi")).prompt_at_most + 40) / 1e6, rel=0.05
        )


def test_a_budget_lets_wait_what_may_still_fit_and_refuses_what_cannot() -> None:
    async def asked() -> list[str]:
        budget, done = Budget(10), []
        await budget.reserve(6)

        async def wait() -> None:
            await budget.reserve(6)
            done.append("second")

        waiting, dropped = asyncio.create_task(wait()), asyncio.create_task(budget.reserve(5))
        await asyncio.sleep(0.01)
        assert not done
        dropped.cancel()
        await asyncio.sleep(0)
        budget.settle(6, 3)
        await waiting
        assert (budget.spent, budget.reserved) == (3, 6)
        budget.settle(6, 6)
        with pytest.raises(EndpointError, match="may cost 2 was not sent: 9 of max_cost 10") as e:
            await budget.reserve(2)
        assert (e.value.kind, e.value.is_gone) == ("refused_budget", True)
        await budget.reserve(1)
        return done

    assert asyncio.run(asked()) == ["second"]


def test_tokens_are_bounded_from_above() -> None:
    body = _body("é" * 10)
    plain = tokens_of(body)
    assert plain.response_at_most == 100
    assert plain.prompt_at_most >= 20 + 256
    assert tokens_of(body | {"n": 3}).response_at_most == 300
    assert tokens_of(body | {"n": 2, "best_of": 4}).response_at_most == 400
    assert tokens_of(body | {"max_completion_tokens": 7}).response_at_most == 7
    del body["max_tokens"]
    assert tokens_of(body).response_at_most is None


@pytest.mark.medium
def test_real_tokenisers_stay_below_the_bound(tiny_backbone: Any) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(
        tiny_backbone
    )  # a token a byte of 漢: the worst there is
    for text in ("a", "é漢字🙂" * 50, '"\\\n\t' * 50, "plain words " * 50):
        body = _body(text)
        ids = tokenizer.apply_chat_template(body["messages"], add_generation_prompt=True)
        count = len(ids.get("input_ids", ids))
        assert len(text) <= count if "漢" in text else count > 0
        assert count <= tokens_of(body).prompt_at_most


def test_a_budget_needs_prices_a_bound_and_a_number() -> None:
    for prices in ({}, {"prompt_price": 1.0}, {"response_price": 1.0}):
        with pytest.raises(ConfigError, match="but no prices of 'm'; give prompt_price and"):
            AsyncClient(
                Endpoint(base_url="http://localhost/v1", model="m", **prices), budget=Budget(1.0)
            )
    client = AsyncClient(
        Endpoint(base_url="http://localhost/v1", model="m", **PRICES), budget=Budget(1.0)
    )
    with pytest.raises(ConfigError, match="named no max_tokens"):
        asyncio.run(client.chat((Message("user", "hi"),)))
    for wrong in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ConfigError, match=r"max_cost .* wanted a number above 0"):
            Budget(wrong)


def test_cached_tokens_have_their_own_price() -> None:
    endpoint = Endpoint(base_url="http://h/v1", model="m", cached_price=0.5, **PRICES)
    assert endpoint.price(1_000_000, 0, 400_000) == pytest.approx(0.6 + 0.2)
    assert endpoint.price(10, 0, 99) == pytest.approx(5e-6)
    assert endpoint.price_at_most(1_000_000, 0) == pytest.approx(1.0)
    dear = Endpoint(base_url="http://h/v1", model="m", cached_price=2.0, **PRICES)
    assert dear.price_at_most(1_000_000, 0) == pytest.approx(2.0)
    assert Endpoint(base_url="http://h/v1", model="m").price_at_most(9, 9) == 0
    for wrong in ({"cached_price": -1.0}, {"prompt_price": float("nan")}):
        with pytest.raises(ConfigError, match="wanted a number of 0 or more"):
            Endpoint(base_url="http://h/v1", model="m", **wrong).check()
    with pytest.raises(ConfigError, match="requests_per_minute 0 was given; wanted a number above"):
        Endpoint(base_url="http://h/v1", model="m", requests_per_minute=0).check()
