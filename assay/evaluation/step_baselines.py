"""Baselines that reward steps as a model does: from the text of the step alone, or its length.

A logistic regression of being good, fitted on the judged steps of other problems: on training
solutions, or by cross-validation in which no problem is on both sides. Neither sees the prompt, the
steps before, or the place of the step.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from assay.configs import Neutral
from assay.evaluation.baselines import FOLDS, cross_validation
from assay.stats.arrays import Floats
from assay.types import Solution, StepScores

Features = Callable[[Sequence[str]], Any]
"""From N texts to N rows of features, dense or sparse."""


@dataclass(frozen=True)
class StepBaseline:
    """P(good) of a step by a logistic regression on its text alone: a ``StepScorer``.

    ``model`` is None where the steps fitted on were all of one kind; then every step gets
    ``share``.
    """

    features: Features
    model: Any
    share: float

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        """Step rewards, one array a solution, in order."""
        texts = [step for solution in solutions for step in solution.steps]
        rewards = np.full(len(texts), self.share)
        if self.model is not None and texts:
            rewards = np.asarray(self.model.predict_proba(self.features(texts))[:, 1])
        ends = np.cumsum([len(solution.steps) for solution in solutions])
        return StepScores(tuple(np.split(rewards, ends)[:-1]))


Fit = Callable[[Sequence[Solution], Neutral], StepBaseline]


def fit_step_text(solutions: Sequence[Solution], neutral: Neutral = "good") -> StepBaseline:
    """TF-IDF of the words and word pairs of a step."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts, good = judged_steps(solutions, neutral)
    vectoriser = TfidfVectorizer(
        ngram_range=(1, 2), sublinear_tf=True, max_features=50_000, token_pattern=r"(?u)\w+|[^\w\s]"
    )
    if not any(text.strip() for text in texts):
        return _fitted(_log_length, texts, good)
    vectoriser.fit(texts)
    return _fitted(vectoriser.transform, texts, good)


def fit_step_length(solutions: Sequence[Solution], neutral: Neutral = "good") -> StepBaseline:
    """The logarithm of a step's characters; whether longer is better it finds out by itself."""
    texts, good = judged_steps(solutions, neutral)
    return _fitted(_log_length, texts, good)


def cross_validated(
    fit: Fit,
    solutions: Sequence[Solution],
    problems: Sequence[str],
    neutral: Neutral = "good",
    folds: int = FOLDS,
    seed: int = 0,
) -> tuple[Floats, ...]:
    """Rewards of a baseline that is fitted on other problems each time, ``(S,)`` each."""
    found: dict[int, Floats] = {}
    for inside, outside in cross_validation(problems, folds, seed):
        baseline = fit([solutions[i] for i in inside], neutral)
        rewards = baseline.score_steps([solutions[i] for i in outside]).rewards
        found.update(zip(outside, rewards, strict=True))
    return tuple(found[i] for i in range(len(solutions)))


def judged_steps(
    solutions: Sequence[Solution], neutral: Neutral = "good"
) -> tuple[list[str], list[bool]]:
    """The text of every judged step and whether it is good."""
    texts, good = [], []
    for solution in solutions:
        for text, label in zip(solution.steps, solution.labels, strict=True):
            if label is None or (label == 0 and neutral == "skip"):
                continue
            texts.append(text)
            good.append(label == 1 or (label == 0 and neutral == "good"))
    return texts, good


def _fitted(features: Features, texts: Sequence[str], good: Sequence[bool]) -> StepBaseline:
    from sklearn.linear_model import LogisticRegression

    share = float(np.mean(good)) if good else 0.5
    if len(set(good)) < 2:
        return StepBaseline(features, None, share)
    model = LogisticRegression(C=1.0, max_iter=500)
    model.fit(features(texts), np.array(good))
    return StepBaseline(features, model, share)


def _log_length(texts: Sequence[str]) -> Floats:
    return np.log1p([[len(text)] for text in texts])
