"""The verb ``assay audit`` and ``assay.audit``: files out, evaluations by name, one sentence."""

from __future__ import annotations

import builtins
import gzip
import json
import tomllib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import assay
from assay.cli import main
from assay.configs import Audit
from assay.data.audit import reliability
from assay.errors import ConfigError, DataError, MissingExtraError

FILES = {"audit.html", "audit.json", "config.toml", "flagged.jsonl"}


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two models take most of a small audit's time."""
    monkeypatch.setattr(reliability, "MACE_STEPS", 2)
    monkeypatch.setattr(reliability, "DAWID_SKENE_STEPS", 2)


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join((r if isinstance(r, str) else json.dumps(r)) + "\n" for r in rows))
    return path


def pair(prompt: str, chosen: str = "aa", rejected: str = "b", **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


VOTES = [
    {"id": i, "instruction": f"Question {i}?", "response_1": "a", "response_2": "bb",
     "votes": [1, 1, 2 if i % 3 else 1]}
    for i in range(9)
]  # fmt: skip


def test_the_verb_writes_four_files_and_says_the_findings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    path = write(tmp_path / "votes.jsonl", *VOTES)
    assert main(["audit", str(path), "--out", str(out), "--resamples", "50"]) == 0
    said = capsys.readouterr().out
    assert "27 judgments of 9 items in 9 comparisons by 3 annotators" in said
    assert said.rstrip().endswith(f"report: {out / 'audit.html'}")
    assert {p.name for p in out.iterdir()} == FILES
    config = tomllib.loads((out / "config.toml").read_text())
    assert config["resamples"] == 50
    assert config["on_bad_row"] == "skip"
    record = json.loads((out / "audit.json").read_text())
    assert record["settings"] == {"near_duplicate": 0.8, "resamples": 50, "seed": 0}
    assert record["data"]["formats"] == {"PandaLM": 9}


def test_json_is_the_record(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("p"), pair("q"))
    assert main(["audit", str(path), str(path), "--out", str(tmp_path / "o"), "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record == json.loads((tmp_path / "o" / "audit.json").read_text())
    assert record["sources"] == ["pairs.jsonl", "pairs.jsonl"]
    assert record["duplicates"]["repeated_judgments"] == 2


def test_audit_in_python_takes_rows_and_files(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "votes.jsonl.gz", "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in VOTES)
    from_rows = assay.audit(VOTES, resamples=20)
    from_file = assay.audit(tmp_path / "votes.jsonl.gz", resamples=20)
    assert from_rows.record["agreement"] == from_file.record["agreement"]
    assert assay.audit(VOTES, limit=2, resamples=20).record["data"]["comparisons"] == 2


def test_evaluations_are_files_in_any_layout_or_suites_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    question = "What are the three largest rivers of the continent of Africa by their length"
    data = [pair(question), pair("Why is the sky blue?")]
    questions = write(tmp_path / "questions.jsonl", {"question": question}, {"question": "No?"})
    bench = write(tmp_path / "bench.jsonl", pair("Why is the sky blue?"))
    found = assay.audit(data, against=[questions, str(bench)]).record["contamination"]
    assert [e["evaluation"] for e in found["evaluations"]] == ["questions.jsonl", "bench.jsonl"]
    assert [e["contaminated"]["value"] for e in found["evaluations"]] == [0.5, 1.0]
    from assay.evaluation import suites
    from assay.evaluation.suite import Suite

    suite = suites.load_suite(bench)
    monkeypatch.setattr(
        suites, "load_suite", lambda name: Suite(suites.suite_spec(name), suite.items, name)
    )
    found = assay.audit(data, against=["rewardbench"]).record["contamination"]
    assert found["evaluations"][0]["evaluation"] == "rewardbench"
    assert found["evaluations"][0]["contaminated"]["value"] == 1.0


@pytest.fixture
def refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command line that must fail with one sentence, and writes nothing."""

    def run(*arguments: Any, out: Path | None = None) -> str:
        before = sorted(tmp_path.rglob("*"))
        where = out or tmp_path / "out"
        code = main(["audit", *map(str, arguments), "--out", str(where)])
        captured = capsys.readouterr()
        assert code == 2
        assert captured.out == ""
        (sentence,) = captured.err.strip().splitlines()
        assert sorted(tmp_path.rglob("*")) == before
        return sentence

    return run


def test_a_mistake_is_one_sentence(refused: Callable[..., str], tmp_path: Path) -> None:
    good = write(tmp_path / "good.jsonl", pair("p"))
    bad = write(tmp_path / "bad.jsonl", pair("p", ""), "{")
    empty = write(tmp_path / "empty.jsonl")
    tuning = write(tmp_path / "tuning.jsonl", {"text": "a"})
    nothing = write(tmp_path / "nothing.jsonl", {"x": 1})
    assert "does not exist" in refused(tmp_path / "god.jsonl")
    assert "none of the 2 rows gave a judgment; dropped: 1 empty text, 1 not a JSON" in refused(bad)
    assert "line 1: 'chosen' is empty" in refused(bad, "--on-bad-row", "error")
    assert "empty.jsonl is empty" in refused(empty)
    assert "none of the 1 rows gave a judgment; dropped: 1 unknown format" in refused(nothing)
    assert "dropped: 1 no second response" in refused(tuning)
    assert "near_duplicate must lie over 0 and up to 1, not 0." in refused(
        good, "--near-duplicate", "0"
    )
    assert "resamples must be at least 1, not 0." in refused(good, "--resamples", "0")
    assert "limit must be at least 1, not 0" in refused(good, "--limit", "0")
    assert "did you mean 'rewardbench'?" in refused(good, "--against", "rewardbnch")
    assert "has no prompts in its 1 lines" in refused(good, "--against", nothing)
    assert "good.jsonl is a file; name a directory for the audit." in refused(good, out=good)


def test_a_finished_audit_is_not_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("p"))
    from assay.auditor import run

    config = Audit(data=(str(path),), out=tmp_path / "out", resamples=5)
    run(config)
    with pytest.raises(ConfigError, match="out holds a finished audit; name another directory"):
        run(config)
    with pytest.raises(ConfigError, match=r"pairs\.jsonl is a file; name a directory"):
        run(Audit(data=(str(path),), out=path))


def test_without_the_extra_one_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "assay.errors.find_spec", lambda name: None if name == "crowdkit" else find_spec(name)
    )
    with pytest.raises(MissingExtraError) as caught:
        assay.audit([pair("p")])
    assert str(caught.value) == (
        "assay audit needs crowdkit, which the extra 'audit' has; "
        "add it with: pip install 'assay[audit]'"
    )


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([pair("p", annotator="ada")], "there is one annotator, 'ada'; agreement needs two."),
        ([pair("p", annotator="ada"), pair("p", annotator="bob")], "all 2 judgments of shared"),
        ([pair("p", tie=True), pair("q", tie=True)], "all 2 judgments are ties."),
        ([pair("p", "a", "b"), pair("q", "a", "b")], "of every item have the same length."),
        ([pair("p"), pair("q")], "the data name no annotators, so there is one opinion of each"),
    ],
    ids=["one annotator", "one answer", "all ties", "constant lengths", "a single vote per item"],
)
def test_data_that_say_little_say_why(
    rows: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    report = assay.audit(rows, resamples=10)
    assert said in str(report)
    report.save(tmp_path)
    assert said.split("'")[0] in (tmp_path / "audit.html").read_text()


def test_an_unreadable_hub_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="could not be loaded"):
        assay.audit([pair("p")], against=["owner/name"])


def test_an_audit_needs_no_model_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "pairs.jsonl", pair("p"), pair("q", annotator="ada"))
    real = builtins.__import__

    def guarded(name: str, *rest: Any, **more: Any) -> Any:
        assert name.split(".")[0] not in {"torch", "transformers", "datasets"}
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", guarded)
    assert assay.audit(path, resamples=5).record["data"]["rows"] == 2
