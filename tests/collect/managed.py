"""A site with two projects and a person for every role, each signed in by a cookie."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.testclient import TestClient

from assay.collect.app import CollectSettings, make_app
from assay.collect.passwords import hashed
from assay.collect.routing import COOKIE
from assay.store import assignment, people
from assay.store.ids import new_id
from assay.store.records import NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages

PASSWORD = "correct horse battery"
HASH = hashed(PASSWORD)
MODEL = "canarymodel-7b"
SOURCE = "canaryfile.jsonl"
ROLES = ("stranger", "annotator", "second", "reviewer", "admin", "site")
"""stranger: an annotator of the other project alone."""


def pair(number: int, **more: Any) -> NewComparison:
    """A comparison of two responses by one model."""
    return NewComparison(
        as_messages(f"Question {number}?", "user"),
        tuple(
            NewResponse(as_messages(f"Answer {side} to {number}.", "assistant"), model=MODEL)
            for side in ("one", "two")
        ),
        **more,
    )


def gold(number: int, purpose: str) -> NewComparison:
    """An item whose first response is the better one."""
    return pair(number, purpose=purpose, expected={"kind": "pair", "choice": 0})


@dataclass
class Managed:
    """The site. ``project`` has six comparisons and two gold items, ``other`` has three."""

    store: PreferenceStore
    app: Any
    project: str
    other: str
    people: dict[str, str]
    secrets: dict[str, str]
    csrf: dict[str, str]
    clients: dict[str | None, TestClient] = field(default_factory=dict)

    def as_(self, role: str | None) -> TestClient:
        """A browser in which that role is signed in; None: nobody."""
        if role not in self.clients:
            self.clients[role] = self.browser(role)
        return self.clients[role]

    def browser(self, role: str | None = None) -> TestClient:
        """A new one."""
        client = TestClient(
            self.app, base_url="http://127.0.0.1", follow_redirects=False,
            raise_server_exceptions=True,
        )  # fmt: skip
        if role is not None:
            client.cookies.set(COOKIE, self.secrets[role])
        return client

    def post(self, role: str | None, path: str, fields: Mapping[str, Any] = {}, **more: Any) -> Any:
        """A form that is sent from our own page."""
        token = {"csrf": self.csrf[role]} if role else {}
        return self.as_(role).post(path, data={**token, **fields}, **more)

    def at(self, path: str = "") -> str:
        """A path of the project."""
        return f"/projects/{self.project}{path}"

    def judge(self, role: str, raw: str = "first-better", **more: Any) -> tuple[str, str]:
        """Claim one and judge it; the ids of comparison and judgment."""
        project = self.other if role == "stranger" else self.project
        given = self.store.claim(project, self.people[role])
        assert given is not None
        judgment = new_id()
        self.store.submit(
            self.people[role], judgment, given.comparison_id, {"raw": raw, **more}, active_ms=4000
        )
        return given.comparison_id, judgment

    def comparisons(self, project: str | None = None) -> list[str]:
        """Ids by number."""
        from assay.store import comparisons

        page = self.store.read(comparisons.listed, project or self.project)
        return [line.id for line in page.rows]


def managed_site(
    place: str = ":memory:", settings: CollectSettings | None = None, **more: Any
) -> Managed:
    """Open and fill it."""
    store = PreferenceStore.open(place)
    ids = {role: store.write(people.add_annotator, f"{role} person", password_hash=HASH,
                             is_site_admin=role == "site") for role in ROLES}  # fmt: skip
    project = store.create_project(
        "haiku", ProjectSettings(overlap=2, **more), Rubric(acceptability=False), ids["site"]
    )
    other = store.create_project("other", ProjectSettings(), Rubric(acceptability=False))
    for role, given in (
        ("annotator", "annotator"), ("second", "annotator"), ("reviewer", "reviewer"),
        ("admin", "admin"),
    ):  # fmt: skip
        store.write(people.set_role, project, ids[role], given)
    store.write(people.set_role, other, ids["stranger"], "annotator")
    store.add_comparisons(project, [pair(i) for i in range(6)], source=SOURCE)
    store.add_comparisons(
        project, [gold(90, "gold"), gold(91, "attention")], source="canarygold.jsonl"
    )
    store.add_comparisons(other, [pair(50 + i) for i in range(3)], source=SOURCE)
    opened = {role: store.write(people.open_session, identity) for role, identity in ids.items()}
    app = make_app(store, settings)
    return Managed(
        store, app, project, other, ids, {r: s for r, (s, _) in opened.items()},
        {r: c for r, (_, c) in opened.items()},
    )  # fmt: skip


def csrf_in(page: str) -> str:
    """The token in a page's first form."""
    found = re.search(r'name="csrf" value="([^"]+)"', page)
    assert found, page[:500]
    return found[1]


def draft(site: Managed, role: str, comparison_id: str) -> None:
    """An unfinished answer."""
    site.store.write(
        assignment.save_draft, site.people[role], comparison_id, {"rationale": "canarydraft"}, 1
    )
