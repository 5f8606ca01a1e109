"""Who judges what: slots with leases, and judgments that are never turned away.

A comparison has as many slots as judgments are wanted of it. To claim takes a free slot under a
lease; to submit fills the slot one holds. Whoever lost the lease takes another free slot of the
comparison, and where none is left the judgment is kept as surplus. So every comparison gets its
number of judgments and not one more, and nothing that was done is lost. Repeats are known by the
judgment's id, which the client gives.

To claim is here; to hold on, give back, skip and flag in :mod:`assay.store.holding`, drafts in
:mod:`assay.store.drafts`, to submit in :mod:`assay.store.submitting`, to undo in
:mod:`assay.store.undoing`, and what those who run a project change in :mod:`assay.store.changing`.
Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, or_, select, update

from assay.store import tables as t
from assay.store.checks import is_due, next_special
from assay.store.database import now_ms
from assay.store.desk import ANNOTATOR, PROJECT, AccessError, Desk, desk
from assay.store.records import Assignment, ProjectSettings
from assay.store.sheets import assignment_of, held_of, hold, sheet_of
from assay.store.slots import release_expired, set_slot

_OPEN = (
    select(t.slots)
    .where(
        t.slots.c.annotator_id == ANNOTATOR,
        t.slots.c.project_id == PROJECT,
        t.slots.c.judgment_id.is_(None),
        t.slots.c.lease_until >= bindparam("now"),
    )
    .order_by(t.slots.c.claimed)
)


def claim(
    connection: Connection, project_id: str, annotator_id: str, have: Sequence[str] = ()
) -> Assignment | None:
    """A comparison that the annotator holds, or the next one for them; None where there is none.

    Args:
        have: Comparisons that the page has already: another one is asked for, to have it ready. At
            most ``prefetch`` are held at a time.

    Raises:
        AccessError: As :func:`desk`, or ``enough`` where the annotator's share is done.
    """
    at = desk(connection, project_id, annotator_id, locked=True)
    now = now_ms()
    key = {"project": project_id, "annotator": annotator_id, "now": now}
    held = connection.execute(_OPEN, key).all()
    others = [slot for slot in held if slot.comparison_id not in have]
    if others:
        return assignment_of(connection, held_of(others[0]))
    if len(held) >= at.settings.prefetch:
        return None
    release_expired(connection, project_id, now)
    done = _done(connection, at) if _is_counted(at.settings) else 0
    most = at.settings.most_per_annotator
    if most is not None and done >= most:
        raise AccessError("enough", f"You have judged {most:,} comparisons, which is your share.")
    return _special(connection, at, done, now) or _work(connection, at, now)


def _work(connection: Connection, at: Desk, now: int) -> Assignment | None:
    """Take the next free slot after the last one claimed, or else any."""
    for bound in (at.cursor, None) if at.cursor else (None,):
        key: dict[str, Any] = {"project": at.project_id, "annotator": at.annotator_id}
        if bound is not None:
            key["after"] = bound
        if at.languages:
            key["languages"] = at.languages
        query = _free(bound is not None, bool(at.languages))
        slot = connection.execute(query, key).one_or_none()
        if slot is not None:
            sheet = sheet_of(connection, slot.comparison_id)
            held = hold(at, sheet, slot.k, now)
            set_slot(connection, slot, held.values())
            _move_cursor(connection, at, slot.place)
            return assignment_of(connection, held, sheet)
    return None


_MEMBER = update(t.memberships).where(
    t.memberships.c.project_id == bindparam("at_project"),
    t.memberships.c.annotator_id == bindparam("at_annotator"),
)


def _move_cursor(connection: Connection, at: Desk, place: float) -> None:
    if place != at.cursor:
        key = {"at_project": at.project_id, "at_annotator": at.annotator_id}
        connection.execute(_MEMBER, key | {"cursor": place})


def _is_counted(settings: ProjectSettings) -> bool:
    """Whether what comes next depends on how much an annotator has done."""
    every = (settings.most_per_annotator, settings.gold_every, settings.attention_every)
    return any(number is not None for number in every)


def _count_done() -> Any:
    done = select(func.count()).where(
        t.judgments.c.project_id == PROJECT,
        t.judgments.c.annotator_id == ANNOTATOR,
        t.judgments.c.withdrawn.is_(None),
        t.judgments.c.source == "person",
    )
    held = select(func.count()).where(
        t.slots.c.annotator_id == ANNOTATOR,
        t.slots.c.project_id == PROJECT,
        t.slots.c.lease_until.is_not(None),
    )
    return select(done.scalar_subquery() + held.scalar_subquery())


_DONE = _count_done()


def _done(connection: Connection, at: Desk) -> int:
    """Judgments of an annotator, and comparisons they hold."""
    key = {"project": at.project_id, "annotator": at.annotator_id}
    return int(connection.scalar(_DONE, key) or 0)


@cache
def _free(is_after: bool, is_choosy: bool) -> Any:
    """The first free slot for an annotator: nothing they hold, judged, skipped or wrote.

    Args:
        is_after: Whether the slot is to come ``after`` a place.
        is_choosy: Whether it is to be in one of the annotator's ``languages``.
    """
    slot, mine = t.slots, t.slots.alias("mine")
    comparison = slot.c.comparison_id
    wrote = (
        select(1)
        .select_from(t.comparison_responses.join(t.responses))
        .where(
            t.comparison_responses.c.comparison_id == comparison,
            t.responses.c.author_id == ANNOTATOR,
        )
    )
    query = (
        select(slot.c.comparison_id, slot.c.k, slot.c.place)
        .where(
            slot.c.project_id == PROJECT,
            slot.c.annotator_id.is_(None),
            ~exists().where(mine.c.comparison_id == comparison, mine.c.annotator_id == ANNOTATOR),
            ~exists().where(
                t.judgments.c.comparison_id == comparison,
                t.judgments.c.annotator_id == ANNOTATOR,
                t.judgments.c.withdrawn.is_(None),
            ),
            ~exists().where(
                t.skips.c.comparison_id == comparison, t.skips.c.annotator_id == ANNOTATOR
            ),
            ~wrote.exists(),
        )
        .order_by(slot.c.place, slot.c.k)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if is_after:
        query = query.where(slot.c.place > bindparam("after"))
    if is_choosy:
        spoken = slot.c.language.in_(bindparam("languages", expanding=True))
        query = query.where(or_(slot.c.language.is_(None), spoken))
    return query


def _special(connection: Connection, at: Desk, done: int, now: int) -> Assignment | None:
    """A screening, training, gold or attention item where it is time for one.

    Screening comes first, and whoever misses too much of it is blocked. Training follows. Then one
    in ``gold_every``, and one in ``attention_every``, comparisons; where none is left it is work.
    """
    found = next_special(connection, at, "screening", "training")
    for purpose, every in (
        ("gold", at.settings.gold_every),
        ("attention", at.settings.attention_every),
    ):
        if found is None and every and is_due(at, purpose, done, every):
            found = next_special(connection, at, purpose)
    if found is None:
        return None
    # two annotators who come to an item at once must not both make its slot k
    locked = select(t.comparisons.c.id).where(t.comparisons.c.id == found)
    connection.execute(locked.with_for_update(key_share=True))
    k = connection.scalar(
        select(func.coalesce(func.max(t.slots.c.k) + 1, 0)).where(t.slots.c.comparison_id == found)
    )
    sheet = sheet_of(connection, found)
    held = hold(at, sheet, int(k or 0), now)
    connection.execute(
        insert(t.slots).values(
            comparison_id=found, k=k, project_id=at.project_id, place=0.0, **held.values()
        )
    )
    return assignment_of(connection, held, sheet)
