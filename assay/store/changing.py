"""What those who run a project change in a comparison: its quota and its turn.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import math
from typing import Any

from sqlalchemy import Connection, Row, delete, insert, select, update

from assay.errors import ConfigError, StoreError
from assay.store import tables as t
from assay.store.assignment import move
from assay.store.events import record_event

MOST_OVERLAP = 100


def restore(
    connection: Connection, project_id: str, comparison_id: str, actor_id: str | None = None
) -> None:
    """Give a withdrawn comparison out again.

    Raises:
        StoreError: If the project has no such comparison.
    """
    row = _comparison(connection, project_id, comparison_id)
    _set(connection, row.id, is_withdrawn=False)
    if row.purpose == "work":
        _make_slots(connection, row, row.overlap)
    record_event(connection, "comparison.restored", row.id, actor_id=actor_id,
                 project_id=project_id)  # fmt: skip


def set_overlap(
    connection: Connection,
    project_id: str,
    comparison_id: str,
    overlap: int,
    actor_id: str | None = None,
) -> None:
    """Want another number of judgments of a comparison.

    Where it is fewer, free slots go first, then those that are open at somebody's, whose judgment
    is then kept as surplus.

    Raises:
        StoreError: If the project has no such comparison.
        ConfigError: If it has more judgments already, or is no work.
    """
    row = _comparison(connection, project_id, comparison_id)
    if row.purpose != "work":
        raise ConfigError(f"A {row.purpose} item is for everybody; it has no overlap.")
    least = max(1, row.filled)
    if not least <= overlap <= MOST_OVERLAP:
        raise ConfigError(
            f"overlap must be {least} to {MOST_OVERLAP}, not {overlap}: comparison {row.number} "
            f"has {row.filled} judgments."
        )
    if not row.is_withdrawn:
        _fewer_slots(connection, row.id, overlap)
        _make_slots(connection, row, overlap)
    _set(connection, row.id, overlap=overlap)
    record_event(connection, "comparison.changed", row.id, actor_id=actor_id,
                 project_id=project_id, detail={"overlap": overlap})  # fmt: skip


def set_place(
    connection: Connection,
    project_id: str,
    comparison_id: str,
    place: float,
    actor_id: str | None = None,
) -> None:
    """Change the turn of a comparison; less is sooner.

    Raises:
        StoreError: If the project has no such comparison.
        ConfigError: If the place is not finite.
    """
    if not (math.isfinite(place) and abs(place) <= 1e12):
        raise ConfigError(f"place must be a number from -1e12 to 1e12, not {place}.")
    row = _comparison(connection, project_id, comparison_id)
    move(connection, project_id, {row.id: place})
    record_event(connection, "comparison.changed", row.id, actor_id=actor_id,
                 project_id=project_id, detail={"place": place})  # fmt: skip


def _comparison(connection: Connection, project_id: str, comparison_id: str) -> Row[Any]:
    row = connection.execute(
        select(t.comparisons)
        .where(
            t.comparisons.c.id == comparison_id,
            t.comparisons.c.project_id == project_id,
            t.comparisons.c.is_published,
        )
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise StoreError("The project has no such comparison.")
    return row


def _set(connection: Connection, comparison_id: str, **values: Any) -> None:
    connection.execute(
        update(t.comparisons).where(t.comparisons.c.id == comparison_id).values(**values)
    )


def _fewer_slots(connection: Connection, comparison_id: str, most: int) -> None:
    slot = t.slots.c
    rows = connection.execute(
        select(slot.k)
        .where(slot.comparison_id == comparison_id)
        .order_by(slot.judgment_id.is_(None), slot.annotator_id.is_(None), slot.k)
        .with_for_update()
    )
    surplus = [row.k for row in rows][most:]
    connection.execute(
        delete(t.slots).where(
            slot.comparison_id == comparison_id, slot.k.in_(surplus), slot.judgment_id.is_(None)
        )
    )


def _make_slots(connection: Connection, comparison: Row[Any], wanted: int) -> None:
    taken = set(
        connection.scalars(select(t.slots.c.k).where(t.slots.c.comparison_id == comparison.id))
    )
    fresh = [k for k in range(MOST_OVERLAP + len(taken)) if k not in taken]
    rows = [
        {"comparison_id": comparison.id, "k": k, "project_id": comparison.project_id,
         "place": comparison.place, "language": comparison.language}
        for k in fresh[: max(0, wanted - len(taken))]
    ]  # fmt: skip
    if rows:
        connection.execute(insert(t.slots), rows)
