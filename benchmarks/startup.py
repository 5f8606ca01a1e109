"""How long do ``import assay`` and ``assay --help`` take, against a bare Python?"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from common import Recorded, Skip, main, shown, spread, table, write_record

LIMITS = {"import assay": 0.2, "assay --help": 0.5}
"""Seconds, for the medians."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Wall time of a whole process, medians over runs taken in turns."""

    repeats: int = 15
    """Runs of each command."""


def run(settings: Settings) -> None:
    """Time the commands in turns, print the table and write the record."""
    times = measure(commands(), settings.repeats)
    bare = spread(times["bare Python"])["median"]
    rows, figures = [], {}
    for name, seconds in times.items():
        limit = LIMITS.get(name)
        median = spread(seconds)["median"]
        within = None if limit is None else median < limit
        figures[name] = {
            "seconds": seconds,
            **spread(seconds),
            "over_bare": median - bare,
            "limit": limit,
            "within_limit": within,
        }
        verdict = "" if limit is None else f"{limit:.1f} s: {'within' if within else 'OVER'}"
        rows.append([name, shown(seconds, unit=" s"), f"{median - bare:.3f} s", verdict])
    print(table(["command", "median (range)", "over bare", "limit"], rows))
    write_record("startup", settings, {"commands": figures})


def commands() -> dict[str, list[str]]:
    """The commands by name.

    Raises:
        Skip: If the ``assay`` command is not installed beside this Python.
    """
    script = Path(sys.executable).with_name("assay")
    if not script.exists():
        raise Skip("the assay command is not installed; run: pip install -e . (or make install).")
    return {
        "bare Python": [sys.executable, "-c", "pass"],
        "import assay": [sys.executable, "-c", "import assay"],
        "assay --help": [str(script), "--help"],
    }


def measure(commands: dict[str, list[str]], repeats: int) -> dict[str, list[float]]:
    """Seconds of every run, the commands taken in turns; a first run of each is left out."""
    times: dict[str, list[float]] = {name: [] for name in commands}
    for repeat in range(repeats + 1):
        for name, command in commands.items():
            started = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            if repeat:  # the first run compiles and fills the file cache
                times[name].append(time.perf_counter() - started)
    return times


if __name__ == "__main__":
    main(run, Settings)
