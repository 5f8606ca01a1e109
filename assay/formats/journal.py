"""An append-only file of finished parts, so that a killed job goes on where it was.

The first line says whose parts they are. A part is one line, so it is there whole or not at all: a
torn last line is cut off.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from assay.errors import ConfigError


class Journal:
    """Parts in the order they were finished, bound to what tells the job from others.

    Args:
        identity: What the parts belong to; read back only where all of it is equal.
        job: What is journalled, with its article: "an evaluation".
    """

    def __init__(self, path: Path, identity: Mapping[str, Any], job: str):
        self.path = path
        self.identity = json.loads(json.dumps(identity))
        self.job = job

    def parts(self) -> list[dict[str, Any]]:
        """The parts that are there.

        Raises:
            ConfigError: If the file is damaged, or its parts belong to another job.
        """
        text = self.path.read_bytes() if self.path.exists() else b""
        whole = text[: text.rfind(b"\n") + 1]
        if len(whole) < len(text):
            os.truncate(self.path, len(whole))
        if not whole:
            return []
        try:
            first, *parts = map(json.loads, whole.splitlines())
        except ValueError as error:
            raise ConfigError(
                f"{self.path} is damaged ({error}); delete it and the job begins anew."
            ) from error
        if first != self.identity:
            known = first if isinstance(first, dict) else {}
            other = [name for name, value in self.identity.items() if known.get(name) != value]
            raise ConfigError(
                f"{self.path.parent} holds {self.job} begun with another "
                f"{', '.join(other) or 'version'}; name another directory, or delete it."
            )
        return parts

    def append(self, part: Mapping[str, Any]) -> None:
        """Write a part and see it to the disk; the first one after the identity."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab") as file:
            lines = [part] if file.tell() else [self.identity, part]
            file.write(b"".join(json.dumps(line).encode() + b"\n" for line in lines))
            file.flush()
            os.fsync(file.fileno())
