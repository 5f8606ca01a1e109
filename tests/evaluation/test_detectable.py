"""What a suite can tell apart depends on its independent items, not on its rows."""

import numpy as np
import pytest

from assay.evaluation.results import DISCORDANCE, effective_items, figures, grouped
from assay.evaluation.rewardbench import REWARDBENCH_2
from assay.evaluation.suite import PAIRS_HALF, ScoredItem, SuiteSpec
from assay.stats import minimum_detectable_difference

SPEC = SuiteSpec("own", "Own pairs", PAIRS_HALF)


def items(right: list[bool], clusters: list[int], subset: str = "all") -> list[ScoredItem]:
    return [
        ScoredItem(f"{subset} {i}", subset, (float(ok), 0.5), (True, False), f"prompt {cluster}")
        for i, (ok, cluster) in enumerate(zip(right, clusters, strict=True))
    ]


def effective(scored: list[ScoredItem], spec: SuiteSpec = SPEC) -> int:
    found = figures(spec, scored).effective_items
    assert found == effective_items(spec, grouped(scored))
    return found


def test_items_of_prompts_of_their_own_all_count() -> None:
    right = [i % 3 > 0 for i in range(300)]
    assert effective(items(right, list(range(300)))) == 300
    assert figures(SPEC, items(right, list(range(300)))).detectable == pytest.approx(
        minimum_detectable_difference(300, DISCORDANCE)
    )


def test_repeated_items_add_nothing() -> None:
    right = [i % 3 > 0 for i in range(300)]
    once = figures(SPEC, items(right, list(range(300))))
    thrice = figures(SPEC, items(right * 3, list(range(300)) * 3))
    assert thrice.items == 900
    assert thrice.effective_items == pytest.approx(300, abs=1)
    assert thrice.detectable == pytest.approx(once.detectable, rel=0.01)
    assert thrice.to_dict()["minimum_detectable_difference"] == thrice.detectable


def test_independent_answers_to_shared_prompts_count_nearly_in_full() -> None:
    right = (np.random.default_rng(0).random(2000) < 0.7).tolist()
    assert effective(items(right, [i // 2 for i in range(2000)])) > 1800


def test_subsets_of_different_difficulty_are_not_taken_for_dependence() -> None:
    easy = [i % 10 > 0 for i in range(100)]
    hard = [i % 10 == 0 for i in range(100)]
    clusters = np.random.default_rng(1).permutation(100) // 2
    scored = items(easy, clusters.tolist(), "easy")
    scored += items(hard, (clusters + 50).tolist(), "hard")
    assert effective(scored) > 150  # pooled without regard to subsets it would be some 120


def test_where_all_answers_are_right_the_prompts_count() -> None:
    assert effective(items([True] * 12, [i // 3 for i in range(12)])) == 4
    assert effective(items([True] * 5, [0] * 5)) == 1


def test_a_subset_measured_as_a_whole_counts_its_clusters() -> None:
    def ties(prompt: int) -> list[ScoredItem]:
        return [
            ScoredItem(f"{kind}:{prompt}", "Ties", (1.0, 0.0), (True, False), str(prompt))
            for kind in ("ref", "tied")
        ]

    rows = [row for prompt in range(10) for row in ties(prompt)]
    assert effective(rows, REWARDBENCH_2) == 10
    maths = items([True, False] * 20, list(range(40)), "Math")
    assert effective([*rows, *maths], REWARDBENCH_2) == 50
