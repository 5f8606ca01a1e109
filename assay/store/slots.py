"""The places for judgments of a comparison: free, held under a lease, or filled.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, bindparam, delete, select, update

from assay.store import tables as t
from assay.store.desk import ANNOTATOR, COMPARISON, PROJECT

MOST_FREED = 200
"""Slots whose lease has run out that one claim frees, so that none waits long for it."""
_FREE = {"annotator_id": None, "lease_until": None, "claimed": None, "shown": None}
_EXPIRED = (
    select(t.slots.c.comparison_id, t.slots.c.k)
    .where(t.slots.c.lease_until < bindparam("now"), t.slots.c.project_id == PROJECT)
    .order_by(t.slots.c.lease_until)
    .limit(MOST_FREED)
    .with_for_update(skip_locked=True)
)


def release_expired(connection: Connection, project_id: str, now: int) -> int:
    """Free slots whose lease has run out, the oldest first; how many."""
    expired = connection.execute(_EXPIRED, {"project": project_id, "now": now}).all()
    if expired:
        let_go(connection, expired)
    return len(expired)


_AT_SLOT = (t.slots.c.comparison_id == bindparam("at_id"), t.slots.c.k == bindparam("at_k"))
_SLOT = update(t.slots).where(*_AT_SLOT)


def let_go(connection: Connection, slots: Sequence[Any]) -> None:
    """Make held slots free, which must be locked; of comparisons nobody is to get, delete them.

    A slot of an item with a known answer was made for its annotator, and one of a withdrawn
    comparison is for nobody: left free, another annotator would get it as work.
    """
    c = t.comparisons.c
    wanted = set(connection.scalars(
        select(c.id).where(
            c.id.in_({slot.comparison_id for slot in slots}), c.purpose == "work", ~c.is_withdrawn
        )
    ))  # fmt: skip
    keys = [{"at_id": slot.comparison_id, "at_k": slot.k} for slot in slots]
    free = [key | _FREE for key in keys if key["at_id"] in wanted]
    gone = [key for key in keys if key["at_id"] not in wanted]
    if free:
        connection.execute(_SLOT, free)
    if gone:
        connection.execute(delete(t.slots).where(*_AT_SLOT), gone)


def set_slot(connection: Connection, slot: Any, values: Mapping[str, Any]) -> None:
    """Change a slot, which must be locked."""
    connection.execute(_SLOT, {**values, "at_id": slot.comparison_id, "at_k": slot.k})


_OWN_SLOT = (
    select(t.slots)
    .where(t.slots.c.comparison_id == COMPARISON, t.slots.c.annotator_id == ANNOTATOR)
    .with_for_update()
)


def own_slot(connection: Connection, comparison_id: str, annotator_id: str) -> Row[Any] | None:
    """The annotator's slot of a comparison, held or filled, locked until the commit."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return connection.execute(_OWN_SLOT, key).one_or_none()
