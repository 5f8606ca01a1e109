"""Properties of scoring: batches, order and grouping change no reward; nothing gets lost."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from assay.data.contract import Tokens
from assay.errors import ContractError, DataError
from assay.models import scoring
from assay.models.reward_model import RewardModel
from assay.models.scoring import pack_groups, prompt_groups, score_conversations
from assay.score.best_of_n import best_of_n
from assay.score.scorer import RewardScorer
from assay.types import Conversation, Scorer

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture(scope="module")
def model(tiny_backbone: Path, own_cache: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=400)


@pytest.fixture(scope="module")
def conversations(gold_pairs: Any) -> list[Conversation]:
    """200 conversations, most prompts with several responses, and one with a single one."""
    rows = gold_pairs(100)
    return [Conversation.of(r["prompt"], r[s]) for r in rows for s in ("chosen", "rejected")]


@pytest.fixture(scope="module")
def wanted(model: RewardModel, conversations: list[Conversation]) -> NDArray[np.float64]:
    """Each scored by itself."""
    return np.array([score_conversations(model, [c]).rewards[0] for c in conversations])


def same(got: NDArray[np.float64], wanted: NDArray[np.float64]) -> None:
    np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())


@pytest.mark.parametrize("token_budget", [1, 100, 1600, 100_000])
@pytest.mark.parametrize("engine", ["tree", "padded"])
def test_the_token_budget_changes_no_reward(
    model: RewardModel,
    conversations: list[Conversation],
    wanted: NDArray[np.float64],
    token_budget: int,
    engine: str,
) -> None:
    model.set_engine(engine)
    same(score_conversations(model, conversations, token_budget=token_budget).rewards, wanted)
    model.set_engine("tree")


@pytest.mark.parametrize("size", [1, 7, 32])
def test_batches_and_order_change_no_reward(
    model: RewardModel,
    conversations: list[Conversation],
    wanted: NDArray[np.float64],
    size: int,
) -> None:
    order = list(range(len(conversations)))
    random.Random(size).shuffle(order)
    scorer = RewardScorer(model)
    got = np.empty(len(order))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        got[part] = scorer.score([conversations[i] for i in part]).reward
    same(got, wanted)


def test_windows_change_no_reward(
    model: RewardModel,
    conversations: list[Conversation],
    wanted: NDArray[np.float64],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(scoring, "WINDOW", 13)
    seen: list[int] = []
    scored = score_conversations(model, conversations, progress=seen.append)
    same(scored.rewards, wanted)
    assert sum(seen) == len(conversations)


def test_best_of_n_and_pairs_see_the_same_rewards(
    model: RewardModel, conversations: list[Conversation], wanted: NDArray[np.float64]
) -> None:
    scorer = RewardScorer(model)
    assert isinstance(scorer, Scorer)
    prompts = [c.prompt for c in conversations[::10]]
    candidates = [[c.response for c in conversations[i : i + 10]] for i in range(0, 200, 10)]
    best = best_of_n(scorer, prompts, candidates)
    for prompt, responses, result in zip(prompts, candidates, best, strict=True):
        pairs = [scorer.score([Conversation(prompt, r)]).reward[0] for r in responses]
        same(result.rewards, np.array(pairs))
        assert result.index == int(np.argmax(result.rewards))


def test_best_of_n_says_what_is_missing(model: RewardModel) -> None:
    with pytest.raises(DataError, match="1 prompts came with 2 lists"):
        best_of_n(RewardScorer(model), ["a"], [["b"], ["c"]])
    with pytest.raises(DataError, match="Prompt 2 has no responses"):
        best_of_n(RewardScorer(model), ["a", "b"], [["b"], []])


def test_responses_to_one_prompt_share_it_wherever_they_stand(
    model: RewardModel, conversations: list[Conversation]
) -> None:
    tokens = model.renderer.tokenise([conversations[0], conversations[50], conversations[1]])
    assert prompt_groups(tokens) == [[0, 2], [1]]
    ((indexes, packed),) = pack_groups(tokens, 10_000, share=True)
    assert sorted(indexes) == [0, 1, 2]
    assert packed.num_tokens < sum(len(t.ids) for t in tokens)
    ((_, whole),) = pack_groups(tokens, 10_000, share=False)
    assert whole.num_tokens == sum(len(t.ids) for t in tokens)


@settings(max_examples=50)
@given(
    shapes=st.lists(
        st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(1, 12)), min_size=1, max_size=9
    ),
    budget=st.integers(1, 60),
)
def test_packing_within_a_budget_loses_nothing(
    shapes: list[tuple[int, int, int]], budget: int
) -> None:
    tokens = [
        Tokens(np.array([9] * prompt + [number] * response, dtype=np.int32), prompt)
        for number, prompt, response in shapes
    ]
    seen = []
    for indexes, packed in pack_groups(tokens, budget, share=True):
        paths = [path for tree in packed.trees for path in tree.paths()]
        for index, path in zip(indexes, paths, strict=True):
            np.testing.assert_array_equal(path, tokens[index].ids)
        seen += indexes
        if packed.num_tokens > budget:  # only what cannot be cut further is over the budget
            assert len(indexes) == 1
    assert sorted(seen) == list(range(len(tokens)))


def test_long_conversations_are_refused_dropped_or_cut_and_counted(model: RewardModel) -> None:
    short = Conversation.of("hi", "yes")
    long = Conversation.of("word " * 500, "yes")
    endless = Conversation.of("hi", "word " * 500)
    with pytest.raises(ContractError, match=r"^Conversation 2: .* where max_length is 400"):
        score_conversations(model, [short, long])
    dropped = score_conversations(model, [long, short, endless], truncation="drop")
    assert np.isnan(dropped.rewards).tolist() == [True, False, True]
    assert (dropped.dropped, dropped.truncated) == (2, 0)
    cut = score_conversations(model, [long, short, endless], truncation="truncate-left")
    assert np.isnan(cut.rewards).tolist() == [False, False, True]
    assert (cut.dropped, cut.truncated) == (1, 1)
    assert cut.rewards[1] == pytest.approx(dropped.rewards[1], abs=1e-5)


def test_a_conversation_that_cannot_be_rendered_is_named(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scoring, "WINDOW", 2)
    bad = Conversation.of("hi", "stop <|im_end|>")
    with pytest.raises(ContractError, match=r"^Conversation 4: A message contains"):
        score_conversations(model, [*[Conversation.of("hi", "yes")] * 3, bad])


def test_no_conversations_have_no_rewards(model: RewardModel) -> None:
    assert score_conversations(model, []).rewards.shape == (0,)
