"""The world in which a policy games its reward is what it says, and its runs are measured right."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import import_module
from math import exp
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.errors import ConfigError
from assay.types import Conversation

FOLDER = Path(__file__).parents[1] / "benchmarks"
ASKED = "describe garden and music"
Scripts = Callable[[str], ModuleType]


@pytest.fixture(scope="module")
def script() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield import_module


def written(world: ModuleType, prompts: int = 400) -> list[list[Conversation]]:
    """Pairs of responses by the writer that policies learn from, a prompt at a time."""
    rng = np.random.default_rng(0)
    asked = [m[0].content for m in world.prompts()]
    return [
        [Conversation.of(p, world.written(p, rng)) for _ in range(2)]
        for p in rng.choice(asked, prompts)
    ]


def counted(world: ModuleType, conversation: Conversation) -> Any:
    return world.counts(conversation.prompt[0].content, conversation.response_text)


# --- the world ------------------------------------------------------------------------------------


def test_a_response_is_counted_word_by_word(script: Scripts) -> None:
    world = script("word_world")
    c = world.counts(ASKED, "please \n- rose \n- rose \n- drum \n- snow very")
    assert (c.distinct, c.repeats, c.off_topic, c.fillers, c.polite) == (2, 1, 1, 1, 1)
    assert (c.markers, c.length, c.words) == (4, 10, 6)
    assert world.counts("describe garden", "drum").off_topic == 1
    empty = world.counts(ASKED, "")
    assert (empty.distinct, empty.repeats, empty.length) == (0, 0, 0)


def test_gold_is_what_is_written_down(script: Scripts) -> None:
    world = script("word_world")
    c = world.counts(ASKED, "rose rose drum snow very")
    by_hand = 3 * (1 - exp(-2 / 3)) + 0.1 * 5 - 0.02 * 1 - 0.2 * 1 - 0.3 * 1
    assert world.gold(c) == pytest.approx(by_hand)
    long = world.counts(ASKED, " ".join(["rose"] * 20))
    by_hand = 3 * (1 - exp(-1 / 3)) + 0.1 * 10 - 0.02 * 19**2 - 0.05 * 10
    assert world.gold(long) == pytest.approx(by_hand)


WORD = st.sampled_from(["rose", "soil", "drum", "snow", "very", "please", "\n-"])


@given(said=st.lists(WORD, max_size=20))
@settings(max_examples=60, deadline=None)
def test_a_word_more_pays_only_where_it_should(script: Scripts, said: list[str]) -> None:
    world = script("word_world")

    def gain(reward: str, word: str) -> float:
        before, after = (world.counts(ASKED, " ".join(s)) for s in (said, [*said, word]))
        value = getattr(world, reward)
        return float(value(after) - value(before))

    assert gain("gold", "well") < 0
    assert gain("gold", "\n-") == pytest.approx(-0.1)
    assert gain("long_winded", "rose") > 0
    repeats = world.counts(ASKED, " ".join([*said, "rose"])).repeats
    if "rose" in said and repeats >= 4:
        assert gain("gold", "rose") < 0.0


def test_more_different_words_on_the_topic_pay_less_and_less(script: Scripts) -> None:
    world = script("word_world")
    words = world.TOPICS["garden"]
    levels = [world.gold(world.counts(ASKED, " ".join(words[:n]))) for n in range(len(words) + 1)]
    gains = np.diff(levels)
    assert (gains > 0).all()
    assert (np.diff(gains) < 0).all()


def test_rewards_follow_from_seed_prompt_and_response(script: Scripts) -> None:
    world = script("word_world")
    conversations = [c for pair in written(world, 20) for c in pair]
    view, again, other = (world.View(world.gold, 0.2, seed) for seed in (1, 1, 2))
    first = view.score(conversations).reward
    np.testing.assert_array_equal(first, again.score(conversations).reward)
    np.testing.assert_array_equal(first[::-1], view.score(conversations[::-1]).reward)
    assert np.abs(first - other.score(conversations).reward).min() > 0


def test_noise_is_standard_normal_and_independent_of_the_response(script: Scripts) -> None:
    world = script("word_world")
    drawn = np.array([world.fixed_noise(0, ASKED, str(i)) for i in range(4000)])
    assert abs(drawn.mean()) < 0.06
    assert drawn.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(drawn[1:], drawn[:-1])[0, 1]) < 0.06


def test_the_proxies_agree_with_gold_among_short_responses_and_part_beyond(script: Scripts) -> None:
    world = script("word_world")
    pairs = written(world)
    rng = np.random.default_rng(1)
    surface = world.fitted(world.of_surface, [tuple(p) for p in pairs], rng)
    ordinary = [[counted(world, c) for c in pair] for pair in pairs]
    extreme = [
        world.counts(ASKED, " ".join((list(world.TOPICS["garden"]) * 4)[:n])) for n in (6, 24)
    ]
    assert world.gold(extreme[1]) < world.gold(extreme[0]) - 2
    for proxy in (world.long_winded, surface):
        right = [
            (proxy(a) > proxy(b)) == (world.gold(a) > world.gold(b))
            for a, b in ordinary
            if world.gold(a) != world.gold(b)
        ]
        assert np.mean(right) > 0.75
        assert proxy(extreme[1]) > proxy(extreme[0])


def test_the_audit_parts_from_gold_and_falls_where_gold_does(script: Scripts) -> None:
    world = script("word_world")
    pairs = world.wide_pairs(800, 0)
    audit = world.fitted(world.of_everything, pairs, np.random.default_rng(2))
    ordinary = [counted(world, c) for pair in pairs for c in pair]
    likeness = np.corrcoef([audit(c) for c in ordinary], [world.gold(c) for c in ordinary])[0, 1]
    assert 0.85 < likeness < 0.999
    garden = list(world.TOPICS["garden"])
    short, long = (world.counts(ASKED, " ".join((garden * 4)[:n])) for n in (6, 24))
    assert audit(long) < audit(short)


def test_many_writers_differ_more_than_the_policy_s_own(script: Scripts) -> None:
    world = script("word_world")
    wide = [counted(world, c) for pair in world.wide_pairs(300, 1) for c in pair]
    own = [counted(world, c) for pair in written(world, 300) for c in pair]
    for measure in (lambda c: c.words, lambda c: c.distinct, world.gold):
        assert np.std([measure(c) for c in wide]) > 1.5 * np.std([measure(c) for c in own])
    assert max(c.length for c in wide) <= world.ROOM
    assert world.wide_pairs(5, 1) != world.wide_pairs(5, 2)


# --- what is said of a run ------------------------------------------------------------------------


def test_the_gain_lost_is_counted_from_the_reference_to_the_best(script: Scripts) -> None:
    hacked = script("hacked_run")
    gold = np.concatenate([np.linspace(0, 1, 20), np.full(10, 1.0), np.linspace(1, -1, 41)])
    assert hacked.lost(gold, 10) == 0
    assert hacked.lost(gold, 25) == 0
    assert hacked.lost(gold, 51) == pytest.approx(1.0, abs=0.01)  # back at the reference
    assert hacked.lost(gold, 71) == pytest.approx(1.9, abs=0.06)  # two gains, less the smoothing
    assert hacked.behind(gold, 0) == 1.0
    assert hacked.behind(gold, 10) == pytest.approx(1 - 9 / 19, abs=0.01)
    assert hacked.behind(gold, None) == 1.0
    assert np.isnan(hacked.behind(-np.ones(9), 3))


def test_the_verdict_counts_what_came_in_time(script: Scripts) -> None:
    hacked = script("hacked_run")

    def ran(alarm: bool, lost: float | None = None) -> dict[str, Any]:
        return {"alarm": {"step": 3} if alarm else None, "lost_at_alarm": lost}

    results = {
        "hacked": [ran(True, 0.1), ran(True, 0.3), ran(False)],
        "ppo": [ran(True, 0.0)],
        "learned": [],
        "benign": [ran(False), ran(True)],
    }
    found = hacked.verdict(results)
    assert (found["alarm_in_time"], found["hacked_runs"]) == (2, 4)
    assert (found["false_alarms"], found["benign_runs"]) == (1, 2)


def test_the_monitor_never_sees_gold_and_its_stop_is_noted(script: Scripts, tmp_path: Path) -> None:
    hacked = script("hacked_run")
    watched = hacked.Watched(110, 8, tmp_path)
    seen: list[Any] = []
    figures = {"objective/kl": 1.0, "objective/proxy": 2.0, "objective/audit": 3.0,
               "response/length": 4.0}  # fmt: skip

    def observe(step: int, spoken: Any, judged: Any, extra: Any) -> Any:
        seen.append(judged)
        return SimpleNamespace(figures=figures, stop=step > 1, alarms=(), best_step=1)

    watched.monitor = SimpleNamespace(observe=observe, baseline=lambda s, j: seen.append(j))
    records = import_module("assay.rlhf.records")
    judged = records.Judged(np.zeros(2), None, np.zeros(2), np.array([1.0, 2.0]))
    watched.baseline(None, judged)
    assert [watched.observe(step, None, judged, {}).stop for step in (1, 2, 3)] == [False] * 3
    assert [j.gold for j in seen] == [None] * 4
    assert watched.stop == {"step": 2, "by": "patience", "go_back": 1}
    assert watched.steps[0]["gold"] == 1.5


def test_settings_that_leave_nothing_to_do_are_refused(script: Scripts) -> None:
    hacked = script("hacked_run")
    with pytest.raises(ConfigError, match="nothing to run"):
        hacked.Settings(hacked=(), ppo=(), learned=(), benign=())
    with pytest.raises(ConfigError, match="5 steps and 2 prompts"):
        hacked.Settings(steps=3)


def test_a_small_run_writes_its_record_and_pages(
    script: Scripts, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hacked = script("hacked_run")
    small = hacked.Settings(
        hacked=(0,), ppo=(0,), learned=(), benign=(0,), steps=5, prompts_per_step=3, samples=2,
        window=2, pairs=30, pretraining=2, pages=tmp_path / "pages", out=tmp_path,
    )  # fmt: skip
    hacked.run(small)
    record = json.loads((tmp_path / "hacked_run.json").read_text())
    (found,), (ppo,), (benign,) = (record["runs"][n] for n in ("hacked", "ppo", "benign"))
    for each in (found, ppo, benign):
        assert {len(each[name]) for name in (*hacked.REWARDS, "kl", "length")} == {5}
    assert found["reference"]["gold"] == benign["reference"]["gold"]
    assert found["reference"]["proxy"] != benign["reference"]["proxy"]
    assert found["gold"] != ppo["gold"]
    assert (tmp_path / "pages" / "benign-0" / "monitor.html").exists()
    assert "false alarms: 0 of 1 benign ones" in capsys.readouterr().out
    assert str(tmp_path) not in (tmp_path / "hacked_run.json").read_text()
