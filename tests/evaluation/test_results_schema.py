"""The schema of results.json is valid, strict, and what evaluations write."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, ValidationError

from assay.evaluation.rewardbench import COUNTS, REWARDBENCH, REWARDBENCH_2
from assay.evaluation.run import Evaluation, evaluate
from assay.evaluation.scoring import ScoredSuite
from assay.evaluation.suite import Item, ScoredItem, Suite, SuiteSpec
from assay.evaluation.suites import ONE_OF_N, PAIRS, RM_BENCH
from assay.types import Conversation, Scores, as_messages

SCHEMA = json.loads((files("assay") / "evaluation" / "results_schema.json").read_text("utf-8"))


class ByLength:
    def score(self, conversations: Sequence[Conversation]) -> Scores:
        return Scores(np.array([0.01 * len(c.response_text) for c in conversations]))


def made(spec: SuiteSpec, count: int, responses: int, subset: str = "all", right: int = 1) -> Suite:
    rng = np.random.default_rng(0)
    items = []
    for i in range(count):
        texts = [" ".join(rng.choice(["a", "bb", "ccc."], 9)) for _ in range(responses)]
        items.append(
            Item(
                str(i),
                subset,
                as_messages(f"Question {i}?", "user"),
                tuple(as_messages(text, "assistant") for text in texts),
                tuple(j < right for j in range(responses)),
                str(i),
            )
        )
    return Suite(spec, tuple(items), "made")


def written(evaluation: Evaluation, directory: Path) -> dict[str, Any]:
    evaluation.save(directory)

    def refuse(name: str) -> float:
        raise AssertionError(f"{name} is no JSON")

    text = (directory / "results.json").read_text("utf-8")
    record: dict[str, Any] = json.loads(text, parse_constant=refuse)
    return record


def scores_of(spec: SuiteSpec, subsets: dict[str, int]) -> Evaluation:
    rows = [
        ScoredItem(str(i), name, (float(i % 3), 1.0), (True, False), f"{name}/{i}")
        for name, count in subsets.items()
        for i in range(count)
    ]
    suite = Suite(spec, (), "made")
    return evaluate(None, suite, scored=ScoredSuite(tuple(rows), 0, 0, 0), model="m")


def test_the_schema_is_itself_valid_and_strict() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["additionalProperties"] is False
    assert set(SCHEMA["required"]) == set(SCHEMA["properties"])


EVALUATIONS = {
    "pairs with probes": lambda: evaluate(ByLength(), made(PAIRS, 30, 2), probed=20),
    "a handful, too few for intervals": lambda: evaluate(ByLength(), made(PAIRS, 2, 2), probed=5),
    "calibrated": lambda: evaluate(
        ByLength(), made(PAIRS, 30, 2), probed=0,
        calibrate_on=Suite(PAIRS, tuple(
            Item(f"c{i.id}", "all", as_messages(f"Other {i.id}?", "user"), i.responses, i.correct,
                 f"c{i.cluster}") for i in made(PAIRS, 30, 2).items), "apart"),
    ),
    "best of n": lambda: evaluate(ByLength(), made(ONE_OF_N, 12, 4), probed=0),
    "styles": lambda: evaluate(ByLength(), made(RM_BENCH, 8, 6, "chat", right=3), probed=0),
    "partial, from scores": lambda: scores_of(REWARDBENCH, {"math-prm": 5}),
    "whole, from scores": lambda: scores_of(REWARDBENCH, COUNTS),
    "best of four with a subset of one": lambda: evaluate(
        ByLength(), made(REWARDBENCH_2, 1, 4, "Math"), probed=0),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Precision loss")
@pytest.mark.parametrize("kind", EVALUATIONS)
def test_what_evaluations_write_fits(kind: str, tmp_path: Path) -> None:
    record = written(EVALUATIONS[kind](), tmp_path / "out")
    Draft202012Validator(SCHEMA).validate(record)


@pytest.mark.parametrize(
    "change", [{"total": 0.7}, {"extra": 1}, {"items": -1}, {"schema": 2}, {"subsets": {}}]
)
def test_other_records_do_not_fit(change: dict[str, Any], tmp_path: Path) -> None:
    record = written(scores_of(REWARDBENCH, {"math-prm": 5}), tmp_path / "out")
    with pytest.raises(ValidationError):
        Draft202012Validator(SCHEMA).validate({**record, **change})
