"""Hashes of words, n-grams and character shingles of many texts at once, without a vocabulary.

Every hash is 64 bits and depends on the text alone, not on the process or the machine. Texts are
normalised first (case, white space). Letters: N units (words, n-grams, shingles) of all texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from assay.data.audit.texts import normalise

SHINGLE = 5
"""Characters in a shingle."""

Hashes = NDArray[np.uint64]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_SOLO = ((0x0E00, 0x0EFF), (0x2E80, 0x31FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))
"""Characters of scripts without spaces between words (Thai, Lao, Chinese, Japanese)."""


@dataclass(frozen=True)
class Units:
    """Hashed units in the order of the texts, and the text each is from."""

    hashes: Hashes  # (N,)
    owner: NDArray[np.int64]  # (N,)


def mix(x: Hashes) -> Hashes:
    """A bijection of 64-bit numbers that spreads every bit (the finaliser of SplitMix64)."""
    with np.errstate(over="ignore"):
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def words(texts: Sequence[str]) -> Units:
    """The words of each text: runs of letters and digits; single signs in Chinese and its kind."""
    codes, owner = _codes([normalise(text) for text in texts])
    is_word, is_solo = _is_word()[codes], _is_solo()[codes]
    begins = is_word.copy()
    begins[1:] &= ~is_word[:-1] | is_solo[1:] | is_solo[:-1] | (owner[1:] != owner[:-1])
    letters = np.flatnonzero(is_word)
    starts = np.flatnonzero(begins[letters])
    if not len(starts):
        return Units(np.empty(0, np.uint64), np.empty(0, np.int64))
    length = np.diff(np.append(starts, len(letters)))
    place = np.arange(len(letters)) - np.repeat(starts, length)
    terms = mix(codes[letters].astype(np.uint64) + (place.astype(np.uint64) << np.uint64(32)))
    return Units(np.add.reduceat(terms, starts), owner[letters[starts]])


def ngrams(units: Units, n: int) -> Units:
    """Every n neighbouring words of one text."""
    count = len(units.hashes) - n + 1
    if count <= 0:
        return Units(units.hashes[:0], units.owner[:0])
    total = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(n):
            total += mix(units.hashes[i : i + count] + np.uint64(i + 1) * _GOLDEN)
    inside = units.owner[:count] == units.owner[n - 1 :]
    return Units(total[inside], units.owner[:count][inside])


def shingles(texts: Sequence[str], size: int = SHINGLE) -> Units:
    """Every ``size`` neighbouring characters of each normalised text; a shorter text is one."""
    codes, owner = _codes([_padded(text, size) for text in texts])
    count = len(codes) - size + 1
    if count <= 0:
        return Units(np.empty(0, np.uint64), np.empty(0, np.int64))
    total = np.zeros(count, dtype=np.uint64)
    with np.errstate(over="ignore"):
        for i in range(size):
            total = total * _GOLDEN + codes[i : i + count]
    inside = owner[:count] == owner[size - 1 :]
    return Units(mix(total[inside]), owner[:count][inside])


def jaccard(a: str, b: str, size: int = SHINGLE) -> float:
    """How alike two texts are: shingles they share, by shingles of either. Exact."""
    first, second = _shingle_set(a, size), _shingle_set(b, size)
    return len(first & second) / len(first | second)


def _shingle_set(text: str, size: int) -> frozenset[str]:
    padded = _padded(text, size)
    return frozenset(padded[i : i + size] for i in range(len(padded) - size + 1))


def _padded(text: str, size: int) -> str:
    return normalise(text).ljust(size, "\0")


def _codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of all texts, and the text each is of."""
    raw = "".join(texts).encode("utf-32-le", "replace")
    codes = np.frombuffer(raw, dtype="<u4").astype(np.uint32)
    lengths = np.fromiter(map(len, texts), np.int64, len(texts))
    return codes, np.repeat(np.arange(len(texts), dtype=np.int64), lengths)


@cache
def _is_word() -> NDArray[np.bool_]:
    points = range(0x110000)
    return np.fromiter((chr(point).isalnum() for point in points), np.bool_, len(points))


@cache
def _is_solo() -> NDArray[np.bool_]:
    solo = np.zeros(0x110000, dtype=np.bool_)
    for low, high in _SOLO:
        solo[low : high + 1] = True
    return solo & _is_word()
