"""Judges compared by the files they wrote: the same pairs met, failures read, panels too."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from judged_made import certain, failure

from assay.cli import main
from assay.feedback.judges.judged_files import read_judged
from assay.feedback.judges.pairs import PairJudgment
from assay.feedback.judges.panel import Panel, PanelMember
from assay.feedback.judges.panel_run import panel_judgments, panel_row
from assay.feedback.judges.rows import judged_row
from assay.feedback.judges.tasks import Judged
from assay.types import Comparison, Preference, as_messages


def judged(number: int, judgment: PairJudgment) -> Judged:
    prompt = as_messages(f"Question {number}?", "user")
    responses = tuple(as_messages(f"{word} {number}", "assistant") for word in ("one", "two"))
    # people are for the first everywhere
    found = Comparison(prompt, responses, (Preference(0, 1),), id=str(number))
    return Judged(found, (judgment,), judgment.answers)


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def file_of(path: Path, probabilities: list[float], name: str = "j") -> Path:
    rows = [judged_row(judged(n, certain(p)), name, {"judge": name})
            for n, p in enumerate(probabilities)]  # fmt: skip
    return write(path, rows)


def test_each_file_is_compared_with_the_first(tmp_path: Path, capsys: Any) -> None:
    a = file_of(tmp_path / "a.jsonl", [0.9] * 6 + [0.2] * 2)
    b = file_of(tmp_path / "b.jsonl", [0.9] * 2 + [0.2] * 6)
    c = file_of(tmp_path / "c.jsonl", [0.9] * 6 + [0.2] * 2)
    out = tmp_path / "versus"
    assert main(["compare", str(a), str(b), str(c), "--out", str(out), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((out / "compare.json").read_text())
    one, two = found["comparisons"][str(b)], found["comparisons"][str(c)]
    assert one["difference"]["value"] == pytest.approx(0.5)
    assert [f["value"] for f in one["accuracy"]] == pytest.approx([0.75, 0.25])
    assert one["same_side"]["value"] == pytest.approx(0.5)
    assert two["difference"]["value"] == 0
    assert found["judges"][str(a)]["agreement"]["accuracy"]["value"] == 0.75
    page = (out / "judges.html").read_text()
    assert "+0.500" in page
    assert "<script" not in page
    assert main(["compare", str(a), str(b)]) == 0
    text = capsys.readouterr().out
    assert f"{a} and {b} on 8 comparisons that both judged" in text
    assert "accuracy 0.750" in text


def test_failures_beside_a_file_are_in_its_coverage(tmp_path: Path, capsys: Any) -> None:
    a = file_of(tmp_path / "a.jsonl", [0.9] * 3)
    b = file_of(tmp_path / "b.jsonl", [0.9] * 4)
    write(tmp_path / "a.failed.jsonl", [judged_row(judged(3, failure("refused")), "j", {})])
    assert main(["compare", str(a), str(b), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["judges"][str(a)]["coverage"]["value"] == 0.75
    assert found["comparisons"][str(b)]["shared"] == 3


def test_a_panel_is_compared_as_one_judge(tmp_path: Path, capsys: Any) -> None:
    panel = Panel((PanelMember("x"), PanelMember("y")), quorum=2)
    votes = [(0.9, 0.9), (0.9, 0.2), (0.9, 0.1), (0.5, 0.5)]
    rows = []
    for number, (p, q) in enumerate(votes):
        both = {"x": judged(number, certain(p)), "y": judged(number, certain(q))}
        rows.append(panel_row(both, panel_judgments(both, panel), {}))
    lacking = {"x": judged(4, certain(0.9)), "y": judged(4, failure("refused"))}
    rows.append(panel_row(lacking, panel_judgments(lacking, panel), {}))
    path = write(tmp_path / "panel.jsonl", rows)
    records = read_judged([path])
    assert [r.judgment.outcome for r in records] == [
        "verdict", "verdict", "inconsistent", "tie", "not-asked",
    ]  # fmt: skip
    assert [r.probability for r in records] == pytest.approx([0.9, 0.55, 0.5, 0.5, None])
    other = file_of(tmp_path / "j.jsonl", [0.9] * 5)
    assert main(["compare", str(path), str(other), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["comparisons"][str(other)]
    assert found["shared"] == 4
    assert found["difference"]["value"] == pytest.approx(-0.25)


def test_what_cannot_be_compared_is_one_sentence(tmp_path: Path, capsys: Any) -> None:
    a = file_of(tmp_path / "a.jsonl", [0.9])
    (tmp_path / "folder").mkdir()
    plain = write(tmp_path / "plain.jsonl", [{"prompt": "?", "responses": ["x", "y"]}])
    for paths, wanted in (
        ([a], "got 1 files and 0 directories"),
        ([a, tmp_path / "folder"], "got 1 files and 1 directories"),
        ([a, a], "compared once each"),
        ([a, plain], "plain.jsonl line 1 is no row of a judge"),
        ([a, a, "--out", a], "name a directory"),
    ):
        assert main(["compare", *map(str, paths)]) == 2
        error = capsys.readouterr().err
        assert wanted in error
        assert len(error.strip().splitlines()) == 1


def test_judges_of_other_pairs_or_without_people_are_said_to_be_so(
    tmp_path: Path, capsys: Any
) -> None:
    a = file_of(tmp_path / "a.jsonl", [0.9])
    row = json.loads(a.read_text())
    row["responses"][0] = {"messages": [{"role": "assistant", "content": "another"}]}
    b = write(tmp_path / "b.jsonl", [row])
    out = tmp_path / "versus"
    assert main(["compare", str(a), str(b), "--out", str(out)]) == 0
    assert "no usable judgment of the same comparison" in capsys.readouterr().out
    del row["human"]
    c = write(tmp_path / "c.jsonl", [row])
    assert main(["compare", str(c), str(b), "--out", str(out)]) == 0
    page = (out / "judges.html").read_text()
    assert "no comparison was judged by people" in page
