"""Property: every kind of verifier passes and fails where it should, strictly and loosely."""
# ruff: noqa: RUF001 - sentences in many scripts

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.feedback.sandbox import is_isolated
from assay.feedback.verifiers import KINDS, Verifier, verifier_of
from assay.feedback.verifiers.base import TextRule
from assay.types import Conversation, Scorer

PROMPT = "Say what tea is."
# what passes, and what fails though it is near it
EXAMPLES = {
    "word_count": ({"at_least": 3, "at_most": 4}, "It's a well-known plant.", "Tea is hot."[:-5]),
    "sentence_count": ({"exactly": 2}, "Dr. Who drinks tea. It is hot!", "Dr. Who drinks tea."),
    "question_count": ({"exactly": 1}, 'She asked: "Why?" He left.', "Why? Why not?"),
    "paragraph_count": ({"exactly": 2}, "One.\n\nTwo.\nStill two.", "One.\nStill one."),
    "line_count": ({"at_most": 2}, "one\n\ntwo", "one\ntwo\nthree"),
    "character_count": ({"at_most": 5}, " tea \n", "teapot"),
    "bullet_count": ({"exactly": 2}, "Tea:\n- green\n* black", "- green\n--- \n**black**"),
    "numbered_count": ({"at_least": 2}, "1. green\n2) black", "1.5 cups\n2. black"),
    "heading_count": ({"exactly": 1}, "# Tea\nIt is hot.", "#tea is hot"),
    "code_block_count": ({"exactly": 1}, "See:\n```python\nx = 1\n```", "```\nx = 1"),
    "placeholder_count": ({"at_least": 2}, "Dear [name], at [time]", "Dear [name], see [a](b) []"),
    "highlight_count": ({"exactly": 2}, "*green* and **black** tea", "2 * 3 * 4 is *24*"),
    "section_count": ({"exactly": 2}, "**Section 1**\na\nSection 2\nb", "see Section 1\nSection 2"),
    "capital_word_count": ({"at_most": 1}, "I drink HOT tea", "I drink VERY HOT tea"),
    "letter_frequency": ({"letter": "t", "at_least": 3}, "Tea, to taste", "tea is here, too"),
    "keyword_frequency": ({"keyword": "tea", "exactly": 2}, "Tea? TEA!", "tea in the teapot"),
    "required_words": ({"words": ["green tea", "cup"]}, "A cup of Green\ntea.", "A cup of greens."),
    "forbidden_words": ({"words": ["hot"]}, "The hotel is cold.", "The tea is HOT."),
    "forbidden_characters": ({"characters": "!?"}, "Tea.", "Tea!"),
    "no_commas": ({}, "Tea and milk", "Tea, milk"),
    "lowercase": ({}, "tea is 80 °c hot", "tea is 80 °C hot"),
    "uppercase": ({}, "TEA IS HOT: ÄÖ!", "TEA IS HOt"),
    "title": ({}, "<<On Tea>>\nIt is hot.", "<On Tea>\n<< >>"),
    "starts_with": ({"phrase": "My tea"}, "my  tea is hot", "So my tea is hot"),
    "ends_with": ({"phrase": "Is that all?"}, "It is hot. Is that\nall?", "Is that all? Yes."),
    "quoted": ({}, '"Tea is hot."', '"Tea" is hot.'),
    "postscript": ({}, "Tea.\n\nP.S. It is hot.", "Psychology is hot. P.S.\n"),
    "choice": ({"options": ["yes", "no"]}, "Yes.", "Yes and no."),
    "two_responses": ({}, "Hot.\n******\nCold.", "Hot.\n******\nHot."),
    "repeats_prompt": ({}, f"{PROMPT} It is a drink.", f"Well. {PROMPT} It is a drink."),
    "paragraph_start": ({"paragraph": 2, "word": "then"}, "A.\n\n**Then** b.", "Then.\n\nHot."),
    "json": ({}, 'Here:\n```json\n{"a": [1]}\n```', '{"a": NaN}'),
    "language": ({"language": "de"}, "Der Tee ist heiß und gut.", "The tea is hot and good."),
    "regex": ({"pattern": r"\d+ °C"}, "It has 80 °C.", "It has °C."),
    "json_schema": (
        {"schema": {"required": ["tea"], "properties": {"tea": {"type": "string"}}}},
        '{"tea": "green"}', '{"tea": 1}'),
    "exact_answer": ({"answer": "green tea"}, "The answer is Green tea.", "The answer is green."),
    "numeric_answer": ({"answer": "1/2"}, r"So it is \boxed{50\%}", "So it is 0.51"),
    "code_tests": (
        {"tests": "assert add(2, 3) == 5"},
        "```python\ndef add(a, b):\n    return a + b\n```", "def add(a, b):\n    return a - b"),
    "all": (
        {"verifiers": [{"kind": "no_commas"}, {"kind": "word_count", "at_most": 3}]},
        "Tea is hot", "Tea, hot"),
    "weighted": (
        {"verifiers": [{"kind": "no_commas"}, {"kind": "lowercase"}], "weights": [3, 1],
         "pass_from": 0.7},
        "Tea is hot", "tea, hot"),
}  # fmt: skip
WITH_PROCESSES = [pytest.param("code_tests", marks=pytest.mark.medium)]
ALL_KINDS = [k for k in EXAMPLES if k != "code_tests"] + WITH_PROCESSES
TEXT_KINDS = [kind for kind in EXAMPLES if issubclass(KINDS[kind], TextRule)]


def said(text: str) -> Conversation:
    return Conversation.of(PROMPT, text)


def made(kind: str, **more):
    return verifier_of({"kind": kind, **EXAMPLES[kind][0], **more})


def needs_walls(kind: str) -> None:
    if kind == "code_tests" and not is_isolated():
        pytest.skip("untrusted code cannot be walled in here")


def test_every_kind_has_an_example_and_there_are_25_of_instructions():
    assert set(EXAMPLES) == set(KINDS)
    assert len(TEXT_KINDS) >= 25


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_one_example_passes_and_one_fails(kind):
    needs_walls(kind)
    _, right, wrong = EXAMPLES[kind]
    verifier = made(kind)
    passed, failed = verifier.check(said(right)), verifier.check(said(wrong))
    assert (passed.passed, failed.passed) == (True, False), (passed, failed)
    assert passed.score == (0.75 if kind == "weighted" else 1)
    assert failed.score < 1
    assert failed.detail


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_every_verifier_is_a_scorer(kind):
    needs_walls(kind)
    _, right, wrong = EXAMPLES[kind]
    verifier = made(kind)
    assert isinstance(verifier, Scorer)
    assert isinstance(verifier, Verifier)
    scores = verifier.score([said(right), said(wrong)])
    assert scores.reward[0] > scores.reward[1]
    np.testing.assert_array_equal(scores.std, [0, 0])
    assert verifier.score([]).reward.shape == (0,)


@pytest.mark.parametrize("kind", EXAMPLES)
def test_a_spec_comes_back_as_it_was_through_json(kind):
    verifier = made(kind, name="mine")
    spec = verifier.to_dict()
    assert spec == {"kind": kind, "name": "mine", **EXAMPLES[kind][0]}
    assert verifier_of(json.loads(json.dumps(spec))) == verifier
    assert made(kind).name == kind


@pytest.mark.parametrize("kind", TEXT_KINDS)
@pytest.mark.parametrize("text", ["", " \n\t"])
def test_a_blank_response_never_passes(kind, text):
    assert made(kind).check(said(text)).passed is False
    assert made(kind, loose=True).check(said(text)).passed is False


@pytest.mark.parametrize("kind", TEXT_KINDS)
def test_loose_passes_what_passes_behind_a_first_and_a_last_line(kind):
    _, right, _ = EXAMPLES[kind]
    wrapped = f"Sure, here IS it, my Friend! HOT HOT [a] [b]\n{right}\nHope, this helps! **Really**"
    assert made(kind, loose=True).check(said(wrapped)).passed is True


@pytest.mark.parametrize("kind", TEXT_KINDS)
@given(text=st.text(alphabet='tea TEA,.!?\n*-#1<>[]"', max_size=60))
def test_loose_is_never_stricter(kind, text):
    strict = made(kind).check(said(text)).passed
    loose = made(kind, loose=True).check(said(text)).passed
    if strict:
        assert loose is True
    if loose is False:
        assert strict is not True


def test_loose_drops_asterisks():
    strict, loose = (
        verifier_of({"kind": "starts_with", "phrase": "Tea", "loose": it}) for it in (False, True)
    )
    assert not strict.check(said("**Tea** is hot")).passed
    found = loose.check(said("**Tea** is hot"))
    assert found.passed
    assert found.detail.startswith("loosely: ")


@given(
    words=st.lists(st.sampled_from(["tea", "don't", "well-known", "80"]), min_size=1, max_size=30)
)
def test_words_are_counted(words):
    check = verifier_of({"kind": "word_count", "exactly": len(words)}).check
    assert check(said(" ".join(words))).passed
    assert check(said(", ".join(words) + ".")).passed
    assert not check(said(" ".join([*words, "more"]))).passed


@given(count=st.integers(1, 8), marker=st.sampled_from(["-", "*", "+", "•"]))
def test_bullets_are_counted(count, marker):
    text = "\n".join(f"{marker} item" for _ in range(count))
    check = verifier_of({"kind": "bullet_count", "exactly": count}).check
    assert check(said(text)).passed
    assert check(said(f"A list:\n\n{text}\n\nDone.")).passed
    assert not check(said(f"{text}\n  - one more")).passed


@given(text=st.text(min_size=1, max_size=40), word=st.sampled_from(["tea", "hot", "cup"]))
def test_required_and_forbidden_are_opposites(text, word):
    for whole in (True, False):
        spec = {"words": [word], "whole_words": whole}
        text = f"{text} tea" if len(text) % 2 else f"x{text}"
        required = verifier_of({"kind": "required_words", **spec}).check(said(text)).passed
        forbidden = verifier_of({"kind": "forbidden_words", **spec}).check(said(text)).passed
        assert required is not forbidden


@given(text=st.text(alphabet="abc ,", min_size=1).filter(str.strip))
def test_a_pattern_forbidden_is_the_opposite_of_it_wanted(text):
    wanted, forbidden = (
        verifier_of({"kind": "regex", "pattern": "a,?b", "forbidden": it}).check(said(text)).passed
        for it in (False, True)
    )
    assert wanted is not forbidden


@given(text=st.text(alphabet=st.characters(categories=["Ll", "Lu", "Zs"]), min_size=1))
def test_a_text_is_not_in_both_cases(text):
    lower, upper = (
        verifier_of({"kind": k}).check(said(text)).passed for k in ("lowercase", "uppercase")
    )
    assert not (lower and upper)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("One. Two! Three?", 3),
        ("Mr. Smith met J. R. Hartley at 3.15 p.m. yesterday.", 1),
        ("It is so, e.g. here, i.e. now.", 1),
        ("Well… yes.", 2),
        ('He said "Go!" She went.', 2),
        ("# Title\nA sentence.\n- item one\n- item two\n1. item three", 5),
        ("a line that\ngoes on.", 1),
        ("茶很热。你喝吗？", 2),
        ("...", 0),
        ("Really?! Yes.", 2),
    ],
)
def test_sentences_by_hand(text, count):
    found = verifier_of({"kind": "sentence_count", "exactly": count}).check(said(text))
    assert found.passed, found


@pytest.mark.parametrize("marker", ["P.S.", "P.P.S."])
def test_a_postscript_may_be_spelled_in_several_ways(marker):
    check = verifier_of({"kind": "postscript", "marker": marker}).check
    letters = [letter for letter in marker if letter.isalpha()]
    for form in (". ".join(letters) + ". more", "".join(letters) + ": more", f"**{marker}** more"):
        assert check(said(f"Tea.\n{form}")).passed, form
    assert not check(said(f"Tea. {marker} in the middle")).passed
    assert not check(said("Tea.\n" + ("P.P.S. more" if marker == "P.S." else "P.S. more"))).passed


LANGUAGES = {
    "ar": "الشاي مشروب ساخن يشربه الناس في الصباح",
    "de": "Tee ist ein heißes Getränk, das man in der ganzen Welt trinkt.",
    "el": "Το τσάι είναι ένα ζεστό ρόφημα",
    "en": "Tea is a hot drink that people all over the world enjoy in the morning.",
    "es": "El té es una bebida caliente que se toma en todo el mundo por la mañana.",
    "fa": "چای یک نوشیدنی گرم است که مردم می‌نوشند",
    "fr": "Le thé est une boisson chaude que les gens aiment boire le matin dans le monde.",
    "he": "תה הוא משקה חם שאנשים שותים בבוקר",
    "hi": "चाय एक गर्म पेय है जो लोग सुबह पीते हैं",
    "it": "Il tè è una bevanda calda che si beve in tutto il mondo anche la mattina.",
    "ja": "お茶は世界中で飲まれている温かい飲み物です",
    "ko": "차는 전 세계에서 마시는 따뜻한 음료입니다",
    "nl": "Thee is een warme drank die mensen over de hele wereld in de ochtend drinken.",
    "pl": "Herbata to gorący napój, który jest pity na całym świecie, a nie tylko w Azji.",
    "pt": "O chá é uma bebida quente que as pessoas do mundo inteiro bebem pela manhã.",
    "ru": "Чай это горячий напиток, который пьют по утрам во всём мире, и он вкусный",
    "sv": "Te är en varm dryck som människor i hela världen dricker på morgonen, och det är gott.",
    "th": "ชาเป็นเครื่องดื่มร้อนที่ผู้คนดื่มในตอนเช้า",
    "tr": "Çay bir sıcak içecek olarak dünyada çok sevilir ve her sabah içilir.",
    "uk": "Чай це гарячий напій, який п'ють вранці у всьому світі, і він смачний",
    "zh": "茶是世界各地的人们早上喝的热饮",
}


@pytest.mark.parametrize("code", LANGUAGES)
def test_languages_are_told_apart(code):
    from assay.feedback.verifiers.languages import NAMES, language_of

    assert set(LANGUAGES) == set(NAMES)
    assert language_of(LANGUAGES[code]) == code
    other = "en" if code != "en" else "de"
    assert (
        verifier_of({"kind": "language", "language": code}).check(said(LANGUAGES[other])).passed
        is False
    )


@pytest.mark.parametrize(
    "text", ["Ok", "12345 67890 !!!", "Zyx wvu tsr qpo nml", "Чай тут", "茶", "お茶"]
)
def test_a_language_that_cannot_be_told_is_not_a_failure(text):
    found = verifier_of({"kind": "language", "language": "en"}).check(said(text))
    assert found.passed is None
    assert np.isnan(found.score)


def test_a_choice_anywhere_must_be_the_only_one():
    check = verifier_of({"kind": "choice", "options": ["tea", "milk"], "anywhere": True}).check
    assert check(said("I take the tea, in a teapot.")).passed
    assert not check(said("I take tea with milk.")).passed
    assert not check(said("I take coffee.")).passed


def test_two_responses_are_two():
    check = verifier_of({"kind": "two_responses"}).check
    assert not check(said("Hot.")).passed
    assert not check(said("Hot.\n******\nCold.\n******\nWarm.")).passed


def test_the_prompt_repeated_may_be_given_or_missing():
    check = verifier_of({"kind": "repeats_prompt", "prompt": "What is tea?"}).check
    assert check(said("what is  tea? A drink.")).passed
    assert not check(said("What is tea?")).passed
    alone = Conversation((), Conversation.of("x", "What is tea? A drink.").response)
    assert verifier_of({"kind": "repeats_prompt"}).check(alone).passed is None


def test_the_last_message_is_the_response():
    talk = Conversation.of(
        [{"role": "user", "content": "a"}],
        [{"role": "assistant", "content": "one, two"}, {"role": "assistant", "content": "three"}],
    )
    assert verifier_of({"kind": "no_commas"}).check(talk).passed
    assert verifier_of({"kind": "no_commas"}).check(Conversation((), ())).passed is False


def test_paragraphs_may_have_a_separator():
    spec = {"kind": "paragraph_count", "exactly": 2, "separator": "***"}
    assert verifier_of(spec).check(said("One.\n\nStill one.\n***\nTwo.")).passed
    assert (
        not verifier_of({"kind": "paragraph_start", "paragraph": 3, "word": "a"})
        .check(said("a"))
        .passed
    )
