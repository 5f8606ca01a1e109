"""The monitor in the terminal: one table that is redrawn at every step, on stderr alone."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

    from assay.rlhf.monitor import Observation

COLUMNS = {
    "KL": "objective/kl",
    "proxy": "objective/proxy",
    "audit": "objective/audit",
    "gold": "objective/gold",
    "tokens": "response/length",
    "ended": "response/ended",
    "entropy": "response/entropy",
    "std": "objective/disagreement",
}
LAST = 3
"""Alarms and warnings that stay in sight."""


@contextmanager
def live_monitor(title: str = "monitor") -> Iterator[Callable[[Observation], None]]:
    """A function that shows an observation; it does nothing where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield lambda observation: None
        return
    from rich.console import Console, Group
    from rich.live import Live
    from rich.text import Text

    raised: list[tuple[str, str]] = []
    with Live(console=Console(stderr=True), auto_refresh=False) as live:

        def show(seen: Observation) -> None:
            raised.extend((n.kind, f"{n.kind}, step {n.step}: {n.text}") for n in seen.alarms)
            raised.extend((n.kind, f"{n.kind}, step {n.step}: {n.text}") for n in seen.warnings)
            colours = {"alarm": "bold red", "warning": "yellow"}
            # alarms stay, warnings make room for newer ones
            alarms = [each for each in raised if each[0] == "alarm"]
            warnings = [each for each in raised if each[0] == "warning"][-LAST:]
            lines = [Text(text, style=colours[kind]) for kind, text in (*alarms, *warnings)]
            live.update(Group(step_table(seen, title), *lines), refresh=True)

        yield show


def step_table(seen: Observation, title: str) -> Table:
    """One row: the step, the figures it has, and the step to go back to."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    cells = {title: f"step {seen.step:,}"}
    cells |= {
        name: f"{seen.figures[key]:.3g}" for name, key in COLUMNS.items() if key in seen.figures
    }
    if seen.best_step is not None:
        cells["best step"] = f"{seen.best_step:,}"
    for name in cells:
        table.add_column(name, justify="left" if name == title else "right", no_wrap=True)
    table.add_row(*cells.values())
    return table
