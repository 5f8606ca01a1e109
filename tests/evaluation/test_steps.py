"""Step suites: against upstream's way of counting, by hand, in corners, and from saved rewards."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.cli import main
from assay.errors import DataError
from assay.evaluation.compare import compare_scores
from assay.evaluation.results import figures
from assay.evaluation.saved import read_scores
from assay.evaluation.steps import (
    KINDS,
    PRMBENCH,
    PROCESSBENCH,
)
from assay.evaluation.suite import ScoredItem
from assay.evaluation.suites import load_suite, suite_spec
from assay.stats import jackknife, jackknife_of_sums
from assay.stats.step_counts import first_error, prm_score, processbench_f1

KIND_NAMES = [kind for kinds in KINDS.values() for kind in kinds]


def solution(
    rewards: list[float], correct: list[bool], subset: str = "math", id: str = "1"
) -> ScoredItem:
    return ScoredItem(id, subset, tuple(rewards), tuple(correct), f"{subset}/{id}")


def drawn(subsets: list[str], count: int, seed: int = 0) -> list[ScoredItem]:
    rng = np.random.default_rng(seed)
    items = []
    for subset in subsets:
        for i in range(count):
            steps = int(rng.integers(1, 9))
            wrong = rng.random(steps) < (0.0 if subset == "multi_solutions" else 0.25)
            rewards = np.clip(rng.normal(np.where(wrong, 0.4, 0.65), 0.2), 0, 1)
            items.append(solution(rewards.tolist(), (~wrong).tolist(), subset, str(i)))
    return items


def as_first_error(item: ScoredItem) -> ScoredItem:
    """Wrong from the first error on, as ProcessBench knows it."""
    first = next((i for i, ok in enumerate(item.correct) if not ok), len(item.correct))
    marks = [i < first for i in range(len(item.correct))]
    return solution(list(item.rewards), marks, item.subset, item.id)


def upstream_processbench(items: list[ScoredItem]) -> float:
    """Predictions and labels compared one by one, in percent, as the published script does."""
    matches: dict[bool, list[bool]] = {True: [], False: []}
    for item in items:
        label = item.correct.index(False) if False in item.correct else -1
        prediction = -1
        for number, reward in enumerate(item.rewards):
            if not reward >= 0.5:
                prediction = number
                break
        matches[label != -1].append(prediction == label)
    a, b = (100 * np.mean(matches[kind]) for kind in (True, False))
    return 2 * a * b / (a + b) / 100


def upstream_prmbench(items: list[ScoredItem], kind: str | None) -> float:
    """A matrix of counts, precision and recall, both F1s, as the published task does."""
    tp = fp = tn = fn = 0
    for item in items:
        if kind is not None and item.subset != kind:
            continue
        for reward, right in zip(item.rewards, item.correct, strict=True):
            label = reward >= 0.5
            tp += label and right
            fp += label and not right
            tn += (not label) and not right
            fn += (not label) and right
    precision, recall = tp / (tp + fp), tp / (tp + fn)
    positive = 2 * precision * recall / (precision + recall)
    if kind == "multi_solutions":
        return positive
    precision, recall = tn / (tn + fn), tn / (tn + fp)
    return 0.5 * positive + 0.5 * (2 * precision * recall / (precision + recall))


@pytest.mark.parametrize("seed", range(5))
def test_processbench_is_what_upstream_counts(seed: int) -> None:
    items = [as_first_error(i) for i in drawn(list(PROCESSBENCH.subsets), 60, seed)]
    found = figures(PROCESSBENCH, items)
    assert found.total is None  # 60 of 400 are not the suite
    for name, part in found.subsets.items():
        mine = [i for i in items if i.subset == name]
        assert part.accuracy.value == pytest.approx(upstream_processbench(mine), abs=1e-12)
        assert part.accuracy.low < part.accuracy.value < part.accuracy.high


def test_a_whole_processbench_has_the_mean_of_its_subsets_as_total() -> None:
    items = []
    for name, subset in PROCESSBENCH.subsets.items():
        items += [as_first_error(i) for i in drawn([name], subset.count or 0)]
    found = figures(PROCESSBENCH, items)
    assert found.total is not None
    parts = [part.accuracy.value for part in found.subsets.values()]
    assert found.total.accuracy.value == pytest.approx(np.mean(parts), abs=1e-12)
    assert found.total.accuracy.high - found.total.accuracy.low < 0.1


@pytest.mark.parametrize("seed", range(5))
def test_prmbench_is_what_upstream_counts(seed: int) -> None:
    items = drawn(KIND_NAMES, 30, seed)
    found = figures(PRMBENCH, items)
    assert found.total is not None
    assert found.total.accuracy.value == pytest.approx(upstream_prmbench(items, None), abs=1e-12)
    assert found.total.accuracy.low < found.total.accuracy.value < found.total.accuracy.high
    by_kind = {kind: upstream_prmbench(items, kind) for kind in KIND_NAMES}
    for kind, wanted in by_kind.items():
        assert found.subsets[kind].accuracy.value == pytest.approx(wanted, abs=1e-12)
    for section, kinds in KINDS.items():
        wanted = float(np.mean([by_kind[kind] for kind in kinds]))
        assert found.sections[section].accuracy.value == pytest.approx(wanted, abs=1e-12)


def test_the_corners_of_processbench() -> None:
    right, wrong = [True, True], [True, False]
    passes_all = [solution([0.9, 0.9], right, id="a"), solution([0.9, 0.9], wrong, id="b")]
    assert figures(PROCESSBENCH, passes_all).subsets["math"].accuracy.value == 0.0
    perfect = [solution([0.9, 0.9], right, id="a"), solution([0.9, 0.1], wrong, id="b")]
    assert figures(PROCESSBENCH, perfect).subsets["math"].accuracy.value == 1.0
    # the first error is what counts: naming an earlier step is wrong, a later one besides is not
    assert first_error([0.4, 0.1]) == 0
    assert first_error([0.5, 0.1]) == 1
    assert first_error([0.5, 0.5]) == -1
    # a of 3 erroneous found, b of 2 sound passed, by hand: 2 · (1/3) · (1/2) / (5/6)
    assert processbench_f1(np.array([3.0, 1.0, 2.0, 1.0])) == pytest.approx(0.4)
    assert np.isnan(processbench_f1(np.array([3.0, 1.0, 0.0, 0.0])))
    # precision 2/3, recall 2/4; negative 1/3 and 1/2
    assert prm_score(np.array([2.0, 1.0, 1.0, 2.0])) == pytest.approx(0.5 * (4 / 7) + 0.5 * (2 / 5))


def test_the_jackknife_of_sums_is_the_jackknife() -> None:
    rng = np.random.default_rng(1)
    rows = rng.random((60, 2))
    clusters = rng.integers(0, 20, 60).tolist()
    slow = jackknife(lambda kept: rows[kept, 0].sum() / rows[kept, 1].sum(), clusters)
    fast = jackknife_of_sums(rows, lambda sums: sums[..., 0] / sums[..., 1], clusters)
    assert fast.value == pytest.approx(slow.value)
    assert fast.error == pytest.approx(slow.error)
    assert (fast.df, fast.n) == (slow.df, slow.n)
    one = jackknife_of_sums(rows, lambda sums: sums[..., 0], [0] * 60)
    assert np.isnan(one.error)
    assert jackknife_of_sums(np.zeros((0, 2)), lambda sums: sums[..., 0], []).n == 0


@pytest.mark.medium
def test_intervals_of_f1_hold_the_truth() -> None:
    everything = [as_first_error(i) for i in drawn(["math"], 20_000, 7)]
    truth = upstream_processbench(everything)
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        sample = [everything[i] for i in rng.integers(len(everything), size=300)]
        sample = [
            solution(list(s.rewards), list(s.correct), id=str(n)) for n, s in enumerate(sample)
        ]
        figure = figures(PROCESSBENCH, sample).subsets["math"].accuracy
        held += figure.low <= truth <= figure.high
    assert 180 <= held <= 199  # 95 % of 200, give or take three standard deviations


def test_two_process_models_are_compared_in_pairs() -> None:
    good, bad = drawn(KIND_NAMES, 40, 3), []
    rng = np.random.default_rng(0)
    for item in good:
        noisy = np.clip(np.array(item.rewards) + rng.normal(0, 0.4, len(item.rewards)), 0, 1)
        bad.append(solution(noisy.tolist(), list(item.correct), item.subset, item.id))
    found = compare_scores(PRMBENCH, good, bad)
    assert found.total is not None
    assert found.total.difference.high < 0
    assert found.total.p < 0.001
    assert found.total.difference.value == pytest.approx(found.total.b - found.total.a)


def test_saved_rewards_are_read_in_the_published_layouts(tmp_path: Path) -> None:
    rows = [
        {"id": "gsm8k-3", "rewards": [0.9, 0.2, 0.8], "label": 1, "problem": "?"},
        {"id": "math-3", "rewards": [0.9, 0.8], "label": -1},
    ]
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    first, second = read_scores(path, PROCESSBENCH)
    assert (first.subset, first.correct) == ("gsm8k", (True, False, False))
    assert (second.subset, second.correct) == ("math", (True, True))
    row = {"idx": "circular_prm_1", "classification": "circular", "error_steps": [2],
           "rewards": [0.9, 0.1, 0.9]}  # fmt: skip
    path.write_text(json.dumps(row) + "\n")
    (item,) = read_scores(path, PRMBENCH)
    assert (item.correct, item.cluster) == ((True, False, True), "prm_1")


@pytest.mark.parametrize(
    ("suite", "row", "sentence"),
    [
        ("processbench", {"id": "math-1", "rewards": [1.2], "label": -1}, "between 0 and 1"),
        ("processbench", {"id": "math-1", "rewards": [0.2], "label": 1}, "'label' is 1"),
        ("processbench", {"id": "math-1", "rewards": [0.2], "label": True}, "'label' is True"),
        ("processbench", {"id": "math-1", "rewards": [], "label": -1}, "one of each"),
        ("processbench", {"id": "math-1", "rewards": 0.5, "label": -1}, "must be a list"),
        ("processbench", {"id": "aime-1", "rewards": [0.2], "label": 0}, "'aime' is no subset"),
        (
            "prmbench",
            {"idx": "a", "classification": "circular", "error_steps": [0], "rewards": [0.1]},
            "'error_steps' holds 0",
        ),
    ],
)  # fmt: skip
def test_rewards_that_cannot_be_counted_are_named(
    suite: str, row: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "steps.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(DataError, match=f"steps.jsonl line 1: .*{sentence}"):
        read_scores(path, suite_spec(suite))


def test_an_outcome_model_is_told_that_steps_are_wanted() -> None:
    with pytest.raises(DataError, match="pass a process model's with --scores"):
        load_suite("processbench")


def test_the_verb_reports_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"id": f"math-{i}", "rewards": [0.9, 0.3 if i % 3 else 0.7], "label": 1 if i % 2 else -1}
        for i in range(30)
    ]
    path = tmp_path / "steps.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    words = ["evaluate", "--suite", "processbench", "--scores", str(path), "--out", str(out)]
    assert main([*words, "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    parts = printed["steps"]["math"]
    # of 15 with an error at step 2, those with i % 3 are named: 10; sound ones pass where not i % 3
    assert parts["error_accuracy"]["value"] == pytest.approx(10 / 15)
    assert parts["sound_accuracy"]["value"] == pytest.approx(5 / 15)
    assert printed["subsets"]["math"]["accuracy"]["value"] == pytest.approx(4 / 9)
    assert (printed["rewards_of"], printed["calibration"]) == ("steps", None)
    assert 0 < printed["subsets"]["math"]["chance_accuracy"] < 0.6
    page = (out / "report.html").read_text()
    assert "first error named" in page
    assert "60 steps" in page
    assert "told apart" not in page
