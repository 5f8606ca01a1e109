"""A server on loopback that answers as it is told, well or badly."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Answer = tuple[int, dict[str, str], bytes]


@dataclass
class ScriptedServer:
    """Gives the scripted answers in order, the last one for ever; keeps what was asked.

    An answer is a JSON body, ``(status, headers, bytes)``, or a function of the request's body
    that gives either; None closes the connection without a word.
    """

    url: str = ""
    script: list[Any] = field(default_factory=list)
    bodies: list[dict[str, Any]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def next(self, path: str, headers: dict[str, str], body: dict[str, Any]) -> Answer | None:
        with self.lock:
            self.paths.append(path)
            self.headers.append(headers)
            self.bodies.append(body)
            answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if callable(answer):
            answer = answer(body)
        if isinstance(answer, dict):
            return 200, {"content-type": "application/json"}, json.dumps(answer).encode()
        return answer  # type: ignore[no-any-return]


@contextmanager
def scripted_server() -> Iterator[ScriptedServer]:
    """A server on loopback for the block."""
    scripted = ScriptedServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            answer = scripted.next(self.path, dict(self.headers.items()), body)
            if answer is None:
                self.close_connection = True
                self.connection.close()
                return
            status, headers, content = answer
            self.send_response(status)
            for name, value in {"content-length": str(len(content)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def handle(self) -> None:
            with suppress(OSError, ValueError):  # the connection is closed, as the script says
                super().handle()

        def finish(self) -> None:
            with suppress(OSError, ValueError):
                super().finish()

        def log_message(self, *_: Any) -> None: ...

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    scripted.url = f"http://127.0.0.1:{running.server_port}/v1"
    yield scripted
    running.shutdown()
    running.server_close()
    thread.join()
