"""The application: its routes, its headers, and what becomes of errors."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DataError as DatabaseDataError
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import assay
from assay.collect.limits import BodyLimit, Limiter, TooOftenError
from assay.collect.pages import page, told
from assay.collect.routes import account, api, manage, oidc, review, work
from assay.collect.routes.oidc import Oidc, OidcSettings
from assay.collect.routing import RefusedError, Route, guarded
from assay.collect.webhooks import Sender
from assay.errors import AssayError, StoreFullError, StoreUnavailableError
from assay.store.answers import AnswerError
from assay.store.desk import AccessError
from assay.store.store import PreferenceStore

log = logging.getLogger("assay.collect")

ROUTES: tuple[Route, ...] = (
    *account.ROUTES, *oidc.ROUTES, *work.ROUTES, *manage.ROUTES, *review.ROUTES, *api.ROUTES,
)  # fmt: skip
UPLOADS = ("/import",)
"""Ends of the paths that take large bodies."""
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; manifest-src 'self'; "
    "worker-src 'self'; require-trusted-types-for 'script'; trusted-types assay"
)
HEADERS = {
    "Content-Security-Policy": CONTENT_POLICY,
    "X-Content-Type-Options": "nosniff",
    # not no-referrer: browsers would send "Origin: null" with our own forms
    "Referrer-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


@dataclass(frozen=True, kw_only=True)
class CollectSettings:
    """What the site is told at its start."""

    setup_token: str | None = None
    """What the first visitor must know to become the site's admin; None where there is one."""
    session_hours: float = 12.0
    is_https: bool = False
    """Whether people reach it by https, so that cookies are for https alone."""
    open_registration: bool = False
    """Whether whoever finds the site may make an account, without a role in any project."""
    oidc: OidcSettings | None = None
    """The OpenID provider that people may sign in by."""
    webhook_hosts: tuple[str, ...] = ()
    """Hosts of the team's own network that webhooks may name; all others must be public."""


def make_app(
    store: PreferenceStore,
    settings: CollectSettings | None = None,
    routes: Sequence[Route] = ROUTES,
) -> FastAPI:
    """The site over a store."""
    app = FastAPI(
        title="Assay collect", version=assay.__version__, openapi_url="/api/openapi.json",
        docs_url=None, redoc_url=None, lifespan=_sending,
    )  # fmt: skip
    app.openapi = partial(api.openapi, app, app.openapi)  # type: ignore[method-assign]
    app.state.store, app.state.settings = store, settings or CollectSettings()
    app.state.limiter = Limiter()
    provider = app.state.settings.oidc
    app.state.oidc = None if provider is None else Oidc(provider)
    for route in routes:
        app.router.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            route_class_override=guarded(route.policy),
            include_in_schema=route.path.startswith("/api/"),
            **route.options,
        )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(BodyLimit, uploads=UPLOADS)
    app.add_middleware(WithHeaders, is_https=app.state.settings.is_https)
    for kind, handler in (
        (RefusedError, _refused), (TooOftenError, _too_often), (AccessError, _no_access),
        (AnswerError, _bad_answer), (AssayError, _wrong), (RequestValidationError, _invalid),
        (HTTPException, _http), (UnicodeError, _unstorable), (DatabaseDataError, _unstorable),
        (OverflowError, _unstorable), (RecursionError, _unstorable), (Exception, _failed),
    ):  # fmt: skip
        app.add_exception_handler(kind, handler)
    return app


@asynccontextmanager
async def _sending(app: FastAPI) -> AsyncIterator[None]:
    """While the site runs, what webhooks are owed is sent."""
    sender = Sender(app.state.store, app.state.settings.webhook_hosts)
    sender.start()
    try:
        yield
    finally:
        await run_in_threadpool(sender.stop)


class WithHeaders:
    """Our headers on every answer."""

    def __init__(self, app: ASGIApp, is_https: bool = False):
        self.app, self.is_https = app, is_https

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), scope["path"], self.is_https)
            await send(message)

        await self.app(scope, receive, sent if scope["type"] == "http" else send)


def add_headers(headers: MutableHeaders, path: str, is_https: bool) -> None:
    """Set what is not set yet."""
    for name, value in HEADERS.items():
        headers.setdefault(name, value)
    is_static = path.startswith("/static/")
    headers.setdefault("Cache-Control", "public, max-age=3600" if is_static else "no-store")
    if is_https:
        headers.setdefault("Strict-Transport-Security", "max-age=31536000")


# --- errors ---------------------------------------------------------------------------------------


def answered(request: Request, status: int, code: str, message: str, **more: Any) -> Response:
    """An error as the asker reads it: JSON under /api, a page elsewhere."""
    message = told(request, code, message)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"code": code, "message": message, **more}, status)
    if status == 401 and request.method == "GET":
        target = quote(request.url.path, safe="/")
        return RedirectResponse(f"/login?next={target}" if target != "/" else "/login", 303)
    try:
        return page(request, "error.html", status, code=code, message=message)
    except Exception:  # the page of an error must not fail with the store
        log.exception("the error page failed")
        return PlainTextResponse(message, status)


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return answered(request, error.status, error.code, error.message)


async def _too_often(request: Request, error: Exception) -> Response:
    assert isinstance(error, TooOftenError)
    response = answered(request, 429, "too-often", str(error))
    response.headers["Retry-After"] = str(error.seconds)
    return response


async def _no_access(request: Request, error: Exception) -> Response:
    assert isinstance(error, AccessError)
    status = {"not-found": 404, "not-a-member": 404, "not-yours": 404}.get(error.code, 409)
    return answered(request, status, error.code, str(error))


async def _bad_answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnswerError)
    return answered(request, 422, "answer", str(error), field=error.field)


async def _wrong(request: Request, error: Exception) -> Response:
    if isinstance(error, StoreUnavailableError):
        log.error("%s", error)
        if isinstance(error, StoreFullError):
            return answered(request, 507, "disk-full", error.told)
        return answered(request, 503, "store-unavailable", error.told)
    return answered(request, 422, "refused", str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"] if part != "body")
    return answered(request, 422, "invalid", f"{where or 'the request'}: {found['msg']}")


async def _unstorable(request: Request, _error: Exception) -> Response:
    """Of half a character, a zero character, a number without end, JSON a thousand levels deep."""
    message = "The request holds a text, number or nesting that cannot be stored."
    return answered(request, 422, "invalid", message)


async def _failed(request: Request, _error: Exception) -> Response:
    """Of an error of ours; the server prints where it came from."""
    message = "Something went wrong here; what was stored before is safe. Try again."
    response = answered(request, 500, "failed", message)
    # it is sent from outside the layer that adds them
    add_headers(response.headers, request.url.path, request.app.state.settings.is_https)
    return response


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "There is no such page, or it is not yours to see."}.get(
        error.status_code, str(error.detail)
    )
    code = {404: "not-found", 413: "too-large", 408: "too-slow"}.get(error.status_code, "http")
    response = answered(request, error.status_code, code, message)
    response.headers.update(error.headers or {})
    return response


def document(app: FastAPI) -> str:
    """The OpenAPI document."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
