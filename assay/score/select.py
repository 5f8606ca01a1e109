"""The verb ``assay select``: unlabelled rows in, those most worth labelling out, in order.

Letters: B responses · N rows · P pairs of responses of one row · M members · D features.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import Select, SelectionMethod
from assay.errors import ConfigError, ContractError, DataError
from assay.formats.files import numbering, read_rows, write_rows
from assay.score.files import check_output, name_row, row_conversations
from assay.stats import (
    LastLayerLaplace,
    Picks,
    bald,
    d_optimal,
    gaussian_members,
    highest,
    prediction_std,
    spread_out,
)
from assay.stats.arrays import sigmoid
from assay.types import Conversation

if TYPE_CHECKING:
    from assay.progress import Report

Floats = NDArray[np.float64]

DISAGREEING: tuple[SelectionMethod, ...] = ("disagreement", "bald", "bald-diverse")
"""Methods that ask members, or a posterior, how far apart they are."""


@dataclass(frozen=True)
class SelectedFile:
    """What was chosen, of how many rows, and what could not be."""

    output: str
    method: SelectionMethod
    rows: int
    chosen: int
    wanted: int
    without_pair: int
    dropped: int
    truncated: int

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.chosen:,} of {self.rows:,} rows chosen by {self.method} to {self.output}"
        if self.chosen < self.wanted:
            text += f" ({self.wanted:,} were asked for: these are all that can be)"
        return (
            f"{text}; rows without two different responses that fit: {self.without_pair:,}; "
            f"responses dropped: {self.dropped:,} too long; truncated: {self.truncated:,}"
        )


@dataclass(frozen=True)
class Read:
    """What a run says of responses: rewards by members, features, and the head's posterior."""

    rewards: Floats  # (B, M); NaN where a response was dropped
    features: Floats | None = None  # (B, D)
    laplace: LastLayerLaplace | None = None
    truncated: int = 0

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which responses were rewarded."""
        return np.asarray(~np.isnan(self.rewards).any(axis=1))


@dataclass(frozen=True)
class Candidates:
    """Pairs of responses of one row that could be labelled."""

    row: NDArray[np.int64]  # (P,)
    place: NDArray[np.int64]  # (P, 2) which of the row's responses
    response: NDArray[np.int64]  # (P, 2) which of all responses

    def of(self, values: Floats) -> Floats:
        """First less second response of each pair."""
        return np.asarray(values[self.response[:, 0]] - values[self.response[:, 1]])

    def only(self, chosen: NDArray[np.intp]) -> Candidates:
        """Some of the pairs."""
        return Candidates(self.row[chosen], self.place[chosen], self.response[chosen])


def run(config: Select) -> SelectedFile:
    """Read rows, choose, and write the chosen ones with ``selection`` added.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    check_selection(config)
    numbered = list(read_rows(str(config.input)))
    if not numbered:
        raise DataError(f"{config.input} holds no rows; there is nothing to choose from.")
    unit = f"{config.input} {numbering(config.input)}"
    conversations = [_conversations(row, f"{unit} {line}") for line, row in numbered]
    read = None
    if config.method != "random":
        lines = [
            line for (line, _), group in zip(numbered, conversations, strict=True) for _ in group
        ]
        read = _read(config, [c for group in conversations for c in group], lines, unit)
    usable = None if read is None else read.usable
    candidates = candidates_of(conversations, usable)
    if not len(candidates.row):
        raise DataError(f"No row of {config.input} has two different responses that fit.")
    candidates, picks = choose(config, candidates, read)
    rows = [row for _, row in numbered]
    write_rows(config.output, _selected(config.method, rows, candidates, picks))
    return SelectedFile(
        output=str(config.output),
        method=config.method,
        rows=len(numbered),
        chosen=len(picks.indexes),
        wanted=config.count,
        without_pair=len(numbered) - len(np.unique(candidates.row)),
        dropped=0 if usable is None else int((~usable).sum()),
        truncated=0 if read is None else read.truncated,
    )


def _read(
    config: Select, conversations: Sequence[Conversation], lines: Sequence[int], unit: str
) -> Read:
    """What the run says of all responses, with progress; errors name the line."""
    from assay.progress import progress_bars

    with progress_bars() as progress:
        try:
            return read_responses(config, conversations, progress)
        except ContractError as error:
            raise ContractError(name_row(str(error), lines, unit)) from error


def _selected(
    method: SelectionMethod,
    rows: Sequence[Mapping[str, Any]],
    candidates: Candidates,
    picks: Picks,
) -> Iterator[dict[str, Any]]:
    """The chosen rows in order, each with what was chosen of it and why."""
    for rank, index in enumerate(picks.indexes.tolist(), start=1):
        selection = {
            "method": method,
            "rank": rank,
            "score": None if method == "random" else float(picks.scores[rank - 1]),
            "pair": candidates.place[index].tolist(),
        }
        yield {**rows[candidates.row[index]], "selection": selection}


def check_selection(config: Select) -> None:
    """Refuse settings that cannot work.

    Raises:
        AssayError: With one sentence.
    """
    check_output(config.input, config.output)
    if config.count < 1:
        raise ConfigError(f"count is {config.count}; it is at least 1.")
    if not np.isfinite(config.diversity) or config.diversity < 0:
        raise ConfigError(f"diversity is {config.diversity}; it is a number of 0 or more.")


def _conversations(row: Mapping[str, Any], where: str) -> list[Conversation]:
    conversations = row_conversations(row, where)
    if len(conversations) < 2:
        raise DataError(f"{where}: one response is nothing to compare; wanted two or more.")
    return conversations


def candidates_of(
    conversations: Sequence[Sequence[Conversation]], usable: NDArray[np.bool_] | None = None
) -> Candidates:
    """All pairs of different responses of one row.

    Args:
        usable: Which of all responses may be in a pair. Default: all.
    """
    rows, start = [], 0
    for number, group in enumerate(conversations):
        rows += [
            (number, i, j, start + i, start + j)
            for i, j in combinations(range(len(group)), 2)
            if group[i].response != group[j].response
            and (usable is None or (usable[start + i] and usable[start + j]))
        ]
        start += len(group)
    table = np.array(rows, dtype=np.int64).reshape(-1, 5)
    return Candidates(table[:, 0], table[:, 1:3], table[:, 3:5])


def choose(config: Select, candidates: Candidates, read: Read | None) -> tuple[Candidates, Picks]:
    """The candidates that were left to choose from, and the chosen ones, one a row.

    For d-optimal every pair of a row is left until one of them is chosen; for the others the row's
    pair of the highest score is.
    """
    if config.method == "random":
        rng = np.random.default_rng(config.seed)
        one = candidates.only(_best_of_rows(candidates.row, rng.random(len(candidates.row))))
        return one, highest(rng.random(len(one.row)), config.count)
    assert read is not None
    gaps = candidates.of(read.rewards)
    if config.method == "d-optimal":
        assert read.features is not None
        delta = candidates.of(read.features)
        p = sigmoid(gaps.mean(axis=1))
        hessian = _hessian(read.laplace, delta)
        return candidates, d_optimal(delta, p * (1 - p), hessian, config.count, candidates.row)
    weights = None
    if gaps.shape[1] == 1:
        assert read.laplace is not None
        assert read.features is not None
        variance = read.laplace.variance(candidates.of(read.features))
        gaps, weights = gaussian_members(gaps[:, 0], variance)
    measure = prediction_std if config.method == "disagreement" else bald
    score = measure(gaps, weights)
    best = _best_of_rows(candidates.row, score)
    one, score = candidates.only(best), score[best]
    if config.method != "bald-diverse":
        return one, highest(score, config.count)
    assert read.features is not None
    middle = read.features[one.response].mean(axis=1)
    return one, spread_out(score, _scaled(middle), config.count, config.diversity)


def _best_of_rows(row: NDArray[np.int64], score: Floats) -> NDArray[np.intp]:
    """The candidate of the highest score in each row, rows in order; of equal ones the first."""
    order = np.lexsort((np.arange(len(row)), -score, row))
    return order[np.flatnonzero(np.diff(row[order], prepend=-1))]


def _hessian(laplace: LastLayerLaplace | None, delta: Floats) -> Floats:
    """What the head's weights are known by: the posterior, or a prior of gaps of variance 1."""
    if laplace is not None:
        return laplace.factor @ laplace.factor.T
    precision = float(np.mean((delta**2).sum(axis=1)))
    if precision == 0:
        raise DataError(
            "The features of all responses are the same, so no pair tells more than another; "
            "look at the run, or use --method random."
        )
    return precision * np.eye(delta.shape[1])


def _scaled(features: Floats) -> Floats:
    """Features of deviation 1; those that do not vary are left out."""
    std = features.std(axis=0)
    varies = std > 1e-12 * np.maximum(np.abs(features).max(axis=0, initial=0.0), 1.0)
    return np.asarray(features[:, varies] / std[varies])


def read_responses(config: Select, conversations: Sequence[Conversation], progress: Report) -> Read:
    """Rewards of responses by every member of a run, and features where the method needs them.

    Raises:
        ConfigError: If the method asks members and the run is one model without a posterior.
        ContractError: If a conversation cannot be rendered, or is too long and the policy is
            ``error``.
    """
    import torch

    from assay.models.checkpoint import load_model
    from assay.models.ensemble_checkpoint import check_contracts, is_ensemble, load_ensemble
    from assay.models.laplace import LAPLACE, load_laplace
    from assay.models.reading import Reading
    from assay.models.scoring import Rewarding, score_conversations

    if config.threads:
        torch.set_num_threads(config.threads)
    ensemble = load_ensemble(config.run) if is_ensemble(config.run) else None
    parts = list(ensemble.parts) if ensemble else [load_model(config.run)]
    has_posterior = (Path(config.run) / LAPLACE).is_file()
    if not (ensemble or has_posterior) and config.method in DISAGREEING:
        raise ConfigError(
            f"{config.run} is one model, and {config.method} asks how far several are apart; use "
            "an ensemble, a run trained with --laplace, or --method d-optimal or random."
        )
    check_contracts([part.renderer.contract for part in parts])
    wants_features = config.method in ("bald-diverse", "d-optimal") or ensemble is None
    done, total = 0, len(conversations) * len(parts)

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress("read", done, total, 0)

    columns: list[Floats] = []
    features: Floats | None = None
    truncated = 0
    for number, part in enumerate(parts):
        reading = Reading(part) if wants_features and number == 0 else None
        what: Rewarding = reading or part
        scored = score_conversations(
            what,
            conversations,
            token_budget=config.token_budget,
            truncation=config.truncation,
            progress=report,
        )
        table = scored.rewards.reshape(len(conversations), -1)
        if reading is not None:
            features = table[:, reading.members :]
            table = table[:, : reading.members]
        columns.append(table)
        truncated = max(truncated, scored.truncated)
    rewards = np.concatenate(columns, axis=1)
    rewards[np.isnan(rewards).any(axis=1)] = np.nan
    if ensemble is not None:
        rewards = ensemble.standards.apply(rewards)
    laplace = load_laplace(Path(config.run)) if has_posterior else None
    return Read(rewards, features, laplace, truncated)
