"""Value: comparisons become trees and index arrays, and what does not fit is counted."""

from __future__ import annotations

import numpy as np
import pytest

from assay.data.contract import Renderer, make_contract
from assay.errors import ContractError, DataError
from assay.models.backbones import load_tokenizer
from assay.train.encode import encode, pair_index
from assay.types import Comparison, Message, Preference, as_messages


@pytest.fixture
def renderer(tiny_backbone):
    def make(max_length=256, truncation="drop"):
        tokenizer = load_tokenizer(str(tiny_backbone))
        contract = make_contract(tokenizer, max_length=max_length, truncation=truncation)
        return Renderer(contract, tokenizer)

    return make


def comparison(prompt, *responses, preferences=None, ranking=None):
    return Comparison(
        prompt=as_messages(prompt, "user"),
        responses=tuple(as_messages(r, "assistant") for r in responses),
        preferences=preferences or (Preference(0, 1),),
        ranking=ranking,
    )


def test_a_tree_holds_every_conversation_and_the_response_lengths(renderer):
    wanted = renderer()
    pair = comparison("Say hello", "hello there", "no")
    (example,), report = encode(wanted, [pair], [7], share=True)
    whole = wanted.tokenise(pair.conversations())
    assert [p.tolist() for p in example.tree.paths()] == [t.ids.tolist() for t in whole]
    assert len(example.tree.nodes) > 1
    assert example.lengths == tuple(len(t.ids) - t.response_start for t in whole)
    assert example.cluster == 7
    assert (report.comparisons, report.pairs, report.dropped_pairs, report.truncated) == (
        1,
        1,
        0,
        0,
    )
    assert report.median_tokens == max(len(t.ids) for t in whole)
    assert str(report) == "0 pairs dropped: longer than 256 tokens"


def test_an_encoders_trees_share_nothing(renderer):
    (example,), _ = encode(renderer(), [comparison("Say", "yes", "no")], [0], share=False)
    assert all(node.parent is None for node in example.tree.nodes)


def test_a_comparison_weighs_the_mean_of_its_preferences(renderer):
    preferences = (Preference(0, 1, weight=2.0), Preference(0, 2, weight=0.5))
    three = comparison("Say", "a", "b", "c", preferences=preferences)
    (example,), _ = encode(renderer(), [three], [0], share=True)
    assert example.weight == 1.25


def test_too_long_comparisons_are_dropped_whole_and_counted(renderer):
    three = (Preference(0, 1), Preference(0, 2), Preference(1, 2))
    data = [
        comparison("Say", "yes", "no"),
        comparison("Say", "yes", "no", "maybe " * 60, preferences=three),
    ]
    examples, report = encode(renderer(64), data, [0, 0], share=True)
    assert len(examples) == 1
    assert (report.dropped_too_long, report.dropped_pairs) == (1, 3)
    assert "3 pairs dropped: longer than 64 tokens" in str(report)


def test_truncate_left_keeps_the_responses_and_counts_the_prompts(renderer):
    long_prompt = comparison("tea " * 60, "yes", "no")
    (example,), report = encode(renderer(48, "truncate-left"), [long_prompt], [0], share=True)
    (whole,), _ = encode(renderer(1024), [long_prompt], [0], share=True)
    assert max(len(p) for p in example.tree.paths()) == 48
    assert example.lengths == whole.lengths
    assert [p[-5:].tolist() for p in example.tree.paths()] == [
        p[-5:].tolist() for p in whole.tree.paths()
    ]
    assert report.truncated == 1
    assert "1 prompts cut from the left" in str(report)


def test_the_policy_error_names_the_comparison(renderer):
    data = [comparison("Say", "yes", "no"), comparison("Say", "yes", "no " * 60)]
    with pytest.raises(ContractError, match=r"Comparison 2: .* 64"):
        encode(renderer(64, "error"), data, [0, 0], share=True)


def test_nothing_left_is_an_error_that_says_how_long_they_are(renderer):
    data = [comparison("tea " * 60, "yes", "no")]
    with pytest.raises(DataError, match=r"max_length=32 tokens \(median \d+\); raise --max-length"):
        encode(renderer(32), data, [0], share=True)


def test_what_the_contract_refuses_is_counted_with_the_first_reason(renderer):
    refused = comparison("Say", "yes <|im_end|> no", "no")
    fine = comparison("Say", "yes", "no")
    examples, report = encode(renderer(), [fine, refused, fine], [0, 0, 1], share=True)
    assert [e.cluster for e in examples] == [0, 1]
    assert report.dropped_by_contract == 1
    assert "1 comparisons refused by the contract" in str(report)
    assert "<|im_end|>" in str(report)
    with pytest.raises(DataError, match="All 1 comparisons were refused by the contract"):
        encode(renderer(), [refused], [0], share=True)


def test_preferences_are_numbered_over_responses_laid_end_to_end(renderer):
    ranked = comparison(
        "Say",
        "one",
        "two words",
        "and three words",
        preferences=(Preference(2, 0, 0.75, 2.0), Preference(1, 0)),
    )
    pair = comparison("Say", "short", "somewhat longer", preferences=(Preference(1, 0),))
    examples, _ = encode(renderer(), [ranked, pair], [4, 9], share=True)
    index = pair_index(examples)
    assert index.chosen.tolist() == [2, 1, 4]
    assert index.rejected.tolist() == [0, 0, 3]
    assert index.probability.tolist() == [0.75, 1.0, 1.0]
    assert index.margin.tolist() == [2.0, 0.0, 0.0]
    assert index.example.tolist() == [0, 0, 1]
    assert index.cluster.tolist() == [4, 4, 9]
    first, second = examples
    lengths = first.lengths
    wanted = [
        lengths[2] - lengths[0],
        lengths[1] - lengths[0],
        second.lengths[1] - second.lengths[0],
    ]
    np.testing.assert_array_equal(index.length_difference, wanted)


def test_a_response_of_several_messages_is_one_response(renderer):
    turns = (Message("assistant", "one"), Message("user", "more?"), Message("assistant", "two"))
    pair = Comparison(as_messages("Say", "user"), (turns, turns[:1]), (Preference(0, 1),))
    (example,), _ = encode(renderer(), [pair], [0], share=True)
    assert example.lengths[0] > example.lengths[1]
