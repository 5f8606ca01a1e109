"""An evaluation: its record and files, scores that count alike when read back, and going on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.configs import Evaluate
from assay.errors import ConfigError, DataError
from assay.evaluation.calibration import Calibration
from assay.evaluation.run import Evaluation, evaluate, read_results, run, shown_name
from assay.evaluation.scoring import JOURNAL, ScoredSuite
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.evaluation.suites import PAIRS, RM_BENCH
from assay.types import Conversation, Message, PreferencePair, Scores, as_messages

WORDS = ("tea", "rain", "maps", "paper", "stone", "river")
FILES = {"config.toml", "report.html", "results.json", "scores.jsonl"}


def made_suite(n: int = 24, prefix: str = "Question") -> Suite:
    """Pairs with two items a prompt, where the right response is longer in most."""
    rng = np.random.default_rng(len(prefix))
    items = []
    for i in range(n):
        texts = (" ".join(rng.choice(WORDS, 4 + i % 5)), " ".join(rng.choice(WORDS, 3 + i % 3)))
        items.append(
            Item(
                id=str(i),
                subset="even" if i % 2 == 0 else "odd",
                prompt=(Message("user", f"{prefix} {i // 2}?"),),
                responses=tuple((Message("assistant", f"{t} {i}"),) for t in texts),
                correct=(True, False),
                cluster=f"{prefix} {i // 2}",
            )
        )
    return Suite(PAIRS, tuple(items), "made")


class Letters:
    """Rewards by the letters of a response; NaN where ``drop`` says so; stops after ``calls``."""

    def __init__(
        self, drop: Callable[[str], bool] = lambda text: False, calls: int = 10**6, cut: int = 0
    ):
        self.drop, self.calls, self.cut = drop, calls, cut
        self.seen: list[Conversation] = []

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        if self.calls <= 0:
            raise RuntimeError("the power went out")
        self.calls -= 1
        self.seen += conversations
        texts = [c.response_text for c in conversations]
        rewards = [float("nan") if self.drop(t) else sum(map(ord, t)) % 101 / 7 for t in texts]
        return Scores(np.array(rewards, dtype=np.float64), truncated=self.cut)


def timeless(record: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in record.items() if k != "created"}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Evaluation, Path]:
    done = evaluate(Letters(), made_suite(), model="letters", probed=6)
    return done, done.save(tmp_path_factory.mktemp("whole") / "evals" / "letters")


# --- the record and the files ---------------------------------------------------------------------


def test_an_evaluation_is_saved_whole_and_nothing_else(whole: tuple[Evaluation, Path]) -> None:
    done, directory = whole
    assert {p.name for p in directory.iterdir()} == FILES - {"config.toml"}
    record = read_results(directory)
    assert timeless(record)["accuracy"] == done.figures.to_dict()["accuracy"]
    assert "directory" not in record
    assert "examples" in record
    assert "examples" not in done.to_dict()
    assert (record["suite"], record["model"], record["items"]) == ("pairs", "letters", 24)
    assert set(record["versions"]) == {"assay", "torch", "transformers"}
    lines = (directory / "scores.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [item.to_row() for item in done.scored]

    def no_constants(name: str) -> None:
        raise AssertionError(f"results.json holds {name}, which is no JSON")

    json.loads((directory / "results.json").read_text(), parse_constant=no_constants)


def test_results_come_last_so_an_unwritten_report_leaves_no_finished_evaluation(
    whole: tuple[Evaluation, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*arguments: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("assay.evaluation.report.report_page", fails)
    with pytest.raises(OSError, match="the disk is full"):
        whole[0].save(tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"scores.jsonl"}
    with pytest.raises(DataError, match="is no finished evaluation"):
        read_results(tmp_path / "out")


def test_accuracy_is_the_share_of_items_whose_right_response_is_rewarded_above(
    whole: tuple[Evaluation, Path],
) -> None:
    done, _ = whole
    by_hand = []
    for item in made_suite().items:
        right, wrong = Letters().score(item.conversations()).reward
        by_hand.append(0.5 if right == wrong else float(right > wrong))
    assert done.figures.accuracy is not None
    assert done.figures.accuracy.accuracy.value == pytest.approx(np.mean(by_hand))
    even = done.figures.subsets["even"].accuracy
    assert (even.value, even.n) == (pytest.approx(np.mean(by_hand[::2])), 12)


def test_what_is_dropped_or_cut_is_counted_and_printed() -> None:
    suite = replace(made_suite(), dropped={"duplicate": 1_234})
    texts = [c.response_text for item in suite.items[:3] for c in item.conversations()]
    gone = {texts[0], texts[1], texts[4]}
    done = evaluate(Letters(gone.__contains__, cut=5), suite, probed=0)
    assert [item.id for item in done.scored] == ["1", *map(str, range(3, 24))]
    assert done.record["dropped"] == {"duplicate": 1_234, "longer than max_length": 2}
    assert (done.record["dropped_responses"], done.record["truncated"]) == (3, 5)
    told = "dropped: 1,234 duplicate, 2 longer than max_length; truncated responses: 5"
    assert told in str(done)
    assert "dropped: none; truncated responses: 0" in str(
        evaluate(Letters(), made_suite(), probed=0)
    )


def test_an_evaluation_of_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="All 24 items of made were dropped as too long"):
        evaluate(Letters(lambda text: True), made_suite())
    with pytest.raises(ConfigError, match="needs a scorer or scores; got neither"):
        evaluate(None, made_suite())


def test_the_most_confidently_wrong_items_are_shown_first(
    whole: tuple[Evaluation, Path],
) -> None:
    done, _ = whole
    gaps = {i.id: i.rewards[0] - i.rewards[1] for i in done.scored}
    shown = done.record["examples"]
    assert [e["id"] for e in shown] == sorted(
        (i for i in gaps if gaps[i] < 0), key=gaps.__getitem__
    )
    assert shown[0]["gap"] == min(gaps.values())
    assert shown[0]["prompt"].startswith("user: Question ")
    assert len(shown[0]["responses"]) == len(shown[0]["rewards"]) == 2


def test_probes_edit_one_right_response_a_prompt_and_can_be_turned_off() -> None:
    suite = made_suite()
    off, on = Letters(), Letters()
    without = evaluate(off, suite, probed=0)
    assert without.record["probes"] is None
    assert len(off.seen) == 48
    found = evaluate(on, suite, probed=100)
    right = {repr(item.conversations()[0]) for item in suite.items}
    assert found.record["probes"]
    prompts = [c.prompt[-1].content for c in on.seen[48:] if repr(c) in right]
    assert len(prompts) == len(set(prompts)) == 12
    one = evaluate(Letters(), replace(suite, items=suite.items[:2]), probed=100)
    assert one.record["probes"] is None  # a single prompt has no interval


def test_progress_is_told_of_scoring_and_probing() -> None:
    told: list[tuple[str, int, int, int]] = []
    evaluate(Letters(), made_suite(), probed=4, progress=lambda *now: told.append(now))
    assert told[0] == ("score", 24, 24, 0)
    assert told[-1][0] == "probe"
    assert told[-1][1] == told[-1][2]


def test_baselines_are_fitted_on_training_pairs_where_there_are_some() -> None:
    train = [
        PreferencePair(
            as_messages(f"Ask {i}", role="user"),
            as_messages("tea " * 9, role="assistant"),
            as_messages("no", role="assistant"),
        )
        for i in range(20)
    ]
    fitted = evaluate(Letters(), made_suite(), train=train, probed=0)
    assert fitted.record["baselines_fitted_on"] == "training pairs"
    lengths = [item.lengths for item in fitted.scored if item.lengths]
    longer = np.mean([0.5 if a == b else float(a > b) for a, b in lengths])
    assert fitted.record["length_only_accuracy"]["value"] == pytest.approx(longer)
    assert fitted.record["text_only_accuracy"] is not None
    crossed = evaluate(Letters(), made_suite(), probed=0)
    assert crossed.record["baselines_fitted_on"] == "cross-validation"


def test_rm_bench_has_its_levels_and_style_matrix() -> None:
    """A scorer that likes fancy styles most, and right over wrong only by half a style."""
    rewards = (0.5, 1.5, 2.5, 0.0, 1.0, 2.0)
    marks = (True,) * 3 + (False,) * 3
    rows = tuple(
        ScoredItem(f"{name} {i}", name, rewards, marks, f"{name} {i}")
        for name in RM_BENCH.subsets
        for i in range(3)
    )
    done = evaluate(None, Suite(RM_BENCH, (), "made"), scored=ScoredSuite(rows, 0, 0, 0))
    levels = {name: figure["value"] for name, figure in done.record["levels"].items()}
    assert levels == {"easy": 1.0, "normal": 1.0, "hard": 0.0}
    matrix = [[cell["value"] for cell in row] for row in done.record["style_matrix"]]
    assert matrix == [[1.0, 0.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]]
    plain = evaluate(Letters(), made_suite(), probed=0)
    assert plain.record["levels"] is plain.record["style_matrix"] is None


# --- calibration ----------------------------------------------------------------------------------


def test_calibration_is_fitted_apart_and_reported_beside_the_raw_figures(tmp_path: Path) -> None:
    done = evaluate(Letters(), made_suite(), calibrate_on=made_suite(30, "Another"), probed=0)
    assert done.calibration is not None
    assert done.calibration.pairs == 30
    assert done.record["calibration"]["temperature"]["value"] == done.calibration.temperature
    assert done.record["length"]["calibrated"]["fitted_on"] == "made"
    raw = evaluate(Letters(), made_suite(), probed=0)
    assert [i.rewards for i in raw.scored] == [i.rewards for i in done.scored]
    assert raw.record["calibration"]["temperature"] is None


def test_calibration_on_the_suites_own_prompts_is_refused_before_anything_is_scored() -> None:
    scorer = Letters()
    with pytest.raises(DataError, match="12 prompts of made are in made too; calibration must"):
        evaluate(scorer, made_suite(), calibrate_on=made_suite())
    assert scorer.seen == []


# --- interrupted ----------------------------------------------------------------------------------


@pytest.mark.parametrize("calls", [1, 3, 6])
def test_an_interrupted_evaluation_goes_on_to_the_same_results(
    whole: tuple[Evaluation, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    """After 6 windows all is scored, and the interruption is in the probes."""
    monkeypatch.setattr("assay.evaluation.scoring.WINDOW", 4)
    suite = made_suite()

    def again(scorer: Letters) -> Evaluation:
        return evaluate(scorer, suite, model="letters", probed=6, directory=tmp_path)

    stopped, going_on = Letters(calls=calls), Letters()
    with pytest.raises(RuntimeError, match="the power went out"):
        again(stopped)
    again(going_on).save(tmp_path)
    assert not {repr(c) for c in stopped.seen} & {repr(c) for c in going_on.seen[: 48 - 8 * calls]}
    assert timeless(read_results(tmp_path)) == timeless(read_results(whole[1]))
    assert (tmp_path / "scores.jsonl").read_bytes() == (whole[1] / "scores.jsonl").read_bytes()


SLOWLY = """
import time
import assay.evaluation.scoring as scoring
quick = scoring._score
scoring.WINDOW = 8
scoring._score = lambda *args: (time.sleep(0.05), quick(*args))[1]
"""


def lines_of(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.usefixtures("own_cache")
@pytest.mark.medium
def test_a_killed_command_goes_on_to_the_same_scores(
    trained_run: Path, pairs_file: Path, start_assay: Any, tmp_path: Path
) -> None:
    words = ["evaluate", trained_run, "--suite", pairs_file, "--probes", "0", "--threads", "1"]
    words += ["--limit", "100", "--out"]
    wanted = tmp_path / "whole"
    command = start_assay([*words, wanted], "import assay.evaluation.scoring as s; s.WINDOW = 8")
    assert command.wait() == 0, command.output
    assert {p.name for p in wanted.iterdir()} == FILES
    out = tmp_path / "out"
    for enough in (3, 7):
        command = start_assay([*words, out], SLOWLY)
        deadline = time.monotonic() + 60
        while lines_of(out / JOURNAL) < enough and command.process.is_alive():
            assert time.monotonic() < deadline, command.output
            time.sleep(0.002)
        os.kill(command.process.pid, signal.SIGKILL)
        assert command.wait() == -signal.SIGKILL, command.output
        assert {p.name for p in out.iterdir()} == {JOURNAL}
    kept = lines_of(out / JOURNAL)
    assert kept < 1 + 100 / 8
    command = start_assay([*words, out], SLOWLY)
    assert command.wait() == 0, command.output
    assert {p.name for p in out.iterdir()} == FILES
    assert (out / "scores.jsonl").read_bytes() == (wanted / "scores.jsonl").read_bytes()
    assert timeless(read_results(out)) == timeless(read_results(wanted))


# --- from saved scores ----------------------------------------------------------------------------

OF_TEXTS = ("text_only_accuracy", "formats", "probes", "examples", "source", "model")


def without_texts(record: Any) -> Any:
    """What rewards and lengths alone can tell."""
    if isinstance(record, dict):
        return {k: without_texts(v) for k, v in timeless(record).items() if k not in OF_TEXTS}
    return record


def test_saved_scores_give_exactly_the_figures_of_the_evaluation(
    whole: tuple[Evaluation, Path], tmp_path: Path
) -> None:
    done, directory = whole
    config = Evaluate(suite="pairs", scores=directory / "scores.jsonl", out=tmp_path / "again")
    again = run(config)
    assert again.scored == done.scored
    mine, first = without_texts(read_results(config.out)), without_texts(read_results(directory))
    mine["baseline_totals"].pop("text_only")
    first["baseline_totals"].pop("text_only")
    assert mine == first
    assert {p.name for p in config.out.iterdir()} == FILES
    assert "report: " in str(again)
    assert (config.out / "scores.jsonl").read_bytes() == (directory / "scores.jsonl").read_bytes()


def test_a_limit_takes_the_first_of_each_subset_of_saved_scores(
    whole: tuple[Evaluation, Path], tmp_path: Path
) -> None:
    scores = whole[1] / "scores.jsonl"
    found = run(
        Evaluate(suite="pairs", scores=scores, out=tmp_path / "few", limit=3, model="chosen name")
    )
    assert sorted(item.id for item in found.scored) == ["0", "1", "2", "3", "4", "5"]
    assert found.record["model"] == "chosen name"


# --- through a model ------------------------------------------------------------------------------


@pytest.mark.usefixtures("own_cache")
def test_the_verb_evaluates_a_run_calibrates_it_and_keeps_what_was_fitted(
    trained_run: Path, gold_pairs: Any, tmp_path: Path
) -> None:
    model = tmp_path / "my-model"
    shutil.copytree(trained_run, model)
    suite, apart = tmp_path / "suite.jsonl", tmp_path / "apart.jsonl"
    rows = gold_pairs(40, seed=5)
    suite.write_text("".join(json.dumps(row) + "\n" for row in rows))
    other = [{**row, "prompt": f"Please. {row['prompt']}"} for row in gold_pairs(40, seed=6)]
    apart.write_text("".join(json.dumps(row) + "\n" for row in other))
    done = run(
        Evaluate(
            run=str(model),
            suite=str(suite),
            calibrate_on=str(apart),
            save_calibration=True,
            train=(str(apart),),
            probes=5,
            threads=1,
            out=tmp_path / "out",
        )
    )
    record = read_results(tmp_path / "out")
    assert (record["model"], record["source"]) == ("my-model", "suite.jsonl")
    assert record["model_digest"].endswith(" truncate-left")
    assert record["baselines_fitted_on"] == "training pairs"
    assert Calibration.load(model) == done.calibration
    assert record["calibration"]["temperature"]["fitted_on"] == "apart.jsonl"
    assert record["items"] + sum(record["dropped"].values()) == 40
    assert record["probes"]
    assert str(tmp_path) not in (tmp_path / "out" / "results.json").read_text()


def test_a_file_is_named_by_its_last_part_and_a_hub_name_stays(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("")
    assert shown_name(str(tmp_path / "a.jsonl")) == "a.jsonl"
    assert shown_name("owner/name@test") == "owner/name@test"


def test_versions_of_what_is_not_installed_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib import metadata

    def version(package: str) -> str:
        if package == "transformers":
            raise metadata.PackageNotFoundError(package)
        return "1"

    monkeypatch.setattr(metadata, "version", version)
    found = evaluate(Letters(), made_suite(), probed=0).record["versions"]
    assert found == {"assay": "1", "torch": "1"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "is no finished evaluation: it has no results.json; make one with assay evaluate"),
        ("{", "is damaged"),
        ("[]", "names no suite"),
        ("{}", "names no suite"),
    ],
)
def test_what_holds_no_results_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "results.json").write_text(text)
    with pytest.raises(DataError, match=message):
        read_results(tmp_path)
