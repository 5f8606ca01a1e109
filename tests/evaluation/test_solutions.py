"""Evaluation of step scorers: those that know all or nothing, subsets, tuning, leaks, the page."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.solutions import StepEvaluation, evaluate_steps
from assay.evaluation.solutions_page import solutions_page, table_text
from assay.types import Solution, StepScores, as_messages


@dataclass
class Made:
    """A step scorer by a function of a solution; counts how often it is asked."""

    reward: Callable[[Solution], Sequence[float]]
    asked: int = 0

    def score_steps(self, solutions: Sequence[Solution]) -> StepScores:
        self.asked += 1
        return StepScores(tuple(np.array(self.reward(s), dtype=np.float64) for s in solutions))


def knows(solution: Solution) -> list[float]:
    return [0.1 if label == -1 else 0.9 for label in solution.labels]


def noisy(solution: Solution) -> list[float]:
    rng = np.random.default_rng([len(solution.steps), *solution.prompt[0].content.encode()])
    return np.clip(np.array(knows(solution)) + rng.normal(0, 0.35, len(solution.steps)), 0, 1)


def drawn(count: int = 60, seed: int = 0, name: str = "problem") -> list[Solution]:
    """Judged to the first error, as PRM800K is; two subsets; the bad step is a little longer."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(count):
        size = int(rng.integers(2, 7))
        first = int(rng.integers(size)) if i % 3 else None
        labels: list[int | None] = [1] * size
        steps = ["so we add " + "x" * int(rng.integers(1, 8)) for _ in range(size)]
        if first is not None:
            labels[first:] = [-1, *[None] * (size - first - 1)]
            steps[first] = "but we cut " + "y" * int(rng.integers(1, 12))
        made.append(
            Solution(
                as_messages(f"{name} {i // 2}", "user"),
                tuple(steps),
                tuple(labels),
                correct=first is None,
                subset="easy" if i < count // 2 else "hard",
            )
        )
    return made


def evaluated(reward: Callable[[Solution], Sequence[float]], **options) -> StepEvaluation:
    return evaluate_steps(Made(reward), drawn(), resamples=30, **options)


def test_a_scorer_that_knows_all_is_perfect_and_asked_once() -> None:
    scorer = Made(knows)
    found = evaluate_steps(scorer, drawn(), resamples=30)
    assert scorer.asked == 1
    for report in (found.overall, *found.subsets.values()):
        assert report.first_error.f1.value == 1
        assert report.auc.value == 1
    assert found.mean_f1 is not None
    assert found.mean_f1.value == 1
    assert found.sound_auc["min"].value == 1
    assert found.correct_auc["min"].value == 1
    assert (found.problems, found.overall.solutions, found.overall.unknown_solutions) == (30, 60, 0)
    assert list(found.subsets) == ["easy", "hard"]


def test_a_scorer_that_knows_nothing_passes_all_or_none() -> None:
    found = evaluated(lambda s: [0.75] * len(s.steps))
    assert found.overall.auc.value == pytest.approx(0.5)
    assert found.overall.first_error.f1 == found.overall.baselines["never"].f1
    assert found.overall.first_error.sound_accuracy.value == 1
    for how in ("min", "mean", "last"):
        assert found.sound_auc[how].value == pytest.approx(0.5)
        assert math.isnan(found.length_bias[how].value)  # nothing varies
    assert found.length_bias["product"].value == pytest.approx(-1)
    share = found.lowest_is_last
    assert share.share == share.chance  # all places tie


def test_an_outcome_model_in_disguise_is_low_at_the_end() -> None:
    found = evaluated(lambda s: [0.9] * (len(s.steps) - 1) + [0.8 if s.correct else 0.2])
    assert found.lowest_is_last.share.value == 1
    assert found.lowest_is_last.excess.low > 0.5
    assert found.correct_auc["last"].value == 1


def test_the_mean_of_subsets_is_theirs() -> None:
    found = evaluated(noisy)
    parts = [report.first_error.f1 for report in found.subsets.values()]
    assert found.mean_f1 is not None
    assert found.mean_f1.value == pytest.approx(np.mean([f.value for f in parts]))
    assert found.mean_f1.n == found.overall.first_error.f1.n == 60
    one = evaluate_steps(Made(noisy), [replace(s, subset=None) for s in drawn()], resamples=30)
    assert (one.mean_f1, one.subsets) == (None, {})


def test_the_threshold_is_tuned_on_other_problems() -> None:
    def low(solution: Solution) -> list[float]:
        return [reward / 3 for reward in knows(solution)]

    untuned = evaluated(low)
    assert untuned.overall.first_error.sound_accuracy.value == 0
    others = drawn(30, 1, "another")
    tuned = evaluated(low, tune=[*others, *drawn(4)])
    assert tuned.overall.first_error.f1.value == 1
    assert 0.1 / 3 < tuned.overall.threshold <= 0.3
    assert (tuned.tuned_on, tuned.shared) == (30, {"tune": 4})
    with pytest.raises(DataError, match="No threshold is best"):
        evaluated(low, tune=drawn(4))


def test_baselines_are_fitted_on_other_problems() -> None:
    alone = evaluated(noisy)
    assert set(alone.baselines) == {"length_only"}
    train = [*drawn(60, 2, "another"), *drawn(6)]
    found = evaluated(noisy, train=train)
    assert set(found.baselines) == {"text_only", "length_only"}
    assert found.shared == {"train": 6}
    # bad steps say "but", and are longer: both baselines find it, the words for certain
    assert found.baselines["text_only"].auc.value == 1
    assert 0.6 < found.baselines["length_only"].auc.value < 1
    assert 0.6 < alone.baselines["length_only"].auc.value < 1
    assert found.overall == alone.overall
    with pytest.raises(DataError, match="all 6 training solutions are of problems"):
        evaluated(noisy, train=drawn(6))


def test_what_was_cut_is_counted_for_baselines_too() -> None:
    def cut(solution: Solution) -> list[float]:
        return [*noisy(solution)[:-1], math.nan] if len(solution.steps) > 4 else noisy(solution)

    found = evaluated(cut, train=drawn(30, 3, "another"))
    long = sum(len(s.steps) > 4 for s in drawn())
    assert found.overall.cut_steps == found.overall.cut_solutions == long > 0
    assert found.lowest_is_last.cut == long
    for baseline in found.baselines.values():
        assert (baseline.steps, baseline.cut_steps) == (found.overall.steps, long)
    assert found.length_bias["min"].n == 60 - long


def test_results_and_text_hold_everything(tmp_path: Path) -> None:
    found = evaluated(noisy, train=drawn(30, 3, "another"), neutral="bad")
    written = found.to_dict()
    assert json.loads(json.dumps(written)) == written
    assert set(written["length_bias"]) == {"product", "log-product", "min", "mean", "last"}
    assert written["overall"]["neutral"] == "bad"
    text = table_text(found)
    for words in ("first-error F1", "random-step", "text_only", "constant", "log-product",
                  "Lowest step is last", "step 6", "steps not judged", "count as bad"):  # fmt: skip
        assert words in text
    assert f"{found.overall.auc.value:.3f} [" in text
    path = solutions_page(found, tmp_path / "steps.html", "A <b>model</b>")
    page = path.read_text()
    assert "A &lt;b&gt;model&lt;/b&gt;" in page
    assert "<script" not in page
    assert page.count("<table>") == 5
    assert page.count("<svg") == 1


@pytest.mark.parametrize(
    ("reward", "sentence"),
    [
        (lambda s: [0.5] * (len(s.steps) + 1), "Solution 1 has .* labels and .* rewards"),
        (lambda s: [2.0] * len(s.steps), "Step 1 of solution 1 has reward 2"),
        (lambda s: [], "wanted one of each"),
    ],
)
def test_scorers_that_do_not_reward_every_step_are_refused(reward, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        evaluated(reward)


def test_of_no_solutions_nothing_is_evaluated() -> None:
    with pytest.raises(DataError, match="got none"):
        evaluate_steps(Made(knows), [])


def test_real_chains_of_thought_are_evaluated() -> None:
    folder = os.environ.get("ASSAY_DATA")
    path = Path(folder or "") / "bigbench_mistake.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("bigbench_mistake.jsonl.gz is not here; set ASSAY_DATA")
    import gzip

    with gzip.open(path, "rt") as lines:
        rows = [json.loads(line) for line in lines][::8]
    solutions = [
        Solution(
            as_messages(row["input"], "user"),
            tuple(row["steps"]),
            tuple(
                1 if row["mistake_index"] is None or i < row["mistake_index"]
                else -1 if i == row["mistake_index"] else None
                for i in range(len(row["steps"]))
            ),
            correct=row["answer"] == row["target"],
            subset=row["task"],
        )
        for row in rows
    ]  # fmt: skip
    found = evaluate_steps(Made(knows), solutions, resamples=20)
    assert found.overall.first_error.f1.value == 1
    assert set(found.subsets) == {row["task"] for row in rows}
    assert found.overall.baselines["random"].accuracy.value < 0.3
