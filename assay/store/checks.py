"""Items whose answer is known: when one is due, and what wrong answers to them lead to.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from sqlalchemy import Connection, bindparam, exists, literal_column, or_, select, update

from assay.store import tables as t
from assay.store.desk import ANNOTATOR, PROJECT, Desk
from assay.store.sheets import drawn

LAST_CHECKED = 20
"""Gold and attention items that decide whether an annotator is blocked."""
FEWEST_CHECKED = 5


def is_due(at: Desk, purpose: str, done: int, every: int) -> bool:
    """Once in each ``every`` comparisons, at a place in them that cannot be guessed."""
    place = drawn(at.project_id, at.annotator_id, purpose, done // every).randrange(every)
    return done % every == place


def next_special(connection: Connection, at: Desk, *purposes: str) -> str | None:
    """The first item of these purposes that the annotator has not met."""
    key: dict[str, Any] = {"project": at.project_id, "annotator": at.annotator_id}
    if at.languages:
        key["languages"] = at.languages
    found: str | None = connection.scalar(_unmet(bool(at.languages)), key | {"purposes": purposes})
    return found


@cache
def _unmet(is_choosy: bool) -> Any:
    c = t.comparisons.c
    query = (
        select(c.id)
        .where(
            c.project_id == PROJECT,
            c.purpose.in_(bindparam("purposes", expanding=True)),
            c.purpose != literal_column("'work'"),  # so that the partial index is used
            c.is_published,
            ~c.is_withdrawn,
            *(
                ~exists().where(met.c.comparison_id == c.id, met.c.annotator_id == ANNOTATOR)
                for met in (t.slots, t.skips)
            ),
            ~exists().where(
                t.judgments.c.comparison_id == c.id,
                t.judgments.c.annotator_id == ANNOTATOR,
                t.judgments.c.withdrawn.is_(None),
            ),
        )
        .order_by(c.purpose, c.number)  # screening before training
        .limit(1)
    )
    if is_choosy:
        spoken = c.language.in_(bindparam("languages", expanding=True))
        query = query.where(or_(c.language.is_(None), spoken))
    return query


def check_quality(connection: Connection, at: Desk, purpose: str) -> bool:
    """Block an annotator who failed the screening or misses too many checks; whether it was so."""
    settings = at.settings
    if purpose == "screening" and next_special(connection, at, "screening") is None:
        right = _answers(connection, at, ("screening",))
        blocked = bool(right) and sum(right) / len(right) < settings.screening_share
    elif purpose in ("gold", "attention") and settings.gold_share is not None:
        right = _answers(connection, at, ("gold", "attention"))[:LAST_CHECKED]
        blocked = len(right) >= FEWEST_CHECKED and sum(right) / len(right) < settings.gold_share
    else:
        return False
    if blocked:
        connection.execute(
            update(t.memberships)
            .where(
                t.memberships.c.project_id == at.project_id,
                t.memberships.c.annotator_id == at.annotator_id,
            )
            .values(state="blocked")
        )
    return blocked


def _answers(connection: Connection, at: Desk, purposes: Sequence[str]) -> list[bool]:
    """Whether the answers to items of these purposes were right, the latest first."""
    rows = connection.scalars(
        select(t.judgments.c.is_correct)
        .join(t.comparisons, t.comparisons.c.id == t.judgments.c.comparison_id)
        .where(
            t.judgments.c.project_id == at.project_id,
            t.judgments.c.annotator_id == at.annotator_id,
            t.judgments.c.withdrawn.is_(None),
            t.judgments.c.is_correct.is_not(None),
            t.comparisons.c.purpose.in_(purposes),
        )
        .order_by(t.judgments.c.submitted.desc())
    )
    return [bool(row) for row in rows]
