"""What a client holds itself to: so many requests and tokens a minute, and no hammering.

Knows nothing of HTTP. Clocks and waits are given, so that tests need none.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Awaitable, Callable
from weakref import WeakValueDictionary

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]

BURST_SECONDS = 1.0
"""How much unused allowance is kept: what so many seconds bring, and at least one request."""


class TokenBucket:
    """An allowance that grows with time; who takes more than there is, waits for it.

    Takers are served in the order they come: the balance may be negative, and the wait is what it
    takes to be paid back. In any time t at most ``t × per_minute ∕ 60 + burst`` is taken.

    Args:
        least: The smallest burst.
    """

    def __init__(
        self, per_minute: int | float, *, least: float = 0.0, clock: Clock = time.monotonic
    ):
        self.per_second = per_minute / 60
        self.burst = max(self.per_second * BURST_SECONDS, least)
        self._clock = clock
        self._balance, self._at = self.burst, clock()

    def take(self, amount: int | float) -> float:
        """Take an amount; the seconds to wait before it may be used."""
        now = self._clock()
        grown = self._balance + (now - self._at) * self.per_second
        self._balance, self._at = min(self.burst, grown) - amount, now
        return max(0.0, -self._balance / self.per_second)

    def give_back(self, amount: int | float) -> None:
        """Give back what was taken and not used; negative where more was used."""
        self._balance += amount


class Throttle:
    """Requests and tokens a minute, for all clients that share it; safe to use from threads."""

    def __init__(
        self,
        requests_per_minute: int | float | None = None,
        tokens_per_minute: int | float | None = None,
        *,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ):
        self._lock = threading.Lock()
        self._sleep = sleep
        self._requests, self._tokens = (
            TokenBucket(rate, least=least, clock=clock) if rate is not None else None
            for rate, least in ((requests_per_minute, 1.0), (tokens_per_minute, 0.0))
        )

    async def wait(self, tokens: int | float) -> None:
        """Wait until a request of so many tokens may be sent."""
        with self._lock:
            seconds = self._requests.take(1) if self._requests else 0.0
            if self._tokens:
                seconds = max(seconds, self._tokens.take(tokens))
        if seconds > 0:
            await self._sleep(seconds)

    def used(self, expected: int | float, tokens: int | float) -> None:
        """Say what a request took that was let through for an expected number of tokens."""
        if self._tokens:
            with self._lock:
                self._tokens.give_back(expected - tokens)


_shared: WeakValueDictionary[tuple[object, ...], Throttle] = WeakValueDictionary()
_shared_lock = threading.Lock()


def shared_throttle(
    origin: str,
    key: str | None,
    requests_per_minute: int | float | None,
    tokens_per_minute: int | float | None,
) -> Throttle:
    """The throttle of all clients that ask one server with one key under the same limits.

    It lives as long as one of them does.
    """
    digest = hashlib.sha256(key.encode()).hexdigest() if key else None  # the key is kept nowhere
    name = (origin, digest, requests_per_minute, tokens_per_minute)
    with _shared_lock:
        throttle = _shared.get(name)
        if throttle is None:
            throttle = _shared[name] = Throttle(requests_per_minute, tokens_per_minute)
        return throttle


class Breaker:
    """Stops asking a server that is gone: after some failures in a row it refuses for a while.

    Then one request is let through; its success closes the circuit, its failure opens it anew.

    Args:
        failures: So many in a row open it.
        cool_down_seconds: How long it refuses.
    """

    def __init__(
        self,
        failures: int = 5,
        cool_down_seconds: int | float = 30.0,
        *,
        clock: Clock = time.monotonic,
    ):
        self.failures, self.cool_down_seconds = failures, cool_down_seconds
        self._clock = clock
        self._in_a_row = 0
        self._opened: float | None = None
        self._is_trying = False

    def refused_seconds(self) -> float | None:
        """How long requests are refused from now on; None where this one is let through.

        Who is let through reports with `succeeded`, `failed` or `abandoned`.
        """
        if self._opened is None:
            return None
        left = self._opened + self.cool_down_seconds - self._clock()
        if left > 0 or self._is_trying:
            return max(left, 0.0)
        self._is_trying = True
        return None

    def succeeded(self) -> None:
        """The server answered."""
        self._in_a_row, self._opened, self._is_trying = 0, None, False

    def failed(self) -> None:
        """The server is gone, as far as a request could tell."""
        self._in_a_row += 1
        if self._is_trying or self._in_a_row >= self.failures:
            self._opened, self._is_trying = self._clock(), False

    def abandoned(self) -> None:
        """A request ended without telling anything of the server."""
        self._is_trying = False
