"""Chains of arithmetic whose every step can be checked: a domain where first errors are known.

A problem is a start and some operations, worked from left to right modulo ``MODULUS`` and named by
letters, ``7a+2b*3``; a step is a line, ``7a+2=9``. What is asked is the last value modulo ``m``: a
chain that went wrong ends right with a chance of about 1/m, so m says how often answers are right
by luck. Knows nothing of models.

Letters: S steps of a chain.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from assay.formats.step_labels import labels_of_first_error
from assay.types import Message, Solution

MODULUS = 10
OPERATORS = "+-*"
OPERANDS = range(2, 10)
HARD = (6, 7, 8)
"""Rows of the times table in which the same slip is made again and again."""

LETTERS = "abcdefghij"
"""Names of the operations, so that a small model finds the one whose turn it is."""

_LINE = re.compile(r"(\d{1,3})([a-j])[+*-]\d=(\d{1,3})")


class Operation(NamedTuple):
    """What a step does to the value before it."""

    operator: str
    operand: int

    def of(self, value: int) -> int:
        """The value after it, modulo ``MODULUS``."""
        if self.operator == "*":
            return value * self.operand % MODULUS
        return (value + (self.operand if self.operator == "+" else -self.operand)) % MODULUS

    def __str__(self) -> str:
        return f"{self.operator}{self.operand}"


@dataclass(frozen=True, slots=True)
class Problem:
    """A start and the operations on it, in order ``(S,)``."""

    start: int
    operations: tuple[Operation, ...]

    @property
    def text(self) -> str:
        """As it is asked: ``7a+5b*3``."""
        named = zip(LETTERS, self.operations, strict=False)
        return f"{self.start}{''.join(f'{letter}{op}' for letter, op in named)}"

    @property
    def prompt(self) -> tuple[Message, ...]:
        """As a policy is asked."""
        return (Message("user", self.text),)

    @property
    def value(self) -> int:
        """The last value."""
        value = self.start
        for operation in self.operations:
            value = operation.of(value)
        return value

    def answer(self, m: int) -> str:
        """The right answer: the last letter with its value modulo m."""
        return f"{LETTERS[len(self.operations) - 1]}{self.value % m}"

    @property
    def is_hard(self) -> bool:
        """Whether it has a step that is got wrong the same way again and again."""
        return any(op.operator == "*" and op.operand in HARD for op in self.operations)


@dataclass(frozen=True, slots=True)
class Habits:
    """How whoever writes a chain goes wrong, and whether errors are noticed.

    ``slip`` is the share of steps with a wrong result or another operand than the problem's.
    ``table`` is the share of multiplications by ``HARD`` that land a row too low (7 * 8 = 49):
    always the same wrong result, so that samples of one problem go wrong together. ``rescue`` is
    the share of lines for which the line before is worked out again, and its slip undone.
    """

    slip: float = 0.1
    table: float = 0.6
    rescue: float = 0.0


SLOPPY = Habits()
CAREFUL = Habits(slip=0.0, table=0.0)
RESCUING = Habits(slip=0.0, table=0.0, rescue=1.0)


def draw_problems(
    count: int, rng: np.random.Generator, lengths: tuple[int, int], taken: Sequence[Problem] = ()
) -> list[Problem]:
    """Different problems, of so many steps to so many, none of them taken."""
    seen, found = set(taken), list[Problem]()
    while len(found) < count:
        steps = int(rng.integers(lengths[0], lengths[1] + 1))
        operations = tuple(
            Operation(OPERATORS[rng.integers(3)], int(OPERANDS[rng.integers(len(OPERANDS))]))
            for _ in range(steps)
        )
        problem = Problem(int(rng.integers(MODULUS)), operations)
        if problem not in seen:
            seen.add(problem)
            found.append(problem)
    return found


def write_chain(
    problem: Problem, habits: Habits, rng: np.random.Generator, begun: Sequence[str] = ()
) -> list[str]:
    """Steps to a problem by somebody with these habits, after those that are there, ``(S,)``."""
    steps = list(begun)
    while len(steps) < len(problem.operations):
        steps.append(next_step(problem, steps, habits, rng))
    return steps


def next_step(
    problem: Problem, steps: Sequence[str], habits: Habits, rng: np.random.Generator
) -> str:
    """The step that somebody with these habits writes after some."""
    place, value = len(steps), problem.start
    if steps:
        left, value = _read(steps[-1])
        if rng.random() < habits.rescue:
            value = problem.operations[place - 1].of(left)
    done, result = _work(value, problem.operations[place], habits, rng)
    return line(value, place, done, result)


def spoiled(step: str, rng: np.random.Generator) -> str:
    """The step with any result in place of its own."""
    return f"{step.partition('=')[0]}={rng.integers(MODULUS)}"


def line(value: int, place: int, operation: Operation, result: int) -> str:
    """A step as it is written."""
    return f"{value}{LETTERS[place]}{operation}={result}"


def _work(
    value: int, wanted: Operation, habits: Habits, rng: np.random.Generator
) -> tuple[Operation, int]:
    """What is done to a value, and what it is said to give."""
    done, result = wanted, wanted.of(value)
    if wanted.operator == "*" and wanted.operand in HARD and rng.random() < habits.table:
        result = value * (wanted.operand - 1) % MODULUS
    elif rng.random() < habits.slip:
        if rng.random() < 0.5:
            others = [operand for operand in OPERANDS if operand != wanted.operand]
            done = Operation(wanted.operator, int(rng.choice(others)))
            result = done.of(value)
        else:
            result = (result + int(rng.integers(1, MODULUS))) % MODULUS
    return done, result


def _read(step: str) -> tuple[int, int]:
    """Left value and result of a line that is a step."""
    found = _LINE.fullmatch(step)
    assert found is not None
    return int(found[1]), int(found[3])


def first_error(problem: Problem, steps: Sequence[str]) -> int | None:
    """Index of the first wrong step, None if the chain is sound.

    A step is wrong if it is no step, takes another value than the line before gave or another
    operation than the problem's, or if its result is wrong. A chain that stops early has no wrong
    step, and no answer.
    """
    value = problem.start
    for place, step in enumerate(steps):
        if place >= len(problem.operations):
            return place
        wanted = problem.operations[place]
        if step != line(value, place, wanted, wanted.of(value)):
            return place
        value = wanted.of(value)
    return None


def answer_of(text: str, m: int) -> str | None:
    """What a response answers: the last letter with its value modulo m; None without such a line.

    Another letter than the problem's last one says that it stopped early or went on too long.
    """
    found = _LINE.fullmatch(text.strip().rpartition("\n")[2])
    return f"{found[2]}{int(found[3]) % m}" if found else None


def is_complete(problem: Problem, text: str) -> bool:
    """Whether a response comes to the problem's last operation, so that it has an answer."""
    answer = answer_of(text, 1)
    return answer is not None and answer[0] == problem.answer(1)[0]


def judged(problem: Problem, text: str, m: int) -> Solution:
    """A response in steps, with its true labels up to the first error, and whether it ends right.

    ``answer`` is the reference, as labelling by rollouts wants it.
    """
    steps = tuple(text.split("\n"))
    return Solution(
        problem.prompt,
        steps,
        labels_of_first_error(first_error(problem, steps), len(steps)),
        answer=problem.answer(m),
        correct=answer_of(text, m) == problem.answer(m),
        id=problem.text,
    )
