"""Every page of the router in a real browser: axe finds nothing, and texts of others do nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from assay.collect.app import ROUTES
from assay.store import holding, people, review
from assay.store.ids import new_id
from assay.store.records import (
    Dimension,
    NewComparison,
    NewResponse,
    ProjectSettings,
    Rubric,
)
from assay.store.webhooks import add_webhook
from assay.types import as_messages

XSS: list[str] = json.loads((Path(__file__).parent.parent / "xss.json").read_text("utf-8"))
FILES = ("/data/export", "/events.jsonl", "/open.jsonl", "/oidc/login", "/oidc/callback", "/setup")
"""Routes that give no page here; of setting up there is a test of its own."""
PAGES = tuple(
    route.path
    for route in ROUTES
    if route.method == "GET" and not route.path.startswith("/api/")
    and not route.path.endswith(FILES)
)  # fmt: skip
TAGS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]


def storable(text: str, most: int = 100_000) -> str:
    """What a store takes in any field: nothing unprintable, no half of a pair."""
    whole = text.replace("\x00", "").encode("utf-8", "replace").decode()
    return "".join(c for c in whole if c.isprintable() or c == "\n")[:most].strip() or "x"


def name(text: str, most: int = 80) -> str:
    return " ".join(storable(text, most).split()) or "x"


class Filled:
    """A project with something in every field, written of given texts in turn."""

    def __init__(self, site: Any, texts: Sequence[str], number: int = 0):
        self.site, self.texts = site, texts
        self.mine = people_of(site, texts, number)
        self.joined = " ".join(texts)  # for fields with one text, as many as they take
        rubric = Rubric(
            question=name(self.joined, 400), instructions="\n\n".join(map(storable, texts)),
            reasons=tuple(dict.fromkeys(name(text) for text in texts)),
            dimensions=(
                Dimension(name=name(self.text(1)), question=name(self.joined, 1000)),
                Dimension(name="points", scale="absolute", required=False,
                          anchors={"1": name(self.joined, 400)}),
            ),
        )  # fmt: skip
        self.project = site.project(
            f"{number} {name(self.text(4), 60)}", list(self.comparisons()), rubric, overlap=2,
            show_names=True,
        )  # fmt: skip
        for role, identity in self.mine.items():
            given = "admin" if role == "admin" else "annotator"
            site.store.write(people.set_role, self.project, identity, given)
        self.disputed = self.judge()
        self.notes()

    def text(self, number: int) -> str:
        return self.texts[number % len(self.texts)]

    def comparisons(self) -> Iterator[NewComparison]:
        """A pair of each text, a ranking and a solution."""
        for n, text in enumerate(self.texts):
            turns = [{"role": "system", "content": storable(text)},
                     {"role": "user", "content": storable(self.text(n + 1))}]  # fmt: skip
            sides = [storable(f"{i} {self.text(n + i)}") for i in (1, 2)]
            yield NewComparison(as_messages(turns, "user"), tuple(
                NewResponse(as_messages(side, "assistant"), model=name(self.text(n + 3)))
                for side in sides
            ))  # fmt: skip
        steps = tuple({"text": storable(t), "alternatives": (storable(t),)} for t in self.texts[:3])
        words = [
            NewResponse(as_messages(storable(f"{i} {self.text(i)}"), "assistant")) for i in range(3)
        ]
        yield NewComparison(as_messages("Why?", "user"), tuple(words), kind="ranking")
        yield NewComparison(as_messages("How?", "user"), (
            NewResponse(as_messages("…", "assistant"), steps=steps),
        ), kind="steps")  # fmt: skip

    def judge(self) -> str:
        """Two annotators, who disagree; each rationale is a text."""
        store, last = self.site.store, ""
        for who, raw in (("ann", "first-much"), ("ben", "second-much")):
            for n in range(len(self.texts)):
                held = store.claim(self.project, self.mine[who])
                if held.kind != "pair":
                    break
                # the sides are drawn for each; one of them always says the opposite
                is_turned = held.responses[0].messages[0].content.startswith("2")
                said = {"first-much": "second-much", "second-much": "first-much"}[raw]
                answer = {
                    "raw": said if is_turned else raw, "rationale": storable(self.text(n)),
                    "reasons": [held.rubric.reasons[0]],
                    "dimensions": {held.rubric.dimensions[0].name: {"raw": "tie"}},
                }  # fmt: skip
                store.submit(self.mine[who], new_id(), held.comparison_id, answer)
                last = held.comparison_id
                store.write(holding.flag, self.mine[who], last, name(self.text(n), 400))
        assert last
        return last

    def notes(self) -> None:
        store, admin = self.site.store, self.mine["admin"]
        for text in self.texts:
            store.write(review.add_note, self.project, self.mine["ann"], admin, name(text, 400))
        decision = {"raw": "tie", "rationale": storable(self.joined, 20_000),
                    "dimensions": {name(self.text(1)): {"raw": "tie"}}}  # fmt: skip
        store.write(review.decide, self.project, self.disputed, admin, decision,
                    name(self.joined, 2000))  # fmt: skip
        store.write(add_webhook, self.project, "https://example.org/" + name(self.joined, 200))
        self.invitation = store.write(people.invite, self.mine["new"], 24.0, admin)

    def paths(self) -> Iterator[str]:
        """Every page of the router."""
        given = {"project_id": self.project, "comparison_id": self.disputed,
                 "annotator_id": self.mine["ann"], "secret": self.invitation}  # fmt: skip
        for path in PAGES:
            yield path.format(**given)


def people_of(site: Any, texts: Sequence[str], number: int) -> dict[str, str]:
    """Four people, whose names are texts; and one more for each text."""
    made = {}
    for n, text in enumerate([*texts[:4], *texts]):
        role = ("ann", "ben", "admin", "new", *map(str, range(len(texts))))[n]
        made[role] = site.store.write(
            people.add_annotator, name(f"{role} {number} {text}"), is_site_admin=role == "admin"
        )
    return {role: made[role] for role in ("ann", "ben", "admin", "new")}


def visit(page: Any, address: str) -> None:
    """Open a page; where it loads itself again until its figures are there, wait for them."""
    page.goto(address, timeout=60_000)
    for _ in range(60):
        if not page.locator("meta[http-equiv=refresh]").count():
            return
        page.wait_for_timeout(500)
        page.goto(address, timeout=60_000)
    raise AssertionError(f"{address} is still waiting for its figures")


def test_the_router_is_all_here() -> None:
    assert len(PAGES) >= 22
    assert {"/", "/login", "/profile", "/people", "/invite/{secret}"} < set(PAGES)


# --- axe ------------------------------------------------------------------------------------------


def problems_of(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
    found = Axe().run(page, options={"runOnly": TAGS}).response["violations"]
    return [f"{v['id']}: {v['help']} {v['nodes'][0]['html'][:200]}" for v in found]


def check_axe(site: Any, desk: Any, theme: str, locale: str, some: slice = slice(None)) -> None:
    pytest.importorskip("axe_playwright_python")
    made = Filled(site, ["Words", "**Bold** and `code`", "$x^2$", "- a\n- b"])
    site.store.write(people.change_annotator, made.mine["admin"],
                     {"settings": {"theme": theme, "locale": locale}})  # fmt: skip
    mine = desk(made.mine["admin"], bypass_csp=True, color_scheme=theme, locale=locale)
    page = mine.page()
    found = {}
    for path in [*list(made.paths())[some], "/nowhere"]:
        visit(page, site.url + path)
        assert page.locator("h1").count() == 1, path
        if problems := problems_of(page):
            found[path] = problems
    assert found == {}


@pytest.mark.medium
def test_axe_finds_nothing_on_some_pages(site: Any, desk: Any) -> None:
    check_axe(site, desk, "light", "en", slice(0, None, 4))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theme", "locale"), [("light", "en"), ("dark", "en"), ("light", "ar"), ("dark", "ar")]
)
def test_axe_finds_nothing_on_any_page(site: Any, desk: Any, theme: str, locale: str) -> None:
    check_axe(site, desk, theme, locale)


@pytest.mark.slow
def test_axe_finds_nothing_on_the_page_that_sets_up(site: Any, chromium: Any) -> None:
    pytest.importorskip("axe_playwright_python")
    settings = site.server.config.app.state.settings
    site.server.config.app.state.settings = replace(settings, setup_token="t" * 20)
    for theme in ("light", "dark"):
        page = chromium.new_context(bypass_csp=True, color_scheme=theme).new_page()
        page.goto(f"{site.url}/setup?token={'t' * 20}")
        assert page.locator("input[name=password]").count() == 1
        assert problems_of(page) == []
        page.context.close()


# --- texts of others ------------------------------------------------------------------------------


def check_payloads(site: Any, desk: Any, texts: Sequence[str], number: int = 0) -> int:
    """Look at every page of a project that is written of payloads; how many pages."""
    made = Filled(site, texts, number)
    mine = desk(made.mine["admin"])
    page = mine.page()
    count = 0
    for path in made.paths():
        visit(page, site.url + path)
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        page.wait_for_timeout(50)
        for kind in ("img", "iframe", "object", "form[action^=http]", "style"):
            assert page.locator(f"main {kind}").count() == 0, (path, kind)
        mine.check(page)
        count += 1
    page.goto(site.url + "/people")
    shown = page.inner_text("main")
    assert any(text[:12] in shown for text in map(name, texts))  # they are there, as texts
    mine.close()
    return count


@pytest.mark.medium
def test_payloads_do_nothing_on_any_page(site: Any, desk: Any) -> None:
    assert check_payloads(site, desk, XSS[:8]) == len(PAGES)


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(XSS), 10))
def test_no_payload_does_anything_on_any_page(site: Any, desk: Any, start: int) -> None:
    check_payloads(site, desk, XSS[start : start + 10], start)


@pytest.mark.slow
def test_no_payload_does_anything_as_a_name(site: Any, desk: Any) -> None:
    admin = site.person("Ada")
    site.store.write(people.change_annotator, admin, {"is_site_admin": True})
    for n, text in enumerate(XSS):
        project = site.store.create_project(name(f"{n} {text}"), ProjectSettings())
        site.store.write(people.set_role, project, admin, "admin")
    mine = desk(admin)
    page = mine.page("/")
    links = page.locator("main .cards h2 a")
    assert links.count() == len(XSS)
    mine.check(page)
    for address in [link.get_attribute("href") for link in links.all()]:
        visit(page, site.url + address.removesuffix("/work"))
        mine.check(page)


@pytest.mark.medium
def test_a_refused_payload_is_said_as_a_text(site: Any, desk: Any) -> None:
    made = Filled(site, XSS[:4])
    mine = desk(made.mine["admin"])
    page = mine.page(f"/projects/{made.project}/data")
    for text in XSS[:6]:
        row = json.dumps({"prompt": text, "chosen": "", "rejected": text, text: 1})
        page.set_input_files("[name=file]", {
            "name": "a.jsonl", "mimeType": "text/plain", "buffer": row.encode()
        })  # fmt: skip
        page.click("form[action$='/import'] button.main")
        page.wait_for_selector(".problem")
        mine.check(page)
