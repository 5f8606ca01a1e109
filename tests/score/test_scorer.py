"""Verifiers as scorers: one way in, and through every verb that scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay import Conversation, load_scorer
from assay.cli import main
from assay.errors import ConfigError
from assay.feedback.verifiers import load_verifier, verifier_of

SPECS = [{"kind": "no_commas"}, {"kind": "word_count", "at_most": 3}]
TEXTS = ("one two", "one, two", "one, two, three, four")


@pytest.fixture
def specs(tmp_path: Path) -> Path:
    path = tmp_path / "form.json"
    path.write_text(json.dumps(SPECS))
    return path


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_file_of_verifiers_is_a_scorer(specs: Path) -> None:
    scores = load_scorer(specs).score([Conversation.of("?", text) for text in TEXTS])
    assert scores.reward.tolist() == [1.0, 0.5, 0.0]


def test_a_digest_tells_verifiers_apart(specs: Path) -> None:
    assert load_scorer(specs).digest == load_verifier(specs).digest
    assert load_scorer(specs).digest != verifier_of(SPECS[0]).digest
    assert verifier_of({"kind": "word_count", "at_most": 3}).digest == verifier_of(SPECS[1]).digest


@pytest.mark.parametrize("setting", [{"aggregator": "mean"}, {"strength": 1.0},
                                     {"reduction": "min"}, {"preset": "prm800k"}])  # fmt: skip
def test_settings_of_reward_models_are_refused(specs: Path, setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"form\.json holds verifiers, and a"):
        load_scorer(specs, **setting)


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path / "in.jsonl", [{"prompt": "?", "responses": list(TEXTS)}])
    flags = ["--input", str(data), "--output", str(tmp_path / "out.jsonl")]
    assert main(["score", str(tmp_path / "none.json"), *flags]) == 2
    said = capsys.readouterr().err
    assert "wanted a JSON list of verifiers" in said
    assert len(said.strip().splitlines()) == 1


def test_files_are_scored_and_the_best_is_found(specs: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "in.jsonl", [{"prompt": "?", "responses": list(reversed(TEXTS))}])
    out = tmp_path / "out.jsonl"
    assert main(["score", str(specs), "--input", str(data), "--output", str(out)]) == 0
    assert json.loads(out.read_text())["rewards"] == [0.0, 0.5, 1.0]
    assert main(["best-of-n", str(specs), "--input", str(data), "--output", str(out)]) == 0
    assert json.loads(out.read_text())["best"] == 2


def test_verifiers_are_evaluated_as_a_model_is(specs: Path, tmp_path: Path, capsys: Any) -> None:
    pairs = [{"prompt": f"{i}?", "chosen": f"one {i}", "rejected": f"one, {i}"} for i in range(4)]
    data = write(tmp_path / "pairs.jsonl", pairs)
    out = tmp_path / "eval"
    flags = ["--suite", str(data), "--out", str(out), "--probes", "0", "--json"]
    assert main(["evaluate", str(specs), *flags]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["value"] == 1.0
