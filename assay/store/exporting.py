"""Judgments out of the store, in any of its formats, and what a format could not hold.

The file is written a page at a time under a temporary name and renamed when it is whole. Annotators
have pseudonyms unless their names are asked for.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection

from assay.errors import ConfigError, DataError
from assay.formats.delimited import guarded
from assay.formats.files import saved
from assay.store.rows_out import (
    FORMATS,
    Format,
    Per,
    Row,
    Shaping,
    Ties,
    comparison_of,
    features_of,
    table_columns,
)
from assay.store.store import PreferenceStore
from assay.store.whole import Names, Said, Whole, whole_comparisons
from assay.types import Comparison

SUFFIXES = (".jsonl", ".jsonl.gz", ".json", ".parquet", ".csv", ".tsv")
"""How the names of files end that can be written."""
_PARQUET_BATCH = 2000
_FREE = ("tools", "provenance", "extra", "dimensions", "expected", "decision", "origin", "written",
         "flags", "tool_calls", "metadata")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What is written of a project, and how."""

    per: Per | None = None
    """comparison: one row by the mean of the judgments; judgment: a row each. Default: comparison
    where a format has no annotators, the only way there is where it decides itself."""
    ties: Ties = "keep"
    decisions: Literal["win", "ignore"] = "win"
    """Whether an adjudicated answer stands in for the judgments of its comparison."""
    surplus: bool = False
    """Whether judgments beyond those wanted count too."""
    names: bool = False
    """Whether annotators' names are given, in place of pseudonyms."""
    items: Literal["work", "all"] = "work"
    """all: gold, attention, screening and training items too."""
    unjudged: bool | None = None
    """Whether comparisons nobody judged are written, where a format can. Default: in assay form."""
    formulas: Literal["guard", "keep"] = "guard"
    """guard: cells of a table that a spreadsheet would run get an apostrophe."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and what was not."""

    path: str
    format: str
    rows: int
    comparisons: int
    judgments: int
    not_written: Mapping[str, int]

    def __str__(self) -> str:
        gone = "; not written: " + ", ".join(f"{n:,} {what}" for what, n in
                                             self.not_written.items())  # fmt: skip
        return (
            f"{self.rows:,} rows in {self.path} ({self.format}), of {self.comparisons:,} "
            f"comparisons and {self.judgments:,} judgments{gone if self.not_written else ''}"
        )

    def to_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def export(
    store: PreferenceStore,
    project_id: str,
    path: str | Path,
    format: str = "assay",
    *,
    choices: Choices | None = None,
    progress: Callable[[int], None] | None = None,
) -> Exported:
    """Write a project's judgments to a file, whole or not at all.

    Args:
        path: Ends in .jsonl, .jsonl.gz, .json (one array), .parquet, .csv or .tsv.
        format: One of ``FORMATS``.
        progress: Called with the number of comparisons read by now.

    Raises:
        ConfigError: If the format, or the file's name, is none of these.
        DataError: If rows do not fit one Parquet table.
        StoreError: If there is no such project.
    """
    path, chosen = Path(path), choices or Choices()
    form = checked_format(path, format)
    store.project(project_id)
    with store.database.reading() as connection:
        if not store.database.is_sqlite:
            connection.execution_options(isolation_level="REPEATABLE READ")
        export_ = Export(connection, project_id, form, chosen, progress)
        with saved(path) as temporary:
            count = _write(path, temporary, export_, chosen)
    return export_.report(str(path), count)


def checked_format(path: Path, format: str) -> Format:
    """The format, if a file of this name can be in it.

    Raises:
        ConfigError: If there is no such format, or the suffix is not one of a file it writes.
    """
    if format not in FORMATS:
        raise ConfigError(f"format must be one of {', '.join(FORMATS)}, not {format!r}.")
    if not path.name.endswith(SUFFIXES):
        raise ConfigError(f"{path} cannot be written: its name must end in {', '.join(SUFFIXES)}.")
    is_table = path.suffix in (".csv", ".tsv")
    if is_table and format not in ("csv", "pairs", "kto", "hh"):
        raise ConfigError(
            f"the format {format} does not fit a table; name the file .jsonl, or choose the "
            "format csv."
        )
    return FORMATS[format]


class Export:
    """Rows of an export as they stream past, and the counts.

    ``rows`` may be read once; a web server can send them as they come.
    """

    def __init__(
        self,
        connection: Connection,
        project_id: str,
        form: Format,
        choices: Choices,
        progress: Callable[[int], None] | None = None,
    ):
        self.form, self.choices = form, choices
        self.per: Per = choices.per or "comparison"
        self._found = whole_comparisons(
            connection, project_id, Names(connection, project_id, choices.names)
        )
        self._progress = progress
        self._left: Counter[str] = Counter()
        self._comparisons = self._judgments = 0
        self.last_reason = ""
        """Why the last comparison was left out."""

    def rows(self) -> Iterator[Row]:
        """The rows."""
        shaping = Shaping(per=self.per, ties=self.choices.ties)
        # table and votes have a row a judgment whatever is asked for
        apart: Per = "judgment" if self.form.name in _APART else self.per
        cannot = set(self.form.cannot(apart))
        for whole in self.wholes():
            judgments = self.usable(whole)
            if judgments is None:
                continue
            made = 0
            for row in self.form.write(whole, judgments, shaping, self._left):
                made += 1
                yield row
            if made:
                self._comparisons += 1
                self._judgments += len(judgments)
                for name, count in features_of(whole, judgments).items():
                    if name in cannot:
                        self._left[name] += count

    def wholes(self) -> Iterator[Whole]:
        """The comparisons as they are read."""
        for read, whole in enumerate(self._found, start=1):
            if self._progress and read % 500 == 0:
                self._progress(read)
            yield whole

    def _leave(self, what: str) -> None:
        self._left[what] += 1
        self.last_reason = what

    def usable(self, whole: Whole) -> Sequence[Said] | None:
        """The judgments to write; None where the comparison is left out, which is counted."""
        if whole.purpose != "work" and self.choices.items == "work" and not self.form.all_purposes:
            self._leave(f"{whole.purpose} items")
            return None
        if whole.kind not in self.form.kinds:
            what = "solutions in steps" if whole.kind == "steps" else (
                "rankings" if whole.kind == "ranking" else "pairs")  # fmt: skip
            self._leave(what)
            return None
        if self.form.name == "assay":
            if not whole.judgments and self.choices.unjudged is False:
                self._leave("comparisons without a judgment")
                return None
            return whole.judgments
        judgments = [
            j for j in whole.judgments
            if j.withdrawn is None and (self.choices.surplus or not j.surplus)
        ]  # fmt: skip
        self._left["withdrawn judgments"] += sum(j.withdrawn is not None for j in whole.judgments)
        if not self.choices.surplus:
            self._left["surplus judgments"] += sum(
                j.surplus for j in whole.judgments if j.withdrawn is None
            )
        if "times" not in self.form.holds:
            # the order of judgments is then nobody's to restore; by name it is always the same
            judgments.sort(key=lambda j: j.annotator)
        decided = whole.decision or decision_of(whole)
        if decided is not None:
            if self.choices.decisions == "win":
                self._left["judgments that a decision stands in for"] += len(judgments)
                judgments = [decided]
            else:
                self._left["decisions"] += 1
        has_labels = self.form.name == "kto" and any(
            r.provenance.get("labels") for r in whole.responses
        )
        if not judgments and not has_labels and not (self.form.unjudged and self.choices.unjudged):
            self._leave("comparisons without a judgment")
            return None
        return judgments

    def report(self, path: str, rows: int) -> Exported:
        """The counts, once the rows have been read."""
        return Exported(
            path, self.form.name, rows, self._comparisons, self._judgments,
            {what: n for what, n in sorted(self._left.items()) if n},
        )  # fmt: skip


_APART = ("csv", "arena", "trl-stepwise", "prm800k", "argilla", "label-studio", "helpsteer")


def decision_of(whole: Whole) -> Said | None:
    """A decision that came with an import of Assay's own form."""
    from assay.store.rows_assay import judgment_in

    said = whole.extra.get("decision")
    if not isinstance(said, Mapping) or "annotator" not in said:
        return None
    try:
        found = judgment_in(said, whole.kind, len(whole.responses))
    except DataError:
        return None
    answer = dict(found.answer)
    for key in ("acceptability",):
        if answer.get(key):
            answer[key] = {int(i): v for i, v in answer[key].items()}
    if answer.get("dimensions"):
        answer["dimensions"] = {
            name: {**d, "ratings": {int(i): v for i, v in d["ratings"].items()}}
            if "ratings" in d else d
            for name, d in answer["dimensions"].items()
        }  # fmt: skip
    answer.pop("origin", None)
    return Said(
        whole.id, found.annotator or "", "human", answer, found.shown, submitted=found.submitted
    )


def stored_comparisons(
    connection: Connection, project_id: str, choices: Choices
) -> Iterator[tuple[str, Comparison | str]]:
    """The comparisons of a project for training, each with its place; a reason where there is none.

    P(chosen is better) is ½ + ½ · strength of a judgment, or the mean over those of a comparison;
    the margin is the strength. With ``per="judgment"`` each is a comparison of its own.
    """
    form = FORMATS["pairs"]
    stream = Export(connection, project_id, form, choices)
    for whole in stream.wholes():
        where = f"comparison {whole.number}"
        judgments = stream.usable(whole)
        if judgments is None:
            yield where, stream.last_reason
            continue
        groups = [[one] for one in judgments] if choices.per == "judgment" else [judgments]
        for group in groups:
            yield where, comparison_of(whole, group, choices.ties)


# --- files ----------------------------------------------------------------------------------------


def _write(path: Path, temporary: Path, export_: Export, choices: Choices) -> int:
    rows = export_.rows()
    if path.suffix in (".csv", ".tsv"):
        delimiter = "\t" if path.suffix == ".tsv" else ","
        return _write_table(temporary, rows, export_.form.name, choices, delimiter)
    if path.suffix == ".parquet":
        return _write_parquet(temporary, rows, path)
    is_array = path.suffix == ".json"
    with temporary.open("wb") as raw:
        # no name and no time in the gzip header: the same rows are the same bytes
        file: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        count = 0
        for count, row in enumerate(rows, start=1):
            if is_array:
                file.write(b"[\n" if count == 1 else b",\n")
            file.write(json_line(row) if not is_array else json_line(row)[:-1])
        if is_array:
            file.write(b"\n]\n" if count else b"[]\n")
        if file is not raw:
            file.close()
    return count


def json_line(row: Row) -> bytes:
    """A row as a line of JSON Lines."""
    return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"


_COLUMNS = {
    "pairs": ["id", "subset", "prompt", "chosen", "rejected", "probability", "margin", "weight",
              "annotator", "first_shown", "chosen_model", "rejected_model", "tools"],
    "kto": ["id", "subset", "prompt", "completion", "label", "annotator", "model"],
    "hh": ["chosen", "rejected"],
}  # fmt: skip
"""Of the formats that fit a table, besides the one that has a column a response."""
_RESPONSE = re.compile(r"response_(\d+)\Z")


def _write_table(
    temporary: Path, rows: Iterable[Row], format: str, choices: Choices, delimiter: str
) -> int:
    if format in _COLUMNS:
        return _write_cells(temporary, rows, _COLUMNS[format], choices, delimiter)
    # how many responses there are is known when the last row is: the rows are kept until then
    most = 2
    with _kept(temporary) as part:
        with part.open("wb") as file:
            for row in rows:
                found = (_RESPONSE.match(key) for key in row)
                most = max(most, *(int(match[1]) for match in found if match))
                file.write(json_line(row))
        with part.open("rb") as file:
            again = map(json.loads, file)
            return _write_cells(temporary, again, table_columns(most), choices, delimiter)


def _write_cells(
    temporary: Path, rows: Iterable[Row], columns: Sequence[str], choices: Choices, delimiter: str
) -> int:
    count = 0
    with temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\r\n")
        writer.writerow(columns)
        for row in rows:
            writer.writerow([_cell(row.get(key), choices.formulas == "guard") for key in columns])
            count += 1
    return count


@contextmanager
def _kept(temporary: Path) -> Iterator[Path]:
    """A file beside the one that is written, for rows that are read twice."""
    part = temporary.with_suffix(".rows")
    try:
        yield part
    finally:
        part.unlink(missing_ok=True)


def _cell(value: Any, guard: bool) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        # text that would be read as a list or object is spelled as one of messages elsewhere
        return guarded(value) if guard else value
    one = _lone_text(value)
    if one is not None:
        return guarded(one) if guard else one
    return json.dumps(value, ensure_ascii=False)


def _lone_text(value: Any) -> str | None:
    """The text of a single plain message, which a table holds without its braces."""
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], Mapping):
        message = value[0]
        said = message.get("content")
        if set(message) == {"role", "content"} and message["role"] in ("user", "assistant"):
            return said if isinstance(said, str) and said[:1] not in "[{" and said else None
    return None


def _write_parquet(temporary: Path, rows: Iterable[Row], path: Path) -> int:
    """Rows to Parquet in two passes: the first finds the columns' types, and keeps the rows."""
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([])
    count = 0
    with _kept(temporary) as part:
        with part.open("wb") as file:
            for batch in _batches(map(_spelled, rows)):
                try:
                    found = pyarrow.Table.from_pylist(_squared(batch)).schema
                    schema = pyarrow.unify_schemas([schema, found], promote_options="permissive")
                except (pyarrow.ArrowException, TypeError) as error:
                    raise DataError(
                        f"{path}: the rows do not fit one table ({error}); write .jsonl instead."
                    ) from error
                file.writelines(map(json_line, batch))
                count += len(batch)
        with pyarrow.parquet.ParquetWriter(temporary, schema) as writer, part.open("rb") as file:
            for lines in _batches(file):
                batch = [json.loads(line) for line in lines]
                writer.write_table(pyarrow.Table.from_pylist(batch, schema=schema))
    return count


def _squared(rows: Sequence[Row]) -> list[Row]:
    """Rows that all have the columns of the batch: the first alone tells pyarrow what there is."""
    columns = dict.fromkeys(key for row in rows for key in row)
    return [{key: row.get(key) for key in columns} for row in rows]


def _batches(rows: Iterable[Any]) -> Iterator[list[Any]]:
    stream = iter(rows)
    while batch := list(islice(stream, _PARQUET_BATCH)):
        yield batch


def _spelled(row: Any, top: bool = True) -> Any:
    """A row whose fields of any shape are JSON text, so that every row has the same columns."""
    if isinstance(row, list):
        return [_spelled(item, False) for item in row]
    if not isinstance(row, Mapping):
        return row
    found: dict[str, Any] = {}
    loose: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping) and not value:
            continue  # Parquet has no objects without fields
        if key in _FREE and isinstance(value, Mapping | list):
            found[key] = json.dumps(value, ensure_ascii=False)
        elif top and key not in _KNOWN:
            loose[key] = value
        else:
            found[key] = _spelled(value, False)
    if loose:
        nested = row.get("extra")
        found["extra"] = json.dumps({**(nested or {}), **loose}, ensure_ascii=False)
    return found


_KNOWN = frozenset((
    "id", "subset", "kind", "purpose", "expected", "overlap", "place", "language", "prompt",
    "tools", "responses", "judgments", "decision", "flags", "extra", "chosen", "rejected",
    "probability",
    "margin", "weight", "annotator", "first_shown", "chosen_model", "rejected_model", "completion",
    "label", "model", "source", "instruction", "models", "completions", "domain", "context",
    "response1", "response2", "model_1", "model_2", "overall_preference", "individual_preference",
    "question_id", "model_a", "model_b", "winner", "judge", "conversation_a", "conversation_b",
    "turn", "tstamp", "labels", "labeler", "timestamp", "generation", "question",
    "is_quality_control_question", "is_initial_screening_question", "fields", "metadata",
    "suggestions", "status", "data", "annotations", "predictions", *table_columns(26),
))  # fmt: skip
"""Columns of our formats; others are an importing file's own."""
