"""Texts of others in a real browser: none of them does anything. And axe finds nothing."""

import json
from pathlib import Path
from typing import Any

import pytest

from assay.store import people
from assay.store.records import Dimension, NewComparison, NewResponse, Rubric
from assay.types import as_messages

XSS: list[str] = json.loads((Path(__file__).parent.parent / "xss.json").read_text("utf-8"))


def storable(text: str) -> str:
    """What a store takes: no zero character, no half of a pair."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def short(text: str, most: int) -> str:
    return "".join(c for c in storable(text) if c.isprintable())[:most].strip() or "x"


def comparison(number: int, kind: str) -> NewComparison:
    """Payloads in the prompt, the responses and their steps."""
    at = [storable(XSS[(number + i) % len(XSS)]) for i in range(4)]
    prompt = as_messages(
        [{"role": short(at[3], 30), "content": at[0]}, {"role": "user", "content": at[1]}], "user"
    )
    if kind == "steps":
        steps = tuple({"text": text, "alternatives": (at[3] + " .",)} for text in at[1:3])
        return NewComparison(prompt, (NewResponse(as_messages("…", "assistant"), steps=steps),),
                             kind="steps")  # fmt: skip
    return NewComparison(
        prompt,
        tuple(
            NewResponse(as_messages(f"{n} {text}", "assistant")) for n, text in enumerate(at[2:])
        ),
    )


def check_payloads(site: Any, desk: Any, ready: Any, numbers: range) -> None:
    """Work through payloads in every field, and look at the history, without anything running."""
    for kind in ("pair", "steps"):
        many = [n for n in numbers if n % 2 == (kind == "steps")]
        name = short(f"{kind} {XSS[numbers.start]}", 70)
        rubric = Rubric(
            question=short(XSS[numbers.start + 1], 400),
            instructions="\n\n".join(storable(XSS[n]) for n in numbers),
            reasons=tuple(dict.fromkeys(short(XSS[n], 75) for n in numbers)),
            dimensions=(
                Dimension(name=short(XSS[numbers.start + 2], 80),
                          question=short(XSS[numbers.start + 3], 1000), required=False),
                Dimension(name="points", scale="absolute", required=False,
                          anchors={"1": short(XSS[numbers.start + 4], 400)}),
            )[kind == "steps":],
        )  # fmt: skip
        project = site.project(name, [comparison(n, kind) for n in many], rubric, prefetch=3,
                               word_diff=True)  # fmt: skip
        ann = site.person(short(f"{kind}{XSS[numbers.start + 5]}", 80), project)
        # every other one is judged beforehand, with a payload as its rationale
        for i, n in enumerate(many):
            held = site.store.claim(project, ann)
            said: dict[str, Any] = {"rationale": storable(XSS[n]), "reasons": [rubric.reasons[0]]}
            said |= {"raw": "tie"} if kind == "pair" else {"labels": [1, None]}
            if i % 2:
                site.store.submit(ann, f"0192f0c0-0000-7000-8000-{numbers.start:06d}{n:05d}"
                                  f"{kind == 'steps':d}", held.comparison_id, said)  # fmt: skip
            else:
                site.store.write(people_draft, ann, held.comparison_id, said)
                site.store.write(lambda c, h=held: c.exec_driver_sql(
                    "update slot set lease_until = null, annotator_id = null, shown = null, "
                    "claimed = null where comparison_id = ?", (h.comparison_id,)))  # fmt: skip
                site.store.write(lambda c, h=held: c.exec_driver_sql(
                    "update slot set place = place + 1000 where comparison_id = ?",
                    (h.comparison_id,)))  # fmt: skip
        mine = desk(ann)
        page = mine.page(f"/projects/{project}/work")
        page.locator("summary").first.click()
        for _ in range(len(many) - len(many) // 2):
            at = ready(page)
            page.keyboard.press("d")
            page.keyboard.press("1")
            page.keyboard.press("Control+Enter")
            page.wait_for_selector(f"#task:not([data-ready='{at}']), #task[data-state=none-left]")
        mine.check(page)
        page.wait_for_selector("#outbox[data-waiting='0']", state="attached")
        for path in ("history", "guidelines"):
            page.goto(f"{site.url}/projects/{project}/{path}")
            assert page.locator("h1").count() == 1
            mine.check(page)
        assert page.locator("main img, main svg, main iframe, main script, main style").count() == 0
        mine.close()


def people_draft(connection: Any, annotator_id: str, comparison_id: str, answer: Any) -> None:
    from assay.store.drafts import save_draft

    save_draft(connection, annotator_id, comparison_id, answer, 1)


@pytest.mark.medium
def test_some_payloads_do_nothing(site: Any, desk: Any, ready: Any) -> None:
    check_payloads(site, desk, ready, range(0, 12))


@pytest.mark.slow
@pytest.mark.parametrize("start", range(0, len(XSS) - 12, 24))
def test_no_payload_does_anything(site: Any, desk: Any, ready: Any, start: int) -> None:
    check_payloads(site, desk, ready, range(start, min(start + 24, len(XSS) - 6)))


@pytest.mark.medium
def test_what_is_watched_is_seen(site: Any, desk: Any, pair: Any, ready: Any) -> None:
    project = site.project("Watch", [pair(1)])
    mine = desk(site.person("Ann", project))
    page = mine.page(f"/projects/{project}/work")
    ready(page)
    mine.check(page)
    page.evaluate(
        "document.body.append(Object.assign(new Image(), {src: 'http://evil.invalid/x'}))"
    )
    page.wait_for_timeout(300)
    assert page.evaluate("window.__violations") != []
    page.evaluate("setTimeout(() => alert(1))")
    page.wait_for_timeout(300)
    assert mine.dialogs == ["1"]


# --- axe ------------------------------------------------------------------------------------------


def site_of_everything(site: Any, pair: Any) -> dict[str, str]:
    """A project of each kind of page."""
    text = "# Title\n\nSome **words** and `code`, [a link](https://example.org).\n\n" + "\n\n".join(
        ["$x^2$", "|a|b|\n|-|-|\n|1|2|", "```\ncode\n```", "> quoted", "1. one\n2. two"] * 3
    )
    sides = [as_messages(text + end, "assistant") for end in (" A.", " B.")]
    chat = [{"role": r, "content": f"{r} says"} for r in ("system", "user", "assistant", "user")]
    rich = Rubric(
        instructions=text, reasons=("clearer", "safer"),
        dimensions=(Dimension(name="accuracy", question="Which?"),
                    Dimension(name="help", scale="absolute", anchors={"1": "no", "5": "yes"})),
    )  # fmt: skip
    full = NewComparison(as_messages(chat, "user"), tuple(NewResponse(s) for s in sides))
    words = [NewResponse(as_messages(w, "assistant")) for w in ("one", "two", "three")]
    ranked = NewComparison(as_messages("Which?", "user"), tuple(words), kind="ranking")
    steps = ({"text": "a", "alternatives": ("b", "c")}, {"text": "d"})
    solved = NewComparison(
        as_messages("Why?", "user"),
        (NewResponse(as_messages("…", "assistant"), steps=steps),), kind="steps",
    )  # fmt: skip
    more = {"overlap": 4}
    return {
        "pair": site.project("Pair", [full], rich, word_diff=True, show_counts=True, **more),
        "slider": site.project("Slider", [pair(1)], Rubric(preset="slider"), **more),
        "ranking": site.project("Ranking", [ranked], **more),
        "steps": site.project("Steps", [solved], **more),
        "first error": site.project("First", [solved], Rubric(step_mode="first-error"), **more),
        "training": site.project("Training", [pair(1, purpose="training", expected={"choice": 0})]),
    }


def violations(page: Any) -> list[str]:
    from axe_playwright_python.sync_playwright import Axe

    tags = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
    found = Axe().run(page, options={"runOnly": tags}).response["violations"]
    return [f"{v['id']}: {v['help']} {v['nodes'][0]['html']}" for v in found]


def check_axe(site: Any, desk: Any, pair: Any, ready: Any, theme: str, locale: str) -> None:
    pytest.importorskip("axe_playwright_python")
    projects = site_of_everything(site, pair)
    ann = site.person("Ann", theme=theme, locale=locale)
    for project in projects.values():
        site.store.write(people.set_role, project, ann, "annotator")
    mine = desk(ann, bypass_csp=True)  # axe is a script of others
    page = mine.page()
    problems = {}
    for name, project in projects.items():
        page.goto(f"{site.url}/projects/{project}/work")
        ready(page)
        page.evaluate("document.querySelectorAll('details').forEach((d) => (d.open = true))")
        problems[name] = violations(page)
    for text in ("Control+Enter", "0", "Control+Enter"):
        page.keyboard.press(text)
    page.wait_for_selector("#task[data-state=feedback]")
    problems["feedback"] = violations(page)
    page.click("[data-do=go-on]")
    page.wait_for_selector("#task[data-state=none-left]")
    problems["none left"] = violations(page)
    page.click("[data-do=help]")
    page.wait_for_selector("#help[open]")
    problems["keys"] = violations(page)
    for path in ("history", "guidelines"):
        page.goto(f"{site.url}/projects/{projects['training']}/{path}")
        problems[path] = violations(page)
    for path in ("/", "/profile"):
        page.goto(site.url + path)
        problems[path] = violations(page)
    assert {name: found for name, found in problems.items() if found} == {}


@pytest.mark.medium
def test_axe_finds_nothing(site: Any, desk: Any, pair: Any, ready: Any) -> None:
    check_axe(site, desk, pair, ready, "light", "en")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("theme", "locale"), [("dark", "en"), ("light", "ar"), ("dark", "ar"), ("dark", "de")]
)
def test_axe_finds_nothing_elsewhere(
    site: Any, desk: Any, pair: Any, ready: Any, theme: str, locale: str
) -> None:
    check_axe(site, desk, pair, ready, theme, locale)


@pytest.mark.slow
@pytest.mark.parametrize("width", [320, 360, 768, 1400])
@pytest.mark.parametrize("locale", ["en", "ar"])
def test_nothing_is_wider_than_the_page(
    site: Any, desk: Any, pair: Any, ready: Any, width: int, locale: str
) -> None:
    projects = site_of_everything(site, pair)
    ann = site.person("Ann", locale=locale)
    for project in projects.values():
        site.store.write(people.set_role, project, ann, "annotator")
    page = desk(ann, viewport={"width": width, "height": 700}).page()
    for project in projects.values():
        page.goto(f"{site.url}/projects/{project}/work")
        ready(page)
        root = "document.documentElement"
        assert page.evaluate(f"{root}.scrollWidth <= {root}.clientWidth")
