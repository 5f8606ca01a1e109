"""How often somebody may try, and how much may be sent."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import OrderedDict, deque

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MOST_KEYS = 20_000
BODY = 2 * 1024 * 1024
"""Bytes of a request, but for uploads."""
UPLOAD = 512 * 1024 * 1024
WAIT_SECONDS = 30.0
"""How long a client may be silent in the middle of a body."""
CLOSE = {"Connection": "close"}


class TooOftenError(Exception):
    """A limit was passed; after ``seconds`` it may be tried again."""

    def __init__(self, seconds: int):
        super().__init__(f"Too many attempts; try again in {seconds} seconds.")
        self.seconds = seconds


class Limiter:
    """Counts attempts in a sliding window, by name and by who tries. In memory, for one process."""

    def __init__(self) -> None:
        self._tries: OrderedDict[tuple[str, str], deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def check(self, name: str, who: str, most: int, seconds: int | float) -> None:
        """Count an attempt.

        Raises:
            TooOftenError: If there were ``most`` in the last ``seconds`` before it.
        """
        now, key = time.monotonic(), (name, who)
        with self._lock:
            tries = self._tries.setdefault(key, deque())
            self._tries.move_to_end(key)
            while tries and tries[0] <= now - seconds:
                tries.popleft()
            if len(tries) >= most:
                raise TooOftenError(max(1, round(tries[0] + seconds - now)))
            tries.append(now)
            while len(self._tries) > MOST_KEYS:
                self._tries.popitem(last=False)

    def forget(self, name: str, who: str) -> None:
        """After a success."""
        with self._lock:
            self._tries.pop((name, who), None)


class BodyLimit:
    """Refuses a body that is too large, or too slow, while it comes, whatever its header says."""

    def __init__(
        self, app: ASGIApp, uploads: tuple[str, ...] = (), wait_seconds: float = WAIT_SECONDS
    ):
        self.app, self.uploads, self.wait_seconds = app, uploads, wait_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        most = UPLOAD if scope["path"].endswith(self.uploads or ("\0",)) else BODY
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        seen, ended = 0, False

        async def limited() -> Message:
            nonlocal seen, ended
            if ended:  # what is waited for now is the end of the connection
                return await receive()
            if declared.isdigit() and int(declared) > most:
                raise _too_large(most)
            try:
                message = await asyncio.wait_for(receive(), self.wait_seconds)
            except TimeoutError:
                raise HTTPException(408, "The request took too long to come.", CLOSE) from None
            seen += len(message.get("body", b""))
            if seen > most:
                raise _too_large(most)
            ended = message["type"] != "http.request" or not message.get("more_body", False)
            return message

        await self.app(scope, limited, send)


def _too_large(most: int) -> HTTPException:
    return HTTPException(413, f"A request has at most {most:,} bytes.", CLOSE)
