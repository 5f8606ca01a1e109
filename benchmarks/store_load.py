"""Do fifty annotators at once get their next comparison in time, and is every quota met exactly?

Annotators are threads of one process, as those of a server are. Some abandon what they claimed,
some answer when their lease is long over.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import Recorded, databases, main, table, write_record
from sqlalchemy import func, select

from assay.store import tables as t
from assay.store.ids import new_id
from assay.store.people import add_annotator, set_role
from assay.store.records import NewComparison, NewResponse, ProjectSettings
from assay.store.store import PreferenceStore
from assay.types import as_messages

LIMITS = {"next": 60.0, "submit": 80.0}
"""Milliseconds, for the 95th percentiles."""
POINTS = ("first-much", "first-better", "tie", "second-slightly", "second-much")


@dataclass(frozen=True, kw_only=True)
class Load(Recorded):
    """Annotators at work, some of whom leave and some of whom are late."""

    annotators: int = 50
    comparisons: int = 2000
    overlap: int = 3
    think_seconds: float = 5.0
    """Mean of the exponential time from a comparison to its answer."""
    abandon: float = 0.1
    """Share of claims that are left until their lease runs out."""
    slow: float = 0.05
    """Share of answers that come after the lease."""
    lease_seconds: float = 20.0
    postgres: str | None = None
    """URL of an empty database. Default: ASSAY_POSTGRES, or else SQLite alone."""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Settings(Load):
    """Fifty annotators who think for five seconds, less than reading takes, then for none."""

    flat_out: int = 300
    """Comparisons of the run without pauses; 0 leaves it out."""


@dataclass
class Tally:
    """What one annotator met."""

    next_ms: list[float] = field(default_factory=list)
    submit_ms: list[float] = field(default_factory=list)
    acknowledged: list[str] = field(default_factory=list)
    abandoned: int = 0
    late: int = 0
    failure: BaseException | None = None


def run(settings: Settings) -> None:
    """Run every load on every database, print the table and write the record."""
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name, url in databases(Path(folder), settings.postgres).items():
            with PreferenceStore.open(url) as store:
                results[name] = load(store, settings, settings.comparisons, settings.think_seconds)
                if settings.flat_out:
                    results[f"{name}, flat out"] = load(store, settings, settings.flat_out, 0.0)
    print(table(
        ["store", "judgments", "per second", "next p50 / p95 / p99 ms", "submit p50 / p95 / p99 ms",
         "surplus", "quotas"],
        [
            [name, f"{found['judgments']:,}", f"{found['per_second']:.0f}",
             _shown(found["next_ms"]), _shown(found["submit_ms"]), f"{found['surplus']:,}",
             "exact" if found["exact"] else "NOT MET"]
            for name, found in results.items()
        ],
    ))  # fmt: skip
    write_record("store_load", settings, {"stores": results, "limits_ms": LIMITS})


def _shown(figures: dict[str, float]) -> str:
    return " / ".join(f"{figures[name]:.0f}" for name in ("p50", "p95", "p99"))


def load(
    store: PreferenceStore, settings: Settings, comparisons: int, think_seconds: float
) -> dict[str, Any]:
    """Judge a new project to its end; the figures."""
    project, people = prepared(store, settings, comparisons)
    done = threading.Event()
    tallies = [Tally() for _ in people]
    threads = [
        threading.Thread(
            target=_work, args=(store, project, person, settings, think_seconds, i, tally, done)
        )
        for i, (person, tally) in enumerate(zip(people, tallies, strict=True))
    ]
    before, started = os.getloadavg()[0], time.perf_counter()
    for thread in threads:
        thread.start()
    while open_count(store, project) and not any(tally.failure for tally in tallies):
        time.sleep(0.5)
    seconds = time.perf_counter() - started
    done.set()
    for thread in threads:
        thread.join()
    for tally in tallies:
        if tally.failure is not None:
            raise tally.failure
    return figures(store, project, tallies, settings.overlap, seconds) | {
        "seconds": seconds,
        "think_seconds": think_seconds,
        "load_average": {"before": before, "after": os.getloadavg()[0]},
    }


def prepared(store: PreferenceStore, settings: Load, comparisons: int) -> tuple[str, list[str]]:
    """A project full of comparisons, and its annotators."""
    name = f"load {new_id()}"
    project = store.create_project(
        name,
        ProjectSettings(
            overlap=settings.overlap, lease_minutes=settings.lease_seconds / 60, prefetch=20
        ),
    )
    people = [store.write(add_annotator, f"{i} of {name}") for i in range(settings.annotators)]
    for person in people:
        store.write(set_role, project, person, "annotator")
    draw = random.Random(settings.seed)
    store.add_comparisons(
        project, (made_comparison(i, draw) for i in range(comparisons)), source="made"
    )
    return project, people


def made_comparison(number: int, draw: random.Random) -> NewComparison:
    """A pair of some length."""

    def text(words: int) -> str:
        return " ".join(f"w{draw.randrange(5000)}" for _ in range(words))

    return NewComparison(
        as_messages(f"Question {number}: {text(30)}", "user"),
        tuple(
            NewResponse(as_messages(f"{side}: {text(80)}", "assistant"), model=f"model {side}")
            for side in ("one", "two")
        ),
    )


def _work(
    store: PreferenceStore,
    project: str,
    person: str,
    settings: Settings,
    think_seconds: float,
    number: int,
    tally: Tally,
    done: threading.Event,
) -> None:
    """One annotator, until all is done."""
    draw = random.Random(f"{settings.seed} {number}")
    done.wait(draw.uniform(0, think_seconds))
    left: dict[str, float] = {}
    try:
        while not done.is_set():
            now = time.monotonic()
            left = {i: until for i, until in left.items() if until > now}
            have = list(left)
            given = _timed(tally.next_ms, partial(store.claim, project, person, have))
            if given is None:
                done.wait(0.5)
            elif draw.random() < settings.abandon:
                tally.abandoned += 1
                left[given.comparison_id] = now + settings.lease_seconds
            else:
                is_late = draw.random() < settings.slow
                tally.late += is_late
                think = draw.expovariate(1 / think_seconds) if think_seconds else 0.0
                done.wait(settings.lease_seconds * 1.2 if is_late else think)
                _submit(store, person, given, draw, tally)
    except BaseException as error:
        tally.failure = error


def _submit(
    store: PreferenceStore, person: str, given: Any, draw: random.Random, tally: Tally
) -> None:
    identity, shown = new_id(), [response.id for response in given.responses]
    answer = {"raw": draw.choice(POINTS)}
    _timed(
        tally.submit_ms,
        lambda: store.submit(person, identity, given.comparison_id, answer, shown=shown),
    )
    tally.acknowledged.append(identity)


def _timed(times: list[float], work: Callable[[], Any]) -> Any:
    started = time.perf_counter()
    value = work()
    times.append(1000 * (time.perf_counter() - started))
    return value


def open_count(store: PreferenceStore, project: str) -> int:
    """Comparisons that want more judgments."""
    c = t.comparisons.c
    query = select(func.count()).where(c.project_id == project, c.filled < c.overlap)
    return int(store.read(lambda connection: connection.scalar(query)) or 0)


def figures(
    store: PreferenceStore, project: str, tallies: Sequence[Tally], overlap: int, seconds: float
) -> dict[str, Any]:
    """What came of it: times, and whether what the store holds is what was acknowledged."""
    j, c = t.judgments.c, t.comparisons.c
    rows = store.read(lambda connection: connection.execute(
        select(j.id, j.comparison_id, j.surplus, j.withdrawn).where(j.project_id == project)
    ).all())  # fmt: skip
    wanted = store.read(
        lambda connection: connection.scalar(
            select(func.count()).where(c.project_id == project, c.filled == overlap)
        )
    )
    counted: dict[str, int] = {}
    for row in rows:
        if row.withdrawn is None and not row.surplus:
            counted[row.comparison_id] = counted.get(row.comparison_id, 0) + 1
    acknowledged = [i for tally in tallies for i in tally.acknowledged]
    lost = set(acknowledged) - {row.id for row in rows}
    problems = store.problems()
    exact = len(counted) == wanted and set(counted.values()) == {overlap}
    return {
        "judgments": len(rows),
        "per_second": len(rows) / seconds,
        "next_ms": spread_of([ms for tally in tallies for ms in tally.next_ms]),
        "submit_ms": spread_of([ms for tally in tallies for ms in tally.submit_ms]),
        "abandoned": sum(tally.abandoned for tally in tallies),
        "late": sum(tally.late for tally in tallies),
        "surplus": sum(row.surplus for row in rows),
        "lost": len(lost),
        "problems": problems,
        "exact": exact and not lost and not problems,
    }


def spread_of(times: Sequence[float]) -> dict[str, float]:
    """Percentiles of times."""
    ordered = sorted(times)
    names = {"p50": 0.50, "p95": 0.95, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {name: ordered[round(share * last)] for name, share in names.items()}


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main(run, Settings)
