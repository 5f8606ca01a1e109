"""What tests of objectives share: simulated comparisons, the same as the benchmarks'."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture(scope="session")
def script():
    """A module of the benchmarks, by name."""
    sys.path.insert(0, str(BENCHMARKS))
    yield import_module
    sys.path.remove(str(BENCHMARKS))


@pytest.fixture(scope="session")
def simulated(script):
    """``pair``, ``Part``, ``train_head``: comparisons without text, a head trained on them."""
    return script("simulated")
