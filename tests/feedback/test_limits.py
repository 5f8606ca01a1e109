"""Value: allowances by a clock that is set by hand."""

from __future__ import annotations

import asyncio
import gc

import pytest

from assay.feedback import limits
from assay.feedback.limits import Breaker, Throttle, TokenBucket, shared_throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.waits: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)


def test_a_bucket_gives_its_rate_and_no_more() -> None:
    clock = Clock()
    bucket = TokenBucket(120, clock=clock)  # two a second, one second's worth at once
    assert [bucket.take(1) for _ in range(5)] == [0, 0, 0.5, 1.0, 1.5]
    clock.now += 1.5
    assert bucket.take(1) == pytest.approx(0.5)  # all that grew is promised to those before
    clock.now += 1000
    assert [bucket.take(1) for _ in range(3)] == [0, 0, 0.5]  # what is unused is not saved up
    bucket.give_back(1)
    assert bucket.take(1) == 0.5
    assert TokenBucket(6, least=1.0, clock=clock).take(1) == 0


def test_over_any_minute_no_more_is_sent_than_was_allowed() -> None:
    clock = Clock()
    bucket = TokenBucket(30, least=1.0, clock=clock)
    sent = [clock.now + bucket.take(1) for _ in range(100)]
    for at in sent:
        assert sum(at <= other < at + 60 for other in sent) <= 30 + bucket.burst


def test_a_throttle_waits_for_the_scarcer_of_the_two() -> None:
    clock = Clock()

    async def asked() -> list[float]:
        throttle = Throttle(60, 6000, clock=clock, sleep=clock.sleep)
        await throttle.wait(100)  # a second's worth of both
        await throttle.wait(10)
        await throttle.wait(390)
        throttle.used(390, 90)
        await throttle.wait(0)
        free = Throttle(clock=clock, sleep=clock.sleep)
        await free.wait(10**9)
        free.used(1, 2)
        return clock.waits

    assert asyncio.run(asked()) == pytest.approx([1.0, 4.0, 3.0])


def test_clients_of_one_key_share_a_throttle_and_the_key_is_not_kept() -> None:
    one = shared_throttle("h:80", "sk-1", 60, None)
    assert shared_throttle("h:80", "sk-1", 60, None) is one
    assert shared_throttle("h:80", "sk-2", 60, None) is not one
    assert shared_throttle("h:81", "sk-1", 60, None) is not one
    assert not any("sk-1" in str(name) for name in limits._shared)
    del one
    gc.collect()
    assert not limits._shared


def test_a_breaker_opens_cools_down_tries_once_and_closes() -> None:
    clock = Clock()
    breaker = Breaker(3, 30, clock=clock)
    for _ in range(2):
        breaker.failed()
    breaker.succeeded()
    for _ in range(2):
        breaker.failed()
    assert breaker.refused_seconds() is None
    breaker.failed()
    assert breaker.refused_seconds() == 30
    clock.now += 29
    assert breaker.refused_seconds() == 1
    clock.now += 1
    assert breaker.refused_seconds() is None  # the one trial
    assert breaker.refused_seconds() == 0
    breaker.failed()
    assert breaker.refused_seconds() == 30
    clock.now += 30
    assert breaker.refused_seconds() is None
    breaker.abandoned()
    assert breaker.refused_seconds() is None  # another may try
    breaker.succeeded()
    assert breaker.refused_seconds() is None
    assert breaker.refused_seconds() is None
