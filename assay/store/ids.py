"""Identifiers: UUIDs of version 7 (RFC 9562), which sort by the time they were made."""

from __future__ import annotations

import hashlib
import os
import re
import time
import uuid

from assay.errors import DataError

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z")


def new_id() -> str:
    """A fresh identifier: 48 bits of milliseconds, 74 random bits."""
    value = int.from_bytes(time.time_ns().__floordiv__(1_000_000).to_bytes(6) + os.urandom(10))
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def first_id_at(ms: int) -> str:
    """The identifier before all that were made from a time on; milliseconds since 1970."""
    return str(uuid.UUID(int=ms << 80))


def digest_id(text: str) -> str:
    """The identifier of a text, always the same: a UUID of version 8, of its SHA-256 (RFC 9562)."""
    value = int.from_bytes(hashlib.sha256(text.encode()).digest()[:16])
    value = value & ~(0xF << 76) | 0x8 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return str(uuid.UUID(int=value))


def checked_id(value: object, what: str = "id") -> str:
    """The value, where it is a UUID in its usual form.

    Raises:
        DataError: If it is not.
    """
    if isinstance(value, str) and _UUID.match(value):
        return value
    raise DataError(f"'{what}' must be a UUID such as {new_id()}, not {str(value)[:40]!r}.")
