"""What an annotator sees of a comparison: responses in the order drawn for them, and a draft.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from assay.store import tables as t
from assay.store.database import now_ms
from assay.store.desk import COMPARISON, AccessError, Desk, rubric_of, standing_judgment
from assay.store.drafts import DRAFT
from assay.store.records import Assignment, Shown
from assay.types import as_messages

BLOCK = 4
"""Comparisons within which sides are balanced exactly."""


@dataclass(frozen=True, slots=True)
class Held:
    """A comparison in an annotator's hands: held, or judged."""

    comparison_id: str
    annotator_id: str
    shown: list[str]
    lease_until: int | None
    claimed: int | None
    is_judged: bool = False

    def values(self) -> dict[str, Any]:
        """Of the slot."""
        return {"annotator_id": self.annotator_id, "lease_until": self.lease_until,
                "claimed": self.claimed, "shown": self.shown}  # fmt: skip


def held_of(slot: Row[Any]) -> Held:
    """What a slot that is no free one says."""
    return Held(
        slot.comparison_id, slot.annotator_id, list(slot.shown), slot.lease_until, slot.claimed,
        slot.judgment_id is not None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Sheet:
    """What there is to see of a comparison."""

    comparison: Row[Any]
    """With the prompt's ``messages``."""
    responses: Mapping[str, Any]
    """By id, in the order of the import."""


_SHEET = (
    select(t.comparisons, t.prompts.c.messages)
    .join(t.prompts, t.prompts.c.id == t.comparisons.c.prompt_id)
    .where(t.comparisons.c.id == COMPARISON, t.comparisons.c.is_published)
)
_RESPONSES = (
    select(t.responses.c.id, t.responses.c.messages, t.responses.c.steps)
    .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
    .where(t.comparison_responses.c.comparison_id == COMPARISON)
    .order_by(t.comparison_responses.c.number)
)


def sheet_of(connection: Connection, comparison_id: str) -> Sheet:
    """What there is to see of a comparison.

    Raises:
        AccessError: If there is none such.
    """
    key = {"comparison": comparison_id}
    comparison = connection.execute(_SHEET, key).one_or_none()
    if comparison is None:
        raise AccessError("not-found", "There is no such comparison.")
    return Sheet(comparison, {row.id: row for row in connection.execute(_RESPONSES, key)})


def hold(at: Desk, sheet: Sheet, k: int, now: int) -> Held:
    """What slot k of a comparison becomes when it is claimed."""
    comparison, ids = sheet.comparison, list(sheet.responses)
    shown = turned(ids, comparison.project_id, comparison.number, k) if at.settings.shuffle else ids
    lease = now + round(at.settings.lease_minutes * 60_000)
    return Held(comparison.id, at.annotator_id, shown, lease, now)


def assignment_of(connection: Connection, held: Held, sheet: Sheet | None = None) -> Assignment:
    """A comparison in an annotator's hands as their page needs it, with what they last wrote."""
    sheet = sheet or sheet_of(connection, held.comparison_id)
    comparison = sheet.comparison
    key = {"comparison": held.comparison_id, "annotator": held.annotator_id}
    draft = connection.execute(DRAFT, key).one_or_none()
    judgment = (
        standing_judgment(connection, held.comparison_id, held.annotator_id)
        if held.is_judged
        else None
    )
    rubric = rubric_of(connection, comparison.project_id, judgment.rubric_id if judgment else None)
    latest = draft or judgment
    return Assignment(
        comparison_id=held.comparison_id,
        project_id=comparison.project_id,
        kind=comparison.kind,
        prompt=as_messages(comparison.messages, "user"),
        responses=tuple(_shown(sheet.responses[i]) for i in held.shown),
        rubric_id=rubric.id,
        rubric=rubric.rubric,
        lease_until=held.lease_until,
        claimed=held.claimed or now_ms(),
        draft=latest.answer if latest else None,
        draft_revision=draft.revision if draft else 0,
        active_ms=latest.active_ms if latest else 0,
        feedback=comparison.purpose == "training",
    )


def _shown(response: Any) -> Shown:
    steps = tuple(response.steps) if response.steps is not None else None
    return Shown(response.id, as_messages(response.messages, "assistant"), steps)


def order_shown(connection: Connection, comparison_id: str, k: int, shuffle: bool) -> list[str]:
    """Ids of the responses in the order that slot k shows them; see :func:`turned`."""
    rows = connection.execute(
        select(
            t.comparison_responses.c.response_id, t.comparisons.c.project_id, t.comparisons.c.number
        )
        .join(t.comparisons, t.comparisons.c.id == t.comparison_responses.c.comparison_id)
        .where(t.comparisons.c.id == comparison_id)
        .order_by(t.comparison_responses.c.number)
    ).all()
    ids = [row.response_id for row in rows]
    return turned(ids, rows[0].project_id, rows[0].number, k) if shuffle and rows else ids


def turned(ids: Sequence[str], project_id: str, number: int, k: int) -> list[str]:
    """Responses of comparison ``number`` in the order that its slot k shows them.

    Permuted blocks: of four pairs in a row two begin with either response, in an order drawn by
    the block; the next slot of the same comparison begins with the next response, so every response
    stands first equally often over the slots.
    """
    ids = list(ids)
    if len(ids) < 2:
        return ids
    if len(ids) == 2:
        sides = [0, 0, 1, 1]
        drawn(project_id, number // BLOCK).shuffle(sides)
        turn = sides[number % BLOCK]
    else:
        drawn(project_id, number).shuffle(ids)
        turn = 0
    turn = (turn + k) % len(ids)
    return ids[turn:] + ids[:turn]


def drawn(*parts: object) -> random.Random:
    """A source of random numbers that is the same for the same parts."""
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8]))


def steps_of(connection: Connection, comparison: Row[Any]) -> list[Mapping[str, Any]]:
    """The steps of a solution; none of another comparison."""
    if comparison.kind != "steps":
        return []
    row = connection.scalar(
        select(t.responses.c.steps)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
        .where(t.comparison_responses.c.comparison_id == comparison.id)
    )
    return list(row or ())
