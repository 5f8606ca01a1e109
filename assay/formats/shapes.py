"""Formats recognised by their keys, and what is done with rows that fit none.

Knows nothing of what a row means: ``rows`` reads preferences with it, ``solutions`` steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from assay.configs import OnBadRow
from assay.errors import DataError
from assay.formats.fields import Row, RowError
from assay.formats.tally import Tally

T = TypeVar("T")


@dataclass(frozen=True)
class Shape(Generic[T]):
    """One accepted format: its name, the keys that mark it, and how a row is read.

    ``apart`` reads a row of several judgments as one record each.
    """

    name: str
    keys: tuple[str, ...]
    parse: Callable[[Row], T]
    holds: Callable[[Row], bool] = lambda row: True
    apart: Callable[[Row], Sequence[T]] | None = None

    def fits(self, row: Row) -> bool:
        """Whether the row has this format's keys, and its kind of values where keys say little."""
        return all(key in row for key in self.keys) and self.holds(row)


def first_fit(row: Row, shapes: Sequence[Shape[T]]) -> Shape[T] | None:
    """The first format the row's keys fit."""
    return next((shape for shape in shapes if shape.fits(row)), None)


class Recogniser(Generic[T]):
    """Says which format the rows of one source have; stops at a bad row or counts it.

    The first row decides, and a row of another format is an error.

    Args:
        source: What messages call the source: a file name.
        unit: What row numbers count: "line" or "row".
        on_bad_row: "error" raises a DataError at the first bad row; "skip" counts it.
        tally: Where the counts go.
        shapes: The accepted formats.
        unknown: What is wrong with a row that fits none of them.
    """

    def __init__(
        self,
        source: str,
        unit: str,
        on_bad_row: OnBadRow,
        tally: Tally,
        shapes: Sequence[Shape[T]],
        unknown: Callable[[Row], RowError],
    ) -> None:
        self._source = source
        self._unit = unit
        self._on_bad_row = on_bad_row
        self._tally = tally
        self._shapes = shapes
        self._unknown = unknown
        self._shape: Shape[T] | None = None
        self._first = 0

    def place(self, number: int) -> str:
        """Where a row is, in words."""
        return f"{self._source} {self._unit} {number}"

    def shape_for(self, number: int, row: Row) -> Shape[T]:
        """The format of a row.

        Raises:
            RowError: If the row fits no format, or lacks a key of the source's.
            DataError: If it is of another format than the rows before it.
        """
        shape = first_fit(row, self._shapes)
        if self._shape is None:
            if shape is None:
                raise self._unknown(row)
            self._shape, self._first = shape, number
        if shape is None or shape.name == self._shape.name:
            _check_keys(row, shape or self._shape)
            return shape or self._shape
        raise DataError(
            f"{self.place(number)} reads as '{shape.name}', but {self._unit} {self._first} as "
            f"'{self._shape.name}'; split the file into one for each format."
        )

    def reject(self, number: int, error: RowError) -> None:
        """Raise what is wrong with a row, with its place and what to do, or count it."""
        if self._on_bad_row == "error":
            advice = self._advice if self._shape else "docs/formats.md lists the formats."
            raise DataError(f"{self.place(number)}: {error}. {advice}") from error
        self._tally.drop(self.place(number), error.reason)

    def bad_line(self, number: int, error: DataError) -> None:
        """Deal with a line that is no row at all, as ``read_rows`` reports it."""
        self._tally.rows += 1
        if self._on_bad_row == "error":
            raise DataError(f"{str(error).rstrip('.')}. {self._advice}") from error
        self._tally.drop(self.place(number), "not a JSON object")

    @property
    def _advice(self) -> str:
        return f"Fix the {self._unit} or pass --on-bad-row skip."


def _check_keys(row: Row, shape: Shape[T]) -> None:
    missing = [key for key in shape.keys if key not in row]
    if missing:
        wanted = ", ".join(repr(key) for key in shape.keys)
        raise RowError(
            f"'{missing[0]}' is missing; a row of '{shape.name}' has {wanted}",
            f"missing '{missing[0]}'",
        )
