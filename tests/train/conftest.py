"""What tests of training share: comparisons made of features alone, labelled by a known head."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from fitting import textless
from numpy.typing import NDArray

from assay.train.encode import Example
from assay.types import Preference


def _example(number: int, cluster: int, *labels: Preference, count: int = 2) -> Example:
    return textless(*labels, count=count, cluster=cluster, number=number)


@dataclass(frozen=True)
class Made:
    """Pairs of two responses, features ``(2 N, D)`` laid end to end, and which were flipped."""

    examples: list[Example]
    features: NDArray[np.float32]
    flipped: NDArray[np.bool_]


def _made(
    pairs: int = 400, width: int = 8, scale: float = 6.0, rate: float = 0.2, seed: int = 0
) -> Made:
    """Pairs labelled by Bradley-Terry with a gold head, a share flipped, two to a prompt."""
    rng = np.random.default_rng(seed)
    gold = rng.normal(size=width)
    gold *= scale / np.linalg.norm(gold)
    features = rng.normal(size=(pairs, 2, width)) / np.sqrt(2)
    gap = (features[:, 0] - features[:, 1]) @ gold
    first = rng.random(pairs) < 1 / (1 + np.exp(-gap))
    flipped = rng.random(pairs) < rate
    labels = [Preference(0, 1) if f else Preference(1, 0) for f in first ^ flipped]
    examples = [_example(i, i // 2, label) for i, label in enumerate(labels)]
    return Made(examples, features.reshape(-1, width).astype(np.float32), flipped)


@pytest.fixture(scope="session")
def example() -> Callable[..., Example]:
    """``example(number, cluster, *labels, count=2)``: a comparison without text."""
    return _example


@pytest.fixture(scope="session")
def made() -> Callable[..., Made]:
    """``made(pairs, width, scale, rate, seed)``: pairs by a gold head, a share flipped."""
    return _made
