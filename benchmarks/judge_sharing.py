"""How much faster is a local judge whose questions share what they begin with?

The baseline is the same judge with a packed tree for each question by itself: its options share the
question, and the two orders of a pair, the items of a checklist and the steps of a solution stand
whole. Same questions, in turns; the answers must be the same.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from common import Recorded, cores, find_data, main, shown, table, write_record

from assay.data.contract import Tokens
from assay.errors import TrainingError
from assay.feedback.judges.candidates import read_candidates
from assay.feedback.judges.local import LocalJudge
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Question
from assay.feedback.judges.tasks import ChecklistTask, PairTask, Task
from assay.formats.tally import Tally
from assay.models.policy import Policy

FILES = {"pandalm": "pandalm_test.jsonl.gz", "hh_helpful": "hh_helpful.jsonl.gz"}
ITEMS = (
    "It answers what was asked.",
    "It is free of errors of fact.",
    "It is no longer than it needs to be.",
    "It says what it leaves uncertain.",
)
MOST = 1e-4
"""Difference of two probabilities from which the ways are not the same, in single precision."""


@dataclass(frozen=True, kw_only=True)
class Settings(Recorded):
    """A local judge with and without shared beginnings."""

    judge: str = "smollm2-135m"
    """The local model."""
    comparisons: int = 8
    """Comparisons of each file."""
    repeats: int = 3
    """Timed runs of each way."""
    threads: int = cores()
    """CPU threads. Default: all cores."""


class Alone(LocalJudge):
    """The judge with a tree for each question by itself."""

    def _groups(self, tokens: Sequence[Tokens]) -> None:
        return None


def run(settings: Settings) -> None:
    """Time both ways in turns on every task; print and record."""
    torch.set_num_threads(settings.threads)
    policy = Policy.load(settings.judge)
    ways = {"alone": Alone(policy), "shared": LocalJudge(policy)}
    questioner = Questioner(load_pack("plain"))
    tasks: dict[str, Task] = {
        "pair": PairTask(questioner),
        "checklist": ChecklistTask(questioner, ITEMS),
    }
    found, rows = {}, []
    for data, file in FILES.items():
        for name, task in tasks.items():
            read = read_candidates([str(find_data(None, file))], Tally(), on_bad_row="skip")
            taken = islice(read, settings.comparisons)
            asked = [q for candidate in taken for q in task.questions(candidate.comparison)]
            timed = measured(ways, asked, settings.repeats)
            found[f"{data} {name}"] = {"questions": len(asked), **timed}
            gains = [a / b for a, b in zip(timed["alone"], timed["shared"], strict=True)]
            rows.append(
                (data, name, f"{len(asked):,}", shown(timed["alone"], 2, " s"),
                 shown(timed["shared"], 2, " s"), shown(gains, 2, "×"))
            )  # fmt: skip
    print(table(("data", "task", "questions", "alone", "shared", "gain"), rows))
    write_record("judge_sharing", settings, {"tasks": found})


def measured(
    ways: dict[str, LocalJudge], asked: Sequence[Question], repeats: int
) -> dict[str, list[float]]:
    """Processor seconds of every repeat of each way, which take turns at being the first.

    Raises:
        TrainingError: If the answers are not the same.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    said = {}
    for judge in ways.values():
        list(judge.read(asked[:1]))  # the engine is chosen before the clock runs
    for repeat in range(repeats):
        for name in list(ways)[:: 1 if repeat % 2 == 0 else -1]:
            start = time.process_time()
            said[name] = list(ways[name].read(asked))
            seconds[name].append(time.process_time() - start)
    apart = max(
        abs(p - q)
        for a, b in zip(said["alone"], said["shared"], strict=True)
        for p, q in zip(a.probabilities or (), b.probabilities or (), strict=True)
    )
    if apart > MOST:
        raise TrainingError(f"The two ways' probabilities differ by {apart:.1e}.")
    return seconds


if __name__ == "__main__":
    main(run, Settings)
