"""From scored items to figures: weights worked by hand, partial suites, the printed table."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from assay.errors import DataError
from assay.evaluation.results import figures, is_tied, missing_subsets, p_text
from assay.evaluation.rewardbench import COUNTS, REWARDBENCH, REWARDBENCH_2
from assay.evaluation.suite import PAIRS_HALF, PAIRS_STRICT, ScoredItem, SubsetSpec, SuiteSpec
from assay.evaluation.suites import PAIRS

SMALL = SuiteSpec(
    name="small",
    title="Small",
    measure=PAIRS_STRICT,
    subsets={
        "a": SubsetSpec(PAIRS_STRICT, 4),
        "b": SubsetSpec(PAIRS_STRICT, 2, weight=4.0),
        "c": SubsetSpec(PAIRS_STRICT, 5),
    },
    sections={"S": ("a", "b"), "T": ("c",)},
)


def pairs(subset: str, right: int, of: int, ties: int = 0) -> list[ScoredItem]:
    rewards = [(1.0, 0.0)] * right + [(0.0, 0.0)] * ties + [(0.0, 1.0)] * (of - right - ties)
    return [
        ScoredItem(str(i), subset, r, (True, False), f"{subset}/{i}", (10, 20))
        for i, r in enumerate(rewards)
    ]


def small() -> list[ScoredItem]:
    return [*pairs("a", 1, 4), *pairs("b", 2, 2), *pairs("c", 2, 5, ties=1)]


def test_sections_and_total_are_weighted_as_worked_by_hand() -> None:
    found = figures(SMALL, small())
    assert found.subsets["a"].accuracy.value == 0.25
    assert found.subsets["c"].accuracy.value == 0.4  # the tie is wrong
    assert found.sections["S"].accuracy.value == pytest.approx((4 * 0.25 + 4 * 1.0) / 8)
    assert found.total is not None
    assert found.total.accuracy.value == pytest.approx((0.625 + 0.4) / 2)
    assert found.accuracy is not None
    assert found.accuracy.accuracy.value == pytest.approx(5 / 11)
    assert (found.items, found.responses, found.ties) == (11, 22, 1)
    assert found.complete


def test_the_same_tie_counts_half_where_the_suite_says_so() -> None:
    found = figures(PAIRS, [*pairs("x", 1, 3, ties=1)])
    assert found.total is not None
    assert found.total.accuracy.value == pytest.approx(0.5)
    assert found.ties == 1


def test_a_sections_error_is_that_of_its_weighted_subsets() -> None:
    even = replace(
        SMALL,
        subsets={n: SubsetSpec(PAIRS_STRICT, weight=1.0) for n in ("a", "b")},
        sections={"S": ("a", "b")},
    )
    found = figures(even, [*pairs("a", 100, 400), *pairs("b", 50, 100)])
    error = np.hypot(np.sqrt(0.25 * 0.75 / 400), np.sqrt(0.5 * 0.5 / 100)) / 2
    figure = found.sections["S"].accuracy
    assert figure.value == pytest.approx(0.375)
    assert figure.high - figure.low == pytest.approx(2 * 1.96 * error, rel=0.03)
    assert found.total is not None
    assert found.total.accuracy == figure


def test_a_partial_suite_has_no_total_and_says_what_is_missing() -> None:
    found = figures(SMALL, [*pairs("a", 4, 4), *pairs("c", 1, 2)])
    assert found.total is None
    assert not found.complete
    assert found.missing == {"b": (0, 2), "c": (2, 5)}
    text = str(found)
    assert text.startswith(
        "Small, partial: 1 of 3 subsets whole (have/want: b 0/2, c 2/5); no total"
    )
    assert "Small: " not in text
    assert [line.split()[0] for line in text.splitlines() if "incomplete" in line] == [
        "S",
        "T",
        "c",
    ]
    record = found.to_dict()
    assert record["total"] is None
    assert record["complete"] is False
    assert record["baseline_totals"]["chance"] is None
    assert record["missing"] == {"b": [0, 2], "c": [2, 5]}


def test_an_unknown_subset_is_refused_with_the_suites_own() -> None:
    with pytest.raises(DataError, match=r"'d' is no subset of small; it has a, b, c"):
        figures(SMALL, pairs("d", 1, 2))


def test_nothing_scored_is_refused() -> None:
    with pytest.raises(DataError, match="Nothing of small was scored; an evaluation needs items"):
        figures(SMALL, [])


def test_baselines_and_chance_stand_beside_every_part() -> None:
    rows = small()
    coin = [replace(row, rewards=(0.0, 1.0)) for row in rows]
    found = figures(SMALL, rows, {"length_only": coin}, {"a": 0.5, "b": 0.5, "c": 0.3})
    assert found.subsets["b"].baselines["length_only"].value == 0.0
    assert found.sections["S"].chance == 0.5
    assert found.total is not None
    assert found.total.chance == pytest.approx(0.4)
    assert found.total.baselines["length_only"].value == 0.0
    text = str(found)
    assert "length-only" in text
    assert "text-only" not in text
    record = found.to_dict()
    assert record["subsets"]["a"]["length_only_accuracy"]["value"] == 0.0
    assert record["subsets"]["a"]["text_only_accuracy"] is None
    assert record["baseline_totals"]["length_only"]["value"] == 0.0


def test_the_printed_table() -> None:
    text = str(figures(SMALL, small(), None, {"a": 0.5, "b": 0.5, "c": 0.5}))
    head, _, header, *rows = text.splitlines()
    assert head.startswith("Small: 0.512 [")
    assert header.split() == ["accuracy", "chance"]
    assert [row.split()[0] for row in rows[:6]] == ["S", "T", "a", "b", "c", "all"]
    assert rows[2].split()[1] == "0.250"
    assert "n=4" in rows[2]
    assert rows[-1].startswith("1 items with tied rewards (a tie is wrong); ")


def test_subsets_in_which_all_agree_keep_an_interval() -> None:
    found = figures(SMALL, small())
    perfect = found.subsets["b"].accuracy
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert 0.2 < perfect.low < 0.5  # Wilson of 2 of 2


def test_items_of_one_prompt_widen_the_interval_and_what_can_be_detected() -> None:
    rows = pairs("all", 60, 100)
    apart = figures(PAIRS, rows)
    together = figures(PAIRS, [replace(r, cluster=str(i // 10)) for i, r in enumerate(rows)])
    assert apart.total is not None
    assert together.total is not None
    width = [f.total.accuracy.high - f.total.accuracy.low for f in (apart, together)]
    assert width[1] > 2 * width[0]
    assert together.detectable > apart.detectable or np.isnan(together.detectable)
    assert apart.effective_items == 100
    assert together.effective_items < 30


def test_mixed_measures_have_no_figure_over_all_items() -> None:
    right = ScoredItem("1", "Math", (2.0, 1.0, 0.0, 0.0), (True, False, False, False), "1")
    ties = [
        ScoredItem(f"{k}:{p}", "Ties", (2.0, 1.0, 0.0), (True, k == "tied", False), str(p))
        for p in range(3)
        for k in ("ref", "tied")
    ]
    found = figures(REWARDBENCH_2, [right, *ties])
    assert found.accuracy is None
    part = found.subsets["Ties"]
    assert part.measure == "Ties score"
    assert part.accuracy.value == pytest.approx(0.6)  # margin 1 is not over spread 1; tanh 0
    record = found.to_dict()
    assert record["accuracy"] == {"value": None, "low": None, "high": None, "n": 0}
    assert record["subsets"]["Ties"]["measure"] == "Ties score"


def test_the_interval_of_the_ties_score_is_over_prompts() -> None:
    rng = np.random.default_rng(0)
    items = []
    for prompt in range(40):
        hit = rng.random() < 0.5
        margin = 2.0 if hit else -2.0
        items.append(
            ScoredItem(
                f"tied:{prompt}",
                "Ties",
                (margin + 0.5, margin, 0.0),
                (True, True, False),
                str(prompt),
            )
        )
        items.append(ScoredItem(f"ref:{prompt}", "Ties", (margin, 0.0), (True, False), str(prompt)))
    figure = figures(REWARDBENCH_2, items).subsets["Ties"].accuracy
    # both kinds of a prompt hit together: about the error of 40 coins, not of 80
    assert figure.high - figure.low == pytest.approx(2 * 2.02 * 1.0 * np.sqrt(0.25 / 40), rel=0.15)


def test_the_whole_set_of_rewardbench_gives_the_mean_of_four_sections() -> None:
    rows = [row for name, count in COUNTS.items() for row in pairs(name, count // 2, count)]
    found = figures(REWARDBENCH, rows)
    assert found.total is not None
    parts = [s.accuracy.value for s in found.sections.values()]
    assert found.total.accuracy.value == pytest.approx(np.mean(parts), abs=1e-12)
    assert found.total.accuracy.n == 2985
    assert not missing_subsets(REWARDBENCH, COUNTS)
    assert missing_subsets(REWARDBENCH, {**COUNTS, "hep-go": 163}) == {"hep-go": (163, 164)}


def test_a_tie_is_between_a_right_and_a_wrong_response() -> None:
    marks = (True, True, False)
    assert not is_tied(ScoredItem("1", "x", (1.0, 1.0, 0.0), marks, "1"))
    assert is_tied(ScoredItem("1", "x", (1.0, 0.0, 0.0), marks, "1"))


def test_pair_measures_count_ties_as_they_say() -> None:
    item = ScoredItem("1", "x", (1.0, 0.0, 1.0, 0.5), (True, True, False, False), "1")
    # 1 ties 1 and beats .5; 0 loses to both
    assert PAIRS_STRICT([item]) == 0.25
    assert PAIRS_HALF([item]) == 0.375


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "<.001"), (0.001, "0.001"), (0.5, "0.500"), (float("nan"), "–")]
)
def test_p_values_as_people_read_them(p: float, text: str) -> None:
    assert p_text(p) == text
