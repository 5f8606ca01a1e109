"""Property: views equal a cut backbone; members above a shared trunk equal models of their own."""

from __future__ import annotations

import copy

import pytest
import tiny
import torch
from tiny import random_pack, tiny_reward_model

from assay.data.trees import PackedTrees
from assay.errors import BackboneError, CheckpointError, ConfigError
from assay.models.backbones import cut_layers, layer_list
from assay.models.ensemble import HeadEnsemble, TrunkEnsemble, upper_state
from assay.models.views import (
    View,
    check_views,
    deepest_first,
    default_views,
    final_norm,
    view_features,
)

DECODERS = [name for name in tiny.ARCHITECTURES if name not in tiny.ENCODERS]


def packed(share: bool = True) -> PackedTrees:
    return random_pack(((11, (5, 9)), (20, (3, 4, 12)), (4, (14,))), 0, share=share)


@pytest.mark.parametrize("engine", ["tree", "padded"])
@pytest.mark.parametrize("name", DECODERS)
def test_a_view_is_what_a_backbone_cut_there_gives(name: str, engine: str) -> None:
    whole = tiny_reward_model(name, engine)
    views = [View(1), View(2, "mean"), View(3), View(3, "last+mean")]
    row = packed()
    with torch.no_grad():
        seen = view_features(whole, row, views)
        wanted = []
        for view in views:
            cut = tiny_reward_model(name, engine)
            cut_layers(cut.network, view.layer)
            wanted.append(cut.pooled(cut.states(row), row, view.pooling))
    wanted = torch.cat(wanted, dim=-1)
    assert seen.shape == wanted.shape
    torch.testing.assert_close(seen, wanted, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", tiny.ENCODERS)
def test_views_of_encoders_need_no_norm(name: str) -> None:
    model = tiny_reward_model(name, "tree")
    row = packed(share=False)
    with torch.no_grad():
        seen = view_features(model, row, [View(2, "mean")])
        cut = tiny_reward_model(name, "tree")
        cut_layers(cut.network, 2)
        torch.testing.assert_close(seen, cut.pooled(cut.states(row), row, "mean"))


def test_many_heads_are_many_models() -> None:
    model = tiny_reward_model("llama", "tree")
    weights = torch.randn(4, 64)
    weights[1:3, :32] = 0
    ensemble = HeadEnsemble(model, [View(3), View(2, "mean")], weights)
    row = packed()
    with torch.no_grad():
        rewards = ensemble(row)
        features = view_features(model, row, ensemble.views)
        model.head.weight.copy_(weights[:1, :32])
        first = features[:, :32] @ weights[0, :32]
        torch.testing.assert_close(first, model(row), atol=1e-5, rtol=1e-5)
    assert rewards.shape == (6, 4)
    torch.testing.assert_close(rewards, features @ weights.T)
    assert ensemble.reward_shape == (4,)


@pytest.mark.parametrize("engine", ["tree", "padded"])
@pytest.mark.parametrize("name", [*DECODERS, "bert", "roberta"])
def test_members_above_a_trunk_are_models_of_their_own(name: str, engine: str) -> None:
    trunk = tiny_reward_model(name, engine)
    if name in tiny.ENCODERS:
        trunk.set_contract(pooling="first")
    shared, members = 2, []
    for seed in (1, 2):
        member = copy.deepcopy(trunk)
        torch.manual_seed(seed)
        with torch.no_grad():
            for layer in layer_list(member.network.base_model)[shared:]:
                for parameter in layer.parameters():
                    parameter += 0.1 * torch.randn_like(parameter)
            member.head.weight += torch.randn_like(member.head.weight)
        members.append(member)
    ensemble = TrunkEnsemble(trunk, shared, [upper_state(m, shared) for m in members])
    row = packed(share=name not in tiny.ENCODERS)
    with torch.no_grad():
        before = trunk(row)
        rewards = ensemble(row)
        alone = torch.stack([model(row) for model in (trunk, *members)], dim=-1)
        torch.testing.assert_close(rewards, alone, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(trunk(row), before)  # the layers are back in their places
        for number in range(3):
            torch.testing.assert_close(ensemble.member(number)(row), alone[:, number])
    assert float((rewards[:, 0] - rewards[:, 1]).abs().max()) > 1e-3


def test_layers_are_put_back_when_a_member_fails() -> None:
    trunk = tiny_reward_model("llama", "tree")
    ensemble = TrunkEnsemble(trunk, 1, [upper_state(trunk, 1)])
    row = packed()
    with torch.no_grad():
        before = trunk(row)
        ensemble.uppers[0][0].forward = lambda *a, **k: 1 / 0
        with pytest.raises(ZeroDivisionError):
            ensemble(row)
        torch.testing.assert_close(trunk(row), before)


def test_weights_that_do_not_fit_are_refused() -> None:
    trunk = tiny_reward_model("llama", "tree")
    state = upper_state(trunk, 1)
    state.pop(next(iter(state)))
    with pytest.raises(CheckpointError, match="do not fit its backbone"):
        TrunkEnsemble(trunk, 1, [state])


def test_default_views_cost_one_forward_of_a_single_frozen_model() -> None:
    views = default_views(30, 5)
    assert views[0] == View(24)
    assert max(v.layer for v in views) == 24
    assert len(set(views)) == 5
    assert {v.pooling for v in views} == {"last", "mean"}
    assert deepest_first([View(2, "mean"), View(5, "mean"), View(5), View(1)])[0] == View(5)


def test_views_are_written_as_they_are_read() -> None:
    for text in ("3:last", "12:mean", "7:last+mean"):
        assert str(View.parse(text)) == text
    assert View.parse("9") == View(9, "last")
    for text in ("nine", "3:max", ":mean", "-1"):
        with pytest.raises(ConfigError, match="is not LAYER or LAYER:POOLING"):
            View.parse(text)
    with pytest.raises(ConfigError, match="the backbone has 3"):
        check_views(tiny_reward_model("llama", "tree"), [View(4)])


def test_a_backbone_without_a_known_norm_is_named() -> None:
    model = tiny_reward_model("llama", "tree")
    del model.network.model.norm
    with pytest.raises(BackboneError, match="no final norm by a name Assay knows"):
        final_norm(model)
