"""Near duplicates among many texts: MinHash to find candidates, exact Jaccard to decide.

One permutation hashing (Li, Owen & Zhang 2012) with optimal densification (Shrivastava 2017): the
hash of a shingle says which bin it falls in and its rank there, a bin keeps the smallest, and an
empty bin takes that of another by a fixed random search. Two texts agree in a bin with probability
J, the Jaccard similarity of their shingles. Banding (Broder 1997; Leskovec et al., ch. 3) makes
candidates of texts that agree in all rows of a band; a candidate counts when its exact J does.

Letters: N texts · K bins.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.shingles import Hashes, jaccard, mix, shingles
from assay.data.audit.texts import Ids, TextStore
from assay.progress import Report

BINS = 192
RECALL = 0.9995
"""Share of pairs exactly as alike as the threshold that banding must make candidates."""
SLACK = 0.12
"""How far under the threshold the estimate from bins may lie for the exact value to be computed:
four standard errors at J = 0.8."""
SHORTEST = 20
"""Characters below which a text is compared as a whole only: so few shingles say little."""
WHOLE_BUCKET = 20
"""Texts in a bucket of which all pairs are candidates; of more, neighbours, and all with the
first."""

Signatures = NDArray[np.uint16]
Pairs = NDArray[np.int64]  # (P, 2), positions in the list of texts

_EMPTY = np.uint32(0xFFFFFFFF)


def signatures(
    texts: TextStore, numbers: Ids, progress: Report | None = None, kind: str = "texts"
) -> Signatures:
    """The signature of each of these texts, ``(N, K)``; 16 bits of every bin's minimum.

    Args:
        kind: What the progress calls them.
    """
    found = np.empty((len(numbers), BINS), dtype=np.uint16)
    done = 0
    for part, batch in texts.batches(numbers):
        found[done : done + len(part)] = sign(batch)
        done += len(part)
        if progress:
            progress(f"minhash of {kind}", done, len(numbers), 0)
    return found


def sign(texts: list[str]) -> Signatures:
    """The signatures of texts at hand."""
    units = shingles(texts)
    lowest = np.full(len(texts) * BINS, _EMPTY, dtype=np.uint32)
    bins = ((units.hashes >> np.uint64(32)) * np.uint64(BINS)) >> np.uint64(32)
    np.minimum.at(
        lowest, units.owner * BINS + bins.astype(np.int64), units.hashes.astype(np.uint32)
    )
    return _densified(lowest.reshape(len(texts), BINS)).astype(np.uint16)


def _densified(lowest: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Empty bins filled from full ones, by a search that is the same for every text."""
    full = lowest.copy()
    rows, columns = np.nonzero(lowest == _EMPTY)
    for attempt in range(64 * BINS):
        if not len(rows):
            break
        seeds = np.arange(BINS, dtype=np.uint64) + np.uint64((attempt + 1) << 16)
        source = (mix(seeds) % np.uint64(BINS)).astype(np.int64)
        values = lowest[rows, source[columns]]
        is_found = values != _EMPTY
        full[rows[is_found], columns[is_found]] = values[is_found]
        rows, columns = rows[~is_found], columns[~is_found]
    return full


def rows_of_band(threshold: float) -> int:
    """The most rows a band may have for pairs at the threshold to be found.

    A pair with similarity J is found with probability ``1 - (1 - J^r)^(K/r)``.
    """
    enough = [r for r in range(1, BINS + 1) if recall(threshold, r) >= RECALL]
    return max(enough, default=1)


def recall(similarity: float, rows: int) -> float:
    """The probability that a pair so alike becomes a candidate with bands of so many rows."""
    return float(1 - (1 - similarity**rows) ** (BINS // rows))


def candidates(signed: Signatures, threshold: float) -> Pairs:
    """Pairs of texts that agree in a band and whose estimated similarity is near the threshold."""
    rows = rows_of_band(threshold)
    found = [np.empty(0, dtype=np.int64)]
    for start in range(0, BINS - rows + 1, rows):
        for pairs in _pairs_of_buckets(_band_keys(signed[:, start : start + rows])):
            found.append(np.unique(pairs[0] * len(signed) + pairs[1]))
    codes = np.unique(np.concatenate(found))
    first, second = np.divmod(codes, max(len(signed), 1))
    likely = estimated(signed, first, second) >= threshold - SLACK
    return np.stack([first[likely], second[likely]], axis=1)


def estimated(
    signed: Signatures, first: Ids, second: Ids, block: int = 100_000
) -> NDArray[np.float64]:
    """The share of bins in which two texts agree: an estimate of J, its error √(J(1-J)/K)."""
    share = np.empty(len(first))
    for at in range(0, len(first), block):
        part = slice(at, at + block)
        share[part] = (signed[first[part]] == signed[second[part]]).mean(axis=1)
    return share


def _band_keys(band: Signatures) -> Hashes:
    total = np.zeros(len(band), dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(band.shape[1]):
            total += mix(band[:, i].astype(np.uint64) + np.uint64((i + 1) << 32))
    return total


def _pairs_of_buckets(keys: Hashes) -> Iterator[tuple[Ids, Ids]]:
    """Pairs with equal keys, the smaller position first, from the smaller to the larger buckets."""
    order = np.argsort(keys, kind="stable")
    edges = np.flatnonzero(np.diff(keys[order])) + 1
    starts = np.concatenate([[0], edges])
    sizes = np.diff(np.concatenate([starts, [len(keys)]]))
    for lag in range(1, min(WHOLE_BUCKET, int(sizes.max(initial=0)))):
        # all pairs of small buckets; of large ones, neighbours (lag 1)
        chosen = (sizes > lag) & ((sizes <= WHOLE_BUCKET) | (lag == 1))
        count = sizes[chosen] - lag
        at = np.repeat(starts[chosen] - np.concatenate([[0], np.cumsum(count)[:-1]]), count)
        at = at + np.arange(count.sum())
        yield order[at], order[at + lag]
    large = sizes > WHOLE_BUCKET
    if large.any():
        count = sizes[large]
        first = np.repeat(order[starts[large]], count)
        inside = np.repeat(large, sizes)
        others = order[inside]
        yield first[first != others], others[first != others]


class Clusters:
    """Disjoint sets of positions (union-find with path halving)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))

    def find(self, x: int) -> int:
        """The representative of the set a position is in."""
        parent = self._parent
        while parent[x] != x:
            parent[x] = parent[parent[x]]
            x = parent[x]
        return x

    def join(self, a: int, b: int) -> None:
        """Make the sets of two positions one, under the smaller representative."""
        low, high = sorted((self.find(a), self.find(b)))
        self._parent[high] = low

    def labels(self) -> Ids:
        """The representative of every position."""
        return np.array([self.find(x) for x in range(len(self._parent))], dtype=np.int64)


def near_duplicates(
    texts: TextStore,
    numbers: Ids,
    threshold: float,
    progress: Report | None = None,
    kind: str = "texts",
) -> Ids:
    """The cluster of each of these texts: the position of the first text near to it, or its own.

    Texts are near where the Jaccard similarity of their shingles of five characters is at least the
    threshold, and in one cluster where a chain of near texts joins them. Texts of fewer than
    ``SHORTEST`` characters are near only if they are the same but for case and white space.
    """
    clusters = Clusters(len(numbers))
    _, first, same = np.unique(texts.normal[numbers], return_index=True, return_inverse=True)
    for position, other in enumerate(first[same].tolist()):
        if position != other:
            clusters.join(position, other)
    compared = first[texts.lengths[numbers[first]] >= SHORTEST]
    pairs = candidates(signatures(texts, numbers[compared], progress, kind), threshold)
    for done, (a, b) in enumerate(compared[pairs].tolist(), start=1):
        if clusters.find(a) != clusters.find(b):
            similarity = jaccard(texts[int(numbers[a])], texts[int(numbers[b])])
            if similarity >= threshold:
                clusters.join(a, b)
        if progress and (done % 1000 == 0 or done == len(pairs)):
            progress(f"near {kind}", done, len(pairs), 0)
    return clusters.labels()
