"""The prompt of a row of any kind: preferences, questions with answers, conversations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from assay.errors import DataError
from assay.formats.fields import Row, RowError, turns
from assay.formats.files import numbering, read_rows
from assay.formats.rows import shape_of
from assay.types import Comparison, Message, Messages

KEYS = ("prompt", "instruction", "question", "problem", "query", "conversation_input", "input")
"""Fields that hold a prompt, in the order they are looked for."""


def prompt_text(prompt: Messages) -> str:
    """What was asked as one text; of a conversation every turn, with who said it."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return prompt[0].content
    return "\n\n".join(f"{m.role}: {m.content}" for m in prompt)


def read_prompts(source: str | Path) -> Iterator[str | None]:
    """The prompt of each row of a file, directory or hub dataset, None where none is found.

    Raises:
        DataError: If no row has one.
    """
    found = rows = 0

    def bad(_number: int, _error: DataError) -> None:
        pass  # no row, no prompt; the caller counts what is None

    for _, row in read_rows(source, bad):
        rows += 1
        prompt = prompt_of(row)
        found += prompt is not None
        yield prompt
    if not found:
        raise DataError(
            f"{source} has no prompts in its {rows:,} {numbering(source)}s; "
            f"one of the fields {', '.join(map(repr, KEYS))} is wanted."
        )


def prompt_in(row: Row, where: str) -> Messages:
    """The prompt of a row as messages: a field that holds one, or what a preference's sides share.

    Of an instruction with an input, both; of ``messages``, those up to the last answer.

    Args:
        where: Names the row in an error.

    Raises:
        DataError: If there is none.
    """
    for key in KEYS:
        value = row.get(key)
        if not value or (isinstance(value, str) and not value.strip()):
            continue
        if key == "instruction" and isinstance(value, str) and _as_text(row.get("input")):
            value = f"{value}\n\n{row['input']}"
        try:
            return _unanswered(turns(value, key, "user"))
        except RowError as error:
            raise DataError(f"{where}: {error}.") from error
    shape = shape_of(row)
    try:
        parsed = shape.parse(row) if shape else None
    except RowError:
        parsed = None
    if isinstance(parsed, Comparison):
        return parsed.prompt
    if _of_messages(row.get("messages")) is not None:
        return turns(_up_to_last_answer(row["messages"]), "messages", "user")
    keys = ", ".join(map(repr, row)) or "nothing"
    raise DataError(f"{where}: wanted one of {', '.join(map(repr, KEYS))}; got {keys}.")


def prompt_of(row: Row) -> str | None:
    """The prompt of a row as text, None where it has none."""
    for key in KEYS:
        text = _as_text(row.get(key))
        if text and key == "instruction" and _as_text(row.get("input")):
            return f"{text}\n\n{row['input']}"
        if text:
            return text
    return _of_messages(row.get("messages")) or _of_preference(row)


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        return value if value.strip() else None
    if isinstance(value, list) and value and all(isinstance(m, Mapping) for m in value):
        try:
            return prompt_text(turns(value, "prompt", "user"))
        except RowError:
            return None
    return None


def _of_messages(value: Any) -> str | None:
    """A conversation up to its last answer."""
    if not isinstance(value, list) or not all(isinstance(m, Mapping) for m in value):
        return None
    return _as_text(_up_to_last_answer(value))


def _up_to_last_answer(value: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    last = [at for at, m in enumerate(value) if m.get("role") == "assistant"]
    return value[: last[-1]] if last else value


def _unanswered(messages: Messages) -> Messages:
    """A transcript's closing ``Assistant:`` is not part of its prompt."""
    if len(messages) > 1 and messages[-1] == Message("assistant", ""):
        return messages[:-1]
    return messages


def _of_preference(row: Row) -> str | None:
    """Formats whose prompt is what the two sides share."""
    shape = shape_of(row)
    try:
        parsed = shape.parse(row) if shape else None
    except RowError:
        return None
    return prompt_text(parsed.prompt) if isinstance(parsed, Comparison) else None
