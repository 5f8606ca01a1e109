"""Assay's flat table: a row for each response, judgment or step of a comparison."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from assay.formats.fields import (
    Row,
    RowError,
    name,
    number,
    prompt,
    required,
    response,
    shown,
    turns,
)
from assay.store.presets import PRESETS, VERSION
from assay.store.records import NewComparison, NewJudgment, NewResponse
from assay.store.rows_columns import response_columns
from assay.store.rows_parts import (
    Parsed,
    Part,
    annotator_in,
    dimensions_in,
    order_in,
    pair_answer,
    ranking_answer,
    time_ms,
    tools_in,
    whole,
)


def is_flat(row: Row) -> bool:
    """Whether a row is one of Assay's own table: a judgment a row."""
    return row.get("kind") in ("pair", "ranking")


def flat(row: Row) -> Parsed:
    """A row of Assay's table; the judgments of a comparison stand in neighbouring rows."""
    about = ("id", "subset", "kind", "language", "prompt", "tools", "extra", *response_columns(row),
             *(key for key in row if str(key).startswith("model_")))  # fmt: skip
    key = json.dumps([(one, row.get(one)) for one in about], default=str)
    return [Part(("flat", key), row, _join_flat, once=row.get("annotator"))]


def _join_flat(rows: Sequence[Row]) -> NewComparison:
    first = rows[0]
    keys = response_columns(first)
    count = len(keys)
    responses = [
        NewResponse(
            response(turns(required(first, key), key, "assistant"), key),
            model=name(first, f"model_{i}"),
        )
        for i, key in enumerate(keys, start=1)
    ]
    judgments = [_flat_judgment(row, count) for row in rows if row.get("choice") is not None
                 or row.get("ranking") is not None]  # fmt: skip
    extra = first.get("extra")
    identity = {k: first[k] for k in ("id", "subset") if first.get(k) is not None}
    return NewComparison(
        prompt(first), tuple(responses), kind=first["kind"], judgments=tuple(judgments),
        extra=identity | (dict(extra) if isinstance(extra, Mapping) else {}), tools=tools_in(first),
        language=name(first, "language"),
    )  # fmt: skip


def _flat_judgment(row: Row, count: int) -> NewJudgment:
    """Places in the table count from 1, as its columns do."""

    def places(key: str) -> Any:
        value = row.get(key)
        if isinstance(value, str):
            value = [part.split("=") for part in value.split(">")]
        return value

    def index(value: object, key: str) -> int:
        if str(value).strip().isdecimal() and 1 <= int(str(value)) <= count:
            return int(str(value)) - 1
        raise RowError(f"'{key}' must name a response, 1 to {count}, not {shown(value)}",
                       f"bad '{key}'")  # fmt: skip

    answer: dict[str, Any]
    if row["kind"] == "ranking":
        groups = [[index(i, "ranking") for i in group] for group in places("ranking")]
        answer = ranking_answer(groups, count)
    else:
        said = row.get("choice")
        choice = None if str(said).strip().lower() == "tie" else index(said, "choice")
        answer = pair_answer(choice, number(row, "strength", 1.0, low=0.0, high=1.0))
        if row.get("preset") in PRESETS:
            answer |= {"preset": row["preset"], "preset_version": VERSION}
        if row.get("raw") is not None:
            answer["raw"] = str(row["raw"])
    accepted = {
        str(i): row[f"acceptability_{i + 1}"]
        for i in range(count)
        if row.get(f"acceptability_{i + 1}")
    }
    if accepted:
        answer["acceptability"] = accepted
    dimensions = row.get("dimensions")
    if isinstance(dimensions, Mapping):
        answer["dimensions"] = dimensions_in(dimensions)
    if isinstance(row.get("reasons"), list):
        answer["reasons"] = list(row["reasons"])
    if row.get("rationale") is not None:
        answer["rationale"] = str(row["rationale"])
    order = row.get("display_order")
    return NewJudgment(
        answer,
        annotator_in(row),
        shown=None if order is None else
        order_in([index(i, "display_order") for i in str(order).split()], count),
        submitted=time_ms(row.get("submitted")),
        active_ms=whole(row, "active_ms"),
    )  # fmt: skip
