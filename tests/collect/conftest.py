"""A site in memory of the process, over a store on disk, with somebody of every role."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.testclient import TestClient

from assay.collect.app import CollectSettings, make_app
from assay.store import people
from assay.store.records import NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages


def _pair(prompt: str, *, model: str = "canary-model", **fields: Any) -> NewComparison:
    sides = (f"{prompt}: yes", f"{prompt}: no")
    responses = tuple(NewResponse(as_messages(side, "assistant"), model=model) for side in sides)
    return NewComparison(as_messages(prompt, "user"), responses, **fields)


@dataclass
class Site:
    """A project "haiku" with five comparisons, and another one with two."""

    store: PreferenceStore
    app: Any
    project: str
    other: str
    people: dict[str, str]
    tokens: dict[str, str]
    clients: dict[str | None, TestClient] = field(default_factory=dict)

    def as_(self, role: str | None) -> TestClient:
        """Asks with the token of that role; None: nobody's."""
        if role not in self.clients:
            headers = {"Authorization": f"Bearer {self.tokens[role]}"} if role else {}
            self.clients[role] = TestClient(
                self.app, headers=headers, base_url="http://127.0.0.1", follow_redirects=False
            )
        return self.clients[role]

    def path(self, *parts: str) -> str:
        """Of the project."""
        return "/".join((f"/api/v1/projects/{self.project}", *parts))

    def ids(self, project: str | None = None) -> list[str]:
        """Of its comparisons, by number."""
        path = f"/api/v1/projects/{project or self.project}/comparisons"
        return [row["id"] for row in self.as_("site").get(path).json()["items"]]

    def judge(self, person: str, raw: str = "first-better") -> dict[str, Any]:
        """One comparison claimed and judged."""
        from assay.store.ids import new_id

        at = self.store.claim(self.project, self.people[person])
        assert at is not None
        said = self.store.submit(
            self.people[person], new_id(), at.comparison_id, {"raw": raw}, active_ms=1200
        )
        return {"id": said.id, "comparison_id": at.comparison_id}


def make_site(store: PreferenceStore, **settings: Any) -> Site:
    """A filled store behind an application."""
    names = {"site": True, "admin": False, "reviewer": False, "ada": False, "bob": False,
             "outsider": False}  # fmt: skip
    ids = {n: store.write(people.add_annotator, n, is_site_admin=top) for n, top in names.items()}
    tokens = {n: store.write(people.add_token, ids[n], f"of {n}", 30)[1] for n in names}
    project = store.create_project(
        "haiku", ProjectSettings(overlap=2), Rubric(preset="binary", acceptability=False)
    )
    other = store.create_project("limericks")
    for name, role in (("admin", "admin"), ("reviewer", "reviewer"), ("ada", "annotator"),
                       ("bob", "annotator")):  # fmt: skip
        store.write(people.set_role, project, ids[name], role)
    store.write(people.set_role, other, ids["outsider"], "admin")
    store.add_comparisons(project, [_pair(f"haiku {i}") for i in range(5)], source="seed")
    store.add_comparisons(other, [_pair(f"limerick {i}") for i in range(2)], source="seed")
    return Site(store, make_app(store, CollectSettings(**settings)), project, other, ids, tokens)


@pytest.fixture
def pair():
    return _pair


@pytest.fixture
def site(tmp_path):
    with PreferenceStore.open(tmp_path / "site.db") as store:
        yield make_site(store)


@pytest.fixture
def site_of():
    return make_site
