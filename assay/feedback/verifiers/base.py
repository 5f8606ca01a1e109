"""What every verifier is: one check of a response, and through it a scorer.

Knows nothing of what is checked.
"""

from __future__ import annotations

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, Protocol, runtime_checkable

import numpy as np

from assay.errors import ConfigError
from assay.types import Conversation, Scores


@dataclass(frozen=True, slots=True)
class Check:
    """What a verifier says of one response.

    ``passed`` is None where it could not be checked: that is never a failure, and ``score`` is then
    NaN. Otherwise ``score`` is between 0 and 1. ``detail`` says why, for people.
    """

    passed: bool | None
    score: float
    detail: str

    @classmethod
    def of(cls, passed: bool, detail: str) -> Check:
        """A check that is right or wrong: score 1 or 0."""
        return cls(passed, 1.0 if passed else 0.0, detail)

    @classmethod
    def unchecked(cls, detail: str) -> Check:
        """That it could not be checked, and why."""
        return cls(None, math.nan, detail)


@runtime_checkable
class Verifier(Protocol):
    """Anything that says whether a response is right. Also a ``Scorer``."""

    name: str

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Whether the last message of a conversation is right.

        Args:
            truth: What is right, where that differs from prompt to prompt: an answer, tests.
        """
        ...

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """The scores of checks without a truth; NaN where one could not be checked."""
        ...


KINDS: dict[str, type[Rule]] = {}
"""Every kind of verifier by its name in a spec."""


@dataclass(frozen=True, kw_only=True)
class Rule(ABC):
    """A verifier made from a spec; a class for each kind, its fields the spec's keys."""

    kind: ClassVar[str]

    name: str = ""
    """What it is called in reports. Default: its kind."""

    def __init_subclass__(cls, *, kind: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if kind is not None:
            cls.kind = kind
            KINDS[kind] = cls

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", self.kind)

    @abstractmethod
    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Whether the last message of a conversation is right."""

    def score(self, conversations: Sequence[Conversation]) -> Scores:
        """The scores of checks without a truth; NaN where one could not be checked."""
        found = np.array([self.check(c).score for c in conversations], dtype=np.float64)
        return Scores(found, np.zeros(len(found)))

    @property
    def digest(self) -> str:
        """SHA-256 of the spec: what tells one scorer from another."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """The spec that makes this verifier: its kind, and what is not the default."""
        spec: dict[str, Any] = {"kind": self.kind}
        for field in fields(self):
            value = getattr(self, field.name)
            default = self.kind if field.name == "name" else field.default
            if default is MISSING or value != default:
                spec[field.name] = _plain(value)
        return spec

    def wrong(self, said: str) -> ConfigError:
        """An error of the spec, which says whose."""
        return ConfigError(f"verifier '{self.name or self.kind}': {said}")


def _plain(value: Any) -> Any:
    if isinstance(value, Rule):
        return value.to_dict()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return dict(value) if isinstance(value, Mapping) else value


def response_of(conversation: Conversation) -> str:
    """The text of a conversation's last message: the response."""
    messages = conversation.messages
    return messages[-1].content if messages else ""


def prompt_of(conversation: Conversation) -> str:
    """The text of the last user message before the response; empty without one."""
    before = conversation.messages[:-1]
    return next((m.content for m in reversed(before) if m.role == "user"), "")


@dataclass(frozen=True, kw_only=True)
class TextRule(Rule):
    """A verifier of the response's text. A blank response never passes.

    Loose as in IFEval (Zhou et al. 2023, §2.2): the response passes if it does as it is, without
    its first line, its last, or both, each with asterisks and without.
    """

    loose: bool = False
    """Also try the response without first line, last line and asterisks."""

    def check(self, conversation: Conversation, truth: str | None = None) -> Check:
        """Whether the last message of a conversation is right."""
        text, prompt = response_of(conversation), prompt_of(conversation)
        strict = self._checked(text, prompt)
        if self.loose and not strict.passed:
            for variant in loosened(text):
                if (found := self._checked(variant, prompt)).passed:
                    return Check(True, found.score, f"loosely: {found.detail}")
        return strict

    def _checked(self, text: str, prompt: str) -> Check:
        return self.look(text, prompt) if text.strip() else Check.of(False, "the response is empty")

    @abstractmethod
    def look(self, text: str, prompt: str) -> Check:
        """Check a text that is not blank."""


def loosened(text: str) -> Iterator[str]:
    """The seven other forms of a response that loose checks try."""
    lines = text.split("\n")
    cut = [text, *("\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1]))]
    yield from cut[1:]
    yield from (form.replace("*", "") for form in cut)
