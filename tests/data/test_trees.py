"""Properties of trees: nothing is lost, every beginning stands once, positions go on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.data.contract import Tokens
from assay.data.trees import Tree, build_tree, fill, pack

# two letters only, so that prefixes are often shared
sequence = st.lists(st.integers(0, 1), min_size=1, max_size=12)
group = st.lists(sequence, min_size=1, max_size=5)


def tokens_of(sequences: list[list[int]]) -> list[Tokens]:
    return [Tokens(np.array(s, dtype=np.int32), min(2, len(s) - 1)) for s in sequences]


def ids_of(tree: Tree) -> list[tuple[list[int], int | None]]:
    return [(node.ids.tolist(), node.parent) for node in tree.nodes]


def test_a_pair_by_hand() -> None:
    first, second = [5, 6, 7, 8, 9], [5, 6, 7, 4]
    tree = build_tree(tokens_of([first, second]))
    assert ids_of(tree) == [([5, 6, 7], None), ([8, 9], 0), ([4], 0)]
    assert (tree.ends, tree.lengths) == ((1, 2), (5, 4))
    assert tree.num_tokens == 6
    row = pack([tree])
    assert row.input_ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert row.position_ids.tolist() == [0, 1, 2, 3, 4, 3]
    assert row.ends.tolist() == [4, 5]
    assert row.firsts.tolist() == [0, 0]
    assert (row.num_tokens, row.num_responses) == (6, 2)
    # responses begin at position 2, within the shared prefix
    assert [i.tolist() for i in row.response_index()] == [[2, 3, 4], [2, 5]]


def test_beginnings_of_one_conversation_need_no_branch() -> None:
    tree = build_tree(tokens_of([[1, 2, 3], [1, 2, 3, 4, 5], [1, 2, 3, 4]]))
    assert ids_of(tree) == [([1, 2, 3, 4, 5], None)]
    assert pack([tree]).ends.tolist() == [2, 4, 3]


def test_alternatives_of_a_later_step_by_hand() -> None:
    """Two levels of branches: after [1, 2], and on one side of it after [1, 2, 3, 4]."""
    sequences = [[1, 2, 3, 4, 5], [1, 2, 9], [1, 2, 3, 4, 6, 7], [1, 2, 3]]
    tree = build_tree(tokens_of(sequences))
    assert ids_of(tree) == [([1, 2], None), ([3, 4], 0), ([5], 1), ([6, 7], 1), ([9], 0)]
    row = pack([build_tree(tokens_of([[8]])), tree])
    assert row.input_ids.tolist() == [8, 1, 2, 3, 4, 5, 6, 7, 9]
    assert row.position_ids.tolist() == [0, 0, 1, 2, 3, 4, 4, 5, 2]
    assert row.ends.tolist() == [0, 5, 8, 7, 3]
    assert [s.parent for s in row.spans] == [None, None, 1, 2, 2, 1]
    assert [i.tolist() for i in row.response_index()] == [[0], [3, 4, 5], [8], [3, 4, 6, 7], [3]]


@given(sequences=group, share=st.booleans())
def test_paths_give_every_conversation_back(sequences: list[list[int]], share: bool) -> None:
    tree = build_tree(tokens_of(sequences), share=share)
    assert [p.tolist() for p in tree.paths()] == sequences


@given(sequences=group)
def test_every_beginning_stands_once(sequences: list[list[int]]) -> None:
    tree = build_tree(tokens_of(sequences))
    beginnings = {tuple(s[:n]) for s in sequences for n in range(1, len(s) + 1)}
    assert tree.num_tokens == len(beginnings)
    apart = build_tree(tokens_of(sequences), share=False)
    assert apart.num_tokens == sum(map(len, sequences))
    assert all(node.parent is None for node in apart.nodes)


@given(groups=st.lists(group, min_size=1, max_size=4), share=st.booleans())
def test_packing_keeps_every_conversation_with_its_positions(
    groups: list[list[list[int]]], share: bool
) -> None:
    trees = [build_tree(tokens_of(g), share=share) for g in groups]
    row = pack(trees)
    assert row.num_tokens == sum(t.num_tokens for t in trees)
    end = 0
    for span in row.spans:  # end to end, parents first, positions going on
        assert (span.start, span.length > 0) == (end, True)
        end += span.length
        above = 0
        if span.parent is not None:
            parent = row.spans[span.parent]
            above = parent.position + parent.length
        assert span.position == above
        assert span.parent is None or row.spans[span.parent].start < span.start
    assert end == row.num_tokens
    sequences = [s for g in groups for s in g]
    assert row.num_responses == len(sequences)
    for response, (sequence, own) in enumerate(zip(sequences, row.response_index(), strict=True)):
        start = row.starts[response]
        assert row.input_ids[own].tolist() == sequence[start:]
        assert row.position_ids[own].tolist() == list(range(start, len(sequence)))
        assert row.ends[response] == own[-1]
        assert row.input_ids[row.firsts[response]] == sequence[0]
        assert row.position_ids[row.firsts[response]] == 0


@given(costs=st.lists(st.integers(1, 50), max_size=40), budget=st.integers(1, 60))
def test_filling_loses_nothing_and_respects_the_budget(costs: list[int], budget: int) -> None:
    groups = fill(costs, budget)
    assert sorted(i for g in groups for i in g) == list(range(len(costs)))
    for members in groups:
        assert sum(costs[i] for i in members) <= budget or len(members) == 1
    # no two groups could have been one, so at most one of them is half empty
    small = [g for g in groups if sum(costs[i] for i in g) * 2 <= budget]
    assert len(small) <= 1


def test_filling_by_hand() -> None:
    assert fill([3, 9, 5, 2, 7], 10) == [[1], [4, 0], [2, 3]]
    assert fill([], 10) == []
