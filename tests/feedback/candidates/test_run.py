"""The verb assay generate: prompts in, candidates that later verbs read out, nothing twice."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main
from assay.feedback.candidates import run as module
from assay.feedback.candidates.local import PolicySource
from assay.feedback.judges.candidates import read_candidates
from assay.feedback.judges.rows import judged_row
from assay.feedback.judges.tasks import Judged
from assay.formats.tally import Tally

pytestmark = pytest.mark.usefixtures("own_cache")
Chat = Callable[..., dict[str, Any]]


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    rows = [
        {"prompt": "Write about tea", "id": "tea", "answer": "4", "other": 1},
        {"instruction": "Write about", "input": "rain"},
        {"prompt": [{"role": "system", "content": "Own."}, {"role": "user", "content": "Maps?"}]},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def texts(row: dict[str, Any]) -> list[str]:
    return [response["messages"][0]["content"] for response in row["responses"]]


def verb(prompts: Path, *flags: object) -> int:
    return main(["generate", str(prompts), *map(str, flags)])


def asking(server: Any, *models: str) -> list[str]:
    return ["--endpoint", server.url, "--models", *(models or ("m",))]


def echo(body: dict[str, Any]) -> dict[str, Any]:
    """An answer that is a function of what is asked."""
    content = f"{body['model']} says {body.get('seed')}"
    choice = {"message": {"role": "assistant", "content": content}, "finish_reason": "stop"}
    return {"choices": [choice], "usage": {"prompt_tokens": 7, "completion_tokens": 5}}


SMALL = ("--max-new-tokens", 6)


@pytest.mark.medium
def test_policies_and_models_write_and_provenance_says_who_and_how(
    prompts: Path,
    tiny_backbone: Path,
    server: Any,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    server.script = [echo]
    out = tmp_path / "out.jsonl"
    flags = (
        *("--out", out, "--policy", tiny_backbone, *asking(server, "m", "n")),
        *("--temperature", 0.7, 1, "--samples", 1, "--system", "Be brief.", *SMALL, "--json"),
    )
    assert verb(prompts, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    rows = rows_of(out)
    assert rows[0]["id"] == "tea"
    assert rows[0]["answer"] == "4"
    assert "other" not in rows[0]
    assert [row["prompt"][-1]["content"] for row in rows] == [
        "Write about tea", "Write about\n\nrain", "Maps?",
    ]  # fmt: skip
    assert report["by_model"] == {tiny_backbone.name: 6, "m": 6, "n": 6}
    assert (report["prompts"], report["responses"], report["wanted"]) == (3, 18, 18)
    assert report["coverage"] == 1
    assert report["usage"]["requests"] == 12 + 2  # a question to each model about what it takes
    said = [r["provenance"] for r in rows[0]["responses"]]
    local = next(p for p in said if p["model"] == tiny_backbone.name)
    assert len(local["digest"]) == 64
    assert local["max_new_tokens"] == 6
    assert local["system"] == "Be brief."
    remote = next(p for p in said if p["model"] == "n" and p["temperature"] == 0.7)
    assert remote["endpoint"] == server.url
    assert f"n says {remote['seed']}" in texts(rows[0])
    assert remote["finish"] == "stop"
    assert all("system" not in r["provenance"] for r in rows[2]["responses"])
    assert {b["messages"][0]["content"] for b in server.bodies} == {
        "Say yes.", "Be brief.", "Own.",
    }  # fmt: skip
    # everything is there already: nothing is asked or written, and the file is the same
    before, asked = out.read_bytes(), len(server.bodies)
    assert verb(prompts, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert out.read_bytes() == before
    assert len(server.bodies) == asked
    assert report["kept"] == report["drawn"]
    assert report["response_tokens"] == 0


@pytest.mark.medium
def test_shuffled_prompts_get_the_same_whatever_the_batch(
    prompts: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    lines = prompts.read_text().splitlines(keepends=True)
    found = []
    for name, order, size in (("a", (0, 1, 2), 16), ("b", (2, 0, 1), 2)):
        path, out = tmp_path / f"{name}.in.jsonl", tmp_path / f"{name}.jsonl"
        path.write_text("".join(lines[i] for i in order))
        flags = ("--out", out, "--policy", tiny_backbone, "--batch-size", size, *SMALL)
        assert verb(path, *flags, "--samples", 3) == 0
        found.append({row["id"]: row for row in rows_of(out)})
    assert found[0] == found[1]
    assert len(found[0]) == 3


def test_later_verbs_read_it_and_keep_who_wrote_it(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [echo]
    out = tmp_path / "out.jsonl"
    assert verb(prompts, "--out", out, *asking(server, "m", "n"), "--samples", 2) == 0
    comparisons = [c.comparison for c in read_candidates([str(out)], Tally())]
    assert len(comparisons) == 3
    said = comparisons[0].provenance
    assert said is not None
    assert sorted(p["model"] for p in said) == ["m", "m", "n", "n"]
    assert [dict(p) for p in said] == [r["provenance"] for r in rows_of(out)[0]["responses"]]

    judged = judged_row(Judged(comparisons[0], (), ()), "judge", {})
    assert [r["provenance"] for r in judged["responses"]] == [dict(p) for p in said]


def test_candidates_are_scored_and_chosen_among(prompts: Path, server: Any, tmp_path: Path) -> None:
    from assay.score.files import row_conversations

    server.script = [echo]
    out = tmp_path / "out.jsonl"
    assert verb(prompts, "--out", out, *asking(server), "--samples", 2) == 0
    row = rows_of(out)[0]
    conversations = row_conversations(row, "row 1")
    assert [c.response_text for c in conversations] == texts(row)
    assert conversations[0].prompt[0].content == "Write about tea"


def test_a_store_takes_them_once_with_their_models(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sqlalchemy import select

    from assay.store import tables as t
    from assay.store.store import PreferenceStore

    server.script = [echo]
    db = tmp_path / "prefs.db"
    flags = ("--db", db, *asking(server, "m", "n"), "--samples", 1)
    assert verb(prompts, *flags, "--project", "p") != 0
    assert "p" in capsys.readouterr().err
    assert server.bodies == []  # found out before anything is paid for
    flags = (*flags, "--project", "p", "--create")
    assert verb(prompts, *flags) == 0
    assert "3 comparisons with 6 responses" in capsys.readouterr().out
    assert (tmp_path / "prefs.db.replies.sqlite").exists()
    assert verb(prompts, *flags) == 0
    assert "which are not added again" in capsys.readouterr().out
    with PreferenceStore.open(db, create=False) as store:
        rows = store.read(
            lambda c: c.execute(select(t.responses.c.model, t.responses.c.provenance)).all()
        )
        sources = store.read(lambda c: c.scalars(select(t.imports.c.source)).all())
    assert sorted(row.model for row in rows) == ["m"] * 3 + ["n"] * 3
    assert {row.provenance["endpoint"] for row in rows} == {server.url}
    assert list(sources) == ["prompts.jsonl"]


def test_a_failed_generation_leaves_the_store_as_it_was(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from assay.store.store import PreferenceStore

    server.script = [failing("tea")]
    db = tmp_path / "prefs.db"
    flags = ("--db", db, "--create", *asking(server), "--samples", 2)
    assert verb(prompts, *flags) == 1
    assert "samples failed" in capsys.readouterr().err
    if db.exists():
        with PreferenceStore.open(db, create=False) as store:
            assert store.projects() == []
    # a prompt with a single response is no comparison
    flags = ("--db", tmp_path / "other.db", *flags[2:])
    server.script = [lambda body: echo({**body, "seed": "always"})]
    assert verb(prompts, *flags) == 2
    assert "No prompt got two different responses" in capsys.readouterr().err


def failing(word: str) -> Callable[[dict[str, Any]], Any]:
    """Refuses prompts with a word."""

    def answer(body: dict[str, Any]) -> Any:
        if word in body["messages"][-1]["content"]:
            return 400, {}, b"no"
        return echo(body)

    return answer


def test_failures_are_counted_and_the_floor_holds(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [failing("tea")]
    out = tmp_path / "out.jsonl"
    flags = ("--out", out, *asking(server), "--samples", 2)
    assert verb(prompts, *flags) == 1
    said = capsys.readouterr().err
    assert "1 of 6 samples failed" in said
    assert "1 http" in said
    assert said.count("\n") == 1
    assert not out.exists()
    assert verb(prompts, *flags, "--min-coverage", 0.6, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["failures"] == {"http": 2}
    assert report["coverage"] == pytest.approx(4 / 6)
    assert (report["unanswered"], report["rows"], report["short"]) == (1, 2, 1)
    assert report["left_out"] == {"no response": 1}
    assert [row["id"] for row in rows_of(out)] != ["tea"]
    (lost,) = rows_of(tmp_path / "out.failed.jsonl")
    assert (lost["id"], lost["failed"], lost["reason"]) == ("tea", {"http": 2}, "no response")
    assert Path(report["failed"]).name == "out.failed.jsonl"
    # what came is not asked again when the endpoint has come round
    server.script = [echo]
    server.bodies.clear()
    assert verb(prompts, *flags) == 0
    assert [b["messages"][-1]["content"] for b in server.bodies] == ["Write about tea"] * 2


def test_repeated_and_empty_responses_are_replaced_counted_and_reported(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        asked = body["messages"][-1]["content"]
        if asked == "Maps?":
            return echo({**body, "seed": "always"})
        if "rain" in asked:
            found = echo(body)
            found["choices"][0]["message"]["content"] = ""
            return found
        return echo(body)

    server.script = [answer]
    out = tmp_path / "out.jsonl"
    flags = ("--out", out, *asking(server), "--samples", 2, "--attempts", 1)
    assert verb(prompts, *flags, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["unusable"]["same"] == 2
    assert report["unusable"]["empty"] == 4
    assert (report["short"], report["single"], report["unanswered"]) == (2, 1, 1)
    assert report["distinct"]["value"] == pytest.approx(3 / 5)
    assert report["distinct"]["n"] == 5
    rows = rows_of(out)
    assert [len(row["responses"]) for row in rows] == [2, 1]
    tally = Tally()
    assert len(list(read_candidates([str(out)], tally))) == 1
    assert tally.dropped == {"a single response": 1}
    assert verb(prompts, *flags, "--fewer", "drop") == 0
    assert [row["id"] for row in rows_of(out)] == ["tea"]
    said = capsys.readouterr().out
    assert "1 fewer responses than wanted" in said
    assert "1 no response" in said
    assert verb(prompts, *flags, "--duplicates", "keep") == 0
    assert [len(row["responses"]) for row in rows_of(out)] == [2, 2]


def test_what_is_cut_is_kept_and_marked_or_replaced(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(body: dict[str, Any]) -> dict[str, Any]:
        found = echo(body)
        if body.get("seed", 0) % 2:
            found["choices"][0]["finish_reason"] = "length"
        return found

    server.script = [answer]
    out = tmp_path / "out.jsonl"
    flags = ("--out", out, *asking(server), "--samples", 4, "--json")
    assert verb(prompts, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["finish"]["length"] + report["finish"]["stop"] == 12
    ends = [r["provenance"]["finish"] for row in rows_of(out) for r in row["responses"]]
    assert ends.count("length") == report["finish"]["length"] > 0
    assert verb(prompts, *flags, "--cut", "drop", "--attempts", 9) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["finish"] == {"stop": 12}
    assert report["unusable"]["cut"] > 0


def test_a_dry_run_asks_nothing_and_says_what_it_would_cost(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [echo]
    out = tmp_path / "out.jsonl"
    flags = (
        *("--out", out, *asking(server, "m", "n"), "--policy", "no-such-policy"),
        *("--samples", 2, "--prompt-price", 1, "--response-price", 2, "--max-new-tokens", 100),
    )
    assert verb(prompts, *flags, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "18 samples of 3 prompts" in said
    assert "m: 6 requests" in said
    assert "a cost of" in said
    assert server.bodies == []
    assert not out.exists()
    flags = ("--out", out, *asking(server), "--samples", 2)
    assert verb(prompts, *flags) == 0
    capsys.readouterr()
    asked = len(server.bodies)
    assert verb(prompts, *flags, "--dry-run", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["estimates"]["m"]["cached"] == 6
    assert report["estimates"]["m"]["requests"] == 0
    assert len(server.bodies) == asked


def test_the_cap_on_cost_holds_over_all_models(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [echo]
    flags = (
        *("--out", tmp_path / "out.jsonl", *asking(server, "m", "n"), "--in-flight", 1),
        *("--prompt-price", 0, "--response-price", 1e6, "--max-new-tokens", 20),
    )
    assert verb(prompts, *flags, "--max-cost", 60) == 1
    said = capsys.readouterr().err
    assert "refused_budget" in said
    assert "60 is spent" in said
    spent = 5 * len(server.bodies)  # every answer has 5 tokens
    assert 60 - 20 < spent <= 60
    assert verb(prompts, *flags[:-6], "--max-cost", 60) == 2
    assert "no prices" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--policy", "x"], "Responses go to --out FILE"),
        (["--out", "OUT"], "Responses are written by --policy NAME"),
        (["--out", "OUT", "--endpoint", "http://127.0.0.1:9/v1"], "Responses are written by"),
        (["--out", "OUT", "--models", "m"], "Responses are written by"),
        (["--out", "OUT", "--models", "m", "--endpoint-model", "n"], "give one of the two"),
        (["--out", "OUT", "--policy", "x", "x"], "names one of x, x twice"),
        (["--out", "IN", "--policy", "x"], "is read and to be written"),
        (["--out", "out.txt", "--policy", "x"], "must end in .jsonl"),
        (["--db", "postgresql://h/d", "--policy", "x"], "give --out FILE too"),
        (["--out", "OUT", "--policy", "x", "--min-coverage", "2"], "wanted a share from 0 to 1"),
        (["--out", "OUT", "--policy", "x", "--stop", ""], "strings that are not empty"),
        (["--out", "OUT", "--policy", "x", "--samples", "0"], "wanted 1 or more samples"),
        (["--out", "OUT", "--policy", "no-such"], "no-such"),
        (["--db", "DB", "--create", "--policy", "x", "--samples", "1"], "the store takes 2 to 26"),
        (["--db", "DB", "--create", "--policy", "x", "--duplicates", "keep"], "takes 2 to 26"),
    ],
)
def test_what_cannot_work_is_refused_in_a_sentence(
    prompts: Path, tmp_path: Path, flags: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out, db = tmp_path / "out.jsonl", tmp_path / "prefs.db"
    names = {"OUT": str(out), "IN": str(prompts), "DB": str(db)}
    assert verb(prompts, *[names.get(flag, flag) for flag in flags]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not out.exists()
    assert not db.exists()


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"nothing": 1}', "wanted one of 'prompt'"),
        ("{torn", "line 2"),
        ('{"prompt": [{"role": "assistant", "content": "x"}]}', "ends with the assistant's"),
        ('{"prompt": "x", "id": [1]}', "'id' must be text"),
    ],
)
def test_a_bad_row_stops_before_anything_is_asked_or_is_counted(
    server: Any, tmp_path: Path, row: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server.script = [echo]
    path, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    path.write_text(f'{{"prompt": "x"}}\n{row}\n{{"prompt": "y"}}\n{{"prompt": "x"}}\n')
    flags = ("--out", out, *asking(server), "--samples", 2)
    assert verb(path, *flags) == 2
    assert said in capsys.readouterr().err
    assert server.bodies == []
    assert verb(path, *flags, "--on-bad-row", "skip", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert sum(report["left_out"].values()) == 1
    assert (report["prompts"], report["repeated_prompts"]) == (3, 1)
    rows = rows_of(out)
    assert texts(rows[0]) == texts(rows[2])  # equal prompts are asked once
    assert len(server.bodies) == 1 + 4
    assert verb(path, *flags, "--on-bad-row", "skip", "--limit", 1) == 0
    assert len(rows_of(out)) == 1


def test_no_prompt_and_no_response_at_all_are_errors(
    prompts: Path, server: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty, out = tmp_path / "empty.jsonl", tmp_path / "out.jsonl"
    empty.write_text("{}\n")
    flags = ("--out", out, *asking(server), "--on-bad-row", "skip")
    assert verb(empty, *flags) == 2
    assert "There is no prompt in empty.jsonl" in capsys.readouterr().err

    def silent(body: dict[str, Any]) -> dict[str, Any]:
        found = echo(body)
        found["choices"][0]["message"]["content"] = " "
        return found

    server.script = [silent]
    assert verb(prompts, *flags) == 2
    assert "None of 3 prompts got the responses" in capsys.readouterr().err
    assert not out.exists()


def test_a_prompt_too_long_for_a_policy_is_counted(
    tiny_backbone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "prompts.jsonl", tmp_path / "out.jsonl"
    path.write_text(json.dumps({"prompt": "x"}) + "\n" + json.dumps({"prompt": "y " * 3000}) + "\n")
    flags = ("--out", out, "--policy", tiny_backbone, "--samples", 2, *SMALL)
    assert verb(path, *flags) == 1
    assert "1 too_long (first: a prompt has" in capsys.readouterr().err
    assert verb(path, *flags, "--min-coverage", 0.5) == 0
    assert "2 too_long" in capsys.readouterr().out
    assert len(rows_of(out)) == 1


def test_policies_of_one_name_are_told_apart(
    prompts: Path, tiny_backbone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names: list[list[str]] = []

    def looked_at(_config: Any, _plan: Any, sources: Any, _prompts: Any) -> Any:
        names.append([source.name for source in sources])

    monkeypatch.setattr(module, "_run", looked_at)
    places = [tmp_path / "a" / "final", tmp_path / "b" / "final"]
    for place in places:
        shutil.copytree(tiny_backbone, place)
    out = tmp_path / "out.jsonl"
    verb(prompts, "--out", out, "--policy", places[0])
    verb(prompts, "--out", out, "--policy", *places)
    assert names == [["final"], [str(place) for place in places]]


@pytest.mark.slow
def test_killed_and_run_again_no_answer_is_paid_twice_and_the_file_is_the_same(
    prompts: Path, server: Any, tmp_path: Path, start_assay: Callable[..., Any]
) -> None:
    server.script = [echo]
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    flags = (*asking(server, "m", "n"), "--samples", "4", "--in-flight", "2")
    assert verb(prompts, "--out", whole, *flags) == 0
    wanted = len(server.bodies)
    server.bodies.clear()
    answered: list[str] = []
    numbers = count()

    def slow(body: dict[str, Any]) -> dict[str, Any]:
        """Twelve answers, and then none."""
        if next(numbers) >= 12:
            time.sleep(600)
        answered.append(json.dumps(body, sort_keys=True))
        return echo(body)

    server.script = [slow]
    command = start_assay(["generate", str(prompts), "--out", str(out), *flags])
    until = time.monotonic() + 120
    while len(server.bodies) < 14 and time.monotonic() < until:
        time.sleep(0.05)
    # two are in flight, so that the replies to all before them are kept
    command.process.kill()
    assert command.wait() == -9
    assert not out.exists()
    assert len(answered) == 12
    server.bodies.clear()
    server.script = [echo]
    assert verb(prompts, "--out", out, *flags) == 0
    assert out.read_bytes() == whole.read_bytes()
    again = [json.dumps(body, sort_keys=True) for body in server.bodies]
    assert not set(again) & set(answered)
    assert len(again) == len(set(again)) == wanted - 12


@pytest.mark.medium
def test_a_policy_killed_between_batches_goes_on(
    prompts: Path, tiny_backbone: Path, tmp_path: Path, start_assay: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    whole, out = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    flags = ("--policy", str(tiny_backbone), "--samples", "4", "--batch-size", "4",
             "--max-new-tokens", "6")  # fmt: skip
    assert verb(prompts, "--out", whole, *flags) == 0
    die = (
        "import os, signal\n"
        "from assay.feedback.candidates.local import PolicySource\n"
        "real, calls = PolicySource._batch, []\n"
        "def batch(self, jobs, ids):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 3:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return real(self, jobs, ids)\n"
        "PolicySource._batch = batch\n"
    )
    command = start_assay(["generate", str(prompts), "--out", str(out), *flags], before=die)
    assert command.wait() == -9
    batches: list[int] = []
    real = PolicySource._batch

    def counted(self: PolicySource, jobs: Any, ids: Any) -> Any:
        batches.append(len(jobs))
        return real(self, jobs, ids)

    monkeypatch.setattr(PolicySource, "_batch", counted)
    assert verb(prompts, "--out", out, *flags) == 0
    assert batches[0] == 4  # two of three batches were there
    assert sum(batches) < 8
    assert out.read_bytes() == whole.read_bytes()
