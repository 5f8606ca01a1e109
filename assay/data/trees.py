"""Trees of conversations and their packing: what several share stands once. NumPy only.

A tree branches where its conversations differ, as often as they do: one prompt with K responses,
the alternatives of a step after the steps before it, the beginnings of one solution. A conversation
that another one begins with needs no branch: its last token lies within the other's.

Letters: R conversations of a row · T tokens of a row · K conversations of a tree.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from assay.data.contract import Ids, Tokens, common_prefix


@dataclass(frozen=True, slots=True)
class Node:
    """Tokens without a branch, after those of the node ``parent`` (None: the first of a tree)."""

    ids: Ids
    parent: int | None = None


@dataclass(frozen=True, slots=True)
class Tree:
    """K conversations with every shared beginning once; a parent stands before its children.

    A tree that shares nothing has several first nodes. Of each conversation: ``ends`` is the node
    its last token lies in, ``lengths`` its tokens, and ``starts`` the position where its response
    begins.
    """

    nodes: tuple[Node, ...]
    ends: tuple[int, ...]
    lengths: tuple[int, ...]
    starts: tuple[int, ...]

    @property
    def num_tokens(self) -> int:
        """Tokens the engine sees."""
        return sum(len(node.ids) for node in self.nodes)

    def chain(self, end: int) -> list[int]:
        """The nodes from the first down to this one."""
        return chain([node.parent for node in self.nodes], end)

    def paths(self) -> list[Ids]:
        """The whole conversations again."""
        wholes = (np.concatenate([self.nodes[n].ids for n in self.chain(end)]) for end in self.ends)
        return [whole[:length] for whole, length in zip(wholes, self.lengths, strict=True)]


def chain(parents: Sequence[int | None], end: int) -> list[int]:
    """Nodes from the first down to ``end``."""
    found: list[int] = []
    node: int | None = end
    while node is not None:
        found.append(node)
        node = parents[node]
    return found[::-1]


def build_tree(conversations: Sequence[Tokens], *, share: bool = True) -> Tree:
    """The tree of conversations.

    Args:
        share: False keeps every conversation whole (encoders, where every token sees the response).
    """
    sequences = [c.ids for c in conversations]
    nodes: list[Node] = []
    ends = [0] * len(sequences)
    waiting: list[tuple[list[int], int, int | None]] = [(list(range(len(sequences))), 0, None)]
    if not share:
        waiting = [([k], 0, None) for k in reversed(range(len(sequences)))]
    while waiting:
        group, depth, parent = waiting.pop()
        branch = _branch([sequences[k] for k in group])
        longest = max(group, key=lambda k: len(sequences[k]))
        if branch > depth:
            nodes.append(Node(sequences[longest][depth:branch], parent))
            parent = len(nodes) - 1
        for k in group:
            ends[k] = len(nodes) - 1
        # the first group on top of the stack, so that the nodes of a branch stand together
        on = _by_next_token(sequences, group, branch)
        waiting += [(members, branch, parent) for members in reversed(on)]
    return Tree(
        nodes=tuple(nodes),
        ends=tuple(ends),
        lengths=tuple(len(s) for s in sequences),
        starts=tuple(c.response_start for c in conversations),
    )


def _branch(sequences: Sequence[Ids]) -> int:
    """Where the first of these leaves the longest; one that ends before does not leave it."""
    longest = max(sequences, key=len)
    shared = [(common_prefix([longest, s]), len(s)) for s in sequences]
    return min([at for at, length in shared if at < length], default=len(longest))


def _by_next_token(sequences: Sequence[Ids], group: Sequence[int], at: int) -> list[list[int]]:
    """Those of a group that go on beyond a place, by their token there."""
    found: dict[int, list[int]] = {}
    for k in group:
        if len(sequences[k]) > at:
            found.setdefault(int(sequences[k][at]), []).append(k)
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Span:
    """Where a node lies in its row: first token, tokens, parent span, position of the first."""

    start: int
    length: int
    parent: int | None
    position: int


@dataclass(frozen=True, slots=True)
class PackedTrees:
    """The nodes of trees laid end to end in one row without padding.

    ``position_ids`` of a node go on from its parent's end. Conversations are numbered through all
    trees in order.
    """

    input_ids: Ids  # (T,)
    position_ids: Ids  # (T,)
    spans: tuple[Span, ...]
    ends: NDArray[np.int64]  # (R,) index of each conversation's last token: the score position
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
        """Each response's row indexes of its own tokens (some may lie in a shared beginning)."""
        return self._index(0)

    def predictor_index(self) -> list[NDArray[np.int64]]:
        """Row indexes of the tokens before them: where a language model predicts each of them."""
        return self._index(1)

    def predictor_slices(self) -> list[slice]:
        """The same places in each whole conversation, as the padded forward lays them out."""
        lengths = [length for tree in self.trees for length in tree.lengths]
        return [slice(s - 1, n - 1) for s, n in zip(self.starts, lengths, strict=True)]

    def _index(self, before: int) -> list[NDArray[np.int64]]:
        indexes = []
        first = response = 0
        for tree in self.trees:
            for end, length in zip(tree.ends, tree.lengths, strict=True):
                spans = [self.spans[first + node] for node in tree.chain(end)]
                path = np.concatenate([np.arange(s.start, s.start + s.length) for s in spans])
                indexes.append(path[self.starts[response] - before : length - before])
                response += 1
            first += len(tree.nodes)
        return indexes


def pack(trees: Sequence[Tree]) -> PackedTrees:
    """Lay trees end to end in one row."""
    spans: list[Span] = []
    ends: list[int] = []
    firsts: list[int] = []
    for tree in trees:
        offset = spans[-1].start + spans[-1].length if spans else 0
        own = list(_spans(tree, offset, len(spans)))
        spans += own
        for end, length in zip(tree.ends, tree.lengths, strict=True):
            last = own[end]
            ends.append(last.start + length - 1 - last.position)
            firsts.append(own[tree.chain(end)[0]].start)
    return PackedTrees(
        input_ids=np.concatenate([node.ids for tree in trees for node in tree.nodes]),
        position_ids=np.concatenate(
            [np.arange(s.position, s.position + s.length, dtype=np.int32) for s in spans]
        ),
        spans=tuple(spans),
        ends=np.asarray(ends, dtype=np.int64),
        firsts=np.asarray(firsts, dtype=np.int64),
        starts=tuple(s for tree in trees for s in tree.starts),
        trees=tuple(trees),
    )


def _spans(tree: Tree, start: int, first: int) -> Iterator[Span]:
    """Spans of a tree's nodes from a token of the row on; ``first`` is the number of its first."""
    after: list[int] = []  # the position that follows each node
    for node in tree.nodes:
        position = 0 if node.parent is None else after[node.parent]
        parent = None if node.parent is None else first + node.parent
        yield Span(start, len(node.ids), parent, position)
        after.append(position + len(node.ids))
        start += len(node.ids)


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
