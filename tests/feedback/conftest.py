"""A server on loopback that answers as it is told, and the bodies of good answers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from scripted import ScriptedServer, scripted_server


def chat_body(*texts: str, finish: str = "stop", **more: Any) -> dict[str, Any]:
    choices = [
        {"index": i, "message": {"role": "assistant", "content": t}, "finish_reason": finish}
        for i, t in enumerate(texts)
    ]
    return {"choices": choices, "usage": {"prompt_tokens": 7, "completion_tokens": 5}, **more}


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as scripted:
        yield scripted


@pytest.fixture
def chat() -> Callable[..., dict[str, Any]]:
    """``chat(*texts, finish="stop")``: the body of a good answer."""
    return chat_body
