"""Draw the pictures of docs/collect.md: a site with our own example data, in Chromium.

``python scripts/make_screenshots.py`` writes docs/figures/collect/*.png; ``--all FOLDER`` writes
every main page at 360, 768 and 1,400 px, light and dark, to look at. Needs Chromium and Playwright.
"""

from __future__ import annotations

import contextlib
import io
import json
import random
import shutil
import socket
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvicorn
from PIL import Image
from playwright.sync_api import sync_playwright
from sqlalchemy import Connection, update

from assay.collect.app import CollectSettings, make_app
from assay.store import people
from assay.store import tables as t
from assay.store.ids import new_id
from assay.store.presets import PRESETS
from assay.store.records import (
    Dimension,
    NewComparison,
    NewResponse,
    ProjectSettings,
    Role,
    Rubric,
)
from assay.store.store import PreferenceStore
from assay.types import as_messages

ROOT = Path(__file__).parent.parent
FIGURES = ROOT / "docs" / "figures" / "collect"
ROWS = ROOT / "examples" / "collect" / "pairs.jsonl"
TOKEN = "example-token"
DAY_MS = 86_400_000
WIDTHS = (360, 768, 1400)
FLAGS = ("--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb")
GUIDELINES = """
Choose the answer that **you would rather have got**.

1. Is it right? A wrong answer loses, however well it reads.
2. Does it answer what was asked?
3. Shorter is better where both say the same.
"""
SOLUTION = (
    {"text": "Let $x$ be the price of a cup. Three cups and a pot of 4 cost 13, so $3x + 4 = 13$."},
    {"text": "Then $3x = 13 + 4 = 17$.",
     "alternatives": ("Then $3x = 13 - 4 = 9$.", "Then $x = 13 - 4$.")},
    {"text": "So a cup costs $x = 17 / 3$."},
)  # fmt: skip


@dataclass(frozen=True)
class Demo:
    """A site that runs, and who is signed in by which secret."""

    url: str
    projects: dict[str, str]
    secrets: dict[str, str]
    disputed: str
    """A comparison that annotators judged differently."""


def main(arguments: list[str]) -> None:
    """Write the pictures of the documentation, or with ``--all FOLDER`` those to look at."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        raise SystemExit("chromium is not installed; the pictures are taken with it.")
    is_all = arguments[:1] == ["--all"]
    folder = Path(arguments[1]) if is_all else Path(arguments[0]) if arguments else FIGURES
    folder.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory() as place, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=list(FLAGS))
        with fresh_site(Path(place) / "new.db") as url:
            setup = Camera(browser, url, folder)
            setup.take("setup", f"/setup?token={TOKEN}", width=900, most=500, all_sizes=is_all)
        with demo_site(Path(place) / "prefs.db") as demo:
            camera = Camera(browser, demo.url, folder, demo)
            (every_page if is_all else documented)(camera, demo)
        browser.close()


# --- the site -------------------------------------------------------------------------------------


@contextlib.contextmanager
def serving(store: PreferenceStore, settings: CollectSettings | None = None) -> Iterator[str]:
    """A server over a store on a free port; its address."""
    place = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(
        uvicorn.Config(make_app(store, settings), log_level="warning", ws="none",
                       timeout_graceful_shutdown=1)
    )  # fmt: skip
    thread = threading.Thread(target=server.run, kwargs={"sockets": [place]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    try:
        yield f"http://127.0.0.1:{place.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def fresh_site(path: Path) -> Iterator[str]:
    """A site that nobody has set up."""
    with (
        PreferenceStore.open(path) as store,
        serving(store, CollectSettings(setup_token=TOKEN)) as url,
    ):
        yield url


@contextlib.contextmanager
def demo_site(path: Path) -> Iterator[Demo]:
    """A site with a project of each kind, one of them judged by three people over five days."""
    with PreferenceStore.open(path) as store:
        names = ("Ada", "Ben", "Chloé", "Dana")
        ids = {n: store.write(people.add_annotator, n, is_site_admin=n == "Ada") for n in names}
        projects = {
            "pairs": store.create_project(
                "Household questions", ProjectSettings(overlap=3),
                Rubric(instructions=GUIDELINES, reasons=("more correct", "clearer", "shorter")),
            ),
            "ranking": store.create_project(
                "Titles", ProjectSettings(overlap=3), Rubric(question="Which title is best?")
            ),
            "steps": store.create_project(
                "Word problems", ProjectSettings(overlap=3), Rubric(question="Is each step right?")
            ),
            "rubric": store.create_project(
                "Rubric", ProjectSettings(overlap=3),
                Rubric(dimensions=(Dimension(name="Factual accuracy"),
                                   Dimension(name="Helpfulness", scale="absolute",
                                             anchors={"1": "of no use", "5": "all one needs"}))),
            ),
        }  # fmt: skip
        fill(store, projects)
        for project in projects.values():
            roles: list[Role] = ["admin", "annotator", "annotator", "annotator"]
            for name, role in zip(names, roles, strict=True):
                store.write(people.set_role, project, ids[name], role)
        disputed = judge(store, projects["pairs"], [ids[name] for name in names[1:]])
        secrets = {name: store.write(people.open_session, i)[0] for name, i in ids.items()}
        with serving(store) as url:
            yield Demo(url, projects, secrets, disputed)


def fill(store: PreferenceStore, projects: Mapping[str, str]) -> None:
    """Comparisons of each project."""
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    pairs = [
        NewComparison(
            as_messages(row["prompt"], "user"),
            tuple(NewResponse(as_messages(row[side], "assistant"), model=row[f"{side}_model"])
                  for side in ("chosen", "rejected")),
        )
        for row in rows
    ]  # fmt: skip
    store.add_comparisons(projects["pairs"], pairs, source=ROWS.name)
    store.add_comparisons(projects["rubric"], pairs[2:4], source=ROWS.name)
    titles = ("*Small Wings, Full Plates*", "A Talk About Bees", "Who Pays the Bees?")
    ranking = NewComparison(
        as_messages("Give me a short title for a talk about bees.", "user"),
        tuple(NewResponse(as_messages(title, "assistant")) for title in titles), kind="ranking",
    )  # fmt: skip
    store.add_comparisons(projects["ranking"], [ranking], source=ROWS.name)
    solved = NewComparison(
        as_messages("Three cups and a pot of 4 cost 13. What does a cup cost?", "user"),
        (NewResponse(as_messages("…", "assistant"), steps=SOLUTION),), kind="steps",
    )  # fmt: skip
    store.add_comparisons(projects["steps"], [solved], source=ROWS.name)


def judge(store: PreferenceStore, project: str, annotators: Sequence[str]) -> str:
    """Judgments of most comparisons, by annotators of whom the last errs; one that is disputed."""
    rng = random.Random(5)
    rows = [json.loads(line) for line in ROWS.read_text("utf-8").splitlines()]
    better = {row["prompt"]: row["chosen"] for row in rows}
    points = PRESETS["helpsteer"].points
    now = int(time.time() * 1000)
    sides: dict[str, set[int]] = {}
    for number, annotator in enumerate(annotators):
        for turn in range(9 + number):
            held = store.claim(project, annotator)
            assert held is not None
            first = held.responses[0].messages[0].content == better[held.prompt[0].content]
            is_right = rng.random() > (0.08, 0.15, 0.35)[number]
            side = -1 if first == is_right else 1
            raw = rng.choice([p.id for p in points if p.side == side])
            chosen = 0 if is_right else 1
            judgment = new_id()
            store.submit(annotator, judgment, held.comparison_id, {"raw": raw})
            sides.setdefault(held.comparison_id, set()).add(chosen)
            when = now - (5 - turn // 2) * DAY_MS + rng.randrange(DAY_MS // 4)
            active = rng.randrange(8_000, 70_000)
            store.write(_backdate, judgment, when, active)
    return next(i for i, found in sides.items() if len(found) > 1)


def _backdate(connection: Connection, judgment: str, when: int, active: int) -> None:
    connection.execute(
        update(t.judgments)
        .where(t.judgments.c.id == judgment)
        .values(submitted=when, started=when - active, active_ms=active)
    )


# --- the pictures ---------------------------------------------------------------------------------


class Camera:
    """Takes pictures of pages of a site, as somebody signed in or nobody."""

    def __init__(self, browser: Any, url: str, folder: Path, demo: Demo | None = None):
        self.browser, self.url, self.folder, self.demo = browser, url, folder, demo

    def take(
        self,
        name: str,
        path: str,
        who: str | None = None,
        *,
        width: int = 1400,
        theme: str = "light",
        locale: str = "en",
        keys: Sequence[str] = (),
        do: Any = None,
        top: str | None = None,
        most: int = 900,
        all_sizes: bool = False,
    ) -> None:
        """Write ``name.png``, or one of each width and theme."""
        wanted = [(width, theme)]
        if all_sizes:
            wanted = [(w, shade) for w in WIDTHS for shade in ("light", "dark")]
        for at, shade in wanted:
            file = f"{name}-{at}-{shade}.png" if all_sizes else f"{name}.png"
            context = self.browser.new_context(
                viewport={"width": at, "height": 900}, locale=locale, color_scheme=shade,
                reduced_motion="reduce",
            )  # fmt: skip
            if who is not None:
                assert self.demo is not None
                context.add_cookies([{"name": "assay_session", "value": self.demo.secrets[who],
                                      "url": self.url, "httpOnly": True}])  # fmt: skip
            page = context.new_page()
            page.goto(self.url + path, timeout=60_000)
            if path.endswith("/work"):
                page.wait_for_selector("#task[data-ready] form.task")
            while page.locator("meta[http-equiv=refresh]").count():  # figures are being computed
                page.wait_for_timeout(1000)
                page.reload()
            for key in keys:
                page.keyboard.press(key)
            if do is not None:
                do(page)
            self._write(page, file, top, 6000 if all_sizes else most)
            context.close()

    def _write(self, page: Any, file: str, top: str | None, most: int) -> None:
        page.wait_for_timeout(300)
        width = page.viewport_size["width"]
        height = min(most, page.evaluate("document.documentElement.scrollHeight"))
        start = page.locator(top).first.bounding_box()["y"] - 12 if top else 0
        page.set_viewport_size({"width": width, "height": max(300, int(start) + height)})
        page.evaluate("scrollTo(0, 0)")
        page.wait_for_timeout(100)
        clip = {"x": 0, "y": start, "width": width, "height": height}
        picture = Image.open(io.BytesIO(page.screenshot(clip=clip)))
        small = picture.convert("RGB").quantize(128, dither=Image.Dither.NONE)
        small.save(self.folder / file, optimize=True)
        print(f"{file}: {(self.folder / file).stat().st_size / 1024:.0f} kB")


def upload(page: Any) -> None:
    """Import the example rows by the form."""
    page.set_input_files("[name=file]", ROWS)
    page.click("form[action$='/import'] button.main")
    page.wait_for_selector("p.good")


def fill_new(page: Any) -> None:
    """A new project with two dimensions."""
    page.fill("[name=name]", "Household questions")
    page.fill("[name=question]", "Which answer would you rather have got?")
    for box in page.locator("[name=dimension]").all()[:2]:
        box.check()


def documented(camera: Camera, demo: Demo) -> None:
    """The pictures that docs/collect.md shows."""
    at = {name: f"/projects/{i}" for name, i in demo.projects.items()}
    pairs = at["pairs"]
    camera.take("new-project", "/projects/new", "Ada", do=fill_new, width=1000, most=1300)
    camera.take("judging", f"{pairs}/work", "Ben", keys=("2",))
    camera.take("judging-360", f"{pairs}/work", "Ben", width=360, theme="dark", most=1300)
    camera.take("judging-arabic", f"{pairs}/work", "Ben", width=768, locale="ar")
    camera.take("ranking", f"{at['ranking']}/work", "Ben", width=1000,
                keys=("j", "2", "j", "1", "j", "1"))  # fmt: skip
    camera.take("steps", f"{at['steps']}/work", "Ben", width=1000, keys=("1", "3"), most=1300)
    camera.take("dashboard", pairs, "Ada", width=1100, most=1500)
    camera.take("agreement", f"{pairs}/agreement", "Ada", width=1100)
    camera.take("adjudicate", f"{pairs}/adjudicate/{demo.disputed}", "Ada", width=1100, most=1700)
    camera.take("data", f"{at['rubric']}/data", "Ada", width=1000, do=upload, most=800)
    camera.take("export", f"{at['rubric']}/data", "Ada", width=1000,
                top="h2:nth-of-type(2)", most=110)  # fmt: skip


def every_page(camera: Camera, demo: Demo) -> None:
    """Every main page at each width, light and dark."""
    at = {name: f"/projects/{i}" for name, i in demo.projects.items()}
    pairs = at["pairs"]
    for name, path in (
        ("home", "/"), ("new", "/projects/new"), ("people", "/people"), ("profile", "/profile"),
        ("dashboard", pairs), ("agreement", f"{pairs}/agreement"),
        ("queue", f"{pairs}/adjudicate"), ("case", f"{pairs}/adjudicate/{demo.disputed}"),
        ("annotators", f"{pairs}/annotators"), ("comparisons", f"{pairs}/comparisons"),
        ("settings", f"{pairs}/settings"), ("members", f"{pairs}/members"),
        ("data", f"{pairs}/data"), ("events", f"{pairs}/events"),
        ("flags", f"{pairs}/flags"), ("webhooks", f"{pairs}/webhooks"),
        ("comparison", f"{pairs}/comparisons/{demo.disputed}"),
    ):  # fmt: skip
        camera.take(name, path, "Ada", all_sizes=True)
    for name, path in at.items():
        camera.take(f"work-{name}", f"{path}/work", "Ben", all_sizes=True)
    camera.take("work-arabic", f"{pairs}/work", "Ben", locale="ar", all_sizes=True)
    camera.take("dashboard-arabic", pairs, "Ada", locale="ar", all_sizes=True)
    camera.take("history", f"{pairs}/history", "Ben", all_sizes=True)
    camera.take("login", "/login", all_sizes=True)


if __name__ == "__main__":
    main(sys.argv[1:])
