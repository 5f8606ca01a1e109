"""Prompts out of rows of every kind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from assay.errors import DataError
from assay.formats.prompts import prompt_in, prompt_of, prompt_text, read_prompts

USER = {"role": "user", "content": "Why?"}
HH = "\n\nHuman: Why?\n\nAssistant:"
REPLY = {"role": "assistant", "content": "So."}


@pytest.mark.parametrize(
    ("row", "prompt"),
    [
        ({"prompt": "Why?", "chosen": "a", "rejected": "b"}, "Why?"),
        ({"prompt": [USER]}, "Why?"),
        ({"prompt": [USER, REPLY, USER]}, "user: Why?\n\nassistant: So.\n\nuser: Why?"),
        ({"instruction": "Shorten.", "input": "It is."}, "Shorten.\n\nIt is."),
        ({"instruction": "Shorten.", "input": ""}, "Shorten."),
        ({"question": "2 + 2?", "answer": "4"}, "2 + 2?"),
        ({"input": "x", "output_1": "a"}, "x"),
        ({"conversation_input": [USER]}, "Why?"),
        ({"messages": [USER, REPLY]}, "Why?"),
        ({"messages": [USER]}, "Why?"),
        ({"chosen": f"{HH} A", "rejected": f"{HH} B"}, "Why?"),
        ({"chosen": 1, "rejected": 2}, None),
        ({"chosen": "\n\nHuman: A", "rejected": "\n\nHuman: A"}, None),
        ({"prompt": [{"role": "wizard", "content": "x"}]}, None),
        ({"prompt": " ", "text": "x"}, None),
        ({"messages": "no"}, None),
    ],
)  # fmt: skip
def test_the_prompt_of_a_row(row: dict[str, Any], prompt: str | None) -> None:
    assert prompt_of(row) == prompt


def test_a_file_gives_one_prompt_or_none_a_row(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text(json.dumps({"question": "a"}) + "\n" + json.dumps({"x": 1}) + "\n{\n")
    assert list(read_prompts(path)) == ["a", None]


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "e.jsonl"
    path.write_text('{"x": 1}\n')
    with pytest.raises(
        DataError, match=r"e\.jsonl has no prompts in its 1 lines; one of the field"
    ):
        list(read_prompts(path))


@pytest.mark.parametrize(
    ("row", "text"),
    [
        ({"prompt": "Why?"}, "Why?"),
        ({"prompt": HH}, "Why?"),
        ({"instruction": "Shorten.", "input": "It is."}, "Shorten.\n\nIt is."),
        ({"instruction": "Shorten.", "input": ""}, "Shorten."),
        ({"messages": [USER, REPLY]}, "Why?"),
        ({"chosen": f"{HH} A", "rejected": f"{HH} B"}, "Why?"),
    ],
)
def test_the_prompt_of_a_row_as_messages(row: dict[str, Any], text: str) -> None:
    found = prompt_in(row, "row 1")
    assert [m.role for m in found] == ["user"]
    assert prompt_text(found) == text


def test_a_row_without_a_prompt_is_named() -> None:
    with pytest.raises(DataError, match="row 1: wanted one of 'prompt'"):
        prompt_in({"messages": "no"}, "row 1")
