import pickle

import pytest

from assay.formats import storage
from assay.formats.storage import decode, digest_of, encode, store
from assay.types import Comparison, Message, Preference


def comparisons(count):
    return [
        Comparison(
            prompt=(Message("user", f"Frage {i} ä"),),
            responses=((Message("assistant", "a"),), (Message("assistant", "b"),)),
            preferences=(Preference(0, 1, 0.75, margin=0.1, weight=1 / 3),),
        )
        for i in range(count)
    ]


def test_encoded_comparison_is_decoded_the_same():
    (comparison,) = comparisons(1)
    assert decode(encode(comparison)) == comparison


def test_stored_comparisons_equal_the_ones_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_BATCH", 4)
    held = comparisons(10)
    stored = store(iter(held), tmp_path)
    assert len(stored) == 10
    assert list(stored) == held
    assert stored[-1] == held[-1]
    assert list(stored[2:9:3]) == held[2:9:3]
    assert [p.name for p in tmp_path.iterdir()] == [f"{digest_of(held)}.arrow"]
    for index in (10, -11):
        with pytest.raises(IndexError):
            stored[index]


def test_whole_pages_and_no_pages_have_their_length(tmp_path, monkeypatch):
    monkeypatch.setattr(storage, "_BATCH", 4)
    assert len(store(comparisons(8), tmp_path)) == 8
    assert len(store([], tmp_path)) == 0


def test_only_what_is_asked_for_is_decoded(tmp_path, monkeypatch):
    stored = store(comparisons(1000), tmp_path)
    decoded = []
    monkeypatch.setattr(storage, "decode", lambda data: decoded.append(data) or decode(data))
    part = stored[1:900]
    assert part[3].prompt[0].content == "Frage 4 ä"
    # one is what was asked for; the tests' type checker looks at one item of each sequence it sees
    assert 1 <= len(decoded) < 10


def test_stored_comparisons_travel_to_other_processes(tmp_path):
    stored = store(comparisons(3), tmp_path)
    assert stored[0] == pickle.loads(pickle.dumps(stored))[0]


def test_failed_store_leaves_nothing(tmp_path):
    def broken():
        yield from comparisons(1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        store(broken(), tmp_path)
    assert list(tmp_path.iterdir()) == []
