"""The record of what was done, each entry sealed by the one before it.

``digest = SHA-256(previous digest, seq, time, actor, project, action, subject, detail)``. Entries
are only added. Whoever changes one must change all after it; ``verify_chain`` finds the first that
does not fit.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from assay.errors import StoreError
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.ids import new_id

START = "0" * 64


@dataclass(frozen=True, slots=True)
class Event:
    """One entry."""

    seq: int
    at: int
    action: str
    subject: str
    detail: Mapping[str, Any]
    actor_id: str | None
    project_id: str | None
    digest: str
    """The seal."""


def as_event(row: Row[Any]) -> Event:
    """An entry from its row."""
    return Event(
        row.seq, row.at, row.action, row.subject, row.detail, row.actor_id, row.project_id,
        row.digest,
    )  # fmt: skip


# made once: to make a statement takes far longer than to run it
_HEAD = select(t.chain.c.seq, t.chain.c.digest).where(t.chain.c.id == 1).with_for_update()
_ENTRY = insert(t.events)
_MOVED = update(t.chain).where(t.chain.c.id == 1)
_HOOKS = select(t.webhooks.c.id, t.webhooks.c.actions).where(
    t.webhooks.c.project_id == bindparam("project"), t.webhooks.c.is_active
)


def record_event(
    connection: Connection,
    action: str,
    subject: str = "",
    *,
    actor_id: str | None = None,
    project_id: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Add an entry inside the transaction that does the thing, and note webhooks that want it.

    Other writers of PostgreSQL wait at the head of the chain until the commit, so do this last.

    Args:
        detail: Texts, finite numbers and truth values, and lists and objects of them.

    Returns:
        The entry's number.
    """
    # before the head is locked: others wait for it for each statement less
    hooks = _hooks_for(connection, project_id, action)
    head = connection.execute(_HEAD).one_or_none()
    if head is None:
        raise StoreError("The head of the record of events is gone; restore it from a backup.")
    seq, at = head.seq + 1, now_ms()
    said = json.loads(json.dumps(dict(detail or {}), default=str), parse_float=_as_read)
    fields = (seq, at, actor_id, project_id, action, subject, said)
    digest = _digest(head.digest, fields)
    connection.execute(_ENTRY, {
        "seq": seq, "at": at, "actor_id": actor_id, "project_id": project_id, "action": action,
        "subject": subject, "detail": said, "previous": head.digest, "digest": digest,
    })  # fmt: skip
    connection.execute(_MOVED, {"seq": seq, "digest": digest})
    if hooks:
        rows = [{"id": new_id(), "webhook_id": i, "event_seq": seq, "due": at} for i in hooks]
        connection.execute(insert(t.deliveries), rows)
    return int(seq)


def _as_read(number: str) -> int | float:
    """A number as PostgreSQL gives it back: no -0.0, and large ones without a point."""
    value = float(number)
    return int(value) if abs(value) >= 1e16 else value + 0.0


def _digest(previous: str, fields: tuple[Any, ...]) -> str:
    text = json.dumps([previous, *fields], sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hooks_for(connection: Connection, project_id: str | None, action: str) -> list[str]:
    """Webhooks of a project that want to be told of an action."""
    if project_id is None:
        return []
    hooks = connection.execute(_HOOKS, {"project": project_id})
    return [hook.id for hook in hooks if not hook.actions or action in hook.actions]


def verify_chain(connection: Connection) -> int | None:
    """The number of the first entry that does not fit, or None where all do."""
    previous, expected = START, 1
    rows = connection.execution_options(yield_per=1000).execute(
        select(t.events).order_by(t.events.c.seq)
    )
    for row in rows:
        fields = (row.seq, row.at, row.actor_id, row.project_id, row.action, row.subject,
                  row.detail)  # fmt: skip
        sealed = _digest(previous, fields)
        if row.seq != expected or row.previous != previous or row.digest != sealed:
            return int(row.seq)
        previous, expected = row.digest, expected + 1
    head = connection.execute(select(t.chain.c.seq, t.chain.c.digest)).one_or_none()
    return None if head is not None and tuple(head) == (expected - 1, previous) else expected
