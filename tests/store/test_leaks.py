"""Value: responses that say who wrote them are found, others are left alone."""

from __future__ import annotations

import pytest

from assay.store.leaks import leak_in
from assay.types import as_messages


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello! I am ChatGPT, how can I help?", "I am ChatGPT"),
        ("I'm an AI assistant named Claude.", "I'm an AI assistant named Claude"),
        ("I was developed by OpenAI.", "developed by OpenAI"),
        ("Ich bin Gemini.", "Ich bin Gemini"),
        ("as an AI model called Qwen", "as an AI model called Qwen"),
    ],
)
def test_a_name_that_is_claimed_is_found(text: str, words: str) -> None:
    assert leak_in(as_messages(text, "assistant")) == words


@pytest.mark.parametrize(
    "text", ["A falcon is a bird.", "Gemini is a sign of the zodiac.", "I am a baker.", ""]
)
def test_a_word_that_is_no_claim_is_left(text: str) -> None:
    assert leak_in(as_messages(text, "assistant")) is None


def test_the_models_own_name_is_found_wherever_it_stands() -> None:
    said = as_messages("Powered by Zorp-7B today.", "assistant")
    assert leak_in(said, "zorp-7b") == "Zorp-7B"
    assert leak_in(said, "other-1") is None
    assert leak_in(said, "by") is None  # too short to mean anything


def test_what_is_found_is_kept_short() -> None:
    assert len(leak_in(as_messages("x" * 900, "assistant"), "x" * 300) or "") == 200
