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
from assay.types import Preference

Inconsistent = Literal["keep", "drop"]
"""What becomes of a pair whose orders disagree: its mean is a soft label near ½, or none."""


def preferences_of(
    pairs: Sequence[PairJudgment], inconsistent: Inconsistent = "keep"
) -> tuple[Preference, ...]:
    """A soft label for every pair that has one; the better response first."""
    found = []
    for judged in pairs:
        p = judged.probability
        if p is None or (inconsistent == "drop" and judged.outcome == "inconsistent"):
            continue
        i, j = judged.pair if p >= 0.5 else (judged.pair[1], judged.pair[0])
        found.append(Preference(i, j, max(p, 1 - p)))
    return tuple(found)


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
    comparison = judged.comparison
    row: dict[str, Any] = {
        "id": comparison.id,
        "subset": comparison.subset,
        "prompt": [m.to_dict() for m in comparison.prompt],
        "responses": response_rows(comparison),
        "tools": comparison.tools and [dict(tool) for tool in comparison.tools],
        "ratings": judged.ratings and [dict(rated) for rated in judged.ratings],
    }
    row = {key: value for key, value in row.items() if value is not None}
    row["preferences"] = [
        {"chosen": p.chosen, "rejected": p.rejected, "probability": p.probability}
        for p in preferences_of(judged.pairs, inconsistent)
    ]
    said = [_judgment(pair, name) for pair in judged.pairs if pair.outcome in ("verdict", "tie")]
    if said:
        row["judgments"] = said
    human = human_shares(comparison)
    if human:
        row["human"] = [{"pair": list(pair), "share": share} for pair, share in human.items()]
    row["judged"] = {**provenance, "pairs": [_detail(pair) for pair in judged.pairs]}
    if judged.aspects:
        row["judged"]["dimensions"] = {
            dimension: [_detail(pair) for pair in pairs]
            for dimension, pairs in judged.aspects.items()
        }
    return row


def _judgment(judged: PairJudgment, name: str) -> dict[str, Any]:
    i, j = judged.pair
    better = judged.choice
    ranking = [[i, j]] if better is None else [[better], [j if better == i else i]]
    row = {"annotator": name, "kind": "model", "ranking": ranking, "strength": judged.strength}
    rationale = next((a.detail for a in judged.answers if a.detail), None)
    return row if rationale is None else {**row, "rationale": rationale}


def _detail(judged: PairJudgment) -> dict[str, Any]:
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
