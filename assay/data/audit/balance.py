"""Biases of the labels: is what was shown first preferred, is what is longer?

Letters: J judgments.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Floats, Ints
from assay.stats import LengthBaseline, accuracy, cluster_mean
from assay.types import Figure

RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0)
"""Ratios of the longer to the shorter response at which the strata of length begin."""


@dataclass(frozen=True)
class Position:
    """How often the response shown first is preferred, and what changing the order changes."""

    preferred_first: Outcome
    swap_effect: Outcome
    is_recorded: bool
    inconsistent: int

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "preferred_first_shown": self.preferred_first.to_dict(),
            "effect_of_being_first": self.swap_effect.to_dict(),
            "order_is_recorded": self.is_recorded,
            "ties_by_inconsistent_orders": self.inconsistent,
        }


@dataclass(frozen=True)
class Stratum:
    """Judgments whose responses differ in length by a factor in a range."""

    least: float
    most: float | None
    longer: Figure

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "ratio_from": self.least,
            "ratio_to": self.most,
            "preferred_longer": self.longer.to_dict(),
        }


@dataclass(frozen=True)
class Length:
    """How often the longer response is preferred, and what length alone would get right."""

    preferred_longer: Outcome
    length_only: Outcome
    difference: Outcome
    strata: tuple[Stratum, ...]
    equal: int

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "preferred_longer": self.preferred_longer.to_dict(),
            "length_only_accuracy": self.length_only.to_dict(),
            "mean_difference_characters": self.difference.to_dict(),
            "strata": [stratum.to_dict() for stratum in self.strata],
            "equal_lengths": self.equal,
        }


def position(evidence: Evidence) -> Position:
    """Position bias, ties left out, with intervals over prompts.

    ``preferred_first_shown`` is the share that prefers the response shown first; where orders were
    drawn by chance, ½ is no bias. ``effect_of_being_first`` does without that: over items shown in
    both orders, half of ``P(a preferred | a first) - P(a preferred | b first)``, how much a place
    changes the share of its response; 0 is no bias.
    """
    judgments, cluster = evidence.judgments, evidence.items.cluster[evidence.judgments.item]
    inconsistent = int(judgments.inconsistent.sum())
    told = (judgments.shown != 0) & (judgments.value != 0)
    if not told.any():
        is_known = bool(judgments.shown.any())
        none = Undefined(
            "all judgments are ties."
            if is_known
            else "the data do not say which response was shown first."
        )
        return Position(none, none, evidence.is_order_recorded, inconsistent)
    wins = (judgments.value == judgments.shown)[told].astype(np.float64)
    return Position(
        preferred_first=cluster_mean(wins, cluster[told], bounds=(0.0, 1.0)),
        swap_effect=_swap_effect(
            judgments.item[told], judgments.value[told], judgments.shown[told], cluster[told]
        ),
        is_recorded=evidence.is_order_recorded,
        inconsistent=inconsistent,
    )


def _swap_effect(item: Ints, value: Ints, shown: Ints, cluster: Ints) -> Outcome:
    code = np.unique(item, return_inverse=True)[1]
    preferred = (value > 0).astype(np.float64)
    shares = []
    for side in (1, -1):
        mine = shown == side
        count = np.bincount(code[mine], minlength=int(code.max()) + 1)
        won = np.bincount(code[mine], preferred[mine], minlength=len(count))
        with np.errstate(divide="ignore", invalid="ignore"):
            shares.append(won / count)
    effect = (shares[0] - shares[1]) / 2
    both = np.isfinite(effect)
    if not both.any():
        return Undefined("no item was judged in both orders.")
    group = np.empty(len(effect), dtype=np.int64)
    group[code] = cluster
    return cluster_mean(effect[both], group[both], bounds=(-0.5, 0.5))


def longer_signs(evidence: Evidence) -> Ints:
    """Of each judgment: 1 the longer response was preferred, -1 the shorter, 0 neither."""
    return np.sign(_differences(evidence)).astype(np.int64) * evidence.judgments.value


def _differences(evidence: Evidence) -> Ints:
    """Characters of the first side's response less those of the second's, 0 without texts."""
    item = evidence.judgments.item
    if not evidence.has_texts:
        return np.zeros(len(item), dtype=np.int64)
    lengths = np.append(evidence.texts.lengths, 0)  # -1, no text, is the last
    difference = lengths[evidence.items.first] - lengths[evidence.items.second]
    has_text = (evidence.items.first >= 0) & (evidence.items.second >= 0)
    return np.asarray(np.where(has_text, difference, 0)[item], dtype=np.int64)


def length(evidence: Evidence) -> Length:
    """Length bias, ties left out, with intervals over prompts.

    ``length_only_accuracy`` is what the sign of one fitted weight on the difference gets right, on
    the judgments it was fitted on: see :class:`assay.stats.LengthBaseline`.
    """
    judgments = evidence.judgments
    cluster = evidence.items.cluster[judgments.item]
    difference = _differences(evidence)
    decided = judgments.value != 0
    equal = int(np.sum(decided & (difference == 0)))
    why = _why_undefined(evidence, decided, difference)
    if why:
        none = Undefined(why)
        return Length(none, none, none, (), equal)
    told = decided & (difference != 0)
    longer = (np.sign(difference) == judgments.value)[told].astype(np.float64)
    chosen_less_rejected = (difference * judgments.value)[decided].astype(np.float64)
    baseline = LengthBaseline.fit(chosen_less_rejected)
    return Length(
        preferred_longer=cluster_mean(longer, cluster[told], bounds=(0.0, 1.0)),
        length_only=accuracy(baseline.predict(chosen_less_rejected), clusters=cluster[decided]),
        difference=cluster_mean(chosen_less_rejected, cluster[decided]),
        strata=_strata(evidence, told, longer, cluster[told]),
        equal=equal,
    )


def _why_undefined(evidence: Evidence, decided: Any, difference: Ints) -> str | None:
    if not evidence.has_texts:
        return "the data hold no texts, so no lengths."
    if not decided.any():
        return "all judgments are ties."
    if not difference[decided].any():
        return "the two responses of every item have the same length."
    return None


def _strata(evidence: Evidence, told: Any, longer: Floats, cluster: Ints) -> tuple[Stratum, ...]:
    item = evidence.judgments.item[told]
    lengths = evidence.texts.lengths
    sides = np.stack([lengths[evidence.items.first[item]], lengths[evidence.items.second[item]]])
    ratio = sides.max(axis=0) / np.maximum(sides.min(axis=0), 1)
    edges = (1.0, *RATIOS, np.inf)
    found = []
    for least, most in pairwise(edges):
        here = (ratio >= least) & (ratio < most)
        if here.any():
            share = cluster_mean(longer[here], cluster[here], bounds=(0.0, 1.0))
            found.append(Stratum(least, None if np.isinf(most) else most, share))
    return tuple(found)
