"""Value and contract: where webhooks may go, what they carry, when they are tried again."""

from __future__ import annotations

import http.server
import json
import threading
from datetime import UTC, datetime

import pytest

from assay.collect import webhooks as sending
from assay.collect.webhooks import AddressError, Sender, checked_target, checked_url
from assay.errors import StoreError
from assay.store import webhooks as stored
from assay.store.database import now_ms

REFUSED = [
    # loopback, in every way that the system's resolver reads
    "http://127.0.0.1/", "http://127.1/", "http://127.255.255.254/", "http://2130706433/",
    "http://017700000001/", "http://0177.0.0.1/", "http://0x7f000001/", "http://0x7f.0.0.1/",
    "http://0x7f.1/", "http://[::1]/", "http://[0:0:0:0:0:0:0:1]/", "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:7f00:1]/", "http://[::127.0.0.1]/", "http://[64:ff9b::7f00:1]/",
    "http://[2002:7f00:1::]/", "http://localhost/", "http://LOCALHOST/", "http://localhost./",
    "http://a.localhost/", "http://127.0.0.1./",
    # this host, private nets, shared nets
    "http://0/", "http://0.0.0.0/", "http://[::]/", "http://10.0.0.1/", "http://167772161/",
    "http://172.16.0.1/", "http://192.168.1.1/", "http://0xc0a80101/", "http://100.64.0.1/",
    "http://[fc00::1]/", "http://[fd00:ec2::254]/", "http://[::ffff:10.0.0.1]/",
    "http://198.18.0.1/", "http://printer.local/", "http://metadata.google.internal/",
    # link-local and metadata, multicast, broadcast, documentation
    "http://169.254.169.254/latest/meta-data/", "http://2852039166/", "http://0xa9fea9fe/",
    "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://168.63.129.16/",
    "http://224.0.0.1/", "http://[ff02::1]/", "http://255.255.255.255/", "http://192.0.2.1/",
    # what only looks like another host
    "http://example.org@127.0.0.1/", "http://user:pw@example.org/", "http://@example.org/",
    "http://127。0。0。1/", "http://①②⑦.0.0.1/", "http://exämple.org/", "http://example.org\\@127.1/",
    "http://example.org\t/", "http://example.org /", "http://exa%6dple.org/",
    # no http, no host, no port
    "file:///etc/passwd", "gopher://example.org/", "ftp://example.org/", "//example.org/",
    "example.org", "http:///x", "http://", "http://example.org:0/", "http://example.org:99999/",
    "http://[::1", "http://example.org:x/", "javascript:alert(1)",
]  # fmt: skip


@pytest.mark.parametrize("url", REFUSED)
def test_an_address_that_must_not_be_told_is_refused_before_anything_is_looked_up(url):
    def never(host, port):
        raise AssertionError(f"looked up {host}:{port}")

    with pytest.raises(AddressError):
        checked_url(url)
    with pytest.raises(AddressError):
        checked_target(url, (), never)


def test_the_corpus_is_large_enough():
    assert len(set(REFUSED)) >= 40


@pytest.mark.parametrize(
    "found",
    ["127.0.0.1", "10.1.2.3", "169.254.169.254", "::1", "::ffff:192.168.0.1", "fe80::1%eth0",
     "64:ff9b::a00:1", "0.0.0.0", "224.1.1.1", "168.63.129.16"],
)  # fmt: skip
def test_a_name_is_refused_by_what_it_resolves_to(found):
    with pytest.raises(AddressError):
        checked_target("https://example.org/", (), lambda *_: [found])
    with pytest.raises(AddressError):  # one good address does not make up for it
        checked_target("https://example.org/", (), lambda *_: ["93.184.216.34", found])


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(receiver):
    """A name that means another address the second time it is asked (rebinding)."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])
    target = checked_target("http://example.org:81/a?b=c", (), lambda *_: next(answers))
    assert (target.address, target.host, target.port) == ("93.184.216.34", "example.org", 81)
    assert target.path == "/a?b=c"
    with pytest.raises(AddressError):
        checked_target("http://example.org:81/", (), lambda *_: next(answers))


def test_a_name_without_address_is_refused():
    def none(*_):
        raise OSError("no such host")

    with pytest.raises(AddressError, match="no address"):
        checked_target("https://example.org/", (), none)


def test_the_site_may_allow_hosts_of_its_own_network_but_never_the_machines_metadata():
    allowed = ("hooks.internal", "127.0.0.1")
    assert checked_target("http://127.0.0.1:9/", allowed).address == "127.0.0.1"
    found = checked_target("http://hooks.internal/", allowed, lambda *_: ["10.0.0.7"])
    assert found.address == "10.0.0.7"
    for address in ("169.254.169.254", "0.0.0.0", "ff02::1"):
        with pytest.raises(AddressError):
            checked_target("http://hooks.internal/", allowed, lambda *_, a=address: [a])
    with pytest.raises(AddressError):
        checked_target("http://127.0.0.2/", allowed)


# --- sending --------------------------------------------------------------------------------------


class Receiver:
    """A server that keeps what it is sent and answers as told."""

    def __init__(self):
        self.seen, self.status, self.hold = [], 200, None
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.seen.append((self.path, dict(self.headers), body))
                if outer.hold is not None:
                    outer.hold.wait(10)
                self.send_response(outer.status)
                self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.end_headers()
                self.wfile.write(b"ignored" * 1000)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/hook?x=1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def receiver():
    found = Receiver()
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def hooked(site, receiver):
    """A site with a webhook of judgments at the receiver."""
    made = site.store.write(
        stored.add_webhook, site.project, receiver.url, ["judgment.submitted"]
    )  # fmt: skip
    return site, receiver, *made


def _sender(site, **options):
    return Sender(site.store, ("127.0.0.1",), **options)


def _states(site, hook):
    return site.store.read(stored.deliveries, site.project, hook)


def test_an_event_is_told_once_with_a_signature_that_the_receiver_can_check(hooked):
    site, receiver, hook, secret = hooked
    made = site.judge("ada")
    assert _sender(site).round() == 1
    assert _sender(site).round() == 0
    path, headers, body = receiver.seen[0]
    assert len(receiver.seen) == 1
    said = json.loads(body)
    assert path == "/hook?x=1"
    assert said["event"]["action"] == headers["X-Assay-Event"] == "judgment.submitted"
    assert said["event"]["subject"] == made["id"]
    assert said["delivery"] == headers["X-Assay-Delivery"] == _states(site, hook)[0].id
    at = headers["X-Assay-Timestamp"]
    assert abs(int(at) - datetime.now(UTC).timestamp()) < 60
    assert sending.is_signed(secret, at, body, headers["X-Assay-Signature"])
    assert not sending.is_signed(secret, at, body + b" ", headers["X-Assay-Signature"])
    assert not sending.is_signed(secret, str(int(at) + 1), body, headers["X-Assay-Signature"])
    assert not sending.is_signed("other", at, body, headers["X-Assay-Signature"])
    assert secret.encode() not in body
    assert b"canary-model" not in body
    assert (_states(site, hook)[0].due, _states(site, hook)[0].status) == (None, "delivered")


def test_the_signature_is_the_standard_hmac():
    # printf '1700000000.{}' | openssl dgst -sha256 -hmac key
    assert sending.signature("key", "1700000000", b"{}") == (
        "sha256=" + __import__("hmac").digest(b"key", b"1700000000.{}", "sha256").hex()
    )


def test_failures_are_tried_again_later_and_later_and_then_given_up(hooked):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    receiver.status = 500
    now = [now_ms() + 1000]
    waits = []
    sender = _sender(site, jitter=lambda: 0.5, clock=lambda: now[0])
    while (state := _states(site, hook)[0]).due is not None:
        waits.append(max(0, state.due - now[0]) / 1000)
        now[0] = max(now[0], state.due)
        assert sender.round() == 1
    assert waits[1:] == [30.0, 150.0, 900.0, 3600.0, 14400.0]
    assert len(receiver.seen) == state.attempts == 6
    assert state.status == "given up: it answered 500"
    assert len({headers["X-Assay-Delivery"] for _, headers, _ in receiver.seen}) == 1
    assert site.store.read(stored.webhooks, site.project)[0].given_up == 1


def test_redirects_are_not_followed(hooked):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    receiver.status = 302
    assert _sender(site).round() == 1
    assert len(receiver.seen) == 1
    assert _states(site, hook)[0].status == "it answered 302"


def test_who_dies_between_sending_and_noting_sends_again_under_the_same_id(hooked, monkeypatch):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    now = [now_ms() + 1000]
    sender = _sender(site, clock=lambda: now[0])

    def killed(*_args):
        raise StoreError("killed")

    monkeypatch.setattr(sending.stored, "note", killed)
    with pytest.raises(StoreError):
        sender.round()
    monkeypatch.undo()
    assert sender.round() == 0  # it is still the dead one's
    now[0] += 61_000
    assert sender.round() == 1
    first, second = (headers["X-Assay-Delivery"] for _, headers, _ in receiver.seen)
    assert first == second
    assert _states(site, hook)[0].due is None


def test_two_processes_send_a_delivery_once(hooked):
    site, receiver, _hook, _ = hooked
    site.judge("ada")
    delivery, _, due = site.store.read(stored.due, now_ms() + 1, 10)[0]
    one, two = _sender(site), _sender(site)
    assert one.one(delivery, due) is True
    assert two.one(delivery, due) is None
    assert len(receiver.seen) == 1


def test_a_receiver_that_never_ends_is_cut_off(hooked, monkeypatch):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    monkeypatch.setattr(sending, "SEND_SECONDS", 0.3)
    receiver.hold = threading.Event()
    assert _sender(site).round() == 1
    receiver.hold.set()
    assert "no answer within" in _states(site, hook)[0].status or "timed out" in (
        _states(site, hook)[0].status
    )


def test_a_webhook_of_the_inside_is_not_told_where_the_site_does_not_allow_it(hooked):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    assert Sender(site.store).round() == 1
    assert receiver.seen == []
    assert "not public" in _states(site, hook)[0].status


def test_one_that_fails_keeps_no_other_waiting(hooked):
    site, receiver, hook, _ = hooked
    dead = site.store.write(
        stored.add_webhook, site.project, "http://127.0.0.1:1/", ["judgment.submitted"]
    )[0]
    for who in ("ada", "bob", "ada"):
        site.judge(who)
    # of the dead one's deliveries the first is tried, of the other's all
    assert _sender(site).round() == 4
    assert len(receiver.seen) == 3
    assert "Refused" in "".join(d.status for d in _states(site, dead))
    assert {d.status for d in _states(site, hook)} == {"delivered"}


def test_a_running_site_sends_in_the_background(hooked, monkeypatch):
    import time

    from starlette.testclient import TestClient

    from assay.collect.app import CollectSettings, make_app

    site, receiver, _, _ = hooked
    monkeypatch.setattr(sending, "POLL_SECONDS", 0.05)
    with TestClient(make_app(site.store, CollectSettings(webhook_hosts=("127.0.0.1",)))):
        site.judge("ada")
        until = time.monotonic() + 20
        while not receiver.seen and time.monotonic() < until:
            time.sleep(0.05)
    assert len(receiver.seen) == 1
    assert not any(t.name == "assay-webhooks" for t in threading.enumerate())


def test_a_store_that_is_away_does_not_end_the_thread(hooked, monkeypatch):
    site, receiver, _, _ = hooked
    site.judge("ada")
    sender = _sender(site, poll_seconds=0.01)
    original, failures = stored.due, [StoreError("away"), RuntimeError("a bug")]

    def due(*args):
        if failures:
            raise failures.pop()
        return original(*args)

    monkeypatch.setattr(sending.stored, "due", due)
    sender.start()
    until = __import__("time").monotonic() + 20
    while not receiver.seen and __import__("time").monotonic() < until:
        __import__("time").sleep(0.02)
    sender.stop()
    assert len(receiver.seen) == 1


def test_what_was_done_is_forgotten_after_thirty_days(hooked, monkeypatch):
    site, _, hook, _ = hooked
    monkeypatch.setattr(stored, "FORGOTTEN", 2)
    day, now = 24 * 3_600_000, now_ms()
    clock = [now]
    sender = _sender(site, clock=lambda: clock[0] + 600_000)
    left = []
    for days, who in ((0, "ada"), (0, "bob"), (29, "ada"), (31, "bob"), (31, "ada")):
        clock[0] = now + days * day
        site.judge(who)
        assert sender.round() == 1
        left.append(len(_states(site, hook)))
    assert left == [1, 2, 3, 2, 1]  # at most two go at a time


def test_what_is_not_done_is_never_forgotten(hooked):
    site, _, hook, _ = hooked
    site.judge("ada")
    later = now_ms() + 400 * 24 * 3_600_000
    assert site.store.write(stored.forget, later) == 0
    assert len(_states(site, hook)) == 1


def test_removing_a_webhook_drops_what_it_was_not_told(hooked):
    site, receiver, hook, _ = hooked
    site.judge("ada")
    assert site.store.write(stored.remove_webhook, site.project, hook) is True
    assert site.store.write(stored.remove_webhook, site.project, hook) is False
    assert _sender(site).round() == 0
    assert receiver.seen == []
    assert site.store.read(stored.deliveries, site.project, hook) is None


def test_a_project_has_at_most_so_many(site, monkeypatch):
    from assay.errors import ConfigError

    monkeypatch.setattr(stored, "MOST", 1)
    site.store.write(stored.add_webhook, site.project, "https://example.org/")
    with pytest.raises(ConfigError, match="remove one first"):
        site.store.write(stored.add_webhook, site.project, "https://example.org/")


def test_one_that_is_off_is_told_nothing(hooked):
    from sqlalchemy import update

    from assay.store import tables as t

    site, receiver, hook, _ = hooked
    site.judge("ada")
    site.store.write(lambda c: c.execute(update(t.webhooks).values(is_active=False)))
    assert _sender(site).round() == 0
    assert receiver.seen == []
    assert _states(site, hook)[0].status == "given up: the webhook is off"


def test_the_receiver_of_the_documentation_believes_what_is_sent():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "collect.md").read_text("utf-8")
    code = page.split("```python\n")[1].split("```")[0]
    names: dict = {}
    exec(code, names)
    at, body = str(now_ms() // 1000), b"{}"
    headers = {"X-Assay-Timestamp": at, "X-Assay-Signature": sending.signature("s", at, body)}
    assert names["is_ours"]("s", headers, body)
    assert not names["is_ours"]("s", headers, b"[]")
    assert not names["is_ours"]("other", headers, body)
    old = str(int(at) - 1000)
    headers = {"X-Assay-Timestamp": old, "X-Assay-Signature": sending.signature("s", old, body)}
    assert not names["is_ours"]("s", headers, body)
