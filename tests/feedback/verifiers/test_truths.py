"""Value: answers and tests of code, by hand; what cannot be told is never a failure."""

from __future__ import annotations

import math

import pytest

from assay.errors import ConfigError
from assay.feedback.sandbox import SandboxError, is_isolated
from assay.feedback.verifiers import Check, truths, verifier_of
from assay.feedback.verifiers.truths import code_of
from assay.types import Conversation


def check(spec, text, truth=None):
    return verifier_of(spec).check(Conversation.of("q", text), truth)


@pytest.mark.parametrize("kind", ["exact_answer", "numeric_answer", "code_tests"])
def test_without_a_truth_nothing_is_checked(kind):
    found = check({"kind": kind}, "The answer is 4.")
    assert found.passed is None
    assert math.isnan(found.score)


@pytest.mark.parametrize(
    ("text", "truth", "passed"),
    [
        ("The answer is Paris.", "paris", True),
        ("Paris", "Paris.", True),
        ("It is Paris", "Paris", False),
        (r"\boxed{B}", "B", True),
        ("#### 4", "4.0", False),
        ("", "4", False),
    ],
)
def test_exact_answers(text, truth, passed):
    assert check({"kind": "exact_answer"}, text, truth).passed is passed


def test_exact_answers_may_mind_their_case():
    spec = {"kind": "exact_answer", "case_sensitive": True, "answer": "Paris"}
    assert check(spec, "Paris", "what is given with the response does not count").passed
    assert not check(spec, "paris").passed


@pytest.mark.parametrize(
    ("text", "truth", "passed"),
    [
        ("So 3 + 4 = 7", "7", True),
        ("It is 7.0000001", "7", True),
        ("It is 7.1", "7", False),
        ("The answer is 1,234.50.", "1234.5", True),
        ("The answer is 3/4", "0.75", True),
        ("75%", "0.75", True),
        ("The answer is 7.", "some steps\n#### 7", True),
        ("I do not know", "7", False),
    ],
)
def test_numeric_answers(text, truth, passed):
    assert check({"kind": "numeric_answer"}, text, truth).passed is passed


@pytest.mark.parametrize(
    ("more", "passed"),
    [
        ({}, False),
        ({"tolerance": 0.02}, True),
        ({"absolute": 0.2}, True),
        ({"absolute": 0.05}, False),
    ],
)
def test_a_tolerance_is_relative_or_absolute(more, passed):
    assert check({"kind": "numeric_answer", "answer": 7, **more}, "It is 7.1").passed is passed


@pytest.mark.medium
def test_algebra_decides_what_is_no_number():
    pytest.importorskip("math_verify")
    assert check({"kind": "numeric_answer"}, r"\boxed{2\sqrt{2}}", r"\sqrt{8}").passed
    assert check({"kind": "numeric_answer"}, r"\boxed{2\sqrt{3}}", r"\sqrt{8}").passed is False


def test_without_algebra_it_is_unchecked(monkeypatch):
    monkeypatch.setattr(truths, "find_spec", lambda name: None)
    found = check({"kind": "numeric_answer"}, r"\boxed{2\sqrt{2}}", r"\sqrt{8}")
    assert found.passed is None
    assert "pip install 'assay[math]'" in found.detail


TWO = "First:\n```python\nx = 1\n```\nthen\n```py\ny = 2\n```\n```text\nnothing\n```"


@pytest.mark.parametrize(
    ("text", "block", "code"),
    [
        (TWO, "last", "y = 2\n"),
        (TWO, "first", "x = 1\n"),
        (TWO, "all", "x = 1\n\ny = 2\n"),
        ("```\nz = 3\n```", "last", "z = 3\n"),
        ("z = 3", "last", "z = 3"),
        ("```json\n{}\n```", "last", ""),
        ("~~~python\nz = '```'\n~~~", "last", "z = '```'\n"),
    ],
)
def test_the_code_of_a_response(text, block, code):
    assert code_of(text, block) == code


@pytest.mark.medium
@pytest.mark.skipif(not is_isolated(), reason="this kernel has no Landlock or no seccomp")
def test_code_is_tested_against_the_truth_and_limits_are_failures():
    spec = {"kind": "code_tests", "before": "import math", "seconds": 30}
    tests = "assert area(2) == 4 * math.pi"
    assert check(spec, "def area(r): return math.pi * r * r", tests) == Check(True, 1.0, "passed")
    assert check(spec, "def area(r): return 12.57", tests).passed is False
    loop = check({**spec, "seconds": 0.3}, "def area(r):\n    while True: pass", tests)
    assert loop.passed is False
    assert loop.detail.startswith("timeout: ")
    assert check(spec, "```json\n{}\n```", tests) == Check(False, 0.0, "there is no code")


def test_tests_that_are_no_python_and_a_kernel_without_walls_stop_the_run(monkeypatch):
    with pytest.raises(ConfigError, match="the tests are not Python"):
        check({"kind": "code_tests"}, "x = 1", "assert (")
    monkeypatch.setattr("assay.feedback.sandbox.missing_walls", lambda: "there is no Landlock")
    with pytest.raises(SandboxError, match="there is no Landlock"):
        check({"kind": "code_tests"}, "x = 1", "assert x")
