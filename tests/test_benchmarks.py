"""The benchmark scripts on a tiny backbone: they run, compare like with like, or say why not."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from assay.errors import ConfigError, DataError, TrainingError

FOLDER = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], ModuleType]:
    monkeypatch.syspath_prepend(FOLDER)
    return import_module


@pytest.fixture
def pairs_file(tmp_path: Path, gold_pairs: Callable[..., list[dict[str, Any]]]) -> Path:
    path = tmp_path / "gold.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row) + "\n" for row in gold_pairs(60))
    return path


@pytest.fixture
def job(pairs_file: Path, tiny_backbone: Path) -> dict[str, Any]:
    return {
        "data": str(pairs_file),
        "backbone": str(tiny_backbone),
        "pairs": 8,
        "max_length": 1024,
        "batch_size": 4,
        "trl_batch": 2,
        "lr": 1e-3,
        "threads": 1,
    }


# --- the record -----------------------------------------------------------------------------------


def test_a_record_says_where_it_was_made_and_names_no_path(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    common, throughput = script("common"), script("training_throughput")
    settings = throughput.Settings(
        data=tmp_path / "deep" / "pairs.jsonl", backbone=str(tmp_path / "tiny"), out=tmp_path
    )
    text = common.write_record("name", settings, {"runs": [1.0]}).read_text()
    record = json.loads(text)
    assert str(tmp_path) not in text
    assert record["settings"]["data"] == "pairs.jsonl"
    assert record["settings"]["backbone"] == "tiny"
    assert record["settings"]["systems"] == ["trl-default", "trl-best", "assay"]
    assert record["machine"]["cores"] >= 1
    assert record["machine"]["memory_gb"] > 0
    assert record["versions"]["torch"]
    assert record["runs"] == [1.0]


def test_spread_and_table(script: Callable[[str], ModuleType]) -> None:
    common = script("common")
    assert common.spread([3.0, 1.0, 2.0]) == {"min": 1.0, "median": 2.0, "max": 3.0}
    assert common.shown([3.0, 1.0, 2.0], 1, " s") == "2.0 s (1.0–3.0)"
    assert common.table(["a", "bb"], [["ccc", "d"]]) == ("| a   | bb |\n| --- | -- |\n| ccc | d  |")


@pytest.mark.parametrize("name", ["training_throughput", "accuracy"])
def test_without_data_a_script_says_what_it_skips_and_succeeds(name: str, tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / f"{name}.py"), "--out", str(tmp_path)]
    if name == "training_throughput":
        command += ["--systems", "assay"]
    empty = {"ASSAY_DATA": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, env=empty, capture_output=True, text=True)
    assert done.returncode == 0
    assert "skipped" in done.stderr
    assert "ASSAY_DATA" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_failed_worker_is_one_sentence(
    script: Callable[[str], ModuleType], tmp_path: Path
) -> None:
    common = script("common")
    broken = tmp_path / "broken.py"
    broken.write_text("raise ValueError('no such thing')")
    with pytest.raises(TrainingError, match=r"task of broken\.py failed: .*no such thing"):
        common.run_worker(str(broken), "task", {})
    broken.write_text("import os; os.kill(os.getpid(), 9)")
    with pytest.raises(TrainingError, match="killed"):
        common.run_worker(str(broken), "task", {})


# --- startup --------------------------------------------------------------------------------------


def test_startup_times_every_command_as_often(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    startup = script("startup")
    startup.run(startup.Settings(repeats=1, out=tmp_path))
    figures = json.loads((tmp_path / "startup.json").read_text())["commands"]
    assert list(figures) == ["bare Python", "import assay", "assay --help"]
    assert all(len(f["seconds"]) == 1 for f in figures.values())
    assert figures["bare Python"]["over_bare"] == 0
    assert "| assay --help |" in capsys.readouterr().out


# --- training throughput --------------------------------------------------------------------------


@pytest.mark.medium
def test_pairs_that_do_not_fit_are_passed_over_and_counted(
    script: Callable[[str], ModuleType], job: dict[str, Any]
) -> None:
    throughput = script("training_throughput")
    whole = throughput.prepare(job)
    assert whole["skipped"] == 0
    assert sorted(whole["order"]) == list(range(8))
    mean_length = whole["conversation_tokens"] // 16
    tight = throughput.prepare({**job, "max_length": mean_length + 5})
    assert tight["skipped"] > 0
    assert len(tight["rows"]) == 8
    with pytest.raises(DataError, match=r"gold\.jsonl\.gz has \d+ pairs .* 61 were wanted"):
        throughput.prepare({**job, "pairs": 61})


def test_assay_takes_the_steps_it_is_timed_on(
    script: Callable[[str], ModuleType], job: dict[str, Any]
) -> None:
    throughput = script("training_throughput")
    prepared = throughput.prepare({**job, "pairs": 12})
    done = throughput.train_assay({**job, **prepared})
    assert len(done["losses"]) == 3
    assert len(done["step_seconds"]) == 2
    assert done["pairs_per_second"] == pytest.approx(8 / sum(done["step_seconds"]))
    assert done["conversation_tokens"] == prepared["conversation_tokens"]
    assert done["forward_tokens"] < done["conversation_tokens"]
    assert done["peak_memory_bytes"] > 1e7


@pytest.mark.medium
def test_trl_and_assay_do_the_same_work(
    script: Callable[[str], ModuleType], job: dict[str, Any]
) -> None:
    """Same ids, weights, batches and optimiser: the loss of every step is the same in all three."""
    pytest.importorskip("trl")
    throughput = script("training_throughput")
    job |= throughput.prepare(job)
    tasks = throughput.TASKS
    runs = {system: tasks[system](job) for system in ("assay", "trl-default", "trl-best")}
    throughput.check_same_work(runs)
    for run in runs.values():
        assert run["losses"] == pytest.approx(runs["assay"]["losses"], rel=1e-4)
        assert len(run["step_seconds"]) == 1
    assert runs["trl-default"]["gradient_checkpointing"]
    assert not runs["trl-best"]["gradient_checkpointing"]
    assert runs["trl-default"]["forward_tokens"] >= runs["trl-best"]["forward_tokens"]
    assert runs["trl-best"]["forward_tokens"] >= runs["trl-best"]["conversation_tokens"]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"conversation_tokens": 9}, "trl-best read 10 tokens and assay 9"),
        ({"losses": [0.8, 0.1]}, "first loss is 0.700000 in trl-best and 0.800000 in assay"),
    ],
)
def test_different_work_is_not_compared(
    script: Callable[[str], ModuleType], changed: dict[str, Any], sentence: str
) -> None:
    throughput = script("training_throughput")
    same = {"conversation_tokens": 10, "losses": [0.7, 0.6]}
    throughput.check_same_work({"trl-best": same, "assay": {**same, "losses": [0.7, 0.5]}})
    with pytest.raises(TrainingError, match=sentence):
        throughput.check_same_work({"trl-best": same, "assay": {**same, **changed}})


def test_systems_run_in_turns_and_are_compared_repeat_by_repeat(
    script: Callable[[str], ModuleType],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    pairs_file: Path,
) -> None:
    throughput = script("training_throughput")
    speeds = {"trl-best": iter([1.0, 2.0, 4.0]), "assay": iter([2.0, 6.0, 10.0])}
    calls: list[str] = []

    def worker(_script: str, task: str, _job: dict[str, Any]) -> dict[str, Any]:
        if task == "prepare":
            return {"skipped": 3, "conversation_tokens": 10}
        calls.append(task)
        return {
            "pairs_per_second": next(speeds[task]),
            "peak_memory_bytes": 1e9 if task == "assay" else 2e9,
            "conversation_tokens": 10,
            "forward_tokens": 7,
            "losses": [0.7, 0.6],
        }

    monkeypatch.setattr(throughput, "run_worker", worker)
    monkeypatch.setattr(throughput, "find_spec", lambda _: "here")
    throughput.run(
        throughput.Settings(data=pairs_file, systems=("trl-best", "assay"), out=tmp_path)
    )
    assert calls == ["trl-best", "assay"] * 3
    record = json.loads((tmp_path / "training_throughput.json").read_text())
    speed = record["assay_over"]["trl-best"]["speed"]
    assert speed == {"repeats": [2.0, 3.0, 2.5], "min": 2.0, "median": 2.5, "max": 3.0}
    assert record["assay_over"]["trl-best"]["memory"]["median"] == 0.5
    assert record["summary"]["assay"]["pairs_per_second"]["median"] == 6.0


def test_settings_that_leave_nothing_to_time_are_refused(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    throughput = script("training_throughput")
    for changes in ({"pairs": 8}, {"pairs": 20}, {"trl_batch": 3}):
        with pytest.raises(ConfigError, match=r"--batch-size 8|does not divide"):
            throughput.check(throughput.Settings(**changes))
    monkeypatch.setattr(throughput, "find_spec", lambda _: None)
    throughput.check(throughput.Settings(systems=("assay",)))
    with pytest.raises(script("common").Skip, match="TRL is not installed"):
        throughput.check(throughput.Settings())


@pytest.mark.slow
def test_training_throughput_from_the_command_line(
    pairs_file: Path, tiny_backbone: Path, tmp_path: Path
) -> None:
    pytest.importorskip("trl")
    flags = f"--data {pairs_file} --backbone {tiny_backbone} --pairs 8 --batch-size 4 --repeats 2"
    command = [sys.executable, str(FOLDER / "training_throughput.py"), *flags.split()]
    done = subprocess.run([*command, "--out", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Assay over trl-default" in done.stdout
    record = json.loads((tmp_path / "training_throughput.json").read_text())
    assert {system: len(runs) for system, runs in record["runs"].items()} == {
        "trl-default": 2,
        "trl-best": 2,
        "assay": 2,
    }


# --- engine gain ----------------------------------------------------------------------------------


def test_engine_gain_is_measured_beside_its_prediction(
    script: Callable[[str], ModuleType],
    tiny_backbone: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    gain = script("engine_gain")
    assert gain.predicted_gain(2, 1.0) == pytest.approx(4 / 3)
    assert gain.predicted_gain(4, 4.0) == pytest.approx(2.5)
    gain.run(
        gain.Settings(
            backbone=str(tiny_backbone),
            ratios=(0.5, 2.0),
            response_tokens=16,
            repeats=1,
            threads=1,
            out=tmp_path,
        )
    )
    shapes = json.loads((tmp_path / "engine_gain.json").read_text())["shapes"]
    assert [(s["responses"], s["ratio"]) for s in shapes] == [(2, 0.5), (2, 2), (4, 0.5), (4, 2)]
    for shape in shapes:
        tokens = shape["tokens"]
        assert tokens["padded"] / tokens["tree"] == pytest.approx(shape["predicted_gain"])
        assert shape["reward_difference"] <= 1e-4
        assert len(shape["training"]["gain"]["repeats"]) == 1
    assert "S_K" in capsys.readouterr().out


def test_unequal_engines_are_an_error(
    script: Callable[[str], ModuleType], tiny_backbone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gain = script("engine_gain")
    monkeypatch.setattr(gain, "TOLERANCE", -1.0)  # as tiny as the backbone is, they agree to 0
    model = gain.RewardModel.from_backbone(str(tiny_backbone), engine="tree")
    settings = gain.Settings(response_tokens=16, repeats=1)
    with pytest.raises(TrainingError, match=r"rewards differ by .* at K=2 and ρ=4"):
        gain.measure(model, settings, 2, 4.0)


# --- over-optimisation ---------------------------------------------------------------------------


def test_gold_likes_length_up_to_a_point(script: Callable[[str], ModuleType]) -> None:
    worlds = script("overoptimization")
    x = np.zeros((3, worlds.FEATURES), dtype=np.float32)
    x[:, 0] = [-1.0, 1.2, 2.4]
    # by hand: 0.6 l - 0.25 max(l, 0)², whose top is at l = 1.2
    assert worlds.World(0).gold(x) == pytest.approx([-0.6, 0.36, 0.0], abs=1e-6)
    same = worlds.World(0).pairs(50, 0.0)
    assert (worlds.World(0).gold(same[0]) > worlds.World(0).gold(same[1])).all()
    flipped = worlds.World(0).pairs(4000, 0.25)
    wrong = worlds.World(0).gold(flipped[0]) < worlds.World(0).gold(flipped[1])
    assert wrong.mean() == pytest.approx(0.25, abs=0.03)


def test_the_exact_head_is_where_the_loop_goes(script: Callable[[str], ModuleType]) -> None:
    worlds = script("overoptimization")
    pairs = worlds.World(1).pairs(400 + worlds.HELDOUT, 0.25)
    plan = worlds.HeadPlan(
        np.ones((1, worlds.FEATURES), dtype=np.bool_),
        np.ones((400, 1), dtype=np.float32),
        np.array([0.03], dtype=np.float32),
        (0,),
    )
    (trained,) = worlds.train(pairs, plan, seed=0)
    exact = worlds.exact_head((pairs[0] - pairs[1])[:400].astype(np.float64), 0.03)
    cosine = trained @ exact / np.linalg.norm(trained) / np.linalg.norm(exact)
    assert cosine > 0.99
    assert np.linalg.norm(trained) == pytest.approx(np.linalg.norm(exact), rel=0.1)


def test_worlds_are_measured_and_claims_decided_by_their_figures(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    worlds = script("overoptimization")
    monkeypatch.setattr(worlds, "EPOCHS", 2)
    monkeypatch.setattr(worlds, "HELDOUT", 40)
    monkeypatch.setattr("common.commit", lambda: None)
    settings = worlds.Settings(
        seeds=2, pairs=80, sizes=(40, 80), prompts=4, samples=96, max_n=64, out=tmp_path
    )
    worlds.run(settings)
    record = json.loads((tmp_path / "overoptimization.json").read_text())
    assert record["n"] == [1, 2, 4, 8, 16, 32, 64]
    rows = record["rows"]
    ensembles = len(worlds.ENSEMBLES) * 2 + len(worlds.ON_CANDIDATES)
    assert len(rows) == ensembles * 7 + len(worlds.KINDS) * 2
    for row in rows.values():
        assert row["gold"]["value"][0] == 0.0
        assert len(row["end_by_seed"]) == 2
        assert row["gold"]["value"][-1] == pytest.approx(np.mean(row["end_by_seed"]), abs=1e-3)
    assert record["members_reading_length"]["halves, all with length"] == [5, 5]
    assert 0.5 < record["accuracy"]["seeds alone"]["value"] < 1.0
    said = {claim["says"]: claim for claim in record["claims"]}
    for claim in said.values():
        figure = claim["figure"]
        if "− mean is 0" in claim["says"]:
            assert claim["holds"] == (figure["low"] <= 0 <= figure["high"])
        if "above 0" in claim["says"] or "more" in claim["says"]:
            assert claim["holds"] == (figure["low"] > 0)
    printed = capsys.readouterr().out
    assert "| shift | seeds alone | mean-variance 1 " in printed
    assert all(says in printed for says in said)


def test_accuracy_is_of_neighbouring_candidates(script: Callable[[str], ModuleType]) -> None:
    worlds = script("overoptimization")
    gold = np.array([[0.0, 1.0, 3.0, 2.0]])
    rewards = np.array([[[0.0, 5.0], [1.0, 4.0], [2.0, 3.0], [1.0, 2.0]]], dtype=np.float32)
    # the first member is right on both pairs, the second on the second alone
    assert worlds.pair_accuracy(rewards, gold) == 0.75


def test_worlds_that_say_nothing_are_refused(script: Callable[[str], ModuleType]) -> None:
    worlds = script("overoptimization")
    for changes in ({"seeds": 1}, {"max_n": 100}, {"max_n": 32}):
        with pytest.raises(ConfigError, match="--max-n a power of two from 64 on"):
            worlds.run(worlds.Settings(**changes))
    for changes in ({"strengths": (2.0,)}, {"samples": 1024}):
        with pytest.raises(ConfigError, match="--strengths holds 1, and --samples is at least"):
            worlds.run(worlds.Settings(**changes))


# --- accuracy -------------------------------------------------------------------------------------


def test_accuracy_is_the_mean_over_split_seeds(
    script: Callable[[str], ModuleType],
    pairs_file: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    accuracy = script("accuracy")
    commands: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        value = 0.6 + 0.1 * len(commands)
        figure = {"value": value, "low": 0.5, "high": 0.9, "n": 100}
        heldout = {"accuracy": figure, "length_only_accuracy": {**figure, "value": 0.55}}
        record = {"heldout": heldout, "training": {"steps": 3}, "data": {"dropped": {}}}
        return subprocess.CompletedProcess(command, 0, json.dumps(record), "")

    monkeypatch.setattr(accuracy.subprocess, "run", run)
    monkeypatch.setattr("common.commit", lambda: None)
    accuracy.run(accuracy.Settings(data=pairs_file, seeds=(3, 4), flags="--epochs 2", out=tmp_path))
    record = json.loads((tmp_path / "accuracy_gold_frozen.json").read_text())
    assert record["summary"]["accuracy"] == pytest.approx(0.75)
    assert record["summary"]["length_only"] == pytest.approx(0.55)
    assert [r["split_seed"] for r in record["runs"]] == [3, 4]
    assert record["settings"]["flags"] == "--epochs 2"
    assert [c[c.index("--split-seed") + 1] for c in commands] == ["3", "4"]
    assert all(c[-2:] == ["--epochs", "2"] for c in commands)
    assert "mean accuracy 0.750" in capsys.readouterr().out


def test_a_failed_training_is_one_sentence(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    accuracy = script("accuracy")
    failed = subprocess.CompletedProcess([], 2, "", "progress\nConfigError: lr is 99")
    monkeypatch.setattr(accuracy.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(TrainingError, match=r"split seed 7 failed: ConfigError: lr is 99"):
        accuracy.train(accuracy.Settings(), 7, tmp_path)


@pytest.mark.slow
def test_accuracy_trains_as_a_user_would(
    script: Callable[[str], ModuleType],
    pairs_file: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    accuracy = script("accuracy")
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    settings = accuracy.Settings(
        data=pairs_file,
        backbone=str(tiny_backbone),
        seeds=(0,),
        flags="--epochs 2",
        name="tiny",
        threads=1,
        out=tmp_path,
    )
    accuracy.run(settings)
    text = (tmp_path / "accuracy_tiny.json").read_text()
    (run,) = json.loads(text)["runs"]
    assert 0 <= run["heldout"]["accuracy"]["value"] <= 1
    assert run["seconds"] > 0
    assert str(tmp_path) not in text


# --- audit speed ----------------------------------------------------------------------------------


@pytest.mark.medium
def test_an_audit_is_timed_and_finds_what_is_planted(
    script: Callable[[str], ModuleType],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    audit_speed = script("audit_speed")
    monkeypatch.setenv("PYTHONPATH", str(FOLDER.parent))
    settings = audit_speed.Settings(
        pairs=400, repetitions=10, near=10, contradictions=5, cycles=4, contaminated=9,
        evaluation=30, signed=20, repeats=1, threads=1, out=tmp_path,
    )  # fmt: skip
    audit_speed.run(settings)
    record = json.loads((tmp_path / "audit_speed.json").read_text())
    assert record["rows"] == 400
    assert record["found_and_planted"]["near-duplicate pairs"] == [10, 10]
    assert record["seconds"]["median"] > 0
    assert record["peak_memory_bytes"]["max"] > 1e7
    assert "| wall time" in capsys.readouterr().out


def test_an_audit_that_misses_something_is_an_error(
    script: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    audit_speed = script("audit_speed")
    monkeypatch.setattr(audit_speed, "run_worker", lambda *_: {"rows": 1})
    figures = {"seconds": 1.0, "peak_memory_bytes": 1e9}

    def timed(folder: Path, number: int, threads: int) -> dict[str, float]:
        (folder / f"run-{number}").mkdir()
        (folder / f"run-{number}" / "audit.json").write_text("{}")
        return figures

    monkeypatch.setattr(audit_speed, "timed", timed)
    found = {"cycles": (1, 2), "repetitions": (3, 3)}
    monkeypatch.setattr(audit_speed, "planted_and_found", lambda *_: found)
    with pytest.raises(TrainingError, match="not as planted: cycles; see the record"):
        audit_speed.run(audit_speed.Settings(repeats=1, signed=0, out=tmp_path))
    assert (tmp_path / "audit_speed.json").exists()


# --- simulated judgments --------------------------------------------------------------------------


def test_annotator_recovery_compares_systems_on_the_same_judgments(
    script: Callable[[str], ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recovery = script("annotator_recovery")
    recovery.run(recovery.Settings(pairs=64, raters=1, features=4, seeds=2, epochs=2, out=tmp_path))
    record = json.loads((tmp_path / "annotator_recovery.json").read_text())
    assert [run["seed"] for run in record["runs"]] == [0, 1]
    for run in record["runs"]:
        assert set(run["accuracy"]) == {
            "judgments one by one",
            "majority vote",
            "share of votes",
            "annotator-aware",
            "reliabilities told",
        }
        assert {name: true for name, (true, _) in run["annotators"].items()} == {
            f"{level}-0": level for level in recovery.LEVELS
        }
    said = capsys.readouterr().out
    assert "| majority vote " in said
    assert "rank correlation " in said


def test_votes_are_counted_by_pair(script: Callable[[str], ModuleType]) -> None:
    import numpy as np

    recovery, simulated = script("annotator_recovery"), script("simulated")
    preference = recovery.Preference
    said = [preference(0, 1), preference(1, 0), preference(1, 0), preference(0, 1)]
    examples = [simulated.pair(p, cluster) for p, cluster in zip(said, (0, 0, 0, 1), strict=True)]
    part = simulated.Part(examples, np.arange(8, dtype=np.float32)[:, None])
    for hard, probability in ((True, 1.0), (False, 2 / 3)):
        voted = recovery.voted(part, hard)
        labels = [(p.chosen, p.probability) for e in voted.examples for p in e.preferences]
        assert labels == [(1, pytest.approx(probability)), (0, 1.0)]
        assert voted.features[:, 0].tolist() == [0, 1, 6, 7]


@pytest.mark.medium
def test_length_debiasing_runs_on_features_and_on_text(
    script: Callable[[str], ModuleType],
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("ASSAY_CACHE", str(tmp_path / "cache"))
    length = script("length_debiasing")
    settings = length.Settings(
        seeds=2,
        text_seeds=1,
        pairs=64,
        limit=6,
        epochs=1,
        backbone=str(tiny_backbone),
        out=tmp_path,
    )
    length.run(settings)
    record = json.loads((tmp_path / "length_debiasing.json").read_text())
    assert len(record["simulated"]) == 2
    assert set(record["text"][0]) == set(length.SYSTEMS)
    assert set(record["simulated"][0]) == set(length.SYSTEMS) - {"RRM"}
    assert "correlation with length" in capsys.readouterr().out


def test_biased_labels_turn_pairs_whose_worse_side_is_longer(
    script: Callable[[str], ModuleType],
) -> None:
    import numpy as np

    length = script("length_debiasing")
    pairs = length.judged_pairs(str(length.TRAIN), None)
    assert len(pairs) > 1600
    settings = length.Settings(text_bias=3.0)
    turned = length.biased_labels(settings, pairs, np.random.default_rng(0))
    gaps = [len(length.words(p.chosen)) - len(length.words(p.rejected)) for p in pairs]
    assert np.mean(np.array(gaps)[turned]) < -10 < np.mean(np.array(gaps)[~turned])
    biased = length.flipped(pairs, turned)
    sides = [(p.chosen, p.rejected) for p in biased]
    for (chosen, rejected), pair, is_turned in zip(sides, pairs, turned, strict=True):
        assert (chosen == pair.rejected) == is_turned
        assert (rejected == pair.chosen) == is_turned


# --- local judges ---------------------------------------------------------------------------------


def test_questions_that_share_their_beginning_are_timed_beside_those_that_do_not(
    script: Callable[[str], ModuleType],
    pairs_file: Path,
    tiny_backbone: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sharing = script("judge_sharing")
    for name in sharing.FILES.values():
        (tmp_path / name).write_bytes(pairs_file.read_bytes())
    monkeypatch.setenv("ASSAY_DATA", str(tmp_path))
    settings = sharing.Settings(
        judge=str(tiny_backbone), comparisons=2, repeats=2, threads=1, out=tmp_path
    )
    sharing.run(settings)
    record = json.loads((tmp_path / "judge_sharing.json").read_text())
    assert record["tasks"]["pandalm pair"]["questions"] == 4
    assert record["tasks"]["hh_helpful checklist"]["questions"] == 16
    assert all(len(task["shared"]) == 2 for task in record["tasks"].values())


def test_ways_that_answer_otherwise_are_refused(script: Callable[[str], ModuleType]) -> None:
    from assay.feedback.judges.records import Answer

    sharing = script("judge_sharing")

    class Fixed:
        def __init__(self, share: float):
            self.share = share

        def read(self, asked: Any) -> Any:
            return [Answer("answered", (self.share, 1 - self.share)) for _ in asked]

    ways = {"alone": Fixed(0.5), "shared": Fixed(0.501)}
    with pytest.raises(TrainingError, match=r"differ by 1\.0e-03"):
        sharing.measured(ways, ["question"], 1)
