"""A store with a project, comparisons and annotators, and a clock that is set by hand."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from assay.store import (
    assignment,
    drafts,
    events,
    holding,
    importing,
    people,
    sheets,
    submitting,
    undoing,
)
from assay.store import store as stores
from assay.store import tables as t
from assay.store.ids import new_id
from assay.store.records import (
    Assignment,
    NewComparison,
    NewResponse,
    ProjectSettings,
    Rubric,
    Submitted,
)
from assay.store.store import PreferenceStore
from assay.types import as_messages

MINUTE = 60_000


class Clock:
    """Milliseconds that go on only when told to."""

    def __init__(self, now: int = 1_700_000_000_000):
        self.now = now

    def __call__(self) -> int:
        return self.now

    def forward(self, minutes: float) -> None:
        self.now += round(minutes * MINUTE)


CLOCKED = (
    assignment, drafts, events, holding, importing, people, sheets, stores, submitting, undoing,
)  # fmt: skip


@contextmanager
def clock_set() -> Iterator[Clock]:
    """The store's modules read this clock."""
    clock = Clock()
    with pytest.MonkeyPatch.context() as patch:
        for module in CLOCKED:
            patch.setattr(module, "now_ms", clock)
        yield clock


def pair(number: int = 1, **more: Any) -> NewComparison:
    """A pair whose texts name its number."""
    sides = ("first", "second")
    return NewComparison(
        as_messages(f"Question {number}?", "user"),
        tuple(
            NewResponse(as_messages(f"{side} answer to {number}", "assistant")) for side in sides
        ),
        **more,
    )


def ranking(number: int = 1, count: int = 3, **more: Any) -> NewComparison:
    """A ranking of some responses."""
    return NewComparison(
        as_messages(f"Question {number}?", "user"),
        tuple(NewResponse(as_messages(f"answer {i}", "assistant")) for i in range(count)),
        kind="ranking",
        **more,
    )


def solution(steps: int = 3, **more: Any) -> NewComparison:
    """A solution in steps, the first of which has an alternative."""
    written = tuple({"text": f"step {i}"} for i in range(steps))
    written = ({**written[0], "alternatives": ["another step 0"]}, *written[1:])
    return NewComparison(
        as_messages("Solve it.", "user"),
        (NewResponse(as_messages("\n\n".join(s["text"] for s in written), "assistant"), written),),
        kind="steps",
        **more,
    )


@dataclass
class Site:
    """A store with one project."""

    store: PreferenceStore
    project: str
    people: list[str]

    def claim(self, person: int = 0, have: tuple[str, ...] = ()) -> Assignment | None:
        return self.store.claim(self.project, self.people[person], have)

    def claimed(self, person: int = 0, have: tuple[str, ...] = ()) -> Assignment:
        given = self.claim(person, have)
        assert given is not None
        return given

    def submit(
        self, given: Assignment, person: int = 0, raw: str = "tie", **more: Any
    ) -> Submitted:
        identity = more.pop("id", None) or new_id()
        answer = more.pop("answer", None) or {"raw": raw}
        shown = more.pop("shown", [response.id for response in given.responses])
        return self.store.submit(
            self.people[person], identity, given.comparison_id, answer, shown=shown, **more
        )

    def judge(self, person: int = 0, raw: str = "tie", **more: Any) -> Submitted:
        """Claim and submit."""
        return self.submit(self.claimed(person), person, raw, **more)

    def rows(self, table: Any, *where: Any) -> list[Any]:
        """Rows of a table, by its key."""
        query = select(table).where(*where).order_by(*table.primary_key.columns)
        return self.store.read(lambda connection: list(connection.execute(query).all()))

    def ids(self) -> list[str]:
        """Comparisons in the order of import."""
        c = t.comparisons.c
        query = select(c.id).where(c.project_id == self.project).order_by(c.number)
        return self.store.read(lambda connection: list(connection.scalars(query)))

    def number_of(self, given: Assignment | None) -> int | None:
        """Which comparison it is, from 1 in the order of import."""
        return None if given is None else 1 + self.ids().index(given.comparison_id)


def make_site(
    where: str | Path = ":memory:",
    comparisons: int | list[NewComparison] = 4,
    people_count: int = 3,
    rubric: Rubric | None = None,
    **settings: Any,
) -> Site:
    """A site; ``settings`` are the project's."""
    return fill_site(PreferenceStore.open(where), comparisons, people_count, rubric, **settings)


def fill_site(
    store: PreferenceStore,
    comparisons: int | list[NewComparison] = 4,
    people_count: int = 3,
    rubric: Rubric | None = None,
    **settings: Any,
) -> Site:
    """A new project in a store, with people of its own."""
    name = new_id()
    project = store.create_project(name, ProjectSettings(**settings), rubric)
    found = [store.write(people.add_annotator, f"{i} of {name}") for i in range(people_count)]
    for person in found:
        store.write(people.set_role, project, person, "annotator")
    wanted = (
        [pair(i + 1) for i in range(comparisons)] if isinstance(comparisons, int) else comparisons
    )
    if wanted:
        store.add_comparisons(project, wanted, source="made")
    return Site(store, project, found)
