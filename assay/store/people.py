"""Annotators, their roles in projects, and what lets them in: passwords, tokens, sessions.

Holds digests only: a password's is Argon2's and made elsewhere, a token's or session's SHA-256 of
32 random bytes. Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import Connection, Row, bindparam, delete, func, insert, select, update

from assay.errors import ConfigError, StoreError
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.events import record_event
from assay.store.ids import new_id
from assay.store.records import Role

MOST_NAME = 80
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Annotator:
    """A person."""

    id: str
    name: str
    is_site_admin: bool
    is_active: bool
    languages: tuple[str, ...]
    settings: dict[str, Any]
    has_password: bool
    created: int


@dataclass(frozen=True, slots=True)
class Member:
    """A person in a project."""

    annotator_id: str
    name: str
    role: Role
    state: str


@dataclass(frozen=True, slots=True)
class Session:
    """Who is logged in; ``csrf`` is what their forms must carry."""

    annotator: Annotator
    csrf: str
    expires: int


def digest_of(secret: str) -> str:
    """What is stored of a token."""
    return hashlib.sha256(secret.encode()).hexdigest()


def as_annotator(row: Row[Any]) -> Annotator:
    """A person from their row."""
    return Annotator(
        row.id, row.name, row.is_site_admin, row.is_active, tuple(row.languages),
        dict(row.settings), row.password_hash is not None, row.created,
    )  # fmt: skip


def add_annotator(
    connection: Connection,
    name: str,
    *,
    password_hash: str | None = None,
    subject: str | None = None,
    is_site_admin: bool = False,
    languages: Sequence[str] = (),
    is_active: bool = True,
    actor_id: str | None = None,
) -> str:
    """A new person; their id.

    Raises:
        ConfigError: If the name is taken, empty or too long.
    """
    name = _free_name(connection, name)
    identity = new_id()
    connection.execute(
        insert(t.annotators).values(
            id=identity, name=name, password_hash=password_hash, subject=subject,
            is_site_admin=is_site_admin, is_active=is_active, languages=list(languages),
            settings={}, created=now_ms(),
        )
    )  # fmt: skip
    record_event(connection, "annotator.added", identity, actor_id=actor_id,
                 detail={"site_admin": is_site_admin})  # fmt: skip
    return identity


def _free_name(connection: Connection, name: str, annotator_id: str = "") -> str:
    """A name that no other annotator has, letter case aside."""
    name = checked_name(name, "An annotator's name")
    taken = select(t.annotators.c.id).where(
        func.lower(t.annotators.c.name) == func.lower(name), t.annotators.c.id != annotator_id
    )
    if connection.scalar(taken) is not None:
        raise ConfigError(f"There is an annotator {name!r} already; choose another name.")
    return name


def add_first_admin(connection: Connection, name: str, password_hash: str) -> str | None:
    """The site's first admin; None where there is one already. Two at once make one."""
    # of PostgreSQL: whoever comes second waits here, and then sees the first
    connection.execute(select(t.chain.c.seq).with_for_update())
    if connection.scalar(select(t.annotators.c.id).where(t.annotators.c.is_site_admin).limit(1)):
        return None
    return add_annotator(connection, name, password_hash=password_hash, is_site_admin=True)


def checked_name(name: str, what: str) -> str:
    """A name without space around it.

    Raises:
        ConfigError: If it is empty, too long or holds control characters.
    """
    name = name.strip()
    if not name or len(name) > MOST_NAME or not name.isprintable():
        raise ConfigError(f"{what} must have 1 to {MOST_NAME} printable characters.")
    return name


def annotator(connection: Connection, annotator_id: str) -> Annotator | None:
    """A person by id."""
    row = connection.execute(
        select(t.annotators).where(t.annotators.c.id == annotator_id)
    ).one_or_none()
    return as_annotator(row) if row else None


def annotators(connection: Connection) -> list[Annotator]:
    """Everybody, by name."""
    return [as_annotator(row) for row in connection.execute(
        select(t.annotators).order_by(func.lower(t.annotators.c.name))
    )]  # fmt: skip


def credentials(connection: Connection, name: str) -> tuple[Annotator, str | None] | None:
    """A person by name (letter case aside) with the password's hash."""
    row = connection.execute(
        select(t.annotators).where(func.lower(t.annotators.c.name) == func.lower(name.strip()))
    ).one_or_none()
    return (as_annotator(row), row.password_hash) if row else None


def by_subject(connection: Connection, subject: str) -> Annotator | None:
    """A person by what an OpenID provider calls them."""
    row = connection.execute(
        select(t.annotators).where(t.annotators.c.subject == subject)
    ).one_or_none()
    return as_annotator(row) if row else None


def change_annotator(
    connection: Connection,
    annotator_id: str,
    values: Mapping[str, Any],
    actor_id: str | None = None,
) -> None:
    """Set fields of a person; who is made inactive, or given a new password, is logged out.

    Raises:
        ConfigError: If a new name is taken, empty or too long.
        StoreError: If there is no such person, or it is the last active site admin who would go.
    """
    known = {"name", "password_hash", "subject", "is_site_admin", "is_active", "languages",
             "settings"}  # fmt: skip
    assert set(values) <= known, values
    before = annotator(connection, annotator_id)
    if before is None:
        raise StoreError("There is no such annotator.")
    goes = values.get("is_active") is False or values.get("is_site_admin") is False
    if before.is_site_admin and goes:
        # locked: two who take the right from each other must not both go
        admins = connection.scalars(
            select(t.annotators.c.id)
            .where(t.annotators.c.is_site_admin, t.annotators.c.is_active)
            .order_by(t.annotators.c.id)
            .with_for_update()
        )
        if not set(admins) - {annotator_id}:
            raise StoreError("This is the last site admin; make another one first.")
    if "name" in values:
        values = {**values, "name": _free_name(connection, values["name"], annotator_id)}
    connection.execute(
        update(t.annotators).where(t.annotators.c.id == annotator_id).values(**values)
    )
    if values.get("is_active") is False or "password_hash" in values:
        connection.execute(delete(t.sessions).where(t.sessions.c.annotator_id == annotator_id))
        connection.execute(delete(t.invites).where(t.invites.c.annotator_id == annotator_id))
    if values.get("is_active") is False:
        connection.execute(delete(t.api_tokens).where(t.api_tokens.c.annotator_id == annotator_id))
    if set(values) - {"settings"}:
        record_event(connection, "annotator.changed", annotator_id, actor_id=actor_id,
                     detail={"fields": sorted(values)})  # fmt: skip


# --- members --------------------------------------------------------------------------------------


def set_role(
    connection: Connection,
    project_id: str,
    annotator_id: str,
    role: Role | None,
    actor_id: str | None = None,
) -> None:
    """Give a person a role in a project; None takes them out of it. Their judgments stay."""
    key = (t.memberships.c.project_id == project_id, t.memberships.c.annotator_id == annotator_id)
    if role is None:
        connection.execute(delete(t.memberships).where(*key))
    elif connection.scalar(select(t.memberships.c.role).where(*key)) is None:
        connection.execute(
            insert(t.memberships).values(
                project_id=project_id, annotator_id=annotator_id, role=role
            )
        )
    else:
        connection.execute(update(t.memberships).where(*key).values(role=role))
    record_event(connection, "member.changed", annotator_id, actor_id=actor_id,
                 project_id=project_id, detail={"role": role})  # fmt: skip


def set_state(
    connection: Connection,
    project_id: str,
    annotator_id: str,
    state: str,
    actor_id: str | None,
    reason: str = "",
) -> None:
    """Block an annotator in a project, or let them go on; the record says why."""
    connection.execute(
        update(t.memberships)
        .where(t.memberships.c.project_id == project_id,
               t.memberships.c.annotator_id == annotator_id)
        .values(state=state)
    )  # fmt: skip
    record_event(connection, f"member.{state}", annotator_id, actor_id=actor_id,
                 project_id=project_id, detail={"reason": reason} if reason else {})  # fmt: skip


# asked at every request; made once, for to make a statement takes longer than to run it
_ROLE = select(t.memberships.c.role).where(
    t.memberships.c.project_id == bindparam("project"),
    t.memberships.c.annotator_id == bindparam("annotator"),
)


def role_of(connection: Connection, project_id: str, annotator_id: str) -> Role | None:
    """A person's role in a project."""
    found = connection.scalar(_ROLE, {"project": project_id, "annotator": annotator_id})
    return cast("Role | None", found)


def members(connection: Connection, project_id: str) -> list[Member]:
    """Everybody in a project, by name."""
    rows = connection.execute(
        select(t.annotators.c.id, t.annotators.c.name, t.memberships.c.role, t.memberships.c.state)
        .join(t.memberships, t.memberships.c.annotator_id == t.annotators.c.id)
        .where(t.memberships.c.project_id == project_id)
        .order_by(func.lower(t.annotators.c.name))
    )
    return [Member(row.id, row.name, cast("Role", row.role), row.state) for row in rows]


# --- invitations ----------------------------------------------------------------------------------


def invite(
    connection: Connection, annotator_id: str, hours: float, actor_id: str | None = None
) -> str:
    """The secret of a link by which a person sets their password, once. Earlier ones are void.

    Raises:
        StoreError: If there is no such person, or they are inactive.
    """
    person = annotator(connection, annotator_id)
    if person is None or not person.is_active:
        raise StoreError("There is no such annotator, or the account is not active.")
    secret, now = secrets.token_urlsafe(32), now_ms()
    of_them = t.invites.c.annotator_id == annotator_id
    connection.execute(delete(t.invites).where(of_them | (t.invites.c.expires < now)))
    connection.execute(
        insert(t.invites).values(
            digest=digest_of(secret), annotator_id=annotator_id, created=now,
            expires=now + round(hours * 3_600_000),
        )
    )  # fmt: skip
    record_event(connection, "annotator.invited", annotator_id, actor_id=actor_id)
    return secret


def invited(connection: Connection, secret: str) -> Annotator | None:
    """Who a link is for; None where it is unknown, used or over, or of somebody inactive."""
    row = connection.execute(
        select(t.annotators)
        .join(t.invites, t.invites.c.annotator_id == t.annotators.c.id)
        .where(
            t.invites.c.digest == digest_of(secret), t.invites.c.expires >= now_ms(),
            t.annotators.c.is_active,
        )
    ).one_or_none()  # fmt: skip
    return as_annotator(row) if row else None


def accept_invite(connection: Connection, secret: str, values: Mapping[str, Any]) -> str | None:
    """Use a link up for a ``password_hash`` or a ``subject``; whose it was, or None."""
    gone = delete(t.invites).where(t.invites.c.digest == digest_of(secret))
    person = invited(connection, secret)
    if person is None or not connection.execute(gone).rowcount:
        return None
    change_annotator(connection, person.id, values, person.id)
    return person.id


# --- sessions and tokens --------------------------------------------------------------------------


def open_session(connection: Connection, annotator_id: str, hours: float = 12.0) -> tuple[str, str]:
    """A new session: its secret for the cookie, and the CSRF token. Old ones are swept away."""
    secret, csrf, now = secrets.token_urlsafe(32), secrets.token_urlsafe(32), now_ms()
    connection.execute(delete(t.sessions).where(t.sessions.c.expires < now))
    connection.execute(
        insert(t.sessions).values(
            digest=digest_of(secret), annotator_id=annotator_id, csrf=csrf, created=now,
            expires=now + round(hours * 3_600_000),
        )
    )  # fmt: skip
    record_event(connection, "session.opened", annotator_id, actor_id=annotator_id)
    return secret, csrf


_SESSION = (
    select(t.annotators, t.sessions.c.csrf, t.sessions.c.expires)
    .join(t.sessions, t.sessions.c.annotator_id == t.annotators.c.id)
    .where(
        t.sessions.c.digest == bindparam("digest"),
        t.sessions.c.expires >= bindparam("now"),
        t.annotators.c.is_active,
    )
)


def session(connection: Connection, secret: str) -> Session | None:
    """Who a cookie belongs to; None where it is unknown, over, or of somebody inactive."""
    key = {"digest": digest_of(secret), "now": now_ms()}
    row = connection.execute(_SESSION, key).one_or_none()
    return Session(as_annotator(row), row.csrf, row.expires) if row else None


def close_session(connection: Connection, secret: str) -> None:
    """Log out."""
    connection.execute(delete(t.sessions).where(t.sessions.c.digest == digest_of(secret)))


def add_token(
    connection: Connection, annotator_id: str, name: str, days: int | None = None
) -> tuple[str, str]:
    """A token for programs: its id, and its secret, which is shown once."""
    secret, identity, now = f"assay_{secrets.token_urlsafe(32)}", new_id(), now_ms()
    connection.execute(
        insert(t.api_tokens).values(
            id=identity, annotator_id=annotator_id, digest=digest_of(secret),
            name=checked_name(name, "A token's name"), created=now,
            expires=now + days * DAY_MS if days else None,
        )
    )  # fmt: skip
    record_event(connection, "token.added", identity, actor_id=annotator_id)
    return identity, secret


_TOKEN = (
    select(t.annotators)
    .join(t.api_tokens, t.api_tokens.c.annotator_id == t.annotators.c.id)
    .where(
        t.api_tokens.c.digest == bindparam("digest"),
        t.annotators.c.is_active,
        (t.api_tokens.c.expires.is_(None)) | (t.api_tokens.c.expires >= bindparam("now")),
    )
)


def token_owner(connection: Connection, secret: str) -> Annotator | None:
    """Who a token belongs to; None where it is unknown, over, or of somebody inactive."""
    key = {"digest": digest_of(secret), "now": now_ms()}
    row = connection.execute(_TOKEN, key).one_or_none()
    return as_annotator(row) if row else None


def tokens(connection: Connection, annotator_id: str) -> list[Any]:
    """A person's tokens, without their secrets."""
    return list(connection.execute(
        select(t.api_tokens.c.id, t.api_tokens.c.name, t.api_tokens.c.created,
               t.api_tokens.c.expires)
        .where(t.api_tokens.c.annotator_id == annotator_id)
        .order_by(t.api_tokens.c.created)
    ).all())  # fmt: skip


def revoke_token(connection: Connection, annotator_id: str, token_id: str) -> bool:
    """Take a token back; whether it was the annotator's."""
    gone = connection.execute(
        delete(t.api_tokens).where(
            t.api_tokens.c.id == token_id, t.api_tokens.c.annotator_id == annotator_id
        )
    ).rowcount
    if gone:
        record_event(connection, "token.revoked", token_id, actor_id=annotator_id)
    return bool(gone)
