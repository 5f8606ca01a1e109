"""Two judges on the same comparisons. Pure functions of judged comparisons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.feedback.judges.judged import (
    JudgedComparison,
    column,
    of_judge,
    of_people,
    prompts,
    same_side,
    share_of,
    usable,
)
from assay.stats import cluster_mean
from assay.types import Figure


@dataclass(frozen=True)
class Compared:
    """Two judges on the same comparisons: who is right more often, and how far they agree.

    ``difference`` is the accuracy of A less that of B where people decided; ``same_side`` is how
    often both take the same side, an even one against a choice half; ``apart`` is the mean
    difference of their probabilities, |Δp|.
    """

    names: tuple[str, str]
    shared: int
    accuracy: tuple[Measured, Measured]
    difference: Measured
    same_side: Figure
    apart: Figure

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "judges": list(self.names),
            "shared": self.shared,
            "accuracy": [figure.to_dict() for figure in self.accuracy],
            "difference": self.difference.to_dict(),
            "same_side": self.same_side.to_dict(),
            "apart": self.apart.to_dict(),
        }

    def __str__(self) -> str:
        a, b = self.names
        if isinstance(self.difference, Undefined):
            told = f"which is more accurate is unknown: {self.difference.why}"
        elif self.difference.low > 0 or self.difference.high < 0:
            more = a if self.difference.low > 0 else b
            told = f"{more} is more accurate; {a} less {b}: {self.difference}"
        else:
            told = f"neither is shown to be more accurate; {a} less {b}: {self.difference}"
        return (
            f"{a} and {b} on {self.shared:,} comparisons that both judged: {told}\n"
            f"same side in {self.same_side}; probabilities apart by {self.apart}"
        )


def compare_judges(
    a: Sequence[JudgedComparison],
    b: Sequence[JudgedComparison],
    names: tuple[str, str] = ("A", "B"),
) -> Compared | Undefined:
    """Two judges on the comparisons for which both have a probability; paired intervals.

    Comparisons are the same if their ``item`` and the pair within it are. People's verdicts are
    those that come with ``a``, or with ``b`` where ``a`` has none.
    """
    there = {(r.item, r.judgment.pair): r for r in usable(b)}
    met = [(r, there[key]) for r in usable(a) if (key := (r.item, r.judgment.pair)) in there]
    if not met:
        return Undefined("the two judges have no usable judgment of the same comparison.")
    first, second = [r for r, _ in met], [r for _, r in met]
    prompt = np.array(prompts(first))
    p, q = (column(records, of_judge) for records in (first, second))
    human = np.where(
        np.isnan(column(first, of_people)), column(second, of_people), column(first, of_people)
    )
    decided = ~np.isnan(human) & (human != 0.5)
    none = Undefined("people decided none of these comparisons.")
    right = [same_side(x, human)[decided] for x in (p, q)]
    is_known = bool(decided.any())
    return Compared(
        names,
        len(met),
        (
            share_of(right[0], prompt[decided]) if is_known else none,
            share_of(right[1], prompt[decided]) if is_known else none,
        ),
        cluster_mean(right[0] - right[1], prompt[decided], bounds=(-1.0, 1.0))
        if is_known
        else none,
        share_of(same_side(p, q), prompt),
        share_of(np.abs(p - q), prompt),
    )
