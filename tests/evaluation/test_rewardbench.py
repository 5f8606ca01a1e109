"""RewardBench 1 and 2: published sections, the Ties formula twice over, and reading their rows."""

from __future__ import annotations

import gzip
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.results import figures
from assay.evaluation.rewardbench import (
    COUNTS,
    REWARDBENCH,
    REWARDBENCH_2,
    REWARDBENCH_PRIOR,
    SECTIONS,
    best_of_k,
    rewardbench2_items,
    rewardbench_items,
    section_scores,
    ties_prompt,
    ties_score,
    ties_score_package,
)
from assay.evaluation.suite import ScoredItem


def published(name: str) -> list[dict[str, Any]]:
    folder = os.environ.get("ASSAY_DATA")
    path = Path(folder or ".") / f"{name}.jsonl.gz"
    if not folder or not path.exists():
        pytest.skip(f"{name} is not here; ASSAY_DATA names no folder that has it")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def tied_item(id: str, right: list[float], wrong: list[float]) -> ScoredItem:
    correct = (True,) * len(right) + (False,) * len(wrong)
    return ScoredItem(id, "Ties", (*right, *wrong), correct, id.split(":")[1])


def random_ties(rng: np.random.Generator) -> list[ScoredItem]:
    """Prompts with and without spread, with ties between right and wrong, some without partner."""
    items = []
    for prompt in range(int(rng.integers(1, 9))):
        levels = int(rng.integers(2, 6))  # few levels: ties and zero spreads abound

        def draw(count: int, levels: int = levels) -> list[float]:
            if rng.random() < 0.5:
                return rng.integers(levels, size=count).astype(float).tolist()
            return rng.normal(size=count).tolist()

        kind = rng.random()
        if kind < 0.9:
            items.append(tied_item(f"tied:{prompt}", draw(int(rng.integers(1, 6))), draw(3)))
        if kind > 0.1:
            items.append(tied_item(f"ref:{prompt}", draw(1), draw(3)))
    return items


def ties_by_hand(items: list[ScoredItem]) -> float:
    """The repository's formula, prompt by prompt, in plain Python."""
    kinds: dict[str, dict[str, tuple[float, float, float, int]]] = {"ref": {}, "tied": {}}
    for item in items:
        kind, prompt = item.id.split(":")
        right = [r for r, ok in zip(item.rewards, item.correct, strict=True) if ok]
        wrong = [r for r, ok in zip(item.rewards, item.correct, strict=True) if not ok]
        kinds[kind][prompt] = (max(right), min(right), max(wrong), len(right))
    score = 0.0
    for kind in ("tied", "ref"):
        hits = [1.0 if low > bad else 0.0 for _, low, bad, _ in kinds[kind].values()]
        score += 0.3 * (sum(hits) / len(hits) if hits else 0.0)
    preferred, hard, bonus = [], [], []
    for prompt, (best, low, bad, count) in kinds["tied"].items():
        if prompt not in kinds["ref"] or count == 1:
            continue
        _, ref_low, ref_bad, _ = kinds["ref"][prompt]
        spread, margin = best - low, low - bad
        smaller = min(margin, ref_low - ref_bad)
        preferred.append(1.0 if margin > spread else 0.0)
        hard.append(1.0 if smaller > spread else 0.0)
        if spread > 0:
            bonus.append(math.tanh(smaller / spread - 1))
        else:  # numpy divides by zero: tanh(±inf) = ±1, and nan counts 0
            bonus.append(0.0 if smaller == 0 else math.copysign(1.0, smaller))
    if preferred:
        n = len(preferred)
        score += 0.2 * sum(preferred) / n + 0.2 * sum(hard) / n + 0.01 * sum(bonus) / n
    return score


def test_ties_score_equals_a_second_implementation_on_1000_random_cases() -> None:
    rng = np.random.default_rng(0)
    zero_spread = ties_between = 0
    for _ in range(1000):
        items = random_ties(rng)
        assert ties_score(items) == pytest.approx(ties_by_hand(items), abs=1e-12)
        zero_spread += any(len(set(i.right)) == 1 < len(i.right) for i in items)
        ties_between += any(set(i.right) & set(i.wrong) for i in items)
    assert zero_spread > 50
    assert ties_between > 50


def test_the_two_versions_of_ties_differ_only_without_spread() -> None:
    rng = np.random.default_rng(1)
    differ = 0
    for _ in range(400):
        items = random_ties(rng)
        here, package = ties_score(items), ties_score_package(items)
        flat = any(i.id.startswith("tied") and len(set(i.right)) == 1 < len(i.right) for i in items)
        if not flat:
            assert here == pytest.approx(package, abs=1e-12)
        assert abs(here - package) <= 0.02 + 1e-12
        differ += here != pytest.approx(package, abs=1e-12)
    assert differ > 20


def test_a_perfect_ties_score_is_a_little_over_one() -> None:
    items = [
        tied_item("tied:1", [9.0, 9.0], [0.0]),
        tied_item("ref:1", [9.0], [0.0]),
    ]
    assert ties_score(items) == pytest.approx(1.01)
    assert ties_score_package(items) == pytest.approx(1.0)


def test_worked_ties_score() -> None:
    items = [
        tied_item("tied:7", [3.0, 2.0], [0.0, 1.0]),  # spread 1, margin 1
        tied_item("ref:7", [5.0], [1.0]),  # margin 4
        tied_item("ref:8", [0.0], [0.0]),  # a tie is wrong
    ]
    # tied 1, ref 1/2, margin > spread false twice, tanh(1 / 1 - 1) = 0
    assert ties_score(items) == pytest.approx(0.3 + 0.15)


def test_best_of_k_shares_the_credit_of_ties() -> None:
    marks = (True, False, False, False)
    values = {
        (2.0, 1.0, 1.0, 1.0): 1.0,
        (1.0, 1.0, 0.0, 0.0): 0.5,
        (1.0, 1.0, 1.0, 1.0): 0.25,
        (0.0, 1.0, 1.0, 0.0): 0.0,
    }
    for rewards, value in values.items():
        assert best_of_k(ScoredItem("1", "Math", rewards, marks, "1")) == value


def test_published_sections_are_reproduced() -> None:
    rows = published("published_rewardbench_section_check")
    assert len(rows) >= 4
    for row in rows:
        accuracies = {n: s["correct"] / s["total"] for n, s in row["subsets"].items()}
        scores = section_scores(accuracies)
        for name, wanted in row["sections"].items():
            assert scores[name] == pytest.approx(wanted, abs=1e-9)


def test_published_sections_come_out_of_saved_scores_too() -> None:
    """The same through the whole path of an evaluation: items, subsets, sections."""
    for row in published("published_rewardbench_section_check"):
        items = [
            ScoredItem(str(i), name, (1.0, 0.0) if i < s["correct"] else (0.0, 1.0),
                       (True, False), f"{name}/{i}")
            for name, s in row["subsets"].items()
            for i in range(s["total"])
        ]  # fmt: skip
        found = figures(REWARDBENCH, items)
        for name, wanted in row["sections"].items():
            assert found.sections[name].accuracy.value == pytest.approx(wanted, abs=1e-9)
        if set(row["subsets"]) == set(COUNTS):
            assert found.total is not None
            mean = np.mean(list(row["sections"].values()))
            assert found.total.accuracy.value == pytest.approx(mean, abs=1e-9)


def test_published_subset_accuracies_give_the_leaderboards_sections() -> None:
    for row in published("published_rewardbench_gpm_scores"):
        accuracies = {name: row[name] for name in COUNTS}
        scores = section_scores(accuracies)
        hep = np.mean([row[f"hep-{x}"] for x in ("cpp", "go", "java", "js", "python", "rust")])
        assert scores["Reasoning"] == pytest.approx((row["math-prm"] + hep) / 2, abs=1e-9)


def test_the_sets_sizes_are_the_published_ones() -> None:
    assert sum(COUNTS.values()) == 2985
    assert {s: sum(COUNTS[n] for n in names) for s, names in SECTIONS.items()} == {
        "Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431,
    }  # fmt: skip
    assert sum(s.count or 0 for s in REWARDBENCH_2.subsets.values()) == 1865


def test_math_weighs_as_much_as_all_code() -> None:
    scores = section_scores({"math-prm": 1.0, **{f"hep-{x}": 0.0 for x in ("cpp", "go", "java")}})
    assert scores["Reasoning"] == pytest.approx(984 / (984 + 3 * 164))
    assert scores["Chat"] == 0.0  # nothing there, as upstream


def test_prior_sets_weigh_half_in_the_total() -> None:
    items = [
        ScoredItem(str(i), name, (1.0, 0.0) if name in COUNTS else (0.0, 1.0),
                   (True, False), f"{name}/{i}")
        for name, spec in REWARDBENCH_PRIOR.subsets.items()
        for i in range(spec.count or 3)
    ]  # fmt: skip
    found = figures(REWARDBENCH_PRIOR, items)
    assert found.total is not None
    assert found.total.accuracy.value == pytest.approx(4 / 4.5)


def test_rows_of_rewardbench_1_become_pairs_with_the_prompt_as_cluster() -> None:
    row = {"prompt": "Why?", "chosen": "So.", "rejected": "No.", "subset": "math-prm", "id": 7}
    turns = [{"role": "user", "content": "Why?"}]
    items = rewardbench_items([(1, row), (2, {**row, "prompt": turns, "id": 8})], "f")
    assert [i.id for i in items] == ["7", "8"]
    assert items[0].correct == (True, False)
    assert items[0].cluster == items[1].cluster
    assert [c.response_text for c in items[0].conversations()] == ["So.", "No."]


def test_rows_of_rewardbench_2_put_chosen_first() -> None:
    row = {"id": "3", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["3", "5", "6"],
           "subset": "Math", "num_correct": 1}  # fmt: skip
    tied = {**row, "id": "tied:9", "chosen": ["red", "blue"], "subset": "ties", "num_correct": 2}
    items = rewardbench2_items([(1, row), (2, tied)], "f")
    assert items[0].correct == (True, False, False, False)
    assert (items[1].subset, items[1].cluster) == ("Ties", "9")
    assert items[1].correct == (True, True, False, False, False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"chosen": ["4", "four"]}, "f row 1: item '3' has 2 right responses; wanted exactly one"),
        ({"rejected": []}, "1 right of 1 responses"),
        ({"chosen": None}, "f row 1 has no 'chosen'; it has"),
        ({"rejected": ["3", " "]}, "f row 1 has an empty response"),
        ({"subset": "Ties", "id": "17"}, "neither 'ref:NUMBER' nor 'tied:NUMBER'"),
    ],
)
def test_rows_that_cannot_be_counted_are_refused(change: dict[str, Any], message: str) -> None:
    row = {"id": "3", "prompt": "2 + 2?", "chosen": ["4"], "rejected": ["3", "5"], "subset": "Math"}
    with pytest.raises(DataError, match=message):
        rewardbench2_items([(1, {**row, **change})], "f")


def test_a_ties_id_names_kind_and_prompt() -> None:
    assert ties_prompt("ref:12") == ("ref", "12")
    for bad in ("12", "tie:12", "ref12"):
        with pytest.raises(DataError, match="Ties id"):
            ties_prompt(bad)
