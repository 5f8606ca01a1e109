"""Algebra answers in time or not at all, runs nothing, and is there for the next question."""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path

import pytest

from assay.errors import MissingExtraError
from assay.feedback import symbolic
from assay.feedback.answers import compare_answers

pytestmark = pytest.mark.skipif(find_spec("math_verify") is None, reason="needs assay[math]")


def test_a_question_without_end_is_undecided_in_time_and_the_next_is_answered() -> None:
    assert compare_answers("x+1", "1+x", seconds=60.0) == "symbolic"
    before = symbolic._worker
    began = time.monotonic()
    assert compare_answers("9^{9^{9^{9}}}x", "x+1", seconds=0.5) == "undecided"
    assert time.monotonic() - began < 10
    assert compare_answers("x+1", "1+x", seconds=60.0) == "symbolic"
    assert symbolic._worker is not before
    assert compare_answers("x" * 3000, "x+1") == "undecided"


def test_answers_are_never_run_as_code(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    attack = f"__import__('pathlib').Path('{mark}').touch()"
    for text in (attack, f"sqrt({attack})", rf"\frac{{{attack}}}{{1}}"):
        assert compare_answers(text, "x+1", seconds=60.0) in ("undecided", "different")
    assert not mark.exists()


def test_a_process_that_died_is_started_again() -> None:
    assert symbolic.equal("x+1", "1+x", 60.0) is True
    assert symbolic._worker is not None
    symbolic._worker.kill()
    symbolic._worker.wait()
    assert symbolic.equal("x+1", "x+2", 60.0) is False


def test_what_is_no_mathematics_cannot_be_read_and_costs_no_new_process() -> None:
    assert symbolic.equal("x+1", "1+x", 60.0) is True
    before = symbolic._worker
    assert symbolic.equal("{{{", "1+x", 60.0) is None
    assert symbolic.equal("x+1", "1+x", 60.0) is True
    assert symbolic._worker is before


def test_what_cannot_be_started_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    symbolic._stop()
    monkeypatch.setattr(symbolic.sys, "executable", "/bin/false")
    with pytest.raises(MissingExtraError, match="could not be started; repair it with: pip"):
        symbolic.equal("x+1", "1+x", 60.0)
