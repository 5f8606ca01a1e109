"""What the loop asks of whoever watches it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

from assay.rlhf.records import Judged, Spoken


@runtime_checkable
class Seen(Protocol):
    """What came of looking at a step."""

    @property
    def stop(self) -> bool:
        """Whether the run should end here."""
        ...

    @property
    def improved(self) -> bool:
        """Whether the state is the best so far, and worth keeping."""
        ...


@runtime_checkable
class Watch(Protocol):
    """Sees the reference policy first and then every step, and may end the run."""

    @property
    def window(self) -> int:
        """How many batches of the reference policy it wants to see."""
        ...

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The figures of every step so far."""
        ...

    def baseline(self, spoken: Spoken, judged: Judged) -> None:
        """A batch of the reference policy."""
        ...

    def observe(
        self, step: int, spoken: Spoken, judged: Judged, extra: Mapping[str, float]
    ) -> Seen:
        """A step of the policy under training, with the loop's own figures."""
        ...

    def state(self) -> dict[str, Any]:
        """What it knows, as plain JSON, for a resume point."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go back to what it knew then."""
        ...
