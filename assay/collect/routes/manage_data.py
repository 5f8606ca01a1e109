"""A project's data: imports and exports, its comparisons, the record, webhooks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, cast, get_args

from fastapi import Form as Field
from fastapi import Request
from fastapi.responses import FileResponse, RedirectResponse, Response, StreamingResponse
from sqlalchemy import Connection
from starlette.background import BackgroundTask

from assay.collect import exchange
from assay.collect.asked import Form, file_of, limit, project_of, store_of, texts, viewer_of
from assay.collect.pages import page
from assay.collect.render import shown_steps, turns
from assay.collect.routing import Policy, RefusedError, Route, hidden
from assay.collect.webhooks import checked_url
from assay.errors import AssayError, ConfigError, StoreFullError, StoreUnavailableError
from assay.store import changing, listing, webhooks
from assay.store import comparisons as stored
from assay.store.comparisons import Filter, State
from assay.store.desk import AccessError
from assay.store.events import verify_chain
from assay.store.records import Page, Purpose
from assay.store.tables import PURPOSES

DONE = ("project", "imported", "withdrawn", "restored", "changed", "added", "removed")
ACTIONS = (
    "judgment.submitted", "judgment.withdrawn", "comparison.flagged", "comparison.skipped",
    "comparisons.imported", "project.changed", "member.changed",
)  # fmt: skip
"""What a webhook can be told of."""
Text = Annotated[str, Field(max_length=2000)]


def data(request: Request) -> Response:
    """Imports, and what can be taken out."""
    return _data_page(request)


def upload(request: Request, form: Form) -> Response:
    """Import a file, all of it or nothing."""
    project, viewer = project_of(request), viewer_of(request)
    typed, file = texts(form), file_of(form, "file")
    if file is None:
        return _data_page(request, 422, error="Choose a file to import.", typed=typed)
    try:
        found = exchange.take_in(
            store_of(request), project.id, file.file, file.filename or "",
            format=typed.get("format", ""), purpose=typed.get("purpose", "work"),
            actor_id=viewer.id,
        )  # fmt: skip
    except StoreUnavailableError:
        raise
    except AssayError as error:
        return _data_page(request, 422, error=str(error), typed=typed)
    return _data_page(request, came=found)


def download(request: Request) -> Response:
    """A project's comparisons and judgments as a file of a format."""
    project = project_of(request)
    limit(request, "export", 20)
    asked = request.query_params
    try:
        made = exchange.take_out(
            store_of(request), project.id, asked.get("format", ""), asked.get("file", "")
        )
    except (StoreUnavailableError, StoreFullError):
        raise
    except AssayError as error:
        return _data_page(request, 422, error=str(error))
    return FileResponse(
        made.path, filename=exchange.file_name(project.name, made.path),
        media_type="application/octet-stream", background=BackgroundTask(made.clear),
    )  # fmt: skip


def _data_page(
    request: Request,
    status: int = 200,
    error: str | None = None,
    came: Any = None,
    typed: Mapping[str, str] | None = None,
) -> Response:
    project = project_of(request)
    found = store_of(request).read(
        listing.imports, project.id, request.query_params.get("before", "")[:36]
    )
    return page(
        request, "manage_data.html", status, project=project, imports=found, error=error,
        came=came, typed=typed or {}, purposes=PURPOSES, formats_in=exchange.formats_in(),
        formats_out=exchange.formats_out(), files=exchange.FILES, done=_done(request),
    )  # fmt: skip


# --- comparisons ----------------------------------------------------------------------------------


def comparisons(request: Request) -> Response:
    """The list of comparisons, a page of it."""
    project, asked = project_of(request), request.query_params
    state, purpose = asked.get("state") or None, asked.get("purpose") or None
    if state not in (None, *get_args(State)) or purpose not in (None, *PURPOSES):
        raise RefusedError(422, "invalid", "There is no such state or purpose of comparisons.")
    after = asked.get("after", "")
    which = Filter(
        state=cast("State | None", state), purpose=cast("Purpose | None", purpose),
        flagged=asked.get("flagged") == "on", leaked=asked.get("leaked") == "on",
    )  # fmt: skip
    number = int(after) if after.isdecimal() and len(after) < 10 else 0
    found, marks = store_of(request).read(_marked, project.id, which, number)
    return page(
        request, "manage_comparisons.html", project=project, found=found, marks=marks, which=which,
        states=get_args(State), purposes=PURPOSES, done=_done(request), after=number,
    )  # fmt: skip


def _marked(
    connection: Connection, project_id: str, which: Filter, after: int
) -> tuple[Page[stored.Listed], dict[str, stored.Marks]]:
    found = stored.listed(connection, project_id, which, after)
    return found, stored.marks(connection, found.rows)


def comparison(request: Request, comparison_id: str) -> Response:
    """A comparison with its judgments."""
    return _comparison_page(request, comparison_id)


def _comparison_page(
    request: Request, comparison_id: str, status: int = 200, error: str | None = None
) -> Response:
    project, viewer = project_of(request), viewer_of(request)
    seen = store_of(request).read(stored.stored, project.id, comparison_id)
    if seen is None:
        raise hidden()
    runs_it = viewer.rank >= Policy.PROJECT_ADMIN
    numbers = {r.id: r.number + 1 for r in seen.responses}
    names = runs_it or project.settings.show_names
    people = list(dict.fromkeys(j.annotator_id for j in seen.judgments))
    return page(
        request, "manage_comparison.html", status, project=project, seen=seen, runs_it=runs_it,
        prompt=turns(seen.prompt), texts={r.id: turns(r.messages) for r in seen.responses},
        steps={r.id: shown_steps(r.steps or ()) for r in seen.responses},
        said=[said(j.answer, numbers) for j in seen.judgments],
        expected=said(seen.expected, numbers) if seen.expected else None, numbers=numbers,
        names={i: None if names else at + 1 for at, i in enumerate(people)}, shows_names=names,
        error=error, done=_done(request),
    )  # fmt: skip


def said(answer: Mapping[str, Any], numbers: Mapping[str, int]) -> str:
    """An answer in signs.

    "1 (0.67)" is the first response at that strength, "2 > 1 = 3" a ranking, "+ 0 − ·" labels of
    steps.
    """
    parts = []
    if "groups" in answer:
        parts.append(" > ".join(
            " = ".join(str(numbers.get(i, "?")) for i in group) for group in answer["groups"]
        ))  # fmt: skip
    elif "labels" in answer:
        signs = {1: "+", 0: "0", -1: "−", None: "·"}
        parts.append(" ".join(signs.get(label, "?") for label in answer["labels"]))
    elif "choice" in answer:
        choice = numbers.get(answer["choice"], "=") if answer["choice"] else "="
        strength = answer.get("strength")
        parts.append(f"{choice} ({strength:.2f})" if strength else str(choice))
    if answer.get("best"):
        parts.append(str(numbers.get(answer["best"], "?")))
    if answer.get("first_error") is not None:
        parts.append(f"× {answer['first_error'] + 1}")
    return ", ".join(parts)


def withdraw(request: Request, comparison_id: str, withdrawn: Text = "") -> Response:
    """Give a comparison out no more, or again."""
    if withdrawn != "on":
        return _changed(request, comparison_id, "restored", changing.restore)
    return _changed(request, [comparison_id], "withdrawn", changing.withdraw)


def set_overlap(request: Request, comparison_id: str, overlap: Text = "") -> Response:
    """Want another number of judgments of a comparison."""
    number = int(overlap) if overlap.strip().isdecimal() and len(overlap) < 6 else -1
    return _changed(request, comparison_id, "changed", changing.set_overlap, number)


def set_place(request: Request, comparison_id: str, place: Text = "") -> Response:
    """Change the turn of a comparison."""
    try:
        number = float(place)
    except ValueError:
        number = float("nan")
    return _changed(request, comparison_id, "changed", changing.set_place, number)


def _changed(
    request: Request, which: str | list[str], done: str, work: Any, *more: Any
) -> Response:
    project = project_of(request)
    comparison_id = which if isinstance(which, str) else which[0]
    try:
        store_of(request).write(work, project.id, which, *more, actor_id=viewer_of(request).id)
    except ConfigError as error:
        return _comparison_page(request, comparison_id, 422, str(error))
    except AccessError:
        raise hidden() from None
    return RedirectResponse(f"/projects/{project.id}/comparisons/{comparison_id}?done={done}", 303)


# --- the record -----------------------------------------------------------------------------------


def events(request: Request) -> Response:
    """What was done in a project, the latest first."""
    return _events_page(request)


def verify(request: Request) -> Response:
    """Whether every entry of the record still fits the one before it."""
    project_of(request)
    limit(request, "verify", 6)
    broken = store_of(request).read(verify_chain)
    return _events_page(request, checked=True, broken=broken)


def _events_page(request: Request, checked: bool = False, broken: int | None = None) -> Response:
    project = project_of(request)
    before = request.query_params.get("before", "")
    number = int(before) if before.isdecimal() and len(before) < 16 else None
    found = store_of(request).read(listing.events, project.id, number)
    return page(request, "manage_events.html", project=project, events=found, checked=checked,
                broken=broken)  # fmt: skip


def events_file(request: Request) -> Response:
    """The record of a project as JSON Lines."""
    project, store = project_of(request), store_of(request)

    def lines() -> Iterator[bytes]:
        with store.database.reading() as connection:
            for row in listing.every_event(connection, project.id):
                yield (json.dumps(row, ensure_ascii=False) + "\n").encode()

    return StreamingResponse(
        lines(), media_type="application/x-ndjson",
        headers={"Content-Disposition": 'attachment; filename="events.jsonl"'},
    )  # fmt: skip


# --- webhooks -------------------------------------------------------------------------------------


def webhooks_form(request: Request) -> Response:
    """Addresses that are told of what happens."""
    return _webhooks_page(request)


def add_webhook(request: Request, form: Form) -> Response:
    """Another address; the secret that signs what it is sent is shown this once."""
    project, typed = project_of(request), texts(form)
    actions = [a for a in ACTIONS if a in form.getlist("action")]
    url = typed.get("url", "").strip()
    try:
        checked_url(url, request.app.state.settings.webhook_hosts)
        _, secret = store_of(request).write(
            webhooks.add_webhook, project.id, url, actions, viewer_of(request).id
        )
    except ConfigError as error:
        return _webhooks_page(request, 422, error=str(error), typed=typed, ticked=actions)
    return _webhooks_page(request, secret=secret)


def remove_webhook(request: Request, webhook_id: str) -> Response:
    """Tell an address no more."""
    project = project_of(request)
    if not store_of(request).write(
        webhooks.remove_webhook, project.id, webhook_id, viewer_of(request).id
    ):
        raise hidden()
    return RedirectResponse(f"/projects/{project.id}/webhooks?done=removed", 303)


def _webhooks_page(
    request: Request,
    status: int = 200,
    error: str | None = None,
    secret: str | None = None,
    typed: Mapping[str, str] | None = None,
    ticked: list[str] | None = None,
) -> Response:
    project = project_of(request)
    return page(
        request, "manage_webhooks.html", status, project=project, actions=ACTIONS, error=error,
        secret=secret, typed=typed or {}, ticked=ticked or [], done=_done(request),
        hooks=store_of(request).read(webhooks.webhooks, project.id),
    )  # fmt: skip


def _done(request: Request) -> str | None:
    said = request.query_params.get("done")
    return said if said in DONE else None


_PROJECT = "/projects/{project_id}"
_COMPARISON = f"{_PROJECT}/comparisons/{{comparison_id}}"
ROUTES: tuple[Route, ...] = (
    Route("GET", f"{_PROJECT}/data", data, Policy.PROJECT_ADMIN),
    Route("POST", f"{_PROJECT}/data/import", upload, Policy.PROJECT_ADMIN),
    Route("GET", f"{_PROJECT}/data/export", download, Policy.PROJECT_ADMIN),
    Route("GET", f"{_PROJECT}/comparisons", comparisons, Policy.REVIEWER),
    Route("GET", _COMPARISON, comparison, Policy.REVIEWER),
    Route("POST", f"{_COMPARISON}/withdraw", withdraw, Policy.PROJECT_ADMIN),
    Route("POST", f"{_COMPARISON}/overlap", set_overlap, Policy.PROJECT_ADMIN),
    Route("POST", f"{_COMPARISON}/place", set_place, Policy.PROJECT_ADMIN),
    Route("GET", f"{_PROJECT}/events", events, Policy.PROJECT_ADMIN),
    Route("POST", f"{_PROJECT}/events/verify", verify, Policy.PROJECT_ADMIN),
    Route("GET", f"{_PROJECT}/events.jsonl", events_file, Policy.PROJECT_ADMIN),
    Route("GET", f"{_PROJECT}/webhooks", webhooks_form, Policy.PROJECT_ADMIN),
    Route("POST", f"{_PROJECT}/webhooks", add_webhook, Policy.PROJECT_ADMIN),
    Route("POST", f"{_PROJECT}/webhooks/{{webhook_id}}/remove", remove_webhook,
          Policy.PROJECT_ADMIN),
)  # fmt: skip
