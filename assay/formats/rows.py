"""From raw rows to comparisons: which format a file has, what a row says, what was left out.

A file holds one format, recognised by its keys. Bad rows stop the reading or are counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from assay.configs import OnBadRow
from assay.errors import DataError
from assay.formats.comparisons import assay_comparison, identical_pairs, judgments_apart
from assay.formats.fields import Row, RowError, is_transcript, shown
from assay.formats.judged import JudgedComparison
from assay.formats.pairs import explicit_pair, implicit_conversations, implicit_texts
from assay.formats.ratings import (
    Rated,
    compare_rated,
    helpsteer2_preference,
    helpsteer3_preference,
    helpsteer_rating,
    labelled,
    pandalm,
    pandalm_apart,
    tulu,
    ultrafeedback,
)
from assay.types import Comparison, Dropped, LoadReport

EXAMPLES_KEPT = 3
"""How many places of each reason a report names."""


@dataclass(frozen=True)
class Shape:
    """One accepted format: its name, the keys that mark it, and how a row is read.

    ``apart`` reads a row of several judgments as one comparison each.
    """

    name: str
    keys: tuple[str, ...]
    parse: Callable[[Row], Comparison | JudgedComparison | Rated]
    holds: Callable[[Row], bool] = lambda row: True
    apart: Callable[[Row], Sequence[Comparison]] | None = None

    def fits(self, row: Row) -> bool:
        """Whether the row has this format's keys, and its kind of values where keys say little."""
        return all(key in row for key in self.keys) and self.holds(row)


def _implicit(kind: Callable[[object], bool]) -> Callable[[Row], bool]:
    return lambda row: "prompt" not in row and kind(row["chosen"])


SHAPES = (
    Shape("pair with prompt", ("prompt", "chosen", "rejected"), explicit_pair),
    Shape(
        "Anthropic-HH transcripts",
        ("chosen", "rejected"),
        implicit_conversations,
        _implicit(is_transcript),
    ),
    Shape(
        "pair of conversations without prompt",
        ("chosen", "rejected"),
        implicit_conversations,
        _implicit(lambda side: isinstance(side, list | tuple)),
    ),
    Shape(
        "pair of texts without prompt",
        ("chosen", "rejected"),
        implicit_texts,
        _implicit(lambda side: isinstance(side, str)),
    ),
    Shape(
        "Assay comparison",
        ("prompt", "responses", "judgments"),
        assay_comparison,
        apart=judgments_apart,
    ),
    Shape("Assay comparison", ("prompt", "responses", "preferences"), assay_comparison),
    Shape("UltraFeedback", ("instruction", "completions"), ultrafeedback),
    Shape(
        "HelpSteer2 preference",
        ("prompt", "response_1", "response_2", "preference_strength"),
        helpsteer2_preference,
    ),
    Shape(
        "HelpSteer3 preference",
        ("context", "response1", "response2", "overall_preference"),
        helpsteer3_preference,
    ),
    Shape("HelpSteer rating", ("prompt", "response", "helpfulness"), helpsteer_rating),
    Shape(
        "PandaLM",
        ("instruction", "response_1", "response_2", "votes"),
        pandalm,
        apart=pandalm_apart,
    ),
    Shape("Tülu evaluation", ("prompt", "completion_a", "completion_b", "preference"), tulu),
)

SINGLE_SHAPES = (Shape("labelled response", ("prompt", "completion", "label"), labelled),)
"""Formats of single responses, read only where they are asked for."""


def shape_of(row: Row, shapes: Sequence[Shape] = SHAPES) -> Shape | None:
    """The first format the row's keys fit."""
    return next((shape for shape in shapes if shape.fits(row)), None)


@dataclass
class Tally:
    """What becomes of rows as they stream past, for the ``LoadReport`` at the end."""

    rows: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    dropped: Counter[str] = field(default_factory=Counter)
    examples: list[Dropped] = field(default_factory=list)

    def drop(self, where: str, reason: str, count: int = 1) -> None:
        """Count something left out; the first few places of each reason are kept."""
        if sum(e.reason == reason for e in self.examples) < EXAMPLES_KEPT:
            self.examples.append(Dropped(where, reason))
        self.dropped[reason] += count

    def report(
        self, *, comparisons: int, pairs: int, ties: int, contradictions: int, singles: int = 0
    ) -> LoadReport:
        """The counts as a record."""
        return LoadReport(
            rows=self.rows,
            comparisons=comparisons,
            pairs=pairs,
            ties=ties,
            contradictions=contradictions,
            singles=singles,
            dropped=dict(self.dropped),
            examples=tuple(self.examples),
            formats=dict(self.formats),
        )


class RowReader:
    """Turns the rows of one source into comparisons with their places; counts what it drops.

    ``VOTE_SHAPES`` in ``assay.formats.votes`` gives the same rows as judgments.

    Args:
        source: What messages call the source: a file name.
        unit: What row numbers count: "line" or "row".
        on_bad_row: "error" raises a DataError at the first bad row; "skip" counts it.
        tally: Where the counts go; several sources may share one.
        shapes: The accepted formats.
        singles: Keep responses that were labelled or rated by themselves.
        apart: Give one comparison a judgment where a row has several.
    """

    def __init__(
        self,
        source: str,
        unit: str,
        on_bad_row: OnBadRow,
        tally: Tally,
        shapes: Sequence[Shape] = SHAPES,
        *,
        singles: bool = False,
        apart: bool = False,
    ) -> None:
        self._source = source
        self._unit = unit
        self._on_bad_row = on_bad_row
        self._tally = tally
        self._shapes = (*shapes, *SINGLE_SHAPES) if singles else shapes
        self._singles = singles
        self._apart = apart
        self._shape: Shape | None = None
        self._first = 0

    def bad_line(self, number: int, error: DataError) -> None:
        """Deal with a line that is no row at all, as ``read_rows`` reports it."""
        self._tally.rows += 1
        if self._on_bad_row == "error":
            raise DataError(f"{str(error).rstrip('.')}. {self._advice}") from error
        self._tally.drop(self.place(number), "not a JSON object")

    def comparisons(self, rows: Iterable[tuple[int, Row]]) -> Iterator[tuple[str, Comparison]]:
        """Each comparison with its place; rated responses are joined with their neighbours."""
        for number, comparison in self.numbered(rows):
            assert isinstance(comparison, Comparison)
            yield self.place(number), comparison

    def numbered(
        self, rows: Iterable[tuple[int, Row]]
    ) -> Iterator[tuple[int, Comparison | JudgedComparison]]:
        """What the rows hold, as the shapes read it, each with its row's number."""
        before = self._tally.rows
        rated: list[Rated] = []
        rated_from = 0
        for number, row in rows:
            self._tally.rows += 1
            for parsed in self._parsed(number, row):
                if not isinstance(parsed, Rated):
                    yield from self._checked(number, parsed)
                    continue
                if rated and rated[0].prompt != parsed.prompt:
                    yield from self._joined(rated_from, rated)
                    rated = []
                rated_from = rated_from if rated else number
                rated.append(parsed)
        if rated:
            yield from self._joined(rated_from, rated)
        if self._tally.rows == before:
            raise DataError(
                f"{self._source} is empty; preference data has one comparison in each {self._unit}."
            )

    def place(self, number: int) -> str:
        """Where a row is, in words."""
        return f"{self._source} {self._unit} {number}"

    def _parsed(self, number: int, row: Row) -> Sequence[Comparison | JudgedComparison | Rated]:
        parsed: Sequence[Comparison | JudgedComparison | Rated]
        try:
            shape = self._shape_for(number, row)
            parsed = shape.apart(row) if self._apart and shape.apart else [shape.parse(row)]
        except RowError as error:
            self._reject(number, error)
            return []
        self._tally.formats[shape.name] += 1
        return parsed

    def _shape_for(self, number: int, row: Row) -> Shape:
        shape = shape_of(row, self._shapes)
        if self._shape is None:
            if shape is None:
                raise _unknown(row)
            self._shape, self._first = shape, number
        if shape is None or shape.name == self._shape.name:
            _check_keys(row, shape or self._shape)
            return shape or self._shape
        raise DataError(
            f"{self.place(number)} reads as '{shape.name}', but {self._unit} {self._first} as "
            f"'{self._shape.name}'; split the file into one for each format."
        )

    def _joined(
        self, number: int, rated: list[Rated]
    ) -> Iterator[tuple[int, Comparison | JudgedComparison]]:
        if len(rated) < 2 and not self._singles:
            self._tally.drop(self.place(number), "prompt with a single rated response")
            return
        try:
            comparison = compare_rated(rated)
        except RowError as error:
            self._reject(number, error)
            return
        yield from self._checked(number, comparison)

    def _checked(
        self, number: int, comparison: Comparison | JudgedComparison
    ) -> Iterator[tuple[int, Comparison | JudgedComparison]]:
        if isinstance(comparison, Comparison) and not comparison.preferences and not self._singles:
            self._tally.drop(self.place(number), "no preference, ratings only")
            return
        same = identical_pairs(comparison) if isinstance(comparison, Comparison) else 0
        if same:
            self._tally.drop(self.place(number), "pair of identical responses in a ranking", same)
        yield number, comparison

    def _reject(self, number: int, error: RowError) -> None:
        if self._on_bad_row == "error":
            advice = self._advice if self._shape else "docs/formats.md lists the formats."
            raise DataError(f"{self.place(number)}: {error}. {advice}") from error
        self._tally.drop(self.place(number), error.reason)

    @property
    def _advice(self) -> str:
        return f"Fix the {self._unit} or pass --on-bad-row skip."


def _check_keys(row: Row, shape: Shape) -> None:
    missing = [key for key in shape.keys if key not in row]
    if missing:
        wanted = ", ".join(repr(key) for key in shape.keys)
        raise RowError(
            f"'{missing[0]}' is missing; a row of '{shape.name}' has {wanted}",
            f"missing '{missing[0]}'",
        )


def _unknown(row: Row) -> RowError:
    keys = ", ".join(repr(str(key)) for key in row) or "none"
    if "chosen" in row and "rejected" in row:
        return RowError(
            f"'chosen' must be text or a list of messages, not {shown(row['chosen'])}", "wrong type"
        )
    if "chosen" in row or "rejected" in row:
        missing = "rejected" if "chosen" in row else "chosen"
        return RowError(
            f"'{missing}' is missing; a pair has 'chosen' and 'rejected'", f"missing '{missing}'"
        )
    if "responses" in row:
        return RowError(
            "the row has 'responses' but no 'judgments'; a comparison says which is better",
            "missing 'judgments'",
        )
    if "completion" in row and "label" in row:
        lack = "one 'completion' with a 'label' (a KTO row, which losses binary and kto take)"
    elif "messages" in row or "completion" in row or "text" in row or "conversations" in row:
        lack = "a single answer (a fine-tuning row)"
    else:
        return RowError(
            f"its keys ({keys}) fit no preference format; 'prompt', 'chosen' and 'rejected' do",
            "unknown format",
        )
    return RowError(
        f"the row has {lack}; a preference needs two responses to one prompt, "
        "'chosen' and 'rejected'",
        "no second response",
    )
