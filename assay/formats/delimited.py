"""CSV and TSV: a row a line, read as rows of named fields, and written safe for spreadsheets.

A spreadsheet runs a cell that begins with = + - @, a tab or a carriage return as a formula. Such a
cell is written behind an apostrophe, which reading takes off again.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.formats.archives import Limits, opened_gzip

SUFFIXES = (".csv", ".tsv", ".csv.gz", ".tsv.gz")

NUMBERS = frozenset((
    "probability", "margin", "weight", "preference_strength", "overall_preference", "helpfulness",
    "correctness", "coherence", "complexity", "verbosity", "score_chosen", "score_rejected",
    "strength", "rating", "active_ms", "place", "overlap", "winner_model_a", "winner_model_b",
    "winner_tie", "mistake_index",
))  # fmt: skip
"""Columns whose cells are numbers."""
TEXTS = frozenset(("id", "subset", "annotator", "rationale", "raw", "preset", "language"))
"""Columns whose cells are text, whatever they look like."""
FLAGS = frozenset(("tie", "label", "correct", "surplus", "is_solution"))
"""Columns whose cells are true or false."""
_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_GUARDED = re.compile(r"'+[=+\-@\t\r]")
_MOST_CELL = 16 * 2**20


def guarded(cell: str) -> str:
    """A text that no spreadsheet takes for a formula."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def unguarded(cell: str) -> str:
    """The text that was guarded."""
    return cell[1:] if _GUARDED.match(cell) else cell


def read_delimited(
    path: Path, limits: Limits | None = None, unguard: bool = True
) -> Iterator[tuple[int, dict[str, Any]]]:
    """The rows of a CSV or TSV file with their numbers, from 1 after the header.

    An empty cell is a field that is not there. A cell that is a JSON list or object is read as one;
    columns known to hold numbers or true and false are.

    Raises:
        DataError: If the file is not text in UTF-8, has no header, or a line has more cells.
    """
    delimiter = "\t" if ".tsv" in path.suffixes else ","
    raw: Any = opened_gzip(path, limits) if path.suffix == ".gz" else path.open("rb")
    csv.field_size_limit(_MOST_CELL)
    number = 0
    with raw, io.TextIOWrapper(raw, "utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        try:
            header = [name.strip() for name in next(reader, [])]
            _check_header(header, path, delimiter)
            for cells in reader:
                if not any(cells):
                    continue
                number += 1
                if len(cells) > len(header):
                    raise DataError(
                        f"{path} row {number} has {len(cells)} cells and the header "
                        f"{len(header)}; put cells with a comma or line break in double quotes."
                    )
                pairs = zip(header, cells, strict=False)
                yield number, {k: _value(k, v, unguard) for k, v in pairs if v != ""}
        except csv.Error as error:
            raise DataError(f"{path} row {number + 1} cannot be read as CSV: {error}.") from error
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} after row {number} is not UTF-8 text; save it as CSV UTF-8."
            ) from error
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged after row {number}: {error}.") from error


def _check_header(header: list[str], path: Path, delimiter: str) -> None:
    names = [name for name in header if name]
    if not names:
        raise DataError(f"{path} has no header; its first line must name the columns.")
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"{path} has two columns named {twice!r}; name columns apart.")
    if len(names) == 1 and ";" in names[0] and delimiter == ",":
        raise DataError(f"{path} has semicolons between its cells; save it with commas.")


def _value(key: str, cell: str, unguard: bool) -> Any:
    cell = unguarded(cell) if unguard else cell
    if key in NUMBERS:
        try:
            found = float(cell)
        except ValueError:
            return cell  # whoever reads the field says what is wrong with it
        return int(found) if found.is_integer() and "." not in cell else found
    if key in FLAGS and cell.strip().lower() in ("true", "false", "1", "0", "yes", "no"):
        return cell.strip().lower() in ("true", "1", "yes")
    if key not in TEXTS and cell[:1] in "[{" and cell[-1:] in "]}":
        try:
            return json.loads(cell)
        except (ValueError, RecursionError):
            return cell  # text that only looks like it
    return cell
