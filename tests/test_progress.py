"""Contract of progress: bars on a terminal, a line now and then elsewhere, stdout never."""

from __future__ import annotations

import sys

import pytest

from assay import progress
from assay.progress import LINE_SECONDS, QUIET_SECONDS, progress_bars


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, to be moved by hand."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_quick_stage_says_nothing(clock: list[float], capsys: pytest.CaptureFixture[str]) -> None:
    with progress_bars() as report:
        report("train", 0, 10, 0)
        clock[0] += QUIET_SECONDS / 2
        report("train", 10, 10, 0)
    assert capsys.readouterr() == ("", "")


def test_a_total_that_is_not_known_is_not_told(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bars() as report:
        for done in (0, 10, 20, 30):
            report("judging", done, 0, 0)
            clock[0] += LINE_SECONDS / 2 + 1
    assert capsys.readouterr().err.splitlines() == ["judging: 20 (0.6/s)"]


def test_a_slow_stage_says_speed_and_time_left_now_and_then(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bars() as report:
        report("train", 0, 4000, 0)
        for done in (1000, 2000, 4000):
            clock[0] += 20.0
            report("train", done, 4000, 100)
    out, err = capsys.readouterr()
    assert out == ""
    # at 20 s it is too early, at 40 s one line, at 60 s the end
    assert err.splitlines() == [
        "train: 2,000 of 4,000 (50.0/s · 5 tokens/s, 40 s left)",
        "train: 4,000 of 4,000 (66.7/s · 5 tokens/s, 0 s left)",
    ]


def test_stages_have_their_own_clocks(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    with progress_bars() as report:
        report("features", 0, 2, 0)
        clock[0] += LINE_SECONDS + 1
        report("features", 2, 2, 0)
        report("train", 1, 2, 0)
        clock[0] += QUIET_SECONDS / 2
        report("train", 2, 2, 0)
    err = capsys.readouterr().err
    assert err.startswith("features: 2 of 2 (")
    assert "train" not in err


def test_a_terminal_gets_bars_on_stderr(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "120")
    with progress_bars() as report:
        report("train", 1, 4, 0)
        report("train", 4, 4, 1000)
        report("features", 2, 2, 0)
    out, err = capsys.readouterr()
    assert out == ""
    assert "train" in err
    assert "4/4" in err
    assert "tokens/s" in err
    assert "features" in err


def test_a_note_stands_beside_the_speed(
    clock: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    cost = [0.25]
    with progress_bars(lambda: f"{cost[0]:.2f} spent") as report:
        report("judge", 0, 10, 0)
        clock[0] += 60.0
        cost[0] = 0.5
        report("judge", 6, 10, 0)
    assert capsys.readouterr().err == "judge: 6 of 10 (0.1/s · 0.50 spent, 40 s left)\n"
