"""The application: its routes, its headers, and what becomes of errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

import assay
from assay.collect.limits import BodyLimit, Limiter, TooOftenError
from assay.collect.pages import page
from assay.collect.routes import account, api, manage, review, work
from assay.collect.routing import RefusedError, Route, guard
from assay.errors import AssayError, StoreFullError, StoreUnavailableError
from assay.store.answers import AnswerError
from assay.store.assignment import AccessError
from assay.store.store import PreferenceStore

log = logging.getLogger("assay.collect")

ROUTES: tuple[Route, ...] = (
    *account.ROUTES, *work.ROUTES, *manage.ROUTES, *review.ROUTES, *api.ROUTES,
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


def make_app(
    store: PreferenceStore,
    settings: CollectSettings | None = None,
    routes: Sequence[Route] = ROUTES,
) -> FastAPI:
    """The site over a store."""
    app = FastAPI(
        title="Assay collect", version=assay.__version__, openapi_url="/api/openapi.json",
        docs_url=None, redoc_url=None,
    )  # fmt: skip
    app.state.store, app.state.settings = store, settings or CollectSettings()
    app.state.limiter = Limiter()
    for route in routes:
        app.add_api_route(
            route.path,
            route.endpoint,
            methods=[route.method],
            dependencies=[Depends(guard(route.policy))],
            include_in_schema=route.path.startswith("/api/"),
            **route.options,
        )
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    app.add_middleware(BodyLimit, uploads=UPLOADS)
    app.middleware("http")(_with_headers)
    for kind, handler in (
        (RefusedError, _refused), (TooOftenError, _too_often), (AccessError, _no_access),
        (AnswerError, _bad_answer), (AssayError, _wrong), (RequestValidationError, _invalid),
        (HTTPException, _http), (UnicodeError, _unicode),
    ):  # fmt: skip
        app.add_exception_handler(kind, handler)
    return app


async def _with_headers(request: Request, call_next: Any) -> Response:
    response: Response = await call_next(request)
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.url.path.startswith("/static/"):
        response.headers.setdefault("Cache-Control", "public, max-age=3600")
    else:
        response.headers.setdefault("Cache-Control", "no-store")
    if request.app.state.settings.is_https:
        response.headers.setdefault("Strict-Transport-Security", "max-age=31536000")
    return response


# --- errors ---------------------------------------------------------------------------------------


def answered(request: Request, status: int, code: str, message: str, **more: Any) -> Response:
    """An error as the asker reads it: JSON under /api, a page elsewhere."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"code": code, "message": message, **more}, status)
    if status == 401 and request.method == "GET":
        target = request.url.path
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
    if isinstance(error, StoreFullError):
        return answered(request, 507, "disk-full", str(error))
    if isinstance(error, StoreUnavailableError):
        log.error("%s", error)
        return answered(request, 503, "store-unavailable", str(error))
    return answered(request, 422, "refused", str(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    found = error.errors()[0]
    where = ".".join(str(part) for part in found["loc"] if part != "body")
    return answered(request, 422, "invalid", f"{where or 'the request'}: {found['msg']}")


async def _unicode(request: Request, _error: Exception) -> Response:
    return answered(request, 422, "invalid", "The request holds text that is no Unicode.")


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    message = {404: "There is no such page, or it is not yours to see."}.get(
        error.status_code, str(error.detail)
    )
    return answered(request, error.status_code, "not-found" if error.status_code == 404 else "http",
                    message)  # fmt: skip


def document(app: FastAPI) -> str:
    """The OpenAPI document."""
    return json.dumps(app.openapi(), indent=2, ensure_ascii=False) + "\n"
