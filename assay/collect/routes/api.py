"""What programs ask for: REST under /api/v1, by bearer token or by the session of a page.

A list goes on from a key: ``next`` of one answer is ``after`` of the following request. Settings
carry an ETag, and who changes them names the one they saw. Errors are ``{code, message}``. The
annotator's own routes are in :mod:`assay.collect.routes.work`.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, Query, Request
from fastapi import Path as InPath
from fastapi.responses import FileResponse, JSONResponse, Response, StreamingResponse
from sqlalchemy import Connection, select
from starlette.background import BackgroundTask

from assay.collect import bodies as b
from assay.collect.routing import Policy, RefusedError, Route, Viewer
from assay.collect.webhooks import checked_url
from assay.errors import AssayError, ConfigError
from assay.store import changing, listing, people, webhooks
from assay.store import comparisons as stored
from assay.store.importing import ImportBusyError
from assay.store.records import Judged, Kind, ProjectSettings, Purpose, Rubric
from assay.store.store import PreferenceStore, Project
from assay.types import Figure, json_number

if TYPE_CHECKING:
    from assay.data.audit.figures import Undefined

STREAM_ROWS = 1000
"""Judgments that a stream reads at a time; no transaction stays open between."""

Id = Annotated[str, InPath(pattern=b.UUID, json_schema_extra={"format": "uuid"})]
After = Annotated[int, Query(ge=0, le=b.MOST_MS, description="The key of the last one had.")]
AfterId = Annotated[
    str | None, Query(pattern=b.UUID, description="The id of the last one had.")
]  # fmt: skip
Limit = Annotated[int, Query(ge=1, le=500)]


# --- who and whether ------------------------------------------------------------------------------


def health(request: Request) -> Response:
    """Whether the site and its database answer. For everybody; tells nothing else."""
    try:
        _store(request).read(lambda c: c.execute(select(1)).one())
    except AssayError:
        said = {"code": "store-unavailable", "message": "The database does not answer."}
        return JSONResponse(said, 503)
    return JSONResponse({"status": "ok"})


def me(request: Request) -> b.Me:
    """Who the token or session belongs to."""
    person = _viewer(request).annotator
    assert person is not None
    return b.Me(id=person.id, name=person.name, is_site_admin=person.is_site_admin)


def list_tokens(request: Request) -> b.TokenList:
    """One's own tokens, without their secrets."""
    rows = _store(request).read(people.tokens, _viewer(request).id)
    return b.TokenList(items=[b.TokenOut(**row._mapping) for row in rows])


def add_token(request: Request, body: b.TokenIn) -> b.TokenMade:
    """A new token, told this once. Wants a session: a token that leaked cannot make others."""
    viewer = _viewer(request)
    if viewer.by_token:
        raise RefusedError(403, "session-only", "Sign in to make a token; a token cannot make one.")
    made = _store(request).write(people.add_token, viewer.id, body.name, body.days)
    return b.TokenMade(id=made[0], secret=made[1])


def revoke_token(request: Request, token_id: Id) -> Response:
    """Take one of one's own tokens back; it may be the one that asks."""
    if not _store(request).write(people.revoke_token, _viewer(request).id, token_id):
        raise _not_found("token of yours")
    return Response(status_code=204)


# --- projects -------------------------------------------------------------------------------------


def list_projects(request: Request, after: AfterId = None, limit: Limit = 100) -> b.ProjectPage:
    """The projects one is in; all of them for a site admin."""
    viewer = _viewer(request)
    assert viewer.annotator is not None
    found = _store(request).read(
        listing.projects, viewer.id, every=viewer.annotator.is_site_admin, after=after, limit=limit
    )
    return b.ProjectPage(
        items=[b.ProjectRow(**asdict(row)) for row in found.rows], next=found.more
    )  # fmt: skip


def create_project(request: Request, response: Response, body: b.ProjectIn) -> b.ProjectOut:
    """A new project."""
    store, viewer = _store(request), _viewer(request)
    settings = ProjectSettings.from_dict(b.changed(ProjectSettings().to_dict(), body.settings))
    rubric = Rubric.from_dict(b.changed(Rubric().to_dict(), body.rubric))
    identity = store.create_project(body.name, settings, rubric, viewer.id)
    made = store.project(identity)
    response.headers["ETag"] = tag_of(made)
    return _project_out(made, viewer)


def read_project(request: Request, response: Response, project_id: Id) -> b.ProjectOut:
    """A project with its rubric; its settings for reviewers and admins. The ETag is theirs too."""
    project, viewer = _project(request, project_id), _viewer(request)
    if viewer.rank >= Policy.REVIEWER:
        response.headers["ETag"] = tag_of(project)
    return _project_out(project, viewer)


def change_project(
    request: Request, response: Response, project_id: Id, body: b.ProjectChange
) -> b.ProjectOut:
    """Change settings or the rubric, pause, or go on. If-Match names the state that was seen.

    Of settings and of the rubric only what is named changes. ``If-Match: *`` asks for no check.
    """
    store, viewer, before = _store(request), _viewer(request), _project(request, project_id)
    wanted = request.headers.get("if-match", "").strip()
    if not wanted:
        raise RefusedError(
            428, "if-match", "Send If-Match with the ETag of the project that you saw, or *."
        )
    settings = rubric = None
    if body.settings is not None:
        settings = ProjectSettings.from_dict(b.changed(before.settings.to_dict(), body.settings))
    if body.rubric is not None:
        rubric = Rubric.from_dict(b.changed(before.rubric.to_dict(), body.rubric))
    # what is written was made from this state, so it must be this state that is there
    allowed = {tag_of(before)} if wanted == "*" else {tag.strip() for tag in wanted.split(",")}

    def check(found: Project) -> None:
        if tag_of(found) not in allowed or tag_of(found) != tag_of(before):
            raise RefusedError(
                412, "changed", "The project was changed since; read it again, then change it."
            )

    store.change_project(
        project_id, settings=settings, rubric=rubric, is_paused=body.is_paused,
        actor_id=viewer.id, check=check,
    )  # fmt: skip
    after = store.project(project_id)
    if body.change_existing:
        changing.set_every_overlap(store.database, project_id, after.settings.overlap, viewer.id)
    response.headers["ETag"] = tag_of(after)
    return _project_out(after, viewer)


def tag_of(project: Project) -> str:
    """The ETag of all that can be changed of a project."""
    state = [project.id, project.settings.to_dict(), project.rubric_id, project.is_paused]
    return f'"{hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:32]}"'


def _project_out(project: Project, viewer: Viewer) -> b.ProjectOut:
    sees = viewer.rank >= Policy.REVIEWER
    return b.ProjectOut(
        id=project.id, name=project.name, is_paused=project.is_paused, created=project.created,
        rubric_id=project.rubric_id, rubric_version=project.rubric_version, rubric=project.rubric,
        settings=project.settings if sees else None,
    )  # fmt: skip


# --- members --------------------------------------------------------------------------------------


def list_members(request: Request, project_id: Id) -> b.MemberList:
    """Everybody in the project."""
    _project(request, project_id)
    rows = _store(request).read(people.members, project_id)
    return b.MemberList(items=[b.MemberOut(**asdict(row)) for row in rows])


def add_member(request: Request, project_id: Id, body: b.MemberIn) -> b.MemberOut:
    """Give somebody a role, by name."""
    _project(request, project_id)
    found = _store(request).read(people.credentials, body.name)
    if found is None:
        raise _not_found("annotator")
    return _set_member(request, project_id, found[0].id, b.MemberChange(role=body.role))


def set_member(
    request: Request, project_id: Id, annotator_id: Id, body: b.MemberChange
) -> b.MemberOut:
    """Give somebody a role, by id; block them, or let them go on."""
    _project(request, project_id)
    if _store(request).read(people.annotator, annotator_id) is None:
        raise _not_found("annotator")
    return _set_member(request, project_id, annotator_id, body)


def _set_member(
    request: Request, project_id: str, annotator_id: str, body: b.MemberChange
) -> b.MemberOut:
    store, actor = _store(request), _viewer(request).id

    def change(connection: Connection) -> None:
        people.set_role(connection, project_id, annotator_id, body.role, actor)
        if body.state is not None:
            people.set_state(connection, project_id, annotator_id, body.state, actor)

    store.write(change)
    members = store.read(people.members, project_id)
    member = next((m for m in members if m.annotator_id == annotator_id), None)
    if member is None:
        raise _not_found("member")
    return b.MemberOut(**asdict(member))


def remove_member(request: Request, project_id: Id, annotator_id: Id) -> Response:
    """Take somebody out of the project; their judgments stay."""
    store = _store(request)
    if store.read(people.role_of, project_id, annotator_id) is None:
        raise _not_found("member")
    store.write(people.set_role, project_id, annotator_id, None, _viewer(request).id)
    return Response(status_code=204)


# --- comparisons ----------------------------------------------------------------------------------


def list_comparisons(
    request: Request,
    project_id: Id,
    after: Annotated[int, Query(ge=0, le=2**31 - 1, description="The last number had.")] = 0,
    limit: Limit = 100,
    kind: Kind | None = None,
    purpose: Purpose | None = None,
    state: stored.State | None = None,
    language: b.Language | None = None,
    import_id: AfterId = None,
) -> b.ComparisonPage:
    """Comparisons by number, without their texts."""
    which = stored.Filter(
        state=state, purpose=purpose, kind=kind, language=language, import_id=import_id
    )
    found = _store(request).read(stored.listed, project_id, which, after, limit)
    return b.ComparisonPage(
        items=[b.ComparisonRow.model_validate(row) for row in found.rows],
        next=None if found.more is None else int(found.more),
    )


def read_comparison(request: Request, project_id: Id, comparison_id: Id) -> b.ComparisonOut:
    """A comparison with its responses and judgments."""
    found = _store(request).read(stored.stored, project_id, comparison_id)
    if found is None:
        raise _not_found("comparison")
    is_admin = _viewer(request).rank >= Policy.PROJECT_ADMIN
    responses = [
        b.ResponseOut(
            id=response.id, messages=[m.to_dict() for m in response.messages],
            steps=None if response.steps is None else list(map(dict, response.steps)),
            leak=response.leak, model=response.model if is_admin else None,
            provenance=dict(response.provenance) if is_admin else None,
        )
        for response in found.responses
    ]  # fmt: skip
    named = _sees_names(request, project_id)
    return b.ComparisonOut(
        **asdict(found.listed), place=found.place, prompt=[m.to_dict() for m in found.prompt],
        tools=list(map(dict, found.tools)) if found.tools else None, responses=responses,
        expected=dict(found.expected) if found.expected is not None else None,
        extra=dict(found.extra),
        judgments=[b.JudgmentOut(**_judgment(j, named)) for j in found.judgments],
    )  # fmt: skip


def add_comparisons(
    request: Request, response: Response, project_id: Id, body: b.ComparisonsIn
) -> b.Added:
    """Take comparisons in, all or none. With a key, sent twice they are added once."""
    store = _store(request)
    _project(request, project_id)
    new = [c.comparison(f"comparison {i}") for i, c in enumerate(body.comparisons, 1)]
    _check_authors(store, {r.author_id for c in new for r in c.responses if r.author_id})
    try:
        added = store.add_comparisons(
            project_id, new, source=body.source, format="api", actor_id=_viewer(request).id,
            import_id=body.key,
        )  # fmt: skip
    except ImportBusyError as error:
        raise RefusedError(409, "import-busy", str(error)) from None
    if added.comparisons != len(new):
        raise RefusedError(
            409, "key-reused",
            f"The key was sent before with {added.comparisons:,} comparisons, now with "
            f"{len(new):,}; make a fresh key for other comparisons.",
        )  # fmt: skip
    response.status_code = 200 if added.is_repeat else 201
    return b.Added(**asdict(added))


def _check_authors(store: PreferenceStore, ids: set[str]) -> None:
    known = {i for i in ids if store.read(people.annotator, i) is not None}
    if ids - known:
        raise ConfigError(f"'author_id' names {min(ids - known)}, who is no annotator here.")


def change_comparison(
    request: Request, project_id: Id, comparison_id: Id, body: b.ComparisonChange
) -> b.ComparisonState:
    """Change how many judgments of a comparison are wanted, its turn, or whether it is given out.

    All that is named or nothing. A repeat leaves the comparison as it is.
    """
    actor_id = _viewer(request).id

    def change(connection: Connection) -> b.ComparisonState:
        one = (connection, project_id, comparison_id)
        if body.overlap is not None:
            changing.set_overlap(*one, body.overlap, actor_id)
        if body.place is not None:
            changing.set_place(*one, body.place, actor_id)
        if body.is_withdrawn:
            changing.withdraw(connection, project_id, [comparison_id], actor_id)
        elif body.is_withdrawn is not None:
            changing.restore(*one, actor_id)
        found = stored.stored(*one)
        if found is None:
            raise _not_found("comparison")
        return b.ComparisonState(**asdict(found.listed), place=found.place)

    return _store(request).write(change)


def withdraw_comparison(request: Request, project_id: Id, comparison_id: Id) -> Response:
    """Give a comparison out no more. Its judgments stay."""
    viewer = _viewer(request)
    _store(request).write(changing.withdraw, project_id, [comparison_id], viewer.id)
    return Response(status_code=204)


# --- judgments and figures ------------------------------------------------------------------------


def stream_judgments(
    request: Request,
    project_id: Id,
    since: Annotated[int, Query(ge=0, le=b.MOST_MS, description="Milliseconds since 1970.")] = 0,
    after: Annotated[
        str, Query(pattern=rf"^$|{b.UUID}", description="Of those at 'since', the last id had.")
    ] = "",
    withdrawn: bool = False,
) -> Response:
    """Judgments by time, one JSON object a line, until there are no more."""
    store, named = _store(request), _sees_names(request, project_id)
    read = partial(stored.judged_since, limit=STREAM_ROWS, withdrawn=withdrawn)

    def lines() -> Iterator[bytes]:
        at, last = since, after
        while True:
            rows = store.read(read, project_id, since=at, after_id=last)
            yield b"".join(
                json.dumps(_judgment(row, named), ensure_ascii=False).encode() + b"\n"
                for row in rows
            )
            if len(rows) < STREAM_ROWS:
                return
            at, last = rows[-1].submitted, rows[-1].id

    return StreamingResponse(lines(), media_type="application/x-ndjson")


def _judgment(judged: Judged, named: bool) -> dict[str, Any]:
    return {
        **asdict(judged), "shown": list(judged.shown),
        "annotator": judged.annotator if named else None,
    }  # fmt: skip


def _sees_names(request: Request, project_id: str) -> bool:
    """Admins do; reviewers where the project says so, for they judge the judgments."""
    is_admin = _viewer(request).rank >= Policy.PROJECT_ADMIN
    return is_admin or _project(request, project_id).settings.show_names


def read_progress(request: Request, project_id: Id) -> b.Progress:
    """How far the project is."""
    _project(request, project_id)
    return b.Progress.model_validate(_store(request).read(stored.counts, project_id))


def read_agreement(request: Request, project_id: Id) -> b.AgreementOut:
    """How far annotators agree, by question. The first answer on much data has none yet."""
    from assay.collect.figures import figures_of

    store = _store(request)
    figures = figures_of(store)
    found = figures.of(store, project_id)
    asked = found.questions if found is not None else ()
    return b.AgreementOut(
        at=found.at if found is not None else None,
        is_running=figures.is_running(project_id),
        questions=[
            b.QuestionOut(
                name=q.name, level=q.level, coefficient=_figure(q.coefficient), raw=_figure(q.raw),
                items=q.items, judgments=q.judgments,
            )
            for q in asked
        ],
    )  # fmt: skip


def _figure(found: Figure | Undefined) -> b.FigureOut:
    if isinstance(found, Figure):
        return b.FigureOut(
            value=json_number(found.value), low=json_number(found.low),
            high=json_number(found.high), n=found.n,
        )  # fmt: skip
    return b.FigureOut(undefined=found.why)


def export_project(
    request: Request,
    project_id: Id,
    format: Annotated[str, Query(pattern=r"^[a-z0-9-]{1,40}$")] = "assay",
) -> Response:
    """The judgments as a file of a format that trainers read."""
    from assay.store.exporting import export

    project = _project(request, project_id)
    folder = tempfile.TemporaryDirectory(prefix="assay-export-")
    try:
        path = Path(folder.name) / "export.jsonl"
        export(_store(request), project_id, path, format)
        written = next(p for p in Path(folder.name).iterdir())
    except BaseException:
        folder.cleanup()
        raise
    return FileResponse(
        written, media_type="application/octet-stream",
        filename=f"{project.name}-{format}{''.join(written.suffixes)}",
        background=BackgroundTask(folder.cleanup),
    )  # fmt: skip


# --- the record and webhooks ----------------------------------------------------------------------


def list_events(
    request: Request, project_id: Id, after: After = 0, limit: Limit = 100
) -> b.EventPage:
    """What was done in the project, in order, each entry with its seal."""
    _project(request, project_id)
    return _events(request, project_id, after, limit)


def list_site_events(request: Request, after: After = 0, limit: Limit = 100) -> b.EventPage:
    """What was done on the whole site, in order."""
    return _events(request, None, after, limit)


def _events(request: Request, project_id: str | None, after: int, limit: int) -> b.EventPage:
    found = _store(request).read(listing.events_after, project_id, after, limit)
    return b.EventPage(
        items=[b.EventOut(**asdict(event)) for event in found.rows],
        next=None if found.more is None else int(found.more),
    )


def list_webhooks(request: Request, project_id: Id) -> b.WebhookList:
    """The project's webhooks, without their secrets."""
    _project(request, project_id)
    rows = _store(request).read(webhooks.webhooks, project_id)
    return b.WebhookList(
        items=[b.WebhookOut(**{**asdict(row), "actions": list(row.actions)}) for row in rows]
    )


def add_webhook(request: Request, project_id: Id, body: b.WebhookIn) -> b.WebhookMade:
    """Tell an address of the project's events. The secret that signs them is told this once."""
    _project(request, project_id)
    checked_url(body.url, request.app.state.settings.webhook_hosts)
    made = _store(request).write(
        webhooks.add_webhook, project_id, body.url, body.actions, _viewer(request).id
    )
    return b.WebhookMade(id=made[0], secret=made[1])


def remove_webhook(request: Request, project_id: Id, webhook_id: Id) -> Response:
    """Tell an address no more; what it was not told yet is dropped."""
    viewer = _viewer(request)
    if not _store(request).write(webhooks.remove_webhook, project_id, webhook_id, viewer.id):
        raise _not_found("webhook")
    return Response(status_code=204)


def list_deliveries(
    request: Request,
    project_id: Id,
    webhook_id: Id,
    before: AfterId = None,
    limit: Limit = 100,
) -> b.DeliveryPage:
    """What became of telling a webhook, the latest first."""
    rows = _store(request).read(webhooks.deliveries, project_id, webhook_id, before, limit + 1)
    if rows is None:
        raise _not_found("webhook")
    items = [b.DeliveryOut(**asdict(row)) for row in rows[:limit]]
    return b.DeliveryPage(items=items, next=items[-1].id if len(rows) > limit else None)


# --- shared ---------------------------------------------------------------------------------------


def _store(request: Request) -> PreferenceStore:
    store: PreferenceStore = request.app.state.store
    return store


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


def _not_found(what: str) -> RefusedError:
    return RefusedError(404, "not-found", f"There is no such {what}, or it is not yours to see.")


def _project(request: Request, project_id: str) -> Project:
    """The project that the policy let through."""
    return _store(request).project(project_id)


# --- the document ---------------------------------------------------------------------------------

SECURITY: dict[str, dict[str, str]] = {
    "token": {
        "type": "http", "scheme": "bearer",
        "description": "A token from one's profile page: assay_…",
    },
    "session": {
        "type": "apiKey", "in": "cookie", "name": "assay_session",
        "description": "Of a signed-in page. What changes something carries X-CSRF-Token too.",
    },
}  # fmt: skip
_SAID = {
    400: "The body is no JSON.",
    401: "No token or session, or one that is over.",
    403: "The request came from another site, or lacks its CSRF token.",
    404: "There is no such thing, or it is not yours to see.",
    409: "Something else is under way, or the key was used for other comparisons.",
    412: "The project was changed since it was read.",
    413: "The body is too large.",
    422: "A field is wrong; the message names it.",
    428: "If-Match is missing.",
    429: "Too many attempts; Retry-After says when to try again.",
    503: "The database does not answer; try again.",
    507: "The disk is full; nothing of this was stored.",
}


def openapi(app: FastAPI, made: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The OpenAPI document, with the two ways to say who asks. Its version is that of the API."""
    document = made()
    document.setdefault("components", {})["securitySchemes"] = SECURITY
    document["info"]["version"] = "1"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation.setdefault("security", [{name: []} for name in SECURITY])
            operation.setdefault("tags", [path.split("/")[3]])
    return document


def _route(
    method: str,
    path: str,
    endpoint: Callable[..., Any],
    policy: Policy,
    *also: int,
    status: int = 200,
    **options: Any,
) -> Route:
    """A route whose errors are in the document: those that any has, and those named."""
    statuses = {422, 429, 503, *also}
    if policy > Policy.PUBLIC:
        statuses |= {401}
    if policy > Policy.SIGNED_IN or "{" in path:
        statuses |= {404}
    if method != "GET":
        statuses |= {403, 507}
    if method in ("POST", "PUT", "PATCH"):
        statuses |= {400, 413}
    documented: dict[int | str, Any] = {
        s: {"model": b.ErrorOut, "description": _SAID[s]} for s in sorted(statuses)
    }
    documented.update(options.pop("responses", {}))
    summary = (endpoint.__doc__ or "").splitlines()[0].rstrip(".")
    return Route(method, f"/api/v1{path}", endpoint, policy, {
        "summary": summary, "status_code": status, "responses": documented,
        "operation_id": endpoint.__name__, **options,
    })  # fmt: skip


def _stream(kind: str, description: str) -> dict[str, Any]:
    """Options of a route that answers with something else than JSON."""
    shape = {"schema": {"type": "string"}}
    return {
        "response_class": Response,
        "responses": {200: {"description": description, "content": {kind: shape}}},
    }


_ONE = "/projects/{project_id}"
_COMPARISON = _ONE + "/comparisons/{comparison_id}"
_MEMBER = _ONE + "/members/{annotator_id}"
_WEBHOOK = _ONE + "/webhooks/{webhook_id}"
_ADMIN = Policy.PROJECT_ADMIN
_IF_MATCH = {
    "name": "If-Match", "in": "header", "required": False, "schema": {"type": "string"},
    "description": "The ETag of the project as it was read, or *.",
}  # fmt: skip

ROUTES: tuple[Route, ...] = (
    _route("GET", "/health", health, Policy.PUBLIC, response_model=b.Health,
           openapi_extra={"security": []}),
    _route("GET", "/me", me, Policy.SIGNED_IN),
    _route("GET", "/tokens", list_tokens, Policy.SIGNED_IN),
    _route("POST", "/tokens", add_token, Policy.SIGNED_IN, status=201),
    _route("DELETE", "/tokens/{token_id}", revoke_token, Policy.SIGNED_IN, status=204),
    _route("GET", "/projects", list_projects, Policy.SIGNED_IN),
    _route("POST", "/projects", create_project, Policy.SITE_ADMIN, status=201),
    _route("GET", _ONE, read_project, Policy.ANNOTATOR),
    _route("PATCH", _ONE, change_project, _ADMIN, 412, 428,
           openapi_extra={"parameters": [_IF_MATCH]}),
    _route("GET", _ONE + "/members", list_members, _ADMIN),
    _route("POST", _ONE + "/members", add_member, _ADMIN),
    _route("PUT", _MEMBER, set_member, _ADMIN),
    _route("DELETE", _MEMBER, remove_member, _ADMIN, status=204),
    _route("GET", _ONE + "/comparisons", list_comparisons, Policy.REVIEWER),
    _route("POST", _ONE + "/comparisons", add_comparisons, _ADMIN, 409, status=201,
           responses={200: {"model": b.Added, "description": "The key was known."}}),
    _route("GET", _COMPARISON, read_comparison, Policy.REVIEWER),
    _route("PATCH", _COMPARISON, change_comparison, _ADMIN),
    _route("POST", _COMPARISON + "/withdraw", withdraw_comparison, _ADMIN, status=204),
    _route("GET", _ONE + "/judgments", stream_judgments, Policy.REVIEWER,
           **_stream("application/x-ndjson", "Judgments, one JSON object a line.")),
    _route("GET", _ONE + "/progress", read_progress, Policy.REVIEWER),
    _route("GET", _ONE + "/agreement", read_agreement, Policy.REVIEWER),
    _route("GET", _ONE + "/export", export_project, _ADMIN,
           **_stream("application/octet-stream", "The file.")),
    _route("GET", _ONE + "/events", list_events, _ADMIN),
    _route("GET", "/events", list_site_events, Policy.SITE_ADMIN),
    _route("GET", _ONE + "/webhooks", list_webhooks, _ADMIN),
    _route("POST", _ONE + "/webhooks", add_webhook, _ADMIN, status=201),
    _route("DELETE", _WEBHOOK, remove_webhook, _ADMIN, status=204),
    _route("GET", _WEBHOOK + "/deliveries", list_deliveries, _ADMIN),
)  # fmt: skip
