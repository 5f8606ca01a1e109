"""Contract: what programs ask for, who gets it, and what becomes of wrong requests."""

from __future__ import annotations

import dataclasses
import json
import sqlite3
import time

import pytest
from sqlalchemy.exc import OperationalError

from assay.collect import bodies
from assay.collect.routes import api
from assay.store import people
from assay.store.database import Database, _translated
from assay.store.ids import new_id
from assay.store.records import Dimension, NewComparison, ProjectSettings, Rubric
from assay.store.store import PreferenceStore


def test_health_needs_nobody_and_tells_nothing(site):
    answer = site.as_(None).get("/api/v1/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_health_is_503_without_the_name_of_the_database_when_it_does_not_answer(site, monkeypatch):
    from assay.errors import StoreUnavailableError

    def away(_store, *_args):
        raise StoreUnavailableError("postgresql://secret-host: the database does not answer.")

    monkeypatch.setattr(PreferenceStore, "read", away)
    answer = site.as_(None).get("/api/v1/health")
    assert answer.status_code == 503
    assert answer.json()["code"] == "store-unavailable"
    assert "secret" not in answer.text


@pytest.mark.parametrize("path", ["/api/v1/projects", "/"])
def test_an_answer_of_503_names_no_database_and_the_log_does(site, monkeypatch, caplog, path):
    def away(_database, _work):
        with _translated("postgresql://secret-host/prefs"):
            reason = sqlite3.OperationalError("database is locked at secret-path")
            raise OperationalError("SELECT 1", {}, reason)

    client = site.as_("ada")
    monkeypatch.setattr(Database, "read", away)
    monkeypatch.setattr(Database, "write", away)
    answer = client.get(path)
    assert answer.status_code == 503
    assert "Another process held the database" in answer.text
    assert "secret" not in answer.text
    assert "postgresql://secret-host/prefs: another process held" in caplog.text


def test_me_says_whose_token_it_is(site):
    assert site.as_("ada").get("/api/v1/me").json() == {
        "id": site.people["ada"], "name": "ada", "is_site_admin": False,
    }  # fmt: skip
    assert site.as_(None).get("/api/v1/me").status_code == 401


# --- projects -------------------------------------------------------------------------------------


def test_projects_are_those_one_is_in_page_by_page(site):
    assert [(p["name"], p["role"]) for p in _items(site, "ada", "/api/v1/projects")] == [
        ("haiku", "annotator")
    ]
    for i in range(4):
        site.store.create_project(f"more {i}")
    every = _items(site, "site", "/api/v1/projects", limit=2)
    assert [p["name"] for p in every] == ["haiku", "limericks"] + [f"more {i}" for i in range(4)]
    assert {p["role"] for p in every} == {"admin"}


def _items(site, who, path, **params):
    found, after = [], None
    while True:
        query = params | ({"after": after} if after is not None else {})
        page = site.as_(who).get(path, params=query).json()
        assert len(page["items"]) <= params.get("limit", 100)
        found += page["items"]
        after = page["next"]
        if after is None:
            return found


def test_an_annotator_reads_the_rubric_but_not_how_work_is_checked(site):
    for who, sees in (("ada", False), ("reviewer", True), ("admin", True)):
        answer = site.as_(who).get(site.path())
        assert answer.json()["rubric"]["preset"] == "binary"
        assert (answer.json()["settings"] is not None) is sees
        # a hash of the few settings there are would tell them as well
        assert ("etag" in answer.headers) is sees
    assert site.as_("outsider").get(site.path()).status_code == 404
    assert site.as_("site").get(f"/api/v1/projects/{new_id()}").status_code == 404


def test_a_site_admin_makes_a_project_and_others_do_not(site):
    body = {
        "name": "sonnets",
        "settings": {"overlap": 3},
        "rubric": {"preset": "arena", "dimensions": [{"name": "metre", "scale": "absolute"}]},
    }
    made = site.as_("site").post("/api/v1/projects", json=body)
    assert made.status_code == 201
    project = site.store.project(made.json()["id"])
    assert (project.settings.overlap, project.rubric.preset) == (3, "arena")
    assert project.rubric.dimensions == (Dimension(name="metre", scale="absolute"),)
    again = site.as_("site").post("/api/v1/projects", json=body)
    assert (again.status_code, "already" in again.json()["message"]) == (422, True)
    assert site.as_("admin").post("/api/v1/projects", json=body).status_code == 404


def test_two_admins_do_not_overwrite_each_other(site):
    seen = site.as_("admin").get(site.path()).headers["etag"]
    first = site.as_("admin").patch(
        site.path(), json={"settings": {"overlap": 4}}, headers={"If-Match": seen}
    )
    assert (first.status_code, first.json()["settings"]["overlap"]) == (200, 4)
    second = site.as_("site").patch(
        site.path(), json={"settings": {"overlap": 5}}, headers={"If-Match": seen}
    )
    assert (second.status_code, second.json()["code"]) == (412, "changed")
    assert site.store.project(site.project).settings.overlap == 4
    third = site.as_("site").patch(
        site.path(), json={"is_paused": True, "rubric": {"question": "Which scans?"}},
        headers={"If-Match": f'"other", {first.headers["etag"]}'},
    )  # fmt: skip
    assert third.json()["is_paused"] is True
    assert (third.json()["rubric"]["question"], third.json()["rubric_version"]) == (
        "Which scans?", 2,
    )  # fmt: skip
    # what was not named stays
    assert third.json()["rubric"]["preset"] == "binary"
    assert third.json()["settings"]["overlap"] == 4


def test_existing_comparisons_take_the_overlap_where_that_is_asked(site):
    def wanted() -> set[int]:
        rows = site.as_("admin").get(site.path("comparisons")).json()["items"]
        return {row["overlap"] for row in rows if row["purpose"] == "work"}

    before, any_state = wanted(), {"If-Match": "*"}
    body = {"settings": {"overlap": 5}}
    assert site.as_("admin").patch(site.path(), json=body, headers=any_state).status_code == 200
    assert wanted() == before != {5}
    body["change_existing"] = True
    assert site.as_("admin").patch(site.path(), json=body, headers=any_state).status_code == 200
    assert wanted() == {5}


def test_a_change_between_reading_and_writing_is_noticed(site, monkeypatch):
    """Even under If-Match: * what is merged must be merged into the state that is there."""
    original = PreferenceStore.change_project

    def meanwhile(store, project_id, **values):
        monkeypatch.undo()
        original(store, project_id, settings=ProjectSettings(overlap=9))
        original(store, project_id, **values)

    monkeypatch.setattr(PreferenceStore, "change_project", meanwhile)
    answer = site.as_("admin").patch(
        site.path(), json={"settings": {"prefetch": 2}}, headers={"If-Match": "*"}
    )
    assert answer.status_code == 412
    assert site.store.project(site.project).settings.overlap == 9


def test_settings_need_if_match_and_right_values(site):
    admin = site.as_("admin")
    assert admin.patch(site.path(), json={"is_paused": True}).status_code == 428
    for body in (
        {"settings": {"overlap": 0}},
        {"settings": {"overlap": None}},
        {"settings": {"overlaps": 1}},
        {"rubric": {"preset": "none such"}},
        {"rubric": {"acceptability": None}},
        {"rubric": {"dimensions": [{"name": "a"}, {"name": "a"}]}},
        {"rubric": {"question": "\x00"}},
        {"pause": True},
    ):
        answer = admin.patch(site.path(), json=body, headers={"If-Match": "*"})
        assert answer.status_code == 422, body
        assert set(answer.json()) == {"code", "message"}
    assert site.store.project(site.project).settings == ProjectSettings(overlap=2)


def test_the_fields_that_can_be_changed_are_those_there_are():
    for model, record in (
        (bodies.SettingsChange, ProjectSettings),
        (bodies.RubricChange, Rubric),
        (bodies.DimensionIn, Dimension),
    ):
        assert set(model.model_fields) == {f.name for f in dataclasses.fields(record)}
    fields = {f.name for f in dataclasses.fields(NewComparison)}
    assert set(bodies.ComparisonIn.model_fields) == fields


# --- people ---------------------------------------------------------------------------------------


def test_an_admin_gives_roles_and_takes_them(site):
    admin = site.as_("admin")
    added = admin.post(site.path("members"), json={"name": "Outsider", "role": "reviewer"})
    assert (added.status_code, added.json()["role"]) == (200, "reviewer")
    outsider = site.people["outsider"]
    changed = admin.put(
        site.path("members", outsider), json={"role": "annotator", "state": "blocked"}
    )
    assert (changed.json()["role"], changed.json()["state"]) == ("annotator", "blocked")
    names = [m["name"] for m in admin.get(site.path("members")).json()["items"]]
    assert names == ["ada", "admin", "bob", "outsider", "reviewer"]
    assert admin.delete(site.path("members", outsider)).status_code == 204
    assert admin.delete(site.path("members", outsider)).status_code == 404
    assert admin.put(site.path("members", new_id()), json={"role": "admin"}).status_code == 404
    assert admin.post(site.path("members"), json={"name": "nobody"}).status_code == 404
    assert site.as_("reviewer").get(site.path("members")).status_code == 404


def test_tokens_are_made_by_sessions_alone_and_taken_back(site):
    ada = site.as_("ada")
    refused = ada.post("/api/v1/tokens", json={"name": "second"})
    assert (refused.status_code, refused.json()["code"]) == (403, "session-only")
    secret, csrf = site.store.write(people.open_session, site.people["ada"])
    by_page = {"Cookie": f"assay_session={secret}"}
    anon = site.as_(None)
    no_csrf = anon.post("/api/v1/tokens", json={"name": "second"}, headers=by_page)
    assert (no_csrf.status_code, no_csrf.json()["code"]) == (403, "csrf")
    made = anon.post(
        "/api/v1/tokens", json={"name": "second", "days": 1},
        headers=by_page | {"X-CSRF-Token": csrf},
    )  # fmt: skip
    assert made.status_code == 201
    mine = {"Authorization": f"Bearer {made.json()['secret']}"}
    assert anon.get("/api/v1/me", headers=mine).json()["name"] == "ada"
    listed = ada.get("/api/v1/tokens").json()["items"]
    assert [token["name"] for token in listed] == ["of ada", "second"]
    assert made.json()["secret"] not in json.dumps(listed)
    assert site.as_("bob").delete(f"/api/v1/tokens/{made.json()['id']}").status_code == 404
    assert ada.delete(f"/api/v1/tokens/{made.json()['id']}").status_code == 204
    assert anon.get("/api/v1/me", headers=mine).status_code == 401


# --- comparisons ----------------------------------------------------------------------------------

FULL = {
    "prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
    "responses": [
        "Because.",
        {"messages": "It rains.", "model": "m1", "provenance": {"run": 7}},
        {"messages": [{"role": "assistant", "content": "", "tool_calls": [{"id": "1"}]},
                      {"role": "tool", "content": "wet", "tool_call_id": "1"}]},
    ],
    "kind": "ranking",
    "overlap": 3,
    "place": -1.5,
    "language": "en-GB",
    "extra": {"id": "row 1", "weights": [0.5, None, {"a": True}]},
    "tools": [{"type": "function"}],
    "judgments": [
        {"annotator": " Ada L. ", "answer": {"groups": [[2], [0, 1]], "unranked": [],
                                             "rationale": "dry"}, "shown": [2, 1, 0]},
        {"answer": {"groups": [[0], [1]], "unranked": [2]}, "source": "model"},
    ],
}  # fmt: skip


def _add(site, *comparisons, who="admin", **more):
    body = {"comparisons": list(comparisons), **more}
    return site.as_(who).post(site.path("comparisons"), json=body)


def test_a_comparison_goes_in_and_comes_out_whole(site):
    added = _add(site, FULL, source="by hand")
    assert added.status_code == 201
    assert {k: added.json()[k] for k in ("comparisons", "responses", "judgments")} == {
        "comparisons": 1, "responses": 3, "judgments": 2,
    }  # fmt: skip
    row = _items(site, "reviewer", site.path("comparisons"), import_id=added.json()["id"])[0]
    found = site.as_("admin").get(site.path("comparisons", row["id"])).json()
    assert found["prompt"] == FULL["prompt"]
    assert (found["extra"], found["tools"], found["overlap"]) == (FULL["extra"], FULL["tools"], 3)
    ids = [r["id"] for r in found["responses"]]
    assert found["responses"][1]["model"] == "m1"
    assert found["responses"][1]["provenance"] == {"run": 7}
    assert found["responses"][2]["messages"] == FULL["responses"][2]["messages"]
    judged = {j["annotator"]: j for j in found["judgments"]}
    assert judged["Ada L."]["answer"]["groups"] == [[ids[2]], [ids[0], ids[1]]]
    assert judged["Ada L."]["shown"] == ids[::-1]
    assert judged["imported 2"]["answer"]["unranked"] == [ids[2]]
    assert judged["imported 2"]["source"] == "model"


def test_reviewers_see_neither_models_nor_names(site):
    site.judge("ada")
    first = site.ids()[0]
    for who, sees in (("reviewer", False), ("admin", True)):
        text = site.as_(who).get(site.path("comparisons", first)).text
        assert ("canary-model" in text) is sees
        assert ('"annotator":"ada"' in text) is sees
        stream = site.as_(who).get(site.path("judgments")).text
        assert (json.loads(stream)["annotator"] == "ada") is sees
    site.store.change_project(site.project, settings=ProjectSettings(show_names=True))
    assert json.loads(site.as_("reviewer").get(site.path("judgments")).text)["annotator"] == "ada"
    for name in ("comparisons", f"comparisons/{first}", "judgments", "progress", "agreement",
                 "events", "export"):  # fmt: skip
        path = site.path(name)
        assert site.as_("ada").get(path).status_code == 404


def test_all_of_a_request_or_none_of_it(site):
    same = {"prompt": "q", "responses": ["a", "a"]}
    answer = _add(site, {"prompt": "q", "responses": ["a", "b"]}, same)
    assert (answer.status_code, answer.json()["code"]) == (422, "refused")
    assert "comparison" in answer.json()["message"]
    assert len(site.ids()) == 5


PAIR = {"prompt": "q", "responses": ["a", "b"]}
STEPS = {
    "prompt": "1+1+1",
    "kind": "steps",
    "responses": [{"messages": "2, 3", "steps": [{"text": "2"}, {"text": "3"}]}],
}


def test_what_is_no_comparison_is_refused_with_a_sentence(site):
    for wrong in (
        {**PAIR, "responses": []},
        {**PAIR, "responses": ["a"]},
        {**PAIR, "responses": ["a", "b\x00"]},
        {**PAIR, "unknown": 1},
        {**PAIR, "kind": "steps"},
        {**PAIR, "purpose": "gold"},
        {**PAIR, "purpose": "gold", "expected": {"choice": 2}},
        {**PAIR, "purpose": "gold", "expected": {"acceptability": {"x": "ok"}}},
        {**PAIR, "purpose": "gold", "expected": {"acceptability": {"7": "ok"}}},
        {**PAIR, "purpose": "gold", "expected": {"first_error": 0}},
        {**PAIR, "judgments": [{"answer": {"choice": 5}}]},
        {**PAIR, "judgments": [{"answer": {"choice": 0, "strength": 2}}]},
        {**PAIR, "judgments": [{"answer": {"choice": 0}, "shown": [0, 0]}]},
        {
            **PAIR,
            "judgments": [
                {"answer": {"choice": 0}, "annotator": "A"},
                {"answer": {"choice": 1}, "annotator": "a "},
            ],
        },
        {**PAIR, "judgments": [{"answer": {"groups": [[0], [0]]}}]},
        {**PAIR, "judgments": [{"answer": {"dimensions": {"d": {"ratings": {"2": 1}}}}}]},
        {**STEPS, "judgments": [{"answer": {"labels": [1]}}]},
        {**PAIR, "responses": ["a", {"messages": "b", "author_id": new_id()}]},
        {**PAIR, "place": 1e308},
        {**PAIR, "language": "not a language"},
        {**PAIR, "prompt": []},
        {**PAIR, "extra": {"a": {"b": [[[[[[[[[[[1]]]]]]]]]]]}}},
    ):
        answer = _add(site, wrong)
        assert answer.status_code == 422, (wrong, answer.text)
        assert answer.json()["message"].strip()
    assert len(site.ids()) == 5


def test_texts_and_numbers_that_no_database_stores_are_refused(site):
    body = json.dumps({"comparisons": [{**PAIR, "extra": {"x": "VALUE"}}]})
    for value in ('"\\u0000"', '"\\ud800"', "NaN", "1e999", "1" + "0" * 400):
        answer = site.as_("admin").post(
            site.path("comparisons"), content=body.replace('"VALUE"', value),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code in (400, 422), value
    for value in ("[" * 100_000, "{", "\xff"):
        answer = site.as_("admin").post(
            site.path("comparisons"), content=value.encode("latin-1"),
            headers={"Content-Type": "application/json"},
        )  # fmt: skip
        assert answer.status_code in (400, 422), value[:5]
    assert len(site.ids()) == 5


def test_the_same_key_adds_once(site):
    key = new_id()
    first = _add(site, PAIR, key=key)
    again = _add(site, PAIR, key=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == first.json() | {"is_repeat": True}
    assert len(site.ids()) == 6
    other = _add(site, PAIR, STEPS, key=key)
    assert (other.status_code, other.json()["code"]) == (409, "key-reused")
    elsewhere = site.as_("outsider").post(
        f"/api/v1/projects/{site.other}/comparisons", json={"comparisons": [PAIR], "key": key}
    )
    assert elsewhere.status_code == 422
    assert len(site.ids()) == 6
    assert len(site.ids(site.other)) == 2


def test_a_request_beside_an_import_is_told_to_come_again(site):
    from sqlalchemy import update

    from assay.store import tables as t

    _add(site, PAIR)
    site.store.write(lambda c: c.execute(update(t.imports).values(state="staging")))
    answer = _add(site, PAIR)
    assert (answer.status_code, answer.json()["code"]) == (409, "import-busy")


def test_names_of_annotators_outside_ascii_come_twice(site):
    said = {**PAIR, "judgments": [{"annotator": "Ärzte", "answer": {"choice": 0}}]}
    assert _add(site, said).status_code == 201
    assert _add(site, {**said, "prompt": "r"}).status_code == 201


def test_lists_filter_and_go_on_by_number(site):
    _add(site, {**PAIR, "language": "de"},
         {**PAIR, "purpose": "gold", "expected": {"choice": None}, "prompt": "x"},
         STEPS)  # fmt: skip
    path = site.path("comparisons")
    assert [c["number"] for c in _items(site, "reviewer", path, limit=3)] == list(range(1, 9))
    assert [c["number"] for c in _items(site, "reviewer", path, kind="steps")] == [8]
    assert [c["number"] for c in _items(site, "reviewer", path, purpose="gold")] == [7]
    assert [c["number"] for c in _items(site, "reviewer", path, language="de")] == [6]
    site.judge("ada")
    site.judge("bob")
    site.as_("admin").post(site.path("comparisons", site.ids()[1], "withdraw"))
    done = _items(site, "reviewer", path, state="done", purpose="work")
    assert [c["filled"] for c in done] == [2]
    assert [c["number"] for c in _items(site, "reviewer", path, state="withdrawn")] == [2]
    opened = _items(site, "reviewer", path, state="open")
    assert {1, 2}.isdisjoint(c["number"] for c in opened)
    assert site.as_("reviewer").get(path, params={"limit": 501}).status_code == 422


def test_a_comparison_is_changed_in_part_and_a_repeat_leaves_it(site):
    admin, (first, second, *_) = site.as_("admin"), site.ids()
    path = site.path("comparisons", first)
    before = site.as_("reviewer").get(path).json()
    assert (before["overlap"], before["place"]) == (2, 1.0)
    for _ in range(2):
        said = admin.patch(path, json={"overlap": 3, "place": 77.5})
        assert said.status_code == 200
        kept = {k: v for k, v in before.items() if k in said.json()}
        assert said.json() == {**kept, "overlap": 3, "place": 77.5}
    assert site.judge("ada")["comparison_id"] == second  # whose turn comes sooner now
    assert admin.patch(path, json={"is_withdrawn": True}).json()["is_withdrawn"]
    assert admin.patch(path, json={}).json()["is_withdrawn"]
    again = admin.patch(path, json={"is_withdrawn": False, "overlap": 1}).json()
    assert (again["is_withdrawn"], again["overlap"], again["place"]) == (False, 1, 77.5)
    assert site.store.problems() == []


def test_a_change_that_is_refused_changes_nothing(site):
    admin, first = site.as_("admin"), site.ids()[0]
    path = site.path("comparisons", first)
    site.judge("ada")
    site.judge("bob")
    before = admin.get(path).json()
    assert before["filled"] == 2
    said = admin.patch(path, json={"overlap": 1, "place": 9, "is_withdrawn": True})
    assert (said.status_code, said.json()["code"]) == (422, "refused")
    assert "has 2 judgments" in said.json()["message"]
    for body in ({"overlap": 0}, {"overlap": 101}, {"place": 1e13}, {"place": "soon"},
                 {"is_withdrawn": "perhaps"}, {"filled": 0}):  # fmt: skip
        assert admin.patch(path, json=body).status_code == 422
    assert admin.get(path).json() == before
    _add(site, {**PAIR, "purpose": "gold", "expected": {"choice": None}, "prompt": "x"})
    gold = site.path("comparisons", site.ids()[-1])
    said = admin.patch(gold, json={"overlap": 3})
    assert (said.status_code, "it has no overlap" in said.json()["message"]) == (422, True)


def test_what_is_of_another_project_is_not_found(site):
    theirs = site.ids(site.other)[0]
    admin = site.as_("admin")
    assert admin.get(site.path("comparisons", theirs)).status_code == 404
    assert admin.post(site.path("comparisons", theirs, "withdraw")).status_code == 404
    for body in ({}, {"overlap": 3}, {"place": 1}, {"is_withdrawn": False}):
        assert admin.patch(site.path("comparisons", theirs), json=body).status_code == 404
    hook = site.as_("outsider").post(
        f"/api/v1/projects/{site.other}/webhooks", json={"url": "https://example.org"}
    )
    assert admin.delete(site.path("webhooks", hook.json()["id"])).status_code == 404
    assert admin.get(site.path("webhooks", hook.json()["id"], "deliveries")).status_code == 404
    assert len(site.ids(site.other)) == 2


# --- judgments, figures, the record ---------------------------------------------------------------


def test_judgments_stream_by_time_and_from_a_time(site, monkeypatch):
    monkeypatch.setattr(api, "STREAM_ROWS", 2)
    made = [site.judge(who)["id"] for who in ("ada", "bob", "ada", "bob", "ada")]
    rows = _lines(site.as_("reviewer").get(site.path("judgments")))
    assert [r["id"] for r in rows] == made
    assert rows[0]["answer"]["raw"] == "first-better"
    later = _lines(
        site.as_("reviewer").get(
            site.path("judgments"), params={"since": rows[2]["submitted"], "after": rows[2]["id"]}
        )
    )
    assert [r["id"] for r in later] == made[3:]


def test_judgments_that_were_withdrawn_come_where_they_are_asked_for(site):
    from assay.store import undoing

    made = site.judge("ada")["id"]
    site.store.write(undoing.undo, site.people["ada"], made)
    assert site.as_("reviewer").get(site.path("judgments")).text == ""
    asked = site.as_("reviewer").get(site.path("judgments"), params={"withdrawn": True})
    assert [r["id"] for r in _lines(asked)] == [made]


def _lines(answer):
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


def test_progress_counts_what_counts(site):
    site.judge("ada")
    site.judge("bob")
    site.as_("admin").post(site.path("comparisons", site.ids()[4], "withdraw"))
    assert site.as_("reviewer").get(site.path("progress")).json() == {
        "comparisons": 4, "done": 1, "wanted": 8, "judgments": 2, "surplus": 0, "withdrawn": 1,
    }  # fmt: skip


def test_agreement_is_that_of_the_pages(site):
    from assay.collect.figures import figures_of

    empty = site.as_("reviewer").get(site.path("agreement")).json()
    assert all(q["coefficient"]["undefined"] for q in empty["questions"])
    for who in ("ada", "bob"):
        for raw in ("first-better", "second-better", "first-better"):
            site.judge(who, raw)
    said, until = empty, time.monotonic() + 60
    while not said["questions"] and time.monotonic() < until:  # they are computed beside
        said = site.as_("reviewer").get(site.path("agreement")).json()
        time.sleep(0.1)
    found = figures_of(site.store).of(site.store, site.project)
    assert [q["name"] for q in said["questions"]] == [q.name for q in found.questions]
    chosen = next(q for q in said["questions"] if q["name"] == "chosen")
    assert (chosen["items"], chosen["judgments"]) == (3, 6)
    wanted = next(q for q in found.questions if q.name == "chosen").coefficient
    assert chosen["coefficient"]["value"] == wanted.value
    assert site.as_("ada").get(site.path("agreement")).status_code == 404


def test_events_go_on_by_number_and_the_site_has_all(site):
    mine = _items(site, "admin", site.path("events"), limit=3)
    assert [e["action"] for e in mine[:1]] == ["project.created"]
    assert [e["seq"] for e in mine] == sorted({e["seq"] for e in mine})
    assert {e["project_id"] for e in mine} == {site.project}
    every = _items(site, "site", "/api/v1/events", limit=3)
    assert [e["seq"] for e in every] == list(range(1, len(every) + 1))
    assert site.as_("admin").get("/api/v1/events").status_code == 404


def test_webhooks_are_listed_without_their_secrets(site):
    admin = site.as_("admin")
    made = admin.post(
        site.path("webhooks"),
        json={"url": "https://example.org/in?x=1", "actions": ["comparisons.imported"]},
    )
    assert made.status_code == 201
    assert made.json()["secret"].startswith("whsec_")
    _add(site, PAIR)
    listed = admin.get(site.path("webhooks"))
    assert made.json()["secret"] not in listed.text
    hook = listed.json()["items"][0]
    assert (hook["url"], hook["waiting"]) == ("https://example.org/in?x=1", 1)
    path = site.path("webhooks", made.json()["id"])
    said = admin.get(f"{path}/deliveries").json()["items"]
    assert [(d["attempts"], d["status"]) for d in said] == [(0, "")]
    assert admin.delete(path).status_code == 204
    assert admin.get(site.path("webhooks")).json() == {"items": []}
    for url in ("http://127.0.0.1/", "file:///etc/passwd", "https://user@example.org/"):
        assert admin.post(site.path("webhooks"), json={"url": url}).status_code == 422
