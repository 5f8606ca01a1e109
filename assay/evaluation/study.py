"""What every study of over-optimisation is: a record, its sentences, and a page."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

PAGE = "overoptimization.html"
SCHEMA = 1


class Study(ABC):
    """The record of how curves came about; ``notes`` and ``table`` are a study's own."""

    record: Mapping[str, Any]
    directory: Path | None

    @property
    def answers(self) -> list[str]:
        """What the curves say, in sentences."""
        return list(self.record["answers"])

    @property
    @abstractmethod
    def notes(self) -> list[str]:
        """What was measured, and what was left out."""
        ...

    @property
    @abstractmethod
    def table(self) -> str:
        """The curves as text."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """``results.json``."""
        return dict(self.record)

    def __str__(self) -> str:
        lines = [*self.notes, "", self.table, "", *self.answers]
        if self.directory is not None:
            lines += ["", f"page: {self.directory / PAGE}"]
        return "\n".join(lines)
