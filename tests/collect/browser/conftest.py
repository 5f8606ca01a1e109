"""A real site on a free port and a real Chromium before it."""

import contextlib
import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from assay.collect.app import make_app
from assay.store import people
from assay.store import tables as t
from assay.store.records import NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
# what a page must never do is noted in the page itself, before its own scripts run
WATCH = """
window.__violations = [];
document.addEventListener("securitypolicyviolation", (event) =>
  window.__violations.push(event.violatedDirective + " " + event.blockedURI));
"""


class Site:
    """A store, and a server over it that can be stopped and started on the same port."""

    def __init__(self, folder: Path):
        self.path = folder / "prefs.db"
        self.store = PreferenceStore.open(self.path)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.server: uvicorn.Server | None = None
        self.thread: threading.Thread | None = None
        self.start()

    def start(self) -> None:
        config = uvicorn.Config(
            make_app(self.store), host="127.0.0.1", port=self.port, log_level="warning",
            timeout_graceful_shutdown=1,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        until = time.monotonic() + 20
        while not self.server.started:
            assert time.monotonic() < until
            time.sleep(0.02)

    def stop(self) -> None:
        assert self.server is not None
        assert self.thread is not None
        self.server.should_exit = True
        self.thread.join(20)

    def person(self, name: str, project: str | None = None, **settings: Any) -> str:
        identity = self.store.write(people.add_annotator, name)
        if settings:
            self.store.write(people.change_annotator, identity, {"settings": settings})
        if project:
            self.store.write(people.set_role, project, identity, "annotator")
        return identity

    def judgments(self, standing: bool = True) -> list[Any]:
        def found(connection: Any) -> list[Any]:
            query = t.judgments.select().order_by(t.judgments.c.submitted)
            if standing:
                query = query.where(t.judgments.c.withdrawn.is_(None))
            return list(connection.execute(query).all())

        return self.store.read(found)

    def project(
        self,
        name: str,
        comparisons: list[NewComparison],
        rubric: Rubric | None = None,
        **settings: Any,
    ) -> str:
        project = self.store.create_project(name, ProjectSettings(**settings), rubric)
        self.store.add_comparisons(project, comparisons, source="test")
        return project


def pair(number: int, **more: Any) -> NewComparison:
    """A pair whose texts name its number."""
    return NewComparison(
        as_messages(f"Question {number}?", "user"),
        (
            NewResponse(as_messages(f"The **first** answer to {number}.", "assistant")),
            NewResponse(as_messages(f"Another answer to {number}, with `code`.", "assistant")),
        ),
        **more,
    )


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    found = Site(tmp_path)
    yield found
    found.stop()
    found.store.close()


# of a file and no longer: while playwright runs, so does its event loop, in this very thread
@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("there is no chromium here")
    api = pytest.importorskip("playwright.sync_api")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Desk:
    """A browser of one annotator; notes what its pages must not do."""

    def __init__(self, chromium: Any, site: Site, annotator_id: str, **options: Any):
        secret, _ = site.store.write(people.open_session, annotator_id)
        options = {"viewport": {"width": 1400, "height": 900}, "locale": "en-GB", **options}
        self.site = site
        self.context = chromium.new_context(**options)
        self.context.set_default_timeout(10_000)
        self.context.add_init_script(WATCH)
        self.context.add_cookies(
            [{"name": "assay_session", "value": secret, "url": site.url, "httpOnly": True}]
        )
        self.outside: list[str] = []
        self.dialogs: list[str] = []
        self.errors: list[str] = []
        self.context.on("request", self._request)

    def _request(self, request: Any) -> None:
        if not request.url.startswith((self.site.url, "data:", "blob:")):
            self.outside.append(request.url)

    def page(self, path: str | None = None) -> Any:
        page = self.context.new_page()
        page.on("dialog", lambda dialog: (self.dialogs.append(dialog.message), dialog.dismiss()))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._console)
        if path:
            page.goto(self.site.url + path)
        return page

    def _console(self, message: Any) -> None:
        # requests that fail while the network is away are the point of some tests
        if (
            message.type == "error"
            and "net::" not in message.text
            and "status of" not in message.text
        ):
            self.errors.append(message.text)

    def check(self, page: Any) -> None:
        """Nothing that must not happen has happened."""
        assert page.evaluate("window.__violations") == []
        assert (self.outside, self.dialogs, self.errors) == ([], [], [])

    def close(self) -> None:
        self.context.close()


@pytest.fixture
def desk(chromium: Any, site: Site) -> Iterator[Callable[..., Desk]]:
    with contextlib.ExitStack() as stack:

        def made(annotator_id: str, **options: Any) -> Desk:
            found = Desk(chromium, site, annotator_id, **options)
            stack.callback(found.close)
            return found

        yield made


def ready(page: Any) -> str:
    """Wait until a comparison stands on the page; its id."""
    # no wait_for_function: it evaluates a string in the page, which the policy forbids
    page.wait_for_selector("#task[data-ready] form.task")
    return str(json.loads(page.get_attribute("form.task", "data-task"))["comparison_id"])


@pytest.fixture(name="ready")
def _ready() -> Callable[[Any], str]:
    return ready


@pytest.fixture(name="pair")
def _pair() -> Callable[..., NewComparison]:
    return pair


def until(what: Callable[[], bool], page: Any, seconds: float = 90) -> None:
    """Wait for something outside the page, while the page goes on."""
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it took too long"
        page.wait_for_timeout(50)


@pytest.fixture(name="until")
def _until() -> Callable[..., None]:
    return until
