"""Cleaning by hand: what each action makes of labels, rankings and ties; the verb end to end."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fitting import textless

from assay.cli import main
from assay.configs import Clean, Cleaning
from assay.data.pairs import PreferencePairs
from assay.errors import ConfigError, DataError
from assay.formats.comparisons import to_row
from assay.models.reward_model import RewardModel
from assay.stats import FlipModel
from assay.train.clean_run import beside, run
from assay.train.cleaning import (
    LabelCheck,
    changed,
    check_labels,
    clean_labels,
    label_check,
    suspects,
)
from assay.train.cleaning_page import LONGEST, cleaning_page
from assay.train.cleaning_report import cleaning_report, out_of_fold_figures
from assay.train.crossfit import CrossFit
from assay.train.encode import EncodeReport, Example, pair_index
from assay.types import Preference

pytestmark = pytest.mark.usefixtures("own_cache")

PAIR = {"prompt": "Tea?", "chosen": "yes", "rejected": "no", "margin": 2.0, "id": "p"}
RANKED = {
    "prompt": "Which?",
    "responses": ["a", "b", "c"],
    "judgments": [{"annotator": "x", "ranking": [[0], [1], [2]]}],
}
TIE = {"prompt": "So?", "chosen": "one", "rejected": "two", "tie": True}
LONG = {"prompt": "Long?", "chosen": "q", "rejected": "r"}


@pytest.fixture
def pairs() -> PreferencePairs:
    """A pair, a ranking of three, a tie and a pair that no head could read."""
    tied = {**RANKED, "prompt": "Tied?", "judgments": [{"ranking": [[0, 1], [2]]}]}
    rows = [to_row(PreferencePairs.load([r]).comparisons[0]) for r in (PAIR, RANKED, tied, LONG)]
    return PreferencePairs.load([*rows])


def check_of(
    pairs: PreferencePairs, wrong: dict[int, list[float]], std: float = 0.25
) -> LabelCheck:
    """Given probabilities of being wrong, by comparison."""
    rows = [(n, place, w) for n, values in wrong.items() for place, w in enumerate(values)]
    number, place, probability = (np.array(column) for column in zip(*rows, strict=True))
    count = len(rows)
    examples = [
        textless(*c.preferences, lengths=(3,) * len(c.responses), cluster=n, number=n)
        for n, c in ((n, pairs.comparisons[n]) for n in wrong)
    ]
    gaps = np.where(np.isnan(probability), 0.0, 1 - 2 * probability)
    flips = FlipModel(0.2, 1.0)
    fold = np.arange(len(wrong))[:, None] % 2
    cross = CrossFit(np.stack([gaps - 0.1, gaps + 0.1], axis=1), flips, fold, ())
    encoding = EncodeReport(len(wrong), count, 1, 1, 0, 0, 9, 12)
    return LabelCheck(
        number.astype(np.int64), place.astype(np.int64), gaps, np.full(count, std),
        probability.astype(np.float64), flips, examples, encoding, cross,
    )  # fmt: skip


WRONG = {0: [0.9], 1: [0.1, 0.6, 0.2], 2: [np.nan, 0.1, 0.7]}


def cleaned_rows(pairs: PreferencePairs, action: str, **changes: Any) -> list[dict[str, Any]]:
    cleaning = Cleaning(action=action, **changes)  # type: ignore[arg-type]
    return list(clean_labels(pairs, check_of(pairs, WRONG), cleaning).rows())


# --- one label ------------------------------------------------------------------------------------


def test_what_each_action_makes_of_a_label() -> None:
    label = Preference(0, 1, 1.0, margin=2.0, weight=3.0)
    assert changed(label, "flip", 0.9) == Preference(1, 0, 1.0, 0.0, 3.0)
    assert changed(label, "drop", 0.9) is None
    assert changed(label, "down-weight", 0.75) == Preference(0, 1, 1.0, 2.0, 0.75)
    assert changed(label, "smooth", 0.25) == Preference(0, 1, 0.75, 2.0, 3.0)
    # more probably wrong than right: the other side, and the margin was not said of it
    assert changed(label, "smooth", 0.75) == Preference(1, 0, 0.75, 0.0, 3.0)
    soft = Preference(0, 1, 0.8)
    assert changed(soft, "flip", 0.9) == Preference(1, 0, 0.8)
    smoothed = changed(soft, "smooth", 0.25)
    assert smoothed is not None
    assert smoothed.probability == pytest.approx(0.8 * 0.75 + 0.2 * 0.25)
    assert changed(label, "report", 0.9) == label


def test_suspects_by_threshold_and_by_share() -> None:
    wrong = np.array([0.5, 0.2, np.nan, 0.9, 0.5, 0.1])
    assert np.flatnonzero(suspects(wrong, Cleaning(action="flip"))).tolist() == [0, 3, 4]
    assert np.flatnonzero(suspects(wrong, Cleaning(threshold=0.6))).tolist() == [3]
    everything = suspects(wrong, Cleaning(action="smooth"))
    assert np.flatnonzero(everything).tolist() == [0, 1, 3, 4, 5]
    assert np.flatnonzero(suspects(wrong, Cleaning(share=0.4))).tolist() == [0, 3]
    assert suspects(wrong, Cleaning(share=0.999)).sum() == 5


# --- whole comparisons ----------------------------------------------------------------------------


def test_a_report_changes_no_label_and_says_what_was_found(pairs: PreferencePairs) -> None:
    rows = cleaned_rows(pairs, "report")
    again = PreferencePairs.load(rows)
    assert [*again.comparisons] == [*pairs.comparisons]
    first = rows[0]["cleaned"]["preferences"]
    was = {"chosen": 0, "rejected": 1, "probability": 1.0, "margin": 2.0, "weight": 1.0}
    assert first == [
        {"action": "keep", "probability_wrong": 0.9, "gap": pytest.approx(-0.8), "std": 0.25,
         "was": was}
    ]  # fmt: skip
    tie = rows[2]["cleaned"]["preferences"][0]
    assert (tie["action"], tie["probability_wrong"], tie["gap"]) == ("tie", None, 0.0)
    (unread,) = rows[3]["cleaned"]["preferences"]
    assert unread["action"] == "unread"
    assert unread["probability_wrong"] is unread["gap"] is unread["std"] is None


def test_flips_are_written_with_the_label_as_it_was(pairs: PreferencePairs) -> None:
    rows = cleaned_rows(pairs, "flip")
    pair, ranked, tied, long = PreferencePairs.load(rows).comparisons
    assert pair.preferences == (Preference(1, 0, 1.0, 0.0, 1.0),)
    assert pair.id == "p"
    assert [(p.chosen, p.rejected) for p in ranked.preferences] == [(0, 1), (2, 0), (1, 2)]
    # the order of the ranking holds no more; it is kept beside the labels
    assert ranked.ranking is None
    assert rows[1]["cleaned"]["ranking"] == [[0], [1], [2]]
    assert [e["action"] for e in rows[1]["cleaned"]["preferences"]] == ["keep", "flip", "keep"]
    assert rows[1]["cleaned"]["preferences"][1]["was"]["chosen"] == 0
    assert tied.preferences[0] == pairs.comparisons[2].preferences[0]
    assert long == pairs.comparisons[3]
    assert "ranking" not in rows[0]["cleaned"]


def test_drops_leave_out_labels_and_comparisons_without_any(pairs: PreferencePairs) -> None:
    rows = cleaned_rows(pairs, "drop")
    assert [r["prompt"][0]["content"] for r in rows] == ["Which?", "Tied?", "Long?"]
    assert [len(r["preferences"]) for r in rows] == [2, 2, 1]
    assert [e["action"] for e in rows[0]["cleaned"]["preferences"]] == ["keep", "drop", "keep"]
    again = PreferencePairs.load(rows)
    assert len(again) == 5
    assert again.comparisons[0].ranking is None


def test_weights_keep_the_ranking_and_smoothing_gives_it_up(pairs: PreferencePairs) -> None:
    lighter = PreferencePairs.load(cleaned_rows(pairs, "down-weight")).comparisons
    assert [p.weight for p in lighter[1].preferences] == pytest.approx([0.9, 0.4, 0.8])
    assert lighter[1].ranking == ((0,), (1,), (2,))
    assert lighter[2].preferences[0].weight == 1.0  # a tie
    smooth = PreferencePairs.load(cleaned_rows(pairs, "smooth")).comparisons
    assert smooth[1].ranking is None
    sides = [(p.chosen, p.rejected, p.probability) for p in smooth[1].preferences]
    assert sides == [(0, 1, 0.9), (2, 0, 0.6), (1, 2, 0.8)]
    few = PreferencePairs.load(cleaned_rows(pairs, "smooth", threshold=0.5)).comparisons
    assert [p.probability for p in few[1].preferences] == [1.0, 0.6, 1.0]


def test_the_report_counts_what_every_action_would_change(pairs: PreferencePairs) -> None:
    check = check_of(pairs, WRONG)
    cleaning = Cleaning(action="drop")
    report = cleaning_report(clean_labels(pairs, check, cleaning), cleaning, resamples=20)
    assert report.counts == {"keep": 3, "drop": 3, "tie": 1, "unread": 1}
    assert (report.emptied, report.rankings_given_up) == (1, 2)
    assert report.expected_wrong == pytest.approx(2.6)
    found = {c.action: (c.labels, c.emptied, c.expected_wrong, c.remaining)
             for c in report.changes}  # fmt: skip
    assert found["flip"] == (3, 0, pytest.approx(0.1 + 0.4 + 0.3 + 0.1 + 0.2 + 0.1), 7)
    assert found["drop"] == (3, 1, pytest.approx(0.4), 4)
    assert found["smooth"] == (6, 0, None, 7)
    assert found["down-weight"] == (6, 0, None, 7)
    assert sum(report.histogram) == 6
    assert report.histogram[18] == 1
    assert [(s.comparison, s.chosen, s.rejected) for s in report.suspicious[:3]] == [
        (1, 0, 1), (3, 1, 2), (2, 0, 2),
    ]  # fmt: skip
    assert len(report.suspicious) == 6
    text = str(report)
    assert "drop: 3 keep, 3 drop, 1 tie, 1 unread" in text
    assert "1 comparisons lost all labels" in text
    record = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert record["accuracy"]["n"] == 6
    assert record["histogram"]["edges"][:2] == [0.0, 0.05]


def test_a_share_takes_the_place_of_the_threshold_in_the_report(pairs: PreferencePairs) -> None:
    check = check_of(pairs, WRONG)
    cleaning = Cleaning(action="flip", share=0.2)
    report = cleaning_report(clean_labels(pairs, check, cleaning), cleaning, resamples=20)
    assert report.counts["flip"] == 1
    assert {(c.threshold, c.share, c.labels) for c in report.changes} == {(None, 0.2, 1)}


def test_length_alone_is_fitted_on_the_other_folds(made: Any) -> None:
    """Length decides every label; within a fold of its own it decides the other way."""
    data = made(40)
    examples = []
    for number, e in enumerate(data.examples):
        chosen = e.preferences[0].chosen
        longer = chosen if number % 4 < 2 else 1 - chosen
        lengths = (9, 5) if longer == 0 else (5, 9)
        examples.append(Example(e.tree, (), e.preferences, None, lengths, number // 2, number))
    fold = (np.arange(40) // 2 % 2)[:, None]
    gaps = np.random.default_rng(0).normal(size=(40, 1)) + 0.5
    encoding = EncodeReport(40, 40, 0, 0, 0, 0, 9, 12)
    check = label_check(examples, encoding, CrossFit(gaps, FlipModel(0.1, 1.0), fold, ()))
    figures = out_of_fold_figures(check, pair_index(examples), 20, 0)
    assert figures["length_only_accuracy"].value == 0.0
    assert figures["accuracy"].value == pytest.approx((gaps[:, 0] > 0).mean())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"members": 0}, "members is 0; a label is judged by at least 1"),
        ({"threshold": 0.5, "share": 0.1}, "threshold and share both say"),
        ({"threshold": 1.5}, "threshold is 1.5; a probability is from 0 to 1"),
        ({"share": 1.0}, "share is 1.0; it lies between 0 and 1"),
        ({"views": ("1",), "layers": 2}, "views say layers and poolings themselves"),
    ],
)
def test_settings_that_cannot_work_say_so(
    pairs: PreferencePairs, changes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError, match=sentence):
        clean_labels(pairs, check_of(pairs, WRONG), Cleaning(**changes))


# --- through a backbone ---------------------------------------------------------------------------

QUICK = {"folds": 3, "members": 2, "epochs": 8, "lr": 0.02, "l2": 0.01, "pooling": "last+mean"}


@pytest.fixture(scope="module")
def noisy(gold_pairs: Any, gold_reward: Any, tmp_path_factory: Any) -> Path:
    """200 pairs by the sign of the gold reward, every fifth turned round, and a long one."""
    rows = []
    for number, row in enumerate(gold_pairs(200)):
        better, worse = sorted((row["chosen"], row["rejected"]), key=gold_reward, reverse=True)
        if number % 5 == 0:
            better, worse = worse, better
        rows.append({**row, "chosen": better, "rejected": worse})
    rows.append({"prompt": "<b>&", "chosen": "word " * 400, "rejected": "rude"})
    path = tmp_path_factory.mktemp("noisy") / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def finished(noisy: Path, tiny_backbone: Path, own_cache: Path, tmp_path_factory: Any) -> Path:
    out = tmp_path_factory.mktemp("cleaned") / "clean.jsonl"
    run(
        Clean(files=(str(noisy),), out=out, backbone=str(tiny_backbone), action="flip",
              share=0.1, max_length=256, threads=1, **QUICK)  # type: ignore[arg-type]
    )  # fmt: skip
    return out


def test_the_verb_writes_a_new_file_and_a_report(finished: Path, noisy: Path) -> None:
    rows = [json.loads(line) for line in finished.read_text().splitlines()]
    before, after = PreferencePairs.load(str(noisy)), PreferencePairs.load(str(finished))
    assert len(rows) == len(after) == len(before) == 201
    flipped = [r["cleaned"]["preferences"][0]["action"] == "flip" for r in rows]
    assert sum(flipped) == 20
    for is_flipped, old, new in zip(flipped, before, after, strict=True):
        assert (new.chosen, new.rejected) == (
            (old.rejected, old.chosen) if is_flipped else (old.chosen, old.rejected)
        )
    assert rows[-1]["cleaned"]["preferences"][0]["action"] == "unread"
    record = json.loads(beside(finished, "report.json").read_text())
    assert record["counts"] == {"keep": 180, "flip": 20, "tie": 0, "unread": 1}
    assert record["flip_rate"]["low"] <= record["flip_rate"]["value"] <= record["flip_rate"]["high"]
    # more of those that were turned round are suspected than chance would
    assert np.mean([i % 5 == 0 for i, f in enumerate(flipped) if f]) > 0.3
    config = beside(finished, "config.toml").read_text()
    assert 'action = "flip"' in config
    assert "share = 0.1" in config


def test_the_page_escapes_the_data_and_is_self_contained(finished: Path) -> None:
    page = beside(finished, "report.html").read_text()
    for text in (
        "Labels that are probably wrong",
        "most suspicious",
        "labelled better",
        "probability that the label is wrong",
        "down-weight: made to weigh less",
    ):
        assert text in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")


def test_texts_are_escaped_and_cut(pairs: PreferencePairs) -> None:
    evil = "<script>alert(1)</script>" + "x" * LONGEST
    rows = [{"prompt": "<i>p</i>", "chosen": evil, "rejected": "&"}, RANKED]
    given = PreferencePairs.load([to_row(PreferencePairs.load([r]).comparisons[0]) for r in rows])
    cleaned = clean_labels(given, check_of(given, {0: [0.9], 1: [0.1, 0.6, 0.2]}), Cleaning())
    page = cleaning_page(cleaning_report(cleaned, Cleaning(), resamples=20), cleaned)
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "&lt;i&gt;p" in page
    assert "… (25 more characters)" in page


def test_in_python_nothing_is_written_and_two_runs_agree(noisy: Path, tiny_backbone: Path) -> None:
    given = PreferencePairs.load(str(noisy))
    cleaning = Cleaning(action="drop", views=("2:mean", "1"), **{
        k: v for k, v in QUICK.items() if k != "pooling"
    })  # fmt: skip
    checks = [
        check_labels(RewardModel.from_backbone(str(tiny_backbone), max_length=256), given, cleaning)
        for _ in range(2)
    ]
    assert np.array_equal(checks[0].gap, checks[1].gap)
    assert len(checks[0].wrong) == 200
    assert checks[0].encoding.dropped_too_long == 1
    assert given.digest == PreferencePairs.load(str(noisy)).digest


@pytest.mark.parametrize("suffix", ["jsonl.gz", "parquet"])
def test_other_files_can_be_written(
    noisy: Path, tiny_backbone: Path, tmp_path: Path, suffix: str, capsys: Any
) -> None:
    out = tmp_path / f"clean.{suffix}"
    words = ["clean", str(noisy), "--out", str(out), "--backbone", str(tiny_backbone)]
    words += ["--max-length", "256", "--folds", "2", "--members", "1", "--epochs", "2"]
    assert main([*words, "--rounds", "1", "--action", "smooth", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["rows"] == 201
    assert record["counts"]["smooth"] == 200
    assert len(PreferencePairs.load(str(out))) == 201
    assert {p.name for p in tmp_path.iterdir()} == {
        f"clean.{suffix}", "clean.report.json", "clean.report.html", "clean.config.toml"
    }  # fmt: skip
    assert "threshold = 0.0" in (tmp_path / "clean.config.toml").read_text()


# --- never in place, and what is refused ----------------------------------------------------------


@pytest.fixture
def refused(tiny_backbone: Path, capsys: Any) -> Any:
    """Runs the verb in a way that must fail: its exit code and its one sentence."""

    def call(*words: object) -> tuple[int, str]:
        capsys.readouterr()
        flags = [] if "--backbone" in words else ["--backbone", str(tiny_backbone)]
        code = main(["clean", *map(str, words), *flags])
        captured = capsys.readouterr()
        said = [x for x in captured.err.replace("\r", "\n").splitlines()
                if x.strip() and "it/s]" not in x]  # fmt: skip
        assert captured.out == ""
        assert len(said) == 1, said
        return code, said[0]

    return call


def test_an_input_is_never_overwritten(noisy: Path, tmp_path: Path, refused: Any) -> None:
    source = tmp_path / "pairs.jsonl"
    source.write_text(noisy.read_text())
    link = tmp_path / "link.jsonl"
    link.symlink_to(source)
    hard = tmp_path / "hard.jsonl"
    hard.hardlink_to(source)
    for out in (source, link, hard, tmp_path / "." / "pairs.jsonl"):
        code, said = refused(source, "--out", out)
        assert code == 2
        assert "would overwrite" in said
        assert "in place" in said
    report = tmp_path / "x.report.json"
    report.write_text(noisy.read_text())
    code, said = refused(report, "--out", tmp_path / "x.jsonl")
    assert (code, "would overwrite" in said) == (2, True)
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "a.jsonl").write_text(noisy.read_text())
    for name in (folder, f"{folder}@train"):
        code, said = refused(name, "--out", folder / "b.jsonl")
        assert (code, "lies in" in said) == (2, True)
    assert source.read_text() == report.read_text() == noisy.read_text()
    assert [p.name for p in folder.iterdir()] == ["a.jsonl"]


def test_what_cannot_be_cleaned_is_one_sentence_and_writes_nothing(
    noisy: Path, tmp_path: Path, refused: Any
) -> None:
    lines = noisy.read_text().splitlines()
    few, ties, long = (tmp_path / f"{name}.jsonl" for name in ("few", "ties", "long"))
    prompts = list(dict.fromkeys(json.loads(line)["prompt"] for line in lines))
    few.write_text("\n".join(x for x in lines if json.loads(x)["prompt"] in prompts[:3]))
    ties.write_text("\n".join(json.dumps({**json.loads(x), "tie": True}) for x in lines[:60]))
    long.write_text(lines[-1])
    before = sorted(p.name for p in tmp_path.iterdir())
    out = ["--out", tmp_path / "out.jsonl", "--max-length", 256, "--epochs", 1, "--members", 1]
    cases = [
        ([few, *out], "folds is 5 and there are 3 prompts; every fold needs one"),
        ([ties, *out], "All 60 pairs are ties, which take no side to be wrong about"),
        ([long, *out], "are longer than max_length=256 tokens"),
        ([noisy, *out, "--folds", 1], "folds is 1; leaving one out takes at least 2"),
        ([noisy, *out, "--views", "9"], "view 9:last is of layer 9; the backbone has 2"),
        ([noisy, *out, "--threshold", 2], "threshold is 2.0; a probability"),
        ([noisy, *out, "--action", "drop", "--threshold", 0], "leaves no comparison"),
        ([noisy, "--out", tmp_path / "out.csv"], "its name must end in .jsonl, .jsonl.gz or"),
        ([tmp_path / "none.jsonl", *out], "none.jsonl does not exist"),
    ]
    for words, sentence in cases:
        if sentence == "leaves no comparison":
            words[0] = tmp_path / "few40.jsonl"
            words[0].write_text("\n".join(lines[:40]))
        code, said = refused(*words)
        assert code == 2
        assert sentence in said
        (tmp_path / "few40.jsonl").unlink(missing_ok=True)
    (tmp_path / "out.jsonl").mkdir()
    code, said = refused(noisy, *out)
    assert (code, "is a directory" in said) == (2, True)
    (tmp_path / "out.jsonl").rmdir()
    assert sorted(p.name for p in tmp_path.iterdir()) == before


def test_features_that_do_not_vary_are_said(noisy: Path, tiny_backbone: Path) -> None:
    import torch

    model = RewardModel.from_backbone(str(tiny_backbone), max_length=256)
    with torch.no_grad():
        model.network.model.norm.weight.zero_()  # type: ignore[union-attr,operator]
    with pytest.raises(DataError, match="reward both responses of all 200 pairs alike"):
        check_labels(model, PreferencePairs.load(str(noisy)), Cleaning(epochs=1, members=1))


def test_a_full_disk_leaves_nothing(
    noisy: Path, tmp_path: Path, refused: Any, monkeypatch: Any
) -> None:
    refused_before = list(tmp_path.iterdir())
    words = [noisy, "--out", tmp_path / "out.jsonl", "--max-length", 256, "--folds", 2]
    words += ["--members", 1, "--epochs", 1, "--rounds", 1]
    real = os.fsync

    def fsync(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().is_relative_to(tmp_path):
            raise OSError(28, "No space left on device")
        real(handle)

    monkeypatch.setattr(os, "fsync", fsync)
    code, said = refused(*words)
    assert (code, "could not be written" in said) == (1, True)
    assert list(tmp_path.iterdir()) == refused_before
