"""Verifiers from plain dictionaries and JSON files, and clear words where one is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from assay.errors import ConfigError
from assay.feedback.verifiers.base import KINDS, Rule
from assay.formats.fields import shown

_NAMES = {str: "text", int: "a whole number", bool: "true or false", float: "a number"}


def verifier_of(spec: object) -> Rule:
    """The verifier of a spec: ``{"kind": "word_count", "at_least": 50}``.

    Raises:
        ConfigError: If the kind or a key is unknown, one is missing, or a value cannot be.
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("kind"), str):
        raise ConfigError(
            f"A verifier is wanted as an object with 'kind', not {shown(spec)}; "
            'such as {"kind": "word_count", "at_least": 50}.'
        )
    kind = spec["kind"]
    if kind not in KINDS:
        raise ConfigError(f"'{kind}' is no kind of verifier; {_advice(kind, KINDS)}")
    made = KINDS[kind]
    by_name = {field.name: field for field in fields(made)}
    hints = get_type_hints(made)
    values = {}
    for key, value in spec.items():
        if key == "kind":
            continue
        if key not in by_name:
            raise ConfigError(f"verifier '{kind}' has no key '{key}'; {_advice(key, by_name)}")
        try:
            values[key] = _value(value, hints[key])
        except TypeError:
            raise ConfigError(
                f"verifier '{kind}': '{key}' must be {_wanted(hints[key])}, not {shown(value)}."
            ) from None
    missing = [name for name, field in by_name.items() if _is_needed(field) and name not in values]
    if missing:
        raise ConfigError(f"verifier '{kind}' needs '{missing[0]}'; add it to the spec.")
    return made(**values)


def verifiers_of(specs: Sequence[object]) -> list[Rule]:
    """Several verifiers, each with a name of its own.

    Raises:
        ConfigError: As :func:`verifier_of`, or where two have one name.
    """
    made = [verifier_of(spec) for spec in specs]
    names = [verifier.name for verifier in made]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"{names.count(name)} verifiers are called '{name}'; give each a 'name' of its own."
            )
    return made


def load_verifiers(path: str | Path) -> list[Rule]:
    """The verifiers of a JSON file: a list of specs.

    Raises:
        ConfigError: If the file is no such list; the message names the file.
    """
    try:
        specs = json.loads(Path(path).read_text(encoding="utf-8-sig"))
    except ValueError as error:  # both "not UTF-8" and "not JSON"
        raise ConfigError(f"{path} is not a JSON file: {error}.") from error
    if not isinstance(specs, list) or not specs:
        raise ConfigError(
            f"{path} must hold a list of verifiers, not {shown(specs)}; "
            'such as [{"kind": "no_commas"}].'
        )
    try:
        return verifiers_of(specs)
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def is_verifier(source: str | Path) -> bool:
    """Whether what names a scorer names a file of verifiers: by its suffix, ``.json``."""
    return str(source).endswith(".json")


def load_verifier(path: str | Path) -> Rule:
    """The verifiers of a JSON file as one, which scores the share of them that pass.

    Raises:
        ConfigError: If there is no such file, or it is no list of verifiers.
    """
    if not Path(path).is_file():
        raise ConfigError(f"{path} is not a file; wanted a JSON list of verifiers.")
    made = load_verifiers(path)
    return (
        made[0]
        if len(made) == 1
        else verifier_of({"kind": "all", "verifiers": [verifier.to_dict() for verifier in made]})
    )


def _advice(name: str, known: Mapping[str, Any]) -> str:
    close = get_close_matches(name, known, n=3)
    if close:
        return f"did you mean {' or '.join(repr(c) for c in close)}?"
    return f"there are {', '.join(known)}."


def _is_needed(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _value(value: Any, hint: Any) -> Any:
    """A value of JSON as the field has it.

    Raises:
        TypeError: If it is of another kind.
    """
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        for option in args:
            try:
                return _value(value, option)
            except TypeError:
                continue
    elif origin is Literal and value in args:
        return value
    elif origin is tuple and isinstance(value, list | tuple):
        return tuple(_value(item, args[0]) for item in value)
    elif isinstance(hint, type) and issubclass(hint, Rule) and isinstance(value, Mapping | Rule):
        return value if isinstance(value, Rule) else verifier_of(value)
    elif origin is not None and isinstance(origin, type) and isinstance(value, origin):
        return value  # a mapping
    elif hint in (str, int, bool, float, NoneType) and type(value) is hint:
        return value
    raise TypeError


def _wanted(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        names = dict.fromkeys(_wanted(arg) for arg in args if arg is not NoneType)
        if "a number" in names:
            names.pop("a whole number", None)
        return " or ".join(names)
    if origin is Literal:
        return "one of " + ", ".join(f"'{arg}'" for arg in args)
    if origin is tuple:
        item = _wanted(args[0])
        return {"text": "a list of texts", "a number": "a list of numbers"}.get(
            item, "a list of verifiers"
        )
    return _NAMES.get(hint, "an object")
