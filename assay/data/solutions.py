"""Solutions in steps: loaded from any format, without duplicates, split by prompt.

Knows nothing of tokens and models. ``Solutions`` is immutable; its methods give new ones.

Letters: B solutions · S steps of a solution.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain, islice
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from assay.configs import AfterError, OnBadRow
from assay.data.pairs import (
    Source,
    fingerprint,
    heldout_prompts,
    name_and_unit,
    numbered_rows,
    prompt_key,
    sources_of,
)
from assay.errors import ConfigError, DataError
from assay.formats.assay_solutions import to_row
from assay.formats.solutions import SolutionReader
from assay.formats.step_labels import BAD, GOOD, NEUTRAL
from assay.formats.storage import canonical, digest_of_bytes
from assay.formats.tally import Tally
from assay.types import Dropped, Messages, Solution


@dataclass(frozen=True, slots=True)
class SolutionReport:
    """What became of the rows of a file of solutions: nothing vanishes silently.

    ``steps`` counts all steps, ``good``, ``neutral``, ``bad`` and ``unjudged`` their labels, and
    ``shares`` those with a probability. ``dropped`` maps a reason ("duplicate", "blank step", …) to
    its count; ``examples`` keeps the first few places of each. ``contradictions`` counts labels
    that were kept although an earlier one of the same step, after the same steps, is another.
    """

    rows: int
    solutions: int
    steps: int
    good: int
    neutral: int
    bad: int
    unjudged: int
    shares: int
    dropped: Mapping[str, int]
    examples: Sequence[Dropped] = ()
    formats: Mapping[str, int] | None = None
    contradictions: int = 0

    @property
    def labelled(self) -> int:
        """How many steps have a label."""
        return self.good + self.neutral + self.bad

    def __str__(self) -> str:
        text = (
            f"{self.rows:,} rows gave {self.solutions:,} solutions with {self.steps:,} steps: "
            f"{self.good:,} good, {self.neutral:,} neutral, {self.bad:,} bad, "
            f"{self.unjudged:,} not judged"
        )
        if self.shares:
            text += f"; {self.shares:,} with a probability"
        if self.contradictions:
            text += f"; {self.contradictions:,} labels contradict an earlier one"
        if self.neutral and not self.bad:
            text += "; no step is labelled -1, and 0 is neutral: is 0 meant as wrong?"
        gone = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n)
        return f"{text}; dropped: {gone or 'none'}"


class Solutions(Sequence[Solution]):
    """An immutable sequence of solutions, held in memory.

    Example:
        >>> solutions = Solutions.load([{"prompt": "2 + 2?", "steps": ["4"], "labels": [1]}])
        >>> len(solutions), solutions[0].steps
        (1, ('4',))
    """

    def __init__(self, solutions: Sequence[Solution], report: SolutionReport) -> None:
        self._solutions = tuple(solutions)
        self._report = report

    @classmethod
    def load(
        cls,
        source: Source,
        *,
        on_bad_row: OnBadRow = "error",
        limit: int | None = None,
        deduplicate: bool = True,
        after_error: AfterError = "unjudged",
    ) -> Solutions:
        """Load solutions; ``docs/formats.md`` lists the accepted formats.

        Args:
            source: A file, directory or hub name, several of them, a DataFrame, a Dataset, or rows.
            on_bad_row: "error" stops at the first bad row; "skip" counts it and goes on.
            limit: Keep only the first so many solutions.
            deduplicate: Drop exact repetitions: same prompt, steps, judgments and annotator.
            after_error: What the steps after the first wrong one are where a row names only that
                one: "unjudged" (no label) or "bad".
        """
        if limit is not None and limit < 1:
            raise ConfigError(
                f"limit must be at least 1, not {limit}; leave it out to load everything."
            )
        tally, count = Tally(), _Count()
        found = chain.from_iterable(
            _read(s, on_bad_row, tally, after_error) for s in sources_of(source)
        )
        kept = tuple(islice(count.over(found, tally if deduplicate else None), limit))
        if not kept:
            gone = ", ".join(f"{n:,} {reason}" for reason, n in tally.dropped.items())
            raise DataError(
                f"none of the {tally.rows:,} rows gave a solution; dropped: {gone or 'none'}."
            )
        return cls(kept, count.report(tally))

    @classmethod
    def of(cls, solutions: Sequence[Solution]) -> Solutions:
        """Solutions at hand, all of them kept."""
        tally, count = Tally(rows=len(solutions)), _Count()
        kept = tuple(count.over((("", s) for s in solutions), None))
        return cls(kept, count.report(tally))

    @property
    def report(self) -> SolutionReport:
        """What became of the rows that were loaded: of all of them, also after a split."""
        return self._report

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the content in order, whatever file it came from."""
        return digest_of_bytes(canonical(to_row(solution)) for solution in self._solutions)

    def prompt_keys(self) -> list[str]:
        """One key a solution; equal prompts, but for case and white space, have equal keys."""
        known: dict[Messages, str] = {}
        return [
            known.get(s.prompt) or known.setdefault(s.prompt, prompt_key(s.prompt)) for s in self
        ]

    def split(
        self, heldout: float = 0.2, by: Literal["prompt"] = "prompt", seed: int = 0
    ) -> tuple[Solutions, Solutions]:
        """Training and held-out solutions, all solutions of a prompt on one side.

        The rule is that of preference pairs, so pairs and solutions of one set of prompts are held
        out alike; it depends on neither the order of the rows nor the machine.
        """
        if by != "prompt":
            raise ConfigError(f"solutions are split by 'prompt', not by {by!r}.")
        is_heldout = heldout_prompts(self.prompt_keys(), heldout, seed)
        return self.select(np.flatnonzero(~is_heldout)), self.select(np.flatnonzero(is_heldout))

    def select(self, indexes: Sequence[int] | NDArray[np.integer[Any]]) -> Solutions:
        """The solutions at these positions, in this order."""
        return Solutions([self._solutions[int(i)] for i in indexes], self._report)

    def __len__(self) -> int:
        return len(self._solutions)

    def __iter__(self) -> Iterator[Solution]:
        return iter(self._solutions)

    @overload
    def __getitem__(self, index: int) -> Solution: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Solution]: ...
    def __getitem__(self, index: int | slice) -> Solution | Sequence[Solution]:
        return self._solutions[index]

    def __repr__(self) -> str:
        return f"Solutions({len(self):,} solutions)"


@dataclass
class _Count:
    """Counts what streams past; finds repetitions and contradictions."""

    solutions: int = 0
    shares: int = 0
    contradictions: int = 0
    labels: Counter[int | None] = field(default_factory=Counter)
    _seen: set[bytes] = field(default_factory=set)
    _said: dict[bytes, int] = field(default_factory=dict)

    def over(
        self, found: Iterable[tuple[str, Solution]], tally: Tally | None
    ) -> Iterator[Solution]:
        """The same solutions; with a tally, repetitions are dropped and counted there."""
        for where, solution in found:
            prompt = fingerprint([m.to_dict() for m in solution.prompt])
            if tally is not None and self._is_repeated(solution, prompt):
                tally.drop(where, "duplicate")
                continue
            self.solutions += 1
            self.labels.update(solution.labels)
            self.shares += sum(p is not None for p in solution.probabilities or ())
            self._compare(solution, prompt)
            yield solution

    def report(self, tally: Tally) -> SolutionReport:
        """The tally's counts with those of what went past."""
        return SolutionReport(
            rows=tally.rows,
            solutions=self.solutions,
            steps=self.labels.total(),
            good=self.labels[GOOD],
            neutral=self.labels[NEUTRAL],
            bad=self.labels[BAD],
            unjudged=self.labels[None],
            shares=self.shares,
            dropped=dict(tally.dropped),
            examples=tuple(tally.examples),
            formats=dict(tally.formats),
            contradictions=self.contradictions,
        )

    def _is_repeated(self, solution: Solution, prompt: bytes) -> bool:
        judged = [solution.labels, solution.probabilities, solution.correct, solution.weight]
        key = fingerprint([prompt.hex(), solution.steps, judged, solution.annotator])
        is_repeated = key in self._seen
        self._seen.add(key)
        return is_repeated

    def _compare(self, solution: Solution, prompt: bytes) -> None:
        path = hashlib.blake2b(prompt, digest_size=16)
        for step, label in zip(solution.steps, solution.labels, strict=True):
            text = step.encode("utf-8", "surrogatepass")
            path.update(len(text).to_bytes(8, "big") + text)  # the length keeps steps apart
            if label is not None:
                self.contradictions += self._said.setdefault(path.digest(), label) != label


def _read(
    source: Any, on_bad_row: OnBadRow, tally: Tally, after_error: AfterError
) -> Iterator[tuple[str, Solution]]:
    reader = SolutionReader(*name_and_unit(source), on_bad_row, tally, after_error)
    return reader.solutions(numbered_rows(source, reader.bad_line))
