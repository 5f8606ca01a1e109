"""What a panel is worth: each member and the panel against people, and how far they differ.

Pure: from judged comparisons to a report. Knows nothing of models, endpoints or files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any, get_args

from assay.data.audit.figures import Outcome as Measured
from assay.data.audit.figures import Undefined
from assay.errors import DataError
from assay.feedback.judges.judge_agreement import Agreement, agreement_with_people
from assay.feedback.judges.judge_biases import Position
from assay.feedback.judges.judge_compare import Compared, compare_judges
from assay.feedback.judges.judge_report import JudgeReport, judge_report
from assay.feedback.judges.judged import JudgedComparison, prompts, share_of
from assay.feedback.judges.panel import (
    Panel,
    PanelJudgment,
    PanelOutcome,
    PanelWeights,
    as_judgment,
)
from assay.types import Figure

SCHEMA = 1
PANEL = "panel"
"""What the panel is called beside its members."""


@dataclass(frozen=True)
class PanelReport:
    """A panel and its members on the same comparisons.

    ``coverage`` is the share of comparisons with a probability; of those ``divided`` is the share
    in which members are for different responses, and ``disagreement`` the mean deviation of their
    probabilities. ``against`` has the panel with each member and ``between`` every two members, on
    what both judged. ``learnt_from`` counts comparisons of prompts that the weights were learnt
    from: the panel's figures against people are without them.
    """

    panel: Panel
    comparisons: int
    outcomes: Mapping[str, int]
    coverage: Figure
    divided: Measured
    disagreement: Measured
    agreement: Agreement | Undefined
    members: Mapping[str, JudgeReport]
    against: Mapping[str, Compared | Undefined]
    between: tuple[tuple[str, str, Compared | Undefined], ...]
    weights: PanelWeights | None = None
    learnt_from: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As JSON: every figure as value, low, high and n, or why there is none."""
        blocks = ("coverage", "divided", "disagreement", "agreement")
        return {
            "schema": SCHEMA,
            "quorum": self.panel.quorum,
            "pooling": self.panel.pooling,
            "sharpness": self.panel.sharpness,
            "weights": {member.name: member.weight for member in self.panel.members},
            "calibration": None if self.weights is None else self.weights.to_dict(),
            "learnt_from": self.learnt_from,
            "comparisons": self.comparisons,
            "outcomes": dict(self.outcomes),
            **{name: getattr(self, name).to_dict() for name in blocks},
            "members": {name: report.to_dict() for name, report in self.members.items()},
            "against": {name: found.to_dict() for name, found in self.against.items()},
            "between": [
                {"judges": [a, b], **found.to_dict()} for a, b, found in self.between
            ],
        }  # fmt: skip

    def __str__(self) -> str:
        counts = ", ".join(f"{n:,} {name}" for name, n in self.outcomes.items() if n)
        lines = [
            f"panel of {len(self.members)}, quorum {self.panel.quorum}: {self.comparisons:,} "
            f"comparisons: {counts}",
            f"coverage {self.coverage}; members on both sides in {self.divided}; "
            f"disagreement {self.disagreement}",
        ]
        if self.weights is not None:
            w = self.weights
            lines.append(
                f"weights learnt from {w.n:,} comparisons ({w.left_out:,} left out), sharpness "
                f"{w.sharpness:.2f}: held-out loss {w.heldout_nll:.3f}, of equal weights "
                f"{w.equal_nll:.3f}, of the best member {w.best_member_nll:.3f}"
            )
        if self.learnt_from:
            lines.append(
                f"{self.learnt_from:,} comparisons are of prompts that the weights were learnt "
                "from; the panel's figures with people are without them"
            )
        weights = {member.name: member.weight for member in self.panel.members}
        for name, report in self.members.items():
            lines.append(f"{name}: weight {weights[name]:.3f}; {told_of(report)}")
        lines.append(f"{PANEL}: coverage {self.coverage}; {_with_people(self.agreement)}")
        lines += [str(found) for found in self.against.values() if isinstance(found, Compared)]
        lines += [
            f"{a} and {b} take the same side in {found.same_side}"
            for a, b, found in self.between
            if isinstance(found, Compared)
        ]
        return "\n".join(lines)


def panel_report(
    judged: Mapping[str, Sequence[JudgedComparison]],
    judgments: Sequence[PanelJudgment],
    panel: Panel,
    *,
    weights: PanelWeights | None = None,
    known: Collection[str] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> PanelReport:
    """Everything that is known of a panel.

    Args:
        judged: What every member made of the comparisons, in one order.
        judgments: What the panel made of them, in the same order.
        known: Keys of prompts that the weights were learnt from.
        resamples: Of the bootstraps.

    Raises:
        DataError: If there are no comparisons, or the columns do not fit.
    """
    sizes = {len(records) for records in judged.values()} | {len(judgments)}
    if len(sizes) != 1 or not judgments:
        raise DataError(
            f"A panel's report wants its judgment and every member's of the same comparisons, got "
            f"{len(judgments):,} of the panel and "
            f"{', '.join(f'{len(r):,}' for r in judged.values()) or 'none'} of its members."
        )
    first = next(iter(judged.values()))
    whole = [as_judged(record, found) for record, found in zip(first, judgments, strict=True)]
    unseen = [record for record in whole if record.prompt not in known]
    counts = Counter(found.outcome for found in judgments)
    covered = [float(found.probability is not None) for found in judgments]
    heard = [
        (record.prompt, found)
        for record, found in zip(whole, judgments, strict=True)
        if found.disagreement is not None
    ]
    none = Undefined("no comparison had a quorum.")
    prompt = [name for name, _ in heard]
    return PanelReport(
        panel=panel,
        comparisons=len(judgments),
        outcomes={name: counts[name] for name in get_args(PanelOutcome)},
        coverage=share_of(covered, prompts(whole)),
        divided=share_of([float(found.is_divided) for _, found in heard], prompt)
        if heard
        else none,
        disagreement=share_of([found.disagreement for _, found in heard], prompt)
        if heard
        else none,
        agreement=agreement_with_people(unseen, resamples, seed),
        members={
            name: judge_report(records, name, own=(name,), resamples=resamples, seed=seed)
            for name, records in judged.items()
        },
        against={
            name: compare_judges(unseen, records, (PANEL, name)) for name, records in judged.items()
        },
        between=tuple(
            (a, b, compare_judges(judged[a], judged[b], (a, b))) for a, b in combinations(judged, 2)
        ),
        weights=weights,
        learnt_from=len(whole) - len(unseen),
    )


def as_judged(record: JudgedComparison, found: PanelJudgment) -> JudgedComparison:
    """A panel's judgment as one of a judge, of the comparison that a member's record is of."""
    judgment = as_judgment(found.pair, found.outcome, found.probability)
    return replace(record, judgment=judgment, repeats=())


def told_of(report: JudgeReport) -> str:
    """The figures of a judge that stand beside others' in one line."""
    return (
        f"coverage {report.coverage}; {_with_people(report.agreement)}; {_first(report.position)}"
    )


def _with_people(block: Agreement | Undefined) -> str:
    if isinstance(block, Undefined):
        return f"with people: {block}"
    return f"accuracy {block.accuracy}, kappa {block.kappa}"


def _first(block: Position | Undefined) -> str:
    if isinstance(block, Undefined):
        return f"position: {block}"
    return f"prefers the first shown in {block.prefers_first}"
