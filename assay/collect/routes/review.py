"""Progress, agreement, adjudication and quality, for reviewers.

Reviewers decide comparisons, resolve flags, block annotators and note things about them; all else
here is to look at. Who wrote a response is not shown, and unless the project says so neither is who
judged what while a comparison is decided.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import Depends, Form, Request
from fastapi.responses import RedirectResponse, Response, StreamingResponse
from markupsafe import Markup

from assay.collect import answer_forms, charts
from assay.collect.answer_forms import LABELS, described
from assay.collect.asked import Form as Upload
from assay.collect.asked import file_of
from assay.collect.figures import figures_of
from assay.collect.pages import Words, page, words_for
from assay.collect.quality import Dispute, Person, Quality, missing
from assay.collect.render import shown_steps, turns
from assay.collect.routing import Policy, RefusedError, Route, Viewer
from assay.errors import ConfigError, DataError, StoreError
from assay.store import people, priority, review
from assay.store import quality as counted
from assay.store.answers import AnswerError
from assay.store.presets import PRESETS
from assay.store.review import Case
from assay.store.store import PreferenceStore, Project

LINES = 25
"""Comparisons of a page of the queue."""
MOST_LINES = 50
"""Flags, or judgments, of a page."""


async def form_of(request: Request) -> dict[str, str]:
    """The texts of a form."""
    return {k: v for k, v in (await request.form()).items() if isinstance(v, str)}


Fields = Annotated[dict[str, str], Depends(form_of)]


def dashboard(request: Request, project_id: str) -> Response:
    """How far a project is, and how good."""
    project, words = _project(request, project_id), words_for(request)
    quality, running = _quality(request, project_id)
    board = quality.leaderboard if quality else ()
    return _page(
        request, "review_dashboard.html", project, quality, running,
        progress=_store(request).read(counted.progress, project_id),
        periods=quality.periods if quality else (),
        throughput=charts.throughput(quality, words) if quality else None,
        drift=charts.drift(quality, words) if quality else None,
        board=charts.leaderboard(board, words), day=charts.day,
        groups=len({s.group for s in board}), helped=any(s.is_helped for s in board),
        question_name=_question_name(words),
        can_order=_viewer(request).rank >= Policy.PROJECT_ADMIN,
    )  # fmt: skip


def agreement(request: Request, project_id: str) -> Response:
    """Every coefficient of every question."""
    project, words = _project(request, project_id), words_for(request)
    quality, running = _quality(request, project_id)
    names = {}
    if quality is not None:
        ids = [person.id for person in quality.people]
        names = _store(request).read(review.names, ids)
    name = _question_name(words)
    return _page(
        request, "review_agreement.html", project, quality, running, names=names,
        question_name=name,
        overview=charts.agreement(quality.questions, name, words) if quality else None,
    )  # fmt: skip


# --- adjudication ---------------------------------------------------------------------------------


def queue(request: Request, project_id: str, after: int = 0, all: bool = False) -> Response:
    """Comparisons whose judgments disagree, the largest disagreement first."""
    project, store = _project(request, project_id), _store(request)
    quality, running = _quality(request, project_id)
    decided = store.read(review.decided, project_id)
    lines: list[Dispute] = []
    following: int | None = None
    for place, line in enumerate(quality.disputes[max(after, 0) :] if quality else (), start=1):
        if all or line.comparison_id not in decided:
            lines.append(line)
        if len(lines) > LINES:
            following = max(after, 0) + place - 1
            break
    shown = lines[:LINES]
    return _page(
        request, "review_queue.html", project, quality, running, lines=shown, after=following,
        show_all=all, decided=decided, decided_count=len(decided),
        openings=store.read(counted.openings, [line.comparison_id for line in shown]),
    )  # fmt: skip


def case_page(request: Request, project_id: str, comparison_id: str) -> Response:
    """One comparison with all judgments of it, and the form that settles it."""
    project, case = _case(request, project_id, comparison_id)
    answer = case.decision.answer if case.decision else None
    given = answer_forms.filled(answer, case) if answer else {}
    if case.decision:
        given["note"] = case.decision.note
    return _case_response(request, project, case, given)


def decide(request: Request, project_id: str, comparison_id: str, fields: Fields) -> Response:
    """Settle a comparison, and go on to the next."""
    project, case = _case(request, project_id, comparison_id)
    try:
        answer = answer_forms.answer_of(fields, case)
        _store(request).write(
            review.decide, project_id, comparison_id, _viewer(request).id, answer,
            fields.get("note", ""),
        )  # fmt: skip
    except AnswerError as error:
        return _case_response(request, project, case, fields, str(error), 422)
    following = _next(request, project_id, comparison_id)
    path = f"/projects/{project_id}/adjudicate"
    return RedirectResponse(f"{path}/{following}" if following else path, 303)


def make_gold(request: Request, project_id: str, comparison_id: str) -> Response:
    """Make a decided comparison a gold item."""
    _store(request).write(review.make_gold, project_id, comparison_id, _viewer(request).id)
    return RedirectResponse(f"/projects/{project_id}/adjudicate/{comparison_id}", 303)


def _case(request: Request, project_id: str, comparison_id: str) -> tuple[Project, Case]:
    project = _project(request, project_id)
    case = _store(request).read(review.case_of, project_id, comparison_id, _viewer(request).id)
    return project, case


def _case_response(
    request: Request,
    project: Project,
    case: Case,
    given: Mapping[str, str],
    problem: str | None = None,
    status: int = 200,
) -> Response:
    words = words_for(request)
    labels = dict(zip(case.shown, LABELS, strict=False))
    rubric = case.rubric.rubric
    return page(
        request, "review_case.html", status, project=project, case=case, rubric=rubric,
        labels=labels, given=given, problem=problem, waiting=False, said=None,
        prompt=turns(case.prompt),
        texts={response.id: turns(response.messages) for response in case.responses},
        steps=shown_steps(case.steps),
        judgments=[
            {
                "who": judgment.annotator if project.settings.show_names
                else words("review.annotator-number", number=number),
                "source": judgment.source,
                "surplus": judgment.surplus,
                "lines": described(judgment.answer, labels, words),
                "rationale": judgment.answer.get("rationale", ""),
            }
            for number, judgment in enumerate(case.judgments, start=1)
        ],
        decision_lines=described(case.decision.answer, labels, words) if case.decision else [],
        preset=PRESETS[rubric.preset], graded=PRESETS["helpsteer"],
        point_name=lambda point: answer_forms.point_name(point, words),
        next_id=_next(request, project.id, case.comparison_id),
        can_gold=_viewer(request).rank >= Policy.PROJECT_ADMIN,
    )  # fmt: skip


def _next(request: Request, project_id: str, comparison_id: str) -> str | None:
    """The next undecided comparison of the queue after one, or else the first."""
    quality, _ = _quality(request, project_id)
    if quality is None:
        return None
    decided = _store(request).read(review.decided, project_id)
    listed = [d.comparison_id for d in quality.disputes]
    here = listed.index(comparison_id) + 1 if comparison_id in listed else 0
    turn = listed[here:] + listed[:here]
    return next((i for i in turn if i not in decided and i != comparison_id), None)


# --- flags ----------------------------------------------------------------------------------------


def flags(request: Request, project_id: str, resolved: bool = False, after: str = "") -> Response:
    """What annotators said is wrong."""
    project = _project(request, project_id)
    found = _store(request).read(
        review.flags, project_id, not resolved, MOST_LINES + 1, _key(after)
    )
    last = found[MOST_LINES - 1] if len(found) > MOST_LINES else None
    return page(
        request, "review_flags.html", project=project, flags=found[:MOST_LINES], waiting=False,
        is_open=not resolved, after=f"{last.at}.{last.id}" if last else None, said=None,
    )  # fmt: skip


def resolve(
    request: Request,
    project_id: str,
    flag_id: str,
    note: Annotated[str, Form(max_length=review.MOST_NOTE)] = "",
) -> Response:
    """Say that a flag was looked at."""
    _store(request).write(review.resolve_flag, project_id, flag_id, _viewer(request).id, note)
    return RedirectResponse(f"/projects/{project_id}/flags", 303)


def _key(text: str) -> tuple[int, str] | None:
    """Where a page of a list begins; None is its front."""
    at, _, identity = text.partition(".")
    return (int(at), identity) if at.isdecimal() and len(at) < 16 and identity else None


# --- annotators -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Line:
    """A row of the table of annotators."""

    id: str
    name: str
    standing: Markup
    failed: bool
    person: Person | None


def annotators(request: Request, project_id: str) -> Response:
    """How everybody judges."""
    project, words, store = _project(request, project_id), words_for(request), _store(request)
    quality, running = _quality(request, project_id)
    members = {m.annotator_id: m for m in store.read(people.members, project_id)}
    known = {person.id: person for person in (quality.people if quality else ())}
    names = store.read(review.names, [*known, *members])
    ids = [*known, *(i for i, member in members.items() if i not in known)]
    lines = [
        Line(i, names.get(i, "?"), _standing(members.get(i), words),
             _failed(known.get(i), project), known.get(i))
        for i in ids
    ]  # fmt: skip
    named = [(line.name, line.person) for line in lines if line.person]
    return _page(
        request, "review_annotators.html", project, quality, running, lines=lines,
        reliability_missing=missing(), board=charts.annotators(named, words),
    )  # fmt: skip


def annotator(request: Request, project_id: str, annotator_id: str, before: str = "") -> Response:
    """One annotator: figures, what was noted, and judgments."""
    project, words, store = _project(request, project_id), words_for(request), _store(request)
    members = {m.annotator_id: m for m in store.read(people.members, project_id)}
    lines = store.read(counted.judgments_of, project_id, annotator_id, MOST_LINES + 1, _key(before))
    if annotator_id not in members and not lines:
        raise RefusedError(404, "not-found", "There is no such annotator in this project.")
    quality, running = _quality(request, project_id)
    last = lines[MOST_LINES - 1] if len(lines) > MOST_LINES else None
    return _page(
        request, "review_annotator.html", project, quality, running, annotator_id=annotator_id,
        name=store.read(review.names, [annotator_id])[annotator_id],
        member=members.get(annotator_id), standing=_standing(members.get(annotator_id), words),
        person=quality.person(annotator_id) if quality else None,
        remarks=store.read(review.remarks, project_id, annotator_id),
        lines=[
            (line, described(line.answer, dict(zip(line.shown, LABELS, strict=False)), words),
             _about(line, words))
            for line in lines[:MOST_LINES]
        ],
        before=f"{last.submitted}.{last.id}" if last else None,
    )  # fmt: skip


def set_standing(
    request: Request,
    project_id: str,
    annotator_id: str,
    state: Annotated[str, Form(pattern="^(active|blocked)$")],
    reason: Annotated[str, Form(min_length=1, max_length=review.MOST_NOTE)],
) -> Response:
    """Block an annotator, or let them go on."""
    _store(request).write(
        review.set_standing, project_id, annotator_id, state == "blocked", _viewer(request).id,
        reason,
    )  # fmt: skip
    return RedirectResponse(f"/projects/{project_id}/annotators/{annotator_id}", 303)


def add_note(
    request: Request,
    project_id: str,
    annotator_id: str,
    note: Annotated[str, Form(min_length=1, max_length=review.MOST_NOTE)],
) -> Response:
    """Keep a remark on an annotator."""
    _store(request).write(review.add_note, project_id, annotator_id, _viewer(request).id, note)
    return RedirectResponse(f"/projects/{project_id}/annotators/{annotator_id}", 303)


def _standing(member: people.Member | None, words: Words) -> Markup:
    if member is None:
        return words("review.state.gone")
    said = words(f"role.{member.role}"), words(f"review.state.{member.state}")
    return Markup(", ").join(said)


def _failed(person: Person | None, project: Project) -> bool:
    """Whether the share of screening items answered right is below what the project asks for."""
    figure = person.checks.of("screening") if person else None
    return figure is not None and figure.value < project.settings.screening_share


def _about(line: counted.JudgmentLine, words: Words) -> list[Markup]:
    said = [] if line.purpose == "work" else [words(f"review.{line.purpose}")]
    if line.is_correct is not None:
        said.append(words("review.right" if line.is_correct else "review.wrong"))
    if line.surplus:
        said.append(words("review.surplus-one"))
    if line.withdrawn is not None:
        said.append(words("review.withdrawn"))
    return said


# --- the order of work ----------------------------------------------------------------------------


def open_comparisons(request: Request, project_id: str) -> Response:
    """The comparisons that still want judgments, for ``assay select``."""
    _project(request, project_id)
    store = _store(request)

    def lines() -> Iterator[str]:
        with store.database.reading() as connection:
            for row in priority.open_rows(connection, project_id):
                yield json.dumps(row, ensure_ascii=False) + "\n"

    return StreamingResponse(
        lines(), media_type="application/jsonl",
        headers={"Content-Disposition": 'attachment; filename="open.jsonl"'},
    )  # fmt: skip


def set_order(request: Request, project_id: str, form: Upload) -> Response:
    """Give comparisons out in the order of a file that ``assay select`` wrote."""
    _project(request, project_id)
    file = file_of(form, "file")
    if file is None:
        raise ConfigError("Choose the file that assay select wrote.")
    with TemporaryDirectory() as folder:
        path = Path(folder) / "chosen.jsonl"
        with path.open("wb") as target:
            shutil.copyfileobj(file.file, target)
        try:
            order = priority.read_order(path)
        except DataError as error:
            raise DataError(str(error).replace(str(path), "The file")) from None
    priority.prioritise(_store(request), project_id, order, _viewer(request).id)
    return RedirectResponse(f"/projects/{project_id}", 303)


# --- what pages share -----------------------------------------------------------------------------


def _page(
    request: Request,
    template: str,
    project: Project,
    quality: Quality | None,
    running: bool,
    **values: Any,
) -> Response:
    return page(
        request, template, project=project, quality=quality, running=running, said=None,
        waiting=quality is None, **values,
    )  # fmt: skip


def _quality(request: Request, project_id: str) -> tuple[Quality | None, bool]:
    figures, store = figures_of(_store(request)), _store(request)
    return figures.of(store, project_id), figures.is_running(project_id)


def _question_name(words: Words) -> Callable[[str], Markup]:
    def name(question: str) -> Markup:
        kind, _, dimension = question.partition(":")
        return words(f"review.asked.{kind}", name=dimension)

    return name


def _project(request: Request, project_id: str) -> Project:
    try:
        return _store(request).project(project_id)
    except StoreError:
        raise RefusedError(404, "not-found", "There is no such project.") from None


def _store(request: Request) -> PreferenceStore:
    store: PreferenceStore = request.app.state.store
    return store


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


_BASE = "/projects/{project_id}"
ROUTES: tuple[Route, ...] = (
    Route("GET", _BASE, dashboard, Policy.REVIEWER),
    Route("GET", f"{_BASE}/agreement", agreement, Policy.REVIEWER),
    Route("GET", f"{_BASE}/adjudicate", queue, Policy.REVIEWER),
    Route("GET", f"{_BASE}/adjudicate/{{comparison_id}}", case_page, Policy.REVIEWER),
    Route("POST", f"{_BASE}/adjudicate/{{comparison_id}}", decide, Policy.REVIEWER),
    Route("POST", f"{_BASE}/adjudicate/{{comparison_id}}/gold", make_gold, Policy.PROJECT_ADMIN),
    Route("GET", f"{_BASE}/flags", flags, Policy.REVIEWER),
    Route("POST", f"{_BASE}/flags/{{flag_id}}/resolve", resolve, Policy.REVIEWER),
    Route("GET", f"{_BASE}/annotators", annotators, Policy.REVIEWER),
    Route("GET", f"{_BASE}/annotators/{{annotator_id}}", annotator, Policy.REVIEWER),
    Route("POST", f"{_BASE}/annotators/{{annotator_id}}/standing", set_standing, Policy.REVIEWER),
    Route("POST", f"{_BASE}/annotators/{{annotator_id}}/note", add_note, Policy.REVIEWER),
    Route("GET", f"{_BASE}/order/open.jsonl", open_comparisons, Policy.PROJECT_ADMIN),
    Route("POST", f"{_BASE}/order/import", set_order, Policy.PROJECT_ADMIN),
)
