"""The page on which annotators judge, and what its script asks for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from fastapi import Path, Query, Request
from fastapi.responses import RedirectResponse, Response
from markupsafe import Markup
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from assay.collect import tasks
from assay.collect.pages import fragment, page, told, words_for
from assay.collect.render import render
from assay.collect.routing import Policy, RefusedError, Route, Viewer
from assay.store import assignment, drafts, holding, people, undoing
from assay.store.answers import AnswerError
from assay.store.database import now_ms
from assay.store.desk import AccessError
from assay.store.ids import new_id
from assay.store.records import Assignment, Submitted
from assay.store.store import PreferenceStore, Project, project_in

MOST_ANSWER = 512 * 1024
"""Bytes of an answer as JSON."""
PAGE = 20
ACTIONS = (
    "submit", "undo", "flag", "skip", "save", "diff", "guidelines", "help", "next", "previous",
    "towards-first", "towards-second", "tie", "both-bad", "first-error",
)  # fmt: skip
"""What a key can be chosen for; points, ranks and labels go by their numbers."""
SAID = ("saved", "surplus", "skipped", "flagged", "undone", "gone")
UUID = r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"

Key = Annotated[str, Path(pattern=UUID)]
Whole = Annotated[int, Field(ge=0, le=2**31 - 1)]


# --- the page -------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Given:
    """What an annotator is given: a comparison, or why there is none.

    ``project`` and ``last``, the annotator's last judgment, are there where it was just claimed.
    """

    held: Assignment | None
    reason: str | None = None
    project: Project | None = None
    last: str | None = None


def work(request: Request, project_id: str, comparison: str | None = None) -> Response:
    """The comparison that one holds, the next one, or one of one's own to look at again."""
    store, viewer = _store(request), _viewer(request)
    project = store.project(project_id)
    if comparison is not None:
        held = _opened(request, comparison)
        if held.project_id != project_id:
            raise _not_found()
        given = Given(held)
    else:
        given = _claimed(store, project_id, viewer.id, ())
    said = request.query_params.get("said")
    return _page(request, project, given, said=said if said in SAID else None)


def _page(
    request: Request,
    project: Project,
    given: Given,
    *,
    status: int = 200,
    fields: tasks.Fields | None = None,
    error: str | None = None,
    said: str | None = None,
    judgment_id: str | None = None,
) -> Response:
    store, viewer = _store(request), _viewer(request)
    assert viewer.annotator is not None
    last = store.read(tasks.latest, project.id, viewer.id)
    task = None
    if given.held is not None:
        task = tasks.task_html(
            request, given.held, project.settings, fields=fields, error=error,
            last=last, judgment_id=judgment_id or new_id(),
            state=tasks.task_state(given.held),
        )  # fmt: skip
    done = store.read(tasks.own_count, project.id, viewer.id)
    return page(
        request, "work.html", status, project=project, task=Markup(task) if task else None,
        reason=given.reason, said=said,
        done=done, last=last, actions=ACTIONS,
        setup=_page_setup(request, project), project_id=project.id,
    )  # fmt: skip


def _page_setup(request: Request, project: Project) -> dict[str, Any]:
    """What the script is told once: who works here, its limits, its words."""
    viewer, words = _viewer(request), words_for(request)
    assert viewer.annotator is not None
    return {
        "annotator_id": viewer.id,
        "project_id": project.id,
        "csrf": viewer.csrf,
        "prefetch": project.settings.prefetch,
        "lease_minutes": project.settings.lease_minutes,
        "allow_skip": project.settings.allow_skip,
        "pause_after_minutes": project.settings.pause_after_minutes,
        "keys": viewer.annotator.settings.get("keys") or {},
        "actions": ACTIONS,
        "words": {key: str(words(key)) for key in words.starting("js.")},
    }


def _claimed(
    store: PreferenceStore, project_id: str, annotator_id: str, have: tuple[str, ...]
) -> Given:
    try:
        given = store.write(_taken, project_id, annotator_id, have)
    except AccessError as error:
        if error.code in ("enough", "blocked", "paused", "not-a-member"):
            return Given(None, error.code)
        raise
    if given.held is not None:
        return given
    # none, because the page holds as many as it may, or because there are no more
    most = store.project(project_id).settings.prefetch
    full = store.read(tasks.held_count, project_id, annotator_id) >= most
    return Given(None, None if full and have else "none-left")


def _taken(
    connection: Connection, project_id: str, annotator_id: str, have: tuple[str, ...]
) -> Given:
    """A comparison with what its page says besides, by one transaction: each takes its time."""
    held = assignment.claim(connection, project_id, annotator_id, have)
    if held is None:
        return Given(None)
    project, last = _desk(connection, project_id, annotator_id)
    return Given(held, None, project, last)


def _opened(request: Request, comparison_id: str) -> Assignment:
    store, viewer = _store(request), _viewer(request)
    held = store.read(undoing.opened, viewer.id, comparison_id)
    role = store.read(people.role_of, held.project_id, viewer.id) if held else None
    if held is None or role is None:
        raise _not_found()
    return held


def _not_found() -> RefusedError:
    return RefusedError(404, "not-found", "There is no such comparison, or it is not yours.")


async def act(request: Request, project_id: str) -> Response:
    """Submit, skip, flag or undo by a plain form."""
    form = await request.form()
    return await run_in_threadpool(_act, request, project_id, tasks.fields_from(form))


def _act(request: Request, project_id: str, fields: tasks.Fields) -> Response:
    store, viewer = _store(request), _viewer(request)
    project = store.project(project_id)

    def one(name: str, most: int = 2000) -> str:
        return (fields.get(name) or [""])[-1][:most]

    action, where = one("action"), f"/projects/{project_id}/work"
    if action == "undo":
        return _undone(request, project_id, one("last"), where)
    comparison_id = one("comparison_id")
    if not comparison_id:
        raise RefusedError(422, "invalid", "The form names no comparison; load the page again.")
    held = _opened(request, comparison_id)
    if held.project_id != project_id:
        raise _not_found()
    if action == "skip":
        store.write(holding.skip, viewer.id, comparison_id, one("skip_reason"))
        return RedirectResponse(f"{where}?said=skipped", 303)
    if action == "flag":
        reason = one("flag_reason").strip()
        if not reason:
            error = str(words_for(request)("work.flag-empty"))
            return _page(request, project, Given(held), status=422, fields=fields, error=error,
                         judgment_id=one("judgment_id"))  # fmt: skip
        store.write(holding.flag, viewer.id, comparison_id, reason)
        return RedirectResponse(f"{where}?comparison={comparison_id}&said=flagged", 303)
    if action != "submit":
        raise RefusedError(422, "action", "Submit, skip, flag or undo.")
    return _submitted(request, project, held, fields, one)


def _undone(request: Request, project_id: str, judgment_id: str, where: str) -> Response:
    store, viewer = _store(request), _viewer(request)
    _check_project(store, project_id, viewer.id, judgment_id)
    held = store.write(undoing.undo, viewer.id, judgment_id)
    if held is None:
        return RedirectResponse(f"{where}?said=gone", 303)
    return RedirectResponse(f"{where}?comparison={held.comparison_id}&said=undone", 303)


def _check_project(
    store: PreferenceStore, project_id: str, annotator_id: str, judgment_id: str
) -> None:
    if store.read(tasks.project_of, judgment_id, annotator_id) != project_id:
        raise RefusedError(404, "not-yours", "There is no such judgment of yours.")


def _submitted(
    request: Request, project: Project, held: Assignment, fields: tasks.Fields, one: Any
) -> Response:
    store, viewer = _store(request), _viewer(request)
    answer, judgment_id = tasks.answer_of(fields, held), one("judgment_id")
    try:
        outcome = store.submit(
            viewer.id, judgment_id, held.comparison_id, answer,
            shown=one("shown").split(), active_ms=0, rubric_id=one("rubric_id") or None,
        )  # fmt: skip
    except AnswerError as error:
        why = told(request, "answer", str(error))
        return _page(request, project, Given(held), status=422, fields=fields, error=why,
                     judgment_id=judgment_id)  # fmt: skip
    if held.feedback:
        said = _feedback(request, held, outcome)
        return page(request, "work_feedback_page.html", project=project, feedback=Markup(said),
                    project_id=project.id)  # fmt: skip
    said = "surplus" if outcome.surplus and not outcome.is_repeat else "saved"
    return RedirectResponse(f"/projects/{project.id}/work?said={said}", 303)


def _feedback(request: Request, held: Assignment, outcome: Submitted) -> str:
    words = words_for(request)
    expected = tasks.expected_words(words, held, outcome.expected or {})
    return fragment(request, "work_feedback.html", is_correct=outcome.is_correct, expected=expected)


def history(
    request: Request, project_id: str, before: Annotated[str | None, Query(max_length=36)] = None
) -> Response:
    """One's own judgments, the latest first."""
    store, viewer = _store(request), _viewer(request)
    project, words = store.project(project_id), words_for(request)
    found = store.read(tasks.own, project_id, viewer.id, PAGE + 1, before)
    shown = [(j, tasks.summary(words, j.answer, j.shown)) for j in found[:PAGE]]
    return page(
        request, "work_history.html", project=project, project_id=project_id, shown=shown,
        older=found[PAGE - 1].id if len(found) > PAGE else None, before=before,
    )  # fmt: skip


def guidelines(request: Request, project_id: str) -> Response:
    """The instructions of the rubric by themselves."""
    project = _store(request).project(project_id)
    return page(
        request, "work_guidelines.html", project=project, project_id=project_id,
        rubric=project.rubric, instructions=render(project.rubric.instructions),
    )  # fmt: skip


# --- what the script and programs ask for ---------------------------------------------------------


class Strict(BaseModel):
    """Refuses what it does not know."""

    model_config = ConfigDict(extra="forbid")


def _checked_json(value: dict[str, Any]) -> dict[str, Any]:
    """An object that every database can hold: bounded, no NaN, no zero character."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
        size = len(text.encode())
    except (ValueError, RecursionError) as error:
        raise ValueError("must be plain JSON of Unicode text and finite numbers") from error
    if size > MOST_ANSWER:
        raise ValueError(f"must have at most {MOST_ANSWER:,} bytes")
    if "\\u0000" in text:
        raise ValueError("must not hold the zero character")
    return value


class ClaimBody(Strict):
    """Comparisons that the asker has already."""

    have: list[Annotated[str, Field(max_length=36)]] = Field(default=[], max_length=200)


class DraftBody(Strict):
    """An unfinished answer, and the number of its version."""

    answer: dict[str, Any]
    revision: Annotated[int, Field(ge=1, le=2**31 - 1)]
    active_ms: Whole = 0

    _answer = field_validator("answer")(_checked_json)


class JudgmentBody(Strict):
    """A judgment: its id is the client's, so that it can be sent again."""

    id: Annotated[str, Field(pattern=UUID)]
    comparison_id: Annotated[str, Field(pattern=UUID)]
    answer: dict[str, Any]
    shown: Annotated[list[Annotated[str, Field(max_length=36)]], Field(max_length=26)] | None = None
    active_ms: Whole = 0
    rubric_id: Annotated[str, Field(pattern=UUID)] | None = None

    _answer = field_validator("answer")(_checked_json)


class ReasonBody(Strict):
    """Why: of a skip or a flag."""

    reason: Annotated[str, Field(max_length=2000)] = ""

    @field_validator("reason")
    @classmethod
    def _plain(cls, value: str) -> str:
        if "\x00" in value:
            raise ValueError("must not hold the zero character")
        return value.strip()


class FlagBody(ReasonBody):
    """What is wrong with a comparison."""

    reason: Annotated[str, Field(min_length=1, max_length=2000)]


class KeysBody(Strict):
    """The keys of an annotator: by action, and whether single keys do anything."""

    on: bool = True
    keys: dict[Literal[ACTIONS], Annotated[str, Field(max_length=20)]] = {}  # type: ignore[valid-type]


def claim(request: Request, project_id: Key, body: ClaimBody) -> dict[str, Any]:
    """A comparison to judge, under a lease; or why there is none."""
    store, viewer = _store(request), _viewer(request)
    given = _claimed(store, project_id, viewer.id, tuple(body.have))
    if given.held is None:
        return {"assignment": None, "reason": given.reason}
    assert given.project is not None
    return {"assignment": _shown(request, given.held, given.project, given.last), "reason": None}


def task(request: Request, comparison_id: Key) -> dict[str, Any]:
    """A comparison that one holds or has judged."""
    return _json(request, _opened(request, comparison_id))


def _json(request: Request, held: Assignment) -> dict[str, Any]:
    project, last = _store(request).read(_desk, held.project_id, _viewer(request).id)
    return _shown(request, held, project, last)


def _shown(
    request: Request, held: Assignment, project: Project, last: str | None
) -> dict[str, Any]:
    state = tasks.task_state(held)
    shown = tasks.task_html(
        request, held, project.settings, last=last, judgment_id=new_id(), state=state
    )
    return {
        **state,
        "prompt": [_message(m) for m in held.prompt],
        "responses": [
            {
                "id": response.id,
                "label": label,
                "messages": [_message(m) for m in response.messages],
                "steps": [dict(step) for step in response.steps] if response.steps else None,
            }
            for response, label in zip(
                held.responses, tasks.labels(len(held.responses)), strict=True
            )
        ],
        "rubric": held.rubric.to_dict(),
        "html": shown,
    }


def _desk(connection: Connection, project_id: str, annotator_id: str) -> tuple[Project, str | None]:
    """A project, and the annotator's last judgment in it."""
    last = tasks.latest(connection, project_id, annotator_id)
    return project_in(connection, project_id), last


def _message(message: Any) -> dict[str, Any]:
    # a name of a turn could be a model's
    return {"role": message.role, "content": message.content}


def judge(request: Request, body: JudgmentBody) -> dict[str, Any]:
    """Store a judgment. The same id again gives what is stored."""
    store, viewer = _store(request), _viewer(request)
    outcome = store.submit(
        viewer.id, body.id, body.comparison_id, body.answer, shown=body.shown,
        active_ms=body.active_ms, rubric_id=body.rubric_id,
    )  # fmt: skip
    told = None
    if outcome.expected is not None:
        told = _feedback(request, _opened(request, body.comparison_id), outcome)
    return {**asdict(outcome), "html": told}


def draft(request: Request, comparison_id: Key, body: DraftBody) -> dict[str, int]:
    """Keep an unfinished answer; the revision that is stored now."""
    stored = _store(request).write(
        drafts.save_draft, _viewer(request).id, comparison_id, body.answer, body.revision,
        body.active_ms,
    )  # fmt: skip
    return {"revision": stored}


def extend(request: Request, comparison_id: Key) -> dict[str, int | None]:
    """Renew a lease; null where the comparison is another's now."""
    until = _store(request).write(holding.extend, _viewer(request).id, comparison_id)
    return {"lease_until": until, "now": now_ms()}


def release(request: Request, comparison_id: Key) -> dict[str, bool]:
    """Give a comparison back."""
    _check_member(request, comparison_id)
    freed = _store(request).write(holding.release, _viewer(request).id, comparison_id)
    return {"released": freed}


def _check_member(request: Request, comparison_id: str) -> None:
    _opened(request, comparison_id)


def skip(request: Request, comparison_id: Key, body: ReasonBody) -> dict[str, bool]:
    """Pass a comparison over for good."""
    _store(request).write(holding.skip, _viewer(request).id, comparison_id, body.reason)
    return {"skipped": True}


def flag(request: Request, comparison_id: Key, body: FlagBody) -> dict[str, str]:
    """Say that something is wrong with a comparison."""
    store = _store(request)
    return {"id": store.write(holding.flag, _viewer(request).id, comparison_id, body.reason)}


def undo(request: Request, judgment_id: Key) -> dict[str, Any]:
    """Take back one of one's last judgments: its comparison, open again."""
    held = _store(request).write(undoing.undo, _viewer(request).id, judgment_id)
    return {"assignment": _json(request, held) if held else None}


def mine(
    request: Request,
    project_id: Key,
    limit: Annotated[int, Query(ge=1, le=200)] = 20,
    before: Annotated[str | None, Query(pattern=UUID)] = None,
) -> dict[str, Any]:
    """One's own judgments, the latest first; ``next`` is what to give as ``before`` for more."""
    found = _store(request).read(tasks.own, project_id, _viewer(request).id, limit + 1, before)
    return {
        "judgments": [asdict(judgment) for judgment in found[:limit]],
        "next": found[limit - 1].id if len(found) > limit else None,
    }


def session(request: Request) -> dict[str, Any]:
    """Who is signed in, and what their requests must carry."""
    viewer = _viewer(request)
    assert viewer.annotator is not None
    return {"annotator_id": viewer.id, "csrf": viewer.csrf}


def keys(request: Request, body: KeysBody) -> dict[str, Any]:
    """Choose the keys of the page."""
    store, viewer = _store(request), _viewer(request)
    assert viewer.annotator is not None
    chosen: dict[str, Any] = {"on": body.on, "keys": dict(body.keys)}
    used = [key for key in body.keys.values() if key]
    if len(set(used)) < len(used):
        raise RefusedError(422, "keys", "One key is chosen for two actions; choose another.")
    if not all(key.isprintable() for key in used):
        raise RefusedError(422, "keys", "A key is named by what the browser calls it.")
    settings: Mapping[str, Any] = {**viewer.annotator.settings, "keys": chosen}
    store.write(people.change_annotator, viewer.id, {"settings": settings})
    return chosen


def _store(request: Request) -> PreferenceStore:
    store: PreferenceStore = request.app.state.store
    return store


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


_COMPARISON = "/api/v1/comparisons/{comparison_id}"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/projects/{project_id}/work", work, Policy.ANNOTATOR),
    Route("POST", "/projects/{project_id}/work", act, Policy.ANNOTATOR),
    Route("GET", "/projects/{project_id}/history", history, Policy.ANNOTATOR),
    Route("GET", "/projects/{project_id}/guidelines", guidelines, Policy.ANNOTATOR),
    Route("POST", "/api/v1/projects/{project_id}/claim", claim, Policy.ANNOTATOR),
    Route("GET", "/api/v1/projects/{project_id}/judgments/mine", mine, Policy.ANNOTATOR),
    Route("GET", f"{_COMPARISON}/task", task, Policy.SIGNED_IN),
    Route("PUT", f"{_COMPARISON}/draft", draft, Policy.SIGNED_IN),
    Route("POST", f"{_COMPARISON}/lease", extend, Policy.SIGNED_IN),
    Route("DELETE", f"{_COMPARISON}/lease", release, Policy.SIGNED_IN),
    Route("POST", f"{_COMPARISON}/skip", skip, Policy.SIGNED_IN),
    Route("POST", f"{_COMPARISON}/flag", flag, Policy.SIGNED_IN),
    Route("POST", "/api/v1/judgments", judge, Policy.SIGNED_IN),
    Route("POST", "/api/v1/judgments/{judgment_id}/undo", undo, Policy.SIGNED_IN),
    Route("GET", "/api/v1/me/session", session, Policy.SIGNED_IN),
    Route("PUT", "/api/v1/me/keys", keys, Policy.SIGNED_IN),
)
