"""Stores filled with judgments for tests of figures and of reviewers' pages."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select

from assay.store import people
from assay.store import tables as t
from assay.store.answers import checked_answer
from assay.store.desk import rubric_of
from assay.store.ids import new_id
from assay.store.records import NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages

START = 1_700_000_000_000


def pair(
    prompt: str, sides: Sequence[str], models: Sequence[str | None], **more: Any
) -> NewComparison:
    """A comparison of texts by models."""
    return NewComparison(
        as_messages(prompt, "user"),
        tuple(
            NewResponse(as_messages(side, "assistant"), model=model)
            for side, model in zip(sides, models, strict=True)
        ),
        **more,
    )


def project(
    store: PreferenceStore,
    comparisons: Sequence[NewComparison],
    names: Sequence[str] = ("ann", "ben", "cat"),
    settings: ProjectSettings | None = None,
    rubric: Rubric | None = None,
    name: str = "tea",
) -> tuple[str, dict[str, str]]:
    """A project with annotators; its id, and theirs by name."""
    made = store.create_project(name, settings or ProjectSettings(overlap=3), rubric)
    store.add_comparisons(made, comparisons, source="test")
    ids = {}
    for who in names:
        ids[who] = store.write(people.add_annotator, f"{who} of {name}")
        store.write(people.set_role, made, ids[who], "annotator")
    return made, ids


def responses(store: PreferenceStore, project_id: str) -> dict[int, tuple[str, list[str]]]:
    """Comparisons by number: their ids, and those of their responses as imported."""
    found: dict[int, tuple[str, list[str]]] = {}
    with store.database.reading() as connection:
        rows = connection.execute(
            select(t.comparisons.c.number, t.comparisons.c.id, t.comparison_responses.c.response_id)
            .join(
                t.comparison_responses, t.comparison_responses.c.comparison_id == t.comparisons.c.id
            )
            .where(t.comparisons.c.project_id == project_id)
            .order_by(t.comparisons.c.number, t.comparison_responses.c.number)
        )
        for row in rows:
            found.setdefault(row.number, (row.id, []))[1].append(row.response_id)
    return found


def say(
    store: PreferenceStore,
    project_id: str,
    comparison_id: str,
    annotator_id: str,
    answer: Mapping[str, Any],
    shown: Sequence[str],
    *,
    submitted: int = START,
    active_ms: int = 1000,
    source: str = "person",
    is_correct: bool | None = None,
) -> str:
    """A judgment put straight into the table, so that its time can be chosen."""
    identity = new_id()

    def work(connection: Any) -> None:
        row = connection.execute(
            select(t.comparisons).where(t.comparisons.c.id == comparison_id)
        ).one()
        steps = connection.scalar(select(t.responses.c.steps).where(t.responses.c.id == shown[0]))
        said = checked_answer(
            answer, row.kind, shown, rubric_of(connection, project_id).rubric, steps or ()
        )
        connection.execute(
            insert(t.judgments).values(
                id=identity, comparison_id=comparison_id, project_id=project_id,
                annotator_id=annotator_id, answer=said, shown=list(shown), source=source,
                started=submitted - active_ms, submitted=submitted, active_ms=active_ms,
                is_correct=is_correct,
            )
        )  # fmt: skip

    store.write(work)
    return identity


def choose(
    store: PreferenceStore,
    project_id: str,
    place: tuple[str, list[str]],
    annotator_id: str,
    side: int,
    grade: str = "better",
    first: int = 0,
    **more: Any,
) -> str:
    """Prefer response 0 or 1 as imported (or -1, neither), shown with ``first`` first."""
    comparison_id, ids = place
    shown = ids if first == 0 else ids[::-1]
    raw = "tie" if side < 0 else f"{'first' if side == first else 'second'}-{grade}"
    return say(store, project_id, comparison_id, annotator_id, {"raw": raw}, shown, **more)


def judged_project(
    store: PreferenceStore, count: int = 40, seed: int = 0, rubric: Rubric | None = None
) -> tuple[str, dict[str, str]]:
    """Pairs of models of known strength, judged by three annotators over ten days."""
    rng = random.Random(seed)
    strength = {"alpha-chat": 1.0, "beta-chat": 0.0, "gamma-chat": -1.0}
    rows, truth = [], []
    for i in range(count):
        a, b = rng.sample(sorted(strength), 2)
        rows.append(pair(f"Question {i}", [f"Answer {i} one", f"Answer {i} two"], [a, b]))
        truth.append(1 / (1 + pow(2.718281828, strength[b] - strength[a])))
    made, ids = project(store, rows, rubric=rubric)
    places = responses(store, made)
    for number, (comparison, chance) in enumerate(zip(places.values(), truth, strict=True)):
        for who in ids.values():
            draw = rng.random()
            side = -1 if draw < 0.1 else 0 if rng.random() < chance else 1
            grade = rng.choice(["much", "better", "slightly"])
            choose(
                store, made, comparison, who, side, grade, rng.randrange(2),
                submitted=START + number * 21_600_000, active_ms=rng.randrange(5_000, 60_000),
            )  # fmt: skip
    return made, ids
