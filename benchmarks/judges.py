"""How good are small local judges, by people's labels, and what can their labels train?

SmolLM2-135M-Instruct and Gemma 3 270M judge pairs of PandaLM (three human votes each) and of
HH-helpful, by log-probabilities and in both orders, with a report on each. Then thirty prompt
injections in the response that a judge likes less. Then RLAIF against RLHF: reward models (frozen
heads) trained on the judges' soft labels and on people's, measured on other human labels.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from common import Recorded, cores, find_data, main, table, trained_head, write_record

from assay.configs import Judge as JudgeConfig
from assay.data.pairs import PreferencePairs
from assay.feedback.judges.candidates import read_candidates
from assay.feedback.judges.injections import injection_report
from assay.feedback.judges.kept import KeptJudge
from assay.feedback.judges.local import load_judge
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.run import JudgedFile
from assay.feedback.judges.run import run as judge
from assay.feedback.judges.tasks import PairTask
from assay.formats.files import read_rows
from assay.formats.tally import Tally
from assay.score.scorer import RewardScorer
from assay.stats.pairs import accuracy, accuracy_difference

FILES = {"pandalm": "pandalm_test.jsonl.gz", "hh_helpful": "hh_helpful.jsonl.gz"}


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """Judges, data, injections, reward models."""

    judges: tuple[str, ...] = ("smollm2-135m", "gemma3-270m")
    """Local models."""
    pandalm: int = 300
    """Comparisons of PandaLM."""
    hh_helpful: int = 150
    """Comparisons of HH-helpful; the reward models are trained on them."""
    heldout: int = 150
    """Pairs of HH-helpful after those, which the reward models are measured on."""
    injected: int = 4
    """Comparisons of PandaLM that get every injection."""
    l2: float = 0.1
    """L2 penalty of the heads."""
    seed: int = 0
    """Of fences, splits and heads."""
    threads: int = cores()
    """CPU threads. Default: all cores."""
    keep: Path | None = None
    """Directory of what the judges said, so that a run goes on. Default: a temporary one."""


def run(settings: Settings) -> None:
    """Judge, inject, train; print and record."""
    torch.set_num_threads(settings.threads)
    paths = {name: find_data(None, file) for name, file in FILES.items()}
    with tempfile.TemporaryDirectory() as temporary:
        folder = settings.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        judged = {
            name: {data: judged_file(settings, folder, name, data, paths[data]) for data in FILES}
            for name in settings.judges
        }
        attacks = {
            name: attacked(settings, folder, name, paths["pandalm"]) for name in settings.judges
        }
        trained = rlaif(settings, folder, paths["hh_helpful"])
    reports = {n: {d: f.report.to_dict() for d, f in files.items()} for n, files in judged.items()}
    for name, files in judged.items():
        for data, found in files.items():
            print(f"\n{data}: {found.report}")
        print(f"{name}: {attacks[name]['text']}")
    print("\n" + shown(reports))
    print("\n" + trained_rows(trained))
    write_record(
        "judges", settings, {"reports": reports, "injections": attacks, "trained": trained}
    )


def judged_file(settings: Settings, folder: Path, name: str, data: str, path: Path) -> JudgedFile:
    """What ``assay judge`` says of the first rows; what was answered before is not asked again."""
    found = judge(
        JudgeConfig(
            files=(str(path),),
            out=folder / f"{name}-{data}.jsonl",
            judge=name,
            limit=getattr(settings, data),
            on_bad_row="skip",
            seed=settings.seed,
            threads=settings.threads,
            page=folder / f"{name}-{data}.html",
        )
    )
    assert isinstance(found, JudgedFile)
    return found


def attacked(settings: Settings, folder: Path, name: str, path: Path) -> dict[str, Any]:
    """How often the injections turn a judge."""
    kept = KeptJudge(load_judge(name), folder / f"{name}-injections.sqlite")
    candidates = read_candidates([str(path)], Tally(), on_bad_row="skip", limit=settings.injected)
    task = PairTask(Questioner(load_pack(), settings.seed))
    report = injection_report(kept, task, [c.comparison for c in candidates])
    return {
        "text": str(report),
        "flips": report.flips.to_dict(),
        "shift": report.shift.to_dict(),
        "by_kind": {kind: figure.to_dict() for kind, figure in report.by_kind.items()},
        "failures": report.failures,
    }


def rlaif(settings: Settings, folder: Path, path: Path) -> dict[str, Any]:
    """Accuracy on human labels of heads that are trained on whose labels."""
    wanted = settings.hh_helpful + settings.heldout
    rows = [row for _, row in islice(read_rows(path), wanted)]
    test = PreferencePairs.load(rows[settings.hh_helpful :])
    human = rows[: settings.hh_helpful]
    sources: dict[str, Sequence[Mapping[str, Any]]] = {"people": human}
    for name in settings.judges:
        sources[name] = [_pair(row) for _, row in read_rows(folder / f"{name}-hh_helpful.jsonl")]
    gaps = {name: _gaps(settings, given, test) for name, given in sources.items()}
    clusters = test.prompt_groups()
    return {
        name: {
            "pairs": len(sources[name]),
            "accuracy": accuracy(found, clusters=clusters).to_dict(),
            "less_people": accuracy_difference(found, gaps["people"], clusters=clusters).to_dict(),
        }
        for name, found in gaps.items()
    }


def _pair(row: Mapping[str, Any]) -> dict[str, Any]:
    """A judged row of two responses as a pair with its soft label."""
    (preference,) = row["preferences"]
    sides = [r["messages"] for r in row["responses"]]
    return {
        "prompt": row["prompt"],
        "chosen": sides[preference["chosen"]],
        "rejected": sides[preference["rejected"]],
        "probability": preference["probability"],
    }


def _gaps(settings: Settings, rows: Sequence[Mapping[str, Any]], test: PreferencePairs) -> Any:
    """Chosen less rejected on the held-out pairs."""
    model = trained_head(rows, "smollm2-135m", settings.l2, settings.seed)
    scorer = RewardScorer(model, truncation="truncate-left")
    flat = scorer.score([c for comparison in test.comparisons for c in comparison.conversations()])
    rewards = flat.reward.reshape(-1, 2)
    return rewards[:, 0] - rewards[:, 1]


def shown(reports: Mapping[str, Mapping[str, Any]]) -> str:
    """A row a judge and data set."""
    rows = []
    for name, files in reports.items():
        for data, r in files.items():
            agreement = r["agreement"]
            rows.append([name, data, *(_figure(block.get(key)) for block, key in (
                (r["position"], "bias"), (r["position"], "consistent"), (agreement, "accuracy"),
                (agreement, "first_order"), (agreement, "second_order"), (agreement, "gain"),
                (agreement, "kappa"), (agreement, "alpha"),
            ))])  # fmt: skip
    head = ["judge", "data", "bias", "consistent", "accuracy", "first order", "second order",
            "both − one", "kappa", "alpha"]  # fmt: skip
    return table(head, rows)


def trained_rows(trained: Mapping[str, Any]) -> str:
    """A row a source of labels."""
    rows = [
        [name, str(t["pairs"]), _figure(t["accuracy"]), _figure(t["less_people"])]
        for name, t in trained.items()
    ]
    return table(["labels of", "pairs", "accuracy on human labels", "less people's"], rows)


def _figure(figure: Any) -> str:
    if not isinstance(figure, dict) or figure.get("value") is None:
        return "–"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}], n={figure['n']}"


if __name__ == "__main__":
    main(run, Settings)
