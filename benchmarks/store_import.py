"""How long do 100,000 comparisons take into a store, in how much memory, and how long lists?"""

from __future__ import annotations

import os
import random
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from common import (
    Recorded,
    answer,
    databases,
    is_worker,
    main,
    run_worker,
    spread,
    table,
    write_record,
)

LIMITS = {"seconds": 60.0, "peak_mb": 400.0, "list_ms": 300.0}


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """An import in a process of its own, then what pages and annotators ask for."""

    comparisons: int = 100_000
    overlap: int = 3
    judged: int = 1000
    """Comparisons that one annotator judges before the lists are timed."""
    repeats: int = 20
    """Times that each list is read."""
    postgres: str | None = None
    """URL of an empty database. Default: ASSAY_POSTGRES, or else SQLite alone."""


def run(settings: Settings) -> None:
    """Import into every database, print the tables and write the record."""
    results: dict[str, Any] = {}
    with TemporaryDirectory() as folder:
        for name, url in databases(Path(folder), settings.postgres).items():
            job = {"url": url, "comparisons": settings.comparisons, "overlap": settings.overlap,
                   "judged": settings.judged, "repeats": settings.repeats}  # fmt: skip
            before = os.getloadavg()[0]
            results[name] = run_worker(__file__, "import", job)
            results[name] |= run_worker(__file__, "lists", job)
            results[name]["load_average"] = {"before": before, "after": os.getloadavg()[0]}
    print(table(
        ["store", "comparisons", "seconds (CPU)", "peak memory"],
        [
            [name, f"{settings.comparisons:,}",
             f"{found['seconds']:.1f} ({found['cpu_seconds']:.1f})", f"{found['peak_mb']:.0f} MB"]
            for name, found in results.items()
        ],
    ))  # fmt: skip
    print(table(
        ["store", "list", "median ms", "largest ms"],
        [
            [name, what, f"{ms['median']:.1f}", f"{ms['max']:.1f}"]
            for name, found in results.items()
            for what, ms in found["lists_ms"].items()
        ],
    ))  # fmt: skip
    write_record("store_import", settings, {"stores": results, "limits": LIMITS})


def import_them(job: dict[str, Any]) -> dict[str, Any]:
    """The import alone."""
    from store_load import made_comparison

    from assay.store.records import ProjectSettings
    from assay.store.store import PreferenceStore

    draw = random.Random(0)
    with PreferenceStore.open(job["url"]) as store:
        project = store.create_project("import", ProjectSettings(overlap=job["overlap"]))
        started, cpu = time.perf_counter(), time.process_time()
        store.add_comparisons(
            project, (made_comparison(i, draw) for i in range(job["comparisons"])), source="made"
        )
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": seconds, "cpu_seconds": cpu_seconds, "peak_mb": peak}


def time_lists(job: dict[str, Any]) -> dict[str, Any]:
    """What is asked for while people work."""
    from sqlalchemy import func, select

    from assay.store import assignment, changing
    from assay.store import tables as t
    from assay.store.ids import new_id
    from assay.store.people import add_annotator, set_role
    from assay.store.store import PreferenceStore

    with PreferenceStore.open(job["url"]) as store:
        project = store.projects()[0].id
        person, other = (store.write(add_annotator, name) for name in ("one", "two"))
        for who in (person, other):
            store.write(set_role, project, who, "annotator")
        for _ in range(job["judged"]):
            given = store.claim(project, person)
            assert given is not None
            store.submit(person, new_id(), given.comparison_id, {"raw": "tie"})
        c, j = t.comparisons.c, t.judgments.c
        page = (
            select(c.id, c.number, c.kind, c.purpose, c.filled, c.overlap)
            .where(c.project_id == project, c.number > job["comparisons"] // 2)
            .order_by(c.number)
            .limit(100)
        )
        mine = (
            select(j.id, j.comparison_id, j.submitted)
            .where(j.project_id == project, j.annotator_id == person, j.withdrawn.is_(None))
            .order_by(j.submitted.desc())
            .limit(100)
        )
        progress = select(func.count(), func.sum(c.filled), func.sum(c.overlap)).where(
            c.project_id == project, c.purpose == "work"
        )

        def wrapped() -> None:
            """A claim by one whose last place was the very last: past all that they judged."""
            store.write(changing.move, project, {})
            given = store.claim(project, person)
            assert given is not None
            store.write(assignment.release, person, given.comparison_id)

        def read(query: Any) -> Callable[[], Any]:
            return lambda: store.read(lambda connection: connection.execute(query).all())

        times = {
            "100 comparisons from the middle": read(page),
            "100 of an annotator's judgments": read(mine),
            "progress of the project": read(progress),
            "claim past what was judged, and release": wrapped,
        }
        return {
            "lists_ms": {
                name: spread([timed(work) for _ in range(job["repeats"])])
                for name, work in times.items()
            }
        }


def timed(work: Callable[[], Any]) -> float:
    """Milliseconds."""
    started = time.perf_counter()
    work()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    if is_worker(sys.argv):
        answer({"import": import_them, "lists": time_lists})
    else:
        main(run, Settings)
