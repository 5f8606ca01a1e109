from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update
from starlette.testclient import TestClient

from assay.collect import answer_forms, charts, figures
from assay.collect.app import make_app
from assay.collect.pages import Words
from assay.collect.routes.review import ROUTES
from assay.store import holding, people, review
from assay.store import tables as t
from assay.store.ids import new_id
from assay.store.presets import PRESETS
from assay.store.records import Dimension, NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import as_messages

sys.path.insert(0, str(Path(__file__).parent))
from review_shared import choose, judged_project, pair, project, responses, say

ROLES = ("nobody", "stranger", "annotator", "reviewer", "admin", "site")
NASTY = "<script>alert(1)</script>&amp;'\""


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason for a page without figures."""
    monkeypatch.setattr(figures, "PATIENCE_SECONDS", 600.0)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[PreferenceStore]:
    with PreferenceStore.open(tmp_path / "prefs.db") as opened:
        yield opened


@dataclass
class Visitor:
    client: TestClient
    csrf: str
    id: str

    def post(self, path: str, **fields: Any) -> Any:
        return self.client.post(path, data={"csrf": self.csrf, **fields}, follow_redirects=False)


def visitor(store: PreferenceStore, role: str, project_id: str, name: str = "") -> Visitor:
    """Somebody with a role, signed in."""
    client = TestClient(make_app(store))
    if role == "nobody":
        return Visitor(client, "", "")
    who = store.write(people.add_annotator, name or f"{role} here", is_site_admin=role == "site")
    if role in ("annotator", "reviewer", "admin"):
        store.write(people.set_role, project_id, who, role)
    secret, csrf = store.write(people.open_session, who)
    client.cookies.set("assay_session", secret)
    return Visitor(client, csrf, who)


def texts(page: str) -> str:
    """What a page says, without its tags."""
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def filled(store: PreferenceStore) -> tuple[str, dict[str, str], str, str]:
    """A judged project with a flag: its id, annotators, a comparison in dispute, the flag."""
    made, ids = project(
        store,
        [
            pair(f"Q{i}", [f"one {i}", f"two {i}"], ["secret-alpha", "secret-beta"])
            for i in range(3)
        ],
        settings=ProjectSettings(overlap=4),
    )
    for place in responses(store, made).values():
        for side, who in enumerate(ids.values()):
            choose(store, made, place, who, side % 2)
    held = store.claim(made, ids["cat"]) or store.claim(made, ids["ann"])
    where = next(iter(responses(store, made).values()))[0]
    flag = store.write(holding.flag, ids["ann"], held.comparison_id if held else where, "odd one")
    return made, ids, where, flag


# --- who may ask ----------------------------------------------------------------------------------


@pytest.mark.medium
def test_every_route_for_every_role(store: PreferenceStore) -> None:
    made, ids, where, flag = filled(store)
    visitors = {role: visitor(store, role, made) for role in ROLES}
    least = {3: "reviewer", 4: "admin"}
    names = {"project_id": made, "comparison_id": where, "flag_id": flag,
             "annotator_id": ids["ann"]}  # fmt: skip
    fields = {"raw": "first-much", "state": "active", "reason": "r", "note": "n"}
    for route in ROUTES:
        path = route.path.format(**names)
        allowed = ROLES[ROLES.index(least[route.policy]) :]
        for role, who in visitors.items():
            if route.method == "GET":
                status = who.client.get(path, follow_redirects=False).status_code
            else:
                sent = {"files": {"file": ("a", b"")}} if path.endswith("/import") else {}
                status = who.client.post(
                    path, data={"csrf": who.csrf, **fields}, follow_redirects=False, **sent
                ).status_code
            is_get = route.method == "GET"
            refused = (303 if is_get else 401) if role == "nobody" else 404
            wanted = (200 if is_get else 303) if role in allowed else refused
            assert status == wanted, (route.method, path, role)


def test_a_form_without_its_token_changes_nothing(store: PreferenceStore) -> None:
    made, ids, where, flag = filled(store)
    who = visitor(store, "site", made)
    for path in (f"adjudicate/{where}", f"flags/{flag}/resolve", f"annotators/{ids['ann']}/note"):
        answer = who.client.post(f"/projects/{made}/{path}", data={"raw": "tie", "note": "x"})
        assert answer.status_code == 403
    assert store.read(review.decided, made) == set()


def test_what_is_of_another_project_is_not_found(store: PreferenceStore) -> None:
    _, ids, where, flag = filled(store)
    other = store.create_project("other")
    who = visitor(store, "reviewer", other)
    base = f"/projects/{other}"
    assert who.client.get(f"{base}/adjudicate/{where}").status_code == 404
    assert who.client.get(f"{base}/annotators/{ids['ann']}").status_code == 404
    assert who.post(f"{base}/adjudicate/{where}", raw="tie").status_code == 404
    assert who.post(f"{base}/flags/{flag}/resolve").status_code == 404
    blocked = who.post(f"{base}/annotators/{ids['ann']}/standing", state="blocked", reason="r")
    assert blocked.status_code == 404
    assert who.client.get(f"/projects/{new_id()}").status_code == 404
    assert visitor(store, "site", other).client.get(f"/projects/{new_id()}").status_code == 404


# --- blindness ------------------------------------------------------------------------------------


def test_whoever_decides_sees_neither_models_nor_annotators(store: PreferenceStore) -> None:
    made, _, where, _ = filled(store)
    who = visitor(store, "reviewer", made)
    page = who.client.get(f"/projects/{made}/adjudicate/{where}").text
    for hidden in ("secret-alpha", "secret-beta", "ann of tea", "ben of tea"):
        assert hidden not in page
    assert "Annotator 1" in page
    assert "ann of tea" not in who.client.get(f"/projects/{made}/flags").text
    store.change_project(made, settings=ProjectSettings(overlap=4, show_names=True))
    page = who.client.get(f"/projects/{made}/adjudicate/{where}").text
    assert "ann of tea" in page
    assert "secret-alpha" not in page
    assert "ann of tea" in who.client.get(f"/projects/{made}/flags").text


def test_nothing_that_people_write_is_markup(store: PreferenceStore) -> None:
    rubric = Rubric(question=NASTY, dimensions=(Dimension(name=NASTY, question=NASTY),))
    made, ids = project(
        store, [pair(NASTY, [NASTY + "1", NASTY + "2"], [NASTY, "m" + NASTY])], rubric=rubric
    )
    (place,) = responses(store, made).values()
    for who, raw in (("ann", "first-much"), ("ben", "second-much")):
        say(store, made, place[0], ids[who],
            {"raw": raw, "rationale": NASTY, "dimensions": {NASTY: raw}}, place[1])  # fmt: skip
    store.write(lambda c: c.execute(
        update(t.annotators).where(t.annotators.c.id == ids["ann"]).values(name=NASTY)
    ))  # fmt: skip
    root = visitor(store, "site", made)
    store.write(review.add_note, made, ids["ann"], root.id, NASTY)
    root.post(f"/projects/{made}/adjudicate/{place[0]}", raw="first-much", note=NASTY,
              rationale=NASTY, **{"dim-0": "tie"})  # fmt: skip
    for path in ("", "/agreement", "/adjudicate?all=1", f"/adjudicate/{place[0]}", "/annotators",
                 f"/annotators/{ids['ann']}", "/flags"):  # fmt: skip
        page = root.client.get(f"/projects/{made}{path}")
        assert page.status_code == 200, path
        assert "<script" not in page.text, path
        assert "&amp;amp;lt;" not in page.text, path  # escaped once
    shown = root.client.get(f"/projects/{made}/adjudicate/{place[0]}").text
    assert texts(shown).count("alert(1)") >= 6


# --- the dashboard --------------------------------------------------------------------------------


@pytest.mark.medium
def test_the_dashboard_says_in_tables_what_its_charts_show(store: PreferenceStore) -> None:
    made, _ = judged_project(store, 20)
    who = visitor(store, "reviewer", made)
    page = who.client.get(f"/projects/{made}").text
    # each wide, and narrow for a telephone
    assert page.count('class="wide" viewBox') == page.count('class="narrow" viewBox') == 3
    assert page.count("<svg") == page.count("<title>") - 1 == page.count("<desc>") == 6
    found = figures.figures_of(store).of(store, made)
    assert found is not None
    said = texts(page)
    for period in found.periods:
        assert charts.day(period.start) in said
    for standing in found.leaderboard:
        assert f"{standing.model} {standing.strength.value:.2f}" in said
    assert "0 of 60 judgments" in said  # nothing went through a slot here
    assert "From all 60 judgments as of" in said


def test_an_empty_project_has_a_dashboard(store: PreferenceStore) -> None:
    made = store.create_project("empty")
    who = visitor(store, "site", made)
    for path in ("", "/agreement", "/adjudicate", "/flags", "/annotators"):
        page = who.client.get(f"/projects/{made}{path}")
        assert page.status_code == 200
        assert "<svg" not in page.text
    assert "There are no judgments yet." in who.client.get(f"/projects/{made}").text


def test_a_page_that_waits_for_figures_says_so(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, ids, where, _ = filled(store)
    who = visitor(store, "reviewer", made)
    monkeypatch.setattr(figures.Figures, "of", lambda *_: None)
    for path in ("", "/agreement", "/adjudicate", "/annotators", f"/annotators/{ids['ann']}"):
        page = who.client.get(f"/projects/{made}{path}").text
        assert "The figures are being computed." in page
        assert '<meta http-equiv="refresh"' in page
    page = who.client.get(f"/projects/{made}/adjudicate/{where}").text
    assert "refresh" not in page  # nobody's form is loaded away


def test_models_that_cannot_be_compared_are_told_apart(store: PreferenceStore) -> None:
    rows = [pair("Q", ["a", "b"], ["m1", "m2"]), pair("R", ["a", "b"], ["m3", "m4"])]
    made, ids = project(store, rows)
    for place in responses(store, made).values():
        choose(store, made, place, ids["ann"], 0)
    said = texts(visitor(store, "reviewer", made).client.get(f"/projects/{made}").text)
    assert "there are 2 groups" in said
    assert "one tie was added" in said


def test_leaks_are_listed(store: PreferenceStore) -> None:
    made, _ = project(store, [pair("Q", ["I am Claude.", "b"], ["m1", "m2"])])
    said = texts(visitor(store, "reviewer", made).client.get(f"/projects/{made}").text)
    assert "I am Claude" in said


# --- the queue ------------------------------------------------------------------------------------


def test_the_queue_is_paged_and_decided_ones_leave_it(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.collect.routes.review.LINES", 2)
    made, ids = project(store, [pair(f"Q{i}", ["a", "b"], [None, None]) for i in range(5)])
    places = list(responses(store, made).values())
    for number, place in enumerate(places):
        choose(store, made, place, ids["ann"], 0)
        choose(store, made, place, ids["ben"], 1 if number < 4 else 0)
    who = visitor(store, "reviewer", made)
    base = f"/projects/{made}/adjudicate"

    def numbers(path: str) -> tuple[list[int], str | None]:
        page = who.client.get(path).text
        more = re.search(r'href="([^"]+\?after=[^"]+)"', page)
        found = [int(n) for n in re.findall(r">Comparison (\d+)</a>", page)]
        return found, unescape(more[1]) if more else None

    first, more = numbers(base)
    assert first == [1, 2]
    assert more is not None
    assert numbers(more) == ([3, 4], None)
    moved = who.post(f"{base}/{places[0][0]}", raw="first-much")
    assert moved.headers["location"] == f"{base}/{places[1][0]}"
    first, more = numbers(base)
    assert first == [2, 3]
    assert more is not None
    assert numbers(more) == ([4], None)
    assert numbers(f"{base}?all=1")[0] == [1, 2]
    for place in places[1:4]:
        last = who.post(f"{base}/{place[0]}", raw="tie")
    assert last.headers["location"] == base
    assert "Nothing is open." in who.client.get(base).text


def test_a_wrong_answer_comes_back_with_what_was_filled_in(store: PreferenceStore) -> None:
    made, _, where, _ = filled(store)
    who = visitor(store, "reviewer", made)
    page = who.post(f"/projects/{made}/adjudicate/{where}", rationale="because", note="hm")
    assert page.status_code == 422
    assert "Say which response is better." in page.text
    assert "because" in page.text
    assert ">hm</textarea>" in page.text
    assert store.read(review.decided, made) == set()


def test_gold_is_made_by_a_button_of_the_admins(store: PreferenceStore) -> None:
    made, _, where, _ = filled(store)
    admin, reviewer = visitor(store, "admin", made), visitor(store, "reviewer", made)
    path = f"/projects/{made}/adjudicate/{where}"
    assert admin.post(f"{path}/gold").status_code == 422  # no decision yet
    admin.post(path, raw="first-much")
    assert "Make it a gold item" in admin.client.get(path).text
    assert "Make it a gold item" not in reviewer.client.get(path).text
    assert admin.post(f"{path}/gold").status_code == 303
    assert "A gold item was made of this decision." in admin.client.get(path).text
    golds = store.read(lambda c: c.execute(
        select(t.comparisons.c.id).where(t.comparisons.c.purpose == "gold")
    ).all())  # fmt: skip
    assert len(golds) == 1


# --- forms of every kind --------------------------------------------------------------------------


def kinds() -> list[NewComparison]:
    steps = ({"text": "1+1"}, {"text": "= 3", "alternatives": ("= **2**", "= 4")}, {"text": "so 3"})
    return [
        pair("P", ["a", "b"], [None, None]),
        NewComparison(
            as_messages("R", "user"),
            tuple(NewResponse(as_messages(x, "assistant")) for x in "abc"),
            kind="ranking",
        ),
        NewComparison(
            as_messages("S", "user"), (NewResponse(as_messages("3", "assistant"), steps=steps),),
            kind="steps",
        ),
    ]  # fmt: skip


class _Fields(HTMLParser):
    """What a browser would send of the form that decides."""

    def __init__(self) -> None:
        super().__init__()
        self.fields: dict[str, str] = {}
        self.inside, self.area, self.select = False, "", ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.inside = self.inside or given.get("class") == "decide"
        name, value = given.get("name") or "", given.get("value") or ""
        if not self.inside:
            return
        if tag == "input" and (given.get("type") != "radio" or "checked" in given):
            self.fields[name] = value
        elif tag == "textarea":
            self.area, self.fields[name] = name, ""
        elif tag == "select":
            self.select, self.fields[name] = name, ""
        elif tag == "option" and "selected" in given:
            self.fields[self.select] = value or "?"

    def handle_data(self, data: str) -> None:
        if self.area:
            self.fields[self.area] += data
        if self.select and self.fields.get(self.select) == "?":
            self.fields[self.select] = data

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self.area = ""


RUBRICS = {
    "plain": Rubric(),
    "llama2": Rubric(preset="llama2"),
    "bai8": Rubric(preset="bai8"),
    "arena": Rubric(preset="arena"),
    "slider": Rubric(preset="slider"),
    "first-error": Rubric(step_mode="first-error"),
    "dimensions": Rubric(
        dimensions=(
            Dimension(name="safety", required=False),
            Dimension(name="clarity", scale="absolute", required=False),
        )
    ),
}


@pytest.mark.medium
@pytest.mark.parametrize("name", RUBRICS)
def test_a_decision_fills_its_own_form_again(store: PreferenceStore, name: str) -> None:
    rubric = RUBRICS[name]
    made, _ = project(store, kinds(), rubric=rubric)
    who = visitor(store, "site", made)
    choices: dict[str, dict[str, str]] = {"pair": {"raw": "-40"}, "ranking": {}, "steps": {}}
    preset = PRESETS[rubric.preset]
    if not preset.slider:
        choices["pair"]["raw"] = preset.points[-1].id
    choices["ranking"] = {"place-0": "2", "place-1": "1", "place-2": "1"}
    choices["steps"] = (
        {"first_error": "1"} if name == "first-error" else {"step-0": "1", "step-1": "-1"}
    ) | {"alt-1-0": "1", "alt-1-1": "-1", "chosen-1": "1"}
    for kind, (comparison_id, _) in zip(choices, responses(store, made).values(), strict=True):
        fields = {**choices[kind], "rationale": "why", "note": "note"}
        if kind != "steps":
            fields["accept-0"] = "ok"
        if name == "dimensions":
            many = 2 if kind == "pair" else 3 if kind == "ranking" else 1
            fields |= {f"dim-1-{i}": str(i + 2) for i in range(many)}
            if kind == "pair":
                fields["dim-0"] = "second-slightly"
        if name == "arena" and kind == "pair":
            fields["accept-0"] = "bad"  # the last button says so of both
            fields["accept-1"] = "bad"
        path = f"/projects/{made}/adjudicate/{comparison_id}"
        assert who.post(path, **fields).status_code == 303, kind
        page = who.client.get(path).text
        parser = _Fields()
        parser.feed(page)
        sent = {k: v for k, v in parser.fields.items() if v and k != "csrf"}
        assert sent == fields, kind
        before = store.read(review.case_of, made, comparison_id, who.id).decision
        assert who.post(path, **parser.fields).status_code == 303
        after = store.read(review.case_of, made, comparison_id, who.id).decision
        assert before is not None
        assert after is not None
        assert before.answer == after.answer


def test_texts_of_a_case_are_shown_as_annotators_see_them(store: PreferenceStore) -> None:
    sides = ["**Bold** and `code`", "Plain <script>alert(1)</script>"]
    made, _ = project(store, [pair("Is $x^2$ *it*?", sides, [None, None]), *kinds()[2:]])
    who = visitor(store, "reviewer", made)
    places = [place[0] for place in responses(store, made).values()]
    shown = who.client.get(f"/projects/{made}/adjudicate/{places[0]}").text
    for part in ("<msup>", "<em>it</em>", "<strong>Bold</strong>", "<code>code</code>"):
        assert part in shown
    assert "<script" not in shown
    assert "<strong>2</strong>" in who.client.get(f"/projects/{made}/adjudicate/{places[1]}").text


def test_numbers_that_are_none_are_refused_with_a_sentence(store: PreferenceStore) -> None:
    made, _ = project(store, kinds())
    who = visitor(store, "site", made)
    places = [place[0] for place in responses(store, made).values()]
    base = f"/projects/{made}/adjudicate"
    for place, fields in ((places[1], {"place-0": "best"}), (places[2], {"step-0": "fine"}),
                          (places[2], {"step-0": "1", "chosen-1": "it"})):  # fmt: skip
        page = who.post(f"{base}/{place}", **fields)
        assert page.status_code == 422
        assert "Give a whole number" in page.text


def test_answers_in_words() -> None:
    words = Words("en")
    labels = {"x": "A", "y": "B"}

    def said(answer: dict[str, Any]) -> list[str]:
        return [str(line) for line in answer_forms.described(answer, labels, words)]

    chosen = {"kind": "pair", "choice": "y", "strength": 1.0, "raw": "first-much"}
    assert said(chosen) == ["B is much better"]
    assert said({**chosen, "raw": "-40", "strength": 0.4}) == ["B is better, strength 0.40"]
    assert said({"kind": "pair", "choice": "x"}) == ["A is better"]
    assert said({**chosen, "choice": None, "raw": "tie"}) == ["Neither is better"]
    bad = {"x": "bad", "y": "bad"}
    assert said({**chosen, "choice": None, "raw": "both-bad", "acceptability": bad}) == [
        "Both are bad", "Is each any good?: A bad, B bad",
    ]  # fmt: skip
    more = {"dimensions": {"<b>": {"ratings": {"y": 2, "x": 5}}, "s": chosen}, "reasons": ["<i>"]}
    assert said({**chosen, **more}) == [
        "B is much better", "&lt;b&gt;: A 5, B 2", "s: B is much better", "&lt;i&gt;",
    ]  # fmt: skip
    assert said({"kind": "ranking", "groups": [["y"], ["x"]]}) == ["Order: B &gt; A"]
    steps = {"kind": "steps", "mode": "per-step", "labels": [1, None, -1]}
    assert said(steps) == ["1 good, 2 not judged, 3 bad"]
    assert said({"kind": "steps", "mode": "first-error", "first_error": 1}) == [
        "First wrong step: 2"
    ]
    assert said({"kind": "steps", "mode": "first-error", "first_error": None}) == [
        "All steps are right"
    ]


# --- flags and annotators -------------------------------------------------------------------------


def test_a_flag_is_resolved(store: PreferenceStore) -> None:
    made, _, _, flag = filled(store)
    who = visitor(store, "reviewer", made)
    assert "odd one" in who.client.get(f"/projects/{made}/flags").text
    assert who.post(f"/projects/{made}/flags/{flag}/resolve", note="fixed").status_code == 303
    assert "odd one" not in who.client.get(f"/projects/{made}/flags").text
    assert "odd one" in who.client.get(f"/projects/{made}/flags?resolved=1").text


def test_flags_and_judgments_are_paged(
    store: PreferenceStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("assay.collect.routes.review.MOST_LINES", 2)
    made, ids, _, _ = filled(store)
    for number in range(2):
        where = list(responses(store, made).values())[number][0]
        store.write(holding.flag, ids["ann"], where, f"flag {number}")
    who = visitor(store, "reviewer", made)
    seen: list[str] = []
    path: str | None = f"/projects/{made}/flags"
    while path:
        page = who.client.get(path).text
        seen += re.findall(r"(odd one|flag \d)", page)
        more = re.search(r'class="button" href="([^"]+)"', page)
        path = unescape(more[1]) if more else None
    assert seen == ["odd one", "flag 0", "flag 1"]
    first = who.client.get(f"/projects/{made}/annotators/{ids['ann']}").text
    more = re.search(r'class="button" href="([^"]+before=[^"]+)"', first)
    assert more is not None
    rest = who.client.get(unescape(more[1])).text
    numbers = [re.findall(r">Comparison (\d)</a>", page) for page in (first, rest)]
    assert sorted(numbers[0] + numbers[1]) == ["1", "2", "3"]
    assert who.client.get(f"/projects/{made}/flags?after=nonsense").status_code == 200


def test_an_annotator_is_blocked_let_go_on_and_noted(store: PreferenceStore) -> None:
    made, ids, _, _ = filled(store)
    who = visitor(store, "reviewer", made)
    path = f"/projects/{made}/annotators/{ids['ann']}"
    assert who.post(f"{path}/standing", state="blocked", reason="too fast").status_code == 303
    page = texts(who.client.get(path).text)
    assert "annotator, blocked" in page
    assert "too fast" in page
    assert who.post(f"{path}/standing", state="owner", reason="x").status_code == 422
    assert who.post(f"{path}/standing", state="active", reason="spoke to her").status_code == 303
    assert who.post(f"{path}/note", note="watch the gold").status_code == 303
    page = texts(who.client.get(path).text)
    assert "annotator, active" in page
    assert "watch the gold" in page


def test_the_table_of_annotators_shows_failed_screening(store: PreferenceStore) -> None:
    rows = [
        pair(f"S{i}", ["a", "b"], [None, None], purpose="screening", expected={"choice": 0})
        for i in range(4)
    ]
    made, ids = project(store, rows)
    for number, place in enumerate(responses(store, made).values()):
        choose(store, made, place, ids["ann"], 0, is_correct=number < 2)
        choose(store, made, place, ids["ben"], 0, is_correct=True)
    who = visitor(store, "reviewer", made)
    page = who.client.get(f"/projects/{made}/annotators").text
    assert page.count("screening failed") == 1
    said = texts(page)
    assert "ann of tea annotator, active screening failed 4" in said
    assert "0.50" in said
    one = texts(who.client.get(f"/projects/{made}/annotators/{ids['ann']}").text)
    assert "Screening right, wrong" in one
    gone = store.write(people.set_role, made, ids["ann"], None)
    assert gone is None
    assert "not a member" in who.client.get(f"/projects/{made}/annotators/{ids['ann']}").text


# --- the order of work ----------------------------------------------------------------------------


@pytest.mark.medium
def test_what_select_chooses_of_the_open_comparisons_is_given_out_first(
    store: PreferenceStore, tmp_path: Path
) -> None:
    from assay.configs import Select
    from assay.score.select import run

    rows = [pair(f"Q{i}", [f"a{i}", f"b{i}"], ["hidden-model", None]) for i in range(6)]
    made, ids = project(store, [*rows, *kinds()[2:]], settings=ProjectSettings(overlap=1))
    first = store.claim(made, ids["ann"])
    assert first is not None
    store.submit(ids["ann"], new_id(), first.comparison_id, {"raw": "tie"})
    admin = visitor(store, "admin", made)
    page = admin.client.get(f"/projects/{made}/order/open.jsonl")
    assert page.status_code == 200
    assert "hidden-model" not in page.text
    (tmp_path / "open.jsonl").write_text(page.text)
    assert len(page.text.splitlines()) == 5  # neither the one that is done nor the solution
    chosen = tmp_path / "chosen.jsonl"
    run(Select(run="none", input=tmp_path / "open.jsonl", output=chosen, method="random", count=3,
               seed=4))  # fmt: skip
    order = [json.loads(line)["comparison_id"] for line in chosen.read_text().splitlines()]
    answer = admin.client.post(
        f"/projects/{made}/order/import", data={"csrf": admin.csrf},
        files={"file": ("chosen.jsonl", chosen.read_bytes())}, follow_redirects=False,
    )  # fmt: skip
    assert answer.status_code == 303
    given = []
    for _ in range(3):
        held = store.claim(made, ids["ann"])
        assert held is not None
        given.append(held.comparison_id)
        store.submit(ids["ann"], new_id(), held.comparison_id, {"raw": "tie"})
    assert given == order


@pytest.mark.parametrize("body", [b'{"prompt": "x"}\n', b"{nonsense\n", b"\xff\xfe\n"])
def test_a_file_that_names_no_comparisons_is_refused_with_a_sentence(
    store: PreferenceStore, body: bytes
) -> None:
    made, _, _, _ = filled(store)
    admin = visitor(store, "admin", made)
    answer = admin.client.post(
        f"/projects/{made}/order/import", data={"csrf": admin.csrf},
        files={"file": ("chosen.jsonl", body)},
    )  # fmt: skip
    assert answer.status_code == 422
    said = texts(answer.text)
    assert "The file line 1" in said
    assert "/tmp" not in said


# --- words ----------------------------------------------------------------------------------------


def test_every_language_has_every_word_and_the_same_blanks() -> None:
    place = files("assay.collect").joinpath("locales")
    english = json.loads(place.joinpath("en", "review.json").read_text("utf-8"))
    for code in ("de", "ar"):
        other = json.loads(place.joinpath(code, "review.json").read_text("utf-8"))
        assert set(other) == set(english), code
        for key, phrase in english.items():
            blanks = set(re.findall(r"{\w+}", phrase))
            assert set(re.findall(r"{\w+}", other[key])) == blanks, (code, key)


@pytest.mark.parametrize("code", ["en", "de", "ar"])
def test_no_page_shows_the_name_of_a_word(store: PreferenceStore, code: str) -> None:
    made, ids, where, _ = filled(store)
    who = visitor(store, "site", made)
    who.post(f"/projects/{made}/adjudicate/{where}", raw="first-much")
    for path in ("", "/agreement", "/adjudicate?all=1", f"/adjudicate/{where}", "/flags",
                 "/annotators", f"/annotators/{ids['ann']}"):  # fmt: skip
        page = who.client.get(f"/projects/{made}{path}", headers={"accept-language": code}).text
        assert f'<html lang="{code}"' in page
        assert not re.findall(r"\breview\.(?!css)[a-z.-]+", page), path
