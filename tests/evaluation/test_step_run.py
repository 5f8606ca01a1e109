"""``assay evaluate`` with a process model: step suites, files of solutions, and ordinary suites."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator

from assay.configs import Evaluate, ProcessTraining
from assay.data.solutions import Solutions
from assay.evaluation.run import run
from assay.evaluation.scoring import JOURNAL
from assay.evaluation.solutions import evaluate_steps
from assay.evaluation.steps import KINDS, PROCESSBENCH
from assay.models.process_model import ProcessRewardModel
from assay.score.process import ProcessScorer, load_step_scorer
from assay.train.process import train_process

pytestmark = pytest.mark.usefixtures("own_cache")

Row = dict[str, Any]
Prints = Callable[..., str]
Says = Callable[..., tuple[int, str]]

GOOD, BAD = ("clear", "kind", "precise"), ("rude", "vague", "wrong")
FILES = {"config.toml", "report.html", "results.json", "scores.jsonl"}
SUBSETS = tuple(PROCESSBENCH.subsets)
SCHEMA = json.loads((files("assay") / "evaluation" / "results_schema.json").read_text("utf-8"))


def judged_rows(count: int, seed: int = 0, name: str = "Problem") -> list[Row]:
    """A bad step says a bad word, mostly; one problem a row, every second one sound."""
    draw = random.Random(seed)
    rows = []
    for number in range(count):
        size = draw.randint(2, 4)
        first = draw.randrange(size) if number % 2 else None
        steps = []
        for step in range(size):
            is_odd = draw.random() < 0.05
            words = BAD if (step == first) != is_odd else GOOD
            steps.append(f"a {draw.choice(words)} step")
        rows.append(
            {
                "id": f"{name}-{number}",
                "prompt": f"{name} {number}: say it well",
                "steps": steps,
                "first_error": -1 if first is None else first,
                "correct": first is None,
                "subset": "easy" if number % 3 else "hard",
            }
        )
    return rows


def processbench_rows(count: int, seed: int = 0, name: str = "Case") -> list[Row]:
    return [
        {
            "id": f"{SUBSETS[i // 2 % 2]}-{i}",
            "problem": row["prompt"],
            "steps": row["steps"],
            "label": row["first_error"],
            "final_answer_correct": row["correct"],
        }
        for i, row in enumerate(judged_rows(count, seed, name))
    ]


def prmbench_rows(count: int) -> list[Row]:
    kinds = [kind for kinds in KINDS.values() for kind in kinds]
    rows = []
    for number, row in enumerate(judged_rows(count, 5, "Variant")):
        kind = kinds[number % 2]
        wrong = [] if row["first_error"] < 0 else [row["first_error"] + 1]
        rows.append({"idx": f"{kind}_p{number // 2}", "classification": kind,
                     "modified_question": row["prompt"], "modified_process": row["steps"],
                     "error_steps": wrong})  # fmt: skip
    return rows


def write(path: Path, rows: Sequence[Row]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path) -> list[Row]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def results(out: Path) -> Row:
    record: Row = json.loads((out / "results.json").read_text())
    return record


def counted(record: Row) -> Row:
    """What step rewards alone decide."""
    names = ("subsets", "sections", "total", "accuracy", "steps", "items", "responses", "ties",
             "thresholds", "missing", "note", "tie_rule", "title")  # fmt: skip
    return {name: record[name] for name in names}


def close(mine: Any, other: Any, most: float = 1e-4) -> None:
    """Equal but for how a batch, or the order of a sum, rounds."""
    if isinstance(mine, dict):
        assert mine.keys() == other.keys()
        for key in mine:
            close(mine[key], other[key], most)
    elif isinstance(mine, list):
        close(dict(enumerate(mine)), dict(enumerate(other)), most)
    elif isinstance(mine, float):
        assert mine == pytest.approx(other, abs=most)
    else:
        assert mine == other


@pytest.fixture(scope="module")
def process_run(
    tiny_backbone: Path, own_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A process model trained on synthetic solutions; to read."""
    train, heldout = Solutions.load(judged_rows(120, 9, "Train")).split(0.25, seed=0)
    model = ProcessRewardModel.from_backbone(str(tiny_backbone), max_length=120)
    train_process(model, train, heldout, ProcessTraining(l2=0.01))
    return model.save(tmp_path_factory.mktemp("process") / "prm")


# --- step suites ----------------------------------------------------------------------------------


def test_processbench_is_counted_as_from_the_same_step_rewards(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    rows = processbench_rows(24)
    data = write(tmp_path / "bench.jsonl", rows)
    words = ["evaluate", "--suite", "processbench"]
    printed = assay_prints(*words, process_run, "--data", data, "--out", tmp_path / "out")
    record = results(tmp_path / "out")
    Draft202012Validator(SCHEMA).validate(record)
    assert {p.name for p in (tmp_path / "out").iterdir()} == FILES
    solutions = Solutions.load(data)
    direct = load_step_scorer(process_run).score_steps(solutions).rewards
    kept = read(tmp_path / "out" / "scores.jsonl")
    assert [row["id"] for row in kept] == [row["id"] for row in rows]
    for row, rewards in zip(kept, direct, strict=True):
        np.testing.assert_allclose(row["rewards"], rewards, atol=1e-5)
    saved = write(
        tmp_path / "published.jsonl",
        [{**row, "rewards": scored["rewards"]} for row, scored in zip(rows, kept, strict=True)],
    )
    for name, scores in (("published", saved), ("own", tmp_path / "out" / "scores.jsonl")):
        assay_prints(*words, "--scores", scores, "--out", tmp_path / name)
        close(counted(results(tmp_path / name)), counted(record), 1e-12)
    assert record["thresholds"] == {"gsm8k": 0.5, "math": 0.5}
    assert (record["rewards_of"], record["model"], record["tuned_on"]) == ("steps", "prm", None)
    assert record["model_digest"].endswith(" truncate-left")
    assert "thresholds: gsm8k 0.5, math 0.5" in printed
    assert "partial: 0 of 4 subsets whole" in printed


def test_prmbench_keeps_the_variants_of_a_problem_together(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    data = write(tmp_path / "prm.jsonl", prmbench_rows(16))
    words = ["evaluate", "--suite", "prmbench"]
    assay_prints(*words, process_run, "--data", data, "--out", tmp_path / "out")
    kept = read(tmp_path / "out" / "scores.jsonl")
    assert [row["cluster"] for row in kept] == [f"p{i // 2}" for i in range(16)]
    scores = tmp_path / "out" / "scores.jsonl"
    assay_prints(*words, "--scores", scores, "--out", tmp_path / "again")
    assert counted(results(tmp_path / "again")) == counted(results(tmp_path / "out"))
    assert set(results(tmp_path / "out")["subsets"]) == {"redundency", "circular"}


def test_thresholds_are_tuned_by_subset_on_other_problems(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    rows = processbench_rows(30)
    data = write(tmp_path / "bench.jsonl", rows)
    # of gsm8k both kinds, of math sound ones alone; two of the problems are evaluated
    others = [
        row
        for row in processbench_rows(40, 3, "Other")
        if row["id"].startswith("gsm8k") or row["label"] < 0
    ]
    tune = write(tmp_path / "tune.jsonl", [*others, *rows[:2]])
    words = ["evaluate", process_run, "--suite", "processbench", "--data", data]
    printed = assay_prints(*words, "--tune", tune, "--out", tmp_path / "out")
    record = results(tmp_path / "out")
    Draft202012Validator(SCHEMA).validate(record)
    assert record["tuned_on"] == {
        "source": "tune.jsonl",
        "solutions": 30,
        "left_out": 2,
        "subsets": ["gsm8k"],
    }
    assert record["thresholds"]["gsm8k"] != 0.5
    assert "tuned on 30 solutions of tune.jsonl; 2 others are of problems" in printed
    page = (tmp_path / "out" / "report.html").read_text()
    assert "which was found on" in page
    assert f"<td>{record['thresholds']['gsm8k']:.3g}</td>" in page
    # counted by hand at the thresholds
    for subset, threshold in record["thresholds"].items():
        mine = [r for r in read(tmp_path / "out" / "scores.jsonl") if r["subset"] == subset]
        hits: dict[bool, list[bool]] = {True: [], False: []}
        for row in mine:
            said = next((i for i, r in enumerate(row["rewards"]) if r < threshold), -1)
            first = row["correct"].index(False) if False in row["correct"] else -1
            hits[first >= 0].append(said == first)
        a, b = np.mean(hits[True]), np.mean(hits[False])
        wanted = 0.0 if a + b == 0 else 2 * a * b / (a + b)
        assert record["subsets"][subset]["accuracy"]["value"] == pytest.approx(wanted)
    # saved scores hold their thresholds
    scores = tmp_path / "out" / "scores.jsonl"
    again = ["evaluate", "--suite", "processbench", "--scores", scores]
    assay_prints(*again, "--out", tmp_path / "again")
    assert counted(results(tmp_path / "again")) == counted(record)
    assay_prints(*words, "--out", tmp_path / "plain")
    told = json.loads(assay_prints("compare", tmp_path / "plain", tmp_path / "out", "--json"))[
        "comparisons"
    ][0]
    for subset, part in told["subsets"].items():
        assert part["b"] == record["subsets"][subset]["accuracy"]["value"]
        assert part["a"] == results(tmp_path / "plain")["subsets"][subset]["accuracy"]["value"]


def test_a_directory_of_the_published_files_is_one_suite(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    folder = tmp_path / "ProcessBench"
    folder.mkdir()
    rows = processbench_rows(12)
    for subset in ("gsm8k", "math"):
        mine = [row for row in rows if row["id"].startswith(subset)]
        (folder / f"{subset}.json").write_text(json.dumps(mine))
    words = ["evaluate", process_run, "--suite", "processbench", "--data", folder, "--limit", "4"]
    assay_prints(*words, "--out", tmp_path / "out")
    record = results(tmp_path / "out")
    assert {name: p["accuracy"]["n"] for name, p in record["subsets"].items()} == {
        "gsm8k": 4,
        "math": 4,
    }
    assert record["source"] == "ProcessBench"


def test_an_interrupted_evaluation_goes_on_to_the_same_results(
    process_run: Path, assay_prints: Prints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write(tmp_path / "bench.jsonl", processbench_rows(10))
    tune = write(tmp_path / "tune.jsonl", processbench_rows(10, 3, "Other"))
    monkeypatch.setattr("assay.evaluation.step_scoring.WINDOW", 4)
    words = ["evaluate", process_run, "--suite", "processbench", "--data", data, "--tune", tune]
    assay_prints(*words, "--out", tmp_path / "whole")
    scored = ProcessScorer.score_steps
    calls: list[int] = []

    def stops(self: ProcessScorer, solutions: Sequence[Any]) -> Any:
        calls.append(len(solutions))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return scored(self, solutions)

    monkeypatch.setattr(ProcessScorer, "score_steps", stops)
    out = tmp_path / "out"
    config = Evaluate(
        run=str(process_run), suite="processbench", data=str(data), tune=(str(tune),), out=out
    )
    with pytest.raises(KeyboardInterrupt):
        run(config)
    assert {p.name for p in out.iterdir()} == {JOURNAL}
    run(config)
    assert calls == [4, 4, 4, 4, 4, 4]  # 20 solutions; the fourth window was asked for twice
    assert {p.name for p in out.iterdir()} == FILES
    kept = (out / "scores.jsonl").read_bytes()
    assert kept == (tmp_path / "whole" / "scores.jsonl").read_bytes()
    mine, whole = results(out), results(tmp_path / "whole")
    assert {**mine, "created": ""} == {**whole, "created": ""}


def test_steps_that_are_cut_and_prompts_that_are_truncated_are_counted(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    rows = processbench_rows(12)
    rows[0]["problem"] = "Once more, " * 60 + "say it"
    rows[3]["steps"] = [*rows[3]["steps"], "and a word " * 60]
    data = write(tmp_path / "bench.jsonl", rows)
    words = ["evaluate", process_run, "--suite", "processbench", "--data", data]
    printed = assay_prints(*words, "--out", tmp_path / "left")
    left = results(tmp_path / "left")
    assert (left["items"], left["truncated"]) == (11, len(rows[0]["steps"]))
    assert (left["dropped"]["longer than max_length"], left["dropped_responses"]) == (1, 1)
    assert f"1 longer than max_length; truncated steps: {len(rows[0]['steps'])}" in printed
    assay_prints(*words, "--truncation", "drop", "--out", tmp_path / "drop")
    drop = results(tmp_path / "drop")
    assert (drop["items"], drop["truncated"]) == (10, 0)
    assert drop["dropped_responses"] == len(rows[0]["steps"]) + 1
    # a file of solutions keeps the steps that have a reward
    assay_prints("evaluate", process_run, "--suite", data, "--out", tmp_path / "file")
    file = results(tmp_path / "file")
    assert (file["overall"]["cut_steps"], file["truncated"]) == (1, len(rows[0]["steps"]))
    assert read(tmp_path / "file" / "scores.jsonl")[3]["step_rewards"][-1] is None


# --- files of solutions ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def judged_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("solutions") / "judged.jsonl", judged_rows(24, 2))


def test_a_file_of_solutions_has_figures_baselines_and_a_page(
    process_run: Path, judged_file: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    train = write(tmp_path / "train.jsonl", [*judged_rows(40, 4, "Seen"), *judged_rows(3, 2)])
    words = ["evaluate", process_run, "--suite", judged_file, "--train", train]
    printed = assay_prints(*words, "--out", tmp_path / "out")
    out = tmp_path / "out"
    record = results(out)
    assert {p.name for p in out.iterdir()} == FILES
    solutions = Solutions.load(judged_file)
    scorer = load_step_scorer(process_run)
    direct = evaluate_steps(scorer, solutions, train=Solutions.load(train)).to_dict()
    close({name: record[name] for name in direct}, direct)
    assert set(record["baselines"]) == {"text_only", "length_only"}
    assert record["shared"] == {"train": 3}
    assert set(record["subsets"]) == {"easy", "hard"}
    assert (record["schema"], record["suite"], record["source"]) == (
        1,
        "solutions",
        "judged.jsonl",
    )
    assert record["baselines_fitted_on"] == "training solutions"
    assert str(tmp_path) not in (out / "results.json").read_text()
    kept = read(out / "scores.jsonl")
    for row, solution in zip(kept, solutions, strict=True):
        assert (row["id"], tuple(row["labels"])) == (solution.id, solution.labels)
        assert len(row["step_rewards"]) == len(solution.steps)
    page = (out / "report.html").read_text()
    assert page.count("<table>") == 5
    for text in ("first-error F1", "text_only", "baselines by training solutions"):
        assert text in page
        assert text in printed
    assert printed.splitlines()[-1] == f"report: {out / 'report.html'}"


def test_json_is_what_is_saved_and_saved_step_rewards_count_alike(
    process_run: Path, judged_file: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    tune = write(tmp_path / "tune.jsonl", [*judged_rows(20, 6, "Other"), *judged_rows(2, 2)])
    out = tmp_path / "out"
    words = ["evaluate", "--suite", judged_file, "--json"]
    printed = json.loads(
        assay_prints(*words, process_run, "--tune", tune, "--neutral", "bad", "--out", out)
    )
    record = results(out)
    assert {k: v for k, v in printed.items() if k != "directory"} == record
    assert (record["tuned_on"], record["shared"]) == (20, {"tune": 2})
    assert record["overall"]["neutral"] == "bad"
    assert f"from {record['overall']['threshold']:.3g}" in (out / "report.html").read_text()
    # rows that assay score wrote hold the solutions themselves
    for path in (judged_file, tune):
        scored = tmp_path / f"scored-{path.name}"
        assay_prints("score", process_run, "--input", path, "--output", scored)
    apart = ("created", "model", "model_digest", "tune", "source")
    same = {k: v for k, v in record.items() if k not in apart}
    both = ["--tune", tmp_path / "scored-tune.jsonl", "--neutral", "bad"]
    for name, scores in (("own", out / "scores.jsonl"), ("rows", "scored-judged.jsonl")):
        assay_prints(*words, "--scores", tmp_path / scores, *both, "--out", tmp_path / name)
        again = results(tmp_path / name)
        close(again["overall"], same["overall"])
        close(again["baselines"], same["baselines"])
        assert again["model_digest"] is None
    exact = ["evaluate", "--suite", judged_file, "--scores", out / "scores.jsonl"]
    assay_prints(*exact, "--limit", "5", "--out", tmp_path / "few")
    assert results(tmp_path / "few")["overall"]["solutions"] == 10


def test_shares_of_right_rollouts_are_labels_where_there_are_no_others(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    rows = judged_rows(12, 2)
    for row in rows:
        first = row.pop("first_error")
        first = len(row["steps"]) if first < 0 else first
        row["probabilities"] = [0.75 if i < first else 0.25 for i in range(len(row["steps"]))]
    path = write(tmp_path / "shares.jsonl", rows)
    printed = assay_prints("evaluate", process_run, "--suite", path, "--out", tmp_path / "out")
    record = results(tmp_path / "out")
    steps = sum(len(row["steps"]) for row in rows)
    assert (record["labels_from_shares"], record["overall"]["steps"]) == (steps, steps)
    assert f"{steps} labels are from shares of right rollouts" in printed


def test_rows_that_cannot_be_read_are_left_out_and_counted_where_asked(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    rows = judged_rows(8, 2)
    rows[3]["steps"][0] = " "
    path = write(tmp_path / "blank.jsonl", rows)
    words = ["evaluate", process_run, "--suite", path, "--on-bad-row", "skip"]
    printed = assay_prints(*words, "--out", tmp_path / "out")
    record = results(tmp_path / "out")
    assert (record["dropped"], record["overall"]["solutions"]) == ({"blank step": 1}, 7)
    assert "rows dropped: 1 blank step" in printed


# --- ordinary suites ------------------------------------------------------------------------------


def test_a_process_model_is_evaluated_on_pairs_and_best_of_n(
    process_run: Path, assay_prints: Prints, tmp_path: Path
) -> None:
    pairs = write(
        tmp_path / "pairs.jsonl",
        [
            {
                "prompt": f"Ask {i}",
                "chosen": f"a clear step\n\na kind step {i}",
                "rejected": f"a rude step\n\na kind step {i}",
            }
            for i in range(12)
        ],
    )
    words = ["evaluate", process_run, "--suite", pairs, "--probes", "4"]
    printed = assay_prints(*words, "--out", tmp_path / "product")
    record = results(tmp_path / "product")
    Draft202012Validator(SCHEMA).validate(record)
    assert record["reduction"] == "product"
    assert record["probes"]
    assert record["model_digest"].endswith("truncate-left product")
    assert "product of its step rewards" in (tmp_path / "product" / "report.html").read_text()
    assert "thresholds" not in printed
    assay_prints(*words, "--reduction", "min", "--out", tmp_path / "min")
    assert results(tmp_path / "min")["reduction"] == "min"
    scorer = load_step_scorer(process_run)
    products, lowest = (read(tmp_path / name / "scores.jsonl") for name in ("product", "min"))
    row = json.loads(pairs.read_text().splitlines()[0])
    solution = Solutions.load([{"prompt": row["prompt"], "response": row["chosen"]}])
    (steps,) = scorer.score_steps(solution).rewards
    assert len(steps) == 2
    assert products[0]["rewards"][0] == pytest.approx(steps.prod(), abs=1e-5)
    assert lowest[0]["rewards"][0] == pytest.approx(steps.min(), abs=1e-5)
    texts = ["a clear step", "a rude step", "a vague step\n\na rude step"]
    of_n = [{"prompt": f"Ask {i}", "responses": texts, "correct": 0} for i in range(6)]
    suite = write(tmp_path / "of_n.jsonl", of_n)
    assay_prints("evaluate", process_run, "--suite", suite, "--out", tmp_path / "of_n")
    assert results(tmp_path / "of_n")["best_of_n"]["n"] == [1, 2, 3]


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["PROCESS", "--suite", "unjudged"], "has 4 solutions and no judged step; step rewards"),
        (["PROCESS", "--suite", "answers"], "and no judged step"),
        (
            ["OUTCOME", "--suite", "judged"],
            "run rewards whole responses, and in judged.jsonl steps",
        ),
        (
            ["OUTCOME", "--suite", "processbench", "--data", "bench"],
            "rewards whole responses, and in processbench steps are judged; name a process model",
        ),
        (["--suite", "judged", "--scores", "longer"], "line 2 has 9 step rewards, but solution Pr"),
        (
            ["--suite", "judged", "--scores", "fewer"],
            "has the step rewards of 3 solutions where 4 ",
        ),
        (["--suite", "judged", "--scores", "strange"], "step 1 has reward 1.5; wanted a probabil"),
        (["--suite", "judged", "--scores", "other"], "has the step rewards of 'x', but solution 1"),
        (["--suite", "judged", "--scores", "judged"], "line 1 has no list 'step_rewards'; wanted"),
        (
            ["PROCESS", "--suite", "judged", "--tune", "judged"],
            "All 4 solutions of judged.jsonl are",
        ),
        (
            ["PROCESS", "--suite", "judged", "--train", "judged"],
            "All 4 solutions of judged.jsonl are of",
        ),
        (["PROCESS", "--suite", "judged", "--reduction", "min"], "--reduction makes one reward of"),
        (
            ["PROCESS", "--suite", "judged", "--calibrate-on", "pairs"],
            "--tune finds their threshold",
        ),
        (["PROCESS", "--suite", "judged", "--aggregator", "mean"], "An aggregator is for an ensem"),
        (["PROCESS", "--suite", "judged", "--data", "bench"], "--data is for suites by name"),
        (
            ["PROCESS", "--suite", "pairs", "--on-bad-row", "skip"],
            "every row of pairs.jsonl counts",
        ),
        (["PROCESS", "--suite", "blank"], "blank.jsonl line 2: step 2 of 2 in 'steps' is blank"),
        (
            ["PROCESS", "--suite", "pairs", "--tune", "judged"],
            "pairs.jsonl rewards responses; leave",
        ),
        (
            ["OUTCOME", "--suite", "pairs", "--reduction", "min"],
            "a reduction is of steps, leave it",
        ),
        (
            ["--suite", "pairs", "--scores", "fewer", "--reduction", "min"],
            "A reduction is for a pro",
        ),
        (
            ["PROCESS", "--suite", "processbench", "--data", "bench", "--train", "judged"],
            "processbench by name stands beside chance alone",
        ),
        (
            ["--suite", "processbench", "--scores", "s", "--tune", "judged"],
            "saved scores have none",
        ),
        (
            ["PROCESS", "--suite", "processbench", "--data", "unknown"],
            "solution 'aime-1': 'aime' is no subset of processbench; it has gsm8k",
        ),
        (
            ["PROCESS", "--suite", "processbench", "--data", "judged"],
            "is no subset of processbench",
        ),
        (["PROCESS", "--suite", "prmbench", "--data", "nameless"], "names no subset; PRMBench has"),
        (
            ["PROCESS", "--suite", "prmbench", "--data", "half"],
            "step 2 of solution '1' is not judged; PRMBench counts every step",
        ),
        (
            ["PROCESS", "--suite", "processbench", "--data", "pairs"],
            "the row is of a preference pair",
        ),
    ],
)
def test_requests_that_cannot_work_say_so(
    process_run: Path,
    trained_run: Path,
    assay_says: Says,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    judged = judged_rows(4, 2)
    rewards = [[0.5] * len(row["steps"]) for row in judged]
    saved = [{"id": row["id"], "step_rewards": r} for row, r in zip(judged, rewards, strict=True)]
    bench = processbench_rows(4)
    made = {
        "judged": judged,
        "unjudged": [{k: r[k] for k in ("prompt", "steps", "correct")} for r in judged],
        "answers": [{"prompt": r["prompt"], "response": "\n\n".join(r["steps"])} for r in judged],
        "bench": bench,
        "unknown": [{**bench[0], "id": "aime-1"}],
        "nameless": [{"prompt": "Q", "steps": ["a", "b"], "labels": [1, 1]}],
        "half": [{"prompt": "Q", "steps": ["a", "b"], "labels": [1, None], "subset": "circular"}],
        "longer": [saved[0], {**saved[1], "step_rewards": [0.5] * 9}, *saved[2:]],
        "fewer": saved[:3],
        "blank": [judged[0], {**judged[1], "steps": ["a", " "]}],
        "strange": [{**saved[0], "step_rewards": [1.5] * len(rewards[0])}, *saved[1:]],
        "other": [{**saved[0], "id": "x"}, *saved[1:]],
        "pairs": [{"prompt": "Q", "chosen": "a", "rejected": "b"}],
    }
    for name, rows in made.items():
        write(tmp_path / f"{name}.jsonl", rows)
    names = {name: f"{name}.jsonl" for name in made} | {
        "PROCESS": str(process_run),
        "OUTCOME": str(trained_run),
    }
    code, said = assay_says("evaluate", *(names.get(w, w) for w in words), "--out", "out")
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_evaluations_of_solutions_are_not_compared(
    judged_file: Path, assay_prints: Prints, assay_says: Says, tmp_path: Path
) -> None:
    saved = [{"step_rewards": [[0.5] * len(row["steps"])]} for row in judged_rows(24, 2)]
    scores = write(tmp_path / "saved.jsonl", saved)
    for name in "ab":
        words = ["evaluate", "--suite", judged_file, "--scores", scores]
        assay_prints(*words, "--out", tmp_path / name)
    code, said = assay_says("compare", tmp_path / "a", tmp_path / "b")
    assert (code, "hold their figures and intervals side by side" in said) == (2, True)


def test_the_pages_are_not_wider_than_their_windows(
    process_run: Path,
    judged_file: Path,
    assay_prints: Prints,
    tmp_path: Path,
    measured_pages: Any,
) -> None:
    data = write(tmp_path / "bench.jsonl", processbench_rows(20))
    tune = write(tmp_path / "tune.jsonl", processbench_rows(20, 3, "Other"))
    words = ["evaluate", process_run, "--model", "m" * 90, "--tune", tune]
    assay_prints(*words, "--suite", "processbench", "--data", data, "--out", tmp_path / "a")
    assay_prints(*words, "--suite", judged_file, "--out", tmp_path / "b")
    pages = []
    for name in "ab":
        pages.append(tmp_path / f"{name}.html")
        pages[-1].write_text((tmp_path / name / "report.html").read_text())
    for inside, window, letters, narrowest in measured_pages(pages, tmp_path):
        assert inside <= window
        assert letters > 100
        assert narrowest >= 600
