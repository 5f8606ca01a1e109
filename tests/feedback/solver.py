"""A synthetic solver for tests: it gets there unless a step says it is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from assay.feedback.rollouts import Prefix, Rollouts
from assay.types import Message, Messages, Solution


class Solver:
    """Completes right after right steps, and counts what it is asked.

    ``lucky`` of its rollouts are right after a wrong step; a prompt that says "hard" is never
    solved; ``breaks_at`` is the number of the batch at which it raises ``error``.
    """

    def __init__(
        self, *, lucky: int = 0, breaks_at: int | None = None, error: BaseException | None = None
    ) -> None:
        self.lucky, self.breaks_at, self.error = lucky, breaks_at, error
        self.batches: list[list[Prefix]] = []

    @property
    def identity(self) -> dict[str, Any]:
        return {"solver": self.lucky}

    @property
    def asked(self) -> list[Prefix]:
        return [prefix for batch in self.batches for prefix in batch]

    def __call__(self, prefixes: Sequence[Prefix], n: int, seed: int) -> list[Rollouts]:
        if len(self.batches) == self.breaks_at:
            assert self.error is not None
            raise self.error
        self.batches.append(list(prefixes))
        return [self._one(prefix, n) for prefix in prefixes]

    def _one(self, prefix: Prefix, n: int) -> Rollouts:
        said = prefix.prompt[0].content
        if "fails" in said and prefix.steps:
            return Rollouts((), (), error="it is too long")
        right = n if not any("wrong" in step for step in prefix.steps) else self.lucky
        texts = ["#### 7"] * right + ["#### 8"] * (n - right)
        if "hard" in said:
            texts = ["#### 8"] * n
        ended = tuple("cut" not in said or i % 2 == 0 for i in range(n))
        return Rollouts(tuple(texts), ended, prompt_tokens=10, response_tokens=3 * n)


def asked(text: str) -> Messages:
    return (Message("user", text),)


def problem(
    steps: int, error: int | None, prompt: str = "easy", *, answer: str | None = "7", **more: Any
) -> Solution:
    """A solution that goes wrong at a step; its last one states no answer unless told."""
    texts = [f"{prompt} step {i}{' wrong' if i == error else ''}" for i in range(steps)]
    return Solution(
        asked(prompt), tuple(texts), (None,) * steps, answer=answer, **{"id": prompt, **more}
    )
