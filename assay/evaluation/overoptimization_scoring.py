"""Candidates with rewards and gold, ready to be counted: what the rows lack is scored by runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from assay.configs import Overoptimization
from assay.errors import ConfigError, ContractError, DataError
from assay.evaluation.best_of_n import Floats
from assay.evaluation.overoptimization_rows import (
    GOLD,
    LENGTHS,
    MEMBERS,
    REWARDS,
    CandidateRow,
    common_size,
    read_candidates,
)
from assay.evaluation.selection import SINGLE, Candidates
from assay.formats.files import numbering
from assay.score.files import name_row
from assay.stats import Standards
from assay.types import Conversation, Scorer

if TYPE_CHECKING:
    from assay.progress import Report

T = TypeVar("T")

WINDOW = 1024
"""Conversations scored between two reports of progress."""


@dataclass(frozen=True)
class ScoredCandidates:
    """The candidates that are counted, and what was left out."""

    candidates: Candidates
    left_out: Mapping[str, int]
    truncated: Mapping[str, int]
    """Responses cut by the proxy and by gold."""
    members_scale: str

    def rows(self) -> list[dict[str, Any]]:
        """The lines of ``scores.jsonl``, which ``--input`` reads without scoring again."""
        c = self.candidates
        one = c.members == 1
        found = []
        for i, prompt in enumerate(c.prompts or ()):
            rewards = c.rewards[i, :, 0] if one else c.rewards[i]
            row = {"prompt": prompt, REWARDS if one else MEMBERS: rewards.tolist()}
            row[GOLD] = c.gold[i].tolist()
            if c.lengths is not None:
                row[LENGTHS] = c.lengths[i].tolist()
            found.append(row)
        return found


def scored_candidates(config: Overoptimization, progress: Report) -> ScoredCandidates:
    """Read the rows, leave out and count what cannot be compared, and score what is not scored.

    Raises:
        DataError: With the place, if a row is not what is wanted, or nothing is left.
        ConfigError: If a run is named for what the rows have, or neither is there.
    """
    rows = read_candidates(config)
    size = common_size(rows)
    kept = [row for row in rows if row.count == size]
    _check(config, kept, size)
    left_out = {f"another number of candidates than {size:,}": len(rows) - len(kept)}
    truncated = {"proxy": 0, "gold": 0}
    if config.run:
        rewards, truncated["proxy"] = _score(config, config.run, kept, "proxy", progress)
    else:
        rewards = np.stack([_present(row.rewards) for row in kept])
    if config.gold:
        gold, truncated["gold"] = _score(config, config.gold, kept, "gold", progress)
        gold = gold[..., 0]
    else:
        gold = np.stack([_present(row.gold) for row in kept])
    whole: NDArray[np.bool_] = ~np.isnan(rewards.sum(axis=(1, 2)) + gold.sum(axis=1))
    left_out["a candidate that was dropped"] = int((~whole).sum())
    if not whole.any():
        raise DataError(
            f"In every row of {config.input} a candidate was dropped; raise the contract's "
            "max_length or use --truncation truncate-left."
        )
    scale = config.members_scale or ("saved" if config.run else "candidates")
    rewards, gold = rewards[whole], gold[whole]
    if rewards.shape[-1] > 1 and scale == "candidates":
        flat = rewards.reshape(-1, rewards.shape[-1])
        rewards = Standards.fit(flat).apply(rewards)
    used = [row for row, ok in zip(kept, whole, strict=True) if ok]
    known = all(row.lengths is not None for row in used)
    return ScoredCandidates(
        Candidates(
            rewards,
            gold,
            np.stack([_present(row.lengths) for row in used]) if known else None,
            tuple(row.prompt for row in used),
        ),
        {why: count for why, count in left_out.items() if count},
        truncated,
        scale,
    )


def _check(config: Overoptimization, rows: Sequence[CandidateRow], size: int) -> None:
    """Refuse, before anything is scored, what would be refused afterwards."""
    prompts = len({row.prompt for row in rows})
    if prompts < 2:
        raise DataError(
            f"{config.input} has {prompts} prompt with {size:,} candidates; intervals are over "
            "prompts and need 2 or more."
        )
    if config.max_n is not None and config.max_n > size:
        raise ConfigError(
            f"--max-n {config.max_n:,} is more than the {size:,} candidates a prompt."
        )
    if all(name == SINGLE for name in config.aggregators):
        return
    if config.run:
        from assay.models.ensemble_checkpoint import is_ensemble

        one = Path(config.run).is_dir() and not is_ensemble(config.run)
        what = f"{config.run} is one model"
    else:
        one = _present(rows[0].rewards).shape[1] == 1
        what = f"the rewards in {config.input} are of one"
    if one:
        raise ConfigError(
            f"--aggregators {' '.join(config.aggregators)} is for several members, and {what}; "
            "leave it out."
        )


def _score(
    config: Overoptimization,
    run: str,
    rows: Sequence[CandidateRow],
    stage: str,
    progress: Report,
) -> tuple[Floats, int]:
    """Rewards of all candidates by every member of a run, ``(R, N, M)``, and how many were cut.

    Gold has one member: an ensemble's own aggregate.
    """
    from assay.score.scorer import load_scorer

    scorer = load_scorer(run, token_budget=config.token_budget, truncation=config.truncation)
    reward = member_rewards if stage == "proxy" else aggregate_rewards
    flat = [(c, row.line) for row in rows for c in _present(row.conversations)]
    place = f"{config.input} {numbering(str(config.input))}"
    pending, blocks, truncated, done = iter(flat), [], 0, 0
    while window := list(islice(pending, WINDOW)):
        try:
            rewards, cut = reward(scorer, [c for c, _ in window])
        except ContractError as error:
            raise ContractError(
                name_row(str(error), [line for _, line in window], place)
            ) from error
        blocks.append(rewards)
        truncated += cut
        done += len(window)
        progress(stage, done, len(flat), 0)
    return np.concatenate(blocks).reshape(len(rows), rows[0].count, -1), truncated


def member_rewards(scorer: Any, conversations: Sequence[Conversation]) -> tuple[Floats, int]:
    """Rewards by every member, ``(B, M)``, and how many responses were cut; a model is one."""
    by_member: Callable[[Sequence[Conversation]], tuple[Floats, int]] | None
    by_member = getattr(scorer, "member_rewards", None)
    return by_member(conversations) if by_member else aggregate_rewards(scorer, conversations)


def aggregate_rewards(scorer: Scorer, conversations: Sequence[Conversation]) -> tuple[Floats, int]:
    """The scorer's own reward, ``(B, 1)``, and how many responses were cut."""
    scores = scorer.score(conversations)
    return np.asarray(scores.reward, dtype=np.float64)[:, None], scores.truncated


def _present(value: T | None) -> T:
    assert value is not None  # parse_row refused what is missing
    return value
