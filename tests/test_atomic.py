"""Property: a file is written whole or not at all, and nothing is left beside it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from assay.atomic import write_json, write_jsonl, write_text, written


def test_a_file_and_its_directories_are_written(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "file.txt"
    write_text(path, "ünï\n")
    assert path.read_bytes() == "ünï\n".encode()
    assert [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_json_keeps_order_and_letters(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"b": 1, "a": "é"})
    assert (tmp_path / "a.json").read_text() == '{\n  "b": 1,\n  "a": "é"\n}\n'
    write_jsonl(tmp_path / "a.jsonl", [{"x": "é"}, {"x": None}])
    assert (tmp_path / "a.jsonl").read_text() == '{"x": "é"}\n{"x": null}\n'


@pytest.mark.parametrize("error", [OSError("No space left on device"), KeyboardInterrupt()])
def test_an_error_half_way_leaves_the_old_file(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def write() -> None:
        with written(path) as temporary:
            temporary.write_text("half of the n")
            raise error

    with pytest.raises(type(error)):
        write()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["file.txt"]


def test_what_cannot_be_json_leaves_the_old_file(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", 1)
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"key": object()})
    assert json.loads((tmp_path / "a.json").read_text()) == 1


def test_it_is_on_disk_before_it_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    seen: list[bool] = []
    fsync = os.fsync

    def watched(handle: int) -> None:
        seen.append(path.exists())
        fsync(handle)

    monkeypatch.setattr(os, "fsync", watched)
    write_text(path, "text")
    assert seen
    assert seen[0] is False


def test_others_may_read_it(tmp_path: Path) -> None:
    write_text(tmp_path / "file.txt", "text")
    assert (tmp_path / "file.txt").stat().st_mode & 0o777 == 0o644
