"""What becomes of the rows of a file while they are read: formats seen, rows left out and why."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from assay.types import Dropped, LoadReport

EXAMPLES_KEPT = 3
"""How many places of each reason a report names."""


@dataclass
class Tally:
    """What becomes of rows as they stream past, for the report at the end."""

    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Dropped] = field(default_factory=list)

    def drop(self, where: str, reason: str, count: int = 1) -> None:
        """Count something left out; the first few places of each reason are kept."""
        if sum(e.reason == reason for e in self.examples) < EXAMPLES_KEPT:
            self.examples.append(Dropped(where, reason))
        self.dropped[reason] += count

    def report(
        self, *, comparisons: int, pairs: int, ties: int, contradictions: int, singles: int = 0
    ) -> LoadReport:
        """The counts as a record."""
        return LoadReport(
            rows=self.rows,
            comparisons=comparisons,
            pairs=pairs,
            ties=ties,
            contradictions=contradictions,
            singles=singles,
            dropped=dict(self.dropped),
            examples=tuple(self.examples),
            formats=dict(self.formats),
        )
