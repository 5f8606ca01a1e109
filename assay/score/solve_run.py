"""The verb ``assay solve``: problems in, solutions found with a process model out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from assay.configs import Solve, Solving
from assay.errors import ConfigError, DataError
from assay.formats.files import check_writable, is_same_file, numbering, read_rows, write_rows
from assay.formats.journal import Journal
from assay.formats.prompts import prompt_in
from assay.score.solve import answer_is, check_solving, has_algebra, row_of, solve
from assay.types import Figure, Messages

if TYPE_CHECKING:
    from assay.models.policy import Policy
    from assay.progress import Report
    from assay.types import StepScorer

WINDOW = 8
"""Problems solved between two writes of the journal."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class SolvedFile:
    """What was found: how many answers are right, next to what was there to choose from.

    ``first`` is the policy's first sample by itself, ``any`` whether any candidate is right; both
    are of whole solutions, so a beam search has none.
    """

    output: str
    problems: int
    unsolved: int
    cut_off: int
    tokens: int
    accuracy: Figure | None
    first: Figure | None
    any: Figure | None
    by_algebra: bool
    """Whether answers were compared by algebra too."""

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        figures = {"accuracy": self.accuracy, "first": self.first, "any": self.any}
        plain = {k: f.to_dict() if f else None for k, f in figures.items()}
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in plain}
        return {**own, **plain}

    def __str__(self) -> str:
        text = (
            f"{self.problems:,} problems solved to {self.output} with {self.tokens:,} tokens; "
            f"{self.unsolved:,} without any solution, {self.cut_off:,} cut off before their end"
        )
        if self.accuracy is not None:
            text += f"\nright answers: {self.accuracy}"
        if self.accuracy is not None and not self.by_algebra:
            text += " (as text and numbers; pip install 'assay[math]' compares algebra too)"
        if self.first is not None and self.any is not None:
            text += f"; the first sample alone {self.first}; any of the samples {self.any}"
        return text


def run(config: Solve) -> SolvedFile:
    """Search a solution for every row, and write the rows with what was found.

    What is done is kept beside the output as it is done: the same command goes on after a kill.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    import torch

    from assay.models.policy import Policy
    from assay.progress import progress_bars

    if is_same_file(config.input, config.output):
        raise ConfigError(f"--input and --output are the same file {config.input}; name another.")
    check_writable(config.output)
    check_solving(config)
    rows = list(islice(read_rows(str(config.input)), config.limit))
    if not rows:
        raise DataError(f"{config.input} holds no rows; there is nothing to solve.")
    prompts = [prompt_in(row, f"{config.input} {numbering(config.input)} {n}") for n, row in rows]
    if config.threads:
        torch.set_num_threads(config.threads)
    scorer, digest = _scorer(config)
    policy = Policy.load(config.policy)
    identity = {
        "problems": [[m.to_dict() for m in prompt] for prompt in prompts],
        "policy": policy.digest,
        "scorer": digest,
        **{f.name: getattr(config, f.name) for f in fields(Solving) if f.name != "batch_size"},
    }
    journal = Journal(
        config.output.with_name(f".{config.output.name}.journal"), identity, "a search"
    )
    with progress_bars() as progress:
        found = list(_found(policy, scorer, rows, prompts, config, journal, progress))
    write_rows(config.output, [{**row, **own} for (_, row), own in zip(rows, found, strict=True)])
    journal.path.unlink(missing_ok=True)
    return summary(config, found, [reference_of(row) for _, row in rows])


def _scorer(config: Solve) -> tuple[StepScorer, str]:
    from assay.models.process_checkpoint import is_process
    from assay.score.process import load_step_scorer
    from assay.score.scorer import load_scorer
    from assay.score.whole import WholeScorer

    if is_process(config.run) or not (Path(config.run) / "assay.json").exists():
        steps = load_step_scorer(config.run, token_budget=config.token_budget, truncation="drop")
        return steps, steps.digest
    if config.method == "beam":
        raise ConfigError(
            f"{config.run} rewards whole responses, and a beam search looks at steps; name a "
            "process model, or use --method best-of-n."
        )
    if config.reduction == "mean":
        raise ConfigError(
            f"{config.run} rewards whole responses, of which there is no mean over steps; "
            "use --reduction product, min or last."
        )
    outcome = load_scorer(config.run, token_budget=config.token_budget, truncation="drop")
    return WholeScorer(outcome), outcome.digest


def _found(
    policy: Policy,
    scorer: StepScorer,
    rows: Sequence[tuple[int, Row]],
    prompts: Sequence[Messages],
    config: Solve,
    journal: Journal,
    progress: Report,
) -> Iterator[dict[str, Any]]:
    done: list[dict[str, Any]] = [row for part in journal.parts() for row in part["rows"]]
    yield from done
    count = len(done)
    for start in range(len(done), len(rows), WINDOW):
        part = range(start, min(start + WINDOW, len(rows)))
        solved = solve(policy, scorer, [prompts[i] for i in part], config, streams=list(part))
        found = [
            dict(row_of(one, reference_of(rows[i][1]))) for one, i in zip(solved, part, strict=True)
        ]
        journal.append({"rows": found})
        count += len(found)
        progress("solve", count, len(rows), sum(one.tokens for one in solved))
        yield from found


def reference_of(row: Row) -> str | None:
    """The answer of a row where it has one; GSM8K's stands after ``####``."""
    from assay.feedback.answers import final_answer

    value = row.get("answer", row.get("target"))
    if value is None or isinstance(value, bool):
        return None
    text = str(value)
    found = final_answer(text) if "####" in text or "\\boxed" in text else None
    return found.text if found else text


def summary(config: Solve, found: Sequence[Row], references: Sequence[str | None]) -> SolvedFile:
    """The counts, and the share of right answers where references are known."""
    known = [i for i, reference in enumerate(references) if reference is not None]
    whole = config.method != "beam"
    return SolvedFile(
        output=str(config.output),
        problems=len(found),
        unsolved=sum(row["steps"] is None for row in found),
        cut_off=sum(row["ended"] is False for row in found),
        tokens=sum(row["tokens"] for row in found),
        accuracy=_share([bool(found[i]["found_is_right"]) for i in known]),
        first=_share([_is_right(found[i], references[i], 1) for i in known]) if whole else None,
        any=_share([_is_right(found[i], references[i], None) for i in known]) if whole else None,
        by_algebra=has_algebra(),
    )


def _is_right(row: Row, reference: str | None, first: int | None) -> bool:
    return any(bool(answer_is(c["answer"], reference)) for c in row["candidates"][:first])


def _share(right: Sequence[bool]) -> Figure | None:
    from assay.stats import cluster_mean

    if not right:
        return None
    return cluster_mean(np.array(right, dtype=float), None, (0.0, 1.0))
