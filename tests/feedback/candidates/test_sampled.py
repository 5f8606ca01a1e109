"""Prompts sampled in windows: what is replaced, what is not, and that places change nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ConfigError
from assay.feedback.candidates import sampled as module
from assay.feedback.candidates.grid import settings_of
from assay.feedback.candidates.records import (
    Job,
    Prompt,
    Sample,
    Setting,
    failure,
    prompt_digest,
    sample_seed,
    with_system,
)
from assay.feedback.candidates.sampled import Plan, sampled
from assay.types import Message

ONE = settings_of(1, (1.0,), (1.0,))
GRID = settings_of(2, (0.5, 1.0), (1.0,))


class Writer:
    """A source that is a function of its jobs, and keeps them."""

    def __init__(self, says: Callable[[Job], str | Sample], name: str = "writer") -> None:
        self._says = says
        self._name = name
        self.jobs: list[Job] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def identity(self) -> str:
        return self._name

    @property
    def place(self) -> Mapping[str, Any]:
        return {}

    def write(self, jobs: Sequence[Job], done: Callable[[Sample], None]) -> list[Sample]:
        self.jobs += jobs
        found = []
        for job in jobs:
            said = self._says(job)
            found.append(said if isinstance(said, Sample) else Sample(said, "stop", 1, 1))
            done(found[-1])
        return found


def asked(*texts: str) -> list[Prompt]:
    return [Prompt((Message("user", text),)) for text in texts]


def texts(found: module.Candidates) -> list[str]:
    return [r.sample.text for r in found.responses]


def by_seed(job: Job) -> str:
    """Few different texts, so that some are drawn twice."""
    return f"{job.messages[-1].content} {job.seed % 5}"


@settings(max_examples=25)
@given(st.permutations([f"prompt {n}" for n in range(7)]), st.integers(1, 40))
def test_neither_order_nor_window_changes_what_a_prompt_gets(order: list[str], window: int) -> None:
    plan = Plan(GRID, samples=2, seed=3)

    def found(prompts: list[str]) -> dict[str, list[str]]:
        sources = [Writer(by_seed, "one"), Writer(by_seed, "two")]
        return {
            c.prompt.messages[0].content: texts(c) for c in sampled(asked(*prompts), sources, plan)
        }

    expected = found(sorted(order))
    before, module.WINDOW = module.WINDOW, window
    try:
        assert found(order) == expected
    finally:
        module.WINDOW = before


def test_repeated_samples_are_replaced_by_the_next_ones() -> None:
    says = ["a", "a", " a ", "b", "c", "d"]
    writer = Writer(lambda job: says[job.index])
    (found,) = sampled(asked("x"), [writer], Plan(ONE, samples=3, attempts=2))
    assert [job.index for job in writer.jobs] == [0, 1, 2, 3, 4]
    assert sorted(texts(found)) == ["a", "b", "c"]
    assert found.unusable == {"same": 2}
    assert (found.drawn, found.texts, found.repeats) == (5, 5, 2)


def test_the_rounds_are_bounded_and_what_is_missing_is_told() -> None:
    writer = Writer(lambda job: "always")
    (found,) = sampled(asked("x"), [writer], Plan(ONE, samples=3, attempts=2))
    assert texts(found) == ["always"]
    assert (found.wanted, found.drawn) == (3, 3 + 2 + 2)
    (found,) = sampled(asked("x"), [Writer(lambda job: "always")], Plan(ONE, 3, attempts=0))
    assert found.drawn == 3


def test_samples_as_drawn_may_be_kept_and_repeats_are_counted() -> None:
    plan = Plan(ONE, samples=3, keep_duplicates=True)
    (found,) = sampled(asked("x"), [Writer(lambda job: "always")], plan)
    assert texts(found) == ["always"] * 3
    assert (found.texts, found.repeats, found.drawn) == (3, 2, 3)


def test_empty_and_cut_samples_are_replaced_as_asked() -> None:
    says = {0: Sample("", "stop", 1, 0), 1: Sample("cut", "length", 1, 1)}
    writer = Writer(lambda job: says.get(job.index, f"whole {job.index}"))
    (found,) = sampled(asked("x"), [writer], Plan(ONE, samples=2, drop_cut=True))
    assert sorted(texts(found)) == ["whole 2", "whole 3"]
    assert found.unusable == {"empty": 1, "cut": 1}
    (found,) = sampled(asked("x"), [writer], Plan(ONE, samples=2))
    assert sorted(texts(found)) == ["cut", "whole 2"]


def test_a_failure_is_counted_and_never_replaced() -> None:
    writer = Writer(lambda job: failure("http", "500 came") if job.index == 0 else "fine")
    (found,) = sampled(asked("x"), [writer], Plan(ONE, samples=2))
    assert texts(found) == ["fine"]
    assert found.failed == {"http": 1}
    assert found.detail == "500 came"
    assert found.drawn == 2


def test_a_greedy_setting_is_asked_once_even_if_it_says_nothing_new() -> None:
    plan = Plan(settings_of(1, (0.0, 1.0), (1.0,)), samples=1, attempts=3)
    writer = Writer(lambda job: "same" if job.setting.temperature else "")
    (found,) = sampled(asked("x"), [writer], plan)
    assert texts(found) == ["same"]
    assert [job.setting.temperature for job in writer.jobs] == [0.0, 1.0]


def test_the_order_of_responses_says_nothing_of_their_source() -> None:
    sources = [Writer(lambda job: f"one {job.seed}", "one"), Writer(lambda job: f"two {job.seed}")]
    plan = Plan(settings_of(2, (1.0,), (1.0,)), samples=1)
    first = [
        c.responses[0].job.setting.source
        for c in sampled(asked(*map(str, range(200))), sources, plan)
    ]
    assert 70 < sum(first) < 130


def test_what_is_left_of_a_total_does_not_always_fall_to_the_first() -> None:
    sources = [Writer(by_seed, "one"), Writer(by_seed, "two")]
    plan = Plan(settings_of(2, (1.0,), (1.0,)), total=1)
    asked_of = [
        c.responses[0].job.setting.source
        for c in sampled(asked(*map(str, range(200))), sources, plan)
    ]
    assert 70 < sum(asked_of) < 130


def test_a_system_prompt_is_asked_under_unless_the_prompt_has_its_own() -> None:
    own = Prompt((Message("system", "Own."), Message("user", "x")))
    writer = Writer(by_seed)
    list(sampled([*asked("x"), own], [writer], Plan(ONE, samples=1, system="Given.")))
    assert [job.messages[0].content for job in writer.jobs] == ["Given.", "Own."]
    assert with_system(own.messages, None) == own.messages


def test_a_seed_is_of_everything_that_is_asked() -> None:
    prompt = prompt_digest((Message("user", "x"),), None)
    base = (prompt, "policy", Setting(0, 1.0, 1.0), 0, 0)
    others = [
        ("other", *base[1:]),
        (prompt, "other", *base[2:]),
        (*base[:2], Setting(0, 0.7, 1.0), 0, 0),
        (*base[:2], Setting(0, 1.0, 0.9), 0, 0),
        (*base[:3], 1, 0),
        (*base[:4], 1),
    ]
    seeds = {sample_seed(*given) for given in [base, *others]}
    assert len(seeds) == 7
    assert all(0 <= seed < 2**31 for seed in seeds)
    # where a source stands among others is no part of it
    assert sample_seed(*base) == sample_seed(prompt, "policy", Setting(3, 1.0, 1.0), 0, 0)
    tools = ({"name": "tool"},)
    assert prompt_digest((Message("user", "x"),), tools) != prompt


@pytest.mark.parametrize("change", [{"attempts": -1}, {"near_duplicate": 2.0}, {"samples": 0}])
def test_a_plan_that_cannot_work_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="wanted"):
        Plan(**{"settings": ONE, **change})
