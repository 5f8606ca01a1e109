"""A new user's whole path: a command, a link, two annotators at the keyboard, a trained model."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import sqlite3
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from assay.cli import main

pytestmark = pytest.mark.usefixtures("own_cache", "few_resamples", "no_pictures")

PASSWORD = "correct horse battery"
OFFLINE_AT = 4
"""Judgments after which one of them loses the network."""


def transcripts(count: int) -> list[dict[str, str]]:
    """Rows as Anthropic-HH has them: of the set itself where it is at hand, else made."""
    path = Path(os.environ.get("ASSAY_DATA", "nowhere")) / "hh_helpful.jsonl.gz"
    if not path.exists():
        return [
            {"chosen": f"{asked}Of leaves and hot water, {minutes} minutes.",
             "rejected": f"{asked}Tea {minutes}."}
            for minutes in range(count)
            for asked in (f"\n\nHuman: How is tea number {minutes} made?\n\nAssistant: ",)
        ]  # fmt: skip
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line, _ in zip(lines, range(count), strict=False):
            row = json.loads(line)
            said = "".join(
                f"\n\n{'Human' if turn['role'] == 'user' else 'Assistant'}: {turn['content']}"
                for turn in row["prompt"]
            )
            rows.append({side: f"{said}\n\nAssistant: {row[side]}"
                         for side in ("chosen", "rejected")})  # fmt: skip
    return rows


@contextlib.contextmanager
def command(*flags: str) -> Iterator[tuple[str, str]]:
    """``assay collect`` in a process of its own: what it printed first, and the link to set up."""
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", "collect", "--port", "0", *flags],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        said = ""
        for line in process.stdout:
            said += line
            if "setup?token=" in line:
                break
        yield said, said.splitlines()[-1]
        process.terminate()
        assert process.wait(30) == 0
    finally:
        process.kill()
        process.wait()


class People:
    """Browsers of several people, each with cookies of its own."""

    def __init__(self, chromium: Any):
        self.chromium = chromium
        self.contexts: list[Any] = []
        self.errors: list[str] = []

    def page(self) -> Any:
        context = self.chromium.new_context(viewport={"width": 1400, "height": 900}, locale="en-GB")
        context.set_default_timeout(15_000)
        context.set_default_navigation_timeout(60_000)  # figures are counted at the first look
        self.contexts.append(context)
        page = context.new_page()
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        return page

    def close(self) -> None:
        for context in self.contexts:
            context.close()


def invited(admin: Any, people: People, members: str, name: str, role: str) -> Any:
    """A person whom the admin adds, and who chooses a password by the link and signs in."""
    admin.goto(members)
    form = admin.locator("form.stack")
    form.locator("[name=name]").fill(name)
    form.locator("[name=role]").select_option(role)
    form.locator("button.main").click()
    link = admin.inner_text("main code")
    page = people.page()
    page.goto(link)
    page.fill("[name=password]", PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_load_state()
    if page.locator("input[name=next]").count():  # signed in with what was just chosen
        page.fill("[name=name]", name)
        page.fill("[name=password]", PASSWORD)
        page.keyboard.press("Enter")
    page.wait_for_selector("nav.own")
    return page


class Judging:
    """One annotator at the keyboard: the longer response is better, but for every ``odd`` one."""

    def __init__(self, page: Any, work: str, odd: int):
        self.page, self.odd = page, odd
        self.said: Counter[str] = Counter()
        page.goto(work)

    def ready(self) -> str:
        self.page.wait_for_selector("#task[data-ready] form.task")
        said = self.page.get_attribute("form.task", "data-task")
        return str(json.loads(said)["comparison_id"])

    def judge(self) -> None:
        """One comparison; then the next stands there, or nothing is left."""
        at = self.ready()
        first, second = self.page.locator(".response .body").all_inner_texts()
        count = int(re.sub(r"\D", "", self.page.inner_text("section.prompt")) or 0)
        is_odd = self.odd and (len(first) + len(second) + count) % self.odd == 0
        key = "1" if (len(first) >= len(second)) != is_odd else "6"
        self.page.keyboard.press(key)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(
            f"#task:not([data-ready='{at}']), #task[data-state=none-left], "
            "#task[data-state=offline]"
        )
        self.said[at] += 1

    def judge_all(self) -> None:
        while self.page.get_attribute("#task", "data-state") != "none-left":
            self.judge()
        self.page.wait_for_selector("#outbox[data-waiting='0']", state="attached")


def rows(db: Path, query: str) -> list[Any]:
    with contextlib.closing(sqlite3.connect(f"file:{db}?mode=ro", uri=True)) as connection:
        return connection.execute(query).fetchall()


def judged_offline(bob: Judging, db: Path, until: Any) -> int:
    """Judge all that the page holds while the network is away, and come back; how many."""
    leases = "select count(*) from slot where lease_until is not null and judgment_id is null"
    until(lambda: rows(db, leases)[0][0] >= 3, bob.page, 20)
    bob.page.wait_for_timeout(2000)  # what is leased has to come to the page as well
    bob.page.context.set_offline(True)
    standing = "select count(*) from judgment where source = 'person'"
    before = rows(db, standing)[0][0]
    count = 0
    while bob.page.get_attribute("#task", "data-state") != "offline":
        bob.judge()
        count += 1
    assert bob.page.get_attribute("#outbox", "data-waiting") == str(count)
    assert "waiting" in bob.page.inner_text("#outbox")
    assert rows(db, standing)[0][0] == before
    bob.page.context.set_offline(False)
    until(lambda: rows(db, standing)[0][0] == before + count, bob.page)
    bob.page.wait_for_selector("#task[data-state=task]")
    return count


def walk(count: int, chromium: Any, backbone: Path, folder: Path, until: Any) -> list[str]:
    """The whole path; the flags of the training at its end."""
    source, db, chosen = folder / "pairs.jsonl", folder / "prefs.db", folder / "chosen.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in transcripts(count)))
    flags = ("--db", str(db), "--import", str(source), "--overlap", "2")
    people = People(chromium)
    with contextlib.closing(people), command(*flags) as (said, link):
        assert f"{count} comparisons with {2 * count} responses" in said
        admin = people.page()
        admin.goto(link)
        admin.fill("[name=name]", "Ada")
        admin.fill("[name=password]", PASSWORD)
        admin.keyboard.press("Enter")
        admin.click("text=Progress and quality")
        admin.wait_for_selector("nav.project")
        project = admin.url

        ann, bob = (
            Judging(invited(admin, people, f"{project}/members", name, "annotator"),
                    f"{project}/work", odd)
            for name, odd in (("Ann", 0), ("Bob", 4))
        )  # fmt: skip
        for _ in range(OFFLINE_AT):
            bob.judge()
        assert judged_offline(bob, db, until) >= 2
        bob.judge_all()
        ann.judge_all()
        for one in (ann, bob):
            assert len(one.said) == count
            assert set(one.said.values()) == {1}
        found = rows(db, "select comparison_id, annotator_id, withdrawn, surplus from judgment "
                         "where source = 'person'")  # fmt: skip
        assert len(found) == 2 * count
        assert len({(comparison, by) for comparison, by, *_ in found}) == 2 * count
        assert {(withdrawn, surplus) for *_, withdrawn, surplus in found} == {(None, 0)}

        reviewer = invited(admin, people, f"{project}/members", "Rae", "reviewer")
        reviewer.goto(f"{project}/agreement")
        reviewer.wait_for_selector(".headline", timeout=60_000)
        assert re.search(r"[01]\.\d\d \[-?[01]\.\d\d, [01]\.\d\d\]", reviewer.inner_text("main"))
        reviewer.goto(f"{project}/adjudicate")
        reviewer.locator("tbody th a").first.click()
        reviewer.locator("form.decide input[name=raw]").first.check()
        reviewer.fill("form.decide [name=note]", "It answers.")
        reviewer.click("form.decide button.main")
        reviewer.wait_for_load_state()
        assert rows(db, "select count(*) from decision") == [(1,)]

        admin.goto(f"{project}/data")
        form = admin.locator("form[action$='/data/export']")
        form.locator("[name=format]").select_option("pairs")
        with admin.expect_download() as download:
            form.locator("button").click()
        download.value.save_as(chosen)
        assert people.errors == []
    assert len(chosen.read_text().splitlines()) >= count // 2
    out = folder / "run"
    return ["train", "reward", "--data", str(chosen), "--backbone", str(backbone),
            "--out", str(out), "--mode", "frozen", "--max-length", "1024"]  # fmt: skip


@pytest.mark.medium
def test_from_nothing_to_a_trained_model(
    chromium: Any, tiny_backbone: Path, tmp_path: Path, until: Any, monkeypatch: Any
) -> None:
    monkeypatch.delenv("ASSAY_DATA", raising=False)
    assert main(walk(12, chromium, tiny_backbone, tmp_path, until)) == 0
    assert (tmp_path / "run" / "manifest.json").exists()


@pytest.mark.slow
def test_from_fifty_transcripts_to_a_trained_model(
    chromium: Any, tiny_backbone: Path, tmp_path: Path, until: Any
) -> None:
    words = walk(50, chromium, tiny_backbone, tmp_path, until)
    found = subprocess.run([sys.executable, "-m", "assay", *words], check=False,
                           env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})  # fmt: skip
    assert found.returncode == 0
    assert (tmp_path / "run" / "manifest.json").exists()
