"""Who judges what: slots with leases, and judgments that are never turned away.

A comparison has as many slots as judgments are wanted of it. To claim takes a free slot under a
lease; to submit fills the slot one holds. Whoever lost the lease takes another free slot of the
comparison, and where none is left the judgment is kept as surplus. So every comparison gets its
number of judgments and not one more, and nothing that was done is lost. Repeats are known by the
judgment's id, which the client gives.

Functions here run inside a transaction of the store. Statements of every request are made once: to
make one takes far longer than to run it.
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    Connection,
    Row,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    update,
)

from assay.errors import DataError, StoreError
from assay.store import tables as t
from assay.store.answers import checked_answer, matches
from assay.store.database import now_ms
from assay.store.events import record_event
from assay.store.ids import checked_id, new_id
from assay.store.records import Assignment, ProjectSettings, Rubric, Shown, Submitted
from assay.types import as_messages

UNDOABLE = 10
"""Judgments back that can be undone."""
LAST_CHECKED = 20
"""Gold and attention items that decide whether an annotator is blocked."""
FEWEST_CHECKED = 5
BLOCK = 4
"""Comparisons within which sides are balanced exactly."""
MOST_FREED = 200
"""Slots whose lease has run out that one claim frees, so that none waits long for it."""
MOST_INT = 2**31 - 1
_FREE = {"annotator_id": None, "lease_until": None, "claimed": None, "shown": None}


class AccessError(StoreError):
    """The annotator may not do this, or not any more. ``code`` says why in a word."""

    def __init__(self, code: str, message: str):
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Desk:
    """A project as one of its annotators meets it."""

    project_id: str
    annotator_id: str
    settings: ProjectSettings
    languages: tuple[str, ...]
    cursor: float


_PROJECT: BindParameter[str] = bindparam("project")
_ANNOTATOR: BindParameter[str] = bindparam("annotator")
_COMPARISON: BindParameter[str] = bindparam("comparison")
_DESK = (
    select(
        t.projects.c.settings, t.projects.c.is_paused, t.memberships.c.state,
        t.memberships.c.cursor, t.annotators.c.languages, t.annotators.c.is_active,
    )
    .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
    .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
    .where(t.projects.c.id == _PROJECT, t.annotators.c.id == _ANNOTATOR)
)  # fmt: skip
_DESK_LOCKED = _DESK.with_for_update(of=t.memberships, key_share=True)


def desk(
    connection: Connection, project_id: str, annotator_id: str, *, locked: bool = False
) -> Desk:
    """The desk of an active annotator.

    Args:
        locked: Whether the annotator's other requests at this desk wait until the commit.

    Raises:
        AccessError: If they are no member, blocked or inactive, or the project is paused.
    """
    key = {"project": project_id, "annotator": annotator_id}
    row = connection.execute(_DESK_LOCKED if locked else _DESK, key).one_or_none()
    if row is None or not row.is_active:
        raise AccessError("not-a-member", "You are not a member of this project.")
    if row.is_paused:
        raise AccessError("paused", "This project is paused; what you have done is safe.")
    if row.state == "blocked":
        raise AccessError("blocked", "A reviewer must look at your answers before you go on.")
    settings = ProjectSettings.from_dict(row.settings)
    return Desk(project_id, annotator_id, settings, tuple(row.languages), row.cursor)


# --- claim ----------------------------------------------------------------------------------------


_OPEN = (
    select(t.slots)
    .where(
        t.slots.c.annotator_id == _ANNOTATOR,
        t.slots.c.project_id == _PROJECT,
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
        return _assignment(connection, _held(others[0]))
    if len(held) >= at.settings.prefetch:
        return None
    release_expired(connection, project_id, now)
    done = _done(connection, at) if _is_counted(at.settings) else 0
    most = at.settings.most_per_annotator
    if most is not None and done >= most:
        raise AccessError("enough", f"You have judged {most:,} comparisons, which is your share.")
    return _special(connection, at, done, now) or _work(connection, at, now)


_EXPIRED = (
    select(t.slots.c.comparison_id, t.slots.c.k)
    .where(t.slots.c.lease_until < bindparam("now"), t.slots.c.project_id == _PROJECT)
    .order_by(t.slots.c.lease_until)
    .limit(MOST_FREED)
    .with_for_update(skip_locked=True)
)


def release_expired(connection: Connection, project_id: str, now: int) -> int:
    """Free slots whose lease has run out, the oldest first; how many."""
    expired = connection.execute(_EXPIRED, {"project": project_id, "now": now}).all()
    if expired:
        _let_go(connection, expired)
    return len(expired)


_AT_SLOT = (t.slots.c.comparison_id == bindparam("at_id"), t.slots.c.k == bindparam("at_k"))
_SLOT = update(t.slots).where(*_AT_SLOT)


def _let_go(connection: Connection, slots: Sequence[Any]) -> None:
    """Make held slots free, which must be locked; of comparisons nobody is to get, delete them.

    A slot of an item with a known answer was made for its annotator, and one of a withdrawn
    comparison is for nobody: left free, another annotator would get it as work.
    """
    c = t.comparisons.c
    wanted = set(connection.scalars(
        select(c.id).where(
            c.id.in_({slot.comparison_id for slot in slots}), c.purpose == "work", ~c.is_withdrawn
        )
    ))  # fmt: skip
    keys = [{"at_id": slot.comparison_id, "at_k": slot.k} for slot in slots]
    free = [key | _FREE for key in keys if key["at_id"] in wanted]
    gone = [key for key in keys if key["at_id"] not in wanted]
    if free:
        connection.execute(_SLOT, free)
    if gone:
        connection.execute(delete(t.slots).where(*_AT_SLOT), gone)


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
            sheet = _sheet(connection, slot.comparison_id)
            held = _hold(at, sheet, slot.k, now)
            _set(connection, slot, held.values())
            _move_cursor(connection, at, slot.place)
            return _assignment(connection, held, sheet)
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
        t.judgments.c.project_id == _PROJECT,
        t.judgments.c.annotator_id == _ANNOTATOR,
        t.judgments.c.withdrawn.is_(None),
        t.judgments.c.source == "person",
    )
    held = select(func.count()).where(
        t.slots.c.annotator_id == _ANNOTATOR,
        t.slots.c.project_id == _PROJECT,
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
            t.responses.c.author_id == _ANNOTATOR,
        )
    )
    query = (
        select(slot.c.comparison_id, slot.c.k, slot.c.place)
        .where(
            slot.c.project_id == _PROJECT,
            slot.c.annotator_id.is_(None),
            ~exists().where(mine.c.comparison_id == comparison, mine.c.annotator_id == _ANNOTATOR),
            ~exists().where(
                t.judgments.c.comparison_id == comparison,
                t.judgments.c.annotator_id == _ANNOTATOR,
                t.judgments.c.withdrawn.is_(None),
            ),
            ~exists().where(
                t.skips.c.comparison_id == comparison, t.skips.c.annotator_id == _ANNOTATOR
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
        _random(project_id, number // BLOCK).shuffle(sides)
        turn = sides[number % BLOCK]
    else:
        _random(project_id, number).shuffle(ids)
        turn = 0
    turn = (turn + k) % len(ids)
    return ids[turn:] + ids[:turn]


def _random(*parts: object) -> random.Random:
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8]))


# --- items whose answer is known ------------------------------------------------------------------


def _special(connection: Connection, at: Desk, done: int, now: int) -> Assignment | None:
    """A screening, training, gold or attention item where it is time for one.

    Screening comes first, and whoever misses too much of it is blocked. Training follows. Then one
    in ``gold_every``, and one in ``attention_every``, comparisons; where none is left it is work.
    """
    found = _next_special(connection, at, "screening", "training")
    for purpose, every in (
        ("gold", at.settings.gold_every),
        ("attention", at.settings.attention_every),
    ):
        if found is None and every and _is_due(at, purpose, done, every):
            found = _next_special(connection, at, purpose)
    if found is None:
        return None
    # two annotators who come to an item at once must not both make its slot k
    locked = select(t.comparisons.c.id).where(t.comparisons.c.id == found)
    connection.execute(locked.with_for_update(key_share=True))
    k = connection.scalar(
        select(func.coalesce(func.max(t.slots.c.k) + 1, 0)).where(t.slots.c.comparison_id == found)
    )
    sheet = _sheet(connection, found)
    held = _hold(at, sheet, int(k or 0), now)
    connection.execute(
        insert(t.slots).values(
            comparison_id=found, k=k, project_id=at.project_id, place=0.0, **held.values()
        )
    )
    return _assignment(connection, held, sheet)


def _is_due(at: Desk, purpose: str, done: int, every: int) -> bool:
    """Once in each ``every`` comparisons, at a place in them that cannot be guessed."""
    place = _random(at.project_id, at.annotator_id, purpose, done // every).randrange(every)
    return done % every == place


def _next_special(connection: Connection, at: Desk, *purposes: str) -> str | None:
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
            c.project_id == _PROJECT,
            c.purpose.in_(bindparam("purposes", expanding=True)),
            c.purpose != literal_column("'work'"),  # so that the partial index is used
            c.is_published,
            ~c.is_withdrawn,
            *(
                ~exists().where(met.c.comparison_id == c.id, met.c.annotator_id == _ANNOTATOR)
                for met in (t.slots, t.skips)
            ),
            ~exists().where(
                t.judgments.c.comparison_id == c.id,
                t.judgments.c.annotator_id == _ANNOTATOR,
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


def _check_quality(connection: Connection, at: Desk, purpose: str) -> bool:
    """Block an annotator who failed the screening or misses too many checks; whether it was so."""
    settings = at.settings
    if purpose == "screening" and _next_special(connection, at, "screening") is None:
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


# --- submit ---------------------------------------------------------------------------------------


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
    comparison, at = _case(connection, comparison_id, annotator_id)
    # before the slot: a surplus one may just be getting a slot by a raised quota
    earlier = _standing(connection, comparison_id, annotator_id, locked=True)
    slot = _own_slot(connection, comparison_id, annotator_id)
    order = _order(connection, comparison_id, slot, shown)
    rubric = rubric_of(connection, comparison.project_id, rubric_id)
    steps = _steps_of(connection, comparison)
    said = checked_answer(answer, comparison.kind, order, rubric.rubric, steps)
    if earlier is not None and comparison.purpose != "work":
        raise AccessError("answered", "This comparison was answered; it cannot be changed.")
    expected = comparison.expected
    new = _New(
        judgment_id, annotator_id, comparison, order, said, rubric.id, earlier,
        matches(said, expected) if expected is not None else None, now_ms(),
        _checked_int(active_ms, "active_ms"),
    )  # fmt: skip
    surplus = _fill(connection, new, slot)
    _insert(connection, new, slot, surplus)
    blocked = _check_quality(connection, at, comparison.purpose)
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
    _drop_draft(connection, new.comparison.id, new.annotator_id)


def _record(connection: Connection, new: _New, surplus: bool, blocked: bool) -> None:
    detail: dict[str, Any] = {"surplus": surplus}
    if new.earlier is not None:
        detail["replaces"] = new.earlier.id
    if blocked:
        detail["blocked"] = True
    record_event(connection, "judgment.submitted", new.id, actor_id=new.annotator_id,
                 project_id=new.comparison.project_id, detail=detail)  # fmt: skip


_NO_DRAFT = delete(t.drafts).where(
    t.drafts.c.comparison_id == _COMPARISON, t.drafts.c.annotator_id == _ANNOTATOR
)


def _drop_draft(connection: Connection, comparison_id: str, annotator_id: str) -> None:
    connection.execute(_NO_DRAFT, {"comparison": comparison_id, "annotator": annotator_id})


def _checked_int(value: int | float, name: str) -> int:
    """A whole number from 0 that every database holds; what is larger is cut down.

    Raises:
        DataError: If it is not finite.
    """
    if not math.isfinite(value):
        raise DataError(f"'{name}' must be a number, not {value}.")
    return int(min(max(value, 0), MOST_INT))


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
        _set(connection, slot, values)
        counts = slot.judgment_id is None
    elif not is_work:
        return False
    else:
        free = None if new.comparison.is_withdrawn else _open_slot(connection, new)
        if free is None:
            return True
        held = {"annotator_id": new.annotator_id, "shown": new.order, "claimed": new.now}
        _set(connection, free, values | held)
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


def _set(connection: Connection, slot: Any, values: Mapping[str, Any]) -> None:
    connection.execute(_SLOT, {**values, "at_id": slot.comparison_id, "at_k": slot.k})


_OWN_SLOT = (
    select(t.slots)
    .where(t.slots.c.comparison_id == _COMPARISON, t.slots.c.annotator_id == _ANNOTATOR)
    .with_for_update()
)


def _own_slot(connection: Connection, comparison_id: str, annotator_id: str) -> Row[Any] | None:
    """The annotator's slot of a comparison, held or filled, locked until the commit."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return connection.execute(_OWN_SLOT, key).one_or_none()


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


_STANDING = select(t.judgments).where(
    t.judgments.c.comparison_id == _COMPARISON,
    t.judgments.c.annotator_id == _ANNOTATOR,
    t.judgments.c.withdrawn.is_(None),
)
_STANDING_LOCKED = _STANDING.with_for_update()


def _standing(
    connection: Connection, comparison_id: str, annotator_id: str, *, locked: bool = False
) -> Row[Any] | None:
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return connection.execute(_STANDING_LOCKED if locked else _STANDING, key).one_or_none()


# --- what else an annotator does ------------------------------------------------------------------


def extend(connection: Connection, annotator_id: str, comparison_id: str) -> int | None:
    """Renew a lease, or take the comparison up again; until when, or None where it is others' now.

    Whoever is told None may still submit: the judgment is kept.
    """
    comparison, at = _case(connection, comparison_id, annotator_id)
    now = now_ms()
    lease = now + round(at.settings.lease_minutes * 60_000)
    slot = _own_slot(connection, comparison_id, annotator_id)
    if slot is not None:
        if slot.judgment_id is not None:
            return None
        _set(connection, slot, {"lease_until": lease})
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
    _set(connection, free, values)
    return lease


def _may_resume(connection: Connection, comparison: Row[Any], annotator_id: str) -> bool:
    """Whether whoever lost a comparison may take it up again: they began, and did not end."""
    if comparison.is_withdrawn or comparison.purpose != "work":
        return False
    draft = exists().where(
        t.drafts.c.comparison_id == comparison.id, t.drafts.c.annotator_id == annotator_id
    )
    has_draft = connection.scalar(select(draft))
    return bool(has_draft) and _standing(connection, comparison.id, annotator_id) is None


def release(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    """Give a held comparison back without a word; whether it was held."""
    slot = _own_slot(connection, comparison_id, annotator_id)
    if slot is None or slot.judgment_id is not None:
        return False
    _let_go(connection, [slot])
    return True


def skip(connection: Connection, annotator_id: str, comparison_id: str, reason: str = "") -> None:
    """Pass a comparison over for good: its slot is another's, and it does not come again.

    A repeat changes nothing.

    Raises:
        AccessError: If the project forbids it, or the annotator does not hold it.
    """
    comparison, at = _case(connection, comparison_id, annotator_id)
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
    _drop_draft(connection, comparison_id, annotator_id)
    record_event(connection, "comparison.skipped", comparison_id, actor_id=annotator_id,
                 project_id=comparison.project_id, detail={"reason": reason})  # fmt: skip


def flag(connection: Connection, annotator_id: str, comparison_id: str, reason: str) -> str:
    """Say that something is wrong with a comparison, for a reviewer; the flag's id.

    The same words again, while nobody has looked, are the same flag.

    Raises:
        AccessError: If the annotator has neither a slot nor a judgment of it.
    """
    comparison, _ = _case(connection, comparison_id, annotator_id)
    if not _has_met(connection, annotator_id, comparison_id):
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


_MET = select(or_(*(
    exists().where(place.c.comparison_id == _COMPARISON, place.c.annotator_id == _ANNOTATOR)
    for place in (t.slots, t.judgments, t.drafts)
)))  # fmt: skip


def _has_met(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    """Whether an annotator has a slot, a judgment or a draft of a comparison."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    return bool(connection.scalar(_MET, key))


_DRAFT = select(t.drafts).where(
    t.drafts.c.comparison_id == _COMPARISON, t.drafts.c.annotator_id == _ANNOTATOR
)
_DRAFT_LOCKED = _DRAFT.with_for_update()
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
    _case(connection, comparison_id, annotator_id)
    if not _has_met(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
    revision = _checked_int(revision, "revision")
    key = {"comparison": comparison_id, "annotator": annotator_id}
    row = connection.execute(_DRAFT_LOCKED, key).one_or_none()
    values = {"answer": dict(answer), "active_ms": _checked_int(active_ms, "active_ms"),
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
        if _standing(connection, judgment.comparison_id, annotator_id) is not None:
            raise AccessError("too-late", "You have judged this comparison anew.")
        return opened(connection, annotator_id, judgment.comparison_id)
    comparison = _comparison(connection, judgment.comparison_id)
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
    _drop_draft(connection, judgment.comparison_id, judgment.annotator_id)
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
        return _assignment(connection, _held(slot))
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
    return _assignment(connection, _Held(comparison_id, annotator_id, order, None, at, True))


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RubricVersion:
    """A rubric with its id."""

    id: str
    rubric: Rubric


_RUBRIC = (
    select(t.rubrics.c.id, t.rubrics.c.body)
    .where(t.rubrics.c.project_id == _PROJECT)
    .order_by(t.rubrics.c.version.desc())
    .limit(1)
)
_RUBRIC_NAMED = _RUBRIC.where(t.rubrics.c.id == bindparam("rubric"))


def rubric_of(
    connection: Connection, project_id: str, rubric_id: str | None = None
) -> RubricVersion:
    """A version of a project's rubric, by default the latest.

    Raises:
        AccessError: If the project has no such version.
    """
    query, key = _RUBRIC, {"project": project_id}
    if rubric_id is not None:
        query, key = _RUBRIC_NAMED, key | {"rubric": rubric_id}
    row = connection.execute(query, key).one_or_none()
    if row is None:
        raise AccessError("no-rubric", "The project has no such rubric.")
    return RubricVersion(row.id, Rubric.from_dict(row.body))


def _comparison(connection: Connection, comparison_id: str) -> Row[Any]:
    row = connection.execute(
        select(t.comparisons).where(
            t.comparisons.c.id == comparison_id, t.comparisons.c.is_published
        )
    ).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    return row


_CASE = (
    select(
        t.comparisons, t.projects.c.settings.label("project_settings"),
        t.memberships.c.cursor, t.annotators.c.languages,
    )
    .join(t.projects, t.projects.c.id == t.comparisons.c.project_id)
    .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
    .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
    .where(
        t.comparisons.c.id == _COMPARISON, t.comparisons.c.is_published,
        t.annotators.c.id == _ANNOTATOR, t.annotators.c.is_active,
    )
)  # fmt: skip


def _case(connection: Connection, comparison_id: str, annotator_id: str) -> tuple[Row[Any], Desk]:
    """A comparison, and a member's desk, also a blocked one's or in a pause: work done is taken."""
    key = {"comparison": comparison_id, "annotator": annotator_id}
    row = connection.execute(_CASE, key).one_or_none()
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    settings = ProjectSettings.from_dict(row.project_settings)
    return row, Desk(row.project_id, annotator_id, settings, tuple(row.languages), row.cursor)


def _steps_of(connection: Connection, comparison: Row[Any]) -> list[Mapping[str, Any]]:
    if comparison.kind != "steps":
        return []
    row = connection.scalar(
        select(t.responses.c.steps)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
        .where(t.comparison_responses.c.comparison_id == comparison.id)
    )
    return list(row or ())


@dataclass(frozen=True, slots=True)
class _Held:
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


def _held(slot: Row[Any]) -> _Held:
    return _Held(
        slot.comparison_id, slot.annotator_id, list(slot.shown), slot.lease_until, slot.claimed,
        slot.judgment_id is not None,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Sheet:
    """What there is to see of a comparison."""

    comparison: Row[Any]
    """With the prompt's ``messages``."""
    responses: Mapping[str, Any]
    """By id, in the order of the import."""


_SHEET = (
    select(t.comparisons, t.prompts.c.messages)
    .join(t.prompts, t.prompts.c.id == t.comparisons.c.prompt_id)
    .where(t.comparisons.c.id == _COMPARISON, t.comparisons.c.is_published)
)
_RESPONSES = (
    select(t.responses.c.id, t.responses.c.messages, t.responses.c.steps)
    .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
    .where(t.comparison_responses.c.comparison_id == _COMPARISON)
    .order_by(t.comparison_responses.c.number)
)


def _sheet(connection: Connection, comparison_id: str) -> _Sheet:
    key = {"comparison": comparison_id}
    comparison = connection.execute(_SHEET, key).one_or_none()
    if comparison is None:
        raise AccessError("not-found", "There is no such comparison.")
    return _Sheet(comparison, {row.id: row for row in connection.execute(_RESPONSES, key)})


def _hold(at: Desk, sheet: _Sheet, k: int, now: int) -> _Held:
    """What slot k of a comparison becomes when it is claimed."""
    comparison, ids = sheet.comparison, list(sheet.responses)
    shown = turned(ids, comparison.project_id, comparison.number, k) if at.settings.shuffle else ids
    lease = now + round(at.settings.lease_minutes * 60_000)
    return _Held(comparison.id, at.annotator_id, shown, lease, now)


def _assignment(connection: Connection, held: _Held, sheet: _Sheet | None = None) -> Assignment:
    sheet = sheet or _sheet(connection, held.comparison_id)
    comparison = sheet.comparison
    key = {"comparison": held.comparison_id, "annotator": held.annotator_id}
    draft = connection.execute(_DRAFT, key).one_or_none()
    judgment = (
        _standing(connection, held.comparison_id, held.annotator_id) if held.is_judged else None
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
