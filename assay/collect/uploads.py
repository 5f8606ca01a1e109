"""Files that people send, made safe to read: a name of ours, a size that is bounded unpacked."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from assay.errors import DataError

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".json.gz", ".csv", ".parquet")
MOST = 2 * 1024**3
"""Bytes of a file, unpacked."""
MOST_RATIO = 200
"""Times its size that a packed file may grow; JSON Lines grow about tenfold."""
FREE = 64 * 1024**2
"""Bytes below which the ratio does not matter."""
CHUNK = 1 << 20


@contextmanager
def received(file: BinaryIO, name: str) -> Iterator[Path]:
    """A path at which a file lies, unpacked, while it is read.

    Args:
        name: What the sender calls it; only its ending is used.

    Raises:
        DataError: If the ending is unknown, or what is packed grows beyond all bounds.
    """
    suffix = suffix_of(name)
    with TemporaryDirectory(prefix="assay-upload-") as folder:
        path = Path(folder) / f"upload{suffix.removesuffix('.gz')}"
        with path.open("wb") as out:
            if suffix.endswith(".gz"):
                _unpack(file, out, shown_name(name))
            else:
                while chunk := file.read(CHUNK):
                    out.write(chunk)
        if suffix == ".parquet":
            _check_parquet(path, shown_name(name))
        yield path


def suffix_of(name: str) -> str:
    """The ending of a name, where it is one that can be read.

    Raises:
        DataError: If it is not.
    """
    found = [s for s in SUFFIXES if name.lower().endswith(s)]
    if not found:
        raise DataError(
            f"A file to import ends in {', '.join(SUFFIXES)}; {shown_name(name)!r} does not."
        )
    return max(found, key=len)


def shown_name(name: str) -> str:
    """The last part of a name, without what could not be printed."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200] or "upload"


def _unpack(file: BinaryIO, out: BinaryIO, name: str) -> None:
    read = _Counted(file)
    written = 0
    try:
        with gzip.GzipFile(fileobj=read, mode="rb") as unpacked:
            while chunk := unpacked.read(CHUNK):
                written += len(chunk)
                if written > MOST or (written > FREE and written > MOST_RATIO * read.count):
                    raise DataError(
                        f"{name} grows beyond {written // 1024**2:,} MB as it is unpacked, from "
                        f"{max(1, read.count // 1024):,} kB; unpack it and import a part at a time."
                    )
                out.write(chunk)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{name} is no gzip file, or is damaged ({error}).") from error


class _Counted:
    """A file that counts what was read of it."""

    def __init__(self, file: BinaryIO):
        self.file, self.count = file, 0

    def read(self, size: int = -1) -> bytes:
        """As a file's."""
        data = self.file.read(size)
        self.count += len(data)
        return data


def _check_parquet(path: Path, name: str) -> None:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        found = pq.ParquetFile(path).metadata
        sizes = [found.row_group(i).total_byte_size for i in range(found.num_row_groups)]
    except (ArrowException, OSError) as error:
        raise DataError(f"{name} is no Parquet file, or is damaged.") from error
    if sum(sizes) > MOST:
        raise DataError(
            f"{name} holds {sum(sizes) // 1024**2:,} MB unpacked; at most {MOST // 1024**2:,} MB "
            "can be imported at a time."
        )
