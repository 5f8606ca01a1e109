"""The verb ``assay judge``: rows in, the same with soft labels out, and how good the judge is."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from assay.configs import Judge as JudgeConfig
from assay.configs import Judging
from assay.errors import ConfigError, DataError, TrainingError
from assay.feedback.client import AsyncClient
from assay.feedback.costs import Budget
from assay.feedback.endpoints import client_of, close, endpoint_of, spent_by, usage_of
from assay.feedback.estimates import estimate
from assay.feedback.judges.candidates import read_candidates
from assay.feedback.judges.endpoint import Asking, EndpointJudge, planned_requests
from assay.feedback.judges.judge_page import judge_page
from assay.feedback.judges.judge_report import JudgeReport, judge_report
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.judged_files import comparisons_of, without_words
from assay.feedback.judges.kept import KeptJudge
from assay.feedback.judges.packs import load_pack
from assay.feedback.judges.pairs import OUTCOMES, USABLE
from assay.feedback.judges.questions import Questioner
from assay.feedback.judges.records import Judge, Question
from assay.feedback.judges.rows import judged_row
from assay.feedback.judges.tasks import (
    ChecklistTask,
    ChoiceTask,
    Judged,
    PairTask,
    RatingTask,
    Task,
    judged_stream,
)
from assay.formats.comparisons import Pair
from assay.formats.files import (
    check_not_read,
    check_writable,
    failed_beside,
    read_rows,
    write_rows,
)
from assay.formats.tally import Tally
from assay.types import Comparison


@dataclass(frozen=True)
class JudgedFile:
    """What was judged, what was not and why, by which means, and what it took.

    ``outcomes`` counts pairs; ``coverage`` is the share of them with a probability. ``usage`` is
    an endpoint's, None of a local judge.
    """

    output: str
    failed: str | None
    rows: int
    rows_failed: int
    pairs: int
    outcomes: Mapping[str, int]
    coverage: float
    means: Mapping[str, int]
    questions: int
    kept: int
    judge: str
    pack: str
    dropped: Mapping[str, int]
    report: JudgeReport
    usage: Mapping[str, Any] | None = None
    page: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "report": self.report.to_dict()}

    def __str__(self) -> str:
        said = ", ".join(f"{n:,} {name}" for name, n in self.outcomes.items() if n)
        means = ", ".join(f"{n:,} by {name}" for name, n in self.means.items())
        lines = [
            f"{self.judge}, pack {self.pack}: {self.pairs:,} pairs of {self.rows:,} rows: {said}",
            f"coverage {self.coverage:.3f}; {self.questions:,} questions ({means}); "
            f"{self.kept:,} answered before",
        ]
        if self.usage is not None:
            u = self.usage
            cost = "" if u["cost"] is None else f", cost {u['cost']:.4f}"
            lines.append(
                f"{u['requests']:,} requests, {u['retries']:,} retries, {u['failed']:,} failed; "
                f"{u['prompt_tokens']:,} + {u['response_tokens']:,} tokens{cost}"
            )
            if u["models"]:
                names = ", ".join(f"{name} ({n:,})" for name, n in u["models"].items())
                lines.append(f"answered as: {names}")
        gone = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n)
        lines.append(f"left out: {gone or 'none'}")
        lines.append(f"written to {self.output}")
        if self.failed is not None:
            lines.append(f"{self.rows_failed:,} rows without any judgment to {self.failed}")
        lines += ["", str(self.report)]
        if self.page is not None:
            lines.append(f"page: {self.page}")
        return "\n".join(lines)


@dataclass(frozen=True)
class Planned:
    """What a run would ask, found out without asking."""

    rows: int
    questions: int
    estimate: Mapping[str, Any] | None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__}

    def __str__(self) -> str:
        text = f"{self.questions:,} questions of {self.rows:,} rows would be asked; none was"
        if self.estimate is None:
            return text
        e = self.estimate
        cost = e["cost_at_most"]
        spent = "no prices were given" if cost is None else f"a cost of {cost:.4f} at most"
        return (
            f"{text}. {e['requests']:,} requests, {e['prompt_tokens']:,} prompt tokens and at most "
            f"{e['response_tokens_at_most']:,} of response: {spent}; what was answered before "
            "costs nothing"
        )


def run(config: JudgeConfig) -> Any:
    """Judge files; what was answered is kept beside the output, and never asked twice.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    check(config)
    check_writable(config.out)
    check_not_read(config.out, config.files)
    if config.task in ("step", "first-error"):
        from assay.feedback.judges.steps import run_steps, steps_asked

        references = references_of(config.references)
        if config.dry_run:
            return planned(config, steps_asked(config, references))
        return run_steps(config, references, judge_of)
    task = task_of(config)
    if config.dry_run:
        return planned(config, questions_of(config, task))
    with ExitStack() as stack:
        judge, client = judge_of(config, stack)
        return _run(config, task, judge, client)


def task_of(config: JudgeConfig) -> Task:
    """What is asked of every comparison.

    Raises:
        ConfigError: If the settings do not go together.
        DataError: If a checklist or references cannot be read.
    """
    questioner = Questioner(load_pack(config.pack), config.seed, config.principles)
    references = references_of(config.references)
    if config.task == "pair":
        return PairTask(
            questioner, config.orders, config.ties, config.dimensions, config.repeats, references
        )
    if config.task == "choice":
        return ChoiceTask(questioner, config.orders, references)
    if config.task == "rating":
        return RatingTask(questioner, config.dimensions, references)
    if config.checklist is None:
        raise ConfigError("The task checklist needs --checklist FILE, a line for each item.")
    if not config.checklist.is_file():
        raise DataError(f"The checklist {config.checklist} is not a file.")
    items = [line.strip() for line in config.checklist.read_text("utf-8").splitlines()]
    return ChecklistTask(questioner, tuple(filter(None, items)), None, references)


USED_BY: Mapping[str, tuple[str, ...]] = {
    "orders": ("pair", "choice"),
    "ties": ("pair",),
    "dimensions": ("pair", "rating"),
    "checklist": ("checklist",),
    "principles": ("pair", "choice"),
    "repeats": ("pair",),
    "inconsistent": ("pair", "choice"),
    "page": ("pair", "choice", "rating", "checklist"),
}
"""The tasks that a setting is for; the others would not heed it."""
ENDPOINTS = ("means", "rationale", "samples", "temperature", "max_tokens")
"""Settings of judges behind an endpoint."""


def check_used(config: Judging, task: str) -> None:
    """Refuse a setting that the task would not heed.

    Raises:
        ConfigError: If one was given.
    """
    given = changed_settings(config)
    for name, tasks in USED_BY.items():
        if name in given and task not in tasks:
            others = f"the task {tasks[0]}" if len(tasks) == 1 else f"the tasks {_listed(tasks)}"
            raise ConfigError(
                f"{flag_of(name)} is for {others}, and the task {task} would not heed it; leave it "
                "out, or choose another task."
            )


def changed_settings(config: Any) -> list[str]:
    """Names of the settings that are not their defaults."""
    return [f.name for f in fields(config) if getattr(config, f.name) != f.default]


def flag_of(name: str) -> str:
    """A setting as the command line has it."""
    return f"--{name.replace('_', '-')}"


def _listed(names: Sequence[str]) -> str:
    return f"{', '.join(names[:-1])} and {names[-1]}"


def check(config: JudgeConfig) -> None:
    """Refuse settings that cannot work, or that nothing would heed.

    Raises:
        ConfigError: If there is one.
    """
    if not 0 <= config.min_coverage <= 1 or config.repeats < 1:
        raise ConfigError(
            f"min_coverage {config.min_coverage:g} and repeats {config.repeats} were given; "
            "wanted a share from 0 to 1, and 1 or more."
        )
    if (config.judge is None) == (config.endpoint is None):
        raise ConfigError(
            "Responses are judged by --judge NAME or by --endpoint URL with --endpoint-model "
            "NAME; give one of the two."
        )
    check_used(config, config.task)
    ignored = [name for name in changed_settings(config) if name in ENDPOINTS]
    if config.endpoint is None and ignored:
        raise ConfigError(
            f"{flag_of(ignored[0])} is for a judge behind an endpoint, and {config.judge} is a "
            "local one, read by log-probabilities; leave it out."
        )


def _asking(config: JudgeConfig) -> Asking:
    asking = Asking(
        means=config.means,
        rationale=config.rationale,
        samples=config.samples,
        temperature=config.temperature,
        max_tokens=config.max_tokens,
        seed=config.seed,
    )
    asking.check()
    return asking


def answers_of(out: Path) -> Path:
    """Where the answers that an output is made of are kept."""
    return out.with_name(f"{out.name}.answers.sqlite")


def judge_of(
    config: JudgeConfig,
    stack: ExitStack,
    answers: Path | None = None,
    budget: Budget | None = None,
) -> tuple[Judge, AsyncClient | None]:
    """Who answers; closed with the stack. The client is an endpoint's.

    Args:
        answers: Where what was answered is kept. Default: beside the output.
        budget: What may be spent, in place of ``max_cost``: of several judges together.
    """
    answers = answers or answers_of(config.out)
    if config.judge is None:
        asking = _asking(config)
        client = client_of(config, answers, budget)
        stack.callback(close, client)
        return EndpointJudge(client, asking, in_flight=config.in_flight), client
    import torch

    from assay.feedback.judges.local import LocalJudge
    from assay.models.policy import Policy

    if config.threads:
        torch.set_num_threads(config.threads)
    local = LocalJudge(Policy.load(config.judge), token_budget=config.token_budget)
    return KeptJudge(local, answers), None


def _run(config: JudgeConfig, task: Task, judge: Judge, client: AsyncClient | None) -> JudgedFile:
    from assay.progress import progress_bars

    tally = Tally()
    pack = load_pack(config.pack)
    provenance = {
        "judge": judge.name,
        "pack": pack.label,
        "task": config.task,
        "orders": config.orders,
        "seed": config.seed,
    }
    counts = _Counts()
    spare = failed_beside(config.out)
    lost: list[dict[str, Any]] = []
    records: list[JudgedComparison] = []
    with progress_bars(lambda: spent_by([] if client is None else [client])) as report:
        total = count_rows(config.files, config.limit)
        votes: deque[Mapping[Pair, tuple[float, ...]]] = deque()

        def comparisons() -> Iterator[Comparison]:
            for candidate in read_candidates(
                config.files, tally, on_bad_row=config.on_bad_row, limit=config.limit
            ):
                votes.append(candidate.votes)
                yield candidate.comparison

        def rows() -> Iterator[dict[str, Any]]:
            for judged in judged_stream(comparisons(), task, judge):
                counts.add(judged)
                records.extend(comparisons_of(without_words(judged), votes.popleft()))
                report("judging", counts.rows, total, 0)
                row = judged_row(judged, judge.name, provenance, config.inconsistent)
                if row["preferences"]:
                    yield row
                else:
                    lost.append(row)
            counts.check(config.min_coverage, config.out)

        written = write_rows(config.out, rows())
    if lost:
        write_rows(spare, lost)
    report_of = judge_report(records, judge.name, own=(judge.name,), seed=config.seed)
    if config.page is not None:
        judge_page(report_of.to_dict(), config.page)
    return JudgedFile(
        output=str(config.out),
        failed=str(spare) if lost else None,
        rows=written + len(lost),
        rows_failed=len(lost),
        pairs=counts.pairs,
        outcomes={name: counts.outcomes[name] for name in OUTCOMES},
        coverage=counts.coverage,
        means=dict(counts.means),
        questions=counts.questions,
        kept=counts.kept,
        judge=judge.name,
        pack=pack.label,
        dropped=dict(tally.dropped),
        report=report_of,
        page=None if config.page is None else str(config.page),
        usage=None if client is None else _usage(client, judge),
    )


class _Counts:
    """What came of the questions, counted as they stream past."""

    def __init__(self) -> None:
        self.rows = self.questions = self.kept = 0
        self.outcomes: Counter[str] = Counter()
        self.means: Counter[str] = Counter()
        self.why: Counter[str] = Counter()

    def add(self, judged: Judged) -> None:
        self.rows += 1
        self.questions += len(judged.answers)
        self.outcomes.update(pair.outcome for pair in judged.pairs)
        for answer in judged.answers:
            self.kept += answer.cached
            if answer.said == "answered" and answer.means is not None:
                self.means[answer.means] += 1
            elif answer.detail is not None:
                self.why[answer.detail[:200]] += 1

    @property
    def pairs(self) -> int:
        return sum(self.outcomes.values())

    @property
    def coverage(self) -> float:
        return sum(self.outcomes[name] for name in USABLE) / max(1, self.pairs)

    def check(self, floor: float, out: Path) -> None:
        """Refuse what too few pairs were judged of: the rest would be a sample nobody chose."""
        if not self.pairs:
            raise DataError("There is no pair to judge in what was read; nothing was written.")
        if self.coverage >= floor:
            return
        gone = ", ".join(
            f"{n:,} {name}" for name, n in self.outcomes.items() if n and name not in USABLE
        )
        first = f" ({self.why.most_common(1)[0][0]})" if self.why else ""
        raise TrainingError(
            f"Only {self.coverage:.3f} of {self.pairs:,} pairs were judged, wanted {floor:g}: "
            f"{gone}{first}; nothing was written to {out}. Run it again and what failed is asked "
            "again, and nothing else, or lower --min-coverage."
        )


def _usage(client: AsyncClient, judge: Judge) -> dict[str, Any]:
    models = judge.models if isinstance(judge, EndpointJudge) else {}
    return {**usage_of([client]), "models": dict(models)}


def questions_of(config: JudgeConfig, task: Task) -> Iterator[list[Question]]:
    """The questions of each row."""
    for candidate in read_candidates(
        config.files, Tally(), on_bad_row=config.on_bad_row, limit=config.limit
    ):
        yield task.questions(candidate.comparison)


def planned(config: JudgeConfig, asked: Iterable[list[Question]]) -> Planned:
    """Questions of each row counted, and what an endpoint would take for them at most."""
    rows = questions = 0

    def counted() -> Iterator[Question]:
        nonlocal rows, questions
        for own in asked:
            rows += 1
            questions += len(own)
            yield from own

    if config.endpoint is None:
        deque(counted(), maxlen=0)
        return Planned(rows, questions, None)
    found = estimate(endpoint_of(config), planned_requests(counted(), _asking(config)))
    return Planned(rows, questions, asdict(found))


def count_rows(files: Sequence[str], limit: int | None) -> int:
    """Rows there are, for progress; the files are read once more, which costs little beside it.

    What can be read only once, such as a named pipe, is left alone; then the count is 0, not known.
    """
    if any(Path(path).is_fifo() for path in files):
        return 0
    found = sum(1 for path in files for _ in read_rows(path, _ignored))
    return found if limit is None else min(found, limit)


def _ignored(_number: int, _error: DataError) -> None:
    """Bad lines are reported when they are read to be judged."""


def references_of(path: Path | None) -> dict[str, str] | None:
    """Right responses by the comparison's id.

    Raises:
        DataError: If a row has no id or no reference.
    """
    if path is None:
        return None
    found = {}
    for number, row in read_rows(path):
        if not isinstance(row.get("reference"), str) or row.get("id") is None:
            raise DataError(f"{path} row {number}: wanted 'id' and 'reference', a text.")
        found[str(row["id"])] = row["reference"]
    return found
