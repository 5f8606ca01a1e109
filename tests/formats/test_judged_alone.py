"""Contract: ratings, labels, annotators and what was shown first are kept, or refused."""

import json

import pytest

from assay.data.pairs import PreferencePairs
from assay.errors import DataError
from assay.formats.comparisons import assay_comparison, to_row
from assay.types import LABEL

LABELLED = {"prompt": "2 + 2?", "completion": "4", "label": True}
RATED = {"prompt": "Name a colour.", "response": "Red.", "helpfulness": 4, "coherence": 3}


def load(*rows, **how):
    return PreferencePairs.load(list(rows), **how)


def only(*rows, **how):
    (comparison,) = load(*rows, **how).comparisons
    return comparison


def refused(row, sentence, **how):
    with pytest.raises(DataError, match=sentence) as caught:
        load(row, **how)
    assert "\n" not in str(caught.value)


# --- labelled -------------------------------------------------------------------------------------


def test_labelled_responses_are_kept_by_themselves():
    rows = [LABELLED, {**LABELLED, "completion": "5", "label": False}]
    pairs = load(*rows, singles=True)
    good, bad = pairs.comparisons
    assert (good.ratings, bad.ratings) == (({LABEL: 1.0},), ({LABEL: 0.0},))
    assert good.responses[0][0].content == "4"
    assert good.preferences == ()
    assert len(pairs) == 0
    assert pairs.report.singles == 2
    assert str(pairs.report) == (
        "2 rows gave 0 pairs in 0 comparisons and 2 single responses; dropped: none"
    )


def test_messages_are_read_as_trl_writes_them():
    row = {
        "prompt": [{"role": "user", "content": "2 + 2?"}],
        "completion": [{"role": "assistant", "content": "4"}],
        "label": False,
    }
    assert only(row, singles=True).responses[0][0].content == "4"


def test_without_being_asked_for_they_are_refused_as_before():
    refused(LABELLED, r"a KTO row, which losses binary and kto take\); a preference needs two")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"label": None}, "'label' is missing"),
        ({"label": 1}, "'label' must be true or false, not 1"),
        ({"label": "good"}, "'label' must be true or false"),
        ({"completion": ""}, "'completion' is empty"),
        ({"prompt": " "}, "'prompt' is empty"),
    ],
)
def test_bad_labelled_rows_are_refused(change, sentence):
    refused({**LABELLED, **change}, sentence, singles=True)


def test_a_response_labelled_both_ways_is_two_and_the_same_twice_is_one():
    rows = [LABELLED, LABELLED, {**LABELLED, "label": False}, {**LABELLED, "completion": "5"}]
    pairs = load(*rows, singles=True)
    assert len(pairs.comparisons) == 3
    assert pairs.report.dropped == {"duplicate": 1}


def test_singles_split_by_prompt_and_are_stored_and_digested(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    rows = [{**LABELLED, "prompt": f"{i // 2} + 2?", "label": i % 2 == 0} for i in range(20)]
    pairs = load(*rows, singles=True)
    train, heldout = pairs.split(heldout=0.3, seed=1)
    assert not set(train.prompt_keys()) & set(heldout.prompt_keys())
    assert len(train.comparisons) + len(heldout.comparisons) == 20
    stored = load(*rows, singles=True, in_memory=False)
    assert list(stored.comparisons) == list(pairs.comparisons)
    assert stored.digest == pairs.digest
    assert load(*rows[:-1], singles=True).digest != pairs.digest


# --- rated ----------------------------------------------------------------------------------------


def test_helpsteer_ratings_are_kept_with_the_ranking_they_make():
    other = {**RATED, "response": "Seven.", "helpfulness": 0, "coherence": None, "verbosity": 1}
    comparison = only(RATED, other)
    assert comparison.ratings == (
        {"helpfulness": 4.0, "coherence": 3.0},
        {"helpfulness": 0.0, "verbosity": 1.0},
    )
    assert comparison.ranking == ((0,), (1,))


def test_a_single_rated_response_is_kept_where_singles_are():
    with pytest.raises(DataError, match="dropped: 1 prompt with a single rated response"):
        load(RATED)
    comparison = only(RATED, singles=True)
    assert comparison.ratings == ({"helpfulness": 4.0, "coherence": 3.0},)
    assert comparison.preferences == ()


def test_ultrafeedback_ratings_by_aspect_are_kept():
    def completion(text, score, honesty):
        return {
            "response": text,
            "overall_score": score,
            "annotations": {"honesty": {"Rating": honesty, "Rationale": "So."}, "style": "3"},
        }

    row = {"instruction": "Hi", "completions": [completion("a", 2, "N/A"), completion("b", 1, "4")]}
    assert only(row).ratings == ({"style": 3.0}, {"honesty": 4.0, "style": 3.0})
    plain = {
        "instruction": "Hi",
        "completions": [{"response": r, "overall_score": s} for r, s in (("a", 2), ("b", 1))],
    }
    assert only(plain).ratings is None


def test_comparisons_may_hold_ratings_and_are_written_as_they_are_read():
    row = {
        "prompt": "Q",
        "responses": ["a", "b", "c"],
        "preferences": [],
        "ratings": [{"tone": 1}, {}, {"tone": 3, "facts": 0.5}],
    }
    comparison = only(row, singles=True)
    assert comparison.ratings == ({"tone": 1.0}, {}, {"tone": 3.0, "facts": 0.5})
    assert assay_comparison(json.loads(json.dumps(to_row(comparison)))) == comparison
    with pytest.raises(DataError, match="1 no preference, ratings only"):
        load(row)
    refused({**row, "ratings": [{"tone": 1}]}, "one object for each of 3 responses", singles=True)
    refused({**row, "ratings": [1, 2, 3]}, "one object for each of 3 responses", singles=True)
    refused({**row, "ratings": [{}, {}, {"tone": "much"}]}, "'tone' must be a number", singles=True)
    refused({**row, "ratings": None}, "'preferences' has 0 of at least 1 items", singles=True)


# --- judgments apart ------------------------------------------------------------------------------

JUDGED = {
    "prompt": "Which one?",
    "responses": ["A.", "B."],
    "judgments": [
        {"annotator": "ada", "choice": 0, "strength": 2, "first_shown": 1},
        {"annotator": "bob", "choice": 1, "first_shown": 0},
        {"annotator": "eve", "choice": None},
    ],
}


def test_judgments_apart_keep_who_judged_and_what_was_shown_first():
    ada, bob, eve = load(JUDGED, apart=True).comparisons
    assert [c.annotator for c in (ada, bob, eve)] == ["ada", "bob", "eve"]
    assert [c.first_shown for c in (ada, bob, eve)] == [1, 0, None]
    assert [
        (p.chosen, p.probability, p.margin) for c in (ada, bob, eve) for p in c.preferences
    ] == [
        (0, 1.0, 2.0),
        (1, 1.0, 0.0),
        (0, 0.5, 0.0),
    ]


def test_judgments_together_are_a_soft_label_as_before():
    comparison = only(JUDGED)
    assert comparison.annotator is None
    assert comparison.first_shown is None
    assert comparison.preferences[0].probability == 0.5
    (single,) = load({**JUDGED, "judgments": JUDGED["judgments"][:1]}).comparisons
    assert (single.annotator, single.first_shown) == ("ada", 1)


def test_an_annotator_of_the_row_stands_in_for_one_the_judgment_lacks():
    row = {
        **JUDGED,
        "annotator": "row",
        "judgments": [{"choice": 0}, {"annotator": "x", "choice": 1}],
    }
    assert [c.annotator for c in load(row, apart=True).comparisons] == ["row", "x"]
    assert only({**row, "judgments": row["judgments"][1:]}).annotator == "row"


def test_rankings_apart_keep_their_own_ranking():
    row = {
        "prompt": "Q",
        "responses": ["a", "b", "c"],
        "judgments": [{"annotator": "x", "ranking": [0, 1, 2]}, {"annotator": "y", "choice": 2}],
    }
    ranked, chosen = load(row, apart=True).comparisons
    assert ranked.ranking == ((0,), (1,), (2,))
    assert chosen.ranking is None
    assert [(p.chosen, p.rejected) for p in chosen.preferences] == [(2, 0), (2, 1)]


def test_pandalm_votes_apart_are_annotators_by_their_place():
    row = {
        "instruction": "Shorten.",
        "response_1": "Long.",
        "response_2": "L.",
        "votes": [1, 0, 2],
    }
    apart = load(row, apart=True).comparisons
    assert [c.annotator for c in apart] == ["1", "2", "3"]
    assert [c.preferences[0].probability for c in apart] == [1.0, 0.5, 1.0]
    assert [c.preferences[0].chosen for c in apart] == [0, 0, 1]
    assert only(row).preferences[0].probability == 0.5


def test_pairs_say_which_side_was_shown_first():
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "annotator": "ada"}
    comparisons = load(
        {**row, "first_shown": "chosen"}, {**row, "first_shown": "rejected"}, row
    ).comparisons
    assert [c.first_shown for c in comparisons] == [0, 1, None]
    assert [assay_comparison(to_row(c)) for c in comparisons] == list(comparisons)
    # a label turned round keeps its sides where they were
    (turned,) = load({**row, "first_shown": "chosen", "probability": 0.2}).comparisons
    assert (turned.preferences[0].chosen, turned.first_shown) == (1, 0)
    refused({**row, "first_shown": "left"}, '\'first_shown\' must be "chosen" or "rejected"')


def test_a_pair_judged_in_both_orders_is_two_judgments():
    row = {"prompt": "Q", "chosen": "a", "rejected": "b", "annotator": "ada"}
    both = [{**row, "first_shown": side} for side in ("chosen", "rejected", "chosen")]
    pairs = load(*both)
    assert len(pairs) == 2
    assert pairs.report.dropped == {"duplicate": 1}


def test_a_bad_place_is_refused():
    broken = {**JUDGED, "judgments": [{"annotator": "ada", "choice": 0, "first_shown": 2}]}
    for apart in (True, False):
        refused(broken, "'first_shown' must be the index of a response, 0 to 1, not 2", apart=apart)
