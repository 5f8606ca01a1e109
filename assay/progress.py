"""Progress on stderr: bars on a terminal, a line now and then elsewhere, nothing on stdout."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable


@runtime_checkable
class Report(Protocol):
    """Takes what was just done of a stage."""

    def __call__(self, stage: str, done: int, total: int, tokens: int) -> None:
        """``done`` of ``total`` (steps, conversations); ``tokens`` just read, 0 where uncounted.

        A total of 0 is not known.
        """
        ...


QUIET_SECONDS = 2.0
LINE_SECONDS = 30.0


@contextmanager
def progress_bars(note: Callable[[], str] = str) -> Iterator[Report]:
    """A report for the block: bars with speed and time left, or lines if stderr is no terminal.

    Args:
        note: What stands beside the speed, asked for whenever something is shown: a cost so far.
    """
    if not sys.stderr.isatty():
        yield _Lines(note)
        return
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description:>10}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[speed]}"),
        TimeRemainingColumn(),
    )
    tasks: dict[str, TaskID] = {}
    meters: dict[str, _Meter] = {}
    with Progress(*columns, console=Console(stderr=True), transient=False) as bars:

        def report(stage: str, done: int, total: int, tokens: int) -> None:
            if stage not in tasks:
                tasks[stage] = bars.add_task(stage, total=total or None, speed="")
                meters[stage] = _Meter()
            speed = _noted(meters[stage].speed(done, tokens), note())
            bars.update(tasks[stage], completed=done, total=total or None, speed=speed)

        yield report


class _Meter:
    """Speed since the first report of a stage."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.first: int | None = None
        self.tokens = 0

    def speed(self, done: int, tokens: int) -> str:
        if self.first is None:
            self.first = done
            return ""
        self.tokens += tokens
        seconds = max(time.monotonic() - self.started, 1e-9)
        text = f"{(done - self.first) / seconds:,.1f}/s"
        return f"{text} · {self.tokens / seconds:,.0f} tokens/s" if self.tokens else text


def _noted(speed: str, note: str) -> str:
    return " · ".join(filter(None, (speed, note)))


class _Lines:
    """A line of progress now and then, for logs."""

    def __init__(self, note: Callable[[], str]) -> None:
        self.note = note
        self.meters: dict[str, _Meter] = {}
        self.last: dict[str, float] = {}

    def __call__(self, stage: str, done: int, total: int, tokens: int) -> None:
        meter = self.meters.setdefault(stage, _Meter())
        speed = _noted(meter.speed(done, tokens), self.note())
        now = time.monotonic()
        due = now - self.last.get(stage, meter.started) > LINE_SECONDS
        if due or (0 < total <= done and now - meter.started > QUIET_SECONDS):
            self.last[stage] = now
            left = (now - meter.started) / max(done - (meter.first or 0), 1) * (total - done)
            told = f"of {total:,} ({speed}, {left:,.0f} s left)" if total else f"({speed})"
            print(
                f"{stage}: {done:,} {told}",
                file=sys.stderr,
                flush=True,
            )
