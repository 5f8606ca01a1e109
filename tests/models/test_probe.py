"""Value and contract of the probe: what it measures, and what happens where the engines differ."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import families
import numpy as np
import pytest
import torch

from assay.models import probe as probing
from assay.models.probe import (
    EngineWarning,
    ProbeResult,
    choose_engine,
    gradient_difference,
    random_trees,
)
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.types import Conversation


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def model(tiny_backbone: Path) -> RewardModel:
    return RewardModel.from_backbone(str(tiny_backbone), max_length=300, engine="padded")


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """How the probe was called."""
    calls: list[dict[str, Any]] = []
    probe = probing.probe

    def counted(model: RewardModel, **options: Any) -> ProbeResult:
        calls.append(options)
        return probe(model, **options)

    monkeypatch.setattr(probing, "probe", counted)
    return calls


def test_a_backbone_is_probed_once(
    model: RewardModel, probed: list[dict[str, Any]], cache: Path
) -> None:
    assert choose_engine(model, "auto") == choose_engine(model, "auto") == "tree"
    assert len(probed) == 1
    # gradients answer for values, not the other way round, nor for checkpointing
    assert choose_engine(model, "auto", gradients=False) == "tree"
    assert len(probed) == 1
    assert choose_engine(model, "auto", checkpointing=True) == "tree"
    assert [c["checkpointing"] for c in probed] == [False, True]
    for file in (cache / "probe").iterdir():
        file.unlink()
    choose_engine(model, "auto", gradients=False)
    choose_engine(model, "auto")
    assert [c["gradients"] for c in probed[2:]] == [False, True]


def test_what_was_asked_for_is_not_probed(model: RewardModel, probed: list[dict[str, Any]]) -> None:
    assert choose_engine(model, "tree") == "tree"
    assert model.engine == "tree"
    assert choose_engine(model, "padded") == "padded"
    assert probed == []


def test_the_probe_leaves_the_model_as_it_was(model: RewardModel) -> None:
    model.head.weight.requires_grad_(False)
    before = {n: (p.clone(), p.requires_grad) for n, p in model.named_parameters()}
    assert probing.probe(model, checkpointing=True).passed
    assert model.engine == "padded"
    assert not model.training
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name][0])
        assert parameter.requires_grad == before[name][1]
        assert parameter.grad is None


@pytest.mark.parametrize("gradients", [True, False])
def test_a_backbone_with_attention_sinks_falls_back_and_says_so(
    gradients: bool, tmp_path: Path, probed: list[dict[str, Any]]
) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = families.FAMILIES["chatml"]()
    config = AutoConfig.for_model(
        "gpt_oss",
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        num_local_experts=4,
        num_experts_per_tok=2,
        max_position_embeddings=512,
        pad_token_id=0,
    )
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    model = RewardModel.from_backbone(str(tmp_path), max_length=300, engine="padded")
    for _ in range(2):
        with pytest.warns(EngineWarning, match=r"not equal to the plain forward on .*s_aux"):
            assert choose_engine(model, "auto", gradients=gradients) == "padded"
    assert len(probed) == 1  # that it differs is remembered too
    rewards = score_conversations(model, [Conversation.of("hi", r) for r in ("yes", "no")]).rewards
    assert np.isfinite(rewards).all()


def test_an_engine_that_gives_other_values_is_not_used(
    model: RewardModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    states = RewardModel._tree_states

    def wrong(self: RewardModel, packed: Any) -> torch.Tensor:
        return states(self, packed) * 1.01

    monkeypatch.setattr(RewardModel, "_tree_states", wrong)
    with pytest.warns(EngineWarning, match=r"values differ by .*e-02 and gradients by"):
        assert choose_engine(model, "auto") == "padded"


def test_differences_of_gradients_by_hand() -> None:
    g = {"a": torch.tensor([3.0, 4.0]), "b": torch.tensor([1e-9])}
    assert gradient_difference(g, g) == 0.0
    off = {"a": torch.tensor([3.0, 4.5]), "b": torch.tensor([2e-9])}
    # 0.5 of 5; b's own is nearly zero, and its difference below 1e-6 of the largest norm
    assert gradient_difference(g, off) == pytest.approx(0.1)
    assert gradient_difference(g, {"a": g["a"]}) == 0.0  # b's gradient is as good as none
    assert gradient_difference(g, {"b": g["b"]}) == pytest.approx(1.0)
    assert gradient_difference({"b": g["b"]}, g) > 1.0
    assert gradient_difference({"a": None}, {"a": None}) == 0.0


def test_random_trees_fit_a_short_context_and_avoid_the_pad_token() -> None:
    packed = random_trees(7, 12, share=True, banned=3)
    assert packed.position_ids.max() < 12
    assert 3 not in packed.input_ids
    assert packed.num_responses == 7
    np.testing.assert_array_equal(
        packed.input_ids, random_trees(7, 12, share=True, banned=3).input_ids
    )


def test_a_sliding_window_is_reached_over_where_it_fits() -> None:
    inside = random_trees(97, 64, share=True)
    over = random_trees(97, 64, share=True, window=40)
    assert len(over.trees) == len(inside.trees) + 1
    assert max(len(path) for tree in over.trees for path in tree.paths()) > 40
    assert len(random_trees(97, 40, share=True, window=40).trees) == len(inside.trees)
