"""Comparison trees and their packing: one prompt, K continuations, every token once. NumPy only.

Letters: R responses in a row · T tokens in a row · K responses of a tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data.contract import Ids, Tokens, common_prefix


@dataclass(frozen=True, slots=True)
class Tree:
    """One prompt with K continuations: the longest common token prefix, and every rest.

    ``starts`` are the positions where each response begins, counted from the conversation's first
    token.
    """

    prefix: Ids
    rests: tuple[Ids, ...]
    starts: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens the engine sees: the prefix once and every rest."""
        return len(self.prefix) + sum(len(rest) for rest in self.rests)

    def paths(self) -> list[Ids]:
        """The whole conversations again."""
        return [np.concatenate([self.prefix, rest]) for rest in self.rests]


def build_tree(conversations: Sequence[Tokens], *, share: bool = True) -> Tree:
    """The tree of conversations over their longest common prefix.

    The prefix ends before the shortest conversation's last token.

    Args:
        share: False keeps every conversation whole (encoders, where every token sees the response).
    """
    sequences = [c.ids for c in conversations]
    length = 0
    if share:
        # The scored token must lie in the rest, so a rest is never empty.
        length = min(common_prefix(sequences), min(len(s) for s in sequences) - 1)
    return Tree(
        prefix=sequences[0][:length],
        rests=tuple(s[length:] for s in sequences),
        starts=tuple(c.response_start for c in conversations),
    )


@dataclass(frozen=True, slots=True)
class Segment:
    """Where a tree lies in its row: its first token, the lengths of its prefix and its rests."""

    start: int
    prefix: int
    rests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """Trees laid end to end in one row without padding: ``prefix, rest 1, …, rest K, prefix, …``.

    ``position_ids`` of every rest go on from its prefix's end. Responses are numbered through all
    trees in order.
    """

    input_ids: Ids  # (T,)
    position_ids: Ids  # (T,)
    segments: tuple[Segment, ...]
    ends: NDArray[np.int64]  # (R,) index of each response's last token: the score position
    firsts: NDArray[np.int64]  # (R,) index of each conversation's first token
    starts: tuple[int, ...]  # (R,) position where each response begins
    trees: tuple[Tree, ...]

    @property
    def num_tokens(self) -> int:
        """T."""
        return len(self.input_ids)

    @property
    def num_responses(self) -> int:
        """R."""
        return len(self.ends)

    def response_index(self) -> list[NDArray[np.int64]]:
        """Each response's row indexes of its own tokens (some may lie in the shared prefix)."""
        indexes = []
        response = 0
        for segment in self.segments:
            offset = segment.start + segment.prefix
            shared = np.arange(segment.start, offset)
            for rest in segment.rests:
                path = np.concatenate([shared, np.arange(offset, offset + rest)])
                indexes.append(path[self.starts[response] :])
                offset += rest
                response += 1
        return indexes


def pack(trees: Sequence[Tree]) -> PackedTrees:
    """Lay trees end to end in one row."""
    ids: list[Ids] = []
    positions: list[Ids] = []
    segments: list[Segment] = []
    ends: list[int] = []
    firsts: list[int] = []
    offset = 0
    for tree in trees:
        prefix = len(tree.prefix)
        segments.append(Segment(offset, prefix, tuple(len(rest) for rest in tree.rests)))
        ids.append(tree.prefix)
        positions.append(np.arange(prefix, dtype=np.int32))
        start, offset = offset, offset + prefix
        for rest in tree.rests:
            ids.append(rest)
            positions.append(np.arange(prefix, prefix + len(rest), dtype=np.int32))
            firsts.append(start if prefix else offset)
            offset += len(rest)
            ends.append(offset - 1)
    return PackedTrees(
        input_ids=np.concatenate(ids),
        position_ids=np.concatenate(positions),
        segments=tuple(segments),
        ends=np.asarray(ends, dtype=np.int64),
        firsts=np.asarray(firsts, dtype=np.int64),
        starts=tuple(s for tree in trees for s in tree.starts),
        trees=tuple(trees),
    )


def fill(costs: Sequence[int], budget: int) -> list[list[int]]:
    """Groups of indexes with costs within the budget, longest first; one over it stands alone.

    Filling by length keeps the number of groups, and so of forward passes, near
    ``sum(costs) / budget``.
    """
    groups: list[list[int]] = []
    room: list[int] = []
    for index in sorted(range(len(costs)), key=lambda i: (-costs[i], i)):
        fits = [g for g in range(len(groups)) if room[g] >= costs[index]]
        best = min(fits, key=lambda g: room[g], default=None)
        if best is None:
            groups.append([index])
            room.append(budget - costs[index])
        else:
            groups[best].append(index)
            room[best] -= costs[index]
    return groups
