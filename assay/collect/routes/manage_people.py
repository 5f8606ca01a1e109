"""Members of a project, the people of the site, and the links by which they come in."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Form, Request
from fastapi.responses import RedirectResponse, Response
from sqlalchemy import Connection

from assay.collect.asked import limit, project_of, store_of, viewer_of
from assay.collect.pages import page
from assay.collect.passwords import hashed
from assay.collect.routes.account import sign_in
from assay.collect.routing import Policy, RefusedError, Route, hidden
from assay.errors import ConfigError, StoreError
from assay.store import listing, people
from assay.store.records import Role
from assay.store.tables import ROLES

INVITE_HOURS = 24.0 * 7
RESET_HOURS = 24.0
DONE = ("added", "changed", "removed", "blocked", "active", "deactivated", "activated")
Name = Annotated[str, Form(max_length=200)]
Password = Annotated[str, Form(max_length=1000)]
Word = Annotated[str, Form(max_length=20)]


# --- members --------------------------------------------------------------------------------------


def members(request: Request) -> Response:
    """Who is in a project."""
    return _members_page(request)


def add_member(
    request: Request, name: Name = "", role: Word = "annotator", password: Password = ""
) -> Response:
    """Take somebody in by name; who has no account gets one, by a password or a link."""
    project, viewer = project_of(request), viewer_of(request)
    typed = {"name": name, "role": role}
    try:
        secret = store_of(request).write(
            _add_member, project.id, name, _role(role), hashed(password) if password else None,
            viewer.id,
        )  # fmt: skip
    except ConfigError as error:
        return _members_page(request, 422, error=str(error), typed=typed)
    if secret:
        return _members_page(request, link=_link(request, secret), whose=name.strip())
    return RedirectResponse(f"/projects/{project.id}/members?done=added", 303)


def _add_member(
    connection: Connection,
    project_id: str,
    name: str,
    role: Role,
    password_hash: str | None,
    actor_id: str,
) -> str | None:
    """Add a member, and a person where there is none of that name; the secret of their link."""
    found = people.credentials(connection, name)
    if found is not None:
        person = found[0]
        if people.role_of(connection, project_id, person.id) is not None:
            raise ConfigError(f"{person.name!r} is a member already; change the role in the list.")
        if not person.is_active:
            raise ConfigError(
                f"The account {person.name!r} is not active; a site admin can set it."
            )
        people.set_role(connection, project_id, person.id, role, actor_id)
        return None
    identity = people.add_annotator(
        connection, name, password_hash=password_hash, actor_id=actor_id
    )
    people.set_role(connection, project_id, identity, role, actor_id)
    if password_hash is not None:
        return None
    return people.invite(connection, identity, INVITE_HOURS, actor_id)


def change_role(request: Request, annotator_id: str, role: Word) -> Response:
    """Another role."""
    project = project_of(request)
    _member(request, project.id, annotator_id)
    wanted = _role(role)
    store_of(request).write(
        people.set_role, project.id, annotator_id, wanted, viewer_of(request).id
    )
    return RedirectResponse(f"/projects/{project.id}/members?done=changed", 303)


def change_state(request: Request, annotator_id: str, state: Word) -> Response:
    """Block an annotator, or let them go on."""
    project = project_of(request)
    _member(request, project.id, annotator_id)
    if state not in ("active", "blocked"):
        raise RefusedError(422, "invalid", "A member is active or blocked.")
    store_of(request).write(
        people.set_state, project.id, annotator_id, state, viewer_of(request).id
    )
    return RedirectResponse(f"/projects/{project.id}/members?done={state}", 303)


def remove_member(request: Request, annotator_id: str) -> Response:
    """Take somebody out of a project; what they judged stays."""
    project = project_of(request)
    _member(request, project.id, annotator_id)
    store_of(request).write(people.set_role, project.id, annotator_id, None, viewer_of(request).id)
    return RedirectResponse(f"/projects/{project.id}/members?done=removed", 303)


def invite_member(request: Request, annotator_id: str) -> Response:
    """A new link for a member who has not come in yet.

    A project's admin may make one only for an account that has no way in and is in no other
    project: who holds the link becomes its owner.
    """
    project, viewer = project_of(request), viewer_of(request)
    _member(request, project.id, annotator_id)
    store = store_of(request)
    if viewer.rank < Policy.SITE_ADMIN and not store.read(_is_new, annotator_id):
        raise RefusedError(
            409, "has-account", "This account is in use already; a site admin can reset it."
        )
    secret = store.write(people.invite, annotator_id, INVITE_HOURS, viewer.id)
    person = store.read(people.annotator, annotator_id)
    assert person is not None
    return _members_page(request, link=_link(request, secret), whose=person.name)


def _is_new(connection: Connection, annotator_id: str) -> bool:
    person = people.annotator(connection, annotator_id)
    return (
        person is not None
        and not person.is_site_admin
        and not listing.has_way_in(connection, annotator_id)
        and len(listing.projects_of(connection, annotator_id)) == 1
    )


def _member(request: Request, project_id: str, annotator_id: str) -> None:
    if store_of(request).read(people.role_of, project_id, annotator_id) is None:
        raise hidden()


def _role(role: str) -> Role:
    if role not in ROLES:
        raise ConfigError(f"A role must be one of {', '.join(ROLES)}, not {role!r}.")
    return cast("Role", role)


def _members_page(
    request: Request,
    status: int = 200,
    error: str | None = None,
    link: str | None = None,
    whose: str | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    project, store = project_of(request), store_of(request)
    found = store.read(listing.members, project.id, request.query_params.get("after", ""))
    new = {
        member.annotator_id
        for member, _ in found.rows
        if not store.read(listing.has_way_in, member.annotator_id)
    }
    return page(
        request, "manage_members.html", status, project=project, members=found, roles=ROLES,
        error=error, link=link, whose=whose, typed=typed or {}, new=new, done=_done(request),
    )  # fmt: skip


# --- people ---------------------------------------------------------------------------------------


def everybody(request: Request) -> Response:
    """The people of the site."""
    return _people_page(request)


def add_person(request: Request, name: Name = "", password: Password = "") -> Response:
    """A new account, with a password or a link to set it."""
    viewer = viewer_of(request)
    try:
        secret = store_of(request).write(
            _add_person, name, hashed(password) if password else None, viewer.id
        )
    except ConfigError as error:
        return _people_page(request, 422, error=str(error), typed={"name": name})
    if secret:
        return _people_page(request, link=_link(request, secret), whose=name.strip())
    return RedirectResponse("/people?done=added", 303)


def _add_person(
    connection: Connection, name: str, password_hash: str | None, actor_id: str
) -> str | None:
    identity = people.add_annotator(
        connection, name, password_hash=password_hash, actor_id=actor_id
    )
    if password_hash is not None:
        return None
    return people.invite(connection, identity, INVITE_HOURS, actor_id)


def set_active(request: Request, annotator_id: str, active: Word = "") -> Response:
    """Let somebody in again, or end their sessions and tokens and let them in no more."""
    _change(request, annotator_id, {"is_active": active == "on"})
    done = "activated" if active == "on" else "deactivated"
    return RedirectResponse(f"/people?done={done}", 303)


def set_site_admin(request: Request, annotator_id: str, admin: Word = "") -> Response:
    """Let somebody do everything, or not any more."""
    _change(request, annotator_id, {"is_site_admin": admin == "on"})
    return RedirectResponse("/people?done=changed", 303)


def _change(request: Request, annotator_id: str, values: dict[str, bool]) -> None:
    store = store_of(request)
    if store.read(people.annotator, annotator_id) is None:
        raise hidden()
    try:
        store.write(people.change_annotator, annotator_id, values, viewer_of(request).id)
    except StoreError as error:
        raise RefusedError(409, "last-admin", str(error)) from None


def reset(request: Request, annotator_id: str) -> Response:
    """A link by which somebody sets a new password, once, within a day."""
    store = store_of(request)
    person = store.read(people.annotator, annotator_id)
    if person is None:
        raise hidden()
    if not person.is_active:
        raise RefusedError(409, "inactive", "This account is not active; activate it first.")
    secret = store.write(people.invite, annotator_id, RESET_HOURS, viewer_of(request).id)
    return _people_page(request, link=_link(request, secret), whose=person.name)


def _people_page(
    request: Request,
    status: int = 200,
    error: str | None = None,
    link: str | None = None,
    whose: str | None = None,
    typed: dict[str, str] | None = None,
) -> Response:
    like = request.query_params.get("like", "")[:80]
    found = store_of(request).read(
        listing.people, like, request.query_params.get("after", "")[:200]
    )
    return page(
        request, "manage_people.html", status, people=found, like=like, error=error, link=link,
        whose=whose, typed=typed or {}, done=_done(request),
    )  # fmt: skip


def _done(request: Request) -> str | None:
    said = request.query_params.get("done")
    return said if said in DONE else None


# --- coming in ------------------------------------------------------------------------------------


def _link(request: Request, secret: str) -> str:
    return f"{str(request.base_url).rstrip('/')}/invite/{secret}"


def invite_form(request: Request, secret: str) -> Response:
    """Where an invited person sets their password. To look does not use the link up."""
    limit(request, "invite", 30)
    person = store_of(request).read(people.invited, secret)
    if person is None:
        raise RefusedError(404, "invite", "This link is unknown, used, or over; ask for a new one.")
    return page(request, "manage_invite.html", person=person, secret=secret, error=None)


def accept(request: Request, secret: str, password: Password = "") -> Response:
    """Set the password, and sign in. The link works once."""
    limit(request, "invite", 30)
    store = store_of(request)
    person = store.read(people.invited, secret)
    if person is None:
        raise RefusedError(404, "invite", "This link is unknown, used, or over; ask for a new one.")
    try:
        values = {"password_hash": hashed(password)}
    except ConfigError as error:
        return page(request, "manage_invite.html", 422, person=person, secret=secret,
                    error=str(error))  # fmt: skip
    whose = store.write(people.accept_invite, secret, values)
    if whose is None:  # used by another request in between
        raise RefusedError(404, "invite", "This link is unknown, used, or over; ask for a new one.")
    return sign_in(request, whose, "/")


_MEMBER = "/projects/{project_id}/members/{annotator_id}"
_PERSON = "/people/{annotator_id}"
ROUTES: tuple[Route, ...] = (
    Route("GET", "/projects/{project_id}/members", members, Policy.PROJECT_ADMIN),
    Route("POST", "/projects/{project_id}/members", add_member, Policy.PROJECT_ADMIN),
    Route("POST", f"{_MEMBER}/role", change_role, Policy.PROJECT_ADMIN),
    Route("POST", f"{_MEMBER}/state", change_state, Policy.PROJECT_ADMIN),
    Route("POST", f"{_MEMBER}/remove", remove_member, Policy.PROJECT_ADMIN),
    Route("POST", f"{_MEMBER}/invite", invite_member, Policy.PROJECT_ADMIN),
    Route("GET", "/people", everybody, Policy.SITE_ADMIN),
    Route("POST", "/people", add_person, Policy.SITE_ADMIN),
    Route("POST", f"{_PERSON}/active", set_active, Policy.SITE_ADMIN),
    Route("POST", f"{_PERSON}/admin", set_site_admin, Policy.SITE_ADMIN),
    Route("POST", f"{_PERSON}/reset", reset, Policy.SITE_ADMIN),
    Route("GET", "/invite/{secret}", invite_form, Policy.PUBLIC),
    Route("POST", "/invite/{secret}", accept, Policy.PUBLIC),
)
