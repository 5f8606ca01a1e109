"""Judged comparisons made up, and judges that say what a script tells them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.pairs import PairJudgment, judged_pair
from assay.feedback.judges.records import Answer, Question, Said, failed

BOTH = ((0, 1), (1, 0))


def said(p: float, tie: float | None = None, **more: Any) -> Answer:
    """An answer A with p, B with the rest, and of three options C, a tie."""
    probabilities = (p, 1 - p) if tie is None else (p, 1 - p - tie, tie)
    return Answer("answered", probabilities, "log-probabilities", **{"cost": 0.0, **more})


def both(first: float, second: float, **more: Any) -> PairJudgment:
    """A judgment in both orders: P(the one shown first is better) of each."""
    return judged_pair((0, 1), BOTH, (said(first, **more), said(second, **more)))


def certain(p: float) -> PairJudgment:
    """A judgment of p without a bias of position."""
    return both(p, 1 - p)


def failure(what: Said, p: float = 0.7) -> PairJudgment:
    """A judgment of which the second order failed."""
    return judged_pair((0, 1), BOTH, (said(p), failed(what, "so it was told")))


def comparison(judgment: PairJudgment, item: str = "0", **more: Any) -> JudgedComparison:
    """One comparison, a prompt of its own."""
    return JudgedComparison(item, more.pop("prompt", item), judgment, **more)


def crowd(
    n: int = 400,
    seed: int = 0,
    bias: float = 0.0,
    skill: float = 1.0,
    length: float = 0.0,
    people_like_length: float = 0.0,
    **more: Any,
) -> list[JudgedComparison]:
    """Comparisons, two a prompt, whose judge has so much skill, and such biases.

    People choose with the log-odds of the true gap, twice each; the judge sees the gap times
    ``skill``, and adds ``bias`` for the one shown first and ``length`` times the log ratio.
    """
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        gap = rng.normal(0, 1.5)
        lengths = tuple(int(x) for x in rng.integers(100, 1000, 2))
        ratio = float(np.log(lengths[0] / lengths[1]))
        towards = gap + people_like_length * ratio
        votes = tuple(float(v) for v in rng.random(2) < 1 / (1 + np.exp(-towards)))
        own = skill * gap + length * ratio + rng.normal(0, 0.3)
        orders = [float(1 / (1 + np.exp(-(sign * own + bias)))) for sign in (1, -1)]
        found.append(
            JudgedComparison(
                f"c{i}", f"p{i // 2}", both(*orders), votes=votes, lengths=lengths, **more
            )
        )
    return found


class Scripted:
    """A judge whose answer to a question is what a function of it gives."""

    def __init__(self, answer: Callable[[Question], Answer], name: str = "scripted"):
        self.answer = answer
        self._name = name
        self.asked: list[Question] = []

    @property
    def name(self) -> str:
        return self._name

    @property
    def identity(self) -> Mapping[str, Any]:
        return {"judge": self._name}

    def read(self, questions: Iterable[Question]) -> Iterator[Answer]:
        for question in questions:
            self.asked.append(question)
            yield self.answer(question)
