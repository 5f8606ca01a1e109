"""Addresses that are told of a project's events, and what is still to be told.

An event notes its deliveries in its own transaction, so none is forgotten. Functions here run
inside a transaction of the store; they send nothing.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select, update

from assay.errors import ConfigError
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.events import Event, as_event, record_event
from assay.store.ids import first_id_at, new_id

MOST = 20
"""Webhooks of a project."""
GIVEN_UP = "given up: "
KEPT_MS = 30 * 24 * 3_600_000
"""How long what became of a delivery is kept."""
FORGOTTEN = 5000
"""Deliveries deleted by one transaction."""


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told, without its secret."""

    id: str
    url: str
    actions: tuple[str, ...]
    is_active: bool
    created: int
    waiting: int
    given_up: int


@dataclass(frozen=True, slots=True)
class Delivery:
    """What became of telling an event. ``due`` is None once it is done or given up."""

    id: str
    event: int
    attempts: int
    due: int | None
    status: str


@dataclass(frozen=True, slots=True)
class Due:
    """A delivery that this process has taken, with all that is needed to send it."""

    id: str
    attempt: int
    url: str
    secret: str
    event: Event


def add_webhook(
    connection: Connection,
    project_id: str,
    url: str,
    actions: Sequence[str] = (),
    actor_id: str | None = None,
) -> tuple[str, str]:
    """A new webhook: its id, and its secret, which is shown once.

    Raises:
        ConfigError: If the project has as many as it may.
    """
    w = t.webhooks.c
    connection.execute(
        select(t.projects.c.id).where(t.projects.c.id == project_id).with_for_update()
    )
    count = connection.scalar(select(func.count()).where(w.project_id == project_id))
    if int(count or 0) >= MOST:
        raise ConfigError(f"The project has {MOST} webhooks, which is the most; remove one first.")
    identity, secret = new_id(), f"whsec_{secrets.token_urlsafe(32)}"
    connection.execute(
        insert(t.webhooks).values(
            id=identity, project_id=project_id, url=url, secret=secret, actions=list(actions),
            created=now_ms(),
        )
    )  # fmt: skip
    record_event(connection, "webhook.added", identity, actor_id=actor_id, project_id=project_id)
    return identity, secret


def webhooks(connection: Connection, project_id: str) -> list[Webhook]:
    """A project's webhooks, the first made first."""
    w, d = t.webhooks.c, t.deliveries.c
    rows = connection.execute(
        select(w.id, w.url, w.actions, w.is_active, w.created)
        .where(w.project_id == project_id)
        .order_by(w.created, w.id)
    ).all()
    ids = [row.id for row in rows]

    def counted(*where: Any) -> dict[str, int]:
        found = connection.execute(
            select(d.webhook_id, func.count())
            .where(d.webhook_id.in_(ids), *where)
            .group_by(d.webhook_id)
        )
        return {row[0]: int(row[1]) for row in found}

    waiting = counted(d.due.is_not(None))
    given_up = counted(d.status.startswith(GIVEN_UP, autoescape=True))
    return [
        Webhook(row.id, row.url, tuple(row.actions), row.is_active, row.created,
                waiting.get(row.id, 0), given_up.get(row.id, 0))
        for row in rows
    ]  # fmt: skip


def remove_webhook(
    connection: Connection, project_id: str, webhook_id: str, actor_id: str | None = None
) -> bool:
    """Tell an address no more; whether the project has it. What was still to be told is dropped."""
    w = t.webhooks.c
    found = connection.scalar(
        select(w.id).where(w.id == webhook_id, w.project_id == project_id).with_for_update()
    )
    if found is None:
        return False
    connection.execute(delete(t.deliveries).where(t.deliveries.c.webhook_id == webhook_id))
    connection.execute(delete(t.webhooks).where(w.id == webhook_id))
    record_event(connection, "webhook.removed", webhook_id, actor_id=actor_id,
                 project_id=project_id)  # fmt: skip
    return True


def deliveries(
    connection: Connection,
    project_id: str,
    webhook_id: str,
    before: str | None = None,
    limit: int = 100,
) -> list[Delivery] | None:
    """Deliveries of a webhook, the latest first; None where the project has no such webhook."""
    w, d = t.webhooks.c, t.deliveries.c
    known = select(w.id).where(w.id == webhook_id, w.project_id == project_id)
    if connection.scalar(known) is None:
        return None
    query = select(d.id, d.event_seq, d.attempts, d.due, d.status).where(d.webhook_id == webhook_id)
    if before is not None:
        query = query.where(d.id < before)
    return [Delivery(*row) for row in connection.execute(query.order_by(d.id.desc()).limit(limit))]


# --- sending --------------------------------------------------------------------------------------


def due(connection: Connection, now: int, most: int) -> list[tuple[str, str, int]]:
    """Deliveries whose time has come, the longest due first: id, webhook, and the time.

    Args:
        most: Of each webhook, so that none stands before the others with all it has not taken.
    """
    d = t.deliveries.c
    waiting = (
        select(
            d.id, d.webhook_id, d.due,
            func.row_number().over(partition_by=d.webhook_id, order_by=(d.due, d.id)).label("n"),
        )
        .where(d.due.is_not(None), d.due <= now)
        .subquery()
    )  # fmt: skip
    w = waiting.c
    rows = connection.execute(
        select(w.id, w.webhook_id, w.due).where(w.n <= most).order_by(w.due, w.id)
    )
    return [(row.id, row.webhook_id, int(row.due)) for row in rows]


def take(connection: Connection, delivery_id: str, was_due: int, until: int) -> Due | None:
    """Take a delivery for this process until a time; None where another one has taken it.

    If this process dies before it notes what came of it, the delivery is due again at that time.
    """
    d, w, e = t.deliveries.c, t.webhooks.c, t.events.c
    mine = connection.execute(
        update(t.deliveries)
        .where(d.id == delivery_id, d.due == was_due)
        .values(due=until, attempts=d.attempts + 1)
    ).rowcount
    if not mine:
        return None
    row = connection.execute(
        select(d.attempts, w.url, w.secret, w.is_active, t.events)
        .join(t.webhooks, w.id == d.webhook_id)
        .join(t.events, e.seq == d.event_seq)
        .where(d.id == delivery_id)
    ).one()  # fmt: skip
    if not row.is_active:
        note(connection, delivery_id, until, None, f"{GIVEN_UP}the webhook is off")
        return None
    return Due(delivery_id, row.attempts, row.url, row.secret, as_event(row))


def forget(connection: Connection, now: int) -> int:
    """Delete deliveries of events of more than 30 days ago that are done or given up; how many.

    At most so many at a time that others do not wait.
    """
    d = t.deliveries.c
    # ids sort by the time they were made
    old = select(d.id).where(d.id < first_id_at(now - KEPT_MS), d.due.is_(None))
    ids = list(connection.scalars(old.order_by(d.id).limit(FORGOTTEN)))
    connection.execute(delete(t.deliveries).where(d.id.in_(ids)))
    return len(ids)


def note(
    connection: Connection, delivery_id: str, taken_until: int, due: int | None, status: str
) -> bool:
    """Say what came of a delivery that was taken; whether it was still this process's."""
    d = t.deliveries.c
    return bool(
        connection.execute(
            update(t.deliveries)
            .where(d.id == delivery_id, d.due == taken_until)
            .values(due=due, status=status[:500])
        ).rowcount
    )
