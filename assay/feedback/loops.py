"""One event loop in a background thread, for synchronous code that asks asynchronously.

All synchronous fronts share it, so that a client's connections outlive one call.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")

_lock = threading.Lock()
_running: tuple[asyncio.AbstractEventLoop, threading.Thread] | None = None


def background_loop() -> asyncio.AbstractEventLoop:
    """The loop, started when it is first asked for (and again in a forked process)."""
    global _running
    with _lock:
        if _running is None or not _running[1].is_alive():
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=loop.run_forever, name="assay-asking", daemon=True)
            thread.start()
            _running = loop, thread
        return _running[0]


def submit(coroutine: Coroutine[Any, Any, T]) -> Future[T]:
    """Begin a coroutine on the background loop.

    Raises:
        RuntimeError: If called on that loop itself, which would wait for itself for ever.
    """
    loop = background_loop()
    if _running is not None and threading.current_thread() is _running[1]:
        coroutine.close()
        raise RuntimeError("synchronous code was called on the asking loop; await instead")
    return asyncio.run_coroutine_threadsafe(coroutine, loop)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine, run on the background loop; an interrupt cancels it."""
    future = submit(coroutine)
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
