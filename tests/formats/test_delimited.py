"""Tables in CSV and TSV: cells to fields, sentences for what is no table, formulas disarmed."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assay.errors import DataError
from assay.formats.delimited import guarded, read_delimited, unguarded


def rows(path, text, **how):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return list(read_delimited(path, **how))


def test_cells_become_fields_and_empty_ones_none(tmp_path):
    text = (
        '\ufeffprompt,chosen,margin,tie,tools\r\n"a, ""b""\nc",x,0.5,TRUE,"[{""n"": 1}]"\r\n'
        "\r\n,y,,,\r\n"
    )
    assert rows(tmp_path / "a.csv", text) == [
        (1, {"prompt": 'a, "b"\nc', "chosen": "x", "margin": 0.5, "tie": True,
             "tools": [{"n": 1}]}),
        (2, {"chosen": "y"}),
    ]  # fmt: skip
    assert rows(tmp_path / "a.tsv", "prompt\tmargin\np\t3\n") == [(1, {"prompt": "p", "margin": 3})]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a\n1\n"))
    assert list(read_delimited(tmp_path / "a.csv.gz")) == [(1, {"a": "1"})]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no header"),
        ("a,a\n1,2\n", "two columns named 'a'"),
        ("a;b\n1;2\n", "semicolons"),
        ("a,b\n1,2,3\n", "row 1 has 3 cells and the header 2"),
        ('a,b\n1,"2\n', "cannot be read as CSV"),
        (b"a,b\n\xff\xfe,1\n", "is not UTF-8"),
    ],
)
def test_what_is_no_table_is_said(tmp_path, text, says):
    with pytest.raises(DataError, match=says):
        rows(tmp_path / "a.csv", text)


@given(st.text(st.characters(blacklist_categories=("Cs",)), max_size=6))
def test_guarding_loses_nothing_and_leaves_no_formula(text):
    assert unguarded(guarded(text)) == text
    assert guarded(text)[:1] not in tuple("=+-@\t\r")


def test_a_guarded_formula():
    assert [guarded(c) for c in ("=1", "'=1", "x=1", "'x")] == ["'=1", "''=1", "x=1", "'x"]
