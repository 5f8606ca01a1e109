"""How many judgments a second go through the client, and does its memory stay flat over many rows?

A fake endpoint in a process of its own answers at once, so what is timed is the client: the request
is written, sent, read, kept in the cache on disk, and counted against a budget. The baseline is the
HTTP library alone in a pool of threads, without any of that.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from common import ROOT, Recorded, answer, is_worker, main, run_worker, shown, table, write_record

from assay.types import Message

WANTED = 500
"""Judgments a second."""
SETTINGS: dict[str, Any] = {"max_tokens": 1, "temperature": 0, "logprobs": True, "top_logprobs": 20}


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Judgments a second through the client, and its memory over many rows."""

    requests: int = 5_000
    """Requests of a timed run."""
    rows: int = 200_000
    """Rows of the run whose memory is measured."""
    in_flight: int = 64
    """Requests at a time."""
    repeats: int = 3
    """Timed runs of each system."""


def run(settings: Settings) -> None:
    """Time the systems in turns, measure the memory once, print tables, write the record."""
    job = {"in_flight": settings.in_flight, "requests": settings.requests}
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SYSTEMS}
    for _ in range(settings.repeats):
        for name, repeats in found.items():
            repeats.append(run_worker(__file__, name, job))
    memory = run_worker(__file__, "memory", {**job, "requests": settings.rows})
    rows = [
        (
            SYSTEMS[name],
            shown([r["per_second"] for r in repeats], 0),
            shown([r["processor_ms"] for r in repeats], 2, " ms"),
        )
        for name, repeats in found.items()
    ]
    print(table(("system", f"judgments/s, {settings.in_flight} in flight", "processor"), rows))
    marks = [(f"{int(n):,}", f"{mb:.1f} MB") for n, mb in memory["peak_mb"].items()]
    print(table(("rows", "peak memory"), marks))
    print(f"{memory['per_second']:.0f} judgments/s over these rows; {WANTED} are wanted")
    write_record("judge_client", settings, {"systems": found, "memory": memory})


SYSTEMS = {
    "client": "Assay: cache, budget, in order",
    "cached": "Assay, all out of the cache",
    "library": "httpx2 in threads, nothing kept or counted (baseline)",
}


@contextmanager
def endpoint() -> Iterator[Any]:
    """A fake endpoint in another process."""
    sys.path.append(str(ROOT / "tests" / "feedback"))
    served = import_module("fake_endpoint").ProcessEndpoint()
    try:
        yield served
    finally:
        served.close()


def prompt(row: int) -> str:
    """What a judge is asked: some 1,500 characters, as two short responses are."""
    return f"Which answer to question {row} is better, A or B? " + "Some words of an answer. " * 60


Judge = Callable[[Iterable[int]], Iterator[Any]]


@contextmanager
def client(job: dict[str, Any], folder: str) -> Iterator[Judge]:
    """What judges rows through Assay's client, the cache in a folder."""
    from assay.feedback.cache import ReplyCache
    from assay.feedback.client import AsyncClient, Endpoint
    from assay.feedback.costs import Budget
    from assay.feedback.flow import each
    from assay.feedback.replies import Reply

    with endpoint() as served:
        prices = {"prompt_price": 1.0, "response_price": 4.0}
        cache = ReplyCache(Path(folder) / "replies.sqlite")
        asking = AsyncClient(
            Endpoint(base_url=served.url, model="m", **prices), cache=cache, budget=Budget(1e9)
        )

        async def judge(row: int) -> Reply:
            return await asking.chat((Message("user", prompt(row)),), **SETTINGS)

        yield lambda rows: each(rows, judge, job["in_flight"])
        asking.close()
        cache.close()


def time_client(job: dict[str, Any]) -> dict[str, float]:
    """The client's figures."""
    with tempfile.TemporaryDirectory() as folder, client(job, folder) as judge:
        return timed(judge, job["requests"])


def time_cached(job: dict[str, Any]) -> dict[str, float]:
    """The client's figures where all was asked before."""
    with tempfile.TemporaryDirectory() as folder, client(job, folder) as judge:
        for _ in judge(range(job["requests"])):
            pass
        return timed(judge, job["requests"])


def time_library(job: dict[str, Any]) -> dict[str, float]:
    """The figures of the HTTP library, in threads."""
    import httpx2

    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
    with (
        endpoint() as served,
        httpx2.Client(limits=limits) as http,
        ThreadPoolExecutor(job["in_flight"]) as pool,
    ):

        def ask(row: int) -> Any:
            messages = [{"role": "user", "content": prompt(row)}]
            body = {"model": "m", "messages": messages, **SETTINGS}
            return http.post(f"{served.url}/chat/completions", json=body).json()["choices"]

        return timed(lambda rows: pool.map(ask, rows), job["requests"])


def timed(judge: Judge, count: int) -> dict[str, float]:
    """Judgments a second, and processor time of each, after a hundred others."""
    assert sum(1 for _ in judge(range(-100, 0))) == 100
    began, used = time.perf_counter(), time.process_time()
    assert sum(1 for _ in judge(range(count))) == count
    seconds, processor = time.perf_counter() - began, time.process_time() - used
    return {"per_second": count / seconds, "processor_ms": processor / count * 1e3}


def measure_memory(job: dict[str, Any]) -> dict[str, Any]:
    """The largest resident size after a tenth of the rows, two, five, and all of them."""
    marks = {max(1, job["requests"] * share // 10) for share in (1, 2, 5, 10)}
    peaks: dict[str, float] = {}
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, client(job, folder) as judge:
        for row, _ in judge(range(job["requests"])):
            if row + 1 in marks:
                peaks[str(row + 1)] = peak_mb()
    return {"peak_mb": peaks, "per_second": job["requests"] / (time.perf_counter() - began)}


def peak_mb() -> float:
    """This process's largest resident size so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1e6 if sys.platform == "darwin" else 1e3)


if __name__ == "__main__":
    if is_worker(sys.argv):
        answer(
            {
                "client": time_client,
                "cached": time_cached,
                "library": time_library,
                "memory": measure_memory,
            }
        )
    else:
        main(run, Settings)
