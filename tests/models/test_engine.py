"""Property: on every architecture the tree engine equals the padded forward, gradients too."""

from __future__ import annotations

import numpy as np
import pytest
import tiny
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tiny import random_pack, tiny_reward_model

from assay.data.contract import Tokens
from assay.data.trees import build_tree, pack
from assay.models import attention
from assay.models.attention import EngineError, TreeLayout, tree_attention
from assay.models.probe import compare_engines, probe
from assay.models.reward_model import RewardModel

tree_shapes = st.lists(
    st.tuples(st.integers(0, 30), st.lists(st.integers(1, 14), min_size=1, max_size=5)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@settings(max_examples=8)
@given(shapes=tree_shapes, seed=st.integers(0, 1000))
def test_tree_engine_equals_padded_forward(
    name: str, shapes: list[tuple[int, list[int]]], seed: int
) -> None:
    model = _cached(name)
    packed = random_pack(shapes, seed, share=not model.encoder)
    result = compare_engines(model, packed)
    assert not result.reason
    assert result.value <= 1e-4
    assert result.gradient <= 1e-3


_models: dict[str, RewardModel] = {}


def _cached(name: str) -> RewardModel:
    if name not in _models:
        _models[name] = tiny_reward_model(name)
    return _models[name]


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_engine_reads_what_the_sequence_classifier_reads(name: str) -> None:
    model = _cached(name)
    packed = random_pack([(9, [4, 7]), (3, [5, 2, 6])], 1, share=not model.encoder)
    model.set_engine("tree")
    with torch.no_grad():
        rewards = model(packed)
        model.network.set_attn_implementation("eager")
        paths = [p for t in packed.trees for p in t.paths()]
        plain = [
            model.network(
                input_ids=torch.from_numpy(p).long()[None], attention_mask=torch.ones(1, len(p))
            ).logits[0, 0]
            for p in paths
        ]
    model.engine = "padded"
    torch.testing.assert_close(
        rewards, torch.stack(plain), rtol=0, atol=1e-4 * float(torch.stack(plain).std())
    )


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "bert"])
def test_probe_passes_with_gradient_checkpointing(name: str) -> None:
    result = probe(tiny_reward_model(name))
    assert result.passed, result


def test_probe_refuses_attention_sinks() -> None:
    model = tiny_reward_model(
        "gpt_oss",
        vocab_size=97,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=128,
        pad_token_id=0,
    )
    result = probe(model)
    assert not result.passed
    assert "s_aux" in result.reason


def test_sliding_window_counts_positions_not_packed_indexes() -> None:
    """A later response lies far from its prompt in the row, and must see the same of it."""
    model = tiny_reward_model("gemma3_text")
    model.set_engine("tree")
    twin = np.arange(10, 16, dtype=np.int32)
    filler = np.arange(20, 50, dtype=np.int32)
    prompt = np.arange(50, 62, dtype=np.int32)
    paths = [np.concatenate([prompt, rest]) for rest in (twin, filler, twin)]
    tree = build_tree([Tokens(p, 12) for p in paths])
    with torch.no_grad():
        rewards = model(pack([tree]))
    assert rewards[0] == pytest.approx(float(rewards[2]), abs=1e-5)
    assert abs(float(rewards[0] - rewards[1])) > 1e-3


@settings(max_examples=25)
@given(
    shapes=tree_shapes,
    window=st.sampled_from([None, 3, 8]),
    causal=st.booleans(),
    softcap=st.sampled_from([None, 0.5]),
)
@example(shapes=[(20, [9, 5])], window=3, causal=True, softcap=None)
@example(shapes=[(20, [9, 5])], window=8, causal=True, softcap=0.5)
@example(shapes=[(20, [9, 5])], window=None, causal=False, softcap=None)
def test_flex_attention_is_that_of_the_segments(
    shapes: list[tuple[int, list[int]]], window: int | None, causal: bool, softcap: float | None
) -> None:
    """CUDA's one call, as FlexAttention works it out without a kernel, against one call a node."""
    from torch.nn.attention.flex_attention import flex_attention

    if not causal:
        window = None
    packed = random_pack(shapes, 0, share=causal)
    layout = TreeLayout.of(packed, causal=causal)
    length = packed.num_tokens
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(1, 4, length, 8),
        torch.randn(1, 2, length, 8),
        torch.randn(1, 2, length, 8),
    )
    out, _ = tree_attention(
        torch.nn.Module(), query, key, value, None,
        tree=layout, sliding_window=window, softcap=softcap,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention, "_flex_attention", lambda: flex_attention)
        flex = attention._flex(layout, query, key, value, 8**-0.5, window, softcap)
    torch.testing.assert_close(out, flex, rtol=1e-4, atol=1e-5)


def test_missing_layout_and_masks_are_refused() -> None:
    states = torch.zeros(1, 2, 3, 4)
    with pytest.raises(EngineError, match="layout"):
        tree_attention(torch.nn.Module(), states, states, states, None)
    layout = TreeLayout.of(random_pack([(1, [1, 1])], 0, share=True), causal=True)
    with pytest.raises(EngineError, match="mask"):
        tree_attention(torch.nn.Module(), states, states, states, torch.ones(1), tree=layout)
    with pytest.raises(EngineError, match="dropout"):
        tree_attention(torch.nn.Module(), states, states, states, None, tree=layout, dropout=0.1)
