"""Comparisons into the store: all of them or none, and without keeping annotators waiting.

An import writes in batches, each a short transaction, what nobody can see yet; its last transaction
shows all of it at once. One that was killed is cleared away by the next, in batches too.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from sqlalchemy import Connection, delete, func, insert, literal, select, update

from assay.errors import DataError, StoreError
from assay.store import tables as t
from assay.store.database import Database, now_ms
from assay.store.events import record_event
from assay.store.ids import new_id
from assay.store.leaks import leak_in
from assay.store.records import NewComparison, NewJudgment, NewResponse, ProjectSettings

BATCH = 500
STALE_MS = 120_000
"""An import that wrote nothing for so long is taken to be dead."""
DOOMED = 0
"""In place of the time an import was last touched: it is being cleared away."""
MOST_OVERLAP = 100
MOST_LANGUAGE = 35
MOST_INT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import."""

    id: str
    comparisons: int
    responses: int
    judgments: int
    leaks: int
    """Responses that may give their model away."""

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
) -> Imported:
    """Take comparisons from a stream of any length into a project.

    Args:
        counts: What else is to be recorded when the stream has ended: rows left out, and why.
        progress: Called with the number of comparisons written by now.

    Raises:
        DataError: If one of them is not what a comparison must be; nothing is kept.
        StoreError: If another import into the project is under way.
    """
    import_id = new_id()
    _clear_dead(database, project_id)
    settings, number = database.write(lambda c: _begin(c, project_id, import_id, source, format))
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
        # where this fails too, as on a full disk, the next import does it
        with suppress(StoreError):
            discard(database, import_id)
        raise
    return found


def _begin(
    connection: Connection, project_id: str, import_id: str, source: str, format: str
) -> tuple[ProjectSettings, int]:
    settings = connection.scalar(
        select(t.projects.c.settings).where(t.projects.c.id == project_id).with_for_update()
    )
    if settings is None:
        raise StoreError("There is no such project.")
    now = now_ms()
    others = connection.execute(
        select(t.imports.c.id, t.imports.c.source).where(
            t.imports.c.project_id == project_id, t.imports.c.state == "staging"
        )
    ).all()
    is_repeat = any(other.id == import_id for other in others)
    if others and not is_repeat:
        raise StoreError(
            f"An import of {others[0].source} into this project is under way; try again when it is "
            "done, or, if it was killed, in two minutes."
        )
    if not is_repeat:
        connection.execute(
            insert(t.imports).values(
                id=import_id, project_id=project_id, source=source[:500], format=format[:40],
                counts={}, state="staging", created=now, touched=now,
            )
        )  # fmt: skip
    last = connection.scalar(
        select(func.max(t.comparisons.c.number)).where(t.comparisons.c.project_id == project_id)
    )
    return ProjectSettings.from_dict(settings), int(last or 0) + 1


def _insert(
    connection: Connection,
    import_id: str,
    rows: Mapping[str, list[dict[str, Any]]],
    writer: _Writer,
) -> None:
    here = (t.imports.c.id == import_id, t.imports.c.touched > DOOMED)
    touched = connection.execute(update(t.imports).where(*here).values(touched=now_ms())).rowcount
    if not touched:
        raise StoreError("The import took too long between two rows and was cleared away.")
    first = rows["comparisons"][0]["id"]
    if connection.scalar(select(t.comparisons.c.id).where(t.comparisons.c.id == first)):
        return  # a commit whose answer was lost
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
    column = t.annotators.c.name
    known = {
        row.name.lower(): row.id
        for row in connection.execute(
            select(column, t.annotators.c.id).where(
                func.lower(column).in_([func.lower(name) for name in sorted(names)])
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
    state = connection.scalar(
        select(t.imports.c.state).where(t.imports.c.id == import_id, t.imports.c.touched > DOOMED)
        .with_for_update()
    )  # fmt: skip
    if state is None:
        raise StoreError("The import took too long and was cleared away; try again.")
    if state == "done":
        return  # a commit whose answer was lost
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


def discard(database: Database, import_id: str) -> None:
    """Clear away an import that did not end; nothing of it was ever seen."""
    if database.write(lambda c: _doom(c, import_id, now_ms() + STALE_MS)):
        while database.write(lambda c: _clear_some(c, import_id)):
            pass


def _clear_dead(database: Database, project_id: str) -> None:
    """Clear away the imports into a project that were killed."""
    limit = now_ms() - STALE_MS
    dead = select(t.imports.c.id).where(
        t.imports.c.project_id == project_id,
        t.imports.c.state == "staging",
        t.imports.c.touched < limit,
    )
    for import_id in database.read(lambda c: list(c.scalars(dead))):
        if database.write(partial(_doom, import_id=import_id, before=limit)):
            while database.write(partial(_clear_some, import_id=import_id)):
                pass


def _doom(connection: Connection, import_id: str, before: int) -> bool:
    """Keep an unfinished import from going on, if it was last touched before then."""
    i = t.imports.c
    here = (i.id == import_id, i.state == "staging", i.touched < before)
    return bool(connection.execute(update(t.imports).where(*here).values(touched=DOOMED)).rowcount)


def _clear_some(connection: Connection, import_id: str) -> bool:
    """Delete a batch of a doomed import, and at last the import; whether there may be more."""
    some = connection.execute(
        select(t.comparisons.c.id, t.comparisons.c.prompt_id)
        .where(t.comparisons.c.import_id == import_id)
        .limit(BATCH)
    ).all()
    if not some:
        connection.execute(delete(t.imports).where(t.imports.c.id == import_id))
        return False
    ids, prompts = [row.id for row in some], sorted({row.prompt_id for row in some})
    places = t.comparison_responses
    responses = list(connection.scalars(
        select(places.c.response_id).where(places.c.comparison_id.in_(ids))
    ))  # fmt: skip
    connection.execute(delete(t.judgments).where(t.judgments.c.comparison_id.in_(ids)))
    connection.execute(delete(places).where(places.c.comparison_id.in_(ids)))
    connection.execute(delete(t.comparisons).where(t.comparisons.c.id.in_(ids)))
    connection.execute(delete(t.responses).where(t.responses.c.id.in_(responses)))
    used = select(t.comparisons.c.prompt_id).where(t.comparisons.c.prompt_id.in_(prompts))
    connection.execute(
        delete(t.prompts).where(t.prompts.c.id.in_(prompts), t.prompts.c.id.not_in(used))
    )
    return True


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
        where = f"comparison {number}"
        _check(new, where)
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
            "expected": None if new.expected is None else named(new.expected, ids, where),
            "is_withdrawn": False, "created": now,
        })  # fmt: skip
        out["places"] += [
            {"comparison_id": comparison_id, "number": i, "response_id": r}
            for i, r in enumerate(ids)
        ]
        for at, said in enumerate(new.judgments):
            submitted = said.submitted if said.submitted is not None else now
            active_ms = min(max(said.active_ms, 0), MOST_INT)
            out["judgments"].append({
                "id": new_id(), "comparison_id": comparison_id, "project_id": None,
                "annotator": _annotator(said, at), "source": said.source,
                "answer": named(said.answer, ids, where), "surplus": False,
                "shown": [_named(i, ids, where) for i in said.shown] if said.shown else ids,
                "started": submitted - active_ms, "submitted": submitted, "active_ms": active_ms,
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


def _annotator(judgment: NewJudgment, number: int) -> str:
    return judgment.annotator or f"imported {number + 1}"


def _check(new: NewComparison, where: str) -> None:
    """Refuse what is no comparison.

    Raises:
        DataError: With where it is.
    """
    _check_shape(new, where)
    if new.purpose not in t.PURPOSES:
        raise DataError(f"{where}: a purpose is one of {', '.join(t.PURPOSES)}, not {new.purpose}.")
    if new.purpose != "work" and new.expected is None:
        raise DataError(f"{where}: a {new.purpose} item has an expected answer.")
    if new.overlap is not None and not 1 <= new.overlap <= MOST_OVERLAP:
        raise DataError(f"{where}: the overlap is 1 to {MOST_OVERLAP}, not {new.overlap}.")
    if new.place is not None and not math.isfinite(new.place):
        raise DataError(f"{where}: a place is a number, not {new.place}.")
    if new.language is not None and len(new.language) > MOST_LANGUAGE:
        raise DataError(f"{where}: a language is a tag such as 'de', not {new.language[:40]!r}.")
    texts = [_text([m.to_dict() for m in response.messages]) for response in new.responses]
    if len(set(texts)) < len(texts):
        raise DataError(f"{where}: two responses are the same.")
    names = [_annotator(said, i).lower() for i, said in enumerate(new.judgments)]
    if len(set(names)) < len(names):
        raise DataError(f"{where}: an annotator has two judgments of it.")
    _check_text(new, texts, where)


def _check_shape(new: NewComparison, where: str) -> None:
    count = len(new.responses)
    if new.kind not in t.KINDS:
        raise DataError(f"{where}: a kind is one of {', '.join(t.KINDS)}, not {new.kind}.")
    if new.kind == "pair" and count != 2:
        raise DataError(f"{where}: a pair has 2 responses, not {count}.")
    if new.kind == "ranking" and not 2 <= count <= 26:
        raise DataError(f"{where}: a ranking has 2 to 26 responses, not {count}.")
    if new.kind == "steps" and (count != 1 or not new.responses[0].steps):
        raise DataError(f"{where}: a solution is one response in steps.")
    if not new.prompt and new.kind != "steps":
        raise DataError(f"{where}: the prompt is empty.")


def _check_text(new: NewComparison, texts: Sequence[str], where: str) -> None:
    """Refuse what PostgreSQL does not store, on SQLite too: a store can be moved."""
    others = [
        [m.to_dict() for m in new.prompt], new.tools, dict(new.extra), new.expected, new.language,
        [[r.model, dict(r.provenance), r.steps] for r in new.responses],
        [[said.annotator, said.answer] for said in new.judgments],
    ]  # fmt: skip
    for text in (*texts, _text(others)):
        if "\\u0000" in text and _has_zero(json.loads(text)):
            raise DataError(f"{where}: a text holds the zero character, which no database stores.")
        if not text.isascii() and _has_surrogate(text):
            raise DataError(f"{where}: a text holds half a character (a lone surrogate).")


def _has_zero(value: Any) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_has_zero(key) or _has_zero(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_zero, value))


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=_plain)


def _plain(value: Any) -> Any:
    """Of what JSON has no word for: mappings and sequences of other classes."""
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Sequence):
        return list(value)
    raise DataError(f"A comparison holds {type(value).__name__}, which JSON does not.")


def _named(number: Any, ids: Sequence[str], where: str) -> str:
    if isinstance(number, int) and not isinstance(number, bool) and 0 <= number < len(ids):
        return ids[number]
    raise DataError(f"{where}: an answer names response {number!r}; there are {len(ids)}, from 0.")


def named(answer: Mapping[str, Any], ids: Sequence[str], where: str = "it") -> dict[str, Any]:
    """An answer that names responses by number, with their ids in place of the numbers.

    Raises:
        DataError: If it names one that is not there.
    """

    def one(value: Any) -> str | None:
        return None if value is None else _named(value, ids, where)

    def key(value: Any) -> str:
        return _named(int(value) if str(value).isdecimal() else value, ids, where)

    found = dict(answer)
    for name in ("choice", "best"):
        if name in found:
            found[name] = one(found[name])
    if "groups" in found:
        found["groups"] = [[one(i) for i in group] for group in found["groups"]]
    if "unranked" in found:
        found["unranked"] = [one(i) for i in found["unranked"]]
    if found.get("acceptability"):
        found["acceptability"] = {key(i): v for i, v in found["acceptability"].items()}
    dimensions = {}
    for name, value in (found.get("dimensions") or {}).items():
        said = dict(value)
        if "choice" in said:
            said["choice"] = one(said["choice"])
        if "ratings" in said:
            said["ratings"] = {key(i): v for i, v in said["ratings"].items()}
        dimensions[name] = said
    if dimensions:
        found["dimensions"] = dimensions
    return found
