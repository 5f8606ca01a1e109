"""Step labels by a judge: every step by itself, or the first that is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from assay.configs import Judge as JudgeConfig
from assay.data.solutions import Solutions
from assay.errors import TrainingError
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Answer, Judge, Question
from assay.formats.assay_solutions import to_row
from assay.formats.files import write_rows
from assay.formats.step_labels import BAD, GOOD, labels_of_first_error
from assay.types import Solution


@dataclass(frozen=True)
class JudgedSolutions:
    """How many steps (or, of the first error, solutions) were judged, and why the rest were not."""

    output: str
    task: str
    judge: str
    pack: str
    solutions: int
    steps: int
    questions: int
    said: Mapping[str, int]
    coverage: float
    labels: Mapping[str, int]

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__}

    def __str__(self) -> str:
        said = ", ".join(f"{n:,} {name}" for name, n in self.said.items())
        labels = ", ".join(f"{n:,} {name}" for name, n in self.labels.items())
        return (
            f"{self.judge}, pack {self.pack}: {self.questions:,} questions about {self.steps:,} "
            f"steps of {self.solutions:,} solutions: {said} (coverage {self.coverage:.3f})\n"
            f"steps: {labels}\nwritten to {self.output}"
        )


def steps_asked(
    config: JudgeConfig, references: Mapping[str, str] | None
) -> Iterator[list[Question]]:
    """The questions of each solution of the files."""
    questioner = Questioner(load_pack(config.pack), config.seed)
    for solution in _solutions(config):
        reference = (references or {}).get(solution.id or "")
        yield list(step_questions(solution, questioner, config.task, reference))


def _solutions(config: JudgeConfig) -> Solutions:
    return Solutions.load(config.files, on_bad_row=config.on_bad_row, limit=config.limit)


def run_steps(
    config: JudgeConfig,
    references: Mapping[str, str] | None,
    judge_of: Callable[[JudgeConfig, ExitStack], tuple[Judge, Any]],
) -> JudgedSolutions:
    """Solutions with labels by a judge, written whole or not at all.

    Raises:
        TrainingError: If fewer than ``min_coverage`` of the questions were answered.
    """
    from assay.progress import progress_bars

    solutions = _solutions(config)
    pack = load_pack(config.pack)
    asked = [question for own in steps_asked(config, references) for question in own]
    answers: list[Answer] = []
    with ExitStack() as stack, progress_bars() as report:
        judge, _ = judge_of(config, stack)
        for answer in judge.read(asked):
            answers.append(answer)
            report("judging", len(answers), len(asked), 0)
        name = judge.name
    labelled = list(labelled_solutions(list(solutions), answers, config.task, name))
    said = Counter(answer.said for answer in answers)
    coverage = said["answered"] / max(1, len(answers))
    if coverage < config.min_coverage:
        gone = ", ".join(f"{n:,} {why}" for why, n in said.items() if why != "answered")
        raise TrainingError(
            f"Only {coverage:.3f} of {len(answers):,} questions were answered, wanted "
            f"{config.min_coverage:g}: {gone}; nothing was written to {config.out}. Run it again "
            "and what failed is asked again, or lower --min-coverage."
        )
    write_rows(config.out, [to_row(s) for s in labelled])
    names = {GOOD: "good", BAD: "bad", None: "not judged", 0: "neutral"}
    labels = Counter(names[label] for s in labelled for label in s.labels)
    return JudgedSolutions(
        str(config.out),
        config.task,
        name,
        pack.label,
        len(labelled),
        sum(len(s.steps) for s in labelled),
        len(answers),
        {str(name): n for name, n in said.items()},
        coverage,
        dict(labels),
    )


def step_questions(
    solution: Solution, questioner: Questioner, task: str, reference: str | None = None
) -> Iterator[Question]:
    """A question for each step, or one for the whole."""
    if task == "first-error":
        yield questioner.first_error(solution.prompt, solution.steps, reference=reference)
        return
    for end in range(1, len(solution.steps) + 1):
        yield questioner.step(solution.prompt, solution.steps[:end], reference=reference)


def labelled_solutions(
    solutions: Sequence[Solution], answers: Sequence[Answer], task: str, name: str
) -> Iterator[Solution]:
    """Each solution with the judge's labels; without an answer a step is not judged.

    A step is good from P(right) above a half and bad below; the probability is kept beside it. Of
    the first error the most probable place counts; steps after it are not judged.
    """
    said = iter(answers)
    for solution in solutions:
        if task == "first-error":
            yield _by_first_error(solution, next(said), name)
            continue
        shares = [a.probabilities[0] if (a := next(said)).probabilities else None
                  for _ in solution.steps]  # fmt: skip
        labels = tuple(None if p is None or p == 0.5 else GOOD if p > 0.5 else BAD for p in shares)
        yield replace(solution, labels=labels, probabilities=tuple(shares), annotator=name)


def _by_first_error(solution: Solution, answer: Answer, name: str) -> Solution:
    choice = answer.choice
    count = len(solution.steps)
    labels: tuple[int | None, ...] = (None,) * count
    if choice is not None:
        labels = labels_of_first_error(None if choice == 0 else choice - 1, count)
    return replace(solution, labels=labels, probabilities=None, annotator=name)
