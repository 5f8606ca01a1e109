"""Contract: a run directory is whole or resumable, whatever ends the process."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import replace

import numpy as np
import pytest
from safetensors.torch import load_file

from assay.cli import parse
from assay.configs import TrainReward
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError, TrainingError
from assay.score.scorer import load_scorer
from assay.score.verify import verify
from assay.train.run import is_finished, load_data, push, run

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

SLOWLY = """
import time
import assay.train.updates as updates
quick = updates.micro_batches
updates.micro_batches = lambda *args: (time.sleep(0.02), quick(*args))[1]
"""


@pytest.fixture
def config(tiny_backbone, pairs_file, tmp_path):
    return TrainReward(
        data=(str(pairs_file),),
        backbone=str(tiny_backbone),
        out=tmp_path / "run",
        mode="full",
        lr=1e-3,
        batch_size=4,
        max_length=256,
        eval_every=5,
        save_every=3,
        threads=1,
    )


def command_line(config):
    """The flags that say what a configuration says."""
    words = ["train", "reward", "--data", *config.data, "--backbone", config.backbone]
    words += ["--out", str(config.out), "--mode", config.mode, "--lr", str(config.lr)]
    for name in ("batch_size", "max_length", "eval_every", "save_every", "threads"):
        words += [f"--{name.replace('_', '-')}", str(getattr(config, name))]
    return words


@pytest.fixture(scope="module")
def uninterrupted(
    tiny_backbone, pairs_file, tmp_path_factory, own_cache, few_resamples, no_pictures
):
    """The same training in one piece."""
    return run(
        TrainReward(
            data=(str(pairs_file),),
            backbone=str(tiny_backbone),
            out=tmp_path_factory.mktemp("whole") / "run",
            mode="full",
            lr=1e-3,
            batch_size=4,
            max_length=256,
            eval_every=5,
            save_every=3,
            threads=1,
        )
    ).directory


def metrics(out):
    """Rows so far; the last line may still be being written."""
    path = out / "metrics.jsonl"
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    return [json.loads(line) for line in lines]


def wait_for_step(command, out, step, seconds=60.0):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and command.process.is_alive():
        rows = metrics(out)
        if rows and rows[-1]["step"] >= step:
            return
        time.sleep(0.002)
    raise AssertionError(f"step {step} did not come: {command.output}")


def assert_same_run(out, wanted):
    def timeless(rows):
        return [{k: v for k, v in row.items() if "per_second" not in k} for row in rows]

    got, whole = timeless(metrics(out)), timeless(metrics(wanted))
    assert [row.keys() for row in got] == [row.keys() for row in whole]
    for mine, other in zip(got, whole, strict=True):
        assert mine == pytest.approx(other, abs=1e-6)
    weights = load_file(out / "model.safetensors"), load_file(wanted / "model.safetensors")
    for name, tensor in weights[1].items():
        np.testing.assert_allclose(weights[0][name], tensor, atol=1e-6, err_msg=name)
    figures = [json.loads((run / "heldout.json").read_text()) for run in (out, wanted)]
    for name in ("accuracy", "gap", "nll", "reward_length_correlation"):
        assert figures[0][name] == pytest.approx(figures[1][name], abs=1e-6)
    assert is_finished(out)
    assert not list(out.glob(".*")), "leftovers of an interrupted save"
    verify(out)


# --- kill, stop, resume ---------------------------------------------------------------------------


@pytest.mark.medium
def test_a_run_killed_at_random_steps_ends_as_the_uninterrupted_one(
    config, start_assay, uninterrupted
):
    words = command_line(config)
    steps = sorted(random.Random(3).sample(range(1, 36), 3))
    for number, step in enumerate(steps):
        command = start_assay([*words, *(["--resume"] if number else [])], SLOWLY)
        wait_for_step(command, config.out, step)
        command.process.kill()
        assert command.wait() == -signal.SIGKILL
        assert not is_finished(config.out)
    command = start_assay([*words, "--resume"])
    assert command.wait() == 0, command.output
    assert_same_run(config.out, uninterrupted)


DIE = "import os, signal\ndie = lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL)\n"
DEATHS = {
    "while writing the second resume point": """
import assay.train.resume as fit
save, calls = fit.save_file, []
def torn(tensors, path):
    save(tensors, path)
    calls.append(path.name)
    if sum("step-" in name for name in calls) == 2:
        path.write_bytes(path.read_bytes()[:100])
        die()
fit.save_file = torn
""",
    "between a resume point and the note that it is there": """
import assay.train.resume as fit
fit.write_json = die
""",
    "before the manifest of the finished run": """
import assay.models.checkpoint as checkpoint
checkpoint.write_manifest = die
""",
    "while the pictures are drawn": """
import assay.plots as plots
plots.report_page = die
""",
    "before the resume points are removed": """
import assay.train.resume as fit
fit.clear_resume = die
""",
}


@pytest.mark.medium
def test_a_run_killed_while_it_saves_can_always_go_on(config, start_assay, uninterrupted):
    words = command_line(config)
    for number, (moment, code) in enumerate(DEATHS.items()):
        command = start_assay([*words, *(["--resume"] if number else [])], DIE + code)
        assert command.wait() == -signal.SIGKILL, f"{moment}: {command.output}"
        assert not is_finished(config.out), moment
    command = start_assay([*words, "--resume"])
    assert command.wait() == 0, command.output
    assert_same_run(config.out, uninterrupted)


def test_ctrl_c_says_that_the_run_can_go_on_and_it_can(config, start_assay, uninterrupted):
    words = command_line(config)
    command = start_assay(words, SLOWLY)
    wait_for_step(command, config.out, 8)
    os.kill(command.process.pid, signal.SIGINT)
    assert command.wait() == 1
    assert "Interrupted; the last resume point" in command.output
    assert "--resume" in command.output
    assert "Traceback" not in command.output
    state = json.loads((config.out / "resume" / "state.json").read_text())
    assert 6 <= state["step"] < 40
    again = start_assay(words)
    assert again.wait() == 2
    assert "holds an unfinished run; go on with --resume" in again.output
    resumed = start_assay([*words, "--resume"])
    assert resumed.wait() == 0, resumed.output
    assert_same_run(config.out, uninterrupted)


# --- what a run holds -----------------------------------------------------------------------------


@pytest.fixture
def quick(config):
    return replace(config, mode="frozen", lr=None, batch_size=None, epochs=2, limit=60)


def test_a_finished_run_holds_everything_and_nothing_else(trained_run):
    names = {p.name for p in trained_run.iterdir()}
    assert names == {
        "README.md",
        "assay.json",
        "chat_template.jinja",
        "config.json",
        "config.toml",
        "gaps.png",
        "golden.jsonl",
        "heldout.json",
        "manifest.json",
        "metrics.jsonl",
        "model.safetensors",
        "report.png",
        "tokenizer.json",
        "tokenizer_config.json",
        "training.png",
    }
    record = json.loads((trained_run / "assay.json").read_text())
    assert record["data"]["train"]["digest"] in (trained_run / "README.md").read_text()
    assert record["heldout"] == json.loads((trained_run / "heldout.json").read_text())


def test_the_saved_configuration_trains_the_same_model(quick, tmp_path):
    first = run(quick)
    again = parse(
        "train reward", [str(first.directory / "config.toml"), "--out", str(tmp_path / "again")]
    )
    batch_size = min(64, first.record["data"]["train"]["pairs"])
    assert (again.epochs, again.lr, again.batch_size) == (2, 1e-3, batch_size)
    second = run(again)
    assert first.record["heldout"] == second.record["heldout"]


def test_the_result_reads_well_and_serialises(quick):
    result = run(quick)
    assert "60 rows gave 60 pairs" in result.text
    assert "accuracy 0." in str(result)
    assert "length-only" in str(result)
    assert f"written to {quick.out}" in str(result)
    said = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert said["run"] == str(quick.out)
    assert said["heldout"]["accuracy"]["n"] == result.figures["accuracy"].n


def test_heldout_files_are_used_as_they_are_and_shared_prompts_are_told(quick, pairs_file):
    config = replace(quick, heldout=(str(pairs_file),))
    train, heldout = load_data(config)
    assert (len(train), len(heldout)) == (60, 200)
    result = run(config)
    shared = len(set(train.prompt_keys()))
    assert result.record["data"]["shared_prompts"] == shared
    assert f"warning: {shared} held-out prompts are also in the training data" in result.text


def test_the_split_seed_is_the_seed_unless_it_is_given(quick):
    def heldout(**changes):
        return load_data(replace(quick, **changes))[1].digest

    assert heldout(seed=4) == heldout(seed=0, split_seed=4)
    assert heldout(seed=4) != heldout(seed=0)


def test_a_run_goes_on_from_another(config, tmp_path):
    first = run(replace(config, limit=80))
    second = run(replace(config, limit=80, from_run=str(first.directory), out=tmp_path / "on"))
    begun, ended = metrics(second.directory)[0], first.record["heldout"]["nll"]["value"]
    assert begun["heldout/loss"] == pytest.approx(ended, abs=1e-5)
    record = json.loads((second.directory / "assay.json").read_text())
    assert record["provenance"]["from"] == str(first.directory)
    assert load_scorer(second.directory).contract.verified
    with pytest.raises(ConfigError, match="max_length 9,999 is more than the 2,048 tokens"):
        run(replace(config, from_run=str(first.directory), max_length=9999, out=tmp_path / "no"))


def test_a_run_goes_on_from_somebody_elses_model(config, trained_run, tmp_path):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (foreign / name).write_bytes((trained_run / name).read_bytes())
    (foreign / "chat_template.jinja").write_bytes(
        (trained_run / "chat_template.jinja").read_bytes()
    )
    assert not load_scorer(foreign).contract.verified
    result = run(replace(config, limit=40, from_run=str(foreign)))
    assert load_scorer(result.directory).contract.verified


def test_finished_unfinished_and_file_are_told_apart(quick, tmp_path, trained_run):
    with pytest.raises(ConfigError, match="holds a finished run; name another directory"):
        run(replace(quick, out=trained_run))
    (tmp_path / "started" / "resume").mkdir(parents=True)
    with pytest.raises(ConfigError, match="holds an unfinished run; go on with --resume"):
        run(replace(quick, out=tmp_path / "started"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a directory"):
        run(replace(quick, out=tmp_path / "file"))


# --- the hub --------------------------------------------------------------------------------------


class FakeApi:
    calls: list[tuple] = []  # noqa: RUF012
    error: Exception | None = None

    def create_repo(self, repository, exist_ok):
        self.calls.append(("create", repository, exist_ok))

    def upload_folder(self, repo_id, folder_path, ignore_patterns):
        if self.error:
            raise self.error
        names = sorted(p.name for p in folder_path.iterdir() if p.name not in ignore_patterns)
        self.calls.append(("upload", repo_id, names))


@pytest.fixture
def hub(monkeypatch):
    import huggingface_hub

    monkeypatch.setattr(FakeApi, "calls", [])
    monkeypatch.setattr(FakeApi, "error", None)
    monkeypatch.setattr(huggingface_hub, "HfApi", FakeApi)
    return FakeApi


def test_a_finished_run_is_pushed_whole(quick, hub):
    run(replace(quick, push_to_hub="somebody/reward"))
    (create, upload) = hub.calls
    assert create == ("create", "somebody/reward", True)
    assert {"model.safetensors", "assay.json", "manifest.json", "README.md"} <= set(upload[2])
    assert not {"metrics.jsonl", "resume"} & set(upload[2])


def test_a_push_that_fails_leaves_the_run_whole(quick, hub, monkeypatch):
    monkeypatch.setattr(hub, "error", OSError("no route to host\nmore"))
    with pytest.raises(TrainingError, match="is whole, but could not be uploaded to a/b: no route"):
        run(replace(quick, push_to_hub="a/b"))
    verify(quick.out)
    with pytest.raises(TrainingError, match="could not be uploaded"):
        push(quick.out, "a/b")


def test_pairs_of_a_run_are_those_of_its_data(quick):
    train, heldout = load_data(quick)
    together = PreferencePairs.load(quick.data, limit=60)
    assert sorted(p.id for p in [*train, *heldout]) == sorted(p.id for p in together)
    assert not set(train.prompt_keys()) & set(heldout.prompt_keys())
