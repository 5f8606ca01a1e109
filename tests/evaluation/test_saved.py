"""Saved scores: four layouts in, and one sentence for everything that cannot be counted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from assay.errors import DataError
from assay.evaluation.results import figures
from assay.evaluation.rewardbench import REWARDBENCH, REWARDBENCH_2
from assay.evaluation.saved import read_scores
from assay.evaluation.suite import ScoredItem
from assay.evaluation.suites import JUDGEBENCH, ONE_OF_N, PAIRS

OURS = {"id": "1", "subset": "all", "rewards": [1.0, 0.5], "correct": [True, False]}
RB1 = {"id": 1, "subset": "math-prm", "scores_chosen": 2.0, "scores_rejected": [1.0]}
RB2 = {"id": "1", "subset": "Math", "scores": [[3.0], [1.0], [2.0], [0.0]], "num_correct": 1}
JUDGE = {
    "pair_id": "p",
    "subset": "livebench-math",
    "score_A": 0.1,
    "score_B": 0.4,
    "label": "B>A",
    "rm": "m",
}


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_our_own_lines_come_back_as_they_were_written(tmp_path: Path) -> None:
    item = ScoredItem(
        "7", "x", (1.5, -2.0, 0.0), (True, False, False), "c", (3, 4, 5), {"style": "plain"}
    )
    assert read_scores(write(tmp_path / "s.jsonl", item.to_row()), ONE_OF_N) == [item]


def test_rewardbench_1_rows_and_columns_are_the_same_scores(tmp_path: Path) -> None:
    rows = [{**RB1, "id": i, "scores_chosen": float(i)} for i in range(3)]
    by_row = read_scores(write(tmp_path / "rows.jsonl", *rows), REWARDBENCH)
    assert [i.rewards for i in by_row] == [(0.0, 1.0), (1.0, 1.0), (2.0, 1.0)]
    assert all(i.correct == (True, False) for i in by_row)
    columns = {
        "id": [0, 1, 2],
        "subset": ["math-prm"] * 3,
        "scores_chosen": [0.0, 1.0, 2.0],
        "scores_rejected": [[1.0]] * 3,
        "model": "m",
    }
    path = tmp_path / "columns.json"
    path.write_text(json.dumps(columns))
    assert read_scores(path, REWARDBENCH) == by_row


def test_rewardbench_2_rows_put_the_right_scores_first(tmp_path: Path) -> None:
    ties = [
        {"id": "tied:4", "subset": "ties", "scores": [1.0, 2.0, 0.0], "num_correct": 2},
        {"id": "ref:4", "subset": "ties", "scores": [1.0, 0.0], "num_correct": 1},
    ]
    items = read_scores(write(tmp_path / "s.jsonl", RB2, *ties), REWARDBENCH_2)
    assert items[0].rewards == (3.0, 1.0, 2.0, 0.0)
    assert items[0].correct == (True, False, False, False)
    assert items[1].correct == (True, True, False)
    assert items[1].cluster == items[2].cluster == "4"


def test_judgebench_rows_follow_the_label_and_one_model(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", JUDGE, {**JUDGE, "rm": "other", "score_A": 9.0})
    assert read_scores(path, JUDGEBENCH, "m")[0].correct == (False, True)
    assert read_scores(path, JUDGEBENCH, "other")[0].rewards == (9.0, 0.4)
    with pytest.raises(DataError, match=r"holds the scores of m, other; say which with --model"):
        read_scores(path, JUDGEBENCH)
    with pytest.raises(DataError, match=r"no scores of 'third'; it has m, other"):
        read_scores(path, JUDGEBENCH, "third")


def test_published_judgebench_scores_give_each_models_accuracy() -> None:
    folder = os.environ.get("ASSAY_DATA")
    path = Path(folder or ".") / "published_judgebench_rm_scores.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip("published_judgebench_rm_scores is not here; set ASSAY_DATA")
    import gzip

    with gzip.open(path, "rt") as file:
        rows = [json.loads(line) for line in file]
    models = {row["rm"] for row in rows}
    assert len(models) == 5
    for model in models:
        mine = [row for row in rows if row["rm"] == model]
        right = sum(
            (r["score_A"] > r["score_B"]) if r["label"] == "A>B" else (r["score_B"] > r["score_A"])
            for r in mine
        )
        found = figures(JUDGEBENCH, read_scores(path, JUDGEBENCH, model))
        assert found.total is not None
        assert found.total.accuracy.value == pytest.approx(right / len(mine), abs=1e-12)
        assert found.total.accuracy.n == len(mine) == 350


@pytest.mark.parametrize(
    ("row", "spec", "message"),
    [
        ({**OURS, "rewards": [float("nan"), 0.0]}, PAIRS, "reward 1 of item '1' is nan; wanted a"),
        ({**OURS, "rewards": [0.0, float("inf")]}, PAIRS, "reward 2 of item '1' is inf; wanted a"),
        ({**OURS, "rewards": [True, 0.0]}, PAIRS, "reward 1 of item '1' is True; wanted a number"),
        ({**OURS, "rewards": ["1", 0.0]}, PAIRS, "reward 1 of item '1' is '1'; wanted a number"),
        ({**OURS, "rewards": 3.0}, PAIRS, "must be lists of one entry a response"),
        ({**OURS, "correct": [1, 0]}, PAIRS, "must hold true or false for each response"),
        ({**OURS, "correct": [True]}, PAIRS, "2 rewards or responses but 1 marks"),
        ({**OURS, "correct": [True, True]}, PAIRS, "2 right of 2 responses; wanted at least one"),
        ({**OURS, "correct": [False, False]}, PAIRS, "0 right of 2 responses"),
        ({**OURS, "lengths": [1]}, PAIRS, "1 lengths for 2 rewards"),
        ({**OURS, "subset": "hep-basic"}, REWARDBENCH, "'hep-basic' is no subset of rewardbench"),
        ({**RB2, "num_correct": 2}, REWARDBENCH_2, "has 2 right responses; wanted exactly one"),
        ({**RB2, "num_correct": "1"}, REWARDBENCH_2, "'num_correct' a whole number"),
        ({**RB1, "scores_chosen": None}, REWARDBENCH, "reward 1 of item '1' is None"),
        ({**RB1, "scores_chosen": [1.0, 2.0]}, REWARDBENCH, "wanted a number"),
        ({**JUDGE, "label": "A=B"}, JUDGEBENCH, "'label' is 'A=B'; wanted 'A>B' or 'B>A'"),
        ({"id": 1, "score": 2}, PAIRS, "wanted saved scores with id, subset, rewards, correct"),
    ],
)
def test_what_cannot_be_counted_is_refused_with_its_line(
    row: dict[str, Any], spec: Any, message: str, tmp_path: Path
) -> None:
    good = {"subset": next(iter(spec.subsets), "all"), "rewards": [1.0, 0.0]}
    path = write(tmp_path / "s.jsonl", {**OURS, **good, "id": "0"}, row)
    with pytest.raises(DataError, match=message) as caught:
        read_scores(path, spec, "m" if "rm" in row else None)
    if "rm" not in row:
        assert str(caught.value).startswith(f"{path} line 2: ")
    assert "\n" not in str(caught.value)


def test_an_item_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "s.jsonl", OURS, {**OURS, "subset": "other"}, OURS)
    with pytest.raises(DataError, match=r"line 3: item '1' of all is there twice"):
        read_scores(path, PAIRS)


def test_a_file_without_rows_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is empty; an evaluation needs scores"):
        read_scores(write(tmp_path / "s.jsonl"), PAIRS)
