"""Every failure has its own kind and none has the key; connections go where was checked."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fake_endpoint import fake_endpoint

from assay.addresses import AddressError
from assay.errors import ConfigError
from assay.feedback import http
from assay.feedback.client import AsyncClient, Client, Endpoint
from assay.feedback.flow import each
from assay.feedback.http import Connection, EndpointError, JsonClient
from assay.feedback.limits import Breaker, Throttle
from assay.feedback.replies import Reply
from assay.types import Message

KEY = "sk-" + "secret-123"


def asked(text: str) -> tuple[Message, ...]:
    return (Message("user", text),)


async def at_once(seconds: float) -> None:
    await asyncio.sleep(0)


def endpoint(url: str, **settings: Any) -> Endpoint:
    return Endpoint(base_url=url, model="m", **{"retries": 0, **settings})


def ask(client: AsyncClient, text: str = "hi", **settings: Any) -> Reply:
    """One chat on a loop of its own."""

    async def once() -> Reply:
        try:
            return await client.chat(asked(text), **settings)
        finally:
            await client.aclose()

    return asyncio.run(once())


@pytest.mark.parametrize(
    ("mood", "kind", "status", "gone"),
    [
        ("rate", "http", 429, True),
        ("rate-after", "http", 429, True),
        ("error", "http", 500, True),
        ("busy", "http", 503, True),
        ("forbidden", "http", 403, True),
        ("redirect", "http", 302, True),  # not followed: to the machine's metadata
        ("page", "page", 200, True),
        ("truncated", "parse", 200, False),
        ("error-body", "error_body", 200, False),
        ("empty", "empty", 200, False),
        ("hang", "timeout", None, True),
        ("trickle", "timeout", None, True),
        ("close", "connection", None, True),
        ("huge", "parse", None, False),
    ],
)
def test_every_failure_has_its_own_kind(
    mood: str, kind: str, status: int | None, gone: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "LARGEST_REPLY", 3 * 2**20)
    with fake_endpoint() as server:
        how = {"timeout_seconds": 0.5, "deadline_seconds": 1.0}
        client = AsyncClient(endpoint(server.url, **how))
        began = time.monotonic()
        with pytest.raises(EndpointError) as error:
            ask(client, f"mood:{mood}")
        assert (error.value.kind, error.value.status) == (kind, status)
        assert error.value.is_gone is gone
        assert time.monotonic() - began < 10
        assert client.usage.failed == 1


def test_moods_that_are_no_failures_are_read() -> None:
    with fake_endpoint() as server:
        client = AsyncClient(endpoint(server.url))
        assert ask(client, "mood:wrong-model").model == "another"
        assert ask(client, "hi").model == "m"
        for mood in ("null-logprobs", "no-logprobs"):
            reply = ask(client, f"mood:{mood}", logprobs=True)
            assert reply.choices[0].logprobs is None
        assert ask(client, "hi", logprobs=True).choices[0].logprobs is not None
        assert ask(client, "mood:no-usage").prompt_tokens is None


@pytest.mark.medium
def test_a_storm_is_ridden_out_and_every_prompt_is_paid_once() -> None:
    moods = ["rate", "rate-after", "error", "close", "busy", "error-body"] * 20
    with fake_endpoint(moods) as server:
        client = AsyncClient(endpoint(server.url, retries=20), sleep=at_once)
        found = list(each(range(200), lambda i: client.chat(asked(f"q{i}")), 64))
        client.close()
        assert [i for i, _ in found] == list(range(200))
        assert set(server.paid.values()) == {1}
        assert len(server.paid) == 200
        assert client.usage.retries == len(moods)
        assert server.most_at_a_time <= 64


def test_the_circuit_opens_and_is_tried_again() -> None:
    now = [0.0]
    with fake_endpoint(["forbidden"] * 4) as server:
        breaker = Breaker(3, 30, clock=lambda: now[0])
        client = AsyncClient(endpoint(server.url), breaker=breaker)

        def kinds(count: int) -> list[str]:
            found = []
            for _ in range(count):
                try:
                    ask(client)
                    found.append("ok")
                except EndpointError as error:
                    found.append(error.kind if error.is_gone else "not gone")
            return found

        assert kinds(5) == ["http"] * 3 + ["open_circuit"] * 2
        assert server.asked["hi"] == 3
        now[0] = 31.0
        assert kinds(2) == ["http", "open_circuit"]
        now[0] = 62.0
        assert kinds(3) == ["ok"] * 3
        assert server.asked["hi"] == 3 + 1 + 3


def test_a_cancelled_trial_and_an_answered_error_do_not_keep_the_circuit() -> None:
    now = [0.0]
    with fake_endpoint(["forbidden", "hang"]) as server:
        breaker = Breaker(1, 30, clock=lambda: now[0])
        client = AsyncClient(endpoint(server.url), breaker=breaker)
        with pytest.raises(EndpointError):
            ask(client)
        now[0] = 31.0

        async def cut() -> None:
            await asyncio.wait_for(client.chat(asked("hi")), 0.2)

        with pytest.raises(TimeoutError):
            asyncio.run(cut())
        with pytest.raises(EndpointError, match="an error"):  # another may try: it is answered
            ask(client, "mood:error-body")
        assert ask(client).choices[0].text == "A"


def test_requests_wait_for_the_throttle_and_tokens_are_corrected() -> None:
    waits: list[float] = []

    async def keep(seconds: float) -> None:
        waits.append(seconds)

    with fake_endpoint() as server:
        throttle = Throttle(60, clock=lambda: 0.0, sleep=keep)
        client = AsyncClient(endpoint(server.url), throttle=throttle)
        for _ in range(3):
            ask(client)
        assert waits == [1.0, 2.0]
        waits.clear()
        throttle = Throttle(None, 6000, clock=lambda: 0.0, sleep=keep)
        client = AsyncClient(endpoint(server.url), throttle=throttle)
        ask(client, "x" * 4000, max_tokens=1000)  # some 2,000 tokens were expected, 2,009 came
        ask(client, "hi", max_tokens=0)
        assert waits[-1] == pytest.approx((2009 - 100) / 100, rel=0.2)


# --- where connections go -------------------------------------------------------------------------


class Names:
    """A resolver that keeps what it was asked, and gives the answers in turn."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers, self.asked = list(answers), 0

    def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_a_name_is_resolved_once_and_its_host_header_kept() -> None:
    names = Names(["127.0.0.1"], ["169.254.169.254"])  # it means something else from then on
    with fake_endpoint() as server:
        url = f"http://api.example.org:{server.port}/v1"
        client = AsyncClient(endpoint(url), resolve=names)
        list(each(range(20), lambda i: client.chat(asked(f"{i}")), 8))
        client.close()
        assert names.asked == 1
        assert sum(server.paid.values()) == 20
        assert f"Host: api.example.org:{server.port}" in server.heads[-1]


@pytest.mark.parametrize("found", [["169.254.169.254"], ["10.0.0.1"], ["127.0.0.1", "fe80::1"]])
def test_a_name_that_means_an_address_out_of_reach_is_not_connected_to(found: list[str]) -> None:
    with fake_endpoint() as server:
        url = f"http://api.example.org:{server.port}/v1"
        client = AsyncClient(endpoint(url, retries=3), resolve=Names(found))
        with pytest.raises(AddressError):
            ask(client)
        with pytest.raises(AddressError, match="reach 'loopback'"):
            ask(AsyncClient(endpoint(url, reach="public"), resolve=Names(["127.0.0.1"])))
        assert not server.asked


def test_the_next_address_is_tried_and_a_moved_host_is_checked_anew() -> None:
    with fake_endpoint() as server:
        url = f"http://api.example.org:{server.port}/v1"
        names = Names(["::1", "127.0.0.2", "127.0.0.1"])  # nobody is there but at the last
        assert ask(AsyncClient(endpoint(url), resolve=names)).choices[0].text == "A"
        moved = Names(["127.0.0.2"], ["127.0.0.1"])
        client = AsyncClient(endpoint(url, retries=1), resolve=moved, sleep=at_once)
        assert ask(client).choices[0].text == "A"
        rebound = Names(["127.0.0.2"], ["10.0.0.1"])
        client = AsyncClient(endpoint(url, retries=1), resolve=rebound, sleep=at_once)
        with pytest.raises(AddressError):
            ask(client)


def test_a_name_without_address_may_have_one_later() -> None:
    with fake_endpoint() as server:
        url = f"http://api.example.org:{server.port}/v1"
        client = AsyncClient(
            endpoint(url, retries=1), resolve=Names([], ["127.0.0.1"]), sleep=at_once
        )
        assert ask(client).choices[0].text == "A"
        with pytest.raises(EndpointError, match=r"could not be reached .*has no address") as error:
            ask(AsyncClient(endpoint(url), resolve=Names([])))
        assert (error.value.kind, error.value.is_gone) == ("connection", True)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """Of api.example.org, by itself, with its key."""
    x509 = pytest.importorskip("cryptography.x509")
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "api.example.org")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("api.example.org")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


def test_the_certificate_has_to_be_of_the_name_not_of_the_address(certificate: Path) -> None:
    served = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served.load_cert_chain(certificate)
    named: list[str | None] = []
    served.sni_callback = lambda _s, name, _c: named.append(name)  # type: ignore[assignment]
    trusting = ssl.create_default_context(cafile=str(certificate))
    with fake_endpoint(tls=served) as server:
        for host, is_right in (("api.example.org", True), ("other.example.org", False)):
            client = AsyncClient(
                endpoint(f"https://{host}:{server.port}/v1"),
                resolve=Names(["127.0.0.1"]),
                verify=trusting,
            )
            if is_right:
                assert ask(client).choices[0].text == "A"
            else:
                with pytest.raises(EndpointError, match=r"could not be reached .*certificate"):
                    ask(client)
        assert named == ["api.example.org", "other.example.org"]
        strict = endpoint(f"https://api.example.org:{server.port}/v1")
        with pytest.raises(EndpointError, match="certificate"):  # nobody vouches for it
            ask(AsyncClient(strict, resolve=Names(["127.0.0.1"])))


def test_a_proxy_of_the_environment_is_used_but_not_for_public(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with fake_endpoint() as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "inner.example.org")
        url = "http://api.example.org/v1"
        assert ask(AsyncClient(endpoint(url), resolve=Names([]))).choices[0].text == "A"
        assert "POST http://api.example.org/v1/chat/completions" in proxy.heads[-1]
        with pytest.raises(EndpointError, match="has no address"):
            ask(AsyncClient(endpoint(url, reach="public"), resolve=Names([])))
        inner = endpoint("http://inner.example.org/v1")
        with pytest.raises(EndpointError, match="has no address"):
            ask(AsyncClient(inner, resolve=Names([])))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://169.254.169.254/v1", "never connected to"),
        ("http://10.0.0.1/v1", "reach 'loopback' .this machine. or 'private'"),
        ("http://h/v1?key=sk-1", "has a query or a fragment"),
        ("http://h/v1#sk-1", "has a query or a fragment"),
    ],
)
def test_an_address_out_of_reach_is_refused_when_the_client_is_made(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as error:
        AsyncClient(endpoint(url))
    assert "sk-1" not in str(error.value)


# --- the key --------------------------------------------------------------------------------------


def _all_of(error: BaseException) -> str:
    """All that an error shows or holds, its causes and contexts and their frames' values too."""
    seen: list[BaseException] = []
    parts: list[str] = []
    waiting: list[BaseException | None] = [error]
    while waiting:
        found = waiting.pop()
        if found is None or any(found is other for other in seen):
            continue
        seen.append(found)
        waiting += [found.__cause__, found.__context__]
        parts += [repr(found), str(found), repr(vars(found))]
        # what a traceback with values would print
        lines = traceback.TracebackException.from_exception(found, capture_locals=True)
        parts += list(lines.format())
        parts += [
            str(getattr(request, "headers", "").items())
            for request in (getattr(found, "_request", None),)
            if request is not None
        ]
    return "\n".join(parts)


@pytest.mark.parametrize("mood", ["forbidden", "close", "hang", "page", "truncated", "error-body"])
def test_the_key_is_in_no_error_no_cause_and_no_log(
    mood: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with fake_endpoint() as server, caplog.at_level("DEBUG"):
        how = {"key_variable": "MY_KEY", "timeout_seconds": 0.3, "retries": 1}
        client = AsyncClient(endpoint(server.url, **how), sleep=at_once)
        with pytest.raises(EndpointError) as error:
            ask(client, f"mood:{mood}")
        assert f"Authorization: Bearer {KEY}" in server.heads[-1]
    assert KEY not in _all_of(error.value)
    assert KEY not in caplog.text
    assert KEY not in repr(client) + repr(client.endpoint) + repr(client.usage)


def test_the_key_is_not_in_the_error_of_a_server_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(EndpointError, match="could not be reached") as error:
        ask(AsyncClient(endpoint(url, key_variable="MY_KEY")))
    assert KEY not in _all_of(error.value)


@pytest.mark.parametrize("key", ["sk-secrét", "sk-secret\nX-Evil: 1", "sk secret", "sk-secret\x00"])
def test_what_cannot_be_a_key_is_refused_without_showing_it(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.environ", {"MY_KEY": key})
    with pytest.raises(ConfigError, match="'MY_KEY' holds no API key") as error:
        AsyncClient(endpoint("http://localhost/v1", key_variable="MY_KEY"))
    assert "secr" not in repr(error.value)
    assert error.value.__context__ is None


# --- loops and threads ----------------------------------------------------------------------------


def test_one_client_serves_several_loops_and_many_threads() -> None:
    with fake_endpoint() as server:
        client = AsyncClient(endpoint(server.url))

        def once() -> Coroutine[Any, Any, Reply]:
            return client.chat(asked("hi"))

        for _ in range(2):
            assert asyncio.run(once()).choices[0].text == "A"
        assert [r.choices[0].text for _, r in each(range(3), lambda _: once(), 2)] == ["A"] * 3
        client.close()
        front = Client(endpoint(server.url))
        with ThreadPoolExecutor(16) as pool:
            texts = list(pool.map(lambda i: front.chat(asked(str(i))).choices[0].text, range(64)))
        assert texts == ["A"] * 64
        assert front.usage.requests == 64
        front.close()
        assert front.chat(asked("again")).choices[0].text == "A"  # opened anew
        front.close()


def test_an_interrupt_of_synchronous_code_ends_the_request() -> None:
    with fake_endpoint() as server:
        front = Client(endpoint(server.url))

        def interrupted() -> None:
            threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
            front.chat(asked("mood:hang"))

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        until = time.monotonic() + 5
        while server.at_a_time and time.monotonic() < until:
            time.sleep(0.01)
        assert server.at_a_time == 0  # the connection was closed
        front.close()


def test_any_json_is_posted_and_read(server: Any) -> None:
    server.script = [{"rewards": [1.5]}]
    client = JsonClient(Connection(base_url=server.url))
    read: Callable[[Any], float] = lambda answer: answer.value["rewards"][0]  # noqa: E731
    assert client.post("/score", {"text": "\ud800 é"}, read) == 1.5
    assert server.bodies == [{"text": "\ud800 é"}]
    assert server.paths == ["/v1/score"]
    client.close()


def test_an_unknown_reach_is_refused() -> None:
    known = Connection(base_url="http://localhost/")
    object.__setattr__(known, "reach", "everywhere")
    with pytest.raises(ConfigError, match="reach 'everywhere' was given; use one of public"):
        known.check()
