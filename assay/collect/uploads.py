"""Files that people send, laid where they can be read under a name of ours.

What is packed is unpacked by the reader, within its limits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import copyfileobj
from tempfile import TemporaryDirectory
from typing import BinaryIO

from assay.errors import DataError


@contextmanager
def received(file: BinaryIO, name: str, suffixes: Sequence[str]) -> Iterator[Path]:
    """A path at which a file lies while it is read.

    Args:
        name: What the sender calls it; only its ending is used.
        suffixes: The endings that can be read.

    Raises:
        DataError: If it ends otherwise.
    """
    found = [suffix for suffix in suffixes if name.lower().endswith(suffix)]
    if not found:
        raise DataError(
            f"A file to import ends in {', '.join(suffixes)}; {shown_name(name)!r} does not."
        )
    with TemporaryDirectory(prefix="assay-upload-") as folder:
        path = Path(folder) / f"upload{max(found, key=len)}"
        with path.open("wb") as out:
            copyfileobj(file, out, 1 << 20)
        yield path


def shown_name(name: str) -> str:
    """The last part of a name, without what could not be printed."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    return "".join(c for c in last if c.isprintable())[:200] or "upload"
