"""Many coroutines from synchronous code: so many at a time, results in order, memory flat.

Knows nothing of what the coroutines do.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Generator, Iterable, Iterator
from concurrent.futures import Future
from contextlib import suppress
from typing import TypeVar

from assay.errors import ConfigError
from assay.feedback import loops

T = TypeVar("T")
R = TypeVar("R")

AHEAD = 8
"""How many times ``in_flight`` results may wait for an earlier one that is slow."""
END_SECONDS = 10.0
"""Longest wait for coroutines to end after they are cancelled."""


def each(
    items: Iterable[T], work: Callable[[T], Awaitable[R]], in_flight: int
) -> Generator[tuple[T, R], None, None]:
    """Every item with what ``work`` makes of it, in the items' order.

    The items are read as they are needed, in the calling thread; the coroutines run on the loop
    of `assay.feedback.loops`. An exception, an interrupt, or an end of the iteration cancels what
    runs and begins nothing more.

    Args:
        work: Its exceptions are raised here, at the item's place.
        in_flight: Most coroutines at a time. ``AHEAD`` times as many items are held.

    Raises:
        ConfigError: If ``in_flight`` is below 1.
    """
    if in_flight < 1:
        raise ConfigError(f"in_flight {in_flight} was given; wanted 1 or more requests at a time.")
    return _each(iter(items), work, in_flight)


def _each(
    source: Iterator[T], work: Callable[[T], Awaitable[R]], in_flight: int
) -> Generator[tuple[T, R], None, None]:
    gate = asyncio.Semaphore(in_flight)
    running: set[asyncio.Task[object]] = set()
    window: deque[tuple[T, Future[R]]] = deque()

    async def one(item: T) -> R:
        task = asyncio.current_task()
        assert task is not None
        running.add(task)
        try:
            async with gate:
                return await work(item)
        finally:
            running.discard(task)

    exhausted = False
    try:
        while True:
            while not exhausted and len(window) < AHEAD * in_flight:
                try:
                    item = next(source)
                except StopIteration:
                    exhausted = True
                else:
                    window.append((item, loops.submit(one(item))))
            if not window:
                return
            result = window[0][1].result()
            item, _ = window.popleft()
            yield item, result
    finally:
        if window:
            # the last first: what waits must be gone before the end of what runs makes room for it
            for _, future in reversed(window):
                future.cancel()
            # they close their connections and note what they spent before anything else happens
            with suppress(TimeoutError):
                loops.submit(_ended(running)).result(END_SECONDS)


async def _ended(tasks: set[asyncio.Task[object]]) -> None:
    await asyncio.sleep(0)  # what was cancelled before it began never begins
    if tasks:
        await asyncio.wait(list(tasks))
