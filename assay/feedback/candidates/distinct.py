"""Which responses to one prompt are worth keeping: those that say something, and something else."""

from __future__ import annotations

from typing import Literal

from assay.data.audit.minhash import SHORTEST
from assay.data.audit.shingles import jaccard
from assay.errors import ConfigError
from assay.feedback.candidates.records import Sample

Unusable = Literal["empty", "broken", "refused", "filtered", "cut", "same", "near"]
"""Why a sample is no response: no text; half a character or a zero in it; a refusal instead of a
text; stopped by a filter; ended for want of room, where those are dropped; the same as an earlier
one but for white space; nearly the same as one."""
UNUSABLE: tuple[Unusable, ...] = (
    "empty", "broken", "refused", "filtered", "cut", "same", "near",
)  # fmt: skip


def flaw(sample: Sample, drop_cut: bool) -> Unusable | None:
    """Why a sample is no response by itself; None where it is one.

    Args:
        drop_cut: Whether one that ended for want of room is none.
    """
    if sample.is_refusal:
        return "refused"
    if not sample.text.strip():
        return "empty"
    if sample.finish == "content_filter":
        return "filtered"
    if not _is_whole(sample.text):
        return "broken"
    return "cut" if drop_cut and sample.finish == "length" else None


def _is_whole(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in text


class Distinct:
    """The responses to one prompt so far.

    Args:
        near: Jaccard similarity of shingles of five characters from which two texts are nearly the
            same (as `assay.data.audit.minhash` has it; exact here, there are few). None looks for
            the same only.

    Raises:
        ConfigError: If ``near`` is not above 0 and at most 1.
    """

    def __init__(self, near: float | None = None) -> None:
        if near is not None and not 0 < near <= 1:
            raise ConfigError(
                f"near_duplicate {near:g} was given; wanted a similarity above 0 and at most 1."
            )
        self._near = near
        self._seen: set[str] = set()
        self._texts: list[str] = []

    def add(self, text: str) -> Literal["same", "near"] | None:
        """Take a text in; what it repeats, or None where it is new."""
        plain = " ".join(text.split())
        if plain in self._seen:
            return "same"
        if self._is_near(plain):
            return "near"
        self._seen.add(plain)
        self._texts.append(plain)
        return None

    def _is_near(self, plain: str) -> bool:
        # so few shingles as a short text has say little
        if self._near is None or len(plain) < SHORTEST:
            return False
        return any(
            len(other) >= SHORTEST and jaccard(plain, other) >= self._near for other in self._texts
        )
