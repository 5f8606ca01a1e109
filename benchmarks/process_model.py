"""Which steps of a solution are right: a process model on human labels, and on errors it never saw.

A frozen backbone's step head on PRM800K phase 1, several splits by problem, beside the text of the
step (TF-IDF) and its length alone; then first errors of other data, beside answers that look at no
step.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import torch
from common import Recorded, Skip, cores, find_data, interval, main, table, write_record

from assay.configs import ProcessTraining
from assay.data.solutions import Solutions
from assay.evaluation.solutions import StepEvaluation, evaluate_steps
from assay.evaluation.step_baselines import fit_step_text
from assay.formats.prompts import prompt_text
from assay.models.process_model import ProcessRewardModel
from assay.score.process import ProcessScorer
from assay.stats.steps import JudgedSteps, step_report
from assay.train.process import train_process

OTHERS = ("bigbench_mistake.jsonl.gz", "stepverify.jsonl.gz")
TUNED_ON = 0.3
"""Share of the other data's problems that the threshold is found on."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """A process model on a frozen backbone."""

    data: Path | None = None
    """PRM800K. Default: prm800k_phase1_train.jsonl.gz in ASSAY_DATA."""
    limit: int = 12_000
    """Use only the first so many solutions (rows of one candidate step each)."""
    seeds: tuple[int, ...] = (0, 1, 2, 3, 4)
    """Seeds of the split (20 % of the problems held out)."""
    others: int = 500
    """Solutions of each of the other data sets; the first so many."""
    backbone: str = "smollm2-135m"
    """The backbone."""
    layers: int | None = None
    """Keep this many of its layers. Default: 80 % of them."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


def run(settings: Settings) -> None:
    """Train on every split, evaluate the first model on the other data, print and record."""
    torch.set_num_threads(settings.threads)
    path = find_data(settings.data, "prm800k_phase1_train.jsonl.gz")
    solutions = Solutions.load(str(path), limit=settings.limit)
    print(solutions.report, flush=True)
    rows, record = [], {}
    model = None
    for seed in settings.seeds:
        row, trained = split(settings, solutions, seed)
        rows.append(row)
        model = model or trained
        print(f"seed {seed}: {row}", flush=True)
    print(shown(rows))
    assert model is not None
    for name in OTHERS:
        try:
            other = Solutions.load(
                str(find_data(None, name)), limit=settings.others, on_bad_row="skip"
            )
        except Skip as reason:
            print(reason)
            continue
        evaluation = first_errors(model, other)
        record[name.partition(".")[0]] = evaluation.to_dict()
        print(f"\n{name}: {other.report}\n{errors_shown(evaluation)}", flush=True)
    depth = "" if settings.layers is None else f"_{settings.layers}_layers"
    write_record(f"process_model{depth}", settings, {"splits": rows, "others": record})


def split(
    settings: Settings, solutions: Solutions, seed: int
) -> tuple[dict[str, Any], ProcessRewardModel]:
    """One split: figures of the model, of the step's text and of its length."""
    train, heldout = solutions.split(0.2, seed=seed)
    model = ProcessRewardModel.from_backbone(settings.backbone)
    result = train_process(
        model, train, heldout, ProcessTraining(seed=seed, layers=settings.layers)
    )
    text = fit_step_text(list(train), "good")
    problems = [prompt_text(s.prompt) for s in heldout]
    judged = JudgedSteps([s.labels for s in heldout], text.score_steps(heldout).rewards, problems)
    by_text = step_report(judged, resamples=50)
    return {
        "seed": seed,
        "auc": result.heldout.auc.to_dict(),
        "text_auc": by_text.auc.to_dict(),
        "length_auc": result.length_only.to_dict(),
        "accuracy": result.heldout.accuracy.to_dict(),
        "commoner": result.heldout.constant["accuracy"].to_dict(),
        "nll": result.heldout.nll.to_dict(),
        "ece": result.heldout.ece.to_dict(),
        "train_steps": result.encoding.steps,
        "problems": [result.encoding.problems, result.heldout_encoding.problems],
        "tokens": result.encoding.tokens,
        "tokens_by_solution": result.encoding.unshared_tokens,
        "cut": dict(result.encoding.cut + result.heldout_encoding.cut),
    }, model


def shown(rows: list[dict[str, Any]]) -> str:
    """A table: AUC by split, and means over splits."""

    def cell(figure: dict[str, Any]) -> str:
        return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"

    keys = ("auc", "text_auc", "length_auc", "accuracy", "commoner", "ece")
    lines = [[str(r["seed"]), *(cell(r[k]) for k in keys), f"{r['auc']['n']:,}"] for r in rows]
    means = [interval([r[k]["value"] for r in rows]) for k in keys]
    return table(["split", *keys, "steps"], [*lines, ["mean", *means, ""]])


def first_errors(model: ProcessRewardModel, solutions: Solutions) -> StepEvaluation:
    """First errors of other data, the threshold found on other problems of it."""
    scorer = ProcessScorer(model, truncation="drop")
    evaluated, tune = solutions.split(TUNED_ON, seed=0)
    return evaluate_steps(scorer, list(evaluated), tune=list(tune))


def errors_shown(evaluation: StepEvaluation) -> str:
    """A table: accuracies of first errors, of the model and of answers that look at no step."""
    report = evaluation.overall
    answers = {"process model": report.first_error, **report.baselines}
    lines = [
        [name, *(str(getattr(figures, field.name)) for field in fields(figures))]
        for name, figures in answers.items()
    ]
    text = table(["first error by", *(f.name for f in fields(report.first_error))], lines)
    return f"{text}\nstep AUC {report.auc}; threshold {report.threshold:.3f}"


if __name__ == "__main__":
    main(run, Settings)
