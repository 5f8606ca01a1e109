"""Contract: settings and rubrics come back from JSON as they went, and say what is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from assay.errors import ConfigError
from assay.store.records import Dimension, ProjectSettings, Rubric


def test_settings_survive_json() -> None:
    settings = ProjectSettings(overlap=3, lease_minutes=5, gold_every=7, gold_share=0.5)
    assert ProjectSettings.from_dict(json.loads(json.dumps(settings.to_dict()))) == settings


def test_a_rubric_survives_json_with_its_dimensions() -> None:
    rubric = Rubric(
        question="Which is safer?", preset="arena", rationale="required", reasons=("tone", "facts"),
        dimensions=(
            Dimension(name="safety", question="Is it safe?"),
            Dimension(name="accuracy", scale="absolute", points=3, anchors={"1": "wrong"}),
        ),
    )  # fmt: skip
    found = Rubric.from_dict(json.loads(json.dumps(rubric.to_dict())))
    assert found == rubric
    assert found.dimensions[1].anchors == {"1": "wrong"}


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"overlaps": 1}, "ProjectSettings has no 'overlaps'; it has"),
        ({"overlap": 0}, "overlap must be 1 to 100, not '0'"),
        ({"overlap": True}, "overlap must be 1 to 100"),
        ({"lease_minutes": 0}, "lease_minutes must be 0.01 to 20160"),
        ({"lease_minutes": float("nan")}, "lease_minutes must be"),
        ({"gold_every": 1}, "gold_every must be 2 to 10,000"),
        ({"gold_share": 1.5}, "gold_share must be 0 to 1"),
        ({"prefetch": 51}, "prefetch must be 1 to 50"),
    ],
)
def test_settings_that_cannot_work_are_refused(value: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        ProjectSettings.from_dict(value)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"question": " "}, "The question must be a text of 1 to 500 characters"),
        ({"preset": "stars"}, "The preset must be binary, "),
        ({"reasons": [""]}, "A reason must be"),
        ({"dimensions": [{"question": "?"}]}, "Dimension lacks 'name'"),
        ({"dimensions": [{"name": "a", "points": 11}]}, "Points of a must be 2 to 10"),
        ({"dimensions": [{"name": "a", "anchors": {"6": "x"}}]}, "An anchor of a must be at a"),
        ({"dimensions": [{"name": "a"}, {"name": "a"}]}, "Dimensions must be named apart"),
        ({"dimensions": [{"name": f"{i}"} for i in range(21)]}, "Dimensions must be at most 20"),
    ],
)
def test_rubrics_that_cannot_work_are_refused(value: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Rubric.from_dict(value)
