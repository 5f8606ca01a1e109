"""A key-value cache that grows in place.

transformers' dynamic cache copies all keys and values for every new token; this one keeps spare
room, so that a token costs its own keys and values. Sliding-window and other special layers stay
transformers' own.
"""

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import DynamicCache, DynamicLayer

SPARE = 64
"""Tokens of room a full buffer is given at least."""


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model of this config, to be passed as ``past_key_values``."""
    cache = DynamicCache(config=config)
    cache.layers = [_GrowingLayer() if type(x) is DynamicLayer else x for x in cache.layers]
    if not cache.layers:  # no layer types in the config: layers are made as they are met
        cache.layer_class_to_replicate = _GrowingLayer
    return cache


class _GrowingLayer(DynamicLayer):
    """Keys and values as views of longer buffers."""

    keys: Any
    values: Any

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self.keys, self.values = key_states[:, :, :0], value_states[:, :, :0]
        self._buffers = self.keys, self.values

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        begin = self.keys.shape[-2]
        end = begin + key_states.shape[-2]
        if end > self._buffers[0].shape[-2]:
            self._buffers = _longer(self.keys, end), _longer(self.values, end)
        for buffer, states in zip(self._buffers, (key_states, value_states), strict=True):
            buffer[:, :, begin:end] = states
        self.keys, self.values = (buffer[:, :, :end] for buffer in self._buffers)
        return self.keys, self.values

    def reorder_cache(self, beam_idx: Any) -> None:
        super().reorder_cache(beam_idx)
        self._buffers = self.keys, self.values


def _longer(states: Tensor, wanted: int) -> Tensor:
    """A buffer with room for so many tokens and some more, begun with these."""
    rows, heads, length, width = states.shape
    room = wanted + max(SPARE, wanted // 4)
    buffer = torch.empty(rows, heads, room, width, dtype=states.dtype, device=states.device)
    buffer[:, :, :length] = states
    return buffer
