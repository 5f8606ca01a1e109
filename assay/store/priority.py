"""The order of work: which comparisons are given out next.

What is most worth judging is said elsewhere, by an ensemble's disagreement (``assay select``); here
is its order taken over. Knows nothing of rewards.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from assay.errors import DataError, StoreError
from assay.formats.files import read_rows
from assay.store import tables as t
from assay.store.changing import move
from assay.store.events import record_event
from assay.store.store import PreferenceStore

BATCH = 500


def prioritise(
    store: PreferenceStore, project_id: str, order: Sequence[str], actor_id: str | None = None
) -> int:
    """Give out these comparisons next, in this order; the others follow in theirs.

    Those that are done, or are no work, are passed over. Everybody begins at the front again.

    Args:
        order: Ids, the most worth judging first.

    Returns:
        How many of them are open.

    Raises:
        StoreError: If one of them is not of this project; then nothing is changed.
    """
    return store.write(_prioritise, project_id, list(dict.fromkeys(order)), actor_id)


def _prioritise(
    connection: Connection, project_id: str, order: Sequence[str], actor_id: str | None
) -> int:
    c = t.comparisons.c
    known = set(connection.scalars(
        select(c.id).where(c.project_id == project_id, c.is_published)
    ))  # fmt: skip
    strange = [identity for identity in order if identity not in known]
    if strange:
        raise StoreError(
            f"{len(strange):,} of {len(order):,} comparisons ({strange[0]!r} first) are not of "
            "this project; give ids of its comparisons."
        )
    open_ones = list(connection.scalars(
        select(c.id).where(*_open(project_id)).order_by(c.place, c.number)
    ))  # fmt: skip
    is_open = set(open_ones)
    ahead = [identity for identity in order if identity in is_open]
    rest = set(ahead)
    # from 1, so that what is imported later, by its number, comes after
    turns = enumerate([*ahead, *(i for i in open_ones if i not in rest)], start=1)
    move(connection, project_id, {identity: float(turn) for turn, identity in turns})
    record_event(
        connection, "work.ordered", project_id, actor_id=actor_id, project_id=project_id,
        detail={"comparisons": len(ahead)},
    )  # fmt: skip
    return len(ahead)


def _open(project_id: str) -> tuple[Any, ...]:
    c = t.comparisons.c
    return (
        c.project_id == project_id, c.is_published, c.purpose == "work", ~c.is_withdrawn,
        c.filled < c.overlap,
    )  # fmt: skip


def open_rows(connection: Connection, project_id: str) -> Iterator[dict[str, Any]]:
    """The comparisons that still want judgments, as rows that ``assay select`` reads.

    Each has ``comparison_id``, ``prompt`` and ``responses``, and ``tools`` where there are any.
    Solutions are left out: they compare nothing.
    """
    c, p = t.comparisons.c, t.prompts.c
    query: Any = (
        select(c.id, c.number, p.messages, p.tools)
        .join(t.prompts, p.id == c.prompt_id)
        .where(*_open(project_id), c.kind != "steps")
        .order_by(c.number)
    )
    after = 0
    while batch := connection.execute(query.where(c.number > after).limit(BATCH)).all():
        after = batch[-1].number
        responses: dict[str, list[Any]] = {row.id: [] for row in batch}
        places = t.comparison_responses.c
        listed = connection.execute(
            select(places.comparison_id, t.responses.c.messages)
            .join(t.responses, t.responses.c.id == places.response_id)
            .where(places.comparison_id.in_(list(responses)))
            .order_by(places.comparison_id, places.number)
        )
        for place in listed:
            responses[place.comparison_id].append({"messages": place.messages})
        for row in batch:
            tools = {"tools": row.tools} if row.tools else {}
            yield {"comparison_id": row.id, "prompt": row.messages, **tools,
                   "responses": responses[row.id]}  # fmt: skip


def read_order(path: str | Path) -> list[str]:
    """Ids of comparisons from a file that ``assay select`` wrote of a project's comparisons.

    Raises:
        DataError: If a row names no comparison.
    """
    found = []
    for line, row in read_rows(str(path)):
        identity = row.get("comparison_id")
        if not isinstance(identity, str):
            raise DataError(
                f"{path} line {line}: 'comparison_id' is {json.dumps(identity)[:40]}; rows must "
                "name the comparisons that they are about."
            )
        found.append(identity)
    return found
