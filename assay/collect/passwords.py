"""Passwords by Argon2id; checking an unknown name takes as long as checking a known one."""

from __future__ import annotations

from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from assay.errors import ConfigError

SHORTEST, LONGEST = 10, 256
_HASHER = PasswordHasher()
_AT_A_TIME = BoundedSemaphore(4)
"""A hash takes 64 MB while it is made; many at once must not take all there is."""


@cache
def _nobodys() -> str:
    return _HASHER.hash("nobody has this password")


def hashed(password: str) -> str:
    """The hash of a new password.

    Raises:
        ConfigError: If it is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise ConfigError(f"A password has {SHORTEST} to {LONGEST} characters.")
    with _AT_A_TIME:
        return _HASHER.hash(password)


def is_right(password: str, password_hash: str | None) -> bool:
    """Whether a password has this hash; False, after as long, where there is none."""
    against = password_hash or _nobodys()
    try:
        with _AT_A_TIME:
            right = _HASHER.verify(against, password[:LONGEST])
    except (VerificationError, InvalidHashError):
        return False
    return right and password_hash is not None
