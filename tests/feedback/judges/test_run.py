"""The verb assay judge, against a local model and an endpoint that misbehaves."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import ProcessEndpoint, fake_endpoint

from assay import PreferencePairs
from assay.cli import main
from assay.feedback.judges import run as judge_run

PRICES = ("--prompt-price", "1", "--response-price", "2")


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def candidates(path: Path, count: int, moods: tuple[str, ...] = ()) -> Path:
    """Rows of two responses; the first prompts ask the endpoint to misbehave."""
    prompts = [f"Question {i}, mood:{mood}" for i, mood in enumerate(moods)]
    prompts += [f"Question {i}" for i in range(len(moods), count)]
    return write(path, [{"id": str(i), "prompt": p, "responses": [f"yes {i}", f"no {i}"]}
                        for i, p in enumerate(prompts)])  # fmt: skip


def verb(data: Path, out: Path, url: str, *flags: str) -> int:
    fast = ["--timeout-seconds", "0.3", "--deadline-seconds", "2", "--retries", "1"]
    return main(
        ["judge", str(data), "--out", str(out), "--endpoint", url, "--endpoint-model", "m",
         *fast, *flags]
    )  # fmt: skip


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def outcomes(path: Path) -> dict[str, str]:
    return {row["id"]: row["judged"]["pairs"][0]["outcome"] for row in rows_of(path)}


def test_judged_rows_train_as_soft_labels(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 5), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    # the endpoint always likes the first: both orders make that an even vote
    assert report["outcomes"]["inconsistent"] == 5
    assert report["coverage"] == 1.0
    assert report["means"] == {"log-probabilities": 10}
    pairs = PreferencePairs.load(out)
    assert [p.probability for p in pairs] == [0.5] * 5
    row = rows_of(out)[0]
    first = row["judged"]["pairs"][0]["answers"][0]["probabilities"]
    assert first[0] == pytest.approx(1 / (1 + 2.718281828 ** (-1.6 + 0.25)), rel=1e-6)
    assert row["judged"]["pack"].startswith("plain 1 (")


MOODS = ("error", "page", "error-body", "empty", "close", "truncated", "hang")


def test_every_failure_is_counted_and_none_is_a_tie(tmp_path: Path, capsys: Any) -> None:
    data = candidates(tmp_path / "c.jsonl", len(MOODS) + 3, MOODS)
    out = tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, "--in-flight", "1", "--json") == 1
        assert not out.exists()
        said = capsys.readouterr().err
        assert "Only 0.300 of 10 pairs were judged, wanted 0.95: 7 http-error" in said
        assert "Traceback" not in said
        assert (
            verb(data, out, endpoint.url, "--in-flight", "1", "--min-coverage", "0", "--json") == 0
        )
    report = json.loads(capsys.readouterr().out)
    assert report["outcomes"] == {
        "verdict": 0, "tie": 0, "inconsistent": 3, "refused": 0, "unparsable": 0, "http-error": 7,
        "not-asked": 0,
    }  # fmt: skip
    assert set(outcomes(out)) == {"7", "8", "9"}
    failed = Path(report["failed"])
    assert failed == tmp_path / "judged.failed.jsonl"
    assert set(outcomes(failed).values()) == {"http-error"}
    assert [row["preferences"] for row in rows_of(failed)] == [[]] * 7


def test_the_floor_of_coverage_is_where_it_was_put(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 10, ("error",)), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, "--min-coverage", "0.91") == 1
        assert "Only 0.900 of 10 pairs were judged, wanted 0.91" in capsys.readouterr().err
        assert not out.exists()
        assert verb(data, out, endpoint.url, "--min-coverage", "0.9") == 0
    assert len(rows_of(out)) == 9


@pytest.mark.parametrize("mood", ["null-logprobs", "no-logprobs", "wrong-model", "no-usage"])
def test_a_reply_that_lacks_something_is_used_for_what_it_has(
    tmp_path: Path, capsys: Any, mood: str
) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 2, (mood,)), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["outcomes"]["inconsistent"] == 2
    means = {"log-probabilities": 2, "text": 2} if "logprobs" in mood else {"log-probabilities": 4}
    assert report["means"] == means
    assert report["usage"]["uncounted"] == (2 if mood == "no-usage" else 0)
    assert ("another" in report["usage"]["models"]) == (mood == "wrong-model")


def test_storms_that_pass_are_waited_out(tmp_path: Path, capsys: Any) -> None:
    data = candidates(tmp_path / "c.jsonl", 3, ("rate-after*1", "busy*1"))
    out = tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, "--json") == 0
        paid = endpoint.paid
    report = json.loads(capsys.readouterr().out)
    assert report["coverage"] == 1.0
    assert report["usage"]["retries"] == 4
    assert set(paid.values()) == {1} or max(paid.values()) <= 5  # the probe asks one prompt often


def test_the_cap_on_cost_holds_and_what_was_not_asked_is_no_tie(
    tmp_path: Path, capsys: Any
) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 60), tmp_path / "judged.jsonl"
    flags = ("--max-cost", "0.01", "--in-flight", "16", "--min-coverage", "0", "--json")
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, *PRICES, *flags) == 0
        spent = (endpoint.prompt_tokens * 1 + endpoint.response_tokens * 2) / 1e6
    report = json.loads(capsys.readouterr().out)
    assert 0 < spent <= 0.01
    assert report["usage"]["cost"] == pytest.approx(spent)
    assert report["outcomes"]["not-asked"] > 0
    assert report["outcomes"]["tie"] == report["outcomes"]["verdict"] == 0
    assert report["outcomes"]["not-asked"] + report["outcomes"]["inconsistent"] == 60


def test_a_dry_run_asks_nothing_and_bounds_the_cost(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 7), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url, *PRICES, "--dry-run", "--json") == 0
        assert sum(endpoint.asked.values()) == 0
        plan = json.loads(capsys.readouterr().out)
        assert (plan["rows"], plan["questions"], plan["estimate"]["requests"]) == (7, 14, 14)
        assert not list(tmp_path.glob("judged*"))
        assert verb(data, out, endpoint.url, *PRICES, "--json") == 0
        cost = json.loads(capsys.readouterr().out)["usage"]["cost"]
    assert cost <= plan["estimate"]["cost_at_most"]


@pytest.mark.medium
def test_killed_and_begun_again_nothing_is_paid_twice(tmp_path: Path) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 150), tmp_path / "judged.jsonl"
    endpoint = ProcessEndpoint("--latency", "0.02")
    command = [sys.executable, "-m", "assay", "judge", str(data), "--out", str(out), "--endpoint",
               endpoint.url, "--endpoint-model", "m", "--in-flight", "4"]  # fmt: skip
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        for wanted in (60, 140, 220):
            process = subprocess.Popen(command, **quiet)  # type: ignore[call-overload]
            until = time.monotonic() + 60
            while sum(endpoint.totals()["paid"].values()) < wanted:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.005)
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert not out.exists()
        assert subprocess.run(command, check=False, **quiet).returncode == 0  # type: ignore[call-overload]
        paid = endpoint.totals()["paid"]
        assert subprocess.run(command, check=False, **quiet).returncode == 0  # type: ignore[call-overload]
        assert endpoint.totals()["paid"] == paid
    finally:
        endpoint.close()
    asked = {prompt: n for prompt, n in paid.items() if "Question" in prompt}
    assert len(asked) == 300
    # what was on its way when the process died nobody can know of: at most in_flight a kill
    assert sum(n - 1 for n in asked.values()) <= 3 * 4
    assert len(rows_of(out)) == 150


def test_a_local_judge_is_not_asked_twice(
    tmp_path: Path, tiny_backbone: Path, capsys: Any, own_cache: Path
) -> None:
    pack = tmp_path / "short.toml"
    pack.write_text(
        'name = "short"\nversion = 3\n[questions]\npair = "{{ responses|join(\'|\') }}"\n'
    )
    data, out = candidates(tmp_path / "c.jsonl", 4), tmp_path / "judged.jsonl"
    flags = [
        "judge",
        str(data),
        "--out",
        str(out),
        "--judge",
        str(tiny_backbone),
        "--pack",
        str(pack),
    ]
    assert main([*flags, "--json"]) == 0
    first = json.loads(capsys.readouterr().out)
    text = out.read_text()
    assert (first["kept"], first["questions"]) == (0, 8)
    assert main([*flags, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == 8
    assert out.read_text() == text


def test_peoples_labels_are_kept_beside_the_judges(tmp_path: Path) -> None:
    rows = [{"prompt": "?", "chosen": "good", "rejected": "bad"},
            {"prompt": "!", "chosen": "yes", "rejected": "no", "probability": 0.75}]  # fmt: skip
    data, out = write(tmp_path / "p.jsonl", rows), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url) == 0
    assert [row["human"] for row in rows_of(out)] == [
        [{"pair": [0, 1], "share": 1.0}], [{"pair": [0, 1], "share": 0.75}],
    ]  # fmt: skip


def test_the_report_says_how_good_the_judge_is(tmp_path: Path, capsys: Any) -> None:
    rows = [
        {"instruction": f"Question {i}", "input": "", "response_1": f"one {i}",
         "response_2": f"two {i} {i}", "votes": [1, 1, 2 if i % 2 else 1]}
        for i in range(6)
    ]  # fmt: skip
    data, out = write(tmp_path / "p.jsonl", rows), tmp_path / "judged.jsonl"
    page = tmp_path / "judge.html"
    with fake_endpoint() as endpoint:
        flags = ("--repeats", "2", "--orders", "fixed", "--page", str(page), "--json")
        assert verb(data, out, endpoint.url, *flags) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    # shown in their own order, and liked because it stands first: it agrees by chance of the file
    assert report["agreement"]["accuracy"]["value"] == 1.0
    assert report["comparisons"] == 6
    assert report["stability"]["same_choice"]["value"] == 1.0
    assert "Question" not in page.read_text()
    assert "<html" in page.read_text()


def test_other_tasks_run_to_rows_that_train(tmp_path: Path, capsys: Any) -> None:
    data = write(
        tmp_path / "c.jsonl",
        [{"id": "x", "prompt": "?", "responses": ["one", "two", "three"]}] * 2,
    )
    checklist = tmp_path / "list.txt"
    checklist.write_text("It is short.\n\nIt is true.\n")
    references = write(tmp_path / "r.jsonl", [{"id": "x", "reference": "one"}])
    with fake_endpoint() as endpoint:
        for task, more in {
            "choice": ["--references", str(references)],
            "pair": ["--ties", "--principles"],
        }.items():
            out = tmp_path / f"{task}.jsonl"
            assert verb(data, out, endpoint.url, "--task", task, *more) == 0
            assert len(PreferencePairs.load(out, deduplicate=False)) == 6
    with fake_endpoint() as endpoint:
        # it says A whatever it is asked: no rating, and no yes or no
        for task, more in {"rating": [], "checklist": ["--checklist", str(checklist)]}.items():
            out = tmp_path / f"{task}.jsonl"
            assert verb(data, out, endpoint.url, "--task", task, *more) == 1
            assert "unparsable" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "wanted"),
    [
        (["--judge", "smollm2-135m"], "give one of the two"),
        (["--min-coverage", "2"], "a share from 0 to 1"),
        (["--task", "checklist"], "--checklist FILE"),
        (["--task", "checklist", "--checklist", "none.txt"], "not a file"),
        (["--samples", "3"], "copies of one"),
        (["--max-cost", "1"], "no prices"),
        (["--pack", "none"], "no prompt pack"),
        (["--in-flight", "0"], "1 or more"),
        (["--task", "rating", "--orders", "fixed"], "--orders is for the tasks pair and choice"),
        (["--task", "choice", "--ties"], "--ties is for the task pair, and the task choice would"),
        (
            ["--task", "choice", "--dimensions", "x"],
            "--dimensions is for the tasks pair and rating",
        ),
        (["--checklist", "list.txt"], "--checklist is for the task checklist"),
        (["--task", "checklist", "--principles"], "--principles is for the tasks pair and choice"),
        (["--task", "rating", "--repeats", "2"], "--repeats is for the task pair"),
        (["--task", "rating", "--inconsistent", "drop"], "--inconsistent is for the tasks"),
    ],
)
def test_bad_settings_are_one_sentence(
    tmp_path: Path, capsys: Any, flags: list[str], wanted: str
) -> None:
    data = candidates(tmp_path / "c.jsonl", 1)
    assert verb(data, tmp_path / "out.jsonl", "http://127.0.0.1:9/v1", *flags) == 2
    said = capsys.readouterr().err
    assert wanted in said
    assert len(said.strip().splitlines()) == 1
    assert not list(tmp_path.glob("out*"))


@pytest.mark.parametrize("task", ["step", "first-error"])
@pytest.mark.parametrize(
    "flags",
    [["--orders", "fixed"], ["--ties"], ["--dimensions", "x"], ["--checklist", "l.txt"],
     ["--principles"], ["--repeats", "2"], ["--inconsistent", "drop"], ["--page", "p.html"]],
)  # fmt: skip
def test_judging_of_steps_refuses_what_it_would_not_heed(
    tmp_path: Path, capsys: Any, task: str, flags: list[str]
) -> None:
    data = write(tmp_path / "s.jsonl", [{"prompt": "?", "steps": ["one", "two"]}])
    url = "http://127.0.0.1:9/v1"
    assert verb(data, tmp_path / "out.jsonl", url, "--task", task, *flags) == 2
    said = capsys.readouterr().err
    assert f"{flags[0]} is for the task" in said
    assert f"the task {task} would not heed it" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    "flags",
    [["--means", "text"], ["--rationale"], ["--samples", "2"], ["--temperature", "1"],
     ["--max-tokens", "9"]],
)  # fmt: skip
def test_a_local_judge_refuses_what_is_for_endpoints(
    tmp_path: Path, capsys: Any, flags: list[str]
) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 1), tmp_path / "out.jsonl"
    assert main(["judge", str(data), "--out", str(out), "--judge", "smollm2-135m", *flags]) == 2
    said = capsys.readouterr().err
    assert f"{flags[0]} is for a judge behind an endpoint" in said
    assert len(said.strip().splitlines()) == 1


def test_a_pipe_is_read_once(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", 3), tmp_path / "judged.jsonl"
    pipe = tmp_path / "pipe.jsonl"
    os.mkfifo(pipe)
    # one writer and one end: whoever opens it again waits for ever
    writing = threading.Thread(target=lambda: pipe.write_bytes(data.read_bytes()), daemon=True)
    writing.start()
    with fake_endpoint() as endpoint:
        assert verb(pipe, out, endpoint.url, "--json") == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 3
    writing.join(5)
    assert judge_run.count_rows([str(data)], None) == 3
    assert judge_run.count_rows([str(data)], 2) == 2


def test_bad_rows_are_named_or_counted(tmp_path: Path, capsys: Any) -> None:
    rows = [{"prompt": "?", "responses": ["a", "b"]}, {"prompt": "?", "responses": "a"},
            {"prompt": "?", "responses": ["a"]}]  # fmt: skip
    data, out = write(tmp_path / "c.jsonl", rows), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:
        assert verb(data, out, endpoint.url) == 2
        assert "c.jsonl line 2" in capsys.readouterr().err
        assert verb(data, out, endpoint.url, "--on-bad-row", "skip", "--json") == 0
    dropped = json.loads(capsys.readouterr().out)["dropped"]
    assert sum(dropped.values()) == 2
    assert verb(data, data, "http://127.0.0.1:9/v1") == 2
    assert "name another output" in capsys.readouterr().err
    assert judge_run.answers_of(out).exists()
