"""Alternatives of a step become preferences: by hand, and counted another way."""

from __future__ import annotations

import os
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest

from assay.data.solutions import Solutions
from assay.data.steps import join_steps, split_steps, step_pairs
from assay.errors import DataError
from assay.types import Message, Preference, Solution


def solution(
    steps: tuple[str, ...], labels: tuple[int | None, ...], prompt: str = "Q", **fields: str
) -> Solution:
    return Solution((Message("user", prompt),), steps, labels, **fields)  # type: ignore[arg-type]


def test_better_labelled_alternative_is_chosen() -> None:
    pairs = step_pairs(
        [
            solution(("a", "b"), (1, 1), subset="s"),
            solution(("a", "c"), (None, -1)),
            solution(("a", "d"), (None, 0)),
            solution(("z", "b"), (None, -1)),  # after another step: no alternative
            solution(("a", "e"), (None, None)),
        ]
    )
    (comparison,) = pairs.comparisons
    assert comparison.prompt == (Message("user", "Q"),)
    assert [r[0] for r in comparison.responses] == [
        Message("assistant", text) for text in ("a\n\nb", "a\n\nc", "a\n\nd")
    ]
    assert comparison.preferences == (
        Preference(0, 1, margin=2.0),
        Preference(0, 2, margin=1.0),
        Preference(2, 1, margin=1.0),
    )
    assert comparison.subset == "s"
    assert (pairs.report.rows, pairs.report.pairs) == (5, 3)
    assert pairs.report.dropped == {}


def test_same_labels_and_contradictions_are_counted() -> None:
    pairs = step_pairs(
        [
            solution(("a",), (1,)),
            solution(("b",), (1,)),
            solution(("c",), (-1,)),
            solution(("d",), (1,)),
            solution(("d",), (-1,)),
            solution(("a",), (-1,), prompt="R"),
        ],
        separator="\n",
    )
    assert [(p.chosen[0].content, p.rejected[0].content) for p in pairs] == [("a", "c"), ("b", "c")]
    assert pairs.report.dropped == {
        "step labelled in two ways": 1,
        "pair of alternatives with the same label": 1,
    }
    assert pairs.report.examples[0].where == "step 'd'"


def test_alternatives_are_found_in_the_middle_of_solutions() -> None:
    pairs = step_pairs([solution(("a", "b"), (1, 1)), solution(("c", "b"), (-1, 1))], " | ")
    assert [(p.chosen[0].content, p.rejected[0].content) for p in pairs] == [("a", "c")]


def test_no_alternatives_is_an_error_with_the_reasons() -> None:
    with pytest.raises(DataError) as caught:
        step_pairs([solution(("a",), (1,)), solution(("b",), (1,))])
    assert str(caught.value) == (
        "none of the 2 solutions gave a pair of alternatives of one step with different labels; "
        "dropped: 1 pair of alternatives with the same label."
    )


def test_steps_are_cut_and_joined_from_here() -> None:
    assert split_steps(join_steps(["a", "b"])) == ["a", "b"]


def test_pairs_of_prm800k_are_those_of_its_ratings() -> None:
    path = Path(os.environ.get("ASSAY_DATA", ""), "prm800k_phase1_train.jsonl.gz")
    if not os.environ.get("ASSAY_DATA") or not path.exists():
        pytest.skip("prm800k_phase1_train is not here; set ASSAY_DATA")
    solutions = Solutions.load(path, limit=3000)
    ratings: dict[tuple[str, ...], dict[str, set[int]]] = {}
    for s in solutions:
        *before, last = s.steps
        if s.labels[-1] is not None:
            group = ratings.setdefault((s.prompt[0].content, *before), {})
            group.setdefault(last, set()).add(s.labels[-1])
    expected = [
        [min(r) for r in group.values() if len(r) == 1 or len(set(r)) == 1]
        for group in ratings.values()
    ]
    pairs = step_pairs(solutions)
    assert len(pairs) == sum(a != b for g in expected for a, b in combinations(g, 2))
    assert len(pairs) > 500
    margins = Counter(abs(a - b) for g in expected for a, b in combinations(g, 2) if a != b)
    assert Counter(int(p.margin) for p in pairs) == margins
