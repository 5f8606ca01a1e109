"""JSON over HTTP: a request that is retried, bounded in time, and says what failed in one sentence.

Knows nothing of what is asked. The key comes from an environment variable, goes to the server
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
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx2

from assay.errors import AssayError, ConfigError

T = TypeVar("T")

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
class Connection:
    """Where something is served, and how long and how often it is asked."""

    base_url: str
    """What routes are added to: http://localhost:8000/v1"""
    key_variable: str | None = None
    """Environment variable that holds the API key. Default: none is sent."""
    timeout_seconds: float = 120.0
    """Longest wait for a connection, or for the next bytes of a reply."""
    deadline_seconds: float = 600.0
    """Longest time for one request, retries and waits included."""
    retries: int = 5
    """Further tries after errors that may pass: 429, 5xx, no connection, a torn reply."""

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
        if self.timeout_seconds <= 0 or self.deadline_seconds <= 0 or self.retries < 0:
            raise ConfigError(
                f"timeout_seconds {self.timeout_seconds:g}, deadline_seconds "
                f"{self.deadline_seconds:g} and retries {self.retries} were given; wanted two "
                "numbers above 0 and one of 0 or more."
            )


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON value of a reply; ``shown`` is its beginning, quoted, for messages."""

    url: str
    value: Any
    shown: str


class JsonClient:
    """Posts JSON to one server; safe to use from several threads.

    Args:
        on_retry: Called before every further try.
        sleep: Waits so many seconds; for tests.
        jitter: Draws from [0, 1); for tests.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_retry: Callable[[], None] = lambda: None,
        sleep: Callable[[float], None] = time.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        connection.check()
        self.connection = connection
        self._on_retry, self._sleep, self._jitter = on_retry, sleep, jitter
        self._lock = threading.Lock()
        self._key = _key(connection)
        headers = {"Authorization": f"Bearer {self._key}"} if self._key else {}
        self._http = httpx2.Client(
            headers=headers, timeout=connection.timeout_seconds, follow_redirects=False
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def post(self, route: str, body: Mapping[str, Any], read: Callable[[Answer], T]) -> T:
        """What ``read`` makes of the answer.

        Args:
            route: Added to the base URL.
            read: Raises ``error`` for an answer that is not usable; it is asked again if that is
                transient.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        end = time.monotonic() + self.connection.deadline_seconds
        for attempt in range(self.connection.retries + 1):
            try:
                return read(self._once(route, body, end))
            except EndpointError as error:
                last = attempt == self.connection.retries
                if not error.is_transient or last:
                    raise self._given_up(error, attempt + 1) from error
                self._wait(error, attempt, end)
        raise AssertionError

    def error(
        self,
        message: str,
        *,
        gone: bool = False,
        transient: bool = False,
        wait_seconds: float | None = None,
    ) -> EndpointError:
        """An error without the key in it."""
        return EndpointError(
            self._without_key(message),
            is_gone=gone,
            is_transient=transient,
            wait_seconds=wait_seconds,
        )

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
                f"{self.connection.deadline_seconds:g} s",
                is_gone=error.is_gone,
            ) from error
        with self._lock:
            self._on_retry()
        self._sleep(seconds)

    def _once(self, route: str, body: Mapping[str, Any], end: float) -> Answer:
        url = self.connection.base_url.rstrip("/") + route
        try:
            with self._http.stream("POST", url, json=body) as response:
                content = _read(response, end)
        except httpx2.HTTPError as error:
            kind = "did not answer in time" if _is_timeout(error) else "could not be reached"
            detail = str(error).strip() or type(error).__name__
            raise self.error(f"{url} {kind} ({detail})", gone=True, transient=True) from error
        shown = self._shown(content)
        if response.status_code != 200:
            raise self.error(
                f"{url} answered {response.status_code}{shown}",
                gone=response.status_code not in (400, 413, 422),
                transient=_may_pass(response.status_code),
                wait_seconds=_retry_after(response.headers.get("retry-after")),
            )
        return self._parse(url, content, shown)

    def _parse(self, url: str, content: bytes, shown: str) -> Answer:
        if content.lstrip()[:1] == b"<":
            raise self.error(
                f"{url} answered with a web page{shown}; is the base URL right?", gone=True
            )
        try:
            value = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.error(f"{url} answered with torn JSON{shown}", transient=True) from error
        failed = value.get("error") if isinstance(value, dict) else None
        if failed:
            code = failed.get("code") if isinstance(failed, dict) else None
            passing = isinstance(code, int) and _may_pass(code)
            raise self.error(f"{url} answered 200 with an error{shown}", transient=passing)
        return Answer(url, value, shown)

    def _shown(self, content: bytes) -> str:
        """The beginning of a reply, quoted: servers echo the key in what they say of it."""
        text = self._without_key(" ".join(content[:100_000].decode("utf-8", "replace").split()))
        return f": {text[:200]!r}" if text else " and nothing else"

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


def _key(connection: Connection) -> str | None:
    if connection.key_variable is None:
        return None
    key = os.environ.get(connection.key_variable, "").strip()
    if not key:
        raise ConfigError(
            f"The environment variable {connection.key_variable!r} is not set; it holds the API "
            f"key of {connection.base_url}."
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
