"""Texts in a file: each once, and the same again; fingerprints that ignore case and space."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from assay.data.audit import texts as module
from assay.data.audit.texts import TextStore, normalise

ANY = st.text(st.characters(exclude_categories=("Cs",)))


@given(st.lists(ANY))
def test_texts_come_back_and_equal_ones_are_one(given_texts: list[str]) -> None:
    store = TextStore()
    numbers = [store.add(text) for text in given_texts]
    assert [store[number] for number in numbers] == given_texts
    assert len(store) == len(set(given_texts))
    assert store.lengths.tolist() == [len(text) for text in dict.fromkeys(given_texts)]


def test_reading_and_adding_may_alternate() -> None:
    store = TextStore()
    store.add("a")
    assert store[0] == "a"
    store.add("b")
    assert (store[0], store[1]) == ("a", "b")


def test_fingerprints_ignore_case_and_space_alone() -> None:
    store = TextStore()
    numbers = [
        store.add(t)
        for t in ("Hello  World", " hello\nworld ", "hello, world", "STRASSE", "Straße")
    ]
    normal = store.normal[numbers]
    assert normal[0] == normal[1] != normal[2]
    assert normal[3] == normal[4]
    assert normalise(" A\tB ") == "a b"


def test_broken_characters_are_kept_as_question_marks() -> None:
    store = TextStore()
    assert store[store.add("a\ud800b")] == "a?b"


def test_batches_keep_the_order_and_the_size(monkeypatch) -> None:
    monkeypatch.setattr(module, "BATCH", 200)
    store = TextStore()
    wanted = [f"{i:0100d}" for i in range(7)]
    numbers = np.array([store.add(text) for text in wanted])[::-1]
    batches = list(store.batches(numbers))
    assert [text for _, batch in batches for text in batch] == wanted[::-1]
    assert np.concatenate([part for part, _ in batches]).tolist() == numbers.tolist()
    assert max(len(batch) for _, batch in batches) <= 3
    assert list(store.batches([])) == []
