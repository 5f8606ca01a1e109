"""Is a judge any good: what became of its judgments, its biases, and how far people agree.

Pure: from judged comparisons to a report. Knows nothing of models, endpoints or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.errors import DataError
from assay.feedback.judges.judge_agreement import Agreement, agreement_with_people
from assay.feedback.judges.judge_biases import (
    Position,
    SelfPreference,
    Stability,
    position,
    self_preference,
    stability,
)
from assay.feedback.judges.judge_verbosity import Verbosity, verbosity
from assay.feedback.judges.judged import JudgedComparison, prompts, usable
from assay.feedback.judges.pairs import OUTCOMES, PairJudgment
from assay.stats import cluster_mean
from assay.types import Figure

SCHEMA = 1


@dataclass(frozen=True)
class Spent:
    """What the answers took. ``cost`` is over those that have one, ``unpriced`` counts the others.

    ``per_label`` is the cost of one usable judgment, None while an answer's is unknown. ``mass`` is
    the mean probability that the options had in all, where answers were read by log-probabilities.
    """

    answers: int
    cost: float
    unpriced: int
    per_label: float | None
    prompt_tokens: int
    response_tokens: int
    cached_share: float | None
    means: Mapping[str, int]
    mass: float | None

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


@dataclass(frozen=True)
class JudgeReport:
    """Everything that is known of a judge. Blocks that cannot be computed say why.

    ``outcomes`` counts judgments, ``coverage`` is the share with a probability, ``ties`` the share
    of those that are said to be ties. All intervals are over prompts.
    """

    judge: str
    comparisons: int
    prompts: int
    outcomes: Mapping[str, int]
    coverage: Figure
    ties: Measured
    position: Position | Undefined
    stability: Stability | Undefined
    agreement: Agreement | Undefined
    verbosity: Verbosity | Undefined
    self_preference: SelfPreference | Undefined
    spent: Spent
    points: tuple[tuple[float, float], ...] = ()
    """P(i is better) where i is shown first and where second, of a sample of the comparisons."""

    def to_dict(self) -> dict[str, Any]:
        """As ``judge.json``: every figure as value, low, high and n, or why there is none."""
        blocks = (
            "coverage", "ties", "position", "stability", "agreement", "verbosity",
            "self_preference", "spent",
        )  # fmt: skip
        return {
            "schema": SCHEMA,
            "judge": self.judge,
            "comparisons": self.comparisons,
            "prompts": self.prompts,
            "outcomes": dict(self.outcomes),
            **{name: getattr(self, name).to_dict() for name in blocks},
            "points": [list(point) for point in self.points],
        }

    def __str__(self) -> str:
        counts = ", ".join(f"{n:,} {name}" for name, n in self.outcomes.items() if n)
        lines = [
            f"{self.judge}: {self.comparisons:,} comparisons of {self.prompts:,} prompts",
            f"outcomes: {counts}; coverage {self.coverage}; ties {self.ties}",
            *_position_lines(self.position),
            *_stability_lines(self.stability),
            *_agreement_lines(self.agreement),
            *_verbosity_lines(self.verbosity),
            *_self_lines(self.self_preference),
            _spent_line(self.spent),
        ]
        return "\n".join(lines)


MOST_POINTS = 1000
"""Comparisons that are drawn as points; of more, every so many-th."""


def judge_report(
    records: Sequence[JudgedComparison],
    judge: str,
    own: Collection[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> JudgeReport:
    """Everything that judged comparisons say of a judge.

    Args:
        judge: Its name.
        own: Names of the models that the judge is, as ``models`` of the comparisons has them.
        resamples: Of the bootstraps.

    Raises:
        DataError: If there are no comparisons.
    """
    if not records:
        raise DataError("A judge report is made of judged comparisons, but there are none.")
    good = usable(records)
    counts = Counter(r.judgment.outcome for r in records)
    covered = [float(r.probability is not None) for r in records]
    tied = [float(r.judgment.outcome == "tie") for r in good]
    return JudgeReport(
        judge=judge,
        comparisons=len(records),
        prompts=len(set(prompts(records))),
        outcomes={name: counts[name] for name in OUTCOMES},
        coverage=cluster_mean(covered, prompts(records), bounds=(0.0, 1.0)),
        ties=cluster_mean(tied, prompts(good), bounds=(0.0, 1.0))
        if good
        else Undefined("no judgment has a probability."),
        position=position(records),
        stability=stability(records),
        agreement=agreement_with_people(records, resamples, seed),
        verbosity=verbosity(records),
        self_preference=self_preference(records, own)
        if own
        else Undefined("no model is said to be the judge's own."),
        spent=spent(records),
        points=_points(good),
    )


def spent(records: Sequence[JudgedComparison]) -> Spent:
    """What the answers took, those to questions asked again too."""
    judgments: list[PairJudgment] = [j for r in records for j in (r.judgment, *r.repeats)]
    # one answer about K responses is in the judgments of several pairs
    answers = list({id(answer): answer for j in judgments for answer in j.answers}.values())
    costs = [a.cost for a in answers if a.cost is not None]
    # what was never asked costs nothing
    unpriced = sum(a.cost is None and a.said != "not-asked" for a in answers)
    labels = sum(judgment.is_usable for judgment in judgments)
    masses = [a.mass for a in answers if a.mass is not None]
    return Spent(
        answers=len(answers),
        cost=float(sum(costs)),
        unpriced=unpriced,
        per_label=float(sum(costs)) / labels if labels and not unpriced else None,
        prompt_tokens=sum(a.prompt_tokens for a in answers),
        response_tokens=sum(a.response_tokens for a in answers),
        cached_share=sum(a.cached for a in answers) / len(answers) if answers else None,
        means=dict(Counter(a.means for a in answers if a.means is not None)),
        mass=sum(masses) / len(masses) if masses else None,
    )


def _points(good: Sequence[JudgedComparison]) -> tuple[tuple[float, float], ...]:
    found = []
    for record in good:
        by_order = record.by_order()
        if len(by_order) == 2:
            is_first = record.judgment.orders[0][0] == record.judgment.pair[0]
            found.append(by_order if is_first else by_order[::-1])
    every = max(1, -(-len(found) // MOST_POINTS))
    return tuple((a, b) for a, b in found[::every])


def _position_lines(block: Position | Undefined) -> list[str]:
    if isinstance(block, Undefined):
        return [f"position: {block}"]
    return [
        f"position: orders agree in {block.consistent}; bias to the first shown {block.bias}; "
        f"prefers the first shown in {block.prefers_first}"
    ]


def _stability_lines(block: Stability | Undefined) -> list[str]:
    if isinstance(block, Undefined):
        return [f"asked again: {block}"]
    return [f"asked again: same choice in {block.same_choice}; p moves by {block.moved}"]


def _agreement_lines(block: Agreement | Undefined) -> list[str]:
    if isinstance(block, Undefined):
        return [f"with people: {block}"]
    lines = [
        f"with people: accuracy {block.accuracy}; kappa {block.kappa}; alpha {block.alpha}",
        f"  first order alone {block.first_order}; second alone {block.second_order}",
        f"  {block.averaging}",
        f"  consistent verdicts only {block.consistent}, a share of {block.consistent_share}",
    ]
    found = block.calibration
    if not isinstance(found, Undefined):
        lines.append(f"  calibration error {found.ece}; after a temperature {found.tempered_ece}")
    people = block.among_people
    if isinstance(people, Undefined):
        return [*lines, f"  among people: {people}"]
    return [
        *lines,
        f"  with a person {people.judge}; a person with another {people.people}; "
        f"difference {people.difference}",
    ]


def _verbosity_lines(block: Verbosity | Undefined) -> list[str]:
    if isinstance(block, Undefined):
        return [f"length: {block}"]
    return [
        f"length: prefers the longer in {block.judge}; people in {block.people}; "
        f"more than people by {block.excess}",
        f"  accuracy with length balanced {block.balanced_accuracy}; length beside the judge "
        f"{block.length}",
    ]


def _self_lines(block: SelfPreference | Undefined) -> list[str]:
    if isinstance(block, Undefined):
        return [f"own responses: {block}"]
    return [
        f"own responses: win {block.judge}; by {block.against} {block.reference}; "
        f"more by {block.excess}"
    ]


def _spent_line(block: Spent) -> str:
    means = ", ".join(f"{n:,} by {name}" for name, n in block.means.items()) or "none"
    price = "unknown" if block.per_label is None else f"{block.per_label:.6f}"
    cached = "–" if block.cached_share is None else f"{block.cached_share:.0%}"
    return (
        f"spent: {block.answers:,} answers ({means}), {block.prompt_tokens:,} + "
        f"{block.response_tokens:,} tokens, {cached} cached; cost {block.cost:.4f}, a label {price}"
    )
