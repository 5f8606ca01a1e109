"""Findings: each problem planted is named with what to do; sound data give none."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from typing import Any

import pytest

from assay.data.audit import reliability
from assay.data.audit.findings import LEVELS, Finding
from assay.data.audit.reading import load_evidence
from assay.data.audit.report import AuditReport, make_report


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two models take most of a small audit's time."""
    monkeypatch.setattr(reliability, "MACE_STEPS", 2)
    monkeypatch.setattr(reliability, "DAWID_SKENE_STEPS", 2)


def report(
    rows: list[dict[str, Any]], against: Mapping[str, Iterable[str | None]] | None = None
) -> AuditReport:
    return make_report(load_evidence(rows), against, resamples=50)


def found(*rows: dict[str, Any], **more: Any) -> dict[str, Finding]:
    return {finding.subject: finding for finding in report(list(rows), **more).findings}


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def votes(flip: float = 0.0, items: int = 60, first: float = 0.5) -> list[dict[str, Any]]:
    source = random.Random(0)
    rows = []
    for i in range(items):
        truth = 1 if source.random() < first else 2
        given = [truth if source.random() >= flip else 3 - truth for _ in range(3)]
        rows.append({"id": i, "instruction": f"Question {i}?", "response_1": f"x{i:03d}",
                     "response_2": f"y{i:03d}", "votes": given})  # fmt: skip
    return rows


def test_sound_votes_are_ok() -> None:
    subjects = found(*votes(0.02))
    assert subjects["agreement"].level == subjects["position"].level == "ok"
    assert "problem" not in {f.level for f in subjects.values()}
    assert subjects["ceiling"].text.startswith("a model that is always right would reach")


def test_findings_are_sorted_by_what_matters_and_read_well() -> None:
    whole = report(votes(0.2))
    order = [LEVELS.index(finding.level) for finding in whole.findings]
    assert order == sorted(order)
    for finding in whole.findings:
        assert finding.text.rstrip().endswith(".")
        assert not finding.advice or finding.advice.endswith(".")
        assert "nan" not in str(finding)
    lines = str(whole).splitlines()
    assert lines[0] == "180 judgments of 60 items in 60 comparisons by 3 annotators"
    assert len(lines) == 1 + len(whole.findings)


def test_poor_agreement_is_a_warning_and_chance_a_problem() -> None:
    assert found(*votes(0.2))["agreement"].level == "warning"
    chance = found(*votes(0.5))["agreement"]
    assert chance.level == "problem"
    assert "no more than by chance" in chance.text


def test_a_plain_pair_file_says_what_is_undefined() -> None:
    subjects = found(pair("p", "a", "b"), pair("q", "a", "b"))
    assert "name no annotators" in subjects["agreement is undefined"].text
    assert "judged by a second annotator" in subjects["agreement is undefined"].advice
    assert "display_order" in subjects["position bias is undefined"].advice
    assert subjects["length bias is undefined"].level == "note"
    assert "ceiling" not in subjects


def test_all_ties_are_a_problem() -> None:
    subjects = found(*({**row, "votes": [0, 0, 0]} for row in votes(items=12)))
    assert subjects["ties"].level == "problem"
    assert "all 36 judgments are ties" in subjects["ties"].text
    assert subjects["agreement is undefined"].advice == ""
    assert subjects["position bias is undefined"].advice == ""
    assert "3 annotators are always giving the same answer" in subjects["one answer"].text


def test_position_and_length_bias_are_named() -> None:
    subjects = found(*votes(0.02, first=0.9))
    assert subjects["position"].level == "warning"
    assert subjects["position"].advice.startswith("If responses are listed in the order")
    rows = [pair(f"p{i}", "a long answer " * 3 + str(i), f"short {i}") for i in range(40)]
    assert found(*rows)["length"].level == "warning"
    some = [pair(f"p{i}", *(s if i % 9 < 5 else s[::-1])) for i in range(400)
            if (s := (f"long answer {i}", f"short {i}"))]  # fmt: skip
    assert found(*some)["length"].level == "note"
    even = [pair(f"p{i}", *(s if i % 2 else s[::-1])) for i in range(40)
            if (s := (f"long answer {i}", f"short {i}"))]  # fmt: skip
    assert found(*even)["length"].level == "ok"


def test_a_recorded_order_and_both_orders_are_said() -> None:
    rows = []
    for i in range(30):
        judgments = [{"annotator": who, "choice": order[0], "display_order": order}
                     for who, order in (("ada", [0, 1]), ("bob", [1, 0]))]  # fmt: skip
        rows.append({"prompt": f"p{i}", "responses": ["aa", "bb"], "judgments": judgments})
    finding = found(*rows)["position"]
    assert finding.text.startswith("the response shown first is preferred in 1.000")
    assert "being first adds +0.500" in finding.text
    assert finding.advice.startswith("Draw the order")


def test_repetitions_contradictions_and_cycles_are_named() -> None:
    cycle = [pair("p", *sides) for sides in (("aa", "bb"), ("bb", "cc"), ("cc", "aa"))]
    subjects = found(*cycle, pair("q", "aa", "bb"), pair("q", "aa", "bb"), pair("r", "aa", "bb"),
                     pair("r", "bb", "aa"))  # fmt: skip
    assert subjects["repetitions"].level == "warning"
    assert subjects["repetitions"].text.startswith("1 judgment of responses")
    assert subjects["contradictions"].text.startswith("1 pair of responses labelled both ways")
    assert subjects["cycles"].level == "warning"
    assert "1 of 1 prompts" in subjects["cycles"].text


LONG = "Tell me in a few words how a bicycle stays upright when it is ridden slowly"


def test_near_duplicates_are_named() -> None:
    answers = "It stays upright because it is steered", "Nobody really knows how that comes about"
    rows = [
        pair(LONG, *answers),
        pair(f"{LONG}, please", *answers),
        pair(f"{LONG}!", *answers[::-1]),
    ]
    subjects = found(*rows)
    assert subjects["near-duplicate prompts"].level == "warning"
    assert "2 of 3 prompts are near another" in subjects["near-duplicate prompts"].text
    assert subjects["near-duplicate pairs"].text.startswith("2 pairs near another pair")
    assert subjects["near contradictions"].text.startswith("1 pair labelled opposite")


def test_contamination_is_a_problem_and_its_absence_said() -> None:
    rows = [pair(LONG, "aa", "bb"), pair("Why?", "aa", "bb")]
    hit = found(*rows, against={"mine": [LONG, "Another"]})["contamination"]
    assert hit.level == "problem"
    assert "1 of the 2 prompts of mine are in the data: 1 by exact" in hit.text
    assert "Drop the 1 comparisons" in hit.advice
    clean = found(*rows, against={"other": ["Nothing of the kind"]})["contamination"]
    assert (clean.level, clean.text) == ("ok", "none of the 1 prompts of other is in the data.")


def test_rows_that_cannot_be_used_are_counted() -> None:
    subjects = found(pair("p", "a", "b"), pair("", "a", "b"), pair("q", "Yes", "yes"))
    assert subjects["rows left out"].text == "1 of 3 rows could not be read: 1 empty text."
    assert subjects["same but for case and space"].text.startswith("1 judgment of two responses")
    empty = found(*votes(), {**votes()[0], "id": "e", "response_1": ""})
    assert "1 comparison judged that give no preference pair: 1 empty text." in (
        empty["no pair to train on"].text
    )


def test_an_odd_annotator_and_those_with_few_labels_are_named() -> None:
    source = random.Random(3)
    rows = []
    for i in range(150):
        said = {"ada": i % 2, "bob": i % 2, "eve": source.choice([0, 1])}
        if i < 3:
            said["new"] = i % 2
        judgments = [{"annotator": who, "choice": choice} for who, choice in said.items()]
        rows.append({"prompt": f"p{i}", "responses": ["aa", "bb"], "judgments": judgments})
    subjects = found(*rows)
    assert subjects["annotators"].text.startswith("1 annotator is in less agreement")
    assert "eve (0." in subjects["annotators"].text
    assert "1 of 4 annotators share too few items" in subjects["few labels"].text


def test_texts_that_are_all_alike_are_noted() -> None:
    rows = [pair(f"{LONG} number {i}", f"a{i}", f"b{i}") for i in range(120)]
    assert "prompts are as diverse as" in found(*rows)["diversity of prompts"].text
