"""What those who run a project change in it: a comparison's quota, its turn, whether it is given
out; webhooks.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy import Connection, Row, and_, delete, insert, select, update

from assay.errors import ConfigError, StoreError
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.events import record_event
from assay.store.ids import new_id

MOST_OVERLAP = 100


def withdraw(
    connection: Connection, project_id: str, comparison_id: str, actor_id: str | None = None
) -> None:
    """Give a comparison out no more. Who has it open may finish: the judgment is kept as surplus.

    Raises:
        StoreError: If the project has no such comparison.
    """
    row = _comparison(connection, project_id, comparison_id)
    _slots_gone(connection, row.id)
    _set(connection, row.id, is_withdrawn=True)
    record_event(connection, "comparison.withdrawn", row.id, actor_id=actor_id,
                 project_id=project_id)  # fmt: skip


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
    """Want another number of judgments of a comparison. Fewer slots go from the free ones first,
    then from those that are open at somebody's, whose judgment is then kept as surplus.

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
    _set(connection, row.id, place=place)
    connection.execute(
        update(t.slots).where(t.slots.c.comparison_id == row.id).values(place=place)
    )
    # annotators go on from the last place they took; now the next may lie before it
    connection.execute(
        update(t.memberships).where(t.memberships.c.project_id == project_id).values(cursor=0.0)
    )
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


def _slots_gone(connection: Connection, comparison_id: str) -> None:
    connection.execute(
        delete(t.slots).where(
            t.slots.c.comparison_id == comparison_id, t.slots.c.judgment_id.is_(None)
        )
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


# --- webhooks -------------------------------------------------------------------------------------


def add_webhook(
    connection: Connection,
    project_id: str,
    url: str,
    actions: Sequence[str] = (),
    actor_id: str | None = None,
) -> tuple[str, str]:
    """A new webhook: its id, and the secret that signs what it is sent, which is shown once.

    Raises:
        ConfigError: If the address is no http or https address.
    """
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.username
    except ValueError:
        good = False
    if not good or len(url) > 2000 or not url.isprintable() or " " in url:
        raise ConfigError(
            f"A webhook's address must be http:// or https:// with a host, not {url[:80]!r}."
        )
    identity, secret = new_id(), secrets.token_urlsafe(32)
    connection.execute(
        insert(t.webhooks).values(
            id=identity, project_id=project_id, url=url, secret=secret, actions=list(actions),
            is_active=True, created=now_ms(),
        )
    )  # fmt: skip
    record_event(connection, "webhook.added", identity, actor_id=actor_id, project_id=project_id,
                 detail={"host": parts.hostname})  # fmt: skip
    return identity, secret


def remove_webhook(
    connection: Connection, project_id: str, webhook_id: str, actor_id: str | None = None
) -> bool:
    """Tell an address no more; whether it was one of the project's."""
    mine = and_(t.webhooks.c.id == webhook_id, t.webhooks.c.project_id == project_id)
    if connection.scalar(select(t.webhooks.c.id).where(mine)) is None:
        return False
    connection.execute(delete(t.deliveries).where(t.deliveries.c.webhook_id == webhook_id))
    connection.execute(delete(t.webhooks).where(mine))
    record_event(connection, "webhook.removed", webhook_id, actor_id=actor_id,
                 project_id=project_id)  # fmt: skip
    return True
