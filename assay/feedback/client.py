"""A small client of OpenAI-compatible endpoints: chat and plain completions, retried and counted.

Knows nothing of what is asked.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from assay.errors import ConfigError
from assay.feedback.http import Answer, Connection, JsonClient
from assay.types import Messages


@dataclass(frozen=True, kw_only=True)
class Endpoint(Connection):
    """Where a model is served, and how it is asked; ``base_url`` is up to the version."""

    model: str
    """The model's name there."""
    prompt_price: float | None = None
    """Price of a million prompt tokens."""
    response_price: float | None = None
    """Price of a million response tokens."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: If the address is none, no model is named, or a number is out of its range.
        """
        super().check()
        if not self.model:
            raise ConfigError(f"No model was named for {self.base_url}; name one it serves.")

    def price(self, prompt_tokens: int, response_tokens: int) -> float | None:
        """What so many tokens cost; None where no price is given."""
        if self.prompt_price is None and self.response_price is None:
            return None
        cost = prompt_tokens * (self.prompt_price or 0) + response_tokens * (
            self.response_price or 0
        )
        return cost / 1e6


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a reply's answers; ``finish`` is the endpoint's word for its end (stop, length)."""

    text: str
    finish: str | None


@dataclass(frozen=True, slots=True)
class Reply:
    """The answers to one request and the tokens they took, None where the endpoint says not."""

    choices: tuple[Choice, ...]
    prompt_tokens: int | None
    response_tokens: int | None


@dataclass(slots=True)
class Usage:
    """What a client has used so far; ``uncounted`` replies did not say their tokens."""

    requests: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    response_tokens: int = 0
    uncounted: int = 0


class Client:
    """Asks one endpoint; safe to use from several threads.

    Args:
        sleep: Waits so many seconds; for tests.
        jitter: Draws from [0, 1); for tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.endpoint = endpoint
        self.usage = Usage()
        self._lock = threading.Lock()
        self._json = JsonClient(endpoint, on_retry=self._retried, sleep=sleep, jitter=jitter)

    def close(self) -> None:
        """Close the connections."""
        self._json.close()

    def chat(self, messages: Messages, **settings: Any) -> Reply:
        """Answers to a conversation (``/chat/completions``).

        Args:
            settings: As the endpoint names them: n, max_tokens, temperature, top_p, stop, seed.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        body = {"messages": [m.to_dict() for m in messages], **settings}
        return self._ask("/chat/completions", body)

    def complete(self, prompt: str, **settings: Any) -> Reply:
        """Continuations of a text (``/completions``).

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        return self._ask("/completions", {"prompt": prompt, **settings})

    def _ask(self, route: str, settings: Mapping[str, Any]) -> Reply:
        body = {"model": self.endpoint.model}
        body |= {name: value for name, value in settings.items() if value is not None}
        reply = self._json.post(route, body, self._read)
        self._count(reply)
        return reply

    def _retried(self) -> None:
        with self._lock:
            self.usage.retries += 1

    def _count(self, reply: Reply) -> None:
        with self._lock:
            self.usage.requests += 1
            if reply.prompt_tokens is None or reply.response_tokens is None:
                self.usage.uncounted += 1
            self.usage.prompt_tokens += reply.prompt_tokens or 0
            self.usage.response_tokens += reply.response_tokens or 0

    def _read(self, answer: Answer) -> Reply:
        value = answer.value
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices:
            raise self._json.error(f"{answer.url} answered without choices{answer.shown}")
        usage = value.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        return Reply(
            tuple(self._choice(answer.url, choice) for choice in choices),
            _count_of(counts.get("prompt_tokens")),
            _count_of(counts.get("completion_tokens")),
        )

    def _choice(self, url: str, choice: Any) -> Choice:
        found = choice if isinstance(choice, dict) else {}
        message = found.get("message")
        text = message.get("content") if isinstance(message, dict) else found.get("text")
        if not isinstance(text, str):
            raise self._json.error(f"{url} answered with a choice that has no text")
        finish = found.get("finish_reason")
        return Choice(text, finish if isinstance(finish, str) else None)


def _count_of(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
