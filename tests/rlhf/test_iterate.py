"""Rounds of reward model, policy and fresh comparisons: with a labeler, and with people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from worlds import WORDS, word_policy

from assay.cli import main

pytestmark = [
    pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures"),
    pytest.mark.medium,
]

LABELER = """
def truth(prompts, responses):
    return [float(r.count("yes")) - 0.5 * len(r.split()) for r in responses]
"""


@pytest.fixture
def flags(tmp_path: Path, tiny_backbone: Path, gold_pairs: Any) -> dict[str, Any]:
    (tmp_path / "label.py").write_text(LABELER)
    prompts = [" ".join(WORDS[(i >> k) % 2] for k in range(4)) for i in range(12)]
    rows = "".join(json.dumps({"prompt": p}) + "\n" for p in prompts)
    pairs = tmp_path / "data.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in gold_pairs(40)))
    (tmp_path / "prompts.jsonl").write_text(rows)
    return {
        "policy": word_policy(WORDS).save(tmp_path / "words"),
        "prompts": tmp_path / "prompts.jsonl",
        "out": tmp_path / "run",
        "data": pairs,
        "labeler": f"{tmp_path / 'label.py'}:truth",
        "backbone": tiny_backbone,
        "rounds": 2,
        "fresh-pairs": 24,
        "steps": 3,
        "prompts-per-step": 2,
        "samples": 3,
        "max-new-tokens": 4,
        "mode": "full",
        "lr": 1e-3,
        "heldout-prompts": 4,
        "heldout-samples": 2,
        "baseline-steps": 4,
    }


def command(flags: dict[str, Any]) -> int:
    return main(
        ["rlhf", "iterate", *(p for k, v in flags.items() for p in (f"--{k}", str(v))), "--json"]
    )


def test_every_round_learns_from_the_comparisons_so_far(
    flags: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(flags) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["waiting"] is None
    assert len(printed["rounds"]) == 2
    out = flags["out"]
    pairs = [json.loads(x) for x in (out / "round-1" / "pairs.jsonl").read_text().splitlines()]
    assert 0 < len(pairs) <= 24
    for row in pairs:
        better, worse = (
            r.count("yes") - 0.5 * len(r.split()) for r in (row["chosen"], row["rejected"])
        )
        assert better > worse
    first, second = (
        json.loads((out / f"round-{n}" / "reward" / "assay.json").read_text()) for n in (1, 2)
    )
    assert first["data"]["train"]["digest"] != second["data"]["train"]["digest"]
    assert printed["rounds"][0]["fresh_accuracy"]["n"] == len(pairs)
    # what is there is not made again
    before = (out / "round-2" / "rlhf" / "results.json").stat().st_mtime_ns
    assert command(flags) == 0
    assert json.loads(capsys.readouterr().out) == printed
    assert (out / "round-2" / "rlhf" / "results.json").stat().st_mtime_ns == before


def test_without_a_labeler_it_waits_for_people(
    flags: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    flags = {k: v for k, v in flags.items() if k != "labeler"} | {"rounds": 1}
    assert command(flags) == 0
    waiting = Path(json.loads(capsys.readouterr().out)["waiting"])
    rows = [json.loads(line) for line in waiting.read_text().splitlines()]
    assert all(len(set(row["responses"])) == 2 for row in rows)
    by_people = [
        {"prompt": r["prompt"], "chosen": r["responses"][1], "rejected": r["responses"][0]}
        for r in rows
    ]
    waiting.with_name("pairs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in by_people))
    assert command(flags) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["waiting"] is None
    assert printed["rounds"][0]["fresh_accuracy"]["n"] == len(rows)


def test_rounds_are_one_or_more(flags: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert command({**flags, "rounds": 0}) == 2
    assert "rounds and fresh_pairs are 1 or more" in capsys.readouterr().err
