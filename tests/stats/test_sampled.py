"""Methods of picking a solution: perfect and random scorers, by hand, pairing, coverage."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest

from assay.errors import DataError
from assay.stats import cluster_mean
from assay.stats.best_of import expected_best, pass_at_n
from assay.stats.sampled import SampledSolutions, selection_curves


def drawn(problems: int = 40, samples: int = 12, seed: int = 0) -> list[SampledSolutions]:
    """Solutions by problems of many difficulties; "good" knows more than "poor"."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(problems):
        correct = rng.random(samples) < rng.uniform(0.1, 0.8)
        answers = [0 if ok else int(rng.integers(1, 4)) for ok in correct]
        scores = {
            "perfect": correct.astype(float),
            "good": np.clip(rng.normal(0.3 + 0.3 * correct, 0.2), 0, 1),
            "poor": np.clip(rng.normal(0.4 + 0.1 * correct, 0.2), 0, 1),
            "constant": np.full(samples, 0.5),
        }
        made.append(SampledSolutions(correct.tolist(), scores, answers))
    return made


def values(figures: Sequence) -> list[float]:
    return [figure.value for figure in figures]


def test_a_perfect_scorer_is_the_oracle_and_a_constant_one_a_random_pick() -> None:
    problems = drawn()
    found = selection_curves(problems, n=range(1, 13))
    passed = np.mean([pass_at_n(sum(p.correct), 12, found.n) for p in problems], axis=0)
    first = np.mean([np.mean(p.correct) for p in problems])
    assert values(found.curve("perfect")) == pytest.approx(passed.tolist())
    assert values(found.curve("pass")) == pytest.approx(passed.tolist())
    assert values(found.curve("random")) == pytest.approx([first] * 12)
    assert values(found.curve("constant")) == pytest.approx([first] * 12)
    assert found.difference("perfect", "pass")[5].value == pytest.approx(0)


def test_one_sample_is_right_as_often_by_every_method() -> None:
    found = selection_curves(drawn(), n=[1])
    first = found.curve("pass")[0]
    assert len(found.values) == 3 + 4 + 4
    for method in found.values:
        assert found.curve(method)[0].value == pytest.approx(first.value), method


def test_equal_weights_are_the_majority_and_a_perfect_weight_the_oracle() -> None:
    found = selection_curves(drawn(), n=[4, 12])
    assert (found.values["constant weighted"] == found.values["majority"]).all()
    whole = [float(any(p.correct)) for p in drawn()]
    assert found.values["perfect weighted"][:, 1].tolist() == whole


def test_two_problems_by_hand() -> None:
    one = SampledSolutions([True, False, False], {"prm": [0.9, 0.2, 0.4]}, ["x", "y", "y"])
    other = SampledSolutions([False, True, True], {"prm": [0.5, 0.6, 0.7]}, ["x", "y", None])
    with pytest.raises(DataError, match="Problem 2: A sample without an answer"):
        selection_curves([one, other])
    other = SampledSolutions([False, True, False], {"prm": [0.5, 0.6, 0.7]}, ["x", "y", None])
    found = selection_curves([one, other], n=[1, 2, 3])
    # of two: the first where it is drawn, 2/3; y wherever it is drawn, for z has no answer: 2/3
    assert found.values["prm"] == pytest.approx(np.array([[1 / 3, 2 / 3, 1], [1 / 3, 2 / 3, 1]]))
    # of two: x and y tie twice, y wins once; x and y tie once, each alone wins once
    assert found.values["majority"] == pytest.approx(
        np.array([[1 / 3, 1 / 3, 0], [1 / 3, 1 / 2, 1 / 2]])
    )
    # 0.9 against 0.6 in all; 0.6 against 0.5
    assert found.values["prm weighted"] == pytest.approx(
        np.array([[1 / 3, 2 / 3, 1], [1 / 3, 2 / 3, 1]])
    )
    assert (found.problems, found.samples, found.unanswered, found.unscored) == (2, (3, 3), 1, 0)
    gap = found.difference("prm", "majority")[2]
    assert (gap.value, gap.n) == (pytest.approx(0.75), 2)


def test_differences_are_paired_by_problem() -> None:
    found = selection_curves(drawn(60), n=[8])
    gap = found.difference("good", "poor")[0]
    apart = found.values["good"][:, 0] - found.values["poor"][:, 0]
    assert gap == cluster_mean(apart, bounds=(-1.0, 1.0))
    assert 0 < gap.low < gap.high
    good, poor = found.curve("good")[0], found.curve("poor")[0]
    # problems are hard or easy for both, so the difference is known better than either alone
    assert gap.high - gap.low < np.hypot(good.high - good.low, poor.high - poor.low)


def test_intervals_hold_the_truth() -> None:
    # 1 - (1 - p)^4 with p uniform between 0.1 and 0.8
    truth = 1 - (0.9**5 - 0.2**5) / 5 / 0.7
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        right = [rng.random(6) < rng.uniform(0.1, 0.8) for _ in range(30)]
        problems = [SampledSolutions(r.tolist(), {"perfect": r.astype(float)}) for r in right]
        figure = selection_curves(problems, n=[4]).curve("perfect")[0]
        held += figure.low <= truth <= figure.high
    assert 52 <= held <= 60  # 57, give or take three standard deviations


def test_what_is_not_scored_comes_after_what_is_and_before_what_has_no_answer() -> None:
    problem = SampledSolutions(
        [False, True, False], {"prm": [0.1, float("nan"), 0.9]}, ["x", "y", None]
    )
    found = selection_curves([problem, problem], n=[1, 2, 3])
    # y is picked over the sample without an answer alone, never over x
    assert found.values["prm"][0] == pytest.approx([1 / 3, 1 / 3, 0])
    assert found.values["prm weighted"][0] == pytest.approx([1 / 3, 1 / 3, 0])
    assert (found.unanswered, found.unscored) == (2, 2)


def test_without_answers_there_are_no_votes_and_scores_may_be_any_numbers() -> None:
    problems = [
        SampledSolutions([True, False, False, True], {"orm": [-3.0, 2.0, -8.0, 2.0]}),
        SampledSolutions([True, False, False, True, True], {"orm": [1.0, 1.0, -1.0, 0.5, -7.0]}),
    ]
    found = selection_curves(problems)
    assert (found.n, found.samples) == ((1, 2, 4), (4, 5))
    assert set(found.values) == {"pass", "random", "orm"}
    for row, problem in enumerate(problems):
        wanted = expected_best(problem.scores["orm"], np.array(problem.correct, float), [1, 2, 4])
        assert found.values["orm"][row] == pytest.approx(wanted)


def test_results_are_written_with_the_differences_of_methods_that_can_be_used() -> None:
    found = selection_curves(drawn(5), n=[1, 4], weighted=["good"]).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert set(found["curves"]) == {
        "pass", "random", "perfect", "good", "poor", "constant", "majority", "good weighted",
    }  # fmt: skip
    assert "good - majority" in found["differences"]
    assert not any("pass" in name or "random" in name for name in found["differences"])
    assert (found["n"], found["problems"], found["subsets"]) == ([1, 4], 5, 400)


def test_the_same_seed_gives_the_same_curves() -> None:
    one, same, other = (selection_curves(drawn(6), n=[6], seed=seed) for seed in (0, 0, 1))
    assert (one.values["majority"] == same.values["majority"]).all()
    assert (one.values["majority"] != other.values["majority"]).any()


GOOD = SampledSolutions([True, False], {"prm": [0.5, 0.2]}, ["x", "y"])


@pytest.mark.parametrize(
    ("problems", "changes", "sentence"),
    [
        ([], {}, "there are none"),
        ([GOOD, SampledSolutions([], {"prm": []}, [], "two")], {}, "'two' has no samples"),
        ([GOOD, SampledSolutions([True], {"orm": [1.0]}, ["x"])], {}, "Problem 2 has the scores"),
        ([GOOD, SampledSolutions([True], {"prm": [1.0]})], {}, "answers or none"),
        ([GOOD, SampledSolutions([True], {"prm": [1.0, 2.0]}, ["x"])], {}, "2 scores by 'prm'"),
        ([SampledSolutions([True], {"prm": [float("inf")]}, ["x"])], {}, "is infinite"),
        ([SampledSolutions([True], {"prm": [-1.0]}, ["x"])], {}, "Problem 1: A vote adds up"),
        ([SampledSolutions([True], {"pass": [1.0]}, ["x"])], {}, "'pass', which is a method"),
        ([GOOD], {"n": [3]}, "n=3 of 2 samples"),
        ([GOOD], {"weighted": ["orm"]}, "No score is called 'orm'"),
    ],
)
def test_problems_that_cannot_be_compared_are_refused(problems, changes, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        selection_curves(problems, **changes)


def test_a_method_that_is_not_there_is_named() -> None:
    with pytest.raises(DataError, match="No method is called 'orm'; there are pass, random"):
        selection_curves([GOOD]).curve("orm")
