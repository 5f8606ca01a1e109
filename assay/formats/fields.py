"""Single fields of a raw row, checked: text, messages, numbers, tools.

Each function raises ``RowError`` saying what was wanted and what came; the reader adds the place.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

from assay.errors import DataError
from assay.types import Message, Messages, as_messages

Row = Mapping[str, Any]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
PROMPT_ROLES = ("system", "developer", "user")
"""Roles a response cannot begin with: a message of these belongs to the prompt."""

_TURNS = {"\n\nHuman:": "user", "\n\nAssistant:": "assistant"}


IDENTICAL = "identical responses"
"""The reason a pair of two equal responses is counted under."""


class RowError(DataError):
    """What is wrong with one row, and the short reason it is counted under."""

    def __init__(self, problem: str, reason: str) -> None:
        super().__init__(problem)
        self.reason = reason


def shown(value: object) -> str:
    """A value as an error message quotes it: as JSON, cut short."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def required(row: Row, key: str) -> Any:
    """The field's value, which must be there and not null."""
    value = row.get(key)
    if value is None:
        raise RowError(f"'{key}' is missing", f"missing '{key}'")
    return value


def text(value: object, key: str) -> str:
    """Text that is not blank."""
    if not isinstance(value, str):
        raise RowError(f"'{key}' must be text, not {shown(value)}", "wrong type")
    _check_text(value, key)
    if not value.strip():
        raise _empty(key)
    return value


def is_transcript(value: object) -> bool:
    r"""Whether this is an Anthropic-HH transcript: text that begins with ``\n\nHuman:``."""
    return isinstance(value, str) and value.startswith("\n\nHuman:")


def turns(value: object, key: str, role: str) -> Messages:
    """Messages from a text (one of that role), an Anthropic-HH transcript, or a message list."""
    if isinstance(value, str):
        content = text(value, key)
        return _transcript(content) if is_transcript(value) else (Message(role, content),)
    if not isinstance(value, Sequence) or not all(isinstance(item, Mapping) for item in value):
        raise RowError(
            f"'{key}' must be text or a list of messages, not {shown(value)}", "wrong type"
        )
    for item in value:
        _check_message(item, key)
    if not value:
        raise _empty(key)
    return as_messages(value, role)


def prompt(row: Row, key: str = "prompt") -> Messages:
    """The prompt's messages; a transcript's closing ``Assistant:`` is not part of it."""
    messages = turns(required(row, key), key, "user")
    if len(messages) > 1 and messages[-1] == Message("assistant", ""):
        messages = messages[:-1]
    if not any(_says_something(m) for m in messages):
        raise _empty(key)
    return messages


def response(messages: Messages, key: str) -> Messages:
    """The same messages, if they say something, begin after the prompt and end as assistant."""
    if not any(_says_something(m) for m in messages) or not _says_something(messages[-1]):
        raise _empty(key)
    if messages[0].role in PROMPT_ROLES:
        raise RowError(
            f"the response in '{key}' begins with a {messages[0].role} message; "
            "both responses must answer the same prompt",
            "different prompts",
        )
    if messages[-1].role != "assistant":
        raise RowError(
            f"'{key}' ends with a {messages[-1].role} message, not with the assistant's",
            "no assistant message at the end",
        )
    return messages


def number(
    row: Row, key: str, default: float, low: float = -math.inf, high: float = math.inf
) -> float:
    """A finite number between the bounds, or the default where the field is missing or null."""
    value = row.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, Real):
        raise RowError(f"'{key}' must be a number, not {shown(value)}", "wrong type")
    given = float(value)
    if not math.isfinite(given) or not low <= given <= high:
        at_least = "" if low == -math.inf else f" of at least {low:g}"
        at_most = "" if high == math.inf else f"{' and' if at_least else ' of'} at most {high:g}"
        raise RowError(
            f"'{key}' must be a finite number{at_least}{at_most}, not {shown(value)}",
            f"bad '{key}'",
        )
    return given


def flag(row: Row, key: str) -> bool:
    """True or false; false where the field is missing or null."""
    value = row.get(key)
    if value is not None and not isinstance(value, bool):
        raise RowError(f"'{key}' must be true or false, not {shown(value)}", "wrong type")
    return bool(value)


def name(row: Row, key: str) -> str | None:
    """A text or whole number as text, or None."""
    value = row.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise RowError(f"'{key}' must be text, not {shown(value)}", "wrong type")
    return str(value)


def items(row: Row, key: str, least: int = 1) -> Sequence[Any]:
    """A list of at least so many items."""
    value = required(row, key)
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise RowError(f"'{key}' must be a list, not {shown(value)}", "wrong type")
    if len(value) < least:
        raise RowError(f"'{key}' has {len(value)} of at least {least} items", f"too few '{key}'")
    return value


def labels(row: Row, subset: str = "subset") -> dict[str, Any]:
    """What every format may carry besides, by ``Comparison``'s field names."""
    return {
        "id": name(row, "id"),
        "subset": name(row, subset),
        "annotator": name(row, "annotator"),
        "tools": _tools(row.get("tools")),
    }


def _tools(value: object) -> tuple[Mapping[str, Any], ...] | None:
    if isinstance(value, str):
        try:
            value = json.loads(value.strip() or "null")
        except ValueError as error:
            raise RowError(f"'tools' is text but not JSON ({error})", "wrong type") from error
    if not value:
        return None
    if not isinstance(value, Sequence) or not all(isinstance(tool, Mapping) for tool in value):
        raise RowError(
            f"'tools' must be a list of tool descriptions, not {shown(value)}", "wrong type"
        )
    return tuple(value)


def _transcript(value: str) -> Messages:
    messages = []
    rest = value
    while rest:
        mark = next(mark for mark in _TURNS if rest.startswith(mark))
        rest = rest[len(mark) :]
        end = min((at for at in map(rest.find, _TURNS) if at >= 0), default=len(rest))
        messages.append(Message(_TURNS[mark], rest[:end].strip()))
        rest = rest[end:]
    return tuple(messages)


def _check_message(message: Mapping[str, Any], key: str) -> None:
    role, content = message.get("role"), message.get("content")
    if role not in ROLES:
        raise RowError(
            f"'{key}' has a message with the role {shown(role)}; roles are {', '.join(ROLES)}",
            "bad role",
        )
    if content is None and message.get("tool_calls"):
        return
    if not isinstance(content, str):
        raise RowError(
            f"'{key}' has a message whose content must be text, not {shown(content)}", "wrong type"
        )
    _check_text(content, key)


def _check_text(value: str, key: str) -> None:
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            f"'{key}' holds half a character at position {error.start}", "broken text"
        ) from error


def _says_something(message: Message) -> bool:
    return bool(message.content.strip()) or bool((message.extra or {}).get("tool_calls"))


def _empty(key: str) -> RowError:
    return RowError(
        f"'{key}' is empty; every pair needs a prompt and two different responses", "empty text"
    )
