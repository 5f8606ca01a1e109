"""Value: what several verifiers say together, with those that could not be checked."""

from __future__ import annotations

import math
from itertools import product

import pytest

from assay.feedback.verifiers import verifier_of
from assay.types import Conversation

# told by what the response says: passes, fails, or cannot be checked
TOLD = [{"kind": "regex", "name": f"r{n}", "pattern": f"{n}y"} for n in range(2)]
UNTOLD = {"kind": "exact_answer"}


def check(spec, text):
    return verifier_of(spec).check(Conversation.of("q", text))


def test_all_over_every_outcome():
    for a, b in product("yn", repeat=2):
        found = check({"kind": "all", "verifiers": TOLD}, f"0{a} 1{b}")
        assert found.passed is (a + b == "yy")
        assert found.score == (a + b).count("y") / 2


@pytest.mark.parametrize(("text", "passed", "score"), [("0y 1y", None, 1), ("0y 1n", False, 0.5)])
def test_what_could_not_be_checked_is_left_out_of_the_score(text, passed, score):
    found = check({"kind": "all", "verifiers": [*TOLD, UNTOLD]}, text)
    assert (found.passed, found.score) == (passed, score)
    assert "exact_answer could not be checked (no right answer is known)" in found.detail


@pytest.mark.parametrize("kind", ["all", "weighted"])
def test_nothing_checked_is_no_score(kind):
    more = {"weights": [2]} if kind == "weighted" else {}
    found = check({"kind": kind, "verifiers": [UNTOLD], **more}, "x")
    assert found.passed is None
    assert math.isnan(found.score)


@pytest.mark.parametrize(
    ("text", "pass_from", "passed", "score"),
    [
        ("0y 1y", 1, None, 1),  # the third could still fail
        ("0y 1n", 0.5, True, 0.75),  # 3 of 6 whatever the third says
        ("0n 1y", 0.9, False, 0.25),  # at most 3 of 6
        ("0n 1y", 0.5, None, 0.25),  # 1 of 6 or 3
        ("0n 1n", 0.5, False, 0),
    ],
)
def test_weights(text, pass_from, passed, score):
    spec = {"kind": "weighted", "verifiers": [*TOLD, UNTOLD], "weights": [3, 1, 2]}
    found = check({**spec, "pass_from": pass_from}, text)
    assert (found.passed, found.score) == (passed, pytest.approx(score))


def test_combined_verifiers_are_handed_the_truth():
    verifier = verifier_of({"kind": "all", "verifiers": [UNTOLD, {"kind": "no_commas"}]})
    assert verifier.check(Conversation.of("q", "tea"), "tea").passed
    assert verifier.check(Conversation.of("q", "milk"), "tea").detail == (
        "exact_answer failed (answer: 'milk')"
    )
