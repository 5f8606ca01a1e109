"""Property: RRM's pairs are what they say, deterministic, and borrow from other prompts only."""

from collections import Counter

import pytest

from assay.data.augment import RRM_SUBSET, rrm
from assay.data.pairs import PreferencePairs
from assay.errors import DataError


def rows(count, per_prompt=2, **fields):
    return [
        {"prompt": f"Q{i // per_prompt}", "chosen": f"good {i}", "rejected": f"bad {i}", **fields}
        for i in range(count)
    ]


@pytest.fixture
def pairs():
    return PreferencePairs.load(rows(60))


def text(messages):
    return messages[0].content


def number(messages):
    return int(text(messages).split()[1])


def kind(comparison):
    own = int(text(comparison.prompt)[1:])
    first, second = comparison.responses
    is_own = number(first) // 2 == own
    return (is_own, text(first).split()[0], text(second).split()[0])


def test_each_kind_is_a_third_and_says_what_it_should(pairs):
    added = rrm(pairs, seed=3)
    assert len(added) == 60
    assert Counter(map(kind, added)) == {
        (True, "good", "good"): 20,
        (True, "bad", "good"): 20,
        (False, "good", "bad"): 20,
    }
    for comparison in added:
        (preference,) = comparison.preferences
        assert (preference.chosen, preference.rejected) == (0, 1)
        is_neutral = not kind(comparison)[0]
        assert preference.probability == (0.5 if is_neutral else 1.0)
        # the borrowed responses answer another prompt
        own, (first, second) = int(text(comparison.prompt)[1:]), comparison.responses
        assert number(second) // 2 != own
        assert (number(first) == number(second)) == is_neutral
        assert comparison.subset == RRM_SUBSET


def test_the_ratio_says_how_many_and_every_pair_is_used_at_most_once(pairs):
    assert len(rrm(pairs, ratio=0.25)) == 15
    owners = [c for c in rrm(pairs, ratio=1.0) if kind(c)[0]]
    assert len({(text(c.prompt), text(c.responses[0])) for c in owners}) == len(owners)


def test_the_seed_decides_and_the_training_data_is_left_alone(pairs):
    before = pairs.digest
    assert rrm(pairs, seed=1) == rrm(pairs, seed=1)
    assert rrm(pairs, seed=1) != rrm(pairs, seed=2)
    assert pairs.digest == before


def test_weights_are_the_owners_and_ties_and_tools_give_none():
    data = [*rows(4, weight=2.0), {**rows(1)[0], "prompt": "tie", "tie": True}]
    data.append({**rows(1)[0], "prompt": "tool", "tools": [{"name": "f"}]})
    added = rrm(PreferencePairs.load(data))
    assert len(added) == 4
    assert {c.preferences[0].weight for c in added} == {2.0}
    assert {text(c.prompt) for c in added} <= {"Q0", "Q1"}


def test_a_response_given_to_every_prompt_is_never_paired_with_itself():
    same = [
        {"prompt": f"Q{i}", "chosen": "I do not know.", "rejected": f"bad {i}"} for i in range(5)
    ]
    with pytest.raises(DataError, match="found nothing to borrow"):
        rrm(PreferencePairs.load(same))


def test_one_prompt_has_nothing_to_borrow_from():
    with pytest.raises(DataError, match="the training pairs have 1 prompt; leave it out"):
        rrm(PreferencePairs.load(rows(2)))
