"""A route, who may use it, and the check that lets them.

Every route says its policy; ``make_app`` refuses one that says none. The policy is checked before
the endpoint runs: who asks (a session cookie or a token), their role in the project that the path
names, and, for a cookie and a method that changes things, that the request came from our own pages.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool

from assay.collect.limits import Limiter
from assay.store import people
from assay.store.listing import has_project
from assay.store.people import Annotator
from assay.store.records import Role
from assay.store.store import PreferenceStore

COOKIE = "assay_session"
CSRF_HEADER = "x-csrf-token"
CSRF_FIELD = "csrf"
SAFE = ("GET", "HEAD", "OPTIONS")


class Policy(IntEnum):
    """Who may use a route, from everybody to the site's admin. Each includes those after it."""

    PUBLIC = 0
    SIGNED_IN = 1
    ANNOTATOR = 2
    REVIEWER = 3
    PROJECT_ADMIN = 4
    SITE_ADMIN = 5


RANK: dict[Role, Policy] = {
    "annotator": Policy.ANNOTATOR,
    "reviewer": Policy.REVIEWER,
    "admin": Policy.PROJECT_ADMIN,
}


@dataclass(frozen=True)
class Route:
    """A path, its methods, what answers it, and who may ask.

    A path of a project's route names ``{project_id}``. ``options`` go to FastAPI: ``name``,
    ``response_model``, ``summary`` and the like. Routes under /api are in the OpenAPI document.
    """

    method: str
    path: str
    endpoint: Callable[..., Any]
    policy: Policy
    options: Mapping[str, Any] = field(default_factory=dict)


class RefusedError(Exception):
    """A request that is not allowed, or cannot be served: a status, a word, and a sentence."""

    def __init__(self, status: int, code: str, message: str):
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


def hidden() -> RefusedError:
    """That there is no such thing, or that it is not for this viewer: both in the same words."""
    return RefusedError(404, "not-found", "There is no such page, or it is not yours to see.")


@dataclass(frozen=True)
class Viewer:
    """Who asks. ``project_id`` and ``role`` are of the project in the path, where there is one."""

    annotator: Annotator | None = None
    csrf: str = ""
    by_token: bool = False
    project_id: str | None = None
    rank: Policy = Policy.PUBLIC

    @property
    def id(self) -> str:
        """Of somebody signed in."""
        assert self.annotator is not None
        return self.annotator.id


class GuardedRoute(APIRoute):
    """A route that knows who asks before it reads what they send."""

    policy = Policy.SITE_ADMIN

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint behind its policy. FastAPI's own dependencies run after the body is read."""
        answer = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            await admit(request, self.policy)
            return await answer(request)

        return guarded


def guarded(policy: Policy) -> type[GuardedRoute]:
    """The class of routes under a policy."""
    return type(f"Guarded{policy.name.title().replace('_', '')}", (GuardedRoute,),
                {"policy": policy})  # fmt: skip


async def admit(request: Request, policy: Policy) -> None:
    """Set ``request.state.viewer``.

    Raises:
        RefusedError: If the viewer may not ask this, or the request is not from our own pages.
    """
    store: PreferenceStore = request.app.state.store
    viewer = await run_in_threadpool(_viewer, store, request, policy)
    request.state.viewer = viewer
    if request.method not in SAFE and not viewer.by_token:
        _check_origin(request)
        if viewer.annotator is not None:
            await _check_csrf(request, viewer.csrf)


def _viewer(store: PreferenceStore, request: Request, policy: Policy) -> Viewer:
    """Who asks, by one look into the store; by none, where they do not say who they are."""
    if request.headers.get("authorization") or request.cookies.get(COOKIE):
        return store.read(_known, request, policy)
    if policy > Policy.PUBLIC:
        raise _unknown()
    return Viewer()


def _unknown() -> RefusedError:
    return RefusedError(401, "sign-in", "Sign in first.")


def _known(connection: Connection, request: Request, policy: Policy) -> Viewer:
    viewer = _asker(connection, request)
    project_id = request.path_params.get("project_id")
    if viewer.annotator is None:
        if policy > Policy.PUBLIC:
            raise _unknown()
        return viewer
    rank = Policy.SITE_ADMIN if viewer.annotator.is_site_admin else Policy.SIGNED_IN
    if project_id is not None and rank < Policy.SITE_ADMIN:
        role = people.role_of(connection, project_id, viewer.id)
        rank = RANK[role] if role else Policy.SIGNED_IN
    elif project_id is not None and not has_project(connection, project_id):
        raise hidden()
    if rank < policy:
        # whether the project exists is nobody's business who is not in it
        raise hidden()
    return Viewer(viewer.annotator, viewer.csrf, viewer.by_token, project_id, rank)


def _asker(connection: Connection, request: Request) -> Viewer:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer" and secret:
        owner = people.token_owner(connection, secret.strip())
        if owner is None:
            limiter: Limiter = request.app.state.limiter
            limiter.check("token", client_of(request), 30, 60)
            raise RefusedError(401, "token", "The token is unknown or over.")
        return Viewer(owner, by_token=True)
    cookie = request.cookies.get(COOKIE)
    session = people.session(connection, cookie) if cookie else None
    return Viewer(session.annotator, session.csrf) if session else Viewer()


def client_of(request: Request) -> str:
    """The address that asks."""
    return request.client.host if request.client else "?"


def _check_origin(request: Request) -> None:
    """Refuse what a browser sends from another site."""
    site = request.headers.get("sec-fetch-site")
    if site is not None and site not in ("same-origin", "none"):
        raise RefusedError(403, "cross-site", "The request came from another site.")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != request.headers.get("host"):
        raise RefusedError(403, "cross-site", "The request came from another site.")


async def _check_csrf(request: Request, wanted: str) -> None:
    given = request.headers.get(CSRF_HEADER, "")
    kind = request.headers.get("content-type", "")
    if not given and kind.startswith(("application/x-www-form-urlencoded", "multipart/form-data")):
        given = str((await request.form()).get(CSRF_FIELD, ""))
    if not hmac.compare_digest(given.encode(), wanted.encode()):
        raise RefusedError(403, "csrf", "The page is out of date; load it again.")
