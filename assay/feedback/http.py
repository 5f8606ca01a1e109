"""JSON over HTTP: a request that is retried, bounded in time, and says what failed in one sentence.

Knows nothing of what is asked. The key comes from an environment variable, goes to the server
alone, and is in no message, no exception and no record. Redirects are not followed. The server's
name is resolved and checked once, and connections go to the addresses that were checked.

`AsyncJsonClient` does the work; `JsonClient` is the same for synchronous code.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import ssl
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Literal, TypeVar, get_args
from urllib.parse import urlsplit

import httpx2

from assay.addresses import Resolver, Target, UnknownHostError, checked_target, checked_url
from assay.addresses import resolved as system_resolver
from assay.configs import Reach
from assay.errors import AssayError, ConfigError
from assay.feedback import loops
from assay.feedback.limits import Breaker, Clock, Sleep

T = TypeVar("T")

BACKOFF_SECONDS = 0.5
"""Longest wait before the first retry; doubled for each further one."""
LONGEST_BACKOFF_SECONDS = 30.0
LARGEST_REPLY = 64 * 2**20
"""Most bytes of a reply that are read."""
CONNECTIONS = httpx2.Limits(max_connections=4, max_keepalive_connections=1)
"""Of one request at a time."""
REACH_ADVICE = "if it is yours, say so with reach 'loopback' (this machine) or 'private' (any)"
_TRANSIENT = frozenset({408, 409, 425, 429})
_MAY_COST = frozenset({408, 499, 502, 504, 524})
"""Statuses of servers between that gave up waiting for one which may have answered."""

FailureKind = Literal[
    "http",
    "timeout",
    "connection",
    "page",
    "parse",
    "error_body",
    "empty",
    "refused_budget",
    "open_circuit",
]
"""``http``: a status other than 200. ``page``: a web page. ``parse``: torn or too much, or
something else than was asked. ``error_body``: 200 with an error. ``empty``: no choices, or no text.
``refused_budget`` and ``open_circuit``: nothing was sent."""


class EndpointError(AssayError, RuntimeError):
    """An endpoint gave no usable answer.

    ``kind`` says how it failed, ``status`` with which HTTP status, if with one. ``is_gone`` says
    whether it will not answer other requests either: no connection, no permission, no such model,
    errors to the last retry, no money left. ``is_transient``: worth another try. ``may_cost``:
    the endpoint may charge for it all the same.
    """

    exit_code = 1

    def __init__(
        self,
        message: str,
        *,
        kind: FailureKind = "http",
        status: int | None = None,
        is_gone: bool = False,
        is_transient: bool = False,
        may_cost: bool = False,
        wait_seconds: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind: FailureKind = kind
        self.status = status
        self.is_gone = is_gone
        self.is_transient = is_transient
        self.may_cost = may_cost
        self.wait_seconds = wait_seconds

    def but(self, message: str) -> EndpointError:
        """The same failure, given up, with another sentence."""
        return EndpointError(
            message,
            kind=self.kind,
            status=self.status,
            is_gone=self.is_gone,
            may_cost=self.may_cost,
        )


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
    reach: Reach = "loopback"
    """public: refuse this machine and private networks, as for an address that somebody else
    wrote. loopback: allow this machine too. private: allow both. Link-local and metadata addresses
    are always refused. Proxies of the environment are used except for public."""

    def check(self) -> None:
        """Refuse what cannot work.

        Raises:
            ConfigError: If the address is none or out of reach, or a number is out of its range.
        """
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            raise ConfigError(
                f"The endpoint {parts.hostname or self.base_url!r} is no address; wanted "
                "http://HOST/v1 or https://HOST/v1, without user and password."
            )
        if parts.query or parts.fragment:
            raise ConfigError(
                f"The endpoint {parts.hostname!r} has a query or a fragment ('?…', '#…'), which "
                "messages would show; leave it out, and give a key by key_variable."
            )
        if self.reach not in get_args(Reach):
            known = ", ".join(get_args(Reach))
            raise ConfigError(f"reach {self.reach!r} was given; use one of {known}.")
        checked_url(self.base_url, self.reach, advice=REACH_ADVICE)
        if self.timeout_seconds <= 0 or self.deadline_seconds <= 0 or self.retries < 0:
            raise ConfigError(
                f"timeout_seconds {self.timeout_seconds:g}, deadline_seconds "
                f"{self.deadline_seconds:g} and retries {self.retries} were given; wanted two "
                "numbers above 0 and one of 0 or more."
            )

    def key(self) -> str | None:
        """The API key, out of its environment variable; None where none is sent.

        Raises:
            ConfigError: If the variable is not set, or holds what cannot be a key.
        """
        if self.key_variable is None:
            return None
        key = os.environ.get(self.key_variable, "").strip()
        if not key:
            raise ConfigError(
                f"The environment variable {self.key_variable!r} is not set; it holds the API "
                f"key of {self.base_url}."
            )
        if not (key.isascii() and key.isprintable()) or " " in key:
            # checked here: HTTP libraries quote a header they cannot send
            raise ConfigError(
                f"The environment variable {self.key_variable!r} holds no API key: a key is one "
                "line of plain ASCII without spaces."
            )
        return key


@dataclass(frozen=True, slots=True)
class Answer:
    """The JSON value of a reply; ``shown`` is its beginning, quoted, for messages."""

    url: str
    value: Any
    shown: str


Attempt = Callable[[], AbstractAsyncContextManager[None]]


@asynccontextmanager
async def _freely() -> AsyncIterator[None]:
    yield


class AsyncJsonClient:
    """Posts JSON to one server.

    Args:
        on_retry: Called before every further try.
        breaker: Refuses requests while the server is gone. Default: every one is sent.
        sleep: Waits so many seconds; for tests.
        jitter: Draws from [0, 1); for tests.
        clock: Seconds; for tests.
        resolve: Finds a host's addresses; for tests.
        verify: How certificates are checked. Default: as the system does.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        on_retry: Callable[[], None] = lambda: None,
        breaker: Breaker | None = None,
        sleep: Sleep = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
        clock: Clock = time.monotonic,
        resolve: Resolver = system_resolver,
        verify: Any = None,
    ) -> None:
        connection.check()
        self.connection = connection
        self._on_retry, self._breaker = on_retry, breaker
        self._sleep, self._jitter, self._clock = sleep, jitter, clock
        self._key = connection.key()
        self._wire = _Wire(connection, self._key, resolve, verify)

    async def aclose(self) -> None:
        """Close the connections; another request would open new ones."""
        await self._wire.aclose()

    async def post(
        self,
        route: str,
        body: Mapping[str, Any],
        read: Callable[[Answer], T],
        attempt: Attempt = _freely,
    ) -> T:
        """What ``read`` makes of the answer.

        Args:
            route: Added to the base URL.
            read: Raises ``error`` for an answer that is not usable; it is asked again if that is
                transient.
            attempt: Surrounds every try, first ones too; waits in it are not in the deadline.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
            AddressError: If the server's name means an address out of reach.
        """
        self._refuse_if_open()
        try:
            found = await self._tried(route, body, read, attempt)
        except EndpointError as error:
            self._tell(error)
            raise
        except BaseException:
            if self._breaker:
                self._breaker.abandoned()
            raise
        if self._breaker:
            self._breaker.succeeded()
        return found

    def error(
        self,
        message: str,
        *,
        kind: FailureKind = "parse",
        status: int | None = None,
        gone: bool = False,
        transient: bool = False,
        may_cost: bool = True,
        wait_seconds: float | None = None,
    ) -> EndpointError:
        """An error without the key in it."""
        return EndpointError(
            self._without_key(message),
            kind=kind,
            status=status,
            is_gone=gone,
            is_transient=transient,
            may_cost=may_cost,
            wait_seconds=wait_seconds,
        )

    def _tell(self, error: EndpointError) -> None:
        """Tell the breaker what a failure says of the server; one that was not asked, nothing."""
        if self._breaker is None:
            return
        if error.kind == "refused_budget":
            self._breaker.abandoned()
        elif error.is_gone:
            self._breaker.failed()
        else:
            self._breaker.succeeded()

    def _refuse_if_open(self) -> None:
        left = self._breaker.refused_seconds() if self._breaker else None
        if left is not None:
            raise self.error(
                f"{self.connection.base_url} failed {self._breaker.failures} times in a row and "  # type: ignore[union-attr]
                f"is not asked for the next {left:.0f} s",
                kind="open_circuit",
                gone=True,
                may_cost=False,
            )

    async def _tried(
        self,
        route: str,
        body: Mapping[str, Any],
        read: Callable[[Answer], T],
        attempt: Attempt,
    ) -> T:
        content = json.dumps(body, separators=(",", ":"), allow_nan=False).encode()
        end = self._clock() + self.connection.deadline_seconds
        for number in range(self.connection.retries + 1):
            began = self._clock()
            try:
                async with attempt():
                    end += self._clock() - began
                    return read(await self._once(route, content, end))
            except EndpointError as error:
                failed = error
            if not failed.is_transient or number == self.connection.retries:
                again = f" (tried {number + 1} times)" if number else ""
                raise failed.but(f"{failed}{again}")
            await self._wait(failed, number, end)
        raise AssertionError

    async def _wait(self, error: EndpointError, attempt: int, end: float) -> None:
        """Full jitter: anything up to a bound that doubles, after what the endpoint asks for.

        https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
        """
        bound = min(LONGEST_BACKOFF_SECONDS, BACKOFF_SECONDS * 2**attempt)
        seconds = (error.wait_seconds or 0.0) + bound * self._jitter()
        if self._clock() + seconds >= end:
            raise error.but(
                f"{error}; the next try would be after the deadline of "
                f"{self.connection.deadline_seconds:g} s"
            )
        self._on_retry()
        await self._sleep(seconds)

    async def _once(self, route: str, body: bytes, end: float) -> Answer:
        url = self.connection.base_url.rstrip("/") + route
        failed: EndpointError | None = None
        try:
            async with asyncio.timeout(max(0.0, end - self._clock())):
                status, headers, content = await self._wire.post(route, body)
        except UnknownHostError as error:
            failed = self._unreached(url, f"could not be reached ({error})", "connection", False)
        except _TooLargeError as error:
            failed = self.error(f"{url} answered {error}")
        except (httpx2.HTTPError, TimeoutError) as error:
            failed = self._unanswered(url, error)
        if failed is not None:
            # raised here, not above: the library's error, which has the headers, is not chained
            raise failed
        content = self._cleaned(content)
        shown = self._shown(content)
        if status != 200:
            raise self.error(
                f"{url} answered {status}{shown}",
                kind="http",
                status=status,
                gone=status not in (400, 413, 422),
                transient=_may_pass(status),
                may_cost=status in _MAY_COST,
                wait_seconds=_retry_after(headers.get("retry-after")),
            )
        return self._parse(url, content, shown)

    def _unanswered(self, url: str, error: Exception) -> EndpointError:
        is_late = isinstance(error, (httpx2.TimeoutException, TimeoutError))
        detail = str(error).strip() or type(error).__name__
        if isinstance(error, TimeoutError):
            detail = "the deadline passed"
        said = "did not answer in time" if is_late else "could not be reached"
        never_sent = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
        return self._unreached(
            url,
            f"{said} ({detail})",
            "timeout" if is_late else "connection",
            not isinstance(error, never_sent),
        )

    def _unreached(self, url: str, said: str, kind: FailureKind, may_cost: bool) -> EndpointError:
        return self.error(f"{url} {said}", kind=kind, gone=True, transient=True, may_cost=may_cost)

    def _parse(self, url: str, content: bytes, shown: str) -> Answer:
        if content.lstrip()[:1] == b"<":
            raise self.error(
                f"{url} answered with a web page{shown}; is the base URL right?",
                kind="page",
                status=200,
                gone=True,
            )
        try:
            value = json.loads(content)
        except (ValueError, RecursionError):
            value = _TORN
        if value is _TORN:
            raise self.error(
                f"{url} answered with torn JSON{shown}", kind="parse", status=200, transient=True
            )
        failed = value.get("error") if isinstance(value, dict) else None
        if failed:
            code = failed.get("code") if isinstance(failed, dict) else None
            passing = isinstance(code, int) and _may_pass(code)
            raise self.error(
                f"{url} answered 200 with an error{shown}",
                kind="error_body",
                status=200,
                transient=passing,
            )
        return Answer(url, value, shown)

    def _shown(self, content: bytes) -> str:
        """The beginning of a reply, quoted."""
        text = " ".join(content[:2_000].decode("utf-8", "replace").split())
        return f": {text[:200]!r}" if text else " and nothing else"

    def _cleaned(self, content: bytes) -> bytes:
        """A reply without the key: servers echo it in what they say of it."""
        return content.replace(self._key.encode(), b"***") if self._key else content

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "***") if self._key else text


_TORN = object()


class _TooLargeError(Exception):
    """A reply is longer than is read."""


class _Wire:
    """The connections to one server, at addresses that were checked.

    They belong to the loop they were opened on; on another one new ones are opened.
    """

    def __init__(
        self, connection: Connection, key: str | None, resolve: Resolver, verify: Any
    ) -> None:
        self._connection, self._resolve, self._verify = connection, resolve, verify
        parts = urlsplit(connection.base_url)
        self._headers = {"Content-Type": "application/json", "Host": parts.netloc}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._path = parts.path.rstrip("/")
        self._proxy = None if connection.reach == "public" else _proxy_for(connection.base_url)
        self._idle: list[httpx2.AsyncClient] = []
        self._certificates: Any = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._resolving = asyncio.Lock()
        self._target: Target | None = None
        self._urls: dict[tuple[str, str], httpx2.URL] = {}

    async def aclose(self) -> None:
        idle, self._idle = self._idle, []
        if self._loop is asyncio.get_running_loop():
            for http in idle:
                await http.aclose()

    async def post(self, route: str, body: bytes) -> tuple[int, httpx2.Headers, bytes]:
        """Status, headers and body of the reply; addresses are tried until one connects."""
        http = self._taken()
        try:
            return await self._posted(http, route, body)
        finally:
            if self._loop is asyncio.get_running_loop():
                self._idle.append(http)

    async def _posted(
        self, http: httpx2.AsyncClient, route: str, body: bytes
    ) -> tuple[int, httpx2.Headers, bytes]:
        if self._proxy is not None:  # it resolves the name, and connects
            return await self._post(http, self._connection.base_url.rstrip("/") + route, body, {})
        target = await self._resolved()
        # by the name that the URL gives: the certificate has to be that host's
        by_name = {"sni_hostname": target.host}
        choices = (target.address, *target.others)
        for address in choices:
            try:
                return await self._post(http, self._url(target, address, route), body, by_name)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                if address == choices[-1]:
                    self._target = None  # it may have moved: resolved, and checked, anew
                    raise
        raise AssertionError

    def _url(self, target: Target, address: str, route: str) -> httpx2.URL:
        """A route at one address, parsed once: that takes a tenth of a request's time."""
        name = (address, route)
        if name not in self._urls:
            host = f"[{address}]" if ":" in address else address
            place = f"{target.scheme}://{host}:{target.port}{self._path}{route}"
            self._urls[name] = httpx2.URL(place)
        return self._urls[name]

    async def _post(
        self,
        http: httpx2.AsyncClient,
        url: httpx2.URL | str,
        body: bytes,
        extensions: dict[str, Any],
    ) -> tuple[int, httpx2.Headers, bytes]:
        content = bytearray()
        async with http.stream(
            "POST", url, content=body, headers=self._headers, extensions=extensions
        ) as response:
            async for part in response.aiter_bytes():
                content += part
                if len(content) > LARGEST_REPLY:
                    raise _TooLargeError(f"more than {LARGEST_REPLY:,} bytes")
        return response.status_code, response.headers, bytes(content)

    async def _resolved(self) -> Target:
        if self._target is None:
            async with self._resolving:
                if self._target is None:
                    c = self._connection
                    self._target = await asyncio.to_thread(
                        checked_target, c.base_url, c.reach, self._resolve, advice=REACH_ADVICE
                    )
        return self._target

    def _taken(self) -> httpx2.AsyncClient:
        """A connection of its own for a request, the last one used first.

        Not the library's pool of all of them, which it looks through twice for every request.
        """
        loop = asyncio.get_running_loop()
        if self._loop is not loop:
            self._loop, self._idle, self._resolving = loop, [], asyncio.Lock()
            self._certificates = self._verify or _certificates(self._connection.base_url)
        return self._idle.pop() if self._idle else self._opened()

    def _opened(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(
            timeout=self._connection.timeout_seconds,
            follow_redirects=False,
            limits=CONNECTIONS,
            # a proxy was chosen by the host's name; the address would be chosen by another rule
            trust_env=False,
            proxy=self._proxy,
            verify=self._certificates,
        )


class JsonClient:
    """Posts JSON to one server from synchronous code; safe to use from several threads.

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
        sleep: Callable[[float], None] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self.connection = connection
        self._client = AsyncJsonClient(
            connection, on_retry=on_retry, sleep=awaited(sleep), jitter=jitter
        )
        self.error = self._client.error

    def close(self) -> None:
        """Close the connections."""
        loops.run(self._client.aclose())

    def post(self, route: str, body: Mapping[str, Any], read: Callable[[Answer], T]) -> T:
        """What ``read`` makes of the answer, as of `AsyncJsonClient.post`.

        Raises:
            EndpointError: If there is no usable answer within the deadline.
        """
        return loops.run(self._client.post(route, body, read))


def awaited(sleep: Callable[[float], None] | None) -> Sleep:
    """A wait for the loop, of a synchronous one; of none, the loop's own."""
    if sleep is None:
        return asyncio.sleep
    return lambda seconds: asyncio.to_thread(sleep, seconds)


def _proxy_for(url: str) -> str | None:
    """The proxy that the environment names for a URL, or None."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    proxies = urllib.request.getproxies()
    found = proxies.get(parts.scheme) or proxies.get("all")
    return None if not found or urllib.request.proxy_bypass(host) else found


def _certificates(url: str) -> ssl.SSLContext:
    """Those of the system; none, which is quicker to make, where none is looked at."""
    if urlsplit(url).scheme == "http":
        return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    return httpx2.create_ssl_context()


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
