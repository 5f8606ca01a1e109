"""The verbs assay import and assay export, and training data straight from a store."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("sqlalchemy")

from assay.cli import main
from assay.data.pairs import PreferencePairs
from assay.errors import DataError, StoreError
from assay.store.store import PreferenceStore


@pytest.fixture
def there(tmp_path, monkeypatch):
    """A directory with pairs.jsonl, in which the command runs."""
    monkeypatch.chdir(tmp_path)
    rows = [
        {"prompt": f"p{i}", "chosen": "a", "rejected": "b", "annotator": "ada", "id": str(i)}
        for i in range(4)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def test_a_file_goes_in_and_comes_out(there, capsys):
    assert main(["import", "pairs.jsonl", "--create", "--project", "sums", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["project"], said["comparisons"], said["judgments"]) == ("sums", 4, 4)
    assert main(["export", "--output", "out.jsonl", "--format", "pairs", "--per", "judgment",
                 "--names"]) == 0  # fmt: skip
    assert "4 rows in out.jsonl (pairs)" in capsys.readouterr().out
    row = json.loads((there / "out.jsonl").read_text().splitlines()[0])
    assert row["annotator"] == "ada"
    assert main(["export", "--output", "out.csv", "--format", "csv", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 4
    pairs = PreferencePairs.load("prefs.db")
    assert len(pairs) == 4
    assert pairs[0].id == "0"
    apart = PreferencePairs.from_store("prefs.db", "sums", apart=True, names=True)
    assert {pair.annotator for pair in apart} == {"ada"}
    with PreferenceStore.open("prefs.db") as store:
        assert len(PreferencePairs.from_store(store, limit=2)) == 2


def test_bad_input_is_a_sentence_and_leaves_nothing(there, capsys):
    (there / "bad.jsonl").write_text('{"prompt": "p", "chosen": "a", "rejected": "a"}\n')
    assert main(["import", "bad.jsonl", "--create", "--project", "x"]) == 2
    error = capsys.readouterr().err
    assert "bad.jsonl line 1" in error
    assert "Traceback" not in error
    with PreferenceStore.open("prefs.db") as store:
        assert store.projects() == []
    assert main(["import", "pairs.jsonl", "--project", "nobody"]) == 2
    assert "--create" in capsys.readouterr().err
    assert main(["import", "pairs.jsonl", "--db", "none.db"]) == 2
    assert main(["export", "--output", "a.jsonl", "--db", "none.db"]) == 2
    assert main(["export", "--output", "a.xls"]) == 2
    assert main(["import", "pairs.jsonl", "--create"]) == 0
    assert main(["export", "--output", "a.jsonl", "--format", "x"]) == 2
    assert not (there / "a.jsonl").exists()


def test_bad_rows_are_counted_where_that_is_asked_for(there, capsys):
    with (there / "pairs.jsonl").open("a") as file:
        file.write("{\n")
    assert main(["import", "pairs.jsonl", "--create", "--on-bad-row", "skip"]) == 0
    assert "1 not a JSON object" in capsys.readouterr().out


def test_a_store_without_judgments_trains_nothing(there):
    assert main(["import", "pairs.jsonl", "--create", "--without-judgments"]) == 0
    with pytest.raises(DataError, match="4 comparisons without a judgment"):
        PreferencePairs.from_store("prefs.db")
    with pytest.raises(StoreError, match="no project 'x'"):
        PreferencePairs.from_store("prefs.db", "x")
