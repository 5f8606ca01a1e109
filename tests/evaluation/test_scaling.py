"""Contract: ``assay scaling`` trains each point once, nests its data, goes on, and refuses."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.configs import Scaling
from assay.data.contract import Renderer
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError, DataError, TrainingError
from assay.evaluation import scaling_points
from assay.evaluation.scaling import ladder, run
from assay.evaluation.scaling_study import PAGE, POINTS, RESULTS, ScalingStudy
from assay.stats import accuracy

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples")

SIZES = (10, 20, 40, 80)


@pytest.fixture(autouse=True)
def process_state(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a verb changes for the rest of its process is undone."""
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with warnings.catch_warnings():
        yield


@pytest.fixture(scope="module")
def asked(
    tiny_backbone: Path, pairs_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Scaling:
    """Two depths, four sizes, two seeds: sixteen points of a few steps each."""
    training = tmp_path_factory.mktemp("settings") / "training.toml"
    training.write_text("epochs = 2\n")
    return Scaling(
        data=(str(pairs_file),),
        backbones=(str(tiny_backbone),),
        layers=(1, 2),
        sizes=SIZES,
        seeds=(0, 1),
        training=training,
        max_length=256,
        out=Path(),
    )


@pytest.fixture(scope="module")
def study(
    asked: Scaling, own_cache: Path, tmp_path_factory: pytest.TempPathFactory
) -> ScalingStudy:
    """A finished study, to read."""
    return run(replace(asked, out=tmp_path_factory.mktemp("studies") / "whole"))


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int | None, int]]:
    """Notes every training: pairs, layers and seed."""
    import assay.train.reward as reward

    noted: list[tuple[int, int | None, int]] = []
    train_reward = reward.train_reward

    def noting(model: Any, train: Any, heldout: Any, training: Any, **rest: Any) -> Any:
        noted.append((len(train), training.layers, training.seed))
        return train_reward(model, train, heldout, training, **rest)

    monkeypatch.setattr(reward, "train_reward", noting)
    return noted


def lines(directory: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (directory / POINTS).read_text().splitlines()]


def without_seconds(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: without_seconds(v) for k, v in value.items() if k not in ("seconds", "created")}
    return [without_seconds(v) for v in value] if isinstance(value, list) else value


# --- what a study holds ---------------------------------------------------------------------------


def test_a_study_writes_its_points_figures_and_page(study: ScalingStudy) -> None:
    out = study.config.out
    assert {p.name for p in out.iterdir()} == {POINTS, RESULTS, PAGE, "config.toml"}
    results = json.loads((out / RESULTS).read_text())
    assert results == json.loads(json.dumps(study.record))
    assert [m["model"].split(", ")[1] for m in results["models"]] == [
        "1 of 2 layers",
        "2 of 2 layers",
    ]
    assert results["sizes"] == list(SIZES)
    assert results["training"]["epochs"] == 2
    for model in results["models"]:
        assert [size["size"] for size in model["sizes"]] == list(SIZES)
        for size in model["sizes"]:
            assert size["chance_accuracy"] == 0.5
            for name in ("accuracy", "nll", "length_only_accuracy"):
                assert set(size[name]) == {"value", "low", "high", "n"}
                assert size[name]["low"] <= size[name]["value"] <= size[name]["high"]
        assert model["holdout"]["fitted_sizes"] == 3
    first, second = results["models"]
    assert first["parameters"] < second["parameters"]
    assert first["bigger"]["model"] == second["model"]
    assert second["bigger"] is None
    assert len(results["points"]) == 2 * 4 * 2
    assert set(results["points"][0]) == {
        *("model", "layers", "size", "seed", "pairs", "prompts", "parameters", "weights"),
        *("seconds", "accuracy", "nll", "length_only_accuracy"),
    }
    assert str(out) not in json.dumps(results)  # no path of this machine


def test_a_points_figures_are_those_of_its_gaps(study: ScalingStudy) -> None:
    _, *points = lines(study.config.out)
    heldout = study.record["data"]["heldout"]
    for point in points:
        assert len(point["gaps"]) == len(point["length_only"]) == heldout["pairs"]
        assert accuracy(point["gaps"]).value == pytest.approx(point["figures"]["accuracy"]["value"])
        length = accuracy(np.array(point["length_only"], float)).value
        assert length == pytest.approx(point["figures"]["length_only_accuracy"]["value"])
        assert point["pairs"] >= point["size"]
    sizes = [p for p in points if p["layers"] == 2 and p["size"] == 40]
    mean = np.mean([p["figures"]["accuracy"]["value"] for p in sizes])
    assert study.curves[1].sizes[2].accuracy.value == pytest.approx(mean)


def test_a_point_is_what_training_alone_gives(
    asked: Scaling, study: ScalingStudy, tiny_backbone: Path
) -> None:
    """The backbone that all points share carries nothing from one to the next."""
    from assay.configs import RewardTraining
    from assay.models.reward_model import RewardModel
    from assay.train.reward import train_reward

    train, heldout = PreferencePairs.load(list(asked.data)).split(heldout=0.2, seed=0)
    _, *points = lines(study.config.out)
    for point in (points[0], points[-1]):
        model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
        alone = train_reward(
            model,
            train.nested(point["size"], point["seed"]),
            heldout,
            RewardTraining(epochs=2, layers=point["layers"], seed=point["seed"]),
        )
        np.testing.assert_allclose(point["gaps"], alone.heldout.gaps, rtol=1e-4, atol=1e-6)
        assert point["pairs"] == alone.encoding.pairs


def test_the_printed_text_has_the_answer_and_what_was_dropped(
    asked: Scaling, study: ScalingStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["scaling", "--data", *asked.data, "--backbones", *asked.backbones]
    words += ["--layers", "1", "2", "--sizes", *map(str, SIZES), "--seeds", "0", "1"]
    words += ["--training", str(asked.training), "--max-length", "256"]
    words += ["--out", str(study.config.out)]
    assert main(words) == 0
    printed = capsys.readouterr().out
    for said in study.record["answers"]:
        assert said in printed
    assert "0 pairs dropped: longer than 256 tokens" in printed
    assert "held-out data: 200 rows gave 200 pairs" in printed
    assert printed.rstrip().endswith(PAGE)
    assert main([*words, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert without_seconds(shown)["models"] == without_seconds(study.to_dict())["models"]


def test_the_resolved_configuration_reads_back(study: ScalingStudy) -> None:
    from assay.toml import read_toml

    saved = Scaling(**read_toml(study.config.out / "config.toml", Scaling))
    assert replace(saved, json=False) == study.config


# --- which data -----------------------------------------------------------------------------------


def test_the_default_sizes_halve_all_the_data_down_to_about_128() -> None:
    assert ladder(2048) == (128, 256, 512, 1024, 2048)
    assert ladder(1303) == (163, 326, 652, 1303)
    assert ladder(182) == (91, 182)
    assert ladder(181) == (181,)  # half of it lies nearer to 64


def test_models_train_on_what_all_of_them_can_read(
    asked: Scaling, tmp_path: Path, pairs_file: Path
) -> None:
    rows = [json.loads(line) for line in pairs_file.read_text().splitlines()]
    rows[0]["prompt"] = "tea " * 300
    long = tmp_path / "long.jsonl"
    long.write_text("".join(json.dumps(row) + "\n" for row in rows))
    config = replace(asked, data=(str(long),), layers=(1,), sizes=(10, 20), out=tmp_path / "out")
    study = run(config)
    data = study.record["data"]
    assert data["train"]["pairs"] + data["heldout"]["pairs"] == 199
    assert "1 pairs dropped: longer than 256 tokens" in str(study)


@pytest.mark.medium
def test_lora_reads_the_backbone_anew_for_every_point(
    asked: Scaling, tmp_path: Path, trained: list[tuple[int, int | None, int]]
) -> None:
    settings = tmp_path / "lora.toml"
    settings.write_text("epochs = 1\nlora_rank = 2\n")
    config = replace(
        asked, mode="lora", layers=(), training=settings, sizes=(8, 16), out=tmp_path / "out"
    )
    study = run(config)
    assert [layers for _, layers, _ in trained] == [None] * 4
    assert {seed for *_, seed in trained} == {0, 1}
    assert "," not in study.curves[0].model  # no layers in its name
    assert len({p["weights"] for p in study.record["points"]}) == 1


def test_shared_prompts_and_a_single_seed_are_said(asked: Scaling, tmp_path: Path) -> None:
    study = run(
        replace(
            asked,
            heldout=asked.data,
            seeds=(3,),
            layers=(1,),
            sizes=(10, 20),
            threads=1,
            out=tmp_path / "out",
        )
    )
    assert "held-out prompts are also training prompts" in str(study)
    assert "one seed: the intervals are over held-out prompts alone" in str(study)


# --- going on -------------------------------------------------------------------------------------


def test_a_finished_study_trains_nothing_again(
    study: ScalingStudy, trained: list[tuple[int, int | None, int]]
) -> None:
    before = (study.config.out / POINTS).read_bytes()
    again = run(study.config)
    assert trained == []
    assert (study.config.out / POINTS).read_bytes() == before
    assert without_seconds(again.record) == without_seconds(study.record)


@pytest.mark.medium
def test_after_a_kill_the_study_is_the_same_and_trains_only_what_is_missing(
    asked: Scaling,
    study: ScalingStudy,
    start_assay: Callable[..., Any],
    trained: list[tuple[int, int | None, int]],
    tmp_path: Path,
) -> None:
    out = tmp_path / "killed"
    words = ["scaling", "--data", *asked.data, "--backbones", *asked.backbones]
    words += ["--layers", "1", "--sizes", *map(str, SIZES), "--seeds", "0", "1"]
    words += ["--training", str(asked.training), "--max-length", "256", "--out", str(out)]
    killed = (
        "import os, signal\n"
        "from assay.formats.journal import Journal\n"
        "append, done = Journal.append, []\n"
        "def counting(self, part):\n"
        "    append(self, part)\n"
        "    done.append(1)\n"
        "    if len(done) == 3: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Journal.append = counting\n"
    )
    command = start_assay(words, before=killed)
    assert command.wait() == -9, command.output
    assert {p.name for p in out.iterdir()} == {POINTS}
    kept = lines(out)[1:]
    assert len(kept) == 3
    with (out / POINTS).open("ab") as file:
        file.write(b'{"backbone": "torn')
    resumed = run(replace(asked, layers=(1,), out=out))
    assert len(trained) == 8 - 3
    _, *points = lines(out)
    assert points[:3] == kept
    # the same as never killed, to the last digit
    header, *wholly = lines(study.config.out)
    wholly = [p for p in wholly if p["layers"] == 1]
    assert {point_key(p): p["gaps"] for p in points} == {point_key(p): p["gaps"] for p in wholly}
    never = tmp_path / "never"
    never.mkdir()
    (never / POINTS).write_text("".join(json.dumps(p) + "\n" for p in [header, *wholly]))
    unbroken = run(replace(asked, layers=(1,), out=never))
    assert len(trained) == 8 - 3
    assert without_seconds(resumed.record) == without_seconds(unbroken.record)


def point_key(point: dict[str, Any]) -> tuple[Any, ...]:
    return point["layers"], point["size"], point["seed"]


def test_ctrl_c_keeps_finished_points_and_says_how_to_go_on(
    asked: Scaling, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import assay.train.reward as reward

    train_reward, calls = reward.train_reward, []

    def interrupted(*arguments: Any, **rest: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return train_reward(*arguments, **rest)

    monkeypatch.setattr(reward, "train_reward", interrupted)
    out = tmp_path / "out"
    with pytest.raises(
        TrainingError, match=r"2 of 16 points are finished in .*out\. Go on with the"
    ):
        run(replace(asked, out=out))
    assert len(lines(out)) == 1 + 2
    assert not (out / RESULTS).exists()


def test_more_sizes_and_seeds_train_only_what_is_new(
    asked: Scaling, tmp_path: Path, trained: list[tuple[int, int | None, int]]
) -> None:
    small = replace(asked, layers=(1,), sizes=(10, 40), seeds=(0,), out=tmp_path / "out")
    run(small)
    assert len(trained) == 2
    trained.clear()
    wider = run(replace(small, sizes=(10, 20, 40), seeds=(0, 1)))
    assert sorted(seed for *_, seed in trained) == [0, 1, 1, 1]
    assert len(wider.record["points"]) == 6


@pytest.mark.medium
def test_points_of_another_study_are_not_mixed_in(
    asked: Scaling, study: ScalingStudy, tmp_path: Path, pairs_file: Path
) -> None:
    other = tmp_path / "other.toml"
    other.write_text("epochs = 3\n")
    changes: list[tuple[dict[str, Any], str]] = [
        ({"training": other}, "another training settings;"),
        ({"max_length": 255}, "another max_length;"),
        ({"truncation": "truncate-left"}, "another truncation;"),
        ({"limit": 150}, "another training data, held-out data;"),
        ({"split_seed": 4}, "another training data, held-out data;"),
        ({"mode": "lora", "layers": ()}, "another mode;"),
    ]
    before = (study.config.out / POINTS).read_bytes()
    for change, said in changes:
        with pytest.raises(ConfigError, match=f"holds a study begun with {said} name another"):
            run(replace(study.config, **change))
    assert (study.config.out / POINTS).read_bytes() == before


def test_a_backbone_whose_weights_changed_is_noticed(asked: Scaling, tmp_path: Path) -> None:
    config = replace(asked, layers=(1,), sizes=(10, 20), seeds=(0,), out=tmp_path / "out")
    run(config)
    journal = config.out / POINTS
    points = lines(config.out)
    journal.write_text(
        "".join(
            json.dumps({**p, "weights": "other"} if "weights" in p else p) + "\n" for p in points
        )
    )
    run(config)  # nothing to train, nothing to compare with
    with pytest.raises(ConfigError, match="with other weights; name another directory"):
        run(replace(config, seeds=(0, 1)))


# --- what is refused ------------------------------------------------------------------------------


@pytest.fixture
def scaling_says(
    asked: Scaling, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str]]:
    """Runs a study that must fail; gives its exit code and its one sentence."""

    def says(**changes: object) -> tuple[int, str]:
        config = {
            "data": asked.data,
            "backbones": asked.backbones,
            "sizes": SIZES,
            "max_length": 256,
            "out": tmp_path / "out",
            **changes,
        }
        words = ["scaling"]
        for name, value in config.items():
            values = value if isinstance(value, tuple) else (value,)
            words += [f"--{name.replace('_', '-')}", *map(str, values)]
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        said = [line for line in captured.err.splitlines() if line.strip()]
        assert captured.out == ""
        assert len(said) == 1, said
        return code, said[0]

    return says


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"sizes": (10, 500)}, "--sizes asks for 500 pairs, and there are 161 to train on"),
        ({"sizes": (50,)}, "one size (50) shows no scaling; name two or more"),
        ({"sizes": (20, 10)}, "--sizes must rise; got 20 10"),
        ({"sizes": (10, 10, 20)}, "--sizes names one twice: 10 10 20"),
        ({"sizes": (0, 10)}, "--sizes begin at 2 pairs; got 0"),
        ({"sizes": (10, 11)}, "draw the same prompts with seed"),
        ({"sizes": ()}, "161 training pairs are too few for the default sizes"),
        ({"seeds": (1, 1)}, "--seeds names one twice: 1 1"),
        ({"seeds": ()}, "--seeds is empty; name one or more"),
        ({"backbones": ()}, "--backbones is empty; name one or more"),
        ({"backbones": ("smolm",)}, "'smolm' is no backbone: wanted one of smollm2-135m"),
        ({"layers": (1, 9)}, "--layers 9 was asked of"),
        ({"layers": (1, 2, 3, 4, 5, 6, 7)}, "7 models were asked for (backbones × layers)"),
        ({"layers": (1,), "mode": "full"}, "--layers is for mode frozen, and the mode is full"),
        ({"heldout_fraction": 0.05}, "the held-out data has"),
        ({"heldout_fraction": 1.5}, "heldout must be a share between 0 and 1"),
        ({"max_length": 5000}, "max_length 5,000 is more than the 2,048 tokens"),
        ({"max_length": 4}, "are longer than max_length=4 tokens"),
        ({"data": ("nowhere.jsonl",)}, "nowhere.jsonl"),
        ({"training": "nowhere.toml"}, "'nowhere.toml': No such file"),
    ],
)
def test_requests_that_cannot_work_say_so_and_write_nothing(
    scaling_says: Callable[..., tuple[int, str]],
    tmp_path: Path,
    changes: dict[str, object],
    sentence: str,
) -> None:
    code, said = scaling_says(**changes)
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("mode = 'full'", "sets 'mode', for which a study has --mode"),
        ("layers = 3", "sets 'layers', for which a study has --layers"),
        ("seed = 3", "sets 'seed', for which a study has --seeds"),
        ("epoch = 3", "'epoch' is not a key of RewardTraining; did you mean 'epochs'?"),
        ("epochs = 0", "epochs is 0; it is at least 1"),
    ],
)
def test_settings_that_cannot_work_say_so_and_write_nothing(
    scaling_says: Callable[..., tuple[int, str]], tmp_path: Path, text: str, sentence: str
) -> None:
    settings = tmp_path / "training.toml"
    settings.write_text(text + "\n")
    code, said = scaling_says(training=settings)
    assert (code, sentence in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_where_a_study_may_not_go_nothing_changes(
    scaling_says: Callable[..., tuple[int, str]], tmp_path: Path
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("text")
    code, said = scaling_says(out=taken)
    assert (code, "taken is a file; name a directory for the study" in said) == (2, True)
    assert taken.read_text() == "text"


def test_it_does_not_run_as_several_processes(
    asked: Scaling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="runs as one process"):
        run(asked)


def test_held_out_ties_alone_are_refused(
    asked: Scaling, tmp_path: Path, gold_pairs: Callable[..., list[dict[str, Any]]]
) -> None:
    ties = tmp_path / "ties.jsonl"
    rows = [{**row, "prompt": f"{i}", "tie": True} for i, row in enumerate(gold_pairs(20))]
    ties.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match="all held-out pairs are ties"):
        run(replace(asked, heldout=(str(ties),), out=tmp_path / "out"))


def test_what_no_backbone_can_read_is_refused(asked: Scaling, pairs_file: Path) -> None:
    _, renderers = scaling_points.models_of(asked)
    (name, renderer), *_ = renderers.items()

    class Refuses(Renderer):
        """Reads the even comparisons alone, or the odd ones."""

        def __init__(self, rest: int):
            super().__init__(renderer.contract, renderer.tokenizer)
            self.rest, self.seen = rest, -1

        def fit(self, tokens: Any, truncation: Any = None) -> Any:
            self.seen += 1
            return tokens if self.seen // 2 % 2 == self.rest else None

    pairs = PreferencePairs.load(str(pairs_file))
    kept, said = scaling_points.readable(pairs, {name: renderer, "even": Refuses(0)})
    assert [p.id for p in kept] == [p.id for p in pairs][::2]
    assert said["even"].startswith("100 pairs dropped")
    with pytest.raises(DataError, match="no comparison can be read by all of even, odd; raise"):
        scaling_points.readable(pairs, {"even": Refuses(0), "odd": Refuses(1)})


def test_two_directories_of_one_name_keep_their_paths(
    asked: Scaling, tiny_backbone: Path, tmp_path: Path
) -> None:
    import shutil

    twin = tmp_path / tiny_backbone.name
    shutil.copytree(tiny_backbone, twin)
    models, renderers = scaling_points.models_of(
        replace(asked, backbones=(str(tiny_backbone), str(twin)))
    )
    assert len({m.name for m in models}) == 4
    assert set(renderers) == {str(tiny_backbone), str(twin)}
