"""Label noise: the formula by hand, recovery of a known rate, coverage, and why undefined."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest

from assay.data.audit.agreement import agreement
from assay.data.audit.answers import Answers, choices
from assay.data.audit.figures import Undefined
from assay.data.audit.noise import Noise, flip_rate, majority_accuracy, noise
from assay.data.audit.reading import load_evidence
from assay.types import Figure


def measured(rows: list[dict[str, Any]], usual: int = 2) -> Noise:
    evidence = load_evidence(rows)
    answers = choices(evidence.judgments, evidence.items.cluster)
    return noise(evidence, agreement(answers, evidence.annotators, resamples=20), usual)


def test_the_flip_rate_inverts_agreement() -> None:
    for flip in (0.0, 0.1, 0.25, 0.5):
        assert flip_rate(1 - 2 * flip * (1 - flip)) == pytest.approx(flip)
    assert flip_rate(0.4) == 0.5
    assert flip_rate(0.73) == pytest.approx(0.161, abs=5e-4)  # the 73 % of summaries: 0.84 at most


def test_the_accuracy_of_majorities_by_hand() -> None:
    assert majority_accuracy(0.2, 1) == pytest.approx(0.8)
    assert majority_accuracy(0.2, 3) == pytest.approx(0.8**3 + 3 * 0.8**2 * 0.2)
    assert majority_accuracy(0.0, 5) == 1


def votes(flip: float, items: int, raters: int, seed: int) -> list[dict[str, Any]]:
    source = random.Random(seed)
    rows = []
    for i in range(items):
        truth = 1 + i % 2
        given = [truth if source.random() >= flip else 3 - truth for _ in range(raters)]
        rows.append({"id": i, "instruction": f"p{i}", "response_1": "x", "response_2": "y",
                     "votes": given})  # fmt: skip
    return rows


def test_a_known_rate_is_recovered_and_held_by_its_interval() -> None:
    held, runs, flip = 0, 60, 0.15
    values = []
    nothing = load_evidence([pair("p", "a", "b")])
    rng = np.random.default_rng(0)
    item = np.tile(np.arange(120), 3)
    for _ in range(runs):
        truth = rng.choice([-1.0, 1.0], 120)
        value = (truth * np.where(rng.random((3, 120)) < flip, -1, 1)).ravel()
        answers = Answers(item, np.repeat(np.arange(3), 120), value, item)
        found = noise(nothing, agreement(answers, ["a", "b", "c"], resamples=2), 3)
        assert isinstance(found.from_agreement, Figure)
        assert isinstance(found.ceiling, Figure)
        values.append(found.from_agreement.value)
        held += found.from_agreement.low <= flip <= found.from_agreement.high
        assert found.ceiling.value == pytest.approx(1 - found.from_agreement.value)
        assert found.ceiling.low == pytest.approx(1 - found.from_agreement.high)
    assert np.mean(values) == pytest.approx(flip, abs=0.01)
    assert held / runs >= 0.87


def test_the_ceiling_of_majorities_and_the_least_ceiling() -> None:
    found = measured(votes(0.2, 150, 3, 0), usual=4)
    assert found.majority_of == 3
    assert isinstance(found.majority_ceiling, Figure)
    assert isinstance(found.from_agreement, Figure)
    assert found.majority_ceiling.value == pytest.approx(
        majority_accuracy(found.from_agreement.value, 3)
    )
    assert found.majority_ceiling.low < found.majority_ceiling.value < found.majority_ceiling.high
    assert isinstance(found.least_ceiling, Figure)
    assert isinstance(found.ceiling, Figure)
    assert found.least_ceiling.value < found.ceiling.value
    two = measured(votes(0.2, 40, 2, 0), usual=2)
    assert two.majority_ceiling == Undefined("items usually have fewer than three judgments.")
    assert two.to_dict()["judgments_of_a_majority"] == 0


def test_harder_items_lower_the_ceiling_and_never_below_agreement() -> None:
    """Half of the items are sure, half a coin: the best model is right in ¾ of the labels."""
    hard = [
        {**row, "id": f"b{row['id']}", "instruction": f"q{row['id']}"}
        for row in votes(0.5, 150, 3, 2)
    ]
    found = measured(votes(0.0, 150, 3, 1) + hard)
    assert isinstance(found.ceiling, Figure)
    assert isinstance(found.least_ceiling, Figure)
    assert found.least_ceiling.low < 0.75 < found.ceiling.value


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def test_repeated_labels_without_names_give_a_rate_too() -> None:
    rows = [pair("p", "a", "b"), pair("p", "a", "b"), pair("q", "a", "b"), pair("q", "a", "b"),
            pair("r", "a", "b"), pair("r", "b", "a"), pair("s", "a", "b"),
            pair("t", "a", "b"), pair("t", "a", "b", tie=True)]  # fmt: skip
    found = measured(rows)
    assert isinstance(found.from_repeats, Figure)
    assert found.from_repeats.value == pytest.approx(flip_rate(2 / 3))
    assert found.from_repeats.n == 3
    assert found.from_agreement == Undefined(
        "the data name no annotators, so there is one opinion of each item and no other."
    )
    assert found.ceiling == found.least_ceiling == found.majority_ceiling == found.from_agreement


def test_no_better_than_chance_is_no_rate() -> None:
    rows = [pair("p", "a", "b", annotator="ada"), pair("p", "b", "a", annotator="bob")]
    found = measured(rows)
    assert str(found.from_agreement).startswith("undefined: labels agree in 0.000, no more than")
    assert found.from_repeats == Undefined("no two responses were labelled twice by the same hand.")
