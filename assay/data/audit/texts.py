"""Distinct texts, kept in a temporary file: memory holds some eighty bytes of each.

Knows nothing of prompts and responses.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import weakref
from array import array
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

BATCH = 1_000_000
"""Characters, about, that are held decoded at a time."""

Ids = NDArray[np.int64]


class TextStore:
    """Texts by number, each kept once. Equal texts have one number.

    Example:
        >>> texts = TextStore()
        >>> texts.add("Hello"), texts.add("Bye"), texts.add("Hello"), texts[1]
        (0, 1, 0, 'Bye')
    """

    def __init__(self) -> None:
        # SIM115: open as long as the store, and closed with it
        self._file = tempfile.TemporaryFile(prefix="assay-audit-", suffix=".txt")  # noqa: SIM115
        weakref.finalize(self, self._file.close)
        self._ends = array("Q", [0])
        self._lengths = array("Q")
        self._normal = array("Q")
        self._numbers: dict[bytes, int] = {}
        self._is_at_end = True

    def add(self, text: str) -> int:
        """The number of a text, old or new."""
        raw = text.encode("utf-8", "replace")
        key = hashlib.blake2b(raw, digest_size=16).digest()
        number = self._numbers.setdefault(key, len(self._lengths))
        if number == len(self._lengths):
            if not self._is_at_end:
                self._file.seek(0, os.SEEK_END)
                self._is_at_end = True
            self._file.write(raw)
            self._ends.append(self._ends[-1] + len(raw))
            self._lengths.append(len(text))
            self._normal.append(fingerprint(normalise(text)))
        return number

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, number: int) -> str:
        start, end = self._ends[number], self._ends[number + 1]
        self._file.seek(start)
        self._is_at_end = False
        return self._file.read(end - start).decode("utf-8")

    def batches(self, numbers: Sequence[int] | Ids) -> Iterator[tuple[Ids, list[str]]]:
        """The texts of these numbers in their order, so many at a time as ``BATCH`` holds."""
        wanted = np.asarray(numbers, dtype=np.int64)
        if not len(wanted):
            return
        # a text counts for at least 64 characters: what is computed of each has a size of its own
        size = np.cumsum(np.maximum(self.lengths[wanted], 64))
        for part in np.split(wanted, np.flatnonzero(np.diff(size // BATCH)) + 1):
            yield part, [self[int(number)] for number in part]

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Characters of each text."""
        return np.array(self._lengths, dtype=np.int64)

    @property
    def normal(self) -> NDArray[np.uint64]:
        """A fingerprint of each text that ignores case and white space."""
        return np.array(self._normal, dtype=np.uint64)


def normalise(text: str) -> str:
    """The text in lower case (Unicode case folding), with single spaces and none at the ends."""
    return " ".join(text.casefold().split())


def fingerprint(text: str) -> int:
    """64 bits that differ where texts differ (BLAKE2b)."""
    raw = text.encode("utf-8", "replace")
    return int.from_bytes(hashlib.blake2b(raw, digest_size=8).digest(), "big")
