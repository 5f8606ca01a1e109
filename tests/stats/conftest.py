"""Gaps whose labels are drawn from them, so that what should be found in them is known."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray


@pytest.fixture
def bernoulli_gaps() -> Callable[..., tuple[NDArray, NDArray]]:
    """Gaps and labels drawn from them; a temperature over 1 makes the gaps overconfident."""

    def draw(n: int, seed: int, temperature: float = 1.0) -> tuple[NDArray, NDArray]:
        rng = np.random.default_rng(seed)
        gaps = rng.normal(size=n) * 1.5
        labels = (rng.random(n) < 1 / (1 + np.exp(-gaps))).astype(float)
        return gaps * temperature, labels

    return draw
