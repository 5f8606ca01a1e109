"""A judge on a suite, as RewardBench asks generative models: a pick among K, ratings, and pairs.

What a judge says becomes rewards, and the suite's own formulas count them. A failure is wrong and
is reported; beside it stands what the judge reaches where it answered. Knows nothing of how a
judge answers.

Letters: K responses of one item.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import chain, islice
from typing import Any, Literal

from assay.errors import ConfigError
from assay.evaluation.results import SuiteFigures, figures
from assay.evaluation.suite import (
    PAIRS_HALF,
    PAIRS_STRICT,
    Item,
    Measure,
    ScoredItem,
    Suite,
    SuiteSpec,
)
from assay.feedback.judges.pairs import judged_pair
from assay.feedback.judges.questions import RATINGS, Questioner
from assay.feedback.judges.records import Answer, Judge, Question, Said
from assay.stats import cluster_mean
from assay.types import Figure

Protocol = Literal["choice", "ratings", "pairs"]
Reading = Literal["expected", "modal"]
BOTH = ((0, 1), (1, 0))
GRAVEST: tuple[Said, ...] = ("http-error", "not-asked", "refused", "unparsable")
"""Of several failures in one item, the first of these is told."""


@dataclass(frozen=True)
class JudgedItem:
    """An item with the rewards that a judge's answers give it.

    Where the judge failed, ``said`` is how (the gravest of several ways), ``detail`` why, and the
    rewards are those of an item that is wrong whatever counts it: 0 for what is right, 1 for what
    is wrong.
    """

    item: ScoredItem
    said: Said
    detail: str | None = None

    def to_row(self) -> dict[str, Any]:
        """A line of ``scores.jsonl``, with what became of the questions."""
        row = {**self.item.to_row(), "said": self.said}
        return {**row, "detail": self.detail} if self.detail else row


@dataclass(frozen=True)
class JudgedSuite:
    """A suite as a judge did it.

    ``scored`` counts failures as wrong: it is the figure to report. ``answered`` is over the items
    that the judge answered, None where there are none; it is not comparable between judges that
    fail on different items. ``failures`` counts by subset and kind.
    """

    judge: str
    protocol: Protocol
    reading: Reading
    items: tuple[JudgedItem, ...]
    coverage: Figure
    failures: Mapping[str, Mapping[Said, int]]
    scored: SuiteFigures
    answered: SuiteFigures | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "judge": self.judge,
            "suite": self.scored.spec.name,
            "protocol": self.protocol,
            "reading": self.reading,
            "coverage": self.coverage.to_dict(),
            "failures": {name: dict(counts) for name, counts in self.failures.items()},
            "scored": self.scored.to_dict(),
            "answered_only": self.answered and self.answered.to_dict(),
        }

    def __str__(self) -> str:
        whole: Counter[str] = Counter()
        for counts in self.failures.values():
            whole.update(counts)
        told = ", ".join(f"{n:,} {name}" for name, n in whole.items()) or "none"
        lines = [
            f"{self.judge} by {self.protocol}: {self.scored}",
            f"answered {self.coverage}; failures, which count as wrong: {told}",
        ]
        if whole and self.answered is not None:
            parts = [f"{name} {part.accuracy}" for name, part in self.answered.subsets.items()]
            lines.append(f"where it answered alone: {'; '.join(parts)}")
        return "\n".join(lines)


def judge_suite(
    suite: Suite,
    judge: Judge,
    questioner: Questioner,
    protocol: Protocol,
    reading: Reading = "expected",
) -> JudgedSuite:
    """Ask a judge about every item of a suite, and count.

    ``choice`` (RewardBench 2's): which of the K responses, in an order drawn by the item's digest,
    is best; Ties, and other items with several right responses, are rated in place of that, as
    upstream does. ``ratings`` (RewardBench 2's): each response from 1 to 10 by itself; ties for
    the best share the credit, ``(right is among them) / #best``. ``pairs`` (RewardBench 1's): both
    responses in both orders, ``p = ½ (p_AB + 1 - p_BA)``, and a tie counts ½; upstream asks in one
    order drawn by chance. Upstream gives a pick that cannot be read 0.25; here it is wrong.

    Args:
        reading: A rating is the ``expected`` one over the judge's probabilities, or the ``modal``
            one, which is what a judge that writes it says; several modes give their mean.

    Raises:
        ConfigError: If the protocol cannot be used with an item.
    """
    ways = [_way(item, suite.spec, protocol) for item in suite.items]
    asked = [_questions(item, questioner, way) for item, way in zip(suite.items, ways, strict=True)]
    answers = judge.read(chain.from_iterable(asked))
    judged = tuple(
        _judged(item, tuple(islice(answers, len(questions))), way, reading, questioner.seed)
        for item, way, questions in zip(suite.items, ways, asked, strict=True)
    )
    spec = judged_spec(suite.spec)
    good = [j.item for j in judged if j.said == "answered"]
    failures: dict[str, Counter[Said]] = {}
    for one in judged:
        if one.said != "answered":
            failures.setdefault(one.item.subset, Counter())[one.said] += 1
    return JudgedSuite(
        judge=judge.name,
        protocol=protocol,
        reading=reading,
        items=judged,
        coverage=cluster_mean(
            [float(j.said == "answered") for j in judged],
            [j.item.cluster for j in judged],
            bounds=(0.0, 1.0),
        ),
        failures=failures,
        scored=figures(spec, [j.item for j in judged]),
        answered=figures(spec, good) if good else None,
    )


def judged_spec(spec: SuiteSpec) -> SuiteSpec:
    """The suite with ties of pairs counting ½: a judge may say that neither is better."""

    def half(measure: Measure) -> Measure:
        return PAIRS_HALF if measure is PAIRS_STRICT else measure

    subsets = {
        name: replace(subset, measure=half(subset.measure)) for name, subset in spec.subsets.items()
    }
    return replace(spec, measure=half(spec.measure), subsets=subsets)


def shown_order(item: Item, seed: int = 0) -> tuple[int, ...]:
    """The order in which an item's K responses are shown, drawn by its digest.

    It does not depend on where the right one is listed, nor on the other items.
    """
    texts = [[m.to_dict() for m in response] for response in item.responses]
    by_text = sorted(range(len(texts)), key=lambda k: json.dumps(texts[k], sort_keys=True))
    words = json.dumps([seed, item.id, item.subset, [texts[k] for k in by_text]], sort_keys=True)
    drawn = random.Random(hashlib.sha256(words.encode()).hexdigest())
    drawn.shuffle(by_text)
    return tuple(by_text)


def _way(item: Item, spec: SuiteSpec, protocol: Protocol) -> Protocol:
    """How an item is asked: what a pick cannot count is rated, as Ties is upstream.

    That is a subset measured as a whole, whose items must be on one scale, and several right ones.
    """
    if protocol != "choice":
        return protocol
    is_whole = spec.subset(item.subset).measure.of_item is None
    return "ratings" if is_whole or sum(item.correct) > 1 else "choice"


def _questions(item: Item, questioner: Questioner, way: Protocol) -> list[Question]:
    if way == "ratings":
        return [questioner.rating(item.prompt, response) for response in item.responses]
    if way == "choice":
        order = shown_order(item, questioner.seed)
        return [questioner.choice(item.prompt, [item.responses[k] for k in order])]
    if len(item.responses) != 2:
        raise ConfigError(
            f"Item {item.id!r} of {item.subset} has {len(item.responses)} responses; pairs want "
            "two, so judge it by choice or by ratings."
        )
    return [
        questioner.pair(item.prompt, [item.responses[k] for k in order], ties=True)
        for order in BOTH
    ]


def _judged(
    item: Item, answers: tuple[Answer, ...], way: Protocol, reading: Reading, seed: int
) -> JudgedItem:
    failed = [answer for answer in answers if answer.said != "answered"]
    if failed:
        worst = min(failed, key=lambda answer: GRAVEST.index(answer.said))
        wrong = tuple(0.0 if ok else 1.0 for ok in item.correct)
        return JudgedItem(_scored(item, wrong), worst.said, worst.detail)
    if way == "ratings":
        rewards = tuple(rating_of(answer, reading) for answer in answers)
    elif way == "choice":
        rewards = _picked(answers[0], shown_order(item, seed))
    else:
        rewards = _of_pair(answers)
    return JudgedItem(_scored(item, rewards), "answered")


def _picked(answer: Answer, order: tuple[int, ...]) -> tuple[float, ...]:
    """The probability of each response, in the order listed."""
    assert answer.probabilities is not None
    by_response = dict(zip(order, answer.probabilities, strict=True))
    return tuple(by_response[k] for k in range(len(order)))


def _of_pair(answers: tuple[Answer, ...]) -> tuple[float, ...]:
    p = judged_pair((0, 1), BOTH, answers).probability
    assert p is not None
    # rounded: the mean of 0.7 and 1 - 0.7 is ½, and a tie
    return round(p, 12), round(1 - p, 12)


def rating_of(answer: Answer, reading: Reading) -> float:
    """A rating from 1 to 10 of an answer with a probability for each of them."""
    assert answer.probabilities is not None
    values = [float(label) for label in RATINGS]
    if reading == "expected":
        return round(sum(v * p for v, p in zip(values, answer.probabilities, strict=True)), 9)
    best = max(answer.probabilities)
    modes = [v for v, p in zip(values, answer.probabilities, strict=True) if p == best]
    return sum(modes) / len(modes)


def _scored(item: Item, rewards: tuple[float, ...]) -> ScoredItem:
    lengths = tuple(sum(len(m.content) for m in response) for response in item.responses)
    return ScoredItem(item.id, item.subset, rewards, item.correct, item.cluster, lengths, item.tags)
