"""Somebody else's process model as one of ours: plain weights read by name, no code of its own run.

Letters: C outputs · D hidden width.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from assay.data.contract import Renderer, make_contract
from assay.errors import BackboneError, CheckpointError, ContractError
from assay.models import attention
from assay.models.backbones import (
    add_rows,
    is_encoder,
    load_network,
    load_tokenizer,
    longest_context,
)
from assay.models.checkpoint import (
    ASSAY_FILE,
    read_json,
    refuse_pickles,
    require_finite,
    tensor_files,
)
from assay.models.process_checkpoint import StepMlp
from assay.models.process_model import ProcessRewardModel, hidden_size
from assay.models.process_presets import (
    BAD_WORD,
    GOOD_WORD,
    PRESETS,
    VALUE_HEAD,
    Preset,
    has_token,
    preset_named,
    recognise,
)

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

WRAPPER = "pretrained_model."
"""What TRL's model with a value head puts before the names of its language model's weights."""


def load_preset(
    path: Path, name: str, *, preset: str | None = None, separator: str | None = None
) -> ProcessRewardModel:
    """A process model of a family that a preset knows, its contract marked unverified.

    Args:
        name: What the user called it.
        preset: The family. Default: as recognised by architecture and tokenizer.
        separator: What stands after a step, where the family leaves that open (``trl``).

    Raises:
        CheckpointError: If no preset knows it, its weights are a pickle, weights are missing or of
            other shapes, or its tokenizer lacks a token.
        ConfigError: If there is no preset of that name, or it takes no separator.
    """
    if not (path / "config.json").exists():
        raise CheckpointError(
            f"{name} has neither {ASSAY_FILE} nor config.json; a process model is what "
            "'assay train process' wrote, or a transformers model of a family that Assay knows."
        )
    refuse_pickles(path)
    values = read_json(path / "config.json")
    weights = Weights(path)
    try:
        tokenizer = load_tokenizer(str(path))
        family = _family(values, tokenizer, weights, name, preset)
        return _load(path, name, family, values, tokenizer, weights, separator)
    except (BackboneError, ContractError, SafetensorError) as error:
        raise CheckpointError(f"{name} cannot be loaded: {error}") from error


class Weights(Mapping[str, Path]):
    """The weights of a directory by the names they have in a plain language model."""

    def __init__(self, path: Path):
        self._files = tensor_files(path)
        self._saved = {name.removeprefix(WRAPPER): name for name in self._files}
        self._path = path

    def __getitem__(self, name: str) -> Path:
        return self._files[self._saved[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._saved)

    def __len__(self) -> int:
        return len(self._saved)

    def read(self, name: str, rows: Sequence[int] | None = None) -> Tensor:
        """A weight, or some of its rows, in float32.

        Raises:
            CheckpointError: If it is missing or has fewer rows.
        """
        if name not in self._saved:
            raise CheckpointError(
                f"{self._path} has no weight {name!r} among its {len(self)}; "
                "its rewards would be random."
            )
        with safe_open(self[name], framework="pt") as tensors:
            if rows is None:
                whole: Tensor = tensors.get_tensor(self._saved[name])
                return whole.float()
            part = tensors.get_slice(self._saved[name])
            count = part.get_shape()[0]
            if max(rows) >= count:
                raise CheckpointError(
                    f"{self._path}: {name} has {count:,} rows where the tokenizer names token "
                    f"{max(rows):,}; tokenizer and weights are of two models."
                )
            return torch.cat([part[row : row + 1] for row in rows]).float()


def _family(
    values: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerBase",
    weights: Weights,
    name: str,
    preset: str | None,
) -> Preset:
    if preset is not None:
        return preset_named(preset)
    found = recognise(values, tokenizer, weights, name)
    if found is None:
        architecture = (values.get("architectures") or ["a model of unknown kind"])[0]
        raise CheckpointError(
            f"{name} has no {ASSAY_FILE}, and as {architecture} it fits no preset; a process model "
            "is what 'assay train process' wrote, or one that is loaded with one of the presets "
            f"{', '.join(PRESETS)}."
        )
    return found


def _load(
    path: Path,
    name: str,
    preset: Preset,
    values: Mapping[str, Any],
    tokenizer: "PreTrainedTokenizerBase",
    weights: Weights,
    separator: str | None,
) -> ProcessRewardModel:
    if not has_token(tokenizer, preset.token):
        raise CheckpointError(
            f"{name}: the preset {preset.name} reads a step at the token {preset.token!r}, which "
            "its tokenizer has not; name another preset."
        )
    steps = preset.step_contract(tokenizer, separator)
    head = _head(preset, tokenizer, weights, bool(values.get("tie_word_embeddings")))
    template = preset.template()
    if template is not None:
        tokenizer.chat_template = template
    contract = make_contract(tokenizer, max_length=1, truncation="error")
    pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
    attention.register()
    network = load_network(
        str(path),
        pad_token_id=None,
        attention="eager",
        outputs=_layers(head)[-1].out_features,
        config=plain_config(values, preset, name),
        renamed={f"^{WRAPPER}": ""},
    )
    add_rows(network, pad_id + 1)
    if is_encoder(network):
        raise CheckpointError(
            f"{name} reads in both directions, so its reward of a step depends on the steps after "
            "it; Assay reads each step by what comes before."
        )
    _check_head(head, hidden_size(network), len(steps.classes), name)
    model = ProcessRewardModel(
        network, Renderer(contract, tokenizer), steps, backbone=name, head=head
    )
    model.set_contract(
        max_length=min(longest_context(network.config) or 4096, 1_000_000),
        verified=False,
        template_source="tokenizer" if template is None else "plain",
    )
    model.provenance = {
        "inferred_from": name,
        "preset": preset.name,
        "upstream": preset.upstream,
        "upstream_reduction": preset.reduction,
    }
    require_finite(model, path)
    return model


def plain_config(values: Mapping[str, Any], preset: Preset, name: str) -> Any:
    """The config of the plain architecture, without what names code of its own.

    Raises:
        CheckpointError: If transformers has no such architecture.
    """
    from transformers import CONFIG_MAPPING

    kind = preset.model_type or str(values.get("model_type"))
    if kind not in CONFIG_MAPPING:
        raise CheckpointError(
            f"{name} is a {kind!r}, which transformers does not have; Assay runs no code that "
            "comes with a model."
        )
    dropped = ("auto_map", "architectures", "model_type")
    return CONFIG_MAPPING[kind].from_dict({k: v for k, v in values.items() if k not in dropped})


def _head(
    preset: Preset, tokenizer: "PreTrainedTokenizerBase", weights: Weights, tied: bool
) -> nn.Module:
    """The layers from the state at a step's end to the outputs."""
    if preset.head == "two-layers":
        state = {
            f"{layer}.{part}": weights.read(f"score.{layer}.{part}")
            for layer in (0, 2)
            for part in ("weight", "bias")
        }
        middle, width = state["0.weight"].shape
        mlp = StepMlp(width, middle, state["2.weight"].shape[0])
        mlp.load_state_dict(state)
        return mlp
    if preset.head == "words":
        ids = [_word_id(tokenizer, word) for word in (BAD_WORD, GOOD_WORD)]
        name = "lm_head.weight"
        if name not in weights and tied:
            name = "model.embed_tokens.weight"
        return linear(weights.read(name, ids))
    name = VALUE_HEAD
    if preset.head == "labels":
        name = "classifier" if "classifier.weight" in weights else "score"
    bias = weights.read(f"{name}.bias") if f"{name}.bias" in weights else None
    return linear(weights.read(f"{name}.weight"), bias)


def _word_id(tokenizer: "PreTrainedTokenizerBase", word: str) -> int:
    if not has_token(tokenizer, word):
        raise CheckpointError(
            f"The answer {word!r} is no single token of this tokenizer; a preset that reads it "
            "does not fit."
        )
    return int(tokenizer(word, add_special_tokens=False)["input_ids"][0])


def linear(weight: Tensor, bias: Tensor | None = None) -> nn.Linear:
    """A layer ``(C, D)`` with these weights."""
    outputs, width = weight.shape
    layer = nn.Linear(width, outputs, bias=bias is not None)
    layer.load_state_dict({"weight": weight} if bias is None else {"weight": weight, "bias": bias})
    return layer


def _check_head(head: nn.Module, width: int, outputs: int, name: str) -> None:
    layers = _layers(head)
    reads, gives = layers[0].in_features, layers[-1].out_features
    if (reads, gives) != (width, outputs):
        raise CheckpointError(
            f"{name} has a head of {reads:,} inputs and {gives} outputs where {width:,} and "
            f"{outputs} were wanted; another preset may fit."
        )


def _layers(head: nn.Module) -> list[nn.Linear]:
    return [layer for layer in head.modules() if isinstance(layer, nn.Linear)]
