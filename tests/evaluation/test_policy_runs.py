"""Contract: logs of RL are read whole, and what is none is refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from policy_logs import gao, rows_of, write_run

from assay.errors import AssayError, ConfigError, DataError
from assay.evaluation.policy_runs import (
    ALARMS,
    KL,
    LINES,
    PROMPTS,
    WATCHED,
    averaged,
    read_run,
    read_runs,
)
from assay.rlhf import alarms, signals

GOLD = gao(1.0, 0.5)


def changed(step: int, **figures: Any) -> list[dict[str, Any]]:
    """A log with other figures at one step."""
    names = {"kl": KL, **LINES}
    return [
        {**row, **{names.get(k, k): v for k, v in figures.items()}} if row["step"] == step else row
        for row in rows_of(GOLD)
    ]


def test_a_run_is_read_with_its_reference_its_seed_and_its_first_alarm(tmp_path: Path) -> None:
    raised = {30: ["longer"], 50: ["longer", "gold falls"], 60: ["unmatched"]}
    run = read_run(write_run(tmp_path / "a", rows_of(GOLD, raised=raised, noise=0.0), seed=7))
    assert (run.seed, len(run.step), len(run.reference["gold"])) == (7, 120, 8)
    assert run.d[[0, -1]] == pytest.approx([0.0, 4.0])
    assert run.lines["gold"][-1] - run.reference["gold"].mean() == pytest.approx(
        4 * (1 - 0.5 * np.log(4))
    )
    assert run.deviations["gold"] == pytest.approx(1.0)
    # a warning is no alarm
    assert (run.alarm, run.alarms) == (50, ("gold falls",))
    assert "audit" not in run.lines


def test_names_are_those_of_the_monitor() -> None:
    assert set(alarms.ALARMS) == ALARMS
    assert signals.KEYS["kl"] == KL
    for name, key in {**LINES, **WATCHED}.items():
        assert signals.KEYS[name] == key
    assert set(LINES) <= set(signals.WITH_ERROR)
    assert PROMPTS == "n/prompts"


def test_kl_is_averaged_with_the_steps_around_it() -> None:
    kl = np.array([0.0, 1.0, 2.0, 9.0, 4.0, 5.0, 6.0])
    found = averaged(kl)
    assert found.tolist() == [0.0, 1.0, 3.2, 4.2, 5.2, 5.0, 6.0]
    line = np.arange(20.0)
    assert averaged(line) == pytest.approx(line)


def test_half_a_line_and_steps_without_a_figure_are_counted(tmp_path: Path) -> None:
    rows = changed(5)
    del rows[40]["objective/gold"]
    directory = write_run(tmp_path / "a", rows)
    with (directory / "metrics.jsonl").open("a") as file:
        file.write('{"step": 121, "objective/k')
    run = read_run(directory)
    assert run.unreadable == 1
    assert run.missing == {"gold": 1}


def test_a_line_with_few_figures_is_not_used_and_counted(tmp_path: Path) -> None:
    rows = [row | ({"objective/audit": 1.0} if row["step"] < 5 else {}) for row in rows_of(GOLD)]
    run = read_run(write_run(tmp_path / "a", rows))
    assert "audit" not in run.lines
    assert run.missing == {"audit": 116}


def test_a_kl_estimated_below_zero_counts_as_zero_and_is_counted(tmp_path: Path) -> None:
    rows = [row | {KL: -0.1} if 1 <= row["step"] <= 5 else row for row in rows_of(GOLD)]
    run = read_run(write_run(tmp_path / "a", rows))
    assert run.negative == 3  # the averages about the fourth and fifth are above 0 already
    assert (run.d[:3] == 0).all()


def test_without_a_baseline_the_first_step_is_the_reference(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "a", rows_of(GOLD, baseline=0)))
    assert run.reference["gold"].tolist() == run.lines["gold"][:1].tolist()


def test_settings_are_named_before_the_directory(tmp_path: Path) -> None:
    for i, name in enumerate(("a", "b", "c=d")):
        write_run(tmp_path / name, rows_of(GOLD, seed=i), seed=i)
    found = read_runs([f"weak={tmp_path}/a", f"{tmp_path}/c=d", f"weak={tmp_path}/b"])
    assert {name: [run.seed for run in runs] for name, runs in found.items()} == {
        "weak": [0, 1],
        "runs": [2],
    }


def test_a_run_without_a_configuration_has_no_seed(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path / "a", rows_of(GOLD), seed=None)).seed is None


BAD: dict[str, tuple[list[dict[str, Any]], str]] = {
    "one step": (
        rows_of(GOLD, steps=1),
        "1 step of training with 'objective/kl'; a curve wants 10",
    ),
    "nine steps": (rows_of(GOLD, steps=9), "9 steps of training"),
    "no KL": (
        [{"step": i, "loss": 0.5} for i in range(50)],
        "has no 'objective/kl': it is not the log of a policy's training",
    ),
    "no rows": ([], "has no rows"),
    "text for a number": (changed(9, gold="high"), "step 9: 'objective/gold' is 'high'; wanted a"),
    "an infinite KL": (changed(9, kl=float("inf")), "step 9: 'objective/kl' is inf"),
    "true for a number": (changed(9, proxy=True), "'objective/proxy' is True"),
    "alarms that are no list": (changed(9, raised="unmatched"), "wanted a list of names"),
    "no reference": (
        [row for row in rows_of(GOLD) if row["step"] > 20],
        "begins at step 21, 2.69 nats from the reference, without a row of step 0",
    ),
    "two runs in one file": (
        rows_of(GOLD) + [row for row in rows_of(GOLD) if row["step"]],
        "step 1 comes after step 120; the steps of a run rise. Were two runs",
    ),
}


@pytest.mark.parametrize(("rows", "said"), BAD.values(), ids=BAD.keys())
def test_a_log_that_is_none_is_refused(
    rows: list[dict[str, Any]], said: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError) as error:
        read_run(write_run(tmp_path / "a", rows))
    assert said in str(error.value)
    assert str(tmp_path / "a" / "metrics.jsonl") in str(error.value)


def test_directories_that_are_none_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_run(tmp_path / "a", rows_of(GOLD))
    write_run(tmp_path / "b", rows_of(GOLD))
    write_run(tmp_path / "broken", rows_of(GOLD))
    (tmp_path / "broken" / "config.toml").write_text("seed = ")
    a, b = f"{tmp_path}/a", f"{tmp_path}/b"
    cases: list[tuple[list[str], type[AssayError], str]] = [
        ([f"{tmp_path}/gone"], ConfigError, "there is no such directory"),
        ([f"x={tmp_path}/gone"], ConfigError, f"--runs {tmp_path}/gone: there is no"),
        ([f"{tmp_path}/empty"], DataError, "has no metrics.jsonl"),
        ([f"{tmp_path}/broken"], DataError, "config.toml is no TOML"),
        ([f"={a}"], ConfigError, "must be DIR or NAME=DIR"),
        (["x="], ConfigError, "must be DIR or NAME=DIR"),
        ([a, f"x={a}"], ConfigError, "twice"),
        ([f"x={a}", f"x={b}"], DataError, "of setting 'x' both have seed 0"),
    ]
    for specs, kind, said in cases:
        with pytest.raises(kind) as error:
            read_runs(specs)
        assert said in str(error.value)
        assert "\n" not in str(error.value)


def test_rows_that_are_no_objects_are_counted(tmp_path: Path) -> None:
    directory = write_run(tmp_path / "a", rows_of(GOLD))
    with (directory / "metrics.jsonl").open("a") as file:
        file.write(json.dumps([1, 2]) + "\n" + json.dumps({"loss": 1}) + "\n\n")
    assert read_run(directory).unreadable == 2
