"""Solutions: from every source, counted, split by prompt; the public sets whole where they are."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pandas
import pytest

from assay.data.pairs import PreferencePairs
from assay.data.solutions import Solutions
from assay.errors import ConfigError, DataError
from assay.formats.files import write_rows
from assay.types import Message, Solution


def row(prompt: str = "Q", steps: tuple[str, ...] = ("a", "b"), **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "steps": list(steps), **fields}


def many(count: int = 40, per_prompt: int = 2) -> list[dict[str, Any]]:
    return [row(f"Q {i // per_prompt}", (f"a {i}", "b"), labels=[1, -1]) for i in range(count)]


def solution(steps: tuple[str, ...], labels: tuple[int | None, ...], prompt: str = "Q") -> Solution:
    return Solution((Message("user", prompt),), steps, labels)


def test_all_sources_give_the_same_solutions(tmp_path: Path) -> None:
    rows = [row("Q", labels=[1, None]), row("R", labels=[0, -1], probabilities=[0.5, None])]
    for name in ("a.jsonl", "a.jsonl.gz", "a.parquet"):
        write_rows(tmp_path / name, rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    sources = [
        *(tmp_path / name for name in ("a.jsonl", "a.jsonl.gz", "a.parquet", "a.json")),
        str(tmp_path / "a.jsonl"),
        rows,
        iter(rows),
        pandas.DataFrame(rows),
    ]
    assert len({Solutions.load(source).digest for source in sources}) == 1


def test_several_files_keep_their_own_formats(tmp_path: Path) -> None:
    write_rows(tmp_path / "a.jsonl", [row(labels=[1, 0])])
    stepwise = {"prompt": "R", "completions": ["a"], "labels": [False]}
    write_rows(tmp_path / "b.jsonl", [stepwise])
    solutions = Solutions.load([tmp_path / "a.jsonl", tmp_path / "b.jsonl"])
    assert [s.labels for s in solutions] == [(1, 0), (-1,)]
    assert solutions.report.formats == {"Assay solution": 1, "TRL stepwise": 1}


def test_report_counts_every_step_and_row() -> None:
    rows = [
        row(labels=[1, 0], probabilities=[0.5, None]),
        row("R", labels=[-1, None]),
        row("R", labels=[-1, None]),
        row("S", ("a", " ")),
    ]
    report = Solutions.load(rows, on_bad_row="skip").report
    assert (report.rows, report.solutions, report.steps, report.labelled) == (4, 2, 4, 3)
    assert (report.good, report.neutral, report.bad) == (1, 1, 1)
    assert (report.unjudged, report.shares) == (1, 1)
    assert report.dropped == {"duplicate": 1, "blank step": 1}
    assert [e.where for e in report.examples] == ["the given data row 3", "the given data row 4"]
    assert str(report) == (
        "4 rows gave 2 solutions with 4 steps: 1 good, 1 neutral, 1 bad, 1 not judged; "
        "1 with a probability; dropped: 1 duplicate, 1 blank step"
    )


def test_report_asks_whether_zeros_are_meant_as_wrong() -> None:
    assert "is 0 meant as wrong?" in str(Solutions.load([row(labels=[1, 0])]).report)
    assert "is 0 meant" not in str(Solutions.load([row(labels=[1, 1])]).report)


def test_repetitions_are_dropped_unless_someone_else_or_something_else_was_said() -> None:
    rows = [
        row(labels=[1, 1]),
        row(labels=[1, 1], id="another"),
        row(labels=[1, 1], annotator="ada"),
        row(labels=[1, 0]),
        row(labels=[1, 1], correct=True),
        row(labels=[1, 1], probabilities=[0.5, 0.5]),
    ]
    report = Solutions.load(rows).report
    assert report.dropped == {"duplicate": 1}
    assert report.solutions == 5
    assert len(Solutions.load(rows, deduplicate=False)) == 6


def test_contradicting_labels_are_kept_and_counted() -> None:
    same = [solution(("a", "b"), (None, 1)), solution(("a", "b"), (1, -1))]
    assert Solutions.of(same).report.contradictions == 1
    apart = [
        solution(("a", "b"), (None, 1)),
        solution(("x", "b"), (None, -1)),
        solution(("a", "b"), (None, -1), prompt="R"),
        solution(("ab",), (-1,)),
        solution(("a", "b"), (None, None)),
    ]
    assert Solutions.of(apart).report.contradictions == 0
    assert len(Solutions.of(same)) == 2
    assert "1 labels contradict an earlier one" in str(Solutions.of(same).report)


def test_rule_after_an_error_is_passed_on() -> None:
    rows = [row(first_error=0)]
    assert Solutions.load(rows)[0].labels == (-1, None)
    assert Solutions.load(rows, after_error="bad")[0].labels == (-1, -1)


def test_limit_counts_solutions_kept() -> None:
    rows = [row(), row(), row("R"), row("S")]
    assert [s.prompt[0].content for s in Solutions.load(rows, limit=2)] == ["Q", "R"]
    with pytest.raises(ConfigError, match="limit must be at least 1, not 0"):
        Solutions.load(rows, limit=0)


def test_nothing_left_is_an_error_with_the_reasons(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the 1 rows gave a solution; dropped: 1 no steps"):
        Solutions.load([row(steps=()), *[]], on_bad_row="skip")
    (tmp_path / "a.jsonl").write_text('{"prompt": \n')
    with pytest.raises(DataError, match=r"a\.jsonl line 1 is not JSON: .* --on-bad-row skip\.$"):
        Solutions.load(tmp_path / "a.jsonl")


def test_split_keeps_prompts_whole_and_is_that_of_pairs() -> None:
    solutions = Solutions.load(many())
    train, heldout = solutions.split(0.25, seed=3)
    assert (len(train), len(heldout)) == (30, 10)
    assert not set(train.prompt_keys()) & set(heldout.prompt_keys())
    assert sorted(s.steps for s in [*train, *heldout]) == sorted(s.steps for s in solutions)
    pairs = PreferencePairs.load(
        [{"prompt": f"Q {i}", "chosen": "a", "rejected": "b"} for i in range(20)]
    )
    _, heldout_pairs = pairs.split(0.25, seed=3)
    assert set(heldout_pairs.prompt_keys()) == set(heldout.prompt_keys())
    assert train.report is solutions.report


def test_split_depends_on_the_seed_and_not_on_the_order() -> None:
    def heldout(rows: list[dict[str, Any]], seed: int) -> set[str]:
        return {s.prompt[0].content for s in Solutions.load(rows).split(seed=seed)[1]}

    assert heldout(many(), 0) == heldout(many()[::-1], 0)
    assert heldout(many(), 0) != heldout(many(), 1)


def test_split_that_cannot_be_made() -> None:
    solutions = Solutions.load(many())
    with pytest.raises(ConfigError, match="heldout must be a share between 0 and 1, not 1"):
        solutions.split(1.0)
    with pytest.raises(DataError, match="two or more different prompts; there is 1"):
        Solutions.load([row(), row(steps=("c",))]).split()


def test_solutions_are_a_sequence() -> None:
    solutions = Solutions.load(many(4))
    assert [s.steps[0] for s in solutions] == ["a 0", "a 1", "a 2", "a 3"]
    assert solutions[-1].steps[0] == "a 3"
    assert [s.steps[0] for s in solutions[1:3]] == ["a 1", "a 2"]
    assert [s.steps[0] for s in solutions.select([2, 0])] == ["a 2", "a 0"]
    assert repr(solutions) == "Solutions(4 solutions)"


def test_digest_is_of_the_content_in_order() -> None:
    solutions = Solutions.load(many(4))
    assert solutions.digest == Solutions.of(list(solutions)).digest
    assert solutions.digest != solutions.select([1, 0, 2, 3]).digest
    assert solutions.digest != Solutions.load([row(labels=[1, -1])]).digest


# --- the public sets, whole


def public(name: str) -> tuple[Path, list[dict[str, Any]]]:
    folder = os.environ.get("ASSAY_DATA")
    path = Path(folder or "", f"{name}.jsonl.gz")
    if not folder or not path.exists():
        pytest.skip(f"{name} is not here; set ASSAY_DATA")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return path, [json.loads(line) for line in file]


def test_prm800k_whole() -> None:
    path, rows = public("prm800k_phase1_train")
    solutions = Solutions.load(path, deduplicate=False)
    report = solutions.report
    ratings = Counter(r["rating"] for r in rows)
    assert (report.rows, report.solutions) == (42868, 42868)
    assert (report.good, report.neutral, report.bad) == (ratings[1], ratings[0], ratings[-1])
    assert report.unjudged == ratings[None] + sum(len(r["prefix"]) for r in rows)
    assert report.dropped == {}
    assert len(set(solutions.prompt_keys())) <= len({r["problem"] for r in rows})
    said: dict[tuple[Any, ...], list[int]] = {}
    for r in rows:
        if r["rating"] is not None:
            path_to_step = (r["problem"], *r["prefix"], r["step"])
            said.setdefault(path_to_step, []).append(r["rating"])
    assert report.contradictions == sum(x != v[0] for v in said.values() for x in v)


def test_bigbench_mistake_whole() -> None:
    path, rows = public("bigbench_mistake")
    with pytest.raises(DataError, match=r"line 539: step .* is blank"):
        Solutions.load(path)
    report = Solutions.load(path, on_bad_row="skip").report
    assert report.dropped == {"blank step": 1}
    sound = [r for r in rows if all(step.strip() for step in r["steps"])]
    firsts = [(r["mistake_index"], len(r["steps"])) for r in sound]
    assert report.solutions == len(sound) == 1589
    assert report.bad == sum(first is not None for first, _ in firsts)
    assert report.good == sum(size if first is None else first for first, size in firsts)
    assert report.steps == sum(size for _, size in firsts)


def test_stepverify_whole() -> None:
    path, rows = public("stepverify")
    solutions = Solutions.load(path, deduplicate=False)
    assert [s.first_error for s in solutions] == [r["first_error"] for r in rows]
    assert solutions.report.bad == len(rows) == 482
    assert solutions.report.good == sum(r["first_error"] for r in rows)


def test_gsm8k_model_solutions_whole() -> None:
    path, rows = public("gsm8k_model_solutions")
    solutions = Solutions.load(path, deduplicate=False)
    given = [s for r in rows for s in r["solutions"]]
    assert [s.correct for s in solutions] == [s["is_correct"] for s in given]
    for solution, raw in zip(solutions, given, strict=True):
        assert "".join("".join(solution.steps).split()) == "".join(raw["solution"].split())
    assert sum(s.answer is not None for s in solutions) == sum(
        any(line.startswith("A: ") for line in s["solution"].splitlines()) for s in given
    )
