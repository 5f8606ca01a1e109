"""Comparisons as token trees with index arrays, and the count of what did not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import Truncation
from assay.data.contract import Renderer, Tokens
from assay.data.trees import Tree, build_tree
from assay.errors import ContractError, DataError
from assay.types import Comparison, Preference, Ratings

WINDOW = 256


@dataclass(frozen=True, slots=True)
class Example:
    """One comparison, tokenised: its tree, what is preferred to what, and where its prompt stands.

    ``lengths`` are the responses' own tokens; ``cluster`` numbers its prompt for clustered
    statistics. The rest is as in ``Comparison``.
    """

    tree: Tree
    tokens: tuple[Tokens, ...]
    preferences: tuple[Preference, ...]
    ranking: tuple[tuple[int, ...], ...] | None
    lengths: tuple[int, ...]
    cluster: int
    number: int = 0
    """Which of the comparisons that were encoded it is."""
    annotator: str | None = None
    first_shown: int | None = None
    ratings: Ratings | None = None

    @property
    def weight(self) -> float:
        """Mean weight of its preferences: a comparison counts once, whatever its responses."""
        return float(np.mean([p.weight for p in self.preferences])) if self.preferences else 1.0


@dataclass(frozen=True, slots=True)
class EncodeReport:
    """What tokenisation kept, dropped for length or by the contract, and truncated."""

    comparisons: int
    pairs: int
    dropped_too_long: int
    dropped_pairs: int
    dropped_by_contract: int
    truncated: int
    median_tokens: int
    max_length: int
    first_refusal: str = ""
    dropped_singles: int = 0

    def __str__(self) -> str:
        singles = f" and {self.dropped_singles:,} single responses" if self.dropped_singles else ""
        parts = [
            f"{self.dropped_pairs:,} pairs{singles} dropped: longer than {self.max_length:,} tokens"
        ]
        if self.truncated:
            parts.append(f"{self.truncated:,} prompts cut from the left")
        if self.dropped_by_contract:
            parts.append(
                f"{self.dropped_by_contract:,} comparisons refused by the contract "
                f"({self.first_refusal})"
            )
        return "; ".join(parts)


def encode(
    renderer: Renderer,
    comparisons: Sequence[Comparison],
    clusters: Sequence[int],
    *,
    share: bool,
    truncation: Truncation | None = None,
) -> tuple[list[Example], EncodeReport]:
    """Tokenise comparisons by a contract and apply its truncation policy to each whole comparison.

    Args:
        clusters: The prompt number of each comparison.
        share: Whether trees share their prompt (decoders) or not (encoders).

    Raises:
        DataError: If nothing is left.
        ContractError: If the policy is ``error`` and a conversation is too long.
    """
    examples: list[Example] = []
    too_long = dropped_pairs = dropped_singles = refused = truncated = 0
    first_refusal = ""
    totals: list[int] = []
    for start in range(0, len(comparisons), WINDOW):
        for offset, (comparison, tokens) in enumerate(
            _tokenise(renderer, comparisons[start : start + WINDOW])
        ):
            if isinstance(tokens, ContractError):
                refused += 1
                first_refusal = first_refusal or str(tokens)
                continue
            totals.append(max(len(t.ids) for t in tokens))
            try:
                fitted = [renderer.fit(t, truncation) for t in tokens]
            except ContractError as error:
                raise ContractError(f"Comparison {start + offset + 1}: {error}") from error
            kept = [t for t in fitted if t is not None]
            if len(kept) < len(fitted):
                too_long += 1
                dropped_pairs += len(comparison.preferences)
                dropped_singles += not comparison.preferences
                continue
            truncated += any(t.truncated for t in kept)
            examples.append(
                Example(
                    tree=build_tree(kept, share=share),
                    tokens=tuple(kept),
                    preferences=comparison.preferences,
                    ranking=comparison.ranking,
                    lengths=tuple(len(t.ids) - t.response_start for t in kept),
                    cluster=clusters[start + offset],
                    number=start + offset,
                    annotator=comparison.annotator,
                    first_shown=comparison.first_shown,
                    ratings=comparison.ratings,
                )
            )
    limit = renderer.contract.max_length
    median = int(np.median(totals)) if totals else 0
    if not examples:
        if refused:
            raise DataError(
                f"All {refused:,} comparisons were refused by the contract: {first_refusal}"
            )
        raise DataError(
            f"All {too_long:,} of {len(comparisons):,} comparisons are longer than "
            f"max_length={limit:,} tokens (median {median:,}); "
            "raise --max-length or ask for --truncation truncate-left."
        )
    report = EncodeReport(
        comparisons=len(examples),
        pairs=sum(len(e.preferences) for e in examples),
        dropped_too_long=too_long,
        dropped_pairs=dropped_pairs,
        dropped_by_contract=refused,
        truncated=truncated,
        median_tokens=median,
        max_length=limit,
        first_refusal=first_refusal,
        dropped_singles=dropped_singles,
    )
    return examples, report


def _tokenise(
    renderer: Renderer, window: Sequence[Comparison]
) -> list[tuple[Comparison, list[Tokens] | ContractError]]:
    """Tokens of every comparison of a window, or the error of those the contract refuses."""
    conversations = [c for comparison in window for c in comparison.conversations()]
    try:
        flat = iter(renderer.tokenise(conversations))
        return [(comparison, [next(flat) for _ in comparison.responses]) for comparison in window]
    except ContractError:
        results: list[tuple[Comparison, list[Tokens] | ContractError]] = []
        for comparison in window:
            try:
                results.append((comparison, renderer.tokenise(comparison.conversations())))
            except ContractError as error:
                results.append((comparison, error))
        return results


@dataclass(frozen=True, slots=True)
class PairIndex:
    """The P preferences of several examples, as arrays over their responses laid end to end."""

    chosen: NDArray[np.int64]
    rejected: NDArray[np.int64]
    probability: NDArray[np.float32]
    margin: NDArray[np.float32]
    example: NDArray[np.int64]
    cluster: NDArray[np.int64]
    length_difference: NDArray[np.float64]

    def rows(self, chosen: NDArray[np.int64]) -> PairIndex:
        """Some of the preferences; their responses stay numbered as they were."""
        return PairIndex(**{f.name: getattr(self, f.name)[chosen] for f in fields(self)})


def pair_index(examples: Sequence[Example]) -> PairIndex:
    """Preferences of examples, their response indexes offset by the responses before."""
    rows: list[tuple[int, int, float, float, int, int, float]] = []
    offset = 0
    for number, e in enumerate(examples):
        rows += [
            (
                offset + p.chosen,
                offset + p.rejected,
                p.probability,
                p.margin,
                number,
                e.cluster,
                float(e.lengths[p.chosen] - e.lengths[p.rejected]),
            )
            for p in e.preferences
        ]
        offset += len(e.lengths)
    columns: list[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * 7
    return PairIndex(
        chosen=np.asarray(columns[0], dtype=np.int64),
        rejected=np.asarray(columns[1], dtype=np.int64),
        probability=np.asarray(columns[2], dtype=np.float32),
        margin=np.asarray(columns[3], dtype=np.float32),
        example=np.asarray(columns[4], dtype=np.int64),
        cluster=np.asarray(columns[5], dtype=np.int64),
        length_difference=np.asarray(columns[6], dtype=np.float64),
    )
