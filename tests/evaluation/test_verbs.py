"""Contract: ``assay evaluate`` and ``assay compare`` count, print JSON, refuse in a sentence."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from assay.evaluation.rewardbench import COUNTS
from assay.evaluation.scoring import JOURNAL

pytestmark = pytest.mark.usefixtures("own_cache", "process_state")

Says = Callable[..., tuple[int, str]]
FILES = {"config.toml", "report.html", "results.json", "scores.jsonl"}
PAIR = {"prompt": "Say hello", "chosen": "hello", "rejected": "no"}
SCORED = {"id": "1", "subset": "all", "rewards": [1.0, 0.5], "correct": [True, False]}


def write(path: Path, *rows: dict[str, Any] | str) -> Path:
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    path.write_text("".join(line + "\n" for line in lines))
    return path


def own_pairs(n: int, says: str = "Question") -> list[dict[str, Any]]:
    return [
        {"prompt": f"{says} {i}?", "chosen": f"a clear reply {i}", "rejected": f"a rude {i}"}
        for i in range(n)
    ]


def scores(n: int, right: int) -> list[dict[str, Any]]:
    return [
        {**SCORED, "id": str(i), "rewards": [1.0, 0.0] if i < right else [0.0, 1.0]}
        for i in range(n)
    ]


def rewardbench_rows(counts: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {**row, "subset": name, "id": 1000 * number + i}
        for number, (name, count) in enumerate(counts.items())
        for i, row in enumerate(own_pairs(count, name))
    ]


# --- what is printed ------------------------------------------------------------------------------


def test_a_suite_file_with_missing_subsets_is_partial_and_has_no_total(
    trained_run: Path, assay_prints: Callable[..., str], tmp_path: Path
) -> None:
    data = write(tmp_path / "rb.jsonl", *rewardbench_rows({"math-prm": 3, "mt-bench-easy": 28}))
    words = ["evaluate", trained_run, "--suite", "rewardbench", "--data", data, "--probes", "0"]
    out = tmp_path / "out"
    printed = assay_prints(*words, "--out", out)
    first = printed.splitlines()[0]
    assert first.startswith("RewardBench, partial: 1 of 23 subsets whole (have/want: ")
    assert "math-prm 3/447" in first
    assert "hep-rust 0/164" in first
    assert first.endswith("no total")
    assert "mt-bench-easy" not in first
    assert [line.split()[0] for line in printed.splitlines() if "incomplete" in line] == [
        "Chat",
        "Reasoning",
        "math-prm",
    ]
    record = json.loads((out / "results.json").read_text())
    assert (record["total"], record["complete"]) == (None, False)
    assert record["missing"]["math-prm"] == [3, 447]
    assert set(record["missing"]) == set(COUNTS) - {"mt-bench-easy"}
    assert record["baseline_totals"] == {"length_only": None, "text_only": None, "chance": None}
    page = (out / "report.html").read_text()
    assert "partial" in page.lower()


def test_evaluate_prints_json_that_results_json_agrees_with(
    trained_run: Path, assay_prints: Callable[..., str], tmp_path: Path
) -> None:
    suite = write(tmp_path / "own.jsonl", *own_pairs(12))
    words = ["evaluate", trained_run, "--suite", suite, "--probes", "4", "--threads", "1", "--json"]
    printed = json.loads(assay_prints(*words, "--out", tmp_path / "out"))
    saved = json.loads((tmp_path / "out" / "results.json").read_text())
    del saved["examples"]
    assert {k: v for k, v in printed.items() if k != "directory"} == saved
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    again = json.loads(
        assay_prints(
            "evaluate",
            *("--suite", "pairs", "--scores", tmp_path / "out" / "scores.jsonl", "--json"),
            *("--out", tmp_path / "again"),
        )
    )
    assert again["accuracy"] == saved["accuracy"]


def test_the_saved_configuration_evaluates_alike(
    assay_prints: Callable[..., str], tmp_path: Path
) -> None:
    saved = write(tmp_path / "scores.jsonl", *scores(20, 15))
    first, again = tmp_path / "first", tmp_path / "again"
    printed = assay_prints("evaluate", "--suite", "pairs", "--scores", saved, "--out", first)
    told = assay_prints("evaluate", first / "config.toml", "--out", again)
    assert told.splitlines()[:-1] == printed.splitlines()[:-1]
    assert (first / "scores.jsonl").read_bytes() == (again / "scores.jsonl").read_bytes()


@pytest.fixture
def two(assay_prints: Callable[..., str], tmp_path: Path) -> tuple[Path, Path]:
    """Two evaluations of 40 items, right on 20 and on 30 of them."""
    for name, right in (("a", 20), ("b", 30)):
        saved = write(tmp_path / f"{name}.jsonl", *scores(40, right))
        words = ["evaluate", "--suite", "pairs", "--scores", saved, "--out", tmp_path / name]
        assay_prints(*words)
    return tmp_path / "a", tmp_path / "b"


def test_compare_prints_a_table_json_and_the_flips(
    two: tuple[Path, Path], assay_prints: Callable[..., str], tmp_path: Path
) -> None:
    table = assay_prints("compare", *two, "--out", tmp_path / "versus")
    total = next(line for line in table.splitlines() if line.startswith("total"))
    assert total.split()[1:4] == ["0.500", "0.750", "+0.250"]
    assert "10 items flipped" in table
    assert {p.name for p in (tmp_path / "versus").iterdir()} == {
        "compare.json",
        "flips.jsonl",
        "leaderboard.html",
    }
    (found,) = json.loads(assay_prints("compare", *two, "--json"))["comparisons"]
    assert found["total"]["difference"]["value"] == 0.25
    assert {flip["id"] for flip in found["flips"]} == {str(i) for i in range(20, 30)}
    (turned,) = json.loads(assay_prints("compare", *two[::-1], "--json"))["comparisons"]
    assert turned["total"]["difference"]["value"] == -0.25


def test_partial_evaluations_are_compared_without_a_total_or_its_p(
    assay_prints: Callable[..., str], tmp_path: Path
) -> None:
    for name, right in (("a", 3), ("b", 5), ("c", 6)):
        rows = [{**row, "subset": "math-prm"} for row in scores(8, right)]
        saved = write(tmp_path / f"{name}.jsonl", *rows)
        words = ["evaluate", "--suite", "rewardbench", "--scores", saved]
        assert "no total" in assay_prints(*words, "--out", tmp_path / name)
    places = [tmp_path / name for name in "abc"]
    table = assay_prints("compare", *places, "--out", tmp_path / "versus")
    assert table.count("the suite is partial: no total") == 2
    assert "Holm over models" not in table
    found = json.loads(assay_prints("compare", *places, "--json"))["comparisons"]
    assert [(c["total"], c["total_p_holm_over_models"]) for c in found] == [(None, None)] * 2
    assert "partial" in (tmp_path / "versus" / "leaderboard.html").read_text()


# --- what is refused, before anything is written --------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ([], "Name either a run to score with or --scores FILE, and not both"),
        (["RUN", "--scores", "SCORES"], "Name either a run to score with or --scores FILE"),
        (["RUN", "--save-calibration"], "--save-calibration keeps what --calibrate-on fits"),
        (
            ["--scores", "SCORES", "--calibrate-on", "OWN"],
            "--calibrate-on scores pairs with a model; saved scores have none",
        ),
        (
            ["owner/model", "--save-calibration", "--calibrate-on", "OWN"],
            "owner/model is no directory to keep a calibration in",
        ),
        (["RUN", "--calibrate-on", "OWN"], "12 prompts of own.jsonl are in own.jsonl too"),
        (["missing"], "missing does not exist; give a run directory or a hub name"),
        (["--scores", "missing.jsonl"], "missing.jsonl does not exist"),
        (["RUN", "--train", "missing.jsonl"], "missing.jsonl does not exist"),
        (["RUN", "--suite", "rewardbnch"], "did you mean 'rewardbench'?"),
        (["RUN", "--suite", "nothing"], "'nothing' is neither a suite nor a file; the suites are"),
        (["RUN", "--suite", "rmb"], "RMB is not one data set on the hub; name it with --data"),
        (["RUN", "--suite", "rewardbench", "--data", "missing.jsonl"], "missing.jsonl"),
        (["RUN", "--limit", "0"], "limit must be at least 1, not 0"),
        (["--scores", "SCORES", "--limit", "-1"], "limit must be at least 1, not -1"),
        (["RUN", "--probes", "-1"], "probes must be at least 0, not -1"),
    ],
)
def test_requests_that_cannot_work_say_so(
    trained_run: Path,
    assay_says: Says,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    flags: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "own.jsonl", *own_pairs(12))
    write(tmp_path / "scores.jsonl", SCORED)
    names = {"RUN": str(trained_run), "OWN": "own.jsonl", "SCORES": "scores.jsonl"}
    words = [names.get(flag, flag) for flag in flags]
    if "--suite" not in words:
        words += ["--suite", "pairs" if "--scores" in words else "own.jsonl"]
    code, said = assay_says("evaluate", *words, "--out", "out")
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_where_an_evaluation_may_not_go_nothing_changes(
    assay_says: Says, two: tuple[Path, Path], tmp_path: Path
) -> None:
    saved = write(tmp_path / "scores.jsonl", SCORED)
    words = ["evaluate", "--suite", "pairs", "--scores", saved, "--out"]
    before = {p.name: p.stat().st_mtime_ns for p in two[0].iterdir()}
    code, said = assay_says(*words, two[0])
    assert (code, "holds a finished evaluation; name another" in said) == (2, True)
    assert {p.name: p.stat().st_mtime_ns for p in two[0].iterdir()} == before
    code, said = assay_says(*words, saved)
    assert (code, "is a file; name a directory for the evaluation" in said) == (2, True)
    assert json.loads(saved.read_text()) == SCORED


def test_another_models_unfinished_evaluation_is_not_gone_on_with(
    trained_run: Path, assay_says: Says, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    journal = write(out / JOURNAL, {"suite": "another", "model or truncation": "another"})
    suite = write(tmp_path / "own.jsonl", *own_pairs(3))
    code, said = assay_says("evaluate", trained_run, "--suite", suite, "--out", out)
    assert (code, "holds an unfinished evaluation begun with another suite, model" in said) == (
        2,
        True,
    )
    assert list(out.iterdir()) == [journal]


RB = {**PAIR, "id": 1, "subset": "math-prm"}
RB2 = {
    "id": "1",
    "subset": "Math",
    "prompt": "Add",
    "chosen": ["2"],
    "rejected": ["1", "3", "4"],
    "num_correct": 1,
    "num_incorrect": 3,
}


@pytest.mark.parametrize(
    ("suite", "rows", "sentence"),
    [
        ("rewardbench", [], "is empty"),
        ("rewardbench", [{**RB, "subset": "maths"}], "'maths' is no subset of rewardbench; it has"),
        ("rewardbench", [{**RB, "subset": "Reasoning"}], "'Reasoning' is no subset of rewardbench"),
        ("rewardbench", [PAIR], "subset"),
        ("rewardbench", [{**RB, "chosen": None}], "row 1"),
        (
            "rewardbench-2",
            [RB2, {**RB2, "id": "2", "chosen": ["2", "two"]}],
            "item '2' has 2 right responses; wanted exactly one",
        ),
        ("rewardbench-2", [{**RB2, "rejected": []}], "item '1' has"),
        ("judgebench", [{"pair_id": "1"}], "row 1"),
        ("own", [], "own.jsonl is empty"),
        ("own", [{**PAIR, "rejected": "hello"}], "own.jsonl gave no items"),
        ("own", ["{"], "line 1 is not JSON"),
        (
            "own",
            [{"id": "1", "prompt": "a", "responses": ["b", "c"], "correct": [True, True]}],
            "item '1' has 2 right of 2 responses; wanted at least one right and one wrong",
        ),
        (
            "own",
            [{"id": "1", "prompt": "a", "responses": ["b", "c"], "correct": [True]}],
            "item '1' has 2 rewards or responses but 1 marks",
        ),
    ],
)
def test_a_suite_that_cannot_be_counted_is_named_by_its_row(
    trained_run: Path,
    assay_says: Says,
    tmp_path: Path,
    suite: str,
    rows: list[dict[str, Any] | str],
    sentence: str,
) -> None:
    path = write(tmp_path / "own.jsonl", *rows)
    words = ["--suite", path] if suite == "own" else ["--suite", suite, "--data", path]
    code, said = assay_says("evaluate", trained_run, *words, "--out", tmp_path / "out")
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("suite", "rows", "sentence"),
    [
        ("pairs", [], "is empty"),
        ("pairs", [{**SCORED, "rewards": [1.0, None]}], "line 1: reward 2 of item '1' is None"),
        (
            "pairs",
            ['{"id": "1", "subset": "all", "rewards": [NaN, 1.0], "correct": [true, false]}'],
            "line 1: reward 1 of item '1' is nan; wanted a finite number",
        ),
        ("pairs", [SCORED, SCORED], "line 2: item '1' of all is there twice"),
        ("pairs", [{"id": "1"}], "wanted saved scores with id, subset, rewards, correct (assay);"),
        ("one-of-n", [{**SCORED, "correct": [True, True]}], "has 2 right responses; wanted exactl"),
        ("rewardbench", [SCORED], "line 1: 'all' is no subset of rewardbench; it has"),
        ("pears", [SCORED], "'pears' is neither a suite nor a file"),
    ],
)
def test_saved_scores_that_cannot_be_counted_are_named_by_their_line(
    assay_says: Says,
    tmp_path: Path,
    suite: str,
    rows: list[dict[str, Any] | str],
    sentence: str,
) -> None:
    path = write(tmp_path / "scores.jsonl", *rows)
    words = ["--suite", suite, "--scores", path, "--out", tmp_path / "out"]
    code, said = assay_says("evaluate", *words)
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_over_long_items_can_be_an_error_and_all_dropped_is_one(
    trained_run: Path, assay_says: Says, tmp_path: Path
) -> None:
    rows = [{**row, "prompt": "word " * 400} for row in own_pairs(2)]
    suite = write(tmp_path / "own.jsonl", *rows)
    words = ["evaluate", trained_run, "--suite", suite, "--out", tmp_path / "out"]
    code, said = assay_says(*words, "--truncation", "drop")
    assert (code, "All 2 items of" in said, "were dropped as too long" in said) == (2, True, True)
    shutil.rmtree(tmp_path / "out", ignore_errors=True)
    code, said = assay_says(*words, "--truncation", "error")
    assert (code, "tokens where max_length is 256" in said) == (2, True)


@pytest.mark.parametrize("missing", ["results.json", "scores.jsonl"])
def test_compare_refuses_what_is_no_pair_of_evaluations(
    two: tuple[Path, Path], assay_says: Says, tmp_path: Path, missing: str
) -> None:
    out = tmp_path / "versus"
    code, said = assay_says("compare", two[0], "--out", out)
    assert (code, "two or more evaluation directories to compare, got 1" in said) == (2, True)
    code, said = assay_says("compare", two[0], tmp_path / "nowhere", "--out", out)
    assert (code, "is no finished evaluation" in said) == (2, True)
    (two[1] / missing).unlink()
    code, said = assay_says("compare", *two, "--out", out)
    assert (code, f"has no {missing}" in said) == (2, True)
    assert not out.exists()


def test_compare_says_where_it_may_not_write(
    two: tuple[Path, Path], assay_says: Says, tmp_path: Path
) -> None:
    taken = write(tmp_path / "taken", "text")
    code, said = assay_says("compare", *two, "--out", taken)
    assert (code, "taken is a file; name a directory" in said) == (2, True)
    assert taken.read_text() == "text\n"
