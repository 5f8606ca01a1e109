"""What every training begins with: settings checked and resolved, a model shaped for its mode."""

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from assay.configs import TOKEN_BUDGET, Training
from assay.data.contract import Tokens
from assay.data.trees import Tree
from assay.errors import ConfigError
from assay.models.adapters import add_lora
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import cut_layers, set_checkpointing
from assay.models.features import FeatureCache
from assay.models.probe import choose_engine
from assay.models.views import View
from assay.train.plan import FitSettings

Progress = Callable[[str, int, int, int], None]
"""Called with (stage, done, total, tokens just done)."""

FROZEN_LAYERS = 0.8
"""Share of layers a frozen backbone keeps: reward-relevant features peak before the last ones."""


@runtime_checkable
class HasTree(Protocol):
    """An example of any kind."""

    @property
    def tree(self) -> Tree:
        """What the engine reads of it."""
        ...


def check_settings(training: Training) -> None:
    """Refuse settings of the mode and the optimiser that cannot work.

    Raises:
        ConfigError: If one is out of its range or does not fit another.
    """
    if training.mode != "frozen" and training.layers is not None:
        raise ConfigError(
            f"layers is for mode frozen, and the mode is {training.mode}; leave it out."
        )
    if training.mode != "lora" and training.lora_layers is not None:
        raise ConfigError(f"lora_layers is for mode lora, and the mode is {training.mode}.")
    counts = ("epochs", "batch_size", "token_budget", "eval_every", "save_every")
    for name in (*counts, "lora_rank", "lora_layers"):
        value = getattr(training, name)
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it is at least 1.")
    for name in ("l2", "weight_decay", "warmup_fraction", "max_grad_norm"):
        value = getattr(training, name)
        if value is not None and not value >= 0:
            raise ConfigError(f"{name} is {value}; it is 0 or more.")
    if training.lr is not None and not 0 < training.lr < 10:
        raise ConfigError(f"lr is {training.lr}; a learning rate lies between 0 and 10.")


def prepare(model: BackboneModel, training: Training, *, train_head: bool = True) -> bool:
    """Shape the model for its mode: choose the engine, cut layers, add adapters.

    Args:
        train_head: Whether the network's own head is the one that is read.

    Returns:
        Whether the head was trained before and still reads the states it was trained on.
    """
    goes_on = "mode" in model.provenance or "inferred_from" in model.provenance
    checkpointing = training.gradient_checkpointing and training.mode != "frozen"
    model.set_engine(
        choose_engine(
            model,
            training.engine,
            gradients=training.mode != "frozen",
            checkpointing=checkpointing,
        )
    )
    if training.mode == "frozen":
        total = int(model.network.config.get_text_config().num_hidden_layers)
        keep = training.layers or (total if goes_on else kept_layers(total))
        cut_layers(model.network, keep)
        goes_on = goes_on and keep == total
        model.provenance = {**model.provenance, "layers": [keep, total]}
    if training.mode == "lora":
        add_lora(
            model,
            rank=training.lora_rank,
            alpha=training.lora_alpha,
            seed=training.seed,
            layers=training.lora_layers,
            train_head=train_head,
        )
    if checkpointing:
        set_checkpointing(model.network, True)
        model.train()  # transformers checkpoints in training mode only; dropout is 0
    model.provenance = {**model.provenance, "mode": training.mode}
    return goes_on


def kept_layers(total: int) -> int:
    """How many of a backbone's layers frozen mode keeps where none are named."""
    return max(1, round(FROZEN_LAYERS * total))


def resolve_settings(training: Training, examples: Sequence[HasTree]) -> FitSettings:
    """Settings with every default decided, once, from the mode and the data.

    Raises:
        ConfigError: If the token budget is smaller than the longest comparison.
    """
    frozen = training.mode == "frozen"
    longest = max(e.tree.num_tokens for e in examples)
    budget = training.token_budget or max(TOKEN_BUDGET, longest)
    if budget < longest:
        raise ConfigError(
            f"token_budget {budget:,} is smaller than the longest comparison "
            f"({longest:,} tokens); raise it or lower --max-length."
        )
    batch = training.batch_size or (64 if frozen else 16)
    batch = min(batch, len(examples))
    epochs = training.epochs or (60 if frozen else 1)
    per_epoch = -(-len(examples) // batch)
    default_eval = 5 * per_epoch if frozen else max(1, per_epoch // 4)
    return FitSettings(
        epochs=epochs,
        batch_size=batch,
        token_budget=1 << 30 if frozen else budget,
        lr=training.lr or {"frozen": 1e-3, "lora": 2e-4, "full": 2e-5}[training.mode],
        head_lr_multiplier=1.0 if frozen else training.head_lr_multiplier,
        weight_decay=training.weight_decay,
        warmup_fraction=training.warmup_fraction,
        schedule=training.schedule,
        max_grad_norm=training.max_grad_norm,
        eval_every=training.eval_every or default_eval,
        save_every=training.save_every or (default_eval if frozen else 50),
        log_every=10 if frozen else 1,
        seed=training.seed,
        precision=training.precision,
        trackers=training.trackers,
    )


def cached_features(
    model: BackboneModel,
    tokens: Sequence[Tokens],
    progress: Progress | None,
    views: Sequence[View] = (),
) -> NDArray[np.float32]:
    """What the model's head reads of conversations, cached where it can be, ``(B, D)``.

    Args:
        views: What to read of them instead, side by side.
    """
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        if progress:
            progress("features", done, len(tokens), 0)

    cache = FeatureCache.of(model, views)
    return cache.get(model, tokens, token_budget=TOKEN_BUDGET, progress=report)
