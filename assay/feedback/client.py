"""A small client of OpenAI-compatible endpoints: chat and plain completions, retried and counted.

Knows nothing of what is asked. The key comes from an environment variable, goes to the endpoint
alone, and is in no message and no record. Redirects are not followed.
"""

from __future__ import annotations

import json
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import httpx2

from assay.errors import AssayError, ConfigError
from assay.types import Messages

BACKOFF_SECONDS = 0.5
"""Longest wait before the first retry; doubled for each further one."""
LONGEST_BACKOFF_SECONDS = 30.0
LARGEST_REPLY = 64 * 2**20
"""Most bytes of a reply that are read."""
_TRANSIENT = frozenset({408, 409, 425, 429})


class EndpointError(AssayError, RuntimeError):
    """An endpoint gave no usable answer.

    ``is_gone`` says whether it will not answer other requests either: no connection, no
    permission, no such model, errors to the last retry. ``is_transient``: worth another try.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        is_gone: bool = False,
        is_transient: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.is_gone = is_gone
        self.is_transient = is_transient
        self.wait_seconds = wait_seconds


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where a model is served, and how it is asked."""

    base_url: str
    """Up to the version: http://localhost:8000/v1"""
    model: str
    """The model's name there."""
    key_variable: str | None = None
    """Environment variable that holds the API key. Default: none is sent."""
    timeout_seconds: float = 120.0
    """Longest wait for a connection, or for the next bytes of a reply."""
    deadline_seconds: float = 600.0
    """Longest time for one request, retries and waits included."""
    retries: int = 5
    """Further tries after errors that may pass: 429, 5xx, no connection, a torn reply."""
    prompt_price: float | None = None
    """Price of a million prompt tokens."""
    response_price: float | None = None
    """Price of a million response tokens."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: If the address is none, or a number is out of its range.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                f"The endpoint {parts.hostname or self.base_url!r} is no address; wanted "
                "http://HOST/v1 or https://HOST/v1, without user and password."
            )
        if not self.model:
            raise ConfigError(f"No model was named for {self.base_url}; name one it serves.")
        if self.timeout_seconds <= 0 or self.deadline_seconds <= 0 or self.retries < 0:
            raise ConfigError(
                f"timeout_seconds {self.timeout_seconds:g}, deadline_seconds "
                f"{self.deadline_seconds:g} and retries {self.retries} were given; wanted two "
                "numbers above 0 and one of 0 or more."
            )

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
        endpoint.check()
        self.endpoint = endpoint
        self.usage = Usage()
        self._sleep, self._jitter = sleep, jitter
        self._lock = threading.Lock()
        self._key = _key(endpoint)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx2.Client(
            headers=headers, timeout=endpoint.timeout_seconds, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

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
        end = time.monotonic() + self.endpoint.deadline_seconds
        for attempt in range(self.endpoint.retries + 1):
            try:
                reply = self._once(route, body, end)
            except EndpointError as error:
                last = attempt == self.endpoint.retries
                if not error.is_transient or last:
                    raise self._given_up(error, attempt + 1) from error
                self._wait(error, attempt, end)
            else:
                self._count(reply)
                return reply
        raise AssertionError

    def _given_up(self, error: EndpointError, tries: int) -> EndpointError:
        again = f" (tried {tries} times)" if tries > 1 else ""
        return EndpointError(f"{error}{again}", is_gone=error.is_gone)

    def _wait(self, error: EndpointError, attempt: int, end: float) -> None:
        """Full jitter: anything up to a bound that doubles, after what the endpoint asks for."""
        bound = min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempt)
        seconds = (error.wait_seconds or 0.0) + bound * self._jitter()
        if time.monotonic() + seconds >= end:
            raise EndpointError(
                f"{error}; the next try would be after the deadline of "
                f"{self.endpoint.deadline_seconds:g} s",
                is_gone=error.is_gone,
            ) from error
        with self._lock:
            self.usage.retries += 1
        self._sleep(seconds)

    def _count(self, reply: Reply) -> None:
        with self._lock:
            self.usage.requests += 1
            if reply.prompt_tokens is None or reply.response_tokens is None:
                self.usage.uncounted += 1
            self.usage.prompt_tokens += reply.prompt_tokens or 0
            self.usage.response_tokens += reply.response_tokens or 0

    def _once(self, route: str, body: Mapping[str, Any], end: float) -> Reply:
        url = self.endpoint.base_url.rstrip("/") + route
        try:
            with self._http.stream("POST", url, json=body) as response:
                content = _read(response, end)
        except httpx2.HTTPError as error:
            kind = "did not answer in time" if _is_timeout(error) else "could not be reached"
            detail = str(error).strip() or type(error).__name__
            raise self._error(f"{url} {kind} ({detail})", gone=True, transient=True) from error
        shown = self._shown(content)
        if response.status_code != 200:
            raise self._error(
                f"{url} answered {response.status_code}{shown}",
                gone=response.status_code not in (400, 413, 422),
                transient=_may_pass(response.status_code),
                wait_seconds=_retry_after(response.headers.get("retry-after")),
            )
        return self._parse(url, content, shown)

    def _parse(self, url: str, content: bytes, shown: str) -> Reply:
        if content.lstrip()[:1] == b"<":
            raise self._error(
                f"{url} answered with a web page{shown}; is the base URL right?", gone=True
            )
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self._error(f"{url} answered with torn JSON{shown}", transient=True) from error
        failed = value.get("error") if isinstance(value, dict) else None
        if failed:
            code = failed.get("code") if isinstance(failed, dict) else None
            passing = isinstance(code, int) and _may_pass(code)
            raise self._error(f"{url} answered 200 with an error{shown}", transient=passing)
        choices = value.get("choices") if isinstance(value, dict) else None
        if not isinstance(choices, list) or not choices:
            raise self._error(f"{url} answered without choices{shown}")
        usage = value.get("usage")
        counts = usage if isinstance(usage, dict) else {}
        return Reply(
            tuple(self._choice(url, choice) for choice in choices),
            _count_of(counts.get("prompt_tokens")),
            _count_of(counts.get("completion_tokens")),
        )

    def _choice(self, url: str, choice: Any) -> Choice:
        found = choice if isinstance(choice, dict) else {}
        message = found.get("message")
        text = message.get("content") if isinstance(message, dict) else found.get("text")
        if not isinstance(text, str):
            raise self._error(f"{url} answered with a choice that has no text")
        finish = found.get("finish_reason")
        return Choice(text, finish if isinstance(finish, str) else None)

    def _error(
        self,
        message: str,
        *,
        gone: bool = False,
        transient: bool = False,
        wait_seconds: float | None = None,
    ) -> EndpointError:
        return EndpointError(
            self._without_key(message),
            is_gone=gone,
            is_transient=transient,
            wait_seconds=wait_seconds,
        )

    def _shown(self, content: bytes) -> str:
        """The beginning of a reply, quoted: servers echo the key in what they say of it."""
        text = self._without_key(" ".join(content[:100_000].decode("utf-8", "replace").split()))
        return f": {text[:200]!r}" if text else " and nothing else"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _key(endpoint: Endpoint) -> str | None:
    if endpoint.key_variable is None:
        return None
    key = os.environ.get(endpoint.key_variable, "").strip()
    if not key:
        raise ConfigError(
            f"The environment variable {endpoint.key_variable!r} is not set; it holds the API key "
            f"of {endpoint.base_url}."
        )
    return key


def _read(response: httpx2.Response, end: float) -> bytes:
    """The whole body; a reply that trickles or never ends does not outlast the deadline."""
    content = bytearray()
    for part in response.iter_bytes():
        content += part
        if time.monotonic() > end:
            raise httpx2.ReadTimeout("the deadline passed while it was answering")
        if len(content) > LARGEST_REPLY:
            raise httpx2.ReadError(f"it answered more than {LARGEST_REPLY:,} bytes")
    return bytes(content)


def _is_timeout(error: httpx2.HTTPError) -> bool:
    return isinstance(error, httpx2.TimeoutException)


def _may_pass(status: int) -> bool:
    return status >= 500 or status in _TRANSIENT


def _retry_after(value: str | None) -> float | None:
    """Seconds from a Retry-After header: a number, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _count_of(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
