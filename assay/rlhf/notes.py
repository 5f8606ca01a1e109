"""What a monitor cannot watch in a run, in words; each is said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from assay.rlhf.alarms import Notice

SILENT_STEPS = 50
"""Steps without an audit, where the baseline had one, after which it is said."""


def notes_of_baseline(untested: Sequence[str], steps: int, wanted: int) -> list[Notice]:
    """Of a baseline of so many steps, by which these alarms cannot be tested."""
    notes = []
    if "unmatched" in untested:
        text = (
            "There is no audit reward, so nothing tells whether the proxy's gain is real: the "
            "alarm for it and early stopping are off."
        )
        advice = (
            "Train a second reward model on other data or another backbone and score every step "
            "with it."
        )
        notes.append(Notice("note", "no audit", 0, text, advice))
    if steps < wanted:
        text = (
            f"The baseline has {steps} steps of the reference policy instead of {wanted}: levels "
            "rest on little."
        )
        notes.append(Notice("note", "short baseline", 0, text))
    return notes


def notes_of_step(
    step: int, planned: int, is_late_audit: bool, counts: Mapping[str, int]
) -> list[Notice]:
    """Of a step of the training; the caller leaves out what was said before.

    Args:
        is_late_audit: An audit came that the baseline did not have.
        counts: ``single_prompt``, steps with one prompt so far, and ``silent``, the last steps in a
            row without the audit that the baseline had.
    """
    notes = []
    if step > planned:
        text = (
            f"The run goes on after the {planned:,} steps it was announced with: alarms still "
            "work, and false ones become likelier than stated."
        )
        notes.append(Notice("note", "longer run", step, text))
    if counts["single_prompt"]:
        text = (
            "A step had one prompt only and entered no alarm; from here on such steps are counted "
            "on the page."
        )
        notes.append(Notice("note", "single prompt", step, text))
    if is_late_audit:
        text = "Audit rewards came after a baseline without any, so no alarm can use them."
        advice = "Score the baseline with the audit model too."
        notes.append(Notice("note", "late audit", step, text, advice))
    if counts["silent"] >= SILENT_STEPS:
        text = (
            f"For {SILENT_STEPS} steps no audit reward has come; the alarm that needs it sees "
            "nothing."
        )
        advice = "Score at least every tenth step with the audit model."
        notes.append(Notice("note", "silent audit", step, text, advice))
    return notes
