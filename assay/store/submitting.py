"""Judgments into the store: in the slot held, in another free one, or as surplus.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, bindparam, insert, select, update

from assay.store import tables as t
from assay.store.answers import checked_answer, matches
from assay.store.checks import check_quality
from assay.store.database import now_ms
from assay.store.desk import AccessError, case_of, rubric_of, standing_judgment
from assay.store.drafts import checked_int, drop_draft
from assay.store.events import record_event
from assay.store.ids import checked_id
from assay.store.records import Submitted
from assay.store.sheets import steps_of
from assay.store.slots import own_slot, set_slot


def submit(
    connection: Connection,
    annotator_id: str,
    judgment_id: str,
    comparison_id: str,
    answer: Mapping[str, Any],
    *,
    shown: Sequence[str] | None = None,
    active_ms: int = 0,
    rubric_id: str | None = None,
) -> Submitted:
    """Store a judgment: in the slot held, another free one, or as surplus.

    The same id again gives what is stored. A judgment with a new id of a comparison that the
    annotator has judged replaces the earlier one, which is kept as withdrawn.

    Args:
        shown: The order on the page. Needed where the lease was lost; else the slot's is taken.
        rubric_id: The version on the page. Default: the latest.

    Raises:
        AccessError: If the annotator is no member, or the id is somebody else's.
        AnswerError: If the answer is not what the comparison asks for.
    """
    checked_id(judgment_id)
    repeat = _repeat(connection, annotator_id, judgment_id, comparison_id)
    if repeat is not None:
        return repeat
    # comparison, judgments, slots: the order in which a quota is changed. While we look for a slot
    # none is added, else a judgment would be kept as surplus beside a free one
    comparison, at = case_of(connection, comparison_id, annotator_id, locked=True)
    earlier = standing_judgment(connection, comparison_id, annotator_id, locked=True)
    slot = own_slot(connection, comparison_id, annotator_id)
    order = _order(connection, comparison_id, slot, shown)
    rubric = rubric_of(connection, comparison.project_id, rubric_id)
    steps = steps_of(connection, comparison)
    said = checked_answer(answer, comparison.kind, order, rubric.rubric, steps)
    if earlier is not None and comparison.purpose != "work":
        raise AccessError("answered", "This comparison was answered; it cannot be changed.")
    expected = comparison.expected
    new = _New(
        judgment_id, annotator_id, comparison, order, said, rubric.id, earlier,
        matches(said, expected) if expected is not None else None, now_ms(),
        checked_int(active_ms, "active_ms"),
    )  # fmt: skip
    surplus = _fill(connection, new, slot)
    _insert(connection, new, slot, surplus)
    blocked = check_quality(connection, at, comparison.purpose)
    _record(connection, new, surplus, blocked)
    return Submitted(
        judgment_id, comparison_id, surplus, is_correct=_told(comparison, new.is_correct),
        expected=expected if comparison.purpose == "training" else None, blocked=blocked,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _New:
    """A judgment on its way into the store."""

    id: str
    annotator_id: str
    comparison: Row[Any]
    order: list[str]
    said: dict[str, Any]
    rubric_id: str
    earlier: Row[Any] | None
    is_correct: bool | None
    now: int
    active_ms: int


_JUDGMENT = insert(t.judgments)


def _insert(connection: Connection, new: _New, slot: Row[Any] | None, surplus: bool) -> None:
    """Store the judgment, in place of the earlier one and of the draft."""
    if new.earlier is not None:
        connection.execute(
            update(t.judgments).where(t.judgments.c.id == new.earlier.id).values(withdrawn=new.now)
        )
    claimed = slot.claimed if slot is not None and slot.claimed else new.now - new.active_ms
    connection.execute(_JUDGMENT, {
        "id": new.id, "comparison_id": new.comparison.id, "project_id": new.comparison.project_id,
        "annotator_id": new.annotator_id, "rubric_id": new.rubric_id, "answer": new.said,
        "shown": new.order, "surplus": surplus, "is_correct": new.is_correct,
        "replaces": new.earlier.id if new.earlier else None,
        "started": claimed, "submitted": new.now, "active_ms": new.active_ms,
    })  # fmt: skip
    drop_draft(connection, new.comparison.id, new.annotator_id)


def _record(connection: Connection, new: _New, surplus: bool, blocked: bool) -> None:
    detail: dict[str, Any] = {"surplus": surplus}
    if new.earlier is not None:
        detail["replaces"] = new.earlier.id
    if blocked:
        detail["blocked"] = True
    record_event(connection, "judgment.submitted", new.id, actor_id=new.annotator_id,
                 project_id=new.comparison.project_id, detail=detail)  # fmt: skip


def _told(comparison: Any, is_correct: bool | None) -> bool | None:
    """Only training says whether an answer was right: checks must not be recognised."""
    return is_correct if comparison.purpose == "training" else None


_STORED = (
    select(
        t.judgments.c.annotator_id, t.judgments.c.comparison_id, t.judgments.c.surplus,
        t.judgments.c.is_correct, t.comparisons.c.purpose, t.comparisons.c.expected,
    )
    .join(t.comparisons, t.comparisons.c.id == t.judgments.c.comparison_id)
    .where(t.judgments.c.id == bindparam("judgment"))
)  # fmt: skip


def _repeat(
    connection: Connection, annotator_id: str, judgment_id: str, comparison_id: str
) -> Submitted | None:
    row = connection.execute(_STORED, {"judgment": judgment_id}).one_or_none()
    if row is None:
        return None
    if row.annotator_id != annotator_id or row.comparison_id != comparison_id:
        raise AccessError("not-yours", f"Judgment {judgment_id} is another one.")
    return Submitted(
        judgment_id, comparison_id, row.surplus, is_repeat=True,
        is_correct=_told(row, row.is_correct),
        expected=row.expected if row.purpose == "training" else None,
    )  # fmt: skip


_ONE_MORE = (
    update(t.comparisons)
    .where(t.comparisons.c.id == bindparam("at_id"))
    .values(filled=t.comparisons.c.filled + 1)
)


def _fill(connection: Connection, new: _New, slot: Row[Any] | None) -> bool:
    """Put the judgment into a slot; whether none was left for it.

    An item with a known answer is for everybody: a judgment of it is never surplus.
    """
    values = {"judgment_id": new.id, "lease_until": None}
    is_work = new.comparison.purpose == "work"
    if slot is not None:  # held, or filled by the earlier one
        set_slot(connection, slot, values)
        counts = slot.judgment_id is None
    elif not is_work:
        return False
    else:
        free = None if new.comparison.is_withdrawn else _open_slot(connection, new)
        if free is None:
            return True
        held = {"annotator_id": new.annotator_id, "shown": new.order, "claimed": new.now}
        set_slot(connection, free, values | held)
        counts = True
    if counts and is_work:
        connection.execute(_ONE_MORE, {"at_id": new.comparison.id})
    return False


def _open_slot(connection: Connection, new: _New) -> Row[Any] | None:
    """A slot that is free, or whose lease has run out, for whoever lost theirs.

    All slots are locked, in one order: to pass over those that others look at would call a
    judgment surplus that is needed.
    """
    slots = connection.execute(
        select(t.slots)
        .where(t.slots.c.comparison_id == new.comparison.id)
        .order_by(t.slots.c.k)
        .with_for_update()
    ).all()
    open_slots = [
        slot
        for slot in slots
        if slot.judgment_id is None
        and (slot.annotator_id is None or (slot.lease_until or 0) < new.now)
    ]
    return min(open_slots, key=lambda slot: (slot.annotator_id is not None, slot.k), default=None)


def _order(
    connection: Connection, comparison_id: str, slot: Row[Any] | None, shown: Sequence[str] | None
) -> list[str]:
    if slot is not None:
        return list(slot.shown)
    ids = set(connection.scalars(
        select(t.comparison_responses.c.response_id).where(
            t.comparison_responses.c.comparison_id == comparison_id
        )
    ))  # fmt: skip
    if shown is None or len(shown) != len(ids) or set(shown) != ids:
        raise AccessError(
            "not-held", "You do not hold this comparison, and 'shown' does not list its responses."
        )
    return list(shown)
