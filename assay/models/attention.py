"""Attention over packed trees, plugged into transformers by name, no model code touched.

Each token attends to the earlier tokens of its own node and to those of the nodes above it, never
to another branch or tree. This is one ``scaled_dot_product_attention`` per node, or, on CUDA, the
same layout as the block mask of one FlexAttention kernel. Knows nothing of rewards.

Letters: T tokens of the row · H query heads · G key-value heads · D head width.
"""

import functools
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data.trees import PackedTrees, Span, chain
from assay.errors import AssayError

ENGINE = "assay_tree"

LEAST_WIDTH = 16
"""Width of a head under which FlexAttention's kernels refuse."""
LEAST_TOKENS = 128
"""Tokens of a row under which FlexAttention takes its kernels for decoding, which refuse some."""


class EngineError(AssayError, RuntimeError):
    """A backbone asks its attention for something the tree engine does not do."""


@dataclass(frozen=True)
class TreeLayout:
    """Where the nodes of a packed row lie; reaches the attention as the keyword ``tree``."""

    spans: tuple[Span, ...]
    causal: bool = True
    _cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def of(cls, packed: PackedTrees, *, causal: bool) -> "TreeLayout":
        """The layout of packed trees."""
        return cls(packed.spans, causal)

    def lower_right(
        self, queries: int, keys: int, window: int | None, like: Tensor
    ) -> Float[Tensor, "Q S"]:
        """Added to scores: 0 where a query may see a key, -inf elsewhere; windows count positions.

        The last query stands at the last key. Made once per shape, not once per layer.
        """
        name = (queries, keys, window, like.device, like.dtype)
        if name not in self._cache:
            query_position = torch.arange(keys - queries, keys, device=like.device)[:, None]
            key_position = torch.arange(keys, device=like.device)[None, :]
            hidden = key_position > query_position
            if window is not None:
                hidden = hidden | (query_position - key_position >= window)
            self._cache[name] = like.new_zeros(queries, keys).masked_fill(hidden, -torch.inf)
        mask: Tensor = self._cache[name]
        return mask

    def above(self, device: torch.device) -> Tensor:
        """Whether a node (second) is another (first) or one above it, ``(N, N)``."""
        parents = [span.parent for span in self.spans]
        table = torch.zeros(len(parents), len(parents), dtype=torch.bool)
        for node in range(len(parents)):
            table[node, chain(parents, node)] = True
        return table.to(device)

    def token_tables(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Each token's node and position, ``(T,)``."""
        lengths = torch.tensor([span.length for span in self.spans])
        node = torch.repeat_interleave(torch.arange(len(self.spans)), lengths)
        position = torch.cat(
            [torch.arange(s.position, s.position + s.length, dtype=torch.int32) for s in self.spans]
        )
        return node.to(device), position.to(device)

    def mask_mod(self, device: torch.device, window: int | None) -> Any:
        """The same rule as a FlexAttention ``mask_mod(batch, head, query, key)``."""
        node, position = self.token_tables(device)
        above = self.above(device)

        # lambdas: FlexAttention counts a function's arguments, and a decorator would hide them
        if not self.causal:
            return lambda _batch, _head, q, k: node[q] == node[k]
        if window is None:
            return lambda _batch, _head, q, k: (
                above[node[q], node[k]] & (position[k] <= position[q])
            )
        return lambda _batch, _head, q, k: (
            above[node[q], node[k]]
            & (position[k] <= position[q])
            & (position[q] - position[k] < window)
        )

    def block_mask(self, device: torch.device, window: int | None) -> Any:
        """FlexAttention's ``BlockMask`` of the same rule; made once a row, not once a layer."""
        name = ("blocks", window, device)
        if name not in self._cache:
            length = sum(span.length for span in self.spans)
            self._cache[name] = _create_block_mask(device.type)(
                self.mask_mod(device, window), None, None, length, length, device=str(device)
            )
        return self._cache[name]


def tree_attention(
    module: nn.Module,
    query: Float[Tensor, "1 H T D"],
    key: Float[Tensor, "1 G T D"],
    value: Float[Tensor, "1 G T D"],
    attention_mask: Tensor | None,
    *,
    tree: TreeLayout | None = None,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **kwargs: Any,
) -> tuple[Float[Tensor, "1 T H D"], None]:
    """Attention along every path of a packed row, by transformers' attention interface.

    Raises:
        EngineError: If the layout is missing, a mask came, or the backbone uses what is not done
            here (attention sinks, relative position biases, attention dropout).
    """
    if tree is None:
        raise EngineError(
            "The tree engine was called without a tree layout; "
            "call the backbone through RewardModel."
        )
    if attention_mask is not None:
        raise EngineError(
            "The tree engine was given an attention mask; "
            "it takes its layout as the keyword 'tree'."
        )
    for name in ("s_aux", "position_bias", "sinks"):
        if kwargs.get(name) is not None:
            raise EngineError(
                f"{type(module).__name__} passes {name!r} to its attention, "
                "which the tree engine lacks."
            )
    if dropout:
        raise EngineError(
            "The tree engine has no attention dropout; a reward model is trained without dropout."
        )
    scale = scaling if scaling is not None else query.shape[-1] ** -0.5
    tokens, width = query.shape[2:]
    if query.device.type == "cuda" and width >= LEAST_WIDTH and tokens >= LEAST_TOKENS:
        return _flex(tree, query, key, value, scale, sliding_window, softcap), None
    sizes = [span.length for span in tree.spans]
    # split, not slices: a split's gradient is one concatenation, that of each slice a row of zeros
    queries, keys, values = (list(x.split(sizes, 2)) for x in (query, key, value))
    pieces: list[Tensor] = []
    for node, span in enumerate(tree.spans):
        if span.parent is not None:
            keys[node] = torch.cat([keys[span.parent], keys[node]], 2)
            values[node] = torch.cat([values[span.parent], values[node]], 2)
        pieces.append(
            _attend(tree, queries[node], keys[node], values[node], scale, sliding_window, softcap)
        )
    return torch.cat(pieces, 2).transpose(1, 2), None


def _attend(
    tree: TreeLayout,
    query: Float[Tensor, "1 H Q D"],
    key: Float[Tensor, "1 G S D"],
    value: Float[Tensor, "1 G S D"],
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Float[Tensor, "1 H Q D"]:
    queries, keys = query.shape[2], key.shape[2]
    window = window if window is not None and window < keys else None
    if softcap is None and (not tree.causal or (queries == keys and window is None)):
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            is_causal=tree.causal,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    mask = tree.lower_right(queries, keys, window, query) if tree.causal else None
    if softcap is None:
        return F.scaled_dot_product_attention(
            query,
            key,
            value,
            attn_mask=mask,
            scale=scale,
            enable_gqa=query.shape[1] != key.shape[1],
        )
    groups = query.shape[1] // key.shape[1]
    scores = query @ key.repeat_interleave(groups, 1).transpose(-1, -2) * scale
    scores = torch.tanh(scores / softcap) * softcap
    if mask is not None:
        scores = scores + mask
    return torch.softmax(scores, -1, dtype=torch.float32).to(query.dtype) @ value.repeat_interleave(
        groups, 1
    )


def _flex(
    tree: TreeLayout,
    query: Float[Tensor, "1 H T D"],
    key: Float[Tensor, "1 G T D"],
    value: Float[Tensor, "1 G T D"],
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Float[Tensor, "1 T H D"]:
    """The same attention as one FlexAttention call."""
    if torch.is_autocast_enabled(query.device.type):  # FlexAttention is not on autocast's list
        half = torch.get_autocast_dtype(query.device.type)
        query, key, value = query.to(half), key.to(half), value.to(half)
    out: Tensor = _flex_attention()(
        query,
        key,
        value,
        score_mod=None if softcap is None else _capped(softcap, query),
        block_mask=tree.block_mask(query.device, window),
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).contiguous()


def _capped(softcap: float, query: Float[Tensor, "1 H T D"]) -> Any:
    """A FlexAttention ``score_mod``: scores held within ± softcap, as Gemma 2 does."""
    # a number would become an argument on the CPU, which the kernel cannot read
    caps = torch.full((query.shape[1],), softcap, device=query.device)
    return lambda score, _batch, head, _query, _key: torch.tanh(score / caps[head]) * caps[head]


@functools.cache
def _flex_attention() -> Any:
    """FlexAttention, compiled for rows of every length."""
    from torch.nn.attention.flex_attention import flex_attention  # pragma: no cover - CUDA

    return _compiled(flex_attention)  # pragma: no cover - CUDA


@functools.cache
def _create_block_mask(device: str) -> Any:
    """What makes a block mask; compiled on CUDA, where it is 18 times as fast, in less memory."""
    from torch.nn.attention.flex_attention import create_block_mask

    return create_block_mask if device == "cpu" else _compiled(create_block_mask)


def _compiled(function: Any) -> Any:  # pragma: no cover - CUDA
    """A function compiled once for all lengths.

    It is compiled again for each width of heads, precision, window and soft-capping, and with and
    without gradients: PyTorch's limit of eight is soon reached by a few backbones in one process,
    so it is raised.
    """
    limits: Any = torch._dynamo.config
    limits.recompile_limit = max(limits.recompile_limit, 128)
    return torch.compile(function, dynamic=True)


def register() -> None:
    """Make the engine known to transformers under its name; safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(ENGINE, tree_attention)
