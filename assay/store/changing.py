"""What those who run a project change in comparisons: their quota, their turn, their withdrawal.

A quota that is raised counts surplus judgments first, and one that is lowered takes none away.
Functions here run inside a transaction of the store, but for the one that changes all comparisons.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import Connection, Row, Select, bindparam, delete, insert, select, update

from assay.errors import ConfigError
from assay.store import tables as t
from assay.store.database import Database
from assay.store.desk import AccessError
from assay.store.events import record_event

T = TypeVar("T")
MOST_OVERLAP = 100
MOST_PLACE = 1e12
MANY = 500
"""Comparisons changed by one statement."""
AT_ONCE = 2000
"""Comparisons changed by one transaction where all of a project are."""


# --- withdrawal -----------------------------------------------------------------------------------


def withdraw(
    connection: Connection,
    project_id: str,
    comparison_ids: Sequence[str],
    actor_id: str | None = None,
) -> int:
    """Give comparisons to nobody any more; how many were given until now.

    What was judged stays. Who holds one may still submit, and it counts; who lost theirs may too,
    and it is kept as surplus.

    Raises:
        AccessError: If one of them is not of this project.
    """
    changed = [row for row in _comparisons(connection, project_id, comparison_ids)
               if not row.is_withdrawn]  # fmt: skip
    for rows in _batches(changed):
        ids = [row.id for row in rows]
        _set(connection, [{"at_id": identity, "is_withdrawn": True} for identity in ids])
        # wait for who is just taking or freeing one, so that none is left free behind us
        connection.execute(_slots_of(ids)).all()
        mine = t.slots.c.comparison_id.in_(ids)
        connection.execute(delete(t.slots).where(mine, t.slots.c.annotator_id.is_(None)))
    for row in changed:
        record_event(connection, "comparison.withdrawn", row.id, actor_id=actor_id,
                     project_id=project_id)  # fmt: skip
    return len(changed)


def restore(
    connection: Connection, project_id: str, comparison_id: str, actor_id: str | None = None
) -> None:
    """Give a withdrawn comparison out again.

    Raises:
        AccessError: If the project has no such comparison.
    """
    (row,) = _comparisons(connection, project_id, [comparison_id])
    if not row.is_withdrawn:
        return
    _set(connection, [{"at_id": row.id, "is_withdrawn": False}])
    detail = {}
    if row.purpose == "work":
        detail = _counted(_set_quota(connection, [row], row.overlap, restored=True))
    record_event(connection, "comparison.restored", row.id, actor_id=actor_id,
                 project_id=project_id, detail=detail)  # fmt: skip


# --- quota ----------------------------------------------------------------------------------------


def set_overlap(
    connection: Connection,
    project_id: str,
    comparison_id: str,
    overlap: int,
    actor_id: str | None = None,
) -> None:
    """Want another number of judgments of a comparison.

    Where it is more, judgments that were surplus count first. Where it is fewer, free slots go
    first, then those that are open at somebody's, whose judgment is then kept as surplus.

    Raises:
        AccessError: If the project has no such comparison.
        ConfigError: If it has more judgments already, or is no work.
    """
    (row,) = _comparisons(connection, project_id, [comparison_id])
    if row.purpose != "work":
        raise ConfigError(f"A {row.purpose} item is for everybody; it has no overlap.")
    least = max(1, row.filled)
    if not least <= overlap <= MOST_OVERLAP:
        raise ConfigError(
            f"overlap must be {least} to {MOST_OVERLAP}, not {overlap}: comparison {row.number} "
            f"has {row.filled} judgments."
        )
    detail = {"overlap": overlap} | _counted(_set_quota(connection, [row], overlap))
    record_event(connection, "comparison.changed", row.id, actor_id=actor_id,
                 project_id=project_id, detail=detail)  # fmt: skip


def set_every_overlap(
    database: Database, project_id: str, overlap: int, actor_id: str | None = None
) -> int:
    """Want so many judgments of every comparison that is work, as :func:`set_overlap` does.

    One that has more judgments keeps them all, and wants no further one. Annotators go on
    meanwhile: each transaction changes a part of the comparisons, and a call that was cut off is
    made whole by another.

    Returns:
        How many comparisons wanted another number until now.

    Raises:
        ConfigError: If no comparison can want so many.
    """
    if not 1 <= overlap <= MOST_OVERLAP:
        raise ConfigError(f"overlap must be 1 to {MOST_OVERLAP}, not {overlap}.")
    count, after = 0, 0
    while True:
        work = partial(
            _next_quotas, project_id=project_id, overlap=overlap, after=after, actor_id=actor_id
        )
        done = database.write(work)
        if done is None:
            return count
        count, after = count + done[0], done[1]


def _next_quotas(
    connection: Connection, project_id: str, overlap: int, after: int, actor_id: str | None
) -> tuple[int, int] | None:
    """How many of the next comparisons were changed, and the last one's number; None at the end."""
    c = t.comparisons.c
    rows = connection.execute(
        select(t.comparisons)
        .where(
            c.project_id == project_id, c.is_published, c.purpose == "work", c.number > after,
            c.overlap != overlap, (c.overlap < overlap) | (c.overlap > c.filled),
        )
        .order_by(c.number)
        .limit(AT_ONCE)
        .with_for_update(key_share=True)
    ).all()  # fmt: skip
    if not rows:
        return None
    counted = sum(_set_quota(connection, some, overlap) for some in _batches(rows))
    record_event(
        connection, "comparisons.changed", actor_id=actor_id, project_id=project_id,
        detail={"overlap": overlap, "comparisons": len(rows)} | _counted(counted),
    )  # fmt: skip
    return len(rows), rows[-1].number


def _counted(count: int) -> dict[str, int]:
    """Of an entry in the record: judgments that were surplus and count now."""
    return {"counted": count} if count else {}


@dataclass(frozen=True, slots=True)
class _Changes:
    """Rows to write where quotas change."""

    gone: list[dict[str, Any]] = field(default_factory=list)
    """Keys of slots that nobody wants any more."""
    fresh: list[dict[str, Any]] = field(default_factory=list)
    """New slots, free or filled."""
    taken: list[dict[str, Any]] = field(default_factory=list)
    """Free slots that a judgment fills."""
    counted: list[dict[str, Any]] = field(default_factory=list)
    """Judgments that are surplus no more."""
    quotas: list[dict[str, Any]] = field(default_factory=list)


def _set_quota(
    connection: Connection, comparisons: Sequence[Row[Any]], overlap: int, restored: bool = False
) -> int:
    """Give work, which must be locked, so many slots; how many surplus judgments count now."""
    ids = [row.id for row in comparisons]
    judged, slots = defaultdict(list), defaultdict(list)
    # judgments before slots, the order in which who submits locks them
    for row in connection.execute(_surplus_of(ids)):
        judged[row.comparison_id].append(row)
    for row in connection.execute(_slots_of(ids)):
        slots[row.comparison_id].append(row)
    changes = _Changes()
    for row in comparisons:
        is_given = restored or not row.is_withdrawn
        _plan(changes, row, slots[row.id], judged[row.id], max(overlap, row.filled), is_given)
    _write(connection, changes)
    return len(changes.counted)


def _plan(
    changes: _Changes,
    comparison: Row[Any],
    slots: Sequence[Row[Any]],
    surplus: Sequence[Row[Any]],
    wanted: int,
    is_given: bool,
) -> None:
    """Add what is to be written for one comparison to have ``wanted`` slots."""
    ranked = sorted(slots, key=lambda s: (s.judgment_id is None, s.annotator_id is None, s.k))
    kept, gone = ranked[:wanted], ranked[wanted:]
    changes.gone.extend({"at_id": slot.comparison_id, "at_k": slot.k} for slot in gone)
    used = {slot.k for slot in kept}
    unused = (k for k in range(MOST_OVERLAP + len(slots)) if k not in used)
    free = [slot.k for slot in kept if slot.annotator_id is None]
    fresh = [next(unused) for _ in range(wanted - len(kept))] if is_given else []
    filled = dict(zip([*free, *fresh], surplus, strict=False))
    for k in free:
        if k in filled:
            key = {"at_id": comparison.id, "at_k": k}
            changes.taken.append(key | _filled_by(filled[k]))
    for k in fresh:
        row = {"comparison_id": comparison.id, "k": k, "project_id": comparison.project_id,
               "place": comparison.place, "language": comparison.language}  # fmt: skip
        changes.fresh.append(row | _filled_by(filled.get(k)))
    changes.counted.extend({"at_id": judgment.id} for judgment in filled.values())
    changes.quotas.append(
        {"at_id": comparison.id, "overlap": wanted, "filled": comparison.filled + len(filled)}
    )


def _filled_by(judgment: Row[Any] | None) -> dict[str, Any]:
    """Of a slot: whose judgment is in it."""
    if judgment is None:
        return dict.fromkeys(("annotator_id", "shown", "claimed", "judgment_id"))
    return {"annotator_id": judgment.annotator_id, "shown": judgment.shown,
            "claimed": judgment.started, "judgment_id": judgment.id}  # fmt: skip


def _write(connection: Connection, changes: _Changes) -> None:
    at_slot = (t.slots.c.comparison_id == bindparam("at_id"), t.slots.c.k == bindparam("at_k"))
    this_judgment = t.judgments.c.id == bindparam("at_id")
    for statement, rows in (
        (delete(t.slots).where(*at_slot), changes.gone),
        (insert(t.slots), changes.fresh),
        (update(t.slots).where(*at_slot), changes.taken),
        (update(t.judgments).where(this_judgment).values(surplus=False), changes.counted),
    ):
        if rows:
            connection.execute(statement, rows)
    _set(connection, changes.quotas)


def _surplus_of(ids: Sequence[str]) -> Select[Any]:
    """People's surplus judgments of comparisons, the first submitted first."""
    j = t.judgments.c
    return (
        select(t.judgments)
        .where(j.comparison_id.in_(ids), j.surplus, j.withdrawn.is_(None), j.source == "person")
        .order_by(j.submitted, j.id)
        .with_for_update()
    )


def _slots_of(ids: Sequence[str]) -> Select[Any]:
    slot = t.slots.c
    query = select(t.slots).where(slot.comparison_id.in_(ids))
    return query.order_by(slot.comparison_id, slot.k).with_for_update()


# --- turn -----------------------------------------------------------------------------------------


def set_place(
    connection: Connection,
    project_id: str,
    comparison_id: str,
    place: float,
    actor_id: str | None = None,
) -> None:
    """Change the turn of a comparison; less is sooner. An import counts from 1.

    Raises:
        AccessError: If the project has no such comparison.
        ConfigError: If the place is not finite.
    """
    if not (math.isfinite(place) and abs(place) <= MOST_PLACE):
        raise ConfigError(f"place must be a number from -1e12 to 1e12, not {place}.")
    (row,) = _comparisons(connection, project_id, [comparison_id])
    move(connection, project_id, {row.id: place})
    record_event(connection, "comparison.changed", row.id, actor_id=actor_id,
                 project_id=project_id, detail={"place": place})  # fmt: skip


def move(connection: Connection, project_id: str, places: Mapping[str, float]) -> None:
    """Put comparisons and their slots at new places, unchecked and unrecorded.

    Annotators go on from the last place they took; now the next may lie before it, so everybody
    begins at the front again.
    """
    for ids in _batches(sorted(places)):
        rows = [{"at_id": i, "at_place": float(places[i])} for i in ids]
        for table, key in ((t.comparisons, t.comparisons.c.id), (t.slots, t.slots.c.comparison_id)):
            change = update(table).where(key == bindparam("at_id"))
            connection.execute(change.values(place=bindparam("at_place")), rows)
    connection.execute(
        update(t.memberships).where(t.memberships.c.project_id == project_id).values(cursor=0.0)
    )


# --- all of them ----------------------------------------------------------------------------------


def _comparisons(connection: Connection, project_id: str, ids: Sequence[str]) -> list[Row[Any]]:
    """Published comparisons of the project, each once, locked in the order of their ids."""
    wanted, c = sorted(set(ids)), t.comparisons.c
    found: list[Row[Any]] = []
    for some in _batches(wanted):
        found += connection.execute(
            select(t.comparisons)
            .where(c.id.in_(some), c.project_id == project_id, c.is_published)
            .order_by(c.id)
            .with_for_update(key_share=True)
        ).all()
    if len(found) < len(wanted):
        raise AccessError("not-found", "The project has no such comparison.")
    return found


_COMPARISON = update(t.comparisons).where(t.comparisons.c.id == bindparam("at_id"))


def _set(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Change comparisons by their ids, ``at_id``."""
    if rows:
        connection.execute(_COMPARISON, list(rows))


def _batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + MANY] for start in range(0, len(rows), MANY))
