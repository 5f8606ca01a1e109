"""Contract: every example in docs/formats.md loads, and its code runs."""

import json
import re
from pathlib import Path

import pytest

from assay.data.pairs import PreferencePairs
from assay.data.solutions import Solutions
from assay.formats.rows import SHAPES, SINGLE_SHAPES, RowReader, Tally
from assay.formats.votes import VOTE_SHAPES

TEXT = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"^```{language}\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("block", blocks("jsonl singles"))
def test_documented_single_responses_load(tmp_path, block):
    (tmp_path / "rows.jsonl").write_text(block, encoding="utf-8")
    pairs = PreferencePairs.load(tmp_path / "rows.jsonl", singles=True)
    assert len(pairs.comparisons) == block.count("\n")
    assert len(pairs) == 0
    assert pairs.report.dropped == {}


@pytest.mark.parametrize("block", blocks("jsonl"))
def test_documented_rows_load(tmp_path, block):
    (tmp_path / "rows.jsonl").write_text(block, encoding="utf-8")
    pairs = PreferencePairs.load(tmp_path / "rows.jsonl")
    assert len(pairs) > 0
    assert pairs.report.dropped == {}


def test_every_format_is_documented(tmp_path):
    seen = set()
    for block in blocks("jsonl"):
        (tmp_path / "rows.jsonl").write_text(block, encoding="utf-8")
        seen.update(PreferencePairs.load(tmp_path / "rows.jsonl").report.formats)
    for block in blocks("jsonl singles"):
        (tmp_path / "rows.jsonl").write_text(block, encoding="utf-8")
        pairs = PreferencePairs.load(tmp_path / "rows.jsonl", singles=True)
        seen.update(pairs.report.formats)
    assert seen == {shape.name for shape in (*SHAPES, *SINGLE_SHAPES)}


@pytest.mark.parametrize("block", blocks("jsonl solutions"))
def test_documented_solutions_load(tmp_path, block):
    (tmp_path / "rows.jsonl").write_text(block, encoding="utf-8")
    solutions = Solutions.load(tmp_path / "rows.jsonl")
    assert len(solutions) == block.count("\n")
    assert solutions.report.labelled > 0
    assert solutions.report.dropped == {}


@pytest.mark.parametrize("block", blocks("json"))
def test_documented_votes_are_read(block):
    rows = [json.loads(line) for line in block.splitlines()]
    reader = RowReader("docs", "line", "error", Tally(), VOTE_SHAPES)
    found = [judged for _, judged in reader.numbered(enumerate(rows, start=1))]
    assert all(judged.judgments for judged in found)
    assert len(blocks("json")) == 3


def test_documented_code_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rows = "".join(f'{{"prompt": "{i}", "chosen": "a", "rejected": "b"}}\n' for i in range(5))
    (tmp_path / "pairs.jsonl").write_text(rows)
    names: dict[str, object] = {}
    for block in blocks("python"):
        exec(block, names)
    assert "5 rows gave 5 pairs" in capsys.readouterr().out
    assert PreferencePairs.load("kept.jsonl.gz").digest == names["pairs"].digest
