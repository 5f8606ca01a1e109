"""Accuracy against n of what picks one of n sampled solutions: scores, votes, both, an oracle.

Letters: N samples of a problem · P problems · G values of n.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.errors import DataError
from assay.stats.arrays import Floats
from assay.stats.best_of import check_sizes, expected_best, pass_at_n
from assay.stats.intervals import cluster_mean
from assay.stats.voting import SUBSETS, expected_vote, number_answers
from assay.types import Figure

PASS, RANDOM, MAJORITY = "pass", "random", "majority"
WEIGHTED = " weighted"
"""Ends the name of a score that weighs votes."""


@dataclass(frozen=True, slots=True)
class SampledSolutions:
    """N solutions sampled of one problem: whether each is right, and what methods say of them.

    ``scores`` has N numbers by the name of each method; NaN where a solution could not be scored.
    ``answers`` are compared by equality; None where none was found, which is never right.
    """

    correct: Sequence[bool]
    scores: Mapping[str, Sequence[float] | Floats]
    answers: Sequence[Hashable | None] | None = None
    problem: str = ""


@dataclass(frozen=True)
class SelectionCurves:
    """Accuracy of each method for each n, a mean over problems, with what it was measured on.

    ``values`` has an estimate of each problem, ``(P, G)`` by method: ``pass`` (an oracle picks),
    ``random``, each score (the highest is picked), ``majority`` and, by each score's name and
    "weighted", the majority weighted by it.
    """

    n: tuple[int, ...]
    values: Mapping[str, Floats]
    samples: tuple[int, int]
    """Fewest and most samples of a problem."""
    subsets: int
    unanswered: int
    unscored: int

    @property
    def problems(self) -> int:
        """Problems, P."""
        return len(next(iter(self.values.values())))

    def curve(self, method: str) -> tuple[Figure, ...]:
        """A method's accuracy for each n, with intervals over problems."""
        return tuple(cluster_mean(column, bounds=(0.0, 1.0)) for column in self._of(method).T)

    def difference(self, method: str, other: str) -> tuple[Figure, ...]:
        """Accuracy of the one less that of the other for each n, paired by problem."""
        apart = self._of(method) - self._of(other)
        return tuple(cluster_mean(column, bounds=(-1.0, 1.0)) for column in apart.T)

    def curves(self) -> dict[str, tuple[Figure, ...]]:
        """The curve of every method."""
        return {method: self.curve(method) for method in self.values}

    def to_dict(self) -> dict[str, Any]:
        """As in ``results.json``: curves, and differences of all that could be used to select."""
        usable = [method for method in self.values if method not in (PASS, RANDOM)]
        return {
            "n": list(self.n),
            "problems": self.problems,
            "samples": list(self.samples),
            "subsets": self.subsets,
            "unanswered": self.unanswered,
            "unscored": self.unscored,
            "curves": {name: [f.to_dict() for f in row] for name, row in self.curves().items()},
            "differences": {
                f"{a} - {b}": [f.to_dict() for f in self.difference(a, b)]
                for a, b in combinations(usable, 2)
            },
        }

    def _of(self, method: str) -> Floats:
        if method not in self.values:
            raise DataError(f"No method is called {method!r}; there are {', '.join(self.values)}.")
        return self.values[method]


def selection_curves(
    problems: Sequence[SampledSolutions],
    n: Sequence[int] | None = None,
    weighted: Sequence[str] | None = None,
    subsets: int = SUBSETS,
    seed: int = 0,
) -> SelectionCurves:
    """Accuracy of every way to pick one of n samples, estimated from all N of each problem.

    Exact means over all subsets of n (``expected_best``, ``pass_at_n``) but for votes, which are
    means over random subsets (``expected_vote``). A sample without an answer is picked by a score
    only where none of the n has one, and a sample without a score only where none of them is
    scored; equal scores are as likely to be picked as one another. An unscored sample's vote weighs
    nothing.

    Args:
        n: Up to the fewest samples of a problem. Default: powers of 2, and the fewest.
        weighted: The scores that weigh votes too; 0 or more. Default: all, where there are answers.
        subsets: Random subsets behind a vote, of each problem and n.

    Raises:
        DataError: If there is no problem, or one is not like the others or not complete.
    """
    if not len(problems):
        raise DataError("Methods are compared on problems with sampled solutions; there are none.")
    names, voting = list(problems[0].scores), problems[0].answers is not None
    _check_names(names)
    for place, problem in enumerate(problems):
        _check(problem, names, voting, _name(problem, place))
    counts = [len(problem.correct) for problem in problems]
    fewest = min(counts)
    sizes = check_sizes(_powers(fewest) if n is None else n, fewest).tolist()
    weighing = (names if weighted is None else list(weighted)) if voting else []
    strange = sorted(set(weighing) - set(names))
    if strange:
        raise DataError(f"No score is called {strange[0]!r}; there are {', '.join(names)}.")
    rows: dict[str, list[Floats]] = {}
    for place, problem in enumerate(problems):
        try:
            found = _values(problem, sizes, weighing, subsets, [seed, place])
        except DataError as error:
            raise DataError(f"{_name(problem, place)}: {error}") from error
        for method, value in found.items():
            rows.setdefault(method, []).append(value)
    return SelectionCurves(
        n=tuple(sizes),
        values={method: np.stack(values) for method, values in rows.items()},
        samples=(fewest, max(counts)),
        subsets=subsets,
        unanswered=sum(list(p.answers).count(None) for p in problems if p.answers is not None),
        unscored=sum(int(np.isnan(s).sum()) for p in problems for s in p.scores.values()),
    )


def _values(
    problem: SampledSolutions,
    n: Sequence[int],
    weighing: Sequence[str],
    subsets: int,
    seed: Sequence[int],
) -> dict[str, Floats]:
    """Every method's value of one problem, ``(G,)`` each."""
    right = np.array(problem.correct, dtype=np.float64)
    count = len(right)
    answered = np.ones(count, dtype=np.bool_)
    found = {
        PASS: pass_at_n(int(right.sum()), count, n),
        RANDOM: np.full(len(n), right.mean()),
    }
    if problem.answers is not None:
        answered = number_answers(problem.answers, problem.correct)[0] >= 0
    for name, scores in problem.scores.items():
        found[name] = expected_best(_ranks(np.asarray(scores, np.float64), answered), right, n)
    if problem.answers is not None:
        weights = [np.ones(count)]
        weights += [
            np.nan_to_num(np.asarray(problem.scores[s], np.float64), nan=0.0) for s in weighing
        ]
        votes = expected_vote(problem.answers, problem.correct, n, weights, subsets, seed)
        found.update(zip([MAJORITY, *(s + WEIGHTED for s in weighing)], votes, strict=True))
    return found


def _ranks(scores: Floats, answered: NDArray[np.bool_]) -> Floats:
    """Ranks of scores, equal ones alike; below them 1 without a score and 0 without an answer."""
    scored = ~np.isnan(scores)
    rank = np.ones(len(scores))
    rank[scored] = 2 + np.unique(scores[scored], return_inverse=True)[1]
    return np.where(answered, rank, 0.0)


def _check_names(names: Sequence[str]) -> None:
    taken = {PASS, RANDOM, MAJORITY} & set(names)
    if taken:
        raise DataError(f"A score is called {taken.pop()!r}, which is a method by itself; rename.")


def _check(problem: SampledSolutions, names: Sequence[str], voting: bool, where: str) -> None:
    count = len(problem.correct)
    if not count:
        raise DataError(f"{where} has no samples; selection wants one or more of each problem.")
    if list(problem.scores) != list(names):
        raise DataError(
            f"{where} has the scores {', '.join(problem.scores) or 'of nobody'}; those before it "
            f"have {', '.join(names) or 'none'}."
        )
    if (problem.answers is not None) is not voting:
        raise DataError(f"{where}: either all problems have answers or none; give None for some.")
    for name, scores in problem.scores.items():
        if len(scores) != count:
            raise DataError(f"{where} has {count} samples and {len(scores)} scores by {name!r}.")
        if np.isinf(np.asarray(scores, dtype=np.float64)).any():
            raise DataError(f"{where}: a score by {name!r} is infinite; wanted a number, or NaN.")


def _name(problem: SampledSolutions, place: int) -> str:
    return f"Problem {problem.problem!r}" if problem.problem else f"Problem {place + 1}"


def _powers(most: int) -> list[int]:
    return [*(2**k for k in range(most.bit_length()) if 2**k < most), most]
