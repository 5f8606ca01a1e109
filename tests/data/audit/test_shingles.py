"""Hashed units: equal exactly where the units are, whatever is beside them."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.data.audit.shingles import Units, jaccard, ngrams, shingles, words
from assay.data.audit.texts import normalise

TEXT = st.text("abcé Z9.,-\n", max_size=30)


def per_text(units: Units, count: int) -> list[list[int]]:
    return [units.hashes[units.owner == i].tolist() for i in range(count)]


@given(st.lists(TEXT, max_size=6))
def test_words_are_hashed_one_to_one(texts: list[str]) -> None:
    expected = [re.findall(r"[^\W_]+", normalise(text)) for text in texts]
    found = per_text(words(texts), len(texts))
    assert [len(hashes) for hashes in found] == [len(names) for names in expected]
    pairs = {
        (name, h)
        for names, hs in zip(expected, found, strict=True)
        for name, h in zip(names, hs, strict=True)
    }
    assert len(pairs) == len({name for name, _ in pairs}) == len({h for _, h in pairs})


@given(st.lists(TEXT, max_size=5), st.integers(1, 4))
def test_ngrams_are_those_of_each_text_alone(texts: list[str], n: int) -> None:
    together = per_text(ngrams(words(texts), n), len(texts))
    alone = [ngrams(words([text]), n).hashes.tolist() for text in texts]
    assert together == alone
    counts = [max(0, len(re.findall(r"[^\W_]+", normalise(t))) - n + 1) for t in texts]
    assert [len(hashes) for hashes in together] == counts


def test_the_order_of_words_matters_and_scripts_without_spaces_have_signs_as_words() -> None:
    ab, ba = (ngrams(words([text]), 2).hashes[0] for text in ("a b", "b a"))
    assert ab != ba
    assert len(words(["東京 tokyo"]).hashes) == 3
    assert len(words(["..."]).hashes) == 0
    assert len(words([]).hashes) == 0


@given(st.lists(TEXT, max_size=5))
def test_shingles_are_those_of_each_text_alone(texts: list[str]) -> None:
    together = per_text(shingles(texts), len(texts))
    assert together == [shingles([text]).hashes.tolist() for text in texts]
    for text, hashes in zip(texts, together, strict=True):
        padded = normalise(text).ljust(5, "\0")
        parts = [padded[i : i + 5] for i in range(len(padded) - 4)]
        assert len(set(hashes)) == len(set(parts))
        assert len(hashes) == len(parts)


def test_hashes_are_the_same_in_every_process() -> None:
    # a snapshot on purpose: signatures must not depend on the run
    assert words(["tea"]).hashes.tolist() == [12335304295426842995]
    assert shingles(["rain!"]).hashes.tolist() == [3284749126242007707]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ("abcdefgh", "ABCDEFGH ", 1.0),
        ("abcdefg", "abcdefh", 2 / 4),  # 3 shingles each, 2 in common
        ("abc", "abd", 0.0),
        ("", "", 1.0),
    ],
)
def test_jaccard_by_hand(a: str, b: str, expected: float) -> None:
    assert jaccard(a, b) == expected


def test_jaccard_is_what_the_hashes_say() -> None:
    a, b = "the quick brown fox jumps", "the quick red fox jumps"
    first, second = (set(shingles([t]).hashes.tolist()) for t in (a, b))
    assert jaccard(a, b) == pytest.approx(len(first & second) / len(first | second))
    assert np.all(np.diff(np.sort(shingles([a]).hashes)) > 0)
