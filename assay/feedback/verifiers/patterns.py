"""Verifiers by a regular expression and by a JSON schema.

Both read what a model wrote, and some patterns take for ever on some texts. So regular expressions
run in the engine of the package ``regex``, which looks at the clock while it searches.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any, Literal

import regex

from assay.errors import require_extra
from assay.feedback.verifiers.base import Check, TextRule
from assay.feedback.verifiers.layout import json_of

SECONDS = 1.0
"""Longest time for one search."""


@dataclass(frozen=True, kw_only=True)
class Regex(TextRule, kind="regex"):
    """That a regular expression is found in the response, or is not."""

    pattern: str
    """The expression, as Python's ``re`` and the package ``regex`` read it; ``(?i)`` and its kind
    go first."""
    where: Literal["anywhere", "start", "whole"] = "anywhere"
    """Where it must match: the whole response is taken without white space at its ends."""
    forbidden: bool = False
    """Whether it must not match."""
    seconds: int | float = SECONDS
    """Longest time for a search; after it the response could not be checked."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.seconds > 0:
            raise self.wrong(f"'seconds' is {self.seconds}; it must be more than 0.")
        try:
            regex.compile(self.pattern)
        except regex.error as error:
            raise self.wrong(f"'{self.pattern}' is no regular expression: {error}.") from error

    def look(self, text: str, prompt: str) -> Check:
        """Search, and stop in time."""
        compiled = regex.compile(self.pattern)
        methods = {"anywhere": "search", "start": "match", "whole": "fullmatch"}
        try:
            found = getattr(compiled, methods[self.where])(text.strip(), timeout=self.seconds)
        except TimeoutError:
            return Check.unchecked(f"the search took more than {self.seconds:g} seconds")
        detail = f"found: {found[0][:60]!r}" if found else "not found"
        return Check.of((found is None) == self.forbidden, detail)


@dataclass(frozen=True, kw_only=True)
class JsonSchema(TextRule, kind="json_schema"):
    """That the response is JSON as a schema wants it. Needs the extra ``verify``."""

    schema: Mapping[str, Any]
    """A JSON Schema (draft 2020-12, or as its ``$schema`` says), without references to other
    documents: none is fetched."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_extra("verify", f"verifier '{self.name}'", ["jsonschema"])
        if "patternProperties" in _keys(self.schema):
            raise self.wrong(
                "'patternProperties' is not supported, for its patterns cannot be stopped in time; "
                "use 'additionalProperties' and 'propertyNames'."
            )
        library: Any = import_module("jsonschema")
        try:
            library.validators.validator_for(self.schema).check_schema(dict(self.schema))
        except library.SchemaError as error:
            raise self.wrong(f"'schema' is no JSON Schema: {error.message}.") from error

    def look(self, text: str, prompt: str) -> Check:
        """Parse and validate; the first error by its place."""
        library: Any = import_module("jsonschema")
        referencing: Any = import_module("referencing")
        try:
            value = json_of(text)
        except ValueError as error:
            return Check.of(False, f"not JSON: {error}")
        draft = library.validators.validator_for(self.schema)
        bounded = _bounded(draft)
        # a registry of our own, empty: the library's fetches what a reference names
        validator = bounded(dict(self.schema), registry=referencing.Registry())
        try:
            wrong = library.exceptions.best_match(validator.iter_errors(value))
        except TimeoutError:
            return Check.unchecked(f"a pattern took more than {SECONDS:g} seconds")
        except RecursionError:
            return Check.of(False, "it is nested too deep")
        except referencing.exceptions.Unresolvable as error:
            return Check.unchecked(f"the schema refers to what is not in it: {error}")
        if wrong is None:
            return Check.of(True, "as the schema wants")
        return Check.of(False, f"{wrong.json_path}: {wrong.message[:200]}")


def _keys(value: Any) -> set[str]:
    """Every key of a value, however deep."""
    if isinstance(value, Mapping):
        return set(value).union(*(_keys(item) for item in value.values()))
    return set().union(*map(_keys, value)) if isinstance(value, list | tuple) else set()


@lru_cache(maxsize=8)
def _bounded(draft: Any) -> Any:
    """A draft's validator whose patterns look at the clock."""
    library: Any = import_module("jsonschema")

    def pattern(_: Any, wanted: str, value: Any, __: Any) -> Iterator[Any]:
        if isinstance(value, str) and not regex.search(wanted, value, timeout=SECONDS):
            yield library.ValidationError(f"{value[:60]!r} does not match {wanted!r}")

    return library.validators.extend(draft, {"pattern": pattern})
