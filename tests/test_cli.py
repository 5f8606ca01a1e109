"""Contract of the command line: what goes where, which exit code, and how an error reads."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tomllib
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import assay
from assay import cli
from assay.cli import VERBS, Verb, explain, main, parse
from assay.configs import Doctor, Score, TrainReward
from assay.errors import ConfigError, DriftError


@dataclass(frozen=True, kw_only=True)
class FakeConfig:
    """Do nothing, in order to test. Really."""

    run: str = field(metadata={"positional": True})
    """Where."""
    data: tuple[str, ...]
    """What."""
    from_run: str | None = field(default=None, metadata={"key": "from"})
    """Whence."""
    lr: float | None = None
    """How fast. Default: slowly."""
    max_length: int = 3
    """How long."""
    resume: bool = False
    """Again."""
    json: bool = False
    """As JSON."""


@dataclass(frozen=True)
class FakeResult:
    config: FakeConfig

    def __str__(self) -> str:
        return f"{self.config.run} {self.config.data} {self.config.from_run} {self.config.lr}"

    def to_dict(self) -> dict[str, Any]:
        return {"run": self.config.run, "naïve": True}


def run_fake(config: FakeConfig) -> FakeResult:
    return FakeResult(config)


@pytest.fixture(autouse=True)
def process_state(monkeypatch):
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


@pytest.fixture
def fake(monkeypatch):
    """Puts a verb called fake in the table; the argument replaces its function."""

    def install(function=run_fake):
        monkeypatch.setitem(VERBS, "fake", Verb("fake:Config", "fake:run"))
        table = {"fake:Config": FakeConfig, "fake:run": function}
        load = cli._load
        monkeypatch.setattr(cli, "_load", lambda place: table.get(place) or load(place))

    return install


def test_result_goes_to_stdout_as_text_or_json(fake, capsys):
    fake()
    assert main(["fake", "here", "--data", "a", "b", "--from", "there"]) == 0
    assert capsys.readouterr() == ("here ('a', 'b') there None\n", "")
    assert main(["fake", "here", "--data", "a", "--json"]) == 0
    assert capsys.readouterr() == ('{"run": "here", "naïve": true}\n', "")


def test_a_worker_of_a_distributed_run_prints_nothing(fake, capsys):
    fake(lambda config: None)
    assert main(["fake", "here", "--data", "a"]) == 0
    assert capsys.readouterr() == ("", "")


def test_flags_win_over_the_file_and_the_file_over_defaults(fake, tmp_path):
    fake()
    path = tmp_path / "config.toml"
    path.write_text("run = 'x'\ndata = ['d']\nfrom = 'f'\nlr = 1\nresume = true\n")
    assert parse("fake", [str(path)]) == FakeConfig(
        run="x", data=("d",), from_run="f", lr=1.0, resume=True
    )
    flags = ["y", "--data", "e", "--lr", "1e-5", "--no-resume", "--max-length", "9"]
    assert parse("fake", [str(path), *flags]) == FakeConfig(
        run="y", data=("e",), from_run="f", lr=1e-5, max_length=9
    )
    assert parse("fake", [str(path), "--lr", "None"]).lr is None


def test_a_required_list_is_not_empty(fake, tmp_path):
    fake()
    with pytest.raises(ConfigError, match="--data is empty; 'assay fake' needs at least one"):
        parse("fake", ["x", "--data"])
    with pytest.raises(ConfigError, match="VERB is empty"):
        parse("config", [])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["fake"], "--data"),
        (["fake", "x", "--data", "a", "--frmo", "b"], "--from"),
        (["fake", "x", "--data", "a", "--lr", "fast"], "fast"),
        (["train", "reward", "--data", "a", "--out", "b", "--mode", "fully"], "frozen"),
    ],
)
def test_a_wrong_flag_is_explained_and_exits_2(fake, capsys, arguments, said):
    fake()
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err


def test_a_key_the_verb_does_not_know_exits_2(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("epoch = 1\n")
    assert main(["train", "reward", str(path)]) == 2
    assert capsys.readouterr().err == (
        f"ConfigError: {path}: 'epoch' is not a key of TrainReward; did you mean 'epochs'?\n"
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "a verb is wanted first, one of quickstart, audit, collect, train reward,"),
        (["--json"], "a verb is wanted first"),
        (["train"], "'train' is not a verb; did you mean 'train reward'?"),
        (["train", "rewrd", "x"], "'train rewrd' is not a verb; did you mean 'train reward'?"),
        (["scroe", "x"], "'scroe' is not a verb; did you mean 'score'?"),
        (["xyz"], "'xyz' is not a verb; the verbs are quickstart,"),
        (["config", "score", "x"], "'score x' is not a verb; did you mean 'score'?"),
    ],
)
def test_a_wrong_verb_gets_advice(capsys, arguments, sentence):
    assert main(arguments) == 2
    assert sentence in capsys.readouterr().err


def test_the_design_command_lines_parse(tmp_path):
    train = ["--data", "a", "b", "--backbone", "gemma3-270m", "--mode", "lora", "--out", "r"]
    assert parse("train reward", [*train, "--from", "old", "--resume"]) == TrainReward(
        data=("a", "b"),
        backbone="gemma3-270m",
        mode="lora",
        out=Path("r"),
        from_run="old",
        resume=True,
    )
    assert parse("score", ["r", "--input", "i", "--output", "o"]) == Score(
        run="r", input=Path("i"), output=Path("o")
    )
    assert parse("best-of-n", ["--input", "i", "r", "--output", "o"]).run == "r"
    assert parse("verify", ["r"]).run == Path("r")
    assert parse("doctor", []) == Doctor()
    assert parse("doctor", ["dir", "--data", "x"]) == Doctor(model="dir", data=("x",))
    assert str(parse("quickstart", ["--out", "q"]).out) == "q"


@pytest.mark.parametrize("name", VERBS)
def test_help_of_every_verb_shows_its_fields_and_defaults(name, capsys):
    assert main([*name.split(), "--help"]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert f"usage: assay {name}" in out
    assert cli.summary(name) in out
    assert "None" not in out
    if name == "train reward":
        assert "--max-length INT" in out
        assert "(default: 1024)" in out
        assert "--lr FLOAT" in out


def test_the_page_of_help_names_every_verb(capsys):
    assert main(["--help"]) == main(["-h"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in VERBS)
    assert max(map(len, out.splitlines())) <= 104


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"assay {assay.__version__}\n"


def test_config_prints_a_file_that_the_verb_reads(tmp_path, capsys):
    assert main(["config", "train", "reward"]) == 0
    path = tmp_path / "config.toml"
    path.write_text(capsys.readouterr().out, encoding="utf-8")
    assert tomllib.loads(path.read_text(encoding="utf-8"))["max_length"] == 1024
    flags = ["--data", "a", "--out", "b"]
    assert parse("train reward", [str(path), *flags]) == parse("train reward", flags)


@pytest.mark.parametrize(
    ("error", "sentence", "exit_code"),
    [
        (ConfigError("a is wrong; do b."), "ConfigError: a is wrong; do b.", 2),
        (DriftError("it moved."), "DriftError: it moved.", 1),
        (KeyboardInterrupt(), "Interrupted before the end; a training run goes on", 1),
        (MemoryError(), "MemoryError: out of memory; lower --token-budget", 1),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "out of memory", 1),
        (OSError(errno.ENOSPC, "No space", "w.bin"), "the disk is full while writing 'w.bin';", 1),
        (RuntimeError("I/O error: No space left on device"), "RuntimeError: the disk is full;", 1),
        (
            FileNotFoundError(errno.ENOENT, "No such file", "f"),
            "Error: 'f': No such file; check",
            2,
        ),
        (PermissionError(errno.EACCES, "Permission denied", "f"), "'f': Permission denied;", 2),
        (OSError("no such model\nlong advice"), "OSError: no such model; check", 2),
        (OSError(), "OSError: OSError; check", 2),
        (KeyError("x"), "KeyError: 'x'. Assay did not expect this: report it with", 1),
        (ValueError(), "ValueError: no message. Assay did not expect this", 1),
    ],
)
def test_errors_are_one_sentence_and_an_exit_code(fake, capsys, error, sentence, exit_code):
    def fail(config):
        raise error

    fake(fail)
    assert main(["fake", "x", "--data", "a"]) == exit_code
    out, err = capsys.readouterr()
    assert out == ""
    assert sentence in err
    assert err.count("\n") == 1
    assert main(["--traceback", "fake", "x", "--data", "a"]) == exit_code
    err = capsys.readouterr().err
    assert "Traceback" in err
    assert err.splitlines()[-1] == explain(error)[0]


def test_a_missing_configuration_file_exits_2(capsys):
    assert main(["train", "reward", "nowhere.toml"]) == 2
    assert "'nowhere.toml': No such file or directory" in capsys.readouterr().err


def test_our_warnings_are_one_line_and_those_of_libraries_are_silent(fake, capsys):
    def warn(config):
        for module in ("assay.models.probe", "assays", "torch.nn"):
            warnings.warn_explicit(f"from {module}", UserWarning, "x.py", 1, module)
        return os.environ["TRANSFORMERS_VERBOSITY"]

    fake(warn)
    assert main(["fake", "x", "--data", "a"]) == 0
    assert capsys.readouterr() == ("error\n", "Warning: from assay.models.probe\n")


def test_a_reader_that_stops_reading_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "assay", "config", "train", "reward"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (1, "")


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "assay", "config", "nope"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("ConfigError: 'nope' is not a verb;")


def test_json_of_a_result_is_one_line(fake, capsys):
    fake()
    main(["fake", "x", "--data", "a", "--json"])
    assert json.loads(capsys.readouterr().out) == {"run": "x", "naïve": True}
