"""Best-of-n curves: what selection is held against, votes, the bands."""

from __future__ import annotations

import json

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.best_of_n import (
    best_of_n_curve,
    best_of_n_kl,
    curve_of_suite,
)
from assay.evaluation.suite import ScoredItem


@pytest.mark.parametrize(("n", "nats"), [(1, 0.0), (2, 0.19315), (4, 0.63629), (64, 3.17451)])
def test_kl_of_best_of_n(n: int, nats: float) -> None:
    assert best_of_n_kl(n) == pytest.approx(nats, abs=1e-5)


def test_oracle_is_above_gold_and_random_is_flat() -> None:
    rng = np.random.default_rng(0)
    gold = rng.normal(size=(30, 12))
    rewards = gold + rng.normal(size=(30, 12))
    curve = best_of_n_curve(rewards.tolist(), gold.tolist(), resamples=50)
    lines = {name: np.array(line.value) for name, line in curve.lines.items()}
    assert curve.n == tuple(range(1, 13))
    assert (np.diff(lines["oracle"]) > 0).all()
    assert (np.diff(lines["proxy"]) > 0).all()
    assert (lines["oracle"] >= lines["gold"] - 1e-12).all()
    assert lines["random"] == pytest.approx(np.full(12, gold.mean()))
    assert lines["gold"][0] == pytest.approx(gold.mean())
    assert lines["gold"][-1] == pytest.approx(
        np.mean([g[r.argmax()] for g, r in zip(gold, rewards, strict=True)])
    )
    assert curve.kl[3] == best_of_n_kl(4)


def test_bands_contain_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(1)
    truth = 1 - 0.7**4  # the best of four where a reward of 1 is right, 30 % of the time
    covered = 0
    for run in range(200):
        gold = (rng.random((60, 4)) < 0.3).astype(float)
        line = best_of_n_curve(gold.tolist(), gold.tolist(), resamples=200, seed=run).lines["gold"]
        covered += line.low[-1] <= truth <= line.high[-1]
    assert covered / 200 == pytest.approx(0.95, abs=0.04)


def test_majority_is_the_likeliest_answer_and_weights_can_overrule_it() -> None:
    answers = [["a", "a", "a", "b"]]
    gold = [[0.0, 0.0, 0.0, 1.0]]
    curve = best_of_n_curve([[0.0, 0.0, 0.0, 9.0]], gold, answers, resamples=5)
    majority = curve.lines["majority"].value
    weighted = curve.lines["weighted_majority"].value
    assert majority[0] == pytest.approx(0.25, abs=0.1)  # one sample
    assert majority[3] == 0.0
    assert weighted[3] == 1.0
    # of three samples, b has the vote only if seen first beside two that differ: never here
    assert majority[2] == 0.0


def test_votes_of_n_samples_equal_their_enumeration() -> None:
    answers, gold = ["a", "b", "b", "c"], [0.0, 1.0, 1.0, 0.0]
    curve = best_of_n_curve([[0.0] * 4], [gold], [answers], resamples=5, seed=3)
    # of two samples: both b (1/6) is right; one b and another, right if b came first (4/6 × 1/2)
    assert curve.lines["majority"].value[1] == pytest.approx(1 / 6 + 1 / 3, abs=0.08)
    assert curve.lines["majority"].value[3] == 1.0


def test_prompts_with_more_samples_are_used_whole_and_the_curve_stops_at_the_fewest() -> None:
    curve = best_of_n_curve([[1.0, 2.0], [1.0, 2.0, 3.0]], [[0.0, 1.0], [0.0, 0.0, 1.0]])
    assert curve.n == (1, 2)
    assert curve.lines["gold"].value[1] == pytest.approx((1 + 2 / 3) / 2)


@pytest.mark.parametrize(
    ("rewards", "gold", "message"),
    [
        ([], [], "same prompts, got 0 and 0"),
        ([[1.0]], [], "same prompts, got 1 and 0"),
        ([[]], [[]], "no samples"),
        ([[1.0, 2.0]], [[1.0]], r"shapes \(2,\) and \(1,\)"),
    ],
)
def test_bad_shapes_are_refused(
    rewards: list[list[float]], gold: list[list[float]], message: str
) -> None:
    with pytest.raises(DataError, match=message):
        best_of_n_curve(rewards, gold)


def item(id: str, rewards: tuple[float, ...], right: int, answers: list[str] | None = None):
    tags = {} if answers is None else {"answers": json.dumps(answers)}
    correct = tuple(i == right for i in range(len(rewards)))
    return ScoredItem(id, "all", rewards, correct, id, tags=tags)


def test_a_suites_curve_uses_the_commonest_size_and_counts_the_rest() -> None:
    rows = [item(str(i), (3.0, 1.0, 2.0), 0) for i in range(4)]
    curve = curve_of_suite([*rows, item("odd", (1.0, 2.0, 3.0, 4.0), 0), item("p", (1.0, 0.0), 0)])
    assert curve is not None
    assert (curve.prompts, curve.samples, curve.left_out) == (4, 3, 2)
    assert curve.lines["gold"].value == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert "majority" not in curve.lines
    assert curve.to_dict()["left_out"] == 2
    assert curve_of_suite([item("p", (1.0, 0.0), 0)]) is None


def test_answers_of_a_suite_give_the_votes() -> None:
    rows = [item(str(i), (3.0, 1.0, 2.0), 0, ["x", "y", "y"]) for i in range(3)]
    curve = curve_of_suite(rows)
    assert curve is not None
    assert curve.lines["majority"].value[2] == 0.0
    assert curve_of_suite([*rows, item("q", (1.0, 2.0, 3.0), 0)]).lines.keys() == {
        "gold", "proxy", "oracle", "random",
    }  # fmt: skip
