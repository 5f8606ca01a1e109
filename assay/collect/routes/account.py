"""Who one is: the first set-up, signing in and out, one's own settings, the list of projects."""

from __future__ import annotations

import hmac
from typing import Annotated

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response

from assay.collect import locale
from assay.collect.pages import THEMES, page, words_for
from assay.collect.passwords import hashed, is_right
from assay.collect.routing import COOKIE, Policy, RefusedError, Route, Viewer, client_of
from assay.errors import ConfigError
from assay.store import people
from assay.store.store import PreferenceStore

MINUTE = 60


def home(request: Request) -> Response:
    """The projects one is in, or the way in."""
    store, viewer = _store(request), _viewer(request)
    if viewer.annotator is None:
        return RedirectResponse("/setup" if _setup_token(request) else "/login", 303)
    shown = []
    for project in store.projects():
        role = store.read(people.role_of, project.id, viewer.id)
        if role or viewer.annotator.is_site_admin:
            shown.append((project, role or "admin"))
    return page(request, "home.html", projects=shown)


def setup_form(request: Request) -> Response:
    """The first page of a new site."""
    if _setup_token(request) is None:
        return RedirectResponse("/login", 303)
    given = request.query_params.get("token", "")
    return page(request, "setup.html", token=given, name="", error=None)


def setup(
    request: Request,
    token: Annotated[str, Form(max_length=200)],
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
) -> Response:
    """Make the site's admin, once, for whoever has the token that the console printed."""
    _limit(request, "setup", 10)
    wanted = _setup_token(request)
    if wanted is None:
        return RedirectResponse("/login", 303)
    if not hmac.compare_digest(token.encode(), wanted.encode()):
        raise RefusedError(403, "setup-token", "This is not the token that the console printed.")
    try:
        identity = _store(request).write(people.add_first_admin, name, hashed(password))
    except ConfigError as error:
        return page(request, "setup.html", 422, token=token, name=name, error=str(error))
    if identity is None:  # somebody was faster
        return RedirectResponse("/login", 303)
    return sign_in(request, identity, "/")


def login_form(request: Request) -> Response:
    """Where one signs in."""
    next_page = request.query_params.get("next", "/")
    return page(request, "login.html", next=next_page, name="", error=None)


def login(
    request: Request,
    name: Annotated[str, Form(max_length=200)],
    password: Annotated[str, Form(max_length=1000)],
    next: Annotated[str, Form(max_length=500)] = "/",
) -> Response:
    """Sign in. Ten tries a minute an address, and for each name."""
    limiter, who = request.app.state.limiter, name.strip().lower()
    _limit(request, "login", 10)
    limiter.check("login-name", who, 10, MINUTE)
    found = _store(request).read(people.credentials, name)
    person, password_hash = found if found else (None, None)
    right = is_right(password, password_hash)
    if person is None or not right or not person.is_active:
        error = words_for(request)("login.wrong")
        return page(request, "login.html", 401, next=next, name=name, error=error)
    limiter.forget("login-name", who)
    return sign_in(request, person.id, next)


def sign_in(request: Request, annotator_id: str, to: str) -> Response:
    """A new session, in a cookie; one that came with the request ends."""
    settings = request.app.state.settings
    store = _store(request)
    old = request.cookies.get(COOKIE)
    if old:
        store.write(people.close_session, old)
    secret, _ = store.write(people.open_session, annotator_id, settings.session_hours)
    response = RedirectResponse(local_path(to), 303)
    response.set_cookie(
        COOKIE, secret, max_age=round(settings.session_hours * 3600), httponly=True,
        samesite="lax", secure=settings.is_https, path="/",
    )  # fmt: skip
    return response


def local_path(to: str) -> str:
    """A path of this site; anything else is its first page."""
    ok = to.startswith("/") and not to.startswith("//") and "\\" not in to and to.isprintable()
    return to if ok else "/"


def logout(request: Request) -> Response:
    """Sign out."""
    cookie = request.cookies.get(COOKIE)
    if cookie:
        _store(request).write(people.close_session, cookie)
    response = RedirectResponse("/login", 303)
    response.delete_cookie(COOKIE, path="/")
    response.headers["Clear-Site-Data"] = '"cache"'
    return response


def profile(request: Request) -> Response:
    """One's own settings and tokens."""
    tokens = _store(request).read(people.tokens, _viewer(request).id)
    return page(request, "profile.html", tokens=tokens, secret=None, error=None,
                languages=locale.languages(), themes=THEMES)  # fmt: skip


def change_profile(
    request: Request,
    locale_code: Annotated[str, Form(alias="locale", max_length=20)] = "",
    theme: Annotated[str, Form(max_length=10)] = "auto",
) -> Response:
    """Language and theme of the pages."""
    viewer = _viewer(request)
    assert viewer.annotator is not None
    if theme not in THEMES or (locale_code and locale_code not in locale.languages()):
        raise RefusedError(422, "invalid", "There is no such theme or language.")
    settings = {**viewer.annotator.settings, "theme": theme}
    settings = {k: v for k, v in settings.items() if k != "locale"}
    if locale_code:
        settings["locale"] = locale_code
    _store(request).write(people.change_annotator, viewer.id, {"settings": settings})
    return RedirectResponse("/profile", 303)


def change_password(
    request: Request,
    current: Annotated[str, Form(max_length=1000)],
    password: Annotated[str, Form(max_length=1000)],
) -> Response:
    """A new password; every session of the annotator ends."""
    viewer, store = _viewer(request), _store(request)
    _limit(request, "password", 10)
    assert viewer.annotator is not None
    found = store.read(people.credentials, viewer.annotator.name)
    if not is_right(current, found[1] if found else None):
        raise RefusedError(403, "password", "The present password is another.")
    store.write(people.change_annotator, viewer.id, {"password_hash": hashed(password)}, viewer.id)
    return sign_in(request, viewer.id, "/profile")


def add_token(
    request: Request,
    name: Annotated[str, Form(max_length=200)],
    days: Annotated[int, Form(ge=1, le=3650)] = 90,
) -> Response:
    """A token for programs, shown this once."""
    store, viewer = _store(request), _viewer(request)
    _, secret = store.write(people.add_token, viewer.id, name, days)
    tokens = store.read(people.tokens, viewer.id)
    return page(request, "profile.html", tokens=tokens, secret=secret, error=None,
                languages=locale.languages(), themes=THEMES)  # fmt: skip


def revoke_token(request: Request, token_id: str) -> Response:
    """Take a token back."""
    if not _store(request).write(people.revoke_token, _viewer(request).id, token_id):
        raise RefusedError(404, "not-found", "There is no such token of yours.")
    return RedirectResponse("/profile", 303)


def _store(request: Request) -> PreferenceStore:
    store: PreferenceStore = request.app.state.store
    return store


def _viewer(request: Request) -> Viewer:
    viewer: Viewer = request.state.viewer
    return viewer


def _limit(request: Request, name: str, most: int) -> None:
    request.app.state.limiter.check(name, client_of(request), most, MINUTE)


def _setup_token(request: Request) -> str | None:
    """The token of a site that has no admin yet."""
    token: str | None = request.app.state.settings.setup_token
    if token is None or any(a.is_site_admin for a in _store(request).read(people.annotators)):
        return None
    return token


ROUTES = (
    Route("GET", "/", home, Policy.PUBLIC),
    Route("GET", "/setup", setup_form, Policy.PUBLIC),
    Route("POST", "/setup", setup, Policy.PUBLIC),
    Route("GET", "/login", login_form, Policy.PUBLIC),
    Route("POST", "/login", login, Policy.PUBLIC),
    Route("POST", "/logout", logout, Policy.SIGNED_IN),
    Route("GET", "/profile", profile, Policy.SIGNED_IN),
    Route("POST", "/profile", change_profile, Policy.SIGNED_IN),
    Route("POST", "/profile/password", change_password, Policy.SIGNED_IN),
    Route("POST", "/profile/tokens", add_token, Policy.SIGNED_IN),
    Route("POST", "/profile/tokens/{token_id}/revoke", revoke_token, Policy.SIGNED_IN),
)
