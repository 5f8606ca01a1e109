"""What readers of rows share: times, annotators, answers, and what the store can take."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from assay.formats.fields import IDENTICAL, Row, RowError, name, number, shown
from assay.formats.fields import labels as common_fields
from assay.store.presets import PRESETS, VERSION
from assay.store.records import Kind, NewComparison, NewJudgment, NewResponse
from assay.types import Comparison, Message, Messages

MOST_RESPONSES = 26

MOST_NAME = 80


@dataclass(frozen=True, slots=True)
class Part:
    """A row that is one of several to a comparison: neighbours of the same key are joined."""

    key: Hashable
    row: Row
    join: Callable[[Sequence[Row]], NewComparison]
    once: Hashable = None
    """What one row of a comparison has, such as its annotator: a second begins another one."""


Parsed = Sequence[NewComparison | Part]


def beside(row: Row, *used: Iterable[str] | str) -> dict[str, Any]:
    """The fields of a row that no reader took, without empty ones."""
    taken: set[str] = set()
    for keys in used:
        taken |= {keys} if isinstance(keys, str) else set(keys)
    return {str(k): v for k, v in row.items() if k not in taken and v is not None}


def said_by(messages: str) -> Messages:
    """A text as a response."""
    return (Message("assistant", messages),)


def time_ms(value: object) -> int | None:
    """Milliseconds since 1970 from ISO 8601, seconds or milliseconds; None where it is no time."""
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1000)
    if isinstance(value, str):
        try:
            return time_ms(datetime.fromisoformat(value.strip()))
        except (ValueError, OverflowError):
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    found = value if abs(value) > 1e11 else value * 1000
    return round(found) if 0 <= found < 4e13 else None


def annotator_in(row: Row, *keys: str) -> str | None:
    """Who judged, by the first of these fields that says it."""
    for key in keys or ("annotator",):
        said = name(row, key)
        if said is None or not said.strip():
            continue
        said = said.strip()
        if len(said) > MOST_NAME or not said.isprintable():
            raise RowError(
                f"'{key}' must be a name of at most {MOST_NAME} printable characters, not "
                f"{shown(said)}",
                "bad annotator",
            )
        return said
    return None


def pair_answer(choice: int | None, strength: float, **more: Any) -> dict[str, Any]:
    """An answer to a pair that names responses by number."""
    clear = 0.0 if choice is None else float(strength)
    return {"kind": "pair", "choice": choice, "strength": clear, **more}


def graded(choice: int | None, strength: float, first: int, preset: str) -> dict[str, Any]:
    """An answer on a scale, with the point that was picked where the scale has it.

    Args:
        first: The response shown first.
    """
    side = 0 if choice is None else -1 if choice == first else 1
    points = PRESETS[preset].points
    found = next((p for p in points if p.side == side and abs(p.strength - strength) < 1e-9), None)
    if found is None:
        return pair_answer(choice, strength)
    return pair_answer(
        choice, strength, preset=preset, preset_version=VERSION, raw=found.id
    )  # fmt: skip


def by_share(share: float, strength: float | None = None) -> dict[str, Any]:
    """An answer from P(the first is better)."""
    choice = None if share == 0.5 else 0 if share > 0.5 else 1
    return pair_answer(choice, abs(2 * share - 1) if strength is None else strength)


def comparison(
    asked: Messages,
    responses: Sequence[NewResponse],
    judgments: Sequence[NewJudgment] = (),
    **fields: Any,
) -> NewComparison:
    """A pair or a ranking, by the number of responses."""
    kind: Kind = "pair" if len(responses) == 2 else "ranking"
    return NewComparison(
        asked, tuple(responses), kind=kind, judgments=tuple(judgments), **fields
    )  # fmt: skip


def models_in(row: Row, *keys: str) -> list[str | None]:
    """The names of models in these fields."""
    return [name(row, key) for key in keys]


def tools_in(row: Row) -> Any:
    """The tools of a row, or None."""
    return common_fields(row)["tools"] if row.get("tools") else None


def answered(
    parsed: Comparison, models: Sequence[str | None], judgments: Sequence[NewJudgment], extra: Any
) -> NewComparison:
    """A comparison that a reader for training read, with models and what was judged."""
    responses = [
        NewResponse(said, model=model) for said, model in zip(parsed.responses, models, strict=True)
    ]
    return comparison(parsed.prompt, responses, judgments, extra=extra, tools=parsed.tools)


def order_in(value: object, count: int) -> tuple[int, ...] | None:
    """The order in which responses were shown.

    Raises:
        RowError: If it is not one of all responses.
    """
    if value is None:
        return None
    wanted = {str(i) for i in range(count)}
    if isinstance(value, list | tuple) and len(value) == count and set(map(str, value)) == wanted:
        return tuple(int(i) for i in value)
    raise RowError(
        f"'display_order' must list the indexes of responses, 0 to {count - 1}, once each, not "
        f"{shown(value)}",
        "bad 'display_order'",
    )


def whole(row: Row, key: str) -> int:
    """A whole number of at least 0, or 0."""
    return round(number(row, key, 0.0, low=0.0, high=2.0**31 - 1))


def ranking_answer(groups: Sequence[Sequence[int]], count: int) -> dict[str, Any]:
    """An answer to a ranking from groups of numbers, checked."""
    flat_ = [i for group in groups for i in group]
    strange = [i for i in flat_ if isinstance(i, bool) or not isinstance(i, int)
               or not 0 <= i < count]  # fmt: skip
    if strange or len(set(flat_)) < len(flat_) or len(flat_) < 2 or not all(groups):
        raise RowError(
            f"'ranking' must name two or more of {count} responses once each, not {shown(groups)}",
            "bad ranking",
        )
    return {
        "kind": "ranking",
        "groups": [list(group) for group in groups],
        "unranked": [i for i in range(count) if i not in flat_],
    }


def dimensions_in(value: Mapping[str, Any]) -> dict[str, Any]:
    """Dimensions as they are written, with ratings by response in place of lists."""
    found: dict[str, Any] = {}
    for label, said in value.items():
        if not isinstance(said, Mapping):
            continue
        kept = {k: v for k, v in said.items() if v is not None or k == "choice"}
        ratings = kept.get("ratings")
        if isinstance(ratings, list):
            kept["ratings"] = {str(i): v for i, v in enumerate(ratings) if v is not None}
        if "ratings" in kept:
            kept.pop("choice", None)  # a table of both kinds has every column
        found[str(label)] = kept
    return found


def checked(new: NewComparison) -> NewComparison:
    """The comparison, if the store can take it.

    Raises:
        RowError: If it cannot.
    """
    count = len(new.responses)
    if new.kind != "steps" and not 2 <= count <= MOST_RESPONSES:
        raise RowError(
            f"the row has {count} responses; a comparison has 2 to {MOST_RESPONSES}",
            "too few responses" if count < 2 else "too many responses",
        )
    if new.kind == "steps" and (count != 1 or not new.responses[0].steps):
        raise RowError("a solution is one response in steps", "no steps")
    if new.kind == "pair" and count != 2:
        raise RowError(f"a pair has two responses, and the row has {count}", "not a pair")
    if new.language is not None and len(new.language) > 35:
        raise RowError(
            f"'language' must be a tag such as 'de', not {shown(new.language)}", "bad 'language'"
        )
    if any(a.messages == b.messages for a, b in combinations(new.responses, 2)):
        raise RowError("two of the responses are the same; there is nothing to compare", IDENTICAL)
    standing = [j.annotator.lower() for j in new.judgments if j.annotator and not j.withdrawn]
    if len(set(standing)) < len(standing):
        who = next(one for one in standing if standing.count(one) > 1)
        raise RowError(
            f"the row has two judgments by {who!r}; an annotator judges a comparison once",
            "two judgments by one annotator",
        )
    return _storable(new)


def _storable(new: NewComparison) -> NewComparison:
    """The comparison with nothing in it that a database cannot hold."""
    sides = (new.prompt, *(r.messages for r in new.responses))
    loose = {
        "extra": new.extra, "tools": new.tools, "expected": new.expected,
        "answers": [j.answer for j in new.judgments],
        "provenance": [r.provenance for r in new.responses],
        "messages": [m.extra for side in sides for m in side if m.extra],
        "steps": [r.steps for r in new.responses if r.steps],
        "models": [r.model for r in new.responses if r.model],
    }  # fmt: skip
    try:
        said = json.dumps(loose, ensure_ascii=False, allow_nan=False, default=_plain)
        said.encode()
    except UnicodeEncodeError as error:
        raise RowError("a field holds half a character", "broken text") from error
    except (ValueError, TypeError, RecursionError) as error:
        raise RowError(f"a field cannot be stored as JSON ({error})", "not JSON") from error
    if any("\x00" in m.content for side in sides for m in side) or (
        "\\u0000" in said and _has_zero(loose)
    ):
        raise RowError(
            "a text holds the zero character, which no database stores", "zero character"
        )
    made = json.loads(said)
    return replace(
        new,
        extra=made["extra"],
        tools=made["tools"],
        expected=made["expected"],
        judgments=tuple(
            replace(j, answer=_unsaid(a, j, len(new.responses)))
            for j, a in zip(new.judgments, made["answers"], strict=True)
        ),
        responses=tuple(
            replace(r, provenance=p) for r, p in zip(new.responses, made["provenance"], strict=True)
        ),
    )


def _unsaid(answer: dict[str, Any], judgment: NewJudgment, count: int) -> dict[str, Any]:
    """The answer, with a note of what the row did not say and the store must fill in."""
    unsaid: dict[str, Any] = {}
    if judgment.shown is None and count > 1:
        unsaid["unordered"] = True
    if judgment.submitted is None:
        unsaid["undated"] = True
    return {**answer, "origin": {**answer.get("origin", {}), **unsaid}} if unsaid else answer


def _has_zero(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(_has_zero(k) or _has_zero(v) for k, v in value.items())
    return isinstance(value, list | tuple) and any(map(_has_zero, value))


def _plain(value: object) -> Any:
    """What Parquet has and JSON has not."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return str(value)
