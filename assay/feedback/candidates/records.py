"""What goes between the parts: a prompt, a sample that is wanted, and what came of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from assay.types import Message, Messages

SEEDS = 2**31
"""Endpoints take seeds below this."""

Tools = tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt that is to be answered, as its row has it.

    ``carried`` are the fields of the row that the output has too, its ``id`` among them.
    """

    messages: Messages
    tools: Tools | None = None
    carried: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Setting:
    """Who is asked, by their place among the sources, and how a token is drawn."""

    source: int
    temperature: float
    top_p: float


@dataclass(frozen=True, slots=True)
class Writing:
    """What all samples have in common."""

    max_new_tokens: int = 512
    stop: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A sample that is wanted: of what, by which setting, the how manieth, and its seed.

    ``digest`` is the prompt's.
    """

    messages: Messages
    tools: Tools | None
    digest: str
    setting: Setting
    index: int
    seed: int


@dataclass(frozen=True, slots=True)
class Sample:
    """What came of a job.

    ``failed`` is the kind of a failure, and then there is no text; a failure is never kept.
    ``seed`` is the one that was used, None where the source takes none. ``prompt_tokens`` were read
    for it: 0 where another sample's reading served. ``cached``: it was there from an earlier run.
    """

    text: str
    finish: str | None
    prompt_tokens: int
    response_tokens: int
    seed: int | None = None
    answered_as: str | None = None
    is_refusal: bool = False
    failed: str | None = None
    detail: str | None = None
    cached: bool = False


def failure(kind: str, detail: str) -> Sample:
    """A job that came to nothing."""
    return Sample("", None, 0, 0, failed=kind, detail=detail)


@runtime_checkable
class Source(Protocol):
    """Anything that writes samples.

    ``name`` is what records call it; ``identity`` is what decides its samples besides the job, and
    part of their seeds; ``place`` goes into every response's provenance.
    """

    @property
    def name(self) -> str:
        """What records call it."""
        ...

    @property
    def identity(self) -> str:
        """What tells it from others wherever it lies."""
        ...

    @property
    def place(self) -> Mapping[str, Any]:
        """Where its responses are from."""
        ...

    def write(self, jobs: Sequence[Job], done: Callable[[Sample], None]) -> list[Sample]:
        """A sample of each job, in order; ``done`` is called as each is there."""
        ...


def with_system(messages: Messages, system: str | None) -> Messages:
    """A conversation under a system prompt; one that has its own keeps it."""
    if system is None or messages[0].role == "system":
        return messages
    return (Message("system", system), *messages)


def digest_of(*parts: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def prompt_digest(messages: Messages, tools: Tools | None) -> str:
    """What a prompt says, as a name that does not depend on where it stands."""
    given = None if tools is None else [dict(tool) for tool in tools]
    return digest_of([m.to_dict() for m in messages], given)


def sample_seed(prompt: str, identity: str, setting: Setting, index: int, seed: int) -> int:
    """The seed of a sample: of what is asked of whom and how, not of where the prompt stands.

    Args:
        prompt: Its digest.
        identity: The source's.
    """
    drawn = digest_of(prompt, identity, setting.temperature, setting.top_p, index, seed)
    return int(drawn[:15], 16) % SEEDS
