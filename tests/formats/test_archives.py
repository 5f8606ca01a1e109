"""Zip and gzip files of somebody else: one safe member, and no more than the size accounts for."""

from __future__ import annotations

import gzip
import json
import stat
import zipfile
from pathlib import Path

import pytest

from assay.errors import DataError
from assay.formats.archives import Limits, unzipped
from assay.formats.files import read_rows

ROW = json.dumps({"prompt": "p", "chosen": "a", "rejected": "b"}) + "\n"
SMALL = Limits(ratio=100, total=2**24, line=2**20, array=2**20)


def zipped(path: Path, *members: tuple[str, str]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members:
            archive.writestr(name, text)
    return path


def test_the_one_data_file_of_a_zip_is_read(tmp_path):
    path = zipped(tmp_path / "a.zip", ("__MACOSX/._a.jsonl", "x"), ("a/b.jsonl", ROW), ("R.md", ""))
    with unzipped(path, (".jsonl",)) as member:
        assert member.read_text() == ROW
        folder = member.parent
    assert not folder.exists()


@pytest.mark.parametrize("name", ["../a.jsonl", "/etc/a.jsonl", "x/../../a.jsonl", "..\\a.jsonl",
                                  "C:a.jsonl"])  # fmt: skip
def test_a_member_that_points_outside_is_refused(tmp_path, name):
    path = zipped(tmp_path / "a.zip", (name, ROW))
    with pytest.raises(DataError, match="points outside"), unzipped(path, (".jsonl",)):
        pass


def test_several_members_links_passwords_and_no_zip_are_refused(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a.jsonl", ROW), ("b.jsonl", ROW))
    with pytest.raises(DataError, match="holds 2 data files"), unzipped(path, (".jsonl",)):
        pass
    link = zipfile.ZipInfo("a.jsonl")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with (
        pytest.raises(DataError, match="is a link"),
        unzipped(tmp_path / "b.zip", (".jsonl",)),
    ):
        pass
    (tmp_path / "c.zip").write_bytes(b"PK no")
    with pytest.raises(DataError, match="no zip"), unzipped(tmp_path / "c.zip", (".jsonl",)):
        pass


def test_a_zip_bomb_is_refused_by_what_it_says_and_by_what_it_does(tmp_path):
    path = zipped(tmp_path / "a.zip", ("a.jsonl", "0" * 2**25))
    with pytest.raises(DataError, match="100 to 1"), unzipped(path, (".jsonl",), SMALL):
        pass
    lying = bytearray(path.read_bytes())
    size = (2**25).to_bytes(4, "little")
    while (at := lying.find(size)) >= 0:  # the same archive, saying that it is small
        lying[at : at + 4] = (100).to_bytes(4, "little")
    (tmp_path / "b.zip").write_bytes(bytes(lying))
    with pytest.raises(DataError), unzipped(tmp_path / "b.zip", (".jsonl",), SMALL) as found:
        assert found.stat().st_size <= 100


def test_a_gzip_bomb_and_an_endless_line_are_refused(tmp_path):
    bomb = tmp_path / "a.jsonl.gz"
    bomb.write_bytes(gzip.compress(b"\n" * 2**25))
    with pytest.raises(DataError, match="unpacks to more than 16,777,216 bytes"):
        list(read_rows(bomb, limits=SMALL))
    assert list(read_rows(bomb)) == []  # one's own file has no limit
    (tmp_path / "b.jsonl").write_bytes(b'{"a": "' + b"x" * 2**21)
    with pytest.raises(DataError, match="line 1 has more than 1,048,576 bytes"):
        list(read_rows(tmp_path / "b.jsonl", limits=SMALL))
    (tmp_path / "c.json").write_text("[" + "1," * 2**20 + "1]")
    with pytest.raises(DataError, match="one JSON array of more than"):
        list(read_rows(tmp_path / "c.json", limits=SMALL))
