"""The verb ``assay panel``: rows in, the same with a panel's soft labels out, doubts to people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from itertools import tee
from pathlib import Path
from typing import Any

from assay.atomic import write_text
from assay.configs import Panel as PanelConfig
from assay.errors import ConfigError, DataError, TrainingError
from assay.feedback.client import AsyncClient
from assay.feedback.costs import Budget
from assay.feedback.endpoints import spent_by, usage_of
from assay.feedback.judges.candidates import Candidate, read_candidates
from assay.feedback.judges.endpoint import EndpointJudge
from assay.feedback.judges.judged import JudgedComparison
from assay.feedback.judges.judged_files import comparisons_of, without_words
from assay.feedback.judges.pairs import PairJudgment
from assay.feedback.judges.panel import (
    ForPeople,
    Panel,
    PanelItem,
    PanelJudgment,
    PanelWeights,
    calibrated_weights,
    for_people,
    panel_of,
)
from assay.feedback.judges.panel_members import Seat, rule_of, seats_of
from assay.feedback.judges.panel_page import panel_page
from assay.feedback.judges.panel_report import PanelReport, panel_report
from assay.feedback.judges.records import Judge
from assay.feedback.judges.rows import (
    Inconsistent,
    compared_row,
    detail_row,
    human_rows,
    judgment_rows,
    label_rows,
    soft_label,
)
from assay.feedback.judges.run import (
    Planned,
    check_used,
    count_rows,
    judge_of,
    planned,
    questions_of,
    task_of,
)
from assay.feedback.judges.tasks import Judged, Task, judged_stream
from assay.formats.files import check_not_read, check_writable, failed_beside, write_rows
from assay.formats.tally import Tally


@dataclass(frozen=True)
class PanelFile:
    """What a panel judged, what of that is for people, and what each member took.

    ``usage`` has an endpoint's requests and tokens for each member, None of a local one; ``cost``
    is that of all of them, None where a price is not known. ``kept`` counts answers from before.
    """

    output: str
    failed: str | None
    rows: int
    rows_failed: int
    pairs: int
    for_people: int
    people: str | None
    queued: str | None
    questions: Mapping[str, int]
    kept: Mapping[str, int]
    usage: Mapping[str, Any]
    cost: float | None
    dropped: Mapping[str, int]
    report: PanelReport
    page: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        return {**self.__dict__, "report": self.report.to_dict()}

    def __str__(self) -> str:
        lines = [f"{self.pairs:,} pairs of {self.rows:,} rows"]
        for name, asked in self.questions.items():
            text = f"{name}: {asked:,} questions, {self.kept[name]:,} answered before"
            if (u := self.usage[name]) is not None:
                text += (
                    f"; {u['requests']:,} requests, {u['failed']:,} failed; "
                    f"{u['prompt_tokens']:,} + {u['response_tokens']:,} tokens"
                )
                text += "" if u["cost"] is None else f", cost {u['cost']:.4f}"
            lines.append(text)
        if self.cost is not None:
            lines.append(f"cost of all members: {self.cost:.4f}")
        gone = ", ".join(f"{n:,} {why}" for why, n in self.dropped.items() if n)
        lines.append(f"left out: {gone or 'none'}")
        lines.append(f"written to {self.output}")
        if self.failed is not None:
            lines.append(f"{self.rows_failed:,} rows without any label to {self.failed}")
        where = [
            *([f"written to {self.people}"] if self.people else []),
            *filter(None, [self.queued]),
        ]
        lines.append(f"{self.for_people:,} pairs for people{''.join(f'; {w}' for w in where)}")
        lines += ["", str(self.report)]
        if self.page is not None:
            lines.append(f"page: {self.page}")
        return "\n".join(lines)


@dataclass(frozen=True)
class PlannedPanel:
    """What each member would be asked, the sample of people's labels included.

    ``cost_at_most`` is of all members, None where the price of an endpoint is not known.
    """

    members: Mapping[str, Planned]
    cost_at_most: float | None

    def to_dict(self) -> dict[str, Any]:
        """For ``--json``."""
        members = {name: plan.to_dict() for name, plan in self.members.items()}
        return {"members": members, "cost_at_most": self.cost_at_most}

    def __str__(self) -> str:
        lines = [f"{name}: {plan}" for name, plan in self.members.items()]
        told = "unknown" if self.cost_at_most is None else f"{self.cost_at_most:.4f} at most"
        return "\n".join([*lines, f"cost of all members: {told}"])


@dataclass(frozen=True)
class _Member:
    """One that is ready to judge."""

    seat: Seat
    task: Task
    judge: Judge
    client: AsyncClient | None
    asked: Counter[str] = field(default_factory=Counter)
    why: Counter[str] = field(default_factory=Counter)

    @property
    def name(self) -> str:
        return self.seat.name


def run(config: PanelConfig) -> Any:
    """Judge files by a panel; what each member answered is kept, and never asked twice.

    Raises:
        AssayError: With one sentence that says what to do.
    """
    seats = seats_of(config)
    rule = rule_of(config, seats)
    _check(config)
    tasks = [task_of(seat.judging) for seat in seats]
    if config.dry_run:
        return _planned(config, seats, tasks)
    budget = None if config.max_cost is None else Budget(config.max_cost)
    with ExitStack() as stack:
        members = []
        for seat, task in zip(seats, tasks, strict=True):
            judge, client = judge_of(seat.judging, stack, seat.answers(config.out), budget)
            members.append(_Member(seat, task, judge, client))
        for member in members:
            if isinstance(member.judge, EndpointJudge):
                member.judge.abilities()  # one that is not there is found before others are paid
        return _run(config, rule, members)


def _check(config: PanelConfig) -> None:
    check_writable(config.out)
    if not 0 <= config.min_coverage <= 1 or not 0 <= config.disagreement <= 0.5:
        raise ConfigError(
            f"min_coverage {config.min_coverage:g} and disagreement {config.disagreement:g} were "
            "given; wanted a share from 0 to 1, and a deviation from 0 to 0.5."
        )
    check_used(config, config.task)
    files = (*config.files, *config.calibrate)
    check_not_read(config.out, files)
    if config.people is not None:
        check_writable(config.people)
        check_not_read(config.people, (*files, str(config.out), str(failed_beside(config.out))))
    if config.db is None and config.project is not None:
        raise ConfigError(
            "--project names a project of a preference store, and none was given; add --db."
        )
    if config.db is not None:
        from assay.errors import require_extra
        from assay.store.transfer import PACKAGES

        require_extra("collect", "assay panel --db", PACKAGES)
        from assay.store.store import PreferenceStore

        with PreferenceStore.open(config.db, create=False) as store:
            store.project_named(config.project)


def _planned(config: PanelConfig, seats: Sequence[Seat], tasks: Sequence[Task]) -> PlannedPanel:
    plans = {}
    for seat, task in zip(seats, tasks, strict=True):
        parts = [planned(seat.judging, questions_of(seat.judging, task))]
        if config.calibrate:
            sample = replace(seat.judging, files=config.calibrate, limit=None)
            parts.append(planned(sample, questions_of(sample, task)))
        plans[seat.name] = _sum_of(parts)
    costs = [plan.estimate["cost_at_most"] for plan in plans.values() if plan.estimate is not None]
    known = [cost for cost in costs if cost is not None]
    return PlannedPanel(plans, float(sum(known)) if len(known) == len(costs) else None)


def _sum_of(plans: Sequence[Planned]) -> Planned:
    """Plans of one member together; a number that one of them does not know is not known."""
    estimates = [plan.estimate for plan in plans if plan.estimate is not None]
    total: dict[str, Any] | None = None
    if estimates:
        total = {
            name: None
            if any(e[name] is None for e in estimates)
            else sum(e[name] for e in estimates)
            for name in estimates[0]
        }
    return Planned(sum(p.rows for p in plans), sum(p.questions for p in plans), total)


def _run(config: PanelConfig, rule: Panel, members: Sequence[_Member]) -> PanelFile:
    from assay.progress import progress_bars

    tally = Tally()
    records: dict[str, list[JudgedComparison]] = {member.name: [] for member in members}
    judgments: list[PanelJudgment] = []
    lost: list[dict[str, Any]] = []
    doubted: list[ForPeople] = []
    counts = Counter[str]()
    clients = [member.client for member in members if member.client is not None]
    with progress_bars(lambda: spent_by(clients)) as report:
        weights, known = _learnt(config, members, report)
        panel = rule if weights is None else weights.panel(rule.quorum)
        total = count_rows(config.files, config.limit)

        def rows() -> Iterator[dict[str, Any]]:
            for candidate, said in _judged(config.files, config, members, tally, config.limit):
                counts["rows"] += 1
                found = panel_judgments(said, panel, config.inconsistent)
                judgments.extend(found)
                for name, judged in said.items():
                    records[name] += comparisons_of(without_words(judged), candidate.votes)
                doubted.extend(
                    for_people(_items(candidate, found, counts["rows"]), config.disagreement)
                )
                report("judging", counts["rows"], total, 0)
                row = panel_row(said, found, _provenance(config, members, panel))
                if row["preferences"]:
                    yield row
                else:
                    lost.append(row)
            _enough(judgments, members, config)

        written = write_rows(config.out, rows())
    spare = failed_beside(config.out)
    if lost:
        write_rows(spare, lost)
    doubted.sort(key=lambda wanted: -wanted.priority)
    if config.people is not None:
        write_rows(config.people, (wanted.to_row() for wanted in doubted))
    found = panel_report(records, judgments, panel, weights=weights, known=known, seed=config.seed)
    if config.page is not None:
        write_text(config.page, panel_page(found.to_dict()))
    usage = {m.name: None if m.client is None else usage_of([m.client]) for m in members}
    costs = [u["cost"] for u in usage.values() if u is not None]  # a local member costs nothing
    return PanelFile(
        output=str(config.out),
        failed=str(spare) if lost else None,
        rows=written + len(lost),
        rows_failed=len(lost),
        pairs=len(judgments),
        for_people=len(doubted),
        people=None if config.people is None else str(config.people),
        queued=_queued(config, doubted),
        questions={m.name: m.asked["questions"] for m in members},
        kept={m.name: m.asked["kept"] for m in members},
        usage=usage,
        cost=sum(costs) if costs and None not in costs else None,
        dropped=dict(tally.dropped),
        report=found,
        page=None if config.page is None else str(config.page),
    )


def _judged(
    files: Sequence[str],
    config: PanelConfig,
    members: Sequence[_Member],
    tally: Tally,
    limit: int | None,
) -> Iterator[tuple[Candidate, dict[str, Judged]]]:
    """Every comparison with what each member holds of it; members go on side by side."""
    read = read_candidates(files, tally, on_bad_row=config.on_bad_row, limit=limit)
    candidates, *copies = tee(read, len(members) + 1)
    streams = [
        judged_stream((candidate.comparison for candidate in copy), member.task, member.judge)
        for member, copy in zip(members, copies, strict=True)
    ]
    try:
        for candidate, *said in zip(candidates, *streams, strict=True):
            for member, judged in zip(members, said, strict=True):
                member.asked["questions"] += len(judged.answers)
                member.asked["kept"] += sum(answer.cached for answer in judged.answers)
                for answer in judged.answers:
                    if answer.detail is not None and answer.said != "answered":
                        member.why[answer.detail[:200]] += 1
            names = (member.name for member in members)
            yield candidate, dict(zip(names, said, strict=True))
    finally:
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]


def _learnt(
    config: PanelConfig, members: Sequence[_Member], report: Any
) -> tuple[PanelWeights | None, frozenset[str]]:
    """Weights by people's labels of a sample, and its prompts; None where there is no sample."""
    if not config.calibrate:
        return None, frozenset()
    columns: dict[str, list[float]] = {member.name: [] for member in members}
    human: list[int | float | None] = []
    prompt: list[str] = []
    total = count_rows(config.calibrate, None)
    sample = _judged(config.calibrate, config, members, Tally(), None)
    for done, (candidate, said) in enumerate(sample, start=1):
        report("calibrating", done, total, 0)
        found = {
            name: comparisons_of(without_words(judged), candidate.votes)
            for name, judged in said.items()
        }
        for name, records in found.items():
            heard = (heard_of(record.judgment, config.inconsistent) for record in records)
            columns[name] += [
                float("nan") if j.probability is None else j.probability for j in heard
            ]
        first = found[members[0].name]
        human += [record.share for record in first]
        prompt += [record.prompt for record in first]
    return calibrated_weights(columns, human, prompt), frozenset(prompt)


def heard_of(judgment: PairJudgment, inconsistent: Inconsistent) -> PairJudgment:
    """A member's judgment as the panel hears it: where orders disagree, its mean or nothing."""
    if inconsistent == "drop" and judgment.outcome == "inconsistent":
        return replace(judgment, probability=None)
    return judgment


def panel_judgments(
    said: Mapping[str, Judged], panel: Panel, inconsistent: Inconsistent = "keep"
) -> list[PanelJudgment]:
    """What the panel holds of every pair of a comparison, in the members' order of pairs."""
    pairs = zip(*(judged.pairs for judged in said.values()), strict=True)
    return [
        panel_of(
            {name: heard_of(j, inconsistent) for name, j in zip(said, same, strict=True)}, panel
        )
        for same in pairs
    ]


def panel_row(
    said: Mapping[str, Judged], found: Sequence[PanelJudgment], provenance: Mapping[str, Any]
) -> dict[str, Any]:
    """The row of a comparison that a panel judged.

    ``preferences`` are the panel's soft labels, ``judgments`` its members' verdicts and ties,
    ``panel`` what it made of each pair, and ``members`` everything that each of them said.
    """
    comparison = next(iter(said.values())).comparison
    row = compared_row(comparison)
    row["preferences"] = label_rows(
        [soft_label(f.pair, f.probability) for f in found if f.probability is not None]
    )
    judgments = [j for name, judged in said.items() for j in judgment_rows(judged.pairs, name)]
    if judgments:
        row["judgments"] = judgments
    row |= human_rows(comparison)
    row["panel"] = {**provenance, "pairs": [_pair_row(f) for f in found]}
    row["members"] = {
        name: {"pairs": [detail_row(pair) for pair in judged.pairs]}
        for name, judged in said.items()
    }
    return row


def _pair_row(found: PanelJudgment) -> dict[str, Any]:
    return {
        "pair": list(found.pair),
        "outcome": found.outcome,
        "probability": found.probability,
        "disagreement": found.disagreement,
        "divided": found.is_divided,
        "used": list(found.used),
        "left_out": dict(found.left_out),
    }


def _provenance(config: PanelConfig, members: Sequence[_Member], panel: Panel) -> dict[str, Any]:
    return {
        "judges": {member.name: member.judge.name for member in members},
        "task": config.task,
        "orders": config.orders,
        "seed": config.seed,
        "quorum": panel.quorum,
        "pooling": panel.pooling,
        "sharpness": panel.sharpness,
        "weights": {member.name: member.weight for member in panel.members},
    }


def _items(
    candidate: Candidate, found: Sequence[PanelJudgment], number: int
) -> Iterator[PanelItem]:
    comparison = candidate.comparison
    wrote = comparison.provenance
    for judgment in found:
        i, j = judgment.pair
        name = comparison.id or f"row {number}"
        yield PanelItem(
            name if len(comparison.responses) == 2 else f"{name} ({i}, {j})",
            comparison.prompt,
            (comparison.responses[i], comparison.responses[j]),
            judgment,
            (None, None) if wrote is None else (wrote[i].get("model"), wrote[j].get("model")),
        )


def _enough(
    judgments: Sequence[PanelJudgment], members: Sequence[_Member], config: PanelConfig
) -> None:
    """Refuse what too few pairs had a quorum for: the rest would be a sample nobody chose."""
    if not judgments:
        raise DataError("There is no pair to judge in what was read; nothing was written.")
    covered = sum(found.probability is not None for found in judgments) / len(judgments)
    if covered >= config.min_coverage:
        return
    gone = Counter(name for found in judgments for name in found.left_out)
    who = ", ".join(f"{name} lacks {n:,}" for name, n in gone.most_common())
    whys = sum((member.why for member in members), Counter[str]()).most_common(1)
    why = f" ({whys[0][0]})" if whys else ""
    raise TrainingError(
        f"Only {covered:.3f} of {len(judgments):,} pairs had a quorum, wanted "
        f"{config.min_coverage:g}: {who}{why}; nothing was written to {config.out}. Run it again "
        "and what failed is asked again, and nothing else, or lower --quorum or --min-coverage."
    )


def _queued(config: PanelConfig, wanted: Sequence[ForPeople]) -> str | None:
    """Put what people should settle into the store; the sentence that says what came of it."""
    if config.db is None:
        return None
    if not wanted:
        return f"nothing to put into {config.db}"
    from assay.feedback.judges.panel_queue import queue_for_people
    from assay.store.store import PreferenceStore

    with PreferenceStore.open(config.db, create=False) as store:
        project = store.project_named(config.project)
        taken = queue_for_people(store, project.id, wanted, f"panel: {Path(config.out).name}")
    if taken.is_repeat:
        return f"in project {project.name!r} since before"
    return f"{taken.comparisons:,} put first in project {project.name!r}"
