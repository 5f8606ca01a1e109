"""What is asked of a comparison, and what the answers come to: pairs, choices, ratings, checks.

Every task gives a ``PairJudgment`` for every two responses, so that all that follows (training,
reports, panels) knows one record. Pure: knows nothing of who answers.

Letters: K responses of a comparison · O options of a question.
"""

from __future__ import annotations

import hashlib
import random
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal, Protocol, runtime_checkable

import numpy as np

from assay.errors import ConfigError
from assay.feedback.judges.pairs import PairJudgment, judged_pair
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, Judge, Question
from assay.formats.prompts import prompt_text
from assay.types import Comparison, Messages

Orders = Literal["both", "random", "fixed"]
"""both: every question in both orders. random: one order, drawn by the texts. fixed: as listed."""


@dataclass(frozen=True, slots=True)
class Judged:
    """All that a judge holds of one comparison.

    ``ratings`` has a mapping for each response, what was asked to the number said; a response
    whose answer failed lacks it. ``aspects`` has the pairs' judgments by dimension, where several
    were asked.
    """

    comparison: Comparison
    pairs: tuple[PairJudgment, ...]
    answers: tuple[Answer, ...]
    ratings: tuple[Mapping[str, float], ...] | None = None
    aspects: Mapping[str, tuple[PairJudgment, ...]] | None = None


@runtime_checkable
class Task(Protocol):
    """What is asked of a comparison."""

    def questions(self, comparison: Comparison) -> list[Question]:
        """The questions, in the order that ``judged`` takes their answers in."""
        ...

    def judged(self, comparison: Comparison, answers: Sequence[Answer]) -> Judged:
        """What the answers come to."""
        ...


@dataclass(frozen=True)
class PairTask:
    """Every two responses by themselves.

    Args:
        ties: Let the judge say that both are equally good.
        dimensions: Ask once for each of these instead of in all; P(better) is their mean.
        repeats: Times every question is asked, to see whether the judge repeats itself.
        references: Known right responses by the comparison's id.
    """

    questioner: Questioner
    orders: Orders = "both"
    ties: bool = False
    dimensions: tuple[str, ...] = ()
    repeats: int = 1
    references: Mapping[str, str] | None = None

    def questions(self, comparison: Comparison) -> list[Question]:
        """Dimension by dimension, pair by pair, order by order, repeat by repeat."""
        reference = _reference(self.references, comparison)
        return [
            self.questioner.pair(
                comparison.prompt,
                [comparison.responses[i] for i in order],
                ties=self.ties,
                dimension=dimension,
                reference=reference,
                stream=stream,
            )
            for dimension in self.dimensions or (None,)
            for pair in combinations(range(len(comparison.responses)), 2)
            for order in self._orders(comparison, pair)
            for stream in range(self.repeats)
        ]

    def judged(self, comparison: Comparison, answers: Sequence[Answer]) -> Judged:
        """The first repeat decides; later ones are kept in ``answers``."""
        taken = iter(answers)
        by_dimension: list[tuple[PairJudgment, ...]] = []
        for _ in self.dimensions or (None,):
            found = []
            for pair in combinations(range(len(comparison.responses)), 2):
                orders = self._orders(comparison, pair)
                said = [[next(taken) for _ in range(self.repeats)] for _ in orders]
                found.append(judged_pair(pair, orders, tuple(repeats[0] for repeats in said)))
            by_dimension.append(tuple(found))
        pairs = by_dimension[0]
        aspects = None
        if len(self.dimensions) > 0:
            aspects = dict(zip(self.dimensions, by_dimension, strict=True))
            pairs = tuple(_mean_of(list(same)) for same in zip(*by_dimension, strict=True))
        return Judged(comparison, pairs, tuple(answers), aspects=aspects)

    def _orders(self, comparison: Comparison, pair: tuple[int, int]) -> tuple[tuple[int, int], ...]:
        ahead, behind = pair, (pair[1], pair[0])
        if self.orders == "both":
            return (ahead, behind)
        if self.orders == "fixed" or _draw(self.questioner.seed, comparison, pair).random() < 0.5:
            return (ahead,)
        return (behind,)


@dataclass(frozen=True)
class ChoiceTask:
    """All K responses at once: which is best? P(i is better than j) is p_i / (p_i + p_j).

    In both orders the second is the first turned round, so that each response stands as often
    near the beginning as near the end.
    """

    questioner: Questioner
    orders: Orders = "both"
    references: Mapping[str, str] | None = None

    def questions(self, comparison: Comparison) -> list[Question]:
        """A question an order."""
        return [
            self.questioner.choice(
                comparison.prompt,
                [comparison.responses[i] for i in order],
                reference=_reference(self.references, comparison),
            )
            for order in self._orders(comparison)
        ]

    def judged(self, comparison: Comparison, answers: Sequence[Answer]) -> Judged:
        """Pairs by the odds of their responses."""
        orders = self._orders(comparison)
        pairs = []
        for pair in combinations(range(len(comparison.responses)), 2):
            shown = tuple(
                pair if order.index(pair[0]) < order.index(pair[1]) else (pair[1], pair[0])
                for order in orders
            )
            two = tuple(
                _between(answer, order.index(first), order.index(second))
                for answer, order, (first, second) in zip(answers, orders, shown, strict=True)
            )
            pairs.append(judged_pair(pair, shown, two))
        return Judged(comparison, tuple(pairs), tuple(answers))

    def _orders(self, comparison: Comparison) -> tuple[tuple[int, ...], ...]:
        order = list(range(len(comparison.responses)))
        if self.orders != "fixed":
            _draw(self.questioner.seed, comparison, ()).shuffle(order)
        turned = tuple(reversed(order))
        return (tuple(order), turned) if self.orders == "both" else (tuple(order),)


@dataclass(frozen=True)
class RatingTask:
    """Every response by itself, from 1 to 10; no order, so no bias of position.

    P(i is better than j) is that of two independent draws from the judge's distributions, equal
    ratings half. The rating is the mean, Σ r P(r), as in d-RLAIF (Lee et al. 2023).
    """

    questioner: Questioner
    dimensions: tuple[str, ...] = ()
    references: Mapping[str, str] | None = None

    def questions(self, comparison: Comparison) -> list[Question]:
        """Dimension by dimension, response by response."""
        return [
            self.questioner.rating(
                comparison.prompt,
                response,
                dimension=dimension,
                reference=_reference(self.references, comparison),
            )
            for dimension in self.dimensions or (None,)
            for response in comparison.responses
        ]

    def judged(self, comparison: Comparison, answers: Sequence[Answer]) -> Judged:
        """Pairs by their distributions, and the mean ratings."""
        count = len(comparison.responses)
        names = self.dimensions or ("rating",)
        by_dimension = [answers[i * count : (i + 1) * count] for i in range(len(names))]
        ratings = tuple(
            {
                name: rating_of(p)
                for name, said in zip(names, by_dimension, strict=True)
                if (p := said[i].probabilities) is not None
            }
            for i in range(count)
        )
        judged = [
            tuple(_rated(pair, said) for pair in combinations(range(count), 2))
            for said in by_dimension
        ]
        aspects = dict(zip(names, judged, strict=True)) if self.dimensions else None
        pairs = tuple(_mean_of(list(same)) for same in zip(*judged, strict=True))
        return Judged(comparison, pairs, tuple(answers), ratings, aspects)


@dataclass(frozen=True)
class ChecklistTask:
    """Yes or no to every item of a list, for every response; the rating is the weighted share.

    Σ w P(yes) / Σ w. The higher share is the better response, and no probability is claimed: a
    verdict is a hard one, equal shares are a tie. A checklist says whether what it names is there,
    and nothing of the rest.
    """

    questioner: Questioner
    items: tuple[str, ...]
    weights: tuple[float, ...] | None = None
    references: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        if not self.items or (self.weights is not None and len(self.weights) != len(self.items)):
            raise ConfigError(
                f"A checklist of {len(self.items)} items came with "
                f"{len(self.weights or ())} weights; wanted at least one item, and a weight for "
                "each or none."
            )

    def questions(self, comparison: Comparison) -> list[Question]:
        """Response by response, item by item."""
        return [
            self.questioner.check(
                comparison.prompt,
                response,
                item,
                reference=_reference(self.references, comparison),
            )
            for response in comparison.responses
            for item in self.items
        ]

    def judged(self, comparison: Comparison, answers: Sequence[Answer]) -> Judged:
        """Shares of the list, and who has the larger."""
        count, size = len(comparison.responses), len(self.items)
        weights = np.asarray(self.weights or (1.0,) * size)
        own = [answers[i * size : (i + 1) * size] for i in range(count)]
        ratings: list[dict[str, float]] = []
        for said in own:
            known = {
                item: float(a.probabilities[0])
                for item, a in zip(self.items, said, strict=True)
                if a.probabilities is not None
            }
            if len(known) == size:
                total = float(weights @ np.array(list(known.values())) / weights.sum())
                known = {"checklist": total, **known}
            ratings.append(known)
        pairs = tuple(
            _by_share(pair, ratings, [*own[pair[0]], *own[pair[1]]])
            for pair in combinations(range(count), 2)
        )
        return Judged(comparison, pairs, tuple(answers), tuple(ratings))


def judged_stream(comparisons: Iterator[Comparison], task: Task, judge: Judge) -> Iterator[Judged]:
    """Every comparison with what the judge holds of it, in order; memory does not grow."""
    waiting: deque[tuple[Comparison, int]] = deque()

    def questions() -> Iterator[Question]:
        for comparison in comparisons:
            asked = task.questions(comparison)
            waiting.append((comparison, len(asked)))
            yield from asked

    said: list[Answer] = []
    for answer in judge.read(questions()):
        said.append(answer)
        while waiting and len(said) >= waiting[0][1]:
            comparison, count = waiting.popleft()
            yield task.judged(comparison, said[:count])
            del said[:count]
    assert not waiting
    assert not said


def rating_of(probabilities: Sequence[float]) -> float:
    """The mean rating of a distribution over 1 … O."""
    return float(np.dot(probabilities, np.arange(1, len(probabilities) + 1)))


def _rated(pair: tuple[int, int], said: Sequence[Answer]) -> PairJudgment:
    """Two ratings as a judgment: a single order, since none was shown."""
    one, two = said[pair[0]], said[pair[1]]
    if one.probabilities is None or two.probabilities is None:
        answers = tuple(a for a in (one, two) if a.probabilities is None)
        return judged_pair(pair, (pair,) * len(answers), answers)
    p, q = np.asarray(one.probabilities), np.asarray(two.probabilities)
    joint = np.outer(p, q)
    better = float(np.tril(joint, -1).sum() + 0.5 * np.trace(joint))
    return _judged_at(pair, better, (one, two))


def _by_share(
    pair: tuple[int, int], ratings: Sequence[Mapping[str, float]], answers: Sequence[Answer]
) -> PairJudgment:
    lost = tuple(a for a in answers if a.probabilities is None)
    if lost:
        return judged_pair(pair, (pair,) * len(lost), lost)
    gap = ratings[pair[0]]["checklist"] - ratings[pair[1]]["checklist"]
    return _judged_at(pair, 0.5 + 0.5 * ((gap > 0) - (gap < 0)), tuple(answers))


def _judged_at(
    pair: tuple[int, int], probability: float, answers: tuple[Answer, ...]
) -> PairJudgment:
    outcome: Literal["tie", "verdict"] = "tie" if probability == 0.5 else "verdict"
    return PairJudgment(pair, outcome, probability, None, (), answers)


def _between(answer: Answer, first: int, second: int) -> Answer:
    """An answer among K as one between two of them, by their odds; equal where both have none."""
    if answer.probabilities is None:
        return answer
    a, b = answer.probabilities[first], answer.probabilities[second]
    share = a / (a + b) if a + b > 0 else 0.5
    return Answer(
        "answered", (share, 1 - share), answer.means, answer.detail, answer.mass, answer.samples
    )


def _mean_of(judged: Sequence[PairJudgment]) -> PairJudgment:
    """One judgment of a pair from those by dimension: the mean probability.

    A failure of one is a failure of all. The orders agree if those of every mean do.
    """
    if len(judged) == 1:
        return judged[0]
    lost = [j for j in judged if j.probability is None]
    answers = tuple(a for j in judged for a in j.answers)
    if lost:
        return PairJudgment(judged[0].pair, lost[0].outcome, None, None, (), answers)
    better = float(np.mean([j.probability for j in judged]))
    firsts = [j.first for j in judged if j.first is not None]
    first = float(np.mean(firsts)) if len(firsts) == len(judged) else None
    if first is not None and not _orders_agree(better, first):
        return PairJudgment(judged[0].pair, "inconsistent", better, first, (), answers)
    outcome: Literal["tie", "verdict"] = "tie" if better == 0.5 else "verdict"
    return PairJudgment(judged[0].pair, outcome, better, first, (), answers)


def _orders_agree(better: float, first: float) -> bool:
    """Whether both orders lean alike: p_AB = better + bias, 1 − p_BA = better − bias."""
    bias = first - 0.5
    one, two = better + bias, better - bias
    return (one > 0.5) - (one < 0.5) == (two > 0.5) - (two < 0.5)


def _reference(references: Mapping[str, str] | None, comparison: Comparison) -> str | None:
    return (references or {}).get(comparison.id or "")


def _draw(seed: int, comparison: Comparison, place: tuple[int, ...]) -> random.Random:
    """Random numbers that depend on what the comparison says, not on where it stands."""
    texts = sorted(_joined(r) for r in comparison.responses)
    text = "\0".join([str(seed), prompt_text(comparison.prompt), *texts, str(place)])
    return random.Random(hashlib.sha256(text.encode()).hexdigest())


def _joined(messages: Messages) -> str:
    return "\n".join(m.content for m in messages)
