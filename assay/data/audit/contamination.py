"""Are prompts of evaluations among the prompts of the data: as a whole, in n-grams, or nearly.

Letters: P prompts of the data · E prompts of an evaluation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np

from assay.data.audit.duplicates import snippet
from assay.data.audit.judgments import Evidence, Ints
from assay.data.audit.minhash import SHORTEST, candidates, signatures
from assay.data.audit.shingles import Hashes, Units, jaccard, ngrams, words
from assay.data.audit.texts import TextStore
from assay.errors import DataError
from assay.formats.files import shown_name
from assay.progress import Report
from assay.stats import wilson
from assay.types import Figure

LONG, SHORT = 13, 8
"""Words in an n-gram that must not be shared, and in those of which half must not be."""
COVERED = 0.5
"""Share of a prompt's 8-grams that makes it contaminated: as Tülu 3's decontamination."""
EXAMPLES = 10

Mask = Any


@dataclass(frozen=True)
class Overlap:
    """One evaluation and the data: how many of its prompts were found, and by what."""

    name: str
    prompts: int
    unread: int
    found: Mapping[str, int]
    contaminated: Figure
    to_drop: int
    short: int
    examples: tuple[tuple[str, str, str, int], ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "evaluation": self.name,
            "prompts": self.prompts,
            "rows_without_prompt": self.unread,
            "shorter_than_an_8_gram": self.short,
            "found_by": dict(self.found),
            "contaminated": self.contaminated.to_dict(),
            "comparisons_to_drop": self.to_drop,
            "examples": [
                {"prompt": text, "by": why, "source": source, "row": row}
                for text, why, source, row in self.examples
            ],
        }


@dataclass(frozen=True)
class Contamination:
    """All evaluations that the data were held against, and the comparisons to drop."""

    overlaps: tuple[Overlap, ...]
    threshold: float
    flagged: Ints = field(repr=False)

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "threshold": self.threshold,
            "comparisons_to_drop": len(self.flagged),
            "evaluations": [overlap.to_dict() for overlap in self.overlaps],
        }


def contamination(
    evidence: Evidence,
    against: Mapping[str, Iterable[str | None]],
    threshold: float,
    progress: Report | None = None,
) -> Contamination:
    """Hold the prompts of the data against those of evaluations.

    A prompt of an evaluation is contaminated, and a comparison of the data to be dropped, where one
    of these holds: the two are the same but for case and white space (*exact*); they share an
    n-gram of 13 words, as GPT-3's filter has it (Brown et al. 2020, app. C); at least half of its
    8-grams occur on the other side, after Tülu 3's (Lambert et al. 2024, §3.2); their shingles are
    near, by *MinHash*.

    Args:
        against: The prompts of each evaluation by its name, None for a row without one.
    """
    numbers = np.unique(evidence.prompts[evidence.prompts >= 0])
    if not len(numbers):
        raise DataError(
            "The data hold no prompts, only votes, so there is nothing to hold against an "
            "evaluation; leave out --against."
        )
    dropped = np.zeros(len(evidence.texts), dtype=np.bool_)
    overlaps = []
    for name, prompts in against.items():
        store, unread = TextStore(), 0
        for prompt in prompts:
            unread += prompt is None
            if prompt is not None:
                store.add(prompt)
        if not len(store):
            raise DataError(f"{name} has no prompts to hold the data against.")
        there, mine = _found(evidence.texts, numbers, store, threshold, progress)
        overlaps.append(_overlap(evidence, numbers, store, name, unread, there, mine))
        for mask in mine.values():
            dropped[numbers[mask]] = True
    has_prompt = evidence.prompts >= 0
    flagged = np.flatnonzero(has_prompt & dropped[evidence.prompts])
    return Contamination(tuple(overlaps), threshold, flagged)


def _found(
    texts: TextStore,
    numbers: Ints,
    store: TextStore,
    threshold: float,
    progress: Report | None,
) -> tuple[dict[str, Mask], dict[str, Mask]]:
    """By every rule: which prompts of the evaluation were found, and which of the data."""
    exact = (
        np.isin(store.normal, texts.normal[numbers]),
        np.isin(texts.normal[numbers], store.normal),
    )
    near = _near(texts, numbers, store, threshold, progress)
    theirs = words([store[i] for i in range(len(store))])
    long, half = _shared_ngrams(texts, numbers, theirs, len(store), progress)
    rules = {"exact": exact, f"{LONG}-gram": long, f"{SHORT}-grams": half, "MinHash": near}
    return {k: v[0] for k, v in rules.items()}, {k: v[1] for k, v in rules.items()}


def _shared_ngrams(
    texts: TextStore, numbers: Ints, theirs: Units, count: int, progress: Report | None
) -> tuple[tuple[Mask, Mask], tuple[Mask, Mask]]:
    """Prompts with a shared 13-gram, and those with half of their 8-grams shared; both sides."""
    sizes = (LONG, SHORT)
    of_them = [ngrams(theirs, n) for n in sizes]
    known = [np.unique(units.hashes) for units in of_them]
    hit = [np.zeros(len(hashes), dtype=np.bool_) for hashes in known]
    mine = [np.zeros(len(numbers)) for _ in sizes]
    done = 0
    for part, batch in texts.batches(numbers):
        units = words(batch)
        for k, n in enumerate(sizes):
            grams = ngrams(units, n)
            at, is_shared = _look_up(known[k], grams.hashes)
            hit[k][at[is_shared]] = True
            mine[k][done : done + len(part)] = _share(grams, is_shared, len(part))
        done += len(part)
        if progress:
            progress("n-grams", done, len(numbers), 0)
    there = [
        _share(units, hit[k][_look_up(known[k], units.hashes)[0]], count)
        for k, units in enumerate(of_them)
    ]
    return (there[0] > 0, mine[0] > 0), (there[1] >= COVERED, mine[1] >= COVERED)


def _look_up(known: Hashes, hashes: Hashes) -> tuple[Ints, Mask]:
    """Where each hash is among sorted ones, and whether it is there."""
    if not len(known):
        return np.zeros(len(hashes), dtype=np.int64), np.zeros(len(hashes), dtype=np.bool_)
    at = np.minimum(np.searchsorted(known, hashes), len(known) - 1)
    return at, known[at] == hashes


def _share(units: Units, chosen: Mask, count: int) -> Any:
    """The share of chosen n-grams of each text, 0 for a text without any."""
    total = np.bincount(units.owner, minlength=count)
    return np.bincount(units.owner, chosen, minlength=count) / np.maximum(total, 1)


def _near(
    texts: TextStore, numbers: Ints, store: TextStore, threshold: float, progress: Report | None
) -> tuple[Mask, Mask]:
    there = np.zeros(len(store), dtype=np.bool_)
    mine = np.zeros(len(numbers), dtype=np.bool_)
    long_there = np.flatnonzero(store.lengths >= SHORTEST)
    long_mine = np.flatnonzero(texts.lengths[numbers] >= SHORTEST)
    signed = np.concatenate(
        # the evaluation's first: in a large bucket every text is held against the first one
        [signatures(store, long_there), signatures(texts, numbers[long_mine], progress, "prompts")]
    )
    split = len(long_there)
    pairs = candidates(signed, threshold)
    for a, b in pairs[(pairs[:, 0] < split) & (pairs[:, 1] >= split)].tolist():
        theirs, ours = int(long_there[a]), int(long_mine[b - split])
        if there[theirs] and mine[ours]:
            continue
        if jaccard(store[theirs], texts[int(numbers[ours])]) >= threshold:
            there[theirs] = mine[ours] = True
    return there, mine


def _overlap(
    evidence: Evidence,
    numbers: Ints,
    store: TextStore,
    name: str,
    unread: int,
    there: dict[str, Mask],
    mine: dict[str, Mask],
) -> Overlap:
    any_there = np.logical_or.reduce(list(there.values()))
    any_mine = np.zeros(len(evidence.texts) + 1, dtype=np.bool_)
    any_mine[numbers[np.logical_or.reduce(list(mine.values()))]] = True
    flagged = np.flatnonzero(any_mine[evidence.prompts])  # -1, no prompt, is the last: never chosen
    examples = []
    for comparison in islice(flagged.tolist(), EXAMPLES):
        number = int(evidence.prompts[comparison])
        position = int(np.searchsorted(numbers, number))
        why = ", ".join(rule for rule, mask in mine.items() if mask[position])
        examples.append((snippet(evidence.texts[number]), why, *evidence.place(comparison)))
    count = np.bincount(words([store[i] for i in range(len(store))]).owner, minlength=len(store))
    return Overlap(
        name=shown_name(name),
        prompts=len(store),
        unread=unread,
        found={rule: int(mask.sum()) for rule, mask in there.items()},
        contaminated=wilson(int(any_there.sum()), len(store)),
        to_drop=len(flagged),
        short=int((count < SHORT).sum()),
        examples=tuple(examples),
    )
