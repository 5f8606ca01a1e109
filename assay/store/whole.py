"""Comparisons as they leave the store: each with its responses and all that was said of it.

Read a page at a time from one state of the data, however many there are. Answers name responses by
number, as they were imported. Annotators have pseudonyms unless their names are asked for.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, select

from assay.store import tables as t
from assay.types import Messages, as_messages

PAGE = 400
_PSEUDONYM = re.compile(r"annotator-[0-9a-f]{12}\Z")
_NO_PERSON = re.compile(r"(?:imported |#)\d+\Z")


@dataclass(frozen=True, slots=True)
class Said:
    """A judgment, its answer naming responses by number. ``kind``: human, model or verifier."""

    id: str
    annotator: str
    kind: str
    answer: Mapping[str, Any]
    order: tuple[int, ...] | None = None
    """Responses as shown; None where nobody recorded it."""
    started: int | None = None
    submitted: int | None = None
    """None where nobody recorded it."""
    active_ms: int = 0
    surplus: bool = False
    withdrawn: int | None = None
    rubric: int | None = None
    """The version of the rubric."""
    is_correct: bool | None = None

    @property
    def counts(self) -> bool:
        """Whether it stands and was wanted."""
        return self.withdrawn is None and not self.surplus


@dataclass(frozen=True, slots=True)
class Written:
    """A response with all that is known of it."""

    id: str
    messages: Messages
    steps: tuple[Mapping[str, Any], ...] | None
    model: str | None
    author: str | None
    provenance: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """A comparison with all that belongs to it."""

    id: str
    number: int
    kind: str
    purpose: str
    overlap: int
    place: float
    language: str | None
    expected: Mapping[str, Any] | None
    extra: Mapping[str, Any]
    prompt: Messages
    tools: Sequence[Mapping[str, Any]] | None
    responses: tuple[Written, ...]
    judgments: tuple[Said, ...]
    decision: Said | None
    decision_note: str
    flags: tuple[Mapping[str, Any], ...]


class Names:
    """What annotators are called outside: their names, or pseudonyms that stay the same.

    A pseudonym is a keyed digest of the annotator's id. Its key is the digest of the entry that
    records how the project began, which only its administrators can see.
    """

    def __init__(self, connection: Connection, project_id: str, plain: bool):
        self._plain = plain
        found = connection.scalar(
            select(t.events.c.digest)
            .where(t.events.c.project_id == project_id)
            .order_by(t.events.c.seq)
            .limit(1)
        )
        self._key = f"{found or ''}{project_id}".encode()

    def of(self, annotator_id: str, name: str) -> str:
        """What an annotator is called."""
        # who is a pseudonym already, or nobody, stays what they are: a second export says the same
        if self._plain or _PSEUDONYM.match(name) or _NO_PERSON.match(name):
            return name
        digest = hmac.new(self._key, annotator_id.encode(), hashlib.sha256).hexdigest()
        return f"annotator-{digest[:12]}"


def whole_comparisons(
    connection: Connection, project_id: str, names: Names, numbers: tuple[int, int] | None = None
) -> Iterator[Whole]:
    """The comparisons of a project that were not withdrawn, in the order they came.

    Args:
        numbers: The first and last number. Default: all.
    """
    versions = {
        row.id: row.version
        for row in connection.execute(
            select(t.rubrics.c.id, t.rubrics.c.version).where(t.rubrics.c.project_id == project_id)
        )
    }
    c = t.comparisons
    last = 0 if numbers is None else numbers[0] - 1
    while True:
        query = select(c).where(
            c.c.project_id == project_id, c.c.is_published, ~c.c.is_withdrawn, c.c.number > last
        )
        if numbers is not None:
            query = query.where(c.c.number <= numbers[1])
        page = connection.execute(query.order_by(c.c.number).limit(PAGE)).all()
        if not page:
            return
        yield from _whole(connection, page, names, versions)
        last = page[-1].number


def _whole(
    connection: Connection, page: Sequence[Row[Any]], names: Names, versions: Mapping[str, int]
) -> Iterator[Whole]:
    ids = [row.id for row in page]
    prompts = {
        row.id: row
        for row in connection.execute(
            select(t.prompts.c.id, t.prompts.c.messages, t.prompts.c.tools).where(
                t.prompts.c.id.in_({row.prompt_id for row in page})
            )
        )
    }
    responses = _responses(connection, ids, names)
    judgments = _by_comparison(
        connection.execute(
            select(t.judgments, t.annotators.c.name)
            .join(t.annotators, t.annotators.c.id == t.judgments.c.annotator_id)
            .where(t.judgments.c.comparison_id.in_(ids), t.judgments.c.project_id.is_not(None))
        )
    )
    decisions = _by_comparison(
        connection.execute(
            select(t.decisions, t.annotators.c.name)
            .join(t.annotators, t.annotators.c.id == t.decisions.c.annotator_id)
            .where(t.decisions.c.comparison_id.in_(ids))
        )
    )
    flags = _by_comparison(
        connection.execute(
            select(t.flags, t.annotators.c.name)
            .join(t.annotators, t.annotators.c.id == t.flags.c.annotator_id)
            .where(t.flags.c.comparison_id.in_(ids))
            .order_by(t.flags.c.at, t.flags.c.id)
        )
    )
    for row in page:
        texts = responses[row.id]
        numbers = {r.id: i for i, (r, _) in enumerate(texts)}
        prompt = prompts[row.prompt_id]
        said = [_said(j, numbers, names, versions) for j in judgments[row.id]]
        decision = next(iter(decisions[row.id]), None)
        yield Whole(
            id=row.id, number=row.number, kind=row.kind, purpose=row.purpose, overlap=row.overlap,
            place=row.place, language=row.language,
            expected=None if row.expected is None else numbered(row.expected, numbers),
            extra=row.extra, prompt=as_messages(prompt.messages, "user"), tools=prompt.tools,
            responses=tuple(_written(r, author, names) for r, author in texts),
            judgments=tuple(sorted(said, key=_when)),
            decision=None if decision is None else Said(
                decision.comparison_id, names.of(decision.annotator_id, decision.name), "human",
                numbered(decision.answer, numbers), submitted=decision.decided,
            ),
            decision_note="" if decision is None else decision.note,
            flags=tuple({
                "annotator": names.of(f.annotator_id, f.name), "reason": f.reason, "at": f.at,
                "resolved": f.resolved,
            } for f in flags[row.id]),
        )  # fmt: skip


def _by_comparison(rows: Any) -> defaultdict[str, list[Row[Any]]]:
    found: defaultdict[str, list[Row[Any]]] = defaultdict(list)
    for row in rows:
        found[row.comparison_id].append(row)
    return found


def _responses(
    connection: Connection, ids: Sequence[str], names: Names
) -> defaultdict[str, list[tuple[Row[Any], str | None]]]:
    """Responses with their authors' names, in order, by comparison."""
    places = t.comparison_responses
    rows = connection.execute(
        select(places.c.comparison_id, t.responses, t.annotators.c.name.label("author"))
        .join(t.responses, t.responses.c.id == places.c.response_id)
        .outerjoin(t.annotators, t.annotators.c.id == t.responses.c.author_id)
        .where(places.c.comparison_id.in_(ids))
        .order_by(places.c.comparison_id, places.c.number)
    )
    found: defaultdict[str, list[tuple[Row[Any], str | None]]] = defaultdict(list)
    for row in rows:
        author = None if row.author is None else names.of(row.author_id, row.author)
        found[row.comparison_id].append((row, author))
    return found


def _written(row: Row[Any], author: str | None, names: Names) -> Written:
    provenance = dict(row.provenance)
    identity = provenance.pop("id", None) or row.id
    if isinstance(provenance.get("labels"), Mapping):  # of a labelled import: names like others
        provenance["labels"] = {
            who and names.of(who, who): label for who, label in provenance["labels"].items()
        }
    return Written(
        identity, as_messages(row.messages, "assistant"),
        None if row.steps is None else tuple(row.steps), row.model,
        author or provenance.pop("author", None), provenance,
    )  # fmt: skip


def _said(
    row: Row[Any], numbers: Mapping[str, int], names: Names, versions: Mapping[str, int]
) -> Said:
    answer = numbered(row.answer, numbers)
    origin = dict(answer.pop("origin", {}))
    unordered, undated = origin.pop("unordered", False), origin.pop("undated", False)
    identity = origin.pop("id", None) or row.id
    rubric = origin.pop("rubric", None)
    correct = origin.pop("is_correct", None)
    if origin:
        answer["origin"] = origin
    return Said(
        id=identity,
        annotator=names.of(row.annotator_id, row.name),
        kind=row.source if row.source in ("model", "verifier") else "human",
        answer=answer,
        order=None if unordered or len(numbers) < 2 else tuple(numbers[i] for i in row.shown),
        started=None if undated else row.started,
        submitted=None if undated else row.submitted,
        active_ms=row.active_ms,
        surplus=row.surplus,
        withdrawn=row.withdrawn,
        rubric=versions.get(row.rubric_id, rubric) if row.rubric_id else rubric,
        is_correct=correct if row.is_correct is None else row.is_correct,
    )


def _when(said: Said) -> tuple[int, str, int, str]:
    return said.submitted or 0, said.annotator, said.withdrawn or 0, said.id


def numbered(answer: Mapping[str, Any], numbers: Mapping[Any, int]) -> dict[str, Any]:
    """An answer that names responses by id, with their numbers in place of the ids."""

    def one(value: Any) -> Any:
        return None if value is None else numbers[value]

    found = dict(answer)
    for key in ("choice", "best"):
        if key in found:
            found[key] = one(found[key])
    if "groups" in found:
        found["groups"] = [[one(i) for i in group] for group in found["groups"]]
    if "unranked" in found:
        found["unranked"] = [one(i) for i in found["unranked"]]
    if found.get("acceptability"):
        accepted = found["acceptability"].items()
        found["acceptability"] = dict(sorted((one(i), v) for i, v in accepted))
    if found.get("dimensions"):
        found["dimensions"] = {
            label: _dimension(said, one) for label, said in found["dimensions"].items()
        }
    return found


def _dimension(value: Mapping[str, Any], one: Any) -> dict[str, Any]:
    said = dict(value)
    if "choice" in said:
        said["choice"] = one(said["choice"])
    if "ratings" in said:
        said["ratings"] = dict(sorted((one(i), v) for i, v in said["ratings"].items()))
    return said
