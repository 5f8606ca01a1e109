"""Properties of comparison trees: nothing is lost, every token stands once, positions go on."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.data.contract import Tokens
from assay.data.trees import build_tree, fill, pack

# two letters only, so that prefixes are often shared
sequence = st.lists(st.integers(0, 1), min_size=1, max_size=12)
group = st.lists(sequence, min_size=1, max_size=5)


def tokens_of(sequences: list[list[int]]) -> list[Tokens]:
    return [Tokens(np.array(s, dtype=np.int32), min(2, len(s) - 1)) for s in sequences]


def test_a_pair_by_hand() -> None:
    first, second = [5, 6, 7, 8, 9], [5, 6, 7, 4]
    tree = build_tree(tokens_of([first, second]))
    assert tree.prefix.tolist() == [5, 6, 7]
    assert [r.tolist() for r in tree.rests] == [[8, 9], [4]]
    assert tree.num_tokens == 6
    row = pack([tree])
    assert row.input_ids.tolist() == [5, 6, 7, 8, 9, 4]
    assert row.position_ids.tolist() == [0, 1, 2, 3, 4, 3]
    assert row.ends.tolist() == [4, 5]
    assert row.firsts.tolist() == [0, 0]
    assert (row.num_tokens, row.num_responses) == (6, 2)
    # responses begin at position 2, within the shared prefix
    assert [i.tolist() for i in row.response_index()] == [[2, 3, 4], [2, 5]]


def test_a_response_that_begins_another_keeps_its_end() -> None:
    """[1, 2, 3] is a prefix of [1, 2, 3, 4]; its last token, the scored one, stays its own."""
    tree = build_tree(tokens_of([[1, 2, 3], [1, 2, 3, 4]]))
    assert tree.prefix.tolist() == [1, 2]
    assert [r.tolist() for r in tree.rests] == [[3], [3, 4]]


@given(sequences=group, share=st.booleans())
def test_paths_give_every_conversation_back(sequences: list[list[int]], share: bool) -> None:
    tree = build_tree(tokens_of(sequences), share=share)
    assert [p.tolist() for p in tree.paths()] == sequences
    assert tree.num_tokens == sum(map(len, sequences)) - (len(sequences) - 1) * len(tree.prefix)


@given(sequences=group)
def test_the_prefix_is_the_longest_that_leaves_every_rest_a_token(
    sequences: list[list[int]],
) -> None:
    tree = build_tree(tokens_of(sequences))
    assert min(len(r) for r in tree.rests) >= 1
    if min(len(r) for r in tree.rests) > 1:
        assert len({int(r[0]) for r in tree.rests}) > 1  # the first token of the rests differs
    assert len(build_tree(tokens_of(sequences), share=False).prefix) == 0


@given(groups=st.lists(group, min_size=1, max_size=4), share=st.booleans())
def test_packing_keeps_every_conversation_with_its_positions(
    groups: list[list[list[int]]], share: bool
) -> None:
    trees = [build_tree(tokens_of(g), share=share) for g in groups]
    row = pack(trees)
    sequences = [s for g in groups for s in g]
    assert row.num_tokens == sum(t.num_tokens for t in trees)
    assert row.num_responses == len(sequences)
    response = 0
    end = 0
    for tree, segment in zip(trees, row.segments, strict=True):
        assert segment.start == end
        shared = list(range(segment.start, segment.start + segment.prefix))
        end = segment.start + segment.prefix
        for rest, length in zip(tree.rests, segment.rests, strict=True):
            assert length == len(rest)
            path = shared + list(range(end, end + length))
            end += length
            assert row.input_ids[path].tolist() == sequences[response]
            assert row.position_ids[path].tolist() == list(range(len(path)))
            assert row.ends[response] == path[-1]
            assert row.firsts[response] == path[0]
            own = row.response_index()[response]
            assert own.tolist() == path[row.starts[response] :]
            response += 1
    assert end == row.num_tokens


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
