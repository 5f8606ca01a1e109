"""Unfinished answers, kept as they are typed.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from assay.errors import DataError
from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.desk import ANNOTATOR, COMPARISON, AccessError, case_of, has_met

MOST_INT = 2**31 - 1
DRAFT = select(t.drafts).where(
    t.drafts.c.comparison_id == COMPARISON, t.drafts.c.annotator_id == ANNOTATOR
)
_DRAFT_LOCKED = DRAFT.with_for_update()
_NEW_DRAFT = insert(t.drafts)
_LATER_DRAFT = update(t.drafts).where(
    t.drafts.c.comparison_id == bindparam("at_comparison"),
    t.drafts.c.annotator_id == bindparam("at_annotator"),
)


def save_draft(
    connection: Connection,
    annotator_id: str,
    comparison_id: str,
    answer: Mapping[str, Any],
    revision: int,
    active_ms: int = 0,
) -> int:
    """Keep an unfinished answer; the revision that is stored now, which an older one cannot lower.

    Raises:
        AccessError: If the annotator does not hold the comparison and never did.
    """
    case_of(connection, comparison_id, annotator_id)
    if not has_met(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
    revision = checked_int(revision, "revision")
    key = {"comparison": comparison_id, "annotator": annotator_id}
    row = connection.execute(_DRAFT_LOCKED, key).one_or_none()
    values = {"answer": dict(answer), "active_ms": checked_int(active_ms, "active_ms"),
              "revision": revision, "saved": now_ms()}  # fmt: skip
    if row is None:
        whose = {"comparison_id": comparison_id, "annotator_id": annotator_id}
        connection.execute(_NEW_DRAFT, whose | values)
        return revision
    if revision > row.revision:
        whose = {"at_comparison": comparison_id, "at_annotator": annotator_id}
        connection.execute(_LATER_DRAFT, whose | values)
        return revision
    return int(row.revision)


_NO_DRAFT = delete(t.drafts).where(
    t.drafts.c.comparison_id == COMPARISON, t.drafts.c.annotator_id == ANNOTATOR
)


def drop_draft(connection: Connection, comparison_id: str, annotator_id: str) -> None:
    """Forget an unfinished answer."""
    connection.execute(_NO_DRAFT, {"comparison": comparison_id, "annotator": annotator_id})


def checked_int(value: int | float, name: str) -> int:
    """A whole number from 0 that every database holds; what is larger is cut down.

    Raises:
        DataError: If it is not finite.
    """
    if not math.isfinite(value):
        raise DataError(f"'{name}' must be a number, not {value}.")
    return int(min(max(value, 0), MOST_INT))
