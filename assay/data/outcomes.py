"""What an outcome reward model learns from solutions: whole responses that are right or wrong.

The same solutions that a process model learns from, so both can be compared. Knows nothing of
tokens and models.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from assay.data.pairs import PreferencePairs, fingerprint
from assay.errors import ConfigError, DataError
from assay.formats.steps import SEPARATOR, join_steps
from assay.formats.tally import Tally
from assay.types import LABEL, Comparison, Message, Messages, Preference, Solution

UNKNOWN = "solution of unknown outcome"
REPEATED = "duplicate"
CONTRADICTORY = "response that is both right and wrong"
ONE_SIDED = "solution of a problem without both a right and a wrong one"
BEYOND = "pair beyond the most of a problem"


@dataclass(frozen=True, slots=True)
class _Response:
    """A response to a problem, and whether it is right."""

    text: str
    correct: bool
    id: str | None
    subset: str | None

    @property
    def messages(self) -> Messages:
        return (Message("assistant", self.text),)


def outcome_pairs(
    solutions: Iterable[Solution],
    *,
    paired: bool = False,
    most: int | None = None,
    separator: str = SEPARATOR,
    seed: int = 0,
) -> PreferencePairs:
    """Responses labelled right or wrong as a whole, or right ones preferred to wrong ones.

    One response a solution whose outcome is known, labelled good where it is right: what the loss
    ``binary`` learns from. ``paired`` gives one comparison a problem instead, with a preference for
    every right response over every wrong one. Solutions of unknown outcome, repetitions, responses
    with both outcomes and, if ``paired``, problems with one outcome are counted as dropped.

    Args:
        paired: Compare responses of the same problem.
        most: At most so many pairs of a problem; which, the seed draws, in whatever order the
            solutions come.
        separator: What stands between the steps of a response.

    Raises:
        ConfigError: If ``most`` is less than 1, or there is nothing to pair.
        DataError: If no solution gives anything.
    """
    if most is not None and (most < 1 or not paired):
        raise ConfigError(
            f"most is {most}; it is the most pairs of a problem, 1 or more, and needs paired=True."
        )
    tally = Tally()
    problems = _by_problem(solutions, separator, tally)
    if paired:
        comparisons = list(_preferred(problems, most, seed, tally))
    else:
        comparisons = [
            _labelled(prompt, r) for prompt, responses in problems.items() for r in responses
        ]
    if not comparisons:
        gone = ", ".join(f"{count:,} {reason}" for reason, count in tally.dropped.items())
        wanted = "a right and a wrong response to one problem" if paired else "a labelled response"
        raise DataError(
            f"none of the {tally.rows:,} solutions gave {wanted}; dropped: {gone or 'none'}. "
            "Outcomes are the field 'correct'."
        )
    return PreferencePairs.from_comparisons(comparisons, tally)


def _by_problem(
    solutions: Iterable[Solution], separator: str, tally: Tally
) -> dict[Messages, list[_Response]]:
    """The different responses to each prompt that have one outcome, in order."""
    found: dict[Messages, dict[str, _Response]] = {}
    contradicted: set[tuple[Messages, str]] = set()
    for number, solution in enumerate(solutions, start=1):
        tally.rows += 1
        where = solution.id or f"solution {number}"
        if solution.correct is None:
            tally.drop(where, UNKNOWN)
            continue
        text = join_steps(solution.steps, separator)
        responses = found.setdefault(solution.prompt, {})
        earlier = responses.get(text)
        if (solution.prompt, text) in contradicted:
            tally.drop(where, CONTRADICTORY)
        elif earlier is None:
            responses[text] = _Response(text, solution.correct, solution.id, solution.subset)
        elif earlier.correct == solution.correct:
            tally.drop(where, REPEATED)
        else:
            tally.drop(where, CONTRADICTORY, 2)
            contradicted.add((solution.prompt, text))
            del responses[text]
    return {prompt: list(responses.values()) for prompt, responses in found.items()}


def _labelled(prompt: Messages, response: _Response) -> Comparison:
    return Comparison(
        prompt=prompt,
        responses=(response.messages,),
        preferences=(),
        id=response.id,
        subset=response.subset,
        ratings=({LABEL: float(response.correct)},),
    )


def _preferred(
    problems: Mapping[Messages, list[_Response]], most: int | None, seed: int, tally: Tally
) -> Iterator[Comparison]:
    for prompt, responses in problems.items():
        right = [i for i, r in enumerate(responses) if r.correct]
        wrong = [i for i, r in enumerate(responses) if not r.correct]
        pairs = [(i, j) for i in right for j in wrong]
        if not pairs:
            for response in responses:
                tally.drop(response.id or repr(response.text[:40]), ONE_SIDED)
            continue
        if most is not None and len(pairs) > most:
            tally.drop(repr(prompt[-1].content[:40]), BEYOND, len(pairs) - most)
            kept = set(sorted(pairs, key=lambda p: _rank(prompt, responses, p, seed))[:most])
            pairs = [pair for pair in pairs if pair in kept]
        used = sorted({i for pair in pairs for i in pair})
        place = {i: number for number, i in enumerate(used)}
        yield Comparison(
            prompt=prompt,
            responses=tuple(responses[i].messages for i in used),
            preferences=tuple(Preference(place[i], place[j]) for i, j in pairs),
            subset=responses[used[0]].subset,
        )


def _rank(prompt: Messages, responses: list[_Response], pair: tuple[int, int], seed: int) -> bytes:
    """A place drawn by seed and texts, the same in whatever order the solutions come."""
    texts = [[m.role, m.content] for m in prompt], [responses[i].text for i in pair]
    return hashlib.sha256(f"{seed}:{fingerprint(texts).hex()}".encode()).digest()
