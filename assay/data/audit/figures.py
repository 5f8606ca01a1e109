"""A figure, or in words why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from assay.types import Figure


@dataclass(frozen=True, slots=True)
class Undefined:
    """What stands in place of a figure that cannot be computed: one sentence that says why."""

    why: str

    def to_dict(self) -> dict[str, Any]:
        """A figure of nulls, with the reason."""
        return {"value": None, "low": None, "high": None, "n": 0, "why": self.why}

    def __str__(self) -> str:
        return f"undefined: {self.why}"


Outcome = Figure | Undefined
