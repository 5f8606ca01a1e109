"""Rows in and out of files: JSON Lines, gzip, Parquet, datasets directories and hub names.

Knows nothing of what a row means; ``assay.formats.rows`` does.
"""

from __future__ import annotations

import gzip
import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from difflib import get_close_matches
from functools import partial
from io import BufferedIOBase
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

from assay.atomic import written
from assay.errors import ConfigError, DataError, TrainingError
from assay.formats.archives import Limits, opened_gzip

NumberedRow = tuple[int, dict[str, Any]]
OnBadLine = Callable[[int, DataError], None]

_JSON_SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz")
_SUFFIXES = (*_JSON_SUFFIXES, ".parquet")
WRITTEN_SUFFIXES = (".jsonl.gz", ".jsonl", ".parquet")
"""How the names of files end that ``write_rows`` writes."""
_READ_BY_DATASETS = (*_SUFFIXES, ".csv", ".arrow")
_PICKLE_SUFFIXES = (".pkl", ".pickle", ".pt", ".pth", ".bin", ".joblib")
_FORMATS = "JSON Lines (.jsonl, .json, also with .gz) or Parquet (.parquet)"
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_PARQUET_BATCH = 256


def cache_dir() -> Path:
    """Where Assay keeps what it can make again: ``$ASSAY_CACHE``, or ``~/.cache/assay``."""
    return Path(os.environ.get("ASSAY_CACHE") or Path.home() / ".cache" / "assay").expanduser()


def read_rows(
    source: str | Path, on_bad_line: OnBadLine | None = None, limits: Limits | None = None
) -> Iterator[NumberedRow]:
    """The rows of a data source with their numbers, from 1, in constant memory.

    Numbers are line numbers in JSON Lines and row numbers elsewhere (``numbering`` says which).
    Blank lines and a byte-order mark are passed over. A file that is one JSON array is read whole.

    Args:
        source: A .jsonl, .json, .jsonl.gz, .json.gz or .parquet file, a directory saved by
            datasets or holding data files, or a hub name ``owner/name[:config][@split]``.
        on_bad_line: Called with the number and the error of each line that is no JSON object,
            instead of raising.
        limits: How much a compressed file may unpack to, and a row may hold. Default: any.
    """
    place = _locate(source)
    if place.path is None or place.path.is_dir():
        return enumerate(_load_dataset(place), start=1)
    if place.path.suffix == ".parquet":
        return enumerate(_read_parquet(place.path), start=1)
    return _read_json(place.path, on_bad_line or _raise, limits)


def numbering(source: str | Path) -> str:
    """What the numbers of ``read_rows`` count: "line" in JSON Lines, "row" elsewhere."""
    path = Path(source)
    lines = path.is_file() and path.name.endswith(_JSON_SUFFIXES) and not _is_array(path)
    return "line" if lines else "row"


def shown_name(source: str) -> str:
    """A file or directory by its last part, whatever machine it lay on; a hub name as it is."""
    return Path(source).resolve().name if Path(source).exists() else source


def write_rows(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> int:
    """Write rows to a .jsonl, .jsonl.gz or .parquet file, whole or not at all; give their count.

    A Parquet file is put together in memory, since its columns need every row's type.
    """
    path = Path(path)
    check_writable(path)
    write = _write_parquet if path.suffix == ".parquet" else _write_json
    with saved(path) as temporary:
        return write(temporary, rows, path)


def check_writable(path: Path) -> None:
    """Refuse a file that ``write_rows`` cannot write.

    Raises:
        DataError: If its name has no suffix that says how.
    """
    if not path.name.endswith(WRITTEN_SUFFIXES):
        raise DataError(
            f"{path} cannot be written: its name must end in .jsonl, .jsonl.gz or .parquet."
        )


def failed_beside(path: Path) -> Path:
    """Where rows go that came to nothing: ``NAME.failed.jsonl`` beside ``NAME.jsonl``."""
    name = path.name
    for suffix in WRITTEN_SUFFIXES:
        name = name.removesuffix(suffix)
    return path.with_name(f"{name}.failed.jsonl")


def check_not_read(out: Path, files: Iterable[str]) -> None:
    """Refuse an output that is one of the inputs.

    Raises:
        ConfigError: If it is.
    """
    if any(is_same_file(Path(path), out) for path in files):
        raise ConfigError(f"{out} is read and to be written; name another output.")


def is_same_file(one: Path, other: Path) -> bool:
    """Whether two paths are one file: by name, through links, or by a hard link."""
    if one.resolve() == other.resolve():
        return True
    return one.exists() and other.exists() and one.samefile(other)


@contextmanager
def saved(path: Path) -> Iterator[Path]:
    """A temporary path that becomes ``path`` when the block ends well."""
    try:
        with written(path) as temporary:
            yield temporary
    except OSError as error:
        raise TrainingError(
            f"{path} could not be written ({error.strerror or error}); "
            "free some space or choose another place."
        ) from error


class _Place(NamedTuple):
    """A data source taken apart: a path that exists, or a hub name."""

    path: Path | None
    name: str
    config: str | None = None
    split: str | None = None


def _locate(source: str | Path) -> _Place:
    path = Path(source).expanduser()
    if path.is_dir():
        return _Place(path, str(source))
    if path.exists():
        _check_suffix(path)
        return _Place(path, str(source))
    match = re.fullmatch(r"(?P<name>[^:@]+)(:(?P<config>[^@]+))?(@(?P<split>.+))?", str(source))
    if isinstance(source, str) and match:
        config, split = match["config"], match["split"]
        directory = Path(match["name"]).expanduser()
        if directory.is_dir():
            return _Place(directory, match["name"], config, split)
        if _is_hub_name(match["name"]):
            return _Place(None, match["name"], config, split)
    raise DataError(_missing(path))


def _is_hub_name(name: str) -> bool:
    # "data/pairs" beside a folder "data" is a mistyped file, not a dataset of the owner "data"
    owner, _, rest = name.partition("/")
    is_name = all(re.fullmatch(r"[A-Za-z0-9][\w.-]*", part) for part in (owner, rest))
    return (
        is_name
        and not rest.endswith((*_READ_BY_DATASETS, *_PICKLE_SUFFIXES))
        and not Path(owner).is_dir()
    )


def _missing(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return (
            f"{path} does not exist, nor does its folder; give a file, a directory or a hub name."
        )
    close = get_close_matches(path.name, [p.name for p in folder.iterdir()], n=3)
    hint = (
        f"did you mean {' or '.join(repr(name) for name in close)}?" if close else "check the name."
    )
    return f"{path} does not exist; {hint}"


def _check_suffix(path: Path) -> None:
    if path.suffix in _PICKLE_SUFFIXES:
        raise DataError(
            f"{path} looks like a pickle, which can run any code when opened; "
            f"save its rows as {_FORMATS}."
        )
    if not path.name.endswith(_SUFFIXES):
        raise DataError(f"{path} has the suffix {path.suffix!r}; preference data is {_FORMATS}.")


def _open_json(path: Path, limits: Limits | None = None) -> BufferedIOBase:
    return opened_gzip(path, limits) if path.suffix == ".gz" else path.open("rb")


def _is_array(path: Path) -> bool:
    try:
        with _open_json(path) as file:
            return file.read(4096).removeprefix(_BYTE_ORDER_MARK).lstrip().startswith(b"[")
    except (OSError, EOFError, zlib.error):
        return False  # reading it will say what is wrong


def _raise(_number: int, error: DataError) -> None:
    raise error


def _read_json(
    path: Path, on_bad_line: OnBadLine, limits: Limits | None = None
) -> Iterator[NumberedRow]:
    is_array = ".json" in path.suffixes and _is_array(path)
    unit = "row" if is_array else "line"
    for number, value in _array(path, limits) if is_array else _lines(path, limits):
        try:
            yield number, _object(value)
        except ValueError as error:
            on_bad_line(number, DataError(f"{path} {unit} {number} {error}."))


def _lines(path: Path, limits: Limits | None = None) -> Iterator[tuple[int, bytes]]:
    number = 0
    most = -1 if limits is None else limits.line
    with _open_json(path, limits) as file:
        try:
            for number, line in enumerate(iter(partial(file.readline, most), b""), start=1):
                if len(line) == most and not line.endswith(b"\n"):
                    raise DataError(
                        f"{path} line {number} has more than {most:,} bytes; a line holds one row."
                    )
                text = line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line
                if text.strip():
                    yield number, text.rstrip()  # a broken line's column is then its last
        except (OSError, EOFError, zlib.error) as error:
            raise DataError(f"{path} is damaged after line {number}: {error}.") from error


def _array(path: Path, limits: Limits | None = None) -> Iterator[tuple[int, object]]:
    most = -1 if limits is None else limits.array
    with _open_json(path, limits) as file:
        text = file.read(most)
        if len(text) == most:
            raise DataError(
                f"{path} is one JSON array of more than {most:,} bytes; write its rows as JSON "
                "Lines, which are read one by one."
            )
        try:
            values = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path} begins as a JSON array but is broken: {error}.") from error
    yield from enumerate(values, start=1)


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, bytes):
        try:
            value = json.loads(value)
        except json.JSONDecodeError as error:
            raise ValueError(f"is not JSON: {error.msg} at column {error.colno}") from error
        except UnicodeDecodeError as error:
            raise ValueError(f"is not UTF-8 text (byte {error.start + 1})") from error
        except RecursionError as error:
            raise ValueError("is nested too deeply to be a row") from error
    if not isinstance(value, dict):
        raise ValueError("is not a JSON object with named fields")
    return value


def _read_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet

    try:
        with closing(pyarrow.parquet.ParquetFile(path)) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{path} is not a Parquet file, or a damaged one: {error}.") from error


def _load_dataset(place: _Place) -> Any:
    import datasets

    path = place.path
    if path and ((path / "dataset_dict.json").exists() or (path / "state.json").exists()):
        return _choose_split(datasets.load_from_disk(str(path)), place)
    if path and not any(p.name.endswith(_READ_BY_DATASETS) for p in path.rglob("*")):
        raise DataError(f"{path} is a directory without data; it should hold {_FORMATS} files.")
    try:
        loaded = datasets.load_dataset(str(path or place.name), name=place.config)
    except Exception as error:
        # datasets, hub and HTTP raise some thirty classes here, all meaning "not loaded"
        reason = str(error).strip().split("\n")[0] or type(error).__name__
        raise DataError(f"dataset {place.name!r} could not be loaded: {reason}.") from error
    return _choose_split(loaded, place)


def _choose_split(loaded: Any, place: _Place) -> Any:
    splits: Mapping[str, Any] = (
        loaded if isinstance(loaded, Mapping) else {str(loaded.split or "train"): loaded}
    )
    names = [str(name) for name in splits]
    wanted = place.split or ("train" if "train" in names or len(names) != 1 else names[0])
    if wanted not in names:
        raise DataError(
            f"{place.name} has no split {wanted!r}, only {', '.join(names)}; "
            f"write for instance {place.name}@{names[0]}."
        )
    return splits[wanted]


def _write_json(temporary: Path, rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    count = 0
    with temporary.open("wb") as raw:
        # no name and no time in the gzip header: the same rows are the same bytes
        file: Any = gzip.GzipFile("", "wb", fileobj=raw, mtime=0) if path.suffix == ".gz" else raw
        for count, row in enumerate(rows, start=1):
            try:
                line = json.dumps(row, ensure_ascii=False, allow_nan=False)
            except ValueError as error:
                raise DataError(f"row {count} cannot be written to {path}: {error}.") from error
            file.write(line.encode() + b"\n")
        if file is not raw:
            file.close()
    return count


def _write_parquet(temporary: Path, rows: Iterable[Mapping[str, Any]], path: Path) -> int:
    import pyarrow
    import pyarrow.parquet

    listed = [dict(row) for row in rows]
    columns = dict.fromkeys(chain.from_iterable(listed))
    try:
        # from_pylist looks for columns in the first row only
        table = pyarrow.Table.from_pylist([{c: row.get(c) for c in columns} for row in listed])
    except (pyarrow.ArrowException, TypeError) as error:
        raise DataError(
            f"{path}: the rows do not fit one table ({error}); write .jsonl instead."
        ) from error
    pyarrow.parquet.write_table(table, temporary)
    return len(listed)
