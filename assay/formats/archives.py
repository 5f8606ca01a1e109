"""Compressed files that came from somebody else, read within limits.

A few kilobytes can unpack to a disk full. What unpacks to more than ``Limits`` allow is refused
with a sentence, while it is read: what a file says of itself is not believed.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Protocol, runtime_checkable

from assay.errors import DataError

FREE_BYTES = 16 * 2**20
"""What may be unpacked whatever the ratio: small files of one repeated word are no bombs."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a compressed file may unpack to."""

    ratio: int = 100
    """Times the compressed size."""
    total: int = 2 * 2**30
    """Bytes."""
    line: int = 64 * 2**20
    """Bytes of one row; a row is held in memory."""
    array: int = 512 * 2**20
    """Bytes of a JSON array, which is held in memory whole."""

    def allowed(self, compressed: int) -> int:
        """Bytes that a file of this size may unpack to."""
        return min(self.total, max(FREE_BYTES, self.ratio * compressed))


LIMITS = Limits()


@runtime_checkable
class Readable(Protocol):
    """A file to read bytes from."""

    def read(self, n: int, /) -> bytes:
        """So many bytes, or as many as are left."""
        ...

    def close(self) -> None:
        """Close it."""
        ...


class Bounded(io.RawIOBase):
    """A stream that refuses to give more than it is allowed."""

    def __init__(self, file: Readable, name: str, allowed: int):
        self._file, self._name, self._allowed, self._given = file, name, allowed, 0

    def readable(self) -> bool:
        """True."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer.

        Raises:
            DataError: If it is more than may be unpacked.
        """
        data = self._file.read(len(buffer))
        self._given += len(data)
        if self._given > self._allowed:
            raise DataError(
                f"{self._name} unpacks to more than {self._allowed:,} bytes, which its size does "
                "not account for; unpack it yourself and look at it, or split it."
            )
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        """Close the file below as well."""
        self._file.close()
        super().close()


def opened_gzip(path: Path, limits: Limits | None) -> io.BufferedIOBase:
    """An unpacked gzip file, within limits where there are some."""
    file = gzip.open(path, "rb")  # noqa: SIM115 - closed by whoever asked for it
    if limits is None:
        return file
    return io.BufferedReader(
        Bounded(file, str(path), limits.allowed(path.stat().st_size)),
        buffer_size=2**18,
    )


@contextmanager
def unzipped(path: Path, suffixes: tuple[str, ...], limits: Limits = LIMITS) -> Iterator[Path]:
    """The one data file of a zip archive, in a temporary folder that goes when the block ends.

    Raises:
        DataError: If there is not exactly one, or it is not safe to unpack.
    """
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise DataError(f"{path} is no zip archive, or a damaged one: {error}.") from error
    with archive, tempfile.TemporaryDirectory(prefix="assay-") as folder:
        member = _member(archive, path, suffixes, limits)
        # the name in the archive is used for nothing but its suffix
        suffix = next(s for s in suffixes if member.filename.lower().endswith(s))
        target = Path(folder) / f"data{suffix}"
        allowed = limits.allowed(max(member.compress_size, 1))
        try:
            with (
                archive.open(member) as raw,
                Bounded(raw, f"{member.filename} in {path}", allowed) as bounded,
                target.open("wb") as file,
            ):
                shutil.copyfileobj(bounded, file, 2**20)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise DataError(f"{path} is damaged at {member.filename!r}: {error}.") from error
        yield target


def _member(
    archive: zipfile.ZipFile, path: Path, suffixes: tuple[str, ...], limits: Limits
) -> zipfile.ZipInfo:
    members = archive.infolist()
    if len(members) > 10_000:
        raise DataError(f"{path} holds {len(members):,} files; give the data file by itself.")
    for member in members:
        parts = PurePosixPath(member.filename.replace("\\", "/"))
        if parts.is_absolute() or ".." in parts.parts or ":" in member.filename:
            raise DataError(
                f"{path} holds a file named {member.filename!r}, which points outside of it; pack "
                "the data file by itself."
            )
    data = [
        m for m in members
        if not m.is_dir() and not m.filename.startswith("__MACOSX/")
        and m.filename.lower().endswith(suffixes)
    ]  # fmt: skip
    if len(data) != 1:
        found = ", ".join(repr(m.filename) for m in data[:3]) or "none"
        raise DataError(
            f"{path} holds {len(data)} data files ({found}); give a zip archive of one, or unpack "
            f"it. A data file ends in {', '.join(suffixes)}."
        )
    (member,) = data
    is_link = (member.external_attr >> 16) & 0o170000 == 0o120000
    if is_link or member.flag_bits & 1:
        what = "is a link" if is_link else "has a password"
        raise DataError(f"{member.filename!r} in {path} {what}; pack the data file itself.")
    if member.file_size > limits.allowed(max(member.compress_size, 1)):
        raise DataError(
            f"{member.filename!r} in {path} unpacks from {member.compress_size:,} to "
            f"{member.file_size:,} bytes, more than {limits.ratio} to 1 or {limits.total:,}; "
            "unpack it yourself and look at it, or split it."
        )
    free = shutil.disk_usage(os.path.realpath(tempfile.gettempdir())).free
    if member.file_size > free:
        raise DataError(
            f"{member.filename!r} in {path} needs {member.file_size:,} bytes to unpack, and "
            f"{free:,} are free; free some space."
        )
    return member
