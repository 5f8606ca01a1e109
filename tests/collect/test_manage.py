"""The pages of those who run a project: what they show, what they change, what they refuse."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from managed import MODEL, PASSWORD, Managed, managed_site

import assay.collect
from assay.collect import forms, locale
from assay.collect.routes.manage_data import said
from assay.store import comparisons, desk, holding, people
from assay.store.records import Dimension, NewComparison, NewResponse, ProjectSettings, Rubric
from assay.types import as_messages

pytestmark = pytest.mark.medium


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Managed]:
    made = managed_site(str(tmp_path / "prefs.db"))
    yield made
    made.store.close()


def alert(answer: Any) -> str:
    """What a page says is wrong."""
    found = re.search(r'role="alert">([^<]*)<', answer.text)
    assert found, answer.text[:2000]
    return found[1]


# --- projects -------------------------------------------------------------------------------------


NEW = {"name": "Tea", "kind": "ranking", "preset": "arena", "rationale": "required", "overlap": "3",
       "dimension": ["safety", "helpfulness"], "scale": "absolute"}  # fmt: skip


def test_a_project_is_made_as_it_was_asked_for(site):
    assert site.as_("site").get("/projects/new").status_code == 200
    sent = site.post("site", "/projects/new", NEW)
    assert sent.status_code == 303
    made = site.store.project_named("Tea")
    assert sent.headers["location"] == f"/projects/{made.id}/data?done=project"
    assert made.settings.overlap == 3
    assert (made.rubric.preset, made.rubric.rationale) == ("arena", "required")
    assert not made.rubric.acceptability
    assert [(d.name, d.scale) for d in made.rubric.dimensions] == [
        ("safety", "absolute"), ("helpfulness", "absolute"),
    ]  # fmt: skip
    assert "best first" in made.rubric.question
    assert site.store.read(people.role_of, made.id, site.people["site"]) == "admin"
    assert "Import comparisons next" in site.as_("site").get(sent.headers["location"]).text


@pytest.mark.parametrize(("wrong", "words"), [
    ({"name": "haiku"}, "already"), ({"name": " "}, "1 to 80"), ({"overlap": "0"}, "overlap"),
    ({"overlap": "two"}, "overlap"), ({"preset": "none"}, "preset"), ({"kind": "x"}, "kind"),
    ({"scale": "x"}, "scale"), ({"rationale": "x"}, "rationale"),
    ({"question": "?" * 600}, "question"),
])  # fmt: skip
def test_a_project_that_cannot_be_made_keeps_what_was_typed(site, wrong, words):
    before = len(site.store.projects())
    sent = site.post("site", "/projects/new", {**NEW, **wrong})
    assert sent.status_code == 422
    assert any(words in e for e in re.findall(r'class="error"[^>]*>([^<]*)<', sent.text))
    assert 'value="helpfulness" checked' in sent.text
    assert len(site.store.projects()) == before


def settings_fields(settings: ProjectSettings) -> dict[str, str]:
    return {i.name: i.value for i in forms.settings_inputs(settings) if i.value}


def test_every_setting_goes_through_the_form_and_back():
    settings = ProjectSettings(
        overlap=3, lease_minutes=0.5, prefetch=2, most_per_annotator=100, gold_every=10,
        attention_every=20, screening_share=0.8, gold_share=0.6, shuffle=False, allow_skip=False,
        word_diff=True, show_counts=True, pause_after_minutes=None, show_names=True,
    )  # fmt: skip
    for one in (settings, ProjectSettings()):
        found, inputs = forms.settings_from(settings_fields(one))
        assert found == one
        assert not any(i.error for i in inputs)
    kinds = {i.name: (i.kind, i.optional) for i in forms.settings_inputs(settings)}
    assert kinds["lease_minutes"] == ("number", False)
    assert kinds["gold_share"] == ("number", True)
    assert kinds["overlap"] == ("whole", False)
    assert kinds["gold_every"] == ("whole", True)
    assert kinds["shuffle"] == ("flag", False)


def test_settings_are_saved_or_said_to_be_wrong_beside_the_field(site):
    fields = settings_fields(ProjectSettings(overlap=4, gold_every=7))
    assert site.post("admin", site.at("/settings"), fields).status_code == 303
    assert site.store.project(site.project).settings.gold_every == 7
    wrong = {**fields, "overlap": "many", "gold_share": "1.5", "lease_minutes": "nan"}
    sent = site.post("admin", site.at("/settings"), wrong)
    assert sent.status_code == 422
    for name, typed in (("overlap", "many"), ("gold_share", "1.5"), ("lease_minutes", "nan")):
        assert f'name="{name}" value="{typed}"' in sent.text
        assert f'id="e-{name}"' in sent.text
    assert 'id="e-gold_every"' not in sent.text
    assert site.store.project(site.project).settings.overlap == 4


def test_a_new_overlap_is_for_existing_comparisons_where_that_is_asked(site):
    def wanted() -> set[int]:
        page = site.store.read(comparisons.listed, site.project, comparisons.Filter(purpose="work"))
        return {line.overlap for line in page.rows}

    fields = settings_fields(ProjectSettings(overlap=4))
    site.post("admin", site.at("/settings"), fields)
    assert wanted() == {2}
    sent = site.post("admin", site.at("/settings"), {**fields, "overlap": "x", "existing": "on"})
    assert 'name="existing" value="on" checked' in sent.text
    assert wanted() == {2}
    sent = site.post("admin", site.at("/settings"), {**fields, "existing": "on"})
    assert sent.status_code == 303
    assert wanted() == {4}
    page = site.as_("admin").get(sent.headers["location"]).text
    assert "the comparisons that are there want as many" in page
    assert 'name="existing" value="on" checked' not in page
    assert site.store.problems() == []


RUBRIC = {"question": "Which?", "instructions": "Read *both*.", "preset": "binary",
          "rationale": "off", "reasons": "wrong\r\n\r\nrude\r\n", "step_mode": "first-error",
          "ranking_ties": "on", "dimension-0-name": "tone", "dimension-0-question": "How kind?",
          "dimension-0-scale": "absolute", "dimension-0-points": "3",
          "dimension-0-anchors": "1: rude\r\n3: kind", "dimension-3-name": "safety"}  # fmt: skip


def test_a_rubric_goes_through_the_form_and_a_change_is_a_new_version(site):
    before = site.store.project(site.project).rubric_version
    sent = site.post("admin", site.at("/rubric"), RUBRIC)
    assert sent.headers["location"].endswith("?done=rubric#rubric")
    now = site.store.project(site.project)
    assert now.rubric_version == before + 1
    assert now.rubric == Rubric(
        question="Which?", instructions="Read *both*.", preset="binary", acceptability=False,
        rationale="off", reasons=("wrong", "rude"), step_mode="first-error",
        dimensions=(
            Dimension(name="tone", question="How kind?", scale="absolute", points=3,
                      anchors={"1": "rude", "3": "kind"}, required=False),
            Dimension(name="safety", required=False),
        ),
    )  # fmt: skip
    again = site.post("admin", site.at("/rubric"), RUBRIC)
    assert "same-rubric" in again.headers["location"]
    assert site.store.project(site.project).rubric_version == before + 1
    page = site.as_("admin").get(site.at("/settings?done=rubric")).text
    assert "A new version of the rubric is in use" in page
    assert f"Version {before + 1}." in page
    typed = forms.rubric_form(now.rubric)
    assert typed.dimensions[0].anchors == "1: rude\n3: kind"
    preview = site.as_("reviewer").get(site.at("/rubric")).text
    assert all(words in preview for words in ("Which?", "Read *both*.", "tone", "1: rude", "rude"))


@pytest.mark.parametrize(("wrong", "words"), [
    ({"dimension-0-anchors": "rude"}, "a colon"), ({"dimension-0-anchors": "9: x"}, "anchor"),
    ({"dimension-0-points": "x"}, "2 to 10"), ({"dimension-0-points": "40"}, "Points"),
    ({"dimension-0-name": "", "dimension-0-question": "?"}, "name of a dimension"),
    ({"dimension-3-name": "tone"}, "named apart"), ({"question": ""}, "question"),
    ({"preset": "x"}, "preset"), ({"reasons": "x" * 100}, "reason"),
    ({"dimension-0-scale": "x"}, "scale"), ({"step_mode": "x"}, "step_mode"),
])  # fmt: skip
def test_a_rubric_that_cannot_be_is_not_saved_and_kept_as_typed(site, wrong, words):
    before = site.store.project(site.project).rubric_version
    sent = site.post("admin", site.at("/rubric"), {**RUBRIC, **wrong})
    assert sent.status_code == 422
    assert any(words in e for e in re.findall(r'class="error"[^>]*>([^<]*)<', sent.text)), words
    assert "Read *both*." in sent.text
    assert site.store.project(site.project).rubric_version == before


def test_room_for_more_dimensions_saves_nothing(site):
    before = site.store.project(site.project).rubric_version
    sent = site.post("admin", site.at("/rubric"), {**RUBRIC, "more": "1"})
    assert sent.status_code == 200
    assert sent.text.count('class="dimension"') == 2 + 4
    assert site.store.project(site.project).rubric_version == before


def test_a_paused_project_gives_nothing_out(site):
    site.post("admin", site.at("/pause"), {"paused": "on"})
    assert site.store.project(site.project).is_paused
    with pytest.raises(desk.AccessError):
        site.store.claim(site.project, site.people["annotator"])
    assert "The project is paused" in site.as_("admin").get(site.at("/settings?done=paused")).text
    site.post("admin", site.at("/pause"), {"paused": ""})
    assert site.store.claim(site.project, site.people["annotator"]) is not None
    assert site.as_("admin").get(site.at("/settings?done=<b>")).text.count("<b>") == 0


# --- people ---------------------------------------------------------------------------------------


def link_in(answer: Any) -> str:
    found = re.search(r"<code>http://127.0.0.1(/invite/[^<]+)</code>", answer.text)
    assert found, answer.text[:2000]
    return found[1]


def test_a_member_comes_in_by_a_link_that_works_once(site):
    sent = site.post("admin", site.at("/members"), {"name": "Ana", "role": "reviewer"})
    link = link_in(sent)
    browser = site.browser()
    for _ in range(2):  # to look does not use it up
        assert "Ana" in browser.get(link).text
    assert alert(browser.post(link, data={"password": "short"})).startswith("A password has")
    done = browser.post(link, data={"password": PASSWORD})
    assert done.status_code == 303
    assert "haiku" in browser.get("/").text
    assert site.browser().get(link).status_code == 404
    assert site.browser().post(link, data={"password": "another one here"}).status_code == 404
    ana = site.store.read(people.credentials, "ana")
    assert ana is not None
    assert site.store.read(people.role_of, site.project, ana[0].id) == "reviewer"


def test_a_member_may_get_a_first_password_or_be_known_already(site):
    fields = {"name": "Ben", "role": "annotator", "password": PASSWORD}
    assert site.post("admin", site.at("/members"), fields).status_code == 303
    assert site.browser().post("/login", data=fields).status_code == 303
    known = site.post("admin", site.at("/members"), {"name": "STRANGER person"})
    assert known.status_code == 303
    stranger = site.people["stranger"]
    assert site.store.read(people.role_of, site.project, stranger) == "annotator"
    for name, fields, words in (
        ("stranger person", {}, "is a member already"), ("", {}, "1 to 80"),
        ("Cid", {"role": "king"}, "A role must be"), ("Cid", {"password": "short"}, "A password"),
    ):  # fmt: skip
        sent = site.post("admin", site.at("/members"), {"name": name, **fields})
        assert (sent.status_code, words in alert(sent)) == (422, True)
    site.store.write(people.add_annotator, "gone", is_active=False)
    assert "not active" in alert(site.post("admin", site.at("/members"), {"name": "gone"}))


def test_members_are_changed_blocked_and_removed(site):
    who = site.people["annotator"]
    at = site.at(f"/members/{who}")
    assert site.post("admin", f"{at}/role", {"role": "reviewer"}).status_code == 303
    assert site.store.read(people.role_of, site.project, who) == "reviewer"
    assert site.post("admin", f"{at}/role", {"role": "king"}).status_code == 422
    assert site.post("admin", f"{at}/state", {"state": "blocked"}).status_code == 303
    assert "Let go on" in site.as_("admin").get(site.at("/members?done=blocked")).text
    with pytest.raises(desk.AccessError):
        site.store.claim(site.project, who)
    assert site.post("admin", f"{at}/state", {"state": "dead"}).status_code == 422
    assert site.post("admin", f"{at}/state", {"state": "active"}).status_code == 303
    assert site.post("admin", f"{at}/remove").status_code == 303
    assert site.store.read(people.role_of, site.project, who) is None


def test_a_projects_admin_makes_no_link_to_an_account_in_use(site):
    """Whoever holds a link becomes the account's owner."""
    site.store.write(people.set_role, site.project, site.people["stranger"], "annotator")
    for role in ("annotator", "stranger"):
        at = site.at(f"/members/{site.people[role]}/invite")
        assert site.post("admin", at).status_code == 409
    new = site.store.write(people.add_annotator, "new one")
    site.store.write(people.set_role, site.project, new, "annotator")
    first = link_in(site.post("admin", site.at(f"/members/{new}/invite")))
    second = link_in(site.post("admin", site.at(f"/members/{new}/invite")))
    assert site.browser().get(first).status_code == 404  # a new link voids the one before
    assert site.browser().get(second).status_code == 200
    site.store.write(people.set_role, site.other, new, "annotator")
    assert site.post("admin", site.at(f"/members/{new}/invite")).status_code == 409
    site.store.write(people.set_role, site.other, new, None)
    site.store.write(people.change_annotator, new, {"subject": "https://id.example|7"})
    assert site.post("admin", site.at(f"/members/{new}/invite")).status_code == 409
    assert link_in(site.post("site", site.at(f"/members/{new}/invite")))


def test_people_are_added_reset_and_put_out(site):
    page = site.as_("site").get("/people")
    assert all(f"{role} person" in page.text for role in ("annotator", "site"))
    assert site.post("site", "/people", {"name": "Dora", "password": PASSWORD}).status_code == 303
    assert "1 to 80" in alert(site.post("site", "/people", {"name": ""}))
    assert link_in(site.post("site", "/people", {"name": "Eve"}))
    who = site.people["second"]
    link = link_in(site.post("site", f"/people/{who}/reset"))
    browser = site.browser()
    assert browser.post(link, data={"password": "a new password"}).status_code == 303
    assert site.as_("second").get("/profile").status_code == 303  # sessions of before are over
    site.post("site", f"/people/{who}/active", {"active": ""})
    assert browser.get("/profile").status_code == 303
    assert site.post("site", f"/people/{who}/reset").status_code == 409
    site.post("site", f"/people/{who}/active", {"active": "on"})
    site.post("site", f"/people/{who}/admin", {"admin": "on"})
    person = site.store.read(people.annotator, who)
    assert person is not None
    assert (person.is_active, person.is_site_admin) == (True, True)
    site.post("site", f"/people/{who}/admin", {"admin": ""})
    last = site.post("site", f"/people/{site.people['site']}/admin", {"admin": ""})
    assert last.status_code == 409
    for path in ("active", "admin", "reset"):
        assert site.post("site", f"/people/{site.project}/{path}").status_code == 404
    found = site.as_("site").get("/people?like=STRANG").text
    assert "stranger person" in found
    assert "second person" not in found.split("<main", 1)[1]
    assert "Nobody of that name" in site.as_("site").get("/people?like=%25").text


def test_long_lists_go_on_from_a_name(site):
    for i in range(60):
        identity = site.store.write(people.add_annotator, f"Person {i:02} Ä")
        site.store.write(people.set_role, site.project, identity, "annotator")
    for path in ("/people", site.at("/members")):
        first = site.as_("site").get(path).text
        more = re.search(r'href="([^"]*after=[^"]+)"', first)
        assert more
        second = site.as_("site").get(more[1].replace("&amp;", "&")).text
        names = re.findall(r"Person \d\d Ä</strong>", first + second)
        assert len(names) == len(set(names)) == 60


# --- data -----------------------------------------------------------------------------------------


ROWS = b"".join(
    json.dumps({"prompt": f"Tea {i}?", "chosen": "Yes.", "rejected": "No."}).encode() + b"\n"
    for i in range(3)
)


def upload(site: Managed, name: str, body: bytes, **fields: str) -> Any:
    return site.post("admin", site.at("/data/import"), fields, files={"file": (name, body)})


def test_a_file_comes_in_whole_or_not_at_all(site):
    before = len(site.comparisons())
    sent = upload(site, "tea.jsonl", ROWS)
    assert sent.status_code == 200
    assert "3 comparisons came in, with 6 responses" in sent.text
    assert "tea.jsonl" in sent.text
    assert len(site.comparisons()) == before + 3
    for name, body, fields, words in (
        ("tea.exe", ROWS, {}, "ends in"), ("tea.jsonl", b"", {}, "empty"),
        ("tea.jsonl", ROWS + b"{", {}, "line 4"), ("tea.jsonl", ROWS, {"purpose": "x"}, "purpose"),
        ("tea.jsonl", ROWS, {"format": "x"}, "format"), ("tea.gz.parquet", b"PAR1", {}, "Parquet"),
        ("tea.jsonl.gz", b"no gzip", {}, "gzip"),
    ):  # fmt: skip
        sent = upload(site, name, body, **fields)
        assert sent.status_code == 422, name
        assert words in sent.text, (name, alert(sent))
    assert "Choose a file" in alert(site.post("admin", site.at("/data/import")))
    assert len(site.comparisons()) == before + 3
    gold = upload(site, "gold.jsonl", ROWS, purpose="gold")
    assert gold.status_code == 200
    page = site.store.read(comparisons.listed, site.project, comparisons.Filter(purpose="gold"))
    assert len(page.rows) == 4


def test_a_project_is_taken_out_in_every_format(site):
    site.judge("annotator", rationale="because")
    for name, file in (("assay", ""), ("csv", ""), ("pairs", ".parquet"), ("pairs", ".csv")):
        sent = site.as_("admin").get(site.at(f"/data/export?format={name}&file={file}"))
        assert sent.status_code == 200, (name, alert(sent))
        ending = file or (".csv" if name == "csv" else ".jsonl")
        assert sent.headers["content-disposition"].endswith(f'haiku{ending}"')
        assert sent.content
        assert b"annotator person" not in sent.content
    for query in ("format=none", "format=assay&file=.exe", "format=assay&file=.csv", ""):
        assert site.as_("admin").get(site.at(f"/data/export?{query}")).status_code == 422


def test_comparisons_are_listed_by_what_is_asked(site):
    first, _ = site.judge("annotator")
    site.judge("second")
    held = site.store.claim(site.project, site.people["second"])
    assert held is not None
    site.store.write(holding.flag, site.people["second"], held.comparison_id, "cut off")
    leaky = {"prompt": "Who?", "chosen": "I am ChatGPT.", "rejected": "Nobody."}
    upload(site, "leaky.jsonl", json.dumps(leaky).encode())

    def numbers(query: str) -> list[int]:
        page = site.as_("reviewer").get(site.at(f"/comparisons?{query}"))
        assert page.status_code == 200
        return [int(n) for n in re.findall(r'/comparisons/[-0-9a-f]{36}">(\d+)<', page.text)]

    assert numbers("") == list(range(1, 10))
    assert numbers("state=done") == [1]
    assert numbers("state=open") == [2, 3, 4, 5, 6, 9]
    assert numbers("purpose=gold") == [7]
    assert numbers("flagged=on") == [2]
    assert numbers("leaked=on") == [9]
    assert numbers("after=7") == [8, 9]
    assert numbers("state=done&flagged=on") == []
    site.post("admin", site.at(f"/comparisons/{first}/withdraw"), {"withdrawn": "on"})
    assert numbers("state=withdrawn") == [1]
    assert numbers("after=-1") == list(range(1, 10))
    for query in ("state=x", "purpose=x"):
        assert site.as_("reviewer").get(site.at(f"/comparisons?{query}")).status_code == 422


def test_a_comparison_shows_its_judgments(site):
    first, _ = site.judge("annotator", "second-much", rationale="<b>because</b>")
    at = site.at(f"/comparisons/{first}")
    page = site.as_("admin").get(at).text
    assert "&lt;b&gt;because&lt;/b&gt;" in page
    assert "(1.00)" in page
    assert page.count(MODEL) == 2
    site.store.change_project(site.project, settings=ProjectSettings(show_names=True))
    assert "annotator person" in site.as_("reviewer").get(at).text
    gold = site.comparisons()[6]
    assert "Expected answer" in site.as_("reviewer").get(site.at(f"/comparisons/{gold}")).text


def test_a_comparison_is_shown_as_annotators_see_it(site):
    steps = ({"text": "So $x = 2$.", "alternatives": ("Or **three**.",)}, {"text": "Done."})
    site.store.add_comparisons(site.project, [
        NewComparison(
            as_messages("Say *it*. <script>alert(1)</script>", "user"),
            tuple(NewResponse(as_messages(t, "assistant")) for t in ("**bold**", "`code`")),
        ),
        NewComparison(
            as_messages("Solve", "user"),
            (NewResponse(as_messages("…", "assistant"), steps=steps),), kind="steps",
        ),
    ], source="test")  # fmt: skip
    pair, solution = site.comparisons()[-2:]
    page = site.as_("reviewer").get(site.at(f"/comparisons/{pair}")).text
    for shown in ("<em>it</em>", "<strong>bold</strong>", "<code>code</code>", "&lt;script&gt;"):
        assert shown in page
    assert "<script>alert" not in page
    page = site.as_("reviewer").get(site.at(f"/comparisons/{solution}")).text
    assert "<math" in page
    assert "<strong>three</strong>" in page


def test_quota_turn_and_withdrawal_are_changed(site):
    first, second = site.comparisons()[:2]
    site.judge("annotator")
    at = site.at(f"/comparisons/{first}")
    assert site.post("admin", f"{at}/overlap", {"overlap": "1"}).status_code == 303
    given = site.store.claim(site.project, site.people["second"])
    assert given is not None
    assert given.comparison_id == second  # the first is done
    for overlap in ("0", "101", "x", "1e3"):
        assert "overlap must be" in alert(site.post("admin", f"{at}/overlap", {"overlap": overlap}))
    last = site.comparisons()[5]
    assert site.post("admin", site.at(f"/comparisons/{last}/place"), {"place": "-5"}
                     ).status_code == 303  # fmt: skip
    given = site.store.claim(site.project, site.people["annotator"])
    assert given is not None
    assert given.comparison_id == last
    for place in ("x", "inf", "nan"):
        assert "place must be" in alert(site.post("admin", f"{at}/place", {"place": place}))
    gold = site.comparisons()[6]
    assert "has no overlap" in alert(
        site.post("admin", site.at(f"/comparisons/{gold}/overlap"), {"overlap": "2"})
    )
    assert site.post("admin", f"{at}/withdraw", {"withdrawn": ""}).status_code == 303
    assert site.store.problems() == []


def test_an_answer_in_signs():
    numbers = {"a": 1, "b": 2, "c": 3}
    assert said({"kind": "pair", "choice": "b", "strength": 2 / 3}, numbers) == "2 (0.67)"
    assert said({"kind": "pair", "choice": None, "strength": 0.0}, numbers) == "="
    assert said({"kind": "ranking", "groups": [["b"], ["a", "c"]]}, numbers) == "2 > 1 = 3"
    assert said({"kind": "steps", "labels": [1, 0, -1, None]}, numbers) == "+ 0 − ·"
    assert said({"kind": "steps", "labels": [1, -1], "first_error": 1}, numbers) == "+ −, × 2"
    assert said({"kind": "ranking", "best": "c"}, numbers) == "3"


def test_the_record_is_paged_verified_and_taken_out(site):
    for i in range(60):
        site.store.write(people.set_role, site.project, site.people["annotator"],
                         "annotator" if i % 2 else "reviewer")  # fmt: skip
    first = site.as_("admin").get(site.at("/events")).text
    older = re.search(r"events\?before=(\d+)", first)
    assert older
    second = site.as_("admin").get(site.at(f"/events?before={older[1]}")).text
    seqs = [int(n) for n in re.findall(r'<td class="n">(\d+)</td>', first + second)]
    assert seqs == sorted(seqs, reverse=True)
    assert len(set(seqs)) == len(seqs) > 60
    file = site.as_("admin").get(site.at("/events.jsonl"))
    assert [json.loads(line)["seq"] for line in file.text.splitlines()] == seqs[::-1]
    assert "fits the one before it" in site.post("admin", site.at("/events/verify")).text
    from sqlalchemy import text

    site.store.write(lambda c: c.execute(
        text("UPDATE event SET action = 'member.changes' WHERE seq = :seq"), {"seq": seqs[3]}
    ))  # fmt: skip
    assert f"does not fit at entry {seqs[3]}" in alert(
        site.post("admin", site.at("/events/verify"))
    )


def test_webhooks_are_added_and_removed(site):
    fields = {"url": "https://hooks.example.org/x", "action": ["judgment.submitted", "nonsense"]}
    sent = site.post("admin", site.at("/webhooks"), fields)
    assert "shown again" in sent.text
    secret = re.search(r"<code>(whsec_[^<]+)</code>", sent.text)
    assert secret
    page = site.as_("admin").get(site.at("/webhooks")).text
    assert secret[1] not in page
    assert "judgment.submitted</span>" in page
    remove = re.search(r'action="([^"]+/remove)"', page)
    assert remove
    assert site.post("admin", remove[1]).status_code == 303
    assert site.post("admin", remove[1]).status_code == 404
    for url in ("ftp://x.example", "http://127.0.0.1/", "https://169.254.169.254/", "javascript:1",
                ""):  # fmt: skip
        assert site.post("admin", site.at("/webhooks"), {"url": url}).status_code == 422


# --- pages ----------------------------------------------------------------------------------------


def test_each_page_shows_a_project_what_its_role_may_open(site):
    def links(role: str) -> set[str]:
        page = site.as_(role).get(site.at("/comparisons"))
        nav = page.text.split('<nav class="project"')[1].split("</nav>")[0]
        return set(re.findall(rf'href="{site.at()}(/?\w*)"', nav))

    reviewer = {"/work", "/history", "", "/agreement", "/adjudicate", "/flags", "/annotators",
                "/comparisons"}  # fmt: skip
    assert links("reviewer") == reviewer
    assert links("admin") == reviewer | {"/settings", "/members", "/data", "/events", "/webhooks"}
    here = site.at("/comparisons")
    assert f'href="{here}" aria-current="page"' in site.as_("admin").get(here).text


@pytest.mark.parametrize("language", ["en", "de", "ar"])
def test_every_word_of_these_pages_is_there_in_every_language(language):
    folder = Path(str(assay.collect.__file__)).parent
    own = json.loads((folder / "locales" / language / "manage.json").read_text("utf-8"))
    english = json.loads((folder / "locales" / "en" / "manage.json").read_text("utf-8"))
    assert set(own) == set(english)
    for key, words in english.items():
        assert set(re.findall(r"{(\w+)}", own[key])) <= set(re.findall(r"{(\w+)}", words)), key
    asked = set()
    for file in (folder / "templates").glob("*manage*.html"):
        asked |= set(re.findall(r"\bt\(\"([\w.-]+)\"[),]", file.read_text("utf-8")))
    assert len(asked) > 150
    assert asked <= set(locale.catalogue(language))
    fields = [i.name for i in forms.settings_inputs(ProjectSettings())]
    wanted = {f"settings.{n}" for n in fields} | {f"settings.{n}.help" for n in fields}
    assert wanted <= set(own)


def test_pages_say_their_words_and_no_key(site):
    for path in ("/settings", "/rubric", "/members", "/data", "/comparisons", "/events",
                 "/webhooks"):  # fmt: skip
        for code in ("en", "ar"):
            page = site.as_("admin").get(site.at(path), headers={"accept-language": code}).text
            assert f'lang="{code}"' in page
            shown = re.sub(r"<[^>]+>", " ", page.split("<main", 1)[1])
            keys = re.findall(r"\b(?:settings|rubric|members|data|comparisons|events|nav|list|form)"
                              r"\.[a-z][a-z-]+\b", shown)  # fmt: skip
            assert set(keys) <= {"comparisons.imported", "project.changed"}, (path, keys)
