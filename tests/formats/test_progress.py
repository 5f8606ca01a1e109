import sys

from assay.formats.progress import track


def test_items_pass_unchanged_without_a_terminal(capsys):
    assert list(track(iter(range(5)), "loading", after_seconds=0.0)) == list(range(5))
    assert capsys.readouterr().err == ""


def test_slow_work_is_shown_on_a_terminal(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    assert list(track(iter(range(5)), "loading a.jsonl", after_seconds=-1.0)) == list(range(5))
    assert "loading a.jsonl" in capsys.readouterr().err


def test_quick_work_is_not_shown(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert list(track(range(5), "loading", after_seconds=60.0)) == list(range(5))
    assert capsys.readouterr().err == ""
