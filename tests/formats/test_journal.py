"""A journal gives back whole parts of its own job, and refuses those of another by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import ConfigError
from assay.formats.journal import Journal

MINE = {"data": "d", "settings": {"epochs": 2, "names": ("a", "b")}}


def journal(path: Path, identity: dict[str, Any] | None = None) -> Journal:
    return Journal(path / "parts.jsonl", identity or MINE, "a study")


def test_parts_come_back_in_order_and_nothing_is_written_before_the_first(tmp_path: Path) -> None:
    one = journal(tmp_path / "new")
    assert one.parts() == []
    assert not (tmp_path / "new").exists()
    one.append({"n": 1})
    one.append({"n": 2.5})
    assert journal(tmp_path / "new").parts() == [{"n": 1}, {"n": 2.5}]
    first = json.loads(one.path.read_text().splitlines()[0])
    assert first == {"data": "d", "settings": {"epochs": 2, "names": ["a", "b"]}}


def test_a_torn_end_is_cut_off_wherever_it_tore(tmp_path: Path) -> None:
    whole = journal(tmp_path)
    for n in range(2):
        whole.append({"n": n})
    text = whole.path.read_bytes()
    for size in range(len(text) + 1):
        whole.path.write_bytes(text[:size])
        there = whole.parts()
        lines = text[:size].count(b"\n")  # the first is the identity
        assert there == [{"n": n} for n in range(max(lines - 1, 0))]
        for n in range(len(there), 2):
            whole.append({"n": n})
        assert whole.path.read_bytes() == text


@pytest.mark.parametrize(
    ("identity", "said"),
    [
        ({**MINE, "data": "e"}, "holds a study begun with another data; name another directory"),
        ({"data": "e", "settings": 1}, "another data, settings;"),
        ({"data": "d"}, "another version;"),
    ],
)
def test_parts_of_another_job_are_refused_by_what_differs(
    tmp_path: Path, identity: dict[str, Any], said: str
) -> None:
    mine = journal(tmp_path)
    mine.append({"n": 1})
    before = mine.path.read_bytes()
    with pytest.raises(ConfigError, match=said):
        journal(tmp_path, identity).parts()
    assert mine.path.read_bytes() == before


@pytest.mark.parametrize("line", [b"{\n", b"\xff\xfe\n"])
def test_damage_is_said(tmp_path: Path, line: bytes) -> None:
    mine = journal(tmp_path)
    mine.append({"n": 1})
    mine.path.write_bytes(mine.path.read_bytes() + line)
    with pytest.raises(ConfigError, match=r"parts\.jsonl is damaged .*; delete it and the job"):
        mine.parts()


def test_a_first_line_that_names_nothing_is_another_jobs(tmp_path: Path) -> None:
    (tmp_path / "parts.jsonl").write_text("[]\n")
    with pytest.raises(ConfigError, match="another data, settings;"):
        journal(tmp_path).parts()
