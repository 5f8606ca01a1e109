"""The table in the terminal: there on a terminal, nowhere else."""

from __future__ import annotations

import sys
from io import StringIO
from typing import Any

import pytest
from rich.console import Console

from assay.rlhf.alarms import Notice
from assay.rlhf.monitor import Observation
from assay.rlhf.monitor_live import live_monitor, step_table


def seen(step: int, *, alarms: Any = (), warnings: Any = ()) -> Observation:
    figures = {"objective/kl": 1.25, "objective/proxy": -0.5, "response/length": 20.0}
    return Observation(step, figures, alarms, warnings, (), False, bool(alarms), "", 7)


def test_nothing_is_written_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with live_monitor() as show:
        show(seen(1))
    assert capsys.readouterr() == ("", "")


def test_the_row_has_what_was_measured() -> None:
    console = Console(file=StringIO(), width=100)
    console.print(step_table(seen(1200), "rloo"))
    header, row = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert header.split() == ["rloo", "KL", "proxy", "tokens", "best", "step"]
    assert row.split() == ["step", "1,200", "1.25", "-0.5", "20", "7"]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_alarms_stay_in_sight(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    alarm = Notice("alarm", "unmatched", 3, "The audit does not follow.")
    with live_monitor() as show:
        show(seen(3, alarms=(alarm,)))
        for step in range(4, 9):
            show(seen(step, warnings=(Notice("warning", "longer", step, "Tokens rose."),)))
    last = terminal.getvalue().rpartition("step 8")[2] + terminal.getvalue()[-400:]
    assert "alarm, step 3: The audit does not follow." in last
    assert "warning, step 8" in last
    assert "warning, step 4" not in last
