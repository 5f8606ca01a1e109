"""The verb assay panel: local and scripted members together, people's labels, a cap, a queue."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import ProcessEndpoint, fake_endpoint
from scripted import ScriptedServer

from assay import PreferencePairs
from assay.cli import main
from assay.store.store import PreferenceStore

Chat = Callable[..., dict[str, Any]]
FAST = 'retries = 0\nmeans = "text"\n'
WORDS = ("easy", "hard")
PRICES = "prompt_price = 1\nresponse_price = 2\n"


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def member(path: Path, url: str, model: str, more: str = "") -> str:
    path.write_text(f'endpoint = "{url}"\nendpoint_model = "{model}"\n{FAST}{more}')
    return str(path)


def candidates(path: Path, words: str, count: int, **more: Any) -> Path:
    """Pairs of a good and a bad response; the word of a prompt says who judges it how."""
    return write(
        path,
        [
            {"id": f"{words}{i}", "prompt": f"{words} {i}?", "responses": [f"good {i}", f"bad {i}"],
             **more}
            for i in range(count)
        ],
    )  # fmt: skip


def labelled(path: Path, count: int) -> Path:
    rows = [
        {"prompt": f"{WORDS[i % 2]} sample {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"}
        for i in range(count)
    ]
    return write(path, rows)


def opinion(chat: Chat) -> Callable[[dict[str, Any]], Any]:
    """kind: the good response, harsh: the bad one where the prompt says hard, gone: an error."""

    def answer(body: dict[str, Any]) -> Any:
        text = body["messages"][-1]["content"]
        model = body["model"]
        if "good" not in text:  # what the judge asks about the endpoint itself
            return chat("A", model=model)
        if model == "gone" or (model == "harsh" and "mute" in text):
            return 500, {}, b"no"
        is_first = text.index("good") < text.index("bad")
        wants_good = model == "kind" or "hard" not in text
        if model == "wrong":
            wants_good = False
        return chat("A" if is_first == wants_good else "B", model=model)

    return answer


def panel(data: Path, out: Path, members: list[str], *flags: str) -> int:
    return main(["panel", str(data), "--members", *members, "--out", str(out), *flags])


def test_local_and_endpoint_judges_make_one_panel(
    tmp_path: Path, tiny_backbone: Path, server: ScriptedServer, chat: Chat, capsys: Any
) -> None:
    server.script = [opinion(chat)]
    members = [
        str(tiny_backbone),
        member(tmp_path / "kind.toml", server.url, "kind", PRICES),
        member(tmp_path / "harsh.toml", server.url, "harsh"),
    ]
    data, out = candidates(tmp_path / "c.jsonl", "easy", 3), tmp_path / "judged.jsonl"
    pack = tmp_path / "short.toml"
    pack.write_text(
        'name = "short"\nversion = 1\n[questions]\n'
        "pair = \"{{ prompt }} {{ responses|join('|') }}\"\n"
    )
    flags = ("--pack", str(pack), "--json", "--page", str(tmp_path / "panel.html"))
    assert panel(data, out, members, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    local = tiny_backbone.name
    assert report["questions"] == {local: 6, "kind": 6, "harsh": 6}
    assert report["report"]["outcomes"] == {"verdict": 3, "tie": 0, "split": 0, "no-quorum": 0}
    # the tiny model knows nothing: about ½; the two others are sure
    pairs = PreferencePairs.load(out)
    assert [p.chosen[-1].content for p in pairs] == ["good 0", "good 1", "good 2"]
    row = rows_of(out)[0]
    p = {name: said["pairs"][0]["probability"] for name, said in row["members"].items()}
    assert p["kind"] == p["harsh"] == 1.0
    assert 0.0 < p[local] < 1.0
    assert row["preferences"][0]["probability"] == pytest.approx(sum(p.values()) / 3)
    assert row["panel"]["pairs"][0]["used"] == [local, "kind", "harsh"]
    assert row["panel"]["judges"]["kind"] == "kind"
    assert {j["annotator"] for j in row["judgments"]} >= {"kind", "harsh"}
    assert report["usage"][local] is None
    assert report["usage"]["harsh"]["cost"] is None
    assert report["usage"]["kind"]["cost"] > 0
    assert report["cost"] is None  # one price is not known
    page = (tmp_path / "panel.html").read_text()
    assert "<script" not in page
    assert "Is the panel any good?" in page
    # what was answered is not asked again, nor what the endpoint can do
    before = len(server.bodies)
    assert panel(data, out, members, *flags) == 0
    assert json.loads(capsys.readouterr().out)["kept"] == {local: 6, "kind": 6, "harsh": 6}
    assert len(server.bodies) == before


def test_a_member_that_fails_is_left_out_and_too_few_are_no_verdict(
    tmp_path: Path, server: ScriptedServer, chat: Chat, capsys: Any
) -> None:
    server.script = [opinion(chat)]
    names = ("kind", "harsh", "gone")
    members = [member(tmp_path / f"{n}.toml", server.url, n) for n in names]
    data = write(
        tmp_path / "c.jsonl",
        rows_of(candidates(tmp_path / "a.jsonl", "easy", 3))
        + rows_of(candidates(tmp_path / "b.jsonl", "mute", 1)),
    )
    out = tmp_path / "judged.jsonl"
    assert panel(data, out, members) == 1
    said = capsys.readouterr().err
    assert "Only 0.750 of 4 pairs had a quorum, wanted 0.95: gone lacks 4, harsh lacks 1" in said
    assert not out.exists()
    assert panel(data, out, members, "--min-coverage", "0.7", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["report"]["outcomes"] == {"verdict": 3, "tie": 0, "split": 0, "no-quorum": 1}
    assert report["rows_failed"] == 1
    assert report["report"]["members"]["gone"]["outcomes"]["http-error"] == 4
    (lost,) = rows_of(tmp_path / "judged.failed.jsonl")
    assert (lost["id"], lost["preferences"]) == ("mute0", [])
    assert lost["panel"]["pairs"][0]["left_out"] == {"harsh": "http-error", "gone": "http-error"}
    assert rows_of(out)[0]["panel"]["pairs"][0]["left_out"] == {"gone": "http-error"}
    assert report["for_people"] == 1


def test_what_the_panel_cannot_settle_goes_to_people_once(
    tmp_path: Path, server: ScriptedServer, chat: Chat, capsys: Any
) -> None:
    server.script = [opinion(chat)]
    members = [member(tmp_path / f"{n}.toml", server.url, n) for n in ("kind", "harsh")]
    data = write(
        tmp_path / "c.jsonl",
        rows_of(candidates(tmp_path / "a.jsonl", "easy", 2))
        + rows_of(candidates(tmp_path / "b.jsonl", "hard", 2)),
    )
    out, people, db = tmp_path / "judged.jsonl", tmp_path / "people.jsonl", tmp_path / "s.db"
    flags = ("--people", str(people), "--db", str(db), "--json")
    assert panel(data, out, members, *flags) == 2  # no such store: told before anything is asked
    assert not server.bodies
    capsys.readouterr()
    first = candidates(tmp_path / "waiting.jsonl", "waiting", 1)
    assert main(["import", str(first), "--db", str(db), "--project", "p", "--create"]) == 0
    capsys.readouterr()
    assert panel(data, out, members, *flags) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["report"]["outcomes"] == {"verdict": 2, "tie": 0, "split": 2, "no-quorum": 0}
    assert report["for_people"] == 2
    assert report["queued"] == "2 put first in project 'p'"
    assert [row["id"] for row in rows_of(people)] == ["hard0", "hard1"]
    assert [row["priority"] for row in rows_of(people)] == [1.0, 1.0]
    assert panel(data, out, members, *flags) == 0
    assert json.loads(capsys.readouterr().out)["queued"] == "in project 'p' since before"
    with PreferenceStore.open(str(db), create=False) as store:
        (project,) = store.projects()
        assert store.read(count_of, project.id) == 3


def test_people_get_the_most_urgent_first_wherever_it_stood(
    tmp_path: Path, server: ScriptedServer, chat: Chat
) -> None:
    server.script = [opinion(chat)]
    members = [member(tmp_path / f"{n}.toml", server.url, n) for n in ("kind", "harsh", "wrong")]
    rows = rows_of(candidates(tmp_path / "a.jsonl", "easy", 1))
    rows += rows_of(candidates(tmp_path / "b.jsonl", "mute", 1))
    data, people = write(tmp_path / "c.jsonl", rows), tmp_path / "people.jsonl"
    flags = ("--quorum", "3", "--min-coverage", "0.5", "--people", str(people))
    assert panel(data, tmp_path / "o.jsonl", members, *flags) == 0
    found = [(row["id"], row["why"]) for row in rows_of(people)]
    assert found == [("mute0", "no-quorum"), ("easy0", "disagreement")]


def test_a_member_that_is_not_there_is_found_before_another_is_paid(
    tmp_path: Path, server: ScriptedServer, chat: Chat, capsys: Any
) -> None:
    server.script = [opinion(chat)]
    members = [
        member(tmp_path / "kind.toml", server.url, "kind"),
        member(tmp_path / "away.toml", "http://127.0.0.1:9/v1", "away"),
    ]
    data, out = candidates(tmp_path / "c.jsonl", "easy", 2), tmp_path / "o.jsonl"
    assert panel(data, out, members, "--min-coverage", "0", "--quorum", "1") != 0
    assert len(capsys.readouterr().err.strip().splitlines()) == 1
    # but for what it can do, nothing was asked of the one that is there
    assert server.bodies
    assert not any("good" in body["messages"][-1]["content"] for body in server.bodies)
    assert not out.exists()


def count_of(connection: Any, project_id: str) -> int:
    from assay.store.comparisons import Filter, listed

    return len(listed(connection, project_id, Filter(), limit=10).rows)


@pytest.mark.medium
def test_weights_are_learnt_from_people(
    tmp_path: Path, server: ScriptedServer, chat: Chat, capsys: Any
) -> None:
    server.script = [opinion(chat)]
    names = ("kind", "wrong", "harsh")
    members = [member(tmp_path / f"{n}.toml", server.url, n, PRICES) for n in names]
    sample = labelled(tmp_path / "human.jsonl", 16)
    rows = [{"prompt": f"hard {i}?", "chosen": f"good {i}", "rejected": f"bad {i}"}
            for i in range(4)]  # fmt: skip
    rows += rows_of(sample)[:2]
    data, out = write(tmp_path / "c.jsonl", rows), tmp_path / "judged.jsonl"
    page = tmp_path / "panel.html"
    asked = ("--calibrate", str(sample), "--page", str(page))
    assert panel(data, out, members, *asked, "--dry-run", "--json") == 0
    plan = json.loads(capsys.readouterr().out)
    assert {name: p["questions"] for name, p in plan["members"].items()} == dict.fromkeys(names, 44)
    assert panel(data, out, members, *asked, "--dry-run", "--limit", "1", "--json") == 0
    limited = json.loads(capsys.readouterr().out)["members"]
    assert [p["questions"] for p in limited.values()] == [2 * (16 + 1)] * 3
    assert not server.bodies
    assert panel(data, out, members, *asked, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    report = result["report"]
    assert report["weights"]["kind"] > 0.5 > report["weights"]["harsh"]
    assert report["weights"]["harsh"] > report["weights"]["wrong"]
    assert report["pooling"] == "log-odds"
    assert report["calibration"]["n"] == 16
    assert report["learnt_from"] == 2
    # of three that weigh the same, two would have been for the bad one
    assert report["outcomes"]["verdict"] == 6
    assert report["agreement"]["accuracy"]["value"] == 1.0
    assert report["agreement"]["accuracy"]["n"] == 4
    assert report["members"]["kind"]["agreement"]["accuracy"]["value"] == 1.0
    assert report["members"]["wrong"]["agreement"]["accuracy"]["value"] == 0.0
    assert report["against"]["harsh"]["difference"]["value"] == 1.0
    assert report["between"][0]["same_side"]["value"] == 0.0
    assert result["cost"] <= plan["cost_at_most"]
    assert "Learnt from 16 comparisons" in page.read_text()
    assert panel(data, out, members, *asked) == 0
    text = capsys.readouterr().out
    assert "weights learnt from 16 comparisons" in text
    assert "the panel's figures with people are without them" in text
    assert "kind and harsh take the same side in" in text


def test_the_cap_is_on_all_members_together(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", "easy", 60), tmp_path / "judged.jsonl"
    flags = ("--max-cost", "0.02", "--min-coverage", "0", "--quorum", "1", "--json")
    with fake_endpoint() as endpoint:
        own = PRICES + "in_flight = 16\n"
        paths = [tmp_path / f"{n}.toml" for n in ("a", "b")]
        members = [
            member(path, endpoint.url, path.stem, own).replace('means = "text"', "")
            for path in paths
        ]
        assert panel(data, out, members, *flags) == 0
        spent = (endpoint.prompt_tokens * 1 + endpoint.response_tokens * 2) / 1e6
    report = json.loads(capsys.readouterr().out)
    assert 0 < spent <= 0.02
    assert report["cost"] == pytest.approx(spent)
    for name in ("a", "b"):
        outcomes = report["report"]["members"][name]["outcomes"]
        assert outcomes["tie"] == outcomes["verdict"] == 0
    assert report["report"]["outcomes"]["no-quorum"] > 0


def test_orders_that_differ_can_be_left_out_of_a_members_vote(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", "easy", 2), tmp_path / "judged.jsonl"
    with fake_endpoint() as endpoint:  # it likes whatever stands first
        members = [member(tmp_path / f"{n}.toml", endpoint.url, n) for n in "ab"]
        assert panel(data, out, members, "--json") == 0
        kept = json.loads(capsys.readouterr().out)["report"]["outcomes"]
        assert panel(data, out, members, "--inconsistent", "drop", "--json") == 1
    assert kept["tie"] == 2
    assert "Only 0.000 of 2 pairs had a quorum" in capsys.readouterr().err


def test_three_responses_are_three_pairs_each_with_its_own_name(
    tmp_path: Path, server: ScriptedServer, chat: Chat
) -> None:
    server.script = [opinion(chat)]
    members = [member(tmp_path / f"{n}.toml", server.url, n) for n in ("kind", "wrong")]
    rows = [{"prompt": "hard?", "responses": ["good", "bad", "good bad"]}]
    data, people = write(tmp_path / "c.jsonl", rows), tmp_path / "people.jsonl"
    assert panel(data, tmp_path / "o.jsonl", members, "--people", str(people)) == 0
    assert [row["id"] for row in rows_of(people)][:1] == ["row 1 (0, 1)"]
    assert len(rows_of(tmp_path / "o.jsonl")[0]["panel"]["pairs"]) == 3


@pytest.mark.medium
def test_killed_and_begun_again_no_member_is_paid_twice(tmp_path: Path) -> None:
    data, out = candidates(tmp_path / "c.jsonl", "easy", 40), tmp_path / "judged.jsonl"
    endpoint = ProcessEndpoint("--latency", "0.02")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    try:
        members = []
        for name in "ab":
            text = f'endpoint = "{endpoint.url}"\nendpoint_model = "{name}"\nin_flight = 2\n'
            (tmp_path / f"{name}.toml").write_text(text)
            members.append(str(tmp_path / f"{name}.toml"))
        command = [sys.executable, "-m", "assay", "panel", str(data), "--members", *members,
                   "--out", str(out)]  # fmt: skip
        for wanted in (40, 100):
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
    # the endpoint counts by the words, which both members are asked: two are paid of each
    asked = {prompt: n for prompt, n in paid.items() if "good" in prompt}
    assert len(asked) == 80
    assert min(asked.values()) == 2
    # what was on its way when the process died nobody can know of: at most in_flight a member
    assert sum(n - 2 for n in asked.values()) <= 2 * 2 * 2
    assert len(rows_of(out)) == 40


@pytest.mark.parametrize(
    ("text", "flags", "wanted"),
    [
        ("", ["--quorum", "3"], "A quorum of 3 cannot be had of 2 members"),
        ("", ["--weights", "1"], "1 weights were given for 2 members"),
        ("", ["--weights", "1", "-2"], "wanted a number of 0 or more"),
        ("", ["--weights", "1", "2", "--calibrate", "h.jsonl"], "leave one of the two out"),
        ("", ["--disagreement", "0.7"], "a deviation from 0 to 0.5"),
        ("", ["--max-cost", "1"], "no prices of 'b'"),
        ("", ["--project", "p"], "add --db"),
        ("", ["--ties", "--task", "rating"], "--ties is for the task pair"),
        ("orders = 'fixed'", [], "'orders' is for the whole panel"),
        ("judge = 'x'", [], "The member {b} cannot judge: Responses are judged by"),
        ("colour = 1", [], "'colour' is not a key"),
        ("", ["--people", "{data}"], "is read and to be written"),
    ],
)
def test_bad_settings_are_one_sentence(
    tmp_path: Path, capsys: Any, text: str, flags: list[str], wanted: str
) -> None:
    data = candidates(tmp_path / "c.jsonl", "easy", 1)
    url = "http://127.0.0.1:9/v1"
    members = [
        member(tmp_path / "a.toml", url, "a", PRICES),
        member(tmp_path / "b.toml", url, "b", text),
    ]
    flags = [flag.replace("{data}", str(data)) for flag in flags]
    assert panel(data, tmp_path / "out.jsonl", members, *flags) == 2
    said = capsys.readouterr().err
    assert wanted.replace("{b}", members[1]) in said
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "out.jsonl").exists()


def test_a_dry_run_loads_no_model_and_says_what_it_does_not_know(
    tmp_path: Path, capsys: Any
) -> None:
    data, out = candidates(tmp_path / "c.jsonl", "easy", 3), tmp_path / "out.jsonl"
    assert panel(data, out, ["one-model", "another-model"], "--dry-run") == 0
    said = capsys.readouterr().out
    assert "one-model: 6 questions of 3 rows would be asked" in said
    assert said.endswith("cost of all members: 0.0000 at most\n")
    free = member(tmp_path / "a.toml", "http://127.0.0.1:9/v1", "a")
    assert panel(data, out, ["one-model", free], "--dry-run") == 0
    assert capsys.readouterr().out.endswith("cost of all members: unknown\n")


def test_members_are_two_and_of_different_names(tmp_path: Path, capsys: Any) -> None:
    data, out = candidates(tmp_path / "c.jsonl", "easy", 1), tmp_path / "out.jsonl"
    one = member(tmp_path / "a.toml", "http://127.0.0.1:9/v1", "a")
    for members, wanted in (
        ([one], "name two members or more"),
        ([one, one], "Two members are called 'a'"),
        ([one, "none.toml"], "none.toml is not a file"),
    ):
        assert panel(data, out, members) == 2
        assert wanted in capsys.readouterr().err


def test_a_panel_needs_no_store_unless_it_queues() -> None:
    code = (
        "import sys, assay.feedback.judges.panel_run\n"
        "assert not any(m.partition('.')[0] in ('sqlalchemy', 'alembic') for m in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
