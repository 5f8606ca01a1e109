"""Scoring a suite: every response once, counted, kept window by window, and free of the batch."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from transformers import AutoTokenizer

from assay.bundled import HELDOUT
from assay.errors import ConfigError, DataError
from assay.evaluation.results import figures
from assay.evaluation.scoring import JOURNAL, digest, score_suite
from assay.evaluation.suite import Item, Suite
from assay.evaluation.suites import K_OF_N, PAIRS, load_suite
from assay.models.backbones import PACKAGED
from assay.models.reward_model import RewardModel
from assay.score.scorer import RewardScorer, load_scorer
from assay.types import Conversation, Message, Scorer, Scores

Answer = Callable[[str], float]


def pairs_suite(n: int) -> Suite:
    return Suite(PAIRS, tuple(pair(i) for i in range(n)), "made")


def pair(i: int, right: str = "", wrong: str = "") -> Item:
    texts = (right or f"right {i}", wrong or f"wrong {i}")
    return Item(
        id=str(i),
        subset="all",
        prompt=(Message("user", f"question {i}"),),
        responses=tuple((Message("assistant", text),) for text in texts),
        correct=(True, False),
        cluster=str(i),
    )


class Recorder:
    """Rewards by a function of the response; remembers what it was asked, may stop in the middle.

    ``cut`` responses of each call are said to have been truncated.
    """

    def __init__(self, answer: Answer = len, calls: int | None = None, cut: int = 0):
        self.answer = answer
        self.calls = calls
        self.cut = cut
        self.seen: list[str] = []

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        if self.calls == 0:
            raise RuntimeError("the power went out")
        self.calls = None if self.calls is None else self.calls - 1
        self.seen += [c.response_text for c in conversations]
        rewards = [self.answer(c.response_text) for c in conversations]
        return Scores(np.array(rewards, dtype=np.float64), truncated=self.cut)


@pytest.fixture
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("assay.evaluation.scoring.WINDOW", 4)


# --- what is scored -------------------------------------------------------------------------------


def test_rewards_come_back_on_their_own_items_with_lengths() -> None:
    suite = Suite(PAIRS, (pair(0, "yes", "never"), pair(1, "a", "bc")), "made")
    found = score_suite(Recorder(lambda text: float(len(text))), suite)
    assert [item.rewards for item in found.scored] == [(3.0, 5.0), (1.0, 2.0)]
    assert [item.lengths for item in found.scored] == [(3, 5), (1, 2)]
    assert [item.cluster for item in found.scored] == ["0", "1"]
    assert (found.truncated, found.dropped_items, found.dropped_responses) == (0, 0, 0)


def test_a_response_that_several_items_share_is_scored_once() -> None:
    best, good, bad = ((Message("assistant", text),) for text in ("best", "good", "bad"))
    base = pair(0)
    items = tuple(
        replace(base, id=f"0/{a}>{b}", responses=(a_text, b_text))
        for (a, a_text), (b, b_text) in pairwise([("1", best), ("2", good), ("3", bad)])
    )
    scorer = Recorder(lambda text: {"best": 3.0, "good": 2.0, "bad": 1.0}[text])
    found = score_suite(scorer, Suite(PAIRS, items, "made"))
    assert [item.rewards for item in found.scored] == [(3.0, 2.0), (2.0, 1.0)]
    assert sorted(scorer.seen) == ["bad", "best", "good"]


def test_the_same_response_to_another_prompt_is_another_conversation() -> None:
    scorer = Recorder(lambda text: float(len(text)))
    score_suite(scorer, Suite(PAIRS, (pair(0, "yes", "no"), pair(1, "yes", "no")), "made"))
    assert sorted(scorer.seen) == ["no", "no", "yes", "yes"]


def test_dropped_responses_take_their_item_along_and_both_are_counted() -> None:
    def answer(text: str) -> float:
        return float("nan") if text in ("right 1", "right 3", "wrong 3") else 1.0

    found = score_suite(Recorder(answer), pairs_suite(5))
    assert [item.id for item in found.scored] == ["0", "2", "4"]
    assert (found.dropped_items, found.dropped_responses) == (2, 3)


@pytest.mark.parametrize("shape", [(3,), (1, 2), ()])
def test_rewards_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    class Odd:
        def score(self, conversations: Sequence[Conversation]) -> Scores:
            return Scores(np.zeros(shape))

    message = rf"rewards of shape \({', '.join(map(str, shape))},?\) for 2 conversations; wanted"
    with pytest.raises(DataError, match=message):
        score_suite(Odd(), pairs_suite(1))


@pytest.mark.parametrize("reward", [float("inf"), float("-inf")])
def test_an_infinite_reward_is_refused_by_its_item(reward: float) -> None:
    scorer = Recorder(lambda text: reward if text == "wrong 1" else 0.0)
    with pytest.raises(DataError, match="gave item '1' an infinite reward"):
        score_suite(scorer, pairs_suite(3))


def test_the_digest_knows_texts_marks_and_order_from_each_other() -> None:
    items = list(pairs_suite(3).items)
    others = [
        items[::-1],
        items[:2],
        [*items[:2], replace(items[2], id="x")],
        [*items[:2], replace(items[2], subset="x")],
        [*items[:2], replace(items[2], correct=(False, True))],
        [*items[:2], pair(2, "other")],
        [*items[:2], replace(items[2], tools=({"name": "search"},))],
    ]
    assert digest(items) == digest(list(items))
    assert len({digest(items), *map(digest, others)}) == 1 + len(others)


# --- killed and going on --------------------------------------------------------------------------


@pytest.mark.usefixtures("small_windows")
@pytest.mark.parametrize("calls", [0, 1, 3])
def test_a_stopped_scoring_goes_on_and_scores_nothing_twice(tmp_path: Path, calls: int) -> None:
    suite = pairs_suite(18)
    whole = score_suite(Recorder(hash_of, cut=2), suite)
    stopped = Recorder(hash_of, calls=calls, cut=2)
    with pytest.raises(RuntimeError, match="the power went out"):
        score_suite(stopped, suite, tmp_path, "m")
    going_on = Recorder(hash_of, cut=2)
    assert score_suite(going_on, suite, tmp_path, "m") == whole
    assert len(stopped.seen) == 2 * 4 * calls
    assert len(going_on.seen) == len(set(going_on.seen)) == 36 - len(stopped.seen)
    assert not set(stopped.seen) & set(going_on.seen)
    idle = Recorder(calls=0)
    assert score_suite(idle, suite, tmp_path, "m") == whole
    assert whole.truncated == 5 * 2


def hash_of(text: str) -> float:
    return float(sum(map(ord, text)) % 97) / 7


@pytest.mark.usefixtures("small_windows")
def test_however_much_of_the_journal_reached_the_disk_the_result_is_the_same(
    tmp_path: Path,
) -> None:
    """A torn window is scored again as a whole, so nothing is counted twice."""
    suite = pairs_suite(10)

    def answer(text: str) -> float:
        return float("nan") if text == "wrong 5" else hash_of(text)

    whole = score_suite(Recorder(answer, cut=1), suite, tmp_path, "m")
    journal = tmp_path / JOURNAL
    text = journal.read_bytes()
    assert text.count(b"\n") == 1 + 3
    for size in range(0, len(text), 7):
        journal.write_bytes(text[:size])
        assert score_suite(Recorder(answer, cut=1), suite, tmp_path, "m") == whole
        assert journal.read_bytes() == text
    assert (whole.truncated, whole.dropped_items, whole.dropped_responses) == (3, 1, 1)


@pytest.mark.parametrize(
    ("suite", "model", "other"),
    [
        (pairs_suite(3), "m truncate-left", "suite;"),
        (pairs_suite(2), "m drop", "model or truncation;"),
        (pairs_suite(2), "n drop", "model or truncation;"),
        (pairs_suite(3), "n drop", "suite, model or truncation;"),
    ],
    ids=["suite", "truncation", "model", "all"],
)
def test_a_journal_of_something_else_is_refused_and_kept(
    tmp_path: Path, suite: Suite, model: str, other: str
) -> None:
    score_suite(Recorder(hash_of), pairs_suite(2), tmp_path, "m truncate-left")
    before = (tmp_path / JOURNAL).read_bytes()
    with pytest.raises(ConfigError, match=f"an unfinished evaluation begun with another {other}"):
        score_suite(Recorder(hash_of), suite, tmp_path, model)
    assert (tmp_path / JOURNAL).read_bytes() == before


@pytest.mark.parametrize("line", [b"{\n", b"\xff\xfe\n"])
def test_a_damaged_journal_says_so(tmp_path: Path, line: bytes) -> None:
    score_suite(Recorder(hash_of), pairs_suite(2), tmp_path)
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(line)
    with pytest.raises(ConfigError, match=r"scoring\.jsonl is damaged .*; delete it"):
        score_suite(Recorder(hash_of), pairs_suite(2), tmp_path)


@pytest.mark.usefixtures("small_windows")
def test_progress_is_told_after_each_window(tmp_path: Path) -> None:
    told: list[Any] = []
    score_suite(Recorder(hash_of), pairs_suite(6), tmp_path, progress=lambda *a: told.append(a))
    assert told == [("score", 4, 6, 0), ("score", 6, 6, 0)]


def test_a_reward_is_the_same_to_the_last_bit_after_the_journal(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = {text: float(x) for text, x in zip(texts(40), rng.normal(size=80), strict=True)}
    suite = pairs_suite(40)
    first = score_suite(Recorder(table.__getitem__), suite, tmp_path)
    again = score_suite(Recorder(calls=0), suite, tmp_path)
    assert again == first
    assert [r for item in again.scored for r in item.rewards] == list(table.values())
    lines = (tmp_path / JOURNAL).read_text().splitlines()
    assert set(json.loads(lines[0])) == {"suite", "model or truncation"}


def texts(n: int) -> list[str]:
    return [f"{mark} {i}" for i in range(n) for mark in ("right", "wrong")]


# --- the same number whatever is scored beside it -------------------------------------------------


class AtATime:
    """A scorer that is given so many conversations in one call."""

    def __init__(self, scorer: Scorer, size: int):
        self.scorer, self.size = scorer, size

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        parts = [
            self.scorer.score(conversations[start : start + self.size])
            for start in range(0, len(conversations), self.size)
        ]
        return Scores(np.concatenate([part.reward for part in parts]))


def assert_nothing_but_the_model_decides(
    model: RewardModel, suite: Suite, relative: float = 1e-5
) -> None:
    """Batches of 8 and 64, token budgets and order change nothing against one at a time, in order.

    Rewards agree to ``relative`` of their standard deviation, every decision by more is the same,
    and so is the printed table.
    """
    big = RewardScorer(model, token_budget=100_000)
    wanted = score_suite(AtATime(big, 1), suite).scored
    table = str(figures(suite.spec, wanted))
    alone = np.array([r for item in wanted for r in item.rewards])
    tolerance = relative * alone.std()
    assert tolerance > 0
    order = np.random.default_rng(0).permutation(len(suite.items))
    shuffled = replace(suite, items=tuple(suite.items[i] for i in order))
    scorers: dict[str, Scorer] = {f"{n} at a time": AtATime(big, n) for n in (8, 64)}
    scorers |= {f"budget {n}": RewardScorer(model, token_budget=n) for n in (1, 700, 4096)}
    for name, scorer in scorers.items():
        found = score_suite(scorer, shuffled).scored
        place = {item.id: item for item in found}
        items = [place[item.id] for item in wanted]
        rewards = np.array([r for item in items for r in item.rewards])
        np.testing.assert_allclose(rewards, alone, rtol=0, atol=tolerance, err_msg=name)
        for mine, other in zip(items, wanted, strict=True):
            gaps = np.subtract.outer(other.right, other.wrong)
            far = np.abs(gaps) > tolerance
            decided = np.sign(np.subtract.outer(mine.right, mine.wrong))
            assert (decided[far] == np.sign(gaps)[far]).all(), name
        assert str(figures(suite.spec, found)) == table, name


def mixed_suite(gold_pairs: Any) -> Suite:
    """Pairs, and rankings of four with two right ones, of very different lengths."""
    rows = gold_pairs(48)
    items = []
    for i, row in enumerate(rows[:24]):
        answers = [row["chosen"] * (1 + i % 4), row["rejected"]]
        if i % 3 == 0:
            answers += [rows[24 + i]["chosen"], rows[24 + i]["rejected"] + " again"]
        items.append(
            Item(
                id=row["id"],
                subset="all",
                prompt=(Message("user", row["prompt"]),),
                responses=tuple((Message("assistant", text),) for text in answers),
                correct=tuple(j % 2 == 0 for j in range(len(answers))),
                cluster=row["prompt"],
            )
        )
    return Suite(K_OF_N, tuple(items), "made")


@pytest.mark.usefixtures("own_cache")
def test_batch_and_order_change_neither_rewards_nor_the_table(
    trained_run: Path, gold_pairs: Any
) -> None:
    assert_nothing_but_the_model_decides(load_scorer(trained_run).model, mixed_suite(gold_pairs))


@pytest.mark.usefixtures("own_cache")
@pytest.mark.parametrize("name", ["gemma3_text", "gpt2", "bert"])
def test_batch_and_order_change_nothing_on_other_architectures(
    name: str, gold_pairs: Any, tiny_backbone: Path, tmp_path: Path
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_backbone)
    backbone = tiny.save_backbone(tmp_path / name, name, tokenizer)
    model = RewardModel.from_backbone(str(backbone), max_length=400)
    assert_nothing_but_the_model_decides(model, mixed_suite(gold_pairs))


@pytest.mark.slow
def test_batch_and_order_change_nothing_on_a_real_model() -> None:
    if importlib.util.find_spec(PACKAGED["smollm2-135m"].package) is None:
        pytest.skip(f"{PACKAGED['smollm2-135m'].requirement} is not installed")
    model = RewardModel.from_backbone("smollm2-135m", max_length=512)
    everyday = load_suite(HELDOUT)
    sixty = replace(everyday, items=everyday.items[:60])
    # 30 layers in float32 leave 2.2e-5 under a random head (1.0e-5 under a trained one), and plain
    # padded batches as much
    assert_nothing_but_the_model_decides(model, sixty, relative=5e-5)
