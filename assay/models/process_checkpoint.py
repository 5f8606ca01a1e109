"""A process model on disk: a transformers token classifier where there is one, and both contracts.

Where transformers has no token classifier for the backbone, or the head is more than one layer,
the directory holds backbone and head apart, and only Assay loads it; ``standard`` in ``assay.json``
says which. Written and checked as reward models are.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.atomic import write_json, write_jsonl
from assay.data.contract import Contract, Renderer
from assay.data.step_contract import StepContract
from assay.errors import BackboneError, CheckpointError, ConfigError
from assay.models.backbones import default_device, load_network, load_tokenizer, set_pad
from assay.models.checkpoint import (
    ASSAY_FILE,
    GOLDEN,
    HEAD_FILE,
    MANIFEST,
    assay_record,
    check_format,
    check_manifest,
    local_directory,
    merged,
    read_head,
    read_json,
    refuse_pickles,
    require_finite,
    tensor_files,
    write_run,
)
from assay.models.golden_steps import golden_step_rows
from assay.models.process_model import ProcessRewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

KIND = "process"
MEMBERS_FILE = "assay_members.safetensors"
"""The heads of an ensemble, side by side; the head that plain transformers reads is their mean."""


class StepMlp(nn.Sequential):
    """A head of two layers with a ReLU between, as Qwen2.5-Math-PRM has."""

    def __init__(self, width: int, middle: int, outputs: int):
        super().__init__(nn.Linear(width, middle), nn.ReLU(), nn.Linear(middle, outputs))


def is_process(run: str | Path) -> bool:
    """Whether a run directory holds a process model."""
    path = Path(run) / ASSAY_FILE
    return path.is_file() and read_json(path).get("kind") == KIND


def save_process(
    model: ProcessRewardModel, directory: str | Path, record: Mapping[str, Any] | None = None
) -> Path:
    """Write a process model with its contracts, golden solutions and manifest.

    Args:
        record: What else ``assay.json`` holds: training settings, data digest, held-out figures.

    Raises:
        CheckpointError: If a weight is NaN or infinite.
    """
    network = merged(model)
    set_pad(network.config, model.pad_token_id)
    classifier = token_classifier(network, model.head)
    kind = {
        "kind": KIND,
        "standard": classifier is not None,
        "steps": model.steps.to_dict(),
        "members": model.num_members,
    }

    def write(staging: Path) -> None:
        if classifier is not None:
            name_classes(classifier.config, model.steps)
            classifier.save_pretrained(staging)
        else:
            backbone: Any = network.base_model
            backbone.save_pretrained(staging)
            head = {n: t.detach().cpu().contiguous() for n, t in model.head.state_dict().items()}
            save_file(head, staging / HEAD_FILE, metadata={"format": "pt"})
        if model.members is not None:
            members = {n: t.detach().cpu() for n, t in model.members.state_dict().items()}
            save_file(members, staging / MEMBERS_FILE, metadata={"format": "pt"})
        model.renderer.tokenizer.save_pretrained(staging)
        write_jsonl(staging / GOLDEN, golden_step_rows(model))
        write_json(staging / ASSAY_FILE, assay_record(model, {**kind, **(record or {})}))

    tensors = {**network.base_model.state_dict(), **model.head.state_dict()}
    return write_run(Path(directory), tensors, write)


def name_classes(config: Any, steps: StepContract) -> None:
    """Say in a config what the outputs are."""
    config.id2label = dict(enumerate(steps.classes))
    config.label2id = {name: number for number, name in config.id2label.items()}


def token_classifier(network: "PreTrainedModel", head: nn.Module) -> "PreTrainedModel | None":
    """The network's backbone and the head as transformers' token classifier; None if there is none.

    Weights are shared, not copied.
    """
    from transformers.models.auto.modeling_auto import MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING

    config: Any = network.config
    if (
        not isinstance(head, nn.Linear)
        or type(config) not in MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING
    ):
        return None
    config = type(config).from_dict(config.to_dict())
    config.num_labels = head.out_features
    config.problem_type = None
    with torch.device("meta"):
        family: Any = MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING[type(config)]
        classifier = family(config)
    wanted = classifier.state_dict().keys()
    prefix = classifier.base_model_prefix
    state: dict[str, Tensor] = {
        f"{prefix}.{name}": tensor for name, tensor in network.base_model.state_dict().items()
    }
    name = "score" if hasattr(classifier, "score") else "classifier"
    state[f"{name}.weight"] = head.weight.detach()
    bias = head.bias if head.bias is not None else torch.zeros(head.out_features)
    state[f"{name}.bias"] = bias.detach()
    if not set(wanted) <= state.keys():
        return None
    classifier.load_state_dict({n: state[n] for n in wanted}, assign=True)
    result: PreTrainedModel = classifier
    return result


def load_process(
    directory: str | Path,
    *,
    engine: str = "auto",
    check: bool = True,
    preset: str | None = None,
    separator: str | None = None,
) -> ProcessRewardModel:
    """A process model from a run directory, or somebody else's of a family that a preset knows.

    Args:
        engine: ``auto``, ``tree`` or ``padded``.
        check: Whether to compare every file with the manifest first.
        preset: Somebody else's family, see ``process_presets``. Default: as recognised.
        separator: Of steps, where the family leaves that open.

    Raises:
        CheckpointError: If files are missing or damaged, the weights are a pickle, it is no process
            model, or no preset knows it.
        ConfigError: If there is no such preset, or the model is a run of Assay and has its own.
    """
    from assay.models.probe import choose_engine

    path = local_directory(directory)
    if (path / ASSAY_FILE).exists() or (path / MANIFEST).exists():
        if preset is not None or separator is not None:
            raise ConfigError(
                f"{directory} is a run of Assay, which says how it is read; leave preset and "
                "separator out."
            )
        if check:
            check_manifest(path)
        model = _load_own(path)
    else:
        from assay.models.process_foreign import load_preset

        model = load_preset(path, str(directory), preset=preset, separator=separator)

    model.to(default_device())
    model.set_engine(choose_engine(model, engine, gradients=False))
    return model


def _load_own(path: Path) -> ProcessRewardModel:
    record = read_json(path / ASSAY_FILE, "format", "kind")
    if record["kind"] != KIND:
        raise CheckpointError(
            f"{path} is an {record['kind']} model, and one that rewards steps is wanted; "
            "name what 'assay train process' wrote."
        )
    record = read_json(path / ASSAY_FILE, "contract", "steps", "standard", "backbone")
    check_format(path, record)
    contract = Contract.from_dict(record["contract"])
    steps = StepContract.from_dict(record["steps"])
    refuse_pickles(path)
    try:
        tokenizer = load_tokenizer(str(path))
        pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
        network = load_network(
            str(path), pad_token_id=pad_id, attention="eager", outputs=len(steps.classes)
        )
    except (BackboneError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be loaded: {error}") from error
    model = ProcessRewardModel(
        network,
        Renderer(contract, tokenizer),
        steps,
        backbone=str(record["backbone"]),
        head=_saved_head(path, bool(record["standard"])),
    )
    if record.get("members", 1) > 1:
        model.members = _saved_members(path)
    model.provenance = record.get("provenance", {})
    require_finite(model, path)
    return model


def _saved_members(path: Path) -> nn.Linear:
    try:
        state = load_file(path / MEMBERS_FILE)
    except (FileNotFoundError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} has no readable {MEMBERS_FILE}, and its record says it is an ensemble; "
            "copy the run again from its source."
        ) from error
    outputs, width = state["weight"].shape
    members = nn.Linear(width, outputs)
    members.load_state_dict(state)
    return members


def _saved_head(path: Path, standard: bool) -> nn.Module:
    """The head among a classifier's weights, or in its own file."""
    state = _named_head(path) if standard else read_head(path)
    head: nn.Module
    if "weight" in state:
        outputs, width = state["weight"].shape
        head = nn.Linear(width, outputs, bias="bias" in state)
    else:
        middle, width = state["0.weight"].shape
        head = StepMlp(width, middle, state["2.weight"].shape[0])
    head.load_state_dict(state)
    return head


def _named_head(path: Path) -> dict[str, Tensor]:
    files = tensor_files(path)
    for name in ("score", "classifier"):
        if f"{name}.weight" in files:
            break
    else:
        raise CheckpointError(
            f"{path} has no head among its {len(files)} weights; its rewards would be random."
        )
    state = {}
    for part in ("weight", "bias"):
        if (file := files.get(f"{name}.{part}")) is not None:
            with safe_open(file, framework="pt") as tensors:
                state[part] = tensors.get_tensor(f"{name}.{part}").float()
    return state
