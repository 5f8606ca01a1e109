"""What a step scorer reached, as text for the terminal and as a page that needs nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from assay.atomic import write_text
from assay.evaluation.solutions import StepEvaluation
from assay.pages.html import page, plain, signed, table
from assay.pages.svg import Mark, rows_chart
from assay.stats.first_errors import FirstErrorFigures
from assay.stats.steps import StepReport

STEPS_SHOWN = 20
"""Places of steps in the table of mean step rewards."""


@dataclass(frozen=True, slots=True)
class Block:
    """A table: what it shows, the names of its columns, and its rows."""

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]


def blocks(evaluation: StepEvaluation) -> list[Block]:
    """All tables of an evaluation, each figure beside its baselines."""
    found = [_first_errors(evaluation), _steps(evaluation), _reductions(evaluation)]
    return [*found, _lowest(evaluation), _by_step(evaluation)]


def headline(evaluation: StepEvaluation) -> str:
    """The total and what it was measured on."""
    report = evaluation.overall
    total = evaluation.mean_f1 or report.first_error.f1
    where = "mean of subsets" if evaluation.mean_f1 else "all solutions"
    tuned = f", tuned on {evaluation.tuned_on:,} others" if evaluation.tuned_on else ""
    return (
        f"first-error F1 {plain(total)} ({where}); {report.solutions:,} solutions of "
        f"{evaluation.problems:,} problems, {report.steps:,} judged steps; a step is called right "
        f"from {report.threshold:.3g}{tuned}"
    )


def left_out(evaluation: StepEvaluation) -> str:
    """What no figure counts, in words."""
    report, shared = evaluation.overall, evaluation.shared or {}
    text = (
        f"neutral steps {report.neutral_steps:,} (count as {report.neutral}); left out: "
        f"{report.unjudged_steps:,} steps not judged, {report.cut_steps:,} cut, "
        f"{report.unknown_solutions:,} solutions without a known first error, "
        f"{report.cut_solutions:,} others cut"
    )
    for name, count in shared.items():
        text += f", {count:,} solutions to {name} on of problems evaluated"
    return text


def table_text(evaluation: StepEvaluation) -> str:
    """Everything for the terminal."""
    parts = [headline(evaluation)]
    for block in blocks(evaluation):
        rows = [["", *block.header], *block.rows]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines = [
            "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        parts.append("\n".join([block.title, *lines]))
    return "\n\n".join([*parts, left_out(evaluation)])


def solutions_page(
    evaluation: StepEvaluation,
    path: str | Path,
    title: str = "Step rewards",
    notes: Sequence[str] = (),
) -> Path:
    """Write the page of an evaluation.

    Args:
        notes: What else is to be said of what was evaluated, at the end.
    """
    body = f"<h1>{escape(title)}</h1><p>{escape(headline(evaluation))}</p>{_chart(evaluation)}"
    for block in blocks(evaluation):
        name, _, caption = block.title.partition(": ")
        body += f"<h2>{escape(name)}</h2>" + table(caption, ["", *block.header], block.rows)
    for text in (left_out(evaluation), *notes):
        body += f'<p class="soft">{escape(text)}</p>'
    write_text(path, page(title, body))
    return Path(path)


def _chart(evaluation: StepEvaluation) -> str:
    """First-error F1 of every part beside a random answer's."""
    rows = []
    for name, report in _parts(evaluation).items():
        ours, random = report.first_error.f1, report.baselines["random"].f1
        if ours.n:
            marks = [Mark(ours.value, ours.low, ours.high, "model")]
            rows.append((name, [*marks, Mark(random.value, None, None, "length")]))
    if not rows:
        return ""
    chart = rows_chart("First-error F1", rows, 0.0, 1.0, "first-error F1; square: any step or none")
    return f'<figure><div class="box">{chart}</div></figure>'


def _parts(evaluation: StepEvaluation) -> dict[str, StepReport]:
    return {"all": evaluation.overall, **evaluation.subsets}


def _first_errors(evaluation: StepEvaluation) -> Block:
    def row(name: str, found: FirstErrorFigures) -> list[str]:
        figures = (found.f1, found.error_accuracy, found.sound_accuracy, found.accuracy)
        return [name, *map(plain, figures), f"{found.accuracy.n:,}"]

    rows = [row(name, report.first_error) for name, report in _parts(evaluation).items()]
    rows += [row(name, report.first_error) for name, report in evaluation.baselines.items()]
    rows += [row(name, found) for name, found in evaluation.overall.baselines.items()]
    return Block(
        "First errors: the first step below the threshold against the first labelled bad",
        ["F1", "error named", "sound passed", "both", "n"],
        rows,
    )


def _steps(evaluation: StepEvaluation) -> Block:
    def row(name: str, r: StepReport) -> list[str]:
        figures = (r.auc, r.accuracy, r.f1, r.negative_f1, r.nll, r.ece)
        return [name, *map(plain, figures), f"{r.steps:,}"]

    constant = evaluation.overall.constant
    kinds = ("accuracy", "f1", "negative_f1", "nll")
    rows = [row(n, r) for n, r in {**_parts(evaluation), **evaluation.baselines}.items()]
    rows.append(["constant", "0.500", *(plain(constant[k]) for k in kinds), "–", ""])
    return Block(
        "Steps: every judged step by itself",
        ["AUC", "accuracy", "F1 right", "F1 wrong", "NLL", "ECE", "n"],
        rows,
    )


def _reductions(evaluation: StepEvaluation) -> Block:
    rows = [
        [
            how,
            plain(evaluation.sound_auc[how]),
            plain(evaluation.correct_auc[how]),
            signed(evaluation.length_bias[how]),
        ]
        for how in evaluation.length_bias
    ]
    rows.append(["having no error", "", "", signed(evaluation.sound_length_bias)])
    return Block(
        "Reductions: one reward a solution",
        ["AUC, no error", "AUC, right answer", "correlation with step count"],
        rows,
    )


def _lowest(evaluation: StepEvaluation) -> Block:
    lowest = evaluation.lowest_is_last
    row = [plain(lowest.share), plain(lowest.chance), signed(lowest.excess), f"{lowest.share.n:,}"]
    return Block(
        "Lowest step is last: solutions of two or more steps; far above chance it rewards answers",
        ["share", "chance", "excess", "n"],
        [["all", *row]],
    )


def _by_step(evaluation: StepEvaluation) -> Block:
    shown = evaluation.by_step[:STEPS_SHOWN]
    more = len(evaluation.by_step) - len(shown)
    return Block(
        "Mean step reward by place: of the solutions that have the step"
        + (f"; {more:,} later places not shown" if more else ""),
        ["mean", "n"],
        [[f"step {i}", plain(f), f"{f.n:,}"] for i, f in enumerate(shown, start=1)],
    )
