"""Deviations reach the figures: doubt by hand, what it warns of, and where it is not given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.rewardbench import REWARDBENCH_2
from assay.evaluation.run import evaluate
from assay.evaluation.saved import read_scores
from assay.evaluation.scoring import score_suite
from assay.evaluation.suite import Item, ScoredItem, Suite
from assay.evaluation.suites import PAIRS
from assay.evaluation.uncertainty import doubt, uncertainty_figures
from assay.types import Scores, as_messages


def scored(rewards: list[float], stds: list[float] | None, id: str = "1") -> ScoredItem:
    correct = (True, *(False,) * (len(rewards) - 1))
    kept = None if stds is None else tuple(stds)
    return ScoredItem(id, "all", tuple(rewards), correct, id, stds=kept)


def test_doubt_by_hand() -> None:
    assert doubt(scored([3.0, 1.0], [0.3, 0.4])) == pytest.approx(0.5 / 2)
    # the best two, in any order; the third does not matter
    assert doubt(scored([1.0, 9.0, 5.0], [7.0, 3.0, 4.0])) == pytest.approx(5 / 4)
    assert doubt(scored([2.0, 2.0], [0.1, 0.1])) == float("inf")
    assert doubt(scored([2.0, 2.0], [0.0, 0.0])) == 0.0


def test_deviations_that_know_are_worth_something_and_those_that_do_not_are_not() -> None:
    rng = np.random.default_rng(0)
    noise = rng.uniform(0.1, 3.0, 400)
    gaps = 1.0 + noise * rng.normal(size=400)
    ties = [
        scored([g, 0.0], [s, s], str(i)) for i, (g, s) in enumerate(zip(gaps, noise, strict=True))
    ]
    block = uncertainty_figures(PAIRS, ties)
    assert block is not None
    assert block["error_correlation"]["low"] > 0
    assert block["gain"]["low"] > 0
    shuffled = rng.permutation(noise)
    blind = [scored([g * 1e-9 + (1 if g > 0 else -1), 0.0], [s, s], str(i))
             for i, (g, s) in enumerate(zip(gaps, shuffled, strict=True))]  # fmt: skip
    block = uncertainty_figures(PAIRS, blind)
    assert block is not None
    assert block["error_correlation"]["low"] < 0 < block["error_correlation"]["high"]


def test_equal_rewards_are_the_most_doubtful() -> None:
    rows = [scored([1.0, 0.0], [0.1, 0.1], str(i)) for i in range(8)]
    rows += [scored([0.0, 0.0], [0.1, 0.1], str(i)) for i in range(8, 10)]
    block = uncertainty_figures(PAIRS, rows)
    assert block is not None
    assert block["kept"]["value"] == 1.0
    assert block["gain"]["value"] == pytest.approx(0.1)


def test_without_deviations_there_is_no_block() -> None:
    assert uncertainty_figures(PAIRS, [scored([1.0, 0.0], None)]) is None
    mixed = [scored([1.0, 0.0], None, "1"), scored([1.0, 0.0], [0.1, 0.1], "2")]
    assert uncertainty_figures(PAIRS, mixed) is None
    ties = ScoredItem("ref:1", "Ties", (1.0, 0.0), (True, False), "1", stds=(0.1, 0.1))
    assert uncertainty_figures(REWARDBENCH_2, [ties]) is None


class Deviating:
    def score(self, conversations: Any) -> Scores:
        lengths = np.array([float(len(c.response_text)) for c in conversations])
        return Scores(lengths, lengths / 10)


class Plain(Deviating):
    def score(self, conversations: Any) -> Scores:
        return Scores(super().score(conversations).reward)


def made() -> Suite:
    items = tuple(
        Item(str(i), "all", as_messages(f"Q{i}", "user"),
             (as_messages("yes " * (i % 7 + 1), "assistant"), as_messages("no " * 4, "assistant")),
             (True, False), str(i))
        for i in range(40)
    )  # fmt: skip
    return Suite(PAIRS, items, "made")


def test_a_scorers_deviations_go_to_the_scores_the_results_and_the_page(tmp_path: Path) -> None:
    suite = made()
    done = evaluate(Deviating(), suite, probed=0)
    done.save(tmp_path / "out")
    rows = read_scores(tmp_path / "out" / "scores.jsonl", PAIRS)
    assert rows[0].stds == pytest.approx([0.4, 1.2])
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["uncertainty"]["kept"]["n"] == 40
    assert "most doubtful items" in (tmp_path / "out" / "report.html").read_text()
    plain = evaluate(Plain(), suite, probed=0)
    assert plain.record["uncertainty"] is None
    assert "stds" not in plain.scored[0].to_row()


def test_a_journal_keeps_deviations(tmp_path: Path) -> None:
    suite = made()
    whole = score_suite(Deviating(), suite, tmp_path, "m")
    again = score_suite(Plain(), suite, tmp_path, "m")  # all is there: nothing is scored again
    assert again.scored == whole.scored
    assert whole.scored[0].stds is not None


@pytest.mark.parametrize("stds", [[0.1], [0.1, -0.1], [0.1, float("nan")]])
def test_saved_deviations_that_cannot_be_are_named(stds: list[float], tmp_path: Path) -> None:
    row = {
        "id": "1",
        "subset": "all",
        "rewards": [1.0, 0.0],
        "correct": [True, False],
        "stds": stds,
    }
    path = tmp_path / "scores.jsonl"
    path.write_text(json.dumps(row))
    with pytest.raises(DataError, match="'stds' of item '1' must be one number of 0 or more"):
        read_scores(path, PAIRS)
