"""Simulated steps of a policy, small enough for many."""

from __future__ import annotations

import numpy as np
import pytest

from assay.rlhf.records import Judged, Spoken
from assay.types import Message


class Policy:
    """Says random tokens to random prompts; what its responses are worth is set from outside."""

    def __init__(self, seed: int = 0, prompts: int = 8, samples: int = 2):
        self.rng = np.random.default_rng(seed)
        self.prompts, self.samples = prompts, samples
        self.text = "fine words"
        self.has_audit = self.has_gold = True

    def step(
        self, proxy: float = 0.0, audit: float = 0.0, length: float = 20.0, shift: float = 0.1
    ) -> tuple[Spoken, Judged]:
        """A step with these means of proxy, audit and tokens."""
        rng, count = self.rng, self.prompts * self.samples
        chosen = np.repeat(rng.permutation(40)[: self.prompts], self.samples)
        sizes = rng.poisson(length, count) + 1
        logprobs = tuple(-rng.exponential(1.0, n) for n in sizes)
        common = np.sin(chosen) + rng.normal(0, 0.5, count)
        true = audit + common + rng.normal(0, 0.3, count)
        spoken = Spoken(
            tuple((Message("user", f"Question {i}"),) for i in chosen),
            tuple(f"{self.text} {i}" for i in range(count)),
            tuple(rng.integers(0, 50, n).astype(np.int32) for n in sizes),
            logprobs,
            tuple(each - shift for each in logprobs),
            rng.random(count) < 0.99,
        )
        judged = Judged(
            proxy + common + rng.normal(0, 0.3, count),
            audit=true if self.has_audit else None,
            gold=true - 0.01 if self.has_gold else None,
        )
        return spoken, judged


@pytest.fixture
def policy() -> Policy:
    return Policy()


@pytest.fixture(scope="session")
def make_policy() -> type[Policy]:
    return Policy
