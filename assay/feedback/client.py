"""A client of OpenAI-compatible endpoints: chat and plain completions, retried, kept and counted.

`AsyncClient` does the work; `Client` is the same for synchronous code. Knows nothing of what is
asked.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from assay.addresses import Resolver
from assay.addresses import resolved as system_resolver
from assay.errors import ConfigError
from assay.feedback import loops
from assay.feedback.cache import ReplyCache, reply_key
from assay.feedback.costs import Budget, tokens_of
from assay.feedback.http import Answer, AsyncJsonClient, Connection, EndpointError, awaited
from assay.feedback.limits import Breaker, Clock, Sleep, Throttle, shared_throttle
from assay.feedback.replies import Reply, UnreadableError, reply_of
from assay.types import Messages

CHAT, PLAIN = "/chat/completions", "/completions"


@dataclass(frozen=True, kw_only=True)
class Endpoint(Connection):
    """Where a model is served, and how it is asked; ``base_url`` is up to the version."""

    model: str
    """The model's name there."""
    prompt_price: float | None = None
    """Price of a million prompt tokens."""
    response_price: float | None = None
    """Price of a million response tokens, those of reasoning included."""
    cached_price: float | None = None
    """Price of a million prompt tokens that the endpoint had read before. Default: as the others'.
    """
    requests_per_minute: int | float | None = None
    """Most requests a minute, of all clients with this key. Default: no limit."""
    tokens_per_minute: int | float | None = None
    """Most tokens a minute, of prompts and responses."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: If the address is none, no model is named, or a number is out of its range.
        """
        super().check()
        if not self.model:
            raise ConfigError(f"No model was named for {self.base_url}; name one it serves.")
        for name in ("prompt_price", "response_price", "cached_price"):
            price = getattr(self, name)
            if price is not None and not (price >= 0 and math.isfinite(price)):
                raise ConfigError(f"{name} {price:g} was given; wanted a number of 0 or more.")
        for name in ("requests_per_minute", "tokens_per_minute"):
            rate = getattr(self, name)
            if rate is not None and not (rate > 0 and math.isfinite(rate)):
                raise ConfigError(f"{name} {rate:g} was given; wanted a number above 0.")

    def price(
        self, prompt_tokens: int, response_tokens: int, cached_tokens: int = 0
    ) -> float | None:
        """What so many tokens cost; None where no price is given.

        Args:
            cached_tokens: Those of the prompt's that the endpoint had read before.
        """
        if not self.has_prices:
            return None
        prompt_price = self.prompt_price or 0
        cached_price = prompt_price if self.cached_price is None else self.cached_price
        cached = min(cached_tokens, prompt_tokens)
        cost = (prompt_tokens - cached) * prompt_price + cached * cached_price
        return (cost + response_tokens * (self.response_price or 0)) / 1e6

    @property
    def has_prices(self) -> bool:
        """Whether a cost can be told."""
        return self.prompt_price is not None or self.response_price is not None

    def price_at_most(self, prompt_tokens: int, response_tokens: int) -> float:
        """What so many tokens cost if none or all of the prompt's are at ``cached_price``.

        0 where no price is given.
        """
        costs = (self.price(prompt_tokens, response_tokens, n) for n in (0, prompt_tokens))
        return max(cost or 0.0 for cost in costs)


@dataclass(slots=True)
class Usage:
    """What a client has used so far.

    ``requests`` were answered; ``cached`` of the replies were in the cache and are not among them.
    ``uncounted`` replies did not say their tokens. ``cost`` is by the endpoint's prices, 0 without
    any; where tokens are not known it has the worst case.
    """

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    uncounted: int = 0
    cached: int = 0
    cached_tokens: int = 0
    reasoning_tokens: int = 0
    failed: int = 0
    cost: float = 0.0


class AsyncClient:
    """Asks one endpoint.

    Args:
        cache: Where replies are kept and looked up. Default: nowhere.
        budget: Refuses what could cost too much. Default: no cap.
        breaker: Refuses requests while the endpoint is gone. Default: after five failures in a row
            for half a minute.
        throttle: Default: shared by all clients with the endpoint's key and limits.
        sleep: Waits so many seconds; for tests, as are the others below.
        jitter: Draws from [0, 1).
        clock: Seconds.
        resolve: Finds a host's addresses.
        verify: How certificates are checked.

    Raises:
        ConfigError: If the endpoint cannot work, or a budget is given and no prices are.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cache: ReplyCache | None = None,
        budget: Budget | None = None,
        breaker: Breaker | None = None,
        throttle: Throttle | None = None,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Clock = time.monotonic,
        resolve: Resolver = system_resolver,
        verify: Any = None,
    ) -> None:
        self._json = AsyncJsonClient(
            endpoint,
            on_retry=self._retried,
            breaker=breaker or Breaker(clock=clock),
            sleep=sleep,
            jitter=jitter,
            clock=clock,
            resolve=resolve,
            verify=verify,
        )
        if budget and (endpoint.prompt_price is None or endpoint.response_price is None):
            raise ConfigError(
                f"A budget was given, but no prices of {endpoint.model!r}; give prompt_price and "
                "response_price, each of a million tokens (0 where it is free)."
            )
        self.endpoint = endpoint
        self.usage = Usage()
        self.cache = cache
        self.budget = budget
        self._throttle = throttle or shared_throttle(
            urlsplit(endpoint.base_url).netloc,
            endpoint.key(),
            endpoint.requests_per_minute,
            endpoint.tokens_per_minute,
        )
        self._asking: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def aclose(self) -> None:
        """Close the connections; the cache stays open."""
        await self._json.aclose()

    def close(self) -> None:
        """Close the connections from synchronous code, after `flow.each`."""
        loops.run(self.aclose())

    async def chat(self, messages: Messages, *, sample: int = 0, **settings: Any) -> Reply:
        """Answers to a conversation (``/chat/completions``).

        Args:
            sample: Number of the repeat, where the same is asked more than once at a temperature
                and without a seed; a cache keeps the repeats apart by it. It is not sent.
            settings: As the endpoint names them: n, max_tokens, temperature, top_p, stop, seed,
                logprobs, top_logprobs, response_format. None is left out.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
            ConfigError: If there is a budget, and no ``max_tokens``.
        """
        return await self._ask(CHAT, body_of(self.endpoint, messages, settings), sample)

    async def complete(self, prompt: str, *, sample: int = 0, **settings: Any) -> Reply:
        """Continuations of a text (``/completions``); as `chat` otherwise.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
            ConfigError: If there is a budget, and no ``max_tokens``.
        """
        return await self._ask(PLAIN, body_of(self.endpoint, prompt, settings), sample)

    async def _ask(self, route: str, body: Mapping[str, Any], sample: int) -> Reply:
        if self.cache is None:
            return (await self._paid(route, body))[0]
        key = reply_key(route, body, sample)
        # who asks for the same at the same time waits, and finds it in the cache
        lock = self._asking.get(key)
        if lock is None:
            lock = self._asking[key] = asyncio.Lock()
        async with lock:
            kept = self.cache.get(key)
            if kept is not None:
                self.usage.cached += 1
                return reply_of(kept).as_cached()
            reply, value = await self._paid(route, body)
            self.cache.put(key, value)
        return reply

    async def _paid(self, route: str, body: Mapping[str, Any]) -> tuple[Reply, Any]:
        bill = _Bill(self, body)
        try:
            found = await self._json.post(route, body, bill.read, bill.attempt)
        except EndpointError:
            self.usage.failed += 1
            raise
        self._count(found[0])
        return found

    def _retried(self) -> None:
        self.usage.retries += 1

    def _count(self, reply: Reply) -> None:
        usage = self.usage
        usage.requests += 1
        if reply.prompt_tokens is None or reply.response_tokens is None:
            usage.uncounted += 1
        usage.prompt_tokens += reply.prompt_tokens or 0
        usage.response_tokens += reply.response_tokens or 0
        usage.cached_tokens += reply.cached_tokens or 0
        usage.reasoning_tokens += reply.reasoning_tokens or 0


class _Bill:
    """What the tries of one request are let through for, and what they cost."""

    def __init__(self, client: AsyncClient, body: Mapping[str, Any]) -> None:
        self._client = client
        tokens = tokens_of(body)
        if tokens.response_at_most is None and client.budget is not None:
            raise ConfigError(
                "A request under a budget named no max_tokens, so that its cost has no bound; "
                "give max_tokens."
            )
        response = tokens.response_at_most or 0
        self._expected = tokens.prompt_about + response
        self._worst = client.endpoint.price_at_most(tokens.prompt_at_most, response)
        self._reply: Reply | None = None

    def read(self, answer: Answer) -> tuple[Reply, Any]:
        """The reply, and the JSON that it was."""
        try:
            self._reply = reply_of(answer.value)
        except UnreadableError as error:
            failed = f"{answer.url} answered {error}{answer.shown}"
        else:
            return self._reply, answer.value
        raise self._client._json.error(failed, kind="empty", status=200)

    @asynccontextmanager
    async def attempt(self) -> AsyncIterator[None]:
        """One try: waits its turn, and is counted whatever becomes of it."""
        client = self._client
        await client._throttle.wait(self._expected)
        if client.budget:
            await client.budget.reserve(self._worst)
        cost, tokens = self._worst, self._expected  # what is cancelled may be charged
        try:
            yield
            cost, tokens = self._settled()
        except EndpointError as error:
            if not error.may_cost:
                cost, tokens = 0.0, 0
            raise
        finally:
            client.usage.cost += cost
            client._throttle.used(self._expected, tokens)
            if client.budget:
                client.budget.settle(self._worst, cost)

    def _settled(self) -> tuple[float, int]:
        """Cost and tokens of the reply; the worst case where it does not say its tokens."""
        reply = self._reply
        if reply is None or reply.prompt_tokens is None or reply.response_tokens is None:
            return self._worst, self._expected
        tokens = reply.prompt_tokens, reply.response_tokens
        return self._client.endpoint.price(*tokens, reply.cached_tokens or 0) or 0.0, sum(tokens)


def body_of(
    endpoint: Endpoint, prompt: Messages | str, settings: Mapping[str, Any]
) -> dict[str, Any]:
    """The body of a request: a chat's of messages, a plain completion's of a text."""
    body: dict[str, Any] = {"model": endpoint.model}
    if isinstance(prompt, str):
        body["prompt"] = prompt
    else:
        body["messages"] = [message.to_dict() for message in prompt]
    return body | {name: value for name, value in settings.items() if value is not None}


class Client:
    """Asks one endpoint from synchronous code; safe to use from several threads.

    Args:
        cache: Where replies are kept and looked up. Default: nowhere.
        budget: Refuses what could cost too much. Default: no cap.
        sleep: Waits so many seconds; for tests.
        jitter: Draws from [0, 1); for tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        cache: ReplyCache | None = None,
        budget: Budget | None = None,
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.endpoint = endpoint
        self._client = AsyncClient(
            endpoint, cache=cache, budget=budget, sleep=awaited(sleep), jitter=jitter
        )

    @property
    def usage(self) -> Usage:
        """What was used so far."""
        return self._client.usage

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def chat(self, messages: Messages, **settings: Any) -> Reply:
        """Answers to a conversation, as of `AsyncClient.chat`.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        return loops.run(self._client.chat(messages, **settings))

    def complete(self, prompt: str, **settings: Any) -> Reply:
        """Continuations of a text, as of `AsyncClient.complete`.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        return loops.run(self._client.complete(prompt, **settings))
