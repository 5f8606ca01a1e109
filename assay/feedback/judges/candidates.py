"""Rows to judge: candidates without labels, or preferences, whose labels judge the judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from assay.configs import OnBadRow
from assay.formats.comparisons import Pair, provenance_of, responses_of
from assay.formats.fields import Row, labels, prompt
from assay.formats.files import numbering, read_rows, shown_name
from assay.formats.rows import SHAPES, RowReader, Shape
from assay.formats.tally import Tally
from assay.types import Comparison, Preference

SINGLE = "a single response"
_JUDGED = ("judgments", "preferences")


def _candidates(row: Row) -> Comparison:
    # a single one is no error: generation found no second, and the reader counts it
    responses = responses_of(row, least=1)
    return Comparison(prompt(row), responses, (), provenance=provenance_of(row), **labels(row))


def _is_unjudged(row: Row) -> bool:
    return isinstance(row["responses"], list | tuple) and not any(row.get(k) for k in _JUDGED)


CANDIDATES = Shape("candidates", ("prompt", "responses"), _candidates, _is_unjudged)
"""Prompt and responses, as ``assay generate`` writes them."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A comparison to judge, and people's votes on its pairs, i < j: 1 for i, 0 for j, ½ a tie."""

    comparison: Comparison
    votes: Mapping[Pair, tuple[float, ...]]


def read_candidates(
    paths: Iterable[str], tally: Tally, *, on_bad_row: OnBadRow = "error", limit: int | None = None
) -> Iterator[Candidate]:
    """Comparisons of two or more responses, row by row; preferences they have are people's.

    Args:
        tally: Where the counts go of what is read and left out.

    Raises:
        DataError: At the first row that cannot be read, if ``on_bad_row`` is ``error``.
    """
    given = 0
    for path in paths:
        reader = RowReader(
            shown_name(path),
            numbering(path),
            on_bad_row,
            tally,
            (CANDIDATES, *SHAPES),
            singles=True,
            apart=True,
        )
        rows = reader.comparisons(read_rows(path, reader.bad_line))
        for place, group in groupby(rows, key=lambda row: row[0]):
            if limit is not None and given >= limit:
                return
            candidate = _joined([comparison for _, comparison in group])
            if len(candidate.comparison.responses) < 2:
                tally.drop(place, SINGLE)
                continue
            given += 1
            yield candidate


def _joined(apart: Sequence[Comparison]) -> Candidate:
    """The judgments of one row as one comparison."""
    votes: dict[Pair, list[float]] = {}
    for comparison in apart:
        for pair, share in human_shares(comparison).items():
            votes.setdefault(pair, []).append(share)
    first = apart[0]
    if len(apart) > 1:
        means = [(pair, sum(given) / len(given)) for pair, given in sorted(votes.items())]
        preferences = tuple(
            Preference(*(pair if p >= 0.5 else pair[::-1]), probability=max(p, 1 - p))
            for pair, p in means
        )
        first = replace(first, preferences=preferences, annotator=None, ranking=None)
    return Candidate(first, {pair: tuple(given) for pair, given in votes.items()})


def human_shares(comparison: Comparison) -> dict[Pair, float]:
    """What people said of every two responses they compared: P(the first is better), i < j."""
    found = {}
    for p in comparison.preferences:
        i, j = sorted((p.chosen, p.rejected))
        found[i, j] = p.probability if p.chosen == i else 1 - p.probability
    return found
