"""Near duplicates: signatures estimate Jaccard, banding finds what it promises, clusters hold."""

from __future__ import annotations

import random

import numpy as np
import pytest

from assay.data.audit import minhash
from assay.data.audit.minhash import (
    BINS,
    RECALL,
    Clusters,
    candidates,
    estimated,
    near_duplicates,
    recall,
    rows_of_band,
    sign,
)
from assay.data.audit.shingles import jaccard
from assay.data.audit.texts import TextStore

VOCABULARY = [f"word{i}" for i in range(2000)]


def text(source: random.Random, count: int = 40) -> str:
    return " ".join(source.choices(VOCABULARY, k=count))


def edited(source: random.Random, original: str, changes: int) -> str:
    parts = original.split()
    for at in source.sample(range(len(parts)), changes):
        parts[at] = source.choice(VOCABULARY)
    return " ".join(parts)


def store_of(texts: list[str]) -> tuple[TextStore, np.ndarray]:
    store = TextStore()
    return store, np.array([store.add(t) for t in texts])


@pytest.mark.parametrize("words", [5, 40, 400])
def test_bins_agree_as_often_as_texts_are_alike(words: int) -> None:
    source = random.Random(words)
    originals = [text(source, words) for _ in range(150)]
    pairs = [(t, edited(source, t, max(1, words // 10))) for t in originals]
    signed = sign([t for pair in pairs for t in pair])
    first = np.arange(0, len(signed), 2)
    error = estimated(signed, first, first + 1) - np.array([jaccard(a, b) for a, b in pairs])
    assert abs(error.mean()) < 0.015
    # the error of 192 bins; with fewer shingles than bins their number decides instead
    shingle_count = min(BINS, len(originals[0]))
    assert error.std() < 1.3 * np.sqrt(0.25 / shingle_count)


def test_banding_finds_pairs_at_the_threshold() -> None:
    for threshold in (0.5, 0.8, 0.95):
        rows = rows_of_band(threshold)
        assert recall(threshold, rows) >= RECALL
        assert recall(threshold, rows + 1) < RECALL
    assert rows_of_band(0.8) == 6
    assert recall(0.8, 6) == pytest.approx(1 - (1 - 0.8**6) ** 32)
    assert rows_of_band(1e-9) == 1


def test_planted_near_duplicates_are_all_found_and_nothing_else() -> None:
    source = random.Random(1)
    originals = [text(source) for _ in range(600)]
    near = [edited(source, t, 1) for t in originals[:200]]
    assert min(jaccard(a, b) for a, b in zip(originals, near, strict=False)) > 0.8
    far = [edited(source, t, 12) for t in originals[200:400]]
    store, numbers = store_of(originals + near + far)
    labels = near_duplicates(store, numbers, 0.8)
    expected = np.arange(1000)
    expected[600:800] = np.arange(200)
    assert labels.tolist() == expected.tolist()


def test_a_chain_of_near_texts_is_one_cluster_and_case_makes_no_difference() -> None:
    source = random.Random(2)
    chain = [text(source, 60)]
    for _ in range(8):
        chain.append(edited(source, chain[-1], 2))
    assert jaccard(chain[0], chain[-1]) < 0.8
    store, numbers = store_of([*chain, chain[0].upper(), "Yes", "yes ", "No"])
    assert near_duplicates(store, numbers, 0.8).tolist() == [0] * 10 + [10, 10, 12]


def test_a_crowded_bucket_is_searched_without_all_its_pairs() -> None:
    source = random.Random(3)
    template = text(source, 60)
    store, numbers = store_of([f"{template} {i}" for i in range(500)])
    pairs = candidates(sign([store[int(n)] for n in numbers]), 0.8)
    assert len(pairs) < 500 * 499 / 2 / 5
    assert near_duplicates(store, numbers, 0.8).tolist() == [0] * 500


def test_nothing_and_single_texts() -> None:
    store, numbers = store_of(["one text of some length", "x"])
    assert near_duplicates(store, numbers[:0], 0.8).tolist() == []
    assert near_duplicates(store, numbers, 0.8).tolist() == [0, 1]


def test_progress_is_reported() -> None:
    seen: list[tuple[str, int, int]] = []
    store, numbers = store_of(["a text that is long enough", "a text that is long enough."])
    near_duplicates(store, numbers, 0.8, lambda s, d, t, _: seen.append((s, d, t)))
    assert seen == [("minhash of texts", 2, 2), ("near texts", 1, 1)]


def test_clusters_keep_the_smallest_position() -> None:
    clusters = Clusters(5)
    clusters.join(4, 2)
    clusters.join(2, 1)
    clusters.join(3, 3)
    assert clusters.labels().tolist() == [0, 1, 1, 3, 1]


def test_estimates_come_in_blocks() -> None:
    signed = sign(["some words here", "some words there", "others"])
    first, second = np.array([0, 0, 1]), np.array([1, 2, 2])
    whole = estimated(signed, first, second)
    assert estimated(signed, first, second, block=1).tolist() == whole.tolist()
    assert minhash.SHORTEST == 20
