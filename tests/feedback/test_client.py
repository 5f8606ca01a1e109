"""A client gets through what passes, gives up in one sentence on what does not, and counts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from typing import Any

import pytest

from assay.errors import ConfigError
from assay.feedback.client import Client, Endpoint
from assay.feedback.http import EndpointError
from assay.types import Message

ASKED = (Message("user", "2 + 2?"),)
Chat = Callable[..., dict[str, Any]]


class Waits:
    """A clockless sleep that keeps what was asked of it."""

    def __init__(self) -> None:
        self.seconds: list[float] = []

    def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


OPEN: list[Client] = []


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    while OPEN:
        OPEN.pop().close()


def client(url: str, waits: Waits, jitter: float = 1.0, **settings: Any) -> Client:
    endpoint = Endpoint(base_url=url, model="m", **{"retries": 3, **settings})
    OPEN.append(Client(endpoint, sleep=waits, jitter=lambda: jitter))
    return OPEN[-1]


def test_a_chat_is_asked_and_read(server: Any, chat: Chat, waits: Waits) -> None:
    server.script = [chat("4", "four")]
    asked = client(server.url, waits)
    reply = asked.chat(ASKED, n=2, temperature=0.5, stop=None)
    assert [c.text for c in reply.choices] == ["4", "four"]
    assert reply.choices[0].finish == "stop"
    assert server.paths == ["/v1/chat/completions"]
    assert server.bodies == [
        {
            "model": "m",
            "messages": [{"role": "user", "content": "2 + 2?"}],
            "n": 2,
            "temperature": 0.5,
        }
    ]
    assert "Authorization" not in server.headers[0]
    assert (asked.usage.requests, asked.usage.prompt_tokens, asked.usage.response_tokens) == (
        (1, 7, 5)
    )


def test_a_text_is_completed(server: Any, waits: Waits) -> None:
    server.script = [{"choices": [{"text": " 4", "finish_reason": "length"}]}]
    asked = client(server.url + "/", waits)
    reply = asked.complete("2 + 2 =", max_tokens=3)
    assert (reply.choices[0].text, reply.choices[0].finish) == (" 4", "length")
    assert (reply.prompt_tokens, reply.response_tokens) == (None, None)
    assert asked.usage.uncounted == 1
    assert server.paths == ["/v1/completions"]
    assert server.bodies == [{"model": "m", "prompt": "2 + 2 =", "max_tokens": 3}]


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {}, b'{"error": {"message": "slow down"}}'),
        (500, {}, b""),
        (503, {}, b"<html>busy</html>"),
        None,
        (200, {}, b'{"choices": [{"message": {"con'),
        {"error": {"code": 429, "message": "upstream is busy"}},
    ],
)
def test_what_may_pass_is_tried_again_with_full_jitter(
    server: Any, chat: Chat, waits: Waits, trouble: Any
) -> None:
    server.script = [trouble, trouble, chat("4")]
    asked = client(server.url, waits, jitter=0.5)
    assert asked.chat(ASKED).choices[0].text == "4"
    assert waits.seconds == [0.25, 0.5]
    assert (asked.usage.requests, asked.usage.retries) == (1, 2)


def test_what_the_endpoint_asks_to_wait_is_waited(server: Any, chat: Chat, waits: Waits) -> None:
    later = formatdate(time.time() + 40, usegmt=True)
    server.script = [
        (429, {"retry-after": "7"}, b""),
        (503, {"retry-after": later}, b""),
        (429, {"retry-after": "soon"}, b""),
        chat("4"),
    ]
    client(server.url, waits, jitter=0.0).chat(ASKED)
    assert waits.seconds[0] == 7.0
    assert 35 < waits.seconds[1] < 41
    assert waits.seconds[2] == 0.0


@pytest.mark.parametrize(
    ("answer", "said", "gone"),
    [
        ((401, {}, b'{"error": "no"}'), 'answered 401: \'{"error": "no"}\'', True),
        ((404, {}, b""), "answered 404 and nothing else", True),
        ((302, {"location": "http://127.0.0.1:1/"}, b""), "answered 302", True),
        ((400, {}, b"too long"), "answered 400: 'too long'", False),
        ((200, {}, b" <!doctype html><p>Hi"), "answered with a web page: .* base URL right", True),
        ({"error": {"message": "no such model"}}, "answered 200 with an error: .*no such", False),
        ({"choices": []}, "answered without choices", False),
        ((200, {}, b"[1]"), "answered without choices: '\\[1\\]'", False),
        ({"choices": [{"message": {"content": None}}]}, "a choice that has no text", False),
        ({"choices": [3]}, "a choice that has no text", False),
    ],
)
def test_what_will_not_pass_is_said_at_once(
    server: Any, waits: Waits, answer: Any, said: str, gone: bool
) -> None:
    server.script = [answer]
    with pytest.raises(EndpointError, match=said) as error:
        client(server.url, waits).chat(ASKED)
    assert error.value.is_gone is gone
    assert len(server.paths) == 1
    assert "\n" not in str(error.value)


def test_it_gives_up_after_the_last_retry(server: Any, waits: Waits) -> None:
    server.script = [(502, {}, b"bad gateway")]
    with pytest.raises(EndpointError, match=r"answered 502: 'bad gateway' \(tried 4 times\)") as e:
        client(server.url, waits).chat(ASKED)
    assert e.value.is_gone
    assert waits.seconds == [0.5, 1.0, 2.0]


def test_it_gives_up_at_the_deadline(server: Any, waits: Waits) -> None:
    server.script = [(429, {"retry-after": "3600"}, b"")]
    with pytest.raises(EndpointError, match="would be after the deadline of 600 s"):
        client(server.url, waits).chat(ASKED)
    assert waits.seconds == []


def test_nobody_there_and_nobody_answering_are_said(waits: Waits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        with pytest.raises(EndpointError, match="did not answer in time") as error:
            client(url, waits, retries=0, timeout_seconds=0.2).chat(ASKED)
        assert error.value.is_gone
    with pytest.raises(EndpointError, match=r"could not be reached .*\(tried 4 times\)"):
        client(url, waits).chat(ASKED)


def test_a_reply_that_trickles_ends_at_the_deadline(waits: Waits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        import threading

        def trickle() -> None:
            connection, _ = server.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 9999\r\n\r\n")
                try:
                    for _ in range(200):
                        connection.sendall(b" ")
                        time.sleep(0.02)
                except OSError:
                    pass

        threading.Thread(target=trickle, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/v1"
        began = time.monotonic()
        with pytest.raises(EndpointError, match="did not answer in time"):
            client(url, waits, retries=0, deadline_seconds=0.3).chat(ASKED)
        assert time.monotonic() - began < 3


def test_the_key_is_sent_and_never_shown(
    server: Any, waits: Waits, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MY_KEY", "sk-secret-123")
    server.script = [(401, {}, b"Incorrect API key provided: sk-secret-123")]
    asked = client(server.url, waits, key_variable="MY_KEY")
    with caplog.at_level("DEBUG"), pytest.raises(EndpointError, match=r"provided: \*\*\*") as e:
        asked.chat(ASKED)
    assert server.headers[0]["Authorization"] == "Bearer sk-secret-123"
    for text in (str(e.value), repr(asked), repr(asked.endpoint), caplog.text):
        assert "secret" not in text
    monkeypatch.delenv("MY_KEY")
    with pytest.raises(ConfigError, match="variable 'MY_KEY' is not set; it holds the API key"):
        client(server.url, waits, key_variable="MY_KEY")


@pytest.mark.parametrize("url", ["localhost:8000", "file:///etc", "http://", "http://u:p@h/v1"])
def test_an_address_that_is_none_is_refused_without_its_password(url: str, waits: Waits) -> None:
    with pytest.raises(ConfigError, match="is no address; wanted http://HOST/v1") as error:
        client(url, waits)
    assert "u:p" not in str(error.value)


@pytest.mark.parametrize(
    "settings", [{"timeout_seconds": 0.0}, {"deadline_seconds": -1.0}, {"retries": -1}]
)
def test_numbers_out_of_range_are_refused(settings: dict[str, Any], waits: Waits) -> None:
    with pytest.raises(ConfigError, match="wanted two numbers above 0"):
        client("http://localhost/v1", waits, **settings)
    with pytest.raises(ConfigError, match="No model was named"):
        Endpoint(base_url="http://localhost/v1", model="").check()


def test_tokens_have_the_given_prices() -> None:
    free = Endpoint(base_url="http://h/v1", model="m")
    assert free.price(1000, 1000) is None
    paid = Endpoint(base_url="http://h/v1", model="m", prompt_price=2.0, response_price=8.0)
    assert paid.price(500_000, 250_000) == pytest.approx(3.0)
    assert json.dumps(paid.price(0, 0)) == "0.0"
