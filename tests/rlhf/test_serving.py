"""Calls that wait are scored together, and each gets its own rewards or its own error."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plugins_shared import length_reward

from assay.errors import TrainingError
from assay.rlhf.plugins.reading import ConversationReader
from assay.rlhf.plugins.serving import FromEnvironment, Gatherer, ServedReward
from assay.types import Conversation, Scores


class Gated:
    """Rewards lengths once it is let; keeps the sizes of what it was asked."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.let, self.entered = threading.Event(), threading.Event()

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        self.sizes.append(len(conversations))
        self.entered.set()
        self.let.wait(10)
        texts = [c.response_text for c in conversations]
        if "bad" in texts:
            raise TrainingError(f"bad among {len(texts)}")
        return Scores(np.array([float(len(t)) for t in texts]))


def call(gather: Gatherer, texts: Sequence[str], found: dict[Any, Any], key: Any) -> None:
    try:
        found[key] = gather([Conversation.of("a", t) for t in texts]).tolist()
    except TrainingError as error:
        found[key] = str(error)


def waiting(gather: Gatherer, n: int) -> None:
    for _ in range(2000):
        if len(gather._waiting) == n:
            return
        threading.Event().wait(0.002)
    raise AssertionError


def started(gather: Gatherer, batches: Sequence[Sequence[str]], scorer: Gated) -> dict[Any, Any]:
    """Rewards of calls of which the first is at work while the others come."""
    found: dict[Any, Any] = {}
    threads = []
    for number, texts in enumerate(batches):
        threads.append(threading.Thread(target=call, args=(gather, texts, found, number)))
        threads[-1].start()
        if number == 0:
            assert scorer.entered.wait(10)
        else:
            waiting(gather, number)
    scorer.let.set()
    for thread in threads:
        thread.join()
    return found


def test_what_waits_is_scored_together() -> None:
    scorer = Gated()
    found = started(Gatherer(scorer), [["x"], ["yy", "zzz"], ["w" * 4]], scorer)
    assert found == {0: [1.0], 1: [2.0, 3.0], 2: [4.0]}
    assert scorer.sizes == [1, 3]


def test_an_error_is_only_that_of_its_own_call() -> None:
    scorer = Gated()
    found = started(Gatherer(scorer), [["x"], ["yy", "bad"], ["w" * 4]], scorer)
    assert found == {0: [1.0], 1: "bad among 2", 2: [4.0]}


def test_an_error_of_one_call_does_not_stop_the_next() -> None:
    scorer = Gated()
    scorer.let.set()
    gather = Gatherer(scorer)
    found: dict[Any, Any] = {}
    for key, texts in enumerate([["bad"], ["x"], []]):
        call(gather, texts, found, key)
    assert found == {0: "bad among 1", 1: [1.0], 2: []}


@settings(max_examples=15)
@given(st.lists(st.lists(st.sampled_from(["", "x", "yy", "bad"]), max_size=3), max_size=8))
def test_every_thread_gets_its_own(batches: list[list[str]]) -> None:
    served = ServedReward(length_reward(on_failure="skip"), ConversationReader())
    found: dict[int, list[float]] = {}

    def ask(number: int, texts: list[str]) -> None:
        makers = [lambda t=t: Conversation.of("a", t) for t in texts]  # type: ignore[misc]
        found[number] = served.rewards(makers).tolist()

    threads = [threading.Thread(target=ask, args=pair) for pair in enumerate(batches)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number, texts in enumerate(batches):
        wanted = [np.nan if t == "bad" else float(len(t)) for t in texts]
        np.testing.assert_array_equal(found[number], wanted)
    bad = sum(t == "bad" for texts in batches for t in texts)
    assert served.reward.failures.total == bad


def test_a_reward_of_the_environment_is_made_once(monkeypatch: Any) -> None:
    made: list[Any] = []

    def make(spec: str, **how: Any) -> int:
        made.append((spec, how))
        return len(made)

    monkeypatch.setenv("ASSAY_REWARD", "runs/a")
    monkeypatch.setenv("ASSAY_POLICY", "")
    once = FromEnvironment(make)
    assert [once(), once(), once("runs/b"), once(), once(clip=(0, 1))] == [1, 1, 2, 1, 3]
    assert made == [
        ("runs/a", {"policy": None}),
        ("runs/b", {"policy": None}),
        ("runs/a", {"policy": None, "clip": (0, 1)}),
    ]
    assert once(policy="p") == 4
    with pytest.raises(ZeroDivisionError):
        FromEnvironment(lambda *_, **__: 1 / 0)()
