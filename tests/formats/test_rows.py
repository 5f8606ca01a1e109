import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataError
from assay.formats.comparisons import assay_comparison, to_row
from assay.formats.pairs import shared_words
from assay.formats.rows import EXAMPLES_KEPT, RowReader, Tally
from assay.types import Dropped, Message, Preference

PAIR = {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"}
UNKNOWN = "docs/formats.md lists the formats."
ADVICE = "Fix the line or pass --on-bad-row skip."


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def read(*rows, on_bad_row="error"):
    """The comparisons of rows given as lines of a file, and the tally."""
    tally = Tally()
    reader = RowReader("f.jsonl", "line", on_bad_row, tally)
    return [c for _, c in reader.comparisons(enumerate(rows, start=1))], tally


def one(row):
    (comparison,), _ = read(row)
    return comparison


def texts(comparison):
    return [m.content for m in comparison.prompt], [
        [m.content for m in response] for response in comparison.responses
    ]


def only(comparison):
    (preference,) = comparison.preferences
    return preference


def refused(row, match, first=PAIR):
    """The row after a good one stops the reading with the message, or is counted once."""
    good = [first] if first else []
    with pytest.raises(DataError) as caught:
        read(*good, row)
    assert str(caught.value) == f"f.jsonl line {len(good) + 1}: {match}"
    kept, tally = read(*good, row, on_bad_row="skip")
    assert len(kept) == len(good)
    assert sum(tally.dropped.values()) == 1


# --- pairs


def test_pair_with_prompt():
    comparison = one({**PAIR, "id": 7, "subset": "maths", "annotator": "ada", "model": "ignored"})
    assert comparison.prompt == (Message("user", "2 + 2?"),)
    assert comparison.responses == ((Message("assistant", "4"),), (Message("assistant", "5"),))
    assert comparison.preferences == (Preference(0, 1),)
    assert (comparison.id, comparison.subset, comparison.annotator) == ("7", "maths", "ada")
    assert comparison.ranking is None


def test_pair_of_messages_keeps_what_templates_read():
    call = {"type": "function", "function": {"name": "f", "arguments": {}}}
    chosen = [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "content": "18", "name": "f"},
        assistant("It is 18."),
    ]
    row = {"prompt": [user("Weather?")], "chosen": chosen, "rejected": [assistant("No.")]}
    response = one(row).responses[0]
    assert response[0] == Message("assistant", "", {"tool_calls": [call]})
    assert response[1] == Message("tool", "18", {"name": "f"})


@pytest.mark.parametrize("as_text", [False, True])
def test_tools_may_be_json_text(as_text):
    tools = [{"type": "function", "function": {"name": "f"}}]
    row = {**PAIR, "tools": json.dumps(tools) if as_text else tools}
    assert one(row).tools == tuple(tools)
    assert one({**PAIR, "tools": " " if as_text else []}).tools is None


def test_label_fields_of_a_pair():
    assert only(one({**PAIR, "probability": 0.75, "margin": 2, "weight": 0.5})) == Preference(
        0, 1, 0.75, 2.0, 0.5
    )
    assert only(one({**PAIR, "tie": True})).probability == 0.5
    assert only(one({**PAIR, "tie": False, "probability": None})).probability == 1.0


def test_low_probability_turns_the_sides_round():
    assert only(one({**PAIR, "probability": 0.25, "margin": 1})) == Preference(1, 0, 0.75, 1.0)


def test_conversations_that_repeat_the_prompt_are_stripped():
    row = {
        "prompt": "Say hi.",
        "chosen": [user("Say hi."), assistant("Hi!")],
        "rejected": [user("Say hi."), assistant("No.")],
        "score_chosen": 8.0,
        "score_rejected": 3.5,
    }
    comparison = one(row)
    assert texts(comparison) == (["Say hi."], [["Hi!"], ["No."]])
    assert only(comparison).margin == 4.5
    assert only(one({**row, "margin": 1.0})).margin == 1.0


def test_repeated_prompt_may_be_part_of_a_longer_beginning():
    begin = [{"role": "system", "content": "Be kind."}, user("A"), assistant("B"), user("Say hi.")]
    row = {
        "prompt": "Say hi.",
        "chosen": [*begin, assistant("Hi!")],
        "rejected": [*begin, assistant("No.")],
    }
    assert texts(one(row)) == (["Be kind.", "A", "B", "Say hi."], [["Hi!"], ["No."]])


def test_conversations_without_prompt_split_at_the_first_difference():
    begin = [user("A"), assistant("B"), user("C")]
    row = {"chosen": [*begin, assistant("D")], "rejected": [*begin, assistant("E")]}
    assert texts(one(row)) == (["A", "B", "C"], [["D"], ["E"]])


@pytest.mark.parametrize(
    ("chosen", "rejected", "prompt", "responses"),
    [
        ("Q: hi A: good", "Q: hi A: bad", "Q: hi A:", ["good", "bad"]),
        ("the cat sat", "the cats sat", "the", ["cat sat", "cats sat"]),
        ("a red\napple", "a red\navocado", "a red", ["apple", "avocado"]),
        ("It is  blue", "It is red", "It is", ["blue", "red"]),
    ],
)
def test_texts_without_prompt_split_between_words(chosen, rejected, prompt, responses):
    comparison = one({"chosen": chosen, "rejected": rejected})
    assert texts(comparison) == ([prompt], [[r] for r in responses])


@given(st.text("ab \n", max_size=12), st.text("ab \n", max_size=12))
def test_shared_words_end_between_words(a, b):
    cut = shared_words(a, b)
    assert a[:cut] == b[:cut]
    assert cut == shared_words(b, a)
    for value in (a, b):
        before, after = value[:cut], value[cut:]
        assert before.split() + after.split() == value.split()


def test_hh_transcripts():
    begin = "\n\nHuman: Hi\nthere\n\nAssistant: Hello.\n\nHuman: Joke?"
    row = {"chosen": f"{begin}\n\nAssistant: Ha.", "rejected": f"{begin}\n\nAssistant: No."}
    comparison = one(row)
    assert texts(comparison) == (["Hi\nthere", "Hello.", "Joke?"], [["Ha."], ["No."]])
    assert [m.role for m in comparison.prompt] == ["user", "assistant", "user"]


def test_transcript_as_prompt():
    row = {"prompt": "\n\nHuman: Hi\n\nAssistant:", "chosen": "Yes", "rejected": "No"}
    assert one(row).prompt == (Message("user", "Hi"),)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (
            {"chosen": " "},
            "'chosen' is empty; every pair needs a prompt and two different responses.",
        ),
        (
            {"rejected": []},
            "'rejected' is empty; every pair needs a prompt and two different responses.",
        ),
        (
            {"prompt": "\n"},
            "'prompt' is empty; every pair needs a prompt and two different responses.",
        ),
        (
            {"prompt": [user("")]},
            "'prompt' is empty; every pair needs a prompt and two different responses.",
        ),
        (
            {"rejected": "4"},
            "'chosen' and 'rejected' are the same; every pair needs two different responses.",
        ),
        ({"rejected": None}, "'rejected' is missing."),
        ({"prompt": None}, "'prompt' is missing."),
        ({"chosen": 4}, "'chosen' must be text or a list of messages, not 4."),
        ({"chosen": ["4"]}, "'chosen' must be text or a list of messages, not [\"4\"]."),
        (
            {"chosen": [{"role": "gpt", "content": "4"}]},
            "'chosen' has a message with the role \"gpt\"; roles are "
            "system, developer, user, assistant, tool, function.",
        ),
        (
            {"chosen": [{"role": "assistant", "content": ["4"]}]},
            "'chosen' has a message whose content must be text, not [\"4\"].",
        ),
        ({"chosen": "\ud83d"}, "'chosen' holds half a character at position 0."),
        (
            {"chosen": [assistant("4"), user("5")]},
            "'chosen' ends with a user message, not with the assistant's.",
        ),
        (
            {"chosen": [user("3 + 3?"), assistant("6")]},
            "'chosen' and 'rejected' are conversations that do not both begin with the 'prompt'.",
        ),
        ({"weight": math.nan}, "'weight' must be a finite number of at least 0, not NaN."),
        ({"weight": math.inf}, "'weight' must be a finite number of at least 0, not Infinity."),
        ({"weight": -1}, "'weight' must be a finite number of at least 0, not -1."),
        ({"weight": "2"}, "'weight' must be a number, not \"2\"."),
        ({"margin": math.nan}, "'margin' must be a finite number, not NaN."),
        ({"margin": True}, "'margin' must be a number, not true."),
        (
            {"probability": 1.5},
            "'probability' must be a finite number of at least 0 and at most 1, not 1.5.",
        ),
        ({"tie": "yes"}, "'tie' must be true or false, not \"yes\"."),
        ({"tie": True, "probability": 0.9}, "'tie' is true but 'probability' is 0.9, not 0.5."),
        ({"tools": 3}, "'tools' must be a list of tool descriptions, not 3."),
        (
            {"tools": "[{"},
            "'tools' is text but not JSON (Expecting property name enclosed in double quotes: "
            "line 1 column 3 (char 2)).",
        ),
        ({"id": 1.5}, "'id' must be text, not 1.5."),
    ],
)
def test_bad_pair_is_named_or_counted(change, problem):
    refused({**PAIR, **change}, f"{problem} {ADVICE}")


def test_long_values_are_cut_in_messages():
    with pytest.raises(DataError, match=r"not \[\"4{40,60}\.\.\.\. Fix"):
        read(PAIR, {**PAIR, "chosen": ["4" * 500]})
    with pytest.raises(DataError, match=r"not \{1\}\."):
        read(PAIR, {**PAIR, "chosen": {1}})


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"chosen": [user("A"), assistant("B")], "rejected": [user("C"), assistant("D")]},
            "'chosen' and 'rejected' differ from their first message on; "
            "without a 'prompt' they must begin with the same one.",
        ),
        (
            {
                "chosen": [{"role": "system", "content": "S"}, user("A"), assistant("B")],
                "rejected": [{"role": "system", "content": "S"}, user("C"), assistant("D")],
            },
            "the response in 'chosen' begins with a user message; "
            "both responses must answer the same prompt.",
        ),
        (
            {"chosen": [user("A")], "rejected": [user("A"), assistant("D")]},
            "'chosen' is empty; every pair needs a prompt and two different responses.",
        ),
    ],
)
def test_conversations_without_a_common_prompt(row, problem):
    good = {"chosen": [user("A"), assistant("B")], "rejected": [user("A"), assistant("D")]}
    refused(row, f"{problem} {ADVICE}", first=good)


def test_texts_without_a_common_prompt():
    good = {"chosen": "a b", "rejected": "a c"}
    problem = (
        "'chosen' and 'rejected' differ from their first word on; "
        "without a 'prompt' they must begin with the same one."
    )
    refused({"chosen": "cat", "rejected": "cats"}, f"{problem} {ADVICE}", first=good)
    problem = "'rejected' is empty; every pair needs a prompt and two different responses."
    refused({"chosen": "a b", "rejected": "a"}, f"{problem} {ADVICE}", first=good)


# --- formats of a file


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"prompt": "a", "completion": "b", "label": True},
            "the row has one 'completion' with a 'label' (a KTO row, which losses binary and kto "
            "take); "
            "a preference needs two responses to one prompt, 'chosen' and 'rejected'.",
        ),
        (
            {"messages": [user("a"), assistant("b")]},
            "the row has a single answer (a fine-tuning row); "
            "a preference needs two responses to one prompt, 'chosen' and 'rejected'.",
        ),
        (
            {"prompt": "a", "chosen": "b"},
            "'rejected' is missing; a pair has 'chosen' and 'rejected'.",
        ),
        (
            {"prompt": "a", "responses": ["b", "c"]},
            "the row has 'responses' but no 'judgments'; a comparison says which is better.",
        ),
        (
            {"question": "a", "answer": "b"},
            "its keys ('question', 'answer') fit no preference format; "
            "'prompt', 'chosen' and 'rejected' do.",
        ),
        ({}, "its keys (none) fit no preference format; 'prompt', 'chosen' and 'rejected' do."),
        (
            {"chosen": 3, "rejected": 4},
            "'chosen' must be text or a list of messages, not 3.",
        ),
    ],
)
def test_rows_of_no_preference_format_say_what_they_lack(row, problem):
    refused(row, f"{problem} {UNKNOWN}", first=None)


def test_missing_key_names_the_format_of_the_file():
    refused(
        {"prompt": "a", "chosen": "b"},
        "'rejected' is missing; a row of 'pair with prompt' has 'prompt', 'chosen', 'rejected'. "
        + ADVICE,
    )


@pytest.mark.parametrize("on_bad_row", ["error", "skip"])
def test_mixed_formats_are_an_error_naming_both(on_bad_row):
    other = {"chosen": "a b", "rejected": "a c"}
    with pytest.raises(
        DataError,
        match="line 3 reads as 'pair of texts without prompt', but line 1 as 'pair with prompt'",
    ):
        read(PAIR, PAIR, other, on_bad_row=on_bad_row)


def test_file_without_rows_is_an_error():
    with pytest.raises(DataError, match=r"^f\.jsonl is empty; .* in each line\.$"):
        read()


def test_skipped_rows_are_counted_with_their_first_places():
    bad = {**PAIR, "chosen": ""}
    kept, tally = read(PAIR, *[bad] * 5, {**PAIR, "weight": -1}, on_bad_row="skip")
    assert len(kept) == 1
    assert tally.rows == 7
    assert tally.formats == {"pair with prompt": 1}
    assert tally.dropped == {"empty text": 5, "bad 'weight'": 1}
    assert tally.examples == [
        *[Dropped(f"f.jsonl line {n}", "empty text") for n in range(2, 2 + EXAMPLES_KEPT)],
        Dropped("f.jsonl line 7", "bad 'weight'"),
    ]


# --- rating sets


def test_ultrafeedback_is_a_ranking_by_score():
    row = {
        "source": "flan",
        "instruction": "Q",
        "completions": [
            {"response": "a", "overall_score": 9.0},
            {"response": "b", "overall_score": 2.0},
            {"response": "c", "overall_score": 9.0},
        ],
    }
    comparison = one(row)
    assert comparison.ranking == ((0, 2), (1,))
    assert comparison.preferences == (
        Preference(0, 1, 1.0, 7.0),
        Preference(0, 2, 0.5, 0.0),
        Preference(2, 1, 1.0, 7.0),
    )
    assert comparison.subset == "flan"


def test_ultrafeedback_falls_back_to_the_fine_grained_score():
    completions = [
        {"response": "a", "overall_score": 9.0, "fine-grained_score": 1.0},
        {"response": "b", "overall_score": None, "fine-grained_score": 4.5},
    ]
    comparison = one({"instruction": "Q", "completions": completions})
    assert only(comparison) == Preference(1, 0, 1.0, 3.5)


def test_bad_ultrafeedback_rows():
    good = {
        "instruction": "Q",
        "completions": [
            {"response": "a", "overall_score": 1},
            {"response": "b", "overall_score": 2},
        ],
    }
    few = {"instruction": "Q", "completions": good["completions"][:1]}
    refused(few, f"'completions' has 1 of at least 2 items. {ADVICE}", first=good)
    refused(
        {"instruction": "Q", "completions": ["a", "b"]},
        f'\'completions\' must hold objects, not ["a", "b"]. {ADVICE}',
        first=good,
    )
    refused(
        {"instruction": "Q", "completions": "ab"},
        f"'completions' must be a list, not \"ab\". {ADVICE}",
        first=good,
    )
    unscored = {"instruction": "Q", "completions": [{"response": "a"}, {"response": "b"}]}
    refused(unscored, f"'fine-grained_score' is missing. {ADVICE}", first=good)


def test_identical_responses_in_a_ranking_lose_their_pair_only():
    completions = [
        {"response": text, "overall_score": score} for text, score in [("a", 1), ("a", 2), ("b", 3)]
    ]
    (comparison,), tally = read({"instruction": "Q", "completions": completions})
    assert [(p.chosen, p.rejected) for p in comparison.preferences] == [(2, 0), (2, 1)]
    assert tally.dropped == {"pair of identical responses in a ranking": 1}


@pytest.mark.parametrize(
    ("strength", "expected"),
    [(-2, Preference(0, 1, 1.0, 2.0)), (3, Preference(1, 0, 1.0, 3.0)), (0, Preference(0, 1, 0.5))],
)
def test_helpsteer_preferences(strength, expected):
    two = {
        "prompt": "Hi\n<extra_id_1>Assistant\nHello!\n<extra_id_1>User\nBye",
        "response_1": "Bye!",
        "response_2": "What?",
        "preference_strength": strength,
    }
    comparison = one(two)
    assert only(comparison) == expected
    assert comparison.prompt == (
        Message("user", "Hi"),
        Message("assistant", "Hello!"),
        Message("user", "Bye"),
    )
    three = {
        "domain": "code",
        "context": [user("Hi")],
        "response1": "Bye!",
        "response2": "What?",
        "overall_preference": strength,
    }
    comparison = one(three)
    assert only(comparison) == expected
    assert comparison.subset == "code"


def test_bad_helpsteer_preferences():
    good = {"prompt": "a", "response_1": "b", "response_2": "c", "preference_strength": 1}
    refused(
        {**good, "preference_strength": 4},
        "'preference_strength' must be a finite number of at least -3 and at most 3, not 4. "
        + ADVICE,
        first=good,
    )
    refused(
        {**good, "preference_strength": None},
        f"'preference_strength' is missing. {ADVICE}",
        first=good,
    )
    refused(
        {**good, "response_2": "b"},
        f"the two responses are the same; every pair needs two different ones. {ADVICE}",
        first=good,
    )


def rating(prompt, response, helpfulness):
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": 1}


def test_helpsteer_ratings_join_neighbours_of_one_prompt():
    kept, tally = read(
        rating("p", "a", 4),
        rating("p", "b", 1),
        rating("lone", "c", 2),
        rating("q", "d", 3),
        rating("q", "e", 3),
    )
    assert [only(c) for c in kept] == [Preference(0, 1, 1.0, 3.0), Preference(0, 1, 0.5)]
    assert [c.ranking for c in kept] == [((0,), (1,)), ((0, 1),)]
    assert tally.rows == 5
    assert tally.dropped == {"prompt with a single rated response": 1}
    assert tally.examples == [Dropped("f.jsonl line 3", "prompt with a single rated response")]


def test_identical_rated_responses_are_refused_at_their_first_line():
    rows = [rating("p", "a", 4), rating("q", "b", 1), rating("q", "b", 2)]
    with pytest.raises(DataError, match=r"line 2: the compared responses are the same"):
        read(*rows)
    kept, tally = read(*rows, on_bad_row="skip")
    assert not kept
    assert tally.dropped["identical responses"] == 1


@pytest.mark.parametrize(
    ("votes", "chosen", "probability"),
    [([1, 1, 2], 0, 2 / 3), ([2, 2, 0], 1, 5 / 6), ([0, 0, 0], 0, 0.5), ([1], 0, 1.0)],
)
def test_pandalm_votes_are_a_soft_label(votes, chosen, probability):
    row = {"instruction": "Do", "input": "", "response_1": "a", "response_2": "b", "votes": votes}
    preference = only(one(row))
    assert preference.chosen == chosen
    assert preference.probability == pytest.approx(probability)
    assert one({**row, "input": "this"}).prompt == (Message("user", "Do\n\nthis"),)
    refused({**row, "instruction": 3}, f"'instruction' must be text, not 3. {ADVICE}", row)
    refused(
        {**row, "votes": [3]}, f"'votes' must be 0 (a tie), 1 or 2 each, not [3]. {ADVICE}", row
    )


# --- Assay comparisons


def judged(*judgments, responses=("a", "b", "c", "d"), **fields):
    return {"prompt": "Q", "responses": list(responses), "judgments": list(judgments), **fields}


def test_single_ranking_spells_out_its_pairs():
    comparison = one(judged({"annotator": "ada", "kind": "human", "ranking": [[2], [0, 3], [1]]}))
    assert comparison.ranking == ((2,), (0, 3), (1,))
    assert comparison.annotator == "ada"
    assert comparison.preferences == (
        Preference(0, 1),
        Preference(2, 0),
        Preference(0, 3, 0.5),
        Preference(2, 1),
        Preference(3, 1),
        Preference(2, 3),
    )


def test_flat_ranking_is_one_of_single_places():
    assert one(judged({"ranking": [1, 0]})).ranking == ((1,), (0,))


def test_unranked_responses_are_not_compared():
    pairs = one(judged({"ranking": [[3], [1]]})).preferences
    assert pairs == (Preference(3, 1),)


def test_several_judgments_become_the_share_of_votes():
    comparison = one(
        judged(
            {"annotator": "ada", "choice": 1},
            {"annotator": "bob", "choice": 1},
            {"annotator": "eve", "choice": None},
            responses=("a", "b"),
            weight=2,
            subset="s",
        )
    )
    preference = only(comparison)
    assert (preference.chosen, preference.weight) == (1, 2.0)
    assert preference.probability == pytest.approx(5 / 6)
    assert (comparison.annotator, comparison.ranking, comparison.subset) == (None, None, "s")


def test_choice_among_many_compares_the_chosen_with_each_other():
    assert one(judged({"choice": 2})).preferences == (
        Preference(2, 0),
        Preference(2, 1),
        Preference(2, 3),
    )
    ties = one(judged({"choice": None}, responses=("a", "b", "c"))).preferences
    assert [p.probability for p in ties] == [0.5] * 3


@pytest.mark.parametrize(
    ("judgments", "probability", "margin"),
    [
        ([{"choice": 0, "strength": 3}, {"choice": 0}], 1.0, 3.0),
        ([{"choice": 0, "strength": 3}, {"choice": 1, "strength": 1}, {"choice": 0}], 2 / 3, 1.0),
        ([{"choice": 0, "strength": 3}, {"choice": None, "strength": 0}], 0.75, 1.5),
        ([{"choice": 0}, {"choice": 0}, {"choice": 1, "strength": 3}], 2 / 3, 0.0),
        ([{"choice": 0, "strength": 3}, {"choice": 1, "strength": 1}], 0.5, 0.0),
    ],
)
def test_strengths_become_the_margin(judgments, probability, margin):
    preference = only(one(judged(*judgments, responses=("a", "b"))))
    assert preference.chosen == 0
    assert preference.probability == pytest.approx(probability)
    assert preference.margin == pytest.approx(margin)


def test_swapped_responses_give_the_mirrored_preference():
    judgments = [{"choice": 0, "strength": 2}, {"choice": 0}, {"choice": 1}]
    mirrored = [{**j, "choice": 1 - j["choice"]} for j in judgments]
    here = only(one(judged(*judgments, responses=("a", "b"))))
    there = only(one(judged(*mirrored, responses=("b", "a"))))
    assert (here.chosen, there.chosen) == (0, 1)
    assert here.probability == pytest.approx(there.probability)
    assert here.margin == there.margin


def test_responses_may_be_objects():
    row = judged(
        {"ranking": [0, 1, 2, 3]},
        responses=("a", {"id": "x", "text": "b"}, {"messages": [assistant("c")]}, [assistant("d")]),
    )
    assert [r[0].content for r in one(row).responses] == ["a", "b", "c", "d"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            judged({"ranking": [[0], [4]]}),
            "'ranking' must be the index of a response, 0 to 3, not 4.",
        ),
        (judged({"choice": True}), "'choice' must be the index of a response, 0 to 3, not true."),
        (
            judged({"ranking": [[0], [0, 1]]}),
            "'ranking' must name two or more responses once each, not [[0], [0, 1]].",
        ),
        (
            judged({"ranking": [[0, 1], []]}),
            "'ranking' must name two or more responses once each, not [[0, 1], []].",
        ),
        (judged({"ranking": [2]}), "'ranking' must name two or more responses once each, not [2]."),
        (judged({"annotator": "ada"}), "a judgment has neither 'ranking' nor 'choice'."),
        (judged("ada"), "'judgments' must hold objects, not \"ada\"."),
        (judged(), "'judgments' has 0 of at least 1 items."),
        (
            judged({"choice": 0, "strength": -1}),
            "'strength' must be a finite number of at least 0, not -1.",
        ),
        (judged({"choice": 0}, responses=("a",)), "'responses' has 1 of at least 2 items."),
        (
            judged({"choice": 0}, responses=("a", " ")),
            "'responses[1]' is empty; every pair needs a prompt and two different responses.",
        ),
        (judged({"choice": 0}, responses=("a", {"id": 3})), "'responses[1]' is missing."),
        (
            judged({"choice": 0}, responses=("a", "a")),
            "the compared responses are the same; every comparison needs two different ones.",
        ),
        (
            {"prompt": "Q", "responses": ["a", "b"], "preferences": [{"chosen": 0, "rejected": 2}]},
            "'preferences: rejected' must be the index of a response, 0 to 1, not 2.",
        ),
        (
            {"prompt": "Q", "responses": ["a", "b"], "preferences": [{"chosen": 0, "rejected": 0}]},
            "'preferences' compares a response with itself.",
        ),
        (
            {"prompt": "Q", "responses": ["a", "b"], "preferences": [[0, 1]]},
            "'preferences' must hold objects, not [0, 1].",
        ),
    ],
)
def test_bad_comparison_is_named_or_counted(row, problem):
    refused(row, f"{problem} {ADVICE}", first=judged({"choice": 0}))


def test_written_comparison_is_read_back_the_same():
    call = {"type": "function", "function": {"name": "f"}}
    rich = {
        "prompt": [user("Weather?")],
        "chosen": [
            {"role": "assistant", "content": "", "tool_calls": [call]},
            {"role": "tool", "content": "18"},
            assistant("18."),
        ],
        "rejected": "No.",
        "probability": 0.1,
        "margin": 0.3,
        "weight": 2.0,
        "id": "7",
        "subset": "s",
        "annotator": "ada",
        "tools": [call],
    }
    for row in (PAIR, rich, judged({"ranking": [[2], [0, 3], [1]]})):
        comparison = one(row)
        written = json.loads(json.dumps(to_row(comparison)))
        assert assay_comparison(written) == comparison
        assert one(written) == comparison


# --- Tülu

TULU = {
    "instance_id": "t1",
    "prompt": "Hi",
    "completion_a": "Hello.",
    "completion_b": "What?",
    "preference": "b-is-slightly-better",
    "evaluator": "e1",
}


@pytest.mark.parametrize(
    ("said", "preference"),
    [
        ("a-is-better", Preference(0, 1, 1.0, 2.0)),
        ("a-is-slightly-better", Preference(0, 1, 1.0, 1.0)),
        ("tie", Preference(0, 1, 0.5, 0.0)),
        ("b-is-slightly-better", Preference(1, 0, 1.0, 1.0)),
        ("b-is-better", Preference(1, 0, 1.0, 2.0)),
    ],
)
def test_tulu_has_five_points(said, preference):
    comparison = one({**TULU, "preference": said})
    assert only(comparison) == preference
    assert (comparison.id, comparison.annotator) == ("t1", "e1")
    assert texts(comparison) == (["Hi"], [["Hello."], ["What?"]])


def test_tulu_rows_that_are_none():
    advice = f" {ADVICE}"
    points = "a-is-better, a-is-slightly-better, tie, b-is-slightly-better, b-is-better"
    refused(
        {**TULU, "preference": "a"},
        f"'preference' must be one of {points}, not \"a\".{advice}",
        first=TULU,
    )
    refused(
        {**TULU, "completion_b": "Hello."},
        f"the two responses are the same; every pair needs two different ones.{advice}",
        first=TULU,
    )


def test_who_wrote_a_response_is_kept_and_written_back() -> None:
    said = {"model": "m", "temperature": 0.7}
    row = {
        "prompt": "Which?",
        "responses": [
            {"text": "A.", "provenance": {**said, "stop": None}},
            {"text": "B.", "provenance": "a text is none"},
        ],
        "judgments": [{"annotator": "ada", "choice": 0}],
    }
    comparison = assay_comparison(row)
    assert comparison.provenance == (said, {})
    written = to_row(comparison)
    assert [r.get("provenance") for r in written["responses"]] == [said, None]
    assert assay_comparison(written) == comparison
    assert assay_comparison({**row, "responses": ["A.", "B."]}).provenance is None
