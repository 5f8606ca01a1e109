"""Which samples are responses, and which say something new."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from assay.errors import ConfigError
from assay.feedback.candidates.distinct import Distinct, flaw
from assay.feedback.candidates.records import Sample

GOOD = Sample("a text", "stop", 5, 3)
LONG = "the quick brown fox jumps over the lazy dog while it rains in the valley"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, None),
        ({"text": " \n"}, "empty"),
        ({"text": "half \ud83d"}, "broken"),
        ({"text": "a\x00b"}, "broken"),
        ({"text": "", "is_refusal": True}, "refused"),
        ({"finish": "content_filter"}, "filtered"),
        ({"finish": "length"}, "cut"),
    ],
)
def test_what_is_no_response_says_why(change: dict[str, Any], why: str | None) -> None:
    assert flaw(replace(GOOD, **change), drop_cut=True) == why


def test_a_cut_response_may_be_kept() -> None:
    assert flaw(replace(GOOD, finish="length"), drop_cut=False) is None


def test_the_same_but_for_white_space_is_the_same() -> None:
    seen = Distinct()
    assert [seen.add(text) for text in ("a b", " a\n b ", "A b", "a b")] == [
        None, "same", None, "same",
    ]  # fmt: skip


def test_near_texts_repeat_only_where_asked_and_short_ones_never() -> None:
    assert Distinct().add(LONG) is None
    near = Distinct(0.8)
    assert near.add(LONG) is None
    assert near.add(f"{LONG}!") == "near"
    assert near.add("something else that is as long as this text has to be") is None
    assert near.add("short one") is None
    assert near.add("short one!") is None
    # what was refused is no reason to refuse another
    assert Distinct(1.0).add(f"{LONG}!") is None


@pytest.mark.parametrize("near", [0.0, 1.5])
def test_a_similarity_out_of_range_is_refused(near: float) -> None:
    with pytest.raises(ConfigError, match="above 0 and at most 1"):
        Distinct(near)
