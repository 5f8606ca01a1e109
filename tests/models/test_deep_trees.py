"""Property: trees of any depth give the padded forward's features and gradients, on any family."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import tiny_reward_model

from assay.data.contract import Tokens
from assay.data.trees import PackedTrees, build_tree, pack
from assay.models.attention import TreeLayout, tree_attention
from assay.models.probe import compare_engines

# pieces of few kinds, so that beginnings are shared and branches lie on branches
pieces = st.lists(st.integers(0, 2), min_size=1, max_size=5)
groups = st.lists(st.lists(pieces, min_size=1, max_size=6), min_size=1, max_size=3)


def packed_of(groups: list[list[list[int]]], seed: int, *, share: bool = True) -> PackedTrees:
    """Each piece is two or three random tokens of its own, the same wherever it stands."""
    generator = np.random.default_rng(seed)
    tokens = [generator.integers(1, 96, 2 + (kind > 0)).astype(np.int32) for kind in range(3)]
    trees = []
    for group in groups:
        paths = [np.concatenate([tokens[kind] for kind in path]) for path in group]
        trees.append(build_tree([Tokens(path, 1) for path in paths], share=share))
    return pack(trees)


@pytest.mark.parametrize("family", ["llama", "gemma3_text", "gpt_neox", "gemma2", "bert"])
@settings(max_examples=8)
@given(groups=groups, seed=st.integers(0, 99))
def test_a_deep_tree_equals_every_beginning_by_itself(
    family: str, groups: list[list[list[int]]], seed: int
) -> None:
    model = tiny_reward_model(family)
    result = compare_engines(model, packed_of(groups, seed, share=not model.encoder))
    assert result.passed, result


@settings(max_examples=25)
@given(groups=groups, window=st.sampled_from([None, 3, 8]))
def test_the_flex_mask_is_the_rule_of_the_nodes(
    groups: list[list[list[int]]], window: int | None
) -> None:
    packed = packed_of(groups, 0)
    layout = TreeLayout.of(packed, causal=True)
    length = packed.num_tokens
    torch.manual_seed(0)
    query, key, value = (torch.randn(1, heads, length, 8) for heads in (4, 2, 2))
    out, _ = tree_attention(
        torch.nn.Module(), query, key, value, None, tree=layout, sliding_window=window
    )
    index = torch.arange(length)
    rule = layout.mask_mod(torch.device("cpu"), window)
    allowed = rule(index, index, index[:, None], index[None, :])
    dense = torch.nn.functional.scaled_dot_product_attention(
        query, key, value, attn_mask=allowed, enable_gqa=True
    )
    torch.testing.assert_close(out, dense.transpose(1, 2), rtol=1e-4, atol=1e-5)
