"""Rollouts counted: how many reach the reference answer, and how many say nothing either way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from importlib.util import find_spec

from assay.feedback.answers import Verdict, compare_answers, final_answer
from assay.feedback.rollouts import Prefix, Rollouts
from assay.formats.steps import SEPARATOR, join_steps
from assay.types import Solution

Check = Callable[[str, str], bool | None]
"""Whether a response (first) has the reference answer (second); None where it cannot tell."""

ADD_ALGEBRA = (
    "answers that take algebra to compare are undecided; add it with: pip install 'assay[math]'"
)


@dataclass(frozen=True, slots=True)
class Tally:
    """What the rollouts after a prefix say of it."""

    right: int
    wrong: int
    unfinished: int = 0
    undecided: int = 0

    @classmethod
    def known(cls, is_right: bool) -> Tally:
        """What is known without rollouts."""
        return cls(int(is_right), int(not is_right))

    @property
    def judged(self) -> int:
        """Rollouts that are right or wrong."""
        return self.right + self.wrong

    @property
    def share(self) -> float:
        """Share of the judged rollouts that are right: Math-Shepherd's soft estimate."""
        return self.right / self.judged


@dataclass(frozen=True, slots=True)
class Checker:
    """Compares responses with reference answers.

    ``note`` is for the report, where a comparison was undecided.
    """

    check: Check
    note: str | None = None

    def stated(self, solution: Solution) -> bool | None:
        """Whether a whole solution is right; None where it states no answer."""
        text = join_steps(solution.steps, SEPARATOR)
        found = final_answer(text)
        if found is None or not found.is_stated or solution.answer is None:
            return None
        return self.check(text, solution.answer)


def default_checker() -> Checker:
    """Compares final answers, by algebra where it is installed."""
    has_algebra = find_spec("math_verify") is not None
    # solutions of a problem give few different answers, and algebra is slow
    compare = lru_cache(maxsize=2**16)(partial(compare_answers, symbolic=has_algebra))
    return Checker(partial(has_answer, compare=compare), None if has_algebra else ADD_ALGEBRA)


def has_answer(
    response: str, answer: str, *, compare: Callable[[str, str], Verdict] = compare_answers
) -> bool | None:
    """Whether a response's final answer is the reference; None where that is undecided.

    A response without any answer has it not. The reference may be a whole solution that states it.

    Raises:
        MissingExtraError: If it takes algebra to compare, and that is not installed.
    """
    found, stated = final_answer(response), final_answer(answer)
    if found is None:
        return False
    reference = stated.text if stated is not None and stated.is_stated else answer
    verdict = compare(found.text, reference)
    return None if verdict == "undecided" else verdict != "different"


def tally_of(prefix: Prefix, answer: str, rollouts: Rollouts, checker: Checker) -> Tally:
    """Rollouts of a prefix, judged as whole responses; one that was cut short is not judged."""
    begun = prefix.begun(SEPARATOR)
    verdicts = [
        checker.check(begun + text, answer)
        for text, ended in zip(rollouts.texts, rollouts.ended, strict=True)
        if ended
    ]
    return Tally(
        right=verdicts.count(True),
        wrong=verdicts.count(False),
        unfinished=len(rollouts.texts) - len(verdicts),
        undecided=verdicts.count(None),
    )
