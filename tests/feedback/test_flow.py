"""Order, bounds and endings of many coroutines run from synchronous code."""

from __future__ import annotations

import asyncio
import random
import threading
import time
import tracemalloc
from collections.abc import Iterator

import pytest

from assay.errors import ConfigError
from assay.feedback import flow, loops
from assay.feedback.flow import each


def test_results_come_in_the_items_order_and_no_more_run_at_a_time() -> None:
    running, most = 0, 0
    wait = random.Random(0)

    async def work(item: int) -> int:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(wait.random() * 0.01)
        running -= 1
        return item * item

    assert list(each(range(100), work, 7)) == [(i, i * i) for i in range(100)]
    assert most == 7


def test_a_slow_first_one_holds_a_bounded_window_up() -> None:
    read: list[int] = []
    began: list[int] = []
    go = threading.Event()

    def items() -> Iterator[int]:
        for i in range(10_000):
            read.append(i)
            yield i

    async def work(item: int) -> int:
        began.append(item)
        while item == 0 and not go.is_set():
            await asyncio.sleep(0.005)
        return item

    threading.Timer(0.3, go.set).start()
    found = each(items(), work, 2)
    assert next(found) == (0, 0)
    assert len(began) == flow.AHEAD * 2  # the others went on past the slow one, up to the window
    assert len(read) == flow.AHEAD * 2
    found.close()  # type: ignore[attr-defined]
    assert len(read) == flow.AHEAD * 2


def test_an_exception_comes_at_its_place_and_cancels_the_rest() -> None:
    ended: list[int] = []
    began: list[int] = []

    async def work(item: int) -> int:
        began.append(item)
        if item == 3:
            raise ValueError("three")
        try:
            await asyncio.sleep(0.01 if item < 3 else 60)
        finally:
            ended.append(item)
        return item

    seen = []

    def run() -> None:
        for item, _ in each(range(1000), work, 8):
            seen.append(item)

    before = time.monotonic()
    with pytest.raises(ValueError, match="three"):
        run()
    assert seen == [0, 1, 2]
    assert time.monotonic() - before < 5
    assert sorted(ended) == [i for i in sorted(began) if i != 3]  # all that began have ended
    assert len(began) < 20


def test_an_interrupt_cancels_what_runs() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> int:
        if item == 0:
            return 0
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.append(item)
            raise
        return item

    def interrupted() -> None:
        for _ in each(range(50), work, 4):
            time.sleep(0.05)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    # three or four, whether or not the first one's place was taken again
    assert len(cancelled) in (3, 4)


def test_an_error_of_the_source_cancels_what_runs() -> None:
    ended: list[int] = []

    def items() -> Iterator[int]:
        yield 1
        time.sleep(0.05)
        raise OSError("torn")

    async def work(item: int) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(item)
        return item

    with pytest.raises(OSError, match="torn"):
        list(each(items(), work, 4))
    assert ended == [1]


@pytest.mark.medium
def test_memory_is_flat() -> None:
    async def work(item: int) -> bytes:
        return bytes(10_000)

    def peak(count: int) -> int:
        tracemalloc.start()
        for _ in each(range(count), work, 8):
            pass
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return top

    peak(200)  # what is made once
    assert peak(4000) < peak(400) + 1_000_000


def test_it_refuses_none_at_a_time_and_its_own_loop() -> None:
    async def work(item: int) -> int:
        return item

    with pytest.raises(ConfigError, match="in_flight 0 was given; wanted 1 or more"):
        each([1], work, 0)
    assert list(each([], work, 1)) == []

    async def within() -> None:
        list(each([1], work, 1))

    with pytest.raises(RuntimeError, match="on the asking loop; await instead"):
        loops.run(within())
