"""What an audit means: one sentence for each thing that matters, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from assay.data.audit.figures import Undefined
from assay.types import Figure

if TYPE_CHECKING:
    from assay.data.audit.report import Parts

Level = Literal["problem", "warning", "note", "ok"]
LEVELS: tuple[Level, ...] = ("problem", "warning", "note", "ok")

TENTATIVE = 0.667
"""The least alpha for tentative conclusions, after Krippendorff 2004, p. 241."""
LONG_ALONE = 0.6
"""Accuracy of length alone from which a reward model may learn little else."""
NEAR_SHARE = 0.01
CYCLE_SHARE = 0.05
SAMENESS = 0.5
SHOWN_NAMES = 5


@dataclass(frozen=True)
class Finding:
    """One thing found: how much it matters, what it is, and what to do about it."""

    level: Level
    subject: str
    text: str
    advice: str = ""

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return asdict(self)

    def __str__(self) -> str:
        advice = f" {self.advice}" if self.advice else ""
        return f"{self.level:8} {self.subject}: {self.text}{advice}"


def findings(parts: Parts) -> tuple[Finding, ...]:
    """All findings, those that matter most first."""
    checks = (
        _rows,
        _contamination,
        _agreement,
        _annotators,
        _position,
        _contradictions,
        _length,
        _duplicates,
        _cycles,
        _ceiling,
        _diversity,
    )
    found = [finding for check in checks for finding in check(parts)]
    return tuple(sorted(found, key=lambda finding: LEVELS.index(finding.level)))


def _rows(parts: Parts) -> Iterator[Finding]:
    report = parts.evidence.report
    if report.pairs and report.ties == report.pairs:
        yield Finding(
            "problem",
            "ties",
            f"all {report.pairs:,} judgments are ties.",
            "There is nothing to learn a preference from: check how the file says who won.",
        )
    gone = sum(report.dropped.values())
    if gone:
        why = ", ".join(f"{n:,} {reason}" for reason, n in report.dropped.items() if n)
        yield Finding(
            "warning",
            "rows left out",
            f"{gone:,} of {report.rows:,} rows could not be read: {why}.",
            "audit.json names the first of each; loading for training stops at them.",
        )
    unusable = sum(parts.evidence.unusable.values())
    if unusable:
        why = ", ".join(f"{n:,} {reason}" for reason, n in parts.evidence.unusable.items())
        yield Finding(
            "note",
            "no pair to train on",
            f"{_count(unusable, 'comparison')} judged that give no preference pair: {why}.",
            "They count here as judgments; loading for training needs --on-bad-row skip.",
        )
    if parts.evidence.identical:
        yield Finding(
            "note",
            "same but for case and space",
            f"{_count(parts.evidence.identical, 'judgment')} of two responses that differ in case "
            "or white space at most.",
            "Drop them, unless form is what is judged.",
        )


def _agreement(parts: Parts) -> Iterator[Finding]:
    nominal = parts.agreement.alpha["nominal"]
    if isinstance(nominal, Undefined):
        advice = (
            "Have a part of the items, a tenth say, judged by a second annotator."
            if parts.agreement.items == 0
            else ""
        )
        yield Finding("note", "agreement is undefined", nominal.why, advice)
    elif nominal.low <= 0:
        yield Finding(
            "problem",
            "agreement",
            f"Krippendorff's alpha is {nominal}: annotators may agree no more than by chance.",
            "Make the question clearer or the choice easier before collecting more.",
        )
    elif nominal.value < TENTATIVE:
        yield Finding(
            "warning",
            "agreement",
            f"Krippendorff's alpha is {nominal}, under {TENTATIVE}, the least for tentative "
            "conclusions; most preference data are.",
            "Train on shares of votes, not on single votes, and read the items that split them.",
        )
    else:
        yield Finding("ok", "agreement", f"Krippendorff's alpha is {nominal}.")


def _ceiling(parts: Parts) -> Iterator[Finding]:
    ceiling = parts.noise.ceiling
    if isinstance(ceiling, Figure):
        flips = parts.noise.from_agreement
        yield Finding(
            "note",
            "ceiling",
            f"a model that is always right would reach an accuracy of at most {ceiling} against "
            f"single labels, of which {_short(flips)} are wrong by this estimate.",
            "Hold accuracies against that, not against 1.",
        )


def _annotators(parts: Parts) -> Iterator[Finding]:
    low = [a for a in parts.annotators if a.p_below is not None and a.p_below < 0.05]
    if low:
        names = _names([f"{a.name} ({_short(a.agreement)})" for a in low])
        yield Finding(
            "warning",
            "annotators",
            f"{_are(len(low), 'annotator')} in less agreement with the rest than the others are "
            f"among themselves (p < 0.05 after Holm): {names}.",
            "Read their judgments before anything else; items that are hard look the same.",
        )
    constant = [a for a in parts.annotators if any(note.startswith("always") for note in a.notes)]
    many = [a for a in constant if a.judgments >= 10]
    if many:
        names = _names([f"{a.name} ({a.judgments:,} judgments)" for a in many])
        yield Finding(
            "warning",
            "one answer",
            f"{_are(len(many), 'annotator')} always giving the same answer: {names}.",
            "Leave them out if they did not look.",
        )
    few = [a for a in parts.annotators if "few labels" in a.notes]
    if few and parts.agreement.items:
        yield Finding(
            "note",
            "few labels",
            f"{len(few):,} of {len(parts.annotators):,} annotators share too few items with others "
            "for a figure of their own to say much.",
        )


def _position(parts: Parts) -> Iterator[Finding]:
    first, swap = parts.position.preferred_first, parts.position.swap_effect
    if isinstance(first, Undefined):
        yield Finding(
            "note",
            "position bias is undefined",
            first.why,
            "" if "ties" in first.why else "Record the order: 'display_order' in a judgment.",
        )
        return
    place = "shown" if parts.position.is_recorded else "listed"
    text = f"the response {place} first is preferred in {first}"
    is_biased = not first.low <= 0.5 <= first.high
    if isinstance(swap, Figure):
        is_biased |= not swap.low <= 0 <= swap.high
        text += (
            f"; being first adds {swap.value:+.3f} [{swap.low:+.3f}, {swap.high:+.3f}] to a share, "
            f"by {_count(swap.n, 'item')} judged in both orders"
        )
    if is_biased:
        advice = "Draw the order by chance, and judge both orders where it matters."
        if not parts.position.is_recorded:
            advice = "If responses are listed in the order they were shown in: d" + advice[1:]
        yield Finding("warning", "position", f"{text}.", advice)
    else:
        yield Finding("ok", "position", f"{text}.")


def _length(parts: Parts) -> Iterator[Finding]:
    longer, alone = parts.length.preferred_longer, parts.length.length_only
    if isinstance(longer, Undefined):
        yield Finding("note", "length bias is undefined", longer.why)
        return
    text = f"the longer response is preferred in {longer}; length alone is right in {_short(alone)}"
    if isinstance(alone, Figure) and alone.value > LONG_ALONE:
        advice = (
            "Hold a reward model against the length-only baseline, and look at pairs of equal "
            "length."
        )
        yield Finding("warning", "length", f"{text}.", advice)
    elif longer.low > 0.5 or longer.high < 0.5:
        yield Finding("note", "length", f"{text}.", "A reward model must beat that.")
    else:
        yield Finding("ok", "length", f"{text}.")


def _contradictions(parts: Parts) -> Iterator[Finding]:
    found = parts.duplicates.contradictions
    if found:
        yield Finding(
            "warning",
            "contradictions",
            f"{_count(found, 'pair')} of responses labelled both ways by the same hand.",
            "Drop both labels, or make one tie of them (flagged.jsonl lists the rows).",
        )
    near = parts.duplicates.near_contradictions
    if near:
        yield Finding(
            "note",
            "near contradictions",
            f"{_count(near, 'pair')} labelled opposite to a near duplicate.",
            "Read some: small differences can be what is judged.",
        )


def _duplicates(parts: Parts) -> Iterator[Finding]:
    repeated = parts.duplicates.repeated
    if repeated:
        yield Finding(
            "warning" if repeated > NEAR_SHARE * len(parts.evidence.judgments) else "note",
            "repetitions",
            f"{_count(repeated, 'judgment')} of responses that the same hand judged so before.",
            "Loading for training drops exact ones; drop those of flagged.jsonl, or they weigh "
            "double.",
        )
    prompts = parts.duplicates.near_prompts
    if prompts and prompts.extra:
        many = prompts.extra > NEAR_SHARE * prompts.texts
        yield Finding(
            "warning" if many else "note",
            "near-duplicate prompts",
            f"{prompts.extra:,} of {prompts.texts:,} prompts are near another (similarity of at "
            f"least {parts.duplicates.threshold:g}), in {prompts.clusters:,} clusters; a split by "
            "prompt may put them on both sides.",
            "Hold out whole clusters, or keep one prompt of each.",
        )
    pairs = parts.duplicates.near_pairs
    if pairs:
        yield Finding(
            "note",
            "near-duplicate pairs",
            f"{_count(pairs, 'pair')} near another pair, prompt and responses.",
            "Keep one of each (flagged.jsonl lists the later ones).",
        )


def _cycles(parts: Parts) -> Iterator[Finding]:
    cycles = parts.duplicates.cycles
    if cycles.prompts and isinstance(cycles.share, Figure):
        yield Finding(
            "warning" if cycles.share.value > CYCLE_SHARE else "note",
            "cycles",
            f"{cycles.prompts:,} of {cycles.share.n:,} prompts with three or more compared pairs "
            "have preferences that go in a circle.",
            "No reward fits them: expect errors there, and take rankings from scores, not votes.",
        )


def _contamination(parts: Parts) -> Iterator[Finding]:
    if parts.contamination is None:
        return
    for overlap in parts.contamination.overlaps:
        found = overlap.contaminated
        hits = round(found.value * found.n)
        if hits:
            by = ", ".join(f"{n:,} by {rule}" for rule, n in overlap.found.items() if n)
            yield Finding(
                "problem",
                "contamination",
                f"{hits:,} of the {overlap.prompts:,} prompts of {overlap.name} are in the data: "
                f"{by}.",
                f"Drop the {overlap.to_drop:,} comparisons that flagged.jsonl lists before you "
                "evaluate on it.",
            )
        else:
            yield Finding(
                "ok",
                "contamination",
                f"none of the {overlap.prompts:,} prompts of {overlap.name} is in the data.",
            )


def _diversity(parts: Parts) -> Iterator[Finding]:
    for name, block in parts.diversity.items():
        vendi = block.vendi
        if isinstance(vendi, Figure) and vendi.value < SAMENESS:
            yield Finding(
                "note",
                f"diversity of {name}",
                f"{block.per_sample:,} {name} are as diverse as "
                f"{vendi.value * block.per_sample:.0f} that have nothing in common (Vendi score).",
                "Expect little of a model outside of what they are about.",
            )


def _short(outcome: Figure | Undefined) -> str:
    return f"{outcome.value:.3f}" if isinstance(outcome, Figure) else "an unknown share"


def _names(names: Sequence[str]) -> str:
    more = len(names) - SHOWN_NAMES
    return ", ".join(names[:SHOWN_NAMES]) + (f" and {more:,} more" if more > 0 else "")


def _count(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _are(count: int, noun: str) -> str:
    return f"{_count(count, noun)} {'is' if count == 1 else 'are'}"
