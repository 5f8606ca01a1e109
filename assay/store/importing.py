"""Comparisons into the store: all of them or none, and without keeping annotators waiting.

An import writes in batches, each a short transaction, what nobody can see yet; its last transaction
shows all of it at once. One that was killed is cleared away by the next.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, or_, select, update

from assay.errors import DataError, StoreError
from assay.store import tables as t
from assay.store.database import Database, now_ms
from assay.store.events import record_event
from assay.store.ids import checked_id, new_id
from assay.store.leaks import leak_in
from assay.store.records import NewComparison, NewResponse, ProjectSettings
from assay.types import Messages

BATCH = 500
STALE_MS = 120_000
"""An import that wrote nothing for so long is taken to be dead."""


class ImportBusyError(StoreError):
    """Another import into the project is under way."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    id: str
    comparisons: int
    responses: int
    judgments: int
    leaks: int
    """Responses that may give their model away."""
    is_repeat: bool = False
    """Whether it was done before, and nothing was added now."""

    def __str__(self) -> str:
        text = f"{self.comparisons:,} comparisons with {self.responses:,} responses"
        if self.judgments:
            text += f" and {self.judgments:,} judgments"
        if self.leaks:
            text += f"; {self.leaks:,} responses may name their model"
        return text


def add_comparisons(
    database: Database,
    project_id: str,
    comparisons: Iterable[NewComparison],
    *,
    source: str,
    format: str = "assay",
    actor_id: str | None = None,
    counts: Callable[[], Mapping[str, int]] | None = None,
    progress: Callable[[int], None] | None = None,
    import_id: str | None = None,
) -> Imported:
    """Take comparisons from a stream of any length into a project.

    Args:
        import_id: A fresh id of the caller's. Called again with it, an import that was done is not
            done again: what it gave is told.
        counts: What else is to be recorded when the stream has ended: rows left out, and why.
        progress: Called with the number of comparisons written by now.

    Raises:
        DataError: If one of them is not what a comparison must be; nothing is kept.
        ImportBusyError: If another import into the project is under way.
        StoreError: If there is no such project, or the id is another import's.
    """
    import_id = new_id() if import_id is None else checked_id(import_id, "import_id")
    begun = database.write(lambda c: _begin(c, project_id, import_id, source, format))
    if isinstance(begun, Imported):
        return begun
    settings, number = begun
    writer = _Writer(project_id, import_id, settings, number)
    stream = iter(comparisons)
    try:
        while batch := list(islice(stream, BATCH)):
            rows = writer.rows(batch)
            database.write(partial(_insert, import_id=import_id, rows=rows, writer=writer))
            writer.written += len(batch)
            if progress:
                progress(writer.written)
        if not writer.written:
            raise DataError(f"{source} holds no comparison.")
        found = writer.imported()
        said = {**(counts() if counts else {}), **writer.counts}
        database.write(lambda c: _publish(c, project_id, import_id, found, said, actor_id))
    except BaseException:
        database.write(lambda c: discard(c, import_id))
        raise
    return found


def _begin(
    connection: Connection, project_id: str, import_id: str, source: str, format: str
) -> tuple[ProjectSettings, int] | Imported:
    settings = connection.scalar(
        select(t.projects.c.settings).where(t.projects.c.id == project_id).with_for_update()
    )
    if settings is None:
        raise StoreError("There is no such project.")
    done = _done(connection, project_id, import_id)
    if done is not None:
        return done
    now = now_ms()
    others = connection.execute(
        select(t.imports.c.id, t.imports.c.source, t.imports.c.touched).where(
            t.imports.c.project_id == project_id, t.imports.c.state == "staging"
        )
    ).all()
    for other in others:
        if other.touched > now - STALE_MS:
            raise ImportBusyError(
                f"An import of {other.source} into this project is under way; try again when it "
                "is done."
            )
        discard(connection, other.id)
    connection.execute(
        insert(t.imports).values(
            id=import_id, project_id=project_id, source=source[:500], format=format, counts={},
            state="staging", created=now, touched=now,
        )
    )  # fmt: skip
    last = connection.scalar(
        select(func.max(t.comparisons.c.number)).where(t.comparisons.c.project_id == project_id)
    )
    return ProjectSettings.from_dict(settings), int(last or 0) + 1


def _done(connection: Connection, project_id: str, import_id: str) -> Imported | None:
    """What an import gave that was done before under this id."""
    row = connection.execute(
        select(t.imports.c.project_id, t.imports.c.counts, t.imports.c.state).where(
            t.imports.c.id == import_id
        )
    ).one_or_none()
    if row is not None and row.project_id != project_id:
        raise StoreError(f"The import {import_id} is one of another project; give a fresh id.")
    if row is None or row.state != "done":
        return None
    count = connection.scalar(
        select(func.count()).where(t.comparisons.c.import_id == import_id)
    )  # fmt: skip
    had = row.counts
    return Imported(
        import_id, int(count or 0), had.get("responses", 0), had.get("judgments", 0),
        had.get("leaks", 0), is_repeat=True,
    )  # fmt: skip


def _insert(
    connection: Connection,
    import_id: str,
    rows: Mapping[str, list[dict[str, Any]]],
    writer: _Writer,
) -> None:
    now = now_ms()
    touched = connection.execute(
        update(t.imports).where(t.imports.c.id == import_id).values(touched=now)
    ).rowcount
    if not touched:
        raise StoreError("The import took too long between two rows and was cleared away.")
    prompts = _known_prompts(connection, writer.project_id, rows["prompts"])
    comparisons = [
        {**row, "prompt_id": prompts.get(row["prompt_id"], row["prompt_id"])}
        for row in rows["comparisons"]
    ]
    responses = [
        {**row, "prompt_id": prompts.get(row["prompt_id"], row["prompt_id"])}
        for row in rows["responses"]
    ]
    fresh = [row for row in rows["prompts"] if row["id"] not in prompts]
    judgments = _with_annotators(connection, rows["judgments"])
    for table, values in (
        (t.prompts, fresh), (t.responses, responses), (t.comparisons, comparisons),
        (t.comparison_responses, rows["places"]), (t.judgments, judgments),
    ):  # fmt: skip
        if values:
            connection.execute(insert(table), values)


def _known_prompts(
    connection: Connection, project_id: str, rows: Sequence[Mapping[str, Any]]
) -> dict[str, str]:
    """New ids of prompts to the ids of equal ones that are stored."""
    ids = {row["digest"]: row["id"] for row in rows}
    stored = connection.execute(
        select(t.prompts.c.digest, t.prompts.c.id).where(
            t.prompts.c.project_id == project_id, t.prompts.c.digest.in_(list(ids))
        )
    )
    return {ids[row.digest]: row.id for row in stored}


def _with_annotators(
    connection: Connection, rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Judgments with the ids of the annotators they name, who are added where they are unknown."""
    from assay.store.people import add_annotator

    names = {row["annotator"] for row in rows}
    if not names:
        return []
    lowered = {name.lower() for name in names}
    known = {
        row.name.lower(): row.id
        for row in connection.execute(
            # SQLite's lower() leaves letters alone that are not ASCII
            select(t.annotators.c.name, t.annotators.c.id).where(
                or_(
                    func.lower(t.annotators.c.name).in_(list(lowered)),
                    t.annotators.c.name.in_(list(names)),
                )
            )
        )
    }
    for name in sorted(names):
        if name.lower() not in known:
            known[name.lower()] = add_annotator(connection, name, is_active=False)
    return [
        {**{k: v for k, v in row.items() if k != "annotator"},
         "annotator_id": known[row["annotator"].lower()]}
        for row in rows
    ]  # fmt: skip


def _publish(
    connection: Connection,
    project_id: str,
    import_id: str,
    found: Imported,
    counts: Mapping[str, int],
    actor_id: str | None,
) -> None:
    c = t.comparisons
    mine = c.c.import_id == import_id
    connection.execute(update(c).where(mine).values(is_published=True))
    most = int(connection.scalar(select(func.max(c.c.overlap)).where(mine)) or 0)
    for k in range(most):
        connection.execute(
            insert(t.slots).from_select(
                ["comparison_id", "k", "project_id", "place", "language"],
                select(c.c.id, literal(k), c.c.project_id, c.c.place, c.c.language).where(
                    mine, c.c.overlap > k, c.c.purpose == "work"
                ),
            )
        )
    own = select(c.c.id).where(mine)
    connection.execute(
        update(t.judgments)
        .where(t.judgments.c.comparison_id.in_(own), t.judgments.c.project_id.is_(None))
        .values(project_id=project_id)
    )
    connection.execute(
        update(t.imports)
        .where(t.imports.c.id == import_id)
        .values(state="done", counts=dict(counts), touched=now_ms())
    )
    record_event(
        connection, "comparisons.imported", import_id, actor_id=actor_id, project_id=project_id,
        detail={"comparisons": found.comparisons, "judgments": found.judgments},
    )  # fmt: skip


def discard(connection: Connection, import_id: str) -> None:
    """Clear away an import that did not end; nothing of it was ever seen."""
    state = connection.scalar(select(t.imports.c.state).where(t.imports.c.id == import_id))
    if state != "staging":
        return
    own = select(t.comparisons.c.id).where(t.comparisons.c.import_id == import_id)
    places = t.comparison_responses
    of_these = select(places.c.response_id).where(places.c.comparison_id.in_(own))
    responses = list(connection.scalars(of_these))
    connection.execute(delete(t.judgments).where(t.judgments.c.comparison_id.in_(own)))
    connection.execute(delete(places).where(places.c.comparison_id.in_(own)))
    prompts = list(connection.scalars(
        select(t.comparisons.c.prompt_id).where(t.comparisons.c.import_id == import_id).distinct()
    ))  # fmt: skip
    connection.execute(delete(t.comparisons).where(t.comparisons.c.import_id == import_id))
    for start in range(0, len(responses), BATCH):
        some = responses[start : start + BATCH]
        connection.execute(delete(t.responses).where(t.responses.c.id.in_(some)))
    for start in range(0, len(prompts), BATCH):
        some = prompts[start : start + BATCH]
        used = select(t.comparisons.c.prompt_id).where(t.comparisons.c.prompt_id.in_(some))
        connection.execute(
            delete(t.prompts).where(t.prompts.c.id.in_(some), t.prompts.c.id.not_in(used))
        )
    connection.execute(delete(t.imports).where(t.imports.c.id == import_id))


class _Writer:
    """From new comparisons to rows of tables."""

    def __init__(self, project_id: str, import_id: str, settings: ProjectSettings, number: int):
        self.project_id, self.import_id, self.settings = project_id, import_id, settings
        self.number = number
        self.counts: Counter[str] = Counter()
        self.written = 0
        self._prompts: dict[str, str] = {}

    def imported(self) -> Imported:
        """What was written."""
        return Imported(
            self.import_id, self.written, self.counts["responses"], self.counts["judgments"],
            self.counts["leaks"],
        )  # fmt: skip

    def rows(self, batch: Sequence[NewComparison]) -> dict[str, list[dict[str, Any]]]:
        """Rows of a batch, by table."""
        out: dict[str, list[dict[str, Any]]] = {
            "prompts": [], "responses": [], "comparisons": [], "places": [], "judgments": []
        }  # fmt: skip
        self._prompts = {}
        for comparison in batch:
            self._add(comparison, out)
        return out

    def _add(self, new: NewComparison, out: dict[str, list[dict[str, Any]]]) -> None:
        number, now = self.number, now_ms()
        self.number += 1
        _check(new, f"comparison {number}")
        prompt_id = self._prompt(new, out["prompts"])
        comparison_id = new_id()
        ids = [self._response(prompt_id, r, out["responses"]) for r in new.responses]
        self.counts["responses"] += len(ids)
        is_work = new.purpose == "work"
        out["comparisons"].append({
            "id": comparison_id, "project_id": self.project_id, "prompt_id": prompt_id,
            "import_id": self.import_id, "number": number, "kind": new.kind,
            "purpose": new.purpose,
            "overlap": (new.overlap or self.settings.overlap) if is_work else 0, "filled": 0,
            "place": float(number if new.place is None else new.place),
            "language": new.language, "extra": dict(new.extra), "is_published": False,
            "expected": named(new.expected, ids) if new.expected is not None else None,
            "is_withdrawn": False, "created": now,
        })  # fmt: skip
        out["places"] += [
            {"comparison_id": comparison_id, "number": i, "response_id": r}
            for i, r in enumerate(ids)
        ]
        for at, said in enumerate(new.judgments):
            submitted = said.submitted if said.submitted is not None else now
            shown = [ids[i] for i in said.shown] if said.shown else ids
            out["judgments"].append({
                "id": new_id(), "comparison_id": comparison_id, "project_id": None,
                "annotator": said.annotator or f"imported {at + 1}", "source": said.source,
                "answer": named(said.answer, ids), "shown": shown, "surplus": said.surplus,
                "started": submitted - said.active_ms if said.started is None else said.started,
                "submitted": submitted, "active_ms": said.active_ms,
                "withdrawn": said.withdrawn,
            })  # fmt: skip
            self.counts["judgments"] += 1

    def _prompt(self, new: NewComparison, out: list[dict[str, Any]]) -> str:
        messages = [m.to_dict() for m in new.prompt]
        tools = [dict(tool) for tool in new.tools] if new.tools else None
        text = json.dumps([messages, tools], sort_keys=True, ensure_ascii=False)
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if digest not in self._prompts:
            self._prompts[digest] = new_id()
            out.append({
                "id": self._prompts[digest], "project_id": self.project_id, "digest": digest,
                "messages": messages, "tools": tools,
            })  # fmt: skip
        return self._prompts[digest]

    def _response(self, prompt_id: str, new: NewResponse, out: list[dict[str, Any]]) -> str:
        leak = leak_in(new.messages, new.model)
        self.counts["leaks"] += leak is not None
        steps = None if new.steps is None else [
            {"text": str(s["text"]), **({"alternatives": [str(a) for a in s["alternatives"]]}
                                        if s.get("alternatives") else {})}
            for s in new.steps
        ]  # fmt: skip
        identity = new_id()
        out.append({
            "id": identity, "prompt_id": prompt_id,
            "messages": [m.to_dict() for m in new.messages], "steps": steps, "model": new.model,
            "author_id": new.author_id, "leak": leak, "provenance": dict(new.provenance),
        })  # fmt: skip
        return identity


def _check(new: NewComparison, where: str) -> None:
    count = len(new.responses)
    if new.kind == "pair" and count != 2:
        raise DataError(f"{where}: a pair has 2 responses, not {count}.")
    if new.kind == "ranking" and not 2 <= count <= 26:
        raise DataError(f"{where}: a ranking has 2 to 26 responses, not {count}.")
    if new.kind == "steps" and (count != 1 or not new.responses[0].steps):
        raise DataError(f"{where}: a solution is one response in steps.")
    if not new.prompt and new.kind != "steps":
        raise DataError(f"{where}: the prompt is empty.")
    if new.purpose != "work" and new.expected is None:
        raise DataError(f"{where}: a {new.purpose} item has an expected answer.")
    texts = [_text(r.messages) for r in new.responses]
    if len(set(texts)) < len(texts):
        raise DataError(f"{where}: two responses are the same.")
    if any("\x00" in text for text in (*texts, _text(new.prompt))):
        raise DataError(f"{where}: a text holds the zero character, which no database stores.")


def _text(messages: Messages) -> str:
    return json.dumps([m.to_dict() for m in messages], sort_keys=True, ensure_ascii=False)


def named(answer: Mapping[str, Any], ids: Sequence[str]) -> dict[str, Any]:
    """An answer that names responses by number, with their ids in place of the numbers."""

    def one(value: Any) -> Any:
        return None if value is None else ids[value]

    found = dict(answer)
    for key in ("choice", "best"):
        if key in found:
            found[key] = one(found[key])
    for key in ("groups",):
        if key in found:
            found[key] = [[one(i) for i in group] for group in found[key]]
    if "unranked" in found:
        found["unranked"] = [one(i) for i in found["unranked"]]
    if found.get("acceptability"):
        found["acceptability"] = {one(int(i)): v for i, v in found["acceptability"].items()}
    dimensions = {}
    for name, value in (found.get("dimensions") or {}).items():
        said = dict(value)
        if "choice" in said:
            said["choice"] = one(said["choice"])
        if "ratings" in said:
            said["ratings"] = {one(int(i)): v for i, v in said["ratings"].items()}
        dimensions[name] = said
    if dimensions:
        found["dimensions"] = dimensions
    return found
