"""Two models on one suite: differences, tests, flips, and what cannot be compared."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from assay.errors import ConfigError, DataError
from assay.evaluation.compare import compare, compare_scores
from assay.evaluation.rewardbench import REWARDBENCH, REWARDBENCH_2
from assay.evaluation.run import evaluate
from assay.evaluation.scoring import ScoredSuite
from assay.evaluation.suite import ScoredItem, Suite, SuiteSpec
from assay.evaluation.suites import PAIRS


def answered(right: list[bool], subset: str = "all", cluster: int = 1) -> list[ScoredItem]:
    return [
        ScoredItem(str(i), subset, (1.0, 0.0) if ok else (0.0, 1.0), (True, False),
                   f"{subset}/{i // cluster}", (10, 20))
        for i, ok in enumerate(right)
    ]  # fmt: skip


def saved(directory: Path, rows: list[ScoredItem], spec: SuiteSpec = PAIRS, **named: str) -> Path:
    done = evaluate(None, Suite(spec, (), "made"), scored=ScoredSuite(tuple(rows), 0, 0, 0),
                    model=named.get("model", directory.name))  # fmt: skip
    return done.save(directory)


A = answered([True] * 60 + [False] * 40)
B = answered([True] * 50 + [False] * 10 + [True] * 25 + [False] * 15)


def test_the_difference_is_b_minus_a_with_the_counts_behind_it() -> None:
    found = compare_scores(PAIRS, A, B)
    d = found.subsets["all"]
    assert (d.a, d.b) == (0.6, 0.75)
    assert d.difference.value == pytest.approx(0.15)
    assert d.difference.low < 0.15 < d.difference.high
    assert (d.only_a, d.only_b) == (10, 25)
    assert d.mcnemar == pytest.approx(binomtest(10, 35).pvalue)
    assert d.p == pytest.approx(d.mcnemar, abs=0.02)
    assert found.total is not None
    assert found.total.difference.value == pytest.approx(0.15)


def test_turned_round_everything_changes_sign() -> None:
    there, back = compare_scores(PAIRS, A, B), compare_scores(PAIRS, B, A)
    one, other = there.subsets["all"], back.subsets["all"]
    assert one.difference.value == pytest.approx(-other.difference.value)
    assert (one.only_a, one.only_b) == (other.only_b, other.only_a)
    assert one.p == pytest.approx(other.p, abs=0.01)
    assert one.mcnemar == other.mcnemar
    assert {f.id for f in there.flips} == {f.id for f in back.flips}


def test_a_model_against_itself_differs_by_nothing() -> None:
    found = compare_scores(PAIRS, A, A)
    assert found.total is not None
    assert (found.total.difference.value, found.total.p) == (0.0, 1.0)
    assert found.subsets["all"].p == 1.0
    assert found.flips == ()


def test_flips_are_the_items_that_changed_and_no_others() -> None:
    found = compare_scores(PAIRS, A, B)
    assert {int(f.id) for f in found.flips} == {*range(50, 60), *range(60, 85)}
    flip = next(f for f in found.flips if f.id == "50")
    assert (flip.a, flip.b, flip.rewards_a, flip.rewards_b) == (1.0, 0.0, (1.0, 0.0), (0.0, 1.0))
    assert "35 items flipped" in str(found)


def test_where_prompts_have_several_items_mcnemar_is_left_out() -> None:
    found = compare_scores(
        PAIRS,
        answered([True] * 60 + [False] * 40, cluster=5),
        answered([True] * 75 + [False] * 25, cluster=5),
    )
    assert found.subsets["all"].mcnemar is None
    alone = compare_scores(PAIRS, A, answered([True] * 75 + [False] * 25))
    assert found.subsets["all"].p > alone.subsets["all"].p


def test_holm_corrects_over_subsets() -> None:
    rng = np.random.default_rng(0)
    a, b = [], []
    for name in "wxyz":
        a += answered((rng.random(80) < 0.5).tolist(), name)
        b += answered((rng.random(80) < (0.9 if name == "w" else 0.5)).tolist(), name)
    found = compare_scores(PAIRS, a, b)
    assert found.subsets["w"].p_holm == pytest.approx(4 * found.subsets["w"].p)
    assert all(d.p_holm >= d.p for d in found.subsets.values())


def test_a_subset_that_goes_its_own_way_is_told_from_the_rest() -> None:
    rng = np.random.default_rng(1)
    a, b = [], []
    for name in "wxyz":
        base = rng.random(100) < 0.5
        a += answered(base.tolist(), name)
        b += answered((base if name != "w" else rng.random(100) < 0.95).tolist(), name)
    found = compare_scores(PAIRS, a, b)
    assert found.subsets["w"].p_rest is not None
    assert found.subsets["w"].p_rest < 0.01
    # x, y, z differ from "the rest" too, for w is in their rest
    same = compare_scores(PAIRS, a, a)
    assert all(d.p_rest == 1.0 for d in same.subsets.values())
    assert compare_scores(PAIRS, A, B).subsets["all"].p_rest is None  # there is no rest


def test_sections_and_total_are_weighted_as_the_suite_says() -> None:
    math = answered([True] * 447, "math-prm")
    code = answered([True] * 82 + [False] * 82, "hep-go")
    other = answered([True] * 164, "hep-go")
    found = compare_scores(REWARDBENCH, [*math, *code], [*math, *other])
    assert found.total is None
    assert "the suite is partial: no total" in str(found)
    section = found.sections["Reasoning"]
    assert section.difference.value == pytest.approx(0.5 * 164 / (164 + 984))
    assert section.b == pytest.approx(1.0)


def test_the_ties_score_is_compared_by_the_jackknife() -> None:
    rng = np.random.default_rng(0)

    def ties(chance: float) -> list[ScoredItem]:
        rows = []
        for p in range(30):
            m = 2.0 if rng.random() < chance else -2.0
            marks = (True, True, False)
            rows.append(ScoredItem(f"tied:{p}", "Ties", (m + 0.5, m, 0.0), marks, str(p)))
            rows.append(ScoredItem(f"ref:{p}", "Ties", (m, 0.0), (True, False), str(p)))
        return rows

    found = compare_scores(REWARDBENCH_2, ties(0.2), ties(0.9)).subsets["Ties"]
    assert found.difference.low > 0
    assert found.p < 0.001
    assert (found.mcnemar, found.p_rest, found.only_a) == (None, None, 0)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (A[:-1], r"A has 100 items and B 99, 99 of them the same \(all '99' is in A alone\)"),
        ([*A[:-1], replace(A[-1], id="x")], "99 of them the same"),
        ([*A[:-1], replace(A[-1], correct=(False, True))], "Item '99' of all has other right"),
    ],
)
def test_other_items_are_refused(rows: list[ScoredItem], message: str) -> None:
    with pytest.raises(DataError, match=message):
        compare_scores(PAIRS, A, rows)


def test_order_of_rows_does_not_matter() -> None:
    shuffled = [B[i] for i in np.random.default_rng(0).permutation(len(B))]
    assert compare_scores(PAIRS, A, shuffled).to_dict() == compare_scores(PAIRS, A, B).to_dict()


def test_directories_are_compared_with_the_first_and_written(tmp_path: Path) -> None:
    first = saved(tmp_path / "first", A)
    second = saved(tmp_path / "second", B)
    third = saved(tmp_path / "third", A)
    result = compare([first, second, third], tmp_path / "out")
    assert [c.name_b for c in result.pairs] == [str(second), str(third)]
    assert result.p_holm[0] == pytest.approx(2 * result.pairs[0].total.p)
    assert result.p_holm[1] == 1.0
    flips = [json.loads(x) for x in (tmp_path / "out" / "flips.jsonl").read_text().splitlines()]
    assert len(flips) == 35
    assert {f["model"] for f in flips} == {str(second)}
    record = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert record["comparisons"][0]["flipped"] == 35
    page = (tmp_path / "out" / "leaderboard.html").read_text()
    assert all(name in page for name in ("first", "second", "third"))
    assert "Holm over models" in str(result)
    assert json.loads(json.dumps(result.to_dict()))["comparisons"][1]["flips"] == []


def test_what_is_no_pair_of_evaluations_is_refused(tmp_path: Path) -> None:
    first = saved(tmp_path / "first", A)
    with pytest.raises(ConfigError, match="two or more evaluation directories to compare, got 1"):
        compare([first])
    with pytest.raises(DataError, match=r"is no finished evaluation: it has no results\.json"):
        compare([first, tmp_path])
    other = saved(tmp_path / "other", answered([True, False], "math-prm"), REWARDBENCH)
    with pytest.raises(DataError, match="one on pairs; only evaluations of one suite"):
        compare([first, other])
    (first / "scores.jsonl").unlink()
    with pytest.raises(DataError, match=r"has no scores\.jsonl"):
        compare([first, first])
    (other / "results.json").write_text("{")
    with pytest.raises(DataError, match="is damaged"):
        compare([other, other])
