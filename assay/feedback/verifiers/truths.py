"""Verifiers against what is right: an answer as it is written, as a number, or tests of code."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from importlib.util import find_spec
from typing import Literal

from assay.feedback.answers import (
    TOLERANCE,
    compare_answers,
    final_answer,
    normalised,
    number_of,
)
from assay.feedback.sandbox import Limits, run_tests
from assay.feedback.tallies import ADD_ALGEBRA
from assay.feedback.verifiers.base import Check, Rule, response_of
from assay.feedback.verifiers.layout import fenced
from assay.types import Conversation

_PYTHON = ("python", "py", "python3")


@dataclass(frozen=True, kw_only=True)
class ExactAnswer(Rule, kind="exact_answer"):
    """That the response's answer is the right one, letter by letter.

    The answer is what the response states as such (``assay.feedback.answers``), else all of it.
    Dollar signs, spacing and a final full stop do not count.
    """

    answer: str | None = None
    """The right answer. Default: the truth given with each response."""
    case_sensitive: bool = False
    """Whether upper and lower case matter."""

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Compare the answers; without a right one it cannot be checked."""
        right = self.answer if self.answer is not None else truth
        if right is None:
            return Check.unchecked("no right answer is known")
        text = response_of(conversation)
        if not text.strip():
            return Check.of(False, "the response is empty")
        stated = final_answer(text)
        said = stated.text if stated is not None and stated.is_stated else text
        one, other = (
            x if self.case_sensitive else x.casefold()
            for x in (normalised(said), normalised(right))
        )
        return Check.of(one == other, f"answer: '{normalised(said)[:100]}'")


@dataclass(frozen=True, kw_only=True)
class NumericAnswer(Rule, kind="numeric_answer"):
    r"""That the response's answer has the right value: ``1/2``, ``0.5``, ``50%``, ``\frac12``.

    The answer is the last one stated, else the last number. What is no number is compared by
    algebra where the extra ``math`` is installed, and cannot be checked without.
    """

    answer: str | int | float | None = None
    """The right answer. Default: the truth given with each response."""
    tolerance: int | float = TOLERANCE
    """Largest relative difference."""
    absolute: int | float = 0.0
    """Or largest difference."""
    seconds: int | float = 5.0
    """Longest time for algebra."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in ("tolerance", "absolute"):
            if not 0 <= getattr(self, key) < float("inf"):
                raise self.wrong(f"'{key}' is {getattr(self, key)}; it must be 0 or more.")

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Compare the values; without a right one it cannot be checked."""
        right = truth if self.answer is None else str(self.answer)
        if right is None:
            return Check.unchecked("no right answer is known")
        stated = final_answer(right)
        right = stated.text if stated is not None and stated.is_stated else right
        found = final_answer(response_of(conversation))
        if found is None:
            return Check.of(False, "there is no answer")
        detail = f"answer: '{found.text[:100]}', by {found.source}"
        a, b = number_of(found.text), number_of(right)
        if a is not None and b is not None and abs(a - b) <= Fraction(self.absolute):
            return Check.of(True, detail)
        has_algebra = find_spec("math_verify") is not None
        verdict = compare_answers(
            found.text,
            right,
            symbolic=has_algebra,
            tolerance=float(self.tolerance),
            seconds=float(self.seconds),
        )
        if verdict == "undecided":
            why = "algebra could not tell" if has_algebra else ADD_ALGEBRA
            return Check.unchecked(f"{detail}; {why}")
        return Check.of(verdict != "different", detail)


@dataclass(frozen=True, kw_only=True)
class CodeTests(Rule, kind="code_tests"):
    """That the response's Python passes tests, in the sandbox (:mod:`assay.feedback.sandbox`).

    The code is what the response has in fenced blocks of Python, else all of it.

    Raises:
        SandboxError: When it checks, if untrusted code cannot be walled in here.
    """

    tests: str | None = None
    """The tests, in Python. Default: the truth given with each response."""
    block: Literal["last", "first", "all"] = "last"
    """Which blocks are the code."""
    before: str = ""
    """Python that goes before the code, such as imports."""
    redefined: tuple[str, ...] = ()
    """Python's builtins that the code is to define anew."""
    objects: bool = False
    """Whether tests use objects of the code's own classes, which answer for themselves."""
    seconds: int | float = 10.0
    """Longest time of a run."""
    cpu_seconds: int = 10
    """Most of the processor's time."""
    memory_mib: int = 512
    """Most memory."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.limits()

    def limits(self) -> Limits:
        """What the code may use."""
        return Limits(
            seconds=self.seconds, cpu_seconds=self.cpu_seconds, memory_mib=self.memory_mib
        )

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Run the tests; without any it cannot be checked. A limit is a failure."""
        tests = self.tests if self.tests is not None else truth
        if tests is None:
            return Check.unchecked("no tests are known")
        code = code_of(response_of(conversation), self.block)
        if not code.strip():
            return Check.of(False, "there is no code")
        outcome = run_tests(
            f"{self.before}\n{code}",
            tests,
            self.limits(),
            redefined=self.redefined,
            objects=self.objects,
        )
        detail = f"{outcome.kind}: {outcome.detail}" if outcome.detail else outcome.kind
        return Check.of(outcome.passed, detail)


def code_of(text: str, block: Literal["last", "first", "all"] = "last") -> str:
    """The Python of a response: of its fenced blocks of Python, else of any, else the text."""
    blocks = fenced(text)
    found = [c for lang, c in blocks if lang in _PYTHON] or [c for lang, c in blocks if not lang]
    if not blocks:
        return text
    if block == "all":
        return "\n".join(found)
    return found[-1 if block == "last" else 0] if found else ""
