"""A progress line on a terminal for work that takes more than a moment."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

Item = TypeVar("Item")


def track(items: Iterable[Item], label: str, after_seconds: float = 2.0) -> Iterator[Item]:
    """The same items, counted on standard error if that is a terminal and it takes long."""
    if not sys.stderr.isatty():
        yield from items
        return
    began = time.monotonic()
    stream = iter(items)
    for count, item in enumerate(stream, start=1):
        yield item
        if time.monotonic() - began > after_seconds:
            yield from _shown(stream, label, count)


def _shown(stream: Iterator[Item], label: str, count: int) -> Iterator[Item]:
    from rich.console import Console
    from rich.progress import Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description} {task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(label, total=None, completed=count)
        for item in stream:
            yield item
            progress.advance(task)
