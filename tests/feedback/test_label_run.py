"""The verb assay label: rollouts by a policy or an endpoint, kept, and never written twice."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from assay.cli import main
from assay.feedback import label_run
from assay.feedback.client import Client
from assay.feedback.completers import PolicyCompleter

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def solutions(tmp_path: Path) -> Path:
    path = tmp_path / "solutions.jsonl"
    rows = [
        {
            "prompt": f"What is {n}?",
            "steps": ["It is said.", f"It is {n}"],
            "answer": str(n),
            "correct": True,
        }
        for n in range(3)
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


def verb(solutions: Path, out: Path, *flags: str) -> int:
    small = ["--rollouts", "2", "--max-new-tokens", "6", "--temperature", "1"]
    return main(["label", str(solutions), "--out", str(out), *small, *flags])


def test_a_policy_writes_rollouts_once(
    solutions: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "labelled.jsonl"
    flags = ("--policy", str(tiny_backbone), "--no-check-prompt")
    assert verb(solutions, out, *flags) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [len(row["steps"]) for row in rows] == [2, 2, 2]
    assert "solutions labelled" in capsys.readouterr().out
    assert label_run.journal_of(out).exists()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr(PolicyCompleter, "__call__", refuse)
    assert verb(solutions, out, *flags, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["spent"]["rollouts"] == 0
    assert report["spent"]["found"] > 0
    assert [json.loads(line) for line in out.read_text().splitlines()] == rows


def test_who_writes_must_be_said(
    solutions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "labelled.jsonl"
    assert verb(solutions, out) == 2
    assert "--policy NAME or by --endpoint URL" in capsys.readouterr().err
    assert verb(solutions, out, "--endpoint", "http://127.0.0.1:9/v1") == 2
    assert "No model was named" in capsys.readouterr().err
    assert verb(solutions, out, "--policy", "x", "--rollouts", "0") == 2
    assert not out.exists()


def test_an_endpoint_that_is_gone_leaves_no_output(
    solutions: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(label_run, "Client", partial(Client, sleep=lambda _: None))
    out = tmp_path / "labelled.jsonl"
    gone = ["--endpoint", "http://127.0.0.1:9/v1", "--endpoint-model", "m"]
    assert verb(solutions, out, *gone) == 1
    said = capsys.readouterr().err
    assert "the same command goes on" in said
    assert said.count("\n") == 1
    assert not out.exists()


def test_solutions_without_an_answer_cannot_be_labelled(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "solutions.jsonl", tmp_path / "labelled.jsonl"
    path.write_text('{"prompt": "What?", "steps": ["This.", "That."]}\n')
    assert verb(path, out, "--policy", str(tiny_backbone)) == 2
    assert "1 no reference answer" in capsys.readouterr().err
    assert not out.exists()
