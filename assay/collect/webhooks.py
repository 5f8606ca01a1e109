"""Events told to addresses of the team's choice: signed, retried, and never to a wrong host.

A delivery is taken by a conditional update, sent, and noted. Who dies between sending and noting
sends it again under the same delivery id; the receiver knows the repeat by that.

The body is the event as JSON. ``X-Assay-Signature`` is ``sha256=`` and the HMAC-SHA-256, by the
webhook's secret, of the timestamp header, a dot, and the body.
"""

from __future__ import annotations

import hashlib
import hmac
import http.client
import json
import logging
import random
import socket
import ssl
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from urllib.parse import urlsplit

from assay import addresses
from assay.addresses import AddressError, Resolver, Target, resolved
from assay.configs import Reach
from assay.errors import AssayError
from assay.store import webhooks as stored
from assay.store.database import now_ms
from assay.store.store import PreferenceStore

log = logging.getLogger("assay.collect.webhooks")

WAITS_SECONDS = (60.0, 300.0, 1800.0, 7200.0, 28_800.0)
"""Longest waits after the first, second, … failure; after one more failure it is given up."""
CONNECT_SECONDS = 5.0
SEND_SECONDS = 15.0
"""Longest time for one delivery, whatever the receiver does."""
TAKEN_SECONDS = 60.0
"""How long a process has a delivery for itself."""
POLL_SECONDS = 2.0
WORKERS = 4
ROUND = 10
"""Most deliveries of a webhook in a round."""
FORGET_MS = 3_600_000
"""How long until old deliveries are looked for again."""
ROUND_SECONDS = 5.0
"""After so long no further one is begun, so that a slow receiver keeps no other from its news."""

ADVICE = "name a public one, or start the site with this host among its webhook hosts"


def checked_url(url: str, allowed: Sequence[str] = ()) -> tuple[str, str, int, str]:
    """Scheme, host, port and path of a webhook's URL, where its form is good.

    Raises:
        AddressError: If it is no http or https URL of a host that may be told.
    """
    return addresses.checked_url(url, _reach(url, allowed), advice=ADVICE)


def checked_target(
    url: str, allowed: Sequence[str] = (), resolve: Resolver = resolved
) -> Target:  # fmt: skip
    """Where to connect for a URL: the very address that was checked.

    Args:
        allowed: Hosts of the team's own network that may be told, as the URL writes them.

    Raises:
        AddressError: If any address of the host is one that must not be reached.
    """
    return addresses.checked_target(url, _reach(url, allowed), resolve, advice=ADVICE)


def _reach(url: str, allowed: Sequence[str]) -> Reach:
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return "public"
    return "private" if host in allowed else "public"


# --- one delivery ---------------------------------------------------------------------------------


def body_of(due: stored.Due) -> bytes:
    """What is sent."""
    return json.dumps(
        {"delivery": due.id, "event": asdict(due.event)}, separators=(",", ":"), ensure_ascii=False
    ).encode()


def signature(secret: str, timestamp: str, body: bytes) -> str:
    """``sha256=`` and the HMAC of the timestamp, a dot, and the body."""
    mac = hmac.new(secret.encode(), timestamp.encode() + b"." + body, hashlib.sha256)
    return f"sha256={mac.hexdigest()}"


def is_signed(secret: str, timestamp: str, body: bytes, given: str) -> bool:
    """Whether a receiver may believe a body; compares in constant time."""
    return hmac.compare_digest(signature(secret, timestamp, body).encode(), given.encode())


def send(
    due: stored.Due,
    allowed: Sequence[str] = (),
    resolve: Resolver = resolved,
    context: ssl.SSLContext | None = None,
) -> str | None:
    """Send once; None where it was taken (2xx), else what went wrong. Redirects are not followed.

    The receiver's body is not read.
    """
    try:
        target = checked_target(due.url, allowed, resolve)
    except AddressError as error:
        return str(error)
    body, timestamp = body_of(due), str(now_ms() // 1000)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "assay-collect",
        "X-Assay-Event": due.event.action,
        "X-Assay-Delivery": due.id,
        "X-Assay-Timestamp": timestamp,
        "X-Assay-Signature": signature(due.secret, timestamp, body),
        "Connection": "close",
    }
    connection = _Connection(target, context)
    # a receiver that trickles its answer would outlast the timeout of each read
    end = threading.Timer(SEND_SECONDS, connection.cut)
    end.daemon = True
    end.start()
    try:
        connection.request("POST", target.path, body, headers)
        status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as error:
        if connection.was_cut:
            return f"no answer within {SEND_SECONDS:g} seconds"
        return f"{type(error).__name__}: {str(error)[:200]}"
    finally:
        end.cancel()
        connection.close()
    return None if 200 <= status < 300 else f"it answered {status}"


class _Connection(http.client.HTTPConnection):
    """To the address that was checked, under the name that the URL gives."""

    def __init__(self, target: Target, context: ssl.SSLContext | None):
        super().__init__(target.host, target.port, timeout=CONNECT_SECONDS)
        self.default_port = 443 if target.scheme == "https" else 80
        self._target, self._context = target, context
        self.was_cut = False

    def connect(self) -> None:
        """Connect, and for https check the certificate against the URL's host."""
        plain = socket.create_connection(
            (self._target.address, self._target.port), CONNECT_SECONDS
        )  # fmt: skip
        if self._target.scheme == "https":
            context = self._context or ssl.create_default_context()
            # shaken hands after it is noted, so that this too can be cut
            self.sock = context.wrap_socket(
                plain, server_hostname=self._target.host, do_handshake_on_connect=False
            )
            self.sock.do_handshake()
        else:
            self.sock = plain
        self.sock.settimeout(SEND_SECONDS)

    def cut(self) -> None:
        """End it from another thread."""
        self.was_cut = True
        with suppress(OSError, AttributeError):
            self.sock.shutdown(socket.SHUT_RDWR)


# --- all of them ----------------------------------------------------------------------------------


class Sender:
    """Sends what is due, in the background, a few at a time. Several processes may each have one.

    Args:
        allowed: Hosts of the team's own network that may be told.
        jitter: Draws from [0, 1); for tests.
        clock: Milliseconds; for tests.
    """

    def __init__(
        self,
        store: PreferenceStore,
        allowed: Sequence[str] = (),
        *,
        resolve: Resolver = resolved,
        jitter: Callable[[], float] = random.random,
        clock: Callable[[], int] = now_ms,
        poll_seconds: float = POLL_SECONDS,
        context: ssl.SSLContext | None = None,
    ):
        self._store, self._allowed, self._resolve = store, tuple(allowed), resolve
        self._jitter, self._clock, self._context = jitter, clock, context
        self._poll = poll_seconds
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._forget_at = 0

    def start(self) -> None:
        """Begin to send."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._run, name="assay-webhooks", daemon=True)
        self._thread.start()

    def stop(self, seconds: float = 5.0) -> None:
        """Send no more; what is under way ends, or is sent again by the next process."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                sent = self.round()
            except AssayError as error:
                log.warning("webhooks wait: %s", error)
                sent = 0
            except Exception:  # the thread must outlive whatever one round meets
                log.exception("a round of webhooks failed")
                sent = 0
            if not sent:
                self._stop.wait(self._poll)

    def round(self) -> int:
        """Send what is due now, up to a number for each webhook; how many were tried."""
        by_hook: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for delivery_id, webhook_id, was_due in self._store.read(stored.due, self._clock(), ROUND):
            by_hook[webhook_id].append((delivery_id, was_due))
        if not by_hook:
            return 0
        with ThreadPoolExecutor(WORKERS, thread_name_prefix="assay-webhook") as pool:
            tried = sum(pool.map(self._in_turn, by_hook.values()))
        self._forget()
        return tried

    def _forget(self) -> None:
        """Drop what was done long ago, once in a while."""
        now = self._clock()
        if now < self._forget_at:
            return
        if self._store.write(stored.forget, now) < stored.FORGOTTEN:
            self._forget_at = now + FORGET_MS

    def _in_turn(self, some: Sequence[tuple[str, int]]) -> int:
        """The deliveries of one webhook, one after the other, until one fails."""
        tried, end = 0, time.monotonic() + ROUND_SECONDS
        for delivery_id, was_due in some:
            if self._stop.is_set() or time.monotonic() > end:
                break
            took = self.one(delivery_id, was_due)
            tried += took is not None
            if took is False:
                break
        return tried

    def one(self, delivery_id: str, was_due: int) -> bool | None:
        """Take, send and note one; whether it arrived, or None where another process has it."""
        until = self._clock() + round(TAKEN_SECONDS * 1000)
        due = self._store.write(stored.take, delivery_id, was_due, until)
        if due is None:
            return None
        wrong = send(due, self._allowed, self._resolve, self._context)
        if wrong is None:
            self._store.write(stored.note, due.id, until, None, "delivered")
            return True
        if due.attempt > len(WAITS_SECONDS):
            log.warning("webhook delivery %s is given up: %s", due.id, wrong)
            self._store.write(stored.note, due.id, until, None, f"{stored.GIVEN_UP}{wrong}")
            return False
        wait = self._jitter() * WAITS_SECONDS[due.attempt - 1]
        again = self._clock() + max(1000, round(wait * 1000))
        self._store.write(stored.note, due.id, until, again, wrong)
        return False
