"""LoRA adapters through peft: on every linear layer of the backbone, the head trained whole."""

import copy
from typing import TYPE_CHECKING, Any

from torch import nn

from assay.models.backbones import head_name
from assay.models.reward_model import RewardModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def add_lora(model: RewardModel, *, rank: int, alpha: int, seed: int) -> None:
    """Put LoRA adapters on all linear layers in place; only they and the head stay trainable.

    Embeddings are not adapted, and the head is named in ``modules_to_save``, so it is trained and
    saved.
    """
    import torch
    from peft import LoraConfig, TaskType, get_peft_model

    network = model.network
    prefix = network.base_model_prefix
    targets = [
        f"{prefix}.{name}"
        for name, module in network.base_model.named_modules()
        if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"
    ]
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS,
        r=rank,
        lora_alpha=alpha,
        lora_dropout=0.0,
        target_modules=targets,
        modules_to_save=[head_name(network)],
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        adapted: Any = get_peft_model(network, config)
    adapted.train(False)
    # outside nn.Module's registry: the adapted network is the same modules, already registered
    object.__setattr__(model, "adapted", adapted)


def merge(model: RewardModel) -> "PreTrainedModel":
    """A copy of the network with its adapters merged into the fp32 weights."""
    adapted: Any = copy.deepcopy(model.adapted)
    network: PreTrainedModel = adapted.merge_and_unload()
    return network


def merge_in_place(model: RewardModel) -> None:
    """Replace the adapted network by its merged self."""
    adapted: Any = model.adapted
    model.network = adapted.merge_and_unload()
    object.__setattr__(model, "adapted", None)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
