"""What a panel cannot settle, put before people in a collection project.

Needs the extra collect.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from assay.errors import DataError
from assay.feedback.judges.panel import ForPeople
from assay.store.changing import move
from assay.store.comparisons import Filter, listed
from assay.store.events import record_event
from assay.store.ids import digest_id
from assay.store.importing import Imported
from assay.store.records import NewComparison, NewResponse
from assay.store.store import PreferenceStore


def queue_for_people(
    store: PreferenceStore,
    project_id: str,
    wanted: Sequence[ForPeople],
    source: str,
    actor_id: str | None = None,
) -> Imported:
    """Put comparisons into a project, to be given out before what is there, most urgent first.

    The same ones put there again are not added again: then ``is_repeat``.

    Their place is minus the priority, so that a second batch is merged into the first, and
    everybody begins at the front again. What the panel thinks does not go with them: people are
    asked for their own opinion. ``extra`` has the item's ``id`` and ``why`` it was sent. What
    came from the project itself is not to be added again but to be put first there
    (:func:`assay.store.priority.prioritise`).

    Args:
        source: What they come from, for the project's record.

    Raises:
        DataError: If there are none, or one is not what a comparison must be; nothing is kept.
    """
    if not wanted:
        raise DataError("The panel disagrees on nothing above the threshold; nothing is queued.")
    rows = [project_id, *(one.to_row() for one in wanted)]
    found = store.add_comparisons(
        project_id, map(_new, wanted), source=source, actor_id=actor_id,
        import_id=digest_id(json.dumps(rows, sort_keys=True)),
    )  # fmt: skip
    if found.is_repeat:
        return found
    imported = Filter(import_id=found.id)
    queued = store.read(listed, project_id, imported, limit=len(wanted)).rows
    # whoever is past a place is not given another of the same place: no two are equal
    places = {
        new.id: new.number * _APART - one.priority for one, new in zip(wanted, queued, strict=True)
    }
    store.write(_place, project_id, places, actor_id)
    return found


def _place(
    connection: Connection, project_id: str, places: Mapping[str, float], actor_id: str | None
) -> None:
    move(connection, project_id, places)
    record_event(
        connection, "work.ordered", project_id, actor_id=actor_id, project_id=project_id,
        detail={"comparisons": len(places)},
    )  # fmt: skip


_APART = 1e-9
"""Between the places of two comparisons of the same priority."""


def _new(wanted: ForPeople) -> NewComparison:
    responses = tuple(
        NewResponse(response, model=model)
        for response, model in zip(wanted.item.responses, wanted.item.models, strict=True)
    )
    return NewComparison(
        wanted.item.prompt,
        responses,
        place=-wanted.priority,
        extra={"id": wanted.item.id, "why": f"panel: {wanted.why}"},
    )
