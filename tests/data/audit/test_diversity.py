"""Diversity: the extremes by hand, what does not depend on size, and lengths."""

from __future__ import annotations

import random

import numpy as np
import pytest

from assay.data.audit.diversity import distinct, diversity, lengths, prompt_sizes, vendi_score
from assay.data.audit.figures import Undefined
from assay.data.audit.reading import load_evidence
from assay.data.audit.texts import TextStore
from assay.types import Figure


def measured(texts: list[str], seed: int = 0):
    store = TextStore()
    numbers = np.array([store.add(text) for text in texts])
    return diversity(store, np.unique(numbers), seed)


def test_distinct_by_hand() -> None:
    texts = ["a b a", "a b c"]
    assert distinct(texts, 1) == pytest.approx(3 / 6)
    assert distinct(texts, 2) == pytest.approx(3 / 4)  # ab ba ab bc
    assert distinct(texts, 3) == 1
    assert np.isnan(distinct(texts, 4))


def test_vendi_score_by_hand() -> None:
    assert vendi_score(np.eye(5)) == pytest.approx(5)  # nothing in common
    assert vendi_score(np.ones((5, 1))) == pytest.approx(1)  # all the same
    pairs = np.repeat(np.eye(3), 2, axis=0)
    assert vendi_score(pairs) == pytest.approx(3)  # three kinds, two of each
    # two vectors of cosine c: eigenvalues (1 ± c) / 2
    c = 0.6
    p = np.array([(1 + c) / 2, (1 - c) / 2])
    features = np.array([[1.0, 0.0], [c, np.sqrt(1 - c**2)]])
    assert vendi_score(features) == pytest.approx(np.exp(-(p * np.log(p)).sum()))


def test_templates_are_less_diverse_than_free_texts() -> None:
    source = random.Random(0)
    free = [" ".join(source.choices([f"w{i}" for i in range(3000)], k=12)) for _ in range(600)]
    template = [f"please write me a poem about the number {i} in four lines" for i in range(600)]
    loose, tight = measured(free), measured(template)
    for figure in (loose.vendi, tight.vendi, *loose.distinct.values()):
        assert isinstance(figure, Figure)
        assert figure.low <= figure.value <= figure.high
    assert (loose.samples, loose.per_sample) == (6, 100)
    assert loose.vendi.value > 0.9  # type: ignore[union-attr]
    assert tight.vendi.value < 0.5  # type: ignore[union-attr]
    assert loose.distinct[1].value > tight.distinct[1].value  # type: ignore[union-attr]


def test_the_figure_does_not_grow_with_the_data() -> None:
    source = random.Random(1)
    texts = [" ".join(source.choices([f"w{i}" for i in range(500)], k=12)) for _ in range(2500)]
    few, many = measured(texts[:600]).distinct[2], measured(texts).distinct[2]
    assert isinstance(few, Figure)
    assert isinstance(many, Figure)
    assert few.value == pytest.approx(many.value, abs=0.02)


def test_small_sets_have_smaller_samples_or_say_why_not() -> None:
    assert measured([f"text {i}" for i in range(37)]).per_sample == 7
    none = measured(["a", "b", ""])
    assert none.vendi == Undefined("2 distinct texts are too few to draw samples from.")
    assert none.to_dict()["distinct_1"]["value"] is None
    wordless = measured([f"{'!' * i}" for i in range(1, 30)])
    assert str(wordless.distinct[1]).startswith("undefined: the texts have no words")
    assert isinstance(wordless.vendi, Figure)


def test_lengths_are_binned_by_powers_of_two() -> None:
    found = lengths(np.array([0, 5, 8, 9, 16, 40]))
    assert found is not None
    assert found.edges == (0, 8, 16, 32)
    assert found.counts == (2, 2, 1, 1)
    assert found.quantiles[0.5] == 8.5
    assert found.to_dict()["quantiles"]["0.5"] == 8.5
    assert lengths(np.array([], dtype=np.int64)) is None
    short = lengths(np.array([3]))
    assert short is not None
    assert (short.edges, short.counts) == ((0,), (1,))


def test_comparisons_of_a_prompt_are_counted() -> None:
    rows = [
        {"prompt": p, "chosen": "a", "rejected": r} for p, r in (("p", "x"), ("P", "y"), ("q", "x"))
    ]
    assert prompt_sizes(load_evidence(rows)).tolist() == [2, 1]
