"""Does the running site give fifty annotators their next comparison in time, and lose nothing?

``assay collect`` runs in a process of its own on loopback. The annotators are tasks of this
process: each has a session of its own and sends what the script of the page sends, the claim of a
comparison and the answer with an id that the client made, under the session's cookie and CSRF
token. Times are those that the client sees. What the server acknowledged is compared with what the
store holds when the server has ended.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx2
from common import databases, main, table, write_record
from store_load import LIMITS, POINTS, Load, Tally, figures, prepared, spread_of

from assay.collect.routing import COOKIE, CSRF_HEADER
from assay.errors import StoreError
from assay.store.ids import new_id
from assay.store.people import open_session
from assay.store.store import PreferenceStore

LONGEST_THOUGHT = 5
"""Times the mean: no thought is longer."""
EMPTY_SECONDS = 1.0
"""How long who was given nothing waits before they ask again."""
AGAIN_SECONDS = 0.5
"""How long a client waits after an answer that was none."""
CUT_SECONDS = 0.02
"""A submit whose answer is to be lost is cut off within this time, before or after it is stored."""
STOP_SECONDS = 30


@dataclass(frozen=True, kw_only=True)
class Settings(Load):
    """Fifty annotators who think for a second and a half, far less than reading takes."""

    think_seconds: float = 1.5
    """Mean of the exponential time from a comparison to its answer; five times it at most."""
    lease_seconds: float = 6.0
    lost: float = 0.05
    """Share of answers whose acknowledgement is lost, so that they are sent twice."""
    most_seconds: float = 900.0
    """A run that takes longer is ended, and its quotas are not met."""
    beside: str = "nothing"
    """What else ran on the machine, for the record."""


@dataclass
class Visits(Tally):
    """What one annotator's client met."""

    empty_ms: list[float] = field(default_factory=list)
    """Of claims for which there was nothing."""
    sent: int = 0
    """Requests, those among them that were cut off."""
    counted: int = 0
    """Judgments that the server said fill a place."""
    cut: int = 0
    """Submits that were cut off before their answer came, and sent again."""
    repeats: int = 0
    """Of these, those that the server knew by their id."""
    statuses: dict[str, int] = field(default_factory=dict)
    """Answers that were no success, by status; 0 where none came."""


def run(settings: Settings) -> None:
    """Load the site on every database, print the table and write the record."""
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name, url in databases(Path(folder), settings.postgres).items():
            results[name] = load(url, settings)
    print(table(
        ["store", "judgments", "requests per second", "next p50 / p95 / p99 ms",
         "submit p50 / p95 / p99 ms", "n", "5xx", "lost", "quotas", "peak memory"],
        [_line(name, found) for name, found in results.items()],
    ))  # fmt: skip
    write_record("collect_load", settings, {"stores": results, "limits_ms": LIMITS})


def _line(name: str, found: dict[str, Any]) -> list[str]:
    return [
        name, f"{found['judgments']:,}", f"{found['requests_per_second']:.0f}",
        *(" / ".join(f"{found[what][p]:.0f}" for p in ("p50", "p95", "p99"))
          for what in ("next_ms", "submit_ms")),
        f"{found['count']['next_ms']:,} / {found['count']['submit_ms']:,}",
        f"{found['server_errors']:,}", f"{found['lost']:,}",
        "exact" if found["exact"] else "NOT MET", f"{found['peak_mb']:.0f} MB",
    ]  # fmt: skip


def load(url: str, settings: Settings) -> dict[str, Any]:
    """Judge a new project to its end over HTTP; the figures."""
    with PreferenceStore.open(url) as store:
        project, people = prepared(store, settings, settings.comparisons)
        cookies = [store.write(open_session, person)[0] for person in people]
    before, started = os.getloadavg()[0], time.perf_counter()
    with served(url) as (address, process):
        visits, seconds = asyncio.run(visited(address, project, cookies, settings))
        server = _spent(process) | {"seconds_in_all": time.perf_counter() - started}
    with PreferenceStore.open(url) as store:
        found = figures(store, project, visits, settings.overlap, seconds)
    statuses: dict[str, int] = {}
    for visit in visits:
        for status, count in visit.statuses.items():
            statuses[status] = statuses.get(status, 0) + count
    times = {name: [ms for v in visits for ms in getattr(v, name)]
             for name in ("next_ms", "submit_ms", "empty_ms")}  # fmt: skip
    return found | server | {
        "seconds": seconds,
        "empty_ms": spread_of(times["empty_ms"]) if times["empty_ms"] else None,
        "count": {name: len(ms) for name, ms in times.items()},
        "requests_per_second": sum(visit.sent for visit in visits) / seconds,
        "cut": sum(visit.cut for visit in visits),
        "repeats": sum(visit.repeats for visit in visits),
        "statuses": statuses,
        "server_errors": sum(n for status, n in statuses.items() if status.startswith("5")),
        "load_average": {"before": before, "after": os.getloadavg()[0]},
    }  # fmt: skip


@contextmanager
def served(url: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The command in a process of its own, and its address; ended as a service's stop ends it.

    Raises:
        StoreError: If it does not start.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", "assay", "collect", "--db", url, "--port", "0"],
        stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith("Serving "):
            raise StoreError(f"assay collect must say where it serves, but said {line!r}.")
        yield line.split()[1].rstrip("/"), process
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _spent(process: subprocess.Popen[str]) -> dict[str, float]:
    """Peak memory and processor time of a process that runs, as Linux tells them."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(int(field) for field in fields[11:13])
    return {"peak_mb": int(peak.split()[1]) / 1024,
            "server_cpu_seconds": ticks / os.sysconf("SC_CLK_TCK")}  # fmt: skip


async def visited(
    address: str, project: str, cookies: list[str], settings: Settings
) -> tuple[list[Visits], float]:
    """Let every annotator work until all quotas are met; what each met, and the seconds it took."""
    visits = [Visits() for _ in cookies]
    wanted, done = settings.comparisons * settings.overlap, asyncio.Event()
    limits = httpx2.Limits(max_connections=2 * len(cookies))
    started = time.perf_counter()
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=20.0) as http:
        jobs = [
            asyncio.create_task(
                _Annotator(http, project, cookie, settings, number, visits[number], done).work()
            )
            for number, cookie in enumerate(cookies)
        ]
        while sum(visit.counted for visit in visits) < wanted and not _failed(jobs):
            if time.perf_counter() - started > settings.most_seconds:
                break
            await asyncio.sleep(0.05)
        seconds = time.perf_counter() - started
        done.set()
        await asyncio.gather(*jobs)
    return visits, seconds


def _failed(jobs: list[asyncio.Task[None]]) -> bool:
    return any(job.done() and job.exception() is not None for job in jobs)


class _Annotator:
    """One annotator's page: claims, thinks, and sends until it is told that the server has it."""

    def __init__(
        self,
        http: httpx2.AsyncClient,
        project: str,
        cookie: str,
        settings: Settings,
        number: int,
        visits: Visits,
        done: asyncio.Event,
    ):
        self.http, self.project, self.settings = http, project, settings
        self.headers = {"Cookie": f"{COOKIE}={cookie}", "Origin": str(http.base_url).rstrip("/"),
                        "Sec-Fetch-Site": "same-origin"}  # fmt: skip
        self.draw, self.visits, self.done = random.Random(f"{settings.seed} {number}"), visits, done

    async def work(self) -> None:
        """Until all is done."""
        settings, draw = self.settings, self.draw
        session = await self.http.get("/api/v1/me/session", headers=self.headers)
        self.headers[CSRF_HEADER] = session.raise_for_status().json()["csrf"]
        await self._pause(draw.uniform(0, settings.think_seconds))
        left: dict[str, float] = {}
        while not self.done.is_set():
            now = time.monotonic()
            left = {i: until for i, until in left.items() if until > now}
            task = await self._claimed(list(left))
            if task is None:
                await self._pause(EMPTY_SECONDS)
            elif draw.random() < settings.abandon:
                self.visits.abandoned += 1
                left[task["comparison_id"]] = now + settings.lease_seconds
            else:
                is_late = draw.random() < settings.slow
                self.visits.late += is_late
                await self._pause(1.2 * settings.lease_seconds if is_late else self._thought())
                await self._answered(task)

    def _thought(self) -> float:
        mean = self.settings.think_seconds
        return min(self.draw.expovariate(1 / mean), LONGEST_THOUGHT * mean) if mean else 0.0

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self.done.wait(), seconds)

    async def _claimed(self, have: list[str]) -> dict[str, Any] | None:
        """The next comparison; None where there is none now."""
        path = f"/api/v1/projects/{self.project}/claim"
        took, said = await self._called(path, {"have": have})
        if said is None:
            return None
        task: dict[str, Any] | None = said["assignment"]
        (self.visits.empty_ms if task is None else self.visits.next_ms).append(took)
        return task

    async def _answered(self, task: dict[str, Any]) -> None:
        """Send an answer until the server says that it has it, or refuses it."""
        path = "/api/v1/judgments"
        body = {
            "id": new_id(), "comparison_id": task["comparison_id"], "shown": task["shown"],
            "rubric_id": task["rubric_id"], "answer": {"raw": self.draw.choice(POINTS)},
        }  # fmt: skip
        if self.draw.random() < self.settings.lost:
            self.visits.cut += 1
            with suppress(TimeoutError):
                await asyncio.wait_for(self._sent(path, body), self.draw.uniform(0, CUT_SECONDS))
        took, said = await self._called(path, body)
        if said is not None:
            self.visits.submit_ms.append(took)
            self.visits.acknowledged.append(body["id"])
            self.visits.counted += not said["surplus"]
            self.visits.repeats += said["is_repeat"]

    async def _called(self, path: str, body: dict[str, Any]) -> tuple[float, dict[str, Any] | None]:
        """Milliseconds and the JSON of an answer; None where the request was refused.

        As the page does, what came to nothing is tried again, but not past the end of the run.
        """
        while True:
            started = time.perf_counter()
            status, said = await self._sent(path, body)
            took = 1000 * (time.perf_counter() - started)
            if status == 200:
                return took, said
            name = str(status)
            self.visits.statuses[name] = self.visits.statuses.get(name, 0) + 1
            if 400 <= status < 500 and status not in (408, 429):
                return took, None
            if self.done.is_set():
                return took, None
            await self._pause(AGAIN_SECONDS)

    async def _sent(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | None]:
        """Status and JSON of an answer; status 0 where none came."""
        self.visits.sent += 1
        try:
            response = await self.http.post(path, json=body, headers=self.headers)
        except httpx2.TransportError:
            return 0, None
        return response.status_code, response.json() if response.status_code == 200 else None


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(run, Settings)
