"""Replies that were paid for, kept by what was asked, so that nothing is paid twice.

Knows nothing of HTTP.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.feedback.kept import Kept

VERSION = 1
"""Of what a key is made of; another version finds nothing of this one's."""


def reply_key(route: str, body: Mapping[str, Any], sample: int = 0) -> str:
    """The name of what is asked: the SHA-256 of its canonical JSON.

    Model, route and the whole body are in it, the address and the key are not: a model's answers
    may be used wherever it is served. ``sample`` tells repeats of one request apart where the
    answer is drawn at random: with a temperature (or none named) and without a seed.
    """
    asked: dict[str, Any] = {"version": VERSION, "route": route, "body": body}
    if body.get("temperature") != 0 and body.get("seed") is None:
        asked["sample"] = sample
    text = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


class ReplyCache(Kept):
    """Usable replies as the endpoint's JSON, by `reply_key`.

    Args:
        path: Made at once where there is none, folders too: a file that cannot be written is
            found before anything is paid for.

    Raises:
        DataError: If the file is none of ours, or damaged.
    """

    lost = "asked, and paid, again"

    def __init__(self, path: str | Path) -> None:
        super().__init__(Path(path), "replies")
        self.hits = 0
        self.misses = 0
        self._opened()

    def get(self, key: str) -> Any:
        """The JSON value of the reply, or None; counted among ``hits`` or ``misses``.

        Raises:
            DataError: If the file is damaged.
        """
        found = self.read([key])
        if not found:
            self.misses += 1
            return None
        self.hits += 1
        return found[key]

    def put(self, key: str, value: Any) -> None:
        """Keep a reply; one that is there already stays.

        Raises:
            DataError: If the file is damaged, or cannot be written.
        """
        self.write({key: value})
