"""What an annotator does with a comparison they hold besides judging it.

To renew its lease, give it back, pass it over, say what is wrong with it. Functions here run inside
a transaction of the store.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, exists, insert, select

from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.desk import AccessError, case_of, has_met, standing_judgment
from assay.store.drafts import drop_draft
from assay.store.events import record_event
from assay.store.ids import new_id
from assay.store.sheets import order_shown
from assay.store.slots import let_go, own_slot, set_slot


def extend(connection: Connection, annotator_id: str, comparison_id: str) -> int | None:
    """Renew a lease, or take the comparison up again; until when, or None where it is others' now.

    Whoever is told None may still submit: the judgment is kept.
    """
    comparison, at = case_of(connection, comparison_id, annotator_id)
    now = now_ms()
    lease = now + round(at.settings.lease_minutes * 60_000)
    slot = own_slot(connection, comparison_id, annotator_id)
    if slot is not None:
        if slot.judgment_id is not None:
            return None
        set_slot(connection, slot, {"lease_until": lease})
        return lease
    if not _may_resume(connection, comparison, annotator_id):
        return None
    free = connection.execute(
        select(t.slots.c.comparison_id, t.slots.c.k)
        .where(t.slots.c.comparison_id == comparison_id, t.slots.c.annotator_id.is_(None))
        .order_by(t.slots.c.k)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if free is None:
        return None
    shown = order_shown(connection, comparison_id, free.k, at.settings.shuffle)
    values = {"annotator_id": annotator_id, "lease_until": lease, "claimed": now, "shown": shown}
    set_slot(connection, free, values)
    return lease


def _may_resume(connection: Connection, comparison: Row[Any], annotator_id: str) -> bool:
    """Whether whoever lost a comparison may take it up again: they began, and did not end."""
    if comparison.is_withdrawn or comparison.purpose != "work":
        return False
    draft = exists().where(
        t.drafts.c.comparison_id == comparison.id, t.drafts.c.annotator_id == annotator_id
    )
    has_draft = connection.scalar(select(draft))
    return bool(has_draft) and standing_judgment(connection, comparison.id, annotator_id) is None


def release(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    """Give a held comparison back without a word; whether it was held."""
    slot = own_slot(connection, comparison_id, annotator_id)
    if slot is None or slot.judgment_id is not None:
        return False
    let_go(connection, [slot])
    return True


def skip(connection: Connection, annotator_id: str, comparison_id: str, reason: str = "") -> None:
    """Pass a comparison over for good: its slot is another's, and it does not come again.

    A repeat changes nothing.

    Raises:
        AccessError: If the project forbids it, or the annotator does not hold it.
    """
    comparison, at = case_of(connection, comparison_id, annotator_id)
    if not at.settings.allow_skip or comparison.purpose != "work":
        raise AccessError("no-skip", "This comparison cannot be skipped; give your best answer.")
    key = {"comparison_id": comparison_id, "annotator_id": annotator_id}
    skipped = exists().where(
        t.skips.c.comparison_id == comparison_id, t.skips.c.annotator_id == annotator_id
    )
    is_repeat = connection.scalar(select(skipped))
    if not release(connection, annotator_id, comparison_id):
        if is_repeat:
            return
        raise AccessError("not-held", "You do not hold this comparison.")
    if not is_repeat:
        connection.execute(insert(t.skips).values(**key, reason=reason, at=now_ms()))
    drop_draft(connection, comparison_id, annotator_id)
    record_event(connection, "comparison.skipped", comparison_id, actor_id=annotator_id,
                 project_id=comparison.project_id, detail={"reason": reason})  # fmt: skip


def flag(connection: Connection, annotator_id: str, comparison_id: str, reason: str) -> str:
    """Say that something is wrong with a comparison, for a reviewer; the flag's id.

    The same words again, while nobody has looked, are the same flag.

    Raises:
        AccessError: If the annotator has neither a slot nor a judgment of it.
    """
    comparison, _ = case_of(connection, comparison_id, annotator_id)
    if not has_met(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
    same = connection.scalar(
        select(t.flags.c.id).where(
            t.flags.c.comparison_id == comparison_id, t.flags.c.annotator_id == annotator_id,
            t.flags.c.reason == reason, t.flags.c.resolved.is_(None),
        ).limit(1)
    )  # fmt: skip
    if same is not None:
        return str(same)
    identity = new_id()
    connection.execute(
        insert(t.flags).values(
            id=identity, comparison_id=comparison_id, annotator_id=annotator_id, reason=reason,
            at=now_ms(),
        )
    )  # fmt: skip
    record_event(connection, "comparison.flagged", comparison_id, actor_id=annotator_id,
                 project_id=comparison.project_id, detail={"reason": reason})  # fmt: skip
    return identity
