"""Properties of the feature cache: each conversation is read once, and no crash spoils it."""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from assay.data.contract import Tokens
from assay.data.trees import build_tree, pack
from assay.models.backbones import cut_layers
from assay.models.features import FeatureCache, _locked, _Store
from assay.models.reward_model import RewardModel
from assay.models.views import View, view_features
from assay.types import Conversation

CONVERSATIONS = [Conversation.of(f"question {n // 3}", f"reply {n}") for n in range(12)]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tiny_backbone: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=400, engine="tree")


@pytest.fixture
def tokens(model: RewardModel) -> list[Tokens]:
    return model.renderer.tokenise(CONVERSATIONS)


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many conversations each forward pass read."""
    seen: list[int] = []
    features: Callable[..., torch.Tensor] = RewardModel.features

    def counted(self: RewardModel, packed: Any) -> torch.Tensor:
        seen.append(packed.num_responses)
        return features(self, packed)

    monkeypatch.setattr(RewardModel, "features", counted)
    return seen


def get(model: RewardModel, tokens: list[Tokens], budget: int = 200) -> np.ndarray:
    return FeatureCache.of(model).get(model, tokens, token_budget=budget)


def test_each_conversation_is_read_once(
    model: RewardModel, tokens: list[Tokens], read: list[int]
) -> None:
    first = get(model, tokens)
    assert sum(read) == len(tokens)
    read.clear()
    np.testing.assert_array_equal(get(model, tokens), first)
    np.testing.assert_array_equal(get(model, tokens[::-1]), first[::-1])
    assert read == []
    more = model.renderer.tokenise([*CONVERSATIONS, Conversation.of("new", "one")])
    np.testing.assert_array_equal(get(model, more)[:-1], first)
    assert read == [1]


def test_features_give_the_model_s_rewards(model: RewardModel, tokens: list[Tokens]) -> None:
    from assay.models.scoring import score_conversations

    features = torch.from_numpy(get(model, tokens))
    with torch.no_grad():
        rewards = model.reward_of(features).double().numpy()
    wanted = score_conversations(model, CONVERSATIONS).rewards
    np.testing.assert_allclose(rewards, wanted, atol=1e-4 * wanted.std())


def test_a_conversation_given_twice_is_read_once(
    model: RewardModel, tokens: list[Tokens], read: list[int]
) -> None:
    features = get(model, [tokens[0], tokens[1], tokens[0]])
    assert sum(read) == 2
    np.testing.assert_array_equal(features[0], features[2])


def test_progress_counts_every_conversation(model: RewardModel, tokens: list[Tokens]) -> None:
    for part in (tokens[:5], tokens, [*tokens, tokens[0]]):
        seen: list[int] = []
        FeatureCache.of(model).get(model, part, token_budget=100, progress=seen.append)
        assert sum(seen) == len(part)


def test_no_conversations_have_no_features(model: RewardModel) -> None:
    assert get(model, []).shape == (0, 32)


@pytest.mark.parametrize("cut", ["index", "values", "both", "index mid-row", "values mid-row"])
def test_what_a_kill_cut_off_is_read_again(
    cut: str, model: RewardModel, tokens: list[Tokens], read: list[int]
) -> None:
    wanted = get(model, tokens)
    read.clear()
    directory = FeatureCache.of(model).stores[0].directory
    rows = {"index": directory / "index.sha256", "values": directory / "features.f32"}
    lost = 4 if " " not in cut else 1
    for name, row in (("index", 32), ("values", 4 * 32)):
        if cut.startswith((name, "both")):
            size = rows[name].stat().st_size
            os.truncate(rows[name], size - lost * row + (row // 2 if "mid" in cut else 0))
    np.testing.assert_allclose(get(model, tokens), wanted, atol=1e-5)
    assert sum(read) == lost
    read.clear()
    np.testing.assert_allclose(get(model, tokens), wanted, atol=1e-5)
    assert read == []


def test_an_error_half_way_keeps_what_was_read(
    model: RewardModel, tokens: list[Tokens], read: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = RewardModel.features

    def failing(self: RewardModel, packed: Any) -> torch.Tensor:
        if len(read) == 1:
            raise KeyboardInterrupt
        return counted(self, packed)

    with monkeypatch.context() as patch:
        patch.setattr(RewardModel, "features", failing)
        with pytest.raises(KeyboardInterrupt):
            get(model, tokens, budget=100)
    done = sum(read)
    assert 0 < done < len(tokens)
    get(model, tokens, budget=100)
    assert sum(read) == len(tokens)


def test_other_weights_layers_poolings_and_templates_have_caches_of_their_own(
    tiny_backbone: Path,
) -> None:
    def directory(change: Callable[[RewardModel], Any] | None = None) -> Path:
        model = RewardModel.from_backbone(str(tiny_backbone), max_length=400, engine="tree")
        if change:
            change(model)
        return FeatureCache.of(model).stores[0].directory

    def nudge(model: RewardModel) -> None:
        with torch.no_grad():
            next(model.network.base_model.parameters())[0, 0] += 1e-3

    def new_head(model: RewardModel) -> None:
        with torch.no_grad():
            model.head.weight.add_(1.0)

    others = [
        directory(nudge),
        directory(lambda m: cut_layers(m.network, 1)),
        directory(lambda m: m.set_pooling("mean")),
        directory(lambda m: m.set_contract(chat_template=m.contract.chat_template + " ")),
    ]
    assert len({directory(), *others}) == 5
    # what the features do not depend on
    assert directory(new_head) == directory()
    assert directory(lambda m: m.set_contract(max_length=100)) == directory()
    assert directory(lambda m: m.set_engine("padded")) == directory()


def test_a_cut_of_the_prompt_is_another_conversation(
    model: RewardModel, tokens: list[Tokens], read: list[int]
) -> None:
    """With a pooling over the response, where it starts matters beside the ids."""
    moved = Tokens(tokens[0].ids, tokens[0].response_start - 1)
    get(model, [tokens[0], moved])
    assert sum(read) == 2


def test_who_waits_for_another_process_says_so(
    model: RewardModel, tokens: list[Tokens], caplog: pytest.LogCaptureFixture
) -> None:
    (store,) = FeatureCache.of(model).stores
    with caplog.at_level(logging.WARNING):
        with _locked(store.directory):
            waiting = threading.Thread(target=get, args=(model, tokens))
            waiting.start()
            waiting.join(0.3)
            assert waiting.is_alive()
        waiting.join(60)
    assert not waiting.is_alive()
    assert "waiting for another process" in caplog.text
    assert store._index.stat().st_size == len(tokens) * 32


def test_what_is_there_is_read_while_another_process_writes(
    model: RewardModel, tokens: list[Tokens]
) -> None:
    wanted = get(model, tokens)
    (store,) = FeatureCache.of(model).stores
    with _locked(store.directory):
        with store._values.open("ab") as values:
            values.write(b"half a row")
        np.testing.assert_array_equal(get(model, tokens), wanted)


def test_two_processes_share_a_cache(model: RewardModel) -> None:
    conversations = [Conversation.of(f"question {n // 3}", f"reply {n}") for n in range(60)]
    tokens = model.renderer.tokenise(conversations)

    def work(part: list[Tokens]) -> None:
        for start in range(0, len(part), 5):
            get(model, part[start : start + 5], budget=60)

    context = multiprocessing.get_context("fork")
    parts = (tokens[:40], tokens[20:][::-1])
    processes = [context.Process(target=work, args=(part,)) for part in parts]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    cache = FeatureCache.of(model)
    (store,) = cache.stores
    assert store._index.stat().st_size == 60 * 32  # the 20 that both asked for are there once
    fresh = FeatureCache([_Store(store.directory.parent / "fresh", store.width)])
    np.testing.assert_allclose(
        cache.get(model, tokens, token_budget=60),
        fresh.get(model, tokens, token_budget=1000),
        atol=1e-5,
    )


def test_views_are_computed_in_one_forward_and_kept_apart(
    model: RewardModel, tokens: list[Tokens], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted: list[int] = []
    states = RewardModel.states
    monkeypatch.setattr(
        RewardModel, "states", lambda m, row: counted.append(row.num_responses) or states(m, row)
    )
    one, two = View(1, "mean"), View(2)

    def read(*views: View) -> np.ndarray:
        return FeatureCache.of(model, views).get(model, tokens, token_budget=200)

    both = read(one, two)
    assert (sum(counted), both.shape) == (len(tokens), (len(tokens), 64))
    np.testing.assert_array_equal(read(two), both[:, 32:])
    np.testing.assert_array_equal(read(two, one), np.roll(both, 32, axis=1))
    assert sum(counted) == len(tokens)
    read(one, View(1))  # a view that is there and one that is not
    assert sum(counted) == 2 * len(tokens)
    np.testing.assert_array_equal(read(one), both[:, :32])
    with torch.no_grad():
        packed = pack([build_tree(tokens[:1], share=True)])
        wanted = view_features(model, packed, [one, two])[0].numpy()
    np.testing.assert_allclose(both[0], wanted, atol=1e-5)
