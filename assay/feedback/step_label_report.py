"""What labelling steps by rollouts did and what it took: nothing vanishes silently."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.feedback.rollouts import Spent
from assay.formats.step_labels import LABEL_NAMES


@dataclass(frozen=True, slots=True)
class StepLabelReport:
    """What was labelled, what was not and why, and what it took.

    ``steps`` counts steps by their label (None: not judged). ``unfinished`` rollouts ran out of
    tokens and ``undecided`` ones could not be compared; neither is taken for right or wrong.
    """

    solutions: int
    labelled: int
    dropped: Mapping[str, int]
    steps: Mapping[int | None, int]
    probes: int
    right: int
    wrong: int
    unfinished: int
    undecided: int
    spent: Spent
    cost: float | None = None
    note: str | None = None

    def __str__(self) -> str:
        gone = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n)
        steps = ", ".join(f"{self.steps.get(k, 0):,} {name}" for k, name in LABEL_NAMES.items())
        s = self.spent
        text = (
            f"{self.labelled:,} of {self.solutions:,} solutions labelled (not: {gone or 'none'}); "
            f"steps: {steps}; {self.probes:,} prefixes probed; "
            f"rollouts: {s.rollouts:,} written, {s.found:,} from the journal, "
            f"{self.right:,} right, {self.wrong:,} wrong, "
            f"{self.unfinished:,} unfinished, {self.undecided:,} undecided; "
            f"tokens: {s.prompt_tokens:,} of prompts, {s.response_tokens:,} of responses"
        )
        if self.cost is not None:
            text += f"; cost: {self.cost:,.4f}"
        if s.failed:
            text += f"; {s.failed:,} prefixes failed, first: {s.first_failure}"
        return f"{text}; {self.note}" if self.note else text
