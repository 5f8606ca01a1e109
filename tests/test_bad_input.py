"""Contract: a user's mistake ends in one sentence, its exit code, and nothing half-written."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import warnings

import pytest
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from assay.cli import main
from assay.models.checkpoint import write_manifest
from assay.score.verify import verify
from assay.train.run import is_finished

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

GOOD = {"prompt": "Say hello", "chosen": "hello", "rejected": "no"}


@pytest.fixture(autouse=True)
def process_state(monkeypatch):
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


@pytest.fixture
def assay_says(capsys):
    """Runs a command line that must fail; gives its exit code and its one sentence."""

    def run(*arguments):
        capsys.readouterr()
        code = main([str(a) for a in arguments])
        captured = capsys.readouterr()
        said = [
            line
            for line in captured.err.replace("\r", "\n").splitlines()
            if line.strip() and "it/s]" not in line and "?it/s" not in line
        ]
        assert captured.out == ""
        assert "Traceback" not in captured.err
        assert len(said) == 1, said
        return code, said[0]

    return run


@pytest.fixture
def train(assay_says, tiny_backbone, tmp_path):
    """Trains on rows or a file, in a way that must fail."""

    def run(data, *arguments):
        path = data
        if isinstance(data, list):
            path = tmp_path / "pairs.jsonl"
            lines = (row if isinstance(row, str) else json.dumps(row) for row in data)
            path.write_text("".join(line + "\n" for line in lines))
        words = ["train", "reward", "--data", path, "--out", tmp_path / "run"]
        if "--backbone" not in arguments:
            words += ["--backbone", tiny_backbone]
        result = assay_says(*words, *arguments)
        assert not (tmp_path / "run").exists()
        return result

    return run


# --- data -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({**GOOD, "rejected": ""}, "line 2: 'rejected' is empty; every pair needs"),
        ({**GOOD, "rejected": "hello"}, "line 2: 'chosen' and 'rejected' are the same"),
        ({"prompt": "Say", "chosen": "hello"}, "line 2"),
        ({**GOOD, "chosen": 3}, "line 2: 'chosen' must be text"),
        ({**GOOD, "weight": "heavy"}, "line 2: 'weight' must be a number, not \"heavy\""),
        (
            '{"prompt": "a", "chosen": "b", "rejected": "c", "weight": NaN}',
            "line 2: 'weight' must be a finite",
        ),
        ({**GOOD, "weight": -1}, "line 2: 'weight' must be a finite number of at least 0, not -1"),
        ({**GOOD, "margin": float("inf")}, "line 2: 'margin' must be a finite number"),
        ({**GOOD, "probability": 2}, "line 2: 'probability' must be"),
        ({**GOOD, "tie": True, "probability": 0.9}, "line 2: 'tie' is true but"),
        ('{"prompt": "a", "chosen": ', "line 2 is not JSON: Expecting value at column"),
        ("[1, 2]", "line 2 is not a JSON object with named fields"),
        ({"instruction": "a", "completions": [{"response": "b"}]}, "line 2"),
        ({"text": "a"}, "line 2"),
    ],
    ids=lambda value: None,
)
def test_a_bad_row_is_named_by_its_line(train, bad, sentence):
    code, said = train([GOOD, bad, {**GOOD, "prompt": "Say it again"}])
    assert code == 2
    assert said.startswith("DataError: ")
    assert sentence in said


def test_bad_rows_can_be_skipped_and_then_nothing_may_be_left(train):
    bad = [{**GOOD, "rejected": ""}, "{", {**GOOD, "rejected": "hello"}]
    code, said = train(bad, "--on-bad-row", "skip")
    assert code == 2
    assert "none of the 3 rows gave a pair; dropped: " in said
    assert "1 identical responses" in said


def test_files_that_are_no_data_are_named(train, tmp_path):
    (tmp_path / "empty.jsonl").write_text("")
    code, said = train(tmp_path / "empty.jsonl")
    assert (code, "empty.jsonl is empty; preference data has" in said) == (2, True)
    code, said = train(tmp_path / "pears.jsonl")
    assert (code, "pears.jsonl does not exist" in said) == (2, True)
    (tmp_path / "rows.pkl").write_bytes(pickle.dumps([GOOD]))
    code, said = train(tmp_path / "rows.pkl")
    assert (code, "looks like a pickle, which can run any code" in said) == (2, True)
    (tmp_path / "rows.jsonl.gz").write_bytes(b"\x1f\x8b not gzip at all")
    code, said = train(tmp_path / "rows.jsonl.gz")
    assert (code, "is damaged after line 0" in said) == (2, True)


def test_one_prompt_cannot_be_split(train):
    code, said = train([GOOD, {**GOOD, "chosen": "good day"}])
    assert code == 2
    assert "a split by prompt needs two or more different prompts; there is 1" in said


# --- settings and backbones -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--max-length", "16"], "are longer than max_length=16 tokens (median"),
        (["--max-length", "16", "--truncation", "error"], "tokens where max_length is 16"),
        (["--max-length", "99999"], "max_length 99,999 is more than the 2,048 tokens"),
        (["--mode", "full", "--token-budget", "8"], "token_budget 8 is smaller than the longest"),
        (["--mode", "full", "--layers", "1"], "layers is for mode frozen"),
        (["--layers", "9"], "layers=9 was asked of a backbone that has 2"),
        (["--heldout-fraction", "1.5"], "heldout must be a share between 0 and 1, not 1.5"),
        (["--loss", "plackett-luce", "--label-smoothing", "0.1"], "no meaning for loss plackett"),
        (["--limit", "0"], "limit must be at least 1, not 0"),
        (["--trackers", "tensorbord"], "trackers tensorbord cannot be used"),
        (["--backbone", "smollm3"], "'smollm3' is no backbone: wanted one of smollm2-135m"),
        (["--from", "nowhere"], "nowhere does not exist; give a run directory or a hub name"),
        (["--resume", "--lr", "99"], "lr is 99.0; a learning rate lies between 0 and 10"),
    ],
)
def test_settings_that_cannot_work_say_so(train, pairs_file, flags, sentence):
    code, said = train(pairs_file, *flags)
    assert code == 2
    assert sentence in said


def test_a_backbone_of_pickles_or_without_a_model_is_refused(train, pairs_file, tmp_path):
    directory = tmp_path / "backbone"
    directory.mkdir()
    code, said = train(pairs_file, "--backbone", directory)
    assert (code, "has no config.json" in said) == (2, True)
    (directory / "config.json").write_text("{}")
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps({}))
    code, said = train(pairs_file, "--backbone", directory)
    assert (code, "holds its weights as a pickle (pytorch_model.bin)" in said) == (2, True)


def test_unknown_verbs_flags_and_values_are_refused(capsys):
    assert main(["train", "rewrad"]) == 2
    assert "did you mean 'train reward'?" in capsys.readouterr().err
    for words in (["--lerning-rate", "1"], ["--mode", "half"], ["--epochs", "some"]):
        assert main(["train", "reward", "--data", "a", "--out", "b", *words]) == 2
        error = capsys.readouterr().err
        assert words[0] in error or words[1] in error
        assert "Traceback" not in error


def test_a_run_directory_in_use_is_not_touched(
    assay_says, tiny_backbone, pairs_file, trained_run, tmp_path
):
    words = ["train", "reward", "--data", pairs_file, "--backbone", tiny_backbone, "--out"]
    before = {p.name: p.stat().st_mtime_ns for p in trained_run.iterdir()}
    code, said = assay_says(*words, trained_run)
    assert (code, "holds a finished run" in said) == (2, True)
    code, said = assay_says(*words, trained_run, "--resume")
    assert (code, "holds a finished run" in said) == (2, True)
    assert {p.name: p.stat().st_mtime_ns for p in trained_run.iterdir()} == before
    (tmp_path / "started" / "resume").mkdir(parents=True)
    code, said = assay_says(*words, tmp_path / "started")
    assert (code, "holds an unfinished run; go on with --resume" in said) == (2, True)


# --- weights that are no numbers ------------------------------------------------------------------


def test_a_backbone_with_a_weight_that_is_no_number_stops_before_anything_is_saved(
    train, pairs_file, tiny_backbone, tmp_path
):
    broken = shutil.copytree(tiny_backbone, tmp_path / "broken")
    tensors = load_file(broken / "model.safetensors")
    tensors["model.norm.weight"][3] = float("nan")
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    code, said = train(pairs_file, "--backbone", broken)
    assert code == 2
    assert "model.norm.weight holds NaN" in said


def test_a_loss_that_explodes_says_at_which_step(
    assay_says, pairs_file, tiny_backbone, tmp_path, monkeypatch
):
    import assay.train.tasks as tasks

    real = tasks.bradley_terry
    monkeypatch.setattr(tasks, "bradley_terry", lambda *args: real(*args) * float("inf"))
    words = ["train", "reward", "--data", pairs_file, "--backbone", tiny_backbone]
    code, said = assay_says(*words, "--mode", "full", "--out", tmp_path / "run")
    assert code == 1
    assert said.startswith("TrainingError: The loss became inf with gradient norm ")
    assert "at step 1 of" in said
    assert not is_finished(tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()


# --- checkpoints ----------------------------------------------------------------------------------


def without_head(run):
    tensors = load_file(run / "model.safetensors")
    del tensors["score.weight"]
    save_file(tensors, run / "model.safetensors", metadata={"format": "pt"})
    write_manifest(run)


def flipped_bit(run):
    data = bytearray((run / "model.safetensors").read_bytes())
    data[-7] ^= 4
    (run / "model.safetensors").write_bytes(data)


def cut_short(run):
    data = (run / "model.safetensors").read_bytes()
    (run / "model.safetensors").write_bytes(data[: len(data) // 2])
    write_manifest(run)


def as_pickle(run):
    (run / "model.safetensors").unlink()
    (run / "pytorch_model.bin").write_bytes(pickle.dumps({"score.weight": 1}))
    write_manifest(run)


def no_number(run):
    tensors = load_file(run / "model.safetensors")
    tensors["score.weight"][0, 0] = float("nan")
    save_file(tensors, run / "model.safetensors", metadata={"format": "pt"})
    write_manifest(run)


def without_manifest(run):
    (run / "manifest.json").unlink()


def without_tokenizer(run):
    (run / "tokenizer.json").unlink()


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (without_head, "has no head among its 20 weights; its rewards would be random"),
        (flipped_bit, "model.safetensors is not the file that was saved"),
        (cut_short, "model.safetensors is damaged"),
        (as_pickle, "holds its weights as a pickle (pytorch_model.bin), which can run code"),
        (no_number, "weight network.score.weight holds NaN or infinite values"),
        (without_manifest, "has no manifest.json; the run did not finish"),
        (without_tokenizer, "lacks tokenizer.json, which its manifest lists"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_damaged_checkpoint_scores_nothing(assay_says, trained_run, tmp_path, damage, sentence):
    run = shutil.copytree(trained_run, tmp_path / "run")
    damage(run)
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "a", "responses": ["b"]}) + "\n")
    words = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    code, said = assay_says("score", run, *words)
    assert code == 2
    assert said.startswith("CheckpointError: ")
    assert sentence in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl", "run"]
    code, said = assay_says("verify", run)
    assert code in (1, 2)


def test_drift_is_exit_1_and_no_run_exit_2(assay_says, trained_run, tiny_backbone, tmp_path):
    run = shutil.copytree(trained_run, tmp_path / "run")
    flipped_bit(run)
    code, said = assay_says("verify", run)
    assert (code, said.startswith("DriftError: ")) == (1, True)
    code, said = assay_says("verify", tiny_backbone)
    assert (code, said.startswith("CheckpointError: ")) == (2, True)


def test_a_model_that_is_no_reward_model_is_refused(assay_says, tiny_backbone, tmp_path):
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "a", "responses": ["b"]}) + "\n")
    words = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    code, said = assay_says("score", tiny_backbone, *words)
    assert code == 2
    assert "is a LlamaForCausalLM; a reward model is a *ForSequenceClassification" in said


# --- a full disk ----------------------------------------------------------------------------------


@pytest.fixture
def disk(monkeypatch):
    """``disk(n)`` fills the disk after n files have been written to it; ``disk(None)`` frees it."""
    real, written = os.fsync, []

    def fill(after):
        written.clear()

        def fsync(handle):
            written.append(handle)
            if after is not None and len(written) > after:
                raise OSError(28, "No space left on device")
            real(handle)

        monkeypatch.setattr(os, "fsync", fsync)

    return fill


@pytest.mark.parametrize(("mode", "first"), [("frozen", 0), ("full", 1)])
@pytest.mark.medium
def test_a_full_disk_at_any_moment_leaves_a_run_that_can_go_on(
    disk, capsys, pairs_file, tiny_backbone, tmp_path, monkeypatch, mode, first
):
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "run"
    words = ["train", "reward", "--data", pairs_file, "--backbone", tiny_backbone, "--out", out]
    words += ["--mode", mode, "--epochs", "1", "--limit", "40", "--resume"]
    words = [str(word) for word in words]
    for after in range(first, 100, 2):
        disk(after)
        code = main(words)
        said = capsys.readouterr().err
        if code == 0:
            break
        assert code == 1
        assert "the disk is full" in said
        assert "Traceback" not in said
        assert not is_finished(out)
        assert not list(out.glob("**/.*")), f"leftovers after {after} files"
    assert after > 10
    disk(None)
    verify(out)


def test_a_full_disk_below_python_is_the_same_sentence(
    assay_says, pairs_file, tiny_backbone, tmp_path, monkeypatch
):
    import assay.train.resume as fit

    def full(tensors, path):
        path.write_bytes(b"half")
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(fit, "save_file", full)
    words = ["train", "reward", "--data", pairs_file, "--backbone", tiny_backbone]
    code, said = assay_says(*words, "--mode", "full", "--out", tmp_path / "run")
    assert (code, "the disk is full" in said) == (1, True)
    assert not list((tmp_path / "run").glob("**/*.safetensors"))


def test_scoring_to_a_full_disk_leaves_no_output(assay_says, disk, trained_run, tmp_path):
    verify(trained_run)  # the engine's probe is in the cache
    (tmp_path / "in.jsonl").write_text(json.dumps({"prompt": "a", "responses": ["b"]}) + "\n")
    disk(0)
    words = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / "out.jsonl"]
    code, said = assay_says("score", trained_run, *words)
    assert code == 1
    assert "out.jsonl could not be written (No space left on device); free some space" in said
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.jsonl"]


# --- scoring --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "name", "sentence"),
    [
        ("", "out.jsonl", "holds no rows; there is nothing to score"),
        ('{"prompt": "a", "responses": ["b"]}\n{', "out.jsonl", "line 2 is not JSON"),
        ('{"prompt": "a"}', "out.jsonl", "line 1: wanted 'prompt' with a list 'responses'"),
        (
            '{"prompt": "a", "responses": ["b"]}',
            "out.csv",
            "must end in .jsonl, .jsonl.gz or .parquet",
        ),
        ('{"prompt": "a", "responses": ["<|im_end|>"]}', "out.jsonl", "line 1: A message contains"),
        (
            json.dumps({"prompt": "a" * 999, "responses": ["b"]}),
            "out.jsonl",
            "line 1: A conversation has",
        ),
    ],
    ids=["empty", "json", "responses", "suffix", "end", "long"],
)
def test_a_file_that_cannot_be_scored_leaves_nothing(
    assay_says, trained_run, tmp_path, rows, name, sentence
):
    (tmp_path / "in.jsonl").write_text(rows)
    for verb in ("score", "best-of-n"):
        words = ["--input", tmp_path / "in.jsonl", "--output", tmp_path / name]
        code, said = assay_says(verb, trained_run, *words)
        assert code == 2
        assert sentence in said
        assert [p.name for p in tmp_path.iterdir()] == ["in.jsonl"]
