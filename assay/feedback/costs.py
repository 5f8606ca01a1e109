"""What requests may cost at most, and a cap that the true cost never passes.

Knows nothing of HTTP. Prices are of a million tokens, in whatever currency.
"""

from __future__ import annotations

import asyncio
import json
import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from assay.errors import ConfigError
from assay.feedback.http import EndpointError

TEMPLATE_TOKENS = 256
"""More than a chat template adds to a request by itself."""
BYTES_PER_TOKEN = 4
"""About so many bytes of English text are a token."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """How many tokens a request takes at most, and about how many its prompt has.

    ``response_at_most`` is None where the request names no limit.
    """

    prompt_about: int
    prompt_at_most: int
    response_at_most: int | None


def tokens_of(body: Mapping[str, Any]) -> Tokens:
    r"""What a request takes, without a tokeniser.

    A token of any common tokeniser stands for a byte or more of the text. The request's body as
    JSON in ASCII has at least the text's bytes (é is ``\u00e9`` there), and some twenty for each
    message's role besides, more than a template puts around it; ``TEMPLATE_TOKENS`` is for what the
    template adds once. The response: ``max_tokens`` (or ``max_completion_tokens``) for each of
    ``n`` (or ``best_of``) answers.
    """
    size = len(json.dumps(body))
    longest = body.get("max_completion_tokens") or body.get("max_tokens")
    answers = max(int(body.get("n") or 1), int(body.get("best_of") or 1))
    return Tokens(
        -(-size // BYTES_PER_TOKEN),
        size + TEMPLATE_TOKENS,
        None if longest is None else int(longest) * answers,
    )


class Budget:
    """A cap on what is spent, for all clients that share it; safe to use from threads.

    Before a request is sent, its worst case is reserved; what the reply says it took is counted
    instead of that, or the worst case where it does not say. So what is spent passes the cap only
    if an endpoint charges more than its prices and the request's ``max_tokens`` allow.

    Args:
        max_cost: The cap, in the currency of the prices.

    Raises:
        ConfigError: If it is not above 0.
    """

    def __init__(self, max_cost: int | float):
        if not (max_cost > 0 and math.isfinite(max_cost)):
            raise ConfigError(f"max_cost {max_cost:g} was given; wanted a number above 0.")
        self.max_cost = float(max_cost)
        self._lock = threading.Lock()
        self._spent = 0.0
        self._reserved = 0.0
        self._in_flight = 0
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = []

    @property
    def spent(self) -> float:
        """What is known to be spent, or has to be taken for it."""
        return self._spent

    @property
    def reserved(self) -> float:
        """What the requests in flight may cost at most."""
        return self._reserved

    async def reserve(self, cost: int | float) -> None:
        """Set the worst case of a request aside; waits while others may leave room for it.

        Raises:
            EndpointError: If it could pass the cap (``kind="refused_budget"``).
        """
        while True:
            with self._lock:
                if self._spent + self._reserved + cost <= self.max_cost:
                    self._reserved += cost
                    self._in_flight += 1
                    return
                if not self._in_flight or self._spent + cost > self.max_cost:
                    raise EndpointError(
                        f"A request that may cost {cost:.6g} was not sent: {self._spent:.6g} of "
                        f"max_cost {self.max_cost:g} is spent; raise it to go on",
                        kind="refused_budget",
                        is_gone=True,
                    )
                loop = asyncio.get_running_loop()
                changed = loop.create_future()
                self._waiting.append((loop, changed))
            await changed

    def settle(self, reserved: int | float, cost: int | float) -> None:
        """Count what a request cost, instead of what was set aside for it."""
        with self._lock:
            self._reserved -= reserved
            self._spent += cost
            self._in_flight -= 1
            if not self._in_flight:
                self._reserved = 0.0  # sums of floats do not come back to 0 by themselves
            waiting, self._waiting = self._waiting, []
        for loop, changed in waiting:
            _wake(loop, changed)


def _wake(loop: asyncio.AbstractEventLoop, changed: asyncio.Future[None]) -> None:
    def done() -> None:
        if not changed.done():  # whoever waited may have been cancelled
            changed.set_result(None)

    if not loop.is_closed():
        loop.call_soon_threadsafe(done)
