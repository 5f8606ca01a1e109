"""Who may ask what: every route against every role, forged requests, other people's things, blind
annotators, hostile bodies, the way in.

The tables are made from the application's own router, so a new route is in them at once.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import re
import statistics
import threading
import time
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import managed
import pytest
from fastapi import Request
from fastapi.responses import PlainTextResponse
from managed import PASSWORD, ROLES, Managed, managed_site
from sqlalchemy import func, select
from starlette.exceptions import HTTPException
from starlette.testclient import TestClient

from assay.collect.app import HEADERS, CollectSettings, make_app
from assay.collect.limits import BODY, BodyLimit, Limiter
from assay.collect.routing import COOKIE, CSRF_HEADER, GuardedRoute, Policy, Route
from assay.store import holding, people
from assay.store import tables as t
from assay.store import webhooks as hooks
from assay.store.store import PreferenceStore

pytestmark = pytest.mark.medium

RANK = {
    None: Policy.PUBLIC, "stranger": Policy.SIGNED_IN, "annotator": Policy.ANNOTATOR,
    "second": Policy.ANNOTATOR, "reviewer": Policy.REVIEWER, "admin": Policy.PROJECT_ADMIN,
    "site": Policy.SITE_ADMIN,
}  # fmt: skip
OPEN = {"/api/openapi.json", "/static"}
"""What has no policy: files that say nothing of anybody."""
MAY_BE_MISSING = {"/oidc/login", "/oidc/callback"}
"""Routes of what this site has not; they answer 404 to everybody."""


@dataclass(frozen=True)
class Case:
    """A route with a method."""

    method: str
    path: str
    policy: Policy

    def filled(self, ids: dict[str, str]) -> str:
        """The path with ids in it."""
        return re.sub(r"{(\w+)(?::\w+)?}", lambda m: ids[m[1]], self.path)

    @property
    def changes(self) -> bool:
        return self.method not in ("GET", "HEAD")

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


def cases(app: Any) -> list[Case]:
    """Every route of an application; one without a policy fails."""
    found = []
    for route in app.routes:
        if route.path in OPEN:
            continue
        assert isinstance(route, GuardedRoute), f"{route.path} has no policy"
        found += [Case(method, route.path, route.policy) for method in sorted(route.methods)]
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Managed]:
    """Two projects with judgments, drafts, flags, tokens and webhooks in both."""
    made = managed_site(str(tmp_path_factory.mktemp("site") / "prefs.db"))
    made.judge("annotator", rationale="canarywhy")
    made.judge("second", rationale="canarysecond")
    held = made.store.claim(made.project, made.people["second"])
    assert held is not None
    managed.draft(made, "second", held.comparison_id)
    made.judge("stranger")
    yield made
    made.store.close()


def _judged(site: Managed, project: str) -> str:
    """A comparison of a project that somebody has judged."""
    found = site.store.read(lambda c: c.scalar(
        select(t.judgments.c.comparison_id).where(t.judgments.c.project_id == project).limit(1)
    ))  # fmt: skip
    assert found is not None
    return str(found)


@pytest.fixture(scope="module")
def ids(site: Managed) -> dict[str, dict[str, str]]:
    """For each role, an object of every kind that it could name in a path."""
    own, other = {}, {}
    comparisons = {p: site.comparisons(p) for p in (site.project, site.other)}
    hook = {p: site.store.write(hooks.add_webhook, p, "https://example.org/")[0]
            for p in (site.project, site.other)}  # fmt: skip
    judgment = {
        p: site.store.read(lambda c, p=p: c.scalar(
            select(t.judgments.c.id).where(t.judgments.c.project_id == p).limit(1)))
        for p in (site.project, site.other)
    }  # fmt: skip
    flag = {
        site.project: site.store.write(
            holding.flag, site.people["annotator"], _judged(site, site.project), "odd"
        ),
        site.other: site.store.write(
            holding.flag, site.people["stranger"], _judged(site, site.other), "odd"
        ),
    }
    link = site.store.write(people.invite, site.people["stranger"], 1.0)
    for role in ROLES:
        token, _ = site.store.write(people.add_token, site.people[role], "for a program")
        own[role] = {
            "project_id": site.project, "comparison_id": comparisons[site.project][0],
            "annotator_id": site.people["annotator"], "webhook_id": hook[site.project],
            "token_id": token, "judgment_id": judgment[site.project],
            "secret": link, "flag_id": flag[site.project],
        }  # fmt: skip
    other = {
        "comparison_id": comparisons[site.other][0], "annotator_id": site.people["stranger"],
        "webhook_id": hook[site.other], "judgment_id": judgment[site.other],
        "token_id": own["stranger"]["token_id"], "secret": "no-such-secret",
        "flag_id": flag[site.other],
    }  # fmt: skip
    return {**own, "": own["annotator"], "other": {"project_id": site.project, **other}}


GOOD = {"role": "annotator", "state": "active", "overlap": "1", "place": "1", "password": PASSWORD,
        "reason": "why", "note": "so"}  # fmt: skip
"""Fields with which a request about another's thing fails for that alone."""


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine in a thread of its own: a browser test may have left a loop in ours."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(asyncio.run, work).result()


def ask(site: Managed, role: str | None, case: Case, path: str, **more: Any) -> Any:
    """Send a request as our own page would, with an empty form or object."""
    client = site.as_(role)
    headers = {CSRF_HEADER: site.csrf[role]} if role and case.changes else {}
    headers |= more.pop("headers", {})
    if case.changes and path.startswith("/api/") and case.method != "DELETE":
        more = {"json": {}, **more}
    return client.request(case.method, path, headers=headers, **more)


def done(store: PreferenceStore) -> tuple[int, int]:
    """How much was recorded, and stored unrecorded."""
    return store.read(lambda c: (
        c.scalar(select(t.chain.c.seq)),
        sum(c.scalar(select(func.count()).select_from(table)) for table in t.metadata.sorted_tables
            if table.name != "session"),
    ))  # fmt: skip


# --- routes and roles -----------------------------------------------------------------------------


def test_every_route_has_a_policy_and_a_new_one_without_fails(site):
    assert len(cases(site.app)) > 40
    app = make_app(site.store)

    @app.get("/forgotten")
    def forgotten() -> None: ...

    with pytest.raises(AssertionError, match="/forgotten has no policy"):
        cases(app)


def test_who_may_not_is_refused_everywhere_and_nothing_happens(site, ids):
    before = done(site.store)
    wrong, tried = [], 0
    for case in cases(site.app):
        for role, rank in RANK.items():
            if rank >= case.policy:
                continue
            tried += 1
            answer = ask(site, role, case, case.filled(ids[role or ""]))
            if role is not None:
                expected = answer.status_code == 404
            elif case.method == "GET" and not case.path.startswith("/api/"):
                expected = answer.headers.get("location", "").startswith("/login")
            else:
                expected = answer.status_code == 401
            if not expected:
                wrong.append(f"{case} as {role}: {answer.status_code}")
    assert wrong == []
    assert tried > 200
    assert done(site.store) == before


def test_who_may_is_let_in_everywhere(site, ids, tmp_path):
    wrong, tried = [], 0
    kept = site.store
    for number, case in enumerate(cases(site.app)):
        allowed = [role for role, rank in RANK.items() if rank >= case.policy]
        project_only = "{project_id}" in case.path
        if case.changes:  # once, on a copy: the next would meet what this one did
            allowed = allowed[:1]
            path = tmp_path / f"{number}.db"
            kept.backup(path)
            site.app.state.store = PreferenceStore.open(path)
        site.app.state.limiter = Limiter()
        for role in allowed:
            tried += 1
            answer = ask(site, role, case, case.filled(ids[role or ""]))
            fine = answer.status_code < 500 and answer.status_code not in (401, 403)
            if case.path in MAY_BE_MISSING or (
                not project_only and case.policy == Policy.SIGNED_IN
            ):
                # whether it is theirs is for the store to say
                pass
            else:
                fine = fine and answer.status_code != 404
            if not fine:
                wrong.append(f"{case} as {role}: {answer.status_code} {answer.text[:100]}")
        if case.changes:
            site.app.state.store.close()
            site.app.state.store = kept
    assert wrong == []
    assert tried > 100


# --- forged requests ------------------------------------------------------------------------------


FORGED = {
    "no token": {CSRF_HEADER: ""},
    "another's token": {CSRF_HEADER: "another"},
    "foreign origin": {"origin": "https://evil.example"},
    "null origin": {"origin": "null"},
    "cross-site": {"sec-fetch-site": "cross-site"},
    "same-site": {"sec-fetch-site": "same-site"},
}


@pytest.mark.parametrize("how", FORGED)
def test_no_route_that_changes_things_takes_a_forged_request(site, ids, how):
    before = done(site.store)
    wrong = []
    for case in cases(site.app):
        if not case.changes:
            continue
        role = next(role for role, rank in RANK.items() if rank >= case.policy)
        if role is None and "token" in how:
            role = "annotator"  # signed in, one has a token
        headers = {k: site.csrf["second"] if v == "another" else v for k, v in FORGED[how].items()}
        answer = ask(site, role, case, case.filled(ids[role or ""]), headers=headers)
        if answer.status_code != 403:
            wrong.append(f"{case} as {role}: {answer.status_code}")
    assert wrong == []
    assert done(site.store) == before


def test_a_program_with_a_token_needs_no_csrf_token(site):
    _, secret = site.store.write(people.add_token, site.people["admin"], "program")
    client = TestClient(site.app, base_url="http://127.0.0.1", follow_redirects=False)
    sent = client.post(site.at("/events/verify"), headers={"Authorization": f"Bearer {secret}"})
    assert sent.status_code == 200
    wrong = client.post(site.at("/events/verify"), headers={"Authorization": "Bearer assay_wrong"})
    assert wrong.status_code == 401


def test_a_cookie_beside_a_wrong_token_lets_nobody_in(site):
    answer = site.as_("admin").get(site.at("/data"), headers={"Authorization": "Bearer no"})
    assert answer.status_code != 200


# --- other people's things ------------------------------------------------------------------------


TAKES_ANYBODY = {"PUT /api/v1/projects/{project_id}/members/{annotator_id}"}
"""It takes people into a project, whoever they are."""


def test_a_thing_of_another_project_is_not_there(site, ids):
    before = done(site.store)
    wrong, tried = [], 0
    for case in cases(site.app):
        names = set(re.findall(r"{(\w+)", case.path)) - {"project_id"}
        if not names or case.path.startswith("/people") or str(case) in TAKES_ANYBODY:
            continue
        tried += 1
        role = "admin" if "{project_id}" in case.path else "annotator"
        is_api = case.path.startswith("/api/")
        said = {} if case.method == "PATCH" else {"role": "annotator"}
        body = {"json": said} if is_api else {"data": GOOD}
        answer = ask(site, role, case, case.filled(ids["other"]), **(body if case.changes else {}))
        # of a path without a project, a body may be looked at first; it says nothing of the thing
        fine = (404,) if "{project_id}" in case.path or case.method == "GET" else (404, 422)
        if answer.status_code not in fine:
            wrong.append(f"{case} as {role}: {answer.status_code} {answer.text[:80]}")
    assert wrong == []
    assert tried > 10
    assert done(site.store) == before


@pytest.mark.parametrize("value", ["0", "%2e%2e", "%00", "%ff", "a" * 5000, "' OR 1=1 --", "{}"])
def test_ids_that_are_none_are_not_found(site, ids, value):
    wrong = []
    for case in cases(site.app):
        for name in re.findall(r"{(\w+)", case.path):
            role = "site" if case.policy > Policy.PROJECT_ADMIN or name == "project_id" else "admin"
            path = case.filled({**ids[role], name: value})
            answer = ask(site, role, case, path)
            if answer.status_code not in (400, 404, 405, 422, 429, 303, 307):
                wrong.append(f"{case} {name}: {answer.status_code}")
    assert wrong == []


def test_annotators_never_learn_what_would_unblind_them(site, ids):
    """Models, file names, purposes' files, what others wrote and who they are, in any answer."""
    canaries = (managed.MODEL, managed.SOURCE, "canarygold", "canarysecond", "canarydraft",
                "second person", "stranger person")  # fmt: skip
    seen, leaks = 0, []
    for case in cases(site.app):
        if case.policy > Policy.ANNOTATOR or case.method != "GET" or "{secret}" in case.path:
            continue  # who has the secret link of an invitation may see whom it is for
        answer = ask(site, "annotator", case, case.filled(ids["annotator"]))
        text = answer.text + "\n".join(f"{k}: {v}" for k, v in answer.headers.items())
        seen += 1
        leaks += [f"{case}: {word}" for word in canaries if word in text]
    assert leaks == []
    assert seen > 8
    # the canaries are there for whoever may see them
    shown = site.as_("admin").get(site.at(f"/comparisons/{ids['admin']['comparison_id']}")).text
    assert managed.MODEL in shown
    assert managed.SOURCE in shown


def test_reviewers_see_neither_models_nor_names_unless_the_project_says_so(site, ids):
    shown = site.as_("reviewer").get(site.at(f"/comparisons/{ids['admin']['comparison_id']}")).text
    assert "canarywhy" in shown
    assert managed.MODEL not in shown
    assert managed.SOURCE not in shown
    assert "annotator person" not in shown


# --- bodies ---------------------------------------------------------------------------------------


def test_nobody_who_may_not_upload_is_even_read(site):
    """The policy comes before the body: a stranger cannot fill the disk."""

    async def asked(cookie: str) -> int:
        started = []

        async def receive() -> Any:
            raise AssertionError("the body was read")

        async def send(message: Any) -> None:
            started.append(message)

        scope = {
            "type": "http", "method": "POST", "path": site.at("/data/import"), "root_path": "",
            "raw_path": b"", "query_string": b"", "scheme": "http", "http_version": "1.1",
            "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
            "headers": [(b"host", b"127.0.0.1"), (b"content-length", b"100000000"),
                        (b"content-type", b"multipart/form-data; boundary=x"),
                        (b"cookie", f"{COOKIE}={cookie}".encode())],
        }  # fmt: skip
        await site.app(scope, receive, send)
        return int(started[0]["status"])

    assert run(asked("nobody's")) == 401
    assert run(asked(site.secrets["annotator"])) == 404
    with pytest.raises(AssertionError, match="the body was read"):
        run(asked(site.secrets["admin"]))


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large_is_refused(site, chunked):
    large = b"name=" + b"x" * BODY
    content: Any = (large[i : i + 65536] for i in range(0, len(large), 65536)) if chunked else large
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = site.as_(None).post("/login", content=content, headers=headers)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert answer.headers["content-security-policy"] == HEADERS["Content-Security-Policy"]
    content = iter([large]) if chunked else large
    headers = {"content-type": "application/json", CSRF_HEADER: site.csrf["site"]}
    answer = site.as_("site").post("/api/v1/projects", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (413, "too-large")


def test_a_body_that_stops_coming_is_given_up():
    async def never() -> Any:
        await asyncio.sleep(60)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    scope = {"type": "http", "path": "/login", "headers": []}
    with pytest.raises(HTTPException) as caught:
        run(BodyLimit(app, wait_seconds=0.05)(scope, never, never))
    assert caught.value.status_code == 408


@pytest.mark.parametrize("depth", [500, 5_000, 200_000])
def test_json_nested_deeply_is_refused(site, depth):
    headers = {"content-type": "application/json", CSRF_HEADER: site.csrf["site"]}
    for text in ("[" * depth + "]" * depth, '{"name":' * depth + "1" + "}" * depth):
        answer = site.as_("site").post("/api/v1/projects", content=text, headers=headers)
        assert answer.status_code in (400, 422)


FORM, JSON = "application/x-www-form-urlencoded", "application/json"
PARTS = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="name"\r\n\r\n'
END = b"\r\n--x--"
HOSTILE = {
    "no boundary": ("multipart/form-data", b"--x\r\n\r\n"),
    "no end": (PARTS, PART[:45]),
    "no name": (PARTS, b"--x\r\nContent-Disposition: form-data\r\n\r\n1" + END),
    "long header": (PARTS, b"--x\r\n" + b"A" * 100_000 + b": 1\r\n\r\n1" + END),
    "large field": (PARTS, PART + b"y" * 1_500_000 + END),
    "many fields": (PARTS, (PART + b"1\r\n") * 5000 + b"--x--"),
    "strange charset": (f"{PARTS}; charset=nonsense", PART + b"\xff\xfe" + END),
    "no utf-8": (FORM, b"name=%ff%fe&password=%00"),
    "half a character": (JSON, b'{"name": "\\ud800"}'),
    "many pairs": (FORM, b"&".join(b"a%d=1" % i for i in range(50_000))),
    "no json": (JSON, b"{" * 10),
    "endless number": (JSON, b'{"name": 1e999999, "x": ' + b"9" * 10_000 + b"}"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bodies_are_refused_quickly(site, what):
    kind, body = HOSTILE[what]
    site.app.state.limiter = Limiter()
    for role, path in ((None, "/login"), ("site", "/projects/new"), ("site", "/api/v1/projects"),
                       ("admin", site.at("/data/import"))):  # fmt: skip
        headers = {"content-type": kind} | ({CSRF_HEADER: site.csrf[role]} if role else {})
        began = time.monotonic()
        answer = site.as_(role).post(path, content=body, headers=headers)
        assert 400 <= answer.status_code < 500, (path, answer.status_code)
        assert time.monotonic() - began < 5


def test_a_file_that_unpacks_without_end_is_refused(site):
    bomb = gzip.compress(b" " * 40_000_000 + b"{}\n")
    assert len(bomb) < 100_000
    before = done(site.store)
    for name in ("bomb.jsonl.gz", "bomb.json.gz"):
        sent = site.post("admin", site.at("/data/import"), files={"file": (name, bomb)})
        assert sent.status_code == 422
        assert "unpack" in sent.text
    assert done(site.store) == before


ROW = json.dumps({"prompt": "Tea?", "chosen": "Yes, gladly.", "rejected": "No."}).encode() + b"\n"


EVIL_NAMES = ("../../../tmp/evil.jsonl", "..\\..\\evil.jsonl", "/etc/evil.jsonl", "C:\\evil.jsonl",
              "a\x00/../evil.jsonl")  # fmt: skip


@pytest.mark.parametrize("name", EVIL_NAMES)
def test_the_name_of_an_upload_is_never_a_path(tmp_path, name):
    site = managed_site(str(tmp_path / "prefs.db"))
    sent = site.post("admin", site.at("/data/import"), files={"file": (name, ROW)})
    assert sent.status_code == 200, re.search('role="alert">(.*)<', sent.text)
    page = site.as_("admin").get(site.at("/data")).text
    assert re.search(r"<td>(a)?evil\.jsonl</td>", page)
    assert not list(tmp_path.parent.rglob("evil*"))
    site.store.close()


EVIL_PATHS = ("../app.py", "..%2fapp.py", "%2e%2e/app.py", "....//app.py", "..%5capp.py",
              "%2fetc%2fpasswd", "/etc/passwd", "%00", ".")  # fmt: skip


@pytest.mark.parametrize("path", EVIL_PATHS)
def test_static_files_are_those_of_the_folder(site, path):
    answer = site.as_(None).get(f"/static/{path}")
    assert answer.status_code in (307, 404, 405)
    assert answer.headers.get("location", "http://127.0.0.1/").startswith("http://127.0.0.1/")
    assert "import" not in answer.text


def test_a_table_holds_no_formulas(tmp_path):
    site = managed_site(str(tmp_path / "prefs.db"))
    bad = {"prompt": "=HYPERLINK(1)", "chosen": "+1+1", "rejected": "@SUM(1)"}
    sent = site.post("admin", site.at("/data/import"),
                     files={"file": ("x.jsonl", json.dumps(bad).encode())})  # fmt: skip
    assert sent.status_code == 200
    table = site.as_("admin").get(site.at("/data/export?format=csv"))
    assert table.status_code == 200
    assert "HYPERLINK" in table.text
    assert not re.search(r'(^|,)"?[=+@]', table.text, re.MULTILINE)
    site.store.close()


# --- the way in -----------------------------------------------------------------------------------


def login(client: TestClient, name: str, password: str) -> Any:
    return client.post("/login", data={"name": name, "password": password})


def test_passwords_cannot_be_tried_without_end(site):
    site.app.state.limiter = Limiter()
    client = site.browser()
    for _ in range(10):
        assert login(client, "annotator person", "wrong password").status_code == 401
    refused = login(client, "annotator person", PASSWORD)
    assert refused.status_code == 429
    assert int(refused.headers["retry-after"]) > 0
    site.app.state.limiter = Limiter()
    assert login(client, "annotator person", PASSWORD).status_code == 303


def test_one_name_is_not_tried_from_many_addresses(site):
    site.app.state.limiter = Limiter()
    for i in range(10):
        client = TestClient(site.app, base_url="http://127.0.0.1", client=(f"10.0.0.{i}", 1))
        assert login(client, "Annotator Person", "wrong password").status_code == 401
    client = TestClient(site.app, base_url="http://127.0.0.1", client=("10.0.1.1", 1))
    assert login(client, "annotator person ", "wrong password").status_code == 429
    site.app.state.limiter = Limiter()


def test_a_name_that_is_unknown_answers_as_a_known_one_does(site):
    client = site.browser()
    answers: dict[str, list[Any]] = {"annotator person": [], "nobody at all": []}
    times: dict[str, list[float]] = {name: [] for name in answers}
    for _ in range(6):
        for name in answers:
            site.app.state.limiter = Limiter()
            began = time.perf_counter()
            answers[name].append(login(client, name, "wrong password"))
            times[name].append(time.perf_counter() - began)
    known, unknown = (a[0].text.replace(n, "") for n, a in answers.items())
    assert known == unknown
    assert {a.status_code for some in answers.values() for a in some} == {401}
    # without a hash to check against, an unknown name would answer some thirty times as fast
    ratio = statistics.median(times["nobody at all"]) / statistics.median(times["annotator person"])
    assert 0.2 < ratio < 5


def test_a_session_is_new_after_signing_in_and_gone_after_signing_out(site):
    site.app.state.limiter = Limiter()
    client = site.browser()
    client.cookies.set(COOKIE, "fixed-by-somebody-else")
    answer = login(client, "annotator person", PASSWORD)
    cookie = answer.headers["set-cookie"]
    secret = re.match(rf"{COOKIE}=([^;]+)", cookie)
    assert secret
    assert secret[1] != "fixed-by-somebody-else"
    assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
    fresh = site.browser()
    fresh.cookies.set(COOKIE, secret[1])
    page = fresh.get("/profile")
    assert page.status_code == 200
    again = login(fresh, "annotator person", PASSWORD)  # without the token of that session
    assert again.status_code == 403
    sent = fresh.post("/logout", data={"csrf": managed.csrf_in(page.text)})
    assert sent.status_code == 303
    other = site.browser()
    other.cookies.set(COOKIE, secret[1])
    assert other.get("/profile").status_code == 303


def test_over_https_cookies_are_for_https(tmp_path):
    site = managed_site(str(tmp_path / "prefs.db"), CollectSettings(is_https=True))
    answer = login(site.browser(), "annotator person", PASSWORD)
    assert "Secure" in answer.headers["set-cookie"].split("; ")
    assert answer.headers["strict-transport-security"].startswith("max-age=")
    site.store.close()


@pytest.mark.parametrize("to", ["//evil.example", "https://evil.example", "/\\evil.example",
                                "javascript:alert(1)", "/a\nb", "\t//evil.example"])  # fmt: skip
def test_signing_in_leads_nowhere_else(site, to):
    site.app.state.limiter = Limiter()
    answer = site.browser().post(
        "/login", data={"name": "annotator person", "password": PASSWORD, "next": to}
    )
    assert answer.headers["location"] == "/"


def test_two_set_ups_at_once_make_one_admin(tmp_path):
    store = PreferenceStore.open(tmp_path / "prefs.db")
    app = make_app(store, CollectSettings(setup_token="printed"))
    gate, answers = threading.Barrier(6), []

    def first(number: int) -> None:
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
        gate.wait()
        answers.append(client.post("/setup", data={
            "token": "printed", "name": f"admin {number}", "password": PASSWORD,
        }))  # fmt: skip

    threads = [threading.Thread(target=first, args=(i,)) for i in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    admins = [a for a in store.read(people.annotators) if a.is_site_admin]
    assert len(admins) == 1
    assert sorted(a.headers["location"] for a in answers) == ["/"] + ["/login"] * 5
    assert sum("set-cookie" in a.headers for a in answers) == 1
    client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
    wrong = client.post("/setup", data={"token": "no", "name": "x", "password": PASSWORD})
    assert wrong.headers["location"] == "/login"
    store.close()


def test_the_set_up_wants_the_printed_token(tmp_path):
    with PreferenceStore.open(tmp_path / "prefs.db") as store:
        app = make_app(store, CollectSettings(setup_token="printed"))
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False)
        fields = {"name": "x", "password": PASSWORD}
        assert client.post("/setup", data={"token": "guess", **fields}).status_code == 403
        assert store.read(people.annotators) == []
        for _ in range(9):
            client.post("/setup", data={"token": "guess", **fields})
        assert client.post("/setup", data={"token": "printed", **fields}).status_code == 429


# --- headers --------------------------------------------------------------------------------------


def test_every_answer_has_our_headers_errors_too(tmp_path):
    with PreferenceStore.open(tmp_path / "prefs.db") as store:

        def fails(request: Request) -> PlainTextResponse:
            raise ZeroDivisionError

        app = make_app(store, routes=[Route("GET", "/fails", fails, Policy.PUBLIC),
                                      Route("GET", "/api/fails", fails, Policy.PUBLIC),
                                      Route("GET", "/mine", fails, Policy.SIGNED_IN)])  # fmt: skip
        client = TestClient(app, base_url="http://127.0.0.1", follow_redirects=False,
                            raise_server_exceptions=False)  # fmt: skip
        for method, path, status in (
            ("GET", "/fails", 500), ("GET", "/api/fails", 500), ("GET", "/none", 404),
            ("GET", "/mine", 303), ("POST", "/fails", 405), ("GET", "/static/assay.css", 200),
            ("GET", "/static/none.css", 404),
        ):  # fmt: skip
            answer = client.request(method, path)
            assert answer.status_code == status, path
            for name, value in HEADERS.items():
                assert answer.headers[name] == value, (path, name)
            assert answer.headers["cache-control"]
            assert "server" not in answer.headers
            assert "ZeroDivision" not in answer.text
        policy = HEADERS["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy


INLINE = re.compile(
    r"<script(?![^>]*(?:\bsrc=|application/json))[^>]*>|<style|\sstyle=|\son\w+=|javascript:|\|\s*safe\b"
)


def test_pages_hold_no_inline_script_or_style():
    folder = Path(managed.__file__).parents[2] / "assay" / "collect" / "templates"
    found = []
    for file in sorted(folder.glob("*.html")):
        found += [f"{file.name}: {m}" for m in INLINE.findall(file.read_text("utf-8"))]
    assert found == []
