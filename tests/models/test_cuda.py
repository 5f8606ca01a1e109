"""On a CUDA device: the tree engine's kernel equals the padded forward, and the CPU's numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import random_pack, tiny_reward_model

from assay.data.trees import PackedTrees
from assay.models import attention
from assay.models.attention import TreeLayout, tree_attention
from assay.models.probe import compare_engines, probe
from assay.models.reward_model import RewardModel

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]

WIDE = {
    "hidden_size": 64, "n_embd": 64, "dim": 64, "word_embed_proj_dim": 64, "head_dim": 16,
    "query_pre_attn_scalar": 16,
}  # fmt: skip
"""Heads of 16: the narrowest that the kernel takes."""
SHAPES = [(40, [9, 21, 5]), (0, [12, 3]), (150, [60, 70])]


@pytest.fixture(scope="module", autouse=True)
def exact_products() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest")
    yield
    torch.set_float32_matmul_precision(before)


def wide(name: str) -> RewardModel:
    config = tiny.ARCHITECTURES[name]
    changes = {k: v for k, v in WIDE.items() if k in config}
    for longest in ("max_position_embeddings", "n_positions"):
        if longest in config:
            changes[longest] = 512
    return tiny_reward_model(name, **changes)


_models: dict[str, RewardModel] = {}


def on_cuda(name: str) -> RewardModel:
    if name not in _models:
        _models[name] = wide(name).to("cuda")
    return _models[name]


tree_shapes = st.lists(
    st.tuples(st.integers(0, 200), st.lists(st.integers(1, 90), min_size=1, max_size=5)),
    min_size=1, max_size=3,
)  # fmt: skip
LONG = (110, [15, 20])
"""A tree that makes its row long enough for the kernel."""


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
@settings(max_examples=6)
@given(shapes=tree_shapes, seed=st.integers(0, 1000))
def test_tree_engine_equals_padded_forward(
    name: str, shapes: list[tuple[int, list[int]]], seed: int
) -> None:
    """At rows the kernel takes, and at shorter ones."""
    model = on_cuda(name)
    trees = shapes if seed % 3 == 0 else [*shapes, LONG]
    result = compare_engines(model, random_pack(trees, seed, share=not model.encoder))
    assert not result.reason
    assert result.value <= 1e-4
    assert result.gradient <= 1e-3


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_rewards_are_those_of_the_cpu(name: str) -> None:
    here, there = wide(name), on_cuda(name)
    packed = random_pack(SHAPES, 1, share=not here.encoder)
    there.set_engine("tree")
    with torch.no_grad():
        wanted, got = here(packed), there(packed).cpu()
    there.set_engine("padded")
    torch.testing.assert_close(got, wanted, rtol=0, atol=1e-4 * float(wanted.std()))


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "bert"])
def test_probe_passes_with_gradient_checkpointing(name: str) -> None:
    result = probe(on_cuda(name), checkpointing=True)
    assert result.passed, result


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_bf16_is_no_further_from_fp32_than_the_padded_forward(name: str) -> None:
    model = on_cuda(name)
    packed = random_pack(SHAPES, 2, share=not model.encoder)
    exact = _rewards(model, packed, "padded", half=False)
    errors = {
        engine: float((_rewards(model, packed, engine, half=True) - exact).norm())
        for engine in ("padded", "tree")
    }
    assert errors["tree"] <= 2 * errors["padded"] + 0.02 * float(exact.norm()), errors


def _rewards(model: RewardModel, packed: PackedTrees, engine: str, *, half: bool) -> Any:
    model.set_engine(engine)
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16, enabled=half):
        return model(packed).float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    ("width", "window", "softcap"),
    [(16, None, None), (64, None, None), (80, None, None), (128, None, None), (256, None, None),
     (64, 40, None), (64, None, 5.0)],
)  # fmt: skip
def test_the_kernel_is_the_attention_of_the_segments(
    dtype: torch.dtype, width: int, window: int | None, softcap: float | None
) -> None:
    """Value and gradient, against one call a node in float64, at heads of the usual widths."""
    layout = TreeLayout.of(random_pack(SHAPES, 3, share=True), causal=True)
    length = sum(span.length for span in layout.spans)
    torch.manual_seed(0)
    inputs = [torch.randn(1, heads, length, width, device="cuda") for heads in (4, 2, 2)]
    weights = torch.randn(1, length, 4, width, device="cuda")
    results = []
    for kind, least in ((dtype, 16), (torch.float64, 10_000)):
        own = [x.detach().clone().to(kind).requires_grad_(True) for x in inputs]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(attention, "LEAST_WIDTH", least)
            out, _ = tree_attention(
                torch.nn.Module(), *own, None,
                tree=layout, sliding_window=window, softcap=softcap,
            )  # fmt: skip
        (out * weights.to(kind)).sum().backward()
        results.append([out.detach(), *(x.grad for x in own)])
    most = 1e-4 if dtype == torch.float32 else 2e-2
    for got, wanted in zip(*results, strict=True):
        assert wanted is not None
        assert got is not None
        difference = float((got.double() - wanted).norm() / wanted.norm())
        assert difference <= most
