"""Bias probes: what a reward does when one thing about a response changes and nothing else.

Each probe scores a response as it is and edited. The effect is the mean change in standard
deviations of the rewards as they are, with an interval over prompts; p-values are corrected over
all probes (Holm). Observational figures (accuracy by length and format) come from scored items.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.evaluation.edits import EDITS, Edit, has_bold, has_header, has_list
from assay.evaluation.suite import Item, ScoredItem
from assay.stats import (
    accuracy,
    cluster_mean,
    estimate_mean,
    holm,
    reward_length_correlation,
    t_test,
)
from assay.types import Conversation, Figure, Message, Scorer, json_number

Floats = NDArray[np.float64]
Clusters = Sequence[str]

MATCHED = 0.1
"""Responses whose lengths differ by at most this share of the longer are of matched length."""

OFF_TOPIC = Edit("off-topic", "another prompt's response", "fall", lambda text: text)


@dataclass(frozen=True)
class Probe:
    """One edit's effect on the reward, in standard deviations of the unedited rewards."""

    name: str
    what: str
    expected: str
    effect: Figure
    share_rose: Figure
    p: float
    p_holm: float
    skipped: int
    length_change: float

    @property
    def found(self) -> bool:
        """Whether the reward moves, after correction over all probes."""
        return self.p_holm <= 0.05

    def to_dict(self) -> dict[str, Any]:
        """An entry of ``probes`` in ``results.json``."""
        return {
            "name": self.name,
            "what": self.what,
            "expected": self.expected,
            "effect": self.effect.to_dict(),
            "share_rose": self.share_rose.to_dict(),
            "p": json_number(self.p),
            "p_holm": json_number(self.p_holm),
            "n": self.effect.n,
            "skipped": self.skipped,
            "length_change": json_number(self.length_change),
        }


@dataclass(frozen=True)
class ProbeReport:
    """All probes of a scorer, and the responses whose reward was dropped as too long."""

    probes: tuple[Probe, ...]
    responses: int
    dropped: int

    def __str__(self) -> str:
        lines = [
            f"{'edit':<12}{'effect (sd)':<34}{'rose':>6}{'p Holm':>8}{'characters':>12}  expected"
        ]
        for p in self.probes:
            lines.append(
                f"{p.name:<12}{p.effect!s:<34}{p.share_rose.value:>6.2f}{p.p_holm:>8.3f}"
                f"{p.length_change:>+12.0f}  {p.expected}"
            )
        return "\n".join(lines)


def run_probes(
    scorer: Scorer,
    conversations: Sequence[Conversation],
    clusters: Clusters,
    edits: Sequence[Edit] = EDITS,
    progress: Callable[[int, int], None] | None = None,
) -> ProbeReport:
    """Score responses as they are and edited, and report what each edit does.

    Args:
        clusters: The prompt of each conversation.
        progress: Called with probes done and their number.

    Raises:
        DataError: If fewer than two prompts are probed, or all unedited rewards are equal.
    """
    if len(set(clusters)) < 2:
        raise DataError(f"Probes want responses to two prompts or more, got {len(set(clusters))}.")
    originals = np.asarray(scorer.score(conversations).reward, dtype=np.float64)
    spread = float(np.nanstd(originals))
    if not spread > 0:
        raise DataError("All probed responses have the same reward; an effect has no scale then.")
    dropped = int(np.isnan(originals).sum())
    found: list[tuple[Edit, Floats, list[str], int, float]] = []
    for number, edit in enumerate((*edits, OFF_TOPIC), start=1):
        edited = _edited(edit, conversations, clusters)
        kept = [i for i, c in enumerate(edited) if c is not None]
        rewards = np.asarray(
            scorer.score([c for c in edited if c is not None]).reward if kept else [],
            dtype=np.float64,
        )
        change = (rewards - originals[kept]) / spread
        fine = np.isfinite(change)
        dropped += int(np.isnan(rewards).sum())
        longer = [len(edited[i].response_text) - len(conversations[i].response_text) for i in kept]  # type: ignore[union-attr]
        mine = [clusters[i] for i, ok in zip(kept, fine, strict=True) if ok]
        found.append(
            (
                edit,
                change[fine],
                mine,
                len(conversations) - int(fine.sum()),
                float(np.mean(longer)) if longer else 0.0,
            )
        )
        if progress:
            progress(number, len(edits) + 1)
    return ProbeReport(_probes(found), len(conversations), dropped)


def _probes(
    found: Sequence[tuple[Edit, Floats, list[str], int, float]],
) -> tuple[Probe, ...]:
    p_values = [t_test(estimate_mean(change, mine)) for _, change, mine, _, _ in found]
    known = [p for p in p_values if np.isfinite(p)]
    adjusted = iter(holm(known))
    return tuple(
        Probe(
            name=edit.name,
            what=edit.what,
            expected=edit.expected,
            effect=cluster_mean(change, mine),
            share_rose=cluster_mean((change > 0).astype(float), mine, bounds=(0.0, 1.0)),
            p=p,
            p_holm=next(adjusted) if np.isfinite(p) else float("nan"),
            skipped=skipped,
            length_change=longer,
        )
        for (edit, change, mine, skipped, longer), p in zip(found, p_values, strict=True)
    )


def _edited(
    edit: Edit, conversations: Sequence[Conversation], clusters: Clusters
) -> list[Conversation | None]:
    if edit is OFF_TOPIC:
        return _swapped(conversations, clusters)
    return [_with_text(c, edit.apply(c.response_text)) for c in conversations]


def _swapped(
    conversations: Sequence[Conversation], clusters: Clusters
) -> list[Conversation | None]:
    """Each response replaced by that of the next conversation with another prompt."""
    count = len(conversations)
    swapped: list[Conversation | None] = []
    for i, conversation in enumerate(conversations):
        others = ((i + step) % count for step in range(1, count))
        j = next(j for j in others if clusters[j] != clusters[i])
        swapped.append(_with_text(conversation, conversations[j].response_text))
    return swapped


def _with_text(conversation: Conversation, text: str | None) -> Conversation | None:
    if text is None or not text.strip():
        return None
    last = conversation.response[-1]
    return replace(conversation, response=(Message(last.role, text, last.extra),))


def position_bias(chose_first: ArrayLike, clusters: Sequence[str] | None = None) -> Figure:
    """How often a judge prefers what it is shown first; without bias, half of the time.

    Args:
        chose_first: True (or 1) where the first response shown was preferred, ½ for a tie. Every
            comparison should be shown in both orders, so that quality cancels.
    """
    return cluster_mean(np.asarray(chose_first, dtype=np.float64), clusters, bounds=(0.0, 1.0))


def length_figures(scored: Sequence[ScoredItem], seed: int = 0) -> dict[str, Any] | None:
    """The block ``length`` of ``results.json``; None where lengths are not known.

    Correlation of reward and length within prompts, and accuracy of pairs whose right response is
    longer, shorter, or of matched length.
    """
    if any(item.lengths is None for item in scored):
        return None
    rewards = [r for item in scored for r in item.rewards]
    lengths = [n for item in scored for n in item.lengths or ()]
    # an item is the prompt here: two items of a prompt may have very different answers
    owners = [i for i, item in enumerate(scored) for _ in item.rewards]
    correlation = reward_length_correlation(rewards, lengths, owners, resamples=500, seed=seed)
    gaps, differences, clusters = _pairs(scored)
    longest = np.array([max(a, b) for a, b in differences], dtype=np.float64)
    gap_lengths = np.array([a - b for a, b in differences], dtype=np.float64)
    matched = np.abs(gap_lengths) <= MATCHED * longest
    strata = {
        "chosen_longer": (gap_lengths > 0) & ~matched,
        "chosen_shorter": (gap_lengths < 0) & ~matched,
        "length_matched": matched,
    }
    return {
        "correlation": correlation.to_dict(),
        **{name: _accuracy(gaps, clusters, mask) for name, mask in strata.items()},
    }


def format_figures(items: Sequence[Item], scored: Sequence[ScoredItem]) -> dict[str, Any]:
    """Accuracy of pairs of which only the right, or only the wrong, response has a format."""
    tests: Mapping[str, Callable[[str], bool]] = {
        "list": has_list,
        "bold": has_bold,
        "header": has_header,
    }
    figures: dict[str, Any] = {}
    gaps, _, clusters = _pairs(scored)
    for name, test in tests.items():
        marks = []
        for item in items:
            has = [test(c.response_text) for c in item.conversations()]
            right = [h for h, ok in zip(has, item.correct, strict=True) if ok]
            wrong = [h for h, ok in zip(has, item.correct, strict=True) if not ok]
            marks += [(a, b) for a in right for b in wrong]
        only_right = np.array([a and not b for a, b in marks], dtype=bool)
        only_wrong = np.array([b and not a for a, b in marks], dtype=bool)
        figures[name] = {
            "only_right_has_it": _accuracy(gaps, clusters, only_right),
            "only_wrong_has_it": _accuracy(gaps, clusters, only_wrong),
        }
    return figures


def _accuracy(gaps: Floats, clusters: Sequence[str], mask: NDArray[np.bool_]) -> dict[str, Any]:
    mine = [c for c, ok in zip(clusters, mask, strict=True) if ok]
    return accuracy(gaps[mask], clusters=mine).to_dict()


def _pairs(
    scored: Sequence[ScoredItem],
) -> tuple[Floats, list[tuple[int, int]], list[str]]:
    """Gap, lengths and cluster of every (right, wrong) pair of responses."""
    gaps, lengths, clusters = [], [], []
    for item in scored:
        known = item.lengths or (0,) * len(item.rewards)
        both = list(zip(item.rewards, known, item.correct, strict=True))
        for right, right_length, _ in (r for r in both if r[2]):
            for wrong, wrong_length, _ in (r for r in both if not r[2]):
                gaps.append(right - wrong)
                lengths.append((right_length, wrong_length))
                clusters.append(item.cluster)
    return np.array(gaps, dtype=np.float64), lengths, clusters
