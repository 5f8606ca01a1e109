"""Two responses in both orders: one soft label, and what may not be called a verdict.

p = ½ (p_AB + 1 − p_BA): the mean over the two orders of P(the first response is better), as RLAIF
does (Lee et al. 2023). Pure: knows nothing of who answers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from assay.feedback.judges.records import Answer, Said

Order = tuple[int, int]
"""Indexes of two responses, the one shown first before the other."""
Outcome = Literal[
    "verdict", "tie", "inconsistent", "refused", "unparsable", "http-error", "not-asked"
]
"""What a judgment came to. A ``verdict`` names the better one; a ``tie`` was said to be one, in
every order; ``inconsistent`` orders do not say the same. The rest are failures of the judge."""
OUTCOMES: tuple[Outcome, ...] = (
    "verdict", "tie", "inconsistent", "refused", "unparsable", "http-error", "not-asked",
)  # fmt: skip
USABLE: tuple[Outcome, ...] = ("verdict", "tie", "inconsistent")
"""Outcomes that have a probability."""
_SEVERITY: tuple[Said, ...] = ("http-error", "not-asked", "refused", "unparsable")


@dataclass(frozen=True, slots=True)
class PairJudgment:
    """What a judge holds of two responses i and j, i < j.

    ``probability`` is P(i is better), None where there is no answer to every order. ``first`` is
    the mean of P(the response shown first is better) over the orders, of both orders only: ½
    without a bias of position. ``answers`` has one answer an order of ``orders``.
    """

    pair: tuple[int, int]
    outcome: Outcome
    probability: float | None
    first: float | None
    orders: tuple[Order, ...]
    answers: tuple[Answer, ...]

    @property
    def is_usable(self) -> bool:
        """Whether there is a probability to train on."""
        return self.probability is not None

    @property
    def choice(self) -> int | None:
        """The better response's index, of a verdict only."""
        if self.outcome != "verdict" or self.probability is None:
            return None
        return self.pair[0] if self.probability > 0.5 else self.pair[1]

    @property
    def strength(self) -> float | None:
        """|2p − 1|: 0 an even vote, 1 certain."""
        return None if self.probability is None else abs(2 * self.probability - 1)


def first_is_better(answer: Answer) -> float | None:
    """P(the response shown first is better) of an answer to A, B and perhaps C, the tie.

    A tie gives half of itself to each.
    """
    if answer.probabilities is None:
        return None
    p = answer.probabilities
    return p[0] + (0.5 * p[2] if len(p) > 2 else 0.0)


def judged_pair(
    pair: tuple[int, int], orders: tuple[Order, ...], answers: tuple[Answer, ...]
) -> PairJudgment:
    """What the answers to one or both orders of a pair come to.

    Orders agree if the same response is ahead in both, or neither is in either. A failure in any
    order is a failure: half a judgment has the bias that both orders are asked to remove. Of two
    failures the graver is told.
    """
    reasons = [a.said for a in answers if a.said != "answered"]
    if reasons:
        worst = min(reasons, key=_SEVERITY.index)
        return PairJudgment(pair, worst, None, None, orders, answers)
    shown_first = [_known(first_is_better(a)) for a in answers]
    better = [p if o[0] == pair[0] else 1 - p for p, o in zip(shown_first, orders, strict=True)]
    leaning = {_sign(p) for p in better}
    outcome: Outcome = "inconsistent" if len(leaning) > 1 else "tie" if 0 in leaning else "verdict"
    first = sum(shown_first) / len(shown_first) if len(orders) == 2 else None
    return PairJudgment(pair, outcome, sum(better) / len(better), first, orders, answers)


def _sign(probability: float) -> int:
    return (probability > 0.5) - (probability < 0.5)


def _known(probability: float | None) -> float:
    assert probability is not None
    return probability
