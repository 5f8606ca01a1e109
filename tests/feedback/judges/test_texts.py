"""What a judge wrote: an option, a refusal, or nothing; and the probabilities of tokens."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assay.feedback.judges.texts import option_probabilities, read_choice, read_text, verdict_schema
from assay.feedback.replies import Choice, TokenLogprobs

AB = ("A", "B", "C")
RATINGS = tuple(str(i) for i in range(1, 11))


@pytest.mark.parametrize(
    ("text", "option"),
    [
        ("A", 0),
        (" b.", 1),
        ("**B**", 1),
        ("Response A", 0),
        ("[[B]]", 1),
        ("They are alike in most, but B is clearer.\n\nVerdict: B", 1),
        ("The better response is A", 0),
        ("A is wordy and B is short.\nA", 0),
        ('{"rationale": "B says more", "verdict": "A"}', 0),
        ('```json\n{"rationale": "x {y}", "verdict": "b"}\n```', 1),
        ('{"verdict": "A"} on reflection {"verdict": "B"}', 1),
    ],
)
def test_an_option_is_read(text, option):
    found = read_text(text, AB)
    assert (found.said, found.option) == ("answered", option)


@pytest.mark.parametrize(
    "text",
    ["", "   ", "Both are fine.", "[[A]] or [[B]]",
        "[[A]] or [[B]]\nVerdict: A", "Verdict: A. Verdict: B", "D", "[[D]]",
     '{"verdict": "neither"}', "{", '{"rationale": "cut of', "A and B"],
)  # fmt: skip
def test_what_names_no_option_or_several_is_unparsable(text):
    found = read_text(text, AB)
    assert (found.said, found.option) == ("unparsable", None)
    assert found.detail


@pytest.mark.parametrize(
    "text", ["I can't judge that.", "I\u2019m sorry, but no.", "As an AI I will not compare these."]
)
def test_a_refusal_is_told_apart(text):
    assert read_text(text, AB).said == "refused"


def test_a_refusal_of_the_endpoint_is_one_whatever_the_text():
    assert read_choice(Choice("A", "stop", refusal="I won't."), AB).said == "refused"
    assert read_choice(Choice("A", "content_filter"), AB).said == "refused"


def test_the_last_line_of_a_cut_text_is_not_believed():
    text = "Both have merits, and on the whole I would say that\nA"
    assert read_text(text, AB).option == 0
    assert read_text(text, AB, cut=True).said == "unparsable"


def test_ratings_are_whole_numbers():
    assert read_text("Rating: 10", RATINGS).option == 9
    assert read_text("Rating: 1", RATINGS).option == 0
    assert read_text("11", RATINGS).said == "unparsable"
    assert read_text("Rating: 7.5", RATINGS).option == 6  # as a number that is cut, not rounded


def token(word, logprob, **top):
    return TokenLogprobs(word, logprob, top)


def test_probabilities_are_those_of_the_options_tokens():
    place = TokenLogprobs(
        "A", math.log(0.5), {"A": math.log(0.5), " a": math.log(0.1), "B": math.log(0.2), "The": -3}
    )
    probabilities, mass = option_probabilities([place], ("A", "B"))
    assert probabilities == pytest.approx((0.75, 0.25))
    assert mass == pytest.approx(0.8)


def test_blank_tokens_before_the_answer_are_passed_over():
    blank = TokenLogprobs("\n", 0.0, {"\n": 0.0})
    answer = TokenLogprobs("B", 0.0, {"B": 0.0})
    assert option_probabilities([blank, answer], ("A", "B")) == ((0.0, 1.0), 1.0)


def test_an_answer_that_begins_with_something_else_has_no_probabilities():
    other = TokenLogprobs("The", -0.1, {"The": -0.1, "A": -3.0})
    later = TokenLogprobs("A", 0.0, {"A": 0.0})
    assert option_probabilities([other, later], ("A", "B")) is None
    assert option_probabilities([], ("A", "B")) is None


def test_ten_is_told_from_one_by_the_next_token():
    one = TokenLogprobs("1", math.log(0.6), {"1": math.log(0.6), "2": math.log(0.4)})
    after = TokenLogprobs("0", math.log(0.75), {"0": math.log(0.75), "<end>": math.log(0.25)})
    probabilities, mass = option_probabilities([one, after], RATINGS)
    assert probabilities[9] == pytest.approx(0.45)
    assert probabilities[0] == pytest.approx(0.15)
    assert probabilities[1] == pytest.approx(0.4)
    assert mass == pytest.approx(1.0)


@settings(deadline=None)
@given(st.lists(st.floats(-8, 0).map(float), min_size=3, max_size=3))
def test_probabilities_sum_to_one(logprobs):
    place = TokenLogprobs("A", logprobs[0], dict(zip(AB, logprobs, strict=True)))
    probabilities, mass = option_probabilities([place], AB)
    assert sum(probabilities) == pytest.approx(1.0)
    assert 0 < mass <= 1.0
    assert max(probabilities) == probabilities[logprobs.index(max(logprobs))]


def test_the_schema_has_reasons_before_the_verdict():
    schema = verdict_schema(("A", "B"))["json_schema"]["schema"]
    assert list(schema["properties"]) == ["rationale", "verdict"]
    assert schema["properties"]["verdict"]["enum"] == ["A", "B"]
