"""Comparisons on disk, for data larger than memory: an Arrow file, decoded on access."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, overload
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from assay.formats.comparisons import assay_comparison, to_row
from assay.formats.files import saved
from assay.types import Comparison

_BATCH = 1024


class LazyComparisons(Sequence[Comparison]):
    """A sequence that makes each comparison when it is asked for."""

    @abstractmethod
    def _at(self, index: int) -> Comparison:
        """The comparison at a position from 0 to the length."""

    @overload
    def __getitem__(self, index: int) -> Comparison: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Comparison]: ...
    def __getitem__(self, index: int | slice) -> Comparison | Sequence[Comparison]:
        if isinstance(index, slice):
            return Selection(self, np.arange(len(self))[index])
        position = index + len(self) if index < 0 else index
        if not 0 <= position < len(self):
            raise IndexError(f"comparison {index} of {len(self)}")
        return self._at(position)


class Selection(LazyComparisons):
    """Some comparisons of another sequence, in the order given."""

    def __init__(self, base: Sequence[Comparison], indexes: NDArray[np.int64]) -> None:
        self._base = base
        self._indexes = indexes

    def __len__(self) -> int:
        return len(self._indexes)

    def _at(self, index: int) -> Comparison:
        return self._base[int(self._indexes[index])]


class StoredComparisons(LazyComparisons):
    """The comparisons of a file written by ``store``; memory holds the page that is being read."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @cached_property
    def _file(self) -> Any:
        import pyarrow

        return pyarrow.ipc.open_file(pyarrow.memory_map(str(self._path)))

    @cached_property
    def _length(self) -> int:
        batches = self._file.num_record_batches
        return (
            (batches - 1) * _BATCH + int(self._file.get_batch(batches - 1).num_rows)
            if batches
            else 0
        )

    def __len__(self) -> int:
        return self._length

    def _at(self, index: int) -> Comparison:
        batch, offset = divmod(index, _BATCH)
        return decode(self._file.get_batch(batch).column(0)[offset].as_py())

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path}  # another process maps the file itself


def encode(comparison: Comparison) -> bytes:
    """A comparison's canonical bytes: the same for the same content, whatever file it came from."""
    return canonical(to_row(comparison))


def canonical(row: Mapping[str, Any]) -> bytes:
    """A row's bytes as JSON, the same whatever the order of its keys."""
    return json.dumps(row, sort_keys=True, separators=(",", ":"), default=str).encode("ascii")


def decode(data: bytes) -> Comparison:
    """The comparison that ``encode`` wrote."""
    return assay_comparison(json.loads(data))


def digest_of(comparisons: Iterable[Comparison]) -> str:
    """SHA-256 over the canonical bytes of the comparisons, in order."""
    return digest_of_bytes(encode(comparison) for comparison in comparisons)


def digest_of_bytes(records: Iterable[bytes]) -> str:
    """SHA-256 over the bytes of records, a line each, in order."""
    sha = hashlib.sha256()
    for record in records:
        sha.update(record + b"\n")
    return sha.hexdigest()


def store(comparisons: Iterable[Comparison], directory: Path) -> StoredComparisons:
    """Write comparisons, a page at a time, to an Arrow file named after their digest."""
    import pyarrow

    sha = hashlib.sha256()
    schema = pyarrow.schema([("comparison", pyarrow.binary())])
    unnamed = directory / f"{uuid4().hex}.arrow"
    with saved(unnamed) as temporary, pyarrow.ipc.new_file(str(temporary), schema) as writer:
        for rows in _pages(comparisons):
            for row in rows:
                sha.update(row + b"\n")
            writer.write_batch(
                pyarrow.record_batch([pyarrow.array(rows, pyarrow.binary())], schema=schema)
            )
    return StoredComparisons(unnamed.replace(directory / f"{sha.hexdigest()}.arrow"))


def _pages(comparisons: Iterable[Comparison]) -> Iterator[list[bytes]]:
    stream = iter(comparisons)
    while page := [encode(comparison) for comparison in islice(stream, _BATCH)]:
        yield page
