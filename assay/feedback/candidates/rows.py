"""Prompts out of files, and prompts with responses as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from assay.configs import OnBadRow
from assay.errors import DataError
from assay.feedback.candidates.records import Prompt, Source, Writing, prompt_digest
from assay.feedback.candidates.sampled import Candidates, Response
from assay.formats.fields import Row, RowError, labels
from assay.formats.files import numbering, read_rows, shown_name
from assay.formats.prompts import prompt_in
from assay.formats.tally import Tally

CARRIED = ("subset", "answer", "reference", "language", "tools")
"""Fields of a row that the output has too, besides its ``id``: what later stages read."""


def read_prompts(
    paths: Iterable[str], tally: Tally, *, on_bad_row: OnBadRow = "error", limit: int | None = None
) -> Iterator[Prompt]:
    """The prompts of files, row by row.

    Args:
        tally: Where the counts go of what is read and left out.

    Raises:
        DataError: At the first row that has none, if ``on_bad_row`` is ``error``.
    """
    given = 0
    for path in paths:
        place = f"{shown_name(path)} {numbering(path)}"

        def bad_line(number: int, error: DataError, place: str = place) -> None:
            if on_bad_row == "error":
                raise error
            tally.drop(f"{place} {number}", "no row")

        for number, row in read_rows(path, bad_line):
            if limit is not None and given >= limit:
                return
            tally.rows += 1
            where = f"{place} {number}"
            try:
                yield _prompt(row, where)
            except DataError as error:
                if on_bad_row == "error":
                    raise DataError(
                        f"{str(error).rstrip('.')}. Fix the row or pass --on-bad-row skip."
                    ) from error
                tally.drop(where, "no prompt")
                continue
            given += 1


def _prompt(row: Row, where: str) -> Prompt:
    messages = prompt_in(row, where)
    if messages[-1].role == "assistant":
        raise DataError(
            f"{where}: the prompt ends with the assistant's message; wanted one that is to be "
            "answered."
        )
    try:
        named = labels(row)
    except RowError as error:
        raise DataError(f"{where}: {error}.") from error
    tools = named["tools"]
    own = named["id"] or prompt_digest(messages, tools)[:16]
    carried = {key: row[key] for key in CARRIED if row.get(key) is not None}
    return Prompt(messages, tools, {"id": own, **carried})


def candidates_row(
    found: Candidates, sources: Sequence[Source], writing: Writing, system: str | None = None
) -> dict[str, Any]:
    """The row of a prompt with its responses, as ``assay judge`` and others read it.

    Args:
        system: The system prompt that was given, for prompts without their own.
    """
    prompt = found.prompt
    own = {key: value for key, value in prompt.carried.items() if key != "id"}
    under = None if prompt.messages[0].role == "system" else system
    return {
        "id": prompt.carried.get("id"),
        **own,
        "prompt": [m.to_dict() for m in prompt.messages],
        "responses": [_response(r, sources, writing, under) for r in found.responses],
    }


def _response(
    response: Response, sources: Sequence[Source], writing: Writing, system: str | None
) -> dict[str, Any]:
    job, sample = response.job, response.sample
    source = sources[job.setting.source]
    provenance = {
        "model": source.name,
        "answered_as": None if sample.answered_as == source.name else sample.answered_as,
        **source.place,
        "temperature": job.setting.temperature,
        "top_p": job.setting.top_p,
        "seed": sample.seed,
        "max_new_tokens": writing.max_new_tokens,
        "stop": list(writing.stop) or None,
        "system": system,
        "finish": sample.finish,
        "tokens": sample.response_tokens or None,
    }
    return {
        # messages, not text: a text may look like a transcript
        "messages": [{"role": "assistant", "content": sample.text}],
        "provenance": {key: value for key, value in provenance.items() if value is not None},
    }


def failed_row(found: Candidates, reason: str) -> dict[str, Any]:
    """The row of a prompt that is left out, and why."""
    row: dict[str, Any] = {
        "id": found.prompt.carried.get("id"),
        "prompt": [m.to_dict() for m in found.prompt.messages],
        "reason": reason,
        "wanted": found.wanted,
        "responses": len(found.responses),
        "unusable": dict(found.unusable),
        "failed": dict(found.failed),
        "detail": found.detail,
    }
    return {key: value for key, value in row.items() if value not in (None, {})}
