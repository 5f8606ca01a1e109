"""LoRA adapters through peft: on every linear layer of the backbone, the head trained whole."""

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from assay.errors import ConfigError
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import head_name, layer_list

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_lora(
    model: BackboneModel,
    *,
    rank: int,
    alpha: int,
    seed: int,
    layers: int | None = None,
    train_head: bool = True,
) -> None:
    """Put LoRA adapters on linear layers in place; only they and the head stay trainable.

    Embeddings are not adapted, and the head is named in ``modules_to_save``, so it is trained and
    saved.

    Args:
        layers: Adapt so many of the upper transformer layers. Default: every linear layer.
        train_head: False where the network's own head is not the one that is read.

    Raises:
        ConfigError: If the backbone has not so many.
    """
    adapted = lora_network(
        model.network,
        rank=rank,
        alpha=alpha,
        seed=seed,
        layers=layers,
        saved=[head_name(model.network)] if train_head else None,
    )
    # outside nn.Module's registry: the adapted network is the same modules, already registered
    object.__setattr__(model, "adapted", adapted)


def lora_network(
    network: "PreTrainedModel",
    *,
    rank: int,
    alpha: int,
    seed: int,
    layers: int | None = None,
    saved: list[str] | None = None,
    task: str = "SEQ_CLS",
) -> Any:
    """Put LoRA adapters on a network's linear layers in place; peft's view of it.

    Args:
        layers: Adapt so many of the upper transformer layers. Default: every linear layer.
        saved: Modules outside the adapted ones that are trained whole.
        task: peft's name of what the network is for.

    Raises:
        ConfigError: If the network has not so many layers.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    prefix = network.base_model_prefix
    adapted_modules = set(network.base_model.modules())
    if layers is not None:
        stack = layer_list(network.base_model)
        if layers > len(stack):
            raise ConfigError(f"lora_layers is {layers}, and the backbone has {len(stack)}.")
        adapted_modules = {m for layer in stack[len(stack) - layers :] for m in layer.modules()}
    targets = [
        f"{prefix}.{name}"
        for name, module in network.base_model.named_modules()
        if module in adapted_modules
        and (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D")
    ]
    config = LoraConfig(
        task_type=TaskType[task],
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=saved,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: Any = get_peft_model(network, config)
    adapted.train(False)
    return adapted


def merge(model: BackboneModel) -> "PreTrainedModel":
    """A copy of the network with its adapters merged into the fp32 weights."""
    adapted: Any = copy.deepcopy(model.adapted)
    network: PreTrainedModel = adapted.merge_and_unload()
    return network


def merge_in_place(model: BackboneModel) -> None:
    """Replace the adapted network by its merged self."""
    adapted: Any = model.adapted
    model.network = adapted.merge_and_unload()
    object.__setattr__(model, "adapted", None)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
