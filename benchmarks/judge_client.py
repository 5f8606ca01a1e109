"""How many judgments a second go through the client, and does its memory stay flat over many rows?

A fake endpoint in a process of its own answers at once, so what is timed is the client: the request
is written, sent, read, kept in the cache on disk, and counted against a budget. The baseline is the
HTTP library alone in a pool of threads, without any of that.
"""

import itertools
import resource
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
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
    rates: dict[str, list[float]] = {name: [] for name in SYSTEMS}
    for _ in range(settings.repeats):
        for name, rate in rates.items():
            rate.append(run_worker(__file__, name, job)["per_second"])
    memory = run_worker(__file__, "memory", {**job, "requests": settings.rows})
    rows = [(SYSTEMS[name], shown(rate, 0)) for name, rate in rates.items()]
    print(table(("system", f"judgments/s, {settings.in_flight} in flight"), rows))
    marks = [(f"{int(n):,}", f"{mb:.1f} MB") for n, mb in memory["peak_mb"].items()]
    print(table(("rows", "peak memory"), marks))
    print(f"{memory['per_second']:.0f} judgments/s over these rows; {WANTED} are wanted")
    write_record("judge_client", settings, {"per_second": rates, "memory": memory})


SYSTEMS = {
    "client": "Assay: cache, budget, in order",
    "cached": "Assay, all out of the cache",
    "library": "httpx2 in threads, nothing kept or counted (baseline)",
}


@contextmanager
def endpoint() -> Iterator[Any]:
    """A fake endpoint in another process."""
    sys.path.append(str(ROOT / "tests" / "feedback"))
    from fake_endpoint import ProcessEndpoint

    served = ProcessEndpoint()
    try:
        yield served
    finally:
        served.close()


def prompt(row: int) -> str:
    """What a judge is asked: some 1,500 characters, as two short responses are."""
    return f"Which answer to question {row} is better, A or B? " + "Some words of an answer. " * 60


def asked(url: str, folder: str, in_flight: int, rows: Iterable[int]) -> Iterator[int]:
    """The rows, each when it is judged."""
    from assay.feedback.cache import ReplyCache
    from assay.feedback.client import AsyncClient, Endpoint
    from assay.feedback.costs import Budget
    from assay.feedback.flow import each
    from assay.feedback.replies import Reply

    served = Endpoint(base_url=url, model="m", prompt_price=1.0, response_price=4.0)
    cache = ReplyCache(Path(folder) / "replies.sqlite")
    client = AsyncClient(served, cache=cache, budget=Budget(1e9))

    async def judge(row: int) -> Reply:
        return await client.chat((Message("user", prompt(row)),), **SETTINGS)

    for row, reply in each(rows, judge, in_flight):
        assert reply.choices[0].logprobs
        yield row
    client.close()
    cache.close()


def time_client(job: dict[str, Any]) -> dict[str, Any]:
    """Judgments a second, the first hundred left out."""
    with endpoint() as served, tempfile.TemporaryDirectory() as folder:
        rows = asked(served.url, folder, job["in_flight"], range(job["requests"] + 100))
        return {"per_second": rate_of(rows, job["requests"])}


def time_cached(job: dict[str, Any]) -> dict[str, Any]:
    """Judgments a second that were all asked before."""
    with endpoint() as served, tempfile.TemporaryDirectory() as folder:
        count = job["requests"] + 100
        for _ in asked(served.url, folder, job["in_flight"], range(count)):
            pass
        return {
            "per_second": rate_of(
                asked(served.url, folder, job["in_flight"], range(count)), job["requests"]
            )
        }


def time_library(job: dict[str, Any]) -> dict[str, Any]:
    """Requests a second of the HTTP library, in threads."""
    import httpx2

    with endpoint() as served, httpx2.Client(limits=httpx2.Limits(max_connections=None)) as http:

        def ask(row: int) -> int:
            messages = [{"role": "user", "content": prompt(row)}]
            body = {"model": "m", "messages": messages, **SETTINGS}
            reply = http.post(f"{served.url}/chat/completions", json=body)
            assert reply.json()["choices"][0]["logprobs"]
            return row

        with ThreadPoolExecutor(job["in_flight"]) as pool:
            return {
                "per_second": rate_of(pool.map(ask, range(job["requests"] + 100)), job["requests"])
            }


def measure_memory(job: dict[str, Any]) -> dict[str, Any]:
    """The largest resident size after a tenth of the rows, two, five, and all of them."""
    marks = {max(1, job["requests"] * share // 10) for share in (1, 2, 5, 10)}
    peaks: dict[str, float] = {}
    began = time.perf_counter()
    with endpoint() as served, tempfile.TemporaryDirectory() as folder:
        for row in asked(served.url, folder, job["in_flight"], range(job["requests"])):
            if row + 1 in marks:
                peaks[str(row + 1)] = peak_mb()
    return {"peak_mb": peaks, "per_second": job["requests"] / (time.perf_counter() - began)}


def rate_of(rows: Iterator[Any], count: int) -> float:
    """How many come in a second after the first hundred."""
    for _ in itertools.islice(rows, 100):
        pass
    began = time.perf_counter()
    done = sum(1 for _ in rows)
    assert done == count
    return count / (time.perf_counter() - began)


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
