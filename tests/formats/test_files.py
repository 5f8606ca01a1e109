import errno
import gzip
import json
import os
import pickle

import pytest

from assay.errors import DataError, TrainingError
from assay.formats.files import cache_dir, numbering, read_rows, saved, write_rows

ROWS = [{"prompt": "Grüße", "n": 1}, {"prompt": "b", "extra": ["x", None]}]


def names(folder):
    return [path.name for path in folder.iterdir()]


def lines(rows):
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_written_rows_are_read_back(tmp_path, name):
    assert write_rows(tmp_path / name, iter(ROWS)) == 2
    read = [
        {k: v for k, v in row.items() if v is not None}  # Parquet gives every row every column
        for _, row in read_rows(tmp_path / name)
    ]
    assert read == ROWS
    assert names(tmp_path) == [name]


def test_gzipped_rows_are_the_same_bytes_each_time(tmp_path):
    write_rows(tmp_path / "a.jsonl.gz", ROWS)
    write_rows(tmp_path / "b.jsonl.gz", ROWS)
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_numbers_count_lines_past_blank_ones_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'\xef\xbb\xbf\n{"a": 1}\r\n\n  \n{"a": 2}')
    assert list(read_rows(path)) == [(2, {"a": 1}), (5, {"a": 2})]
    assert numbering(path) == "line"


@pytest.mark.parametrize("text", ['[{"a": 1}, {"a": 2}]', '\ufeff [\n{"a": 1},\n{"a": 2}\n]\n'])
def test_json_array_is_read_by_row(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text, encoding="utf-8")
    assert list(read_rows(path)) == [(1, {"a": 1}), (2, {"a": 2})]
    assert numbering(path) == "row"


def test_json_lines_may_be_called_json(tmp_path):
    with gzip.open(tmp_path / "a.json.gz", "wt") as file:
        file.write(lines(ROWS))
    assert [row for _, row in read_rows(tmp_path / "a.json.gz")] == ROWS


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"a": 1', r"a.jsonl line 2 is not JSON: .* at column 8\.$"),
        (b"[1]", r"a.jsonl line 2 is not a JSON object with named fields\.$"),
        (b'{"a": "\xff"}', r"a.jsonl line 2 is not UTF-8 text \(byte 8\)\.$"),
        (b"[" * 100_000, r"a.jsonl line 2 is n"),
    ],
)
def test_broken_line_is_named(tmp_path, line, message):
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a": 1}\n' + line + b'\n{"a": 3}\n')
    with pytest.raises(DataError, match=message):
        list(read_rows(path))
    bad = []
    rows = read_rows(path, lambda number, error: bad.append(number))
    assert [number for number, _ in rows] == [1, 3]
    assert bad == [2]


def test_reading_holds_one_line_at_a_time(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\nbroken\n')
    rows = read_rows(path)
    assert next(rows) == (1, {"a": 1})  # the broken line has not been looked at


def test_broken_array_is_named(tmp_path):
    (tmp_path / "a.json").write_text('[{"a": 1},')
    with pytest.raises(DataError, match="JSON array but is broken"):
        list(read_rows(tmp_path / "a.json"))


def test_cut_gzip_is_damaged(tmp_path):
    data = gzip.compress(lines([{"a": i} for i in range(5000)]).encode())
    (tmp_path / "a.jsonl.gz").write_bytes(data[: len(data) // 2])
    with pytest.raises(DataError, match=r"a.jsonl.gz is damaged after line \d+"):
        list(read_rows(tmp_path / "a.jsonl.gz"))
    (tmp_path / "b.json.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"b\.json\.gz is damaged after line 0"):
        list(read_rows(tmp_path / "b.json.gz"))


def test_text_called_parquet_is_named(tmp_path):
    (tmp_path / "a.parquet").write_text("hello")
    with pytest.raises(DataError, match="not a Parquet file"):
        list(read_rows(tmp_path / "a.parquet"))


def test_missing_file_names_close_ones(tmp_path):
    (tmp_path / "pairs.jsonl").write_text("{}")
    with pytest.raises(DataError, match=r"pair\.jsonl does not exist; did you mean 'pairs.jsonl'"):
        read_rows(tmp_path / "pair.jsonl")
    with pytest.raises(DataError, match="does not exist; check the name"):
        read_rows(tmp_path / "zzz")
    with pytest.raises(DataError, match="nor does its folder"):
        read_rows(tmp_path / "no" / "where.jsonl")


def test_missing_file_in_a_folder_is_no_hub_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    for name in ("data/pairs", "other/pairs.jsonl"):
        with pytest.raises(DataError, match="does not exist"):
            read_rows(name)


def test_hub_name_goes_to_datasets_with_config_and_split(monkeypatch):
    import datasets

    asked = []

    def load_dataset(path, name):
        asked.append((path, name))
        return {"test": [{"a": 1}], "train": [{"a": 2}]}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    assert list(read_rows("owner/name:part@test")) == [(1, {"a": 1})]
    assert list(read_rows("owner/name")) == [(1, {"a": 2})]
    assert asked == [("owner/name", "part"), ("owner/name", None)]
    with pytest.raises(DataError, match="owner/name has no split 'dev', only test, train"):
        read_rows("owner/name@dev")


def test_unreachable_hub_name_is_one_sentence(monkeypatch):
    import datasets

    def load_dataset(path, name):
        raise ConnectionError("no route\nmore")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(DataError, match=r"^dataset 'owner/name' could not be loaded: no route\.$"):
        read_rows("owner/name")


def test_directory_of_data_files_is_read_by_datasets(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "train.jsonl").write_text('{"a": 1}\n{"a": 2}\n')
    (tmp_path / "mine" / "test.jsonl").write_text('{"a": 3}\n')
    assert list(read_rows(str(tmp_path / "mine"))) == [(1, {"a": 1}), (2, {"a": 2})]
    assert list(read_rows(f"{tmp_path}/mine@test")) == [(1, {"a": 3})]


def test_directory_saved_by_datasets_is_read(tmp_path):
    import datasets

    one = datasets.Dataset.from_list([{"a": 1}])
    one.save_to_disk(str(tmp_path / "one"))
    datasets.DatasetDict(dev=one).save_to_disk(str(tmp_path / "splits"))
    assert list(read_rows(tmp_path / "one")) == [(1, {"a": 1})]
    assert list(read_rows(tmp_path / "splits")) == [(1, {"a": 1})]
    assert numbering(tmp_path / "one") == "row"


def test_directory_without_data_is_refused(tmp_path):
    with pytest.raises(DataError, match="directory without data"):
        read_rows(tmp_path)


def test_pickle_is_refused(tmp_path):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps(ROWS))
    with pytest.raises(DataError, match="looks like a pickle"):
        read_rows(tmp_path / "a.pkl")


def test_unknown_suffix_is_refused(tmp_path):
    (tmp_path / "a.csv").write_text("a,b")
    with pytest.raises(DataError, match=r"suffix '\.csv'"):
        read_rows(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"must end in \.jsonl"):
        write_rows(tmp_path / "b.csv", ROWS)


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.parquet"])
def test_failed_write_leaves_the_old_file(tmp_path, name):
    write_rows(tmp_path / name, ROWS)
    before = (tmp_path / name).read_bytes()

    def broken():
        yield ROWS[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_rows(tmp_path / name, broken())
    assert (tmp_path / name).read_bytes() == before
    assert names(tmp_path) == [name]


def test_values_a_file_cannot_hold_are_named(tmp_path):
    with pytest.raises(DataError, match="row 2 cannot be written"):
        write_rows(tmp_path / "a.jsonl", [{"a": 1.0}, {"a": float("nan")}])
    with pytest.raises(DataError, match=r"do not fit one table.*write \.jsonl"):
        write_rows(tmp_path / "a.parquet", [{"a": 1}, {"a": "one"}])
    assert names(tmp_path) == []


def test_full_disk_is_one_sentence(tmp_path):
    with (
        pytest.raises(TrainingError, match=r"could not be written \(No space left on device\)"),
        saved(tmp_path / "a"),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert names(tmp_path) == []


def test_cache_directory_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("ASSAY_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_dir() == tmp_path / ".cache" / "assay"
