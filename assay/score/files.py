"""The verbs ``assay score`` and ``assay best-of-n``: rows in, the same rows with rewards out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.configs import BestOfN, Score
from assay.errors import ConfigError, ContractError, DataError
from assay.feedback.verifiers import Rule
from assay.formats.fields import RowError
from assay.formats.files import (
    check_writable,
    is_same_file,
    numbering,
    read_rows,
    write_rows,
)
from assay.formats.rows import shape_of
from assay.score.ensemble import EnsembleScorer
from assay.score.process import ProcessScorer
from assay.score.scorer import RewardScorer, load_scorer
from assay.score.step_files import ScoredSolutions, holds_solutions, score_solutions
from assay.types import Comparison, Conversation, Scorer, Scores, json_number

if TYPE_CHECKING:
    from assay.progress import Report

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


def run_score(config: Score) -> ScoredFile | ScoredSolutions:
    """The verb ``assay score``: ``rewards`` and ``reward_std`` are added to every row.

    To solutions in steps, scored by a process model, their step rewards.
    """

    def with_rewards(row: Row, scores: Scores) -> dict[str, Any]:
        return {**row, **_columns(scores)}

    scorer = _scorer(config)
    if isinstance(scorer, ProcessScorer) and holds_solutions(config.input):
        return score_solutions(scorer, config)
    return _run(scorer, config, with_rewards)


def run_best_of_n(config: BestOfN) -> ScoredFile:
    """The verb ``assay best-of-n``: adds ``best`` (an index, null if all dropped) and rewards."""
    from assay.score.best_of_n import pick

    def with_best(row: Row, scores: Scores) -> dict[str, Any]:
        best = pick(scores.reward)
        columns = _columns(scores)
        if scores.std is None:  # of an ensemble it is told, of one model there is none
            del columns["reward_std"]
        return {**row, "best": None if best.index < 0 else best.index, **columns}

    return _run(_scorer(config), config, with_best)


def _columns(scores: Scores) -> dict[str, list[float | None]]:
    """Rewards and their deviations as JSON has them; a single model knows no deviation."""
    count = len(scores.reward)
    std = np.full(count, np.nan) if scores.std is None else scores.std
    return {
        "rewards": [json_number(float(r)) for r in scores.reward],
        "reward_std": [json_number(float(s)) for s in std],
    }


def _scorer(config: Score) -> RewardScorer | EnsembleScorer | ProcessScorer | Rule:
    import torch

    check_output(config.input, config.output)
    if config.threads:
        torch.set_num_threads(config.threads)
    return load_scorer(
        config.run,
        token_budget=config.token_budget,
        truncation=config.truncation,
        aggregator=config.aggregator,
        strength=config.strength,
        reduction=config.reduction,
        preset=config.preset,
    )


def _run(
    scorer: RewardScorer | EnsembleScorer | ProcessScorer | Rule,
    config: Score,
    finish: Callable[[Row, Scores], dict[str, Any]],
) -> ScoredFile:
    from assay.progress import progress_bars

    totals = {"rows": 0, "responses": 0, "dropped": 0, "truncated": 0}
    with progress_bars() as progress:
        write_rows(config.output, _scored_rows(scorer, config.input, finish, totals, progress))
    # verifiers read the text as it is: there is no contract to guess
    verified = isinstance(scorer, Rule) or scorer.contract.verified
    return ScoredFile(str(config.output), **totals, verified=verified)


def check_output(source: Path, target: Path) -> None:
    """Refuse to write what is read, or a file that cannot be written.

    Raises:
        AssayError: With one sentence.
    """
    if is_same_file(source, target):
        raise ConfigError(f"--input and --output are the same file {source}; name another output.")
    check_writable(target)


def _scored_rows(
    scorer: Scorer,
    source: Path,
    finish: Callable[[Row, Scores], dict[str, Any]],
    totals: dict[str, int],
    progress: Report,
) -> Iterator[dict[str, Any]]:
    rows = iter(read_rows(str(source)))
    unit = numbering(source)
    while window := list(islice(rows, WINDOW)):
        conversations = [row_conversations(row, f"{source} {unit} {line}") for line, row in window]
        flat = [c for group in conversations for c in group]
        owners = [
            line for (line, _), group in zip(window, conversations, strict=True) for _ in group
        ]
        try:
            scores = scorer.score(flat)
        except ContractError as error:
            raise ContractError(name_row(str(error), owners, f"{source} {unit}")) from error
        totals["rows"] += len(window)
        totals["responses"] += len(flat)
        totals["dropped"] += int(np.isnan(scores.reward).sum())
        totals["truncated"] += scores.truncated
        progress("score", totals["responses"], max(totals["responses"], 1), 0)
        start = 0
        for (_, row), group in zip(window, conversations, strict=True):
            own = slice(start, start + len(group))
            std = None if scores.std is None else scores.std[own]
            yield finish(row, Scores(scores.reward[own], std))
            start = own.stop
    if not totals["rows"]:
        raise DataError(f"{source} holds no rows; there is nothing to score.")


def name_row(message: str, owners: Sequence[int], place: str) -> str:
    """``Conversation 7: …`` as ``FILE line N: …``."""
    head, _, rest = message.partition(": ")
    number = head.removeprefix("Conversation ")
    return f"{place} {owners[int(number) - 1]}: {rest}" if number.isdigit() else message
