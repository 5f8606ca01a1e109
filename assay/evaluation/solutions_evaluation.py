"""A file of solutions, evaluated: its figures, step rewards, and the blocks of ``results.json``.

Knows nothing of models; step rewards come from a scorer or a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from assay.atomic import write_json, write_jsonl
from assay.configs import Neutral, OnBadRow
from assay.data.solutions import Solutions
from assay.errors import DataError
from assay.evaluation.run import REPORT, RESULTS, SCHEMA, SCORES, package_versions
from assay.evaluation.solutions import StepEvaluation, evaluate_steps
from assay.evaluation.solutions_page import solutions_page, table_text
from assay.evaluation.step_scoring import REWARDS, STDS, KnownSteps, ScoredSteps
from assay.evaluation.suites import SOLUTIONS, data_files
from assay.formats.files import shown_name
from assay.formats.step_labels import BAD, GOOD
from assay.types import Solution, as_lists


@dataclass(frozen=True)
class JudgedFile:
    """The solutions of one or more files, and what became of their rows.

    ``from_shares`` counts labels that are from a share of right rollouts: good from a half on.
    """

    solutions: tuple[Solution, ...]
    source: str
    dropped: Mapping[str, int]
    from_shares: int

    def select(self, indexes: Sequence[int]) -> JudgedFile:
        """The solutions at these positions."""
        return replace(self, solutions=tuple(self.solutions[i] for i in indexes))


def load_judged(sources: Sequence[str], on_bad_row: OnBadRow = "error") -> JudgedFile:
    """Solutions in any format of ``Solutions.load``, every one of them kept, steps judged.

    Raises:
        DataError: If a row is no solution, or no step at all is judged.
    """
    files = [file for source in sources for file in data_files(source)]
    loaded = Solutions.load(files, deduplicate=False, on_bad_row=on_bad_row)
    names = ", ".join(map(shown_name, sources))
    solutions = tuple(map(_labelled, loaded))
    if all(label is None for solution in solutions for label in solution.labels):
        raise DataError(
            f"{names} has {len(solutions):,} solutions and no judged step; step rewards are held "
            "against 'labels', 'first_error' or 'probabilities'. assay score rewards steps that "
            "nobody judged."
        )
    before = sum(label is not None for solution in loaded for label in solution.labels)
    after = sum(label is not None for solution in solutions for label in solution.labels)
    return JudgedFile(solutions, names, dict(loaded.report.dropped), after - before)


def _labelled(solution: Solution) -> Solution:
    """A share of right rollouts is a label where there is no other, as in held-out figures."""
    if solution.probabilities is None:
        return solution
    labels = tuple(
        label if label is not None or p is None else (GOOD if p >= 0.5 else BAD)
        for label, p in zip(solution.labels, solution.probabilities, strict=True)
    )
    return replace(solution, labels=labels)


def first_indexes(solutions: Sequence[Solution], limit: int | None) -> list[int]:
    """The positions of the first so many solutions of each subset; None takes all."""
    taken: dict[str | None, int] = {}
    kept = []
    for index, solution in enumerate(solutions):
        count = taken[solution.subset] = taken.get(solution.subset, 0) + 1
        if limit is None or count <= limit:
            kept.append(index)
    return kept


@dataclass(frozen=True)
class SolutionsEvaluation:
    """Evaluated solutions: figures, a row a solution, and the blocks of ``results.json``."""

    figures: StepEvaluation
    rows: tuple[dict[str, Any], ...]
    record: Mapping[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """``results.json``, and the directory it is in."""
        return dict(self.record)

    def __str__(self) -> str:
        lines = [table_text(self.figures), "", *self.notes]
        if self.record["directory"]:
            lines.append(f"report: {Path(self.record['directory']) / REPORT}")
        return "\n".join(lines)

    @property
    def notes(self) -> list[str]:
        """What was left out or made of the rows, in words."""
        gone = ", ".join(f"{n:,} {why}" for why, n in self.record["dropped"].items() if n)
        notes = [
            f"rows dropped: {gone or 'none'}; steps behind a truncated prompt: "
            f"{self.record['truncated']:,}; baselines by {self.record['baselines_fitted_on']}"
        ]
        if self.record["labels_from_shares"]:
            count = self.record["labels_from_shares"]
            notes.append(f"{count:,} labels are from shares of right rollouts: good from a half on")
        return notes

    def save(self, directory: str | Path) -> Path:
        """Write ``scores.jsonl``, ``report.html`` and last ``results.json``, each whole or not."""
        out = Path(directory)
        out.mkdir(parents=True, exist_ok=True)
        write_jsonl(out / SCORES, list(self.rows))
        title = f"{self.record['source']}: {self.record['model']}"
        solutions_page(self.figures, out / REPORT, title, self.notes)
        write_json(out / RESULTS, {k: v for k, v in self.record.items() if k != "directory"})
        return out


def evaluate_solutions(
    judged: JudgedFile,
    steps: ScoredSteps,
    *,
    neutral: Neutral = "good",
    train: JudgedFile | None = None,
    tune: JudgedFile | None = None,
    tune_steps: tuple[Sequence[Solution], ScoredSteps] | None = None,
    model: str = "",
    model_digest: str = "",
    seed: int = 0,
    directory: Path | None = None,
) -> SolutionsEvaluation:
    """Evaluate step rewards that are there on judged solutions.

    Args:
        train: Solutions the baselines are fitted on. Default: the length's is cross-validated.
        tune: Solutions to find the threshold on.
        tune_steps: Those of them that are of other problems, and their step rewards.
        model: The name in the report.

    Raises:
        DataError: If a step reward is no probability, or nothing is left to fit or tune on.
    """
    others, other_steps = tune_steps or ((), ScoredSteps((), None, ()))
    known = KnownSteps([*judged.solutions, *others], [*steps.rewards, *other_steps.rewards])
    found = evaluate_steps(
        known,
        judged.solutions,
        neutral=neutral,
        train=train.solutions if train else None,
        tune=tune.solutions if tune else None,
        seed=seed,
    )
    record = {
        "schema": SCHEMA,
        "suite": SOLUTIONS,
        "model": model,
        "model_digest": model_digest or None,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": package_versions(),
        "source": judged.source,
        "rewards_of": "steps",
        "baselines_fitted_on": "training solutions" if train else "cross-validation",
        "train": train.source if train else None,
        "tune": tune.source if tune else None,
        "dropped": dict(judged.dropped),
        "truncated": sum(steps.truncated),
        "labels_from_shares": judged.from_shares,
        **found.to_dict(),
        "directory": str(directory) if directory else None,
    }
    return SolutionsEvaluation(found, _rows(judged.solutions, steps), record)


def _rows(solutions: Sequence[Solution], steps: ScoredSteps) -> tuple[dict[str, Any], ...]:
    """Lines of ``scores.jsonl``, which hold no texts."""
    rows = []
    stds = as_lists(steps.std) if steps.std is not None else [None] * len(solutions)
    for solution, rewards, std in zip(solutions, as_lists(steps.rewards), stds, strict=True):
        row = {
            "id": solution.id,
            "subset": solution.subset,
            "labels": list(solution.labels),
            "correct": solution.correct,
            REWARDS: rewards,
            STDS: std,
        }
        rows.append({key: value for key, value in row.items() if value is not None})
    return tuple(rows)
