"""A model's endpoint that misbehaves on command, in a thread or in a process of its own.

What a prompt says, it does: ``mood:rate*3`` in the last message (or the text) makes the first three
asks of that prompt fail so, ``mood:hang`` makes all of them. Without a mood it answers ``A`` with
log-probabilities where they are asked for. It counts what it would charge for, by prompt.

As a program: ``python fake_endpoint.py [--moods NAME,NAME,…]`` prints its address, and serves until
it is killed; ``--moods`` go to the first requests, one each. Only the standard library is used.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

MOODS = (
    "rate", "rate-after", "error", "busy", "forbidden", "hang", "trickle", "truncated", "page",
    "null-logprobs", "no-logprobs", "wrong-model", "error-body", "empty", "huge", "close",
    "no-usage", "redirect",
)  # fmt: skip
_MOOD = re.compile(r"mood:([a-z-]+)(?:\*(\d+))?")
PAGE = b"<!doctype html><html><body>Please log in</body></html>"


class FakeEndpoint:
    """What was asked and charged, and what to answer next."""

    def __init__(self, moods: Sequence[str] = (), latency_seconds: float = 0.0) -> None:
        unknown = set(moods) - set(MOODS)
        assert not unknown, unknown
        self.moods = list(moods)
        self.latency_seconds = latency_seconds
        self.asked: Counter[str] = Counter()
        self.paid: Counter[str] = Counter()
        self.prompt_tokens = self.response_tokens = 0
        self.most_at_a_time = self.at_a_time = 0
        self.url = ""
        self.port = 0
        self.heads: list[str] = []

    def mood_of(self, prompt: str) -> str | None:
        """How to take this ask of a prompt."""
        self.asked[prompt] += 1
        if self.moods:
            return self.moods.pop(0)
        found = _MOOD.search(prompt)
        if found is None:
            return None
        name, times = found.groups()
        assert name in MOODS, name
        return name if times is None or self.asked[prompt] <= int(times) else None

    def reply(self, prompt: str, asked: dict[str, Any], mood: str | None) -> dict[str, Any]:
        """The body of a good answer, but for what the mood says; it is charged for."""
        n = asked.get("n") or 1
        longest = asked.get("max_tokens") or asked.get("max_completion_tokens") or 1
        usage = {"prompt_tokens": len(prompt) // 4 + 8, "completion_tokens": longest * n}
        self.paid[prompt] += 1
        self.prompt_tokens += usage["prompt_tokens"]
        self.response_tokens += usage["completion_tokens"]
        body = {
            "id": "chatcmpl-1",  # the same for all: nobody may take it for a key
            "model": "another" if mood == "wrong-model" else asked.get("model"),
            "choices": [] if mood == "empty" else [_choice(asked, i, mood) for i in range(n)],
        }
        return body if mood == "no-usage" else body | {"usage": usage}

    def totals(self) -> dict[str, Any]:
        """What was charged for, as JSON."""
        return {
            "paid": dict(self.paid),
            "asked": sum(self.asked.values()),
            "prompt_tokens": self.prompt_tokens,
            "response_tokens": self.response_tokens,
            "most_at_a_time": self.most_at_a_time,
        }


def _choice(asked: dict[str, Any], index: int, mood: str | None) -> dict[str, Any]:
    is_chat = "messages" in asked
    said = {"message": {"role": "assistant", "content": "A"}} if is_chat else {"text": "A"}
    choice: dict[str, Any] = {"index": index, "finish_reason": "stop", **said}
    if not asked.get("logprobs") or mood == "no-logprobs":
        return choice
    top = {"A": -0.25, "B": -1.6}
    if is_chat:
        tops = [{"token": token, "logprob": value} for token, value in top.items()]
        logprobs: Any = {"content": [{"token": "A", "logprob": -0.25, "top_logprobs": tops}]}
    else:
        logprobs = {"tokens": ["A"], "token_logprobs": [-0.25], "top_logprobs": [top]}
    return choice | {"logprobs": None if mood == "null-logprobs" else logprobs}


class _Connection(asyncio.Protocol):
    """Reads requests off one connection and answers them, one after the other."""

    def __init__(self, endpoint: FakeEndpoint) -> None:
        self.endpoint = endpoint
        self.buffer = b""
        self.answering: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answering is not None:
            self.answering.cancel()

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        head, mark, rest = self.buffer.partition(b"\r\n\r\n")
        if not mark:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        size = int(length.group(1)) if length else 0
        if len(rest) < size:
            return
        self.buffer = rest[size:]
        self.endpoint.heads = [*self.endpoint.heads[-9:], head.decode("latin-1")]
        if head.startswith(b"GET"):
            self.write(200, json.dumps(self.endpoint.totals()).encode())
            return
        self.answering = asyncio.get_running_loop().create_task(self.answer(rest[:size]))

    def write(self, status: int, content: bytes, *headers: str, short: int = 0) -> None:
        lines = [f"HTTP/1.1 {status} X", f"content-length: {len(content) + short}", *headers]
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + content)

    async def answer(self, request: bytes) -> None:
        endpoint = self.endpoint
        endpoint.at_a_time += 1
        endpoint.most_at_a_time = max(endpoint.most_at_a_time, endpoint.at_a_time)
        try:
            asked = json.loads(request)
            prompt = asked["messages"][-1]["content"] if "messages" in asked else asked["prompt"]
            if endpoint.latency_seconds:
                await asyncio.sleep(endpoint.latency_seconds)
            await self.take(prompt, asked, endpoint.mood_of(prompt))
        finally:
            endpoint.at_a_time -= 1

    async def take(self, prompt: str, asked: dict[str, Any], mood: str | None) -> None:
        if mood in _FAILURES:
            status, content, headers = _FAILURES[mood]
            self.write(status, content, *headers)
        elif mood == "hang":
            await asyncio.sleep(3600)
        elif mood == "close":
            self.transport.abort()
        elif mood == "error-body":
            self.write(200, b'{"error": {"message": "overloaded", "code": 529}}')
        else:
            content = json.dumps(self.endpoint.reply(prompt, asked, mood)).encode()
            if mood == "truncated":
                content = content[: len(content) // 2]
            if mood == "trickle":
                await self.trickle(content)
            elif mood == "huge":
                await self.huge()
            else:
                self.write(200, content)

    async def trickle(self, content: bytes) -> None:
        self.write(200, b"", short=len(content))
        for byte in content:
            self.transport.write(bytes([byte]))
            await asyncio.sleep(0.05)

    async def huge(self) -> None:
        size = 2**20
        self.write(200, b"", short=200 * size)
        for _ in range(200):
            self.transport.write(b" " * size)
            await asyncio.sleep(0.001)


_FAILURES: dict[str | None, tuple[int, bytes, tuple[str, ...]]] = {
    "rate": (429, b'{"error": {"message": "slow down"}}', ()),
    "rate-after": (429, b'{"error": {"message": "slow down"}}', ("retry-after: 0.02",)),
    "error": (500, b"", ()),
    "busy": (503, b"<html>busy</html>", ()),
    "forbidden": (403, b'{"error": "no"}', ()),
    "page": (200, PAGE, ()),
    "redirect": (302, b"", ("location: http://169.254.169.254/latest/meta-data/",)),
}


async def _serve(
    endpoint: FakeEndpoint, ready: Any, ended: asyncio.Event, tls: ssl.SSLContext | None = None
) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        lambda: _Connection(endpoint), "127.0.0.1", 0, backlog=512, ssl=tls
    )
    endpoint.port = server.sockets[0].getsockname()[1]
    endpoint.url = f"http://127.0.0.1:{endpoint.port}/v1"
    ready()
    await ended.wait()
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@contextmanager
def fake_endpoint(
    moods: Sequence[str] = (), latency_seconds: float = 0.0, tls: ssl.SSLContext | None = None
) -> Iterator[FakeEndpoint]:
    """An endpoint in a thread for the block."""
    endpoint = FakeEndpoint(moods, latency_seconds)
    ready, ended, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()
    thread = threading.Thread(
        target=lambda: loop.run_until_complete(_serve(endpoint, ready.set, ended, tls)), daemon=True
    )
    thread.start()
    assert ready.wait(10)
    yield endpoint
    loop.call_soon_threadsafe(ended.set)
    thread.join(10)
    loop.close()


class ProcessEndpoint:
    """An endpoint in a process of its own; outlives whoever asks it."""

    def __init__(self, *arguments: str) -> None:
        command = [sys.executable, str(Path(__file__).resolve()), *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()

    def totals(self) -> dict[str, Any]:
        """What was charged for so far."""
        with urllib.request.urlopen(self.url, timeout=10) as answer:
            return dict(json.load(answer))

    def close(self) -> None:
        """End the process."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout is not None:
            self.process.stdout.close()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moods", default="", help="moods of the first requests, by commas")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before an answer")
    given = parser.parse_args()
    endpoint = FakeEndpoint([mood for mood in given.moods.split(",") if mood], given.latency)

    async def serve() -> None:
        await _serve(endpoint, lambda: print(endpoint.url, flush=True), asyncio.Event())

    asyncio.run(serve())


if __name__ == "__main__":
    main()
