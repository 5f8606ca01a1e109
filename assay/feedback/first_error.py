"""The first wrong step by bisection: about log₂ of the steps in probes, instead of one a step.

A probe says whether a response can still come right after its first ``k`` steps. What is right
after ``k`` is taken to be right after fewer, so the first wrong step is where that ends. OmegaPRM
(Luo et al. 2024), §3.2. Pure; knows nothing of rollouts.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from assay.errors import DataError


@dataclass(frozen=True, slots=True)
class Search:
    """What is known so far: right after ``low`` steps, wrong after ``high``.

    ``high`` is S + 1 while no prefix is known to be wrong: such a step is never probed.
    """

    steps: int
    low: int
    high: int
    probes: int = 0

    @classmethod
    def over(cls, steps: int, *, ends_right: bool | None = None) -> Search:
        """A search that knows only how the whole solution ends, or not even that (None).

        Raises:
            DataError: If there are no steps.
        """
        if steps < 1:
            raise DataError(
                f"A solution of {steps} steps has no first wrong one; wanted 1 or more."
            )
        return cls(steps, steps if ends_right else 0, steps if ends_right is False else steps + 1)

    @property
    def next_probe(self) -> int | None:
        """How many steps to probe next; None when the search is over."""
        return (self.low + self.high) // 2 if self.high - self.low > 1 else None

    def told(self, is_right: bool) -> Search:
        """The search after its next probe's answer."""
        probe = self.next_probe
        assert probe is not None
        known = replace(self, probes=self.probes + 1)
        return replace(known, low=probe) if is_right else replace(known, high=probe)

    @property
    def first_error(self) -> int | None:
        """Index of the first wrong step, None if there is none; of a search that is over."""
        assert self.next_probe is None
        return None if self.high > self.steps else self.high - 1


def locate_first_error(
    is_right: Callable[[int], bool], steps: int, *, ends_right: bool | None = None
) -> Search:
    """The finished search for the first wrong of S steps.

    At most ``⌈log₂(S + 1)⌉`` probes, which is at most ``⌈log₂ S⌉ + 1``; one fewer or so where it is
    known that the solution ends wrong, none where it ends right.

    Args:
        is_right: Whether the solution can still come right after so many of its steps.
        ends_right: What is known of the whole solution.

    Raises:
        DataError: If there are no steps.
    """
    search = Search.over(steps, ends_right=ends_right)
    while (probe := search.next_probe) is not None:
        search = search.told(is_right(probe))
    return search
