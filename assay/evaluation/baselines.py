"""Baselines that answer as a model does: rewards from length alone, or from a bag of words.

A baseline gives the same items other rewards, so that every formula counts it as it counts the
model. It is fitted on training pairs, or by cross-validation in which no cluster is on both sides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.evaluation.suite import Item, Measure, ScoredItem
from assay.stats import LengthBaseline
from assay.types import Messages, PreferencePair

FOLDS = 5
DRAWS = 200
"""Random scorings behind a chance figure that no formula gives."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class TextBaseline:
    """TF-IDF of words and word pairs, and a logistic regression on differences of responses."""

    vectoriser: Any
    weights: Floats  # (V,)

    @classmethod
    def fit(cls, chosen: Sequence[str], rejected: Sequence[str]) -> TextBaseline:
        """Fit ``P(chosen better) = σ(w · (tfidf(chosen) - tfidf(rejected)))``, no intercept."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        vectoriser = TfidfVectorizer(
            ngram_range=(1, 2), sublinear_tf=True, max_features=50_000, token_pattern=r"(?u)\b\w+\b"
        )
        vectoriser.fit([*chosen, *rejected])
        if not len(vectoriser.vocabulary_):
            return cls(vectoriser, np.zeros(0))
        gap = vectoriser.transform(chosen) - vectoriser.transform(rejected)
        # half the rows are turned round: without an intercept this changes nothing but the labels,
        # of which the regression wants two kinds
        sign = np.where(np.arange(gap.shape[0]) % 2, -1.0, 1.0)
        if len(set(sign)) < 2:
            return cls(vectoriser, np.zeros(gap.shape[1]))
        model = LogisticRegression(fit_intercept=False, C=1.0, max_iter=200)
        model.fit(gap.multiply(sign[:, None]).tocsr(), sign > 0)
        return cls(vectoriser, model.coef_[0])

    def rewards(self, texts: Sequence[str]) -> Floats:
        """A reward for each text."""
        if not len(self.weights):
            return np.zeros(len(texts))
        scores: Floats = self.vectoriser.transform(texts) @ self.weights
        return scores


def chance(
    measure: Measure, items: Sequence[ScoredItem], draws: int = DRAWS, seed: int = 0
) -> float:
    """What random rewards reach: by the measure's own formula, else the mean of random draws."""
    if measure.chance is not None:
        known = [measure.chance(item) for item in items]
        if np.isfinite(known).all():
            return float(np.mean(known))
    rng = np.random.default_rng(seed)
    draw = rng.random if measure.of_steps else rng.normal

    def drawn() -> float:
        return measure(
            [replace(i, rewards=tuple(draw(size=len(i.rewards)).tolist())) for i in items]
        )

    return float(np.mean([drawn() for _ in range(draws)]))


def length_only(
    scored: Sequence[ScoredItem],
    train: Sequence[PreferencePair] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> list[ScoredItem] | None:
    """The items with rewards from length alone; None if lengths are not known.

    Args:
        train: Pairs to fit on. Default: cross-validation over clusters.
    """
    if any(item.lengths is None for item in scored):
        return None
    if train is not None:
        gaps = [len(text(p.chosen)) - len(text(p.rejected)) for p in train]
        fitted = LengthBaseline.fit(gaps, [p.probability for p in train])
        return [_by_length(item, fitted.weight) for item in scored]
    answered: dict[int, ScoredItem] = {}
    for inside, outside in cross_validation([i.cluster for i in scored], folds, seed):
        gaps = [
            a - b
            for i in inside
            for a, a_right in _lengths(scored[i])
            if a_right
            for b, b_right in _lengths(scored[i])
            if not b_right
        ]
        weight = LengthBaseline.fit(gaps).weight if gaps else 0.0
        answered.update((i, _by_length(scored[i], weight)) for i in outside)
    return [answered[i] for i in range(len(scored))]


def text_only(
    items: Sequence[Item],
    scored: Sequence[ScoredItem],
    train: Sequence[PreferencePair] | None = None,
    folds: int = FOLDS,
    seed: int = 0,
) -> list[ScoredItem]:
    """The items with rewards from a bag of words.

    Args:
        items: The texts of the scored items, in the same order.
        train: Pairs to fit on. Default: cross-validation over clusters.
    """
    texts = [[text(response) for response in item.responses] for item in items]
    if train is not None:
        fitted = TextBaseline.fit(
            [text(p.chosen) for p in train], [text(p.rejected) for p in train]
        )
        return [
            replace(s, rewards=tuple(fitted.rewards(t).tolist()))
            for s, t in zip(scored, texts, strict=True)
        ]
    answered: dict[int, ScoredItem] = {}
    for inside, outside in cross_validation([i.cluster for i in items], folds, seed):
        chosen, rejected = [], []
        for i in inside:
            right = [t for t, ok in zip(texts[i], items[i].correct, strict=True) if ok]
            wrong = [t for t, ok in zip(texts[i], items[i].correct, strict=True) if not ok]
            chosen += [a for a in right for _ in wrong]
            rejected += [b for _ in right for b in wrong]
        model = TextBaseline.fit(chosen, rejected) if chosen else None
        for i in outside:
            rewards = model.rewards(texts[i]) if model else np.zeros(len(texts[i]))
            answered[i] = replace(scored[i], rewards=tuple(rewards.tolist()))
    return [answered[i] for i in range(len(scored))]


def cross_validation(
    clusters: Sequence[str], folds: int, seed: int
) -> Iterator[tuple[list[int], list[int]]]:
    """Indexes to fit on and to answer, fold by fold; a cluster is on one side only."""
    names = sorted(set(clusters))
    fold = dict(
        zip(names, np.random.default_rng(seed).permutation(len(names)) % folds, strict=True)
    )
    for k in range(folds):
        outside = [i for i, c in enumerate(clusters) if fold[c] == k]
        if outside:
            yield [i for i, c in enumerate(clusters) if fold[c] != k], outside


def text(messages: Messages) -> str:
    """The text of a response."""
    return "\n".join(m.content for m in messages)


def _lengths(item: ScoredItem) -> list[tuple[int, bool]]:
    assert item.lengths is not None
    return list(zip(item.lengths, item.correct, strict=True))


def _by_length(item: ScoredItem, weight: float) -> ScoredItem:
    return replace(item, rewards=tuple(weight * length for length, _ in _lengths(item)))
