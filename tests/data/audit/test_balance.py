"""Position and length bias: by hand, planted and found, or undefined and why."""

from __future__ import annotations

import random
from typing import Any

import pytest

from assay.data.audit.balance import length, longer_signs, position
from assay.data.audit.figures import Undefined
from assay.data.audit.reading import load_evidence
from assay.types import Figure


def vote(i: int, *votes: int, first: str = "aa", second: str = "b") -> dict[str, Any]:
    return {"id": i, "instruction": f"I{i}", "response_1": first, "response_2": second,
            "votes": list(votes)}  # fmt: skip


def value(outcome: Any) -> float:
    assert isinstance(outcome, Figure), outcome
    return outcome.value


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_the_share_that_prefers_the_first() -> None:
    found = position(load_evidence([vote(1, 1, 1, 2), vote(2, 0, 1, 1)]))
    assert value(found.preferred_first) == pytest.approx(4 / 5)
    assert found.preferred_first.n == 5  # type: ignore[union-attr]
    assert found.swap_effect == Undefined("no item was judged in both orders.")
    assert not found.is_recorded


def mtbench(a: str, b: str, winner: str, question: int = 1, judge: str = "j") -> dict[str, Any]:
    return {"judge": judge, "model_a": a, "model_b": b, "question_id": question, "winner": winner}


def test_the_effect_of_being_first_by_hand() -> None:
    rows = [
        mtbench("m", "n", "model_a"),  # m first: m wins
        mtbench("n", "m", "model_a", judge="k"),  # n first: n wins
        mtbench("m", "n", "model_a", 2),  # m first: m wins
        mtbench("n", "m", "model_b", 2, judge="k"),  # n first: m wins
        mtbench("m", "n", "model_b", 3),  # one order only
        mtbench("m", "n", "tie (inconsistent)", 3, judge="k"),
    ]
    found = position(load_evidence(rows))
    # question 1: P(m | m first) - P(m | n first) = 1, half of it ½; question 2: 0
    assert value(found.swap_effect) == pytest.approx(0.25)
    assert found.swap_effect.n == 2  # type: ignore[union-attr]
    assert value(found.preferred_first) == pytest.approx(3 / 5)
    assert found.inconsistent == 1


def test_the_effect_of_being_first_is_free_of_which_is_better() -> None:
    """m is always better and mostly first: no bias of position, though the first mostly wins."""
    rows = []
    for i in range(60):
        rows.append(mtbench("m", "n", "model_a", i))
        if i % 3 == 0:
            rows.append(mtbench("n", "m", "model_b", i, judge="k"))
    found = position(load_evidence(rows))
    assert value(found.preferred_first) == pytest.approx(60 / 80)
    assert value(found.swap_effect) == 0
    assert found.swap_effect.low <= 0 <= found.swap_effect.high  # type: ignore[union-attr]


def test_position_without_orders_or_without_preferences_says_why() -> None:
    unknown = position(load_evidence([pair("p", "a", "b")]))
    assert unknown.preferred_first == Undefined(
        "the data do not say which response was shown first."
    )
    assert unknown.to_dict()["effect_of_being_first"]["value"] is None
    ties = position(load_evidence([vote(1, 0, 0)]))
    assert ties.swap_effect == Undefined("all judgments are ties.")


def test_recorded_orders_are_used_and_said() -> None:
    row = {"prompt": "p", "responses": ["a", "b"],
           "judgments": [{"annotator": "ada", "choice": 0, "display_order": [1, 0]}]}  # fmt: skip
    found = position(load_evidence([row]))
    assert found.is_recorded
    assert value(found.preferred_first) == 0


def test_length_by_hand() -> None:
    rows = [
        pair("p", "12345678", "1234"),  # longer by 4, twice as long
        pair("q", "123", "123456"),  # shorter by 3
        pair("r", "12345678901", "1234567890"),  # longer by 1, 1.1 times
        pair("s", "abc", "xyz"),  # equal
        pair("t", "abcd", "x", tie=True),  # no preference
    ]
    evidence = load_evidence(rows)
    assert sorted(longer_signs(evidence).tolist()) == [-1, 0, 0, 1, 1]
    found = length(evidence)
    assert value(found.preferred_longer) == pytest.approx(2 / 3)
    assert value(found.difference) == pytest.approx((4 - 3 + 1 + 0) / 4)
    assert value(found.length_only) == pytest.approx((1 + 0 + 1 + 0.5) / 4)
    assert found.equal == 1
    assert [(s.least, s.most, s.longer.value, s.longer.n) for s in found.strata] == [
        (1.1, 1.25, 1.0, 1),
        (2.0, 3.0, 0.5, 2),
    ]
    assert found.to_dict()["strata"][1]["ratio_to"] == 3.0


def test_a_planted_length_bias_is_found() -> None:
    source = random.Random(0)
    rows = []
    for i in range(400):
        long, short = f"{i} " + "x" * 40, f"{i} " + "y" * 20
        sides = (long, short) if source.random() < 0.8 else (short, long)
        rows.append(pair(f"p{i}", *sides))
    found = length(load_evidence(rows))
    assert isinstance(found.preferred_longer, Figure)
    assert found.preferred_longer.low < 0.8 < found.preferred_longer.high
    assert found.preferred_longer.low > 0.7


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([mtbench("m", "n", "model_a")], "the data hold no texts, so no lengths."),
        ([pair("p", "a", "bb", tie=True)], "all judgments are ties."),
        ([pair("p", "a", "b")], "the two responses of every item have the same length."),
    ],
)
def test_length_that_is_undefined_says_why(rows: list[dict[str, Any]], why: str) -> None:
    found = length(load_evidence(rows))
    assert found.preferred_longer == found.length_only == Undefined(why)
    assert found.strata == ()
