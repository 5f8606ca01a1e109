"""What is read for an audit: sides lined up whichever was listed first, items told apart."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from assay.data.audit.judgments import Evidence
from assay.data.audit.reading import load_evidence
from assay.errors import ConfigError, DataError


def pair(chosen: str, rejected: str, prompt: str = "Why?", **fields: Any) -> dict[str, Any]:
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, **fields}


def sides(evidence: Evidence) -> list[tuple[str, str]]:
    return [
        (evidence.texts[a], evidence.texts[b])
        for a, b in zip(evidence.items.first.tolist(), evidence.items.second.tolist(), strict=True)
    ]


def test_the_same_responses_in_either_order_are_one_item_with_opposite_values() -> None:
    rows = [pair("a", "b", annotator="ada"), pair("b", "a", annotator="bob"), pair("a", "c")]
    evidence = load_evidence(rows)
    judgments = evidence.judgments
    assert judgments.item.tolist() == [0, 0, 1]
    assert judgments.value[0] == -judgments.value[1] != 0
    assert judgments.annotator.tolist() == [0, 1, -1]
    assert evidence.annotators == ("ada", "bob")
    assert set(sides(evidence)[0]) == {"a", "b"}
    assert judgments.shown.tolist() == [0, 0, 0]
    winner = sides(evidence)[0][0 if judgments.value[0] > 0 else 1]
    assert winner == "a"


def test_prompts_are_the_same_but_for_case_and_space_and_responses_are_not() -> None:
    rows = [pair("a", "b"), pair("a", "b", prompt=" WHY? "), pair("A", "b")]
    evidence = load_evidence(rows)
    assert evidence.judgments.item.tolist() == [0, 0, 1]
    assert evidence.prompt_keys.tolist() == [0, 0, 0]
    low, high, _ = evidence.pairs()
    assert (low[0], high[0]) == (low[2], high[2])


def test_which_side_is_first_depends_on_no_label() -> None:
    rows = [pair("b", "a"), pair("c", "d"), pair("f", "e", annotator="ada")]
    turned = [{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows]
    one, other = load_evidence(rows), load_evidence(turned)
    assert sides(one) == sides(other) == [("a", "b"), ("c", "d"), ("e", "f")]
    assert one.judgments.value.tolist() == [-1, 1, -1]
    assert other.judgments.value.tolist() == [1, -1, 1]


def test_responses_that_differ_in_case_only_are_counted() -> None:
    evidence = load_evidence([pair("Yes", "yes"), pair("a", "b")])
    assert evidence.identical == 1
    assert evidence.items.node_a[0] == evidence.items.node_b[0]


def votes(i: int, *given: int, **fields: Any) -> dict[str, Any]:
    return {"id": i, "instruction": "I", "response_1": "x", "response_2": "y",
            "votes": list(given), **fields}  # fmt: skip


def test_an_id_tells_items_of_the_same_texts_apart() -> None:
    evidence = load_evidence([votes(1, 1, 2), votes(2, 0, 1)])
    assert evidence.judgments.item.tolist() == [0, 0, 1, 1]
    assert evidence.annotators == ("#1", "#2")
    items = evidence.items
    assert items.node_a[0] == items.node_a[1]
    assert items.cluster.tolist() == [0, 0]
    assert evidence.judgments.shown.tolist() == [1] * 4  # as listed
    assert evidence.judgments.value.tolist() == [1, -1, 0, 1]
    swapped = {**votes(3, 1), "response_1": "y", "response_2": "x"}
    low, high, value = load_evidence([votes(1, 1), swapped]).pairs()
    assert low[0] == low[1] < high[0] == high[1]
    assert value[0] == -value[1] != 0


def mtbench(judge: str, a: str, b: str, winner: str, turn: int = 1) -> dict[str, Any]:
    return {"judge": judge, "model_a": a, "model_b": b, "question_id": 8, "turn": turn,
            "winner": winner}  # fmt: skip


def test_votes_without_texts_line_up_by_model() -> None:
    rows = [
        mtbench("j", "m", "n", "model_a"),
        mtbench("k", "n", "m", "model_b"),
        mtbench("k", "n", "m", "model_a", turn=2),
        mtbench("g", "m", "n", "tie (inconsistent)"),
    ]
    evidence = load_evidence(rows)
    judgments = evidence.judgments
    assert judgments.item.tolist() == [0, 0, 1, 0]
    assert judgments.value.tolist() == [1, 1, -1, 0]  # in favour of m, the first by name
    assert judgments.shown.tolist() == [1, -1, -1, 1]
    assert judgments.inconsistent.tolist() == [False, False, False, True]
    assert evidence.items.cluster.tolist() == [0, 0]  # two turns of one question
    assert evidence.items.prompt.tolist() == [0, 1]
    assert not evidence.has_texts
    assert evidence.prompts.tolist() == [-1] * 4
    assert evidence.items.first.tolist() == [-1, -1]


def test_a_ranking_is_a_judgment_of_every_pair() -> None:
    row = {
        "prompt": "Which?",
        "responses": ["a", "b", "c"],
        "judgments": [{"annotator": "ada", "ranking": [[1], [0, 2]], "display_order": [2, 1, 0]}],
    }
    evidence = load_evidence([row])
    judgments = evidence.judgments
    assert len(judgments) == 3
    by_pair = {
        frozenset(s): int(v) * (1 if s[0] == "b" else -1)
        for s, v in zip(sides(evidence), judgments.value, strict=True)
    }
    assert by_pair[frozenset("ab")] == by_pair[frozenset("bc")] == 1
    assert by_pair[frozenset("ac")] == 0
    assert evidence.is_order_recorded
    first = {s[0 if k > 0 else 1] for s, k in zip(sides(evidence), judgments.shown, strict=True)}
    assert first == {"c", "b"}  # c was shown before b and a, b before a


def test_ratings_are_of_responses_by_id_and_model() -> None:
    row = {
        "instance_id": "t", "prompt": "Hi", "model_a": "m", "model_b": "n", "completion_a": "x",
        "completion_b": "y", "a_acceptable": "yes", "b_acceptable": "no", "preference": "tie",
        "evaluator": "e",
    }  # fmt: skip
    swapped = {**row, "model_a": "n", "model_b": "m", "completion_a": "y", "completion_b": "x",
               "a_acceptable": "yes", "evaluator": "f"}  # fmt: skip
    (ratings,) = load_evidence([row, swapped]).ratings
    assert ratings.question == "acceptable"
    assert ratings.answers == ("yes", "no")
    assert ratings.item.tolist() == [0, 1, 1, 0]
    assert ratings.annotator.tolist() == [0, 0, 1, 1]
    assert ratings.value.tolist() == [0, 1, 0, 1]


def test_places_name_the_source_and_the_row(tmp_path: Path) -> None:
    for name, rows in (("a", [pair("x", "y")]), ("b", ["", pair("u", "v"), pair("s", "t")])):
        text = "\n".join(json.dumps(row) if row else "" for row in rows)
        (tmp_path / f"{name}.jsonl").write_text(text + "\n")
    paths = [str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")]
    evidence = load_evidence(paths)
    assert [evidence.place(i) for i in range(3)] == [(paths[0], 1), (paths[1], 2), (paths[1], 3)]
    assert evidence.sources == tuple(paths)


def test_rated_rows_are_joined() -> None:
    rows = [{"prompt": "?", "response": r, "helpfulness": s} for r, s in (("a", 4), ("b", 1))]
    evidence = load_evidence(rows)
    assert len(evidence.judgments) == 1
    assert abs(evidence.judgments.value[0]) == 1
    assert evidence.judgments.strength.tolist() == [3.0]


def test_bad_rows_are_counted_or_stop_the_reading() -> None:
    rows = [pair("a", "b"), pair("", "b"), pair("a", "a")]
    evidence = load_evidence(rows)
    assert evidence.report.dropped == {"empty text": 1, "identical responses": 1}
    assert evidence.report.rows == 3
    with pytest.raises(DataError, match=r"the given data row 2: 'chosen' is empty"):
        load_evidence(rows, on_bad_row="error")
    with pytest.raises(DataError, match=r"none of the 2 rows gave a judgment; dropped: 1 empty"):
        load_evidence(rows[1:])
    with pytest.raises(ConfigError, match=r"limit must be at least 1, not 0"):
        load_evidence(rows, limit=0)
    assert len(load_evidence(rows, limit=1).judgments) == 1


def test_half_characters_do_no_harm() -> None:
    evidence = load_evidence([votes(1, 1, response_1="a\ud800")])
    assert evidence.texts[int(evidence.responses[0])] == "a?"
    assert np.isnan(evidence.judgments.strength[0])
