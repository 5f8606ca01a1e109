"""Properties of LoRA adapters: what is trained, and that merging and saving change no reward."""

from __future__ import annotations

from pathlib import Path

import families
import numpy as np
import pytest
import tiny
import torch
from numpy.typing import NDArray

from assay.models.adapters import add_lora, merge_in_place
from assay.models.reward_model import RewardModel
from assay.models.scoring import score_conversations
from assay.score.scorer import load_scorer
from assay.types import Conversation

pytestmark = pytest.mark.usefixtures("own_cache")


CASES = {"llama": "chatml", "gemma3_text": "gemma", "gpt2": "gpt2", "bert": "bert"}
CASES |= {"roberta": "bert", "distilbert": "bert", "electra": "bert"}
CONVERSATIONS = [
    Conversation.of(prompt, response)
    for prompt in ("what is the time?", "a question about maps")
    for response in ("it is late", "the tea is cold, and more words of the reply.", "yes")
]


def make_model(name: str, directory: Path) -> RewardModel:
    tokenizer = families.FAMILIES[CASES[name]]()
    backbone = tiny.save_backbone(directory / "backbone", name, tokenizer)
    return RewardModel.from_backbone(str(backbone), max_length=400)


def rewards_of(model: RewardModel) -> NDArray[np.float64]:
    return score_conversations(model, CONVERSATIONS).rewards


def trained_a_little(model: RewardModel) -> None:
    """Move everything that is trainable, so that the adapters are no longer zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name == "llama" else pytest.mark.medium) for name in CASES],
)
def test_merging_and_saving_change_no_reward(name: str, tmp_path: Path) -> None:
    model = make_model(name, tmp_path)
    before = rewards_of(model)
    add_lora(model, rank=4, alpha=8, seed=0)
    assert model.has_adapters
    np.testing.assert_allclose(rewards_of(model), before, atol=1e-4 * before.std())
    trained_a_little(model)
    wanted = rewards_of(model)
    assert np.abs(wanted - before).max() > 0.05 * before.std()

    def same(got: NDArray[np.float64]) -> None:
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-4 * wanted.std())

    model.set_engine("padded")
    same(rewards_of(model))
    directory = model.save(tmp_path / "run")
    same(load_scorer(directory).score(CONVERSATIONS).reward)
    assert model.has_adapters  # saving merges a copy
    same(rewards_of(model))
    merge_in_place(model)
    assert not model.has_adapters
    same(rewards_of(model))
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("name", CASES)
def test_only_adapters_and_the_head_are_trainable(name: str, tmp_path: Path) -> None:
    model = make_model(name, tmp_path)
    linear = sum(
        isinstance(m, torch.nn.Linear) or type(m).__name__ == "Conv1D"
        for m in model.network.base_model.modules()
    )
    add_lora(model, rank=4, alpha=8, seed=0)
    trainable = [n for n, p in model.named_parameters() if p.requires_grad]
    assert sum("lora_A" in n for n in trainable) == sum("lora_B" in n for n in trainable) == linear
    assert not any("lora_embedding" in n for n in trainable)
    head = [n for n in trainable if "lora" not in n]
    assert head
    assert all(".score." in n or "classifier" in n for n in head)
    packed_loss = score_with_gradient(model)
    packed_loss.backward()
    missing = [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None]
    assert missing == []


def score_with_gradient(model: RewardModel) -> torch.Tensor:
    from assay.data.trees import build_tree, pack

    tokens = model.renderer.tokenise(CONVERSATIONS[:2])
    return model(pack([build_tree(tokens, share=not model.encoder)])).sum()


def test_adapters_start_from_their_seed(tmp_path: Path) -> None:
    weights = []
    for number, seed in enumerate((0, 0, 1)):
        model = make_model("llama", tmp_path / str(number))
        before = torch.random.get_rng_state()
        add_lora(model, rank=2, alpha=4, seed=seed)
        assert torch.equal(torch.random.get_rng_state(), before)
        weights.append(
            torch.cat([p.flatten() for n, p in model.named_parameters() if "lora_A" in n])
        )
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
