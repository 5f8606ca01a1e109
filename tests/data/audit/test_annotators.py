"""The table of annotators: by hand, the outlier among sound ones, and what is too little to say."""

from __future__ import annotations

import random
from typing import Any

import pytest

from assay.data.audit import reliability
from assay.data.audit.annotators import Annotator, annotator_table
from assay.data.audit.answers import choices
from assay.data.audit.balance import longer_signs
from assay.data.audit.reading import load_evidence
from assay.data.audit.reliability import fit_reliability
from assay.types import Figure


def table(rows: list[dict[str, Any]], is_fitted: bool = False) -> dict[str, Annotator]:
    evidence = load_evidence(rows)
    answers = choices(evidence.judgments, evidence.items.cluster)
    fit = fit_reliability(answers) if is_fitted else "not fitted here."
    return {a.name: a for a in annotator_table(evidence, answers, fit, longer_signs(evidence))}


def comparison(prompt: str, *said: tuple[str, Any], **fields: Any) -> dict[str, Any]:
    judgments = [{"annotator": who, "choice": choice, **fields} for who, choice in said]
    return {"prompt": prompt, "responses": ["longer text", "short"], "judgments": judgments}


ROWS = [
    comparison("p", ("ada", 0), ("bob", 0), ("eve", 1)),
    comparison("q", ("ada", 1), ("bob", None)),
    comparison("r", ("ada", 0), display_order=[1, 0]),
    comparison("r", ("ada", 0)),
]


def test_agreement_with_the_rest_and_habits_by_hand() -> None:
    found = table(ROWS)
    ada, eve = found["ada"], found["eve"]
    assert list(found) == ["ada", "bob", "eve"]  # by number of judgments
    assert (ada.judgments, ada.shared) == (4, 2)
    assert isinstance(ada.agreement, Figure)
    assert ada.agreement.value == pytest.approx((1 / 2 + 0) / 2)  # one of two agrees, none of one
    assert isinstance(eve.agreement, Figure)
    assert eve.agreement.value == 0
    assert isinstance(ada.first_shown, Figure)
    assert ada.first_shown.value == pytest.approx(2 / 4)
    assert isinstance(ada.longer, Figure)
    assert ada.longer.value == pytest.approx(3 / 4)
    assert found["bob"].ties.value == pytest.approx(1 / 2)
    assert isinstance(ada.repeated, Figure)
    assert (ada.repeated.value, ada.repeated.n) == (1.0, 1)
    assert ada.notes == ("few labels",)
    assert ada.p_below is None
    assert ada.to_dict()["agreement_with_the_rest"]["n"] == 2


def test_a_single_judgment_has_the_whole_range_or_a_reason() -> None:
    eve = table(ROWS)["eve"]
    assert isinstance(eve.agreement, Figure)
    assert (eve.agreement.low, eve.agreement.high) == (0.0, 1.0)
    assert str(eve.repeated) == "undefined: no item was judged twice by this annotator."
    alone = table([comparison("p", ("ada", 0)), comparison("q", ("bob", 1))])["ada"]
    assert str(alone.agreement) == "undefined: no item was judged by another annotator too."
    assert str(alone.dawid_skene) == "undefined: not fitted here."
    tie = table([comparison("p", ("ada", None)), comparison("q", ("ada", None))])["ada"]
    assert tie.notes == ("few labels", "always a tie")
    assert str(tie.first_shown) == "undefined: the order shown is unknown, or all are ties."
    assert str(tie.longer) == "undefined: no lengths differ, or all are ties."


def test_an_annotator_outside_of_the_shared_items_has_no_model(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(reliability, "MACE_STEPS", 5)
    monkeypatch.setattr(reliability, "DAWID_SKENE_STEPS", 5)
    rows = [comparison("p", ("ada", 0), ("bob", 0)), comparison("q", ("ada", 1), ("bob", 1)),
            comparison("r", ("eve", 0))]  # fmt: skip
    found = table(rows, is_fitted=True)
    assert str(found["eve"].mace) == "undefined: no item was judged by another annotator too."
    assert isinstance(found["ada"].mace, Figure)
    assert isinstance(found["ada"].dawid_skene, Figure)
    assert found["ada"].dawid_skene.value > 0.9


def test_constant_answers_are_noted() -> None:
    rows = [comparison(f"p{i}", ("one", 0), ("two", 1)) for i in range(3)]
    found = table(rows)
    assert "always the first shown" in found["one"].notes
    assert "always the second shown" in found["two"].notes


def crowd(outlier: float, seed: int = 0) -> list[dict[str, Any]]:
    """Four annotators right in 90 %, and one in a share of his own; three judge each item."""
    source = random.Random(seed)
    rows = []
    for i in range(150):
        said = []
        for name in source.sample(["a", "b", "c", "d", "odd"], 3):
            right = source.random() < (outlier if name == "odd" else 0.9)
            said.append((name, i % 2 if right else 1 - i % 2))
        rows.append(comparison(f"p{i}", *said))
    return rows


def test_the_annotator_who_guesses_is_found_and_no_other() -> None:
    found = table(crowd(outlier=0.5))
    assert {name for name, a in found.items() if (a.p_below or 1) < 0.05} == {"odd"}
    assert found["odd"].notes == ()


def test_no_one_is_found_among_annotators_who_are_alike() -> None:
    false_alarms = sum(
        any((a.p_below or 1) < 0.05 for a in table(crowd(0.9, seed)).values()) for seed in range(2)
    )
    assert false_alarms <= 1
