"""A reward model on disk: a transformers directory, contract, golden conversations and manifest.

Everything is written to a temporary directory first and renamed into place file by file, the
manifest last, so a directory whose manifest fits is whole. Only safetensors are read or written.
"""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from assay.atomic import write_json, write_jsonl
from assay.data.contract import Contract, Renderer, make_contract
from assay.errors import BackboneError, CheckpointError, ContractError
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import (
    add_rows,
    default_device,
    load_config,
    load_network,
    load_tokenizer,
    longest_context,
    not_finite,
    set_pad,
)
from assay.models.golden import golden_rows
from assay.models.reward_model import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ASSAY_FILE = "assay.json"
MANIFEST = "manifest.json"
GOLDEN = "golden.jsonl"
HEAD_FILE = "assay_head.safetensors"
FORMAT = 1
_PICKLES = {".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt"}


def save_model(
    model: RewardModel, directory: str | Path, record: Mapping[str, Any] | None = None
) -> Path:
    """Write a reward model with its contract, golden conversations and manifest.

    Args:
        record: What else ``assay.json`` holds: training settings, data digest, held-out figures.

    Raises:
        CheckpointError: If a weight is NaN or infinite.
    """
    network = merged(model)
    pooled = {} if model.pooled_head is None else model.pooled_head.state_dict()

    def write(staging: Path) -> None:
        _write_network(model, network, staging)
        model.renderer.tokenizer.save_pretrained(staging)
        write_jsonl(staging / GOLDEN, golden_rows(model))
        kind = {"kind": "outcome", "standard": model.is_standard}
        write_json(staging / ASSAY_FILE, assay_record(model, {**kind, **(record or {})}))

    return write_run(Path(directory), {**network.state_dict(), **pooled}, write)


def write_run(target: Path, tensors: Mapping[str, Tensor], write: Callable[[Path], None]) -> Path:
    """Have a run's files written to a temporary directory in ``target``, and publish them there.

    Args:
        tensors: The weights that are to be saved.

    Raises:
        CheckpointError: If a weight is NaN or infinite; nothing is written then.
    """
    target.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target)
    bad = not_finite(tensors)
    if bad:
        raise CheckpointError(
            f"Weight {bad} holds NaN or infinite values; nothing was saved to {target}."
        )
    with tempfile.TemporaryDirectory(dir=target, prefix=".saving-") as temporary:
        write(Path(temporary))
        publish(Path(temporary), target)
    return target


def publish(staging: Path, target: Path) -> None:
    """Move finished files into a run directory and renew its manifest.

    All is on disk before the first file is replaced, so a full disk leaves the old run whole.
    """
    files = sorted(p for p in staging.iterdir() if p.is_file())
    for file in files:
        _sync(file)
    write_json(staging / MANIFEST, _manifest(target, staging))
    for file in (*files, staging / MANIFEST):
        file.replace(target / file.name)


def _write_network(model: RewardModel, network: "PreTrainedModel", staging: Path) -> None:
    config: Any = network.config
    set_pad(config, model.pad_token_id)
    # vLLM applies a sigmoid to one-label classifiers otherwise
    config.problem_type = "regression"
    config.id2label = {0: "reward"}
    config.label2id = {"reward": 0}
    if model.is_standard:
        network.save_pretrained(staging)
        return
    backbone: Any = network.base_model
    backbone.save_pretrained(staging)
    assert model.pooled_head is not None
    head = {name: tensor.contiguous() for name, tensor in model.pooled_head.state_dict().items()}
    save_file(head, staging / HEAD_FILE, metadata={"format": "pt"})


def merged(model: BackboneModel) -> "PreTrainedModel":
    """The network with LoRA adapters (if any) merged into a copy of its weights, as saved."""
    if not model.has_adapters:
        return model.network
    from assay.models.adapters import merge

    return merge(model)


def assay_record(model: BackboneModel, record: Mapping[str, Any]) -> dict[str, Any]:
    """What ``assay.json`` says of any model: contract, backbone, versions, and a record besides."""
    import transformers

    from assay import __version__

    return {
        "format": FORMAT,
        "contract": model.contract.to_dict(),
        "backbone": model.backbone_name,
        "provenance": model.provenance,
        "versions": {
            "assay": __version__,
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
        **record,
    }


def write_manifest(directory: Path) -> None:
    """Write SHA-256 and size of the files that decide a reward and of the run's records."""
    write_json(directory / MANIFEST, _manifest(directory))


def _manifest(*directories: Path) -> dict[str, Any]:
    """What the manifest says of these directories laid over each other, the last on top."""
    files = {
        p.name: p
        for directory in directories
        for p in directory.iterdir()
        if p.is_file() and p.name not in (MANIFEST, "metrics.jsonl") and not p.name.startswith(".")
    }
    entries = {
        name: {"sha256": file_digest(file), "bytes": file.stat().st_size}
        for name, file in sorted(files.items())
    }
    return {"format": FORMAT, "files": entries}


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_manifest(directory: Path) -> None:
    """Check that every file listed in the manifest is there unchanged.

    Raises:
        CheckpointError: If the manifest is missing or broken, or a file is missing or changed.
    """
    path = directory / MANIFEST
    try:
        files = {
            name: (entry["bytes"], entry["sha256"])
            for name, entry in json.loads(path.read_text())["files"].items()
        }
    except FileNotFoundError:
        raise CheckpointError(
            f"{directory} has no {MANIFEST}; the run did not finish, or it is not a run directory."
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); copy the run again from its source."
        ) from error
    for name, (size, digest) in files.items():
        file = directory / Path(name).name
        if not file.exists():
            raise CheckpointError(
                f"{directory} lacks {name}, which its manifest lists; "
                "copy the run again from its source."
            )
        if file.stat().st_size != size or file_digest(file) != digest:
            raise CheckpointError(
                f"{file} is not the file that was saved: its SHA-256 differs from the manifest's; "
                "copy the run again from its source."
            )


def load_model(directory: str | Path, *, engine: str = "auto", check: bool = True) -> RewardModel:
    """A reward model from a run directory, or from somebody else's, its contract unverified.

    Somebody else's contract is inferred from the tokenizer and marked so.

    Args:
        engine: ``auto``, ``tree`` or ``padded``.
        check: Whether to compare every file with the manifest first.

    Raises:
        CheckpointError: If files are missing or damaged, the weights are a pickle, or it is no
            one-output model.
    """
    path = local_directory(directory)
    if (path / ASSAY_FILE).exists() or (path / MANIFEST).exists():
        if check:
            check_manifest(path)
        model = _load_own(path)
    else:
        model = load_foreign(path, str(directory))
    from assay.models.probe import choose_engine

    model.to(default_device())
    model.set_engine(choose_engine(model, engine, gradients=False))
    return model


def read_head(path: Path) -> dict[str, Tensor]:
    """The weights of a head that is in its own file.

    Raises:
        CheckpointError: If it cannot be read.
    """
    try:
        return load_file(path / HEAD_FILE)
    except (FileNotFoundError, SafetensorError) as error:
        raise CheckpointError(
            f"{path} has no readable {HEAD_FILE}; its head is missing."
        ) from error


def local_directory(name: str | Path) -> Path:
    """The directory of that name, or a copy of the hub repository of that name without pickles."""
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise CheckpointError(
            f"{name} is a file; a run is a directory with {ASSAY_FILE} or a transformers model."
        )
    if str(name).startswith((".", "/")) or str(name).count("/") != 1:
        raise CheckpointError(
            f"{name} does not exist; give a run directory or a hub name owner/model."
        )
    import huggingface_hub

    pickles = [f"*{suffix}" for suffix in sorted(_PICKLES)]
    try:
        return Path(huggingface_hub.snapshot_download(str(name), ignore_patterns=pickles))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name} is no directory, and as a hub name it cannot be read: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error


def read_json(path: Path, *keys: str) -> dict[str, Any]:
    """A JSON record that must have some keys.

    Raises:
        CheckpointError: If it cannot be read or lacks one.
    """
    try:
        record: dict[str, Any] = json.loads(path.read_text())
        missing = [k for k in keys if k not in record]
        if missing:
            raise ValueError(f"it has no {missing[0]!r}")
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{path} is damaged ({error}); copy it again from its source."
        ) from error
    return record


def check_format(path: Path, record: Mapping[str, Any]) -> None:
    """Refuse a run that another version of assay wrote in another format.

    Raises:
        CheckpointError: Naming both formats.
    """
    if record["format"] != FORMAT:
        raise CheckpointError(
            f"{path} has format {record['format']!r} where this assay reads {FORMAT}; "
            "upgrade assay or open it with the version that wrote it."
        )


def _load_own(path: Path) -> RewardModel:
    record = read_json(path / ASSAY_FILE, "format")
    if record.get("kind") == "ensemble":
        raise CheckpointError(
            f"{path} is an ensemble, and one reward model is wanted; name one of its parts, such "
            f"as {path / 'part-0'}."
        )
    if record.get("kind") == "process":
        raise CheckpointError(
            f"{path} is a process model, which rewards steps, and an outcome model is wanted; "
            "name one that 'assay train reward' wrote."
        )
    record = read_json(path / ASSAY_FILE, "contract", "standard", "backbone")
    check_format(path, record)
    contract = Contract.from_dict(record["contract"])
    refuse_pickles(path)
    if record["standard"]:
        _require_head(path)
    try:
        tokenizer = load_tokenizer(str(path))
        pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
        network = load_network(str(path), pad_token_id=pad_id, attention="eager")
    except (BackboneError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be loaded: {error}") from error
    pooled_head = None
    if not record["standard"]:
        state = read_head(path)
        pooled_head = nn.Linear(state["weight"].shape[1], 1, bias="bias" in state)
        pooled_head.load_state_dict(state)
    model = RewardModel(
        network,
        Renderer(contract, tokenizer),
        backbone=str(record["backbone"]),
        pooled_head=pooled_head,
    )
    model.provenance = record.get("provenance", {})
    require_finite(model, path)
    return model


def load_foreign(path: Path, name: str) -> RewardModel:
    """Somebody else's one-output sequence classifier, with a contract inferred from its tokenizer.

    Args:
        name: What the user called it.

    Raises:
        CheckpointError: If it has another number of outputs, no saved head, or its weights are a
            pickle.
    """
    if not (path / "config.json").exists():
        raise CheckpointError(
            f"{name} has neither {ASSAY_FILE} nor config.json; it is not a run directory."
        )
    refuse_pickles(path)
    labels = _num_labels(path)
    if labels != 1:
        raise CheckpointError(
            f"{name} has {labels} output labels; a reward model has 1. Was this a classifier?"
        )
    _require_head(path)
    try:
        tokenizer = load_tokenizer(str(path))
        contract = make_contract(tokenizer, max_length=1, truncation="error")
        pad_id: Any = tokenizer.convert_tokens_to_ids(contract.pad_token)
        saved_pad = load_config(str(path)).get_text_config().pad_token_id
        network = load_network(
            str(path), pad_token_id=pad_id if saved_pad is None else saved_pad, attention="eager"
        )
    except (BackboneError, ContractError, SafetensorError) as error:
        raise CheckpointError(f"{name} cannot be loaded: {error}") from error
    add_rows(network, pad_id + 1)
    model = RewardModel(network, Renderer(contract, tokenizer), backbone=name)
    limit = min(longest_context(network.config) or 4096, 1_000_000)
    model.set_contract(
        max_length=limit, verified=False, pooling="first" if model.encoder else "last"
    )
    model.provenance = {"inferred_from": name}
    require_finite(model, path)
    return model


def _num_labels(path: Path) -> int:
    config = read_json(path / "config.json")
    architectures = config.get("architectures") or [""]
    if not str(architectures[0]).endswith("ForSequenceClassification"):
        raise CheckpointError(
            f"{path} is a {architectures[0] or 'model of unknown kind'}; "
            "a reward model is a *ForSequenceClassification with 1 output."
        )
    return int(config.get("num_labels") or len(config.get("id2label") or {0: "", 1: ""}))


def refuse_pickles(path: Path) -> None:
    """Refuse a directory whose weights are a pickle, or that has none.

    Raises:
        CheckpointError: Naming the file.
    """
    pickles = sorted(
        p.name for p in path.iterdir() if p.suffix in _PICKLES and p.name != "training_args.bin"
    )
    if pickles and not any(path.glob("*.safetensors")):
        raise CheckpointError(
            f"{path} holds its weights as a pickle ({pickles[0]}), which can run code when loaded; "
            "Assay reads safetensors only."
        )
    if not any(path.glob("*.safetensors")):
        raise CheckpointError(
            f"{path} holds no safetensors weights; the save did not finish, or files were left out."
        )


def tensor_files(path: Path) -> dict[str, Path]:
    """Which safetensors file of a directory holds each weight.

    Raises:
        CheckpointError: If one cannot be read.
    """
    found: dict[str, Path] = {}
    for file in sorted(path.glob("*.safetensors")):
        try:
            with safe_open(file, framework="pt") as tensors:
                found.update(dict.fromkeys(tensors.keys(), file))
        except SafetensorError as error:
            raise CheckpointError(
                f"{file} is damaged ({error}); copy it again from its source."
            ) from error
    return found


def _require_head(path: Path) -> None:
    """Refuse weights without a head: transformers would draw a random one with only a warning."""
    names = tensor_files(path)
    if not any(name.startswith(("score.", "classifier.")) or ".score." in name for name in names):
        raise CheckpointError(
            f"{path} has no head among its {len(names)} weights; its rewards would be random."
        )


def require_finite(model: BackboneModel, path: Path) -> None:
    """Refuse a loaded model with a weight that is not finite.

    Raises:
        CheckpointError: Naming the weight.
    """
    bad = not_finite(dict(model.named_parameters()))
    if bad:
        raise CheckpointError(
            f"{path}: weight {bad} holds NaN or infinite values; its rewards would be NaN."
        )


def _sync(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())


def remove_leftovers(directory: Path) -> None:
    """Remove what an interrupted save left behind."""
    for leftover in directory.glob(".saving-*"):
        shutil.rmtree(leftover, ignore_errors=True)
    for leftover in directory.glob(".*.part"):
        leftover.unlink()
