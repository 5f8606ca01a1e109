"""Chains of arithmetic whose every step can be checked: a domain where first errors are known.

A problem is a start and some operations, worked from left to right modulo ``MODULUS``; a step is a
line, ``7+5=12``. What is asked is the last value modulo ``m``: a chain that went wrong ends right
with a chance of about 1/m, so m says how often answers are right by luck. Knows nothing of models.

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

MODULUS = 20
OPERATORS = "+-*"
OPERANDS = range(2, 10)
HARD = (6, 7, 8)
"""Rows of the times table in which the same slip is made again and again."""

_LINE = re.compile(r"(\d{1,3})([+*-])(\d)=(\d{1,3})")


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
        """As it is asked: ``7+5*3``."""
        return f"{self.start}{''.join(map(str, self.operations))}"

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

    slip: float = 0.05
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
    for place in range(len(begun), len(problem.operations)):
        value = problem.start
        if steps:
            left, _, value = _read(steps[-1])
            if rng.random() < habits.rescue:
                value = problem.operations[place - 1].of(left)
        steps.append(_write(value, problem.operations[place], habits, rng))
    return steps


def _write(value: int, wanted: Operation, habits: Habits, rng: np.random.Generator) -> str:
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
    return f"{value}{done}={result}"


def _read(step: str) -> tuple[int, Operation, int]:
    """Left value, operation and result of a line that is one."""
    found = _LINE.fullmatch(step)
    assert found is not None
    return int(found[1]), Operation(found[2], int(found[3])), int(found[4])


def last_value(text: str) -> int | None:
    """The value that the last line of a response gives; None where it is no step."""
    found = _LINE.fullmatch(text.strip().rpartition("\n")[2])
    return int(found[4]) if found else None


def first_error(problem: Problem, steps: Sequence[str]) -> int | None:
    """Index of the first wrong step, None if the chain is sound.

    A step is wrong if it is no step, takes another value than the line before gave or another
    operation than the problem's, if its result is wrong, or if it is the last one and the
    problem has more.
    """
    value = problem.start
    for place, step in enumerate(steps):
        found = _LINE.fullmatch(step)
        if found is None or place >= len(problem.operations):
            return place
        wanted = problem.operations[place]
        if step != f"{value}{wanted}={wanted.of(value)}":
            return place
        value = wanted.of(value)
    return len(steps) - 1 if len(steps) < len(problem.operations) else None


def answer_of(value: int | None, m: int) -> str | None:
    """What is answered where the last value is this one."""
    return None if value is None else str(value % m)


def judged(problem: Problem, text: str, m: int) -> Solution:
    """A response in steps, with its true labels up to the first error, and whether it ends right.

    ``answer`` is the reference, as labelling by rollouts wants it.
    """
    steps = tuple(text.split("\n"))
    wanted = str(problem.value % m)
    return Solution(
        problem.prompt,
        steps,
        labels_of_first_error(first_error(problem, steps), len(steps)),
        answer=wanted,
        correct=answer_of(last_value(text), m) == wanted,
        id=problem.text,
    )
