"""The growing cache holds what transformers' own does, without copying it for every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from policies import tiny_policy
from transformers.cache_utils import DynamicCache

from assay.models.caches import SPARE, growing_cache


@pytest.mark.parametrize("name", ["llama", "gemma3_text", "gpt2"])
def test_keys_and_values_are_the_dynamic_caches(name: str, tiny_backbone: Path) -> None:
    config = tiny_policy(name, tiny_backbone).network.config
    layers = config.num_hidden_layers
    caches: list[Any] = [growing_cache(config), DynamicCache(config=config)]
    generator = torch.Generator().manual_seed(0)
    for step, length in enumerate((9, 1, 1, 2 * SPARE, 1)):
        if step == 2:
            for cache in caches:
                cache.reorder_cache(torch.tensor([1, 1, 0, 2, 2]))
        rows = 3 if step < 2 else 5
        keys, values = torch.randn(2, rows, 2, length, 4, generator=generator)
        for layer in range(layers):
            mine, own = (cache.update(keys, values, layer) for cache in caches)
            assert all(torch.equal(a, b) for a, b in zip(mine, own, strict=True))
        assert caches[0].get_seq_length() == caches[1].get_seq_length()


def test_a_token_is_written_into_the_buffer_that_is_there(tiny_backbone: Path) -> None:
    config = tiny_policy("llama", tiny_backbone).network.config
    cache: Any = growing_cache(config)
    places = []
    for length in (10, 1, 1, SPARE - 2, 1):
        keys, _ = cache.update(*torch.ones(2, 1, 2, length, 4), 0)
        places.append(keys.data_ptr())
    assert len(set(places[:4])) == 1  # all within 10 + SPARE
    assert places[4] != places[0]
