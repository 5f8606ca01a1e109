"""A policy is loaded whole or refused, and knows what ends a response."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from policies import tiny_policy
from safetensors.torch import load_file, save_file
from tiny import save_backbone

from assay.errors import BackboneError, ContractError
from assay.models.backbones import load_tokenizer
from assay.models.generate import generate
from assay.models.policy import Policy
from assay.types import Message

CPU = torch.device("cpu")
ASKED = (Message("user", "tea"),)


def test_a_directory_loads_and_answers(tiny_backbone: Path) -> None:
    policy = Policy.load(str(tiny_backbone), device=CPU)
    assert not policy.network.training
    assert (policy.device, policy.context, policy.name) == (CPU, 2048, str(tiny_backbone))
    assert policy.end_ids == {2}
    assert len(generate(policy, [ASKED], max_new_tokens=3)[0][0].ids) <= 3


def test_the_digest_is_of_what_decides_the_samples(tiny_backbone: Path) -> None:
    one = tiny_policy("llama", tiny_backbone)
    assert tiny_policy("llama", tiny_backbone).digest == one.digest
    assert tiny_policy("llama", tiny_backbone, seed=1).digest != one.digest
    tokenizer: Any = load_tokenizer(str(tiny_backbone))
    tokenizer.chat_template += " "
    assert Policy.of(one.network, tokenizer).digest != one.digest


def test_all_end_tokens_end_a_response(tiny_backbone: Path) -> None:
    policy = tiny_policy("llama", tiny_backbone, eos_token_id=[0, 7])
    assert policy.end_ids == {0, 7, 2}  # the config's, and what the template puts last


def test_a_model_without_chat_template_is_asked_in_plain_text(tiny_backbone: Path) -> None:
    tokenizer: Any = load_tokenizer(str(tiny_backbone))
    tokenizer.chat_template = None
    policy = Policy.of(tiny_policy("llama", tiny_backbone).network, tokenizer)
    assert policy.text(policy.prompt_ids(ASKED).tolist()) == "User: tea\n\nAssistant: "


def test_a_template_that_asks_for_the_date_gives_the_same_prompt_every_day(
    tiny_backbone: Path,
) -> None:
    tokenizer: Any = load_tokenizer(str(tiny_backbone))
    tokenizer.chat_template = "{{ strftime_now('%d %b %Y') }}" + tokenizer.chat_template
    policy = Policy.of(tiny_policy("llama", tiny_backbone).network, tokenizer)
    assert policy.text(policy.prompt_ids(ASKED).tolist()).startswith("26 Jul 2024")


def test_what_never_ends_is_refused(tiny_backbone: Path) -> None:
    policy = tiny_policy("llama", tiny_backbone)
    network: Any = policy.network
    tokenizer: Any = load_tokenizer(str(tiny_backbone))
    network.config.eos_token_id = network.generation_config.eos_token_id = None
    tokenizer.eos_token = None
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    with pytest.raises(ContractError, match="a response needs a token that ends it"):
        Policy.of(network, tokenizer)


def test_an_encoder_cannot_generate(tmp_path: Path, tiny_backbone: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_backbone))
    with pytest.raises(BackboneError, match="is a bert, which reads in both directions"):
        Policy.load(str(save_backbone(tmp_path, "bert", tokenizer)))


def test_missing_and_broken_weights_are_said(tmp_path: Path, tiny_backbone: Path) -> None:
    place = shutil.copytree(tiny_backbone, tmp_path / "copy")
    weights = load_file(place / "model.safetensors")
    gone = weights.pop("model.layers.1.mlp.up_proj.weight")
    assert gone.numel()
    save_file(weights, place / "model.safetensors", {"format": "pt"})
    with pytest.raises(
        BackboneError, match=r"lacks 1 of a policy's weights, model\.layers\.1\.mlp"
    ):
        Policy.load(str(place))
    (place / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BackboneError, match="could not be loaded as a policy"):
        Policy.load(str(place))
