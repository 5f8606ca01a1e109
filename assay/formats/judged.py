"""Judgments one by one, before they become soft labels: who said what, and what was shown first.

A comparison of a preference file holds the share of its votes; these records keep the votes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from assay.formats.comparisons import Pair, Verdict
from assay.types import Comparison, Messages


@dataclass(frozen=True, slots=True)
class Judgment:
    """One annotator's answer to one comparison: a verdict on every two responses it compares.

    ``order`` holds the indexes of the responses as the annotator saw them, None where that is
    unknown; it is the order they are listed in unless ``order_is_recorded``. ``inconsistent`` marks
    a tie that stands for two answers to the two orders, which disagreed.
    """

    verdicts: Mapping[Pair, Verdict]
    annotator: str | None = None
    order: tuple[int, ...] | None = None
    order_is_recorded: bool = False
    inconsistent: bool = False


@dataclass(frozen=True, slots=True)
class Rating:
    """One annotator's answer to a question about one response, by its index."""

    response: int
    question: str
    value: str
    annotator: str | None = None


@dataclass(frozen=True, slots=True)
class JudgedComparison:
    """A prompt, its responses, and every judgment of them.

    Where a file names prompts and models but has no texts, ``prompt`` is None, ``responses`` is
    empty, and ``names`` are what is known of the responses.
    """

    prompt: Messages | None
    responses: tuple[Messages, ...]
    judgments: tuple[Judgment, ...]
    ratings: tuple[Rating, ...] = ()
    id: str | None = None
    """What makes this comparison the same as one in another row. Default: its texts."""
    cluster: str | None = None
    """What comparisons that are not independent have in common. Default: the prompt."""
    names: tuple[str, ...] = ()
    unusable: str | None = None
    """Why no preference pair comes of the row, as a loading counts it; None where one does."""


def from_comparison(
    comparison: Comparison, order: tuple[int, ...] | None = None
) -> JudgedComparison:
    """A comparison whose preferences are the answer of one annotator."""
    verdicts = {}
    for p in comparison.preferences:
        share = 1.0 if p.probability > 0.5 else 0.5
        strength = p.margin if p.margin > 0 else (0.0 if share == 0.5 else None)
        if p.chosen < p.rejected:
            verdicts[p.chosen, p.rejected] = Verdict(share, strength)
        else:
            verdicts[p.rejected, p.chosen] = Verdict(1.0 - share, strength)
    judgment = Judgment(verdicts, comparison.annotator, order)
    return JudgedComparison(comparison.prompt, comparison.responses, (judgment,))
