"""What a judge said as rows: soft labels that training reads as they are, and how they came about.

A row has ``preferences`` with the soft labels, ``judgments`` of those pairs that had a verdict or a
tie (kind ``model``), and ``judged``, with every pair's outcome, both orders, and by which means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from assay.feedback.judges.candidates import human_shares
from assay.feedback.judges.pairs import PairJudgment
from assay.feedback.judges.tasks import Judged
from assay.formats.comparisons import response_rows
from assay.types import Comparison, Preference

Inconsistent = Literal["keep", "drop"]
"""What becomes of a pair whose orders disagree: its mean is a soft label near ½, or none."""


def preferences_of(
    pairs: Sequence[PairJudgment], inconsistent: Inconsistent = "keep"
) -> tuple[Preference, ...]:
    """A soft label for every pair that has one; the better response first."""
    return tuple(
        soft_label(judged.pair, judged.probability)
        for judged in pairs
        if judged.probability is not None
        and not (inconsistent == "drop" and judged.outcome == "inconsistent")
    )


def soft_label(pair: tuple[int, int], probability: float) -> Preference:
    """P(the first of two is better) as a label; the better response first."""
    i, j = pair if probability >= 0.5 else (pair[1], pair[0])
    return Preference(i, j, max(probability, 1 - probability))


def label_rows(preferences: Sequence[Preference]) -> list[dict[str, Any]]:
    """Soft labels as a row has them."""
    return [
        {"chosen": p.chosen, "rejected": p.rejected, "probability": p.probability}
        for p in preferences
    ]


def judged_row(
    judged: Judged,
    name: str,
    provenance: Mapping[str, Any],
    inconsistent: Inconsistent = "keep",
) -> dict[str, Any]:
    """The row of a comparison that was judged.

    Args:
        name: The judge's, as the annotator of its judgments.
        provenance: Judge, pack, task and seed, in ``judged``.
    """
    row = compared_row(judged.comparison)
    if judged.ratings is not None:
        row["ratings"] = [dict(rated) for rated in judged.ratings]
    row["preferences"] = label_rows(preferences_of(judged.pairs, inconsistent))
    if said := judgment_rows(judged.pairs, name):
        row["judgments"] = said
    row |= human_rows(judged.comparison)
    row["judged"] = {**provenance, "pairs": [detail_row(pair) for pair in judged.pairs]}
    if judged.aspects:
        row["judged"]["dimensions"] = {
            dimension: [detail_row(pair) for pair in pairs]
            for dimension, pairs in judged.aspects.items()
        }
    return row


def compared_row(comparison: Comparison) -> dict[str, Any]:
    """What was judged."""
    row: dict[str, Any] = {
        "id": comparison.id,
        "subset": comparison.subset,
        "prompt": [m.to_dict() for m in comparison.prompt],
        "responses": response_rows(comparison),
        "tools": comparison.tools and [dict(tool) for tool in comparison.tools],
    }
    return {key: value for key, value in row.items() if value is not None}


def human_rows(comparison: Comparison) -> dict[str, Any]:
    """``human``, what people said of the pairs; nothing where they were not asked."""
    human = human_shares(comparison)
    if not human:
        return {}
    return {"human": [{"pair": list(pair), "share": share} for pair, share in human.items()]}


def judgment_rows(pairs: Sequence[PairJudgment], name: str) -> list[dict[str, Any]]:
    """Verdicts and ties as judgments by an annotator of that name."""
    return [_judgment(pair, name) for pair in pairs if pair.outcome in ("verdict", "tie")]


def _judgment(judged: PairJudgment, name: str) -> dict[str, Any]:
    i, j = judged.pair
    better = judged.choice
    ranking = [[i, j]] if better is None else [[better], [j if better == i else i]]
    row = {"annotator": name, "kind": "model", "ranking": ranking, "strength": judged.strength}
    rationale = next((a.detail for a in judged.answers if a.detail), None)
    return row if rationale is None else {**row, "rationale": rationale}


def detail_row(judged: PairJudgment) -> dict[str, Any]:
    """Everything of a pair: what each order said, and why one failed."""
    answers = []
    for place, answer in enumerate(judged.answers):
        told: dict[str, Any] = {
            "order": list(judged.orders[place]) if place < len(judged.orders) else None,
            "said": answer.said,
            "probabilities": answer.probabilities and list(answer.probabilities),
            "means": answer.means,
            "mass": answer.mass,
            "detail": answer.detail,
        }
        answers.append({k: v for k, v in told.items() if v is not None})
    return {
        "pair": list(judged.pair),
        "outcome": judged.outcome,
        "probability": judged.probability,
        "first": judged.first,
        "answers": answers,
    }
