"""What selection by reward gives of n samples, from more samples than n: unbiased estimators.

Letters: N samples of a prompt · P prompts · G values of n.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from assay.errors import DataError
from assay.stats.arrays import Floats


def expected_best(rewards: ArrayLike, values: ArrayLike, n: Sequence[int] | None = None) -> Floats:
    """Expected value of the highest-rewarded of n samples drawn without replacement, n = 1 … N.

    ``Σ_i C(i-1, n-1) / C(N, n) · v_(i)`` with samples sorted by reward, lowest first; unbiased.
    Equal rewards are as likely to be picked as one another, so their values are averaged. Nakano
    et al. 2021 (appendix I), Gao et al. 2023.

    Args:
        rewards: Shape (N,), or (P, N), a row a prompt.
        values: What each sample is worth, of the same shape, or several such with more axes in
            front.
        n: Which n to give, in the last axis of the result. Default: all.
    """
    reward = np.asarray(rewards, dtype=np.float64)
    value = np.asarray(values, dtype=np.float64)
    extra = value.ndim - reward.ndim
    fits = extra >= 0 and value.shape[extra:] == reward.shape
    if not fits or reward.ndim not in (1, 2) or not reward.size:
        raise DataError(f"Wanted one value a reward, got shapes {reward.shape} and {value.shape}.")
    count = reward.shape[-1]
    order = np.argsort(reward, axis=-1, kind="stable")
    of_values = order.reshape((1,) * extra + order.shape)
    ordered = _ties_shared(
        np.take_along_axis(reward, order, axis=-1), np.take_along_axis(value, of_values, axis=-1)
    )
    wanted = np.arange(1, count + 1) if n is None else np.asarray(n)
    best: Floats = ordered @ _weights(count, wanted).T
    return best


def pass_at_n(correct: int, samples: int, n: Sequence[int]) -> Floats:
    """Chance that one or more of n samples is right, ``1 - C(N-c, n) / C(N, n)``, ``(G,)``.

    Mean over all subsets of n of N samples of which c are right: Chen et al. 2021, eq. 1. No
    selection by any score does better.

    Raises:
        DataError: If there are more right samples than samples, or an n is not of them.
    """
    if not 0 <= correct <= samples:
        raise DataError(f"{correct} of {samples} samples are right; wanted 0 to {samples}.")
    wanted = check_sizes(n, samples)
    right = np.arange(samples) < correct
    return expected_best(right, right, wanted.tolist())


def check_sizes(n: Sequence[int], samples: int) -> NDArray[np.integer[Any]]:
    """The sizes of subsets as an array.

    Raises:
        DataError: If there is none, or one is not from 1 to the number of samples.
    """
    wanted = np.asarray(n)
    if wanted.ndim != 1 or not wanted.size or wanted.dtype.kind not in "iu":
        raise DataError(f"Wanted whole numbers of samples to select from, got {n!r}.")
    if wanted.min() < 1 or wanted.max() > samples:
        raise DataError(
            f"n={wanted.max() if wanted.max() > samples else wanted.min()} of {samples} samples "
            f"cannot be drawn; n goes from 1 to {samples}."
        )
    return wanted


def _ties_shared(reward: Floats, value: Floats) -> Floats:
    """Values of sorted samples, those of equal rewards in one row averaged."""
    first = np.ones(reward.shape, dtype=np.bool_)
    first[..., 1:] = reward[..., 1:] != reward[..., :-1]
    if first.all():
        return value
    start = np.flatnonzero(first)
    size = np.diff(start, append=first.size)
    flat = value.reshape(*value.shape[: value.ndim - reward.ndim], -1)
    averaged: Floats = np.repeat(np.add.reduceat(flat, start, axis=-1) / size, size, axis=-1)
    return averaged.reshape(value.shape)


def _weights(count: int, wanted: NDArray[np.integer[Any]]) -> Floats:
    """``C(i-1, n-1) / C(N, n)`` for the n wanted (rows) and i = 1 … N (columns)."""
    from scipy.special import gammaln

    n, i = wanted[:, None], np.arange(1, count + 1)[None, :]
    valid = i >= n
    safe = np.where(valid, i - n, 0)
    log = (
        gammaln(i)
        - gammaln(n)
        - gammaln(safe + 1)
        - (gammaln(count + 1) - gammaln(n + 1) - gammaln(count - n + 1))
    )
    weights: Floats = np.where(valid, np.exp(log), 0.0)
    return weights
