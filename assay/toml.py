"""Configuration dataclasses as commented TOML, and back.

A key is the field's name, or its ``key`` metadata. A field that is None, or that has no default,
is written as a commented-out key. Knows nothing of the command line.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
import tomllib
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from assay.errors import ConfigError

_WIDTH = 100


def key_of(field: Field[Any]) -> str:
    """The field's TOML key, and with hyphens its flag."""
    return str(field.metadata.get("key", field.name))


def is_required(field: Field[Any]) -> bool:
    """Whether the field has no default."""
    return field.default is MISSING and field.default_factory is MISSING


def ordered_fields(config_class: type) -> list[Field[Any]]:
    """The fields of a dataclass, its own before the inherited ones."""
    depth: dict[str, int] = {}
    for distance, base in enumerate(config_class.__mro__):
        for name in inspect.get_annotations(base):
            depth.setdefault(name, distance)
    return sorted(fields(config_class), key=lambda field: depth[field.name])


def field_docs(config_class: type) -> dict[str, str]:
    """The docstring under each field, on one line, inherited fields included."""
    docs: dict[str, str] = {}
    for base in reversed(config_class.__mro__[:-1]):
        tree = ast.parse(textwrap.dedent(inspect.getsource(base)))
        for statement, following in _neighbours(tree):
            match statement, following:
                case (
                    ast.AnnAssign(target=ast.Name(id=name)),
                    ast.Expr(value=ast.Constant(value=str(doc))),
                ):
                    docs[name] = " ".join(doc.split())
    return docs


def _neighbours(tree: ast.Module) -> Iterator[tuple[ast.stmt, ast.stmt]]:
    (definition,) = tree.body
    assert isinstance(definition, ast.ClassDef)
    return zip(definition.body, definition.body[1:], strict=False)


def default_toml(config_class: type) -> str:
    """All defaults of a configuration class as commented TOML; required keys are commented out."""
    values = {f.name: None if is_required(f) else f.default for f in fields(config_class)}
    return _commented(config_class, values)


def resolved_toml(config: Any) -> str:
    """A configuration as commented TOML that ``read_toml`` gives back."""
    config_class = type(config)
    return _commented(config_class, {f.name: getattr(config, f.name) for f in fields(config_class)})


def _commented(config_class: type, values: dict[str, Any]) -> str:
    docs = field_docs(config_class)
    blocks = [_comment(inspect.getdoc(config_class) or "")]
    for field in ordered_fields(config_class):
        value = values[field.name]
        required = " Required." if is_required(field) else ""
        line = f"#{key_of(field)} =" if value is None else f"{key_of(field)} = {_literal(value)}"
        blocks.append(f"{_comment(docs[field.name] + required)}\n{line}")
    return "\n\n".join(blocks) + "\n"


def _comment(text: str) -> str:
    return textwrap.fill(
        " ".join(text.split()),
        _WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_on_hyphens=False,
        break_long_words=False,
    )


def _literal(value: object) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case tuple():
            return f"[{', '.join(_literal(item) for item in value)}]"
        case str() | Path():
            # JSON's string escapes are TOML's, but for DEL, which TOML wants escaped
            return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    raise AssertionError(f"no configuration field holds a {type(value).__name__}")


def read_toml(path: str | Path, config_class: type) -> dict[str, Any]:
    """The values a TOML file sets, by field name, checked against the class's fields and types."""
    try:
        document = tomllib.loads(Path(path).read_bytes().decode())
    except ValueError as error:  # both "not UTF-8" and "not TOML"
        raise ConfigError(f"{path} is not a TOML file: {error}.") from error
    by_key = {key_of(field): field.name for field in fields(config_class)}
    hints = get_type_hints(config_class)
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in by_key:
            close = get_close_matches(key.replace("-", "_"), by_key, n=1)
            advice = (
                f"did you mean '{close[0]}'?" if close else f"its keys are {', '.join(by_key)}."
            )
            raise ConfigError(f"{path}: '{key}' is not a key of {config_class.__name__}; {advice}")
        hint = hints[by_key[key]]
        try:
            values[by_key[key]] = _convert(value, hint)
        except TypeError:
            raise ConfigError(
                f"{path}: '{key}' must be {_wanted(hint)}, not {json.dumps(value, default=str)}."
            ) from None
    return values


def _convert(value: object, hint: Any) -> object:
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        (inner,) = (arg for arg in args if arg is not NoneType)
        return _convert(value, inner)
    if origin is tuple and isinstance(value, list):
        return tuple(_convert(item, args[0]) for item in value)
    if origin is Literal and value in args:
        return value
    if hint is float and type(value) is int:
        return float(value)
    if hint is Path and isinstance(value, str):
        return Path(value)
    if type(value) is hint:
        return value
    raise TypeError


def _wanted(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is UnionType:
        return _wanted(next(arg for arg in args if arg is not NoneType))
    if origin is tuple:
        return f"a list, each item {_wanted(args[0])}"
    if origin is Literal:
        return "one of " + ", ".join(f'"{arg}"' for arg in args)
    names = {int: "a whole number", float: "a number", bool: "true or false", Path: "a path"}
    return names.get(hint, "text")
