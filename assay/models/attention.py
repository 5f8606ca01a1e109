"""Attention over packed trees, plugged into transformers by name, no model code touched.

Each token attends to the earlier tokens of its own node and to those of the nodes above it, never
to another branch or tree. On CPU this is one ``scaled_dot_product_attention`` per node; on CUDA
the same layout becomes a FlexAttention block mask (that path has not been run on a GPU; its mask is
tested on CPU). Knows nothing of rewards.

Letters: T tokens of the row · H query heads · G key-value heads · D head width.
"""

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from assay.data.trees import PackedTrees, Span, chain
from assay.errors import AssayError

ENGINE = "assay_tree"


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
        position = torch.cat([torch.arange(s.position, s.position + s.length) for s in self.spans])
        return node.to(device), position.to(device)

    def mask_mod(self, device: torch.device, window: int | None) -> Any:
        """The same rule as a FlexAttention ``mask_mod(batch, head, query, key)``."""
        node, position = self.token_tables(device)
        above = self.above(device)

        def allowed(_batch: Tensor, _head: Tensor, query: Tensor, key: Tensor) -> Tensor:
            if not self.causal:
                return node[query] == node[key]
            distance = position[query] - position[key]
            seen = above[node[query], node[key]] & (distance >= 0)
            return seen if window is None else seen & (distance < window)

        return allowed


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
    if query.device.type != "cpu":
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


def _flex(  # pragma: no cover - needs a GPU; not run
    tree: TreeLayout,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    window: int | None,
    softcap: float | None,
) -> Tensor:
    """The same attention as one FlexAttention call. NOT RUN: for CUDA, no GPU was at hand."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    name = ("flex", window, query.device)
    if name not in tree._cache:
        tokens = query.shape[2]
        tree._cache[name] = create_block_mask(
            tree.mask_mod(query.device, window),
            None,
            None,
            tokens,
            tokens,
            device=str(query.device),
        )

    def cap(score: Tensor, *_: Tensor) -> Tensor:
        return torch.tanh(score / softcap) * softcap if softcap is not None else score

    out = torch.compile(flex_attention)(
        query,
        key,
        value,
        score_mod=cap if softcap is not None else None,
        block_mask=tree._cache[name],
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
    return out.transpose(1, 2).contiguous()


def register() -> None:
    """Make the engine known to transformers under its name; safe to call again."""
    from transformers import AttentionInterface

    AttentionInterface.register(ENGINE, tree_attention)
