"""The report: what is written, that the page shows it and nothing else, and that it repeats."""

from __future__ import annotations

import html
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from assay.data.audit import reliability
from assay.data.audit.page import audit_page
from assay.data.audit.reading import load_evidence
from assay.data.audit.report import AuditReport, make_report


@pytest.fixture(autouse=True)
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two models take most of a small audit's time."""
    monkeypatch.setattr(reliability, "MACE_STEPS", 2)
    monkeypatch.setattr(reliability, "DAWID_SKENE_STEPS", 2)


EVIL = "<script>alert(1)</script>"


def pair(prompt: str, chosen: str, rejected: str, **more: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **more}


def everything() -> AuditReport:
    """Rows in which everything that can be found is there."""
    rows: list[dict[str, Any]] = []
    for i in range(40):
        said = [("ada", 0, 2), (EVIL, i % 2, 1), ("eve", None if i % 5 else 1, 1)]
        order = [i % 2, 1 - i % 2]
        judgments = [
            {"annotator": who, "choice": choice, "strength": strength, "display_order": order}
            for who, choice, strength in said
        ]
        row = {"prompt": f"{EVIL} A question about number {i}", "responses": [f"aaa {i}", f"b {i}"]}
        rows.append({**row, "judgments": judgments})
    rows.append({**rows[0], "judgments": rows[0]["judgments"][:1]})
    against = {"suite": [f"{EVIL} A question about number 3", "Something else that is not there"]}
    return make_report(load_evidence(rows), against, resamples=50)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict):
        return [x for v in value.values() for x in numbers(v)]
    if isinstance(value, list | tuple):
        return [x for v in value for x in numbers(v)]
    return [value] if isinstance(value, float) else []


def test_the_record_is_json_without_nan_and_every_figure_has_its_four_fields() -> None:
    record = everything().to_dict()
    text = json.dumps(record, allow_nan=False)
    assert all(map(math.isfinite, numbers(record)))

    def check(value: Any) -> None:
        if isinstance(value, dict):
            if "low" in value:
                assert {"value", "low", "high", "n"} <= set(value)
                if value["value"] is None:
                    assert value["why"].endswith(".")
                elif value["low"] is not None:
                    assert value["low"] <= value["value"] + 1e-12
                    assert value["value"] <= value["high"] + 1e-12
            for inner in value.values():
                check(inner)
        if isinstance(value, list):
            for inner in value:
                check(inner)

    check(json.loads(text))
    assert record["schema"] == 1
    assert record["agreement"]["strength"]["answers"] == [-1.0, 0.0, 1.0, 2.0]
    assert record["position"]["order_is_recorded"]


def test_what_is_written_is_whole_and_lists_the_rows(tmp_path: Path) -> None:
    report = everything()
    report.save(tmp_path / "out")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"audit.json", "audit.html", "flagged.jsonl"}
    assert json.loads((tmp_path / "out" / "audit.json").read_text()) == report.to_dict()
    lines = [json.loads(line) for line in (tmp_path / "out" / "flagged.jsonl").open()]
    why = {line["row"]: line["why"] for line in lines}
    assert why[41][0] == "repeated judgment"
    assert "contamination" in why[4]
    assert {line["source"] for line in lines} == {"the given data"}
    assert [line["row"] for line in lines] == sorted(line["row"] for line in lines)


def test_the_page_shows_every_section_and_escapes_everything() -> None:
    record = everything().to_dict()
    text = audit_page(record)
    assert EVIL not in text
    assert html.escape(EVIL) in text
    assert not re.search(r"<script|onload|https?://(?!www\.w3)|style=\"", text)
    headings = re.findall(r"<h2>(.*?)</h2>", text)
    assert headings == [
        "What was found, and what to do",
        "Agreement",
        "Label noise and the ceiling of accuracy",
        "Annotators",
        "Position bias",
        "Length bias",
        "Duplicates, contradictions, cycles",
        "Contamination",
        "Diversity and lengths",
        "How it was measured",
    ]
    alpha = record["agreement"]["alpha"]["nominal"]
    assert f"{alpha['value']:.3f} [{alpha['low']:.3f}, {alpha['high']:.3f}]" in text
    for figure in re.findall(r"<figure>.*?</figure>", text, re.DOTALL):
        following = text[text.index(figure) + len(figure) :]
        assert following.startswith('<div class="box"><table>')  # every chart has its table
    for finding in record["findings"]:
        assert html.escape(finding["text"]) in text
        assert html.escape(finding["advice"]) in text


def test_the_page_of_plain_pairs_and_of_votes_without_texts() -> None:
    plain = audit_page(
        make_report(load_evidence([pair("p", "aa", "b"), pair("q", "c", "d")])).record
    )
    assert "Agreement is undefined:" in plain
    assert "Not measured: --against names suites" in plain
    assert "<h2>Annotators</h2>" not in plain
    row = {"judge": "j", "model_a": "m", "model_b": "n", "question_id": 1, "winner": "model_a"}
    report = make_report(load_evidence([row, {**row, "judge": "k"}, {**row, "question_id": 2}]))
    votes = audit_page(report.record)
    assert "Not measured: the data hold no texts." in votes
    assert "Undefined: the data hold no texts, so no lengths." in votes
    assert report.record["diversity"] == report.record["lengths"] == {}
    assert report.record["duplicates"]["near_duplicate_prompts"] is None


def test_strengths_that_are_no_scale_are_named_on_the_page() -> None:
    judgments = [
        {"annotator": "ada", "choice": 0, "strength": 1},
        {"annotator": "bob", "choice": 1},
    ]
    rows = [{"prompt": f"p{i}", "responses": ["a", "b"], "judgments": judgments} for i in range(3)]
    report = make_report(load_evidence(rows), resamples=20)
    assert report.record["agreement"]["strength"]["why"] == "3 of 6 judgments say no strength."
    assert "How much better it is: undefined, 3 of 6 judgments say no strength." in (
        audit_page(report.record)
    )


def test_ratings_and_inconsistent_orders_are_on_the_page() -> None:
    tulu = {"instance_id": "t", "prompt": "Hi", "model_a": "m", "model_b": "n",
            "completion_a": "xx", "completion_b": "y", "a_acceptable": "yes", "b_acceptable": "no",
            "preference": "a-is-better"}  # fmt: skip
    rows = [{**tulu, "evaluator": who, "b_acceptable": said}
            for who, said in (("e", "no"), ("f", "yes"))]  # fmt: skip
    report = make_report(load_evidence(rows), resamples=20)
    acceptable = report.record["agreement"]["ratings"]["acceptable"]
    assert acceptable["raw"]["value"] == 0.5  # the first by both, the second by one
    assert acceptable["raw_without_ties"] == acceptable["raw"]
    assert acceptable["alpha"]["nominal"]["low"] is None  # one prompt, so no interval
    text = audit_page(report.record)
    assert "Of single responses: acceptable." in text
    vote = {"judge": "j", "model_a": "m", "model_b": "n", "question_id": 1, "winner": "model_a"}
    tie = {**vote, "question_id": 2, "winner": "tie (inconsistent)"}
    votes = [*({**row, "judge": judge} for judge in "jk" for row in (vote, tie))]
    text = audit_page(make_report(load_evidence(votes), resamples=20).record)
    assert "2 ties stand for two orders that disagreed." in text
    assert "1.000 [1.000, 1.000]" in text
    alone = [
        {**vote, "judge": judge, "winner": winner, "model_b": other}
        for judge in "jk"
        for winner, other in (("model_a", "n"), ("tie", "o"))
    ]
    assert "95 % interval unknown" in audit_page(make_report(load_evidence(alone)).record)


def test_many_annotators_are_listed_in_part() -> None:
    rows = [pair("p", "aa", "b", annotator=f"a{i}") for i in range(120)]
    record = make_report(load_evidence(rows), resamples=20).record
    text = audit_page(record)
    assert "The 100 with most judgments; audit.json has all 120." in text
    assert len(record["annotators"]) == 120


def test_the_same_data_give_the_same_record() -> None:
    once, again = (everything().to_dict() for _ in range(2))
    assert {**once, "created": ""} == {**again, "created": ""}


def test_places_name_no_directory(tmp_path: Path) -> None:
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(pair("p", "a", "b")) + "\n{}\n")
    report = make_report(load_evidence(path), {str(path): ["a", "p"]})
    assert str(tmp_path) not in json.dumps(
        {k: v for k, v in report.to_dict().items() if k != "contamination"}
    )
    assert report.record["data"]["dropped_examples"][0]["where"] == "pairs.jsonl line 2"
    assert report.record["sources"] == ["pairs.jsonl"]
