"""What a vote over the answers of n samples gives, plain or weighted by scores.

Letters: N samples of a problem · W weightings · G values of n · R subsets · A different answers.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import combinations
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import Floats
from assay.stats.best_of import check_sizes

SUBSETS = 400
"""Random subsets behind a vote, as in the evaluation of PRM800K (Lightman et al. 2023)."""

Indexes = NDArray[np.intp]


def expected_vote(
    answers: Sequence[Hashable | None],
    correct: Sequence[bool],
    n: Sequence[int],
    weights: ArrayLike | None = None,
    subsets: int = SUBSETS,
    seed: int | Sequence[int] = 0,
) -> Floats:
    """Chance that the answer with most votes of n samples is right, ``(W, G)``.

    ``argmax_a Σ_i 1(a_i = a) w_i``: self-consistency (Wang et al. 2023) with weights of 1, weighted
    by a reward model's scores in Math-Shepherd (Wang et al. 2024). Answers with equally many votes
    share them, whatever their order. Samples without an answer do not vote, as in the evaluation of
    PRM800K; where none of the n has an answer the vote is wrong.

    A vote has no closed form. Where n samples can be drawn in no more ways than ``subsets``, and
    for n = 1, it is the mean over all of them and exact; else over so many random ones, drawn
    without replacement. All weightings see the same subsets.

    Args:
        answers: Of each sample; equal ones are one answer. None: no answer was found.
        correct: Whether each sample's answer is right.
        weights: 0 or more, ``(W, N)``. Default: 1 each, and W = 1.

    Raises:
        DataError: If the arrays do not fit, a weight is negative or not finite, or an answer is
            called both right and wrong.
    """
    code, right = number_answers(answers, correct)
    weight = np.ones((1, len(code))) if weights is None else np.asarray(weights, dtype=np.float64)
    if weight.ndim != 2 or weight.shape[1] != len(code):
        raise DataError(
            f"Got weights of shape {weight.shape} for {len(code)} samples; wanted weightings × "
            "samples."
        )
    if not np.isfinite(weight).all() or weight.min() < 0:
        raise DataError(
            "A vote adds up weights, so they are finite and 0 or more; take probabilities "
            "(a product, not its logarithm)."
        )
    sizes = check_sizes(n, len(code))
    order = _orders(len(code), int(sizes.max()), subsets, seed)
    value = np.empty((len(weight), len(sizes)))
    for place, size in enumerate(sizes.tolist()):
        chosen = _chosen(order, len(code), size, subsets)
        for row, each in enumerate(weight):
            value[row, place] = _votes(code[chosen], each[chosen], right).mean()
    return value


def number_answers(
    answers: Sequence[Hashable | None], correct: Sequence[bool]
) -> tuple[Indexes, Floats]:
    """Each sample's answer as 0 … A-1, -1 for none, ``(N,)``, and what each is worth, ``(A,)``.

    Raises:
        DataError: If an answer is called both right and wrong, or a sample without one right.
    """
    if len(answers) != len(correct) or not len(answers):
        raise DataError(
            f"Wanted an answer and a mark of each sample, got {len(answers)} and {len(correct)}."
        )
    number: dict[Hashable, int] = {}
    right: list[bool] = []
    for answer, ok in zip(answers, correct, strict=True):
        if answer is None:
            if ok:
                raise DataError("A sample without an answer is called right; give it its answer.")
            continue
        if number.setdefault(answer, len(number)) == len(right):
            right.append(bool(ok))
        elif right[number[answer]] != bool(ok):
            raise DataError(f"The answer {answer!r} is called both right and wrong; it is one.")
    code = [-1 if answer is None else number[answer] for answer in answers]
    return np.array(code, dtype=np.intp), np.array(right, dtype=np.float64)


def _votes(picked: Indexes, weight: Floats, right: Floats) -> Floats:
    """Share of right answers among those with most votes, ``(R,)``, from ``(R, n)`` samples."""
    rows, kinds = len(picked), len(right)
    if not kinds:
        return np.zeros(rows)
    voted = picked >= 0
    cell = (np.arange(rows)[:, None] * kinds + picked)[voted]
    there = np.bincount(cell, minlength=rows * kinds).reshape(rows, kinds) > 0
    total = np.bincount(cell, weight[voted], minlength=rows * kinds).reshape(rows, kinds)
    most = np.where(there, total, -1.0).max(axis=1, keepdims=True)
    # sums of the same weights in another order differ in their last digits
    best = there & (total >= most - 1e-9 * np.abs(most))
    count = best.sum(axis=1)
    shares: Floats = best @ right / np.maximum(count, 1)
    return shares


def _orders(count: int, most: int, subsets: int, seed: int | Sequence[int]) -> Indexes:
    """The first samples of random orders, ``(R, most)``."""
    if subsets < 1:
        raise DataError(f"{subsets} subsets were asked for; wanted 1 or more.")
    drawn = np.random.default_rng(seed).random((subsets, count))
    return np.argsort(drawn, axis=1)[:, :most]


def _chosen(order: Indexes, count: int, n: int, subsets: int) -> Indexes:
    """All subsets of n samples, or random ones where those are too many, ``(R, n)``."""
    if n == 1 or comb(count, n) <= subsets:
        return np.array(list(combinations(range(count), n)), dtype=np.intp)
    return order[:, :n]
