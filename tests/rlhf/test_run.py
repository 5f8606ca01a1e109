"""The verbs of reinforcement learning, as a user runs them."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer
from worlds import WORDS, word_policy

from assay.cli import main
from assay.models.policy import Policy

pytestmark = [pytest.mark.usefixtures("own_cache"), pytest.mark.medium]

REWARD = """
def likes_yes(prompts, responses):
    return [float(r.count("yes")) - 0.2 * len(r.split()) for r in responses]

def likes_words(prompts, responses):
    return [float(len(r.split())) for r in responses]

def nothing(prompts, responses):
    return [float("nan") for r in responses]
"""


@pytest.fixture(scope="module")
def policy_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return word_policy(WORDS).save(tmp_path_factory.mktemp("policy") / "words")


@pytest.fixture
def world(tmp_path: Path, policy_directory: Path) -> dict[str, Any]:
    (tmp_path / "rewards.py").write_text(REWARD)
    prompts = [" ".join(WORDS[(i >> k) % 2] for k in range(4)) for i in range(16)]
    rows = "".join(json.dumps({"prompt": p}) + "\n" for p in prompts)
    (tmp_path / "prompts.jsonl").write_text(rows)
    return {
        "policy": policy_directory,
        "reward": f"{tmp_path / 'rewards.py'}:likes_yes",
        "prompts": tmp_path / "prompts.jsonl",
        "out": tmp_path / "run",
        "steps": 12,
        "prompts-per-step": 4,
        "samples": 8,
        "max-new-tokens": 5,
        "mode": "full",
        "lr": 3e-3,
        "kl-coef": 0.02,
        "heldout-prompts": 4,
        "heldout-samples": 8,
        "baseline-steps": 4,
        "save-every": 3,
    }


def command(verb: str, world: dict[str, Any], *more: str) -> int:
    flags = [part for name, value in world.items() for part in (f"--{name}", str(value))]
    return main(["rlhf", verb, *flags, *more])


@pytest.mark.parametrize("verb", ["rloo", "ppo"])
def test_a_policy_is_trained_and_answers_better(
    verb: str, world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world["audit"] = str(world["reward"]).replace("likes_yes", "likes_words")
    assert command(verb, world, "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    out = world["out"]
    results = json.loads((out / "results.json").read_text())
    assert {k: v for k, v in printed.items() if k != "run"} == results
    heldout = results["heldout"]
    assert heldout["reward_gain"]["low"] > 0
    assert heldout["reward_gain"]["n"] == 32
    assert heldout["kl"]["value"] > 0
    assert heldout["audit_before"]["value"] > 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] == 12
    assert "train/loss" in rows[-1]
    assert "<html" in (out / "monitor.html").read_text()
    samples = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == 32
    assert set(samples[0]) == {"prompt", "before", "after"}
    assert (out / "config.toml").exists()
    assert not (out / "resume").exists()
    # a plain directory, for transformers and for the next run
    AutoModelForCausalLM.from_pretrained(out / "policy")
    AutoTokenizer.from_pretrained(out / "policy")
    assert Policy.load(str(out / "policy")).end_ids


DIE = "import os, signal\ndie = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
DEATHS = {
    "in the middle of a step": """
import assay.rlhf.loop as loop
judge, calls = loop.Judges.judge, []
def dies(self, spoken):
    calls.append(0)
    if len(calls) == 11:
        die()
    return judge(self, spoken)
loop.Judges.judge = dies
""",
    "while writing a resume point": """
import assay.train.resume as fit
save = fit.save_file
def torn(tensors, path):
    save(tensors, path)
    if "step-9" in path.name:
        path.write_bytes(path.read_bytes()[:100])
        die()
fit.save_file = torn
""",
    "while saving the policy": """
import assay.rlhf.run as run
run.resolved_toml = die
import assay.toml
assay.toml.resolved_toml = die
""",
}


def test_a_run_killed_three_times_ends_as_one_in_one_piece(
    world: dict[str, Any], tmp_path: Path, start_assay: Any
) -> None:
    assert command("rloo", world) == 0
    wanted = json.loads((world["out"] / "results.json").read_text())
    again = {**world, "out": tmp_path / "again"}
    words = ["rlhf", "rloo", *(w for k, v in again.items() for w in (f"--{k}", str(v)))]
    for number, (moment, code) in enumerate(DEATHS.items()):
        killed = start_assay([*words, *(["--resume"] if number else [])], DIE + code)
        assert killed.wait() == -signal.SIGKILL, f"{moment}: {killed.output}"
        assert not (again["out"] / "results.json").exists(), moment
    assert command("rloo", again) == 2  # it says that there is an unfinished run
    resumed = start_assay([*words, "--resume"])
    assert resumed.wait() == 0, resumed.output
    found = json.loads((again["out"] / "results.json").read_text())
    for results in (wanted, found):
        results.pop("seconds")
    assert found == wanted
    one, other = (
        [json.loads(line) for line in (at / "metrics.jsonl").read_text().splitlines()]
        for at in (tmp_path / "run", tmp_path / "again")
    )
    clock = ("seconds/", "tokens_per_second/")
    for a, b in zip(one, other, strict=True):
        assert {k: v for k, v in a.items() if not k.startswith(clock)} == {
            k: v for k, v in b.items() if not k.startswith(clock)
        }
    assert (tmp_path / "run" / "samples.jsonl").read_text() == (
        tmp_path / "again" / "samples.jsonl"
    ).read_text()


def test_ctrl_c_is_said_in_a_sentence(
    world: dict[str, Any], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from assay.rlhf import loop

    advance = loop._Run.advance

    def interrupted(self: Any, watch: Any) -> int:
        if self.step == 4:
            raise KeyboardInterrupt
        return advance(self, watch)

    monkeypatch.setattr(loop._Run, "advance", interrupted)
    assert command("rloo", world) == 1
    said = capsys.readouterr().err
    assert "Interrupted" in said
    assert "--resume" in said
    monkeypatch.setattr(loop._Run, "advance", advance)
    assert command("rloo", world, "--resume") == 0


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reward": "nowhere"}, "nowhere"),
        ({"reward": "rewards.py:absent"}, "absent"),
        ({"prompts": "absent.jsonl"}, "absent.jsonl"),
        ({"heldout-prompts": 16}, "heldout_prompts is 16 and there are 16 different prompts"),
        ({"samples": 1}, "want 2 or more"),
        ({"policy": "nowhere-at-all"}, "nowhere-at-all"),
    ],
)
def test_bad_input_is_one_sentence(
    changes: dict[str, Any],
    said: str,
    world: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("rloo", {**world, **changes}) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "Traceback" not in error
    assert not (world["out"] / "results.json").exists()


def test_a_reward_that_is_never_there_ends_the_run_in_a_sentence(
    world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world["reward"] = str(world["reward"]).replace("likes_yes", "nothing")
    assert command("rloo", world) in (1, 2)
    assert "nothing" in capsys.readouterr().err
    assert command("rloo", {**world, "on-failure": "skip", "out": world["out"] / "b"}) == 1
    assert "All 32 rewards" in capsys.readouterr().err


def test_a_finished_run_is_not_written_over(
    world: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    world["out"].mkdir()
    (world["out"] / "results.json").write_text("{}")
    assert command("rloo", world) == 2
    assert "holds a finished run" in capsys.readouterr().err
