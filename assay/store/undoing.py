"""To take a judgment back, and to open again what one holds or has judged.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, insert, select, update

from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.desk import AccessError, Desk, desk, published, standing_judgment
from assay.store.drafts import drop_draft
from assay.store.events import record_event
from assay.store.records import Assignment
from assay.store.sheets import Held, assignment_of, held_of

UNDOABLE = 10
"""Judgments back that can be undone."""


def undo(connection: Connection, annotator_id: str, judgment_id: str) -> Assignment | None:
    """Take back one of the last judgments: it is withdrawn, and open again with its answer.

    A repeat changes nothing.

    Returns:
        The comparison; without a lease where it has enough judgments of others.

    Raises:
        AccessError: If it is not one of the annotator's last, or is no work.
    """
    judgment = connection.execute(
        select(t.judgments).where(t.judgments.c.id == judgment_id).with_for_update()
    ).one_or_none()
    if judgment is None or judgment.annotator_id != annotator_id or judgment.project_id is None:
        raise AccessError("not-yours", "There is no such judgment of yours.")
    at = desk(connection, judgment.project_id, annotator_id)
    if judgment.withdrawn is not None:
        if standing_judgment(connection, judgment.comparison_id, annotator_id) is not None:
            raise AccessError("too-late", "You have judged this comparison anew.")
        return opened(connection, annotator_id, judgment.comparison_id)
    comparison = published(connection, judgment.comparison_id)
    latest = _latest(connection, at)
    if judgment_id not in latest or comparison.purpose != "work" or judgment.source != "person":
        raise AccessError("too-late", f"Only the last {UNDOABLE} judgments can be undone.")
    _reopen(connection, judgment, now_ms(), round(at.settings.lease_minutes * 60_000))
    record_event(connection, "judgment.withdrawn", judgment_id, actor_id=annotator_id,
                 project_id=judgment.project_id)  # fmt: skip
    return opened(connection, annotator_id, judgment.comparison_id)


def _latest(connection: Connection, at: Desk) -> list[str]:
    """Judgments that can be undone, if they are work."""
    j = t.judgments.c
    return list(connection.scalars(
        select(j.id)
        .where(
            j.project_id == at.project_id, j.annotator_id == at.annotator_id,
            j.withdrawn.is_(None),
        )
        .order_by(j.submitted.desc(), j.id.desc())
        .limit(UNDOABLE)
    ))  # fmt: skip


def _reopen(connection: Connection, judgment: Row[Any], now: int, lease_ms: int) -> None:
    """Withdraw a judgment, hold its slot again, and make a draft of its answer."""
    connection.execute(
        update(t.judgments).where(t.judgments.c.id == judgment.id).values(withdrawn=now)
    )
    freed = connection.execute(
        update(t.slots)
        .where(
            t.slots.c.comparison_id == judgment.comparison_id,
            t.slots.c.judgment_id == judgment.id,
        )
        .values(judgment_id=None, lease_until=now + lease_ms, claimed=now)
    ).rowcount
    if freed:
        connection.execute(
            update(t.comparisons)
            .where(t.comparisons.c.id == judgment.comparison_id)
            .values(filled=t.comparisons.c.filled - 1)
        )
    drop_draft(connection, judgment.comparison_id, judgment.annotator_id)
    connection.execute(
        insert(t.drafts).values(
            comparison_id=judgment.comparison_id, annotator_id=judgment.annotator_id,
            answer=judgment.answer, active_ms=judgment.active_ms, revision=1, saved=now,
        )
    )  # fmt: skip


def opened(connection: Connection, annotator_id: str, comparison_id: str) -> Assignment | None:
    """A comparison that the annotator holds or has judged, to look at and to change.

    The draft is what was last written, or else the judgment. None where they never met it.
    """
    slot = connection.execute(
        select(t.slots).where(
            t.slots.c.comparison_id == comparison_id, t.slots.c.annotator_id == annotator_id
        )
    ).one_or_none()
    if slot is not None:
        return assignment_of(connection, held_of(slot))
    judgment = connection.execute(
        select(t.judgments)
        .where(
            t.judgments.c.comparison_id == comparison_id,
            t.judgments.c.annotator_id == annotator_id,
            t.judgments.c.project_id.is_not(None),
        )
        .order_by(t.judgments.c.submitted.desc())
        .limit(1)
    ).one_or_none()
    if judgment is None:
        return None
    order, at = list(judgment.shown), judgment.started
    return assignment_of(connection, Held(comparison_id, annotator_id, order, None, at, True))
