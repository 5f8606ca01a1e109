"""Solutions that two labellings agree on: both name the same first wrong step, or none.

Rollouts measure whether a solver still gets there, and a strong one does so after a wrong step;
where another labelling disagrees, one of the two is wrong. Zhang et al. 2025 (2501.07301), §3.1,
keep about 40 % that way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from assay.errors import DataError
from assay.types import Solution


@dataclass(frozen=True, slots=True)
class Consensus:
    """The solutions kept, with the first labelling's labels, and what became of the others."""

    kept: tuple[Solution, ...]
    disagreed: int
    unjudged: int

    def __str__(self) -> str:
        total = len(self.kept) + self.disagreed + self.unjudged
        return (
            f"{len(self.kept):,} of {total:,} solutions kept; dropped: {self.disagreed:,} with "
            f"another first error, {self.unjudged:,} that a labelling does not judge"
        )


def consensus(first: Sequence[Solution], second: Sequence[Solution]) -> Consensus:
    """The solutions whose first error two labellings agree on.

    A labelling judges a solution if it calls a step bad, or labels every step.

    Raises:
        DataError: If the two are not labellings of the same solutions in the same order.
    """
    if len(first) != len(second):
        raise DataError(
            f"One labelling has {len(first):,} solutions and the other {len(second):,}; "
            "a consensus is of the same solutions in the same order."
        )
    kept = []
    disagreed = unjudged = 0
    for number, (one, other) in enumerate(zip(first, second, strict=True), start=1):
        if (one.prompt, one.steps) != (other.prompt, other.steps):
            raise DataError(
                f"Solution {number:,} differs between the two labellings; "
                "a consensus is of the same solutions in the same order."
            )
        if not (_judges(one) and _judges(other)):
            unjudged += 1
        elif one.first_error != other.first_error:
            disagreed += 1
        else:
            kept.append(one)
    return Consensus(tuple(kept), disagreed, unjudged)


def _judges(solution: Solution) -> bool:
    return solution.first_error is not None or None not in solution.labels
