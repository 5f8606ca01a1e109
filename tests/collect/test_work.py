"""The page of work and what its script asks for, without a browser."""

import json
import re
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from assay.collect import locale, tasks
from assay.collect.app import make_app
from assay.collect.pages import Words
from assay.store import desk, people
from assay.store.ids import new_id
from assay.store.presets import PRESETS
from assay.store.records import Dimension, NewComparison, NewResponse, ProjectSettings, Rubric
from assay.store.store import PreferenceStore
from assay.types import Message, as_messages

CANARY = "canary-model-7b"


class Work:
    """A store, its site, and annotators' browsers."""

    def __init__(self, store: PreferenceStore):
        self.store, self.app = store, make_app(store)
        self.csrf: dict[str, str] = {}

    def project(
        self, *comparisons: NewComparison, rubric: Rubric | None = None, **more: Any
    ) -> str:
        project = self.store.create_project(f"P {new_id()}", ProjectSettings(**more), rubric)
        self.store.add_comparisons(project, comparisons, source="test")
        return project

    def browser(self, name: str, project: str | None = None, role: str = "annotator") -> TestClient:
        ann = self.store.write(people.add_annotator, f"{name} {new_id()[-6:]}")
        if project:
            self.store.write(people.set_role, project, ann, role)
        secret, csrf = self.store.write(people.open_session, ann)
        client = TestClient(self.app, follow_redirects=False)
        client.cookies.set("assay_session", secret)
        client.headers["x-csrf-token"] = csrf
        return client


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Work]:
    with PreferenceStore.open(tmp_path / "prefs.db") as store:
        yield Work(store)


def pair(number: int = 1, **more: Any) -> NewComparison:
    return NewComparison(
        as_messages(f"Question {number}?", "user"),
        tuple(NewResponse(as_messages(f"{side} {number}", "assistant"), model=f"{CANARY}-{side}")
              for side in ("first", "second")),
        **more,
    )  # fmt: skip


def ranking() -> NewComparison:
    return NewComparison(
        as_messages("Rank", "user"),
        tuple(NewResponse(as_messages(w, "assistant")) for w in ("one", "two", "three")),
        kind="ranking",
    )


def solution() -> NewComparison:
    steps = ({"text": "a"}, {"text": "b", "alternatives": ("c", "d")}, {"text": "e"})
    return NewComparison(
        as_messages("Solve", "user"),
        (NewResponse(as_messages("abe", "assistant"), steps=steps),), kind="steps",
    )  # fmt: skip


def form_of(html: str) -> dict[str, str]:
    """The hidden fields of the task's form."""
    form = html[html.index('<form class="task') :]
    form = form[: form.index("</form>")]
    return {
        name: unescape(value)
        for name, value in re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', form)
    }


def open_page(client: TestClient, project: str) -> dict[str, str]:
    answer = client.get(f"/projects/{project}/work")
    assert answer.status_code == 200, answer.text
    return form_of(answer.text)


def claim(client: TestClient, project: str, have: list[str] | None = None) -> Any:
    answer = client.post(f"/api/v1/projects/{project}/claim", json={"have": have or []})
    assert answer.status_code == 200, answer.text
    return answer.json()


def standing(client: TestClient, project: str) -> list[Any]:
    return client.get(f"/api/v1/projects/{project}/judgments/mine").json()["judgments"]


# --- forms ----------------------------------------------------------------------------------------


def test_a_form_is_submitted_once_however_often_it_is_sent(work: Work) -> None:
    project = work.project(pair(1), pair(2))
    ann = work.browser("Ann", project)
    sent = open_page(ann, project) | {"action": "submit", "raw": "first-better"}
    for _ in range(2):
        answer = ann.post(f"/projects/{project}/work", data=sent)
        assert answer.headers["location"].endswith("?said=saved")
    found = standing(ann, project)
    assert len(found) == 1
    assert found[0]["answer"]["choice"] == sent["shown"].split()[0]
    assert "Saved." in ann.get(answer.headers["location"]).text


def test_a_form_that_is_not_done_comes_back_as_it_was(work: Work) -> None:
    project = work.project(pair(), rubric=Rubric(rationale="required", reasons=("clearer",)))
    ann = work.browser("Ann", project)
    sent = open_page(ann, project)
    a, _ = sent["shown"].split()
    sent |= {"action": "submit", "raw": "tie", f"accept.{a}": "ok"}
    answer = ann.post(f"/projects/{project}/work", data=sent)
    assert answer.status_code == 422
    assert "Say why." in answer.text
    assert re.search(r'name="raw" value="tie" checked', answer.text)
    assert re.search(rf'name="accept.{a}" value="ok" checked', answer.text)
    assert form_of(answer.text)["judgment_id"] == sent["judgment_id"]
    ann.post(f"/projects/{project}/work", data=sent | {"reason": "clearer", "rationale": "a\r\nb"})
    said = standing(ann, project)[0]["answer"]
    assert (said["reasons"], said["rationale"]) == (["clearer"], "a\nb")


@pytest.mark.parametrize("preset", sorted(PRESETS))
def test_every_point_of_every_scale(work: Work, preset: str) -> None:
    points = [p.id for p in PRESETS[preset].points] or ["-100", "0", "37"]
    rubric = Rubric(preset=preset)
    project = work.project(*(pair(i) for i in range(len(points))), rubric=rubric)
    ann = work.browser("Ann", project)
    for point in points:
        sent = open_page(ann, project) | {"action": "submit", "raw": point}
        assert ann.post(f"/projects/{project}/work", data=sent).status_code == 303
    assert sorted(j["answer"]["raw"] for j in standing(ann, project)) == sorted(points)
    history = ann.get(f"/projects/{project}/history").text
    for point in points:
        assert str(tasks.point_label(Words("en"), preset, point)) in unescape(history)


def test_a_ranking_with_ties(work: Work) -> None:
    project = work.project(ranking())
    ann = work.browser("Ann", project)
    sent = open_page(ann, project)
    a, b, c = sent["shown"].split()
    sent |= {"action": "submit", f"rank.{a}": "3", f"rank.{b}": "1", f"rank.{c}": "3"}
    assert ann.post(f"/projects/{project}/work", data=sent).status_code == 303
    assert standing(ann, project)[0]["answer"]["groups"] == [[b], [a, c]]
    assert "B &gt; A = C" in ann.get(f"/projects/{project}/history").text


def test_steps_one_by_one(work: Work) -> None:
    project = work.project(solution())
    ann = work.browser("Ann", project)
    sent = open_page(ann, project) | {
        "action": "submit", "step.0": "1", "step.1": "-1", "flagged.1": "1", "alt.1.0": "0",
        "chosen.1": "2", "written.2": "better",
    }  # fmt: skip
    assert ann.post(f"/projects/{project}/work", data=sent).status_code == 303
    said = standing(ann, project)[0]["answer"]
    assert said["labels"] == [1, -1, None]
    assert said["flagged"] == [False, True, False]
    assert said["alternatives"] == [[], [0, None], []]
    assert said["chosen"] == [None, 2, None]
    assert said["written"] == {"2": "better"}
    assert "1 good, 0 neutral, 1 bad" in ann.get(f"/projects/{project}/history").text


@pytest.mark.parametrize(("first", "stored"), [("1", 1), ("none", None)])
def test_the_first_error(work: Work, first: str, stored: int | None) -> None:
    project = work.project(solution(), rubric=Rubric(step_mode="first-error"))
    ann = work.browser("Ann", project)
    sent = open_page(ann, project) | {"action": "submit"}
    assert ann.post(f"/projects/{project}/work", data=sent).status_code == 422
    ann.post(f"/projects/{project}/work", data=sent | {"first": first})
    assert standing(ann, project)[0]["answer"]["first_error"] == stored
    history = ann.get(f"/projects/{project}/history").text
    assert ("All steps are right" if stored is None else "First error in step 2") in history


def test_dimensions(work: Work) -> None:
    dimensions = (Dimension(name="safety"), Dimension(name="help", scale="absolute", points=3))
    project = work.project(pair(), rubric=Rubric(dimensions=dimensions))
    ann = work.browser("Ann", project)
    sent = open_page(ann, project)
    a, b = sent["shown"].split()
    sent |= {"action": "submit", "raw": "tie", "dim.0": "second-much", f"dim.1.{a}": "3"}
    assert ann.post(f"/projects/{project}/work", data=sent).status_code == 422
    ann.post(f"/projects/{project}/work", data=sent | {f"dim.1.{b}": "1"})
    said = standing(ann, project)[0]["answer"]["dimensions"]
    assert said["safety"]["choice"] == b
    assert said["help"] == {"ratings": {a: 3, b: 1}}


def test_skip_flag_and_undo(work: Work) -> None:
    project = work.project(pair(1), pair(2), pair(3))
    ann, where = work.browser("Ann", project), f"/projects/{project}/work"
    first = open_page(ann, project)
    assert ann.post(where, data=first | {"action": "flag", "flag_reason": " "}).status_code == 422
    flagged = ann.post(where, data=first | {"action": "flag", "flag_reason": "odd"})
    assert "said=flagged" in flagged.headers["location"]
    assert ann.post(where, data=first | {"action": "skip"}).status_code == 303
    second = open_page(ann, project)
    assert second["comparison_id"] != first["comparison_id"]
    ann.post(where, data=second | {"action": "submit", "raw": "tie"})
    third = open_page(ann, project)
    assert third["last"] == second["judgment_id"]
    undone = ann.post(where, data=third | {"action": "undo"})
    assert second["comparison_id"] in undone.headers["location"]
    again = ann.get(undone.headers["location"]).text
    assert re.search(r'value="tie" checked', again)
    assert standing(ann, project) == []
    ann.post(where, data=third | {"action": "undo"})  # sent twice: nothing more is taken back
    assert standing(ann, project) == []
    assert ann.post(where, data=third | {"action": "dance"}).status_code == 422


def test_a_judgment_is_changed_from_the_history(work: Work) -> None:
    project = work.project(pair())
    ann, where = work.browser("Ann", project), f"/projects/{project}/work"
    sent = open_page(ann, project) | {"action": "submit", "raw": "tie"}
    ann.post(where, data=sent)
    link = re.search(
        r'href="([^"]*\?comparison=[^"]*)"', ann.get(f"/projects/{project}/history").text
    )
    assert link
    form = form_of(ann.get(link[1]).text)
    ann.post(where, data=form | {"action": "submit", "raw": "first-much"})
    assert [j["answer"]["raw"] for j in standing(ann, project)] == ["first-much"]


def test_the_history_is_paged(work: Work) -> None:
    project = work.project(*(pair(i) for i in range(25)))
    ann = work.browser("Ann", project)
    for _ in range(25):
        sent = open_page(ann, project) | {"action": "submit", "raw": "tie", "rationale": "<b>so"}
        ann.post(f"/projects/{project}/work", data=sent)
    seen = []
    path: str | None = f"/projects/{project}/history"
    while path:
        html = ann.get(path).text
        assert "<b>so" not in html
        seen += re.findall(r"Question (\d+)\?", html)
        older = re.search(r'href="([^"]*before=[^"]*)"', html)
        path = older[1] if older else None
    assert sorted(map(int, seen)) == list(range(25))
    first = ann.get(f"/api/v1/projects/{project}/judgments/mine?limit=10").json()
    rest = ann.get(f"/api/v1/projects/{project}/judgments/mine?limit=200&before={first['next']}")
    ids = [j["id"] for j in first["judgments"] + rest.json()["judgments"]]
    assert len(set(ids)) == 25
    assert rest.json()["next"] is None
    lost = ann.get(f"/api/v1/projects/{project}/judgments/mine?before={new_id()}").json()
    assert lost["judgments"] == []


def test_training_says_what_was_expected(work: Work) -> None:
    expected = {"choice": 0, "acceptability": {"0": "good"}, "rationale": "It <b>fits</b>."}
    project = work.project(pair(purpose="training", expected=expected))
    ann = work.browser("Ann", project)
    sent = open_page(ann, project) | {"action": "submit", "raw": "tie"}
    html = ann.post(f"/projects/{project}/work", data=sent).text
    assert "Another answer was expected" in html
    assert re.search(r"Response [AB] is better\.", html)
    assert re.search(r"Response [AB] by itself: Good\.", html)
    assert "It &lt;b&gt;fits&lt;/b&gt;." in html


def test_what_training_can_expect(work: Work) -> None:
    words = Words("en")
    held = work_held(work, solution())
    said = tasks.expected_words(words, held, {"labels": [1, 0, -1], "first_error": 2})
    assert said == ["First error in step 3", "Step 1: Good.", "Step 2: Neutral.", "Step 3: Bad."]
    held = work_held(work, ranking())
    best = held.responses[1].id
    assert tasks.expected_words(words, held, {"best": best}) == ["Response B is the best."]
    assert tasks.expected_words(words, held, {"choice": None}) == ["Neither response is better."]
    assert tasks.expected_words(words, held, {"first_error": None}) == ["All steps are right"]


def work_held(work: Work, comparison: NewComparison) -> Any:
    project = work.project(comparison)
    ann = work.store.write(people.add_annotator, new_id())
    work.store.write(people.set_role, project, ann, "annotator")
    return work.store.claim(project, ann)


# --- who gets what --------------------------------------------------------------------------------


def test_the_reasons_for_no_work(work: Work) -> None:
    project = work.project(pair(), most_per_annotator=1, overlap=3)
    ann, bob = work.browser("Ann", project), work.browser("Bob", project)
    ann.post(f"/projects/{project}/work", data=open_page(ann, project)
             | {"action": "submit", "raw": "tie"})  # fmt: skip
    assert "You have done your share" in ann.get(f"/projects/{project}/work").text
    assert claim(ann, project)["reason"] == "enough"
    work.store.change_project(project, is_paused=True)
    assert claim(bob, project) == {"assignment": None, "reason": "paused"}
    assert "This project is paused" in bob.get(f"/projects/{project}/work").text
    other = work.project(pair(), overlap=1)
    one, two = work.browser("One", other), work.browser("Two", other)
    held = claim(one, other)["assignment"]["comparison_id"]
    assert claim(one, other, [held])["reason"] == "none-left"
    assert claim(two, other)["reason"] == "none-left"
    assert "Nothing to judge now" in two.get(f"/projects/{other}/work").text


def test_a_page_may_hold_so_many(work: Work) -> None:
    project = work.project(*(pair(i) for i in range(5)), prefetch=2)
    ann = work.browser("Ann", project)
    first = claim(ann, project)["assignment"]["comparison_id"]
    second = claim(ann, project, [first])["assignment"]["comparison_id"]
    assert first != second
    assert claim(ann, project, [first, second]) == {"assignment": None, "reason": None}


def test_a_site_admin_who_is_no_member_has_no_work(work: Work) -> None:
    project = work.project(pair())
    admin = work.browser("Root")
    root = admin.get("/api/v1/me/session").json()["annotator_id"]
    work.store.write(people.change_annotator, root, {"is_site_admin": True})
    assert "You do not annotate" in admin.get(f"/projects/{project}/work").text


def test_others_comparisons_are_not_there(work: Work) -> None:
    project, other = work.project(pair()), work.project(pair())
    ann, bob = work.browser("Ann", project), work.browser("Bob", other)
    held = claim(ann, project)["assignment"]["comparison_id"]
    body = {"answer": {"raw": "tie"}, "revision": 1}
    path = f"/api/v1/comparisons/{held}"
    for answer in (
        bob.get(f"{path}/task"), bob.put(f"{path}/draft", json=body), bob.post(f"{path}/lease"),
        bob.delete(f"{path}/lease"), bob.post(f"{path}/skip", json={"reason": ""}),
        bob.post(f"{path}/flag", json={"reason": "x"}),
        bob.post("/api/v1/judgments", json={"id": new_id(), "comparison_id": held,
                                            "answer": {"raw": "tie"}}),
        bob.get(f"/projects/{project}/work"), bob.get(f"/projects/{project}/history"),
        bob.get(f"/projects/{other}/work?comparison={held}"),
        bob.post(f"/projects/{other}/work", data={"action": "submit", "comparison_id": held}),
        bob.post(f"/api/v1/judgments/{new_id()}/undo"),
    ):  # fmt: skip
        assert answer.status_code == 404, answer.url
    # and one's own under another project's path
    work.store.write(people.set_role, other, work_id(ann), "annotator")
    assert ann.get(f"/projects/{other}/work?comparison={held}").status_code == 404
    sent = {"action": "submit", "comparison_id": held, "raw": "tie", "judgment_id": new_id()}
    assert ann.post(f"/projects/{other}/work", data=sent).status_code == 404
    done = open_page(ann, project) | {"action": "submit", "raw": "tie"}
    ann.post(f"/projects/{project}/work", data=done)
    undo = {"action": "undo", "last": done["judgment_id"]}
    assert ann.post(f"/projects/{other}/work", data=undo).status_code == 404


def work_id(client: TestClient) -> str:
    return str(client.get("/api/v1/me/session").json()["annotator_id"])


def test_nothing_names_a_model_or_a_purpose(work: Work) -> None:
    gold = pair(1, purpose="gold", expected={"choice": 0})
    named = Message("assistant", "hello", {"name": CANARY})
    turn = NewComparison((Message("user", "Hi"), named, Message("user", "So?")), pair(2).responses)
    project = work.project(gold, turn, pair(3), gold_every=2)
    ann = work.browser("Ann", project)
    for _ in range(3):
        held = claim(ann, project)["assignment"]
        pages = [json.dumps(held), ann.get(f"/projects/{project}/work").text]
        answer = {"id": new_id(), "comparison_id": held["comparison_id"], "answer": {"raw": "tie"}}
        pages.append(ann.post("/api/v1/judgments", json=answer).text)
        assert json.loads(pages[-1])["is_correct"] is None
        pages += [ann.get(f"/projects/{project}/history").text, json.dumps(standing(ann, project))]
        for page in pages:
            assert CANARY not in page
            assert not re.search(r"\bgold\b|purpose|expected\W+\{", page)


# --- JSON -----------------------------------------------------------------------------------------


def test_an_assignment_as_json(work: Work) -> None:
    project = work.project(pair())
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]
    assert set(held) >= {
        "comparison_id", "project_id", "kind", "prompt", "responses", "rubric_id", "rubric",
        "lease_until", "now", "draft", "draft_revision", "active_ms", "feedback", "html",
    }  # fmt: skip
    assert held["prompt"] == [{"role": "user", "content": "Question 1?"}]
    assert [r["label"] for r in held["responses"]] == ["A", "B"]
    assert ann.get(f"/api/v1/comparisons/{held['comparison_id']}/task").json()["kind"] == "pair"
    assert '<form class="task' in held["html"]


def test_a_judgment_by_json(work: Work) -> None:
    project = work.project(pair())
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]
    path = f"/api/v1/comparisons/{held['comparison_id']}"
    body = {"answer": {"raw": "first-much", "rationale": "so"}, "revision": 4, "active_ms": 900}
    assert ann.put(f"{path}/draft", json=body).json() == {"revision": 4}
    assert ann.put(f"{path}/draft", json=body | {"revision": 2}).json() == {"revision": 4}
    assert ann.post(f"{path}/lease").json()["lease_until"] >= held["lease_until"]
    assert ann.post(f"{path}/flag", json={"reason": "odd"}).status_code == 200
    sent = {"id": new_id(), "comparison_id": held["comparison_id"], "active_ms": 1500,
            "answer": {"raw": "first-much"}, "shown": [r["id"] for r in held["responses"]],
            "rubric_id": held["rubric_id"]}  # fmt: skip
    first, again = (ann.post("/api/v1/judgments", json=sent).json() for _ in range(2))
    assert (first["is_repeat"], again["is_repeat"]) == (False, True)
    assert first["surplus"] is False
    assert first["html"] is None
    assert standing(ann, project)[0]["active_ms"] == 1500
    undone = ann.post(f"/api/v1/judgments/{sent['id']}/undo").json()["assignment"]
    assert undone["draft"]["raw"] == "first-much"
    assert ann.delete(f"{path}/lease").json() == {"released": True}


def test_training_by_json(work: Work) -> None:
    project = work.project(pair(purpose="training", expected={"choice": 0}))
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]
    assert held["feedback"] is True
    sent = {"id": new_id(), "comparison_id": held["comparison_id"], "answer": {"raw": "tie"}}
    told = ann.post("/api/v1/judgments", json=sent).json()
    assert told["is_correct"] is False
    assert "Another answer was expected" in told["html"]


def test_a_skip_by_json(work: Work) -> None:
    project = work.project(pair(1), pair(2))
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]["comparison_id"]
    assert ann.post(f"/api/v1/comparisons/{held}/skip", json={"reason": "no"}).status_code == 200
    assert claim(ann, project)["assignment"]["comparison_id"] != held


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/api/v1/projects/{p}/claim", {"have": [], "more": 1}),
        ("POST", "/api/v1/projects/{p}/claim", {"have": ["x" * 40]}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": {}, "revision": 0}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": {}, "revision": 2**31}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": [], "revision": 1}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": {"a": "x\u0000"}, "revision": 1}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": {"a": "x" * 600_000}, "revision": 1}),
        ("PUT", "/api/v1/comparisons/{c}/draft", {"answer": {}, "revision": 1, "active_ms": -1}),
        ("POST", "/api/v1/comparisons/x/skip", {"reason": ""}),
        ("POST", "/api/v1/comparisons/{c}/skip", {"reason": "x" * 3000}),
        ("POST", "/api/v1/comparisons/{c}/flag", {"reason": ""}),
        ("POST", "/api/v1/comparisons/{c}/flag", {"reason": "a\u0000"}),
        ("POST", "/api/v1/judgments", {"id": "x", "comparison_id": "{c}", "answer": {}}),
        ("POST", "/api/v1/judgments", {"id": new_id(), "comparison_id": "{c}", "answer": {}}),
        ("PUT", "/api/v1/me/keys", {"keys": {"explode": "x"}}),
        ("PUT", "/api/v1/me/keys", {"keys": {"tie": "x", "skip": "x"}}),
        ("PUT", "/api/v1/me/keys", {"keys": {"tie": "\n"}}),
    ],
)
def test_what_is_not_asked_for_is_refused(
    work: Work, method: str, path: str, body: dict[str, Any]
) -> None:
    project = work.project(pair())
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]["comparison_id"]
    body = {k: held if v == "{c}" else v for k, v in body.items()}
    answer = ann.request(method, path.format(p=project, c=held), json=body)
    assert answer.status_code == 422, answer.text
    assert answer.json()["message"]


def test_json_that_no_database_holds_is_refused(work: Work) -> None:
    project = work.project(pair())
    ann = work.browser("Ann", project)
    held = claim(ann, project)["assignment"]["comparison_id"]
    for answer in ('{"a": NaN}', '{"a": "\\ud800"}', '{"a": 1e999}'):
        sent = f'{{"answer": {answer}, "revision": 1}}'
        got = ann.put(f"/api/v1/comparisons/{held}/draft", content=sent,
                      headers={"content-type": "application/json"})  # fmt: skip
        assert got.status_code == 422, got.text


def test_keys_are_kept(work: Work) -> None:
    project = work.project(pair())
    ann = work.browser("Ann", project)
    chosen = {"on": False, "keys": {"tie": "z", "skip": ""}}
    assert ann.put("/api/v1/me/keys", json=chosen).json() == chosen
    html = ann.get(f"/projects/{project}/work").text
    setup = json.loads(re.search(r'id="setup">(.*?)</script>', html)[1])  # type: ignore[index]
    assert setup["keys"] == chosen
    assert setup["csrf"] == ann.headers["x-csrf-token"]
    ann.headers["x-csrf-token"] = "wrong"
    assert ann.put("/api/v1/me/keys", json=chosen).status_code == 403


def test_any_draft_can_be_shown(work: Work) -> None:
    """A draft is whatever a client sent: it must not break the page."""
    dimensions = (Dimension(name="d"), Dimension(name="e", scale="absolute"))
    for comparison in (pair(), ranking(), solution()):
        project = work.project(comparison, rubric=Rubric(dimensions=dimensions[1:]
                               if comparison.kind != "pair" else dimensions))  # fmt: skip
        ann = work.browser("Ann", project)
        held = claim(ann, project)["assignment"]["comparison_id"]
        for number, junk in enumerate([
            {"raw": {"a": 1}, "groups": "x", "labels": 3, "dimensions": [1], "acceptability": 4},
            {"groups": [1, ["x"], {"y": 2}], "dimensions": {"d": 7, "e": "x"}, "reasons": {"a": 1}},
            {"labels": [None, "x", []], "alternatives": [[1], 2], "chosen": [{}], "written": [1],
             "first_error": "x", "flagged": ["x"], "rationale": ["x"]},
        ], start=1):  # fmt: skip
            body = {"answer": junk, "revision": number}
            assert ann.put(f"/api/v1/comparisons/{held}/draft", json=body).status_code == 200
            assert ann.get(f"/projects/{project}/work").status_code == 200


def test_the_form_says_what_the_answer_said(work: Work) -> None:
    """Fields from an answer and an answer from fields are each other's inverse."""
    held = work_held(work, solution())
    answer = {"labels": [1, None, -1], "flagged": [True, False, False],
              "alternatives": [[], [1, 0], []], "chosen": [0, None, 0], "written": {"1": "x"},
              "reasons": ["r"], "rationale": "w"}  # fmt: skip
    assert tasks.answer_of(tasks.fields_of(answer, held), held) == answer
    held = work_held(work, ranking())
    a, b, c = (r.id for r in held.responses)
    ranked = {"groups": [[b, c], [a]], "acceptability": {a: "bad"}}
    found = tasks.answer_of(tasks.fields_of(ranked, held), held)
    assert [sorted(group) for group in found["groups"]] == [sorted([b, c]), [a]]
    assert found["acceptability"] == {a: "bad"}


def test_guidelines_and_markdown(work: Work) -> None:
    rubric = Rubric(instructions="Be **fair** <script>", dimensions=(
        Dimension(name="safety", anchors={"1": "harmful"}),))  # fmt: skip
    project = work.project(pair(), rubric=rubric)
    html = work.browser("Ann", project).get(f"/projects/{project}/guidelines").text
    assert "<strong>fair</strong> &lt;script&gt;" in html
    assert "harmful" in html


def test_a_long_prompt_is_cut_in_the_history() -> None:
    assert tasks._excerpt([{"role": "user", "content": "word " * 100}]).endswith("…")
    assert tasks._excerpt([{"role": "system", "content": "only"}]) == "only"
    assert tasks._excerpt([]) == ""


# --- words ----------------------------------------------------------------------------------------


def test_every_language_has_every_word() -> None:
    folder = Path(tasks.__file__).parent / "locales"
    for part in ("work", "account", "errors"):
        wanted = json.loads((folder / "en" / f"{part}.json").read_text("utf-8"))
        for code in locale.languages():
            found = json.loads((folder / code / f"{part}.json").read_text("utf-8"))
            assert set(found) == set(wanted), (code, part)
            for key, said in found.items():
                names = set(re.findall(r"\{(\w+)\}", wanted[key]))
                assert set(re.findall(r"\{(\w+)\}", said)) <= names, (code, key)


@pytest.mark.parametrize("code", ["de", "ar"])
def test_every_refusal_of_an_annotator_is_said_in_their_language(code: str) -> None:
    folder = Path(desk.__file__).parent
    files = ("desk", "assignment", "submitting", "holding", "drafts", "undoing")
    texts = [(folder / f"{name}.py").read_text("utf-8") for name in files]
    refused = {c for text in texts for c in re.findall(r'AccessError\(\s*"([\w-]+)"', text)}
    assert len(refused) >= 9
    own = json.loads(
        (Path(tasks.__file__).parent / "locales" / code / "errors.json").read_text("utf-8")
    )
    # of the site itself: signed out, too often, the database away
    refused |= {"sign-in", "csrf", "cross-site", "too-often", "store-unavailable", "disk-full",
                "failed", "answer", "keys", "too-large", "too-slow"}  # fmt: skip
    assert {f"said.{c}" for c in refused} == set(own)


def test_errors_are_told_in_the_language_of_the_page_and_to_programs_in_english(
    work: Work,
) -> None:
    project = work.project(pair(), allow_skip=False)
    client = work.browser("a", project)
    held = claim(client, project)["assignment"]
    skip = f"/api/v1/comparisons/{held['comparison_id']}/skip"
    german = {"accept-language": "de"}
    said = client.post(skip, json={}, headers=german).json()
    assert said["code"] == "no-skip"
    assert said["message"].startswith("Dieser Vergleich lässt sich nicht überspringen")
    assert client.post(skip, json={}).json()["message"].startswith("This comparison cannot")
    body = {"id": new_id(), "comparison_id": held["comparison_id"], "answer": {"raw": "<'x'>"}}
    said = client.post("/api/v1/judgments", json=body, headers=german).json()
    assert said["message"].startswith("Diese Antwort passt nicht: ")
    assert "<'x'>" in said["message"]  # no HTML in JSON
    assert said["field"] == "raw"
    page = client.get(f"/projects/{new_id()}/work", headers=german)
    assert (page.status_code, "oder es ist nicht für Sie." in page.text) == (404, True)
    fields = {
        **open_page(client, project),
        "action": "submit",
        "csrf": client.headers["x-csrf-token"],
    }
    page = client.post(f"/projects/{project}/work", data=fields, headers=german)
    assert (page.status_code, "Diese Antwort passt nicht" in page.text) == (422, True)
    client.headers.pop("x-csrf-token")
    assert "laden Sie sie neu" in client.post(skip, json={}, headers=german).json()["message"]
    _, secret = work.store.write(people.add_token, work.store.read(people.annotators)[0].id, "t", 1)
    program = TestClient(work.app, headers={**german, "authorization": f"Bearer {secret}"})
    assert program.post(skip, json={}).json()["message"].startswith("This comparison cannot")


def test_the_page_has_no_word_that_is_missing(work: Work) -> None:
    script = (Path(tasks.__file__).parent / "static" / "work.js").read_text("utf-8")
    words = Words("en")
    known = {key.removeprefix("js.") for key in words.starting("js.")}
    assert set(re.findall(r'\bsay\("([\w-]+)"', script)) <= known
    for preset in PRESETS.values():
        for point in preset.points:
            assert words(f"point.{point.id}") != f"point.{point.id}"
