"""Files into comparisons for the store: every format Assay reads, labelled or not, row by row.

A file holds one format, recognised by its keys. Existing preferences become judgments that say who
judged, when, in which order and how clearly, as far as the row does. Compressed files are read
within limits. Nothing is held but the row at hand and its neighbours of one prompt.
"""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from assay.configs import OnBadRow
from assay.errors import ConfigError, DataError
from assay.formats import delimited
from assay.formats.archives import LIMITS, Limits, unzipped
from assay.formats.fields import Row, RowError
from assay.formats.files import numbering, read_rows
from assay.formats.shapes import Recogniser, Shape
from assay.formats.solutions import solution_shapes
from assay.formats.tally import Tally
from assay.store import (
    platforms,
    rows_assay,
    rows_columns,
    rows_flat,
    rows_parts,
    rows_published,
    rows_steps,
)
from assay.store.records import Kind, NewComparison, NewJudgment, Purpose
from assay.store.whole import numbered
from assay.types import Dropped

Rows = Iterable[Mapping[str, Any]]
InShape = Shape[rows_parts.Parsed]

_DATA = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".parquet", *delimited.SUFFIXES)
SUFFIXES = (*_DATA, ".zip")
"""How the names of files end that can be imported."""

_FREE = ("tools", "provenance", "extra", "dimensions", "expected", "decision", "origin", "written",
         "flags", "tool_calls", "metadata", "meta")  # fmt: skip
"""Fields of any shape, which Parquet holds as JSON text."""


def _keys(*keys: str) -> tuple[str, ...]:
    return keys


def _responses_given(row: Row) -> bool:
    return isinstance(row["responses"], list | tuple)


_SHAPES: tuple[tuple[str, InShape], ...] = (
    ("argilla", Shape("Argilla", _keys("fields"), platforms.argilla, platforms.is_argilla)),
    ("label-studio", Shape("Label Studio", _keys("data"), platforms.label_studio,
                           platforms.is_label_studio)),
    ("pairs", Shape("pair with prompt", _keys("prompt", "chosen", "rejected"),
                    rows_published.CHOSEN_READERS["prompt"])),
    ("hh", Shape("Anthropic-HH transcripts", _keys("chosen", "rejected"),
                 rows_published.CHOSEN_READERS["conversations"], rows_published.is_hh)),
    ("trl-implicit", Shape("pair of conversations without prompt", _keys("chosen", "rejected"),
                           rows_published.CHOSEN_READERS["conversations"],
                           lambda row: isinstance(row["chosen"], list | tuple))),
    ("trl-implicit", Shape("pair of texts without prompt", _keys("chosen", "rejected"),
                           rows_published.CHOSEN_READERS["texts"],
                           lambda row: isinstance(row["chosen"], str))),
    ("assay", Shape("Assay comparison", _keys("prompt", "responses"), rows_assay.row_in,
                    _responses_given)),
    ("ultrafeedback", Shape("UltraFeedback", _keys("instruction", "completions"),
                            rows_published.ultrafeedback)),
    ("helpsteer", Shape("HelpSteer2 preference",
                        _keys("prompt", "response_1", "response_2", "preference_strength"),
                        rows_published.HELPSTEER2)),
    ("helpsteer", Shape("HelpSteer3 preference",
                        _keys("context", "response1", "response2", "overall_preference"),
                        rows_published.HELPSTEER3)),
    ("helpsteer", Shape("HelpSteer rating", _keys("prompt", "response", "helpfulness"),
                        rows_published.helpsteer_rated)),
    ("pandalm", Shape("PandaLM", _keys("instruction", "response_1", "response_2", "votes"),
                      rows_published.pandalm)),
    ("tulu", Shape("Tülu evaluation",
                   _keys("prompt", "completion_a", "completion_b", "preference"),
                   rows_published.tulu,
                   lambda row: str(row["preference"]) in rows_published.TULU)),
    ("kto", Shape("labelled response", _keys("prompt", "completion", "label"),
                  rows_published.labelled)),
    ("csv", Shape("Assay table", _keys("prompt", "kind", "response_1", "response_2"),
                  rows_flat.flat, rows_flat.is_flat)),
    *((_name, Shape(_shape.name, _shape.keys, rows_steps.solutions(_shape), _shape.holds))
      for _name, _shape in (("steps", shape) for shape in solution_shapes())
      if _shape.name not in ("PRM800K", "PRM800K steps")),
    ("prm800k", Shape("PRM800K", _keys("question", "label"), rows_steps.prm800k,
                      lambda row: isinstance(row["question"], dict)
                      and isinstance(row["label"], dict))),
    ("prm800k", Shape("PRM800K steps", _keys("problem", "prefix", "step", "rating"),
                      rows_steps.prm800k_step)),
    ("arena", Shape("columns of responses", (), rows_columns.columns, rows_columns.has_columns)),
    ("arena", Shape("votes without texts", _keys("model_a", "model_b", "winner"),
                    rows_columns.votes_alone)),
)  # fmt: skip
FORMATS = tuple(dict.fromkeys(name for name, _ in _SHAPES))
"""Names that ``format`` takes besides "auto"."""


@dataclass(frozen=True, slots=True)
class Incoming:
    """What became of the rows of a file."""

    rows: int
    comparisons: int
    judgments: int
    formats: tuple[str, ...]
    left_out: Mapping[str, int]
    examples: Sequence[Dropped]

    def __str__(self) -> str:
        gone = ", ".join(f"{n:,} {why}" for why, n in self.left_out.items())
        return (
            f"{self.rows:,} rows gave {self.comparisons:,} comparisons with {self.judgments:,} "
            f"judgments; left out: {gone or 'none'}"
        )


class Reading(Iterator[NewComparison]):
    """A stream of comparisons; ``report`` says what became of the rows so far."""

    def __init__(self, found: Iterator[NewComparison], tally: Tally, close: ExitStack):
        self._found, self._tally, self._close = found, tally, close
        self._comparisons = self._judgments = 0

    def __iter__(self) -> Reading:
        return self

    def __next__(self) -> NewComparison:
        try:
            new = next(self._found)
        except BaseException:
            self._close.close()
            raise
        self._comparisons += 1
        self._judgments += len(new.judgments)
        return new

    @property
    def report(self) -> Incoming:
        """The counts by now."""
        return Incoming(
            self._tally.rows, self._comparisons, self._judgments, tuple(self._tally.formats),
            dict(self._tally.dropped), tuple(self._tally.examples),
        )  # fmt: skip

    def counts(self) -> dict[str, int]:
        """Rows, and those left out by reason, as an import records them."""
        return {"rows": self._tally.rows, **self._tally.dropped}

    def close(self) -> None:
        """Stop early."""
        self._close.close()


def new_comparisons(
    source: str | Path | Rows,
    *,
    kind: Kind | Literal["auto"] = "auto",
    format: str = "auto",
    overlap: int | None = None,
    purpose: Purpose = "work",
    on_bad_row: OnBadRow = "error",
    shuffle_seed: int | None = None,
    language: str | None = None,
    judgments: bool = True,
    limit: int | None = None,
    limits: Limits = LIMITS,
    name: str | None = None,
) -> Reading:
    """The comparisons of a file, directory, hub name or rows; ``docs/formats.md`` has the formats.

    Args:
        kind: "auto" takes two responses as a pair, more as a ranking and steps as a solution; a
            kind asks for that one, and "ranking" also ranks two.
        format: One of ``FORMATS``, where the keys of the rows would say another.
        overlap: Judgments wanted of each comparison. Default: the row's, or the project's.
        purpose: Of items with a known answer: from the field ``expected``, or else the row's own
            preference, which then is no judgment.
        on_bad_row: "error" raises at the first bad row; "skip" counts it and goes on.
        shuffle_seed: Draws the order that responses are numbered in, so that the number says
            nothing; what is shown first is drawn for each annotator in any case.
        language: Of all comparisons whose row says none, such as "en".
        judgments: Whether preferences in the rows are kept as judgments.
        limit: Stop after so many comparisons.
        limits: How much a compressed file may unpack to.
        name: What messages call the source. Default: its path.

    Raises:
        DataError: While it is read, with file, row, what is wrong and what to do.
    """
    shapes = _chosen_shapes(kind, format)
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, not {limit}; leave it out to take all.")
    if overlap is not None and not 1 <= overlap <= 100:
        raise ConfigError(f"overlap must be 1 to 100, not {overlap}.")
    tally, stack = Tally(), ExitStack()
    called = name or (str(source) if isinstance(source, str | Path) else "the given data")
    reader = _Reader(called, source, on_bad_row, tally, shapes, limits, stack)

    def found() -> Iterator[NewComparison]:
        rng = None if shuffle_seed is None else random.Random(shuffle_seed)
        taken = 0
        for number, new in reader.comparisons():
            try:
                new = _as_asked(new, kind, purpose, overlap, language, judgments)
                new = rows_parts.checked(new if rng is None else _shuffled(new, rng))
            except RowError as error:
                reader.reject(number, error)
                continue
            yield new
            taken += 1
            if taken == limit:
                return

    return Reading(found(), tally, stack)


def _chosen_shapes(kind: str, format: str) -> tuple[InShape, ...]:
    if kind not in ("auto", "pair", "ranking", "steps"):
        raise ConfigError(f"kind must be auto, pair, ranking or steps, not {kind!r}.")
    if format != "auto" and format not in FORMATS:
        raise ConfigError(f"format must be auto or one of {', '.join(FORMATS)}, not {format!r}.")
    shapes = [shape for name, shape in _SHAPES if format in ("auto", name)]
    if kind == "steps" and format == "auto":
        steps = [shape for name, shape in _SHAPES if name in ("prm800k", "steps", "assay")]
        shapes = [s for s in steps if "steps" in s.keys or "prefix" in s.keys] + [
            s for s in steps if not ("steps" in s.keys or "prefix" in s.keys)
        ]
    return tuple(shapes)


class _Reader:
    """Rows of one source to comparisons with the numbers of their rows."""

    def __init__(
        self,
        called: str,
        source: Any,
        on_bad_row: OnBadRow,
        tally: Tally,
        shapes: tuple[InShape, ...],
        limits: Limits,
        stack: ExitStack,
    ):
        self._called, self._tally, self._limits, self._stack = called, tally, limits, stack
        self._source: Any = source
        self._on_bad_row = on_bad_row
        self._shapes = shapes
        self._recogniser = Recogniser(called, "row", on_bad_row, tally, shapes, _unknown)

    def reject(self, number: int, error: RowError) -> None:
        """Raise what is wrong with a row, or count it."""
        self._recogniser.reject(number, error)

    def comparisons(self) -> Iterator[tuple[int, NewComparison]]:
        """Comparisons, neighbours that belong together joined."""
        parts: list[rows_parts.Part] = []
        once: set[Hashable] = set()
        first = 0
        for number, row in self._rows():
            self._tally.rows += 1
            for piece in self._parsed(number, row):
                if isinstance(piece, NewComparison):
                    yield number, piece
                    continue
                if parts and (piece.once in once or not _belongs(parts, piece)):
                    yield from self._joined(first, parts)
                    parts, once = [], set()
                first = first if parts else number
                parts.append(piece)
                if piece.once is not None:
                    once.add(piece.once)
        if parts:
            yield from self._joined(first, parts)
        if not self._tally.rows:
            raise DataError(f"{self._called} is empty; it should have a comparison in each row.")

    def _parsed(self, number: int, row: Row) -> rows_parts.Parsed:
        try:
            shape = self._recogniser.shape_for(number, row)
            found = shape.parse(row)
        except RowError as error:
            self._recogniser.reject(number, error)
            return ()
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, DataError):
                raise
            # a field nested in a row is of another type than its format has
            self._recogniser.reject(
                number, RowError(f"a field is not what its format has there ({error!r})",
                                 "wrong type"),
            )  # fmt: skip
            return ()
        self._tally.formats[shape.name] += 1
        return found

    def _joined(
        self, number: int, parts: list[rows_parts.Part]
    ) -> Iterator[tuple[int, NewComparison]]:
        try:
            yield number, parts[0].join([part.row for part in parts])
        except RowError as error:
            if error.reason.startswith("single "):
                self._tally.drop(self._recogniser.place(number), error.reason)
            else:
                self._recogniser.reject(number, error)

    def _rows(self) -> Iterator[tuple[int, Row]]:
        source = self._source
        if not isinstance(source, str | Path):
            return enumerate(_mappings(source), start=1)
        path = Path(source).expanduser()
        if path.is_file() and path.suffix.lower() == ".zip":
            path = self._stack.enter_context(unzipped(path, _DATA, self._limits))
        if path.is_file() and path.name.lower().endswith(delimited.SUFFIXES):
            return delimited.read_delimited(path, self._limits)
        at: str | Path = path if path.is_file() else source
        unit = numbering(at)
        self._recogniser = Recogniser(
            self._called, unit, self._on_bad_row, self._tally, self._shapes, _unknown
        )
        found = read_rows(at, self._recogniser.bad_line, self._limits)
        is_columnar = not path.is_file() or path.suffix == ".parquet"
        return ((n, _spelled(row)) for n, row in found) if is_columnar else found


def _mappings(rows: Iterable[Any]) -> Iterator[Row]:
    for row in rows:
        if not isinstance(row, Mapping):
            raise DataError(f"rows are mappings with named fields, not {type(row).__name__}.")
        yield row


def _spelled(row: Any) -> Any:
    """A row of a table as JSON would have it: free-form fields read, absent ones left out."""
    import json

    if isinstance(row, list):
        return [_spelled(item) for item in row]
    if not isinstance(row, Mapping):
        return row
    found: dict[str, Any] = {}
    for key, value in row.items():
        if key in _FREE and isinstance(value, str) and value[:1] in "[{":
            try:
                found[key] = json.loads(value)
                continue
            except ValueError:
                pass
        if value is not None or key in ("choice", "rating"):
            found[key] = _spelled(value)
    if found.get("ranking") is not None or "labels" in found:
        found.pop("choice", None)  # a table has the column for every row
    return found


def _belongs(parts: Sequence[rows_parts.Part], piece: rows_parts.Part) -> bool:
    if parts[-1].key != piece.key:
        return False
    is_prm = isinstance(piece.key, tuple) and piece.key[0] == "prm"
    return not is_prm or rows_steps.continues([part.row for part in parts], piece.row)


def _as_asked(
    new: NewComparison,
    kind: str,
    purpose: Purpose,
    overlap: int | None,
    language: str | None,
    keep: bool,
) -> NewComparison:
    if kind == "ranking" and new.kind == "pair":
        new = replace(new, kind="ranking", judgments=tuple(map(_ranked, new.judgments)))
    elif kind != "auto" and new.kind != kind:
        raise RowError(
            f"the row is of the kind {new.kind}, and {kind} was asked for", f"not of kind {kind}"
        )
    if purpose != "work" and new.purpose == "work":
        expected = new.expected or rows_assay.expected_from(new)
        new = replace(new, purpose=purpose, expected=expected, judgments=())
    if new.purpose != "work" and new.expected is None:
        raise RowError(
            f"a {new.purpose} item needs an expected answer; give it in a field 'expected'",
            "no expected answer",
        )
    return replace(
        new,
        overlap=overlap or new.overlap,
        language=new.language or language,
        judgments=new.judgments if keep else (),
    )


def _ranked(said: NewJudgment) -> NewJudgment:
    answer = dict(said.answer)
    choice = answer.pop("choice")
    for key in ("strength", "preset", "preset_version", "raw"):
        answer.pop(key, None)
    groups = [[0, 1]] if choice is None else [[choice], [1 - choice]]
    return replace(said, answer={**answer, "kind": "ranking", "groups": groups, "unranked": []})


def _shuffled(new: NewComparison, rng: random.Random) -> NewComparison:
    """The comparison with its responses numbered in another order."""
    count = len(new.responses)
    order = list(range(count))
    rng.shuffle(order)
    if count < 2 or order == list(range(count)):
        return new
    places = {old: at for at, old in enumerate(order)}
    return replace(
        new,
        responses=tuple(new.responses[i] for i in order),
        expected=None if new.expected is None else _renumbered(new.expected, places),
        judgments=tuple(
            replace(
                j,
                answer=_renumbered(j.answer, places),
                shown=None if j.shown is None else tuple(places[i] for i in j.shown),
            )
            for j in new.judgments
        ),
    )


def _renumbered(answer: Mapping[str, Any], places: Mapping[int, int]) -> dict[str, Any]:
    return numbered(answer, {**places, **{str(i): at for i, at in places.items()}})


def _unknown(row: Row) -> RowError:
    keys = ", ".join(repr(str(key)) for key in row) or "none"
    if "prompt" in row and ("response" in row or "completion" in row or "text" in row):
        return RowError(
            "the row has one response; a comparison has two or more ('responses', or 'response_1' "
            "and 'response_2'), and a solution 'steps'",
            "no second response",
        )
    if "chosen" in row or "rejected" in row:
        missing = "rejected" if "chosen" in row else "chosen"
        return RowError(f"'{missing}' is missing; a pair has 'chosen' and 'rejected'",
                        f"missing '{missing}'")  # fmt: skip
    return RowError(
        f"its keys ({keys[:300]}) fit no format; 'prompt' with 'responses', or 'chosen' and "
        "'rejected', or 'steps' do",
        "unknown format",
    )
