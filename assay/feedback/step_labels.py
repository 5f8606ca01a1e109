"""Labels of steps from rollouts: a step is good if a solver that goes on after it still gets there.

Monte-Carlo estimation of every step (Math-Shepherd, Wang et al. 2024), or bisection for the first
wrong one (OmegaPRM). The labels measure whether the completer still succeeds, which is not quite
whether the step is right: see ``assay.feedback.consensus``.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from assay.configs import StepLabelling
from assay.errors import ConfigError
from assay.feedback.first_error import Search
from assay.feedback.http import EndpointError
from assay.feedback.rollouts import Completer, Journal, Prefix, Rollouts, Spent, complete
from assay.feedback.step_label_report import StepLabelReport
from assay.feedback.tallies import Checker, Tally, default_checker, tally_of
from assay.formats.step_labels import BAD, GOOD, NEUTRAL, labels_of_first_error
from assay.progress import Report
from assay.types import Solution

NO_ANSWER = "no reference answer"
UNSOLVED = "prompt that no rollout solves"
FAILED = "too few rollouts"


def check_labelling(settings: StepLabelling) -> None:
    """Refuse settings that cannot work.

    Raises:
        ConfigError: If a number is out of its range.
    """
    if not 0 <= settings.bad_below <= settings.good_from <= 1:
        raise ConfigError(
            f"bad_below is {settings.bad_below:g} and good_from {settings.good_from:g}; "
            "wanted 0 <= bad_below <= good_from <= 1."
        )
    for name in ("rollouts", "min_rollouts", "batch_size"):
        if getattr(settings, name) < 1:
            raise ConfigError(f"{name} is {getattr(settings, name)}; wanted 1 or more.")
    if settings.min_rollouts > settings.rollouts:
        raise ConfigError(
            f"min_rollouts {settings.min_rollouts} is more than the {settings.rollouts} rollouts "
            "of a prefix, so nothing could be labelled."
        )


@dataclass(frozen=True, slots=True)
class LabelledSolutions:
    """Solutions in the order given; those that could not be labelled have no label.

    ``tallies`` has what the rollouts after each step said, None where there were none: both
    estimates can be made of it.
    """

    solutions: tuple[Solution, ...]
    tallies: tuple[tuple[Tally | None, ...], ...]  # (S,) each
    report: StepLabelReport


def label_solutions(
    solutions: Sequence[Solution],
    completer: Completer,
    settings: StepLabelling | None = None,
    *,
    journal: Path | None = None,
    checker: Checker | None = None,
    price: Callable[[int, int], float | None] | None = None,
    progress: Report | None = None,
) -> LabelledSolutions:
    """Solutions with a label and a probability of being right for each step.

    Where a solution says whether it is right (``correct``), or states its answer, its last step is
    judged by that and not by rollouts. Hard estimates make probabilities of 0 and 1.

    Args:
        journal: A file that keeps every rollout: the same call goes on where it was stopped, and
            a finished one is repeated for nothing.
        checker: Whether a response has the reference answer; None where it cannot tell.
        price: What so many prompt and response tokens cost.

    Raises:
        ConfigError: If a setting cannot work.
        EndpointError: If the completer is gone; what it wrote before is kept.
        DataError: If the journal is damaged.
    """
    settings = settings or StepLabelling()
    check_labelling(settings)
    run = _Run(completer, settings, Journal(journal), checker or default_checker(), progress)
    try:
        found = run.label(solutions)
    except EndpointError as error:
        kept = f"kept in {journal}; the same command goes on" if journal else "lost: name a journal"
        raise EndpointError(
            f"{error}; {run.spent.rollouts + run.spent.found:,} rollouts are {kept}.", is_gone=True
        ) from error
    spent = run.spent
    cost = price(spent.prompt_tokens, spent.response_tokens) if price else None
    return LabelledSolutions(
        tuple(s for s, _ in found), tuple(t for _, t in found), run.report(found, cost)
    )


_Labelled = tuple[Solution, tuple[Tally | None, ...]]


class _Run:
    """One labelling under way: its probes, its counts."""

    def __init__(
        self,
        completer: Completer,
        settings: StepLabelling,
        journal: Journal,
        checker: Checker,
        progress: Report | None,
    ) -> None:
        self.completer, self.settings, self.journal = completer, settings, journal
        self.checker, self.progress = checker, progress
        self.spent = Spent()
        self.dropped = dict.fromkeys((NO_ANSWER, UNSOLVED, FAILED), 0)
        self.seen: dict[tuple[Prefix, str], Tally | None] = {}

    def label(self, solutions: Sequence[Solution]) -> list[_Labelled]:
        found: list[_Labelled] = [(_unlabelled(s), (None,) * len(s.steps)) for s in solutions]
        usable = [i for i, s in enumerate(solutions) if s.answer is not None and s.steps]
        self.dropped[NO_ANSWER] += len(solutions) - len(usable)
        usable = self._solved(solutions, usable)
        chosen = [self._with_end(solutions[i]) for i in usable]
        by_method = self._bisect if self.settings.method == "first-error" else self._every_step
        for place, labelled in zip(usable, by_method(chosen), strict=True):
            found[place] = labelled
        return found

    def _solved(self, solutions: Sequence[Solution], usable: list[int]) -> list[int]:
        """Those whose prompt is solved by a rollout from the beginning."""
        if not self.settings.check_prompt:
            return usable
        tallies = self._probe("prompts", [(solutions[i], 0) for i in usable])
        kept = []
        for i, tally in zip(usable, tallies, strict=True):
            if tally is None:
                self.dropped[FAILED] += 1
            elif not tally.right:
                self.dropped[UNSOLVED] += 1
            else:
                kept.append(i)
        return kept

    def _with_end(self, solution: Solution) -> Solution:
        """The solution with ``correct``, where it states an answer and does not say."""
        if solution.correct is not None:
            return solution
        return replace(solution, correct=self.checker.stated(solution))

    def _every_step(self, solutions: Sequence[Solution]) -> list[_Labelled]:
        asked = [
            (s, k)
            for s in solutions
            for k in range(1, len(s.steps) + 1)
            if k < len(s.steps) or s.correct is None
        ]
        told = iter(self._probe("steps", asked))
        found = []
        for s in solutions:
            sampled = [next(told) for _ in range(len(s.steps) - (s.correct is not None))]
            if s.correct is None:
                found.append((self._estimated(s, sampled), tuple(sampled)))
            else:
                known = [*sampled, Tally.known(s.correct)]
                found.append((self._estimated(s, known), (*sampled, None)))
        return found

    def _estimated(self, solution: Solution, tallies: Sequence[Tally | None]) -> Solution:
        labels = tuple(self._label(t) if t else None for t in tallies)
        if all(label is None for label in labels):
            self.dropped[FAILED] += 1
            return _unlabelled(solution)
        return _labelled(solution, labels, self._probabilities(tallies))

    def _bisect(self, solutions: Sequence[Solution]) -> list[_Labelled]:
        searches: list[Search | None] = [
            Search.over(len(s.steps), ends_right=s.correct) for s in solutions
        ]
        tallies: list[list[Tally | None]] = [[None] * len(s.steps) for s in solutions]
        while True:
            open_ = [
                (i, k)
                for i, search in enumerate(searches)
                if search is not None and (k := search.next_probe) is not None
            ]
            if not open_:
                break
            told = self._probe("steps", [(solutions[i], k) for i, k in open_])
            for (i, k), tally in zip(open_, told, strict=True):
                search = searches[i]
                assert search is not None
                tallies[i][k - 1] = tally
                # without an answer the search cannot go on, and half a search names nothing
                searches[i] = search.told(self._label(tally) != BAD) if tally else None
        return [
            (self._searched(s, search, mine), tuple(mine))
            for s, search, mine in zip(solutions, searches, tallies, strict=True)
        ]

    def _searched(
        self, solution: Solution, search: Search | None, tallies: Sequence[Tally | None]
    ) -> Solution:
        if search is None:
            self.dropped[FAILED] += 1
            return _unlabelled(solution)
        labels = labels_of_first_error(search.first_error, len(solution.steps))
        if solution.correct is not None:
            tallies = [*tallies[:-1], Tally.known(solution.correct)]
        return _labelled(solution, labels, self._probabilities(tallies))

    def _label(self, tally: Tally) -> int:
        if self.settings.estimation == "hard":
            return GOOD if tally.right else BAD
        if tally.share < self.settings.bad_below:
            return BAD
        return GOOD if tally.share >= self.settings.good_from else NEUTRAL

    def _probabilities(self, tallies: Sequence[Tally | None]) -> tuple[float | None, ...]:
        if self.settings.estimation == "hard":
            return tuple(float(t.right > 0) if t else None for t in tallies)
        return tuple(t.share if t else None for t in tallies)

    def _probe(self, stage: str, asked: Sequence[tuple[Solution, int]]) -> list[Tally | None]:
        """What the rollouts after so many steps of each solution say; None where too few do."""
        keys = [(Prefix(s.prompt, s.steps[:k]), s.answer or "") for s, k in asked]
        prefixes = list(dict.fromkeys(prefix for prefix, _ in keys))
        written = complete(
            self.completer,
            prefixes,
            n=self.settings.rollouts,
            seed=self.settings.seed,
            journal=self.journal,
            spent=self.spent,
            batch_size=self.settings.batch_size,
            progress=self._reporter(stage, len(prefixes)),
        )
        rollouts = dict(zip(prefixes, written, strict=True))
        for key in keys:
            if key not in self.seen:
                self.seen[key] = self._tally(*key, rollouts[key[0]])
        return [self._judged(self.seen[key]) for key in keys]

    def _tally(self, prefix: Prefix, answer: str, rollouts: Rollouts) -> Tally | None:
        return tally_of(prefix, answer, rollouts, self.checker) if rollouts.error is None else None

    def _judged(self, tally: Tally | None) -> Tally | None:
        return tally if tally and tally.judged >= self.settings.min_rollouts else None

    def _reporter(self, stage: str, total: int) -> Callable[[int], None]:
        done, tokens = 0, self.spent.response_tokens

        def report(just: int) -> None:
            nonlocal done, tokens
            done += just
            new, tokens = self.spent.response_tokens - tokens, self.spent.response_tokens
            if self.progress:
                self.progress(stage, done, total, new)

        return report

    def report(self, found: Sequence[_Labelled], cost: float | None) -> StepLabelReport:
        tallies = [t for t in self.seen.values() if t is not None]
        labels = [label for s, _ in found for label in s.labels]
        return StepLabelReport(
            solutions=len(found),
            labelled=sum(any(x is not None for x in s.labels) for s, _ in found),
            dropped=dict(self.dropped),
            steps={k: labels.count(k) for k in (GOOD, NEUTRAL, BAD, None)},
            probes=len({prefix for prefix, _ in self.seen}),
            right=sum(t.right for t in tallies),
            wrong=sum(t.wrong for t in tallies),
            unfinished=sum(t.unfinished for t in tallies),
            undecided=sum(t.undecided for t in tallies),
            spent=self.spent,
            cost=cost,
            note=self.checker.note if any(t.undecided for t in tallies) else None,
        )


def _unlabelled(solution: Solution) -> Solution:
    return replace(solution, labels=(None,) * len(solution.steps), probabilities=None)


def _labelled(
    solution: Solution,
    labels: tuple[int | None, ...],
    probabilities: tuple[float | None, ...],
) -> Solution:
    return replace(solution, labels=labels, probabilities=probabilities, annotator="rollouts")
