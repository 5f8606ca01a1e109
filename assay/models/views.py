"""Views: states of a frozen backbone at several layers, pooled in several ways, from one forward.

What is read at a layer is what a backbone cut after it would give: the layer's output through the
backbone's final norm. Letters: T tokens of a row · R responses · V views · D hidden width.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from assay.configs import Pooling
from assay.data.trees import PackedTrees
from assay.errors import BackboneError, ConfigError
from assay.models.backbone_model import BackboneModel
from assay.models.backbones import layer_list


@dataclass(frozen=True, slots=True, order=True)
class View:
    """States after so many layers, pooled so."""

    layer: int
    pooling: Pooling = "last"

    def __str__(self) -> str:
        return f"{self.layer}:{self.pooling}"

    @classmethod
    def parse(cls, text: str) -> "View":
        """From ``LAYER`` or ``LAYER:POOLING``, as the configuration writes it.

        Raises:
            ConfigError: If it is neither.
        """
        layer, _, pooling = text.partition(":")
        if not layer.isdigit() or (pooling or "last") not in ("last", "mean", "last+mean"):
            raise ConfigError(
                f"view {text!r} is not LAYER or LAYER:POOLING, like 20:mean; "
                "the poolings are last, mean and last+mean."
            )
        return cls(int(layer), pooling or "last")  # type: ignore[arg-type]


def default_views(total: int, count: int) -> list[View]:
    """Views at even depths from 0.4 to 0.8 of the layers, last and mean states in turn.

    The first is that of a single frozen model, the last states after 0.8 of the layers, so that
    all cost one forward of that model.
    """
    first = View(max(1, round(0.8 * total)))
    depths = [0.4 + 0.4 * i / max(1, count - 2) for i in range(count - 1)]
    others = [
        View(max(1, round(depth * total)), "mean" if number % 2 else "last")
        for number, depth in enumerate(depths)
    ]
    return [first, *others]


def deepest_first(views: Sequence[View]) -> list[View]:
    """Views with the deepest in front, last states before others there: the trunk's own."""
    front = min(views, key=lambda v: (-v.layer, v.pooling != "last"))
    rest = list(views)
    rest.remove(front)
    return [front, *rest]


def check_views(model: BackboneModel, views: Sequence[View]) -> None:
    """Refuse views of layers the backbone does not have.

    Raises:
        ConfigError: Naming the view.
    """
    total = int(model.network.config.get_text_config().num_hidden_layers)
    for view in views:
        if not 1 <= view.layer <= total:
            raise ConfigError(f"view {view} is of layer {view.layer}; the backbone has {total}.")


def view_width(model: BackboneModel, view: View) -> int:
    """Features a view has."""
    width = int(model.network.config.get_text_config().hidden_size)
    return 2 * width if view.pooling == "last+mean" else width


def view_features(
    model: BackboneModel, packed: PackedTrees, views: Sequence[View]
) -> Float[Tensor, "R VD"]:
    """The pooled states of all views, side by side, one row a response.

    ``last+mean`` takes two widths, the others one.
    """
    layers = layer_list(model.network.base_model)
    with kept_outputs(layers, sorted({view.layer for view in views})) as outputs:
        final = model.states(packed)
    norm = final_norm(model)
    states = {
        layer: final if layer == len(layers) else norm(hidden(output)).reshape(final.shape)
        for layer, output in outputs.items()
    }
    pooled = [model.pooled(states[view.layer], packed, view.pooling) for view in views]
    return torch.cat(pooled, dim=-1)


@contextmanager
def kept_outputs(layers: nn.ModuleList, numbers: Sequence[int]) -> Iterator[dict[int, Any]]:
    """What some layers (counted from 1) return in the forward passes within the block."""
    outputs: dict[int, Any] = {}

    def keep(number: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            outputs[number] = output

        return hook

    hooks = [layers[number - 1].register_forward_hook(keep(number)) for number in numbers]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def hidden(output: Any) -> Tensor:
    """The states among what a layer returns: alone, or first of a tuple."""
    states: Tensor = output[0] if isinstance(output, tuple) else output
    return states


NORMS = ("norm", "final_layernorm", "final_layer_norm", "ln_f", "final_norm")
"""What families call the norm after their last layer."""


def final_norm(model: BackboneModel) -> nn.Module:
    """The norm after the last layer; the identity for encoders, whose layers end in one.

    Raises:
        BackboneError: If a decoder has none by a known name.
    """
    if model.encoder:
        return nn.Identity()
    base: Any = model.network.base_model
    for place in (base, getattr(base, "decoder", None), getattr(base, "language_model", None)):
        for name in NORMS:
            module = getattr(place, name, None)
            if isinstance(module, nn.Module):
                return module
    raise BackboneError(
        f"{type(base).__name__} has no final norm by a name Assay knows; use --diversity heads."
    )
