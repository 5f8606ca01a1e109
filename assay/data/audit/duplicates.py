"""What is there twice, what says its own opposite, and what goes round in circles.

Letters: J judgments · T distinct texts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Ints, Judgments
from assay.data.audit.minhash import near_duplicates
from assay.progress import Report
from assay.stats import wilson

EXAMPLES = 5
"""Largest clusters of which a text is shown."""
SNIPPET = 160
"""Characters of a text that is shown."""


@dataclass(frozen=True)
class NearTexts:
    """Distinct texts (prompts, or responses) in clusters of near ones.

    ``labels`` gives the cluster of each text by its number, -1 for texts of another kind.
    """

    texts: int
    clusters: int
    extra: int
    share: Outcome
    largest: tuple[tuple[int, str], ...]
    labels: Ints = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "distinct": self.texts,
            "clusters": self.clusters,
            "extra": self.extra,
            "share_in_clusters": self.share.to_dict(),
            "largest": [{"texts": size, "example": text} for size, text in self.largest],
        }


@dataclass(frozen=True)
class Cycles:
    """Prompts whose judgments prefer a to b, b to c and c to a."""

    prompts: int
    responses: int
    share: Outcome

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "prompts": self.prompts,
            "responses": self.responses,
            "share_of_prompts": self.share.to_dict(),
        }


@dataclass(frozen=True)
class Duplicates:
    """Repetitions, contradictions and cycles, and the comparisons that each was found in."""

    repeated: int
    contradictions: int
    disagreements: int
    near_pairs: int
    near_contradictions: int
    near_prompts: NearTexts | None
    near_responses: NearTexts | None
    threshold: float
    cycles: Cycles
    own_cycles: Cycles
    flagged: Mapping[str, Ints] = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "repeated_judgments": self.repeated,
            "contradictions": self.contradictions,
            "disagreements_between_annotators": self.disagreements,
            "near_duplicate_pairs": self.near_pairs,
            "near_duplicate_pairs_with_opposite_labels": self.near_contradictions,
            "near_duplicate_prompts": self.near_prompts and self.near_prompts.to_dict(),
            "near_duplicate_responses": self.near_responses and self.near_responses.to_dict(),
            "threshold": self.threshold,
            "cycles": self.cycles.to_dict(),
            "cycles_of_one_annotator": self.own_cycles.to_dict(),
        }


def duplicates(evidence: Evidence, threshold: float, progress: Report | None = None) -> Duplicates:
    """Find repetitions, contradictions, near duplicates and cycles.

    A *repetition* is a judgment that the same annotator (or nobody by name) gave before, on the
    same prompt and responses but for case and white space. A *contradiction* is two responses of
    which one annotator prefers now the one, now the other; between annotators it is a disagreement.
    Two items are near duplicates where their prompts are, and their responses.

    Args:
        threshold: Jaccard similarity of shingles from which texts are near.
    """
    judgments = evidence.judgments
    low, high, value = evidence.pairs()
    different = low != high
    pair = _codes(low, high)
    repeated = different & _is_repeated(_codes(pair, judgments.annotator, value))
    own = different & _has_both(_codes(pair, judgments.annotator), value)
    any_ = different & _has_both(pair, value)
    prompts = _near(evidence, evidence.prompts, "prompts", threshold, progress)
    responses = _near(evidence, evidence.responses, "responses", threshold, progress)
    near, near_opposite = _near_items(evidence, prompts, responses)
    cycles, in_cycle = _cycles(evidence, judgments)
    own_cycles, _ = _cycles(evidence, judgments, by_annotator=True)
    flagged = {
        "repeated judgment": repeated,
        "contradiction": own,
        "near duplicate": near,
        "cycle": in_cycle,
    }
    return Duplicates(
        repeated=int(repeated.sum()),
        contradictions=len(np.unique(_codes(pair, judgments.annotator)[own])),
        disagreements=len(np.setdiff1d(pair[any_], pair[own])),
        near_pairs=len(np.unique(pair[near])),
        near_contradictions=len(np.unique(pair[near_opposite])),
        near_prompts=prompts,
        near_responses=responses,
        threshold=threshold,
        cycles=cycles,
        own_cycles=own_cycles,
        flagged={why: np.unique(judgments.comparison[mask]) for why, mask in flagged.items()},
    )


def _codes(*columns: Ints) -> Ints:
    """One number for every distinct row of the columns."""
    code = np.zeros(len(columns[0]), dtype=np.int64)
    for column in columns:
        values, position = np.unique(column, return_inverse=True)
        code = np.unique(code * len(values) + position, return_inverse=True)[1]
    return code


def _is_repeated(code: Ints) -> Any:
    """Whether a code was there before."""
    repeated = np.ones(len(code), dtype=np.bool_)
    repeated[np.unique(code, return_index=True)[1]] = False
    return repeated


def _has_both(code: Ints, value: Ints) -> Any:
    """Whether judgments of the same code prefer both sides, and this one prefers either."""
    size = int(code.max(initial=-1)) + 1
    for_a = np.bincount(code[value > 0], minlength=size) > 0
    for_b = np.bincount(code[value < 0], minlength=size) > 0
    return (for_a & for_b)[code] & (value != 0)


def _near(
    evidence: Evidence, given: Ints, kind: str, threshold: float, progress: Report | None
) -> NearTexts | None:
    numbers = np.unique(given[given >= 0])
    if not len(numbers):
        return None
    found = near_duplicates(evidence.texts, numbers, threshold, progress, kind)
    normal = evidence.texts.normal[numbers]
    # texts that differ in case and white space only are one text, not near ones
    one = np.unique(normal, return_index=True)[1]
    cluster, size = np.unique(found[one], return_counts=True)
    largest = np.argsort(-size, kind="stable")[:EXAMPLES]
    labels = np.full(len(evidence.texts), -1, dtype=np.int64)
    labels[numbers] = found
    return NearTexts(
        texts=len(one),
        clusters=int((size > 1).sum()),
        extra=int((size - 1).sum()),
        share=wilson(int(size[size > 1].sum()), len(one)),
        largest=tuple(
            (int(size[k]), snippet(evidence.texts[int(numbers[cluster[k]])]))
            for k in largest
            if size[k] > 1
        ),
        labels=labels,
    )


def snippet(text: str) -> str:
    """The beginning of a text on one line."""
    line = " ".join(text.split())
    return line if len(line) <= SNIPPET else line[: SNIPPET - 1] + "…"


def _near_items(
    evidence: Evidence, prompts: NearTexts | None, responses: NearTexts | None
) -> tuple[Any, Any]:
    """Judgments of items near an earlier one, and those of them that say the opposite."""
    judgments, items = evidence.judgments, evidence.items
    nothing = np.zeros(len(judgments), dtype=np.bool_)
    if prompts is None or responses is None or (items.first < 0).any():
        return nothing, nothing
    prompt = prompts.labels[evidence.prompts[judgments.comparison]]
    first, second = (responses.labels[side[judgments.item]] for side in (items.first, items.second))
    turned = second < first
    group = _codes(prompt, np.minimum(first, second), np.maximum(first, second))
    pair = _codes(*evidence.pairs()[:2])
    # only groups of two different pairs or more: the others hold repetitions
    unique = np.unique(np.stack([group, pair]), axis=1)
    several = np.bincount(unique[0], minlength=int(group.max(initial=-1)) + 1) > 1
    earliest = np.full(len(several), len(pair), dtype=np.int64)
    np.minimum.at(earliest, group, np.arange(len(pair)))
    near = several[group] & (pair != pair[earliest[group]]) & (first != second)
    value = np.where(turned, -judgments.value, judgments.value)
    opposite = near & (value != 0) & (value == -value[earliest[group]])
    return near, opposite


def _cycles(
    evidence: Evidence, judgments: Judgments, by_annotator: bool = False
) -> tuple[Cycles, Any]:
    """Cycles of the preferences of the majority, or of single annotators.

    An edge goes from the response that more judgments prefer to the other; responses are in a cycle
    where each can be reached from the other: strongly connected components (Tarjan 1972).
    """
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import connected_components

    judge = judgments.annotator if by_annotator else np.zeros(len(judgments), dtype=np.int64)
    named = (judge >= 0) if by_annotator else np.ones(len(judge), dtype=np.bool_)
    a, b, value = evidence.pairs()
    chosen = named & (a != b)
    nowhere = np.zeros(len(judgments), dtype=np.bool_)
    if not chosen.any():
        why = "no annotator is named." if by_annotator else "no two responses differ."
        return Cycles(0, 0, Undefined(why)), nowhere
    judge, a, b, value = judge[chosen], a[chosen], b[chosen], value[chosen]
    prompt = evidence.items.prompt[judgments.item][chosen]
    both = _codes(np.concatenate([judge, judge]), np.concatenate([a, b]))
    a, b = both[: len(a)], both[len(a) :]
    edge = _codes(a, b)
    first = np.unique(edge, return_index=True)[1]
    net = np.bincount(edge, value)
    winner = np.where(net > 0, a[first], b[first])[net != 0]
    loser = np.where(net > 0, b[first], a[first])[net != 0]
    size = int(both.max()) + 1
    graph = coo_matrix((np.ones(len(winner)), (winner, loser)), shape=(size, size))
    _, component = connected_components(graph, directed=True, connection="strong")
    is_cyclic = (np.bincount(component) > 1)[component]
    able = _able(_codes(judge, prompt)[first], net != 0)
    if not able:
        why = "no prompt has three compared responses that could form a cycle."
        return Cycles(0, 0, Undefined(why)), nowhere
    inside = is_cyclic[a] & is_cyclic[b] & (component[a] == component[b])
    found = len(np.unique(_codes(judge, prompt)[inside]))
    where = nowhere.copy()
    where[np.flatnonzero(chosen)[inside]] = True
    return Cycles(found, int(is_cyclic.sum()), wilson(found, able)), where


def _able(prompt: Ints, decided: Any) -> int:
    """Prompts with three or more decided pairs."""
    return int((np.bincount(prompt[decided]) >= 3).sum()) if decided.any() else 0
