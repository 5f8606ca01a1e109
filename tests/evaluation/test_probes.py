"""Bias probes: an injected bias is found at its size, and nothing where nothing was put."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.edits import EDITS, FILLER, REFUSAL, has_list
from assay.evaluation.probes import (
    format_figures,
    length_figures,
    position_bias,
    run_probes,
)
from assay.evaluation.suite import Item, ScoredItem
from assay.types import Conversation, Scores, as_messages

WORDS = ["water", "cool", "skin", "burn", "minutes", "gentle", "cloth", "clean", "doctor"]
BY_NAME = {edit.name: edit for edit in EDITS}


class Biased:
    """Quality and noise drawn by text, and a known bias on top."""

    def __init__(self, bias: Callable[[str], float], noise: float = 0.3, seed: int = 0):
        self.bias, self.noise, self.seed = bias, noise, seed

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        rewards = [
            self._draw(c.prompt[-1].content)
            + self.noise * self._draw(c.response_text)
            + self.bias(c.response_text)
            for c in conversations
        ]
        return Scores(np.array(rewards))

    def _draw(self, text: str) -> float:
        digest = hashlib.blake2b(f"{self.seed} {text}".encode(), digest_size=8).digest()
        return NormalDist().inv_cdf((int.from_bytes(digest, "little") + 0.5) / 2**64)


def answers(count: int, seed: int = 0) -> tuple[list[Conversation], list[str]]:
    rng = np.random.default_rng(seed)
    conversations = []
    for i in range(count):
        lines = [" ".join(rng.choice(WORDS, 6)).capitalize() + "." for _ in range(4)]
        conversations.append(Conversation.of(f"Question {i}?", " ".join(lines)))
    return conversations, [f"prompt {i}" for i in range(count)]


def effect_of(scorer: Biased, name: str, count: int = 150, seed: int = 0) -> tuple[float, ...]:
    conversations, prompts = answers(count, seed)
    report = run_probes(scorer, conversations, prompts, [BY_NAME[name]])
    spread = scorer.score(conversations).reward.std()
    probe = report.probes[0]
    assert probe.name == name
    return probe.effect.value, probe.effect.low, probe.effect.high, float(spread), probe.p


def test_an_injected_length_bias_is_recovered_within_its_interval() -> None:
    per_character = 0.004
    hits = 0
    for seed in range(40):
        scorer = Biased(lambda text: per_character * len(text), seed=seed)
        _, low, high, spread, p = effect_of(scorer, "filler", seed=seed)
        wanted = per_character * (len(FILLER) + 1) / spread
        hits += low <= wanted <= high
        assert p < 1e-6
    assert hits >= 34  # 38 expected


@pytest.mark.medium
def test_an_injected_list_bias_is_recovered_within_its_interval() -> None:
    hits = 0
    for seed in range(40):
        scorer = Biased(lambda text: 0.5 * has_list(text), seed=seed)
        _, low, high, spread, _ = effect_of(scorer, "list", seed=seed)
        hits += low <= 0.5 / spread <= high
    assert hits >= 34


@pytest.mark.parametrize("share", [0.5, 0.6, 0.8])
def test_an_injected_position_bias_is_recovered_within_its_interval(share: float) -> None:
    hits = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        figure = position_bias((rng.random(400) < share).astype(float))
        hits += figure.low <= share <= figure.high
    assert hits >= 89


@pytest.mark.medium
def test_without_a_bias_nothing_is_found_after_correction() -> None:
    """Refusal and off-topic replace the whole text, which noise by text alone does not mind."""
    conversations, prompts = answers(120)
    runs, false = 60, 0
    for seed in range(runs):
        report = run_probes(Biased(lambda text: 0.0, noise=1.0, seed=seed), conversations, prompts)
        # one refusal is one draw for all prompts: an effect of that text, and not of chance
        false += any(p.found for p in report.probes if p.name != "refusal")
    assert false <= 8  # 3 expected


def test_holm_covers_all_probes() -> None:
    conversations, prompts = answers(60)
    report = run_probes(Biased(lambda text: 0.004 * len(text)), conversations, prompts)
    p, adjusted = zip(*[(q.p, q.p_holm) for q in report.probes if np.isfinite(q.p)], strict=True)
    assert len(p) >= 9
    assert min(adjusted) == pytest.approx(min(1.0, min(p) * len(p)))
    assert all(a >= b for a, b in zip(adjusted, p, strict=True))
    text = str(report)
    assert all(edit.name in text for edit in EDITS)
    assert "off-topic" in text


def test_effects_are_in_deviations_of_the_unedited_rewards() -> None:
    conversations, prompts = answers(80)
    bias = lambda text: 0.002 * len(text)  # noqa: E731
    small = run_probes(Biased(bias), conversations, prompts).probes
    large = run_probes(Thousandfold(bias), conversations, prompts).probes
    for a, b in zip(small, large, strict=True):
        assert a.effect.value == pytest.approx(b.effect.value, abs=1e-9, nan_ok=True)
        assert a.p == pytest.approx(b.p, abs=1e-9, nan_ok=True)


class Thousandfold(Biased):
    def score(self, conversations: Sequence[Conversation]) -> Scores:
        return Scores(1000.0 * super().score(conversations).reward)


def test_what_an_edit_skips_and_a_scorer_drops_is_counted() -> None:
    conversations, prompts = answers(20)
    short = [Conversation.of(f"Short {i}?", "Yes.") for i in range(5)]
    everything, names = [*conversations, *short], [*prompts, *(f"short {i}" for i in range(5))]

    class Dropping(Biased):
        def score(self, conversations: Sequence[Conversation]) -> Scores:
            rewards = super().score(conversations).reward.copy()
            rewards[[c.response_text.endswith(FILLER) and "0" in c.prompt[-1].content
                     for c in conversations]] = np.nan  # fmt: skip
            return Scores(rewards)

    report = run_probes(Dropping(lambda text: 0.0), everything, names)
    found = {p.name: p for p in report.probes}
    assert (found["list"].effect.n, found["list"].skipped) == (20, 5)  # one sentence is no list
    assert (found["plain"].effect.n, found["plain"].skipped) == (0, 25)
    assert found["plain"].to_dict()["p"] is None
    gone = sum("0" in c.prompt[-1].content for c in everything)
    assert report.dropped == found["filler"].skipped == gone
    assert found["filler"].length_change == pytest.approx(len(FILLER) + 1)


def test_the_off_topic_response_is_another_prompts() -> None:
    conversations = [Conversation.of("A?", "one two"), Conversation.of("A?", "three"),
                     Conversation.of("B?", "four")]  # fmt: skip
    seen: list[tuple[str, str]] = []

    class Watching(Biased):
        def score(self, conversations: Sequence[Conversation]) -> Scores:
            seen.extend((c.prompt[-1].content, c.response_text) for c in conversations)
            return super().score(conversations)

    run_probes(Watching(lambda text: 0.0), conversations, ["A", "A", "B"], [])
    assert seen[3:] == [("A?", "four"), ("A?", "four"), ("B?", "one two")]


def test_probes_that_cannot_be_scaled_are_refused() -> None:
    conversations, prompts = answers(3)
    with pytest.raises(DataError, match="two prompts or more, got 1"):
        run_probes(Biased(lambda text: 0.0), conversations, ["same"] * 3)

    class Flat:
        def score(self, conversations: Sequence[Conversation]) -> Scores:
            return Scores(np.zeros(len(conversations)))

    with pytest.raises(DataError, match="same reward; an effect has no scale"):
        run_probes(Flat(), conversations, prompts)


def scored(rewards: tuple[float, ...], lengths: tuple[int, ...], id: str = "1") -> ScoredItem:
    return ScoredItem(id, "all", rewards, (True, *(False,) * (len(rewards) - 1)), id, lengths)


def test_accuracy_by_length_splits_pairs_in_longer_shorter_and_matched() -> None:
    rows = [
        scored((1.0, 0.0), (200, 100), "a"),
        scored((0.0, 1.0), (200, 100), "b"),
        scored((1.0, 0.0), (100, 200), "c"),
        scored((1.0, 0.0), (100, 109), "d"),  # within a tenth of the longer
        scored((0.0, 1.0), (100, 112), "e"),
    ]
    block = length_figures(rows)
    assert block is not None
    assert {k: (v["value"], v["n"]) for k, v in block.items() if k != "correlation"} == {
        "chosen_longer": (0.5, 2),
        "chosen_shorter": (0.5, 2),
        "length_matched": (1.0, 1),
    }
    assert block["correlation"]["n"] == 10
    assert length_figures([ScoredItem("1", "all", (1.0, 0.0), (True, False), "1")]) is None


def test_reward_follows_length_within_items_only() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for i in range(60):
        lengths = tuple(int(n) for n in rng.integers(50, 500, 3))
        # each prompt's level runs against its lengths
        rows.append(scored(tuple(0.01 * n - 0.1 * sum(lengths) for n in lengths), lengths, str(i)))
    block = length_figures(rows)
    assert block is not None
    assert block["correlation"]["value"] > 0.95


def test_accuracy_where_one_side_alone_has_a_format() -> None:
    texts = [("- a\n- b", "plain"), ("plain", "- a\n- b"), ("**x**", "## y"), ("p", "q")]
    items, rows = [], []
    for i, (right, wrong) in enumerate(texts):
        responses = (as_messages(right, "assistant"), as_messages(wrong, "assistant"))
        items.append(
            Item(str(i), "all", as_messages("?", "user"), responses, (True, False), str(i))
        )
        rows.append(scored((1.0, 0.0) if i != 1 else (0.0, 1.0), (1, 1), str(i)))
    found = format_figures(items, rows)
    only_right = found["list"]["only_right_has_it"]
    assert (only_right["value"], only_right["n"]) == (1.0, 1)
    assert found["list"]["only_wrong_has_it"]["value"] == 0.0
    assert found["bold"]["only_right_has_it"]["n"] == found["header"]["only_wrong_has_it"]["n"] == 1
    assert found["bold"]["only_wrong_has_it"]["n"] == 0


def test_the_refusal_probe_uses_the_refusal() -> None:
    scorer = Biased(lambda text: -2.0 * (text == REFUSAL), noise=0.0)
    value, low, high, spread, _ = effect_of(scorer, "refusal", count=40)
    assert value == pytest.approx(-2.0 / spread)
    assert (low, high) == pytest.approx((value, value))
