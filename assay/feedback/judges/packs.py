"""Prompt packs: the words of every question, versioned and hashed, in one TOML file.

A pack's texts are Jinja templates, rendered in a sandbox; what is judged goes in as data and is
never itself a template. Knows nothing of who answers.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path
from typing import Any

from jinja2 import StrictUndefined, Template, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from assay.errors import ConfigError

KINDS = ("pair", "choice", "rating", "check", "step", "first_error")
"""Kinds of question that a pack has words for."""
DEFAULT = "plain"

_ENVIRONMENT = ImmutableSandboxedEnvironment(
    undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=False
)


@dataclass(frozen=True)
class PromptPack:
    """The words a judge is asked in.

    ``questions`` has a template for each kind; ``principles`` are what a constitutional judge is
    given one of at a time. ``digest`` is the SHA-256 of all of it: a changed word is another pack.
    """

    name: str
    version: int
    system: str
    questions: Mapping[str, str]
    principles: tuple[str, ...] = ()
    begun: str = ""

    @cached_property
    def digest(self) -> str:
        """SHA-256 over every word."""
        parts = [self.name, self.version, self.system, dict(self.questions), self.begun]
        text = json.dumps([*parts, list(self.principles)], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def label(self) -> str:
        """Name, version and the beginning of the digest, for records."""
        return f"{self.name} {self.version} ({self.digest[:12]})"

    def render(self, kind: str, slots: Mapping[str, Any]) -> str:
        """The words of a question.

        Raises:
            ConfigError: If the pack has none of that kind, or its template uses a slot that there
                is not.
        """
        if kind not in self.questions:
            raise ConfigError(
                f"The prompt pack {self.name} has no question of kind {kind!r}; it has "
                f"{', '.join(self.questions)}."
            )
        return _rendered(self.questions[kind], slots, f"{self.name}: {kind}")

    def render_system(self, slots: Mapping[str, Any]) -> str:
        """The words that come before every question."""
        return _rendered(self.system, slots, f"{self.name}: system")


def _rendered(template: str, slots: Mapping[str, Any], where: str) -> str:
    try:
        return _template(template).render(**slots).strip()
    except TemplateError as error:
        raise ConfigError(f"The prompt pack's template {where} cannot be used: {error}.") from error


@lru_cache(maxsize=64)
def _template(text: str) -> Template:
    """A template, compiled once: that takes ten times as long as to fill it."""
    return _ENVIRONMENT.from_string(text)


def load_pack(name: str | Path = DEFAULT) -> PromptPack:
    """A pack of Assay's by its name, or one's own by the path of its TOML file.

    Raises:
        ConfigError: If there is none, or it lacks something.
    """
    own = Path(name)
    if own.suffix == ".toml":
        if not own.is_file():
            raise ConfigError(f"The prompt pack {own} is not a file; name one, or {_shipped()}.")
        return _pack(own.read_text("utf-8"), str(own))
    shipped = resources.files(__package__).joinpath("packs", f"{name}.toml")
    if "/" in str(name) or not shipped.is_file():
        raise ConfigError(
            f"There is no prompt pack {str(name)!r}; wanted {_shipped()}, or a path of a .toml "
            "file."
        )
    return _pack(shipped.read_text("utf-8"), str(name))


def _shipped() -> str:
    folder = resources.files(__package__).joinpath("packs")
    names = sorted(
        f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith("toml")
    )
    return " or ".join(names)


def _pack(text: str, where: str) -> PromptPack:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The prompt pack {where} is no TOML ({error}).") from error
    known = {"name", "version", "system", "questions", "principles", "begun"}
    if unknown := sorted(set(found) - known):
        raise ConfigError(f"The prompt pack {where} has {unknown[0]!r}, which no pack has.")
    questions = found.get("questions")
    is_whole = (
        isinstance(found.get("name"), str)
        and type(found.get("version")) is int
        and isinstance(found.get("system", ""), str)
        and isinstance(questions, dict)
        and questions
        and all(isinstance(text, str) for text in questions.values())
        and isinstance(found.get("begun", ""), str)
    )
    principles = found.get("principles", [])
    if not is_whole or not isinstance(principles, list):
        raise ConfigError(
            f"The prompt pack {where} is not whole; wanted name, version (a whole number), system, "
            "and a table 'questions' of texts."
        )
    assert isinstance(questions, dict)
    if unknown := sorted(set(questions) - set(KINDS)):
        raise ConfigError(
            f"The prompt pack {where} has a question of kind {unknown[0]!r}; wanted "
            f"{', '.join(KINDS)}."
        )
    return PromptPack(
        found["name"],
        found["version"],
        found.get("system", ""),
        questions,
        tuple(map(str, principles)),
        found.get("begun", ""),
    )
