"""Who judges what: slots with leases, and judgments that are never turned away.

A comparison has as many slots as judgments are wanted of it. To claim takes a free slot under a
lease; to submit fills the slot one holds. Whoever lost the lease takes another free slot of the
comparison, and where none is left the judgment is kept as surplus. So every comparison gets its
number of judgments and not one more, and nothing that was done is lost. Repeats are known by the
judgment's id, which the client gives.

Functions here run inside a transaction of the store.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Connection,
    Row,
    delete,
    exists,
    func,
    insert,
    or_,
    select,
    true,
    update,
)

from assay.errors import StoreError
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


def desk(connection: Connection, project_id: str, annotator_id: str) -> Desk:
    """The desk of an active annotator.

    Raises:
        AccessError: If they are no member, blocked or inactive, or the project is paused.
    """
    row = connection.execute(
        select(
            t.projects.c.settings, t.projects.c.is_paused, t.memberships.c.state,
            t.memberships.c.cursor, t.annotators.c.languages, t.annotators.c.is_active,
        )
        .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
        .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
        .where(t.projects.c.id == project_id, t.annotators.c.id == annotator_id)
    ).one_or_none()  # fmt: skip
    if row is None or not row.is_active:
        raise AccessError("not-a-member", "You are not a member of this project.")
    if row.is_paused:
        raise AccessError("paused", "This project is paused; what you have done is safe.")
    if row.state == "blocked":
        raise AccessError("blocked", "A reviewer must look at your answers before you go on.")
    settings = ProjectSettings.from_dict(row.settings)
    return Desk(project_id, annotator_id, settings, tuple(row.languages), row.cursor)


# --- claim ----------------------------------------------------------------------------------------


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
    at = desk(connection, project_id, annotator_id)
    now = now_ms()
    held = connection.execute(
        select(t.slots).where(
            t.slots.c.annotator_id == annotator_id,
            t.slots.c.project_id == project_id,
            t.slots.c.judgment_id.is_(None),
            t.slots.c.lease_until >= now,
        ).order_by(t.slots.c.claimed)
    ).all()  # fmt: skip
    others = [slot for slot in held if slot.comparison_id not in have]
    if others:
        return _assignment(connection, others[0])
    if len(held) >= at.settings.prefetch:
        return None
    release_expired(connection, project_id, now)
    taken = _special(connection, at, now) or _work(connection, at, now)
    return _assignment(connection, taken) if taken else None


def release_expired(connection: Connection, project_id: str, now: int) -> int:
    """Free the slots whose lease has run out; how many."""
    expired = (
        select(t.slots.c.comparison_id, t.slots.c.k)
        .where(t.slots.c.lease_until < now, t.slots.c.project_id == project_id)
        .limit(1000)
        .with_for_update(skip_locked=True)
    )
    count = 0
    for slot in connection.execute(expired).all():
        count += connection.execute(
            update(t.slots)
            .where(
                t.slots.c.comparison_id == slot.comparison_id,
                t.slots.c.k == slot.k,
                t.slots.c.lease_until < now,
            )
            .values(annotator_id=None, lease_until=None, claimed=None, shown=None)
        ).rowcount
    return count


def _work(connection: Connection, at: Desk, now: int) -> Row[Any] | None:
    """Take the next free slot after the last one claimed, or else any."""
    most = at.settings.most_per_annotator
    if most is not None and _done(connection, at) >= most:
        raise AccessError("enough", f"You have judged {most:,} comparisons, which is your share.")
    for bound in (at.cursor, None):
        slot = connection.execute(_free(at, bound)).one_or_none()
        if slot is not None:
            return _take(connection, at, slot, now)
        if at.cursor == 0:
            break
    return None


def _done(connection: Connection, at: Desk) -> int:
    done = select(func.count()).where(
        t.judgments.c.project_id == at.project_id,
        t.judgments.c.annotator_id == at.annotator_id,
        t.judgments.c.withdrawn.is_(None),
        t.judgments.c.source == "person",
    )
    held = select(func.count()).where(
        t.slots.c.annotator_id == at.annotator_id,
        t.slots.c.project_id == at.project_id,
        t.slots.c.lease_until.is_not(None),
    )
    return int(connection.scalar(done) or 0) + int(connection.scalar(held) or 0)


def _free(at: Desk, after: float | None) -> Any:
    """The first free slot for an annotator: nothing they hold, judged, skipped or wrote."""
    slot, mine = t.slots, t.slots.alias("mine")
    comparison = slot.c.comparison_id
    wrote = (
        select(1)
        .select_from(t.comparison_responses.join(t.responses))
        .where(
            t.comparison_responses.c.comparison_id == comparison,
            t.responses.c.author_id == at.annotator_id,
        )
    )
    query = (
        select(slot)
        .where(
            slot.c.project_id == at.project_id,
            slot.c.annotator_id.is_(None),
            slot.c.place > after if after is not None else true(),
            ~exists().where(
                mine.c.comparison_id == comparison, mine.c.annotator_id == at.annotator_id
            ),
            ~exists().where(
                t.judgments.c.comparison_id == comparison,
                t.judgments.c.annotator_id == at.annotator_id,
                t.judgments.c.withdrawn.is_(None),
            ),
            ~exists().where(
                t.skips.c.comparison_id == comparison, t.skips.c.annotator_id == at.annotator_id
            ),
            ~wrote.exists(),
        )
        .order_by(slot.c.place, slot.c.k)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    if at.languages:
        query = query.where(or_(slot.c.language.is_(None), slot.c.language.in_(at.languages)))
    return query


def _take(connection: Connection, at: Desk, slot: Row[Any], now: int) -> Row[Any]:
    shown = order_shown(connection, slot.comparison_id, slot.k, at.settings.shuffle)
    lease = now + round(at.settings.lease_minutes * 60_000)
    connection.execute(
        update(t.slots)
        .where(t.slots.c.comparison_id == slot.comparison_id, t.slots.c.k == slot.k)
        .values(annotator_id=at.annotator_id, lease_until=lease, claimed=now, shown=shown)
    )
    connection.execute(
        update(t.memberships)
        .where(
            t.memberships.c.project_id == at.project_id,
            t.memberships.c.annotator_id == at.annotator_id,
        )
        .values(cursor=slot.place)
    )
    return connection.execute(
        select(t.slots).where(t.slots.c.comparison_id == slot.comparison_id, t.slots.c.k == slot.k)
    ).one()


def order_shown(connection: Connection, comparison_id: str, k: int, shuffle: bool) -> list[str]:
    """Ids of the responses in the order that slot k shows them.

    Permuted blocks: of four pairs in a row two begin with either response, in an order drawn by
    the block; the next slot of the same comparison begins with the next response, so every response
    stands first equally often over the slots.
    """
    ids = list(connection.scalars(
        select(t.comparison_responses.c.response_id)
        .where(t.comparison_responses.c.comparison_id == comparison_id)
        .order_by(t.comparison_responses.c.number)
    ))  # fmt: skip
    if not shuffle or len(ids) < 2:
        return ids
    row = connection.execute(
        select(t.comparisons.c.project_id, t.comparisons.c.number).where(
            t.comparisons.c.id == comparison_id
        )
    ).one()
    if len(ids) == 2:
        sides = [0, 0, 1, 1]
        _random(row.project_id, row.number // BLOCK).shuffle(sides)
        turn = sides[row.number % BLOCK]
    else:
        _random(row.project_id, row.number).shuffle(ids)
        turn = 0
    turn = (turn + k) % len(ids)
    return ids[turn:] + ids[:turn]


def _random(*parts: object) -> random.Random:
    digest = hashlib.sha256("\0".join(map(str, parts)).encode()).digest()
    return random.Random(int.from_bytes(digest[:8]))


# --- items whose answer is known ------------------------------------------------------------------


def _special(connection: Connection, at: Desk, now: int) -> Row[Any] | None:
    """A slot of a screening, training, gold or attention item where it is time for one.

    Screening comes first, and whoever misses too much of it is blocked. Training follows. Then one
    in ``gold_every``, and one in ``attention_every``, comparisons; where none is left it is work.
    """
    found = _next_special(connection, at, "screening")
    if found is None:
        found = _next_special(connection, at, "training")
    if found is None:
        done = _done(connection, at)
        for purpose, every in (
            ("gold", at.settings.gold_every),
            ("attention", at.settings.attention_every),
        ):
            if every and _is_due(at, purpose, done, every):
                found = _next_special(connection, at, purpose)
                if found is not None:
                    break
    if found is None:
        return None
    k = connection.scalar(
        select(func.coalesce(func.max(t.slots.c.k) + 1, 0)).where(t.slots.c.comparison_id == found)
    )
    shown = order_shown(connection, found, int(k or 0), at.settings.shuffle)
    lease = now + round(at.settings.lease_minutes * 60_000)
    connection.execute(
        insert(t.slots).values(
            comparison_id=found, k=k, project_id=at.project_id, place=0.0,
            annotator_id=at.annotator_id, lease_until=lease, claimed=now, shown=shown,
        )
    )  # fmt: skip
    return connection.execute(
        select(t.slots).where(t.slots.c.comparison_id == found, t.slots.c.k == k)
    ).one()


def _is_due(at: Desk, purpose: str, done: int, every: int) -> bool:
    """Once in each ``every`` comparisons, at a place in them that cannot be guessed."""
    place = _random(at.project_id, at.annotator_id, purpose, done // every).randrange(every)
    return done % every == place


def _next_special(connection: Connection, at: Desk, purpose: str) -> str | None:
    c = t.comparisons
    query = (
        select(c.c.id)
        .where(
            c.c.project_id == at.project_id,
            c.c.purpose == purpose,
            c.c.is_published,
            ~c.c.is_withdrawn,
            ~exists().where(
                t.slots.c.comparison_id == c.c.id, t.slots.c.annotator_id == at.annotator_id
            ),
            ~exists().where(
                t.skips.c.comparison_id == c.c.id, t.skips.c.annotator_id == at.annotator_id
            ),
        )
        .order_by(c.c.number)
        .limit(1)
    )
    if at.languages:
        query = query.where(or_(c.c.language.is_(None), c.c.language.in_(at.languages)))
    return connection.scalar(query)


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
    comparison = _comparison(connection, comparison_id)
    at = _member(connection, comparison.project_id, annotator_id)
    now = now_ms()
    slot = connection.execute(
        select(t.slots)
        .where(t.slots.c.comparison_id == comparison_id, t.slots.c.annotator_id == annotator_id)
        .with_for_update()
    ).one_or_none()
    order = _order(connection, comparison_id, slot, shown)
    rubric = rubric_of(connection, comparison.project_id, rubric_id)
    said = checked_answer(
        answer, comparison.kind, order, rubric.rubric, _steps_of(connection, comparison)
    )
    earlier = _standing(connection, comparison_id, annotator_id)
    if earlier is not None and comparison.purpose != "work":
        raise AccessError("answered", "This comparison was answered; it cannot be changed.")
    surplus = _fill(connection, comparison, slot, annotator_id, judgment_id, earlier, order, now)
    if earlier is not None:
        connection.execute(
            update(t.judgments).where(t.judgments.c.id == earlier.id).values(withdrawn=now)
        )
    expected = comparison.expected
    is_correct = matches(said, expected) if expected is not None else None
    claimed = slot.claimed if slot is not None and slot.claimed else now - max(active_ms, 0)
    connection.execute(
        insert(t.judgments).values(
            id=judgment_id, comparison_id=comparison_id, project_id=comparison.project_id,
            annotator_id=annotator_id, rubric_id=rubric.id, answer=said, shown=order,
            surplus=surplus, is_correct=is_correct, replaces=earlier.id if earlier else None,
            started=claimed, submitted=now, active_ms=min(max(int(active_ms), 0), 2**31 - 1),
        )
    )  # fmt: skip
    connection.execute(
        delete(t.drafts).where(
            t.drafts.c.comparison_id == comparison_id, t.drafts.c.annotator_id == annotator_id
        )
    )
    blocked = _check_quality(connection, at, comparison.purpose)
    detail = {"surplus": surplus} | ({"replaces": earlier.id} if earlier else {})
    record_event(
        connection, "judgment.submitted", judgment_id, actor_id=annotator_id,
        project_id=comparison.project_id, detail=detail | ({"blocked": True} if blocked else {}),
    )  # fmt: skip
    return Submitted(
        judgment_id, comparison_id, surplus, is_correct=_told(comparison, is_correct),
        expected=expected if comparison.purpose == "training" else None, blocked=blocked,
    )  # fmt: skip


def _told(comparison: Any, is_correct: bool | None) -> bool | None:
    """Only training says whether an answer was right: checks must not be recognised."""
    return is_correct if comparison.purpose == "training" else None


def _repeat(
    connection: Connection, annotator_id: str, judgment_id: str, comparison_id: str
) -> Submitted | None:
    row = connection.execute(
        select(
            t.judgments.c.annotator_id, t.judgments.c.comparison_id, t.judgments.c.surplus,
            t.judgments.c.is_correct, t.comparisons.c.purpose, t.comparisons.c.expected,
        )
        .join(t.comparisons, t.comparisons.c.id == t.judgments.c.comparison_id)
        .where(t.judgments.c.id == judgment_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    if row.annotator_id != annotator_id or row.comparison_id != comparison_id:
        raise AccessError("not-yours", f"Judgment {judgment_id} is another one.")
    return Submitted(
        judgment_id, comparison_id, row.surplus, is_repeat=True,
        is_correct=_told(row, row.is_correct),
        expected=row.expected if row.purpose == "training" else None,
    )  # fmt: skip


def _fill(
    connection: Connection,
    comparison: Row[Any],
    slot: Row[Any] | None,
    annotator_id: str,
    judgment_id: str,
    earlier: Row[Any] | None,
    order: list[str],
    now: int,
) -> bool:
    """Put the judgment into a slot; whether none was left for it."""
    values = {"judgment_id": judgment_id, "lease_until": None}
    if slot is not None:  # held, or filled by the earlier one
        _set(connection, slot, values)
        counts = slot.judgment_id is None
    elif comparison.purpose != "work" or comparison.is_withdrawn:
        return True
    else:
        free = connection.execute(
            select(t.slots)
            .where(
                t.slots.c.comparison_id == comparison.id,
                t.slots.c.judgment_id.is_(None),
                or_(t.slots.c.annotator_id.is_(None), t.slots.c.lease_until < now),
            )
            .order_by(t.slots.c.annotator_id.is_not(None), t.slots.c.k)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).one_or_none()
        if free is None:
            return True
        _set(connection, free, {**values, "annotator_id": annotator_id, "shown": order,
                                "claimed": now})  # fmt: skip
        counts = True
    if counts and comparison.purpose == "work":
        connection.execute(
            update(t.comparisons)
            .where(t.comparisons.c.id == comparison.id)
            .values(filled=t.comparisons.c.filled + 1)
        )
    return False


def _set(connection: Connection, slot: Row[Any], values: Mapping[str, Any]) -> None:
    connection.execute(
        update(t.slots)
        .where(t.slots.c.comparison_id == slot.comparison_id, t.slots.c.k == slot.k)
        .values(**values)
    )


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


def _standing(connection: Connection, comparison_id: str, annotator_id: str) -> Row[Any] | None:
    return connection.execute(
        select(t.judgments).where(
            t.judgments.c.comparison_id == comparison_id,
            t.judgments.c.annotator_id == annotator_id,
            t.judgments.c.withdrawn.is_(None),
        )
    ).one_or_none()


# --- what else an annotator does ------------------------------------------------------------------


def extend(connection: Connection, annotator_id: str, comparison_id: str) -> int | None:
    """Renew a lease, or take the comparison up again; until when, or None where it is others' now.

    Whoever is told None may still submit: the judgment is kept.
    """
    comparison = _comparison(connection, comparison_id)
    at = _member(connection, comparison.project_id, annotator_id)
    now = now_ms()
    lease = now + round(at.settings.lease_minutes * 60_000)
    mine = connection.execute(
        update(t.slots)
        .where(
            t.slots.c.comparison_id == comparison_id,
            t.slots.c.annotator_id == annotator_id,
            t.slots.c.judgment_id.is_(None),
        )
        .values(lease_until=lease)
    ).rowcount
    if mine:
        return lease
    has_draft = connection.scalar(
        select(exists().where(
            t.drafts.c.comparison_id == comparison_id, t.drafts.c.annotator_id == annotator_id
        ))
    )  # fmt: skip
    if not has_draft or comparison.is_withdrawn or comparison.purpose != "work":
        return None
    if _standing(connection, comparison_id, annotator_id) is not None:
        return None
    free = connection.execute(
        select(t.slots)
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


def release(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    """Give a held comparison back without a word; whether it was held."""
    return bool(
        connection.execute(
            update(t.slots)
            .where(
                t.slots.c.comparison_id == comparison_id,
                t.slots.c.annotator_id == annotator_id,
                t.slots.c.judgment_id.is_(None),
            )
            .values(annotator_id=None, lease_until=None, claimed=None, shown=None)
        ).rowcount
    )


def skip(connection: Connection, annotator_id: str, comparison_id: str, reason: str = "") -> None:
    """Pass a comparison over for good: its slot is another's, and it does not come again.

    Raises:
        AccessError: If the project forbids it, or the annotator does not hold it.
    """
    comparison = _comparison(connection, comparison_id)
    at = _member(connection, comparison.project_id, annotator_id)
    if not at.settings.allow_skip or comparison.purpose != "work":
        raise AccessError("no-skip", "This comparison cannot be skipped; give your best answer.")
    if not release(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
    connection.execute(
        insert(t.skips).values(
            comparison_id=comparison_id, annotator_id=annotator_id, reason=reason, at=now_ms()
        )
    )
    connection.execute(
        delete(t.drafts).where(
            t.drafts.c.comparison_id == comparison_id, t.drafts.c.annotator_id == annotator_id
        )
    )
    record_event(connection, "comparison.skipped", comparison_id, actor_id=annotator_id,
                 project_id=comparison.project_id, detail={"reason": reason})  # fmt: skip


def flag(connection: Connection, annotator_id: str, comparison_id: str, reason: str) -> str:
    """Say that something is wrong with a comparison, for a reviewer; the flag's id.

    Raises:
        AccessError: If the annotator has neither a slot nor a judgment of it.
    """
    comparison = _comparison(connection, comparison_id)
    _member(connection, comparison.project_id, annotator_id)
    if not _has_met(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
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


def _has_met(connection: Connection, annotator_id: str, comparison_id: str) -> bool:
    places = (t.slots, t.judgments, t.drafts)
    return any(
        connection.scalar(
            select(exists().where(
                place.c.comparison_id == comparison_id, place.c.annotator_id == annotator_id
            ))
        )
        for place in places
    )  # fmt: skip


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
    comparison = _comparison(connection, comparison_id)
    _member(connection, comparison.project_id, annotator_id)
    if not _has_met(connection, annotator_id, comparison_id):
        raise AccessError("not-held", "You do not hold this comparison.")
    row = connection.execute(
        select(t.drafts.c.revision).where(
            t.drafts.c.comparison_id == comparison_id, t.drafts.c.annotator_id == annotator_id
        ).with_for_update()
    ).one_or_none()  # fmt: skip
    values = {"answer": dict(answer), "active_ms": min(max(int(active_ms), 0), 2**31 - 1),
              "revision": revision, "saved": now_ms()}  # fmt: skip
    if row is None:
        key = {"comparison_id": comparison_id, "annotator_id": annotator_id}
        connection.execute(insert(t.drafts).values(**key, **values))
        return revision
    if revision > row.revision:
        connection.execute(
            update(t.drafts)
            .where(
                t.drafts.c.comparison_id == comparison_id, t.drafts.c.annotator_id == annotator_id
            )
            .values(**values)
        )
        return revision
    return int(row.revision)


def undo(connection: Connection, annotator_id: str, judgment_id: str) -> Assignment | None:
    """Take back one of the last judgments: it is withdrawn, and open again with its answer.

    Returns:
        The comparison, or None where it is done without this judgment (it was surplus).

    Raises:
        AccessError: If it is not one of the annotator's last, or is no work.
    """
    judgment = connection.execute(
        select(t.judgments).where(t.judgments.c.id == judgment_id)
    ).one_or_none()
    if judgment is None or judgment.annotator_id != annotator_id:
        raise AccessError("not-yours", "There is no such judgment of yours.")
    at = desk(connection, judgment.project_id, annotator_id)
    latest = list(connection.scalars(
        select(t.judgments.c.id)
        .where(
            t.judgments.c.project_id == judgment.project_id,
            t.judgments.c.annotator_id == annotator_id,
            t.judgments.c.withdrawn.is_(None),
        )
        .order_by(t.judgments.c.submitted.desc(), t.judgments.c.id.desc())
        .limit(UNDOABLE)
    ))  # fmt: skip
    comparison = _comparison(connection, judgment.comparison_id)
    if judgment_id not in latest or comparison.purpose != "work" or judgment.source != "person":
        raise AccessError("too-late", f"Only the last {UNDOABLE} judgments can be undone.")
    now = now_ms()
    connection.execute(
        update(t.judgments).where(t.judgments.c.id == judgment_id).values(withdrawn=now)
    )
    lease = now + round(at.settings.lease_minutes * 60_000)
    freed = connection.execute(
        update(t.slots)
        .where(t.slots.c.judgment_id == judgment_id)
        .where(t.slots.c.comparison_id == judgment.comparison_id)
        .values(judgment_id=None, lease_until=lease, claimed=now)
    ).rowcount
    if freed:
        connection.execute(
            update(t.comparisons)
            .where(t.comparisons.c.id == judgment.comparison_id)
            .values(filled=t.comparisons.c.filled - 1)
        )
    key = (t.drafts.c.comparison_id == judgment.comparison_id,
           t.drafts.c.annotator_id == annotator_id)  # fmt: skip
    connection.execute(delete(t.drafts).where(*key))
    connection.execute(
        insert(t.drafts).values(
            comparison_id=judgment.comparison_id, annotator_id=annotator_id,
            answer=judgment.answer, active_ms=judgment.active_ms, revision=1, saved=now,
        )
    )  # fmt: skip
    record_event(connection, "judgment.withdrawn", judgment_id, actor_id=annotator_id,
                 project_id=judgment.project_id)  # fmt: skip
    return opened(connection, annotator_id, judgment.comparison_id)


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
        return _assignment(connection, slot)
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
    return _assignment(connection, judgment)


# --- reading ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RubricVersion:
    """A rubric with its id."""

    id: str
    rubric: Rubric


def rubric_of(
    connection: Connection, project_id: str, rubric_id: str | None = None
) -> RubricVersion:
    """A version of a project's rubric, by default the latest.

    Raises:
        AccessError: If the project has no such version.
    """
    query = select(t.rubrics.c.id, t.rubrics.c.body).where(t.rubrics.c.project_id == project_id)
    if rubric_id is not None:
        query = query.where(t.rubrics.c.id == rubric_id)
    row = connection.execute(query.order_by(t.rubrics.c.version.desc()).limit(1)).one_or_none()
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


def _member(connection: Connection, project_id: str, annotator_id: str) -> Desk:
    """The desk, also of a blocked annotator or a paused project: finished work is taken."""
    row = connection.execute(
        select(t.projects.c.settings, t.memberships.c.cursor, t.annotators.c.languages)
        .join(t.memberships, t.memberships.c.project_id == t.projects.c.id)
        .join(t.annotators, t.annotators.c.id == t.memberships.c.annotator_id)
        .where(
            t.projects.c.id == project_id, t.annotators.c.id == annotator_id,
            t.annotators.c.is_active,
        )
    ).one_or_none()  # fmt: skip
    if row is None:
        raise AccessError("not-found", "There is no such comparison.")
    settings = ProjectSettings.from_dict(row.settings)
    return Desk(project_id, annotator_id, settings, tuple(row.languages), row.cursor)


def _steps_of(connection: Connection, comparison: Row[Any]) -> list[Mapping[str, Any]]:
    if comparison.kind != "steps":
        return []
    row = connection.scalar(
        select(t.responses.c.steps)
        .join(t.comparison_responses, t.comparison_responses.c.response_id == t.responses.c.id)
        .where(t.comparison_responses.c.comparison_id == comparison.id)
    )
    return list(row or ())


def _assignment(connection: Connection, held: Row[Any]) -> Assignment:
    """From a slot, or from a judgment that has none."""
    comparison = _comparison(connection, held.comparison_id)
    prompt = connection.scalar(
        select(t.prompts.c.messages).where(t.prompts.c.id == comparison.prompt_id)
    )
    found = {
        row.id: row
        for row in connection.execute(
            select(t.responses.c.id, t.responses.c.messages, t.responses.c.steps).where(
                t.responses.c.id.in_(held.shown)
            )
        )
    }
    draft = connection.execute(
        select(t.drafts).where(
            t.drafts.c.comparison_id == held.comparison_id,
            t.drafts.c.annotator_id == held.annotator_id,
        )
    ).one_or_none()
    judgment = _standing(connection, held.comparison_id, held.annotator_id)
    rubric = rubric_of(connection, comparison.project_id, judgment.rubric_id if judgment else None)
    answer = draft.answer if draft else judgment.answer if judgment else None
    fields = held._mapping
    return Assignment(
        comparison_id=held.comparison_id,
        project_id=comparison.project_id,
        kind=comparison.kind,
        prompt=as_messages(prompt or (), "user"),
        responses=tuple(
            Shown(
                i,
                as_messages(found[i].messages, "assistant"),
                tuple(found[i].steps) if found[i].steps is not None else None,
            )
            for i in held.shown
        ),
        rubric_id=rubric.id,
        rubric=rubric.rubric,
        lease_until=fields.get("lease_until"),
        claimed=fields.get("claimed") or fields.get("started") or now_ms(),
        draft=answer,
        draft_revision=draft.revision if draft else 0,
        active_ms=draft.active_ms if draft else judgment.active_ms if judgment else 0,
        feedback=comparison.purpose == "training",
    )
