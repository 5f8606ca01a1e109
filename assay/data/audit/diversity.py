"""How different prompts and responses are from one another, and how long.

Diversity is measured on samples of a fixed size, for it falls with the size of what it is measured
on: a figure is the mean over samples that share no text, its interval Student's over them.
Letters: S samples · M texts of a sample.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from assay.data.audit.figures import Outcome, Undefined
from assay.data.audit.judgments import Evidence, Floats, Ints
from assay.data.audit.shingles import ngrams, words
from assay.data.audit.texts import TextStore
from assay.stats import cluster_mean

SAMPLES = 20
"""Most samples."""
LEAST_SAMPLES = 5
PER_SAMPLE = 100
"""Texts in a sample, fewer only where that many make no ``LEAST_SAMPLES`` samples."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


@dataclass(frozen=True)
class Diversity:
    """Diversity of one kind of text."""

    texts: int
    samples: int
    per_sample: int
    distinct: dict[int, Outcome]
    vendi: Outcome

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "distinct_texts": self.texts,
            "samples": self.samples,
            "texts_per_sample": self.per_sample,
            **{f"distinct_{n}": outcome.to_dict() for n, outcome in self.distinct.items()},
            "vendi_share": self.vendi.to_dict(),
        }


@dataclass(frozen=True)
class Lengths:
    """The distribution of lengths in characters: quantiles, and a histogram on a log scale."""

    count: int
    quantiles: dict[float, float]
    edges: tuple[int, ...]
    counts: tuple[int, ...]

    def to_dict(self) -> dict[str, Any]:
        """For ``audit.json``."""
        return {
            "texts": self.count,
            "quantiles": {f"{q:g}": value for q, value in self.quantiles.items()},
            "histogram": {"edges": list(self.edges), "counts": list(self.counts)},
        }


def diversity(texts: TextStore, numbers: Ints, seed: int = 0) -> Diversity:
    """Distinct-n and the Vendi score of samples of distinct texts.

    Distinct-n (Li et al. 2016): different n-grams of words over all of them. The Vendi score
    (Friedman & Dieng 2023) is ``exp(-Σ λ log λ)`` over the eigenvalues of ``K/M``, K the cosine
    similarities of TF-IDF vectors: the number of different texts that would be as diverse. It is
    given as a share of the M texts: 1 where none resemble each other, 1/M where all are the same.
    """
    numbers = numbers[texts.lengths[numbers] > 0]
    if len(numbers) < 2 * LEAST_SAMPLES:
        none = Undefined(f"{len(numbers):,} distinct texts are too few to draw samples from.")
        return Diversity(len(numbers), 0, 0, dict.fromkeys((1, 2, 3), none), none)
    size = min(PER_SAMPLE, len(numbers) // LEAST_SAMPLES)
    count = min(SAMPLES, len(numbers) // size)
    drawn = np.random.default_rng(seed).permutation(numbers)[: size * count].reshape(count, size)
    samples = [[texts[int(number)] for number in sample] for sample in drawn]
    return Diversity(
        texts=len(numbers),
        samples=count,
        per_sample=size,
        distinct={n: _mean(samples, partial(distinct, n=n)) for n in (1, 2, 3)},
        vendi=_mean(samples, lambda sample: vendi_score(_tfidf(sample)) / len(sample)),
    )


def _mean(samples: Sequence[Sequence[str]], statistic: Callable[[Sequence[str]], float]) -> Outcome:
    values = np.array([statistic(sample) for sample in samples])
    defined = values[np.isfinite(values)]
    if not len(defined):
        return Undefined("the texts have no words, or too few for an n-gram.")
    return cluster_mean(defined, bounds=(0.0, 1.0))


def distinct(texts: Sequence[str], n: int) -> float:
    """Different n-grams of words by all n-grams; ``nan`` where there are none."""
    grams = ngrams(words(texts), n).hashes
    return len(np.unique(grams)) / len(grams) if len(grams) else float("nan")


def vendi_score(features: Floats) -> float:
    """The Vendi score of rows of unit length (or 0): the effective number of different rows."""
    similar = features @ features.T
    np.fill_diagonal(similar, 1.0)  # a text without words is like itself, and like no other
    eigenvalues = np.linalg.eigvalsh(similar / len(similar))
    positive = eigenvalues[eigenvalues > 1e-12]
    return float(np.exp(-np.sum(positive * np.log(positive))))


def _tfidf(texts: Sequence[str]) -> Floats:
    from sklearn.feature_extraction.text import TfidfVectorizer

    try:
        found = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b").fit_transform(texts)
    except ValueError:  # no text has a word
        return np.zeros((len(texts), 1))
    return np.asarray(found.toarray(), dtype=np.float64)


def lengths(values: Ints) -> Lengths | None:
    """The distribution of lengths, None of nothing."""
    if not len(values):
        return None
    edges = _edges(int(values.max()))
    counts = np.histogram(values, bins=np.append(edges, np.inf))[0]
    found = np.quantile(values, QUANTILES)
    return Lengths(
        count=len(values),
        quantiles=dict(zip(QUANTILES, map(float, found), strict=True)),
        edges=tuple(map(int, edges)),
        counts=tuple(map(int, counts)),
    )


def _edges(longest: int) -> Ints:
    """0 and powers of two up to the longest: where each bin begins."""
    powers = [0, *(2**k for k in range(3, 40) if 2**k <= longest)]
    return np.array(powers, dtype=np.int64)


def prompt_sizes(evidence: Evidence) -> Ints:
    """How many comparisons each distinct prompt has."""
    return np.bincount(evidence.prompt_keys)
