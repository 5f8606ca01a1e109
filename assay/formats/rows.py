"""From raw rows to comparisons: which format a file has, what a row says, what was left out.

A file holds one format, recognised by its keys. Bad rows stop the reading or are counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

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
from assay.formats.shapes import Recogniser, first_fit
from assay.formats.shapes import Shape as AnyShape
from assay.formats.tally import EXAMPLES_KEPT, Tally
from assay.types import Comparison

__all__ = ["EXAMPLES_KEPT", "SHAPES", "SINGLE_SHAPES", "RowReader", "Shape", "Tally", "shape_of"]

Parsed = Comparison | JudgedComparison | Rated
Shape = AnyShape[Parsed]
"""One accepted format of preferences."""


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
    return first_fit(row, shapes)


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
        accepted = (*shapes, *SINGLE_SHAPES) if singles else shapes
        self._recogniser = Recogniser(source, unit, on_bad_row, tally, accepted, _unknown)
        self._source = source
        self._unit = unit
        self._tally = tally
        self._singles = singles
        self._apart = apart

    def bad_line(self, number: int, error: DataError) -> None:
        """Deal with a line that is no row at all, as ``read_rows`` reports it."""
        self._recogniser.bad_line(number, error)

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
        return self._recogniser.place(number)

    def _parsed(self, number: int, row: Row) -> Sequence[Parsed]:
        parsed: Sequence[Parsed]
        try:
            shape = self._recogniser.shape_for(number, row)
            parsed = shape.apart(row) if self._apart and shape.apart else [shape.parse(row)]
        except RowError as error:
            self._recogniser.reject(number, error)
            return []
        self._tally.formats[shape.name] += 1
        return parsed

    def _joined(
        self, number: int, rated: list[Rated]
    ) -> Iterator[tuple[int, Comparison | JudgedComparison]]:
        if len(rated) < 2 and not self._singles:
            self._tally.drop(self.place(number), "prompt with a single rated response")
            return
        try:
            comparison = compare_rated(rated)
        except RowError as error:
            self._recogniser.reject(number, error)
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
