"""Steps of solutions: text cut into them and joined again, and alternatives of one compared.

Letters: S steps of a solution.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import combinations

from assay.data.pairs import PreferencePairs
from assay.errors import DataError
from assay.formats.steps import SEPARATOR, StepRule, join_steps, split_steps
from assay.formats.tally import Tally
from assay.types import Comparison, Message, Messages, Preference, Solution

__all__ = ["SEPARATOR", "StepRule", "join_steps", "split_steps", "step_pairs"]

Path = tuple[Messages, tuple[str, ...]]
"""A prompt and the steps before the one in question."""

SAME_LABEL = "pair of alternatives with the same label"
CONTRADICTORY = "step labelled in two ways"


def step_pairs(solutions: Iterable[Solution], separator: str = SEPARATOR) -> PreferencePairs:
    """Preferences between labelled alternatives of a step: the one with the better label is chosen.

    Alternatives follow the same prompt and the same steps, in whatever solutions they are. Each
    comparison holds the alternatives of one step, as responses that end there, and a preference for
    every two whose labels differ; the margin is the difference of the labels, 1 or 2. Two with the
    same label, and steps that were labelled in two ways, are counted as dropped.

    Args:
        solutions: With labels; PRM800K's have alternatives.
        separator: What stands between the steps of a response.

    Raises:
        DataError: If no step has alternatives with different labels.
    """
    tally = Tally()
    comparisons = list(_comparisons(solutions, separator, tally))
    if not comparisons:
        gone = ", ".join(f"{n:,} {reason}" for reason, n in tally.dropped.items())
        raise DataError(
            f"none of the {tally.rows:,} solutions gave a pair of alternatives of one step with "
            f"different labels; dropped: {gone or 'none'}."
        )
    return PreferencePairs.from_comparisons(comparisons, tally)


def _comparisons(
    solutions: Iterable[Solution], separator: str, tally: Tally
) -> Iterator[Comparison]:
    found: dict[Path, dict[str, set[int]]] = {}
    subsets: dict[Path, str | None] = {}
    for solution in solutions:
        tally.rows += 1
        for place, label in enumerate(solution.labels):
            if label is not None:
                path = (solution.prompt, solution.steps[:place])
                alternatives = found.setdefault(path, {})
                alternatives.setdefault(solution.steps[place], set()).add(label)
                subsets.setdefault(path, solution.subset)
    for path, alternatives in found.items():
        labels = _agreed(alternatives, tally)
        comparison = _comparison(path, labels, subsets[path], separator, tally)
        if comparison is not None:
            yield comparison


def _agreed(alternatives: Mapping[str, set[int]], tally: Tally) -> dict[str, int]:
    """The alternatives that have one label, with it."""
    for step, labels in alternatives.items():
        if len(labels) > 1:
            tally.drop(f"step {step[:40]!r}", CONTRADICTORY)
    return {step: next(iter(labels)) for step, labels in alternatives.items() if len(labels) == 1}


def _comparison(
    path: Path, labels: Mapping[str, int], subset: str | None, separator: str, tally: Tally
) -> Comparison | None:
    prompt, before = path
    values = list(labels.values())
    preferences = []
    for i, j in combinations(range(len(values)), 2):
        if values[i] == values[j]:
            tally.drop(f"a step after {len(before)} others", SAME_LABEL)
            continue
        better, worse = (i, j) if values[i] > values[j] else (j, i)
        preferences.append(Preference(better, worse, margin=float(values[better] - values[worse])))
    if not preferences:
        return None
    responses = (join_steps([*before, step], separator) for step in labels)
    return Comparison(
        prompt=prompt,
        responses=tuple((Message("assistant", text),) for text in responses),
        preferences=tuple(preferences),
        subset=subset,
    )
