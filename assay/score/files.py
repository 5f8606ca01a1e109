"""The verbs ``assay score`` and ``assay best-of-n``: rows in, the same rows with rewards out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from assay.configs import BestOfN, Score
from assay.errors import ConfigError, ContractError, DataError
from assay.formats.fields import RowError
from assay.formats.files import numbering, read_rows, write_rows
from assay.formats.rows import shape_of
from assay.types import Comparison, Conversation

if TYPE_CHECKING:
    from assay.progress import Report
    from assay.score.scorer import RewardScorer

WINDOW = 256
"""Rows scored at a time, so that memory does not grow with the file."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class ScoredFile:
    """What was scored, and how many responses were dropped (reward null) or truncated."""

    output: str
    rows: int
    responses: int
    dropped: int
    truncated: int
    verified: bool

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return asdict(self)

    def __str__(self) -> str:
        text = f"{self.responses:,} responses in {self.rows:,} rows scored to {self.output}; "
        text += f"dropped: {self.dropped:,} too long; truncated: {self.truncated:,}"
        return (
            text
            if self.verified
            else f"{text}; the contract was inferred and is unverified (see assay doctor)"
        )


def row_conversations(row: Row, where: str) -> list[Conversation]:
    """The conversations of a row: prompt + responses, or chosen then rejected.

    Raises:
        DataError: If the row has neither, or a response is empty.
    """
    responses = row.get("responses")
    prompt = row.get("prompt")
    shape = shape_of(row) if responses is None else None
    if shape is not None and "chosen" in row:
        try:
            pair = shape.parse(row)
        except RowError as error:
            raise DataError(f"{where}: {error}") from error
        assert isinstance(pair, Comparison)
        return pair.conversations()
    if (
        not prompt
        or not isinstance(responses, Sequence)
        or isinstance(responses, str)
        or not responses
    ):
        keys = ", ".join(repr(k) for k in row) or "nothing"
        raise DataError(
            f"{where}: wanted 'prompt' with a list 'responses', or 'chosen' and 'rejected'; "
            f"got {keys}."
        )
    if not isinstance(prompt, str | list):
        raise DataError(
            f"{where}: 'prompt' is {type(prompt).__name__}; wanted text or a list of messages."
        )
    conversations = []
    for number, response in enumerate(responses):
        content = (
            response.get("text") or response.get("messages")
            if isinstance(response, Mapping)
            else response
        )
        if not content or not isinstance(content, str | list):
            raise DataError(
                f"{where}: response {number + 1} is empty; every response needs text or messages."
            )
        conversations.append(Conversation.of(prompt, content, row.get("tools")))
    return conversations


def run_score(config: Score) -> ScoredFile:
    """The verb ``assay score``: ``rewards`` and ``reward_std`` are added to every row."""

    def with_rewards(row: Row, rewards: NDArray[np.float64]) -> dict[str, Any]:
        values = [None if math.isnan(r) else float(r) for r in rewards]
        # a single model knows no deviation of its own; ensembles fill it
        return {**row, "rewards": values, "reward_std": [None] * len(values)}

    return _run(config, with_rewards)


def run_best_of_n(config: BestOfN) -> ScoredFile:
    """The verb ``assay best-of-n``: adds ``best`` (an index, null if all dropped), ``rewards``."""
    from assay.score.best_of_n import pick

    def with_best(row: Row, rewards: NDArray[np.float64]) -> dict[str, Any]:
        best = pick(rewards)
        values = [None if math.isnan(r) else float(r) for r in rewards]
        return {**row, "best": None if best.index < 0 else best.index, "rewards": values}

    return _run(config, with_best)


def _run(config: Score, finish: Any) -> ScoredFile:
    import torch

    from assay.progress import progress_bars
    from assay.score.scorer import load_scorer

    if config.input.resolve() == config.output.resolve():
        raise ConfigError(
            f"--input and --output are the same file {config.input}; name another output."
        )
    if config.threads:
        torch.set_num_threads(config.threads)
    scorer = load_scorer(config.run, token_budget=config.token_budget, truncation=config.truncation)
    totals = {"rows": 0, "responses": 0, "dropped": 0, "truncated": 0}
    with progress_bars() as progress:
        write_rows(config.output, _scored_rows(scorer, config.input, finish, totals, progress))
    return ScoredFile(str(config.output), **totals, verified=scorer.contract.verified)


def _scored_rows(
    scorer: RewardScorer, source: Path, finish: Any, totals: dict[str, int], progress: Report
) -> Iterator[dict[str, Any]]:
    from assay.models.scoring import score_conversations

    rows = iter(read_rows(str(source)))
    unit = numbering(source)
    while window := list(islice(rows, WINDOW)):
        conversations = [row_conversations(row, f"{source} {unit} {line}") for line, row in window]
        flat = [c for group in conversations for c in group]
        owners = [
            line for (line, _), group in zip(window, conversations, strict=True) for _ in group
        ]
        try:
            scored = score_conversations(
                scorer.model, flat, token_budget=scorer.token_budget, truncation=scorer.truncation
            )
        except ContractError as error:
            raise ContractError(_name_row(str(error), owners, f"{source} {unit}")) from error
        totals["rows"] += len(window)
        totals["responses"] += len(flat)
        totals["dropped"] += scored.dropped
        totals["truncated"] += scored.truncated
        progress("score", totals["responses"], max(totals["responses"], 1), 0)
        rewards = scored.rewards
        for (_, row), group in zip(window, conversations, strict=True):
            yield finish(row, rewards[: len(group)])
            rewards = rewards[len(group) :]
    if not totals["rows"]:
        raise DataError(f"{source} holds no rows; there is nothing to score.")


def _name_row(message: str, owners: list[int], place: str) -> str:
    """``Conversation 7: …`` as ``FILE line N: …``."""
    head, _, rest = message.partition(": ")
    number = head.removeprefix("Conversation ")
    return f"{place} {owners[int(number) - 1]}: {rest}" if number.isdigit() else message
