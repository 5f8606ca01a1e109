"""Counterfactual edits: each does what it says, or says that it does not apply."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.evaluation.edits import (
    EDITS,
    FILLER,
    REFUSAL,
    has_bold,
    has_header,
    has_list,
    sentences,
    without_markup,
)

BY_NAME = {edit.name: edit.apply for edit in EDITS}
TEXT = "Cool the burn at once. Use running water! Twenty minutes is best."


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("list", "- Cool the burn at once.\n- Use running water!\n- Twenty minutes is best."),
        ("bold", "**Cool the** burn at once. **Use running** water! **Twenty minutes** is best."),
        ("header", f"## Answer\n\n{TEXT}"),
        ("plain", None),
        ("filler", f"{TEXT} {FILLER}"),
        ("repetition", f"{TEXT} Twenty minutes is best."),
        ("truncation", "Cool the burn at once. Use running water!"),
        ("refusal", REFUSAL),
    ],
)
def test_what_each_edit_makes_of_a_plain_answer(name: str, wanted: str | None) -> None:
    assert BY_NAME[name](TEXT) == wanted


def test_praise_and_doubt_stand_in_front() -> None:
    for name in ("flattery", "hedging"):
        edited = BY_NAME[name](TEXT)
        assert edited is not None
        assert edited.endswith(TEXT)
        assert len(edited) > len(TEXT)


def test_edits_that_have_nothing_to_do_say_so() -> None:
    assert BY_NAME["list"]("- one. \n- two. Three.") is None
    assert BY_NAME["list"]("One sentence only.") is None
    assert BY_NAME["bold"]("It is **so**.") is None
    assert BY_NAME["header"]("# Title\ntext") is None
    assert BY_NAME["truncation"]("too short to cut") is None
    assert BY_NAME["refusal"](REFUSAL) is None
    assert BY_NAME["repetition"]("   ") is None


def test_markup_is_taken_off_and_the_words_stay() -> None:
    marked = "## Steps\n\n1. **Cool** it.\n2. Use `water`.\n\n- done"
    assert without_markup(marked) == "Steps\n\nCool it.\nUse water.\n\ndone"
    assert without_markup("***") == "*"


@pytest.mark.parametrize(
    ("text", "listed", "bold", "header"),
    [
        ("- a", True, False, False),
        ("1) a", True, False, False),
        ("2 - 1 = 1", False, False, False),
        ("**a**", False, True, False),
        ("text\n### b", False, False, True),
        ("#hashtag", False, False, False),
    ],
)
def test_formats_are_recognised(text: str, listed: bool, bold: bool, header: bool) -> None:
    assert (has_list(text), has_bold(text), has_header(text)) == (listed, bold, header)


def test_sentences_end_at_stops_and_not_within_numbers() -> None:
    assert sentences("It is 3.5 m. Right? Yes!") == ["It is 3.5 m.", "Right?", "Yes!"]


@given(st.text(max_size=80))
def test_an_edit_is_never_the_text_itself_and_always_the_same(text: str) -> None:
    for edit in EDITS:
        edited = edit.apply(text)
        assert edited is None or edited != text
        assert edit.apply(text) == edited
