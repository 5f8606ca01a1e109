"""Contract: the client against a real server on loopback, and with a network that fails."""

from __future__ import annotations

import json
import threading
import time

import httpx2
import pytest

from assay.collect.client import CollectClient, CollectError, body_of
from assay.errors import ConfigError, DataError
from assay.store.ids import new_id
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.types import Message, as_messages


@pytest.fixture
def served(site):
    """The site at a port of this machine."""
    import uvicorn

    server = uvicorn.Server(
        uvicorn.Config(site.app, host="127.0.0.1", port=0, log_level="error", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 20
    while not server.started and time.monotonic() < until:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield site, f"http://127.0.0.1:{port}"
    server.should_exit = True
    thread.join(10)


class Faults(httpx2.BaseTransport):
    """A network to a server that fails as told, a fault a request, before or after it was done."""

    def __init__(self, *faults):
        self.faults, self.sent = list(faults), []
        self.inner = httpx2.HTTPTransport()

    def handle_request(self, request):
        self.sent.append((request.method, request.url.path, request.read()))
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, httpx2.Response):
            return fault
        if fault == "unreachable":
            raise httpx2.ConnectError("no route")
        response = self.inner.handle_request(request)
        if fault == "reset":  # the site has done it, and nobody hears of it
            response.read()
            response.close()
            raise httpx2.ReadError("connection reset")
        if fault == "twice":
            response.read()
            response.close()
            return self.inner.handle_request(request)
        if fault == "torn":
            return httpx2.Response(200, stream=Torn(response))
        return response


class Torn(httpx2.SyncByteStream):
    """The first lines of an answer, and then no more."""

    def __init__(self, response):
        self.response = response

    def __iter__(self):
        lines = self.response.read().splitlines(keepends=True)
        yield b"".join(lines[:2]) + lines[2][:20]
        raise httpx2.RemoteProtocolError("peer closed the connection")


def client_of(served, who="admin", faults=(), **options):
    site, url = served
    network, waits = Faults(*faults), []
    client = CollectClient(
        url, site.tokens[who], transport=network, sleep=waits.append, jitter=lambda: 0.5, **options
    )
    return client, network, waits


@pytest.mark.medium
def test_comparisons_go_in_and_judgments_come_out(served, pair, tmp_path):
    site, _ = served
    client, _, _ = client_of(served)
    assert [p["name"] for p in client.projects()] == ["haiku"]
    project = client.project("HAIKU")
    assert project["id"] == client.project(site.project)["id"] == site.project
    seen = []
    sent = client.add_comparisons(
        site.project, (pair(f"new {i}") for i in range(2345)), progress=seen.append
    )
    assert (sent.comparisons, sent.responses, len(sent.imports)) == (2345, 4690, 3)
    assert seen == [1000, 2000, 2345]
    assert sum(1 for _ in client.comparisons(site.project)) == 2350
    assert len(list(client.comparisons(site.project, import_id=sent.imports[2]))) == 345
    made = [site.judge(who)["id"] for who in ("ada", "bob", "ada")]
    judged = list(client.judgments(site.project))
    assert [j["id"] for j in judged] == made
    assert list(client.judgments(site.project, since=judged[-1]["submitted"] + 1)) == []
    assert client.progress(site.project)["judgments"] == 3
    client.withdraw(site.project, next(client.comparisons(site.project))["id"])
    assert client.progress(site.project)["withdrawn"] == 1
    last = list(client.comparisons(site.project))[-1]["id"]
    moved = client.change_comparison(site.project, last, overlap=7, place=-1)
    assert (moved["overlap"], moved["place"], moved["is_withdrawn"]) == (7, -1.0, False)
    assert client.change_comparison(site.project, last, is_withdrawn=True)["overlap"] == 7
    assert client.progress(site.project)["withdrawn"] == 2
    assert not client.change_comparison(site.project, last, is_withdrawn=False)["is_withdrawn"]
    changed = client.change_project(site.project, settings={"overlap": 4}, is_paused=True)
    assert (changed["settings"]["overlap"], changed["is_paused"]) == (4, True)
    assert next(client.comparisons(site.project, kind="pair", state="open"))["overlap"] != 4
    client.change_project(site.project, change_existing=True)
    assert next(client.comparisons(site.project, kind="pair", state="open"))["overlap"] == 4
    client.close()


def test_everything_of_a_comparison_survives_the_way(served):
    site, _ = served
    new = NewComparison(
        as_messages([Message("system", "Short."), Message("user", "Warum?")], "user"),
        (
            NewResponse(as_messages("Darum.", "assistant"), model="m", provenance={"k": [1, None]}),
            NewResponse((Message("assistant", "", {"tool_calls": [{"id": "1"}]}),)),
            NewResponse(as_messages("Ä \u0647 🙂", "assistant")),
        ),
        kind="ranking", overlap=3, place=-2.5, language="de", extra={"id": "7"},
        tools=[{"type": "function"}],
        judgments=(
            NewJudgment({"kind": "ranking", "groups": [[2], [0, 1]], "unranked": [],
                         "origin": {"id": "x"}}, "Ada", shown=(2, 0, 1), submitted=1000,
                        started=400, active_ms=500, surplus=True),
            NewJudgment({"kind": "ranking", "groups": [[0], [1]], "unranked": [2]}, "Ada",
                        source="model", submitted=900, withdrawn=950),
        ),
    )  # fmt: skip
    from assay.collect.bodies import ComparisonIn

    again = ComparisonIn.model_validate(json.loads(json.dumps(body_of(new)))).comparison("it")
    assert again == new
    client, _, _ = client_of(served)
    assert client.add_comparisons(site.project, [new]).judgments == 2


def test_rows_and_files_of_any_format_are_read(served, tmp_path):
    site, _ = served
    client, _, _ = client_of(served)
    rows = [{"prompt": "q", "chosen": "a", "rejected": "b"}]
    assert client.add_comparisons(site.project, rows).judgments == 1
    path = tmp_path / "pairs.jsonl"
    path.write_text('{"prompt": "q", "responses": ["a", "c"]}\n')
    assert client.add_comparisons(site.project, path).comparisons == 1
    assert client.add_comparisons(site.project, str(path)).comparisons == 1
    with pytest.raises(DataError):
        client.add_comparisons(site.project, [{"prompt": "q"}])
    with pytest.raises(DataError, match="holds no comparison"):
        client.add_comparisons(site.project, [])
    with pytest.raises(DataError, match="cannot be sent"):
        client.add_comparisons(
            site.project,
            [NewComparison(as_messages("q", "user"), (), extra={"x": float("nan")})],
        )
    assert client.progress(site.project)["comparisons"] == 8


@pytest.mark.parametrize("fault", ["reset", "twice", "unreachable"])
def test_what_is_sent_again_is_added_once(served, pair, fault):
    site, _ = served
    client, network, _ = client_of(served, faults=[fault])
    assert client.add_comparisons(site.project, [pair("new")]).comparisons == 1
    assert len(site.ids()) == 6
    bodies = {body for _, _, body in network.sent}
    assert len(bodies) == 1
    assert len(network.sent) == (1 if fault == "twice" else 2)


def test_it_waits_as_long_as_it_is_asked_to_and_longer_each_time(served):
    busy = [
        httpx2.Response(429, headers={"Retry-After": "7"}, json={"code": "x", "message": "y"}),
        httpx2.Response(503, json={"code": "x", "message": "y"}),
        httpx2.Response(502, text="<html>"),
        "unreachable",
    ]
    client, network, waits = client_of(served, faults=busy)
    assert client.projects()
    assert waits == [7.25, 0.5, 1.0, 2.0]
    assert len(network.sent) == 5


def test_it_gives_up_after_so_many_tries_with_a_sentence(served, pair):
    _site, _url = served
    client, network, waits = client_of(served, faults=["unreachable"] * 9, retries=3)
    with pytest.raises(CollectError, match=r"does not answer \(tried 4 times\): no route") as error:
        client.projects()
    assert error.value.status == 0
    assert (len(network.sent), len(waits)) == (4, 3)
    long = httpx2.Response(429, headers={"Retry-After": "4000"}, json={"code": "a", "message": "b"})
    client, network, waits = client_of(served, faults=[long])
    with pytest.raises(CollectError, match="answered 429: b"):
        client.projects()
    assert waits == []


def test_what_cannot_be_repeated_is_sent_once(served):
    _site, _ = served
    client, network, _ = client_of(served, "site", faults=["reset"])
    with pytest.raises(CollectError, match="connection reset"):
        client.create_project("odes")
    assert len(network.sent) == 1
    client, network, _ = client_of(served, "site", faults=["unreachable"])
    made = client.create_project("epics", {"overlap": 2}, {"preset": "arena"})
    assert (made["settings"]["overlap"], made["rubric"]["preset"]) == (2, "arena")


def test_a_stream_that_breaks_goes_on_where_it_broke(served):
    site, _ = served
    made = [site.judge(who)["id"] for who in ("ada", "bob") * 4]
    client, network, _ = client_of(served, faults=["torn", "torn"])
    assert [j["id"] for j in client.judgments(site.project)] == made
    assert len(network.sent) == 3
    client, _, _ = client_of(served, faults=["torn"] * 9, retries=0)
    with pytest.raises(CollectError, match="does not answer"):
        list(client.judgments(site.project))


def test_an_export_is_a_whole_file_or_none(served, tmp_path):
    site, _ = served
    site.judge("ada")
    client, _, _ = client_of(served)
    path = client.export(site.project, tmp_path / "out.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sum(len(row.get("judgments", ())) for row in rows) == 1
    with pytest.raises(CollectError, match="422"):
        client.export(site.project, tmp_path / "none.jsonl", "no-such-format")
    assert [p.name for p in tmp_path.iterdir() if "out" in p.name or "none" in p.name] == [
        "out.jsonl"
    ]


def test_refusals_are_sentences_without_the_token(served, pair, capfd, caplog):
    caplog.set_level("DEBUG")
    site, url = served
    client, _, _ = client_of(served, "ada")
    with pytest.raises(CollectError, match="answered 404") as error:
        client.add_comparisons(site.project, [pair("new")])
    assert error.value.code == "not-found"
    with pytest.raises(CollectError, match="no project 'odes'"):
        client.project("odes")
    with pytest.raises(CollectError, match="The token is unknown") as wrong:
        CollectClient(url, "assay_wrong-token").projects()
    assert wrong.value.status == 401
    page = httpx2.Response(200, text="<html>")
    with pytest.raises(CollectError, match="is it an Assay site"):
        client_of(served, faults=[page])[0].projects()
    moved = httpx2.Response(302, headers={"Location": "http://elsewhere.example/"})
    with pytest.raises(CollectError, match="is the URL right"):
        client_of(served, faults=[moved])[0].projects()
    said = [str(error.value), str(wrong.value), repr(client), caplog.text, *capfd.readouterr()]
    for token in (site.tokens["ada"], "assay_wrong-token"):
        assert not any(token in text for text in said)


def test_a_refused_batch_says_what_was_added_before_it(served, pair):
    site, _ = served
    client, _, _ = client_of(served)
    wrong = NewComparison(as_messages("q", "user"), pair("x").responses[:1])
    many = [*(pair(f"new {i}") for i in range(1000)), wrong]
    with pytest.raises(CollectError, match=r"1,000 comparisons were added before"):
        client.add_comparisons(site.project, many)
    assert client.progress(site.project)["comparisons"] == 1005


@pytest.mark.parametrize(
    ("url", "token"),
    [("example.org", "t"), ("ftp://example.org", "t"), ("http://u:p@example.org", "t"),
     ("http://example.org", ""), ("http://example.org", "a\nb"), ("http://example.org", "ä")],
)  # fmt: skip
def test_an_address_or_token_that_is_none_is_refused(url, token):
    with pytest.raises(ConfigError) as error:
        CollectClient(url, token)
    assert "u:p" not in str(error.value)


def test_a_script_can_claim_and_submit(site, monkeypatch):
    """The requests are those of the page; the answers here are a stand-in's."""
    asked = []

    def answer(request):
        asked.append((request.url.path, json.loads(request.read())))
        if request.url.path.endswith("/claim"):
            assignment = {
                "comparison_id": "c", "rubric_id": "r", "responses": [{"id": "x"}, {"id": "y"}],
            }  # fmt: skip
            return httpx2.Response(200, json={"assignment": assignment, "reason": None})
        return httpx2.Response(200, json={"id": "j", "surplus": False})

    with CollectClient(
        "http://site.example", "t", transport=httpx2.MockTransport(answer)
    ) as client:
        at = client.claim("p", have=["old"])
        assert at is not None
        assert client.submit(at, {"raw": "first-better"}, active_ms=5) == {
            "id": "j", "surplus": False,
        }  # fmt: skip
    (claim, have), (submit, said) = asked
    assert (claim, have) == ("/api/v1/projects/p/claim", {"have": ["old"]})
    assert submit == "/api/v1/judgments"
    assert said.pop("id") != new_id()
    assert said == {
        "comparison_id": "c", "answer": {"raw": "first-better"}, "shown": ["x", "y"],
        "active_ms": 5, "rubric_id": "r",
    }  # fmt: skip
